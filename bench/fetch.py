"""Fetch a dataset: download its files, verify and unpack them, and let the folder appear at once.

Below the data folder lies ``NAME`` once it is whole, with a marker inside; ``.downloads/NAME``
while it is not, so that a killed fetch leaves no half dataset and the next one goes on; and
``checksums.json``, which pins what was first downloaded from sources that publish no checksum.
"""

import fcntl
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from bench.archives import Limits, unpack
from bench.datasets import Dataset, Source, data_folder
from bench.download import (
    Digest,
    Expected,
    Patience,
    Report,
    Silent,
    download,
    require_space,
)
from bench.errors import DatasetError

MARKER = ".codecbench-fetched.json"
DOWNLOADS = ".downloads"
PINS = "checksums.json"
#: Room that an unpacked archive takes, relative to its packed size, when nothing better is known.
UNPACKED_RATIO = 1.3


@dataclass(frozen=True)
class Fetched:
    """What a fetch did.

    Attributes:
        dataset: Name of the dataset.
        folder: Where it is.
        is_new: Whether anything was downloaded; ``False`` if it was there already.
        sha256: Checksum of each file, by its name.
        notes: What one should know, such as a checksum that nobody published.
    """

    dataset: str
    folder: Path
    is_new: bool
    sha256: dict[str, str]
    notes: tuple[str, ...] = ()


def fetch(
    dataset: Dataset,
    data_root: Path | None = None,
    *,
    progress: Report | None = None,
    limits: Limits | None = None,
    patience: Patience | None = None,
) -> Fetched:
    """Download a dataset, unless it is there.

    Args:
        dataset: An entry of the catalog.
        data_root: The folder of all datasets; ``data_folder()`` by default.
        progress: Who is told how it goes; see ``progress_bar``.
        limits: What its archives may unpack to.
        patience: How long broken connections are tried.

    Raises:
        DatasetError: If it has no source, or its files cannot be had, verified or unpacked.
    """
    root = data_root or data_folder()
    if dataset.bundled:
        return Fetched(dataset.name, dataset.folder(), False, {}, ("comes with the benchmark",))
    if not dataset.sources:
        raise DatasetError(f"{dataset.name} cannot be downloaded: {dataset.supply or 'no source'}")
    there = _already(dataset, root)
    if there:
        return there
    _make_folder(root / DOWNLOADS)
    job = _Job(dataset, root, progress or Silent(), limits or Limits(), patience or Patience())
    with _exclusive(dataset, root / DOWNLOADS):
        try:
            # It may have been finished by whoever held the lock before.
            return _already(dataset, root) or job.run()
        except OSError as error:
            raise DatasetError(
                f"cannot store {dataset.name}: {error.strerror} ({error.filename})"
            ) from error


def _already(dataset: Dataset, root: Path) -> Fetched | None:
    """Return the result of an earlier fetch.

    Raises:
        DatasetError: If something else is in its place.
    """
    folder = root / dataset.name
    if not folder.exists():
        return None
    try:
        marker = json.loads((folder / MARKER).read_text("utf-8"))
        sources, sha256 = marker["sources"], marker["sha256"]
    except (OSError, ValueError, KeyError, TypeError):
        raise DatasetError(
            f"{folder} is there, but not by a finished fetch; use it as it is,"
            " or move it away and fetch again"
        ) from None
    if sources != _description(dataset):
        raise DatasetError(
            f"{folder} was fetched from other sources than datasets.yaml has now;"
            " move it away and fetch again"
        )
    return Fetched(dataset.name, folder, False, sha256)


def _description(dataset: Dataset) -> list[dict[str, Any]]:
    return [
        {"url": source.url, "sha256": source.sha256, "md5": source.md5}
        for source in dataset.sources
    ]


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DatasetError(
            f"cannot make the folder {folder}: {error.strerror};"
            " set CODECBENCH_DATA to a folder that you may write to"
        ) from error


@contextmanager
def _exclusive(dataset: Dataset, downloads: Path) -> Iterator[None]:
    """Keep a second fetch of the same dataset out; a kill releases the lock."""
    with (downloads / f"{dataset.name}.lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise DatasetError(
                f"{dataset.name} is being fetched by another process; wait for it"
            ) from error
        yield


