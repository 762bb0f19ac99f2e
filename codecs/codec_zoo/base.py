"""The contract every codec fulfils.

Conventions: a waveform is float32 ``[C, N]`` (channels, samples), nominally in [-1, 1], at the
codec's own sample rate and with the codec's own number of channels; the caller resamples and
mixes. A codec that takes any rate (``sample_rate=None``) or any number of channels
(``channels=None``) gets the clip's own and gives them back; its payload carries the number of
channels, and the rate is known to the caller on both sides. Codes are integers ``[K, T]``
(codebooks, frames). One kilobit is 1000 bit.

A codec id names a codec and its operating point: ``family[@point][:key=value,...]``, for example
``opus@6kbps``, ``lowpass@3500hz``, ``encodec-24khz@6kbps:path=weights/encodec``.
"""

import hashlib
import json
import math
import re
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

Wave = NDArray[np.float32]
Codes = NDArray[np.int64]
Option = str | int | float | bool


class CodecError(Exception):
    """A codec was given something it cannot code or decode; the text is one clear line.

    Attributes:
        reason: What the row's typed reason becomes (a value of ``bench.errors.Reason``).
    """

    reason: ClassVar[str] = "codec_error"


class CodecUnavailableError(CodecError):
    """A package, program or weight file is missing; the text says what to install or fetch."""


@dataclass(frozen=True)
class Encoded:
    """What an encoder gives for one clip.

    Attributes:
        payload: The bytes that would be sent. ``Codec.decode`` gets these and nothing else.
        overhead_bytes: How many of them are container (framing, file header) rather than code;
            they are decoded too, but kept apart from ``measured_kbps`` and reported.
        codes: The integer codes ``[K, T]`` in the payload, where the codec has codebooks.
        recorded: True where the payload only names a file that somebody else decoded, so that
            there is no code to measure.
    """

    payload: bytes
    overhead_bytes: int = 0
    codes: NDArray[np.int64] | None = None
    recorded: bool = False

    def measured_kbps(self, duration_s: float) -> float:
        """Return the kilobits per second of code that ``duration_s`` seconds really cost."""
        return 8 * (len(self.payload) - self.overhead_bytes) / duration_s / 1000


@dataclass(frozen=True)
class TokenStream:
    """The tokens of one codebook in the order in which they are sent.

    Attributes:
        name: Such as ``cb0`` or ``semantic``.
        tokens: Integers ``[n]`` in ``[0, codebook_size)``.
        codebook_size: Entries of the codebook.
    """

    name: str
    tokens: Codes
    codebook_size: int


@dataclass(frozen=True)
class CodecSpec:
    """One codec at one operating point, with everything its numbers depend on.

    Attributes:
        codec_id: The id it was created by, e.g. ``opus@6kbps``.
        sample_rate: Of the waveform that ``encode`` takes and ``decode`` gives, Hz; None where the
            codec does not depend on it, so that the clip needs no resampling.
        channels: Of that waveform; None where any number is taken and given back.
        kind: ``neural``, ``classical`` (signal processing, standards) or ``anchor``.
        nominal_kbps: The bitrate its makers state or its codebooks imply; None where there is no
            such number (an anchor that keeps the samples).
        frame_rate: Code frames per second, Hz; None where frames mean nothing.
        codebook_sizes: Entries of each codebook, length ``K``; empty without codebooks.
        delay_samples: Samples by which the output lags the input (negative: comes early).
            Adapters should compensate their codec's delay, so that this is 0.
        deterministic: False where the output depends on the seed given to ``decode``.
        implementation: What does the work, with its version, e.g. ``libopus in FFmpeg 8.0``.
        version: Of the adapter; raised by every change that moves its output.
        params: Every setting that the output depends on. ``rate_control`` is ``vbr`` where the
            bitrate follows the signal, so that nominal and measured may differ by more than 10 %.
        weights_hash: Hash of the weights; empty without weights.
    """

    codec_id: str
    sample_rate: int | None
    channels: int | None
    kind: Literal["neural", "classical", "anchor"]
    nominal_kbps: float | None
    implementation: str
    version: str = "1"
    frame_rate: float | None = None
    codebook_sizes: tuple[int, ...] = ()
    delay_samples: int = 0
    deterministic: bool = True
    params: Mapping[str, Option] = field(default_factory=dict)
    weights_hash: str = ""

    @property
    def token_rate(self) -> float | None:
        """Tokens per second over all codebooks, or None without codebooks."""
        if self.frame_rate is None or not self.codebook_sizes:
            return None
        return self.frame_rate * len(self.codebook_sizes)

    @property
    def fingerprint(self) -> str:
        """Sixteen hex digits that change when anything the output depends on changes."""
        text = json.dumps(asdict(self), sort_keys=True, default=str)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


