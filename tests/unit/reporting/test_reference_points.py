"""Published points: every row has its source, and nothing is compared that should not be."""

import csv
import math

import pandas as pd
import pytest

from bench.errors import DatasetError, UsageError
from bench.metrics import metric_names
from bench.reporting import reference_points
from bench.reporting.layout import MISSING, bitrate_text, with_declared_bitrates
from bench.reporting.reference_points import (
    COLUMNS,
    appendix,
    compare_with_published,
    drawable,
    load_points,
    points_of_run,
    write_appendix,
)
from bench.stats.cells import MEAN_OF_DOMAINS

ROW = {
    "codec": "opus", "variant": "", "kbps": "6", "tokens_per_s": "", "dataset": "theirs",
    "domain": "speech", "metric": "pesq-wb", "published_metric": "PESQ-WB", "value": "2.5",
    "unit": "MOS-LQO", "source": "arXiv 0000.00000 Table 1", "secondary": "false",
    "comparable": "true", "note": "",
}  # fmt: skip


@pytest.fixture
def folder(tmp_path):
    def write(*changes, columns=COLUMNS):
        with (tmp_path / "points.csv").open("w", newline="") as file:
            writer = csv.DictWriter(file, columns, extrasaction="ignore")
            writer.writeheader()
            writer.writerows(ROW | change for change in changes)
        return tmp_path

    return write


def test_the_points_that_come_with_the_project_are_valid():
    points = load_points(known_metrics=metric_names())
    assert len(points) > 500
    assert points["source"].str.len().min() > 0
    assert set(drawable(points)["domain"]) >= {"speech", "music", "sound", MEAN_OF_DOMAINS}
    assert len(drawable(points)) + len(appendix(points)) == len(points)


def test_table_two_is_complete_and_its_averages_are_the_means_of_its_domains():
    points = load_points()
    two = points[points["source"].str.endswith("Table II")]
    assert len(two) == 14 * (3 * 3 + 2)
    visqol = two[two["metric"] == "visqol-speech-exp"]
    by_point = visqol.groupby(["codec", "variant", "kbps"], dropna=False)
    for name, rows in by_point:
        values = rows.set_index("domain")["value"]
        printed = values.pop(MEAN_OF_DOMAINS)
        assert len(values) == 3
        # The paper's average of 0.70 kbps without acoustic codebook and others are rounded.
        assert printed == pytest.approx(values.mean(), abs=0.011), name


def test_averages_of_hear_are_the_means_of_their_tasks():
    points = load_points()
    hear = points[points["source"].str.endswith("Table III")]
    for name, rows in hear.groupby(["codec", "variant", "kbps"], dropna=False):
        tasks = rows["published_metric"].str.contains("average")
        assert rows.loc[~tasks, "value"].mean() == pytest.approx(
            rows.loc[tasks, "value"].item(), abs=0.11
        ), name


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"codec": ""}, "codec is empty"),
        ({"source": " "}, "source is empty"),
        ({"value": "good"}, "expected a number"),
        ({"value": "nan"}, "expected a number"),
        ({"kbps": "0"}, "above 0"),
        ({"kbps": "six"}, "above 0"),
        ({"secondary": "no"}, "expected true or false"),
        ({"domain": "song"}, "domain is 'song'"),
        ({"metric": ""}, "without a metric"),
        ({"domain": ""}, "without a metric of ours or a domain"),
        ({"comparable": "false"}, "does not say why"),
        ({"metric": "pesq"}, "none of ours"),
    ],
)
def test_a_wrong_row_is_named_with_file_and_line(folder, change, text):
    with pytest.raises(DatasetError, match=rf"points.csv, line 3: .*{text}"):
        load_points(folder({}, ROW | change), known_metrics=metric_names())


