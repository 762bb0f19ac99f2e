"""The regression gate's baseline: per-clip values in a small JSON, with what they were measured by.

Values are kept to seven significant digits, one line of the file per codec point and metric, in
the order of the list of clips; an error rate keeps ``[edits, words]``.
"""

import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import asdict, dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pandas as pd

from bench.errors import UsageError, one_line, unknown_name
from bench.results import Results
from bench.stats.cells import check_fingerprints, observations

SCHEMA_VERSION = 1
#: A relative tolerance is a share of at least this: a distance of zero may not stay zero.
RELATIVE_FLOOR = 0.1
#: What a baseline keeps of the manifest.
MANIFEST_KEYS = ("commit", "command", "seed", "machine", "versions", "created", "started")


@dataclass(frozen=True)
class Tolerance:
    """How much worse a metric may get.

    Attributes:
        mean: Of the mean over clips, in the metric's unit, or as a share of the baseline's mean.
        clip: Of a single clip; more than this is a collapse.
        relative: Whether both are shares of the baseline's mean.
    """

    mean: float
    clip: float
    relative: bool = False

    def scaled(self, baseline_mean: float) -> "Tolerance":
        """Return the tolerance in the metric's unit."""
        if not self.relative:
            return self
        scale = max(abs(baseline_mean), RELATIVE_FLOOR)
        return Tolerance(self.mean * scale, self.clip * scale)


#: First match wins; None: not compared unless a tolerance is given (they depend on the machine).
#: Means: differences that nobody would act upon; half the just noticeable 0.1 MOS, one word in a
#: hundred. Clips: differences that anybody hears.
DEFAULT_TOLERANCES: tuple[tuple[str, Tolerance | None], ...] = (
    ("*visqol*", Tolerance(0.05, 0.75)),
    ("*pesq*", Tolerance(0.05, 0.75)),
    ("*stoi*", Tolerance(0.01, 0.15)),
    ("*wer*", Tolerance(0.01, 0.5)),
    ("*cer*", Tolerance(0.01, 0.5)),
    ("*sdr*", Tolerance(0.3, 6.0)),
    ("*delay*", Tolerance(1.0, 10.0)),
    ("*level*", Tolerance(0.3, 3.0)),
    ("*rtf*", None),
    ("*memory*", None),
    ("*", Tolerance(0.02, 1.0, relative=True)),  # mel, STFT and any other distance
)


@dataclass(frozen=True)
class BaselineMetric:
    """Identity and direction of a metric when the baseline was saved."""

    fingerprint: str
    higher_is_better: bool | None
    unit: str
    tolerance: Tolerance | None


@dataclass(frozen=True)
class Baseline:
    """What a later run is compared with.

    Attributes:
        metrics: By name.
        codecs: Codec id -> fingerprint.
        clips: Indexed by ``dataset/clip``, with ``domain`` and ``clip_hash``.
        numbers: Indexed by codec, metric and unit (``dataset/clip``), with ``numerator``,
            ``denominator`` and ``counted``, as :func:`bench.stats.cells.observations` gives them.
        manifest: Commit, command and so on of the run.
    """

    metrics: Mapping[str, BaselineMetric]
    codecs: Mapping[str, str]
    clips: pd.DataFrame
    numbers: pd.DataFrame
    manifest: Mapping[str, Any]


def default_tolerance(metric: str) -> Tolerance | None:
    """Return the tolerance of a metric by its name, None where it is not compared by default."""
    return next(found for pattern, found in DEFAULT_TOLERANCES if fnmatch(metric, pattern))


def save_baseline(
    results: Results,
    path: Path,
    *,
    tolerances: Mapping[str, Tolerance] | None = None,
    codecs: Collection[str] | None = None,
) -> Path:
    """Write the values of a run as a baseline.

    Args:
        results: What a run measured.
        path: Of the JSON file; its folder is made.
        tolerances: By metric, instead of the default ones.
        codecs: Which codec points to keep; all that have values if not given.

    Raises:
        MixedFingerprintsError: If rows of one name come from unlike measurements.
        UsageError: If there is nothing to save, or a name is unknown.
    """
    given = tolerances or {}
    _check_names("metric", given, results.metrics)
    _check_names("codec", codecs or (), results.codecs)
    check_fingerprints(results.rows)
    rows = results.rows if codecs is None else results.rows[results.rows["codec"].isin(codecs)]
    values = clip_values(rows)
    if values.empty:
        raise UsageError("these results hold no value, so there is no baseline to save")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(_to_json(results, rows, values, given), encoding="utf-8")
    return path


