"""Layouts of audio on disk: what is found, and what is said of what is wrong."""

import json
import os
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from bench.audio import Domain, read_audio
from bench.clips import Clip
from bench.datasets import folder_dataset
from bench.errors import DatasetError, MeasureError, Reason
from bench.loaders import (
    MAX_BAD_ROWS,
    MUSDB_STREAMS,
    Esc50,
    Folder,
    LibriSpeech,
    LibriTTS,
    Manifest,
    Musdb18,
    safe_id,
)

Touch = Callable[..., Path]


@pytest.fixture
def touch(tmp_path) -> Touch:
    """Make a file below ``tmp_path``; its content matters to text files only."""

    def make(name: str, content: str = "") -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
        return path

    return make


def by_id(clips: list[Clip]) -> dict[str, Clip]:
    found = {clip.id: clip for clip in clips}
    assert len(found) == len(clips)
    return found


# --- folder ---------------------------------------------------------------------------------------


def test_folder_finds_audio_with_its_domain_and_text(touch, tmp_path):
    touch("speech/a.wav")
    touch("speech/a.txt", "Hello\n  world ")
    touch("speech/b.FLAC")
    touch("speech/b.txt", "raw")
    touch("speech/b.normalized.txt", "normal")
    touch("deep/music/x/c.mp3")
    touch("sound/d.ogg")
    touch("sound/notes.md")
    touch("sound/.hidden.wav")
    touch("sound/._d.wav")
    touch(".git/e.wav")
    clips = by_id(folder_dataset(tmp_path).clips())
    assert list(clips) == ["deep/music/x/c", "sound/d", "speech/a", "speech/b"]
    assert clips["speech/a"].text == "Hello world"
    assert clips["speech/b"].text == "normal"
    assert clips["sound/d"].text is None
    assert [clip.domain for clip in clips.values()] == ["music", "sound", "speech", "speech"]


def test_folder_takes_the_domain_it_is_given(touch, tmp_path):
    touch("music/a.wav")
    assert folder_dataset(tmp_path, Domain.SPEECH).clips()[0].domain is Domain.SPEECH
    assert folder_dataset(tmp_path / "music").clips()[0].domain is Domain.MUSIC


def test_folder_without_domain_says_what_would_tell(touch, tmp_path):
    touch("a.wav")
    with pytest.raises(DatasetError, match=r"a\.wav: cannot tell its domain; expected a folder na"):
        folder_dataset(tmp_path).clips()


def test_folder_domain_by_prefix(touch, tmp_path):
    for name in ("audioset_Y1.wav", "libritts_1.wav", "musdb_1.wav"):
        touch(name)
    prefixes = {"audioset_": Domain.SOUND, "libritts_": Domain.SPEECH, "musdb_": Domain.MUSIC}
    clips = Folder(domain_by_prefix=prefixes).clips(tmp_path, "set", None)
    assert [clip.domain for clip in clips] == ["sound", "speech", "music"]
    touch("other.wav")
    with pytest.raises(DatasetError, match="or a name beginning with audioset_, libritts_, musdb_"):
        Folder(domain_by_prefix=prefixes).clips(tmp_path, "set", None)


def test_folder_include_picks_files(touch, tmp_path):
    touch("groundtruth/a.wav")
    touch("codec/a.wav")
    clips = Folder(include="groundtruth/*").clips(tmp_path, "set", Domain.SOUND)
    assert [clip.id for clip in clips] == ["groundtruth/a"]


def test_files_of_one_name_keep_their_endings(touch, tmp_path):
    for name in ("a.wav", "a.flac", "b.wav"):
        touch(name)
    clips = Folder().clips(tmp_path, "set", Domain.SOUND)
    assert sorted(clip.id for clip in clips) == ["a.flac", "a.wav", "b"]


def test_links_are_followed_but_not_in_circles(touch, tmp_path):
    touch("store/a.wav")
    (tmp_path / "data").mkdir()
    (tmp_path / "data/speech").symlink_to(tmp_path / "store")
    (tmp_path / "store/loop").symlink_to(tmp_path / "data")
    clips = Folder().clips(tmp_path / "data", "set", None)
    assert [clip.id for clip in clips] == ["speech/a"]


def test_any_file_name_becomes_a_usable_id(tmp_path):
    names = [b"bad\xff.wav", b"new\nline.wav", b"back\\slash.wav", b" blank .wav", b"a" * 240]
    for name in names[:4]:
        Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + name)).touch()
    (tmp_path / ("a" * 240 + ".wav")).touch()
    for clip in Folder().clips(tmp_path, "set", Domain.SOUND):
        assert clip.id.encode("utf-8")
        assert clip.id.isprintable()
        assert clip.path.is_file()


