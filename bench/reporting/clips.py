"""Choose the clips a report shows, worst first, and gather what its players need of them.

How "worst" is ranked: each domain has a primary metric, the first ViSQOL variant that was measured
there, else the first metric with a better direction. For every codec (anchors apart) the clips of
a domain are ranked by it, from 0 for the codec's worst clip to 1 for its best; a clip that could
not be measured is its worst. A clip's badness is one minus its mean rank over the codecs: it does
not depend on the metric's scale, and no single codec or domain decides alone.
"""

import json
import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from bench.errors import Status
from bench.reporting.frames import as_number, as_records, as_text
from bench.reporting.media import ClipMedia, ClipSources, Source, Voice, matching_gains
from bench.reporting.spectrogram import axis_ticks
from bench.results import Results

KEY = ["dataset", "clip"]
#: A tidy row, by column name.
Row = Mapping[str, Any]


def primary_metric(results: Results, domain: str) -> str | None:
    """Return the metric by which clips of a domain are ranked, or None if nothing was measured."""
    rows = results.rows
    is_measured = (rows["domain"] == domain) & (rows["status"] == Status.OK)
    measured = set(rows.loc[is_measured, "metric"].unique())
    names = [
        name
        for name, info in results.metrics.items()
        if name in measured and info.higher_is_better is not None
    ]
    visqol = [name for name in names if name.startswith("visqol")]
    return next(iter(visqol + names), None)


def rank_clips(results: Results) -> pd.DataFrame:
    """Return the clips, worst first, with a column ``badness`` from 0 to 1 (NaN: unknown)."""
    clips = results.clips.copy()
    badness: dict[Any, float] = {}
    for domain in clips["domain"].unique():
        badness |= _domain_badness(results, str(domain)).to_dict()
    keys = zip(clips["dataset"], clips["clip"], strict=True)
    clips["badness"] = [badness.get(key, math.nan) for key in keys]
    return clips.sort_values(["badness", *KEY], ascending=[False, True, True], ignore_index=True)


def _domain_badness(results: Results, domain: str) -> pd.Series:
    """Return the badness of a domain's clips, indexed by dataset and clip."""
    metric = primary_metric(results, domain)
    if metric is None:
        return pd.Series(dtype=float)
    rows = results.rows
    rows = rows[(rows["domain"] == domain) & (rows["metric"] == metric)]
    rows = rows[rows["status"].isin([Status.OK, Status.FAILED])]
    rows = rows if (rows["kind"] == "anchor").all() else rows[rows["kind"] != "anchor"]
    sign = 1.0 if results.metrics[metric].higher_is_better else -1.0
    goodness = (rows["value"] * sign).where(rows["status"] == Status.OK, -np.inf)
    by_codec = goodness.groupby(rows["codec"])
    last = by_codec.transform("size") - 1
    share = ((by_codec.rank() - 1) / last).where(last > 0, 0.5)
    return 1.0 - share.groupby([rows["dataset"], rows["clip"]]).mean()


def choose_clips(ranked: pd.DataFrame, worst: int, max_clips: int) -> pd.DataFrame:
    """Return at most ``max_clips`` clips: the ``worst`` worst, the others evenly from the rest."""
    if len(ranked) <= max_clips:
        return ranked
    first = min(worst, max_clips)
    rest = np.linspace(first, len(ranked) - 1, max_clips - first).round().astype(int)
    return ranked.iloc[[*range(first), *rest]].reset_index(drop=True)


def clip_sources(results: Results, clip: Mapping[str, Any]) -> ClipSources:
    """Return where a clip's audio lies."""
    clip_hash = str(clip["clip_hash"])
    start, segment = as_number(clip.get("start_s")), as_number(clip.get("segment_s"))
    path = as_text(clip.get("path"))
    reference = Source(clip_hash, Path(path), start or 0.0, segment) if path else None
    codecs = {}
    for codec, info in results.codecs.items():
        kept = results.reconstruction_path(codec, clip_hash)
        codecs[codec] = Source(f"{info.fingerprint} {clip_hash}", kept) if kept else None
    return ClipSources(reference, codecs)


def rows_by_clip(results: Results, chosen: pd.DataFrame) -> dict[tuple[str, str], list[Row]]:
    """Return the rows of each chosen clip, by dataset and clip."""
    grouped: dict[tuple[str, str], list[Row]] = defaultdict(list)
    rows = results.rows
    for row in as_records(rows[rows["clip_hash"].isin(chosen["clip_hash"])]):
        grouped[str(row["dataset"]), str(row["clip"])].append(row)
    return grouped


