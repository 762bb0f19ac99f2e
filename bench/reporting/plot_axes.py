"""Axes of the bitrate-quality curves: limits, ticks at powers of two, names of levels."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from bench.reporting.plot_style import ANCHOR_COLOR, SMALL_FONT_SIZE

MOST_TICKS = 8
#: Levels further from the points than this share of their range are named at the edge instead.
FAR_LEVEL = 0.75
#: How many names of levels fit above each other.
LINES_PER_PANEL = 14
#: Most of the width that is kept free of points for the names of the levels.
MOST_NAMES_WIDTH = 0.5
#: Share of the width between the end of a level and its name.
LEADER_WIDTH = 0.04
#: Width of a letter by the font size, and of the y axis with its labels, inches.
LETTER_WIDTH, Y_AXIS_WIDTH = 0.6, 0.45


@dataclass(frozen=True)
class Limits:
    """Of a y axis.

    Attributes:
        low: Where the axis begins.
        high: Where it ends.
        lowest: The lowest value that is drawn; below it are only names of levels.
        highest: The highest value that is drawn.
    """

    low: float
    high: float
    lowest: float
    highest: float


def value_limits(table: pd.DataFrame) -> Limits:
    """Return the limits of the y axis: all points, and the levels that are not far from them.

    Room is kept at the edges for the names of those that are far.
    """
    levels = table.loc[table["role"] == "anchor", "value"]
    points = table[table["role"] != "anchor"]
    shown = pd.concat([points["value"], points["low"], points["high"]]).dropna()
    if shown.empty:
        shown = levels
    reach = FAR_LEVEL * (shown.max() - shown.min())
    below, above = levels < shown.min() - reach, levels > shown.max() + reach
    near = levels[~below & ~above]
    lowest, highest = min([*near, shown.min()]), max([*near, shown.max()])
    margin = 0.06 * (highest - lowest) or 0.05 * abs(highest) or 1.0
    names = int(below.sum() + above.sum())
    line = (highest - lowest + 2 * margin) / max(LINES_PER_PANEL - names, 5)
    return Limits(
        low=lowest - margin - line * below.sum(),
        high=highest + margin + line * above.sum(),
        lowest=lowest,
        highest=highest,
    )


def set_bitrate_axis(panels: Sequence[Axes], table: pd.DataFrame) -> None:
    """Make the x axes logarithmic with ticks at powers of two, and keep room for level names."""
    rates = table["kbps"].dropna()
    low, high = (rates.min() / 1.3, rates.max() * 1.3) if len(rates) else (1.0, 2.0)
    ticks = _ticks(low, high, MOST_TICKS if len(panels) == 1 else MOST_TICKS - 1)
    high = low * (high / low) ** (1 / (1 - names_width(panels, table)))
    for panel in panels:
        panel.set_xscale("log")
        panel.set_xlim(low, high)
        panel.xaxis.set_major_locator(FixedLocator(ticks if len(rates) else []))
        panel.xaxis.set_major_formatter(FuncFormatter(lambda rate, _: f"{rate:g}"))
        panel.xaxis.set_minor_locator(NullLocator())


def names_width(panels: Sequence[Axes], table: pd.DataFrame) -> float:
    """Return the share of a panel's width that the names of levels take."""
    letters = [
        len(name) * LETTER_WIDTH * SMALL_FONT_SIZE / 72
        for _, part in table.groupby("domain")
        for name in _level_names(part)["name"]
    ]
    page = panels[0].figure
    width = page.bbox.width / page.dpi / len(panels) - Y_AXIS_WIDTH
    return min(max(letters) / width + LEADER_WIDTH + 0.03, MOST_NAMES_WIDTH) if letters else 0.0


def _level_names(table: pd.DataFrame) -> pd.DataFrame:
    """Return value, name and whether it is drawn of the levels of one panel, lowest first."""
    limits = value_limits(table)
    levels = table[table["role"] == "anchor"].sort_values("value")
    return pd.DataFrame(
        {
            "value": levels["value"],
            "drawn": levels["value"].between(limits.lowest, limits.highest),
            "name": [
                f"{codec} {value:.3g} ↓"
                if value < limits.lowest
                else f"{codec} {value:.3g} ↑"
                if value > limits.highest
                else codec
                for codec, value in zip(levels["codec"], levels["value"], strict=True)
            ],
        }
    )


def _ticks(low: float, high: float, most: int) -> list[float]:
    """Return powers of two, thinned out where they are many, with 1.5 times where they are few."""
    exponents = range(math.floor(math.log2(low)), math.ceil(math.log2(high)) + 1)
    powers = [2.0**exponent for exponent in exponents if low <= 2.0**exponent <= high]
    if len(powers) > 2:
        return powers[:: math.ceil(len(powers) / most)]
    halves = [factor * 2.0**exponent for exponent in exponents for factor in (1, 1.5)]
    return [rate for rate in halves if low <= rate <= high]


def draw_levels(panel: Axes, table: pd.DataFrame, width: float) -> None:
    """Draw the levels as dashed lines, each led to its name at the right.

    Names move apart where they would overlap. A level too far away to be drawn is only named, with
    its value, at the edge it lies behind.

    Args:
        panel: Its size must be final.
        table: Of this panel.
        width: Share of the panel for the names, from :func:`names_width`.
    """
    limits = value_limits(table)
    levels = _level_names(table)
    span = limits.high - limits.low
    points_per_unit = panel.get_window_extent().height * 72 / panel.figure.dpi / span
    gap = 1.25 * SMALL_FONT_SIZE / points_per_unit
    bottom, top = limits.low + 0.7 * gap, limits.high - 0.5 * gap
    heights = spread_apart([min(max(level, bottom), top) for level in levels["value"]], gap, top)
    start, end = 1 - width, 1 - width + LEADER_WIDTH
    across = panel.get_yaxis_transform()
    look: dict[str, Any] = {"color": ANCHOR_COLOR, "lw": 0.7, "transform": across, "zorder": 2}
    for level, drawn, name, height in zip(
        levels["value"], levels["drawn"], levels["name"], heights, strict=True
    ):
        if drawn:
            panel.plot([0, start], [level, level], ls=(0, (4, 3)), **look)
            panel.plot([start, end], [level, height], **look)
        panel.text(
            end + 0.01 if drawn else 1.0, height, name, ha="left" if drawn else "right",
            transform=across, va="center_baseline", fontsize=SMALL_FONT_SIZE, color=ANCHOR_COLOR,
            zorder=5, bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.3},
        )  # fmt: skip


def spread_apart(heights: Sequence[float], gap: float, top: float) -> list[float]:
    """Return ascending heights moved as little as needed to be ``gap`` apart and below ``top``.

    Example:
        >>> spread_apart([1.0, 1.5, 4.0], gap=1.0, top=4.0)
        [1.0, 2.0, 4.0]
        >>> spread_apart([3.0, 3.5, 4.0], gap=1.0, top=4.0)
        [2.0, 3.0, 4.0]
    """
    placed: list[float] = []
    for height in heights:
        placed.append(max(height, placed[-1] + gap) if placed else height)
    for index in range(len(placed) - 1, -1, -1):
        limit = top if index == len(placed) - 1 else placed[index + 1] - gap
        placed[index] = min(placed[index], limit)
    return placed
