"""Denoiser of the small model: a transformer whose condition is added patch by patch.

A patch of the latent and a patch of the token grid cover the same time and the same band, so the
condition needs no cross-attention to find its place: it is added. The tokens are first decoded once
by a few blocks of their own into an *estimate* of the latent; the denoiser then only models what
the estimate leaves open. With ``x0 ~ N(estimate, error_std^2)`` the best linear denoiser is known
in closed form; the network adds its correction to that one (preconditioning after Karras et al.,
arXiv 2206.00364, but around the estimate instead of around zero).

At pure noise the result is the estimate with its correction: one step is a fast decoder.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from semanticodec.audiomae import Attention
from semanticodec.diffusion.unet import KeyValue, timestep_embedding

Grid = tuple[int, int]


@dataclass(frozen=True)
class PatchDenoiserConfig:
    """Sizes of the denoiser."""

    width: int = 192
    num_heads: int = 6
    mlp_width: int = 768
    estimate_depth: int = 3  # blocks that see only the tokens
    depth: int = 4  # blocks that see the noisy latent
    num_timesteps: int = 1000


class Block(nn.Module):
    """Pre-norm transformer block, modulated where it is told to (arXiv 2212.09748)."""

    def __init__(self, config: PatchDenoiserConfig, modulated: bool) -> None:
        super().__init__()
        width = config.width
        self.norm1 = nn.LayerNorm(width, eps=1e-6, elementwise_affine=not modulated)
        self.attention = Attention(width, config.num_heads)
        self.norm2 = nn.LayerNorm(width, eps=1e-6, elementwise_affine=not modulated)
        self.up = nn.Linear(width, config.mlp_width)
        self.down = nn.Linear(config.mlp_width, width)
        # what is common to all blocks comes from outside, each adds its own (arXiv 2310.00426)
        self.table = nn.Parameter(torch.zeros(6, width)) if modulated else None

    def forward(self, x: Tensor, modulation: Tensor | None = None) -> Tensor:
        """Map ``[B, P, width]`` to itself; ``modulation`` is ``[B or 1, 6, width]``."""
        if self.table is None or modulation is None:
            x = x + self.attention(self.norm1(x))
            return x + self.down(F.gelu(self.up(self.norm2(x))))
        parts = (modulation + self.table)[:, :, None].unbind(1)  # each [B or 1, 1, width]
        shift1, scale1, gate1, shift2, scale2, gate2 = parts
        x = x + (1 + gate1) * self.attention(self.norm1(x) * (1 + scale1) + shift1)
        hidden = F.gelu(self.up(self.norm2(x) * (1 + scale2) + shift2))
        return x + (1 + gate2) * self.down(hidden)


def to_patches(latents: Tensor, grid: Grid) -> Tensor:
    """Return ``[B, P, values]`` of latents ``[B, channels, time, frequency]``, band fastest."""
    batch, channels, time, bands = latents.shape
    rows, columns = grid
    blocks = latents.reshape(batch, channels, rows, time // rows, columns, bands // columns)
    # [B, c, rows, pt, columns, pf] -> [B, rows, columns, c, pt, pf]
    return blocks.permute(0, 2, 4, 1, 3, 5).reshape(batch, rows * columns, -1)


def from_patches(patches: Tensor, grid: Grid, shape: tuple[int, int, int]) -> Tensor:
    """Return latents ``[B, *shape]``; the inverse of ``to_patches``."""
    channels, time, bands = shape
    rows, columns = grid
    blocks = patches.reshape(-1, rows, columns, channels, time // rows, bands // columns)
    return blocks.permute(0, 3, 1, 4, 2, 5).reshape(-1, channels, time, bands)


def unstack(stacked: Tensor, grid: Grid, stack: Grid) -> Tensor:
    """Split what belongs to a token among the patches it covers.

    Args:
        stacked: ``[B, T, stack_time * stack_bands * width]``.
        grid: Patches along time and bands.
        stack: Patches of one token along time and bands.

    Returns:
        ``[B, P, width]``, the inverse of ``semantic.stack_patches``.
    """
    batch = len(stacked)
    rows, bands = grid[0] // stack[0], grid[1] // stack[1]
    blocks = stacked.reshape(batch, rows, bands, stack[0], stack[1], -1)
    # [B, rows, bands, st, sb, w] -> [B, rows, st, bands, sb, w]
    return blocks.transpose(2, 3).reshape(batch, grid[0] * grid[1], -1)


def with_neighbours(context: Tensor, grid: Grid) -> Tensor:
    """Return each token's condition with those of the eight tokens around it.

    Args:
        context: ``[B, T, width]``, bands fastest.
        grid: Tokens along time and bands, ``T`` in all.

    Returns:
        ``[B, T, 9 * width]``; zeros beyond the edges.
    """
    rows, bands = grid
    around = F.pad(context.unflatten(1, grid), (0, 0, 1, 1, 1, 1))
    shifted = [around[:, i : i + rows, j : j + bands] for i in range(3) for j in range(3)]
    return torch.cat(shifted, -1).flatten(1, 2)


class PatchDenoiser(nn.Module):
    """Velocity of noisy latents, given the tokens of the same window.

    Args:
        config: Sizes.
        context_width: Channels of the condition of one token position.
        latent_shape: Channels, time and frequency of a window's latent.
        grid: Patches along time and bands.
        stack: Patches of one token position along time and bands.
    """

    error_std: Tensor

    def __init__(
        self,
        config: PatchDenoiserConfig,
        context_width: int,
        latent_shape: tuple[int, int, int],
        grid: Grid,
        stack: Grid,
    ) -> None:
        super().__init__()
        self.config = config
        self.latent_shape, self.grid, self.stack = latent_shape, grid, stack
        patches, joined = grid[0] * grid[1], stack[0] * stack[1]
        values = math.prod(latent_shape) // patches
        width = config.width
        self.position = nn.Parameter(0.02 * torch.randn(patches, width))
        self.condition_in = nn.Linear(context_width, joined * width)
        self.estimate_blocks = nn.ModuleList(
            Block(config, modulated=False) for _ in range(config.estimate_depth)
        )
        self.token_grid = (grid[0] // stack[0], grid[1] // stack[1])
        self.estimate_linear = nn.Linear(9 * context_width, joined * values)
        self.estimate_norm = nn.LayerNorm(width)
        self.estimate_out = nn.Linear(width, values)
        self.noisy_in = nn.Linear(2 * values, width)
        self.time_in = nn.Linear(width, width)
        self.time_out = nn.Linear(width, 6 * width)
        self.blocks = nn.ModuleList(Block(config, modulated=True) for _ in range(config.depth))
        self.norm_out = nn.LayerNorm(width)
        self.out = nn.Linear(width, values)
        self.register_buffer("error_std", torch.full((latent_shape[0], 1, latent_shape[2]), 0.7))
        for layer in (self.estimate_out, self.time_out, self.out):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    def _latents(self, patches: Tensor) -> Tensor:
        return from_patches(patches, self.grid, self.latent_shape)

    def estimate(self, context: Tensor) -> tuple[Tensor, Tensor]:
        """Decode the tokens once.

        Args:
            context: ``[B, T, context_width]``.

        Returns:
            What the denoiser is conditioned on, ``[B, P, width]``, and the estimated latents.
        """
        hidden = unstack(self.condition_in(context), self.grid, self.stack) + self.position
        for block in self.estimate_blocks:
            hidden = block(hidden)
        around = with_neighbours(context, self.token_grid)
        linear = unstack(self.estimate_linear(around), self.grid, self.stack)
        patches = linear + self.estimate_out(self.estimate_norm(hidden))
        return hidden, self._latents(patches)

    def project_context(self, context: Tensor) -> list[KeyValue]:
        """Return what does not depend on the diffusion step, in the shape of the UNet's keys."""
        return [self.estimate(context)]

    def correction(self, x: Tensor, timesteps: Tensor, hidden: Tensor, estimate: Tensor) -> Tensor:
        """Return what the network adds to the linear denoiser, of about unit variance."""
        alpha, sigma = self.levels(timesteps)
        # the part of x that the estimate does not explain, at unit variance
        spread = (alpha.square() * self.error_std.square() + sigma.square()).rsqrt()
        surprise = (x - alpha * estimate) * spread
        noisy = torch.cat((to_patches(surprise, self.grid), to_patches(estimate, self.grid)), -1)
        time = F.silu(self.time_in(timestep_embedding(timesteps, self.config.width)))
        modulation = self.time_out(time).unflatten(-1, (6, -1))
        tokens = self.noisy_in(noisy) + hidden
        for block in self.blocks:
            tokens = block(tokens, modulation)
        return self._latents(self.out(self.norm_out(tokens)))

    def forward(self, x: Tensor, timesteps: Tensor, keys: list[KeyValue]) -> Tensor:
        """Return the velocity ``[B', channels, time, frequency]``.

        Args:
            x: Noisy latents ``[B, channels, time, frequency]``.
            timesteps: ``[B]`` or ``[1]``, from 0 to ``num_timesteps - 1`` (pure noise).
            keys: From ``project_context``, for ``B'`` items, a multiple of ``B``.
        """
        ((hidden, estimate),) = keys
        if len(hidden) != len(x):
            x = x.repeat(len(hidden) // len(x), 1, 1, 1)
            if len(timesteps) not in (1, len(x)):
                timesteps = timesteps.repeat(len(x) // len(timesteps))
        correction = self.correction(x, timesteps, hidden, estimate).float()
        base, scale = self.linear_velocity(x, timesteps, estimate)
        return base + scale * correction

    def linear_velocity(
        self, x: Tensor, timesteps: Tensor, estimate: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return the velocity of the best linear denoiser, and the deviation of its error.

        From ``x0 = estimate + gain * (x - alpha * estimate)`` with Wiener's gain, and
        ``velocity = (alpha * x - x0) / sigma``, written so that it is finite without noise.
        """
        alpha, sigma = self.levels(timesteps)
        variance = self.error_std.square()
        total = alpha.square() * variance + sigma.square()
        base = sigma * (alpha * (1 - variance) * x - estimate) / total
        return base, self.error_std * total.rsqrt()

    def levels(self, timesteps: Tensor) -> tuple[Tensor, Tensor]:
        """Return ``alpha`` and ``sigma`` ``[B, 1, 1, 1]`` of the cosine schedule."""
        share = (timesteps.float() + 1.0) / self.config.num_timesteps
        phase = (share * (math.pi / 2))[:, None, None, None]
        return phase.cos(), phase.sin()
