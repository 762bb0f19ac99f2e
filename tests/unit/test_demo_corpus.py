"""The bundled demo corpus keeps its promises, and its maker still makes it."""

import csv
import hashlib
import importlib
from collections import Counter
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import soundfile as sf

ROOT = Path(__file__).parents[2]
DEMO = ROOT / "bench" / "demo"
MAX_BYTES = 6_000_000
COLUMNS = [
    "clip",
    "path",
    "domain",
    "text",
    "sample_rate",
    "channels",
    "duration_s",
    "sha256",
    "description",
    "source",
]

with (DEMO / "manifest.csv").open(newline="", encoding="utf-8") as file:
    ROWS = list(csv.DictReader(file))

each_clip = pytest.mark.parametrize("row", ROWS, ids=[row["clip"] for row in ROWS])


@pytest.fixture
def maker(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(ROOT / "tools")
    return importlib.import_module("make_demo_corpus")


def test_manifest_lists_every_file_once() -> None:
    assert list(ROWS[0]) == COLUMNS
    paths = [row["path"] for row in ROWS]
    files = [path.relative_to(DEMO).as_posix() for path in DEMO.rglob("*.flac")]
    assert sorted(paths) == sorted(files)
    assert len({row["clip"] for row in ROWS}) == len(ROWS)


def test_size_domains_and_stereo() -> None:
    assert sum(path.stat().st_size for path in DEMO.rglob("*") if path.is_file()) <= MAX_BYTES
    count = Counter(row["domain"] for row in ROWS)
    assert set(count) == {"speech", "music", "sound"}
    assert min(count.values()) >= 8
    stereo = {row["domain"] for row in ROWS if row["channels"] == "2"}
    assert {"music", "sound"} <= stereo


@each_clip
def test_row_describes_its_file(row: dict[str, str]) -> None:
    path = DEMO / row["path"]
    assert path.parent.name == row["domain"]
    assert path.stem == row["clip"]
    assert hashlib.sha256(path.read_bytes()).hexdigest() == row["sha256"]
    info = sf.info(path)
    assert (info.format, info.subtype) == ("FLAC", "PCM_16")
    assert info.samplerate == int(row["sample_rate"]) <= 48000
    assert info.channels == int(row["channels"])
    assert info.duration == pytest.approx(float(row["duration_s"]), abs=6e-4)
    assert 4.0 <= info.duration <= 8.0
    assert row["description"]
    assert row["source"]


@each_clip
def test_transcript_is_plain_words_for_speech_only(row: dict[str, str]) -> None:
    assert bool(row["text"]) == (row["domain"] == "speech")
    assert all(sign.isalpha() or sign in " ,.?" for sign in row["text"])


@each_clip
def test_sound_is_clean(row: dict[str, str]) -> None:
    signal, _ = sf.read(DEMO / row["path"], always_2d=True)
    peak = np.abs(signal).max()
    assert np.isfinite(signal).all()
    assert 0.15 < peak <= 10 ** (-1 / 20)
    assert 20 * np.log10(signal.std()) > -36
    assert np.abs(signal.mean(axis=0)).max() < 1e-3  # no direct current
    assert np.abs(signal[[0, -1]]).max() < 0.01  # faded ends
    assert (signal.std(axis=0) > 0.01).all()  # no dead channel


def test_stereo_channels_differ() -> None:
    for row in (row for row in ROWS if row["channels"] == "2"):
        signal, _ = sf.read(DEMO / row["path"])
        side = signal[:, 0] - signal[:, 1]
        assert side.std() > 0.05 * signal.std(), row["clip"]


def test_manifest_matches_the_recipes(maker: ModuleType) -> None:
    clips = [clip for group in maker.DOMAINS.values() for clip in group]
    made = [(c.name, c.path, c.text, str(c.sample_rate), c.description, c.source) for c in clips]
    keys = ("clip", "path", "text", "sample_rate", "description", "source")
    assert made == [tuple(row[key] for key in keys) for row in ROWS]


@pytest.mark.parametrize("name", ["sound_clock_bell", "sound_birds_dawn"])
def test_procedural_clips_render_as_committed(maker: ModuleType, name: str) -> None:
    clip = next(clip for clip in maker.DOMAINS["sound"] if clip.name == name)
    committed, _ = sf.read(DEMO / clip.path, dtype="int16")
    # One step of rounding is left to other versions of numpy and scipy.
    assert np.abs(clip.samples().astype(int) - committed).max() <= 1


def test_missing_program_is_named_with_its_remedy(
    maker: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert maker.main(["--domains", "music", "--out", str(tmp_path)]) == 2
    assert "apt-get install fluidsynth" in capsys.readouterr().err


def test_missing_sound_font_is_named_with_its_remedy(
    maker: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("CODECBENCH_SOUNDFONT", str(tmp_path / "none.sf2"))
    midi = importlib.import_module("demo_corpus.midi")
    clip = importlib.import_module("demo_corpus.clip")
    with pytest.raises(clip.CorpusError, match="apt-get install fluid-soundfont-gm"):
        midi.sound_font()


def test_check_reports_a_changed_file(
    maker: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    things = [clip for clip in maker.DOMAINS["sound"] if clip.name == "sound_clock_bell"]
    monkeypatch.setattr(maker, "DOMAINS", {"sound": things})
    assert maker.main(["--out", str(tmp_path)]) == 0
    assert maker.main(["--out", str(tmp_path), "--check"]) == 0
    samples, rate = sf.read(tmp_path / things[0].path, dtype="int16")
    samples[1000] += 3
    sf.write(tmp_path / things[0].path, samples, rate)
    capsys.readouterr()
    assert maker.main(["--out", str(tmp_path), "--check"]) == 1
    assert "does not have the sha256" in capsys.readouterr().out
