"""Where neural codecs run."""

import pytest

from bench import plan
from bench.errors import UsageError


@pytest.mark.parametrize(
    ("gpus", "codec_ids", "expected"),
    [
        (1, ["opus@6kbps", "mimi@8cb"], "cuda"),
        (1, ["opus@6kbps", "passthrough"], "cpu"),  # nothing that could use it
        (0, ["mimi@8cb"], "cpu"),
    ],
)
def test_auto_takes_a_gpu_for_neural_codecs(gpus, codec_ids, expected, monkeypatch):
    monkeypatch.setattr(plan, "_gpus", lambda: gpus)
    assert plan.pick_device("auto", codec_ids) == expected


def test_a_device_of_the_users_choice_must_be_here(monkeypatch):
    monkeypatch.setattr(plan, "_gpus", lambda: 2)
    for device in ("cpu", "cuda", "cuda:1"):
        assert plan.pick_device(device, ["mimi@8cb"]) == device
    with pytest.raises(UsageError, match="no device cuda:2: torch sees 2 GPUs"):
        plan.pick_device("cuda:2", ["mimi@8cb"])
    with pytest.raises(UsageError, match="takes auto, cpu, cuda"):
        plan.pick_device("tpu", [])