class Codec(ABC):
    """One codec at one operating point.

    A subclass is registered by one line in :data:`codec_zoo.registry.BUILTIN` or by an entry
    point of the group ``codecbench.codecs``. It imports third-party packages inside methods, so
    that listing codecs stays cheap.

    Attributes:
        family: The name before the ``@``.
        summary: One line for ``run_bench.py list``.
        points: The operating points it is usually measured at, lowest bitrate first; empty for a
            codec without operating points. Others may be accepted.
        kind: See :class:`CodecSpec`.
        batch_size: How many clips ``encode_batch`` and ``decode_batch`` like to get at once.
        embed_streams: What ``embed`` can give; empty where it gives nothing.
        carries_codes: Whether ``with_codes`` works.
    """

    family: ClassVar[str]
    summary: ClassVar[str]
    points: ClassVar[tuple[str, ...]] = ()
    kind: ClassVar[Literal["neural", "classical", "anchor"]]
    batch_size: int = 1
    embed_streams: ClassVar[tuple[str, ...]] = ()
    carries_codes: ClassVar[bool] = False

    @classmethod
    def unavailable_reason(cls) -> str | None:
        """Return why this codec cannot run here (one line with the remedy), or None if it can."""
        return None

    @abstractmethod
    def __init__(self, point: str = "", *, device: str = "cpu", **options: str) -> None:
        """Build the codec; options come as strings from the codec id.

        Must be cheap, like :attr:`spec`: weights load on first use.

        Raises:
            CodecError: If the point or an option is not one this codec has.
            CodecUnavailableError: If something it needs is missing.
        """

    @property
    @abstractmethod
    def spec(self) -> CodecSpec:
        """What this codec is; constant over its life."""

    @abstractmethod
    def encode(self, wave: Wave) -> Encoded:
        """Encode one waveform ``[C, N]`` of at least one sample at ``spec.sample_rate``."""

    @abstractmethod
    def decode(self, payload: bytes, *, seed: int = 0) -> Wave:
        """Decode a payload, from its bytes alone, to a waveform ``[C, N']``.

        ``N'`` is the length that was encoded, or up to one code frame more; the caller cuts. The
        same seed gives the same waveform.

        Raises:
            CodecError: If the payload is damaged.
        """

    def warm_up(self) -> None:  # noqa: B027 - most codecs have nothing to warm up
        """Do once what makes the first clip slow (load weights, compile), before timing starts."""

    @property
    def unit_s(self) -> float | None:
        """Seconds of input that are coded at a time: a frame, or a window of many; None: unknown.

        Nothing can be heard before that much audio has come in.
        """
        return None if self.spec.frame_rate is None else 1 / self.spec.frame_rate

    def num_parameters(self) -> int | None:
        """Return the parameters of all networks that coding loads; None for a codec without any."""
        return None

    def encode_batch(self, waves: Sequence[Wave]) -> list[Encoded]:
        """Encode several waveforms; each result equals that of ``encode`` alone."""
        return [self.encode(wave) for wave in waves]

    def encode_clips(self, waves: Sequence[Wave], names: Sequence[str]) -> list[Encoded]:
        """Encode clips that go by these names; only a codec of recordings looks at the names."""
        return self.encode_batch(waves)

    def decode_batch(self, payloads: Sequence[bytes], *, seeds: Sequence[int]) -> list[Wave]:
        """Decode several payloads; each result equals that of ``decode`` alone."""
        return [
            self.decode(payload, seed=seed) for payload, seed in zip(payloads, seeds, strict=True)
        ]

    # What follows is optional: it lets probes, token statistics and loss tests look inside.

    @property
    def positions_per_moment(self) -> int:
        """How many neighbours along ``T`` of the codes stand for one moment (its bands)."""
        return 1

    def embed(self, codes: Codes, stream: str = "all") -> NDArray[np.float32]:
        """Return what the quantizer gives the decoder for codes ``[K, T]``, as ``[D, T']``.

        Time is the last axis; ``T'`` is ``T`` unless codes of one moment are joined.

        Args:
            codes: Of one clip, ``Encoded.codes``.
            stream: One of ``embed_streams``: ``all``; ``first``, the first codebook only;
                ``semantic``, the semantic codebook only, where there is one by that name.

        Raises:
            CodecError: If this codec or stream has no embeddings.
        """
        known = ", ".join(self.embed_streams) or "no embeddings"
        raise CodecError(f"{self.spec.codec_id} has {known}, not the stream {stream!r}")

    def features(self, wave: Wave) -> NDArray[np.float32] | None:
        """Return what the encoder gives its quantizer for a waveform ``[C, N]``, as ``[D, T']``.

        The ceiling of ``embed``, so in full: before any projection to the few numbers that the
        codebooks hold. None where it is not known.
        """
        return None

    def token_streams(self, codes: Codes) -> tuple[TokenStream, ...]:
        """Return codes ``[K, T]`` as one stream per codebook.

        A codec whose codebooks have different rates says here which rows are one codebook.
        """
        sizes = self.spec.codebook_sizes
        pairs = zip(codes, sizes, strict=True)
        return tuple(TokenStream(f"cb{k}", row, size) for k, (row, size) in enumerate(pairs))

    def with_codes(self, payload: bytes, codes: Codes) -> bytes:
        """Return ``payload`` with codes ``[K, T]`` in place of its own, all else kept.

        Raises:
            CodecError: If the codec cannot, or the codes are not of the payload's shape.
        """
        raise CodecError(f"{self.spec.codec_id} cannot put codes into a payload")


