"""PESQ (ITU-T P.862): four named variants.

MOS-LQO, 1.0 to 4.64 (wide-band) or 4.55 (narrow-band), for speech only. The two packages wrap the
same ITU code before and after Corrigendum 2 (2018): in wide-band they are 0.75 MOS apart on the
same files, in narrow-band, which the corrigendum leaves alone, they agree. Silence or a clip
without speech has no PESQ, and that is a failure, not a 1.0.

The ITU code has room for 50 utterances and writes over its own memory beyond. An utterance and the
pause after it take at least 0.4 s, so up to 20 s nothing can happen; longer clips, which P.862.3
does not recommend anyway, are computed in a child process, and beyond 60 s they are refused.
"""

from collections.abc import Mapping
from importlib import import_module
from typing import Any, ClassVar

from bench.audio import Domain, Samples
from bench.errors import MeasureError, Reason
from bench.metrics.availability import missing_modules, package_version
from bench.metrics.base import Measurement, Metric, Pair, check_degraded_not_silent
from bench.metrics.isolation import call_isolated

#: Up to here 50 utterances cannot fit in.
SAFE_S = 20.0
#: Beyond this 50 utterances are likely, and what comes out may be anything.
MAXIMUM_S = 60.0
TIMEOUT_S = 120.0


class _Pesq(Metric):
    """What the four variants share.

    Attributes:
        package: Which of the two packages computes it.
        mode: ``wb`` (P.862.2) or ``nb`` (P.862.1).
    """

    package: ClassVar[str]
    mode: ClassVar[str]
    domains = frozenset({Domain.SPEECH})
    unit = "MOS-LQO"
    minimum_s = 0.25  # the ITU code refuses less

    def unavailable_reason(self) -> str | None:
        """Return why it cannot run here, with the remedy, or None."""
        return missing_modules(f"pip install {self.package}", self.package)

    @property
    def params(self) -> Mapping[str, Any]:
        """Return everything the value depends on."""
        return {
            "implementation": f"{self.package} {package_version(self.package)}",
            "mode": self.mode,
            "sample_rate": self.sample_rate,
        }

    def check(self, pair: Pair) -> None:
        """Refuse silence besides what every metric refuses."""
        super().check(pair)
        check_degraded_not_silent(pair)
        if pair.reference.duration_s > MAXIMUM_S:
            raise MeasureError(
                Reason.TOO_LONG,
                f"PESQ is for 8 to 30 s and fails beyond {MAXIMUM_S:g} s; the clip has "
                f"{pair.reference.duration_s:.0f} s: cut it",
            )

    def measure(self, pair: Pair) -> Measurement:
        """Measure one pair, in a child process if it is long."""
        rate = self.sample_rate
        reference, degraded = pair.reference.mono(rate), pair.degraded.mono(rate)
        if pair.reference.duration_s <= SAFE_S:
            return Measurement(self._compute(reference, degraded))
        return Measurement(call_isolated(lambda: self._compute(reference, degraded), TIMEOUT_S))

    def _compute(self, reference: Samples, degraded: Samples) -> float:
        package = import_module(self.package)
        try:
            return float(package.pesq(self.sample_rate, reference, degraded, self.mode))
        except package.NoUtterancesError as error:
            raise MeasureError(Reason.NO_UTTERANCES, "PESQ found no speech in the clip") from error
        except package.BufferTooShortError as error:
            raise MeasureError(Reason.TOO_SHORT, "PESQ needs at least 0.25 s") from error
        except ValueError as error:  # the package cannot read its own result
            raise MeasureError(Reason.NON_FINITE_VALUE, f"{self.name}: {error}") from error


class PesqWideBand(_Pesq):
    """P.862.2 as most papers report it: the ITU code before Corrigendum 2."""

    name = "pesq-wb"
    summary = (
        "PESQ wide-band (P.862.2, 16 kHz) without Corrigendum 2, as most papers report it. "
        "1 bad, 4.64 transparent; speech only."
    )
    sample_rate = 16000
    bounds = (1.0, 4.65)
    package = "pesq"
    mode = "wb"


class PesqNarrowBand(_Pesq):
    """P.862.1 for telephone speech."""

    name = "pesq-nb"
    summary = "PESQ narrow-band (P.862.1, 8 kHz). 1 bad, 4.55 transparent; telephone speech."
    sample_rate = 8000
    bounds = (1.0, 4.56)
    package = "pesq"
    mode = "nb"


class PesqC2WideBand(_Pesq):
    """P.862.2 with Corrigendum 2."""

    name = "pesqc2-wb"
    summary = (
        "PESQ wide-band (P.862.2, 16 kHz) with Corrigendum 2 of 2018, about 0.75 higher than "
        "pesq-wb on the same files. 1 bad, 4.64 transparent; speech only."
    )
    sample_rate = 16000
    bounds = (1.0, 4.65)
    package = "pesqc2"
    mode = "wb"


class PesqC2NarrowBand(_Pesq):
    """P.862.1 from the code with Corrigendum 2."""

    name = "pesqc2-nb"
    summary = (
        "PESQ narrow-band (P.862.1, 8 kHz) from the code with Corrigendum 2. "
        "1 bad, 4.55 transparent; telephone speech."
    )
    sample_rate = 8000
    bounds = (1.0, 4.56)
    package = "pesqc2"
    mode = "nb"
