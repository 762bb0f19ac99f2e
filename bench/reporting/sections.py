"""What the tabs of the HTML report show, as plain values: the templates only lay them out."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pandas as pd

from bench.errors import Reason, Status
from bench.reporting.frames import as_number, as_records, as_text
from bench.reporting.layout import MARKS, UNIT_DECIMALS, format_kbps
from bench.results import CodecInfo, MetricInfo, Results
from bench.stats.cells import domain_rank

#: Reasons that are no news: the metric is not meant for such clips.
NOT_APPLICABLE = frozenset({Reason.NOT_FOR_DOMAIN, Reason.NO_TRANSCRIPT})
_REASON_ORDER = (Status.FAILED, Status.PENDING, Status.SKIPPED)
_NAMES_SHOWN = 12


# --- summary --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Column:
    """A metric's column: its heading, digits and direction."""

    metric: str
    label: str
    unit: str
    title: str
    decimals: int
    higher_is_better: bool | None

    def text(self, value: float) -> str:
        """Return a value with this column's digits; a rounded zero has no sign."""
        text = f"{value:.{self.decimals}f}"
        return text.lstrip("-") if float(text) == 0 else text.replace("-", "\N{MINUS SIGN}")


@dataclass(frozen=True)
class Cell:
    """A mean with its interval; ``value`` is None where nothing was measured.

    Attributes:
        strip: Left end, width and mark of the interval's drawing, percent of the column's range.
        mark: How it compares with the reference codec, a sign of :data:`layout.MARKS`.
        note: What is unlike the row: fewer clips, failures.
        title: The same in words, and the paired difference.
    """

    value: float | None
    text: str = ""
    interval: str = ""
    strip: tuple[float, float, float] | None = None
    best: bool = False
    mark: str = ""
    note: str = ""
    title: str = ""


@dataclass(frozen=True)
class CodecRow:
    """A codec's line in a headline table."""

    codec: str
    kind: str
    kbps: float | None
    kbps_text: str
    n: int
    n_failed: int
    reason: str
    cells: list[Cell]


@dataclass(frozen=True)
class HeadlineTable:
    """The table of one domain."""

    domain: str
    columns: list[Column]
    rows: list[CodecRow]
    reference: str = ""


def headline_tables(results: Results, summary: pd.DataFrame) -> list[HeadlineTable]:
    """Return one table per domain, in the summary's order.

    Args:
        results: For the order of codecs and metrics, and their descriptions.
        summary: As :func:`bench.stats.summary.summarize` gives it.
    """
    means = summary.loc[summary["n"] > 0, ["metric", "mean"]].set_index("metric")["mean"]
    decimals = {
        name: decimals_for(info, means.loc[means.index == name])
        for name, info in results.metrics.items()
    }
    tables = [
        _headline_table(results, str(domain), part, decimals)
        for domain, part in summary.groupby("domain", sort=False)
    ]
    real = set(results.clips["domain"])
    return [table for table in tables if table.columns or table.domain in real]


def _headline_table(
    results: Results, domain: str, part: pd.DataFrame, decimals: Mapping[str, int]
) -> HeadlineTable:
    measured = part[part["n"] > 0]
    names = [name for name in results.metrics if (measured["metric"] == name).any()]
    columns = [_column(results.metrics[name], decimals[name]) for name in names]
    scales = {name: _scale(part[part["metric"] == name]) for name in names}
    best = {column.metric: _best(column, part) for column in columns}
    codecs = [codec for codec in results.codecs if (part["codec"] == codec).any()]
    rows = [
        _codec_row(results.codecs[codec], part[part["codec"] == codec], columns, scales, best)
        for codec in codecs
    ]
    references = part["reference"].dropna() if "reference" in part else pd.Series(dtype=str)
    return HeadlineTable(domain, columns, rows, references.iloc[0] if len(references) else "")


def _column(info: MetricInfo, decimals: int) -> Column:
    direction = {True: "higher is better", False: "lower is better", None: ""}
    about = (info.summary, direction[info.higher_is_better])
    return Column(
        metric=info.name,
        label=info.name,
        unit=f"{info.unit} {info.arrow}".strip(),
        title="; ".join(text for text in about if text),
        decimals=decimals,
        higher_is_better=info.higher_is_better,
    )


