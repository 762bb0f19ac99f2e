"""Judges of the vocoder: periods of the waveform (HiFi-GAN) and complex spectra (as in DAC)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import weight_norm

SLOPE = 0.1
Judgement = tuple[Tensor, list[Tensor]]  # scores, and the features of all layers


@dataclass(frozen=True)
class DiscriminatorConfig:
    """Sizes of the discriminators."""

    periods: tuple[int, ...] = (2, 3, 5, 7, 11)
    period_channels: tuple[int, ...] = (32, 128, 512, 1024, 1024)
    fft_sizes: tuple[int, ...] = (2048, 1024, 512)
    spectrum_channels: int = 32


class PeriodDiscriminator(nn.Module):
    """Sees every ``period``-th sample (arXiv 2010.05646, section 2.3)."""

    def __init__(self, period: int, channels: tuple[int, ...]) -> None:
        super().__init__()
        self.period = period
        widths = (1, *channels)
        self.layers = nn.ModuleList(
            weight_norm(
                nn.Conv2d(widths[i], widths[i + 1], (5, 1), (3 if i + 2 < len(widths) else 1, 1),
                          padding=(2, 0))
            )
            for i in range(len(channels))
        )  # fmt: skip
        self.out = weight_norm(nn.Conv2d(widths[-1], 1, (3, 1), padding=(1, 0)))

    def forward(self, wave: Tensor) -> Judgement:
        """Judge waves ``[B, N]``."""
        missing = -wave.shape[1] % self.period
        x = F.pad(wave[:, None], (0, missing), mode="reflect").unflatten(2, (-1, self.period))
        return _run(self.layers, self.out, x)


class SpectrumDiscriminator(nn.Module):
    """Sees real and imaginary part of one short-time spectrum (arXiv 2306.06546).

    Halves the frequency axis in its first layers: without that it costs more than all else.
    """

    def __init__(self, fft_size: int, channels: int) -> None:
        super().__init__()
        self.fft_size = fft_size
        strides = (2, 2, 2, 1)
        widths = (2, *[channels] * len(strides))
        self.layers = nn.ModuleList(
            weight_norm(nn.Conv2d(widths[i], widths[i + 1], (3, 9), (1, stride), padding=(1, 4)))
            for i, stride in enumerate(strides)
        )
        self.out = weight_norm(nn.Conv2d(channels, 1, 3, padding=1))

    def forward(self, wave: Tensor) -> Judgement:
        """Judge waves ``[B, N]``."""
        window = torch.hann_window(self.fft_size, device=wave.device)
        spectrum = torch.stft(
            wave.float(), self.fft_size, self.fft_size // 4, window=window, return_complex=True
        )
        # [B, bins, frames, 2] -> [B, 2, frames, bins]
        return _run(self.layers, self.out, torch.view_as_real(spectrum).permute(0, 3, 2, 1))


def _run(layers: nn.ModuleList, out: nn.Module, x: Tensor) -> Judgement:
    features = []
    for layer in layers:
        x = F.leaky_relu(layer(x), SLOPE)
        features.append(x)
    return out(x), features


class Discriminators(nn.Module):
    """All judges together."""

    def __init__(self, config: DiscriminatorConfig) -> None:
        super().__init__()
        self.judges = nn.ModuleList(
            [PeriodDiscriminator(period, config.period_channels) for period in config.periods]
            + [SpectrumDiscriminator(n, config.spectrum_channels) for n in config.fft_sizes]
        )

    def forward(self, wave: Tensor) -> tuple[list[Tensor], list[list[Tensor]]]:
        """Return the scores and the features of every judge."""
        judgements = [judge(wave) for judge in self.judges]
        return [scores for scores, _ in judgements], [features for _, features in judgements]
