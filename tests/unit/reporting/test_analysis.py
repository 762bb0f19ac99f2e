"""Tabs of what was found out beside the scores: read from folders, whatever lies in them."""

import dataclasses
import json
import re

import numpy as np
import pandas as pd
import pytest

from bench.errors import BenchError
from bench.reporting.analysis import MOST_ROWS, read_tabs, write_analysis
from bench.reporting.html import write_report
from bench.reporting.publish import publish, refresh
from bench.reporting.rate_distortion import curves_of, matrix, write_rate_distortion
from bench.reporting.speed_plots import CPU_LABEL, RUN_LABEL, draw_speed, real_time_factors
from bench.results import CODING_METRICS, MetricInfo

HOSTILE = "</script><script>window.__pwned=1</script><img src=x onerror='window.__pwned=2'>&\"é"
SVG = '<svg xmlns="http://www.w3.org/2000/svg" width="{}pt" height="100pt"/>'
CODECS = {"passthrough": None, "opus@6kbps": 6.0, "opus@12kbps": 12.0, "opus@24kbps": 24.0,
          "mini@25tps": 6.5, "mini@50tps": 11.0, "mini@100tps": 20.0}  # fmt: skip
QUALITY = MetricInfo("visqol-audio-48k", "f1", unit="MOS-LQO")


def feature(run, name="probes", **meta):
    folder = run / "analysis" / name
    folder.mkdir(parents=True)
    (folder / "meta.json").write_text(json.dumps(meta))
    return folder


def test_what_is_written_is_read(tmp_path):
    frame = pd.DataFrame({"codec": ["a", "b"], "bits_per_token": [1.5, np.nan]})
    folder = write_analysis(
        tmp_path, "tokens", title="Tokens", summary="What they carry.", notes=["One."],
        tables={"entropy_by-stream": frame, "b": frame}, titles={"b": "The second"},
    )  # fmt: skip
    (folder / "curve.svg").write_text(SVG.format(250))
    (folder / "curve.csv").write_text("x\n1\n")
    (tab,) = read_tabs(tmp_path)
    assert (tab.title, tab.slug, tab.intro, tab.notes) == (
        "Tokens",
        "tokens",
        "What they carry.",
        ("One.",),
    )
    assert [table.title for table in tab.tables] == ["The second", "Curve", "Entropy by stream"]
    assert list(tab.tables[0].frame) == ["codec", "bits per token"]
    (figure,) = tab.figures
    assert (figure.title, figure.is_small, figure.csv.name) == ("Curve", True, "curve.csv")


def test_only_folders_that_say_what_they_are(tmp_path):
    assert read_tabs(tmp_path) == []
    feature(tmp_path, "b", title="B", notes="one note")
    feature(tmp_path, "a")
    (tmp_path / "analysis" / "scratch").mkdir()
    (tmp_path / "analysis" / "file.txt").write_text("x")
    assert [(tab.title, tab.notes) for tab in read_tabs(tmp_path)] == [
        ("A", ()),
        ("B", ("one note",)),
    ]


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("{", "meta.json cannot be read"),
        ("[1]", "holds no object"),
        ('{"title": 3, "summary": ["x"]}', "title in meta.json is no text"),
        ('{"notes": 7, "titles": 3}', None),
    ],
)
def test_damaged_facts_are_told_and_the_tables_still_shown(tmp_path, content, problem):
    folder = feature(tmp_path)
    (folder / "meta.json").write_text(content)
    (folder / "t.csv").write_text("a\n1\n")
    (tab,) = read_tabs(tmp_path)
    assert (tab.title, len(tab.tables)) == ("Probes", 1)
    assert any(problem in note for note in tab.notes) if problem else tab.notes == ()


@pytest.mark.parametrize("content", [b"", b'a\n"open\n', b"\xff\xfe\xff\n"])
def test_a_table_that_cannot_be_read_is_told(tmp_path, content):
    (feature(tmp_path) / "bad.csv").write_bytes(content)
    (tab,) = read_tabs(tmp_path)
    assert tab.tables == []
    assert "bad.csv cannot be shown" in tab.notes[0]


