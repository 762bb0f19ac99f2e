"""One line per codec point, domain and metric: mean, interval, counts, difference to a reference.

Rows of unlike measurements are refused, failures are counted, and nothing without a value becomes
a number.
"""

import math
import zlib
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypedDict

import pandas as pd

from bench.errors import UsageError, unknown_name
from bench.results import Results
from bench.stats.bootstrap import (
    CONFIDENCE,
    RESAMPLES,
    Distribution,
    FloatArray,
    average,
    bootstrap,
    ratio,
)
from bench.stats.cells import (
    MEAN_OF_DOMAINS,
    Cell,
    Key,
    check_fingerprints,
    collect_cells,
    domain_rank,
)
from bench.stats.coverage import Record, describe, pooled, reason_text, with_unavailable
from bench.stats.paired import (
    SIGNIFICANCE,
    Null,
    average_nulls,
    holm,
    ratio_difference,
    swap_nulls,
)

GROUPS = ("dataset", "codec", "domain", "metric")
SUMMARY_COLUMNS = (
    "codec", "family", "kind", "nominal_kbps", "measured_kbps", "domain", "metric", "mean",
    "ci_low", "ci_high", "n", "n_failed", "n_skipped", "n_pending", "reasons", "statistic",
)  # fmt: skip
DIFFERENCE_COLUMNS = (
    "reference", "difference", "diff_low", "diff_high", "p_value", "n_pairs", "significant", "tie",
)  # fmt: skip


class Drawing(TypedDict):
    """The common arguments of the resampling functions."""

    seed: int
    resamples: int
    stream: int


@dataclass(frozen=True)
class Plan:
    """What is grouped, and how it is resampled."""

    groups: tuple[str, ...]
    seed: int
    confidence: float
    resamples: int

    def get(self, key: Key, group: str) -> str:
        """Return one part of a key; empty if it is not grouped by."""
        return key[self.groups.index(group)] if group in self.groups else ""

    def replace(self, key: Key, **parts: str) -> Key:
        """Return the key with some parts replaced."""
        return tuple(parts.get(name, part) for name, part in zip(self.groups, key, strict=True))

    def batches(
        self, samples: Mapping[Key, FloatArray]
    ) -> Iterator[tuple[list[Key], list[FloatArray], Drawing]]:
        """Yield keys and samples that are resampled together, and the arguments of the drawing.

        They have one size and one domain: domains are averaged, so each draws for itself.
        """
        batches: dict[tuple[str, int], list[Key]] = defaultdict(list)
        for key, sample in samples.items():
            batches[self.get(key, "domain"), len(sample)].append(key)
        for (domain, _), keys in batches.items():
            stream = zlib.crc32(domain.encode())
            drawing = Drawing(seed=self.seed, resamples=self.resamples, stream=stream)
            yield keys, [samples[key] for key in keys], drawing

    def domain_parts(
        self, keys: Collection[Key], measured: Collection[Key]
    ) -> dict[Key, list[Key]]:
        """Return what each mean of domains is made of: every domain where its metric works.

        Args:
            keys: All groups.
            measured: Those with values.
        """
        if "domain" not in self.groups:
            return {}
        domains: dict[Key, set[str]] = defaultdict(set)
        for key in measured:
            domains[self.replace(key, codec="", domain="")].add(self.get(key, "domain"))
        parts = {}
        for key in keys:
            names = sorted(domains[self.replace(key, codec="", domain="")], key=domain_rank)
            if len(names) > 1:
                target = self.replace(key, domain=MEAN_OF_DOMAINS)
                parts[target] = [self.replace(key, domain=name) for name in names]
        return parts


def summarize(
    results: Results,
    *,
    by: Sequence[str] = ("codec", "domain", "metric"),
    reference: str | None = None,
    mean_of_domains: bool = True,
    correct: bool = False,
    seed: int = 0,
    confidence: float = CONFIDENCE,
    resamples: int = RESAMPLES,
) -> pd.DataFrame:
    """Return means (or corpus ratios) with intervals and counts, one row per group.

    Args:
        results: What a run measured.
        by: ``codec`` and ``metric``, and optionally ``domain`` and ``dataset``.
        reference: Codec id that every other codec is compared with, clip by clip.
        mean_of_domains: Add rows whose domain is ``mean of domains``: the plain mean of the domain
            means, as papers print it. Only for metrics of several domains; NaN for a codec that
            lacks one of them.
        correct: Holm correction of the p-values over the codecs of each domain and metric.
        seed: Of all resampling.
        confidence: Of the intervals.
        resamples: Of bootstrap and permutations.

    Returns:
        Columns :data:`SUMMARY_COLUMNS` (after ``dataset``, if asked for), and with a reference
        also :data:`DIFFERENCE_COLUMNS`: codec minus reference on ``n_pairs`` common clips;
        ``tie`` says that the two-sided p-value is at least 0.05. ``measured_kbps`` is the mean
        over clips. ``n`` counts clips with a value; ``n_failed``, ``n_skipped`` and ``n_pending``
        count rows without one, and ``reasons`` says why (``silent_reference:2``). A codec that
        could not run at all keeps its rows, with its reason spelled out.

    Raises:
        MixedFingerprintsError: If rows of one name come from unlike measurements.
        UsageError: If ``by`` or ``reference`` names something that is not there.
    """
    _check_options(results, by, reference)
    check_fingerprints(results.rows)
    plan = Plan(tuple(name for name in GROUPS if name in by), seed, confidence, resamples)
    rows = with_unavailable(results)
    cells = collect_cells(rows, plan.groups)
    records = describe(rows, plan.groups)
    parts = plan.domain_parts(records, cells) if mean_of_domains else {}
    _add_means(records, cells, parts, plan)
    if reference is not None:
        _add_differences(records, cells, parts, plan, reference, correct)
    return _frame(records, results, plan.groups, reference)


