"""The commands ``tokens`` and ``robustness``."""

import argparse
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pandas as pd
from rich.console import Console
from rich.table import Table

from bench.analysis.output import Analysis
from bench.analysis.robustness import DAMAGES, Damage
from bench.analysis.run import robustness as damage
from bench.analysis.run import token_statistics
from bench.api import find_clips
from bench.clips import Clip
from bench.progress import console_progress

TOKEN_COLUMNS = (
    "codec", "domain", "tokens_per_s", "utilisation_matched", "h0", "h1",
    "measured_kbps", "adaptive_kbps", "n",
)  # fmt: skip
ROBUSTNESS_COLUMNS = ("codec", "domain", "metric", "damage", "rates")

#: A table for a log is as wide as it has to be.
MINIMUM_WIDTH = 132


@contextmanager
def common(options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Yield the arguments that every analysis takes, and show its progress meanwhile."""
    with console_progress(Console(stderr=True), plain=options.plain) as progress:
        names = ("codecs", "out", "seed", "device")
        yield {name: getattr(options, name) for name in names} | {"progress": progress}


def tokens(options: argparse.Namespace) -> int:
    """Tell what codecs' tokens are like."""
    with common(options) as arguments:
        analysis = token_statistics(
            _clips(options),
            metrics=options.metrics,
            stability_limit=options.stability_limit,
            **arguments,
        )
    return finish(analysis, "tokens", TOKEN_COLUMNS, options)


def robustness(options: argparse.Namespace) -> int:
    """Damage payloads and tell what is left."""
    with common(options) as arguments:
        analysis = damage(
            _clips(options),
            metrics=options.metrics,
            damages=_damages(options),
            draws=options.draws,
            **arguments,
        )
    return finish(analysis, "robustness", ROBUSTNESS_COLUMNS, options)


def _damages(options: argparse.Namespace) -> list[Damage]:
    given = {"bit-flip": options.bit_flips, "loss": options.losses, "loss-burst": options.losses}
    return [Damage(kind.name, given[kind.name] or kind.rates) for kind in DAMAGES]


def _clips(options: argparse.Namespace) -> list[Clip]:
    return find_clips(
        options.dataset,
        domains=options.domains,
        limit=options.limit,
        seed=options.seed,
        file=options.datasets_file,
        domain=options.domain,
    )


def finish(
    analysis: Analysis, table: str, columns: Sequence[str], options: argparse.Namespace
) -> int:
    """Print the main table and where everything is; 1 where a row failed.

    Under damage a failure is a finding: only that of an undamaged payload counts.
    """
    rows = analysis.tables[table]
    _print(analysis.title, _in_brief(rows), columns)
    console = Console(stderr=True)
    for skipped in rows[(rows["status"] == "skipped") & (rows["n"] == 0)].itertuples():
        if isinstance(getattr(skipped, "message", None), str):
            text = " ".join(f"skipped {skipped.codec}: {skipped.message}".split())
            console.print(text, markup=False, highlight=False, soft_wrap=True)
    console.print(f"written to {options.out / 'analysis' / analysis.name}", soft_wrap=True)
    failed = rows["status"] == "failed"
    if "damage" in rows:
        failed &= rows["damage"] == "none"
    return int(failed.any())


def _in_brief(rows: pd.DataFrame) -> pd.DataFrame:
    """Return one row per codec and domain; of damage, the values at all rates in one cell."""
    if "adaptive_kbps" in rows:
        return rows[rows["stream"] == "total"]
    if "damage" not in rows:
        return rows[rows["n"] > 0]
    keys = ["codec", "domain", "metric", "damage"]
    applies = rows[rows["status"] != "skipped"]
    cells = [
        f"{_cell(rate)}: {_cell(mean) or 'failed'}"
        + (f" ({share:.0%} decoded)" if share < 1 and mean == mean else "")
        for rate, mean, share in zip(
            applies["rate"], applies["mean"], applies["decoded"], strict=True
        )
    ]
    told = applies.assign(rates=cells).groupby(keys, sort=False)["rates"].agg("  ".join)
    return told.reset_index()


def _print(title: str, rows: pd.DataFrame, columns: Sequence[str]) -> None:
    table = Table(*columns, title=title, title_justify="left")
    for values in rows.reindex(columns=list(columns)).itertuples(index=False):
        table.add_row(*map(_cell, values))
    console = Console()
    console.width = max(console.width, MINIMUM_WIDTH)
    console.print(table)


def _cell(value: object) -> str:
    if isinstance(value, float):
        return "" if pd.isna(value) else f"{value:.4g}"
    return "" if value is None or value is pd.NA else str(value)
