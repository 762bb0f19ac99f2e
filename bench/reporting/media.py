"""Put the audio and the spectrograms of a report into its folder.

File names are hashes, never names of clips or codecs. What lies there from an earlier report and
has not changed is used again; what no page shows any more is removed.
"""

import hashlib
import json
import os
import re
import shutil
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bench.audio import Audio, level_dbfs, read_audio, write_flac
from bench.errors import MeasureError
from bench.reporting import spectrogram

FOLDER = "media"
INDEX = "index.json"
_FILE_NAME = re.compile(FOLDER + r"/[0-9a-f]{24}\.(flac|webp)")
#: Files quieter than the reference by more than this are left out when levels are matched.
MATCH_RANGE_DB = 15.0
NOT_KEPT = "the audio was not kept"


@dataclass(frozen=True)
class Source:
    """An audio file, or a segment of one.

    Attributes:
        key: What it is, e.g. the clip's hash; with size and time of the file it names the copy.
    """

    key: str
    path: Path
    start_s: float = 0.0
    segment_s: float | None = None

    def identity(self, *context: object) -> str:
        """Return the hash that names what is made of this file."""
        stat = self.path.stat()
        parts = (self.key, stat.st_size, stat.st_mtime_ns, self.start_s, self.segment_s, *context)
        return hashlib.sha256(repr(parts).encode()).hexdigest()[:24]

    def is_whole_flac(self) -> bool:
        """Return whether a browser could play the file as it is."""
        if self.start_s or self.segment_s is not None:
            return False
        with self.path.open("rb") as file:
            return file.read(4) == b"fLaC"


@dataclass(frozen=True)
class Voice:
    """What one can listen to and look at for one clip and codec.

    Attributes:
        audio: Name of the FLAC file, relative to the report; None if there is none.
        image: Name of the spectrogram.
        level_dbfs: RMS level.
        peak_db: Loudest point of the spectrogram, dB.
        top_hz: Half the sample rate.
        duration_s: Length in seconds.
        missing: Why there is no audio.
    """

    audio: str | None = None
    image: str | None = None
    level_dbfs: float | None = None
    peak_db: float = 0.0
    top_hz: float = 0.0
    duration_s: float = 0.0
    missing: str = ""


@dataclass(frozen=True)
class ClipSources:
    """The files of one clip; None where the audio was not kept."""

    reference: Source | None
    codecs: Mapping[str, Source | None]


@dataclass(frozen=True)
class ClipMedia:
    """What a clip's player shows; spectrograms share the frequency axis and the dB scale."""

    reference: Voice
    codecs: Mapping[str, Voice]

    @property
    def top_hz(self) -> float:
        """Top of the frequency axis, Hz; 0 without any audio."""
        return self.reference.top_hz or max((v.top_hz for v in self.codecs.values()), default=0.0)


