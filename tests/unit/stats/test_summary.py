from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from bench.errors import BenchError, Reason, UsageError
from bench.results import MixedFingerprintsError, details
from bench.stats.cells import MEAN_OF_DOMAINS
from bench.stats.paired import paired_difference
from bench.stats.summary import DIFFERENCE_COLUMNS, SUMMARY_COLUMNS, summarize


def line(table, codec, domain, metric):
    chosen = table.query("codec == @codec and domain == @domain and metric == @metric")
    assert len(chosen) == 1
    return chosen.iloc[0]


def values(results, codec, domain, metric):
    rows = results.rows.query("codec == @codec and domain == @domain and metric == @metric")
    return rows.set_index("clip")["value"]


def test_columns_and_counts(make_results):
    results = make_results(
        reasons={
            ("opus@6kbps", "music-01", "mel-dac-eval"): Reason.TIMEOUT,
            ("opus@6kbps", "music-02", "mel-dac-eval"): Reason.SILENT_REFERENCE,
            ("opus@6kbps", "music-03", "mel-dac-eval"): Reason.SILENT_REFERENCE,
        }
    )
    table = results.table()
    assert tuple(table.columns) == SUMMARY_COLUMNS
    one = line(table, "opus@6kbps", "music", "mel-dac-eval")
    assert (one["n"], one["n_failed"], one["n_skipped"], one["n_pending"]) == (5, 3, 0, 0)
    assert one["reasons"] == "silent_reference:2, timeout:1"
    assert one["mean"] == pytest.approx(
        values(results, "opus@6kbps", "music", "mel-dac-eval").mean()
    )
    assert one["ci_low"] < one["mean"] < one["ci_high"]
    assert one["statistic"] == "mean"


def test_codecs_and_metrics_keep_their_order(make_results):
    results = make_results(clips=2)
    table = results.table()
    assert list(dict.fromkeys(table["codec"])) == list(results.codecs)
    assert list(dict.fromkeys(table["metric"])) == list(results.metrics)
    assert list(dict.fromkeys(table["domain"])) == ["speech", "music", "sound", MEAN_OF_DOMAINS]


def test_word_error_rate_is_a_corpus_ratio(make_results):
    results = make_results()
    rows = results.rows.query("codec == 'opus@6kbps' and metric == 'wer' and status == 'ok'")
    one = line(results.table(), "opus@6kbps", "speech", "wer")
    assert one["statistic"] == "corpus ratio"
    assert one["mean"] == pytest.approx(details(rows, "edits").sum() / details(rows, "words").sum())


@pytest.mark.parametrize(
    "detail", ['{"edits" 1}', '["edits"]', '{"edits": "many", "words": 2}', '{"edits": 1}']
)
def test_damaged_counts_of_words_are_told(make_results, detail):
    results = make_results(clips=2)
    counted = results.rows["detail"].str.contains("edits")
    results.rows.loc[counted, "detail"] = detail
    with pytest.raises(BenchError, match=r"details of a score .* store is damaged"):
        results.table()


def test_counts_on_some_rows_only_are_refused(make_results):
    results = make_results(clips=3)
    wer = results.rows.index[(results.rows["metric"] == "wer") & (results.rows["status"] == "ok")]
    results.rows.loc[wer[0], "detail"] = "{}"
    with pytest.raises(BenchError, match="'wer' keep edits and words and some do not"):
        results.table()


def test_mean_of_domains_is_the_mean_of_means(make_results):
    # One music clip fails, so a mean over clips would differ.
    results = make_results(reasons={("opus@6kbps", "music-01", "mel-dac-eval"): Reason.TIMEOUT})
    table = results.table()
    means = [
        line(table, "opus@6kbps", domain, "mel-dac-eval")["mean"]
        for domain in ("speech", "music", "sound")
    ]
    one = line(table, "opus@6kbps", MEAN_OF_DOMAINS, "mel-dac-eval")
    assert one["mean"] == pytest.approx(np.mean(means))
    assert (one["n"], one["n_failed"], one["statistic"]) == (23, 1, MEAN_OF_DOMAINS)
    assert table.query("metric == 'wer'")["domain"].isin(["speech", "music", "sound"]).all()


def test_mean_of_domains_needs_every_domain(make_results):
    clips = [f"music-{index:02d}" for index in range(3)]
    results = make_results(
        clips=3,
        reasons={("opus@6kbps", clip, "mel-dac-eval"): Reason.TIMEOUT for clip in clips},
    )
    table = results.table(reference="opus@24kbps")
    assert np.isnan(line(table, "opus@6kbps", MEAN_OF_DOMAINS, "mel-dac-eval")["mean"])
    assert np.isfinite(line(table, "opus@12kbps", MEAN_OF_DOMAINS, "mel-dac-eval")["mean"])
    only_failed = line(table, "opus@6kbps", "music", "mel-dac-eval")
    assert (only_failed["n"], only_failed["n_failed"]) == (0, 3)
    assert np.isnan(only_failed["mean"])


def test_an_unavailable_codec_keeps_its_rows_and_reason(make_results):
    results = make_results(clips=3, unavailable={"opus@6kbps": "pip install av"})
    bare = replace(results, rows=results.rows.query("codec != 'opus@6kbps'"))
    for given in (results, bare):
        lines = given.table().query("codec == 'opus@6kbps'")
        assert set(lines["reasons"]) == {"pip install av"}
        assert (lines["n"] == 0).all()
        assert lines["mean"].isna().all()


