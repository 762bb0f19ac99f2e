"""`probe`, `tokens` and `robustness` from the command line, on small clips and known codecs."""

import json
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import bench
from bench.audio import write_flac
from bench.cli import main

KNOWN = Path(__file__).parents[1] / "unit" / "analysis"
CODECS = "known_codecs:Steps,passthrough"


@pytest.fixture(autouse=True)
def known_codecs(monkeypatch):
    monkeypatch.syspath_prepend(str(KNOWN))
    yield
    sys.modules.pop("known_codecs", None)


@pytest.fixture
def audio(tmp_path):
    rng = np.random.default_rng(0)
    for domain in ("speech", "sound"):
        for number in range(2):
            wave = 0.1 * rng.standard_normal((1, 8000)) * np.hanning(8000)
            write_flac(tmp_path / "audio" / domain / f"{number}.flac", wave.astype("f4"), 16000)
    return tmp_path / "audio"


def is_a_tab(folder, *tables):
    meta = json.loads((folder / "meta.json").read_text())
    assert set(meta) == {"title", "summary", "notes"}
    assert all(isinstance(text, str) and text for text in meta.values())
    assert set(tables) <= {path.stem for path in folder.glob("*.csv")}
    for path in folder.glob("*.csv"):
        assert {"n", "version"} <= set(pd.read_csv(path)), path
    assert list(folder.glob("*.svg"))
    return True


def test_tokens(audio, tmp_path, capsys):
    words = ["tokens", "--dataset", str(audio), "--codecs", CODECS, "--plain"]
    out = tmp_path / "run"
    metrics = ["--metrics", "mel-dac-eval", "--stability-limit", "1"]
    assert main([*words, *metrics, "--out", str(out)]) == 0
    tables = ("tokens", "token_information", "token_stability", "generations")
    assert is_a_tab(out / "analysis" / "tokens", *tables)
    generations = pd.read_csv(out / "analysis" / "tokens" / "generations.csv")
    perfect = generations[generations["codec"] == "passthrough"]
    assert perfect["mean"].abs().max() < 1e-3
    assert "known_codecs:Steps" in capsys.readouterr().out


def test_robustness(audio, tmp_path, capsys):
    words = ["robustness", "--dataset", str(audio), "--codecs", CODECS, "--plain"]
    out = tmp_path / "run"
    rates = ["--bit-flips", "0.05", "--losses", "0.3", "--metrics", "mel-dac-eval"]
    assert main([*words, *rates, "--out", str(out)]) == 0  # failures under damage are findings
    assert is_a_tab(out / "analysis" / "robustness", "robustness", "long_audio")
    table = pd.read_csv(out / "analysis" / "robustness" / "robustness.csv")
    assert set(table["rate"]) == {0.0, 0.05, 0.3}
    assert "decoded" in table
    assert "loss-burst" in capsys.readouterr().out


def test_probe(tmp_path, capsys):
    out = tmp_path / "run"
    words = ["probe", "--tasks", "made-voice", "--codecs", "passthrough,codec2@700bps", "--seeds"]
    code = main([*words, "1", "--representations", "reconstruction", "--out", str(out), "--plain"])
    assert code == 0
    assert is_a_tab(out / "analysis" / "probes", "probes", "probe_tasks")
    captured = capsys.readouterr()
    assert "reconstruction" in captured.out
    assert main(["probe", "--list"]) == 0
    assert "hear-nsynth-pitch" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["probe", "--tasks", "made-voise"], "did you mean made-voice"),
        (["probe", "--tasks", "crema-d", "--folder", "nowhere"], "no folder at nowhere"),
        (["probe", "--tasks-file", "nowhere.yaml"], "cannot read nowhere.yaml"),
        (["tokens", "--codecs", "nothing"], "unknown codec"),
        (["robustness", "--metrics", "stoy"], "did you mean stoi"),
    ],
)
def test_wrong_usage_is_one_line(words, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main([*words, "--out", str(tmp_path / "run"), "--plain"]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert message in line


@pytest.mark.parametrize("rates", ["2", "0", "a", "0.1,x"])
def test_rates_are_checked(rates, capsys):
    with pytest.raises(SystemExit) as caught:
        main(["robustness", "--losses", rates])
    assert caught.value.code == 2
    assert "expected rates above 0, up to 0.5" in capsys.readouterr().err


def test_python_api(audio, tmp_path):
    made = bench.token_statistics(
        audio, ["known_codecs:Steps"], out=tmp_path / "run", limit=1, metrics=["mel-dac-eval"]
    )
    assert set(made.tables["tokens"]["domain"]) == {"all", "sound", "speech"}
    hurt = bench.robustness(
        audio, ["known_codecs:Steps"], out=tmp_path / "run", limit=1, metrics=["mel-dac-eval"]
    )
    assert {"none", "bit-flip", "loss", "loss-burst"} == set(hurt.tables["robustness"]["damage"])
