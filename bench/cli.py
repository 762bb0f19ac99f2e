"""The command line: ``python run_bench.py [COMMAND] ...``.

stdout carries results, stderr the talk. Exit code 0: all is well; 1: some rows failed, or a
regression was found; 2: wrong usage.
"""

import argparse
import importlib
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from bench import __version__
from bench.errors import BenchError

DEFAULT_OUT = Path("reports/runs/demo")
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
        _add_run,
        _add_score,
        _add_report,
        _add_merge,
        _add_export,
        _add_compare,
        _add_bd,
        _add_speed,
        _add_listening,
        _add_baseline,
        _add_paper,
        _add_list,
        _add_doctor,
        _add_fetch,
        _add_probe,
        _add_tokens,
        _add_robustness,
    ):
        add(commands)
    return parser, set(commands.choices)


Commands = argparse._SubParsersAction  # argparse gives this type no public name


def _command(
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


def _add_run(commands: Commands) -> None:
    parser = _command(
        commands,
        "run",
        "run",
        "code a dataset, score it, write tables, plots and an HTML report",
        "run --dataset demo --codecs opus,amr-nb@12.2kbps --limit 2 --out runs/first",
    )
    add = parser.add_argument
    _add_selection(parser)
    add("--out", type=Path, default=DEFAULT_OUT, help="the run's folder (default: %(default)s)")
    add("--device", default="auto", help="where neural codecs run: auto (GPU if any), cpu, cuda:1")
    add("--reference-codec", metavar="CODEC", help="codec that others are compared with")
    add("--shard", type=_shard, metavar="I/N", help="only part I of N; `merge` joins the parts")
    add("--dry-run", action="store_true", help="print what would be done, do nothing")
    add("--no-audio", action="store_true", help="drop reconstructions once they are scored")
    add("--no-report", action="store_true", help="measure only; `report` makes it later")
    _add_execution(parser)


def _add_selection(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--dataset", default="demo", help="name in datasets.yaml or a folder (default: demo)")
    add("--datasets-file", type=Path, help="YAML file with more datasets")
    add("--domain", help="of a folder's clips: speech, music or sound")
    add("--domains", type=_names, help="only these domains, e.g. speech,music")
    add("--limit", type=_positive, help="at most that many clips of each domain")
    add("--codecs", type=_names, help="codec ids; a family alone means its usual points; 'all'")
    add("--metrics", type=_names, help="metric names (default: all)")
    add("--seed", type=int, default=0, help="of everything random (default: 0)")


def _add_execution(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--jobs", type=_positive, default=0, help="worker processes (default: one per core)")
    add("--executor", choices=("local", "ray"), default="local", help="where (default: local)")
    add("--address", help="of the Ray cluster, e.g. auto (default: start Ray on this machine)")
    add("--gpus", type=float, help="GPUs of one codec process with Ray, e.g. 0.5")
    add("--worker-memory", type=float, default=0.0, metavar="MB", help="replace a worker above")
    add("--task-timeout", type=float, default=900.0, metavar="S", help="default: 900 s")
    add("--retry-failed", action="store_true", help="try rows again that failed before")
    add("--plain", action="store_true", help="progress as lines, also on a terminal")


def _add_score(commands: Commands) -> None:
    parser = _command(
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
    add("--metrics", type=_names, help="metric names (default: all)")
    add("--transcripts", type=Path, help="CSV or JSONL with columns clip and text, for WER")
    add("--out", type=Path, required=True, help="CSV file: clip, metric, value, status, ...")
    _add_execution(parser)


def _add_report(commands: Commands) -> None:
    parser = _command(
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


def _add_merge(commands: Commands) -> None:
    parser = _command(
        commands,
        "merge",
        "bench.shards:merge_command",
        "join runs of parts of one data set into one",
        "merge runs/part-1 runs/part-2 s3://bucket/part-3 --out runs/whole",
    )
    parser.add_argument("shards", nargs="+", help="run folders, or where they were exported to")
    parser.add_argument("--out", type=Path, required=True, help="folder of the new run")


def _add_export(commands: Commands) -> None:
    parser = _command(
        commands,
        "export",
        "bench.shards:export_command",
        "write a run's measurements as Parquet files, e.g. to object storage",
        "export runs/part-3 s3://bucket/part-3",
    )
    parser.add_argument("folder", type=Path, help="the run's folder")
    parser.add_argument("place", help="folder or URL (s3://, gs://, ...) that fsspec can write")


def _add_compare(commands: Commands) -> None:
    parser = _command(
        commands,
        "compare",
        "compare",
        "compare two runs, or two codecs of one run, clip by clip",
        "compare runs/old runs/new   |   compare runs/new --codecs opus@6kbps,opus@12kbps",
    )
    add = parser.add_argument
    add("first", type=Path, help="a run's folder")
    add("second", type=Path, nargs="?", help="another run's folder")
    add("--codecs", type=_names, help="two codec ids: the second is compared with the first")
    add("--published", action="store_true", help="compare one run with what papers published")
    add("--out", type=Path, help="also write the comparison to this CSV file")


def _add_bd(commands: Commands) -> None:
    parser = _command(
        commands,
        "bd",
        "bench.rate_distortion:bd",
        "compare rate-distortion curves of a run's codecs: BD-rate and BD-quality",
        "bd runs/first --codecs opus,encodec-24khz --metrics visqol-speech-exp,pesq-wb",
    )
    add = parser.add_argument
    add("folder", type=Path, help="the run's folder")
    add("--codecs", type=_names, help="FIRST,SECOND without points (default: every pair)")
    add("--metrics", type=_names, help="metric names (default: all with a better and a worse)")
    add("--method", default="pchip", help="curve: pchip, akima or cubic (default: pchip)")
    add("--seed", type=int, default=0, help="of the bootstrap over clips (default: 0)")
    add("--out", type=Path, help="also write the table to this CSV file")


def _add_speed(commands: Commands) -> None:
    parser = _command(
        commands,
        "speed",
        "bench.timing.speed:speed",
        "measure codecs one by one: speed, latency, memory, parameters, operations",
        "speed --codecs opus@12kbps,encodec-24khz@6kbps --devices cpu,cuda --out runs/first",
    )
    add = parser.add_argument
    add("--codecs", type=_names, help="codec ids (default: those of the run in --out)")
    add("--devices", type=_names, default=["cpu"], help="cpu, cuda, cuda:1 ... (default: cpu)")
    add("--dataset", default="demo", help="whose first clip is coded (default: demo)")
    add("--seconds", type=float, default=10.0, help="of audio in one pass (default: 10)")
    add("--repeats", type=_positive, default=5, help="timed passes after a warm-up (default: 5)")
    add("--threads", type=_positive, default=1, help="of each process (default: 1)")
    add("--task-timeout", type=float, default=900.0, metavar="S", help="default: 900 s")
    add("--out", type=Path, default=DEFAULT_OUT, help="the run's folder (default: %(default)s)")


def _add_listening(commands: Commands) -> None:
    parser = _command(
        commands,
        "listening",
        "bench.listening.commands:listening",
        "make a MUSHRA listening test of a run, or evaluate its ratings",
        "listening export runs/first --out test --codecs opus@6kbps,opus@12kbps --limit 5",
    )
    actions = parser.add_subparsers(metavar="ACTION", required=True, dest="action")
    export = actions.add_parser("export", help="write a webMUSHRA test: configuration and audio")
    add = export.add_argument
    add("folder", type=Path, help="the run's folder; its audio must have been kept")
    add("--out", type=Path, required=True, help="new folder for the test")
    add("--preset", help="a published design: semanticodec-paper")
    add("--codecs", type=_names, help="codec ids to rate (default: all but anchors)")
    add("--limit", type=_positive, help="clips of each domain (default: all)")
    add("--anchors", type=_names, help="edges of the low-pass anchors (default: 3500hz,7000hz)")
    add("--keep-levels", action="store_true", help="level the items only, not the conditions")
    add("--name", default="codec-listening-test", help="of the test, as raters see it")
    add("--seed", type=int, default=0, help="of choice and order (default: 0)")
    evaluate = actions.add_parser("import", help="evaluate the ratings that webMUSHRA wrote")
    add = evaluate.add_argument
    add("test", type=Path, help="the folder that `listening export` wrote")
    add("ratings", type=Path, nargs="+", help="webMUSHRA's mushra.csv, one or several")
    add("--rater", type=_names, help="columns that tell raters apart (default: found)")
    add("--out", type=Path, required=True, help="the run's folder: a tab of its report")
    add("--seed", type=int, default=0, help="of the bootstrap (default: 0)")


def _add_baseline(commands: Commands) -> None:
    parser = _command(
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


def _add_paper(commands: Commands) -> None:
    parser = _command(
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
    add("--metrics", type=_names, help="metric names (default: those of the paper, in variants)")
    _add_execution(parser)


def _add_list(commands: Commands) -> None:
    parser = _command(
        commands, "list", "list_names", "show what is there and why something is not", "list codecs"
    )
    parser.add_argument("what", nargs="?", choices=("codecs", "metrics", "datasets"))
    parser.add_argument("--datasets-file", type=Path, help="YAML file with more datasets")


def _add_doctor(commands: Commands) -> None:
    parser = _command(
        commands,
        "doctor",
        "doctor",
        "check that a codec keeps the contract",
        "doctor my_package.my_module:MyCodec@6kbps",
    )
    parser.add_argument("codec", nargs="+", help="codec id, or module:Class[@point]")


def _add_fetch(commands: Commands) -> None:
    parser = _command(
        commands, "fetch", "fetch", "download a dataset, verify and unpack it", "fetch esc50"
    )
    parser.add_argument("name", help="name in datasets.yaml")
    parser.add_argument("--datasets-file", type=Path, help="YAML file with more datasets")
    parser.add_argument("--data", type=Path, help="data folder (default: $CODECBENCH_DATA)")


def _add_probe(commands: Commands) -> None:
    parser = _command(
        commands,
        "probe",
        "bench.probes.command:probe",
        "train small classifiers on codecs' tokens and reconstructions",
        "probe --tasks esc10 --codecs lyra@6kbps,mimi@8cb,noise --limit 20 --out runs/first",
    )
    add = parser.add_argument
    add("--tasks", type=_names, help="task names (default: the three bundled ones)")
    add("--list", action="store_true", help="show the tasks and end")
    add("--codecs", type=_names, help="codec ids; a family alone means its usual points")
    note = "of embedding, features, reconstruction, log-mel (default: all)"
    add("--representations", type=_names, help=note)
    add("--folder", type=Path, help="of the audio, instead of where the task file says")
    add("--data", type=Path, help="folder of all datasets (default: $CODECBENCH_DATA)")
    add("--tasks-file", type=Path, help="YAML file with more tasks (docs/probes.md)")
    add("--limit", type=_positive, help="at most that many clips of each label and fold")
    add("--seeds", type=_positive, default=3, help="MLP probes from as many seeds (default: 3)")
    add("--seed", type=int, default=0, help="the first of them (default: 0)")
    add("--out", type=Path, default=DEFAULT_OUT, help="a run's folder (default: %(default)s)")
    add("--device", default="cpu", help="where neural codecs run: cpu, cuda, cuda:1 ...")
    add("--plain", action="store_true", help="progress as lines, also on a terminal")


def _add_tokens(commands: Commands) -> None:
    parser = _command(
        commands,
        "tokens",
        "bench.analysis.command:tokens",
        "tell what codecs' tokens are like: rate, entropy, use, stability",
        "tokens --codecs lyra@3.2kbps,mimi@8cb --domains speech --out runs/first",
    )
    _add_analysis(parser)
    add = parser.add_argument
    note = "clips of each domain that are shifted, changed and coded again (default: 4)"
    add("--stability-limit", type=_positive, default=4, metavar="N", help=note)


def _add_robustness(commands: Commands) -> None:
    parser = _command(
        commands,
        "robustness",
        "bench.analysis.command:robustness",
        "damage payloads and tell what is left: bit flips, lost frames, long files",
        "robustness --codecs opus@12kbps,lyra@3.2kbps --metrics stoi --bit-flips 1e-4,1e-3",
    )
    _add_analysis(parser)
    add = parser.add_argument
    note = "of bits flipped (default: 0.0001,0.001,0.01)"
    add("--bit-flips", type=_rates, metavar="RATES", help=note)
    note = "of frames or packets lost, alone and in bursts (default: 0.01,0.05,0.1,0.2)"
    add("--losses", type=_rates, metavar="RATES", help=note)
    add("--draws", type=_positive, default=1, help="damage each clip that often (default: 1)")
    parser.set_defaults(limit=3)


def _add_analysis(parser: argparse.ArgumentParser) -> None:
    """Add what the analyses of tokens and of damage have in common."""
    add = parser.add_argument
    _add_selection(parser)
    add("--out", type=Path, default=DEFAULT_OUT, help="a run's folder (default: %(default)s)")
    add("--device", default="cpu", help="where neural codecs run: cpu, cuda, cuda:1 ...")
    add("--plain", action="store_true", help="progress as lines, also on a terminal")


def _rates(text: str) -> tuple[float, ...]:
    try:
        found = tuple(float(part) for part in text.split(","))
    except ValueError:
        found = ()
    if not found or not all(0 < rate <= 0.5 for rate in found):
        raise argparse.ArgumentTypeError(f"expected rates above 0, up to 0.5, got {text!r}")
    return found


def _names(text: str) -> list[str]:
    """Split a comma-separated list; a comma inside a codec's options stays (``a:k=v,k=v``)."""
    names: list[str] = []
    for part in filter(None, (piece.strip() for piece in text.split(","))):
        key, is_option, _ = part.partition("=")
        if names and ":" in names[-1] and is_option and not {"@", ":"} & set(key):
            names[-1] += f",{part}"
        else:
            names.append(part)
    if not names:
        raise argparse.ArgumentTypeError("expected one or more names, separated by commas")
    return names


def _shard(text: str) -> tuple[int, int]:
    """Return which part of how many, e.g. (2, 4) for ``2/4``."""
    part, _, parts = text.partition("/")
    if not (part.isdigit() and parts.isdigit() and 1 <= int(part) <= int(parts)):
        raise argparse.ArgumentTypeError(f"expected I/N with 1 <= I <= N, got {text!r}")
    return int(part), int(parts)


def _positive(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number of at least 1, got {text!r}")
    return int(text)
