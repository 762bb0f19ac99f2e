"""BD-rate and BD-quality of a run's codecs, as a tab of its report."""

from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import SymLogNorm
from matplotlib.figure import Figure

from bench.reporting.analysis import FOLDER, META, write_analysis
from bench.reporting.clips import primary_metric
from bench.reporting.plot_style import COLUMN_WIDTH, PAGE_WIDTH, RC, SMALL_FONT_SIZE
from bench.results import Results
from bench.stats.bd_table import bd_table, curve_name

FEATURE = "rate-distortion"
SUMMARY = (
    "How much more bitrate the second codec needs for the quality of the first (BD-rate, percent; "
    "negative: it saves), and how much its quality differs at the same bitrate (BD-quality, in the "
    "metric's unit), averaged over what both curves reach: curves through the operating points "
    "over log bitrate (PCHIP), 95 % bootstrap intervals over clips. Nothing is extrapolated: where "
    "the curves have no quality or no bitrate in common the reason stands instead of a number."
)
FIGURE_NOTE = (
    "The figures show the BD-rate of each row's codec against each column's, for the first metric "
    "of the domain; a dash stands where there is none, and the table says why."
)
#: Percent beyond which colours do not tell values apart.
STRONGEST = 900.0
MINUS = "\N{MINUS SIGN}"


def write_rate_distortion(results: Results, run: Path, metrics: Sequence[str]) -> Path | None:
    """Write table and figures into the run's folder, if it has two curves to compare.

    Args:
        results: What the run measured.
        run: Its folder.
        metrics: Which are compared.

    Returns:
        The feature's folder, or None where no two codecs have two points each.
    """
    curves = curves_of(results)
    _forget(run / FOLDER / FEATURE)
    primaries = _primaries(results)
    names = [name for name in results.metrics if name in {*metrics, *primaries.values()}]
    if len(curves) < 2 or not primaries:
        return None
    table = bd_table(results, metrics=names)
    table = table[table["first"].isin(curves) & table["second"].isin(curves)]
    folder = write_analysis(
        run,
        FEATURE,
        title="Rate-distortion",
        summary=SUMMARY,
        notes=[FIGURE_NOTE],
        tables={"bd": table},
        titles={"bd": "BD-rate and BD-quality"}
        | {f"bd-rate-{domain}": f"BD-rate, {domain}" for domain in primaries},
    )
    for domain, metric in primaries.items():
        part = table[(table["domain"] == domain) & (table["metric"] == metric)]
        if part["bd_rate_percent"].notna().any():
            figure = draw_matrix(part, curves, f"BD-rate (%), {domain},\nat equal {metric}")
            with mpl.rc_context(dict(RC)):
                figure.savefig(
                    folder / f"bd-rate-{domain}.svg", metadata={"Date": None, "Creator": None}
                )
    return folder


def curves_of(results: Results) -> list[str]:
    """Return the codecs that were measured at two bitrates or more."""
    rows = results.rows[results.rows["kind"] != "anchor"]
    rates = rows.assign(curve=rows["codec"].map(curve_name)).groupby("curve", sort=False)["codec"]
    return [str(name) for name, points in rates.nunique().items() if points > 1]


def _primaries(results: Results) -> dict[str, str]:
    domains = map(str, results.clips["domain"].unique())
    found = {domain: primary_metric(results, domain) for domain in domains}
    return {domain: metric for domain, metric in found.items() if metric}


def _forget(folder: Path) -> None:
    """Remove what an earlier report wrote: its curves may be gone."""
    for path in (folder / META, folder / "bd.csv", *folder.glob("bd-rate-*.svg")):
        path.unlink(missing_ok=True)


def draw_matrix(table: pd.DataFrame, curves: Sequence[str], title: str) -> Figure:
    """Draw the BD-rate of every codec (row) against every other (column).

    Args:
        table: Of one domain and metric; each pair once.
        curves: The codecs in order.
        title: Heading.
    """
    percent = matrix(table, curves)
    width = min(PAGE_WIDTH, max(COLUMN_WIDTH, 1.4 + 0.62 * len(curves)))
    with mpl.rc_context(dict(RC)):
        figure = Figure(figsize=(width, 1.1 + 0.34 * len(curves)), layout="constrained")
        FigureCanvasAgg(figure)
        panel = figure.subplots()
        norm = SymLogNorm(linthresh=20, vmin=-STRONGEST, vmax=STRONGEST)
        panel.imshow(percent, cmap="RdBu_r", norm=norm, aspect="auto", alpha=0.75)
        panel.grid(visible=False)
        panel.set_xticks(range(len(curves)), curves, rotation=30, ha="right")
        panel.set_yticks(range(len(curves)), curves)
        panel.set_title(title)
        for (row, column), value in np.ndenumerate(percent):
            text = (
                ""
                if row == column
                else "\N{EN DASH}"
                if np.isnan(value)
                else f"{value:+.0f}".replace("-", MINUS)
            )
            panel.text(column, row, text, ha="center", va="center", fontsize=SMALL_FONT_SIZE)
    return figure


def matrix(table: pd.DataFrame, curves: Sequence[str]) -> np.ndarray:
    """Return the BD-rate of row against column, percent; NaN where there is none.

    The mean distance of log bitrates only changes its sign when the codecs are swapped.
    """
    percent = np.full((len(curves), len(curves)), np.nan)
    pairs = zip(table["first"], table["second"], table["bd_rate_percent"], strict=True)
    for first, second, value in pairs:
        percent[curves.index(second), curves.index(first)] = value
        percent[curves.index(first), curves.index(second)] = 100 * (1 / (1 + value / 100) - 1)
    return percent
