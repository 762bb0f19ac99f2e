"""How to decode: sampler, steps, guidance, and how the work is laid out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch

from semanticodec.diffusion.sampler import SAMPLERS
from semanticodec.diffusion.schedule import SPACINGS

_DTYPES = {"float32": None, "bfloat16": torch.bfloat16, "float16": torch.float16}


def autocast_dtype(name: str, device: torch.device | str = "cpu") -> torch.dtype | None:
    """Return the autocast type of a name on a device; None for float32.

    Raises:
        ValueError: If the name is unknown.
    """
    if name == "auto":
        return torch.bfloat16 if has_bfloat16(device) else None
    try:
        return _DTYPES[name]
    except KeyError:
        raise ValueError(f"unknown dtype {name!r}; known: auto, {', '.join(_DTYPES)}") from None


def has_bfloat16(device: torch.device | str) -> bool:
    """Tell whether a device has instructions for bfloat16, and so is faster with it."""
    kind = torch.device(device).type
    if kind == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if kind != "cpu" or not torch.backends.mkldnn.is_available():
        return False
    # torch emulates the type where they are missing, slowly
    questions = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return any(getattr(torch.cpu, name, bool)() for name in questions)


@dataclass(frozen=True)
class DecodeSettings:
    """Everything that changes the decoded waveform, except the seed and the weights."""

    num_steps: int = 50
    sampler: str = "ddim"
    eta: float = 1.0  # of DDIM: 0 deterministic, 1 ancestral
    spacing: str = "trailing"
    guidance_scale: float = 2.0  # 1: none
    guidance_interval: tuple[float, float] | None = None  # sigma/alpha, both included; None: always
    guidance_rescale: float = 0.0  # in [0, 1]
    joint_windows: int = 8  # windows denoised as one; more: better joined, later first block
    # autocast of the network: "float32", "bfloat16", "float16", or "auto", which is bfloat16 where
    # the device has instructions for it, else float32
    dtype: str = "float32"

    def __post_init__(self) -> None:
        if self.sampler not in SAMPLERS:
            raise ValueError(f"unknown sampler {self.sampler!r}; known: {list(SAMPLERS)}")
        if self.spacing not in SPACINGS:
            raise ValueError(f"unknown spacing {self.spacing!r}; known: {sorted(SPACINGS)}")
        if self.num_steps < 1 or self.joint_windows < 1:
            raise ValueError("num_steps and joint_windows must be at least 1")
        if not 0.0 <= self.eta <= 1.0 or not 0.0 <= self.guidance_rescale <= 1.0:
            raise ValueError("eta and guidance_rescale must lie in [0, 1]")
        autocast_dtype(self.dtype)

    def is_guided(self, noise_ratio: float) -> bool:
        """Tell whether guidance acts at this noise level (arXiv 2404.07724)."""
        if self.guidance_scale == 1.0:
            return False
        if self.guidance_interval is None:
            return True
        low, high = self.guidance_interval
        return low <= noise_ratio <= high


@dataclass(frozen=True)
class Execution:
    """How the work is laid out; may change the last bits of a result, never its meaning."""

    # windows in one call of the denoiser; on a CPU four take as long as four alone (float32,
    # guided) to 12 % less (bfloat16, unguided)
    windows_per_call: int = 4
    # threads that run windows of one signal side by side, on a CPU; None: as many as torch has.
    # Two lanes took 5-7 % less time for the denoiser than two threads in each layer, 3-10 % for
    # the vocoder
    lanes: int | None = None
    # windows of one signal in one call of the VAE and the vocoder; on a CPU more than one is
    # slower (measured 22.4 against 15.5 s per window: the activations leave the cache)
    waveform_windows: int = 1
    encoder_windows: int = 8  # windows in one call of the encoder
    batch_guidance: bool = True  # conditional and unconditional prediction in one call
    cache_keys: bool = True  # project the condition once per window, not at every step
    encoder_dtype: str = "float32"  # other types change some tokens
    channels_last: bool = True  # memory layout of UNet and VAE
    fast_layers: bool = True  # `layers.py`, on CPUs
    # backend of torch.compile for UNet and VAE, such as "inductor", which then run without
    # `layers.py`. For GPUs: on a CPU the UNet gained nothing, and compiling it took minutes
    compiler: str | None = None

    def __post_init__(self) -> None:
        if min(self.windows_per_call, self.encoder_windows, self.waveform_windows) < 1:
            raise ValueError("windows per call must be at least 1")
        if self.lanes is not None and self.lanes < 1:
            raise ValueError("lanes must be at least 1")

    def lanes_on(self, device: torch.device) -> int:
        """Return how many lanes there are on a device now."""
        if device.type != "cpu" or self.compiler is not None:
            return 1
        threads = torch.get_num_threads()
        return min(self.lanes or threads, threads)


SEQUENTIAL = Execution(
    windows_per_call=1,
    lanes=1,
    encoder_windows=1,
    batch_guidance=False,
    cache_keys=False,
    channels_last=False,
    fast_layers=False,
)
"""The released code's way: one thing after the other, nothing kept."""


PRESETS: Mapping[str, DecodeSettings] = {
    "released": DecodeSettings(spacing="released"),
    "quality": DecodeSettings(),
    "balanced": DecodeSettings(20, "dpm++2m", 0.0, "trailing"),
    "fast": DecodeSettings(8, "dpm++2m", 0.0, "log_snr", 2.0, (0.3, 8.0), dtype="auto"),
}
"""Named settings: ``released`` is the released code's, ``quality`` the default."""


def preset(name: str, presets: Mapping[str, DecodeSettings] = PRESETS) -> DecodeSettings:
    """Return the settings of that name; a small model has ``presets`` of its own.

    Raises:
        ValueError: If there is none.
    """
    try:
        return presets[name]
    except KeyError:
        raise ValueError(f"unknown preset {name!r}; known: {sorted(presets)}") from None
