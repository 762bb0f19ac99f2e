"""The command ``listening``."""

from pathlib import Path

from bench.cli.arguments import Commands, command, names, positive


def add_listening(commands: Commands) -> None:
    parser = command(
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
    add("--codecs", type=names, help="codec ids to rate (default: all but anchors)")
    add("--limit", type=positive, help="clips of each domain (default: all)")
    add("--anchors", type=names, help="edges of the low-pass anchors (default: 3500hz,7000hz)")
    add("--keep-levels", action="store_true", help="level the items only, not the conditions")
    add("--name", default="codec-listening-test", help="of the test, as raters see it")
    add("--seed", type=int, default=0, help="of choice and order (default: 0)")
    evaluate = actions.add_parser("import", help="evaluate the ratings that webMUSHRA wrote")
    add = evaluate.add_argument
    add("test", type=Path, help="the folder that `listening export` wrote")
    add("ratings", type=Path, nargs="+", help="webMUSHRA's mushra.csv, one or several")
    add("--rater", type=names, help="columns that tell raters apart (default: found)")
    add("--out", type=Path, required=True, help="the run's folder: a tab of its report")
    add("--seed", type=int, default=0, help="of the bootstrap (default: 0)")
