"""The small model: the same system as the released one, with parts that a CPU can train.

::

    wave -> frontend -> AudioMAE -> [mel, feature] components -> stack -> k-means ----+-> tokens
                                                                   |                  |
                                       residual + BiLSTM  <--------+-> acoustic VQ ---+

    tokens -> estimate -> patch transformer (x steps) -> patch autoencoder -> Vocos -> wave

``MiniModel`` has the interface of ``SemantiCodecModel``, so ``codec.py`` runs it unchanged. What
departs from the paper is listed in MODEL_CARD.md with the number that speaks for it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import safetensors
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from semanticodec.acoustic import BiLSTM
from semanticodec.audiomae import AudioMAE
from semanticodec.config import (
    AudioMAEConfig,
    DiffusionConfig,
    SemanticConfig,
    SemantiCodecConfig,
    _build,
)
from semanticodec.diffusion.patch_transformer import PatchDenoiser, PatchDenoiserConfig
from semanticodec.diffusion.schedule import alphas_cumprod
from semanticodec.errors import CheckpointError
from semanticodec.frontend import Frontend
from semanticodec.model import SemantiCodecModel
from semanticodec.patch_vae import PatchVAE, PatchVAEConfig
from semanticodec.semantic import SemanticCodebook, nearest, stack_patches
from semanticodec.settings import DecodeSettings
from semanticodec.vocos import Vocos, VocosConfig

NAME = "semanticodec-mini"
FLAGS = 2  # channels of the condition that say "padding" and "no condition"
STACKS = {100: (1, 1), 50: (1, 2), 25: (2, 2)}  # tokens/s -> patches along time, along bands
PRESETS: Mapping[str, DecodeSettings] = {
    "quality": DecodeSettings(10, "ddim", 0.0, "trailing", guidance_scale=1.0),
    "balanced": DecodeSettings(4, "ddim", 0.0, "trailing", guidance_scale=1.0),
    "fast": DecodeSettings(1, "ddim", 0.0, "trailing", guidance_scale=1.0),
}
"""``fast`` decodes once, to the mean of what the tokens allow; ``quality`` samples."""
WEIGHTS = Path(__file__).parent / "weights" / "mini"


@dataclass(frozen=True)
class ProjectionConfig:
    """What a patch is described by: principal components of its mel and of its MAE feature."""

    mel_components: int = 24
    feature_components: int = 12
    feature_weight: float = 0.5  # against the mel, in standard deviations

    @property
    def width(self) -> int:
        """Numbers per patch."""
        return self.mel_components + self.feature_components


@dataclass(frozen=True)
class AlignedAcousticConfig:
    """Residual and bidirectional LSTM in front of the acoustic codebook."""

    codebook_size: int = 4096
    code_width: int = 32
    hidden: int = 192  # per direction
    num_layers: int = 1


@dataclass(frozen=True)
class MiniConfig(SemantiCodecConfig):
    """Sizes of the small model; the defaults are those at 100 tokens per second."""

    audiomae: AudioMAEConfig = field(
        default_factory=lambda: AudioMAEConfig(256, 128, 16, 192, 6, 6, 768, 3)
    )
    projection: ProjectionConfig = field(default_factory=ProjectionConfig)
    semantic: SemanticConfig = field(default_factory=lambda: SemanticConfig(8192))
    # parts of the same role with other sizes
    acoustic: AlignedAcousticConfig = field(  # type: ignore[assignment]
        default_factory=AlignedAcousticConfig
    )
    denoiser: PatchDenoiserConfig = field(default_factory=PatchDenoiserConfig)
    diffusion: DiffusionConfig = field(
        default_factory=lambda: DiffusionConfig(schedule="cosine", position_width=0)
    )
    vae: PatchVAEConfig = field(default_factory=PatchVAEConfig)  # type: ignore[assignment]
    vocoder: VocosConfig = field(default_factory=VocosConfig)  # type: ignore[assignment]
    name: str = NAME

    @property
    def semantic_width(self) -> int:
        """Channels of a semantic code vector."""
        return self.projection.width * self.stack

    @property
    def context_width(self) -> int:
        """Channels of the diffusion condition: two codes and the flags."""
        return self.semantic_width + self.acoustic.code_width + FLAGS

    @staticmethod
    def from_dict(values: Mapping[str, Any]) -> MiniConfig:
        """Build a configuration from ``to_dict``'s result."""
        return _build(MiniConfig, values)


