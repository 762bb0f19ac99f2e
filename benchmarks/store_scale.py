"""Time a store of a million rows: insert, resume, read, summarise, publish, join; and its memory.

    python benchmarks/store_scale.py [--rows 1000000] [--folder DIR] [--report]

Clips, codec points and metrics are made up, no audio is touched. Each step runs in a process of its
own, so that its peak memory is its own. CPU seconds are user and system time of that process.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from bench.audio import Domain
from bench.clips import Clip
from bench.errors import Status
from bench.plan import Plan, PlannedClip, PlannedCodec, coding_key
from bench.results import CodecInfo, MetricInfo, Results
from bench.shards import export, merge
from bench.store import Coding, CodingKey, Score, Store

CODECS, METRICS = 12, 12
STEPS = ("insert", "resume", "load", "table", "rows", "split", "export", "merge")
SHARDS = 8


def main() -> None:
    """Run every step in a new process and print what it took."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rows", type=int, default=1_000_000, help="score rows")
    parser.add_argument("--folder", type=Path, help="keep the store here")
    parser.add_argument("--report", action="store_true", help="also write tables, plots and HTML")
    parser.add_argument("--step", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.step:
        print(json.dumps(measure(options.step, options.rows, options.folder)))
        return
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.folder or Path(scratch)
        for step in (*STEPS, *(["report"] if options.report else [])):
            command = [sys.executable, __file__, "--step", step, "--rows", str(options.rows)]
            done = subprocess.run(
                [*command, "--folder", str(folder)], check=True, capture_output=True, text=True
            )
            facts = json.loads(done.stdout.splitlines()[-1])
            print(f"{step:8s} {facts['cpu_s']:7.1f} CPU s  {facts['wall_s']:7.1f} s  "
                  f"{facts['peak_mb']:6.0f} MB  {facts['note']}", flush=True)  # fmt: skip


def measure(step: str, rows: int, folder: Path) -> dict[str, object]:
    """Run one step and return what it took."""
    start, before = time.perf_counter(), time.process_time()
    note = globals()[f"step_{step}"](rows, folder)
    return {
        "wall_s": time.perf_counter() - start,
        "cpu_s": time.process_time() - before,
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "note": note,
    }


def make_up(rows: int) -> Plan:
    """Return a plan of ``rows`` scores, without reading anything."""
    clips = [
        Clip(f"{index:06d}", "synthetic", Domain.SPEECH, Path(f"{index:06d}.flac"), text="words")
        for index in range(max(1, rows // (CODECS * METRICS)))
    ]
    infos = [
        CodecInfo(f"codec@{k}kbps", "codec", "neural", f"{k:016x}", nominal_kbps=float(k + 1))
        for k in range(CODECS)
    ]
    return Plan(
        codecs=tuple(PlannedCodec(info) for info in infos),
        clips=tuple(PlannedClip(clip, f"{int(clip.id):064x}") for clip in clips),
        metrics=tuple(MetricInfo(f"metric-{k}", f"{k + 99:016x}") for k in range(METRICS)),
    )


def step_insert(rows: int, folder: Path) -> str:
    """Insert as a run does: one transaction for the metrics of one reconstruction."""
    transactions = insert(make_up(rows), folder)
    return f"{transactions} transactions, {(folder / 'results.sqlite').stat().st_size >> 20} MB"


def insert(plan: Plan, folder: Path) -> int:
    """Write the store of a run, and return how many transactions that took."""
    store, transactions = Store(folder, create=True), 0
    store.add_plan(plan.as_dict(), {"started": "2026-01-01", "seed": 0})
    for key, scores in measurements(plan):
        coding = Coding(key, Status.OK, measured_kbps=6.0, duration_s=5.0, encode_s=0.1,
                        decode_s=0.1, peak_memory_mb=500.0)  # fmt: skip
        store.add([coding])
        store.add(scores=scores)
        transactions += 2
    store.close()
    return transactions


def measurements(plan: Plan) -> Iterator[tuple[CodingKey, list[Score]]]:
    """Yield the scores of each reconstruction, clip by clip."""
    rng = np.random.default_rng(0)
    for clip in plan.clips:
        for codec in plan.codecs:
            key = coding_key(codec, clip)
            values = rng.normal(3.0, 0.5, len(plan.metrics)).tolist()
            yield key, [Score(key, info.fingerprint, Status.OK, value=value)
                        for info, value in zip(plan.metrics, values, strict=True)]  # fmt: skip


def step_resume(rows: int, folder: Path) -> str:
    """Find out what is left to do: nothing."""
    from bench.runner import Execution, coding_tasks, scoring_tasks

    plan, store = make_up(rows), Store(folder)
    left = coding_tasks(plan, store, Execution()), scoring_tasks(plan, store, Execution())
    return f"{len(left[0])} coding and {len(left[1])} scoring tasks are left"


def step_load(rows: int, folder: Path) -> str:
    """Read the tidy rows."""
    results = Results.load(folder)
    counts = results.rows["status"].value_counts().to_dict()
    return f"{len(results.rows)} rows {counts}"


def step_table(rows: int, folder: Path) -> str:
    """Summarise with bootstrap intervals."""
    return f"{len(Results.load(folder).table())} cells"


def step_rows(rows: int, folder: Path) -> str:
    """Write the tidy rows as Parquet."""
    from bench.commands import write_rows

    write_rows(Results.load(folder).rows, folder / "rows.parquet")
    return f"{(folder / 'rows.parquet').stat().st_size >> 20} MB"


def step_split(rows: int, folder: Path) -> str:
    """Write the same run as shards, each of every eighth clip."""
    plan = make_up(rows)
    for index, place in enumerate(shards(folder)):
        insert(replace(plan, clips=plan.clips[index::SHARDS]), place)
    return f"{SHARDS} run folders"


def shards(folder: Path) -> list[Path]:
    """Return where the shards of a run lie."""
    return [folder / f"shard-{index + 1}" for index in range(SHARDS)]


def step_export(rows: int, folder: Path) -> str:
    """Export every shard as Parquet."""
    for place in shards(folder):
        export(place, f"{place}-exported")
    files = list(folder.glob("*-exported/*"))
    return f"{len(files)} files, {sum(file.stat().st_size for file in files) >> 20} MB"


def step_merge(rows: int, folder: Path) -> str:
    """Join the exported shards."""
    codings, scores = merge([f"{place}-exported" for place in shards(folder)], folder / "joined")
    return f"{codings} codings and {scores} scores"


def step_report(rows: int, folder: Path) -> str:
    """Write tables, plots and the HTML report."""
    from bench.reporting.publish import publish

    report = publish(Results.load(folder), folder).report
    return f"HTML of {report.stat().st_size >> 10} KB"


if __name__ == "__main__":
    main()
