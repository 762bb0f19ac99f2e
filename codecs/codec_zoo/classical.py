"""Standard codecs of signal processing, through the FFmpeg that PyAV bundles.

Each payload holds the packets that the real encoder made (:mod:`codec_zoo.packets`), and the
decoder gets these packets. The input is padded so that the decoder's output covers all of it, and
the codec's delay is cut off, so that the output lines up with the input.
"""

# ruff: noqa: D102 - the methods of the contract are documented in base.Codec

from collections.abc import Iterator, Mapping
from fractions import Fraction
from functools import cached_property
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np

from codec_zoo.base import (
    Codec,
    CodecError,
    CodecSpec,
    Encoded,
    Option,
    Wave,
    checked_wave,
    format_codec_id,
    parse_number,
)
from codec_zoo.packets import PacketStream, unpack

if TYPE_CHECKING:
    import av


def _ffmpeg_version() -> str:
    import av

    return f"FFmpeg {getattr(av, 'ffmpeg_version_info', 'unknown')}, PyAV {av.__version__}"


def _audio_context(name: str, mode: Literal["r", "w"]) -> "av.AudioCodecContext":
    import av

    context = av.CodecContext.create(name, mode)
    assert isinstance(context, av.AudioCodecContext)
    context.thread_count = 1
    return context


