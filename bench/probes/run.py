"""Probe codecs on tasks, from start to end, and write what was found."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from bench.analysis.cache import ArrayCache
from bench.analysis.figures import bar_figure
from bench.analysis.output import Analysis, skipped_rows, table_of
from bench.analysis.subjects import Row, subjects
from bench.errors import UsageError, unknown_name
from bench.plan import expand_codec_ids
from bench.probes import probing
from bench.probes.prober import Prober
from bench.probes.tasks import find_tasks, load_tasks
from bench.probes.vectors import REPRESENTATIONS
from bench.runner import Progress, Quiet

DEFAULT_TASKS = ("made-pitch", "made-voice", "made-sound")
DEFAULT_CODECS = (
    "semanticodec-mini@100tps", "lyra@3.2kbps", "opus@6kbps", "lowpass@3500hz", "noise",
)  # fmt: skip
#: What comes first in the table; identity and settings follow.
COLUMNS = (
    "task", "codec", "representation", "stream", "probe", "accuracy", "ci_low", "ci_high", "chance",
    "n", "difference", "p_value",
)  # fmt: skip
NOTES = (
    "Accuracy of a probe on clips it was not trained on, with a 95 % bootstrap interval (over "
    "groups such as speakers where the task has them). linear: logistic regression; mlp: two "
    "layers, mean over seeds. embedding: quantizer's output averaged over time; features: the "
    "quantizer's input, its ceiling; reconstruction: log-mel statistics of the decoded audio; "
    "log-mel: those of the original. chance: always naming the most frequent label. difference: "
    "an embedding's accuracy minus that of its codec's features on the same clips, with interval "
    "and p-value of a paired permutation test. Bundled tasks (made-...) show that a probe works "
    "and rank codecs only roughly."
)


def probe(
    tasks: Sequence[str] | None = None,
    codecs: Sequence[str] | None = None,
    *,
    out: str | Path,
    representations: Sequence[str] | None = None,
    data: Path | None = None,
    folder: Path | None = None,
    tasks_file: Path | None = None,
    limit: int | None = None,
    seeds: int = 3,
    seed: int = 0,
    device: str = "cpu",
    progress: Progress | None = None,
) -> Analysis:
    """Tell what codecs' tokens and reconstructions say about audio; write ``out/analysis/probes``.

    Args:
        tasks: Names of bench/probes/tasks.yaml or of ``tasks_file``; None: :data:`DEFAULT_TASKS`.
        codecs: Codec ids; None: :data:`DEFAULT_CODECS`.
        out: A run's folder. Vectors are kept in ``out/cache`` and not made again.
        representations: What is probed, of :mod:`bench.probes.vectors`; None: all.
        data: Folder of all datasets; None: ``$CODECBENCH_DATA``.
        folder: Of the audio of all tasks given, instead of where the task file puts it.
        tasks_file: More tasks.
        limit: At most that many clips of each label (and fold).
        seeds: How many MLP probes are trained from different beginnings.
        seed: Of the first, of a decoder's noise and of ``limit``.
        device: Where neural codecs run.
        progress: Who is told how far it is.

    Raises:
        UsageError: If a name is wrong.
        DatasetError: If a task's audio is not there or not as described.
        BenchError: If ``out`` cannot be written.
    """
    representations = REPRESENTATIONS if representations is None else representations
    for name in representations:
        if name not in REPRESENTATIONS:
            raise unknown_name("representation", name, REPRESENTATIONS)
    if seeds < 1:
        raise UsageError(f"expected at least one seed, got {seeds}")
    out, progress = Path(out), progress or Quiet()
    work = out / "cache" / "made"
    work.mkdir(parents=True, exist_ok=True)
    codec_ids = expand_codec_ids(DEFAULT_CODECS if codecs is None else codecs)
    chosen = subjects(codec_ids, seed=seed, device=device)
    cache = ArrayCache(out / "cache" / "analysis")
    rows: list[Row] = []
    about: list[Row] = []
    for task in find_tasks(DEFAULT_TASKS if tasks is None else tasks, load_tasks(tasks_file)):
        where = folder or task.folder(work, data)
        examples = task.examples(where, limit=limit, seed=seed)
        prober = Prober(task, examples, cache, seeds, seed)
        about.append(prober.about())
        rows += prober.rows(chosen, tuple(representations), progress)
    skipped = skipped_rows([subject.info for subject in chosen])
    table = table_of([*rows, *skipped])
    first = [name for name in COLUMNS if name in table]
    table = table[[*first, *table.columns.difference(first, sort=False)]]
    analysis = Analysis(
        name="probes",
        title="Probes",
        summary=(
            "What a small classifier learns from the tokens of a frozen codec, before and after "
            "its quantizer, and from what it decodes; beside chance and log-mel statistics."
        ),
        notes=NOTES,
        tables={"probes": table, "probe_tasks": pd.DataFrame(about)},
        figures=_figures(table),
    )
    analysis.write(out)
    return analysis


def view_name(row: Any) -> str:
    """Return what a figure calls a codec's representation."""
    name = f"{row['codec']} {row['representation']}"
    return f"{name} ({row['stream']})" if row["stream"] else name


def _figures(table: pd.DataFrame) -> dict[str, Figure]:
    if "task" not in table:
        return {}
    rows = table[table["accuracy"].notna()] if "accuracy" in table else table.iloc[:0]
    if rows.empty:
        return {}
    named = rows.assign(view=[view_name(row) for row in rows.to_dict("records")])
    keys = ["task", "view", "chance"]
    wide = named[keys].drop_duplicates()
    for kind, part in named.groupby("probe"):
        renamed = {"accuracy": f"{kind}", "ci_low": f"{kind}_low", "ci_high": f"{kind}_high"}
        wide = wide.merge(part.rename(columns=renamed)[[*keys, *renamed.values()]], on=keys)
    bars = tuple((kind, kind, kind) for kind in probing.PROBES)
    figure = bar_figure(
        wide, category="view", bars=bars, panel="task", x_label="accuracy",
        level="chance",
    )  # fmt: skip
    return {"accuracy": figure}
