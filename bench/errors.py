"""Errors of the benchmark, and the closed list of reasons why a number is missing."""

from collections.abc import Iterable
from difflib import get_close_matches
from enum import StrEnum


class Status(StrEnum):
    """What became of one planned row."""

    OK = "ok"
    FAILED = "failed"  # it was tried and could not be measured
    SKIPPED = "skipped"  # it does not apply here, or something it needs is not installed
    PENDING = "pending"  # planned, not measured yet (an interrupted run)


class Reason(StrEnum):
    """Why a row carries no value. Counted in every table; new reasons are added here only."""

    # the audio
    MISSING_FILE = "missing_file"
    UNREADABLE_AUDIO = "unreadable_audio"
    EMPTY_AUDIO = "empty_audio"
    NON_FINITE_AUDIO = "non_finite_audio"
    SILENT_REFERENCE = "silent_reference"
    SILENT_DEGRADED = "silent_degraded"
    TOO_SHORT = "too_short"
    TOO_LONG = "too_long"
    LENGTH_MISMATCH = "length_mismatch"
    WRONG_SAMPLE_RATE = "wrong_sample_rate"
    # the metric
    NOT_FOR_DOMAIN = "not_for_domain"
    NO_TRANSCRIPT = "no_transcript"
    EMPTY_TRANSCRIPT = "empty_transcript"
    NO_UTTERANCES = "no_utterances"
    ASR_LOOP = "asr_loop"
    NO_CORRELATION = "no_correlation"
    METRIC_UNAVAILABLE = "metric_unavailable"
    METRIC_ERROR = "metric_error"
    NON_FINITE_VALUE = "non_finite_value"
    # the codec
    CODEC_UNAVAILABLE = "codec_unavailable"
    CODEC_ERROR = "codec_error"
    NO_RECONSTRUCTION = "no_reconstruction"
    NOT_CODED_HERE = "not_coded_here"
    NOT_FOR_CODEC = "not_for_codec"
    # a measurement of speed
    NO_CODING_UNIT = "no_coding_unit"
    NO_NETWORK = "no_network"
    # a comparison of curves
    TOO_FEW_POINTS = "too_few_points"
    NOT_MONOTONE = "not_monotone"
    NO_OVERLAP = "no_overlap"
    # the machine
    TIMEOUT = "timeout"
    WORKER_DIED = "worker_died"
    CANNOT_WRITE = "cannot_write"


#: Reasons that say "does not apply here" rather than "went wrong".
SKIP_REASONS = frozenset(
    {
        Reason.NOT_FOR_DOMAIN,
        Reason.NO_TRANSCRIPT,
        Reason.NO_CORRELATION,  # a codec that does not keep the waveform has no delay to measure
        Reason.METRIC_UNAVAILABLE,
        Reason.CODEC_UNAVAILABLE,
        Reason.NOT_FOR_CODEC,  # a codec without frames, codebooks or embeddings to look at
        Reason.NOT_CODED_HERE,  # a recording has no bitrate, time or memory to measure
    }
)


class BenchError(Exception):
    """Base of every error the benchmark raises on purpose; its text is one clear line."""


class UsageError(BenchError):
    """The user asked for something that cannot be: an unknown name, a contradicting option."""


class DatasetError(BenchError):
    """datasets.yaml, a manifest or an archive is not what it should be."""


class MeasureError(BenchError):
    """One row could not be measured.

    Args:
        reason: The typed reason, counted in every table.
        message: What was expected, what came, what to do. One line.
    """

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message)
        self.reason = reason

    def __reduce__(self) -> tuple[type["MeasureError"], tuple[Reason, str]]:
        """Survive the way back from a worker process."""
        return type(self), (self.reason, str(self))

    @property
    def status(self) -> Status:
        """``skipped`` where the measurement does not apply, ``failed`` where it went wrong."""
        return Status.SKIPPED if self.reason in SKIP_REASONS else Status.FAILED


def one_line(text: object, limit: int = 500) -> str:
    r"""Return a text, e.g. an error's, on one line that every file and terminal can take.

    Example:
        >>> one_line("two\nlines of \udcff")
        'two lines of ?'
    """
    return " ".join(str(text).encode("utf-8", "replace").decode().split())[:limit]


def unknown_name(kind: str, name: str, known: Iterable[str]) -> UsageError:
    """Return the error for an unknown name, with the nearest known ones.

    Example:
        >>> print(unknown_name("metric", "pesk-wb", ["pesq-wb", "stoi"]))
        unknown metric 'pesk-wb'; did you mean pesq-wb?
    """
    candidates = sorted(known)
    near = get_close_matches(name, candidates, n=3, cutoff=0.5)
    hint = f"did you mean {', '.join(near)}?" if near else f"known: {', '.join(candidates)}"
    return UsageError(f"unknown {kind} {name!r}; {hint}")
