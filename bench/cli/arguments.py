"""What several commands take, and how their words are read."""

import argparse
from pathlib import Path

DEFAULT_OUT = Path("reports/runs/demo")
Commands = argparse._SubParsersAction  # argparse gives this type no public name


def command(
    commands: Commands, name: str, function: str, summary: str, example: str
) -> argparse.ArgumentParser:
    """Add a command; ``function`` is one of ``bench.commands``, or ``module:name`` of another."""
    parser: argparse.ArgumentParser = commands.add_parser(
        name,
        help=summary,
        description=f"{summary[0].upper()}{summary[1:]}.",
        epilog=f"example:\n  run_bench.py {example}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(function=function)
    return parser


def add_selection(parser: argparse.ArgumentParser) -> None:
    """Add what says which clips, codecs and metrics."""
    add = parser.add_argument
    add("--dataset", default="demo", help="name in datasets.yaml or a folder (default: demo)")
    add("--datasets-file", type=Path, help="YAML file with more datasets")
    add("--domain", help="of a folder's clips: speech, music or sound")
    add("--domains", type=names, help="only these domains, e.g. speech,music")
    add("--limit", type=positive, help="at most that many clips of each domain")
    add("--codecs", type=names, help="codec ids; a family alone means its usual points; 'all'")
    add("--metrics", type=names, help="metric names (default: all)")
    add("--seed", type=int, default=0, help="of everything random (default: 0)")


def add_execution(parser: argparse.ArgumentParser) -> None:
    """Add what says how the work is done."""
    add = parser.add_argument
    add("--jobs", type=positive, default=0, help="worker processes (default: one per core)")
    add("--executor", choices=("local", "ray"), default="local", help="where (default: local)")
    add("--address", help="of the Ray cluster, e.g. auto (default: start Ray on this machine)")
    add("--gpus", type=float, help="GPUs of one codec process with Ray, e.g. 0.5")
    add("--worker-memory", type=float, default=0.0, metavar="MB", help="replace a worker above")
    add("--task-timeout", type=float, default=900.0, metavar="S", help="default: 900 s")
    add("--retry-failed", action="store_true", help="try rows again that failed before")
    add("--plain", action="store_true", help="progress as lines, also on a terminal")


def names(text: str) -> list[str]:
    """Split a comma-separated list; a comma inside a codec's options stays (``a:k=v,k=v``)."""
    found: list[str] = []
    for part in filter(None, (piece.strip() for piece in text.split(","))):
        key, is_option, _ = part.partition("=")
        if found and ":" in found[-1] and is_option and not {"@", ":"} & set(key):
            found[-1] += f",{part}"
        else:
            found.append(part)
    if not found:
        raise argparse.ArgumentTypeError("expected one or more names, separated by commas")
    return found


def positive(text: str) -> int:
    """Read a whole number of at least 1."""
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number of at least 1, got {text!r}")
    return int(text)
