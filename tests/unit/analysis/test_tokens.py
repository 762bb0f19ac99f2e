"""Token tables of a codec whose tokens are known."""

import numpy as np
import pandas as pd
import pytest

from bench.analysis import entropy
from bench.analysis.run import token_statistics
from bench.analysis.tokens import coded_tokens, information_rows, token_rows


def rows_of(subject, heard, cache, quiet):
    coded, failures = coded_tokens(subject, heard, cache, quiet)
    table = pd.DataFrame(token_rows(subject, coded, failures))
    return coded, table.set_index(["domain", "stream"])


def test_rates_and_entropies_are_those_of_the_codes(subject, heard, cache, quiet):
    coded, table = rows_of(subject("Steps"), heard, cache, quiet)
    first = table.loc[("all", "cb0")]
    clips = [one.codes[0] for one in coded]
    assert first["tokens"] == sum(map(len, clips)) == 180
    assert first["tokens_per_s"] == pytest.approx(100)
    assert first["fixed_kbps"] == pytest.approx(0.4)
    for order in (0, 1, 2):
        assert first[f"h{order}"] == entropy.conditional_entropy(clips, 16, order)
    assert first["utilisation"] == len(set(np.concatenate(clips).tolist())) / 16
    total = table.loc[("all", "total")]
    assert total["tokens_per_s"] == pytest.approx(200)
    assert total["measured_kbps"] == pytest.approx(0.8)
    streams = table.loc["all"].drop("total")
    assert total["adaptive_kbps"] == pytest.approx(streams["adaptive_kbps"].sum())


def test_domains_are_apart_and_together(subject, heard, cache, quiet):
    _, table = rows_of(subject("Steps"), heard, cache, quiet)
    counts = table["n"].groupby("domain").first()
    assert counts.to_dict() == {"all": 3, "music": 1, "speech": 2}


def test_each_scale_has_its_own_rate(subject, heard, cache, quiet):
    _, table = rows_of(subject("MultiScale"), heard, cache, quiet)
    assert table.loc[("all", "slow"), "tokens_per_s"] == pytest.approx(50)
    assert table.loc[("all", "fast"), "tokens_per_s"] == pytest.approx(100)
    assert table.loc[("all", "total"), "tokens_per_s"] == pytest.approx(150)


def test_streams_of_two_rates_are_set_side_by_side(subject, heard, cache, quiet):
    coded, _ = coded_tokens(subject("MultiScale"), heard, cache, quiet)
    (row,) = information_rows(subject("MultiScale"), coded)
    assert (row["first"], row["second"], row["pairs"]) == ("slow", "fast", 180)
    assert 0 <= row["bits"] <= 4


def test_nothing_is_encoded_twice(subject, heard, cache, quiet):
    steps = subject("Steps")
    coded_tokens(steps, heard, cache, quiet)
    counted = steps.codec.encodings
    counted.clear()
    coded_tokens(steps, heard, cache, quiet)
    assert counted == []


def test_a_codec_that_fails_is_counted_not_averaged(clips, tmp_path):
    analysis = token_statistics(
        clips, ["known_codecs:Silent", "known_codecs:Steps"], out=tmp_path / "run",
        metrics=["mel-dac-eval"], stability_limit=1,
    )  # fmt: skip
    generations = analysis.tables["generations"].set_index("codec")
    failed = generations.loc[["known_codecs:Silent"]]
    assert (failed["n"] == 0).all()
    assert failed["mean"].isna().all()
    assert set(failed["reasons"]) == {"codec_error 1"}
    assert set(failed["status"]) == {"failed"}
    assert set(analysis.tables["tokens"]["codec"]) == {"known_codecs:Steps"}


def test_lengths_are_matched_within_a_domain(clips, tmp_path):
    analysis = token_statistics(
        clips, ["known_codecs:Steps", "known_codecs:MultiScale"], out=tmp_path / "run",
        metrics=["mel-dac-eval"], stability_limit=1,
    )  # fmt: skip
    table = analysis.tables["tokens"]
    assert set(table.loc[table["domain"] == "music", "matched_tokens"]) == {30}
    assert set(table.loc[table["domain"] == "speech", "matched_tokens"]) == {60}
    streams = table[table["stream"] != "total"]
    assert (streams["utilisation_matched"] <= streams["utilisation"] + 1e-12).all()


def test_tables_repeat_and_lie_where_the_report_looks(clips, tmp_path):
    for name in ("one", "two"):
        token_statistics(
            clips, ["known_codecs:Steps"], out=tmp_path / name, metrics=["mel-dac-eval"],
            stability_limit=1,
        )  # fmt: skip
    folders = [tmp_path / name / "analysis" / "tokens" for name in ("one", "two")]
    names = sorted(path.name for path in folders[0].iterdir())
    assert {"tokens.csv", "token_stability.csv", "meta.json", "bitrates.svg"} <= set(names)
    for name in names:
        assert (folders[0] / name).read_bytes() == (folders[1] / name).read_bytes()