class MediaFolder:
    """The media of one report.

    Args:
        report: The report's folder.
    """

    def __init__(self, report: Path) -> None:
        self._folder = report / FOLDER
        self._folder.mkdir(parents=True, exist_ok=True)
        self._earlier = _read_index(self._folder / INDEX)
        self._used: dict[str, Voice] = {}

    def add_clips(self, clips: Sequence[ClipSources]) -> list[ClipMedia]:
        """Link or write the clips' audio and draw their spectrograms, several at a time."""
        with ThreadPoolExecutor(max_workers=min(4, os.cpu_count() or 1)) as pool:
            return list(pool.map(self._add_clip, clips))

    def finish(self) -> None:
        """Remove what an earlier report left and this one does not show; keep the index."""
        kept = {name for voice in self._used.values() for name in _files(voice)}
        for voice in self._earlier.values():
            for name in set(_files(voice)) - kept:
                (self._folder / name).unlink(missing_ok=True)
        index = {identity: asdict(voice) for identity, voice in sorted(self._used.items())}
        (self._folder / INDEX).write_text(json.dumps(index), encoding="utf-8")

    def _add_clip(self, clip: ClipSources) -> ClipMedia:
        reference = self._add(clip.reference, None)
        first: Voice | None = reference if reference.audio else None
        codecs = {}
        for codec, source in clip.codecs.items():
            codecs[codec] = self._add(source, first)
            # Without a reference the first codec sets the axis and the scale.
            first = first or (codecs[codec] if codecs[codec].audio else None)
        return ClipMedia(reference, codecs)

    def _add(self, source: Source | None, scale: Voice | None) -> Voice:
        if source is None:
            return Voice(missing=NOT_KEPT)
        try:
            return self._make(source, scale)
        except (MeasureError, OSError) as error:
            why = error.strerror or "unreadable" if isinstance(error, OSError) else str(error)
            return Voice(missing=why.replace(str(source.path), "the file"))

    def _make(self, source: Source, scale: Voice | None) -> Voice:
        shown = (scale.top_hz, scale.peak_db) if scale else ()
        identity = source.identity(spectrogram.VERSION, *shown)
        earlier = self._earlier.get(identity)
        if earlier and all((self._folder / name).is_file() for name in _files(earlier)):
            self._used[identity] = earlier
            return earlier
        audio = read_audio(source.path, source.start_s, source.segment_s)
        self._place_audio(source, audio, self._folder / f"{identity}.flac")
        voice = self._draw(audio, identity, scale)
        self._used[identity] = voice
        return voice

    def _place_audio(self, source: Source, audio: Audio, target: Path) -> None:
        if source.is_whole_flac():
            link_or_copy(source.path, target)
        else:
            write_flac(target, audio.samples, audio.sample_rate)

    def _draw(self, audio: Audio, identity: str, scale: Voice | None) -> Voice:
        top_hz = scale.top_hz if scale else audio.sample_rate / 2
        mono = audio.samples.mean(axis=0)
        levels = spectrogram.mel_spectrogram_db(mono, audio.sample_rate, top_hz)
        peak = scale.peak_db if scale else float(levels.max())
        spectrogram.write_image(self._folder / f"{identity}.webp", levels, peak)
        level = level_dbfs(audio.samples)
        return Voice(
            audio=f"{FOLDER}/{identity}.flac",
            image=f"{FOLDER}/{identity}.webp",
            level_dbfs=level if level > float("-inf") else None,
            peak_db=peak,
            top_hz=top_hz,
            duration_s=audio.duration_s,
        )


def link_or_copy(source: Path, target: Path) -> None:
    """Hard-link a file, or copy it where that cannot be (another disk)."""
    target.unlink(missing_ok=True)
    try:
        os.link(source.resolve(), target)
    except OSError:
        shutil.copyfile(source, target)


def matching_gains(levels: Sequence[float | None], reference: float | None) -> list[float]:
    """Return factors, at most 1, that bring signals to the level of the quietest one.

    Args:
        levels: dBFS; None: silent or no audio, its factor is 1.
        reference: The reference's level. Signals further than ``MATCH_RANGE_DB`` below it do not
            count as the quietest one, so that a broken codec does not turn the others down.
    """
    known = [level for level in [reference, *levels] if level is not None]
    loudest = reference if reference is not None else max(known, default=0.0)
    target = min((level for level in known if level > loudest - MATCH_RANGE_DB), default=loudest)
    return [1.0 if level is None else min(1.0, 10 ** ((target - level) / 20)) for level in levels]


def _files(voice: Voice) -> list[str]:
    return [Path(name).name for name in (voice.audio, voice.image) if name]


def _read_index(path: Path) -> dict[str, Voice]:
    """Return what an earlier report made; nothing if its index is absent or not ours."""
    try:
        index: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        voices = {identity: Voice(**entry) for identity, entry in index.items()}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}
    return {identity: voice for identity, voice in voices.items() if _is_ours(voice)}


def _is_ours(voice: Voice) -> bool:
    """Return whether a voice's files have names that we give: others are not touched."""
    names = (voice.audio, voice.image)
    return all(isinstance(name, str) and _FILE_NAME.fullmatch(name) for name in names)
