"""Run a plan: code every clip with every codec, score every reconstruction, keep every row.

Two stages joined by files. Coding writes reconstructions (24-bit FLAC) into the run's folder,
scoring reads them. Both take their work from what the store does not have yet, spread it over a
pool of processes, and keep each result as it arrives; stopping at any moment loses nothing.
"""

import logging
import os
import shutil
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import contextmanager
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Protocol, TypeVar

from pebble import ProcessExpired, ProcessPool

from bench import worker
from bench.errors import Reason, Status
from bench.plan import Plan, PlannedClip, PlannedCodec, coding_key, decoder_seed
from bench.results import MetricInfo, reconstruction_name
from bench.store import Coding, CodingKey, Score, Store, folder_lock
from bench.worker import CodingItem, CodingTask, Job, ScoringTask, Task

AnyJob = TypeVar("AnyJob", bound=Job)
logger = logging.getLogger(__name__)

#: Libraries that would start a thread per core in every worker (measured: two threads on two
#: busy cores were up to 18 times slower than one).
_THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "NUMBA_NUM_THREADS",
)
#: Failures that say something about the moment rather than about the input.
PASSING_REASONS = frozenset({Reason.TIMEOUT, Reason.WORKER_DIED, Reason.CODEC_UNAVAILABLE})


class Progress(Protocol):
    """Who is told how far a run is."""

    def begin(self, stage: str, total: int) -> None:
        """A stage with ``total`` units of work begins."""

    def advance(self, units: int, failed: int) -> None:
        """Units of the stage are done, ``failed`` of them without a value."""


class Quiet:
    """Progress for nobody."""

    def begin(self, stage: str, total: int) -> None:
        """Say nothing."""

    def advance(self, units: int, failed: int) -> None:
        """Say nothing."""


@dataclass(frozen=True)
class Execution:
    """How a plan is run; none of it moves a number other than timings.

    Attributes:
        jobs: Worker processes.
        task_timeout_s: A task that takes longer is ended and its parts are tried alone.
        keep_audio: Whether reconstructions stay when everything is scored.
        retry_failed: Whether rows that failed before are tried again (those that failed by
            timeout, crash or a missing package always are).
    """

    jobs: int = 0
    task_timeout_s: float = 900.0
    keep_audio: bool = True
    retry_failed: bool = False

    @property
    def workers(self) -> int:
        """Worker processes; 0 jobs means one per core."""
        return self.jobs or len(os.sched_getaffinity(0))


def run_plan(
    plan: Plan,
    folder: Path,
    manifest: dict[str, Any],
    execution: Execution = Execution(),
    progress: Progress | None = None,
) -> int:
    """Measure what the store in ``folder`` lacks, and return how many rows were computed.

    Raises:
        BenchError: If the folder cannot be used or another run holds it.
    """
    progress = progress or Quiet()
    with folder_lock(folder):
        store = Store(folder, create=True)
        try:
            store.add_plan(plan.as_dict(), manifest)
            coding = coding_tasks(plan, store, execution)
            done = _run_stage("coding", coding, plan, folder, store, execution, progress)
            scoring = scoring_tasks(plan, store, execution)
            done += _run_stage("scoring", scoring, plan, folder, store, execution, progress)
            if not execution.keep_audio:
                shutil.rmtree(folder / "audio", ignore_errors=True)
            return done
        finally:
            store.close()


def score_files(
    plan: Plan,
    files: dict[str, Path | None],
    codings: Sequence[Coding],
    folder: Path,
    manifest: dict[str, Any],
    execution: Execution,
    progress: Progress | None = None,
) -> None:
    """Score reconstructions that are there already, filed as those of the plan's one codec.

    Args:
        plan: One codec; each clip's hash covers its reconstruction.
        files: Reconstruction by clip hash.
        codings: What stands in for the coding stage.
        folder: The run's folder.
        manifest: See :mod:`bench.manifest`.
        execution: How.
        progress: Who is told.
    """
    with folder_lock(folder):
        store = Store(folder, create=True)
        try:
            store.add_plan(plan.as_dict() | {"source": "files"}, manifest)
            store.add(codings)
            tasks = [
                replace(task, reconstruction=file)
                for task in scoring_tasks(plan, store, execution)
                if (file := files[task.key.clip_hash])
            ]
            _run_stage("scoring", tasks, plan, folder, store, execution, progress or Quiet())
        finally:
            store.close()


# --- what is left to do ---------------------------------------------------------------------


def coding_tasks(plan: Plan, store: Store, execution: Execution) -> list[CodingTask]:
    """Return the codings still needed, batched, one codec after another."""
    codings, scores = store.coding_statuses(), store.score_statuses()

    def is_needed(codec: PlannedCodec, clip: PlannedClip) -> bool:
        key = coding_key(codec, clip)
        if not _is_settled(codings.get(key), execution):
            return True
        if codings[key][0] != Status.OK or (store.folder / reconstruction_name(key)).is_file():
            return False
        return bool(_missing_metrics(plan, clip, key, scores, execution))

    tasks = []
    for codec in plan.codecs:
        if codec.info.unavailable_reason:
            continue
        clips = [clip for clip in plan.clips if is_needed(codec, clip)]
        items = [_coding_item(plan, store, codec, clip) for clip in _unique(clips)]
        tasks += [
            CodingTask(codec.info.codec_id, plan.device, tuple(items[i : i + codec.batch_size]))
            for i in range(0, len(items), codec.batch_size)
        ]
    return tasks


def _unique(clips: Iterable[PlannedClip]) -> Iterable[PlannedClip]:
    """Leave out clips that hold what an earlier one holds."""
    return {clip.content_hash: clip for clip in clips}.values()


