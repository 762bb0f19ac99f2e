"""A paper's table beside ours: values, differences, agreement of order, and the headline curve.

Written for SemantiCodec's Table II (:mod:`bench.paper` measures it). The paper names four
quantities; for each there are several metrics of ours, and which of them is meant is a finding,
not an assumption: all are listed.
"""

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from bench.reporting.layout import with_declared_bitrates
from bench.reporting.plot_style import family_styles
from bench.reporting.plots import plot_metric, plot_table
from bench.results import Results
from bench.stats.cells import MEAN_OF_DOMAINS, domain_rank

#: Table whose rows are compared, as its points name their source.
SOURCE_ENDING = "Table II"
#: What the paper measured -> how the names of our metrics for it begin.
QUANTITIES = {
    "ViSQOL": ("visqol-",),
    "MEL": ("mel-", "logmel-"),
    "STFT": ("stft-", "mrstft"),
    "WER": ("wer", "dwer"),
}
#: The metric of each quantity that the report shows next to the paper's.
SHOWN = {
    "ViSQOL": "visqol-speech-exp",
    "MEL": "mel-dac-7scale:level=matched,unit=db",
    "STFT": "stft-dac-eval:level=matched",
    "WER": "dwer",
}
CURVE_METRIC = SHOWN["ViSQOL"]
SYSTEM_COLUMNS = ("system", "family", "codec", "variant", "kbps")
SIDE_COLUMNS = (
    "system", "kbps", "domain", "quantity", "metric", "ours", "ci_low", "ci_high", "n",
    "n_failed", "published", "difference",
)  # fmt: skip
AGREEMENT_COLUMNS = (
    "quantity", "metric", "domain", "systems", "spearman", "pearson", "mean_abs_difference",
    "max_abs_difference", "bias", "published_over_ours",
)  # fmt: skip
#: With fewer systems a correlation says nothing.
LEAST_SYSTEMS = 4


@dataclass(frozen=True)
class Reproduction:
    """The comparison as tables.

    Attributes:
        sides: One row per system, domain and metric: :data:`SIDE_COLUMNS`.
        agreement: One row per metric and domain: :data:`AGREEMENT_COLUMNS`.
    """

    sides: pd.DataFrame
    agreement: pd.DataFrame


def table_two(points: pd.DataFrame) -> pd.DataFrame:
    """Return the paper's table: codec, variant, kbps, domain, quantity, published.

    Args:
        points: From :func:`bench.reporting.reference_points.load_points`.
    """
    rows = points[points["source"].str.endswith(SOURCE_ENDING)]
    quantity = rows["published_metric"].str.extract(r"^(\w+)")[0]
    rows = rows.assign(quantity=quantity, published=rows["value"])
    names = ["codec", "variant", "kbps", "domain", "quantity", "published"]
    return rows.loc[quantity.isin(QUANTITIES), names].reset_index(drop=True)


def compare(summary: pd.DataFrame, systems: pd.DataFrame, points: pd.DataFrame) -> Reproduction:
    """Return our means beside the paper's.

    Args:
        summary: From :func:`bench.stats.summary.summarize`.
        systems: :data:`SYSTEM_COLUMNS`; ``codec`` and ``variant`` as the points name them.
        points: Published points.
    """
    ours = summary.rename(columns={"codec": "system", "mean": "ours"})
    ours = ours.assign(quantity=ours["metric"].map(_quantity))
    ours = ours.dropna(subset=["quantity"]).drop(columns=["family", "kind"])
    percent = ours["quantity"] == "WER"  # the paper prints percent, we measure fractions
    for name in ("ours", "ci_low", "ci_high"):
        ours[name] = ours[name].where(~percent, 100 * ours[name])
    published = systems.merge(table_two(points), on=["codec", "variant", "kbps"])
    sides = ours.merge(
        published[["system", "domain", "quantity", "published"]],
        on=["system", "domain", "quantity"],
        how="left",
    )
    sides = sides.merge(systems[["system", "kbps"]], on="system")
    sides["difference"] = sides["ours"] - sides["published"]
    sides = sides[list(SIDE_COLUMNS)]
    return Reproduction(sides, _agreement(sides))


def _quantity(metric: str) -> str | None:
    return next((name for name, starts in QUANTITIES.items() if metric.startswith(starts)), None)


def _agreement(sides: pd.DataFrame) -> pd.DataFrame:
    """Return how well each metric agrees with the paper over the systems of a domain."""
    both = sides.dropna(subset=["ours", "published", "kbps"])
    rows = []
    for (quantity, metric, domain), cell in both.groupby(["quantity", "metric", "domain"]):
        if len(cell) < LEAST_SYSTEMS:
            continue
        ours, theirs, apart = cell["ours"], cell["published"], cell["difference"]
        rows.append(
            {
                "quantity": quantity,
                "metric": metric,
                "domain": domain,
                "systems": len(cell),
                "spearman": ours.rank().corr(theirs.rank()),
                "pearson": ours.corr(theirs),
                "mean_abs_difference": apart.abs().mean(),
                "max_abs_difference": apart.abs().max(),
                "bias": apart.mean(),
                "published_over_ours": (theirs / ours).median(),
            }
        )
    table = pd.DataFrame(rows, columns=list(AGREEMENT_COLUMNS))
    order = table["domain"].map(domain_rank)
    return table.assign(order=order).sort_values(
        ["quantity", "metric", "order"], ignore_index=True
    )[list(AGREEMENT_COLUMNS)]


