"""The recipe ``run_bench.py paper``: score the audio that SemantiCodec's authors released.

Their repository holds ground truth and the output of eleven systems for 105 clips, one folder per
system. Every folder is one codec of recordings (:mod:`codec_zoo.recordings`), so the work is that
of any other run: resumable, in parallel, with its report. What the paper prints for the same
systems (Table II) is set beside it by :mod:`bench.reporting.reproduction`.

The released files are peak-normalised, so levels are lost: spectral distances are measured as the
files are and again with levels matched.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import pandas as pd

from bench.api import run_prepared
from bench.audio import Domain
from bench.clips import Clip
from bench.datasets import Dataset, load_catalog
from bench.errors import Reason, UsageError
from bench.loaders import Folder
from bench.plan import Plan, make_plan
from bench.results import CODING_METRICS, CodecInfo, Results
from bench.runner import Execution, Progress
from bench.scoring import read_transcripts
from bench.systems import SYSTEMS, System, system_of
from codec_zoo.recordings import SUFFIXES, Recordings
from codec_zoo.registry import parse_codec_id

logger = logging.getLogger(__name__)

DATASET = "semanticodec-samples"
GROUND_TRUTH = SYSTEMS[0]
#: Clips tell their domain by the beginning of their names.
PREFIXES = {"audioset": Domain.SOUND, "libritts": Domain.SPEECH, "musdb": Domain.MUSIC}
#: Distances that depend on level: measured on the files as they are and with levels matched.
SPECTRAL = ("mel-dac-eval", "mel-dac-7scale", "logmel-l1", "mrstft", "stft-dac-eval")
METRICS = (
    "visqol-audio-48k",
    "visqol-speech-lattice",
    "visqol-speech-exp",
    "pesq-wb",
    "pesqc2-wb",
    "stoi",
    "estoi",
    "dwer",
    *SPECTRAL,
    *(f"{name}:level=matched" for name in SPECTRAL),
    "mel-dac-7scale:level=matched,unit=db",
)
#: Columns of ``scores.csv``.
SCORE_COLUMNS = ("clip", "domain", "system", "kbps", "metric", "value", "status", "reason")


@dataclass(frozen=True)
class PaperRun:
    """What the recipe measured.

    Attributes:
        results: Systems by the names of their folders.
        systems: What is known of each, by the same names.
    """

    results: Results
    systems: dict[str, System]

    def system_table(self) -> pd.DataFrame:
        """Return what is known of each system: system, family, codec, variant, kbps."""
        rows = [
            (name, system.family, *system.published, system.kbps)
            for name, system in self.systems.items()
        ]
        names = ["system", "family", "codec", "variant", "kbps"]
        return pd.DataFrame(rows, columns=names).astype({"kbps": "float64"})

    def gaps(self) -> list[str]:
        """Return a line for each system that lacks files, naming some of the clips."""
        rows = self.results.rows
        lost = rows[rows["reason"] == Reason.MISSING_FILE]
        return [
            f"{system}: no file of {len(clips)} of {len(self.results.clips)} clips "
            f"({', '.join(clips[:3])}{', ...' if len(clips) > 3 else ''})"
            for system, clips in lost.groupby("codec")["clip"].unique().items()
        ]

    def scores(self) -> pd.DataFrame:
        """Return one row per clip, system and metric, with :data:`SCORE_COLUMNS`."""
        rows = self.results.rows.rename(columns={"codec": "system", "nominal_kbps": "kbps"})
        order = ["system", "metric", "clip"]
        return rows[list(SCORE_COLUMNS)].sort_values(order, kind="stable", ignore_index=True)


def run_paper(
    audio: Path | None,
    out: Path,
    *,
    transcripts: Path | None = None,
    metrics: Sequence[str] | None = None,
    execution: Execution | None = None,
    progress: Progress | None = None,
) -> PaperRun:
    """Score every system below ``audio`` against its ground truth.

    What ``out`` already holds is not computed again.

    Args:
        audio: Holds one folder per system, ``groundtruth`` among them; None: where
            ``run_bench.py fetch semanticodec-samples`` puts them.
        out: The run's folder.
        transcripts: CSV or JSONL with ``clip`` and ``text``, for WER; None: texts beside the
            ground truth, if there are any.
        metrics: Metric names; None: :data:`METRICS`, and WER where a transcript is known.
        execution: Worker processes, time limits.
        progress: Who is told how far it is.

    Raises:
        UsageError: If there is no such folder, no ground truth or nothing else in it.
    """
    plan, systems = plan_paper(audio or default_audio(), transcripts, metrics)
    results = run_prepared(plan, out, execution or Execution(), progress)
    return PaperRun(relabelled(results, systems), {s.folder: s for s in systems.values()})


def write_paper(run: PaperRun, out: Path) -> Path:
    """Write ``scores.csv``, the comparison with the paper, and the usual report.

    Returns:
        The comparison, a Markdown file.
    """
    from bench.reporting.publish import publish
    from bench.reporting.reference_points import load_points
    from bench.reporting.reproduction import write_reproduction

    scores, partial = out / "scores.csv", out / "scores.csv.part"
    run.scores().to_csv(partial, index=False)
    partial.replace(scores)
    path = write_reproduction(run.results, run.system_table(), load_points(), out)
    publish(run.results, out)
    return path


def default_audio() -> Path:
    """Return where the fetched release lies.

    Raises:
        UsageError: If it was not fetched.
    """
    folder = load_catalog()[DATASET].folder().parent
    if not folder.is_dir():
        raise UsageError(
            f"the released audio is not at {folder}; run_bench.py fetch {DATASET}, "
            "or give its folder with --audio"
        )
    return folder


def plan_paper(
    audio: Path, transcripts: Path | None, metrics: Sequence[str] | None
) -> tuple[Plan, dict[str, System]]:
    """Return the plan, and what each of its codec ids stands for."""
    found = find_systems(audio)
    clips = released_clips(audio / found[0].folder, transcripts)
    names = list(metrics or METRICS)
    if metrics is None and any(clip.text is not None for clip in clips):
        names.insert(names.index("dwer"), "wer")
    systems = {_codec_id(audio, system): system for system in found}
    return make_plan(clips, list(systems), names), systems


def find_systems(audio: Path) -> list[System]:
    """Return the systems that have a folder, ground truth first, then in the paper's order.

    Folders go by the release's names or by the short ones; others are systems of their own,
    without a row in the paper. One without audio is left out, with a warning.

    Raises:
        UsageError: If there is no such folder, no ground truth or nothing else in it.
    """
    if not audio.is_dir():
        raise UsageError(f"no folder {audio}; expected one that holds a folder per system")
    if "," in str(audio):
        raise UsageError(f"the folder's path must hold no comma, got {audio}")
    names = sorted(path.name for path in audio.iterdir() if path.is_dir() and _has_audio(path))
    found = sorted((system_of(name) for name in names), key=_paper_order)
    if not found or found[0].name != GROUND_TRUTH.name:
        raise UsageError(f"no folder groundtruth in {audio}; it holds {', '.join(names) or 'none'}")
    doubles = {one.name for one, other in pairwise(found) if one.name == other.name}
    if doubles:
        raise UsageError(f"two folders of {audio} are {', '.join(sorted(doubles))}; keep one")
    if len(found) == 1:
        raise UsageError(f"{audio} holds nothing but ground truth; expected a folder per system")
    return found


def _has_audio(folder: Path) -> bool:
    if folder.name[0] in "._":
        return False
    found = any(path.suffix.lower() in SUFFIXES for path in folder.iterdir())
    if not found:
        logger.warning("no audio in %s: left out", folder)
    return found


def _paper_order(system: System) -> tuple[int, str]:
    names = [known.name for known in SYSTEMS]
    return (names.index(system.name) if system.name in names else len(names)), system.name


def released_clips(ground_truth: Path, transcripts: Path | None) -> list[Clip]:
    """Return the clips of the ground truth, with their transcripts where they are known."""
    dataset = Dataset(
        name=DATASET,
        loader=Folder(domain_by_prefix=PREFIXES),
        title="Audio released with a paper",
        license="unknown",
        root=str(ground_truth.resolve()),
    )
    texts = read_transcripts(transcripts) if transcripts else {}
    clips = dataset.clips()
    unknown = texts.keys() - {clip.id for clip in clips}
    if unknown:
        logger.warning("%d transcripts belong to no clip of %s", len(unknown), ground_truth)
    return [replace(clip, text=texts.get(clip.id, clip.text)) for clip in clips]


def _codec_id(audio: Path, system: System) -> str:
    options = f"folder={audio.resolve()},codec={system.folder}"
    options += "" if system.kbps is None else f",kbps={system.kbps:g}"
    return f"recordings:{options},kind={system.kind}"


def named(results: Results) -> tuple[Results, dict[str, tuple[str, str]]]:
    """Return a run of this recipe, read back, with its systems by the names of their folders.

    Any other run comes back as it is.

    Returns:
        The results, and what ``reports/reference`` calls each system: codec and variant.
    """
    names = {codec_id: _recorded_name(codec_id) for codec_id in results.codecs}
    systems = {codec_id: system_of(name) for codec_id, name in names.items() if name}
    is_ours = len({*names.values()}) == len(systems) == len(names)
    if not is_ours or GROUND_TRUTH.name not in {system.name for system in systems.values()}:
        return results, {}
    published = {s.folder: s.published for s in systems.values() if any(s.published)}
    return relabelled(results, systems), published


def _recorded_name(codec_id: str) -> str:
    """Return the ``codec=`` of a recording's codec id, else an empty text."""
    parts = parse_codec_id(codec_id)
    return parts.options.get("codec", "") if parts.family == Recordings.family else ""


def relabelled(results: Results, systems: dict[str, System]) -> Results:
    """Return the results with codec points named by their folders, without what coding measures."""
    coding = {info.name for info in CODING_METRICS}
    rows = results.rows[~results.rows["metric"].isin(coding)].copy()
    families = rows["codec"].map({codec_id: s.family for codec_id, s in systems.items()})
    rows["family"] = families
    rows["codec"] = rows["codec"].map({codec_id: s.folder for codec_id, s in systems.items()})
    return replace(
        results,
        rows=rows.reset_index(drop=True),
        metrics={name: info for name, info in results.metrics.items() if name not in coding},
        codecs={
            systems[codec_id].folder: _renamed(info, systems[codec_id])
            for codec_id, info in results.codecs.items()
        },
    )


def _renamed(info: CodecInfo, system: System) -> CodecInfo:
    return replace(info, codec_id=system.folder, family=system.family)
