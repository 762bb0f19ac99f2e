"""PESQ and STOI: what the packages give, and what they do not survive."""

import os
import warnings

import numpy as np
import pytest

from bench import metrics
from bench.audio import Domain, resample
from bench.errors import MeasureError, Reason
from bench.metrics import Pair, Signal
from bench.metrics.isolation import call_isolated

RATE = 16000
PESQ = ("pesq-wb", "pesq-nb", "pesqc2-wb", "pesqc2-nb")


def bursts(seconds: float, burst_s: float = 0.5, pause_s: float = 0.3) -> np.ndarray:
    """Harmonic bursts with pauses, [1, N]."""
    time = np.arange(round(seconds * RATE)) / RATE
    on = time % (burst_s + pause_s) < burst_s
    tone = sum(np.sin(2 * np.pi * 130 * k * time) / k for k in range(1, 20))
    faint = 1e-5 * np.random.default_rng(0).standard_normal(time.shape)
    return (0.1 * on * tone + faint).astype(np.float32)[np.newaxis]


def pair(reference: np.ndarray, degraded: np.ndarray) -> Pair:
    return Pair(Signal(reference, RATE), Signal(degraded, RATE), Domain.SPEECH)


def noisy(samples: np.ndarray) -> np.ndarray:
    noise = 0.01 * np.random.default_rng(1).standard_normal(samples.shape)
    return (samples + noise).astype(np.float32)


@pytest.mark.parametrize("name", PESQ)
def test_pesq_is_what_the_package_gives(name):
    package = pytest.importorskip(name.partition("-")[0])
    mode = name[-2:]
    rate = {"wb": 16000, "nb": 8000}[mode]
    reference, degraded = bursts(3), noisy(bursts(3))
    waves = (resample(samples, RATE, rate)[0] for samples in (reference, degraded))
    expected = package.pesq(rate, *waves, mode)
    assert metrics.create(name)(pair(reference, degraded)).value == expected


def test_corrigendum_2_moves_wide_band_only():
    shared = pair(bursts(3), noisy(bursts(3)))
    values = {name: metrics.create(name)(shared).value for name in PESQ}
    assert values["pesqc2-wb"] > values["pesq-wb"] + 0.1
    assert values["pesqc2-nb"] == values["pesq-nb"]


@pytest.mark.parametrize("name", PESQ)
def test_a_clip_without_speech_has_no_pesq(name):
    tick = bursts(1.0, burst_s=0.1, pause_s=5.0)
    with pytest.raises(MeasureError) as caught:
        metrics.create(name)(pair(tick, tick))
    assert caught.value.reason is Reason.NO_UTTERANCES


def test_a_single_click_that_the_package_answers_with_nan_is_a_typed_failure():
    click = np.zeros((1, 2 * RATE), np.float32)
    click[0, 20000] = 1.0
    with pytest.raises(MeasureError) as caught:
        metrics.create("pesqc2-wb")(pair(click, click))
    assert caught.value.reason is Reason.NON_FINITE_VALUE


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_long_clip_is_computed_in_a_child_and_gives_the_same():
    package = pytest.importorskip("pesq")
    reference, degraded = bursts(21, burst_s=2.0, pause_s=0.5), noisy(bursts(21, 2.0, 0.5))
    waves = (resample(samples, RATE, 8000)[0] for samples in (reference, degraded))
    expected = package.pesq(8000, *waves, "nb")
    assert metrics.create("pesq-nb")(pair(reference, degraded)).value == pytest.approx(expected)


def test_a_very_long_clip_is_refused_before_the_code_crashes():
    long = np.tile(bursts(10), 7)
    with pytest.raises(MeasureError, match="cut it") as caught:
        metrics.create("pesq-wb")(pair(long, long))
    assert caught.value.reason is Reason.TOO_LONG


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_crash_stays_in_the_child():
    with pytest.raises(MeasureError, match="crashed") as caught:
        call_isolated(lambda: os.kill(os.getpid(), 9) or 0.0, timeout_s=20)
    assert caught.value.reason is Reason.METRIC_ERROR
    with pytest.raises(MeasureError, match="crashed"):
        call_isolated(lambda: __import__("time").sleep(30) or 0.0, timeout_s=0.2)


def test_a_typed_failure_comes_back_from_the_child():
    def fail() -> float:
        raise MeasureError(Reason.NO_UTTERANCES, "no speech")

    with pytest.raises(MeasureError) as caught:
        call_isolated(fail, timeout_s=20)
    assert caught.value.reason is Reason.NO_UTTERANCES
    assert call_isolated(lambda: 2.5, timeout_s=20) == 2.5


@pytest.mark.parametrize(("name", "extended"), [("stoi", False), ("estoi", True)])
def test_stoi_is_what_pystoi_gives_at_16_khz(name, extended):
    pystoi = pytest.importorskip("pystoi")
    reference, degraded = bursts(3), noisy(bursts(3))
    expected = pystoi.stoi(reference[0], degraded[0], RATE, extended=extended)
    value = metrics.create(name)(pair(reference, degraded)).value
    assert value == pytest.approx(expected, abs=1e-6)


def test_estoi_of_drop_outs_is_repeatable_and_leaves_the_generator_alone():
    reference, degraded = bursts(3), noisy(bursts(3))
    degraded[:, RATE : 2 * RATE] = 0.0  # pystoi divides its own noise by its own norm here
    np.random.seed(5)  # noqa: NPY002
    expected_next = np.random.RandomState(5).standard_normal()
    values = {metrics.create("estoi")(pair(reference, degraded)).value for _ in range(3)}
    assert len(values) == 1
    assert np.random.standard_normal() == expected_next  # noqa: NPY002


@pytest.mark.parametrize("name", ["stoi", "estoi"])
def test_too_little_speech_is_a_failure_not_1e_5(name):
    reference = bursts(2, burst_s=0.2, pause_s=3.0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(MeasureError) as caught:
            metrics.create(name)(pair(reference, noisy(reference)))
    assert caught.value.reason is Reason.TOO_SHORT


@pytest.mark.parametrize("name", [*PESQ, "stoi", "estoi"])
def test_a_missing_package_is_announced_with_its_remedy(name, monkeypatch):
    metric = metrics.create(name)
    package = {"stoi": "pystoi", "estoi": "pystoi"}.get(name, name.partition("-")[0])
    monkeypatch.setattr("bench.metrics.availability.find_spec", lambda module: None)
    reason = metric.unavailable_reason()
    assert f"pip install {package}" in reason
    assert "\n" not in reason
