"""How fast SemantiCodec codes here, beside a plain sequential setting of itself.

The sequential setting follows the released code's way: two batch-1 UNet calls per step, explicit
softmax attention, nothing cached, one window after the other, direct convolutions. All settings
run in this one process on the same random weights, so their ratios compare like with like.

Decoding is measured part by part on one window (a denoiser call with and without guidance, VAE,
vocoder) and composed for the steps and windows of each setting; ``--full`` runs it all instead:

    python benchmarks/semanticodec_speed.py --seconds 60
    python benchmarks/semanticodec_speed.py --seconds 10 --token-rate 25 --threads 2 --json out.json

CPU seconds are printed beside wall seconds: on a shared machine only they are comparable.
"""

import argparse
import json
import platform
import resource
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass, replace

import numpy as np
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from semanticodec import Execution, SemantiCodec, Tokens, operating_point
from semanticodec.decoding import Layout
from semanticodec.diffusion.denoiser import GuidedDenoiser
from semanticodec.diffusion.schedule import make_ladder
from semanticodec.model import SemantiCodecModel
from semanticodec.settings import PRESETS, SEQUENTIAL, DecodeSettings, autocast_dtype


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
        rough = replace(ours, encoder_dtype="bfloat16")
        yield Setting("fast, bfloat16", replace(PRESETS["fast"], dtype="bfloat16"), rough)


def has_bfloat16(device: str) -> bool:
    """Tell whether bfloat16 is faster than float32 on a device."""
    if device != "cpu":
        return True
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported() and cpu_flag("avx512_bf16"))


def cpu_flag(name: str) -> bool:
    """Tell whether the processor has an instruction set (Linux)."""
    try:
        with open("/proc/cpuinfo") as file:  # noqa: PTH123 (not a regular file)
            return name in file.read()
    except OSError:
        return False


def random_model(token_rate: int) -> SemantiCodecModel:
    """Build the full-size network with random weights of sensible size."""
    model = SemantiCodecModel(operating_point(token_rate, 16384))
    for name, value in model.named_parameters():
        if value.dim() > 1:
            scale = 0.5 if "lstm" in name else 1.0
            value.data.uniform_(-1, 1).mul_(scale * (3 / value[0].numel()) ** 0.5)
    model.semantic.centroids.normal_()
    model.acoustic.codebook.normal_(std=0.1)
    return model.requires_grad_(False).eval()


def synchronize(device: str) -> None:
    """Wait for an accelerator."""
    if device.startswith("cuda"):
        torch.cuda.synchronize()


def measure(work: Callable[[], object], device: str) -> Cost:
    """Run once and return what it cost."""
    synchronize(device)
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    synchronize(device)
    return Cost(time.perf_counter() - wall, time.process_time() - cpu)


@contextmanager
def attention(explicit: bool) -> Iterator[None]:
    """Compute attention as matrix, softmax, matrix if asked for."""
    with sdpa_kernel(SDPBackend.MATH) if explicit else nullcontext():
        yield


def encode_cost(codec: SemantiCodec, wave: np.ndarray, setting: Setting) -> tuple[Cost, Tokens]:
    """Return the cost of encoding, and the tokens."""
    coded: list[Tokens] = []
    with attention(setting.explicit_attention):
        cost = measure(lambda: coded.append(codec.encode(wave, 16000)), codec.model.device.type)
    return cost, coded[0]


def decode_cost(codec: SemantiCodec, tokens: Tokens, setting: Setting, full: bool) -> Cost:
    """Return the cost of decoding, measured in full or composed of its parts."""
    with attention(setting.explicit_attention), torch.inference_mode():
        if full:
            return measure(lambda: codec.decode(tokens), codec.model.device.type)
        dtype = autocast_dtype(setting.decode.dtype)
        kind = codec.model.device.type
        with torch.autocast(kind, dtype=dtype, enabled=dtype is not None):
            return composed_cost(codec, tokens, setting)


