"""What a metric is: a pure function underneath, a class that knows its domain, rate and identity.

A metric gets a :class:`Pair` of signals, ``(reference, degraded)`` in that order. Signals resample
and mix down themselves, once per rate, and remember what metrics derived from them, so that
ViSQOL's two mappers share one pass and the reference is transcribed once for all codecs.
"""

import hashlib
import json
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, TypeVar

import numpy as np
from numpy.typing import NDArray

from bench.audio import RESAMPLER, Domain, resample
from bench.errors import MeasureError, Reason

T = TypeVar("T")

#: Below this level a reference has nothing to compare with (METRICS: ViSQOL gives full marks).
SILENCE_DBFS = -60.0
#: Below this level a degraded signal is silence: 10 dB under the last bit of a 16-bit file.
DIGITAL_SILENCE_DBFS = -100.0


class Memo:
    """Remember what was derived from an object, by key."""

    def __init__(self) -> None:
        self._derived: dict[Hashable, Any] = {}

    def memo(self, key: Hashable, derive: Callable[[], T]) -> T:
        """Return ``derive()``, computed on first use of ``key``; a MeasureError is kept too."""
        if key not in self._derived:
            try:
                self._derived[key] = derive()
            except MeasureError as error:
                self._derived[key] = error
        found = self._derived[key]
        if isinstance(found, MeasureError):
            raise found
        return found


class Signal(Memo):
    """One waveform and everything derived from it.

    Args:
        samples: float32 ``[C, N]``.
        sample_rate: Hz.
    """

    def __init__(self, samples: NDArray[np.float32], sample_rate: int) -> None:
        super().__init__()
        self.samples = samples
        self.sample_rate = sample_rate

    @property
    def duration_s(self) -> float:
        """Length in seconds."""
        return self.samples.shape[1] / self.sample_rate

    def mono(self, sample_rate: int | None = None) -> NDArray[np.float32]:
        """Return the mean of the channels ``[N]`` at ``sample_rate`` (None: its own rate)."""
        rate = sample_rate or self.sample_rate
        return self.memo(("mono", rate), lambda: self._mono(rate))

    def _mono(self, rate: int) -> NDArray[np.float32]:
        mixed = self.samples.mean(axis=0, keepdims=True)
        return resample(mixed, self.sample_rate, rate)[0]

    @property
    def level_dbfs(self) -> float:
        """RMS level of the mono mix, dB relative to full scale; ``-inf`` for digital silence."""
        power = self.memo("power", lambda: float(np.mean(np.square(self.mono(), dtype=np.float64))))
        return 10 * math.log10(power) if power > 0 else -math.inf


class Pair(Memo):
    """A reference, what a codec made of it, and what is known about the clip.

    Args:
        reference: The signal that was coded.
        degraded: The reconstruction: same rate and length. Channels may differ: every metric
            listens to the mono mix.
        domain: What kind of audio it is.
        text: The transcript, for speech where it is known.
    """

    def __init__(
        self, reference: Signal, degraded: Signal, domain: Domain, text: str | None = None
    ) -> None:
        super().__init__()
        self.reference = reference
        self.degraded = degraded
        self.domain = domain
        self.text = text


@dataclass(frozen=True)
class Measurement:
    """A value and what is worth keeping beside it (WER: edits, words, hypothesis)."""

    value: float
    detail: Mapping[str, Any] = field(default_factory=dict)