def test_differences_are_paired_by_clip(make_results):
    results = make_results(
        reasons={
            ("opus@6kbps", "speech-01", "pesq-wb"): Reason.TIMEOUT,
            ("opus@24kbps", "speech-02", "pesq-wb"): Reason.TIMEOUT,
        }
    )
    table = results.table(reference="opus@24kbps")
    assert tuple(table.columns) == SUMMARY_COLUMNS + DIFFERENCE_COLUMNS
    one = line(table, "opus@6kbps", "speech", "pesq-wb")
    a = values(results, "opus@6kbps", "speech", "pesq-wb")
    b = values(results, "opus@24kbps", "speech", "pesq-wb")
    common = (a - b).dropna()
    assert one["n_pairs"] == 6
    assert one["difference"] == pytest.approx(common.mean())
    expected = paired_difference(a[common.index], b[common.index])
    assert one["p_value"] == pytest.approx(expected.p_value)
    assert one["significant"] == (not one["tie"])
    own = line(table, "opus@24kbps", "speech", "pesq-wb")
    assert pd.isna(own["tie"])
    assert np.isnan(own["difference"])


def test_another_seed_of_the_same_codec_ties_and_a_worse_codec_does_not(make_results):
    results = make_results(codecs={"opus@6kbps": 6.0, "opus@24kbps": 24.0}, clips=12)
    again = make_results(codecs={"opus@6kbps": 6.0}, clips=12, seed=1)
    info = replace(again.codecs["opus@6kbps"], codec_id="opus-again@6kbps")
    rows = pd.concat([results.rows, again.rows.assign(codec="opus-again@6kbps")])
    both = replace(results, rows=rows, codecs={**results.codecs, "opus-again@6kbps": info})
    table = both.table(reference="opus@6kbps")
    assert line(table, "opus-again@6kbps", MEAN_OF_DOMAINS, "visqol-speech-exp")["tie"]
    assert line(table, "opus@24kbps", MEAN_OF_DOMAINS, "visqol-speech-exp")["significant"]


def test_holm_makes_p_values_no_smaller(make_results):
    results = make_results(clips=6)
    plain = results.table(reference="opus@24kbps")
    corrected = results.table(reference="opus@24kbps", correct=True)
    tested = plain["p_value"].notna()
    assert (corrected["p_value"] >= plain["p_value"])[tested].all()
    assert (corrected["p_value"] > plain["p_value"])[tested].any()


def test_nothing_depends_on_the_order_of_rows(make_results):
    results = make_results(clips=5)
    shuffled = replace(results, rows=results.rows.sample(frac=1.0, random_state=0))
    options = {"reference": "opus@24kbps", "resamples": 499}
    pd.testing.assert_frame_equal(summarize(results, **options), summarize(shuffled, **options))


def test_several_seeds_of_a_clip_count_once(make_results):
    results = make_results(codecs={"opus@6kbps": 6.0}, clips=4)
    other = make_results(codecs={"opus@6kbps": 6.0}, clips=4, seed=1)
    both = replace(results, rows=pd.concat([results.rows, other.rows], ignore_index=True))
    one = line(both.table(), "opus@6kbps", "speech", "pesq-wb")
    assert one["n"] == 4
    assert one["mean"] == pytest.approx(
        np.mean([line(r.table(), "opus@6kbps", "speech", "pesq-wb")["mean"]
                 for r in (results, other)])
    )  # fmt: skip


@pytest.mark.parametrize(
    ("column", "message"),
    [
        ("metric_fingerprint", r"metric 'visqol-speech-exp' .* f00d and f15a7e00c0ffee01"),
        ("codec_fingerprint", r"codec 'passthrough' .* and f00d|f00d and"),
        ("clip_hash", r"clip 'speech-00' .* f00d"),
    ],
)
def test_unlike_measurements_are_refused(make_results, column, message):
    results = make_results(clips=2)
    results.rows.loc[0, column] = "f00d"
    with pytest.raises(MixedFingerprintsError, match=message):
        results.table()


def test_datasets_may_be_kept_apart(make_results):
    results = make_results(clips=2)
    other = results.rows.assign(dataset="other")
    both = replace(results, rows=pd.concat([results.rows, other], ignore_index=True))
    apart = both.table(by=("dataset", "codec", "domain", "metric"))
    assert list(apart.columns[:2]) == ["dataset", "codec"]
    assert set(apart["dataset"]) == {"synthetic", "other"}
    assert apart["n"].max() == 6
    pooled = both.table(by=("codec", "metric"))
    assert "domain" not in pooled
    assert pooled["n"].max() == 12


def test_unknown_names_are_refused(make_results):
    results = make_results(clips=1)
    with pytest.raises(UsageError, match="unknown reference codec 'opus@7kbps'"):
        results.table(reference="opus@7kbps")
    with pytest.raises(UsageError, match="unknown group 'domains'"):
        results.table(by=("codec", "domains", "metric"))
    with pytest.raises(UsageError, match="at least"):
        results.table(by=("codec",))
