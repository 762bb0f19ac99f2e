"""Neural adapters against direct calls of the packages they run, on small random models."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from codec_zoo import CodecError, CodecUnavailableError, create
from codec_zoo.base import Wave
from codec_zoo.bitpacking import pack_codes
from codec_zoo.encodec import Encodec48
from codec_zoo.packets import PacketStream, unpack
from codec_zoo.registry import codec_class
from codec_zoo.small_models import MODELS, save_small_model
from codec_zoo.snac import Snac24, Snac32

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
SNAC = ("snac-24khz", "snac-32khz", "snac-44khz")


@pytest.fixture(scope="module")
def small_model(tmp_path_factory):
    made: dict[str, Path] = {}

    def folder_of(family: str) -> Path:
        if family in SNAC:
            pytest.importorskip("snac")
        if family not in made:
            made[family] = tmp_path_factory.mktemp(family)
            save_small_model(family, made[family])
        return made[family]

    return folder_of


@pytest.fixture
def codec_of(small_model):
    def build(family: str, options: str = "", device: str = "cpu") -> Any:
        points = codec_class(family).points
        point = f"@{points[len(points) // 2]}" if points else ""
        return create(f"{family}{point}:path={small_model(family)}{options}", device=device)

    return build


def noise(codec: Any, samples: int, seed: int = 0) -> Wave:
    shape = (codec.spec.channels, samples)
    return (0.1 * np.random.default_rng(seed).standard_normal(shape)).astype(np.float32)


def direct(family: str, folder: Path, wave: Wave) -> tuple[np.ndarray, np.ndarray]:
    """Return codes [K, T] and waveform [C, N'] as the package itself gives them."""
    x = torch.from_numpy(wave[None])
    with torch.inference_mode():
        name = family.partition("-")[0]
        return globals()[f"direct_{name}"](family, folder, x)


def direct_encodec(family: str, folder: Path, x: Any) -> tuple[np.ndarray, np.ndarray]:
    model = transformers.EncodecModel.from_pretrained(folder).eval()
    kbps = {"encodec-24khz": 6.0, "encodec-48khz": 12.0, "encodec-32khz": 2.2}[family]
    out = model.encode(x, bandwidth=kbps)
    wave = model.decode(
        out.audio_codes, out.audio_scales, last_frame_pad_length=out.last_frame_pad_length
    ).audio_values
    codes = torch.cat(list(out.audio_codes), dim=-1)[0]
    return codes[:, : codes.shape[1] - out.last_frame_pad_length].numpy(), wave[0].numpy()


def direct_dac(family: str, folder: Path, x: Any) -> tuple[np.ndarray, np.ndarray]:
    model = transformers.DacModel.from_pretrained(folder).eval()
    extractor = transformers.DacFeatureExtractor(
        sampling_rate=16000, hop_length=model.config.hop_length
    )
    x = extractor(x[0, 0].numpy(), sampling_rate=16000, return_tensors="pt")["input_values"]
    count = {"dac-16khz": 4, "dac-24khz": 8, "dac-44khz": 4}[family]
    codes = model.encode(x, n_quantizers=count).audio_codes
    early = 0 if family == "dac-44khz" else 8
    wave = model.decode(audio_codes=codes).audio_values[0].numpy()
    assert x.shape[-1] - wave.shape[-1] == early
    return codes[0].numpy(), np.concatenate([np.zeros(early, np.float32), wave])[None]


def direct_mimi(family: str, folder: Path, x: Any) -> tuple[np.ndarray, np.ndarray]:
    out = transformers.MimiModel.from_pretrained(folder).eval()(x, num_quantizers=8)
    return out.audio_codes[0].numpy(), out.audio_values[0].numpy()


def direct_xcodec(family: str, folder: Path, x: Any) -> tuple[np.ndarray, np.ndarray]:
    x = torch.nn.functional.pad(x, (0, -x.shape[-1] % 320))
    out = transformers.XcodecModel.from_pretrained(folder).eval()(x, bandwidth=1.5)
    return out.audio_codes[0].numpy(), out.audio_values[0].numpy()


def direct_xcodec2(family: str, folder: Path, x: Any) -> tuple[np.ndarray, np.ndarray]:
    x = torch.nn.functional.pad(x, (0, 320 - x.shape[-1] % 320))
    features = seamless_features(np.pad(x[0, 0].numpy(), 160))
    return direct_fsq(transformers.Xcodec2Model, folder, x, features)


def direct_neucodec(family: str, folder: Path, x: Any) -> tuple[np.ndarray, np.ndarray]:
    soxr = pytest.importorskip("soxr")
    heard = soxr.resample(np.pad(x[0, 0].numpy(), (0, -x.shape[-1] % 3)), 24000, 16000, "VHQ")
    heard = np.pad(heard, (0, -len(heard) % 320 + 320))
    wave = torch.from_numpy(heard[None, None])
    return direct_fsq(transformers.NeuCodecModel, folder, wave, seamless_features(heard))


def direct_fsq(model_class: Any, folder: Path, x: Any, features: np.ndarray) -> Any:
    model = model_class.from_pretrained(folder).eval()
    codes = model.encode(x, input_features=torch.from_numpy(features)).audio_codes
    return codes[0].numpy(), model.decode(codes).audio_values[0].numpy()


def seamless_features(wave: np.ndarray) -> np.ndarray:
    extract = transformers.SeamlessM4TFeatureExtractor(sampling_rate=16000)
    found = extract(wave, sampling_rate=16000, return_tensors="np")["input_features"]
    return found.astype(np.float32)


def direct_wavtokenizer(family: str, folder: Path, x: Any) -> tuple[np.ndarray, np.ndarray]:
    out = transformers.WavTokenizerModel.from_pretrained(folder).eval()(x)
    return out.audio_codes[0].numpy(), out.audio_values[0].numpy()


def kaldi_features(wave: np.ndarray) -> np.ndarray:
    """Return w2v-BERT's features as in the paper's code, from an independent implementation."""
    kaldi = pytest.importorskip("kaldi_native_fbank")
    options = kaldi.FbankOptions()
    options.frame_opts.dither = 0
    options.mel_opts.num_bins = 80
    fbank = kaldi.OnlineFbank(options)
    fbank.accept_waveform(16000, (wave * 2**15).tolist())
    fbank.input_finished()
    rows = np.stack([fbank.get_frame(index) for index in range(fbank.num_frames_ready)])
    rows = (rows - rows.mean(0)) / np.sqrt(rows.var(0, ddof=1) + 1e-7)
    return rows.reshape(1, -1, 160).astype(np.float32)


def direct_snac(family: str, folder: Path, x: Any) -> tuple[np.ndarray, np.ndarray]:
    model = __import__("snac").SNAC.from_pretrained(str(folder)).eval()
    levels = model.encode(x)
    torch.manual_seed(5)
    wave = model.decode(levels)[0].numpy()
    frames = levels[0].shape[1]
    rows = [level[0].numpy().reshape(frames, -1) for level in levels]
    return np.concatenate(rows, axis=1).T, wave


@pytest.mark.parametrize("family", MODELS)
def test_codes_and_waveform_are_those_of_a_direct_call(family, codec_of, small_model):
    codec = codec_of(family)
    wave = noise(codec, int(1.37 * codec.spec.sample_rate))
    codes, expected = direct(family, small_model(family), wave)
    encoded = codec.encode(wave)
    np.testing.assert_array_equal(encoded.codes, codes[:, : encoded.codes.shape[1]])
    decoded = codec.decode(encoded.payload, seed=5)
    np.testing.assert_allclose(decoded, expected[:, : wave.shape[1]], rtol=0, atol=1e-6)


@pytest.mark.parametrize(("family", "padding"), [("xcodec2", 160), ("neucodec", 0)])
def test_features_are_kaldis_as_in_the_authors_code(family, padding, codec_of):
    wave = 0.1 * np.random.default_rng(0).standard_normal(3200).astype(np.float32)
    ours = codec_of(family)._features(wave).numpy()
    theirs = kaldi_features(np.pad(wave, padding))
    assert ours.shape == theirs.shape == (1, 9 + bool(padding), 160)
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=0.01)  # normalised: deviation 1


