"""Synthesised test signals, so that conformance needs no audio files.

Each is float64 ``[N]`` at the rate asked for, with an RMS of :data:`LEVEL`, and the same for the
same arguments.
"""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Signal = NDArray[np.float64]

#: RMS of each signal: -23 dB below full scale, as broadcast speech.
LEVEL = 10 ** (-23 / 20)
#: First three resonances of five vowels, Hz, and the width of each.
FORMANTS = (
    (730, 1090, 2440),
    (270, 2290, 3010),
    (300, 870, 2240),
    (530, 1840, 2480),
    (570, 840, 2410),
)
FORMANT_WIDTH_HZ = (110.0, 140.0, 200.0)
SYLLABLES_PER_S = 4.0
#: Semitones above the lowest note.
PENTATONIC = (0, 2, 4, 7, 9, 12, 14, 16)


def _levelled(signal: Signal) -> Signal:
    out = signal * (LEVEL / np.sqrt(np.mean(signal**2)))
    out.flags.writeable = False  # the cached signals are shared between checks
    return out


def _coloured_noise(count: int, sample_rate: int, low_hz: float, seed: int) -> Signal:
    """Return white noise without what lies below ``low_hz``."""
    spectrum = np.fft.rfft(np.random.default_rng(seed).standard_normal(count))
    spectrum[np.fft.rfftfreq(count, 1 / sample_rate) < low_hz] = 0
    return np.fft.irfft(spectrum, count)


@lru_cache(maxsize=32)
def speech_like(sample_rate: int, seconds: float, seed: int = 0) -> Signal:
    """Return voiced syllables of changing pitch and vowel, hissing between them, and pauses."""
    count = round(seconds * sample_rate)
    rng = np.random.default_rng(seed)
    t = np.arange(count) / sample_rate
    pitch_hz = 130.0 * 2 ** (0.3 * np.sin(2 * np.pi * 0.6 * t + seed) - 0.1 * t / max(seconds, 1))
    syllable = np.minimum((t * SYLLABLES_PER_S).astype(int), int(seconds * SYLLABLES_PER_S))
    within = t * SYLLABLES_PER_S - syllable
    loudness = rng.uniform(0.3, 1.0, syllable.max() + 1)
    loudness[4::6] = 0.0
    voiced = np.sin(np.pi * np.clip(within / 0.75, 0, 1)) ** 0.7 * loudness[syllable]
    hiss = np.sin(np.pi * np.clip((within - 0.7) / 0.3, 0, 1)) * loudness[syllable]
    vowel = rng.integers(len(FORMANTS), size=syllable.max() + 1)[syllable]
    voice = _voice(pitch_hz, np.array(FORMANTS)[vowel].T, sample_rate)
    sibilant = _coloured_noise(count, sample_rate, min(2500.0, sample_rate / 4), seed)
    return _levelled(voiced * voice + 0.1 * hiss * sibilant + 1e-4 * rng.standard_normal(count))


def _voice(pitch_hz: Signal, formants_hz: Signal, sample_rate: int) -> Signal:
    """Return harmonics of a pitch ``[N]`` shaped by resonances ``[3, N]``."""
    phase = 2 * np.pi * np.cumsum(pitch_hz) / sample_rate
    top_hz = min(7000.0, 0.45 * sample_rate)
    out = np.zeros_like(phase)
    for harmonic in range(1, int(top_hz / pitch_hz.max()) + 1):
        frequency = harmonic * pitch_hz
        gain = sum(
            1 / (1 + ((frequency - centre) / width) ** 2)
            for centre, width in zip(formants_hz, FORMANT_WIDTH_HZ, strict=True)
        )
        out += (gain + 0.02) / np.sqrt(harmonic) * np.sin(harmonic * phase)
    return out


@lru_cache(maxsize=32)
def music_like(sample_rate: int, seconds: float, seed: int = 0) -> Signal:
    """Return plucked chords of a pentatonic scale with a hi-hat on every beat."""
    count = round(seconds * sample_rate)
    rng = np.random.default_rng(seed)
    out = np.zeros(count)
    t = np.arange(min(count, sample_rate)) / sample_rate
    strings = [_pluck(t, 196.0 * 2 ** (note / 12), sample_rate) for note in PENTATONIC]
    for start_s in np.arange(0, seconds, 0.25):
        start = round(start_s * sample_rate)
        hat = np.diff(rng.standard_normal(len(t)) * np.exp(-t * 60), prepend=0.0)
        for sound in (0.3 * hat, *rng.choice(strings, size=2, replace=False)):
            out[start : start + len(t)] += sound[: count - start]
    return _levelled(out)


def _pluck(t: Signal, pitch_hz: float, sample_rate: int) -> Signal:
    """Return a decaying string: upper harmonics are weaker and die sooner."""
    harmonics = range(1, min(16, int(0.45 * sample_rate / pitch_hz)) + 1)
    return sum(
        (np.exp(-t * (2 + k)) * np.sin(2 * np.pi * pitch_hz * k * t) / k for k in harmonics),
        start=np.zeros_like(t),
    )


@lru_cache(maxsize=32)
def mixture(sample_rate: int, seconds: float, seed: int = 0) -> Signal:
    """Return half speech, then half music."""
    half = seconds / 2
    return _levelled(
        np.concatenate([speech_like(sample_rate, half, seed), music_like(sample_rate, half, seed)])
    )


@lru_cache(maxsize=32)
def steady(sample_rate: int, count: int) -> Signal:
    """Return ``count`` samples of a tone of 400 Hz, its harmonics, and a little noise.

    Every stretch of 5 ms (two periods) has nearly the same energy.
    """
    t = np.arange(count) / sample_rate
    top = int(min(3400.0, 0.45 * sample_rate) / 400)
    tones = sum(
        (np.sin(2 * np.pi * 400 * k * t + k * k) / k for k in range(1, top + 1)),
        start=np.zeros(count),
    )
    return _levelled(tones + 0.05 * np.random.default_rng(0).standard_normal(count))
