"""Word and character error rates of what a recogniser hears in the degraded signal.

0 is perfect; the recogniser's own errors on the undegraded clips are the floor (about 0.03 with
Whisper base on clean speech, more with tiny), so report the reference's own rate beside it.

Rows keep ``edits`` and ``words`` (for CER: characters), because a corpus is scored as total edits
over total words, not as a mean of ratios.

Loops. Whisper sometimes answers unintelligible speech with one phrase repeated dozens of times. One
such clip can have an error rate of 8 and triple a system's rate, which says more on the recogniser
than on the codec; dropping the clip would flatter the codec, whose speech it could not follow. A
hypothesis that loops (Whisper's own sign: a compression ratio above 2.4, where the reference text
has none) is therefore flagged, ``loop: true``, and counted below every table; its edits count as
they are, as everybody counts them. ``wer:loops=cap`` is another variant, which counts it as wholly
wrong and no worse: edits capped at the number of words, ``edits_uncapped`` beside them.
"""

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

from bench.audio import Domain
from bench.errors import MeasureError, Reason, unknown_name
from bench.metrics.availability import missing_modules, package_version
from bench.metrics.base import Measurement, Metric, Pair, Signal
from bench.metrics.recognizers import (
    BUNDLED_MODEL,
    SAMPLE_RATE,
    Recognizer,
    Transcript,
    create_recognizer,
)

LOOP_RULES = ("keep", "cap")


class _ErrorRate(Metric):
    """What the three rates share.

    Args:
        model: The recogniser's model: a name or a path.
        backend: ``faster-whisper`` or ``openai-whisper``.
        device: ``cpu`` or ``cuda``.
        loops: ``keep`` or ``cap``, see above.
    """

    domains = frozenset({Domain.SPEECH})
    sample_rate = SAMPLE_RATE
    higher_is_better = False
    bounds = (0.0, None)
    minimum_s = 0.1
    unit_counted: ClassVar[str] = "words"

    def __init__(
        self,
        model: str = BUNDLED_MODEL,
        backend: str = "faster-whisper",
        device: str = "cpu",
        loops: str = "keep",
    ) -> None:
        if loops not in LOOP_RULES:
            raise unknown_name("rule for loops", loops, LOOP_RULES)
        self.recognizer: Recognizer = create_recognizer(backend, model, device)
        self.loops = loops

    def unavailable_reason(self) -> str | None:
        """Return why it cannot run here, with the remedy, or None."""
        remedy = "pip install jiwer whisper-normalizer"
        missing = missing_modules(remedy, "jiwer", "whisper_normalizer")
        return missing or self.recognizer.unavailable_reason()

    @property
    def params(self) -> Mapping[str, Any]:
        """Return everything the value depends on."""
        return {
            "implementation": f"jiwer {package_version('jiwer')}",
            "normalizer": f"whisper-normalizer {package_version('whisper-normalizer')}",
            "normalizer_rules": "OpenAI's",
            "sample_rate": self.sample_rate,
            "loops": self.loops,
            **self.recognizer.params,
        }

    def measure(self, pair: Pair) -> Measurement:
        """Measure one pair."""
        from bench.metrics.functional import text

        reference_text = self.reference_text(pair)
        heard = transcribe(pair.degraded, self.recognizer)
        hypothesis = text.normalize_english(heard.text)
        edits, units = self.count(reference_text, hypothesis)
        looping = heard.compression_ratio > text.LOOP_COMPRESSION_RATIO
        loop = looping and text.compression_ratio(reference_text) <= text.LOOP_COMPRESSION_RATIO
        counted = min(edits, units) if loop and self.loops == "cap" else edits
        return Measurement(
            counted / units,
            {
                "edits": counted,
                "words": units,
                "counted": self.unit_counted,
                "loop": loop,
                "edits_uncapped": edits,
                "hypothesis": hypothesis,
                "reference_text": reference_text,
                "compression_ratio": round(heard.compression_ratio, 3),
            },
        )

    def reference_text(self, pair: Pair) -> str:
        """Return the normalised text that should be heard.

        Raises:
            MeasureError: If there is none.
        """
        from bench.metrics.functional.text import normalize_english

        assert pair.text is not None  # check_applies saw to it
        normalized = normalize_english(pair.text)
        if not has_words(normalized):
            raise MeasureError(
                Reason.EMPTY_TRANSCRIPT, f"nothing is left of the transcript {pair.text!r}"
            )
        return normalized

    @abstractmethod
    def count(self, reference: str, hypothesis: str) -> tuple[int, int]:
        """Return the edits between two normalised texts, and the units of the first."""


class WordErrorRate(_ErrorRate):
    """Edits per word against the clip's transcript."""

    name = "wer"
    summary = (
        "Word error rate against the transcript (Whisper, tiny.en unless told otherwise). "
        "0 perfect; compare with the reference's own rate, the recogniser's floor. Speech only."
    )
    requires_text = True

    def count(self, reference: str, hypothesis: str) -> tuple[int, int]:
        """Return edits and words."""
        from bench.metrics.functional.text import word_edits

        return word_edits(reference, hypothesis), len(reference.split())


class CharacterErrorRate(_ErrorRate):
    """Edits per character against the clip's transcript; ``words`` in its rows are characters."""

    name = "cer"
    summary = (
        "Character error rate against the transcript (Whisper, tiny.en unless told otherwise). "
        "0 perfect; compare with the reference's own rate. Speech only."
    )
    requires_text = True
    unit_counted = "characters"

    def count(self, reference: str, hypothesis: str) -> tuple[int, int]:
        """Return edits and characters, spaces included."""
        from bench.metrics.functional.text import character_edits

        return character_edits(reference, hypothesis), len(reference)


class DifferentialWordErrorRate(WordErrorRate):
    """Edits per word against what the recogniser hears in the reference.

    Another quantity than WER: it needs no transcript, and the recogniser's own errors cancel.
    """

    name = "dwer"
    summary = (
        "Word error rate against the recogniser's own transcript of the reference, no transcript "
        "needed. 0: heard alike; below 0.05 is good. Not comparable with wer. Speech only."
    )
    requires_text = False

    def reference_text(self, pair: Pair) -> str:
        """Return what the recogniser hears in the reference, normalised."""
        from bench.metrics.functional.text import LOOP_COMPRESSION_RATIO, normalize_english

        heard = transcribe(pair.reference, self.recognizer)
        if heard.compression_ratio > LOOP_COMPRESSION_RATIO:
            raise MeasureError(
                Reason.ASR_LOOP,
                f"the recogniser loops on the reference: {heard.text[:60]!r}",
            )
        normalized = normalize_english(heard.text)
        if not has_words(normalized):
            raise MeasureError(
                Reason.EMPTY_TRANSCRIPT, "the recogniser hears no word in the reference"
            )
        return normalized


def has_words(normalized: str) -> bool:
    """Return whether a normalised text says anything (of "..." a lone full stop remains)."""
    return any(character.isalnum() for character in normalized)


def transcribe(signal: Signal, recognizer: Recognizer) -> Transcript:
    """Return what is said in a signal; a signal is transcribed once per recogniser."""
    return signal.memo(
        ("transcript", recognizer), lambda: recognizer.transcribe(signal.mono(SAMPLE_RATE))
    )
