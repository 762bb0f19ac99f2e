"""Score two folders of files against each other, with no codec of ours in between."""

import csv
import hashlib
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from bench.audio import AUDIO_SUFFIXES, Domain
from bench.clips import Clip
from bench.datasets import folder_dataset
from bench.errors import DatasetError, Reason, Status, UsageError, one_line
from bench.manifest import describe_environment
from bench.plan import Plan, PlannedClip, PlannedCodec, coding_key, metric_info
from bench.results import CodecInfo, Results
from bench.runner import Execution, Progress, score_files
from bench.store import Coding

#: The one codec of such a run: whoever made the files.
CODEC_ID = "degraded"


def score_folders(
    reference: Path,
    degraded: Path,
    out: Path,
    *,
    domain: Domain,
    metrics: Sequence[str],
    transcripts: Path | None,
    execution: Execution,
    progress: Progress | None,
) -> Results:
    """Score every file of ``degraded`` against its namesake in ``reference``.

    A file without a namesake gives failed rows, on either side. See :func:`bench.score`.

    Raises:
        UsageError: If a folder is not there, holds no audio, or two files share a name.
    """
    originals = audio_by_name(reference)
    decoded = audio_by_name(degraded)
    clips = {clip.id: clip for clip in folder_dataset(reference, domain).clips()}
    texts = read_transcripts(transcripts) if transcripts else {}
    jobs = [
        _pair(name, clips, originals, decoded, degraded, domain, texts)
        for name in sorted(originals.keys() | decoded.keys())
    ]
    info = CodecInfo(CODEC_ID, CODEC_ID, "files", hashlib.sha256(b"files").hexdigest()[:16])
    plan = Plan(
        codecs=(PlannedCodec(info),),
        clips=tuple(planned for planned, _ in jobs),
        metrics=tuple(metric_info(name) for name in metrics),
    )
    files = {planned.content_hash: path for planned, path in jobs}
    codings = [_coding(plan.codecs[0], planned, path) for planned, path in jobs]
    manifest = describe_environment(0, execution.workers)
    score_files(plan, files, codings, out, manifest, execution, progress)
    return Results.load(out)


def audio_by_name(folder: Path) -> dict[str, Path]:
    """Return a folder's audio files by their path without the ending.

    Raises:
        UsageError: If there is no such folder, no audio in it, or a name stands twice.
    """
    if not folder.is_dir():
        raise UsageError(f"no folder {folder}")
    found: dict[str, Path] = {}
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() not in AUDIO_SUFFIXES or not path.is_file():
            continue
        name = path.relative_to(folder).with_suffix("").as_posix()
        if name in found:
            raise UsageError(f"{found[name].name} and {path.name} in {folder} share one name")
        found[name] = path
    if not found:
        raise UsageError(f"{folder} holds no audio; expected {' '.join(sorted(AUDIO_SUFFIXES))}")
    return found


def _pair(
    name: str,
    clips: dict[str, Clip],
    originals: dict[str, Path],
    decoded: dict[str, Path],
    degraded: Path,
    domain: Domain,
    texts: dict[str, str],
) -> tuple[PlannedClip, Path | None]:
    """Return a clip with a hash over both files, and its reconstruction if there is one."""
    original = originals.get(name)
    clip = clips.get(name) if original else None
    clip = clip or Clip(
        id=name, dataset="files", domain=domain, path=original or degraded / f"{name} (no original)"
    )
    text = texts.get(name, texts.get(Path(name).name))
    if text is not None:
        clip = replace(clip, text=text)
    path = decoded.get(name)
    other = hashlib.sha256(path.read_bytes()).hexdigest() if path else f"missing:{name}"
    both = hashlib.sha256(f"{clip.content_hash()}/{other}".encode()).hexdigest()
    return PlannedClip(clip, both), path if original else None


def _coding(codec: PlannedCodec, planned: PlannedClip, path: Path | None) -> Coding:
    key = coding_key(codec, planned)
    if path is not None:
        return Coding(key, Status.OK)
    message = f"{planned.clip.id} lies in one of the two folders only; expected it in both"
    return Coding(key, Status.FAILED, Reason.MISSING_FILE, message)


def read_transcripts(path: Path) -> dict[str, str]:
    """Return texts by clip from a CSV or JSONL file with ``clip`` (or ``path``) and ``text``.

    Raises:
        DatasetError: If the file or one of its lines is not of that form.
    """
    try:
        content = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DatasetError(f"cannot read transcripts from {path}: {error}") from error
    lines = content.splitlines()
    try:
        if path.suffix == ".csv":
            rows = list(csv.DictReader(lines))
        else:
            rows = [json.loads(line) for line in lines if line.strip()]
        return {_clip_name(row): str(row["text"]) for row in rows}
    except (AttributeError, KeyError, TypeError, ValueError, csv.Error, RecursionError) as error:
        raise DatasetError(
            f"{path} is not a list of transcripts: {one_line(repr(error), 200)}; "
            "expected columns clip and text"
        ) from error


def _clip_name(row: dict[str, str]) -> str:
    """Return the name a row goes by: ``clip``, or ``path`` without an audio ending."""
    name = row.get("clip") or row["path"]
    path = Path(name)
    return path.with_suffix("").as_posix() if path.suffix.lower() in AUDIO_SUFFIXES else name
