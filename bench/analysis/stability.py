"""How tokens hold when the audio moves a little.

A token is *kept* where the same position of the same stream holds the same entry. Audio is
shifted (its first samples are cut off, by less than one frame, so that positions still correspond),
made louder and softer, or given light noise.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from bench.analysis.cache import ArrayCache, Arrays
from bench.analysis.subjects import (
    Heard,
    Row,
    Subject,
    coded,
    codes_key,
    mean_columns,
)
from bench.audio import Samples
from bench.errors import Reason
from bench.runner import Progress
from bench.worker import Failure, attempt

#: Raised by every change that moves a number.
VERSION = "1"


@dataclass(frozen=True)
class Perturbation:
    """One small change of the audio.

    Attributes:
        name: ``shift``, ``shift-half-frame``, ``gain`` or ``noise``.
        amount: ms, ms, dB, dB of signal over noise; None: half a frame of the codec.
    """

    name: str
    amount: float | None

    def label(self, subject: Subject) -> float:
        """Return the amount in its unit, of half a frame the milliseconds of this codec."""
        if self.amount is not None:
            return self.amount
        return 500.0 / _moments_per_s(subject)

    def apply(self, wave: Samples, sample_rate: int, subject: Subject) -> Samples:
        """Return the changed waveform ``[C, N]``."""
        amount = self.label(subject)
        if self.name.startswith("shift"):
            return wave[:, min(round(amount / 1000 * sample_rate), wave.shape[1] - 1) :]
        if self.name == "gain":
            return (wave * 10 ** (amount / 20)).astype(np.float32)
        noise = np.random.default_rng(0).standard_normal(wave.shape)
        level = np.sqrt(np.mean(np.square(wave, dtype=np.float64))) * 10 ** (-amount / 20)
        return (wave + level * noise).astype(np.float32)


PERTURBATIONS = (
    Perturbation("shift", 1.0),
    Perturbation("shift", 5.0),
    Perturbation("shift-half-frame", None),
    Perturbation("gain", 6.0),
    Perturbation("gain", -6.0),
    Perturbation("noise", 40.0),
    Perturbation("noise", 30.0),
)


def _moments_per_s(subject: Subject) -> float:
    """Return how many moments a codec's codes tell apart in a second."""
    frame_rate = subject.codec.spec.frame_rate
    assert frame_rate is not None
    return frame_rate / subject.codec.positions_per_moment


def kept(subject: Subject, before: np.ndarray, after: np.ndarray) -> dict[str, float]:
    """Return the share of tokens kept, by stream and over all (``total``), of codes ``[K, T]``.

    Positions that only one of them has are left out.
    """
    length = min(before.shape[1], after.shape[1])
    pairs = [
        (one.name, one.tokens == other.tokens)
        for one, other in zip(
            subject.codec.token_streams(before[:, :length]),
            subject.codec.token_streams(after[:, :length]),
            strict=True,
        )
    ]
    shares = {name: float(equal.mean()) for name, equal in pairs}
    return shares | {"total": float(np.concatenate([equal for _, equal in pairs]).mean())}


def stability_rows(
    subject: Subject, clips: Sequence[Heard], cache: ArrayCache, progress: Progress
) -> list[Row]:
    """Return the shares of tokens kept, a row per perturbation and stream."""
    rows: list[Row] = []
    for perturbation in PERTURBATIONS:
        found = [_kept_of_clip(subject, heard, perturbation, cache) for heard in clips]
        progress.advance(len(clips), sum(isinstance(one, Failure) for one in found))
        about = {"perturbation": perturbation.name, "amount": perturbation.label(subject)}
        rows += rows_by_stream(subject, found, about)
    return rows


def rows_by_stream(
    subject: Subject, found: Sequence[dict[str, float] | Failure], about: Row
) -> list[Row]:
    """Return the mean share of tokens kept, a row per stream."""
    shares = pd.DataFrame([one for one in found if not isinstance(one, Failure)])
    reasons = [str(one.reason) for one in found if isinstance(one, Failure)]
    missing = [float("nan")] * len(reasons)
    names = list(shares) or ["total"]
    return [
        subject.identity
        | about
        | {"stream": name}
        | mean_columns([*shares.get(name, []), *missing], reasons)
        | {"version": VERSION}
        for name in names
    ]


def _kept_of_clip(
    subject: Subject, heard: Heard, perturbation: Perturbation, cache: ArrayCache
) -> dict[str, float] | Failure:
    def compare() -> dict[str, float]:
        before = coded(subject, heard, cache)
        after = cache.get_or(
            codes_key(subject, heard) | {"changed": str(perturbation), "version": VERSION},
            lambda: _codes(subject, _perturbed(subject, heard, perturbation)),
        )
        return kept(subject, before["codes"], after["codes"])

    return attempt(f"{subject.info.codec_id}: {perturbation}", Reason.CODEC_ERROR, compare)


def _perturbed(subject: Subject, heard: Heard, perturbation: Perturbation) -> Samples:
    rate = subject.codec.spec.sample_rate or heard.audio.sample_rate
    return perturbation.apply(heard.coded_by(subject.codec), rate, subject)


def _codes(subject: Subject, wave: Samples) -> Arrays:
    codes = subject.codec.encode(wave).codes
    assert codes is not None, "asked only of codecs with codebooks"
    return {"codes": codes}
