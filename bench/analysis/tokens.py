"""What a codec's tokens are like: rate, use of the codebooks, entropy, runs, what they share.

One row per codec, domain and token stream, and one with the sum over the streams (``total``).
Each codebook is a stream at its own rate, so that a multi-scale codec's tokens per second are the
true ones. What is drawn with too few tokens says so: ``coverage1`` and ``coverage2`` are the share
of pairs and triples that had been seen before, and ``utilisation_matched`` compares codebooks of
one domain at the number of tokens that all of them have.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import combinations

import numpy as np

from bench.analysis import entropy
from bench.analysis.cache import ArrayCache
from bench.analysis.subjects import Heard, Row, Subject, coded
from bench.errors import Reason
from bench.runner import Progress
from bench.worker import Failure, attempt

#: Raised by every change that moves a number.
VERSION = "1"
ORDERS = (0, 1, 2)
ALL = "all"
#: Of a codec with more streams, mutual information is told of the first ones only.
MOST_PAIRED_STREAMS = 8


@dataclass(frozen=True)
class CodedTokens:
    """One clip's tokens.

    Attributes:
        codes: ``[K, T]``.
        code_bits: Bits of the payload without its container.
        duration_s: Of the clip.
        domain: Of the clip.
    """

    codes: np.ndarray
    code_bits: int
    duration_s: float
    domain: str


def coded_tokens(
    subject: Subject, clips: Sequence[Heard], cache: ArrayCache, progress: Progress
) -> tuple[list[CodedTokens], list[Failure]]:
    """Encode clips, or take from the cache what was encoded before.

    Returns:
        The tokens of each clip that could be encoded, and the failures of the others.
    """
    found: list[CodedTokens] = []
    failures: list[Failure] = []
    for heard in clips:
        done = attempt(
            f"{subject.info.codec_id} on {heard.clip.id}",
            Reason.CODEC_ERROR,
            partial(coded, subject, heard, cache),
        )
        progress.advance(1, isinstance(done, Failure))
        if isinstance(done, Failure):
            failures.append(done)
        else:
            bits, duration = int(done["code_bits"]), float(done["duration_s"])
            found.append(CodedTokens(done["codes"], bits, duration, str(heard.clip.domain)))
    return found, failures


def token_rows(
    subject: Subject, clips: Sequence[CodedTokens], failures: Sequence[Failure]
) -> list[Row]:
    """Return the rows of one codec: each domain and all together, each stream and their total."""
    rows: list[Row] = []
    domains = sorted({clip.domain for clip in clips})
    for domain in [*domains, ALL] if len(domains) > 1 else domains:
        chosen = [clip for clip in clips if domain in (ALL, clip.domain)]
        streams = [
            {"stream": name, **_stream_columns(tokens, size, _seconds(chosen))}
            for name, size, tokens in streams_of(subject, chosen)
        ]
        if not streams:
            continue
        common = subject.identity | {"domain": domain, "version": VERSION, "n": len(chosen)}
        common |= {"n_failed": len(failures)}
        rows += [common | columns for columns in (*streams, _total(streams, chosen))]
    return rows


def streams_of(
    subject: Subject, clips: Iterable[CodedTokens]
) -> list[tuple[str, int, list[np.ndarray]]]:
    """Return name, codebook size and the tokens of each clip, of every stream of a codec."""
    found: dict[str, tuple[str, int, list[np.ndarray]]] = {}
    for clip in clips:
        if clip.codes.size:
            for stream in subject.codec.token_streams(clip.codes):
                entry = found.setdefault(stream.name, (stream.name, stream.codebook_size, []))
                entry[2].append(stream.tokens)
    return list(found.values())


def _seconds(clips: Iterable[CodedTokens]) -> float:
    return sum(clip.duration_s for clip in clips)


def _stream_columns(clips: Sequence[np.ndarray], size: int, seconds: float) -> Row:
    """Return what is told of one stream."""
    together = np.concatenate(clips)
    mean_run, longest_run = entropy.mean_run(clips)
    steps = sum(len(clip) - 1 for clip in clips)
    repeats = sum(np.count_nonzero(np.diff(clip) == 0) for clip in clips)
    columns: Row = {
        "codebook_size": size,
        "tokens": len(together),
        "seconds": seconds,
        "tokens_per_s": len(together) / seconds,
        "fixed_kbps": len(together) * math.log2(size) / seconds / 1000,
        "utilisation": entropy.utilisation(together, size),
        "perplexity": entropy.perplexity(together),
        "repeat_rate": repeats / steps if steps else math.nan,
        "mean_run": mean_run,
        "longest_run": longest_run,
    }
    for order in ORDERS:
        columns[f"h{order}"] = entropy.conditional_entropy(clips, size, order)
        if order:
            columns[f"coverage{order}"] = entropy.coverage(entropy.contexts(clips, size, order))
        bits = entropy.adaptive_bits(clips, size, order)
        columns[f"adaptive{order}_kbps"] = bits / seconds / 1000
    columns["adaptive_kbps"] = min(columns[f"adaptive{order}_kbps"] for order in ORDERS)
    return columns


def _total(streams: Sequence[Row], clips: Sequence[CodedTokens]) -> Row:
    """Return the sums over the streams, and the bitrate that was really sent."""
    names = ["tokens", "tokens_per_s", "fixed_kbps", "adaptive_kbps"]
    names += [f"adaptive{order}_kbps" for order in ORDERS]
    sums = {name: sum(stream[name] for stream in streams) for name in names}
    for name in ("h0", "h1", "h2", "utilisation"):
        weighted = sum(stream[name] * stream["tokens"] for stream in streams)
        sums[name] = weighted / sums["tokens"]
    seconds = _seconds(clips)
    bits = sum(clip.code_bits for clip in clips)
    return {"stream": "total", "seconds": seconds, "measured_kbps": bits / seconds / 1000} | sums


def add_matched_utilisation(
    rows: Sequence[Row], tokens_of: dict[tuple[str, str, str], np.ndarray]
) -> None:
    """Add to rows of several codecs how much of a codebook is used at one length for all.

    Args:
        rows: From :func:`token_rows`; changed in place.
        tokens_of: All tokens of (codec, domain, stream).
    """
    for row in rows:
        same = [len(other) for key, other in tokens_of.items() if key[1] == row["domain"]]
        row["matched_tokens"] = min(same)
        tokens = tokens_of.get((row["codec"], row["domain"], row["stream"]))
        if tokens is not None:
            matched = entropy.utilisation(tokens, row["codebook_size"], min(same))
            row["utilisation_matched"] = matched
    for row in rows:
        if row["stream"] == "total":
            own = [other for other in rows if _is_stream_of(other, row)]
            weighted = sum(other["utilisation_matched"] * other["tokens"] for other in own)
            row["utilisation_matched"] = weighted / row["tokens"]


def _is_stream_of(row: Row, total: Row) -> bool:
    same = all(row[name] == total[name] for name in ("codec", "domain"))
    return same and row["stream"] != "total"


def information_rows(subject: Subject, clips: Sequence[CodedTokens]) -> list[Row]:
    """Return what pairs of streams tell of each other, over all domains.

    Of two rates, each slow token is set against all fast ones of its time.
    """
    streams = streams_of(subject, clips)[:MOST_PAIRED_STREAMS]
    rows: list[Row] = []
    for (first, _, slow), (second, _, fast) in combinations(streams, 2):
        pairs = [_in_step(a, b) for a, b in zip(slow, fast, strict=True)]
        x, y = (np.concatenate(side) for side in zip(*pairs, strict=True))
        bits = entropy.mutual_information(x, y)
        own = entropy.conditional_entropy([y], int(y.max()) + 1, 0)
        rows.append(
            subject.identity
            | {"first": first, "second": second, "pairs": len(x), "bits": bits}
            | {"share_of_second": bits / own if own else math.nan}
            | {"n": len(pairs), "version": VERSION}
        )
    return rows


def _in_step(slow: np.ndarray, fast: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return two streams of the same time at the rate of the faster one."""
    if len(slow) > len(fast):
        x, y = _in_step(fast, slow)
        return y, x
    return np.repeat(slow, len(fast) // len(slow)), fast
