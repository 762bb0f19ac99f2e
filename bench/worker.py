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
import stat
import sys
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np

from bench import metrics
from bench.audio import (
    LENGTH_TOLERANCE_S,
    Audio,
    Samples,
    quantize_24bit,
    read_audio,
    resample,
    write_flac,
)
from bench.clips import Clip
from bench.coding import from_codec, to_codec
from bench.errors import MeasureError, Reason, Status, one_line
from bench.metrics import Pair, Signal
from bench.store import Coding, CodingKey, Score
from codec_zoo import Codec, CodecError, CodecUnavailableError, Encoded, create

T = TypeVar("T")
logger = logging.getLogger(__name__)

_REFERENCES_KEPT = 3
_LOG_LIMIT = 64 * 2**20
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
Outcome = Any  # what a job's ``run`` gives: rows of a task, a measurement of another job


class Job(Protocol):
    """What a worker process can run: a task of a run, or another of the same form."""

    def run(self) -> Any:
        """Do the work; nothing is raised."""

    def split(self) -> Sequence[Any]:
        """Return jobs that do parts of it, to find the one that hangs or crashes."""

    def failed(self, reason: Reason, message: str) -> Any:
        """Return what :meth:`run` would say if it could not be finished."""


def serve(handle: int) -> None:
    """Run the tasks that come over a connection, until it closes.

    Args:
        handle: File descriptor of the connection; answers are rows and the memory held, MB.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    faulthandler.enable()
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(name)s: %(message)s")
    threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()
    connection: Connection = Connection(handle)
    connection.send(None)  # ready
    while True:
        try:
            task: Job = connection.recv()
        except EOFError:
            return
        _shorten_log()
        connection.send((task.run(), _memory_mb("VmRSS") or 0.0))


def _end_with(parent: int) -> None:
    """Leave when the parent is gone, even in the middle of a long computation."""
    while os.getppid() == parent:
        time.sleep(1)
    os.killpg(0, signal.SIGKILL)  # what metrics forked leaves too


def _shorten_log() -> None:
    """Begin the log, which is our standard error, anew when libraries have filled it."""
    log = sys.stderr.fileno()
    if stat.S_ISREG(os.fstat(log).st_mode) and os.fstat(log).st_size > _LOG_LIMIT:
        os.ftruncate(log, 0)
        logger.warning("older lines are gone: the log had reached %d MB", _LOG_LIMIT // 2**20)


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
        return Failure(error.status, error.reason, one_line(error))
    except CodecUnavailableError as error:
        return Failure(Status.SKIPPED, Reason.CODEC_UNAVAILABLE, one_line(error))
    except CodecError as error:
        known = error.reason in set(Reason)
        reason = Reason(error.reason) if known else Reason.CODEC_ERROR
        return Failure(Status.FAILED, reason, one_line(error))
    except Exception as error:
        logger.exception("%s", what)
        return Failure(Status.FAILED, otherwise, one_line(f"{type(error).__name__}: {error}"))


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
    return _Prepared(item, reference, to_codec(codec.spec, reference))


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
    sent = prepared.wave.shape[1]
    back = from_codec(codec.spec, coded.decoded, sent, reference)
    write_flac(prepared.item.output, quantize_24bit(back), reference.sample_rate)
    row = Coding(
        prepared.item.key,
        Status.OK,
        duration_s=reference.duration_s,
        missing_samples=max(0, sent - coded.decoded.shape[1]),
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
    return _memory_mb("VmHWM")


def _memory_mb(name: str) -> float | None:
    """Return resident memory: ``VmRSS`` now, ``VmHWM`` at its highest; None where not told."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return None
    found = (int(line.split()[1]) / 1024 for line in lines if line.startswith(name))
    return next(found, None)


# --- scoring --------------------------------------------------------------------------------


def score(task: ScoringTask) -> list[Score]:
    """Compute a task's metrics; each one fails alone."""
    _codecs.clear()  # coding is over; models are large
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
