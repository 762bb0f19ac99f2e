"""What was found out about a run beside its scores: a folder per feature, a tab per folder.

``RUN/analysis/FEATURE/`` holds ``meta.json`` (``title``, ``summary``: text; ``notes``: text or a
list of texts; ``titles``: file name without ending -> heading), tidy tables ``*.csv`` and figures
``*.svg`` (an image ``*.png`` of the same name is linked beside). Whoever writes such a folder gets
a tab in the report, and need not know of it.
A folder that cannot be read has a tab that says so: the rest of the report does not suffer.
"""

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from bench.errors import BenchError
from bench.reporting.html import Figure, Tab, Table

FOLDER = "analysis"
META = "meta.json"
#: A table of more rows is cut in the page; its file holds all of them.
MOST_ROWS = 300
#: Figures narrower than that stand side by side.
WIDE_PT = 400.0


def write_analysis(
    run: Path,
    feature: str,
    *,
    title: str,
    summary: str,
    notes: Sequence[str] = (),
    tables: Mapping[str, pd.DataFrame],
    titles: Mapping[str, str] | None = None,
) -> Path:
    """Write the tables of a feature and say what they are; figures are put beside by the caller.

    Args:
        run: The run's folder.
        feature: Name of the folder, e.g. ``speed``.
        title: Heading of the tab.
        summary: One paragraph: what was measured and how to read it.
        notes: What a reader must know besides, one statement each.
        tables: File name without its ending -> table; shown in the order of the names.
        titles: File name without its ending -> heading, where the name itself is none.

    Returns:
        The feature's folder.

    Raises:
        BenchError: If it cannot be written.
    """
    folder = run / FOLDER / feature
    meta: dict[str, Any] = {"title": title, "summary": summary, "notes": list(notes)}
    meta |= {"titles": dict(titles)} if titles else {}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, frame in tables.items():
            frame.to_csv(folder / f"{name}.csv", index=False, lineterminator="\n")
        (folder / META).write_text(json.dumps(meta, indent=2) + "\n", encoding="utf-8")
    except OSError as error:
        raise BenchError(f"cannot write {folder}: {error.strerror}") from error
    return folder


def add_titles(folder: Path, titles: Mapping[str, str]) -> None:
    """Add headings to a feature's folder; one that cannot be read stays as it is.

    Args:
        folder: ``RUN/analysis/FEATURE``.
        titles: File name without its ending -> heading.
    """
    meta, problems = _read_meta(folder / META)
    if not problems:
        known = meta.get("titles")
        meta["titles"] = (known if isinstance(known, dict) else {}) | dict(titles)
        (folder / META).write_text(json.dumps(meta, indent=2) + "\n", encoding="utf-8")


def analysis_folders(run: Path) -> list[Path]:
    """Return the folders of a run's features, by name."""
    parent = run / FOLDER
    if not parent.is_dir():
        return []
    return sorted(path for path in parent.iterdir() if (path / META).is_file())


def read_tabs(run: Path) -> list[Tab]:
    """Return a tab for each feature of a run."""
    return [_read_tab(folder) for folder in analysis_folders(run)]


def _read_tab(folder: Path) -> Tab:
    meta, problems = _read_meta(folder / META)
    titles = meta["titles"] if isinstance(meta.get("titles"), dict) else {}
    tables = []
    for path in sorted(folder.glob("*.csv")):
        try:
            tables.append(_read_table(path, _heading(path, titles)))
        except (ValueError, OSError) as error:  # pandas' own errors are ValueErrors
            problems.append(f"{path.name} cannot be shown: {str(error).splitlines()[0]}")
    return Tab(
        title=meta.get("title") or _words(folder.name),
        name=folder.name,
        intro=meta.get("summary", ""),
        notes=(*_texts(meta.get("notes", ())), *problems),
        tables=tables,
        figures=[_figure(path, _heading(path, titles)) for path in sorted(folder.glob("*.svg"))],
    )


def _read_meta(path: Path) -> tuple[dict[str, Any], list[str]]:
    """Return what a file of facts says, and what is wrong with it."""
    try:
        meta = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        return {}, [f"{path.name} cannot be read: {error}"]
    if not isinstance(meta, dict):
        return {}, [f"{path.name} holds no object with title, summary and notes"]
    wrong = [name for name in ("title", "summary") if not isinstance(meta.get(name, ""), str)]
    kept = {name: value for name, value in meta.items() if name not in wrong}
    return kept, [f"{name} in {path.name} is no text" for name in wrong]


def _texts(notes: object) -> list[str]:
    return [notes] if isinstance(notes, str) else [str(note) for note in _as_list(notes)]


def _as_list(value: object) -> list[object]:
    return list(value) if isinstance(value, list | tuple) else []


def _heading(path: Path, titles: Mapping[str, Any]) -> str:
    return str(titles.get(path.stem) or _words(path.stem))


def _read_table(path: Path, title: str) -> Table:
    frame = pd.read_csv(path)
    note = f"The first {MOST_ROWS} of {len(frame)} rows." if len(frame) > MOST_ROWS else ""
    shown = frame.head(MOST_ROWS).rename(columns=lambda name: str(name).replace("_", " "))
    return Table(title, shown, note, csv=path)


def _figure(svg: Path, title: str) -> Figure:
    png, csv = svg.with_suffix(".png"), svg.with_suffix(".csv")
    return Figure(
        title=title,
        svg=svg,
        is_small=_width_pt(svg) < WIDE_PT,
        csv=csv if csv.is_file() else None,
        png=png if png.is_file() else None,
    )


def _width_pt(svg: Path) -> float:
    """Return a figure's width in points, as matplotlib writes it; what is unknown is wide."""
    with svg.open(encoding="utf-8", errors="replace") as file:
        found = re.search(r'<svg\b[^>]*?\bwidth="([\d.]+)pt"', file.read(4096))
    return float(found[1]) if found else WIDE_PT


def _words(name: str) -> str:
    """Return a file's name as a heading.

    Example:
        >>> _words("bd_rate-by-domain")
        'Bd rate by domain'
    """
    words = name.replace("_", " ").replace("-", " ").strip()
    return words[:1].upper() + words[1:]
