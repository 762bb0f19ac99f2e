"""The catalog of datasets: what ``datasets.yaml`` says, checked, and what a user brings along.

``load_catalog()["demo"].clips()`` lists a dataset; ``bench.fetch`` downloads it; ``bench.loaders``
knows how audio lies in folders; ``select`` takes a few clips of many.
"""

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, replace
from itertools import pairwise
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import unquote, urlsplit

from bench.archives import is_archive
from bench.audio import Domain
from bench.clips import Clip, parse_domain, select
from bench.errors import DatasetError, UsageError, unknown_name
from bench.loaders import LOADERS, Folder, Loader, Manifest
from bench.schema import build, check_keys, read_yaml

__all__ = [
    "Catalog",
    "Clip",
    "Dataset",
    "Source",
    "data_folder",
    "folder_dataset",
    "load_catalog",
    "parse_domain",
    "select",
]

#: Environment variable that names the folder of all datasets.
DATA_VARIABLE = "CODECBENCH_DATA"
MANIFEST_SUFFIXES = frozenset({".csv", ".tsv", ".jsonl", ".ndjson"})
LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
NAME_PATTERN = re.compile("[a-z0-9][a-z0-9._-]*")
FILE_PATTERN = re.compile(r"[\w+-][\w+ .()-]*")
BENCH_FOLDER = Path(__file__).parent


def data_folder() -> Path:
    """Return the folder of all datasets: ``$CODECBENCH_DATA``, or ``datasets`` where we are."""
    return Path(os.environ.get(DATA_VARIABLE) or "datasets")


@dataclass(frozen=True)
class Source:
    """One file to download.

    Attributes:
        url: Where it is: https, or http where the host has nothing better.
        sha256: Its published checksum.
        md5: The same in the older form that Zenodo and OpenSLR publish.
        checksum: ``unverified`` where nobody published one; the first download is then recorded.
        checksum_source: Who published the checksum.
        size_bytes: Its length.
        file: Its name on disk, if the URL does not end in it.
        unpack: Whether it is an archive; by default its name tells.
        unpack_nested: Whether archives inside the archive are unpacked too.
    """

    url: str
    sha256: str | None = None
    md5: str | None = None
    checksum: str | None = None
    checksum_source: str | None = None
    size_bytes: int | None = None
    file: str | None = None
    unpack: bool | None = None
    unpack_nested: bool = False

    def __post_init__(self) -> None:
        address = urlsplit(self.url)
        if address.scheme not in ("https", "http") or not address.hostname:
            raise ValueError(f"expected an http(s) URL, got {self.url!r}")
        if self.checksum and address.scheme == "http" and address.hostname not in LOOPBACK:
            raise ValueError(f"expected https where no checksum is known, got {self.url!r}")
        _check_digest("sha256", self.sha256, 64)
        _check_digest("md5", self.md5, 32)
        known = self.sha256 or self.md5
        if self.checksum not in (None, "unverified") or bool(known) == bool(self.checksum):
            raise ValueError(
                "expected sha256 or md5, or 'checksum: unverified' where none is known"
            )
        if known and not self.checksum_source:
            raise ValueError("expected checksum_source: who published the checksum")
        if self.size_bytes is not None and self.size_bytes < 1:
            raise ValueError(f"expected a size_bytes above 0, got {self.size_bytes}")
        if not FILE_PATTERN.fullmatch(self.file_name) or self.file_name.endswith(".part"):
            raise ValueError(f"expected a plain file name, got {self.file_name!r}; set 'file'")

    @property
    def file_name(self) -> str:
        """Name on disk."""
        return self.file or unquote(PurePosixPath(urlsplit(self.url).path).name)

    @property
    def is_archive(self) -> bool:
        """Whether it is unpacked after the download."""
        return is_archive(self.file_name) if self.unpack is None else self.unpack


def _check_digest(name: str, value: str | None, length: int) -> None:
    if value is not None and (len(value) != length or set(value) - set("0123456789abcdef")):
        raise ValueError(
            f"expected {length} lower-case hexadecimal digits as {name}, got {value!r}"
        )


