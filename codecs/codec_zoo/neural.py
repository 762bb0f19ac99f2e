"""What neural codecs with discrete codes have in common: payload, batches, where weights are from.

A payload is the number of samples and the packed codes (:mod:`codec_zoo.bitpacking`), frame after
frame and in a frame codebook after codebook.

Clips are encoded one by one unless ``together=`` says otherwise: in a batch, sums run in another
order, and where two entries of a codebook are nearly as near, the other one wins (Mimi of full size
with random weights on a CPU: 22 of 1248 codes in a batch of three). They are decoded together where
they are equally long; that moves samples by about 1e-7. A shorter one is never filled up: these
networks are not blind to what stands behind a clip (layers pad by reflection, normalise over time,
or look ahead).
"""

# ruff: noqa: D102 - the methods of the contract are documented in base.Codec

import re
from abc import abstractmethod
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

import numpy as np
from numpy.typing import NDArray

from codec_zoo.base import (
    Codec,
    CodecError,
    CodecSpec,
    CodecUnavailableError,
    Encoded,
    Option,
    Wave,
    checked_wave,
    format_codec_id,
    nominal_kbps,
)
from codec_zoo.bitpacking import Codes, pack_codes, unpack_codes
from codec_zoo.huggingface import HubModel, folder_hash, local_folder, missing_package
from codec_zoo.packets import PacketStream, unpack

if TYPE_CHECKING:
    import torch

Item = TypeVar("Item")
Result = TypeVar("Result")

#: Option ``dtype`` -> name of the type in torch.
DTYPES = {"fp32": "float32", "bf16": "bfloat16"}


