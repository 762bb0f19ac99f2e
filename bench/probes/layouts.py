"""How labelled audio lies in folders: one dataclass per corpus, its fields the options.

Each has ``examples(root, task)``, which lists without opening any audio. A label is text; ``group``
names what must not lie on both sides of a split (speaker, instrument), ``fold`` the corpus's own
split; either may be empty.
"""

import csv
import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from io import StringIO
from pathlib import Path
from typing import Any, Protocol

from bench.audio import Domain
from bench.clips import Clip
from bench.errors import DatasetError
from bench.loaders import audio_files, safe_id
from bench.probes import made
from bench.schema import read_text

MAX_TABLE_BYTES = 200_000_000


@dataclass(frozen=True)
class Example:
    """A clip and what a probe is to tell of it."""

    clip: Clip
    label: str
    group: str = ""
    fold: str = ""


class Layout(Protocol):
    """A layout of labelled audio in a folder."""

    def examples(self, root: Path, task: str, domain: Domain) -> list[Example]:
        """List the examples below ``root``."""


def _clip(root: Path, task: str, path: Path, domain: Domain, **segment: Any) -> Clip:
    relative = path.relative_to(root) if path.is_relative_to(root) else Path(path.name)
    name = segment.pop("name", None) or safe_id(relative)
    return Clip(id=name, dataset=task, domain=domain, path=path, **segment)


def _table(path: Path, delimiter: str, columns: tuple[str, ...]) -> Iterator[dict[str, str]]:
    text = read_text(path, MAX_TABLE_BYTES)
    reader = csv.DictReader(StringIO(text, newline=""), delimiter=delimiter)
    missing = [name for name in columns if name not in (reader.fieldnames or [])]
    if missing:
        raise DatasetError(f"{path}, line 1: the column {missing[0]!r} is missing")
    for row in reader:
        if any(row[name] is None for name in columns):
            raise DatasetError(f"{path}, line {reader.line_num}: expected {len(row)} fields")
        yield row


def _json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(read_text(path, MAX_TABLE_BYTES))
    except ValueError as error:
        raise DatasetError(f"{path} is not JSON: {error}") from error
    if not isinstance(content, dict):
        raise DatasetError(f"{path}: expected a JSON object, got {type(content).__name__}")
    return content


@dataclass(frozen=True)
class Made:
    """The bundled tiny corpus; ``root`` is where it is written.

    Attributes:
        kind: ``pitch``, ``voice`` or ``sound``.
    """

    kind: str

    def __post_init__(self) -> None:
        if self.kind not in made.KINDS:
            raise ValueError(f"expected a kind of {', '.join(made.KINDS)}, got {self.kind!r}")

    def examples(self, root: Path, task: str, domain: Domain) -> list[Example]:
        """Make the clips that are not there yet, and list all."""
        return [
            Example(_clip(root, task, path, domain, name=clip.name), clip.label, clip.group)
            for path, clip in made.write(self.kind, root)
        ]


@dataclass(frozen=True)
class Hear:
    """A task in the layout of HEAR (Turian et al. 2022): scene labels, one label a clip.

    ``task_metadata.json``; ``train.json``, ``valid.json``, ``test.json`` or ``fold00.json`` ...
    with ``{"file.wav": ["label"]}``; audio in ``<sample rate>/<split>/``.

    Attributes:
        sample_rate: Which copy of the audio to take.
    """

    sample_rate: int = 48000

    def examples(self, root: Path, task: str, domain: Domain) -> list[Example]:
        """List the files of all splits."""
        meta = _json(root / "task_metadata.json")
        kinds = meta.get("embedding_type"), meta.get("prediction_type")
        if kinds != ("scene", "multiclass"):
            raise DatasetError(f"{root}: expected a scene task of one label a clip, got {kinds}")
        found = []
        for table in sorted(root.glob("*.json")):
            split = table.stem
            if not re.fullmatch(r"train|valid|test|fold\d+", split):
                continue
            for name, labels in _json(table).items():
                if not isinstance(labels, list) or len(labels) != 1:
                    raise DatasetError(f"{table}: expected one label for {name}, got {labels}")
                path = root / str(self.sample_rate) / split / Path(name).name
                clip = _clip(root, task, path, domain)
                found.append(Example(clip, str(labels[0]), fold=split))
        return found


