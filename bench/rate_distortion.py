"""The command ``run_bench.py bd``: BD-rate and BD-quality of a run's codecs."""

import argparse
import math
from typing import Any

from bench import api
from bench.commands import print_table, say, write_rows
from bench.errors import UsageError

TITLE = (
    "second against first: bits needed for the same quality (negative: fewer), "
    "and quality at the same bitrate, with 95 % intervals over clips"
)


def bd(options: argparse.Namespace) -> int:
    """Print the deltas, and write them to a file if asked for."""
    names = options.codecs or [None, None]
    if len(names) != 2:
        raise UsageError(f"bd takes two codecs without their points, got {', '.join(names)}")
    table = api.bd_rate(
        options.folder, *names, metrics=options.metrics, method=options.method, seed=options.seed
    )
    headings = ("first", "second", "domain", "metric", "BD-rate %", "95 %", "BD-quality", "95 %",
                "clips")  # fmt: skip
    rows = [{str(name): value for name, value in row.items()} for row in table.to_dict("records")]
    print_table(TITLE, headings, map(_printed, rows))
    if options.out:
        write_rows(table, options.out)
        say(f"table: {options.out}")
    return 0


def _printed(row: dict[str, Any]) -> list[str]:
    names = [str(row[name]) for name in ("first", "second", "domain", "metric")]
    return [*names, *_cells(row, "bd_rate", "bd_rate_percent"), *_cells(row, "bd_quality"),
            str(row["n"])]  # fmt: skip


def _cells(row: dict[str, Any], name: str, value_name: str = "") -> list[str]:
    value = row[value_name or name]
    if math.isnan(value):
        return [str(row[f"{name}_reason"]).replace("_", " "), ""]
    low, high = row[f"{name}_low"], row[f"{name}_high"]
    return [f"{value:+.3g}", "" if math.isnan(low) else f"{low:.3g} .. {high:.3g}"]
