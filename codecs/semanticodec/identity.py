"""Which tokens belong to which model, and checks of tokens that come from outside."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from semanticodec import audio, encoding
from semanticodec.bitstream import StreamHeader
from semanticodec.config import SemantiCodecConfig
from semanticodec.errors import TokenError
from semanticodec.tokens import Tokens

Codes = Tokens | bytes | Tensor | np.ndarray

_SHARED = ("token_rate", "semantic_vocab_size", "acoustic_vocab_size", "weights_hash")


@dataclass(frozen=True)
class Identity:
    """What the header of a stream says about a model."""

    config: SemantiCodecConfig
    weights_hash: bytes  # of the codebooks, 8 bytes

    def header(self, sample_rate: int, num_samples: int, channels: int, seed: int) -> StreamHeader:
        """Return the header of a signal coded by this model."""
        semantic, acoustic = self.config.codebook_sizes
        return StreamHeader(
            model_id=self.config.name,
            weights_hash=self.weights_hash,
            token_rate=round(self.config.token_rate),
            semantic_vocab_size=semantic,
            acoustic_vocab_size=acoustic,
            sample_rate=sample_rate,
            num_samples=num_samples,
            channels=channels,
            seed=seed,
        )

    def model_length(self, tokens: Tokens) -> int:
        """Return the samples of a signal at the model's rate."""
        rate = self.config.sample_rate
        return audio.resampled_length(tokens.num_samples, tokens.sample_rate, rate)

    def check(self, tokens: Codes, *, exact: bool) -> Tokens:
        """Bring any form of tokens to ``Tokens`` of this model.

        Args:
            tokens: ``Tokens``, a ``.smc`` stream, or codes ``[channels, L, 2]``.
            exact: Whether the number of positions must fit the number of samples.

        Raises:
            TokenError: If they are of another model, or no tokens.
            BitstreamError: If a stream cannot be read.
        """
        if isinstance(tokens, (bytes, bytearray)):
            tokens = Tokens.from_bytes(bytes(tokens))
        if not isinstance(tokens, Tokens):
            tokens = self._wrap(torch.as_tensor(tokens))
        self._check_header(tokens.header)
        self._check_codes(tokens.codes)
        if exact:
            self._check_length(tokens)
        return tokens

    def _wrap(self, codes: Tensor) -> Tokens:
        """Give bare codes a header: their length is all that they tell."""
        if codes.is_floating_point() or codes.dtype == torch.bool:
            raise TokenError(f"tokens must be integers, got {codes.dtype}")
        self._check_shape(codes)
        samples = codes.shape[1] * self.config.window_samples // self.config.positions
        header = self.header(self.config.sample_rate, samples, codes.shape[0], 0)
        return Tokens(codes.long(), header)

    def _check_shape(self, codes: Tensor) -> None:
        if codes.dim() != 3 or codes.shape[2] != 2 or 0 in codes.shape:
            raise TokenError(f"expected tokens [channels, L, 2], got {list(codes.shape)}")

    def _check_codes(self, codes: Tensor) -> None:
        self._check_shape(codes)
        sizes = self.config.codebook_sizes
        limit = torch.tensor(sizes, device=codes.device)
        if bool((codes < 0).any() or (codes >= limit).any()):
            raise TokenError(f"a token lies outside the codebooks of {sizes} entries")

    def _check_header(self, header: StreamHeader) -> None:
        own = self.header(header.sample_rate, header.num_samples, header.channels, header.seed)
        for name in _SHARED:
            theirs, ours = getattr(header, name), getattr(own, name)
            if theirs != ours:
                raise TokenError(
                    f"the tokens were made with {name} {theirs!r}, this model has {ours!r}"
                )

    def _check_length(self, tokens: Tokens) -> None:
        """Refuse a header whose length does not go with the number of tokens.

        Two columns of tolerance admit tokens that the released code made.
        """
        expected = encoding.num_positions(self.model_length(tokens), self.config)
        if abs(tokens.codes.shape[1] - expected) > 2 * self.config.grid[1]:
            raise TokenError(
                f"{tokens.num_samples} samples at {tokens.sample_rate} Hz need {expected} "
                f"positions, there are {tokens.codes.shape[1]}"
            )
