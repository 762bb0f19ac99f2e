"""Plans run to their end whatever codecs, metrics and clips do."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile

from bench.audio import Domain
from bench.clips import Clip
from bench.errors import BenchError
from bench.plan import make_plan
from bench.results import Results
from bench.runner import Execution, run_plan
from bench.store import folder_lock

HERE = Path(__file__).parent
RATE = 16000


@pytest.fixture(autouse=True)
def _fakes_can_be_imported(monkeypatch):
    monkeypatch.syspath_prepend(str(HERE))


@pytest.fixture
def clips(tmp_path):
    """Three clips: quiet, loud, and quiet again with a transcript."""
    rng = np.random.default_rng(0)
    made = []
    for name, peak in (("a-quiet", 0.2), ("b-loud", 0.9), ("c-quiet", 0.3)):
        wave = rng.uniform(-peak, peak, RATE)
        wave[100] = peak
        path = tmp_path / "clips" / f"{name}.wav"
        path.parent.mkdir(exist_ok=True)
        soundfile.write(path, wave, RATE)
        text = "hello" if name == "c-quiet" else None
        made.append(Clip(name, "test", Domain.SPEECH, path, text=text))
    return made


def run(folder, clips, codecs, metrics=("fakes:Peak",), **execution):
    plan = make_plan(clips, [f"fakes:{name}" for name in codecs], list(metrics))
    manifest = {"started": "2026-01-01", "seed": 0}
    done = run_plan(plan, folder, manifest, Execution(**{"jobs": 2} | execution))
    return done, Results.load(folder)


def outcome(results, codec, metric="fakes:Peak"):
    rows = results.rows
    rows = rows[(rows["codec"] == f"fakes:{codec}") & (rows["metric"] == metric)]
    return dict(zip(rows["clip"], rows["status"] + rows["reason"].fillna(""), strict=True))


def test_one_bad_codec_never_stops_the_others(tmp_path, clips):
    names = ("Bug", "Refuses", "Segfault", "Short", "Nan", "Missing", "Chatty", "Pcm")
    _, results = run(tmp_path / "run", clips, names)
    assert outcome(results, "Pcm") == dict.fromkeys(("a-quiet", "b-loud", "c-quiet"), "ok")
    assert outcome(results, "Chatty") == outcome(results, "Pcm")
    assert outcome(results, "Refuses") == outcome(results, "Pcm") | {"b-loud": "failedcodec_error"}
    assert outcome(results, "Segfault") == outcome(results, "Pcm") | {"b-loud": "failedworker_died"}
    assert set(outcome(results, "Bug").values()) == {"failedcodec_error"}
    assert set(outcome(results, "Short").values()) == {"failedlength_mismatch"}
    assert set(outcome(results, "Nan").values()) == {"failedcodec_error"}
    assert set(outcome(results, "Missing").values()) == {"skippedcodec_unavailable"}
    rows = results.rows
    assert rows.loc[rows["status"] != "ok", "value"].isna().all()
    messages = rows.loc[rows["codec"] == "fakes:Bug", "message"]
    assert set(messages) == {"ZeroDivisionError: division by zero"}
    missing = rows.loc[rows["codec"] == "fakes:Missing", "message"]
    assert "pip install missing-codec" in missing.iloc[0]


def test_one_bad_metric_never_stops_the_others(tmp_path, clips):
    names = ("CrashOnLoud", "HangAlways", "NanValue", "Typed", "Peak")
    metrics = [f"fakes:{name}" for name in names]
    _, results = run(tmp_path / "run", clips[:2], ["Pcm"], metrics, task_timeout_s=4)
    found = {name: outcome(results, "Pcm", f"fakes:{name}") for name in names}
    assert set(found["Peak"].values()) == {"ok"}
    assert found["CrashOnLoud"] == {"a-quiet": "ok", "b-loud": "failedworker_died"}
    assert set(found["HangAlways"].values()) == {"failedtimeout"}
    assert set(found["NanValue"].values()) == {"failednon_finite_value"}
    assert set(found["Typed"].values()) == {"failedno_utterances"}


def test_bad_audio_gives_typed_rows(tmp_path, clips):
    folder = clips[0].path.parent
    (folder / "text.wav").write_text("no audio")
    soundfile.write(folder / "nan.wav", np.full(RATE, np.nan), RATE, subtype="FLOAT")
    soundfile.write(folder / "one.wav", np.array([0.5]), RATE)
    soundfile.write(folder / "silent.wav", np.zeros(RATE), RATE)
    names = ("text", "nan", "one", "silent", "absent")
    bad = [Clip(name, "test", Domain.SOUND, folder / f"{name}.wav") for name in names]
    _, results = run(tmp_path / "run", clips + bad, ["Pcm"])
    assert outcome(results, "Pcm") == {
        "a-quiet": "ok",
        "b-loud": "ok",
        "c-quiet": "ok",
        "text": "failedunreadable_audio",
        "nan": "failednon_finite_audio",
        "one": "ok",
        "silent": "failedsilent_reference",
        "absent": "failedmissing_file",
    }


def test_second_run_computes_nothing_and_new_work_only_is_done(tmp_path, clips):
    folder = tmp_path / "run"
    first, results = run(folder, clips, ["Pcm"])
    assert first == 6  # three codings, three scores
    again, same = run(folder, clips, ["Pcm"])
    assert again == 0
    pd.testing.assert_frame_equal(results.rows, same.rows)
    assert run(folder, clips, ["Pcm", "Coarse"])[0] == 6
    assert run(folder, clips, ["Pcm"], ["fakes:Peak", "fakes:SlowPeak"])[0] == 3
    assert run(folder, clips[:1], ["Pcm"])[0] == 0
    soundfile.write(clips[0].path, np.full(RATE, 0.25), RATE)
    assert run(folder, clips, ["Pcm"])[0] == 2


def test_dropped_audio_is_made_again_only_when_needed(tmp_path, clips):
    folder = tmp_path / "run"
    _, results = run(folder, clips, ["Pcm"], keep_audio=False)
    assert not (folder / "audio").exists()
    assert results.reconstruction_path("fakes:Pcm", results.clips["clip_hash"][0]) is None
    assert run(folder, clips, ["Pcm"])[0] == 0
    assert run(folder, clips, ["Pcm"], ["fakes:SlowPeak"])[0] == 6


def test_seed_and_batching_do_not_depend_on_company(tmp_path, clips):
    _, together = run(tmp_path / "together", clips, ["Dither"])
    _, alone = run(tmp_path / "alone", clips[1:2], ["Dither"], jobs=1)
    path = together.reconstruction_path("fakes:Dither", together.clips["clip_hash"][1])
    other = alone.reconstruction_path("fakes:Dither", alone.clips["clip_hash"][0])
    assert path.read_bytes() == other.read_bytes()


def test_threads_and_so_last_bits_do_not_depend_on_the_number_of_workers(tmp_path, clips):
    """The sum of a product of matrices changes with the number of threads."""
    for jobs in (1, 2):
        _, results = run(tmp_path / str(jobs), clips[:1], ["Pcm"], ["fakes:Threads"], jobs=jobs)
        rows = results.rows
        assert rows.loc[rows["metric"] == "fakes:Threads", "value"].tolist() == [1.0]


def test_a_hanging_codec_is_given_up(tmp_path, clips):
    _, results = run(tmp_path / "run", clips[:1], ["Hang", "Pcm"], task_timeout_s=3)
    assert outcome(results, "Hang") == {"a-quiet": "failedtimeout"}
    assert outcome(results, "Pcm") == {"a-quiet": "ok"}


def test_one_run_per_folder(tmp_path, clips):
    with folder_lock(tmp_path / "run"), pytest.raises(BenchError, match="another run"):
        run(tmp_path / "run", clips, ["Pcm"])


SCRIPT = """
import sys
sys.path.insert(0, {here!r})
from pathlib import Path
from bench.audio import Domain
from bench.clips import Clip
from bench.plan import make_plan
from bench.runner import Execution, run_plan
if __name__ == "__main__":
    paths = sorted(Path({clips!r}).glob("*.wav"))
    clips = [Clip(path.stem, "test", Domain.SOUND, path) for path in paths]
    names = ["fakes:Pcm", "fakes:Dither", "fakes:Coarse"]
    plan = make_plan(clips, names, ["fakes:Peak", "fakes:SlowPeak"])
    manifest = {{"started": "2026-01-01", "seed": 0}}
    run_plan(plan, Path(sys.argv[1]), manifest, Execution(jobs=2))
