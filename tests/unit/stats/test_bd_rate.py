"""Bjøntegaard deltas: against the reference package, hand cases, refusals, intervals."""

import dataclasses
import math

import numpy as np
import pytest
from scipy.interpolate import Akima1DInterpolator, PchipInterpolator

from bench.errors import MeasureError, Reason, UsageError
from bench.results import MetricInfo
from bench.stats.bd_rate import bd_quality, bd_rate
from bench.stats.bd_table import BD_COLUMNS, bd_table, curve_name
from bench.stats.interpolation import area

bjontegaard = pytest.importorskip("bjontegaard", reason="needs the package bjontegaard")
METHODS = ("pchip", "akima", "cubic")


def random_curve(rng, points):
    rates = np.sort(rng.uniform(0.3, 30, points)) + 0.1 * np.arange(points)
    return rates, np.sort(rng.uniform(1, 5, points)) + 0.01 * np.arange(points)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("seed", range(8))
def test_equals_the_reference_package(method, seed):
    rng = np.random.default_rng(seed)
    first, second = random_curve(rng, 4 + seed % 3), random_curve(rng, 4 + seed % 2)
    options = {"method": method, "require_matching_points": False, "min_overlap": 0}
    theirs = bjontegaard.bd_rate(*first, *second, **options)
    assert bd_rate(*first, *second, method=method) == pytest.approx(theirs, rel=1e-9)
    theirs = bjontegaard.bd_psnr(*first, *second, **options)
    assert bd_quality(*first, *second, method=method) == pytest.approx(theirs, rel=1e-9)


