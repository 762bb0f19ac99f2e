"""EnCodec (Meta, 2022): SEANet with a residual quantizer, through transformers.

Défossez et al., "High fidelity neural audio compression", arXiv 2210.13438. Three released models:
24 kHz mono (causal), 48 kHz stereo (chunks of one second that overlap by 10 ms, each brought to
the same level first), and 32 kHz mono (from MusicGen, trained on music).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from codec_zoo.base import CodecError, parse_number
from codec_zoo.huggingface import HubModel, load_config, load_model
from codec_zoo.neural import Clip, Coded, Layout, NeuralCodec, coded

if TYPE_CHECKING:
    import torch

#: Bytes of one chunk's scale: a float32, as in the file format of Meta's own package.
SCALE_BYTES = 4
#: Largest scale that a decoder believes; of audio in [-1, 1] it is at most 1.
MAX_SCALE = 1e3


@dataclass(frozen=True)
class EncodecLayout(Layout):
    """An EnCodec model.

    Attributes:
        bandwidths: Bitrates it was trained for, kbps.
        chunk_samples: Samples coded at a time; None where a clip is coded in one piece.
        stride_samples: From one chunk to the next; the rest of a chunk overlaps.
        sends_scale: Whether each chunk is brought to one level, which is sent beside the codes.
    """

    bandwidths: tuple[float, ...] = ()
    chunk_samples: int | None = None
    stride_samples: int | None = None
    sends_scale: bool = False

    @property
    def unit_samples(self) -> int:
        """Samples that are coded at a time: a chunk, or a frame where there are no chunks."""
        return self.chunk_samples or self.hop_samples

    def chunk_places(self, samples: int) -> list[tuple[int, int, int]]:
        """Return each chunk's first sample, samples and frames, of a clip of ``samples`` samples.

        The model would begin one more chunk when the last samples lie in the overlap, where the
        chunk before has coded them already. Its decoder cannot put such a short one together
        (of 47600 samples it raises), so we leave it out.
        """
        stride, most = self.stride_samples or samples, self.chunk_samples or samples
        starts = [index * stride for index in range(self.chunks(samples))]
        sizes = [min(most, samples - start) for start in starts]
        return [
            (start, size, -(-size // self.hop_samples))
            for start, size in zip(starts, sizes, strict=True)
        ]

    def chunks(self, samples: int) -> int:
        """Return the number of chunks of a clip of ``samples`` samples."""
        if self.chunk_samples is None or self.stride_samples is None:
            return 1
        overlap = self.chunk_samples - self.stride_samples
        return len(range(0, max(1, samples - overlap), self.stride_samples))

    def frames(self, samples: int) -> int:
        """Return the frames of all chunks; where chunks overlap, frames are sent twice."""
        return sum(frames for _, _, frames in self.chunk_places(samples))


class Encodec24(NeuralCodec):
    """EnCodec at 24 kHz, mono, causal; 75 frames a second."""

    family = "encodec-24khz"
    summary = "EnCodec (Meta, 2022), 24 kHz mono, any audio"
    points: ClassVar[tuple[str, ...]] = ("1.5kbps", "3kbps", "6kbps", "12kbps", "24kbps")
    released = HubModel("facebook/encodec_24khz", "c1dbe2ae3f1de713481a3b3e7c47f357092ee040")
    layout: ClassVar[EncodecLayout] = EncodecLayout(
        24000, 320, 1024, 32, bandwidths=(1.5, 3.0, 6.0, 12.0, 24.0)
    )
    _layout: EncodecLayout

    @classmethod
    def _layout_of(cls, folder: Path) -> EncodecLayout:
        config = load_config("EncodecConfig", folder)
        return EncodecLayout(
            sample_rate=config.sampling_rate,
            hop_samples=config.hop_length,
            codebook_size=config.codebook_size,
            max_codebooks=config.num_quantizers,
            channels=config.audio_channels,
            bandwidths=tuple(float(kbps) for kbps in config.target_bandwidths),
            chunk_samples=config.chunk_length,
            stride_samples=config.chunk_stride,
            sends_scale=config.normalize,
        )

    def _point_of(self, point: str) -> tuple[str, int]:
        self._kbps = parse_number(type(self), point, "kbps")
        if self._kbps not in self._layout.bandwidths:
            known = ", ".join(f"{kbps:g}kbps" for kbps in self._layout.bandwidths)
            raise CodecError(f"{self.family} takes {known}, got {point!r}")
        if self._layout.chunk_samples and self._dtype != "fp32":
            raise CodecError(
                f"{self.family} takes dtype fp32 only: transformers fades its chunks into each "
                f"other in the network's precision, and {self._dtype} rounds a weight to zero"
            )
        # As the model counts; it rounds its frame rate up to a whole number.
        per_codebook = -(-self._layout.sample_rate // self._layout.hop_samples)
        bits = np.log2(self._layout.codebook_size)
        return f"{self._kbps:g}kbps", max(1, int(self._kbps * 1000 / (per_codebook * bits)))

    def _load(self, folder: Path) -> Any:
        return load_model("EncodecModel", folder)

    def _analyse(self, waves: "torch.Tensor") -> list[Coded]:
        parts = [
            self._analyse_chunk(waves[..., start : start + size], frames)
            for start, size, frames in self._layout.chunk_places(waves.shape[-1])
        ]
        return [_joined(clip) for clip in zip(*parts, strict=True)]

    def _analyse_chunk(self, chunk: "torch.Tensor", frames: int) -> list[Coded]:
        """Encode one chunk of each clip ``[B, C, N]``, by itself.

        The model would do them all, but raises where the last but one is not whole (95100 samples).
        Of a whole one it makes a second, of what overlaps the next: the first is what we want.
        """
        out = self._model.encode(chunk, bandwidth=self._kbps, return_dict=True)
        found = coded(out.audio_codes[0][..., :frames])
        if not self._layout.sends_scale:
            return found
        scales = out.audio_scales[0].float().cpu().numpy().reshape(-1, 1)
        return [Coded(one.codes, scale) for one, scale in zip(found, scales, strict=True)]

    def _synthesise(self, clips: Sequence[Clip]) -> "torch.Tensor":
        import torch

        frames = [frames for _, _, frames in self._layout.chunk_places(clips[0].samples)]
        chunks = torch.split(self._codes_of(clips), frames, dim=-1)
        missing = frames[0] - frames[-1]
        stacked = torch.stack([*chunks[:-1], torch.nn.functional.pad(chunks[-1], (0, missing))])
        waves: torch.Tensor = self._model.decode(
            stacked,  # [chunks, B, K, T]
            self._scales(clips, len(frames)),
            last_frame_pad_length=missing,
            return_dict=True,
        ).audio_values
        return waves

    def _dequantize(self, codes: "torch.Tensor") -> "torch.Tensor":
        found: torch.Tensor = self._model.quantizer.decode(codes.transpose(0, 1))
        return found

    def _latents_of(self, wave: "torch.Tensor") -> "torch.Tensor":
        return self._seen_after(self._model.encoder, wave)

    def _scales(self, clips: Sequence[Clip], chunks: int) -> "list[torch.Tensor | None]":
        """Return the scales of each chunk ``[B, 1]``."""
        import torch

        scales = [clip.coded.scales for clip in clips if clip.coded.scales is not None]
        if not scales:
            return [None] * chunks
        levels = torch.from_numpy(np.stack(scales))  # [B, chunks]
        return list(levels.T[..., None].to(self._device, self._torch_dtype))

    def _pack(self, coded: Coded) -> bytes:
        scales = b"" if coded.scales is None else coded.scales.astype("<f4").tobytes()
        return scales + super()._pack(coded)

    def _unpack(self, body: bytes, samples: int) -> Coded:
        if not self._layout.sends_scale:
            return super()._unpack(body, samples)
        size = SCALE_BYTES * self._layout.chunks(samples)
        scales = np.frombuffer(body[: min(size, len(body) // SCALE_BYTES * SCALE_BYTES)], "<f4")
        if not (np.isfinite(scales) & (scales >= 0) & (scales <= MAX_SCALE)).all():
            raise CodecError("a chunk's scale is no level of audio; the payload is damaged")
        return Coded(super()._unpack(body[size:], samples).codes, scales.astype(np.float32))


def _joined(chunks: Sequence[Coded]) -> Coded:
    """Return the chunks of one clip as one."""
    scales = [chunk.scales for chunk in chunks if chunk.scales is not None]
    codes = np.concatenate([chunk.codes for chunk in chunks], axis=1)
    return Coded(codes, np.concatenate(scales) if scales else None)


class Encodec48(Encodec24):
    """EnCodec at 48 kHz, stereo; 150 frames a second.

    A clip is coded in chunks of 1 s, each 10 ms into the one before, so that 101 % of the frames
    are sent, and a scale of 32 bits a chunk: both are in the payload and in the measured bitrate.
    """

    family = "encodec-48khz"
    summary = "EnCodec (Meta, 2022), 48 kHz stereo, trained on music"
    points = ("3kbps", "6kbps", "12kbps", "24kbps")
    released = HubModel("facebook/encodec_48khz", "c3def8e7185ac8c8efdce6eb8c4a651e487a503e")
    layout: ClassVar[EncodecLayout] = EncodecLayout(
        sample_rate=48000,
        hop_samples=320,
        codebook_size=1024,
        max_codebooks=16,
        channels=2,
        bandwidths=(3.0, 6.0, 12.0, 24.0),
        chunk_samples=48000,
        stride_samples=47520,
        sends_scale=True,
    )


class Encodec32(Encodec24):
    """EnCodec at 32 kHz, mono, trained on music for MusicGen; 50 frames of 4 x 11 bits a second."""

    family = "encodec-32khz"
    summary = "EnCodec of MusicGen (Meta, 2023), 32 kHz mono, trained on music"
    points = ("2.2kbps",)
    released = HubModel("facebook/encodec_32khz", "d0c45384f6c44db055f78200cfdcb9c1c8706727")
    layout: ClassVar[EncodecLayout] = EncodecLayout(32000, 640, 2048, 4, bandwidths=(2.2,))
