import hashlib
from itertools import pairwise
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest

from bench.errors import Reason, UsageError
from bench.reporting.plot_style import COLORS, KNOWN_FAMILIES, family_styles
from bench.reporting.plots import (
    PLOT_COLUMNS,
    codec_colors,
    draw_curves,
    plot_metric,
    plot_table,
)
from bench.stats.cells import MEAN_OF_DOMAINS

PUBLISHED = pd.DataFrame(
    {
        "codec": ["opus@8kbps", "lyra@3.2kbps", "opus@8kbps"],
        "kbps": [8.0, 3.2, 8.0],
        "metric": ["visqol-speech-exp", "visqol-speech-exp", "wer"],
        "domain": ["speech", "speech", "speech"],
        "value": [4.1, 3.0, 0.02],
        "source": "Somebody 2024",
    }
)


@pytest.fixture
def results(make_results):
    return make_results(clips=4)


@pytest.fixture
def summary(results):
    return results.table(resamples=199)


def lines_of(panel):
    """What is drawn: label-free lines as arrays of points, levels (whole-width lines) left out."""
    return [line.get_xydata() for line in panel.lines if line.get_transform() == panel.transData]


def test_files_of_every_metric_and_domain(results, summary, tmp_path):
    curves = draw_curves(results, tmp_path, summary=summary, metrics=["wer", "mel-dac-eval"])
    assert [(curve.metric, curve.domain) for curve in curves] == [
        ("mel-dac-eval", ""),
        ("mel-dac-eval", "speech"),
        ("mel-dac-eval", "music"),
        ("mel-dac-eval", "sound"),
        ("mel-dac-eval", MEAN_OF_DOMAINS),
        ("wer", "speech"),
    ]
    for curve in curves:
        assert ElementTree.parse(curve.svg).getroot().tag.endswith("svg")
        assert curve.png.read_bytes()[:4] == b"\x89PNG"
        assert set(pd.read_csv(curve.csv).columns) == set(PLOT_COLUMNS)


def test_the_saved_table_is_what_is_drawn(results, summary, tmp_path):
    (curve,) = (
        curve
        for curve in draw_curves(results, tmp_path, summary=summary, metrics=["mel-dac-eval"])
        if curve.domain == "music"
    )
    saved = pd.read_csv(curve.csv, float_precision="round_trip")
    figure = plot_metric(
        plot_table(summary, "mel-dac-eval").query("domain == 'music'"),
        results.metrics["mel-dac-eval"],
        family_styles(["opus", "semanticodec-mini"]),
    )
    (panel,) = figure.axes
    drawn = np.concatenate(lines_of(panel))
    points = saved[saved["role"] == "codec"]
    assert sorted(map(tuple, drawn)) == sorted(zip(points["kbps"], points["value"], strict=True))
    levels = {line.get_ydata()[0] for line in panel.lines} - set(drawn[:, 1])
    assert levels <= set(saved.loc[saved["role"] == "anchor", "value"])
    expected = summary.query("metric == 'mel-dac-eval' and domain == 'music'")
    assert set(saved["value"]) == set(expected["mean"])


def test_figures_are_the_same_bytes_again(results, summary, tmp_path):
    digests = []
    for folder in (tmp_path / "a", tmp_path / "b"):
        curves = draw_curves(results, folder, summary=summary, metrics=["wer"])
        files = [file for curve in curves for file in (curve.svg, curve.png, curve.csv)]
        digests.append([hashlib.sha256(file.read_bytes()).hexdigest() for file in files])
    assert digests[0] == digests[1]
    assert "dc:date" not in (tmp_path / "a" / "wer-speech.svg").read_text(encoding="utf-8")


def test_anchors_are_levels_and_codecs_without_values_are_left_out(make_results):
    clips = [f"speech-{index:02d}" for index in range(3)]
    results = make_results(
        clips=3,
        reasons={("opus@6kbps", clip, "wer"): Reason.TIMEOUT for clip in clips},
        unavailable={"opus@12kbps": "pip install av"},
    )
    table = plot_table(results.table(resamples=99), "wer")
    roles = table.set_index("codec")["role"].to_dict()
    assert roles["passthrough"] == "anchor"
    assert table.set_index("codec")["kbps"].isna()["passthrough"]
    assert "opus@6kbps" not in roles
    assert "opus@12kbps" not in roles
    assert roles["opus@24kbps"] == "codec"


def test_axes_say_what_they_show(results, summary):
    table = plot_table(summary, "visqol-speech-exp")
    figure = plot_metric(
        table[table["domain"] != MEAN_OF_DOMAINS],
        results.metrics["visqol-speech-exp"],
        family_styles(["opus", "semanticodec-mini"]),
    )
    first = figure.axes[0]
    assert first.get_ylabel() == "visqol-speech-exp (MOS-LQO) ↑"
    assert first.get_xlabel() == "bitrate (kbps)"
    assert first.get_xscale() == "log"
    assert [panel.get_title() for panel in figure.axes] == [
        "speech (4 clips)", "music (4 clips)", "sound (4 clips)",
    ]  # fmt: skip
    labels = [text.get_text() for text in first.get_xticklabels()]
    assert labels == ["0.5", "1", "2", "4", "8", "16", "32"]
    assert any(text.get_text().startswith("passthrough") for text in first.texts)


