"""The codec under test, with what several checks look at computed once."""

import time
from collections.abc import Sequence
from functools import cached_property

import numpy as np

from codec_zoo.base import Codec, CodecSpec, Encoded, Wave
from codec_zoo.conformance import signals
from codec_zoo.conformance.isolation import Outcome, decode_elsewhere
from codec_zoo.conformance.signals import Signal
from codec_zoo.registry import CodecId, codec_class, create, parse_codec_id

#: At what rate a codec that takes any rate is tested, Hz.
ANY_RATE = 24000
#: Seconds the fresh process may take to start and load weights.
START_S = 120.0


class CheckFailedError(Exception):
    """The codec does not do what the contract asks; the text says what came instead."""


class CheckSkippedError(Exception):
    """The check does not apply to this codec; the text says why."""


class Subject:
    """A codec under test.

    Args:
        codec_id: Of the codec; ``module:Class[@point]`` for one that is not registered.
        longest_s: Length of the very long input, seconds.
        patience_s: Expected time above which a check is skipped, seconds.
    """

    def __init__(self, codec_id: str, *, longest_s: float = 60.0, patience_s: float = 60.0) -> None:
        self.codec_id = codec_id
        self.longest_s = longest_s
        self.patience_s = patience_s

    @cached_property
    def parts(self) -> CodecId:
        """The codec id taken apart."""
        return parse_codec_id(self.codec_id)

    @cached_property
    def codec(self) -> Codec:
        """The instance that most checks share."""
        return self.fresh()

    def fresh(self) -> Codec:
        """Return a new instance."""
        return create(self.codec_id)

    def family_ids(self) -> tuple[str, ...]:
        """Return the ids of all usual points of this codec's family."""
        points = codec_class(self.parts.family).points
        return tuple(f"{self.parts.family}@{point}" for point in points)

    @property
    def spec(self) -> CodecSpec:
        """Of the shared instance."""
        return self.codec.spec

    @property
    def sample_rate(self) -> int:
        """At which the codec is tested, Hz."""
        return self.spec.sample_rate or ANY_RATE

    @property
    def frame_samples(self) -> int:
        """By how many samples an output may be longer than its input."""
        if self.spec.frame_rate is None:
            return round(0.2 * self.sample_rate)
        return int(np.ceil(self.sample_rate / self.spec.frame_rate))

    def wave(self, signal: Signal) -> Wave:
        """Return a signal ``[N]`` in as many channels as the codec takes."""
        channels = self.spec.channels or 1
        return np.repeat(signal[None].astype(np.float32), channels, axis=0)

    def speech(self, seconds: float, seed: int = 0) -> Wave:
        """Return a speech-like signal in the codec's channels."""
        return self.wave(signals.speech_like(self.sample_rate, seconds, seed))

    def music(self, seconds: float, seed: int = 0) -> Wave:
        """Return a music-like signal in the codec's channels."""
        return self.wave(signals.music_like(self.sample_rate, seconds, seed))

    def round_trip(self, wave: Wave, seed: int = 0) -> Wave:
        """Encode and decode, and see that what comes is audio."""
        return self.audio(self.codec.decode(self.codec.encode(wave).payload, seed=seed))

    def audio(self, wave: object) -> Wave:
        """Return ``wave`` if it is float32 ``[C, N]``, finite, with the right channels.

        Raises:
            CheckFailedError: If it is not.
        """
        if not isinstance(wave, np.ndarray) or wave.dtype != np.float32 or wave.ndim != 2:
            got = f"{wave.dtype} {list(wave.shape)}" if isinstance(wave, np.ndarray) else type(wave)
            raise CheckFailedError(f"decode gives {got}, expected a numpy float32 [C, N]")
        if wave.shape[1] == 0 or (self.spec.channels or wave.shape[0]) != wave.shape[0]:
            raise CheckFailedError(
                f"decode gives shape {list(wave.shape)}, expected {self.spec.channels} channel(s)"
            )
        if not np.isfinite(wave).all():
            raise CheckFailedError("decode gives NaN or infinity")
        return wave

    # Computed once, looked at by several checks.

    @cached_property
    def speech_4s(self) -> tuple[Wave, Wave]:
        """Four seconds of speech and what became of it."""
        wave = self.speech(4.0)
        return wave, self.round_trip(wave)

    @cached_property
    def speed(self) -> float:
        """Seconds of work for one second of audio, without the first call."""
        wave = self.speech(1.0)
        self.round_trip(wave)
        start = time.perf_counter()
        self.round_trip(wave)
        return time.perf_counter() - start

    @cached_property
    def lengths(self) -> tuple[int, ...]:
        """Awkward numbers of samples around 0.3 s, some a sample off a number of frames."""
        base = round(0.3 * self.sample_rate)
        found = {base, base + 1, base + 97, base + 331}
        if self.spec.frame_rate is not None:
            frame = self.sample_rate / self.spec.frame_rate
            whole = round(np.ceil(base / frame) * frame)
            found |= {whole - 1, whole, whole + 1, whole + round(0.75 * frame)}
        return tuple(sorted(found))

    @cached_property
    def steady(self) -> list[tuple[Wave, Wave]]:
        """A steady sound of each of :attr:`lengths`, and what became of it."""
        waves = [self.wave(signals.steady(self.sample_rate, count)) for count in self.lengths]
        return [(wave, self.round_trip(wave)) for wave in waves]

    @cached_property
    def two_clips(self) -> tuple[tuple[Wave, Encoded], tuple[Wave, Encoded]]:
        """A loud clip of speech and a soft one of music, equally long, encoded in this order."""
        loud, soft = 2 * self.speech(1.5, seed=1), np.float32(0.25) * self.music(1.5, seed=2)
        return (loud, self.codec.encode(loud)), (soft, self.codec.encode(soft))

    def elsewhere(self, payloads: Sequence[bytes]) -> list[Outcome]:
        """Decode in a fresh process."""
        work_s = 10 * self.speed * 1.5 * len(payloads)
        return decode_elsewhere(self.codec_id, payloads, timeout_s=START_S + work_s)