def patchify(features: Tensor, patch: int) -> Tensor:
    """Return ``[B, patches, patch * patch]`` of ``[B, frames, mels]``, frequency fastest."""
    blocks = features.unflatten(2, (-1, patch)).unflatten(1, (-1, patch))
    # [B, rows, patch, bands, patch] -> [B, rows, bands, patch, patch]
    return blocks.transpose(2, 3).flatten(3).flatten(1, 2)


class Projection(nn.Module):
    """Patches and their MAE features to a few components of each; fitted, not trained.

    k-means on MAE features alone loses level and detail, which the decoder then lacks; on mel
    patches alone it is blind to context. Both together, scaled to comparable spread, keep both.
    """

    mel_mean: Tensor
    mel_basis: Tensor
    feature_mean: Tensor
    feature_basis: Tensor

    def __init__(self, config: ProjectionConfig, patch_values: int, feature_width: int) -> None:
        super().__init__()
        self.config = config
        self.register_buffer("mel_mean", torch.zeros(patch_values))
        self.register_buffer("mel_basis", torch.zeros(patch_values, config.mel_components))
        self.register_buffer("feature_mean", torch.zeros(feature_width))
        self.register_buffer("feature_basis", torch.zeros(feature_width, config.feature_components))

    def forward(self, patches: Tensor, features: Tensor) -> Tensor:
        """Return ``[B, P, width]`` of mel patches ``[B, P, values]`` and features ``[B, P, D]``."""
        mel = (patches - self.mel_mean) @ self.mel_basis
        feature = (features - self.feature_mean) @ self.feature_basis
        return torch.cat((mel, feature), -1)

    @torch.no_grad()
    def fit(self, patches: Tensor, features: Tensor) -> tuple[float, float]:
        """Set the components from samples ``[n, values]`` and ``[n, D]``.

        Returns:
            The share of the variance that is kept of each.
        """
        config = self.config
        mean, basis, mel_share = _components(patches, config.mel_components)
        self.mel_mean.copy_(mean)
        self.mel_basis.copy_(basis)
        mean, basis, feature_share = _components(features, config.feature_components)
        self.feature_mean.copy_(mean)
        self.feature_basis.copy_(config.feature_weight * basis)
        return mel_share, feature_share


def _components(rows: Tensor, count: int) -> tuple[Tensor, Tensor, float]:
    """Return mean, principal axes scaled to a total variance of ``count``, and their share."""
    if count == 0:
        return rows.mean(0), rows.new_zeros(rows.shape[1], 0), 0.0
    rows = rows.double()
    mean = rows.mean(0)
    covariance = (rows - mean).T @ (rows - mean) / len(rows)
    values, vectors = torch.linalg.eigh(covariance)
    kept = values[-count:].sum()
    basis = vectors[:, -count:].flip(1) * (count / kept).sqrt()
    return mean.float(), basis.float(), float(kept / values.sum())


