"""What a wide table holds: rounded cells, order of rows, best values, and the notes below.

One table per domain: codec points down, metrics across. A cell reads ``3.45 ± 0.12 (2 failed)``:
the mean (or corpus ratio), half the width of its interval, and what could not be measured. Rows go
by kind (neural, classical, anchors last), family, bitrate. Anchors do not compete for the best
value. :mod:`bench.reporting.tables` turns this into text.
"""

import math
from collections import defaultdict
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from bench.results import MetricInfo, Results
from bench.stats.cells import CORPUS_RATIO, MEAN_OF_DOMAINS, domain_rank
from bench.stats.summary import summarize

KIND_ORDER = ("neural", "classical", "anchor")
#: Decimals by unit; elsewhere three significant digits of the largest value.
UNIT_DECIMALS = {"ms": 2, "dB": 2, "s": 2}
#: More columns than this do not fit a page; a domain's metrics then go into several tables.
MOST_COLUMNS = 8
MISSING = "\N{EN DASH}"
CAPTION = (
    "Mean ± half the width of the bootstrap interval over clips (95 % unless stated otherwise); "
    "error rates are total errors over total words."
)


@dataclass(frozen=True)
class Mark:
    """A sign behind a value that says how it compares with the reference codec."""

    symbol: str
    latex: str
    meaning: str


#: By outcome of the comparison with the reference codec.
MARKS = {
    "better": Mark("▲", "$^{+}$", "significantly better"),
    "worse": Mark("▼", "$^{-}$", "significantly worse"),
    "unlike": Mark("≠", r"$^{\neq}$", "significantly different"),
    "tie": Mark("≈", r"$^{\approx}$", "tie"),
    "": Mark("", "", ""),
}


@dataclass(frozen=True)
class TableCell:
    """One value as it is printed.

    Attributes:
        mean: Rounded, or a dash.
        half_width: Rounded half width of the interval; empty without one.
        missing: What could not be measured, e.g. ``2 failed``.
        mark: Key of :data:`MARKS`.
        best: Whether it is the best of its column.
    """

    mean: str
    half_width: str = ""
    missing: str = ""
    mark: str = ""
    best: bool = False

    @property
    def value(self) -> str:
        """Mean and half width."""
        return f"{self.mean} ± {self.half_width}" if self.half_width else self.mean

    @property
    def suffix(self) -> str:
        """Mark and missing rows."""
        missing = f"({self.missing})" if self.missing else ""
        return " ".join(filter(None, [MARKS[self.mark].symbol, missing]))


@dataclass(frozen=True)
class TableRow:
    """One codec point: its id, its measured bitrate as it is printed, a cell per metric."""

    codec: str
    kbps: str
    cells: tuple[TableCell, ...]


@dataclass(frozen=True)
class WideTable:
    """One domain (of one dataset, where they are kept apart)."""

    title: str
    clips: str
    metrics: tuple[MetricInfo, ...]
    rows: tuple[TableRow, ...]


@dataclass(frozen=True)
class TableSet:
    """All wide tables of a summary, and what is said below them."""

    tables: tuple[WideTable, ...]
    caption: str
    legend: str
    not_measured: tuple[str, ...]
    failures: tuple[str, ...]
    loops: tuple[str, ...]
    identities: Mapping[str, str]

    def notes(self, table: WideTable | None = None) -> list[tuple[str, tuple[str, ...]]]:
        """Return headed lists for below all tables or below one, empty ones left out."""
        shown = self.identities if table is None else [info.name for info in table.metrics]
        lists = [
            ("Codecs that could not run", self.not_measured),
            ("Without a value", self.failures),
            ("Recogniser loops, which inflate error rates", self.loops),
            ("Metrics", tuple(self.identities[name] for name in shown)),
        ]
        return [(heading, entries) for heading, entries in lists if entries]


def build_tables(
    results: Results, summary: pd.DataFrame | None = None, *, reference: str | None = None
) -> TableSet:
    """Lay out one table per domain.

    Args:
        results: What a run measured.
        summary: From :func:`bench.stats.summary.summarize`; made here if it is not given.
        reference: Codec to compare with, if the summary is made here.
    """
    if summary is None:
        summary = summarize(results, reference=reference)
    measured = set(summary["metric"])
    metrics = [info for info in results.metrics.values() if info.name in measured]
    decimals = {info.name: _decimals(info, summary) for info in metrics}
    absent = [codec for codec, info in results.codecs.items() if info.unavailable_reason]
    available = summary[~summary["codec"].isin(absent)]
    return TableSet(
        tables=tuple(
            table
            for title, part in _sections(available)
            for table in _wide_tables(title, part, metrics, decimals)
        ),
        caption=CAPTION,
        legend=_legend(summary),
        not_measured=tuple(_not_measured(results)),
        failures=tuple(_failures(available, metrics)),
        loops=tuple(_loops(results.rows[results.rows["metric"].isin(measured)])),
        identities={info.name: _identity(info) for info in metrics},
    )


