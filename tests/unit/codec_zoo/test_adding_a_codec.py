"""The codec in docs/adding_a_codec.md is complete and keeps the contract."""

import re
from pathlib import Path

import pytest

from codec_zoo.conformance import run_conformance
from codec_zoo.conformance.checks import CHECKS

GUIDE = Path(__file__).parents[3] / "docs" / "adding_a_codec.md"


def test_the_documented_codec_passes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = re.search(r"^```python\n(.*?)^```", GUIDE.read_text(), re.DOTALL | re.MULTILINE)
    assert source is not None
    (tmp_path / "my_codec.py").write_text(source[1])
    monkeypatch.syspath_prepend(str(tmp_path))
    checks = run_conformance("my_codec:MyCodec", longest_s=12)
    assert [check for check in checks if check.status != "passed"] == []
    assert len(checks) == 2 * len(CHECKS)


def test_every_check_is_explained() -> None:
    explained = {
        name.strip()
        for row in re.findall(r"^\| (.+?) \|", GUIDE.read_text(), re.MULTILINE)
        for name in row.split(", ")
    }
    assert set(CHECKS) <= explained
    assert len(CHECKS) == 20, "the guide says twenty"
