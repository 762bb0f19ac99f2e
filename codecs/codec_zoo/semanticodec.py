"""SemantiCodec (arXiv 2405.00233): the twelve released points, checkpoints of one's own, the mini.

::

    semanticodec@100tps-16384                        weights of the Hugging Face hub or its cache
    semanticodec@50tps-32768:path=weights/released   weights in a folder laid out as released
    semanticodec:path=my_model.safetensors           a checkpoint of our own format
    semanticodec-mini@25tps                          the small model that comes with the project

Any of them takes ``preset=`` (``quality``, ``balanced``, ``fast``, ``released``), ``steps=`` and
``guidance=``; ``compat=released`` decodes as the released code does. The payload is a ``.smc``
stream; its header and checks are overhead, the packed tokens are what is counted.
"""

# ruff: noqa: D102 - the methods of the contract are documented in base.Codec

import hashlib
import json
import re
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from codec_zoo.base import (
    Codec,
    CodecError,
    CodecSpec,
    CodecUnavailableError,
    Codes,
    Encoded,
    Option,
    TokenStream,
    Wave,
    checked_wave,
    format_codec_id,
)
from codec_zoo.huggingface import HubModel
from codec_zoo.neural import count_parameters

if TYPE_CHECKING:
    import torch

    from semanticodec import SemantiCodec
    from semanticodec.config import SemantiCodecConfig
    from semanticodec.model import SemantiCodecModel
    from semanticodec.settings import DecodeSettings

SAMPLE_RATE = 16000
_POINT = re.compile(r"(?P<rate>\d+)tps(-(?P<size>\d+))?")
#: How much of each end of a released file goes into its hash: they have up to 13 GB.
_HASHED_BYTES = 1 << 20


