"""Download one file: resumed after a break, retried within bounds, checked before it counts.

While it comes in, ``NAME.part`` holds the bytes and ``NAME.part.json`` what the server said about
them; the finished and verified file appears under its own name in one step.
"""

import errno
import hashlib
import http.client
import json
import logging
import re
import shutil
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any, Protocol
from urllib.parse import urlsplit

from bench.errors import DatasetError

log = logging.getLogger(__name__)

CHUNK_BYTES = 1 << 18
USER_AGENT = "codecbench (dataset download)"
#: HTTP statuses that may pass by waiting.
RETRY_STATUSES = frozenset({408, 425, 429, 500, 502, 503, 504})


class Report(Protocol):
    """Who is told how a download goes."""

    def start(self, what: str, total: int | None, done: int = 0) -> None:
        """Begin a step of ``total`` bytes, of which some are done."""

    def advance(self, count: int) -> None:
        """Add bytes to the step."""

    def note(self, text: str) -> None:
        """Tell something in words."""


class Silent:
    """Tells nobody."""

    def start(self, what: str, total: int | None, done: int = 0) -> None:
        """Do nothing."""

    def advance(self, count: int) -> None:
        """Do nothing."""

    def note(self, text: str) -> None:
        """Do nothing."""


@dataclass(frozen=True)
class Patience:
    """How long a download is tried.

    Attributes:
        attempts: Tries in a row that bring no new byte.
        total_attempts: Tries altogether.
        wait_s: Pause after the first failure; doubled each time.
        longest_wait_s: Longest pause.
        timeout_s: Silence after which a connection counts as broken.
    """

    attempts: int = 5
    total_attempts: int = 100
    wait_s: float = 1.0
    longest_wait_s: float = 30.0
    timeout_s: float = 60.0
    sleep: Callable[[float], None] = time.sleep


@dataclass(frozen=True)
class Expected:
    """What a file should be; ``None`` is not known.

    Attributes:
        sha256: Hexadecimal digest.
        md5: Hexadecimal digest.
        size_bytes: Length.
        max_bytes: Length beyond which a download is given up.
    """

    sha256: str | None = None
    md5: str | None = None
    size_bytes: int | None = None
    max_bytes: int = 200 * 10**9

    @property
    def has_checksum(self) -> bool:
        """Whether a wrong byte would be noticed."""
        return bool(self.sha256 or self.md5)


@dataclass(frozen=True)
class Digest:
    """What a file is."""

    sha256: str
    md5: str
    size_bytes: int


class _InterruptionError(Exception):
    """The connection broke, or the server asked to come back later."""

    def __init__(self, why: str, wait_s: float = 0.0) -> None:
        super().__init__(why)
        self.wait_s = wait_s


@dataclass(frozen=True)
class _Origin:
    """What the server said about the bytes of a ``.part`` file."""

    url: str
    etag: str | None = None
    last_modified: str | None = None
    total: int | None = None

    @property
    def validator(self) -> str | None:
        """Value for ``If-Range``: a weak ETag does not promise equal bytes."""
        strong = self.etag if self.etag and not self.etag.startswith("W/") else None
        return strong or self.last_modified


def download(
    url: str,
    target: Path,
    expected: Expected | None = None,
    *,
    report: Report | None = None,
    patience: Patience | None = None,
) -> Digest:
    """Download a file, or verify the one that is there.

    Args:
        url: Where it is.
        target: Where it goes; its folder must exist.
        expected: What it should be.
        report: Who is told how it goes.
        patience: How long it is tried.

    Returns:
        Checksums and length of the file at ``target``.

    Raises:
        DatasetError: If it cannot be had, or is not what was expected.
    """
    expected, report, patience = expected or Expected(), report or Silent(), patience or Patience()
    if target.exists():
        digest = digest_of(target, report)
        if mismatch(digest, expected) is None:
            return digest
        target.unlink()
    part = _Part(url, target)
    resumed = _complete(part, expected, report, patience)
    digest = digest_of(part.path, report)
    problem = mismatch(digest, expected)
    if problem and resumed:
        # The first half may be of another version of the file.
        report.note(f"{target.name}: {problem}; starting over")
        part.discard()
        _complete(part, expected, report, patience)
        digest = digest_of(part.path, report)
        problem = mismatch(digest, expected)
    if problem:
        part.discard()
        raise DatasetError(
            f"{url}: {problem}; the file was removed. Try again; if it stays so, the publisher has"
            " changed the file, or something between you and them does"
        )
    part.finish(target)
    return digest


def digest_of(path: Path, report: Report | None = None) -> Digest:
    """Return checksums and length of a file."""
    report = report or Silent()
    sha256, md5, size = hashlib.sha256(), hashlib.md5(usedforsecurity=False), 0
    report.start(f"verify {path.name.removesuffix('.part')}", path.stat().st_size)
    with path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            sha256.update(chunk)
            md5.update(chunk)
            size += len(chunk)
            report.advance(len(chunk))
    return Digest(sha256.hexdigest(), md5.hexdigest(), size)


