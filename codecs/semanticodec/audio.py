"""Audio in and out: files, arrays, channels and sample rates, block by block.

Waveforms are float32 ``[channels, N]`` in [-1, 1]; integer arrays are scaled by their full range.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO

import numpy as np
import numpy.typing as npt
import soundfile
import soxr
import torch
from torch import Tensor

from semanticodec.errors import AudioError

Wave = npt.NDArray[np.float32]
AudioSource = str | os.PathLike[str] | IO[bytes] | npt.ArrayLike | Tensor

BLOCK_S = 10.0  # how much of a file is in memory at a time
RATES = (1000, 768000)  # Hz
MAX_CHANNELS = 32  # more than that is taken for a transposed array


def as_wave(samples: npt.ArrayLike | Tensor) -> Wave:
    """Return ``[channels, N]`` float32 of samples ``[N]`` or ``[channels, N]``.

    Raises:
        AudioError: If the shape or type is wrong, or there is no sample, or one is not finite.
    """
    array = samples.detach().cpu().numpy() if isinstance(samples, Tensor) else np.asarray(samples)
    if array.ndim not in (1, 2):
        raise AudioError(f"expected samples [N] or [channels, N], got shape {array.shape}")
    array = np.atleast_2d(array)
    if array.shape[0] > MAX_CHANNELS:
        raise AudioError(f"{array.shape[0]} channels; expected [channels, N], is it transposed?")
    if array.shape[0] == 0 or array.shape[1] == 0:
        raise AudioError("the audio has no samples")
    if np.issubdtype(array.dtype, np.signedinteger):
        array = array / -float(np.iinfo(array.dtype).min)
    elif not np.issubdtype(array.dtype, np.floating):
        raise AudioError(f"expected float or signed integer samples, got {array.dtype}")
    return _checked(array.astype(np.float32))


def _checked(wave: Wave) -> Wave:
    if not np.isfinite(wave).all():
        raise AudioError("the audio contains NaN or infinite samples")
    return wave


class AudioBlocks:
    """Blocks ``[channels, n]`` of a file or an array, with its rate; counts what has passed."""

    def __init__(self, source: AudioSource, sample_rate: int | None) -> None:
        self.num_samples = 0
        self._file: soundfile.SoundFile | None = None
        if isinstance(source, (str, os.PathLike)) or hasattr(source, "read"):
            self._open(source)
        else:
            if sample_rate is None:
                raise AudioError("samples need their sample_rate")
            self._wave = as_wave(source)
            self.sample_rate, self.channels = sample_rate, len(self._wave)
        check_rate(self.sample_rate)

    def _open(self, source: object) -> None:
        name = source if hasattr(source, "read") else str(Path(os.fspath(source)))  # type: ignore[call-overload]
        try:
            self._file = soundfile.SoundFile(name)
        except (soundfile.LibsndfileError, OSError, RuntimeError) as error:
            raise AudioError(f"cannot read {name}: {error}") from error
        self.sample_rate, self.channels = self._file.samplerate, self._file.channels

    def __iter__(self) -> Iterator[Wave]:
        for block in self._read():
            self.num_samples += block.shape[1]
            yield block
        if self.num_samples == 0:
            raise AudioError("the audio has no samples")

    def _read(self) -> Iterator[Wave]:
        if self._file is None:
            yield self._wave
            return
        with self._file as file:
            length = int(BLOCK_S * self.sample_rate)
            while len(block := file.read(length, dtype="float32", always_2d=True)):
                yield _checked(np.ascontiguousarray(block.T))


def check_rate(sample_rate: int) -> None:
    """Refuse rates that no audio has: they would only serve to exhaust the memory.

    Raises:
        AudioError: If the rate is outside ``RATES``.
    """
    if not RATES[0] <= sample_rate <= RATES[1]:
        raise AudioError(f"sample_rate must lie in {list(RATES)} Hz, got {sample_rate}")


def resampled_length(num_samples: int, orig_rate: int, new_rate: int) -> int:
    """Return how many samples a signal has at another rate, rounded up."""
    return -(-num_samples * new_rate // orig_rate)


def resample_blocks(blocks: AudioBlocks, new_rate: int) -> Iterator[Wave]:
    """Resample block by block (soxr, high quality); the length is exactly ``resampled_length``."""
    if blocks.sample_rate == new_rate:
        yield from blocks
        return
    stream = soxr.ResampleStream(blocks.sample_rate, new_rate, blocks.channels, dtype="float32")
    given = 0
    for block in blocks:
        wave = stream.resample_chunk(np.ascontiguousarray(block.T)).T
        given += wave.shape[1]
        yield wave
    rest = stream.resample_chunk(np.zeros((0, blocks.channels), np.float32), last=True).T
    yield fit_length(
        rest, resampled_length(blocks.num_samples, blocks.sample_rate, new_rate) - given
    )


def resample(wave: Wave, orig_rate: int, new_rate: int, num_samples: int | None = None) -> Wave:
    """Resample ``[channels, N]`` (soxr, high quality) to exactly ``num_samples``.

    Without ``num_samples`` the length is ``resampled_length``.
    """
    if num_samples is None:
        num_samples = resampled_length(wave.shape[1], orig_rate, new_rate)
    if orig_rate != new_rate:
        wave = soxr.resample(wave.T, orig_rate, new_rate).T.astype(np.float32)
    return fit_length(wave, num_samples)


def fit_length(wave: Wave, num_samples: int) -> Wave:
    """Cut or zero-pad ``[channels, N]`` at its end."""
    missing = max(0, num_samples - wave.shape[1])
    return np.pad(wave[:, : max(0, num_samples)], ((0, 0), (0, missing)))


def mix(blocks: Iterable[Wave], per_channel: bool) -> Iterator[Wave]:
    """Average the channels, unless each is to be coded on its own."""
    for block in blocks:
        yield block if per_channel else block.mean(0, keepdims=True)


def write(target: str | os.PathLike[str] | IO[bytes], wave: Wave, sample_rate: int) -> None:
    """Write ``[channels, N]`` as 16-bit audio; the suffix names the format (WAV for streams).

    Raises:
        AudioError: If the file cannot be written.
    """
    kind = "WAV" if hasattr(target, "write") else None
    try:
        soundfile.write(target, wave.T, sample_rate, format=kind, subtype="PCM_16")
    except (soundfile.LibsndfileError, OSError, TypeError, ValueError) as error:
        raise AudioError(f"cannot write {target}: {error}") from error


def to_tensor(wave: Wave, device: torch.device) -> Tensor:
    """Return the samples as a tensor on a device."""
    return torch.from_numpy(np.ascontiguousarray(wave)).to(device)
