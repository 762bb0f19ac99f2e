"""Unpack archives that strangers made.

Nothing is written outside the target folder: names with ``..``, absolute names, links and devices
are refused, and so is an archive that unpacks to more than its ``Limits``. Bytes are counted as
they are written, not as headers declare them. Modes, owners and times are left behind.
"""

import gzip
import lzma
import os
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO

from bench.errors import DatasetError

#: Called with the number of bytes just written.
Advance = Callable[[int], None]

TAR_SUFFIXES = (".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".tar")
ARCHIVE_SUFFIXES = (*TAR_SUFFIXES, ".zip")
CHUNK_BYTES = 1 << 20
#: Longest tar header extension (long names, pax records) that is read into memory.
MAX_TAR_HEADER_BYTES = 1 << 20
#: Below this much output an archive is no bomb, however well it is packed.
RATIO_GRACE_BYTES = 64 << 20


@dataclass(frozen=True)
class Limits:
    """What an archive may unpack to.

    Attributes:
        total_bytes: All files together.
        file_bytes: One file.
        files: Number of files and folders.
        ratio: Unpacked to packed size, once past 64 MiB.
    """

    total_bytes: int = 200 * 10**9
    file_bytes: int = 20 * 10**9
    files: int = 500_000
    ratio: float = 100.0


class Budget:
    """Counts what an archive has unpacked, and stops it at the limits."""

    def __init__(self, archive: Path, limits: Limits) -> None:
        self.archive = archive
        self.limits = limits
        self.packed_bytes = archive.stat().st_size
        self.files = 0
        self.bytes = 0

    def add_entry(self) -> None:
        """Count one file or folder."""
        self.files += 1
        if self.files > self.limits.files:
            raise DatasetError(f"{self.archive.name} holds more than {self.limits.files} files")

    def add_bytes(self, name: str, count: int, written: int) -> None:
        """Count bytes of one file, of which ``written`` are there now."""
        self.bytes += count
        limits = self.limits
        if written > limits.file_bytes:
            raise DatasetError(
                f"{self.archive.name}: {name!r} is larger than {limits.file_bytes} bytes"
            )
        if self.bytes > limits.total_bytes:
            raise DatasetError(
                f"{self.archive.name} unpacks to more than {limits.total_bytes} bytes"
            )
        if self.bytes > max(RATIO_GRACE_BYTES, limits.ratio * self.packed_bytes):
            raise DatasetError(
                f"{self.archive.name} unpacks to more than {limits.ratio:g} times its size;"
                " it looks like an archive bomb"
            )


def is_archive(name: str) -> bool:
    """Tell by its name whether a file can be unpacked here."""
    return name.lower().endswith(ARCHIVE_SUFFIXES)


def unpack(
    archive: Path,
    folder: Path,
    limits: Limits | None = None,
    advance: Advance = lambda _: None,
    *,
    nested: bool = False,
) -> None:
    """Unpack an archive into a folder.

    When it raises, some files may be there: unpack into a folder that can be thrown away.

    Args:
        archive: Its name tells its kind.
        folder: Where the files go.
        limits: What it may unpack to, with all that is nested in it.
        advance: Told of every piece written.
        nested: Whether archives inside are unpacked too, beside themselves, one level deep.

    Raises:
        DatasetError: If the archive is damaged, too large, or holds what it should not.
    """
    budget = Budget(archive, limits or Limits())
    _unpack_one(archive, folder, budget, advance)
    if not nested:
        return
    files = [Path(at, name) for at, _, names in os.walk(folder) for name in names]
    for inner in sorted(filter(lambda file: is_archive(file.name), files)):
        _unpack_one(inner, inner.parent, budget, advance)
        inner.unlink()


def _unpack_one(archive: Path, folder: Path, budget: Budget, advance: Advance) -> None:
    name = archive.name.lower()
    if not is_archive(name):
        raise DatasetError(
            f"cannot unpack {archive.name}; expected a name in {', '.join(ARCHIVE_SUFFIXES)}"
        )
    with _readable_errors(archive):
        if name.endswith(".zip"):
            _unpack_zip(archive, folder, budget, advance)
        else:
            _unpack_tar(archive, folder, budget, advance)


@contextmanager
def _readable_errors(archive: Path) -> Iterator[None]:
    try:
        yield
    except (
        tarfile.TarError,
        zipfile.BadZipFile,
        zlib.error,
        lzma.LZMAError,
        gzip.BadGzipFile,
        EOFError,
        NotImplementedError,  # a packing method that zipfile does not know
        UnicodeError,
        TypeError,  # tarfile, of a gzip header that ends early
        IndexError,  # zipfile, of a name without letters
        ValueError,
    ) as error:
        raise DatasetError(
            f"{archive.name} is damaged, or not the kind of archive that its name says: {error}"
        ) from error
    except OSError as error:
        if error.errno is None:  # bz2 reports damaged data like this
            raise DatasetError(f"{archive.name} is damaged: {error}") from error
        raise DatasetError(
            f"cannot unpack {archive.name}: {error.strerror} ({error.filename or 'the disk'})"
        ) from error


def _unpack_zip(archive: Path, folder: Path, budget: Budget, advance: Advance) -> None:
    with zipfile.ZipFile(archive) as file:
        for info in file.infolist():
            kind = stat.S_IFMT(info.external_attr >> 16)
            if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
                raise _refused(archive, info.filename, "a link or a device")
            if info.flag_bits & 0x1:
                raise _refused(archive, info.filename, "encrypted")
            target = _target(archive, folder, info.filename)
            budget.add_entry()
            if info.is_dir():
                target.mkdir(parents=True, exist_ok=True)
                continue
            with file.open(info) as content:
                _write(content, target, info.filename, budget, advance)


def _unpack_tar(archive: Path, folder: Path, budget: Budget, advance: Advance) -> None:
    # "r|" reads once from front to back, so that a damaged index cannot make it jump.
    with tarfile.open(archive, "r|*", tarinfo=_BoundedTarInfo) as file:
        for info in file:
            if not (info.isreg() or info.isdir()) or info.issparse():
                raise _refused(archive, info.name, _tar_kind(info))
            target = _target(archive, folder, info.name)
            budget.add_entry()
            if info.isdir():
                target.mkdir(parents=True, exist_ok=True)
                continue
            content = file.extractfile(info)
            assert content is not None  # of a regular file there is always one
            with content:
                _write(content, target, info.name, budget, advance)


class _BoundedTarInfo(tarfile.TarInfo):
    """A tar header whose extensions are not read into memory beyond a limit."""

    def _proc_member(self, file: tarfile.TarFile) -> tarfile.TarInfo:
        is_data = self.type in tarfile.SUPPORTED_TYPES and self.isreg()
        extends = not is_data and not self.isdir() and self.size > MAX_TAR_HEADER_BYTES
        if extends:
            raise tarfile.ReadError(f"a header of {self.size} bytes")
        return super()._proc_member(file)  # type: ignore[misc]


def _tar_kind(info: tarfile.TarInfo) -> str:
    kinds = {
        "a symbolic link": info.issym(),
        "a hard link": info.islnk(),
        "a device": info.ischr() or info.isblk(),
        "a pipe": info.isfifo(),
        "a sparse file": info.issparse(),
    }
    return next((kind for kind, holds in kinds.items() if holds), "no plain file")


def _refused(archive: Path, name: str, why: str) -> DatasetError:
    return DatasetError(f"{archive.name}: {name!r} is refused: {why}; expected plain files only")


def _target(archive: Path, folder: Path, name: str) -> Path:
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or "\\" in name or "\0" in name:
        raise _refused(archive, name, "it leads out of the folder")
    return folder / path


def _write(content: IO[bytes], target: Path, name: str, budget: Budget, advance: Advance) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    written = 0
    # "x" never writes through something that is there already.
    with target.open("xb") as file:
        while chunk := content.read(CHUNK_BYTES):
            written += len(chunk)
            budget.add_bytes(name, len(chunk), written)
            file.write(chunk)
            advance(len(chunk))