def mismatch(digest: Digest, expected: Expected) -> str | None:
    """Say what differs from what was expected, or return ``None``."""
    for name in ("size_bytes", "sha256", "md5"):
        want, got = getattr(expected, name), getattr(digest, name)
        if want is not None and want != got:
            return f"{name} expected {want}, got {got}"
    return None


def require_space(folder: Path, needed: int, what: str) -> None:
    """Raise ``DatasetError`` unless a folder's disk has room for ``needed`` bytes."""
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise DatasetError(
            f"{what} needs {needed / 1e9:.1f} GB, and {folder} has {free / 1e9:.1f} GB free;"
            " make room, or set CODECBENCH_DATA to another disk"
        )


class _Part:
    """The unfinished file on disk, and what is known of it."""

    def __init__(self, url: str, target: Path) -> None:
        self.url = url
        self.path = target.with_name(target.name + ".part")
        self._origin_path = target.with_name(target.name + ".part.json")

    @property
    def size(self) -> int:
        return self.path.stat().st_size if self.path.exists() else 0

    def origin(self) -> _Origin | None:
        """Return what the server said when the bytes came, if they are from this URL."""
        try:
            known = _Origin(**json.loads(self._origin_path.read_text("utf-8")))
        except (OSError, ValueError, TypeError):
            return None
        return known if known.url == self.url else None

    def start(self, origin: _Origin) -> None:
        self.path.unlink(missing_ok=True)
        self._origin_path.write_text(json.dumps(asdict(origin)), "utf-8")

    def discard(self) -> None:
        self.path.unlink(missing_ok=True)
        self._origin_path.unlink(missing_ok=True)

    def finish(self, target: Path) -> None:
        self.path.replace(target)
        self._origin_path.unlink(missing_ok=True)


def _complete(part: _Part, expected: Expected, report: Report, patience: Patience) -> bool:
    """Bring a part to its full length; return whether some of it was there before."""
    resumed = False
    fruitless = 0
    for attempt in range(patience.total_attempts):
        before = part.size
        try:
            resumed |= _try(part, expected, report, patience.timeout_s)
        except _InterruptionError as interruption:
            fruitless = 0 if part.size > before else fruitless + 1
            if fruitless >= patience.attempts or attempt + 1 == patience.total_attempts:
                raise DatasetError(
                    f"cannot download {part.url}: {interruption}, after {attempt + 1} attempts;"
                    f" {part.size} bytes are kept, run it again to go on"
                ) from interruption
            pause = min(patience.wait_s * 2**fruitless, patience.longest_wait_s)
            pause = max(pause, min(interruption.wait_s, patience.longest_wait_s))
            report.note(f"{interruption}; trying again in {pause:.0f} s")
            patience.sleep(pause)
        else:
            return resumed
    raise AssertionError("the last attempt returns or raises")


def _try(part: _Part, expected: Expected, report: Report, timeout_s: float) -> bool:
    """Ask once and take what comes; return whether the server continued an earlier part."""
    origin = part.origin()
    offset = part.size if origin and (origin.validator or expected.has_checksum) else 0
    if origin and offset and offset == (expected.size_bytes or origin.total):
        return True
    with _ask(part.url, _range_headers(origin, offset), timeout_s) as response:
        if response.status == http.client.REQUESTED_RANGE_NOT_SATISFIABLE:
            part.discard()
            raise _InterruptionError(
                "the server's file is shorter than what is here; starting over"
            )
        now = _origin_of(part.url, response.headers, offset)
        continues = response.status == http.client.PARTIAL_CONTENT
        if continues and not _fits(response.headers, offset, origin, now):
            part.discard()
            raise _InterruptionError("the server's file has changed; starting over")
        if not continues:
            if offset:
                report.note(
                    f"{part.path.stem}: the server cannot go on where it broke; starting over"
                )
            offset = 0
            part.start(now)
        _check_length(now.total, expected, part.url)
        if now.total:
            require_space(part.path.parent, now.total - offset, part.path.stem)
        report.start(f"download {part.path.stem}", now.total or expected.size_bytes, offset)
        _take(response, part, offset, expected, report)
    if now.total is not None and part.size < now.total:
        raise _InterruptionError(f"the connection broke at {part.size} of {now.total} bytes")
    return continues


