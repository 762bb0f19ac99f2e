"""What runs in a worker process: code clips, score reconstructions.

A task comes in, rows go back; nothing is raised. Workers are kept alive and remember the codec,
the metrics and the last references, so that a model is loaded once and a reference is resampled,
analysed and transcribed once for all codecs.
"""

import faulthandler
import json
import logging
import os
import signal
import sys
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np

from bench import metrics
from bench.audio import (
    LENGTH_TOLERANCE_S,
    Audio,
    Samples,
    fit_length,
    quantize_24bit,
    read_audio,
    resample,
    to_channels,
    write_flac,
)
from bench.clips import Clip
from bench.errors import MeasureError, Reason, Status
from bench.metrics import Pair, Signal
from bench.store import Coding, CodingKey, Score
from codec_zoo import Codec, CodecError, CodecUnavailableError, Encoded, create

T = TypeVar("T")
logger = logging.getLogger(__name__)

_REFERENCES_KEPT = 3
_codecs: OrderedDict[tuple[str, str], Codec] = OrderedDict()
_references: OrderedDict[str, Signal] = OrderedDict()


@dataclass(frozen=True)
class CodingItem:
    """One clip to code.

    Attributes:
        decoder_seed: Seed for the decoder, different for every clip.
        output: Where the reconstruction goes.
    """

    key: CodingKey
    clip: Clip
    decoder_seed: int
    output: Path


@dataclass(frozen=True)
class CodingTask:
    """Clips to code with one codec, together if the codec likes batches."""

    codec_id: str
    device: str
    items: tuple[CodingItem, ...]

    def run(self) -> list[Coding]:
        """Code the clips."""
        return code(self)

    def split(self) -> list["CodingTask"]:
        """Return one task per clip, to find the one that hangs or crashes; empty if it is one."""
        items = self.items if len(self.items) > 1 else ()
        return [replace(self, items=(item,)) for item in items]

    def failed(self, reason: Reason, message: str) -> list[Coding]:
        """Return the rows of a task that could not be finished."""
        return [Coding(item.key, Status.FAILED, reason, message) for item in self.items]


@dataclass(frozen=True)
class ScoringTask:
    """Metrics to compute on one reconstruction.

    Attributes:
        metrics: Name and fingerprint of each metric.
    """

    key: CodingKey
    clip: Clip
    reconstruction: Path
    metrics: tuple[tuple[str, str], ...]

    def run(self) -> list[Score]:
        """Compute the metrics."""
        return score(self)

    def split(self) -> list["ScoringTask"]:
        """Return one task per metric, to find the one that hangs or crashes; empty if it is one."""
        names = self.metrics if len(self.metrics) > 1 else ()
        return [replace(self, metrics=(name,)) for name in names]

    def failed(self, reason: Reason, message: str) -> list[Score]:
        """Return the rows of a task that could not be finished."""
        return [
            Score(self.key, fingerprint, Status.FAILED, reason, message)
            for _, fingerprint in self.metrics
        ]


Task = CodingTask | ScoringTask


class Job(Protocol):
    """What a worker process can run: a task of a run, or another of the same form."""

    def run(self) -> Any:
        """Do the work; nothing is raised."""

    def split(self) -> Sequence[Any]:
        """Return jobs that do parts of it, to find the one that hangs or crashes."""

    def failed(self, reason: Reason, message: str) -> Any:
        """Return what :meth:`run` would say if it could not be finished."""


def start_worker(log: Path) -> None:
    """Set a worker process up: own log, no Ctrl-C, end with the parent.

    Args:
        log: File that takes everything libraries print; stdout carries data only.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    file = log.open("a")
    os.dup2(file.fileno(), sys.stdout.fileno())
    os.dup2(file.fileno(), sys.stderr.fileno())
    faulthandler.enable()
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(name)s: %(message)s")
    threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()


def _end_with(parent: int) -> None:
    """Leave when the parent is gone, even in the middle of a long computation."""
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)


def run_task(task: Job) -> Any:
    """Run a task in this process; the pool's entry."""
    return task.run()


@dataclass(frozen=True)
class Failure:
    """Why something could not be done."""

    status: Status
    reason: Reason
    message: str