def composed_cost(codec: SemantiCodec, tokens: Tokens, setting: Setting) -> Cost:
    """Measure each part once on one window and add up what all windows need."""
    model, decode = codec.model, setting.decode
    device = model.device.type
    windows = Layout.of(codec.config).windows(tokens.codes[0])
    context = model.condition(windows[0][None].to(model.device))
    always = replace(decode, guidance_interval=None)
    guided = GuidedDenoiser(model, context, always, setting.execution)
    single = GuidedDenoiser(model, context, replace(always, guidance_scale=1.0), setting.execution)
    x = torch.randn(1, *codec.config.latent_shape, device=model.device)
    levels = make_ladder(model.alpha_bars, decode.num_steps, decode.spacing)[:-1]
    pairs = sum(decode.is_guided(level.noise_ratio) for level in levels)
    parts = {"prepare": best(lambda: guided._prepare(context, slice(0, 1)), device)}
    parts["pair"] = best(lambda: guided(x, levels[0]), device) * pairs
    if pairs < len(levels):
        parts["single"] = best(lambda: single(x, levels[0]), device) * (len(levels) - pairs)
    together = min(setting.execution.waveform_windows, len(windows))
    latents = x.expand(together, -1, -1, -1)
    parts["vae"] = best(lambda: model.vae(latents), device, 1) * (1 / together)
    frames = together * codec.config.audiomae.num_frames * 15 // 16
    mel = torch.randn(1, frames, codec.config.vae.num_mels, device=model.device)
    parts["vocoder"] = best(lambda: model.vocoder(mel), device, 1) * (1 / together)
    print("   CPU s per window:", {name: round(cost.cpu, 2) for name, cost in parts.items()})
    total = Cost(0.0, 0.0)
    for cost in parts.values():
        total = total + cost * len(windows)
    return total


def best(work: Callable[[], object], device: str, repeats: int = 2) -> Cost:
    """Return the cheapest of some runs after a warm-up (none for long parts)."""
    if repeats > 1:
        work()
    return min((measure(work, device) for _ in range(repeats)), key=lambda cost: cost.cpu)


def main() -> None:
    """Measure every setting and print one line for each."""
    options = arguments()
    torch.set_num_threads(options.threads)
    model = random_model(options.token_rate).to(options.device)
    time_axis = np.arange(int(options.seconds * 16000)) / 16000
    rng = np.random.default_rng(0)
    wave = 0.3 * np.sin(2 * np.pi * (200 + 20 * time_axis) * time_axis)
    wave += 0.05 * rng.standard_normal(len(wave))
    machine = {"machine": processor(), "torch": torch.__version__, "threads": options.threads,
               "device": options.device, "seconds": options.seconds,
               "token_rate": options.token_rate, "full": options.full}  # fmt: skip
    print(json.dumps(machine))
    print(f"{'setting':16s} {'encode':>8s} {'decode':>8s} {'CPU enc':>8s} {'CPU dec':>8s} "
          f"{'RTF enc':>8s} {'RTF dec':>8s} {'speed-up':>9s} {'by CPU':>7s}")  # fmt: skip
    rows: list[dict] = []
    encodes: dict[Execution, Cost] = {}
    for setting in settings(options.device, options.windows):
        if options.only and setting.name not in options.only:
            continue
        codec = SemantiCodec.from_model(
            model, settings=setting.decode, execution=setting.execution, device=options.device
        )
        if setting.execution not in encodes:
            encodes[setting.execution], tokens = encode_cost(codec, wave, setting)
        encode = encodes[setting.execution]
        decode = decode_cost(codec, tokens, setting, options.full)
        rows.append({"setting": setting.name, "encode": asdict(encode), "decode": asdict(decode)})
        report(rows[-1], rows[0], options.seconds)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"peak memory of the process {peak:.2f} GiB")
    if options.json:
        with open(options.json, "w") as file:  # noqa: PTH123
            json.dump(machine | {"rows": rows, "peak_gib": peak}, file, indent=2)


def report(row: dict, first: dict, seconds: float) -> None:
    """Print one line: seconds, real-time factors, and the ratio to the first setting."""
    encode, decode = row["encode"], row["decode"]
    ratios = [
        (first["encode"][kind] + first["decode"][kind]) / (encode[kind] + decode[kind])
        for kind in ("wall", "cpu")
    ]
    print(
        f"{row['setting']:16s} {encode['wall']:8.1f} {decode['wall']:8.1f} {encode['cpu']:8.1f} "
        f"{decode['cpu']:8.1f} {encode['wall'] / seconds:8.2f} {decode['wall'] / seconds:8.2f} "
        f"{ratios[0]:8.2f}x {ratios[1]:6.2f}x",
        flush=True,
    )


def processor() -> str:
    """Return the name of the processor."""
    try:
        with open("/proc/cpuinfo") as file:  # noqa: PTH123
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
    parser.add_argument("--windows", type=int, default=1, help="windows in one denoiser call")
    parser.add_argument("--full", action="store_true", help="run every step instead of composing")
    parser.add_argument("--only", nargs="*", help="names of settings")
    parser.add_argument("--json", help="file for the numbers")
    return parser.parse_args()


if __name__ == "__main__":
    main()
