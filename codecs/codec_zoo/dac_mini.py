"""A small DAC trained beside the small SemantiCodec: the same audio, comparable size and time.

Made by ``semanticodec train dac``; docs/matched_budget.md compares the two.
"""

# ruff: noqa: D102 - the methods of the contract are documented in base.Codec

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from codec_zoo.base import CodecUnavailableError
from codec_zoo.dac import Dac44
from codec_zoo.huggingface import HubModel, folder_hash
from codec_zoo.neural import Layout

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

    def _weights_hash(self) -> str:
        return folder_hash(self._own_folder or self.released.folder())
