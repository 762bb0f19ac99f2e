"""Codecs of known cost, named ``timed_codecs:Class``."""

import time
from functools import cached_property

import numpy as np

from codec_zoo import Codec, CodecError, CodecSpec, Encoded

RATE = 8000
HIDDEN = 64


class Pcm(Codec):
    """16-bit samples; frames of 10 ms."""

    family = "pcm-timed"
    summary = "for tests"
    kind = "classical"
    frame_rate = 100.0

    def __init__(self, point="", *, device="cpu"):
        pass

    @property
    def spec(self):
        return CodecSpec(
            codec_id=f"timed_codecs:{type(self).__name__}",
            sample_rate=RATE,
            channels=1,
            kind=self.kind,
            nominal_kbps=16 * RATE / 1000,
            implementation="test",
            frame_rate=self.frame_rate,
        )

    def encode(self, wave):
        return Encoded((np.clip(wave[0], -1, 1) * 32767).astype("<i2").tobytes())

    def decode(self, payload, *, seed=0):
        return (np.frombuffer(payload, "<i2").astype(np.float32) / 32767)[None]


class Spins(Pcm):
    """Computes for 20 ms in each encoding, and sleeps for 30 ms in each decoding."""

    def encode(self, wave):
        end = time.process_time() + 0.02
        while time.process_time() < end:
            pass
        return super().encode(wave)

    def decode(self, payload, *, seed=0):
        time.sleep(0.03)
        return super().decode(payload)


class NoFrames(Pcm):
    """Does not say how much it codes at a time."""

    frame_rate = None


class WholeOnly(Pcm):
    """Cannot code a frame by itself."""

    def encode(self, wave):
        if wave.shape[1] < 100:
            raise CodecError("needs 100 samples")
        return super().encode(wave)


class Holds(Pcm):
    """Needs 200 MB."""

    def encode(self, wave):
        block = np.ones(200 * 2**20 // 8)
        return Encoded(super().encode(wave).payload + bytes(int(block[0] - 1)))


class Network(Pcm):
    """A matrix of 64 x 10 on frames of 10 samples while encoding, an LSTM while decoding."""

    kind = "neural"

    @cached_property
    def _linear(self):
        import torch

        return torch.nn.utils.parametrizations.weight_norm(torch.nn.Linear(10, HIDDEN))

    @cached_property
    def _lstm(self):
        import torch

        return torch.nn.LSTM(10, HIDDEN, batch_first=True)

    def encode(self, wave):
        import torch

        with torch.inference_mode():
            self._linear(torch.from_numpy(wave[:, : wave.shape[1] // 10 * 10]).reshape(-1, 10))
        return super().encode(wave)

    def decode(self, payload, *, seed=0):
        import torch

        wave = super().decode(payload)
        with torch.inference_mode():
            self._lstm(torch.from_numpy(wave[:, : wave.shape[1] // 10 * 10]).reshape(1, -1, 10))
        return wave

    def num_parameters(self):
        return sum(w.numel() for m in (self._linear, self._lstm) for w in m.parameters())


class Dies(Pcm):
    """Kills its process."""

    def encode(self, wave):
        import os

        os._exit(3)
