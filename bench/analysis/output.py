"""Write an analysis into ``RUN/analysis/NAME/``: tables, figures and what they are about.

Every ``*.csv`` there is a tidy table with its identity columns, every ``*.svg`` a figure, and
``meta.json`` holds ``title``, ``summary`` and ``notes``; the report makes a tab of such a folder.
"""

import csv
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import matplotlib as mpl
import pandas as pd
from matplotlib.figure import Figure

from bench.errors import BenchError
from bench.reporting.plot_style import RC
from bench.results import CodecInfo


@dataclass(frozen=True)
class Analysis:
    """What an analysis found.

    Attributes:
        name: Of its folder, such as ``tokens``.
        title: Of its tab.
        summary: One or two sentences: what it is and how to read it.
        notes: What one has to know before believing a number.
        tables: By name, without ``.csv``.
        figures: By name, without ``.svg``.
    """

    name: str
    title: str
    summary: str
    notes: str
    tables: Mapping[str, pd.DataFrame]
    figures: Mapping[str, Figure] = field(default_factory=dict)

    def write(self, run_folder: Path) -> Path:
        """Write everything below a run's folder and return the folder; older files of it go.

        Raises:
            BenchError: If the folder cannot be written.
        """
        folder = run_folder / "analysis" / self.name
        try:
            folder.mkdir(parents=True, exist_ok=True)
            for old in (*folder.glob("*.csv"), *folder.glob("*.svg")):
                old.unlink()
            for name, table in self.tables.items():
                table.to_csv(folder / f"{name}.csv", index=False, quoting=csv.QUOTE_MINIMAL)
            with mpl.rc_context(RC):  # it fixes the ids within a figure
                for name, figure in self.figures.items():
                    figure.savefig(folder / f"{name}.svg", format="svg", metadata={"Date": None})
            meta = {"title": self.title, "summary": self.summary, "notes": self.notes}
            text = json.dumps(meta, indent=2) + "\n"
            (folder / "meta.json").write_text(text, encoding="utf-8")
        except OSError as error:
            raise BenchError(f"cannot write {folder}: {error.strerror}") from error
        return folder


def skipped_rows(codecs: Sequence[CodecInfo]) -> list[dict[str, object]]:
    """Return a row for each codec that cannot run here, saying why."""
    return [
        {
            "codec": info.codec_id,
            "family": info.family,
            "kind": info.kind,
            "fingerprint": info.fingerprint,
            "n": 0,
            "status": "skipped",
            "reasons": "codec_unavailable",
            "message": info.unavailable_reason,
        }
        for info in codecs
        if info.unavailable_reason
    ]


def table_of(rows: Sequence[Mapping[str, object]]) -> pd.DataFrame:
    """Return rows as a table; those without a status are ``ok``, or ``failed`` without a value."""
    table = pd.DataFrame([dict(row) for row in rows])
    if table.empty:
        return pd.DataFrame(columns=["codec", "n", "status", "reasons"])
    status = pd.Series("ok", index=table.index).where(table["n"] > 0, "failed")
    if "status" in table:
        status = table["status"].fillna(status)
    return table.assign(status=status)
