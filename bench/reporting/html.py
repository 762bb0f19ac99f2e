"""Write a run's results as one static folder with an ``index.html`` that opens by double click.

Nothing is fetched: data, style and script are inside ``index.html``; audio and images lie beside
it under names made of hashes. Whatever a codec, clip or transcript is called, it is text: Jinja
escapes it, JSON data cannot end its element, and a content security policy allows no script but
ours.
"""

import base64
import hashlib
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

import bench
from bench.errors import Status
from bench.reporting import clips, sections, spectrogram
from bench.reporting.frames import as_records, as_text
from bench.reporting.layout import MARKS, codec_order
from bench.reporting.media import MediaFolder
from bench.results import Results

DATA_FOLDER = "data"
FIGURE_FOLDER = "figures"
_TEMPLATES = "templates"
#: A table with more rows is folded up at first.
LONG_TABLE = 30


@dataclass(frozen=True)
class Figure:
    """A drawn figure.

    Attributes:
        title: Heading and text alternative.
        svg: The drawing.
        metric: What it shows; empty: several.
        domain: Of which clips; empty: all.
        csv: The plotted table.
        png: The same as an image for slides.
        is_small: Whether it stands beside others though it shows several metrics or domains.
    """

    title: str
    svg: Path
    metric: str = ""
    domain: str = ""
    csv: Path | None = None
    png: Path | None = None
    is_small: bool = False


@dataclass(frozen=True)
class Table:
    """A table shown as it is, sortable; column names are the headings.

    Attributes:
        csv: A file to download it as.
    """

    title: str
    frame: pd.DataFrame
    note: str = ""
    csv: Path | None = None

    @property
    def is_long(self) -> bool:
        """Whether it is folded up at first."""
        return len(self.frame) > LONG_TABLE


@dataclass(frozen=True)
class Tab:
    """A tab beside the built-in ones, e.g. probes or token statistics.

    Attributes:
        name: For the page's address; the title if there is none.
    """

    title: str
    intro: str = ""
    tables: Sequence[Table] = ()
    figures: Sequence[Figure] = ()
    notes: Sequence[str] = ()
    name: str = ""

    @property
    def slug(self) -> str:
        """Name in the page's address."""
        return slug(self.name or self.title)


@dataclass(frozen=True)
class PlacedFigure:
    """A figure whose files lie in the report; the paths are relative to it."""

    title: str
    metric: str
    domain: str
    svg: str
    csv: str = ""
    png: str = ""
    is_wide: bool = False


@dataclass(frozen=True)
class PlacedTab:
    """A tab whose figures and files lie in the report; each table with its file's path or none."""

    tab: Tab
    figures: Sequence[PlacedFigure]
    tables: Sequence[tuple[Table, str]]


def write_report(
    results: Results,
    folder: Path,
    *,
    title: str = "Codec benchmark",
    summary: pd.DataFrame | None = None,
    figures: Sequence[Figure] = (),
    tables: Sequence[Table] = (),
    tabs: Sequence[Tab] = (),
    colours: Mapping[str, str] | None = None,
    worst: int = 40,
    max_clips: int = 60,
) -> Path:
    """Write the report and return its ``index.html``.

    Writing again into the same folder uses the audio and spectrograms that lie there.

    Args:
        results: What a run measured. Reconstructions that were not kept are shown without player.
        folder: Made if absent.
        title: Heading of the page.
        summary: ``results.table(...)`` with the options you want (a reference codec, for one);
            None: with its defaults.
        figures: For the tab of curves.
        tables: More tables, below the headline tables.
        tabs: More tabs, after the built-in ones that show results.
        colours: Codec id -> CSS colour, as in the plots; None: the plots' own.
        worst: How many of the worst clips are shown (see :mod:`bench.reporting.clips`).
        max_clips: How many clips are shown altogether; those beyond ``worst`` are drawn evenly
            from the others.
    """
    folder.mkdir(parents=True, exist_ok=True)
    summary = results.table() if summary is None else summary
    results = _in_table_order(results, summary)
    chosen = clips.choose_clips(clips.rank_clips(results), worst, max_clips)
    palette = _checked(colours) if colours is not None else codec_colours(results)
    files = _FileFolder(folder / FIGURE_FOLDER)
    context = {
        "title": title,
        "results": results,
        "started": as_text(results.manifest.get("started")),
        "commit": as_text(results.manifest.get("commit")),
        "written": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "version": bench.__version__,
        "overview": sections.overview(results),
        "headlines": sections.headline_tables(results, summary),
        "figures": [files.place(figure) for figure in figures],
        "tables": [(table, files.place_table(table)) for table in tables],
        "tabs": [files.place_tab(tab) for tab in tabs],
        "failures": sections.failure_groups(results),
        "colours": palette,
        "marks": [mark for mark in MARKS.values() if mark.symbol],
        "gradient": spectrogram.gradient(),
        "range_db": round(spectrogram.RANGE_DB),
        "total_clips": len(results.clips),
        "data": player_data(results, chosen, folder, palette),
    }
    _write_tables(results, summary, folder / DATA_FOLDER)
    index = folder / "index.html"
    # Names of files may hold what UTF-8 cannot write (lone surrogates): shown as "?".
    index.write_text(render(context), encoding="utf-8", errors="replace")
    return index


def _in_table_order(results: Results, summary: pd.DataFrame) -> Results:
    """Return the results with their codecs in the order of the printed tables."""
    order = [codec for codec in codec_order(summary) if codec in results.codecs]
    codecs = {codec: results.codecs[codec] for codec in (*order, *results.codecs)}
    return replace(results, codecs=codecs)


