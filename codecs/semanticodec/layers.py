"""Layers that know cheaper ways to the same result on CPUs: same weights, same maths.

Each is the torch layer of its name until ``set_fast`` allows the other way, which is taken on CPUs
without gradients, in float32 or bfloat16 (autocast included). What is gained, measured on one core
with AVX512-BF16, is in docs/semanticodec.md:

* products go through oneDNN, 15-25 % faster in float32 than the default library on AMD;
* one-dimensional convolutions run over ``[B, N, C]`` memory, dilated ones as plain ones over a
  view ``[B, N / dilation, dilation, C]``;
* transposed convolutions and "nearest x 2, then 3 x 3" are plain convolutions to one output per
  phase, with 4/9 of the products for the latter;
* large convolutions use the algorithms of ``fastconv.py``.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import lru_cache
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from semanticodec import fastconv

Module = TypeVar("Module", bound=nn.Module)

# where the algorithms of fastconv.py were measured to win over direct sums
MIN_TAPS_1D = 7
MIN_CHANNELS_1D = 128
MIN_CHANNELS_2D = {torch.float32: 128, torch.bfloat16: 256}
MIN_POSITIONS_2D = 4096
_SCORES = 1 << 19  # attention scores at a time: what stays in the cache
_WIDE_HEAD = 128  # from here on attention by plain products beats the fused kernel in float32


def set_fast(module: nn.Module, fast: bool) -> None:
    """Allow or forbid the cheaper way in all layers of a module."""
    for part in module.modules():
        if isinstance(part, CheapLayer):
            part.fast = fast


def working_dtype(x: Tensor) -> torch.dtype:
    """Return the type in which products with ``x`` are computed."""
    kind = x.device.type
    return torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else x.dtype


@lru_cache
def has_onednn() -> bool:
    """Tell whether torch offers oneDNN's fused products."""
    try:
        one = torch.ones(1, 1)
        torch.ops.mkldnn._linear_pointwise(one, one, None, "gelu", [], "none")
    except (AttributeError, RuntimeError, NotImplementedError):
        return False
    return True


def is_possible(x: Tensor) -> bool:
    """Tell whether the cheaper ways can be taken for ``x`` here and now."""
    if x.device.type != "cpu" or torch.is_grad_enabled():
        return False
    return working_dtype(x) in (torch.float32, torch.bfloat16)


def _cast(x: Tensor, *parameters: Tensor | None) -> list[Any]:
    """Return everything in the working type."""
    dtype = working_dtype(x)
    return [None if part is None else part.to(dtype) for part in (x, *parameters)]


def product(x: Tensor, weight: Tensor, bias: Tensor | None, *, gelu: bool = False) -> Tensor:
    """Return ``x @ weight.T + bias`` by oneDNN, on request with an exact GELU after it."""
    x, weight, bias = _cast(x, weight, bias)
    after, form = ("gelu", "none") if gelu else ("none", "")
    return torch.ops.mkldnn._linear_pointwise(x, weight, bias, after, [], form)


def prepared(module: Module) -> Module:
    """Return a copy for many calls: it shares the weights, and keeps what layers make of them.

    Otherwise every call converts weights to the working type and to oneDNN's order of them.
    """
    shared = {id(part): part for part in (*module.parameters(), *module.buffers())}
    twin = copy.deepcopy(module, shared)
    for part in twin.modules():
        if isinstance(part, CheapLayer):
            part.keep = True
    return twin


class CheapLayer(nn.Module):
    """What the layers have in common."""

    fast = False  # whether the cheaper way is allowed
    keep = False  # whether what is made of the weights is kept from call to call
    weight: Tensor
    _kept: Any = None

    def is_fast(self, x: Tensor) -> bool:
        """Tell whether oneDNN's fused products may be used for ``x``."""
        return self.fast and is_possible(x) and has_onednn()

    def _once(self, make: Callable[[], Any]) -> Any:
        if not self.keep:
            return make()
        if self._kept is None:  # two lanes may both find it so; what either makes is the same
            self._kept = make()
        return self._kept


class Linear(nn.Linear, CheapLayer):
    """A matrix product with a bias."""

    def forward(self, x: Tensor) -> Tensor:
        """Map ``[..., in_features]`` to ``[..., out_features]``."""
        if not self.is_fast(x):
            return super().forward(x)
        weight = self._once(lambda: self._pack(self.weight, x))
        return product(x, weight, self.bias)

    def gelu(self, x: Tensor) -> Tensor:
        """Return the exact GELU of the product."""
        if not self.is_fast(x):
            return F.gelu(self(x))
        weight = self._once(lambda: self._pack(self.weight, x))
        return product(x, weight, self.bias, gelu=True)

    def geglu(self, x: Tensor) -> Tensor:
        """Return first half times GELU of the second half (arXiv 2002.05202)."""
        if not self.is_fast(x):
            value, gate = self(x).chunk(2, -1)
            return value * F.gelu(gate)
        halves = self._once(lambda: [self._pack(half, x) for half in self.weight.chunk(2)])
        value_bias, gate_bias = self.bias.chunk(2)
        gate = product(x, halves[1], gate_bias, gelu=True)
        x, bias = _cast(x, value_bias)
        return torch.ops.mkldnn._linear_pointwise.binary(x, gate, halves[0], bias, "mul")

    def _pack(self, weight: Tensor, x: Tensor) -> Tensor:
        weight = weight.to(working_dtype(x))
        if not self.keep:
            return weight
        rows = x.numel() // x.shape[-1]
        return torch.ops.mkldnn._reorder_linear_weight(weight.contiguous(), rows)


