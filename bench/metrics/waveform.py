"""Waveform metrics: distortion, delay and level, at the clip's own rate."""

from collections.abc import Mapping
from typing import Any, ClassVar

from bench.errors import MeasureError, Reason
from bench.metrics.base import Measurement, Metric, Pair, check_degraded_not_silent
from bench.metrics.functional import waveform
from bench.metrics.functional.waveform import Peak

#: Codecs with more algorithmic delay than this are rare; the runner does not hide it.
MAX_DELAY_S = 0.5
#: By how much SI-SDR may be delay-compensated.
MAX_ALIGNMENT_S = 0.05
#: Below it a peak says nothing on the delay: phase-incoherent codecs reach 0.1 to 0.2 by chance.
MIN_CORRELATION = 0.3
LIMIT_DB = 100.0


def find_peak(pair: Pair, max_lag_s: float) -> Peak:
    """Return where two signals correlate best within ``±max_lag_s``."""
    rate = pair.reference.sample_rate
    reference, degraded = pair.reference.mono(), pair.degraded.mono()
    longest = min(round(MAX_DELAY_S * rate), len(reference) // 2)
    correlation = pair.memo(
        "cross-correlation", lambda: waveform.cross_correlation(reference, degraded, longest)
    )
    return waveform.find_peak(correlation, min(round(max_lag_s * rate), longest))


class _Waveform(Metric):
    """What the four share: a silent degraded signal has none of these values."""

    unit = "dB"
    minimum_s = 0.1

    def check(self, pair: Pair) -> None:
        """Refuse silence besides what every metric refuses."""
        super().check(pair)
        check_degraded_not_silent(pair)


class SiSdr(_Waveform):
    """SI-SDR of the signals as they are: eight samples of delay cost 20 dB."""

    name = "si-sdr"
    summary = (
        "Scale-invariant SDR as is, dB, capped at ±100. 20 is excellent, 0 is as much "
        "distortion as signal. Delay ruins it, and codecs that do not keep the phase have none."
    )
    bounds = (-LIMIT_DB, LIMIT_DB)

    @property
    def params(self) -> Mapping[str, Any]:
        """Return everything the value depends on."""
        return {"implementation": "codecbench", "zero_mean": False, "limit_db": LIMIT_DB}

    def measure(self, pair: Pair) -> Measurement:
        """Measure one pair."""
        reference, degraded = pair.reference.mono(), pair.degraded.mono()
        return Measurement(waveform.si_sdr_db(reference, degraded, LIMIT_DB))


class SiSdrAligned(_Waveform):
    """SI-SDR after undoing a whole number of samples of delay."""

    name = "si-sdr-aligned"
    summary = (
        "Scale-invariant SDR, dB, after moving the degraded signal by the lag (within ±50 ms, "
        "whole samples) of the strongest cross-correlation. Capped at ±100; 20 is excellent."
    )
    bounds = (-LIMIT_DB, LIMIT_DB)

    @property
    def params(self) -> Mapping[str, Any]:
        """Return everything the value depends on."""
        return {
            "implementation": "codecbench",
            "zero_mean": False,
            "limit_db": LIMIT_DB,
            "max_alignment_s": MAX_ALIGNMENT_S,
            "peak": "absolute",
        }

    def measure(self, pair: Pair) -> Measurement:
        """Measure one pair."""
        peak = find_peak(pair, MAX_ALIGNMENT_S)
        signals = waveform.overlap(pair.reference.mono(), pair.degraded.mono(), peak.lag)
        value = waveform.si_sdr_db(*signals, LIMIT_DB)
        return Measurement(value, {"lag": peak.lag, "correlation": peak.correlation})


class Delay(_Waveform):
    """How much later the degraded signal comes, by the peak of the cross-correlation.

    Codecs that do not keep the phase have no such peak. Their lag of loudness envelopes (blocks of
    1 ms) is in the detail, or in the message where the waveform gives no answer.
    """

    name = "delay"
    summary = (
        "Delay of the degraded signal, ms (positive: later), by cross-correlation within ±500 ms. "
        "0 is right; no value where the waveforms correlate below 0.3."
    )
    unit = "ms"
    higher_is_better = None
    bounds = (-1000 * MAX_DELAY_S, 1000 * MAX_DELAY_S)
    block_s: ClassVar[float] = 0.001

    @property
    def params(self) -> Mapping[str, Any]:
        """Return everything the value depends on."""
        return {
            "implementation": "codecbench",
            "max_delay_s": MAX_DELAY_S,
            "min_correlation": MIN_CORRELATION,
            "envelope_block_s": self.block_s,
            "peak": "absolute",
        }

    def measure(self, pair: Pair) -> Measurement:
        """Measure one pair."""
        rate = pair.reference.sample_rate
        peak = find_peak(pair, MAX_DELAY_S)
        block = max(1, round(self.block_s * rate))
        envelope = self._envelope_peak(pair, block)
        envelope_ms = 1000 * envelope.lag * block / rate
        if abs(peak.correlation) < MIN_CORRELATION:
            raise MeasureError(
                Reason.NO_CORRELATION,
                f"waveforms correlate at {peak.correlation:.2f} only; their envelopes are "
                f"{envelope_ms:+.0f} ms apart (correlation {envelope.correlation:.2f})",
            )
        return Measurement(
            1000 * peak.lag / rate,
            {
                "samples": peak.lag,
                "correlation": peak.correlation,
                "envelope_ms": envelope_ms,
                "envelope_correlation": envelope.correlation,
            },
        )

    def _envelope_peak(self, pair: Pair, block: int) -> Peak:
        reference, degraded = (
            waveform.rms_envelope(signal.mono(), block)
            for signal in (pair.reference, pair.degraded)
        )
        longest = min(round(MAX_DELAY_S / self.block_s), len(reference) // 2)
        correlation = waveform.cross_correlation(reference, degraded, longest)
        return waveform.find_peak(correlation, longest)


class LevelDifference(_Waveform):
    """RMS of the degraded signal over that of the reference."""

    name = "level-difference"
    summary = (
        "Level of the degraded signal less that of the reference, dB RMS of the mono mix. 0 is "
        "right; beyond ±1 dB level-dependent metrics (mel, STFT) suffer from it."
    )
    higher_is_better = None

    @property
    def params(self) -> Mapping[str, Any]:
        """Return everything the value depends on."""
        return {"implementation": "codecbench", "level": "RMS of the mono mix"}

    def measure(self, pair: Pair) -> Measurement:
        """Measure one pair."""
        difference = pair.degraded.level_dbfs - pair.reference.level_dbfs
        return Measurement(difference)
