"""Every neural adapter keeps the contract, run on a small model with random weights."""

from pathlib import Path

import pytest

from codec_zoo.conformance import run_conformance
from codec_zoo.registry import codec_class
from codec_zoo.small_models import MODELS, NEEDS_TRAINING, save_small_model


@pytest.fixture(scope="module")
def small_model(tmp_path_factory):
    """Return the folder of a family's small model, made at first use."""
    pytest.importorskip("transformers")
    made: dict[str, Path] = {}

    def folder_of(family: str) -> Path:
        package = codec_class(family).package
        pytest.importorskip(package)
        if family not in made:
            made[family] = tmp_path_factory.mktemp(family)
            save_small_model(family, made[family])
        return made[family]

    return folder_of


@pytest.mark.parametrize("family", MODELS)
def test_conformance_with_random_weights(family, small_model):
    points = codec_class(family).points
    point = f"@{points[len(points) // 2]}" if points else ""
    checks = run_conformance(f"{family}{point}:path={small_model(family)}", longest_s=3.0)
    found = {
        check.name: f"{check.status}: {check.message}"
        for check in checks
        if check.status != "passed" and check.name not in NEEDS_TRAINING
    }
    assert not found
