"""From tidy rows to samples: the clips of each codec point, domain and metric.

Clips are the unit of all statistics: rows of several seeds of one clip are averaged first. A
metric whose rows keep ``edits`` and ``words`` is a corpus ratio, any other a mean.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from bench.errors import BenchError, Status
from bench.results import MixedFingerprintsError, details
from bench.stats.bootstrap import FloatArray

MEAN, CORPUS_RATIO = "mean", "corpus ratio"
#: Name in the ``domain`` column of the mean over domains.
MEAN_OF_DOMAINS = "mean of domains"
DOMAIN_ORDER = ("speech", "music", "sound")

#: The values of the grouping columns, in their order.
Key = tuple[str, ...]


@dataclass(frozen=True)
class Cell:
    """The clips of one group of rows.

    Attributes:
        clips: ``dataset/clip`` of each observation.
        sample: Numerator and denominator of each clip, ``[n, 2]``.
        statistic: ``mean`` or ``corpus ratio``.
    """

    clips: pd.Index
    sample: FloatArray
    statistic: str

    def paired_with(self, other: "Cell") -> FloatArray:
        """Return the rows of both on their common clips, ``[n, 4]``."""
        common = self.clips.intersection(other.clips)
        mine = self.sample[self.clips.get_indexer(common)]
        return np.concatenate([mine, other.sample[other.clips.get_indexer(common)]], axis=1)


def collect_cells(rows: pd.DataFrame, groups: Sequence[str]) -> Mapping[Key, Cell]:
    """Return the clips of every group that has values.

    Args:
        rows: Tidy rows.
        groups: Columns to group by; ``metric`` is one of them.

    Raises:
        BenchError: If only some rows of a metric keep their counts.
    """
    ok = observations(rows)
    per_clip = ok.groupby([*groups, "unit"])[["numerator", "denominator", "counted"]].mean()
    cells = {}
    for name, group in per_clip.groupby(level=list(groups)):
        cells[tuple(map(str, name))] = Cell(
            clips=group.index.get_level_values("unit"),
            sample=group[["numerator", "denominator"]].to_numpy(np.float64),
            statistic=CORPUS_RATIO if group["counted"].iloc[0] else MEAN,
        )
    return cells


def observations(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the rows with a value, with what is summed over clips.

    Adds ``unit`` (``dataset/clip``), ``numerator``, ``denominator`` and ``counted`` (1 where the
    two are counts, 0 where they are a value and 1).
    """
    ok = rows[rows["status"] == Status.OK]
    texts: pd.Series = ok["detail"].astype(str)
    counted = texts.str.contains('"edits"', regex=False).astype(bool)
    _check_counts(ok["metric"], counted)
    ok = ok.assign(
        unit=ok["dataset"] + "/" + ok["clip"],
        numerator=ok["value"].astype(float),
        denominator=1.0,
        counted=counted.astype(float),
    )
    if counted.any():
        ok.loc[counted, "numerator"] = details(ok[counted], "edits")
        ok.loc[counted, "denominator"] = details(ok[counted], "words")
    return ok


def check_fingerprints(rows: pd.DataFrame) -> None:
    """Refuse rows of one metric, codec or clip that come from unlike measurements.

    Raises:
        MixedFingerprintsError: Naming what is mixed and both fingerprints.
    """
    for names, column in (
        (["metric"], "metric_fingerprint"),
        (["codec"], "codec_fingerprint"),
        (["dataset", "clip"], "clip_hash"),
    ):
        known = rows.loc[rows[column].notna() & (rows[column] != ""), [*names, column]]
        distinct = known.drop_duplicates().sort_values([*names, column])
        mixed = distinct[distinct.duplicated(names, keep=False)]
        if len(mixed):
            one, other = mixed.iloc[0], mixed.iloc[1]
            raise MixedFingerprintsError(
                f"rows of {names[-1]} {one[names[-1]]!r} come from unlike measurements: "
                f"{column} {one[column]} and {other[column]}; "
                f"report them apart or measure again with one version"
            )


def domain_rank(domain: str) -> tuple[int, str]:
    """Return a sorting key: speech, music, sound, others by name, the mean of domains last."""
    if domain in DOMAIN_ORDER:
        return DOMAIN_ORDER.index(domain), ""
    return len(DOMAIN_ORDER) + (domain == MEAN_OF_DOMAINS), domain


def _check_counts(metrics: pd.Series, counted: pd.Series) -> None:
    share = counted.groupby(metrics).mean()
    for metric in share[(share > 0) & (share < 1)].index:
        raise BenchError(
            f"some rows of metric {metric!r} keep edits and words and some do not, so they have "
            f"no common corpus ratio; score them again"
        )
