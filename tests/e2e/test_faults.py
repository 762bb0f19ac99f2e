"""Whatever happens to a run, nothing measured is lost, and a second start finishes.

Kills of the parent, hangs, crashes and two runs into one folder: see test_runner.py; of nodes of a
cluster: test_ray.py.
"""

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile

from bench import store
from bench.audio import Domain
from bench.cli import main
from bench.clips import Clip
from bench.errors import BenchError
from bench.plan import make_plan
from bench.results import Results
from bench.runner import Execution, Quiet, run_plan

HERE = Path(__file__).parent
RATE = 16000


@pytest.fixture
def clips(tmp_path, monkeypatch):
    """Eight clips; the second one is loud."""
    monkeypatch.syspath_prepend(str(HERE))
    rng = np.random.default_rng(0)
    made = []
    for index in range(8):
        path = tmp_path / "clips" / f"{index}.wav"
        path.parent.mkdir(exist_ok=True)
        wave = rng.uniform(-1, 1, RATE) * (0.9 if index == 1 else 0.3)
        soundfile.write(path, wave, RATE)
        made.append(Clip(path.stem, "test", Domain.SOUND, path))
    return made


def run(folder, clips, metrics=("Peak",), codecs=("Pcm",), progress=None, **execution):
    """Run a plan and return its rows, without those that a clock decides."""
    plan = make_plan(clips, [f"fakes:{n}" for n in codecs], [f"fakes:{n}" for n in metrics])
    chosen = Execution(**{"jobs": 2} | execution)
    run_plan(plan, folder, {"started": "2026-01-01", "seed": 0}, chosen, progress)
    return scores(folder)


def scores(folder):
    try:
        rows = Results.load(folder).rows
    except BenchError:
        return {}
    rows = rows[rows["metric"].str.startswith("fakes")]
    outcomes = rows["reason"].where(rows["status"] != "ok", rows["value"].astype(str))
    keys = zip(rows["codec"], rows["clip"], rows["metric"], strict=True)
    return dict(zip(keys, outcomes.fillna(rows["status"]), strict=True))


class At(Quiet):
    """Progress that does something once, when some rows are there."""

    def __init__(self, rows, action):
        self._left, self._action = rows, action

    def advance(self, units, failed):
        self._left -= units
        if self._left <= 0 and self._action:
            action, self._action = self._action, None
            action()


def children():
    """Return the ids of this process's worker processes."""
    listed = subprocess.run(
        ["ps", "-ww", "--ppid", str(os.getpid()), "-o", "pid=,args="],
        capture_output=True, text=True, check=True,
    ).stdout.splitlines()  # fmt: skip
    return [int(line.split()[0]) for line in listed if "bench.worker" in line]


# --- workers -------------------------------------------------------------------------------------


def test_killed_workers_cost_no_row(tmp_path, clips):
    killed = []

    def kill_all():
        for process in children():
            os.kill(process, signal.SIGKILL)
            killed.append(process)

    found = run(tmp_path / "run", clips, ("SlowPeak",), progress=At(12, kill_all))
    assert killed
    assert found == run(tmp_path / "whole", clips, ("SlowPeak",))
    assert "worker_died" not in found.values()


def test_a_real_segfault_costs_its_own_row_only(tmp_path, clips):
    found = run(tmp_path / "run", clips, ("SegfaultOnLoud", "Peak"))
    died = [key for key, outcome in found.items() if outcome == "worker_died"]
    assert died == [("fakes:Pcm", "1", "fakes:SegfaultOnLoud")]
    assert "Segmentation fault" in (tmp_path / "run" / "worker.log").read_text()


def test_a_worker_that_grows_is_replaced(tmp_path, clips):
    found = run(tmp_path / "run", clips, ("Leak",), jobs=1, worker_memory_mb=1)
    assert len(set(found.values())) > 1, "one process kept all that was leaked"
    assert not {"worker_died", "timeout"} & set(found.values())


def test_a_log_does_not_grow_without_end(tmp_path, clips):
    found = run(tmp_path / "run", clips[:5], ("Verbose",), jobs=1)
    assert all(float(outcome) > 0 for outcome in found.values())
    size = (tmp_path / "run" / "worker.log").stat().st_size
    assert 20e6 < size < 110e6  # five times 33 MB were printed


def test_what_a_metric_forked_ends_with_the_run(tmp_path, clips, monkeypatch):
    monkeypatch.setenv("FAKES_FOLDER", str(tmp_path))
    rows = run(tmp_path / "run", clips[:1], ("Fork",), task_timeout_s=5)
    assert set(rows.values()) == {"timeout"}
    sleeper = int((tmp_path / "pid").read_text())
    time.sleep(0.5)
    state = Path(f"/proc/{sleeper}/stat")
    assert not state.exists() or state.read_text().split()[2] == "Z"


