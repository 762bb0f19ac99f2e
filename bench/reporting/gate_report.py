"""What a check against a baseline found, and how it is told: verdicts, Markdown, JUnit XML."""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from bench.reporting.baseline import Tolerance

#: Corrected p-values below this are not chance.
SIGNIFICANCE = 0.02
#: Name of the test over the clips of all domains.
ALL_CLIPS = "all clips"
#: How many clips, and how many lost clips by name, a report shows of each regression.
SHOWN_CLIPS = 3
SHOWN_LOST = 5


@dataclass(frozen=True)
class ClipChange:
    """A clip before and now, and by how much it got worse (negative: better)."""

    clip: str
    before: float
    now: float
    worsening: float


@dataclass(frozen=True)
class GateCell:
    """One codec point, domain and metric against the baseline.

    Attributes:
        codec: Codec id.
        domain: Or :data:`ALL_CLIPS`.
        metric: Its name.
        unit: Of the metric.
        tolerance: In the metric's unit.
        before: Mean (or corpus ratio) of the baseline on the common clips.
        now: The same of the results.
        worsening: By how much the mean got worse, in the metric's unit; negative is better.
        low: Lower bound of its 90 % bootstrap interval (so one-sided 95 %).
        high: Upper bound.
        p_value: That it got no worse, corrected for all tests.
        p_better: That it got no better, corrected for all tests.
        changes: All common clips, worst first.
        collapsed: Those that fell by more than a single clip may.
        lost: Clip -> why it has no value now.
    """

    codec: str
    domain: str
    metric: str
    unit: str
    tolerance: Tolerance
    before: float = math.nan
    now: float = math.nan
    worsening: float = math.nan
    low: float = math.nan
    high: float = math.nan
    p_value: float = 1.0
    p_better: float = 1.0
    changes: tuple[ClipChange, ...] = ()
    collapsed: tuple[ClipChange, ...] = ()
    lost: Mapping[str, str] = field(default_factory=dict)

    @property
    def is_worse(self) -> bool:
        """Whether the mean fell by more than the tolerance and more than chance explains."""
        significant = self.worsening > self.tolerance.mean and self.p_value < SIGNIFICANCE
        return significant or self.worsening > self.tolerance.clip

    @property
    def is_regression(self) -> bool:
        """Whether the gate fails because of this."""
        return self.is_worse or bool(self.collapsed) or bool(self.lost)

    @property
    def is_improvement(self) -> bool:
        """Whether the mean rose by more than the tolerance and more than chance explains."""
        better = -self.worsening > self.tolerance.mean and self.p_better < SIGNIFICANCE
        return better and not self.is_regression

    @property
    def verdict(self) -> str:
        """In a word or two: worse, collapse, lost clips, better, or the same."""
        kinds = {
            "worse": self.is_worse,
            f"collapse of {len(self.collapsed)}": bool(self.collapsed),
            f"lost {len(self.lost)}": bool(self.lost),
            "better": self.is_improvement,
        }
        return ", ".join(kind for kind, found in kinds.items() if found) or "same"

    @property
    def problems(self) -> tuple[str, ...]:
        """What is wrong, one line each; empty unless it is a regression."""
        found = []
        if self.is_worse:
            found.append(
                f"{self.before:.4g} → {self.now:.4g}: worse by {self.worsening:.3g} "
                f"(90 % interval {self.low:.3g} to {self.high:.3g}, "
                f"tolerance {self.tolerance.mean:.3g}, {len(self.changes)} clips)"
            )
        found += [
            f"collapse of {change.clip}: {change.before:.4g} → {change.now:.4g} "
            f"(tolerance for one clip {self.tolerance.clip:.3g})"
            for change in self.collapsed
        ]
        if self.lost:
            found.append(f"no value any more: {_named(self.lost)}")
        return tuple(found)

    @property
    def worst_clips(self) -> str:
        """The clips that fell most, with their values; empty if none fell."""
        return ", ".join(
            f"{change.clip} {change.before:.4g} → {change.now:.4g}"
            for change in self.changes[:SHOWN_CLIPS]
            if change.worsening > 0
        )


@dataclass(frozen=True)
class GateReport:
    """What a check found.

    Attributes:
        cells: Every comparison that was made.
        notes: What a reader must know: changed codecs, what was not compared.
        before: Manifest of the baseline.
        now: Manifest of the results.
    """

    cells: tuple[GateCell, ...]
    notes: tuple[str, ...] = ()
    before: Mapping[str, Any] = field(default_factory=dict)
    now: Mapping[str, Any] = field(default_factory=dict)

    @cached_property
    def regressions(self) -> tuple[GateCell, ...]:
        """What fails the gate, largest loss (in tolerances) first."""
        failing = [cell for cell in self.cells if cell.is_regression]
        return tuple(sorted(failing, key=_severity, reverse=True))

    @cached_property
    def improvements(self) -> tuple[GateCell, ...]:
        """What got better by more than the tolerance and more than chance explains."""
        better = [cell for cell in self.cells if cell.is_improvement]
        return tuple(sorted(better, key=_severity))

    @property
    def passed(self) -> bool:
        """Whether nothing got worse."""
        return not self.regressions

    @property
    def exit_code(self) -> int:
        """0 if nothing got worse, 1 otherwise."""
        return 0 if self.passed else 1


