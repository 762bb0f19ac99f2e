"""Fixtures shared by all tests."""

import hashlib
import json
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from bench.errors import SKIP_REASONS, Reason
from bench.results import ROW_COLUMNS, CodecInfo, MetricInfo, Results

DOMAINS = ("speech", "music", "sound")

#: codec id -> nominal kbps (None: an anchor without one).
CODECS: Mapping[str, float | None] = {
    "passthrough": None,
    "lowpass@3500hz": None,
    "semanticodec-mini@25tps": 0.35,
    "semanticodec-mini@50tps": 0.70,
    "semanticodec-mini@100tps": 1.40,
    "opus@6kbps": 6.0,
    "opus@12kbps": 12.0,
    "opus@24kbps": 24.0,
}

METRICS = (
    MetricInfo(
        "visqol-speech-exp",
        "f15a7e00c0ffee01",
        unit="MOS-LQO",
        bounds=(1.0, 5.0),
        params={"implementation": "visqol-python 3.8.0"},
    ),
    MetricInfo("pesq-wb", "f15a7e00c0ffee02", bounds=(1.0, 4.64), domains=("speech",)),
    MetricInfo(
        "mel-dac-eval",
        "f15a7e00c0ffee03",
        higher_is_better=False,
        bounds=(0.0, None),
        params={"implementation": "codecbench"},
    ),
    MetricInfo(
        "wer",
        "f15a7e00c0ffee04",
        higher_is_better=False,
        bounds=(0.0, None),
        domains=("speech",),
        params={"implementation": "faster-whisper 1.1"},
    ),
    MetricInfo("delay", "f15a7e00c0ffee05", unit="ms", higher_is_better=None),
)

ANCHOR_QUALITY = {"passthrough": 0.999, "lowpass": 0.35, "noise": 0.02}


def digest(text: str) -> str:
    """Return a stable hex digest, for hashes and seeds."""
    return hashlib.sha256(text.encode()).hexdigest()


def generator(*parts: object) -> np.random.Generator:
    """Return a generator seeded by a text, the same on every machine."""
    return np.random.default_rng(int(digest(repr(parts))[:15], 16))


def family_of(codec: str) -> str:
    """Return what stands before the ``@``."""
    return codec.split("@")[0]


def kind_of(codec: str, kbps: float | None) -> str:
    """Return anchor, neural or classical, guessed from the name."""
    if kbps is None:
        return "anchor"
    return "classical" if family_of(codec) in {"opus", "mp3", "aac", "amr-nb"} else "neural"


def quality_of(codec: str, kbps: float | None, clip: str) -> float:
    """Return a made-up quality between 0 and 1: rises with log bitrate, differs by clip."""
    family = family_of(codec)
    if kbps is None:
        return ANCHOR_QUALITY.get(family, 0.5)
    bonus = 3.0 if kind_of(codec, kbps) == "neural" else -0.5
    family_offset = generator("family", family).normal(0.0, 0.5)
    clip_offset = generator("clip", clip).normal(0.0, 0.5)
    return 1 / (1 + math.exp(-(0.8 * math.log2(kbps) - 1 + bonus + family_offset + clip_offset)))


def value_of(
    metric: str, quality: float, clip: str, rng: np.random.Generator
) -> tuple[float, dict[str, int]]:
    """Return a plausible value of a metric at a quality, and its details."""
    noise = rng.normal(0.0, 1.0)
    if metric == "wer":
        words = int(generator("words", clip).integers(8, 30))
        edits = int(rng.binomial(words, 0.02 + 0.5 * (1 - quality) ** 2))
        return edits / words, {"edits": edits, "words": words}
    if metric == "delay":
        return 0.1 * noise, {}
    if metric.startswith("mel"):
        return max(4 * (1 - quality) + 0.03 * noise, 0.0), {}
    return float(np.clip(1 + 4 * quality + 0.03 * noise, 1.0, 5.0)), {}


