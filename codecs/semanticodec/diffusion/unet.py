"""Denoising UNet of the latent diffusion model (LDM family, arXiv 2112.10752).

Latents are ``[B, channels, time, frequency]``, best in ``channels_last`` memory: then flattening
them to attention tokens (time-major) costs nothing. The condition enters only through the keys and
values of cross-attention, which do not depend on the diffusion step: ``project_context`` computes
them once, and ``forward`` takes them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from semanticodec.config import UNetConfig
from semanticodec.layers import Conv2d, Linear, UpsampleConv2d, attention

KeyValue = tuple[Tensor, Tensor]  # each [B, heads, T, head width]


def timestep_embedding(timesteps: Tensor, width: int) -> Tensor:
    """Return ``[B, width]``: cosines, then sines, of ``t * 10000 ** (-j / (width / 2))``."""
    half = width // 2
    index = torch.arange(half, dtype=torch.float32, device=timesteps.device)
    phase = timesteps.float()[:, None] * torch.exp(-math.log(10000.0) / half * index)
    return torch.cat((phase.cos(), phase.sin()), -1)


class ResBlock(nn.Module):
    """Two 3x3 convolutions with the time embedding added between them."""

    def __init__(self, inputs: int, outputs: int, time_width: int, groups: int) -> None:
        super().__init__()
        self.norm1 = nn.GroupNorm(groups, inputs)
        self.conv1 = Conv2d(inputs, outputs, 3, padding=1)
        self.time = Linear(time_width, outputs)
        self.norm2 = nn.GroupNorm(groups, outputs)
        self.conv2 = Conv2d(outputs, outputs, 3, padding=1)
        # a 1x1 convolution, as the matrix that it is
        self.skip = Linear(inputs, outputs) if inputs != outputs else None

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        """Map ``[B, inputs, H, W]`` to ``[B, outputs, H, W]``; ``time`` is ``[B, time_width]``."""
        hidden = self.conv1(F.silu(self.norm1(x), inplace=True))
        hidden = hidden + self.time(F.silu(time))[..., None, None]
        hidden = self.conv2(F.silu(self.norm2(hidden), inplace=True))
        if self.skip is not None:
            x = self.skip(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        return x + hidden


class CrossAttention(nn.Module):
    """Multi-head attention whose keys and values may come from elsewhere, and be kept."""

    def __init__(self, width: int, context_width: int, head_width: int) -> None:
        super().__init__()
        self.num_heads = width // head_width
        self.query = Linear(width, width, bias=False)
        self.key = Linear(context_width, width, bias=False)
        self.value = Linear(context_width, width, bias=False)
        self.out = Linear(width, width)

    def _heads(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.num_heads, -1)).transpose(1, 2)

    def project(self, context: Tensor) -> KeyValue:
        """Return keys and values of ``context`` ``[B, T, context_width]``."""
        return self._heads(self.key(context)), self._heads(self.value(context))

    def forward(self, x: Tensor, keys: KeyValue | None = None) -> Tensor:
        """Attend from ``x`` ``[B, L, width]`` to ``keys``, or to itself."""
        key, value = self.project(x) if keys is None else keys
        mixed = attention(self._heads(self.query(x)), key, value)
        return self.out(mixed.transpose(1, 2).flatten(2))


class SpatialTransformer(nn.Module):
    """One transformer block over all latent positions, with a residual around it."""

    def __init__(self, width: int, context_width: int, config: UNetConfig) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(config.norm_groups, width, eps=1e-6)
        self.proj_in = Linear(width, width)
        self.norm1 = nn.LayerNorm(width)
        self.attention1 = CrossAttention(width, width, config.head_width)
        self.norm2 = nn.LayerNorm(width)
        self.attention2 = CrossAttention(width, context_width, config.head_width)
        self.norm3 = nn.LayerNorm(width)
        self.up = Linear(width, 8 * width)
        self.down = Linear(4 * width, width)
        self.proj_out = Linear(width, width)

    def forward(self, x: Tensor, keys: KeyValue | None = None) -> Tensor:
        """Map ``[B, width, H, W]`` to itself; without ``keys`` both attentions look inwards."""
        # [B, width, H, W] -> [B, H * W, width], a view when x is channels_last
        tokens = self.proj_in(self.norm(x).permute(0, 2, 3, 1).flatten(1, 2))
        tokens = tokens + self.attention1(self.norm1(tokens))
        tokens = tokens + self.attention2(self.norm2(tokens), keys)
        tokens = self.proj_out(tokens + self.down(self.up.geglu(self.norm3(tokens))))
        return x + tokens.unflatten(1, x.shape[2:]).permute(0, 3, 1, 2)


class Stage(nn.Module):
    """A residual block, at coarse levels two transformers, and perhaps a change of resolution."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        config: UNetConfig,
        *,
        time_width: int,
        context_width: int | None,
        upsample: bool = False,
    ) -> None:
        super().__init__()
        self.res = ResBlock(inputs, outputs, time_width, config.norm_groups)
        self.has_attention = context_width is not None
        if context_width is not None:
            self.self_transformer = SpatialTransformer(outputs, outputs, config)
            self.cross_transformer = SpatialTransformer(outputs, context_width, config)
        self.upsample = UpsampleConv2d(outputs, outputs, 3, padding=1) if upsample else None

    def forward(self, x: Tensor, time: Tensor, keys: KeyValue | None) -> Tensor:
        """Map ``[B, inputs, H, W]`` to ``[B', outputs, H', W']``; ``B'`` is that of the keys."""
        x = self.res(x, time)
        if self.has_attention:
            assert keys is not None
            x = _match_batch(self.self_transformer(x), len(keys[0]))
            x = self.cross_transformer(x, keys)
        if self.upsample is not None:
            x = self.upsample(x)
        return x


