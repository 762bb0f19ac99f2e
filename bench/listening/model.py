"""What a listening test consists of, and the file that keeps it: ``test.json``.

ITU-R BS.1534-3 (MUSHRA): on each page a rater compares one clip, coded by several systems, with the
open reference, and rates all of them from 0 to 100; among them, unmarked, are the reference itself
and one or two low-pass anchors. Raters see blind names only; ``test.json`` says what they stand for
and must not lie where raters can read it.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from types import MappingProxyType
from typing import Any

from bench.errors import BenchError

FILE_NAME = "test.json"
#: webMUSHRA adds the hidden reference to every page under this name.
REFERENCE = "reference"


class Role(StrEnum):
    """What a condition is in a test."""

    SYSTEM = "system"
    ANCHOR = "anchor"
    REFERENCE = "reference"


@dataclass(frozen=True)
class Condition:
    """One thing that is rated on every page.

    Attributes:
        name: That the ratings carry; says nothing to a rater (anchors and reference apart).
        codec: Codec id; ``lowpass@3500hz`` for an anchor, ``reference`` for the hidden reference.
        role: System, anchor or reference.
    """

    name: str
    codec: str
    role: Role


@dataclass(frozen=True)
class Trial:
    """One page: a clip.

    Attributes:
        id: That the ratings carry.
        domain: Speech, music or sound.
        dataset: Where the clip is from.
        clip: Its id there.
    """

    id: str
    domain: str
    dataset: str
    clip: str


@dataclass(frozen=True)
class ListeningTest:
    """A test as it was exported.

    Attributes:
        name: As raters see it.
        seed: Of the choice of clips, the order of pages and the blind names.
        conditions: What is rated on every page.
        trials: The pages.
    """

    name: str
    seed: int
    conditions: tuple[Condition, ...]
    trials: tuple[Trial, ...]

    def save(self, folder: Path) -> None:
        """Write ``test.json``."""
        (folder / FILE_NAME).write_text(json.dumps(asdict(self), indent=2), encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> "ListeningTest":
        """Return the test of an exported folder.

        Raises:
            BenchError: If there is none, or it is not of this form.
        """
        path = folder / FILE_NAME
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
            return cls(
                name=str(found["name"]),
                seed=int(found["seed"]),
                conditions=tuple(_condition(one) for one in found["conditions"]),
                trials=tuple(Trial(**one) for one in found["trials"]),
            )
        except OSError as error:
            raise BenchError(
                f"no listening test in {folder}: {path.name} cannot be read ({error.strerror})"
            ) from error
        except (ValueError, KeyError, TypeError) as error:
            raise BenchError(f"{path} is no listening test: {error}") from error


def _condition(found: Mapping[str, Any]) -> Condition:
    return Condition(found["name"], found["codec"], Role(found["role"]))


@dataclass(frozen=True)
class Preset:
    """A published design.

    Attributes:
        summary: Where it is from.
        clips: How many of each domain.
        systems: How many codec points are rated.
        anchors: Edges of the low-pass anchors.
    """

    summary: str
    clips: Mapping[str, int]
    systems: int
    anchors: tuple[str, ...]


PRESETS: Mapping[str, Preset] = MappingProxyType(
    {
        "semanticodec-paper": Preset(
            summary="Liu et al. 2024, arXiv 2405.00233, section V: nine conditions with the hidden "
            "reference and the low anchor; no 7 kHz anchor, since the codecs run at 16 kHz",
            clips=MappingProxyType({"music": 25, "speech": 30, "sound": 50}),
            systems=7,
            anchors=("3500hz",),
        )
    }
)
