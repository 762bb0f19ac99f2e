"""Noise schedules and the choice of steps.

``alpha_bar(t)`` is the share of signal power left at step ``t`` of training, so a noisy latent is
``sqrt(alpha_bar) * x0 + sqrt(1 - alpha_bar) * noise``. A *ladder* is the list of noise levels that
a sampler visits, noisiest first; the last one is where it stops and is not evaluated.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from semanticodec.config import DiffusionConfig


@dataclass(frozen=True)
class NoiseLevel:
    """One rung of a ladder."""

    timestep: float  # what the denoiser is told, on the scale of training
    alpha_bar: float  # in [0, 1]; 1 is the clean latent

    @property
    def alpha(self) -> float:
        """Amplitude of the signal."""
        return math.sqrt(self.alpha_bar)

    @property
    def sigma(self) -> float:
        """Standard deviation of the noise."""
        return math.sqrt(1.0 - self.alpha_bar)

    @property
    def half_log_snr(self) -> float:
        """``ln(alpha / sigma)``, the time of DPM-Solver; infinite at both ends."""
        if self.alpha_bar <= 0.0:
            return -math.inf
        return math.inf if self.sigma == 0.0 else math.log(self.alpha / self.sigma)

    @property
    def noise_ratio(self) -> float:
        """``sigma / alpha``, the noise level of Karras et al. (arXiv 2206.00364)."""
        return math.exp(-self.half_log_snr)


Ladder = tuple[NoiseLevel, ...]


def alphas_cumprod(config: DiffusionConfig) -> Tensor:
    """Return ``alpha_bar`` of each training step, float32 ``[num_timesteps]``.

    ``scaled_linear`` is the released models' schedule (it does not reach zero SNR); ``cosine`` is
    the paper's (section IV): it ends in pure noise, as arXiv 2305.08891 asks.

    Raises:
        ValueError: If the schedule is unknown.
    """
    steps = config.num_timesteps
    if config.schedule == "scaled_linear":
        low, high = math.sqrt(config.beta_start), math.sqrt(config.beta_end)
        betas = torch.linspace(low, high, steps, dtype=torch.float64).square()
        return torch.cumprod(1.0 - betas, 0).float()
    if config.schedule == "cosine":
        phase = torch.arange(1, steps + 1, dtype=torch.float64) / steps * (math.pi / 2)
        table = torch.cos(phase).square()
        table[-1] = 0.0
        return table.float()
    raise ValueError(f"unknown schedule {config.schedule!r}; known: 'scaled_linear', 'cosine'")


def released_ladder(table: Tensor, num_steps: int) -> Ladder:
    """Return the released code's steps, with its quirks.

    Steps are ``1, 1 + c, 1 + 2c, ...`` for ``c = 1000 // num_steps``, so their number is often not
    ``num_steps``; the ladder stops at ``alpha_bar[0]``, still slightly noisy.

    Raises:
        ValueError: Where the released code reads past its table (for instance 3 or 501-1000).
    """
    total = len(table)
    if not 1 <= num_steps <= total:
        raise ValueError(f"num_steps must lie in [1, {total}], got {num_steps}")
    steps = [step + 1 for step in range(0, total, total // num_steps)]
    if steps[-1] >= total:
        raise ValueError(
            f"the released code cannot make {num_steps} steps (it would read alpha_bar[{total}]); "
            "take another number, such as 50, or another spacing"
        )
    levels = [NoiseLevel(step, float(table[step])) for step in reversed(steps)]
    return (*levels, NoiseLevel(0, float(table[0])))


def trailing_ladder(table: Tensor, num_steps: int) -> Ladder:
    """Return evenly spaced steps that begin at the last one (arXiv 2305.08891, section 3.3)."""
    total = len(table)
    steps = np.round(total - total / num_steps * np.arange(num_steps)).astype(int) - 1
    return _to_clean(table, steps.clip(0))


def log_snr_ladder(table: Tensor, num_steps: int) -> Ladder:
    """Return steps evenly spaced in log SNR, as DPM-Solver advises (arXiv 2206.00927)."""
    return _from_log_ratio(table, np.linspace(*_log_ratio_ends(table), num_steps))


def karras_ladder(table: Tensor, num_steps: int, rho: float = 7.0) -> Ladder:
    """Return steps evenly spaced in the ``rho``-th root of ``sigma / alpha`` (arXiv 2206.00364)."""
    high, low = (math.exp(end / rho) for end in _log_ratio_ends(table))
    return _from_log_ratio(table, rho * np.log(np.linspace(high, low, num_steps)))


def _log_ratio(table: Tensor) -> np.ndarray:
    """Return ``ln(sigma / alpha)`` of each training step, finite and increasing."""
    alpha_bar = table.double().numpy().clip(1e-4)
    return 0.5 * np.log((1.0 - alpha_bar) / alpha_bar)


def _log_ratio_ends(table: Tensor) -> tuple[float, float]:
    values = _log_ratio(table)
    return float(values[-1]), float(values[0])


def _from_log_ratio(table: Tensor, values: np.ndarray) -> Ladder:
    """Find the (fractional) training steps at which ``ln(sigma / alpha)`` has these values."""
    return _to_clean(table, np.interp(values, _log_ratio(table), np.arange(len(table))))


def _to_clean(table: Tensor, steps: np.ndarray) -> Ladder:
    """Attach ``alpha_bar`` to the steps (interpolated) and end the ladder at the clean latent."""
    alpha_bars = np.interp(steps, np.arange(len(table)), table.double().numpy())
    levels = [NoiseLevel(float(t), float(a)) for t, a in zip(steps, alpha_bars, strict=True)]
    return (*levels, NoiseLevel(0.0, 1.0))


SPACINGS: Mapping[str, Callable[[Tensor, int], Ladder]] = {
    "released": released_ladder,
    "trailing": trailing_ladder,
    "log_snr": log_snr_ladder,
    "karras": karras_ladder,
}


def make_ladder(table: Tensor, num_steps: int, spacing: str) -> Ladder:
    """Return the noise levels of ``num_steps`` evaluations.

    Args:
        table: ``alpha_bar`` of each training step.
        num_steps: At least 1, at most the number of training steps.
        spacing: A key of ``SPACINGS``.

    Raises:
        ValueError: If an argument is out of range.
    """
    if spacing not in SPACINGS:
        raise ValueError(f"unknown spacing {spacing!r}; known: {sorted(SPACINGS)}")
    if not 1 <= num_steps <= len(table):
        raise ValueError(f"num_steps must lie in [1, {len(table)}], got {num_steps}")
    return SPACINGS[spacing](table, num_steps)