class FfmpegCodec(Codec):
    """One encoder and one decoder of FFmpeg, as a table of what differs between codecs.

    Attributes:
        encoder: FFmpeg's name of the encoder.
        decoder: FFmpeg's name of the decoder.
        sample_format: Of the samples the encoder takes: ``s16``, ``flt`` or ``fltp``.
        delay_samples: By which decoded samples lag the input, before this class cuts them off.
        packet_overhead: Bytes of framing inside each packet.
        short_last_frame: Whether the last packet may hold fewer samples than the others.
    """

    encoder: ClassVar[str]
    decoder: ClassVar[str]
    sample_format: ClassVar[str]
    delay_samples: ClassVar[int] = 0
    packet_overhead: ClassVar[int] = 0
    short_last_frame: ClassVar[bool] = False
    kind = "classical"

    @classmethod
    def unavailable_reason(cls) -> str | None:
        try:
            import av
        except ImportError:
            return "PyAV is missing: pip install av"
        try:
            av.Codec(cls.encoder, "w")
            av.Codec(cls.decoder, "r")
        except ValueError:
            return (
                f"the FFmpeg of PyAV {av.__version__} lacks {cls.encoder} or {cls.decoder}; "
                "install PyAV's own wheel: pip install --force-reinstall --only-binary av av"
            )
        return None

    def __init__(self, point: str = "", *, device: str = "cpu") -> None:
        self._kbps = parse_number(type(self), point, "kbps")
        self._options: dict[str, Option] = {}

    @property
    def spec(self) -> CodecSpec:
        return self._spec

    @property
    def sample_rate(self) -> int:
        """Hz."""
        raise NotImplementedError

    @property
    def frame_samples(self) -> int:
        """Samples in one packet."""
        raise NotImplementedError

    @property
    def encoder_options(self) -> Mapping[str, str]:
        """FFmpeg's private options of the encoder."""
        return {}

    @property
    def rate_control(self) -> str:
        """``cbr`` (every packet the same size), ``abr`` (on average) or ``vbr``."""
        return "cbr"

    @cached_property
    def _spec(self) -> CodecSpec:
        return CodecSpec(
            codec_id=format_codec_id(self.family, f"{self._kbps:g}kbps", self._options),
            sample_rate=self.sample_rate,
            channels=1,
            kind="classical",
            nominal_kbps=self._kbps,
            frame_rate=None if self.short_last_frame else self.sample_rate / self.frame_samples,
            implementation=f"{self.encoder} and {self.decoder} in {_ffmpeg_version()}",
            params={"rate_control": self.rate_control, **self.encoder_options},
        )

    @property
    def unit_s(self) -> float:
        return self.frame_samples / self.sample_rate

    def encode(self, wave: Wave) -> Encoded:
        wave = checked_wave(wave, self.spec)
        count = -(-(wave.shape[1] + self.skipped_samples) // self.frame_samples)
        packets, extradata = self._encode_packets(wave, count)
        stream = PacketStream(packets, wave.shape[1], extradata)
        payload = stream.pack()
        code_bytes = stream.packet_bytes - self.packet_overhead * len(packets)
        return Encoded(payload, overhead_bytes=len(payload) - code_bytes)

    @property
    def skipped_samples(self) -> int:
        """Samples the decoder's output must hold beyond the input's length."""
        return self.delay_samples

    def _encode_packets(self, wave: Wave, count: int) -> tuple[tuple[bytes, ...], bytes]:
        """Return the first ``count`` packets of ``wave`` with silence behind it."""
        import av

        context = _audio_context(self.encoder, "w")
        context.sample_rate = self.sample_rate
        context.time_base = Fraction(1, self.sample_rate)
        context.layout = "mono"
        context.format = self.sample_format
        context.options = {"threads": "1", **self.encoder_options}
        if "code_size" not in self.encoder_options:
            context.bit_rate = round(1000 * self._kbps)
        try:
            context.open()
            packets = [
                bytes(packet)
                for frame in self._frames(wave, count)
                for packet in context.encode(frame)
            ]
            packets += [bytes(packet) for packet in context.encode(None)]
        except av.FFmpegError as error:
            raise CodecError(f"{self.spec.codec_id}: {self.encoder} failed: {error}") from error
        packets = [packet for packet in packets if packet][:count]
        if len(packets) < count:
            raise CodecError(
                f"{self.spec.codec_id}: {self.encoder} gave {len(packets)} of {count} packets"
            )
        return tuple(packets), bytes(context.extradata or b"")

    def _frames(self, wave: Wave, count: int) -> Iterator["av.AudioFrame"]:
        import av

        size = self.frame_samples
        missing = 0 if self.short_last_frame else max(0, count * size - wave.shape[1])
        mono = np.pad(wave[0], (0, missing))
        for index in range(count):
            frame = av.AudioFrame.from_ndarray(
                self._to_format(mono[index * size : (index + 1) * size])[None],
                format=self.sample_format,
                layout="mono",
            )
            frame.sample_rate = self.sample_rate
            frame.pts = index * size
            frame.time_base = Fraction(1, self.sample_rate)
            yield frame

    def _to_format(self, mono: np.ndarray) -> np.ndarray:
        if self.sample_format == "s16":
            return np.clip(np.rint(mono * 32768.0), -32768, 32767).astype(np.int16)
        return np.ascontiguousarray(mono, dtype=np.float32)

    def decode(self, payload: bytes, *, seed: int = 0) -> Wave:
        import av

        stream = unpack(payload)
        try:
            decoded = self._decode_packets(stream)
        except (av.FFmpegError, ValueError) as error:
            raise CodecError(f"{self.spec.codec_id}: {self.decoder} failed: {error}") from error
        wave = decoded[self.delay_samples : self.delay_samples + stream.samples]
        if len(wave) < stream.samples:
            raise CodecError(
                f"{self.spec.codec_id}: the payload claims {stream.samples} samples, "
                f"its packets decode to {len(wave)}; it is damaged"
            )
        return wave[None]

    def _decode_packets(self, stream: PacketStream) -> np.ndarray:
        import av

        context = _audio_context(self.decoder, "r")
        context.sample_rate = self.sample_rate
        context.layout = "mono"
        if stream.extradata:
            context.extradata = stream.extradata
        context.options = {"threads": "1", **self.decoder_options}
        context.open()
        parts = [
            self._from_frame(frame)
            for packet in (*stream.packets, None)
            for frame in context.decode(None if packet is None else av.Packet(packet))
        ]
        return np.concatenate(parts) if parts else np.zeros(0, dtype=np.float32)

    @property
    def decoder_options(self) -> Mapping[str, str]:
        """FFmpeg's private options of the decoder."""
        return {}

    def _from_frame(self, frame: "av.AudioFrame") -> np.ndarray:
        if frame.sample_rate != self.sample_rate or frame.layout.nb_channels != 1:
            raise CodecError(
                f"{self.spec.codec_id}: expected {self.sample_rate} Hz mono, a packet decodes to "
                f"{frame.sample_rate} Hz, {frame.layout.nb_channels} channels; it is damaged"
            )
        samples = frame.to_ndarray().reshape(-1)
        if samples.dtype == np.int16:
            return (samples / 32768.0).astype(np.float32)
        return samples.astype(np.float32)


class Opus(FfmpegCodec):
    """Opus (RFC 6716) by libopus, mono, 48 kHz, complexity 10, application ``audio``.

    Constant bitrate, so that ``opus@6kbps`` costs 6 kbit/s of every clip: left to itself (option
    ``vbr=on``) libopus spent 4.8 kbit/s of 6 on environmental sound and 5.5 on speech. Frames last
    60 ms below 12 kbit/s and 20 ms above: longer ones share their overhead, which at 6 kbit/s and
    constant bitrate raised PESQ from 2.0 to 2.5, and at 12 kbit/s no longer matters (3.95 and
    4.02). ``audio`` beats ``voip`` by 0.1 ViSQOL on music at 8 kbit/s and ties on speech.
    """

    family = "opus"
    summary = "Opus (libopus), constant bitrate, 48 kHz mono"
    points = tuple(f"{kbps}kbps" for kbps in (6, 8, 12, 16, 24, 32, 64))
    encoder = "libopus"
    decoder = "libopus"
    sample_format = "flt"
    #: The decoder drops the pre-skip by itself; RFC 7845 leaves its length to the encoder.
    pre_skip = 312

    def __init__(
        self, point: str = "", *, device: str = "cpu", frame_ms: str = "", vbr: str = "off"
    ) -> None:
        super().__init__(point, device=device)
        default_ms = "60" if self._kbps < 12 else "20"
        self._frame_ms = frame_ms or default_ms
        self._vbr = vbr
        if not 6 <= self._kbps <= 256:
            raise CodecError(f"opus takes 6 to 256 kbps in mono, got {point!r}")
        if self._frame_ms not in ("5", "10", "20", "40", "60"):
            raise CodecError(f"opus takes frame_ms 5, 10, 20, 40 or 60, got {frame_ms!r}")
        if vbr not in ("off", "on", "constrained"):
            raise CodecError(f"opus takes vbr=off, on or constrained, got {vbr!r}")
        chosen = {"frame_ms": self._frame_ms, "vbr": vbr}
        usual = {"frame_ms": default_ms, "vbr": "off"}
        self._options = {key: chosen[key] for key in chosen if chosen[key] != usual[key]}

    @property
    def sample_rate(self) -> int:
        return 48000

    @property
    def frame_samples(self) -> int:
        return 48 * int(self._frame_ms)

    @property
    def skipped_samples(self) -> int:
        return self.pre_skip

    @property
    def rate_control(self) -> str:
        return "cbr" if self._vbr == "off" else "vbr"

    @property
    def encoder_options(self) -> Mapping[str, str]:
        return {
            "application": "audio",
            "vbr": self._vbr,
            "frame_duration": self._frame_ms,
            "compression_level": "10",
        }


class Mp3(FfmpegCodec):
    """MPEG-1/2 layer III by LAME, mono, constant bitrate, at a sample rate that suits it."""

    family = "mp3"
    summary = "MP3 (LAME), constant bitrate, mono"
    points = tuple(f"{kbps}kbps" for kbps in (16, 24, 32, 48, 64, 96, 128))
    encoder = "libmp3lame"
    decoder = "mp3float"
    sample_format = "fltp"
    #: 576 of the encoder's and 529 of the decoder's filter bank.
    delay_samples = 576 + 529
    #: Highest bitrate, kbit/s -> sample rate, Hz.
    rates: ClassVar[dict[float, int]] = {16: 16000, 32: 24000, 48: 32000, 320: 48000}

    def __init__(self, point: str = "", *, device: str = "cpu") -> None:
        super().__init__(point, device=device)
        if self._kbps not in (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 256, 320):
            raise CodecError(f"mp3 has the bitrates 8, 16, 24, 32, 40, ... 320, got {point!r}")

    @property
    def sample_rate(self) -> int:
        return next(rate for kbps, rate in self.rates.items() if self._kbps <= kbps)

    @property
    def frame_samples(self) -> int:
        return 1152 if self.sample_rate >= 32000 else 576


class Aac(FfmpegCodec):
    """AAC-LC (ISO/IEC 14496-3) by FFmpeg's own encoder, mono, average bitrate.

    FFmpeg's coder is not the best AAC there is (fdk-aac and Apple's are better, and HE-AAC is
    another codec), but it is the one that comes with PyAV; say so where it loses.

    The coder is ``twoloop`` below 32 kbit/s and ``fast`` from there: on speech, music and sounds at
    16 kHz ``twoloop`` was better by 0.15 ViSQOL at 24 kbit/s and worse by 0.03 at 32 to 64, and at
    128 kbit/s it spent 140 (``fast``: 135).
    """

    family = "aac"
    summary = "AAC-LC (FFmpeg's encoder), average bitrate, mono"
    points = tuple(f"{kbps}kbps" for kbps in (16, 24, 32, 48, 64, 96, 128))
    encoder = "aac"
    decoder = "aac"
    sample_format = "fltp"
    #: The first frame is the overlap that the first samples are built on.
    delay_samples = 1024
    #: Highest bitrate, kbit/s -> sample rate, Hz.
    rates: ClassVar[dict[float, int]] = {16: 16000, 32: 24000, 48: 32000, 288: 48000}

    def __init__(self, point: str = "", *, device: str = "cpu") -> None:
        super().__init__(point, device=device)
        if not 8 <= self._kbps <= 256:
            raise CodecError(f"aac takes 8 to 256 kbps in mono, got {point!r}")

    @property
    def sample_rate(self) -> int:
        return next(rate for kbps, rate in self.rates.items() if self._kbps <= kbps)

    @property
    def frame_samples(self) -> int:
        return 1024

    @property
    def rate_control(self) -> str:
        return "abr"

    @property
    def encoder_options(self) -> Mapping[str, str]:
        return {"aac_coder": "twoloop" if self._kbps < 32 else "fast"}


class TelephoneCodec(FfmpegCodec):
    """A codec with one sample rate, one frame length and a fixed list of bitrates."""

    sample_format = "s16"
    telephone_rate: ClassVar[int]
    frame_ms: ClassVar[int]

    def __init__(self, point: str = "", *, device: str = "cpu") -> None:
        super().__init__(point, device=device)
        if f"{self._kbps:g}kbps" not in self.points:
            raise CodecError(
                f"{self.family} has the points {', '.join(self.points)}, got {point!r}"
            )

    @property
    def sample_rate(self) -> int:
        return self.telephone_rate

    @property
    def frame_samples(self) -> int:
        return self.telephone_rate * self.frame_ms // 1000


class AmrNb(TelephoneCodec):
    """AMR narrow-band (3GPP TS 26.071), the speech codec of GSM and UMTS, by OpenCORE.

    The first byte of each packet is RFC 4867's table of contents and counted as framing. What is
    left is the frame rounded up to bytes: 4.8 kbit/s at 4.75.
    """

    family = "amr-nb"
    summary = "AMR narrow-band (OpenCORE), 8 kHz speech codec of GSM and UMTS"
    points = tuple(f"{kbps}kbps" for kbps in (4.75, 5.15, 5.9, 6.7, 7.4, 7.95, 10.2, 12.2))
    encoder = "libopencore_amrnb"
    decoder = "libopencore_amrnb"
    telephone_rate = 8000
    frame_ms = 20
    #: Look-ahead of the linear prediction, 5 ms.
    delay_samples = 40
    packet_overhead = 1

    @property
    def encoder_options(self) -> Mapping[str, str]:
        return {"dtx": "0"}


class G722(TelephoneCodec):
    """G.722 at 64 kbit/s: two ADPCM bands at 16 kHz, "HD voice" of office telephones."""

    family = "g722"
    summary = "G.722, 16 kHz telephone codec at 64 kbit/s"
    points = ("64kbps",)
    encoder = "g722"
    decoder = "g722"
    telephone_rate = 16000
    frame_ms = 20
    #: Of the two quadrature mirror filters with 24 taps.
    delay_samples = 22


class G7231(TelephoneCodec):
    """G.723.1 at 6.3 kbit/s, video telephony of 1996; FFmpeg does not encode its 5.3 kbit/s."""

    family = "g723-1"
    summary = "G.723.1, 8 kHz speech codec at 6.3 kbit/s"
    points = ("6.3kbps",)
    encoder = "g723_1"
    decoder = "g723_1"
    telephone_rate = 8000
    frame_ms = 30
    #: Look-ahead of the linear prediction, 7.5 ms.
    delay_samples = 60


class G726(TelephoneCodec):
    """G.726: ADPCM with 2 to 5 bits a sample at 8 kHz, as in DECT telephones (32 kbit/s)."""

    family = "g726"
    summary = "G.726 ADPCM, 8 kHz telephone codec (32 kbit/s in DECT)"
    points = tuple(f"{kbps}kbps" for kbps in (16, 24, 32, 40))
    encoder = "g726"
    decoder = "g726"
    telephone_rate = 8000
    short_last_frame = True

    @property
    def frame_samples(self) -> int:
        # FFmpeg's choice for 2, 3, 4 and 5 bits; the code itself has no frames.
        return {2: 4096, 3: 2736, 4: 2048, 5: 1640}[round(self._kbps / 8)]

    @property
    def encoder_options(self) -> Mapping[str, str]:
        return {"code_size": str(round(self._kbps / 8))}

    @property
    def decoder_options(self) -> Mapping[str, str]:
        return {"bits_per_coded_sample": str(round(self._kbps / 8))}
