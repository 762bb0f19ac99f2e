"""``run_bench.py paper`` on a tiny made-up release: every row, the comparison, resuming."""

import csv

import numpy as np
import pandas as pd
import pytest
import soundfile

from bench import paper
from bench.cli import main
from bench.paper import find_systems
from bench.reporting.reference_points import compare_with_published, load_points
from bench.systems import SYSTEMS, system_of

RATE = 16000
CLIPS = ("audioset_a", "audioset_b", "libritts_a", "libritts_b", "musdb_a")
#: Folder -> how much noise its reconstructions hold, and their gain.
MADE = {
    "semanticodec_0_35_kbps": (0.3, 0.5),
    "semanticodec_1_43_kbps": (0.1, 0.5),
    "dac_6kbps": (0.01, 0.9),  # a short name
    "encodec_24k_1_5kbps": (0.2, 1.0),
    "mine_2_4kbps": (0.15, 1.0),  # not in the paper
    "quiet": (0.0, 0.5),  # everything right but the level
}
METRICS = (
    "mrstft", "mrstft:level=matched", "logmel-l1", "logmel-l1:level=matched",
    "mel-dac-7scale:level=matched,unit=db",
)  # fmt: skip


@pytest.fixture
def release(tmp_path):
    audio = tmp_path / "audio"
    for index, clip in enumerate(CLIPS):
        rng = np.random.default_rng(index)
        wave = 0.2 * np.sin(np.cumsum(rng.uniform(0.1, 0.3, RATE)))
        _write(audio / "groundtruth" / f"{clip}.wav", wave)
        for folder, (noise, gain) in MADE.items():
            ending = "wav" if index % 2 else "flac"
            noisy = gain * (wave + noise * rng.standard_normal(RATE) * 0.2)
            _write(audio / folder / f"{clip}.{ending}", noisy)
    return audio


def _write(path, wave):
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, wave, RATE)


def run(audio, out, *more):
    words = ["paper", "--audio", str(audio), "--out", str(out), "--metrics", ",".join(METRICS)]
    code = main([*words, "--plain", "--jobs", "2", *more])
    with (out / "scores.csv").open(newline="") as file:
        return code, list(csv.DictReader(file))


