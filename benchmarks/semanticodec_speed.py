"""How fast SemantiCodec codes here, beside a plain sequential setting of itself.

The sequential setting follows the released code's way: two batch-1 UNet calls per step, explicit
softmax attention, nothing cached, torch's own layers, one window after the other. All settings run
in this one process on the same random weights, so their ratios compare like with like.

A file of a minute takes the sequential setting a quarter of an hour of CPU time. So by default each
part is measured on what one call of it works on (a batch of windows in encoder and denoiser, one in
VAE and vocoder) and the file is composed of them: the numbers of windows, steps and calls are
counted, nothing else is estimated. ``--full`` runs the whole file instead:

    python benchmarks/semanticodec_speed.py --seconds 60
    python benchmarks/semanticodec_speed.py --seconds 20 --full --only sequential fast
    python benchmarks/semanticodec_speed.py --token-rate 25 --threads 2 --json out.json

Ratios are of CPU seconds (of the process, all threads; wall seconds on an accelerator): on a shared
machine only they are comparable. Of ``--repeats`` runs the cheapest counts.

The bound is what the multiplications alone would need: those of the plain layers (2 operations
each), counted by torch, at the rate that a large convolution reaches here.
"""

import argparse
import json
import math
import platform
import resource
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from semanticodec import Execution, SemantiCodec, operating_point
from semanticodec.config import SemantiCodecConfig
from semanticodec.decoding import Layout
from semanticodec.diffusion.denoiser import GuidedDenoiser
from semanticodec.diffusion.schedule import make_ladder
from semanticodec.memory import keep_freed_memory
from semanticodec.model import SemantiCodecModel
from semanticodec.settings import (
    PRESETS,
    SEQUENTIAL,
    DecodeSettings,
    autocast_dtype,
    has_bfloat16,
)

NUM_SEMANTIC = 16384


@dataclass(frozen=True)
class Cost:
    """Seconds."""

    wall: float
    cpu: float

    def __add__(self, other: "Cost") -> "Cost":
        return Cost(self.wall + other.wall, self.cpu + other.cpu)

    def __mul__(self, factor: float) -> "Cost":
        return Cost(self.wall * factor, self.cpu * factor)


@dataclass(frozen=True)
class Setting:
    """One way to run the same model."""

    name: str
    decode: DecodeSettings
    execution: Execution
    explicit_attention: bool = False


def settings(device: str, windows: int) -> Iterator[Setting]:
    """Yield the settings to compare; the first is the reference."""
    exact = PRESETS["quality"]
    ours = Execution(windows_per_call=windows)
    yield Setting("sequential", exact, SEQUENTIAL, explicit_attention=True)
    yield Setting("same output", exact, ours)
    yield Setting("balanced", PRESETS["balanced"], ours)
    yield Setting("fast", PRESETS["fast"], ours)
    if has_bfloat16(device):
        yield Setting("fast, float32", replace(PRESETS["fast"], dtype="float32"), ours)
        rough = replace(ours, encoder_dtype="bfloat16")
        yield Setting("fast, rough enc.", PRESETS["fast"], rough)
    if device != "cpu":  # on a CPU it takes minutes and gains nothing
        yield Setting("fast, compiled", PRESETS["fast"], replace(ours, compiler="inductor"))


def random_model(token_rate: int) -> SemantiCodecModel:
    """Build the full-size network with random weights of sensible size."""
    model = SemantiCodecModel(operating_point(token_rate, NUM_SEMANTIC))
    for name, value in model.named_parameters():
        if value.dim() > 1:
            scale = 0.5 if "lstm" in name else 1.0
            value.data.uniform_(-1, 1).mul_(scale * (3 / value[0].numel()) ** 0.5)
    model.semantic.centroids.normal_()
    model.acoustic.codebook.normal_(std=0.1)
    return model.requires_grad_(False).eval()


@dataclass(frozen=True)
class Clock:
    """Measures work on a device."""

    device: str
    repeats: int

    def once(self, work: Callable[[], object]) -> Cost:
        """Run once and return what it cost."""
        self._synchronize()
        wall, cpu = time.perf_counter(), time.process_time()
        work()
        self._synchronize()
        return Cost(time.perf_counter() - wall, time.process_time() - cpu)

    def best(self, work: Callable[[], object]) -> Cost:
        """Return the cheapest of some runs, after a warm-up on accelerators."""
        if self.device != "cpu":
            work()
        return min((self.once(work) for _ in range(self.repeats)), key=lambda cost: cost.cpu)

    def _synchronize(self) -> None:
        if self.device.startswith("cuda"):
            torch.cuda.synchronize()


