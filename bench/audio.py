"""Read, write, resample and compare waveforms.

Conventions: samples are float32 ``[C, N]``, full scale is 1.0. There is one resampler, soxr at
quality VHQ, and it is part of every metric's fingerprint.
"""

import io
import math
import os
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from importlib.metadata import version
from pathlib import Path
from uuid import uuid4

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

from bench.errors import MeasureError, Reason

Samples = NDArray[np.float32]

RESAMPLER = f"soxr {version('soxr')} VHQ"
#: Endings by which a folder's audio files are found.
AUDIO_SUFFIXES = frozenset(
    {
        ".wav",
        ".flac",
        ".ogg",
        ".opus",
        ".mp3",
        ".aif",
        ".aiff",
        ".au",
        ".m4a",
        ".mp4",
        ".aac",
        ".wma",
    }
)
#: Longest file that is read into memory at once.
MAXIMUM_S = 3 * 3600
#: Most by which two signals may differ in length and still be cut to the shorter one.
LENGTH_TOLERANCE_S = 0.1

#: Ending of a file that is being written.
PARTIAL_SUFFIX = ".part"


class Domain(StrEnum):
    """What kind of audio a clip is; metrics and tables are kept apart by it."""

    SPEECH = "speech"
    MUSIC = "music"
    SOUND = "sound"


@dataclass(frozen=True)
class Audio:
    """A waveform.

    Attributes:
        samples: float32 ``[C, N]``.
        sample_rate: Hz.
    """

    samples: Samples
    sample_rate: int

    @property
    def duration_s(self) -> float:
        """Length in seconds."""
        return self.samples.shape[1] / self.sample_rate


def read_audio(
    path: Path, start_s: float = 0.0, duration_s: float | None = None, stream: int = 0
) -> Audio:
    """Read a file, or a segment of it.

    Args:
        path: What soundfile reads, or anything FFmpeg does.
        start_s: Where to begin, seconds.
        duration_s: How much to read; None: to the end.
        stream: Audio stream of a container, such as a stem of a ``.stem.mp4`` file.

    Raises:
        MeasureError: If the file is missing, unreadable, empty, too long, or holds NaN.
    """
    if not path.is_file():
        raise MeasureError(Reason.MISSING_FILE, f"no audio file at {path}")
    if stream:
        audio = _read_ffmpeg(path, start_s, duration_s, stream)
    else:
        try:
            audio = _read_soundfile(path, start_s, duration_s)
        except soundfile.LibsndfileError:
            audio = _read_ffmpeg(path, start_s, duration_s)
    if audio.samples.shape[1] == 0:
        raise MeasureError(Reason.EMPTY_AUDIO, f"{path} holds no samples")
    if not np.isfinite(audio.samples).all():
        raise MeasureError(Reason.NON_FINITE_AUDIO, f"{path} holds NaN or infinity")
    return audio


def _read_soundfile(path: Path, start_s: float, duration_s: float | None) -> Audio:
    with soundfile.SoundFile(os.fsencode(path)) as file:
        rate = file.samplerate
        if duration_s is None and file.frames / rate > MAXIMUM_S:
            raise MeasureError(
                Reason.UNREADABLE_AUDIO,
                f"{path} claims {file.frames / rate:.0f} s; cut it below {MAXIMUM_S} s",
            )
        file.seek(min(round(start_s * rate), file.frames))
        frames = -1 if duration_s is None else round(duration_s * rate)
        samples = file.read(frames, dtype="float32", always_2d=True)
    return Audio(np.ascontiguousarray(samples.T), rate)


