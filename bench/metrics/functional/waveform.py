"""Comparisons sample by sample: cross-correlation, lag, scale-invariant distortion.

Lags are in samples; a positive lag says that the degraded signal comes later.
"""

import math
from dataclasses import dataclass

import numpy as np
import scipy.fft
from numpy.typing import NDArray

Wave = NDArray[np.float32]


@dataclass(frozen=True)
class Peak:
    """Where two signals correlate best.

    Attributes:
        lag: Of the degraded signal, samples.
        correlation: At that lag, -1 to 1; negative where the polarity is inverted.
    """

    lag: int
    correlation: float


def cross_correlation(reference: Wave, degraded: Wave, max_lag: int) -> NDArray[np.float64]:
    """Return the correlation at every lag from ``-max_lag`` to ``max_lag``.

    Normalised by the energies of the whole signals, so that two signals of which one is the other
    shifted come out just below 1.
    """
    size = scipy.fft.next_fast_len(len(reference) + max_lag, real=True)
    x = scipy.fft.rfft(reference.astype(np.float64), size)
    y = scipy.fft.rfft(degraded.astype(np.float64), size)
    circular = scipy.fft.irfft(np.conj(x) * y, size)
    correlation = np.concatenate([circular[size - max_lag :], circular[: max_lag + 1]])
    energy = math.sqrt(_energy(reference) * _energy(degraded))
    return correlation / energy if energy > 0 else np.zeros_like(correlation)


def find_peak(correlation: NDArray[np.float64], max_lag: int) -> Peak:
    """Return the strongest correlation, of either sign, within ``max_lag`` of the centre."""
    centre = len(correlation) // 2
    window = correlation[centre - max_lag : centre + max_lag + 1]
    best = int(np.argmax(np.abs(window)))
    return Peak(best - max_lag, float(window[best]))


def overlap(reference: Wave, degraded: Wave, lag: int) -> tuple[Wave, Wave]:
    """Return what both signals share when the degraded one is moved back by ``lag`` samples."""
    if lag >= 0:
        return reference[: len(reference) - lag], degraded[lag:]
    return reference[-lag:], degraded[:lag]


def rms_envelope(wave: Wave, block_samples: int) -> NDArray[np.float32]:
    """Return the RMS of consecutive blocks, less its mean."""
    blocks = len(wave) // block_samples
    shaped = wave[: blocks * block_samples].reshape(blocks, block_samples)
    envelope = np.sqrt(np.mean(np.square(shaped, dtype=np.float64), axis=1))
    return (envelope - envelope.mean()).astype(np.float32)


def si_sdr_db(reference: Wave, degraded: Wave, limit_db: float = 100.0) -> float:
    """Return the scale-invariant signal-to-distortion ratio, dB, within ``±limit_db``.

    The degraded signal is split into its projection on the reference and the rest. Means are not
    removed. Le Roux, Wisdom, Erdogan, Hershey: "SDR: half-baked or well done?", ICASSP 2019.
    """
    x = reference.astype(np.float64)
    y = degraded.astype(np.float64)
    target = (np.dot(x, y) / np.dot(x, x)) * x
    signal, distortion = _energy(target), _energy(y - target)
    if distortion <= signal * 10 ** (-limit_db / 10):
        return limit_db
    if signal <= distortion * 10 ** (-limit_db / 10):
        return -limit_db
    return 10 * math.log10(signal / distortion)


def _energy(wave: NDArray[np.floating]) -> float:
    return float(np.sum(np.square(wave, dtype=np.float64)))
