"""ViSQOL for validation while training; needs the package visqol-python."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from semanticodec.training import data

Wave = npt.NDArray[np.float32]


@lru_cache
def make_visqol() -> Callable[[Wave, Wave], float] | None:
    """Return ViSQOL (speech mode, exponential map, 16 kHz), or None where it is not installed."""
    try:
        from visqol.api import VisqolApi
    except ModuleNotFoundError:
        return None
    api = VisqolApi()
    api.create(mode="speech", use_lattice_model=False, use_unscaled_speech=False)

    def score(reference: Wave, degraded: Wave) -> float:
        result = api.measure_from_arrays(
            reference.astype(np.float64), degraded.astype(np.float64), data.SAMPLE_RATE
        )
        return float(result.moslqo)

    return score
