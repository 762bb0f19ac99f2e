"""Kill a run at random moments until it ends, and compare it with one that was left alone.

    python tools/kill_test.py --executor local --clips 500 --kills 12 --seed 0
    python tools/kill_test.py --executor ray --clips 500 --kills 12 --nodes 2

Clips are seeded pieces of the demo corpus, one second each. Each kill is a SIGKILL of the program
itself, of a worker process or, with Ray, of one of Ray's: a worker, a raylet, the control store.
With ``--nodes`` the run is on a cluster of that many working nodes, and a node is killed instead,
and replaced. Whenever the program has ended, the same command is started again. At the end:

- the tidy rows (all but timings and memory), the table and every reconstruction equal, bit for bit,
  those of a local run that was left alone;
- what was in the store before a kill was in it, unchanged, after every later one, and each start
  measured only what the store lacked;
- no process of the run was left over after the program was gone;
- SQLite's own check finds the store in order; whatever else ended the program stands in one line.

Exits with 1 and says which of them does not hold, with 2 if the run ended before all kills. How
many rows there are is read from the store while the run writes to it, so that this is tried too.
"""

import argparse
import ctypes
import filecmp
import os
import re
import shutil
import signal
import sqlite3
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import psutil
import soundfile

from bench.api import find_clips
from bench.results import Results
from bench.runner import PASSING_REASONS
from bench.store import FILE_NAME

ROOT = Path(__file__).resolve().parents[1]
CODECS = "passthrough,lowpass@3500hz,opus@6kbps,mp3@32kbps"
METRICS = "mel-dac-eval,si-sdr,stoi,estoi,pesq-wb,pesq-nb"
#: Who is killed, by command line; the program and a node of a cluster are known otherwise.
COMMAND_LINES = {
    "worker": r"bench\.worker",
    "ray worker": r"^ray::(run_here|CoderActor)",
    "raylet": r"/raylet/raylet ",
    "control store": r"/gcs/gcs_server ",
}
VICTIMS = {
    "local": ("program", "worker"),
    "ray": ("program", "worker", "ray worker", "raylet", "control store"),
    "cluster": ("program", "worker", "ray worker", "node"),
}
#: What belongs to a cluster and not to the run on it.
OF_THE_CLUSTER = r"/ray/|^ray::(IDLE|DashboardAgent|RuntimeEnvAgent)"
NOTHING = r"(?!)"
KEYS = {
    "codings": ("codec_fingerprint", "clip_hash", "seed"),
    "scores": ("codec_fingerprint", "clip_hash", "seed", "metric_fingerprint"),
}
PR_SET_CHILD_SUBREAPER = 36
#: Ray's agents look for a control store that is gone for a minute.
GONE_WITHIN_S = 90.0
Rows = dict[tuple[Any, ...], tuple[Any, ...]]


class BrokenPromiseError(Exception):
    """Something that must hold does not."""


class TooFewClipsError(Exception):
    """The run ended before all kills."""


