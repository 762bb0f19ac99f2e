"""Bitrate-quality curves, one per metric and domain and one figure of all domains per metric.

Every figure is drawn from a small table that is saved beside it: ``NAME.svg``, ``NAME.png``,
``NAME.csv``. The same rows give the same bytes. A family is a line through its operating points
with the interval of each mean; what has no bitrate worth comparing (an anchor) is a dashed level;
hollow points are published by others.
"""

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib as mpl
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from bench.errors import unknown_name
from bench.reporting.plot_axes import (
    LETTER_WIDTH,
    draw_levels,
    names_width,
    set_bitrate_axis,
    value_limits,
)
from bench.reporting.plot_style import (
    ANCHOR_COLOR,
    COLUMN_WIDTH,
    FONT_SIZE,
    PAGE_WIDTH,
    PANEL_HEIGHT,
    RC,
    FamilyStyle,
    family_styles,
)
from bench.results import MetricInfo, Results
from bench.stats.cells import MEAN_OF_DOMAINS, domain_rank
from bench.stats.summary import summarize

PLOT_COLUMNS = (
    "role", "codec", "family", "domain", "metric", "kbps", "value", "low", "high", "n", "source",
)  # fmt: skip
PUBLISHED_COLUMNS = ("codec", "kbps", "metric", "domain", "value", "source")
#: With more lines than this, bands would cover each other: bars are drawn instead.
MOST_BANDS = 6


def plot_table(
    summary: pd.DataFrame, metric: str, published: pd.DataFrame | None = None
) -> pd.DataFrame:
    """Return what the figures of one metric show, one row per point or level.

    Args:
        summary: From :func:`bench.stats.summary.summarize`, by codec, domain and metric.
        metric: Its name.
        published: Points from elsewhere, :data:`PUBLISHED_COLUMNS`.

    Returns:
        :data:`PLOT_COLUMNS`; ``role`` is ``codec``, ``anchor`` (a level without a bitrate) or
        ``published``. What has no value has no row.
    """
    lines = summary[(summary["metric"] == metric) & summary["mean"].notna()]
    names = {"measured_kbps": "kbps", "mean": "value", "ci_low": "low", "ci_high": "high"}
    table = lines.rename(columns=names)
    has_bitrate = (table["kind"] != "anchor") & (table["kbps"] > 0)
    table = table.assign(
        role=["codec" if point else "anchor" for point in has_bitrate],
        kbps=table["kbps"].where(has_bitrate),
        source="",
    )
    tables = [table.reindex(columns=list(PLOT_COLUMNS))]
    if published is not None:
        points = published[(published["metric"] == metric) & (published["kbps"] > 0)]
        points = points.assign(role="published", family=points["codec"].map(_family))
        tables.append(points.reindex(columns=list(PLOT_COLUMNS)))
    table = pd.concat([part for part in tables if len(part)] or tables[:1], ignore_index=True)
    order = table["domain"].map(domain_rank)
    keys = table.assign(order=order).sort_values(["order", "role", "family", "kbps", "codec"])
    return keys[list(PLOT_COLUMNS)].reset_index(drop=True)