@dataclass(frozen=True)
class Esc50:
    """ESC-50 with its five folds: ``audio/*.wav``, ``meta/esc50.csv``.

    Attributes:
        esc10: Whether to take only the ten classes of ESC-10.
    """

    esc10: bool = False

    def examples(self, root: Path, task: str, domain: Domain) -> list[Example]:
        """List the clips by class and fold."""
        columns = ("filename", "fold", "category", "esc10")
        return [
            Example(
                _clip(root, task, root / "audio" / Path(row["filename"]).name, domain),
                row["category"],
                fold=row["fold"],
            )
            for row in _table(root / "meta" / "esc50.csv", ",", columns)
            if row["esc10"] == "True" or not self.esc10
        ]


@dataclass(frozen=True)
class SpeechCommands:
    """Speech Commands v1 and v2: a folder per word; lists name the clips of validation and test.

    Attributes:
        words: Words to tell apart; empty: all folders.
    """

    words: tuple[str, ...] = ()

    def examples(self, root: Path, task: str, domain: Domain) -> list[Example]:
        """List words by the official split; the group is the speaker."""
        listed = {
            name: fold
            for fold in ("validation", "testing")
            for name in read_text(root / f"{fold}_list.txt", MAX_TABLE_BYTES).split()
        }
        found = []
        for path in audio_files(root):
            word = path.parent.name
            if word.startswith("_") or (self.words and word not in self.words):
                continue
            fold = listed.get(f"{word}/{path.name}", "train")
            speaker = path.name.partition("_nohash_")[0]
            clip = _clip(root, task, path, domain)
            found.append(Example(clip, word, speaker, {"testing": "test"}.get(fold, fold)))
        return found


@dataclass(frozen=True)
class NSynth:
    """NSynth: ``nsynth-{train,valid,test}/examples.json`` and ``audio/*.wav``.

    Attributes:
        label: Field of ``examples.json`` to tell: ``pitch``, ``instrument_family_str``, ...
        lowest: Lowest pitch (MIDI) to take.
        highest: Highest; HEAR takes the 88 keys of a piano.
    """

    label: str = "pitch"
    lowest: int = 21
    highest: int = 108

    def examples(self, root: Path, task: str, domain: Domain) -> list[Example]:
        """List the notes; the group is the instrument, and no instrument is in two parts."""
        found = []
        for fold in ("train", "valid", "test"):
            table = root / f"nsynth-{fold}" / "examples.json"
            if not table.is_file():
                continue
            for name, facts in _json(table).items():
                if not self.lowest <= int(facts["pitch"]) <= self.highest:
                    continue
                path = table.parent / "audio" / f"{Path(name).name}.wav"
                clip = _clip(root, task, path, domain)
                group = str(facts["instrument_str"])
                found.append(Example(clip, str(facts[self.label]), group, fold))
        return found


#: Third part of a CREMA-D file's name.
_EMOTIONS = {
    "ANG": "anger", "DIS": "disgust", "FEA": "fear", "HAP": "happy", "NEU": "neutral", "SAD": "sad",
}  # fmt: skip


@dataclass(frozen=True)
class CremaD:
    """CREMA-D: ``AudioWAV/1001_DFA_ANG_XX.wav``: actor, sentence, emotion, intensity."""

    def examples(self, root: Path, task: str, domain: Domain) -> list[Example]:
        """List the clips by intended emotion; the group is the actor."""
        found = []
        for path in audio_files(root):
            parts = path.stem.split("_")
            if len(parts) == 4 and parts[2] in _EMOTIONS:
                clip = _clip(root, task, path, domain)
                found.append(Example(clip, _EMOTIONS[parts[2]], parts[0]))
        return found


@dataclass(frozen=True)
class LibriCount:
    """LibriCount: files whose name begins with the number of speakers, ``3_*.wav``."""

    def examples(self, root: Path, task: str, domain: Domain) -> list[Example]:
        """List the clips by number of speakers, 0 to 10."""
        found = []
        for path in audio_files(root):
            count = path.name.partition("_")[0]
            if count.isdigit():
                found.append(Example(_clip(root, task, path, domain), count))
        return found


