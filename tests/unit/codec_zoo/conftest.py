from pathlib import Path

import pytest


@pytest.fixture
def planted(monkeypatch: pytest.MonkeyPatch) -> str:
    """Make planted_codecs importable, here and in processes that conformance starts."""
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    return "planted_codecs"
