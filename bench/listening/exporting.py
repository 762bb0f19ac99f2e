"""Write a run as a webMUSHRA test: clips, blind conditions, anchors, one loudness per page."""

import csv
import hashlib
import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import soundfile

from bench.audio import Samples, read_audio, resample, to_channels
from bench.errors import BenchError, MeasureError, UsageError, unknown_name
from bench.listening.loudness import Leveled, match_levels
from bench.listening.model import PRESETS, REFERENCE, Condition, ListeningTest, Preset, Role, Trial
from bench.listening.webmushra import (
    LONGEST_S,
    MOST_CONDITIONS,
    make_config,
    make_page,
    to_yaml,
)
from bench.reporting.clips import clip_sources
from bench.reporting.media import ClipSources, Source
from bench.results import Results
from bench.stats.cells import domain_rank
from codec_zoo import Codec, CodecError, create

#: BS.1534-3, 5.1: the low and the mid anchor.
ANCHORS = ("3500hz", "7000hz")
#: Rate that browsers and sound cards play without converting, Hz.
SAMPLE_RATE = 48000
FADE_S = 0.02
LEVEL_COLUMNS = ("trial", "condition", "codec", "before", "gain_db", "method")


@dataclass(frozen=True)
class Exported:
    """A test that was written.

    Attributes:
        folder: Its ``configs`` goes into webMUSHRA's folder.
        configs: One configuration per domain.
        test: What it consists of, as ``test.json`` keeps it.
    """

    folder: Path
    configs: tuple[Path, ...]
    test: ListeningTest


def export(
    results: Results | str | Path,
    out: str | Path,
    *,
    codecs: Sequence[str] | None = None,
    preset: str | None = None,
    limit: int | None = None,
    anchors: Sequence[str] | None = None,
    keep_levels: bool = False,
    name: str = "codec-listening-test",
    seed: int = 0,
) -> Exported:
    """Write a listening test of a run.

    ``out/configs`` holds what webMUSHRA needs: a configuration per domain and the audio, 16-bit
    WAV at 48 kHz under names that say nothing. ``out/test.json`` is the key, ``out/levels.csv`` the
    gains that were applied.

    Args:
        results: A run whose reconstructions were kept, or its folder.
        out: A new folder.
        codecs: Codec ids to rate; None: all but anchors.
        preset: Name of a published design (:data:`bench.listening.model.PRESETS`), which fixes the
            number of clips and systems, and the anchors.
        limit: Clips of each domain; None: all that have audio.
        anchors: Edges of the low-pass anchors; None: 3.5 and 7 kHz.
        keep_levels: Level each page as a whole, instead of each of its conditions.
        name: Of the test.
        seed: Of the choice of clips, the order of pages and the blind names.

    Raises:
        UsageError: If a name is unknown, the run does not fill the design, or ``out`` is not empty.
        BenchError: If audio cannot be read or written.
    """
    found = results if isinstance(results, Results) else Results.load(Path(results))
    design = _preset(preset)
    if design and (limit or anchors is not None):
        raise UsageError(
            f"the design {preset} fixes clips and anchors; leave limit and anchors out"
        )
    chosen = _codecs(found, codecs, design)
    edges = tuple(anchors if anchors is not None else design.anchors if design else ANCHORS)
    rng = random.Random(seed)
    conditions = _conditions(chosen, edges, rng)
    clips = _clips(found, chosen, design.clips if design else None, limit, rng)
    test = ListeningTest(name, seed, conditions, tuple(trial for trial, _ in clips))
    filters = _filters(conditions)
    folder = _new_folder(Path(out))
    configs = _write(test, clips, filters, folder, keep_levels)
    test.save(folder)
    return Exported(folder, configs, test)


# --- the design --------------------------------------------------------------------------------


def _preset(name: str | None) -> Preset | None:
    if name is not None and name not in PRESETS:
        raise unknown_name("preset", name, PRESETS)
    return PRESETS[name] if name else None


