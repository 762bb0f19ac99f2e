"""What a run measured, as tidy rows, and what is known about its metrics, codecs and clips."""

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bench.errors import BenchError, Reason, Status, one_line
from bench.schema import build
from bench.store import FILE_NAME, CodingKey, Store

#: Columns of the tidy table: one row per (codec point, clip, metric).
ROW_COLUMNS = (
    "dataset",
    "clip",
    "domain",
    "codec",
    "family",
    "kind",
    "nominal_kbps",
    "measured_kbps",
    "metric",
    "value",
    "status",
    "reason",
    "message",
    "detail",
    "seed",
    "clip_hash",
    "codec_fingerprint",
    "metric_fingerprint",
)


class MixedFingerprintsError(BenchError):
    """Rows of unlike measurements would have been averaged or compared."""


@dataclass(frozen=True)
class MetricInfo:
    """What a table or plot must know of a metric; see :class:`bench.metrics.base.Metric`."""

    name: str
    fingerprint: str
    version: str = "1"
    summary: str = ""
    unit: str = ""
    higher_is_better: bool | None = True
    bounds: tuple[float | None, float | None] = (None, None)
    domains: tuple[str, ...] = ("speech", "music", "sound")
    params: Mapping[str, Any] = field(default_factory=dict)
    requires_text: bool = False
    unavailable_reason: str | None = None

    def __post_init__(self) -> None:
        if len(self.bounds) != 2:
            raise ValueError(f"metric {self.name}: expected two bounds, got {len(self.bounds)}")

    @property
    def arrow(self) -> str:
        """Direction of better values, for headings; empty where neither is better."""
        return {True: "↑", False: "↓", None: ""}[self.higher_is_better]

    @property
    def label(self) -> str:
        """Name, unit and direction, e.g. ``delay (ms)`` or ``pesq-wb ↑``."""
        unit = f" ({self.unit})" if self.unit else ""
        return f"{self.name}{unit} {self.arrow}".rstrip()


#: What is measured while coding, without listening.
CODING_METRICS = (
    MetricInfo(
        name="rtf-encode",
        fingerprint="codecbench-timing-1",
        summary="encoding seconds per second of audio; below 1 is faster than real time",
        higher_is_better=False,
        bounds=(0.0, None),
    ),
    MetricInfo(
        name="rtf-decode",
        fingerprint="codecbench-timing-1",
        summary="decoding seconds per second of audio; below 1 is faster than real time",
        higher_is_better=False,
        bounds=(0.0, None),
    ),
    MetricInfo(
        name="peak-memory",
        fingerprint="codecbench-memory-1",
        summary="most memory the worker process held while coding the clip, libraries included",
        unit="MB",
        higher_is_better=False,
        bounds=(0.0, None),
    ),
)


@dataclass(frozen=True)
class CodecInfo:
    """What a table or plot must know of a codec point; see :class:`codec_zoo.base.CodecSpec`."""

    codec_id: str
    family: str
    kind: str
    fingerprint: str
    nominal_kbps: float | None = None
    sample_rate: int | None = None
    channels: int | None = None
    token_rate: float | None = None
    implementation: str = ""
    unavailable_reason: str | None = None


@dataclass(frozen=True)
class ClipInfo:
    """What the clip table holds of each clip; see :class:`bench.clips.Clip`."""

    dataset: str
    clip: str
    domain: str
    path: str
    clip_hash: str
    start_s: float | None = None
    segment_s: float | None = None
    text: str | None = None
    label: str | None = None
    speaker: str | None = None


_CLIP_KEYS = {field.name for field in fields(ClipInfo)}


