"""Bring the stimuli of a page to one loudness.

Loudness is that of ITU-R BS.1770-4 with gating, by pyloudnorm. It has no value for less than 0.4 s
(one gating block) or for what lies below its gates; a page with such a stimulus is matched by RMS
level instead, and says so.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from bench.audio import Samples, level_dbfs
from bench.errors import BenchError

#: Programme loudness of EBU R 128, which leaves room for peaks.
TARGET_LUFS = -23.0
#: RMS level that is used where loudness has no value; noise of that level has about the target's.
TARGET_DBFS = -23.0
#: Highest sample that is written; a page whose gains would exceed it is turned down as a whole.
MOST_PEAK = 0.99


@dataclass(frozen=True)
class Leveled:
    """A stimulus at its final level.

    Attributes:
        samples: ``[C, N]``.
        before: Loudness before, LUFS, or RMS level, dBFS.
        gain_db: What was applied.
        method: ``BS.1770``, or ``RMS`` and why.
    """

    samples: Samples
    before: float
    gain_db: float
    method: str


def match_levels(
    stimuli: Mapping[str, Samples], sample_rate: int, reference: str, *, keep_levels: bool = False
) -> dict[str, Leveled]:
    """Return the stimuli of a page at the target loudness.

    Args:
        stimuli: Name -> ``[C, N]``, full scale 1.
        sample_rate: Of all, Hz.
        reference: Name of the one whose gain all others get if levels are kept.
        keep_levels: Level the page as a whole, so that a codec's wrong level stays audible.

    Raises:
        BenchError: If pyloudnorm is not installed.
    """
    levels, method = _levels(stimuli, sample_rate)
    target = TARGET_LUFS if method == "BS.1770" else TARGET_DBFS
    gains = {
        name: target - levels[reference if keep_levels or math.isinf(levels[name]) else name]
        for name in stimuli
    }
    gains = {name: 0.0 if math.isinf(gain) else gain for name, gain in gains.items()}  # all silent
    peak = max(
        float(np.abs(samples).max()) * 10 ** (gains[name] / 20) for name, samples in stimuli.items()
    )
    down_db = min(0.0, 20 * math.log10(MOST_PEAK / peak)) if peak > 0 else 0.0
    return {
        name: _leveled(samples, levels[name], gains[name] + down_db, method)
        for name, samples in stimuli.items()
    }


def _leveled(samples: Samples, before: float, gain_db: float, method: str) -> Leveled:
    louder = (samples * 10 ** (gain_db / 20)).astype(np.float32)
    return Leveled(louder, before, gain_db, method)


def _levels(stimuli: Mapping[str, Samples], sample_rate: int) -> tuple[dict[str, float], str]:
    """Return the loudness of each stimulus, or the RMS level of each and why."""
    try:
        from pyloudnorm import Meter
    except ModuleNotFoundError as error:
        raise BenchError(
            "matching loudness needs pyloudnorm: pip install 'codecbench[listening]'"
        ) from error
    meter = Meter(sample_rate)
    shortest = min(samples.shape[1] for samples in stimuli.values())
    if shortest <= meter.block_size * sample_rate:
        why = f"RMS: {shortest / sample_rate:.2f} s is less than a block of {meter.block_size} s"
        return {name: level_dbfs(samples) for name, samples in stimuli.items()}, why
    with np.errstate(divide="ignore", invalid="ignore"):  # silence has no loudness
        loudness = {
            name: float(meter.integrated_loudness(samples.T.astype(np.float64)))
            for name, samples in stimuli.items()
        }
    if all(math.isfinite(value) for value in loudness.values()):
        return loudness, "BS.1770"
    quiet = next(name for name, value in loudness.items() if not math.isfinite(value))
    why = f"RMS: {quiet} is below the gate of BS.1770"
    return {name: level_dbfs(samples) for name, samples in stimuli.items()}, why
