"""Where tasks run: processes of this machine, or (:mod:`bench.cluster`) of many.

A task goes in, a future comes out. Whatever a codec or metric does to its process ends in rows, in
a :class:`~bench.worker.Failure` that says what the task did, or in a :class:`LostError` where the
task is not to blame. All times are taken from a clock that never goes back.
"""

import json
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import Pipe
from multiprocessing.connection import Connection, wait
from pathlib import Path
from queue import LifoQueue
from typing import Protocol

from bench.errors import BenchError, Reason, Status
from bench.worker import Failure, Job, Outcome

#: Libraries that would start a thread per core in every worker (measured: two threads on two
#: busy cores were up to 18 times slower than one).
_THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "NUMBA_NUM_THREADS",
)
_START_TIMEOUT_S = 300.0
_START_ATTEMPTS = 3
_PROGRAM = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]); "
    "from bench.worker import serve; serve(int(sys.argv[2]))"
)


class LostError(Exception):
    """A task was lost through no fault of its own: its process was killed, its machine is gone."""


class Pool(Protocol):
    """Where tasks run."""

    def capacity(self, task: Job) -> int:
        """Return how many tasks like this one keep it busy; more would only take memory."""

    def submit(self, task: Job) -> Future[Outcome | Failure]:
        """Hand a task over."""

    def result(self, future: Future[Outcome | Failure]) -> Outcome | Failure:
        """Return what became of a task that is done.

        Raises:
            LostError: If it may be tried again.
            BenchError: If nothing can run there.
        """

    def close(self) -> None:
        """End everything, at once."""


@dataclass(frozen=True)
class Limits:
    """What a worker process may take.

    Attributes:
        task_timeout_s: Longest time for one task.
        memory_mb: A worker that holds more than this after a task, and more than it did after its
            first one, is replaced by a new one: somebody leaks. 0: an equal share of the machine's.
        threads: Of its libraries.
    """

    task_timeout_s: float = 900.0
    memory_mb: float = 0.0
    threads: int = 1


class WorkerProcess:
    """One process that runs task after task; started when needed, replaced when it is gone."""

    def __init__(self, log: Path, limits: Limits) -> None:
        self._log = log
        self._limits = limits
        self._process: subprocess.Popen[bytes] | None = None
        self._connection: Connection | None = None
        self._first_mb: float | None = None

    def run(self, task: Job) -> Outcome | Failure:
        """Run one task; a hanging or crashing one gives a failure.

        Raises:
            LostError: If the process was killed from outside.
            BenchError: If no process can be started.
        """
        connection = self._connection or self._start()
        limit_s = self._limits.task_timeout_s
        try:
            connection.send(task)
            if not self._is_answered(limit_s):
                self.stop()
                message = f"took longer than {limit_s:g} s; raise --task-timeout"
                return Failure(Status.FAILED, Reason.TIMEOUT, message)
            rows, memory_mb = connection.recv()
        except (EOFError, OSError):
            return self._died()
        self._replace_if_grown(memory_mb)
        return rows

    def stop(self) -> int | None:
        """End the process and all it started; return its exit code, None if there was none."""
        process, self._process = self._process, None
        connection, self._connection = self._connection, None
        self._first_mb = None
        if process is None:
            return None
        with suppress(ProcessLookupError):
            # It leads a group of its own, with what metrics forked.
            os.killpg(process.pid, signal.SIGKILL)
        if connection:
            connection.close()
        return process.wait()

    def _start(self) -> Connection:
        for _ in range(_START_ATTEMPTS):
            self._launch()
            try:
                if self._connection and self._is_answered(_START_TIMEOUT_S):
                    self._connection.recv()
                    return self._connection
            except (EOFError, OSError):
                pass  # it ended while starting: killed, or something it needs is missing
            code = self.stop()
        raise BenchError(f"no worker process can be started (exit code {code}); see {self._log}")

    def _launch(self) -> None:
        ours, theirs = Pipe()
        threads = dict.fromkeys(_THREAD_VARIABLES, str(self._limits.threads))
        command = [sys.executable, "-c", _PROGRAM, json.dumps(sys.path), str(theirs.fileno())]
        with self._log.open("ab") as log, theirs:
            self._process = subprocess.Popen(
                command,
                env=os.environ | threads,
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._connection = ours

    def _is_answered(self, timeout_s: float) -> bool:
        """Wait for an answer or for the end of the process; False when time is over."""
        if not self._process or not self._connection:
            raise EOFError
        # A fork of the worker may hold the pipe open, so its end alone would not tell.
        end = os.pidfd_open(self._process.pid)
        try:
            return bool(wait([self._connection, end], timeout_s))
        finally:
            os.close(end)

    def _died(self) -> Failure:
        if self._process and self._process.poll() is None:
            time.sleep(0.1)  # the pipe closes a moment before the process ends
            self._process.poll()
        code = self._process.poll() if self._process else None
        self.stop()
        if code in (None, -signal.SIGKILL):  # by a person, or by a kernel out of memory
            raise LostError("the worker process was killed")
        message = f"the worker process died (exit code {code}); see {self._log.name}"
        return Failure(Status.FAILED, Reason.WORKER_DIED, message)

    def _replace_if_grown(self, memory_mb: float) -> None:
        """Stop a worker that grew beyond its share; a model that is that large is no leak."""
        first_mb = self._first_mb = self._first_mb or memory_mb
        if memory_mb > max(self._limits.memory_mb, 1.5 * first_mb):
            self.stop()


class LocalPool:
    """Worker processes on this machine.

    Args:
        workers: How many.
        log: File that takes what libraries print.
        limits: What each may take.
    """

    def __init__(self, workers: int, log: Path, limits: Limits) -> None:
        self._workers = workers
        self._processes = [WorkerProcess(log, limits) for _ in range(workers)]
        # Last in, first out: few tasks start few processes.
        self._idle: LifoQueue[WorkerProcess] = LifoQueue()
        for process in self._processes:
            self._idle.put(process)
        self._threads = ThreadPoolExecutor(workers)

    def capacity(self, task: Job) -> int:
        """Return two for each worker: it has one and finds the next one waiting."""
        return 2 * self._workers

    def submit(self, task: Job) -> Future[Outcome | Failure]:
        """Hand a task over."""
        return self._threads.submit(self._run, task)

    def result(self, future: Future[Outcome | Failure]) -> Outcome | Failure:
        """Return what became of a task; see :meth:`Pool.result`."""
        return future.result()

    def close(self) -> None:
        """End everything, at once."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        for process in self._processes:
            process.stop()
        self._threads.shutdown()
        for process in self._processes:  # one that was just starting
            process.stop()

    def _run(self, task: Job) -> Outcome | Failure:
        process = self._idle.get()
        try:
            return process.run(task)
        finally:
            self._idle.put(process)


def local_limits(workers: int, task_timeout_s: float, memory_mb: float) -> Limits:
    """Return limits that share memory out among ``workers`` processes, of one thread each.

    More threads would sum in another order: the last bits of mel distances and of what neural
    codecs decode would depend on how many workers and cores there are.
    """
    return Limits(task_timeout_s, memory_mb or 0.8 * machine_memory_mb() / workers)


def machine_memory_mb() -> float:
    """Return how much memory this machine, or the container we are in, has."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    with suppress(OSError, ValueError):  # no such limit
        total = min(total, int(Path("/sys/fs/cgroup/memory.max").read_text()))
    return total / 2**20