def plot_metric(
    table: pd.DataFrame, metric: MetricInfo, styles: Mapping[str, FamilyStyle]
) -> Figure:
    """Draw a panel for each domain of a table, side by side, with one legend below.

    Args:
        table: From :func:`plot_table`, maybe of fewer domains.
        metric: For the label of the y axis.
        styles: From :func:`bench.reporting.plot_style.family_styles`.
    """
    domains = sorted(table["domain"].unique(), key=domain_rank)
    with mpl.rc_context(dict(RC)):
        width = COLUMN_WIDTH if len(domains) == 1 else PAGE_WIDTH
        handles, rows = family_legend(table, styles, width)
        height = PANEL_HEIGHT + 0.165 * rows
        figure = Figure(figsize=(width, height), layout="constrained")
        FigureCanvasAgg(figure)
        panels = figure.subplots(1, len(domains), sharex=True, squeeze=False)[0]
        for panel, domain in zip(panels, domains, strict=True):
            _draw_panel(panel, table[table["domain"] == domain], styles)
            panel.set_title(_title(table, domain))
            panel.set_xlabel("bitrate (kbps)")
        panels[0].set_ylabel(metric.label)
        columns = math.ceil(len(handles) / rows) if rows else 1
        figure.legend(handles=handles, loc="outside lower center", ncols=columns)
        set_bitrate_axis(panels, table)
        figure.draw_without_rendering()
        figure.set_layout_engine(None)  # sizes stay now; level names are placed by them
        for panel, domain in zip(panels, domains, strict=True):
            draw_levels(panel, table[table["domain"] == domain], names_width(panels, table))
    return figure


@dataclass(frozen=True)
class Curve:
    """A figure that was written.

    Attributes:
        title: Metric and domain.
        metric: Its name.
        domain: Empty for the figure of all domains.
        svg: The figure.
        png: The same as an image.
        csv: The table it was drawn from.
    """

    title: str
    metric: str
    domain: str
    svg: Path
    png: Path
    csv: Path


def draw_curves(
    results: Results,
    folder: Path,
    *,
    summary: pd.DataFrame | None = None,
    published: pd.DataFrame | None = None,
    metrics: Sequence[str] | None = None,
) -> list[Curve]:
    """Write every figure of a run into ``folder``.

    ``METRIC.*`` shows all domains of a metric side by side, ``METRIC-DOMAIN.*`` one of them.

    Args:
        results: What a run measured.
        folder: Is made.
        summary: By codec, domain and metric; made here if it is not given.
        published: Points from elsewhere, :data:`PUBLISHED_COLUMNS`; their domain may also be
            ``mean of domains``.
        metrics: Which to draw; all that have values if not given.

    Returns:
        What was written, by metric; the figure of all domains first.

    Raises:
        UsageError: If a metric is unknown.
    """
    for name in metrics or ():
        if name not in results.metrics:
            raise unknown_name("metric", name, results.metrics)
    if summary is None:
        summary = summarize(results)
    families = _families(results)
    if published is not None:
        families |= set(published["codec"].map(_family))
    styles = family_styles(families)
    folder.mkdir(parents=True, exist_ok=True)
    return [
        save_figure(plot_metric(part, info, styles), part, info.name, domain, folder)
        for info in results.metrics.values()
        if metrics is None or info.name in metrics
        for domain, part in _views(plot_table(summary, info.name, published))
    ]


def save_figure(
    figure: Figure, table: pd.DataFrame, metric: str, domain: str, folder: Path
) -> Curve:
    """Save a figure as SVG and PNG, and its table as CSV, under one name."""
    name = _slug(f"{metric}-{domain}")
    svg, png, csv = (folder / f"{name}.{ending}" for ending in ("svg", "png", "csv"))
    with mpl.rc_context(dict(RC)):
        figure.savefig(svg, metadata={"Date": None, "Creator": None})
        figure.savefig(png, metadata={"Software": None})
    table.to_csv(csv, index=False, lineterminator="\n")
    return Curve(f"{metric}, {domain or 'by domain'}", metric, domain, svg, png, csv)


def codec_colors(results: Results) -> dict[str, str]:
    """Return the colour of every codec point: that of its family, grey for anchors."""
    styles = family_styles(_families(results))
    return {
        codec: styles[info.family].color if info.family in styles else ANCHOR_COLOR
        for codec, info in results.codecs.items()
    }


def _families(results: Results) -> set[str]:
    return {info.family for info in results.codecs.values() if info.kind != "anchor"}


def _title(table: pd.DataFrame, domain: str) -> str:
    """Return the domain with its number of clips, where that is known."""
    clips = table.loc[table["domain"] == domain, "n"].max()
    return domain if pd.isna(clips) else f"{domain} ({int(clips)} clips)"


