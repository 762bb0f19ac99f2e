"""The known codecs of the analysis tests."""

import sys
from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def known_codecs(monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1] / "analysis"))
    yield
    sys.modules.pop("known_codecs", None)
