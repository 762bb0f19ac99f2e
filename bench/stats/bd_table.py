"""BD-rate and BD-quality of a run's codecs, with intervals (:mod:`bench.stats.bd_rate`).

The interval is a percentile bootstrap over clips: each resample draws clips, the same ones for all
points of both codecs, and draws both curves anew.

Axes: ``R`` resamples, ``P`` points of a curve, ``n`` clips.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import pandas as pd

from bench.errors import MeasureError, Reason, UsageError, unknown_name
from bench.results import CODING_METRICS, MetricInfo, Results
from bench.stats.bd_rate import (
    Curves,
    ViewOf,
    as_delta,
    mean_gap,
    observed_delta,
    quality_view,
    rate_view,
    sign_of,
)
from bench.stats.bootstrap import CONFIDENCE, FloatArray, draws, ratio
from bench.stats.cells import Cell, Key, check_fingerprints, collect_cells, domain_rank
from bench.stats.interpolation import FEWEST_POINTS

RESAMPLES = 999
#: An interval needs at least this share of resamples whose curves can be compared.
LEAST_DEFINED = 0.9
BD_COLUMNS = (
    "first", "second", "domain", "metric",
    "bd_rate_percent", "bd_rate_low", "bd_rate_high", "bd_rate_reason",
    "bd_quality", "bd_quality_low", "bd_quality_high", "bd_quality_reason",
    "unit", "points_first", "points_second", "n", "message",
)  # fmt: skip


@dataclass(frozen=True)
class Delta:
    """A delta and its interval; NaN where there is none, and then the reason.

    Attributes:
        value: Percent for BD-rate, the metric's unit for BD-quality.
        low: Lower bound of the interval.
        high: Upper bound.
        reason: Why it cannot be computed.
        message: The same in words.
    """

    value: float
    low: float = math.nan
    high: float = math.nan
    reason: Reason | None = None
    message: str = ""


@dataclass(frozen=True)
class Plan:
    """How deltas of a run are computed."""

    method: str
    resamples: int
    confidence: float
    seed: int


def curve_name(codec_id: str) -> str:
    """Return which curve a codec point belongs to: its id without the operating point.

    Example:
        >>> curve_name("opus@6kbps:frame_ms=60"), curve_name("mimi")
        ('opus:frame_ms=60', 'mimi')
    """
    before, _, rest = codec_id.partition("@")
    _, colon, options = rest.partition(":")
    return f"{before}{colon}{options}"


def bd_table(
    results: Results,
    first: str | None = None,
    second: str | None = None,
    *,
    metrics: Sequence[str] | None = None,
    method: str = "pchip",
    resamples: int = RESAMPLES,
    confidence: float = CONFIDENCE,
    seed: int = 0,
) -> pd.DataFrame:
    """Return BD-rate and BD-quality of pairs of codecs, one row per pair, domain and metric.

    Args:
        results: What a run measured.
        first: A codec with its points left out, e.g. ``opus``; None: all of them.
        second: What is compared with it; None: all others.
        metrics: Which metrics; None: all that have a better and a worse.
        method: ``pchip``, ``akima`` or ``cubic``.
        resamples: Of the bootstrap over clips; 0: no intervals.
        confidence: Of the intervals.
        seed: Of the bootstrap.

    Returns:
        :data:`BD_COLUMNS`. ``n`` counts the clips that all points of both codecs have values for;
        bitrates are those measured on these clips (declared where none was measured).

    Raises:
        UsageError: If a codec, metric or method is unknown, or no two curves are left.
        MixedFingerprintsError: If rows of one name come from unlike measurements.
    """
    if method not in FEWEST_POINTS:
        raise unknown_name("method", method, FEWEST_POINTS)
    check_fingerprints(results.rows)
    chosen = _metrics(results, metrics)
    rows = results.rows[results.rows["metric"].isin(chosen)]
    cells = collect_cells(rows, ("codec", "domain", "metric"))
    rates = _clip_rates(results.rows)
    plan = Plan(method, resamples, confidence, seed)
    domains = sorted({domain for _, domain, _ in cells}, key=domain_rank)
    lines = [
        _line(pair, domain, chosen[metric], cells, rates, plan)
        for pair in _pairs(results, first, second)
        for domain in domains
        for metric in chosen
        if any((codec, domain, metric) in cells for codec in (*pair.first, *pair.second))
    ]
    return pd.DataFrame(lines, columns=list(BD_COLUMNS))


@dataclass(frozen=True)
class Pair:
    """Two curves by name, and the codec points of each."""

    names: tuple[str, str]
    first: tuple[str, ...]
    second: tuple[str, ...]


def _pairs(results: Results, first: str | None, second: str | None) -> list[Pair]:
    points: dict[str, list[str]] = {}
    for codec, info in results.codecs.items():
        if info.kind != "anchor" and not info.unavailable_reason:
            points.setdefault(curve_name(codec), []).append(codec)
    for name in filter(None, (first, second)):
        if name not in points:
            raise unknown_name("codec (name it without its points)", name, points)
    both = list(combinations(points, 2))
    if first or second:  # then the order is asked for; otherwise each pair once
        both += [(other, one) for one, other in both]
    pairs = [pair for pair in both if first in (None, pair[0]) and second in (None, pair[1])]
    if not pairs:
        raise UsageError(
            f"a rate-distortion comparison takes two different codecs, the run has "
            f"{', '.join(points) or 'none'}"
        )
    return [Pair(pair, tuple(points[pair[0]]), tuple(points[pair[1]])) for pair in pairs]


def _metrics(results: Results, names: Sequence[str] | None) -> dict[str, MetricInfo]:
    costs = {info.name for info in CODING_METRICS}
    directed = {
        name: info
        for name, info in results.metrics.items()
        if info.higher_is_better is not None and name not in costs
    }
    for name in names or ():
        if name not in directed:
            raise unknown_name("metric with a better and a worse", name, directed)
    return {name: info for name, info in directed.items() if names is None or name in names}


def _clip_rates(rows: pd.DataFrame) -> Mapping[str, pd.Series]:
    """Return each codec's bitrate of every clip, kbps, by ``dataset/clip``."""
    units = [f"{name}/{clip}" for name, clip in zip(rows["dataset"], rows["clip"], strict=True)]
    kbps = rows["measured_kbps"].fillna(rows["nominal_kbps"])
    known = pd.DataFrame({"codec": rows["codec"], "unit": units, "kbps": kbps})
    means = known.groupby(["codec", "unit"])["kbps"].mean()
    return {str(codec): part.droplevel("codec") for codec, part in means.groupby(level="codec")}


