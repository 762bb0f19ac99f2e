"""Turn results into everything that is looked at: tables, plots, the HTML report."""

import hashlib
import io
import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

import bench
from bench.results import Results

#: Metrics of the console's short table, in this order, as far as they were measured.
HEADLINE_METRICS = (
    "visqol-audio-48k",
    "visqol-speech-exp",
    "mel-dac-eval",
    "pesq-wb",
    "stoi",
    "wer",
    "dwer",  # only where there are no transcripts
)


@dataclass(frozen=True)
class Published:
    """What was written.

    Attributes:
        report: The HTML report's first page.
        summary: A short table for the console.
    """

    report: Path
    summary: str


def publish(
    results: Results, folder: Path, *, reference: str | None = None, force: bool = False
) -> Published:
    """Write ``tables/``, ``plots/``, ``analysis/``, ``report/`` and ``rows.csv`` into ``folder``.

    Whatever else lies in ``analysis/`` gets a tab of the report too.

    Nothing is written again while neither results nor this package changed.

    Args:
        results: What a run measured.
        folder: The run's folder.
        reference: Codec id that the others are compared with.
        force: Write in any case.

    Raises:
        UsageError: If the reference is not among the codecs.
    """
    # Drawing libraries are loaded when something is drawn.
    from bench.reporting.analysis import read_tabs
    from bench.reporting.html import Figure, write_report
    from bench.reporting.layout import with_declared_bitrates
    from bench.reporting.plots import draw_curves
    from bench.reporting.rate_distortion import write_rate_distortion
    from bench.reporting.reference_points import load_points, points_of_run, write_appendix
    from bench.reporting.speed_plots import draw_speed
    from bench.reporting.tables import write_tables

    report, stamp = folder / "report" / "index.html", folder / "report" / "stamp.txt"
    short = folder / "tables" / "summary.txt"
    rows_hash = _hash_rows(results.rows)
    digest = _digest(results, rows_hash, reference, folder)
    if not force and _read_stamp(stamp).get("digest") == digest and short.is_file():
        return Published(report, short.read_text(encoding="utf-8"))
    stamp.unlink(missing_ok=True)
    summary = results.table(reference=reference)
    write_tables(results, folder / "tables", summary)
    curves = with_declared_bitrates(summary)  # a recording stands where it is declared
    points = load_points()
    published = points_of_run(results, summary, points)
    write_appendix(results, published, points, folder / "tables" / "published.csv")
    drawn = draw_curves(
        results, folder / "plots", summary=curves, published=published if len(published) else None
    )
    figures = [
        Figure(curve.title, curve.svg, curve.metric, curve.domain, curve.csv, curve.png)
        for curve in drawn
    ]
    headlines = _headlines(summary)
    write_rate_distortion(results, folder, headlines)
    draw_speed(results, summary, folder, headlines)
    write_report(
        results, folder / "report", summary=summary, figures=figures, tabs=read_tabs(folder)
    )
    shutil.copyfile(report.parent / "data" / "rows.csv", folder / "rows.csv")
    text = console_summary(results, summary)
    short.write_text(text, encoding="utf-8")
    kept = {"digest": _digest(results, rows_hash, reference, folder), "reference": reference}
    stamp.write_text(json.dumps(kept))
    return Published(report, text)


def refresh(folder: Path) -> Path | None:
    """Write a run's report again, compared with the same reference codec as before.

    For those who have put something into ``analysis/``.

    Returns:
        The report's first page; None if the folder holds no run.
    """
    if not Results.is_in(folder):
        return None
    reference = _read_stamp(folder / "report" / "stamp.txt").get("reference")
    return publish(Results.load(folder), folder, reference=reference).report


def _read_stamp(path: Path) -> dict[str, str | None]:
    """Return what the last report was made of and compared with; nothing without a report."""
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return kept if isinstance(kept, dict) else {}


def _hash_rows(rows: pd.DataFrame) -> bytes:
    return pd.util.hash_pandas_object(rows.astype(str), index=False).to_numpy().tobytes()


def _digest(results: Results, rows_hash: bytes, reference: str | None, folder: Path) -> str:
    """Return a hash of everything the artefacts depend on."""
    from bench.reporting.analysis import FOLDER

    identity = json.dumps([bench.__version__, _source_hash(), reference, list(results.codecs)])
    files = sorted(path for path in (folder / FOLDER).rglob("*") if path.is_file())
    beside = [str(path.relative_to(folder)).encode() + path.read_bytes() for path in files]
    parts = [rows_hash, identity.encode(), *beside]
    return hashlib.sha256(b"".join(parts)).hexdigest()


def _source_hash() -> str:
    """Return a hash of the reporting code and the published points, so that newer ones show."""
    from bench.reporting.reference_points import reference_folder

    files = sorted(Path(__file__).parent.rglob("*.*")) + sorted(reference_folder().glob("*.csv"))
    kinds = (".py", ".j2", ".css", ".js", ".csv")
    parts = [path.read_bytes() for path in files if path.suffix in kinds]
    return hashlib.sha256(b"".join(parts)).hexdigest()


def _headlines(summary: pd.DataFrame) -> list[str]:
    """Return the headline metrics that were measured."""
    measured = set(summary.loc[summary["n"] > 0, "metric"])
    names = [name for name in HEADLINE_METRICS if name in measured]
    if {"wer", "dwer"} <= set(names):
        names.remove("dwer")
    return names


def console_summary(results: Results, summary: pd.DataFrame) -> str:
    """Return a short table per domain: codec points by a few headline metrics."""
    from rich.console import Console

    from bench.reporting.layout import build_tables
    from bench.reporting.tables import to_console

    names = _headlines(summary) or list(results.metrics)[:5]
    short = summary[summary["metric"].isin(names)]
    console = Console(file=io.StringIO(), width=150, color_system=None)
    console.print(to_console(build_tables(results, short)), crop=False)
    assert isinstance(console.file, io.StringIO)
    return "\n".join(line.rstrip() for line in console.file.getvalue().splitlines()) + "\n"
