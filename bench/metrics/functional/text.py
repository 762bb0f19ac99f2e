"""Comparing transcripts: normalisation, edit counts, and the sign of a hallucinated loop."""

import zlib
from collections.abc import Callable
from functools import cache

from jiwer import process_characters, process_words

#: Rules that whisper-normalizer has and OpenAI's normaliser has not. Without them the two agree.
_NOT_OPENAI = (r"\bkinda\b", r"\bsorta\b", r"\bdunno\b", r"\bcause\b")
#: Whisper's own threshold: above it, text repeats itself.
LOOP_COMPRESSION_RATIO = 2.4


def normalize_english(text: str) -> str:
    """Return ``text`` as OpenAI's ``EnglishTextNormalizer`` writes it.

    Lower case without punctuation and fillers, contractions spelled out, numbers in digits,
    American spelling. Radford et al.: "Robust Speech Recognition via Large-Scale Weak Supervision",
    appendix C.

    Example:
        >>> normalize_english("Um, Mr. Park's colour isn't twenty-five dollars!")
        'mister park is color is not $25'
    """
    return _normalizer()(text).strip()


@cache
def _normalizer() -> Callable[[str], str]:
    from whisper_normalizer.english import EnglishTextNormalizer

    normalizer = EnglishTextNormalizer()
    for rule in _NOT_OPENAI:
        normalizer.replacers.pop(rule, None)
    return normalizer


def word_edits(reference: str, hypothesis: str) -> int:
    """Return the substitutions, deletions and insertions that turn one text into the other."""
    if not hypothesis:
        return len(reference.split())
    found = process_words(reference, hypothesis)
    return found.substitutions + found.deletions + found.insertions


def character_edits(reference: str, hypothesis: str) -> int:
    """Return the edits in characters, spaces between words included."""
    if not hypothesis:
        return len(reference)
    found = process_characters(reference, hypothesis)
    return found.substitutions + found.deletions + found.insertions


def compression_ratio(text: str) -> float:
    """Return bytes over bytes compressed by zlib, as Whisper does; 0 for no text.

    Example:
        >>> compression_ratio("and then " * 40) > LOOP_COMPRESSION_RATIO
        True
    """
    data = text.encode()
    return len(data) / len(zlib.compress(data)) if data else 0.0
