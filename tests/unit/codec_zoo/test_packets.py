import pytest
from hypothesis import given
from hypothesis import strategies as st

from codec_zoo.base import CodecError
from codec_zoo.packets import PacketStream, unpack

STREAMS = st.builds(
    PacketStream,
    packets=st.lists(st.binary(min_size=1, max_size=300), max_size=20).map(tuple),
    samples=st.integers(1, 2**34),
    extradata=st.binary(max_size=40),
)


@given(STREAMS)
def test_unpack_undoes_pack(stream: PacketStream) -> None:
    assert unpack(stream.pack()) == stream


@given(STREAMS, st.data())
def test_a_cut_payload_is_refused(stream: PacketStream, data: st.DataObject) -> None:
    payload = stream.pack()
    with pytest.raises(CodecError):
        unpack(payload[: data.draw(st.integers(0, len(payload) - 1))])


@given(st.binary(max_size=200))
def test_foreign_bytes_are_refused_or_read(payload: bytes) -> None:
    try:
        stream = unpack(payload)
    except CodecError:
        return
    assert stream.packet_bytes <= len(payload)


def test_packets_of_one_size_cost_few_bytes_of_framing() -> None:
    stream = PacketStream((b"12345678",) * 500, samples=480_000)
    assert len(stream.pack()) - stream.packet_bytes == 7


def test_packets_of_different_sizes_cost_a_byte_each() -> None:
    stream = PacketStream((b"12", b"123") * 50, samples=100)
    assert len(stream.pack()) - stream.packet_bytes == 1 + 1 + 1 + 1 + 100


@pytest.mark.parametrize(
    ("payload", "message"),
    [
        (b"", "ends early"),
        (b"\x01\x00\xff\xff\xff\xff\x0f\x01", "claims"),
        (b"\xff\xff\xff\xff\xff\xff", "above 2"),
        (PacketStream((b"a",), 1).pack() + b"b", "more than its packets"),
        (b"\x00\x00\x00\x00", "no samples"),
    ],
)
def test_errors_say_what_is_wrong(payload: bytes, message: str) -> None:
    with pytest.raises(CodecError, match=message):
        unpack(payload)
