"""Time whole runs: how many clip-metrics a second and a core, and how much is not codec or metric.

    python benchmarks/end_to_end.py [--limit 4] [--codecs ...] [--metrics ...] [--ways ray-2,...]

Each way runs the same plan in processes of its own, then once more, finding everything there. CPU
time is the kernel's, user and system, of the program and of all processes below it, Ray's own among
them. ``inside`` is the part of it between the beginning and the end of tasks in workers: reading
audio, coding, resampling, metrics, and the loading of codecs and models. What is outside is the
start of Python and its imports, the parent, the store, and Ray.
"""

import argparse
import ctypes
import os
import resource
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

from bench import metrics

ROOT = Path(__file__).parents[1]
PR_SET_CHILD_SUBREAPER = 36

#: Makes workers note the CPU time of their tasks; Python runs it when it starts.
HOOK = """
import os, resource, sys
if "bench.worker" in "".join(sys.orig_argv):
    import bench.worker

    def used():
        kinds = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
        return sum(u.ru_utime + u.ru_stime for u in map(resource.getrusage, kinds))

    def noting(run):
        def run_and_note(task):
            before = used()
            try:
                return run(task)
            finally:
                with open(f"{os.environ['TRACE_FOLDER']}/{os.getpid()}", "a") as file:
                    file.write(f"{used() - before}\\n")
        return run_and_note

    for task in (bench.worker.CodingTask, bench.worker.ScoringTask):
        task.run = noting(task.run)
"""
WAYS = ("local-1", "local-2", "ray-2")
CODECS = "passthrough,lowpass@3500hz,opus@6kbps,amr-nb@12.2kbps,mp3@32kbps"


def main() -> None:
    """Run every way and print what it took."""
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1)  # Ray's processes count when they end
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--limit", type=int, default=4, help="clips of each domain")
    parser.add_argument("--codecs", default=CODECS)
    parser.add_argument("--metrics", default=",".join(metrics.metric_names()))
    parser.add_argument("--ways", default=",".join(WAYS), help="executor-jobs, ...")
    parser.add_argument("--dataset", default="demo")
    options = parser.parse_args()
    print(f"{'way':8s} {'rows':>6s} {'failed':>6s} "
          f"{'wall s':>8s} {'CPU s':>8s} {'inside s':>9s} {'share':>6s} "
          f"{'rows/s':>7s} {'rows/CPU s':>10s} {'resume s':>9s} {'CPU s':>6s}")  # fmt: skip
    for way in options.ways.split(","):
        with tempfile.TemporaryDirectory() as folder:
            report(way, options, Path(folder))


def report(way: str, options: argparse.Namespace, folder: Path) -> None:
    """Run one way twice and print a line."""
    first, again = run(way, options, folder), run(way, options, folder)
    inside = sum(float(line) for path in folder.glob("trace/*") for line in path.open())
    rows = first["rows"]
    print(f"{way:8s} {rows:6.0f} {first['failed']:6.0f} "
          f"{first['wall_s']:8.1f} {first['cpu_s']:8.1f} {inside:9.1f} "
          f"{inside / first['cpu_s']:6.1%} {rows / first['wall_s']:7.2f} "
          f"{rows / first['cpu_s']:10.2f} {again['wall_s']:9.1f} {again['cpu_s']:6.1f}",
          flush=True)  # fmt: skip


def run(way: str, options: argparse.Namespace, folder: Path) -> dict[str, float]:
    """Run the benchmark's command line and return its wall time, CPU time and rows."""
    from bench.results import Results

    executor, _, jobs = way.partition("-")
    command = [sys.executable, str(ROOT / "run_bench.py"), "run", "--dataset", options.dataset]
    command += ["--codecs", options.codecs, "--metrics", options.metrics, "--no-report", "--plain"]
    command += ["--limit", str(options.limit), "--out", str(folder / "run")]
    command += ["--executor", executor, "--jobs", jobs]
    for name in ("hook", "trace"):
        (folder / name).mkdir(exist_ok=True)
    (folder / "hook" / "sitecustomize.py").write_text(HOOK)
    path = os.pathsep.join([str(folder / "hook"), os.environ.get("PYTHONPATH", "")])
    environment = os.environ | {"PYTHONPATH": path, "TRACE_FOLDER": str(folder / "trace")}
    before, start = _cpu_s(), time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    wall_s = time.perf_counter() - start
    if done.returncode not in (0, 1):
        raise SystemExit(done.stderr)
    rows = Results.load(folder / "run").rows
    return {
        "wall_s": wall_s,
        "cpu_s": _cpu_s() - before,
        "rows": float((rows["status"].isin(["ok", "failed"])).sum()),
        "failed": float((rows["status"] == "failed").sum()),
    }


def _cpu_s() -> float:
    """Return the CPU time of all processes that have ended below this one, when none is left."""
    with suppress(ChildProcessError):
        while True:
            os.wait()
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    main()
