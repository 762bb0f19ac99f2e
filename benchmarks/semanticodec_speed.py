"""How fast SemantiCodec codes here, beside a plain sequential setting of itself.

The sequential setting follows the released code's way: two batch-1 UNet calls per step, explicit
softmax attention, nothing cached, torch's own layers, one window after the other. All settings run
in this one process on the same random weights, so their ratios compare like with like.

A file of a minute takes the sequential setting a quarter of an hour of CPU time. So by default each
part is measured on what runs together (one window sequentially, else a group of windows as the
codec forms it) and the file is composed of them: the numbers of windows and steps are counted,
nothing else is estimated. ``--full`` runs the whole file instead:

    python benchmarks/semanticodec_speed.py --seconds 60
    python benchmarks/semanticodec_speed.py --seconds 20 --full --only sequential fast
    python benchmarks/semanticodec_speed.py --token-rate 25 --threads 2 --json out.json

Ratios are of CPU seconds of the process (all threads), which alone are comparable on a shared
machine, and of wall seconds, which count on an idle one. All settings are measured in turn
``--repeats`` times, so that a slow spell of the machine hits them alike; the cheapest run counts.

The bound is what the multiplications alone would need: those of the plain layers (2 operations
each), counted by torch, at the rate that a large convolution reaches here.
"""

import argparse
import json
import math
import platform
import resource
import sys
import time
from collections.abc import Callable, Iterable, Iterator
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
from semanticodec.decoding import Decoder, Layout
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

    def least(self, other: "Cost") -> "Cost":
        """Return the smaller of both, in each way."""
        return Cost(min(self.wall, other.wall), min(self.cpu, other.cpu))


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

    def once(self, work: Callable[[], object]) -> Cost:
        """Run once and return what it cost."""
        self._synchronize()
        wall, cpu = time.perf_counter(), time.process_time()
        work()
        self._synchronize()
        return Cost(time.perf_counter() - wall, time.process_time() - cpu)

    def warm(self, work: Callable[[], object]) -> Cost:
        """Run once, on accelerators after a warm-up."""
        if self.device != "cpu":
            work()
        return self.once(work)

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
    def codes(self) -> torch.Tensor:
        """Random tokens ``[L, 2]`` of the file."""
        columns = math.ceil(self.seconds * self.config.sample_rate / self.config.column_samples)
        return torch.randint(self.config.acoustic.codebook_size, (columns * self.config.grid[1], 2))

    @property
    def decoder_windows(self) -> int:
        """Windows of the decoder, which overlap."""
        return len(Layout.of(self.config).windows(self.codes))

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


Parts = dict[str, Cost]  # per window


