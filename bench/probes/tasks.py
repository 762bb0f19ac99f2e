"""The tasks that probes solve: those of ``tasks.yaml`` and of a user's own file of that form."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from enum import StrEnum
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.audio import Domain
from bench.datasets import data_folder, load_catalog
from bench.errors import DatasetError, unknown_name
from bench.probes.layouts import LAYOUTS, Example, Layout, Made
from bench.schema import build, check_keys, read_yaml

#: One split: indices to learn from, indices to be asked about.
Split = tuple[NDArray[np.int64], NDArray[np.int64]]
#: Of the folds that are drawn; fixed, so that all codecs and seeds see the same ones.
FOLD_SEED = 0


class SplitKind(StrEnum):
    """How a task's examples are split."""

    OWN = "own"
    GROUPED = "grouped"
    RANDOM = "random"
    BLOCKS = "blocks"


@dataclass(frozen=True)
class Task:
    """One entry of a task file.

    Attributes:
        name: Its key.
        title: What is to be told, in one line.
        layout: How its audio lies on disk.
        domain: Of its clips.
        split: How they are split.
        folds: How many folds are made, where the corpus has none of its own.
        root: Its folder below the data folder.
        dataset: Instead of a root: an entry of datasets.yaml.
    """

    name: str
    title: str
    layout: Layout
    domain: Domain
    split: SplitKind = SplitKind.OWN
    folds: int = 5
    root: str | None = None
    dataset: str | None = None

    def __post_init__(self) -> None:
        if self.folds < 2:
            raise ValueError(f"expected at least 2 folds, got {self.folds}")

    def folder(self, work: Path, data_root: Path | None = None) -> Path:
        """Return where its audio is; what is made lies in ``work``."""
        if isinstance(self.layout, Made):
            return work
        if self.dataset:
            return load_catalog()[self.dataset].folder(data_root)
        return (data_root or data_folder()) / (self.root or self.name)

    def examples(self, folder: Path, *, limit: int | None = None, seed: int = 0) -> list[Example]:
        """List its examples, at most ``limit`` of each label, sorted by clip.

        Raises:
            DatasetError: If its folder is not there, or holds fewer than two labels.
        """
        if not folder.is_dir():
            hint = f"run_bench.py fetch {self.dataset}, or " if self.dataset else ""
            raise DatasetError(f"{self.name} is not at {folder}; {hint}name it with --folder")
        found = sorted(
            self.layout.examples(folder, self.name, self.domain), key=lambda one: one.clip.id
        )
        if len({one.label for one in found}) < 2:
            raise DatasetError(
                f"{self.name}: {len(found)} clips in {folder} with fewer than two labels; "
                "expected the corpus as its task describes it"
            )
        return _limited(found, limit, seed)


def _limited(examples: list[Example], limit: int | None, seed: int) -> list[Example]:
    """Return at most ``limit`` examples of each label and fold, drawn by the seed."""
    if limit is None:
        return examples
    order = np.random.default_rng(seed).permutation(len(examples))
    taken: Counter[tuple[str, str]] = Counter()
    kept = []
    for index in order:
        key = (examples[index].label, examples[index].fold)
        if taken[key] < limit:
            taken[key] += 1
            kept.append(int(index))
    return [examples[index] for index in sorted(kept)]


def load_tasks(extra: Path | None = None) -> dict[str, Task]:
    """Return every known task by name, those of a user's own file beside the bundled ones.

    Raises:
        DatasetError: If a file is not as expected, or a name is in both.
    """
    tasks = _read(Path(__file__).with_name("tasks.yaml"))
    if extra is not None:
        own = _read(extra)
        if both := sorted(set(own) & set(tasks)):
            raise DatasetError(f"{extra}: the task {both[0]!r} is defined twice; rename yours")
        tasks |= own
    return tasks


def find_tasks(names: Sequence[str], tasks: Mapping[str, Task]) -> list[Task]:
    """Return the tasks of these names.

    Raises:
        UsageError: If there is none of a name (with the nearest ones).
    """
    for name in names:
        if name not in tasks:
            raise unknown_name("task", name, tasks)
    return [tasks[name] for name in names]


def _read(path: Path) -> dict[str, Task]:
    entries = read_yaml(path)
    return {name: _task(name, entry, f"{path}: {name}") for name, entry in entries.items()}


def _task(name: str, entry: object, where: str) -> Task:
    if not isinstance(entry, dict):
        raise DatasetError(f"{where}: expected a mapping, got {type(entry).__name__}")
    rest: dict[str, Any] = dict(entry)
    check_keys(rest, {field.name for field in fields(Task)} - {"name"} | {"options"}, where)
    layout = rest.pop("layout", None)
    if layout not in LAYOUTS:
        raise DatasetError(f"{where}.layout: {unknown_name('layout', str(layout), LAYOUTS)}")
    made = build(LAYOUTS[layout], rest.pop("options", None), f"{where}.options")
    return build(Task, rest, where, given={"name": name, "layout": made})


def splits(task: Task, examples: Sequence[Example]) -> list[Split]:
    """Return how the examples are split; every example is asked about at most once.

    Raises:
        DatasetError: If a split cannot be made: a label in too few folds, no folds in the corpus.
    """
    from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

    labels = np.array([one.label for one in examples])
    everything = np.zeros(len(examples))
    _check_labels(task, examples)
    if task.split is SplitKind.OWN:
        return _own_splits(task, [one.fold for one in examples])
    if task.split is SplitKind.BLOCKS:
        return _fold_splits(_blocks(labels, task.folds))
    if task.split is SplitKind.RANDOM:
        folds = StratifiedKFold(task.folds, shuffle=True, random_state=FOLD_SEED)
        return list(folds.split(everything, labels))
    groups = [one.group or one.clip.id for one in examples]
    grouped = StratifiedGroupKFold(task.folds, shuffle=True, random_state=FOLD_SEED)
    return list(grouped.split(everything, labels, groups))


def _check_labels(task: Task, examples: Sequence[Example]) -> None:
    if task.split is SplitKind.OWN:
        return
    grouped = task.split is SplitKind.GROUPED
    pairs = {(one.label, (grouped and one.group) or one.clip.id) for one in examples}
    label, count = min(Counter(label for label, _ in pairs).items(), key=lambda item: item[1])
    needed = 2 if grouped else task.folds
    if count < needed:
        unit = "group" if grouped else "clip"
        raise DatasetError(
            f"{task.name}: label {label!r} has {count} {unit}(s), {task.folds} folds need {needed};"
            " lower folds, raise the limit or leave the label out"
        )


def _own_splits(task: Task, folds: Sequence[str]) -> list[Split]:
    """Return train (and validation) against test, or each fold against the others."""
    names = np.array(folds)
    if "" in names or len(set(folds)) < 2:
        raise DatasetError(f"{task.name}: expected folds of its own, got {sorted(set(folds))}")
    if "test" in names:
        return [(np.flatnonzero(names != "test"), np.flatnonzero(names == "test"))]
    return _fold_splits(names)


def _fold_splits(folds: NDArray[Any]) -> list[Split]:
    names = sorted(set(folds.tolist()))
    return [(np.flatnonzero(folds != name), np.flatnonzero(folds == name)) for name in names]


def _blocks(labels: NDArray[Any], folds: int) -> NDArray[np.int64]:
    """Return a fold for each example; of each label, neighbours in order lie in one fold."""
    found = np.zeros(len(labels), dtype=np.int64)
    for label in set(labels.tolist()):
        own = np.flatnonzero(labels == label)
        found[own] = np.arange(len(own)) * folds // len(own)
    return found
