import sys

import numpy as np
import pytest

from codec_zoo.base import CodecError, CodecUnavailableError
from codec_zoo.classical import AmrNb, Opus
from codec_zoo.conformance.signals import mixture
from codec_zoo.packets import PacketStream, unpack
from codec_zoo.registry import BUILTIN, codec_class, create, default_ids

FFMPEG_FAMILIES = [f for f in BUILTIN if BUILTIN[f].startswith("codec_zoo.classical")]
IDS = [codec_id for family in FFMPEG_FAMILIES for codec_id in default_ids(family)]


def clip(codec_id: str, seconds: float = 2.0) -> np.ndarray:
    rate = create(codec_id).spec.sample_rate
    assert rate is not None
    return mixture(rate, seconds)[None].astype(np.float32)


@pytest.mark.parametrize("codec_id", IDS)
def test_every_point_works_and_costs_what_it_says(codec_id: str) -> None:
    codec = create(codec_id)
    wave = clip(codec_id, 4.0)
    encoded = codec.encode(wave)
    assert codec.decode(encoded.payload).shape == wave.shape
    tolerance = {"cbr": 0.04, "abr": 0.10}[str(codec.spec.params["rate_control"])]
    assert encoded.measured_kbps(4.0) == pytest.approx(codec.spec.nominal_kbps, rel=tolerance)


def test_the_payload_holds_real_packets() -> None:
    codec = create("amr-nb@12.2kbps")
    stream = unpack(codec.encode(clip("amr-nb@12.2kbps")).payload)
    assert {len(packet) for packet in stream.packets} == {32}  # 12.2 kbit/s and a byte of header
    assert {packet[0] for packet in stream.packets} == {0x3C}  # RFC 4867: mode 7, good frame


def test_opus_packets_say_what_was_asked_for() -> None:
    for point, config in (("6kbps", "60 ms"), ("64kbps", "20 ms")):
        packet = unpack(create(f"opus@{point}").encode(clip(f"opus@{point}")).payload).packets[5]
        silk_60_ms = packet[0] >> 3 in (3, 7, 11)
        assert silk_60_ms == (config == "60 ms")
        assert not packet[0] & 4  # RFC 6716, 3.1: mono


def test_framing_is_not_counted_as_code() -> None:
    encoded = create("amr-nb@4.75kbps").encode(clip("amr-nb@4.75kbps"))
    stream = unpack(encoded.payload)
    code = len(encoded.payload) - encoded.overhead_bytes
    assert code == stream.packet_bytes - len(stream.packets)


@pytest.mark.parametrize("codec_id", ["opus@24kbps", "mp3@64kbps", "aac@64kbps"])
def test_a_lost_packet_is_refused(codec_id: str) -> None:
    codec = create(codec_id)
    stream = unpack(codec.encode(clip(codec_id)).payload)
    shorter = PacketStream(stream.packets[:-3], stream.samples, stream.extradata)
    with pytest.raises(CodecError, match="its packets decode to"):
        codec.decode(shorter.pack())


def test_packets_of_another_rate_are_refused() -> None:
    payload = create("mp3@16kbps").encode(clip("mp3@16kbps")).payload
    with pytest.raises(CodecError, match="expected 48000 Hz mono, a packet decodes to 16000 Hz"):
        create("mp3@64kbps").decode(payload)


def test_opus_options_are_part_of_the_id() -> None:
    assert create("opus@6kbps").spec.codec_id == "opus@6kbps"
    assert create("opus@6kbps:frame_ms=60,vbr=off").spec.codec_id == "opus@6kbps"
    assert create("opus@6kbps:frame_ms=20").spec.codec_id == "opus@6kbps:frame_ms=20"
    free = create("opus@24kbps:vbr=on").spec
    assert free.codec_id == "opus@24kbps:vbr=on"
    assert free.params["rate_control"] == "vbr"
    assert free.fingerprint != create("opus@24kbps").spec.fingerprint


@pytest.mark.parametrize(
    ("codec_id", "message"),
    [
        ("opus", "got no point; for example opus@6kbps"),
        ("opus@6", "takes a point in kbps, got '6'"),
        ("opus@2kbps", "6 to 256 kbps"),
        ("opus@6kbps:frame_ms=7", "5, 10, 20, 40 or 60"),
        ("opus@6kbps:vbr=maybe", "off, on or constrained"),
        ("opus@6kbps:colour=red", "colour"),
        ("mp3@17kbps", "has the bitrates"),
        ("aac@900kbps", "8 to 256"),
        ("amr-nb@5kbps", "has the points 4.75kbps, 5.15kbps"),
    ],
)
def test_wrong_points_and_options_are_refused(codec_id: str, message: str) -> None:
    with pytest.raises(CodecError, match=message):
        create(codec_id)


def test_missing_pyav_is_announced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    assert Opus.unavailable_reason() == "PyAV is missing: pip install av"
    with pytest.raises(CodecUnavailableError, match="pip install av"):
        create("opus@6kbps")


def test_missing_encoder_is_announced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(AmrNb, "encoder", "libnowhere")
    reason = codec_class("amr-nb").unavailable_reason()
    assert reason is not None
    assert "lacks libnowhere" in reason


@pytest.mark.parametrize(
    ("codec_id", "unit_s"),
    [("opus@12kbps", 0.02), ("amr-nb@12.2kbps", 0.02), ("g723-1@6.3kbps", 0.03)],
)
def test_unit_is_a_frame(codec_id, unit_s):
    codec = create(codec_id)
    assert codec.unit_s == pytest.approx(unit_s)
    assert codec.num_parameters() is None