@dataclass(frozen=True)
class Dataset:
    """One entry of ``datasets.yaml``.

    Attributes:
        name: Its key.
        loader: How its audio lies on disk; ``None`` for what holds no clips, such as weights.
        title: What it is, in one line.
        license: SPDX name where there is one.
        domain: Of every clip; nothing where clips have their own.
        root: Folder of the audio, below the data folder; its name by default.
        bundled: Whether the root is inside the ``bench`` package.
        sources: What to download.
        split: Which part of the corpus it is.
        language: Of speech, as a BCP 47 tag.
        sample_rate: Of the files, Hz; nothing where they differ.
        homepage: Where people read about it.
        citation: How papers cite it.
        supply: How to get it where it cannot be downloaded.
        note: What one should know before using it.
    """

    name: str
    loader: Loader | None
    title: str
    license: str
    domain: Domain | None = None
    root: str | None = None
    bundled: bool = False
    sources: tuple[Source, ...] = ()
    split: str | None = None
    language: str | None = None
    sample_rate: int | None = None
    homepage: str | None = None
    citation: str | None = None
    supply: str | None = None
    note: str | None = None

    def __post_init__(self) -> None:
        if self.sample_rate is not None and not 1000 <= self.sample_rate <= 768_000:
            raise ValueError(f"expected a sample_rate in Hz, got {self.sample_rate}")
        parts = PurePosixPath(self.root or self.name).parts
        if ".." in parts:
            raise ValueError(f"expected a root without '..', got {self.root!r}")
        if self.sources and (self.bundled or parts[0] != self.name):
            raise ValueError(
                f"expected a root inside the folder {self.name!r}, where downloads go,"
                f" got {self.root!r}"
            )
        names = [source.file_name for source in self.sources]
        if len(set(names)) != len(names):
            raise ValueError("expected a different file name for each source; set 'file'")

    def folder(self, data_root: Path | None = None) -> Path:
        """Return where its audio is, or will be."""
        base = BENCH_FOLDER if self.bundled else (data_root or data_folder())
        return base / (self.root or self.name)

    def clips(self, data_root: Path | None = None) -> list[Clip]:
        """List its clips, sorted by id.

        Args:
            data_root: The folder of all datasets; ``data_folder()`` by default.

        Raises:
            DatasetError: If it is not there, holds no audio, or is laid out otherwise.
            UsageError: If it is no dataset of audio.
        """
        if self.loader is None:
            raise UsageError(f"{self.name} holds no clips: {self.title}")
        root = self.folder(data_root)
        if not root.is_dir():
            raise DatasetError(f"{self.name} is not at {root}; {self._next_step()}")
        clips = sorted(self.loader.clips(root, self.name, self.domain), key=lambda clip: clip.id)
        if not clips:
            raise DatasetError(f"{self.name}: no clips in {root}; {self._next_step()}")
        for one, other in pairwise(clips):
            if one.id == other.id:
                raise DatasetError(
                    f"{self.name}: {one.path} and {other.path} are both clip {one.id!r}; rename one"
                )
        return clips

    def _next_step(self) -> str:
        if self.sources:
            return (
                f"download it with 'python run_bench.py fetch {self.name}',"
                f" or set {DATA_VARIABLE} to the folder that holds {self.root or self.name}"
            )
        if self.supply:
            return self.supply
        return "expected a folder that holds audio"


class Catalog(Mapping[str, Dataset]):
    """Datasets by name; an unknown name is an error that lists the nearest ones."""

    def __init__(self, datasets: Mapping[str, Dataset]) -> None:
        self._datasets = dict(datasets)

    def __getitem__(self, name: str) -> Dataset:
        if name not in self._datasets:
            raise unknown_name("dataset", name, self._datasets)
        return self._datasets[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._datasets)

    def __len__(self) -> int:
        return len(self._datasets)

    def __contains__(self, name: object) -> bool:
        return name in self._datasets

    def merged(self, other: "Catalog") -> "Catalog":
        """Return both together.

        Raises:
            DatasetError: If a name is in both.
        """
        both = sorted(set(self) & set(other))
        if both:
            raise DatasetError(f"the dataset {both[0]!r} is defined twice; rename yours")
        return Catalog({**self._datasets, **other._datasets})

    def find(self, name: str, domain: Domain | None = None) -> Dataset:
        """Return the dataset of that name, or an unnamed one for a folder or a manifest on disk.

        Args:
            name: A name in the catalog, or the path of a folder or of a CSV or JSONL manifest.
            domain: Domain of all clips of a folder or manifest.
        """
        if name in self:
            return self[name]
        path = Path(name)
        if path.is_dir() or (path.is_file() and path.suffix in MANIFEST_SUFFIXES):
            return folder_dataset(path, domain)
        if os.sep in name:
            raise UsageError(f"no folder and no manifest at {name}; expected one, or a name")
        return self[name]


