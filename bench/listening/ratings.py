"""Read the ratings that webMUSHRA wrote, and leave out raters who could not hear the differences.

webMUSHRA's ``service/write.php`` appends to ``results/TESTID/mushra.csv``: ``session_test_id``, a
column per question of the finish page, maybe ``session_uuid``, then ``trial_id``,
``rating_stimulus``, ``rating_score``, ``rating_time``, ``rating_comment``. The export of pyMUSHRA
names the same things otherwise; both are read.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path

import pandas as pd

from bench.errors import BenchError, UsageError
from bench.listening.model import ListeningTest, Role

#: pyMUSHRA's names -> webMUSHRA's.
ALIASES = {
    "wm_id": "trial_id",
    "responses_stimulus": "rating_stimulus",
    "responses_score": "rating_score",
    "questionaire_uuid": "session_uuid",
}
NEEDED = ("trial_id", "rating_stimulus", "rating_score")
#: What tells raters apart, the best first.
RATER_COLUMNS = ("session_uuid", "rater")
RATING_COLUMNS = (
    "rater",
    "domain",
    "trial",
    "dataset",
    "clip",
    "condition",
    "codec",
    "role",
    "score",
)
#: BS.1534-3, 4.1.2: a rater is left out who rates the hidden reference below, or the mid anchor
#: above, this score in more than this share of the trials.
LIMIT_SCORE = 90.0
LIMIT_SHARE = 0.15
#: An item whose mid anchor so many raters score above the limit was hardly changed by the filter;
#: it is held against nobody.
WEAK_ANCHOR_SHARE = 0.25
MID_ANCHOR = "anchor70"
SCREENING_COLUMNS = (
    "rater", "trials", "reference_below_90", "mid_anchor_trials", "mid_anchor_above_90",
    "excluded", "reason",
)  # fmt: skip


def read_ratings(
    test: ListeningTest, files: Sequence[Path], rater_columns: Sequence[str] | None = None
) -> pd.DataFrame:
    """Return one row per rating, :data:`RATING_COLUMNS`.

    Args:
        test: What the ratings are of.
        files: webMUSHRA's ``mushra.csv``, of one or several domains.
        rater_columns: What tells raters apart; None: ``session_uuid``, else ``rater``.

    Raises:
        BenchError: If a file is no such table, or a rating is not of this test, not from 0 to 100,
            or there twice.
    """
    parts = [_read(path, rater_columns) for path in files]
    found = pd.concat(parts, ignore_index=True)
    trials = {trial.id: trial for trial in test.trials}
    conditions = {condition.name: condition for condition in test.conditions}
    _check_known(found["trial_id"], trials, "trial_id")
    _check_known(found["rating_stimulus"], conditions, "rating_stimulus")
    table = pd.DataFrame(
        {
            "rater": found["rater"],
            "domain": [trials[name].domain for name in found["trial_id"]],
            "trial": found["trial_id"],
            "dataset": [trials[name].dataset for name in found["trial_id"]],
            "clip": [trials[name].clip for name in found["trial_id"]],
            "condition": found["rating_stimulus"],
            "codec": [conditions[name].codec for name in found["rating_stimulus"]],
            "role": [str(conditions[name].role) for name in found["rating_stimulus"]],
            "score": found["rating_score"],
        },
        columns=list(RATING_COLUMNS),
    )
    twice = table[table.duplicated(["rater", "trial", "condition"])]
    if len(twice):
        one = twice.iloc[0]
        raise BenchError(
            f"rater {one['rater']!r} rated {one['condition']} of {one['trial']} twice; "
            "name the columns that tell raters apart with --rater, or remove the repeated session"
        )
    return table


def _read(path: Path, rater_columns: Sequence[str] | None) -> pd.DataFrame:
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False)
    except (OSError, ValueError) as error:  # pandas' own errors are ValueErrors
        raise BenchError(f"{path} cannot be read as ratings: {error}") from error
    table = table.rename(columns=ALIASES)
    missing = [name for name in NEEDED if name not in table]
    if missing or table.empty:
        lacks = f"it lacks {', '.join(missing)}" if missing else "it is empty"
        raise BenchError(f"{path} holds no ratings of webMUSHRA: {lacks}")
    names = list(rater_columns or [name for name in RATER_COLUMNS if name in table][:1])
    unknown = [name for name in names if name not in table]
    if unknown or not names:
        raise UsageError(
            f"{path} has no column {', '.join(unknown) or ' or '.join(RATER_COLUMNS)} to tell "
            f"raters apart; name one of {', '.join(table.columns)} with --rater"
        )
    scores = pd.to_numeric(table["rating_score"], errors="coerce")
    wrong = table[~scores.between(0, 100)]
    if len(wrong):
        raise BenchError(
            f"{path}, line {wrong.index[0] + 2}: expected a score from 0 to 100, "
            f"got {wrong['rating_score'].iloc[0]!r}"
        )
    rater = table[names].agg(" ".join, axis=1)
    return table.assign(rating_score=scores.astype(float), rater=rater)


def _check_known(column: pd.Series, known: Iterable[str], name: str) -> None:
    strange = column[~column.isin(list(known))]
    if len(strange):
        raise BenchError(
            f"{name} {strange.iloc[0]!r} is not of this test; is it the ratings of another one?"
        )


def screen(ratings: pd.DataFrame) -> pd.DataFrame:
    """Return which raters BS.1534-3 leaves out, and why: :data:`SCREENING_COLUMNS`.

    Args:
        ratings: From :func:`read_ratings`.

    Returns:
        One row per rater. ``reference_below_90`` and ``mid_anchor_above_90`` are shares of the
        rater's trials; the latter is NaN, and no reason, in a test without the 7 kHz anchor.
    """
    reference = ratings[ratings["role"] == Role.REFERENCE]
    missed = (reference["score"] < LIMIT_SCORE).groupby(reference["rater"]).mean()
    anchors = ratings[(ratings["condition"] == MID_ANCHOR) & ~_has_weak_anchor(ratings)]
    praised = (anchors["score"] > LIMIT_SCORE).groupby(anchors["rater"]).mean()
    table = pd.DataFrame({"trials": ratings.groupby("rater")["trial"].nunique()})
    table["reference_below_90"] = missed
    table["mid_anchor_trials"] = anchors.groupby("rater")["trial"].nunique()
    table["mid_anchor_above_90"] = praised
    reasons = {
        "hidden_reference": table["reference_below_90"] > LIMIT_SHARE,
        "mid_anchor": table["mid_anchor_above_90"] > LIMIT_SHARE,
    }
    table["reason"] = [
        ", ".join(name for name, holds in reasons.items() if holds[rater]) for rater in table.index
    ]
    table["excluded"] = table["reason"] != ""
    table["mid_anchor_trials"] = table["mid_anchor_trials"].fillna(0).astype(int)
    return table.reset_index()[list(SCREENING_COLUMNS)]


def _has_weak_anchor(ratings: pd.DataFrame) -> pd.Series:
    """Return whether each row's item keeps its quality below 7 kHz, by the raters' own scores."""
    anchors = ratings[ratings["condition"] == MID_ANCHOR]
    share = (anchors["score"] > LIMIT_SCORE).groupby(anchors["trial"]).mean()
    weak = share.index[share > WEAK_ANCHOR_SHARE]
    return ratings["trial"].isin(weak)