def test_published_points_are_hollow(summary, results):
    table = plot_table(summary, "visqol-speech-exp", PUBLISHED).query("domain == 'speech'")
    assert list(table.loc[table["role"] == "published", "codec"]) == ["lyra@3.2kbps", "opus@8kbps"]
    figure = plot_metric(
        table,
        results.metrics["visqol-speech-exp"],
        family_styles(["opus", "semanticodec-mini", "lyra"]),
    )
    hollow = [line for line in figure.axes[0].lines if line.get_markerfacecolor() == "white"]
    assert sorted(line.get_xydata()[0].tolist() for line in hollow) == [[3.2, 3.0], [8.0, 4.1]]
    legend = [text.get_text() for text in figure.legends[0].get_texts()]
    assert legend == ["lyra", "opus", "semanticodec-mini", "published: Somebody 2024"]


def test_level_names_do_not_overlap(make_results):
    anchors = {f"{name}@{index}hz": None for index, name in enumerate(["lowpass"] * 4 + ["noise"])}
    results = make_results(codecs={"opus@6kbps": 6.0, "opus@24kbps": 24.0, **anchors}, clips=4)
    table = plot_table(results.table(resamples=99), "mel-dac-eval")
    figure = plot_metric(table, results.metrics["mel-dac-eval"], family_styles(["opus"]))
    for panel in figure.axes:
        boxes = sorted((text.get_window_extent() for text in panel.texts), key=lambda box: box.y0)
        assert len(boxes) == 5
        assert all(low.y1 <= high.y0 + 1 for low, high in pairwise(boxes))
        inside = panel.get_window_extent()
        assert all(inside.y0 <= box.y0 and box.y1 <= inside.y1 + 1 for box in boxes)


def test_nothing_hides_points_or_leaves_the_figure(make_results):
    codecs = {f"{name}@{rate}kbps": rate for name in ("opus", "mp3", "amr-nb", "codec2", "g723-1")
              for rate in (0.7, 6.0, 32.0)}  # fmt: skip
    anchors = {"passthrough": None, "lowpass@7000hz": None, "lowpass@3500hz": None, "noise": None}
    results = make_results(codecs=codecs | anchors, clips=3)
    table = plot_table(results.table(resamples=99), "visqol-speech-exp")
    styles = family_styles(table["family"])
    for part in (table[table["domain"] != MEAN_OF_DOMAINS], table[table["domain"] == "speech"]):
        figure = plot_metric(part, results.metrics["visqol-speech-exp"], styles)
        figure.draw_without_rendering()
        for panel in figure.axes:
            points = panel.transData.transform(np.concatenate(lines_of(panel)))
            names = [text.get_window_extent() for text in panel.texts]
            assert len(names) == len(anchors)
            assert not any(name.contains(*point) for name in names for point in points)
            assert all(name.x1 <= figure.bbox.x1 for name in names)
        legend, page = figure.legends[0].get_window_extent(), figure.bbox
        assert page.x0 <= legend.x0
        assert legend.x1 <= page.x1
        assert legend.y1 <= min(panel.get_tightbbox().y0 for panel in figure.axes)


def test_families_keep_their_look():
    assert family_styles(["opus", "mp3"])["opus"] == family_styles(["opus", "zzz"])["opus"]
    assert family_styles(["new", "opus"])["new"] == family_styles(["new"])["new"]
    looks = family_styles([*KNOWN_FAMILIES, *(f"family-{index}" for index in range(30))])
    assert len(set(looks.values())) == len(looks)
    few = family_styles([f"family-{index}" for index in range(len(COLORS))])
    assert len({look.color for look in few.values()}) == len(COLORS)


def test_colours_of_codec_points(results):
    colors = codec_colors(results)
    assert colors["opus@6kbps"] == colors["opus@24kbps"] == COLORS[1]
    assert colors["passthrough"] == colors["lowpass@3500hz"] not in COLORS


@pytest.mark.parametrize(
    "codecs",
    [
        {"opus@6kbps": 6.0},
        {"passthrough": None},
        {f"a family with a long name {index}@1kbps": 1.0 for index in range(20)},
    ],
)
def test_odd_selections_can_be_drawn(make_results, tmp_path, codecs):
    results = make_results(codecs=codecs, clips=1)  # one clip: no interval
    curves = draw_curves(results, tmp_path, metrics=["pesq-wb"])
    assert [curve.domain for curve in curves] == ["speech"]


def test_nothing_to_draw(make_results, tmp_path):
    results = make_results(codecs={"opus@6kbps": 6.0}, clips=2, domains=("music",))
    assert draw_curves(results, tmp_path, metrics=["wer"]) == []
    with pytest.raises(UsageError, match="unknown metric 'werr'; did you mean wer"):
        draw_curves(results, tmp_path, metrics=["werr"])
