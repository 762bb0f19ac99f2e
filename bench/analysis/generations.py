"""What is left when decoded audio is coded again and again: quality, and tokens kept."""

from collections.abc import Sequence

import numpy as np

from bench.analysis.cache import ArrayCache, Arrays
from bench.analysis.stability import VERSION, kept, rows_by_stream
from bench.analysis.subjects import (
    Heard,
    Row,
    Subject,
    mean_columns,
    metric_fingerprint,
    metrics_key,
    scores,
    value_and_reason,
)
from bench.audio import Audio
from bench.coding import to_codec
from bench.errors import Reason
from bench.runner import Progress
from bench.worker import Failure, attempt

#: How often a clip is coded.
GENERATIONS = 5


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
    key = {"what": "generations", "codec": subject.info.fingerprint, "clip": heard.content_hash}
    key |= {"seed": str(subject.seed), "version": VERSION} | metrics_key(metric_names)
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
        found = scores(heard, samples, metric_names)
        values[generation], reasons[generation] = found["values"], found["reasons"]
    names = list(shares[0]) if shares else []
    table = [[share[name] for name in names] for share in shares]
    return {
        "values": values,
        "reasons": reasons,
        "streams": np.array(names, dtype="U40"),
        "kept": np.array(table, dtype=np.float64).reshape(len(shares), len(names)),
    }


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
                pairs = [value_and_reason(one, generation, column) for one in own]
                if all(reason == Reason.NOT_FOR_DOMAIN for _, reason in pairs):
                    continue
                rows.append(
                    subject.identity
                    | {"domain": str(domain), "generation": generation + 1, "metric": metric}
                    | mean_columns([value for value, _ in pairs], [why for _, why in pairs])
                    | {"metric_fingerprint": metric_fingerprint(metric), "version": VERSION}
                )
    return rows


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
        rows += rows_by_stream(subject, shares, about)
    return rows
