"""Convolutions with fewer multiplications, for CPUs: same result up to rounding.

A bilinear algorithm computes ``m`` outputs of a ``k``-tap convolution from ``m + k - 1`` inputs as
``A @ ((G @ kernel) * (B @ inputs))`` with fixed matrices; over channels the product in the middle
becomes one matrix product per point. Two families are used:

* 3 x 3 in two dimensions: Winograd's F(4 x 4, 3 x 3) (Lavin and Gray, arXiv 1509.09308), 36
  products for 16 outputs in place of 144;
* long kernels in one dimension: the real discrete Fourier transform of tiles of 32 samples
  (overlap-save), where each complex product takes three real ones (Gauss), 47 products for 22
  outputs of an 11-tap kernel in place of 242.

Both are well conditioned: errors stay within a few times those of the direct sum. Kernels are
transformed anew in each call: that costs little, and stored ones would need a gigabyte.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

TILE = 32  # samples per tile in one dimension
# where the fast form was measured to win; elsewhere the transforms cost more than they save
MIN_TAPS = 7
MIN_CHANNELS_1D = 64
MIN_CHANNELS_2D = 128
MIN_POSITIONS_2D = 4096
_BLOCK_ELEMENTS = 1 << 22  # of transformed input at a time: 16 MB, reused by the allocator


@dataclass(frozen=True)
class Bilinear:
    """The three matrices of an algorithm with ``P`` points."""

    inputs: Tensor  # B, [P, tile]
    kernel: Tensor  # G, [P, taps]
    outputs: Tensor  # A, [m, P]


@lru_cache
def fourier(taps: int, tile: int = TILE) -> Bilinear:
    """Return the overlap-save algorithm of a correlation with ``taps`` taps."""
    angle = -2 * np.pi * np.outer(np.arange(tile // 2 + 1), np.arange(tile)) / tile
    cos, sin = np.cos(angle), np.sin(angle)
    ends, inner = [0, tile // 2], slice(1, tile // 2)
    # spectrum a + ib of the input; of the flipped kernel c - id, since a correlation is wanted
    a, b = cos[inner], sin[inner]
    c, d = cos[inner, :taps], -sin[inner, :taps]
    rows = np.concatenate((cos[ends], a + b, a, b))
    kernel = np.concatenate((cos[ends, :taps], c, d - c, c + d))
    back_cos, back_sin = 2 * cos[inner].T / tile, 2 * sin[inner].T / tile
    # real part: first - third; imaginary part: first + second; x = sum(re cos + im sin)
    outputs = np.concatenate(
        (cos[ends].T / tile, back_cos + back_sin, back_sin, -back_cos), 1
    )[: tile - taps + 1]  # fmt: skip
    return Bilinear(*(torch.from_numpy(part).float() for part in (rows, kernel, outputs)))


@lru_cache
def winograd() -> Bilinear:
    """Return F(4 x 4, 3 x 3), interpolation points 0, 1, -1, 2, -2 and infinity."""
    inputs = np.array(
        [
            [4, 0, -5, 0, 1, 0],
            [0, -4, -4, 1, 1, 0],
            [0, 4, -4, -1, 1, 0],
            [0, -2, -1, 2, 1, 0],
            [0, 2, -1, -2, 1, 0],
            [0, 4, 0, -5, 0, 1],
        ]
    )
    points = np.array([1.0, -1.0, 2.0, -2.0])
    scale = np.array([-1 / 6, -1 / 6, 1 / 24, 1 / 24])
    middle = scale[:, None] * points[:, None] ** np.arange(3)
    kernel = np.concatenate(([[1 / 4, 0, 0]], middle, [[0, 0, 1]]))
    powers = points ** np.arange(4)[:, None]
    outputs = np.concatenate(([[1], [0], [0], [0]], powers, [[0], [0], [0], [1]]), 1)
    parts = (np.kron(part, part) for part in (inputs, kernel, outputs))
    return Bilinear(*(torch.from_numpy(part).float() for part in parts))


class Conv1d(nn.Conv1d):
    """A convolution that keeps the length, in the fast form where ``fast`` is set and it pays."""

    fast = False

    def forward(self, x: Tensor) -> Tensor:
        """Map ``[B, C, N]`` to ``[B, Co, N]``."""
        large = min(self.weight.shape[:2]) >= MIN_CHANNELS_1D and self.weight.shape[2] >= MIN_TAPS
        if self.fast and large and _is_possible(x):
            assert self.bias is not None
            return conv1d(x, self.weight, self.bias, self.dilation[0])
        return super().forward(x)


class Conv2d(nn.Conv2d):
    """A 3 x 3 convolution with padding 1, in the fast form where ``fast`` is set and it pays."""

    fast = False

    def forward(self, x: Tensor) -> Tensor:
        """Map ``[B, C, H, W]`` to ``[B, Co, H, W]``."""
        large = min(self.weight.shape[:2]) >= MIN_CHANNELS_2D
        if self.fast and large and x[0, 0].numel() >= MIN_POSITIONS_2D and _is_possible(x):
            assert self.bias is not None
            return conv2d(x, self.weight, self.bias)
        return super().forward(x)


def set_fast(module: nn.Module, fast: bool) -> None:
    """Allow or forbid the fast form in all convolutions of a module."""
    for part in module.modules():
        if isinstance(part, (Conv1d, Conv2d)):
            part.fast = fast


def _is_possible(x: Tensor) -> bool:
    return (
        x.device.type == "cpu"
        and x.dtype == torch.float32
        and not torch.is_grad_enabled()
        and not torch.is_autocast_enabled("cpu")
    )


def conv1d(x: Tensor, weight: Tensor, bias: Tensor, dilation: int = 1) -> Tensor:
    """Convolve ``[B, C, N]`` with an odd kernel ``[Co, C, taps]``, keeping the length."""
    batch, channels, length = x.shape
    taps = weight.shape[2]
    algorithm = fourier(taps)
    step = TILE - taps + 1
    tiles = -(-length // (step * dilation))
    before = (taps - 1) // 2 * dilation
    total = (tiles * step + taps - 1) * dilation
    padded = F.pad(x, (before, total - before - length))
    # samples of one phase of the dilation are neighbours: [B, C, tiles, phases, TILE]
    patches = padded.view(batch, channels, -1, dilation).unfold(2, TILE, step)
    kernel = _transform_kernel(algorithm, weight)
    y = x.new_empty(batch, weight.shape[0], tiles, step, dilation)
    block = max(1, _BLOCK_ELEMENTS // (len(kernel) * channels * batch * dilation))
    for start in range(0, tiles, block):
        part = patches[:, :, start : start + block]
        result = _multiply(algorithm, kernel, part.permute(4, 1, 0, 2, 3))
        y[:, :, start : start + block] = result.permute(2, 1, 3, 0, 4)
    y = y.view(batch, weight.shape[0], -1)[..., :length]
    return y + bias[:, None]


def conv2d(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Convolve ``[B, C, H, W]`` with a 3 x 3 kernel, padding 1."""
    batch, channels, height, width = x.shape
    algorithm = winograd()
    rows, columns = -(-height // 4), -(-width // 4)
    padded = F.pad(x, (1, columns * 4 - width + 1, 1, rows * 4 - height + 1))
    patches = padded.unfold(2, 6, 4).unfold(3, 6, 4)  # [B, C, rows, columns, 6, 6]
    kernel = _transform_kernel(algorithm, weight)
    y = x.new_empty(batch, weight.shape[0], rows, 4, columns, 4)
    block = max(1, _BLOCK_ELEMENTS // (len(kernel) * channels * batch * columns))
    for start in range(0, rows, block):
        part = patches[:, :, start : start + block]
        result = _multiply(algorithm, kernel, part.permute(4, 5, 1, 0, 2, 3).flatten(0, 1))
        shaped = result.view(4, 4, *result.shape[1:])  # [4, 4, Co, B, rows, columns]
        y[:, :, start : start + block] = shaped.permute(3, 2, 4, 0, 5, 1)
    y = y.view(batch, weight.shape[0], rows * 4, columns * 4)[:, :, :height, :width]
    return y + bias[:, None, None]


def _transform_kernel(algorithm: Bilinear, weight: Tensor) -> Tensor:
    """Return ``[P, Co, C]``."""
    taps = weight.flatten(2).permute(2, 0, 1)
    return (algorithm.kernel @ taps.flatten(1)).view(-1, *taps.shape[1:])


def _multiply(algorithm: Bilinear, kernel: Tensor, patches: Tensor) -> Tensor:
    """Return outputs ``[m, Co, ...]`` of patches ``[tile, C, ...]``."""
    tile, channels, *rest = patches.shape
    spectrum = (algorithm.inputs @ patches.reshape(tile, -1)).view(len(kernel), channels, -1)
    product = torch.bmm(kernel, spectrum)
    return (algorithm.outputs @ product.flatten(1)).view(-1, kernel.shape[1], *rest)
