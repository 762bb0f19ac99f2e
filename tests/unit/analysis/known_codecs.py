"""A codec of level and pitch per 10 ms, and ones that misbehave in a known way."""

from typing import ClassVar

import numpy as np

from bench.metrics import Measurement, Metric
from codec_zoo import Codec, CodecError, CodecSpec, Encoded
from codec_zoo.base import TokenStream

RATE, FRAME, SIZE = 16000, 160, 16


class Steps(Codec):
    """Two codebooks of 16: the level of each frame (3 dB steps) and its zero crossings."""

    family = "steps"
    summary = "for tests"
    kind = "neural"
    embed_streams = ("all", "first")
    carries_codes = True
    encodings: ClassVar[list[str]] = []

    def __init__(self, point="", *, device="cpu"):
        pass

    @property
    def spec(self):
        return CodecSpec(
            codec_id=f"known_codecs:{type(self).__name__}",
            sample_rate=RATE,
            channels=1,
            kind="neural",
            nominal_kbps=0.8,
            frame_rate=RATE / FRAME,
            codebook_sizes=(SIZE, SIZE),
            implementation=type(self).__name__,
        )

    def features(self, wave):
        frames = np.pad(wave[0], (0, -wave.shape[1] % FRAME)).reshape(-1, FRAME)
        level = 20 * np.log10(np.sqrt((frames**2).mean(1)) + 1e-4)
        crossings = (np.diff(np.signbit(frames), axis=1) != 0).sum(1)
        return np.stack([level / 3 + 14, crossings / 2]).astype(np.float32)

    def encode(self, wave):
        self.encodings.append(type(self).__name__)
        codes = np.clip(self.features(wave).round(), 0, SIZE - 1).astype(np.int64)
        return Encoded(self._pack(codes, wave.shape[1]), 4, codes)

    def _pack(self, codes, samples):
        return samples.to_bytes(4, "little") + (codes[0] * SIZE + codes[1]).astype("u1").tobytes()

    def _unpack(self, payload):
        samples, body = int.from_bytes(payload[:4], "little"), np.frombuffer(payload[4:], "u1")
        if len(body) != -(-samples // FRAME):
            raise CodecError(f"{len(body)} bytes are not {samples} samples; damaged")
        return np.stack([body // SIZE, body % SIZE]).astype(np.int64), samples

    def decode(self, payload, *, seed=0):
        codes, samples = self._unpack(payload)
        level = 10 ** ((codes[0] - 14.0) * 3 / 20) * np.sqrt(2)
        turns = np.repeat(codes[1] * 2 / FRAME / 2, FRAME).cumsum()
        wave = np.repeat(level, FRAME) * np.sin(2 * np.pi * turns)
        return wave[None, :samples].astype(np.float32)

    def embed(self, codes, stream="all"):
        return codes[: {"all": 2, "first": 1}[stream]].astype(np.float32)

    def with_codes(self, payload, codes):
        return self._pack(codes, self._unpack(payload)[1])


class MultiScale(Steps):
    """The same codes said to be one slow codebook and one of twice its rate."""

    def token_streams(self, codes):
        slow, fast = codes[0, ::2], codes[1]
        return (TokenStream("slow", slow, SIZE), TokenStream("fast", fast, SIZE))


class Fades(Steps):
    """Loses 3 dB in every generation."""

    def decode(self, payload, *, seed=0):
        return super().decode(payload) * np.float32(0.7079)


class Counts(Steps):
    """Its level code depends on how many frames came before: what a long file breaks."""

    def encode(self, wave):
        encoded = super().encode(wave)
        codes = encoded.codes.copy()
        codes[0] = np.maximum(0, codes[0] - np.arange(codes.shape[1]) // 40)
        return Encoded(self._pack(codes, wave.shape[1]), 4, codes)


class Silent(Steps):
    """Raises its own error for every clip."""

    def encode(self, wave):
        raise CodecError("nothing to hear")


class Bare(Steps):
    """Has no codes to show, as a classical codec."""

    embed_streams = ()
    carries_codes = False
    kind = "anchor"

    @property
    def spec(self):
        return CodecSpec(
            codec_id="known_codecs:Bare", sample_rate=RATE, channels=1, kind="anchor",
            nominal_kbps=0.8, implementation="Bare",
        )  # fmt: skip

    def encode(self, wave):
        encoded = super().encode(wave)
        return Encoded(encoded.payload, 4)


class Noise(Steps):
    """Decodes to noise, whatever was encoded; its codes say nothing either."""

    def encode(self, wave):
        frames = -(-wave.shape[1] // FRAME)
        seed = int(1e6 * np.abs(wave).sum()) % 2**32
        codes = np.random.default_rng(seed).integers(0, SIZE, (2, frames))
        return Encoded(self._pack(codes, wave.shape[1]), 4, codes)

    def decode(self, payload, *, seed=0):
        samples = self._unpack(payload)[1]
        noise = np.random.default_rng(list(payload)).normal(0, 0.1, (1, samples))
        return noise.astype(np.float32)


class EnvelopeError(Metric):
    """Mean distance of the frames' levels (3 dB) and pitches, as `Steps` hears them."""

    name = "envelope-error"
    summary = "for tests"
    higher_is_better = False
    params: ClassVar[dict[str, str]] = {"implementation": "test"}

    def measure(self, pair):
        first, second = (
            Steps().features(s.mono(RATE)[None]) for s in (pair.reference, pair.degraded)
        )
        return Measurement(float(np.abs(first - second).mean()))
