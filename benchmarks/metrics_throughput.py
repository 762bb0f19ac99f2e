"""Time the metric stage against other ways of computing the same metrics, in clip-metrics a second.

All score the same reconstructions in one call of this program and must agree on every value. Each
is timed from the start of its processes to their end, imports and models included; what numba
compiles is compiled and cached before. With few pairs the start dominates: take some dozens.

- ``libraries``: a plain loop over clips, codecs and metrics, as a script does it: read both files,
  resample them, call visqol, pesq, pystoi or faster-whisper itself (plain_loop.py), wait.
- ``toolkits``: the order of VERSA's scorer and of Codec-SUPERB's with one worker: one system after
  another, each pair of files read once, then one metric after another, each of which resamples the
  pair for itself. The calls are the same, so are the library versions; neither toolkit is used.
- ``functions``: like libraries, but our metrics, each on signals of its own.
- ``runner-1``, ``runner-2``: `run_bench.py` with one and two worker processes. It shares work
  between metrics and keeps what belongs to the reference.

    python benchmarks/metrics_throughput.py [--limit 4] [--codecs opus@6kbps,...] [--out FILE]
"""

import argparse
import json
import math
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from itertools import product
from pathlib import Path

from bench import metrics
from bench.api import find_clips
from bench.audio import read_audio
from bench.errors import MeasureError
from bench.manifest import describe_environment
from bench.metrics import Pair, Signal
from bench.plan import Plan, PlannedClip, PlannedCodec, coding_key, make_plan
from bench.results import MetricInfo, Results, reconstruction_name
from bench.runner import Execution, applies, run_plan

WAYS = ("libraries", "toolkits", "functions", "runner-1", "runner-2")
Scored = tuple[PlannedClip, PlannedCodec, MetricInfo, float | None]
CODECS = ("opus@6kbps", "amr-nb@12.2kbps", "mp3@32kbps", "lowpass@3500hz")


def main() -> None:
    """Run every way and print what it took."""
    options = parse_options()
    if options.way:
        way, folder = options.way
        print(json.dumps(measure(way, Path(folder), make(options))))
        return
    with tempfile.TemporaryDirectory() as scratch:
        report = compare(options, Path(scratch))
    print(json.dumps(report, indent=2))
    if options.out:
        options.out.write_text(json.dumps(report, indent=2) + "\n")


