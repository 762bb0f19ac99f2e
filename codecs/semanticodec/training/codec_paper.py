"""Stage ``codec`` as the paper has it: BiLSTM, moving-average VQ, and the latent diffusion UNet.

No estimate, no aligned condition: cross-attention to both codes and the fixed positional code,
velocity prediction on the cosine schedule with zero terminal SNR (section III-D), the condition
dropped now and then for guidance, and one of the four semantic codebooks drawn per batch.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from semanticodec.acoustic import MASK_VALUE, AcousticEncoder
from semanticodec.config import SemantiCodecConfig
from semanticodec.diffusion.schedule import alphas_cumprod
from semanticodec.diffusion.unet import UNet
from semanticodec.mini import STACKS
from semanticodec.model import position_table
from semanticodec.semantic import nearest, stack_patches
from semanticodec.training.codebook import Describer
from semanticodec.training.files import load_weights
from semanticodec.training.loop import Task
from semanticodec.training.settings import StageConfig, build
from semanticodec.training.vq import MovingCodebook, VQConfig

STAGE = "codec-paper"


@dataclass(frozen=True)
class PaperOptions:
    """Losses of the stage."""

    token_rate: int = 100
    sizes: tuple[int, ...] = (4096, 8192, 16384, 32768)  # one is drawn for each batch
    condition_dropout: float = 0.1
    min_snr_gamma: float = 0.0  # of the loss weight (arXiv 2303.09556); 0: all levels alike
    start_batches: int = 4  # for the codebook's first vectors
    vq: VQConfig = field(default_factory=lambda: VQConfig(decay=0.9, commitment=1.0))


class PaperCodecTask(Task):
    """Train encoder, codebook and UNet at one token rate, from waves."""

    extra_samples = 240
    frozen = ("front.",)
    positions: Tensor
    alpha_bars: Tensor

    def __init__(self, config: StageConfig, run: Path) -> None:
        super().__init__()
        self.options = build(PaperOptions, config.options, "options")
        self.seed = config.seed
        sizes = build(SemantiCodecConfig, config.model, "model")
        stack = STACKS[self.options.token_rate]
        semantic = replace(sizes.semantic, stack_time=stack[0], stack_bands=stack[1])
        self.config = replace(sizes, semantic=semantic)
        self.describer = Describer.load(run, torch.device("cpu"))
        self.front = nn.ModuleList(
            [self.describer.audiomae, self.describer.vae, self.describer.frontend]
        )
        self.front.append(self.describer.mel)
        books, _ = load_weights(run / "codebook" / "weights.safetensors")
        rate = self.options.token_rate
        self.books = {size: books[f"{rate}.{size}"] for size in self.options.sizes}
        self.acoustic = AcousticEncoder(self.config.acoustic, self.config.feature_width)
        self.unet = UNet(self.config.unet, self.config.context_width)
        self.moving = MovingCodebook(self.options.vq, self.acoustic.codebook)
        table = position_table(self.config.positions, self.config.diffusion.position_width)
        self.register_buffer("positions", table, persistent=False)
        bars = alphas_cumprod(self.config.diffusion)
        self.register_buffer("alpha_bars", bars, persistent=False)

    @torch.no_grad()
    def describe(self, wave: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return stacked features ``[B, T, D]``, latents and valid positions ``[B]``."""
        _, features, frames = self.describer.patches(wave)
        config = self.config
        window = config.audiomae.num_frames
        valid = (config.positions * frames + window - 1) // window
        latents = self.describer.vae.encode(self.describer.mel(wave[:, : config.window_samples]))
        return stack_patches(features, config.audiomae.grid, config.semantic), latents, valid

    def encode(self, features: Tensor, valid: Tensor, size: int) -> tuple[Tensor, Tensor, Tensor]:
        """Return the condition ``[B, T, width]``, acoustic tokens and the commitment loss."""
        book = self.books[size].to(features.device)
        centroids = book[nearest(features, book)]
        real = torch.arange(features.shape[1], device=features.device) < valid[:, None]
        latents = self.acoustic.latents(features, centroids, valid)
        codes, tokens, commitment = self.moving.quantize(latents, self.acoustic.codebook, real)
        joined = torch.cat((codes, centroids), -1)
        joined = joined.masked_fill(~real[..., None], MASK_VALUE)
        return self._with_positions(joined), tokens, commitment

    def _with_positions(self, codes: Tensor) -> Tensor:
        return torch.cat((codes, self.positions.expand(len(codes), -1, -1)), -1)

    def forward(self, wave: Tensor, phase: str) -> dict[str, Tensor]:
        """Return the losses of waves."""
        features, latents, valid = self.describe(wave)
        size = self.options.sizes[int(torch.randint(len(self.options.sizes), ()))]
        context, _, commitment = self.encode(features, valid, size)
        diffusion = self.diffusion_loss(self._drop(context), latents)
        total = diffusion + self.options.vq.commitment * commitment
        return {"loss": total, "diffusion": diffusion, "commitment": commitment}

    def _drop(self, context: Tensor) -> Tensor:
        width = context.shape[-1] - self.positions.shape[-1]
        empty = self._with_positions(context.new_zeros(len(context), context.shape[1], width))
        dropped = torch.rand(len(context), 1, 1, device=context.device)
        return torch.where(dropped < self.options.condition_dropout, empty, context)

    def diffusion_loss(self, context: Tensor, x0: Tensor) -> Tensor:
        """Return the velocity's squared error (equation 9 of the paper)."""
        steps = torch.randint(len(self.alpha_bars), (len(x0),), device=x0.device)
        alpha_bar = self.alpha_bars[steps][:, None, None, None]
        alpha, sigma = alpha_bar.sqrt(), (1 - alpha_bar).sqrt()
        noise = torch.randn_like(x0)
        keys = self.unet.project_context(context)
        velocity = self.unet(alpha * x0 + sigma * noise, steps.float(), keys)
        error = (velocity.float() - (alpha * noise - sigma * x0)).square().mean((1, 2, 3))
        return (error * self._weight(alpha_bar.flatten())).mean()

    def _weight(self, alpha_bar: Tensor) -> Tensor:
        """Return min-SNR weights of a velocity loss; ones where they are off."""
        gamma = self.options.min_snr_gamma
        if gamma == 0.0:
            return torch.ones_like(alpha_bar)
        snr = alpha_bar / (1 - alpha_bar).clamp_min(1e-8)
        return snr.clamp_max(gamma) / (snr + 1)

    @torch.no_grad()
    def start(self, batches: Iterator[Any]) -> None:
        """Set the acoustic codebook from the untrained encoder's vectors."""
        vectors = []
        for wave in islice(batches, self.options.start_batches):
            features, _, valid = self.describe(wave)
            book = self.books[max(self.books)].to(features.device)
            latents = self.acoustic.latents(features, book[nearest(features, book)], valid)
            vectors.append(latents.flatten(0, 1))
        self.moving.start(self.acoustic.codebook, torch.cat(vectors), self.seed)

    @torch.no_grad()
    def after_step(self, step: int) -> None:
        """Update the codebook."""
        self.moving.update(self.acoustic.codebook, step)

    def validate(self, waves: Tensor) -> dict[str, float]:
        """Return the losses on validation audio, and the use of the acoustic codebook."""
        features, latents, valid = self.describe(waves)
        context, tokens, commitment = self.encode(features, valid, max(self.options.sizes))
        counts = torch.bincount(tokens.flatten()).double()
        share = counts[counts > 0] / counts.sum()
        return {
            "diffusion": float(self.diffusion_loss(context, latents)),
            "commitment": float(commitment),
            "acoustic_perplexity": float((-(share * share.log()).sum()).exp()),
        }

    def sizes(self) -> dict[str, Any]:
        """Return the configuration of the network."""
        return self.config.to_dict()

    def export(self) -> dict[str, Tensor]:
        """Return the weights of this rate under the names of ``SemantiCodecModel``."""
        parts = {"acoustic": self.acoustic, "unet": self.unet}
        state = {f"{n}.{k}": v for n, part in parts.items() for k, v in part.state_dict().items()}
        return state | {f"centroids.{size}": book for size, book in self.books.items()}