@pytest.mark.parametrize(
    ("method", "scipys"), [("pchip", PchipInterpolator), ("akima", Akima1DInterpolator)]
)
def test_area_is_that_of_scipys_curve(method, scipys):
    rng = np.random.default_rng(3)
    x = np.sort(rng.uniform(0, 10, (20, 6)), axis=1)
    y = rng.normal(size=(20, 6))  # turns and overshoots too
    low, high = x[:, 0] + 0.1, x[:, -1] - 0.2
    expected = [
        scipys(*curve).integrate(*ends)
        for *curve, ends in zip(x, y, zip(low, high, strict=True), strict=True)
    ]
    np.testing.assert_allclose(area(x, y, low, high, method), expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("method", METHODS)
def test_twice_the_bits_for_the_same_quality(method):
    rates, quality = np.array([1.0, 2.0, 4.0, 8.0]), np.array([1.0, 2.0, 3.0, 4.0])
    assert bd_rate(rates, quality, 2 * rates, quality, method=method) == pytest.approx(100)
    assert bd_rate(2 * rates, quality, rates, quality, method=method) == pytest.approx(-50)
    # Quality rises by 1 with each doubling, so twice the bits at equal rate is 1 less.
    assert bd_quality(rates, quality, 2 * rates, quality, method=method) == pytest.approx(-1)


def test_order_of_points_does_not_matter():
    assert bd_rate([4, 1, 2], [3, 1, 2], [8, 2, 4], [3, 1, 2]) == pytest.approx(100)


def test_lower_is_better():
    rates, distance = [1, 2, 4, 8], [4.0, 3.0, 2.0, 1.0]
    doubled = [2, 4, 8, 16]
    assert bd_rate(rates, distance, doubled, distance, higher_is_better=False) == pytest.approx(100)
    assert bd_quality(rates, distance, doubled, distance) == pytest.approx(1)  # further away: worse


@pytest.mark.parametrize(("method", "points"), [("pchip", 1), ("akima", 2), ("cubic", 3)])
def test_too_few_points_says_which_method(method, points):
    full, short = ([1, 2, 4, 8], [1, 2, 3, 4]), ([1, 2, 4][:points], [1, 2, 3][:points])
    with pytest.raises(
        MeasureError, match=f"{method} needs {points + 1} points.*second has {points}"
    ) as caught:
        bd_rate(*full, *short, method=method)
    assert caught.value.reason is Reason.TOO_FEW_POINTS


@pytest.mark.parametrize(
    ("delta", "second"), [(bd_rate, ([1, 2, 4], [7, 8, 9])), (bd_quality, ([5, 6, 7], [1, 2, 3]))]
)
def test_no_overlap_is_refused(delta, second):
    with pytest.raises(MeasureError, match="extrapolation") as caught:
        delta([1, 2, 4], [1, 2, 3], *second)
    assert caught.value.reason is Reason.NO_OVERLAP


def test_quality_that_falls_has_no_rate_but_a_quality():
    falling = ([1, 2, 4], [1, 3, 2])
    with pytest.raises(MeasureError, match="first codec's quality does not rise") as caught:
        bd_rate(*falling, [1, 2, 4], [1, 2, 3])
    assert caught.value.reason is Reason.NOT_MONOTONE
    assert math.isfinite(bd_quality(*falling, [1, 2, 4], [1, 2, 3]))


def test_unknown_method_names_the_near_one():
    with pytest.raises(UsageError, match="did you mean pchip"):
        bd_rate([1, 2], [1, 2], [1, 2], [1, 2], method="pchp")


@pytest.mark.parametrize(
    ("rates", "message"), [([0, 1], "above 0 kbps"), ([1, 2, 3], "as many bitrates")]
)
def test_input_is_checked(rates, message):
    with pytest.raises(ValueError, match=message):
        bd_rate(rates, [1, 2], [1, 2], [1, 2])


@pytest.mark.parametrize(
    ("codec", "name"), [("opus@6kbps", "opus"), ("a:B@1:k=v", "a:B:k=v"), ("mimi", "mimi")]
)
def test_curve_name(codec, name):
    assert curve_name(codec) == name


# --- of a run -------------------------------------------------------------------------------------

CODECS = {
    f"{family}@{rate}kbps": rate for family in ("opus", "other") for rate in (6.0, 12.0, 24.0)
}
QUALITY = MetricInfo("quality", "f1", unit="MOS")
ERRORS = MetricInfo("wer", "f2", higher_is_better=False, domains=("speech",))


def planted(make_results, factor=2.0, noise=0.1, clips=12, **options):
    """A run in which ``other`` needs ``factor`` times the bits of ``opus`` for the same quality."""
    results = make_results(
        codecs=CODECS, metrics=[QUALITY], clips=clips, domains=("speech",), **options
    )
    rows, rng = results.rows, np.random.default_rng(1)
    kbps = rows["nominal_kbps"] / np.where(rows["family"] == "other", factor, 1)
    shifts = zip(results.clips["clip"], rng.normal(0, 1, clips), strict=True)
    clip = rows["clip"].map(dict(shifts))
    value = np.log2(kbps) + clip + rng.normal(0, noise, len(rows))
    return dataclasses.replace(
        results, rows=rows.assign(value=value, measured_kbps=rows["nominal_kbps"])
    )


def test_table_recovers_what_was_planted(make_results):
    table = bd_table(planted(make_results), "opus", "other")
    (line,) = table.to_dict("records")
    assert tuple(table.columns) == BD_COLUMNS
    assert line["bd_rate_low"] < 100 < line["bd_rate_high"]
    assert line["bd_rate_percent"] == pytest.approx(100, abs=10)
    assert line["bd_quality"] == pytest.approx(-1, abs=0.1)
    assert line["bd_quality_low"] < -1 < line["bd_quality_high"]
    assert (line["n"], line["points_first"], line["points_second"]) == (12, 3, 3)


def test_table_equals_the_function_on_the_means(make_results):
    results = planted(make_results)
    means = results.rows.groupby("codec")["value"].mean()
    curves = [
        ([6, 12, 24], [means[f"{name}@{rate}.0kbps"] for rate in (6, 12, 24)])
        for name in ("opus", "other")
    ]
    (line,) = bd_table(results, "opus", "other", resamples=0).to_dict("records")
    assert line["bd_rate_percent"] == pytest.approx(bd_rate(*curves[0], *curves[1]))
    assert math.isnan(line["bd_rate_low"])


def test_same_seed_same_interval_and_pairing_narrows_it(make_results):
    results = planted(make_results)
    once, again = (bd_table(results, "opus", "other", seed=5) for _ in range(2))
    assert once.equals(again)
    # Clips differ by 1 (standard deviation): unpaired, the interval would span an octave or more.
    assert once["bd_quality_high"].item() - once["bd_quality_low"].item() < 0.3


def test_clips_that_lack_a_point_are_left_out(make_results):
    lost = {("opus@12.0kbps", "speech-03", "quality"): Reason.METRIC_ERROR}
    results = planted(make_results, reasons=lost)
    rows = results.rows.assign(value=results.rows["value"].where(results.rows["status"] == "ok"))
    (line,) = bd_table(dataclasses.replace(results, rows=rows), "opus", "other").to_dict("records")
    assert line["n"] == 11


def test_refusals_are_typed_in_the_table(make_results):
    (line,) = bd_table(planted(make_results, factor=2.0**7), "opus", "other").to_dict("records")
    assert (line["bd_rate_reason"], line["bd_quality_reason"]) == ("no_overlap", "")
    assert math.isnan(line["bd_rate_percent"])
    assert "extrapolation" in line["message"]


def test_corpus_ratio_is_a_ratio_of_sums(make_results):
    results = make_results(codecs=CODECS, metrics=[ERRORS], clips=6, domains=("speech",))
    rows = results.rows.copy()
    step = rows["nominal_kbps"].map({6.0: 3, 12.0: 2, 24.0: 1}) + (rows["family"] == "other")
    words = rows["clip"].str[-2:].astype(int) * 50 + 10
    rows["detail"] = [
        f'{{"edits": {e}, "words": {w}}}' for e, w in zip(step * 2, words, strict=True)
    ]
    rows["value"] = step * 2 / words
    rows["measured_kbps"] = rows["nominal_kbps"]
    (line,) = bd_table(dataclasses.replace(results, rows=rows), "opus", "other").to_dict("records")
    total = sum(k * 50 + 10 for k in range(6))
    assert line["bd_quality"] == pytest.approx(12 / total)  # 2 more edits in each of 6 clips


def test_all_pairs_once_and_names_are_checked(make_results):
    results = planted(make_results)
    assert len(bd_table(results, resamples=0)) == 1
    assert bd_table(results, second="opus", resamples=0)["first"].tolist() == ["other"]
    with pytest.raises(UsageError, match="did you mean other"):
        bd_table(results, "othr")
    with pytest.raises(UsageError, match="two different codecs"):
        bd_table(results, "opus", "opus")
    with pytest.raises(UsageError, match="unknown metric"):
        bd_table(results, metrics=["qualty"])
