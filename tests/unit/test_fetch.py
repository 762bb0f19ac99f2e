"""Downloads from a server on loopback that misbehaves, and archives that mean harm."""

import gzip
import hashlib
import io
import json
import random
import signal
import socket
import subprocess
import sys
import threading
import urllib.request
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import pytest

from bench import fetch as fetch_module
from bench.datasets import Dataset, Source, load_catalog
from bench.download import Expected, Patience, Silent, _put, _Redirects, download
from bench.errors import DatasetError
from bench.fetch import MARKER, PINS, fetch, progress_bar
from bench.loaders import Folder

DATA = random.Random(0).randbytes(300_000)
WAITLESS = Patience(attempts=3, wait_s=0, timeout_s=5, sleep=lambda _: None)


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


# --- a server -------------------------------------------------------------------------------------


@dataclass
class Page:
    """What one address serves, and how badly."""

    data: bytes = DATA
    etag: str | None = '"v1"'
    ranges: bool = True
    ignores_if_range: bool = False
    chunked: bool = False
    #: Break the connection after so many bytes, once for each entry.
    cuts: list[int] = field(default_factory=list)
    #: Answer with these statuses before the data comes.
    statuses: list[int] = field(default_factory=list)
    headers: dict[str, str] = field(default_factory=dict)


