"""Mean scores with intervals, and paired tests between systems.

Raters and clips are both samples: of those who could have listened and of what could have been
played. An interval therefore draws both again, raters and clips crossed (Owen 2007, "The pigeonhole
bootstrap"): a replicate weights each rating by how often its rater and its clip were drawn. Its
bounds are percentiles.

The test of two systems swaps them rater by rater (:mod:`bench.stats.paired`), which is the analysis
of BS.1534 in that raters are the sample; swapping them clip by clip is given beside it. P-values
are Holm-corrected over the pairs of a domain.

Axes: ``A`` raters, ``T`` trials, ``C`` conditions, ``R`` resamples.
"""

import math
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd

from bench.listening.model import Role
from bench.stats.bootstrap import CONFIDENCE, FloatArray, draws
from bench.stats.cells import MEAN_OF_DOMAINS, domain_rank
from bench.stats.paired import SIGNIFICANCE, holm, paired_difference

RESAMPLES = 1999
MEAN_COLUMNS = (
    "domain", "codec", "role", "mean", "ci_low", "ci_high", "raters", "clips", "ratings",
)  # fmt: skip
PAIR_COLUMNS = (
    "domain", "first", "second", "difference", "diff_low", "diff_high", "p_raters", "p_clips",
    "p_value", "tie", "raters", "clips",
)  # fmt: skip


@dataclass(frozen=True)
class Scores:
    """The ratings of one domain as a block, and its replicates.

    Attributes:
        codecs: Of the conditions, length ``C``.
        block: ``[A, T, C]``; NaN where a rater did not rate.
        replicates: Mean score of each condition in each resample, ``[R, C]``.
    """

    codecs: tuple[str, ...]
    block: FloatArray
    replicates: FloatArray

    @property
    def means(self) -> FloatArray:
        """Mean over all ratings, ``[C]``."""
        return np.asarray(np.nanmean(self.block, axis=(0, 1)))


def score_blocks(
    ratings: pd.DataFrame, *, seed: int = 0, resamples: int = RESAMPLES
) -> dict[str, Scores]:
    """Return the ratings of each domain, resampled."""
    order = list(dict.fromkeys(ratings.sort_values("role", ascending=False)["codec"]))
    blocks = {}
    for domain in sorted(ratings["domain"].unique(), key=domain_rank):
        part = ratings[ratings["domain"] == domain]
        axes = [sorted(part["rater"].unique()), sorted(part["trial"].unique())]
        places = [
            pd.Index(axis).get_indexer(part[name])
            for axis, name in zip(axes, ("rater", "trial"), strict=True)
        ]
        # The same people in two domains are drawn together: their severity is common to both.
        streams = [zlib.crc32("\0".join(axis).encode()) for axis in axes]
        block = np.full((len(axes[0]), len(axes[1]), len(order)), np.nan)
        block[places[0], places[1], pd.Index(order).get_indexer(part["codec"])] = part["score"]
        blocks[str(domain)] = Scores(
            tuple(order), block, _replicates(block, resamples, seed, streams)
        )
    return blocks


def _replicates(block: FloatArray, resamples: int, seed: int, streams: Sequence[int]) -> FloatArray:
    raters, trials, _ = block.shape
    known = np.isfinite(block)
    filled = np.where(known, block, 0.0)
    weights = (
        np.concatenate(list(draws(count, resamples, seed, stream)))
        for count, stream in zip((raters, trials), streams, strict=True)
    )
    by_rater, by_trial = weights
    sums, counts = (
        np.einsum("ra,rt,atc->rc", by_rater, by_trial, one, optimize=True)
        for one in (filled, known.astype(np.float64))
    )
    return np.divide(sums, counts, out=np.full_like(sums, np.nan), where=counts > 0)