class SemantiCodecAdapter(Codec):
    """The released model, or a checkpoint of one's own.

    Args:
        point: ``{25,50,100}tps-{4096,8192,16384,32768}``; empty with a checkpoint of our format.
        device: Where the network runs.
        path: A folder laid out as released, or a ``.safetensors`` file of ours.
        revision: Commit or branch of the released repository.
        preset: Name of the decoding settings; empty: the model's own default.
        steps: Denoising steps, instead of the preset's.
        guidance: Guidance scale, instead of the preset's.
        compat: ``released`` for the released code's numbers.
    """

    family = "semanticodec"
    summary = "SemantiCodec, released weights: semantic and acoustic tokens, latent diffusion"
    points = tuple(
        f"{rate}tps-{size}" for rate in (25, 50, 100) for size in (4096, 8192, 16384, 32768)
    )
    kind: ClassVar[Literal["neural", "classical", "anchor"]] = "neural"
    batch_size = 4
    embed_streams = ("all", "semantic")
    carries_codes = True

    def __init__(
        self,
        point: str = "",
        *,
        device: str = "cpu",
        path: str = "",
        revision: str = "main",
        preset: str = "",
        steps: str = "",
        guidance: str = "",
        compat: str = "",
    ) -> None:
        self._device, self._path, self._revision, self._compat = device, path, revision, compat
        given = {"path": path, "preset": preset, "steps": steps, "guidance": guidance}
        given |= {"compat": compat, "revision": "" if revision == "main" else revision}
        self._id = format_codec_id(self.family, point, {k: v for k, v in given.items() if v})
        if compat not in ("", "released"):
            raise CodecError(f"compat= takes 'released', got {compat!r}")
        self._rate, self._size = self._operating_point(point)
        self._config, self._weights_hash = self._identify()
        self._settings = self._decode_settings(preset, steps, guidance)

    @property
    def spec(self) -> CodecSpec:
        return self._spec

    @cached_property
    def _spec(self) -> CodecSpec:
        from dataclasses import asdict

        settings: dict[str, Option] = {k: str(v) for k, v in asdict(self._settings).items()}
        return CodecSpec(
            codec_id=self._id,
            sample_rate=SAMPLE_RATE,
            channels=1,
            kind="neural",
            nominal_kbps=self._config.nominal_kbps,
            implementation="semanticodec of this project",
            frame_rate=self._config.frame_rate,
            codebook_sizes=tuple(self._config.codebook_sizes),
            deterministic=False,
            params=settings | {"compat": self._compat or "none"},
            weights_hash=self._weights_hash,
        )

    def encode(self, wave: Wave) -> Encoded:
        return self.encode_batch([wave])[0]

    def encode_batch(self, waves: Sequence[Wave]) -> list[Encoded]:
        from semanticodec.bitstream import payload_bits

        checked = [checked_wave(wave, self.spec) for wave in waves]
        encoded = []
        for tokens in self._codec.encode_batch(checked, SAMPLE_RATE):
            payload = tokens.to_bytes()
            overhead = len(payload) - payload_bits(payload) // 8
            codes = tokens.codes[0].T.cpu().numpy().astype(np.int64)  # [L, K] -> [K, L]
            encoded.append(Encoded(payload, overhead, codes))
        return encoded

    def decode(self, payload: bytes, *, seed: int = 0) -> Wave:
        return self.decode_batch([payload], seeds=[seed])[0]

    def decode_batch(self, payloads: Sequence[bytes], *, seeds: Sequence[int]) -> list[Wave]:
        from semanticodec.errors import CodecError as StreamError

        try:
            waves = self._codec.decode_batch(list(payloads), seeds=list(seeds))
        except StreamError as error:
            raise CodecError(str(error)) from error
        return [np.asarray(wave[0], dtype=np.float32) for wave in waves]  # [1, C, N] -> [C, N]

    def embed(self, codes: Codes, stream: str = "all") -> NDArray[np.float32]:
        """Return code vectors ``[bands * D, columns]``; the bands of one moment are joined.

        A time average must not run over frequency: a column's tokens stand for its bands.
        """
        import torch

        if stream not in self.embed_streams:
            return super().embed(codes, stream)
        model = self._codec.model
        semantic, acoustic = torch.from_numpy(np.ascontiguousarray(codes)).to(model.device)
        with torch.inference_mode():
            vectors = [model.semantic.decode(semantic)]  # [L, D]
            if stream == "all":
                vectors.append(model.acoustic.decode(acoustic))
            return self._by_column(torch.cat(vectors, -1))

    def features(self, wave: Wave) -> NDArray[np.float32]:
        """Return ``[bands * D, columns]``: AudioMAE's features, then the acoustic latents.

        AudioMAE's are whole, before the small model's projection; of the released model they are
        what k-means is given. The latents are what the acoustic codebook is given.
        """
        import torch

        from semanticodec.encoding import WindowCutter, num_positions

        wave = checked_wave(wave, self.spec)
        model = self._codec.model
        with torch.inference_mode():
            cutter = WindowCutter(model)
            samples = torch.from_numpy(wave[0]).to(model.device)
            windows = [*cutter.push(samples), *cutter.finish()]
            found = torch.cat([_unquantized(model, window[None])[0] for window in windows])
        return self._by_column(found[: num_positions(wave.shape[1], model.config)])

    def _by_column(self, vectors: "torch.Tensor") -> NDArray[np.float32]:
        """Return vectors of positions ``[L, D]`` as ``[bands * D, columns]``."""
        bands = self.positions_per_moment
        columns: NDArray[np.float32] = (
            vectors.reshape(-1, bands * vectors.shape[1]).T.float().cpu().numpy()
        )
        return np.ascontiguousarray(columns)

    @property
    def positions_per_moment(self) -> int:
        return self._config.grid[1]

    def token_streams(self, codes: Codes) -> tuple[TokenStream, ...]:
        sizes = self.spec.codebook_sizes
        named = zip(("semantic", "acoustic"), codes, sizes, strict=True)
        return tuple(TokenStream(name, row, size) for name, row, size in named)

    def with_codes(self, payload: bytes, codes: Codes) -> bytes:
        import torch

        from semanticodec.tokens import Tokens

        own = Tokens.from_bytes(payload)
        if codes.T.shape != own.codes.shape[1:]:
            raise CodecError(
                f"{self.spec.codec_id}: expected codes {list(own.codes[0].T.shape)}, "
                f"got {list(codes.shape)}"
            )
        return Tokens(torch.from_numpy(codes.T[None].copy()), own.header).to_bytes()

    def warm_up(self) -> None:
        assert self._codec

    @property
    def unit_s(self) -> float:
        return self._config.window_samples / self._config.sample_rate

    def num_parameters(self) -> int:
        return count_parameters(self._codec.model)

    @cached_property
    def _codec(self) -> "SemantiCodec":
        from semanticodec import SemantiCodec
        from semanticodec.errors import CodecError as LoadError

        try:
            return SemantiCodec.load(
                self._source(),
                self._rate or 100,
                self._size or 16384,
                revision=self._revision if not self._path else None,
                settings=self._settings,
                compat=self._compat or None,
                device=self._device,
            )
        except LoadError as error:
            raise CodecUnavailableError(str(error)) from error

    def _source(self) -> str | None:
        return self._path or None

    def _operating_point(self, point: str) -> tuple[int | None, int | None]:
        """Take a point apart; only a checkpoint of our own format needs none."""
        match = _POINT.fullmatch(point)
        is_own = self._path.endswith(".safetensors")  # it knows its point
        if match and match["size"] and not is_own:
            return int(match["rate"]), int(match["size"])
        if not point and is_own:
            return None, None
        raise CodecError(
            f"{self.family} takes a point such as {self.points[-2]}, "
            f"or path= to a .safetensors file and no point; got {point!r}"
        )

    def _identify(self) -> "tuple[SemantiCodecConfig, str]":
        """Return sizes and weights hash without loading the weights."""
        if self._path.endswith(".safetensors"):
            return _own_checkpoint(Path(self._path))
        from semanticodec.config import operating_point

        assert self._rate is not None
        assert self._size is not None
        try:
            config = operating_point(self._rate, self._size)
        except ValueError as error:
            raise CodecError(str(error)) from error
        return config, self._released_hash(self._rate, self._size)

    def _released_hash(self, rate: int, size: int) -> str:
        """Return a hash of the released files, which must be at hand or to be had."""
        from semanticodec.checkpoint import ReleasedFiles

        names = ReleasedFiles.names(rate, size)
        if not self._path:
            model = HubModel("haoheliu/SemantiCodec", self._revision, names)
            folder = model.cached_folder()
            if folder is None and (reason := model.missing_reason()):
                raise CodecUnavailableError(reason)
            return f"haoheliu/SemantiCodec at {self._revision}"
        missing = [name for name in names if not (Path(self._path) / name).is_file()]
        if missing:
            raise CodecUnavailableError(f"{self._path} lacks {', '.join(missing)}")
        return _ends_hash([Path(self._path) / name for name in names])

    def _decode_settings(self, preset: str, steps: str, guidance: str) -> "DecodeSettings":
        from dataclasses import replace

        from semanticodec.settings import preset as named

        try:
            name = preset or ("released" if self._compat else self._default_preset())
            settings = named(name, self._presets())
            if steps:
                settings = replace(settings, num_steps=int(steps))
            if guidance:
                settings = replace(settings, guidance_scale=float(guidance))
        except ValueError as error:
            raise CodecError(f"{self._id}: {error}") from error
        return settings

    def _default_preset(self) -> str:
        return "quality"

    def _presets(self) -> "dict[str, DecodeSettings]":
        from semanticodec.settings import PRESETS

        return dict(PRESETS)


