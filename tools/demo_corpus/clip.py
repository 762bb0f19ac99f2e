"""What a clip is, and how a rendered signal becomes one: level, fades, 16 bits."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Signal = NDArray[np.float64]

PEAK_LIMIT = 10 ** (-1.1 / 20)  # a hair below -1 dBFS, so that rounding cannot cross it
ACTIVE_RANGE_DB = 30.0  # frames this far below the loudest one do not count as active


class CorpusError(RuntimeError):
    """Something the maker needs is missing; the message says what to install."""


@dataclass(frozen=True)
class Clip:
    """One recipe of the corpus."""

    name: str  # file stem, unique
    domain: str  # "speech", "music" or "sound"
    sample_rate: int  # Hz
    render: Callable[[], Signal]
    description: str
    source: str  # how it was made, ingredients and their licences
    text: str = ""  # transcript, speech only
    level_db: float = -23.0  # wanted level of the active frames, dBFS RMS
    fade_in_s: float = 0.005
    fade_out_s: float = 0.03

    @property
    def path(self) -> str:
        """Path of the file inside the corpus folder."""
        return f"{self.domain}/{self.name}.flac"

    def samples(self) -> NDArray[np.int16]:
        """Render the clip and return its 16-bit samples, ``[N]`` or ``[N, 2]``."""
        signal = np.asarray(self.render(), dtype=np.float64)
        signal = signal - signal.mean(axis=0)
        signal = fade(signal, self.sample_rate, self.fade_in_s, self.fade_out_s)
        gain = 10 ** (self.level_db / 20) / active_rms(signal, self.sample_rate)
        gain = min(gain, PEAK_LIMIT / np.abs(signal).max())
        return np.round(signal * gain * 32767.0).astype(np.int16)


def active_rms(signal: Signal, sample_rate: int) -> float:
    """Return the RMS over the 50 ms frames within ``ACTIVE_RANGE_DB`` of the loudest."""
    frame = int(0.05 * sample_rate)
    count = len(signal) // frame
    power = (signal[: count * frame] ** 2).reshape(count, -1).mean(axis=1)
    active = power >= power.max() * 10 ** (-ACTIVE_RANGE_DB / 10)
    return float(np.sqrt(power[active].mean()))


def fade(signal: Signal, sample_rate: int, in_s: float, out_s: float) -> Signal:
    """Return the signal with raised-cosine ramps at both ends."""
    window = np.ones(len(signal))
    for length_s, ends in ((in_s, slice(None)), (out_s, slice(None, None, -1))):
        count = int(length_s * sample_rate)
        window[ends][:count] *= 0.5 - 0.5 * np.cos(np.pi * (np.arange(count) + 0.5) / count)
    return signal * (window if signal.ndim == 1 else window[:, None])
