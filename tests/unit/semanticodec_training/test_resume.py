"""A run that was killed goes on as if it had not been."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from semanticodec.training import files
from semanticodec.training.files import RunLog
from semanticodec.training.loop import Trainer
from semanticodec.training.stages import make_task


def losses(folder) -> dict[int, float]:
    return {r["step"]: r["loss"] for r in RunLog(folder / "log.jsonl").rows() if "loss" in r}


@pytest.mark.parametrize("stage", ["autoencoder", "vocoder", "audiomae", "codec", "dac"])
def test_a_resumed_run_has_the_losses_of_an_uninterrupted_one(trainer, front, stage, stage_config):
    config = stage_config(stage, name=f"{stage}-whole", optim={"accumulate": 2})
    trainer(config, front).run(max_steps=8)
    again = stage_config(stage, name=f"{stage}-parts", optim={"accumulate": 2})
    for steps in (3, 5, 8):  # a new process each time, as far as the trainer can tell
        trainer(again, front).run(max_steps=steps)
    assert losses(front / f"{stage}-parts") == losses(front / f"{stage}-whole")


def test_a_checkpoint_is_replaced_in_one_step(tmp_path, monkeypatch):
    path = tmp_path / "checkpoint.pt"
    files.save_checkpoint({"step": 1}, path)

    def die(state, part):
        part.write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(torch, "save", die)
    with pytest.raises(KeyboardInterrupt):
        files.save_checkpoint({"step": 2}, path)
    monkeypatch.undo()
    assert files.load_checkpoint(path) == {"step": 1}


def test_the_log_forgets_what_came_after_the_checkpoint(tmp_path):
    log = RunLog(tmp_path / "log.jsonl")
    for step in range(5):
        log.write(step=step, loss=1.0)
    with log.path.open("a", encoding="utf-8") as file:
        file.write('{"step": 5, "lo')  # the line that a kill cut short
    log.rewind(3)
    assert [row["step"] for row in log.rows()] == [0, 1, 2, 3]


SCRIPT = """
import sys
from pathlib import Path
import torch
sys.path.insert(0, sys.argv[1])
from conftest import make_config
from semanticodec.training.data import AudioCache
from semanticodec.training.loop import Trainer
from semanticodec.training.stages import make_task
torch.set_num_threads(1)
config = make_config("audiomae", name=sys.argv[4], checkpoint_minutes=0.0)
run = Path(sys.argv[3])
torch.manual_seed(config.seed)
cache = AudioCache(Path(sys.argv[2]))
trainer = Trainer(make_task(config, run), config, cache, run / config.folder)
trainer.run(max_steps=int(sys.argv[5]))
"""


def start(cache_folder, run, name, steps) -> subprocess.Popen:
    here = str(Path(__file__).parent)
    command = [sys.executable, "-c", SCRIPT, here, str(cache_folder), str(run), name, str(steps)]
    return subprocess.Popen(command, env={**os.environ, "OMP_NUM_THREADS": "1"})


def test_kill_9_loses_nothing_that_was_saved(cache, tmp_path):
    folder = Path(cache.samples.filename).parent
    victim = start(folder, tmp_path, "killed", 100000)
    checkpoint = tmp_path / "killed" / "checkpoint.pt"
    deadline = time.monotonic() + 120
    while not checkpoint.exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(0.3)
    victim.send_signal(signal.SIGKILL)
    victim.wait()
    state = files.load_checkpoint(checkpoint)
    assert state is not None
    steps = state["step"] + 3
    assert start(folder, tmp_path, "killed", steps).wait() == 0
    assert start(folder, tmp_path, "whole", steps).wait() == 0
    assert losses(tmp_path / "killed") == losses(tmp_path / "whole")


@pytest.mark.parametrize("stage", ["autoencoder", "vocoder", "audiomae", "codec", "dac"])
def test_a_run_can_start_from_exported_weights(cache, trainer, front, stage_config, stage):
    first = trainer(stage_config(stage, name=f"{stage}-first"), front)
    first.run(max_steps=2)
    weights = first.folder / "weights.safetensors"
    second = stage_config(stage, name=f"{stage}-second")
    own = Trainer(make_task(second, front), second, cache, front / second.folder, init=weights)
    own.run(max_steps=0)
    again, _ = files.load_weights(own.folder / "weights.safetensors")
    before, _ = files.load_weights(weights)
    for name, value in before.items():
        if not name.startswith("white"):  # fitted once more at the end
            torch.testing.assert_close(again[name], value, rtol=1e-2, atol=1e-2)
