"""Archives of every kind, whole, damaged, and meaning harm."""

import io
import random
import stat
import tarfile
import zipfile
from pathlib import Path

import pytest

from bench import archives
from bench.archives import Limits, unpack
from bench.errors import DatasetError

DATA = random.Random(0).randbytes(300_000)
Member = tuple[str, bytes]


def tar_of(path: Path, *members: Member | tarfile.TarInfo, mode: str = "w:gz") -> Path:
    with tarfile.open(path, mode) as file:
        for member in members:
            if isinstance(member, tarfile.TarInfo):
                file.addfile(member, io.BytesIO(bytes(member.size)))
                continue
            info = tarfile.TarInfo(member[0])
            info.size, info.mode = len(member[1]), 0o4777
            file.addfile(info, io.BytesIO(member[1]))
    return path


def zip_of(path: Path, *members: Member | tuple[zipfile.ZipInfo, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, data in members:
            file.writestr(name, data, zipfile.ZIP_DEFLATED)
    return path


def tar_special(kind: bytes, name: str = "evil", link: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, link
    return info


def zip_special(mode: int, name: str = "evil") -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)
    info.external_attr = mode << 16
    return info


def tree(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.fixture
def out(tmp_path) -> Path:
    (tmp_path / "out").mkdir()
    return tmp_path / "out"


@pytest.mark.parametrize("ending", [".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".zip"])
def test_every_kind_of_archive_is_unpacked(tmp_path, out, ending):
    members = [("set/a.wav", b"A" * 1000), ("./set/sub/b.wav", b"B"), ("c.txt", b"")]
    path = tmp_path / f"a{ending}"
    if ending == ".zip":
        zip_of(path, *members, ("empty/", b""))
    else:
        packing = ending.rpartition(".")[2].replace("tar", "").replace("tgz", "gz")
        tar_of(path, *members, tar_special(tarfile.DIRTYPE, "empty"), mode=f"w:{packing}")
    written: list[int] = []
    unpack(path, out, advance=written.append)
    assert tree(out) == {"set/a.wav": b"A" * 1000, "set/sub/b.wav": b"B", "c.txt": b""}
    assert (out / "empty").is_dir()
    assert sum(written) == 1001


def test_modes_of_strangers_are_left_behind(tmp_path, out):
    unpack(tar_of(tmp_path / "a.tar.gz", ("a", b"x")), out)
    assert not (out / "a").stat().st_mode & (stat.S_ISUID | 0o111)


HOSTILE_NAMES = ["../evil", "a/../../evil", "{tmp}/evil", "a\\..\\evil"]


@pytest.mark.parametrize("name", HOSTILE_NAMES)
def test_names_that_lead_out_are_refused(tmp_path, out, name):
    name = name.format(tmp=tmp_path)
    for path in (
        tar_of(tmp_path / "a.tar.gz", ("good", b"1"), (name, b"2")),
        zip_of(tmp_path / "a.zip", ("good", b"1"), (zip_special(0o100644, name), b"2")),
    ):
        with pytest.raises(DatasetError, match="is refused: it leads out of the folder"):
            unpack(path, out / path.suffix)
    assert not (tmp_path / "evil").exists()


@pytest.mark.parametrize(
    ("kind", "word"),
    [
        (tarfile.SYMTYPE, "a symbolic link"),
        (tarfile.LNKTYPE, "a hard link"),
        (tarfile.CHRTYPE, "a device"),
        (tarfile.BLKTYPE, "a device"),
        (tarfile.FIFOTYPE, "a pipe"),
        (b"Z", "no plain file"),
    ],
)
def test_tar_members_that_are_no_files_are_refused(tmp_path, out, kind, word):
    path = tar_of(tmp_path / "a.tar.gz", tar_special(kind, link="/etc/passwd"), ("evil/x", b""))
    with pytest.raises(DatasetError, match=f"'evil' is refused: {word}"):
        unpack(path, out)
    assert list(out.iterdir()) == []


@pytest.mark.parametrize("mode", [stat.S_IFLNK | 0o777, stat.S_IFCHR, stat.S_IFIFO, stat.S_IFSOCK])
def test_zip_members_that_are_no_files_are_refused(tmp_path, out, mode):
    path = zip_of(tmp_path / "a.zip", (zip_special(mode), b"/etc/passwd"), ("evil/x", b""))
    with pytest.raises(DatasetError, match="'evil' is refused: a link or a device"):
        unpack(path, out)
    assert list(out.iterdir()) == []


def test_a_sparse_file_is_refused(tmp_path, out):
    info = tarfile.TarInfo("evil")
    info.pax_headers = {
        "GNU.sparse.major": "1",
        "GNU.sparse.minor": "0",
        "GNU.sparse.name": "evil",
        "GNU.sparse.realsize": str(10**15),
    }
    info.size = 512
    path = tmp_path / "a.tar"
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as file:
        file.addfile(info, io.BytesIO(b"0\n".ljust(512, b"\0")))
    with pytest.raises(DatasetError, match="'evil' is refused: a sparse file"):
        unpack(path, out)


def test_nothing_is_written_twice(tmp_path, out):
    for path in (
        tar_of(tmp_path / "a.tar.gz", ("a", b"1"), ("./a", b"2")),
        tar_of(tmp_path / "b.tar.gz", ("a", b"1"), ("a/b", b"2")),
    ):
        with pytest.raises(DatasetError, match=r"cannot unpack .*(File exists|Not a directory)"):
            unpack(path, out / path.name)


def bomb(tmp_path: Path, ending: str, size: int) -> Path:
    member = ("bomb", bytes(size))
    make = zip_of if ending == "zip" else tar_of
    return make(tmp_path / f"a.{ending}", member)


@pytest.mark.parametrize("ending", ["zip", "tar.gz"])
def test_bombs_are_stopped_while_they_unpack(tmp_path, out, ending, monkeypatch):
    monkeypatch.setattr(archives, "RATIO_GRACE_BYTES", 1 << 20)
    with pytest.raises(DatasetError, match=r"more than 100 times its size.*bomb"):
        unpack(bomb(tmp_path, ending, 20 << 20), out)
    assert sum(len(data) for data in tree(out).values()) <= 4 << 20


@pytest.mark.parametrize("ending", ["zip", "tar.gz"])
@pytest.mark.parametrize(
    ("limits", "message"),
    [
        (Limits(file_bytes=1000), "'bomb' is larger than 1000 bytes"),
        (Limits(total_bytes=1000), "unpacks to more than 1000 bytes"),
        (Limits(files=0), "holds more than 0 files"),
    ],
)
def test_limits_hold(tmp_path, out, ending, limits, message):
    with pytest.raises(DatasetError, match=message):
        unpack(bomb(tmp_path, ending, 5000), out, limits)


def test_nested_archives_share_one_limit(tmp_path, out):
    inner = [(f"{i}.zip", bomb(tmp_path, "zip", 5000).read_bytes()) for i in range(9)]
    path = zip_of(
        tmp_path / "outer.zip", *[(f"{i}/{name}", data) for i, (name, data) in enumerate(inner)]
    )
    unpack(path, out / "fits", Limits(total_bytes=50_000), nested=True)
    assert len(tree(out / "fits")) == 9
    with pytest.raises(DatasetError, match=r"outer\.zip unpacks to more than 20000 bytes"):
        unpack(path, out / "stopped", Limits(total_bytes=20_000), nested=True)


def test_a_zip_that_lies_about_sizes_is_stopped(tmp_path, out):
    path = bomb(tmp_path, "zip", 5 << 20)
    data = path.read_bytes().replace((5 << 20).to_bytes(4, "little"), (10).to_bytes(4, "little"))
    path.write_bytes(data)
    with pytest.raises(DatasetError, match="damaged"):
        unpack(path, out)


def test_a_tar_header_that_would_fill_the_memory_is_refused(tmp_path, out):
    name = tar_special(tarfile.GNUTYPE_LONGNAME, "x")
    name.size = 4 << 20
    path = tar_of(tmp_path / "a.tar.gz", name, ("a", b""))
    with pytest.raises(DatasetError, match="a header of 4194304 bytes"):
        unpack(path, out)


@pytest.mark.parametrize("ending", ["zip", "tar", "tar.gz", "tar.bz2", "tar.xz"])
def test_damaged_archives_are_told(tmp_path, out, ending):
    path = tmp_path / f"a.{ending}"
    make = zip_of if ending == "zip" else tar_of
    packing = {} if ending == "zip" else {"mode": f"w:{ending[4:]}"}
    make(path, ("a", DATA), **packing)
    whole = path.read_bytes()
    for content in (whole[:100_000], b"<html>404</html>" * 100, b""):
        path.write_bytes(content)
        with pytest.raises(DatasetError, match=r"a\.\S+ is damaged"):
            unpack(path, out / str(len(content)))


def test_an_encrypted_zip_is_refused(tmp_path, out):
    path = zip_of(tmp_path / "a.zip", ("a", b"x"))
    data = bytearray(path.read_bytes())
    data[6] |= 1  # the flag of the local header, then of the index
    data[data.index(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(data)
    with pytest.raises(DatasetError, match="is refused: encrypted"):
        unpack(path, out)


def test_another_kind_of_archive_is_told(tmp_path, out):
    (tmp_path / "a.rar").touch()
    with pytest.raises(DatasetError, match=r"cannot unpack a\.rar; expected a name in \.tar\.gz"):
        unpack(tmp_path / "a.rar", out)
