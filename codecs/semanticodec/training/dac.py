"""Stage ``dac``: the codec that the small model is compared with, from the same audio and code.

DAC (arXiv 2306.06546) as transformers has it, trained with its paper's losses: L1 of log-mels at
seven resolutions, codebook and commitment losses, quantizer dropout, later the judges. The rates
are those of the DAC that the SemantiCodec paper retrained for its own comparison: 15.6 frames a
second of 10 bits per codebook, of which 3, 5 or 9 are sent (0.47, 0.78, 1.41 kbps).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import DacConfig, DacModel
from transformers.models.dac.modeling_dac import DacResidualUnit

from semanticodec.mel import LogMel
from semanticodec.training import losses
from semanticodec.training.adversarial import AdversarialOptions, AdversarialTask
from semanticodec.training.codebook import kmeans
from semanticodec.training.files import load_weights
from semanticodec.training.settings import StageConfig, build

STAGE = "dac"
RATES = (3, 5, 9)  # codebooks
HALF = torch.float16


@dataclass(frozen=True)
class DacOptions(AdversarialOptions):
    """Weights of the losses (section 3.4 of the paper)."""

    mel_weight: float = 15.0
    quantizer_weight: float = 1.0  # of codebook (1.0) and commitment (0.25) loss together
    start_batches: int = 80  # for what is fitted before the first step


class DacTask(AdversarialTask):
    """Make waves from a residual quantizer's codes."""

    options: DacOptions

    def __init__(self, config: StageConfig, run: Path) -> None:
        super().__init__(build(DacOptions, config.options, "options"))
        self.seed = config.seed
        self.generator = DacModel(DacConfig(**config.model))
        self.mel = LogMel()

    @torch.no_grad()
    def start(self, batches: Iterator[Tensor]) -> None:
        """Start with signals that keep their size from layer to layer, and with codebooks in use.

        As released (deviation 0.02 everywhere, random codebooks) the small budget would go into
        leaving a state in which all frames have the same code.
        """
        for layer in self.generator.modules():
            if isinstance(layer, (nn.Conv1d, nn.ConvTranspose1d)):
                nn.init.normal_(layer.weight, std=_fan_in(layer) ** -0.5)
        for unit in self.generator.modules():
            if isinstance(unit, DacResidualUnit):
                unit.conv2.weight.mul_(0.3)
        self.generator.decoder.conv2.weight.mul_(0.1)
        drawn = list(islice(batches, self.options.start_batches))
        hidden = torch.cat([self.generator.encoder(wave[:, None]) for wave in drawn])
        size = hidden.std()
        self.generator.encoder.conv2.weight.div_(size)
        hidden = hidden / size
        residual = hidden.transpose(1, 2).flatten(0, 1)  # [B, D, T] -> [n, D]
        for number, quantizer in enumerate(self.generator.quantizer.quantizers):
            residual = residual - _start_quantizer(quantizer, residual, self.seed + number)

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


def _fan_in(layer: nn.Conv1d | nn.ConvTranspose1d) -> float:
    """Return how many inputs an output sums over."""
    taps = layer.kernel_size[0] / (layer.stride[0] if layer.transposed else 1)
    return layer.in_channels * taps


def _start_quantizer(quantizer: nn.Module, rows: Tensor, seed: int) -> Tensor:
    """Fit a quantizer to vectors ``[n, D]``: principal axes and k-means; return what it gives."""
    width = quantizer.codebook.weight.shape[1]
    covariance = torch.cov(rows.T.double())
    axes = torch.linalg.eigh(covariance).eigenvectors[:, -width:].float()  # [D, width]
    quantizer.in_proj.weight.copy_(axes.T[..., None])
    quantizer.out_proj.weight.copy_(axes[..., None])
    latents = rows @ axes
    entries = len(quantizer.codebook.weight)
    repeated = latents.repeat(-(-entries // len(latents)), 1)
    quantizer.codebook.weight.copy_(kmeans(repeated, entries, 5, seed)[0])
    # the nearest in direction, which is how the quantizer chooses
    book = quantizer.codebook.weight
    chosen = (F.normalize(latents) @ F.normalize(book).T).argmax(1)
    return book[chosen] @ axes.T


def write_pretrained(weights: Path, folder: Path) -> nn.Module:
    """Write a trained ``dac`` as transformers keeps models, in half precision; return the model."""
    tensors, metadata = load_weights(weights)
    values: dict[str, Any] = metadata["config"]["model"]
    model = DacModel(DacConfig(**values))
    model.load_state_dict(tensors)
    model.to(HALF).save_pretrained(folder)
    return model
