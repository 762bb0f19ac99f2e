"""Ways in which audio lies in a folder: one dataclass per layout, its fields the options.

Each layout has ``clips(root, dataset, domain)``, which lists without opening any audio: a broken
file becomes a failed row of the run, not an error here. ``domain`` is the dataset's, or ``None``
where each clip has its own.
"""

import csv
import hashlib
import json
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from io import StringIO
from pathlib import Path
from typing import Any, Protocol

from bench.audio import AUDIO_SUFFIXES, Domain
from bench.clips import MAX_ID_LENGTH, Clip
from bench.errors import DatasetError, unknown_name
from bench.schema import read_text

MAX_TRANSCRIPT_BYTES = 1_000_000
MAX_MANIFEST_BYTES = 100_000_000


class Loader(Protocol):
    """A layout of audio in a folder."""

    def clips(self, root: Path, dataset: str, domain: Domain | None) -> list[Clip]:
        """List the clips below ``root``."""


@dataclass(frozen=True)
class Folder:
    """Every audio file below a folder.

    A clip's text is read from ``<stem>.normalized.txt`` or ``<stem>.txt`` beside it.

    Attributes:
        include: Pattern of the path below the root; ``*`` also spans folders.
        domain_by_prefix: Domain by the beginning of the file's name.
        domain_by_folder: Whether a folder called speech, music or sound gives the domain.
    """

    include: str = "*"
    domain_by_prefix: Mapping[str, Domain] = field(default_factory=dict)
    domain_by_folder: bool = True

    def clips(self, root: Path, dataset: str, domain: Domain | None) -> list[Clip]:
        """List the clips below ``root``; two files of one name keep their suffix as ids."""
        paths = [path for path in audio_files(root) if self._is_included(path, root)]
        ids = _ids(paths, root)
        return [
            Clip(
                id=clip_id,
                dataset=dataset,
                domain=domain or self._domain_of(path, root),
                path=path,
                text=text_beside(path),
            )
            for clip_id, path in zip(ids, paths, strict=True)
        ]

    def _is_included(self, path: Path, root: Path) -> bool:
        return fnmatchcase(path.relative_to(root).as_posix(), self.include)

    def _domain_of(self, path: Path, root: Path) -> Domain:
        for prefix, domain in self.domain_by_prefix.items():
            if path.name.startswith(prefix):
                return domain
        folders = (root.name, *path.relative_to(root).parts[:-1]) if self.domain_by_folder else ()
        for name in reversed(folders):
            if name in set(Domain):
                return Domain(name)
        expected = [f"a folder named {', '.join(Domain)}"] if self.domain_by_folder else []
        if self.domain_by_prefix:
            expected.append(f"a name beginning with {', '.join(self.domain_by_prefix)}")
        raise DatasetError(
            f"{path}: cannot tell its domain; expected {' or '.join(expected) or 'one'},"
            " or give the domain of the whole dataset"
        )


def audio_files(root: Path) -> list[Path]:
    """Return the audio files below a folder in a stable order, following links but no circles."""
    return sorted(path for path in _walk(root) if path.suffix.lower() in AUDIO_SUFFIXES)


def _walk(root: Path) -> Iterator[Path]:
    def fail(error: OSError) -> None:
        raise DatasetError(f"cannot list {error.filename}: {error.strerror}") from error

    seen: set[str] = set()
    for folder, subfolders, names in os.walk(root, followlinks=True, onerror=fail):
        real = os.path.realpath(folder)
        if real in seen:
            subfolders.clear()
            continue
        seen.add(real)
        subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))
        yield from (Path(folder, name) for name in names if not name.startswith("."))


def _ids(paths: list[Path], root: Path) -> list[str]:
    """Return each file's path below the root, without suffix unless two files would be one."""
    short = [safe_id(path.relative_to(root).with_suffix("")) for path in paths]
    uses = Counter(short)
    return [
        clip_id if uses[clip_id] == 1 else safe_id(path.relative_to(root))
        for clip_id, path in zip(short, paths, strict=True)
    ]


def safe_id(path: Path) -> str:
    """Return a relative path as a clip id: names on disk may hold any byte, ids may not."""
    text = os.fsencode(path.as_posix()).decode("utf-8", "replace")
    clean = "/".join(_printable(part) for part in text.split("/"))
    if len(clean) <= MAX_ID_LENGTH:
        return clean
    digest = hashlib.sha256(text.encode()).hexdigest()[:16]
    return f"{digest}-{clean[17 - MAX_ID_LENGTH :]}"