def test_a_long_table_is_cut_and_its_file_complete(tmp_path, make_results):
    frame = pd.DataFrame({"n": range(MOST_ROWS + 5)})
    write_analysis(tmp_path, "x", title="X", summary="", tables={"long": frame})
    (tab,) = read_tabs(tmp_path)
    assert (len(tab.tables[0].frame), tab.tables[0].note) == (300, "The first 300 of 305 rows.")
    index = write_report(make_results(clips=1), tmp_path / "report", tabs=[tab])
    (name,) = re.findall(r'href="(figures/long-[0-9a-f]{8}\.csv)"', index.read_text())
    assert len(pd.read_csv(index.parent / name)) == 305
    assert "<details" in index.read_text().split('id="panel-more-x"')[1]


def test_hostile_files_stay_text(tmp_path, make_results):
    folder = feature(
        tmp_path, title=HOSTILE, summary=HOSTILE, notes=[HOSTILE], titles={"t": HOSTILE}
    )
    pd.DataFrame({HOSTILE: [HOSTILE, "=1+1"]}).to_csv(folder / "t.csv", index=False)
    (folder / "evil.svg").write_text(
        SVG.format(100).replace("/>", "><script>alert(1)</script></svg>")
    )
    index = write_report(make_results(clips=1), tmp_path / "report", tabs=read_tabs(tmp_path))
    text = index.read_text()
    assert text.count("<script") == 2  # our data and our script
    assert "alert(1)" not in text  # figures are linked, never part of the page
    assert "onerror='" not in text
    assert text.count("&lt;/script&gt;&lt;script&gt;") > 5


def test_two_features_of_one_title_have_two_addresses(tmp_path, make_results):
    feature(tmp_path, "a", title="Same")
    feature(tmp_path, "b", title="Same")
    index = write_report(make_results(clips=1), tmp_path / "report", tabs=read_tabs(tmp_path))
    assert {"panel-more-a", "panel-more-b"} <= set(re.findall(r'id="([^"]+)"', index.read_text()))


def test_a_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "analysis").write_text("a file")
    with pytest.raises(BenchError, match="cannot write"):
        write_analysis(tmp_path, "x", title="X", summary="", tables={})


# --- rate-distortion and speed --------------------------------------------------------------------


def run_of(make_results, **options):
    """A run whose codecs' quality rises with their bitrate, and whose times are known."""
    options = {"codecs": CODECS, "clips": 6} | options
    results = make_results(metrics=[QUALITY], **options)
    rows = results.rows
    quality = 1 + np.log2(rows["measured_kbps"].fillna(48)) / 2 + rows["family"].eq("mini") * 0.4
    rows = rows.assign(value=quality)
    times = [
        rows.assign(metric=name, value=factor, metric_fingerprint="t")
        for name, factor in (("rtf-encode", 0.2), ("rtf-decode", 0.1))
    ]
    infos = {info.name: info for info in (QUALITY, *CODING_METRICS)}
    return dataclasses.replace(
        results, rows=pd.concat([rows, *times], ignore_index=True), metrics=infos
    )


def test_rate_distortion_of_a_run(make_results, tmp_path):
    results = run_of(make_results)
    folder = write_rate_distortion(results, tmp_path, [QUALITY.name])
    table = pd.read_csv(folder / "bd.csv")
    assert table[["first", "second"]].drop_duplicates().to_numpy().tolist() == [["opus", "mini"]]
    assert (table["bd_rate_percent"] < -30).all()  # 0.4 at half a unit per octave
    assert {path.stem for path in folder.glob("*.svg")} == {
        f"bd-rate-{d}" for d in ("speech", "music", "sound")
    }


