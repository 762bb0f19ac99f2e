"""The HTML report without a browser: files, escaping, ranking, and results that lack something."""

import dataclasses
import json
import math
import re
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest
import soundfile

from bench.audio import write_flac
from bench.errors import Reason
from bench.reporting import media, spectrogram
from bench.reporting.clips import choose_clips, parse_detail, primary_metric, rank_clips
from bench.reporting.html import Figure, Tab, Table, slug, write_report
from bench.reporting.plot_style import ANCHOR_COLOR, family_styles
from bench.reporting.sections import (
    Column,
    decimals_for,
    failure_groups,
    headline_tables,
    overview,
)
from bench.results import MetricInfo, reconstruction_name
from bench.store import CodingKey

RATE = 16000
CODECS = {"passthrough": None, "opus@6kbps": 6.0, "mini@25tps": 0.35}
HOSTILE = (
    "</script><script>window.__pwned=1</script>"
    "<img src=x onerror=\"window.__pwned='2'\">'&../é\u2028"
)


def tone(seconds=0.4, hz=440.0, gain=0.5):
    wave = gain * np.sin(2 * np.pi * hz * np.arange(int(seconds * RATE)) / RATE)
    return wave[None].astype(np.float32)


def with_audio(results, folder, codecs=None):
    """Give every clip a reference (WAV) and every codec a kept reconstruction (FLAC)."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for index, clip_hash in enumerate(results.clips["clip_hash"]):
        wave = tone(hz=200.0 * (index + 1))
        paths.append(str(folder / f"reference{index}.wav"))
        soundfile.write(paths[-1], wave.T, RATE)
        for number, codec in enumerate(results.codecs if codecs is None else codecs):
            key = CodingKey(results.codecs[codec].fingerprint, clip_hash, 0)
            write_flac(folder / reconstruction_name(key), wave / (number + 1), RATE)
    return dataclasses.replace(results, clips=results.clips.assign(path=paths), folder=folder)


@pytest.fixture
def report(tmp_path):
    """Write a report and return its folder, its page's text and its data."""

    def write(results, **options):
        options = {"colours": dict.fromkeys(results.codecs, "#123456")} | options
        index = write_report(results, tmp_path / "report", **options)
        text = index.read_text(encoding="utf-8")
        return index.parent, text, page_data(text)

    return write


def page_data(text):
    found = re.search(
        r'<script type="application/json" id="report-data">(.*?)</script>', text, re.S
    )
    return json.loads(found[1])


