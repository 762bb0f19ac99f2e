"""Semantic tokens: AudioMAE patches stacked into features, each named by its nearest centroid."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from semanticodec.config import SemanticConfig


def stack_patches(patches: Tensor, grid: tuple[int, int], config: SemanticConfig) -> Tensor:
    """Join neighbouring patches along channels.

    Args:
        patches: ``[B, time * bands, width]``, frequency fastest.
        grid: Patches along time and frequency.
        config: How many patches to join along each.

    Returns:
        ``[B, T, width * joined]``, frequency fastest; inside a feature time comes before frequency.
    """
    batch, _, width = patches.shape
    rows, bands = grid[0] // config.stack_time, grid[1] // config.stack_bands
    blocks = patches.reshape(batch, rows, config.stack_time, bands, config.stack_bands, width)
    # [B, rows, st, bands, sb, width] -> [B, rows, bands, st, sb, width]
    return blocks.transpose(2, 3).reshape(batch, rows * bands, -1)


def nearest(queries: Tensor, codebook: Tensor, squared: Tensor | None = None) -> Tensor:
    """Return the index of the closest row of ``codebook`` for each query; first on ties.

    Args:
        queries: ``[..., D]``.
        codebook: ``[size, D]``.
        squared: ``[size]``, the rows' squared norms, when they are known already.

    Returns:
        ``[...]`` int64.
    """
    if squared is None:
        squared = codebook.square().sum(1)
    # |q|^2 is the same for every row and cannot change which one is nearest
    flat = queries.reshape(-1, queries.shape[-1])
    distance = torch.addmm(squared, flat, codebook.T, alpha=-2.0)
    return distance.argmin(1).reshape(queries.shape[:-1])


class SemanticCodebook(nn.Module):
    """k-means centroids; a buffer, so that it moves with the model (section III-B)."""

    centroids: Tensor

    def __init__(self, config: SemanticConfig, width: int) -> None:
        super().__init__()
        self.register_buffer("centroids", torch.zeros(config.codebook_size, width))

    def encode(self, features: Tensor) -> Tensor:
        """Return tokens ``[B, T]`` of features ``[B, T, D]``."""
        return nearest(features, self.centroids)

    def decode(self, tokens: Tensor) -> Tensor:
        """Return centroids ``[B, T, D]`` of tokens ``[B, T]``."""
        return F.embedding(tokens, self.centroids)