# --- writing ---------------------------------------------------------------------------------


def write_reproduction(
    results: Results, systems: pd.DataFrame, points: pd.DataFrame, folder: Path
) -> Path:
    """Write ``reproduction.md``, its two tables as CSV, and the headline curve.

    Returns:
        The Markdown file.
    """
    summary = results.table()
    found = compare(summary, systems, points)
    folder.mkdir(parents=True, exist_ok=True)
    found.sides.to_csv(folder / "comparison.csv", index=False)
    found.agreement.to_csv(folder / "agreement.csv", index=False)
    has_curve = CURVE_METRIC in results.metrics
    if has_curve:
        draw_headline(results, summary, systems, points, folder / "visqol-vs-kbps")
    path = folder / "reproduction.md"
    path.write_text(_markdown(found, results, has_curve), encoding="utf-8")
    return path


def draw_headline(
    results: Results, summary: pd.DataFrame, systems: pd.DataFrame, points: pd.DataFrame, stem: Path
) -> None:
    """Draw ViSQOL against bitrate, ours filled and the paper's hollow, and keep its table.

    Ours stand at their declared bitrates: nothing was coded here.
    """
    summary = with_declared_bitrates(summary)
    theirs = systems.merge(table_two(points), on=["codec", "variant", "kbps"])
    theirs = theirs[theirs["quantity"] == "ViSQOL"]
    published = pd.DataFrame(
        {
            "codec": theirs["family"],
            "kbps": theirs["kbps"],
            "metric": CURVE_METRIC,
            "domain": theirs["domain"],
            "value": theirs["published"],
            "source": f"arXiv 2405.00233v2 {SOURCE_ENDING}",
        }
    )
    table = plot_table(summary, CURVE_METRIC, published)
    styles = family_styles(table["family"].dropna())
    figure = plot_metric(table, results.metrics[CURVE_METRIC], styles)
    for suffix in (".svg", ".png"):
        figure.savefig(stem.with_suffix(suffix))
    table.to_csv(stem.with_suffix(".csv"), index=False)


def _markdown(found: Reproduction, results: Results, has_curve: bool) -> str:
    counts = results.clips["domain"].value_counts()
    clips = ", ".join(f"{counts[name]} {name}" for name in sorted(counts.index, key=domain_rank))
    parts = [
        "# SemantiCodec's Table II, from the audio its authors released",
        f"{len(results.clips)} clips ({clips}) of the paper's 1050. Ours with the 95 % bootstrap "
        "interval over clips; the paper prints none. Released files are peak-normalised: MEL and "
        "STFT are shown with levels matched. WER here is against the recogniser's own transcript "
        "of the ground truth unless transcripts were given, in percent.",
    ]
    if has_curve:
        parts.append("![ViSQOL against bitrate](visqol-vs-kbps.svg)")
    for domain in sorted(found.sides["domain"].unique(), key=domain_rank):
        parts += [f"## {domain}", _domain_table(found.sides, domain)]
    parts += ["## How well each of our metrics agrees with the paper's", _plain(found.agreement)]
    return "\n\n".join(parts) + "\n"


def _domain_table(sides: pd.DataFrame, domain: str) -> str:
    here = sides[sides["domain"] == domain]
    shown = {
        quantity: metric
        for quantity, metric in SHOWN.items()
        if here.loc[here["metric"] == metric, "ours"].notna().any()
    }
    if "wer" in set(here["metric"]):
        shown["WER"] = "wer"
    header = ["system", "kbps"]
    for quantity, metric in shown.items():
        header += [f"{quantity}: {metric}", "paper", "difference"]
    lines = []
    for system, group in here.groupby("system", sort=False):
        kbps = group["kbps"].iloc[0]
        cells = [str(system), "" if pd.isna(kbps) else f"{kbps:g}"]
        for metric in shown.values():
            cells += _cells(group[group["metric"] == metric])
        lines.append(cells)
    if domain == MEAN_OF_DOMAINS:
        lines = [line for line in lines if any(line[2:])]
    return _table(header, lines)


def _cells(row: pd.DataFrame) -> list[str]:
    """Return ours with its interval, the paper's, and the difference."""
    if row.empty:
        return ["", "", ""]
    one = row.iloc[0]
    failed = f"({one['n_failed']} failed)" if one["n_failed"] else ""
    published = "" if pd.isna(one["published"]) else f"{one['published']:.2f}"
    if pd.isna(one["ours"]):
        return [failed, published if failed else "", ""]
    half = (one["ci_high"] - one["ci_low"]) / 2
    interval = "" if pd.isna(half) else f"± {half:.2f}"
    ours = " ".join(filter(None, [f"{one['ours']:.2f}", interval, failed]))
    return [ours, published, f"{one['difference']:+.2f}" if published else ""]


def _plain(table: pd.DataFrame) -> str:
    lines = [
        [f"{cell:.3f}" if isinstance(cell, float) else str(cell) for cell in row]
        for row in table.itertuples(index=False)
    ]
    return _table([str(name).replace("_", " ") for name in table.columns], lines)


def _table(header: list[str], lines: list[list[str]]) -> str:
    rows = [header, ["---"] * len(header), *lines]
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)