def attempt(what: str, otherwise: Reason, function: Callable[[], T]) -> T | Failure:
    """Return ``function()``, or a typed failure; the one place that stops every exception.

    Args:
        what: For the log, which holds the traceback of what nobody expected.
        otherwise: The reason for errors without a reason of their own.
        function: The work.
    """
    try:
        return function()
    except MeasureError as error:
        return Failure(error.status, error.reason, str(error))
    except CodecUnavailableError as error:
        return Failure(Status.SKIPPED, Reason.CODEC_UNAVAILABLE, str(error))
    except CodecError as error:
        known = error.reason in set(Reason)
        reason = Reason(error.reason) if known else Reason.CODEC_ERROR
        return Failure(Status.FAILED, reason, str(error))
    except Exception as error:
        logger.exception("%s", what)
        message = " ".join(f"{type(error).__name__}: {error}".split())
        return Failure(Status.FAILED, otherwise, message[:500])


# --- coding ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Prepared:
    """A clip at the codec's rate and channels, and what is needed to come back."""

    item: CodingItem
    reference: Audio
    wave: Samples


@dataclass(frozen=True)
class _Coded:
    encoded: Encoded
    decoded: Samples
    encode_s: float
    decode_s: float


def code(task: CodingTask) -> list[Coding]:
    """Encode, decode and write the reconstructions of a task's clips."""
    codec = attempt(task.codec_id, Reason.CODEC_ERROR, lambda: _codec(task.codec_id, task.device))
    if isinstance(codec, Failure):
        return [_failed(item, codec) for item in task.items]
    rows, ready = [], []
    for item in task.items:
        prepared = attempt(item.clip.id, Reason.UNREADABLE_AUDIO, partial(_prepare, codec, item))
        if isinstance(prepared, Failure):
            rows.append(_failed(item, prepared))
        else:
            ready.append(prepared)
    return rows + _code_batch(codec, ready)


def _failed(item: CodingItem, failure: Failure) -> Coding:
    return Coding(item.key, failure.status, failure.reason, failure.message)


def _codec(codec_id: str, device: str) -> Codec:
    """Return the codec, loaded and warmed up; one is kept, since they can be large."""
    if (codec_id, device) not in _codecs:
        _codecs.clear()
        codec = create(codec_id, device=device)
        codec.warm_up()
        _codecs[codec_id, device] = codec
    return _codecs[codec_id, device]


def _prepare(codec: Codec, item: CodingItem) -> _Prepared:
    reference = item.clip.read()
    spec = codec.spec
    rate = spec.sample_rate or reference.sample_rate
    channels = spec.channels or reference.samples.shape[0]
    wave = resample(to_channels(reference.samples, channels), reference.sample_rate, rate)
    if wave.shape[1] == 0:
        raise MeasureError(
            Reason.TOO_SHORT, f"{reference.samples.shape[1]} samples leave none at {rate} Hz"
        )
    return _Prepared(item, reference, wave)


def _code_batch(codec: Codec, batch: Sequence[_Prepared]) -> list[Coding]:
    """Code a batch at once; if that fails, clip by clip, so that one cannot spoil the others."""
    if not batch:
        return []
    names = ", ".join(prepared.item.clip.id for prepared in batch)
    reset_peak_memory()
    coded = attempt(names, Reason.CODEC_ERROR, lambda: _round_trip(codec, batch))
    if isinstance(coded, Failure):
        if len(batch) == 1:
            return [_failed(batch[0].item, coded)]
        return [row for prepared in batch for row in _code_batch(codec, [prepared])]
    return [_finish(codec, prepared, one) for prepared, one in zip(batch, coded, strict=True)]


def _round_trip(codec: Codec, batch: Sequence[_Prepared]) -> list[_Coded]:
    """Encode and decode; a batch's time is shared out by the clips' lengths."""
    start = time.perf_counter()
    encoded = codec.encode_clips(
        [prepared.wave for prepared in batch], [prepared.item.clip.id for prepared in batch]
    )
    middle = time.perf_counter()
    seeds = [prepared.item.decoder_seed for prepared in batch]
    decoded = codec.decode_batch([one.payload for one in encoded], seeds=seeds)
    end = time.perf_counter()
    total = sum(prepared.wave.shape[1] for prepared in batch)
    shares = [prepared.wave.shape[1] / total for prepared in batch]
    return [
        _Coded(one, wave, (middle - start) * share, (end - middle) * share)
        for one, wave, share in zip(encoded, decoded, shares, strict=True)
    ]


def _finish(codec: Codec, prepared: _Prepared, coded: _Coded) -> Coding:
    """Bring a decoded waveform back to the clip's rate and length, write it, make its row."""
    done = attempt(
        prepared.item.clip.id, Reason.CODEC_ERROR, lambda: _write(codec, prepared, coded)
    )
    return _failed(prepared.item, done) if isinstance(done, Failure) else done


