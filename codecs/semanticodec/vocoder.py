"""HiFi-GAN generator (arXiv 2010.05646): log-mel to samples, with weight norm already folded.

The first upsampler of the released model returns one frame more than five per mel frame (kernel
16, rate 5, padding 5), so ``L`` mel frames give ``160 L + 32`` samples; ``forward`` returns all of
them. Sample ``i`` belongs to mel frame ``i // 160``.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from semanticodec.config import VocoderConfig
from semanticodec.layers import Conv1d, ConvTranspose1d

SLOPE = 0.1  # of the leaky ReLUs, except the last, which has torch's default of 0.01


class ResBlock(nn.Module):
    """Three pairs of dilated and plain convolutions, each with a residual."""

    def __init__(self, width: int, kernel: int, dilations: tuple[int, ...]) -> None:
        super().__init__()
        self.dilated = nn.ModuleList(
            Conv1d(width, width, kernel, dilation=rate, padding=(kernel - 1) * rate // 2)
            for rate in dilations
        )
        self.plain = nn.ModuleList(
            Conv1d(width, width, kernel, padding=(kernel - 1) // 2) for _ in dilations
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map ``[B, width, L]`` to itself."""
        for dilated, plain in zip(self.dilated, self.plain, strict=True):
            hidden = dilated(F.leaky_relu(x, SLOPE))
            x = plain(F.leaky_relu(hidden, SLOPE, inplace=True)).add_(x)
        return x


class Vocoder(nn.Module):
    """Log-mel ``[B, frames, mels]`` to samples."""

    def __init__(self, config: VocoderConfig) -> None:
        super().__init__()
        self.config = config
        self.pre = Conv1d(config.num_mels, config.channels, 7, padding=3)
        self.ups = nn.ModuleList()
        self.blocks = nn.ModuleList()
        width = config.channels
        for rate, kernel in zip(config.rates, config.kernels, strict=True):
            padding = (kernel - rate) // 2
            self.ups.append(ConvTranspose1d(width, width // 2, kernel, rate, padding))
            width //= 2
            for block_kernel in config.block_kernels:
                self.blocks.append(ResBlock(width, block_kernel, config.block_dilations))
        self.post = Conv1d(width, 1, 7, padding=3)

    def forward(self, log_mel: Tensor) -> Tensor:
        """Return samples ``[B, at least frames * hop]`` in [-1, 1]."""
        x = self.pre(log_mel.transpose(1, 2))
        per_stage = len(self.config.block_kernels)
        for index, up in enumerate(self.ups):
            x = up(F.leaky_relu(x, SLOPE))
            first, *others = self.blocks[index * per_stage : (index + 1) * per_stage]
            total = first(x)
            for block in others:
                total = total.add_(block(x))
            x = total.div_(per_stage)
        return torch.tanh(self.post(F.leaky_relu(x)))[:, 0]

    @property
    def context_frames(self) -> int:
        """Mel frames on each side that can influence a sample."""
        reach = 3.0  # of the last convolution, in steps of the current stage
        config = self.config
        for rate, kernel in reversed(list(zip(config.rates, config.kernels, strict=True))):
            widest = max(config.block_kernels)
            reach += sum((widest - 1) * (d + 1) // 2 for d in config.block_dilations)
            reach = (reach + kernel) / rate
        return int(reach + 3) + 1
