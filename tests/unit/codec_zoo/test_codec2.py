import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from codec_zoo.base import CodecError, CodecUnavailableError
from codec_zoo.codec2 import Codec2
from codec_zoo.conformance.signals import speech_like
from codec_zoo.registry import create, default_ids

installed = pytest.mark.skipif(
    shutil.which("c2enc") is None, reason="c2enc is missing: apt-get install codec2"
)


@installed
@pytest.mark.parametrize("codec_id", default_ids("codec2"))
def test_bits_are_packed_without_gaps(codec_id: str) -> None:
    codec = create(codec_id)
    wave = speech_like(8000, 4.0)[None].astype(np.float32)
    encoded = codec.encode(wave)
    assert codec.decode(encoded.payload).shape == wave.shape
    assert encoded.measured_kbps(4.0) == pytest.approx(codec.spec.nominal_kbps, rel=0.03)


@installed
def test_a_program_that_fails_is_a_codec_error(monkeypatch: pytest.MonkeyPatch) -> None:
    codec = create("codec2@1200bps")
    monkeypatch.setattr(codec, "_mode", "9999")
    with pytest.raises(CodecError, match="c2enc"):
        codec.encode(np.zeros((1, 8000), np.float32))


@installed
def test_a_program_that_hangs_is_a_codec_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def hang(*_args: object, **_options: object) -> None:
        raise subprocess.TimeoutExpired("c2enc", 300)

    monkeypatch.setattr(subprocess, "run", hang)
    with pytest.raises(CodecError, match="c2enc took over 300 s"):
        create("codec2@1200bps").encode(np.zeros((1, 8000), np.float32))


def test_missing_programs_are_announced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    reason = "c2enc and c2dec not found on PATH: apt-get install codec2"
    assert Codec2.unavailable_reason() == reason
    with pytest.raises(CodecUnavailableError, match="apt-get install codec2"):
        create("codec2@700bps")


def test_unknown_mode_is_refused() -> None:
    with pytest.raises(CodecError, match="has the points 450bps, 700bps"):
        Codec2("800bps")
