"""Codecs and metrics that misbehave, named ``fakes:Class`` so that workers can import them."""

import ctypes
import os
import time
from pathlib import Path
from typing import ClassVar

import numpy as np

from bench.errors import MeasureError, Reason
from bench.metrics import Measurement, Metric
from codec_zoo import Codec, CodecError, CodecSpec, Encoded


class Pcm(Codec):
    """16-bit samples: a codec that works."""

    family = "pcm-fake"
    summary = "for tests"
    kind = "classical"
    bits = 16

    def __init__(self, point="", *, device="cpu", **options):
        self._id = f"fakes:{type(self).__name__}"
        self._options = options

    @property
    def spec(self):
        return CodecSpec(
            codec_id=self._id,
            sample_rate=16000,
            channels=1,
            kind=self.kind,
            nominal_kbps=16.0 * self.bits,
            implementation="test",
            deterministic="Dither" not in type(self).__name__,
        )

    def encode(self, wave):
        return Encoded((np.clip(wave[0], -1, 1) * 32767).astype("<i2").tobytes())

    def decode(self, payload, *, seed=0):
        return (np.frombuffer(payload, "<i2").astype(np.float32) / 32767)[None]


class Dither(Pcm):
    """Adds noise that depends on the seed, at a fixed level."""

    def decode(self, payload, *, seed=0):
        wave = super().decode(payload)
        noise = np.random.default_rng(seed).normal(0, 0.003, wave.shape)
        return (wave + noise).astype(np.float32)


class SlowDither(Dither):
    """Takes its time as well."""

    def encode(self, wave):
        time.sleep(0.2)
        return super().encode(wave)


class Coarse(Pcm):
    """Keeps six bits of each sample: audibly worse."""

    def decode(self, payload, *, seed=0):
        wave = super().decode(payload)
        return (np.round(wave * 32) / 32).astype(np.float32)


class Short(Pcm):
    """Loses the second half."""

    def decode(self, payload, *, seed=0):
        wave = super().decode(payload)
        return wave[:, : wave.shape[1] // 2]


class Nan(Pcm):
    """Decodes to NaN."""

    def decode(self, payload, *, seed=0):
        return super().decode(payload) * np.float32("nan")


class Refuses(Pcm):
    """Raises its own error, but only for loud clips."""

    def encode(self, wave):
        if np.abs(wave).max() > 0.8:
            raise CodecError("this codec takes quiet clips only; lower the level")
        return super().encode(wave)


class Bug(Pcm):
    """Raises what nobody expected."""

    def encode(self, wave):
        raise ZeroDivisionError("division\nby zero")


class Segfault(Pcm):
    """Kills its process, for loud clips."""

    batch_size = 4

    def encode(self, wave):
        if np.abs(wave).max() > 0.8:
            ctypes.string_at(0)
        return super().encode(wave)


class Hang(Pcm):
    """Never ends."""

    def encode(self, wave):
        time.sleep(10_000)


class SlowPcm(Pcm):
    """Takes its time, so that a node can be killed in the middle."""

    def encode(self, wave):
        time.sleep(0.2)
        return super().encode(wave)


class Chatty(Pcm):
    """Prints to both streams."""

    def encode(self, wave):
        os.write(1, b"noise on stdout\n" * 10_000)
        return super().encode(wave)


class Missing(Pcm):
    """Needs a package that is not there."""

    @classmethod
    def unavailable_reason(cls):
        return "the package missing-codec is not installed; pip install missing-codec"


class Peak(Metric):
    """A metric that works."""

    name = "peak"
    summary = "for tests"
    higher_is_better = None
    params = {"implementation": "test"}  # noqa: RUF012

    def measure(self, pair):
        return Measurement(float(np.abs(pair.degraded.samples).max()))


class Threads(Peak):
    """How many threads libraries may use."""

    name = "threads"

    def measure(self, pair):
        return Measurement(float(os.environ["OMP_NUM_THREADS"]))


class SlowPeak(Peak):
    """Takes its time, so that a run can be killed in the middle."""

    name = "slow-peak"

    def measure(self, pair):
        time.sleep(0.05)
        return super().measure(pair)


class CrashOnLoud(Peak):
    """Kills its process, for loud clips."""

    name = "crash-on-loud"

    def measure(self, pair):
        if np.abs(pair.reference.samples).max() > 0.8:
            os._exit(9)
        return super().measure(pair)


class SegfaultOnLoud(Peak):
    """Reads where nothing is, for loud clips."""

    name = "segfault-on-loud"

    def measure(self, pair):
        if np.abs(pair.reference.samples).max() > 0.8:
            ctypes.string_at(0)
        return super().measure(pair)


class Leak(Peak):
    """Keeps 60 MB of every call; gives away in which process it ran."""

    name = "leak"
    kept: ClassVar[list] = []

    def measure(self, pair):
        self.kept.append(np.ones(60 * 2**17))
        return Measurement(float(os.getpid()))


class Fork(Peak):
    """Starts a process that never ends, notes its id, and waits for it."""

    name = "fork"

    def measure(self, pair):
        if (child := os.fork()) == 0:
            time.sleep(10_000)
        Path(os.environ["FAKES_FOLDER"], "pid").write_text(str(child))
        os.waitpid(child, 0)


class Verbose(Peak):
    """Prints thirty megabytes."""

    name = "verbose"

    def measure(self, pair):
        os.write(2, b"a line that nobody wants to read\n" * 2**20)
        return super().measure(pair)


class HangAlways(Peak):
    """Never ends."""

    name = "hang-always"

    def measure(self, pair):
        time.sleep(10_000)


class HangOnLoud(Peak):
    """Never ends, for loud clips."""

    name = "hang-on-loud"

    def measure(self, pair):
        if np.abs(pair.reference.samples).max() > 0.8:
            time.sleep(10_000)
        return super().measure(pair)


class NanValue(Peak):
    """Gives NaN."""

    name = "nan-value"

    def measure(self, pair):
        return Measurement(float("nan"))


class Typed(Peak):
    """Fails with a reason of its own."""

    name = "typed"

    def measure(self, pair):
        raise MeasureError(Reason.NO_UTTERANCES, "nobody speaks")
