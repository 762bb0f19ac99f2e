"""A small DAC trained beside the small SemantiCodec: the same audio, comparable size and time.

Made by ``semanticodec train dac``; docs/matched_budget.md compares the two. As the descript-audio-
codec package does, a clip is brought to one level before it is encoded and back after it is
decoded; the level is sent, in one byte of half decibels.
"""

# ruff: noqa: D102 - the methods of the contract are documented in base.Codec

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from codec_zoo.base import CodecError, CodecUnavailableError
from codec_zoo.dac import Dac44
from codec_zoo.huggingface import HubModel, folder_hash
from codec_zoo.neural import Clip, Coded, Layout

if TYPE_CHECKING:
    import torch

LEVEL_DB = -23.0  # root mean square that the network was trained at, full scale 0
STEPS_PER_DB = 2
LOWEST_DB = -60.0  # near silence is not raised as if it were sound
WEIGHTS = Path(__file__).parent / "weights" / "dac-mini"


@dataclass(frozen=True)
class ShippedModel(HubModel):
    """A model whose files come with the project; found where the hub's files would be looked up."""

    repository: str = "shipped with the project"
    commit: str = ""

    def cached_folder(self) -> Path | None:
        return WEIGHTS if (WEIGHTS / "model.safetensors").is_file() else None

    def missing_reason(self) -> str | None:
        if self.cached_folder() is not None:
            return None
        return "its weights are not in this installation; train them: docs/training.md"

    def folder(self) -> Path:
        if (reason := self.missing_reason()) is not None:
            raise CodecUnavailableError(reason)
        return WEIGHTS


class DacMini(Dac44):
    """The small DAC at 16 kHz; 15.6 frames a second of up to 9 x 10 bits (0.16 to 1.41 kbps)."""

    family = "dac-mini"
    summary = "small DAC, trained with semanticodec-mini's audio and time; runs on a CPU"
    points: ClassVar[tuple[str, ...]] = ("3cb", "5cb", "9cb")
    released = ShippedModel()
    layout = Layout(16000, 1024, 1024, 9)

    def _analyse(self, waves: "torch.Tensor") -> list[Coded]:
        levels = 10 * waves.float().square().mean((1, 2)).clamp_min(1e-12).log10()
        steps = (-STEPS_PER_DB * levels.clamp(LOWEST_DB, 0.0)).round().tolist()
        gains = waves.new_tensor([_gain(step) for step in steps])
        found = super()._analyse(waves * gains[:, None, None])
        pairs = zip(found, steps, strict=True)
        return [Coded(one.codes, np.array([step], np.float32)) for one, step in pairs]

    def _synthesise(self, clips: Sequence[Clip]) -> "torch.Tensor":
        waves = super()._synthesise(clips)
        steps = [float(clip.coded.scales[0]) for clip in clips if clip.coded.scales is not None]
        return waves / waves.new_tensor([_gain(step) for step in steps])[:, None, None]

    def _pack(self, coded: Coded) -> bytes:
        assert coded.scales is not None
        return bytes([int(coded.scales[0])]) + super()._pack(coded)

    def _unpack(self, body: bytes, samples: int) -> Coded:
        if not body:
            raise CodecError(f"{self.family}: the payload has no byte for the level")
        coded = super()._unpack(body[1:], samples)
        return Coded(coded.codes, np.array([body[0]], np.float32))

    def _weights_hash(self) -> str:
        return folder_hash(self._own_folder or self.released.folder())


def _gain(step: float) -> float:
    """Return the factor that brings a clip of level ``-step / 2`` dB to the network's level."""
    return float(10 ** ((LEVEL_DB + step / STEPS_PER_DB) / 20))
