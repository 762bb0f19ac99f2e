"""CodecBench: measure audio codecs on speech, music and general sound.

``bench.run(...)`` codes and scores, ``bench.load(path)`` opens what an earlier run measured.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bench.api import load, probe, robustness, run, score, token_statistics

__all__ = ["load", "probe", "robustness", "run", "score", "token_statistics"]
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """Load the Python API on first use, so that ``import bench.errors`` stays cheap."""
    if name in __all__:
        from bench import api

        return getattr(api, name)
    raise AttributeError(f"module 'bench' has no attribute {name!r}")
