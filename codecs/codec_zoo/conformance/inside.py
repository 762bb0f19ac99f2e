"""The check of what a codec may show of its inside: embeddings, features, streams, other codes."""

import numpy as np

from codec_zoo.base import Codes, Encoded, Wave
from codec_zoo.conformance.subject import CheckFailedError, CheckSkippedError, Subject


def shows_its_inside(subject: Subject) -> str:
    """What ``embed``, ``features``, ``token_streams`` and ``with_codes`` give fits the codes."""
    (wave, encoded), (_, other) = subject.two_clips
    codes, codec = encoded.codes, subject.codec
    if codes is None or other.codes is None or not subject.spec.codebook_sizes:
        raise CheckSkippedError("the codec declares no codebooks")
    _check_streams(subject, codes)
    told = [f"{len(codec.token_streams(codes))} token streams"]
    if codec.embed_streams:
        _check_embeddings(subject, codes, other.codes, wave)
        told.append(f"embeds {', '.join(codec.embed_streams)}")
    if codec.carries_codes:
        _check_payload(subject, encoded, other)
        told.append("takes other codes")
    return ", ".join(told)


def _check_streams(subject: Subject, codes: Codes) -> None:
    streams = subject.codec.token_streams(codes)
    tokens = np.concatenate([stream.tokens for stream in streams])
    if not np.array_equal(np.sort(tokens), np.sort(codes, axis=None)):
        raise CheckFailedError(
            f"token_streams hold {tokens.size} tokens, expected the {codes.size} codes, each once"
        )
    if any(len(one.tokens) and one.tokens.max() >= one.codebook_size for one in streams):
        raise CheckFailedError("a token stream leaves its codebook")


def _check_embeddings(subject: Subject, codes: Codes, others: Codes, wave: Wave) -> None:
    codec = subject.codec
    for stream in codec.embed_streams:
        found, other = codec.embed(codes, stream), codec.embed(others, stream)
        if found.dtype != np.float32 or found.ndim != 2 or not np.isfinite(found).all():
            raise CheckFailedError(
                f"embed({stream!r}) gives {found.dtype} {list(found.shape)}, "
                "expected finite float32 [D, T]"
            )
        if found.shape == other.shape and np.array_equal(found, other):
            raise CheckFailedError(f"embed({stream!r}) is the same for codes of two clips")
    features = codec.features(wave)
    if features is not None and (features.ndim != 2 or not np.isfinite(features).all()):
        raise CheckFailedError(f"features are {list(features.shape)}, expected finite [D, T]")


def _check_payload(subject: Subject, encoded: Encoded, other: Encoded) -> None:
    """Put a clip's own codes into its payload, and those of an equally long one."""
    assert encoded.codes is not None
    assert other.codes is not None
    codec = subject.codec
    if codec.with_codes(encoded.payload, encoded.codes) != encoded.payload:
        raise CheckFailedError("with_codes changes a payload that gets its own codes")
    changed = codec.with_codes(encoded.payload, other.codes)
    if codec.with_codes(changed, encoded.codes) != encoded.payload:
        raise CheckFailedError("with_codes there and back does not give the payload")
    if changed == encoded.payload and not np.array_equal(encoded.codes, other.codes):
        raise CheckFailedError("with_codes leaves the payload as it is")
    subject.audio(codec.decode(changed))