def nominal_kbps(frame_rate: float, codebook_sizes: Sequence[int]) -> float:
    """Return the bitrate implied by the code stream, before any entropy coding.

    Args:
        frame_rate: Code frames per second, Hz.
        codebook_sizes: Entries of each codebook, length ``K``.

    Returns:
        Kilobits per second (1 kbit = 1000 bit).

    Raises:
        ValueError: If a size is below 2.

    Example:
        >>> nominal_kbps(50.0, [16384, 8192])  # SemantiCodec, 100 tokens/s
        1.35
    """
    if any(size < 2 for size in codebook_sizes):
        raise ValueError(f"a codebook needs at least 2 entries, got sizes {list(codebook_sizes)}")
    return frame_rate * sum(math.log2(size) for size in codebook_sizes) / 1000


def checked_wave(wave: Wave, spec: CodecSpec) -> Wave:
    """Return ``wave`` as float32 ``[C, N]`` if the codec of ``spec`` can take it.

    Every adapter begins ``encode`` with it.

    Raises:
        CodecError: If the shape, the number of channels or a value is not what was promised.
    """
    wave = np.asarray(wave, dtype=np.float32)
    if wave.ndim != 2 or wave.shape[1] == 0:
        raise CodecError(
            f"{spec.codec_id} takes [channels, samples] with at least one sample, "
            f"got shape {list(wave.shape)}"
        )
    if spec.channels is not None and wave.shape[0] != spec.channels:
        raise CodecError(
            f"{spec.codec_id} takes {spec.channels} channel(s), got {wave.shape[0]}; mix first"
        )
    if not np.isfinite(wave).all():
        raise CodecError(f"{spec.codec_id} was given NaN or infinity; mend the clip first")
    return wave


def parse_number(codec: type[Codec], point: str, unit: str) -> float:
    """Return the number of an operating point such as ``6kbps``.

    A codec with a single point has it as its default; one with several never chooses by itself,
    because a silent default is how a codec gets measured at a rate that nobody meant.

    Args:
        codec: The class, for its family and points.
        point: What followed the ``@``; may be empty.
        unit: What the point must end in, e.g. ``kbps``.

    Raises:
        CodecError: If the point is missing or is not a number in that unit.

    """
    if not point and len(codec.points) == 1:
        point = codec.points[0]
    number = point.removesuffix(unit)
    if point.endswith(unit) and re.fullmatch(r"\d+(\.\d+)?", number):
        return float(number)
    known = ", ".join(f"{codec.family}@{known}" for known in codec.points)
    got = repr(point) if point else "no point"
    raise CodecError(f"{codec.family} takes a point in {unit}, got {got}; for example {known}")


def format_codec_id(family: str, point: str, options: Mapping[str, Option] | None = None) -> str:
    """Return the id that makes the same codec again; name only options off their default.

    Example:
        >>> format_codec_id("opus", "6kbps", {"frame_ms": 60})
        'opus@6kbps:frame_ms=60'
    """
    items = ",".join(f"{key}={value}" for key, value in (options or {}).items())
    return family + (f"@{point}" if point else "") + (f":{items}" if items else "")