def clip_data(
    results: Results, clip: Mapping[str, Any], rows: Sequence[Row], media: ClipMedia
) -> dict[str, Any]:
    """Return all that the page's script needs of one clip, as plain JSON data.

    Args:
        results: For the order of codecs and metrics.
        clip: A line of :func:`rank_clips`.
        rows: The clip's rows.
        media: Its audio and spectrograms.
    """
    reference = media.reference
    levels = [reference.level_dbfs, *(voice.level_dbfs for voice in media.codecs.values())]
    gains = matching_gains(levels, reference.level_dbfs)
    found: dict[str, dict[str, Row]] = defaultdict(dict)
    for row in rows:
        found[str(row["codec"])][str(row["metric"])] = row
    voices = [
        _codec_data(results, codec, found[codec], voice) | _voice_data(voice, gain)
        for (codec, voice), gain in zip(media.codecs.items(), gains[1:], strict=True)
    ]
    return {
        "name": str(clip["clip"]),
        "dataset": str(clip["dataset"]),
        "domain": str(clip["domain"]),
        "text": as_text(clip.get("text")),
        "about": [about for key in ("label", "speaker") if (about := as_text(clip.get(key)))],
        "duration": as_number(clip.get("duration_s")) or reference.duration_s or None,
        "badness": as_number(clip.get("badness")),
        "ticks": [[tick.label, round(tick.height, 3)] for tick in axis_ticks(media.top_hz)],
        "reference": _voice_data(reference, gains[0]) | _heard_in_reference(rows),
        "codecs": voices,
    }


def _voice_data(voice: Voice, gain: float) -> dict[str, Any]:
    if voice.audio is None:
        return {"missing": voice.missing} if voice.missing else {}
    return {"audio": voice.audio, "image": voice.image, "gain": round(gain, 4)}


def _codec_data(
    results: Results, codec: str, rows: Mapping[str, Row], voice: Voice
) -> dict[str, Any]:
    """Return a codec's scores of one clip, by metric in the results' order."""
    data: dict[str, Any] = {"scores": [_score(rows.get(name)) for name in results.metrics]}
    kbps = next((as_number(row["measured_kbps"]) for row in rows.values()), None)
    failed = {
        index: f"{row['reason']}: {row['message']}"
        for index, name in enumerate(results.metrics)
        if (row := rows.get(name)) is not None and row["status"] == Status.FAILED
    }
    heard = _heard(rows)
    data |= {"kbps": kbps} if kbps is not None else {}
    data |= {"failed": failed} if failed else {}
    data |= {"heard": heard} if heard else {}
    if voice.audio is None and results.codecs[codec].unavailable_reason:
        data["why"] = "could not run"
    elif voice.audio is None and rows and len(failed) == len(rows):
        data["why"] = "coding failed"
    return data


def _score(row: Row | None) -> float | None:
    if row is None or row["status"] != Status.OK:
        return None
    return as_number(row["value"])


def _heard(rows: Mapping[str, Row]) -> dict[str, Any] | None:
    """Return what the recogniser heard, with its counts."""
    for metric in ("wer", "dwer"):
        detail = parse_detail(rows[metric]["detail"]) if metric in rows else {}
        if isinstance(detail.get("hypothesis"), str):
            return {
                "text": detail["hypothesis"],
                "of": as_text(detail.get("reference_text")),
                "edits": as_number(detail.get("edits")),
                "words": as_number(detail.get("words")),
                "loop": detail.get("loop") is True,
            }
    return None


def _heard_in_reference(rows: Sequence[Row]) -> dict[str, Any]:
    """Return what the recogniser heard in the reference, where the differential WER kept it."""
    texts = (parse_detail(row["detail"]) for row in rows if row["metric"] == "dwer")
    heard = next((text for detail in texts if (text := as_text(detail.get("reference_text")))), "")
    return {"heard": {"text": heard, "of": "", "edits": None, "words": None}} if heard else {}


def parse_detail(text: object) -> dict[str, Any]:
    """Return a row's JSON details; empty where there are none or they are damaged."""
    try:
        detail = json.loads(text) if isinstance(text, str) and text else {}
    except ValueError:
        return {}
    return detail if isinstance(detail, dict) else {}
