"""What each command of the command line does. Every function returns the exit code."""

import argparse
import csv
import math
import sys
import textwrap
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd
from rich.console import Console
from rich.table import Table

from bench import metrics
from bench.errors import BenchError, Status, UsageError
from bench.progress import console_progress
from bench.runner import Execution, coding_tasks, scoring_tasks

if TYPE_CHECKING:
    from bench.plan import Plan
    from bench.reporting.baseline import Tolerance
    from bench.results import Results

#: What ``score`` writes first; more columns follow.
SCORE_COLUMNS = ("clip", "metric", "value", "status", "reason", "message", "detail")

#: Columns of a table that goes to a file or a pipe, where nothing says how wide it may be.
PIPE_COLUMNS = 180
out_console = Console(width=None if sys.stdout.isatty() else PIPE_COLUMNS)
error_console = Console(stderr=True)


def say(text: str) -> None:
    """Tell the user something that is not the result."""
    print(text, file=sys.stderr, flush=True)


# --- run -----------------------------------------------------------------------------------------


def run(options: argparse.Namespace) -> int:
    """Code, score, report."""
    from bench.api import find_clips, run_prepared
    from bench.plan import DEFAULT_CODECS, all_codec_ids, expand_codec_ids, make_plan

    clips = find_clips(
        options.dataset,
        domains=options.domains,
        limit=options.limit,
        seed=options.seed,
        file=options.datasets_file,
        domain=options.domain,
    )
    if options.shard:
        part, parts = options.shard
        clips = clips[part - 1 :: parts]
    names = options.codecs or list(DEFAULT_CODECS)
    codec_ids = all_codec_ids() if names == ["all"] else expand_codec_ids(names)
    plan = make_plan(clips, codec_ids, _metrics(options), seed=options.seed, device=options.device)
    execution = _execution(options, keep_audio=not options.no_audio)
    if options.dry_run:
        return _dry_run(plan, options.out, execution)
    with console_progress(error_console, plain=options.plain) as progress:
        results = run_prepared(plan, options.out, execution, progress)
    if not options.no_report:
        _publish(results, options.out, options.reference_codec)
    return _exit_code(results.rows)


def _metrics(options: argparse.Namespace) -> list[str]:
    return options.metrics or list(metrics.metric_names())


def _execution(options: argparse.Namespace, *, keep_audio: bool = True) -> Execution:
    return Execution(
        jobs=options.jobs,
        executor=options.executor,
        address=options.address,
        gpus=options.gpus,
        worker_memory_mb=options.worker_memory,
        task_timeout_s=options.task_timeout,
        keep_audio=keep_audio,
        retry_failed=options.retry_failed,
    )


def _dry_run(plan: "Plan", folder: Path, execution: Execution) -> int:
    """Print what a run would do."""
    from bench.store import FILE_NAME, Store

    print(f"{len(plan.clips)} clips, {len(plan.codecs)} codec points, {len(plan.metrics)} metrics")
    for codec in plan.codecs:
        reason = codec.info.unavailable_reason
        print(f"  {codec.info.codec_id}" + (f"  NOT AVAILABLE: {reason}" if reason else ""))
    for info in plan.metrics:
        state = f"NOT AVAILABLE: {info.unavailable_reason}" if info.unavailable_reason else ""
        print(f"  {info.name}  ({', '.join(info.domains)})  {state}".rstrip())
    if (folder / FILE_NAME).is_file():
        store = Store(folder)
        done = store.counts()
        todo = len(coding_tasks(plan, store, execution)), len(scoring_tasks(plan, store, execution))
        print(f"{folder} holds {done[0]} codings and {done[1]} scores")
        print(f"left to do: {todo[0]} coding tasks, at least {todo[1]} scoring tasks")
    print(f"{execution.workers} workers; results go to {folder}")
    return 0


def _publish(results: "Results", folder: Path, reference: str | None) -> None:
    """Write tables, plots and report, unless they show these results already."""
    from bench.reporting.publish import publish

    published = publish(results, folder, reference=reference)
    out_console.print(published.summary, highlight=False, soft_wrap=True)
    say(f"report: {published.report}")


def _exit_code(rows: pd.DataFrame) -> int:
    """Return 1 if a row failed or there is no value at all, and say why."""
    failed = rows[rows["status"] == Status.FAILED]
    if not (rows["status"] == Status.OK).any() and failed.empty:
        say("nothing was measured: everything was skipped, for the reasons above")
        return 1
    if failed.empty:
        return 0
    kinds = (failed["metric"] + ": " + failed["reason"]).value_counts().head(6)
    text = ", ".join(f"{kind} x{n}" for kind, n in kinds.items())
    say(f"{len(failed)} of {len(rows)} rows failed ({text}); the report lists them")
    return 1


# --- score ---------------------------------------------------------------------------------------


