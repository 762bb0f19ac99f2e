"""CodecBench: measure audio codecs on speech, music and general sound.

``bench.run(...)`` codes and scores, ``bench.load(path)`` opens what an earlier run measured;
``bench.bd_rate`` compares rate-distortion curves, ``bench.speed`` measures time and memory, and
``bench.listening`` makes and evaluates listening tests.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bench.api import bd_rate, load, probe, robustness, run, score, speed, token_statistics

__all__ = [
    "bd_rate",
    "listening",
    "load",
    "probe",
    "robustness",
    "run",
    "score",
    "speed",
    "token_statistics",
]
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """Load the Python API on first use, so that ``import bench.errors`` stays cheap."""
    if name == "listening":
        return import_module("bench.listening")
    if name in __all__:
        from bench import api

        return getattr(api, name)
    raise AttributeError(f"module 'bench' has no attribute {name!r}")
