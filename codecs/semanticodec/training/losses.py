"""Losses on spectra and of adversarial training. Waves are ``[B, N]``."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import torch
from torch import Tensor
from torch.nn import functional as F

from semanticodec.mel import LogMelConfig, slaney_filters

RESOLUTIONS = (256, 512, 1024, 2048)


@lru_cache
def _window(size: int, device: torch.device) -> Tensor:
    return torch.hann_window(size, device=device)


def magnitude(wave: Tensor, size: int) -> Tensor:
    """Return the STFT magnitude ``[B, bins, frames]``, hop a quarter of ``size``, never zero."""
    window = _window(size, wave.device)
    spectrum = torch.stft(wave.float(), size, size // 4, window=window, return_complex=True)
    return torch.view_as_real(spectrum).square().sum(-1).add(1e-9).sqrt()


def spectral_loss(
    predicted: Tensor, target: Tensor, resolutions: Sequence[int] = RESOLUTIONS
) -> Tensor:
    """Return log-magnitude L1 and spectral convergence (arXiv 1910.11480), over resolutions."""
    total = predicted.new_zeros(())
    for size in resolutions:
        ours, theirs = magnitude(predicted, size), magnitude(target, size)
        distance = (ours.log() - theirs.log()).abs().mean()
        convergence = (ours - theirs).norm() / theirs.norm().clamp_min(1e-3)
        total = total + distance + convergence
    return total / len(resolutions)


MEL_RESOLUTIONS = ((32, 5), (64, 10), (128, 20), (256, 40), (512, 80), (1024, 160), (2048, 320))


@lru_cache
def _filters(size: int, num_mels: int, device: torch.device) -> Tensor:
    return slaney_filters(LogMelConfig(fft_size=size, num_mels=num_mels)).to(device)


def multi_scale_mel_loss(predicted: Tensor, target: Tensor) -> Tensor:
    """Return the L1 of decimal log-mels at 16 kHz, summed over seven resolutions (DAC's)."""
    total = predicted.new_zeros(())
    for size, num_mels in MEL_RESOLUTIONS:
        filters = _filters(size, num_mels, predicted.device)
        ours, theirs = (
            (magnitude(wave, size).transpose(1, 2) @ filters).clamp_min(1e-5).log10()
            for wave in (predicted, target)
        )
        total = total + F.l1_loss(ours, theirs)
    return total


def mixed_difference(mel: Tensor) -> Tensor:
    """Return the mixed time-frequency difference of ``[B, frames, mels]``: its fine detail."""
    return mel.diff(dim=1).diff(dim=2)


def detail_share(predicted: Tensor, target: Tensor) -> float:
    """Return how much of the target's fine detail is left: 1 is all, less is too smooth."""
    ours, theirs = mixed_difference(predicted), mixed_difference(target)
    return float(ours.abs().mean() / theirs.abs().mean())


def discriminator_loss(real: Sequence[Tensor], fake: Sequence[Tensor]) -> Tensor:
    """Least squares (arXiv 1611.04076), mean over discriminators; 0.5 means undecided."""
    terms = [(1 - r).square().mean() + f.square().mean() for r, f in zip(real, fake, strict=True)]
    return torch.stack(terms).mean()


def generator_loss(fake: Sequence[Tensor]) -> Tensor:
    """Least squares: how far the judgements are from "real"."""
    return torch.stack([(1 - scores).square().mean() for scores in fake]).mean()


def feature_loss(real: Sequence[Sequence[Tensor]], fake: Sequence[Sequence[Tensor]]) -> Tensor:
    """L1 between the discriminators' features, relative to their size (arXiv 2210.13438)."""
    terms = [
        F.l1_loss(f, r.detach()) / r.detach().abs().mean().clamp_min(1e-4)
        for own_real, own_fake in zip(real, fake, strict=True)
        for r, f in zip(own_real, own_fake, strict=True)
    ]
    return torch.stack(terms).mean()
