"""The regression gate: is this version of a codec worse than the baseline, clip by clip?

Three things fail a codec point on a metric:

- **worse**: the mean fell by more than the metric's tolerance, and by more than chance explains:
  the clip-paired difference is significant after correction for all the tests of the check;
- **collapse**: the mean fell by more than a single clip may, or one clip did and by far more than
  the other clips changed;
- **lost**: a clip that had a value has none now.

The corrected test decides, because a check makes hundreds of tests and a decoder that draws noise
gives other values with every seed. It is one-sided, a Student t on the paired differences (on
their jackknife influences for error rates), corrected over the tests of a codec point by Benjamini
and Hochberg (1995): an unchanged codec point fails by chance in at most one check in fifty, even
without tolerances, and where much has changed, much is found. In simulated checks of eight noisy
codec points with the default tolerances, two in a hundred failed; a fall of ViSQOL by 0.12 on
twenty-four clips was always found.
Beside the domains, each metric is tested over all clips,
where a small general loss shows first. The interval in the report is a bootstrap interval.

Metrics without a better direction are compared only if asked for, in both directions.
"""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import pandas as pd

from bench.errors import Status, UsageError, unknown_name
from bench.reporting.baseline import (
    Baseline,
    Tolerance,
    clip_table,
    clip_values,
    load_baseline,
    save_baseline,
)
from bench.reporting.gate_cells import Rule, compare, corrected
from bench.reporting.gate_report import (
    GateCell,
    GateReport,
    to_junit,
    to_markdown,
    write_report,
)
from bench.results import Results
from bench.stats.cells import check_fingerprints

__all__ = [
    "GateCell",
    "GateReport",
    "Tolerance",
    "check",
    "load_baseline",
    "save_baseline",
    "to_junit",
    "to_markdown",
    "write_report",
]

RESAMPLES = 1999


def check(
    results: Results,
    baseline: Baseline | Path,
    *,
    tolerances: Mapping[str, Tolerance] | None = None,
    two_sided: Collection[str] = (),
    subset: bool = False,
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> GateReport:
    """Compare a run with a baseline.

    Args:
        results: What a run measured.
        baseline: Or the path of its JSON file.
        tolerances: By metric, instead of those in the baseline.
        two_sided: Metrics without a better direction (delay, level) that shall not change.
        subset: Compare the codec points, metrics and clips that both have; otherwise anything
            missing is refused.
        seed: Of the bootstrap.
        resamples: Of the bootstrap.

    Raises:
        UsageError: If the two cannot be compared: other metric fingerprints, other audio, or
            (without ``subset``) a missing codec point, metric or clip.
        MixedFingerprintsError: If the results' own rows come from unlike measurements.
    """
    if isinstance(baseline, Path):
        baseline = load_baseline(baseline)
    for name in {*(tolerances or {}), *two_sided} - set(baseline.metrics):
        raise unknown_name("metric of the baseline", name, baseline.metrics)
    check_fingerprints(results.rows)
    notes = _compare_identities(results, baseline, subset)
    rules, ignored = _rules(baseline, tolerances or {}, two_sided)
    table = _side_by_side(results, baseline)
    cells = [
        cell
        for (codec, metric), part in table.groupby(["codec", "metric"], sort=False)
        if metric in rules
        for cell in compare(str(codec), part, rules[str(metric)], seed, resamples)
    ]
    if not cells:
        raise UsageError("baseline and results have nothing in common that can be compared")
    return GateReport(
        tuple(corrected(cells)), (*notes, *ignored), baseline.manifest, results.manifest
    )


def _compare_identities(results: Results, baseline: Baseline, subset: bool) -> list[str]:
    """Refuse what cannot be compared; return what a reader must know of the rest."""
    clips = clip_table(results.rows)
    measured = set(results.rows["codec"])
    absent = {
        "metric": [name for name in baseline.metrics if name not in results.metrics],
        "codec point": [
            f"{name} ({info.unavailable_reason})" if info and info.unavailable_reason else name
            for name in baseline.codecs
            if (info := results.codecs.get(name)) is None
            or info.unavailable_reason
            or name not in measured
        ],
        "clip": [unit for unit in baseline.clips.index if unit not in clips.index],
    }
    notes = [_absent(kind, names) for kind, names in absent.items() if names]
    if notes and not subset:
        raise UsageError(f"{notes[0]}; measure the same again, or check the common subset")
    _refuse_other_metrics(results, baseline)
    both = baseline.clips.join(clips, rsuffix="_now", how="inner")
    other = both[both["clip_hash"] != both["clip_hash_now"]]
    for unit, _, before, now in other[["domain", "clip_hash", "clip_hash_now"]].itertuples():
        raise UsageError(
            f"clip {unit} is other audio than in the baseline: hash {now[:12]}, was {before[:12]}"
        )
    return notes + [
        f"{name} has changed: fingerprint {results.codecs[name].fingerprint}, was {fingerprint}"
        for name, fingerprint in baseline.codecs.items()
        if name in results.codecs and results.codecs[name].fingerprint != fingerprint
    ]


def _refuse_other_metrics(results: Results, baseline: Baseline) -> None:
    rows = results.rows.drop_duplicates(["metric", "metric_fingerprint"])
    for name, metric in baseline.metrics.items():
        known = set(rows.loc[rows["metric"] == name, "metric_fingerprint"].dropna())
        if name in results.metrics:
            known.add(results.metrics[name].fingerprint)
        for other in sorted(known - {metric.fingerprint, ""}):
            raise UsageError(
                f"metric {name} is not what it was: fingerprint {other}, in the baseline "
                f"{metric.fingerprint}; save a new baseline with this version first"
            )


def _absent(kind: str, names: Sequence[str]) -> str:
    shown = ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
    plural = "s" if len(names) > 1 else ""
    return f"the results lack {len(names)} {kind}{plural} of the baseline: {shown}"


def _rules(
    baseline: Baseline, tolerances: Mapping[str, Tolerance], two_sided: Collection[str]
) -> tuple[dict[str, Rule], list[str]]:
    """Return how each metric is compared, and a note for each that is not."""
    rules, ignored = {}, []
    for name, metric in baseline.metrics.items():
        tolerance = tolerances.get(name, metric.tolerance)
        if tolerance is None:
            ignored.append(f"{name} was not compared: it has no tolerance")
        elif metric.higher_is_better is not None:
            rules[name] = Rule(name, metric.unit, -1 if metric.higher_is_better else 1, tolerance)
        elif name in two_sided:
            rules[name] = Rule(name, metric.unit, 0, tolerance)
        else:
            ignored.append(f"{name} was not compared: neither direction is better")
    return rules, ignored


def _side_by_side(results: Results, baseline: Baseline) -> pd.DataFrame:
    """Return one row per value of the baseline with the value of now, or why there is none."""
    clips, codecs = clip_table(results.rows), set(results.rows["codec"])
    table = baseline.numbers.join(clip_values(results.rows), lsuffix="_before").reset_index()
    table = table[
        table["unit"].isin(clips.index)
        & table["codec"].isin(codecs)
        & table["metric"].isin(results.metrics)
    ]
    missing = results.rows[results.rows["status"] != Status.OK]
    reasons = {
        (row.codec, row.metric, f"{row.dataset}/{row.clip}"): row.reason or row.status
        for row in missing.itertuples()
    }
    keys = zip(table["codec"], table["metric"], table["unit"], strict=True)
    return table.assign(
        domain=table["unit"].map(baseline.clips["domain"]),
        reason=[str(reasons.get(key, "not measured")) for key in keys],
    )