def _codecs(results: Results, codecs: Sequence[str] | None, design: Preset | None) -> list[str]:
    for codec in codecs or ():
        if codec not in results.codecs:
            raise unknown_name("codec of the run", codec, results.codecs)
    chosen = list(codecs) if codecs else [
        codec for codec, info in results.codecs.items()
        if info.kind != "anchor" and not info.unavailable_reason
    ]  # fmt: skip
    if design and len(chosen) != design.systems:
        raise UsageError(
            f"the design has {design.systems} systems, got {len(chosen)} "
            f"({', '.join(chosen)}); name them with --codecs"
        )
    if not chosen:
        raise UsageError("the run has no codec to rate; name some with --codecs")
    return chosen


def _conditions(
    codecs: Sequence[str], edges: Sequence[str], rng: random.Random
) -> tuple[Condition, ...]:
    """Return what is rated on each page; blind names are handed out in random order."""
    if len(codecs) + len(edges) + 1 > MOST_CONDITIONS:
        raise UsageError(
            f"{len(codecs)} codecs, {len(edges)} anchors and the hidden reference are more than "
            f"the {MOST_CONDITIONS} signals that BS.1534 allows on a page; choose fewer codecs"
        )
    names = [f"c{number:02d}" for number in range(1, len(codecs) + 1)]
    rng.shuffle(names)
    systems = [
        Condition(name, codec, Role.SYSTEM) for name, codec in zip(names, codecs, strict=True)
    ]
    anchors = [Condition(_anchor_name(edge), f"lowpass@{edge}", Role.ANCHOR) for edge in edges]
    return (*systems, *anchors, Condition(REFERENCE, REFERENCE, Role.REFERENCE))


def _anchor_name(edge: str) -> str:
    """Return the name that webMUSHRA gives such an anchor.

    Example:
        >>> _anchor_name("3500hz"), _anchor_name("7000hz")
        ('anchor35', 'anchor70')
    """
    number = edge.removesuffix("hz")
    if not number.isdigit():
        raise UsageError(f"an anchor is named by its edge, e.g. 3500hz, got {edge!r}")
    return f"anchor{int(number) / 100:g}"


def _filters(conditions: Sequence[Condition]) -> dict[str, Codec]:
    """Return the low-pass filter of each anchor."""
    codecs = [one.codec for one in conditions if one.role == Role.ANCHOR]
    try:
        return {codec: create(codec) for codec in codecs}
    except CodecError as error:
        raise UsageError(str(error)) from error


ClipOfTest = tuple[Trial, ClipSources]


def _clips(
    results: Results,
    codecs: Sequence[str],
    wanted: Mapping[str, int] | None,
    limit: int | None,
    rng: random.Random,
) -> list[ClipOfTest]:
    """Choose clips that have all audio, and give each its place, domain after domain."""
    clips: dict[str, list[tuple[dict[str, Any], ClipSources]]] = {}
    for clip in results.clips.sort_values(["dataset", "clip"]).to_dict("records"):
        named = {str(key): value for key, value in clip.items()}
        sources = clip_sources(results, named)
        if sources.reference and all(sources.codecs.get(codec) for codec in codecs):
            clips.setdefault(str(named["domain"]), []).append((named, sources))
    if not clips:
        raise UsageError(
            "no clip of the run has the audio of all these codecs; "
            "run again without --no-audio, or choose other codecs"
        )
    chosen: list[ClipOfTest] = []
    for domain in sorted(wanted or clips, key=domain_rank):
        have = clips.get(domain, [])
        count = wanted[domain] if wanted else min(limit or len(have), len(have))
        if len(have) < count:
            raise UsageError(
                f"the design needs {count} {domain} clips, the run has audio of {len(have)}; "
                "run a larger dataset, or leave the preset out"
            )
        chosen += [
            (
                Trial(f"{domain}-{number:03d}", domain, str(clip["dataset"]), str(clip["clip"])),
                found,
            )
            for number, (clip, found) in enumerate(rng.sample(have, count), 1)
        ]
    return chosen


# --- files -------------------------------------------------------------------------------------