def decimals_for(info: MetricInfo, values: pd.Series) -> int:
    """Return a metric's decimals: those of its unit, or three digits of the largest value."""
    if info.unit in UNIT_DECIMALS:
        return UNIT_DECIMALS[info.unit]
    if info.bounds[1] == 1:
        return 3
    largest = values.abs().max()
    if not math.isfinite(largest) or largest == 0:
        return 2
    return int(min(4, max(0, 2 - math.floor(math.log10(largest)))))


def _scale(part: pd.DataFrame) -> tuple[float, float]:
    """Return the range that a column's interval drawings span."""
    ends = part[["mean", "ci_low", "ci_high"]]
    return float(ends.min().min()), float(ends.max().max())


def _best(column: Column, part: pd.DataFrame) -> set[str]:
    """Return the codecs whose shown mean is the best one, anchors apart."""
    if column.higher_is_better is None:
        return set()
    rows = part[(part["metric"] == column.metric) & (part["n"] > 0) & (part["kind"] != "anchor")]
    if len(rows) < 2:
        return set()
    means = rows["mean"].round(column.decimals)
    top = means.max() if column.higher_is_better else means.min()
    return set(rows.loc[means == top, "codec"])


def _codec_row(
    info: CodecInfo,
    part: pd.DataFrame,
    columns: Sequence[Column],
    scales: Mapping[str, tuple[float, float]],
    best: Mapping[str, set[str]],
) -> CodecRow:
    found = {str(row["metric"]): row for row in as_records(part)}
    n = max((int(row["n"]) for row in found.values()), default=0)
    cells = []
    for column in columns:
        cell = _cell(found.get(column.metric), column, scales[column.metric], n)
        cells.append(replace(cell, best=info.codec_id in best[column.metric]))
    kbps = as_number(part["measured_kbps"].mean())
    return CodecRow(
        codec=info.codec_id,
        kind=info.kind,
        kbps=kbps,
        kbps_text="" if kbps is None else format_kbps(kbps),
        n=n,
        n_failed=sum(int(row["n_failed"]) for row in found.values()),
        reason=info.unavailable_reason or "",
        cells=cells,
    )


def _cell(
    row: Mapping[str, Any] | None, column: Column, scale: tuple[float, float], n: int
) -> Cell:
    if row is None:
        return Cell(None)
    if not row["n"] or not math.isfinite(row["mean"]):
        return Cell(None, note=_missing_note(row), title=as_text(row.get("reasons")))
    low, high = float(row["ci_low"]), float(row["ci_high"])
    known = math.isfinite(low) and math.isfinite(high)
    return Cell(
        value=float(row["mean"]),
        text=column.text(row["mean"]),
        interval=f"{column.text(low)} \N{EN DASH} {column.text(high)}" if known else "",
        strip=_strip(float(row["mean"]), low, high, scale) if known else None,
        mark=MARKS[_comparison(row, column)].symbol,
        note=_note(row, n),
        title=_cell_title(row, column),
    )


def _comparison(row: Mapping[str, Any], column: Column) -> str:
    """Return the key of :data:`layout.MARKS` for the comparison with the reference codec."""
    tie = row.get("tie", pd.NA)
    if pd.isna(tie):
        return ""
    if tie or column.higher_is_better is None:
        return "tie" if tie else "unlike"
    return "better" if (row["difference"] > 0) == column.higher_is_better else "worse"


def _strip(
    mean: float, low: float, high: float, scale: tuple[float, float]
) -> tuple[float, float, float]:
    span = scale[1] - scale[0] or 1.0
    left, mark, right = (round(100 * (at - scale[0]) / span, 1) for at in (low, mean, high))
    return left, round(right - left, 1), mark


def _missing_note(row: Mapping[str, Any]) -> str:
    for count in ("n_failed", "n_pending", "n_skipped"):
        if row[count]:
            return f"{int(row[count])} {count[2:]}"
    return ""


def _note(row: Mapping[str, Any], n: int) -> str:
    """Return what a reader must know of a cell: failures, or fewer clips than its row."""
    parts = [f"n = {int(row['n'])}"] if row["n"] != n else []
    parts += [f"{int(row['n_failed'])} failed"] if row["n_failed"] else []
    parts += [f"{int(row['n_pending'])} pending"] if row["n_pending"] else []
    return ", ".join(parts)


