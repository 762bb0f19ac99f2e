"""Golden tensors of the released code, and models rebuilt from its portable weights.

The folder named by ``SEMANTICODEC_GOLDEN`` holds ``tr{rate}{,_tiny}.npz``; ``detweights.py`` (the
generator of the weights) and ``sig_*.wav`` lie beside it. Without them the tests are skipped.
"""

import importlib.util
import os
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from semanticodec import SemantiCodec, released
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


def load_module(path: Path):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def load_detweights(folder: Path):
    path = folder.parent / "detweights.py"
    if not path.is_file():
        pytest.skip(f"no {path}, which makes the portable weights")
    return load_module(path)


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
        # laid out as the codec runs it: memory format, cheaper layers
        self.model = SemantiCodec.from_model(self._build()).model
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
        names = load_module(Path(__file__).with_name("released_names.py")).ReleasedNames(model)
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
