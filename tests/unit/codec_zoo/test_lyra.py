"""Lyra v2: packing and errors without weights; the rest where CODECBENCH_SHARED has its files."""

import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from codec_zoo import CodecError, CodecUnavailableError, create
from codec_zoo.conformance import run_conformance
from codec_zoo.conformance.signals import speech_like
from codec_zoo.lyra import CODEBOOK_SIZE, FILES, RELEASED_STAGES, Lyra, pack_codes, unpack_codes

SHARED = Path(os.environ.get("CODECBENCH_SHARED", "/nowhere")) / "lyra"
needs_weights = pytest.mark.skipif(
    not all((SHARED / name).is_file() for name in FILES),
    reason="no Lyra weights: set CODECBENCH_SHARED to a folder that holds lyra/*.tflite",
)


@pytest.fixture
def weights(tmp_path, monkeypatch):
    """A data folder as `run_bench.py fetch lyra-weights` leaves it."""
    (tmp_path / "lyra-weights").symlink_to(SHARED, target_is_directory=True)
    monkeypatch.setenv("CODECBENCH_DATA", str(tmp_path))


@given(stages=st.integers(1, 46), frames=st.integers(1, 9), seed=st.integers(0, 99))
def test_packing_is_exact_and_comes_back(stages, frames, seed):
    codes = np.random.default_rng(seed).integers(0, CODEBOOK_SIZE, (stages, frames))
    packed = pack_codes(codes)
    assert len(packed) == -(-4 * stages * frames // 8)
    np.testing.assert_array_equal(unpack_codes(packed, stages, frames), codes)


def test_codes_lie_frame_after_frame_low_stages_first():
    assert pack_codes(np.array([[1, 3, 5], [2, 4, 6]])) == bytes([0x12, 0x34, 0x56])


@pytest.mark.parametrize("packed", [b"", b"\x12", b"\x12\x34\x56", b"\x12\x3f"])
def test_damaged_codes_are_refused(packed):
    with pytest.raises(CodecError, match=r"damaged"):
        unpack_codes(packed, stages=3, frames=1)


@pytest.mark.parametrize("point", ["", "0.3kbps", "9.4kbps", "0kbps", "6", "fast"])
def test_a_rate_it_does_not_have_is_refused(point, tmp_path):
    with pytest.raises(CodecError, match="lyra takes"):
        Lyra(point, path=str(tmp_path))


def test_without_weights_one_line_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setenv("CODECBENCH_DATA", str(tmp_path))
    reason = Lyra.unavailable_reason()
    assert reason is not None
    assert "run_bench.py fetch lyra-weights" in reason or "pip install" in reason
    assert "\n" not in reason
    with pytest.raises(CodecUnavailableError, match=r"fetch lyra-weights|pip install"):
        create("lyra@6kbps")
    with pytest.raises(CodecUnavailableError, match=r"elsewhere|pip install"):
        create(f"lyra@6kbps:path={tmp_path / 'elsewhere'}")


@needs_weights
@pytest.mark.usefixtures("weights")
class TestWithWeights:
    @pytest.mark.parametrize("point", [Lyra.points[0], "3.2kbps", Lyra.points[-1]])
    def test_conformance(self, point):
        checks = run_conformance(f"lyra@{point}")
        assert [c.message for c in checks if c.status == "failed"] == []
        assert sum(c.status == "passed" for c in checks) >= 18

    def test_published_rates_and_which_of_them_are_released(self):
        specs = [create(f"lyra@{point}").spec for point in Lyra.points]
        assert [spec.nominal_kbps for spec in specs] == [1.0, 1.4, 2.0, 3.2, 6.0, 9.2]
        assert [len(spec.codebook_sizes) for spec in specs] == [5, 7, 10, 16, 30, 46]
        assert [spec.params["released"] for spec in specs] == [False] * 3 + [True] * 3
        assert all(
            ("unreleased" in spec.implementation) == (len(spec.codebook_sizes) < RELEASED_STAGES[0])
            for spec in specs
        )

    def test_a_clip_does_not_depend_on_the_one_before(self):
        # The interpreters keep state, and resetting their variables does not reset it.
        codec = create("lyra@6kbps")
        wave = speech_like(16000, 1.0)[None].astype(np.float32)
        first = codec.encode(wave)
        decoded = codec.decode(first.payload)
        codec.encode(0.5 * wave[:, ::-1])
        assert codec.encode(wave).payload == first.payload
        np.testing.assert_array_equal(codec.decode(first.payload), decoded)

    def test_fewer_stages_are_the_first_of_more(self):
        wave = speech_like(16000, 1.0)[None].astype(np.float32)
        few, many = (create(f"lyra@{point}").encode(wave).codes for point in ("1kbps", "9.2kbps"))
        np.testing.assert_array_equal(few, many[: len(few)])

    def test_a_payload_of_another_rate_is_refused(self):
        wave = speech_like(16000, 1.0)[None].astype(np.float32)
        payload = create("lyra@3.2kbps").encode(wave).payload
        with pytest.raises(CodecError, match="of another bitrate"):
            create("lyra@6kbps").decode(payload)

    def test_other_weights_are_another_codec(self, tmp_path):
        other = tmp_path / "other"
        other.mkdir()
        for name in FILES:
            (other / name).write_bytes((SHARED / name).read_bytes())
        same = create(f"lyra@6kbps:path={other}").spec.fingerprint
        assert same == create("lyra@6kbps").spec.fingerprint
        with (other / FILES[0]).open("ab") as file:
            file.write(b"\0")
        assert create(f"lyra@6kbps:path={other}").spec.fingerprint != same
