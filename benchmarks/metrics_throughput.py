"""Time the metric stage against plain loops over the same metrics.

A plain loop is what a script does: for each clip, each codec, each metric, give the metric the two
signals and wait. Nothing is shared between metrics or clips, library defaults decide about threads.
There are two: ``libraries`` calls visqol, pesq, pystoi and faster-whisper themselves
(plain_loop.py), ``functions`` calls our metrics, each on signals of its own. The runner shares
work between metrics, keeps what belongs to the reference, and spreads clips over processes. All
score the same reconstructions in one call of this program and must agree on every value. Each is
timed from the start of its processes to their end, imports and models included; what numba compiles
is compiled and cached before. With few pairs the start dominates: take some dozens.

    python benchmarks/metrics_throughput.py [--limit 4] [--codecs opus@6kbps,...] [--out FILE]
"""

import argparse
import json
import math
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from bench import metrics
from bench.api import find_clips
from bench.audio import read_audio
from bench.errors import MeasureError
from bench.manifest import describe_environment
from bench.metrics import Pair, Signal
from bench.plan import Plan, PlannedClip, PlannedCodec, coding_key, make_plan
from bench.results import Results, reconstruction_name
from bench.runner import Execution, applies, run_plan

LOOPS = ("libraries", "functions")
CODECS = ("opus@6kbps", "amr-nb@12.2kbps", "mp3@32kbps", "lowpass@3500hz")


def main() -> None:
    """Run both and print the ratio."""
    options = parse_options()
    if options.loop:
        kind, folder = options.loop
        print(json.dumps(plain_loop(kind, Path(folder), make(options))))
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
    parser.add_argument("--jobs", type=int, default=0)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--loop", nargs=2, help=argparse.SUPPRESS)
    return parser.parse_args()


def make(options: argparse.Namespace) -> Plan:
    """Return the plan that both sides score."""
    clips = find_clips("demo", limit=options.limit)
    return make_plan(clips, options.codecs.split(","), options.metrics.split(","))


def compare(options: argparse.Namespace, folder: Path) -> dict:
    """Code once, then score by either way, and compare times and values."""
    plan = make(options)
    execution = Execution(jobs=options.jobs)
    manifest = describe_environment(0, execution.workers)
    warm_up = make_plan(find_clips("demo", limit=1), ["passthrough"], options.metrics.split(","))
    run_plan(warm_up, folder / "warm", manifest, execution)
    coding_only = Plan(plan.codecs, plan.clips, ())
    run_plan(coding_only, folder / "run", manifest, execution)

    loops = {kind: _in_new_process(kind, folder / "run", options) for kind in LOOPS}

    start = time.perf_counter()
    run_plan(plan, folder / "run", manifest, execution)
    runner_s = time.perf_counter() - start
    results = Results.load(folder / "run")
    pairs = len(plan.clips) * len(plan.codecs)
    report = {
        "machine": manifest["machine"],
        "workers": execution.workers,
        "clips": len(plan.clips),
        "codecs": len(plan.codecs),
        "metrics": len(plan.metrics),
        "runner_s_per_pair": round(runner_s / pairs, 3),
    }
    for kind, loop in loops.items():
        report[kind] = {
            "s_per_pair": round(loop["seconds"] / pairs, 3),
            "runner_is_faster_by": round(loop["seconds"] / runner_s, 2),
            "largest_difference": largest_difference(loop["values"], results),
        }
    return report


def _in_new_process(kind: str, folder: Path, options: argparse.Namespace) -> dict:
    command = [sys.executable, __file__, "--loop", kind, str(folder)]
    command += ["--limit", str(options.limit), "--codecs", options.codecs]
    command += ["--metrics", options.metrics]
    start = time.perf_counter()
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    seconds = time.perf_counter() - start
    return {"seconds": seconds} | json.loads(done.stdout.splitlines()[-1])


def plain_loop(kind: str, folder: Path, plan: Plan) -> dict:
    """Score with one metric after another, sharing nothing."""
    call = _call_library if kind == "libraries" else _call_function
    jobs = [(clip, codec, info) for clip in plan.clips for codec in plan.codecs
            for info in plan.metrics if applies(info, clip)]  # fmt: skip
    values = {}
    for clip, codec, info in jobs:
        value = call(info.name, clip, _reconstruction(folder, codec, clip))
        values[f"{codec.info.codec_id}|{clip.content_hash}|{info.name}"] = value
    return {"values": values}


def _reconstruction(folder: Path, codec: PlannedCodec, clip: PlannedClip) -> Path:
    return folder / reconstruction_name(coding_key(codec, clip))


def _signals(clip: PlannedClip, path: Path) -> tuple[Signal, Signal]:
    reference, degraded = clip.clip.read(), read_audio(path)
    return (
        Signal(reference.samples, reference.sample_rate),
        Signal(degraded.samples, degraded.sample_rate),
    )


def _call_function(name: str, clip: PlannedClip, path: Path) -> float | None:
    pair = Pair(*_signals(clip, path), clip.clip.domain, clip.clip.text)
    try:
        return metrics.create(name)(pair).value
    except MeasureError:
        return None


def _call_library(name: str, clip: PlannedClip, path: Path) -> float | None:
    from plain_loop import CALLS

    if name not in CALLS:
        return _call_function(name, clip, path)
    rate, call = CALLS[name]
    reference, degraded = _signals(clip, path)
    return float(call(reference.mono(rate), degraded.mono(rate), clip.clip.text or ""))


def largest_difference(values: dict[str, float | None], results: Results) -> float:
    """Return the largest difference between the two ways; infinite if one has a gap."""
    rows = results.rows.set_index(
        results.rows["codec"] + "|" + results.rows["clip_hash"] + "|" + results.rows["metric"]
    )["value"]
    worst = 0.0
    for name, value in values.items():
        other = float(rows[name])
        if (value is None) != math.isnan(other):
            return math.inf
        worst = max(worst, abs(other - value) if value is not None else 0.0)
    return worst


if __name__ == "__main__":
    main()