def _write(codec: Codec, prepared: _Prepared, coded: _Coded) -> Coding:
    reference = prepared.reference
    wave = np.asarray(coded.decoded, dtype=np.float32)
    if wave.ndim != 2 or not np.isfinite(wave).all():
        raise CodecError(
            f"{codec.spec.codec_id} decoded to shape {wave.shape} with "
            f"{np.count_nonzero(~np.isfinite(wave))} NaN or infinite samples; "
            "expected finite [channels, samples]"
        )
    rate = codec.spec.sample_rate or reference.sample_rate
    missing = max(0, prepared.wave.shape[1] - wave.shape[1])
    wave = fit_length(wave, prepared.wave.shape[1], rate)
    back = resample(wave, rate, reference.sample_rate)
    back = fit_length(back, reference.samples.shape[1], reference.sample_rate)
    write_flac(prepared.item.output, quantize_24bit(back), reference.sample_rate)
    row = Coding(
        prepared.item.key,
        Status.OK,
        duration_s=reference.duration_s,
        missing_samples=missing,
        clipped_samples=int(np.count_nonzero(np.abs(back) > 1.0)),
    )
    if coded.encoded.recorded:  # somebody else coded it: no bitrate, time or memory to measure
        return row
    return replace(
        row,
        measured_kbps=coded.encoded.measured_kbps(reference.duration_s),
        payload_bytes=len(coded.encoded.payload),
        overhead_bytes=coded.encoded.overhead_bytes,
        encode_s=coded.encode_s,
        decode_s=coded.decode_s,
        peak_memory_mb=peak_memory_mb(),
    )


def reset_peak_memory() -> None:
    """Begin a new high-water mark of resident memory (Linux; elsewhere it is the lifetime's)."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        logger.debug("cannot reset the memory high-water mark")


def peak_memory_mb() -> float | None:
    """Return the most resident memory since the last reset, MB; None where nobody counts it."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return None
    peaks = (int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM"))
    return next(peaks, None)


# --- scoring --------------------------------------------------------------------------------


def score(task: ScoringTask) -> list[Score]:
    """Compute a task's metrics; each one fails alone."""
    pair = attempt(task.clip.id, Reason.UNREADABLE_AUDIO, lambda: _pair(task))
    if isinstance(pair, Failure):
        return task.failed(pair.reason, pair.message)
    return [_score_one(task, pair, name, fingerprint) for name, fingerprint in task.metrics]


def _score_one(task: ScoringTask, pair: Pair, name: str, fingerprint: str) -> Score:
    done = attempt(
        f"{name} on {task.clip.id}", Reason.METRIC_ERROR, lambda: metrics.create(name)(pair)
    )
    if isinstance(done, Failure):
        return Score(task.key, fingerprint, done.status, done.reason, done.message)
    detail = json.dumps(dict(done.detail)) if done.detail else None
    return Score(task.key, fingerprint, Status.OK, value=float(done.value), detail=detail)


def _pair(task: ScoringTask) -> Pair:
    reference = _reference(task)
    degraded = read_audio(task.reconstruction)
    samples = resample(degraded.samples, degraded.sample_rate, reference.sample_rate)
    reference, samples = _to_common_length(reference, samples)
    return Pair(reference, Signal(samples, reference.sample_rate), task.clip.domain, task.clip.text)


def _reference(task: ScoringTask) -> Signal:
    """Return the clip's signal, with what metrics derived from it for earlier codecs."""
    found = _references.pop(task.key.clip_hash, None)
    if found is None:
        audio = task.clip.read()
        found = Signal(audio.samples, audio.sample_rate)
    _references[task.key.clip_hash] = found
    while len(_references) > _REFERENCES_KEPT:
        _references.popitem(last=False)
    return found


def _to_common_length(reference: Signal, samples: Samples) -> tuple[Signal, Samples]:
    """Cut both signals to the shorter one, if they differ by little.

    Raises:
        MeasureError: If they differ by more than ``LENGTH_TOLERANCE_S``.
    """
    lengths = reference.samples.shape[1], samples.shape[1]
    if abs(lengths[0] - lengths[1]) > LENGTH_TOLERANCE_S * reference.sample_rate:
        raise MeasureError(
            Reason.LENGTH_MISMATCH,
            f"the reference has {lengths[0]} samples, the degraded {lengths[1]}; "
            f"they may differ by {LENGTH_TOLERANCE_S:g} s",
        )
    if lengths[0] > lengths[1]:
        cut = Signal(reference.samples[:, : lengths[1]], reference.sample_rate)
        return cut, samples
    return reference, samples[:, : lengths[0]]