def to_markdown(report: GateReport) -> str:
    """Return the summary for a pull request: what fell and by how much, and the worst clips."""
    count = len({(cell.codec, cell.metric, cell.domain) for cell in report.cells})
    verdict = (
        f"**Passed**: no regression in {count} comparisons."
        if report.passed
        else f"**Failed**: {len(report.regressions)} of {count} comparisons got worse."
    )
    blocks = ["## Quality gate", verdict, _manifest_line(report)]
    if report.regressions:
        blocks += ["### Regressions", _markdown_table(report.regressions), _details(report)]
    if report.improvements:
        blocks += ["### Improvements", _markdown_table(report.improvements)]
    if report.notes:
        blocks += ["### Notes", "\n".join(f"- {_md(note)}" for note in report.notes)]
    return "\n\n".join(filter(None, blocks)) + "\n"


def to_junit(report: GateReport) -> str:
    """Return JUnit XML: one suite per codec point, one test case per domain and metric."""
    root = ElementTree.Element("testsuites", name="codecbench gate")
    for codec in dict.fromkeys(cell.codec for cell in report.cells):
        cells = [cell for cell in report.cells if cell.codec == codec]
        failures = sum(cell.is_regression for cell in cells)
        suite = ElementTree.SubElement(
            root,
            "testsuite",
            {"name": _xml(codec), "tests": str(len(cells)), "failures": str(failures)},
        )
        for cell in cells:
            names = {"classname": _xml(f"{codec}.{cell.domain}"), "name": _xml(cell.metric)}
            case = ElementTree.SubElement(suite, "testcase", names)
            if cell.is_regression:
                failure = ElementTree.SubElement(case, "failure", message=_xml(cell.problems[0]))
                failure.text = _xml("\n".join([*cell.problems, f"worst clips: {cell.worst_clips}"]))
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def write_report(report: GateReport, folder: Path) -> list[Path]:
    """Write ``gate.md`` and ``gate.xml`` into ``folder``; return the paths."""
    folder.mkdir(parents=True, exist_ok=True)
    contents = {"gate.md": to_markdown(report), "gate.xml": to_junit(report)}
    for name, text in contents.items():
        (folder / name).write_text(text, encoding="utf-8")
    return [folder / name for name in contents]


def _manifest_line(report: GateReport) -> str:
    commits = [str(manifest.get("commit", ""))[:12] for manifest in (report.before, report.now)]
    if not any(commits):
        return ""
    return f"Baseline commit {commits[0] or 'unknown'}, this run {commits[1] or 'unknown'}."


def _markdown_table(cells: Sequence[GateCell]) -> str:
    lines = [
        "| codec | domain | metric | verdict | before | now | worse by | 90 % interval | limit |",
        "| :-- | :-- | :-- | :-- | --: | --: | --: | --: | --: |",
    ]
    for cell in cells:
        name = f"{_md(cell.codec)} | {_md(cell.domain)} | {_md(cell.metric)}"
        interval = f"{cell.low:+.3g} to {cell.high:+.3g}"
        lines.append(
            f"| {name} | {cell.verdict} | {cell.before:.4g} | {cell.now:.4g} "
            f"| {cell.worsening:+.3g} | {interval} | {cell.tolerance.mean:.3g} |"
        )
    return "\n".join(lines)


def _details(report: GateReport) -> str:
    """Return the clips behind each regression."""
    lines = []
    for cell in report.regressions:
        lines.append(f"- {_md(cell.codec)}, {_md(cell.domain)}, {_md(cell.metric)}")
        if cell.worst_clips:
            lines.append(f"  - worst clips: {_md(cell.worst_clips)}")
        if cell.lost:
            lines.append(f"  - no value any more: {_md(_named(cell.lost))}")
    return "\n".join(lines)


def _named(lost: Mapping[str, str]) -> str:
    names = [f"{clip} ({reason})" for clip, reason in sorted(lost.items())]
    more = f" and {len(names) - SHOWN_LOST} more" if len(names) > SHOWN_LOST else ""
    return ", ".join(names[:SHOWN_LOST]) + more


def _severity(cell: GateCell) -> tuple[bool, float]:
    """Return a sorting key: lost and collapsed clips first, then by the loss in tolerances."""
    scale = cell.tolerance.mean or 1.0
    return bool(cell.lost or cell.collapsed), cell.worsening / scale


def _md(text: str) -> str:
    return re.sub(r"([\\`*<>\[\]|])", r"\\\1", " ".join(text.split()))


def _xml(text: str) -> str:
    """Replace what XML 1.0 cannot hold at all; ElementTree escapes the rest."""
    return re.sub("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]", "\ufffd", text)
