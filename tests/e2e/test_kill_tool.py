"""tools/kill_test.py kills a small run once, finds everything there, and sees what is not."""

import importlib
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

TOOLS = Path(__file__).parents[2] / "tools"
SEED = "8"  # kills the program when a third of the rows is there


@pytest.fixture
def tool():
    sys.path.insert(0, str(TOOLS))
    yield importlib.import_module("kill_test")
    sys.path.remove(str(TOOLS))


def test_a_killed_run_equals_one_left_alone(tool, tmp_path):
    command = [sys.executable, str(TOOLS / "kill_test.py"), "--folder", str(tmp_path)]
    command += ["--clips", "34", "--kills", "1", "--seed", SEED]
    command += ["--codecs", "passthrough,mp3@32kbps", "--metrics", "mel-dac-eval,si-sdr"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stdout + done.stderr
    for line in ("kill: program", "start 1 ended with -9", "every promise held"):
        assert line in done.stdout

    (folder,) = tmp_path.iterdir()
    with sqlite3.connect(folder / "killed" / "results.sqlite") as store:
        store.execute("UPDATE scores SET value = value + 1e-12")
    with pytest.raises(tool.BrokenPromiseError, match="the rows differ"):
        tool.compare(folder / "quiet", folder / "killed")
