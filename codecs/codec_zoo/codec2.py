"""Codec 2 (David Rowe), the open vocoder below 4 kbit/s, through its programs c2enc and c2dec."""

# ruff: noqa: D102 - the methods of the contract are documented in base.Codec

import shutil
import subprocess
from functools import cached_property
from typing import ClassVar

import numpy as np

from codec_zoo.base import (
    Codec,
    CodecError,
    CodecSpec,
    CodecUnavailableError,
    Encoded,
    Wave,
    checked_wave,
    format_codec_id,
    parse_number,
)
from codec_zoo.packets import PacketStream, unpack

SAMPLE_RATE = 8000
#: Seconds a program may take for a clip: some hundred times what it needs for the longest clip.
TIMEOUT_S = 300


class Codec2(Codec):
    """A sinusoidal vocoder for speech at 8 kHz; music and sounds are outside its model.

    The bits of all frames are packed without gaps, where ``c2enc`` rounds each frame up to bytes
    (which would make 600 bit/s of 450). ``700bps`` is mode 700C.
    """

    family = "codec2"
    summary = "Codec 2 vocoder for speech, 0.45 to 3.2 kbit/s (programs c2enc, c2dec)"
    points = tuple(f"{bps}bps" for bps in (450, 700, 1200, 1300, 1400, 1600, 2400, 3200))
    kind = "classical"
    #: Bit rate -> frame length, ms.
    frames_ms: ClassVar[dict[int, int]] = {
        450: 40,
        700: 40,
        1200: 40,
        1300: 40,
        1400: 40,
        1600: 40,
        2400: 20,
        3200: 20,
    }

    #: Bit rate -> delay of analysis and synthesis, samples; 150 at all others. Measured by the
    #: envelopes of speech, to about 8 samples (1 ms).
    delays: ClassVar[dict[int, int]] = {450: 208, 700: 224}

    @classmethod
    def unavailable_reason(cls) -> str | None:
        missing = [name for name in ("c2enc", "c2dec") if shutil.which(name) is None]
        if missing:
            return f"{' and '.join(missing)} not found on PATH: apt-get install codec2"
        return None

    def __init__(self, point: str = "", *, device: str = "cpu") -> None:
        self._bps = round(parse_number(type(self), point, "bps"))
        if self._bps not in self.frames_ms:
            raise CodecError(f"codec2 has the points {', '.join(self.points)}, got {point!r}")
        self._mode = "700C" if self._bps == 700 else str(self._bps)

    @property
    def spec(self) -> CodecSpec:
        return self._spec

    @cached_property
    def _spec(self) -> CodecSpec:
        return CodecSpec(
            codec_id=format_codec_id(self.family, f"{self._bps}bps"),
            sample_rate=SAMPLE_RATE,
            channels=1,
            kind="classical",
            nominal_kbps=self._bps / 1000,
            frame_rate=1000 / self.frames_ms[self._bps],
            implementation="c2enc and c2dec of the installed codec2",
            params={"mode": self._mode},
        )

    @property
    def frame_samples(self) -> int:
        """Samples in one frame."""
        return SAMPLE_RATE * self.frames_ms[self._bps] // 1000

    @property
    def delay_samples(self) -> int:
        """Samples by which the decoder's output lags the input, before it is cut off."""
        return self.delays.get(self._bps, 150)

    def encode(self, wave: Wave) -> Encoded:
        wave = checked_wave(wave, self.spec)
        frames = -(-(wave.shape[1] + self.delay_samples) // self.frame_samples)
        # The analysis looks ahead; silence there would fade out the last 10 ms, a mirror does not.
        missing = max(0, frames * self.frame_samples - wave.shape[1])
        padded = np.pad(wave[0], (0, missing), mode="symmetric")
        samples = np.clip(np.rint(padded * 32768.0), -32768, 32767).astype("<i2")
        bits = np.frombuffer(self._run("c2enc", samples.tobytes()), dtype=np.uint8)
        if len(bits) != frames * self._bits_per_frame:
            raise CodecError(
                f"c2enc gave {len(bits)} bits, expected {frames * self._bits_per_frame}"
            )
        packed = np.packbits(bits).tobytes()
        payload = PacketStream((packed,), wave.shape[1]).pack()
        return Encoded(payload, overhead_bytes=len(payload) - len(packed))

    def decode(self, payload: bytes, *, seed: int = 0) -> Wave:
        stream = unpack(payload)
        bits = np.unpackbits(np.frombuffer(b"".join(stream.packets), dtype=np.uint8))
        frames = -(-(stream.samples + self.delay_samples) // self.frame_samples)
        if not 0 <= len(bits) - frames * self._bits_per_frame < 8:
            raise CodecError(
                f"{stream.samples} samples take {frames * self._bits_per_frame} bits, "
                f"the payload holds {len(bits)}; it is damaged"
            )
        raw = self._run("c2dec", bits[: frames * self._bits_per_frame].tobytes())
        wave = np.frombuffer(raw, dtype="<i2")[self.delay_samples :][: stream.samples]
        if len(wave) < stream.samples:
            raise CodecError(f"c2dec gave {len(wave)} of {stream.samples} samples")
        return (wave[None] / 32768.0).astype(np.float32)

    @property
    def _bits_per_frame(self) -> int:
        return self._bps * self.frames_ms[self._bps] // 1000

    def _run(self, program: str, data: bytes) -> bytes:
        """Pipe ``data`` through a program; bits travel as one byte each."""
        path = shutil.which(program)
        if path is None:
            raise CodecUnavailableError(f"{program} not found on PATH: apt-get install codec2")
        try:
            done = subprocess.run(
                [path, self._mode, "-", "-", "--bitperchar"],
                input=data,
                capture_output=True,
                timeout=TIMEOUT_S,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise CodecError(f"{program} took over {TIMEOUT_S} s") from error
        if done.returncode != 0:
            words = done.stderr.decode(errors="replace").strip() or "without a message"
            raise CodecError(f"{program} ended with code {done.returncode}: {words}")
        return done.stdout
