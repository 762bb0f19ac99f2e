"""SNAC (Siuzdak, 2024): a residual quantizer whose codebooks have different rates.

Siuzdak et al., "SNAC: multi-scale neural audio codec", arXiv 2410.14411; through the author's
package ``snac``. The first codebook speaks every 8 (24 kHz: 4) frames, the next twice as often, and
so on. We write one period of the slowest codebook as one frame: of 24 kHz it has 1 + 2 + 4 codes,
so that token rate and bitrate are the true ones (82 tokens/s and 0.98 kbps, where three codebooks
at 46.9 Hz would be 141 and 1.69). ``codes`` is ``[7, T]``, slow codebooks first.

The decoder adds noise of the network's own shaping; it is drawn from the seed.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import lcm, prod
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from codec_zoo.base import CodecError, CodecUnavailableError, Encoded, TokenStream
from codec_zoo.bitpacking import Codes
from codec_zoo.huggingface import HubModel, weight_files
from codec_zoo.neural import Clip, Coded, Layout, NeuralCodec

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class SnacLayout(Layout):
    """A SNAC model; its frame is one period of the slowest codebook.

    Attributes:
        repeats: Codes of each codebook in a frame.
        unit_frames: The model fills a clip up to a multiple of this many frames, and codes that.
    """

    repeats: tuple[int, ...] = ()
    unit_frames: int = 1

    @property
    def unit_samples(self) -> int:
        """Samples that are coded at a time."""
        return self.hop_samples * self.unit_frames

    def frames(self, samples: int) -> int:
        """Return the frames that the model codes; those of its filling are sent too."""
        return -(-samples // (self.hop_samples * self.unit_frames)) * self.unit_frames

    def interleave(self, levels: "Sequence[torch.Tensor]") -> Codes:
        """Return the codes of each codebook ``[1, T * repeats]`` as ``[K, T]``."""
        rows = [
            level.cpu().numpy().reshape(-1, repeats)  # [T, repeats]
            for level, repeats in zip(levels, self.repeats, strict=True)
        ]
        codes: Codes = np.concatenate(rows, axis=1).T.astype(np.int64)
        return codes

    def deinterleave(self, codes: Codes) -> list[Codes]:
        """Undo :meth:`interleave`."""
        rows = np.split(codes, np.cumsum(self.repeats)[:-1])
        return [row.T.reshape(-1) for row in rows]


class Snac24(NeuralCodec):
    """SNAC at 24 kHz, mono, speech; codebooks at 11.7, 23.4 and 46.9 Hz."""

    family = "snac-24khz"
    summary = "SNAC (2024), 24 kHz mono, speech, 0.98 kbps in three time scales"
    stochastic = True
    package = "snac"
    released = HubModel(
        "hubertsiuzdak/snac_24khz",
        "d73ad176a12188fcf4f360ba3bf2c2fbbe8f58ec",
        ("config.json", "pytorch_model.bin"),
    )
    layout: ClassVar[SnacLayout] = SnacLayout(24000, 2048, 4096, 7, repeats=(1, 2, 4))
    _layout: SnacLayout

    @classmethod
    def _layout_of(cls, folder: Path) -> SnacLayout:
        config = json.loads((folder / "config.json").read_text())
        try:
            slowest = config["vq_strides"][0]
            repeats = tuple(slowest // stride for stride in config["vq_strides"])
            return SnacLayout(
                sample_rate=config["sampling_rate"],
                hop_samples=slowest * prod(config["encoder_rates"]),
                codebook_size=config["codebook_size"],
                max_codebooks=sum(repeats),
                repeats=repeats,
                unit_frames=lcm(slowest, config.get("attn_window_size") or 1) // slowest,
            )
        except KeyError as error:
            raise CodecUnavailableError(f"no {error} in {folder}/config.json of SNAC") from error

    def _point_of(self, point: str) -> tuple[str, int]:
        if point:
            raise CodecError(f"{self.family} has no operating points, got {point!r}")
        return "", self._layout.max_codebooks

    def _load(self, folder: Path) -> Any:
        import torch
        from safetensors.torch import load_file
        from snac import SNAC

        model = SNAC(**json.loads((folder / "config.json").read_text()))
        path = weight_files(folder)[0]
        if path.suffix == ".safetensors":
            model.load_state_dict(load_file(path))
        else:
            model.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
        return model

    def _analyse(self, waves: "torch.Tensor") -> list[Coded]:
        levels = self._model.encode(waves)  # of each codebook [B, T * repeats]
        clips = zip(*(level.split(1) for level in levels), strict=True)
        return [Coded(self._layout.interleave(clip)) for clip in clips]

    def _first_codebook(self, codes: Codes) -> Codes:
        return codes[: self._layout.repeats[0]]

    def _dequantize(self, codes: "torch.Tensor") -> "torch.Tensor":
        import torch

        levels = self._layout.deinterleave(codes[0].cpu().numpy())
        layers = self._model.quantizer.quantizers
        found = torch.zeros(())
        for layer, level in zip(layers, levels, strict=True):
            if level.size:  # only the first level is there where only that is wanted
                indices = torch.from_numpy(level.copy())[None].to(codes.device)
                vectors = layer.out_proj(layer.decode_code(indices))
                found = found.to(vectors) + vectors.repeat_interleave(layer.stride, dim=-1)
        return found

    def _latents_of(self, wave: "torch.Tensor") -> "torch.Tensor":
        return self._seen_after(self._model.encoder, wave)

    def token_streams(self, codes: Codes) -> tuple[TokenStream, ...]:
        """Return one stream per codebook, each at its own rate."""
        size = self._layout.codebook_size
        levels = self._layout.deinterleave(codes)
        return tuple(TokenStream(f"cb{k}", level, size) for k, level in enumerate(levels))

    def _encoded(self, coded: Coded, samples: int) -> Encoded:
        """Leave out of ``codes``, not of the payload, what stands for the filling only."""
        whole = super()._encoded(coded, samples)
        frames = -(-samples // self._layout.hop_samples)
        return replace(whole, codes=coded.codes[:, :frames])

    def _synthesise(self, clips: Sequence[Clip]) -> "torch.Tensor":
        import torch

        return torch.cat([self._synthesise_one(clip) for clip in clips])

    def _synthesise_one(self, clip: Clip) -> "torch.Tensor":
        """Decode one clip with noise from its own seed, as the package draws it from a global."""
        import torch

        devices = [torch.device(self._device)] if self._device.startswith("cuda") else []
        levels = self._layout.deinterleave(clip.coded.codes)
        codes = [torch.from_numpy(level.copy())[None].to(self._device) for level in levels]
        model = self._model  # building it draws numbers too, so before the seed
        with torch.random.fork_rng(devices=devices):
            torch.manual_seed(clip.seed)
            wave: torch.Tensor = model.decode(codes)
        return wave


class Snac32(Snac24):
    """SNAC at 32 kHz, mono, music and sounds; codebooks at 10.4, 20.8, 41.7 and 83.3 Hz."""

    family = "snac-32khz"
    summary = "SNAC (2024), 32 kHz mono, music and sounds, 1.9 kbps in four time scales"
    released = HubModel(
        "hubertsiuzdak/snac_32khz",
        "c84c6ac842dc7a44a6fb0f3b576ce94b48a7780f",
        ("config.json", "pytorch_model.bin"),
    )
    layout: ClassVar[SnacLayout] = SnacLayout(
        32000, 3072, 4096, 15, repeats=(1, 2, 4, 8), unit_frames=4
    )


class Snac44(Snac24):
    """SNAC at 44.1 kHz, mono, music and sounds; codebooks at 14.4, 28.7, 57.4 and 114.8 Hz."""

    family = "snac-44khz"
    summary = "SNAC (2024), 44.1 kHz mono, music and sounds, 2.6 kbps in four time scales"
    released = HubModel(
        "hubertsiuzdak/snac_44khz",
        "873ebef9718b89660340c6f55a2b515e98cfa1d9",
        ("config.json", "pytorch_model.bin"),
    )
    layout: ClassVar[SnacLayout] = SnacLayout(
        44100, 3072, 4096, 15, repeats=(1, 2, 4, 8), unit_frames=4
    )