def test_wrong_files_are_refused(folder, tmp_path):
    with pytest.raises(DatasetError, match="stands twice"):
        load_points(folder({}, {}))
    with pytest.raises(DatasetError, match="expected the columns"):
        load_points(folder({}, columns=COLUMNS[1:]))
    with pytest.raises(DatasetError, match="no published points"):
        load_points(tmp_path / "empty")


def test_only_comparable_points_with_a_bitrate_are_drawn(folder):
    other = {"comparable": "false", "note": "why", "value": "1", "dataset": "b"}
    points = load_points(folder({}, other, {"kbps": "", "dataset": "c"}))
    assert drawable(points)["value"].tolist() == [2.5]
    assert sorted(appendix(points)["dataset"]) == ["b", "c"]


def test_ours_against_theirs(folder, make_results):
    points = load_points(
        folder(
            {},
            {"kbps": "6.2", "dataset": "near enough"},
            {"kbps": "7", "dataset": "another rate"},
            {"domain": "music", "metric": "visqol-speech-exp", "dataset": "another domain"},
            {"variant": "retrained", "dataset": "another codec"},
            {"metric": "stoi", "dataset": "not measured"},
            {"comparable": "false", "note": "why", "dataset": "not comparable"},
        )
    )
    results = make_results()
    table = compare_with_published(results, points)
    assert set(table["published_dataset"]) == {"theirs", "near enough", "another domain"}
    ours = results.table()
    mean = ours[
        (ours["codec"] == "opus@6kbps")
        & (ours["metric"] == "pesq-wb")
        & (ours["domain"] == "speech")
    ]["mean"].item()
    first = table[table["published_dataset"] == "theirs"].iloc[0]
    assert first["difference"] == pytest.approx(mean - 2.5)


def test_nothing_in_common_is_an_error(folder, make_results):
    points = load_points(folder({"codec": "nobody"}))
    with pytest.raises(UsageError, match="published are nobody"):
        compare_with_published(make_results(), points)


def test_a_bitrate_that_was_not_measured_is_shown_as_declared():
    summary = pd.DataFrame(
        {
            "codec": ["ours", "recorded", "not here", "anchor"],
            "nominal_kbps": [6.0, 1.5, 9.0, math.nan],
            "measured_kbps": [6.2, math.nan, math.nan, math.nan],
            "n": [3, 3, 0, 3],
        }
    )
    texts = {codec: bitrate_text(part) for codec, part in summary.groupby("codec")}
    assert texts == {
        "ours": "6.20", "recorded": "1.50 declared", "not here": MISSING, "anchor": MISSING,
    }  # fmt: skip
    drawn = with_declared_bitrates(summary).set_index("codec")["measured_kbps"]
    assert drawn["recorded"] == 1.5
    assert drawn[["not here", "anchor"]].isna().all()


def test_a_run_is_drawn_with_points_of_its_own_codecs_and_panels_only(
    folder, make_results, tmp_path
):
    points = load_points(
        folder(
            {},
            {"codec": "nobody", "dataset": "another codec"},
            {"variant": "retrained", "dataset": "another variant"},
            {"domain": "mixed", "dataset": "no panel"},
            {"metric": "stoi", "dataset": "no curve"},
            {"comparable": "false", "note": "why", "dataset": "not comparable"},
        )
    )
    results = make_results()
    drawn = points_of_run(results, results.table(), points)
    assert drawn["dataset"].tolist() == ["theirs"]
    path = tmp_path / "published.csv"
    write_appendix(results, drawn, points, path)
    listed = pd.read_csv(path)["dataset"]
    assert set(listed) == {"another variant", "no panel", "no curve", "not comparable"}
    write_appendix(results, drawn, points.iloc[:1], path)
    assert not path.exists()


def test_an_installation_without_the_files_has_no_points(monkeypatch, tmp_path, make_results):
    monkeypatch.setattr(reference_points, "reference_folder", lambda: tmp_path / "none")
    points = load_points()
    assert tuple(points.columns) == COLUMNS
    results = make_results()
    assert points_of_run(results, results.table(), points).empty
