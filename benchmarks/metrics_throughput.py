"""Time the metric stage against a plain loop over the same metrics.

The plain loop is what a script does: for each clip, each codec, each metric, give the metric the
two signals and wait. Nothing is shared between metrics or clips, library defaults decide about
threads. The runner shares work between metrics, keeps what belongs to the reference, and spreads
clips over processes. Both score the same reconstructions in one call of this program, after a
warm-up that compiles what is compiled on first use, and must agree on every value.

    python benchmarks/metrics_throughput.py [--limit 2] [--codecs opus@6kbps,...] [--out FILE]
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
from bench.plan import Plan, make_plan
from bench.results import Results
from bench.runner import Execution, applies, run_plan

CODECS = ("opus@6kbps", "amr-nb@12.2kbps", "mp3@32kbps", "lowpass@3500hz")


def main() -> None:
    """Run both and print the ratio."""
    options = parse_options()
    if options.plain_loop:
        print(json.dumps(plain_loop(options.plain_loop, make(options))))
        return
    with tempfile.TemporaryDirectory() as scratch:
        report = compare(options, Path(scratch))
    print(json.dumps(report, indent=2))
    if options.out:
        options.out.write_text(json.dumps(report, indent=2) + "\n")


def parse_options() -> argparse.Namespace:
    """Return the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--limit", type=int, default=2, help="clips of each domain")
    parser.add_argument("--codecs", default=",".join(CODECS))
    parser.add_argument("--metrics", default=",".join(metrics.metric_names()))
    parser.add_argument("--jobs", type=int, default=0)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--plain-loop", type=Path, help=argparse.SUPPRESS)
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

    command = [sys.executable, __file__, "--plain-loop", str(folder / "run")]
    command += ["--limit", str(options.limit), "--codecs", options.codecs]
    command += ["--metrics", options.metrics]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    plain = json.loads(done.stdout.splitlines()[-1])

    start = time.perf_counter()
    run_plan(plan, folder / "run", manifest, execution)
    runner_s = time.perf_counter() - start
    results = Results.load(folder / "run")
    pairs = len(plan.clips) * len(plan.codecs)
    return {
        "machine": manifest["machine"],
        "workers": execution.workers,
        "clips": len(plan.clips),
        "codecs": len(plan.codecs),
        "metrics": len(plan.metrics),
        "plain_loop_s_per_pair": round(plain["seconds"] / pairs, 3),
        "runner_s_per_pair": round(runner_s / pairs, 3),
        "speed_up": round(plain["seconds"] / runner_s, 2),
        "largest_difference": largest_difference(plain["values"], results),
    }


def plain_loop(folder: Path, plan: Plan) -> dict:
    """Score with one metric after another, sharing nothing."""
    results = Results.load(folder)
    values = {}
    start = time.perf_counter()
    for clip in plan.clips:
        for codec in plan.codecs:
            path = results.reconstruction_path(codec.info.codec_id, clip.content_hash)
            for info in plan.metrics:
                if not applies(info, clip) or path is None:
                    continue
                reference, degraded = clip.clip.read(), read_audio(path)
                pair = Pair(
                    Signal(reference.samples, reference.sample_rate),
                    Signal(degraded.samples, degraded.sample_rate),
                    clip.clip.domain,
                    clip.clip.text,
                )
                try:
                    value = metrics.create(info.name)(pair).value
                except MeasureError:
                    value = None
                values[f"{codec.info.codec_id}|{clip.content_hash}|{info.name}"] = value
    return {"seconds": time.perf_counter() - start, "values": values}


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
