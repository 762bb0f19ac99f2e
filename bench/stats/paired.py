"""Clip-paired comparison of two codecs: difference, interval and permutation p-value.

Clips differ far more from each other than codecs do, so codecs are compared on the clips that both
could be measured on, clip by clip. An observation is a row ``(numerator, denominator)`` of the
codec and the same of the reference: ``(value, 1, value, 1)`` or ``(edits, words, edits, words)``.

Under the hypothesis that the two codecs are alike, either could have given either value of a clip,
so swapping them at random (for means: flipping the sign of the difference) gives the null
distribution of the difference. All ``2^n`` swaps are taken where that is no more than the number
of resamples, random ones otherwise. With fewer than six clips no p-value can be below 0.05.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from bench.stats.bootstrap import (
    CHUNK_ELEMENTS,
    CONFIDENCE,
    RESAMPLES,
    FloatArray,
    bootstrap,
    in_order,
    ratio,
)

#: At or above this p-value a difference counts as a tie.
SIGNIFICANCE = 0.05


@dataclass(frozen=True)
class Comparison:
    """A codec against a reference codec on ``n`` common clips.

    Attributes:
        difference: Codec minus reference, in the metric's unit.
        low: Lower bound of its bootstrap interval.
        high: Upper bound.
        p_value: Two-sided, from swapping the codecs clip by clip.
        n: Clips that both have a value for.
    """

    difference: float
    low: float
    high: float
    p_value: float
    n: int

    @property
    def tie(self) -> bool:
        """Whether the difference could well be chance: the test decides, not the interval."""
        return not self.p_value < SIGNIFICANCE


@dataclass(frozen=True)
class Null:
    """Differences under random swaps: ``observed`` one, and ``swapped`` ones ``[R]``."""

    observed: float
    swapped: FloatArray
    exact: bool

    @property
    def p_value(self) -> float:
        """Two-sided: how often a swap gives a difference as large as the observed one."""
        if not np.isfinite(self.observed):
            return float("nan")
        limit = abs(self.observed) * (1 - 1e-9)  # sums in another order differ in the last bits
        extreme = int(np.count_nonzero(~(np.abs(self.swapped) < limit)))
        if self.exact:
            return extreme / len(self.swapped)
        return (extreme + 1) / (len(self.swapped) + 1)  # the observed labelling is one of them


def paired_difference(
    values: ArrayLike,
    reference: ArrayLike,
    *,
    confidence: float = CONFIDENCE,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Comparison:
    """Compare means: values of a codec and of a reference codec on the same clips, ``[n]`` each."""
    a, b = np.asarray(values, np.float64), np.asarray(reference, np.float64)
    ones = np.ones_like(a)
    return paired_ratio_difference(
        a, ones, b, ones, confidence=confidence, resamples=resamples, seed=seed
    )


def paired_ratio_difference(
    numerators: ArrayLike,
    denominators: ArrayLike,
    reference_numerators: ArrayLike,
    reference_denominators: ArrayLike,
    *,
    confidence: float = CONFIDENCE,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Comparison:
    """Compare corpus ratios, e.g. word error rates from edits and words per clip, ``[n]`` each."""
    columns = (numerators, denominators, reference_numerators, reference_denominators)
    sample = np.stack([np.asarray(column, np.float64) for column in columns], axis=-1)
    if len(sample) == 0:
        return Comparison(np.nan, np.nan, np.nan, np.nan, 0)
    (spread,) = bootstrap([sample], ratio_difference, resamples=resamples, seed=seed)
    (null,) = swap_nulls([sample], resamples=resamples, seed=seed)
    interval = spread.interval(confidence)
    return Comparison(interval.estimate, interval.low, interval.high, null.p_value, interval.n)


def ratio_difference(sums: FloatArray) -> FloatArray:
    """Return the ratio of columns 0, 1 minus that of columns 2, 3: ``[..., 4] -> [...]``."""
    return ratio(sums[..., :2]) - ratio(sums[..., 2:])


def swap_nulls(
    samples: Sequence[FloatArray],
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
    stream: int = 0,
    exact: bool = True,
) -> list[Null]:
    """Swap codec and reference clip by clip, for many samples of the same size together.

    Args:
        samples: ``k`` arrays ``[n, 4]``; rows in any order.
        resamples: How many random swaps are drawn.
        seed: Of the drawing.
        stream: Nulls that will be averaged need streams of their own.
        exact: Whether to take all swaps where they are few.
    """
    if not samples:
        return []
    columns = np.stack([in_order(sample) for sample in samples], axis=1)  # [n, k, 4]
    n, k, _ = columns.shape
    middle = (columns[..., :2] + columns[..., 2:]).sum(axis=0) / 2  # [k, 2]
    half = ((columns[..., :2] - columns[..., 2:]) / 2).reshape(n, k * 2)
    use_all = exact and 2**n <= resamples + 1
    chunks = [_all_signs(n)] if use_all else _random_signs(n, resamples, seed, stream)
    offset = np.concatenate([signs @ half for signs in chunks]).reshape(-1, k, 2)
    swapped = ratio(middle + offset) - ratio(middle - offset)  # [R, k]
    observed = ratio_difference(columns.sum(axis=0))
    return [Null(float(observed[i]), swapped[:, i], use_all) for i in range(k)]


def average_nulls(nulls: Sequence[Null]) -> Null:
    """Return the null of the mean of independent differences; none of them may be exact."""
    assert not any(null.exact for null in nulls), "all swaps of several strata cannot be paired up"
    return Null(
        observed=sum(null.observed for null in nulls) / len(nulls),
        swapped=np.mean([null.swapped for null in nulls], axis=0),
        exact=False,
    )


def holm(p_values: ArrayLike) -> FloatArray:
    """Return p-values corrected for testing several codecs at once; NaN stays NaN.

    Holm (1979), "A simple sequentially rejective multiple test procedure".

    Example:
        >>> [round(float(p), 3) for p in holm([0.01, 0.04, 0.03])]
        [0.03, 0.06, 0.06]
    """
    values = np.asarray(p_values, dtype=np.float64)
    corrected = np.full(values.shape, np.nan)
    tested = np.flatnonzero(np.isfinite(values))
    order = tested[np.argsort(values[tested], kind="stable")]
    steps = values[order] * np.arange(len(order), 0, -1)
    corrected[order] = np.minimum(np.maximum.accumulate(steps), 1.0)
    return corrected


def _all_signs(n: int) -> FloatArray:
    """Return every row of ``n`` signs, ``[2^n, n]``."""
    bits = np.arange(2**n)[:, np.newaxis] >> np.arange(n)
    return 1.0 - 2.0 * (bits & 1)


def _random_signs(n: int, resamples: int, seed: int, stream: int) -> Iterator[FloatArray]:
    rng = np.random.default_rng([seed, stream, n, 1])
    rows = max(1, CHUNK_ELEMENTS // n)
    for start in range(0, resamples, rows):
        size = (min(rows, resamples - start), n)
        yield 2.0 * rng.integers(0, 2, size=size).astype(np.float64) - 1.0
