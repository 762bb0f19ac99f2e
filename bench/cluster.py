"""Run tasks on a Ray cluster: codecs in actors that hold their model, metrics as tasks of one CPU.

Ray decides where a task runs, and tells when a node is gone. On its node every task runs in a
:class:`~bench.pool.WorkerProcess` below Ray's own, as it would here, so that a crash, a hang or a
leak means the same on both. Nodes share the run's folder and the datasets with this machine under
the same paths, and have the same versions of everything that moves a number; each says so itself
before its first task. Only this process writes to the store.
"""

import logging
import os
import secrets
import socket
import sys
import time
from collections.abc import Iterator
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench import __version__
from bench.cluster_watch import ClusterWatch
from bench.errors import BenchError, one_line
from bench.manifest import package_versions
from bench.pool import Limits, LostError, WorkerProcess, local_limits
from bench.worker import CodingTask, Failure, Job, Outcome

#: What Ray keeps in shared memory; tasks and rows are a few kilobytes each.
_OBJECT_STORE_BYTES = 200 * 2**20
#: How long to wait for a node that can hold a codec; a cluster may have to start one.
_NODE_TIMEOUT_S = 900.0
_TOKEN_FILE = ".nodes"


@dataclass(frozen=True)
class Site:
    """What every node must have in common with this machine, and the limits of its workers."""

    folder: Path
    token: str
    working_directory: str
    import_path: tuple[str, ...]
    versions: tuple[tuple[str, str], ...]
    task_timeout_s: float
    memory_mb: float


@dataclass
class _Coder:
    """An actor and what it has to do."""

    actor: Any
    ready: Any
    is_ready: bool = False
    tasks: int = 0


class RayPool:
    """The nodes of a Ray cluster.

    Args:
        folder: The run's folder, which all nodes see.
        limits: Of each worker process; memory 0 is a share of its node's.
        address: Of the cluster, e.g. ``auto``; None starts Ray on this machine.
        jobs: Tasks at a time; 0: as many as the cluster has CPUs.
        gpus: GPUs of one codec actor; a fraction lets several share one.

    Raises:
        BenchError: If Ray is not installed or there is no such cluster.
    """

    def __init__(
        self, folder: Path, limits: Limits, *, address: str | None, jobs: int, gpus: float
    ) -> None:
        self._ray, self._is_ours = _connect(address, jobs)
        self._jobs, self._gpus = jobs, gpus
        self._site = self._ray.put(_describe_site(folder, limits))
        remote = self._ray.remote(num_cpus=1, max_retries=0)
        self._score = remote(run_here)
        actor = self._ray.remote(num_cpus=1, num_gpus=gpus, max_restarts=0)
        self._new_coder = actor(CoderActor)
        self._coders: list[_Coder] = []
        self._running: dict[Future[Any], tuple[Any, _Coder | None]] = {}
        self._watch = ClusterWatch(self._ray, self._fail_all)

    def capacity(self, task: Job) -> int:
        """Return how many tasks like this one keep the cluster busy."""
        if isinstance(task, CodingTask):
            return 2 * max(1, sum(coder.is_ready for coder in self._coders))
        cpus = int(self._cluster("CPU"))
        return self._jobs if 0 < self._jobs < cpus else 2 * max(1, cpus)

    def submit(self, task: Job) -> Future[Outcome | Failure]:
        """Hand a task over; blocks while no node can hold a codec.

        Raises:
            BenchError: If there is no such node for a quarter of an hour.
        """
        coder = None
        if isinstance(task, CodingTask):
            coder = min(self._ready_coders(), key=lambda coder: coder.tasks)
            coder.tasks += 1
            reference = coder.actor.run.remote(task, self._site)
        else:
            self._dismiss_coders()  # they hold CPUs that metrics need
            reference = self._score.remote(task, self._site)
        future = reference.future()
        self._running[future] = reference, coder
        self._watch.check()  # after that, so that the watch fails this future or we raise
        return future

    def result(self, future: Future[Outcome | Failure]) -> Outcome | Failure:
        """Return what became of a task; see :meth:`bench.pool.Pool.result`."""
        _, coder = self._running.pop(future)
        if coder:
            coder.tasks -= 1
        errors = self._ray.exceptions
        try:
            return future.result()
        except errors.RayTaskError as error:
            if isinstance(error.cause, BenchError | LostError):
                raise error.cause from None
            raise BenchError(f"a node cannot run tasks: {one_line(error.cause, 200)}") from error
        except errors.RayActorError as error:
            if coder in self._coders:
                self._coders.remove(coder)
            raise LostError(f"its node was lost ({one_line(error, 200)})") from error
        except errors.RayError as error:
            raise LostError(f"its node was lost ({one_line(error, 200)})") from error

    def close(self) -> None:
        """End what runs, and Ray if it was started here."""
        self._watch.stop()
        if not self._watch.loss:  # nobody would answer
            for reference, coder in self._running.values():
                if coder is None:
                    self._ray.cancel(reference, force=True)
            self._dismiss_coders()
        if self._is_ours:
            self._ray.shutdown()

    def _ready_coders(self) -> list[_Coder]:
        """Return actors whose process runs, after asking for as many as the cluster can hold."""
        for _ in range(len(self._coders), self._wanted_coders()):
            actor = self._new_coder.remote()
            self._coders.append(_Coder(actor, actor.ready.remote()))
        until = time.monotonic() + _NODE_TIMEOUT_S
        while not (found := list(self._found_ready())):
            self._watch.check()
            if time.monotonic() > until or not self._coders:
                raise BenchError(
                    f"no node of the cluster offers 1 CPU and {self._gpus:g} GPU; "
                    f"it has {dict(self._watch.resources)}"
                )
        return found

    def _found_ready(self) -> Iterator[_Coder]:
        """Yield the actors that are ready, those that failed to start being dropped."""
        waiting = {coder.ready: coder for coder in self._coders if not coder.is_ready}
        if waiting:
            is_urgent = len(waiting) == len(self._coders)
            done, _ = self._ray.wait(list(waiting), timeout=1.0 if is_urgent else 0.0)
            for reference in done:
                try:
                    waiting[reference].is_ready = self._ray.get(reference)
                except self._ray.exceptions.RayError:
                    self._coders.remove(waiting[reference])
        yield from (coder for coder in self._coders if coder.is_ready)

    def _wanted_coders(self) -> int:
        places = self._cluster("CPU")
        if self._gpus:
            places = min(places, self._cluster("GPU") / self._gpus)
        return max(1, int(min(places, self._jobs or places)))

    def _dismiss_coders(self) -> None:
        for coder in self._coders:
            self._ray.kill(coder.actor)
        self._coders = []

    def _cluster(self, resource: str) -> float:
        """Return how much of a resource the cluster has, as known a few seconds ago."""
        return self._watch.resources.get(resource, 0.0)

    def _fail_all(self, loss: BenchError) -> None:
        """Let nobody wait for tasks that will not return."""
        for future in list(self._running):
            with suppress(InvalidStateError):
                future.set_exception(loss)