@dataclass(frozen=True)
class Plan:
    """How often a file needs each part."""

    config: SemantiCodecConfig
    seconds: float

    @property
    def encoder_windows(self) -> int:
        """Windows of the encoder, which do not overlap."""
        return math.ceil(self.seconds * self.config.sample_rate / self.config.window_samples)

    @cached_property
    def decoder_windows(self) -> int:
        """Windows of the decoder, which overlap."""
        columns = math.ceil(self.seconds * self.config.sample_rate / self.config.column_samples)
        codes = torch.zeros(columns * self.config.grid[1], 2)
        return len(Layout.of(self.config).windows(codes))

    def guided(self, model: SemantiCodecModel, decode: DecodeSettings) -> tuple[int, int]:
        """Return how many steps are guided, and how many are not."""
        levels = make_ladder(model.alpha_bars, decode.num_steps, decode.spacing)[:-1]
        pairs = sum(decode.is_guided(level.noise_ratio) for level in levels)
        return pairs, len(levels) - pairs


@contextmanager
def running(setting: Setting, dtype: torch.dtype | None, device: str) -> Iterator[None]:
    """Enter what the codec would: no gradients, autocast; explicit attention if asked for."""
    kind = device.split(":")[0]
    plain = sdpa_kernel(SDPBackend.MATH) if setting.explicit_attention else nullcontext()
    cast = torch.autocast(kind, dtype=dtype, enabled=dtype is not None)
    with torch.inference_mode(), cast, plain:
        yield


class Bench:
    """Measures and composes; a part that two settings share is measured once."""

    def __init__(self, model: SemantiCodecModel, plan: Plan, clock: Clock) -> None:
        self.model = model
        self.plan = plan
        self.clock = clock
        self.known: dict[tuple, dict[str, Cost]] = {}

    def encode_parts(self, setting: Setting) -> dict[str, Cost]:
        """Return the cost per window of turning log-mel windows to tokens."""
        dtype = autocast_dtype(setting.execution.encoder_dtype, self.clock.device)
        key = "encode", setting.execution, setting.explicit_attention
        if key not in self.known:
            together = min(setting.execution.encoder_windows, self.plan.encoder_windows)
            frontend = self.model.config.frontend
            frames = self.model.config.audiomae.num_frames
            mel = torch.randn(together, frames, frontend.num_mels, device=self.clock.device)
            with running(setting, dtype, self.clock.device):
                cost = self.clock.best(lambda: self.model.tokenize(mel))
            self.known[key] = {f"{together} at a time": cost * (1 / together)}
        return self.known[key]

    def decode_parts(self, setting: Setting) -> dict[str, Cost]:
        """Return the cost of each part of the decoder per window, called on several where it is."""
        dtype = autocast_dtype(setting.decode.dtype, self.clock.device)
        key = "decode", setting.execution, setting.explicit_attention, dtype
        if key not in self.known:
            with running(setting, dtype, self.clock.device):
                self.known[key] = self._decode_parts(setting)
        return self.known[key]

    def _decode_parts(self, setting: Setting) -> dict[str, Cost]:
        model, config = self.model, self.model.config
        device, best = self.clock.device, self.clock.best
        calls = min(setting.execution.windows_per_call, self.plan.decoder_windows)
        codes = torch.randint(config.acoustic.codebook_size, (calls, config.positions, 2))
        context = torch.cat([model.condition(window[None].to(device)) for window in codes])
        always = replace(setting.decode, guidance_interval=None)
        never = replace(always, guidance_scale=1.0)
        denoisers = [
            GuidedDenoiser(model, context, decode, setting.execution) for decode in (always, never)
        ]
        prepare = best(lambda: denoisers[0]._prepare(context, slice(0, calls))) * (1 / calls)
        level = make_ladder(model.alpha_bars, 50, "trailing")[25]
        x = torch.randn(calls, *config.latent_shape, device=device)
        for denoise in denoisers:
            denoise(x, level)  # packs the weights, which a file needs once
        pair, single = (best(lambda run=run: run(x, level)) * (1 / calls) for run in denoisers)
        parts = {"prepare": prepare, "pair": pair, "single": single}
        together = min(setting.execution.waveform_windows, self.plan.decoder_windows)
        latents = x[:1].expand(together, -1, -1, -1)
        parts["vae"] = best(lambda: model.vae(latents)) * (1 / together)
        frames = config.audiomae.num_frames
        mel = torch.randn(1, frames, config.vae.num_mels, device=device)
        parts["vocoder"] = best(lambda: model.vocoder(mel))
        return parts

    def vocoder_windows(self, setting: Setting) -> float:
        """Return how much log-mel the vocoder sees, in windows.

        The released way runs it over every decoded window; ours over the joined log-mel, with some
        frames of context around each block.
        """
        config, count = self.model.config, self.plan.decoder_windows
        if setting.execution == SEQUENTIAL:
            return count
        blocks = math.ceil(count / setting.execution.waveform_windows)
        frames = self.plan.seconds * config.sample_rate / config.frontend.hop_samples
        context = 2 * self.model.vocoder.context_frames * (blocks - 1)
        return (frames + context) / config.audiomae.num_frames

    def composed(self, setting: Setting) -> tuple[Cost, Cost]:
        """Return the cost of encoding and of decoding the file."""
        (encode,) = self.encode_parts(setting).values()
        parts = self.decode_parts(setting)
        pairs, singles = self.plan.guided(self.model, setting.decode)
        window = parts["prepare"] + parts["pair"] * pairs + parts["single"] * singles
        decode = (window + parts["vae"]) * self.plan.decoder_windows
        decode = decode + parts["vocoder"] * self.vocoder_windows(setting)
        return encode * self.plan.encoder_windows, decode

    def whole(self, setting: Setting, codec: SemantiCodec) -> tuple[Cost, Cost]:
        """Run the file from end to end."""
        count = int(self.plan.seconds * codec.sample_rate)
        time_axis = np.arange(count) / codec.sample_rate
        wave = 0.3 * np.sin(2 * np.pi * (200 + 20 * time_axis) * time_axis)
        wave += 0.05 * np.random.default_rng(0).standard_normal(count)
        coded: list = []
        with running(setting, None, self.clock.device):
            encode = self.clock.once(lambda: coded.append(codec.encode(wave, codec.sample_rate)))
            return encode, self.clock.once(lambda: codec.decode(coded[0]))