def _family(codec: str) -> str:
    return codec.partition("@")[0]


def _slug(name: str) -> str:
    """Return a name as part of a file name."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-.")


def _views(table: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    """Yield the table of all domains (if there are several, named ``""``) and those of each."""
    domains = list(table["domain"].unique())
    real = [domain for domain in domains if domain != MEAN_OF_DOMAINS]
    if len(real) > 1:
        yield "", table[table["domain"].isin(real)].reset_index(drop=True)
    for domain in domains:
        yield domain, table[table["domain"] == domain].reset_index(drop=True)


def _draw_panel(panel: Axes, table: pd.DataFrame, styles: Mapping[str, FamilyStyle]) -> None:
    """Draw the lines, points and levels of one domain."""
    points = table[table["role"] == "codec"]
    bands = points["family"].nunique() <= MOST_BANDS
    for family, line in points.groupby("family"):
        _draw_family(panel, line.sort_values("kbps"), styles[str(family)], bands)
    for family, line in table[table["role"] == "published"].groupby("family"):
        style = styles[str(family)]
        line = line.sort_values("kbps")
        panel.plot(line["kbps"], line["value"], ls=":", lw=0.8, color=style.color, zorder=3)
        panel.plot(
            line["kbps"], line["value"], ls="", marker=style.marker, color=style.color,
            markerfacecolor="white", markeredgewidth=0.9, zorder=4,
        )  # fmt: skip
    limits = value_limits(table)
    panel.set_ylim(limits.low, limits.high)
    panel.yaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 2.5, 5, 10]))


def _draw_family(panel: Axes, line: pd.DataFrame, style: FamilyStyle, bands: bool) -> None:
    """Draw one family with the intervals of its means."""
    known = line["low"].notna()
    if bands and len(line) > 1:
        panel.fill_between(
            line["kbps"], line["low"], line["high"], color=style.color, alpha=0.15, lw=0
        )
    else:
        part = line[known]
        panel.vlines(part["kbps"], part["low"], part["high"], color=style.color, lw=0.9, zorder=3)
    panel.plot(
        line["kbps"], line["value"], ls=style.line, color=style.color, marker=style.marker,
        markeredgewidth=0, zorder=4,
    )  # fmt: skip


def _natural(name: str) -> list[tuple[str, int]]:
    """Return a sorting key that puts ``x-2`` before ``x-10``."""
    return [(text.lower(), int(number or 0)) for text, number in re.findall(r"(\D*)(\d*)", name)]


def family_legend(
    table: pd.DataFrame, styles: Mapping[str, FamilyStyle], width: float
) -> tuple[list[Line2D], int]:
    """Return an entry per family, and how many rows they need below a figure of this width."""
    handles = []
    points = table[table["role"] != "anchor"]
    for family in sorted(points["family"].unique(), key=_natural):
        style = styles[family]
        ours = bool((points.loc[points["family"] == family, "role"] == "codec").any())
        handles.append(
            Line2D(
                [], [], color=style.color, marker=style.marker, ls=style.line if ours else ":",
                markeredgewidth=0 if ours else 0.9,
                markerfacecolor=style.color if ours else "white", label=family,
            )
        )  # fmt: skip
    sources = sorted(points.loc[points["role"] == "published", "source"].unique())
    if sources:
        label = f"published: {', '.join(map(str, sources))}"
        handles.append(
            Line2D(
                [], [], color="#444444", marker="o", ls=":", markerfacecolor="white", label=label
            )
        )
    if not handles:
        return [], 0
    longest = max(len(str(handle.get_label())) for handle in handles)
    # Line, spaces and the gap to the next entry take five font sizes.
    entry = (longest * LETTER_WIDTH + 5) * (FONT_SIZE - 1) / 72
    columns = max(1, min(len(handles), int(width / entry)))
    return handles, math.ceil(len(handles) / columns)
