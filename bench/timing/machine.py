"""What a machine is: speeds are compared on one and the same only."""

import hashlib
import json
import platform
import sys
from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

from bench.manifest import describe_machine


def describe_device(device: str) -> dict[str, Any]:
    """Return processor, cores, memory, system, versions, and the accelerator if one is used."""
    facts = describe_machine() | {"python": platform.python_version(), "torch": version("torch")}
    if device.startswith("cuda"):
        import torch

        properties = torch.cuda.get_device_properties(device)
        facts |= {
            "accelerator": properties.name,
            "accelerator_memory_gb": round(properties.total_memory / 1e9, 1),
            "cuda": torch.version.cuda,
        }
    elif "torch" in sys.modules:
        import torch

        facts["cpu_capability"] = torch.backends.cpu.get_cpu_capability()
    return facts


def machine_id(facts: Mapping[str, Any]) -> str:
    """Return eight hex digits that differ where the hardware differs.

    Example:
        >>> machine_id({"processor": "x", "torch": "2.7"}) == machine_id({"processor": "x"})
        True
    """
    names = ("processor", "cores", "memory_gb", "accelerator")
    text = json.dumps({name: facts.get(name) for name in names}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:8]
