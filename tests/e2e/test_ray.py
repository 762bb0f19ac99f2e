"""The Ray executor gives the rows of the local one, also when nodes are killed under it."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile

from bench.audio import Domain
from bench.clips import Clip
from bench.cluster import RayPool
from bench.errors import BenchError
from bench.plan import make_plan
from bench.pool import Limits, LostError
from bench.results import Results
from bench.runner import Execution, run_plan

ray = pytest.importorskip("ray", reason="needs Ray; pip install 'codecbench[cluster]'")
from ray.cluster_utils import Cluster  # noqa: E402

HERE = Path(__file__).parent
RATE = 16000
NODE = {"num_cpus": 1, "object_store_memory": 80 * 2**20, "include_dashboard": False}


@pytest.fixture(scope="module")
def cluster():
    """A head node that only coordinates, and one node that works."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    # Ray waits 15 s by default before it believes that a node is dead.
    system = {"health_check_period_ms": 500, "health_check_failure_threshold": 2}
    head = NODE | {"num_cpus": 0, "_system_config": system}
    made = Cluster(initialize_head=True, head_node_args=head)
    made.add_node(**NODE)
    ray.init(address=made.address, log_to_driver=False, logging_level="ERROR")
    yield made
    ray.shutdown()
    made.shutdown()


@pytest.fixture
def clips(tmp_path, monkeypatch):
    """Quiet and loud clips."""
    monkeypatch.syspath_prepend(str(HERE))
    rng = np.random.default_rng(0)
    for index in range(6):
        path = tmp_path / "clips" / f"{index}.wav"
        path.parent.mkdir(exist_ok=True)
        peak = 0.9 if index == 1 else 0.3
        wave = rng.uniform(-peak, peak, RATE)
        wave[100] = peak
        soundfile.write(path, wave, RATE)
    return find_clips(tmp_path / "clips")


def find_clips(folder):
    return [Clip(path.stem, "test", Domain.SOUND, path) for path in sorted(folder.glob("*.wav"))]


def run(folder, clips, codecs, metrics, progress=None, **execution):
    plan = make_plan(clips, [f"fakes:{n}" for n in codecs], [f"fakes:{n}" for n in metrics])
    chosen = Execution(**{"jobs": 2} | execution)
    done = run_plan(plan, folder, {"started": "2026-01-01", "seed": 0}, chosen, progress)
    return done, Results.load(folder).rows


def comparable(rows):
    """Leave out what a clock or the machine's memory decides."""
    rows = rows[~rows["metric"].str.startswith(("rtf", "peak-memory"))].reset_index(drop=True)
    # The log is named after the node.
    return rows.assign(message=rows["message"].str.replace(r"worker\S*\.log", "log", regex=True))


class KillOnce:
    """Progress that kills a node when some rows of a stage are there."""

    def __init__(self, kill):
        self._kill, self._stage, self._rows, self._done = kill, "", 0, set()

    def begin(self, stage, total):
        self._stage, self._rows = stage, 0

    def advance(self, units, failed):
        self._rows += units
        if self._rows >= 3 and self._stage not in self._done:
            self._done.add(self._stage)
            self._kill()


def test_rows_equal_those_of_the_local_executor(cluster, tmp_path, clips):
    work = ("Dither", "Segfault", "Missing"), ("Peak", "CrashOnLoud", "HangOnLoud", "NanValue")
    _, local = run(tmp_path / "local", clips[:3], *work, task_timeout_s=5)
    _, remote = run(tmp_path / "ray", clips[:3], *work, task_timeout_s=5, executor="ray")
    pd.testing.assert_frame_equal(comparable(local), comparable(remote))
    assert {"worker_died", "timeout", "non_finite_value"} <= set(remote["reason"])
    # What Ray measured, the local executor finds there, and the other way round.
    assert run(tmp_path / "ray", clips[:3], ("Dither",), ("Peak",))[0] == 0
    for path in (tmp_path / "local" / "audio").rglob("*.flac"):
        other = tmp_path / "ray" / path.relative_to(tmp_path / "local")
        assert path.read_bytes() == other.read_bytes()


@pytest.fixture
def losses(monkeypatch):
    """The tasks that were lost with their node."""
    found = []
    result = RayPool.result

    def note(pool, future):
        try:
            return result(pool, future)
        except LostError as error:
            found.append(str(error))
            raise

    monkeypatch.setattr(RayPool, "result", note)
    return found


