"""Commands that tell what there is and fetch it: ``list``, ``doctor``, ``fetch``."""

from pathlib import Path

from bench.cli.arguments import Commands, command


def add_list(commands: Commands) -> None:
    parser = command(
        commands, "list", "list_names", "show what is there and why something is not", "list codecs"
    )
    parser.add_argument("what", nargs="?", choices=("codecs", "metrics", "datasets"))
    parser.add_argument("--datasets-file", type=Path, help="YAML file with more datasets")


def add_doctor(commands: Commands) -> None:
    parser = command(
        commands,
        "doctor",
        "doctor",
        "check that a codec keeps the contract",
        "doctor my_package.my_module:MyCodec@6kbps",
    )
    parser.add_argument("codec", nargs="+", help="codec id, or module:Class[@point]")


def add_fetch(commands: Commands) -> None:
    parser = command(
        commands, "fetch", "fetch", "download a dataset, verify and unpack it", "fetch esc50"
    )
    parser.add_argument("name", help="name in datasets.yaml")
    parser.add_argument("--datasets-file", type=Path, help="YAML file with more datasets")
    parser.add_argument("--data", type=Path, help="data folder (default: $CODECBENCH_DATA)")