@dataclass(frozen=True)
class Layout:
    """The shape of a model's codes.

    Attributes:
        sample_rate: Of the waveform, Hz.
        hop_samples: Samples in one frame of codes.
        codebook_size: Entries of each codebook.
        max_codebooks: Codes in one frame at the highest bitrate.
        channels: Of the waveform.
    """

    sample_rate: int
    hop_samples: int
    codebook_size: int
    max_codebooks: int
    channels: int = 1

    @property
    def frame_rate(self) -> float:
        """Frames per second, Hz."""
        return self.sample_rate / self.hop_samples

    @property
    def unit_samples(self) -> int:
        """Samples that are coded at a time."""
        return self.hop_samples

    def frames(self, samples: int) -> int:
        """Return the frames that cover ``samples`` samples."""
        return -(-samples // self.hop_samples)


@dataclass(frozen=True)
class Coded:
    """What an encoder gives for one clip, before packing.

    Attributes:
        codes: ``[K, T]`` (codebooks, frames).
        scales: Levels that the decoder multiplies by, one per chunk; empty for most codecs.
    """

    codes: Codes
    scales: NDArray[np.float32] | None = None


@dataclass(frozen=True)
class Clip:
    """What a decoder gets for one clip.

    Attributes:
        samples: To decode to.
        seed: Of the clip; only a decoder that draws random numbers looks at it.
    """

    coded: Coded
    samples: int
    seed: int = 0


class NeuralCodec(Codec):
    """A neural codec with released weights on the Hugging Face hub.

    A subclass names its model and says how to call it.

    Args:
        point: The operating point.
        device: Where the network runs, e.g. ``cpu`` or ``cuda``.
        path: A folder written by ``save_pretrained``, to use instead of the released weights.
        dtype: ``fp32`` or ``bf16``, the precision of the network.
        together: Clips of one length that are encoded at once. Above 1 it is faster on a GPU, and
            a clip's codes depend a little on its company.

    Attributes:
        released: The released weights.
        layout: Of the released model.
        package: What runs the network.
        adapter_version: Raised by every change that moves the output.
        stochastic: Whether the decoder draws random numbers.
    """

    kind = "neural"
    batch_size = 8
    released: ClassVar[HubModel]
    layout: ClassVar[Layout]
    package: ClassVar[str] = "transformers"
    adapter_version: ClassVar[str] = "1"
    stochastic: ClassVar[bool] = False
    embed_streams = ("all", "first")
    carries_codes = True

    @classmethod
    def unavailable_reason(cls) -> str | None:
        return missing_package(cls.package) or cls.released.missing_reason()

    def __init__(
        self,
        point: str = "",
        *,
        device: str = "cpu",
        path: str = "",
        dtype: str = "fp32",
        together: str = "1",
    ) -> None:
        if dtype not in DTYPES:
            raise CodecError(f"{self.family} takes dtype {' or '.join(DTYPES)}, got {dtype!r}")
        if not re.fullmatch(r"[1-9]\d{0,3}", together):
            raise CodecError(f"{self.family} takes together=1 to 9999 (clips), got {together!r}")
        missing = missing_package(self.package)
        if missing is not None:
            raise CodecUnavailableError(missing)
        self._together = int(together)
        self.batch_size = max(type(self).batch_size, self._together)
        self._device = device
        self._dtype = dtype
        self._own_folder = local_folder(path) if path else None
        self._layout = self._layout_of(self._own_folder) if self._own_folder else self.layout
        self._point, self._codebooks = self._point_of(point)

    # What a subclass says.

    @classmethod
    @abstractmethod
    def _layout_of(cls, folder: Path) -> Layout:
        """Return the layout of the model in a folder, from its configuration."""

    @abstractmethod
    def _point_of(self, point: str) -> tuple[str, int]:
        """Return the point as it is written in the codec id, and its number of codebooks.

        Raises:
            CodecError: If the model has no such point.
        """

    @abstractmethod
    def _load(self, folder: Path) -> Any:
        """Return the network in a folder, on the CPU."""

    @abstractmethod
    def _analyse(self, waves: "torch.Tensor") -> list[Coded]:
        """Encode clips of one length ``[B, C, N]``."""

    @abstractmethod
    def _synthesise(self, clips: Sequence[Clip]) -> "torch.Tensor":
        """Decode clips of the same number of samples to ``[B, C, N]``, ``N`` at least that."""

    @abstractmethod
    def _dequantize(self, codes: "torch.Tensor") -> "torch.Tensor":
        """Return what the decoder gets for codes ``[1, k, T]``, as ``[1, D, T']``.

        ``k`` is 1 where only the first codebook is wanted.
        """

    @abstractmethod
    def _latents_of(self, wave: "torch.Tensor") -> "torch.Tensor":
        """Return what is quantized of a clip ``[1, C, N]``, as ``[1, D, T']``."""

    # The contract.

    @property
    def spec(self) -> CodecSpec:
        return self._spec

    @cached_property
    def _spec(self) -> CodecSpec:
        layout = self._layout
        sizes = (layout.codebook_size,) * self._codebooks
        options: dict[str, Option] = {} if self._dtype == "fp32" else {"dtype": self._dtype}
        if self._together > 1:
            options["together"] = self._together
        return CodecSpec(
            codec_id=format_codec_id(self.family, self._point, options),
            sample_rate=layout.sample_rate,
            channels=layout.channels,
            kind="neural",
            nominal_kbps=nominal_kbps(layout.frame_rate, sizes),
            frame_rate=layout.frame_rate,
            codebook_sizes=sizes,
            deterministic=not self.stochastic,
            implementation=f"{self.package} {version(self.package)}",
            version=self.adapter_version,
            params=self._params(),
            weights_hash=self._weights_hash(),
        )

    def _params(self) -> dict[str, Option]:
        weights = "of the user's own" if self._own_folder else self.released.repository
        together = {"together": self._together} if self._together > 1 else {}
        return {
            "weights": weights,
            "codebooks": self._codebooks,
            "dtype": self._dtype,
            **together,
        }

    def _weights_hash(self) -> str:
        return folder_hash(self._own_folder) if self._own_folder else self.released.commit or ""

    def warm_up(self) -> None:
        """Load the weights, and code a tenth of a second."""
        quiet = np.zeros((self._layout.channels, self._layout.sample_rate // 10), np.float32)
        self.decode(self.encode(quiet).payload)

    @property
    def unit_s(self) -> float:
        return self._layout.unit_samples / self._layout.sample_rate

    def num_parameters(self) -> int:
        return count_parameters(self._model)

    def encode(self, wave: Wave) -> Encoded:
        return self.encode_batch([wave])[0]

    def encode_batch(self, waves: Sequence[Wave]) -> list[Encoded]:
        checked = [checked_wave(wave, self.spec) for wave in waves]
        return in_groups(checked, lambda wave: wave.shape[1], self._encode_equal, self._together)

    def _encode_equal(self, waves: Sequence[Wave]) -> list[Encoded]:
        """Encode clips of one length."""
        import torch

        with exact_math():
            batch = torch.from_numpy(np.stack(waves)).to(self._device, self._torch_dtype)
            found = self._analyse(batch)
        return [self._encoded(one, waves[0].shape[1]) for one in found]

    def decode(self, payload: bytes, *, seed: int = 0) -> Wave:
        return self.decode_batch([payload], seeds=[seed])[0]

    def embed(self, codes: Codes, stream: str = "all") -> NDArray[np.float32]:
        import torch

        if stream not in self.embed_streams:
            return super().embed(codes, stream)
        chosen = self._first_codebook(codes) if stream == "first" else codes
        with exact_math():
            batch = torch.from_numpy(np.ascontiguousarray(chosen)[None]).to(self._device)
            found: NDArray[np.float32] = self._dequantize(batch)[0].float().cpu().numpy()
        return found

    def _first_codebook(self, codes: Codes) -> Codes:
        """Return the rows ``[k, T]`` that belong to the first codebook."""
        return codes[:1]

    def features(self, wave: Wave) -> NDArray[np.float32]:
        import torch

        wave = checked_wave(wave, self.spec)
        with exact_math():
            batch = torch.from_numpy(wave[None]).to(self._device, self._torch_dtype)
            found: NDArray[np.float32] = self._latents_of(batch)[0].float().cpu().numpy()
        return found

    def _seen_after(self, layer: Any, wave: "torch.Tensor") -> "torch.Tensor":
        """Return what a layer gave while a clip was encoded; chunks are joined along time."""
        import torch

        seen: list[torch.Tensor] = []
        hook = layer.register_forward_hook(lambda *call: seen.append(call[2]))
        try:
            self._analyse(wave)
        finally:
            hook.remove()
        return torch.cat(seen, dim=-1)

    def with_codes(self, payload: bytes, codes: Codes) -> bytes:
        stream = unpack(payload)
        coded = self._unpack(b"".join(stream.packets), stream.samples)
        frames = coded.codes.shape[1]
        if codes.shape[0] != self._codebooks or not 0 < codes.shape[1] <= frames:
            raise CodecError(
                f"{self.spec.codec_id}: expected codes [{self._codebooks}, {frames}], "
                f"got {list(codes.shape)}"
            )
        # A model may send frames that stand for its filling only; those stay.
        whole = np.concatenate([codes, coded.codes[:, codes.shape[1] :]], axis=1)
        body = self._pack(Coded(whole, coded.scales))
        return PacketStream((body,), stream.samples).pack()

    def _encoded(self, coded: Coded, samples: int) -> Encoded:
        body = self._pack(coded)
        payload = PacketStream((body,), samples).pack()
        return Encoded(payload, overhead_bytes=len(payload) - len(body), codes=coded.codes)

    def decode_batch(self, payloads: Sequence[bytes], *, seeds: Sequence[int]) -> list[Wave]:
        clips = [self._parse(*pair) for pair in zip(payloads, seeds, strict=True)]
        return in_groups(clips, lambda clip: clip.samples, self._decode_equal, self.batch_size)

    def _parse(self, payload: bytes, seed: int) -> Clip:
        stream = unpack(payload)
        coded = self._unpack(b"".join(stream.packets), stream.samples)
        return Clip(coded, stream.samples, seed)

    def _decode_equal(self, clips: Sequence[Clip]) -> list[Wave]:
        """Decode clips of one length."""
        samples = clips[0].samples
        with exact_math():
            found = self._synthesise(clips).float().cpu().numpy()[..., :samples]
        assert found.shape[1:] == (self._layout.channels, samples), found.shape
        return [np.ascontiguousarray(wave) for wave in found]

    def _pack(self, coded: Coded) -> bytes:
        return pack_codes(coded.codes.T, self._layout.codebook_size)

    def _unpack(self, body: bytes, samples: int) -> Coded:
        frames = self._layout.frames(samples)
        flat = unpack_codes(body, self._layout.codebook_size, frames * self._codebooks)
        return Coded(flat.reshape(frames, self._codebooks).T)

    # The network.

    @property
    def _torch_dtype(self) -> "torch.dtype":
        import torch

        found: torch.dtype = getattr(torch, DTYPES[self._dtype])
        return found

    @cached_property
    def _model(self) -> Any:
        """The network, ready to run; the released weights are downloaded if need be."""
        folder = self._own_folder or self.released.folder()
        if self._layout_of(folder) != self._layout:
            raise CodecError(
                f"{folder.name} is {self._layout_of(folder)}, {self.family} is {self._layout}"
            )
        return self._load(folder).eval().to(self._device, self._torch_dtype)

    def _codes_of(self, clips: Sequence[Clip]) -> "torch.Tensor":
        """Return the codes of equally long clips as ``[B, K, T]``, where the network is."""
        import torch

        return torch.from_numpy(np.stack([clip.coded.codes for clip in clips])).to(self._device)


def coded(codes: "torch.Tensor") -> list[Coded]:
    """Return the codes ``[B, K, T]`` that a network made, clip by clip."""
    found: Codes = codes.cpu().numpy().astype(np.int64)
    return [Coded(clip) for clip in found]


def count_parameters(model: "torch.nn.Module") -> int:
    """Return the weights of a network, shared ones once; codebooks kept as buffers are not among.

    Buffers are also statistics and tables, which nobody counts as parameters.
    """
    return sum(weight.numel() for weight in model.parameters())


def whole_frames(wave: "torch.Tensor", frame_samples: int) -> "torch.Tensor":
    """Return ``wave`` with zeros behind it up to a whole number of frames."""
    import torch

    return torch.nn.functional.pad(wave, (0, -wave.shape[-1] % frame_samples))


def in_groups(
    items: Sequence[Item],
    key: Callable[[Item], Hashable],
    work: Callable[[Sequence[Item]], list[Result]],
    most: int,
) -> list[Result]:
    """Return what ``work`` makes of each item, giving it up to ``most`` items of one key at once.

    Example:
        >>> in_groups(["a", "bb", "c"], len, lambda words: [" ".join(words)] * len(words), 8)
        ['a c', 'bb', 'a c']
    """
    groups: dict[Hashable, list[int]] = {}
    for index, item in enumerate(items):
        groups.setdefault(key(item), []).append(index)
    found: dict[int, Result] = {}
    for members in groups.values():
        for start in range(0, len(members), most):
            chosen = members[start : start + most]
            found.update(zip(chosen, work([items[i] for i in chosen]), strict=True))
    return [found[index] for index in range(len(items))]


@contextmanager
def exact_math() -> Iterator[None]:
    """Run a network without gradients, and on a GPU in full float32 with repeatable algorithms.

    TensorFloat-32, cuDNN's default, keeps 10 bits of mantissa: enough to move codes.
    """
    import torch

    with (
        torch.inference_mode(),
        torch.backends.cudnn.flags(
            enabled=True, benchmark=False, deterministic=True, allow_tf32=False
        ),
    ):
        yield


def parse_codebooks(codec: type[Codec], point: str, most: int) -> int:
    """Return the number of codebooks of a point such as ``8cb``.

    Raises:
        CodecError: If it is missing, or the model has fewer.
    """
    match = re.fullmatch(r"([1-9]\d*)cb", point)
    if match is None or int(match[1]) > most:
        got = repr(point) if point else "no point"
        raise CodecError(f"{codec.family} takes 1cb to {most}cb (codebooks), got {got}")
    return int(match[1])
