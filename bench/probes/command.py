"""The command ``probe``."""

import argparse

from rich.console import Console

from bench.analysis.command import finish
from bench.errors import UsageError
from bench.probes.run import DEFAULT_CODECS, DEFAULT_TASKS
from bench.probes.run import probe as run_probes
from bench.probes.tasks import load_tasks
from bench.probes.vectors import REPRESENTATIONS
from bench.progress import console_progress

COLUMNS = (
    "task", "codec", "representation", "stream", "probe", "accuracy", "ci_low", "ci_high", "chance",
    "n", "difference", "p_value",
)  # fmt: skip


def probe(options: argparse.Namespace) -> int:
    """Probe codecs on tasks."""
    if options.list:
        for task in load_tasks(options.tasks_file).values():
            print(f"{task.name}\n    {task.title}")
        return 0
    if options.folder and not options.folder.is_dir():
        raise UsageError(f"no folder at {options.folder}; --folder takes the folder of the audio")
    with console_progress(Console(stderr=True), plain=options.plain) as progress:
        analysis = run_probes(
            options.tasks or DEFAULT_TASKS,
            options.codecs or DEFAULT_CODECS,
            out=options.out,
            representations=options.representations or REPRESENTATIONS,
            data=options.data,
            folder=options.folder,
            tasks_file=options.tasks_file,
            limit=options.limit,
            seeds=options.seeds,
            seed=options.seed,
            device=options.device,
            progress=progress,
        )
    return finish(analysis, "probes", COLUMNS, options)
