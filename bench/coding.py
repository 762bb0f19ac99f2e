"""Bring a clip to what a codec takes, and what it decoded back to the clip's rate and length."""

import numpy as np

from bench.audio import Audio, Samples, fit_length, resample, to_channels
from bench.errors import MeasureError, Reason
from codec_zoo import CodecError, CodecSpec


def to_codec(spec: CodecSpec, audio: Audio) -> Samples:
    """Return a clip ``[C, N]`` at the codec's rate and with its number of channels.

    Raises:
        MeasureError: If no sample is left at that rate.
    """
    rate = spec.sample_rate or audio.sample_rate
    channels = spec.channels or audio.samples.shape[0]
    wave = resample(to_channels(audio.samples, channels), audio.sample_rate, rate)
    if wave.shape[1] == 0:
        raise MeasureError(
            Reason.TOO_SHORT, f"{audio.samples.shape[1]} samples leave none at {rate} Hz"
        )
    return wave


def from_codec(spec: CodecSpec, decoded: Samples, sent_samples: int, audio: Audio) -> Samples:
    """Return what was decoded at the rate and of the length of the clip it was made of.

    Args:
        spec: Of the codec.
        decoded: What ``decode`` gave, ``[C, N']``.
        sent_samples: How many samples were encoded.
        audio: The clip.

    Raises:
        CodecError: If it is no waveform of finite samples.
        MeasureError: If it is too short.
    """
    wave = np.asarray(decoded, dtype=np.float32)
    if wave.ndim != 2 or not np.isfinite(wave).all():
        raise CodecError(
            f"{spec.codec_id} decoded to shape {wave.shape} with "
            f"{np.count_nonzero(~np.isfinite(wave))} NaN or infinite samples; "
            "expected finite [channels, samples]"
        )
    rate = spec.sample_rate or audio.sample_rate
    wave = fit_length(wave, sent_samples, rate)
    back = resample(wave, rate, audio.sample_rate)
    return fit_length(back, audio.samples.shape[1], audio.sample_rate)
