"""Published points: what papers print about codecs, each with its source.

They lie in ``reports/reference/*.csv`` and are never mixed into our own means. A point whose
definition is ours too carries our metric's name and ``comparable``; it may be drawn, hollow, on a
curve of that metric and domain. All others are for an appendix table.
"""

import math
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

import pandas as pd

from bench.errors import DatasetError, UsageError
from bench.results import Results
from bench.stats.cells import DOMAIN_ORDER, MEAN_OF_DOMAINS

#: ``metric``: our name where the definition is ours, else empty; ``published_metric``: as printed,
#: with what is known of its definition; ``secondary``: read in another paper's copy.
COLUMNS = (
    "codec", "variant", "kbps", "tokens_per_s", "dataset", "domain", "metric", "published_metric",
    "value", "unit", "source", "secondary", "comparable", "note",
)  # fmt: skip
_DTYPES = {
    "kbps": "float64", "tokens_per_s": "float64", "value": "float64", "secondary": "bool",
    "comparable": "bool",
}  # fmt: skip
DOMAINS = (*DOMAIN_ORDER, MEAN_OF_DOMAINS, "mixed", "")
REQUIRED = ("codec", "published_metric", "value", "source", "dataset")
KEY = ["codec", "variant", "kbps", "dataset", "domain", "published_metric", "source"]
#: Variants of a codec that a run of that codec may be compared with.
PLAIN_VARIANTS = ("", "official")
#: How far two bitrates may be apart and still be one operating point.
RATE_TOLERANCE = 0.05
DRAWABLE_COLUMNS = (
    "codec", "variant", "kbps", "metric", "domain", "value", "source", "secondary", "dataset",
)  # fmt: skip
COMPARISON_COLUMNS = (
    "codec", "kbps", "domain", "metric", "ours", "ci_low", "ci_high", "n", "published",
    "difference", "published_dataset", "source", "secondary",
)  # fmt: skip


def reference_folder() -> Path:
    """Return where the published points lie: inside an installed package, or in the checkout."""
    package = Path(__file__).parents[1]
    packed = package / "reference"
    return packed if packed.is_dir() else package.parent / "reports" / "reference"


def load_points(
    folder: Path | None = None, *, known_metrics: Collection[str] | None = None
) -> pd.DataFrame:
    """Return every published point, with :data:`COLUMNS`.

    Args:
        folder: Of the CSV files; :func:`reference_folder` by default.
        known_metrics: If given, what may stand in ``metric``.

    Returns:
        ``kbps``, ``tokens_per_s`` and ``value`` are numbers (NaN where not stated), ``secondary``
        and ``comparable`` are bools, everything else is text. Empty where the package was
        installed without them.

    Raises:
        DatasetError: If a file is missing or a row is not as expected; names file and line.
    """
    if folder is None:
        folder = reference_folder()
        if not folder.is_dir():  # installed without the checkout's reports/
            return pd.DataFrame(
                {name: pd.Series(dtype=_DTYPES.get(name, "str")) for name in COLUMNS}
            )
    files = sorted(folder.glob("*.csv"))
    if not files:
        raise DatasetError(f"no published points in {folder}; expected CSV files")
    points = pd.concat([_read(path, known_metrics) for path in files], ignore_index=True)
    doubles = points[points.duplicated(KEY, keep="first")]
    if len(doubles):
        row = doubles.iloc[0]
        raise DatasetError(
            f"{folder}: {row['codec']} {row['variant']} {row['published_metric']} of "
            f"{row['source']} on {row['dataset']} stands twice; keep one"
        )
    return points


def _read(path: Path, known_metrics: Collection[str] | None) -> pd.DataFrame:
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8")
    except (OSError, ValueError) as error:
        raise DatasetError(f"cannot read {path}: {error}") from error
    if tuple(table.columns) != COLUMNS:
        raise DatasetError(f"{path}: expected the columns {','.join(COLUMNS)}")
    for index, row in enumerate(table.to_dict("records"), start=2):
        cells = {str(name): str(value) for name, value in row.items()}
        problem = next(_problems(cells, known_metrics), None)
        if problem:
            raise DatasetError(f"{path}, line {index}: {problem}")
    for name in ("kbps", "tokens_per_s", "value"):
        table[name] = pd.to_numeric(table[name].replace("", None))
    for name in ("secondary", "comparable"):
        table[name] = table[name] == "true"
    return table


def _problems(row: Mapping[str, str], known_metrics: Collection[str] | None) -> Iterator[str]:
    """Yield what is wrong with a row, if anything."""
    yield from (f"{name} is empty" for name in REQUIRED if not row[name].strip())
    for name in ("kbps", "tokens_per_s"):
        if row[name] and not _number(row[name]) > 0:
            yield f"{name} is {row[name]!r}, expected a number above 0 or nothing"
    if not math.isfinite(_number(row["value"])):
        yield f"value is {row['value']!r}, expected a number"
    for name in ("secondary", "comparable"):
        if row[name] not in ("true", "false"):
            yield f"{name} is {row[name]!r}, expected true or false"
    yield from _contradictions(row, known_metrics)


