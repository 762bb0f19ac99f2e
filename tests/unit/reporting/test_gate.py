import json
from dataclasses import replace
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest

from bench.errors import Reason, UsageError
from bench.reporting.baseline import default_tolerance
from bench.reporting.gate import (
    GateReport,
    Tolerance,
    check,
    load_baseline,
    save_baseline,
    to_junit,
    to_markdown,
    write_report,
)
from bench.results import MixedFingerprintsError

CODECS = {"passthrough": None, "opus@6kbps": 6.0, "opus@12kbps": 12.0, "semanticodec@50tps": 0.7}


@pytest.fixture
def run(make_results):
    """Return a maker of runs of the same codecs and clips."""
    return lambda **options: make_results(**({"codecs": CODECS, "clips": 6} | options))


@pytest.fixture
def baseline(run, tmp_path):
    return save_baseline(run(), tmp_path / "baselines" / "demo.json")


def found(report, kind="regressions"):
    return {(cell.codec, cell.domain, cell.metric) for cell in getattr(report, kind)}


def test_the_same_run_passes(run, baseline):
    report = check(run(), baseline)
    assert report.passed
    assert report.exit_code == 0
    assert not report.improvements
    assert all(cell.worsening == 0 for cell in report.cells)
    # 3 domains and all clips for two metrics, speech only for two others, delay not compared.
    assert len(report.cells) == len(CODECS) * (4 + 4 + 1 + 1)


def test_other_seeds_of_the_same_codecs_pass(run, baseline):
    reports = [check(run(seed=seed), baseline, resamples=99) for seed in range(1, 11)]
    assert [found(report) for report in reports] == [set()] * 10


def test_a_degraded_codec_fails_and_only_that(run, baseline):
    report = check(run(seed=1, quality_scale={"opus@6kbps": 0.95}), baseline)
    assert report.exit_code == 1
    assert {codec for codec, _, _ in found(report)} == {"opus@6kbps"}
    assert ("opus@6kbps", "speech", "pesq-wb") in found(report)
    assert ("opus@6kbps", "all clips", "visqol-speech-exp") in found(report)


def test_an_improved_codec_passes_and_says_so(run, baseline):
    report = check(run(seed=1, quality_scale={"semanticodec@50tps": 1.08}), baseline)
    assert report.passed
    assert ("semanticodec@50tps", "all clips", "visqol-speech-exp") in found(report, "improvements")
    assert "### Improvements" in to_markdown(report)


def test_worsening_is_in_the_metrics_unit_and_points_the_right_way(run, baseline):
    results = run()
    codec = results.rows["codec"] == "opus@6kbps"
    results.rows.loc[codec & (results.rows["metric"] == "pesq-wb"), "value"] -= 0.25
    results.rows.loc[codec & (results.rows["metric"] == "mel-dac-eval"), "value"] += 0.125
    cells = {
        (cell.codec, cell.domain, cell.metric): cell for cell in check(results, baseline).cells
    }
    pesq = cells["opus@6kbps", "speech", "pesq-wb"]
    assert pesq.worsening == pytest.approx(0.25, abs=1e-5)
    assert (pesq.low, pesq.high) == pytest.approx((0.25, 0.25), abs=1e-5)
    assert cells["opus@6kbps", "music", "mel-dac-eval"].worsening == pytest.approx(0.125, abs=1e-5)


def test_word_errors_are_compared_as_totals(run, baseline):
    results = run()
    chosen = (results.rows["codec"] == "opus@6kbps") & (results.rows["metric"] == "wer")
    chosen &= results.rows["status"] == "ok"
    counts = [json.loads(text) for text in results.rows.loc[chosen, "detail"]]
    more = [{**count, "edits": count["edits"] + 1} for count in counts]
    results.rows.loc[chosen, "detail"] = [json.dumps(count) for count in more]
    (cell,) = check(results, baseline).regressions
    words = sum(count["words"] for count in counts)
    assert cell.worsening == pytest.approx(len(counts) / words)
    assert cell.now == pytest.approx(sum(count["edits"] for count in more) / words)


def test_one_collapsed_clip_is_found_though_the_mean_hardly_falls(run, tmp_path):
    baseline = save_baseline(run(clips=40, domains=("speech",)), tmp_path / "b.json")
    results = run(clips=40, domains=("speech",), seed=1)
    rows = results.rows
    chosen = (rows["codec"] == "opus@6kbps") & (rows["metric"] == "pesq-wb")
    chosen &= rows["clip"] == "speech-07"
    results.rows.loc[chosen, "value"] -= 1.5
    report = check(results, baseline)
    (cell,) = report.regressions
    assert not cell.is_worse
    assert [change.clip for change in cell.collapsed] == ["synthetic/speech-07"]
    assert "collapse of 1" in to_markdown(report)
    assert cell.problems[0].startswith("collapse of synthetic/speech-07")


def test_new_failures_are_regressions(run, baseline):
    report = check(
        run(reasons={("opus@6kbps", "music-02", "mel-dac-eval"): Reason.TIMEOUT}), baseline
    )
    (cell,) = report.regressions
    assert cell.lost == {"synthetic/music-02": "timeout"}
    assert cell.verdict == "lost 1"
    assert "no value any more: synthetic/music-02 (timeout)" in to_markdown(report)


