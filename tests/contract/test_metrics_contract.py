"""What every registered metric promises, whatever it measures."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import bench
from bench import metrics
from bench.audio import Domain, read_audio
from bench.errors import MeasureError, Reason
from bench.metrics import Pair, Signal

DEMO = Path(bench.__file__).parent / "demo"
CLIP = "speech_awb_shepherd"  # 16 kHz, 4.2 s
TEXT = "The shepherd whistled twice, and his dog chased the sheep across the valley."
NAMES = tuple(metrics.BUILTIN)
SPEECH_ONLY = tuple(
    name for name in NAMES if metrics.create(name).domains == frozenset({Domain.SPEECH})
)
#: Value of a signal against itself, where it is not a bound: the mappers' own ceilings.
CEILINGS = {
    "visqol-audio-48k": (4.7, 4.75),
    "visqol-speech-lattice": (4.0, 4.75),
    "wer": (0.0, 0.25),  # the recogniser's own errors
    "cer": (0.0, 0.25),
    "estoi": (1.0 - 1e-9, 1.0 + 1e-9),
    "stoi": (1.0 - 1e-9, 1.0 + 1e-9),
    "pesq-wb": (4.64, 4.65),
    "pesqc2-wb": (4.64, 4.65),
    "pesq-nb": (4.54, 4.56),
    "pesqc2-nb": (4.54, 4.56),
    "delay": (0.0, 0.0),
    "level-difference": (0.0, 0.0),
}
#: Lower is better, and silence has a (bad) value.
DEFINED_ON_SILENCE = {
    "wer", "cer", "dwer", "mel-dac-eval", "mel-dac-7scale", "logmel-l1", "mrstft", "stft-dac-eval",
}  # fmt: skip


def speech() -> tuple[np.ndarray, int]:
    audio = read_audio(DEMO / "speech" / f"{CLIP}.flac")
    return audio.samples, audio.sample_rate


@pytest.fixture(scope="module")
def reference() -> Signal:
    """One signal for the whole module, so that what belongs to it is computed once."""
    return Signal(*speech())


def noisy(samples: np.ndarray, snr_db: float) -> np.ndarray:
    noise = np.random.default_rng(7).standard_normal(samples.shape)
    scale = np.sqrt(np.mean(samples**2) / np.mean(noise**2)) * 10 ** (-snr_db / 20)
    return (samples + scale * noise).astype(np.float32)


def pair_of(reference: Signal, samples: np.ndarray, domain: Domain = Domain.SPEECH) -> Pair:
    return Pair(reference, Signal(samples, reference.sample_rate), domain, TEXT)


def metric_or_skip(name: str) -> metrics.Metric:
    metric = metrics.create(name)
    if reason := metric.unavailable_reason():
        pytest.skip(reason)
    return metric


@pytest.mark.parametrize("name", NAMES)
def test_the_table_and_the_class_agree(name):
    metric = metrics.create(name)
    assert metric.name == name
    assert metric.summary
    assert "\n" not in metric.summary
    assert metric.domains
    json.dumps(dict(metric_or_skip(name).params))


@pytest.mark.parametrize("name", NAMES)
def test_identical_signals_give_the_best_value(name, reference):
    metric = metric_or_skip(name)
    value = metric(pair_of(reference, reference.samples)).value
    low, high = metric.bounds
    best = high if metric.higher_is_better else low
    floor, ceiling = CEILINGS.get(name, (best, best))
    assert floor <= value <= ceiling


@pytest.mark.parametrize("name", NAMES)
def test_more_noise_never_helps(name, reference):
    metric = metric_or_skip(name)
    if metric.higher_is_better is None:
        pytest.skip("neither direction is better")
    values = [
        metric(pair_of(reference, noisy(reference.samples, snr))).value for snr in (40, 20, 0)
    ]
    worst_first = values[::-1] if metric.higher_is_better else values
    assert worst_first == sorted(worst_first)
    assert values[0] != values[2]
    low, high = metric.bounds
    assert all((low is None or value >= low) for value in values)
    assert all((high is None or value <= high) for value in values)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    ("case", "reason"),
    [
        ("silent reference", Reason.SILENT_REFERENCE),
        ("NaN", Reason.NON_FINITE_AUDIO),
        ("infinity in the reference", Reason.NON_FINITE_AUDIO),
        ("shorter", Reason.LENGTH_MISMATCH),
        ("other rate", Reason.WRONG_SAMPLE_RATE),
        ("one sample", Reason.TOO_SHORT),
        ("no sample", Reason.TOO_SHORT),
    ],
)
def test_unfit_signals_are_refused_with_their_reason(name, case, reason, reference):
    metric = metric_or_skip(name)
    samples, rate = reference.samples, reference.sample_rate
    broken = samples.copy()
    broken[0, 1000] = np.inf if "infinity" in case else np.nan
    pairs = {
        "silent reference": (Signal(np.zeros_like(samples), rate), Signal(samples, rate)),
        "NaN": (Signal(samples, rate), Signal(broken, rate)),
        "infinity in the reference": (Signal(broken, rate), Signal(samples, rate)),
        "shorter": (Signal(samples, rate), Signal(samples[:, :-1], rate)),
        "other rate": (Signal(samples, rate), Signal(samples, 24000)),
        "one sample": (Signal(samples[:, :1], rate), Signal(samples[:, :1], rate)),
        "no sample": (Signal(samples[:, :0], rate), Signal(samples[:, :0], rate)),
    }
    with pytest.raises(MeasureError) as caught:
        metric(Pair(*pairs[case], Domain.SPEECH, TEXT))
    assert caught.value.reason is reason
    assert "\n" not in str(caught.value)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("name", NAMES)
def test_a_silent_reconstruction_is_defined(name, reference):
    """Either it is refused, or the value is a bad one: never a good one."""
    metric = metric_or_skip(name)
    silent = pair_of(reference, np.zeros_like(reference.samples))
    if name in DEFINED_ON_SILENCE:
        worse = metric(silent).value
        assert worse >= metric(pair_of(reference, noisy(reference.samples, 20))).value
    else:
        with pytest.raises(MeasureError) as caught:
            metric(silent)
        assert caught.value.reason is Reason.SILENT_DEGRADED


@pytest.mark.parametrize("name", SPEECH_ONLY)
@pytest.mark.parametrize("domain", [Domain.MUSIC, Domain.SOUND])
def test_speech_metrics_refuse_other_domains(name, domain, reference):
    with pytest.raises(MeasureError) as caught:
        metrics.create(name)(pair_of(reference, reference.samples, domain))
    assert caught.value.reason is Reason.NOT_FOR_DOMAIN


@pytest.mark.parametrize("name", NAMES)
def test_two_equal_channels_are_one(name, reference):
    metric = metric_or_skip(name)
    degraded = noisy(reference.samples, 20)
    stereo = Pair(
        Signal(np.repeat(reference.samples, 2, axis=0), reference.sample_rate),
        Signal(np.repeat(degraded, 2, axis=0), reference.sample_rate),
        Domain.SPEECH,
        TEXT,
    )
    assert metric(stereo).value == metric(pair_of(reference, degraded)).value


@pytest.mark.parametrize("name", NAMES)
def test_fingerprints_follow_version_and_params(name):
    metric = metric_or_skip(name)

    changed = dict(metric.params) | {"window": 17}
    with_other_params = type("Changed", (type(metric),), {"params": changed})()
    with_other_version = type("Raised", (type(metric),), {"version": metric.version + "x"})()
    others = {with_other_params.fingerprint, with_other_version.fingerprint}
    assert len(others | {metric.fingerprint}) == 3
    assert metric.fingerprint == type(metric)().fingerprint


def test_names_and_fingerprints_are_unique():
    usable = [metric for metric in map(metrics.create, NAMES) if not metric.unavailable_reason()]
    assert len({metric.fingerprint for metric in usable}) == len(usable)


def score_all(names: list[str]) -> dict[str, list[str]]:
    """Return value and fingerprint of each metric on one noisy clip, values to the last bit."""
    samples, rate = speech()
    pair = Pair(Signal(samples, rate), Signal(noisy(samples, 15), rate), Domain.SPEECH, TEXT)
    scores = {}
    for name in names:
        metric = metrics.create(name)
        if metric.unavailable_reason() is None:
            scores[name] = [metric(pair).value.hex(), metric.fingerprint]
    return scores


def test_values_depend_neither_on_the_process_nor_on_the_order():
    program = (
        "import importlib.util, json, sys\n"
        f"spec = importlib.util.spec_from_file_location('contract', {__file__!r})\n"
        "module = importlib.util.module_from_spec(spec)\n"
        "spec.loader.exec_module(module)\n"
        "print(json.dumps(module.score_all(list(module.NAMES)[::-1])))\n"
    )
    elsewhere = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=300
    )
    assert json.loads(elsewhere.stdout) == score_all(list(NAMES))
