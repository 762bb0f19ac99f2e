"""A listening test as webMUSHRA wants it: complete, blind, level."""

import re

import numpy as np
import pandas as pd
import pytest
import soundfile
import yaml

from bench.errors import BenchError, UsageError
from bench.listening import ListeningTest, export
from bench.listening.loudness import MOST_PEAK, TARGET_LUFS, match_levels
from bench.reporting.media import ClipSources, Source

jsonschema = pytest.importorskip("jsonschema", reason="needs jsonschema")
pyloudnorm = pytest.importorskip("pyloudnorm", reason="needs pyloudnorm")

TEXT, FILE = {"type": "string"}, {"type": "string", "pattern": r"^configs/resources/.+\.wav$"}
BOOL = {"type": "boolean"}


def page(kind, required, **properties):
    names = {"type": {"const": kind}, "name": TEXT, "content": TEXT} | properties
    return {
        "type": "object",
        "properties": names,
        "required": ["type", "name", "content", *required],
        "additionalProperties": False,
    }


#: The keys and values of webMUSHRA's documentation for experimenters.
MUSHRA = page(
    "mushra", ["id", "reference", "stimuli"],
    id=TEXT, showWaveform=BOOL, enableLooping=BOOL, strict=BOOL, reference=FILE,
    createAnchor35=BOOL, createAnchor70=BOOL, randomize=BOOL, showConditionNames=BOOL,
    stimuli={
        "type": "object", "minProperties": 1, "maxProperties": 12, "additionalProperties": FILE
    },
)  # fmt: skip
QUESTION = {
    "type": "object",
    "properties": {
        "type": {"enum": ["text", "number", "likert", "long_text"]}, "label": TEXT, "name": TEXT
    },
    "required": ["type", "label", "name"],
}  # fmt: skip
SCHEMA = {
    "type": "object",
    "properties": {
        "testname": TEXT,
        "testId": {"type": "string", "pattern": "^[a-z0-9-]+$"},
        "bufferSize": {"enum": [256, 512, 1024, 2048, 4096, 8192, 16384]},
        "stopOnErrors": BOOL,
        "showButtonPreviousPage": BOOL,
        "remoteService": TEXT,
        "pages": {
            "type": "array",
            "prefixItems": [
                page("generic", ["id"], id=TEXT),
                page("volume", ["id", "stimulus"], id=TEXT, stimulus=FILE,
                     defaultVolume={"type": "number", "minimum": 0, "maximum": 1}),
                {
                    "type": "array", "prefixItems": [{"const": "random"}], "items": MUSHRA,
                    "minItems": 2,
                },
                page("finish", [], showResults=BOOL, writeResults=BOOL,
                     questionnaire={"type": "array", "items": QUESTION}),
            ],
            "items": False,
            "minItems": 4,
        },
    },
    "required": ["testname", "testId", "bufferSize", "pages", "remoteService"],
    "additionalProperties": False,
}  # fmt: skip


def configs(done):
    return {path.stem: yaml.safe_load(path.read_text()) for path in done.configs}


def mushra_pages(done):
    return [one for config in configs(done).values() for one in config["pages"][2][1:]]


def test_configurations_follow_webmushras_documentation(exported):
    found = configs(exported)
    assert set(found) == {"our-test-speech", "our-test-music"}
    for config in found.values():
        jsonschema.Draft202012Validator(SCHEMA).validate(config)
        assert config["testname"].startswith("Our test: ")


def test_yaml_is_what_webmushras_parser_reads(exported):
    """It reads a list within a list only if that begins on a line of its own."""
    for path in exported.configs:
        lines = path.read_text().splitlines()
        assert not [line for line in lines if re.match(r" *- - ", line)]
        place = lines.index("    - random")
        assert lines[place - 1] == "  -"
        assert all(re.match(r" *(-|- [\w ]+|[\w -]+:( .+)?)$", line) for line in lines)


