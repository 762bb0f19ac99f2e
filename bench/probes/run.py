"""Probe codecs on tasks, from start to end, and write what was found."""

import hashlib
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from numpy.typing import NDArray

from bench.analysis.cache import ArrayCache
from bench.analysis.figures import bar_figure
from bench.analysis.output import Analysis, skipped_rows, table_of
from bench.analysis.subjects import Heard, Row, Subject, subjects
from bench.errors import UsageError, unknown_name
from bench.plan import expand_codec_ids
from bench.probes import logmel, probing, vectors
from bench.probes.layouts import Example
from bench.probes.probing import ProbeResult
from bench.probes.tasks import Split, Task, find_tasks, load_tasks, splits
from bench.probes.vectors import REPRESENTATIONS, Vector, View
from bench.runner import Progress, Quiet
from bench.worker import Failure

DEFAULT_TASKS = ("made-pitch", "made-voice", "made-sound")
DEFAULT_CODECS = (
    "semanticodec-mini@100tps", "lyra@3.2kbps", "opus@6kbps", "lowpass@3500hz", "noise",
)  # fmt: skip
#: A probe of fewer clips would say nothing.
FEWEST_CLIPS = 10
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
        bench = Prober(task, examples, cache, seeds, seed)
        about.append(bench.about())
        rows += bench.rows(chosen, tuple(representations), progress)
    skipped = skipped_rows([subject.info for subject in chosen])
    table = table_of([*rows, *skipped])
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


@dataclass(frozen=True)
class Probed:
    """A row of the table, and how often each clip of the task was told rightly.

    Attributes:
        row: Of a codec, representation and probe.
        correct: Share of seeds, ``[n]``; NaN where a clip has no vector or was not asked about.
    """

    row: Row
    correct: NDArray[np.float64]


