"""DAC (Descript, 2023): a convolutional codec with a residual quantizer, through transformers.

Kumar et al., "High-fidelity audio compression with improved RVQGAN", arXiv 2306.06546. Released
for 16, 24 and 44.1 kHz, mono; any number of the codebooks can be left out from the end.

The models for 16 and 24 kHz give 8 samples less than they take, and what they give comes 8 samples
early (measured on the released weights: github.com/descriptinc/descript-audio-codec/issues/118,
and -8 samples in the README of codecscope 0.1.0; unmended, it costs 13 and 19 dB of SI-SNR). The
cause is the layer that goes up by 5, an odd number, and cuts 3 samples off each end where 5 are
too many: one too many of that layer, which stands for 8 of the output. They are missing in front,
so :meth:`Dac44._synthesise` puts silence there.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from codec_zoo.huggingface import HubModel, load_config, load_model
from codec_zoo.neural import (
    Clip,
    Coded,
    Layout,
    NeuralCodec,
    coded,
    parse_codebooks,
    whole_frames,
)

if TYPE_CHECKING:
    import torch


class Dac44(NeuralCodec):
    """DAC at 44.1 kHz; 86.1 frames a second of up to 9 x 10 bits (7.75 kbps, sold as 8)."""

    family = "dac-44khz"
    summary = "DAC (Descript, 2023), 44.1 kHz mono, any audio"
    points: ClassVar[tuple[str, ...]] = ("1cb", "2cb", "3cb", "4cb", "6cb", "9cb")
    released = HubModel("descript/dac_44khz", "c1bc521685adf9cfe247bc39a5ca58917eda1ac4")
    layout = Layout(44100, 512, 1024, 9)

    @classmethod
    def _layout_of(cls, folder: Path) -> Layout:
        config = load_config("DacConfig", folder)
        return Layout(
            config.sampling_rate, config.hop_length, config.codebook_size, config.n_codebooks
        )

    def _point_of(self, point: str) -> tuple[str, int]:
        codebooks = parse_codebooks(type(self), point, self._layout.max_codebooks)
        return f"{codebooks}cb", codebooks

    def _load(self, folder: Path) -> Any:
        return load_model("DacModel", folder)

    def _analyse(self, waves: "torch.Tensor") -> list[Coded]:
        padded = whole_frames(waves, self._layout.hop_samples)  # the last frame would be dropped
        out = self._model.encode(padded, n_quantizers=self._codebooks)
        return coded(out.audio_codes)

    def _synthesise(self, clips: Sequence[Clip]) -> "torch.Tensor":
        import torch

        codes = self._codes_of(clips)
        waves: torch.Tensor = self._model.decode(audio_codes=codes).audio_values  # [B, N]
        missing = codes.shape[-1] * self._layout.hop_samples - waves.shape[-1]
        return torch.nn.functional.pad(waves, (missing, 0))[:, None]

    def _dequantize(self, codes: "torch.Tensor") -> "torch.Tensor":
        found: torch.Tensor = self._model.quantizer.from_codes(codes)[0]
        return found

    def _latents_of(self, wave: "torch.Tensor") -> "torch.Tensor":
        return self._seen_after(self._model.encoder, wave)


class Dac24(Dac44):
    """DAC at 24 kHz; 75 frames a second of up to 32 x 10 bits."""

    family = "dac-24khz"
    summary = "DAC (Descript, 2023), 24 kHz mono, any audio"
    points: ClassVar[tuple[str, ...]] = ("1cb", "2cb", "4cb", "8cb", "16cb", "32cb")
    released = HubModel("descript/dac_24khz", "6ba020b5ba7d9d8076fb90db7e67f27e31980f6e")
    layout = Layout(24000, 320, 1024, 32)


class Dac16(Dac44):
    """DAC at 16 kHz; 50 frames a second of up to 12 x 10 bits."""

    family = "dac-16khz"
    summary = "DAC (Descript, 2023), 16 kHz mono, any audio"
    points: ClassVar[tuple[str, ...]] = ("1cb", "2cb", "3cb", "4cb", "6cb", "12cb")
    released = HubModel("descript/dac_16khz", "7c2fc5e759f1f501aefc6e7a0265cc57f5d17ba7")
    layout = Layout(16000, 320, 1024, 12)
