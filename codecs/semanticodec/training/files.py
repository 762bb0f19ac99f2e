"""Files of a run: checkpoints that survive ``kill -9``, weights, the log."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors
import torch
from safetensors.torch import save_file
from torch import Tensor

FORMAT = "semanticodec-stage-1"


def replace_file(part: Path, path: Path) -> None:
    """Put a finished file in the place of another, in one step, and make it durable."""
    with part.open("rb") as file:
        os.fsync(file.fileno())
    part.replace(path)


def save_checkpoint(state: Mapping[str, Any], path: Path) -> None:
    """Write a training state; a reader sees the old one or the new one, never a part."""
    part = path.with_suffix(".part")
    torch.save(dict(state), part)
    replace_file(part, path)


def load_checkpoint(path: Path) -> dict[str, Any] | None:
    """Read a training state, running no code that the file may hold; None if there is none."""
    if not path.is_file():
        return None
    return torch.load(path, map_location="cpu", weights_only=True)


def save_weights(
    tensors: Mapping[str, Tensor],
    path: Path,
    metadata: Mapping[str, Any],
    dtype: torch.dtype = torch.float16,
) -> None:
    """Write a stage's weights as safetensors, floating point in ``dtype``.

    Args:
        tensors: What to write.
        path: Where.
        metadata: Kept as JSON beside them: configuration, steps, validation.
        dtype: Of the floating-point tensors.
    """
    stored = {
        name: (value.to(dtype) if value.is_floating_point() else value).contiguous().cpu()
        for name, value in tensors.items()
    }
    part = path.with_suffix(".part")
    save_file(stored, part, {"format": FORMAT, "stage": json.dumps(dict(metadata))})
    part.chmod(0o644)
    replace_file(part, path)


def load_weights(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read ``save_weights``'s file: tensors in float32, and the metadata.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is of another format.
    """
    if not path.is_file():
        raise FileNotFoundError(f"no weights at {path}; train that stage first")
    with safetensors.safe_open(path, framework="pt") as file:
        metadata = file.metadata() or {}
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    if metadata.get("format") != FORMAT:
        raise ValueError(f"{path} is not in the format {FORMAT!r}")
    plain = {k: v.float() if v.is_floating_point() else v for k, v in tensors.items()}
    return plain, json.loads(metadata["stage"])


SHIPPED = Path(__file__).parents[1] / "weights" / "mini"


def find_weights(run: Path, stage: str) -> Path:
    """Return where a stage's weights are: in the run, or else among the shipped ones."""
    shipped = SHIPPED / f"{stage}.safetensors"
    own = run / stage / "weights.safetensors"
    return shipped if shipped.is_file() and not own.is_file() else own


class RunLog:
    """One JSON object a line: losses and validation, in order of steps.

    Args:
        path: The file.
        board: Folder for TensorBoard's files, if those are wanted too.
    """

    def __init__(self, path: Path, board: Path | None = None) -> None:
        self.path = path
        self._writer: Any = None
        if board is not None:
            from torch.utils.tensorboard import SummaryWriter

            self._writer = SummaryWriter(str(board))

    def rows(self) -> list[dict[str, Any]]:
        """Return all rows; a last line that was cut short is dropped."""
        rows = []
        if self.path.is_file():
            for line in self.path.read_text(encoding="utf-8").splitlines():
                try:
                    rows.append(json.loads(line))
                except json.JSONDecodeError:
                    break
        return rows

    def rewind(self, step: int) -> None:
        """Forget what came after ``step``: a resumed run will do it again."""
        kept = [row for row in self.rows() if row["step"] <= step]
        part = self.path.with_suffix(".part")
        part.write_text("".join(json.dumps(row) + "\n" for row in kept), encoding="utf-8")
        replace_file(part, self.path)

    def write(self, **row: Any) -> None:
        """Append a row."""
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
        if self._writer is not None:
            self._show(row)

    def _show(self, row: Mapping[str, Any]) -> None:
        values = row.get("validation", row)
        side = "validation" if "validation" in row else "training"
        for name, value in values.items():
            if name not in ("step", "minutes"):
                self._writer.add_scalar(f"{side}/{name}", value, row["step"])
