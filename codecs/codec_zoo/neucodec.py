"""NeuCodec (Neuphonic, 2025): X-Codec 2 that speaks at 24 kHz, through transformers.

Julian et al., "Finite scalar quantization enables redundant and transmission-robust neural audio
compression at low bit-rates", arXiv 2509.09550. It listens at 16 kHz and gives 24 kHz, so a clip is
brought from 24 kHz to 16 kHz first; what lies above 8 kHz is the decoder's invention.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from codec_zoo.huggingface import HubModel, load_config, load_model
from codec_zoo.neural import Coded, Layout, whole_frames
from codec_zoo.xcodec2 import Xcodec2

if TYPE_CHECKING:
    import torch

#: At which the encoder listens, Hz; of three samples two are left.
ENCODER_RATE = 16000


class NeuCodec(Xcodec2):
    """NeuCodec at 24 kHz, mono; 50 frames a second of 16 bits."""

    family = "neucodec"
    summary = "NeuCodec (Neuphonic, 2025), 24 kHz mono, speech, one codebook, 0.8 kbps"
    released = HubModel("neuphonic/neucodec", commit=None)
    layout: ClassVar[Layout] = Layout(24000, 480, 65536, 1)

    @classmethod
    def _layout_of(cls, folder: Path) -> Layout:
        config = load_config("NeuCodecConfig", folder)
        entries = int(np.prod(config.quantization_levels))
        return Layout(config.output_sampling_rate, config.hop_length, entries, 1)

    def _load(self, folder: Path) -> Any:
        return load_model("NeuCodecModel", folder)

    def _analyse(self, waves: "torch.Tensor") -> list[Coded]:
        import torch

        heard = [self._at_encoder_rate(wave) for wave in waves[:, 0].float().cpu().numpy()]
        tensor = torch.from_numpy(np.stack(heard)[:, None]).to(waves)
        # Whole frames, and one behind them: w2v-BERT's features are one frame shorter.
        hop = self._layout.hop_samples * ENCODER_RATE // self._layout.sample_rate
        padded = torch.nn.functional.pad(whole_frames(tensor, hop), (0, hop))
        return self._analyse_with_features(padded)

    def _at_encoder_rate(self, wave: np.ndarray) -> np.ndarray:
        """Return samples ``[N]`` at 16 kHz, two for every three."""
        import soxr

        padded = np.pad(wave, (0, -len(wave) % 3))
        found: np.ndarray = soxr.resample(padded, self._layout.sample_rate, ENCODER_RATE, "VHQ")
        return found

    def _features(self, wave: np.ndarray) -> "torch.Tensor":
        """Return w2v-BERT's features as X-Codec 2 has them, but from the clip's first sample on."""
        import torch

        found = self._extractor(wave, sampling_rate=ENCODER_RATE, return_tensors="np")
        return torch.from_numpy(found["input_features"].astype(np.float32))
