"""Stage ``codec``: acoustic encoder, its codebook, and the decoder from tokens to latents, jointly.

Two losses reach the encoder: that of the estimate (tokens decoded once) and that of the denoiser
around it. The estimate is what keeps the acoustic tokens in use: a denoiser alone can do without.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from semanticodec.diffusion.patch_transformer import to_patches, with_neighbours
from semanticodec.diffusion.sampler import ddim
from semanticodec.diffusion.schedule import NoiseLevel, trailing_ladder
from semanticodec.mini import STACKS, MiniConfig, MiniModel, ProjectionConfig
from semanticodec.patch_vae import PatchVAE
from semanticodec.semantic import nearest, stack_patches
from semanticodec.training import data
from semanticodec.training.autoencoder import load_autoencoder
from semanticodec.training.codebook import Describer, FeatureStore, patch_is_real
from semanticodec.training.files import find_weights, load_weights
from semanticodec.training.loop import Task
from semanticodec.training.settings import StageConfig, build
from semanticodec.training.visqol import make_visqol
from semanticodec.training.vocoder import load_vocoder
from semanticodec.training.vq import MovingCodebook, VQConfig

STAGE = "codec"


@dataclass(frozen=True)
class CodecOptions:
    """Losses of the stage and what it trains on."""

    token_rate: int = 100
    sizes: tuple[int, ...] = (1024, 2048, 4096, 8192)  # one is drawn for each batch
    estimate_weight: float = 1.0
    diffusion_weight: float = 1.0
    condition_dropout: float = 0.0
    # Ablations, for their validation only: such weights do not fit the codec.
    use_acoustic: bool = True  # False: the decoder sees semantic tokens alone
    learn_semantic: bool = False  # the semantic codebook learns with the rest, from features too
    channel_power: float = 0.5  # losses count by the latent channels' deviation to this power
    start_batches: int = 24  # for what is fitted before the first step
    validation_steps: int = 10  # of the sampler
    vq: VQConfig = field(default_factory=VQConfig)


class FeatureReader:
    """Batches of described windows, each domain with its share."""

    def __init__(
        self, store: FeatureStore, config: StageConfig, rank: int = 0, world: int = 1
    ) -> None:
        self.store = store
        self.batch_size, self.rank, self.world = config.optim.batch_size, rank, world
        clips = [
            data.Clip(str(index), data.DOMAINS[int(domain)], "", "", "", index, 1)
            for index, domain in enumerate(store.domains)
        ]
        weights = config.data.domain_weights
        self.order = data.SegmentOrder(clips, 1, weights, (0.0, 0.0), config.seed)

    def batch(self, step: int) -> dict[str, npt.NDArray[Any]]:
        """Return components, latents and valid frames of batch ``step``."""
        first = (step * self.world + self.rank) * self.batch_size
        rows = [self.order[first + item].clip.start for item in range(self.batch_size)]
        return {
            "described": self.store.described[rows].astype(np.float32),
            "latents": self.store.latents[rows].astype(np.float32),
            "frames": self.store.frames[rows],
        }


@dataclass(frozen=True)
class Coded:
    """A batch after the encoder."""

    context: Tensor  # [B, T, width]
    latents: Tensor  # [B, channels, time, frequency], zero in the padding
    mask: Tensor  # [B, 1, time, 1], 1 where there is audio
    acoustic: Tensor  # tokens [B, T]
    valid: Tensor  # [B, T] bool
    commitment: Tensor


class CodecTask(Task):
    """Train encoder, codebook and decoder at one token rate."""

    extra_samples = 240
    frozen: tuple[str, ...] = (
        "net.audiomae.",
        "net.vae.",
        "net.vocoder.",
        "net.projection.",
        "net.semantic.",
    )

    def __init__(self, config: StageConfig, run: Path) -> None:
        super().__init__()
        self.options = build(CodecOptions, config.options, "options")
        self.seed = config.seed
        sizes = build(MiniConfig, config.model, "model")
        stack = STACKS[self.options.token_rate]
        semantic = replace(
            sizes.semantic,
            codebook_size=max(self.options.sizes),
            stack_time=stack[0],
            stack_bands=stack[1],
        )
        self.run = run
        self.describer = Describer.load(run, torch.device("cpu"))
        vae = load_autoencoder(find_weights(run, "autoencoder"))
        assert isinstance(vae, PatchVAE), "the small model has a patch autoencoder"
        books, made = load_weights(run / "codebook" / "weights.safetensors")
        self.config = replace(
            sizes,
            semantic=semantic,
            audiomae=self.describer.audiomae.config,
            vae=vae.config,
            projection=build(ProjectionConfig, made["config"]["model"], "model"),
        )
        self.net = MiniModel(self.config)
        self.mel = self.describer.mel
        self._take_frozen_parts(books)
        self.moving = MovingCodebook(self.options.vq, self.net.acoustic.codebook)
        if self.options.learn_semantic:
            self.adapt = nn.Linear(self.config.semantic_width, self.config.semantic_width)
            nn.init.zeros_(self.adapt.weight)
            nn.init.zeros_(self.adapt.bias)
            self.learned = MovingCodebook(self.options.vq, self.net.semantic.centroids)
            self.frozen = tuple(name for name in self.frozen if name != "net.semantic.")
        self.error = torch.zeros(0)

    def _take_frozen_parts(self, books: dict[str, Tensor]) -> None:
        """Fill in AudioMAE, autoencoder, components and codebooks; only the rest is trained."""
        prefix = "projection."
        self.net.projection.load_state_dict(
            {k.removeprefix(prefix): v for k, v in books.items() if k.startswith(prefix)}
        )
        self.describer.projection = self.net.projection
        rate = self.options.token_rate
        self.books = {size: books[f"{rate}.{size}"] for size in self.options.sizes}
        self.net.semantic.centroids.copy_(self.books[max(self.books)])
        self.net.audiomae.load_state_dict(self.describer.audiomae.state_dict())
        self.net.vae.load_state_dict(self.describer.vae.state_dict())
        # one copy, which moves with the task
        self.describer.audiomae, self.describer.vae = self.net.audiomae, self.net.vae
        self.describer.frontend = self.net.frontend
        self.net.requires_grad_(False)
        self.net.acoustic.requires_grad_(True)
        self.net.unet.requires_grad_(True)
        std = self.net.vae.latent_std * self.net.vae.white_std
        weight = std**self.options.channel_power
        self.register_buffer("channel_weight", (weight / weight.mean())[:, None, None])

    channel_weight: Tensor

    def reader(
        self, config: StageConfig, cache: data.AudioCache, rank: int, world: int
    ) -> FeatureReader:
        """Return batches of windows that the codebook stage described."""
        store = FeatureStore(self.run / "codebook" / "features")
        return FeatureReader(store, config, rank, world)

    # ---- the codec's way

    def encode(self, batch: dict[str, Tensor], size: int) -> Coded:
        """Quantize a batch with the semantic codebook of ``size`` entries."""
        config, frames = self.config, batch["frames"]
        features = stack_patches(batch["described"], config.audiomae.grid, config.semantic)
        features, centroids, semantic_commitment = self._semantic(features, size)
        positions, window = config.positions, config.audiomae.num_frames
        heard = (positions * frames + window - 1) // window  # as `valid_positions`
        bands = config.grid[1]
        sent = (heard + bands - 1) // bands * bands  # whole columns are sent
        latents = self.net.acoustic.latents(features, centroids, heard)
        valid = torch.arange(positions, device=frames.device) < sent[:, None]
        codes, tokens, commitment = self.moving.quantize(latents, self.net.acoustic.codebook, valid)
        if not self.options.use_acoustic:
            codes, commitment = torch.zeros_like(codes), torch.zeros_like(commitment)
        commitment = commitment + semantic_commitment
        time = torch.arange(config.latent_shape[1], device=frames.device)
        mask = (time * config.vae.downsampling < frames[:, None]).float()[:, None, :, None]
        context = self.net.context(codes, centroids, sent)
        return Coded(context, batch["latents"] * mask, mask, tokens, valid, commitment)

    def _semantic(self, features: Tensor, size: int) -> tuple[Tensor, Tensor, Tensor]:
        """Return features and centroids ``[B, T, D]``, and the loss of learning them."""
        if not self.options.learn_semantic:
            book = self.books[size].to(features.device)
            return features, book[nearest(features, book)], features.new_zeros(())
        features = features + self.adapt(features)
        everywhere = torch.ones(features.shape[:2], dtype=torch.bool, device=features.device)
        book = self.net.semantic.centroids
        centroids, _, commitment = self.learned.quantize(features, book, everywhere)
        return features, centroids, commitment

    def forward(self, batch: dict[str, Tensor], phase: str) -> dict[str, Tensor]:
        """Return the losses of a batch of described windows."""
        options = self.options
        size = options.sizes[int(torch.randint(len(options.sizes), ()))]
        coded = self.encode(batch, size)
        context = self._drop(coded.context)
        hidden, estimate = self.net.unet.estimate(context)
        error = (estimate - coded.latents).abs()
        self._note_error(estimate.detach() - coded.latents, coded.mask)
        estimate_loss = self._mean(error, coded.mask)
        diffusion_loss = self.diffusion_loss(coded, hidden, estimate)
        total = (
            options.estimate_weight * estimate_loss
            + options.diffusion_weight * diffusion_loss
            + options.vq.commitment * coded.commitment
        )
        return {
            "loss": total,
            "estimate": estimate_loss,
            "diffusion": diffusion_loss,
            "commitment": coded.commitment,
        }

    def diffusion_loss(self, coded: Coded, hidden: Tensor, estimate: Tensor) -> Tensor:
        """Return the velocity's squared error, in units of the linear denoiser's.

        That weighting makes every noise level count about the same. The estimate is detached where
        it enters the linear denoiser: it has its own loss.
        """
        unet, x0 = self.net.unet, coded.latents
        timesteps = self._timesteps(len(x0), x0.device)
        alpha, sigma = unet.levels(timesteps)
        noise = torch.randn_like(x0)
        x = alpha * x0 + sigma * noise
        base, scale = unet.linear_velocity(x, timesteps, estimate.detach())
        target = (alpha * noise - sigma * x0 - base) / scale
        correction = unet.correction(x, timesteps, hidden, estimate).float()
        return self._mean((correction - target).square().clamp_max(100.0), coded.mask)

    def _timesteps(self, count: int, device: torch.device) -> Tensor:
        """Draw one timestep from each of ``count`` equal parts of the range."""
        total = self.config.denoiser.num_timesteps
        share = (torch.randperm(count, device=device) + torch.rand(count, device=device)) / count
        return (share * total).floor().clamp_max(total - 1)

    def _drop(self, context: Tensor) -> Tensor:
        dropped = torch.rand(len(context), 1, 1, device=context.device)
        empty = self.net.no_condition().to(context)
        return torch.where(dropped < self.options.condition_dropout, empty, context)

    def _mean(self, error: Tensor, mask: Tensor) -> Tensor:
        """Average ``[B, C, time, frequency]`` over real audio, channels by their weight."""
        return (error * self.channel_weight * mask).sum() / (mask.sum() * error[0, :, 0].numel())

    # ---- what is not learned by gradient

    def _note_error(self, error: Tensor, mask: Tensor) -> None:
        self.error = (error.square() * mask).sum((0, 2)) / mask.sum((0, 2))  # [C, F]

    @torch.no_grad()
    def after_step(self, step: int) -> None:
        """Update the codebook and the spread of the estimate's error."""
        if self.moving.training:
            self.moving.update(self.net.acoustic.codebook, step)
            if self.options.learn_semantic:
                self.learned.update(self.net.semantic.centroids, step)
            measured = self.error[:, None].sqrt().clamp(0.05, 1.5)
            self.net.unet.error_std.lerp_(measured, 0.02)

    @torch.no_grad()
    def start(self, batches: Iterator[Any]) -> None:
        """Begin as a residual quantizer with a linear decoder, both fitted to the first batches."""
        drawn = list(islice(batches, self.options.start_batches))
        largest = max(self.options.sizes)
        self._start_residual(drawn, largest)
        if self.options.learn_semantic:  # from what the first batches hold, not from the corpus
            rows = torch.cat([self._stacked(batch, largest)[0].flatten(0, 1) for batch in drawn])
            self.learned.start(self.net.semantic.centroids, rows, self.seed)
        self.eval()
        latents = torch.cat([self._latent_vectors(batch, largest) for batch in drawn])
        self.moving.start(self.net.acoustic.codebook, latents, self.seed)
        self._start_estimate(drawn, largest)
        self.train()

    def _stacked(self, batch: dict[str, Tensor], size: int) -> tuple[Tensor, Tensor, Tensor]:
        """Return features, centroids and which positions are real audio throughout."""
        config = self.config
        features = stack_patches(batch["described"], config.audiomae.grid, config.semantic)
        book = self.books[size].to(features.device)
        real = patch_is_real(batch["frames"], self.describer.audiomae).float()[..., None]
        stacked = stack_patches(real, config.audiomae.grid, config.semantic).amin(-1) > 0
        return features, book[nearest(features, book)], stacked

    def _start_residual(self, batches: list[dict[str, Tensor]], size: int) -> None:
        """Let the residual's mel components through, turned to their principal axes."""
        rows = []
        for batch in batches:
            features, centroids, real = self._stacked(batch, size)
            rows.append((features - centroids)[real])
        residual = torch.cat(rows)
        width, stack = self.config.projection.width, self.config.stack
        is_mel = torch.arange(width) < self.config.projection.mel_components
        keep = is_mel.repeat(stack).to(residual)
        residual = residual * keep
        covariance = residual.T @ residual / len(residual)
        values, vectors = torch.linalg.eigh(covariance.double())
        count = min(self.config.acoustic.code_width, int(keep.sum()))
        axes = (vectors[:, -count:] * (count / values[-count:].sum()).sqrt()).T.float()
        weight = self.net.acoustic.residual.weight
        weight.zero_()
        weight[:count] = axes * keep

    def _latent_vectors(self, batch: dict[str, Tensor], size: int) -> Tensor:
        features, centroids, real = self._stacked(batch, size)
        whole = torch.full((len(features),), features.shape[1], device=features.device)
        return self.net.acoustic.latents(features, centroids, whole)[real]

    def _start_estimate(self, batches: list[dict[str, Tensor]], size: int) -> None:
        """Solve for the linear part of the estimate (ridge regression), and note its error."""
        config, unet = self.config, self.net.unet
        inputs, targets = [], []
        for batch in batches:
            coded = self.encode(batch, size)
            patches = to_patches(coded.latents, config.audiomae.grid)
            stacked = stack_patches(patches, config.audiomae.grid, config.semantic)
            inputs.append(with_neighbours(coded.context, unet.token_grid)[coded.valid])
            targets.append(stacked[coded.valid])
        x, y = torch.cat(inputs).double(), torch.cat(targets).double()
        x = F.pad(x, (0, 1), value=1.0)
        ridge = 1e-3 * len(x) * torch.eye(x.shape[1], dtype=x.dtype, device=x.device)
        solution = torch.linalg.solve(x.T @ x + ridge, x.T @ y).float()
        unet.estimate_linear.weight.copy_(solution[:-1].T)
        unet.estimate_linear.bias.copy_(solution[-1])
        coded = self.encode(batches[0], size)
        self._note_error(unet.estimate(coded.context)[1] - coded.latents, coded.mask)
        unet.error_std.copy_(self.error[:, None].sqrt().clamp(0.05, 1.5))

    # ---- validation

    def validate(self, waves: Tensor) -> dict[str, float]:
        """Return losses, mel distances of estimate and samples, and the use of the tokens."""
        described, latents, frames = self.describer.describe(waves)
        batch = {"described": described, "latents": latents, "frames": frames}
        coded = self.encode(batch, max(self.options.sizes))
        hidden, estimate = self.net.unet.estimate(coded.context)
        mel = self.describer.mel(waves[:, : self.config.window_samples])
        shuffled = self._shuffled(coded)
        counts = torch.bincount(coded.acoustic[coded.valid].flatten()).double()
        share = counts[counts > 0] / counts.sum()
        return self._heard(waves, estimate) | {
            "estimate": float(self._mean((estimate - coded.latents).abs(), coded.mask)),
            "diffusion": float(self.diffusion_loss(coded, hidden, estimate)),
            "mel_l1_vae": self._mel_distance(coded.latents, mel, coded.mask),
            "mel_l1_estimate": self._mel_distance(estimate, mel, coded.mask),
            "mel_l1_sampled": self._mel_distance(self._sample(coded.context), mel, coded.mask),
            "mel_l1_shuffled": self._mel_distance(shuffled, mel, coded.mask),
            "acoustic_used": float(len(share)),
            "acoustic_perplexity": float((-(share * share.log()).sum()).exp()),
        }

    def _heard(self, waves: Tensor, estimate: Tensor) -> dict[str, float]:
        """Return ViSQOL of the estimate as audio, where there is a vocoder and ViSQOL."""
        path, visqol = find_weights(self.run, "vocoder"), make_visqol()
        if visqol is None or not path.is_file():
            return {}
        made = load_vocoder(path).to(waves.device)(self.net.vae(estimate)).cpu().numpy()
        scores = [
            visqol(wave[: len(own)], own)
            for wave, own in zip(waves.cpu().numpy(), made, strict=True)
        ]
        return {"visqol_estimate": float(np.mean(scores))}

    def _shuffled(self, coded: Coded) -> Tensor:
        """Return the estimate from the acoustic tokens of another item: bad, if all is well."""
        width = self.config.acoustic.code_width
        context = coded.context.clone()
        context[..., :width] = context[..., :width].roll(1, 0)
        return self.net.unet.estimate(context)[1]

    def _sample(self, context: Tensor) -> Tensor:
        """Return latents sampled in a few deterministic steps."""
        unet = self.net.unet
        keys = unet.project_context(context)
        ladder = trailing_ladder(self.net.alpha_bars, self.options.validation_steps)

        def denoise(x: Tensor, level: NoiseLevel) -> Tensor:
            return unet(x, torch.tensor([level.timestep], device=x.device), keys)

        start = torch.randn(len(context), *self.config.latent_shape, device=context.device)
        steps = ddim(denoise, start, ladder, lambda _: start, eta=0.0)
        return deque(steps, maxlen=1)[0]

    def _mel_distance(self, latents: Tensor, mel: Tensor, mask: Tensor) -> float:
        """Return the mel L1 of decoded latents over real audio, in nats."""
        real = mask[:, 0].repeat_interleave(self.config.vae.downsampling, 1)
        error = (self.net.vae(latents) - mel).abs()
        return float((error * real).sum() / (real.sum() * mel.shape[-1]))

    def sounds(self, waves: Tensor) -> dict[str, Tensor]:
        """Return estimates and samples as audio, where the run has a vocoder."""
        path = find_weights(self.run, "vocoder")
        if not path.is_file():
            return {}
        chosen = waves[:: max(1, len(waves) // 3)][:3]
        described, latents, frames = self.describer.describe(chosen)
        batch = {"described": described, "latents": latents, "frames": frames}
        context = self.encode(batch, max(self.options.sizes)).context
        decoded = {"estimate": self.net.unet.estimate(context)[1], "sample": self._sample(context)}
        vocoder = load_vocoder(path).to(waves.device)
        return {
            f"{index}-{name}": wave
            for name, latents in decoded.items()
            for index, wave in enumerate(vocoder(self.net.vae(latents)))
        }

    def sizes(self) -> dict[str, Any]:
        """Return the configuration of the network."""
        return self.config.to_dict()

    def take(self, weights: Mapping[str, Tensor]) -> None:
        """Start from exported weights; the codebooks must be the ones they were trained with."""
        for name, part in (("acoustic.", self.net.acoustic), ("unet.", self.net.unet)):
            own = {k.removeprefix(name): v for k, v in weights.items() if k.startswith(name)}
            part.load_state_dict(own)
        self.moving.sums.copy_(self.net.acoustic.codebook)

    def export(self) -> dict[str, Tensor]:
        """Return the weights of this rate: encoder, decoder, components and codebooks."""
        parts = {"acoustic": self.net.acoustic, "unet": self.net.unet}
        parts |= {"projection": self.net.projection}
        state = {f"{n}.{k}": v for n, part in parts.items() for k, v in part.state_dict().items()}
        return state | {f"centroids.{size}": book for size, book in self.books.items()}