class Prober:
    """One task: its examples, its splits, and the rows of every codec.

    Args:
        task: The task.
        examples: Its clips.
        cache: Where vectors are kept.
        seeds: How many MLP probes.
        seed: Of the first.
    """

    def __init__(
        self, task: Task, examples: Sequence[Example], cache: ArrayCache, seeds: int, seed: int
    ) -> None:
        self.task, self.cache, self.seeds, self.seed = task, cache, seeds, seed
        self.heard = [Heard(one.clip) for one in examples]
        self.labels = np.array([one.label for one in examples])
        self.groups = [one.group for one in examples]
        self.splits = splits(task, examples)
        self.identity = self._identity()

    def _identity(self) -> str:
        """Return a hash of everything but the codec that an accuracy depends on."""
        parts = [f"{probing.VERSION} {logmel.VERSION} {vectors.VERSION} {self.task.split}"]
        for heard, label, group in zip(self.heard, self.labels, self.groups, strict=True):
            parts.append(f"{heard.content_hash} {label} {group}")
        parts += [" ".join(map(str, test)) for _, test in self.splits]
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]

    def about(self) -> Row:
        """Return the task's row."""
        return {
            "task": self.task.name,
            "title": self.task.title,
            "task_fingerprint": self.identity,
            "n": len(self.heard),
            "labels": len(set(self.labels.tolist())),
            "groups": len(set(filter(None, self.groups))),
            "split": str(self.task.split),
            "splits": len(self.splits),
            "chance": probing.chance(self.labels, self.splits),
            "version": probing.VERSION,
        }

    def rows(
        self, chosen: Sequence[Subject], representations: tuple[str, ...], progress: Progress
    ) -> list[Row]:
        """Return a row per codec, representation and probe."""
        rows: list[Row] = []
        if "log-mel" in representations:
            progress.begin(f"{self.task.name}: log-mel", len(self.heard))
            found = [self._told(vectors.original(heard, self.cache), progress)
                     for heard in self.heard]  # fmt: skip
            rows += [one.row for one in self._probed(ORIGINAL, View("log-mel"), found)]
        for subject in chosen:
            if subject.info.unavailable_reason:
                continue
            wanted = vectors.views(subject, representations)
            progress.begin(
                f"{self.task.name}: {subject.info.codec_id}", len(wanted) * len(self.heard)
            )
            probed: list[Probed] = []
            for view in wanted:
                found = [
                    self._told(vectors.vector(subject, heard, view, self.cache), progress)
                    for heard in self.heard
                ]
                probed += self._probed(subject.identity, view, found)
            rows += self._beside_features(probed)
        return rows

    def _beside_features(self, probed: Sequence[Probed]) -> list[Row]:
        """Return the rows of a codec, those of embeddings with the difference to its features."""
        ceilings = {
            one.row["probe"]: one.correct
            for one in probed
            if one.row["representation"] == "features"
        }
        for one in probed:
            ceiling = ceilings.get(one.row["probe"])
            if one.row["representation"] == "embedding" and ceiling is not None:
                found = probing.difference(one.correct, ceiling, self.groups)
                one.row.update(
                    difference=found.difference,
                    diff_low=found.low,
                    diff_high=found.high,
                    p_value=found.p_value,
                )
        return [one.row for one in probed]

    @staticmethod
    def _told(found: Vector | Failure, progress: Progress) -> Vector | Failure:
        progress.advance(1, isinstance(found, Failure))
        return found

    def _probed(self, identity: Row, view: View, found: Sequence[Vector | Failure]) -> list[Probed]:
        kept = [i for i, one in enumerate(found) if not isinstance(one, Failure)]
        counted = Counter(str(one.reason) for one in found if isinstance(one, Failure))
        common = identity | {
            "task": self.task.name,
            "domain": str(self.task.domain),
            "task_fingerprint": self.identity,
            "representation": view.representation,
            "stream": view.stream,
            "n_failed": len(found) - len(kept),
            "reasons": ", ".join(f"{name} {count}" for name, count in sorted(counted.items())),
            "version": probing.VERSION,
        }
        labels = self.labels[kept]
        parts = self._kept_splits(kept)
        if len(kept) < FEWEST_CLIPS or not parts:
            nothing = common | {"accuracy": math.nan, "n": 0}
            unknown = np.full(len(found), math.nan)
            return [Probed(nothing | {"probe": kind}, unknown) for kind in probing.PROBES]
        x = np.stack([one for one in found if not isinstance(one, Failure)])
        groups = [self.groups[i] for i in kept]
        answers = []
        for kind in probing.PROBES:
            done = probing.run_probe(
                x, labels, groups, parts, kind, seeds=self.seeds, seed=self.seed
            )
            correct = np.full(len(found), math.nan)
            correct[kept] = done.correct
            row = common | {"chance": probing.chance(labels, parts), "dimensions": x.shape[1]}
            answers.append(Probed(row | self._columns(kind, done), correct))
        return answers

    @staticmethod
    def _columns(kind: str, done: ProbeResult) -> Row:
        return {
            "probe": kind,
            "accuracy": done.interval.estimate,
            "ci_low": done.interval.low,
            "ci_high": done.interval.high,
            "n": done.interval.n,
            "seeds": len(done.by_seed),
            "seed_spread": max(done.by_seed) - min(done.by_seed),
        }

    def _kept_splits(self, kept: list[int]) -> list[Split]:
        """Return the splits of the clips that have a vector, as indices among those."""
        place = np.full(len(self.heard), -1)
        place[kept] = np.arange(len(kept))
        found = []
        for train, test in self.splits:
            pair = place[train][place[train] >= 0], place[test][place[test] >= 0]
            if all(map(len, pair)) and len(set(self.labels[train[place[train] >= 0]].tolist())) > 1:
                found.append(pair)
        return found


#: Identity columns of the baseline that no codec has touched.
ORIGINAL: dict[str, Any] = {
    "codec": "original", "family": "original", "kind": "baseline", "fingerprint": "none",
    "kbps": math.nan, "seed": 0,
}  # fmt: skip


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
        wide, category="view", bars=bars, panel="task", y_label="accuracy",
        level="chance",
    )  # fmt: skip
    return {"accuracy": figure}