@dataclass(frozen=True)
class VocalImitations:
    """Vocal Imitation Set: ``vocal_imitations.txt`` and ``vocal_imitations/included/*.wav``.

    The label is the sound that is imitated, as in HEAR.
    """

    def examples(self, root: Path, task: str, domain: Domain) -> list[Example]:
        """List the included imitations."""
        table = root / "vocal_imitations.txt"
        reference_of = {
            row["imitation_filename"]: row["reference_filename"]
            for row in _table(table, "\t", ("imitation_filename", "reference_filename"))
        }
        return [
            Example(_clip(root, task, path, domain), reference_of[path.name])
            for path in audio_files(root / "vocal_imitations" / "included")
            if path.name in reference_of
        ]


@dataclass(frozen=True)
class Table:
    """Any table of clips, CSV or TSV, that has a column to tell.

    Attributes:
        file: The table, relative to the root; paths in it are relative to it.
        label: Column to tell.
        pattern: Regular expression whose first group is the label within the column.
        path: Column of the file.
        group: Column of what must not be on both sides of a split.
        fold: Column of the table's own split.
        where: Columns and the values that a row must have one of, separated by ``|``.
        min_groups: Labels with fewer groups (clips, where there are none) are left out.
        segments: Parts that each file is cut into; the part's number is the fold.
        seconds: Column of a file's length, needed for segments.
    """

    label: str
    file: str = "manifest.csv"
    pattern: str = "(.*)"
    path: str = "path"
    group: str = ""
    fold: str = ""
    where: Mapping[str, str] = field(default_factory=dict)
    min_groups: int = 2
    segments: int = 1
    seconds: str = "seconds"

    def __post_init__(self) -> None:
        try:
            groups = re.compile(self.pattern).groups
        except re.error as error:
            raise ValueError(f"pattern {self.pattern!r}: {error}") from error
        if groups < 1 or self.segments < 1 or self.min_groups < 1:
            raise ValueError("expected a pattern with a group, and counts of at least 1")

    def examples(self, root: Path, task: str, domain: Domain) -> list[Example]:
        """List the rows that are wanted, and cut them into segments."""
        table = root / self.file
        delimiter = "\t" if table.suffix == ".tsv" else ","
        named = (self.path, self.label, self.group, self.fold, *self.where)
        found: list[Example] = []
        for row in _table(table, delimiter, tuple(filter(None, named))):
            match = re.fullmatch(self.pattern, row[self.label])
            wanted = all(row[name] in values.split("|") for name, values in self.where.items())
            if match and wanted and match[1]:
                found += self._cut(table.parent, task, domain, row, match[1])
        return _frequent(found, self.min_groups)

    def _cut(
        self, root: Path, task: str, domain: Domain, row: dict[str, str], label: str
    ) -> Iterator[Example]:
        path = root / row[self.path]
        group, fold = row.get(self.group, ""), row.get(self.fold, "")
        if self.segments == 1:
            yield Example(_clip(root, task, path, domain), label, group, fold)
            return
        length = float(row[self.seconds]) / self.segments
        for part in range(self.segments):
            name = f"{safe_id(Path(row[self.path]))}-{part}"
            clip = _clip(
                root, task, path, domain, name=name, start_s=part * length, duration_s=length
            )
            yield Example(clip, label, group, str(part))


def _frequent(examples: list[Example], min_groups: int) -> list[Example]:
    """Return the examples whose label has enough groups, or clips where there are no groups."""
    pairs = {(one.label, one.group or one.clip.id) for one in examples}
    counts = Counter(label for label, _ in pairs)
    return [one for one in examples if counts[one.label] >= min_groups]


#: Layouts by the name that a task file uses.
LAYOUTS: dict[str, type[Any]] = {
    "made": Made,
    "hear": Hear,
    "esc50": Esc50,
    "speech-commands": SpeechCommands,
    "nsynth": NSynth,
    "crema-d": CremaD,
    "libricount": LibriCount,
    "vocal-imitations": VocalImitations,
    "table": Table,
}
