"""Tokens to waveform without seams: overlapping windows are denoised as one latent.

Neighbouring windows share 1/16 of their length. There they see the same noise, and at every step
their predicted velocities are cross-faded into one (MultiDiffusion, arXiv 2302.08113), so that they
agree on the overlap throughout. ``joint_windows`` windows run together; the next group takes over
the velocities that the last one had in the overlap, which keeps memory flat in the length of a
file. The log-mel of all windows is joined before the vocoder, which runs over it in blocks with
enough context that its blocks do not show.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise

import torch
from torch import Tensor

from semanticodec.config import SemantiCodecConfig
from semanticodec.diffusion.denoiser import GuidedDenoiser
from semanticodec.diffusion.sampler import sample
from semanticodec.diffusion.schedule import NoiseLevel, make_ladder
from semanticodec.lanes import rounds, side_by_side
from semanticodec.model import SemantiCodecModel
from semanticodec.settings import DecodeSettings, Execution
from semanticodec.vocoder import Vocoder

MAX_WINDOWS = 32  # in flight, over all files of a batch: bounds the memory for their conditions
WAVEFORM_STEPS = 11  # VAE and vocoder take about as long as so many steps of the denoiser

Progress = Callable[[float], None]
"""Is told, as it is done, what share of the whole work was done since the last call."""


@dataclass(frozen=True)
class Layout:
    """Where decoded windows lie, in tokens, latent steps and mel frames."""

    positions: int  # of one window
    overlap_positions: int
    latent_overlap: int
    mel_overlap: int

    @staticmethod
    def of(config: SemantiCodecConfig) -> Layout:
        """Return the layout with an overlap of 1/16 window, at least one column."""
        columns, bands = config.grid
        overlap = max(1, columns // 16)
        return Layout(
            config.positions,
            overlap * bands,
            overlap * config.latent_shape[1] // columns,
            overlap * config.audiomae.num_frames // columns,
        )

    def windows(self, tokens: Tensor) -> list[Tensor]:
        """Cut tokens ``[L, 2]`` into overlapping windows ``[<= positions, 2]``."""
        hop = self.positions - self.overlap_positions
        count = max(1, -(-(len(tokens) - self.overlap_positions) // hop))
        return [tokens[start * hop : start * hop + self.positions] for start in range(count)]


class NoiseField:
    """Noise as a function of seed, time and step: the same in every window and every batch."""

    def __init__(self, seed: int, config: SemantiCodecConfig, overlap: int) -> None:
        self.seed = seed
        channels, steps, width = config.latent_shape
        self.shape = channels, steps - overlap, width
        self.overlap = overlap

    def _block(self, index: int, step: int) -> Tensor:
        """Return the noise of a window up to where it begins to share time with the next."""
        generator = torch.Generator()
        generator.manual_seed(_mix(self.seed, index, step))
        return torch.randn(self.shape, generator=generator)

    def window(self, index: int, step: int) -> Tensor:
        """Return the noise of a window at a step (0: the start), ``[channels, time, width]``."""
        ahead = self._block(index + 1, step)[:, : self.overlap]
        return torch.cat((self._block(index, step), ahead), 1)


def _mix(*values: int) -> int:
    """Hash integers into a 63-bit seed (the finalizer of SplitMix64 after each)."""
    state = 0
    for value in values:
        state = (state + value + 0x9E3779B97F4A7C15) & 0xFFFFFFFFFFFFFFFF
        state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & 0xFFFFFFFFFFFFFFFF
        state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & 0xFFFFFFFFFFFFFFFF
        state ^= state >> 31
    return state >> 1


def cross_fade(first: Tensor, second: Tensor, axis: int) -> Tensor:
    """Fade linearly from ``first`` to ``second`` along an axis; the ends lie just outside."""
    length = first.shape[axis]
    ramp = torch.arange(1, length + 1, device=first.device, dtype=first.dtype) / (length + 1)
    shape = [1] * first.dim()
    shape[axis] = length
    return torch.lerp(first, second, ramp.reshape(shape))


class VocoderStream:
    """Runs the vocoder over blocks of a long log-mel as if over the whole."""

    def __init__(self, vocoder: Vocoder, num_samples: int) -> None:
        self.vocoder = vocoder
        self.left = num_samples  # samples still to come
        self.context = vocoder.context_frames
        self.buffer: Tensor | None = None
        self.done = 0  # frames of the buffer whose samples are out already

    def push(self, mel: Tensor, final: bool, lanes: int) -> Tensor:
        """Take frames ``[n, mels]``; return the samples that are certain now."""
        buffer = mel if self.buffer is None else torch.cat((self.buffer, mel))
        hop = self.vocoder.config.hop_samples
        needed = self.done - (-self.left // hop) + self.context
        buffer = buffer[:needed]
        ready = len(buffer) if final else len(buffer) - self.context
        if ready <= self.done:
            self.buffer = buffer
            return mel.new_zeros(0)
        count = min(lanes, ready - self.done)
        ends = [self.done + (ready - self.done) * part // count for part in range(count + 1)]
        pieces = side_by_side(partial(self._samples, buffer), list(pairwise(ends)))
        samples = torch.cat(pieces)[: self.left]
        keep = max(0, ready - self.context)
        self.buffer, self.done = buffer[keep:], ready - keep
        self.left -= len(samples)
        return samples

    def _samples(self, buffer: Tensor, frames: tuple[int, int]) -> Tensor:
        """Return the samples of a range of frames."""
        first, end = frames
        start = max(0, first - self.context)
        hop = self.vocoder.config.hop_samples
        samples = self.vocoder(buffer[None, start : end + self.context])
        return samples[0, (first - start) * hop : (end - start) * hop].float()


@dataclass
class DecodeItem:
    """One signal on its way from tokens to samples."""

    windows: list[Tensor]
    noise: NoiseField
    vocoder: VocoderStream
    next_window: int = 0
    velocities: list[Tensor] | None = None  # of the overlap with the group before, per step
    mel_tail: Tensor | None = None

    def take(self, count: int) -> range:
        """Claim the next ``count`` windows, as far as there are any."""
        start = self.next_window
        self.next_window = min(start + count, len(self.windows))
        return range(start, self.next_window)

    @property
    def is_done(self) -> bool:
        """Whether all windows have been taken."""
        return self.next_window >= len(self.windows)

    def join(self, mels: Sequence[Tensor], overlap: int, final: bool) -> Tensor:
        """Append the log-mel of windows; return the samples they settle.

        Args:
            mels: For each lane ``[W, frames, mels]``.
            overlap: Frames that windows share.
            final: Whether the last of them is the signal's last.
        """
        pieces = []
        for mel in torch.cat(list(mels)):
            if self.mel_tail is not None:
                pieces.append(cross_fade(self.mel_tail, mel[:overlap], 0))
                mel = mel[overlap:]
            pieces.append(mel[:-overlap])
            self.mel_tail = mel[-overlap:]
        if final and self.mel_tail is not None:
            pieces.append(self.mel_tail)
        return self.vocoder.push(torch.cat(pieces), final, len(mels))


@dataclass
class _Group:
    """Windows of several items that are denoised together."""

    items: list[DecodeItem]
    spans: list[range]  # windows of each item
    offsets: list[int] = field(init=False)  # where each item's windows start in the group

    def __post_init__(self) -> None:
        sizes = [len(span) for span in self.spans]
        self.offsets = [sum(sizes[:index]) for index in range(len(sizes))]

    def tokens(self) -> list[Tensor]:
        """Return the tokens of all windows."""
        pairs = zip(self.items, self.spans, strict=True)
        return [item.windows[index] for item, span in pairs for index in span]

    def noise(self, step: int, device: torch.device) -> Tensor:
        """Return the noise of all windows at a step."""
        pairs = zip(self.items, self.spans, strict=True)
        windows = [item.noise.window(index, step) for item, span in pairs for index in span]
        return torch.stack(windows).to(device)


class JointDenoiser:
    """Makes the velocities of overlapping windows agree."""

    def __init__(self, denoise: GuidedDenoiser, group: _Group, overlap: int) -> None:
        self.denoise = denoise
        self.group = group
        self.overlap = overlap
        self.incoming = [item.velocities for item in group.items]
        self.outgoing: list[list[Tensor]] = [[] for _ in group.items]

    def __call__(self, x: Tensor, level: NoiseLevel) -> Tensor:
        """Return the joint velocity of latents ``[W, channels, time, frequency]``."""
        velocity = self.denoise(x, level)
        for number, (start, span) in enumerate(
            zip(self.group.offsets, self.group.spans, strict=True)
        ):
            self._agree(velocity[start : start + len(span)], number)
        return velocity

    def _agree(self, velocity: Tensor, number: int) -> None:
        """Unite the overlaps of one item's windows, in place, and with the group before."""
        overlap = self.overlap
        heads, tails = velocity[:, :, :overlap], velocity[:, :, -overlap:]
        incoming = self.incoming[number]
        if incoming is not None:
            heads[0] = incoming[len(self.outgoing[number])]
        united = cross_fade(tails[:-1], heads[1:], 2)
        tails[:-1] = united
        heads[1:] = united
        self.outgoing[number].append(tails[-1].clone())

    def hand_over(self) -> None:
        """Leave the velocities of each item's last overlap for its next group."""
        for item, velocities in zip(self.group.items, self.outgoing, strict=True):
            item.velocities = velocities