def _printable(name: str) -> str:
    clean = "".join(c if c.isprintable() and c != "\\" else "_" for c in name).strip()
    return "_" if clean in ("", ".", "..") else clean


def text_beside(audio: Path) -> str | None:
    """Return the transcript that lies beside an audio file, or ``None``."""
    for suffix in (".normalized.txt", ".txt"):
        path = audio.with_suffix(suffix)
        if path.is_file():
            return _one_line(read_text(path, MAX_TRANSCRIPT_BYTES))
    return None


def _one_line(text: str) -> str:
    return " ".join(text.split())


#: Columns of a manifest that make a clip; ``clip`` is another name of ``id``.
CLIP_COLUMNS = frozenset(
    {"path", "domain", "text", "label", "speaker", "id", "clip", "start_s", "duration_s", "stream"}
)
#: Columns that describe a clip without changing it.
INFORMATIVE_COLUMNS = frozenset(
    {"sample_rate", "channels", "sha256", "description", "source", "license", "language", "split"}
)
#: Bad rows after which a manifest's reading stops.
MAX_BAD_ROWS = 20


@dataclass(frozen=True)
class Manifest:
    """A table of clips: CSV, TSV or JSON lines, with paths relative to the table.

    Attributes:
        file: The table, relative to the dataset's root.
        ignore: Further columns to leave unread, such as a ``duration_s`` that only describes.
        allow_outside: Whether paths may be absolute or lead out of the table's folder.
    """

    file: str = "manifest.csv"
    ignore: tuple[str, ...] = ()
    allow_outside: bool = False

    def clips(self, root: Path, dataset: str, domain: Domain | None) -> list[Clip]:
        """Read the table; every bad row is reported with its line."""
        table = root / self.file
        clips: list[Clip] = []
        problems: list[str] = []
        for line, row in self._rows(table):
            try:
                clips.append(self._clip(table.parent, dataset, domain, row))
            except (DatasetError, ValueError, OverflowError) as error:
                problems.append(f"line {line}: {error}")
            if len(problems) == MAX_BAD_ROWS:
                break
        problems += _doubles(clips)
        if problems:
            more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
            raise DatasetError(f"{table}, {problems[0]}{more}")
        return clips

    def _rows(self, table: Path) -> Iterator[tuple[int, dict[str, Any]]]:
        text = read_text(table, MAX_MANIFEST_BYTES)
        if table.suffix in (".jsonl", ".ndjson"):
            rows = _json_rows(text, table)
        elif table.suffix in (".csv", ".tsv"):
            rows = _csv_rows(text, table, "\t" if table.suffix == ".tsv" else ",")
        else:
            raise DatasetError(f"{table}: expected a .csv, .tsv or .jsonl file")
        known = CLIP_COLUMNS | INFORMATIVE_COLUMNS | set(self.ignore)
        for line, row in rows:
            for column in row:
                if column not in known:
                    hint = unknown_name("column", column, CLIP_COLUMNS)
                    raise DatasetError(f"{table}, line {line}: {hint}; or list it under 'ignore'")
            used = CLIP_COLUMNS - set(self.ignore)
            yield line, {name: row[name] for name in used if row.get(name) not in (None, "")}

    def _clip(self, folder: Path, dataset: str, domain: Domain | None, row: dict[str, Any]) -> Clip:
        if "path" not in row:
            raise DatasetError("no path; expected the audio file's, relative to the table")
        path = self._path(folder, _text(row, "path") or "")
        name = _text(row, "id") or _text(row, "clip")
        return Clip(
            id=name or safe_id(path.relative_to(folder) if path.is_relative_to(folder) else path),
            dataset=dataset,
            domain=_row_domain(row, domain),
            path=path,
            text=_text(row, "text"),
            label=_text(row, "label"),
            speaker=_text(row, "speaker"),
            start_s=_number(row, "start_s", float) or 0.0,
            duration_s=_number(row, "duration_s", float),
            stream=_number(row, "stream", int) or 0,
        )

    def _path(self, folder: Path, name: str) -> Path:
        path = folder / name
        if self.allow_outside:
            return path
        inside = path.resolve().is_relative_to(folder.resolve())
        if Path(name).is_absolute() or not inside:
            raise DatasetError(
                f"{name!r} leads out of {folder}; move the audio there,"
                " or set the manifest's option allow_outside: true"
            )
        return path