def test_a_run_without_two_curves_has_no_such_tab(make_results, tmp_path):
    folder = tmp_path / "analysis" / "rate-distortion"
    write_rate_distortion(run_of(make_results), tmp_path, [QUALITY.name])
    single = make_results(codecs={"opus@6kbps": 6.0, "opus@12kbps": 12.0, "mini@1": 1.0}, clips=2)
    assert curves_of(single) == ["opus"]
    assert write_rate_distortion(single, tmp_path, []) is None
    assert list(folder.iterdir()) == []


def test_swapped_codecs_are_each_others_inverse():
    table = pd.DataFrame({"first": ["a"], "second": ["b"], "bd_rate_percent": [100.0]})
    found = matrix(table, ["a", "b"])
    assert (found[1, 0], found[0, 1]) == (100, -50)
    assert np.isnan(found[0, 0])


def test_times_are_those_of_the_run_until_someone_measures(make_results, tmp_path):
    results = run_of(make_results)
    factors, label = real_time_factors(results, tmp_path / "speed.csv")
    assert (factors["opus@6kbps"], label) == (pytest.approx(0.3), RUN_LABEL)
    pd.DataFrame(
        {"codec": ["opus@6kbps", "mini@25tps", "elsewhere"], "device": "cpu", "machine": "m",
         "status": "ok", "contended": [False, True, True], "rtf_encode": 9.0, "rtf_decode": 9.0,
         "rtf_encode_cpu": 0.02, "rtf_decode_cpu": 0.03}
    ).to_csv(tmp_path / "speed.csv", index=False)  # fmt: skip
    factors, label = real_time_factors(results, tmp_path / "speed.csv")
    assert factors == {"opus@6kbps": pytest.approx(0.05), "mini@25tps": pytest.approx(0.05)}
    assert label == CPU_LABEL


def test_quality_against_speed_is_drawn_beside_quality_against_bitrate(make_results, tmp_path):
    results = run_of(make_results)
    (path,) = draw_speed(results, results.table(), tmp_path, [QUALITY.name])
    text = path.read_text()
    assert text.count('<g id="axes_') == 6  # three domains, two panels each
    draw_speed(results, results.table(), tmp_path, [QUALITY.name])
    assert path.read_text() == text
    (tab,) = read_tabs(tmp_path)
    assert (tab.title, tab.figures[0].title) == (
        "Speed",
        f"{QUALITY.name} against bitrate and time",
    )


def test_a_damaged_folder_of_speeds_does_not_stop_the_report(make_results, tmp_path):
    folder = feature(tmp_path, "speed")
    (folder / "speed.csv").write_text("mine\n1\n")
    (folder / "meta.json").write_text("{")
    results = run_of(make_results, clips=2, domains=("speech",))
    draw_speed(results, results.table(), tmp_path, [QUALITY.name])
    assert (folder / "meta.json").read_text() == "{"


def test_publish_shows_every_feature_and_notices_a_new_one(make_results, tmp_path):
    few = {name: CODECS[name] for name in list(CODECS)[1:6] if "24k" not in name}
    results = run_of(make_results, codecs=few, clips=2, domains=("speech",))
    feature(tmp_path, "probes", title="Probes & more")
    index = publish(results, tmp_path, reference="opus@6kbps").report
    tabs = re.findall(r'aria-controls="panel-more-([^"]+)"', index.read_text())
    assert tabs == ["probes", "rate-distortion", "speed"]
    written = index.stat().st_mtime_ns
    publish(results, tmp_path, reference="opus@6kbps")
    assert index.stat().st_mtime_ns == written
    feature(tmp_path, "tokens", title="Tokens")
    publish(results, tmp_path, reference="opus@6kbps")
    assert "panel-more-tokens" in index.read_text()
    assert json.loads((index.parent / "stamp.txt").read_text())["reference"] == "opus@6kbps"


def test_a_folder_without_a_run_is_not_refreshed(tmp_path):
    assert refresh(tmp_path) is None
    assert list(tmp_path.iterdir()) == []