def parse_options() -> argparse.Namespace:
    """Return the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--limit", type=int, default=4, help="clips of each domain")
    parser.add_argument("--codecs", default=",".join(CODECS))
    parser.add_argument("--metrics", default=",".join(metrics.metric_names()))
    parser.add_argument("--ways", default=",".join(WAYS))
    parser.add_argument("--out", type=Path)
    parser.add_argument("--way", nargs=2, help=argparse.SUPPRESS)
    return parser.parse_args()


def make(options: argparse.Namespace) -> Plan:
    """Return the plan that both sides score."""
    clips = find_clips("demo", limit=options.limit)
    return make_plan(clips, options.codecs.split(","), options.metrics.split(","))


def compare(options: argparse.Namespace, folder: Path) -> dict:
    """Code once, then score in every way, and compare times and values."""
    plan = make(options)
    manifest = describe_environment(0, 2)
    warm_up = make_plan(find_clips("demo", limit=1), ["passthrough"], options.metrics.split(","))
    run_plan(warm_up, folder / "warm", manifest, Execution(jobs=2))
    run_plan(Plan(plan.codecs, plan.clips, ()), folder / "coded", manifest, Execution(jobs=2))
    report: dict = {
        "machine": manifest["machine"],
        "clips": len(plan.clips),
        "codecs": len(plan.codecs),
        "metrics": len(plan.metrics),
    }
    expected: dict[str, float | None] = {}
    for way in options.ways.split(","):
        shutil.copytree(folder / "coded", folder / way)
        wall, cpu = time.perf_counter(), _cpu_s()
        values = _in_new_process(way, folder / way, options)
        wall, cpu = time.perf_counter() - wall, _cpu_s() - cpu
        expected = expected or values
        report[way] = {
            "clip_metrics": len(values),
            "wall_s": round(wall, 1),
            "cpu_s": round(cpu, 1),
            "clip_metrics_per_s": round(len(values) / wall, 2),
            "clip_metrics_per_cpu_s": round(len(values) / cpu, 2),
            "largest_difference": largest_difference(expected, values),
        }
        print(way, report[way], file=sys.stderr, flush=True)
    return report


def _cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _in_new_process(way: str, folder: Path, options: argparse.Namespace) -> dict:
    command = [sys.executable, __file__, "--way", way, str(folder)]
    command += ["--limit", str(options.limit), "--codecs", options.codecs]
    command += ["--metrics", options.metrics]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def measure(way: str, folder: Path, plan: Plan) -> dict[str, float | None]:
    """Score in one way and return the values, None where there is none."""
    kind, _, jobs = way.partition("-")
    if kind == "runner":
        run_plan(plan, folder, describe_environment(0, int(jobs)), Execution(jobs=int(jobs)))
        rows = Results.load(folder).rows
        rows = rows[rows["metric"].isin([info.name for info in plan.metrics])]
        rows = rows[rows["status"].isin(["ok", "failed"])]
        names = rows["codec"] + "|" + rows["clip_hash"] + "|" + rows["metric"]
        values = rows["value"].astype(object).where(rows["value"].notna(), None)
        return dict(zip(names, values, strict=True))
    loop = {"libraries": _libraries, "toolkits": _toolkits, "functions": _functions}[kind]
    return {
        f"{codec.info.codec_id}|{clip.content_hash}|{info.name}": value
        for clip, codec, info, value in loop(plan, folder)
    }


def _libraries(plan: Plan, folder: Path) -> Iterator[Scored]:
    for clip, codec in product(plan.clips, plan.codecs):
        for info in _fitting(plan, clip):
            signals = _signals(clip, _reconstruction(folder, codec, clip))
            yield clip, codec, info, _call_library(info.name, clip, *signals)


def _toolkits(plan: Plan, folder: Path) -> Iterator[Scored]:
    for codec, clip in product(plan.codecs, plan.clips):
        loaded = _signals(clip, _reconstruction(folder, codec, clip))
        for info in _fitting(plan, clip):
            # New signals remember nothing: what a metric resamples is gone after it.
            signals = (Signal(signal.samples, signal.sample_rate) for signal in loaded)
            yield clip, codec, info, _call_library(info.name, clip, *signals)


def _functions(plan: Plan, folder: Path) -> Iterator[Scored]:
    for clip, codec in product(plan.clips, plan.codecs):
        for info in _fitting(plan, clip):
            signals = _signals(clip, _reconstruction(folder, codec, clip))
            yield clip, codec, info, _call_function(info.name, clip, *signals)


def _fitting(plan: Plan, clip: PlannedClip) -> list[MetricInfo]:
    return [info for info in plan.metrics if applies(info, clip)]


def _reconstruction(folder: Path, codec: PlannedCodec, clip: PlannedClip) -> Path:
    return folder / reconstruction_name(coding_key(codec, clip))


def _signals(clip: PlannedClip, path: Path) -> tuple[Signal, Signal]:
    reference, degraded = clip.clip.read(), read_audio(path)
    return (
        Signal(reference.samples, reference.sample_rate),
        Signal(degraded.samples, degraded.sample_rate),
    )


def _call_function(
    name: str, clip: PlannedClip, reference: Signal, degraded: Signal
) -> float | None:
    pair = Pair(reference, degraded, clip.clip.domain, clip.clip.text)
    try:
        return metrics.create(name)(pair).value
    except MeasureError:
        return None


def _call_library(
    name: str, clip: PlannedClip, reference: Signal, degraded: Signal
) -> float | None:
    from plain_loop import CALLS

    if name not in CALLS:
        return _call_function(name, clip, reference, degraded)
    rate, call = CALLS[name]
    return float(call(reference.mono(rate), degraded.mono(rate), clip.clip.text or ""))


def largest_difference(values: dict[str, float | None], others: dict[str, float | None]) -> float:
    """Return the largest difference between two ways; infinite if one has a gap."""
    if values.keys() != others.keys():
        return math.inf
    pairs = [(value, others[name]) for name, value in values.items()]
    if any((value is None) != (other is None) for value, other in pairs):
        return math.inf
    return max(abs(a - b) for a, b in pairs if a is not None and b is not None)


if __name__ == "__main__":
    main()
