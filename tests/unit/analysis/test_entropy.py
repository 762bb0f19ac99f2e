"""Entropies of sources whose entropy is known."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.analysis import entropy


def markov(states: int, count: int, seed: int) -> tuple[np.ndarray, float, float]:
    """Return a sequence of a first-order source, its entropy and its entropy rate, bits."""
    rng = np.random.default_rng(seed)
    transitions = rng.dirichlet(np.full(states, 2.0), states)
    edges = transitions.cumsum(axis=1)
    draws = rng.random(count)
    found = np.zeros(count, dtype=np.int64)
    for at in range(1, count):
        found[at] = min(states - 1, np.searchsorted(edges[found[at - 1]], draws[at]))
    values, vectors = np.linalg.eig(transitions.T)
    stationary = np.real(vectors[:, np.argmax(np.real(values))])
    stationary /= stationary.sum()
    rate = -(stationary[:, None] * transitions * np.log2(np.maximum(transitions, 1e-300))).sum()
    return found, float(-(stationary * np.log2(stationary)).sum()), float(rate)


@pytest.mark.parametrize("states", [2, 4, 8])
def test_markov_source_within_a_percent(states):
    tokens, single, rate = markov(states, 100_000, seed=states)
    clips = [tokens[:20_000], tokens[20_000:]]
    assert entropy.conditional_entropy(clips, states, 0) == pytest.approx(single, rel=0.01)
    for order in (1, 2):
        assert entropy.conditional_entropy(clips, states, order) == pytest.approx(rate, rel=0.01)
        coded = entropy.adaptive_bits(clips, states, order) / len(tokens)
        assert coded == pytest.approx(rate, rel=0.01 if order == 1 else 0.02)
    coded = entropy.adaptive_bits(clips, states, 0) / len(tokens)
    assert coded == pytest.approx(single, rel=0.01)


def test_source_without_memory_within_a_percent():
    tokens = np.random.default_rng(0).choice(8, 40_000, p=np.arange(1, 9) / 36)
    true = -(np.arange(1, 9) / 36 * np.log2(np.arange(1, 9) / 36)).sum()
    for order in (0, 1, 2):
        assert entropy.conditional_entropy([tokens], 8, order) == pytest.approx(true, rel=0.01)


def test_the_correction_mends_what_plain_counts_miss():
    tokens = np.random.default_rng(1).integers(0, 64, 1000)
    shares = np.bincount(tokens) / len(tokens)
    plain = -(shares * np.log2(shares)).sum()
    mended = entropy.conditional_entropy([tokens], 64, 0)
    assert abs(mended - 6) < 0.3 * abs(plain - 6)


def test_coverage_tells_a_short_sequence_from_a_long_one():
    rng = np.random.default_rng(0)
    short, long = rng.integers(0, 1024, 500), rng.integers(0, 4, 50_000)
    assert entropy.coverage(entropy.contexts([short], 1024, 1)) < 0.05
    assert entropy.coverage(entropy.contexts([long], 4, 1)) > 0.999


def test_no_context_reaches_into_another_clip():
    clips = [np.array([0, 1]), np.array([2, 3])]
    assert entropy.contexts(clips, 10, 1).tolist() == [1, 23]
    assert entropy.contexts(clips, 10, 2).tolist() == []
    assert math.isnan(entropy.conditional_entropy(clips, 10, 2))


@settings(max_examples=25, deadline=None)
@given(st.integers(2, 20), st.integers(1, 60), st.integers(0, 99), st.integers(0, 2))
def test_adaptive_code_lengths_are_those_of_a_real_code(size, count, seed, order):
    """The chances of all tokens at any place sum to one, so the bits could be sent."""
    tokens = np.random.default_rng(seed).integers(0, size, count)
    before = entropy.adaptive_bits([tokens[:-1]], size, order) if count > 1 else 0.0
    chances = [
        2 ** (before - entropy.adaptive_bits([np.append(tokens[:-1], token)], size, order))
        for token in range(size)
    ]
    assert sum(chances) == pytest.approx(1.0)


def test_mutual_information_of_known_pairs():
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 8, 20_000), rng.integers(0, 8, 20_000)
    assert entropy.mutual_information(x, y) < 0.01
    assert entropy.mutual_information(x, x) == pytest.approx(3.0, rel=0.01)
    noisy = np.where(rng.random(20_000) < 0.5, x, y)
    # y = x with chance 0.5 + 0.5 / 8, each other value with 0.5 / 8
    p = np.array([0.5 + 1 / 16, *[1 / 16] * 7])
    assert entropy.mutual_information(x, noisy) == pytest.approx(
        3 + (p * np.log2(p)).sum(), rel=0.02
    )


def test_few_pairs_of_many_entries_tell_nothing():
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 1024, 2000), rng.integers(0, 1024, 2000)
    assert entropy.mutual_information(x, y) < 0.05


def test_utilisation_at_a_length_is_the_mean_over_draws():
    rng = np.random.default_rng(0)
    tokens = rng.choice(256, 3000, p=rng.dirichlet(np.full(256, 0.3)))
    drawn = [len(set(rng.choice(tokens, 400, replace=False).tolist())) / 256 for _ in range(200)]
    assert entropy.utilisation(tokens, 256, 400) == pytest.approx(np.mean(drawn), rel=0.01)
    assert entropy.utilisation(tokens, 256) == len(set(tokens.tolist())) / 256
    with pytest.raises(ValueError, match="from 1 to 3000"):
        entropy.utilisation(tokens, 256, 3001)


def test_equal_codebooks_are_equal_at_equal_length_only():
    rng = np.random.default_rng(0)
    short, long = rng.integers(0, 1024, 500), rng.integers(0, 1024, 8000)
    assert entropy.utilisation(short, 1024) < 0.6 * entropy.utilisation(long, 1024)
    matched = entropy.utilisation(long, 1024, 500)
    assert entropy.utilisation(short, 1024, 500) == pytest.approx(matched, rel=0.03)


def test_runs():
    assert entropy.mean_run([np.array([1, 1, 1, 2, 3, 3])]) == (2.0, 3)
    assert entropy.mean_run([np.array([1, 1]), np.array([1])]) == (1.5, 2)
    assert math.isnan(entropy.mean_run([])[0])


def test_perplexity_of_even_use_is_the_number_of_entries():
    assert entropy.perplexity(np.arange(64).repeat(100)) == pytest.approx(64, rel=0.01)


def test_contexts_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="63 bits"):
        entropy.contexts([np.arange(9)], 65536, 3)
