"""Commands that move runs: ``merge``, ``export``."""

from pathlib import Path

from bench.cli.arguments import Commands, command


def add_merge(commands: Commands) -> None:
    parser = command(
        commands,
        "merge",
        "bench.shards:merge_command",
        "join runs of parts of one data set into one",
        "merge runs/part-1 runs/part-2 s3://bucket/part-3 --out runs/whole",
    )
    parser.add_argument("shards", nargs="+", help="run folders, or where they were exported to")
    parser.add_argument("--out", type=Path, required=True, help="folder of the new run")


def add_export(commands: Commands) -> None:
    parser = command(
        commands,
        "export",
        "bench.shards:export_command",
        "write a run's measurements as Parquet files, e.g. to object storage",
        "export runs/part-3 s3://bucket/part-3",
    )
    parser.add_argument("folder", type=Path, help="the run's folder")
    parser.add_argument("place", help="folder or URL (s3://, gs://, ...) that fsspec can write")