class Page(HTMLParser):
    """What a browser would make of a page: its elements and its text."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.attributes, self.words = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [name for name, _ in attrs]

    def handle_data(self, data):
        self.words.append(data)


# --- files ------------------------------------------------------------------------------------


def test_folder_holds_page_tables_audio_and_images(make_results, report, tmp_path):
    results = with_audio(make_results(codecs=CODECS, clips=2), tmp_path / "run")
    folder, _, data = report(results)
    assert {path.name for path in folder.iterdir()} == {"index.html", "media", "data"}
    assert len(data["clips"]) == 6
    for clip in data["clips"]:
        for voice in (clip["reference"], *clip["codecs"]):
            assert re.fullmatch(r"media/[0-9a-f]{24}\.flac", voice["audio"])
            assert soundfile.info(folder / voice["audio"]).duration == pytest.approx(0.4)
            assert (folder / voice["image"]).read_bytes()[8:12] == b"WEBP"
    rows = pd.read_csv(folder / "data" / "rows.csv")
    assert len(rows) == len(results.rows)


def test_reconstructions_are_linked_not_copied(make_results, report, tmp_path):
    results = with_audio(make_results(codecs=CODECS, clips=1), tmp_path / "run")
    folder, _, data = report(results)
    clip_hash = results.clips["clip_hash"].iloc[0]
    name = next(c for c in data["clips"] if c["name"] == results.clips["clip"].iloc[0])
    codec = [entry["id"] for entry in data["codecs"]].index("opus@6kbps")
    linked = (folder / name["codecs"][codec]["audio"]).stat()
    assert linked.st_ino == results.reconstruction_path("opus@6kbps", clip_hash).stat().st_ino


def test_second_report_keeps_images_and_removes_what_is_not_shown(make_results, report, tmp_path):
    results = with_audio(make_results(codecs=CODECS, clips=2), tmp_path / "run")
    folder, _, data = report(results)
    image = folder / data["clips"][0]["codecs"][0]["image"]
    before, count = image.stat().st_mtime_ns, len(list((folder / "media").iterdir()))
    (folder / "media" / "notes.txt").write_text("mine")
    report(results, worst=1, max_clips=1)
    assert image.stat().st_mtime_ns == before
    assert len(list((folder / "media").glob("*.flac"))) == 1 + len(CODECS)
    assert count > len(list((folder / "media").iterdir()))
    assert (folder / "media" / "notes.txt").is_file()


def test_damaged_index_is_not_trusted(make_results, report, tmp_path):
    results = with_audio(make_results(codecs=CODECS, clips=1), tmp_path / "run")
    outside = tmp_path / "precious.txt"
    outside.write_text("keep")
    (tmp_path / "report" / "media").mkdir(parents=True)
    index = tmp_path / "report" / "media" / "index.json"
    entries = ({"audio": "../precious.txt"}, {"audio": 3}, {"audio": ".."}, 5)
    for content in ("{", "[1]", *(json.dumps({"x": entry}) for entry in entries)):
        index.write_text(content)
        report(results)
        assert outside.read_text() == "keep"


def test_segment_of_a_reference_is_cut(make_results, report, tmp_path):
    results = with_audio(make_results(codecs=CODECS, clips=1, domains=("music",)), tmp_path / "run")
    clips = results.clips.assign(start_s=0.1, segment_s=0.2)
    folder, _, data = report(dataclasses.replace(results, clips=clips))
    audio = folder / data["clips"][0]["reference"]["audio"]
    assert soundfile.info(audio).duration == pytest.approx(0.2)


def test_figures_are_copied_under_safe_names(make_results, report, tmp_path):
    svg, csv = tmp_path / "a b<c>.svg", tmp_path / "x.csv"
    svg.write_text("<svg xmlns='http://www.w3.org/2000/svg'/>")
    csv.write_text("a\n1\n")
    folder, text, _ = report(
        make_results(codecs=CODECS, clips=1),
        figures=[Figure("Curve", svg, "stoi", "speech", csv)],
        tabs=[Tab("Tokens & more", "Intro.", [Table("Entropy", pd.DataFrame({"bits": [1.5]}))])],
    )
    names = {path.name for path in (folder / "figures").iterdir()}
    assert all(re.fullmatch(r"[a-z0-9-]+\.(svg|csv)", name) for name in names)
    assert all(f"figures/{name}" in text for name in names)
    assert 'aria-controls="panel-more-tokens-more"' in text
    assert "Tokens &amp; more" in text


def test_page_refers_to_nothing_outside(make_results, report, tmp_path):
    results = with_audio(make_results(codecs=CODECS, clips=1), tmp_path / "run")
    _, text, _ = report(results)
    assert not re.search(r"""(src|href)=["']?(https?:|//|/)""", text)
    assert str(tmp_path) not in text
    assert "fetch(" not in text


# --- escaping ---------------------------------------------------------------------------------


def hostile_results(make_results):
    codec = f"opus@{HOSTILE}"
    results = make_results(
        codecs={codec: 6.0, "mini@25tps": 0.35}, clips=1, unavailable={codec: HOSTILE}
    )
    metrics = {
        HOSTILE: MetricInfo(HOSTILE, "0", summary=HOSTILE, unit=HOSTILE, params={HOSTILE: HOSTILE})
    }
    metrics |= results.metrics
    rows = results.rows.assign(
        clip=results.rows["clip"] + HOSTILE,
        dataset=HOSTILE,
        message=HOSTILE,
        detail=json.dumps({"edits": 1, "words": 2, "hypothesis": HOSTILE}),
    )
    clips = results.clips.assign(
        clip=results.clips["clip"] + HOSTILE, dataset=HOSTILE, text=HOSTILE, label=HOSTILE
    )
    manifest = {"commit": HOSTILE, "started": HOSTILE, HOSTILE: {HOSTILE: HOSTILE}}
    return dataclasses.replace(results, rows=rows, clips=clips, metrics=metrics, manifest=manifest)


