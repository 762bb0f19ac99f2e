"""X-Codec 2 (HKUST, 2025): one code of 16 bits for 20 ms of speech, through transformers.

Ye et al., "Llasa: scaling train-time and inference-time compute for Llama-based speech synthesis",
arXiv 2502.04128. An encoder of waveforms and w2v-BERT 2.0 side by side, one finite scalar quantizer
of 4^8 entries, a decoder in the manner of Vocos; 16 kHz, mono.

The model wants w2v-BERT's features beside the waveform. Its own feature extractor takes them from
torchaudio, which CodecBench does without; that of SeamlessM4T, which the authors used, makes the
same in numpy.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from codec_zoo.base import CodecError
from codec_zoo.huggingface import HubModel, load_config, load_model
from codec_zoo.neural import Clip, Coded, Layout, NeuralCodec, coded, whole_frames

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Xcodec2Layout(Layout):
    """An X-Codec 2 model."""

    def frames(self, samples: int) -> int:
        """Return the frames of a clip: of a whole number of frames, one more than needed."""
        return samples // self.hop_samples + 1


class Xcodec2(NeuralCodec):
    """X-Codec 2 at 16 kHz, mono; 50 frames a second of 16 bits."""

    family = "xcodec2"
    summary = "X-Codec 2 (HKUST, 2025), 16 kHz mono, speech, one codebook, 0.8 kbps"
    released = HubModel("HKUSTAudio/xcodec2-hf", "64bd034d12d441299cdd535b15c33efd6ccdf252")
    layout: ClassVar[Layout] = Xcodec2Layout(16000, 320, 65536, 1)

    @classmethod
    def _layout_of(cls, folder: Path) -> Layout:
        config = load_config("Xcodec2Config", folder)
        entries = int(np.prod(config.quantization_levels))
        return Xcodec2Layout(config.sampling_rate, config.hop_length, entries, 1)

    def _point_of(self, point: str) -> tuple[str, int]:
        if point:
            raise CodecError(f"{self.family} has no operating points, got {point!r}")
        return "", 1

    def _load(self, folder: Path) -> Any:
        return load_model("Xcodec2Model", folder)

    def _analyse(self, waves: "torch.Tensor") -> list[Coded]:
        import torch

        # As the authors: at least one zero behind the clip, then whole frames.
        hop = self._layout.hop_samples
        padded = whole_frames(torch.nn.functional.pad(waves, (0, 1)), hop)
        return self._analyse_with_features(padded)

    def _analyse_with_features(self, waves: "torch.Tensor") -> list[Coded]:
        """Encode clips ``[B, 1, N]`` of whole frames, each with its own features."""
        import torch

        features = [self._features(wave) for wave in waves[:, 0].float().cpu().numpy()]
        out = self._model.encode(waves, input_features=torch.cat(features).to(waves))
        return coded(out.audio_codes)

    def _features(self, wave: np.ndarray) -> "torch.Tensor":
        """Return w2v-BERT's features ``[1, T, 160]`` of samples ``[N]``, a whole number of frames.

        Kaldi's log mel energies of 80 bands, 10 ms apart, normalised over the clip, two by two.
        """
        import torch

        half = self._layout.hop_samples // 2
        found = self._extractor(
            np.pad(wave, half), sampling_rate=self._layout.sample_rate, return_tensors="np"
        )
        return torch.from_numpy(found["input_features"].astype(np.float32))

    @cached_property
    def _extractor(self) -> Any:
        from transformers import SeamlessM4TFeatureExtractor

        return SeamlessM4TFeatureExtractor(sampling_rate=16000)

    def _synthesise(self, clips: Sequence[Clip]) -> "torch.Tensor":
        waves: torch.Tensor = self._model.decode(self._codes_of(clips)).audio_values
        return waves

    def _dequantize(self, codes: "torch.Tensor") -> "torch.Tensor":
        found: torch.Tensor = self._model.quantizer.from_codes(codes.transpose(1, 2))
        return found.transpose(1, 2)  # [1, T, D] -> [1, D, T]

    def _latents_of(self, wave: "torch.Tensor") -> "torch.Tensor":
        return self._seen_after(self._model.fc_encoder, wave).transpose(1, 2)
