"""Fit a small classifier on one part of a task and ask it about the other.

Two probes, as in the paper's protocol (HEAR's): ``linear``, multinomial logistic regression, and
``mlp``, two linear layers with a rectifier between. Their settings are fixed and the same for
every codec; vectors are brought to zero mean and unit variance by the training part.
"""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.probes.tasks import Split
from bench.stats.bootstrap import Interval, ratio_interval
from bench.stats.paired import Comparison, paired_ratio_difference

#: Raised by every change that moves an accuracy.
VERSION = "1"
PROBES = ("linear", "mlp")
#: Units between the two layers; most passes over the training part; L2 penalty.
HIDDEN, MOST_EPOCHS, MLP_PENALTY = 128, 300, 1e-3
#: Training ends when ten passes in a row lower the loss by less.
MLP_TOLERANCE = 1e-3
#: Inverse strength of the penalty of the linear probe.
LINEAR_C = 1.0


@dataclass(frozen=True)
class ProbeResult:
    """How often a probe was right.

    Attributes:
        correct: Share of seeds in which each clip was told rightly, ``[n]``; NaN: not asked about.
        by_seed: Accuracy of each seed.
        interval: Accuracy over clips and seeds with its bootstrap interval: over groups where the
            task has groups, since clips of one speaker are not independent, else over clips.
    """

    correct: NDArray[np.float64]
    by_seed: tuple[float, ...]
    interval: Interval


def run_probe(
    vectors: NDArray[np.float32],
    labels: NDArray[Any],
    groups: Sequence[str],
    splits: Sequence[Split],
    kind: str,
    *,
    seeds: int = 3,
    seed: int = 0,
) -> ProbeResult:
    """Return how well labels are told from vectors.

    Args:
        vectors: ``[n, D]``, finite.
        labels: ``[n]``.
        groups: ``[n]``; empty texts where the task has none.
        splits: Training and test indices.
        kind: One of :data:`PROBES`.
        seeds: How many probes are trained from different beginnings; the linear one has only one.
        seed: Of the first.
    """
    count = seeds if kind == "mlp" else 1
    answers = np.full((count, len(labels)), np.nan)
    for number in range(count):
        for train, test in splits:
            told = _fit(kind, seed + number, vectors[train], labels[train]).predict(vectors[test])
            answers[number, test] = told == labels[test]
    correct = answers.mean(axis=0)
    by_seed = tuple(float(accuracy) for accuracy in np.nanmean(answers, axis=1))
    sums = by_group(correct[:, None], groups)
    found = ratio_interval(sums[:, 0], sums[:, 1])
    n = np.count_nonzero(~np.isnan(correct))
    return ProbeResult(correct, by_seed, replace(found, n=n))


def _fit(kind: str, seed: int, vectors: NDArray[np.float32], labels: NDArray[Any]) -> Any:
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression
    from sklearn.neural_network import MLPClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    if kind == "linear":
        probe = LogisticRegression(C=LINEAR_C, max_iter=1000)
    else:
        probe = MLPClassifier(
            (HIDDEN,),
            alpha=MLP_PENALTY,
            tol=MLP_TOLERANCE,
            max_iter=MOST_EPOCHS,
            random_state=seed,
        )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # the most passes are fixed
        warnings.filterwarnings("ignore", "The number of unique classes")  # speakers are many
        return make_pipeline(StandardScaler(), probe).fit(vectors.astype(np.float64), labels)


def difference(
    correct: NDArray[np.float64], reference: NDArray[np.float64], groups: Sequence[str]
) -> Comparison:
    """Compare two probes on the clips that both were asked about, with a paired test.

    Args:
        correct: Of one probe, as in :class:`ProbeResult`.
        reference: Of the other, of the same clips.
        groups: As in :func:`run_probe`; two probes are swapped group by group.
    """
    sums = by_group(np.stack([correct, reference], axis=1), groups)
    return paired_ratio_difference(sums[:, 0], sums[:, 2], sums[:, 1], sums[:, 2])


def by_group(columns: NDArray[np.float64], groups: Sequence[str]) -> NDArray[np.float64]:
    """Return sums of the columns ``[n, c]`` and the number of clips, ``[groups, c + 1]``.

    Clips with a NaN do not count. Without groups, each clip is one.
    """
    asked = ~np.isnan(columns).any(axis=1)
    rows = np.column_stack([columns, np.ones(len(columns))])[asked]
    names = np.array(groups)[asked]
    if not all(names):
        return rows
    found, place = np.unique(names, return_inverse=True)
    sums = np.zeros((len(found), rows.shape[1]))
    np.add.at(sums, place, rows)
    return sums


def chance(labels: NDArray[Any], splits: Sequence[Split]) -> float:
    """Return the accuracy of always naming the most frequent label of the training part."""
    hits, asked = 0, 0
    for train, test in splits:
        names, counts = np.unique(labels[train], return_counts=True)
        hits += np.count_nonzero(labels[test] == names[counts.argmax()])
        asked += len(test)
    return hits / asked
