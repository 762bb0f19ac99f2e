"""Small signal-processing tools shared by the recipes; numpy and scipy only."""

import zlib
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from scipy import signal as sps
from scipy.fft import next_fast_len
from scipy.interpolate import PchipInterpolator

from .clip import Signal

Rng = np.random.Generator


def seeded(name: str) -> Rng:
    """Return a generator whose seed is made from ``name``."""
    return np.random.default_rng(zlib.crc32(name.encode()))


def time_axis(duration_s: float, rate: int) -> Signal:
    """Return the times of the samples, in seconds."""
    return np.arange(round(duration_s * rate)) / rate


def band(x: Signal, low: float | None, high: float | None, rate: int, order: int = 2) -> Signal:
    """Return ``x`` through a Butterworth band, low-pass (``low=None``) or high-pass filter."""
    if low is None:
        sos = sps.butter(order, high, "lowpass", fs=rate, output="sos")
    elif high is None:
        sos = sps.butter(order, low, "highpass", fs=rate, output="sos")
    else:
        sos = sps.butter(order, [low, high], "bandpass", fs=rate, output="sos")
    return sps.sosfilt(sos, x, axis=0)


def colored_noise(count: int, rng: Rng, slope: float, rate: int, low: float = 20.0) -> Signal:
    """Return unit-RMS noise with a spectrum falling as ``1 / f**slope`` (power) above ``low``."""
    size = next_fast_len(count)
    spectrum = np.fft.rfft(rng.standard_normal(size))
    freqs = np.fft.rfftfreq(size, 1 / rate)
    spectrum *= (np.maximum(freqs, low) / low) ** (-slope / 2)
    spectrum[freqs < low / 2] = 0
    x = np.fft.irfft(spectrum, size)[:count]
    return x / x.std()


def drift(count: int, rate: int, cutoff_hz: float, rng: Rng) -> Signal:
    """Return a smooth random control curve, scaled to run from 0 to 1."""
    knots = int(count / rate * cutoff_hz * 2) + 4
    curve = PchipInterpolator(np.linspace(0, count, knots), rng.random(knots))(np.arange(count))
    return (curve - curve.min()) / (curve.max() - curve.min())


def mix_at(target: Signal, x: Signal, start: int, gain: float = 1.0) -> None:
    """Add ``x`` into ``target`` from sample ``start`` on, cutting what does not fit."""
    begin, end = max(start, 0), min(start + len(x), len(target))
    if end > begin:
        target[begin:end] += gain * x[begin - start : end - start]


def sparse_impulses(count: int, density: Signal | float, rate: int, rng: Rng) -> Signal:
    """Return a Poisson train of impulses of either sign and log-normal strength.

    Args:
        count: Samples.
        density: Mean impulses per second, a number or one value per sample.
        rate: Sample rate, Hz.
        rng: Source of randomness.
    """
    hits = rng.random(count) < np.broadcast_to(density, count) / rate
    strength = rng.lognormal(0.0, 0.9, count) * rng.choice([-1.0, 1.0], count)
    return np.where(hits, strength, 0.0)


def ring(x: Signal, freq: float, t60_s: float, rate: int) -> Signal:
    """Return ``x`` exciting one decaying mode (two-pole resonator, unit peak response)."""
    radius = 10 ** (-3 / (t60_s * rate))
    theta = 2 * np.pi * freq / rate
    # y[n] = r^n sin(theta n): the impulse response of this pole pair, peak about 1.
    return sps.lfilter(
        [0.0, np.sin(theta) * radius], [1, -2 * radius * np.cos(theta), radius**2], x
    )


def modes(
    duration_s: float,
    rate: int,
    freqs: Sequence[float] | Signal,
    t60s: Sequence[float] | Signal,
    gains: Sequence[float] | Signal,
    attack_s: float = 0.0004,
) -> Signal:
    """Return a struck body: a sum of decaying sinusoids with a soft, short attack."""
    t = time_axis(duration_s, rate)
    out = np.zeros_like(t)
    for freq, t60, gain in zip(freqs, t60s, gains, strict=True):
        if freq < 0.45 * rate:
            out += gain * np.sin(2 * np.pi * freq * t) * 10 ** (-3 * t / t60)
    return out * (1 - np.exp(-t / attack_s))


def reverb_tail(rate: int, rng: Rng, t60_s: float, damping: float = 2.0) -> Signal:
    """Return a room's diffuse response: noise bands that decay faster towards high frequency.

    Args:
        rate: Sample rate, Hz.
        rng: Source of randomness.
        t60_s: Decay time at 500 Hz.
        damping: How much shorter the top band is than the middle one, a factor.
    """
    t = time_axis(1.2 * t60_s, rate)
    edges = [125.0, 500.0, 1500.0, 4000.0, min(12000.0, 0.45 * rate)]
    factors = np.geomspace(1.1, 1 / damping, len(edges) - 1)
    out = np.zeros_like(t)
    for (low, high), factor in zip(pairwise(edges), factors, strict=True):
        decay = 10 ** (-3 * t / (t60_s * factor))
        out += band(rng.standard_normal(len(t)), low, high, rate) * decay
    return out / np.sqrt((out**2).sum())


def add_reverb(
    x: Signal, tail: Signal, wet_db: float, rate: int, predelay_s: float = 0.012
) -> Signal:
    """Return the dry signal plus its reverberation ``wet_db`` relative to it, same length."""
    wet = sps.fftconvolve(x, tail)[: len(x)]
    delay = int(predelay_s * rate)
    wet = np.concatenate([np.zeros(delay), wet])[: len(x)]
    return x + 10 ** (wet_db / 20) * wet


def sweep_filter(x: Signal, freq_hz: Signal, q: float | Signal, rate: int) -> tuple[Signal, Signal]:
    """Run ``x`` through a state-variable filter whose frequency moves at every sample.

    The topology-preserving form of Zavalishin ("The Art of VA Filter Design", chapter 4),
    which stays stable under fast modulation.

    Returns:
        The low-pass and the band-pass output; the band-pass one has unit gain at its centre.
    """
    g = np.tan(np.pi * np.minimum(freq_hz, 0.45 * rate) / rate)
    damp = np.broadcast_to(1.0 / np.asarray(q, dtype=float), x.shape)
    norm = 1.0 / (1.0 + g * (g + damp))
    low, mid = np.empty_like(x), np.empty_like(x)
    s1 = s2 = 0.0
    steps = zip(x.tolist(), g.tolist(), damp.tolist(), norm.tolist(), strict=True)
    for i, (value, gain, k, scale) in enumerate(steps):
        v1 = scale * (s1 + gain * (value - s2))
        v2 = s2 + gain * v1
        s1, s2 = 2 * v1 - s1, 2 * v2 - s2
        low[i], mid[i] = v2, k * v1
    return low, mid


def room_tone(count: int, rate: int, rng: Rng, level_db: float) -> Signal:
    """Return a quiet, dark noise floor at an RMS level relative to full scale."""
    floor = colored_noise(count, rng, 1.6, rate, low=60.0)
    return 10 ** (level_db / 20) * floor