def build_results(
    *,
    codecs: Mapping[str, float | None] = CODECS,
    metrics: Sequence[MetricInfo] = METRICS,
    domains: Sequence[str] = DOMAINS,
    clips: int = 8,
    seed: int = 0,
    quality_scale: Mapping[str, float] | None = None,
    reasons: Mapping[tuple[str, str, str], Reason] | None = None,
    unavailable: Mapping[str, str] | None = None,
    folder: Path | None = None,
) -> Results:
    """Make up the results of a run, the same for the same arguments.

    Args:
        codecs: Codec id -> nominal kbps; None for an anchor.
        metrics: What was measured; those of another domain give ``skipped`` rows.
        domains: Of which there are ``clips`` clips each, named ``speech-00`` and so on.
        clips: Per domain.
        seed: Of the measuring noise; clips and codecs stay the same.
        quality_scale: Codec id -> factor on its quality, to plant a degradation.
        reasons: (codec, clip, metric) -> why that row has no value.
        unavailable: Codec id -> why it cannot run.
        folder: Where reconstructions would lie.
    """
    clip_table = build_clips(domains, clips)
    scale, absent = quality_scale or {}, unavailable or {}
    infos = {
        codec: CodecInfo(
            codec_id=codec,
            family=family_of(codec),
            kind=kind_of(codec, kbps),
            fingerprint=digest(f"codec {codec}")[:16],
            nominal_kbps=kbps,
            unavailable_reason=absent.get(codec),
        )
        for codec, kbps in codecs.items()
    }
    rows = [
        build_row(info, metric, clip, seed, scale.get(codec, 1.0), reasons or {})
        for codec, info in infos.items()
        for clip in clip_table.to_dict("records")
        for metric in metrics
    ]
    return Results(
        rows=pd.DataFrame(rows, columns=list(ROW_COLUMNS)),
        metrics={metric.name: metric for metric in metrics},
        codecs=infos,
        clips=clip_table,
        manifest={"commit": "0" * 40, "seed": seed, "command": "run_bench.py run"},
        folder=folder,
    )


def build_clips(domains: Sequence[str], clips: int) -> pd.DataFrame:
    """Return the clip table, one row per clip."""
    names = [(domain, f"{domain}-{index:02d}") for domain in domains for index in range(clips)]
    return pd.DataFrame(
        {
            "dataset": "synthetic",
            "clip": [clip for _, clip in names],
            "domain": [domain for domain, _ in names],
            "path": [f"{domain}/{clip}.flac" for domain, clip in names],
            "text": ["some words" if domain == "speech" else None for domain, _ in names],
            "duration_s": 5.0,
            "clip_hash": [digest(f"clip {clip}") for _, clip in names],
        }
    )


def build_row(
    codec: CodecInfo,
    metric: MetricInfo,
    clip: Mapping[str, str],
    seed: int,
    scale: float,
    reasons: Mapping[tuple[str, str, str], Reason],
) -> dict[str, object]:
    """Return one tidy row."""
    name = clip["clip"]
    rng = generator(codec.codec_id, metric.name, name, seed)
    quality = quality_of(codec.codec_id, codec.nominal_kbps, name) * scale
    value, detail = value_of(metric.name, quality, name, rng)
    reason = reasons.get((codec.codec_id, name, metric.name))
    if clip["domain"] not in metric.domains:
        reason = Reason.NOT_FOR_DOMAIN
    if codec.unavailable_reason:
        reason = Reason.CODEC_UNAVAILABLE
    status = "ok" if reason is None else "skipped" if reason in SKIP_REASONS else "failed"
    measured = 768.0
    if codec.nominal_kbps is not None:
        measured = codec.nominal_kbps * generator("kbps", codec.codec_id, name).uniform(0.98, 1.06)
    return {
        "dataset": clip["dataset"],
        "clip": name,
        "domain": clip["domain"],
        "codec": codec.codec_id,
        "family": codec.family,
        "kind": codec.kind,
        "nominal_kbps": math.nan if codec.nominal_kbps is None else codec.nominal_kbps,
        "measured_kbps": math.nan if codec.unavailable_reason else measured,
        "metric": metric.name,
        "value": value if reason is None else math.nan,
        "status": status,
        "reason": "" if reason is None else str(reason),
        "message": "" if reason is None else f"made-up failure of {name}",
        "detail": json.dumps(detail if reason is None else {}),
        "seed": seed,
        "clip_hash": clip["clip_hash"],
        "codec_fingerprint": codec.fingerprint,
        "metric_fingerprint": metric.fingerprint,
    }


@pytest.fixture(scope="session")
def make_results() -> Callable[..., Results]:
    """Return :func:`build_results`, which makes up the results of a run."""
    return build_results
