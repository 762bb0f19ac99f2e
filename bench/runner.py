"""Run a plan: code every clip with every codec, score every reconstruction, keep every row.

Two stages joined by files. Coding writes reconstructions (24-bit FLAC) into the run's folder,
scoring reads them. Both take their work from what the store does not have yet, spread it over a
pool of processes, and keep each result as it arrives; stopping at any moment loses nothing.
"""

import os
import shutil
from collections import Counter, deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol, TypeVar

from bench.audio import PARTIAL_SUFFIX
from bench.errors import Reason, Status, unknown_name
from bench.plan import Plan, PlannedClip, PlannedCodec, coding_key, decoder_seed
from bench.pool import Limits, LocalPool, LostError, Pool, local_limits
from bench.results import MetricInfo, reconstruction_name
from bench.store import Coding, CodingKey, Score, Store, folder_lock
from bench.worker import CodingItem, CodingTask, Failure, Job, ScoringTask, Task

AnyJob = TypeVar("AnyJob", bound=Job)

#: Failures that say something about the moment rather than about the input.
PASSING_REASONS = frozenset(
    {Reason.TIMEOUT, Reason.WORKER_DIED, Reason.CANNOT_WRITE, Reason.CODEC_UNAVAILABLE}
)
#: Where tasks can run.
EXECUTORS = ("local", "ray")
#: How often a task may be lost with its process or machine until it is given up.
LOSSES_ALLOWED = 3


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
        jobs: Worker processes; 0: one per core.
        task_timeout_s: A task that takes longer is ended and its parts are tried alone.
        executor: ``local``: processes of this machine; ``ray``: of a Ray cluster.
        address: Of the Ray cluster; None starts Ray on this machine.
        gpus: GPUs of one codec process on a cluster, may be a fraction; None: 1 if the device is
            not the CPU.
        worker_memory_mb: A worker that holds more after a task is replaced; 0: its share.
        keep_audio: Whether reconstructions stay when everything is scored.
        retry_failed: Whether rows that failed before are tried again (those that failed by
            timeout, crash or a missing package always are).
    """

    jobs: int = 0
    executor: str = "local"
    address: str | None = None
    gpus: float | None = None
    task_timeout_s: float = 900.0
    worker_memory_mb: float = 0.0
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
            for partial in (folder / "audio").glob(f"*/*{PARTIAL_SUFFIX}"):  # of killed workers
                partial.unlink(missing_ok=True)
            store.add_plan(plan.as_dict(), manifest)
            with closing(_Pools(execution, folder, plan.device)) as pools:
                coding = coding_tasks(plan, store, execution)
                done = _run_stage("coding", coding, pools, store, progress)
                scoring = scoring_tasks(plan, store, execution)
                done += _run_stage("scoring", scoring, pools, store, progress)
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
            with closing(_Pools(execution, folder, "cpu")) as pools:
                _run_stage("scoring", tasks, pools, store, progress or Quiet())
        finally:
            store.close()


# --- what is left to do ---------------------------------------------------------------------


def coding_tasks(plan: Plan, store: Store, execution: Execution) -> list[CodingTask]:
    """Return the codings still needed, batched, one codec after another."""

    def is_needed(codec: PlannedCodec, clip: PlannedClip) -> bool:
        key = coding_key(codec, clip)
        found = store.coding_status(key)
        if not _is_settled(found, execution):
            return True
        if found is None or found[0] != Status.OK:
            return False
        is_missed = bool(_missing_metrics(plan, clip, key, store, execution))
        return is_missed and not (store.folder / reconstruction_name(key)).is_file()

    tasks = []
    for codec in plan.codecs:
        if codec.info.unavailable_reason:
            continue
        clips = [clip for clip in _unique(plan.clips) if is_needed(codec, clip)]
        if codec.batch_size > 1:
            clips.sort(key=_length)
        items = [_coding_item(plan, store, codec, clip) for clip in clips]
        tasks += [
            CodingTask(codec.info.codec_id, plan.device, tuple(items[i : i + codec.batch_size]))
            for i in range(0, len(items), codec.batch_size)
        ]
    return tasks


def _length(clip: PlannedClip) -> tuple[float, str]:
    """Return what sorts clips by length, about, so that a batch has little to pad."""
    facts = clip.clip
    try:
        return facts.duration_s or facts.path.stat().st_size, facts.id
    except OSError:
        return 0.0, facts.id


def _unique(clips: Iterable[PlannedClip]) -> Iterable[PlannedClip]:
    """Leave out clips that hold what an earlier one holds."""
    return {clip.content_hash: clip for clip in clips}.values()


def _coding_item(plan: Plan, store: Store, codec: PlannedCodec, clip: PlannedClip) -> CodingItem:
    key = coding_key(codec, clip)
    seed = decoder_seed(codec.seed, codec.info.codec_id, clip.content_hash)
    return CodingItem(key, clip.clip, seed, store.folder / reconstruction_name(key))


def scoring_tasks(plan: Plan, store: Store, execution: Execution) -> list[ScoringTask]:
    """Return the scores still needed, clip after clip, so that workers share references."""
    tasks = []
    for clip in _unique(plan.clips):
        for codec in plan.codecs:
            key = coding_key(codec, clip)
            status = store.coding_status(key)
            if status is None or status[0] != Status.OK:
                continue
            if names := _missing_metrics(plan, clip, key, store, execution):
                path = store.folder / reconstruction_name(key)
                tasks.append(ScoringTask(key, clip.clip, path, names))
    return tasks


def _missing_metrics(
    plan: Plan, clip: PlannedClip, key: CodingKey, store: Store, execution: Execution
) -> tuple[tuple[str, str], ...]:
    scores = store.score_statuses(key)
    return tuple(
        (info.name, info.fingerprint)
        for info in plan.metrics
        if applies(info, clip) and not _is_settled(scores.get(info.fingerprint), execution)
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
    stage: str, tasks: Sequence[Task], pools: "_Pools", store: Store, progress: Progress
) -> int:
    """Run a stage's tasks and keep their rows; return how many."""
    if not tasks:
        return 0
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
    run_tasks(tasks, keep, pools.of_stage(stage))
    return count