def test_a_clock_that_goes_back_changes_nothing(tmp_path, clips, monkeypatch):
    now = iter(range(10**9, 0, -3600))
    monkeypatch.setattr(time, "time", lambda: float(next(now)))
    found = run(tmp_path / "run", clips[:3], task_timeout_s=60)
    assert all(float(outcome) > 0 for outcome in found.values())


def test_a_folder_whose_name_is_no_text(tmp_path, clips):
    folder = tmp_path / os.fsdecode(b"odd\xff")
    folder.mkdir()
    shutil.copy(clips[0].path, folder / "here.wav")
    odd = [
        Clip(n, "test", Domain.SOUND, folder / f"{n}.wav", text="\udcff") for n in ("here", "gone")
    ]
    found = run(tmp_path / "run", odd)
    assert found["fakes:Pcm", "gone", "fakes:Peak"] == "missing_file"
    assert float(found["fakes:Pcm", "here", "fakes:Peak"]) > 0
    assert Path(Results.load(tmp_path / "run").clips["path"][0]).is_file()


# --- the folder ----------------------------------------------------------------------------------


@pytest.fixture
def small_disk(tmp_path):
    """A disk of 0.6 MB, and a function that changes its mount options."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=600k", "tmpfs", str(folder)]
    if not shutil.which("mount") or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("mounting a small disk is not allowed here")

    def remount(options):
        subprocess.run(["mount", "-o", f"remount,{options}", str(folder)], check=True)

    yield folder, remount
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_full_disk_loses_nothing(tmp_path, clips, small_disk):
    disk, remount = small_disk
    work = {"metrics": ("Peak", "SlowPeak"), "codecs": ("Pcm", "Coarse", "Dither")}
    whole = run(tmp_path / "whole", clips, **work)
    try:
        found = run(disk / "run", clips, **work)
        complaint = "cannot_write" if "cannot_write" in found.values() else ""
    except BenchError as error:
        complaint = str(error)
    # Either the store found room and some of the audio did not, or the store found none.
    assert complaint == "cannot_write" or "make room" in complaint
    assert "\n" not in complaint
    before = {key: value for key, value in scores(disk / "run").items() if value == whole[key]}
    remount("size=60m")
    after = run(disk / "run", clips, **work)
    assert before.items() <= after.items()
    assert after == whole


def test_a_run_that_can_only_be_read_is_read_and_not_written(tmp_path, clips, small_disk, capsys):
    disk, remount = small_disk
    found = run(disk / "run", clips[:1])
    remount("ro")
    assert scores(disk / "run") == found
    with pytest.raises(BenchError, match=r"cannot write to .*Read-only.*--out"):
        run(disk / "run", clips)
    assert main(["report", str(disk / "run")]) == 2
    error = capsys.readouterr().err
    assert "Read-only file system" in error
    assert error.count("\n") == 1


HOLDER = """
import sqlite3, sys, time
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("BEGIN IMMEDIATE")
print("held", flush=True)
time.sleep(float(sys.argv[2]))
"""


def hold(path, seconds):
    """Lock a store from another process."""
    command = [sys.executable, "-c", HOLDER, str(path), str(seconds)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "held\n"
    return process


def test_a_store_held_by_another_program(tmp_path, clips, monkeypatch):
    folder = tmp_path / "run"
    run(folder, clips[:1])
    holder = hold(folder / "results.sqlite", 3)
    run(folder, clips[:2])  # waits
    holder.wait()
    monkeypatch.setattr(store, "BUSY_TIMEOUT_S", 0.5)
    holder = hold(folder / "results.sqlite", 60)
    try:
        with pytest.raises(BenchError, match=r"locked; another program has held it for 0\.5 s"):
            run(folder, clips)
    finally:
        holder.kill()
        holder.wait()
    assert len(run(folder, clips)) == len(clips)


def test_a_damaged_store_is_refused_in_one_line(tmp_path, clips, capsys):
    folder = tmp_path / "run"
    run(folder, clips[:2])
    path = folder / "results.sqlite"
    content = bytearray(path.read_bytes())
    content[4096:12000] = bytes(12000 - 4096)
    path.write_bytes(content)
    assert main(["report", str(folder)]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "results.sqlite" in error
    connection = sqlite3.connect(tmp_path / "run" / "other.sqlite")
    connection.execute("CREATE TABLE scores (other TEXT)")
    connection.close()
    (tmp_path / "run" / "other.sqlite").replace(path)
    for rest in folder.glob("results.sqlite-*"):
        rest.unlink()
    with pytest.raises(BenchError, match="holds no run yet"):
        Results.load(folder)
