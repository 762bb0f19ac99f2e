"""Measure one codec on one device, in a process of its own.

The first pass loads and warms up; it is not counted. Then a clip is encoded and decoded several
times, and each pass is kept, with its wall seconds and its CPU seconds: on a machine that does
something else too, only the latter can be compared.

*Latency to first audio* is the time from having the input of the first unit (a frame, or a window
of many: :attr:`codec_zoo.base.Codec.unit_s`) until its audio exists: one unit is encoded and
decoded by itself. How long it takes until that much audio has come in is the unit's own length,
given beside it. What a decoder wants to see of the units that follow (look-ahead) is in neither.

*FLOP* are those of matrix products and convolutions as they are executed (a multiplication and an
addition are two), counted by torch on one pass in which attention and recurrent layers run step by
step instead of fused, so that their products are seen. Transforms, norms and activations are not
counted.
"""

import math
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from bench.audio import Samples, resample, to_channels
from bench.errors import MeasureError, Reason, Status
from bench.timing.machine import describe_device
from bench.worker import Failure, attempt, peak_memory_mb, reset_peak_memory
from codec_zoo import Codec, create

WARM_UPS = 1


@dataclass(frozen=True)
class Passes:
    """Seconds of each pass of one thing: by the clock, and of computing."""

    wall_s: tuple[float, ...] = ()
    cpu_s: tuple[float, ...] = ()


@dataclass(frozen=True)
class Missing:
    """Why a quantity has no value."""

    reason: Reason
    message: str


@dataclass(frozen=True)
class Cost:
    """What was measured of a codec on a device; what has no value is explained in ``missing``.

    Attributes:
        duration_s: Length of the audio that was coded.
        encode: Passes over that audio.
        decode: Passes over what was encoded of it.
        latency: Passes over one unit, encoding and decoding together.
        unit_s: Length of a unit.
        base_memory_mb: Resident memory of the process before the codec was built.
        peak_memory_mb: Most resident memory of the process, libraries included.
        device_memory_mb: Most memory that torch held on the accelerator.
        parameters: Of all networks.
        encode_flop: Of the whole audio.
        decode_flop: The same of decoding.
        device: Facts about it, as :func:`bench.timing.machine.describe_device` has them.
        missing: Name of a quantity -> why it has no value.
    """

    codec: str
    device_name: str
    status: Status = Status.OK
    reason: Reason | None = None
    message: str = ""
    duration_s: float = 0.0
    encode: Passes = Passes()
    decode: Passes = Passes()
    latency: Passes = Passes()
    unit_s: float | None = None
    base_memory_mb: float | None = None
    peak_memory_mb: float | None = None
    device_memory_mb: float | None = None
    parameters: int | None = None
    encode_flop: int | None = None
    decode_flop: int | None = None
    load_before: float = 0.0
    device: dict[str, Any] = field(default_factory=dict)
    missing: dict[str, Missing] = field(default_factory=dict)


@dataclass(frozen=True)
class SpeedTask:
    """One codec on one device; runs in a worker process.

    Attributes:
        samples: Audio ``[C, N]`` that is coded, at ``sample_rate``.
        repeats: Passes that are counted.
        threads: That torch may use.
    """

    codec_id: str
    device: str
    samples: Samples
    sample_rate: int
    repeats: int
    threads: int

    def run(self) -> Cost:
        """Measure."""
        done = attempt(f"speed of {self.codec_id}", Reason.CODEC_ERROR, lambda: measure(self))
        if isinstance(done, Failure):
            return Cost(self.codec_id, self.device, done.status, done.reason, done.message)
        return done

    def split(self) -> list["SpeedTask"]:
        """Return nothing: there is one codec only."""
        return []

    def failed(self, reason: Reason, message: str) -> Cost:
        """Return what is said of a codec that hung or killed its process."""
        return Cost(self.codec_id, self.device, Status.FAILED, reason, message)


def measure(task: SpeedTask) -> Cost:
    """Return what the codec of a task costs; see the module's text for the definitions.

    Raises:
        CodecError: If the codec cannot be built or cannot code the audio.
    """
    load_before = os.getloadavg()[0]
    reset_peak_memory()
    base_memory = peak_memory_mb()
    codec = create(task.codec_id, device=task.device)
    codec.warm_up()
    _set_threads(task.threads)
    rate = codec.spec.sample_rate or task.sample_rate
    wave = _at_rate(codec, task, rate)
    encode, decode = _round_trips(codec, wave, task)
    missing: dict[str, Missing] = {}
    latency = _or_missing("latency", missing, lambda: _latency(codec, wave, rate, task))
    memory = peak_memory_mb()
    flop = _or_missing("flop", missing, lambda: _flop(codec, wave))
    return Cost(
        codec=task.codec_id,
        device_name=task.device,
        duration_s=wave.shape[1] / rate,
        encode=encode,
        decode=decode,
        latency=latency or Passes(),
        unit_s=codec.unit_s,
        base_memory_mb=base_memory,
        peak_memory_mb=memory,
        device_memory_mb=_device_memory_mb(task.device),
        parameters=codec.num_parameters(),
        encode_flop=flop[0] if flop else None,
        decode_flop=flop[1] if flop else None,
        load_before=load_before,
        device=describe_device(task.device),
        missing=missing,
    )