def _coding_item(plan: Plan, store: Store, codec: PlannedCodec, clip: PlannedClip) -> CodingItem:
    key = coding_key(codec, clip)
    seed = decoder_seed(codec.seed, codec.info.codec_id, clip.content_hash)
    return CodingItem(key, clip.clip, seed, store.folder / reconstruction_name(key))


def scoring_tasks(plan: Plan, store: Store, execution: Execution) -> list[ScoringTask]:
    """Return the scores still needed, clip after clip, so that workers share references."""
    codings, scores = store.coding_statuses(), store.score_statuses()
    tasks = []
    for clip in _unique(plan.clips):
        for codec in plan.codecs:
            key = coding_key(codec, clip)
            if codings.get(key, ("",))[0] != Status.OK:
                continue
            names = _missing_metrics(plan, clip, key, scores, execution)
            path = store.folder / reconstruction_name(key)
            if names:
                tasks.append(ScoringTask(key, clip.clip, path, names))
    return tasks


def _missing_metrics(
    plan: Plan,
    clip: PlannedClip,
    key: CodingKey,
    scores: dict[tuple[CodingKey, str], tuple[str, str | None]],
    execution: Execution,
) -> tuple[tuple[str, str], ...]:
    return tuple(
        (info.name, info.fingerprint)
        for info in plan.metrics
        if applies(info, clip) and not _is_settled(scores.get((key, info.fingerprint)), execution)
    )


def applies(info: MetricInfo, clip: PlannedClip) -> bool:
    """Whether a metric is to be computed on a clip at all."""
    if info.unavailable_reason or clip.clip.domain not in info.domains:
        return False
    return clip.clip.text is not None or not info.requires_text


def _is_settled(found: tuple[str, str | None] | None, execution: Execution) -> bool:
    """Whether a row needs no further attempt."""
    if found is None:
        return False
    status, reason = found
    return status == Status.OK or not (execution.retry_failed or reason in PASSING_REASONS)


# --- doing it --------------------------------------------------------------------------------


def _run_stage(
    stage: str,
    tasks: Sequence[Task],
    plan: Plan,
    folder: Path,
    store: Store,
    execution: Execution,
    progress: Progress,
) -> int:
    """Run a stage's tasks and keep their rows; return how many."""
    if not tasks:
        return 0
    # One process holds a GPU: a model per worker would not fit, batches fill the device instead.
    on_device = stage == "coding" and plan.device != "cpu"
    workers = 1 if on_device else min(execution.workers, len(tasks))
    count = 0

    def keep(task: Task, rows: list[Coding] | list[Score]) -> None:
        nonlocal count
        count += len(rows)
        store.add(
            codings=[row for row in rows if isinstance(row, Coding)],
            scores=[row for row in rows if isinstance(row, Score)],
        )
        failed = sum(row.status == Status.FAILED for row in rows)
        progress.advance(len(rows), failed)

    progress.begin(stage, sum(_size(task) for task in tasks))
    run_tasks(tasks, keep, workers, folder / "worker.log", execution.task_timeout_s)
    return count


def _size(task: Task) -> int:
    return len(task.items if isinstance(task, CodingTask) else task.metrics)


def run_tasks(
    tasks: Iterable[AnyJob],
    keep: Callable[[AnyJob, Any], None],
    workers: int,
    log: Path,
    timeout_s: float,
    threads: int | None = None,
) -> None:
    """Run tasks in ``workers`` processes and hand each one's rows to ``keep`` as it ends.

    Each process gets ``threads`` threads; None: its share of the cores.

    A task that hangs or kills its worker is split, and each part is tried alone; only the part
    that does it again is given up, with its reason. Few tasks are in flight at a time, so that
    memory does not grow with their number.
    """
    queue, running = deque(tasks), dict[Future[Any], AnyJob]()
    with _pool(workers, log, threads or len(os.sched_getaffinity(0)) // workers) as pool:
        while queue or running:
            while queue and len(running) < 2 * workers:
                task = queue.popleft()
                scheduled = pool.schedule(worker.run_task, args=[task], timeout=timeout_s)
                running[scheduled] = task
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                task = running.pop(future)
                try:
                    keep(task, future.result())
                except (TimeoutError, ProcessExpired) as error:
                    parts = task.split()
                    queue.extendleft(reversed(parts))
                    if not parts:
                        keep(task, task.failed(*_why(error, timeout_s)))


@contextmanager
def _pool(workers: int, log: Path, threads: int) -> Iterator[ProcessPool]:
    """Hold a pool of processes with so many threads each; whatever happens, it is ended."""
    before = {name: os.environ.get(name) for name in _THREAD_VARIABLES}
    # inherited when they start
    os.environ.update(dict.fromkeys(_THREAD_VARIABLES, str(max(1, threads))))
    pool = ProcessPool(
        max_workers=workers,
        context=get_context("spawn"),
        initializer=worker.start_worker,
        initargs=(log,),
    )
    try:
        yield pool
    except BaseException:
        pool.stop()
        raise
    else:
        pool.close()
    finally:
        pool.join()
        for name, value in before.items():
            os.environ.pop(name)
            if value is not None:
                os.environ[name] = value


def _why(error: BaseException, timeout_s: float) -> tuple[Reason, str]:
    if isinstance(error, ProcessExpired):
        message = f"the worker process died (exit code {error.exitcode}); see worker.log"
        return Reason.WORKER_DIED, message
    return Reason.TIMEOUT, f"took longer than {timeout_s:g} s; raise --task-timeout"