def player_data(
    results: Results, chosen: pd.DataFrame, folder: Path, colours: Mapping[str, str]
) -> dict[str, Any]:
    """Place the chosen clips' media in ``folder`` and return what the page's script shows."""
    records = as_records(chosen)
    media = MediaFolder(folder)
    placed = media.add_clips([clips.clip_sources(results, clip) for clip in records])
    media.finish()
    rows = clips.rows_by_clip(results, chosen)
    return {
        "codecs": [
            {"id": codec, "kind": info.kind, "colour": colours.get(codec, "")}
            for codec, info in results.codecs.items()
        ],
        "metrics": [
            {
                "name": name,
                "label": info.label,
                "unit": f"{info.unit} {info.arrow}".strip(),
                "higher": info.higher_is_better,
                "decimals": sections.decimals_for(info, _values(results, name)),
            }
            for name, info in results.metrics.items()
        ],
        "primary": {
            domain: clips.primary_metric(results, domain)
            for domain in map(str, results.clips["domain"].unique())
        },
        "clips": [
            clips.clip_data(results, clip, rows.get((clip["dataset"], clip["clip"]), ()), one)
            for clip, one in zip(records, placed, strict=True)
        ],
    }


def _values(results: Results, metric: str) -> pd.Series:
    rows = results.rows
    return rows.loc[(rows["metric"] == metric) & (rows["status"] == Status.OK), "value"]


def codec_colours(results: Results) -> dict[str, str]:
    """Return the colour of every codec: that of its family in the plots."""
    from bench.reporting import plots

    return _checked(plots.codec_colors(results))


def _checked(colours: Mapping[str, str]) -> dict[str, str]:
    """Return colours as hex, since they go into style sheets."""
    from matplotlib.colors import to_hex

    return {codec: to_hex(colour) for codec, colour in colours.items()}


# --- page -----------------------------------------------------------------------------------


def render(context: Mapping[str, Any]) -> str:
    """Return the page."""
    environment = Environment(
        loader=PackageLoader("bench.reporting", _TEMPLATES),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )
    environment.policies["json.dumps_kwargs"] = {"allow_nan": False, "separators": (",", ":")}
    environment.filters |= {"value": format_value, "sortkey": sort_key, "slug": slug}
    style, script = _asset("report.css"), _asset("report.js")
    page = environment.get_template("report.html.j2")
    return page.render(context, style=Markup(style), script=Markup(script), policy=_policy(script))


def _asset(name: str) -> str:
    return (Path(__file__).parent / _TEMPLATES / name).read_text(encoding="utf-8")


def _policy(script: str) -> str:
    """Return a content security policy under which only our script runs."""
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return (
        f"default-src 'none'; script-src 'sha256-{digest}'; style-src 'unsafe-inline'; "
        "img-src 'self' file: data:; media-src 'self' file:; base-uri 'none'; form-action 'none'"
    )


def format_value(value: object) -> str:
    """Return a table's cell as text: numbers with four digits, nothing for what is absent."""
    if value is None or (isinstance(value, float) and pd.isna(value)) or value is pd.NA:
        return ""
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, list | tuple):
        return " ".join(str(part) for part in value)
    return str(value)


def sort_key(value: object) -> str:
    """Return what a cell is sorted by: a number in full, else nothing (its text is taken)."""
    if isinstance(value, bool) or not isinstance(value, int | float) or pd.isna(value):
        return ""
    return repr(value)


def slug(text: str) -> str:
    """Return a name of ASCII letters, digits and hyphens, for addresses.

    Example:
        >>> slug("Tokens & <entropy>")
        'tokens-entropy'
    """
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:40] or "tab"


# --- files ----------------------------------------------------------------------------------


class _FileFolder:
    """Copies of figures and tables, under names of slug and hash.

    Args:
        folder: Where they go; made when the first one comes.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def place(self, figure: Figure) -> PlacedFigure:
        """Copy a figure's files."""
        return PlacedFigure(
            title=figure.title,
            metric=figure.metric,
            domain=figure.domain,
            svg=self._copy(figure.svg, "svg"),
            csv=self._copy(figure.csv, "csv"),
            png=self._copy(figure.png, "png"),
            is_wide=not (figure.is_small or (figure.metric and figure.domain)),
        )

    def place_table(self, table: Table) -> str:
        """Copy a table's file, if it has one."""
        return self._copy(table.csv, "csv")

    def place_tab(self, tab: Tab) -> PlacedTab:
        """Copy all files of a tab."""
        return PlacedTab(
            tab=tab,
            figures=[self.place(figure) for figure in tab.figures],
            tables=[(table, self.place_table(table)) for table in tab.tables],
        )

    def _copy(self, source: Path | None, suffix: str) -> str:
        if source is None:
            return ""
        self._folder.mkdir(parents=True, exist_ok=True)
        digest = hashlib.sha256(source.read_bytes()).hexdigest()[:8]
        name = f"{slug(source.stem)}-{digest}.{suffix}"
        shutil.copyfile(source, self._folder / name)
        return f"{self._folder.name}/{name}"


def _write_tables(results: Results, summary: pd.DataFrame, folder: Path) -> None:
    """Write what the page shows as CSV, for those who count on."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = results.rows
    missing = rows[rows["status"] != Status.OK]
    for name, frame in (("summary", summary), ("rows", rows), ("failures", missing)):
        frame.to_csv(folder / f"{name}.csv", index=False, errors="replace")
