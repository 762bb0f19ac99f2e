import copy
import io
import pickle
from dataclasses import replace

import numpy as np
import pytest
import soundfile
import torch
from torch._dynamo.utils import counters

from semanticodec import (
    AudioError,
    BitstreamError,
    DecodeSettings,
    Execution,
    SemantiCodec,
    TokenError,
    Tokens,
)
from semanticodec.encoding import WindowCutter
from semanticodec.model import valid_frames
from semanticodec.settings import PRESETS, SEQUENTIAL, autocast_dtype

WINDOW = 20480  # samples of the small model's window
DISTANCE_DB = 28  # of a bfloat16 decoding below the float32 one; 34.5 was measured


@pytest.mark.parametrize("length", [1, 159, 2560, 2561, WINDOW, WINDOW + 1, 3 * WINDOW, 65001])
def test_as_many_samples_out_as_in(codec, sound, length):
    tokens = codec.encode(sound(length), 16000)
    columns = -(-length // codec.config.column_samples)
    assert tokens.codes.shape == (1, columns * codec.config.grid[1], 2)
    wave = codec.decode(tokens)
    assert wave.shape == (1, 1, length)
    assert wave.dtype == np.float32
    assert np.isfinite(wave).all()


@pytest.mark.parametrize("rate", [8000, 22050, 44100, 48000])
def test_any_sample_rate(one_codec, sound, rate):
    length = rate + 17
    tokens = one_codec.encode(sound(length, rate, channels=2), rate)
    assert one_codec.decode(tokens, sample_rate=rate).shape == (1, 1, length)
    assert one_codec.decode(tokens).shape[-1] == -(-length * 16000 // rate)


def test_channels_are_mixed_or_coded_apart(one_codec, sound):
    left, right = sound(20000), sound(20000, channels=2)[1:]
    stereo = np.concatenate((left, right))
    apart = one_codec.encode(stereo, 16000, per_channel=True)
    assert torch.equal(apart.codes[:1], one_codec.encode(left, 16000).codes)
    assert torch.equal(apart.codes[1:], one_codec.encode(right, 16000).codes)
    assert one_codec.decode(apart).shape == (1, 2, 20000)
    mixed = one_codec.encode(stereo, 16000)
    assert torch.equal(mixed.codes, one_codec.encode(stereo.mean(0), 16000).codes)


def test_one_seed_gives_one_waveform(one_codec, sound):
    settings = DecodeSettings(num_steps=2)  # stochastic DDIM
    tokens = one_codec.encode(sound(25000), 16000, seed=5)
    first = one_codec.decode(tokens, settings=settings)
    torch.manual_seed(99)
    assert np.array_equal(first, one_codec.decode(tokens, settings=settings))
    assert np.array_equal(first, one_codec.decode(tokens, settings=settings, seed=5))
    assert not np.allclose(first, one_codec.decode(tokens, settings=settings, seed=6))


def test_a_batch_gives_what_each_gives_alone(codec, sound):
    waves = [sound(length)[0] for length in (25000, 7, 45001, 20480)]
    settings = DecodeSettings(num_steps=2)
    alone = [codec.encode(wave, 16000) for wave in waves]
    together = codec.encode_batch(waves, 16000)
    for one, other in zip(alone, together, strict=True):
        assert torch.equal(one.codes, other.codes)
    seeds = [3, 1, 4, 1]
    decoded = codec.decode_batch(together, seeds=seeds, settings=settings)
    for tokens, seed, wave in zip(alone, seeds, decoded, strict=True):
        assert np.array_equal(codec.decode(tokens, seed=seed, settings=settings), wave)


def test_streaming_gives_the_same_samples(one_codec, sound):
    tokens = one_codec.encode(sound(150000), 16000)
    settings = DecodeSettings(num_steps=2, joint_windows=2)
    blocks = list(one_codec.decode_stream(tokens, settings=settings))
    assert len(blocks) > 3
    whole = one_codec.decode(tokens, settings=settings)
    assert np.array_equal(np.concatenate(blocks, 1), whole[0])


@pytest.mark.parametrize("sampler", ["ddim", "dpm++2m", "unipc"])
def test_progress_is_told_step_by_step(one_codec, sound, sampler):
    tokens = one_codec.encode(sound(150000, channels=2), 16000, per_channel=True)
    settings = DecodeSettings(num_steps=4, sampler=sampler, joint_windows=3)
    shares: list[float] = []
    one_codec.decode(tokens, settings=settings, progress=shares.append)
    assert sum(shares) == pytest.approx(1)
    assert max(shares) < 0.3
    assert len(shares) > 4 * 3  # all steps of three groups at least


def test_windows_agree_where_they_meet(one_codec, sound):
    """The joined waveform has no larger jump at a seam than elsewhere."""
    tokens = one_codec.encode(sound(5 * WINDOW), 16000)
    wave = one_codec.decode(tokens, settings=DecodeSettings(num_steps=4))[0, 0]
    jumps = np.abs(np.diff(wave))
    hop = WINDOW * 7 // 8
    seams = np.concatenate([jumps[k * hop : k * hop + WINDOW // 8] for k in range(1, 5)])
    assert seams.max() <= 1.5 * jumps.max()
    assert seams.mean() < 2 * jumps.mean()


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_every_preset_decodes(one_codec, sound, name):
    tokens = one_codec.encode(sound(3000), 16000)
    wave = one_codec.decode(tokens, settings=name)
    assert wave.shape == (1, 1, 3000)
    assert np.isfinite(wave).all()


def test_layout_of_the_work_does_not_change_the_result(one_codec, sound):
    tokens = one_codec.encode(sound(45000), 16000)
    settings = DecodeSettings(num_steps=3, guidance_interval=(0.1, 10.0))
    plain = SemantiCodec.from_model(one_codec.model, settings=settings, execution=SEQUENTIAL)
    expected = plain.decode(tokens)
    for execution in (Execution(), Execution(windows_per_call=1), Execution(windows_per_call=3)):
        codec = SemantiCodec.from_model(one_codec.model, settings=settings, execution=execution)
        np.testing.assert_allclose(codec.decode(tokens), expected, atol=1e-5)


def test_a_compiled_network_decodes_the_same(one_codec, sound):
    model = copy.deepcopy(one_codec.model)
    plain = SemantiCodec.from_model(model, settings=DecodeSettings(num_steps=2))
    tokens = plain.encode(sound(5000), 16000)
    expected = plain.decode(tokens)
    torch._dynamo.reset()
    counters.clear()
    execution = Execution(compiler="eager")  # traces, but needs no C++ compiler
    codec = SemantiCodec.from_model(model, settings=plain.settings, execution=execution)
    np.testing.assert_allclose(codec.decode(tokens), expected, atol=1e-5)
    assert counters["stats"]["unique_graphs"] >= 2  # UNet and VAE


def test_bfloat16_decodes_nearly_the_same(one_codec, sound):
    tokens = one_codec.encode(sound(3000), 16000)
    fast = PRESETS["fast"]
    exact = one_codec.decode(tokens, settings=replace(fast, dtype="float32"))
    rough = one_codec.decode(tokens, settings=replace(fast, dtype="bfloat16"))
    assert rough.dtype == np.float32
    distance_db = 20 * np.log10(exact.std() / (exact - rough).std())
    assert DISTANCE_DB < distance_db < 60


def test_auto_is_bfloat16_where_the_device_is_made_for_it(monkeypatch):
    for has, expected in ((True, torch.bfloat16), (False, None)):
        monkeypatch.setattr("semanticodec.settings.has_bfloat16", lambda device, has=has: has)
        assert autocast_dtype("auto", "cpu") is expected
    with pytest.raises(ValueError, match="auto, float32"):
        DecodeSettings(dtype="float8")


def test_streams_and_bare_codes_decode_too(one_codec, sound):
    tokens = one_codec.encode(sound(5120), 16000)
    expected = one_codec.decode(tokens)
    for entropy in (False, True):
        assert np.array_equal(one_codec.decode(tokens.to_bytes(entropy=entropy)), expected)
    assert np.array_equal(one_codec.decode(tokens.codes), expected)
    assert np.array_equal(one_codec.decode(tokens.codes.numpy()), expected)


def test_tokens_serve_as_a_tensor(one_codec, sound):
    tokens = one_codec.encode(sound(2560), 16000)
    assert tokens.shape == (1, 8, 2)
    assert torch.equal(tokens[0, 0], tokens.codes[0, 0])
    assert torch.equal(torch.cat([tokens, tokens]), torch.cat([tokens.codes] * 2))
    assert np.asarray(tokens).shape == (1, 8, 2)
    assert torch.equal(tokens.cpu(), tokens.codes)
    assert torch.equal(pickle.loads(pickle.dumps(tokens)).codes, tokens.codes)


def test_files_and_binary_streams(one_codec, sound, tmp_path):
    wave = sound(30000, 22050, channels=2)
    path = tmp_path / "clip.wav"
    soundfile.write(path, wave.T, 22050, subtype="FLOAT")
    expected = one_codec.encode(wave, 22050)
    for source in (path, str(path), io.BytesIO(path.read_bytes())):
        tokens = one_codec.encode(source)
        assert tokens.sample_rate == 22050
        assert torch.equal(tokens.codes, expected.codes)


def test_silence(codec):
    tokens = codec.encode(np.zeros(20000, np.float32), 16000)
    assert np.isfinite(codec.decode(tokens)).all()


def test_integers_are_scaled(one_codec, sound):
    wave = np.round(sound(4000) * 32767).astype(np.int16)
    scaled = (wave / 32768).astype(np.float32)
    assert torch.equal(one_codec.encode(wave, 16000).codes, one_codec.encode(scaled, 16000).codes)


@pytest.mark.parametrize(
    ("samples", "message"),
    [
        (np.full(10, np.nan), "NaN"),
        (np.array([0.0, np.inf]), "infinite"),
        (np.zeros(0), "no samples"),
        (np.zeros((2, 0)), "no samples"),
        (np.zeros((1, 2, 3)), "shape"),
        (np.zeros((16000, 2)), "transposed"),
        (np.zeros(10, np.uint8), "uint8"),
    ],
)
def test_audio_that_cannot_be_coded(one_codec, samples, message):
    with pytest.raises(AudioError, match=message):
        one_codec.encode(samples, 16000)


def test_samples_need_a_rate_and_files_must_be_audio(one_codec, tmp_path):
    with pytest.raises(AudioError, match="sample_rate"):
        one_codec.encode(np.zeros(10))
    with pytest.raises(AudioError, match="cannot read"):
        one_codec.encode(tmp_path / "none.wav")


@pytest.mark.parametrize("rate", [0, -1, 999, 10**9])
def test_rates_that_no_audio_has(one_codec, sound, rate):
    with pytest.raises(AudioError, match="sample_rate"):
        one_codec.encode(sound(100), rate)
    tokens = one_codec.encode(sound(100), 16000)
    with pytest.raises(AudioError, match="sample_rate"):
        one_codec.decode(tokens, sample_rate=rate)


def test_tokens_of_another_model_are_refused(one_codec, codec, sound):
    tokens = one_codec.encode(sound(3000), 16000)
    with pytest.raises(TokenError, match="codebooks"):
        one_codec.decode(torch.full((1, 8, 2), 64))
    with pytest.raises(TokenError, match="codebooks"):
        one_codec.decode(torch.full((1, 8, 2), -1))
    with pytest.raises(TokenError, match=r"\[channels, L, 2\]"):
        one_codec.decode(torch.zeros(1, 8, 3, dtype=torch.long))
    with pytest.raises(TokenError, match="integers"):
        one_codec.decode(torch.zeros(1, 8, 2))
    with pytest.raises(TokenError, match="positions"):
        one_codec.decode(Tokens(tokens.codes.repeat(1, 50, 1), tokens.header))
    if codec.token_rate != one_codec.token_rate:
        with pytest.raises(TokenError, match="token_rate"):
            codec.decode(tokens)


def test_a_broken_stream_is_a_bitstream_error(one_codec):
    with pytest.raises(BitstreamError):
        one_codec.decode(b"no stream")


def test_released_mode_follows_the_released_lengths(codec, sound):
    released = SemantiCodec.from_model(codec.model, compat="released", ddim_sample_step=2)
    tokens = released.encode(sound(4000), 16000)
    assert tokens.shape[0] == 1
    torch.manual_seed(1)
    first = released.decode(tokens.codes)
    torch.manual_seed(1)
    assert np.array_equal(first, released.decode(tokens.codes))
    torch.manual_seed(2)
    assert not np.array_equal(first, released.decode(tokens.codes))


def test_arguments_of_the_released_package(one_codec):
    codec = SemantiCodec(model=one_codec.model, ddim_sample_step=7, cfg_scale=1.5)
    assert codec.settings.num_steps == 7
    assert codec.settings.guidance_scale == 1.5
    with pytest.raises(ValueError, match="compat"):
        SemantiCodec(model=one_codec.model, compat="perfect")


@pytest.mark.parametrize("length", [1, 159, 400, 5131, 5280])
def test_a_frame_hears_every_sample_of_the_end(one_codec, length):
    cutter = WindowCutter(one_codec.model)
    noise = torch.randn(length, generator=torch.Generator().manual_seed(0))
    windows = [*cutter.push(noise), *cutter.finish()]
    frames = int(valid_frames(windows[-1][None])) + (len(windows) - 1) * cutter.frames
    assert frames == -(-length // 160)
    assert len(windows) == -(-length // cutter.window)
