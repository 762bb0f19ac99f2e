"""Samplers for a denoiser that predicts velocity, ``v = alpha * noise - sigma * x0``.

Each sampler is a generator: it yields the latent after every step, so that a caller can show
progress or look inside; the last one yielded is the result. On a ladder that ends at the clean
latent (``alpha_bar = 1``) the last step returns the predicted ``x0`` itself.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from itertools import pairwise

import torch
from torch import Tensor

from semanticodec.diffusion.schedule import Ladder, NoiseLevel

Denoiser = Callable[[Tensor, NoiseLevel], Tensor]
NoiseSource = Callable[[int], Tensor]  # step number, from 1, to fresh noise


def clean_estimate(velocity: Tensor, x: Tensor, level: NoiseLevel) -> Tensor:
    """Return ``x0`` (arXiv 2202.00512, appendix D)."""
    return level.alpha * x - level.sigma * velocity


def noise_estimate(velocity: Tensor, x: Tensor, level: NoiseLevel) -> Tensor:
    """Return the noise in ``x``."""
    return level.alpha * velocity + level.sigma * x


def ddim(
    denoise: Denoiser, x: Tensor, ladder: Ladder, noise: NoiseSource, eta: float = 1.0
) -> Iterator[Tensor]:
    """DDIM (arXiv 2010.02502, eq. 12 and 16); ``eta`` 0 is deterministic, 1 is ancestral."""
    for step, (now, after) in enumerate(pairwise(ladder), 1):
        velocity = denoise(x, now)
        ratio = now.alpha_bar / after.alpha_bar
        variance = (1 - after.alpha_bar) / (1 - now.alpha_bar) * (1 - ratio)
        sigma = eta * math.sqrt(max(variance, 0.0))
        direction = math.sqrt(max(1.0 - after.alpha_bar - sigma**2, 0.0))
        mean = after.alpha * clean_estimate(velocity, x, now)
        x = mean + direction * noise_estimate(velocity, x, now)
        if sigma > 0.0:
            x = x + sigma * noise(step)
        yield x


def dpm_solver_pp_2m(denoise: Denoiser, x: Tensor, ladder: Ladder) -> Iterator[Tensor]:
    """DPM-Solver++(2M) (arXiv 2211.01095, algorithm 2): second order, one evaluation a step."""
    history: tuple[Tensor, NoiseLevel] | None = None
    for now, after in pairwise(ladder):
        clean = clean_estimate(denoise(x, now), x, now)
        x = _exponential_step(x, _extrapolate(clean, now, after, history), now, after)
        history = clean, now
        yield x


def uni_pc(denoise: Denoiser, x: Tensor, ladder: Ladder) -> Iterator[Tensor]:
    """UniPC-2 with B2(h) on data predictions (arXiv 2302.04867): 2M and a corrector for free.

    The corrector reuses the evaluation of the next step to correct the step before it.
    """
    pending: Callable[[Tensor], Tensor] | None = None
    history: tuple[Tensor, NoiseLevel] | None = None
    for now, after in pairwise(ladder):
        clean = clean_estimate(denoise(x, now), x, now)
        if pending is not None:
            x = pending(clean)
        pending = _corrector(x, clean, now, after, history) if after.sigma > 0.0 else None
        x = _exponential_step(x, _extrapolate(clean, now, after, history), now, after)
        history = clean, now
        yield x


def _exponential_step(x: Tensor, clean: Tensor, now: NoiseLevel, after: NoiseLevel) -> Tensor:
    """Solve the diffusion ODE exactly for a constant data prediction (arXiv 2211.01095, eq. 9)."""
    h = after.half_log_snr - now.half_log_snr
    return (after.sigma / now.sigma) * x - (after.alpha * math.expm1(-h)) * clean


def _extrapolate(
    clean: Tensor, now: NoiseLevel, after: NoiseLevel, history: tuple[Tensor, NoiseLevel] | None
) -> Tensor:
    """Extrapolate the data prediction to the middle of the step; not for the step to clean."""
    if history is None or after.sigma == 0.0:
        return clean
    before, level = history
    h = after.half_log_snr - now.half_log_snr
    last = now.half_log_snr - level.half_log_snr
    return clean + (0.5 * h / last) * (clean - before)


def _corrector(
    x: Tensor,
    clean: Tensor,
    now: NoiseLevel,
    after: NoiseLevel,
    history: tuple[Tensor, NoiseLevel] | None,
) -> Callable[[Tensor], Tensor]:
    """Return UniC (arXiv 2302.04867, eq. 9): the next data prediction to a corrected latent."""
    h = after.half_log_snr - now.half_log_snr
    base = _exponential_step(x, clean, now, after)
    gain = -after.alpha * math.expm1(-h)
    if history is None:
        return lambda ahead: base + (0.5 * gain) * (ahead - clean)
    before, level = history
    past = (level.half_log_snr - now.half_log_snr) / h  # where history lies, in steps; negative
    weight_past, weight_ahead = _unic_weights(h, past)
    slope = (weight_past / past) * (before - clean)
    return lambda ahead: base + gain * (slope + weight_ahead * (ahead - clean))


def _unic_weights(h: float, past: float) -> tuple[float, float]:
    """Solve the 2 x 2 system of order conditions of UniC for nodes ``past`` and 1."""
    scale = math.expm1(-h)
    first = scale / -h - 1.0
    second = first / -h - 0.5
    a, b = first / scale, 2.0 * second / scale
    weight_past = (a - b) / (1.0 - past)
    return weight_past, a - weight_past


def guide(conditional: Tensor, unconditional: Tensor, scale: float, rescale: float = 0.0) -> Tensor:
    """Classifier-free guidance (arXiv 2207.12598) of velocities ``[B, ...]``.

    Args:
        conditional: Prediction with the condition.
        unconditional: Prediction without it.
        scale: 1 is no guidance.
        rescale: In [0, 1], how far to bring the standard deviation back to that of the conditional
            prediction (arXiv 2305.08891, eq. 15 and 16).
    """
    guided = unconditional + scale * (conditional - unconditional)
    if rescale == 0.0:
        return guided
    axes = tuple(range(1, guided.dim()))
    factor = conditional.std(axes, keepdim=True) / guided.std(axes, keepdim=True)
    return guided * (rescale * factor + (1.0 - rescale))


SAMPLERS = ("ddim", "dpm++2m", "unipc")


def sample(
    name: str, denoise: Denoiser, x: Tensor, ladder: Ladder, noise: NoiseSource, eta: float
) -> Iterator[Tensor]:
    """Run the sampler called ``name`` without gradients, yielding the latent after each step.

    Raises:
        ValueError: If the name is unknown.
    """
    if name == "ddim":
        steps = ddim(denoise, x, ladder, noise, eta)
    elif name == "dpm++2m":
        steps = dpm_solver_pp_2m(denoise, x, ladder)
    elif name == "unipc":
        steps = uni_pc(denoise, x, ladder)
    else:
        raise ValueError(f"unknown sampler {name!r}; known: {list(SAMPLERS)}")
    while True:
        with torch.no_grad():
            latent = next(steps, None)
        if latent is None:
            return
        yield latent