@dataclass(frozen=True)
class Results:
    """Everything one run measured.

    Attributes:
        rows: Tidy table with :data:`ROW_COLUMNS`; ``value`` is NaN unless ``status`` is ``ok``;
            ``detail`` is a JSON text (WER keeps ``edits`` and ``words`` there).
        metrics: By name, in table order.
        codecs: By codec id, in the order they were asked for; codecs that could not run are here
            with their reason.
        clips: One row per clip: dataset, clip, domain, path, text, duration_s, clip_hash, ...
        manifest: Commit, versions, machine, seed, command.
        folder: The run's folder, where reconstructions lie; None for rows from elsewhere.
    """

    rows: pd.DataFrame
    metrics: Mapping[str, MetricInfo]
    codecs: Mapping[str, CodecInfo]
    clips: pd.DataFrame
    manifest: Mapping[str, Any] = field(default_factory=dict)
    folder: Path | None = None

    @classmethod
    def load(cls, folder: Path) -> "Results":
        """Return what the latest run into ``folder`` measured so far.

        Raises:
            BenchError: If there are no results.
        """
        store = Store(folder)
        try:
            with store.explained():
                return cls._read(store)
        except _DAMAGED as error:
            problem = one_line(f"{type(error).__name__}: {error}", 200)
            raise BenchError(f"{store.path} does not hold what a run writes ({problem})") from error
        finally:
            store.close()

    @classmethod
    def _read(cls, store: Store) -> "Results":
        plan, manifest = store.latest_plan()
        where = str(store.path)
        metrics = [build(MetricInfo, info, f"{where}: metric") for info in plan["metrics"]]
        if plan["source"] == "codecs":
            metrics += CODING_METRICS
        codecs = [
            build(CodecInfo, {k: v for k, v in info.items() if k != "seed"}, f"{where}: codec")
            for info in plan["codecs"]
        ]
        for clip in plan["clips"]:
            build(ClipInfo, {k: clip[k] for k in _CLIP_KEYS & clip.keys()}, f"{where}: clip")
        return cls(
            rows=_rows(store, plan, metrics),
            metrics={info.name: info for info in metrics},
            codecs={info.codec_id: info for info in codecs},
            clips=_clips(store, plan),
            manifest=dict(manifest),
            folder=store.folder,
        )

    @staticmethod
    def is_in(folder: Path) -> bool:
        """Return whether a folder holds a run."""
        return (folder / FILE_NAME).is_file()

    def to_pandas(self) -> pd.DataFrame:
        """Return a copy of the tidy rows."""
        return self.rows.copy()

    def table(self, **options: Any) -> pd.DataFrame:
        """Return means with intervals per codec point, domain and metric.

        See :func:`bench.stats.summary.summarize` for the options.
        """
        from bench.stats.summary import summarize

        return summarize(self, **options)

    def reconstruction_path(self, codec: str, clip_hash: str) -> Path | None:
        """Return the kept reconstruction of a clip, or None if it was not kept."""
        if self.folder is None or codec not in self._seeds:
            return None
        key = CodingKey(self.codecs[codec].fingerprint, clip_hash, self._seeds[codec])
        path = self.folder / reconstruction_name(key)
        return path if path.is_file() else None

    @cached_property
    def _seeds(self) -> dict[str, int]:
        """What each codec's reconstructions are filed under."""
        first = self.rows.drop_duplicates("codec")
        return dict(zip(first["codec"], first["seed"].astype(int), strict=True))


def reconstruction_name(key: CodingKey) -> str:
    """Return where a reconstruction lies inside a run folder."""
    return f"audio/{key.codec_fingerprint}/{key.clip_hash[:24]}-{key.seed}.flac"


def details(rows: pd.DataFrame, key: str) -> pd.Series:
    """Return one entry of the rows' JSON details as numbers.

    Args:
        rows: Tidy rows that have it.
        key: For example ``edits``.

    Raises:
        BenchError: If a row's details are no JSON object, or have no number there.
    """
    try:
        numbers = [float(json.loads(text)[key]) for text in rows["detail"]]
    except _DAMAGED as error:
        problem = one_line(f"{type(error).__name__}: {error}", 100)
        raise BenchError(
            f"the details of a score should be a JSON object with a number {key!r} ({problem}); "
            "the store is damaged: score again into a new folder"
        ) from error
    return pd.Series(numbers, index=rows.index, dtype=float)


# --- from the store to tidy rows -------------------------------------------------------------

