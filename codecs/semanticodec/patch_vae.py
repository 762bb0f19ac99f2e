"""Autoencoder of the small model: 4 x 4 mel patches, linear at its core, refined by convolutions.

Departs from the released VAE: space-to-depth, a principal-component projection (fitted, not
trained: it starts at the optimum of all linear codes), and residual blocks that begin as nothing.
Latents are whitened per channel, so that the diffusion model sees unit variance everywhere.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F


@dataclass(frozen=True)
class PatchVAEConfig:
    """Sizes of the patch autoencoder."""

    latent_channels: int = 8
    patch: int = 4  # mel frames and mel bins per latent step
    num_mels: int = 64
    channels: int = 64
    encoder_blocks: int = 1  # 0: the encoder stays the principal components
    decoder_blocks: int = 3
    norm_groups: int = 8

    @property
    def downsampling(self) -> int:
        """Mel frames (and mel bins) per latent step."""
        return self.patch


class _ResBlock(nn.Module):
    """Two normalised 3x3 convolutions; the second starts at zero."""

    def __init__(self, width: int, groups: int) -> None:
        super().__init__()
        self.norm1 = nn.GroupNorm(groups, width)
        self.conv1 = nn.Conv2d(width, width, 3, padding=1)
        self.norm2 = nn.GroupNorm(groups, width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1)
        nn.init.zeros_(self.conv2.weight)
        nn.init.zeros_(self.conv2.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.conv1(F.silu(self.norm1(x)))
        return x + self.conv2(F.silu(self.norm2(hidden)))


class _Refiner(nn.Module):
    """Residual convolutions beside a linear map; the head starts at zero."""

    def __init__(self, inputs: int, outputs: int, blocks: int, config: PatchVAEConfig) -> None:
        super().__init__()
        width = config.channels
        self.stem = nn.Conv2d(inputs, width, 3, padding=1)
        self.blocks = nn.Sequential(*(_ResBlock(width, config.norm_groups) for _ in range(blocks)))
        self.head = nn.Conv2d(width, outputs, 1)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.blocks(self.stem(x)))


class PatchVAE(nn.Module):
    """Log-mel ``[B, frames, mels]`` to whitened latents ``[B, C, time, frequency]`` and back.

    Calling the module decodes, as with the released VAE.
    """

    mean: Tensor
    basis: Tensor
    patch_std: Tensor
    latent_mean: Tensor
    latent_std: Tensor
    white_mean: Tensor
    white_std: Tensor

    def __init__(self, config: PatchVAEConfig) -> None:
        super().__init__()
        self.config = config
        size, channels = config.patch**2, config.latent_channels
        self.register_buffer("mean", torch.zeros(size))  # of a patch
        self.register_buffer("basis", torch.eye(size)[:, :channels])  # orthonormal columns
        self.register_buffer("patch_std", torch.ones(()))
        self.register_buffer("latent_mean", torch.zeros(channels))
        self.register_buffer("latent_std", torch.ones(channels))
        self.register_buffer("white_mean", torch.zeros(channels))  # of what the encoder makes
        self.register_buffer("white_std", torch.ones(channels))
        refine = config.encoder_blocks > 0
        self.encoder = _Refiner(size, channels, config.encoder_blocks, config) if refine else None
        self.log_var = nn.Parameter(torch.full((channels,), -6.0))  # of the whitened posterior
        self.decoder = _Refiner(channels, size, config.decoder_blocks, config)

    def to_patches(self, log_mel: Tensor) -> Tensor:
        """Return centred patches ``[B, patch * patch, time, frequency]``."""
        patches = F.pixel_unshuffle(log_mel[:, None], self.config.patch)
        return patches - self.mean[:, None, None]

    def encode(self, log_mel: Tensor) -> Tensor:
        """Return whitened latents (the posterior's mean)."""
        patches = self.to_patches(log_mel)
        latents = torch.einsum("bptf,pc->bctf", patches, self.basis)
        latents = (latents - _column(self.latent_mean)) / _column(self.latent_std)
        if self.encoder is not None:
            latents = latents + self.encoder(patches / self.patch_std)
        return (latents - _column(self.white_mean)) / _column(self.white_std)

    def reconstruct(self, log_mel: Tensor, noise: float = 0.0) -> tuple[Tensor, Tensor]:
        """Return the log-mel decoded from a draw, and the divergence in nats per element.

        Args:
            log_mel: ``[B, frames, mels]``.
            noise: The most that is added to whitened latents; how much is drawn per item.
        """
        latents = self.encode(log_mel)
        amount = torch.rand(len(latents), 1, 1, 1, device=latents.device) * noise
        spread = _column((0.5 * self.log_var).exp())
        drawn = latents + spread * torch.randn_like(latents)
        return self(drawn + amount * torch.randn_like(latents)), self._kl(latents)

    def _kl(self, latents: Tensor) -> Tensor:
        """Return the divergence from a unit Gaussian."""
        log_var = _column(self.log_var)
        return 0.5 * (latents.square() + log_var.exp() - 1.0 - log_var).mean()

    def forward(self, latents: Tensor) -> Tensor:
        """Return the log-mel ``[B, frames, mels]``."""
        latents = latents * _column(self.white_std) + _column(self.white_mean)
        plain = latents * _column(self.latent_std) + _column(self.latent_mean)
        patches = torch.einsum("bctf,pc->bptf", plain, self.basis)
        patches = patches + self.patch_std * self.decoder(latents)
        return F.pixel_shuffle(patches + self.mean[:, None, None], self.config.patch)[:, 0]

    @torch.no_grad()
    def whiten(self, log_mel: Tensor) -> None:
        """Bring the latents of ``log_mel`` to zero mean and unit deviation per channel."""
        latents = self.encode(log_mel)
        self.white_mean += self.white_std * latents.mean((0, 2, 3))
        self.white_std *= latents.std((0, 2, 3))

    @torch.no_grad()
    def fit(self, log_mel: Tensor) -> None:
        """Set the linear part to the principal components of ``log_mel`` ``[B, frames, mels]``."""
        patches = F.pixel_unshuffle(log_mel[:, None], self.config.patch)
        rows = patches.permute(0, 2, 3, 1).flatten(0, 2).double()
        mean = rows.mean(0)
        rows = rows - mean
        covariance = rows.T @ rows / len(rows)
        values, vectors = torch.linalg.eigh(covariance)
        channels = self.config.latent_channels
        basis = vectors[:, -channels:].flip(1)
        self.mean.copy_(mean)
        self.basis.copy_(basis)
        self.patch_std.copy_(covariance.diagonal().mean().sqrt())
        self.latent_mean.zero_()
        self.latent_std.copy_(values[-channels:].flip(0).sqrt())


def _column(vector: Tensor) -> Tensor:
    """Shape ``[C]`` to broadcast over ``[B, C, time, frequency]``."""
    return vector[:, None, None]
