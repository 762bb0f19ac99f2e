"""Golden values: small JSON files, written by `pytest tests/golden --regen-golden` alone.

A regenerated file comes from independent implementations, never from the code under test, and its
difference is explained in the commit.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

OPTION = "--regen-golden"
Make = Callable[[], Any]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(OPTION, action="store_true", help="write the golden files anew")


@pytest.fixture(scope="session")
def written() -> set[Path]:
    """The files that this run has made."""
    return set()


@pytest.fixture
def golden(request: pytest.FixtureRequest, written: set[Path]) -> Callable[[str, Make], Any]:
    """Return the loader: file name beside the test, and an independent way to make its content."""

    def load(name: str, make: Make) -> Any:
        path = Path(request.path).parent / name
        if request.config.getoption(OPTION, default=False) and path not in written:
            path.write_text(json.dumps(make(), indent=1, sort_keys=True) + "\n")
            written.add(path)
        if not path.is_file():
            pytest.fail(f"{path.name} is missing; make it with: pytest tests/golden {OPTION}")
        return json.loads(path.read_text())

    return load
