"""One task: its clips' vectors of every codec, and what probes make of them."""

import hashlib
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.analysis.cache import ArrayCache
from bench.analysis.subjects import Heard, Row, Subject
from bench.probes import logmel, probing, vectors
from bench.probes.layouts import Example
from bench.probes.probing import ProbeResult
from bench.probes.tasks import Split, Task, splits
from bench.probes.vectors import Vector, View
from bench.runner import Progress
from bench.worker import Failure

#: A probe of fewer clips would say nothing.
FEWEST_CLIPS = 10


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
