"""SI-SDR against torchmetrics; delay and level on signals whose answer is known."""

import numpy as np
import pytest
import torch
from torchmetrics.functional.audio import scale_invariant_signal_distortion_ratio

from bench import metrics
from bench.audio import Domain
from bench.errors import MeasureError, Reason
from bench.metrics import Pair, Signal
from bench.metrics.functional import waveform


def noise(count: int = 16000, seed: int = 1) -> np.ndarray:
    return (0.1 * np.random.default_rng(seed).standard_normal(count)).astype(np.float32)


def pair(reference: np.ndarray, degraded: np.ndarray, rate: int = 16000) -> Pair:
    return Pair(Signal(reference[None], rate), Signal(degraded[None], rate), Domain.SOUND)


def shifted(wave: np.ndarray, lag: int) -> np.ndarray:
    """Move a wave later by ``lag`` samples, zeros in."""
    out = np.zeros_like(wave)
    if lag >= 0:
        out[lag:] = wave[: len(wave) - lag]
    else:
        out[:lag] = wave[-lag:]
    return out


@pytest.mark.parametrize("gain", [0.001, 0.05, 1.0, 20.0])
def test_si_sdr_equals_torchmetrics(gain):
    reference, degraded = noise(), noise() + gain * noise(seed=2)
    expected = scale_invariant_signal_distortion_ratio(
        torch.from_numpy(degraded).double(), torch.from_numpy(reference).double(), zero_mean=False
    )
    value = metrics.create("si-sdr")(pair(reference, degraded)).value
    assert value == pytest.approx(float(expected), abs=1e-4)


def test_si_sdr_ignores_scale_and_polarity():
    reference, degraded = noise(), noise() + noise(seed=2)
    values = {
        round(metrics.create("si-sdr")(pair(reference, scale * degraded)).value, 4)
        for scale in (1.0, 0.01, -3.0)
    }
    assert len(values) == 1


def test_si_sdr_of_orthogonal_signals_is_the_lower_limit():
    reference = np.tile(np.float32([0.1, 0.0]), 8000)
    degraded = np.tile(np.float32([0.0, 0.1]), 8000)
    assert waveform.si_sdr_db(reference, degraded) == -100.0


@pytest.mark.parametrize("lag", [0, 8, -8, 799, -799])
def test_alignment_undoes_a_delay_within_50_ms(lag):
    measured = metrics.create("si-sdr-aligned")(pair(noise(), shifted(noise(), lag)))
    assert measured.value == 100.0
    assert measured.detail["lag"] == lag


def test_alignment_leaves_a_delay_beyond_50_ms():
    assert metrics.create("si-sdr-aligned")(pair(noise(), shifted(noise(), 900))).value < -10


@pytest.mark.parametrize("rate", [16000, 44100])
@pytest.mark.parametrize("lag", [0, 1, -8, 3000, -3000])
def test_delay_is_found_to_the_sample(lag, rate):
    measured = metrics.create("delay")(pair(noise(44100), shifted(noise(44100), lag), rate))
    assert measured.detail["samples"] == lag
    assert measured.value == pytest.approx(1000 * lag / rate)


def test_delay_survives_inverted_polarity_and_noise():
    degraded = -shifted(noise(), 40) + noise(seed=9)
    measured = metrics.create("delay")(pair(noise(), degraded))
    assert measured.detail["samples"] == 40
    assert measured.detail["correlation"] < -0.5


def test_phase_incoherent_signals_have_no_delay_but_an_envelope_lag():
    envelope = np.clip(np.sin(np.arange(32000) / 900), 0, 1).astype(np.float32)
    degraded = shifted(envelope * noise(32000, seed=5), 320)
    with pytest.raises(MeasureError, match=r"\+(19|20|21) ms apart") as caught:
        metrics.create("delay")(pair(envelope * noise(32000, seed=4), degraded))
    assert caught.value.reason is Reason.NO_CORRELATION


def test_level_difference():
    measured = metrics.create("level-difference")(pair(noise(), 0.5 * noise()))
    assert measured.value == pytest.approx(-6.0206, abs=1e-3)


def test_cross_correlation_equals_numpy():
    x, y = noise(500), noise(500, seed=2)
    full = np.correlate(y.astype(float), x.astype(float), mode="full")
    expected = full[499 - 40 : 499 + 41] / np.sqrt(np.sum(x**2.0) * np.sum(y**2.0))
    np.testing.assert_allclose(waveform.cross_correlation(x, y, 40), expected, atol=1e-7)
