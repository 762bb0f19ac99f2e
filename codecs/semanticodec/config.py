"""Configuration of SemantiCodec: one frozen dataclass per part, and the twelve published points.

Conventions used in the whole package:

* ``B`` items (windows or files), ``N`` samples, ``T`` token positions of a window, ``D`` the width
  of a feature.
* A *window* is 10.24 s: 1024 mel frames, 64 x 8 patches, ``T`` positions, a latent of 256 x 16.
* A *position* carries two tokens, ``(semantic, acoustic)``; ``token_rate`` counts tokens, so there
  are ``token_rate / 2`` positions per second.
* A *column* is one time step of the position grid; its positions are the frequency bands, low
  first.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, is_dataclass
from typing import Any


@dataclass(frozen=True)
class FrontendConfig:
    """Log-mel filterbank in the manner of Kaldi, normalised as in AudioMAE."""

    sample_rate: int = 16000  # Hz
    frame_samples: int = 400  # 25 ms
    hop_samples: int = 160  # 10 ms
    fft_size: int = 512
    num_mels: int = 128
    low_hz: float = 20.0
    high_hz: float = 8000.0
    preemphasis: float = 0.97
    energy_floor: float = 1.1920928955078125e-07  # float32 epsilon
    mean: float = -4.2677393  # of the log-mel values of AudioSet (AudioMAE)
    std: float = 4.5689974

    def __post_init__(self) -> None:
        if self.frame_samples > self.fft_size:
            raise ValueError(f"frame of {self.frame_samples} samples exceeds fft {self.fft_size}")


@dataclass(frozen=True)
class AudioMAEConfig:
    """Vision transformer over mel patches (AudioMAE, arXiv 2207.06405), without its decoder."""

    num_frames: int = 1024  # mel frames of one window
    num_mels: int = 128
    patch: int = 16  # mel frames and mel bins per patch
    width: int = 768
    depth: int = 12
    num_heads: int = 12
    mlp_width: int = 3072
    first_averaged_block: int = 9  # the output is the mean over this block and all after it

    def __post_init__(self) -> None:
        if self.width % self.num_heads:
            raise ValueError(f"width {self.width} is not a multiple of {self.num_heads} heads")
        if self.num_frames % self.patch or self.num_mels % self.patch:
            raise ValueError(f"{self.num_frames} x {self.num_mels} is not a grid of {self.patch}")
        if not 0 <= self.first_averaged_block < self.depth:
            raise ValueError(f"first_averaged_block must lie in [0, {self.depth})")

    @property
    def grid(self) -> tuple[int, int]:
        """Patches along time and along frequency."""
        return self.num_frames // self.patch, self.num_mels // self.patch


@dataclass(frozen=True)
class SemanticConfig:
    """k-means codebook over stacked AudioMAE features."""

    codebook_size: int = 16384
    stack_time: int = 1  # patches joined along time into one feature
    stack_bands: int = 1  # patches joined along frequency


@dataclass(frozen=True)
class AcousticConfig:
    """Bidirectional LSTM and one vector quantizer for what the semantic token leaves out."""

    codebook_size: int = 8192
    num_layers: int = 4


@dataclass(frozen=True)
class UNetConfig:
    """Denoiser of the latent diffusion model (LDM family, arXiv 2112.10752)."""

    latent_channels: int = 8
    channels: int = 64
    multipliers: tuple[int, ...] = (1, 2, 3, 5)
    num_res_blocks: int = 2
    attention_downsampling: tuple[int, ...] = (2, 4, 8)
    head_width: int = 32
    norm_groups: int = 32


@dataclass(frozen=True)
class DiffusionConfig:
    """Noise schedule of training and the positional code of the condition."""

    num_timesteps: int = 1000
    beta_start: float = 0.0015
    beta_end: float = 0.0195
    schedule: str = "scaled_linear"  # or "cosine": zero terminal SNR, as in the paper
    position_width: int = 192  # channels of the sinusoidal position beside the two codes


@dataclass(frozen=True)
class VAEConfig:
    """Decoder of the variational autoencoder: latent to log-mel."""

    latent_channels: int = 8
    channels: int = 128
    multipliers: tuple[int, ...] = (1, 2, 4)
    num_res_blocks: int = 2
    num_mels: int = 64
    norm_groups: int = 32

    @property
    def downsampling(self) -> int:
        """Mel frames (and mel bins) per latent step."""
        return 2 ** (len(self.multipliers) - 1)


@dataclass(frozen=True)
class VocoderConfig:
    """HiFi-GAN generator (arXiv 2010.05646): log-mel to samples."""

    num_mels: int = 64
    channels: int = 1024
    rates: tuple[int, ...] = (5, 4, 2, 2, 2)
    kernels: tuple[int, ...] = (16, 16, 8, 4, 4)
    block_kernels: tuple[int, ...] = (3, 7, 11)
    block_dilations: tuple[int, ...] = (1, 3, 5)

    def __post_init__(self) -> None:
        if len(self.rates) != len(self.kernels):
            raise ValueError("rates and kernels must have one entry per upsampler")

    @property
    def hop_samples(self) -> int:
        """Samples per mel frame."""
        return math.prod(self.rates)


@dataclass(frozen=True)
class SemantiCodecConfig:
    """The whole codec. The defaults are the released model at 100 tokens per second."""

    frontend: FrontendConfig = field(default_factory=FrontendConfig)
    audiomae: AudioMAEConfig = field(default_factory=AudioMAEConfig)
    semantic: SemanticConfig = field(default_factory=SemanticConfig)
    acoustic: AcousticConfig = field(default_factory=AcousticConfig)
    unet: UNetConfig = field(default_factory=UNetConfig)
    diffusion: DiffusionConfig = field(default_factory=DiffusionConfig)
    vae: VAEConfig = field(default_factory=VAEConfig)
    vocoder: VocoderConfig = field(default_factory=VocoderConfig)
    name: str = "semanticodec"  # family, kept in bitstreams

    def __post_init__(self) -> None:
        time, bands = self.audiomae.grid
        if time % self.semantic.stack_time or bands % self.semantic.stack_bands:
            raise ValueError(f"patch grid {time} x {bands} cannot be stacked by {self.semantic}")
        if self.vocoder.hop_samples != self.frontend.hop_samples:
            raise ValueError(
                f"vocoder makes {self.vocoder.hop_samples} samples per frame, "
                f"the front end takes {self.frontend.hop_samples}"
            )
        if self.vae.latent_channels != self.unet.latent_channels:
            raise ValueError("the VAE and the UNet must agree on the latent channels")
        if self.vae.num_mels != self.vocoder.num_mels:
            raise ValueError("the VAE and the vocoder must agree on the mel bins")
        if self.audiomae.num_mels != self.frontend.num_mels:
            raise ValueError("the AudioMAE and the front end must agree on the mel bins")

    @property
    def sample_rate(self) -> int:
        """Samples per second of what goes in and comes out, Hz."""
        return self.frontend.sample_rate

    @property
    def stack(self) -> int:
        """Patches in one feature, ``K`` of the paper (1, 2, 4 at 100, 50, 25 tokens/s)."""
        return self.semantic.stack_time * self.semantic.stack_bands

    @property
    def feature_width(self) -> int:
        """``D``, the width of one stacked feature."""
        return self.audiomae.width * self.stack

    @property
    def grid(self) -> tuple[int, int]:
        """Columns and bands of the token grid of one window."""
        time, bands = self.audiomae.grid
        return time // self.semantic.stack_time, bands // self.semantic.stack_bands

    @property
    def positions(self) -> int:
        """``T``, token positions of one window."""
        return self.grid[0] * self.grid[1]

    @property
    def window_samples(self) -> int:
        """Samples of one window (163840 in the released models, 10.24 s)."""
        return self.audiomae.num_frames * self.frontend.hop_samples

    @property
    def column_samples(self) -> int:
        """Samples that one column of tokens stands for."""
        return self.window_samples // self.grid[0]

    @property
    def context_width(self) -> int:
        """Channels of the diffusion condition: two codes and the position."""
        return 2 * self.feature_width + self.diffusion.position_width

    @property
    def latent_shape(self) -> tuple[int, int, int]:
        """Channels, time steps and frequency steps of the latent of one window."""
        step = self.vae.downsampling
        return (
            self.unet.latent_channels,
            self.audiomae.num_frames // step,
            self.vae.num_mels // step,
        )

    @property
    def codebook_sizes(self) -> tuple[int, int]:
        """Entries of the semantic and of the acoustic codebook."""
        return self.semantic.codebook_size, self.acoustic.codebook_size

    @property
    def frame_rate(self) -> float:
        """Token positions per second, Hz."""
        return self.sample_rate * self.positions / self.window_samples

    @property
    def token_rate(self) -> float:
        """Tokens per second, both streams together."""
        return 2 * self.frame_rate

    @property
    def nominal_kbps(self) -> float:
        """Bitrate of the codes before any entropy coding, kbit/s (1 kbit = 1000 bit)."""
        return self.frame_rate * sum(math.log2(size) for size in self.codebook_sizes) / 1000

    def to_dict(self) -> dict[str, Any]:
        """Return plain nested dictionaries, ready for JSON."""
        return asdict(self)

    @staticmethod
    def from_dict(values: Mapping[str, Any]) -> SemantiCodecConfig:
        """Build a configuration from ``to_dict``'s result.

        Raises:
            ValueError: If a field is unknown or inconsistent.
        """
        return _build(SemantiCodecConfig, values)


def _build(kind: Any, values: Mapping[str, Any]) -> Any:
    """Rebuild a (nested) dataclass from dictionaries; lists become tuples."""
    known = {item.name: item for item in fields(kind)}
    unknown = sorted(set(values) - set(known))
    if unknown:
        raise ValueError(f"{kind.__name__} has no field {unknown}; it has {sorted(known)}")
    defaults = kind()
    built = {}
    for name, value in values.items():
        default = getattr(defaults, name)
        if is_dataclass(default):
            value = _build(type(default), value)
        elif isinstance(value, list):
            value = tuple(value)
        built[name] = value
    return kind(**built)


# tokens/s -> (patches joined along time, along frequency, LSTM layers)
_RATES = {100: (1, 1, 4), 50: (1, 2, 3), 25: (2, 2, 2)}
_SEMANTIC_SIZES = (4096, 8192, 16384, 32768)


def _released(token_rate: int, semantic_vocab_size: int) -> SemantiCodecConfig:
    stack_time, stack_bands, num_layers = _RATES[token_rate]
    return SemantiCodecConfig(
        semantic=SemanticConfig(semantic_vocab_size, stack_time, stack_bands),
        acoustic=AcousticConfig(num_layers=num_layers),
    )


OPERATING_POINTS: Mapping[tuple[int, int], SemantiCodecConfig] = {
    (rate, size): _released(rate, size) for rate in _RATES for size in _SEMANTIC_SIZES
}
"""The twelve published points, keyed by ``(token_rate, semantic_vocab_size)``."""


def operating_point(token_rate: int, semantic_vocab_size: int) -> SemantiCodecConfig:
    """Return the configuration of one published operating point.

    Raises:
        ValueError: If there is no such point; the message lists the valid values.
    """
    try:
        return OPERATING_POINTS[token_rate, semantic_vocab_size]
    except KeyError:
        raise ValueError(
            f"no operating point of {token_rate} tokens/s with {semantic_vocab_size} semantic "
            f"entries; token_rate is one of {sorted(_RATES)}, "
            f"semantic_vocab_size one of {list(_SEMANTIC_SIZES)}"
        ) from None