def _new_folder(folder: Path) -> Path:
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError(f"{folder} is not empty; a listening test takes a new folder")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _write(
    test: ListeningTest,
    clips: Sequence[ClipOfTest],
    filters: Mapping[str, Codec],
    folder: Path,
    keep_levels: bool,
) -> tuple[Path, ...]:
    """Write audio, configurations and gains; return the configurations."""
    audio = f"configs/resources/{_slug(test.name)}"
    (folder / audio).mkdir(parents=True)
    pages: dict[str, list[dict[str, Any]]] = {}
    levels: list[tuple[object, ...]] = []
    for trial, sources in clips:
        stimuli = _stimuli(test, sources, filters)
        leveled = match_levels(stimuli, SAMPLE_RATE, REFERENCE, keep_levels=keep_levels)
        files = {name: f"{audio}/{_file_name(test, trial, name)}.wav" for name in leveled}
        for name, one in leveled.items():
            soundfile.write(folder / files[name], one.samples.T, SAMPLE_RATE, subtype="PCM_16")
        reference = files.pop(REFERENCE)
        pages.setdefault(trial.domain, []).append(make_page(trial.id, reference, files))
        levels += _level_rows(test, trial, leveled)
    _write_levels(folder / "levels.csv", levels)
    return tuple(_write_config(test, domain, part, folder) for domain, part in pages.items())


def _stimuli(
    test: ListeningTest, sources: ClipSources, filters: Mapping[str, Codec]
) -> dict[str, Samples]:
    """Return the audio of each condition, all of one rate, length and number of channels."""
    assert sources.reference is not None
    reference = _read(sources.reference)
    found: dict[str, Samples] = {}
    for condition in test.conditions:
        if condition.role == Role.REFERENCE:
            found[condition.name] = reference
        elif condition.role == Role.ANCHOR:
            codec = filters[condition.codec]
            found[condition.name] = codec.decode(codec.encode(reference).payload)
        else:
            source = sources.codecs[condition.codec]
            assert source is not None
            found[condition.name] = _read(source)
    channels = min(samples.shape[0] for samples in found.values())
    length = min(*(samples.shape[1] for samples in found.values()), round(LONGEST_S * SAMPLE_RATE))
    return {
        name: _faded(to_channels(samples, channels)[:, :length]) for name, samples in found.items()
    }


def _read(source: Source) -> Samples:
    try:
        audio = read_audio(source.path, source.start_s, source.segment_s)
    except MeasureError as error:
        raise BenchError(str(error)) from error
    return resample(audio.samples, audio.sample_rate, SAMPLE_RATE)


def _faded(samples: Samples) -> Samples:
    """Return the samples with a short fade at both ends: a cut must not click."""
    count = min(round(FADE_S * SAMPLE_RATE), samples.shape[1] // 2)
    faded = samples.copy()
    ramp = np.linspace(0, 1, count, dtype=np.float32)
    faded[:, :count] *= ramp
    faded[:, samples.shape[1] - count :] *= ramp[::-1]
    return faded


def _file_name(test: ListeningTest, trial: Trial, condition: str) -> str:
    """Return a name that a rater who looks at it learns nothing from."""
    text = f"{test.seed}\0{test.name}\0{trial.id}\0{condition}"
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _level_rows(
    test: ListeningTest, trial: Trial, leveled: Mapping[str, Leveled]
) -> list[tuple[object, ...]]:
    codecs = {condition.name: condition.codec for condition in test.conditions}
    return [
        (trial.id, name, codecs[name], round(one.before, 2), round(one.gain_db, 2), one.method)
        for name, one in leveled.items()
    ]


def _write_levels(path: Path, rows: Sequence[tuple[object, ...]]) -> None:
    table = pd.DataFrame(rows, columns=list(LEVEL_COLUMNS))
    table.to_csv(path, index=False, quoting=csv.QUOTE_MINIMAL)


def _write_config(
    test: ListeningTest, domain: str, pages: Sequence[dict[str, Any]], folder: Path
) -> Path:
    test_id = f"{_slug(test.name)}-{domain}"
    config = make_config(f"{test.name}: {domain}", test_id, pages, pages[0]["reference"])
    path = folder / "configs" / f"{test_id}.yaml"
    path.write_text(to_yaml(config), encoding="utf-8")
    return path


def _slug(name: str) -> str:
    """Return a name as webMUSHRA writes it into the path of its results."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-") or "test"