class _Job:
    """One fetch of one dataset."""

    def __init__(
        self, dataset: Dataset, root: Path, report: Report, limits: Limits, patience: Patience
    ) -> None:
        self.dataset = dataset
        self.folder = root / dataset.name
        self.staging = root / DOWNLOADS / dataset.name
        self.downloads = self.staging / "files"
        self.pins = _Pins(root / PINS)
        self.report = report
        self.limits = limits
        self.patience = patience
        self.notes: list[str] = []

    def run(self) -> Fetched:
        """Download, verify, unpack, and move the result into place."""
        _make_folder(self.downloads)
        self._require_space()
        digests = {source.file_name: self._download(source) for source in self.dataset.sources}
        unpacked = self._unpack()
        sha256 = {name: digest.sha256 for name, digest in digests.items()}
        _write_json(
            unpacked / MARKER,
            {
                "dataset": self.dataset.name,
                "sources": _description(self.dataset),
                "sha256": sha256,
            },
        )
        unpacked.rename(self.folder)
        shutil.rmtree(self.staging, ignore_errors=True)
        return Fetched(self.dataset.name, self.folder, True, sha256, tuple(self.notes))

    def _require_space(self) -> None:
        needed = 0.0
        for source in self.dataset.sources:
            size = source.size_bytes or 0
            file = self.downloads / source.file_name
            here = [file, file.with_name(f"{file.name}.part")]
            needed += max(0, size - sum(path.stat().st_size for path in here if path.exists()))
            needed += UNPACKED_RATIO * size if source.is_archive else 0
        require_space(self.staging, round(needed), self.dataset.name)

    def _download(self, source: Source) -> Digest:
        target = self.downloads / source.file_name
        pinned = self.pins.get(source.url) if source.checksum else None
        expected = Expected(source.sha256 or pinned, source.md5, source.size_bytes)
        try:
            digest = download(
                source.url, target, expected, report=self.report, patience=self.patience
            )
        except DatasetError as error:
            if pinned and pinned in str(error):
                raise DatasetError(
                    f"{error}. The expected one was recorded on the first download; to accept the"
                    f" new one, remove its line from {self.pins.path}"
                ) from error
            raise
        if source.checksum:
            self._pin(source, digest, pinned)
        return digest

    def _pin(self, source: Source, digest: Digest, pinned: str | None) -> None:
        if pinned:
            text = f"no published checksum; sha256 is as on first download, {pinned}"
        else:
            self.pins.set(source.url, digest.sha256)
            text = f"no published checksum; recorded sha256 {digest.sha256} on first download"
        self.notes.append(f"{source.file_name}: {text}")
        self.report.note(self.notes[-1])

    def _unpack(self) -> Path:
        """Put all files into a new folder, and return it."""
        unpacked = self.staging / "unpacked"
        if unpacked.exists():
            shutil.rmtree(unpacked)
        unpacked.mkdir()
        try:
            for source in self.dataset.sources:
                self._place(source, unpacked)
        except BaseException:
            shutil.rmtree(unpacked, ignore_errors=True)
            raise
        return unpacked

    def _place(self, source: Source, folder: Path) -> None:
        file = self.downloads / source.file_name
        if not source.is_archive:
            _link_or_copy(file, folder / source.file_name)
            return
        self.report.start(f"unpack {source.file_name}", None)
        unpack(file, folder, self.limits, self.report.advance, nested=source.unpack_nested)


def _link_or_copy(file: Path, target: Path) -> None:
    """Keep the download for another try; a second name takes no room, where disks know them."""
    try:
        os.link(file, target)
    except OSError:
        shutil.copyfile(file, target)


class _Pins:
    """Checksums of first downloads, by URL."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def _read(self) -> dict[str, str]:
        if not self.path.exists():
            return {}
        try:
            content = json.loads(self.path.read_text("utf-8"))
            return {str(url): str(sha256) for url, sha256 in content.items()}
        except (OSError, ValueError, AttributeError) as error:
            raise DatasetError(
                f"{self.path} is damaged ({error}); mend or remove it: it holds checksums of"
                " first downloads"
            ) from error

    def get(self, url: str) -> str | None:
        """Return the sha256 of the first download from a URL."""
        return self._read().get(url)

    def set(self, url: str, sha256: str) -> None:
        """Record the first download from a URL."""
        _write_json(self.path, {**self._read(), url: sha256})


def _write_json(path: Path, content: object) -> None:
    """Write so that a kill leaves the old file or the new one."""
    partial = path.with_name(path.name + ".part")
    with partial.open("w", encoding="utf-8") as file:
        json.dump(content, file, indent=2, sort_keys=True)
        file.write("\n")
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)


class _Bars:
    """Progress bars of rich, one at a time."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._task: TaskID | None = None

    def start(self, what: str, total: int | None, done: int = 0) -> None:
        """Replace the bar by a new one."""
        if self._task is not None:
            self._progress.remove_task(self._task)
        self._task = self._progress.add_task(what, total=total, completed=done)

    def advance(self, count: int) -> None:
        """Move the bar."""
        if self._task is not None:
            self._progress.advance(self._task, count)

    def note(self, text: str) -> None:
        """Print a line above the bar."""
        self._progress.console.print(text, markup=False, highlight=False, soft_wrap=True)


@contextmanager
def progress_bar() -> Iterator[Report]:
    """Show progress on stderr; what it gives is the ``progress`` of ``fetch``."""
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        yield _Bars(progress)
