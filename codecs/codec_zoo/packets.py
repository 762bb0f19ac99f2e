"""Pack the packets of a codec into one payload, with as little framing as they allow.

Layout, all numbers as base-128 varints (7 bits a byte, low first, high bit = more follow)::

    samples | extradata length | extradata | packets | common size, or 0 and one size per packet
    | packet bytes

A telephone or a file would need framing too (RTP, Ogg, ISO media), another one each; this one is
counted apart (``Encoded.overhead_bytes``) and costs 4 to 8 bytes a clip when all packets have the
same size, or that plus one to two bytes a packet.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from codec_zoo.base import CodecError


@dataclass(frozen=True)
class PacketStream:
    """What a decoder of packets gets.

    Attributes:
        packets: The encoded packets, in order; none is empty.
        samples: Samples per channel that were encoded.
        extradata: Header the decoder is opened with; empty for most codecs.
    """

    packets: tuple[bytes, ...]
    samples: int
    extradata: bytes = b""

    @property
    def packet_bytes(self) -> int:
        """Bytes of code, without any framing."""
        return sum(map(len, self.packets))

    def pack(self) -> bytes:
        """Return the payload."""
        sizes = [len(packet) for packet in self.packets]
        common = sizes[0] if len(set(sizes)) == 1 else 0
        head = [self.samples, len(self.extradata)]
        tail = [len(sizes), common, *([] if common else sizes)]
        return b"".join(
            (_varints(head), self.extradata, _varints(tail), *self.packets),
        )


def unpack(payload: bytes) -> PacketStream:
    """Take a payload apart.

    Raises:
        CodecError: If it is cut, too long, or claims more than it holds.
    """
    reader = _Reader(payload)
    samples = reader.varint()
    extradata = reader.take(reader.varint())
    count, common = reader.varint(), reader.varint()
    if count > len(payload):
        raise CodecError(f"the payload claims {count} packets in {len(payload)} bytes")
    sizes = [common] * count if common else [reader.varint() for _ in range(count)]
    packets = tuple(reader.take(size) for size in sizes)
    if reader.left:
        raise CodecError(f"the payload holds {reader.left} bytes more than its packets")
    if samples == 0 or not all(packets):
        raise CodecError("the payload holds no samples or an empty packet")
    return PacketStream(packets, samples, extradata)


class _Reader:
    """A cursor over a payload that never reads past its end."""

    def __init__(self, payload: bytes) -> None:
        self._payload = payload
        self._at = 0

    @property
    def left(self) -> int:
        return len(self._payload) - self._at

    def take(self, size: int) -> bytes:
        if size > self.left:
            raise CodecError(f"the payload ends early: {size} bytes wanted, {self.left} left")
        self._at += size
        return self._payload[self._at - size : self._at]

    def varint(self) -> int:
        value = 0
        for shift in range(0, 35, 7):
            byte = self.take(1)[0]
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value
        raise CodecError("the payload holds a number above 2^35; it is damaged")


def _varints(values: Sequence[int]) -> bytes:
    out = bytearray()
    for value in values:
        rest = value
        while rest >= 0x80:
            out.append(rest & 0x7F | 0x80)
            rest >>= 7
        out.append(rest)
    return bytes(out)
