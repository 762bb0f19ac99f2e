"""Compare two runs, or two codecs of one run, clip by clip."""

from collections.abc import Sequence
from dataclasses import replace

import pandas as pd

from bench.errors import UsageError
from bench.results import Results
from bench.stats.summary import summarize

FIRST, SECOND = "first", "second"
COLUMNS = (
    "codec",
    "domain",
    "metric",
    "first",
    "second",
    "difference",
    "diff_low",
    "diff_high",
    "p_value",
    "tie",
    "n_pairs",
)


def compare_runs(
    first: Results, second: Results, codecs: Sequence[str] | None = None
) -> pd.DataFrame:
    """Return how the second run differs from the first, per codec point, domain and metric.

    Args:
        first: One run.
        second: Another; only clips of the same content and metrics of one fingerprint compare.
        codecs: Codec ids; None: all that both runs have.

    Raises:
        UsageError: If the runs have no codec or no clip in common.
        MixedFingerprintsError: If a metric was measured differently in the two runs.
    """
    common = list(codecs or (codec for codec in first.codecs if codec in second.codecs))
    missing = [codec for codec in common if codec not in first.codecs or codec not in second.codecs]
    if missing or not common:
        raise UsageError(
            f"codec {', '.join(missing) or '(none)'} is not in both runs; the first has "
            f"{', '.join(first.codecs)}, the second {', '.join(second.codecs)}"
        )
    shared = set(first.rows["clip_hash"]) & set(second.rows["clip_hash"])
    if not shared:
        raise UsageError("the runs have no clip in common (clips are told apart by their content)")
    parts = [_compare(first, codec, second, codec, codec, shared) for codec in common]
    return pd.concat(parts, ignore_index=True)


def compare_codecs(results: Results, first: str, second: str) -> pd.DataFrame:
    """Return how the second codec differs from the first, per domain and metric.

    Raises:
        UsageError: If one of them is not in the run.
    """
    unknown = [codec for codec in (first, second) if codec not in results.codecs]
    if unknown:
        raise UsageError(
            f"codec {', '.join(unknown)} is not in the run; it has {', '.join(results.codecs)}"
        )
    shared = set(results.rows["clip_hash"])
    return _compare(results, first, results, second, f"{second} vs {first}", shared)


def _compare(
    first: Results, codec: str, second: Results, other: str, label: str, shared: set[str]
) -> pd.DataFrame:
    """Put the two under one roof, named ``first`` and ``second``, and summarise."""
    halves = ((FIRST, first, codec), (SECOND, second, other))
    rows = [_relabelled(run.rows, name, codec, shared) for name, run, codec in halves]
    # Two runs may file a clip under different names: its content is what pairs it.
    joint = pd.concat(rows, ignore_index=True).assign(dataset="", clip=lambda r: r["clip_hash"])
    codecs = {
        name: replace(results.codecs[codec], codec_id=name) for name, results, codec in halves
    }
    metrics = {name: info for name, info in first.metrics.items() if name in second.metrics}
    joint = joint[joint["metric"].isin(metrics)]
    summary = summarize(Results(joint, metrics, codecs, first.clips), reference=FIRST)
    means = summary.pivot_table(
        index=["domain", "metric"], columns="codec", values="mean", observed=True
    )
    table = summary[summary["codec"] == SECOND].join(means, on=["domain", "metric"])
    table = table[table["n_pairs"].fillna(0) > 0].assign(codec=label)
    return table[list(COLUMNS)].reset_index(drop=True)


def _relabelled(rows: pd.DataFrame, name: str, codec: str, shared: set[str]) -> pd.DataFrame:
    here = (rows["codec"] == codec) & rows["clip_hash"].isin(shared)
    return rows[here].drop_duplicates(["clip_hash", "metric", "seed"]).assign(codec=name)