def load_baseline(path: Path) -> Baseline:
    """Read a baseline.

    Raises:
        UsageError: If there is no file, or it is not a baseline of this schema.
    """
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"cannot read baseline {path}: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise UsageError(f"baseline {path} is not JSON: {one_line(error, 200)}") from error
    version = document.get("schema") if isinstance(document, dict) else None
    if version != SCHEMA_VERSION:
        raise UsageError(
            f"baseline {path} has schema {version}, expected {SCHEMA_VERSION}; save it again"
        )
    try:
        return _from_json(document)
    except (KeyError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
        problem = one_line(repr(error), 200)
        raise UsageError(f"baseline {path} is damaged ({problem}); save it again") from error


def clip_values(rows: pd.DataFrame) -> pd.DataFrame:
    """Return numerator and denominator per codec, metric and unit, seeds averaged, rounded."""
    columns = ["numerator", "denominator", "counted"]
    values = observations(rows).groupby(["codec", "metric", "unit"])[columns].mean()
    return values.map(lambda number: float(f"{number:.7g}"))


def clip_table(rows: pd.DataFrame) -> pd.DataFrame:
    """Return domain and hash of every clip, indexed by ``dataset/clip``."""
    clips = rows.drop_duplicates(["dataset", "clip"])
    units = [f"{row.dataset}/{row.clip}" for row in clips.itertuples()]
    return clips[["domain", "clip_hash"]].set_index(pd.Index(units, name="unit")).sort_index()


def _check_names(kind: str, names: Iterable[str], known: Collection[str]) -> None:
    for name in names:
        if name not in known:
            raise unknown_name(kind, name, known)


def _to_json(
    results: Results,
    rows: pd.DataFrame,
    values: pd.DataFrame,
    tolerances: Mapping[str, Tolerance],
) -> str:
    clips = clip_table(rows)
    measured = values.index.unique("metric")
    metrics = {
        info.name: BaselineMetric(
            fingerprint=info.fingerprint,
            higher_is_better=info.higher_is_better,
            unit=info.unit,
            tolerance=tolerances.get(info.name, default_tolerance(info.name)),
        )
        for info in results.metrics.values()
        if info.name in measured
    }
    codecs = [name for name in results.codecs if name in values.index.unique("codec")]
    manifest = {key: results.manifest[key] for key in MANIFEST_KEYS if key in results.manifest}
    sections = {
        "schema": json.dumps(SCHEMA_VERSION),
        "manifest": json.dumps(manifest, default=str, sort_keys=True),
        "metrics": _lines({name: asdict(metric) for name, metric in metrics.items()}),
        "codecs": _lines({name: results.codecs[name].fingerprint for name in codecs}),
        "clips": _lines(clips.to_dict("index")),
        "values": _lines(
            {
                f"{codec} {metric}": _listed(values, codec, metric, clips.index)
                for codec in codecs
                for metric in metrics
                if (codec, metric) in values.index
            }
        ),
    }
    return "{\n" + ",\n".join(f'"{key}": {text}' for key, text in sections.items()) + "\n}\n"


def _lines(entries: Mapping[Any, Any]) -> str:
    """Return a JSON object with one line per entry."""
    lines = [f" {json.dumps(str(key))}: {json.dumps(value)}" for key, value in entries.items()]
    return "{\n" + ",\n".join(lines) + "\n}"


def _listed(values: pd.DataFrame, codec: str, metric: str, units: pd.Index) -> list[Any]:
    """Return the values in the order of the clips: a number, ``[edits, words]`` or null."""
    chosen = values.xs((codec, metric), level=("codec", "metric"))
    found = {
        unit: [numerator, denominator] if counted else numerator
        for unit, numerator, denominator, counted in chosen.itertuples()
    }
    return [found.get(unit) for unit in units]


def _from_json(document: Mapping[str, Any]) -> Baseline:
    metrics = {}
    for name, entry in document["metrics"].items():
        tolerance = Tolerance(**entry["tolerance"]) if entry["tolerance"] else None
        metrics[name] = BaselineMetric(**{**entry, "tolerance": tolerance})
    clips = pd.DataFrame.from_dict(document["clips"], orient="index")
    records = []
    for name, listed in document["values"].items():
        codec, _, metric = name.rpartition(" ")
        for unit, value in zip(document["clips"], listed, strict=True):
            if value is not None:
                counted = isinstance(value, list)
                pair = value if counted else [value, 1.0]
                records.append((codec, metric, unit, *map(float, pair), float(counted)))
    columns = ["codec", "metric", "unit", "numerator", "denominator", "counted"]
    return Baseline(
        metrics=metrics,
        codecs=document["codecs"],
        clips=clips[["domain", "clip_hash"]],
        numbers=pd.DataFrame(records, columns=columns).set_index(columns[:3]),
        manifest=document["manifest"],
    )
