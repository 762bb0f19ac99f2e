"""The guided denoiser of a set of windows: what a sampler calls at every step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from semanticodec.diffusion.sampler import guide
from semanticodec.diffusion.schedule import NoiseLevel
from semanticodec.diffusion.unet import KeyValue
from semanticodec.lanes import rounds, side_by_side
from semanticodec.layers import prepared
from semanticodec.model import SemantiCodecModel
from semanticodec.settings import DecodeSettings, Execution


@dataclass(frozen=True)
class _Batch:
    """Windows that run in one call, and their conditions."""

    windows: slice
    context: Tensor  # [W, T, width], or [W + 1, ...] with the unconditional one last
    keys: list[KeyValue] | None  # of 2 W items, conditional first; None: project at every step


class GuidedDenoiser:
    """Velocity of latents ``[W, ...]`` under classifier-free guidance.

    The keys and values of the condition do not depend on the step, so they are made once; the two
    predictions of a guidance pair run as one batch and share the layers before the condition.

    Args:
        model: The network.
        context: Conditions of all windows, ``[W, T, width]``.
        settings: How to guide.
        execution: How many windows run in one call, and in how many lanes.
        signals: How many windows, in a row, each signal has; windows of two signals never share a
            call, so that a signal's last bits do not depend on the others. None: all are one's.
    """

    def __init__(
        self,
        model: SemantiCodecModel,
        context: Tensor,
        settings: DecodeSettings,
        execution: Execution,
        signals: Sequence[int] | None = None,
    ) -> None:
        keeps = execution.fast_layers and execution.compiler is None
        self.unet = prepared(model.unet) if keeps else model.unet
        self.settings = settings
        self.execution = execution
        self.empty = model.no_condition()
        lanes = execution.lanes_on(context.device)
        self.rounds: list[list[_Batch]] = []  # of batches that run side by side
        first = 0
        for count in signals or [len(context)]:
            for parts in rounds(count, execution.windows_per_call, lanes):
                windows = [slice(first + part.start, first + part.stop) for part in parts]
                self.rounds.append([self._prepare(context, part) for part in windows])
            first += count

    def _prepare(self, context: Tensor, windows: slice) -> _Batch:
        own = context[windows]
        if not self.execution.cache_keys:
            return _Batch(windows, own, None)
        conditional = self.unet.project_context(own)
        if self.settings.guidance_scale == 1.0:
            return _Batch(windows, own, conditional)
        return _Batch(windows, own, _pair(conditional, self._empty_keys))

    @cached_property
    def _empty_keys(self) -> list[KeyValue]:
        """The keys without a condition, the same for every window."""
        return self.unet.project_context(self.empty)

    def __call__(self, x: Tensor, level: NoiseLevel) -> Tensor:
        """Return the velocity of ``x`` ``[W, channels, time, frequency]``, float32."""
        timestep = torch.tensor([level.timestep], dtype=torch.float32, device=x.device)
        guided = self.settings.is_guided(level.noise_ratio)

        def run(batch: _Batch) -> Tensor:
            return self._run(batch, x[batch.windows], timestep, guided)

        return torch.cat([y for batches in self.rounds for y in side_by_side(run, batches)]).float()

    def _run(self, batch: _Batch, x: Tensor, timestep: Tensor, guided: bool) -> Tensor:
        if not guided:
            return self.unet(x, timestep, self._keys(batch, True))
        if self.execution.batch_guidance:
            keys = batch.keys or _pair(self._keys(batch, True), self._keys(batch, False))
            conditional, unconditional = self.unet(x, timestep, keys).chunk(2)
        else:
            unconditional = self.unet(x, timestep, self._keys(batch, False))
            conditional = self.unet(x, timestep, self._keys(batch, True))
        scale, rescale = self.settings.guidance_scale, self.settings.guidance_rescale
        return guide(conditional.float(), unconditional.float(), scale, rescale)

    def _keys(self, batch: _Batch, conditional: bool) -> list[KeyValue]:
        """Return the keys of one half of the guidance pair."""
        count = len(batch.context)
        if batch.keys is not None:
            half = slice(0, count) if conditional else slice(count, 2 * count)
            return [(key[half], value[half]) for key, value in batch.keys]
        context = batch.context if conditional else self.empty.expand(count, -1, -1)
        return self.unet.project_context(context)


def _pair(first: Sequence[KeyValue], second: Sequence[KeyValue]) -> list[KeyValue]:
    """Stack conditional and unconditional keys along the batch."""
    return [
        (_stack(key, empty_key), _stack(value, empty_value))
        for (key, value), (empty_key, empty_value) in zip(first, second, strict=True)
    ]


def _stack(conditional: Tensor, unconditional: Tensor) -> Tensor:
    return torch.cat((conditional, unconditional.expand_as(conditional)))