def _line(
    pair: Pair,
    domain: str,
    metric: MetricInfo,
    cells: Mapping[Key, Cell],
    rates: Mapping[str, pd.Series],
    plan: Plan,
) -> dict[str, object]:
    points = {
        codec: cells[codec, domain, metric.name]
        for codec in (*pair.first, *pair.second)
        if (codec, domain, metric.name) in cells
    }
    sizes = [sum(codec in points for codec in codecs) for codecs in (pair.first, pair.second)]
    clips = _common_clips(points)
    samples = [
        _sample([codec for codec in codecs if codec in points], points, rates, clips)
        for codecs in (pair.first, pair.second)
    ]
    rate = _delta(samples, rate_view, metric, plan)
    quality = _delta(samples, quality_view, metric, plan)
    return {
        "first": pair.names[0], "second": pair.names[1], "domain": domain, "metric": metric.name,
        "bd_rate_percent": rate.value, "bd_rate_low": rate.low, "bd_rate_high": rate.high,
        "bd_rate_reason": rate.reason or "", "bd_quality": quality.value,
        "bd_quality_low": quality.low, "bd_quality_high": quality.high,
        "bd_quality_reason": quality.reason or "", "unit": metric.unit,
        "points_first": sizes[0], "points_second": sizes[1], "n": len(clips),
        "message": "; ".join(dict.fromkeys(filter(None, [rate.message, quality.message]))),
    }  # fmt: skip


def _common_clips(points: Mapping[str, Cell]) -> pd.Index:
    cells = list(points.values())
    common = cells[0].clips
    for cell in cells[1:]:
        common = common.intersection(cell.clips)
    return common.sort_values()


def _sample(
    codecs: Sequence[str],
    points: Mapping[str, Cell],
    rates: Mapping[str, pd.Series],
    clips: pd.Index,
) -> FloatArray:
    """Return numerator, denominator and bitrate of every clip and point, ``[n, P, 3]``.

    The points are in the order of their mean bitrate.
    """
    parts = []
    for codec in codecs:
        cell = points[codec]
        values = cell.sample[cell.clips.get_indexer(clips)]
        kbps = rates[codec].reindex(clips).to_numpy(np.float64)
        parts.append(np.column_stack([values, kbps]))
    sample = np.stack(parts, axis=1) if parts else np.empty((len(clips), 0, 3))
    return sample[:, np.argsort(sample[..., 2].mean(axis=0), kind="stable")]


def _curves(sample: FloatArray, counts: FloatArray) -> Curves:
    """Return the curve of each resample; ``counts`` ``[R, n]`` says how often a clip is drawn."""
    sums = np.tensordot(counts, sample, axes=1)  # [R, P, 3]
    return Curves(sums[..., 2] / counts.sum(axis=1, keepdims=True), ratio(sums[..., :2]))


def _delta(samples: Sequence[FloatArray], view: ViewOf, metric: MetricInfo, plan: Plan) -> Delta:
    first, second = samples
    n, sign = len(first), sign_of(bool(metric.higher_is_better))
    if n == 0:
        return Delta(math.nan, reason=Reason.NO_OVERLAP, message="no clip has values at all points")
    once = np.ones((1, n))
    try:
        value = observed_delta(_curves(first, once), _curves(second, once), view, sign, plan.method)
    except MeasureError as error:
        return Delta(math.nan, reason=error.reason, message=str(error))
    replicates = [
        as_delta(mean_gap(one, other, plan.method), one)
        for counts in (draws(n, plan.resamples, plan.seed, 0) if n > 1 else ())
        for one, other in [
            (view(_curves(first, counts), sign), view(_curves(second, counts), sign))
        ]
    ]
    return Delta(value, *_interval(np.concatenate([*replicates, np.empty(0)]), plan))


def _interval(replicates: FloatArray, plan: Plan) -> tuple[float, float]:
    defined = replicates[np.isfinite(replicates)]
    if len(defined) == 0 or len(defined) < LEAST_DEFINED * len(replicates):
        return math.nan, math.nan
    tail = (1 - plan.confidence) / 2
    low, high = np.quantile(defined, [tail, 1 - tail])
    return float(low), float(high)