def score(options: argparse.Namespace) -> int:
    """Score files that somebody else decoded."""
    from bench import api

    with console_progress(error_console, plain=options.plain) as progress:
        results = api.score(
            options.reference,
            options.degraded,
            domain=options.domain,
            metrics=_metrics(options),
            out=options.out.with_suffix(".run"),
            transcripts=options.transcripts,
            execution=_execution(options),
            progress=progress,
        )
    rows = results.rows
    ordered = rows[list(SCORE_COLUMNS)].sort_values(["clip", "metric"], kind="stable")
    write_rows(ordered, options.out)
    counts = rows["status"].value_counts()
    say(f"{options.out}: " + ", ".join(f"{n} {status}" for status, n in counts.items()))
    return _exit_code(rows)


def write_text(path: Path, text: str) -> None:
    """Write a text file.

    Raises:
        BenchError: If it cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise BenchError(f"cannot write {path}: {error.strerror}") from error


def write_rows(rows: pd.DataFrame, path: Path) -> None:
    """Write rows as CSV (or Parquet, by the ending), with full precision.

    Raises:
        BenchError: If the file cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(path.name + ".part")
        if path.suffix == ".parquet":
            rows.to_parquet(partial, index=False)
        else:
            rows.to_csv(partial, index=False, quoting=csv.QUOTE_MINIMAL)
        partial.replace(path)
    except OSError as error:
        raise BenchError(f"cannot write {path}: {error.strerror}") from error


# --- report, compare, baseline -------------------------------------------------------------------


def report(options: argparse.Namespace) -> int:
    """Write a run's tables, plots and report once more."""
    from bench.reporting.publish import publish

    results = _load(options.folder)
    if options.export:
        write_rows(results.rows, options.export)
    published = publish(results, options.folder, reference=options.reference_codec, force=True)
    out_console.print(published.summary, highlight=False, soft_wrap=True)
    say(f"report: {published.report}")
    return 0


def compare(options: argparse.Namespace) -> int:
    """Compare two runs, or two codecs of one."""
    from bench.stats.compare import compare_codecs, compare_runs

    if options.published:
        return _compare_published(options.first, options.out)
    first = _load(options.first)
    if options.second:
        table = compare_runs(first, _load(options.second), options.codecs)
    elif options.codecs and len(options.codecs) == 2:
        table = compare_codecs(first, *options.codecs)
    else:
        raise UsageError("compare takes two runs, or one run and --codecs FIRST,SECOND")
    _print_comparison(table)
    if options.out:
        write_rows(table, options.out)
    return 0


def _load(folder: Path) -> "Results":
    """Return a run, systems of a paper's audio by their own names."""
    from bench.paper import named
    from bench.results import Results

    return named(Results.load(folder))[0]


def _compare_published(folder: Path, out: Path | None) -> int:
    """Print our means beside published ones."""
    from bench.paper import named
    from bench.reporting.reference_points import compare_with_published, load_points
    from bench.results import Results

    results, as_published = named(Results.load(folder))
    table = compare_with_published(results, load_points(), as_published)
    headings = ("codec", "domain", "metric", "ours", "published", "difference", "clips", "source")
    rows: list[list[str]] = []
    for row in table.to_dict("records"):
        values = [f"{row['ours']:.4g}", f"{row['published']:.4g}", f"{row['difference']:+.3g}"]
        source = f"{row['source']}{' (secondary)' if row['secondary'] else ''}"
        names = [str(row[name]) for name in ("codec", "domain", "metric")]
        rows.append([*names, *values, str(row["n"]), source])
    print_table("ours minus published; the clips differ", headings, rows)
    if out:
        write_rows(table, out)
    return 0


def _print_comparison(table: pd.DataFrame) -> None:
    title = "second minus first, on the clips both have; ties have p >= 0.05"
    headings = ("codec", "domain", "metric", "first", "second", "difference", "95 %", "p", "clips")
    rows: list[list[str]] = []
    for row in table.to_dict("records"):
        names = [str(row[name]) for name in ("codec", "domain", "metric")]
        means = [f"{row['first']:.4g}", f"{row['second']:.4g}", f"{row['difference']:+.3g}"]
        interval = f"{row['diff_low']:.3g} .. {row['diff_high']:.3g}"
        outcome = "tie" if row["tie"] else f"{row['p_value']:.2g}"
        rows.append([*names, *means, interval, outcome, str(row["n_pairs"])])
    print_table(title, headings, rows)


def baseline(options: argparse.Namespace) -> int:
    """Save a baseline, or check a run against one."""
    from bench.reporting import gate

    results = _load(options.folder)
    tolerances = dict(_tolerance(text) for text in options.tolerance)
    if options.action == "save":
        gate.save_baseline(results, options.file, tolerances=tolerances)
        say(f"baseline: {options.file}")
        return 0
    found = gate.check(results, options.file, tolerances=tolerances, subset=options.subset)
    if options.junit:
        write_text(options.junit, gate.to_junit(found))
    if options.summary:
        write_text(options.summary, gate.to_markdown(found))
    print(gate.to_markdown(found))
    return found.exit_code


