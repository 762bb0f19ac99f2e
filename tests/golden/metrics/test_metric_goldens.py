"""Every metric that is arithmetic on waveforms, against values of independent implementations."""

import numpy as np
import pytest

from bench import metrics
from bench.audio import Domain, resample
from bench.metrics import Pair, Signal

RATE = 16000
#: Metric -> absolute tolerance. ViSQOL: other processors round FFTs differently. PESQ and STOI: the
#: judge's own. Spectral and SI-SDR: float32 against float64.
TOLERANCES = {
    "visqol-audio-48k": 1e-3,
    "visqol-speech-lattice": 1e-3,
    "visqol-speech-exp": 1e-3,
    "pesq-wb": 1e-3,
    "pesq-nb": 1e-3,
    "pesqc2-wb": 1e-3,
    "pesqc2-nb": 1e-3,
    "stoi": 1e-4,
    "estoi": 1e-4,
    "mel-dac-eval": 1e-4,
    "mel-dac-7scale": 1e-4,
    "logmel-l1": 1e-4,
    "stft-dac-eval": 1e-4,
    "mrstft": 1e-4,
    "si-sdr": 1e-3,
}


def voice() -> np.ndarray:
    """Four seconds of gliding harmonics with formants and pauses, [N] float32."""
    rng = np.random.default_rng(2024)
    time = np.arange(4 * RATE) / RATE
    pitch = 120 + 30 * np.sin(2 * np.pi * 0.7 * time)
    phase = 2 * np.pi * np.cumsum(pitch) / RATE
    tone = np.zeros_like(time)
    for k in range(1, 40):
        hz = 130.0 * k
        gain = sum(np.exp(-(((hz - formant) / 250.0) ** 2)) for formant in (500, 1500, 2500, 3700))
        tone += (0.02 + gain) / k**0.5 * np.sin(k * phase)
    syllables = np.clip(np.sin(2 * np.pi * 2.1 * time) + 0.3, 0, 1) * (time % 2.0 < 1.6)
    wave = 0.05 * syllables * tone + 2e-4 * rng.standard_normal(time.shape)
    return wave.astype(np.float32)


def degradations() -> dict[str, np.ndarray]:
    clean = voice()
    rng = np.random.default_rng(7)
    spectrum = np.fft.rfft(clean)
    spectrum[np.fft.rfftfreq(len(clean), 1 / RATE) > 3500] = 0
    damaged = {
        "noise": clean + 0.01 * rng.standard_normal(clean.shape),
        "lowpass": np.fft.irfft(spectrum, len(clean)),
        "8bit": np.round(clean * 64) / 64,
        "early": 0.7 * np.roll(clean, -8),
    }
    return {name: wave.astype(np.float32) for name, wave in damaged.items()}


def ours(name: str, degraded: np.ndarray) -> float:
    pair = Pair(Signal(voice()[None], RATE), Signal(degraded[None], RATE), Domain.SPEECH)
    return metrics.create(name)(pair).value


def independent_values() -> dict[str, dict[str, float]]:
    return {case: independent_scores(voice(), wave) for case, wave in degradations().items()}


def independent_scores(reference: np.ndarray, degraded: np.ndarray) -> dict[str, float]:
    """Score through public interfaces only: torchmetrics, visqol, pesqc2, and torch."""
    import pesqc2
    import torch
    from torchmetrics.functional.audio import (
        perceptual_evaluation_speech_quality,
        scale_invariant_signal_distortion_ratio,
        short_time_objective_intelligibility,
    )

    x, y = torch.from_numpy(reference), torch.from_numpy(degraded)
    narrow = [resample(wave[None], RATE, 8000)[0] for wave in (reference, degraded)]
    x8, y8 = map(torch.from_numpy, narrow)
    scores = {
        "pesq-wb": perceptual_evaluation_speech_quality(y, x, RATE, "wb"),
        "pesq-nb": perceptual_evaluation_speech_quality(y8, x8, 8000, "nb"),
        "pesqc2-wb": pesqc2.pesq(RATE, reference, degraded, "wb"),
        "pesqc2-nb": pesqc2.pesq(8000, *narrow, "nb"),
        "stoi": short_time_objective_intelligibility(y, x, RATE),
        "estoi": short_time_objective_intelligibility(y, x, RATE, extended=True),
        "si-sdr": scale_invariant_signal_distortion_ratio(y.double(), x.double()),
    }
    scores |= visqol_scores(reference, degraded) | spectral_scores(x.double(), y.double())
    return {name: round(float(score), 6) for name, score in scores.items()}


def visqol_scores(reference: np.ndarray, degraded: np.ndarray) -> dict[str, float]:
    from visqol import VisqolApi

    scores = {}
    for name, rate, options in (
        ("visqol-audio-48k", 48000, {"mode": "audio"}),
        ("visqol-speech-lattice", 16000, {"mode": "speech", "use_lattice_model": True}),
        ("visqol-speech-exp", 16000, {"mode": "speech", "use_lattice_model": False}),
    ):
        api = VisqolApi()
        api.create(**options)
        waves = (resample(wave[None], RATE, rate)[0] for wave in (reference, degraded))
        scores[name] = api.measure_from_arrays(*waves, rate).moslqo
    return scores


def spectral_scores(x, y) -> dict[str, float]:
    import torch
    from transformers.audio_utils import mel_filter_bank

    def magnitudes(wave, window_samples, num_mels):
        window = torch.hann_window(window_samples, dtype=torch.float64)
        found = (
            torch.stft(
                wave, window_samples, window_samples // 4, window=window, return_complex=True
            )
            .abs()
            .T
        )
        if num_mels is None:
            return found
        bins = window_samples // 2 + 1
        bank = mel_filter_bank(bins, num_mels, 0, RATE / 2, RATE, norm="slaney", mel_scale="slaney")
        return found @ torch.from_numpy(bank).double()

    def distance(scales, power, linear, log):
        total = 0.0
        for scale in scales:
            a, b = magnitudes(x, *scale), magnitudes(y, *scale)
            logs = log(a.clamp(1e-5) ** power) - log(b.clamp(1e-5) ** power)
            total += float(logs.abs().mean()) + linear * float((a - b).abs().mean())
        return total

    def resolution(window_samples):
        a, b = magnitudes(x, window_samples, None), magnitudes(y, window_samples, None)
        logs = (a.clamp(1e-5).log() - b.clamp(1e-5).log()).abs().mean()
        return float(torch.linalg.norm(a - b) / torch.linalg.norm(a) + logs)

    seven = [(32 * 2**i, 5 * 2**i) for i in range(7)]
    return {
        "mel-dac-eval": distance([(2048, 150), (512, 80)], 2, 1.0, torch.log10),
        "mel-dac-7scale": distance(seven, 1, 0.0, torch.log10),
        "logmel-l1": distance([(1024, 80)], 1, 0.0, torch.log),
        "stft-dac-eval": distance([(2048, None), (512, None)], 2, 1.0, torch.log10),
        "mrstft": float(np.mean([resolution(size) for size in (512, 1024, 2048)])),
    }


@pytest.mark.parametrize("name", TOLERANCES)
def test_values_equal_independent_implementations(name, golden):
    metric = metrics.create(name)
    if reason := metric.unavailable_reason():
        pytest.skip(reason)
    expected = golden("metrics.json", independent_values)
    found = {case: ours(name, wave) for case, wave in degradations().items()}
    wanted = {case: expected[case][name] for case in found}
    assert found == pytest.approx(wanted, abs=TOLERANCES[name])
