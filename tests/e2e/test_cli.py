"""The command line from audio to report, comparison and gate, on synthesised clips."""

import json
import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile

import bench
from bench.cli import main
from bench.cli.arguments import names as read_names

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
RATE = 16000


@pytest.fixture(scope="module")
def audio(tmp_path_factory):
    """Two clips of each domain: chirps, chords, bursts."""
    folder = tmp_path_factory.mktemp("audio")
    rng = np.random.default_rng(0)
    t = np.arange(int(1.5 * RATE)) / RATE
    for k in (1, 2):
        chirp = np.sin(2 * np.pi * (200 * k * t + 300 * t**2)) * np.hanning(t.size)
        chord = sum(np.sin(2 * np.pi * f * k * t) for f in (220, 277, 330)) / 3
        burst = rng.normal(0, 0.3, t.size) * (np.sin(2 * np.pi * 2 * k * t) > 0)
        for domain, wave in (("speech", chirp), ("music", chord), ("sound", burst)):
            (folder / domain).mkdir(exist_ok=True)
            soundfile.write(folder / domain / f"{domain}{k}.wav", 0.5 * wave, RATE)
    return folder


@pytest.fixture(autouse=True)
def _fakes_can_be_imported(monkeypatch):
    monkeypatch.syspath_prepend(str(HERE))


def run(audio, out, *more, codecs="fakes:Pcm,fakes:Coarse,fakes:Missing,passthrough"):
    words = ["run", "--dataset", str(audio), "--codecs", codecs, "--out", str(out), "--plain"]
    return main([*words, "--metrics", "si-sdr,logmel-l1,level-difference", *more])


@pytest.fixture(scope="module")
def finished(audio, tmp_path_factory):
    """A finished run with its report."""
    out = tmp_path_factory.mktemp("run")
    sys.path.insert(0, str(HERE))
    try:
        assert run(audio, out, "--reference-codec", "fakes:Pcm") == 0
    finally:
        sys.path.remove(str(HERE))
    return out


def test_artefacts(finished):
    tables = (finished / "tables" / "tables.md").read_text()
    assert "fakes:Missing: the package missing-codec is not installed" in tables
    assert {"speech", "music", "sound"} <= set(tables.lower().split())
    assert (finished / "plots" / "logmel-l1.svg").is_file()
    assert (finished / "report" / "index.html").is_file()
    rows = pd.read_csv(finished / "rows.csv")
    assert len(rows) == 4 * 6 * (3 + 3)  # codecs, clips, metrics and what coding measures
    assert set(rows["status"]) == {"ok", "skipped"}
    manifest = bench.load(finished).manifest
    assert manifest["packages"]["numpy"] == np.__version__


def test_a_second_run_computes_and_draws_nothing(audio, finished, capsys):
    before = {path: path.stat().st_mtime_ns for path in finished.rglob("*") if path.is_file()}
    assert run(audio, finished, "--reference-codec", "fakes:Pcm") == 0
    captured = capsys.readouterr()
    assert "coding" not in captured.err
    assert "scoring" not in captured.err
    assert "fakes:Coarse" in captured.out
    for name in ("report/index.html", "plots/si-sdr.svg", "tables/summary.csv"):
        assert (finished / name).stat().st_mtime_ns == before[finished / name]


def test_results_of_the_python_api(finished):
    results = bench.load(finished)
    table = results.table(reference="fakes:Pcm")
    row = table.set_index(["codec", "domain", "metric"]).loc["fakes:Coarse", "music", "logmel-l1"]
    assert row["difference"] > 0
    assert row["n"] == 2
    missing = table[table["codec"] == "fakes:Missing"]
    assert missing["mean"].isna().all()
    assert missing["reasons"].str.contains("missing-codec").all()


def test_dry_run_does_nothing(audio, tmp_path, capsys):
    assert run(audio, tmp_path / "out", "--dry-run") == 0
    assert not (tmp_path / "out").exists()
    assert "fakes:Pcm" in capsys.readouterr().out


def test_limit_and_domains(audio, tmp_path):
    words = ("--domains", "speech,music", "--limit", "1", "--no-report")
    assert run(audio, tmp_path / "out", *words, codecs="fakes:Pcm") == 0
    results = bench.load(tmp_path / "out")
    assert sorted(results.clips["domain"]) == ["music", "speech"]


def test_compare_two_codecs_and_two_runs(audio, finished, tmp_path, capsys):
    words = ["compare", str(finished), "--codecs", "fakes:Pcm,fakes:Coarse"]
    assert main([*words, "--out", str(tmp_path / "c.csv")]) == 0
    table = pd.read_csv(tmp_path / "c.csv").set_index(["domain", "metric"])
    assert (table.loc[(slice(None), "logmel-l1"), "difference"] > 0).all()

    assert run(audio, tmp_path / "other", "--no-report", codecs="fakes:Pcm,passthrough") == 0
    assert (
        main(["compare", str(finished), str(tmp_path / "other"), "--out", str(tmp_path / "r")]) == 0
    )
    again = pd.read_csv(tmp_path / "r")
    assert set(again["codec"]) == {"fakes:Pcm", "passthrough"}
    scored = again[again["metric"].isin(["si-sdr", "logmel-l1"])]
    assert (scored["difference"] == 0).all()
    assert main(["compare", str(finished), "--codecs", "fakes:Pcm"]) == 2
    assert "FIRST,SECOND" in capsys.readouterr().err