def _tolerance(text: str) -> tuple[str, "Tolerance"]:
    """Read ``METRIC=MEAN`` or ``METRIC=MEAN:CLIP``, in the metric's unit."""
    from bench.reporting.baseline import Tolerance, default_tolerance

    name, _, values = text.rpartition("=")
    mean, _, clip = values.partition(":")
    usual = default_tolerance(name)
    usual_clip = usual.clip if usual and not usual.relative else math.inf
    try:
        return name, Tolerance(float(mean), float(clip) if clip else usual_clip)
    except ValueError:
        raise UsageError(f"--tolerance takes METRIC=MEAN[:CLIP], got {text!r}") from None


# --- paper ---------------------------------------------------------------------------------------


def paper(options: argparse.Namespace) -> int:
    """Score the audio released with a paper, and set the paper's values beside."""
    from bench.paper import run_paper, write_paper

    with console_progress(error_console, plain=options.plain) as progress:
        done = run_paper(
            options.audio,
            options.out,
            transcripts=options.transcripts,
            metrics=options.metrics,
            execution=_execution(options),
            progress=progress,
        )
    for line in done.gaps():
        say(line)
    say(f"comparison with the paper: {write_paper(done, options.out)}")
    say(f"scores: {options.out / 'scores.csv'}")
    return _exit_code(done.results.rows)


# --- list, doctor, fetch -------------------------------------------------------------------------


def list_names(options: argparse.Namespace) -> int:
    """Show codecs, metrics and datasets."""
    parts = {"codecs": _list_codecs, "metrics": _list_metrics, "datasets": _list_datasets}
    for name in [options.what] if options.what else parts:
        print(f"{name.upper()}\n")
        parts[name](options)
        print()
    return 0


def _list_codecs(_: argparse.Namespace) -> None:
    from codec_zoo.registry import codec_class, families

    for family in families():
        found = codec_class(family)
        points = f"@{{{','.join(found.points)}}}" if found.points else ""
        _print_entry(f"{family}{points}", found.summary, found.unavailable_reason())


def _list_metrics(_: argparse.Namespace) -> None:
    for name in metrics.metric_names():
        metric = metrics.create(name)
        domains = "all domains" if len(metric.domains) == 3 else ", ".join(sorted(metric.domains))
        better = {True: "higher is better", False: "lower is better", None: ""}
        facts = filter(None, [domains, metric.unit, better[metric.higher_is_better]])
        heading = f"{name}  ({'; '.join(facts)})"
        _print_entry(heading, metric.summary, metric.unavailable_reason())


def _list_datasets(options: argparse.Namespace) -> None:
    from bench.datasets import load_catalog

    for name, dataset in load_catalog(extra=options.datasets_file).items():
        remedy = f"run_bench.py fetch {name}" if dataset.sources else dataset.supply
        missing = None if dataset.folder().is_dir() else f"not here; {remedy}"
        _print_entry(f"{name}  ({dataset.license})", dataset.title, missing)


def _print_entry(heading: str, text: str, missing: str | None) -> None:
    """Print one thing of a list, and why it is not available if it is not."""
    print(heading)
    print(textwrap.fill(text, 96, initial_indent="    ", subsequent_indent="    "))
    if missing:
        print(f"    NOT AVAILABLE: {missing}")


def print_table(title: str, headings: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print a table for people."""
    table = Table(title=title, title_justify="left")
    for heading in headings:
        table.add_column(heading, overflow="fold")  # a cut name would be no name
    for row in rows:
        table.add_row(*row)
    out_console.print(table)


def doctor(options: argparse.Namespace) -> int:
    """Check codecs against the contract."""
    from codec_zoo import CodecError
    from codec_zoo.conformance import run_conformance

    failed = False
    for codec_id in options.codec:
        try:
            checks = run_conformance(codec_id)
        except (CodecError, ImportError) as error:
            raise UsageError(str(error)) from error
        rows = [(check.name, str(check.status), check.message) for check in checks]
        print_table(codec_id, ("check", "result", "what was seen"), rows)
        failed |= any(check.status == "failed" for check in checks)
    return int(failed)


def fetch(options: argparse.Namespace) -> int:
    """Download a dataset."""
    from bench.datasets import load_catalog
    from bench.fetch import fetch as download
    from bench.fetch import progress_bar

    dataset = load_catalog(extra=options.datasets_file)[options.name]
    with progress_bar() as progress:
        done = download(dataset, options.data, progress=progress)
    for note in done.notes:
        say(note)
    print(done.folder)
    return 0
