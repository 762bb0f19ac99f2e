"""The errors of this package: each is a ``CodecError``, and only the command line catches it."""

from __future__ import annotations


class CodecError(Exception):
    """Base of every error that this package raises on purpose."""


class AudioError(CodecError, ValueError):
    """The audio cannot be coded: empty, not finite, of a wrong shape, or unreadable."""


class TokenError(CodecError, ValueError):
    """The tokens do not fit the model: wrong shape, or an index outside its codebook."""


class CheckpointError(CodecError):
    """The weights cannot be had: no file, truncated, wrong keys or shapes, or no network."""