def _range_headers(origin: _Origin | None, offset: int) -> dict[str, str]:
    # Without "identity" a server may send a file packed once more, whose bytes no checksum fits.
    headers = {"User-Agent": USER_AGENT, "Accept-Encoding": "identity"}
    if offset:
        headers["Range"] = f"bytes={offset}-"
        if origin and origin.validator:
            headers["If-Range"] = origin.validator
    return headers


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects, but never from https to something weaker."""

    def redirect_request(
        self, req: urllib.request.Request, fp: Any, code: int, msg: str, headers: Any, newurl: str
    ) -> urllib.request.Request | None:
        old, new = urlsplit(req.full_url).scheme, urlsplit(newurl).scheme
        if new not in ("http", "https") or (old == "https" and new != "https"):
            raise DatasetError(f"{req.full_url} redirects to {newurl}; expected an https address")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _ask(url: str, headers: dict[str, str], timeout_s: float) -> Any:
    request = urllib.request.Request(url, headers=headers)
    opener = urllib.request.build_opener(_Redirects)
    try:
        response = opener.open(request, timeout=timeout_s)
    except urllib.error.HTTPError as error:
        if error.code == http.client.REQUESTED_RANGE_NOT_SATISFIABLE:
            return error
        raise _refusal(url, error) from error
    except urllib.error.URLError as error:
        raise _no_connection(url, error.reason) from error
    except (OSError, http.client.HTTPException) as error:
        raise _InterruptionError(
            f"the connection to {urlsplit(url).netloc} broke ({error!r})"
        ) from error
    encoding = response.headers.get("Content-Encoding", "identity")
    if encoding != "identity":
        response.close()
        raise DatasetError(f"{url} came packed as {encoding!r}, which was not asked for")
    return response


def _refusal(url: str, error: urllib.error.HTTPError) -> Exception:
    if error.code in RETRY_STATUSES:
        wait = error.headers.get("Retry-After", "") if error.headers else ""
        why = f"{urlsplit(url).netloc} answers {error.code} {error.reason}"
        return _InterruptionError(why, float(wait) if wait.isdigit() else 0.0)
    step = "see the dataset's homepage for where it is now"
    if error.code in (401, 403):
        step = "it may need a login: download it by hand, or see the dataset's homepage"
    return DatasetError(f"cannot download {url}: {error.code} {error.reason}; {step}")


def _no_connection(url: str, reason: object) -> Exception:
    host = urlsplit(url).netloc
    if isinstance(reason, ssl.SSLCertVerificationError):
        return DatasetError(f"cannot trust {host}: {reason.verify_message}; check clock and proxy")
    return _InterruptionError(f"no connection to {host} ({reason}); check the network or proxy")


def _origin_of(url: str, headers: Mapping[str, str], offset: int) -> _Origin:
    length = headers.get("Content-Length", "")
    span = _content_range(headers)
    total = span[1] if span else (int(length) if length.isdigit() else None)
    return _Origin(url, headers.get("ETag"), headers.get("Last-Modified"), total)


def _content_range(headers: Mapping[str, str]) -> tuple[int, int | None] | None:
    match = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", headers.get("Content-Range", ""))
    if not match:
        return None
    return int(match[1]), None if match[2] == "*" else int(match[2])


def _fits(headers: Mapping[str, str], offset: int, then: _Origin | None, now: _Origin) -> bool:
    """Tell whether a partial answer continues what is on disk."""
    span = _content_range(headers)
    if then is None or span is None or span[0] != offset:
        return False
    pairs = ((then.etag, now.etag), (then.total, now.total))
    return all(None in pair or pair[0] == pair[1] for pair in pairs)


def _check_length(total: int | None, expected: Expected, url: str) -> None:
    if total is None:
        return
    if expected.size_bytes not in (None, total):
        raise DatasetError(
            f"{url} is {total} bytes long, expected {expected.size_bytes}: it was changed, or it is"
            " an error page"
        )
    if total > expected.max_bytes:
        raise DatasetError(f"{url} is {total} bytes long, more than {expected.max_bytes} allowed")


def _take(
    response: IO[bytes], part: _Part, offset: int, expected: Expected, report: Report
) -> None:
    """Write what comes behind ``offset``, until it ends or the connection breaks."""
    most = expected.size_bytes or expected.max_bytes
    with part.path.open("ab") as file:
        file.truncate(offset)
        while True:
            try:
                chunk = response.read(CHUNK_BYTES)
            except (OSError, http.client.HTTPException) as error:
                raise _InterruptionError(f"the connection broke ({error!r})") from error
            if not chunk:
                return
            offset += len(chunk)
            if offset > most:
                raise DatasetError(f"{part.url} sends more than the {most} bytes expected")
            _put(file, chunk)
            report.advance(len(chunk))


def _put(file: IO[bytes], chunk: bytes) -> None:
    try:
        file.write(chunk)
        # Unflushed bytes would be lost to a kill, and with them the progress.
        file.flush()
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise DatasetError(
                f"no room left on the disk of {file.name}; make room and run it again to go on,"
                " or set CODECBENCH_DATA to another disk"
            ) from error
        raise DatasetError(f"cannot write {file.name}: {error.strerror}") from error
