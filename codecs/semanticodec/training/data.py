"""Training audio: one memory-mapped cache, a fixed split, and an order that needs no memory.

The cache is a folder: ``audio.i16`` (16 kHz mono, all clips one after the other), ``clips.json``
(what lies where, and on which side of the split), built once from a manifest or plain folders.

Which segment is the ``n``-th of a run depends on the seed and ``n`` alone, so a run resumes at any
sample, in the middle of an epoch, on any number of processes.
"""

from __future__ import annotations

import csv
import hashlib
import json
import logging
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import numpy.typing as npt

from semanticodec import audio
from semanticodec.errors import AudioError

log = logging.getLogger(__name__)

SAMPLE_RATE = 16000  # Hz
DOMAINS = ("speech", "music", "general")
AUDIO_SUFFIXES = frozenset({".wav", ".flac", ".ogg", ".opus", ".mp3", ".aiff"})
VALIDATION_SOURCES = frozenset({"librispeech-test-other"})
VALIDATION_SHARE = 0.1  # of every other source, in whole groups

Samples = npt.NDArray[np.int16]


@dataclass(frozen=True)
class Clip:
    """One clip of the cache."""

    path: str  # relative to the corpus
    domain: str
    source: str
    group: str  # speaker or recording: never on both sides of the split
    licence: str
    start: int = 0  # first sample in the cache
    length: int = 0  # samples
    split: str = "train"


def read_manifest(path: Path, excluded_licences: str = "") -> list[Clip]:
    """Read a corpus manifest (CSV with path, domain, source, licence, speaker_or_class).

    Args:
        path: The file.
        excluded_licences: Regular expression; clips whose licence matches are left out.
    """
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    return [
        Clip(row["path"], row["domain"], row["source"], _group(row), row["licence"])
        for row in rows
        if not (excluded_licences and re.search(excluded_licences, row["licence"]))
    ]


def read_folder(root: Path) -> list[Clip]:
    """List the audio below ``root``: the first folder is the domain, the second the source.

    The group is the folder that a file lies in, or the file itself if that is the source's own.
    """
    clips = []
    for path in sorted(root.rglob("*")):
        if path.suffix.lower() not in AUDIO_SUFFIXES:
            continue
        parts = path.relative_to(root).parts
        domain = parts[0] if parts[0] in DOMAINS else "general"
        source = parts[1] if len(parts) > 2 else domain
        group = f"{source}/{parts[-2] if len(parts) > 3 else path.stem}"
        clips.append(Clip(str(path.relative_to(root)), domain, source, group, "unknown"))
    return clips


def _group(row: Mapping[str, str]) -> str:
    """Name whom or what a clip is of; a speaker is the same person in every source."""
    name = row["speaker_or_class"]
    if row["domain"] != "speech":
        return f"{row['source']}/{name}"
    for pattern in (r"libri-\d+", r"vctk-p\d+", r"ljspeech"):
        if found := re.search(pattern, name):
            return found.group()
    return name


def split_clips(clips: Sequence[Clip], share: float = VALIDATION_SHARE) -> list[Clip]:
    """Mark the validation clips: whole sources, and a ``share`` of the clips of each other source.

    Whole groups go to one side, in the order of a hash of their names, so a split does not change
    when clips are added elsewhere. A source with a single group stays in training.
    """
    validation = {clip.group for clip in clips if clip.source in VALIDATION_SOURCES}
    by_source: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    for clip in clips:
        by_source[clip.source][clip.group] += 1
    for source, groups in sorted(by_source.items()):
        if source not in VALIDATION_SOURCES:
            validation |= _draw_groups(groups, share)
    return [
        Clip(**{**asdict(clip), "split": "validation" if clip.group in validation else "train"})
        for clip in clips
    ]


