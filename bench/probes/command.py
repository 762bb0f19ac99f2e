"""The command ``probe``."""

import argparse

from bench.analysis.command import common, finish
from bench.errors import UsageError
from bench.probes.run import COLUMNS
from bench.probes.run import probe as run_probes
from bench.probes.tasks import load_tasks


def probe(options: argparse.Namespace) -> int:
    """Probe codecs on tasks."""
    if options.list:
        for task in load_tasks(options.tasks_file).values():
            print(f"{task.name}\n    {task.title}")
        return 0
    if options.folder and not options.folder.is_dir():
        raise UsageError(f"no folder at {options.folder}; --folder takes the folder of the audio")
    with common(options) as arguments:
        analysis = run_probes(
            options.tasks,
            representations=options.representations,
            data=options.data,
            folder=options.folder,
            tasks_file=options.tasks_file,
            limit=options.limit,
            seeds=options.seeds,
            **arguments,
        )
    return finish(analysis, "probes", COLUMNS, options)