def _contradictions(row: Mapping[str, str], known_metrics: Collection[str] | None) -> Iterator[str]:
    if row["domain"] not in DOMAINS:
        yield f"domain is {row['domain']!r}, expected one of {', '.join(DOMAINS[:-1])} or nothing"
    if row["comparable"] == "true" and not (row["metric"] and row["domain"]):
        yield "comparable, but without a metric of ours or a domain"
    if row["comparable"] == "false" and not row["note"]:
        yield "not comparable, but the note does not say why"
    if row["metric"] and known_metrics is not None and row["metric"] not in known_metrics:
        yield f"metric {row['metric']!r} is none of ours; leave it empty"


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


def drawable(points: pd.DataFrame) -> pd.DataFrame:
    """Return the points for curves, with :data:`DRAWABLE_COLUMNS`.

    Only those that share metric and domain with ours and have a bitrate.
    """
    chosen = points[points["comparable"] & points["kbps"].notna()]
    return chosen[list(DRAWABLE_COLUMNS)].reset_index(drop=True)


def points_of_run(results: Results, summary: pd.DataFrame, points: pd.DataFrame) -> pd.DataFrame:
    """Return the points for the curves of one run.

    Those of its own codec families, as they were published (no retrained or cut variants), where
    the run has values of that metric in that domain.

    Args:
        results: The run.
        summary: Its means.
        points: All published points.
    """
    chosen = drawable(points)
    families = {info.family for info in results.codecs.values()}
    chosen = chosen[chosen["codec"].isin(families) & chosen["variant"].isin(PLAIN_VARIANTS)]
    measured = summary.loc[summary["mean"].notna(), ["metric", "domain"]].drop_duplicates()
    return chosen.merge(measured, on=["metric", "domain"])


def write_appendix(results: Results, drawn: pd.DataFrame, points: pd.DataFrame, path: Path) -> None:
    """Write the published points of a run's codec families that no curve shows, as CSV.

    Args:
        results: The run.
        drawn: From :func:`points_of_run`.
        points: All published points.
        path: The file; not written where there is nothing to list.
    """
    families = {info.family for info in results.codecs.values()}
    mine = points[points["codec"].isin(families)]
    shown = mine.merge(drawn[list(DRAWABLE_COLUMNS)], how="left", indicator=True)
    rest = mine[(shown["_merge"] == "left_only").to_numpy()]
    path.unlink(missing_ok=True)
    if len(rest):
        order = ["codec", "variant", "kbps", "published_metric", "dataset", "source"]
        rest.sort_values(order).to_csv(path, index=False)


def appendix(points: pd.DataFrame) -> pd.DataFrame:
    """Return the points that are listed and not drawn, sorted."""
    rest = points[~points["comparable"] | points["kbps"].isna()]
    order = ["codec", "variant", "kbps", "published_metric", "dataset", "source"]
    return rest.sort_values(order, ignore_index=True)


def compare_with_published(
    results: Results, points: pd.DataFrame, names: Mapping[str, tuple[str, str]] | None = None
) -> pd.DataFrame:
    """Return our means beside published values of the same codec, bitrate, metric and domain.

    Only comparable points of the codec as it was published, unless ``names`` says that a codec
    point is a retrained or cut variant. The clips differ, unless ``published_dataset`` names ours;
    the difference is no test of anything.

    Args:
        results: The run.
        points: All published points.
        names: Codec id -> codec and variant as the points name them, where the family is not it.

    Returns:
        :data:`COMPARISON_COLUMNS`; ``difference`` is ours minus published.

    Raises:
        UsageError: If nothing in the run has a published counterpart.
    """
    chosen = drawable(points).rename(columns={"value": "published", "kbps": "their_kbps"})
    chosen["published_as"] = list(map(_full_name, chosen["codec"], chosen["variant"]))
    ours = results.table()
    ours["our_kbps"] = ours["nominal_kbps"].fillna(ours["measured_kbps"])
    known = {codec: _full_name(*name) for codec, name in (names or {}).items()}
    ours["published_as"] = ours["codec"].map(known).fillna(ours["family"])
    both = ours.merge(
        chosen.drop(columns=["codec", "variant"]), on=["published_as", "metric", "domain"]
    )
    apart = (both["our_kbps"] - both["their_kbps"]).abs() / both["their_kbps"]
    both = both[(apart <= RATE_TOLERANCE) & both["mean"].notna()]
    if both.empty:
        raise UsageError(
            "no published point has a codec, bitrate, metric and domain of this run; "
            f"published are {', '.join(sorted(set(chosen['published_as'])))}"
        )
    both = both.assign(kbps=both["our_kbps"], difference=both["mean"] - both["published"])
    both = both.rename(columns={"mean": "ours", "dataset": "published_dataset"})
    return both[list(COMPARISON_COLUMNS)].reset_index(drop=True)


def _full_name(codec: str, variant: str) -> str:
    """Return a codec's name, with the variant where it is not the codec as published."""
    return codec if variant in PLAIN_VARIANTS else f"{codec} {variant}"