def test_a_clip_that_vanished_for_one_codec_is_lost(run, baseline):
    results = run()
    gone = (results.rows["codec"] == "opus@6kbps") & (results.rows["clip"] == "music-02")
    report = check(replace(results, rows=results.rows[~gone]), baseline)
    assert {cell.metric for cell in report.regressions} == {"visqol-speech-exp", "mel-dac-eval"}
    assert set(report.regressions[0].lost.values()) == {"not measured"}


def test_what_failed_in_the_baseline_may_fail_again(run, tmp_path):
    reasons = {("opus@6kbps", "music-02", "mel-dac-eval"): Reason.TIMEOUT}
    baseline = save_baseline(run(reasons=reasons), tmp_path / "b.json")
    assert check(run(reasons=reasons), baseline).passed
    assert check(run(), baseline).passed


def test_everything_of_a_metric_lost(run, baseline):
    reasons = {
        ("opus@6kbps", f"speech-{index:02d}", "pesq-wb"): Reason.METRIC_UNAVAILABLE
        for index in range(6)
    }
    report = check(run(reasons=reasons), baseline)
    (cell,) = report.regressions
    assert len(cell.lost) == 6
    assert np.isnan(cell.now)
    assert to_markdown(report)
    assert "and 1 more" in cell.problems[0]


@pytest.mark.parametrize("where", ["rows", "metrics"])
def test_another_metric_fingerprint_is_refused(run, baseline, where):
    results = run()
    info = replace(results.metrics["pesq-wb"], fingerprint="f00d")
    if where == "rows":
        results.rows.loc[results.rows["metric"] == "pesq-wb", "metric_fingerprint"] = "f00d"
    else:
        results = replace(results, metrics={**results.metrics, "pesq-wb": info})
    with pytest.raises(UsageError, match="metric pesq-wb is not what it was: fingerprint f00d"):
        check(results, baseline)


def test_other_audio_is_refused(run, baseline):
    results = run()
    results.rows.loc[results.rows["clip"] == "music-01", "clip_hash"] = "f00d" * 16
    with pytest.raises(UsageError, match=r"clip synthetic/music-01 is other audio .* f00df00df00d"):
        check(results, baseline, subset=True)


def test_mixed_results_are_refused(run, baseline):
    results = run()
    results.rows.loc[0, "codec_fingerprint"] = "f00d"
    with pytest.raises(MixedFingerprintsError):
        check(results, baseline)


def test_a_changed_codec_is_compared_and_named(run, baseline):
    results = run()
    info = replace(results.codecs["opus@6kbps"], fingerprint="f00d")
    rows = results.rows.copy()
    rows.loc[rows["codec"] == "opus@6kbps", "codec_fingerprint"] = "f00d"
    codecs = {**results.codecs, "opus@6kbps": info}
    report = check(replace(results, rows=rows, codecs=codecs), baseline)
    assert report.passed
    assert any("opus@6kbps has changed: fingerprint f00d" in note for note in report.notes)


def test_missing_codec_points_metrics_and_clips_are_refused_unless_a_subset_will_do(run, baseline):
    fewer = run(codecs={"opus@6kbps": 6.0, "passthrough": None})
    with pytest.raises(UsageError, match="lack 2 codec points of the baseline: opus@12kbps, sem"):
        check(fewer, baseline)
    report = check(fewer, baseline, subset=True)
    assert report.passed
    assert {cell.codec for cell in report.cells} == set(fewer.codecs)

    with pytest.raises(UsageError, match="lack 9 clips"):
        check(run(clips=3), baseline)
    assert check(run(clips=3), baseline, subset=True).passed

    results = run()
    metrics = {name: info for name, info in results.metrics.items() if name != "wer"}
    rows = results.rows[results.rows["metric"] != "wer"]
    with pytest.raises(UsageError, match="lack 1 metric of the baseline: wer"):
        check(replace(results, rows=rows, metrics=metrics), baseline)

    with pytest.raises(UsageError, match=r"opus@6kbps \(pip install av\)"):
        check(run(unavailable={"opus@6kbps": "pip install av"}), baseline)

    with pytest.raises(UsageError, match="nothing in common"):
        check(run(codecs={"mp3@8kbps": 8.0}), baseline, subset=True)


def test_metrics_without_direction_are_compared_on_demand(run, baseline):
    results = run()
    delays = (results.rows["metric"] == "delay") & (results.rows["codec"] == "opus@6kbps")
    results.rows.loc[delays, "value"] -= 4.0
    assert check(results, baseline).passed
    report = check(results, baseline, two_sided=["delay"])
    assert {cell.domain for cell in report.regressions} == {"speech", "music", "sound", "all clips"}
    assert report.regressions[0].worsening == pytest.approx(4.0, abs=1e-5)
    assert check(
        results, baseline, two_sided=["delay"], tolerances={"delay": Tolerance(9, 9)}
    ).passed