@given(st.binary(min_size=1, max_size=300).filter(lambda name: b"\0" not in name))
def test_every_path_has_an_id_that_a_clip_accepts(name):
    path = Path(os.fsdecode(b"x/" + name))
    assert Clip(safe_id(path), "set", Domain.SOUND, path).id


def test_long_paths_that_end_alike_stay_apart():
    one, other = (safe_id(Path(start + "b" * 300)) for start in ("a", "c"))
    assert one != other


def test_a_transcript_that_is_no_text_is_named(touch, tmp_path):
    touch("a.wav")
    (tmp_path / "a.txt").write_bytes(b"\xff\xff")
    with pytest.raises(DatasetError, match=r"a\.txt is not UTF-8"):
        Folder().clips(tmp_path, "set", Domain.SPEECH)


# --- manifest -------------------------------------------------------------------------------------

HEADER = "path,domain,text,label,speaker,id,start_s,duration_s,stream\n"


def test_manifest_in_csv(touch, tmp_path):
    touch("m.csv", HEADER + 'x/a.wav,speech,"Hi, you",lab,ann,one,1.5,2,1\nb.wav,music,,,,,,,\n')
    one, two = folder_dataset(tmp_path / "m.csv").clips()[::-1]
    assert one == Clip(
        "one", "m", Domain.SPEECH, tmp_path / "x/a.wav", "Hi, you", "lab", "ann", 1.5, 2.0, 1
    )
    assert two == Clip("b.wav", "m", Domain.MUSIC, tmp_path / "b.wav")


def test_manifest_in_tsv_and_jsonl_says_the_same(touch, tmp_path):
    touch("m.tsv", "path\ttext\na.wav\tHello, you\n")
    touch("m.jsonl", '{"path": "a.wav", "text": "Hello, you", "start_s": null}\n\n')
    tsv = folder_dataset(tmp_path / "m.tsv", Domain.SPEECH).clips()
    assert tsv == folder_dataset(tmp_path / "m.jsonl", Domain.SPEECH).clips()


def test_manifest_takes_clip_for_id_and_leaves_what_describes(touch, tmp_path):
    touch("m.csv", "clip,path,sample_rate,channels,duration_s,sha256,description,source\n")
    with (tmp_path / "m.csv").open("a") as file:
        file.write("one,a.wav,16000,1,4.5,00,d,s\n")
    (clip,) = Manifest("m.csv", ignore=("duration_s",)).clips(tmp_path, "set", Domain.SOUND)
    assert (clip.id, clip.duration_s) == ("one", None)


def test_a_missing_file_of_a_manifest_is_left_to_the_run(touch, tmp_path):
    touch("m.csv", "path\nnowhere.wav\n")
    (clip,) = Manifest("m.csv").clips(tmp_path, "set", Domain.SOUND)
    with pytest.raises(MeasureError) as error:
        clip.read()
    assert error.value.reason is Reason.MISSING_FILE


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "line 1: expected columns, each once, with 'path' among them; got none"),
        ("id,text\n", "line 1: expected columns, .* got id, text"),
        ("path,path\n", "line 1: expected columns, each once"),
        ("path,domian\na.wav,speech\n", "line 2: unknown column 'domian'; did you mean domain"),
        ("path\na.wav,b\n", "line 2: expected 1 fields as in line 1"),
        ("path,domain\na.wav\n", "line 2: expected 2 fields"),
        ("path,domain\n,speech\n", "line 2: no path"),
        ("path\na.wav\n", "line 2: no domain; expected one of speech, music, sound"),
        ("path,domain\na.wav,spech\n", "line 2: unknown domain 'spech'; did you mean speech"),
        ("path,domain,start_s\na.wav,speech,x\n", "line 2: start_s: expected a number, got 'x'"),
        ("path,domain,start_s\na.wav,speech,-1\n", r"line 2: .*starts at -1\.0 s"),
        ("path,domain,stream\na.wav,speech,1.5\n", "line 2: stream: expected a number"),
        ("path,domain,id\na.wav,speech,../x\n", "line 2: .*no plain relative path"),
        ("path,domain\na.wav,speech\na.wav,music\n", "clip id 'a.wav' is used 2 times"),
        ('path,domain\n"a.wav,speech\n', "unexpected end of data"),
        ("path,domain\n,speech\n,speech\nb.wav,x\n", r"line 2: no path.* \(and 2 more\)"),
    ],
)
def test_a_faulty_table_is_refused_with_its_line(touch, tmp_path, text, message):
    touch("m.csv", text)
    with pytest.raises(DatasetError, match=message) as error:
        Manifest("m.csv").clips(tmp_path, "set", None)
    assert "m.csv" in str(error.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"path": "a.wav"}\n{"path"\n', "line 2: no JSON object"),
        ("[1]\n", "line 1: expected a JSON object, got list"),
        ('{"path": 3}\n', "line 1: path: expected text, got int 3"),
        ('{"path": "a.wav", "text": ["x"]}\n', "line 1: text: expected text, got list"),
        ('{"path": "a.wav", "start_s": true}\n{"path": "a.wav", "start_s": []}', "expected a num"),
        ("[" * 100_000 + "\n", "line 1: no JSON object"),
    ],
)
def test_a_faulty_json_line_is_refused_with_its_number(touch, tmp_path, text, message):
    touch("m.jsonl", text)
    with pytest.raises(DatasetError, match=message):
        Manifest("m.jsonl").clips(tmp_path, "set", Domain.SPEECH)


