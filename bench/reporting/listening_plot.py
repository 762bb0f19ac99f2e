"""The scores of a listening test, as papers draw them: a box per system, a panel per domain."""

from pathlib import Path

import matplotlib as mpl
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from bench.reporting.plot_style import ANCHOR_COLOR, PAGE_WIDTH, RC, family_styles
from bench.stats.cells import domain_rank

#: MUSHRA's scale; its words (bad, poor, fair, good, excellent) change here.
SCALE = (0, 20, 40, 60, 80, 100)
HEIGHT = 3.2


def save_scores(ratings: pd.DataFrame, means: pd.DataFrame, path: Path) -> None:
    """Write the figure as SVG.

    Args:
        ratings: That count, with ``domain``, ``codec``, ``role``, ``score``.
        means: With ``domain``, ``codec``, ``mean``, ``ci_low``, ``ci_high``.
        path: Of the figure.
    """
    figure = plot_scores(ratings, means)
    with mpl.rc_context(dict(RC)):
        figure.savefig(path, metadata={"Date": None, "Creator": None})


def plot_scores(ratings: pd.DataFrame, means: pd.DataFrame) -> Figure:
    """Draw the scores; see :func:`save_scores`."""
    domains = sorted(ratings["domain"].unique(), key=domain_rank)
    order = _order(ratings)
    families = {codec.partition("@")[0] for codec in ratings["codec"]}
    colors = {family: style.color for family, style in family_styles(families).items()}
    with mpl.rc_context(dict(RC)):
        figure = Figure(figsize=(PAGE_WIDTH, HEIGHT), layout="constrained")
        FigureCanvasAgg(figure)
        panels = figure.subplots(1, len(domains), sharex=True, sharey=True, squeeze=False)[0]
        for panel, domain in zip(panels, domains, strict=True):
            part = ratings[ratings["domain"] == domain]
            _draw(panel, part, means[means["domain"] == domain], order, colors)
            counts = f"{part['trial'].nunique()} clips, {part['rater'].nunique()} raters"
            panel.set_title(f"{domain} ({counts})")
        panels[0].set_ylabel("MUSHRA score")
    return figure


def _order(ratings: pd.DataFrame) -> list[str]:
    """Return the codecs from the left: the reference, systems by mean score, anchors."""
    ranks = {"reference": 0, "system": 1, "anchor": 2}
    roles = dict(zip(ratings["codec"], ratings["role"], strict=True))
    means = ratings.groupby("codec")["score"].mean()
    return sorted(roles, key=lambda codec: (ranks[roles[codec]], -means[codec], codec))


def _draw(
    panel: Axes,
    ratings: pd.DataFrame,
    means: pd.DataFrame,
    order: list[str],
    colors: dict[str, str],
) -> None:
    scores = ratings.groupby("codec")["score"]
    roles = dict(zip(ratings["codec"], ratings["role"], strict=True))
    present = [codec for codec in order if codec in roles]
    places = [order.index(codec) for codec in present]
    boxes = panel.boxplot(
        [scores.get_group(codec).to_numpy() for codec in present],
        positions=places,
        widths=0.6,
        patch_artist=True,
        flierprops={"marker": ".", "markersize": 2, "markeredgecolor": "#999999"},
        medianprops={"color": "#222222", "linewidth": 0.9},
        whiskerprops={"linewidth": 0.7},
        capprops={"linewidth": 0.7},
        boxprops={"linewidth": 0.7},
    )
    for box, codec in zip(boxes["boxes"], present, strict=True):
        is_system = roles[codec] == "system"
        box.set_facecolor(colors[codec.partition("@")[0]] if is_system else ANCHOR_COLOR)
        box.set_alpha(0.45)
    for line in means.to_dict("records"):
        place = order.index(line["codec"])
        panel.vlines(place, line["ci_low"], line["ci_high"], color="black", lw=1.4, zorder=4)
        panel.plot(place, line["mean"], marker="D", ms=3, color="black", zorder=5)
    panel.set_xticks(range(len(order)), order, rotation=40, ha="right", rotation_mode="anchor")
    panel.set_xlim(-0.5, len(order) - 0.5)
    panel.set_ylim(-2, 102)
    panel.set_yticks(SCALE)
