"""ViSQOL v3 in three named variants, which are three different quantities.

MOS-LQO from 1 (bad) to 5. The reference against itself does not give 5 in all of them: 4.73 in
audio mode, 4.5 to 4.71 with the lattice (it depends on the clip), 5.0 with the exponential map.
Compare with what the reference itself scores.

Conformance with Google's published values: within 0.003 in audio mode, within 0.007 with the
lattice, within 0.03 with the exponential map. The score does not depend on level, polarity or a
delay of some tens of milliseconds.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from bench.errors import MeasureError, Reason
from bench.metrics.availability import missing_modules, package_version
from bench.metrics.base import Measurement, Metric, Pair, check_degraded_not_silent

if TYPE_CHECKING:
    from visqol.visqol_core import SimilarityResult

    from bench.metrics.functional.visqol import ReferenceSide

REMEDY = "pip install 'visqol-python[all]>=3.8,<3.9'"


class _Visqol(Metric):
    """What the three variants share.

    Attributes:
        mode: ``audio`` or ``speech``.
        mapper: ``svr``, ``lattice`` or ``exponential``.
        modules: What the mapper needs besides ViSQOL itself.
    """

    mode: ClassVar[str]
    mapper: ClassVar[str]
    modules: ClassVar[tuple[str, ...]] = ()
    unit = "MOS-LQO"

    def unavailable_reason(self) -> str | None:
        """Return why it cannot run here, with the remedy, or None."""
        return missing_modules(REMEDY, "visqol", "numba", *self.modules)

    @property
    def params(self) -> Mapping[str, Any]:
        """Return everything the value depends on."""
        return {
            "implementation": f"visqol-python {package_version('visqol-python')}",
            "mode": self.mode,
            "mapper": self.mapper,
            "sample_rate": self.sample_rate,
            "search_window": 60,
            "global_alignment": True,
            "fine_realignment": True,
        }

    def check(self, pair: Pair) -> None:
        """Refuse silence besides what every metric refuses."""
        super().check(pair)
        check_degraded_not_silent(pair)  # the library gives NaN

    def measure(self, pair: Pair) -> Measurement:
        """Measure one pair."""
        from bench.metrics.functional import visqol

        features = pair.memo(("visqol", self.mode), lambda: _features(pair, self.mode))
        return Measurement(visqol.mos_lqo(features, self.mapper), {"vnsim": features.vnsim})


class VisqolAudio(_Visqol):
    """Audio mode: what ViSQOL documents for music and general sound."""

    name = "visqol-audio-48k"
    summary = (
        "ViSQOL v3 audio mode at 48 kHz, SVR map. 1 bad, 4.73 transparent. Material of 16 kHz is "
        "squeezed into 3.5-4.6: its empty bands above 8 kHz match by themselves."
    )
    sample_rate = 48000
    bounds = (1.0, 5.0)
    minimum_s = 0.96  # 45 frames: a patch of 30 and half a one before it
    mode = "audio"
    mapper = "svr"
    modules = ("libsvm",)


class VisqolSpeechLattice(_Visqol):
    """Speech mode with Google's present default map."""

    name = "visqol-speech-lattice"
    summary = (
        "ViSQOL v3 speech mode at 16 kHz, deep-lattice map (Google's default). 1 bad, 4.5-4.7 "
        "transparent. Designed for speech: most music and sound at low bitrates falls to 1.0-1.5."
    )
    sample_rate = 16000
    bounds = (1.0, 5.0)
    minimum_s = 0.66  # 29 frames: a patch of 20 and half a one before it
    mode = "speech"
    mapper = "lattice"
    modules = ("ai_edge_litert",)


class VisqolSpeechExp(_Visqol):
    """Speech mode with the exponential map of ViSQOL 3.1.

    Of about 28 configurations that were tried, this one reproduces the values plotted in the
    SemantiCodec paper, in every domain (mean error 0.02 over 11 systems). On music and sound that
    is agreement with the paper, no endorsement: ViSQOL documents the audio mode for those.
    """

    name = "visqol-speech-exp"
    summary = (
        "ViSQOL v3 speech mode at 16 kHz, exponential map. 1 bad, 5 transparent. Reproduces the "
        "SemantiCodec paper in every domain, though it is designed for speech."
    )
    sample_rate = 16000
    bounds = (1.0, 5.0)
    minimum_s = 0.66
    mode = "speech"
    mapper = "exponential"


def _features(pair: Pair, mode_name: str) -> "SimilarityResult":
    from bench.metrics.functional import visqol

    mode = visqol.AUDIO if mode_name == "audio" else visqol.SPEECH
    reference: ReferenceSide = pair.reference.memo(
        ("visqol", mode_name),
        lambda: visqol.reference_side(pair.reference.mono(mode.sample_rate), mode),
    )
    try:
        return visqol.similarity(reference, pair.degraded.mono(mode.sample_rate), mode)
    except (ValueError, IndexError) as error:
        raise MeasureError(
            Reason.METRIC_ERROR, f"ViSQOL found nothing to compare: {error}"
        ) from error