class Decoder:
    """Decodes several token streams at once, block by block."""

    def __init__(
        self,
        model: SemantiCodecModel,
        settings: DecodeSettings,
        execution: Execution,
        progress: Progress | None = None,
    ) -> None:
        self.model = model
        self.settings = settings
        self.execution = execution
        self.layout = Layout.of(model.config)
        self.ladder = make_ladder(model.alpha_bars, settings.num_steps, settings.spacing)
        self.progress = progress
        self.work = 0  # in all, in steps of one window

    def item(self, tokens: Tensor, num_samples: int, seed: int) -> DecodeItem:
        """Prepare tokens ``[L, 2]`` of a signal of ``num_samples`` at the model's rate."""
        noise = NoiseField(seed, self.model.config, self.layout.latent_overlap)
        vocoder = VocoderStream(self.model.vocoder, num_samples)
        return DecodeItem(self.layout.windows(tokens), noise, vocoder)

    def run(self, items: Sequence[DecodeItem]) -> Iterator[tuple[int, Tensor]]:
        """Yield ``(item number, samples [n])`` in order of time for each item."""
        waiting = list(enumerate(items))
        per_window = len(self.ladder) - 1 + WAVEFORM_STEPS
        self.work = per_window * sum(len(item.windows) for item in items)
        while waiting:
            group, numbers = self._next_group(waiting)
            for index, samples in self._decode_group(group):
                yield numbers[index], samples
            waiting = [(number, item) for number, item in waiting if not item.is_done]

    def _next_group(self, waiting: list[tuple[int, DecodeItem]]) -> tuple[_Group, list[int]]:
        items: list[DecodeItem] = []
        spans: list[range] = []
        numbers = []
        for number, item in waiting:
            if items and sum(map(len, spans)) + self.settings.joint_windows > MAX_WINDOWS:
                break
            items.append(item)
            spans.append(item.take(self.settings.joint_windows))
            numbers.append(number)
        return _Group(items, spans), numbers

    def _decode_group(self, group: _Group) -> Iterator[tuple[int, Tensor]]:
        latents = self._denoise(group)
        for number, (item, start, span) in enumerate(
            zip(group.items, group.offsets, group.spans, strict=True)
        ):
            done = span.start
            for mels in self._mels(latents[start : start + len(span)]):
                done += sum(map(len, mels))
                final = done == len(item.windows)
                yield number, item.join(mels, self.layout.mel_overlap, final)

    def _denoise(self, group: _Group) -> Tensor:
        model = self.model
        context = torch.cat([model.condition(tokens[None]) for tokens in group.tokens()])
        # accelerators gain from full calls, whosever windows they are
        signals = [len(span) for span in group.spans] if model.device.type == "cpu" else None
        guided = GuidedDenoiser(model, context, self.settings, self.execution, signals)
        denoise = JointDenoiser(guided, group, self.layout.latent_overlap)
        latents = group.noise(0, model.device)
        steps = sample(
            self.settings.sampler,
            denoise,
            latents,
            self.ladder,
            lambda step: group.noise(step, model.device),
            self.settings.eta,
        )
        for latents in steps:
            self._report(len(latents))
        denoise.hand_over()
        return latents

    def _mels(self, latents: Tensor) -> Iterator[list[Tensor]]:
        """Yield the log-mel of a few windows at a time, for each lane ``[W, frames, mels]``."""
        size, lanes = self.execution.waveform_windows, self.execution.lanes_on(latents.device)
        for parts in rounds(len(latents), size, lanes):
            mels = side_by_side(lambda part: self.model.vae(latents[part]).float(), parts)
            yield mels
            self._report(WAVEFORM_STEPS * sum(map(len, mels)))

    def _report(self, work: int) -> None:
        if self.progress is not None:
            self.progress(work / self.work)
