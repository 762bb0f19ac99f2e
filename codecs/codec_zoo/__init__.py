"""Codecs behind one contract (:mod:`codec_zoo.base`), found by name (:mod:`codec_zoo.registry`)."""

from codec_zoo.base import Codec, CodecError, CodecSpec, CodecUnavailableError, Encoded
from codec_zoo.registry import create, families

__all__ = [
    "Codec",
    "CodecError",
    "CodecSpec",
    "CodecUnavailableError",
    "Encoded",
    "create",
    "families",
]