class Conv1d(nn.Conv1d, CheapLayer):
    """A convolution with an odd kernel that keeps the length."""

    def forward(self, x: Tensor) -> Tensor:
        """Map ``[B, C, N]`` to ``[B, Co, N]``, in ``[B, N, Co]`` memory where it is fast."""
        if not (self.fast and is_possible(x)):
            return super().forward(x)
        assert self.bias is not None
        large = (
            self.weight.shape[2] >= MIN_TAPS_1D and min(self.weight.shape[:2]) >= MIN_CHANNELS_1D
        )
        convolve = fastconv.conv1d if large else conv1d_rows
        x, weight, bias = _cast(x, self.weight, self.bias)
        return convolve(x, weight, bias, self.dilation[0])


class ConvTranspose1d(nn.ConvTranspose1d, CheapLayer):
    """A transposed convolution with stride."""

    def forward(self, x: Tensor, output_size: list[int] | None = None) -> Tensor:
        """Map ``[B, C, N]`` to ``[B, Co, (N - 1) * stride - 2 * padding + taps]``."""
        if not (self.fast and is_possible(x)):
            return super().forward(x, output_size)
        assert self.bias is not None
        return conv_transpose1d_rows(
            x, self.weight, self.bias, self.stride[0], int(self.padding[0])
        )


class Conv2d(nn.Conv2d, CheapLayer):
    """A convolution with bias; large ones are 3 x 3 with padding 1."""

    def forward(self, x: Tensor) -> Tensor:
        """Map ``[B, C, H, W]`` to ``[B, Co, H', W']``."""
        if not self.is_fast(x):
            return super().forward(x)
        assert self.bias is not None
        plain = self.kernel_size == (3, 3) and self.stride == (1, 1)
        if plain and is_large(x, self.weight):
            x, weight, bias = _cast(x, self.weight, self.bias)
            return fastconv.conv2d(x, weight, bias)
        if not self.keep:
            return super().forward(x)
        return self._packed_conv2d(x)

    def _packed_conv2d(self, x: Tensor) -> Tensor:
        x, bias = _cast(x, self.bias)
        layout = (self.padding, self.stride, self.dilation, 1)
        reorder = torch.ops.mkldnn._reorder_convolution_weight
        packed = self._once(lambda: reorder(self.weight.to(x.dtype), *layout, x.shape))
        return torch.ops.mkldnn._convolution_pointwise(x, packed, bias, *layout, "none", [], "")


class UpsampleConv2d(nn.Conv2d, CheapLayer):
    """Nearest-neighbour upsampling by 2, then a 3 x 3 convolution with padding 1."""

    def forward(self, x: Tensor) -> Tensor:
        """Map ``[B, C, H, W]`` to ``[B, Co, 2 H, 2 W]``."""
        if not (self.fast and is_possible(x)):
            return super().forward(F.interpolate(x, scale_factor=2.0, mode="nearest"))
        assert self.bias is not None
        kernel = self._once(lambda: phase_kernel(self.weight).to(working_dtype(x)))
        return upsample_conv2d(x, kernel, self.bias)


def is_large(x: Tensor, weight: Tensor) -> bool:
    """Tell whether a convolution in two dimensions is for ``fastconv.py``."""
    wide = min(weight.shape[:2]) >= MIN_CHANNELS_2D[working_dtype(x)]
    return wide and x[0, 0].numel() >= MIN_POSITIONS_2D


def conv1d_rows(x: Tensor, weight: Tensor, bias: Tensor, dilation: int = 1) -> Tensor:
    """Convolve ``[B, C, N]`` with an odd kernel, keeping the length; rows are ``[N, C]``."""
    rows = x.transpose(1, 2)
    length, half = rows.shape[1], (weight.shape[2] - 1) // 2
    if length % dilation:
        rows = F.pad(rows, (0, 0, 0, -length % dilation))
    # samples of one phase of the dilation are neighbours along H: [B, C, N / d, d]
    folded = rows.contiguous().unflatten(1, (-1, dilation)).permute(0, 3, 1, 2)
    y = F.conv2d(folded, weight[..., None], bias, padding=(half, 0))
    # conv2d may answer in either layout
    rows = y.contiguous(memory_format=torch.channels_last).permute(0, 2, 3, 1).flatten(1, 2)
    return rows[:, :length].transpose(1, 2)