def _csv_rows(text: str, table: Path, delimiter: str) -> Iterator[tuple[int, dict[str, Any]]]:
    reader = csv.DictReader(StringIO(text, newline=""), delimiter=delimiter, strict=True)
    try:
        header = [name.strip() for name in reader.fieldnames or []]
        if "path" not in header or len(set(header)) != len(header):
            raise DatasetError(
                f"{table}, line 1: expected columns, each once, with 'path' among them;"
                f" got {', '.join(header) or 'none'}"
            )
        reader.fieldnames = header
        for row in reader:
            if None in row or None in row.values():
                raise DatasetError(
                    f"{table}, line {reader.line_num}: expected {len(header)} fields as in line 1"
                )
            yield reader.line_num, {key: value.strip() for key, value in row.items()}
    except csv.Error as error:
        raise DatasetError(f"{table}, line {reader.line_num}: {error}") from error


def _json_rows(text: str, table: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    for line, content in enumerate(text.splitlines(), start=1):
        if not content.strip():
            continue
        try:
            row = json.loads(content)
        except (ValueError, RecursionError) as error:
            raise DatasetError(f"{table}, line {line}: no JSON object: {error}") from error
        if not isinstance(row, dict):
            kind = type(row).__name__
            raise DatasetError(f"{table}, line {line}: expected a JSON object, got {kind}")
        yield line, row


def _text(row: Mapping[str, Any], column: str) -> str | None:
    value = row.get(column)
    if value is None or isinstance(value, str):
        return value
    raise DatasetError(f"{column}: expected text, got {type(value).__name__} {value!r}")


def _number(row: Mapping[str, Any], column: str, kind: Callable[[Any], Any]) -> Any:
    value = row.get(column)
    if value is None:
        return None
    try:
        return kind(value)
    except (TypeError, ValueError):
        raise DatasetError(f"{column}: expected a number, got {value!r}") from None


def _row_domain(row: Mapping[str, Any], domain: Domain | None) -> Domain:
    name = _text(row, "domain")
    if name is None and domain is None:
        raise DatasetError(f"no domain; expected one of {', '.join(Domain)}")
    if name is not None and name not in set(Domain):
        raise DatasetError(str(unknown_name("domain", name, Domain)))
    return Domain(name) if name is not None else domain  # type: ignore[return-value]


def _doubles(clips: Iterable[Clip]) -> list[str]:
    uses = Counter(clip.id for clip in clips)
    return [f"clip id {name!r} is used {n} times" for name, n in uses.items() if n > 1]


@dataclass(frozen=True)
class LibriSpeech:
    """LibriSpeech: ``speaker/chapter/speaker-chapter-utterance.flac`` and ``*.trans.txt``."""

    def clips(self, root: Path, dataset: str, domain: Domain | None) -> list[Clip]:
        """List the utterances with their transcripts (upper case, no punctuation)."""
        files = [path for path in audio_files(root) if path.suffix == ".flac"]
        texts: dict[str, str] = {}
        for chapter in sorted({path.parent for path in files}):
            for table in sorted(chapter.glob("*.trans.txt")):
                texts |= _transcripts(table)
        return [
            Clip(
                id=path.stem,
                dataset=dataset,
                domain=domain or Domain.SPEECH,
                path=path,
                text=texts.get(path.stem),
                speaker=path.stem.split("-")[0],
            )
            for path in files
        ]


def _transcripts(table: Path) -> dict[str, str]:
    """Read lines of ``utterance TEXT``."""
    lines = read_text(table, MAX_TRANSCRIPT_BYTES).splitlines()
    pairs = (line.split(maxsplit=1) for line in lines if line.strip())
    return {pair[0]: _one_line(pair[1]) if len(pair) == 2 else "" for pair in pairs}


@dataclass(frozen=True)
class LibriTTS:
    """LibriTTS: ``speaker/chapter/*.wav`` with ``*.normalized.txt`` beside each."""

    def clips(self, root: Path, dataset: str, domain: Domain | None) -> list[Clip]:
        """List the utterances with their normalised transcripts."""
        return [
            Clip(
                id=path.stem,
                dataset=dataset,
                domain=domain or Domain.SPEECH,
                path=path,
                text=text_beside(path),
                speaker=path.stem.split("_")[0],
            )
            for path in audio_files(root)
            if path.suffix == ".wav"
        ]


@dataclass(frozen=True)
class Esc50:
    """ESC-50: ``audio/*.wav`` named by ``meta/esc50.csv``.

    Attributes:
        folds: Cross-validation folds to take, of 1 to 5.
        esc10: Whether to take only the ten classes under a free licence.
    """

    folds: tuple[int, ...] = (1, 2, 3, 4, 5)
    esc10: bool = False

    def __post_init__(self) -> None:
        if not self.folds or not set(self.folds) <= {1, 2, 3, 4, 5}:
            raise ValueError(f"expected folds from 1 to 5, got {list(self.folds)}")

    def clips(self, root: Path, dataset: str, domain: Domain | None) -> list[Clip]:
        """List the clips of the folds, labelled with their class."""
        table = root / "meta" / "esc50.csv"
        rows = list(_csv_table(table, ("filename", "fold", "category", "esc10")))
        wanted = {str(fold) for fold in self.folds}
        return [
            Clip(
                id=Path(row["filename"]).stem,
                dataset=dataset,
                domain=domain or Domain.SOUND,
                path=root / "audio" / Path(row["filename"]).name,
                label=row["category"],
            )
            for row in rows
            if row["fold"] in wanted and (row["esc10"] == "True" or not self.esc10)
        ]


def _csv_table(table: Path, columns: tuple[str, ...]) -> Iterator[dict[str, str]]:
    reader = csv.DictReader(StringIO(read_text(table, MAX_MANIFEST_BYTES), newline=""))
    missing = [name for name in columns if name not in (reader.fieldnames or [])]
    if missing:
        raise DatasetError(f"{table}, line 1: the column {missing[0]!r} is missing")
    for row in reader:
        if any(not row[name] for name in columns):
            raise DatasetError(f"{table}, line {reader.line_num}: expected {', '.join(columns)}")
        yield row


#: Order of the streams in a ``.stem.mp4`` file (musdb's own ``mus.yaml``).
MUSDB_STREAMS = {"mixture": 0, "drums": 1, "bass": 2, "other": 3, "vocals": 4}


@dataclass(frozen=True)
class Musdb18:
    """MUSDB18: songs as ``split/song.stem.mp4``, or as folders of WAV files (7 s, HQ).

    Attributes:
        split: Folder of the songs, ``test`` or ``train``.
        stems: Which of a song's five signals become clips.
        start_s: Where in each song the clips begin.
        duration_s: How long they are; nothing is to the song's end.
    """

    split: str = "test"
    stems: tuple[str, ...] = tuple(MUSDB_STREAMS)
    start_s: float = 0.0
    duration_s: float | None = None

    def __post_init__(self) -> None:
        if self.split not in ("test", "train"):
            raise ValueError(f"expected the split test or train, got {self.split!r}")
        for stem in self.stems:
            if stem not in MUSDB_STREAMS:
                raise ValueError(str(unknown_name("stem", stem, MUSDB_STREAMS)))

    def clips(self, root: Path, dataset: str, domain: Domain | None) -> list[Clip]:
        """List a clip per song and stem, labelled with the stem."""
        sources = [*self._containers(root / self.split), *self._folders(root / self.split)]
        return [
            Clip(
                id=safe_id(Path(self.split, song, stem)),
                dataset=dataset,
                domain=domain or Domain.MUSIC,
                path=path,
                label=stem,
                start_s=self.start_s,
                duration_s=self.duration_s,
                stream=stream,
            )
            for song, stem, path, stream in sources
        ]

    def _containers(self, folder: Path) -> Iterator[tuple[str, str, Path, int]]:
        for path in sorted(folder.glob("*.stem.mp4")):
            song = path.name.removesuffix(".stem.mp4")
            yield from ((song, stem, path, MUSDB_STREAMS[stem]) for stem in self.stems)

    def _folders(self, folder: Path) -> Iterator[tuple[str, str, Path, int]]:
        for path in sorted(folder.glob("*/mixture.wav")):
            song = path.parent
            yield from ((song.name, stem, song / f"{stem}.wav", 0) for stem in self.stems)


#: Layouts by the name that ``datasets.yaml`` uses.
LOADERS: dict[str, type[Any]] = {
    "folder": Folder,
    "manifest": Manifest,
    "librispeech": LibriSpeech,
    "libritts": LibriTTS,
    "esc50": Esc50,
    "musdb18": Musdb18,
}
