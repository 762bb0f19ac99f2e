"""What was planned and what is missing: counts and reasons of every group of rows."""

import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from bench.errors import Reason, Status
from bench.results import Results
from bench.stats.cells import Key

#: Summary columns that count rows without a value.
COUNTS = {
    "n_failed": Status.FAILED,
    "n_skipped": Status.SKIPPED,
    "n_pending": Status.PENDING,
}

#: Columns of one line of a summary, by name.
Record = dict[str, Any]


def with_unavailable(results: Results) -> pd.DataFrame:
    """Return the rows, with skipped ones for codecs that could not run and have none."""
    present = set(results.rows["codec"].unique())
    planned = results.rows.drop_duplicates(["dataset", "clip", "metric"])
    added = [
        planned.assign(
            codec=info.codec_id,
            family=info.family,
            kind=info.kind,
            nominal_kbps=math.nan if info.nominal_kbps is None else info.nominal_kbps,
            measured_kbps=math.nan,
            value=math.nan,
            status=str(Status.SKIPPED),
            reason=str(Reason.CODEC_UNAVAILABLE),
            detail="{}",
            codec_fingerprint="",
        )
        for info in results.codecs.values()
        if info.unavailable_reason and info.codec_id not in present
    ]
    return pd.concat([results.rows, *added], ignore_index=True) if added else results.rows


def describe(rows: pd.DataFrame, groups: Sequence[str]) -> dict[Key, Record]:
    """Return codec, bitrates, counts and reasons (a Counter) of every group."""
    keys = list(groups)
    first = rows.groupby(keys).agg(
        family=("family", "first"),
        kind=("kind", "first"),
        nominal_kbps=("nominal_kbps", "first"),
        measured_kbps=("measured_kbps", "mean"),
    )
    statuses = _count(rows, keys, "status")
    without = rows[rows["status"].isin([Status.FAILED, Status.SKIPPED])]
    reasons = _count(without, keys, "reason")
    return {
        key: {
            **first.loc[key].to_dict(),
            **{column: statuses[key][status] for column, status in COUNTS.items()},
            "reasons": reasons.get(key, Counter()),
        }
        for key in first.index
    }


def pooled(parts: Sequence[Record]) -> Record:
    """Return the line of several domains together: summed counts, mean of the mean bitrates."""
    measured = [part["measured_kbps"] for part in parts]
    return {
        **{name: parts[0][name] for name in ("family", "kind", "nominal_kbps")},
        "measured_kbps": sum(measured) / len(measured),
        **{column: sum(part[column] for part in parts) for column in COUNTS},
        "reasons": sum((part["reasons"] for part in parts), Counter()),
    }


def reason_text(reasons: Mapping[str, int]) -> str:
    """Return the reasons, most frequent first.

    Example:
        >>> reason_text({"timeout": 1, "silent_reference": 2})
        'silent_reference:2, timeout:1'
    """
    ordered = sorted(reasons.items(), key=lambda entry: (-entry[1], entry[0]))
    return ", ".join(f"{reason}:{count}" for reason, count in ordered)


def _count(rows: pd.DataFrame, keys: list[str], column: str) -> dict[Key, Counter[str]]:
    counts: dict[Key, Counter[str]] = defaultdict(Counter)
    table = rows.groupby([*keys, column]).size().reset_index(name="count")
    for *key, value, count in table.itertuples(index=False, name=None):
        counts[tuple(key)][value] = int(count)
    return counts