def format_kbps(kbps: float) -> str:
    """Return a bitrate with three significant digits, without an exponent.

    Example:
        >>> format_kbps(0.3581), format_kbps(24.45), format_kbps(1411.2), format_kbps(math.nan)
        ('0.358', '24.4', '1411', '–')
    """
    if not math.isfinite(kbps):
        return MISSING
    digits = 2 - math.floor(math.log10(kbps)) if kbps > 0 else 0
    return f"{kbps:.{min(max(digits, 0), 3)}f}"


def with_declared_bitrates(summary: pd.DataFrame) -> pd.DataFrame:
    """Return the lines with the declared bitrate in place of one that was not measured.

    Only for points that have values and so were decoded: recordings of somebody else's codec.
    """
    if "nominal_kbps" not in summary:  # a table of somebody's own making
        return summary
    has_values = summary.groupby("codec")["n"].transform("max") > 0
    declared = summary["nominal_kbps"].where(has_values)
    return summary.assign(measured_kbps=summary["measured_kbps"].fillna(declared))


def bitrate_text(part: pd.DataFrame) -> str:
    """Return the bitrate of one codec's lines; one that was not measured is marked as declared."""
    measured = part["measured_kbps"].mean()
    declared = with_declared_bitrates(part)["measured_kbps"].mean()
    if math.isfinite(measured) or not math.isfinite(declared):
        return format_kbps(measured)
    return f"{format_kbps(declared)} declared"


def codec_order(summary: pd.DataFrame) -> list[str]:
    """Return the codec ids by kind, family (that of the lowest bitrate first) and bitrate."""
    points = (
        with_declared_bitrates(summary)
        .groupby("codec")
        .agg(kind=("kind", "first"), family=("family", "first"), kbps=("measured_kbps", "mean"))
    )
    points["kind"] = [
        KIND_ORDER.index(kind) if kind in KIND_ORDER else len(KIND_ORDER) for kind in points["kind"]
    ]
    points["lowest"] = points.groupby("family")["kbps"].transform("min")
    points = points.reset_index().sort_values(["kind", "lowest", "family", "kbps", "codec"])
    return points["codec"].tolist()


