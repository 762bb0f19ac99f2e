"""Bootstrap intervals of means and of corpus ratios.

Everything here is a function of column sums. An observation (a clip) is a row of numbers: a value
and 1 for a mean, ``edits`` and ``words`` for a corpus ratio; both statistics are then
``sum(first column) / sum(second column)``. One resampling routine serves them all, many samples
at a time: drawing clips with replacement is a matrix of counts ``[R, n]``, and the sums of all
resamples of all samples are one matrix product.

The interval is BCa (Efron 1987, "Better bootstrap confidence intervals", JASA 82:171), computed as
in :func:`scipy.stats.bootstrap`. Below :data:`TINY_N` observations, or where the correction is not
defined, it is the percentile interval. Bootstrap intervals are too narrow for few clips: in 4000
simulations of normal and of exponential values, "95 %" covered the mean in 87 and 85 % of cases at
8 clips, 93 and 90 % at 16, 94 and 92 % at 30, 95 and 94 % at 100 (SciPy's own: the same).

Axes: ``R`` resamples, ``n`` observations, ``k`` samples, ``c`` columns of an observation.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtr, ndtri

FloatArray = NDArray[np.float64]
#: Maps column sums ``[..., c]`` to values ``[...]``.
Statistic = Callable[[FloatArray], FloatArray]

RESAMPLES = 9999
CONFIDENCE = 0.95
#: With fewer observations the jackknife says nothing reliable about skewness.
TINY_N = 5
#: Counts that are held at once: 2 million float64 are 16 MB.
CHUNK_ELEMENTS = 2_000_000


@dataclass(frozen=True)
class Interval:
    """An estimate from ``n`` observations and its interval; NaN where there is none."""

    estimate: float
    low: float
    high: float
    n: int


@dataclass(frozen=True)
class Distribution:
    """How an estimate varies over resamples.

    Attributes:
        estimate: The statistic of the sample itself.
        replicates: The statistic of each resample, ``[R]``.
        influence: What each observation adds to the estimate, by the jackknife, ``[n]``.
        smallest: Observations in the smallest stratum (the whole sample, unless averaged).
    """

    estimate: float
    replicates: FloatArray
    influence: FloatArray
    smallest: int

    def interval(self, confidence: float = CONFIDENCE) -> Interval:
        """Return the central interval; NaN bounds below two observations."""
        n = len(self.influence)
        if self.smallest < 2 or not np.isfinite(self.estimate):
            return Interval(self.estimate, math.nan, math.nan, n)
        replicates = self.replicates[np.isfinite(self.replicates)]
        if np.ptp(self.influence) == 0 or np.ptp(replicates) == 0:  # all observations are equal
            return Interval(self.estimate, self.estimate, self.estimate, n)
        low, high = np.quantile(replicates, self._levels(replicates, confidence))
        return Interval(self.estimate, float(low), float(high), n)

    def _levels(self, replicates: FloatArray, confidence: float) -> FloatArray:
        """Return the two quantile levels: BCa, or plain percentiles."""
        plain = np.array([(1 - confidence) / 2, (1 + confidence) / 2])
        below = np.mean(replicates < self.estimate) + np.mean(replicates == self.estimate) / 2
        if self.smallest < TINY_N or not 0 < below < 1:
            return plain
        bias = ndtri(below)
        acceleration = np.sum(self.influence**3) / (6 * np.sum(self.influence**2) ** 1.5)
        z = bias + ndtri(plain)
        levels = ndtr(bias + z / (1 - acceleration * z))
        return levels if levels[0] < levels[1] else plain


def mean_interval(
    values: ArrayLike,
    *,
    confidence: float = CONFIDENCE,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Interval:
    """Return the mean of ``values`` with its bootstrap interval.

    The order of the values does not matter.

    Args:
        values: One number per clip, ``[n]``, all finite.
        confidence: Of the two-sided interval.
        resamples: How many times the clips are drawn again.
        seed: Of the drawing; the same seed gives the same interval.

    Example:
        >>> mean_interval([2.0, 2.0, 2.0])
        Interval(estimate=2.0, low=2.0, high=2.0, n=3)
    """
    numbers = np.asarray(values, dtype=np.float64)
    return ratio_interval(
        numbers, np.ones_like(numbers), confidence=confidence, resamples=resamples, seed=seed
    )


def ratio_interval(
    numerators: ArrayLike,
    denominators: ArrayLike,
    *,
    confidence: float = CONFIDENCE,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Interval:
    """Return ``sum(numerators) / sum(denominators)`` with its bootstrap interval over clips.

    This is how a word error rate is averaged: total edits over total words, not a mean of ratios.

    Args:
        numerators: For example edits per clip, ``[n]``.
        denominators: For example words per clip, ``[n]``.
        confidence: Of the two-sided interval.
        resamples: How many times the clips are drawn again.
        seed: Of the drawing.
    """
    sample = np.stack(np.broadcast_arrays(numerators, denominators), axis=-1).astype(np.float64)
    if len(sample) == 0:
        return Interval(math.nan, math.nan, math.nan, 0)
    (distribution,) = bootstrap([sample], ratio, resamples=resamples, seed=seed)
    return distribution.interval(confidence)


def ratio(sums: FloatArray) -> FloatArray:
    """Return first over second column, ``[..., 2] -> [...]``; NaN where the second is zero."""
    return np.divide(
        sums[..., 0], sums[..., 1], out=np.full(sums.shape[:-1], np.nan), where=sums[..., 1] != 0
    )


def bootstrap(
    samples: Sequence[FloatArray],
    statistic: Statistic,
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
    stream: int = 0,
) -> list[Distribution]:
    """Resample many samples of the same size together.

    Args:
        samples: ``k`` arrays ``[n, c]``; rows in any order.
        statistic: Of the column sums.
        resamples: ``R``.
        seed: Of the drawing.
        stream: Samples that will be averaged need streams of their own: equal streams draw the
            same rows.
    """
    if not samples:
        return []
    columns = np.stack([in_order(sample) for sample in samples], axis=1)  # k x [n, c] -> [n, k, c]
    n, k, c = columns.shape
    flat = columns.reshape(n, k * c)
    sums = np.concatenate([counts @ flat for counts in draws(n, resamples, seed, stream)])
    replicates = statistic(sums.reshape(resamples, k, c))  # [R, k]
    total = columns.sum(axis=0)  # [k, c]
    estimates = statistic(total)
    influence = _influence(columns, total, statistic)  # [n, k]
    return [
        Distribution(float(estimates[i]), replicates[:, i], influence[:, i], n) for i in range(k)
    ]


def average(distributions: Sequence[Distribution]) -> Distribution:
    """Return the distribution of the mean of independent estimates (a stratified bootstrap)."""
    k = len(distributions)
    return Distribution(
        estimate=sum(one.estimate for one in distributions) / k,
        replicates=np.mean([one.replicates for one in distributions], axis=0),
        influence=np.concatenate([one.influence for one in distributions]) / k,
        smallest=min(one.smallest for one in distributions),
    )


def in_order(sample: FloatArray) -> FloatArray:
    """Return the rows sorted by their content, so that nothing depends on the order of clips."""
    return sample[np.lexsort(sample.T[::-1])]


def _influence(columns: FloatArray, total: FloatArray, statistic: Statistic) -> FloatArray:
    """Return the jackknife influence of each observation, ``[n, k]``."""
    n = len(columns)
    if n < 2:
        return np.zeros(columns.shape[:2])
    without = statistic(total - columns)
    influence = (n - 1) / n * (without.mean(axis=0) - without)
    # Sums of equal numbers differ in the last bit; that is no influence.
    scale = np.abs(without).max(axis=0, initial=0.0)
    return np.where(np.abs(influence) <= 1e-13 * scale, 0.0, influence)


def draws(n: int, resamples: int, seed: int, stream: int) -> Iterator[FloatArray]:
    """Yield how often each observation is drawn in each resample, in chunks ``[r, n]``."""
    rng = np.random.default_rng([seed, stream, n])
    rows = max(1, CHUNK_ELEMENTS // n)
    for start in range(0, resamples, rows):
        yield _counts(rng, min(rows, resamples - start), n)


def _counts(rng: np.random.Generator, rows: int, n: int) -> FloatArray:
    drawn = rng.integers(0, n, size=(rows, n)) + n * np.arange(rows)[:, np.newaxis]
    return np.bincount(drawn.ravel(), minlength=rows * n).reshape(rows, n).astype(np.float64)