def _check_options(results: Results, by: Sequence[str], reference: str | None) -> None:
    for name in by:
        if name not in GROUPS:
            raise unknown_name("group", name, GROUPS)
    if not {"codec", "metric"} <= set(by):
        raise UsageError("a summary is at least by=('codec', 'metric')")
    if reference is not None and reference not in results.codecs:
        raise unknown_name("reference codec", reference, results.codecs)


def _add_means(
    records: dict[Key, Record],
    cells: Mapping[Key, Cell],
    parts: Mapping[Key, list[Key]],
    plan: Plan,
) -> None:
    """Fill in mean, interval and n, and add the means of domains."""
    spreads: dict[Key, Distribution] = {}
    for keys, samples, drawing in plan.batches({key: cells[key].sample for key in cells}):
        spreads |= zip(keys, bootstrap(samples, ratio, **drawing), strict=True)
    statistics = {key: cell.statistic for key, cell in cells.items()}
    for target, sources in parts.items():
        records[target] = pooled([records[key] for key in sources if key in records])
        statistics[target] = MEAN_OF_DOMAINS
        if all(key in spreads for key in sources):
            spreads[target] = average([spreads[key] for key in sources])
    for key, record in records.items():
        record["statistic"] = statistics.get(key, "")
        record |= {"mean": math.nan, "ci_low": math.nan, "ci_high": math.nan, "n": 0}
        if key in spreads:
            interval = spreads[key].interval(plan.confidence)
            record |= {"mean": interval.estimate, "n": interval.n}
            record |= {"ci_low": interval.low, "ci_high": interval.high}


def _add_differences(
    records: Mapping[Key, Record],
    cells: Mapping[Key, Cell],
    parts: Mapping[Key, list[Key]],
    plan: Plan,
    reference: str,
    correct: bool,
) -> None:
    """Fill in the clip-paired difference of every codec to the reference."""
    pairs = _pairs(cells, plan, reference)
    spreads: dict[Key, Distribution] = {}
    nulls: dict[Key, Null] = {}
    random_nulls: dict[Key, Null] = {}
    for keys, samples, drawing in plan.batches(pairs):
        spreads |= zip(keys, bootstrap(samples, ratio_difference, **drawing), strict=True)
        nulls |= zip(keys, swap_nulls(samples, **drawing), strict=True)
        random_nulls |= zip(keys, swap_nulls(samples, **drawing, exact=False), strict=True)
    for target, sources in parts.items():
        if all(key in pairs for key in sources):
            spreads[target] = average([spreads[key] for key in sources])
            nulls[target] = average_nulls([random_nulls[key] for key in sources])
    p_values = {key: null.p_value for key, null in nulls.items()}
    if correct:
        p_values = _corrected(p_values, plan)
    for key, p_value in p_values.items():
        interval = spreads[key].interval(plan.confidence)
        records[key].update(
            reference=reference,
            difference=interval.estimate,
            diff_low=interval.low,
            diff_high=interval.high,
            p_value=p_value,
            n_pairs=interval.n,
            significant=p_value < SIGNIFICANCE,
            tie=not p_value < SIGNIFICANCE,
        )


def _pairs(cells: Mapping[Key, Cell], plan: Plan, reference: str) -> dict[Key, FloatArray]:
    """Return the clips that a codec and the reference have in common, where there are any."""
    pairs = {}
    for key, cell in cells.items():
        other = cells.get(plan.replace(key, codec=reference))
        if other is not None and other is not cell:
            sample = cell.paired_with(other)
            if len(sample):
                pairs[key] = sample
    return pairs


def _corrected(p_values: Mapping[Key, float], plan: Plan) -> dict[Key, float]:
    """Return Holm-corrected p-values; the codecs of one domain and metric are one family."""
    families: dict[Key, list[Key]] = defaultdict(list)
    for key in p_values:
        families[plan.replace(key, codec="")].append(key)
    corrected: dict[Key, float] = {}
    for keys in families.values():
        corrected |= zip(keys, holm([p_values[key] for key in keys]).tolist(), strict=True)
    return corrected


def _frame(
    records: Mapping[Key, Record], results: Results, groups: tuple[str, ...], reference: str | None
) -> pd.DataFrame:
    """Return the records as a table, codecs and metrics in the order they were asked for."""
    columns = [name for name in groups if name == "dataset"]
    columns += [name for name in SUMMARY_COLUMNS if name in groups or name not in GROUPS]
    columns += DIFFERENCE_COLUMNS if reference is not None else ()
    lines = []
    for key, record in records.items():
        line = dict(zip(groups, key, strict=True)) | record
        info = results.codecs.get(line["codec"])
        unavailable = info.unavailable_reason if info and not record["n"] else None
        lines.append(line | {"reasons": unavailable or reason_text(record["reasons"])})
    table = pd.DataFrame(lines, columns=columns)
    if reference is not None:
        table = table.astype({"n_pairs": "Int64", "significant": "boolean", "tie": "boolean"})
    orders = {"codec": list(results.codecs), "metric": list(results.metrics)}
    return table.sort_values(
        [name for name in GROUPS if name in groups],
        key=lambda column: column.map(lambda name: _rank(name, orders.get(str(column.name)))),
        ignore_index=True,
    )


def _rank(name: str, order: list[str] | None) -> tuple[int, str]:
    if order is None:
        return domain_rank(name)
    return (order.index(name) if name in order else len(order)), name