def _sections(summary: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    """Return title and lines of each domain (and dataset, where they are kept apart)."""
    titles = [name for name in ("dataset", "domain") if name in summary]
    if not titles:
        return [("all clips", summary)]
    parts = [(list(map(str, key)), part) for key, part in summary.groupby(titles)]
    parts.sort(key=lambda entry: [*map(domain_rank, entry[0])])
    return [(", ".join(key), part) for key, part in parts]


def _wide_tables(
    title: str, part: pd.DataFrame, metrics: Sequence[MetricInfo], decimals: Mapping[str, int]
) -> Iterator[WideTable]:
    """Yield one domain as tables of about equal width that fit a page."""
    shown = [info for info in metrics if _is_shown(info, part)]
    count = math.ceil(len(shown) / MOST_COLUMNS) or 1
    size = math.ceil(len(shown) / count)
    for index in range(count):
        chosen = tuple(shown[index * size : (index + 1) * size])
        heading = title if count == 1 else f"{title}, {index + 1} of {count}"
        yield _wide_table(heading, part, chosen, decimals)


def _wide_table(
    title: str, part: pd.DataFrame, metrics: tuple[MetricInfo, ...], decimals: Mapping[str, int]
) -> WideTable:
    """Lay out the lines of one domain."""
    lines = {(line["codec"], line["metric"]): line for line in part.to_dict("records")}
    best = {info.name: _best(info, part, decimals[info.name]) for info in metrics}
    rows = []
    for codec in codec_order(part):
        cells = [
            _cell(lines.get((codec, info.name)), info, decimals[info.name], best[info.name])
            for info in metrics
        ]
        rows.append(TableRow(codec, bitrate_text(part[part["codec"] == codec]), tuple(cells)))
    counts = part.loc[(part["n"] > 0) & part["metric"].isin([info.name for info in metrics]), "n"]
    least, most = (int(counts.min()), int(counts.max())) if len(counts) else (0, 0)
    clips = f"{most} clips" if least == most else f"{least} to {most} clips"
    return WideTable(title, clips, metrics, tuple(rows))


def _cell(
    line: Mapping[Hashable, Any] | None, info: MetricInfo, decimals: int, best: str
) -> TableCell:
    if line is None:
        return TableCell(MISSING)
    counts = [(line[f"n_{status}"], status) for status in ("failed", "skipped", "pending")]
    missing = ", ".join(f"{count} {status}" for count, status in counts if count)
    if not line["n"]:
        return TableCell(MISSING, missing=missing)
    mean = _round(line["mean"], decimals)
    half = (line["ci_high"] - line["ci_low"]) / 2
    return TableCell(
        mean=mean,
        half_width=_round(half, decimals) if math.isfinite(half) else "",
        missing=missing,
        mark=_mark(line, info),
        best=mean == best and line["kind"] != "anchor",
    )


def _is_shown(info: MetricInfo, part: pd.DataFrame) -> bool:
    """Return whether a metric has a column: not where it has no meaning and no value."""
    lines = part[part["metric"] == info.name]
    if lines.empty:
        return False
    elsewhere = "domain" in part and part["domain"].iloc[0] not in (*info.domains, MEAN_OF_DOMAINS)
    return bool((lines["n"] > 0).any()) or not elsewhere


def _best(info: MetricInfo, part: pd.DataFrame, decimals: int) -> str:
    """Return the best mean of a column as it is printed; equal prints share the honour."""
    competing = part.loc[(part["metric"] == info.name) & (part["kind"] != "anchor"), "mean"]
    if info.higher_is_better is None or not competing.notna().any():
        return ""
    return _round(competing.max() if info.higher_is_better else competing.min(), decimals)


def _mark(line: Mapping[Hashable, Any], info: MetricInfo) -> str:
    tie = line.get("tie", pd.NA)
    if pd.isna(tie):
        return ""
    if tie:
        return "tie"
    if info.higher_is_better is None:
        return "unlike"
    return "better" if (line["difference"] > 0) == info.higher_is_better else "worse"


def _decimals(info: MetricInfo, summary: pd.DataFrame) -> int:
    """Return how many decimals a metric is printed with, the same in all tables."""
    lines = summary[(summary["metric"] == info.name) & summary["mean"].notna()]
    if info.unit in UNIT_DECIMALS:
        return UNIT_DECIMALS[info.unit]
    if info.bounds[1] == 1 or (lines["statistic"] == CORPUS_RATIO).any():
        return 3
    largest = lines["mean"].abs().max()
    if not largest > 0:
        return 2
    return min(max(2 - math.floor(math.log10(largest)), 0), 4)


def _round(value: float, decimals: int) -> str:
    """Return a rounded number; a rounded zero has no sign."""
    text = f"{value:.{decimals}f}"
    return text.lstrip("-") if float(text) == 0 else text


def _not_measured(results: Results) -> Iterator[str]:
    """Yield ``family@{point,point}: why`` of codecs that could not run, one line a reason."""
    points: dict[tuple[str, str], list[str]] = defaultdict(list)
    for codec, info in results.codecs.items():
        if info.unavailable_reason:
            head = f"{info.family}@" if codec.startswith(f"{info.family}@") else codec
            points[head, info.unavailable_reason].append(codec.removeprefix(head))
    for (head, reason), names in points.items():
        point = names[0] if len(names) == 1 else f"{{{','.join(names)}}}"
        yield f"{head}{point}: {reason}"


def _legend(summary: pd.DataFrame) -> str:
    if "reference" not in summary or summary["reference"].isna().all():
        return ""
    meanings = ", ".join(f"{mark.symbol} {mark.meaning}" for mark in MARKS.values() if mark.symbol)
    reference = summary["reference"].dropna().iloc[0]
    return f"Against {reference}, clip-paired permutation test at 0.05: {meanings}."


def _failures(summary: pd.DataFrame, metrics: Sequence[MetricInfo]) -> Iterator[str]:
    """Yield ``codec, domain: reasons (metrics)`` of everything that applies but has no value."""
    domains = {info.name: info.domains for info in metrics}
    found: dict[tuple[str, str, str], list[str]] = defaultdict(list)
    for line in summary.to_dict("records"):
        domain, metric = line.get("domain", ""), line["metric"]
        pending = f"pending:{line['n_pending']}" if line["n_pending"] else ""
        reasons = ", ".join(filter(None, [line["reasons"], pending]))
        applies = domain in (*domains[metric], "") or line["n_failed"] > 0
        if reasons and applies and domain != MEAN_OF_DOMAINS:
            found[line["codec"], domain, reasons].append(metric)
    for (codec, domain, reasons), names in found.items():
        place = f"{codec}, {domain}" if domain else codec
        yield f"{place}: {reasons} ({', '.join(names)})"


def _loops(rows: pd.DataFrame) -> Iterator[str]:
    """Yield where the recogniser repeated a phrase over and over (bench.metrics.wer)."""
    flagged = rows[rows["detail"].str.contains('"loop": true', regex=False)]
    for (codec, metric), part in flagged.groupby(["codec", "metric"], sort=False):
        yield f"{codec}, {metric}: {len(part)} clips ({', '.join(part['clip'].head(5))})"


def _identity(info: MetricInfo) -> str:
    """Return what a reader needs to measure the same: version, implementation, fingerprint."""
    parts = [f"version {info.version}"]
    if "implementation" in info.params:
        parts.append(str(info.params["implementation"]))
    parts.append(f"fingerprint {info.fingerprint}")
    return f"{info.name}: {', '.join(parts)}"