def mean_table(
    ratings: pd.DataFrame, blocks: Mapping[str, Scores], confidence: float = CONFIDENCE
) -> pd.DataFrame:
    """Return mean and interval of each condition, by domain and over domains: :data:`MEAN_COLUMNS`.

    The mean over domains is the plain mean of the domains' means, whatever their sizes.
    """
    roles = dict(zip(ratings["codec"], ratings["role"], strict=True))
    lines: list[tuple[object, ...]] = []
    for domain, scores in blocks.items():
        part = ratings[ratings["domain"] == domain]
        for index, codec in enumerate(scores.codecs):
            low, high = _bounds(scores.replicates[:, index], confidence)
            rated = part[part["codec"] == codec]
            lines.append(
                (domain, codec, roles[codec], scores.means[index], low, high,
                 rated["rater"].nunique(), rated["trial"].nunique(), len(rated))
            )  # fmt: skip
    if len(blocks) > 1:
        lines += _means_of_domains(ratings, list(blocks.values()), roles, confidence)
    return pd.DataFrame(lines, columns=list(MEAN_COLUMNS))


def _means_of_domains(
    ratings: pd.DataFrame, blocks: Sequence[Scores], roles: Mapping[str, str], confidence: float
) -> list[tuple[object, ...]]:
    replicates = np.mean([scores.replicates for scores in blocks], axis=0)
    means = np.mean([scores.means for scores in blocks], axis=0)
    lines: list[tuple[object, ...]] = []
    for index, codec in enumerate(blocks[0].codecs):
        rated = ratings[ratings["codec"] == codec]
        lines.append(
            (MEAN_OF_DOMAINS, codec, roles[codec], means[index],
             *_bounds(replicates[:, index], confidence),
             rated["rater"].nunique(), rated["trial"].nunique(), len(rated))
        )  # fmt: skip
    return lines


def pair_table(
    ratings: pd.DataFrame,
    blocks: Mapping[str, Scores],
    *,
    seed: int = 0,
    confidence: float = CONFIDENCE,
) -> pd.DataFrame:
    """Return every two systems' difference, interval and test: :data:`PAIR_COLUMNS`.

    ``difference`` is first minus second, over the ratings of raters and clips that rated both.
    ``p_value`` is that over raters, corrected; ``tie`` says that it is at least 0.05.
    """
    systems = set(ratings.loc[ratings["role"] == Role.SYSTEM, "codec"])
    lines = []
    for domain, scores in blocks.items():
        chosen = [codec for codec in scores.codecs if codec in systems]
        family = [
            _pair(domain, scores, one, other, seed, confidence)
            for one, other in combinations(chosen, 2)
        ]
        corrected = holm([line["p_raters"] for line in family])
        for line, p_value in zip(family, corrected, strict=True):
            line |= {"p_value": float(p_value), "tie": not p_value < SIGNIFICANCE}
        lines += family
    return pd.DataFrame(lines, columns=list(PAIR_COLUMNS))


def _pair(
    domain: str, scores: Scores, first: str, second: str, seed: int, confidence: float
) -> dict[str, Any]:
    one, other = scores.codecs.index(first), scores.codecs.index(second)
    gaps = scores.block[..., one] - scores.block[..., other]  # [A, T]
    raters, clips = _averages(gaps), _averages(gaps.T)
    low, high = _bounds(scores.replicates[:, one] - scores.replicates[:, other], confidence)
    return {
        "domain": domain, "first": first, "second": second,
        "difference": float(np.nanmean(gaps)), "diff_low": low, "diff_high": high,
        "p_raters": _p_value(raters, seed), "p_clips": _p_value(clips, seed),
        "raters": len(raters), "clips": len(clips),
    }  # fmt: skip


def _averages(gaps: FloatArray) -> FloatArray:
    """Return the mean of each row that has any value."""
    return np.asarray([row[np.isfinite(row)].mean() for row in gaps if np.isfinite(row).any()])


def _p_value(gaps: FloatArray, seed: int) -> float:
    return paired_difference(gaps, np.zeros_like(gaps), seed=seed).p_value


def _bounds(replicates: FloatArray, confidence: float) -> tuple[float, float]:
    known = replicates[np.isfinite(replicates)]
    if len(known) == 0:
        return math.nan, math.nan
    low, high = np.quantile(known, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)