class SemantiCodecMini(SemantiCodecAdapter):
    """The small model that comes with the project.

    Args as in :class:`SemantiCodecAdapter`; ``path`` is a folder of stages that a training run
    wrote.
    """

    family = "semanticodec-mini"
    summary = "SemantiCodec's small sibling, trained from scratch on four hours; runs on a CPU"
    points = ("25tps", "50tps", "100tps")
    batch_size = 8

    @classmethod
    def unavailable_reason(cls) -> str | None:
        from semanticodec.mini import WEIGHTS

        if any(WEIGHTS.glob("codec-*.safetensors")):
            return None
        return "its weights are not shipped yet; train them: docs/training.md"

    @cached_property
    def _codec(self) -> "SemantiCodec":
        from semanticodec import SemantiCodec
        from semanticodec.mini import WEIGHTS, load_mini

        assert self._rate is not None
        model = load_mini(self._rate, self._size, self._path or WEIGHTS)
        return SemantiCodec.from_model(model, settings=self._settings, device=self._device)

    def _operating_point(self, point: str) -> tuple[int | None, int | None]:
        match = _POINT.fullmatch(point)
        if match is None or int(match["rate"]) not in (25, 50, 100):
            known = ", ".join(f"{self.family}@{known}" for known in self.points)
            raise CodecError(f"{self.family} takes one of {known}; got {point!r}")
        return int(match["rate"]), int(match["size"]) if match["size"] else None

    def _identify(self) -> "tuple[SemantiCodecConfig, str]":
        from semanticodec.errors import CheckpointError
        from semanticodec.mini import WEIGHTS, load_mini

        assert self._rate is not None
        folder = Path(self._path or WEIGHTS)
        try:
            model = load_mini(self._rate, self._size, folder)
        except CheckpointError as error:
            raise CodecUnavailableError(str(error)) from error
        except ValueError as error:
            raise CodecError(str(error)) from error
        files = sorted(folder.rglob("*.safetensors"))
        return model.config, _ends_hash(files)

    def _default_preset(self) -> str:
        from semanticodec.mini import MiniModel

        return MiniModel.default_preset

    def _presets(self) -> "dict[str, DecodeSettings]":
        from semanticodec.mini import PRESETS

        return dict(PRESETS)


