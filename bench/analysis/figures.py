"""Two kinds of figures for all analyses: lines over a quantity, and bars by codec.

Colours, markers and lines are those of the bitrate-quality curves, one per codec family.
"""

import math
from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from bench.reporting.plot_style import LINES, PAGE_WIDTH, PANEL_HEIGHT, RC, family_styles

MOST_COLUMNS = 3
BAR_HEIGHT = 0.09  # of a bar, and of the space beside a group, inches


def line_figure(
    table: pd.DataFrame,
    *,
    x: str,
    y: str,
    panel: str,
    low: str = "ci_low",
    high: str = "ci_high",
    x_label: str,
    y_label: str,
    even: bool = False,
) -> Figure:
    """Draw a line per codec in a panel per value of a column.

    Args:
        table: Columns ``codec``, ``family`` and those named below; rows without a value are left
            out.
        x: Column of the x axis.
        y: Column of the y axis.
        panel: Column that parts the panels.
        low: Lower end of the interval.
        high: Upper end.
        x_label: Of all panels.
        y_label: Of all panels.
        even: Whether x values are set at even distances, as rates from 0 over decades have to.
    """
    shown = table[table[y].notna()]
    names = list(dict.fromkeys(shown[panel]))
    with mpl.rc_context(RC):
        figure, panels = _panels(names)
        places = {value: i for i, value in enumerate(sorted(set(shown[x])))} if even else None
        for axes, name in zip(panels, names, strict=True):
            _draw_lines(axes, shown[shown[panel] == name], x, (y, low, high), places)
            axes.set(title=str(name), xlabel=x_label, ylabel=y_label)
            ticks = places or {value: value for value in sorted(set(shown[x]))}
            axes.set_xticks(list(ticks.values()), [f"{value:g}" for value in ticks])
        _add_legend(figure, panels)
    return figure


def _draw_lines(
    axes: Axes,
    table: pd.DataFrame,
    x: str,
    columns: tuple[str, str, str],
    places: dict[float, int] | None,
) -> None:
    styles = family_styles(table["family"])
    nth: dict[str, int] = {}
    for codec, rows in table.groupby("codec", sort=True):
        family = str(rows["family"].iloc[0])
        style, number = styles[family], nth.setdefault(family, 0)
        nth[family] += 1
        ordered = rows.sort_values(x)
        where = [places[value] for value in ordered[x]] if places else ordered[x].tolist()
        y, low, high = (ordered[name].to_numpy(dtype=float) for name in columns)
        axes.fill_between(where, low, high, color=style.color, alpha=0.12, linewidth=0)
        axes.plot(where, y, color=style.color, marker=style.marker, label=str(codec),
                  linestyle=LINES[number % len(LINES)])  # fmt: skip


def bar_figure(
    table: pd.DataFrame,
    *,
    category: str,
    bars: Sequence[tuple[str, str, str]],
    panel: str,
    x_label: str,
    level: str | None = None,
) -> Figure:
    """Draw groups of lying bars: a group per category, a bar per column of values.

    Args:
        table: A row per category and panel.
        category: Column that names the groups.
        bars: (label, column of the value, prefix of its ``_low`` and ``_high`` columns or "").
        panel: Column that parts the panels.
        x_label: Of all panels.
        level: Column of a value drawn as a dashed line (its mean over the panel), such as chance.
    """
    names = list(dict.fromkeys(table[panel]))
    groups = list(dict.fromkeys(table[category]))
    with mpl.rc_context(RC):
        height = 0.5 + BAR_HEIGHT * len(groups) * (len(bars) + 1)
        figure, panels = _panels(names, height=height, sharey=True)
        panels[0].set_yticks(range(len(groups)), groups)
        panels[0].invert_yaxis()
        for axes, name in zip(panels, names, strict=True):
            rows = table[table[panel] == name]
            _draw_bars(axes, rows.drop_duplicates(category).set_index(category), groups, bars)
            if level is not None and rows[level].notna().any():
                axes.axvline(float(rows[level].mean()), color="#666666", linestyle="--",
                             linewidth=0.8, label="chance")  # fmt: skip
            axes.set(title=str(name), xlabel=x_label)
        _add_legend(figure, panels)
    return figure


def _draw_bars(
    axes: Axes, rows: pd.DataFrame, groups: list[str], bars: Sequence[tuple[str, str, str]]
) -> None:
    from bench.reporting.plot_style import COLORS

    width = 0.8 / len(bars)
    for number, (label, column, prefix) in enumerate(bars):
        at = np.arange(len(groups)) + (number - (len(bars) - 1) / 2) * width
        values = rows[column].reindex(groups).to_numpy(dtype=float)
        axes.barh(at, np.nan_to_num(values), width, label=label, color=COLORS[number % len(COLORS)])
        if prefix:
            low, high = (rows[f"{prefix}_{end}"].reindex(groups).to_numpy(dtype=float)
                         for end in ("low", "high"))  # fmt: skip
            spread = np.nan_to_num(np.stack([values - low, high - values])).clip(min=0)
            axes.errorbar(values, at, xerr=spread, fmt="none", ecolor="#333333", elinewidth=0.7)
    axes.tick_params(axis="y", labelsize=6)
    axes.grid(axis="y", visible=False)


def _panels(
    names: Sequence[Any], *, height: float = 1.25 * PANEL_HEIGHT, sharey: bool = False
) -> tuple[Figure, list[Axes]]:
    """Return a figure with a panel per name, at most three in a row."""
    columns = max(1, min(MOST_COLUMNS, len(names)))
    rows = max(1, math.ceil(len(names) / columns))
    figure = Figure(figsize=(PAGE_WIDTH, 0.3 + height * rows), layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.subplots(rows, columns, squeeze=False, sharey=sharey).ravel().tolist()
    for spare in grid[len(names) :]:
        spare.set_visible(False)
    return figure, grid[: len(names)]


def _add_legend(figure: Figure, panels: Sequence[Axes]) -> None:
    found: dict[str, Any] = {}
    for axes in panels:
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            found.setdefault(label, handle)
    if found:
        figure.legend(list(found.values()), list(found), loc="outside lower center", ncols=4)
