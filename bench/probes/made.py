"""A tiny labelled corpus that is made, not downloaded: pitch, voice and class of sound.

Half-second clips at 16 kHz, mono, the same on every machine up to the last bit of the libm. Every
clip has a random level, so that level tells nothing and a codec that keeps only level (the noise
anchor) lands at chance. It shows that a probe works and ranks codecs roughly; it is no benchmark.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray
from scipy.signal import lfilter

SAMPLE_RATE = 16000
DURATION_S = 0.5
#: Raised by every change that moves a sample; part of the folder's name.
VERSION = 1
KINDS = ("pitch", "voice", "sound")

Samples = NDArray[np.float64]


@dataclass(frozen=True)
class MadeClip:
    """One clip.

    Attributes:
        name: Of its file, without suffix.
        label: What a probe is to tell.
        group: What it has in common with clips of other labels (the instrument, the words).
        samples: ``[N]`` in [-1, 1].
    """

    name: str
    label: str
    group: str
    samples: Samples


def make(kind: str) -> Iterator[MadeClip]:
    """Yield the clips of a kind, one after the other."""
    makers: dict[str, Callable[[], Iterator[MadeClip]]] = {
        "pitch": _pitches,
        "voice": _voices,
        "sound": _sounds,
    }
    yield from makers[kind]()


def write(kind: str, folder: Path) -> list[tuple[Path, MadeClip]]:
    """Write the clips of a kind as 16-bit WAV files, those that are not there yet."""
    folder = folder / f"made-{kind}-{VERSION}"
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for clip in make(kind):
        path = folder / f"{clip.name}.wav"
        if not path.is_file():
            partial = path.with_suffix(".part")
            soundfile.write(partial, clip.samples, SAMPLE_RATE, format="WAV", subtype="PCM_16")
            partial.replace(path)
        written.append((path, clip))
    return written


def _rng(*parts: object) -> np.random.Generator:
    text = " ".join(map(str, (VERSION, *parts))).encode()
    return np.random.default_rng(list(text))


def _time() -> Samples:
    return np.arange(round(SAMPLE_RATE * DURATION_S)) / SAMPLE_RATE


def _finished(samples: Samples, rng: np.random.Generator) -> Samples:
    """Return samples with soft ends and a level that is drawn, 6 dB up or down."""
    edge = round(0.01 * SAMPLE_RATE)
    samples = samples.copy()
    samples[:edge] *= np.linspace(0, 1, edge)
    samples[-edge:] *= np.linspace(1, 0, edge)
    level = 0.08 * 10 ** (rng.uniform(-6, 6) / 20)
    scaled = samples * level / np.sqrt(np.mean(samples**2))
    return scaled / max(1.0, np.abs(scaled).max() / 0.99)


# --- pitch: eight notes on eight instruments ----------------------------------------------------

NOTES = {"c3": 48, "e3": 52, "g#3": 56, "c4": 60, "e4": 64, "g#4": 68, "c5": 72, "e5": 76}
INSTRUMENTS = 8


def _pitches() -> Iterator[MadeClip]:
    for instrument in range(INSTRUMENTS):
        for note, midi in NOTES.items():
            samples = _tone(
                440 * 2 ** ((midi - 69) / 12), instrument, _rng("tone", note, instrument)
            )
            yield MadeClip(
                f"{note}-{instrument}".replace("#", "s"), note, f"i{instrument}", samples
            )


def _tone(frequency: float, instrument: int, rng: np.random.Generator) -> Samples:
    """Return a harmonic tone; the instrument decides spectrum, attack and decay."""
    kind = _rng("instrument", instrument)
    slope, odd, attack, decay = kind.uniform((0.6, 0.2, 0.002, 0.5), (2.0, 1.0, 0.08, 8.0))
    time = _time()
    detuned = frequency * 2 ** (rng.uniform(-15, 15) / 1200)
    found = np.zeros_like(time)
    for harmonic in range(1, 21):
        if harmonic * detuned > 0.45 * SAMPLE_RATE:
            break
        gain = harmonic**-slope * (odd if harmonic % 2 == 0 else 1.0)
        found += gain * np.sin(2 * np.pi * harmonic * detuned * time + rng.uniform(0, 2 * np.pi))
    envelope = np.minimum(1, time / attack) * np.exp(-decay * time)
    return _finished(found * envelope + 0.002 * rng.standard_normal(len(time)), rng)


# --- voice: eight speakers say eight vowel sequences ---------------------------------------------

SPEAKERS, SENTENCES = 8, 8
#: First three formants of five vowels, Hz (Peterson and Barney 1952, men, rounded).
VOWELS = np.array(
    [(730, 1090, 2440), (270, 2290, 3010), (300, 870, 2240), (530, 1840, 2480), (570, 840, 2410)]
)


def _voices() -> Iterator[MadeClip]:
    for sentence in range(SENTENCES):
        vowels = _rng("sentence", sentence).choice(len(VOWELS), 3)
        for speaker in range(SPEAKERS):
            samples = _utterance(speaker, vowels, _rng("voice", speaker, sentence))
            yield MadeClip(f"s{speaker}-{sentence}", f"s{speaker}", f"u{sentence}", samples)


def _utterance(speaker: int, vowels: NDArray[np.int64], rng: np.random.Generator) -> Samples:
    """Return vowels through a vocal tract; the speaker decides its length, pitch and breath."""
    tract = 0.85 + 0.4 * (speaker % 4) / 3
    pitch = (105, 195)[speaker // 4] * rng.uniform(0.9, 1.1)
    breath = 0.02 + 0.1 * (speaker % 3) / 2
    parts = []
    for vowel in vowels:
        count = round(SAMPLE_RATE * DURATION_S / len(vowels))
        phase = np.cumsum(pitch * (1 + 0.02 * rng.standard_normal()) / SAMPLE_RATE * np.ones(count))
        pulses = np.diff(np.floor(phase), prepend=0.0) + breath * rng.standard_normal(count)
        source = lfilter([1], [1, -0.95], pulses)
        for formant, width in zip(VOWELS[vowel] * tract, (80, 110, 160), strict=True):
            source = _resonate(source, formant, width)
        parts.append(source / np.sqrt(np.mean(source**2)))
    found = np.concatenate(parts)
    return _finished(np.pad(found, (0, max(0, len(_time()) - len(found))), mode="edge"), rng)


def _resonate(source: Samples, frequency: float, width: float) -> Samples:
    radius = np.exp(-np.pi * width / SAMPLE_RATE)
    turn = 2 * np.pi * frequency / SAMPLE_RATE
    found: Samples = lfilter([1 - radius], [1, -2 * radius * np.cos(turn), radius**2], source)
    return found


# --- sound: eight classes, each taken eight times -----------------------------------------------

TAKES = 8


def _sounds() -> Iterator[MadeClip]:
    for name, maker in SOUNDS.items():
        for take in range(TAKES):
            rng = _rng("sound", name, take)
            yield MadeClip(f"{name}-{take}", name, "", _finished(maker(_time(), rng), rng))


def _rain(time: Samples, rng: np.random.Generator) -> Samples:
    drops = rng.standard_normal(len(time)) * (rng.random(len(time)) < rng.uniform(0.05, 0.2))
    return _resonate(drops, rng.uniform(2500, 4500), 2500) + 0.01 * rng.standard_normal(len(time))


def _wind(time: Samples, rng: np.random.Generator) -> Samples:
    swell = 1 + 0.6 * np.sin(2 * np.pi * rng.uniform(1, 3) * time + rng.uniform(0, 6))
    return _resonate(rng.standard_normal(len(time)), rng.uniform(300, 700), 250) * swell


def _engine(time: Samples, rng: np.random.Generator) -> Samples:
    phase = np.cumsum(rng.uniform(25, 45) * (1 + 0.1 * time)) / SAMPLE_RATE
    firing = np.exp(-8 * np.mod(phase, 1)) * rng.uniform(0.8, 1.2, len(time))
    return lfilter([1, -1], [1, -0.9], firing)


def _bell(time: Samples, rng: np.random.Generator) -> Samples:
    base = rng.uniform(500, 900)
    ratios = np.array([1, 2.76, 5.4, 8.93]) * rng.uniform(0.98, 1.02, 4)
    partials = [
        np.exp(-(3 + 2 * k) * time) * np.sin(2 * np.pi * base * ratio * time) / (1 + k)
        for k, ratio in enumerate(ratios)
        if base * ratio < 0.45 * SAMPLE_RATE
    ]
    return np.sum(partials, axis=0)


def _ticks(time: Samples, rng: np.random.Generator) -> Samples:
    phase = np.mod(time * rng.uniform(7, 12) + rng.random(), 1)
    return np.exp(-200 * phase) * np.sin(2 * np.pi * rng.uniform(1800, 3000) * time)


def _chirps(time: Samples, rng: np.random.Generator) -> Samples:
    phase = np.mod(time * rng.uniform(4, 8), 1)
    sweep = np.cumsum(rng.uniform(2000, 3000) + 2500 * phase) / SAMPLE_RATE
    return np.sin(2 * np.pi * sweep) * np.sin(np.pi * phase) ** 2


def _siren(time: Samples, rng: np.random.Generator) -> Samples:
    swing = np.sin(2 * np.pi * rng.uniform(2, 4) * time + rng.uniform(0, 6))
    phase = np.cumsum(rng.uniform(700, 1000) * 2 ** (0.5 * swing)) / SAMPLE_RATE
    return np.sin(2 * np.pi * phase) + 0.3 * np.sin(6 * np.pi * phase)


def _crackle(time: Samples, rng: np.random.Generator) -> Samples:
    bursts = rng.standard_normal(len(time)) * (rng.random(len(time)) < rng.uniform(0.001, 0.004))
    return lfilter([1], [1, -0.7], 8 * bursts) + 0.01 * rng.standard_normal(len(time))


SOUNDS: dict[str, Callable[[Samples, np.random.Generator], Samples]] = {
    "rain": _rain,
    "wind": _wind,
    "engine": _engine,
    "bell": _bell,
    "ticks": _ticks,
    "chirps": _chirps,
    "siren": _siren,
    "crackle": _crackle,
}
