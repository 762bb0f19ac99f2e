"""Quality against speed, beside quality against bitrate."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import matplotlib as mpl
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from bench.reporting.analysis import FOLDER, add_titles, write_analysis
from bench.reporting.plot_style import PAGE_WIDTH, RC, FamilyStyle, family_styles
from bench.reporting.plots import family_legend
from bench.results import MetricInfo, Results
from bench.stats.cells import MEAN_OF_DOMAINS, domain_rank

FEATURE = "speed"
#: Columns of the table beside each figure.
COLUMNS = ("codec", "family", "domain", "kbps", "rtf", "value", "low", "high", "role", "source")
CLEAN_LABEL = "encode + decode, seconds per second of audio"
CPU_LABEL = "encode + decode, CPU seconds per second of audio"
RUN_LABEL = "encode + decode, s per s of audio (during the run)"
RUN_SUMMARY = (
    "Quality against time, as coding took it during the run, when its workers shared the machine. "
    "The command run_bench.py speed measures each codec by itself, with latency, memory, "
    "parameters and operations."
)
PANEL_HEIGHT = 1.9


def draw_speed(
    results: Results, summary: pd.DataFrame, run: Path, metrics: Sequence[str]
) -> list[Path]:
    """Write a figure per metric into ``analysis/speed`` and return them.

    Times are those of ``run_bench.py speed`` where it has measured codecs of this run, else those
    of the run itself.

    Args:
        results: What a run measured.
        summary: By codec, domain and metric.
        run: The run's folder.
        metrics: Which are drawn, if they have values.
    """
    folder = run / FOLDER / FEATURE
    for path in folder.glob("quality-*"):
        path.unlink()
    factors, label = real_time_factors(results, folder / "speed.csv")
    tables = {name: speed_points(summary, factors, name) for name in metrics}
    tables = {name: table for name, table in tables.items() if table["rtf"].notna().any()}
    if tables:
        _write_meta(run, tables)
    return [_save(table, results.metrics[name], label, folder) for name, table in tables.items()]


def real_time_factors(results: Results, measured: Path) -> tuple[Mapping[str, float], str]:
    """Return the time that encoding and decoding take by codec, and what to call it."""
    rows = _measured(measured, set(results.codecs))
    if len(rows):
        contended = rows["contended"].fillna(False).astype(bool) & (rows["device"] == "cpu")
        kind = "_cpu" if contended.any() else ""
        total = rows[f"rtf_encode{kind}"] + rows[f"rtf_decode{kind}"]
        return dict(zip(rows["codec"], total, strict=True)), CPU_LABEL if kind else CLEAN_LABEL
    means = results.rows.groupby(["metric", "codec"])["value"].mean()
    encode, decode = (
        {str(codec): float(means[name, codec]) for metric, codec in means.index if metric == name}
        for name in ("rtf-encode", "rtf-decode")
    )
    return {codec: encode[codec] + decode[codec] for codec in encode if codec in decode}, RUN_LABEL


def _measured(path: Path, codecs: set[str]) -> pd.DataFrame:
    """Return the rows of these codecs on the device and machine that have most of them."""
    rows = pd.read_csv(path) if path.is_file() else pd.DataFrame()
    if not {"codec", "status", "device", "machine", "contended"} <= set(rows):
        return rows.head(0)  # not there, or somebody else's file
    rows = rows[rows["codec"].isin(codecs)]
    rows = rows[rows["status"] == "ok"]
    places = [part for _, part in rows.groupby(["device", "machine"], sort=True)]
    return max(places, key=len, default=rows)


def speed_points(summary: pd.DataFrame, factors: Mapping[str, float], metric: str) -> pd.DataFrame:
    """Return one row per codec point and domain, :data:`COLUMNS`; anchors are left out."""
    chosen = (summary["metric"] == metric) & summary["mean"].notna() & (summary["n"] > 0)
    chosen &= (summary["kind"] != "anchor") & (summary["domain"] != MEAN_OF_DOMAINS)
    lines = summary[chosen].rename(
        columns={"measured_kbps": "kbps", "mean": "value", "ci_low": "low", "ci_high": "high"}
    )
    lines = lines.assign(rtf=lines["codec"].map(factors).astype(float), role="codec", source="")
    return lines.reindex(columns=list(COLUMNS)).reset_index(drop=True)


def plot_speed(
    table: pd.DataFrame, metric: MetricInfo, styles: Mapping[str, FamilyStyle], label: str
) -> Figure:
    """Draw a row of two panels for each domain: over bitrate, and over time.

    Args:
        table: From :func:`speed_points`.
        metric: For the y axis.
        styles: Of the families.
        label: Of the time axis.
    """
    domains = sorted(table["domain"].unique(), key=domain_rank)
    with mpl.rc_context(dict(RC)):
        handles, rows = family_legend(table, styles, PAGE_WIDTH)
        height = PANEL_HEIGHT * len(domains) + 0.165 * rows
        figure = Figure(figsize=(PAGE_WIDTH, height), layout="constrained")
        FigureCanvasAgg(figure)
        panels = figure.subplots(len(domains), 2, sharex="col", sharey="row", squeeze=False)
        for (over_rate, over_time), domain in zip(panels, domains, strict=True):
            part = table[table["domain"] == domain]
            over_time.axvline(1, color="#444444", lw=0.8, ls=":")  # real time
            _draw(over_rate, part, "kbps", styles)
            _draw(over_time, part, "rtf", styles)
            over_rate.set_title(domain)
        panels[-1][0].set_xlabel("bitrate (kbps)")
        panels[-1][1].set_xlabel(label)
        figure.supylabel(metric.label, fontsize=RC["axes.labelsize"])
        columns = -(-len(handles) // rows) if rows else 1
        figure.legend(handles=handles, loc="outside lower center", ncols=columns)
    return figure


def _draw(panel: Axes, table: pd.DataFrame, column: str, styles: Mapping[str, FamilyStyle]) -> None:
    """Draw the points of one domain over bitrate or time, a family joined by a line."""
    for family, points in table[table[column] > 0].groupby("family"):
        style, points = styles[str(family)], points.sort_values("kbps")
        panel.vlines(points[column], points["low"], points["high"], color=style.color, lw=0.9)
        panel.plot(
            points[column], points["value"], ls=style.line, color=style.color,
            marker=style.marker, markeredgewidth=0, lw=1.2 if column == "kbps" else 0,
        )  # fmt: skip
    panel.set_xscale("log")
    low, high = panel.get_xlim()
    panel.xaxis.set_major_locator(FixedLocator(_ticks(low, high, column)))
    panel.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    panel.xaxis.set_minor_locator(NullLocator())


def _ticks(low: float, high: float, column: str) -> list[float]:
    """Return powers of two of a bitrate; of a time powers of ten, with 2 and 5 where they fit."""
    if column == "kbps":
        powers = [2.0**exponent for exponent in range(-5, 12) if low <= 2.0**exponent <= high]
        return powers[:: -(-len(powers) // 8)] if powers else []
    steps = (1,) if high / low > 1e3 else (1, 2, 5)
    ticks = [step * 10.0**exponent for exponent in range(-9, 9) for step in steps]
    return [tick for tick in ticks if low <= tick <= high]


def _save(table: pd.DataFrame, metric: MetricInfo, label: str, folder: Path) -> Path:
    figure = plot_speed(table, metric, family_styles(table["family"]), label)
    path = folder / f"quality-{metric.name}.svg"
    with mpl.rc_context(dict(RC)):
        figure.savefig(path, metadata={"Date": None, "Creator": None})
    return path


def _write_meta(run: Path, metrics: Iterable[str]) -> None:
    """Head the figures, and say what they are where no one has measured codecs by themselves."""
    folder = run / FOLDER / FEATURE
    if not (folder / "speed.csv").is_file():
        write_analysis(run, FEATURE, title="Speed", summary=RUN_SUMMARY, tables={})
    add_titles(folder, {f"quality-{name}": f"{name} against bitrate and time" for name in metrics})
