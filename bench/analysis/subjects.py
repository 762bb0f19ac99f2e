"""Codecs and clips to analyse, coded and scored without a run's process pool."""

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import numpy as np

from bench import metrics
from bench.analysis.cache import ArrayCache, Arrays
from bench.audio import Audio, Samples, quantize_24bit
from bench.clips import Clip
from bench.coding import from_codec, to_codec
from bench.errors import SKIP_REASONS, Reason, Status
from bench.metrics import Pair, Signal
from bench.plan import decoder_seed, metric_info, plan_codec
from bench.results import CodecInfo
from bench.stats.bootstrap import mean_interval
from bench.worker import Failure, attempt
from codec_zoo import Codec, create

#: One row of a table.
Row = dict[str, Any]


@dataclass(frozen=True)
class Subject:
    """A codec point to analyse.

    Attributes:
        info: Its identity, or why it cannot run here.
        seed: Of what it draws; 0 where it draws nothing.
        device: Where it runs.
    """

    info: CodecInfo
    seed: int
    device: str = "cpu"

    @cached_property
    def codec(self) -> Codec:
        """The codec, its weights loaded on first use."""
        return create(self.info.codec_id, device=self.device)

    @property
    def identity(self) -> Row:
        """The columns that say in a table which codec a row is about."""
        return {
            "codec": self.info.codec_id,
            "family": self.info.family,
            "kind": self.info.kind,
            "fingerprint": self.info.fingerprint,
            "kbps": self.info.nominal_kbps,
            "seed": self.seed,
        }

    def decoder_seed(self, clip_hash: str, draw: int = 0) -> int:
        """Return the seed of one decoding; that of draw 0 is the seed of a run."""
        return decoder_seed(self.seed, self.info.codec_id, f"{clip_hash}{f'/{draw}' * bool(draw)}")


def subjects(codec_ids: Sequence[str], *, seed: int = 0, device: str = "cpu") -> list[Subject]:
    """Return the codecs of these ids; what cannot run here says why in its ``info``.

    Raises:
        UsageError: If an id is wrong.
    """
    planned = [plan_codec(codec_id, seed, device) for codec_id in codec_ids]
    return [Subject(one.info, one.seed, device) for one in planned]


class Heard:
    """A clip as it was read, and everything that was derived from it.

    Args:
        clip: The clip; read on first use.
    """

    def __init__(self, clip: Clip) -> None:
        self.clip = clip
        self.content_hash = clip.content_hash()

    @cached_property
    def audio(self) -> Audio:
        """The clip's audio; raises a MeasureError where there is none."""
        return self.clip.read()

    @cached_property
    def signal(self) -> Signal:
        """The reference of every score of this clip; metrics keep what they derive in it."""
        return Signal(self.audio.samples, self.audio.sample_rate)

    def coded_by(self, codec: Codec) -> Samples:
        """Return the waveform that the codec is given."""
        return to_codec(codec.spec, self.audio)

    def restored(self, codec: Codec, decoded: Samples, sent_samples: int) -> Samples:
        """Return what was decoded as it would be written: rate and length of the clip, 24 bits."""
        return quantize_24bit(from_codec(codec.spec, decoded, sent_samples, self.audio))

    def score(self, samples: Samples, metric: str) -> float:
        """Return a metric of samples ``[C, N]`` at the clip's rate.

        Raises:
            MeasureError: With the typed reason.
        """
        degraded = Signal(samples, self.audio.sample_rate)
        pair = Pair(self.signal, degraded, self.clip.domain, self.clip.text)
        return metrics.create(metric)(pair).value


def coded(subject: Subject, heard: Heard, cache: ArrayCache) -> Arrays:
    """Return what a codec makes of a clip, from the cache if it is there.

    Of an anchor, whose payload is as large as the audio, nothing is kept.

    Returns:
        ``payload`` (bytes), ``codes`` ``[K, T]`` (empty where there are none), ``code_bits``
        (without the container), ``samples`` that were encoded, ``duration_s`` of the clip.
    """
    if subject.info.kind == "anchor":
        return _encode(subject, heard)
    return cache.get_or(codes_key(subject, heard), partial(_encode, subject, heard))


def codes_key(subject: Subject, heard: Heard) -> dict[str, str]:
    """Return what the codes of a clip depend on."""
    return {"what": "coded", "codec": subject.info.fingerprint, "clip": heard.content_hash}


def _encode(subject: Subject, heard: Heard) -> Arrays:
    wave = heard.coded_by(subject.codec)
    encoded = subject.codec.encode(wave)
    codes = encoded.codes if encoded.codes is not None else np.zeros((0, 0), np.int64)
    return {
        "payload": np.frombuffer(encoded.payload, np.uint8),
        "codes": codes,
        "code_bits": np.array(8 * (len(encoded.payload) - encoded.overhead_bytes)),
        "samples": np.array(wave.shape[1]),
        "duration_s": np.array(heard.audio.duration_s),
    }


def metric_fingerprint(name: str) -> str:
    """Return what a metric's rows are kept by."""
    return metric_info(name).fingerprint


def metrics_key(names: Sequence[str]) -> dict[str, str]:
    """Return what scores by these metrics depend on."""
    return {"metrics": " ".join(metric_fingerprint(name) for name in names)}


def scores(heard: Heard, samples: Samples, names: Sequence[str]) -> Arrays:
    """Return metrics of samples ``[C, N]``: ``values`` ``[m]``, and ``reasons`` where one is NaN.

    The samples are those of the clip as decoded, at its rate.
    """
    done = [
        attempt(name, Reason.METRIC_ERROR, partial(heard.score, samples, name)) for name in names
    ]
    return {
        "values": np.array([math.nan if isinstance(one, Failure) else one for one in done]),
        "reasons": np.array(
            [str(one.reason) if isinstance(one, Failure) else "" for one in done], dtype="U40"
        ),
    }


def value_and_reason(found: Arrays | Failure, *place: int) -> tuple[float, str]:
    """Return one of the ``values`` and its reason; of a clip that failed, NaN and the reason."""
    if isinstance(found, Failure):
        return math.nan, str(found.reason)
    return float(found["values"][place]), str(found["reasons"][place])


def status_of(reasons: Sequence[str]) -> Status:
    """Return ``skipped`` where no clip applies, ``failed`` where none has a value, else ``ok``."""
    if all(reasons):
        does_not_apply = {str(reason) for reason in SKIP_REASONS}
        return Status.SKIPPED if set(reasons) <= does_not_apply else Status.FAILED
    return Status.OK


def mean_columns(values: Sequence[float], reasons: Iterable[str] = (), *, seed: int = 0) -> Row:
    """Return mean, interval, n, n_failed and the counted reasons of values, NaN where failed."""
    found = np.asarray(values, dtype=np.float64)
    kept = found[np.isfinite(found)]
    interval = mean_interval(kept, seed=seed) if len(kept) else None
    counted = Counter(filter(None, reasons))
    return {
        "mean": interval.estimate if interval else math.nan,
        "ci_low": interval.low if interval else math.nan,
        "ci_high": interval.high if interval else math.nan,
        "n": len(kept),
        "n_failed": len(found) - len(kept),
        "reasons": ", ".join(f"{name} {count}" for name, count in sorted(counted.items())),
    }
