"""Optional parts of the contract: embeddings, features, token streams, codes put into a payload."""

import os
import runpy
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from codec_zoo import CodecError, create
from codec_zoo.lyra import FILES
from codec_zoo.registry import codec_class
from codec_zoo.small_models import MODELS, save_small_model

torch = pytest.importorskip("torch")
SHARED = Path(os.environ.get("CODECBENCH_SHARED", Path(__file__).parents[4] / "shared"))
SMALL = Path(__file__).parents[1] / "semanticodec" / "conftest.py"
NEURAL = tuple(MODELS)


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """Return a codec of a family on a small model with random weights."""
    made: dict[str, Any] = {}

    def build(family: str) -> Any:
        if family not in made:
            made[family] = _build(family, tmp_path_factory.mktemp(family))
        return made[family]

    return build


def _build(family: str, folder: Path) -> Any:
    if family == "semanticodec":
        from semanticodec.checkpoint import save

        small = runpy.run_path(str(SMALL))
        save(small["random_model"](small["small_config"]()), folder / "small.safetensors")
        return create(f"semanticodec:path={folder / 'small.safetensors'},steps=2")
    if family == "lyra":
        if not all((SHARED / "lyra" / name).is_file() for name in FILES):
            pytest.skip("no Lyra weights: set CODECBENCH_SHARED to a folder of lyra/*.tflite")
        pytest.importorskip("ai_edge_litert")
        return create(f"lyra@3.2kbps:path={SHARED / 'lyra'}")
    pytest.importorskip(codec_class(family).package)
    save_small_model(family, folder)
    points = codec_class(family).points
    return create(f"{family}{f'@{points[len(points) // 2]}' if points else ''}:path={folder}")


def noise(codec: Any, seconds: float = 1.1, seed: int = 0) -> np.ndarray:
    shape = (codec.spec.channels, int(seconds * codec.spec.sample_rate))
    return (0.1 * np.random.default_rng(seed).standard_normal(shape)).astype(np.float32)


