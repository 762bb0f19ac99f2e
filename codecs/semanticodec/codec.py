"""The codec: audio to tokens and back, for files, arrays, batches and streams.

The default mode gives back exactly as many samples as went in, at any sample rate, seeded; with
``compat="released"`` every number and every quirk is that of the released code (``released.py``).
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import replace
from functools import cached_property
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from semanticodec import audio, encoding, released
from semanticodec.checkpoint import codebook_hash
from semanticodec.config import SemantiCodecConfig
from semanticodec.decoding import DecodeItem, Decoder, Progress
from semanticodec.errors import TokenError
from semanticodec.hub import load_model
from semanticodec.identity import Codes, Identity
from semanticodec.layers import set_fast
from semanticodec.model import SemantiCodecModel
from semanticodec.settings import DecodeSettings, Execution, autocast_dtype, preset
from semanticodec.tokens import Tokens


class SemantiCodec:
    """Encoder and decoder at one operating point.

    ``SemantiCodec(token_rate=100, semantic_vocab_size=16384)`` works as in the released package;
    ``SemantiCodec.load`` and ``SemantiCodec.from_model`` say more directly what is meant.

    Args:
        token_rate: 25, 50 or 100 tokens/s.
        semantic_vocab_size: 4096, 8192, 16384 or 32768.
        ddim_sample_step: Denoising steps; None: those of ``settings``.
        cfg_scale: Guidance scale; None: that of ``settings``.
        checkpoint_path: Local file or folder, or Hugging Face id; None: the released repository.
        cache_path: Of the Hub's client; None: its own default.
        settings: How to decode, or the name of a preset.
        execution: How to lay out the work.
        compat: ``"released"`` for the released code's numbers, None to have its faults mended.
        device: Where to run.
        model: A network that is there already; the arguments about weights are then unused.

    Raises:
        CheckpointError: If the weights cannot be had.
        ValueError: If an argument is not one of the possible ones.
    """

    def __init__(
        self,
        token_rate: int = 100,
        semantic_vocab_size: int = 16384,
        ddim_sample_step: int | None = None,
        cfg_scale: float | None = None,
        checkpoint_path: str | os.PathLike[str] | None = None,
        cache_path: str | os.PathLike[str] | None = None,
        *,
        settings: DecodeSettings | str | None = None,
        execution: Execution | None = None,
        compat: str | None = None,
        device: str | torch.device = "cpu",
        model: SemantiCodecModel | None = None,
    ) -> None:
        if compat not in (None, "released"):
            raise ValueError(f"compat must be None or 'released', got {compat!r}")
        if model is None:
            model = load_model(
                checkpoint_path, token_rate, semantic_vocab_size, cache_dir=cache_path
            )
        self.compat = compat
        self.settings = _settings(model, settings, compat, ddim_sample_step, cfg_scale)
        self.execution = execution or Execution()
        self.model = model
        self.to(device)

    @classmethod
    def from_model(cls, model: SemantiCodecModel, **options: Any) -> Self:
        """Return a codec around a network; options as in the constructor."""
        return cls(model=model, **options)

    @classmethod
    def load(
        cls,
        source: str | os.PathLike[str] | None = None,
        token_rate: int = 100,
        semantic_vocab_size: int = 16384,
        *,
        revision: str | None = None,
        cache_dir: str | os.PathLike[str] | None = None,
        config: SemantiCodecConfig | None = None,
        verify: bool = False,
        **options: Any,
    ) -> Self:
        """Load weights (see ``hub.load_model``) and return a codec; options as above."""
        model = load_model(
            source,
            token_rate,
            semantic_vocab_size,
            revision=revision,
            cache_dir=cache_dir,
            config=config,
            verify=verify,
        )
        return cls(model=model, **options)

    def to(self, device: str | torch.device) -> Self:
        """Move everything, codebooks included, to a device."""
        self.model.to(device)
        layout = torch.channels_last if self.execution.channels_last else torch.contiguous_format
        for part in (self.model.unet, self.model.vae):
            part.to(memory_format=layout)  # type: ignore[call-overload]
        set_fast(self.model, self.execution.fast_layers)
        if self.execution.compiler is not None:
            for part in (self.model.unet, self.model.vae):
                set_fast(part, False)
                part.compile(backend=self.execution.compiler)
        return self

    @property
    def config(self) -> SemantiCodecConfig:
        """Sizes of the network."""
        return self.model.config

    @property
    def sample_rate(self) -> int:
        """Of what the network hears and makes, Hz."""
        return self.config.sample_rate

    @property
    def frame_rate(self) -> float:
        """Token positions per second."""
        return self.config.frame_rate

    @property
    def token_rate(self) -> float:
        """Tokens per second, both streams together."""
        return self.config.token_rate

    @property
    def codebook_sizes(self) -> tuple[int, int]:
        """Entries of the semantic and the acoustic codebook."""
        return self.config.codebook_sizes

    @property
    def nominal_kbps(self) -> float:
        """Bitrate of the tokens before entropy coding."""
        return self.config.nominal_kbps

    @cached_property
    def identity(self) -> Identity:
        """What streams say about this model."""
        return Identity(self.config, codebook_hash(self.model))

    @property
    def weights_hash(self) -> bytes:
        """Eight bytes that name the codebooks; a stream is decoded only by its own."""
        return self.identity.weights_hash

    # ---- encoding

    def encode(
        self,
        source: audio.AudioSource,
        sample_rate: int | None = None,
        *,
        per_channel: bool = False,
        seed: int = 0,
    ) -> Tokens:
        """Encode one signal.

        Args:
            source: A path or binary file, or samples ``[N]`` or ``[channels, N]`` in [-1, 1].
            sample_rate: Of samples, Hz; a file knows its own.
            per_channel: Code every channel on its own instead of their mean.
            seed: Kept with the tokens; the decoder's noise will depend on it.

        Raises:
            AudioError: If the audio is empty, not finite, of a wrong shape or unreadable.
        """
        if self.compat == "released":
            return self._encode_released(source, sample_rate, seed)
        blocks = audio.AudioBlocks(source, sample_rate)
        channels = blocks.channels if per_channel else 1
        cutters = [encoding.WindowCutter(self.model) for _ in range(channels)]
        origin: list[int] = []
        windows = self._windows(blocks, cutters, per_channel, origin)
        coded = list(encoding.encode_windows(self.model, windows, self.execution))
        return self._gather(coded, origin, blocks, channels, seed)

    def encode_batch(
        self,
        sources: Sequence[audio.AudioSource],
        sample_rate: int | None = None,
        *,
        per_channel: bool = False,
        seeds: Sequence[int] | None = None,
    ) -> list[Tokens]:
        """Encode several signals, their windows running together; arguments as in ``encode``."""
        seeds = _seeds(seeds, len(sources))
        if self.compat == "released":
            pairs = zip(sources, seeds, strict=True)
            return [self._encode_released(source, sample_rate, seed) for source, seed in pairs]
        inputs = [audio.AudioBlocks(source, sample_rate) for source in sources]
        channels = [item.channels if per_channel else 1 for item in inputs]
        origins: list[list[int]] = [[] for _ in inputs]

        def windows() -> Iterator[Tensor]:
            for blocks, count, origin in zip(inputs, channels, origins, strict=True):
                cutters = [encoding.WindowCutter(self.model) for _ in range(count)]
                yield from self._windows(blocks, cutters, per_channel, origin)

        coded = list(encoding.encode_windows(self.model, windows(), self.execution))
        results, start = [], 0
        for blocks, count, origin, seed in zip(inputs, channels, origins, seeds, strict=True):
            own = coded[start : start + len(origin)]
            start += len(origin)
            results.append(self._gather(own, origin, blocks, count, seed))
        return results

    def _windows(
        self,
        blocks: audio.AudioBlocks,
        cutters: Sequence[encoding.WindowCutter],
        per_channel: bool,
        origin: list[int],
    ) -> Iterator[Tensor]:
        """Yield mel windows of all channels, noting in ``origin`` which channel each is of."""
        with torch.inference_mode():
            for block in audio.mix(audio.resample_blocks(blocks, self.sample_rate), per_channel):
                samples = audio.to_tensor(block, self.model.device)
                for channel, cutter in enumerate(cutters):
                    for window in cutter.push(samples[channel]):
                        origin.append(channel)
                        yield window
            for channel, cutter in enumerate(cutters):
                for window in cutter.finish():
                    origin.append(channel)
                    yield window

    def _gather(
        self,
        coded: Sequence[Tensor],
        origin: Sequence[int],
        blocks: audio.AudioBlocks,
        channels: int,
        seed: int,
    ) -> Tokens:
        """Put the windows of one signal together and cut the tokens of the padding."""
        rate, count = blocks.sample_rate, blocks.num_samples
        length = audio.resampled_length(count, rate, self.sample_rate)
        positions = encoding.num_positions(length, self.config)
        rows = [
            torch.cat([tokens for tokens, own in zip(coded, origin, strict=True) if own == channel])
            for channel in range(channels)
        ]
        codes = torch.stack(rows)[:, :positions].cpu()
        return Tokens(codes, self.identity.header(rate, count, channels, seed))

    def _encode_released(
        self, source: audio.AudioSource, sample_rate: int | None, seed: int
    ) -> Tokens:
        blocks = audio.AudioBlocks(source, sample_rate)
        wave = audio.to_tensor(np.concatenate(list(blocks), 1), self.model.device)
        with self._inference(self.execution.encoder_dtype):
            codes = released.encode(
                self.model, wave, blocks.sample_rate, self.execution.encoder_windows
            )
        return Tokens(
            codes.cpu(), self.identity.header(blocks.sample_rate, blocks.num_samples, 1, seed)
        )

    # ---- decoding

    def decode(
        self,
        tokens: Codes,
        *,
        sample_rate: int | None = None,
        seed: int | None = None,
        settings: DecodeSettings | str | None = None,
        progress: Progress | None = None,
    ) -> np.ndarray:
        """Decode one signal.

        Args:
            tokens: ``Tokens``, a ``.smc`` stream, or codes ``[channels, L, 2]``.
            sample_rate: Of the result, Hz; None: the model's own.
            seed: Of the noise; None: that of the tokens.
            settings: In place of the codec's own.
            progress: Is told, step by step, what share of the work was done since it was last
                called; not with ``compat="released"``.

        Returns:
            Samples ``[1, channels, N]`` float32; with ``compat="released"`` of the released length.

        Raises:
            TokenError: If the tokens are not this model's.
            BitstreamError: If a stream cannot be read.
        """
        return self.decode_batch(
            [tokens],
            sample_rate=sample_rate,
            seeds=None if seed is None else [seed],
            settings=settings,
            progress=progress,
        )[0]

    def decode_batch(
        self,
        batch: Sequence[Codes],
        *,
        sample_rate: int | None = None,
        seeds: Sequence[int] | None = None,
        settings: DecodeSettings | str | None = None,
        progress: Progress | None = None,
    ) -> list[np.ndarray]:
        """Decode several signals, their windows running together; arguments as in ``decode``.

        On a CPU a signal's samples do not depend on what else is in the batch; on accelerators
        their last bits do, unless ``execution.windows_per_call`` is 1.
        """
        checked = [self.identity.check(tokens, exact=self.compat is None) for tokens in batch]
        pieces: list[list[Tensor]] = []
        chosen = self._chosen(settings)
        if self.compat == "released":
            waves = [self._decode_released(tokens, chosen, seeds) for tokens in checked]
        else:
            pieces = [[] for tokens in checked for _ in tokens.codes]
            for number, samples in self._run(checked, seeds, chosen, progress):
                pieces[number].append(samples.cpu())
            rows = iter(torch.cat(parts).numpy() for parts in pieces)
            waves = [np.stack([next(rows) for _ in tokens.codes]) for tokens in checked]
        return [
            self._at_rate(wave, tokens, sample_rate)[None]
            for wave, tokens in zip(waves, checked, strict=True)
        ]

    def decode_stream(
        self,
        tokens: Codes,
        *,
        seed: int | None = None,
        settings: DecodeSettings | str | None = None,
    ) -> Iterator[np.ndarray]:
        """Yield samples ``[channels, n]`` at the model's rate, block by block.

        The memory does not grow with the length of the signal; together the blocks are the same
        samples as ``decode`` returns.

        Raises:
            ValueError: With ``compat="released"``, which joins whole files.
        """
        if self.compat == "released":
            raise ValueError('compat="released" cannot stream; decode the whole')
        checked = self.identity.check(tokens, exact=self.compat is None)
        waiting: list[list[Tensor]] = [[] for _ in checked.codes]
        seeds = None if seed is None else [seed]
        for number, samples in self._run([checked], seeds, self._chosen(settings)):
            waiting[number].append(samples.cpu())
            if all(waiting):
                yield torch.stack([parts.pop(0) for parts in waiting]).numpy()

    def _run(
        self,
        batch: Sequence[Tokens],
        seeds: Sequence[int] | None,
        settings: DecodeSettings,
        progress: Progress | None = None,
    ) -> Iterator[tuple[int, Tensor]]:
        """Yield ``(row, samples)``; rows are the channels of all signals in turn."""
        given = [tokens.seed for tokens in batch] if seeds is None else _seeds(seeds, len(batch))
        with self._inference(settings.dtype):
            decoder = Decoder(self.model, settings, self.execution, progress)
            items: list[DecodeItem] = []
            for tokens, seed in zip(batch, given, strict=True):
                length = self.identity.model_length(tokens)
                rows = tokens.codes.to(self.model.device)
                # one seed for all channels: what they have in common stays in common
                items += [decoder.item(row, length, seed) for row in rows]
        stream = decoder.run(items)
        while True:
            with self._inference(settings.dtype):  # never left on while the caller has control
                piece = next(stream, None)
            if piece is None:
                return
            yield piece

    def _decode_released(
        self, tokens: Tokens, settings: DecodeSettings, seeds: Sequence[int] | None
    ) -> np.ndarray:
        if len(tokens.codes) != 1:
            raise TokenError('compat="released" decodes one channel')
        generator = None if seeds is None else torch.Generator().manual_seed(seeds[0])
        with self._inference(settings.dtype):
            codes = tokens.codes.to(self.model.device)
            wave = released.decode(self.model, codes, settings, self.execution, generator)
        return wave[None]

    def _at_rate(self, wave: np.ndarray, tokens: Tokens, sample_rate: int | None) -> np.ndarray:
        """Bring ``[channels, N]`` to the wished rate; at the original's, to its exact length."""
        if sample_rate is None or sample_rate == self.sample_rate:
            return wave
        audio.check_rate(sample_rate)
        same = sample_rate == tokens.sample_rate and self.compat is None
        length = tokens.num_samples if same else None
        return audio.resample(wave, self.sample_rate, sample_rate, length)

    def _chosen(self, settings: DecodeSettings | str | None) -> DecodeSettings:
        return self.settings if settings is None else _settings(self.model, settings, self.compat)

    def _inference(self, dtype_name: str) -> AbstractContextManager[Any]:
        """Return a context without gradients, with autocast if a smaller type is wanted."""
        dtype = autocast_dtype(dtype_name, self.model.device)
        stack = ExitStack()
        stack.enter_context(torch.inference_mode())
        if dtype is not None:
            stack.enter_context(torch.autocast(self.model.device.type, dtype=dtype))
        return stack


def _seeds(seeds: Sequence[int] | None, count: int) -> Sequence[int]:
    if seeds is None:
        return [0] * count
    if len(seeds) != count:
        raise ValueError(f"{len(seeds)} seeds for {count} signals")
    return seeds


def _settings(
    model: SemantiCodecModel,
    settings: DecodeSettings | str | None,
    compat: str | None,
    num_steps: int | None = None,
    guidance_scale: float | None = None,
) -> DecodeSettings:
    """Resolve a preset's name, the default of the mode, and the released package's arguments."""
    if settings is None:
        settings = "released" if compat == "released" else model.default_preset
    if isinstance(settings, str):
        settings = preset(settings, model.presets)
    if num_steps is not None:
        settings = replace(settings, num_steps=num_steps)
    if guidance_scale is not None:
        settings = replace(settings, guidance_scale=guidance_scale)
    return settings
