"""Anchors: what a metric says at known damage, to read a codec's score against.

``passthrough`` is the ceiling and ``noise`` the floor of every metric; the low-pass filters are
the anchors of a MUSHRA test (ITU-R BS.1534-3); PCM and mu-law say what resampling and 8-bit
telephony cost.
"""

# ruff: noqa: D102 - the methods of the contract are documented in base.Codec

import struct
import zlib

import numpy as np
from numpy.typing import NDArray

from codec_zoo.base import (
    Codec,
    CodecError,
    CodecSpec,
    Encoded,
    Wave,
    checked_wave,
    format_codec_id,
    parse_number,
)

#: Telephone quality and studio quality; between them every rate of a PCM anchor must lie.
PCM_RATES = (8000, 192000)
#: Rate at which the low-pass anchors filter, Hz.
LOWPASS_RATE = 48000
#: BS.1534-3, 5.1: the 3.5 kHz anchor loses at least 25 dB at 4 kHz and 50 dB at 4.5 kHz, with a
#: ripple of 0.1 dB; scaled in proportion for other edges. We reach 60 dB at the first of them.
LOWPASS_TRANSITION = 4.0 / 3.5
LOWPASS_STOP_DB = 60.0
#: G.711 mu-law: compression parameter, samples per second.
MU = 255.0
MULAW_RATE = 8000


def _samples_to_bytes(wave: NDArray[np.floating]) -> bytes:
    """Return one byte with the number of channels, then float32 samples, little endian."""
    return bytes([wave.shape[0]]) + wave.astype("<f4").tobytes()


def _fast_length(count: int) -> int:
    """Return the next power of two, which every FFT is quick at."""
    return 1 << (count - 1).bit_length()


def _bytes_to_samples(payload: bytes) -> Wave:
    channels = payload[0] if payload else 0
    if channels == 0 or len(payload) == 1 or (len(payload) - 1) % (4 * channels):
        raise CodecError(
            f"expected 1 + 4 * channels * samples bytes, got {len(payload)} for {channels} channels"
        )
    wave = np.frombuffer(payload, dtype="<f4", offset=1).reshape(channels, -1)
    if not np.isfinite(wave).all():
        raise CodecError("the payload holds NaN or infinity; it is damaged")
    return wave.astype(np.float32)


class Passthrough(Codec):
    """Keeps every sample: the best any metric can say. 32-bit floats at the clip's own rate."""

    family = "passthrough"
    summary = "every sample kept, to the bit: the ceiling of each metric"
    kind = "anchor"

    def __init__(self, point: str = "", *, device: str = "cpu") -> None:
        if point:
            raise CodecError(f"{self.family} has no operating points, got {point!r}")

    @property
    def spec(self) -> CodecSpec:
        return CodecSpec(
            codec_id=self.family,
            sample_rate=None,
            channels=None,
            kind="anchor",
            nominal_kbps=None,
            implementation="codec_zoo",
        )

    def encode(self, wave: Wave) -> Encoded:
        return Encoded(_samples_to_bytes(checked_wave(wave, self.spec)), overhead_bytes=1)

    def decode(self, payload: bytes, *, seed: int = 0) -> Wave:
        return _bytes_to_samples(payload)


class Noise(Codec):
    """Keeps nothing but each channel's level: the worst a metric can say of non-silent audio.

    The payload is the number of samples (4 bytes), one float32 RMS per channel and a checksum
    (4 bytes; a flipped bit in the length would make hours of noise). The decoder draws white
    Gaussian noise of exactly that RMS, other noise for another seed.
    """

    family = "noise"
    summary = "white noise of the clip's level: the floor of each metric"
    kind = "anchor"

    def __init__(self, point: str = "", *, device: str = "cpu") -> None:
        if point:
            raise CodecError(f"{self.family} has no operating points, got {point!r}")

    @property
    def spec(self) -> CodecSpec:
        return CodecSpec(
            codec_id=self.family,
            sample_rate=None,
            channels=None,
            kind="anchor",
            nominal_kbps=None,
            implementation=f"numpy {np.__version__}",
            deterministic=False,
        )

    def encode(self, wave: Wave) -> Encoded:
        wave = checked_wave(wave, self.spec)
        level = np.sqrt(np.mean(np.square(wave, dtype=np.float64), axis=1))
        body = struct.pack(f"<I{len(level)}f", wave.shape[1], *level)
        return Encoded(body + struct.pack("<I", zlib.crc32(body)), overhead_bytes=8)

    def decode(self, payload: bytes, *, seed: int = 0) -> Wave:
        body, checksum = payload[:-4], payload[-4:]
        if len(body) < 8 or struct.pack("<I", zlib.crc32(body)) != checksum:
            raise CodecError(f"the checksum of the {len(payload)} bytes is wrong; they are damaged")
        samples, *level = struct.unpack(f"<I{len(body) // 4 - 1}f", body)
        noise = np.random.default_rng(seed).standard_normal((len(level), samples))
        noise *= np.array(level)[:, None] / np.sqrt(np.mean(noise**2, axis=1, keepdims=True))
        return noise.astype(np.float32)