"""


def test_kills_lose_nothing_and_change_nothing(tmp_path, clips):
    script = tmp_path / "script.py"
    script.write_text(SCRIPT.format(here=str(HERE), clips=str(clips[0].path.parent)))
    subprocess.run([sys.executable, script, tmp_path / "whole"], check=True, timeout=120)
    whole = Results.load(tmp_path / "whole").rows

    rng = random.Random(1)
    measured: set[tuple] = set()
    for _ in range(10):
        process = subprocess.Popen([sys.executable, script, tmp_path / "killed"])
        time.sleep(rng.uniform(0.5, 4.0))
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        now = finished(tmp_path / "killed")
        assert measured <= now, "a measured row was lost"
        measured = now
    subprocess.run([sys.executable, script, tmp_path / "killed"], check=True, timeout=120)
    killed = Results.load(tmp_path / "killed").rows
    timing = whole["metric"].str.startswith(("rtf", "peak-memory"))
    pd.testing.assert_frame_equal(
        whole[~timing].reset_index(drop=True), killed[~timing].reset_index(drop=True)
    )
    assert set(killed["status"]) == {"ok"}


def finished(folder: Path) -> set[tuple]:
    try:
        rows = Results.load(folder).rows
    except BenchError:
        return set()
    done = rows[(rows["status"] == "ok") & rows["metric"].str.startswith("fakes")]
    return set(done[["clip", "codec", "metric", "value"]].itertuples(index=False, name=None))
