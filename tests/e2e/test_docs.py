"""The Python examples of the documentation run as they stand there."""

import re
from pathlib import Path

import pytest

from bench import metrics

ROOT = Path(__file__).parents[2]


def python_block(document: str, containing: str) -> str:
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / document).read_text(), re.DOTALL)
    (found,) = (block for block in blocks if containing in block)
    return found


def test_readme_python_api(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names: dict = {}
    exec(compile(python_block("README.md", "bench.run("), "README.md", "exec"), names)
    table = names["table"].set_index(["codec", "metric"])
    assert set(names["rows"]["codec"]) == {"opus@6kbps", "opus@12kbps"}
    assert table.loc[("opus@12kbps", "pesq-wb"), "difference"] > 0
    assert names["same"].rows.equals(names["rows"])


def test_the_metric_of_the_guide(tmp_path, monkeypatch):
    (tmp_path / "my_metrics.py").write_text(
        python_block("docs/adding_a_metric.md", "class Clipping")
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    np = pytest.importorskip("numpy")
    wave = np.full((1, 16000), 0.5, np.float32)
    wave[:, :160] = 1.0
    signal = metrics.Signal(wave, 16000)
    pair = metrics.Pair(signal, signal, "sound")
    assert metrics.create("my_metrics:Clipping")(pair).value == pytest.approx(1.0)


def test_probes_of_the_guide(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    names: dict = {}
    exec(compile(python_block("docs/probes.md", "bench.probe("), "docs/probes.md", "exec"), names)
    table = names["table"].set_index(["codec", "probe"])["accuracy"]
    assert table["opus@6kbps", "linear"] > 0.8 > 0.4 > table["noise", "linear"]
    assert "chance" in capsys.readouterr().out


def test_robustness_of_the_guide(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    names: dict = {}
    block = python_block("docs/robustness.md", "bench.robustness(")
    exec(compile(block, "docs/robustness.md", "exec"), names)
    curve = names["curve"].query("codec == 'mulaw@8khz' and damage in ['none', 'bit-flip']")
    stoi = curve[curve["metric"] == "stoi"].set_index("rate")["mean"]
    assert stoi[0.0] > stoi[0.001] > stoi[0.01]
    assert "not_for_codec" in capsys.readouterr().out


def run_example(document, containing, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names: dict = {}
    exec(compile(python_block(document, containing), document, "exec"), names)
    return names


def test_rate_distortion_guide(tmp_path, monkeypatch):
    found = run_example("docs/rate_distortion.md", "bench.bd_rate(", tmp_path, monkeypatch)
    assert found["doubled"] == pytest.approx(100)
    assert found["gained"] == pytest.approx(0.2)
    assert set(found["table"]["domain"]) == {"speech", "music", "sound"}
    assert (found["table"]["n"] == 2).all()


def test_speed_guide(tmp_path, monkeypatch):
    table = run_example("docs/speed.md", "bench.speed(", tmp_path, monkeypatch)["table"]
    assert table["status"].tolist() == ["ok", "ok"]
    assert (table[["rtf_encode", "rtf_decode", "latency_ms"]] > 0).all(axis=None)
    assert table["unit_ms"].tolist() == [20, 20]


def test_listening_guide(tmp_path, monkeypatch):
    pytest.importorskip("pyloudnorm")
    found = run_example("docs/listening_tests.md", "listening.export(", tmp_path, monkeypatch)
    means = found["found"].means.set_index("codec")["mean"]
    assert means.sort_values().index.tolist() == sorted(found["heard"], key=found["heard"].get)
    assert not found["found"].pairs["tie"].any()
    assert (tmp_path / "runs" / "listening" / "analysis" / "listening" / "scores.svg").is_file()
