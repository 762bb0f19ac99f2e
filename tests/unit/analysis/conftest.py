"""Codecs whose tokens, state and losses are known, and clips to analyse."""

import sys
from pathlib import Path

import numpy as np
import pytest

from bench.analysis.cache import ArrayCache
from bench.analysis.subjects import Heard, subjects
from bench.audio import Domain, write_flac
from bench.clips import Clip
from bench.runner import Quiet

HERE = Path(__file__).parent


@pytest.fixture(autouse=True)
def known_codecs(monkeypatch):
    """Codecs of known_codecs.py, by ids such as ``known_codecs:Steps``."""
    monkeypatch.syspath_prepend(str(HERE))
    yield
    sys.modules.pop("known_codecs", None)


@pytest.fixture
def clips(tmp_path):
    """Three clips of 0.6 s: a glide each, of other speed, with a wandering level."""
    found = []
    for index, domain in enumerate((Domain.SPEECH, Domain.SPEECH, Domain.MUSIC)):
        time = np.arange(9600) / 16000
        glide = np.sin(2 * np.pi * (300 + 400 * (index + 1) * time) * time)
        level = 0.2 + 0.15 * np.sin(2 * np.pi * (2 + index) * time)
        path = tmp_path / f"clip{index}.flac"
        write_flac(path, (glide * level)[None].astype(np.float32), 16000)
        found.append(Clip(f"clip{index}", "known", domain, path))
    return found


@pytest.fixture
def heard(clips):
    return [Heard(clip) for clip in clips]


@pytest.fixture
def cache(tmp_path):
    return ArrayCache(tmp_path / "cache")


@pytest.fixture
def subject():
    def of(name: str, seed: int = 0):
        return subjects([f"known_codecs:{name}"], seed=seed)[0]

    return of


@pytest.fixture
def quiet():
    return Quiet()
