"""Corpora as they lie on disk, each a small tree of its own form."""

import json

import pytest

from bench.audio import Domain
from bench.errors import DatasetError
from bench.probes.layouts import (
    LAYOUTS,
    CremaD,
    Esc50,
    Hear,
    LibriCount,
    Made,
    NSynth,
    SpeechCommands,
    Table,
    VocalImitations,
)


def touch(root, *names):
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")


def listed(layout, root):
    found = layout.examples(root, "task", Domain.SOUND)
    assert all(one.clip.path.is_file() for one in found)
    assert len({one.clip.id for one in found}) == len(found)
    return sorted((one.clip.path.name, one.label, one.group, one.fold) for one in found)


def test_hear(tmp_path):
    meta = {"embedding_type": "scene", "prediction_type": "multiclass"}
    (tmp_path / "task_metadata.json").write_text(json.dumps(meta))
    touch(tmp_path, "48000/fold00/a.wav", "48000/fold01/b.wav", "labelvocabulary.csv")
    (tmp_path / "fold00.json").write_text('{"a.wav": ["rain"]}')
    (tmp_path / "fold01.json").write_text('{"b.wav": ["wind"]}')
    assert listed(Hear(), tmp_path) == [
        ("a.wav", "rain", "", "fold00"),
        ("b.wav", "wind", "", "fold01"),
    ]
    (tmp_path / "fold01.json").write_text('{"b.wav": ["wind", "rain"]}')
    with pytest.raises(DatasetError, match=r"expected one label for b\.wav"):
        listed(Hear(), tmp_path)
    (tmp_path / "task_metadata.json").write_text('{"embedding_type": "event"}')
    with pytest.raises(DatasetError, match="scene task"):
        listed(Hear(), tmp_path)


def test_esc50_and_esc10(tmp_path):
    touch(tmp_path, "audio/1-a.wav", "audio/2-b.wav", "meta/esc50.csv")
    (tmp_path / "meta" / "esc50.csv").write_text(
        "filename,fold,target,category,esc10,src_file,take\n"
        "1-a.wav,1,0,dog,True,1,A\n2-b.wav,2,3,cow,False,2,B\n"
    )
    assert listed(Esc50(), tmp_path) == [("1-a.wav", "dog", "", "1"), ("2-b.wav", "cow", "", "2")]
    assert listed(Esc50(esc10=True), tmp_path) == [("1-a.wav", "dog", "", "1")]


def test_speech_commands(tmp_path):
    touch(tmp_path, "yes/aa_nohash_0.wav", "no/bb_nohash_1.wav", "no/cc_nohash_0.wav")
    touch(tmp_path, "_background_noise_/hum.wav")
    (tmp_path / "testing_list.txt").write_text("no/bb_nohash_1.wav\n")
    (tmp_path / "validation_list.txt").write_text("no/cc_nohash_0.wav\n")
    assert listed(SpeechCommands(), tmp_path) == [
        ("aa_nohash_0.wav", "yes", "aa", "train"),
        ("bb_nohash_1.wav", "no", "bb", "test"),
        ("cc_nohash_0.wav", "no", "cc", "validation"),
    ]
    assert len(listed(SpeechCommands(words=("yes",)), tmp_path)) == 1


def test_nsynth(tmp_path):
    touch(tmp_path, "nsynth-train/audio/a.wav", "nsynth-test/audio/b.wav")
    facts = {"a": {"pitch": 60, "instrument_str": "g_0"}, "low": {"pitch": 9}}
    (tmp_path / "nsynth-train" / "examples.json").write_text(json.dumps(facts))
    facts = {"b": {"pitch": 61, "instrument_str": "g_1"}}
    (tmp_path / "nsynth-test" / "examples.json").write_text(json.dumps(facts))
    expected = [("a.wav", "60", "g_0", "train"), ("b.wav", "61", "g_1", "test")]
    assert listed(NSynth(), tmp_path) == expected


def test_crema_d(tmp_path):
    touch(tmp_path, "AudioWAV/1001_DFA_ANG_XX.wav", "AudioWAV/1002_IEO_SAD_HI.wav", "x.wav")
    assert listed(CremaD(), tmp_path) == [
        ("1001_DFA_ANG_XX.wav", "anger", "1001", ""),
        ("1002_IEO_SAD_HI.wav", "sad", "1002", ""),
    ]


def test_libricount(tmp_path):
    touch(tmp_path, "test/0_abc.wav", "test/10_def.wav", "test/readme.wav")
    assert listed(LibriCount(), tmp_path) == [
        ("0_abc.wav", "0", "", ""),
        ("10_def.wav", "10", "", ""),
    ]


def test_vocal_imitations(tmp_path):
    touch(tmp_path, "vocal_imitations/included/001a.wav", "vocal_imitations/excluded/002b.wav")
    (tmp_path / "vocal_imitations.txt").write_text(
        "imitation_filename\treference_filename\tincluded\n"
        "001a.wav\tbell.wav\tTrue\n002b.wav\tdog.wav\tFalse\n"
    )
    assert listed(VocalImitations(), tmp_path) == [("001a.wav", "bell.wav", "", "")]


TABLE = """path,source,who,seconds
a.flac,klettres,klettres-da,4.0
b.flac,klettres,klettres-nl,6.0
c.flac,other,other-da,2.0
d.flac,klettres,klettres-xx,2.0
"""


def test_a_table_of_ones_own(tmp_path):
    touch(tmp_path, "a.flac", "b.flac", "c.flac", "d.flac")
    (tmp_path / "manifest.csv").write_text(TABLE)
    layout = Table(
        label="who", pattern=r".*-(\w\w)", group="source",
        where={"source": "klettres|other"}, min_groups=2,
    )  # fmt: skip
    assert listed(layout, tmp_path) == [
        ("a.flac", "da", "klettres", ""),
        ("c.flac", "da", "other", ""),
    ]


def test_files_cut_into_segments(tmp_path):
    touch(tmp_path, "a.flac", "b.flac", "c.flac", "d.flac")
    (tmp_path / "manifest.csv").write_text(TABLE)
    layout = Table(label="who", segments=2, min_groups=1, where={"source": "klettres"})
    found = layout.examples(tmp_path, "task", Domain.SPEECH)
    assert [(one.clip.start_s, one.clip.duration_s, one.fold) for one in found[2:4]] == [
        (0.0, 3.0, "0"),
        (3.0, 3.0, "1"),
    ]
    assert len({one.clip.content_hash() for one in found[:2]}) == 2


@pytest.mark.parametrize(
    ("layout", "message"),
    [(Table(label="whom"), "column 'whom' is missing"), (Esc50(), "cannot read")],
)
def test_what_is_missing_is_named(layout, message, tmp_path):
    (tmp_path / "manifest.csv").write_text(TABLE)
    with pytest.raises(DatasetError, match=message):
        layout.examples(tmp_path, "task", Domain.SPEECH)


def test_a_pattern_without_a_group_is_refused():
    with pytest.raises(ValueError, match="pattern with a group"):
        Table(label="who", pattern="x")


def test_made_clips_are_the_same_twice(tmp_path):
    first = Made("sound").examples(tmp_path / "one", "task", Domain.SOUND)
    second = Made("sound").examples(tmp_path / "two", "task", Domain.SOUND)
    assert [one.clip.content_hash() for one in first] == [one.clip.content_hash() for one in second]
    assert len(first) == 64
    with pytest.raises(ValueError, match="pitch, voice, sound"):
        Made("smell")


def test_every_layout_lists_nothing_but_its_own(tmp_path):
    assert set(LAYOUTS) >= {"hear", "esc50", "nsynth", "table", "made"}