def test_a_release_from_folders_to_comparison(release, tmp_path, capsys):
    (release / "mine_2_4kbps" / "musdb_a.flac").unlink()
    _write(release / "encodec_24k_1_5kbps" / "libritts_a.flac", np.zeros(RATE // 2) + 0.1)
    out = tmp_path / "out"
    code, rows = run(release, out)
    assert code == 1  # two reconstructions are not as they should be
    assert list(rows[0]) == list(paper.SCORE_COLUMNS)
    assert len(rows) == (len(MADE) + 1) * len(CLIPS) * len(METRICS)
    reasons = {(r["system"], r["clip"]): r["reason"] for r in rows if r["status"] == "failed"}
    assert reasons == {
        ("mine_2_4kbps", "musdb_a"): "missing_file",
        ("encodec_24k_1_5kbps", "libritts_a"): "length_mismatch",
    }
    assert all(row["value"] == "" for row in rows if row["status"] != "ok")
    assert {row["system"]: row["kbps"] for row in rows} == {
        "groundtruth": "", "semanticodec_0_35_kbps": "0.35", "semanticodec_1_43_kbps": "1.4",
        "dac_6kbps": "6.0", "encodec_24k_1_5kbps": "1.5", "mine_2_4kbps": "2.4",
        "quiet": "",
    }  # fmt: skip
    assert {r["clip"]: r["domain"] for r in rows}["audioset_a"] == "sound"
    _check_levels(rows)
    _check_comparison(out)
    told = capsys.readouterr().err
    assert "comparison with the paper" in told
    assert "mine_2_4kbps: no file of 1 of 5 clips (musdb_a)" in told
    assert "(1 failed)" in (out / "reproduction.md").read_text()


def _check_levels(rows):
    """Half the level costs a metric that keeps levels, and one that matches them nothing."""
    values = {
        (r["system"], r["metric"]): float(r["value"]) for r in rows if r["clip"] == "audioset_a"
    }
    for metric in ("mrstft", "logmel-l1"):
        assert values["quiet", metric] > 0.4
        assert values["quiet", f"{metric}:level=matched"] < 0.05
    assert values["groundtruth", "mrstft"] == pytest.approx(0, abs=1e-3)


def _check_comparison(out):
    sides = pd.read_csv(out / "comparison.csv")
    cell = sides[
        (sides["system"] == "dac_6kbps")
        & (sides["domain"] == "speech")
        & (sides["metric"] == "logmel-l1")
    ].iloc[0]
    assert cell["published"] == 2.79  # Table II, DAC at 6 kbps, MEL on speech
    assert cell["difference"] == pytest.approx(cell["ours"] - 2.79)
    assert sides.loc[sides["system"] == "mine_2_4kbps", "published"].isna().all()
    agreement = pd.read_csv(out / "agreement.csv")
    sound = agreement[(agreement["domain"] == "sound") & (agreement["metric"] == "mrstft")]
    assert sound["systems"].item() == 4
    text = (out / "reproduction.md").read_text()
    assert "## speech" in text
    assert "5 clips" in text
    assert (out / "report" / "index.html").is_file()


def test_a_second_run_computes_nothing_and_the_names_stay(release, tmp_path, capsys):
    out = tmp_path / "out"
    run(release, out)
    before = (out / "scores.csv").read_text()
    results = (out / "results.sqlite").stat().st_mtime_ns, before
    _, rows = run(release, out)
    assert (out / "scores.csv").read_text() == results[1]
    assert {row["status"] for row in rows} == {"ok"}
    assert main(["compare", str(out), "--codecs", "dac_6kbps,mine_2_4kbps"]) == 0
    assert "mine_2_4kbps" in capsys.readouterr().out


def test_transcripts_bring_wer(release, tmp_path):
    texts = tmp_path / "texts.csv"
    texts.write_text("clip,text\nlibritts_a,hello\nnobody,no\n")
    plan, _ = paper.plan_paper(release, texts, None)
    names = [info.name for info in plan.metrics]
    assert names.index("wer") == names.index("dwer") - 1
    assert {c.clip.id: c.clip.text for c in plan.clips}["libritts_a"] == "hello"
    without, _ = paper.plan_paper(release, None, None)
    assert "wer" not in {info.name for info in without.metrics}


def test_folders_that_are_no_release_are_refused(release, tmp_path, capsys):
    def refused(audio):
        assert main(["paper", "--audio", str(audio), "--out", str(tmp_path / "o")]) == 2
        return capsys.readouterr().err

    assert "no folder" in refused(tmp_path / "gone")
    (tmp_path / "empty").mkdir()
    assert "no folder groundtruth" in refused(tmp_path / "empty")
    _write(tmp_path / "empty" / "groundtruth" / "musdb_a.wav", np.zeros(RATE))
    (tmp_path / "empty" / "notes").mkdir()  # no audio: no system
    assert "nothing but ground truth" in refused(tmp_path / "empty")
    _write(release / "descript_codec_6kbps" / "musdb_a.wav", np.zeros(RATE))
    assert "two folders" in refused(release)


def test_without_audio_one_line_says_what_to_fetch(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("CODECBENCH_DATA", str(tmp_path))
    assert main(["paper", "--out", str(tmp_path / "o")]) == 2
    assert "run_bench.py fetch semanticodec-samples" in capsys.readouterr().err


def test_every_system_of_the_paper_is_known_by_both_names(tmp_path):
    for system in SYSTEMS:
        for name in (system.name, *system.aliases):
            found = system_of(name)
            assert (found.name, found.kbps) == (system.name, system.kbps)
        _write(tmp_path / system.name / "musdb_a.wav", np.zeros(RATE))
    assert [system.name for system in find_systems(tmp_path)] == [s.name for s in SYSTEMS]
    assert system_of("mine").kbps is None
    assert system_of("other_16_2kbps").family == "other"


def test_a_run_of_the_recipe_is_compared_with_the_papers_rows_of_its_systems(make_results):
    kbps = {"groundtruth": None, "dac_6kbps": 6.0, "descript_codec_0_71kbps": 0.78, "mine": 0.7}
    ids = {f"recordings:folder=/a,codec={name}": rate for name, rate in kbps.items()}
    results, names = paper.named(make_results(codecs=ids))
    assert set(results.codecs) == set(results.rows["codec"]) == set(kbps)
    table = compare_with_published(results, load_points(), names)
    table = table[table["source"].str.endswith("Table II") & (table["metric"] != "wer")]
    found = table.set_index(["codec", "domain"])["published"]
    assert found["dac_6kbps", "speech"] == 4.71
    assert found["descript_codec_0_71kbps", "music"] == 2.80  # the retrained one, at 0.78 kbps
    assert "mine" not in found.index.get_level_values("codec")


def test_other_runs_keep_their_names(make_results):
    for codecs in ({"opus@6kbps": 6.0}, {"recordings:folder=/a,codec=mine": 1.0}):
        results = make_results(codecs=codecs)
        assert paper.named(results) == (results, {})