def _draw_groups(groups: Mapping[str, int], share: float) -> set[str]:
    """Draw groups until they hold a ``share`` of the clips, but never all of them."""
    wanted = share * sum(groups.values())
    drawn: set[str] = set()
    for name in sorted(groups, key=_hash):
        if sum(groups[own] for own in drawn) >= wanted or len(drawn) == len(groups) - 1:
            break
        drawn.add(name)
    return drawn


def _hash(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()


def decode(path: Path) -> Samples:
    """Return a file of any format and rate as 16 kHz mono, 16 bit."""
    blocks = audio.AudioBlocks(path, None)
    mono = audio.mix(audio.resample_blocks(blocks, SAMPLE_RATE), per_channel=False)
    wave = np.concatenate([block[0] for block in mono])
    return np.round(np.clip(wave, -1.0, 1.0) * 32767.0).astype(np.int16)


def _decode_or_none(path: Path) -> Samples | None:
    try:
        return decode(path)
    except AudioError as error:
        log.warning("left out: %s", error)
        return None


def build_cache(root: Path, clips: Sequence[Clip], folder: Path, workers: int = 1) -> None:
    """Decode all clips below ``root`` into a cache, unless it is there already."""
    if (folder / "clips.json").exists():
        log.info("cache %s is there already", folder)
        return
    folder.mkdir(parents=True, exist_ok=True)
    placed: list[Clip] = []
    start = 0
    with (folder / "audio.i16.part").open("wb") as file, ProcessPoolExecutor(workers) as pool:
        decoded = pool.map(_decode_or_none, [root / clip.path for clip in clips], chunksize=16)
        for clip, samples in zip(clips, decoded, strict=True):
            if samples is None or not len(samples):
                continue
            samples.tofile(file)
            placed.append(Clip(**{**asdict(clip), "start": start, "length": len(samples)}))
            start += len(samples)
    (folder / "audio.i16.part").replace(folder / "audio.i16")
    text = json.dumps([asdict(clip) for clip in split_clips(placed)], indent=0)
    (folder / "clips.json.part").write_text(text, encoding="utf-8")
    (folder / "clips.json.part").replace(folder / "clips.json")  # last: marks the cache as whole


class AudioCache:
    """Read access to a cache."""

    def __init__(self, folder: Path) -> None:
        try:
            values = json.loads((folder / "clips.json").read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise FileNotFoundError(
                f"no audio cache at {folder}; make it with `semanticodec train data`"
            ) from None
        self.clips = [Clip(**value) for value in values]
        self.samples = np.memmap(folder / "audio.i16", dtype=np.int16, mode="r")

    def split(self, name: str) -> list[Clip]:
        """Return the clips on one side of the split, ``"train"`` or ``"validation"``."""
        return [clip for clip in self.clips if clip.split == name]

    def read(self, clip: Clip, start: int, length: int) -> npt.NDArray[np.float32]:
        """Return samples of a clip as float32 in [-1, 1], zero-padded behind its end."""
        stop = min(start + length, clip.length)
        part = self.samples[clip.start + start : clip.start + stop].astype(np.float32) / 32768.0
        return np.pad(part, (0, length - len(part)))


@dataclass(frozen=True)
class Segment:
    """A piece of a clip to train on."""

    clip: Clip
    start: int  # sample in the clip
    gain_db: float
    seed: int  # of any other augmentation


class SegmentOrder:
    """Epochs of segments: each domain has its share, within it every segment comes equally often.

    Args:
        clips: To draw from.
        segment_samples: Length of a segment; shorter clips are padded by the reader.
        domain_weights: Share of each domain among the segments.
        gain_db: Range of a random gain.
        seed: Of the order.
    """

    def __init__(
        self,
        clips: Sequence[Clip],
        segment_samples: int,
        domain_weights: Mapping[str, float],
        gain_db: tuple[float, float] = (0.0, 0.0),
        seed: int = 0,
    ) -> None:
        self.segment_samples = segment_samples
        self.gain_db = gain_db
        self.seed = seed
        slots = {
            domain: list(_slots(clips, domain, segment_samples))
            for domain, weight in domain_weights.items()
            if weight > 0.0
        }
        self.slots = {domain: own for domain, own in slots.items() if own}
        if not self.slots:
            raise ValueError(f"no clips of the domains {sorted(domain_weights)}")
        total = sum(domain_weights[domain] for domain in self.slots)
        self.epoch_length = sum(map(len, self.slots.values()))
        self.quotas = {
            domain: max(1, round(self.epoch_length * domain_weights[domain] / total))
            for domain in self.slots
        }
        self.epoch_length = sum(self.quotas.values())
        self._epoch: Callable[[int], list[tuple[Clip, int]]] = lru_cache(2)(self._make_epoch)

    def _make_epoch(self, epoch: int) -> list[tuple[Clip, int]]:
        random = np.random.default_rng([self.seed, epoch])
        chosen: list[tuple[Clip, int]] = []
        for domain, slots in self.slots.items():
            quota = self.quotas[domain]
            rounds = [random.permutation(len(slots)) for _ in range(-(-quota // len(slots)))]
            chosen += [slots[index] for index in np.concatenate(rounds)[:quota]]
        return [chosen[index] for index in random.permutation(len(chosen))]

    def __getitem__(self, number: int) -> Segment:
        """Return the ``number``-th segment of the run, counted over all epochs."""
        epoch, index = divmod(number, self.epoch_length)
        clip, start = self._epoch(epoch)[index]
        random = np.random.default_rng([self.seed, number, 1])
        room = max(0, clip.length - self.segment_samples)
        # the slot is shifted by up to half a segment, so that epochs differ
        shift = int(random.integers(-self.segment_samples // 2, self.segment_samples // 2 + 1))
        gain = float(random.uniform(*self.gain_db))
        begin = min(max(0, start + shift), room)
        return Segment(clip, begin, gain, int(random.integers(1 << 62)))


def _slots(clips: Iterable[Clip], domain: str, length: int) -> Iterator[tuple[Clip, int]]:
    for clip in clips:
        if clip.domain == domain:
            for start in range(0, max(1, clip.length - length // 2), length):
                yield clip, start


class BatchReader:
    """Batches of waveforms for one process of a run."""

    def __init__(
        self, cache: AudioCache, order: SegmentOrder, batch_size: int, rank: int = 0, world: int = 1
    ) -> None:
        self.cache = cache
        self.order = order
        self.batch_size = batch_size
        self.rank = rank
        self.world = world

    def batch(self, step: int) -> npt.NDArray[np.float32]:
        """Return waves ``[B, N]`` of batch ``step``; ranks have different parts of it."""
        first = (step * self.world + self.rank) * self.batch_size
        return np.stack([self.read(self.order[first + item]) for item in range(self.batch_size)])

    def read(self, segment: Segment) -> npt.NDArray[np.float32]:
        """Return the samples of a segment with its gain, kept below full scale."""
        wave = self.cache.read(segment.clip, segment.start, self.order.segment_samples)
        gain = 10.0 ** (segment.gain_db / 20.0)
        peak = float(np.abs(wave).max())
        return wave * min(gain, 0.999 / peak) if peak > 0.0 else wave


def validation_waves(cache: AudioCache, samples: int, per_domain: int) -> npt.NDArray[np.float32]:
    """Return a fixed set of validation segments ``[B, samples]``: the middle of evenly drawn clips.

    Clips shorter than a segment are skipped, unless a domain has no others.
    """
    waves = []
    for domain in DOMAINS:
        own = [clip for clip in cache.split("validation") if clip.domain == domain]
        long = [clip for clip in own if clip.length >= samples] or own
        long.sort(key=lambda clip: _hash(clip.path))
        for clip in long[:per_domain]:
            waves.append(cache.read(clip, max(0, (clip.length - samples) // 2), samples))
    if not waves:
        raise ValueError("the cache has no validation clips")
    return np.stack(waves)
