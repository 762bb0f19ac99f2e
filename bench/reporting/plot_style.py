"""How figures look: one colour, marker and line per codec family, the same in every figure.

Colours are those of Okabe and Ito (2008), "Color universal design", without the yellow that white
paper swallows, and two dark ones beside them; marker and line tell apart what has the same colour.
"""

import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

COLORS = (
    "#D55E00", "#0072B2", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#332288", "#7F6000",
)  # fmt: skip
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "p", "h")
LINES = ("-", "--", "-.", ":")
#: Families with a look of their own in all reports, by slot; the first eight differ in colour.
KNOWN_FAMILIES = (
    "semanticodec-mini", "opus", "encodec-24khz", "mp3", "dac-16khz", "amr-nb", "g723-1", "codec2",
    "semanticodec", "aac", "encodec-48khz", "mimi", "dac-44khz", "g722", "g726", "dac-24khz",
)  # fmt: skip
ANCHOR_COLOR = "#666666"

#: A column of a two-column paper and its full width, inches.
COLUMN_WIDTH, PAGE_WIDTH = 3.5, 7.2
PANEL_HEIGHT = 2.35
FONT_SIZE, SMALL_FONT_SIZE = 8.0, 6.5

RC: Any = MappingProxyType(
    {
        "font.size": FONT_SIZE,
        "font.family": "DejaVu Sans",  # comes with matplotlib, so figures are alike everywhere
        "axes.titlesize": FONT_SIZE,
        "axes.labelsize": FONT_SIZE,
        "xtick.labelsize": FONT_SIZE - 1,
        "ytick.labelsize": FONT_SIZE - 1,
        "legend.fontsize": FONT_SIZE - 1,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.linewidth": 0.6,
        "axes.edgecolor": "#444444",
        "axes.grid": True,
        "axes.axisbelow": True,
        "grid.color": "#E6E6E6",
        "grid.linewidth": 0.5,
        "lines.linewidth": 1.2,
        "lines.markersize": 4.0,
        "xtick.major.width": 0.6,
        "ytick.major.width": 0.6,
        "legend.frameon": False,
        "legend.handlelength": 2.2,
        "svg.hashsalt": "codecbench",
        "savefig.dpi": 200,
    }
)


@dataclass(frozen=True)
class FamilyStyle:
    """The look of one codec family."""

    color: str
    marker: str
    line: str


def family_styles(families: Iterable[str]) -> dict[str, FamilyStyle]:
    """Return the look of each family.

    Known families always look the same. Others start at a slot that depends on their name alone
    and take the next free one, so they too look the same in all figures of a report.
    """
    names = sorted(set(families))
    slots = {name: KNOWN_FAMILIES.index(name) for name in names if name in KNOWN_FAMILIES}
    for name in names:
        if name not in slots:
            slots[name] = _free_slot(zlib.crc32(name.encode()) % len(COLORS), slots.values())
    return {name: _style(slot) for name, slot in slots.items()}


def _free_slot(start: int, taken: Iterable[int]) -> int:
    """Return the first free slot from ``start``: first unused colours, then unused looks."""
    used = set(taken)
    colors = {slot % len(COLORS) for slot in used}
    around = [*range(start, len(COLORS)), *range(start)]
    for slot in around:
        if slot not in colors:
            return slot
    return next(slot for slot in range(start, start + len(used) + 1) if slot not in used)


def _style(slot: int) -> FamilyStyle:
    return FamilyStyle(
        color=COLORS[slot % len(COLORS)],
        marker=MARKERS[slot % len(MARKERS)],
        line=LINES[slot // len(COLORS) % len(LINES)],
    )
