"""Recordings beside codecs of ours in one run, and a run beside published points."""

import csv

import numpy as np
import pytest
import soundfile

import bench
from bench.cli import main

RATE = 16000


@pytest.fixture
def folders(tmp_path):
    for index, clip in enumerate(("a", "sub/b", "c")):
        wave = 0.3 * np.random.default_rng(index).standard_normal(RATE).clip(-1, 1)
        for path, samples in (
            (tmp_path / "originals" / f"{clip}.wav", wave),
            (tmp_path / "decoded" / "theirs" / f"{clip}.flac", 0.5 * wave),
        ):
            path.parent.mkdir(parents=True, exist_ok=True)
            soundfile.write(path, samples, RATE)
    return tmp_path


def run(folders, codec, *more):
    words = ["run", "--dataset", str(folders / "originals"), "--domain", "speech", "--jobs", "1"]
    words += ["--codecs", f"passthrough,{codec}", "--metrics", "level-difference,mrstft"]
    code = main([*words, "--out", str(folders / "out"), "--plain", *more])
    rows = bench.load(folders / "out").rows
    return code, rows[rows["codec"] == codec]


def test_recordings_are_one_codec_among_others(folders):
    codec = f"recordings:folder={folders / 'decoded'},codec=theirs,kbps=2.4"
    code, rows = run(folders, codec)
    assert code == 0
    levels = rows[rows["metric"] == "level-difference"]
    assert levels["value"].to_numpy() == pytest.approx(20 * np.log10(0.5), abs=0.01)
    assert rows["nominal_kbps"].eq(2.4).all()
    assert rows["measured_kbps"].isna().all()
    coded = rows[rows["metric"].isin(["rtf-encode", "rtf-decode", "peak-memory"])]
    assert set(coded["status"]) == {"skipped"}
    assert set(coded["reason"]) == {"not_coded_here"}
    tables = (folders / "out" / "tables").rglob("*.md")
    assert any("2.40 declared" in path.read_text() for path in tables)
    curves = (folders / "out" / "plots").glob("mrstft*.csv")
    points = [row for path in curves for row in csv.DictReader(path.open())]
    assert {row["kbps"] for row in points if row["codec"] == codec} == {"2.4"}


def test_what_is_wrong_with_a_file_is_a_typed_failure(folders):
    theirs = folders / "decoded" / "theirs"
    (theirs / "a.flac").unlink()
    (theirs / "sub" / "b.flac").write_bytes(b"fLaC")
    soundfile.write(theirs / "c.flac", np.zeros(RATE // 2), RATE)
    codec = f"recordings:folder={folders / 'decoded'},codec=theirs"
    code, rows = run(folders, codec, "--no-report")
    assert code == 1
    listened = rows[rows["metric"] == "mrstft"].set_index("clip")
    assert set(listened["status"]) == {"failed"}
    assert dict(listened["reason"]) == {
        "a": "missing_file", "sub/b": "unreadable_audio", "c": "length_mismatch",
    }  # fmt: skip


def test_without_a_folder_the_reason_is_one_line(folders):
    code, rows = run(folders, "recordings", "--no-report")
    assert code == 0
    assert set(rows["reason"]) == {"codec_unavailable"}
    assert rows["message"].str.contains("recordings:folder=").all()


def test_ours_beside_published(folders, capsys):
    main(
        [
            "run", "--dataset", str(folders / "originals"), "--domain", "speech",
            "--codecs", "opus@6kbps", "--metrics", "stoi", "--no-report", "--plain",
            "--jobs", "1", "--out", str(folders / "out"),
        ]
    )  # fmt: skip
    assert main(["compare", str(folders / "out"), "--published"]) == 2
    assert "no published point" in capsys.readouterr().err
