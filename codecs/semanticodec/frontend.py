"""Log-mel front end: Kaldi's filterbank as the released model uses it, on any device, in batches.

Waveforms are ``[B, N]`` float32 in [-1, 1] at the model's rate (not scaled by 32768). Features are
``[B, frames, mels]``, normalised with the AudioSet statistics of AudioMAE.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from semanticodec.config import FrontendConfig


def _mel(hz: Tensor | float) -> Tensor:
    """Mel scale of Kaldi (HTK): 1127 ln(1 + f / 700)."""
    return 1127.0 * torch.log1p(torch.as_tensor(hz, dtype=torch.float64) / 700.0)


def mel_filters(config: FrontendConfig) -> Tensor:
    """Return triangular filters ``[fft_size // 2 + 1, num_mels]``, linear in mel, unit peak.

    Kaldi gives the Nyquist bin no weight; so do we.
    """
    num_bins = config.fft_size // 2
    edges = torch.linspace(
        float(_mel(config.low_hz)),
        float(_mel(config.high_hz)),
        config.num_mels + 2,
        dtype=torch.float64,
    )
    bins = _mel(torch.arange(num_bins) * (config.sample_rate / config.fft_size))[:, None]
    left, centre, right = edges[:-2], edges[1:-1], edges[2:]
    rising = (bins - left) / (centre - left)
    falling = (right - bins) / (right - centre)
    filters = torch.minimum(rising, falling).clamp_min(0.0)
    return F.pad(filters, (0, 0, 0, 1)).float()


class Frontend(nn.Module):
    """Waveform to normalised log-mel frames (Kaldi ``fbank``: 25 ms Hann frames every 10 ms)."""

    window: Tensor
    filters: Tensor

    def __init__(self, config: FrontendConfig) -> None:
        super().__init__()
        self.config = config
        with torch.device("cpu"):  # real values, even while weights are built on "meta"
            window = torch.hann_window(config.frame_samples, periodic=False)
            filters = mel_filters(config)
        self.register_buffer("window", window, persistent=False)
        self.register_buffer("filters", filters, persistent=False)

    def num_frames(self, num_samples: int) -> int:
        """Return how many whole frames lie in ``num_samples``."""
        config = self.config
        return max(0, 1 + (num_samples - config.frame_samples) // config.hop_samples)

    def forward(self, wave: Tensor) -> Tensor:
        """Return log-mel ``[B, frames, mels]`` of ``wave`` ``[B, N]``, not yet normalised."""
        config = self.config
        frames = wave.unfold(-1, config.frame_samples, config.hop_samples)
        frames = frames - frames.mean(-1, keepdim=True)
        previous = torch.cat((frames[..., :1], frames[..., :-1]), -1)
        frames = (frames - config.preemphasis * previous) * self.window
        power = torch.fft.rfft(frames, n=config.fft_size).abs().square()
        return torch.log((power @ self.filters).clamp_min(config.energy_floor))

    def normalize(self, log_mel: Tensor) -> Tensor:
        """Bring log-mel values to zero mean and a standard deviation of one half."""
        return (log_mel - self.config.mean) / (2 * self.config.std)

    def features(self, wave: Tensor, num_frames: int) -> Tensor:
        """Return normalised features ``[B, num_frames, mels]``.

        Frames beyond the last whole one are zero *before* normalisation, as AudioMAE was trained.
        """
        log_mel = self(wave)[:, :num_frames]
        missing = num_frames - log_mel.shape[1]
        return self.normalize(F.pad(log_mel, (0, 0, 0, missing)))


def sinc_resample(wave: Tensor, orig_rate: int, new_rate: int) -> Tensor:
    """Resample with a Hann-windowed sinc of six zero crossings, cut at 0.99 of the lower band.

    The released code's resampler (Smith, "Digital Audio Resampling"); for everyday use
    ``semanticodec.audio.resample`` has the better filter.

    Args:
        wave: ``[..., N]``.
        orig_rate: Hz.
        new_rate: Hz.

    Returns:
        ``[..., ceil(N * new_rate / orig_rate)]``.
    """
    if orig_rate == new_rate:
        return wave
    divisor = math.gcd(orig_rate, new_rate)
    orig, new = orig_rate // divisor, new_rate // divisor
    kernels, width = _sinc_kernels(orig, new)
    flat = F.pad(wave.reshape(-1, 1, wave.shape[-1]), (width, width + orig))
    phases = F.conv1d(flat, kernels.to(wave), stride=orig)  # [B, new, steps]
    length = math.ceil(new * wave.shape[-1] / orig)
    return phases.transpose(1, 2).reshape(*wave.shape[:-1], -1)[..., :length]


def _sinc_kernels(orig: int, new: int) -> tuple[Tensor, int]:
    """One low-pass kernel per output phase, ``[new, 1, taps]``, and its half width."""
    crossings = 6
    cutoff = min(orig, new) * 0.99
    width = math.ceil(crossings * orig / cutoff)
    taps = torch.arange(-width, width + orig, dtype=torch.float64) / orig
    time = taps - torch.arange(new, dtype=torch.float64)[:, None] / new
    time = (time * cutoff).clamp(-crossings, crossings)
    window = torch.cos(time * math.pi / crossings / 2).square()
    kernels = torch.sinc(time) * window * (cutoff / orig)
    return kernels[:, None].float(), width
