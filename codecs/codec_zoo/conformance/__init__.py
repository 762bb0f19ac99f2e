"""Does an adapter keep the contract of :mod:`codec_zoo.base`? A suite for ours and anybody's.

>>> [check.status for check in run_conformance("passthrough") if check.name == "keeps length"]
['passed']
"""

import logging
from dataclasses import dataclass
from typing import Literal

from codec_zoo.base import CodecError, CodecUnavailableError
from codec_zoo.conformance.checks import CHECKS, CheckFunction
from codec_zoo.conformance.subject import CheckFailedError, CheckSkippedError, Subject
from codec_zoo.registry import codec_class, create, parse_codec_id

__all__ = ["Check", "ids_to_check", "run_conformance"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Check:
    """What one check found.

    Attributes:
        codec_id: Of the codec that was checked.
        name: Of the check, e.g. ``keeps length``.
        status: ``skipped`` where the check does not apply or the codec is not available.
        message: One line: what was found, or what was expected and what came.
    """

    codec_id: str
    name: str
    status: Literal["passed", "failed", "skipped"]
    message: str


def ids_to_check(codec_id: str) -> tuple[str, ...]:
    """Return ``codec_id``, or for a bare family its lowest and its highest point.

    Example:
        >>> ids_to_check("opus")
        ('opus@6kbps', 'opus@64kbps')
        >>> ids_to_check("opus@12kbps")
        ('opus@12kbps',)
    """
    parts = parse_codec_id(codec_id)
    points = codec_class(parts.family).points
    if parts.point or not points or (parts.options and _is_complete(codec_id)):
        return (codec_id,)
    _, colon, options = codec_id[len(parts.family) :].partition(":")
    return tuple(
        f"{parts.family}@{point}{colon}{options}"
        for point in dict.fromkeys((points[0], points[-1]))
    )


def _is_complete(codec_id: str) -> bool:
    """Whether an id without a point makes a codec, because its options say all."""
    try:
        create(codec_id)
    except CodecUnavailableError:
        return True
    except CodecError:
        return False
    return True


def run_conformance(
    codec_id: str, *, longest_s: float = 60.0, patience_s: float = 60.0
) -> list[Check]:
    """Run every check on a codec.

    Args:
        codec_id: A registered id, or ``module:Class[@point]`` of an adapter that is not registered.
            Without a point, the lowest and the highest point of the codec are checked.
        longest_s: Length of the very long input, seconds.
        patience_s: Checks expected to take longer than this many seconds are skipped and say so.

    Returns:
        One result per check and operating point, in a fixed order.

    Raises:
        CodecError: If there is no such codec.
    """
    return [
        _run(name, check, subject)
        for one_id in ids_to_check(codec_id)
        for subject in [Subject(one_id, longest_s=longest_s, patience_s=patience_s)]
        for name, check in CHECKS.items()
    ]


def _run(name: str, check: CheckFunction, subject: Subject) -> Check:
    try:
        return Check(subject.codec_id, name, "passed", check(subject))
    except (CheckSkippedError, CodecUnavailableError) as reason:
        return Check(subject.codec_id, name, "skipped", str(reason))
    except CheckFailedError as error:
        return Check(subject.codec_id, name, "failed", str(error))
    except CodecError as error:
        return Check(subject.codec_id, name, "failed", f"unexpected CodecError: {error}")
    except Exception as error:  # an adapter may throw anything; it is a finding, not our crash
        logger.debug("%s: %s", subject.codec_id, name, exc_info=True)
        return Check(subject.codec_id, name, "failed", f"{type(error).__name__}: {error}")