def test_hostile_names_stay_text(make_results, report, tmp_path):
    svg = tmp_path / "x.svg"
    svg.write_text("<svg/>")
    results = hostile_results(make_results)
    frame = pd.DataFrame({HOSTILE: [HOSTILE]})
    _, text, data = report(
        results,
        title=HOSTILE,
        tables=[Table(HOSTILE, frame, HOSTILE)],
        figures=[Figure(HOSTILE, svg, HOSTILE, HOSTILE)],
        tabs=[Tab(HOSTILE, HOSTILE, [Table(HOSTILE, frame)])],
    )
    page = Page(text)
    assert page.tags.count("script") == 2
    assert "onerror" not in page.attributes
    assert sum(HOSTILE in word for word in page.words) > 10
    assert HOSTILE in data["clips"][0]["name"]
    assert data["clips"][0]["text"] == HOSTILE


def test_json_cannot_end_its_element(make_results, report):
    _, text, _ = report(hostile_results(make_results))
    block = re.search(r'id="report-data">(.*?)</script>', text, re.S)[1]
    assert not set("<>&'") & set(block)
    assert block.isascii()


def test_names_that_utf8_cannot_write(make_results, report):
    results = make_results(codecs=CODECS, clips=1)
    text = pd.Series("\udcff", results.clips.index, dtype=object)
    clips = results.clips.assign(text=text)
    _, text, data = report(dataclasses.replace(results, clips=clips), title="odd \udcff")
    assert "<h1>odd ?</h1>" in text
    assert data["clips"][0]["text"] == "\udcff"


def test_policy_allows_only_our_script(make_results, report):
    _, text, _ = report(make_results(codecs=CODECS, clips=1))
    policy = re.search(r'Content-Security-Policy" content="(.*?)"', text)[1]
    assert "default-src &#39;none&#39;" in policy
    assert re.search(r"script-src &#39;sha256-[A-Za-z0-9+/=]+&#39;;", policy.replace("&#43;", "+"))


def test_colours_are_checked(make_results, report):
    with pytest.raises(ValueError, match="Invalid RGBA"):
        report(make_results(codecs=CODECS, clips=1), colours={"opus@6kbps": "red;}</style>"})


def test_colours_are_those_of_the_plots(make_results, report):
    _, _, data = report(make_results(codecs=CODECS, clips=1), colours=None)
    colours = {entry["id"]: entry["colour"] for entry in data["codecs"]}
    assert colours["opus@6kbps"] == family_styles({"opus", "mini"})["opus"].color.lower()
    assert colours["passthrough"] == ANCHOR_COLOR.lower()


@pytest.mark.parametrize(("text", "expected"), [("Tokens", "tokens"), ("../<é>", "tab")])
def test_slug(text, expected):
    assert slug(text) == expected


# --- ranking ----------------------------------------------------------------------------------


def set_value(results, codec, clip, metric, **values):
    rows = results.rows.copy()
    chosen = (rows["codec"] == codec) & (rows["clip"] == clip) & (rows["metric"] == metric)
    assert chosen.any()
    for name, value in values.items():
        rows.loc[chosen, name] = value
    return dataclasses.replace(results, rows=rows)


def test_clip_that_is_worst_for_every_codec_comes_first(make_results):
    results = make_results(codecs=CODECS, clips=4, domains=("music",))
    for codec in CODECS:
        results = set_value(results, codec, "music-02", "visqol-speech-exp", value=0.5)
    ranked = rank_clips(results)
    assert ranked["clip"].iloc[0] == "music-02"
    assert ranked["badness"].iloc[0] == 1.0
    assert ranked["badness"].is_monotonic_decreasing


