"""The command line: ``python run_bench.py [COMMAND] ...``.

Each module here holds the options of some commands; what a command does is imported when it runs,
so that ``--help`` stays quick. stdout carries results, stderr the talk. Exit code 0: all is well;
1: some rows failed, or a regression was found; 2: wrong usage.
"""

import argparse
import importlib
import logging
import os
import sys
from collections.abc import Sequence

from bench import __version__
from bench.cli import analysis, catalog, listening, measure, report, shards
from bench.errors import BenchError

EPILOG = """\
examples:
  run_bench.py                                       the bundled demo corpus, the usual codecs
  run_bench.py run --codecs opus,mp3@32kbps --metrics pesq-wb,stoi --limit 4
  run_bench.py run --dataset my/audio --domain speech --out runs/mine
  run_bench.py score --reference ref/ --degraded dec/ --domain music --out scores.csv
  run_bench.py baseline save runs/mine baseline.json
  run_bench.py list codecs

Without a command, `run` is meant. exit codes: 0 all is well, 1 some rows failed or quality fell,
2 wrong usage, 130 interrupted (the same command goes on from there)"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    parser, commands = build_parser()
    if not words or (words[0] not in commands and words[0] not in ("-h", "--help", "--version")):
        words.insert(0, "run")
    options = parser.parse_args(words)
    logging.basicConfig(level=logging.WARNING, format="%(name)s: %(message)s")
    module, _, name = options.function.rpartition(":")
    if "" not in sys.path:  # codecs and metrics named my_module:MyClass lie where we are
        sys.path.insert(0, "")
    try:
        run = getattr(importlib.import_module(module or "bench.commands"), name)
        return int(run(options))
    except BenchError as error:
        print(f"run_bench.py: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:  # the reader of our output left, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:  # no room, no permission, a disk that went away
        print(f"run_bench.py: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\nstopped; what was measured is kept, the same command goes on", file=sys.stderr)
        return 130


def build_parser() -> tuple[argparse.ArgumentParser, set[str]]:
    """Return the parser and the names of its commands."""
    parser = argparse.ArgumentParser(
        "run_bench.py",
        description="Benchmark audio codecs: quality against bitrate on speech, music and sound.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"codecbench {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", title="commands", required=True)
    for add in (
        measure.add_run,
        measure.add_score,
        report.add_report,
        shards.add_merge,
        shards.add_export,
        report.add_compare,
        report.add_bd,
        measure.add_speed,
        listening.add_listening,
        report.add_baseline,
        measure.add_paper,
        catalog.add_list,
        catalog.add_doctor,
        catalog.add_fetch,
        analysis.add_probe,
        analysis.add_tokens,
        analysis.add_robustness,
    ):
        add(commands)
    return parser, set(commands.choices)
