import numpy as np
import pytest

from codec_zoo.base import CodecError
from codec_zoo.registry import create


def round_trip(codec_id: str, wave: np.ndarray, seed: int = 0) -> np.ndarray:
    codec = create(codec_id)
    return codec.decode(codec.encode(wave.astype(np.float32)).payload, seed=seed)


def noise(channels: int, samples: int) -> np.ndarray:
    return np.random.default_rng(0).normal(0, 0.1, (channels, samples)).astype(np.float32)


@pytest.mark.parametrize("shape", [(1, 1), (1, 1001), (2, 777), (6, 50)])
def test_passthrough_keeps_every_bit(shape: tuple[int, int]) -> None:
    wave = noise(*shape) * 3  # beyond full scale, too
    assert round_trip("passthrough", wave).tobytes() == wave.tobytes()


def test_passthrough_takes_any_rate() -> None:
    spec = create("passthrough").spec
    assert (spec.sample_rate, spec.channels, spec.nominal_kbps) == (None, None, None)


def tone_gain_db(codec_id: str, frequency_hz: float, rate: int = 48000) -> float:
    t = np.arange(rate) / rate
    tone = np.sin(2 * np.pi * frequency_hz * t)[None].astype(np.float32)
    out = round_trip(codec_id, tone)
    middle = slice(rate // 4, -rate // 4)
    return 20 * np.log10(out[0, middle].std() / tone[0, middle].std())


# ITU-R BS.1534-3: ripple +-0.1 dB below the edge, 25 dB down at 8/7 and 50 dB at 9/7 of it.
@pytest.mark.parametrize("edge", [3500, 7000])
def test_lowpass_meets_the_mask_of_the_recommendation(edge: int) -> None:
    codec_id = f"lowpass@{edge}hz"
    for share in (0.05, 0.3, 0.6, 0.9, 1.0):
        assert abs(tone_gain_db(codec_id, edge * share)) < 0.1
    assert tone_gain_db(codec_id, edge * 8 / 7) < -25
    assert tone_gain_db(codec_id, edge * 9 / 7) < -50


def test_lowpass_has_no_delay() -> None:
    click = np.zeros((2, 1001))
    click[:, 500] = 1
    out = round_trip("lowpass@3500hz", click)
    assert np.argmax(out[0]) == 500
    np.testing.assert_allclose(out[0], out[0, ::-1], atol=1e-6)


def test_pcm_is_within_half_a_step() -> None:
    wave = np.clip(noise(1, 5000), -0.99, 0.99)
    assert np.abs(round_trip("pcm@16khz", wave) - wave).max() <= 0.5 / 32768 + 1e-7
    assert round_trip("pcm@16khz", np.array([[2.0, -2.0]])).tolist() == [[32767 / 32768, -1.0]]


def test_pcm_costs_sixteen_bits_a_sample() -> None:
    codec = create("pcm@16khz")
    assert codec.spec.nominal_kbps == 256
    assert codec.encode(np.zeros((1, 16000), np.float32)).measured_kbps(1.0) == 256


def test_mulaw_keeps_38_db_over_a_wide_range_of_levels() -> None:
    t = np.arange(8000) / 8000
    for level_db in (-3, -20, -35):
        wave = 10 ** (level_db / 20) * np.sin(2 * np.pi * 997 * t)[None]
        error = round_trip("mulaw@8khz", wave) - wave
        snr_db = 20 * np.log10(wave.std() / error.std())
        assert 31 < snr_db < 42, level_db


def test_mulaw_keeps_silence_and_full_scale() -> None:
    wave = np.array([[0.0, 1.0, -1.0]])
    np.testing.assert_allclose(round_trip("mulaw@8khz", wave), wave, atol=1e-6)


def test_noise_has_the_level_of_each_channel_and_the_seed_decides() -> None:
    wave = noise(2, 4000) * np.array([[1.0], [0.1]])
    out = round_trip("noise", wave, seed=1)
    np.testing.assert_allclose(out.std(axis=1), wave.std(axis=1), rtol=0.05)
    np.testing.assert_array_equal(out, round_trip("noise", wave, seed=1))
    assert np.abs(out - round_trip("noise", wave, seed=2)).max() > 0.01
    assert abs(np.corrcoef(out[0], wave[0])[0, 1]) < 0.1


@pytest.mark.parametrize(
    ("codec_id", "message"),
    [
        ("passthrough@1kbps", "no operating points"),
        ("lowpass", "takes a point in hz, got no point; for example lowpass@3500hz"),
        ("lowpass@30000hz", "between 50 and 20000"),
        ("lowpass@3.5", "takes a point in hz, got '3.5'"),
        ("pcm@1khz", "8000 to 192000"),
        ("mulaw@16khz", "only 8000 Hz"),
        ("noise:seed=1", "seed"),
    ],
)
def test_wrong_points_and_options_are_refused(codec_id: str, message: str) -> None:
    with pytest.raises(CodecError, match=message):
        create(codec_id)


def test_a_single_point_is_the_default_one() -> None:
    assert create("pcm").spec == create("pcm@16khz").spec


@pytest.mark.parametrize(
    ("wave", "message"),
    [
        (np.zeros(100), "shape"),
        (np.zeros((1, 0)), "at least one sample"),
        (np.zeros((2, 100)), "takes 1 channel"),
        (np.array([[np.nan]]), "NaN or infinity"),
    ],
)
def test_waves_that_break_the_contract_are_refused(wave: np.ndarray, message: str) -> None:
    with pytest.raises(CodecError, match=message):
        create("pcm@16khz").encode(wave)