#: What reading something else than a run can raise.
_DAMAGED = (LookupError, TypeError, ValueError, AttributeError, ArithmeticError, RecursionError)
_KEY = ["codec_fingerprint", "clip_hash", "seed"]
_SCORE_TEXTS = ("status", "reason", "message", "detail")
_SCORE = ("metric_fingerprint", "value", *_SCORE_TEXTS)
_ROWS_AT_ONCE = 20_000


def _rows(store: Store, plan: Mapping[str, Any], metrics: list[MetricInfo]) -> pd.DataFrame:
    """Return one row per planned (codec, clip, metric), whatever became of it."""
    codings = _frame(store, "SELECT * FROM codings")
    codings["rtf-encode"] = codings["encode_s"] / codings["duration_s"]
    codings["rtf-decode"] = codings["decode_s"] / codings["duration_s"]
    codings["peak-memory"] = codings["peak_memory_mb"]
    measured = [info.name for info in CODING_METRICS]
    keep = [*_KEY, "status", "reason", "message", "measured_kbps", *measured]
    coded = _codecs_by_clips(plan).merge(codings[keep], on=_KEY, how="left")
    coded = coded.rename(
        columns={name: f"coding_{name}" for name in ("status", "reason", "message")}
    )
    # Every coding beside every metric, [codings x metrics], and the scores at their places.
    infos, scores = _metric_frame(metrics), _scores(store, coded[_KEY], metrics)
    rows = pd.concat(
        [
            coded.take(np.repeat(np.arange(len(coded)), len(infos))).reset_index(drop=True),
            infos.take(np.tile(np.arange(len(infos)), len(coded))).reset_index(drop=True),
            scores,
        ],
        axis=1,
    )
    for name in measured:
        here = (rows["metric"] == name) & rows[name].notna()
        rows.loc[here, "value"] = rows.loc[here, name]
        rows.loc[here, "status"] = Status.OK.value
    _explain_gaps(rows, metrics)
    # An anchor that keeps the samples (or nothing but a level) has no bitrate worth the name.
    rows.loc[(rows["kind"] == "anchor") & rows["nominal_kbps"].isna(), "measured_kbps"] = np.nan
    rows["detail"] = rows["detail"].fillna("{}")
    return rows[list(ROW_COLUMNS)]


def _scores(store: Store, keys: pd.DataFrame, metrics: list[MetricInfo]) -> pd.DataFrame:
    """Return status, reason, message, value and detail of every key's metrics, in that order.

    The scores are read piece by piece and put where they belong: joining a million rows on their
    hashes would take ten times the memory.
    """
    place_of: dict[tuple[Any, ...], int] = {}
    # Clips of the same content share their scores.
    places = [place_of.setdefault(key, len(place_of)) for key in keys.itertuples(index=False)]
    number_of = {info.fingerprint: number for number, info in enumerate(metrics)}
    found = {name: np.full(len(place_of) * len(metrics), None, object) for name in _SCORE_TEXTS}
    values = np.full(len(place_of) * len(metrics), np.nan)
    cursor = store.query(f"SELECT {', '.join((*_KEY, *_SCORE))} FROM scores")
    nowhere = len(values)
    while piece := cursor.fetchmany(_ROWS_AT_ONCE):
        at = np.array(
            [
                place_of.get(row[:3], nowhere) * len(metrics) + number_of.get(row[3], nowhere)
                for row in piece
            ]
        )
        here = at < len(values)
        columns = dict(zip(_SCORE, zip(*(row[3:] for row in piece), strict=True), strict=True))
        values[at[here]] = np.array(columns["value"], float)[here]
        for name, column in found.items():
            column[at[here]] = _shared(columns[name])[here]
    rows = np.add.outer(np.array(places) * len(metrics), np.arange(len(metrics))).ravel()
    return pd.DataFrame(
        {name: pd.Series(column[rows]) for name, column in found.items()} | {"value": values[rows]}
    )


def _shared(texts: Sequence[str | None]) -> NDArray[np.object_]:
    """Return texts as an array in which equal ones are one object."""
    array = np.empty(len(texts), object)
    array[:] = [text if text is None else sys.intern(text) for text in texts]
    return array


