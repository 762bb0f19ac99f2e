"""The adapter of SemantiCodec, on a small model with random weights."""

import runpy
from pathlib import Path

import numpy as np
import pytest

from codec_zoo import CodecError, CodecUnavailableError, create
from codec_zoo.conformance import run_conformance
from codec_zoo.registry import codec_class

SMALL = Path(__file__).parents[1] / "semanticodec" / "conftest.py"
#: What random weights cannot show: they make noise of whatever they are given.
NEEDS_TRAINING = {
    "codes the end",
    "delay as declared",
    "decodes what was encoded",
    "keeps level",
    "keeps silence",
    "takes long input",
    "takes clips of other rates",
    "quality follows bitrate",
}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    from semanticodec.checkpoint import save

    small = runpy.run_path(str(SMALL))
    path = tmp_path_factory.mktemp("weights") / "small.safetensors"
    save(small["random_model"](small["small_config"]()), path)
    return path


def test_nominal_bitrates_are_the_published_ones():
    from semanticodec.config import OPERATING_POINTS

    published = {(100, 32768): 1.40, (100, 16384): 1.35, (50, 8192): 0.65, (25, 4096): 0.3125}
    for point, kbps in published.items():
        assert OPERATING_POINTS[point].nominal_kbps == pytest.approx(kbps)
    assert len(codec_class("semanticodec").points) == len(OPERATING_POINTS) == 12


def test_conformance(checkpoint):
    codec_id = f"semanticodec:path={checkpoint},steps=2,preset=fast"
    checks = {check.name: check for check in run_conformance(codec_id, longest_s=3)}
    failed = {name for name, check in checks.items() if check.status == "failed"}
    assert failed <= NEEDS_TRAINING, [checks[name] for name in failed - NEEDS_TRAINING]
    for name in ("keeps length", "decodes from payload alone", "batch equals single"):
        assert checks[name].status == "passed", checks[name]


def test_unit_is_a_window_and_all_weights_are_counted(checkpoint):
    codec = create(f"semanticodec:path={checkpoint}")
    model = codec._codec.model
    assert codec.unit_s == model.config.window_samples / 16000
    assert codec.num_parameters() == sum(weight.numel() for weight in model.parameters())


def test_payload_counts_the_packed_tokens(checkpoint):
    codec = create(f"semanticodec:path={checkpoint},steps=2")
    wave = np.random.default_rng(0).normal(0, 0.1, (1, 48000)).astype(np.float32)
    encoded = codec.encode(wave)
    positions = encoded.codes.shape[1]
    bits = 6 + 5  # 64 semantic and 32 acoustic entries
    assert len(encoded.payload) - encoded.overhead_bytes == positions * bits // 8
    assert encoded.measured_kbps(3.0) == pytest.approx(codec.spec.nominal_kbps, rel=0.1)
    assert codec.decode(encoded.payload, seed=1).shape == (1, 48000)


def test_the_seed_decides_and_nothing_else(checkpoint):
    codec = create(f"semanticodec:path={checkpoint},steps=2")
    wave = np.random.default_rng(0).normal(0, 0.1, (1, 20000)).astype(np.float32)
    payload = codec.encode(wave).payload
    first, again, other = (codec.decode(payload, seed=seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 0
    assert not codec.spec.deterministic


def test_settings_are_part_of_the_identity(checkpoint):
    ids = ("", ",steps=3", ",guidance=1.5", ",preset=fast", ",compat=released")
    specs = [create(f"semanticodec:path={checkpoint}{more}").spec for more in ids]
    assert len({spec.fingerprint for spec in specs}) == len(ids)


def test_damage_is_a_codec_error(checkpoint):
    codec = create(f"semanticodec:path={checkpoint},steps=2")
    with pytest.raises(CodecError):
        codec.decode(b"no stream")


@pytest.mark.parametrize(
    ("codec_id", "message"),
    [
        ("semanticodec@100tps", "100tps-16384"),
        ("semanticodec@99tps-16384", "token_rate is one of"),
        ("semanticodec@100tps-16384:compat=yes", "released"),
        ("semanticodec:path=nowhere.safetensors", "no checkpoint at nowhere"),
        ("semanticodec@100tps-16384:path=nowhere", "lacks semanticodec_tokenrate_100"),
        ("semanticodec:steps=3", "path="),
        ("semanticodec@100tps-16384:path=mine.safetensors", "and no point"),
    ],
)
def test_wrong_ids_say_what_is_wanted(codec_id, message):
    with pytest.raises(CodecError, match=message):
        create(codec_id)


def test_without_weights_or_network_the_reason_is_one_line(monkeypatch, tmp_path):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(CodecUnavailableError, match="not in the Hugging Face cache") as caught:
        create("semanticodec@25tps-4096")
    assert "\n" not in str(caught.value)
