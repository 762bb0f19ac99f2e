"""Tables as Markdown, LaTeX, CSV and on the console.

The CSV is the long summary in full precision; the others are the wide tables of
:mod:`bench.reporting.layout`, rounded. Names come from users and are escaped everywhere.
"""

import re
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from bench.reporting.layout import MARKS, TableCell, TableSet, WideTable, build_tables
from bench.results import MetricInfo, Results
from bench.stats.summary import summarize

if TYPE_CHECKING:
    from rich.console import Group

_LATEX = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "#": r"\#",
    "_": r"\_", "%": r"\%", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "±": r"$\pm$",
    "\N{EN DASH}": "--", "↑": r"$\uparrow$", "↓": r"$\downarrow$",
    **{mark.symbol: mark.latex for mark in MARKS.values() if mark.symbol},
}  # fmt: skip


def to_markdown(tables: TableSet) -> str:
    """Return GitHub-flavoured Markdown."""
    blocks = [_markdown_table(table) for table in tables.tables]
    blocks.append("\n".join(filter(None, [tables.caption, tables.legend])))
    for heading, entries in tables.notes():
        blocks.append("\n".join([f"{heading}:", "", *(f"- {_md(entry)}" for entry in entries)]))
    return "\n\n".join(blocks) + "\n"


def to_latex(tables: TableSet, *, label: str = "tab:codecs") -> str:
    r"""Return LaTeX ``table`` environments; the document needs ``\usepackage{booktabs,graphicx}``.

    A table wider than the line is scaled down to it.
    """
    return "\n".join(_latex_table(table, tables, label) for table in tables.tables)


def to_csv(summary: pd.DataFrame) -> str:
    """Return the long summary in full precision."""
    return summary.to_csv(index=False, lineterminator="\n")


def to_console(tables: TableSet) -> "Group":
    """Return what ``rich.console.Console.print`` shows."""
    from rich.console import Group, RenderableType
    from rich.table import Table
    from rich.text import Text

    parts: list[RenderableType] = []
    for wide in tables.tables:
        table = Table(title=f"{wide.title}: {wide.clips}", title_justify="left")
        table.add_column("codec", no_wrap=True)
        table.add_column("kbps", justify="right", no_wrap=True)
        for info in wide.metrics:
            table.add_column(Text(info.label), justify="right")
        for row in wide.rows:
            cells = [
                Text(" ".join(filter(None, [cell.value, cell.suffix])), "bold" if cell.best else "")
                for cell in row.cells
            ]
            table.add_row(Text(row.codec), row.kbps, *cells)
        parts.append(table)
    parts.append(Text("\n".join(filter(None, [tables.caption, tables.legend]))))
    for heading, entries in tables.notes():  # one line each, however long
        text = "\n".join([f"{heading}:", *(f"  {entry}" for entry in entries)])
        parts.append(Text(text, no_wrap=True, overflow="ignore"))
    return Group(*parts)


def write_tables(
    results: Results,
    folder: Path,
    summary: pd.DataFrame | None = None,
    *,
    reference: str | None = None,
) -> list[Path]:
    """Write ``summary.csv``, ``tables.md`` and ``tables.tex`` into ``folder``; return the paths."""
    if summary is None:
        summary = summarize(results, reference=reference)
    tables = build_tables(results, summary)
    contents = {
        "summary.csv": to_csv(summary),
        "tables.md": to_markdown(tables),
        "tables.tex": to_latex(tables),
    }
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in contents.items():
        (folder / name).write_text(text, encoding="utf-8")
    return [folder / name for name in contents]


def _markdown_table(table: WideTable) -> str:
    head = ["codec", "kbps", *(_md(info.label) for info in table.metrics)]
    rule = [":--", *(["--:"] * (len(head) - 1))]
    rows = [
        [_md(row.codec), row.kbps, *(_markdown_cell(cell) for cell in row.cells)]
        for row in table.rows
    ]
    lines = [f"| {' | '.join(line)} |" for line in (head, rule, *rows)]
    return "\n".join([f"### {_md(table.title)} ({table.clips})", "", *lines])


def _markdown_cell(cell: TableCell) -> str:
    text = f"**{cell.value}**" if cell.best else cell.value
    return " ".join(filter(None, [text, cell.suffix]))


def _latex_table(table: WideTable, tables: TableSet, label: str) -> str:
    notes = [tables.caption, tables.legend]
    notes += [f"{heading}: {'; '.join(entries)}." for heading, entries in tables.notes(table)]
    head = ["codec", "kbps", *(_latex_heading(info) for info in table.metrics)]
    slug = re.sub(r"[^a-z0-9]+", "-", table.title.lower())
    rows = [
        " & ".join([_tex(row.codec), _tex(row.kbps), *(_latex_cell(cell) for cell in row.cells)])
        for row in table.rows
    ]
    return "\n".join(
        [
            r"\begin{table}",
            r"\centering",
            rf"\caption{{{_tex(table.title)} ({table.clips}). {_tex(notes[0])}}}",
            rf"\label{{{label}-{slug}}}",
            r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%",
            rf"\begin{{tabular}}{{l{'r' * (len(head) - 1)}}}",
            r"\toprule",
            " & ".join(head) + r" \\",
            r"\midrule",
            *(rf"{row} \\" for row in rows),
            r"\bottomrule",
            r"\end{tabular}}",
            *(rf"\par\smallskip{{\footnotesize {_tex(note)}\par}}" for note in notes[1:] if note),
            r"\end{table}",
            "",
        ]
    )


def _latex_heading(info: MetricInfo) -> str:
    """Return name and direction, with the unit in a line of its own."""
    if not info.unit:
        return _tex(info.label)
    return rf"\shortstack[r]{{{_tex(info.name)}\\{_tex(f'({info.unit}) {info.arrow}'.strip())}}}"


def _latex_cell(cell: TableCell) -> str:
    value = rf"\textbf{{{_tex(cell.mean)}}}" if cell.best else _tex(cell.mean)
    half = rf" {{\scriptsize$\pm$\,{cell.half_width}}}" if cell.half_width else ""
    missing = rf" {{\scriptsize({cell.missing})}}" if cell.missing else ""
    return value + half + MARKS[cell.mark].latex + missing


def _md(text: str) -> str:
    """Escape what Markdown would take as markup, and keep the text on one line."""
    return re.sub(r"([\\`*<>\[\]|])", r"\\\1", " ".join(text.split()))


def _tex(text: str) -> str:
    """Escape what LaTeX would take as markup."""
    return "".join(_LATEX.get(character, character) for character in " ".join(text.split()))