def main() -> int:
    """Run the test and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--executor", choices=("local", "ray"), default="local")
    parser.add_argument("--nodes", type=int, default=0, help="of a cluster; 0: Ray starts itself")
    parser.add_argument("--clips", type=int, default=500)
    parser.add_argument("--kills", type=int, default=12)
    parser.add_argument("--seed", type=int, default=0, help="of clips, moments and victims")
    parser.add_argument("--codecs", default=CODECS)
    parser.add_argument("--metrics", default=METRICS)
    parser.add_argument("--folder", type=Path, help="keep all here; the run left alone is reused")
    options = parser.parse_args()
    # What a killed program leaves behind becomes our child, and is found.
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1)
    with tempfile.TemporaryDirectory() as scratch:
        try:
            folder = options.folder or Path(scratch)
            kill_and_compare(options, folder / f"{options.clips}-clips-seed-{options.seed}")
        except BrokenPromiseError as error:
            print(f"BROKEN: {error}")
            return 1
        except TooFewClipsError:
            print("the run ended before all kills; take more --clips or fewer --kills")
            return 2
    print("every promise held")
    return 0


def kill_and_compare(options: argparse.Namespace, folder: Path) -> None:
    """Make clips, measure them once in peace and once under fire, and compare."""
    make_clips(folder / "clips", options.clips, options.seed)
    command = [sys.executable, str(ROOT / "run_bench.py"), "run", "--no-report", "--plain"]
    command += ["--dataset", str(folder / "clips"), "--jobs", "2"]
    command += ["--codecs", options.codecs, "--metrics", options.metrics]
    quiet = Run(command, folder / "quiet")
    quiet.finish()
    whole = quiet.rows()
    say(f"left alone: {len(whole['codings'])} codings, {len(whole['scores'])} scores")

    out = folder / "killed"
    shutil.rmtree(out, ignore_errors=True)
    rng = np.random.default_rng(options.seed)
    with cluster_of(options.nodes) as cluster:
        where = ["--executor", options.executor]
        where += ["--address", cluster.address] if cluster else []
        run = Run([*command, *where], out, whole, OF_THE_CLUSTER if cluster else NOTHING)
        kind = "cluster" if cluster else options.executor
        for moment, victim in plan_kills(options.kills, VICTIMS[kind], rng):
            run.wait_for(moment * quiet.count())
            time.sleep(rng.uniform(0, 0.3))
            kill(run, victim, rng, cluster)
        run.finish()
    say(f"ended after {run.starts} starts")
    compare(quiet.out, out)


def say(text: str) -> None:
    """Print a line at once."""
    print(text, flush=True)


def make_clips(folder: Path, number: int, seed: int) -> None:
    """Write seeded pieces of the demo corpus, 1 s each, into one folder per domain."""
    sources = [(clip.domain, clip.read()) for clip in find_clips("demo")]
    rng = np.random.default_rng(seed)
    for index in range(number):
        domain, audio = sources[index % len(sources)]
        start = rng.integers(audio.samples.shape[1] - audio.sample_rate)
        piece = audio.samples[:, start : start + audio.sample_rate] * rng.uniform(0.3, 0.9)
        path = folder / domain / f"{index:04d}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, piece.T, audio.sample_rate, subtype="PCM_24")


def plan_kills(
    number: int, victims: Sequence[str], rng: np.random.Generator
) -> Iterator[tuple[float, str]]:
    """Yield when (fraction of all rows) and whom to kill; each kind of victim about as often."""
    moments = np.sort(rng.uniform(0, 0.95, number))
    order = [rng.permutation(victims) for _ in range(0, number, len(victims))]
    yield from zip(moments.tolist(), np.concatenate(order).tolist(), strict=False)


@contextmanager
def cluster_of(nodes: int) -> Iterator[Any]:
    """Give a Ray cluster with a head that only coordinates; None for no nodes."""
    if not nodes:
        yield None
        return
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    from ray.cluster_utils import Cluster

    # Ray waits 15 s by default before it believes that a node is dead.
    system = {"health_check_period_ms": 1000, "health_check_failure_threshold": 3}
    cluster = Cluster(True, head_node_args=NODE | {"num_cpus": 0, "_system_config": system})
    for _ in range(nodes):
        cluster.add_node(**NODE)
    try:
        yield cluster
    finally:
        cluster.shutdown()


NODE = {"num_cpus": 1, "object_store_memory": 80 * 2**20, "include_dashboard": False}


@dataclass
class Run:
    """The program, started again and again until it has measured everything.

    Attributes:
        whole: Rows of the run left alone, to tell what each start has left to do.
        stays: Pattern of the command lines of processes that are not the run's.
    """

    command: Sequence[str]
    out: Path
    whole: dict[str, Rows] | None = None
    stays: str = NOTHING
    process: psutil.Popen | None = None
    starts: int = 0
    kept: dict[str, Rows] = field(default_factory=lambda: {name: {} for name in KEYS})

    def start(self) -> None:
        """Start the program unless it runs."""
        if self.process is None:
            self.starts += 1
            with self.log.open("w") as log:
                command = [*self.command, "--out", str(self.out)]
                self.process = psutil.Popen(command, stdout=log, stderr=log)

    @property
    def log(self) -> Path:
        """What the latest start said."""
        return self.out.with_name(f"{self.out.name}-{self.starts}.log")

    def wait_for(self, rows: float) -> None:
        """Wait until so many rows are there, starting the program whenever it has ended."""
        while self.process is None or self.count() < rows:
            if self.step():
                raise TooFewClipsError
            time.sleep(0.2)

    def finish(self) -> None:
        """Let the run come to its end."""
        while not self.step():
            time.sleep(0.2)

    def step(self) -> bool:
        """Start the program if it does not run, look at how it ended if so; True: all is done."""
        self.start()
        code = self.process.poll()
        if code is None:
            return False
        self.check_end(code, ours=False)
        return code in (0, 1)

    def check_end(self, code: int, *, ours: bool, wait: bool = True) -> None:
        """Check what must hold whenever the program has ended."""
        self.process = None
        last = ["", *self.log.read_text().splitlines()][-1]
        if (
            not ours
            and code not in (0, 1)
            and not (code == 2 and last.startswith("run_bench.py: "))
        ):
            raise BrokenPromiseError(f"it ended with {code}, saying {last!r}; see {self.log}")
        say(f"  start {self.starts} ended with {code}: {last}")
        if wait:
            self.check_gone()
        if (health := self.query("PRAGMA integrity_check")) not in ([], [("ok",)]):
            raise BrokenPromiseError(f"the store is damaged: {health}")
        before, self.kept = self.kept, self.rows()
        for table, rows in before.items():
            changed = [key for key, row in rows.items() if self.kept[table].get(key) != row]
            if changed:
                raise BrokenPromiseError(f"{len(changed)} of {table} were lost or changed")
            self.check_work(table, len(rows), len(self.kept[table]))

    def check_work(self, table: str, before: int, after: int) -> None:
        """Check that a start set out to measure what the store lacked, no more."""
        if self.whole is None:
            return
        stage = {"codings": "coding", "scores": "scoring"}[table]
        asked = re.search(rf"^{stage}: (\d+) rows$", self.log.read_text(), re.MULTILINE)
        missing = len(self.whole[table]) - before
        if asked and int(asked[1]) != missing:
            raise BrokenPromiseError(f"{missing} {table} were missing, {asked[1]} were measured")
        if not asked and after != before:
            raise BrokenPromiseError(f"{table} came from nowhere")

    def check_gone(self) -> None:
        """Check that no process of the run is left."""
        until = time.monotonic() + GONE_WITHIN_S
        while left := [line for _, line in processes() if not re.search(self.stays, line)]:
            if time.monotonic() > until:
                raise BrokenPromiseError(f"processes are left over: {left}")
            time.sleep(0.2)

    def rows(self) -> dict[str, Rows]:
        """Return what is settled in the store, by key: what has a value or a lasting reason."""
        passing = ", ".join(f"'{reason}'" for reason in PASSING_REASONS)
        return {
            table: {
                row[: len(keys)]: row
                for row in self.query(
                    f"SELECT * FROM {table} WHERE coalesce(reason, '') NOT IN ({passing})"
                )
            }
            for table, keys in KEYS.items()
        }

    def count(self) -> int:
        """Return how many rows there are."""
        return sum(row[0] for table in KEYS for row in self.query(f"SELECT count(*) FROM {table}"))

    def query(self, sql: str) -> list[tuple[Any, ...]]:
        """Ask the store, which may not be there yet."""
        try:
            place = f"file:{self.out / FILE_NAME}?mode=ro"
            with closing(sqlite3.connect(place, uri=True)) as store:
                return store.execute(sql).fetchall()
        except sqlite3.OperationalError as error:
            if re.match("no such table|unable to open", str(error)):
                return []
            raise


def processes() -> Iterator[tuple[int, str]]:
    """Yield process and command line of everything that lives below us."""
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            line = " ".join(process.cmdline())
            if process.status() != psutil.STATUS_ZOMBIE and line:
                yield process.pid, line


def kill(run: Run, victim: str, rng: np.random.Generator, cluster: Any) -> None:
    """Kill a random process of a kind, as soon as there is one."""
    while not (found := candidates(run, victim, cluster)):
        if run.step():
            raise TooFewClipsError
        time.sleep(0.1)
    say(f"  kill: {victim}")
    chosen = found[rng.integers(len(found))]
    if victim == "node":
        cluster.remove_node(chosen, allow_graceful=False)
        cluster.add_node(**NODE)
        return
    with suppress(ProcessLookupError):
        os.kill(chosen, signal.SIGKILL)
    if victim == "program":
        code = run.process.wait()
        # Half of the time it is started again at once, while its workers are still there.
        run.check_end(code, ours=code == -signal.SIGKILL, wait=rng.random() < 0.5)


def candidates(run: Run, victim: str, cluster: Any) -> Sequence[Any]:
    """Return what could be killed now: nodes, or ids of processes."""
    if victim == "node":
        return sorted(cluster.worker_nodes, key=lambda node: node.unique_id)
    if victim == "program":
        return [run.process.pid] if run.process else []
    return [pid for pid, line in processes() if re.search(COMMAND_LINES[victim], line)]


def compare(quiet: Path, killed: Path) -> None:
    """Check that rows, tables and audio are the same, bit for bit."""
    ours, theirs = Results.load(quiet), Results.load(killed)
    for what, left, right in (
        ("rows", ours.rows, theirs.rows),
        ("table", ours.table(), theirs.table()),
    ):
        try:
            pd.testing.assert_frame_equal(steady(left), steady(right), check_exact=True)
        except AssertionError as error:
            raise BrokenPromiseError(f"the {what} differ: {error}") from error
        say(f"{what}: {len(steady(left))}, equal bit for bit")
    names = [path.relative_to(quiet) for path in sorted(quiet.glob("audio/*/*.flac"))]
    _, other, missing = filecmp.cmpfiles(quiet, killed, map(str, names), shallow=False)
    if other or missing:
        raise BrokenPromiseError(f"{len(other)} files differ, {len(missing)} are not there")
    say(f"reconstructions: {len(names)}, equal bit for bit")


def steady(rows: pd.DataFrame) -> pd.DataFrame:
    """Leave out what a clock or the machine's memory decides."""
    return rows[~rows["metric"].str.startswith(("rtf", "peak-memory"))].reset_index(drop=True)


if __name__ == "__main__":
    sys.exit(main())
