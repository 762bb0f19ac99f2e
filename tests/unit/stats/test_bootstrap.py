import numpy as np
import pytest
from scipy import stats

from bench.stats.bootstrap import average, bootstrap, mean_interval, ratio, ratio_interval


def test_equal_values_have_an_interval_of_no_width():
    interval = mean_interval([0.1] * 7)
    assert interval.estimate == pytest.approx(0.1)
    assert interval.low == interval.high == interval.estimate


@pytest.mark.parametrize("values", [[], [3.0]])
def test_below_two_values_there_is_no_interval(values):
    interval = mean_interval(values)
    assert interval.n == len(values)
    assert np.isnan(interval.low)
    assert np.isnan(interval.high)


def test_two_values_give_the_percentile_interval():
    # The mean of two draws from {0, 1} is 0, 0.5 or 1 with probability 1/4, 1/2, 1/4.
    interval = mean_interval([0.0, 1.0])
    assert (interval.low, interval.estimate, interval.high) == (0.0, 0.5, 1.0)


def test_a_corpus_ratio_is_total_over_total():
    interval = ratio_interval([1, 0, 3], [10, 5, 5])
    assert interval.estimate == pytest.approx(4 / 20)  # not (0.1 + 0 + 0.6) / 3
    assert interval.low <= interval.estimate <= interval.high


def test_equal_ratios_of_unequal_clips_have_an_interval_of_no_width():
    interval = ratio_interval([1, 2, 3, 4, 5, 6], [3, 6, 9, 12, 15, 18])
    assert interval.high - interval.low < 1e-12


def test_the_order_of_clips_does_not_matter():
    rng = np.random.default_rng(3)
    edits, words = rng.poisson(2, 40), rng.integers(5, 30, 40)
    order = rng.permutation(40)
    assert ratio_interval(edits, words) == ratio_interval(edits[order], words[order])
    assert mean_interval(words / 7) == mean_interval(words[order] / 7)


def test_the_seed_decides():
    values = np.random.default_rng(4).normal(size=20)
    assert mean_interval(values, seed=1) == mean_interval(values, seed=1)
    assert mean_interval(values, seed=1) != mean_interval(values, seed=2)


@pytest.mark.parametrize("n", [6, 25, 200])
def test_mean_interval_agrees_with_scipy(n):
    values = np.random.default_rng(n).lognormal(size=n)
    theirs = stats.bootstrap((values,), np.mean, n_resamples=20_000, batch=1000, random_state=0)
    interval = mean_interval(values, resamples=20_000)
    width = interval.high - interval.low
    # Two sets of 20000 resamples put a 2.5 % quantile within a few hundredths of the width.
    assert interval.low == pytest.approx(theirs.confidence_interval.low, abs=0.03 * width)
    assert interval.high == pytest.approx(theirs.confidence_interval.high, abs=0.04 * width)


def test_ratio_interval_agrees_with_scipy():
    rng = np.random.default_rng(8)
    edits, words = rng.poisson(1.5, 60), rng.integers(5, 30, 60)

    def corpus_ratio(edits, words, axis):
        return edits.sum(axis=axis) / words.sum(axis=axis)

    theirs = stats.bootstrap(
        (edits, words), corpus_ratio, paired=True, n_resamples=20_000, batch=1000, random_state=0
    ).confidence_interval
    ours = ratio_interval(edits, words, resamples=20_000)
    width = ours.high - ours.low
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=0.03 * width)


@pytest.mark.parametrize(("n", "expected"), [(8, 0.845), (30, 0.92), (100, 0.94)])
def test_the_interval_covers_the_mean_about_as_often_as_it_says(n, expected):
    # Exponential values: skewed, mean 1. What scipy.stats.bootstrap reaches too.
    rng = np.random.default_rng(5)
    samples = [np.column_stack([row, np.ones(n)]) for row in rng.exponential(size=(1000, n))]
    intervals = [one.interval() for one in bootstrap(samples, ratio, resamples=999)]
    covered = np.mean([one.low <= 1.0 <= one.high for one in intervals])
    assert covered == pytest.approx(expected, abs=0.03)


def test_samples_resampled_together_are_as_if_alone():
    rng = np.random.default_rng(6)
    samples = [np.column_stack([rng.normal(size=12), np.ones(12)]) for _ in range(3)]
    together = [one.interval() for one in bootstrap(samples, ratio)]
    alone = [mean_interval(sample[:, 0]) for sample in samples]
    for one, other in zip(together, alone, strict=True):
        assert (one.low, one.high) == pytest.approx((other.low, other.high), rel=1e-12)


def test_average_of_two_strata_has_the_standard_error_of_independent_means():
    rng = np.random.default_rng(7)
    strata = [rng.normal(size=400), rng.normal(5.0, 2.0, size=400)]
    distributions = [
        bootstrap([np.column_stack([values, np.ones(400)])], ratio, stream=stream)[0]
        for stream, values in enumerate(strata)
    ]
    mean = average(distributions)
    assert mean.estimate == pytest.approx((strata[0].mean() + strata[1].mean()) / 2)
    expected = np.sqrt(sum(values.var() / 400 for values in strata)) / 2
    assert mean.replicates.std() == pytest.approx(expected, rel=0.03)