def _cell_title(row: Mapping[str, Any], column: Column) -> str:
    lines = [f"{column.metric}: {int(row['n'])} clips", as_text(row.get("reasons"))]
    difference = row.get("difference")
    if difference is not None and pd.notna(difference):
        sign = "+" if difference > 0 else ""
        lines.append(
            f"{sign}{column.text(difference)} against {row['reference']}, p = {row['p_value']:.3g}"
        )
    return "; ".join(line for line in lines if line)


# --- failures -------------------------------------------------------------------------------


@dataclass(frozen=True)
class FailureLine:
    """Rows without a value that say the same: of one reconstruction, if they failed."""

    message: str
    codecs: str
    clips: str
    metrics: str
    rows: int


@dataclass(frozen=True)
class FailureGroup:
    """All rows of one reason."""

    status: str
    reason: str
    rows: int
    lines: list[FailureLine]

    @property
    def is_news(self) -> bool:
        """Whether it is more than a metric that does not apply."""
        return self.reason not in NOT_APPLICABLE


def failure_groups(results: Results) -> list[FailureGroup]:
    """Return all rows without a value, failures first, then by how many there are."""
    rows = results.rows
    rows = rows[rows["status"] != Status.OK].fillna({"reason": "", "message": ""})
    groups = [
        FailureGroup(
            str(status), str(reason), len(part), _failure_lines(results, part, str(status))
        )
        for (status, reason), part in rows.groupby(["status", "reason"], sort=False)
    ]
    return sorted(groups, key=lambda group: (_status_rank(group.status), -group.rows))


def _status_rank(status: str) -> int:
    order = [str(known) for known in _REASON_ORDER]
    return order.index(status) if status in order else len(order)


def _failure_lines(results: Results, part: pd.DataFrame, status: str) -> list[FailureLine]:
    keys = ["message"] if status == Status.SKIPPED else ["message", "codec", "dataset", "clip"]
    lines = [
        FailureLine(
            message=str(key[0]),
            codecs=_names(group["codec"], len(results.codecs), "codecs"),
            clips=_names(group["clip"], len(results.clips), "clips"),
            metrics=_names(group["metric"], len(results.metrics), "metrics"),
            rows=len(group),
        )
        for key, group in part.groupby(keys, sort=False)
    ]
    return sorted(lines, key=lambda line: -line.rows)


def _names(column: pd.Series, of: int, plural: str) -> str:
    """Return the distinct names, shortened where there are many."""
    names = [str(name) for name in column.unique()]
    if len(names) == of and of > 1:
        return f"all {of} {plural}"
    if len(names) <= _NAMES_SHOWN:
        return ", ".join(names)
    return f"{', '.join(names[:_NAMES_SHOWN])} and {len(names) - _NAMES_SHOWN} more"


# --- header ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Overview:
    """The report at a glance.

    Attributes:
        domains: Number of clips in each.
        counts: Number of rows by status; ``not applicable`` is told apart from ``skipped``.
        codecs_missing: Codec id and why it could not run.
        metrics_missing: Metric and why it could not be computed.
    """

    codecs: int
    metrics: int
    clips: int
    domains: Mapping[str, int]
    counts: Mapping[str, int]
    codecs_missing: Mapping[str, str] = field(default_factory=dict)
    metrics_missing: Mapping[str, str] = field(default_factory=dict)


def overview(results: Results) -> Overview:
    """Return the numbers of the header."""
    rows = results.rows
    silent = (rows["status"] == Status.SKIPPED) & rows["reason"].isin(NOT_APPLICABLE)
    domains = Counter(map(str, results.clips["domain"]))
    counts = rows["status"].astype(str).mask(silent, "not applicable").value_counts()
    return Overview(
        codecs=len(results.codecs),
        metrics=len(results.metrics),
        clips=len(results.clips),
        domains={name: domains[name] for name in sorted(domains, key=domain_rank)},
        counts={str(k): int(v) for k, v in counts.items()},
        codecs_missing={
            codec: info.unavailable_reason
            for codec, info in results.codecs.items()
            if info.unavailable_reason
        },
        metrics_missing={
            name: reason
            for name, info in results.metrics.items()
            if (reason := getattr(info, "unavailable_reason", None))
        },
    )
