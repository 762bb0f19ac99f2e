"""A codec with random weights that is small enough to run in milliseconds."""

from collections.abc import Callable

import numpy as np
import pytest
import torch

from semanticodec import SemantiCodec
from semanticodec.config import (
    AcousticConfig,
    AudioMAEConfig,
    SemanticConfig,
    SemantiCodecConfig,
    UNetConfig,
    VAEConfig,
    VocoderConfig,
)
from semanticodec.model import SemantiCodecModel
from semanticodec.settings import DecodeSettings


def small_config(stack_time: int = 1, stack_bands: int = 1) -> SemantiCodecConfig:
    """Windows of 1.28 s, 8 x 8 patches."""
    return SemantiCodecConfig(
        audiomae=AudioMAEConfig(
            num_frames=128, width=16, depth=2, num_heads=2, mlp_width=32, first_averaged_block=1
        ),
        semantic=SemanticConfig(64, stack_time, stack_bands),
        acoustic=AcousticConfig(codebook_size=32, num_layers=1),
        unet=UNetConfig(
            channels=8,
            multipliers=(1, 2),
            num_res_blocks=1,
            attention_downsampling=(2,),
            head_width=8,
            norm_groups=4,
        ),
        vae=VAEConfig(channels=8, multipliers=(1, 2, 2), num_res_blocks=1, norm_groups=4),
        vocoder=VocoderConfig(
            channels=32, block_kernels=(3,), block_dilations=(1, 3), rates=(5, 4, 2, 2, 2)
        ),
        name="small",
    )


def random_model(config: SemantiCodecConfig, seed: int = 0) -> SemantiCodecModel:
    """Weights large enough that every part of the input matters to the output."""
    torch.manual_seed(seed)
    model = SemantiCodecModel(config)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                torch.nn.init.normal_(parameter, std=parameter[0].numel() ** -0.5)
        model.semantic.centroids.copy_(torch.randn_like(model.semantic.centroids))
        model.acoustic.codebook.copy_(0.3 * torch.randn_like(model.acoustic.codebook))
    return model.requires_grad_(False).eval()


FAST = DecodeSettings(num_steps=2, sampler="dpm++2m", eta=0.0)


@pytest.fixture(scope="session", params=[(1, 1), (1, 2), (2, 2)], ids=["K1", "K2", "K4"])
def codec(request: pytest.FixtureRequest) -> SemantiCodec:
    return SemantiCodec.from_model(random_model(small_config(*request.param)), settings=FAST)


@pytest.fixture(scope="session")
def one_codec() -> SemantiCodec:
    return SemantiCodec.from_model(random_model(small_config()), settings=FAST)


@pytest.fixture(scope="session")
def sound() -> Callable[..., np.ndarray]:
    """Sweeps and noise, ``[channels, N]``, at any rate and length."""

    def make(num_samples: int, sample_rate: int = 16000, channels: int = 1) -> np.ndarray:
        rng = np.random.default_rng(num_samples)
        time = np.arange(num_samples) / sample_rate
        sweep = np.sin(2 * np.pi * (200 + 300 * time) * time)
        noise = rng.standard_normal((channels, num_samples))
        return (0.3 * sweep + 0.05 * noise).astype(np.float32)

    return make