def test_anchors_do_not_rank(make_results):
    results = make_results(codecs=CODECS, clips=4, domains=("music",))
    worse = set_value(results, "passthrough", "music-02", "visqol-speech-exp", value=0.5)
    assert rank_clips(results)["badness"].tolist() == rank_clips(worse)["badness"].tolist()


def test_failure_is_a_codecs_worst_clip(make_results):
    broken = {(codec, "music-01", "visqol-speech-exp"): Reason.METRIC_ERROR for codec in CODECS}
    ranked = rank_clips(make_results(codecs=CODECS, clips=4, domains=("music",), reasons=broken))
    assert ranked["clip"].iloc[0] == "music-01"


def test_domains_are_ranked_apart(make_results):
    results = make_results(codecs=CODECS, clips=3)
    worst = rank_clips(results).groupby("domain")["badness"].max()
    assert (worst >= 0.5).all()


def test_lower_is_better_is_turned_round(make_results):
    mel = MetricInfo("mel", "m", higher_is_better=False)
    results = make_results(codecs=CODECS, clips=3, metrics=[mel], domains=("music",))
    for codec in CODECS:
        results = set_value(results, codec, "music-00", "mel", value=99.0)
    assert rank_clips(results)["clip"].iloc[0] == "music-00"


def test_primary_metric_prefers_visqol_and_needs_a_direction(make_results):
    delay = MetricInfo("delay", "d", higher_is_better=None)
    metrics = [delay, MetricInfo("stoi", "s"), MetricInfo("visqol-x", "v")]
    assert primary_metric(make_results(metrics=metrics, clips=1), "music") == "visqol-x"
    assert primary_metric(make_results(metrics=metrics[:2], clips=1), "music") == "stoi"
    assert primary_metric(make_results(metrics=metrics[:1], clips=1), "music") is None


def test_choice_takes_the_worst_and_spreads_over_the_rest():
    ranked = pd.DataFrame({"clip": range(100)})
    chosen = choose_clips(ranked, worst=5, max_clips=10)["clip"].tolist()
    assert chosen[:5] == [0, 1, 2, 3, 4]
    assert chosen[-1] == 99
    assert chosen == sorted(set(chosen))
    assert len(choose_clips(ranked, worst=50, max_clips=10)) == 10
    assert len(choose_clips(ranked.head(3), worst=1, max_clips=2)) == 2


# --- results that lack something --------------------------------------------------------------


def test_audio_that_was_not_kept(make_results, report):
    folder, text, data = report(make_results(codecs=CODECS, clips=1))
    voices = [data["clips"][0]["reference"], *data["clips"][0]["codecs"]]
    assert not any("audio" in voice for voice in voices)
    assert data["clips"][0]["codecs"][0]["missing"] == media.NOT_KEPT
    assert not list((folder / "media").glob("*.flac"))
    assert "opus@6kbps" in text


def test_reference_that_is_gone_is_said_without_its_path(make_results, report, tmp_path):
    results = with_audio(make_results(codecs=CODECS, clips=1), tmp_path / "run")
    clips = results.clips.assign(path=[str(tmp_path / "secret" / "x.wav")] * len(results.clips))
    _, text, data = report(dataclasses.replace(results, clips=clips))
    assert "No such file" in data["clips"][0]["reference"]["missing"]
    assert "secret" not in text
    assert data["clips"][0]["ticks"]


def test_unreadable_reconstruction_does_not_stop_the_report(make_results, report, tmp_path):
    results = with_audio(make_results(codecs=CODECS, clips=1), tmp_path / "run")
    clip = results.clips.iloc[0]
    results.reconstruction_path("mini@25tps", clip["clip_hash"]).write_bytes(b"not audio")
    _, text, data = report(results)
    shown = next(entry for entry in data["clips"] if entry["name"] == clip["clip"])
    codec = [entry["id"] for entry in data["codecs"]].index("mini@25tps")
    assert "the file" in shown["codecs"][codec]["missing"]
    assert str(tmp_path) not in text


