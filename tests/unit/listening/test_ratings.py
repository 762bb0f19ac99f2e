"""Ratings that come back: read, screened, summarised."""

import numpy as np
import pandas as pd
import pytest

from bench.errors import BenchError, UsageError
from bench.listening import evaluate, write
from bench.listening.ratings import ALIASES, LIMIT_SHARE, read_ratings, screen
from bench.listening.summary import mean_table, score_blocks
from bench.reporting.analysis import read_tabs

pytest.importorskip("pyloudnorm", reason="needs pyloudnorm")
ORDER = ["reference", "good@12kbps", "fair@6kbps", "poor@3kbps"]


def test_planted_order_is_recovered(exported, rate):
    done = evaluate(exported.folder, rate(exported.test))
    for domain in ("speech", "music", "mean of domains"):
        part = done.means[(done.means["domain"] == domain) & (done.means["role"] != "anchor")]
        assert part.sort_values("mean", ascending=False)["codec"].tolist() == ORDER
    good = done.means.set_index(["domain", "codec"]).loc[("speech", "good@12kbps")]
    assert good["ci_low"] < 80 < good["ci_high"]
    assert (good["raters"], good["clips"], good["ratings"]) == (8, 3, 24)


def test_differences_are_tested(exported, rate):
    pairs = evaluate(exported.folder, rate(exported.test)).pairs.set_index(
        ["domain", "first", "second"]
    )
    assert len(pairs) == 2 * 3
    for domain in ("speech", "music"):
        part = pairs.loc[domain]
        assert (part["p_value"] < 0.05).all()
        assert not part["tie"].any()
    found = next(
        row
        for key, row in pairs.loc["music"].iterrows()
        if set(key) == {"good@12kbps", "fair@6kbps"}
    )
    assert abs(found["difference"]) == pytest.approx(20, abs=4)
    # Eight raters: all 256 swaps, the two without a change of sign are as extreme; three pairs.
    assert found["p_value"] == pytest.approx(3 * 2 / 256)
    assert found["p_clips"] == pytest.approx(2 / 8)


def test_equal_systems_tie(exported, rate, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules[rate.__module__].QUALITY, "fair@6kbps", 80)
    pairs = evaluate(exported.folder, rate(exported.test, noise=12)).pairs
    same = pairs[
        [
            {a, b} == {"good@12kbps", "fair@6kbps"}
            for a, b in zip(pairs["first"], pairs["second"], strict=True)
        ]
    ]
    assert same["tie"].all()
    assert (same["diff_low"] < 0).all()
    assert (same["diff_high"] > 0).all()


def test_same_seed_same_tables(exported, rate):
    path = rate(exported.test)
    once, again = (evaluate(exported.folder, path, seed=2) for _ in range(2))
    pd.testing.assert_frame_equal(once.means, again.means)
    pd.testing.assert_frame_equal(once.pairs, again.pairs)


# --- screening ------------------------------------------------------------------------------------


def test_careless_raters_are_left_out(exported, rate):
    done = evaluate(exported.folder, rate(exported.test, careless=(1, 5)))
    excluded = done.screening[done.screening["excluded"]]
    assert excluded["rater"].tolist() == ["r1", "r5"]
    assert (excluded["reason"] == "hidden_reference").all()
    assert (excluded["reference_below_90"] > LIMIT_SHARE).all()
    assert set(done.kept["rater"]) == {f"r{number}" for number in (0, 2, 3, 4, 6, 7)}
    assert set(done.means.loc[done.means["domain"] == "speech", "raters"]) == {6}


def ratings_of(scores):
    """Ratings of one condition by raters (rows) on trials (columns)."""
    rows = [
        {"rater": f"r{rater}", "trial": f"t{trial}", "domain": "speech", "condition": name,
         "codec": name, "role": role, "score": score}
        for name, (role, block) in scores.items()
        for rater, line in enumerate(block)
        for trial, score in enumerate(line)
    ]  # fmt: skip
    return pd.DataFrame(rows)


def test_more_than_15_percent_of_trials_not_exactly_15():
    fine = [100.0] * 20
    exactly, more = [89.0] * 3 + fine[3:], [89.0] * 4 + fine[4:]
    table = screen(ratings_of({"reference": ("reference", [fine, exactly, more])}))
    assert table["excluded"].tolist() == [False, False, True]
    assert table["reference_below_90"].tolist() == [0.0, 0.15, 0.2]
    assert table["mid_anchor_above_90"].isna().all()


def test_a_score_of_90_is_no_miss():
    table = screen(ratings_of({"reference": ("reference", [[90.0] * 5])}))
    assert not table["excluded"].any()