@dataclass(frozen=True)
class Bound:
    """Operations of the plain layers, in units of 1e9 per window, and how fast this machine is."""

    encode: float
    call: float  # of the denoiser, without keys and values of the condition
    keys: float
    waveform: float  # VAE and vocoder
    rates: dict[torch.dtype, float]  # 1e9 operations a second

    def report(self) -> dict:
        """Return everything by name."""
        rates = {str(dtype).removeprefix("torch."): rate for dtype, rate in self.rates.items()}
        names = ("encode", "call", "keys", "waveform")
        return {f"gflop_{name}": round(getattr(self, name), 1) for name in names} | rates

    def seconds(self, setting: Setting, bench: Bench) -> float:
        """Return what a setting's multiplications need at that rate."""
        plan, device = bench.plan, bench.clock.device
        pairs, singles = plan.guided(bench.model, setting.decode)
        calls = 2 * pairs + singles
        keys = 2 if setting.execution.cache_keys else calls
        window = calls * self.call + keys * self.keys + self.waveform
        rate = self.rates[autocast_dtype(setting.decode.dtype, device) or torch.float32]
        encoder_dtype = autocast_dtype(setting.execution.encoder_dtype, device) or torch.float32
        encode = self.encode * plan.encoder_windows / self.rates[encoder_dtype]
        return encode + window * plan.decoder_windows / rate


def measure_bound(config: SemantiCodecConfig, clock: Clock) -> Bound:
    """Count the operations of one window, and time a convolution of the VAE's."""
    with torch.device("meta"):
        model = SemantiCodecModel(config).eval()
        context = torch.randn(1, config.positions, config.context_width)
        x = torch.randn(1, *config.latent_shape)
        step = torch.ones(1)
        mel = torch.randn(1, config.audiomae.num_frames, config.frontend.num_mels)
        steps, width = config.positions, config.feature_width
    keys = count(lambda: model.unet.project_context(context))
    call = count(lambda: model.unet(x, step, model.unet.project_context(context))) - keys
    waveform = count(lambda: model.vocoder(model.vae(x)))
    # torch does not count recurrent layers: 2 operations for each weight at each position
    lstm = model.acoustic.lstm.parameters()
    encode = count(lambda: model.audiomae(mel)) + 2e-9 * steps * sum(
        part.numel() for part in lstm if part.dim() == 2
    )
    encode += 2e-9 * steps * width * (4 * width + NUM_SEMANTIC + config.acoustic.codebook_size)
    rates = {torch.float32: rate_of(torch.float32, clock)}
    if has_bfloat16(clock.device):
        rates[torch.bfloat16] = rate_of(torch.bfloat16, clock)
    return Bound(encode, call, keys, waveform, rates)


def count(work: Callable[[], object]) -> float:
    """Return 1e9 operations of some work on "meta" tensors."""
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        work()
    return counter.get_total_flops() / 1e9


