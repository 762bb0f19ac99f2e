"""``run_bench.py score``: folders in, a complete CSV out."""

import csv
import json

import numpy as np
import pytest
import soundfile

from bench.cli import main

RATE = 16000


@pytest.fixture
def folders(tmp_path):
    """Originals and reconstructions, some of them broken."""
    rng = np.random.default_rng(0)
    for folder in ("ref", "deg"):
        (tmp_path / folder / "sub").mkdir(parents=True)

    def write(name, reference, degraded, rate=RATE):
        soundfile.write(tmp_path / "ref" / f"{name}.wav", reference, RATE)
        soundfile.write(tmp_path / "deg" / f"{name}.flac", degraded, rate)

    wave = rng.uniform(-0.5, 0.5, 2 * RATE)
    write("good", wave, 0.5 * wave)
    write("sub/nested", wave, wave)
    write("a bit short", wave, wave[:-300])
    write("far too short", wave, wave[:RATE])
    write("silent", 0 * wave, wave)
    write("stereo", np.stack([wave, wave], axis=1), wave)
    write("other rate", wave, np.repeat(wave, 2), rate=2 * RATE)
    soundfile.write(tmp_path / "ref" / "only ref.wav", wave, RATE)
    soundfile.write(tmp_path / "deg" / "only deg.wav", wave, RATE)
    soundfile.write(tmp_path / "ref" / "broken.wav", wave, RATE)
    (tmp_path / "deg" / "broken.wav").write_bytes(b"RIFF but no more")
    return tmp_path


def score(folder, *more, metrics="si-sdr,level-difference"):
    out = folder / "scores.csv"
    words = ["score", "--reference", str(folder / "ref"), "--degraded", str(folder / "deg")]
    words += ["--domain", "music", "--metrics", metrics, "--out", str(out), "--plain", *more]
    code = main(words)
    with out.open(newline="") as file:
        return code, list(csv.DictReader(file))


def test_every_file_has_its_rows(folders, capsys):
    code, rows = score(folders)
    assert code == 1
    assert list(rows[0])[:4] == ["clip", "metric", "value", "status"]
    found = {row["clip"]: row for row in rows if row["metric"] == "level-difference"}
    outcomes = {clip: row["status"] + row["reason"] for clip, row in found.items()}
    assert outcomes == {
        "a bit short": "ok",
        "broken": "failedunreadable_audio",
        "far too short": "failedlength_mismatch",
        "good": "ok",
        "only deg": "failedmissing_file",
        "only ref": "failedmissing_file",
        "other rate": "ok",
        "silent": "failedsilent_reference",
        "stereo": "ok",
        "sub/nested": "ok",
    }
    assert float(found["good"]["value"]) == pytest.approx(-6.02, abs=0.01)
    assert float(found["sub/nested"]["value"]) == pytest.approx(0, abs=1e-3)
    assert all(row["value"] == "" for row in rows if row["status"] != "ok")
    assert "5 ok" not in capsys.readouterr().out  # the talk goes to stderr


def test_again_and_with_more_metrics(folders, capsys):
    first = score(folders)[1]
    capsys.readouterr()
    again = score(folders)[1]
    assert again == first
    assert "scoring" not in capsys.readouterr().err  # nothing was computed
    more = score(folders, metrics="si-sdr,level-difference,logmel-l1")[1]
    assert [row for row in more if row["metric"] != "logmel-l1"] == first


def test_a_changed_file_is_scored_again(folders):
    before = {row["clip"]: row["value"] for row in score(folders)[1] if row["metric"] == "si-sdr"}
    wave, _ = soundfile.read(folders / "ref" / "good.wav")
    noise = np.random.default_rng(1).normal(0, 0.1, wave.shape)
    soundfile.write(folders / "deg" / "good.flac", wave + noise, RATE)
    after = {row["clip"]: row["value"] for row in score(folders)[1] if row["metric"] == "si-sdr"}
    changed = {clip for clip in before if before[clip] != after[clip]}
    assert changed == {"good"}


def test_wrong_use_is_one_line(folders, capsys):
    words = ["score", "--reference", str(folders / "nowhere"), "--degraded", str(folders / "deg")]
    assert main([*words, "--domain", "music", "--out", str(folders / "x.csv")]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "nowhere" in error

    words = ["score", "--reference", str(folders / "ref"), "--degraded", str(folders / "deg")]
    words += ["--domain", "music", "--out", str(folders / "x.csv"), "--metrics", "si-sdrr"]
    assert main(words) == 2
    assert "did you mean si-sdr" in capsys.readouterr().err


def test_transcripts_from_a_file(folders):
    (folders / "texts.csv").write_text("clip,text\ngood,hello\nsub/nested.wav,there\n")
    words = ["--transcripts", str(folders / "texts.csv")]
    rows = score(folders, *words, metrics="fakes_text:Words")[1]
    assert {row["clip"]: json.loads(row["detail"]) for row in rows if row["status"] == "ok"} == {
        "good": {"edits": 1, "words": 1, "text": "hello"},
        "sub/nested": {"edits": 1, "words": 1, "text": "there"},
    }
    assert {row["reason"] for row in rows if row["clip"] == "stereo"} == {"no_transcript"}


@pytest.fixture(autouse=True)
def _words_metric(tmp_path, monkeypatch):
    (tmp_path / "fakes_text.py").write_text(
        "from bench.metrics import Measurement, Metric\n"
        "class Words(Metric):\n"
        "    name = 'words'\n"
        "    summary = 'for tests'\n"
        "    requires_text = True\n"
        "    params = {}\n"
        "    def measure(self, pair):\n"
        "        return Measurement(1.0, {'edits': 1, 'words': 1, 'text': pair.text})\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
