"""Probes on vectors of which it is known what can be told."""

import numpy as np
import pytest

from bench.probes.probing import PROBES, chance, difference, run_probe

COUNT = 80
LABELS = np.array([("a", "b", "c", "d")[i % 4] for i in range(COUNT)])
GROUPS = [f"g{i // 8}" for i in range(COUNT)]
FOLDS = np.arange(COUNT) // 20
SPLITS = [(np.flatnonzero(f != FOLDS), np.flatnonzero(f == FOLDS)) for f in range(4)]


def vectors(signal: float, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    centers = np.random.default_rng(9).standard_normal((4, 12))
    return (signal * centers[np.arange(COUNT) % 4] + rng.standard_normal((COUNT, 12))).astype("f4")


@pytest.mark.parametrize("kind", PROBES)
def test_what_is_there_is_told_and_what_is_not_is_not(kind):
    clear = run_probe(vectors(4.0), LABELS, [""] * COUNT, SPLITS, kind)
    nothing = run_probe(vectors(0.0), LABELS, [""] * COUNT, SPLITS, kind)
    assert clear.interval.estimate > 0.95
    assert nothing.interval.low < 0.25 < nothing.interval.high + 0.1
    assert nothing.interval.estimate < 0.45
    assert clear.interval.n == COUNT


@pytest.mark.parametrize("kind", PROBES)
def test_results_repeat_for_a_seed(kind):
    one, two = (run_probe(vectors(0.5), LABELS, GROUPS, SPLITS, kind, seed=3) for _ in range(2))
    np.testing.assert_array_equal(one.correct, two.correct)
    assert one.interval == two.interval


def test_seeds_matter_to_the_mlp_only():
    mlp = run_probe(vectors(0.5), LABELS, GROUPS, SPLITS, "mlp", seeds=3)
    linear = run_probe(vectors(0.5), LABELS, GROUPS, SPLITS, "linear", seeds=3)
    assert len(mlp.by_seed) == 3
    assert len(set(mlp.by_seed)) > 1
    assert len(linear.by_seed) == 1


def test_a_scale_of_the_vectors_changes_nothing():
    x = vectors(0.7)
    one = run_probe(x, LABELS, GROUPS, SPLITS, "linear")
    two = run_probe(1e4 * x + 3, LABELS, GROUPS, SPLITS, "linear")
    assert np.mean(one.correct == two.correct) > 0.95


def test_clips_of_one_group_count_together():
    """Groups that are wholly right or wholly wrong leave a wider interval than single clips."""
    x = vectors(4.0)
    spoiled = np.array([int(group[1:]) % 2 == 0 for group in GROUPS])
    x[spoiled] = np.roll(x[spoiled], 1, axis=0)
    splits = [(np.flatnonzero(~spoiled), np.arange(COUNT))]
    grouped = run_probe(x, LABELS, GROUPS, splits, "linear").interval
    single = run_probe(x, LABELS, [""] * COUNT, splits, "linear").interval
    assert grouped.estimate == single.estimate == pytest.approx(0.5, abs=0.05)
    assert grouped.high - grouped.low > 1.5 * (single.high - single.low)


def test_probes_are_compared_on_the_clips_that_both_were_asked_about():
    reference = np.tile([1.0, 1.0, 0.0, 1.0], COUNT // 4)
    worse = reference * np.tile([1.0, 0.0], COUNT // 2)
    worse[:4] = np.nan
    found = difference(worse, reference, [""] * COUNT)
    assert found.n == COUNT - 4
    assert found.difference == pytest.approx(-0.5)
    assert found.low <= -0.5 <= found.high < 0
    assert found.p_value < 1e-3
    alike = difference(reference, reference, [""] * COUNT)
    assert (alike.difference, alike.p_value) == (0.0, 1.0)


def test_clips_of_one_group_are_swapped_together():
    reference = np.ones(COUNT)
    worse = np.where([group in ("g1", "g2", "g3") for group in GROUPS], 0.0, 1.0)
    found = difference(worse, reference, GROUPS)
    assert found.difference == pytest.approx(-0.3)
    assert found.n == 10
    assert found.p_value == 0.25  # of 2^3 ways to swap, two are as far apart
    assert difference(worse, reference, [""] * COUNT).p_value < 1e-3


def test_chance_is_the_most_frequent_label_of_the_training_part():
    assert chance(LABELS, SPLITS) == pytest.approx(0.25)
    uneven = np.array(["a"] * 60 + ["b"] * 20)
    splits = [(np.arange(0, 80, 2), np.arange(1, 80, 2))]
    assert chance(uneven, splits) == pytest.approx(0.75)
