import importlib.util
import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from semanticodec import CheckpointError, checkpoint, hub
from semanticodec.checkpoint import ReleasedFiles, load_own, load_released, save


def released_names():
    path = Path(__file__).parents[2] / "parity" / "released_names.py"
    spec = importlib.util.spec_from_file_location("released_names", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Folder:
    """A small model in the released layout."""

    def __init__(self, model, path: Path) -> None:
        self.config = model.config
        self.encoder, self.decoder = released_names().released_state(model)
        self.centroids = model.semantic.centroids.numpy()
        names = ReleasedFiles.names(100, 4096)
        self.root = path
        self.files = ReleasedFiles(*(path / name for name in names))
        for file in (self.files.encoder, self.files.codebook):
            file.parent.mkdir(parents=True, exist_ok=True)
        self.write()

    def write(self) -> None:
        torch.save(self.encoder, self.files.encoder)
        torch.save(self.decoder, self.files.decoder)
        np.save(self.files.codebook, self.centroids)

    def load(self):
        return load_released(self.files, self.config)


@pytest.fixture
def folder(one_codec, tmp_path):
    return Folder(one_codec.model, tmp_path)


def assert_same(first, second) -> None:
    ours, theirs = first.state_dict(), second.state_dict()
    assert ours.keys() == theirs.keys()
    for key, value in ours.items():
        assert torch.equal(value, theirs[key]), key


def test_the_released_layout_loads(folder, one_codec):
    assert_same(folder.load(), one_codec.model)
    loaded = hub.load_model(folder.root, 100, 4096, config=folder.config)
    assert_same(loaded, one_codec.model)
    own_folder = folder.files.encoder.parent
    assert_same(hub.load_model(own_folder, 100, 4096, config=folder.config), one_codec.model)


def test_rows_of_the_codebook_come_from_the_file(folder):
    folder.centroids = folder.centroids[:50]
    folder.write()
    model = folder.load()
    assert model.config.semantic.codebook_size == 50
    assert len(model.semantic.centroids) == 50


def test_unneeded_keys_may_be_absent(folder, one_codec):
    folder.decoder = {k: v for k, v in folder.decoder.items() if not k.startswith("model_ema.")}
    folder.write()
    assert_same(folder.load(), one_codec.model)


@pytest.mark.parametrize(
    "key",
    ["encoder.weight_hh_l0", "audiomae.model.pos_embed", "quantizer._codebook.embed"],
)
def test_a_missing_encoder_key(folder, key):
    del folder.encoder[key]
    folder.write()
    with pytest.raises(CheckpointError, match="1 parameters missing"):
        folder.load()


@pytest.mark.parametrize(
    "key", ["alphas_cumprod", "scale_factor", "model.diffusion_model.out.2.bias"]
)
def test_a_missing_decoder_key(folder, key):
    del folder.decoder[key]
    folder.write()
    with pytest.raises(CheckpointError, match=r"lacks alphas_cumprod|1 parameters missing"):
        folder.load()


@pytest.mark.parametrize(
    "key",
    ["something", "model_ema.something", "audiomae.model.decoder_extra", "first_stage_model.loss"],
)
def test_an_unknown_key(folder, key):
    folder.decoder[key] = torch.zeros(1)
    folder.write()
    with pytest.raises(CheckpointError, match=f"unknown keys: {key}"):
        folder.load()


def test_a_renamed_key(folder):
    folder.encoder["encoder.weight_xx_l0"] = folder.encoder.pop("encoder.weight_hh_l0")
    folder.write()
    with pytest.raises(CheckpointError, match="weight_xx_l0"):
        folder.load()


def test_a_wrong_shape(folder):
    key = "model.diffusion_model.input_blocks.0.0.weight"
    folder.decoder[key] = folder.decoder[key][:, :4].contiguous()
    folder.write()
    with pytest.raises(CheckpointError, match=r"unet\.conv_in\.weight has shape \[8, 4, 3, 3\]"):
        folder.load()


def test_a_codebook_of_another_rate(folder):
    folder.centroids = np.repeat(folder.centroids, 2, axis=1)
    folder.write()
    with pytest.raises(CheckpointError, match="another token rate"):
        folder.load()


def test_another_noise_schedule(folder):
    folder.decoder["alphas_cumprod"] = folder.decoder["alphas_cumprod"] * 0.9
    folder.write()
    with pytest.raises(CheckpointError, match="noise schedule"):
        folder.load()


@pytest.mark.parametrize("name", ["encoder", "decoder", "codebook"])
@pytest.mark.parametrize("share", [0.0, 0.5, 0.99])
def test_a_truncated_file(folder, name, share):
    path = getattr(folder.files, name)
    data = path.read_bytes()
    path.write_bytes(data[: int(share * len(data))])
    with pytest.raises(CheckpointError, match=r"truncated|not a"):
        folder.load()


@pytest.mark.parametrize("name", ["encoder", "decoder", "codebook"])
def test_an_absent_file(folder, name):
    getattr(folder.files, name).unlink()
    with pytest.raises(CheckpointError, match=r"no (checkpoint|semantic codebook) at"):
        folder.load()


class Intruder:
    def __reduce__(self):
        return (print, ("code of a checkpoint was run",))


def test_code_in_a_checkpoint_is_not_run(folder, capsys):
    torch.save({"encoder.weight_hh_l0": Intruder()}, folder.files.encoder)
    with pytest.raises(CheckpointError, match="plain state dict"):
        folder.load()
    folder.files.encoder.write_bytes(pickle.dumps(Intruder()))
    with pytest.raises(CheckpointError):
        folder.load()
    assert not capsys.readouterr().out


def test_unneeded_tensors_are_never_read(folder, monkeypatch):
    read = checkpoint.read_state_dict

    def poisoned(path):
        state = read(path)
        return {k: Untouchable() if k.startswith("model_ema.") else v for k, v in state.items()}

    monkeypatch.setattr(checkpoint, "read_state_dict", poisoned)
    folder.load()


class Untouchable:
    def __getattr__(self, name):
        raise AssertionError(f"{name} of an unneeded tensor was used")


def test_our_format_and_back(one_codec, tmp_path):
    path = tmp_path / "model.safetensors"
    digest = save(one_codec.model, path)
    assert len(digest) == 64
    loaded = load_own(path, verify=True)
    assert loaded.config == one_codec.config
    assert_same(loaded, one_codec.model)
    assert_same(hub.load_model(tmp_path), one_codec.model)


def test_half_precision_keeps_the_codebooks_exact(one_codec, tmp_path):
    path = tmp_path / "model.safetensors"
    save(one_codec.model, path, torch.bfloat16)
    loaded = load_own(path, verify=True)
    assert torch.equal(loaded.semantic.centroids, one_codec.model.semantic.centroids)
    assert loaded.unet.conv_in.weight.dtype == torch.float32
    assert not torch.equal(loaded.unet.conv_in.weight, one_codec.model.unet.conv_in.weight)
    assert checkpoint.codebook_hash(loaded) == checkpoint.codebook_hash(one_codec.model)


def test_damage_to_our_format(one_codec, tmp_path):
    path = tmp_path / "model.safetensors"
    save(one_codec.model, path)
    data = bytearray(path.read_bytes())
    data[-5] ^= 1
    path.write_bytes(data)
    with pytest.raises(CheckpointError, match="SHA-256"):
        load_own(path, verify=True)
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(CheckpointError, match="truncated"):
        load_own(path)
    path.unlink()
    with pytest.raises(CheckpointError, match="no checkpoint"):
        load_own(path)


def test_foreign_safetensors(tmp_path):
    from safetensors.torch import save_file

    path = tmp_path / "other.safetensors"
    save_file({"a": torch.zeros(1)}, path)
    with pytest.raises(CheckpointError, match="not in the format"):
        load_own(path)


def test_a_missing_parameter_of_our_format(one_codec, tmp_path):
    state = dict(one_codec.model.state_dict())
    del state["unet.conv_in.bias"]
    with pytest.raises(CheckpointError, match=r"unet.conv_in.bias"):
        checkpoint.build(one_codec.config, state, tmp_path)
    other = replace(one_codec.config.unet, channels=16)
    with pytest.raises(CheckpointError, match="shape"):
        checkpoint.build(
            replace(one_codec.config, unet=other), dict(one_codec.model.state_dict()), tmp_path
        )


def test_no_network_is_a_clear_error(monkeypatch, tmp_path):
    import huggingface_hub

    def offline(*args, **kwargs):
        raise ConnectionError("no route to host")

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", offline)
    with pytest.raises(CheckpointError, match="without a network, pass a local folder"):
        hub.load_model("owner/name", 100, 4096, cache_dir=tmp_path)


def test_the_hub_is_asked_for_the_pinned_revision(folder, monkeypatch):
    import huggingface_hub

    asked = []

    def download(repository, name, revision=None, cache_dir=None):
        asked.append((repository, name, revision))
        return str(folder.root / name)

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    hub.load_model("owner/name", 100, 4096, revision="abc", config=folder.config)
    assert [name for _, name, _ in asked] == list(ReleasedFiles.names(100, 4096))
    assert {(repository, revision) for repository, _, revision in asked} == {("owner/name", "abc")}


def test_a_source_that_is_nothing(tmp_path):
    with pytest.raises(CheckpointError, match="neither a file, a folder nor a Hub id"):
        hub.load_model(str(tmp_path / "a" / "b"))
