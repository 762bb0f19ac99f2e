"""Short-time objective intelligibility: STOI and its extension ESTOI, for speech only.

0 is unintelligible, 1 is as intelligible as the reference; good codecs lie above 0.9 (STOI) and
0.85 (ESTOI). It says nothing on naturalness.

Taal, Hendriks, Heusdens, Jensen: "An Algorithm for Intelligibility Prediction of Time-Frequency
Weighted Noisy Speech", IEEE TASLP 19(7), 2011. Jensen, Taal: "An Algorithm for Predicting the
Intelligibility of Speech Masked by Modulated Noise Maskers", IEEE/ACM TASLP 24(11), 2016.
"""

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, ClassVar

import numpy as np

from bench.audio import Domain
from bench.errors import MeasureError, Reason
from bench.metrics.availability import missing_modules, package_version
from bench.metrics.base import Measurement, Metric, Pair, check_degraded_not_silent

#: ESTOI adds noise of 1e-16 before it divides by a norm; in digital silence that noise is all there
#: is, and the value would differ from run to run.
NOISE_SEED = 20240502


class Stoi(Metric):
    """STOI by pystoi, from 16 kHz (pystoi itself goes on to the algorithm's 10 kHz)."""

    name = "stoi"
    summary = "STOI, intelligibility from 0 to 1; above 0.9 is good. Speech only."
    domains = frozenset({Domain.SPEECH})
    sample_rate = 16000
    bounds = (-1.0, 1.0)
    minimum_s = 0.4  # 30 frames of 12.8 ms and the rest of the last one
    extended: ClassVar[bool] = False

    def unavailable_reason(self) -> str | None:
        """Return why it cannot run here, with the remedy, or None."""
        return missing_modules("pip install pystoi", "pystoi")

    @property
    def params(self) -> Mapping[str, Any]:
        """Return everything the value depends on."""
        return {
            "implementation": f"pystoi {package_version('pystoi')}",
            "extended": self.extended,
            "sample_rate": self.sample_rate,
            "noise_seed": NOISE_SEED,
        }

    def check(self, pair: Pair) -> None:
        """Refuse silence besides what every metric refuses."""
        super().check(pair)
        check_degraded_not_silent(pair)

    def measure(self, pair: Pair) -> Measurement:
        """Measure one pair."""
        from pystoi import stoi

        rate = self.sample_rate
        reference, degraded = pair.reference.mono(rate), pair.degraded.mono(rate)
        with _fixed_global_noise(), warnings.catch_warnings():
            warnings.filterwarnings("error", message="Not enough STFT frames")
            try:
                value = stoi(reference, degraded, rate, extended=self.extended)
            except RuntimeWarning as error:  # pystoi would return 1e-5
                raise MeasureError(
                    Reason.TOO_SHORT, f"{self.name} needs 0.4 s of speech besides the pauses"
                ) from error
        return Measurement(float(value))


class Estoi(Stoi):
    """ESTOI: also sees modulated distortions, and falls faster."""

    name = "estoi"
    summary = "Extended STOI, intelligibility from 0 to 1; above 0.85 is good. Speech only."
    extended = True


@contextmanager
def _fixed_global_noise() -> Iterator[None]:
    """Seed numpy's global generator, which pystoi draws from, and put it back afterwards."""
    state = np.random.get_state()  # noqa: NPY002 - pystoi uses the global generator
    np.random.seed(NOISE_SEED)  # noqa: NPY002
    try:
        yield
    finally:
        np.random.set_state(state)  # noqa: NPY002
