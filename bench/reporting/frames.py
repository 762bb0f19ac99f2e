"""Read cells of tables, where anything may be absent."""

import math
from typing import Any

import pandas as pd


def as_records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Return the rows as mappings by column name."""
    names = [str(name) for name in frame.columns]
    columns = (frame.iloc[:, index].tolist() for index in range(len(names)))
    return [dict(zip(names, values, strict=True)) for values in zip(*columns, strict=True)]


def as_number(value: object) -> float | None:
    """Return a finite number with five digits, else None."""
    try:
        number = float(value)  # type: ignore[arg-type]  # anything may stand in a table
    except (TypeError, ValueError):
        return None
    return float(f"{number:.5g}") if math.isfinite(number) else None


def as_text(value: object) -> str:
    """Return a text, empty for what pandas makes of an absent one."""
    return value if isinstance(value, str) else ""
