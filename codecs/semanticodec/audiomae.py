"""AudioMAE encoder: a vision transformer over 16 x 16 mel patches (arXiv 2207.06405).

Only what inference needs: no masking, no decoder. Patches are ordered time-major, frequency
fastest.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from semanticodec.config import AudioMAEConfig
from semanticodec.layers import Linear, attention


class Attention(nn.Module):
    """Multi-head self-attention with a joint projection and biases."""

    def __init__(self, width: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.qkv = Linear(width, 3 * width)
        self.out = Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``[B, L, width]`` to the same shape."""
        heads = self.qkv(x).unflatten(-1, (3, self.num_heads, -1)).permute(2, 0, 3, 1, 4)
        query, key, value = heads.unbind(0)  # [B, heads, L, head width]
        mixed = attention(query, key, value)
        return self.out(mixed.transpose(1, 2).flatten(2))


class Block(nn.Module):
    """Pre-norm transformer block (ViT, arXiv 2010.11929)."""

    def __init__(self, config: AudioMAEConfig) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(config.width, eps=1e-6)
        self.attention = Attention(config.width, config.num_heads)
        self.norm2 = nn.LayerNorm(config.width, eps=1e-6)
        self.up = Linear(config.width, config.mlp_width)
        self.down = Linear(config.mlp_width, config.width)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``[B, L, width]`` to the same shape."""
        x = x + self.attention(self.norm1(x))
        return x + self.down(self.up.gelu(self.norm2(x)))


def sincos_position_table(config: AudioMAEConfig) -> Tensor:
    """Return the fixed table ``[1, 1 + patches, width]`` of the released model.

    The released table was made for the transposed grid: patch ``n`` is coded as if it stood at
    ``(n % time, n // time)``. Released checkpoints carry the table; small models start from this.
    """
    time, bands = config.grid
    index = torch.arange(time * bands, dtype=torch.float64)
    quarter = config.width // 4
    omega = 10000.0 ** (-torch.arange(quarter, dtype=torch.float64) / quarter)
    parts = []
    for coordinate in (index % time, torch.div(index, time, rounding_mode="floor")):
        phase = coordinate[:, None] * omega
        parts += [phase.sin(), phase.cos()]
    table = torch.cat(parts, 1).float()
    return F.pad(table, (0, config.width - table.shape[1], 1, 0))[None]


class AudioMAE(nn.Module):
    """Mel window to one feature per patch.

    Differs from the published AudioMAE in its output, as SemantiCodec does (section III-B): the
    mean over the last blocks of the normalised block outputs.
    """

    def __init__(self, config: AudioMAEConfig) -> None:
        super().__init__()
        self.config = config
        self.patch_embed = nn.Conv2d(1, config.width, config.patch, stride=config.patch)
        self.class_token = nn.Parameter(torch.zeros(1, 1, config.width))
        self.register_buffer("position", sincos_position_table(config))
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.depth))
        self.norm = nn.LayerNorm(config.width, eps=1e-6)

    position: Tensor

    def embed(self, features: Tensor) -> Tensor:
        """Return patch tokens with class token first, ``[B, 1 + patches, width]``."""
        patches = self.patch_embed(features[:, None]).flatten(2).transpose(1, 2)
        first = self.class_token.expand(len(patches), -1, -1)
        return torch.cat((first, patches), 1) + self.position

    def forward(self, features: Tensor) -> Tensor:
        """Return ``[B, patches, width]`` of normalised mel ``[B, num_frames, num_mels]``."""
        tokens = self.embed(features)
        outputs = []
        for index, block in enumerate(self.blocks):
            tokens = block(tokens)
            if index >= self.config.first_averaged_block:
                outputs.append(self.norm(tokens)[:, 1:])
        return torch.stack(outputs).mean(0)
