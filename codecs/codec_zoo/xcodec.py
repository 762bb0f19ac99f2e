"""X-Codec (HKUST, 2024): a codec that codes HuBERT's features too, through transformers.

Ye et al., "Codec does matter: exploring the semantic shortcoming of codec for audio language
model", arXiv 2408.17175. An encoder of waveforms and HuBERT side by side, one residual quantizer,
a decoder of waveforms; 16 kHz, mono. The default weights are those for any audio; other released
ones (``hf-audio/xcodec-hubert-librispeech``, ``hf-audio/xcodec-wavlm-mls``, ...) run by ``path=``.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from codec_zoo.base import CodecError, parse_number
from codec_zoo.huggingface import HubModel, load_config, load_model
from codec_zoo.neural import Clip, Coded, Layout, NeuralCodec, coded, whole_frames

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class XcodecLayout(Layout):
    """An X-Codec model.

    Attributes:
        bandwidths: Bitrates it was trained for, kbps.
    """

    bandwidths: tuple[float, ...] = ()


class Xcodec(NeuralCodec):
    """X-Codec at 16 kHz, mono; 50 frames a second of 1 to 8 x 10 bits."""

    family = "xcodec"
    summary = "X-Codec (HKUST, 2024), 16 kHz mono, any audio, with HuBERT's features"
    points: ClassVar[tuple[str, ...]] = ("0.5kbps", "1kbps", "1.5kbps", "2kbps", "4kbps")
    released = HubModel(
        "hf-audio/xcodec-hubert-general", "240735a1ade315cb9b22604fe898e7df03d67378"
    )
    layout: ClassVar[XcodecLayout] = XcodecLayout(
        16000, 320, 1024, 8, bandwidths=(0.5, 1.0, 1.5, 2.0, 4.0)
    )
    _layout: XcodecLayout

    @classmethod
    def _layout_of(cls, folder: Path) -> XcodecLayout:
        config = load_config("XcodecConfig", folder)
        return XcodecLayout(
            sample_rate=config.sample_rate,
            hop_samples=config.hop_length,
            codebook_size=config.codebook_size,
            max_codebooks=config.num_quantizers,
            bandwidths=tuple(float(kbps) for kbps in config.target_bandwidths),
        )

    def _point_of(self, point: str) -> tuple[str, int]:
        self._kbps = parse_number(type(self), point, "kbps")
        if self._kbps not in self._layout.bandwidths:
            known = ", ".join(f"{kbps:g}kbps" for kbps in self._layout.bandwidths)
            raise CodecError(f"{self.family} takes {known}, got {point!r}")
        per_codebook = self._layout.frame_rate * np.log2(self._layout.codebook_size) / 1000
        return f"{self._kbps:g}kbps", max(1, int(self._kbps / per_codebook))

    def _load(self, folder: Path) -> Any:
        return load_model("XcodecModel", folder)

    def _analyse(self, waves: "torch.Tensor") -> list[Coded]:
        # Whole frames, or the two encoders may disagree about how many there are.
        padded = whole_frames(waves, self._layout.hop_samples)
        return coded(self._model.encode(padded, bandwidth=self._kbps).audio_codes)

    def _synthesise(self, clips: Sequence[Clip]) -> "torch.Tensor":
        waves: torch.Tensor = self._model.decode(self._codes_of(clips)).audio_values
        return waves

    def _dequantize(self, codes: "torch.Tensor") -> "torch.Tensor":
        found: torch.Tensor = self._model.quantizer.decode(codes.transpose(0, 1))
        return found

    def _latents_of(self, wave: "torch.Tensor") -> "torch.Tensor":
        return self._seen_after(self._model.fc, wave).transpose(1, 2)  # [1, T, D] -> [1, D, T]