def test_every_page_has_every_condition_and_no_name_tells(exported):
    pages, test = mushra_pages(exported), exported.test
    assert {one["id"] for one in pages} == {trial.id for trial in test.trials}
    assert len(test.trials) == 6
    expected = {condition.name for condition in test.conditions} - {"reference"}
    for one in pages:
        assert set(one["stimuli"]) == expected
    assert {"anchor35", "anchor70"} < expected
    assert [c.codec for c in test.conditions if c.role == "reference"] == ["reference"]
    text = "".join(path.read_text() for path in exported.configs)
    files = [path.name for path in exported.folder.rglob("*.wav")]
    assert not any(family in text for family in ("good", "fair", "poor"))
    assert all(re.fullmatch(r"[0-9a-f]{16}\.wav", name) for name in files)
    assert len(files) == 6 * 6


def test_audio_is_as_webmushra_checks_it(exported):
    for one in mushra_pages(exported):
        files = [exported.folder / name for name in (one["reference"], *one["stimuli"].values())]
        infos = [soundfile.info(file) for file in files]
        assert {(info.samplerate, info.channels, info.subtype) for info in infos} == {
            (48000, 1, "PCM_16")
        }
        assert len({info.frames for info in infos}) == 1
        assert infos[0].duration <= 12


def test_conditions_are_equally_loud_and_the_gains_are_kept(exported):
    for one in mushra_pages(exported):
        for file in (one["reference"], *one["stimuli"].values()):
            samples, rate = soundfile.read(exported.folder / file)
            assert pyloudnorm.Meter(rate).integrated_loudness(samples) == pytest.approx(
                TARGET_LUFS, abs=0.5
            )
    levels = pd.read_csv(exported.folder / "levels.csv")
    assert set(levels["method"]) == {"BS.1770"}
    gains = levels.groupby("codec")["gain_db"].mean()
    assert gains["poor@3kbps"] - gains["good@12kbps"] == pytest.approx(6, abs=0.2)


def test_anchors_lose_what_lies_above_their_edge(exported):
    one = mushra_pages(exported)[0]
    for name, edge in (("anchor35", 3500), ("anchor70", 7000)):
        samples, rate = soundfile.read(exported.folder / one["stimuli"][name])
        power = np.abs(np.fft.rfft(samples * np.hanning(len(samples)))) ** 2
        hertz = np.fft.rfftfreq(len(samples), 1 / rate)
        above = power[hertz > 1.2 * edge].sum() / power[hertz < edge].sum()
        assert above < 1e-5
    reference, rate = soundfile.read(exported.folder / one["reference"])
    power = np.abs(np.fft.rfft(reference)) ** 2
    assert power[np.fft.rfftfreq(len(reference), 1 / rate) > 4200].sum() / power.sum() > 0.3


def test_levels_can_be_kept(kept_run, tmp_path):
    done = export(kept_run, tmp_path / "t", keep_levels=True, limit=1)
    levels = pd.read_csv(done.folder / "levels.csv")
    assert levels.groupby("trial")["gain_db"].std().max() == 0


def test_same_seed_same_test_and_it_survives_the_file(kept_run, exported, tmp_path):
    again = export(kept_run, tmp_path / "again", name="Our test", seed=3)
    other = export(kept_run, tmp_path / "other", name="Our test", seed=4, limit=2)
    for path in exported.configs:
        assert (again.folder / "configs" / path.name).read_text() == path.read_text()
    assert ListeningTest.load(again.folder) == exported.test
    assert other.test.conditions != exported.test.conditions
    assert len(other.test.trials) == 4


def test_the_papers_design_is_held_to(kept_run, tmp_path):
    with pytest.raises(UsageError, match=r"has 7 systems, got 3 \(good@12kbps"):
        export(kept_run, tmp_path / "t", preset="semanticodec-paper")
    with pytest.raises(UsageError, match="did you mean semanticodec-paper"):
        export(kept_run, tmp_path / "t", preset="semanticodec")
    assert not (tmp_path / "t").exists()