class AlignedAcoustic(nn.Module):
    """Features and centroids to acoustic tokens, and back to code vectors.

    What is quantized is the residual of the features, turned to its principal axes, plus what the
    BiLSTM adds to it (nothing at first). So the codebook begins as a residual quantizer and is
    alive from the first step.
    """

    codebook: Tensor

    def __init__(self, config: AlignedAcousticConfig, width: int) -> None:
        super().__init__()
        self.config = config
        self.residual = nn.Linear(width, config.code_width, bias=False)
        self.lstm = BiLSTM(2 * width, config.hidden, config.num_layers)
        self.out = nn.Linear(2 * config.hidden, config.code_width)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)
        self.register_buffer("codebook", torch.zeros(config.codebook_size, config.code_width))

    def latents(self, features: Tensor, semantic: Tensor, num_valid: Tensor) -> Tensor:
        """Return the vectors to be quantized ``[B, T, code_width]``.

        Args:
            features: ``[B, T, D]``.
            semantic: Centroids ``[B, T, D]``.
            num_valid: ``[B]``, positions before the padding; the others are zero.
        """
        index = torch.arange(features.shape[1], device=features.device)
        padding = (index >= num_valid[:, None])[..., None]
        joined = torch.cat((features, semantic), -1).masked_fill(padding, 0.0)
        residual = (features - semantic).masked_fill(padding, 0.0)
        return self.residual(residual) + self.out(self.lstm.encode(joined))

    def quantize(self, latents: Tensor) -> Tensor:
        """Return the index of the nearest code vector, ``[B, T]``."""
        return nearest(latents, self.codebook)

    def decode(self, tokens: Tensor) -> Tensor:
        """Return code vectors ``[B, T, code_width]`` of tokens ``[B, T]``."""
        return F.embedding(tokens, self.codebook)


class MiniModel(SemantiCodecModel):
    """All parts of the small model."""

    config: MiniConfig
    acoustic: AlignedAcoustic  # type: ignore[assignment]
    unet: PatchDenoiser  # type: ignore[assignment]
    vae: PatchVAE  # type: ignore[assignment]
    vocoder: Vocos  # type: ignore[assignment]
    presets = PRESETS
    default_preset = "fast"  # so far: the denoiser has seen too little to improve on the estimate

    def __init__(self, config: MiniConfig) -> None:
        nn.Module.__init__(self)
        self.config = config
        mae = config.audiomae
        self.frontend = Frontend(config.frontend)
        self.audiomae = AudioMAE(mae)
        self.projection = Projection(config.projection, mae.patch**2, mae.width)
        self.semantic = SemanticCodebook(config.semantic, config.semantic_width)
        self.acoustic = AlignedAcoustic(config.acoustic, config.semantic_width)
        stack = (config.semantic.stack_time, config.semantic.stack_bands)
        self.unet = PatchDenoiser(
            config.denoiser, config.context_width, config.latent_shape, mae.grid, stack
        )
        self.vae = PatchVAE(config.vae)
        self.vocoder = Vocos(config.vocoder)
        with torch.device("cpu"):  # real values, even while weights are built on "meta"
            self.register_buffer("positions", torch.zeros(config.positions, 0), persistent=False)
            self.register_buffer("alpha_bars", alphas_cumprod(config.diffusion), persistent=False)

    def describe(self, features: Tensor) -> Tensor:
        """Return components of every patch ``[B, P, width]`` of mel windows."""
        patches = patchify(features, self.config.audiomae.patch)
        return self.projection(patches, self.audiomae(features))

    def represent(self, features: Tensor) -> Tensor:
        """Return stacked components ``[B, T, semantic_width]`` of mel windows."""
        described = self.describe(features)
        return stack_patches(described, self.config.audiomae.grid, self.config.semantic)

    def context(self, acoustic: Tensor, semantic: Tensor, num_valid: Tensor) -> Tensor:
        """Return the condition of code vectors ``[B, T, ...]``, flagged where they are padding."""
        index = torch.arange(acoustic.shape[1], device=acoustic.device)
        padding = (index >= num_valid[:, None])[..., None]
        codes = torch.cat((acoustic, semantic), -1).masked_fill(padding, 0.0)
        return torch.cat((codes, padding.to(codes), torch.zeros_like(codes[..., :1])), -1)

    def condition(self, tokens: Tensor) -> Tensor:
        """Return the condition ``[B, T, context_width]`` of tokens ``[B, length, 2]``."""
        length = tokens.shape[1]
        padded = F.pad(tokens, (0, 0, 0, self.config.positions - length))
        valid = torch.full((len(tokens),), length, device=tokens.device)
        acoustic = self.acoustic.decode(padded[..., 1])
        return self.context(acoustic, self.semantic.decode(padded[..., 0]), valid)

    def no_condition(self) -> Tensor:
        """Return the condition of the unconditional prediction, ``[1, T, context_width]``."""
        config = self.config
        empty = self.positions.new_zeros(1, config.positions, config.context_width)
        empty[..., -1] = 1.0
        return empty


