"""The coded form of one signal."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from semanticodec.bitstream import Stream, StreamHeader, read_stream, write_stream


@dataclass(frozen=True, eq=False)
class Tokens:
    """Tokens ``[channels, L, 2]`` and what is needed to decode them to the original length.

    Behaves like its ``codes`` wherever a tensor is expected, so that scripts written for the
    released package, whose ``encode`` returns a tensor ``[1, L, 2]``, go on working.
    """

    codes: Tensor  # int64, (semantic, acoustic)
    header: StreamHeader
    damaged: list[range] = field(default_factory=list)  # positions that a damaged stream lost

    @property
    def num_samples(self) -> int:
        """Samples per channel of the original, at its own rate."""
        return self.header.num_samples

    @property
    def sample_rate(self) -> int:
        """Of the original, Hz."""
        return self.header.sample_rate

    @property
    def duration_s(self) -> float:
        """Length of the original, seconds."""
        return self.header.duration_s

    @property
    def seed(self) -> int:
        """Of the decoder's noise."""
        return self.header.seed

    def to_bytes(self, *, entropy: bool = False) -> bytes:
        """Return the ``.smc`` stream (``bitstream.py``), losslessly compressed if asked for."""
        return write_stream(self.header, self.codes.cpu().numpy(), entropy=entropy)

    @staticmethod
    def from_bytes(data: bytes) -> Tokens:
        """Read a ``.smc`` stream.

        Raises:
            BitstreamError: If it is not one, or its header is damaged.
        """
        stream: Stream = read_stream(data)
        return Tokens(torch.from_numpy(stream.tokens), stream.header, list(stream.damaged))

    def measured_kbps(self, *, entropy: bool = False) -> float:
        """Return the bitrate of the whole stream, headers included, kbit/s."""
        return 8 * len(self.to_bytes(entropy=entropy)) / self.duration_s / 1000

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or "codes" not in self.__dict__:  # copy and pickle look first
            raise AttributeError(name)
        return getattr(self.codes, name)

    def __getitem__(self, index: Any) -> Tensor:
        return self.codes[index]

    def __len__(self) -> int:
        return len(self.codes)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.asarray(self.codes.cpu().numpy(), dtype=dtype)

    @classmethod
    def __torch_function__(
        cls,
        function: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        return function(*map(_plain, args), **{k: _plain(v) for k, v in (kwargs or {}).items()})


def _plain(value: Any) -> Any:
    if isinstance(value, Tokens):
        return value.codes
    return type(value)(map(_plain, value)) if isinstance(value, (list, tuple)) else value
