"""What codecs cost, on codecs of known cost. No assertion depends on how fast the machine is."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from bench.audio import Audio
from bench.errors import BenchError, Reason, Status, UsageError
from bench.reporting.analysis import read_tabs
from bench.timing.machine import machine_id
from bench.timing.measure import Cost, Missing, Passes, SpeedTask, measure
from bench.timing.speed import (
    PASS_COLUMNS,
    SPEED_COLUMNS,
    is_contended,
    measure_speed,
    pass_table,
    speed_table,
    write_speed,
)

RATE, HIDDEN = 8000, 64


@pytest.fixture(autouse=True)
def _codecs_can_be_imported(monkeypatch):
    here = str(Path(__file__).parent)
    monkeypatch.syspath_prepend(here)
    monkeypatch.setenv("PYTHONPATH", here, prepend=":")


def task(name, seconds=0.5, repeats=3):
    samples = np.random.default_rng(0).uniform(-0.5, 0.5, (1, round(seconds * RATE)))
    return SpeedTask(f"timed_codecs:{name}", "cpu", samples.astype(np.float32), RATE, repeats, 1)


def test_each_step_is_timed_by_itself_in_wall_and_cpu_seconds():
    cost = measure(task("Spins"))
    assert len(cost.encode.wall_s) == len(cost.decode.cpu_s) == len(cost.latency.wall_s) == 3
    assert min(cost.encode.cpu_s) >= 0.02
    assert max(cost.decode.cpu_s) < 0.02 < 0.03 <= min(cost.decode.wall_s)
    assert min(cost.latency.wall_s) >= 0.05  # both, on one frame
    assert (cost.duration_s, cost.unit_s) == (0.5, 0.01)


def test_a_clip_is_brought_to_the_codecs_rate_and_channels():
    stereo = Audio(np.zeros((2, 24000), np.float32), 48000)
    one = SpeedTask("timed_codecs:Pcm", "cpu", stereo.samples, 48000, 1, 1)
    assert measure(one).duration_s == 0.5


def test_parameters_and_operations_are_counted():
    torch = pytest.importorskip("torch")
    cost = measure(task("Network", seconds=0.5))
    frames = 400
    assert cost.encode_flop == 2 * frames * 10 * HIDDEN
    assert cost.decode_flop == 2 * frames * 4 * HIDDEN * (10 + HIDDEN)
    lstm = torch.nn.LSTM(10, HIDDEN)
    known = sum(weight.numel() for weight in lstm.parameters()) + 10 * HIDDEN + 2 * HIDDEN
    assert cost.parameters == known
    (line,) = speed_table([cost]).to_dict("records")
    assert line["gflop_per_s_encode"] == pytest.approx(2 * frames * 10 * HIDDEN / 0.5 / 1e9)


def test_what_has_no_value_has_a_reason():
    assert measure(task("NoFrames")).missing["latency"].reason is Reason.NO_CODING_UNIT
    found = measure(task("WholeOnly")).missing
    assert (found["latency"].reason, found["flop"].reason) == (
        Reason.CODEC_ERROR,
        Reason.NO_NETWORK,
    )
    (line,) = speed_table([measure(task("WholeOnly"))]).to_dict("records")
    assert line["latency_reason"] == "codec_error"
    assert pd.isna(line["latency_ms"])
    assert line["rtf_encode"] > 0
    assert "needs 100 samples" in line["message"]


def test_unavailable_and_broken_codecs_are_rows_without_numbers():
    costs = [task(name).run() for name in ("Pcm", "Nothing")]
    assert [cost.status for cost in costs] == [Status.OK, Status.FAILED]
    table = speed_table(costs)
    assert table.loc[1, "reason"] == "codec_error"
    assert table.loc[1, ["rtf_encode", "peak_memory_mb", "parameters"]].isna().all()


def test_every_codec_has_a_process_of_its_own():
    """One that dies leaves its reason; memory of one is not counted for the next."""
    audio = Audio(task("Pcm").samples, RATE)
    names = ["timed_codecs:Holds", "timed_codecs:Dies", "timed_codecs:Pcm"]
    told = []
    costs = measure_speed(names, audio, seconds=0.2, repeats=1, progress=told.append)
    assert told == [f"{name} on cpu" for name in names]
    assert [cost.reason for cost in costs] == [None, Reason.WORKER_DIED, None]
    held, _, plain = costs
    if plain.peak_memory_mb is None:
        pytest.skip("no /proc here, so memory is not counted")
    assert held.peak_memory_mb - held.base_memory_mb > 190
    assert plain.peak_memory_mb - plain.base_memory_mb < 100


def test_audio_is_cut_or_repeated():
    audio = Audio(task("Pcm", seconds=0.5).samples, RATE)
    for seconds in (0.25, 1.25):
        (cost,) = measure_speed(["timed_codecs:Pcm"], audio, seconds=seconds, repeats=1)
        assert cost.duration_s == seconds


@pytest.mark.parametrize("options", [{"seconds": 0}, {"repeats": 0}, {"threads": 0}])
def test_options_are_checked(options):
    with pytest.raises(UsageError, match="speed takes"):
        measure_speed(["timed_codecs:Pcm"], Audio(np.zeros((1, 9), np.float32), RATE), **options)


def test_a_device_that_is_not_there():
    torch = pytest.importorskip("torch")
    if torch.cuda.is_available():
        pytest.skip("there is one here")
    audio = Audio(np.zeros((1, 9), np.float32), RATE)
    with pytest.raises(UsageError, match="no CUDA device here"):
        measure_speed(["timed_codecs:Pcm"], audio, devices=["cuda"])


# --- tables ---------------------------------------------------------------------------------------

MACHINE = {"processor": "P", "cores": 4, "memory_gb": 8.0}


def cost(codec="a", device="cpu", wall=(1.0, 2.0, 4.0), cpu=None, load=0.1, **more):
    passes = Passes(wall, wall if cpu is None else cpu)
    return Cost(
        codec, device, duration_s=10.0, encode=passes, decode=passes,
        latency=Passes((0.02,), (0.01,)), unit_s=0.02, peak_memory_mb=100.0, load_before=load,
        device=MACHINE, **more,
    )  # fmt: skip


def test_table_has_median_and_range():
    (line,) = speed_table([cost(wall=(1.0, 2.0, 6.0))]).to_dict("records")
    assert tuple(line) == SPEED_COLUMNS
    assert [line[f"rtf_encode{end}"] for end in ("", "_min", "_max")] == pytest.approx(
        [0.2, 0.1, 0.6]
    )
    assert (line["latency_ms"], line["unit_ms"], line["machine"]) == (20, 20, machine_id(MACHINE))
    passes = pass_table([cost()])
    assert tuple(passes.columns) == PASS_COLUMNS
    assert passes["step"].value_counts().to_dict() == {"encode": 3, "decode": 3, "latency": 1}


@pytest.mark.parametrize(
    ("options", "threads", "contended"),
    [
        ({}, 1, False),
        ({"cpu": (0.8, 1.6, 3.2)}, 1, True),  # had to wait for a fifth of the time
        ({"cpu": (0.8, 1.6, 3.2), "device": "cuda"}, 1, False),  # waits for the device
        ({"cpu": (2.0, 4.0, 8.0)}, 2, False),
        ({"load": 3.6}, 1, True),  # one of four cores was left, about
        ({"load": 3.0}, 1, False),
        ({"load": 3.0}, 2, True),
    ],
)
def test_contended_measurements_are_marked(options, threads, contended):
    assert is_contended(cost(**options), threads) is contended


def test_written_again_only_what_was_measured_again_changes(tmp_path):
    write_speed([cost("a"), cost("b")], tmp_path)
    lost = {"flop": Missing(Reason.NO_NETWORK, "no network")}
    table = write_speed([cost("b", wall=(5.0,)), cost("a", "cuda", missing=lost)], tmp_path)
    found = table.set_index(["codec", "device"])["rtf_encode"]
    assert found.to_dict() == {("a", "cpu"): 0.2, ("b", "cpu"): 0.5, ("a", "cuda"): 0.2}
    kept = pd.read_csv(tmp_path / "analysis" / "speed" / "passes.csv")
    assert kept.groupby(["codec", "device"]).size().to_dict() == {
        ("a", "cpu"): 7,
        ("a", "cuda"): 7,
        ("b", "cpu"): 3,
    }
    assert len(pd.read_csv(tmp_path / "analysis" / "speed" / "machines.csv")) == 1
    (tab,) = read_tabs(tmp_path)
    assert (tab.title, len(tab.tables)) == ("Speed", 3)


def test_a_note_says_that_the_machine_was_busy(tmp_path):
    write_speed([cost("a", load=9.0)], tmp_path)
    assert "CPU times" in read_tabs(tmp_path)[0].notes[0]


def test_a_file_that_is_not_ours_is_left_alone(tmp_path):
    path = tmp_path / "analysis" / "speed" / "speed.csv"
    path.parent.mkdir(parents=True)
    path.write_text("mine\n1\n")
    with pytest.raises(BenchError, match=r"no table of speeds.*move it away"):
        write_speed([cost()], tmp_path)
    assert path.read_text() == "mine\n1\n"
