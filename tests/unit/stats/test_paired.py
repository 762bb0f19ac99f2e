import numpy as np
import pytest
from scipy import stats

from bench.stats.paired import holm, paired_difference, paired_ratio_difference


def difference_of_means(a, b, axis):
    return np.mean(a - b, axis=axis)


def test_a_hand_case():
    # Five clips, all better: 2 of the 2^5 sign patterns are as extreme.
    comparison = paired_difference([2, 3, 4, 5, 6], [1, 1, 1, 1, 1])
    assert comparison.difference == pytest.approx(3.0)
    assert comparison.p_value == pytest.approx(2 / 32)
    assert comparison.n == 5
    assert comparison.tie  # with five clips nothing can be below 0.05


def test_equal_codecs_tie():
    comparison = paired_difference([1, 2, 3, 4], [1, 2, 3, 4])
    assert (comparison.difference, comparison.low, comparison.high) == (0, 0, 0)
    assert comparison.p_value == 1
    assert comparison.tie


def test_no_common_clip():
    comparison = paired_difference([], [])
    assert comparison.n == 0
    assert comparison.tie


@pytest.mark.parametrize("n", [6, 9, 12])
def test_exact_p_value_is_that_of_scipy(n):
    rng = np.random.default_rng(n)
    a = rng.normal(size=n)
    b = a + rng.normal(0.4, 0.6, size=n)
    theirs = stats.permutation_test(
        (a, b), difference_of_means, permutation_type="samples", n_resamples=10_000
    )
    assert paired_difference(a, b).p_value == pytest.approx(theirs.pvalue, abs=1e-12)


def test_monte_carlo_p_value_is_near_that_of_scipy():
    rng = np.random.default_rng(1)
    a = rng.normal(size=40)
    b = a + rng.normal(0.15, 0.5, size=40)
    theirs = stats.permutation_test(
        (a, b), difference_of_means, permutation_type="samples", n_resamples=20_000, random_state=0
    )
    ours = paired_difference(a, b, resamples=20_000)
    assert ours.p_value == pytest.approx(theirs.pvalue, abs=0.01)


def test_p_values_of_equal_codecs_are_uniform():
    rng = np.random.default_rng(2)
    p_values = [
        paired_difference(*rng.normal(size=(2, 20)), resamples=199).p_value for _ in range(400)
    ]
    assert np.mean(np.array(p_values) < 0.05) == pytest.approx(0.05, abs=0.025)


def test_ratio_difference_is_of_totals():
    comparison = paired_ratio_difference([3, 1, 0], [10, 10, 4], [1, 0, 0], [10, 10, 4])
    assert comparison.difference == pytest.approx(4 / 24 - 1 / 24)
    # Swaps: the clip with (0, 0) changes nothing; both others must point the same way: 4 of 8.
    assert comparison.p_value == pytest.approx(0.5)


def test_ratio_with_unequal_word_counts_swaps_whole_clips():
    # Two clips; swapping clip 1, clip 2, both or none gives +-d and +-e.
    comparison = paired_ratio_difference([4, 1], [10, 5], [1, 0], [8, 5])
    none = 5 / 15 - 1 / 13
    first = (1 + 1) / (8 + 5) - (4 + 0) / (10 + 5)
    assert comparison.difference == pytest.approx(none)
    assert abs(first) < none
    assert comparison.p_value == pytest.approx(2 / 4)


def test_order_of_clips_does_not_matter():
    rng = np.random.default_rng(9)
    a, b = rng.normal(size=(2, 30))
    order = rng.permutation(30)
    assert paired_difference(a, b) == paired_difference(a[order], b[order])


def test_holm_by_hand():
    corrected = holm([0.01, np.nan, 0.04, 0.03])
    assert corrected[[0, 2, 3]] == pytest.approx([0.03, 0.06, 0.06])
    assert np.isnan(corrected[1])
    assert holm([0.9, 0.8]) == pytest.approx([1.0, 1.0])