def test_all_rows_failed(make_results, report):
    results = make_results(codecs=CODECS, clips=2)
    rows = results.rows.assign(
        status="failed", reason="codec_error", message="boom", value=math.nan
    )
    _, text, data = report(dataclasses.replace(results, rows=rows))
    assert text.count("Nothing could be measured here") == 3
    assert "boom" in text
    assert data["clips"][0]["codecs"][0]["why"] == "coding failed"


def test_codec_that_could_not_run_says_why(make_results, report):
    results = make_results(codecs=CODECS, clips=1, unavailable={"mini@25tps": "pip install mini"})
    _, text, data = report(results)
    assert "could not run: pip install mini" in re.sub(r"<[^>]+>", "", text)
    codec = [entry["id"] for entry in data["codecs"]].index("mini@25tps")
    assert data["clips"][0]["codecs"][codec]["why"] == "could not run"


def test_no_speech(make_results, report):
    _, text, data = report(make_results(codecs=CODECS, clips=1, domains=("music", "sound")))
    assert 'id="domain-speech"' not in text
    assert not any(clip["text"] for clip in data["clips"])


def test_one_clip_one_codec(make_results, report, tmp_path):
    results = make_results(codecs={"opus@6kbps": 6.0}, clips=1, domains=("speech",))
    _, _, data = report(with_audio(results, tmp_path / "run"))
    assert data["clips"][0]["badness"] == 0.5
    assert data["clips"][0]["codecs"][0]["kbps"] > 0


def test_details_that_are_absent_or_damaged(make_results, report):
    results = make_results(codecs=CODECS, clips=1)
    metrics = {name: info for name, info in results.metrics.items() if name != "wer"}
    rows = results.rows[results.rows["metric"] != "wer"].assign(detail=None)
    report(dataclasses.replace(results, rows=rows, metrics=metrics))
    assert parse_detail("{") == parse_detail("[1]") == parse_detail(math.nan) == {}


def test_recognised_words_are_shown(make_results, report):
    results = make_results(codecs=CODECS, clips=1, domains=("speech",))
    is_wer = results.rows["metric"] == "wer"
    detail = {"edits": 1, "words": 2, "hypothesis": "some birds", "reference_text": "some words"}
    rows = results.rows.assign(detail=np.where(is_wer, json.dumps(detail), results.rows["detail"]))
    _, _, data = report(dataclasses.replace(results, rows=rows))
    heard = data["clips"][0]["codecs"][0]["heard"]
    assert heard == {
        "text": "some birds",
        "of": "some words",
        "edits": 1,
        "words": 2,
        "loop": False,
    }


# --- sections ---------------------------------------------------------------------------------


def test_best_is_marked_and_anchors_do_not_compete(make_results):
    results = make_results(codecs={"passthrough": None, "opus@6kbps": 6.0, "opus@24kbps": 24.0})
    table = headline_tables(results, results.table())[0]
    column = [column.metric for column in table.columns].index("visqol-speech-exp")
    assert {row.codec for row in table.rows if row.cells[column].best} == {"opus@24kbps"}


def test_cells_say_what_is_missing_in_them(make_results):
    broken = {("opus@6kbps", "speech-00", "pesq-wb"): Reason.NO_UTTERANCES}
    results = make_results(codecs=CODECS, reasons=broken)
    table = headline_tables(results, results.table(reference="mini@25tps"))[0]
    row = next(row for row in table.rows if row.codec == "opus@6kbps")
    cell = row.cells[[column.metric for column in table.columns].index("pesq-wb")]
    assert cell.note == "n = 7, 1 failed"
    assert "no_utterances" in cell.title
    assert "against mini@25tps, p = " in cell.title
    assert cell.mark
    assert row.n_failed == 1


