"""Stage ``dac``: the codec that the small model is compared with, from the same audio and code.

DAC (arXiv 2306.06546) as transformers has it, trained with its paper's losses: L1 of log-mels at
seven resolutions, codebook and commitment losses, quantizer dropout, later the judges. The rates
are those of the DAC that the SemantiCodec paper retrained for its own comparison: 15.6 frames a
second of 10 bits per codebook, of which 3, 5 or 9 are sent (0.47, 0.78, 1.41 kbps).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from semanticodec.mel import LogMel
from semanticodec.training import losses
from semanticodec.training.adversarial import AdversarialOptions, AdversarialTask
from semanticodec.training.settings import StageConfig, build

STAGE = "dac"
RATES = (3, 5, 9)  # codebooks
HALF = torch.float16


@dataclass(frozen=True)
class DacOptions(AdversarialOptions):
    """Weights of the losses (section 3.4 of the paper)."""

    mel_weight: float = 15.0
    quantizer_weight: float = 1.0  # of codebook (1.0) and commitment (0.25) loss together


class DacTask(AdversarialTask):
    """Make waves from a residual quantizer's codes."""

    options: DacOptions

    def __init__(self, config: StageConfig, run: Path) -> None:
        from transformers import DacConfig, DacModel

        super().__init__(build(DacOptions, config.options, "options"))
        self.generator = DacModel(DacConfig(**config.model))
        self.mel = LogMel()

    def forward(self, wave: Tensor, phase: str) -> dict[str, Tensor]:
        """Return the losses of one player on waves ``[B, N]``."""
        out = self.generator(wave[:, None])
        made = out.audio_values
        if phase == "judges":
            return self.judges_loss(wave, made)
        mel = losses.multi_scale_mel_loss(made, wave)
        quantizer = out.loss.mean()
        total = self.options.mel_weight * mel + self.options.quantizer_weight * quantizer
        return self.with_judges({"loss": total, "mel": mel, "quantizer": quantizer}, wave, made)

    def validate(self, waves: Tensor) -> dict[str, float]:
        """Return the mel L1 (nats, as of the small model) at each rate, and the codebooks' use."""
        waves = waves[:, : waves.shape[1] // self.hop * self.hop]
        target = self.mel(waves)
        values = {}
        for count in RATES:
            made = self.generator(waves[:, None], n_quantizers=count)
            values[f"mel_l1_{count}cb"] = float(F.l1_loss(self.mel(made.audio_values), target))
        codes = made.audio_codes.transpose(0, 1).flatten(1)
        values["codes_used"] = float(sum(len(row.unique()) for row in codes) / len(codes))
        return values

    @property
    def hop(self) -> int:
        """Samples per frame of codes."""
        return int(self.generator.config.hop_length)

    def sounds(self, waves: Tensor) -> dict[str, Tensor]:
        """Return what the highest rate makes of one item of each domain."""
        chosen = waves[:: max(1, len(waves) // 3)][:3]
        made = self.generator(chosen[:, None]).audio_values
        return {f"{index}": wave for index, wave in enumerate(made)}

    def take(self, weights: Mapping[str, Tensor]) -> None:
        """Start from exported weights; the judges start from nothing."""
        self.generator.load_state_dict(dict(weights))

    def export(self) -> dict[str, Tensor]:
        """Return the weights."""
        return self.generator.state_dict()


def write_pretrained(weights: Path, folder: Path) -> nn.Module:
    """Write a trained ``dac`` as transformers keeps models, in half precision; return the model."""
    from transformers import DacConfig, DacModel

    from semanticodec.training.files import load_weights

    tensors, metadata = load_weights(weights)
    values: dict[str, Any] = metadata["config"]["model"]
    model = DacModel(DacConfig(**values))
    model.load_state_dict(tensors)
    model.to(HALF).save_pretrained(folder)
    return model