@pytest.mark.parametrize("family", [*NEURAL, "semanticodec", "lyra"])
def test_embeddings_follow_the_codes_frame_by_frame(family, built):
    codec = built(family)
    codes = codec.encode(noise(codec)).codes
    for stream in codec.embed_streams:
        whole = codec.embed(codes, stream)
        assert whole.dtype == np.float32
        assert np.isfinite(whole).all()
        frames, step = codes.shape[1], 8 if family == "semanticodec" else 1
        assert whole.shape[1] % frames == 0 or frames % whole.shape[1] == 0
        # what is quantized at a moment depends on that moment's codes alone
        half = codec.embed(codes[:, : frames // 2 // step * step], stream)
        np.testing.assert_allclose(half, whole[:, : half.shape[1]], rtol=1e-5, atol=1e-6)
        other = codes.copy()
        other[0] = (other[0] + 1) % codec.spec.codebook_sizes[0]
        assert np.abs(codec.embed(other, stream) - whole).max() > 0


@pytest.mark.parametrize("family", [*NEURAL, "semanticodec", "lyra"])
def test_one_stream_is_blind_to_the_others(family, built):
    codec = built(family)
    codes = codec.encode(noise(codec)).codes
    narrow = codec.embed_streams[-1]
    if len(codes) == 1:
        np.testing.assert_array_equal(codec.embed(codes, "all"), codec.embed(codes, "first"))
        return
    other = codes.copy()
    other[-1] = (other[-1] + 1) % codec.spec.codebook_sizes[-1]
    np.testing.assert_array_equal(codec.embed(codes, narrow), codec.embed(other, narrow))
    assert np.abs(codec.embed(codes, "all") - codec.embed(other, "all")).max() > 0


def by_decoder(codec: Any) -> tuple[Any, bool]:
    """Return the layer that gets the quantizer's output, and whether time is its middle axis."""
    model, family = codec._model, codec.family.partition("-")[0]
    if family == "mimi":
        layers = dict(model.named_modules())
        return layers[next(name for name in layers if name.endswith("upsample"))], False
    names = {"xcodec": "fc2", "xcodec2": "acoustic_decoder", "neucodec": "acoustic_decoder"}
    name = {**names, "wavtokenizer": "backbone"}.get(family, "decoder")
    return getattr(model, name), family in names


@pytest.mark.parametrize("family", [name for name in NEURAL if name != "encodec-48khz"])
def test_embeddings_are_what_the_decoder_is_given(family, built):
    codec = built(family)
    encoded = codec.encode(noise(codec))
    layer, is_transposed = by_decoder(codec)
    seen: list[Any] = []
    hook = layer.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    codec.decode(encoded.payload)
    hook.remove()
    given = (seen[0].transpose(1, 2) if is_transposed else seen[0])[0].numpy()
    found = codec.embed(encoded.codes, "all")
    np.testing.assert_allclose(found, given[:, : found.shape[1]], rtol=1e-5, atol=1e-6)


def by_position(model: Any, features: np.ndarray) -> Any:
    """Return AudioMAE's features and the acoustic latents, ``[T, D]`` each."""
    rows = torch.from_numpy(features).T.reshape(features.shape[1] * model.config.grid[1], -1)
    width = model.acoustic.codebook.shape[1]
    return rows[:, :-width], rows[:, -width:]


def projected_beside_mel(model: Any, wave: np.ndarray, audiomae: Any) -> Any:
    """Return what the small model's k-means gets of AudioMAE's features ``[T, D]``, ``[T, d]``."""
    from semanticodec.encoding import WindowCutter
    from semanticodec.mini import patchify
    from semanticodec.semantic import stack_patches

    cutter, config = WindowCutter(model), model.config
    windows = torch.stack([*cutter.push(torch.from_numpy(wave[0])), *cutter.finish()])
    patches = patchify(windows, config.audiomae.patch)
    mel = stack_patches(patches, config.audiomae.grid, config.semantic).flatten(0, 1)
    pair = (mel[: len(audiomae)], audiomae)
    return model.projection(*(rows.unflatten(1, (config.stack, -1)) for rows in pair)).flatten(1)


def requantized(codec: Any, features: np.ndarray) -> np.ndarray:
    """Return the codes ``[K, T]`` that the model's own quantizer makes of features."""
    x, family = torch.from_numpy(features)[None], codec.family.partition("-")[0]
    if family == "lyra":
        quantize = codec._quantizer("encode")
        frames = [
            quantize(input_frames=frame.reshape(1, 1, -1), num_quantizers=np.int32(codec._stages))
            for frame in features.T
        ]
        return np.stack([frame["output_0"].ravel()[: codec._stages] for frame in frames], axis=1)
    if family == "semanticodec":
        model = codec._codec.model
        audiomae, latents = by_position(model, features)
        return torch.stack((model.semantic.encode(audiomae), model.acoustic.quantize(latents)))
    if family == "wavtokenizer":
        return codec._model.encoder_model.quantizer.encode(x).numpy()
    quantizer = codec._model.quantizer
    if family == "encodec":
        return quantizer.encode(x, codec._kbps)[:, 0].numpy()
    if family == "dac":
        return quantizer(x, codec._codebooks)[1][0].numpy()
    if family == "mimi":
        return quantizer.encode(x, codec._codebooks)[:, 0].numpy()
    if family == "xcodec":
        return quantizer.encode(x, codec._kbps)[:, 0].numpy()
    if family in ("xcodec2", "neucodec"):
        return quantizer(x.transpose(1, 2))[1][0].T.numpy()
    return codec._layout.interleave(quantizer(x)[1])


@pytest.mark.parametrize("family", [*NEURAL, "semanticodec", "lyra"])
def test_features_are_what_is_quantized(family, built):
    codec = built(family)
    wave = noise(codec, 0.7)  # one chunk of EnCodec at 48 kHz
    codes = codec.encode(wave).codes
    with torch.inference_mode():
        again = requantized(codec, codec.features(wave))
    np.testing.assert_array_equal(again[:, : codes.shape[1]], codes)


@pytest.mark.parametrize("family", [*NEURAL, "semanticodec", "lyra"])
def test_codes_put_into_a_payload_are_decoded(family, built):
    codec = built(family)
    wave = noise(codec)
    encoded = codec.encode(wave)
    assert codec.with_codes(encoded.payload, encoded.codes) == encoded.payload
    other = encoded.codes[:, ::-1].copy()
    payload = codec.with_codes(encoded.payload, other)
    assert len(payload) == len(encoded.payload)
    assert codec.decode(payload).shape == wave.shape
    back = codec.with_codes(payload, encoded.codes)
    assert back == encoded.payload
    with pytest.raises(CodecError, match="expected codes"):
        codec.with_codes(encoded.payload, encoded.codes[:-1])


@pytest.mark.parametrize("family", [*NEURAL, "semanticodec", "lyra"])
def test_token_streams_hold_every_code_once(family, built):
    codec = built(family)
    wave = noise(codec)
    codes = codec.encode(wave).codes
    streams = codec.token_streams(codes)
    assert sum(len(stream.tokens) for stream in streams) == codes.size
    together = np.sort(np.concatenate([stream.tokens for stream in streams]))
    np.testing.assert_array_equal(together, np.sort(codes, axis=None))
    if not family.startswith("snac"):
        assert len(streams) == len(codec.spec.codebook_sizes)


def test_streams_of_a_multi_scale_codec_have_their_own_rates(built):
    codec = built("snac-24khz")
    codes = np.arange(7 * 3).reshape(7, 3)  # rows 0 | 1 2 | 3 4 5 6
    first, second, third = codec.token_streams(codes)
    assert [len(stream.tokens) for stream in (first, second, third)] == [3, 6, 12]
    assert second.tokens.tolist() == [3, 6, 4, 7, 5, 8]  # frame after frame


def test_what_a_codec_lacks_is_one_clear_line():
    codec = create("passthrough")
    with pytest.raises(CodecError, match="no embeddings"):
        codec.embed(np.zeros((1, 1), np.int64))
    with pytest.raises(CodecError, match="cannot put codes"):
        codec.with_codes(b"", np.zeros((1, 1), np.int64))
    assert codec.features(np.zeros((1, 1), np.float32)) is None


def test_an_unknown_stream_names_those_there_are(built):
    codec = built("encodec-24khz")
    with pytest.raises(CodecError, match="all, first, not the stream 'semantic'"):
        codec.embed(codec.encode(noise(codec)).codes, "semantic")


@pytest.mark.parametrize(("rate", "bands"), [(25, 4), (50, 4), (100, 8)])
def test_the_small_semanticodec_joins_the_bands_of_a_moment(rate, bands, monkeypatch):
    mini = runpy.run_path(str(SMALL.parents[1] / "semanticodec_training" / "test_mini.py"))
    model = mini["tiny"](rate)
    torch.nn.init.normal_(model.projection.feature_basis)
    monkeypatch.setattr("semanticodec.mini.load_mini", lambda *_: model)
    codec = codec_class("semanticodec-mini")(f"{rate}tps")
    wave = noise(codec)
    codes = codec.encode(wave).codes
    assert codec.positions_per_moment == bands
    whole, semantic = (codec.embed(codes, stream) for stream in ("all", "semantic"))
    width = model.config.semantic_width
    assert semantic.shape == (bands * width, codes.shape[1] // bands)
    assert whole.shape == (bands * (width + 32), codes.shape[1] // bands)
    column = model.semantic.centroids[torch.from_numpy(codes[0, :bands])]
    np.testing.assert_array_equal(semantic[:, 0], column.ravel().numpy())
    audiomae, latents = by_position(model, codec.features(wave))
    np.testing.assert_array_equal(model.acoustic.quantize(latents).numpy(), codes[1])
    projected = projected_beside_mel(model, wave, audiomae)
    np.testing.assert_array_equal(model.semantic.encode(projected).numpy(), codes[0])
