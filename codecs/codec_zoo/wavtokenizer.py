"""WavTokenizer (2024): one code of 12 bits for 25 ms, through transformers.

Ji et al., "WavTokenizer: an efficient acoustic discrete codec tokenizer for audio language
modeling", arXiv 2408.16532. EnCodec's encoder, one codebook, a decoder in the manner of Vocos;
24 kHz, mono. The layout is that of ``large-unify-40token``, for any audio; the models of 75 tokens
a second (``swiss-ai/wavtokenizer-medium-music-audio-75token-v2``, ...) run by ``path=`` too.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from codec_zoo.base import CodecError
from codec_zoo.huggingface import HubModel, load_config, load_model
from codec_zoo.neural import Clip, Coded, Layout, NeuralCodec, coded

if TYPE_CHECKING:
    import torch


class WavTokenizer(NeuralCodec):
    """WavTokenizer at 24 kHz, mono; 40 frames a second of 12 bits."""

    family = "wavtokenizer"
    summary = "WavTokenizer (2024), 24 kHz mono, any audio, one codebook, 0.48 kbps"
    released = HubModel("swiss-ai/wavtokenizer-large-unify-40token", commit=None)
    layout: ClassVar[Layout] = Layout(24000, 600, 4096, 1)

    @classmethod
    def _layout_of(cls, folder: Path) -> Layout:
        config = load_config("WavTokenizerConfig", folder)
        return Layout(config.sampling_rate, config.hop_length, config.codebook_size, 1)

    def _point_of(self, point: str) -> tuple[str, int]:
        if point:
            raise CodecError(f"{self.family} has no operating points, got {point!r}")
        return "", 1

    def _load(self, folder: Path) -> Any:
        return load_model("WavTokenizerModel", folder)

    def _analyse(self, waves: "torch.Tensor") -> list[Coded]:
        return coded(self._model.encode(waves).audio_codes)

    def _synthesise(self, clips: Sequence[Clip]) -> "torch.Tensor":
        waves: torch.Tensor = self._model.decode(self._codes_of(clips)).audio_values
        return waves

    def _dequantize(self, codes: "torch.Tensor") -> "torch.Tensor":
        found: torch.Tensor = self._model.encoder_model.quantizer.decode(codes[:, 0])
        return found

    def _latents_of(self, wave: "torch.Tensor") -> "torch.Tensor":
        return self._seen_after(self._model.encoder_model.encoder, wave)
