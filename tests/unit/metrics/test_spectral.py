"""Spectral distances against torch.stft and an independent mel filterbank."""

import numpy as np
import pytest
import torch

from bench import metrics
from bench.audio import Domain
from bench.metrics import Pair, Signal
from bench.metrics.functional import spectral

RATE = 16000
#: The documented definitions, written again from METRICS and audiotools, not from our classes:
#: (scales, power, linear weight, log).
DEFINITIONS = {
    "mel-dac-eval": ([(2048, 150), (512, 80)], 2, 1.0, torch.log10),
    "mel-dac-7scale": ([(32 << i, 5 << i) for i in range(7)], 1, 0.0, torch.log10),
    "logmel-l1": ([(1024, 80)], 1, 0.0, torch.log),
    "stft-dac-eval": ([(2048, None), (512, None)], 2, 1.0, torch.log10),
}


def waves(seconds: float = 1.3) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(11)
    count = round(seconds * RATE)
    reference = 0.1 * rng.standard_normal(count)
    reference[: count // 3] *= 1e-4  # reaches the floor
    degraded = 0.8 * reference + 0.02 * rng.standard_normal(count)
    return reference.astype(np.float32), degraded.astype(np.float32)


def pair() -> Pair:
    reference, degraded = waves()
    return Pair(Signal(reference[None], RATE), Signal(degraded[None], RATE), Domain.MUSIC)


def torch_magnitudes(wave: np.ndarray, window_samples: int) -> torch.Tensor:
    spectrum = torch.stft(
        torch.from_numpy(wave),
        window_samples,
        hop_length=window_samples // 4,
        window=torch.hann_window(window_samples),
        center=True,
        pad_mode="reflect",
        return_complex=True,
    )
    return spectrum.abs().T


def independent_filters(window_samples: int, num_mels: int) -> torch.Tensor:
    audio_utils = pytest.importorskip("transformers.audio_utils")
    filters = audio_utils.mel_filter_bank(
        window_samples // 2 + 1, num_mels, 0.0, RATE / 2, RATE, norm="slaney", mel_scale="slaney"
    )
    return torch.from_numpy(filters).float()


@pytest.mark.parametrize("window_samples", [32, 64, 512, 2048])
def test_magnitudes_equal_torch(window_samples):
    wave, _ = waves()
    found = spectral.magnitude_spectrogram(wave, window_samples)
    expected = torch_magnitudes(wave, window_samples).numpy()
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, atol=2e-5)


def test_blocks_leave_no_seam(monkeypatch):
    wave, _ = waves()
    whole = spectral.magnitude_spectrogram(wave, 512)
    monkeypatch.setattr(spectral, "BLOCK_SAMPLES", 512 * 7)
    np.testing.assert_array_equal(spectral.magnitude_spectrogram(wave, 512), whole)


@pytest.mark.filterwarnings("ignore:At least one mel filter")
@pytest.mark.parametrize(
    ("window_samples", "num_mels"), [(32, 5), (256, 40), (512, 80), (1024, 160), (2048, 320)]
)
def test_filters_equal_an_independent_bank(window_samples, num_mels):
    found = spectral.mel_filters(RATE, window_samples, num_mels)
    expected = independent_filters(window_samples, num_mels).numpy()
    np.testing.assert_allclose(found, expected, atol=1e-7)


@pytest.mark.filterwarnings("ignore:At least one mel filter")
@pytest.mark.parametrize("name", DEFINITIONS)
def test_distances_equal_a_direct_implementation(name):
    scales, power, linear_weight, log = DEFINITIONS[name]
    expected = 0.0
    for window_samples, num_mels in scales:
        x, y = (torch_magnitudes(wave, window_samples) for wave in waves())
        if num_mels is not None:
            filters = independent_filters(window_samples, num_mels)
            x, y = x @ filters, y @ filters
        difference = log(x.clamp(1e-5) ** power) - log(y.clamp(1e-5) ** power)
        expected += float(difference.abs().mean()) + linear_weight * float((x - y).abs().mean())
    assert metrics.create(name)(pair()).value == pytest.approx(expected, abs=1e-4)


def test_mrstft_equals_a_direct_implementation():
    distances = []
    for window_samples in (512, 1024, 2048):
        x, y = (torch_magnitudes(wave, window_samples) for wave in waves())
        convergence = torch.linalg.norm(x - y) / torch.linalg.norm(x)
        logs = (torch.log(x.clamp(1e-5)) - torch.log(y.clamp(1e-5))).abs().mean()
        distances.append(float(convergence + logs))
    assert metrics.create("mrstft")(pair()).value == pytest.approx(np.mean(distances), abs=1e-4)


def test_halving_the_level_costs_ln_2_and_half_the_norm():
    loud = Signal(10 * np.random.default_rng(3).standard_normal((1, RATE)).astype(np.float32), RATE)
    half = Signal(loud.samples / 2, RATE)  # no bin of it reaches the floor
    value = metrics.create("mrstft")(Pair(loud, half, Domain.SOUND)).value
    assert value == pytest.approx(np.log(2) + 0.5, abs=1e-5)


def test_a_signal_is_transformed_once_per_window(monkeypatch):
    calls = []
    transform = spectral.magnitude_spectrogram

    def counted(wave, window_samples):
        calls.append(window_samples)
        return transform(wave, window_samples)

    monkeypatch.setattr(spectral, "magnitude_spectrogram", counted)
    shared = pair()
    for name in (*DEFINITIONS, "mrstft"):
        metrics.create(name)(shared)
    assert sorted(calls) == sorted([32, 64, 128, 256, 512, 1024, 2048] * 2)


@pytest.mark.parametrize("name", [*DEFINITIONS, "mrstft"])
def test_material_of_48_khz_is_resampled(name):
    rng = np.random.default_rng(0)
    wave = 0.1 * rng.standard_normal((1, 48000)).astype(np.float32)
    same = Pair(Signal(wave, 48000), Signal(wave, 48000), Domain.MUSIC)
    assert metrics.create(name)(same).value == 0.0
