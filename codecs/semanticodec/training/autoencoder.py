"""Stage ``autoencoder``: log-mel to latents and back.

The small model's patch autoencoder starts from principal components (``PatchVAE.fit``), so the
stage begins near its end and only teaches the convolutions what a linear code cannot do: to keep
the fine detail, and to make the best of latents that a denoiser did not hit exactly.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from semanticodec.config import VAEConfig
from semanticodec.mel import LogMel
from semanticodec.patch_vae import PatchVAE, PatchVAEConfig
from semanticodec.training.files import load_weights
from semanticodec.training.kl_vae import KLVAE
from semanticodec.training.loop import Task
from semanticodec.training.losses import detail_share, mixed_difference
from semanticodec.training.settings import StageConfig, build

STAGE = "autoencoder"


@dataclass(frozen=True)
class AutoencoderOptions:
    """Losses of the stage."""

    kind: str = "patch"  # or "kl", the released shape
    detail_weight: float = 0.3  # of the L1 of mixed differences
    kl_weight: float = 1e-4
    latent_noise: float = 0.3  # the most noise on whitened latents, drawn per item
    fit_batches: int = 24  # for the principal components


def make_autoencoder(kind: str, model: Mapping[str, Any]) -> PatchVAE | KLVAE:
    """Return the autoencoder of that name.

    Raises:
        ValueError: If there is none.
    """
    if kind == "patch":
        return PatchVAE(build(PatchVAEConfig, model, "model"))
    if kind == "kl":
        return KLVAE(build(VAEConfig, model, "model"))
    raise ValueError(f"unknown autoencoder {kind!r}; known: 'patch', 'kl'")


class AutoencoderTask(Task):
    """Reconstruct the log-mel from noisy latents."""

    def __init__(self, config: StageConfig, run: Path) -> None:
        super().__init__()
        self.options = build(AutoencoderOptions, config.options, "options")
        self.mel = LogMel()
        self.vae = make_autoencoder(self.options.kind, config.model)

    def start(self, batches: Iterator[Tensor]) -> None:
        """Fit the principal components."""
        with torch.no_grad():
            mels = [self.mel(wave) for wave in islice(batches, self.options.fit_batches)]
        self.vae.fit(torch.cat(mels))

    def finish(self, batches: Iterator[Tensor]) -> None:
        """Whiten the latents again: training has changed their spread."""
        mels = [self.mel(wave) for wave in islice(batches, self.options.fit_batches)]
        self.vae.whiten(torch.cat(mels))

    def forward(self, wave: Tensor, phase: str) -> dict[str, Tensor]:
        """Return the losses of a batch."""
        with torch.no_grad():
            mel = self.mel(wave)
        decoded, kl = self.vae.reconstruct(mel, self.options.latent_noise)
        distance = F.l1_loss(decoded, mel)
        detail = F.l1_loss(mixed_difference(decoded), mixed_difference(mel))
        total = distance + self.options.detail_weight * detail + self.options.kl_weight * kl
        return {"loss": total, "mel_l1": distance, "detail_l1": detail, "kl": kl}

    def validate(self, waves: Tensor) -> dict[str, float]:
        """Return the distance of clean and of noisy latents, and the detail that is left."""
        mel = self.mel(waves)
        latents = self.vae.encode(mel)
        decoded = self.vae(latents)
        noisy = self.vae(latents + 0.1 * torch.randn_like(latents))
        return {
            "mel_l1": float(F.l1_loss(decoded, mel)),
            "mel_l1_noise_0.1": float(F.l1_loss(noisy, mel)),
            "detail": detail_share(decoded, mel),
            "latent_std_min": float(latents.std((0, 2, 3)).min()),
            "latent_std_max": float(latents.std((0, 2, 3)).max()),
        }

    def take(self, weights: Mapping[str, Tensor]) -> None:
        """Start from exported weights."""
        self.vae.load_state_dict(dict(weights))

    def export(self) -> dict[str, Tensor]:
        """Return the autoencoder's weights."""
        return self.vae.state_dict()


def load_autoencoder(path: Path) -> PatchVAE | KLVAE:
    """Return a trained autoencoder, frozen."""
    tensors, metadata = load_weights(path)
    config = metadata["config"]
    vae = make_autoencoder(config["options"].get("kind", "patch"), config["model"])
    vae.load_state_dict(tensors)
    return vae.requires_grad_(False).eval()