def folder_dataset(path: Path, domain: Domain | None = None, name: str | None = None) -> Dataset:
    """Return a dataset for a user's own folder of audio, or for a manifest of it.

    Args:
        path: The folder, or a ``.csv``, ``.tsv`` or ``.jsonl`` manifest.
        domain: Domain of all clips; by default the folders' names or the manifest's rows tell.
        name: Its name in results; by default the folder's or the manifest's.

    Raises:
        UsageError: If there is nothing at the path.
    """
    path = path.resolve()
    if path.is_dir():
        loader: Loader = Folder()
        root, own_name = path, path.name
    elif path.is_file():
        loader = Manifest(file=path.name)
        root, own_name = path.parent, path.stem
    else:
        raise UsageError(f"no folder and no manifest at {path}")
    return Dataset(
        name=name or own_name or "root",
        loader=loader,
        title=f"Audio in {path.name}",
        license="unknown",
        domain=domain,
        root=str(root),
    )


def load_catalog(path: Path | None = None, *, extra: Path | None = None) -> Catalog:
    """Read ``datasets.yaml``.

    Args:
        path: The file; the one that comes with the benchmark by default.
        extra: A user's own file, whose names are added.

    Raises:
        DatasetError: If a file is not as expected, or a name is in both.
    """
    catalog = _read_catalog(path or _own_file())
    return catalog.merged(_read_catalog(extra)) if extra else catalog


def _own_file() -> Path:
    # A wheel carries the file inside the package; a checkout has it at the top, in plain sight.
    packed = BENCH_FOLDER / "datasets.yaml"
    return packed if packed.is_file() else BENCH_FOLDER.parent / "datasets.yaml"


def _read_catalog(path: Path) -> Catalog:
    entries = read_yaml(path)
    return Catalog(
        {name: _dataset(name, entry, f"{path}: {name}") for name, entry in entries.items()}
    )


def _dataset(name: str, entry: object, where: str) -> Dataset:
    if not NAME_PATTERN.fullmatch(name):
        raise DatasetError(f"{where}: expected a name of lower-case letters, digits, - _ .")
    if not isinstance(entry, dict):
        raise DatasetError(f"{where}: expected a mapping, got {type(entry).__name__}")
    rest: dict[str, Any] = dict(entry)
    keys = {field.name for field in fields(Dataset)} - {"name"} | {"options"}
    check_keys(map(str, rest), keys, where)
    if "loader" not in rest:
        raise DatasetError(f"{where}: the key 'loader' is missing")
    loader = _loader(rest.pop("loader"), rest.pop("options", None), where)
    return build(Dataset, rest, where, given={"name": name, "loader": loader})


def _loader(name: object, options: object, where: str) -> Loader | None:
    known = [*LOADERS, "none"]
    if name not in known:
        raise DatasetError(f"{where}.loader: {unknown_name('loader', str(name), known)}")
    if name == "none":
        return None
    loader: Loader = build(LOADERS[str(name)], options, f"{where}.options")
    return loader


def with_options(dataset: Dataset, **options: Any) -> Dataset:
    """Return a dataset with some of its loader's options changed, such as ``folds=(5,)``."""
    if dataset.loader is None:
        raise UsageError(f"{dataset.name} holds no clips, so it has no options")
    return replace(dataset, loader=replace(dataset.loader, **options))  # type: ignore[type-var]
