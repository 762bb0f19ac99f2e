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
from torch.nn.utils.parametrize import is_parametrized
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
SILENCE = 1e-3  # root mean square below which a segment is not raised as if it were sound
START_SPREAD = 0.3  # of the latents before training: small beside the mel loss


@dataclass(frozen=True)
class DacOptions(AdversarialOptions):
    """Weights of the losses (section 3.4 of the paper)."""

    mel_weight: float = 15.0
    quantizer_weight: float = 1.0  # of codebook (1.0) and commitment (0.25) loss together
    level_db: float = -23.0  # to which segments are brought (root mean square, full scale 0)
    level_spread_db: float = 4.0  # of a random gain around it
    start_batches: int = 80  # for what is fitted before the first step


class DacTask(AdversarialTask):
    """Make waves from a residual quantizer's codes."""

    options: DacOptions
    generator: Any  # a DacModel; transformers has no types for its parts

    def __init__(self, config: StageConfig, run: Path) -> None:
        super().__init__(build(DacOptions, config.options, "options"))
        self.seed = config.seed
        self.generator = DacModel(DacConfig(**config.model))
        self.generator.apply_weight_norm()
        self.mel = LogMel()

    @torch.no_grad()
    def start(self, batches: Iterator[Tensor]) -> None:
        """Start with signals that keep their size from layer to layer, and with codebooks in use.

        As released (deviation 0.02 everywhere, random codebooks) the small budget would go into
        leaving a state in which all frames have the same code.
        """
        for layer in self.generator.modules():
            if isinstance(layer, (nn.Conv1d, nn.ConvTranspose1d)):
                layer.weight = torch.randn_like(layer.weight) * _fan_in(layer) ** -0.5
        for unit in self.generator.modules():
            if isinstance(unit, DacResidualUnit):
                unit.conv2.weight = 0.3 * unit.conv2.weight
        head = self.generator.decoder.conv2
        head.weight = 0.1 * head.weight
        drawn = [self.level(wave) for wave in islice(batches, self.options.start_batches)]
        hidden = torch.cat([self.generator.encoder(wave[:, None]) for wave in drawn])
        rows = hidden.transpose(1, 2).flatten(0, 1)  # [B, D, T] -> [n, D]
        size = _spread(rows, self.generator.config.codebook_dim) / START_SPREAD
        last = self.generator.encoder.conv2
        last.weight = last.weight / size
        rows = rows / size
        for number, quantizer in enumerate(self.generator.quantizer.quantizers):
            rows = rows - _start_quantizer(quantizer, rows, self.seed + number)

    def level(self, wave: Tensor) -> Tensor:
        """Bring waves ``[B, N]`` near one level, as DAC's recipe does; near silence stays quiet.

        The quantizer's loss grows with the square of the level: loud segments would decide alone.
        """
        size = wave.square().mean(1, keepdim=True).sqrt().clamp_min(SILENCE)
        spread = (2 * torch.rand_like(size) - 1) * self.options.level_spread_db
        return wave / size * 10 ** ((self.options.level_db + spread) / 20)

    def forward(self, wave: Tensor, phase: str) -> dict[str, Tensor]:
        """Return the losses of one player on waves ``[B, N]``."""
        wave = self.level(wave)
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
        plain: Any = DacModel(self.generator.config)
        plain.load_state_dict(dict(weights))
        plain.apply_weight_norm()
        self.generator.load_state_dict(plain.state_dict())

    def export(self) -> dict[str, Tensor]:
        """Return the weights, those of normalised layers multiplied out."""
        modules = self.generator.named_modules()
        made = {f"{n}.weight": m.weight for n, m in modules if is_parametrized(m, "weight")}
        stored = self.generator.state_dict()
        return {n: v for n, v in stored.items() if "parametrizations" not in n} | made


def _fan_in(layer: nn.Conv1d | nn.ConvTranspose1d) -> float:
    """Return how many inputs an output sums over."""
    taps = layer.kernel_size[0] / (layer.stride[0] if layer.transposed else 1)
    return layer.in_channels * taps


def _principal_axes(rows: Tensor, count: int) -> Tensor:
    """Return the main directions ``[D, count]`` of vectors ``[n, D]``."""
    return torch.linalg.eigh(torch.cov(rows.T.double())).eigenvectors[:, -count:].float()


def _spread(rows: Tensor, count: int) -> Tensor:
    """Return the deviation of vectors ``[n, D]`` along their main directions."""
    return (rows @ _principal_axes(rows, count)).square().mean().sqrt()


def _start_quantizer(quantizer: Any, rows: Tensor, seed: int) -> Tensor:
    """Fit a quantizer to vectors ``[n, D]`` and return what it makes of them.

    It chooses by direction alone, so directions are clustered, and all entries are equally long.
    """
    entries, width = quantizer.codebook.weight.shape
    axes = _principal_axes(rows, width)
    quantizer.in_proj.weight = axes.T[..., None].clone()  # assigned, not copied: no shared memory
    quantizer.out_proj.weight = axes[..., None].clone()
    latents = rows @ axes
    directions = F.normalize(latents)
    repeated = directions.repeat(-(-entries // len(directions)), 1)
    book = F.normalize(kmeans(repeated, entries, 5, seed)[0])
    chosen = book[(directions @ book.T).argmax(1)]
    length = (latents * chosen).sum(1).mean()  # least squares, as `chosen` has unit length
    quantizer.codebook.weight.copy_(length * book)
    return length * chosen @ axes.T


def write_pretrained(weights: Path, folder: Path) -> Any:
    """Write a trained ``dac`` as transformers keeps models, in half precision; return the model."""
    tensors, metadata = load_weights(weights)
    values: dict[str, Any] = metadata["config"]["model"]
    model: Any = DacModel(DacConfig(**values))
    model.load_state_dict(tensors)
    model.to(HALF).save_pretrained(folder)
    return model
