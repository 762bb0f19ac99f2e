"""ViSQOL's features, computed once and mapped to MOS-LQO by any of its three mappers.

The steps and constants are those of visqol-python (a port of Google's C++, v3.3.3), whose parts
are called here one by one instead of through its ``VisqolApi``, for three reasons: two mappers
share one pass, what belongs to the reference is computed once for all codecs, and two slow loops
are replaced by faster ones. Scores equal those of ``VisqolApi`` to the last bit.

Chinen, Lim, Skoglund, Gureev, O'Gorman, Hines: "ViSQOL v3: An Open Source Production Ready
Objective Speech and Audio Metric", QoMEX 2020.
"""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from visqol import visqol_manager as library
from visqol.analysis_window import AnalysisWindow
from visqol.audio_utils import AudioSignal
from visqol.gammatone import (
    SPEECH_MODE_MAX_FREQ,
    GammatoneSpectrogramBuilder,
    Spectrogram,
    make_erb_filters,
)
from visqol.patch_creator import ImagePatchCreator, RmsVad, VadPatchCreator
from visqol.quality_mapper import (
    SimilarityToQualityMapper,
    SpeechSimilarityToQualityMapper,
    SvrSimilarityToQualityMapper,
    TFLiteSpeechQualityMapper,
)
from visqol.signal_utils import find_best_lag, upper_envelope
from visqol.visqol_core import SimilarityResult, VisqolCore, alter_for_similarity_extremes

from bench.metrics.functional.gammatone import gammatone_spectrogram, pack_filters

SEARCH_WINDOW_PATCHES = 60


@dataclass(frozen=True)
class Mode:
    """One of ViSQOL's two ways of listening.

    Attributes:
        sample_rate: Hz.
        bands: Gammatone filters from 50 Hz up.
        high_hz: Upper end of the filters.
        patch_frames: Length of a patch, frames of 20 ms.
        speech: Whether only patches with voice activity count.
    """

    sample_rate: int
    bands: int
    high_hz: float
    patch_frames: int
    speech: bool


AUDIO = Mode(48000, library.NUM_BANDS_AUDIO, 24000.0, library.PATCH_SIZE_AUDIO, speech=False)
SPEECH = Mode(
    16000, library.NUM_BANDS_SPEECH, SPEECH_MODE_MAX_FREQ, library.PATCH_SIZE_SPEECH, speech=True
)


@dataclass(frozen=True)
class ReferenceSide:
    """What ViSQOL derives from the reference alone."""

    signal: AudioSignal
    envelope: NDArray[np.float64]
    spectrogram: Spectrogram


def reference_side(wave: NDArray[np.float32], mode: Mode) -> ReferenceSide:
    """Return what is derived from a reference ``[N]``, to be used with any degraded signal."""
    signal = AudioSignal(wave, mode.sample_rate)
    spectrogram = _Builder(mode).build(signal, _window(mode.sample_rate))
    return ReferenceSide(signal, upper_envelope(signal.data), spectrogram)


def similarity(
    reference: ReferenceSide, degraded: NDArray[np.float32], mode: Mode
) -> SimilarityResult:
    """Return ViSQOL's features (``fvnsim`` and the others); its ``moslqo`` is not set.

    Raises:
        ValueError: If a signal is too short to hold one patch.
    """
    aligned = _align(reference, AudioSignal(degraded, mode.sample_rate))
    patches = (
        _VadPatches(mode.patch_frames) if mode.speech else ImagePatchCreator(mode.patch_frames)
    )
    return VisqolCore().calculate_similarity(
        ref_signal=reference.signal,
        deg_signal=aligned,
        spect_builder=_Builder(mode, reference),
        window=_window(mode.sample_rate),
        patch_creator=patches,
        search_window=SEARCH_WINDOW_PATCHES,
        quality_mapper=_NoMapper(),
    )


def mos_lqo(features: SimilarityResult, mapper: str) -> float:
    """Return the opinion score that a mapper (``svr``, ``lattice``, ``exponential``) predicts."""
    predicted = _mapper(mapper).predict_quality(
        features.fvnsim, features.fvnsim10, features.fstdnsim, features.fvdegenergy
    )
    return alter_for_similarity_extremes(features.vnsim, predicted)


