"""Distances between magnitude and mel spectrograms.

Conventions: spectrograms are float32 ``[frames, bins]``, magnitudes (not powers), from centred
frames with reflected ends, a periodic Hann window and a hop of a quarter window, as ``torch.stft``
and audiotools make them.
"""

import math
from functools import cache

import numpy as np
import scipy.fft
from numpy.typing import NDArray

Spectrogram = NDArray[np.float32]

#: Frames transformed at once; keeps the working set in the processor's cache.
BLOCK_SAMPLES = 1 << 17


def magnitude_spectrogram(wave: NDArray[np.float32], window_samples: int) -> Spectrogram:
    """Return ``|STFT|`` of ``[N]`` as ``[1 + N // hop, window_samples // 2 + 1]``."""
    window = _hann(window_samples)
    padded = np.pad(wave, window_samples // 2, mode="reflect")
    hop_samples = window_samples // 4
    frames = np.lib.stride_tricks.sliding_window_view(padded, window_samples)[::hop_samples]
    magnitudes = np.empty((len(frames), window_samples // 2 + 1), dtype=np.float32)
    step = max(1, BLOCK_SAMPLES // window_samples)
    for first in range(0, len(frames), step):
        spectrum = scipy.fft.rfft(frames[first : first + step] * window, axis=1)
        power = np.square(spectrum.real) + np.square(spectrum.imag)
        np.sqrt(power, out=magnitudes[first : first + step])
    return magnitudes


@cache
def _hann(samples: int) -> NDArray[np.float32]:
    phase = 2 * np.pi * np.arange(samples) / samples
    return (0.5 - 0.5 * np.cos(phase)).astype(np.float32)


@cache
def mel_filters(sample_rate: int, window_samples: int, num_mels: int) -> NDArray[np.float32]:
    """Return triangular filters from 0 Hz to half the sample rate, ``[bins, num_mels]``.

    Slaney's scale (linear below 1 kHz, logarithmic above) and normalisation (equal area), librosa's
    default. With many filters and a short window some filters hold no bin and stay zero.
    """
    corners = _mel_to_hz(np.linspace(0.0, _hz_to_mel(sample_rate / 2), num_mels + 2))
    bins = np.linspace(0.0, sample_rate / 2, window_samples // 2 + 1)[:, np.newaxis]
    rising = (bins - corners[:-2]) / (corners[1:-1] - corners[:-2])
    falling = (corners[2:] - bins) / (corners[2:] - corners[1:-1])
    triangles = np.maximum(0.0, np.minimum(rising, falling))
    return (triangles * (2.0 / (corners[2:] - corners[:-2]))).astype(np.float32)


_HZ_PER_MEL = 200.0 / 3
_KNEE_HZ = 1000.0
_KNEE_MEL = _KNEE_HZ / _HZ_PER_MEL
_LOG_STEP = math.log(6.4) / 27


def _hz_to_mel(hz: float) -> float:
    if hz < _KNEE_HZ:
        return hz / _HZ_PER_MEL
    return _KNEE_MEL + math.log(hz / _KNEE_HZ) / _LOG_STEP


def _mel_to_hz(mel: NDArray[np.float64]) -> NDArray[np.float64]:
    above = _KNEE_HZ * np.exp(_LOG_STEP * (mel - _KNEE_MEL))
    return np.where(mel < _KNEE_MEL, mel * _HZ_PER_MEL, above)


def log_distance(reference: Spectrogram, degraded: Spectrogram, floor: float) -> float:
    """Return the mean of ``|ln max(reference, floor) - ln max(degraded, floor)|``."""
    ratio = np.maximum(reference, np.float32(floor))
    ratio /= np.maximum(degraded, np.float32(floor))
    np.log(ratio, out=ratio)
    return float(np.abs(ratio, out=ratio).mean(dtype=np.float64))


def linear_distance(reference: Spectrogram, degraded: Spectrogram) -> float:
    """Return the mean of ``|reference - degraded|``."""
    return float(np.abs(reference - degraded).mean(dtype=np.float64))


def spectral_convergence(reference: Spectrogram, degraded: Spectrogram) -> float:
    """Return the Frobenius norm of the difference over that of the reference."""
    return float(np.linalg.norm(reference - degraded) / np.linalg.norm(reference))