def rate_of(dtype: torch.dtype, clock: Clock) -> float:
    """Return 1e9 operations per second of a convolution of 512 channels."""
    x = torch.randn(1, 512, 256, 16, device=clock.device, dtype=dtype)
    x = x.contiguous(memory_format=torch.channels_last)
    weight = torch.randn(512, 512, 3, 3, device=clock.device, dtype=dtype)
    weight = weight.contiguous(memory_format=torch.channels_last)
    with torch.inference_mode():
        costs = [clock.once(lambda: F.conv2d(x, weight, padding=1)) for _ in range(5)]
    best = min(cost.cpu if clock.device == "cpu" else cost.wall for cost in costs)
    return 2 * weight.numel() * 256 * 16 / best / 1e9


def main() -> None:
    """Measure every setting and print one line for each."""
    options = arguments()
    torch.set_num_threads(options.threads)
    keep_freed_memory()  # as the command line does
    clock = Clock(options.device, options.repeats)
    config = operating_point(options.token_rate, NUM_SEMANTIC)
    bound = measure_bound(config, clock)
    bench = Bench(
        random_model(options.token_rate).to(options.device), Plan(config, options.seconds), clock
    )
    machine = {"machine": processor(), "torch": torch.__version__, "threads": options.threads,
               "device": options.device, "seconds": options.seconds, "bound": bound.report(),
               "token_rate": options.token_rate,
               "how": "whole file" if options.full else "composed of parts measured once",
               "windows": [bench.plan.encoder_windows, bench.plan.decoder_windows]}  # fmt: skip
    print(json.dumps(machine))
    print(f"{'setting':16s} {'CPU enc':>8s} {'CPU dec':>8s} {'sum':>7s} {'bound':>7s} {'wall':>7s} "
          f"{'CPU s per s of audio':>21s} {'speed-up':>9s}")  # fmt: skip
    rows: list[dict] = []
    for setting in settings(options.device, options.windows):
        if options.only and setting.name not in options.only:
            continue
        rows.append(
            measured(setting, bench, options.full) | {"bound": bound.seconds(setting, bench)}
        )
        report(rows[-1], rows[0], options)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"peak memory of the process {peak:.2f} GiB")
    if options.json:
        with open(options.json, "w") as file:  # noqa: PTH123
            json.dump(machine | {"rows": rows, "peak_gib": peak}, file, indent=2)


def measured(setting: Setting, bench: Bench, full: bool) -> dict:
    """Measure one setting."""
    codec = SemantiCodec.from_model(
        bench.model,
        settings=setting.decode,
        execution=setting.execution,
        device=bench.clock.device,
    )
    row: dict = {"setting": setting.name}
    if full:
        encode, decode = bench.whole(setting, codec)
    else:
        encode, decode = bench.composed(setting)
        parts = bench.encode_parts(setting) | bench.decode_parts(setting)
        row["cpu_per_call"] = {name: round(cost.cpu, 3) for name, cost in parts.items()}
        row["steps"] = bench.plan.guided(bench.model, setting.decode)
    return row | {
        "encode_cpu": encode.cpu,
        "decode_cpu": decode.cpu,
        "wall": encode.wall + decode.wall,
    }


def report(row: dict, first: dict, options: argparse.Namespace) -> None:
    """Print one line: seconds, seconds per second of audio, and the ratio to the first setting."""
    total = row["encode_cpu"] + row["decode_cpu"]
    reference = first["encode_cpu"] + first["decode_cpu"]
    ratio = reference / total if options.device == "cpu" else first["wall"] / row["wall"]
    print(
        f"{row['setting']:16s} {row['encode_cpu']:8.1f} {row['decode_cpu']:8.1f} {total:7.1f} "
        f"{row['bound']:7.1f} {row['wall']:7.1f} {total / options.seconds:21.2f} {ratio:8.2f}x"
    )
    if "cpu_per_call" in row:
        pairs, singles = row["steps"]
        print(
            f"   {pairs} guided and {singles} single steps; CPU s: {row['cpu_per_call']}",
            flush=True,
        )


def processor() -> str:
    """Return the name of the processor."""
    try:
        with open("/proc/cpuinfo") as file:  # noqa: PTH123 (not a regular file)
            names = [line.split(":")[1].strip() for line in file if line.startswith("model name")]
        return names[0]
    except (OSError, IndexError):
        return platform.processor()


def arguments() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seconds", type=float, default=60.0, help="of audio")
    parser.add_argument("--token-rate", type=int, default=100, choices=(25, 50, 100))
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--windows", type=int, default=Execution().windows_per_call,
                        help="windows in one denoiser call")  # fmt: skip
    parser.add_argument("--repeats", type=int, default=2, help="of each part; the cheapest counts")
    parser.add_argument("--full", action="store_true", help="run every step instead of composing")
    parser.add_argument("--only", nargs="*", help="names of settings")
    parser.add_argument("--json", help="file for the numbers")
    return parser.parse_args()


if __name__ == "__main__":
    main()
