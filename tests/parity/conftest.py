"""Golden tensors of the released code, and models rebuilt from its portable weights.

The folder named by ``SEMANTICODEC_GOLDEN`` holds ``tr{rate}{,_tiny}.npz``; ``detweights.py`` (the
generator of the weights) and ``sig_*.wav`` lie beside it. Without them the tests are skipped.
"""

import importlib.util
import os
import re
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import soundfile
import torch

from semanticodec import released
from semanticodec.config import (
    AcousticConfig,
    AudioMAEConfig,
    SemantiCodecConfig,
    UNetConfig,
    VAEConfig,
    VocoderConfig,
    operating_point,
)
from semanticodec.model import SemantiCodecModel
from semanticodec.semantic import stack_patches

VARIABLE = "SEMANTICODEC_GOLDEN"


def golden_folder() -> Path | None:
    name = os.environ.get(VARIABLE)
    return Path(name) if name else None


def golden_files() -> list:
    folder = golden_folder()
    if folder is None:
        return [pytest.param(None, marks=pytest.mark.skip(reason=f"{VARIABLE} is not set"))]
    files = [path for path in sorted(folder.glob("tr*.npz")) if released_name(path)]
    if not files:
        return [pytest.param(None, marks=pytest.mark.skip(reason=f"no tr*.npz in {folder}"))]
    return [
        pytest.param(path, id=path.stem, marks=[] if is_tiny(path) else [pytest.mark.slow])
        for path in files
    ]


def released_name(path: Path) -> re.Match | None:
    return re.fullmatch(r"tr(\d+)(_tiny)?\.npz", path.name)


def is_tiny(path: Path) -> bool:
    return released_name(path)[2] is not None


def tiny(config: SemantiCodecConfig) -> SemantiCodecConfig:
    """The reduced model of the golden files (their README lists the sizes)."""
    return replace(
        config,
        audiomae=AudioMAEConfig(depth=10, mlp_width=192),
        semantic=replace(config.semantic, codebook_size=64),
        acoustic=AcousticConfig(codebook_size=64, num_layers=1),
        unet=UNetConfig(channels=32, multipliers=(1, 1, 2, 2), num_res_blocks=1, head_width=8),
        vae=VAEConfig(channels=32, multipliers=(1, 1, 2), num_res_blocks=1),
        vocoder=VocoderConfig(channels=64),
    )


class ReleasedNames:
    """Our parameter names to the released ones: the loader's key map, written the other way."""

    RES: ClassVar = {"norm1": "in_layers.0", "conv1": "in_layers.2", "time": "emb_layers.1",
           "norm2": "out_layers.0", "conv2": "out_layers.3", "skip": "skip_connection"}  # fmt: skip
    HEADS: ClassVar = {"query": "to_q", "key": "to_k", "value": "to_v", "out": "to_out.0"}
    VAE: ClassVar = {"query": "q", "key": "k", "value": "v", "out": "proj_out", "norm": "norm"}

    def __init__(self, model: SemantiCodecModel) -> None:
        self.model = model

    def __call__(self, name: str) -> str:
        part, _, rest = name.partition(".")
        return getattr(self, part)(rest)

    def audiomae(self, rest: str) -> str:
        rest = {"class_token": "cls_token", "position": "pos_embed"}.get(rest, rest)
        rest = rest.replace("patch_embed.", "patch_embed.proj.").replace("attention.", "attn.")
        rest = rest.replace(".out.", ".proj.").replace(".up.", ".mlp.fc1.")
        return "audiomae.model." + rest.replace(".down.", ".mlp.fc2.")

    def semantic(self, rest: str) -> str:
        return "semantic." + rest

    def acoustic(self, rest: str) -> str:
        fixed = {
            "codebook": "quantizer._codebook.embed",
            "out.weight": "encoder_output_linear.weight",
        }
        return fixed.get(rest, rest.replace("lstm.", "encoder."))

    def unet(self, rest: str) -> str:
        return "model.diffusion_model." + self._unet(rest)

    def _unet(self, rest: str) -> str:
        tops = {"time_in": "time_embed.0", "time_out": "time_embed.2", "norm_out": "out.0",
                "conv_out": "out.2", "conv_in": "input_blocks.0.0"}  # fmt: skip
        module, leaf = rest.rsplit(".", 1)
        if module in tops:
            return f"{tops[module]}.{leaf}"
        words = module.split(".")
        if words[0] == "middle_out":
            return f"middle_block.3.{self.RES[words[1]]}.{leaf}"
        if words[0] == "middle":
            return f"middle_block.{self._stage(words[1:], True)}.{leaf}"
        index = int(words[1])
        if words[0] == "down" and len(words) == 2:
            return f"input_blocks.{index + 1}.0.op.{leaf}"
        if words[0] == "down":
            return f"input_blocks.{index + 1}.{self._stage(words[2:], True)}.{leaf}"
        attends = self.model.unet.up[index].has_attention
        return f"output_blocks.{index}.{self._stage(words[2:], attends)}.{leaf}"

    def _stage(self, words: list[str], attends: bool) -> str:
        if words[0] == "upsample":
            return f"{3 if attends else 1}.conv"
        if words[0] == "res":
            return f"0.{self.RES[words[1]]}"
        index = 1 if words[0] == "self_transformer" else 2
        return f"{index}.{self._transformer(words[1:])}"

    def _transformer(self, words: list[str]) -> str:
        if words[0] in ("norm", "proj_in", "proj_out"):
            return words[0]
        inner = {"up": "ff.net.0.proj", "down": "ff.net.2"}.get(words[0], words[0])
        if words[0].startswith("attention"):
            inner = f"attn{words[0][-1]}.{self.HEADS[words[1]]}"
        return f"transformer_blocks.0.{inner}"

    def vae(self, rest: str) -> str:
        if rest == "scale":
            return "scale_factor"
        rest = rest.replace("skip.", "nin_shortcut.")
        if rest.startswith("post_quant"):
            return "first_stage_model." + rest.replace("post_quant", "post_quant_conv")
        rest = rest.replace("middle_in", "mid.block_1").replace("middle_out", "mid.block_2")
        if rest.startswith("attention"):
            _, name, leaf = rest.split(".")
            rest = f"mid.attn_1.{self.VAE[name]}.{leaf}"
        rest = rest.replace("levels.", "up.").replace(".blocks.", ".block.")
        return "first_stage_model.decoder." + rest.replace(".upsample.", ".upsample.conv.")

    def vocoder(self, rest: str) -> str:
        rest = rest.replace("pre.", "conv_pre.").replace("post.", "conv_post.")
        rest = rest.replace("blocks.", "resblocks.").replace("dilated.", "convs1.")
        return "first_stage_model.vocoder." + rest.replace("plain.", "convs2.")


