"""Mimi (Kyutai, 2024), the speech codec of Moshi, through transformers.

Défossez et al., "Moshi: a speech-text foundation model for real-time dialogue", arXiv 2410.00037,
section 3.3. SEANet and transformers, causal; the first codebook was taught by WavLM (semantic), the
others code the rest. Moshi uses 8 codebooks; the released model has 32.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from codec_zoo.huggingface import HubModel, load_config, load_model
from codec_zoo.neural import Clip, Coded, Layout, NeuralCodec, coded, parse_codebooks

if TYPE_CHECKING:
    import torch


class Mimi(NeuralCodec):
    """Mimi at 24 kHz, mono; 12.5 frames a second of 1 to 32 x 11 bits."""

    family = "mimi"
    summary = "Mimi (Kyutai, 2024), 24 kHz mono, speech, 12.5 frames a second"
    points: ClassVar[tuple[str, ...]] = ("1cb", "2cb", "4cb", "8cb", "16cb", "32cb")
    released = HubModel("kyutai/mimi", "89091b3e466eb6a9d11e537bf26b144f194978f7")
    layout = Layout(24000, 1920, 2048, 32)

    @classmethod
    def _layout_of(cls, folder: Path) -> Layout:
        config = load_config("MimiConfig", folder)
        return Layout(
            sample_rate=config.sampling_rate,
            hop_samples=round(config.sampling_rate / config.frame_rate),
            codebook_size=config.codebook_size,
            max_codebooks=config.num_quantizers,
            channels=config.audio_channels,
        )

    def _point_of(self, point: str) -> tuple[str, int]:
        codebooks = parse_codebooks(type(self), point, self._layout.max_codebooks)
        return f"{codebooks}cb", codebooks

    def _load(self, folder: Path) -> Any:
        return load_model("MimiModel", folder)

    def _analyse(self, waves: "torch.Tensor") -> list[Coded]:
        out = self._model.encode(waves, num_quantizers=self._codebooks)
        return coded(out.audio_codes)

    def _synthesise(self, clips: Sequence[Clip]) -> "torch.Tensor":
        waves: torch.Tensor = self._model.decode(self._codes_of(clips)).audio_values
        return waves

    def _dequantize(self, codes: "torch.Tensor") -> "torch.Tensor":
        found: torch.Tensor = self._model.quantizer.decode(codes)
        return found

    def _latents_of(self, wave: "torch.Tensor") -> "torch.Tensor":
        layers = dict(self._model.named_modules())  # it moved between versions of transformers
        name = next(name for name in layers if name.rpartition(".")[2] == "downsample")
        return self._seen_after(layers[name], wave)