def conv_transpose1d_rows(
    x: Tensor, weight: Tensor, bias: Tensor, stride: int, padding: int
) -> Tensor:
    """Return the transposed convolution of ``[B, C, N]`` with ``[C, Co, taps]``.

    Output ``stride * q + r`` is a plain convolution for each phase ``r``, with the taps
    ``r, r + stride, ...``; phases are output channels, and unfolding them into time is a view.
    """
    channels, outputs, taps = weight.shape
    weight = weight.to(working_dtype(x))
    per_phase = -(-taps // stride)
    phases = F.pad(weight, (0, per_phase * stride - taps)).view(channels, outputs, -1, stride)
    last_first = [phases[:, :, tap].permute(2, 1, 0) for tap in reversed(range(per_phase))]
    kernel = torch.stack(last_first, -1).view(stride * outputs, channels, per_phase, 1)
    folded = x.transpose(1, 2).contiguous()[:, :, None].permute(0, 3, 1, 2)  # [B, C, N, 1]
    y = F.conv2d(folded, kernel, bias.repeat(stride), padding=(per_phase - 1, 0))
    rows = y.contiguous(memory_format=torch.channels_last).permute(0, 2, 3, 1)
    rows = rows.reshape(len(x), -1, outputs)
    length = (x.shape[2] - 1) * stride - 2 * padding + taps
    return rows[:, padding : padding + length].transpose(1, 2)


def phase_kernel(weight: Tensor) -> Tensor:
    """Return the kernel ``[4 Co, C, 2, 2]`` of ``upsample_conv2d`` from a 3 x 3 one.

    Along one axis output ``2 i`` sees ``x[i - 1], x[i]`` with taps ``w0, w1 + w2``, and output
    ``2 i + 1`` sees ``x[i], x[i + 1]`` with ``w0 + w1, w2``.
    """
    folds = weight.new_tensor([[[1, 0, 0], [0, 1, 1]], [[1, 1, 0], [0, 0, 1]]])
    return torch.einsum("aik,bjl,ockl->abocij", folds, folds, weight).flatten(0, 2)


def upsample_conv2d(x: Tensor, kernel: Tensor, bias: Tensor) -> Tensor:
    """Return the 3 x 3 convolution with padding 1 of ``x``, upsampled by 2 to the nearest.

    Args:
        x: ``[B, C, H, W]``.
        kernel: Of ``phase_kernel``.
        bias: ``[Co]``.

    Returns:
        ``[B, Co, 2 H, 2 W]``.
    """
    height, width = x.shape[2:]
    x, kernel, repeated = _cast(x, kernel, bias.repeat(4))
    if is_large(x, kernel):
        z = fastconv.conv2d(x, kernel, repeated)
    else:
        x = x.contiguous(memory_format=torch.channels_last)
        z = F.conv2d(x, kernel, repeated, padding=1)
    phases = z.unflatten(1, (2, 2, -1))
    y = z.new_empty(len(x), 2 * height, 2 * width, len(bias)).permute(0, 3, 1, 2)
    for a in (0, 1):
        for b in (0, 1):
            y[:, :, a::2, b::2] = phases[:, a, b, :, a : a + height, b : b + width]
    return y


def attention(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Return softmax attention of ``[B, heads, L, width]`` to ``[B, heads, S, width]``.

    The fused kernel of torch 2 has no use for bfloat16 instructions on CPUs, and is slow for wide
    heads; there a few heads or queries at a time go through plain products.
    """
    fused = query.dtype != torch.bfloat16 and query.shape[-1] < _WIDE_HEAD
    if fused or not is_possible(query):
        return F.scaled_dot_product_attention(query, key, value)
    shape = query.shape
    query, key, value = (part.flatten(0, 1) for part in (query, key, value))
    length, context = query.shape[1], key.shape[1]
    heads = min(max(1, _SCORES // (length * context)), len(query))
    queries = min(max(1, _SCORES // context), length)
    y = torch.empty_like(query, memory_format=torch.contiguous_format)
    scores = query.new_empty(heads, queries, context)  # one place, which stays in the cache
    for first in range(0, len(query), heads):
        own = slice(first, first + heads)
        keys, values = key[own].transpose(1, 2), value[own]
        for start in range(0, length, queries):
            part = query[own, start : start + queries]
            place = scores[: len(part), : part.shape[1]]
            # the place is not read, since beta is 0
            torch.baddbmm(place, part, keys, beta=0, alpha=shape[-1] ** -0.5, out=place)
            torch.softmax(place, -1, out=place)
            torch.bmm(place, values, out=y[own, start : start + queries])
    return y.view(shape)