def test_the_papers_design(make_results, kept_run, tmp_path, monkeypatch):
    """25 + 30 + 50 clips, nine conditions, no 7 kHz anchor; what is written is tested elsewhere."""
    codecs = {f"codec{number}@1kbps": 1.0 for number in range(7)}
    results = make_results(codecs=codecs, clips=50, domains=("speech", "music", "sound"))
    one = Source("x", kept_run.folder / "reference0.wav")
    monkeypatch.setattr(
        "bench.listening.exporting.clip_sources",
        lambda *_: ClipSources(one, dict.fromkeys(codecs, one)),
    )
    monkeypatch.setattr("bench.listening.exporting._write", lambda *_: ())
    test = export(results, tmp_path / "t", preset="semanticodec-paper").test
    assert pd.Series([trial.domain for trial in test.trials]).value_counts().to_dict() == {
        "sound": 50, "speech": 30, "music": 25,
    }  # fmt: skip
    assert len(test.conditions) == 9
    assert [c.codec for c in test.conditions if c.role == "anchor"] == ["lowpass@3500hz"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"codecs": ["god@12kbps"]}, "did you mean good@12kbps"),
        ({"preset": "semanticodec-paper", "limit": 3}, "fixes clips and anchors"),
        ({"anchors": ["7khz"]}, "named by its edge"),
        ({"anchors": ["30000hz"]}, "between 50 and 20000"),
        ({"anchors": [f"{n}00hz" for n in range(40, 50)]}, "12 signals"),
    ],
)
def test_bad_options_say_what_to_do(kept_run, tmp_path, options, message):
    with pytest.raises(UsageError, match=message):
        export(kept_run, tmp_path / "t", **options)
    assert not (tmp_path / "t").exists()


def test_a_folder_with_something_in_it_is_left_alone(kept_run, tmp_path):
    (tmp_path / "mine.txt").write_text("keep")
    with pytest.raises(UsageError, match="not empty"):
        export(kept_run, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_audio_that_was_not_kept(make_results, tmp_path):
    results = make_results(codecs={"good@12kbps": 12.0}, clips=1, folder=tmp_path)
    with pytest.raises(UsageError, match="without --no-audio"):
        export(results, tmp_path / "t")


@pytest.mark.parametrize(
    ("content", "message"),
    [("{", "no listening test"), ('{"name": "x"}', "no listening test"), (None, "cannot be read")],
)
def test_a_key_that_is_none(tmp_path, content, message):
    if content is not None:
        (tmp_path / "test.json").write_text(content)
    with pytest.raises(BenchError, match=message):
        ListeningTest.load(tmp_path)


# --- levels ---------------------------------------------------------------------------------------


def tone(seconds, gain):
    wave = gain * np.sin(2 * np.pi * 997 * np.arange(round(seconds * 48000)) / 48000)
    return wave[None].astype(np.float32)


def test_a_full_scale_997_hz_sine_reads_minus_3_lufs():
    """The calibration of BS.1770: a sine at 0 dBFS in one channel is -3.01 LKFS."""
    done = match_levels({"a": tone(2, 1.0)}, 48000, "a")["a"]
    assert done.before == pytest.approx(-3.01, abs=0.05)
    assert done.gain_db == pytest.approx(TARGET_LUFS + 3.01, abs=0.05)


def test_short_or_silent_pages_are_matched_by_rms_and_say_so():
    short = match_levels({"a": tone(0.3, 0.5), "b": tone(0.3, 0.25)}, 48000, "a")
    assert "less than a block" in short["a"].method
    assert short["b"].gain_db - short["a"].gain_db == pytest.approx(6.02, abs=0.01)
    quiet = match_levels({"a": tone(1, 0.5), "b": tone(1, 0.0)}, 48000, "a")
    assert "b is below the gate" in quiet["b"].method
    assert quiet["b"].gain_db == quiet["a"].gain_db
    assert not quiet["b"].samples.any()


def test_a_page_is_turned_down_together_where_a_peak_would_clip():
    click = np.zeros((1, 48000), np.float32)
    click[0, ::4800] = 0.5
    done = match_levels({"a": tone(1, 0.5), "b": click}, 48000, "a")
    assert max(np.abs(one.samples).max() for one in done.values()) == pytest.approx(
        MOST_PEAK, rel=1e-3
    )
    meter = pyloudnorm.Meter(48000)
    loudness = [meter.integrated_loudness(one.samples.T.astype(float)) for one in done.values()]
    assert loudness[0] == pytest.approx(loudness[1], abs=0.2)