def _set_threads(threads: int) -> None:
    """Hold torch to its threads, where the codec has loaded it (it costs 200 MB otherwise)."""
    if "torch" in sys.modules:
        import torch

        torch.set_num_threads(threads)


def _at_rate(codec: Codec, task: SpeedTask, rate: int) -> Samples:
    samples = to_channels(task.samples, codec.spec.channels or task.samples.shape[0])
    return resample(samples, task.sample_rate, rate)


def _round_trips(codec: Codec, wave: Samples, task: SpeedTask) -> tuple[Passes, Passes]:
    encodes, decodes = [], []
    for number in range(WARM_UPS + task.repeats):
        with _stopwatch(task.device) as encoding:
            payload = codec.encode(wave).payload
        with _stopwatch(task.device) as decoding:
            codec.decode(payload)
        if number >= WARM_UPS:
            encodes.append(encoding)
            decodes.append(decoding)
    return _passes(encodes), _passes(decodes)


def _latency(codec: Codec, wave: Samples, rate: int, task: SpeedTask) -> Passes:
    """Time one unit by itself, encoding and decoding together."""
    if codec.unit_s is None:
        raise MeasureError(
            Reason.NO_CODING_UNIT, "the codec does not say how much it codes at a time (unit_s)"
        )
    samples = max(1, round(codec.unit_s * rate))
    copies = -(-samples // wave.shape[1])
    unit = np.ascontiguousarray(np.tile(wave, copies)[:, :samples])
    watches = []
    for _ in range(WARM_UPS + task.repeats):
        with _stopwatch(task.device) as watch:
            codec.decode(codec.encode(unit).payload)
        watches.append(watch)
    return _passes(watches[WARM_UPS:])


@dataclass
class _Watch:
    wall_s: float = 0.0
    cpu_s: float = 0.0


@contextmanager
def _stopwatch(device: str) -> Iterator[_Watch]:
    """Time what is inside, until an accelerator has finished it."""
    watch = _Watch()
    _synchronize(device)
    wall, cpu = time.perf_counter(), time.process_time()
    yield watch
    _synchronize(device)
    watch.wall_s, watch.cpu_s = time.perf_counter() - wall, time.process_time() - cpu


def _synchronize(device: str) -> None:
    if device.startswith("cuda"):
        import torch

        torch.cuda.synchronize(device)


def _passes(watches: list[_Watch]) -> Passes:
    return Passes(tuple(watch.wall_s for watch in watches), tuple(watch.cpu_s for watch in watches))


def _device_memory_mb(device: str) -> float | None:
    if not device.startswith("cuda"):
        return None
    import torch

    return torch.cuda.max_memory_allocated(device) / 2**20


def _flop(codec: Codec, wave: Samples) -> tuple[int, int]:
    """Return the operations of encoding and of decoding."""
    if codec.num_parameters() is None:
        raise MeasureError(Reason.NO_NETWORK, "no torch network, so no operations are counted")
    with _counter() as encoding:
        payload = codec.encode(wave).payload
    with _counter() as decoding:
        codec.decode(payload)
    return encoding.get_total_flops(), decoding.get_total_flops()


@contextmanager
def _counter() -> Iterator[Any]:
    """Count torch's operations inside."""
    import torch
    from torch.nn.attention import SDPBackend, sdpa_kernel
    from torch.utils.flop_counter import FlopCounterMode

    recurrent = {torch.ops.aten._cudnn_rnn: _recurrent_flop}
    counter = FlopCounterMode(display=False, custom_mapping=recurrent)
    counter.mod_tracker = _NoModules()  # type: ignore[assignment]
    # Fused attention and oneDNN's recurrent layers are one opaque operation each.
    with (
        torch.backends.mkldnn.flags(enabled=False),
        sdpa_kernel(SDPBackend.MATH),
        counter,
    ):
        yield counter


class _NoModules:
    """Stands where torch notes which module an operation belongs to.

    Its own way hooks gradients, which fails on parametrized weights (those of EnCodec, DAC, Mimi)
    when there are none.
    """

    parents = frozenset({"Global"})

    def __enter__(self) -> "_NoModules":
        return self

    def __exit__(self, *_: object) -> None:
        pass


def _recurrent_flop(
    inputs: Sequence[int], weights: Sequence[Sequence[int]], *_: Any, **__: Any
) -> int:
    """Count cuDNN's recurrent layer: each matrix is applied once to each step of each item."""
    matrices = sum(math.prod(shape) for shape in weights if len(shape) == 2)
    return 2 * inputs[0] * inputs[1] * matrices


def _or_missing(name: str, missing: dict[str, Missing], work: Callable[[], Any]) -> Any:
    """Return what ``work`` gives, or None and note why."""
    done = attempt(name, Reason.CODEC_ERROR, work)
    if isinstance(done, Failure):
        missing[name] = Missing(done.reason, done.message)
        return None
    return done
