"""How far an output lags its input and how much it differs: numpy only, metrics of nobody else.

Signals are ``[N]``; lags are positive where the second signal comes later.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from codec_zoo.conformance.signals import Signal

#: Farthest lag that is looked for, seconds.
MAXIMUM_LAG_S = 0.5
#: Coherence (0 to 1) above which a waveform counts as followed at a frequency.
COHERENT = 0.5
#: Correlation of envelopes above which their lag means something.
ENVELOPE_CORRELATED = 0.4


@dataclass(frozen=True)
class Lag:
    """How far one signal comes behind another.

    Attributes:
        samples: The lag; negative where the second signal comes early.
        confidence: 0 to 1; what it means depends on the estimator.
    """

    samples: float
    confidence: float


def rms(signal: NDArray[np.floating]) -> float:
    """Return the root mean square."""
    return float(np.sqrt(np.mean(np.square(signal, dtype=np.float64))))


def level_db(signal: NDArray[np.floating]) -> float:
    """Return the level in dB relative to full scale; -200 for silence."""
    return 20 * float(np.log10(max(rms(signal), 1e-10)))


def waveform_lag(reference: Signal, degraded: Signal, sample_rate: int) -> Lag:
    """Return the lag of a waveform, to a fraction of a sample.

    A cross-correlation over all lags finds the neighbourhood; there, the cross-spectrum weighted
    by coherence (Hannan and Thomson 1973) finds the peak, so that a codec that only follows the low
    frequencies is judged by them. The confidence is the share of the reference's energy in
    frequencies that are followed.
    """
    coarse = _correlation_lag(reference, degraded, round(MAXIMUM_LAG_S * sample_rate))
    shifted = degraded[max(coarse, 0) :]
    aligned = reference[max(-coarse, 0) :]
    count = min(len(shifted), len(aligned))
    fine, confidence = _coherent_lag(aligned[:count], shifted[:count], sample_rate)
    return Lag(coarse + fine, confidence)


def _correlation_lag(reference: Signal, degraded: Signal, farthest: int) -> int:
    size = 1 << (len(reference) + len(degraded) - 1).bit_length()
    spectrum = np.fft.rfft(degraded, size) * np.conj(np.fft.rfft(reference, size))
    correlation = np.fft.irfft(spectrum, size)
    lags = np.r_[0 : farthest + 1, -farthest:0]
    return int(lags[np.argmax(np.abs(correlation[lags]))])


def _coherent_lag(reference: Signal, degraded: Signal, sample_rate: int) -> tuple[float, float]:
    """Return the lag within 5 ms, and the share of energy that is coherent."""
    size = 1 << round(0.04 * sample_rate).bit_length()
    a, b = (_spectra(signal, size) for signal in (reference, degraded))
    cross = np.mean(np.conj(a) * b, axis=0)
    power_a, power_b = np.mean(np.abs(a) ** 2, axis=0), np.mean(np.abs(b) ** 2, axis=0)
    coherence = np.abs(cross) ** 2 / np.maximum(power_a * power_b, 1e-30)
    confidence = float(np.sum(power_a * (coherence > COHERENT)) / max(np.sum(power_a), 1e-30))
    weight = np.where(coherence > COHERENT, coherence / (1.001 - coherence), 0.0)
    oversampling = 16
    spectrum = weight * np.exp(1j * np.angle(cross))
    peaks = np.fft.irfft(spectrum, size * oversampling)
    reach = round(0.005 * sample_rate) * oversampling
    lags = np.r_[0 : reach + 1, -reach:0]
    return float(lags[np.argmax(peaks[lags])]) / oversampling, confidence


def _spectra(signal: Signal, size: int) -> NDArray[np.complex128]:
    """Return the spectra ``[frames, bins]`` of Hann windows that overlap by half."""
    if len(signal) < size:
        signal = np.pad(signal, (0, size - len(signal)))
    windows = np.lib.stride_tricks.sliding_window_view(signal, size)[:: size // 2]
    return np.fft.rfft(windows * np.hanning(size), axis=1)


def envelope_lag(reference: Signal, degraded: Signal, sample_rate: int) -> Lag:
    """Return the lag of the energy in twelve bands, to about a millisecond.

    For codecs that keep the sound but not the waveform. The confidence is the correlation of the
    envelopes at that lag.
    """
    hop = max(1, sample_rate // 1000)
    count = min(len(reference), len(degraded))
    a, b = (_envelopes(x[:count], sample_rate, hop) for x in (reference, degraded))
    size = 1 << (2 * len(a)).bit_length()
    spectrum = np.fft.rfft(b, size, axis=0) * np.conj(np.fft.rfft(a, size, axis=0))
    correlation = np.fft.irfft(spectrum.sum(axis=1), size)
    correlation /= max(np.sqrt(np.sum(a**2) * np.sum(b**2)), 1e-30)
    farthest = round(MAXIMUM_LAG_S * sample_rate / hop)
    lags = np.r_[0 : farthest + 1, -farthest:0]
    best = int(np.argmax(correlation[lags]))
    return Lag(float(lags[best] * hop), float(correlation[lags][best]))


def _envelopes(signal: Signal, sample_rate: int, hop: int) -> NDArray[np.float64]:
    """Return levels ``[frames, bands]`` in dB without their means, one frame a hop."""
    size = 16 * hop
    padded = np.pad(signal, (size // 2, size // 2))
    windows = np.lib.stride_tricks.sliding_window_view(padded, size)[::hop]
    power = np.abs(np.fft.rfft(windows * np.hanning(size), axis=1)) ** 2
    bands: Signal = power @ mel_bands(12, size, sample_rate).T
    levels = _decibels(bands, float(bands.max()))
    return levels - levels.mean(axis=0)


def mel_bands(count: int, size: int, sample_rate: int) -> NDArray[np.float64]:
    """Return ``count`` triangles ``[count, bins]`` equally wide in mel, from 50 Hz to Nyquist."""
    lowest, highest = 2595 * np.log10(1 + np.array([50.0, sample_rate / 2]) / 700)
    mel = np.linspace(lowest, highest, count + 2)
    edges = 700 * (10 ** (mel / 2595) - 1)
    bins = np.fft.rfftfreq(size, 1 / sample_rate)[None]
    rise = (bins - edges[:-2, None]) / np.diff(edges)[:-1, None]
    fall = (edges[2:, None] - bins) / np.diff(edges)[1:, None]
    return np.clip(np.minimum(rise, fall), 0, None)


def _decibels(power: NDArray[np.float64], loudest: float) -> NDArray[np.float64]:
    """Return dB; what is over 60 dB below the loudest counts as 60 dB below it."""
    floor = max(loudest * 1e-6, 1e-12)
    return 10 * np.log10(np.maximum(power, floor))


def mel_distance_db(reference: Signal, degraded: Signal, sample_rate: int) -> float:
    """Return the mean difference of 64 mel bands in frames of 32 ms, dB; 0 is equal."""
    size = 1 << (sample_rate // 32).bit_length()
    bands = mel_bands(64, size, sample_rate).T
    count = min(len(reference), len(degraded))
    powers = [np.abs(_spectra(x[:count], size)) ** 2 @ bands for x in (reference, degraded)]
    a, b = (_decibels(power, float(powers[0].max())) for power in powers)
    return float(np.mean(np.abs(a - b)))
