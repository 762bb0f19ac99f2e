"""Spectral distances in named variants: at least three quantities go by the name "mel distance".

Lower is better, 0 is identical. All of them listen at 16 kHz and all of them depend on the level:
a codec that returns everything 3 dB quieter pays for it. Where files were normalised after coding
(released audio often is), that says nothing about the codec: ``mel-dac-7scale:level=matched`` first
scales the degraded signal to the reference's RMS. What each name means is spelled out in its
``params``; the pieces are in :mod:`bench.metrics.functional.spectral`.
"""

import math
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from bench.errors import unknown_name
from bench.metrics.base import Measurement, Metric, Pair, Signal, check_degraded_not_silent
from bench.metrics.functional import spectral
from bench.metrics.functional.spectral import Spectrogram

SAMPLE_RATE = 16000
FLOOR = 1e-5


def magnitudes(signal: Signal, window_samples: int) -> Spectrogram:
    """Return a signal's magnitude spectrogram at 16 kHz, computed once."""
    return signal.memo(
        ("magnitudes", SAMPLE_RATE, window_samples),
        lambda: spectral.magnitude_spectrogram(signal.mono(SAMPLE_RATE), window_samples),
    )


def mels(signal: Signal, window_samples: int, num_mels: int) -> Spectrogram:
    """Return a signal's mel spectrogram at 16 kHz, computed once."""
    return signal.memo(
        ("mels", SAMPLE_RATE, window_samples, num_mels),
        lambda: (
            magnitudes(signal, window_samples)
            @ spectral.mel_filters(SAMPLE_RATE, window_samples, num_mels)
        ),
    )


LEVELS = ("kept", "matched")
MEL_UNITS = ("log10", "db")


class _LevelOption(Metric):
    """A metric that can match levels first.

    Args:
        level: ``kept``, or ``matched``: the degraded signal is scaled to the RMS of the reference.
    """

    def __init__(self, level: str = "kept") -> None:
        if level not in LEVELS:
            raise unknown_name("level", level, LEVELS)
        self.level = level

    @property
    def level_params(self) -> Mapping[str, Any]:
        """What the option adds to ``params``."""
        return {} if self.level == "kept" else {"level": "degraded scaled to the reference's RMS"}

    def levelled(self, pair: Pair) -> Pair:
        """Return the pair that is measured; metrics with one option share it.

        Raises:
            MeasureError: If the degraded signal has no level.
        """
        if self.level == "kept":
            return pair
        check_degraded_not_silent(pair)
        return pair.memo("level-matched", lambda: _level_matched(pair))


def _level_matched(pair: Pair) -> Pair:
    gain = 10 ** ((pair.reference.level_dbfs - pair.degraded.level_dbfs) / 20)
    samples = (pair.degraded.samples * gain).astype(np.float32)
    degraded = Signal(samples, pair.degraded.sample_rate)
    return Pair(pair.reference, degraded, pair.domain, pair.text)


class _SpectralDistance(_LevelOption):
    """Sum over scales of a log distance, and for some of a linear one.

    Attributes:
        scales: Window in samples and number of mel bands (None: linear bins), per scale.
        log_base: Of the logarithm, 10 or e.
        power: To which magnitudes are raised before the logarithm.
        linear_weight: Of the mean absolute difference of magnitudes.
    """

    scales: ClassVar[tuple[tuple[int, int | None], ...]]
    log_base: ClassVar[float] = 10.0
    power: ClassVar[float] = 1.0
    linear_weight: ClassVar[float] = 0.0
    sample_rate = SAMPLE_RATE
    higher_is_better = False
    bounds = (0.0, None)
    minimum_s = 2048 / SAMPLE_RATE

    @property
    def params(self) -> Mapping[str, Any]:
        """Return everything the value depends on."""
        return {
            "implementation": "codecbench",
            "sample_rate": self.sample_rate,
            "scales": [list(scale) for scale in self.scales],
            "window": "periodic hann, hop a quarter, centred, reflected",
            "mel": "slaney scale and norm, 0 Hz to half the rate",
            "floor": FLOOR,
            "log_base": self.log_base,
            "power": self.power,
            "linear_weight": self.linear_weight,
            "over_scales": "sum",
            **self.level_params,
        }

    def measure(self, pair: Pair) -> Measurement:
        """Measure one pair."""
        pair = self.levelled(pair)
        return Measurement(sum(self._distance(pair, *scale) for scale in self.scales))

    def _distance(self, pair: Pair, window_samples: int, num_mels: int | None) -> float:
        reference, degraded = (
            magnitudes(signal, window_samples)
            if num_mels is None
            else mels(signal, window_samples, num_mels)
            for signal in (pair.reference, pair.degraded)
        )
        in_log = spectral.log_distance(reference, degraded, FLOOR)
        distance = self.power * in_log / math.log(self.log_base)
        if self.linear_weight:
            distance += self.linear_weight * spectral.linear_distance(reference, degraded)
        return distance