def test_tolerances_may_be_given_when_saving_and_when_checking(run, tmp_path):
    results = run()
    results.rows.loc[results.rows["metric"] == "pesq-wb", "value"] -= 0.5
    wide = save_baseline(run(), tmp_path / "b.json", tolerances={"pesq-wb": Tolerance(1.0, 2.0)})
    assert check(results, wide).passed
    assert not check(results, wide, tolerances={"pesq-wb": Tolerance(0.1, 2.0)}).passed
    with pytest.raises(UsageError, match="unknown metric 'pesk-wb'; did you mean pesq-wb"):
        save_baseline(run(), tmp_path / "b.json", tolerances={"pesk-wb": Tolerance(1, 1)})
    with pytest.raises(UsageError, match="unknown metric of the baseline 'pesk-wb'"):
        check(results, wide, tolerances={"pesk-wb": Tolerance(1, 1)})


def test_default_tolerances():
    assert default_tolerance("visqol-audio-48k").mean == 0.05
    assert default_tolerance("pesq2-nb").mean == 0.05
    assert default_tolerance("estoi").mean == 0.01
    assert default_tolerance("rtf-encode") is None
    relative = default_tolerance("mel-dac-eval")
    assert relative.scaled(2.0).mean == pytest.approx(0.04)
    assert relative.scaled(0.0).mean == pytest.approx(0.002)


def test_baseline_file_is_small_and_read_back(run, baseline):
    results = run()
    values = results.rows["status"].eq("ok").sum()
    assert baseline.stat().st_size < 30 * values
    loaded = load_baseline(baseline)
    assert len(loaded.numbers) == values
    assert set(loaded.codecs) == set(CODECS)
    assert loaded.manifest == {"commit": "0" * 40, "command": "run_bench.py run", "seed": 0}
    one = loaded.numbers.loc[("opus@6kbps", "pesq-wb", "synthetic/speech-00"), "numerator"]
    rows = results.rows.query("codec == 'opus@6kbps' and metric == 'pesq-wb'")
    assert one == pytest.approx(rows["value"].iloc[0], rel=1e-6)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "cannot read baseline"),
        ("{", "is not JSON"),
        ("[]", "schema None, expected 1"),
        ('{"schema": 99}', "schema 99, expected 1"),
        ('{"schema": 1, "metrics": {}}', "is damaged"),
    ],
)
def test_a_bad_baseline_is_refused(run, tmp_path, text, message):
    path = tmp_path / "b.json"
    if text is not None:
        path.write_text(text, encoding="utf-8")
    with pytest.raises(UsageError, match=message):
        check(run(), path)


def test_nothing_to_save(run, tmp_path):
    results = run()
    with pytest.raises(UsageError, match="no baseline to save"):
        save_baseline(replace(results, rows=results.rows[:0]), tmp_path / "b.json")
    save_baseline(results, tmp_path / "b.json", codecs=["opus@6kbps"])
    assert set(load_baseline(tmp_path / "b.json").codecs) == {"opus@6kbps"}


def test_junit_is_well_formed_with_hostile_names(run, tmp_path):
    hostile = 'x<&">\x00\x1b@6kbps'
    codecs = {hostile: 6.0, "opus@12kbps": 12.0}
    baseline = save_baseline(run(codecs=codecs), tmp_path / "b.json")
    report = check(run(codecs=codecs, quality_scale={hostile: 0.7}), baseline)
    root = ElementTree.fromstring(to_junit(report).encode())
    suites = root.findall("testsuite")
    assert suites[0].get("name") == 'x<&">\ufffd\ufffd@6kbps'
    cases = root.findall("testsuite/testcase")
    assert len(cases) == len(report.cells)
    assert {case.get("classname").rpartition(".")[2] for case in cases} == {
        "speech", "music", "sound", "all clips",
    }  # fmt: skip
    assert len(root.findall("testsuite/testcase/failure")) == len(report.regressions) > 0
    assert sum(int(suite.get("failures")) for suite in suites) == len(report.regressions)
    assert "worse by" in root.find("testsuite/testcase/failure").get("message")


def test_report_files(run, baseline, tmp_path):
    report = check(run(seed=1, quality_scale={"opus@6kbps": 0.8}), baseline)
    paths = write_report(report, tmp_path / "out")
    assert [path.name for path in paths] == ["gate.md", "gate.xml"]
    text = paths[0].read_text(encoding="utf-8")
    assert text.startswith("## Quality gate\n\n**Failed**")
    assert "- delay was not compared: neither direction is better" in text
    assert "worst clips: synthetic/" in text
    assert to_markdown(check(run(), baseline)).startswith("## Quality gate\n\n**Passed**")


def test_order_of_rows_and_seeds_do_not_change_the_verdict(run, baseline):
    results = run(seed=1, quality_scale={"opus@6kbps": 0.9})
    shuffled = replace(results, rows=results.rows.sample(frac=1, random_state=0))
    first, second = check(results, baseline), check(shuffled, baseline, seed=5)
    assert isinstance(first, GateReport)
    assert found(first) == found(second)
    assert pd.Series([cell.p_value for cell in first.cells]).tolist() == pytest.approx(
        [cell.p_value for cell in second.cells]
    )
