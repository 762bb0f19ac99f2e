"""Bjøntegaard deltas: bitrate saved at equal quality, quality gained at equal bitrate.

Bjøntegaard, "Calculation of average PSNR differences between RD-curves", VCEG-M33 (2001): a curve
through the operating points of each codec, quality over the logarithm of the bitrate. BD-rate is
the mean distance of the curves along the rate axis over the qualities both reach, BD-quality along
the quality axis over the bitrates both reach. Herglotz et al., "Beyond Bjøntegaard" (2022), compare
the ways to draw the curve (:mod:`bench.stats.interpolation`).

Everything is second codec minus first. BD-rate is in percent: -30 says that the second needs 30 %
fewer bits for the same quality. BD-quality is in the metric's unit. A delta of curves that do not
overlap would be an extrapolation and is refused, with a typed reason.

Those of a run, with intervals: :mod:`bench.stats.bd_table`.

Axes: ``R`` resamples, ``P`` points of a curve.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bench.errors import MeasureError, Reason, unknown_name
from bench.stats.bootstrap import FloatArray
from bench.stats.interpolation import FEWEST_POINTS, area


@dataclass(frozen=True)
class Curves:
    """One codec's curve, once for each resample: bitrates in kbps and qualities, ``[R, P]``."""

    kbps: FloatArray
    quality: FloatArray


def bd_rate(
    first_kbps: ArrayLike,
    first_quality: ArrayLike,
    second_kbps: ArrayLike,
    second_quality: ArrayLike,
    *,
    method: str = "pchip",
    higher_is_better: bool = True,
) -> float:
    """Return how much more bitrate the second codec needs for the same quality, percent.

    Args:
        first_kbps: Bitrates of the first codec's points, ``[P]``, in any order.
        first_quality: Their qualities, ``[P]``.
        second_kbps: The same of the second codec; the number of points may differ.
        second_quality: The same of the second codec.
        method: ``pchip`` (2 points at least), ``akima`` (3) or ``cubic`` (4).
        higher_is_better: Of the quality; False for a distance.

    Raises:
        MeasureError: With reason ``too_few_points``, ``not_monotone`` or ``no_overlap``.

    Example:
        >>> round(bd_rate([1, 2, 4], [1.0, 2.0, 3.0], [2, 4, 8], [1.0, 2.0, 3.0]), 6)
        100.0
    """
    first = _curve(first_kbps, first_quality)
    second = _curve(second_kbps, second_quality)
    return observed_delta(first, second, rate_view, sign_of(higher_is_better), method)


def bd_quality(
    first_kbps: ArrayLike,
    first_quality: ArrayLike,
    second_kbps: ArrayLike,
    second_quality: ArrayLike,
    *,
    method: str = "pchip",
) -> float:
    """Return how much higher the second codec's value is at the same bitrate, in the metric's unit.

    Arguments and errors are those of :func:`bd_rate`.

    Example:
        >>> round(bd_quality([1, 2, 4], [1.0, 2.0, 3.0], [1, 2, 4], [1.5, 2.5, 3.5]), 6)
        0.5
    """
    first = _curve(first_kbps, first_quality)
    second = _curve(second_kbps, second_quality)
    return observed_delta(first, second, quality_view, 1, method)


def _curve(kbps: ArrayLike, quality: ArrayLike) -> Curves:
    rates, values = np.asarray(kbps, np.float64), np.asarray(quality, np.float64)
    if rates.shape != values.shape or rates.ndim != 1:
        raise ValueError(
            f"expected as many bitrates as qualities, got shapes {rates.shape} and {values.shape}"
        )
    if not (rates > 0).all():
        raise ValueError(f"expected bitrates above 0 kbps, got {rates.tolist()}")
    order = np.argsort(rates, kind="stable")
    return Curves(rates[None, order], values[None, order])


def sign_of(higher_is_better: bool) -> int:
    """Return the factor that turns a metric so that better is more."""
    return 1 if higher_is_better else -1


# --- the two views of a curve ------------------------------------------------------------------


@dataclass(frozen=True)
class View:
    """A curve as ``y`` over ``x``, ``[R, P]``, and what ``x`` is called."""

    x: FloatArray
    y: FloatArray
    name: str


ViewOf = Callable[[Curves, int], View]


def rate_view(curves: Curves, sign: int) -> View:
    """Return log bitrate over quality, turned so that better is to the right."""
    return View(sign * curves.quality, np.log(curves.kbps), "quality")


def quality_view(curves: Curves, sign: int) -> View:
    """Return quality over log bitrate, in the metric's own direction."""
    return View(np.log(curves.kbps), curves.quality, "bitrate")


def as_delta(gap: FloatArray, view: View) -> FloatArray:
    """Return percent from a mean distance of log bitrates; a distance of qualities stays."""
    return np.asarray(100 * np.expm1(gap)) if view.name == "quality" else gap


def mean_gap(first: View, second: View, method: str) -> FloatArray:
    """Return the mean of second minus first over the common x of each curve, ``[R]``.

    NaN where x does not rise or nothing is in common.
    """
    low = np.maximum(first.x[:, 0], second.x[:, 0])
    high = np.minimum(first.x[:, -1], second.x[:, -1])
    usable = (high > low) & _rises(first.x) & _rises(second.x)
    usable &= np.isfinite(first.y).all(axis=1) & np.isfinite(second.y).all(axis=1)
    gap = np.full(len(low), np.nan)
    low, high = low[usable], high[usable]
    areas = [area(view.x[usable], view.y[usable], low, high, method) for view in (first, second)]
    gap[usable] = (areas[1] - areas[0]) / (high - low)
    return gap


def _rises(x: FloatArray) -> NDArray[np.bool_]:
    return np.all(np.diff(x) > 0, axis=1)


def observed_delta(first: Curves, second: Curves, view: ViewOf, sign: int, method: str) -> float:
    """Return the delta of single curves.

    Raises:
        MeasureError: If it is not defined.
    """
    one, other = view(first, sign), view(second, sign)
    _check(one, other, method)
    return float(as_delta(mean_gap(one, other, method), one)[0])


def _check(first: View, second: View, method: str) -> None:
    if method not in FEWEST_POINTS:
        raise unknown_name("method", method, FEWEST_POINTS)
    for name, view in (("first", first), ("second", second)):
        points, fewest = view.x.shape[1], FEWEST_POINTS[method]
        if points < fewest:
            raise MeasureError(
                Reason.TOO_FEW_POINTS,
                f"{method} needs {fewest} points of each codec, the {name} has {points}",
            )
        if not (np.isfinite(view.x).all() and np.isfinite(view.y).all() and _rises(view.x).all()):
            raise MeasureError(
                Reason.NOT_MONOTONE,
                f"the {name} codec's {view.name} does not rise from point to point, "
                "so it has no curve along that axis",
            )
    (first_low, first_high), (second_low, second_high) = _span(first), _span(second)
    if min(first_high, second_high) <= max(first_low, second_low):
        raise MeasureError(
            Reason.NO_OVERLAP,
            f"no {first.name} is reached by both codecs; a delta would be an extrapolation",
        )


def _span(view: View) -> tuple[float, float]:
    return float(view.x[0, 0]), float(view.x[0, -1])
