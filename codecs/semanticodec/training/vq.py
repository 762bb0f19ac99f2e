"""Vector quantizer with moving-average updates (arXiv 1711.00937, appendix A.1) and revival."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from semanticodec.semantic import nearest


@dataclass(frozen=True)
class VQConfig:
    """Rules of the codebook."""

    decay: float = 0.97
    commitment: float = 0.25
    revive_below: float = 0.03  # of the mean count
    revive_every: int = 20  # steps
    start_iterations: int = 5  # of k-means, on the first batches


class MovingCodebook(nn.Module):
    """Keeps the code vectors ``[size, D]`` of another module's buffer up to date.

    ``quantize`` collects what a step saw; ``update`` takes it in, the same on every process.
    """

    counts: Tensor
    sums: Tensor

    def __init__(self, config: VQConfig, codebook: Tensor) -> None:
        super().__init__()
        self.config = config
        self.register_buffer("counts", torch.ones(len(codebook)))
        self.register_buffer("sums", torch.zeros_like(codebook))
        self._seen: list[Tensor] = []
        self._indices: list[Tensor] = []

    @torch.no_grad()
    def start(self, codebook: Tensor, vectors: Tensor, seed: int) -> None:
        """Set the codebook by k-means on ``vectors`` ``[n, D]``."""
        from semanticodec.training.codebook import kmeans

        repeated = vectors.repeat(-(-len(codebook) // len(vectors)), 1)
        centroids, sizes = kmeans(repeated, len(codebook), self.config.start_iterations, seed)
        codebook.copy_(centroids)
        # as if the usual steps had gone before, so that the first one does not forget it all
        weight = sizes / sizes.mean().clamp_min(1e-6)
        self.counts.copy_(weight.clamp_min(0.1))
        self.sums.copy_(centroids * self.counts[:, None])

    def quantize(
        self, latents: Tensor, codebook: Tensor, valid: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Quantize with straight-through gradients.

        Args:
            latents: ``[B, T, D]``.
            codebook: ``[size, D]``.
            valid: ``[B, T]`` bool; the others neither count nor move the codebook.

        Returns:
            Code vectors ``[B, T, D]``, their indices ``[B, T]``, and the commitment loss.
        """
        with torch.no_grad():
            indices = nearest(latents.float(), codebook)
            codes = codebook[indices]
        if self.training:
            self._seen.append(latents.detach()[valid].float())
            self._indices.append(indices[valid])
        commitment = ((latents - codes).square().mean(-1) * valid).sum() / valid.sum().clamp_min(1)
        return latents + (codes - latents).detach(), indices, commitment

    @torch.no_grad()
    def update(self, codebook: Tensor, step: int) -> None:
        """Move the code vectors towards what was seen since the last update."""
        if not self._seen:
            return
        vectors, indices = torch.cat(self._seen), torch.cat(self._indices)
        self._seen.clear()
        self._indices.clear()
        counts = torch.bincount(indices, minlength=len(codebook)).to(self.counts)
        sums = torch.zeros_like(self.sums).index_add_(0, indices, vectors)
        _sum_over_processes(counts, sums)
        # the mean count stays 1 whatever the batch size
        share = len(codebook) / counts.sum().clamp_min(1.0)
        decay = self.config.decay
        self.counts.lerp_(counts * share, 1 - decay)
        self.sums.lerp_(sums * share, 1 - decay)
        codebook.copy_(self.sums / self.counts.clamp_min(1e-4)[:, None])
        if (step + 1) % self.config.revive_every == 0:
            self._revive(codebook, vectors)

    def _revive(self, codebook: Tensor, vectors: Tensor) -> None:
        """Put vectors of the batch in the place of codes that are hardly used."""
        weak = (self.counts < self.config.revive_below).nonzero()[:, 0]
        if not len(weak):
            return
        chosen = vectors[torch.randint(len(vectors), (len(weak),), device=vectors.device)]
        chosen = chosen + 1e-3 * torch.randn_like(chosen)
        _broadcast(chosen)
        codebook[weak] = chosen
        self.counts[weak] = 0.3
        self.sums[weak] = 0.3 * chosen


def _sum_over_processes(*tensors: Tensor) -> None:
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        for tensor in tensors:
            torch.distributed.all_reduce(tensor)


def _broadcast(tensor: Tensor) -> None:
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.broadcast(tensor, 0)
