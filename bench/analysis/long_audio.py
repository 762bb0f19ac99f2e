"""Whether a clip is coded alike alone and inside a long file.

The clips of a domain are set one behind the other, each on a whole number of code frames, and the
whole is coded once. Each clip is then cut out and measured as if it had been coded alone. A codec
with state, look-ahead or long windows differs; one that loses its place differs more and more.
"""

import hashlib
import math
from collections.abc import Sequence
from functools import partial

import numpy as np

from bench.analysis.cache import ArrayCache, Arrays
from bench.analysis.stability import kept
from bench.analysis.subjects import (
    Heard,
    Row,
    Subject,
    mean_columns,
    metric_fingerprint,
    metrics_key,
    scores,
    status_of,
)
from bench.errors import MeasureError, Reason
from bench.runner import Progress
from bench.worker import Failure, attempt

#: Raised by every change that moves a number.
VERSION = "1"


def long_audio_rows(
    subject: Subject,
    clips: Sequence[Heard],
    metric_names: Sequence[str],
    cache: ArrayCache,
    progress: Progress,
) -> list[Row]:
    """Return a row per domain and metric: alone, inside, and the difference of the same clips.

    Args:
        subject: The codec.
        clips: All of one sample rate in a domain, where the codec takes any rate.
        metric_names: What is measured.
        cache: Where scores are kept.
        progress: Who is told; one unit is one clip.
    """
    rows: list[Row] = []
    for domain in sorted({heard.clip.domain for heard in clips}):
        own = [heard for heard in clips if heard.clip.domain == domain]
        done = attempt(
            f"{subject.info.codec_id}: long file of {domain}",
            Reason.CODEC_ERROR,
            partial(_compare, subject, own, metric_names, cache),
        )
        progress.advance(len(own), len(own) * isinstance(done, Failure))
        rows += _rows(subject, str(domain), len(own), metric_names, done)
    return rows


def _compare(
    subject: Subject, clips: Sequence[Heard], metric_names: Sequence[str], cache: ArrayCache
) -> Arrays:
    content = " ".join(heard.content_hash for heard in clips)
    key = {"what": "long", "codec": subject.info.fingerprint, "seed": str(subject.seed)}
    key |= {"clips": hashlib.sha256(content.encode()).hexdigest(), "version": VERSION}
    key |= metrics_key(metric_names)
    return cache.get_or(key, partial(_code_both_ways, subject, clips, metric_names))


def _code_both_ways(
    subject: Subject, clips: Sequence[Heard], metric_names: Sequence[str]
) -> Arrays:
    codec = subject.codec
    waves = [heard.coded_by(codec) for heard in clips]
    if codec.spec.sample_rate is None or len({wave.shape[0] for wave in waves}) > 1:
        raise MeasureError(
            Reason.NOT_FOR_CODEC,
            f"{subject.info.codec_id} takes clips of any rate and channels; these differ in them",
        )
    unit = _unit_samples(subject)
    starts, whole = _joined(waves, unit)
    long = codec.encode(whole)
    seed = subject.decoder_seed(clips[0].content_hash, 0)
    decoded = codec.decode(long.payload, seed=seed)
    values = np.full((len(clips), len(metric_names), 2), np.nan)
    reasons = np.full(values.shape, "", dtype="U40")
    shares = np.full(len(clips), np.nan)
    for index, (heard, wave, start) in enumerate(zip(clips, waves, starts, strict=True)):
        encoded = codec.encode(wave)
        alone = codec.decode(encoded.payload, seed=subject.decoder_seed(heard.content_hash))
        parts = (alone, decoded[:, start : start + wave.shape[1]])
        for side, part in enumerate(parts):
            samples = heard.restored(codec, part, wave.shape[1])
            found = scores(heard, samples, metric_names)
            values[index, :, side], reasons[index, :, side] = found["values"], found["reasons"]
        if encoded.codes is not None and long.codes is not None:
            first = start // unit * codec.positions_per_moment
            shares[index] = kept(subject, encoded.codes, long.codes[:, first:])["total"]
    return {"values": values, "reasons": reasons, "kept": shares}


def _unit_samples(subject: Subject) -> int:
    """Return the samples of one moment of codes; 1 where the codec has no frames."""
    spec = subject.codec.spec
    if spec.frame_rate is None or spec.sample_rate is None:
        return 1
    return max(1, round(spec.sample_rate / spec.frame_rate * subject.codec.positions_per_moment))


def _joined(waves: Sequence[np.ndarray], unit: int) -> tuple[list[int], np.ndarray]:
    """Return where each clip begins, on a whole unit, and all of them in one waveform."""
    padded = [np.pad(wave, ((0, 0), (0, -wave.shape[1] % unit))) for wave in waves]
    lengths = [wave.shape[1] for wave in padded]
    starts = np.concatenate([[0], np.cumsum(lengths)[:-1]]).astype(int).tolist()
    return starts, np.concatenate(padded, axis=1)


def _rows(
    subject: Subject,
    domain: str,
    count: int,
    metric_names: Sequence[str],
    done: Arrays | Failure,
) -> list[Row]:
    rows: list[Row] = []
    for column, metric in enumerate(metric_names):
        if isinstance(done, Failure):
            alone, inside, reasons = [math.nan] * count, [math.nan] * count, [str(done.reason)]
        else:
            alone, inside = done["values"][:, column].T.tolist()
            reasons = done["reasons"][:, column].ravel().tolist()
        if set(reasons) == {str(Reason.NOT_FOR_DOMAIN)}:
            continue
        difference = [b - a for a, b in zip(alone, inside, strict=True)]
        shares = math.nan if isinstance(done, Failure) else float(np.mean(done["kept"]))
        rows.append(
            subject.identity
            | {"domain": domain, "metric": metric}
            | {"alone": float(np.nanmean(alone)) if np.isfinite(alone).any() else math.nan}
            | {"inside": float(np.nanmean(inside)) if np.isfinite(inside).any() else math.nan}
            | {"tokens_kept": shares}
            | {f"difference_{k}" if k in ("mean", "ci_low", "ci_high") else k: v
               for k, v in mean_columns(difference, reasons).items()}
            | {"status": status_of([why for why in reasons if why] or [""])}
            | {"metric_fingerprint": metric_fingerprint(metric), "version": VERSION}
        )  # fmt: skip
    return rows