def load_detweights(folder: Path):
    path = folder.parent / "detweights.py"
    if not path.is_file():
        pytest.skip(f"no {path}, which makes the portable weights")
    spec = importlib.util.spec_from_file_location("detweights", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Encoded:
    """Every intermediate of the encoder for one signal."""

    def __init__(self, model: SemantiCodecModel, wave: torch.Tensor) -> None:
        config = model.config
        padded, self.positions = released.prepare(wave, 16000, config)
        self.mel = model.frontend.features(padded[None], len(padded) // 160)
        windows = self.mel.reshape(-1, config.audiomae.num_frames, 128)
        self.patches = model.audiomae(windows)
        self.represented = stack_patches(self.patches, config.audiomae.grid, config.semantic)
        semantic = model.semantic.encode(self.represented)
        self.latents = model.acoustic.latents(
            self.represented, model.semantic.decode(semantic), model.valid_positions(windows)
        )
        both = torch.stack((semantic, model.acoustic.quantize(self.latents)), -1)
        self.tokens = both.flatten(0, 1)[None, : self.positions]


class Golden:
    """One golden file: its arrays, its signals, and the model that made them."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.arrays = dict(np.load(path))
        self.detweights = load_detweights(path.parent)
        self.token_rate = int(released_name(path)[1])
        self.tiny = is_tiny(path)
        self.model = self._build()
        self._encoded: dict[str, Encoded] = {}

    def __getitem__(self, name: str) -> np.ndarray:
        return self.arrays[name]

    @property
    def signals(self) -> list[str]:
        return sorted({key[: -len("_tokens")] for key in self.arrays if key.endswith("_tokens")})

    @property
    def decodes(self) -> list[str]:
        names = (re.fullmatch(r"(dec_\w+_eta[\d.]+_s\d+)_wav", key) for key in self.arrays)
        return sorted(match[1] for match in names if match)

    def wave(self, signal: str) -> torch.Tensor:
        """Samples ``[1, N]`` of a signal, from the file itself or the wav beside the folder."""
        if f"{signal}_pcm" in self.arrays:
            samples = self[f"{signal}_pcm"].astype(np.float32) / 32768
        else:
            path = self.path.parent.parent / f"sig_{signal}.wav"
            samples, _ = soundfile.read(path, dtype="float32")
        assert len(samples) == int(self[f"{signal}_n"])
        return torch.from_numpy(samples)[None]

    @torch.no_grad()
    def encoded(self, signal: str) -> "Encoded":
        """What the encoder makes of a signal; each is computed once."""
        if signal not in self._encoded:
            self._encoded[signal] = Encoded(self.model, self.wave(signal))
        return self._encoded[signal]

    def _build(self) -> SemantiCodecModel:
        config = operating_point(self.token_rate, 4096)
        with torch.device("meta"):
            model = SemantiCodecModel(tiny(config) if self.tiny else config)
        fixed = {name: value for name, value in model.named_buffers() if not value.is_meta}
        table = SemantiCodecModel(small_position_only(config)).audiomae.position
        model = model.to_empty(device="cpu")
        for name, value in fixed.items():
            module, _, leaf = name.rpartition(".")
            setattr(model.get_submodule(module), leaf, value)
        model.audiomae.position.copy_(table)
        self._fill(model)
        return model.requires_grad_(False).eval()

    @torch.no_grad()
    def _fill(self, model: SemantiCodecModel) -> None:
        names = ReleasedNames(model)
        for name, value in model.state_dict().items():
            if name != "semantic.centroids":
                self.detweights.fill(names(name), value)
        model.vae.scale.fill_(0.875)
        rows = model.config.semantic.codebook_size
        self._fill_codebook(model.semantic.centroids, f"codebook/{self.token_rate}/{rows}", "sem")
        self._fill_codebook(model.acoustic.codebook, "quantizer._codebook.embed", "ac")

    def _fill_codebook(self, codebook: torch.Tensor, name: str, kind: str) -> None:
        std = self[f"calib_{kind}_std"]
        self.detweights.uniform_(name, codebook).mul_(
            float(np.float32(std) * np.float32(np.sqrt(3)))
        )
        codebook.add_(torch.from_numpy(self[f"calib_{kind}_mean"]))


def small_position_only(config: SemantiCodecConfig) -> SemantiCodecConfig:
    """The same AudioMAE grid and width, and as little else as possible."""
    return replace(
        tiny(config),
        audiomae=replace(config.audiomae, depth=1, first_averaged_block=0, mlp_width=8),
        semantic=replace(config.semantic, codebook_size=2, stack_time=1, stack_bands=1),
    )


@pytest.fixture(scope="module", params=golden_files())
def golden(request: pytest.FixtureRequest):
    return Golden(request.param)
