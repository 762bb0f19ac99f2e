"""Log-mel of the autoencoder and the vocoder: the spectrum that a decoder has to make.

The released VAE and vocoder (AudioLDM family) speak this mel, which is another one than AudioMAE's:
64 Slaney bands to 8 kHz of the magnitude, natural logarithm, one frame per 160 samples.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F


@dataclass(frozen=True)
class LogMelConfig:
    """Sizes of the log-mel."""

    sample_rate: int = 16000  # Hz
    fft_size: int = 1024  # also the length of the Hann window
    hop_samples: int = 160
    num_mels: int = 64
    high_hz: float = 8000.0
    floor: float = 1e-5  # of the magnitude, before the logarithm


def _slaney_mel(hz: Tensor) -> Tensor:
    """Slaney's scale: linear below 1 kHz, logarithmic above."""
    return torch.where(
        hz < 1000.0, hz * 0.015, 15.0 + torch.log(hz.clamp_min(1.0) / 1000.0) * _STEP
    )


_STEP = 27.0 / math.log(6.4)  # mels per natural logarithm above 1 kHz


def _slaney_hz(mel: Tensor) -> Tensor:
    return torch.where(mel < 15.0, mel / 0.015, 1000.0 * torch.exp((mel - 15.0) / _STEP))


def slaney_edges(config: LogMelConfig) -> Tensor:
    """Return the ``num_mels + 2`` band edges in Hz, float64."""
    top = _slaney_mel(torch.tensor(config.high_hz, dtype=torch.float64))
    return _slaney_hz(torch.linspace(0.0, float(top), config.num_mels + 2, dtype=torch.float64))


def slaney_filters(config: LogMelConfig) -> Tensor:
    """Return triangles of equal area ``[fft_size // 2 + 1, num_mels]`` (as librosa's default)."""
    edges = slaney_edges(config)
    bins = torch.arange(config.fft_size // 2 + 1) * (config.sample_rate / config.fft_size)
    left, centre, right = edges[:-2], edges[1:-1], edges[2:]
    rising = (bins[:, None] - left) / (centre - left)
    falling = (right - bins[:, None]) / (right - centre)
    filters = torch.minimum(rising, falling).clamp_min(0.0) * (2.0 / (right - left))
    return filters.float()


class LogMel(nn.Module):
    """Waveform ``[B, N]`` to log-mel ``[B, N // hop, mels]``."""

    window: Tensor
    filters: Tensor

    def __init__(self, config: LogMelConfig | None = None) -> None:
        super().__init__()
        self.config = config or LogMelConfig()
        with torch.device("cpu"):  # real values, even while weights are built on "meta"
            self.register_buffer("window", torch.hann_window(self.config.fft_size), False)
            self.register_buffer("filters", slaney_filters(self.config), False)

    def forward(self, wave: Tensor) -> Tensor:
        """Return the log-mel; the ends are reflected, so frame ``i`` is centred in its hop."""
        config = self.config
        reach = (config.fft_size - config.hop_samples) // 2
        padded = F.pad(wave[:, None], (reach, reach), mode="reflect")[:, 0]
        spectrum = torch.stft(
            padded, config.fft_size, config.hop_samples, window=self.window, center=False,
            return_complex=True,
        )  # fmt: skip
        magnitude = torch.view_as_real(spectrum).square().sum(-1).add(1e-9).sqrt()
        mel = magnitude.transpose(1, 2) @ self.filters
        return mel.clamp_min(config.floor).log()
