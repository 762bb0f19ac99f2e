"""Recordings: found by name, declared bitrate, typed failures."""

import numpy as np
import pytest
import soundfile

from codec_zoo import CodecError, CodecUnavailableError, create
from codec_zoo.base import Encoded

RATE = 16000
WAVE = np.random.default_rng(0).uniform(-0.5, 0.5, (1, RATE)).astype(np.float32)


def write(path, wave=WAVE, rate=RATE):
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, wave.T, rate, subtype="FLOAT" if path.suffix == ".wav" else None)


@pytest.fixture
def audio(tmp_path):
    write(tmp_path / "mine_2kbps" / "one.wav")
    write(tmp_path / "mine_2kbps" / "sub" / "two.flac", 0.5 * WAVE)
    return tmp_path


def code(codec, name):
    (encoded,) = codec.encode_clips([WAVE], [name])
    return codec.decode(encoded.payload)


def test_a_clip_is_found_by_its_name(audio):
    codec = create(f"recordings:folder={audio},codec=mine_2kbps,kbps=2")
    np.testing.assert_array_equal(code(codec, "one"), WAVE)
    assert np.abs(code(codec, "sub/two") - 0.5 * WAVE).max() < 1e-4
    assert codec.spec.nominal_kbps == 2.0
    assert codec.spec.sample_rate == RATE


@pytest.mark.parametrize(
    ("options", "clip"),
    [
        ("pattern={codec}/{clip}.wav,codec=mine_2kbps", "one"),
        ("pattern=mine_2kbps/o{clip}", "ne"),
        ("pattern=mine_2kbps/{clip}e.wav", "on"),
    ],
)
def test_the_pattern_says_where_files_lie(audio, options, clip):
    codec = create(f"recordings:folder={audio},{options}")
    np.testing.assert_array_equal(code(codec, clip), WAVE)
    assert codec.spec.nominal_kbps is None


def test_the_point_names_the_codec_too(audio):
    codec = create(f"recordings@mine_2kbps:folder={audio},kbps=2")
    np.testing.assert_array_equal(code(codec, "one"), WAVE)


def test_nothing_is_measured(audio):
    codec = create(f"recordings:folder={audio},codec=mine_2kbps,kbps=2")
    (encoded,) = codec.encode_clips([WAVE], ["one"])
    assert encoded.recorded
    assert encoded.overhead_bytes == len(encoded.payload)
    assert not Encoded(b"x").recorded
    with pytest.raises(CodecError, match="by the clip's name"):
        codec.encode(WAVE)


def test_files_that_are_not_as_expected_are_typed_failures(audio):
    (audio / "mine_2kbps" / "broken.wav").write_bytes(b"RIFF and no more")
    write(audio / "mine_2kbps" / "slow.wav", rate=8000)
    write(audio / "mine_2kbps" / "nan.wav", np.full_like(WAVE, np.nan))
    codec = create(f"recordings:folder={audio},codec=mine_2kbps")
    for clip, reason, text in (
        ("gone", "missing_file", "no recording mine_2kbps/gone"),
        ("broken", "unreadable_audio", "not readable"),
        ("slow", "unreadable_audio", "8000 Hz"),
        ("nan", "unreadable_audio", "NaN"),
    ):
        with pytest.raises(CodecError, match=text) as caught:
            code(codec, clip)
        assert caught.value.reason == reason


@pytest.mark.parametrize(
    "payload", [b"", b"../secret.wav", b"/etc/hostname", b"\xff", b"mine_2kbps", b"a\0b"]
)
def test_a_payload_names_a_file_of_the_folder_or_is_refused(audio, payload):
    write(audio.parent / "secret.wav")
    codec = create(f"recordings:folder={audio},codec=mine_2kbps")
    with pytest.raises(CodecError, match="names no file"):
        codec.decode(payload)


def test_identity_follows_the_files_and_not_their_place(audio, tmp_path_factory):
    def fingerprint(folder, options="codec=mine_2kbps,kbps=2"):
        return create(f"recordings:folder={folder},{options}").spec.fingerprint

    first = fingerprint(audio)
    moved = tmp_path_factory.mktemp("moved") / "x"
    audio.rename(moved)
    assert fingerprint(moved) == first
    assert fingerprint(moved, "codec=mine_2kbps,kbps=3") != first
    write(moved / "mine_2kbps" / "one.wav", 0.9 * WAVE)
    assert fingerprint(moved) != first


def test_without_a_folder_it_is_not_available(tmp_path):
    with pytest.raises(CodecUnavailableError, match="recordings:folder="):
        create("recordings")
    with pytest.raises(CodecUnavailableError, match="no folder"):
        create(f"recordings:folder={tmp_path / 'gone'},codec=a")


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ("kbps=fast", "kbps=NUMBER"),
        ("kbps=0", "kbps=NUMBER"),
        ("kbps=nan", "kbps=NUMBER"),
        ("kind=good", "kind="),
        ("pattern=all.wav", "no {clip}"),
        ("pattern={codec}/{clip}", "name it with codec"),
        ("speed=1", "speed"),
    ],
)
def test_wrong_options_are_refused(tmp_path, options, text):
    with pytest.raises(CodecError, match=text.replace("{", r"\{")):
        create(f"recordings:folder={tmp_path},{options}")