class Server(ThreadingHTTPServer):
    """Serves pages and remembers what was asked."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.pages: dict[str, Page] = {}
        self.ranges: list[str | None] = []
        self.conditions: list[str | None] = []
        self.sent = 0

    def url(self, name: str) -> str:
        return f"http://127.0.0.1:{self.server_port}/{name}"

    def add(self, name: str, **behaviour) -> str:
        self.pages[f"/{name}"] = Page(**behaviour)
        return self.url(name)

    def handle_error(self, request, client_address) -> None:
        pass


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def log_message(self, *_) -> None:
        pass

    def do_GET(self) -> None:
        page = self.server.pages.get(self.path.split("?")[0])
        self.server.ranges.append(self.headers.get("Range"))
        self.server.conditions.append(self.headers.get("If-Range"))
        if page is None:
            self.send_error(404)
        elif page.statuses:
            self.send_response(page.statuses.pop(0))
            for name, value in {"Content-Length": "0", **page.headers}.items():
                self.send_header(name, value)
            self.end_headers()
        else:
            self._serve(page)

    def _serve(self, page: Page) -> None:
        start = self._start(page)
        if start is not None and start >= len(page.data):
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(page.data)}")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        self.send_response(200 if start is None else 206)
        body = page.data[start or 0 :]
        if start is not None:
            last = len(page.data) - 1
            self.send_header("Content-Range", f"bytes {start}-{last}/{len(page.data)}")
        if page.etag:
            self.send_header("ETag", page.etag)
        length = ("Transfer-Encoding", "chunked") if page.chunked else None
        for name, value in (length or ("Content-Length", str(len(body))), *page.headers.items()):
            self.send_header(name, value)
        self.end_headers()
        self._send(body, page)

    def _start(self, page: Page) -> int | None:
        wanted, condition = self.headers.get("Range"), self.headers.get("If-Range")
        if not wanted or not page.ranges:
            return None
        if condition and condition != page.etag and not page.ignores_if_range:
            return None
        return int(wanted.removeprefix("bytes=").removesuffix("-"))

    def _send(self, body: bytes, page: Page) -> None:
        cut = page.cuts.pop(0) if page.cuts else None
        part = body[:cut]
        self.server.sent += len(part)
        if page.chunked:
            self.wfile.write(b"%x\r\n%s\r\n" % (len(part), part))
            self.wfile.write(b"0\r\n\r\n" if cut is None else b"")
        else:
            self.wfile.write(part)
        self.wfile.flush()
        if cut is not None:
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def server(monkeypatch) -> Iterator[Server]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with Server() as running:
        threading.Thread(target=running.serve_forever, args=(0.01,), daemon=True).start()
        yield running
        running.shutdown()


class Notes(Silent):
    def __init__(self) -> None:
        self.texts: list[str] = []

    def note(self, text: str) -> None:
        self.texts.append(text)


def get(url: str, target: Path, **options):
    expected = Expected(**options) if options else Expected(sha256=sha256(DATA))
    return download(url, target, expected, patience=WAITLESS)


# --- download -------------------------------------------------------------------------------------


def test_download_gives_the_file_and_nothing_else(server, tmp_path):
    digest = get(server.add("a.bin"), tmp_path / "a.bin")
    assert (tmp_path / "a.bin").read_bytes() == DATA
    assert digest.sha256 == sha256(DATA)
    assert digest.size_bytes == len(DATA)
    assert [path.name for path in tmp_path.iterdir()] == ["a.bin"]


def test_a_cut_connection_is_resumed_where_it_broke(server, tmp_path):
    url = server.add("a.bin", cuts=[100_000, 50_000])
    get(url, tmp_path / "a.bin")
    assert (tmp_path / "a.bin").read_bytes() == DATA
    assert server.ranges == [None, "bytes=100000-", "bytes=150000-"]
    assert server.conditions == [None, '"v1"', '"v1"']
    assert server.sent == len(DATA)  # no byte came twice


def test_a_later_call_goes_on_where_an_earlier_one_gave_up(server, tmp_path):
    url = server.add("a.bin", cuts=[100_000, 0, 0, 0])
    with pytest.raises(DatasetError, match="100000 bytes are kept, run it again to go on") as error:
        get(url, tmp_path / "a.bin")
    assert "connection broke" in str(error.value)
    assert not (tmp_path / "a.bin").exists()
    get(url, tmp_path / "a.bin")
    assert server.ranges[-1] == "bytes=100000-"
    assert server.sent == len(DATA)


def test_a_cut_chunked_answer_is_noticed(server, tmp_path):
    url = server.add("a.bin", chunked=True, cuts=[100_000])
    get(url, tmp_path / "a.bin")
    assert (tmp_path / "a.bin").read_bytes() == DATA


def test_a_server_without_ranges_starts_over(server, tmp_path):
    url = server.add("a.bin", ranges=False, cuts=[100_000])
    get(url, tmp_path / "a.bin")
    assert (tmp_path / "a.bin").read_bytes() == DATA
    assert server.sent == len(DATA) + 100_000


def test_without_etag_and_checksum_nothing_is_glued_together(server, tmp_path):
    url = server.add("a.bin", etag=None, cuts=[100_000])
    get(url, tmp_path / "a.bin", size_bytes=len(DATA))
    assert server.ranges == [None, None]
    assert (tmp_path / "a.bin").read_bytes() == DATA


def test_a_weak_etag_is_no_promise_of_equal_bytes(server, tmp_path):
    url = server.add("a.bin", etag='W/"v1"', cuts=[100_000])
    get(url, tmp_path / "a.bin", size_bytes=len(DATA))
    assert server.ranges == [None, None]


@pytest.mark.parametrize("ignores_if_range", [False, True])
def test_changed_content_is_not_glued_to_the_old(server, tmp_path, ignores_if_range):
    url = server.add("a.bin", cuts=[100_000, 0, 0, 0])
    with pytest.raises(DatasetError):
        get(url, tmp_path / "a.bin", size_bytes=len(DATA))
    new = DATA[::-1]
    server.add("a.bin", data=new, etag='"v2"', ignores_if_range=ignores_if_range)
    get(url, tmp_path / "a.bin", size_bytes=len(DATA))
    assert (tmp_path / "a.bin").read_bytes() == new


def test_silently_changed_content_is_caught_by_the_checksum(server, tmp_path):
    url = server.add("a.bin", data=DATA[::-1], etag=None, cuts=[100_000, 0, 0, 0])
    with pytest.raises(DatasetError):
        get(url, tmp_path / "a.bin")
    server.add("a.bin", etag=None)
    notes = Notes()
    expected = Expected(sha256=sha256(DATA))
    download(url, tmp_path / "a.bin", expected, report=notes, patience=WAITLESS)
    assert (tmp_path / "a.bin").read_bytes() == DATA
    assert server.ranges[-2:] == ["bytes=100000-", None]
    assert "starting over" in notes.texts[0]


def test_a_file_that_became_shorter_starts_over(server, tmp_path):
    url = server.add("a.bin", cuts=[200_000, 0, 0, 0])
    with pytest.raises(DatasetError):
        get(url, tmp_path / "a.bin")
    server.add("a.bin", data=DATA[:1000])
    get(url, tmp_path / "a.bin", sha256=sha256(DATA[:1000]))
    assert (tmp_path / "a.bin").read_bytes() == DATA[:1000]


def test_a_part_of_another_url_is_not_used(server, tmp_path):
    old = server.add("old", cuts=[100_000, 0, 0, 0])
    with pytest.raises(DatasetError):
        get(old, tmp_path / "a.bin")
    get(server.add("new"), tmp_path / "a.bin")
    assert server.ranges[-1] is None


def test_a_damaged_record_of_a_part_starts_over(server, tmp_path):
    (tmp_path / "a.bin.part").write_bytes(b"rubbish")
    (tmp_path / "a.bin.part.json").write_text('{"url": 3, "x": 1}')
    get(server.add("a.bin"), tmp_path / "a.bin")
    assert (tmp_path / "a.bin").read_bytes() == DATA


def test_a_wrong_checksum_says_both_and_keeps_nothing(server, tmp_path):
    url = server.add("a.bin")
    with pytest.raises(DatasetError, match=f"sha256 expected {'0' * 64}, got {sha256(DATA)}"):
        get(url, tmp_path / "a.bin", sha256="0" * 64)
    with pytest.raises(DatasetError, match=r"md5 expected 000.* the file was removed"):
        get(url, tmp_path / "a.bin", md5="0" * 32)
    assert list(tmp_path.iterdir()) == []


def test_a_wrong_length_is_told_before_the_download(server, tmp_path):
    url = server.add("a.bin")
    with pytest.raises(DatasetError, match="is 300000 bytes long, expected 300001"):
        get(url, tmp_path / "a.bin", size_bytes=300_001)
    with pytest.raises(DatasetError, match="more than 1000 allowed"):
        get(url, tmp_path / "a.bin", max_bytes=1000)


def test_an_endless_answer_is_cut_off(server, tmp_path):
    url = server.add("a.bin", chunked=True)
    with pytest.raises(DatasetError, match="sends more than the 1000 bytes expected"):
        get(url, tmp_path / "a.bin", size_bytes=1000)


def test_a_verified_file_is_not_downloaded_again_and_a_damaged_one_is(server, tmp_path):
    url = server.add("a.bin")
    (tmp_path / "a.bin").write_bytes(DATA)
    get(url, tmp_path / "a.bin")
    assert server.ranges == []
    (tmp_path / "a.bin").write_bytes(DATA[:-1])
    get(url, tmp_path / "a.bin")
    assert (tmp_path / "a.bin").read_bytes() == DATA


def test_an_empty_file_is_a_file(server, tmp_path):
    get(server.add("a.bin", data=b""), tmp_path / "a.bin", sha256=sha256(b""))
    assert (tmp_path / "a.bin").read_bytes() == b""


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (404, "404 Not Found; see the dataset's homepage"),
        (410, "410 Gone; see the dataset's homepage"),
        (403, "403 Forbidden; it may need a login"),
    ],
)
def test_a_refusal_is_told_at_once(server, tmp_path, status, message):
    with pytest.raises(DatasetError, match=message):
        get(server.add("a.bin", statuses=[status]), tmp_path / "a.bin")
    assert len(server.ranges) == 1


def test_a_busy_server_is_asked_again_when_it_says(server, tmp_path):
    pauses: list[float] = []
    patience = Patience(wait_s=1, longest_wait_s=5, sleep=pauses.append)
    url = server.add("a.bin", statuses=[503, 429], headers={"Retry-After": "3"})
    download(url, tmp_path / "a.bin", patience=patience)
    assert pauses == [3, 4]
    url = server.add("b.bin", statuses=[503], headers={"Retry-After": "99999"})
    download(url, tmp_path / "b.bin", patience=patience)
    assert pauses[-1] == 5


def test_a_server_that_stays_busy_is_given_up(server, tmp_path):
    with pytest.raises(DatasetError, match="answers 503 Service Unavailable, after 3 attempts"):
        get(server.add("a.bin", statuses=[503] * 9), tmp_path / "a.bin")


def test_no_network_is_one_clear_line(tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(DatasetError, match=r"no connection to .* refused.*check the network") as e:
        get(f"http://127.0.0.1:{port}/a.bin", tmp_path / "a.bin")
    assert "\n" not in str(e.value)
    with pytest.raises(DatasetError, match=r"no connection to nowhere\.invalid"):
        get("http://nowhere.invalid/a.bin", tmp_path / "a.bin")


def test_a_silent_server_is_given_up(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as mute:
        url = f"http://127.0.0.1:{mute.getsockname()[1]}/a.bin"
        patience = Patience(attempts=2, timeout_s=0.1, sleep=lambda _: None)
        with pytest.raises(DatasetError, match="after 2 attempts"):
            download(url, tmp_path / "a.bin", patience=patience)


def test_bytes_packed_once_more_are_refused(server, tmp_path):
    url = server.add("a.bin", data=gzip.compress(DATA), headers={"Content-Encoding": "gzip"})
    with pytest.raises(DatasetError, match="came packed as 'gzip'"):
        get(url, tmp_path / "a.bin")


def test_redirects_are_followed_to_http_and_to_nothing_else(server, tmp_path):
    goal = server.add("goal")
    get(server.add("a", statuses=[302], headers={"Location": goal}), tmp_path / "a.bin")
    for target in ("file:///etc/passwd", "ftp://127.0.0.1/x"):
        url = server.add("b", statuses=[302], headers={"Location": target})
        with pytest.raises(DatasetError, match=r"not allowed|expected an https address"):
            get(url, tmp_path / "b.bin")


def test_redirects_never_leave_https():
    request = urllib.request.Request("https://a.org/x")
    with pytest.raises(DatasetError, match="redirects to http://"):
        _Redirects().redirect_request(request, None, 302, "", {}, "http://a.org/x")


def test_a_full_disk_is_told_before_and_during(server, tmp_path, monkeypatch):
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=1000))
    with pytest.raises(DatasetError, match=r"a\.bin needs 0\.0 GB, .* make room"):
        get(server.add("a.bin"), tmp_path / "a.bin")
    monkeypatch.undo()

    with Path("/dev/full").open("wb") as full, pytest.raises(DatasetError, match="no room left on"):
        _put(full, DATA)


# --- fetch ----------------------------------------------------------------------------------------

Member = tuple[str, bytes]
AUDIO = [("set/speech/a.wav", b"RIFF-a"), ("set/music/b.wav", b"RIFF-b")]


def archive_bytes(*members: Member) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as file:
        for name, data in members:
            file.writestr(name, data)
    return stream.getvalue()


def tree(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def dataset_of(*sources: Source, root: str = "mine/set") -> Dataset:
    return Dataset("mine", Folder(), "Mine", "CC0-1.0", root=root, sources=sources)


@pytest.fixture
def make(server) -> Callable[..., Dataset]:
    """Serve an archive and return the dataset that names it."""

    def serve(data: bytes | None = None, name: str = "a.zip", **behaviour) -> Dataset:
        data = archive_bytes(*AUDIO) if data is None else data
        url = server.add(name, data=data, **behaviour)
        return dataset_of(Source(url, sha256=sha256(data), checksum_source="test"))

    return serve


def take(dataset: Dataset, root: Path, **options):
    return fetch(dataset, root, patience=WAITLESS, **options)


def test_fetch_makes_a_dataset_that_lists_its_clips(make, tmp_path):
    dataset = make()
    done = take(dataset, tmp_path)
    assert done.is_new
    assert done.folder == tmp_path / "mine"
    assert done.notes == ()
    assert [clip.id for clip in dataset.clips(tmp_path)] == ["music/b", "speech/a"]
    left = {path.name for path in (tmp_path / ".downloads").iterdir()}
    assert left == {"mine.lock"}


def test_a_second_fetch_does_nothing(make, server, tmp_path):
    dataset = make()
    first = take(dataset, tmp_path)
    asked = len(server.ranges)
    second = take(dataset, tmp_path)
    assert not second.is_new
    assert second.sha256 == first.sha256
    assert len(server.ranges) == asked


def test_files_that_are_no_archives_are_kept_as_they_are(server, tmp_path):
    sources = [
        Source(server.add(name, data=name.encode()), checksum="unverified", file=name)
        for name in ("one.tflite", "two.tflite")
    ]
    take(dataset_of(*sources, root="mine"), tmp_path)
    files = tree(tmp_path / "mine")
    files.pop(MARKER)
    assert files == {"one.tflite": b"one.tflite", "two.tflite": b"two.tflite"}


def test_archives_inside_an_archive(server, tmp_path):
    data = archive_bytes(("deep/inner.zip", archive_bytes(*AUDIO)), ("readme", b"r"))
    url = server.add("a.zip", data=data)
    source = Source(url, checksum="unverified", unpack_nested=True)
    take(dataset_of(source, root="mine"), tmp_path)
    assert set(tree(tmp_path / "mine")) == {
        MARKER,
        "readme",
        "deep/set/speech/a.wav",
        "deep/set/music/b.wav",
    }


def test_a_first_download_without_checksum_is_told_and_pinned(server, tmp_path):
    data = archive_bytes(*AUDIO)
    source = Source(server.add("a.zip", data=data), checksum="unverified")
    notes = Notes()
    done = take(dataset_of(source), tmp_path, progress=notes)
    text = f"a.zip: no published checksum; recorded sha256 {sha256(data)} on first download"
    assert done.notes == (text,)
    assert text in notes.texts
    assert json.loads((tmp_path / PINS).read_text()) == {source.url: sha256(data)}


def test_a_later_download_must_equal_the_first(server, tmp_path):
    data = archive_bytes(*AUDIO)
    dataset = dataset_of(Source(server.add("a.zip", data=data), checksum="unverified"))
    take(dataset, tmp_path)
    (tmp_path / "mine").rename(tmp_path / "moved")
    assert "is as on first download" in take(dataset, tmp_path).notes[0]
    (tmp_path / "mine").rename(tmp_path / "moved again")
    server.add("a.zip", data=archive_bytes(*AUDIO, ("x", b"")))
    with pytest.raises(DatasetError, match=rf"sha256 expected {sha256(data)}, .*remove its line"):
        take(dataset, tmp_path)
    (tmp_path / PINS).unlink()
    assert take(dataset, tmp_path).is_new


def test_a_damaged_record_of_checksums_is_told(server, tmp_path):
    (tmp_path / PINS).write_text("[")
    dataset = dataset_of(Source(server.add("a.zip"), checksum="unverified"))
    with pytest.raises(DatasetError, match=r"checksums\.json is damaged"):
        take(dataset, tmp_path)


def test_a_wrong_checksum_makes_no_dataset(make, tmp_path):
    dataset = make()
    (source,) = dataset.sources
    wrong = dataset_of(Source(source.url, sha256="0" * 64, checksum_source="test"))
    with pytest.raises(DatasetError, match="sha256 expected 000"):
        take(wrong, tmp_path)
    assert not (tmp_path / "mine").exists()


def test_somebody_elses_folder_is_not_touched(make, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/precious.wav").touch()
    with pytest.raises(DatasetError, match="is there, but not by a finished fetch"):
        take(make(), tmp_path)
    assert (tmp_path / "mine/precious.wav").exists()


def test_changed_sources_are_told(make, server, tmp_path):
    take(make(), tmp_path)
    with pytest.raises(DatasetError, match=r"was fetched from other sources than datasets\.yaml"):
        take(make(archive_bytes(*AUDIO, ("x", b""))), tmp_path)


def test_a_hostile_archive_makes_no_dataset(make, tmp_path):
    dataset = make(archive_bytes(("set/a.wav", b""), ("../../../evil", b"x")))
    with pytest.raises(DatasetError, match="leads out of the folder"):
        take(dataset, tmp_path)
    assert not (tmp_path / "mine").exists()
    assert [path.name for path in tmp_path.rglob("evil")] == []
    assert not (tmp_path / ".downloads/mine/unpacked").exists()


def test_a_broken_download_goes_on_in_the_next_fetch(make, server, tmp_path):
    data = archive_bytes(*AUDIO, ("set/speech/c.wav", DATA))
    dataset = make(data, cuts=[100_000, 0, 0, 0])
    with pytest.raises(DatasetError, match="run it again to go on"):
        take(dataset, tmp_path)
    take(dataset, tmp_path)
    assert server.ranges[-1] == "bytes=100000-"
    assert server.sent == len(data)


def test_an_interrupted_extraction_leaves_no_half_dataset(make, server, tmp_path, monkeypatch):
    dataset = make()
    with monkeypatch.context() as patch:
        patch.setattr(fetch_module, "unpack", interrupt_after_one_file)
        with pytest.raises(KeyboardInterrupt):
            take(dataset, tmp_path)
    assert not (tmp_path / "mine").exists()
    asked = len(server.ranges)
    take(dataset, tmp_path)
    assert len(server.ranges) == asked  # the verified download was kept
    assert len(dataset.clips(tmp_path)) == 2


def interrupt_after_one_file(archive: Path, folder: Path, *_, **__) -> None:
    (folder / "half.wav").touch()
    raise KeyboardInterrupt


KILLED = """
import os, signal, sys
from pathlib import Path
from bench import archives, fetch
from bench.datasets import Dataset, Source
from bench.loaders import Folder
url, digest, root, when = sys.argv[1:]
source = Source(url, sha256=digest, checksum_source="test")
dataset = Dataset("mine", Folder(), "Mine", "CC0-1.0", root="mine/set", sources=(source,))
die = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
if when == "unpack":
    class Report(fetch.Silent):
        unpacking = False
        def start(self, what, total, done=0):
            self.unpacking = what.startswith("unpack")
        def advance(self, count):
            if self.unpacking:
                die()
    fetch.fetch(dataset, Path(root), progress=Report())