def _size(task: Task) -> int:
    return len(task.items if isinstance(task, CodingTask) else task.metrics)


def run_tasks(tasks: Iterable[AnyJob], keep: Callable[[AnyJob, Any], None], pool: Pool) -> None:
    """Run tasks in a pool and hand each one's rows to ``keep`` as it ends.

    A task that hangs or kills its worker is split, and each part is tried alone; only the part
    that does it again is given up, with its reason. A task that is lost with its machine is tried
    elsewhere. Few tasks are in flight at a time, so that memory does not grow with their number.
    """
    queue, running = deque(tasks), dict[Future[Any], AnyJob]()
    losses: Counter[AnyJob] = Counter()
    while queue or running:
        while queue and len(running) < pool.capacity(queue[0]):
            task = queue.popleft()
            running[pool.submit(task)] = task
        for future in wait(running, return_when=FIRST_COMPLETED).done:
            task = running.pop(future)
            try:
                done = pool.result(future)
            except LostError as error:
                losses[task] += 1
                if losses[task] < LOSSES_ALLOWED:
                    queue.appendleft(task)
                    continue
                done = Failure(Status.FAILED, Reason.WORKER_DIED, f"{error}, {losses[task]} times")
            if not isinstance(done, Failure):
                keep(task, done)
            elif parts := task.split():
                queue.extendleft(reversed(parts))
            else:
                keep(task, task.failed(done.reason, done.message))


class _Pools:
    """The pools of a run, opened when a stage has something to do."""

    def __init__(self, execution: Execution, folder: Path, device: str) -> None:
        self._execution = execution
        self._folder = folder
        self._device = device
        self._open: dict[int, Pool] = {}

    def of_stage(self, stage: str) -> Pool:
        """Return where a stage's tasks run."""
        workers = self._execution.workers
        if stage == "coding" and self._device != "cpu" and self._execution.executor == "local":
            # One process holds a GPU: a model per worker would not fit, batches fill the device.
            workers = 1
        if workers not in self._open:
            self._open[workers] = _open_pool(self._execution, workers, self._folder, self._device)
        return self._open[workers]

    def close(self) -> None:
        """End all of them."""
        for pool in self._open.values():
            pool.close()


def _open_pool(execution: Execution, workers: int, folder: Path, device: str) -> Pool:
    if execution.executor == "local":
        limits = local_limits(workers, execution.task_timeout_s, execution.worker_memory_mb)
        return LocalPool(workers, folder / "worker.log", limits)
    if execution.executor != "ray":
        raise unknown_name("executor", execution.executor, EXECUTORS)
    from bench.cluster import RayPool

    gpus = execution.gpus if execution.gpus is not None else float(device != "cpu")
    limits = Limits(execution.task_timeout_s, execution.worker_memory_mb)
    address = execution.address
    jobs = execution.jobs if address else workers
    return RayPool(folder, limits, address=address, jobs=jobs, gpus=gpus)
