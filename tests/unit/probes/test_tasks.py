"""Task files and splits."""

from pathlib import Path

import numpy as np
import pytest

from bench.audio import Domain
from bench.clips import Clip
from bench.errors import DatasetError, UsageError
from bench.probes.layouts import Example, Made
from bench.probes.tasks import SplitKind, Task, find_tasks, load_tasks, splits

ROOT = Path(__file__).parents[3]


def examples(labels, groups=None, folds=None):
    count = len(labels)
    groups, folds = groups or [""] * count, folds or [""] * count
    return [
        Example(Clip(f"c{i}", "t", Domain.SOUND, Path(f"{i}.wav")), *facts)
        for i, facts in enumerate(zip(labels, groups, folds, strict=True))
    ]


def task(split, folds=2):
    return Task("t", "title", Made("sound"), Domain.SOUND, SplitKind(split), folds)


def check_disjoint(found, count):
    tested = np.concatenate([test for _, test in found])
    assert sorted(tested) == list(range(count))
    for train, test in found:
        assert not set(train) & set(test)


def test_bundled_tasks_are_read():
    tasks = load_tasks()
    assert {"made-pitch", "esc50", "hear-nsynth-pitch", "crema-d"} <= set(tasks)
    assert find_tasks(["esc10"], tasks)[0].layout.esc10


def test_a_group_is_never_on_both_sides():
    groups = [f"g{i // 4}" for i in range(24)]
    own = examples([("a", "b")[i % 2] for i in range(24)], groups)
    found = splits(task("grouped", 3), own)
    check_disjoint(found, 24)
    for train, test in found:
        assert not {groups[i] for i in train} & {groups[i] for i in test}


def test_own_folds_are_left_out_one_by_one():
    own = examples("abababab", folds=list("11223344"))
    found = splits(task("own"), own)
    check_disjoint(found, 8)
    assert [test.tolist() for _, test in found] == [[0, 1], [2, 3], [4, 5], [6, 7]]


def test_an_official_test_part_is_the_only_one_asked():
    own = examples("ababab", folds=["train", "train", "valid", "valid", "test", "test"])
    ((train, test),) = splits(task("own"), own)
    assert train.tolist() == [0, 1, 2, 3]
    assert test.tolist() == [4, 5]


def test_neighbours_stay_together_in_blocks():
    own = examples("aaaabbbb")
    found = splits(task("blocks"), own)
    check_disjoint(found, 8)
    assert [test.tolist() for _, test in found] == [[0, 1, 4, 5], [2, 3, 6, 7]]


def test_the_split_is_the_same_every_time():
    own = examples("abababababab")
    one, two = (splits(task("random", 3), own) for _ in range(2))
    assert [test.tolist() for _, test in one] == [test.tolist() for _, test in two]


@pytest.mark.parametrize(
    ("split", "labels", "message"),
    [
        ("random", "aaaab", "label 'b' has 1 clip"),
        ("grouped", "aaab", "label 'b' has 1 group"),
        ("own", "abab", "folds of its own"),
    ],
)
def test_a_split_that_cannot_be_made_says_why(split, labels, message):
    with pytest.raises(DatasetError, match=message):
        splits(task(split), examples(labels))


def test_a_limit_is_of_each_label_and_repeats(tmp_path):
    made = load_tasks()["made-sound"]
    few = made.examples(tmp_path, limit=2, seed=1)
    assert len(few) == 16
    assert few == made.examples(tmp_path, limit=2, seed=1)
    assert few != made.examples(tmp_path, limit=2, seed=2)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("mine: {title: t, domain: sound}", "unknown layout 'None'"),
        ("mine: {title: t, layout: tabel, domain: sound}", "did you mean table"),
        ("mine: {title: t, layout: table, domain: sound}", "'label' is missing"),
        ("mine: {title: t, layout: libricount, domain: sond}", "did you mean sound"),
        ("mine: {title: t, layout: libricount, domain: sound, fold: 3}", "did you mean folds"),
        ("mine: {title: t, layout: libricount, domain: sound, folds: 1}", "at least 2 folds"),
        ("esc50: {title: t, layout: libricount, domain: sound}", "defined twice"),
    ],
)
def test_a_wrong_task_file_is_one_clear_line(text, message, tmp_path):
    path = tmp_path / "tasks.yaml"
    path.write_text(text)
    with pytest.raises(DatasetError, match=message) as caught:
        load_tasks(path)
    assert "\n" not in str(caught.value)


def test_an_unknown_task_names_the_nearest():
    with pytest.raises(UsageError, match="did you mean esc"):
        find_tasks(["esc05"], load_tasks())


def test_missing_audio_says_where_it_was_expected(tmp_path):
    crema = load_tasks()["crema-d"]
    with pytest.raises(DatasetError, match=r"crema-d is not at .*CREMA-D; name it with --folder"):
        crema.examples(crema.folder(tmp_path, tmp_path))


def test_the_example_task_file_of_the_documentation_is_valid():
    tasks = load_tasks(ROOT / "docs" / "examples" / "probe_tasks.yaml")
    assert len(tasks) > len(load_tasks())
