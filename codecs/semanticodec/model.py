"""The network: every learned part of SemantiCodec, put together.

::

    wave -> frontend -> AudioMAE -> stack -> semantic codebook ----------+-> tokens
                                      |             |                    |
                                      +-> BiLSTM <--+-> acoustic VQ -----+

    tokens -> condition -> UNet (x steps) -> VAE decoder -> vocoder -> wave

This module maps windows to windows; files, batches, seams and randomness are ``codec.py``'s.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from semanticodec.acoustic import MASK_VALUE, AcousticEncoder
from semanticodec.audiomae import AudioMAE
from semanticodec.config import SemantiCodecConfig
from semanticodec.diffusion.schedule import alphas_cumprod
from semanticodec.diffusion.unet import UNet
from semanticodec.frontend import Frontend
from semanticodec.semantic import SemanticCodebook, stack_patches
from semanticodec.settings import PRESETS, DecodeSettings
from semanticodec.vae import VAEDecoder
from semanticodec.vocoder import Vocoder

FLAT_STD = 1e-7  # a mel frame that varies less than this over its bins counts as padding


def position_table(length: int, width: int) -> Tensor:
    """Return sinusoids ``[length, width]``: sine on even, cosine on odd channels."""
    index = torch.arange(length, dtype=torch.float32)[:, None]
    channels = torch.arange(0, width, 2, dtype=torch.float32)
    phase = index * torch.pow(10000.0, -channels / width)
    return torch.stack((phase.sin(), phase.cos()), -1).flatten(1)


def valid_frames(features: Tensor) -> Tensor:
    """Return ``[B]``: frames up to the last one that is not flat; all, if none is flat."""
    varies = features.std(-1) > FLAT_STD
    index = torch.arange(1, features.shape[1] + 1, device=features.device)
    last = torch.where(varies, index, 0).amax(1)
    return torch.where(varies.all(1), features.shape[1], last)


class SemantiCodecModel(nn.Module):
    """All parts as modules; buffers hold what is fixed (codebooks, schedule, positions)."""

    positions: Tensor
    alpha_bars: Tensor
    presets: ClassVar[Mapping[str, DecodeSettings]] = PRESETS
    default_preset: ClassVar[str] = "quality"

    def __init__(self, config: SemantiCodecConfig) -> None:
        super().__init__()
        self.config = config
        self.frontend = Frontend(config.frontend)
        self.audiomae = AudioMAE(config.audiomae)
        self.semantic = SemanticCodebook(config.semantic, config.feature_width)
        self.acoustic = AcousticEncoder(config.acoustic, config.feature_width)
        self.unet = UNet(config.unet, config.context_width)
        self.vae = VAEDecoder(config.vae)
        self.vocoder = Vocoder(config.vocoder)
        with torch.device("cpu"):  # real values, even while weights are built on "meta"
            positions = position_table(config.positions, config.diffusion.position_width)
            alpha_bars = alphas_cumprod(config.diffusion)
        self.register_buffer("positions", positions, persistent=False)
        self.register_buffer("alpha_bars", alpha_bars, persistent=False)

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.positions.device

    def represent(self, features: Tensor) -> Tensor:
        """Return stacked AudioMAE features ``[B, T, D]`` of mel windows ``[B, frames, mels]``."""
        patches = self.audiomae(features)
        return stack_patches(patches, self.config.audiomae.grid, self.config.semantic)

    def _represent_each(self, features: Tensor) -> Tensor:
        """Represent windows one by one where a batch gains nothing and moves the last bits."""
        if self.device.type != "cpu":
            return self.represent(features)
        return torch.cat([self.represent(window) for window in features.split(1)])

    def valid_positions(self, features: Tensor) -> Tensor:
        """Return ``[B]``: positions before the padding of a window, rounded up."""
        frames = features.shape[1]
        return (self.config.positions * valid_frames(features) + frames - 1) // frames

    def tokenize(self, features: Tensor) -> Tensor:
        """Return tokens ``[B, T, 2]``, ``(semantic, acoustic)``, of mel windows."""
        represented = self._represent_each(features)
        with torch.autocast(self.device.type, enabled=False):
            semantic = self.semantic.encode(represented.float())
            centroids = self.semantic.decode(semantic)
        latents = self.acoustic.latents(
            represented.to(centroids), centroids, self.valid_positions(features)
        )
        with torch.autocast(self.device.type, enabled=False):
            acoustic = self.acoustic.quantize(latents.float())
        return torch.stack((semantic, acoustic), -1)

    def condition(self, tokens: Tensor) -> Tensor:
        """Return the diffusion condition ``[B, T, 2 D + position_width]``.

        Args:
            tokens: ``[B, length, 2]`` with ``length <= T``; the rest is filled as the encoder
                fills padding.
        """
        codes = torch.cat(
            (self.acoustic.decode(tokens[..., 1]), self.semantic.decode(tokens[..., 0])), -1
        )
        missing = self.config.positions - codes.shape[1]
        return self._with_positions(F.pad(codes, (0, 0, 0, missing), value=MASK_VALUE))

    def no_condition(self) -> Tensor:
        """Return the condition of the unconditional prediction, ``[1, T, ...]``: zero codes."""
        width = 2 * self.config.feature_width
        return self._with_positions(self.positions.new_zeros(1, self.config.positions, width))

    def _with_positions(self, codes: Tensor) -> Tensor:
        return torch.cat((codes, self.positions.expand(len(codes), -1, -1)), -1)
