"""The tests of the regression gate; see :mod:`bench.reporting.gate` for what they mean together."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from scipy.stats import false_discovery_control
from scipy.stats import t as student_t

from bench.reporting.baseline import Tolerance
from bench.reporting.gate_report import ALL_CLIPS, ClipChange, GateCell
from bench.stats.bootstrap import Distribution, FloatArray, bootstrap, ratio
from bench.stats.cells import domain_rank
from bench.stats.paired import ratio_difference

#: Confidence of the two-sided interval whose lower bound is a one-sided 95 % bound.
ONE_SIDED_95 = 0.90
#: A clip collapses if it falls by more than this many times what three quarters of the others
#: change by: seven standard deviations of normal noise.
COLLAPSE_FACTOR, COLLAPSE_QUANTILE = 6.0, 0.75
NOW, BEFORE = ["numerator", "denominator"], ["numerator_before", "denominator_before"]


@dataclass(frozen=True)
class Rule:
    """How one metric is compared.

    Attributes:
        metric: Its name.
        unit: Of the metric.
        sign: 1 where higher values are worse, -1 where lower ones are, 0 where any change is.
        tolerance: As given, maybe relative.
    """

    metric: str
    unit: str
    sign: int
    tolerance: Tolerance


def compare(
    codec: str, part: pd.DataFrame, rule: Rule, seed: int, resamples: int
) -> Iterator[GateCell]:
    """Yield the comparison of every domain, and of all clips where there are several domains.

    Args:
        codec: Codec id.
        part: One row per clip with a value in the baseline: ``unit``, ``domain``, the columns
            :data:`NOW` (NaN where it is lost) and :data:`BEFORE`, and the ``reason`` of a loss.
        rule: For the metric.
        seed: Of the bootstrap.
        resamples: Of the bootstrap.
    """
    domains = sorted(set(part["domain"]), key=domain_rank)
    for domain in domains:
        lines = part[part["domain"] == domain]
        cell = _cell(codec, domain, lines, rule, seed, resamples)
        lost = lines[lines["numerator"].isna()]
        yield replace(
            cell,
            collapsed=_collapsed(cell),
            lost=dict(zip(lost["unit"], lost["reason"], strict=True)),
        )
    if len(domains) > 1:
        yield _cell(codec, ALL_CLIPS, part, rule, seed, resamples)


def _cell(
    codec: str, domain: str, lines: pd.DataFrame, rule: Rule, seed: int, resamples: int
) -> GateCell:
    """Compare the clips that have a value in both."""
    cell = GateCell(codec, domain, rule.metric, rule.unit, rule.tolerance)
    common = lines[lines["numerator"].notna()]
    sample = common[[*NOW, *BEFORE]].to_numpy(np.float64)
    if not len(sample):
        return cell
    (spread,) = bootstrap([sample], ratio_difference, resamples=resamples, seed=seed)
    interval = spread.interval(ONE_SIDED_95)
    sign = rule.sign or (1 if spread.estimate >= 0 else -1)
    bounds = sorted([sign * interval.low, sign * interval.high])
    now, before = ratio(sample[:, :2]), ratio(sample[:, 2:])
    worsening = sign * (now - before) if rule.sign else np.abs(now - before)
    changes = map(ClipChange, common["unit"], before, now, worsening)
    p_value, p_better = _p_values(spread, rule.sign)
    total = sample.sum(axis=0)
    mean_before = float(ratio(total[2:]))
    return replace(
        cell,
        before=mean_before,
        now=float(ratio(total[:2])),
        worsening=sign * spread.estimate,
        low=bounds[0],
        high=bounds[1],
        p_value=p_value,
        p_better=p_better,
        tolerance=rule.tolerance.scaled(mean_before),
        changes=tuple(sorted(changes, key=lambda change: (-change.worsening, change.clip))),
    )


def _p_values(spread: Distribution, sign: int) -> tuple[float, float]:
    """Return the p-values that it got no worse and no better; 1 where nothing can be said."""
    n = len(spread.influence)
    if n < 2 or spread.estimate == 0:
        return 1.0, 1.0
    error = np.sqrt(n / (n - 1) * np.sum(spread.influence**2))
    t = spread.estimate / error if error > 0 else np.copysign(np.inf, spread.estimate)
    if sign == 0:
        return float(2 * student_t.sf(abs(t), n - 1)), 1.0
    return float(student_t.sf(sign * t, n - 1)), float(student_t.sf(-sign * t, n - 1))


def _collapsed(cell: GateCell) -> tuple[ClipChange, ...]:
    """Return the clips that fell by more than one clip may, and unlike the others."""
    sizes: FloatArray = np.abs([change.worsening for change in cell.changes])
    found = []
    for index, change in enumerate(cell.changes):
        others = np.delete(sizes, index)
        usual = float(np.quantile(others, COLLAPSE_QUANTILE)) if len(others) else 0.0
        if change.worsening > max(cell.tolerance.clip, COLLAPSE_FACTOR * usual):
            found.append(change)
    return tuple(found)


def corrected(cells: Sequence[GateCell]) -> Iterator[GateCell]:
    """Yield the cells with p-values corrected for all tests of their codec point."""
    for codec in dict.fromkeys(cell.codec for cell in cells):
        family = [cell for cell in cells if cell.codec == codec]
        worse = false_discovery_control([cell.p_value for cell in family])
        better = false_discovery_control([cell.p_better for cell in family])
        for cell, p_value, p_better in zip(family, worse, better, strict=True):
            yield replace(cell, p_value=float(p_value), p_better=float(p_better))