if when == "rename":
    Path.rename = die
    fetch.fetch(dataset, Path(root))
class Report(fetch.Silent):
    def advance(self, count):
        die()
fetch.fetch(dataset, Path(root), progress=Report())
"""


@pytest.mark.parametrize("when", ["download", "unpack", "rename"])
def test_kill_and_run_again(make, server, tmp_path, when):
    data = archive_bytes(*AUDIO, ("set/speech/c.wav", random.Random(1).randbytes(600_000)))
    dataset = make(data)
    arguments = [dataset.sources[0].url, sha256(data), str(tmp_path), when]
    killed = subprocess.run([sys.executable, "-c", KILLED, *arguments], check=False)
    assert killed.returncode == -signal.SIGKILL
    assert not (tmp_path / "mine").exists()
    server.sent = 0
    take(dataset, tmp_path)
    assert len(dataset.clips(tmp_path)) == 3
    assert server.sent < len(data) if when == "download" else server.sent == 0


def test_two_fetches_at_once_do_not_meet(make, tmp_path):
    dataset = make()
    job = fetch_module._exclusive(dataset, tmp_path / ".downloads")
    (tmp_path / ".downloads").mkdir()
    with job, pytest.raises(DatasetError, match="is being fetched by another process"):
        take(dataset, tmp_path)
    assert take(dataset, tmp_path).is_new


def test_room_is_checked_before_anything_is_downloaded(server, tmp_path):
    url = server.add("a.zip")
    source = Source(url, checksum="unverified", size_bytes=10**16)
    with pytest.raises(DatasetError, match=r"mine needs 23000000\.0 GB, .* set CODECBENCH_DATA"):
        take(dataset_of(source), tmp_path)
    assert server.ranges == []


def test_a_folder_that_cannot_be_written_is_told(make, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(DatasetError, match=r"cannot make the folder .*Not a directory"):
        take(make(), tmp_path / "file")


def test_what_cannot_be_fetched_says_why(tmp_path):
    catalog = load_catalog()
    with pytest.raises(DatasetError, match="audioset-eval cannot be downloaded: AudioSet's audio"):
        fetch(catalog["audioset-eval"], tmp_path)
    done = fetch(catalog["demo"], tmp_path)
    assert (done.is_new, done.notes) == (False, ("comes with the benchmark",))
    assert list(tmp_path.iterdir()) == []


def test_progress_goes_to_stderr(make, tmp_path, capfd):
    with progress_bar() as bar:
        take(make(), tmp_path, progress=bar)
        bar.note("[red]a note[/red]")
    captured = capfd.readouterr()
    assert captured.out == ""
    assert "[red]a note[/red]" in captured.err
