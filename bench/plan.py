"""Decide what a run consists of: codec points x clips x metrics, each with its identity."""

import hashlib
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from typing import Any

from bench import metrics
from bench.clips import Clip
from bench.errors import UsageError
from bench.results import CodecInfo, MetricInfo
from bench.store import CodingKey
from codec_zoo import CodecError, CodecUnavailableError, create
from codec_zoo.registry import codec_class, default_ids, families, parse_codec_id

#: What `python run_bench.py` measures: anchors, then classical codecs from low to high bitrate.
DEFAULT_CODECS = (
    "passthrough",
    "lowpass@7000hz",
    "lowpass@3500hz",
    "noise",
    "semanticodec-mini@25tps",
    "semanticodec-mini@50tps",
    "semanticodec-mini@100tps",
    "dac-mini@3cb",
    "dac-mini@5cb",
    "dac-mini@9cb",
    "codec2@700bps",
    "codec2@1300bps",
    "codec2@3200bps",
    "amr-nb@4.75kbps",
    "amr-nb@12.2kbps",
    "g723-1@6.3kbps",
    "opus@6kbps",
    "opus@12kbps",
    "opus@24kbps",
    "mp3@16kbps",
    "mp3@32kbps",
)


@dataclass(frozen=True)
class PlannedCodec:
    """A codec point of the plan.

    Attributes:
        batch_size: Clips it likes to get at once.
        seed: What its reconstructions are filed under: the run's seed, or 0 if it has no use
            for one.
    """

    info: CodecInfo
    batch_size: int = 1
    seed: int = 0


@dataclass(frozen=True)
class PlannedClip:
    """A clip of the plan and the hash of all that measurements of it depend on."""

    clip: Clip
    content_hash: str


@dataclass(frozen=True)
class Plan:
    """What was asked for.

    Attributes:
        device: Where neural codecs run: ``cpu``, ``cuda``, ``cuda:1``.
    """

    codecs: tuple[PlannedCodec, ...]
    clips: tuple[PlannedClip, ...]
    metrics: tuple[MetricInfo, ...]
    seed: int = 0
    device: str = "cpu"

    def as_dict(self) -> dict[str, Any]:
        """Return the plan as plain data, for the store."""
        return {
            "source": "codecs",
            "seed": self.seed,
            "codecs": [asdict(codec.info) | {"seed": codec.seed} for codec in self.codecs],
            "metrics": [asdict(info) for info in self.metrics],
            "clips": [_clip_row(planned) for planned in self.clips],
        }


def make_plan(
    clips: Sequence[Clip],
    codec_ids: Sequence[str],
    metric_names: Sequence[str],
    *,
    seed: int = 0,
    device: str = "cpu",
) -> Plan:
    """Return the plan for these clips, codecs and metrics.

    Args:
        clips: What is coded.
        codec_ids: Codec points.
        metric_names: What is measured.
        seed: Of everything random.
        device: Where neural codecs run; see :func:`pick_device`.

    Raises:
        UsageError: If a name is unknown, given twice, nothing is left to do, or there is no such
            device.
    """
    for kind, names in (("clip", clips), ("codec", codec_ids), ("metric", metric_names)):
        if not names:
            raise UsageError(f"no {kind} is selected; nothing to do")
    _refuse_doubles("codec", codec_ids)
    _refuse_doubles("metric", metric_names)
    _refuse_doubles("clip", [f"{clip.dataset}/{clip.id}" for clip in clips])
    device = pick_device(device, codec_ids)
    return Plan(
        codecs=tuple(plan_codec(codec_id, seed, device) for codec_id in codec_ids),
        clips=tuple(PlannedClip(clip, clip.content_hash()) for clip in clips),
        metrics=tuple(metric_info(name) for name in metric_names),
        seed=seed,
        device=device,
    )


def pick_device(device: str, codec_ids: Sequence[str]) -> str:
    """Return where neural codecs run: ``auto`` is a GPU where there is one, else the CPU.

    Raises:
        UsageError: If the device is unknown or not here.
    """
    if device == "auto":
        return "cuda" if _any_neural(codec_ids) and _gpus() else "cpu"
    match = re.fullmatch(r"cpu|cuda(?::(\d+))?", device)
    if match is None:
        raise UsageError(f"--device takes auto, cpu, cuda or cuda:1 and so on, got {device!r}")
    if device != "cpu" and _gpus() <= int(match[1] or 0):
        raise UsageError(f"no device {device}: torch sees {_gpus()} GPUs here; try --device cpu")
    return device


