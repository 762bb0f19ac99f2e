from pathlib import Path

import numpy as np
import pytest
import soundfile

from bench.audio import (
    _read_ffmpeg,
    fit_length,
    level_dbfs,
    quantize_24bit,
    read_audio,
    resample,
    to_channels,
    write_flac,
)
from bench.errors import MeasureError, Reason


@pytest.fixture
def tone():
    t = np.arange(4800) / 48000
    return (0.5 * np.sin(2 * np.pi * 440 * t)).astype(np.float32)[None]


def test_flac_holds_exactly_what_is_scored(tmp_path):
    wave = np.random.default_rng(0).normal(0, 0.6, (2, 5001)).astype(np.float32)  # clips, too
    quantized = quantize_24bit(wave)
    write_flac(tmp_path / "a.flac", quantized, 44100)
    read = read_audio(tmp_path / "a.flac")
    assert read.sample_rate == 44100
    np.testing.assert_array_equal(read.samples, quantized)
    np.testing.assert_array_equal(quantize_24bit(quantized), quantized)


def test_write_leaves_no_partial_file(tmp_path, tone):
    write_flac(tmp_path / "deep" / "a.flac", tone, 48000)
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["a.flac"]


def test_two_may_write_one_file(tmp_path, tone, monkeypatch):
    """A worker of a killed run lives on for a moment, beside those of the next one."""
    path, replace = tmp_path / "a.flac", Path.replace

    def write_meanwhile(partial, target):
        monkeypatch.setattr(Path, "replace", replace)
        write_flac(path, tone, 48000)
        return replace(partial, target)

    monkeypatch.setattr(Path, "replace", write_meanwhile)
    write_flac(path, tone, 48000)
    assert read_audio(path).samples.shape == tone.shape


def test_segment(tmp_path, tone):
    soundfile.write(tmp_path / "a.wav", tone.T, 48000, subtype="FLOAT")
    read = read_audio(tmp_path / "a.wav", start_s=0.01, duration_s=0.02)
    np.testing.assert_array_equal(read.samples, tone[:, 480:1440])


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("missing.wav", None, Reason.MISSING_FILE),
        ("text.wav", b"this is no audio", Reason.UNREADABLE_AUDIO),
        ("empty.flac", b"", Reason.EMPTY_AUDIO),
        ("zeros.mp3", bytes(4000), Reason.UNREADABLE_AUDIO),
    ],
)
def test_bad_files_are_typed(tmp_path, name, content, reason):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(MeasureError) as caught:
        read_audio(tmp_path / name)
    assert caught.value.reason is reason
    assert name in str(caught.value)


def test_header_only_and_nan(tmp_path):
    soundfile.write(tmp_path / "none.wav", np.zeros((0, 1), np.float32), 16000)
    soundfile.write(tmp_path / "nan.wav", np.full(100, np.nan, np.float32), 16000, subtype="FLOAT")
    for name, reason in (("none.wav", Reason.EMPTY_AUDIO), ("nan.wav", Reason.NON_FINITE_AUDIO)):
        with pytest.raises(MeasureError) as caught:
            read_audio(tmp_path / name)
        assert caught.value.reason is reason


def test_truncated_flac(tmp_path, tone):
    write_flac(tmp_path / "a.flac", np.tile(tone, 40), 48000)
    content = (tmp_path / "a.flac").read_bytes()
    (tmp_path / "a.flac").write_bytes(content[: len(content) // 2])
    with pytest.raises(MeasureError) as caught:
        read_audio(tmp_path / "a.flac")
    assert caught.value.reason is Reason.UNREADABLE_AUDIO


def test_ffmpeg_formats(tmp_path, tone):
    av = pytest.importorskip("av")
    path = tmp_path / "a.m4a"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=48000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.tile(tone, 10), format="fltp", layout="mono")
        frame.sample_rate = 48000
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    read = read_audio(path)
    assert read.sample_rate == 48000
    assert abs(read.duration_s - 1.0) < 0.1
    assert abs(level_dbfs(read.samples) - level_dbfs(tone)) < 1


def test_ffmpeg_reads_many_channels(tmp_path):
    pytest.importorskip("av")
    wave = np.random.default_rng(0).uniform(-0.5, 0.5, (18, 88)).astype(np.float32)
    soundfile.write(tmp_path / "many.wav", wave.T, 16000, subtype="FLOAT")
    for _ in range(20):  # what was wrong once was wrong at times
        audio = _read_ffmpeg(tmp_path / "many.wav", 0.0, None)
        np.testing.assert_array_equal(audio.samples, wave)


def test_channels_that_change_on_the_way_are_told(tmp_path, tone):
    pytest.importorskip("av")
    path = tmp_path / "changes.mp3"
    for name, wave in (("one.mp3", tone), ("two.mp3", np.concatenate([tone, tone]))):
        soundfile.write(tmp_path / name, wave.T, 16000)
    path.write_bytes((tmp_path / "one.mp3").read_bytes() + (tmp_path / "two.mp3").read_bytes())
    with pytest.raises(MeasureError, match=r"changes.mp3 changes .*\(16000, 1\), \(16000, 2\)"):
        _read_ffmpeg(path, 0.0, None)


@pytest.mark.parametrize("rate", [8000, 16000, 44100])
def test_resampling_keeps_place_and_level(tone, rate):
    there = resample(np.tile(tone, 5), 48000, rate)
    back = resample(there, rate, 48000)[:, 2000:22000]
    assert there.shape[1] == round(24000 * rate / 48000)
    assert np.max(np.abs(back - np.tile(tone, 5)[:, 2000:22000])) < 1e-4


def test_channels(tone):
    stereo = np.concatenate([tone, -tone])
    assert np.max(np.abs(to_channels(stereo, 1))) == 0
    np.testing.assert_array_equal(to_channels(tone, 2), np.concatenate([tone, tone]))
    assert to_channels(stereo, 2) is stereo


def test_fit_length(tone):
    assert fit_length(tone, 4000, 48000).shape == (1, 4000)
    padded = fit_length(tone, 5000, 48000)
    assert padded.shape == (1, 5000)
    assert not padded[:, 4800:].any()
    with pytest.raises(MeasureError, match="4800 of 48000"):
        fit_length(tone, 48000, 48000)