class Metric(ABC):
    """One named variant of one metric.

    Attributes:
        name: Unique, lower case with hyphens, e.g. ``visqol-audio-48k``.
        summary: One line: what it is, what good and bad values look like.
        version: Raised by every change that moves its numbers.
        domains: Where it means something; elsewhere its rows are skipped.
        sample_rate: At which it listens, Hz; None: the clip's own rate.
        unit: Of the value, ``""`` for a bare number.
        higher_is_better: None where neither direction is better (a delay).
        bounds: Lowest and highest possible value; None: open.
        requires_text: Whether it needs the transcript.
        minimum_s: Shortest signal it can score, seconds.
    """

    name: ClassVar[str]
    summary: ClassVar[str]
    version: ClassVar[str] = "1"
    domains: ClassVar[frozenset[Domain]] = frozenset(Domain)
    sample_rate: ClassVar[int | None] = None
    unit: str = ""
    higher_is_better: ClassVar[bool | None] = True
    bounds: ClassVar[tuple[float | None, float | None]] = (None, None)
    requires_text: ClassVar[bool] = False
    minimum_s: ClassVar[float] = 0.0

    def unavailable_reason(self) -> str | None:
        """Return why it cannot run here (one line with the remedy), or None if it can."""
        return None

    @property
    @abstractmethod
    def params(self) -> Mapping[str, Any]:
        """Implementation, its version and every parameter the value depends on."""

    @abstractmethod
    def measure(self, pair: Pair) -> Measurement:
        """Measure one pair that passed :meth:`check`.

        Raises:
            MeasureError: If this pair cannot be measured.
        """

    def __call__(self, pair: Pair) -> Measurement:
        """Check the pair, measure it, and refuse a value that is not a finite number.

        Raises:
            MeasureError: With the typed reason.
        """
        self.check(pair)
        measurement = self.measure(pair)
        if not math.isfinite(measurement.value):
            raise MeasureError(
                Reason.NON_FINITE_VALUE, f"{self.name} gave {measurement.value}, not a number"
            )
        return measurement

    def check(self, pair: Pair) -> None:
        """Raise a MeasureError where this metric would give a number that means nothing."""
        self.check_applies(pair.domain, pair.text)
        if pair.reference.duration_s < self.minimum_s:
            raise MeasureError(
                Reason.TOO_SHORT,
                f"{self.name} needs {self.minimum_s:g} s, got {pair.reference.duration_s:.3f} s",
            )
        check_comparable(pair)

    def check_applies(self, domain: Domain, text: str | None) -> None:
        """Raise a MeasureError where the clip is not of a kind this metric is for."""
        if domain not in self.domains:
            allowed = ", ".join(sorted(self.domains))
            raise MeasureError(
                Reason.NOT_FOR_DOMAIN, f"{self.name} is for {allowed}; this clip is {domain}"
            )
        if self.requires_text and text is None:
            raise MeasureError(
                Reason.NO_TRANSCRIPT, f"{self.name} needs a transcript and the clip has none"
            )

    @property
    def fingerprint(self) -> str:
        """Sixteen hex digits that change when anything the value depends on changes."""
        identity = {"name": self.name, "version": self.version, "resampler": RESAMPLER}
        text = json.dumps(identity | {"params": dict(self.params)}, sort_keys=True, default=str)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def check_comparable(pair: Pair) -> None:
    """Raise a MeasureError unless both signals can be compared sample by sample."""
    reference, degraded = pair.reference, pair.degraded
    if reference.sample_rate != degraded.sample_rate:
        raise MeasureError(
            Reason.WRONG_SAMPLE_RATE,
            f"reference is {reference.sample_rate} Hz, degraded {degraded.sample_rate} Hz",
        )
    if reference.samples.shape[1] != degraded.samples.shape[1]:
        raise MeasureError(
            Reason.LENGTH_MISMATCH,
            f"reference has {reference.samples.shape[1]} samples, "
            f"degraded {degraded.samples.shape[1]}; cut both to one length first",
        )
    for role, signal in (("reference", reference), ("degraded", degraded)):
        if not np.isfinite(signal.samples).all():
            raise MeasureError(Reason.NON_FINITE_AUDIO, f"the {role} holds NaN or infinity")
    if reference.level_dbfs < SILENCE_DBFS:
        raise MeasureError(
            Reason.SILENT_REFERENCE,
            f"the reference is at {reference.level_dbfs:.0f} dBFS; below {SILENCE_DBFS:.0f} dBFS "
            "there is nothing to compare with",
        )


def check_degraded_not_silent(pair: Pair) -> None:
    """Raise a MeasureError where the codec gave silence, for metrics that are undefined there."""
    level = pair.degraded.level_dbfs
    if level < DIGITAL_SILENCE_DBFS:
        raise MeasureError(
            Reason.SILENT_DEGRADED,
            f"the degraded signal is silent ({level:.0f} dBFS, below {DIGITAL_SILENCE_DBFS:.0f})",
        )