def _connect(address: str | None, jobs: int) -> tuple[Any, bool]:
    """Return Ray, connected, and whether it is ours to shut down."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
    except ImportError as error:
        message = "--executor ray needs Ray; pip install 'codecbench[cluster]'"
        raise BenchError(message) from error
    if ray.is_initialized():
        return ray, False
    here: dict[str, Any] = {"num_cpus": jobs or None, "include_dashboard": False}
    here |= {"object_store_memory": _OBJECT_STORE_BYTES}
    try:
        ray.init(
            address=address or "local",
            logging_level=logging.ERROR,
            log_to_driver=False,
            **({} if address else here),
        )
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise BenchError(
            f"cannot use a Ray cluster at {address or 'this machine'}: {one_line(error, 200)}; "
            "start one with `ray start --head`"
        ) from error
    return ray, True


def _describe_site(folder: Path, limits: Limits) -> Site:
    token = secrets.token_hex(8)
    folder = folder.resolve()
    (folder / _TOKEN_FILE).write_text(token)
    return Site(
        folder=folder,
        token=token,
        working_directory=str(Path.cwd()),
        import_path=tuple(sys.path),
        versions=_versions(),
        task_timeout_s=limits.task_timeout_s,
        memory_mb=limits.memory_mb,
    )


def _versions() -> tuple[tuple[str, str], ...]:
    return (("codecbench", __version__), *sorted(package_versions().items()))


# --- what runs on a node ---------------------------------------------------------------------

_worker: tuple[Site, WorkerProcess] | None = None


class CoderActor:
    """Holds a worker process, and so a codec's model, for the length of the coding stage."""

    def ready(self) -> bool:
        """Return True, as soon as this runs."""
        return True

    def run(self, task: Job, site: Site) -> Outcome | Failure:
        """Run a coding task."""
        return run_here(task, site)


def run_here(task: Job, site: Site) -> Outcome | Failure:
    """Run a task on this node, in the worker process that belongs to Ray's.

    Raises:
        BenchError: If this node is not like the machine that asks.
        LostError: If the worker process was killed.
    """
    global _worker
    if _worker is None or _worker[0] != site:
        if _worker is not None:
            _worker[1].stop()
        check_node(site)
        os.chdir(site.working_directory)
        sys.path += [entry for entry in site.import_path if entry not in sys.path]
        cores = len(os.sched_getaffinity(0))
        limits = local_limits(cores, site.task_timeout_s, site.memory_mb)
        log = site.folder / f"worker-{socket.gethostname()}.log"
        _worker = site, WorkerProcess(log, limits)
    return _worker[1].run(task)


def check_node(site: Site) -> None:
    """Check that this node sees the run's folder and has the same versions.

    Raises:
        BenchError: If not; what it lacks, and what to do.
    """
    node = socket.gethostname()
    try:
        sees_folder = (site.folder / _TOKEN_FILE).read_text() == site.token
        sees_folder &= Path(site.working_directory).is_dir()
    except OSError:
        sees_folder = False
    if not sees_folder:
        raise BenchError(
            f"node {node} does not see {site.folder} (or {site.working_directory}) as this "
            "machine does; put them on storage that all nodes mount at one place"
        )
    ours, theirs = dict(_versions()), dict(site.versions)
    unlike = sorted(name for name in ours | theirs if ours.get(name) != theirs.get(name))
    if unlike:
        name = unlike[0]
        raise BenchError(
            f"node {node} has {name} {ours.get(name)}, this machine {theirs.get(name)}"
            f"{f' ({len(unlike) - 1} more differ)' if unlike[1:] else ''}; install the same "
            "versions everywhere, they move numbers"
        )
