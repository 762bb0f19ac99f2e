"""Acoustic tokens: a bidirectional LSTM over features and centroids, then one vector quantizer.

Section III-C of the paper: the residual information that the semantic token does not carry.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from semanticodec.config import AcousticConfig
from semanticodec.layers import CheapLayer, Linear, product, working_dtype
from semanticodec.semantic import nearest

MASK_VALUE = -1.0  # stands in all channels of positions that hold only padding

_PACK_ROWS = 8  # weights packed for this many rows give the same bits for any number of rows

Recurrence = Callable[[Tensor, Tensor], Tensor]


def _packed_recurrence(weight: Tensor) -> Recurrence:
    """Return ``(h, g) -> g + h @ weight.T`` with the weight laid out once for many small products.

    oneDNN's packed product is 2-3 times faster than the plain one for 2-16 rows, and its result
    for a row does not depend on the other rows. Where it is missing, the plain product serves.
    """
    try:
        packed = torch.ops.mkldnn._reorder_linear_weight(weight.detach(), _PACK_ROWS)
        multiply = torch.ops.mkldnn._linear_pointwise.binary
        multiply(weight.new_zeros(1, weight.shape[1]), weight.new_zeros(1, len(weight)), packed,
                 None, "add")  # fmt: skip
    except (AttributeError, RuntimeError, NotImplementedError):
        transposed = weight.T
        return lambda h, g: torch.addmm(g, h, transposed)
    return lambda h, g: multiply(h, g, packed, None, "add")


def _run_direction(projected: Tensor, recurrence: Recurrence, reverse: bool) -> Tensor:
    """Run one LSTM direction (gates in torch's order: input, forget, cell, output).

    Args:
        projected: ``[T, B, 4H]``, the input's share of the gates with both biases; the state of
            the cells is float32 whatever its type.
        recurrence: Adds the hidden state's share.
        reverse: Whether time runs backwards.

    Returns:
        Hidden states ``[T, B, H]``.
    """
    steps, batch, width = projected.shape
    hidden = projected.new_zeros(batch, width // 4)
    cell = torch.zeros_like(hidden, dtype=torch.float32)
    outputs = projected.new_empty(steps, batch, width // 4)
    for step in reversed(range(steps)) if reverse else range(steps):
        i, f, g, o = recurrence(hidden, projected[step]).float().chunk(4, 1)
        cell = cell.mul_(f.sigmoid()).addcmul_(i.sigmoid(), g.tanh())
        hidden = torch.mul(o.sigmoid(), cell.tanh(), out=outputs[step])
    return outputs


class BiLSTM(nn.LSTM, CheapLayer):
    """Bidirectional LSTM, batch first, zero initial state; faster than torch's on a CPU.

    Its cost is reading the recurrent weights at every step, so windows that run together are
    nearly free. Training and accelerators use torch's own implementation.
    """

    def __init__(self, input_size: int, hidden_size: int, num_layers: int) -> None:
        super().__init__(input_size, hidden_size, num_layers, batch_first=True, bidirectional=True)

    def encode(self, x: Tensor) -> Tensor:
        """Return hidden states ``[B, T, 2H]`` (forward direction first) of ``[B, T, input]``."""
        if not self.is_fast(x):
            return self(x)[0]
        steps = x.transpose(0, 1)
        for layer in range(self.num_layers):
            halves = [self._direction(steps, layer, reverse) for reverse in (False, True)]
            steps = torch.cat(halves, -1)
        return steps.transpose(0, 1)

    def _direction(self, steps: Tensor, layer: int, reverse: bool) -> Tensor:
        suffix = f"l{layer}_reverse" if reverse else f"l{layer}"
        weight_ih, weight_hh, bias_ih, bias_hh = (
            getattr(self, f"{name}_{suffix}")
            for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        )
        bias = bias_ih + bias_hh
        # window by window, so that the sums of one do not depend on how many there are
        rows = [product(row, weight_ih, bias) for row in steps.unbind(1)]
        # packed afresh for each call: 20 ms, and no second copy of the weights stays in memory
        recurrence = _packed_recurrence(weight_hh.to(working_dtype(steps)))
        return _run_direction(torch.stack(rows, 1), recurrence, reverse)


class AcousticEncoder(nn.Module):
    """Features and centroids to acoustic tokens, and back to code vectors."""

    codebook: Tensor

    def __init__(self, config: AcousticConfig, width: int) -> None:
        super().__init__()
        self.lstm = BiLSTM(2 * width, 2 * width, config.num_layers)
        self.out = Linear(4 * width, width, bias=False)
        self.register_buffer("codebook", torch.zeros(config.codebook_size, width))

    def latents(self, features: Tensor, semantic: Tensor, num_valid: Tensor) -> Tensor:
        """Return the vectors to be quantized, ``[B, T, D]``.

        Args:
            features: ``[B, T, D]``.
            semantic: Centroids ``[B, T, D]``.
            num_valid: ``[B]``, positions before the padding; the others are masked.
        """
        joined = torch.cat((features, semantic), -1)
        index = torch.arange(joined.shape[1], device=joined.device)
        padding = index >= num_valid[:, None]
        return self.out(self.lstm.encode(joined.masked_fill(padding[..., None], MASK_VALUE)))

    def quantize(self, latents: Tensor) -> Tensor:
        """Return the index of the nearest code vector, ``[B, T]``."""
        return nearest(latents, self.codebook)

    def decode(self, tokens: Tensor) -> Tensor:
        """Return code vectors ``[B, T, D]`` of tokens ``[B, T]``."""
        return F.embedding(tokens, self.codebook)
