"""The released shape of the mel autoencoder: the decoder that inference has, and its encoder.

The family of arXiv 2112.10752: residual blocks, three resolutions, attention at the coarsest, a
diagonal Gaussian posterior.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from semanticodec.config import VAEConfig
from semanticodec.vae import AttentionBlock, ResBlock, VAEDecoder


class DownLevel(nn.Module):
    """Residual blocks at one resolution, then half of it."""

    def __init__(self, inputs: int, outputs: int, config: VAEConfig, downsample: bool) -> None:
        super().__init__()
        widths = [inputs] + [outputs] * (config.num_res_blocks - 1)
        self.blocks = nn.Sequential(*(ResBlock(w, outputs, config.norm_groups) for w in widths))
        self.downsample = nn.Conv2d(outputs, outputs, 3, stride=2) if downsample else None

    def forward(self, x: Tensor) -> Tensor:
        """Map ``[B, inputs, H, W]`` to ``[B, outputs, H', W']``."""
        x = self.blocks(x)
        if self.downsample is None:
            return x
        return self.downsample(F.pad(x, (0, 1, 0, 1)))  # as the family pads


class KLVAE(nn.Module):
    """Log-mel ``[B, frames, mels]`` to latents of unit variance and back; calling it decodes."""

    def __init__(self, config: VAEConfig) -> None:
        super().__init__()
        self.config = config
        widths = [config.channels * multiplier for multiplier in config.multipliers]
        inputs = [widths[0], *widths[:-1]]
        last = len(widths) - 1
        self.conv_in = nn.Conv2d(1, widths[0], 3, padding=1)
        self.levels = nn.Sequential(
            *(
                DownLevel(i, o, config, level < last)
                for level, (i, o) in enumerate(zip(inputs, widths, strict=True))
            )
        )
        top, groups = widths[-1], config.norm_groups
        self.middle = nn.Sequential(
            ResBlock(top, top, groups), AttentionBlock(top, groups), ResBlock(top, top, groups)
        )
        self.norm_out = nn.GroupNorm(groups, top, eps=1e-6)
        self.conv_out = nn.Conv2d(top, 2 * config.latent_channels, 3, padding=1)
        self.quant = nn.Conv2d(2 * config.latent_channels, 2 * config.latent_channels, 1)
        self.decoder = VAEDecoder(config)

    def posterior(self, log_mel: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and log-variance of the latents, before scaling."""
        x = self.middle(self.levels(self.conv_in(log_mel[:, None])))
        mean, log_var = self.quant(self.conv_out(F.silu(self.norm_out(x)))).chunk(2, 1)
        return mean, log_var.clamp(-30.0, 20.0)

    def encode(self, log_mel: Tensor) -> Tensor:
        """Return scaled latents ``[B, channels, time, frequency]`` (the posterior's mean)."""
        return self.posterior(log_mel)[0] * self.decoder.scale

    def reconstruct(self, log_mel: Tensor, noise: float = 0.0) -> tuple[Tensor, Tensor]:
        """Return the log-mel decoded from a draw, and the divergence in nats per element.

        The posterior has a spread of its own; further ``noise`` is not added.
        """
        mean, log_var = self.posterior(log_mel)
        drawn = mean + torch.randn_like(mean) * (0.5 * log_var).exp()
        kl = 0.5 * (mean.square() + log_var.exp() - 1.0 - log_var).mean()
        return self(drawn * self.decoder.scale), kl

    def forward(self, latents: Tensor) -> Tensor:
        """Return the log-mel of scaled latents."""
        return self.decoder(latents)

    @torch.no_grad()
    def fit(self, log_mel: Tensor) -> None:
        """Start from nothing: this autoencoder is trained throughout."""

    @torch.no_grad()
    def whiten(self, log_mel: Tensor) -> None:
        """Set the scale so that latents have unit variance (one factor, as released)."""
        self.decoder.scale.fill_(float(1.0 / self.posterior(log_mel)[0].std()))
