"""Commands that read a run: ``report``, ``compare``, ``bd``, ``baseline``."""

import argparse
from pathlib import Path

from bench.cli.arguments import Commands, command, names


def add_report(commands: Commands) -> None:
    parser = command(
        commands,
        "report",
        "report",
        "write tables, plots and the HTML report of a run once more",
        "report runs/first --reference-codec opus@12kbps",
    )
    add = parser.add_argument
    add("folder", type=Path, help="the run's folder")
    add("--reference-codec", metavar="CODEC", help="codec that others are compared with")
    add("--export", type=Path, help="also write the tidy rows to this .csv or .parquet file")


def add_compare(commands: Commands) -> None:
    parser = command(
        commands,
        "compare",
        "compare",
        "compare two runs, or two codecs of one run, clip by clip",
        "compare runs/old runs/new   |   compare runs/new --codecs opus@6kbps,opus@12kbps",
    )
    add = parser.add_argument
    add("first", type=Path, help="a run's folder")
    add("second", type=Path, nargs="?", help="another run's folder")
    add("--codecs", type=names, help="two codec ids: the second is compared with the first")
    add("--published", action="store_true", help="compare one run with what papers published")
    add("--out", type=Path, help="also write the comparison to this CSV file")


def add_bd(commands: Commands) -> None:
    parser = command(
        commands,
        "bd",
        "bench.rate_distortion:bd",
        "compare rate-distortion curves of a run's codecs: BD-rate and BD-quality",
        "bd runs/first --codecs opus,encodec-24khz --metrics visqol-speech-exp,pesq-wb",
    )
    add = parser.add_argument
    add("folder", type=Path, help="the run's folder")
    add("--codecs", type=names, help="FIRST,SECOND without points (default: every pair)")
    add("--metrics", type=names, help="metric names (default: all with a better and a worse)")
    add("--method", default="pchip", help="curve: pchip, akima or cubic (default: pchip)")
    add("--seed", type=int, default=0, help="of the bootstrap over clips (default: 0)")
    add("--out", type=Path, help="also write the table to this CSV file")


def add_baseline(commands: Commands) -> None:
    parser = command(
        commands,
        "baseline",
        "baseline",
        "keep a run's values as a baseline, or fail when a run falls below one",
        "baseline check baseline.json runs/new --junit junit.xml",
    )
    actions = parser.add_subparsers(metavar="ACTION", required=True, dest="action")
    save = actions.add_parser("save", help="write the baseline of a run")
    save.add_argument("folder", type=Path, help="the run's folder")
    save.add_argument("file", type=Path, help="baseline to write (JSON)")
    _add_tolerances(save)
    check = actions.add_parser("check", help="compare a run with a baseline; exit 1 if it fell")
    check.add_argument("file", type=Path, help="baseline to compare with")
    check.add_argument("folder", type=Path, help="the run's folder")
    check.add_argument("--junit", type=Path, help="also write JUnit XML")
    check.add_argument(
        "--subset", action="store_true", help="compare only what both have, instead of refusing"
    )
    check.add_argument("--summary", type=Path, help="also write the Markdown summary")
    _add_tolerances(check)


def _add_tolerances(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--tolerance",
        action="append",
        default=[],
        metavar="METRIC=MEAN[:CLIP]",
        help="how much a metric may get worse, on average and on one clip (may be given often)",
    )