class LowPass(Codec):
    """Keeps what lies below an edge: the low (3.5 kHz) and mid (7 kHz) anchor of MUSHRA.

    A linear-phase filter without delay, at 48 kHz.
    """

    family = "lowpass"
    summary = "low-pass filter, the anchors of ITU-R BS.1534 (MUSHRA)"
    points = ("3500hz", "7000hz")
    kind = "anchor"

    def __init__(self, point: str = "", *, device: str = "cpu") -> None:
        self._edge_hz = parse_number(type(self), point, "hz")
        if not 50 <= self._edge_hz * LOWPASS_TRANSITION < LOWPASS_RATE / 2:
            raise CodecError(f"lowpass takes an edge between 50 and 20000 Hz, got {point!r}")

    @property
    def spec(self) -> CodecSpec:
        return CodecSpec(
            codec_id=format_codec_id(self.family, f"{self._edge_hz:g}hz"),
            sample_rate=LOWPASS_RATE,
            channels=None,
            kind="anchor",
            nominal_kbps=None,
            implementation="codec_zoo, Kaiser window FIR",
            params={"edge_hz": self._edge_hz, "stop_db": LOWPASS_STOP_DB},
        )

    def encode(self, wave: Wave) -> Encoded:
        wave = checked_wave(wave, self.spec)
        taps = self._taps()
        half, samples = len(taps) // 2, wave.shape[1]
        size = _fast_length(samples + len(taps) - 1)
        spectrum = np.fft.rfft(wave, size) * np.fft.rfft(taps, size)
        filtered = np.fft.irfft(spectrum, size)[:, half : half + samples]
        return Encoded(_samples_to_bytes(filtered), overhead_bytes=1)

    def decode(self, payload: bytes, *, seed: int = 0) -> Wave:
        return _bytes_to_samples(payload)

    def _taps(self) -> NDArray[np.float64]:
        """Return an odd number of symmetric taps, so that the delay is whole and can be cut.

        A sinc under a Kaiser window, its length and shape by Kaiser's formulas (1974).
        """
        width_hz = self._edge_hz * (LOWPASS_TRANSITION - 1)
        order = (LOWPASS_STOP_DB - 7.95) / (2.285 * 2 * np.pi * width_hz / LOWPASS_RATE)
        half = int(np.ceil(order / 2))
        cutoff = (self._edge_hz + width_hz / 2) / (LOWPASS_RATE / 2)
        sinc = np.sinc(cutoff * np.arange(-half, half + 1))
        taps = sinc * np.kaiser(2 * half + 1, 0.1102 * (LOWPASS_STOP_DB - 8.7))
        return taps / taps.sum()


class Pcm(Codec):
    """Plain 16-bit samples, mono, at the rate of the point: what resampling alone costs."""

    family = "pcm"
    summary = "16-bit PCM, mono: what the sample rate alone costs"
    points = ("16khz",)
    kind = "anchor"

    def __init__(self, point: str = "", *, device: str = "cpu") -> None:
        self._rate = round(1000 * parse_number(type(self), point, "khz"))
        if not PCM_RATES[0] <= self._rate <= PCM_RATES[1]:
            raise CodecError(f"pcm takes {PCM_RATES[0]} to {PCM_RATES[1]} Hz, got {point!r}")

    @property
    def spec(self) -> CodecSpec:
        return CodecSpec(
            codec_id=format_codec_id(self.family, f"{self._rate / 1000:g}khz"),
            sample_rate=self._rate,
            channels=1,
            kind="anchor",
            nominal_kbps=16 * self._rate / 1000,
            implementation="codec_zoo",
        )

    def encode(self, wave: Wave) -> Encoded:
        wave = checked_wave(wave, self.spec)
        return Encoded(np.clip(np.rint(wave * 32768.0), -32768, 32767).astype("<i2").tobytes())

    def decode(self, payload: bytes, *, seed: int = 0) -> Wave:
        if not payload or len(payload) % 2:
            raise CodecError(f"expected two bytes a sample, got {len(payload)} bytes")
        return (np.frombuffer(payload, dtype="<i2")[None] / 32768.0).astype(np.float32)


class MuLaw(Codec):
    """Eight bits a sample on a logarithmic scale at 8 kHz, as a telephone line of 1972 (G.711).

    The continuous mu-law characteristic of G.711 with 255 uniform steps of the compressed value,
    where the standard approximates it by eight straight segments.
    """

    family = "mulaw"
    summary = "8-bit mu-law companding at 8 kHz, mono: telephone quality"
    points = ("8khz",)
    kind = "anchor"

    def __init__(self, point: str = "", *, device: str = "cpu") -> None:
        if round(1000 * parse_number(type(self), point, "khz")) != MULAW_RATE:
            raise CodecError(f"mulaw has only {MULAW_RATE} Hz, got {point!r}")

    @property
    def spec(self) -> CodecSpec:
        return CodecSpec(
            codec_id=format_codec_id(self.family, self.points[0]),
            sample_rate=MULAW_RATE,
            channels=1,
            kind="anchor",
            nominal_kbps=8 * MULAW_RATE / 1000,
            implementation="codec_zoo",
        )

    def encode(self, wave: Wave) -> Encoded:
        wave = np.clip(checked_wave(wave, self.spec).astype(np.float64), -1.0, 1.0)
        compressed = np.sign(wave) * np.log1p(MU * np.abs(wave)) / np.log1p(MU)
        # Levels -127..127 with a level at zero, so that silence stays silent.
        return Encoded((np.rint(compressed * 127) + 128).astype(np.uint8).tobytes())

    def decode(self, payload: bytes, *, seed: int = 0) -> Wave:
        if not payload:
            raise CodecError("expected one byte a sample, got an empty payload")
        compressed = (np.frombuffer(payload, dtype=np.uint8).astype(np.float64) - 128) / 127
        wave = np.sign(compressed) * np.expm1(np.abs(compressed) * np.log1p(MU)) / MU
        return wave.astype(np.float32)[None]
