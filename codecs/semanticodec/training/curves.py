"""The loss curves of a stage as a picture."""

from __future__ import annotations

from pathlib import Path

from semanticodec.training.files import RunLog


def draw(folder: Path) -> Path | None:
    """Draw ``curves.png`` from the log of a stage; None if there is nothing to draw yet.

    Training losses and validation metrics against steps, each in its own panel.
    """
    rows = RunLog(folder / "log.jsonl").rows()
    training = [row for row in rows if "loss" in row]
    validation = [row for row in rows if "validation" in row]
    names = sorted({n for row in training for n in row} - {"step", "minutes"})
    measured = sorted({n for row in validation for n in row["validation"]})
    if not names and not measured:
        return None
    from matplotlib.figure import Figure

    columns = 3
    count = len(names) + len(measured)
    figure = Figure(figsize=(4 * columns, 2.6 * -(-count // columns)), layout="constrained")
    for index, name in enumerate([*names, *measured]):
        axes = figure.add_subplot(-(-count // columns), columns, index + 1)
        if index < len(names):
            points = [(row["step"], row[name]) for row in training if name in row]
        else:
            own = [row for row in validation if name in row["validation"]]
            points = [(row["step"], row["validation"][name]) for row in own]
        axes.plot(*zip(*points, strict=True), lw=0.8, marker="." if len(points) < 50 else "")
        axes.set_title(name if index < len(names) else f"validation {name}", fontsize=9)
        axes.set_xlabel("step", fontsize=8)
        axes.tick_params(labelsize=7)
        axes.grid(alpha=0.3)
    path = folder / "curves.png"
    figure.savefig(path, dpi=100)
    return path