@cache
def _mapper(name: str) -> SimilarityToQualityMapper:
    from visqol.api import _DEFAULT_SVR_MODEL

    mapper: SimilarityToQualityMapper
    if name == "svr":
        mapper = SvrSimilarityToQualityMapper(_DEFAULT_SVR_MODEL)
    elif name == "lattice":
        mapper = TFLiteSpeechQualityMapper(library._DEFAULT_LATTICE_MODEL)
    else:
        mapper = SpeechSimilarityToQualityMapper(scale_to_max_mos=True)
    with _quiet_stderr():
        mapper.init()
    return mapper


@contextmanager
def _quiet_stderr() -> Iterator[None]:
    """Keep TensorFlow Lite's greeting, which no setting switches off, out of the terminal."""
    sys.stderr.flush()
    kept = os.dup(2)
    with Path(os.devnull).open("w") as nowhere:
        os.dup2(nowhere.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(kept, 2)
            os.close(kept)


@cache
def _window(sample_rate: int) -> AnalysisWindow:
    return AnalysisWindow(sample_rate, library.OVERLAP)


def _align(reference: ReferenceSide, degraded: AudioSignal) -> AudioSignal:
    """Shift the degraded signal as ``visqol.alignment.globally_align`` does."""
    lag = find_best_lag(reference.envelope, upper_envelope(degraded.data))
    if lag == 0 or abs(lag) > len(reference.signal) / 2.0:
        return degraded
    if lag < 0:
        return AudioSignal(degraded.data[-lag:], degraded.sample_rate)
    return AudioSignal(np.concatenate([np.zeros(lag), degraded.data]), degraded.sample_rate)


class _NoMapper(SimilarityToQualityMapper):
    """Stands where the library wants a mapper; the features are mapped afterwards."""

    def init(self) -> None:
        """Load nothing."""

    def predict_quality(self, *features: NDArray[np.float64] | None) -> float:
        """Return no score."""
        return float("nan")


class _Builder(GammatoneSpectrogramBuilder):
    """The library's spectrogram with a faster loop, and the reference's computed once."""

    def __init__(self, mode: Mode, reference: ReferenceSide | None = None) -> None:
        super().__init__(mode.bands, library.MINIMUM_FREQ, mode.speech)
        self.mode = mode
        self.reference = reference

    def build(self, signal: AudioSignal, window: AnalysisWindow) -> Spectrogram:
        if self.reference is not None and signal is self.reference.signal:
            return self.reference.spectrogram
        if len(signal) <= window.size:
            raise ValueError(f"{len(signal)} samples are too few: {window.size} make one frame")
        filters, centers = _filters(self.mode)
        num_frames = 1 + (len(signal) - window.size) // window.hop_size
        wave = np.ascontiguousarray(signal.data)
        spectrogram = gammatone_spectrogram(
            wave, window.hann_window, filters, window.hop_size, num_frames
        )
        return Spectrogram(spectrogram[: self.mode.bands], centers)


@cache
def _filters(mode: Mode) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the packed filters, lowest band first, and their centre frequencies, Hz."""
    made = make_erb_filters(mode.sample_rate, mode.bands, library.MINIMUM_FREQ, mode.high_hz)
    a0, a11, a12, a13, a14, a2, b0, b1, b2, gain = made.filter_coeffs[:, ::-1]
    first = np.column_stack([a0 / gain, a11 / gain, a2 / gain])
    others = [np.column_stack([a0, middle, a2]) for middle in (a12, a13, a14)]
    filters = pack_filters(np.stack([first, *others]), np.column_stack([b0, b1, b2]))
    return filters, made.center_freqs[::-1].copy()


class _VadPatches(VadPatchCreator):
    """The library's voice activity detection without its loop over single samples."""

    def _get_voice_activity(
        self, signal: AudioSignal, start_sample: int, total_samples: int, frame_len: int
    ) -> list[float]:
        data = signal.data[start_sample : start_sample + total_samples]
        integers = np.clip(data * 32768.0, -32768.0, 32767.0).astype(np.int16)
        whole = len(integers) // frame_len * frame_len
        detector = RmsVad()
        for chunk in integers[:whole].reshape(-1, frame_len):
            detector.process_chunk(chunk)
        return detector.get_vad_results()