def _match_batch(x: Tensor, batch: int) -> Tensor:
    """Repeat the items of ``x`` as a whole until there are ``batch``."""
    # not Tensor.repeat, which loses the channels_last layout
    return x if len(x) == batch else torch.cat([x] * (batch // len(x)))


class UNet(nn.Module):
    """Predicts the velocity ``v`` (arXiv 2202.00512) of a noisy latent."""

    def __init__(self, config: UNetConfig, context_width: int) -> None:
        super().__init__()
        self.config = config
        self.context_width = context_width
        time_width = 4 * config.channels
        self.time_in = Linear(config.channels, time_width)
        self.time_out = Linear(time_width, time_width)
        self.conv_in = Conv2d(config.latent_channels, config.channels, 3, padding=1)
        widths = [config.channels * multiplier for multiplier in config.multipliers]
        skips = self._build_down(widths, time_width)
        self.middle = self._stage(widths[-1], widths[-1], len(widths) - 1, time_width, always=True)
        self.middle_out = ResBlock(widths[-1], widths[-1], time_width, config.norm_groups)
        self._build_up(widths, skips, time_width)
        self.norm_out = nn.GroupNorm(config.norm_groups, widths[0])
        self.conv_out = Conv2d(widths[0], config.latent_channels, 3, padding=1)

    def _stage(
        self,
        inputs: int,
        outputs: int,
        level: int,
        time_width: int,
        *,
        always: bool = False,
        upsample: bool = False,
    ) -> Stage:
        attends = always or 2**level in self.config.attention_downsampling
        return Stage(
            inputs,
            outputs,
            self.config,
            time_width=time_width,
            context_width=self.context_width if attends else None,
            upsample=upsample,
        )

    def _build_down(self, widths: Sequence[int], time_width: int) -> list[int]:
        """Build the encoder half; return the widths of the skip connections."""
        self.down = nn.ModuleList()
        current, skips = widths[0], [widths[0]]
        for level, width in enumerate(widths):
            for _ in range(self.config.num_res_blocks):
                self.down.append(self._stage(current, width, level, time_width))
                current = width
                skips.append(current)
            if level < len(widths) - 1:
                self.down.append(Conv2d(current, current, 3, stride=2, padding=1))
                skips.append(current)
        return skips

    def _build_up(self, widths: Sequence[int], skips: list[int], time_width: int) -> None:
        """Build the decoder half, which consumes ``skips`` from the end."""
        self.up = nn.ModuleList()
        current = widths[-1]
        last = self.config.num_res_blocks
        for level, width in reversed(list(enumerate(widths))):
            for index in range(last + 1):
                upsample = level > 0 and index == last
                inputs = current + skips.pop()
                self.up.append(self._stage(inputs, width, level, time_width, upsample=upsample))
                current = width

    def _attending(self) -> list[Stage]:
        """Return the stages with cross-attention, in the order of ``forward``."""
        stages = [*self.down, self.middle, *self.up]
        return [item for item in stages if isinstance(item, Stage) and item.has_attention]

    def project_context(self, context: Tensor) -> list[KeyValue]:
        """Return the keys and values of every cross-attention for ``context`` ``[B, T, width]``."""
        return [item.cross_transformer.attention2.project(context) for item in self._attending()]

    def forward(self, x: Tensor, timesteps: Tensor, keys: Sequence[KeyValue]) -> Tensor:
        """Return the velocity, ``[B', channels, time, frequency]``.

        Args:
            x: Noisy latents ``[B, channels, time, frequency]``.
            timesteps: ``[B]`` (or ``[1]``), on the scale of training (1 to 999); may be fractional.
            keys: From ``project_context``, for ``B'`` items, a multiple of ``B``: the latents are
                repeated (as a whole) where the first of them is used, so a guidance pair shares
                all that comes before.
        """
        time = timestep_embedding(timesteps, self.config.channels)
        time = self.time_out(F.silu(self.time_in(time)))
        batch = len(keys[0][0])
        if len(time) not in (1, len(x), batch):
            raise ValueError(f"{len(time)} timesteps for {len(x)} latents")
        left = list(keys)
        x = self.conv_in(x)
        skips = [x]
        for layer in self.down:
            x = layer(x) if isinstance(layer, nn.Conv2d) else self._run(layer, x, time, left)
            skips.append(x)
        x = self._run(self.middle, x, time, left)
        x = self.middle_out(x, _match_time(time, len(x)))
        for layer in self.up:
            skip = _match_batch(skips.pop(), len(x))
            x = self._run(layer, torch.cat((x, skip), 1), time, left)
        return self.conv_out(F.silu(self.norm_out(x), inplace=True))

    def _run(self, stage: nn.Module, x: Tensor, time: Tensor, left: list[KeyValue]) -> Tensor:
        """Run one stage with the next of the keys that are ``left``, if it needs them."""
        assert isinstance(stage, Stage)
        keys = left.pop(0) if stage.has_attention else None
        return stage(x, _match_time(time, len(x)), keys)


def _match_time(time: Tensor, batch: int) -> Tensor:
    """Bring the time embedding to ``batch`` rows (one row is broadcast)."""
    return time if len(time) in (1, batch) else _match_batch(time, batch)