def _frame(store: Store, sql: str) -> pd.DataFrame:
    cursor = store.query(sql)
    names = [column[0] for column in cursor.description]
    frame = pd.DataFrame(cursor.fetchall(), columns=names)
    numbers = [name for name in names if name.endswith(("_s", "_mb", "_kbps", "value"))]
    return frame.astype(dict.fromkeys(numbers, "float64") | {"seed": "int64"})


def _codecs_by_clips(plan: Mapping[str, Any]) -> pd.DataFrame:
    codecs = pd.DataFrame(
        {
            "codec": codec["codec_id"],
            "family": codec["family"],
            "kind": codec["kind"],
            "nominal_kbps": codec["nominal_kbps"],
            "codec_fingerprint": codec["fingerprint"],
            "codec_unavailable": codec["unavailable_reason"],
            "seed": codec["seed"],
        }
        for codec in plan["codecs"]
    ).astype({"nominal_kbps": "float64"})
    names = ["dataset", "clip", "domain", "text", "clip_hash"]
    clips = pd.DataFrame([_printable(clip) for clip in plan["clips"]])[names]
    return codecs.merge(clips, how="cross")


def _printable(entry: Mapping[str, Any]) -> dict[str, Any]:
    return {
        key: value.encode("utf-8", "replace").decode() if isinstance(value, str) else value
        for key, value in entry.items()
    }


def _metric_frame(metrics: list[MetricInfo]) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "metric": info.name,
            "metric_fingerprint": info.fingerprint,
            "requires_text": info.requires_text,
            "metric_unavailable": info.unavailable_reason,
        }
        for info in metrics
    )


def _explain_gaps(rows: pd.DataFrame, metrics: Sequence[MetricInfo]) -> None:
    """Give every row without a status the first reason that holds."""
    fitting = [f"{info.name} {domain}" for info in metrics for domain in info.domains]
    elsewhere = ~(rows["metric"] + " " + rows["domain"]).isin(fitting)
    coding_failed = rows["coding_status"].notna() & (rows["coding_status"] != Status.OK)
    _mark(rows, elsewhere, Reason.NOT_FOR_DOMAIN, "not for this domain")
    _mark(rows, rows["metric_unavailable"].notna(), Reason.METRIC_UNAVAILABLE, "metric_unavailable")
    no_text = rows["requires_text"] & rows["text"].isna()
    _mark(rows, no_text, Reason.NO_TRANSCRIPT, "the clip has no transcript")
    _mark(rows, rows["codec_unavailable"].notna(), Reason.CODEC_UNAVAILABLE, "codec_unavailable")
    here = rows["status"].isna() & coding_failed
    for name in ("status", "reason", "message"):
        rows.loc[here, name] = rows.loc[here, f"coding_{name}"]
    measured_by_coding = rows["metric"].isin([info.name for info in CODING_METRICS])
    not_here = measured_by_coding & (rows["coding_status"] == Status.OK)
    _mark(rows, not_here, Reason.NOT_CODED_HERE, "coded elsewhere, or no counter here")
    rows["status"] = rows["status"].fillna(Status.PENDING.value)


def _mark(rows: pd.DataFrame, where: pd.Series, reason: Reason, message: str) -> None:
    """Mark rows as skipped; ``message`` is a text or the column that holds it."""
    here = rows["status"].isna() & where
    rows.loc[here, "status"] = Status.SKIPPED.value
    rows.loc[here, "reason"] = reason.value
    rows.loc[here, "message"] = rows.loc[here, message] if message in rows else message


def _clips(store: Store, plan: Mapping[str, Any]) -> pd.DataFrame:
    durations = store.query("SELECT clip_hash, MAX(duration_s) FROM codings GROUP BY clip_hash")
    # Names of files may hold what UTF-8, and so Arrow, cannot (lone surrogates).
    paths = pd.Series([clip["path"] for clip in plan["clips"]], dtype=object)
    clips = pd.DataFrame([_printable(clip) for clip in plan["clips"]]).assign(path=paths)
    clips["duration_s"] = clips["clip_hash"].map(dict(durations.fetchall())).astype("float64")
    return clips
