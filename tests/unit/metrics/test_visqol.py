"""ViSQOL: our arrangement of the library's steps gives the library's scores, bit for bit."""

import logging

import numpy as np
import pytest

from bench import metrics
from bench.audio import Domain, resample
from bench.errors import MeasureError, Reason
from bench.metrics import Pair, Signal

visqol = pytest.importorskip("visqol")
functional = pytest.importorskip("bench.metrics.functional.visqol")

RATE = 16000


def clip(seconds: float = 2.5, seed: int = 3) -> np.ndarray:
    """Harmonics that come and go over faint noise, [1, N]."""
    rng = np.random.default_rng(seed)
    time = np.arange(round(seconds * RATE)) / RATE
    tone = sum(np.sin(2 * np.pi * 140 * k * time) / k for k in range(1, 25))
    envelope = np.clip(np.sin(2 * np.pi * 1.3 * time), 0, 1)
    wave = 0.1 * envelope * tone + 1e-3 * rng.standard_normal(time.shape)
    return wave.astype(np.float32)[np.newaxis]


def degrade(samples: np.ndarray, lag: int = 0) -> np.ndarray:
    noise = np.random.default_rng(5).standard_normal(samples.shape)
    return np.roll(0.7 * samples + 0.01 * noise, lag, axis=1).astype(np.float32)


@pytest.mark.parametrize("lag", [0, 160, -160])
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("visqol-audio-48k", {"mode": "audio"}),
        ("visqol-speech-lattice", {"mode": "speech", "use_lattice_model": True}),
        ("visqol-speech-exp", {"mode": "speech", "use_lattice_model": False}),
    ],
)
def test_scores_equal_the_public_interface(name, options, lag):
    metric = metrics.create(name)
    if reason := metric.unavailable_reason():
        pytest.skip(reason)
    reference, degraded = clip(), degrade(clip(), lag)
    rate = metric.sample_rate
    api = visqol.VisqolApi()
    api.create(**options)
    expected = api.measure_from_arrays(
        resample(reference, RATE, rate)[0], resample(degraded, RATE, rate)[0], rate
    ).moslqo
    pair = Pair(Signal(reference, RATE), Signal(degraded, RATE), Domain.MUSIC)
    assert metric(pair).value == expected


@pytest.mark.parametrize("mode", [functional.AUDIO, functional.SPEECH], ids=["audio", "speech"])
def test_spectrogram_equals_the_library(mode):
    from visqol.analysis_window import AnalysisWindow
    from visqol.audio_utils import AudioSignal
    from visqol.gammatone import GammatoneSpectrogramBuilder

    signal = AudioSignal(clip(0.7)[0], mode.sample_rate)
    window = AnalysisWindow(mode.sample_rate, 0.25)
    expected = GammatoneSpectrogramBuilder(mode.bands, 50.0, mode.speech).build(signal, window)
    found = functional._Builder(mode).build(signal, window)
    assert np.array_equal(found.data, expected.data)
    assert np.array_equal(found.center_freq_bands, expected.center_freq_bands)


def test_voice_activity_equals_the_library():
    from visqol.audio_utils import AudioSignal
    from visqol.patch_creator import VadPatchCreator

    signal = AudioSignal(clip()[0] * 8, RATE)  # beyond full scale: clipped
    arguments = (signal, 9, 32000, 320)
    expected = VadPatchCreator(20)._get_voice_activity(*arguments)
    assert functional._VadPatches(20)._get_voice_activity(*arguments) == expected
    assert len(set(expected)) == 2


def test_both_speech_maps_share_one_pass_and_codecs_share_the_reference(monkeypatch):
    calls = {"reference": 0, "pair": 0}
    reference_side, similarity = functional.reference_side, functional.similarity

    def count_reference(*arguments):
        calls["reference"] += 1
        return reference_side(*arguments)

    def count_pair(*arguments):
        calls["pair"] += 1
        return similarity(*arguments)

    monkeypatch.setattr(functional, "reference_side", count_reference)
    monkeypatch.setattr(functional, "similarity", count_pair)
    reference = Signal(clip(1.5), RATE)
    for lag in (0, 80):
        pair = Pair(reference, Signal(degrade(clip(1.5), lag), RATE), Domain.SOUND)
        for name in ("visqol-speech-lattice", "visqol-speech-exp"):
            metrics.create(name)(pair)
    assert calls == {"reference": 1, "pair": 2}


@pytest.mark.parametrize(
    ("name", "seconds"), [("visqol-audio-48k", 0.96), ("visqol-speech-exp", 0.66)]
)
def test_the_shortest_allowed_clip_works_and_a_shorter_one_is_refused(name, seconds):
    metric = metrics.create(name)
    just, less = clip(seconds), clip(seconds - 0.02)
    assert 1 <= metric(Pair(Signal(just, RATE), Signal(just, RATE), Domain.SOUND)).value <= 5
    with pytest.raises(MeasureError) as caught:
        metric(Pair(Signal(less, RATE), Signal(less, RATE), Domain.SOUND))
    assert caught.value.reason is Reason.TOO_SHORT


def test_nothing_leaks_to_the_terminal(capfd, caplog):
    caplog.set_level(logging.WARNING)
    functional._mapper.cache_clear()
    pair = Pair(Signal(clip(1.5), RATE), Signal(degrade(clip(1.5)), RATE), Domain.SPEECH)
    for name in ("visqol-audio-48k", "visqol-speech-lattice", "visqol-speech-exp"):
        metrics.create(name)(pair)
    captured = capfd.readouterr()
    assert (captured.out, captured.err) == ("", "")
    assert not caplog.records
