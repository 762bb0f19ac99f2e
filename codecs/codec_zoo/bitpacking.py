"""Pack integer codes without gaps: ``ceil(log2(entries))`` bits each, most significant bit first.

The released codecs keep their codes as files of 16-bit numbers; 10-bit codes packed without gaps
are what their published bitrates count.
"""

import numpy as np
from numpy.typing import NDArray

from codec_zoo.base import CodecError

Codes = NDArray[np.int64]


def bits_of(entries: int) -> int:
    """Return the bits that one code of a codebook with ``entries`` entries takes.

    Example:
        >>> bits_of(1024), bits_of(1025)
        (10, 11)
    """
    return max(1, (entries - 1).bit_length())


def packed_bytes(count: int, entries: int) -> int:
    """Return the bytes that ``count`` codes take."""
    return -(-count * bits_of(entries) // 8)


def pack_codes(codes: Codes, entries: int) -> bytes:
    """Return codes ``[...]`` in the order in which they lie, the last byte filled with zeros.

    Args:
        codes: Integers in ``[0, entries)``.
        entries: Size of the codebook, at most 65536.

    Example:
        >>> pack_codes(np.array([1, 2, 3]), 16).hex()
        '1230'
    """
    bits = bits_of(entries)
    flat = np.ascontiguousarray(codes, dtype=">u4").reshape(-1, 1).view(np.uint8)
    return np.packbits(np.unpackbits(flat, axis=1)[:, 32 - bits :]).tobytes()


def unpack_codes(packed: bytes, entries: int, count: int) -> Codes:
    """Undo :func:`pack_codes`; return ``[count]``.

    Raises:
        CodecError: If there are more or fewer bytes than ``count`` codes take, the spare bits are
            set, or a code lies outside its codebook.

    Example:
        >>> unpack_codes(bytes.fromhex("1230"), 16, 3).tolist()
        [1, 2, 3]
    """
    bits = bits_of(entries)
    if len(packed) != packed_bytes(count, entries):
        raise CodecError(
            f"{count} codes of {bits} bits take {packed_bytes(count, entries)} bytes, the payload "
            f"holds {len(packed)}; it is damaged, or of another bitrate"
        )
    every_bit = np.unpackbits(np.frombuffer(packed, dtype=np.uint8))
    if every_bit[count * bits :].any():
        raise CodecError("the bits behind the last code are set; the payload is damaged")
    wide = np.zeros((count, 32), dtype=np.uint8)
    wide[:, 32 - bits :] = every_bit[: count * bits].reshape(count, bits)
    codes: Codes = np.packbits(wide, axis=1).view(">u4").reshape(count).astype(np.int64)
    if count and codes.max() >= entries:
        raise CodecError(
            f"code {codes.max()} is not in a codebook of {entries}; the payload is damaged"
        )
    return codes
