"""The commands ``tokens`` and ``robustness``."""

import argparse
from collections.abc import Sequence

import pandas as pd
from rich.console import Console
from rich.table import Table

from bench.analysis.output import Analysis
from bench.analysis.robustness import DAMAGES, Damage
from bench.analysis.run import (
    DEFAULT_METRICS,
    ROBUSTNESS_CODECS,
    TOKEN_CODECS,
    token_statistics,
)
from bench.analysis.run import (
    robustness as damage,
)
from bench.api import find_clips
from bench.clips import Clip
from bench.progress import console_progress

TOKEN_COLUMNS = (
    "codec", "domain", "stream", "tokens_per_s", "utilisation_matched", "perplexity", "h0", "h1",
    "measured_kbps", "adaptive_kbps", "n",
)  # fmt: skip
ROBUSTNESS_COLUMNS = ("codec", "domain", "metric", "damage", "rate", "mean", "decoded", "reasons")


def tokens(options: argparse.Namespace) -> int:
    """Tell what codecs' tokens are like."""
    error_console = Console(stderr=True)
    with console_progress(error_console, plain=options.plain) as progress:
        analysis = token_statistics(
            _clips(options),
            options.codecs or TOKEN_CODECS,
            out=options.out,
            metrics=options.metrics or DEFAULT_METRICS,
            stability_limit=options.stability_limit,
            seed=options.seed,
            device=options.device,
            progress=progress,
        )
    return finish(analysis, "tokens", TOKEN_COLUMNS, options)


def robustness(options: argparse.Namespace) -> int:
    """Damage payloads and tell what is left."""
    error_console = Console(stderr=True)
    with console_progress(error_console, plain=options.plain) as progress:
        analysis = damage(
            _clips(options),
            options.codecs or ROBUSTNESS_CODECS,
            out=options.out,
            metrics=options.metrics or DEFAULT_METRICS,
            damages=_damages(options),
            draws=options.draws,
            seed=options.seed,
            device=options.device,
            progress=progress,
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
    """Print the main table and where everything is; 1 where a row failed."""
    rows = analysis.tables[table]
    shown = rows.reindex(columns=list(columns))
    printed = Table(*columns, title=analysis.title, title_justify="left")
    for values in shown.itertuples(index=False):
        printed.add_row(*map(_cell, values))
    Console(width=None).print(printed)
    console = Console(stderr=True)
    for skipped in rows[rows["status"] == "skipped"].itertuples():
        console.print(f"skipped {skipped.codec}: {skipped.message}", markup=False, soft_wrap=True)
    console.print(f"written to {options.out / 'analysis' / analysis.name}", soft_wrap=True)
    return int((rows["status"] == "failed").any())


def _cell(value: object) -> str:
    if isinstance(value, float):
        return "" if pd.isna(value) else f"{value:.4g}"
    return "" if value is None or value is pd.NA else str(value)
