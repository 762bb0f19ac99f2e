"""Convolutions with fewer multiplications, for CPUs: same result up to rounding.

A bilinear algorithm computes ``m`` outputs of a ``k``-tap convolution from ``m + k - 1`` inputs as
``A @ ((G @ kernel) * (B @ inputs))`` with fixed matrices; over channels the product in the middle
becomes one matrix product per point. Two families are used:

* 3 x 3 and 2 x 2 in two dimensions: Winograd's F(m x m, k x k) (Lavin and Gray, arXiv 1509.09308)
  on tiles of 6 x 6 in float32 (for 3 x 3, 36 products for 16 outputs in place of 144) and of 4 x 4
  in bfloat16 (16 for 4 in place of 36);
* long kernels in one dimension: the real discrete Fourier transform of tiles of 32 samples
  (overlap-save), where each complex product takes three real ones (Gauss), 47 products for 22
  outputs of an 11-tap kernel in place of 242.

Both are well conditioned: in float32, errors stay within a few times those of the direct sum; in
bfloat16 they lie 44-47 dB below the signal, where those of direct sums have 51 (6 x 6 tiles: 30).
Kernels are transformed anew in each call: that costs little, and stored ones would need a gigabyte.
Channels lie last in memory, so that patches are cut out in long rows.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

TILE = 32  # samples per tile in one dimension
_BLOCK_ROWS = 16384  # of transformed input at a time: what the caches hold


@dataclass(frozen=True)
class Bilinear:
    """The three matrices of an algorithm with ``P`` points."""

    inputs: Tensor  # B, [P, tile]
    kernel: Tensor  # G, [P, taps]
    outputs: Tensor  # A, [m, P]


@lru_cache
def fourier(taps: int, dtype: torch.dtype = torch.float32, tile: int = TILE) -> Bilinear:
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
    return Bilinear(*(torch.from_numpy(part).to(dtype) for part in (rows, kernel, outputs)))


@lru_cache
def winograd(taps: int, outputs: int, dtype: torch.dtype = torch.float32) -> Bilinear:
    """Return F(m x m, k x k) of ``m`` outputs and ``k`` taps, by interpolation at small points."""
    points = np.array([0.0, 1.0, -1.0, 2.0, -2.0])[: taps + outputs - 2]  # and infinity
    others = [np.delete(points, index) for index in range(len(points))]
    scale = [1 / np.prod(point - rest) for point, rest in zip(points, others, strict=True)]
    inputs = np.zeros((len(points) + 1,) * 2)
    for row, roots in zip(inputs, (*others, points), strict=True):
        row[: len(roots) + 1] = np.poly(roots)[::-1]  # coefficients, lowest power first
    kernel = np.array(scale)[:, None] * np.vander(points, taps, increasing=True)
    kernel = np.vstack((kernel, np.eye(taps)[-1]))
    back = np.vstack((np.vander(points, outputs, increasing=True), np.eye(outputs)[-1])).T
    parts = (np.kron(part, part) for part in (inputs, kernel, back))
    return Bilinear(*(torch.from_numpy(part).to(dtype) for part in parts))


def conv1d(x: Tensor, weight: Tensor, bias: Tensor, dilation: int = 1) -> Tensor:
    """Convolve ``[B, C, N]`` with an odd ``[Co, C, taps]`` of its type, keeping the length."""
    batch, channels, length = x.shape
    outputs, _, taps = weight.shape
    algorithm = fourier(taps, x.dtype)
    step = TILE - taps + 1
    tiles = -(-length // (step * dilation))
    before = (taps - 1) // 2 * dilation
    total = (tiles * step + taps - 1) * dilation
    padded = F.pad(x.transpose(1, 2), (0, 0, before, total - before - length)).contiguous()
    # samples of one phase of the dilation are neighbours: [B, tiles, phases, C, TILE]
    patches = padded.view(batch, -1, dilation, channels).unfold(1, TILE, step)
    kernel = _transform_kernel(algorithm, weight)
    y = x.new_empty(batch, tiles, step, dilation, outputs)
    block = max(1, _BLOCK_ROWS // (len(kernel) * batch * dilation))
    for start in range(0, tiles, block):
        part = patches[:, start : start + block]
        result = _multiply(algorithm, kernel, part.permute(4, 0, 1, 2, 3))
        y[:, start : start + block] = result.permute(1, 2, 0, 3, 4)
    return y.view(batch, -1, outputs)[:, :length].add_(bias).transpose(1, 2)


def conv2d(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Convolve ``[B, C, H, W]`` with a 3 x 3 or 2 x 2 kernel of its type, padding 1."""
    batch, taps = len(x), weight.shape[-1]
    tile = 6 if x.dtype == torch.float32 else 4
    step = tile - taps + 1
    algorithm = winograd(taps, step, x.dtype)
    height, width = (size + 3 - taps for size in x.shape[2:])
    rows, columns = -(-height // step), -(-width // step)
    pads = (0, 0, 1, columns * step - width + 1, 1, rows * step - height + 1)
    padded = F.pad(x.permute(0, 2, 3, 1), pads).contiguous()
    patches = padded.unfold(1, tile, step).unfold(2, tile, step)  # [B, rows, columns, C, 6, 6]
    kernel = _transform_kernel(algorithm, weight)
    y = x.new_empty(batch, rows, step, columns, step, len(weight))
    block = max(1, _BLOCK_ROWS // (len(kernel) * batch * columns))
    for start in range(0, rows, block):
        part = patches[:, start : start + block]
        result = _multiply(algorithm, kernel, part.permute(4, 5, 0, 1, 2, 3).flatten(0, 1))
        shaped = result.view(step, step, *result.shape[1:])  # [4, 4, B, rows, columns, Co]
        y[:, start : start + block] = shaped.permute(2, 3, 0, 4, 1, 5)
    y = y.view(batch, rows * step, columns * step, -1)[:, :height, :width]
    return y.add_(bias).permute(0, 3, 1, 2)


def _transform_kernel(algorithm: Bilinear, weight: Tensor) -> Tensor:
    """Return ``[P, C, Co]``."""
    taps = weight.flatten(2).permute(2, 1, 0)
    return (algorithm.kernel @ taps.flatten(1)).view(-1, *taps.shape[1:])


def _multiply(algorithm: Bilinear, kernel: Tensor, patches: Tensor) -> Tensor:
    """Return outputs ``[m, ..., Co]`` of patches ``[tile, ..., C]``."""
    tile, *rest, channels = patches.shape
    spectrum = (algorithm.inputs @ patches.reshape(tile, -1)).view(len(kernel), -1, channels)
    product = torch.bmm(spectrum, kernel)
    return (algorithm.outputs @ product.flatten(1)).view(-1, *rest, kernel.shape[2])
