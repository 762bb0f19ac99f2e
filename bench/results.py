"""What a run measured, as tidy rows, and what is known about its metrics, codecs and clips."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from bench.errors import BenchError

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

    @property
    def arrow(self) -> str:
        """Direction of better values, for headings; empty where neither is better."""
        return {True: "↑", False: "↓", None: ""}[self.higher_is_better]

    @property
    def label(self) -> str:
        """Name, unit and direction, e.g. ``delay (ms)`` or ``pesq-wb ↑``."""
        unit = f" ({self.unit})" if self.unit else ""
        return f"{self.name}{unit} {self.arrow}".rstrip()


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
        if self.folder is None:
            return None
        path = self.folder / reconstruction_name(self.codecs[codec].fingerprint, clip_hash)
        return path if path.is_file() else None


def reconstruction_name(codec_fingerprint: str, clip_hash: str, seed: int = 0) -> str:
    """Return where a reconstruction lies inside a run folder."""
    return f"audio/{codec_fingerprint}/{clip_hash[:24]}-{seed}.flac"


def details(rows: pd.DataFrame, key: str) -> pd.Series:
    """Return one entry of the rows' JSON details as numbers, NaN where it is absent.

    Args:
        rows: Tidy rows.
        key: For example ``edits``.
    """
    parsed = (json.loads(text or "{}").get(key) for text in rows["detail"])
    return pd.to_numeric(pd.Series(list(parsed), index=rows.index), errors="coerce")
