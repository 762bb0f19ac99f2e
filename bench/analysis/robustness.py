"""What a damaged payload sounds like: bit flips and lost frames, quality against the rate.

Any codec's bits can flip. Frames can be lost where the codec can put codes into a payload (all
codebooks of a moment go together), packets where the payload is made of packets; of others those
rows are skipped as ``not_for_codec``. A payload that no longer decodes, or decodes to something
else than the clip's length, is a failure with its reason, never a number: means are over what was
decoded, and ``decoded`` says what share that is.
"""

import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from bench.analysis import damage
from bench.analysis.cache import ArrayCache, Arrays
from bench.analysis.subjects import (
    Heard,
    Row,
    Subject,
    coded,
    mean_columns,
    metric_fingerprint,
    metrics_key,
    scores,
    status_of,
    value_and_reason,
)
from bench.errors import MeasureError, Reason
from bench.runner import Progress
from bench.worker import Failure, attempt

#: Raised by every change that moves a number.
VERSION = "1"
#: How long losses last on average where they come in bursts.
BURST_S = 0.1


@dataclass(frozen=True)
class Damage:
    """One kind of damage.

    Attributes:
        name: ``bit-flip``, ``loss`` (independent) or ``loss-burst``.
        rates: Of bits flipped, or of frames or packets lost.
    """

    name: str
    rates: tuple[float, ...]


NONE = Damage("none", (0.0,))
DAMAGES = (
    Damage("bit-flip", (1e-4, 1e-3, 1e-2)),
    Damage("loss", (0.01, 0.05, 0.1, 0.2)),
    Damage("loss-burst", (0.01, 0.05, 0.1, 0.2)),
)


def robustness_rows(
    subject: Subject,
    clips: Sequence[Heard],
    metric_names: Sequence[str],
    damages: Sequence[Damage],
    cache: ArrayCache,
    progress: Progress,
    draws: int = 1,
) -> list[Row]:
    """Return a row per damage, rate, domain and metric of one codec.

    Args:
        subject: The codec.
        clips: What is coded.
        metric_names: What is measured; a metric that is not for a domain has no row there.
        damages: Kinds and rates; no damage at all is always there.
        cache: Where scores are kept.
        progress: Who is told; one unit is one clip at one rate of one damage.
        draws: How often each clip is damaged anew.
    """
    rows: list[Row] = []
    for kind in (NONE, *damages):
        for rate in kind.rates:
            found = [
                _scores(subject, heard, metric_names, kind, rate, draw, cache)
                for heard in clips
                for draw in range(draws)
            ]
            progress.advance(len(found), sum(isinstance(one, Failure) for one in found))
            domains = [heard.clip.domain for heard in clips for _ in range(draws)]
            about = {"damage": kind.name, "rate": rate}
            rows += _rows(subject, found, domains, metric_names, about)
    return rows


def _scores(
    subject: Subject,
    heard: Heard,
    metric_names: Sequence[str],
    kind: Damage,
    rate: float,
    draw: int,
    cache: ArrayCache,
) -> Arrays | Failure:
    key = {"what": "damaged", "codec": subject.info.fingerprint, "clip": heard.content_hash}
    key |= {"damage": kind.name, "rate": repr(rate), "draw": str(draw), "version": VERSION}
    key |= {"seed": str(subject.seed)} | metrics_key(metric_names)
    work = partial(_damage_and_score, subject, heard, metric_names, kind, rate, draw, cache)
    return attempt(
        f"{subject.info.codec_id}: {kind.name} {rate} of {heard.clip.id}",
        Reason.CODEC_ERROR,
        lambda: cache.get_or(key, work),
    )


def _damage_and_score(
    subject: Subject,
    heard: Heard,
    metric_names: Sequence[str],
    kind: Damage,
    rate: float,
    draw: int,
    cache: ArrayCache,
) -> Arrays:
    sent = coded(subject, heard, cache)
    # not of the rate: what is hit at a low rate is hit at a higher one too, and curves are smooth
    seed = zlib.crc32(f"{heard.content_hash} {kind.name} {draw}".encode())
    payload = damaged(subject, sent, kind, rate, np.random.default_rng(seed))
    decoded = attempt(
        f"{subject.info.codec_id}: {heard.clip.id}", Reason.CODEC_ERROR,
        partial(_decode, subject, heard, payload, int(sent["samples"])),
    )  # fmt: skip
    if isinstance(decoded, Failure):  # that it cannot be decoded is the result, and is kept
        reasons = [str(decoded.reason)] * len(metric_names)
        return {"values": np.full(len(reasons), np.nan), "reasons": np.array(reasons, "U40")}
    return scores(heard, decoded, metric_names)


def _decode(subject: Subject, heard: Heard, payload: bytes, samples: int) -> np.ndarray:
    seed = subject.decoder_seed(heard.content_hash)
    return heard.restored(subject.codec, subject.codec.decode(payload, seed=seed), samples)


def damaged(
    subject: Subject, sent: Arrays, kind: Damage, rate: float, rng: np.random.Generator
) -> bytes:
    """Return what arrives of a payload.

    Raises:
        MeasureError: ``not_for_codec`` where the codec has nothing that can be lost.
    """
    payload = sent["payload"].tobytes()
    if kind.name == "none":
        return payload
    if kind.name == "bit-flip":
        return damage.flip_bits(payload, rate, rng)
    count = _units(subject, sent, payload)
    burst = damage.independent_burst(rate)
    if kind.name == "loss-burst":
        burst = max(2.0, burst, BURST_S * count / float(sent["duration_s"]))
    is_lost = damage.lost(count, rate, burst, rng)
    if subject.codec.carries_codes:
        positions = subject.codec.positions_per_moment
        codes = damage.conceal_frames(sent["codes"], is_lost, positions)
        return subject.codec.with_codes(payload, codes)
    return damage.conceal_packets(payload, is_lost)


def _units(subject: Subject, sent: Arrays, payload: bytes) -> int:
    """Return the frames or packets that can be lost one by one."""
    if subject.codec.carries_codes:
        return sent["codes"].shape[1] // subject.codec.positions_per_moment
    if subject.info.kind == "classical":
        count = attempt(
            subject.info.codec_id, Reason.CODEC_ERROR, partial(damage.packet_count, payload)
        )
        if not isinstance(count, Failure) and count >= damage.FEWEST_PACKETS:
            return count
    raise MeasureError(
        Reason.NOT_FOR_CODEC,
        f"{subject.info.codec_id} sends neither codes nor packets that can be lost one by one",
    )


def _rows(
    subject: Subject,
    found: Sequence[Arrays | Failure],
    domains: Iterable[str],
    metric_names: Sequence[str],
    about: Row,
) -> list[Row]:
    rows: list[Row] = []
    pairs = list(zip(domains, found, strict=True))
    for domain in sorted({domain for domain, _ in pairs}):
        own = [one for other, one in pairs if other == domain]
        for column, metric in enumerate(metric_names):
            values, reasons = zip(*(value_and_reason(one, column) for one in own), strict=True)
            if set(reasons) == {str(Reason.NOT_FOR_DOMAIN)}:
                continue
            columns = mean_columns(values, reasons)
            rows.append(
                subject.identity
                | about
                | {"domain": str(domain), "metric": metric}
                | columns
                | {"decoded": columns["n"] / len(values)}
                | {"status": status_of(reasons)}
                | {"metric_fingerprint": metric_fingerprint(metric), "version": VERSION}
            )
    return rows