class MelDacEval(_SpectralDistance):
    """Audiotools' ``MelSpectrogramLoss()`` as DAC's evaluation calls it when no config is loaded.

    Floor, then square, then log10: ``log10(max(M, 1e-5)^2)``.
    """

    name = "mel-dac-eval"
    summary = (
        "Mel distance, audiotools default: windows 2048 and 512, 150 and 80 mels, squared, log10, "
        "plus linear term. 0 identical, 0.5 near transparent, above 1.5 poor."
    )
    scales = ((2048, 150), (512, 80))
    power = 2.0
    linear_weight = 1.0


class MelDac7Scale(_SpectralDistance):
    """The mel loss of DAC's ``conf/base.yml``: seven scales, magnitudes, no linear term.

    Args:
        level: See :class:`_LevelOption`.
        unit: ``log10``, summed over the scales as the loss is; or ``db``: 20 log10 and the mean
            over the scales, the same quantity times 20/7. The values of SemantiCodec's Table II
            are of that size (docs/reproduction.md).
    """

    name = "mel-dac-7scale"
    summary = (
        "Mel distance of DAC's training: seven windows from 32 to 2048 with 5 to 320 mels, log10 "
        "of magnitudes. 0 identical, 1 near transparent, above 2 poor."
    )
    scales = (
        (32, 5), (64, 10), (128, 20), (256, 40), (512, 80), (1024, 160), (2048, 320),
    )  # fmt: skip

    def __init__(self, level: str = "kept", unit: str = "log10") -> None:
        super().__init__(level)
        if unit not in MEL_UNITS:
            raise unknown_name("unit", unit, MEL_UNITS)
        self._in_db = unit == "db"
        if self._in_db:
            self.unit = "dB"

    @property
    def params(self) -> Mapping[str, Any]:
        """Return everything the value depends on."""
        in_db = {"over_scales": "mean", "unit": "dB, 20 log10"} if self._in_db else {}
        return {**super().params, **in_db}

    def measure(self, pair: Pair) -> Measurement:
        """Measure one pair."""
        in_log10 = super().measure(pair).value
        return Measurement(20 / len(self.scales) * in_log10 if self._in_db else in_log10)


class LogMelL1(_SpectralDistance):
    """Plain log-mel distance: 80 mels, window 1024, natural logarithm."""

    name = "logmel-l1"
    summary = (
        "Mean absolute difference of natural-log mels (80, window 1024). "
        "0 identical, 0.3 near transparent, above 0.7 poor."
    )
    scales = ((1024, 80),)
    log_base = math.e


class StftDacEval(_SpectralDistance):
    """Audiotools' ``MultiScaleSTFTLoss()``, which papers call "STFT distance"."""

    name = "stft-dac-eval"
    summary = (
        "STFT distance, audiotools default: windows 2048 and 512, squared, log10, plus linear "
        "term. 0 identical, 1.8 near transparent, above 3 poor."
    )
    scales = ((2048, None), (512, None))
    power = 2.0
    linear_weight = 1.0


class MultiResolutionStft(_LevelOption):
    """Spectral convergence plus log magnitude distance, mean over three resolutions.

    Yamamoto, Song, Kim: "Parallel WaveGAN", ICASSP 2020, eqs. 3 to 6, with our windows and hop.
    """

    name = "mrstft"
    summary = (
        "Multi-resolution STFT distance: spectral convergence plus natural-log magnitude L1, mean "
        "over windows 512, 1024, 2048. 0 identical, 1 near transparent, above 1.8 poor."
    )
    sample_rate = SAMPLE_RATE
    higher_is_better = False
    bounds = (0.0, None)
    minimum_s = 2048 / SAMPLE_RATE
    windows: ClassVar[tuple[int, ...]] = (512, 1024, 2048)

    @property
    def params(self) -> Mapping[str, Any]:
        """Return everything the value depends on."""
        return {
            "implementation": "codecbench",
            "sample_rate": self.sample_rate,
            "windows": list(self.windows),
            "window": "periodic hann, hop a quarter, centred, reflected",
            "floor": FLOOR,
            "terms": "spectral convergence + mean |ln|",
            "over_scales": "mean",
            **self.level_params,
        }

    def measure(self, pair: Pair) -> Measurement:
        """Measure one pair."""
        pair = self.levelled(pair)
        distances = [self._distance(pair, samples) for samples in self.windows]
        return Measurement(sum(distances) / len(distances))

    def _distance(self, pair: Pair, window_samples: int) -> float:
        reference = magnitudes(pair.reference, window_samples)
        degraded = magnitudes(pair.degraded, window_samples)
        return spectral.spectral_convergence(reference, degraded) + spectral.log_distance(
            reference, degraded, FLOOR
        )
