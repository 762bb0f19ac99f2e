"""What the benchmark listens to: one clip, and how a few of many are chosen.

Conventions: a segment is given in seconds from the file's start; a stream is the index of an audio
stream inside a container (MUSDB18 keeps a mixture and four stems in one file).
"""

import hashlib
import json
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from functools import lru_cache
from itertools import groupby
from pathlib import Path, PurePosixPath

from bench.audio import Audio, Domain, read_audio
from bench.errors import DatasetError, UsageError, unknown_name

#: Longest clip id; ids become file names of kept reconstructions.
MAX_ID_LENGTH = 200


@dataclass(frozen=True)
class Clip:
    """One piece of audio to encode, decode and score.

    Attributes:
        id: Unique in the dataset; a relative path without ``..``, since files are named by it.
        dataset: Name of the dataset.
        domain: Speech, music or sound.
        path: The audio file. It may be missing: then reading it fails, with a typed reason.
        text: What is said, for WER; ``None`` where no transcript is known.
        label: Class of a sound, stem of a song, or whatever the dataset tells.
        speaker: Who speaks.
        start_s: Where the clip begins in the file.
        duration_s: How long it is; ``None`` is to the end of the file.
        stream: Audio stream of the container.
    """

    id: str
    dataset: str
    domain: Domain
    path: Path
    text: str | None = None
    label: str | None = None
    speaker: str | None = None
    start_s: float = 0.0
    duration_s: float | None = None
    stream: int = 0

    def __post_init__(self) -> None:
        problem = _id_problem(self.id) or self._segment_problem()
        if problem:
            raise DatasetError(f"{self.dataset}: clip {self.id!r} {problem}")

    def _segment_problem(self) -> str | None:
        if not 0 <= self.start_s < float("inf"):
            return f"starts at {self.start_s} s; expected 0 or later"
        if self.duration_s is not None and not 0 < self.duration_s < float("inf"):
            return f"lasts {self.duration_s} s; expected more than 0, or nothing for the whole file"
        if self.stream < 0:
            return f"is in stream {self.stream}; expected 0 or above"
        return None

    def content_hash(self) -> str:
        """Return the sha256 of everything that a score of this clip depends on.

        It covers the bytes of the file, the segment, the stream, the domain and the text, not the
        place or the name of the file. A file that cannot be read still has a stable hash.
        """
        content = {
            "file": _file_digest(self.path),
            "start_s": float(self.start_s),
            "duration_s": None if self.duration_s is None else float(self.duration_s),
            "stream": self.stream,
            "domain": str(self.domain),
            "text": self.text,
        }
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()

    def read(self) -> Audio:
        """Read the clip's audio.

        Raises:
            MeasureError: If the file is missing, unreadable, empty, or holds NaN.
        """
        return read_audio(self.path, self.start_s, self.duration_s, self.stream)


def _id_problem(clip_id: str) -> str | None:
    if not clip_id or len(clip_id) > MAX_ID_LENGTH:
        return f"has an id of {len(clip_id)} characters; expected 1 to {MAX_ID_LENGTH}"
    if clip_id != clip_id.strip() or not clip_id.isprintable():
        return "has blanks around it or unprintable characters in its id"
    path = PurePosixPath(clip_id)
    if path.is_absolute() or ".." in path.parts or "\\" in clip_id or str(path) != clip_id:
        return "has an id that is no plain relative path; expected one such as 'folder/name'"
    return None


def _file_digest(path: Path) -> str:
    try:
        facts = path.stat()
        return _digest_of_version(path, facts.st_size, facts.st_mtime_ns, facts.st_ino)
    except FileNotFoundError:
        return f"missing:{path}"
    except OSError:
        return f"unreadable:{path}"


@lru_cache(maxsize=65536)
def _digest_of_version(path: Path, size: int, modified_ns: int, inode: int) -> str:
    # The stems of a song share one file, and a run asks for each clip's hash more than once.
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def select(
    clips: Iterable[Clip],
    *,
    limit: int | None = None,
    domains: Collection[Domain | str] | None = None,
    seed: int = 0,
) -> list[Clip]:
    """Return the clips of some domains, at most ``limit`` of each, sorted by id.

    The choice depends on the seed and on the clips' names only, never on the order in which the
    file system lists them, and a smaller limit chooses a subset of what a larger one chooses.

    Raises:
        UsageError: If the limit is below 1 or a domain is unknown.
    """
    if limit is not None and limit < 1:
        raise UsageError(f"expected a limit of 1 clip or more, got {limit}")
    wanted = set(Domain) if domains is None else {parse_domain(name) for name in domains}
    kept = [clip for clip in clips if clip.domain in wanted]
    if limit is not None:
        kept.sort(key=lambda clip: (clip.domain, _draw(clip, seed)))
        by_domain = groupby(kept, key=lambda clip: clip.domain)
        kept = [clip for _, group in by_domain for clip in list(group)[:limit]]
    return sorted(kept, key=lambda clip: (clip.id, clip.dataset))


def _draw(clip: Clip, seed: int) -> bytes:
    return hashlib.sha256(f"{seed}\0{clip.dataset}\0{clip.id}".encode()).digest()


def parse_domain(name: str) -> Domain:
    """Return the domain of that name.

    Raises:
        UsageError: If there is none.
    """
    try:
        return Domain(name)
    except ValueError:
        raise unknown_name("domain", name, [str(domain) for domain in Domain]) from None