def test_bad_rows_are_counted_up_to_a_limit(touch, tmp_path):
    touch("m.csv", "path,domain\n" + "a.wav,x\n" * 1000)
    with pytest.raises(DatasetError, match=rf"\(and {MAX_BAD_ROWS - 1} more\)"):
        Manifest("m.csv").clips(tmp_path, "set", None)


@pytest.mark.parametrize("name", ["../a.wav", "/etc/passwd", "x/../../a.wav", "out/a.wav"])
def test_paths_stay_in_the_manifests_folder_unless_allowed(touch, tmp_path, name):
    touch("inner/m.csv", f"path,domain,id\n{name},sound,one\n")
    (tmp_path / "inner/out").symlink_to(tmp_path)
    with pytest.raises(DatasetError, match=r"line 2: .* leads out of .*allow_outside: true"):
        Manifest("m.csv").clips(tmp_path / "inner", "set", None)
    (clip,) = Manifest("m.csv", allow_outside=True).clips(tmp_path / "inner", "set", None)
    assert clip.path == tmp_path / "inner" / name


def test_another_kind_of_table_is_refused(touch, tmp_path):
    touch("m.xlsx")
    with pytest.raises(DatasetError, match=r"expected a \.csv, \.tsv or \.jsonl file"):
        Manifest("m.xlsx").clips(tmp_path, "set", None)


# --- LibriSpeech, LibriTTS, ESC-50 ----------------------------------------------------------------


def test_librispeech(touch, tmp_path):
    touch("1089/134686/1089-134686-0000.flac")
    touch("1089/134686/1089-134686-0001.flac")
    touch("1089/134686/1089-134686.trans.txt", "1089-134686-0000 HE HOPED  THERE\n\n")
    clips = by_id(LibriSpeech().clips(tmp_path, "set", None))
    assert clips["1089-134686-0000"].text == "HE HOPED THERE"
    assert clips["1089-134686-0000"].speaker == "1089"
    assert clips["1089-134686-0001"].text is None
    assert {clip.domain for clip in clips.values()} == {Domain.SPEECH}


def test_libritts(touch, tmp_path):
    stem = "1089/134686/1089_134686_000001_000001"
    touch(f"{stem}.wav")
    touch(f"{stem}.normalized.txt", "He hoped there.")
    touch(f"{stem}.original.txt", "He hop'd there.")
    (clip,) = LibriTTS().clips(tmp_path, "set", None)
    assert (clip.id, clip.text) == ("1089_134686_000001_000001", "He hoped there.")
    assert clip.speaker == "1089"


ESC = "filename,fold,target,category,esc10,src_file,take\n"


def test_esc50(touch, tmp_path):
    touch("meta/esc50.csv", ESC + "1-1-A-0.wav,1,0,dog,True,1,A\n5-2-A-9.wav,5,9,crow,False,2,A\n")
    assert [clip.label for clip in Esc50().clips(tmp_path, "set", None)] == ["dog", "crow"]
    (clip,) = Esc50(folds=(5,)).clips(tmp_path, "set", None)
    assert (clip.id, clip.path) == ("5-2-A-9", tmp_path / "audio/5-2-A-9.wav")
    assert clip.domain is Domain.SOUND
    assert [clip.id for clip in Esc50(esc10=True).clips(tmp_path, "set", None)] == ["1-1-A-0"]


def test_esc50_table_cannot_lead_out(touch, tmp_path):
    touch("meta/esc50.csv", ESC + "../../x.wav,1,0,dog,True,1,A\n")
    (clip,) = Esc50().clips(tmp_path, "set", None)
    assert clip.path == tmp_path / "audio/x.wav"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("filename,fold\n", "line 1: the column 'category' is missing"),
        (ESC + "a.wav,,0,dog,True,1,A\n", "line 2: expected filename, fold, category, esc10"),
    ],
)
def test_a_faulty_esc50_table_is_refused(touch, tmp_path, text, message):
    touch("meta/esc50.csv", text)
    with pytest.raises(DatasetError, match=message):
        Esc50().clips(tmp_path, "set", None)


