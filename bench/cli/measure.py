"""Commands that measure: ``run``, ``score``, ``paper``, ``speed``."""

import argparse
from pathlib import Path

from bench.cli.arguments import (
    DEFAULT_OUT,
    Commands,
    add_execution,
    add_selection,
    command,
    names,
    positive,
)


def add_run(commands: Commands) -> None:
    parser = command(
        commands,
        "run",
        "run",
        "code a dataset, score it, write tables, plots and an HTML report",
        "run --dataset demo --codecs opus,amr-nb@12.2kbps --limit 2 --out runs/first",
    )
    add = parser.add_argument
    add_selection(parser)
    add("--out", type=Path, default=DEFAULT_OUT, help="the run's folder (default: %(default)s)")
    add("--device", default="auto", help="where neural codecs run: auto (GPU if any), cpu, cuda:1")
    add("--reference-codec", metavar="CODEC", help="codec that others are compared with")
    add("--shard", type=_shard, metavar="I/N", help="only part I of N; `merge` joins the parts")
    add("--dry-run", action="store_true", help="print what would be done, do nothing")
    add("--no-audio", action="store_true", help="drop reconstructions once they are scored")
    add("--no-report", action="store_true", help="measure only; `report` makes it later")
    add_execution(parser)


def add_score(commands: Commands) -> None:
    parser = command(
        commands,
        "score",
        "score",
        "score decoded files against their originals",
        "score --reference ref/ --degraded dec/ --domain speech --metrics pesq-wb --out s.csv",
    )
    add = parser.add_argument
    add("--reference", type=Path, required=True, help="folder of originals")
    add("--degraded", type=Path, required=True, help="folder of files of the same names")
    add("--domain", required=True, choices=("speech", "music", "sound"))
    add("--metrics", type=names, help="metric names (default: all)")
    add("--transcripts", type=Path, help="CSV or JSONL with columns clip and text, for WER")
    add("--out", type=Path, required=True, help="CSV file: clip, metric, value, status, ...")
    add_execution(parser)


def add_paper(commands: Commands) -> None:
    parser = command(
        commands,
        "paper",
        "paper",
        "score the audio released with the SemantiCodec paper, beside its Table II",
        "paper --audio SemantiCodec/audio --out runs/paper",
    )
    add = parser.add_argument
    add("--audio", type=Path, help="folder of one folder per system (default: as fetched)")
    add("--out", type=Path, default=Path("reports/runs/paper"), help="default: %(default)s")
    add("--transcripts", type=Path, help="CSV or JSONL with columns clip and text, for WER")
    add("--metrics", type=names, help="metric names (default: those of the paper, in variants)")
    add_execution(parser)


def add_speed(commands: Commands) -> None:
    parser = command(
        commands,
        "speed",
        "bench.timing.speed:speed",
        "measure codecs one by one: speed, latency, memory, parameters, operations",
        "speed --codecs opus@12kbps,encodec-24khz@6kbps --devices cpu,cuda --out runs/first",
    )
    add = parser.add_argument
    add("--codecs", type=names, help="codec ids (default: those of the run in --out)")
    add("--devices", type=names, default=["cpu"], help="cpu, cuda, cuda:1 ... (default: cpu)")
    add("--dataset", default="demo", help="whose first clip is coded (default: demo)")
    add("--seconds", type=float, default=10.0, help="of audio in one pass (default: 10)")
    add("--repeats", type=positive, default=5, help="timed passes after a warm-up (default: 5)")
    add("--threads", type=positive, default=1, help="of each process (default: 1)")
    add("--task-timeout", type=float, default=900.0, metavar="S", help="default: 900 s")
    add("--out", type=Path, default=DEFAULT_OUT, help="the run's folder (default: %(default)s)")


def _shard(text: str) -> tuple[int, int]:
    """Return which part of how many, e.g. (2, 4) for ``2/4``."""
    part, _, parts = text.partition("/")
    if not (part.isdigit() and parts.isdigit() and 1 <= int(part) <= int(parts)):
        raise argparse.ArgumentTypeError(f"expected I/N with 1 <= I <= N, got {text!r}")
    return int(part), int(parts)