def _unquantized(model: "SemantiCodecModel", window: "torch.Tensor") -> "torch.Tensor":
    """Return AudioMAE's features beside the acoustic latents, ``[1, T, D]``, of a mel window."""
    import torch

    from semanticodec.semantic import stack_patches

    config = model.config
    audiomae = stack_patches(model.audiomae(window), config.audiomae.grid, config.semantic)
    represented = model.represent(window)
    centroids = model.semantic.decode(model.semantic.encode(represented))
    latents = model.acoustic.latents(represented, centroids, model.valid_positions(window))
    return torch.cat((audiomae, latents), -1)


def _own_checkpoint(path: Path) -> "tuple[SemantiCodecConfig, str]":
    """Return what a checkpoint of our own format says of itself."""
    import safetensors

    from semanticodec.config import SemantiCodecConfig

    if not path.is_file():
        raise CodecUnavailableError(f"no checkpoint at {path}")
    try:
        with safetensors.safe_open(path, framework="np") as file:
            metadata = file.metadata() or {}
        config = SemantiCodecConfig.from_dict(json.loads(metadata["config"]))
        return config, metadata["sha256"]
    except (safetensors.SafetensorError, KeyError, TypeError, ValueError, OSError) as error:
        raise CodecUnavailableError(
            f"{path} is no checkpoint of ours ({error}); make one with `semanticodec convert`"
        ) from error


def _ends_hash(files: Sequence[Path]) -> str:
    """Return a hash over name, length and both ends of files too large to read for a name."""
    found = hashlib.sha256()
    for path in files:
        size = path.stat().st_size
        found.update(f"{path.name} {size}".encode())
        with path.open("rb") as file:
            found.update(file.read(_HASHED_BYTES))
            file.seek(max(0, size - _HASHED_BYTES))
            found.update(file.read(_HASHED_BYTES))
    return found.hexdigest()[:16]
