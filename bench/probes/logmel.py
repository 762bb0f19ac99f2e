"""Log-mel statistics: what a probe must beat, and what it hears of a reconstruction."""

import numpy as np
from numpy.typing import NDArray

from bench.audio import Audio, resample
from bench.metrics.functional.spectral import magnitude_spectrogram, mel_filters

SAMPLE_RATE = 16000
WINDOW_SAMPLES = 512
NUM_MELS = 64
#: Level that every clip is brought to before the logarithm, RMS re full scale.
LEVEL = 0.1
FLOOR = 1e-4
#: Raised by every change that moves a number.
VERSION = "1"


def log_mel_statistics(audio: Audio) -> NDArray[np.float32]:
    """Return mean and standard deviation over time of 64 log-mel bands, ``[128]``.

    Every clip is brought to one level first: level says more about a recording than about what is
    heard, and without it a decoder that gives noise of the right level tells nothing.

    Args:
        audio: Any rate and number of channels; mixed down.
    """
    mono = resample(audio.samples.mean(axis=0, keepdims=True), audio.sample_rate, SAMPLE_RATE)[0]
    mono = np.pad(mono, (0, max(0, WINDOW_SAMPLES - len(mono))))
    power = float(np.mean(np.square(mono, dtype=np.float64)))
    gain = LEVEL / np.sqrt(power) if power > 0 else 1.0
    magnitudes = magnitude_spectrogram((mono * gain).astype(np.float32), WINDOW_SAMPLES)
    mels = np.log(
        np.maximum(magnitudes @ mel_filters(SAMPLE_RATE, WINDOW_SAMPLES, NUM_MELS), FLOOR)
    )
    return np.concatenate([mels.mean(axis=0), mels.std(axis=0)]).astype(np.float32)
