"""The ``.smc`` container: SemantiCodec tokens as a byte string that survives damage.

Tokens are integers ``[channels, L, 2]``; a position holds (semantic, acoustic) and lasts
``2 / token_rate`` seconds. All integers are big-endian; bits are packed high bit first::

    header   magic 8F "SMC" | version u8 | flags u8 | channels u8 | id bytes u8 | weights hash 8
             token rate u16 | semantic size - 1 u16 | acoustic size - 1 u16 | sample rate u32
             samples u64 | seed u64 | positions L u32 | positions per block u16
             model id (UTF-8) | CRC-32 of all of the above                    (52 bytes + id)
    block    packed stream (flags 0):    payload | check u32
             coded stream (flags bit 0): sync 0xB7 | payload bytes u24 | payload | check u32
    payload  packed: per channel and position ceil(log2(size)) bits for each token, then zero bits
                     up to a whole byte
             coded:  lag u8 | rANS words u32 (see entropy.py); a payload as long as the packed form
                     *is* the packed form
    check    CRC-32 (started from the header's CRC) of all block bytes before it, XOR
             (block index * 0x9E3779B1 mod 2**32)

Every block decodes alone. The check both proves a block and tells its index, so a reader that met
damage looks for the next place where a check comes out right: flipped, lost, doubled and inserted
bytes cost only the blocks they touch. Their tokens are *concealed*: positions of a lost block
repeat the last eight good ones before it in turn, so that each frequency band (8, 4 or 4 per
column at 100, 50 and 25 tokens/s) goes on with its own last tokens; a loss at the very beginning
repeats the first eight good positions after it. A damaged header is an error.

Nothing is allocated on the word of a length field: a stream must hold a byte for every
``MAX_POSITIONS_PER_BYTE`` positions it declares, a block at most ``MAX_BLOCK_POSITIONS`` positions
over all channels, and the search for intact blocks has a budget linear in the bytes at hand.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from math import log2

import numpy as np
import numpy.typing as npt

from semanticodec.entropy import Tokens, code_block, decode_block
from semanticodec.errors import CodecError

MAGIC = b"\x8fSMC"
VERSION = 1
# 1.28 s = 64/32/16 positions: whole columns, whole bytes at every released operating point, and
# eight blocks per 10.24 s window. An adaptive model needs more symbols than that, hence one window.
PACKED_BLOCK_SECONDS = 1.28
CODED_BLOCK_SECONDS = 10.24
MAX_BLOCK_POSITIONS = 1 << 16
MAX_POSITIONS_PER_BYTE = 8
MAX_VOCAB_SIZE = 1 << 16
CONCEAL_PERIOD = 8

_HEADER = struct.Struct(">4s4B8s3HI2QIH")
_CHECK_BYTES = 4
_SYNC = 0xB7
_PREFIX_BYTES = 4
_FLAG_CODED = 1
_INDEX_MIX = 0x9E3779B1  # golden-ratio multiplier: a flipped check bit does not name a near block
_INDEX_UNMIX = pow(_INDEX_MIX, -1, 1 << 32)
_MASK32 = 0xFFFFFFFF


class BitstreamError(CodecError, ValueError):
    """A byte string is no readable ``.smc`` stream, or tokens do not fit their header."""


@dataclass(frozen=True)
class StreamHeader:
    """What a decoder must know beside the tokens.

    Raises:
        BitstreamError: If a field is outside the range that the container can hold.
    """

    model_id: str  # printable, at most 255 bytes of UTF-8
    weights_hash: bytes  # 8 bytes
    token_rate: int  # tokens per second over both streams; half of it are positions per second
    semantic_vocab_size: int  # entries, 2 .. 65536
    acoustic_vocab_size: int  # entries, 2 .. 65536
    sample_rate: int  # Hz, of the signal that `num_samples` counts
    num_samples: int  # per channel
    channels: int  # 1 .. 255
    seed: int  # of the decoder's noise, 0 .. 2**64 - 1

    def __post_init__(self) -> None:
        _check_range("token_rate", self.token_rate, 1, 0xFFFF)
        _check_range("semantic_vocab_size", self.semantic_vocab_size, 2, MAX_VOCAB_SIZE)
        _check_range("acoustic_vocab_size", self.acoustic_vocab_size, 2, MAX_VOCAB_SIZE)
        _check_range("sample_rate", self.sample_rate, 1, _MASK32)
        _check_range("num_samples", self.num_samples, 0, (1 << 63) - 1)
        _check_range("channels", self.channels, 1, 0xFF)
        _check_range("seed", self.seed, 0, (1 << 64) - 1)
        if not isinstance(self.weights_hash, bytes) or len(self.weights_hash) != 8:
            raise BitstreamError(f"weights_hash must be 8 bytes, got {self.weights_hash!r}")
        if not self.model_id.isprintable() or len(self.model_id.encode()) > 0xFF:
            raise BitstreamError("model_id must be printable and at most 255 bytes of UTF-8")

    @property
    def sizes(self) -> tuple[int, int]:
        """Return the entries of the semantic and of the acoustic codebook."""
        return self.semantic_vocab_size, self.acoustic_vocab_size

    @property
    def bits_per_position(self) -> int:
        """Return the packed bits of one semantic and one acoustic token."""
        return _width(self.semantic_vocab_size) + _width(self.acoustic_vocab_size)

    @property
    def duration_s(self) -> float:
        """Return the length of the signal in seconds."""
        return self.num_samples / self.sample_rate


@dataclass(frozen=True, eq=False)
class Block:
    """One intact block: its positions and their tokens ``[channels, len(positions), 2]``."""

    positions: range
    tokens: Tokens


@dataclass(frozen=True, eq=False)
class Stream:
    """A decoded stream; `damaged` lists the position ranges whose tokens are concealed."""

    header: StreamHeader
    tokens: Tokens  # int64 [channels, L, 2]
    damaged: list[range]


def write_stream(
    header: StreamHeader,
    tokens: npt.ArrayLike,
    *,
    entropy: bool = False,
    block_seconds: float | None = None,
) -> bytes:
    """Return tokens as a ``.smc`` byte string.

    Args:
        header: Fields of the stream.
        tokens: Integers ``[channels, L, 2]``, (semantic, acoustic) per position.
        entropy: Also try lossless entropy coding, and keep it only where it saves bytes: the result
            is never longer than the packed stream. Needs ``constriction``.
        block_seconds: Length of a block, which is what one damaged byte costs. Default: 1.28 s
            packed, 10.24 s coded (longer blocks let the coder's model learn more).

    Raises:
        BitstreamError: If the tokens do not fit the header.
        ModuleNotFoundError: If ``entropy`` is asked for and ``constriction`` is not installed.
    """
    tokens = _checked_tokens(header, tokens)
    length = tokens.shape[1]
    packed = b"".join(iter_stream(header, length, [tokens], block_seconds=block_seconds))
    if not entropy or not length:
        return packed
    coded = b"".join(
        iter_stream(header, length, [tokens], entropy=True, block_seconds=block_seconds)
    )
    saves = len(coded) < len(packed) and payload_bits(coded) < payload_bits(packed)
    return coded if saves else packed


def iter_stream(
    header: StreamHeader,
    num_positions: int,
    pieces: Iterable[npt.ArrayLike],
    *,
    entropy: bool = False,
    block_seconds: float | None = None,
) -> Iterator[bytes]:
    """Yield the header, then each block as soon as its tokens are there.

    Args:
        header: Fields of the stream.
        num_positions: ``L``, the positions that all pieces together will have.
        pieces: Token arrays ``[channels, any, 2]`` in order.
        entropy: Code each block that gets shorter by it; the others stay packed.
        block_seconds: As in `write_stream`.

    Raises:
        BitstreamError: If tokens do not fit the header, or their count is not ``num_positions``.
        ModuleNotFoundError: If ``entropy`` is asked for and ``constriction`` is not installed.
    """
    if block_seconds is None:
        block_seconds = CODED_BLOCK_SECONDS if entropy else PACKED_BLOCK_SECONDS
    size = _block_positions(header, block_seconds)
    layout = _Layout(header, num_positions, size, entropy)
    yield layout.header_bytes
    checked = (_checked_tokens(header, piece) for piece in pieces)
    done = 0
    for index, tokens in enumerate(_recut(checked, size)):
        done += tokens.shape[1]
        if tokens.shape[1] != len(layout.positions(index)):
            break
        yield layout.block_bytes(index, tokens)
    if done != num_positions:
        raise BitstreamError(f"{num_positions} positions were announced, the tokens have {done}")


def read_header(data: bytes) -> StreamHeader:
    """Return the header alone.

    Raises:
        BitstreamError: If the header is missing, damaged or of an unknown version.
    """
    return _parse_header(bytes(data))[0].header


def read_stream(data: bytes) -> Stream:
    """Decode a ``.smc`` byte string; damaged blocks are concealed and listed.

    Bytes after the last block are ignored.

    Raises:
        BitstreamError: If the header is unusable, the stream is far too short for the positions it
            declares, or no block is intact.
        ModuleNotFoundError: If blocks are entropy coded and ``constriction`` is not installed.
    """
    data = bytes(data)
    layout, start = _parse_header(data)
    header, length = layout.header, layout.num_positions
    tokens = np.zeros((header.channels, length, 2), np.int64)
    intact = []
    for block in _intact_blocks(data, layout, start):
        tokens[:, block.positions.start : block.positions.stop] = block.tokens
        intact.append(block.positions)
    damaged = _gaps(intact, length)
    if length and not intact:
        raise BitstreamError("no intact block after the header; fetch the file again")
    for gap in damaged:
        _conceal(tokens, gap)
    return Stream(header, tokens, damaged)


def iter_blocks(data: bytes) -> Iterator[Block]:
    """Yield the intact blocks in order; a gap between their positions is damage.

    Raises:
        BitstreamError: If the header is unusable or the stream far too short for its positions.
        ModuleNotFoundError: If blocks are entropy coded and ``constriction`` is not installed.
    """
    data = bytes(data)
    yield from _intact_blocks(data, *_parse_header(data))


def nominal_bits(header: StreamHeader, num_positions: int) -> float:
    """Return ``channels * L * (log2(semantic size) + log2(acoustic size))``, bits.

    Example:
        >>> header = StreamHeader("m", bytes(8), 100, 16384, 8192, 16000, 16000, 1, 0)
        >>> kbps(nominal_bits(header, 50), header)   # SemantiCodec, 100 tokens/s
        1.35
    """
    per_position = log2(header.semantic_vocab_size) + log2(header.acoustic_vocab_size)
    return header.channels * num_positions * per_position


def payload_bits(data: bytes) -> int:
    """Return the bits that carry tokens, summed over intact blocks.

    Packed tokens count at ``ceil(log2(size))`` bits, a coded block with all bytes of its payload.
    Header, sync words, checks and padding are left out; ``8 * len(data)`` includes them.

    Raises:
        BitstreamError: If the header is unusable or the stream far too short for its positions.
    """
    data = bytes(data)
    layout, start = _parse_header(data)
    return sum(layout.payload_bits(found) for found in _Scanner(data, layout, start))


def kbps(bits: float, header: StreamHeader) -> float:
    """Return bits over the signal's duration in kilobits per second.

    Raises:
        BitstreamError: If the signal has no samples.
    """
    if not header.num_samples:
        raise BitstreamError("a signal of 0 samples has no bitrate")
    return bits / header.duration_s / 1000


# --- layout ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Found:
    """A block whose check is right."""

    index: int
    start: int  # byte offset of its first byte
    stop: int
    payload: bytes


@dataclass(frozen=True)
class _Layout:
    """The header with what the blocks need; turns blocks into bytes."""

    header: StreamHeader
    num_positions: int
    block_positions: int
    coded: bool

    def __post_init__(self) -> None:
        _check_range("number of positions", self.num_positions, 0, _MASK32)
        limit = min(0xFFFF, MAX_BLOCK_POSITIONS // self.header.channels)
        _check_range("positions per block", self.block_positions, 1, limit)
        rate = self.header.token_rate
        # Twice the tokens' duration and 2 s more: no decoder need allocate an absurd sample count.
        if self.header.num_samples * rate > self.header.sample_rate * (
            4 * self.num_positions + 2 * rate
        ):
            raise BitstreamError(
                f"{self.header.num_samples} samples at {self.header.sample_rate} Hz do not belong "
                f"to {self.num_positions} positions at {rate} tokens/s"
            )

    @cached_property
    def header_bytes(self) -> bytes:
        header, name = self.header, self.header.model_id.encode()
        fields = _HEADER.pack(
            MAGIC,
            VERSION,
            _FLAG_CODED * self.coded,
            header.channels,
            len(name),
            header.weights_hash,
            header.token_rate,
            header.semantic_vocab_size - 1,
            header.acoustic_vocab_size - 1,
            header.sample_rate,
            header.num_samples,
            header.seed,
            self.num_positions,
            self.block_positions,
        )
        body = fields + name
        return body + zlib.crc32(body).to_bytes(_CHECK_BYTES, "big")

    @cached_property
    def salt(self) -> int:
        """Return the header's CRC: blocks of another stream never pass for ours."""
        return int.from_bytes(self.header_bytes[-_CHECK_BYTES:], "big")

    @property
    def num_blocks(self) -> int:
        return -(-self.num_positions // self.block_positions)

    def positions(self, index: int) -> range:
        start = index * self.block_positions
        return range(start, min(start + self.block_positions, self.num_positions))

    def packed_bytes(self, index: int) -> int:
        count = self.header.channels * len(self.positions(index))
        return -(-count * self.header.bits_per_position // 8)

    def shortest_payload(self, index: int) -> int:
        """Return the bytes below which a coded payload is padded, so that caps can be checked."""
        return -(-self.header.channels * len(self.positions(index)) // MAX_POSITIONS_PER_BYTE)

    def payload_bits(self, found: _Found) -> int:
        if len(found.payload) < self.packed_bytes(found.index):
            return 8 * len(found.payload)
        count = self.header.channels * len(self.positions(found.index))
        return count * self.header.bits_per_position

    def block_bytes(self, index: int, tokens: Tokens) -> bytes:
        frame = self._payload(index, tokens)
        if self.coded:
            frame = bytes([_SYNC]) + len(frame).to_bytes(_PREFIX_BYTES - 1, "big") + frame
        check = zlib.crc32(frame, self.salt) ^ (index * _INDEX_MIX & _MASK32)
        return frame + check.to_bytes(_CHECK_BYTES, "big")

    def _payload(self, index: int, tokens: Tokens) -> bytes:
        """Return the coded form if it is shorter and decodes to the tokens, else the packed."""
        packed = _pack(self.header, tokens)
        if not self.coded:
            return packed
        coded = code_block(tokens, self.header.sizes).ljust(self.shortest_payload(index), b"\0")
        if len(coded) >= len(packed):
            return packed
        decoded = decode_block(coded, self.header.channels, tokens.shape[1], self.header.sizes)
        return coded if decoded is not None and np.array_equal(decoded, tokens) else packed

    def block_tokens(self, found: _Found) -> Tokens | None:
        """Return tokens ``[channels, n, 2]``, or None where they leave the vocabularies."""
        count = len(self.positions(found.index))
        if len(found.payload) == self.packed_bytes(found.index):
            return _unpack(self.header, found.payload, count)
        return decode_block(found.payload, self.header.channels, count, self.header.sizes)


def _parse_header(data: bytes) -> tuple[_Layout, int]:
    """Return the layout and the byte offset of the first block.

    Raises:
        BitstreamError: See `read_stream`.
    """
    if not data.startswith(MAGIC):
        raise BitstreamError("not an .smc stream: it does not begin with the magic bytes")
    if len(data) < _HEADER.size + _CHECK_BYTES:
        raise BitstreamError(f"the header is cut off after {len(data)} bytes")
    _, version, flags, channels, name_bytes, digest, *numbers = _HEADER.unpack_from(data)
    if version != VERSION:
        raise BitstreamError(f"version {version} is unknown; this reader knows {VERSION}")
    rate, semantic, acoustic, sample_rate, samples, seed, length, block = numbers
    body = data[: _HEADER.size + name_bytes]
    stop = len(body) + _CHECK_BYTES
    if data[len(body) : stop] != zlib.crc32(body).to_bytes(_CHECK_BYTES, "big"):
        raise BitstreamError("the header is damaged or cut off: its CRC does not match")
    if flags & ~_FLAG_CODED:
        raise BitstreamError(f"flags {flags:#04x} are unknown")
    try:
        name = body[_HEADER.size :].decode()
    except UnicodeDecodeError:
        raise BitstreamError("the model id is not UTF-8") from None
    header = StreamHeader(
        name, digest, rate, semantic + 1, acoustic + 1, sample_rate, samples, channels, seed
    )
    if channels * length > MAX_POSITIONS_PER_BYTE * (len(data) - stop):
        raise BitstreamError(
            f"{len(data) - stop} bytes are too few for {channels} x {length} positions; "
            "the file is cut off"
        )
    return _Layout(header, length, block, bool(flags & _FLAG_CODED)), stop


class _Scanner:
    """Iterates over the intact blocks of a stream in order of their indices."""

    def __init__(self, data: bytes, layout: _Layout, start: int) -> None:
        self.data, self.layout, self.start = data, layout, start
        self.full_bytes = layout.packed_bytes(0)
        # Bytes the search may check in all; each try counts 256 more. Under 1 s per MB.
        self.budget = (1 << 26) + 1024 * len(data)

    def __iter__(self) -> Iterator[_Found]:
        offset, expected = self.start, 0
        while expected < self.layout.num_blocks:
            found = self._search(offset, expected)
            if found is None:
                return
            yield found
            offset, expected = found.stop, found.index + 1

    def _search(self, offset: int, expected: int) -> _Found | None:
        start = offset
        while 0 <= start < len(self.data) and self.budget > 0:
            found = self._at(start)
            if found and found.index >= expected and self._is_trusted(found, offset, expected):
                return found
            start += 1
            if self.layout.coded:
                start = self.data.find(_SYNC, start)
        return None

    def _is_trusted(self, found: _Found, offset: int, expected: int) -> bool:
        """Tell a block from a check that is right by chance.

        With one check per byte of a long damaged stretch and thousands of valid indices, chance
        hits do occur. A block where it is due is believed; one that moved needs its successor. The
        sync byte and the few indices of coded streams make them too rare to matter.
        """
        due = offset + (found.index - expected) * (self.full_bytes + _CHECK_BYTES)
        if self.layout.coded or found.start == due or found.index == self.layout.num_blocks - 1:
            return True
        successor = self._at(found.stop)
        return successor is not None and successor.index == found.index + 1

    def _at(self, start: int) -> _Found | None:
        """Return the block that begins at byte `start`, if one does."""
        if not self.layout.coded:
            last_bytes = self.layout.packed_bytes(self.layout.num_blocks - 1)
            sizes = {self.full_bytes, last_bytes}
            return next(filter(None, (self._verified(start, 0, size) for size in sizes)), None)
        prefix = self.data[start : start + _PREFIX_BYTES]
        size = int.from_bytes(prefix[1:], "big")
        if len(prefix) < _PREFIX_BYTES or prefix[0] != _SYNC or size > self.full_bytes:
            return None
        return self._verified(start, _PREFIX_BYTES, size)

    def _verified(self, start: int, prefix: int, size: int) -> _Found | None:
        stop = start + prefix + size + _CHECK_BYTES
        self.budget -= 256
        if stop > len(self.data):
            return None
        self.budget -= size
        framed = self.data[start : stop - _CHECK_BYTES]
        check = int.from_bytes(self.data[stop - _CHECK_BYTES : stop], "big")
        mixed = zlib.crc32(framed, self.layout.salt) ^ check
        index = mixed * _INDEX_UNMIX & _MASK32
        if index >= self.layout.num_blocks:
            return None
        packed = self.layout.packed_bytes(index)
        least = self.layout.shortest_payload(index) if self.layout.coded else packed
        return _Found(index, start, stop, framed[prefix:]) if least <= size <= packed else None


def _intact_blocks(data: bytes, layout: _Layout, start: int) -> Iterator[Block]:
    for found in _Scanner(data, layout, start):
        tokens = layout.block_tokens(found)
        if tokens is not None:
            yield Block(layout.positions(found.index), tokens)


def _gaps(intact: list[range], length: int) -> list[range]:
    """Return the ranges of ``0 .. length - 1`` that no range of the ordered list covers."""
    starts = [0, *(positions.stop for positions in intact)]
    stops = [*(positions.start for positions in intact), length]
    return [range(a, b) for a, b in zip(starts, stops, strict=True) if a < b]


def _conceal(tokens: Tokens, gap: range) -> None:
    """Fill a gap in place, gaps in order: see the module's head for the rule."""
    steps = np.arange(len(gap))
    if gap.start:
        period = min(CONCEAL_PERIOD, gap.start)
        source = gap.start - period + steps % period
    else:
        period = min(CONCEAL_PERIOD, tokens.shape[1] - gap.stop)
        source = gap.stop + (steps - len(gap)) % period
    tokens[:, gap.start : gap.stop] = tokens[:, source]


# --- packed payloads ------------------------------------------------------------------------------


def _width(size: int) -> int:
    """Return ``ceil(log2(size))``."""
    return (size - 1).bit_length()


def _pack(header: StreamHeader, tokens: Tokens) -> bytes:
    words = tokens[..., 0] << _width(header.acoustic_vocab_size) | tokens[..., 1]
    octets = words.astype(">u4").reshape(-1, 1).view(np.uint8)  # [channels * n, 4]
    bits = np.unpackbits(octets, axis=1)[:, 32 - header.bits_per_position :]
    return np.packbits(bits).tobytes()


def _unpack(header: StreamHeader, payload: bytes, count: int) -> Tokens | None:
    """Return tokens ``[channels, count, 2]``, or None where they leave the vocabularies."""
    width, rows = header.bits_per_position, header.channels * count
    stored = np.unpackbits(np.frombuffer(payload, np.uint8), count=rows * width)
    bits = np.zeros((rows, 32), np.uint8)
    bits[:, 32 - width :] = stored.reshape(rows, width)
    words = np.packbits(bits, axis=1).view(">u4").astype(np.int64).reshape(header.channels, count)
    acoustic_width = _width(header.acoustic_vocab_size)
    tokens = np.stack([words >> acoustic_width, words & ((1 << acoustic_width) - 1)], axis=-1)
    return tokens if _in_vocabulary(header, tokens) else None


def _in_vocabulary(header: StreamHeader, tokens: Tokens) -> bool:
    sizes = (header.semantic_vocab_size, header.acoustic_vocab_size)
    return bool((tokens >= 0).all() and (tokens < sizes).all())


def _checked_tokens(header: StreamHeader, tokens: npt.ArrayLike) -> Tokens:
    array = np.asarray(tokens)
    if array.ndim != 3 or array.shape[0] != header.channels or array.shape[2] != 2:
        raise BitstreamError(f"tokens must be [{header.channels}, L, 2], got {list(array.shape)}")
    if array.dtype.kind not in "iu":
        raise BitstreamError(f"tokens must be integers, got {array.dtype}")
    if not _in_vocabulary(header, array):
        sizes = f"{header.semantic_vocab_size} and {header.acoustic_vocab_size}"
        raise BitstreamError(f"tokens must lie in vocabularies of {sizes} entries")
    return array.astype(np.int64)


def _recut(pieces: Iterable[Tokens], size: int) -> Iterator[Tokens]:
    """Yield pieces ``[channels, any, 2]`` as blocks of `size` positions, the last one shorter."""
    pending: Tokens | None = None
    for piece in pieces:
        pending = piece if pending is None else np.concatenate([pending, piece], axis=1)
        full = pending.shape[1] // size * size
        for start in range(0, full, size):
            yield pending[:, start : start + size]
        pending = pending[:, full:]
    if pending is not None and pending.shape[1]:
        yield pending


def _block_positions(header: StreamHeader, seconds: float) -> int:
    """Return the positions of a block of about `seconds`, within the caps."""
    limit = min(0xFFFF, MAX_BLOCK_POSITIONS // header.channels)
    if not seconds > 0:
        raise BitstreamError(f"block_seconds must be positive, got {seconds}")
    return max(1, round(min(seconds * header.token_rate / 2, limit)))


def _check_range(name: str, value: int, low: int, high: int) -> None:
    if not isinstance(value, int | np.integer) or not low <= value <= high:
        raise BitstreamError(f"{name} must be an integer in {low} .. {high}, got {value!r}")