def _read_ffmpeg(path: Path, start_s: float, duration_s: float | None, stream: int = 0) -> Audio:
    import av

    try:
        with av.open(str(path)) as container:
            streams = container.streams.audio
            if stream >= len(streams):
                raise MeasureError(
                    Reason.UNREADABLE_AUDIO,
                    f"{path} has {len(streams)} audio streams, so no stream {stream}",
                )
            resampler = av.AudioResampler(format="flt")  # planes of channels beyond 8 are misread
            parts, forms = [], set()
            for frame in container.decode(streams[stream]):
                forms.add((frame.sample_rate, frame.layout.nb_channels))
                if len(forms) > 1:
                    raise MeasureError(
                        Reason.UNREADABLE_AUDIO,
                        f"{path} changes its sample rate or channels on the way, (Hz, channels): "
                        f"{sorted(forms)}; write it anew with one of them",
                    )
                parts += [part.to_ndarray() for part in resampler.resample(frame)]
    except (av.FFmpegError, ValueError) as error:
        raise MeasureError(
            Reason.UNREADABLE_AUDIO, f"{path} is not readable audio: {error}"
        ) from error
    if not parts:
        raise MeasureError(Reason.EMPTY_AUDIO, f"{path} holds no samples in stream {stream}")
    ((rate, channels),) = forms
    interleaved = np.concatenate(parts, axis=1, dtype=np.float32)
    samples = np.ascontiguousarray(interleaved.reshape(-1, channels).T)
    first = round(start_s * rate)
    last = None if duration_s is None else first + round(duration_s * rate)
    return Audio(samples[:, first:last], rate)


def resample(samples: Samples, sample_rate: int, target_rate: int) -> Samples:
    """Return ``samples`` ``[C, N]`` at ``target_rate``, length ``round(N * ratio)``, no delay."""
    if sample_rate == target_rate:
        return samples
    out = soxr.resample(samples.T, sample_rate, target_rate, quality="VHQ").T
    return np.ascontiguousarray(out, dtype=np.float32)


def to_channels(samples: Samples, channels: int) -> Samples:
    """Mix ``[C, N]`` down to mono, or repeat mono, to get ``channels`` channels."""
    if samples.shape[0] == channels:
        return samples
    mono = samples.mean(axis=0, keepdims=True)
    return np.repeat(mono, channels, axis=0)


def fit_length(samples: Samples, length: int, sample_rate: int) -> Samples:
    """Cut what is too long; pad what is too short by at most ``LENGTH_TOLERANCE_S``.

    Raises:
        MeasureError: If more than that is missing.
    """
    missing = length - samples.shape[1]
    if missing > LENGTH_TOLERANCE_S * sample_rate:
        raise MeasureError(
            Reason.LENGTH_MISMATCH,
            f"the reconstruction has {samples.shape[1]} of {length} samples",
        )
    if missing > 0:
        return np.pad(samples, ((0, 0), (0, missing)))
    return samples[:, :length]


def quantize_24bit(samples: Samples) -> Samples:
    """Return what a 24-bit file would hold: clipped to full scale, rounded to 2^-23.

    A reconstruction is scored in this form, so that scoring the kept file later gives the same
    numbers to the last bit.
    """
    scale = float(1 << 23)
    clipped = np.clip(np.rint(samples.astype(np.float64) * scale), -scale, scale - 1)
    return (clipped / scale).astype(np.float32)


def write_flac(path: Path, samples: Samples, sample_rate: int) -> None:
    """Write ``[C, N]`` as 24-bit FLAC, so that a reader never sees half a file.

    Raises:
        MeasureError: If there is no room, or the folder cannot be written.
    """
    content = io.BytesIO()  # libsndfile does not tell when the last block finds no room
    soundfile.write(content, samples.T, sample_rate, format="FLAC", subtype="PCM_24")
    # A name of its own: a worker of a killed run may still be writing the same file.
    partial = path.with_name(f"{path.name}.{uuid4().hex}{PARTIAL_SUFFIX}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.write_bytes(content.getbuffer())
        partial.replace(path)
    except OSError as error:
        with suppress(OSError):
            partial.unlink()
        raise MeasureError(Reason.CANNOT_WRITE, f"{path.name}: {error.strerror}") from error


def level_dbfs(samples: Samples) -> float:
    """Return the RMS level over all channels, dB relative to full scale."""
    power = float(np.mean(np.square(samples, dtype=np.float64)))
    return 10 * math.log10(power) if power > 0 else -math.inf
