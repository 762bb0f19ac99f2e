"""The commands that find out more about a run: bd, speed, listening; and their tabs."""

import re

import numpy as np
import pandas as pd
import pytest
import soundfile

from bench.cli import main
from bench.listening import ListeningTest

RATE = 16000
CODECS = "opus@6kbps,opus@12kbps,mp3@16kbps,mp3@32kbps"


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Four codec points on two clips, not reported yet."""
    audio, out = tmp_path_factory.mktemp("audio"), tmp_path_factory.mktemp("run")
    t = np.arange(RATE) / RATE
    for k in (1, 2):
        wave = 0.3 * np.sin(2 * np.pi * (200 * k * t + 900 * t**2)) * np.hanning(t.size)
        wave += np.random.default_rng(k).normal(0, 0.02, t.size)
        soundfile.write(audio / f"chirp{k}.wav", wave, RATE)
    words = ["run", "--dataset", str(audio), "--domain", "sound", "--codecs", CODECS, "--plain"]
    assert main([*words, "--metrics", "logmel-l1", "--no-report", "--out", str(out)]) == 0
    return out


def test_bd(run, tmp_path, capsys):
    path = tmp_path / "bd.csv"
    words = ["bd", str(run), "--codecs", "opus,mp3", "--metrics", "logmel-l1", "--out", str(path)]
    assert main(words) == 0
    text = capsys.readouterr().out
    assert "opus" in text
    assert "BD-rate" in text
    (line,) = pd.read_csv(path).to_dict("records")
    assert (line["first"], line["second"], line["n"]) == ("opus", "mp3", 2)
    # A bitrate or the reason why there is none, never neither and never both.
    for name, value in (("bd_rate", "bd_rate_percent"), ("bd_quality", "bd_quality")):
        assert pd.isna(line[value]) != pd.isna(line[f"{name}_reason"])


def test_speed_and_listening_become_tabs(run, tmp_path, capsys):
    words = ["speed", "--codecs", "opus@6kbps", "--seconds", "0.5", "--repeats", "1"]
    assert main([*words, "--out", str(run)]) == 0
    assert "opus@6kbps" in capsys.readouterr().out
    test = tmp_path / "test"
    words = ["listening", "export", str(run), "--out", str(test), "--codecs"]
    assert main([*words, "opus@6kbps,opus@12kbps", "--anchors", "3500hz"]) == 0
    rate(ListeningTest.load(test), tmp_path / "mushra.csv")
    words = ["listening", "import", str(test), str(tmp_path / "mushra.csv"), "--out", str(run)]
    assert main(words) == 0
    assert "opus@12kbps" in capsys.readouterr().out
    page = (run / "report" / "index.html").read_text()
    tabs = re.findall(r'aria-controls="panel-more-([^"]+)"', page)
    assert tabs == ["listening", "rate-distortion", "speed"]
    means = pd.read_csv(run / "analysis" / "listening" / "1-means.csv").set_index("codec")["mean"]
    assert means["reference"] > means["opus@12kbps"] > means["opus@6kbps"]


def rate(test, path):
    heard = {"reference": 100, "opus@12kbps": 70, "opus@6kbps": 40, "lowpass@3500hz": 20}
    rows = [
        (rater, trial.id, condition.name, heard[condition.codec] - rater)
        for rater in range(4)
        for trial in test.trials
        for condition in test.conditions
    ]
    columns = ["rater", "trial_id", "rating_stimulus", "rating_score"]
    pd.DataFrame(rows, columns=columns).to_csv(path, index=False)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["bd", "RUN", "--codecs", "opus"], "two codecs"),
        (["bd", "RUN", "--codecs", "opus@6kbps,mp3"], "without its points"),
        (["bd", "RUN", "--method", "spline"], "pchip"),
        (["bd", "nowhere"], "no results in nowhere"),
        (["speed", "--codecs", "opuss@6kbps"], "did you mean opus"),
        (["speed", "--codecs", "opus@6kbps", "--seconds", "0"], "above 0"),
        (["listening", "export", "RUN", "--out", "t", "--preset", "paper"], "semanticodec-paper"),
        (["listening", "export", "nowhere", "--out", "t"], "no results in nowhere"),
        (["listening", "import", "nowhere", "x.csv", "--out", "o"], "no listening test in nowhere"),
    ],
)
def test_wrong_use_is_one_line(run, words, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main([str(run) if word == "RUN" else word for word in words]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
