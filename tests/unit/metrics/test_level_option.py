"""``level=matched``: what peak-normalised files need, and nothing else may change by it."""

import numpy as np
import pytest

from bench import metrics
from bench.audio import Domain
from bench.errors import MeasureError, Reason, UsageError
from bench.metrics import Pair, Signal

NAMES = ("mel-dac-eval", "mel-dac-7scale", "logmel-l1", "stft-dac-eval", "mrstft")
RATE = 16000
RNG = np.random.default_rng(0)
WAVE = (0.2 * np.sin(np.cumsum(RNG.uniform(0.05, 0.4, RATE))))[None].astype(np.float32)
NOISY = (WAVE + 0.02 * RNG.standard_normal(RATE)).astype(np.float32)


def measure(name, degraded):
    pair = Pair(Signal(WAVE, RATE), Signal(degraded.astype(np.float32), RATE), Domain.MUSIC)
    return metrics.create(name)(pair).value


@pytest.mark.parametrize("name", NAMES)
def test_gain_costs_nothing_when_levels_are_matched(name):
    kept = [measure(name, gain * NOISY) for gain in (1.0, 0.3)]
    matched = [measure(f"{name}:level=matched", gain * NOISY) for gain in (1.0, 0.3, 3.0)]
    assert abs(kept[0] - kept[1]) > 0.1
    assert np.ptp(matched) < 1e-3
    assert matched[0] == pytest.approx(kept[0], rel=0.05)  # the noise adds 1 % of power


@pytest.mark.parametrize("name", NAMES)
def test_the_option_is_another_identity_and_the_default_is_none(name):
    plain, kept, matched = (
        metrics.create(f"{name}{option}") for option in ("", ":level=kept", ":level=matched")
    )
    assert plain.fingerprint == kept.fingerprint != matched.fingerprint
    assert "level" not in plain.params


def test_the_metrics_of_a_pair_share_the_matched_signal():
    pair = Pair(Signal(WAVE, RATE), Signal(0.5 * NOISY, RATE), Domain.MUSIC)
    one, other = (metrics.create(f"{name}:level=matched") for name in NAMES[:2])
    assert one.levelled(pair) is other.levelled(pair)
    assert metrics.create(NAMES[0]).levelled(pair) is pair


def test_silence_has_no_level():
    with pytest.raises(MeasureError) as caught:
        measure("mrstft:level=matched", 0 * NOISY)
    assert caught.value.reason is Reason.SILENT_DEGRADED


def test_an_unknown_level_is_refused():
    with pytest.raises(UsageError, match=r"did you mean|known"):
        metrics.create("mrstft:level=match")


def test_mel_in_db_is_the_mean_over_scales_and_another_identity():
    plain, in_db = (metrics.create(f"mel-dac-7scale{option}") for option in ("", ":unit=db"))
    assert measure("mel-dac-7scale:unit=db", NOISY) == pytest.approx(
        20 / 7 * measure("mel-dac-7scale", NOISY)
    )
    # Every band, 20 dB apart: 20, whatever the number of scales.
    assert measure("mel-dac-7scale:unit=db", 10 * WAVE) == pytest.approx(20, rel=0.02)
    assert (plain.unit, in_db.unit) == ("", "dB")
    assert plain.fingerprint != in_db.fingerprint
    assert plain.params["over_scales"] == "sum"
    with pytest.raises(UsageError, match=r"did you mean|known"):
        metrics.create("mel-dac-7scale:unit=ln")
