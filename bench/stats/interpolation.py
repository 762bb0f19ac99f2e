"""Curves through a few points, and the area below them, for many curves at once.

``pchip``
    Piecewise cubic, monotone where the points are: Fritsch and Butland (1984), "A method for
    constructing local monotone piecewise cubic interpolants", with one-sided three-point slopes at
    the ends. The same curve as :class:`scipy.interpolate.PchipInterpolator`.
``akima``
    Piecewise cubic: Akima (1970), "A new method of interpolation and smooth curve fitting based on
    local procedures". The same curve as :class:`scipy.interpolate.Akima1DInterpolator`.
``cubic``
    One polynomial of third degree, by least squares beyond four points, as in Bjøntegaard's
    original proposal (VCEG-M33, 2001).

Axes: ``R`` curves, ``P`` points; ``x`` rises strictly along the points of each curve.
"""

import numpy as np

from bench.stats.bootstrap import FloatArray

#: Method -> the fewest points that it can draw a curve through.
FEWEST_POINTS = {"pchip": 2, "akima": 3, "cubic": 4}


def area(
    x: FloatArray, y: FloatArray, low: FloatArray, high: FloatArray, method: str
) -> FloatArray:
    """Return the integral of each curve from ``low`` to ``high``.

    Args:
        x: ``[R, P]``, strictly rising.
        y: ``[R, P]``.
        low: ``[R]``, within the points.
        high: ``[R]``, within the points.
        method: A key of :data:`FEWEST_POINTS`.
    """
    if method == "cubic":
        return _polynomial_area(x, y, low, high)
    slopes = _akima_slopes(x, y) if method == "akima" else _pchip_slopes(x, y)
    return _hermite_area(x, y, slopes, low, high)


def _hermite_area(
    x: FloatArray, y: FloatArray, slopes: FloatArray, low: FloatArray, high: FloatArray
) -> FloatArray:
    """Integrate the cubic pieces that have these values and slopes at their ends."""
    width = np.diff(x)
    rise, first, last = np.diff(y), width * slopes[:, :-1], width * slopes[:, 1:]
    coefficients = (y[:, :-1], first, 3 * rise - 2 * first - last, first + last - 2 * rise)
    start = np.clip((low[:, None] - x[:, :-1]) / width, 0, 1)  # of a piece, its length being 1
    end = np.clip((high[:, None] - x[:, :-1]) / width, 0, 1)
    pieces = sum(
        factor * (end ** (power + 1) - start ** (power + 1)) / (power + 1)
        for power, factor in enumerate(coefficients)
    )
    return np.asarray(width * pieces).sum(axis=1)


def _pchip_slopes(x: FloatArray, y: FloatArray) -> FloatArray:
    width = np.diff(x)
    secants = np.diff(y) / width
    if x.shape[1] == 2:
        return np.repeat(secants, 2, axis=1)
    before, after = secants[:, :-1], secants[:, 1:]
    left, right = 2 * width[:, 1:] + width[:, :-1], width[:, 1:] + 2 * width[:, :-1]
    turns = before * after <= 0
    safe_before, safe_after = np.where(turns, 1, before), np.where(turns, 1, after)
    inner = (left + right) / (left / safe_before + right / safe_after)
    return np.column_stack(
        [
            _end_slope(width[:, 0], width[:, 1], secants[:, 0], secants[:, 1]),
            np.where(turns, 0, inner),
            _end_slope(width[:, -1], width[:, -2], secants[:, -1], secants[:, -2]),
        ]
    )


def _end_slope(
    width: FloatArray, next_width: FloatArray, secant: FloatArray, next_secant: FloatArray
) -> FloatArray:
    """Return the slope at an end of the points, held back where it would overshoot."""
    slope = ((2 * width + next_width) * secant - width * next_secant) / (width + next_width)
    slope = np.where(np.sign(slope) != np.sign(secant), 0, slope)
    turns = np.sign(secant) != np.sign(next_secant)
    return np.where(turns & (np.abs(slope) > 3 * np.abs(secant)), 3 * secant, slope)


def _akima_slopes(x: FloatArray, y: FloatArray) -> FloatArray:
    secants = np.diff(y) / np.diff(x)
    for _ in range(2):  # two more at each end, continued on a straight line
        first = 2 * secants[:, :1] - secants[:, 1:2]
        last = 2 * secants[:, -1:] - secants[:, -2:-1]
        secants = np.concatenate([first, secants, last], axis=1)
    bends = np.abs(np.diff(secants))
    left, right = bends[:, :-2], bends[:, 2:]
    total = left + right
    straight = total <= 1e-9 * total.max(axis=1, keepdims=True)
    weighted = right * secants[:, 1:-2] + left * secants[:, 2:-1]
    middle = (secants[:, :-3] + secants[:, 3:]) / 2
    return np.where(straight, middle, weighted / np.where(straight, 1, total))


def _polynomial_area(x: FloatArray, y: FloatArray, low: FloatArray, high: FloatArray) -> FloatArray:
    # Centred and scaled: powers of raw quality values are badly conditioned.
    centre, scale = x.mean(axis=1, keepdims=True), np.ptp(x, axis=1, keepdims=True)
    powers = ((x - centre) / scale)[..., None] ** np.arange(4)  # [R, P, 4]
    factors = (np.linalg.pinv(powers) @ y[..., None])[..., 0]
    degrees = np.arange(1, 5)
    start, end = (((bound[:, None] - centre) / scale) ** degrees for bound in (low, high))
    return np.asarray(scale[:, 0] * (factors * (end - start) / degrees).sum(axis=1))
