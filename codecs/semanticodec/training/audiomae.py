"""Stage ``audiomae``: masked autoencoding of mel patches (arXiv 2207.06405).

The encoder sees the patches that are left; a light decoder predicts the others, each normalised by
its own mean and deviation. Only the encoder is kept.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from semanticodec.audiomae import AudioMAE, Block
from semanticodec.config import AudioMAEConfig, FrontendConfig
from semanticodec.frontend import Frontend
from semanticodec.mini import patchify
from semanticodec.training.files import load_weights
from semanticodec.training.loop import Task
from semanticodec.training.settings import StageConfig, build

STAGE = "audiomae"
FLAT_STD = 1e-4  # a patch that varies less than this is padding


@dataclass(frozen=True)
class MAEOptions:
    """What is hidden, and the decoder that must guess it."""

    mask_share: float = 0.8
    released_positions: bool = False  # whether to keep the released table's transposed grid
    decoder_width: int = 96
    decoder_depth: int = 2
    decoder_heads: int = 4


def position_table(config: AudioMAEConfig) -> Tensor:
    """Return sinusoids of row and band ``[1, 1 + patches, width]``, half the channels each.

    Unlike the released table (``audiomae.sincos_position_table``) it has the grid the right way
    round; checkpoints carry their table, so the encoder takes either.
    """
    rows, bands = config.grid
    quarter = config.width // 4
    omega = 10000.0 ** (-torch.arange(quarter) / quarter)
    parts = []
    for coordinate in (
        torch.arange(rows).repeat_interleave(bands),
        torch.arange(bands).repeat(rows),
    ):
        phase = coordinate[:, None] * omega
        parts += [phase.sin(), phase.cos()]
    table = torch.cat(parts, 1)
    return F.pad(table, (0, config.width - table.shape[1], 1, 0))[None]


def draw_visible(count: int, patches: int, share: float, device: torch.device) -> Tensor:
    """Return the indices of the patches that stay visible, ``[count, visible]``, in order."""
    visible = max(1, round(patches * (1 - share)))
    noise = torch.rand(count, patches, device=device)
    return noise.argsort(1)[:, :visible].sort(1).values


def _gather(tokens: Tensor, index: Tensor) -> Tensor:
    return tokens.gather(1, index[..., None].expand(-1, -1, tokens.shape[-1]))


class MAEDecoder(nn.Module):
    """Visible tokens to a guess of every patch."""

    position: Tensor

    def __init__(self, encoder: AudioMAEConfig, options: MAEOptions) -> None:
        super().__init__()
        width = options.decoder_width
        self.config = AudioMAEConfig(
            num_frames=encoder.num_frames,
            num_mels=encoder.num_mels,
            patch=encoder.patch,
            width=width,
            depth=options.decoder_depth,
            num_heads=options.decoder_heads,
            mlp_width=4 * width,
            first_averaged_block=0,
        )
        self.project = nn.Linear(encoder.width, width)
        self.mask_token = nn.Parameter(torch.zeros(1, 1, width))
        self.register_buffer("position", position_table(self.config), persistent=False)
        self.blocks = nn.ModuleList(Block(self.config) for _ in range(options.decoder_depth))
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.head = nn.Linear(width, encoder.patch**2)
        nn.init.normal_(self.mask_token, std=0.02)

    def forward(self, tokens: Tensor, visible: Tensor) -> Tensor:
        """Return ``[B, patches, patch * patch]``; ``tokens`` begin with the class token."""
        tokens = self.project(tokens)
        count = self.position.shape[1] - 1
        full = self.mask_token.to(tokens.dtype).expand(len(tokens), count, -1)
        index = visible[..., None].expand(-1, -1, tokens.shape[-1])
        full = full.scatter(1, index, tokens[:, 1:])
        x = torch.cat((tokens[:, :1], full), 1) + self.position
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x))[:, 1:]


def encode_visible(encoder: AudioMAE, features: Tensor, visible: Tensor) -> Tensor:
    """Run the encoder on the visible patches alone; return ``[B, 1 + visible, width]``."""
    embedded = encoder.embed(features)
    tokens = torch.cat((embedded[:, :1], _gather(embedded[:, 1:], visible)), 1)
    for block in encoder.blocks:
        tokens = block(tokens)
    return encoder.norm(tokens)


def normalized_patches(features: Tensor, patch: int) -> tuple[Tensor, Tensor]:
    """Return patches of zero mean and unit deviation, and which of them are not padding."""
    patches = patchify(features, patch)
    mean, variance = patches.mean(-1, keepdim=True), patches.var(-1, keepdim=True)
    return (patches - mean) / (variance + 1e-6).sqrt(), variance[..., 0] > FLAT_STD**2


def _init_linear(module: nn.Module) -> None:
    """Start as vision transformers do: Xavier weights, zero biases."""
    if isinstance(module, nn.Linear):
        nn.init.xavier_uniform_(module.weight)
        nn.init.zeros_(module.bias)


class AudioMAETask(Task):
    """Guess the hidden patches."""

    extra_samples = 240  # so that the last frames of a window are whole

    def __init__(self, config: StageConfig, run: Path) -> None:
        super().__init__()
        self.options = build(MAEOptions, config.options, "options")
        self.frontend = Frontend(FrontendConfig())
        self.encoder = AudioMAE(build(AudioMAEConfig, config.model, "model"))
        if not self.options.released_positions:
            self.encoder.position.copy_(position_table(self.encoder.config))
        self.decoder = MAEDecoder(self.encoder.config, self.options)
        nn.init.normal_(self.encoder.class_token, std=0.02)
        self.apply(_init_linear)
        nn.init.xavier_uniform_(self.encoder.patch_embed.weight.flatten(1))

    def features(self, wave: Tensor) -> Tensor:
        """Return normalised mel windows ``[B, frames, mels]``, as the codec makes them."""
        return self.frontend.features(wave, self.encoder.config.num_frames)

    def forward(self, wave: Tensor, phase: str) -> dict[str, Tensor]:
        """Return the loss on hidden patches."""
        with torch.no_grad():
            features = self.features(wave)
            target, real = normalized_patches(features, self.encoder.config.patch)
        share = self.options.mask_share
        visible = draw_visible(len(wave), target.shape[1], share, wave.device)
        guess = self.decoder(encode_visible(self.encoder, features, visible), visible)
        counted = real.float().scatter(1, visible, 0.0)
        error = (guess.float() - target).square().mean(-1)
        return {"loss": (error * counted).sum() / counted.sum().clamp_min(1.0)}

    def validate(self, waves: Tensor) -> dict[str, float]:
        """Return the same loss on validation audio."""
        return {"loss": float(self(waves, "main")["loss"])}

    def take(self, weights: Mapping[str, Tensor]) -> None:
        """Start from exported weights; the decoder starts from nothing."""
        self.encoder.load_state_dict(dict(weights))

    def export(self) -> dict[str, Tensor]:
        """Return the encoder's weights."""
        return self.encoder.state_dict()


def load_audiomae(path: Path) -> AudioMAE:
    """Return a trained encoder, frozen."""
    tensors, metadata = load_weights(path)
    encoder = AudioMAE(build(AudioMAEConfig, metadata["config"]["model"], "model"))
    encoder.load_state_dict(tensors)
    return encoder.requires_grad_(False).eval()