def test_failures_are_grouped_and_come_first(make_results):
    broken = {("opus@6kbps", "speech-00", "pesq-wb"): Reason.NO_UTTERANCES}
    results = make_results(codecs=CODECS, reasons=broken, unavailable={"mini@25tps": "why"})
    groups = failure_groups(results)
    assert [(group.status, group.reason) for group in groups] == [
        ("failed", "no_utterances"),
        ("skipped", "codec_unavailable"),
        ("skipped", "not_for_domain"),
    ]
    assert [group.is_news for group in groups] == [True, True, False]
    assert sum(group.rows for group in groups) == (results.rows["status"] != "ok").sum()
    assert groups[0].lines[0].clips == "speech-00"


def test_overview_tells_skipped_from_not_applicable(make_results):
    results = make_results(codecs=CODECS, clips=2, unavailable={"mini@25tps": "why"})
    seen = overview(results)
    assert sum(seen.counts.values()) == len(results.rows)
    assert seen.counts["not applicable"] > 0
    assert seen.codecs_missing == {"mini@25tps": "why"}
    assert seen.domains == {"speech": 2, "music": 2, "sound": 2}


# --- media ------------------------------------------------------------------------------------


def test_gains_only_turn_down_to_the_quietest():
    assert media.matching_gains([-20.0, -14.0], -20.0) == pytest.approx([1.0, 10 ** (-6 / 20)])
    assert media.matching_gains([-20.0, None, -60.0], -20.0) == [1.0, 1.0, 1.0]
    assert media.matching_gains([], None) == []


@pytest.mark.parametrize("hz", [500.0, 3000.0])
def test_spectrogram_shows_a_tone_where_the_axis_says(hz):
    levels = spectrogram.mel_spectrogram_db(tone(1.0, hz)[0], RATE, RATE / 2)
    assert levels.shape == (spectrogram.ROWS, spectrogram.COLUMNS)
    height = 1 - levels.mean(axis=1).argmax() / spectrogram.ROWS
    expected = spectrogram.mel(hz) / spectrogram.mel(RATE / 2)
    assert height == pytest.approx(float(expected), abs=0.015)


def test_spectrogram_scales_with_level_and_not_with_length():
    loud = spectrogram.mel_spectrogram_db(tone(1.0)[0], RATE, RATE / 2)
    quiet = spectrogram.mel_spectrogram_db(tone(1.0, gain=0.05)[0], RATE, RATE / 2)
    long = spectrogram.mel_spectrogram_db(tone(60.0)[0], RATE, RATE / 2)
    assert loud.max() - quiet.max() == pytest.approx(20.0, abs=0.1)
    assert loud.max() == pytest.approx(long.max(), abs=0.5)


def test_spectrogram_of_one_sample_and_of_silence():
    for wave in (np.zeros(1), np.zeros(RATE)):
        levels = spectrogram.mel_spectrogram_db(wave.astype(np.float32), RATE, RATE / 2)
        assert np.isfinite(levels).all()


def test_spectrogram_above_its_own_nyquist_is_at_the_floor():
    levels = spectrogram.mel_spectrogram_db(tone(1.0)[0], RATE, 24000.0)
    assert levels[0].max() == pytest.approx(-120.0)


def test_axis_ticks_fit():
    assert [tick.label for tick in spectrogram.axis_ticks(8000.0)] == [
        "250",
        "500",
        "1k",
        "2k",
        "4k",
    ]
    assert all(0 < tick.height < 1 for tick in spectrogram.axis_ticks(24000.0))


def test_decimals_go_by_unit_bounds_and_size():
    def decimals(unit, bounds, value):
        return decimals_for(MetricInfo("x", "x", unit=unit, bounds=bounds), pd.Series([value]))

    assert decimals("dB", (None, None), 100.0) == 2
    assert decimals("", (0.0, 1.0), 0.9) == 3
    assert decimals("", (None, None), 4.2) == 2
    assert decimals("", (None, None), math.nan) == 2
    assert Column("x", "x", "", "", 2, None).text(-0.001) == "0.00"
