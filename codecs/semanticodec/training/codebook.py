"""Stage ``codebook``: features of the training audio, and k-means on them (paper, section III-B).

1. Windows of training audio are described once and kept on disk (``features/``): the later stages
   train from that, which on a CPU is most of the saving there is.
2. For every rate and vocabulary size, each domain is clustered on its own, general sound with twice
   as many entries, and the three codebooks are joined. Centroids are rounded to half precision
   before use, so that shipped codebooks are the ones that were trained with.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from semanticodec.audiomae import AudioMAE
from semanticodec.config import FrontendConfig, SemanticConfig
from semanticodec.frontend import Frontend
from semanticodec.mel import LogMel
from semanticodec.mini import STACKS, Projection, ProjectionConfig, patchify
from semanticodec.model import valid_frames
from semanticodec.patch_vae import PatchVAE
from semanticodec.semantic import nearest, stack_patches
from semanticodec.training import data
from semanticodec.training.audiomae import load_audiomae
from semanticodec.training.autoencoder import load_autoencoder
from semanticodec.training.files import find_weights, load_weights, replace_file, save_weights
from semanticodec.training.kl_vae import KLVAE
from semanticodec.training.loop import HOP
from semanticodec.training.settings import StageConfig, build

log = logging.getLogger(__name__)

STAGE = "codebook"
EXTRA_SAMPLES = 240  # so that the last frames of a window are whole
SHARES = {"speech": 0.25, "music": 0.25, "general": 0.5}  # of the entries


@dataclass(frozen=True)
class CodebookOptions:
    """How much is described and clustered."""

    windows: int = 6000  # described; more than an epoch brings other offsets and gains
    fit_windows: int = 256  # for the components
    batch_size: int = 16
    vectors_per_domain: int = 60000  # clustered
    iterations: int = 6
    token_rates: tuple[int, ...] = (100, 50, 25)
    sizes: tuple[int, ...] = (1024, 2048, 4096, 8192)


class Describer:
    """The frozen front of the codec: waves to mel windows, patch features and latents."""

    def __init__(self, audiomae: AudioMAE, vae: PatchVAE | KLVAE, device: torch.device) -> None:
        self.audiomae = audiomae.to(device)
        self.vae = vae.to(device)
        self.frontend = Frontend(FrontendConfig()).to(device)
        self.mel = LogMel().to(device)
        self.projection: Projection | None = None

    @staticmethod
    def load(run: Path, device: torch.device) -> Describer:
        """Take the parts from a run."""
        return Describer(
            load_audiomae(find_weights(run, "audiomae")),
            load_autoencoder(find_weights(run, "autoencoder")),
            device,
        )

    def patches(self, wave: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return mel patches, their MAE features, and valid frames of waves ``[B, N]``."""
        config = self.audiomae.config
        features = self.frontend.features(wave, config.num_frames)
        patches = patchify(features, config.patch)
        return patches, self.audiomae(features), valid_frames(features)

    def describe(self, wave: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return components ``[B, P, width]``, latents and valid frames of waves ``[B, N]``."""
        assert self.projection is not None
        patches, features, frames = self.patches(wave)
        mel = self.mel(wave[:, : self.audiomae.config.num_frames * HOP])
        return self.projection(patches, features), self.vae.encode(mel), frames


class FeatureStore:
    """Described windows on disk, memory-mapped, half precision."""

    def __init__(self, folder: Path) -> None:
        shapes = json.loads((folder / "shapes.json").read_text(encoding="utf-8"))
        self.described, self.latents = (
            np.memmap(folder / f"{name}.f16", np.float16, "r", shape=tuple(shapes[name]))
            for name in ("described", "latents")
        )
        self.frames = np.load(folder / "frames.npy")
        self.domains = np.load(folder / "domains.npy")

    def __len__(self) -> int:
        return len(self.frames)


def _segments(config: StageConfig, cache: data.AudioCache, frames: int) -> data.BatchReader:
    order = data.SegmentOrder(
        cache.split("train"),
        frames * HOP + EXTRA_SAMPLES,
        config.data.domain_weights,
        config.data.gain_db,
        config.seed,
    )
    return data.BatchReader(cache, order, 1)


@torch.no_grad()
def describe_all(
    describer: Describer, reader: data.BatchReader, options: CodebookOptions, folder: Path
) -> FeatureStore:
    """Describe the first ``options.windows`` segments, unless that was done."""
    if (folder / "shapes.json").is_file():
        return FeatureStore(folder)
    folder.mkdir(parents=True, exist_ok=True)
    batches = list(_chunks(options.windows, options.batch_size))
    frames, domains, shapes = [], [], {}
    with (
        (folder / "described.f16").open("wb") as described_file,
        (folder / "latents.f16").open("wb") as latents_file,
    ):
        for number, numbers in enumerate(batches):
            segments = [reader.order[index] for index in numbers]
            wave = torch.from_numpy(np.stack([reader.read(segment) for segment in segments]))
            described, latents, valid = describer.describe(wave.to(describer.mel.window.device))
            for file, values in ((described_file, described), (latents_file, latents)):
                file.write(values.half().cpu().numpy().tobytes())
            frames.append(valid.cpu().numpy())
            domains += [data.DOMAINS.index(segment.clip.domain) for segment in segments]
            shapes = {"described": described.shape[1:], "latents": latents.shape[1:]}
            if number % 25 == 0:
                log.info("described %d of %d windows", numbers[-1] + 1, options.windows)
    np.save(folder / "frames.npy", np.concatenate(frames))
    np.save(folder / "domains.npy", np.array(domains, np.int8))
    counted = {name: [len(domains), *shape] for name, shape in shapes.items()}
    (folder / "shapes.part").write_text(json.dumps(counted), encoding="utf-8")
    replace_file(folder / "shapes.part", folder / "shapes.json")  # last: marks it as whole
    return FeatureStore(folder)


def _chunks(total: int, size: int) -> Iterator[list[int]]:
    for start in range(0, total, size):
        yield list(range(start, min(start + size, total)))


@torch.no_grad()
def fit_projection(
    describer: Describer, reader: data.BatchReader, config: ProjectionConfig, windows: int
) -> Projection:
    """Fit the components of patches and features on the first windows."""
    patches, features = [], []
    for index in range(0, windows, 8):
        wave = np.stack([reader.read(reader.order[index + item]) for item in range(8)])
        own_patches, own_features, frames = describer.patches(torch.from_numpy(wave))
        real = patch_is_real(frames, describer.audiomae)
        patches.append(own_patches[real])
        features.append(own_features[real])
    projection = Projection(config, patches[0].shape[-1], features[0].shape[-1])
    shares = projection.fit(torch.cat(patches), torch.cat(features))
    log.info("components keep %.3f of the mel, %.3f of the features", *shares)
    return projection


def patch_is_real(frames: Tensor, audiomae: AudioMAE) -> Tensor:
    """Return ``[B, P]``: whether a patch begins before the padding."""
    config = audiomae.config
    row = torch.arange(config.grid[0], device=frames.device).repeat_interleave(config.grid[1])
    return row * config.patch < frames[:, None]


def kmeans(
    vectors: Tensor, count: int, iterations: int, seed: int, batch: int = 8192
) -> tuple[Tensor, Tensor]:
    """Cluster by Lloyd's algorithm, on any device; empty clusters take far vectors.

    Args:
        vectors: ``[n, D]``.
        count: Centroids, at most ``n``.
        iterations: Passes over the vectors.
        seed: Of the first centroids, which are vectors.
        batch: Vectors compared at a time.

    Returns:
        Centroids ``[count, D]``, and how many vectors each has.

    Raises:
        ValueError: If there are fewer vectors than centroids.
    """
    if len(vectors) < count:
        raise ValueError(f"{len(vectors)} vectors cannot have {count} centroids")
    generator = torch.Generator().manual_seed(seed)
    centroids = vectors[torch.randperm(len(vectors), generator=generator)[:count]].clone()
    sizes = torch.zeros(count, device=vectors.device)
    for _ in range(iterations):
        sums, sizes = torch.zeros_like(centroids), torch.zeros_like(sizes)
        errors = []
        for part in vectors.split(batch):
            index = nearest(part, centroids)
            sums.index_add_(0, index, part)
            sizes.index_add_(0, index, torch.ones_like(part[:, 0]))
            errors.append((part - centroids[index]).square().sum(1))
        filled = sizes > 0
        centroids[filled] = sums[filled] / sizes[filled, None]
        empty = int((~filled).sum())
        if empty:
            far = torch.cat(errors).topk(empty).indices
            centroids[~filled] = vectors[far]
    return centroids, sizes


@dataclass(frozen=True)
class Usage:
    """How a codebook is used by validation vectors."""

    dead: int
    perplexity: float
    relative_error: float


def usage(vectors: Tensor, centroids: Tensor) -> Usage:
    """Measure a codebook on vectors ``[n, D]``."""
    index = torch.cat([nearest(part, centroids) for part in vectors.split(8192)])
    counts = torch.bincount(index, minlength=len(centroids)).double()
    share = counts[counts > 0] / counts.sum()
    error = (vectors - centroids[index]).square().sum()
    spread = (vectors - vectors.mean(0)).square().sum()
    return Usage(
        int((counts == 0).sum()),
        float((-(share * share.log()).sum()).exp()),
        float(error / spread),
    )


def domain_vectors(
    store: FeatureStore, domain: str, semantic: SemanticConfig, audiomae: AudioMAE, limit: int
) -> Tensor:
    """Return stacked components ``[n, D]`` of a domain, without padding, evenly thinned."""
    windows = np.flatnonzero(store.domains == data.DOMAINS.index(domain))
    described = torch.from_numpy(store.described[windows].astype(np.float32))
    frames = torch.from_numpy(store.frames[windows])
    stacked = stack_patches(described, audiomae.config.grid, semantic)
    real = patch_is_real(frames, audiomae).float()[..., None]
    real = stack_patches(real, audiomae.config.grid, semantic).amin(-1) > 0
    vectors = stacked[real]
    step = max(1, len(vectors) // limit)
    return vectors[::step][:limit]


def build_codebooks(config: StageConfig, cache: data.AudioCache, run: Path) -> None:
    """Describe the training audio and make all codebooks; what is there already is kept."""
    options = build(CodebookOptions, config.options, "options")
    folder = run / config.folder
    folder.mkdir(parents=True, exist_ok=True)
    describer = Describer.load(run, torch.device("cpu"))
    reader = _segments(config, cache, describer.audiomae.config.num_frames)
    describer.projection = _projection(describer, reader, config, options, folder)
    store = describe_all(describer, reader, options, folder / "features")
    books, report = {}, {}
    for rate in options.token_rates:
        semantic = SemanticConfig(0, *STACKS[rate])
        vectors = {
            domain: domain_vectors(
                store, domain, semantic, describer.audiomae, options.vectors_per_domain
            )
            for domain in SHARES
        }
        for size in options.sizes:
            joined = _joined(vectors, size, options.iterations, config.seed)
            books[f"{rate}.{size}"] = joined
            measured = usage(torch.cat(list(vectors.values())), joined)
            report[f"{rate}.{size}"] = vars(measured)
            log.info("codebook %d tokens/s, %d entries: %s", rate, size, measured)
    weights = {f"projection.{k}": v for k, v in describer.projection.state_dict().items()}
    metadata = {"config": config.to_dict(), "report": report}
    save_weights(weights | books, folder / "weights.safetensors", metadata)
    (folder / "report.json").write_text(json.dumps(report, indent=1), encoding="utf-8")


def _joined(vectors: dict[str, Tensor], size: int, iterations: int, seed: int) -> Tensor:
    """Cluster every domain and join the codebooks, rounded to half precision."""
    parts = []
    for domain, own in vectors.items():
        count = round(size * SHARES[domain])
        repeated = own.repeat(-(-count // len(own)), 1)  # tests have very little audio
        parts.append(kmeans(repeated, count, iterations, seed)[0])
    return torch.cat(parts).half().float()


def _projection(
    describer: Describer,
    reader: data.BatchReader,
    config: StageConfig,
    options: CodebookOptions,
    folder: Path,
) -> Projection:
    """Fit the projection, or read it where the stage was interrupted later."""
    path = folder / "projection.safetensors"
    sizes = build(ProjectionConfig, config.model, "model")
    if not path.is_file():
        fitted = fit_projection(describer, reader, sizes, options.fit_windows)
        save_weights(fitted.state_dict(), path, {}, torch.float32)
    tensors, _ = load_weights(path)
    audiomae = describer.audiomae.config
    projection = Projection(sizes, audiomae.patch**2, audiomae.width)
    projection.load_state_dict({k: v.half().float() for k, v in tensors.items()})
    return projection