def test_faulty_options_are_refused():
    with pytest.raises(ValueError, match=r"expected folds from 1 to 5, got \[6\]"):
        Esc50(folds=(6,))
    with pytest.raises(ValueError, match="expected the split test or train"):
        Musdb18(split="../etc")
    with pytest.raises(ValueError, match="unknown stem 'voc'"):
        Musdb18(stems=("voc",))


# --- MUSDB18 --------------------------------------------------------------------------------------

STEM_TONES = {"mixture": 200, "drums": 400, "bass": 800, "other": 1600, "vocals": 3200}


@pytest.fixture
def stem_file(tmp_path) -> Path:
    """A ``.stem.mp4`` as MUSDB18 has them: five AAC streams, here a tone each."""
    path = tmp_path / "test/A Song.stem.mp4"
    path.parent.mkdir()
    time = np.arange(44100) / 44100
    with av.open(str(path), "w", format="mp4") as container:
        streams = [container.add_stream("aac", rate=44100, layout="stereo") for _ in STEM_TONES]
        for stream, tone in zip(streams, STEM_TONES.values(), strict=True):
            wave = 0.5 * np.sin(2 * np.pi * tone * time).astype(np.float32)
            for start in range(0, len(time), 1024):
                part = np.ascontiguousarray(np.stack([wave[start : start + 1024]] * 2))
                frame = av.AudioFrame.from_ndarray(part, format="fltp", layout="stereo")
                frame.sample_rate, frame.pts = 44100, start
                frame.time_base = Fraction(1, 44100)
                container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
    return path


def loudest_hz(clip: Clip) -> float:
    audio = clip.read()
    spectrum = np.abs(np.fft.rfft(audio.samples[0]))
    return float(np.argmax(spectrum) * audio.sample_rate / audio.samples.shape[1])


def test_musdb18_stem_files(stem_file, tmp_path):
    clips = by_id(Musdb18().clips(tmp_path, "set", None))
    assert list(clips) == [f"test/A Song/{stem}" for stem in MUSDB_STREAMS]
    assert {clip.path for clip in clips.values()} == {stem_file}
    for stem, tone in STEM_TONES.items():
        clip = clips[f"test/A Song/{stem}"]
        assert (clip.label, clip.domain) == (stem, Domain.MUSIC)
        assert loudest_hz(clip) == pytest.approx(tone, abs=10)
    assert len({clip.content_hash() for clip in clips.values()}) == 5


def test_musdb18_options(stem_file, tmp_path):
    loader = Musdb18(stems=("vocals",), start_s=0.25, duration_s=0.5)
    (clip,) = loader.clips(tmp_path, "set", None)
    assert clip.read().samples.shape == (2, 22050)


def test_musdb18_wav_folders(touch, tmp_path):
    for stem in MUSDB_STREAMS:
        touch(f"train/Song/{stem}.wav")
    clips = Musdb18(split="train").clips(tmp_path, "set", None)
    assert [clip.path.name for clip in clips] == [f"{stem}.wav" for stem in MUSDB_STREAMS]
    assert {clip.stream for clip in clips} == {0}


def test_reading_a_stream_fails_with_a_reason(stem_file, tmp_path):
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"no audio")
    expected = [
        (tmp_path / "missing.mp4", 1, 0.0, Reason.MISSING_FILE),
        (broken, 1, 0.0, Reason.UNREADABLE_AUDIO),
        (stem_file, 5, 0.0, Reason.UNREADABLE_AUDIO),
        (stem_file, 1, 99.0, Reason.EMPTY_AUDIO),
    ]
    for path, stream, start_s, reason in expected:
        with pytest.raises(MeasureError) as error:
            read_audio(path, start_s, stream=stream)
        assert error.value.reason is reason


def test_stream_zero_of_a_wav_file_is_the_file(tmp_path):
    soundfile.write(tmp_path / "a.wav", np.zeros(800), 8000)
    assert Clip("a", "set", Domain.SOUND, tmp_path / "a.wav").read().samples.shape == (1, 800)
    assert read_audio(tmp_path / "a.wav").samples.shape == (1, 800)


def test_json_lines_with_a_mark_at_the_start(tmp_path):
    row = json.dumps({"path": "a.wav"})
    (tmp_path / "m.jsonl").write_bytes(b"\xef\xbb\xbf" + row.encode())
    assert Manifest("m.jsonl").clips(tmp_path, "set", Domain.SOUND)[0].id == "a.wav"