def test_gate(audio, tmp_path, monkeypatch, capsys):
    """The same stochastic codec passes with another seed; a degraded one fails."""
    import fakes

    baseline = tmp_path / "base.json"
    assert run(audio, tmp_path / "good", "--no-report", codecs="fakes:Dither") == 0
    assert main(["baseline", "save", str(tmp_path / "good"), str(baseline)]) == 0
    assert run(audio, tmp_path / "seed", "--no-report", "--seed", "5", codecs="fakes:Dither") == 0
    results = bench.load(tmp_path / "good"), bench.load(tmp_path / "seed")
    assert (results[0].rows["value"] != results[1].rows["value"]).any()  # it is another decoding
    assert main(["baseline", "check", str(baseline), str(tmp_path / "seed")]) == 0

    document = json.loads(baseline.read_text())
    text = json.dumps(document).replace("fakes:Dither", "fakes:Coarse")
    baseline.write_text(text)  # as if Coarse had been as good as Dither
    assert run(audio, tmp_path / "bad", "--no-report", codecs="fakes:Coarse") == 0
    junit, summary = tmp_path / "junit.xml", tmp_path / "summary.md"
    words = ["baseline", "check", str(baseline), str(tmp_path / "bad")]
    capsys.readouterr()
    assert main([*words, "--junit", str(junit), "--summary", str(summary)]) == 1
    assert "logmel-l1" in capsys.readouterr().out
    assert ET.parse(junit).getroot().findall(".//failure")
    assert "fakes:Coarse" in summary.read_text()
    assert fakes.Coarse.bits == 16  # the fakes were importable

    other = tmp_path / "other.json"
    other.write_text(
        text.replace(bench.load(tmp_path / "bad").metrics["si-sdr"].fingerprint, "0" * 16)
    )
    assert main(["baseline", "check", str(other), str(tmp_path / "bad")]) == 2
    assert "si-sdr" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["run", "--codecs", "opuss@6kbps"], "did you mean opus"),
        (["run", "--codecs", "opus@6"], "opus@6kbps"),
        (["run", "--codecs", "opus@6kbps,opus@6kbps"], "twice"),
        (["run", "--metrics", "pesq"], "did you mean pesq"),
        (["run", "--dataset", "dmo"], "demo"),
        (["run", "--domains", "speach"], "speech"),
        (["report", "nowhere"], "no results in nowhere"),
        (["baseline", "check", "no.json", "nowhere"], "nowhere"),
        (["fetch", "esc51"], "did you mean esc50"),
        (["doctor", "nothing"], "unknown codec"),
    ],
)
def test_wrong_use_is_one_line(words, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(words) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


@pytest.mark.parametrize("what", ["codecs", "metrics", "datasets"])
def test_lists(what, capsys):
    assert main(["list", what]) == 0
    assert {"codecs": "opus@", "metrics": "visqol-speech-exp", "datasets": "librispeech"}[
        what
    ] in capsys.readouterr().out


def test_help_names_every_command():
    command = [sys.executable, ROOT / "run_bench.py", "--help"]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    words = "run score report compare bd speed listening baseline list doctor fetch"
    for name in words.split():
        assert re.search(rf"\n    {name}\s", text), name


def test_without_weights_every_codec_is_named_with_its_reason_in_one_line(
    audio, tmp_path, monkeypatch, capsys
):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "empty"))
    families = ("encodec-24khz", "dac-16khz", "mimi", "snac-24khz")
    words = ["--dataset", str(audio), "--codecs", ",".join(families), "--limit", "1"]
    words += ["--domains", "speech", "--metrics", "stoi", "--out", str(tmp_path / "out")]
    assert main(words) == 1  # no value at all
    printed = capsys.readouterr()
    assert "nothing was measured" in printed.err
    lines = [line for line in printed.out.splitlines() if "no weights: " in line]
    assert [line.split("@")[0].split(":")[0].strip() for line in lines] == list(families)
    assert all(line.endswith("or name a folder with path=") for line in lines)
    rows = bench.load(tmp_path / "out").rows
    assert set(rows["status"]) == {"skipped"}
    assert set(rows["reason"]) == {"codec_unavailable"}


@pytest.mark.parametrize(
    ("device", "message"), [("gpu", "takes auto, cpu, cuda"), ("cuda:99", "no device cuda:99")]
)
def test_a_device_that_is_not_here_is_one_line(device, message, audio, tmp_path, capsys):
    assert run(audio, tmp_path, "--device", device) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    "names",
    [
        ["opus@6kbps", "mp3"],
        ["a@1:k=v,l=w", "b@2:k=v"],
        ["snac-24khz:path=x,dtype=bf16", "snac-32khz:path=y"],
        ["mrstft:level=matched", "mel-dac-7scale:level=matched,unit=db"],
    ],
)
def test_names_and_their_options_are_told_apart(names):
    assert read_names(",".join(names)) == names
