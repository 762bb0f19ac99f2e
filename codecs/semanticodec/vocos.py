"""Vocoder of the small model: a ConvNeXt over mel frames and an inverse STFT (Vocos).

After arXiv 2306.00814. At the small model's budget it beats HiFi-GAN by far per FLOP. Frames are
never upsampled: the network gives magnitude and phase of each frame, the transform makes samples.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from semanticodec.mel import LogMelConfig, slaney_edges, slaney_filters

MAX_MAGNITUDE = 1e2


@dataclass(frozen=True)
class VocosConfig:
    """Sizes of the vocoder."""

    num_mels: int = 64
    width: int = 256
    hidden: int = 768  # of the pointwise layers
    depth: int = 8
    kernel: int = 7
    fft_size: int = 640
    hop_samples: int = 160


class _ConvNeXtBlock(nn.Module):
    """Depthwise convolution, then a pointwise network; scaled residual (arXiv 2201.03545)."""

    def __init__(self, config: VocosConfig) -> None:
        super().__init__()
        width = config.width
        self.depthwise = nn.Conv1d(
            width, width, config.kernel, padding=config.kernel // 2, groups=width
        )
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.up = nn.Linear(width, config.hidden)
        self.down = nn.Linear(config.hidden, width)
        self.scale = nn.Parameter(torch.full((width,), 1.0 / config.depth))

    def forward(self, x: Tensor) -> Tensor:
        """Map ``[B, frames, width]`` to itself."""
        hidden = self.depthwise(x.transpose(1, 2)).transpose(1, 2)
        return x + self.scale * self.down(F.gelu(self.up(self.norm(hidden))))


def magnitude_map(config: VocosConfig) -> tuple[Tensor, Tensor]:
    """Return a matrix ``[mels, bins]`` and offset ``[bins]`` from log-mel to log-magnitude.

    Interpolates between band centres; the offset undoes the bands' weight and the longer window of
    the mel. A start for the vocoder, which learns the rest.
    """
    mel = LogMelConfig(num_mels=config.num_mels, hop_samples=config.hop_samples)
    centres = slaney_edges(mel)[1:-1]
    bins = torch.arange(config.fft_size // 2 + 1) * (mel.sample_rate / config.fft_size)
    right = torch.searchsorted(centres, bins.double()).clamp(1, len(centres) - 1)
    share = (
        ((bins - centres[right - 1]) / (centres[right] - centres[right - 1])).clamp(0, 1).float()
    )
    matrix = torch.zeros(len(centres), len(bins))
    index = torch.arange(len(bins))
    matrix[right - 1, index] += 1 - share
    matrix[right, index] += share
    weight = slaney_filters(mel).sum(0).log()
    return matrix, -(weight @ matrix) + 0.5 * torch.log(
        torch.tensor(config.fft_size / mel.fft_size)
    )


class Vocos(nn.Module):
    """Log-mel ``[B, frames, mels]`` to samples."""

    window: Tensor

    def __init__(self, config: VocosConfig) -> None:
        super().__init__()
        self.config = config
        bins = config.fft_size // 2 + 1
        self.embed = nn.Conv1d(
            config.num_mels, config.width, config.kernel, padding=config.kernel // 2
        )
        self.norm_in = nn.LayerNorm(config.width, eps=1e-6)
        self.blocks = nn.ModuleList(_ConvNeXtBlock(config) for _ in range(config.depth))
        self.norm_out = nn.LayerNorm(config.width, eps=1e-6)
        self.head = nn.Linear(config.width, 2 * bins)
        self.magnitude = nn.Linear(config.num_mels, bins)
        with torch.device("cpu"):  # real values, even while weights are built on "meta"
            self.register_buffer("window", torch.hann_window(config.fft_size), False)
        if not self.head.weight.is_meta:
            self._start()

    @torch.no_grad()
    def _start(self) -> None:
        matrix, offset = magnitude_map(self.config)
        self.magnitude.weight.copy_(matrix.T)
        self.magnitude.bias.copy_(offset)
        self.head.weight[: len(offset)] *= 0.1

    def forward(self, log_mel: Tensor) -> Tensor:
        """Return samples ``[B, frames * hop]``."""
        scaled = (log_mel + 4.0) / 3.0  # about unit variance
        x = self.norm_in(self.embed(scaled.transpose(1, 2)).transpose(1, 2))
        for block in self.blocks:
            x = block(x)
        log_magnitude, phase = self.head(self.norm_out(x)).float().chunk(2, -1)
        log_magnitude = log_magnitude + self.magnitude(log_mel).float()
        magnitude = log_magnitude.exp().clamp_max(MAX_MAGNITUDE)
        spectrum = torch.complex(magnitude * phase.cos(), magnitude * phase.sin())
        return self._synthesize(spectrum)

    def _synthesize(self, spectrum: Tensor) -> Tensor:
        """Overlap-add frames ``[B, frames, bins]``; frame ``i`` is centred in hop ``i``."""
        config = self.config
        spectrum = F.pad(spectrum[..., 1:], (1, 0))  # the mel does not know about DC
        frames = torch.fft.irfft(spectrum, config.fft_size) * self.window
        count, hop, size = frames.shape[1], config.hop_samples, config.fft_size
        total = (count - 1) * hop + size
        fold = {"output_size": (1, total), "kernel_size": (1, size), "stride": (1, hop)}
        wave = F.fold(frames.transpose(1, 2), **fold)[:, 0, 0]
        weight = self.window.square()[:, None].expand(-1, count)[None]
        envelope = F.fold(weight, **fold)[0, 0, 0]
        trim = (size - hop) // 2
        return (wave / envelope.clamp_min(1e-3))[:, trim : trim + count * hop]

    @property
    def context_frames(self) -> int:
        """Mel frames on each side that can influence a sample."""
        half = self.config.kernel // 2
        return half * (self.config.depth + 1) + self.config.fft_size // self.config.hop_samples