STAGES = ("audiomae", "autoencoder", "vocoder")


def mini_config(token_rate: int, semantic_vocab_size: int = 8192) -> MiniConfig:
    """Return the default sizes at a token rate.

    Raises:
        ValueError: If the rate is not 25, 50 or 100 tokens/s.
    """
    if token_rate not in STACKS:
        raise ValueError(f"token_rate must be one of {sorted(STACKS)}, got {token_rate}")
    return MiniConfig(semantic=SemanticConfig(semantic_vocab_size, *STACKS[token_rate]))


def load_mini(
    token_rate: int = 100,
    semantic_vocab_size: int | None = None,
    folder: str | os.PathLike[str] = WEIGHTS,
) -> MiniModel:
    """Load the small model, on the CPU and in evaluation mode.

    Args:
        token_rate: 25, 50 or 100 tokens/s.
        semantic_vocab_size: One of those in the files; None: the largest.
        folder: Of the stages' weights, a file or a folder each: the shipped ones or a run's.

    Raises:
        CheckpointError: If weights are missing or do not fit.
        ValueError: If there is no such operating point.
    """
    mini_config(token_rate)  # a wrong rate is a clearer error here
    root = Path(folder)
    codec, made = _read(_stage_file(root, f"codec-{token_rate}"))
    books = {
        int(key.removeprefix("centroids.")): codec.pop(key)
        for key in sorted(codec)
        if key.startswith("centroids.")
    }
    size = max(books) if semantic_vocab_size is None else semantic_vocab_size
    if size not in books:
        raise ValueError(f"semantic_vocab_size must be one of {sorted(books)}, got {size}")
    state = {**codec, "semantic.centroids": books[size]}
    for stage, part in zip(STAGES, ("audiomae", "vae", "vocoder"), strict=True):
        tensors, metadata = _read(_stage_file(root, stage))
        if stage == "vocoder":
            vocoder = _build(VocosConfig, metadata["config"]["model"])
        state |= {f"{part}.{key}": value for key, value in tensors.items()}
    config = MiniConfig.from_dict(made["sizes"])
    semantic = replace(config.semantic, codebook_size=size)
    return _assemble(replace(config, semantic=semantic, vocoder=vocoder), state, root)


def _stage_file(root: Path, stage: str) -> Path:
    """Find a stage's weights: as shipped, or a run's folder.

    What a run did not train itself it took from the shipped weights, and so do we.
    """
    places = [root / f"{stage}.safetensors", root / stage / "weights.safetensors"]
    if stage in STAGES:
        places.append(WEIGHTS / f"{stage}.safetensors")
    for path in places:
        if path.is_file():
            return path
    raise CheckpointError(f"no weights of {stage} in {root}; train it: docs/training.md")


def _read(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            metadata = json.loads((file.metadata() or {})["stage"])
            state = {key: file.get_tensor(key).float() for key in file.keys()}  # noqa: SIM118
    except (safetensors.SafetensorError, OSError, KeyError, ValueError) as error:
        raise CheckpointError(f"{path} does not hold a stage's weights: {error}") from error
    return state, metadata


def _assemble(config: MiniConfig, state: dict[str, Tensor], root: Path) -> MiniModel:
    # not on "meta": arithmetic there imports half of torch, which takes longer than all else
    model = MiniModel(config)
    try:
        model.load_state_dict(state, assign=True)
    except RuntimeError as error:
        raise CheckpointError(f"the weights in {root} do not fit together: {error}") from error
    return model.requires_grad_(False).eval()
