"""Stage ``vocoder``: log-mel to waveform, with spectral losses first and a GAN later.

The mel that the vocoder hears in training is partly one that the autoencoder made from disturbed
latents: a decoder's mel is never clean, and a vocoder that knows only clean ones makes it worse.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from semanticodec.config import VocoderConfig
from semanticodec.mel import LogMel
from semanticodec.training import losses
from semanticodec.training.adversarial import AdversarialOptions, AdversarialTask
from semanticodec.training.autoencoder import load_autoencoder
from semanticodec.training.files import find_weights, load_weights
from semanticodec.training.settings import StageConfig, build
from semanticodec.vocoder import Vocoder
from semanticodec.vocos import Vocos, VocosConfig

STAGE = "vocoder"


@dataclass(frozen=True)
class VocoderOptions(AdversarialOptions):
    """Losses of the stage, and what the vocoder hears."""

    generator: str = "vocos"  # or "hifigan", the released model's
    mel_weight: float = 2.0
    spectral_weight: float = 1.0
    decoded_share: float = 0.0  # of items whose mel comes through the autoencoder
    latent_noise: float = 0.5  # the most noise on their whitened latents


def make_generator(kind: str, model: dict[str, Any]) -> nn.Module:
    """Return the generator of that name.

    Raises:
        ValueError: If there is none.
    """
    if kind == "vocos":
        return Vocos(build(VocosConfig, model, "model"))
    if kind == "hifigan":
        return Vocoder(build(VocoderConfig, model, "model"))
    raise ValueError(f"unknown generator {kind!r}; known: 'vocos', 'hifigan'")


class VocoderTask(AdversarialTask):
    """Make the waveform of a log-mel."""

    frozen = ("vae.",)
    options: VocoderOptions

    def __init__(self, config: StageConfig, run: Path) -> None:
        super().__init__(build(VocoderOptions, config.options, "options"))
        self.mel = LogMel()
        self.generator = make_generator(self.options.generator, dict(config.model))
        needs_vae = self.options.decoded_share > 0.0
        self.vae = load_autoencoder(find_weights(run, "autoencoder")) if needs_vae else None

    @torch.no_grad()
    def heard(self, wave: Tensor) -> Tensor:
        """Return the log-mel ``[B, frames, mels]`` that the vocoder is given."""
        mel = self.mel(wave)
        if self.vae is None:
            return mel
        latents = self.vae.encode(mel)
        amount = torch.rand(len(mel), 1, 1, 1, device=mel.device) * self.options.latent_noise
        decoded = self.vae(latents + amount * torch.randn_like(latents))
        chosen = torch.rand(len(mel), 1, 1, device=mel.device) < self.options.decoded_share
        return torch.where(chosen, decoded, mel)

    def generate(self, mel: Tensor) -> Tensor:
        """Return samples ``[B, frames * 160]``."""
        return self.generator(mel)[:, : mel.shape[1] * self.mel.config.hop_samples]

    def forward(self, wave: Tensor, phase: str) -> dict[str, Tensor]:
        """Return the losses of one player."""
        made = self.generate(self.heard(wave))
        if phase == "judges":
            return self.judges_loss(wave, made)
        mel_l1 = F.l1_loss(self.mel(made), self.mel(wave))
        spectral = losses.spectral_loss(made, wave)
        total = self.options.mel_weight * mel_l1 + self.options.spectral_weight * spectral
        return self.with_judges({"loss": total, "mel_l1": mel_l1, "spectral": spectral}, wave, made)

    def validate(self, waves: Tensor) -> dict[str, float]:
        """Return the mel distance on clean mel, its level error, and that through the VAE."""
        clean = self.mel(waves)
        made = self.mel(self.generate(clean))
        values = {
            "mel_l1": float(F.l1_loss(made, clean)),
            "level_nats": float((made - clean).mean()),
            "detail": losses.detail_share(made, clean),
        }
        if self.vae is not None:
            through = self.mel(self.generate(self.vae(self.vae.encode(clean))))
            values["mel_l1_through_vae"] = float(F.l1_loss(through, clean))
        return values

    def sounds(self, waves: Tensor) -> dict[str, Tensor]:
        """Return what the vocoder makes of a true mel, one item of each domain."""
        chosen = waves[:: max(1, len(waves) // 3)][:3]
        made = self.generate(self.mel(chosen))
        return {f"{index}": wave for index, wave in enumerate(made)}

    def take(self, weights: Mapping[str, Tensor]) -> None:
        """Start from exported weights; the judges start from nothing."""
        self.generator.load_state_dict(dict(weights))

    def export(self) -> dict[str, Tensor]:
        """Return the generator's weights."""
        return self.generator.state_dict()


def load_vocoder(path: Path) -> Vocos:
    """Return a trained Vocos, frozen."""
    tensors, metadata = load_weights(path)
    vocoder = Vocos(build(VocosConfig, metadata["config"]["model"], "model"))
    vocoder.load_state_dict(tensors)
    return vocoder.requires_grad_(False).eval()
