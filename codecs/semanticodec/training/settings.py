"""Configuration of a training stage: one small YAML file per stage and model.

Unknown keys are errors. ``model`` and ``options`` belong to the stage, which names their fields.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any, TypeVar

import yaml

CONFIGS = Path(__file__).parent / "configs"
T = TypeVar("T")


@dataclass(frozen=True)
class DataConfig:
    """What a batch is made of."""

    segment_frames: int = 256  # of 10 ms
    speech: float = 0.5  # shares of the domains
    music: float = 0.3
    general: float = 0.2
    gain_db: tuple[float, float] = (-9.0, 6.0)  # of a random gain
    validation_per_domain: int = 8
    validation_frames: int = 256

    @property
    def domain_weights(self) -> dict[str, float]:
        """Shares of the domains by name."""
        return {"speech": self.speech, "music": self.music, "general": self.general}


@dataclass(frozen=True)
class OptimConfig:
    """AdamW with warm-up, a flat stretch and a linear decay to the end."""

    lr: float = 1e-3
    betas: tuple[float, float] = (0.9, 0.98)
    weight_decay: float = 0.01
    batch_size: int = 16  # segments of one process in one pass
    accumulate: int = 1  # passes per step
    warmup_steps: int = 100
    total_steps: int = 10000
    decay_steps: int = 2000  # the last of total_steps
    clip_norm: float = 1.0
    ema_decay: float = 0.998
    precision: str = "float32"  # or "bfloat16"

    def lr_factor(self, step: int) -> float:
        """Return the share of ``lr`` at a step, counted from 0."""
        rising = (step + 1) / max(1, self.warmup_steps)
        falling = (self.total_steps - step) / max(1, self.decay_steps)
        return max(0.0, min(1.0, rising, falling))


@dataclass(frozen=True)
class StageConfig:
    """One stage of one model."""

    stage: str = ""
    name: str = ""  # folder of the results below the run; "": the stage's name
    seed: int = 0
    data: DataConfig = field(default_factory=DataConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)
    model: Mapping[str, Any] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)
    log_every: int = 20  # steps
    validate_every: int = 500
    checkpoint_minutes: float = 2.0
    tensorboard: bool = False  # whether to write its files beside the log

    @property
    def folder(self) -> str:
        """Name of the stage's folder below the run."""
        return self.name or self.stage

    def to_dict(self) -> dict[str, Any]:
        """Return plain nested dictionaries."""
        return asdict(self)


def build(kind: type[T], values: Mapping[str, Any], where: str = "") -> T:
    """Build a dataclass from nested mappings; lists become tuples.

    Raises:
        ValueError: If a key is unknown.
    """
    known = {item.name for item in fields(kind)}  # type: ignore[arg-type]
    unknown = sorted(set(values) - known)
    if unknown:
        raise ValueError(f"{where or kind.__name__} has no key {unknown}; it has {sorted(known)}")
    defaults = kind()
    built = {}
    for name, value in values.items():
        default = getattr(defaults, name)
        if is_dataclass(default) and isinstance(value, Mapping):
            value = build(type(default), value, name)
        elif isinstance(value, list):
            value = tuple(value)
        elif isinstance(default, float) and isinstance(value, str):
            value = float(value)  # YAML reads 1e-3 as text
        built[name] = value
    return kind(**built)


def load_config(source: str | Path, overrides: Mapping[str, Any] | None = None) -> StageConfig:
    """Read a stage's YAML file: a path, or ``mini/vocoder`` for one that comes with the package.

    Args:
        source: Which file.
        overrides: Values by dotted key, such as ``{"optim.lr": 1e-4}``.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If a key is unknown.
    """
    path = Path(source)
    if not path.is_file():
        path = CONFIGS / f"{source}.yaml"
    if not path.is_file():
        known = sorted(str(p.relative_to(CONFIGS).with_suffix("")) for p in CONFIGS.rglob("*.yaml"))
        raise FileNotFoundError(f"no configuration {source}; with the package come {known}")
    values = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    for key, value in (overrides or {}).items():
        _set(values, key.split("."), value)
    return build(StageConfig, values, str(path))


def _set(values: dict[str, Any], keys: list[str], value: Any) -> None:
    for key in keys[:-1]:
        values = values.setdefault(key, {})
    values[keys[-1]] = value
