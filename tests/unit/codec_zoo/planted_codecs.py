"""One good adapter and many with a planted fault, each a fault that somebody really shipped.

Not a test module: conformance imports it, also in a fresh process.
"""

import os
import struct
import time
from dataclasses import replace

import numpy as np

from codec_zoo.base import Codec, CodecError, CodecSpec, Encoded, checked_wave, parse_number

RATE, FRAME = 16000, 320


class Good(Codec):
    """Eight or five bits a sample of a 16 kHz signal, in frames of 20 ms."""

    family = "good"
    summary = "keeps the contract"
    points = ("80kbps", "128kbps")
    kind = "neural"

    def __init__(self, point="", *, device="cpu"):
        self.kbps = parse_number(type(self), point, "kbps")
        self.highest = 2 ** (round(self.kbps / 16) - 1) - 1

    @property
    def spec(self):
        return CodecSpec(
            codec_id=f"good@{self.kbps:g}kbps",
            sample_rate=RATE,
            channels=1,
            kind="neural",
            nominal_kbps=self.kbps,
            frame_rate=RATE / FRAME,
            implementation="planted",
        )

    def encode(self, wave):
        wave = checked_wave(wave, self.spec)[0]
        frames = -(-len(wave) // FRAME)
        padded = np.pad(wave, (0, frames * FRAME - len(wave)))
        codes = np.rint(np.clip(padded, -1, 1) * self.highest).astype(np.int64) + self.highest
        width = round(self.kbps / 16)
        bits = np.unpackbits(codes.astype(np.uint8)[:, None], axis=1)[:, -width:]
        return Encoded(struct.pack("<I", len(wave)) + np.packbits(bits).tobytes(), overhead_bytes=4)

    def decode(self, payload, *, seed=0):
        width = round(self.kbps / 16)
        count = struct.unpack("<I", payload[:4])[0] if len(payload) > 4 else 0
        frames = -(-count // FRAME)
        if not count or len(payload) - 4 != frames * FRAME * width // 8:
            raise CodecError("the payload is damaged")
        bits = np.unpackbits(np.frombuffer(payload, np.uint8, offset=4)).reshape(-1, width)
        codes = bits @ (1 << np.arange(width)[::-1])
        wave = (codes - self.highest) / self.highest
        return wave[:count].astype(np.float32)[None]


class DropsLastFrameShort(Good):
    def decode(self, payload, *, seed=0):
        return super().decode(payload)[:, :-FRAME]


class DropsLastFramePadded(Good):
    def decode(self, payload, *, seed=0):
        wave = super().decode(payload)
        wave[:, -FRAME:] = 0
        return wave


class DropsIncompleteFrame(Good):
    def decode(self, payload, *, seed=0):
        wave = super().decode(payload)
        wave[:, wave.shape[1] // FRAME * FRAME :] = 0
        return wave


class HoldsLastValue(Good):
    def decode(self, payload, *, seed=0):
        wave = super().decode(payload)
        wave[:, -FRAME:] = wave[:, -FRAME - 1 : -FRAME]
        return wave


class EightEarly(Good):
    def decode(self, payload, *, seed=0):
        return np.pad(super().decode(payload)[:, 8:], ((0, 0), (0, 8)))


class ThreeLate(Good):
    def decode(self, payload, *, seed=0):
        wave = super().decode(payload)
        return np.pad(wave, ((0, 0), (3, 0)))[:, : wave.shape[1]]


class EnvelopeLate(Good):
    """A vocoder (it keeps envelopes, not the waveform) that is 60 ms late."""

    def decode(self, payload, *, seed=0):
        wave = super().decode(payload)
        late = np.pad(wave, ((0, 0), (960, 0)))[:, : wave.shape[1]]
        envelope = np.sqrt(np.convolve(late[0] ** 2, np.ones(160) / 160, mode="same"))
        noise = np.random.default_rng(0).standard_normal(wave.shape[1])
        return (envelope * noise).astype(np.float32)[None]


class RemembersOnSelf(Good):
    def encode(self, wave):
        self.last = checked_wave(wave, self.spec)
        return super().encode(wave)

    def decode(self, payload, *, seed=0):
        return self.last


class RemembersOnClass(Good):
    last = None

    def encode(self, wave):
        type(self).last = checked_wave(wave, self.spec)
        return super().encode(wave)

    def decode(self, payload, *, seed=0):
        return type(self).last


WAVES = {}


class RemembersByPayload(Good):
    """Finds the very wave that it encoded: right here, impossible anywhere else."""

    def encode(self, wave):
        encoded = super().encode(wave)
        WAVES[encoded.payload] = checked_wave(wave, self.spec)
        return encoded

    def decode(self, payload, *, seed=0):
        if payload not in WAVES:
            raise CodecError("the payload is damaged")
        return WAVES[payload]


class RemembersOnSelfByPayload(Good):
    def __init__(self, point="", *, device="cpu"):
        super().__init__(point)
        self.waves = {}

    def encode(self, wave):
        encoded = super().encode(wave)
        self.waves[encoded.payload] = checked_wave(wave, self.spec)
        return encoded

    def decode(self, payload, *, seed=0):
        return self.waves.get(payload, super().decode(payload))


class ReturnsConstant(Good):
    def decode(self, payload, *, seed=0):
        return np.full_like(super().decode(payload), 0.1)


class ReturnsOtherClip(Good):
    """Depends on the payload, but not in a way that has to do with the sound."""

    def decode(self, payload, *, seed=0):
        wave = super().decode(payload)
        loudness = float(wave.std())
        noise = np.random.default_rng(len(payload)).standard_normal(wave.shape)
        return (noise * 0.01 / max(loudness, 1e-3)).astype(np.float32)


class DeclaresHalfBitrate(Good):
    @property
    def spec(self):
        return CodecSpec(**{**vars(super().spec), "nominal_kbps": self.kbps / 2})


class HidesInOverhead(Good):
    @property
    def spec(self):
        return CodecSpec(**{**vars(super().spec), "nominal_kbps": self.kbps / 10})

    def encode(self, wave):
        payload = super().encode(wave).payload
        return Encoded(payload, overhead_bytes=len(payload) * 9 // 10)


class WrongCodebooks(Good):
    @property
    def spec(self):
        return CodecSpec(**{**vars(super().spec), "codebook_sizes": (1024, 1024)})


class Shows(Good):
    """Keeps the optional part of the contract: each sample of a frame is a codebook."""

    embed_streams = ("all",)
    carries_codes = True

    @property
    def width(self):
        return round(self.kbps / 16)

    @property
    def spec(self):
        return CodecSpec(**{**vars(super().spec), "codebook_sizes": (2**self.width,) * FRAME})

    def encode(self, wave):
        encoded = super().encode(wave)
        bits = np.unpackbits(np.frombuffer(encoded.payload, np.uint8, offset=4))
        codes = bits.reshape(-1, self.width) @ (1 << np.arange(self.width, dtype=np.int64)[::-1])
        return replace(encoded, codes=codes.reshape(-1, FRAME).T)

    def embed(self, codes, stream="all"):
        return codes.astype(np.float32)

    def with_codes(self, payload, codes):
        flat = codes.T.reshape(-1, 1).astype(np.uint8)
        return payload[:4] + np.packbits(np.unpackbits(flat, axis=1)[:, -self.width :]).tobytes()


class EmbedsNothing(Shows):
    def embed(self, codes, stream="all"):
        return np.zeros(codes.shape, np.float32)


class EmbedsDouble(Shows):
    def embed(self, codes, stream="all"):
        return codes.astype(np.float64)


class LosesAStream(Shows):
    def token_streams(self, codes):
        return super().token_streams(codes)[:-1]


class KeepsItsCodes(Shows):
    def with_codes(self, payload, codes):
        return payload


class RandomEncoder(Good):
    def encode(self, wave):
        dither = np.random.default_rng().uniform(-1, 1, np.shape(wave)) / self.highest
        return super().encode(np.asarray(wave) + dither.astype(np.float32))


class RandomDecoder(Good):
    def decode(self, payload, *, seed=0):
        wave = super().decode(payload)
        return wave + np.random.default_rng().normal(0, 1e-3, wave.shape).astype(np.float32)


class SeedNotDeclared(Good):
    def decode(self, payload, *, seed=0):
        wave = super().decode(payload)
        noise = np.random.default_rng(seed).normal(0, 1e-3, wave.shape)
        return wave + noise.astype(np.float32)


class SeedDeclared(SeedNotDeclared):
    @property
    def spec(self):
        return CodecSpec(**{**vars(super().spec), "deterministic": False})


class BatchEncodesOtherwise(Good):
    def encode_batch(self, waves):
        peak = max(float(np.abs(wave).max()) for wave in waves)
        return [self.encode(wave / peak) for wave in waves]


class BatchDecodesOtherwise(Good):
    def decode_batch(self, payloads, *, seeds):
        waves = [self.decode(payload) for payload in payloads]
        longest = max(wave.shape[1] for wave in waves)
        return [np.pad(wave, ((0, 0), (0, longest - wave.shape[1]))) for wave in waves]


class QualityFalls(Good):
    def decode(self, payload, *, seed=0):
        wave = super().decode(payload)
        if self.kbps < 128:
            return wave
        return np.rint(wave * 7).astype(np.float32) / 7


class Normalises(Good):
    def decode(self, payload, *, seed=0):
        wave = super().decode(payload)
        return wave * np.float32(0.5 / max(float(np.abs(wave).max()), 1e-6))


class NanOnSilence(Good):
    def decode(self, payload, *, seed=0):
        wave = super().decode(payload)
        with np.errstate(invalid="ignore"):
            return wave / np.abs(wave).max() * np.abs(wave).max()


class WritesIntoInput(Good):
    def encode(self, wave):
        wave *= np.float32(0.5)
        return super().encode(wave)


class TakesStereo(Good):
    def encode(self, wave):
        return super().encode(wave[:1])


class NeedsHalfASecond(Good):
    def encode(self, wave):
        if wave.shape[1] < RATE // 4:
            raise CodecError("too short")
        return super().encode(wave)


class Drifts(Good):
    """Chunks of a second that each lose four samples."""

    def decode(self, payload, *, seed=0):
        wave = super().decode(payload)
        chunks = [wave[:, start : start + RATE - 4] for start in range(0, wave.shape[1], RATE)]
        out = np.concatenate(chunks, axis=1)
        return np.pad(out, ((0, 0), (0, wave.shape[1] - out.shape[1])), mode="symmetric")


class RaisesOnDamage(Good):
    def decode(self, payload, *, seed=0):
        struct.unpack("<I", payload[:4])
        return super().decode(payload)


class DiesOnDamage(Good):
    def decode(self, payload, *, seed=0):
        try:
            return super().decode(payload)
        except CodecError:
            os._exit(139)


class HangsOnDamage(Good):
    def decode(self, payload, *, seed=0):
        try:
            return super().decode(payload)
        except CodecError:
            time.sleep(1000)
            raise


class RandomSpec(Good):
    @property
    def spec(self):
        return CodecSpec(**{**vars(super().spec), "params": {"started": time.time()}})


class GivesDouble(Good):
    def decode(self, payload, *, seed=0):
        return super().decode(payload).astype(np.float64)