def test_mid_anchor_rule_spares_items_that_the_filter_hardly_changes():
    reference = [[100.0] * 4] * 8
    # Trial 0: half of the raters find the anchor excellent, so it counts against nobody.
    anchor = [[95.0, 40, 40, 40]] * 4 + [[30.0, 40, 40, 40]] * 3 + [[30.0, 95, 95, 40]]
    table = screen(
        ratings_of({"reference": ("reference", reference), "anchor70": ("anchor", anchor)})
    )
    assert table["reason"].tolist() == [""] * 7 + ["mid_anchor"]
    assert (table["mid_anchor_trials"] == 3).all()


def test_all_raters_excluded_is_an_error(exported, rate):
    with pytest.raises(BenchError, match="excludes all 2 raters"):
        evaluate(exported.folder, rate(exported.test, raters=2, careless=(0, 1)))


# --- intervals ------------------------------------------------------------------------------------


def test_interval_covers_raters_and_clips():
    """Raters differ by 10 points: more ratings of the same raters do not narrow the interval."""
    rng = np.random.default_rng(0)
    severity = rng.normal(0, 10, 8)
    widths = []
    for trials in (4, 64):
        block = 60 + severity[:, None] + rng.normal(0, 1, (8, trials))
        ratings = ratings_of({"system": ("system", block)})
        line = mean_table(ratings, score_blocks(ratings)).iloc[0]
        widths.append(line["ci_high"] - line["ci_low"])
    expected = 2 * 1.96 * severity.std() / np.sqrt(8)
    assert widths[1] == pytest.approx(expected, rel=0.15)
    assert widths[0] == pytest.approx(expected, rel=0.2)


def test_missing_ratings_are_no_zeros():
    ratings = ratings_of({"system": ("system", [[50.0, 50.0], [50.0, 50.0]])})
    line = mean_table(ratings.iloc[1:], score_blocks(ratings.iloc[1:])).iloc[0]
    assert (line["mean"], line["ci_low"], line["ci_high"], line["ratings"]) == (50, 50, 50, 3)


# --- files ----------------------------------------------------------------------------------------


def test_other_names_of_the_columns(exported, rate, tmp_path):
    path = rate(exported.test)
    table = pd.read_csv(path)
    names = {name: alias for alias, name in ALIASES.items()} | {"rater": "questionaire_uuid"}
    python = table.rename(columns=names)
    python.to_csv(tmp_path / "pymushra.csv", index=False)
    one, other = (read_ratings(exported.test, [file]) for file in (path, tmp_path / "pymushra.csv"))
    pd.testing.assert_frame_equal(one, other)
    uuid = table.assign(session_uuid=table["rater"], rater="same name")
    uuid.to_csv(tmp_path / "uuid.csv", index=False)
    assert read_ratings(exported.test, [tmp_path / "uuid.csv"])["rater"].nunique() == 8


def change(column, value, row=3):
    def edit(table):
        table[column] = table[column].astype(object)
        table.loc[row, column] = value
        return table

    return edit


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (change("rating_score", 101), "line 5: expected a score from 0 to 100, got '101'"),
        (change("rating_score", "good"), "got 'good'"),
        (change("rating_score", ""), "got ''"),
        (change("trial_id", "speech-999"), "'speech-999' is not of this test"),
        (change("rating_stimulus", "C1"), "'C1' is not of this test"),
        (lambda table: table.drop(columns="rating_score"), "lacks rating_score"),
        (lambda table: table.head(0), "is empty"),
        (lambda table: pd.concat([table, table]), "twice; name the columns"),
    ],
)
def test_wrong_files_say_what_is_wrong(exported, rate, edit, message):
    path = rate(exported.test, raters=2)
    edit(pd.read_csv(path)).to_csv(path, index=False)
    with pytest.raises(BenchError, match=message):
        read_ratings(exported.test, [path])


def test_raters_that_nothing_tells_apart(exported, rate):
    path = rate(exported.test, raters=1)
    pd.read_csv(path).rename(columns={"rater": "code"}).to_csv(path, index=False)
    with pytest.raises(UsageError, match=r"no column session_uuid or rater.*session_test_id, code"):
        read_ratings(exported.test, [path])
    assert read_ratings(exported.test, [path], ["code"])["rater"].unique().tolist() == ["r0"]


def test_outcome_becomes_a_tab(exported, rate, tmp_path):
    folder = write(evaluate(exported.folder, rate(exported.test, careless=(2,))), tmp_path / "run")
    assert "<svg" in (folder / "scores.svg").read_text()
    (tab,) = read_tabs(tmp_path / "run")
    assert (tab.title, len(tab.tables), len(tab.figures)) == ("Listening", 4, 1)
    assert tab.tables[0].title == "Mean scores"
    assert tab.notes == (
        "1 of 8 raters were excluded.",
        "Fewer than 10 raters are left for music (7), speech (7).",
    )