class Bench:
    """Measures and composes; a part that two settings share is measured once in a pass."""

    def __init__(self, model: SemantiCodecModel, plan: Plan, clock: Clock) -> None:
        self.model = model
        self.plan = plan
        self.clock = clock
        self.known: dict[tuple, Parts] = {}

    def codec(self, setting: Setting) -> SemantiCodec:
        """Return the codec that runs so."""
        return SemantiCodec.from_model(
            self.model,
            settings=setting.decode,
            execution=setting.execution,
            device=self.clock.device,
        )

    def measure(self, settings: Iterable[Setting]) -> None:
        """Measure every part of every setting once more, and keep the least."""
        done = set()
        for setting in settings:
            self.codec(setting)  # lays out the weights
            for key, work in self._work(setting).items():
                if key not in done:
                    done.add(key)
                    parts = work()
                    known = self.known.get(key, parts)
                    self.known[key] = {name: parts[name].least(known[name]) for name in parts}

    def _work(self, setting: Setting) -> dict[tuple, Callable[[], Parts]]:
        """Return what has to be measured for a setting."""
        encode = autocast_dtype(setting.execution.encoder_dtype, self.clock.device)
        decode = autocast_dtype(setting.decode.dtype, self.clock.device)
        layout = replace(setting.execution, encoder_dtype="float32")
        return {
            ("encode", setting.execution): lambda: self._encode_parts(setting, encode),
            ("decode", layout, decode): lambda: self._decode_parts(setting, decode),
        }

    def parts(self, setting: Setting) -> Parts:
        """Return the least cost of each part per window."""
        return {name: cost for key in self._work(setting) for name, cost in self.known[key].items()}

    def _encode_parts(self, setting: Setting, dtype: torch.dtype | None) -> Parts:
        """Measure turning log-mel windows to tokens."""
        together = min(setting.execution.encoder_windows, self.plan.encoder_windows)
        frames = self.model.config.audiomae.num_frames
        num_mels = self.model.config.frontend.num_mels
        mel = torch.randn(together, frames, num_mels, device=self.clock.device)
        with running(setting, dtype, self.clock.device):
            cost = self.clock.warm(lambda: self.model.tokenize(mel))
        return {"encoder": cost * (1 / together)}

    def _decode_parts(self, setting: Setting, dtype: torch.dtype | None) -> Parts:
        """Measure a guided and a single step, the VAE and the vocoder."""
        model, execution, clock = self.model, setting.execution, self.clock
        together = 1 if execution == SEQUENTIAL else setting.decode.joint_windows
        windows = Layout.of(model.config).windows(self.plan.codes)[:together]
        each = 1 / len(windows)
        context = torch.cat([model.condition(codes[None].to(clock.device)) for codes in windows])
        x = torch.randn(len(windows), *model.config.latent_shape, device=clock.device)
        guided, single = make_ladder(model.alpha_bars, 50, "trailing")[25:27]
        only = replace(setting.decode, guidance_interval=(guided.noise_ratio,) * 2)
        with running(setting, dtype, clock.device):
            denoise: list[GuidedDenoiser] = []

            def begin() -> None:
                denoise.append(GuidedDenoiser(model, context, only, execution))
                denoise[0](x, guided)

            # keys and packed weights are made for it
            parts = {"first pair": clock.once(begin) * each}
            parts["pair"] = clock.warm(lambda: denoise[0](x, guided)) * each
            parts["single"] = clock.warm(lambda: denoise[0](x, single)) * each
            return parts | self._waveform_parts(setting, x)

    def _waveform_parts(self, setting: Setting, latents: torch.Tensor) -> Parts:
        model, plan, clock = self.model, self.plan, self.clock
        if setting.execution == SEQUENTIAL:  # the released way: window by window to the end
            mel = model.vae(latents).float()
            return {
                "vae": clock.warm(lambda: model.vae(latents)),
                "vocoder": clock.warm(lambda: model.vocoder(mel)),
            }
        decoder = Decoder(model, setting.decode, setting.execution)
        final = len(latents) == plan.decoder_windows
        mels: list[list[torch.Tensor]] = []

        def decode() -> None:
            mels[:] = decoder._mels(latents)

        def vocode() -> None:
            item = decoder.item(plan.codes, int(plan.seconds * model.config.sample_rate), 0)
            for number, part in enumerate(mels, 1):
                item.join(part, decoder.layout.mel_overlap, final and number == len(mels))

        each = 1 / len(latents)
        return {"vae": clock.warm(decode) * each, "vocoder": clock.warm(vocode) * each}

    def composed(self, setting: Setting) -> tuple[Cost, Cost]:
        """Return the cost of encoding and of decoding the file."""
        parts = self.parts(setting)
        pairs, singles = self.plan.guided(self.model, setting.decode)
        window = parts["first pair"] + parts["pair"] * (pairs - 1) + parts["single"] * singles
        window = window + parts["vae"] + parts["vocoder"]
        return parts["encoder"] * self.plan.encoder_windows, window * self.plan.decoder_windows

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
    clock = Clock(options.device)
    config = operating_point(options.token_rate, NUM_SEMANTIC)
    bound = measure_bound(config, clock)
    bench = Bench(
        random_model(options.token_rate).to(options.device), Plan(config, options.seconds), clock
    )
    machine = {
        "machine": processor(),
        "torch": torch.__version__,
        "threads": options.threads,
        "device": options.device,
        "seconds": options.seconds,
        "bound": bound.report(),
        "token_rate": options.token_rate,
        "how": "whole file" if options.full else f"composed, least of {options.repeats}",
        "windows": [bench.plan.encoder_windows, bench.plan.decoder_windows],
    }
    print(json.dumps(machine))
    chosen = [
        setting
        for setting in settings(options.device, options.windows)
        if not options.only or setting.name in options.only
    ]
    if not options.full:
        for number in range(options.repeats):
            print(f"pass {number + 1} of {options.repeats}", file=sys.stderr, flush=True)
            bench.measure(chosen)
    print(HEAD)
    rows: list[dict] = []
    for setting in chosen:
        rows.append(row_of(setting, bench, options.full) | {"bound": bound.seconds(setting, bench)})
        report(rows[-1], rows[0], options.seconds)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"peak memory of the process {peak:.2f} GiB")
    if options.json:
        with open(options.json, "w") as file:  # noqa: PTH123
            json.dump(machine | {"rows": rows, "peak_gib": peak}, file, indent=2)


def row_of(setting: Setting, bench: Bench, full: bool) -> dict:
    """Return the numbers of one setting."""
    row: dict = {"setting": setting.name}
    if full:
        encode, decode = bench.whole(setting, bench.codec(setting))
    else:
        encode, decode = bench.composed(setting)
        for kind in ("cpu", "wall"):
            parts = bench.parts(setting).items()
            row[f"{kind}_per_window"] = {name: round(getattr(c, kind), 3) for name, c in parts}
        row["steps"] = bench.plan.guided(bench.model, setting.decode)
    return row | {
        "encode_cpu": encode.cpu,
        "decode_cpu": decode.cpu,
        "cpu": encode.cpu + decode.cpu,
        "wall": encode.wall + decode.wall,
    }


HEAD = (
    f"{'':16s} {'CPU seconds':^35s} {'':7s} {'per s of audio':^14s} {'speed-up':^14s}\n"
    f"{'setting':16s} {'encode':>8s} {'decode':>8s} {'sum':>8s} {'bound':>8s} {'wall':>7s} "
    f"{'CPU':>7s} {'wall':>6s} {'CPU':>7s} {'wall':>6s}"
)


def report(row: dict, first: dict, seconds: float) -> None:
    """Print one line: seconds, seconds per second of audio, and the ratios to the first setting."""
    print(
        f"{row['setting']:16s} {row['encode_cpu']:8.1f} {row['decode_cpu']:8.1f} {row['cpu']:8.1f} "
        f"{row['bound']:8.1f} {row['wall']:7.1f} "
        f"{row['cpu'] / seconds:7.2f} {row['wall'] / seconds:6.2f} "
        f"{first['cpu'] / row['cpu']:6.2f}x {first['wall'] / row['wall']:5.2f}x"
    )
    if "steps" in row:
        pairs, singles = row["steps"]
        print(f"   {pairs} guided and {singles} single steps; per window:")
        for kind in ("cpu", "wall"):
            print(f"   {kind:4s} {row[f'{kind}_per_window']}", flush=True)


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
