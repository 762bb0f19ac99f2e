"""A few hundred hostile inputs for every reader; tools/fuzz.py feeds them for minutes."""

import importlib
import os
import signal
import sys
from pathlib import Path

import pytest

TOOLS = Path(__file__).parents[2] / "tools"
#: Target -> inputs; those of many files or much work get few.
INPUTS = {
    "audio": 250,
    "datasets": 80,
    "manifest": 300,
    "transcripts": 300,
    "results": 60,
    "baseline": 60,
    "shard": 25,
    "archive": 200,
    "smc": 200,
}


@pytest.fixture(scope="module")
def fuzz():
    sys.path.insert(0, str(TOOLS))
    yield importlib.import_module("fuzz")
    sys.path.remove(str(TOOLS))


def test_every_target_is_tested(fuzz):
    assert INPUTS.keys() == fuzz.TARGETS.keys()


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("target", INPUTS)
def test_hostile_input_ends_in_a_result_or_one_clear_line(fuzz, target, tmp_path):
    endings = fuzz.fuzz(target, tmp_path, seed=20261125, inputs=INPUTS[target])
    assert endings.total() == INPUTS[target]
    # Some mutants are sound and some are not; a reader that refuses all or takes all is suspicious.
    assert len(endings) > 1


def test_the_fuzzer_finds_what_breaks_the_rule(fuzz, tmp_path, monkeypatch):
    def read(path):
        if b"\xff" in path.read_bytes():
            raise ZeroDivisionError
        return "read"

    monkeypatch.setitem(fuzz.TARGETS, "bad", fuzz.Target(fuzz.table_seeds, read))
    with pytest.raises(ZeroDivisionError):
        fuzz.fuzz("bad", tmp_path, seed=0, inputs=500)


def crash_at_ff(path):
    if b"\xff" in path.read_bytes():
        os.kill(os.getpid(), signal.SIGKILL)
    return "read"


def test_a_crash_of_a_native_decoder_is_counted_and_its_input_kept(fuzz, tmp_path, monkeypatch):
    target = fuzz.Target(fuzz.table_seeds, crash_at_ff, is_native=True)
    monkeypatch.setitem(fuzz.TARGETS, "bad", target)
    endings = fuzz.fuzz("bad", tmp_path, seed=0, inputs=30)
    assert endings.total() == 30
    assert endings["read"] > 0
    assert 0 < endings[fuzz.CRASHED] == len(list(tmp_path.glob("crashed-*")))
