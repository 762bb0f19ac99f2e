import threading

import numpy as np
import pytest
import torch

from semanticodec import DecodeSettings, Execution, SemantiCodec
from semanticodec.lanes import rounds, side_by_side


@pytest.fixture
def threads():
    """Set torch's threads for a test."""
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


@pytest.mark.parametrize("count", [1, 2, 3, 7, 8, 20])
@pytest.mark.parametrize("size", [1, 4])
@pytest.mark.parametrize("lanes", [1, 2, 6, 16])
def test_rounds_take_every_window_once_and_keep_the_lanes_busy(count, size, lanes):
    parts = list(rounds(count, size, lanes))
    assert [k for part in parts for own in part for k in range(count)[own]] == list(range(count))
    for part in parts:
        lengths = [own.stop - own.start for own in part]
        assert len(set(lengths)) == 1
        assert lengths[0] <= size
        assert len(part) <= lanes
    taken = sum(own.stop - own.start for part in parts[:-1] for own in part)
    assert all(len(part) == min(lanes, count) for part in parts[:-1])
    assert len(parts[-1]) == min(lanes, count - taken)


def test_rounds_are_as_large_as_they_may_be():
    sizes = [[own.stop - own.start for own in part] for part in rounds(7, 4, 2)]
    assert sizes == [[3, 3], [1]]
    assert [len(part) for part in rounds(7, 4, 1)] == [1, 1]


def test_parts_run_at_the_same_time_with_their_share_of_threads(threads):
    threads(4)
    meeting = threading.Barrier(2)

    def work(part):
        meeting.wait(30)  # breaks unless both are here
        return part, torch.get_num_threads(), threading.current_thread().name

    results = side_by_side(work, [10, 11])
    assert [part for part, _, _ in results] == [10, 11]
    assert [share for _, share, _ in results] == [2, 2]
    assert len({name for _, _, name in results} - {threading.current_thread().name}) == 2
    assert torch.get_num_threads() == 4
    seen = []
    other = threading.Thread(target=lambda: seen.append(torch.get_num_threads()))
    other.start()
    other.join()
    assert seen == [4]  # threads of others are not told to be few


@pytest.mark.parametrize(("number", "parts"), [(1, [1, 2]), (4, [1]), (4, [])])
def test_what_cannot_be_divided_runs_here(threads, number, parts):
    threads(number)
    names = side_by_side(lambda _: threading.current_thread().name, parts)
    assert names == [threading.current_thread().name] * len(parts)


def test_lanes_are_in_the_modes_of_their_caller(threads):
    threads(2)

    def modes(_):
        return (
            torch.is_inference_mode_enabled(),
            torch.is_grad_enabled(),
            torch.is_autocast_enabled("cpu"),
            torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else None,
        )

    assert side_by_side(modes, [0, 1]) == [modes(0)] * 2
    with torch.inference_mode(), torch.autocast("cpu", dtype=torch.float16):
        assert side_by_side(modes, [0, 1]) == [modes(0)] * 2
    with torch.no_grad():
        assert side_by_side(modes, [0, 1]) == [modes(0)] * 2


def test_an_error_in_a_lane_reaches_the_caller(threads):
    threads(2)

    def work(part):
        if part:
            raise ValueError("in a lane")

    with pytest.raises(ValueError, match="in a lane"):
        side_by_side(work, [0, 1])


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_lanes_change_no_meaning_and_no_batch(one_codec, sound, threads, dtype):
    threads(2)
    settings = DecodeSettings(num_steps=2, joint_windows=3, dtype=dtype)
    tokens = one_codec.encode_batch([sound(140000), sound(30000), sound(500)], 16000)
    codec = SemantiCodec.from_model(one_codec.model, settings=settings)
    single = SemantiCodec.from_model(
        one_codec.model, settings=settings, execution=Execution(lanes=1)
    )
    together = codec.decode_batch(tokens)
    for one, wave in zip(tokens, together, strict=True):
        assert np.array_equal(codec.decode(one), wave)
        assert np.array_equal(np.concatenate(list(codec.decode_stream(one)), 1), wave[0])
        if dtype == "float32":
            np.testing.assert_allclose(single.decode(one), wave, atol=1e-5)


def test_lanes_serve_the_released_way_too(one_codec, sound, threads):
    threads(2)
    tokens = one_codec.encode(sound(90000), 16000).codes
    waves = []
    for lanes in (None, 1):
        codec = SemantiCodec.from_model(
            one_codec.model, compat="released", execution=Execution(lanes=lanes)
        )
        waves.append(codec.decode(tokens, seed=3, settings=DecodeSettings(num_steps=2)))
    np.testing.assert_allclose(*waves, atol=1e-5)


def test_there_are_as_many_lanes_as_threads_on_a_cpu(threads):
    threads(4)
    cpu = torch.device("cpu")
    assert Execution().lanes_on(cpu) == 4
    assert Execution(lanes=2).lanes_on(cpu) == 2
    assert Execution(lanes=8).lanes_on(cpu) == 4
    assert Execution().lanes_on(torch.device("cuda")) == 1
    assert Execution(compiler="inductor").lanes_on(cpu) == 1
    with pytest.raises(ValueError, match="lanes must be at least 1"):
        Execution(lanes=0)