@pytest.mark.parametrize("family", MODELS)
def test_parameters_are_those_of_the_network(family, codec_of):
    codec = codec_of(family)
    assert codec.num_parameters() == sum(weight.numel() for weight in codec._model.parameters())
    assert codec.unit_s >= 1 / codec.spec.frame_rate * 0.999


@pytest.mark.parametrize("family", MODELS)
def test_batch_of_equal_and_other_lengths_is_the_clips_alone(family, codec_of):
    codec = codec_of(family)
    rate = codec.spec.sample_rate
    waves = [noise(codec, count, seed) for seed, count in enumerate((rate // 3, rate // 4) * 2)]
    alone, batch = [codec.encode(wave) for wave in waves], codec.encode_batch(waves)
    assert [one.payload for one in alone] == [one.payload for one in batch]
    payloads, seeds = [one.payload for one in batch], [3, 1, 4, 1]
    together = codec.decode_batch(payloads, seeds=seeds)
    for payload, seed, wave in zip(payloads, seeds, together, strict=True):
        single = codec.decode(payload, seed=seed)
        np.testing.assert_allclose(single, wave, rtol=0, atol=1e-5 * np.abs(wave).max())


@pytest.mark.parametrize("family", MODELS)
def test_clips_of_one_length_are_encoded_together_when_asked(family, codec_of, monkeypatch):
    """One call of the network, and what it gives are the clips' codes but for ties."""
    alone, together = codec_of(family), codec_of(family, ",together=3")
    assert together.spec.codec_id.endswith("together=3")
    assert together.spec.fingerprint != alone.spec.fingerprint
    rate = alone.spec.sample_rate
    waves = [noise(alone, rate // n, seed) for seed, n in enumerate((3, 3, 4, 3))]
    sizes, analyse = [], together._analyse
    monkeypatch.setattr(
        together, "_analyse", lambda batch: (sizes.append(len(batch)), analyse(batch))[1]
    )
    found = together.encode_batch(waves)
    assert sizes == [3, 1]
    for wave, encoded in zip(waves, found, strict=True):
        single = alone.encode(wave)
        assert encoded.codes.shape == single.codes.shape
        assert len(encoded.payload) == len(single.payload)
        # A tie lost in one codebook changes all behind it; of swapped clips next to none agree.
        assert np.mean(encoded.codes == single.codes) > 0.7


@pytest.mark.parametrize(
    "family",
    [
        "encodec-24khz", "dac-16khz", "mimi", "xcodec", "xcodec2", "neucodec", "wavtokenizer",
        "snac-24khz",
    ],
)  # fmt: skip
def test_bf16_codes_and_decodes(family, codec_of):
    codec = codec_of(family, ",dtype=bf16")
    wave = noise(codec, codec.spec.sample_rate // 2)
    decoded = codec.decode(codec.encode(wave).payload)
    assert decoded.dtype == np.float32
    assert decoded.shape == wave.shape
    assert np.isfinite(decoded).all()


@pytest.mark.gpu
@pytest.mark.parametrize("family", MODELS)
def test_gpu_decodes_as_the_cpu(family, codec_of):
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    here, there = codec_of(family), codec_of(family, device="cuda")
    wave = noise(here, here.spec.sample_rate // 2)
    on_cpu, on_gpu = here.encode(wave), there.encode(wave)
    assert np.mean(on_cpu.codes == on_gpu.codes) > 0.9
    if not family.startswith("snac"):  # another generator draws other noise
        payload = on_cpu.payload
        np.testing.assert_allclose(here.decode(payload), there.decode(payload), rtol=0, atol=1e-3)


def test_payload_is_the_header_and_packed_codes(codec_of):
    codec = codec_of("mimi")
    encoded = codec.encode(noise(codec, 24000))
    body = pack_codes(encoded.codes.T, 2048)
    assert unpack(encoded.payload) == PacketStream((body,), 24000)
    assert len(encoded.payload) - encoded.overhead_bytes == len(body) == 8 * 13 * 11 // 8


# EnCodec 48 kHz: chunks, overlaps, scales


@pytest.mark.parametrize(
    ("samples", "frames"),
    [
        (1, [1]),
        (48000, [150]),  # the model begins a second chunk of 480 samples, all in the overlap
        (47600, [149]),  # ... of 80 samples, which its decoder cannot put together
        (48001, [150, 2]),
        (95520, [150, 150]),
        (100000, [150, 150, 16]),
    ],
)
def test_chunks(samples, frames):
    assert [count for _, _, count in Encodec48.layout.chunk_places(samples)] == frames
    assert Encodec48.layout.chunks(samples) == len(frames)
    assert Encodec48.layout.frames(samples) == sum(frames)


@pytest.mark.parametrize("samples", [1, 320, 47519, 47600, 48000, 48001, 95100, 95521])
def test_every_length_of_stereo_comes_back(samples, codec_of):
    codec = codec_of("encodec-48khz")
    wave = noise(codec, samples)
    encoded = codec.encode(wave)
    decoded = codec.decode(encoded.payload)
    assert decoded.shape == wave.shape
    chunks, frames = Encodec48.layout.chunks(samples), Encodec48.layout.frames(samples)
    assert len(encoded.payload) - encoded.overhead_bytes == 4 * chunks + -(-frames * 80 // 8)


def test_scales_travel_in_the_payload(codec_of):
    codec = codec_of("encodec-48khz")
    wave = noise(codec, 60000)
    loud, soft = (codec.encode(gain * wave) for gain in (np.float32(1), np.float32(0.25)))
    np.testing.assert_array_equal(loud.codes, soft.codes)
    np.testing.assert_allclose(
        0.25 * codec.decode(loud.payload), codec.decode(soft.payload), rtol=1e-4, atol=1e-6
    )


@pytest.mark.parametrize("scale", [np.nan, np.inf, -1.0, 1e30])
def test_a_scale_that_is_no_level_is_refused(scale, codec_of):
    codec = codec_of("encodec-48khz")
    stream = unpack(codec.encode(noise(codec, 24000)).payload)
    body = np.array([scale], "<f4").tobytes() + stream.packets[0][4:]
    with pytest.raises(CodecError, match="no level of audio"):
        codec.decode(PacketStream((body,), 24000).pack())


# DAC: the samples that are missing in front


@pytest.mark.parametrize(
    ("family", "early"), [("dac-16khz", 8), ("dac-24khz", 8), ("dac-44khz", 0)]
)
def test_dac_is_brought_back_to_where_it_belongs(family, early, codec_of, small_model):
    """The same network, its odd layer cutting 2 samples in front and 3 behind, needs no mending."""
    codec = codec_of(family)
    encoded = codec.encode(noise(codec, 40 * codec._layout.hop_samples))
    decoded = codec.decode(encoded.payload)
    assert not decoded[:, :early].any()
    model = transformers.DacModel.from_pretrained(small_model(family)).eval()
    for block in model.decoder.block:
        if block.conv_t1.stride[0] % 2:
            block.conv_t1.padding = (block.conv_t1.padding[0] - 1,)
            block.conv_t1.register_forward_hook(lambda *call: call[2][..., :-1])
    with torch.inference_mode():
        whole = model.decode(audio_codes=torch.from_numpy(encoded.codes[None])).audio_values.numpy()
    assert whole.shape == decoded.shape
    inside = slice(2000, -2000)  # at its ends a shifted network sees other zeros
    np.testing.assert_allclose(decoded[:, inside], whole[:, inside], rtol=0, atol=1e-5)


# SNAC: codebooks of different rates, noise from the seed


@pytest.mark.parametrize("layout", [Snac24.layout, Snac32.layout])
def test_snac_codes_are_interleaved_and_back(layout):
    levels = [np.arange(3 * repeats) + 100 * repeats for repeats in layout.repeats]
    codes = layout.interleave([torch.from_numpy(level)[None] for level in levels])
    assert codes.shape == (sum(layout.repeats), 3)
    assert codes[:3, 1].tolist() == [101, 202, 203]
    for back, level in zip(layout.deinterleave(codes), levels, strict=True):
        np.testing.assert_array_equal(back, level)


def test_snac_draws_its_noise_from_the_seed(codec_of):
    codec = codec_of("snac-24khz")
    payload = codec.encode(noise(codec, 24000)).payload
    before = torch.random.get_rng_state()
    first, again, other = (codec.decode(payload, seed=seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 1e-3
    assert torch.equal(before, torch.random.get_rng_state())


def test_snac_sends_what_it_fills_up(codec_of):
    codec = codec_of("snac-32khz")
    encoded = codec.encode(noise(codec, 12289))  # one sample more than a window
    assert encoded.codes.shape == (15, 5)
    assert len(encoded.payload) - encoded.overhead_bytes == 2 * 4 * 15 * 12 // 8


# Weights


def test_weights_in_the_cache_of_the_hub_are_found(codec_of, small_model, tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    released = codec_class("mimi").released
    folder = tmp_path / "models--kyutai--mimi" / "snapshots" / released.commit
    folder.parent.mkdir(parents=True)
    folder.symlink_to(small_model("mimi"), target_is_directory=True)
    codec, own = create("mimi@8cb"), codec_of("mimi")
    wave = noise(codec, 24000)
    assert codec.encode(wave).payload == own.encode(wave).payload
    assert codec.spec.weights_hash == released.commit != own.spec.weights_hash
    assert codec.spec.codec_id == own.spec.codec_id == "mimi@8cb"


def test_a_release_that_is_not_what_we_say_is_refused(small_model, tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    released = codec_class("dac-44khz").released
    folder = tmp_path / "models--descript--dac_44khz" / "snapshots" / released.commit
    folder.parent.mkdir(parents=True)
    folder.symlink_to(small_model("dac-24khz"), target_is_directory=True)
    with pytest.raises(CodecError, match="dac-44khz is Layout"):
        create("dac-44khz@9cb").warm_up()


def test_missing_weights_are_not_made_up(small_model, tmp_path):
    from safetensors.torch import load_file, save_file

    source = small_model("mimi")
    weights = load_file(source / "model.safetensors")
    removed = next(name for name in weights if name.startswith("decoder"))
    del weights[removed]
    (tmp_path / "config.json").write_bytes((source / "config.json").read_bytes())
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(CodecUnavailableError, match="lacks 1 weights"):
        create(f"mimi@8cb:path={tmp_path}").warm_up()


def test_no_folder_no_codec(tmp_path):
    with pytest.raises(CodecUnavailableError, match=r"no config\.json in"):
        create(f"mimi@8cb:path={tmp_path / 'nowhere'}")


def test_there_is_no_small_model_of_an_unknown_family(tmp_path):
    with pytest.raises(CodecError, match="no small model for 'opus'"):
        save_small_model("opus", tmp_path)
