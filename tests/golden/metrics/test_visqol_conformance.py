"""ViSQOL against the scores that Google publishes for its own test files.

``VISQOL_CONFORMANCE_DATA`` names the folder ``testdata`` of github.com/google/visqol. Expected
values: its ``src/include/conformance.h`` (conformance number 333). Google asks 1e-4 of its own
builds; the Python port (visqol-python 3.8.0) was measured within 0.003 in audio mode and 0.007 in
speech mode, so we ask 0.01.
"""

import os
from dataclasses import replace
from pathlib import Path

import pytest

from bench.audio import read_audio

VARIABLE = "VISQOL_CONFORMANCE_DATA"
FOLDER = os.environ.get(VARIABLE)

pytestmark = pytest.mark.skipif(not FOLDER, reason=f"{VARIABLE} names no folder of test files")
functional = pytest.importorskip("bench.metrics.functional.visqol")

SUBSET = "conformance_testdata_subset"
GUITAR = f"{SUBSET}/guitar48_stereo"
GUITAR_5_S = "short_duration/5_second/guitar48_stereo_5_sec"
CA01 = "clean_speech/CA01_01"
#: (reference, degraded, expected), at 48 kHz.
AUDIO = [
    (f"{SUBSET}/strauss48_stereo", f"{SUBSET}/strauss48_stereo_lp35", 1.388879),
    (f"{SUBSET}/steely48_stereo", f"{SUBSET}/steely48_stereo_lp7", 2.250168),
    (f"{SUBSET}/sopr48_stereo", f"{SUBSET}/sopr48_stereo_256kbps_aac", 4.682290),
    (f"{SUBSET}/ravel48_stereo", f"{SUBSET}/ravel48_stereo_128kbps_opus", 4.465142),
    (f"{SUBSET}/moonlight48_stereo", f"{SUBSET}/moonlight48_stereo_128kbps_aac", 4.684293),
    (f"{SUBSET}/harpsichord48_stereo", f"{SUBSET}/harpsichord48_stereo_96kbps_mp3", 4.223745),
    (GUITAR, f"{GUITAR}_64kbps_aac", 4.349722),
    (f"{SUBSET}/glock48_stereo", f"{SUBSET}/glock48_stereo_48kbps_aac", 4.332453),
    (f"{SUBSET}/contrabassoon48_stereo", f"{SUBSET}/contrabassoon48_stereo_24kbps_aac", 2.346868),
    (f"{SUBSET}/castanets48_stereo", f"{SUBSET}/castanets48_stereo", 4.732101),
    (GUITAR, GUITAR_5_S, 4.314509),
    (GUITAR_5_S, GUITAR, 4.550791),
]
#: The speech files are at 48 kHz too, and Google scores them so.
SPEECH = [
    ("lattice", CA01, "clean_speech/transcoded_CA01_01", 3.312923),
    ("exponential", CA01, "clean_speech/transcoded_CA01_01", 3.374506),
    ("lattice", CA01, CA01, 4.505550),
]


def score(reference: str, degraded: str, mode, mapper: str) -> float:
    waves = []
    for name in (reference, degraded):
        path = Path(str(FOLDER)) / f"{name}.wav"
        if not path.is_file():
            pytest.skip(f"no {path.name} in {VARIABLE}")
        waves.append(read_audio(path).samples.mean(axis=0))
    side = functional.reference_side(waves[0], mode)
    return functional.mos_lqo(functional.similarity(side, waves[1], mode), mapper)


@pytest.mark.parametrize(("reference", "degraded", "expected"), AUDIO)
def test_audio_mode(reference, degraded, expected):
    assert score(reference, degraded, functional.AUDIO, "svr") == pytest.approx(expected, abs=0.01)


@pytest.mark.parametrize(("mapper", "reference", "degraded", "expected"), SPEECH)
def test_speech_mode(mapper, reference, degraded, expected):
    mode = replace(functional.SPEECH, sample_rate=48000)
    assert score(reference, degraded, mode, mapper) == pytest.approx(expected, abs=0.01)
