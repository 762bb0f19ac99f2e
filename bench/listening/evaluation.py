"""From the ratings of a listening test to a tab of a run's report."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from bench.errors import BenchError
from bench.listening.model import ListeningTest
from bench.listening.ratings import read_ratings, screen
from bench.listening.summary import mean_table, pair_table, score_blocks
from bench.reporting.analysis import write_analysis
from bench.reporting.listening_plot import save_scores

FEATURE = "listening"
SUMMARY = (
    "MUSHRA scores from 0 (bad) to 100 (excellent) after the post-screening of ITU-R BS.1534-3. "
    "Boxes: quartiles and median over ratings; diamonds: means with 95 % intervals that draw both "
    "raters and clips again. Differences between systems are tested by swapping them rater by "
    "rater, Holm-corrected within a domain."
)
#: BS.1534-3, 4.1: fewer raters than that say little.
FEW_RATERS = 10


@dataclass(frozen=True)
class Evaluation:
    """What a listening test found.

    Attributes:
        ratings: All ratings, those of excluded raters too; see
            :data:`bench.listening.ratings.RATING_COLUMNS`.
        screening: Which raters are excluded, and why.
        means: Score of each condition by domain, with interval.
        pairs: Differences between systems, with interval and test.
    """

    ratings: pd.DataFrame
    screening: pd.DataFrame
    means: pd.DataFrame
    pairs: pd.DataFrame

    @property
    def kept(self) -> pd.DataFrame:
        """The ratings that count."""
        return _kept(self.ratings, self.screening)


def _kept(ratings: pd.DataFrame, screening: pd.DataFrame) -> pd.DataFrame:
    excluded = screening.loc[screening["excluded"], "rater"]
    return ratings[~ratings["rater"].isin(excluded)]


def evaluate(
    test: ListeningTest | str | Path,
    ratings: Sequence[str | Path] | str | Path,
    *,
    rater_columns: Sequence[str] | None = None,
    seed: int = 0,
) -> Evaluation:
    """Screen the raters of a test and summarise the scores of the others.

    Args:
        test: A test, or the folder it was exported to.
        ratings: webMUSHRA's ``mushra.csv``, one or several.
        rater_columns: What tells raters apart; None: ``session_uuid``, else ``rater``.
        seed: Of bootstrap and tests.

    Raises:
        BenchError: If a file is no such table, or no rater is left.
    """
    found = test if isinstance(test, ListeningTest) else ListeningTest.load(Path(test))
    files = [ratings] if isinstance(ratings, str | Path) else list(ratings)
    table = read_ratings(found, [Path(file) for file in files], rater_columns)
    screening = screen(table)
    kept = _kept(table, screening)
    if kept.empty:
        raise BenchError(
            f"post-screening excludes all {len(screening)} raters; "
            "see that the reference was played and rated (100 on every page)"
        )
    blocks = score_blocks(kept, seed=seed)
    return Evaluation(
        ratings=table,
        screening=screening,
        means=mean_table(kept, blocks),
        pairs=pair_table(kept, blocks, seed=seed),
    )


def write(evaluation: Evaluation, run: str | Path) -> Path:
    """Write tables and figure into a run's folder, for a tab of its report.

    Returns:
        The folder ``analysis/listening``.

    Raises:
        BenchError: If it cannot be written.
    """
    folder = write_analysis(
        Path(run),
        FEATURE,
        title="Listening",
        summary=SUMMARY,
        notes=_notes(evaluation),
        tables={
            "1-means": evaluation.means,
            "2-pairs": evaluation.pairs,
            "3-raters": evaluation.screening,
            "4-ratings": evaluation.ratings,
        },
        titles={
            "1-means": "Mean scores",
            "2-pairs": "Differences between systems",
            "3-raters": "Raters and post-screening",
            "4-ratings": "Ratings",
            "scores": "Scores by domain",
        },
    )
    save_scores(evaluation.kept, evaluation.means, folder / "scores.svg")
    return folder


def _notes(evaluation: Evaluation) -> list[str]:
    excluded = evaluation.screening[evaluation.screening["excluded"]]
    notes = [f"{len(excluded)} of {len(evaluation.screening)} raters were excluded."]
    raters = evaluation.kept.groupby("domain")["rater"].nunique()
    few = [f"{domain} ({count})" for domain, count in raters.items() if count < FEW_RATERS]
    if few:
        notes.append(f"Fewer than {FEW_RATERS} raters are left for {', '.join(few)}.")
    return notes