def test_killed_nodes_cost_no_row(cluster, tmp_path, clips, losses):
    """One node dies while codecs run, one while metrics run; each is replaced later on."""
    work = ("SlowPcm", "SlowDither"), ("SlowPeak",)
    _, local = run(tmp_path / "local", clips, *work)
    nodes = [*cluster.worker_nodes, cluster.add_node(**NODE)]

    def kill_oldest():
        nodes.append(cluster.add_node(**NODE))
        cluster.remove_node(nodes.pop(0), allow_graceful=False)

    _, remote = run(tmp_path / "ray", clips, *work, KillOnce(kill_oldest), executor="ray")
    assert losses, "no node had work when it was killed"
    pd.testing.assert_frame_equal(comparable(local), comparable(remote))
    assert set(remote["status"]) == {"ok"}


SCRIPT = """
import sys
sys.path[:0] = [{here!r}]
import test_ray
from pathlib import Path
clips = test_ray.find_clips(Path({clips!r}))
test_ray.run(Path({out!r}), clips, *{work!r}, executor="ray", address={address!r})
"""


def test_a_killed_parent_loses_nothing(cluster, tmp_path, clips):
    work = ("Pcm",), ("SlowPeak", "Peak")
    places = {"here": str(HERE), "clips": str(tmp_path / "clips"), "out": str(tmp_path / "run")}
    script = SCRIPT.format(**places, work=work, address=cluster.address)
    process = subprocess.Popen([sys.executable, "-c", script])
    while process.poll() is None and scored(tmp_path / "run") < 2:
        time.sleep(0.1)
    process.kill()
    assert process.wait() == -signal.SIGKILL
    before = scored(tmp_path / "run")
    assert 2 <= before < 12
    done, rows = run(tmp_path / "run", clips, *work, executor="ray")
    assert done <= 18 - 6 - before
    assert set(rows["status"]) == {"ok"}


def scored(folder):
    try:
        rows = Results.load(folder).rows
    except BenchError:
        return 0
    return int((rows["metric"].str.startswith("fakes") & (rows["status"] == "ok")).sum())


def test_a_killed_raylet_ends_the_run_with_a_line(tmp_path, clips):
    """Ray itself would end the program with exit code 1, as if it had finished with failures."""
    out, program = tmp_path / "run", HERE.parents[1] / "run_bench.py"
    command = [sys.executable, str(program), "run", "--executor", "ray", "--jobs", "1"]
    command += ["--dataset", str(tmp_path / "clips"), "--domain", "sound", "--out", str(out)]
    command += ["--codecs", "fakes:Pcm", "--metrics", "fakes:SlowPeak", "--no-report", "--plain"]
    with (tmp_path / "log").open("w") as log:
        process = subprocess.Popen(command, cwd=HERE, stdout=log, stderr=log)
        while process.poll() is None and scored(out) < 1:
            time.sleep(0.1)
        os.kill(raylet_of(process.pid), signal.SIGKILL)
        assert process.wait(60) == 2
    last = (tmp_path / "log").read_text().splitlines()[-1]
    assert last.startswith("run_bench.py: Ray on this machine is gone; what was measured is kept")
    assert scored(out) >= 1


def raylet_of(parent):
    listed = subprocess.run(
        ["ps", "-ww", "--ppid", str(parent), "-o", "pid=,args="],
        capture_output=True, text=True, check=True,
    ).stdout.splitlines()  # fmt: skip
    return next(int(line.split()[0]) for line in listed if "/raylet/raylet " in line)


def test_a_node_unlike_this_machine_is_refused(cluster, tmp_path, clips, monkeypatch):
    monkeypatch.setattr("bench.cluster._versions", lambda: (("soxr", "0.0"),))
    with pytest.raises(BenchError, match=r"node \S+ has .*; install the same versions"):
        run(tmp_path / "run", clips, ("Pcm",), ("Peak",), executor="ray")


def test_an_address_without_a_cluster_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", lambda **_: (_ for _ in ()).throw(ConnectionError("nobody")))
    with pytest.raises(BenchError, match=r"cannot use .* at 10\.0\.0\.1:1: nobody; start"):
        RayPool(tmp_path, Limits(), address="10.0.0.1:1", jobs=0, gpus=0)


def test_an_unknown_executor_is_refused(tmp_path, clips):
    with pytest.raises(BenchError, match="unknown executor 'rai'; did you mean ray"):
        run(tmp_path / "run", clips, ("Pcm",), ("Peak",), executor="rai")
