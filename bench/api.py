"""The Python API: ``bench.run``, ``score``, ``load``, ``bd_rate``, ``speed``.

Example:
    >>> import bench
    >>> results = bench.run("demo", codecs=["opus@6kbps", "opus@12kbps"], metrics=["pesq-wb"],
    ...                     limit=2, out="runs/opus")                          # doctest: +SKIP
    >>> results.table()[["codec", "domain", "mean", "ci_low", "ci_high"]]      # doctest: +SKIP
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from bench.clips import Clip, parse_domain, select
from bench.datasets import load_catalog
from bench.manifest import describe_environment
from bench.metrics import metric_names
from bench.plan import DEFAULT_CODECS, Plan, check_codec_id, expand_codec_ids, make_plan
from bench.results import Results
from bench.runner import Execution, Progress, run_plan
from bench.scoring import score_folders
from bench.stats.bd_table import bd_table

if TYPE_CHECKING:
    from bench.analysis.output import Analysis


def load(path: str | Path) -> Results:
    """Open what an earlier run measured.

    Args:
        path: The run's folder.

    Raises:
        BenchError: If there are no results.
    """
    return Results.load(Path(path))


def run(
    dataset: str | Path = "demo",
    codecs: Sequence[str] = DEFAULT_CODECS,
    metrics: Sequence[str] | None = None,
    *,
    out: str | Path,
    domains: Sequence[str] | None = None,
    limit: int | None = None,
    seed: int = 0,
    device: str = "auto",
    execution: Execution | None = None,
    progress: Progress | None = None,
    datasets_file: Path | None = None,
) -> Results:
    """Code and score a dataset, and return everything measured so far in ``out``.

    What ``out`` already holds is not computed again.

    Args:
        dataset: Name in datasets.yaml, or a folder of audio.
        codecs: Codec ids; a family alone stands for its usual operating points.
        metrics: Metric names; None: all of them.
        out: The run's folder.
        domains: Keep clips of these domains only.
        limit: Keep that many clips of each domain, drawn by ``seed``.
        seed: Of everything random.
        device: Where neural codecs run: ``auto`` (a GPU where there is one), ``cpu``, ``cuda``.
        execution: Worker processes, time limits, what is kept.
        progress: Who is told how far it is.
        datasets_file: More datasets than those of datasets.yaml.

    Raises:
        UsageError: If a name is unknown or nothing is selected.
        BenchError: If ``out`` cannot be used.
    """
    clips = find_clips(dataset, domains=domains, limit=limit, seed=seed, file=datasets_file)
    names = list(metrics) if metrics is not None else list(metric_names())
    plan = make_plan(clips, expand_codec_ids(codecs), names, seed=seed, device=device)
    return run_prepared(plan, Path(out), execution or Execution(), progress)


def run_prepared(
    plan: Plan, out: Path, execution: Execution, progress: Progress | None = None
) -> Results:
    """Run a plan and return its results; see :func:`run`."""
    manifest = describe_environment(plan.seed, execution.workers, device=plan.device)
    run_plan(plan, out, manifest, execution, progress)
    return Results.load(out)


def find_clips(
    dataset: str | Path,
    *,
    domains: Sequence[str] | None = None,
    limit: int | None = None,
    seed: int = 0,
    file: Path | None = None,
    domain: str | None = None,
) -> list[Clip]:
    """Return the chosen clips of a dataset, or of a folder of audio.

    Args:
        dataset: Name in datasets.yaml, or a folder.
        domains: Keep clips of these domains only.
        limit: Keep that many clips of each domain.
        seed: Which ones ``limit`` keeps.
        file: More datasets than those of datasets.yaml.
        domain: Of a folder's clips; None: told by sub-folders.

    Raises:
        UsageError: If there is no such dataset or domain.
        DatasetError: If its files are not there or not as they should be.
    """
    catalog = load_catalog(extra=file)
    wanted = [parse_domain(name) for name in domains] if domains else None
    found = catalog.find(str(dataset), domain=parse_domain(domain) if domain else None)
    return select(found.clips(), limit=limit, domains=wanted, seed=seed)


def score(
    reference: str | Path,
    degraded: str | Path,
    *,
    domain: str,
    metrics: Sequence[str] | None = None,
    out: str | Path,
    transcripts: str | Path | None = None,
    execution: Execution | None = None,
    progress: Progress | None = None,
) -> Results:
    """Score files that somebody else decoded against their originals.

    Args:
        reference: Folder of originals.
        degraded: Folder of reconstructions with the same names (endings may differ).
        domain: What kind of audio it is.
        metrics: Metric names; None: all of them.
        out: Folder for the results; what it already holds is not computed again.
        transcripts: CSV or JSONL with ``clip`` (or ``path``) and ``text``; None: texts beside
            the originals.
        execution: Worker processes, time limits.
        progress: Who is told how far it is.

    Raises:
        UsageError: If a folder or name is wrong.
    """
    return score_folders(
        Path(reference),
        Path(degraded),
        Path(out),
        domain=parse_domain(domain),
        metrics=list(metrics) if metrics is not None else list(metric_names()),
        transcripts=Path(transcripts) if transcripts else None,
        execution=execution or Execution(),
        progress=progress,
    )


def probe(
    tasks: Sequence[str] | None = None,
    codecs: Sequence[str] | None = None,
    *,
    out: str | Path,
    **options: Any,
) -> "Analysis":
    """Train small classifiers on codecs' tokens and reconstructions.

    Args:
        tasks: Task names; None: the three bundled ones, which need no download.
        codecs: Codec ids; None: those of the command.
        out: A run's folder; written to ``out/analysis/probes``.
        **options: As in :func:`bench.probes.run.probe`.

    Returns:
        ``tables["probes"]`` and ``tables["probe_tasks"]``: tidy tables.

    Raises:
        UsageError: If a name is unknown.
        DatasetError: If a task's audio is not there.
    """
    from bench.probes import run as probes

    return probes.probe(tasks, codecs, out=out, **options)


def token_statistics(
    dataset: str | Path = "demo",
    codecs: Sequence[str] | None = None,
    *,
    out: str | Path,
    domains: Sequence[str] | None = None,
    limit: int | None = None,
    seed: int = 0,
    **options: Any,
) -> "Analysis":
    """Tell what codecs' tokens are like, and write it to ``out/analysis/tokens``.

    Args:
        dataset: Name in datasets.yaml, or a folder of audio.
        codecs: Codec ids; None: those of the command.
        out: A run's folder.
        domains: Keep clips of these domains only.
        limit: Keep that many clips of each domain.
        seed: Of everything random.
        **options: As in :func:`bench.analysis.run.token_statistics`.

    Returns:
        ``tables["tokens"]``, ``["token_information"]``, ``["token_stability"]``,
        ``["generations"]``: tidy tables.

    Raises:
        UsageError: If a name is unknown or nothing is selected.
    """
    from bench.analysis import run as analysis

    clips = find_clips(dataset, domains=domains, limit=limit, seed=seed)
    return analysis.token_statistics(clips, codecs, out=out, seed=seed, **options)


def robustness(
    dataset: str | Path = "demo",
    codecs: Sequence[str] | None = None,
    *,
    out: str | Path,
    domains: Sequence[str] | None = None,
    limit: int | None = 3,
    seed: int = 0,
    **options: Any,
) -> "Analysis":
    """Damage payloads and measure what is left; write it to ``out/analysis/robustness``.

    Args:
        dataset: Name in datasets.yaml, or a folder of audio.
        codecs: Codec ids; None: those of the command.
        out: A run's folder.
        domains: Keep clips of these domains only.
        limit: Keep that many clips of each domain.
        seed: Of everything random.
        **options: As in :func:`bench.analysis.run.robustness`.

    Returns:
        ``tables["robustness"]`` and ``tables["long_audio"]``: tidy tables.

    Raises:
        UsageError: If a name is unknown or nothing is selected.
    """
    from bench.analysis import run as analysis

    clips = find_clips(dataset, domains=domains, limit=limit, seed=seed)
    return analysis.robustness(clips, codecs, out=out, seed=seed, **options)


def bd_rate(
    results: Results | str | Path,
    first: str | None = None,
    second: str | None = None,
    *,
    metrics: Sequence[str] | None = None,
    method: str = "pchip",
    seed: int = 0,
) -> pd.DataFrame:
    """Return the bitrate a codec saves at equal quality, and the quality it gains at equal bitrate.

    Args:
        results: A run, or its folder.
        first: A codec, named without its operating points (``opus``); None: every one.
        second: What is compared with it, second minus first; None: every other.
        metrics: Which metrics; None: all that have a better and a worse.
        method: How the curves are drawn: ``pchip``, ``akima`` or ``cubic``.
        seed: Of the bootstrap over clips.

    Returns:
        One row per pair, domain and metric; see :func:`bench.stats.bd_table.bd_table`.

    Raises:
        UsageError: If a name is unknown or there are no two codecs to compare.
    """
    found = results if isinstance(results, Results) else load(results)
    return bd_table(found, first, second, metrics=metrics, method=method, seed=seed)


def speed(
    codecs: Sequence[str] | None = None,
    *,
    devices: Sequence[str] = ("cpu",),
    dataset: str | Path = "demo",
    seconds: float = 10.0,
    repeats: int = 5,
    threads: int = 1,
    timeout_s: float = 900.0,
    out: str | Path | None = None,
    progress: Callable[[str], None] = lambda _: None,
) -> pd.DataFrame:
    """Measure how fast codecs are and what they cost, each in a fresh process.

    Args:
        codecs: Codec ids; None: those of the run in ``out``, or the usual ones.
        devices: Where neural codecs run, e.g. ``("cpu", "cuda")``.
        dataset: Whose first clip is coded.
        seconds: Of audio in one pass; the clip is cut or repeated to that.
        repeats: Passes that are counted, after one that is not.
        threads: Of each process.
        timeout_s: For all passes of one codec.
        out: A run's folder to add the tables to; None: nothing is written.
        progress: Told which codec is measured now.

    Returns:
        One row per codec and device, :data:`bench.timing.speed.SPEED_COLUMNS`: real-time factors,
        latency to first audio, memory, parameters, operations; a codec that could not be measured
        has a status and a reason instead of numbers.

    Raises:
        UsageError: If a name is unknown or an option cannot be.
    """
    from bench.timing.speed import measure_speed, speed_table, write_speed

    folder = Path(out) if out is not None else None
    chosen = expand_codec_ids(codecs) if codecs else _codecs_of(folder)
    for codec_id in chosen:
        check_codec_id(codec_id)
    costs = measure_speed(
        chosen,
        find_clips(dataset)[0].read(),
        devices=devices,
        seconds=seconds,
        repeats=repeats,
        threads=threads,
        timeout_s=timeout_s,
        progress=progress,
    )
    if folder is None:
        return speed_table(costs, threads)
    return write_speed(costs, folder, threads=threads)


def _codecs_of(folder: Path | None) -> list[str]:
    """Return the codecs of a run that cost something, or the usual ones."""
    if folder is None or not Results.is_in(folder):
        return list(DEFAULT_CODECS)
    codecs = load(folder).codecs.values()
    return [info.codec_id for info in codecs if info.kind != "anchor"]
