"""Decoder of the variational autoencoder: scaled latent to log-mel.

The family of the latent diffusion autoencoders (arXiv 2112.10752); only what decoding needs.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from semanticodec.config import VAEConfig
from semanticodec.layers import Conv2d, Linear, UpsampleConv2d, attention


class ResBlock(nn.Module):
    """Two normalised 3x3 convolutions with a residual."""

    def __init__(self, inputs: int, outputs: int, groups: int) -> None:
        super().__init__()
        self.norm1 = nn.GroupNorm(groups, inputs, eps=1e-6)
        self.conv1 = Conv2d(inputs, outputs, 3, padding=1)
        self.norm2 = nn.GroupNorm(groups, outputs, eps=1e-6)
        self.conv2 = Conv2d(outputs, outputs, 3, padding=1)
        self.skip = nn.Conv2d(inputs, outputs, 1) if inputs != outputs else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """Map ``[B, inputs, H, W]`` to ``[B, outputs, H, W]``."""
        hidden = self.conv1(F.silu(self.norm1(x), inplace=True))
        return self.conv2(F.silu(self.norm2(hidden), inplace=True)).add_(self.skip(x))


class AttentionBlock(nn.Module):
    """Single-head attention over all positions of the latent."""

    def __init__(self, width: int, groups: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(groups, width, eps=1e-6)
        self.query = Linear(width, width)
        self.key = Linear(width, width)
        self.value = Linear(width, width)
        self.out = Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``[B, width, H, W]`` to itself."""
        tokens = self.norm(x).permute(0, 2, 3, 1).flatten(1, 2)[:, None]
        mixed = attention(self.query(tokens), self.key(tokens), self.value(tokens))
        mixed = self.out(mixed[:, 0]).unflatten(1, x.shape[2:])
        return x + mixed.permute(0, 3, 1, 2)


class UpLevel(nn.Module):
    """Residual blocks at one resolution, then twice the resolution."""

    def __init__(self, inputs: int, outputs: int, config: VAEConfig, upsample: bool) -> None:
        super().__init__()
        widths = [inputs] + [outputs] * config.num_res_blocks
        self.blocks = nn.ModuleList(
            ResBlock(width, outputs, config.norm_groups) for width in widths
        )
        self.upsample = UpsampleConv2d(outputs, outputs, 3, padding=1) if upsample else None

    def forward(self, x: Tensor) -> Tensor:
        """Map ``[B, inputs, H, W]`` to ``[B, outputs, H', W']``."""
        for block in self.blocks:
            x = block(x)
        if self.upsample is not None:
            x = self.upsample(x)
        return x


class VAEDecoder(nn.Module):
    """Latent ``[B, channels, time, frequency]`` to log-mel ``[B, frames, mels]``."""

    scale: Tensor

    def __init__(self, config: VAEConfig) -> None:
        super().__init__()
        widths = [config.channels * multiplier for multiplier in config.multipliers]
        top = widths[-1]
        self.register_buffer("scale", torch.ones(()))
        self.post_quant = nn.Conv2d(config.latent_channels, config.latent_channels, 1)
        self.conv_in = nn.Conv2d(config.latent_channels, top, 3, padding=1)
        self.middle_in = ResBlock(top, top, config.norm_groups)
        self.attention = AttentionBlock(top, config.norm_groups)
        self.middle_out = ResBlock(top, top, config.norm_groups)
        # levels[0] is the finest, as in released files; decoding starts at the other end
        self.levels = nn.ModuleList(
            UpLevel(inputs, outputs, config, upsample=level > 0)
            for level, (inputs, outputs) in enumerate(zip([*widths[1:], top], widths, strict=True))
        )
        self.norm_out = nn.GroupNorm(config.norm_groups, widths[0], eps=1e-6)
        self.conv_out = nn.Conv2d(widths[0], 1, 3, padding=1)

    def forward(self, latents: Tensor) -> Tensor:
        """Return log-mel ``[B, frames, mels]`` of diffusion latents (``scale`` times the VAE's)."""
        x = self.conv_in(self.post_quant(latents / self.scale))
        x = self.middle_out(self.attention(self.middle_in(x)))
        for level in reversed(self.levels):
            x = level(x)
        return self.conv_out(F.silu(self.norm_out(x), inplace=True))[:, 0]
