"""Commands that look inside codecs: ``probe``, ``tokens``, ``robustness``."""

import argparse
from pathlib import Path

from bench.cli.arguments import DEFAULT_OUT, Commands, add_selection, command, names, positive


def add_probe(commands: Commands) -> None:
    parser = command(
        commands,
        "probe",
        "bench.probes.command:probe",
        "train small classifiers on codecs' tokens and reconstructions",
        "probe --tasks esc10 --codecs lyra@6kbps,mimi@8cb,noise --limit 20 --out runs/first",
    )
    add = parser.add_argument
    add("--tasks", type=names, help="task names (default: the three bundled ones)")
    add("--list", action="store_true", help="show the tasks and end")
    add("--codecs", type=names, help="codec ids; a family alone means its usual points")
    note = "of embedding, features, reconstruction, log-mel (default: all)"
    add("--representations", type=names, help=note)
    add("--folder", type=Path, help="of the audio, instead of where the task file says")
    add("--data", type=Path, help="folder of all datasets (default: $CODECBENCH_DATA)")
    add("--tasks-file", type=Path, help="YAML file with more tasks (docs/probes.md)")
    add("--limit", type=positive, help="at most that many clips of each label and fold")
    add("--seeds", type=positive, default=3, help="MLP probes from as many seeds (default: 3)")
    add("--seed", type=int, default=0, help="the first of them (default: 0)")
    _add_where(parser)


def add_tokens(commands: Commands) -> None:
    parser = command(
        commands,
        "tokens",
        "bench.analysis.command:tokens",
        "tell what codecs' tokens are like: rate, entropy, use, stability",
        "tokens --codecs lyra@3.2kbps,mimi@8cb --domains speech --out runs/first",
    )
    add_selection(parser)
    _add_where(parser)
    add = parser.add_argument
    note = "clips of each domain that are shifted, changed and coded again (default: 4)"
    add("--stability-limit", type=positive, default=4, metavar="N", help=note)


def add_robustness(commands: Commands) -> None:
    parser = command(
        commands,
        "robustness",
        "bench.analysis.command:robustness",
        "damage payloads and tell what is left: bit flips, lost frames, long files",
        "robustness --codecs opus@12kbps,lyra@3.2kbps --metrics stoi --bit-flips 1e-4,1e-3",
    )
    add_selection(parser)
    _add_where(parser)
    add = parser.add_argument
    note = "of bits flipped (default: 0.0001,0.001,0.01)"
    add("--bit-flips", type=_rates, metavar="RATES", help=note)
    note = "of frames or packets lost, alone and in bursts (default: 0.01,0.05,0.1,0.2)"
    add("--losses", type=_rates, metavar="RATES", help=note)
    add("--draws", type=positive, default=1, help="damage each clip that often (default: 1)")
    parser.set_defaults(limit=3)


def _add_where(parser: argparse.ArgumentParser) -> None:
    """Add what all three have in common."""
    add = parser.add_argument
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