def _any_neural(codec_ids: Sequence[str]) -> bool:
    """Return whether a codec may run on a GPU; an unknown one is refused elsewhere."""
    known = {family for family in families() if codec_class(family).kind == "neural"}
    return not known.isdisjoint(parse_codec_id(codec_id).family for codec_id in codec_ids)


def _gpus() -> int:
    """Return how many GPUs torch sees."""
    if find_spec("torch") is None:
        return 0
    import torch

    return torch.cuda.device_count()


def _refuse_doubles(kind: str, names: Sequence[str]) -> None:
    doubles = sorted(name for name, uses in Counter(names).items() if uses > 1)
    if doubles:
        raise UsageError(f"{kind} {', '.join(doubles)} is selected twice")


def expand_codec_ids(names: Sequence[str]) -> list[str]:
    """Return codec ids, a bare family with operating points standing for its usual points.

    Raises:
        UsageError: If a family is unknown.
    """
    try:
        return [
            codec_id
            for name in names
            for codec_id in (default_ids(name) if "@" not in name and ":" not in name else (name,))
        ]
    except CodecError as error:
        raise UsageError(str(error)) from error


def check_codec_id(codec_id: str) -> None:
    """Refuse a codec id whose family does not exist, without building the codec.

    Raises:
        UsageError: If its family is unknown or it is no codec id.
    """
    try:
        codec_class(parse_codec_id(codec_id).family)
    except CodecError as error:
        raise UsageError(str(error)) from error


def plan_codec(codec_id: str, seed: int = 0, device: str = "cpu") -> PlannedCodec:
    """Return a codec point with its identity, or with the reason why it cannot run here.

    Raises:
        UsageError: If the codec id is wrong.
    """
    try:
        codec = create(codec_id, device=device)
    except CodecUnavailableError as error:
        return PlannedCodec(_unavailable(codec_id, str(error)))
    except CodecError as error:
        raise UsageError(str(error)) from error
    spec = codec.spec
    info = CodecInfo(
        codec_id=codec_id,
        family=parse_codec_id(codec_id).family,
        kind=spec.kind,
        fingerprint=spec.fingerprint,
        nominal_kbps=spec.nominal_kbps,
        sample_rate=spec.sample_rate,
        channels=spec.channels,
        token_rate=spec.token_rate,
        implementation=spec.implementation,
    )
    return PlannedCodec(info, codec.batch_size, 0 if spec.deterministic else seed)


def _unavailable(codec_id: str, reason: str) -> CodecInfo:
    family = parse_codec_id(codec_id).family
    return CodecInfo(
        codec_id, family, codec_class(family).kind, f"unavailable:{codec_id}",
        unavailable_reason=reason,
    )  # fmt: skip


def metric_info(name: str) -> MetricInfo:
    """Return what is known of a metric, without loading its models.

    Raises:
        UsageError: If there is no such metric.
    """
    metric = metrics.create(name)
    reason = metric.unavailable_reason()
    return MetricInfo(
        name=name,
        fingerprint=f"unavailable:{name}" if reason else metric.fingerprint,
        version=metric.version,
        summary=metric.summary,
        unit=metric.unit,
        higher_is_better=metric.higher_is_better,
        bounds=metric.bounds,
        domains=tuple(sorted(metric.domains)),
        requires_text=metric.requires_text,
        params={} if reason else dict(metric.params),
        unavailable_reason=reason,
    )


def coding_key(codec: PlannedCodec, clip: PlannedClip) -> CodingKey:
    """Return the key under which a reconstruction is filed."""
    return CodingKey(codec.info.fingerprint, clip.content_hash, codec.seed)


def decoder_seed(run_seed: int, codec_id: str, clip_hash: str) -> int:
    """Return the seed of one decoding: a function of run, codec point and clip, in [0, 2^63)."""
    text = f"{run_seed}/{codec_id}/{clip_hash}".encode()
    return int.from_bytes(hashlib.sha256(text).digest()[:8], "big") >> 1


def _clip_row(planned: PlannedClip) -> dict[str, Any]:
    clip = planned.clip
    return {
        "dataset": clip.dataset,
        "clip": clip.id,
        "domain": str(clip.domain),
        "path": str(clip.path),
        "start_s": clip.start_s,
        "segment_s": clip.duration_s,
        "text": clip.text,
        "label": clip.label,
        "speaker": clip.speaker,
        "clip_hash": planned.content_hash,
    }


def all_codec_ids() -> list[str]:
    """Return every codec at every point it is usually measured at."""
    return [codec_id for family in families() for codec_id in default_ids(family)]
