"""How tokens hold when the audio moves a little, and when it is coded again and again.

A token is *kept* where the same position of the same stream holds the same entry. Audio is
shifted (its first samples are cut off, by less than one frame, so that positions still correspond),
made louder and softer, or given light noise; and what was decoded is coded once more, up to five
generations, with its quality beside it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from bench.analysis.cache import ArrayCache, Arrays
from bench.analysis.subjects import (
    Heard,
    Row,
    Subject,
    attempted,
    coded,
    codes_key,
    mean_columns,
    metric_fingerprint,
)
from bench.audio import Audio, Samples
from bench.coding import to_codec
from bench.errors import Reason
from bench.runner import Progress
from bench.worker import Failure, attempt

#: Raised by every change that moves a number.
VERSION = "1"
GENERATIONS = 5


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
        rows += _rows_by_stream(subject, found, about)
    return rows


def _rows_by_stream(
    subject: Subject, found: Sequence[dict[str, float] | Failure], about: Row
) -> list[Row]:
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


# --- generations ------------------------------------------------------------------------------


def generation_rows(
    subject: Subject,
    clips: Sequence[Heard],
    metric_names: Sequence[str],
    cache: ArrayCache,
    progress: Progress,
) -> tuple[list[Row], list[Row]]:
    """Code what was decoded, :data:`GENERATIONS` times.

    Returns:
        Rows of quality by generation, domain and metric (of any codec), and rows of the tokens of
        the first generation that are kept (of a codec with codebooks).
    """
    found = []
    for heard in clips:
        found.append(_generations(subject, heard, metric_names, cache))
        progress.advance(1, isinstance(found[-1], Failure))
    return _quality_rows(subject, clips, found, metric_names), _kept_rows(subject, found)


def _generations(
    subject: Subject, heard: Heard, metric_names: Sequence[str], cache: ArrayCache
) -> Arrays | Failure:
    prints = [metric_fingerprint(name) for name in metric_names]
    key = {"what": "generations", "codec": subject.info.fingerprint, "clip": heard.content_hash}
    key |= {"seed": str(subject.seed), "metrics": " ".join(prints), "version": VERSION}
    return attempt(
        f"{subject.info.codec_id}: generations of {heard.clip.id}",
        Reason.CODEC_ERROR,
        lambda: cache.get_or(key, lambda: _code_again(subject, heard, metric_names)),
    )


def _code_again(subject: Subject, heard: Heard, metric_names: Sequence[str]) -> Arrays:
    codec, audio = subject.codec, heard.audio
    values = np.full((GENERATIONS, len(metric_names)), np.nan)
    reasons = np.full(values.shape, "", dtype="U40")
    shares: list[dict[str, float]] = []
    first: np.ndarray | None = None
    for generation in range(GENERATIONS):
        wave = to_codec(codec.spec, audio)
        encoded = codec.encode(wave)
        if encoded.codes is not None:
            first = encoded.codes if first is None else first
            shares.append(kept(subject, first, encoded.codes))
        seed = subject.decoder_seed(heard.content_hash, generation)
        samples = heard.restored(codec, codec.decode(encoded.payload, seed=seed), wave.shape[1])
        audio = Audio(samples, audio.sample_rate)
        for column, name in enumerate(metric_names):
            score = _scorer(heard, samples, name)
            values[generation, column], reasons[generation, column] = attempted(name, score)
    names = list(shares[0]) if shares else []
    table = [[share[name] for name in names] for share in shares]
    return {
        "values": values,
        "reasons": reasons,
        "streams": np.array(names, dtype="U40"),
        "kept": np.array(table, dtype=np.float64).reshape(len(shares), len(names)),
    }


def _scorer(heard: Heard, samples: Samples, metric: str) -> Callable[[], float]:
    return lambda: heard.score(samples, metric)


def _quality_rows(
    subject: Subject,
    clips: Sequence[Heard],
    found: Sequence[Arrays | Failure],
    metric_names: Sequence[str],
) -> list[Row]:
    rows: list[Row] = []
    for domain in sorted({heard.clip.domain for heard in clips}):
        own = [one for heard, one in zip(clips, found, strict=True) if heard.clip.domain == domain]
        for generation in range(GENERATIONS):
            for column, metric in enumerate(metric_names):
                pairs = [_one(one, generation, column) for one in own]
                if all(reason == Reason.NOT_FOR_DOMAIN for _, reason in pairs):
                    continue
                rows.append(
                    subject.identity
                    | {"domain": str(domain), "generation": generation + 1, "metric": metric}
                    | mean_columns([value for value, _ in pairs], [why for _, why in pairs])
                    | {"metric_fingerprint": metric_fingerprint(metric), "version": VERSION}
                )
    return rows


def _one(found: Arrays | Failure, generation: int, column: int) -> tuple[float, str]:
    if isinstance(found, Failure):
        return float("nan"), str(found.reason)
    return float(found["values"][generation, column]), str(found["reasons"][generation, column])


def _kept_rows(subject: Subject, found: Sequence[Arrays | Failure]) -> list[Row]:
    rows: list[Row] = []
    if not subject.codec.spec.codebook_sizes:
        return rows
    for generation in range(1, GENERATIONS):
        shares = [
            one
            if isinstance(one, Failure)
            else dict(zip(one["streams"].tolist(), one["kept"][generation].tolist(), strict=True))
            for one in found
        ]
        about: Row = {"perturbation": "generation", "amount": generation + 1}
        rows += _rows_by_stream(subject, shares, about)
    return rows
