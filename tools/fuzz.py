"""Feed hostile input to everything that reads files from outside.

    python tools/fuzz.py audio --minutes 10 --seed 0        one of: python tools/fuzz.py --help

Each input is a valid one, mutated: bits and bytes anywhere, and in JSON, YAML and SQLite also whole
values. Reading it must end in a result that keeps its promises or in one clear line, an error of
:mod:`bench.errors`; any other exception, a hang, or a crash outside of a worker breaks the rule.
The input at hand is on disk before it is read, so that it is there to look at whatever happens;
exits with 1 at the first that breaks the rule. `.smc` streams have more mutators of their own:
tools/fuzz_bitstream.py.
"""

from __future__ import annotations

import argparse
import io
import json
import multiprocessing
import resource
import shutil
import signal
import sqlite3
import sys
import tarfile
import tempfile
import time
import warnings
import zipfile
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import fuzz_bitstream
import numpy as np
import soundfile

from bench.archives import Limits, unpack
from bench.audio import Domain, read_audio
from bench.clips import Clip
from bench.datasets import load_catalog
from bench.errors import BenchError, Status
from bench.loaders import Manifest
from bench.plan import Plan, PlannedClip, PlannedCodec, coding_key
from bench.reporting.baseline import load_baseline, save_baseline
from bench.results import CodecInfo, MetricInfo, Results
from bench.scoring import read_transcripts
from bench.shards import export, merge
from bench.store import FILE_NAME, Coding, Score, Store

HANG_S = 30
CRASHED = "decoder crashed"
#: What takes the place of a value.
HOSTILE: tuple[Any, ...] = (
    None, True, -1, 0, 2**63, 10**400, 1e308, -1e-308, float("nan"), float("inf"), "", "\0",
    "\ud800", "../../etc/passwd", "/etc/passwd", "a" * 10_000, "<script>", "=1+1", "é\u202e",
    "nan", "1e999", [], {}, [[]], {"": ""}, ["x"] * 50,
)  # fmt: skip
#: What is put between bytes.
WORDS = (
    b"&a [*a, *a]", b"!!python/object:os.system", b"<<: *a", b'"', b"\r\n", b",,,", b"\xff\xfe",
    b"{", b"}", b"]", b": ", b"- ", b"\0", b"9" * 400, b"\xed\xa0\x80", b"../", b"e999",
)  # fmt: skip
BYTE_MUTATORS = tuple(
    mutator
    for mutator in fuzz_bitstream.MUTATORS
    if mutator not in (fuzz_bitstream.edit_header, fuzz_bitstream.sync_flood)
)
Generator = np.random.Generator


@dataclass(frozen=True)
class Target:
    """One reader.

    Attributes:
        seeds: Makes valid inputs in a folder, by file name.
        read: Reads the file; returns a word for the statistics.
        values: Mutates a whole value instead of bytes, where the format has values.
        is_native: Whether C libraries decode it, which may crash. Runs read such files in workers,
            whose death costs one row; so does the fuzzer, and counts them.
    """

    seeds: Callable[[Path], dict[str, bytes]]
    read: Callable[[Path], str]
    values: Callable[[bytes, Generator], bytes] | None = None
    is_native: bool = False


def mutate(data: bytes, target: Target, generator: Generator) -> bytes:
    """Return a mutant."""
    if target.values and generator.random() < 0.6:
        return target.values(data, generator)
    mutant = bytearray(data)
    for _ in range(generator.integers(1, 4)):
        if not mutant:
            break
        if generator.random() < 0.2:
            at = generator.integers(len(mutant) + 1)
            mutant[at:at] = WORDS[generator.integers(len(WORDS))]
        else:
            BYTE_MUTATORS[generator.integers(len(BYTE_MUTATORS))](mutant, generator)
    return bytes(mutant)


def mutate_tree(tree: Any, generator: Generator) -> Any:
    """Replace, remove or double one value somewhere in nested lists and mappings."""
    if isinstance(tree, dict) and tree and generator.random() < 0.9:
        name = list(tree)[generator.integers(len(tree))]
        if generator.random() < 0.1:
            return {key: value for key, value in tree.items() if key != name}
        return tree | {name: mutate_tree(tree[name], generator)}
    if isinstance(tree, list) and tree and generator.random() < 0.9:
        at = int(generator.integers(len(tree)))
        if generator.random() < 0.1:
            return tree[:at] + tree[at : at + 1] * int(generator.integers(0, 3)) + tree[at + 1 :]
        return [*tree[:at], mutate_tree(tree[at], generator), *tree[at + 1 :]]
    return HOSTILE[generator.integers(len(HOSTILE))]


def mutate_json(data: bytes, generator: Generator) -> bytes:
    """Mutate a value of a JSON document (YAML reads it as well)."""
    return json.dumps(mutate_tree(json.loads(data), generator)).encode()


def mutate_lines(data: bytes, generator: Generator) -> bytes:
    """Mutate a value of one line of JSON lines; leave other tables to the bytes."""
    lines = data.splitlines()
    at = generator.integers(len(lines))
    if not lines[at].startswith(b"{"):
        lines[at] = WORDS[generator.integers(len(WORDS))] + lines[at]
    else:
        lines[at] = mutate_json(lines[at], generator)
    return b"\n".join(lines)


# --- audio ---------------------------------------------------------------------------------------


def audio_seeds(folder: Path) -> dict[str, bytes]:
    """Return short files of several formats."""
    wave = np.random.default_rng(0).normal(0, 0.1, (800, 2)).astype(np.float32)
    kinds = (("WAV", "PCM_16"), ("WAV", "FLOAT"), ("FLAC", "PCM_24"), ("OGG", "VORBIS"),
             ("MP3", "MPEG_LAYER_III"), ("AIFF", "PCM_16"), ("AU", "ULAW"))  # fmt: skip
    seeds = {}
    for kind, subtype in kinds:
        file = io.BytesIO()
        soundfile.write(file, wave, 16000, format=kind, subtype=subtype)
        seeds[f"{subtype}.{kind.lower()}"] = file.getvalue()
    return seeds


def read_audio_file(path: Path) -> str:
    """Read a clip, whole or a piece."""
    for piece in ((0.0, None), (0.01, 0.02)):
        audio = read_audio(path, *piece)
        assert audio.samples.ndim == 2
        assert audio.samples.dtype == np.float32
        assert np.isfinite(audio.samples).all()
        assert audio.sample_rate > 0
    return "read"


# --- tables and configuration --------------------------------------------------------------------


def yaml_seeds(folder: Path) -> dict[str, bytes]:
    """Return our own catalogue, as it is and as JSON."""
    import yaml

    from bench.datasets import _own_file

    text = _own_file().read_text()
    return {"own.yaml": text.encode(), "json.yaml": json.dumps(yaml.safe_load(text)).encode()}


def mutate_yaml(data: bytes, generator: Generator) -> bytes:
    """Mutate a value where the text is JSON, a line where it is not."""
    if data.startswith(b"{"):
        return mutate_json(data, generator)
    lines = data.splitlines()
    lines[generator.integers(len(lines))] = WORDS[generator.integers(len(WORDS))]
    return b"\n".join(lines)


def read_yaml(path: Path) -> str:
    """Read a catalogue."""
    return f"{'some' if len(load_catalog(path)) else 'no'} datasets"


def table_seeds(folder: Path) -> dict[str, bytes]:
    """Return a manifest in every format."""
    facts = {"domain": "speech", "text": "a, b", "start_s": "0.5", "duration_s": "1", "stream": "0"}
    rows = [{"path": f"{n}.wav", "id": f"c{n}"} | facts for n in range(3)]
    lines = "\n".join(json.dumps(row) for row in rows)
    table = ["\t".join(rows[0])] + ["\t".join(row.values()) for row in rows]
    tsv = "\n".join(table)
    return {"m.jsonl": lines.encode(), "m.tsv": tsv.encode(),
            "m.csv": tsv.replace(", ", " ").replace("\t", ",").encode()}  # fmt: skip


def read_manifest(path: Path) -> str:
    """Read a manifest; its paths stay in its folder."""
    clips = Manifest(path.name).clips(path.parent, "fuzz", None)
    assert all(clip.path.resolve().is_relative_to(path.parent.resolve()) for clip in clips)
    return "read"


def read_texts(path: Path) -> str:
    """Read transcripts."""
    assert all(isinstance(text, str) for pair in read_transcripts(path).items() for text in pair)
    return "read"


# --- results -------------------------------------------------------------------------------------


def make_run(folder: Path) -> Path:
    """Write a small run's store."""
    codecs = [CodecInfo(f"c@{k}kbps", "c", "neural", f"f{k}", nominal_kbps=k) for k in (3.0, 6.0)]
    clips = [Clip(f"{n}", "set", Domain.SPEECH, Path(f"{n}.wav"), text="a b") for n in range(4)]
    plan = Plan(
        tuple(PlannedCodec(info) for info in codecs),
        tuple(PlannedClip(clip, f"h{clip.id}") for clip in clips),
        (MetricInfo("stoi", "m1"), MetricInfo("wer", "m2", higher_is_better=False)),
    )
    store = Store(folder, create=True)
    store.add_plan(plan.as_dict(), {"started": "2026-01-01", "seed": 0})
    details = {"m1": None, "m2": '{"edits": 1, "words": 2}'}
    for clip in plan.clips:
        for codec in plan.codecs:
            key = coding_key(codec, clip)
            store.add([Coding(key, Status.OK, measured_kbps=6.5, duration_s=1.0, encode_s=0.1)])
            scores = [Score(key, info.fingerprint, Status.OK, value=0.5) for info in plan.metrics]
            store.add(scores=[replace(s, detail=details[s.metric_fingerprint]) for s in scores])
    store.close()
    return folder


def store_seeds(folder: Path) -> dict[str, bytes]:
    """Return a store."""
    return {FILE_NAME: (make_run(folder / "run") / FILE_NAME).read_bytes()}


def mutate_store(data: bytes, generator: Generator) -> bytes:
    """Mutate one cell of one table."""
    with tempfile.NamedTemporaryFile() as file:
        Path(file.name).write_bytes(data)
        connection = sqlite3.connect(file.name)
        table = ("plans", "codings", "scores")[generator.integers(3)]
        columns = [row[1] for row in connection.execute(f"PRAGMA table_info({table})")]
        column = columns[generator.integers(len(columns))]
        (old,) = connection.execute(f"SELECT {column} FROM {table} LIMIT 1").fetchone()
        if table == "plans" and column in ("plan", "manifest"):
            new = json.dumps(mutate_tree(json.loads(old), generator))
        else:
            new = HOSTILE[generator.integers(len(HOSTILE))]
        if not isinstance(new, str | int | float | None) or new in (10**400, 2**63, "\ud800"):
            new = b"bytes"
        try:
            limit = (
                f"WHERE rowid IN (SELECT rowid FROM {table} LIMIT 1)" if table == "plans" else ""
            )
            connection.execute(f"UPDATE OR IGNORE {table} SET {column} = ? {limit}", (new,))
            connection.commit()
        except sqlite3.IntegrityError:
            pass
        connection.close()
        return Path(file.name).read_bytes()


def read_store(path: Path) -> str:
    """Read and summarise a run."""
    for rest in path.parent.glob(f"{FILE_NAME}-*"):
        rest.unlink()
    results = Results.load(path.parent)
    results.table()
    return "summarised"


def baseline_seeds(folder: Path) -> dict[str, bytes]:
    """Return a baseline."""
    path = save_baseline(Results.load(make_run(folder / "run")), folder / "b.json")
    return {"b.json": path.read_bytes()}


def read_baseline(path: Path) -> str:
    """Read a baseline."""
    load_baseline(path)
    return "read"


def shard_seeds(folder: Path) -> dict[str, bytes]:
    """Return the files of an exported run."""
    export(make_run(folder / "run"), str(folder / "shard"))
    return {path.name: path.read_bytes() for path in (folder / "shard").iterdir()}


def mutate_shard(data: bytes, generator: Generator) -> bytes:
    """Mutate a value of the plan; leave Parquet to the bytes."""
    if data.startswith(b"{"):
        return mutate_json(data, generator)
    return mutate(data, Target(shard_seeds, read_shard), generator)


def read_shard(path: Path) -> str:
    """Join a shard, one file of which is mutated, with the sound one, and read the result."""
    shard, out = path.parent / "mutant", path.parent / "out"
    for folder in (shard, out):
        shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(path.parent / "shard", shard)
    shutil.copy(path, shard / path.name)
    merge([str(path.parent / "run"), str(shard)], out)
    Results.load(out)
    return "joined"


# --- archives ------------------------------------------------------------------------------------


def archive_seeds(folder: Path) -> dict[str, bytes]:
    """Return archives of every kind."""
    members = {"a/one.wav": b"RIFF" * 50, "a/two.txt": b"text", "three": bytes(5000)}
    seeds = {}
    for name, mode in (("x.tar", "w"), ("x.tar.gz", "w:gz"), ("x.tar.bz2", "w:bz2")):
        file = io.BytesIO()
        with tarfile.open(fileobj=file, mode=mode) as tar:  # type: ignore[call-overload]
            for member, content in members.items():
                info = tarfile.TarInfo(member)
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
        seeds[name] = file.getvalue()
    for name, kind in (("x.zip", zipfile.ZIP_DEFLATED), ("stored.zip", zipfile.ZIP_STORED)):
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w", kind) as archive:
            for member, content in members.items():
                archive.writestr(member, content)
        seeds[name] = file.getvalue()
    return seeds


def read_archive(path: Path) -> str:
    """Unpack; nothing may land elsewhere, be a link, or be larger than allowed."""
    place = path.parent / "place"
    shutil.rmtree(place, ignore_errors=True)
    unpack(path, place / "inside", Limits(total_bytes=10**6, file_bytes=10**6, files=100))
    assert {entry.name for entry in place.glob("*")} <= {"inside"}
    files = list((place / "inside").rglob("*"))
    assert not any(file.is_symlink() for file in files)
    assert sum(file.stat().st_size for file in files if file.is_file()) <= 10**6
    return "unpacked"


def smc_seeds(folder: Path) -> dict[str, bytes]:
    """Return token streams."""
    streams = fuzz_bitstream.seed_streams(np.random.default_rng(0))
    return {f"{index}.smc": stream for index, stream in enumerate(streams)}


def reseal_smc(data: bytes, generator: Generator) -> bytes:
    """Mutate a stream and make its checks right again."""
    mutant = bytearray(data)
    mutators = fuzz_bitstream.MUTATORS
    mutators[generator.integers(len(mutators))](mutant, generator)
    fuzz_bitstream.reseal(mutant)
    return bytes(mutant)


def read_smc(path: Path) -> str:
    """Read a token stream."""
    return fuzz_bitstream.outcome(path.read_bytes())


TARGETS = {
    "audio": Target(audio_seeds, read_audio_file, is_native=True),
    "datasets": Target(yaml_seeds, read_yaml, mutate_yaml),
    "manifest": Target(table_seeds, read_manifest, mutate_lines),
    "transcripts": Target(table_seeds, read_texts, mutate_lines),
    "results": Target(store_seeds, read_store, mutate_store),
    "baseline": Target(baseline_seeds, read_baseline, mutate_json),
    "shard": Target(shard_seeds, read_shard, mutate_shard),
    "archive": Target(archive_seeds, read_archive),
    "smc": Target(smc_seeds, read_smc, reseal_smc),
}


# --- the loop ------------------------------------------------------------------------------------


class Worker:
    """Reads in a process of its own until one input kills it; the next gets a new one."""

    def __init__(self, read: Callable[[Path], str]) -> None:
        self.read = read
        self._start()

    def _start(self) -> None:
        context = multiprocessing.get_context("fork")  # of what is loaded already
        self.pool = ProcessPoolExecutor(1, context)

    def __call__(self, path: Path) -> str:
        """Return what ``read`` does, or that the process died of it; the input is kept then."""
        try:
            return self.pool.submit(self.read, path).result()
        except BrokenProcessPool:
            self._start()
            shutil.copy(path, path.with_name(f"crashed-{time.time_ns()}-{path.name}"))
            return CRASHED


def fuzz(
    name: str, folder: Path, seed: int, inputs: int | None = None, seconds: float = float("inf")
) -> Counter[str]:
    """Read mutants until there were ``inputs`` or ``seconds`` are over; return how they ended.

    Raises:
        Exception: Whatever breaks the rule; the input lies in ``folder``.
    """
    target, generator = TARGETS[name], np.random.default_rng(seed)
    seeds = target.seeds(folder)
    names = sorted(seeds)
    read = Worker(target.read) if target.is_native else target.read
    counts: Counter[str] = Counter()
    until = time.monotonic() + seconds
    while counts.total() < (inputs or float("inf")) and time.monotonic() < until:
        chosen = names[generator.integers(len(names))]
        path = folder / chosen
        path.write_bytes(mutate(seeds[chosen], target, generator))
        signal.alarm(HANG_S)
        try:
            counts[read(path)] += 1
        except BenchError as error:
            if "\n" in str(error):
                raise
            counts[type(error).__name__] += 1
        finally:
            signal.alarm(0)
    return counts


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the fuzzer; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("target", choices=TARGETS)
    parser.add_argument("--minutes", type=float, default=1.0)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    warnings.simplefilter("ignore")
    folder = Path(tempfile.mkdtemp(prefix="fuzz-"))
    start, memory = time.process_time(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    try:
        counts = fuzz(options.target, folder, options.seed, seconds=60 * options.minutes)
    except BaseException:
        print(f"broken by a file in {folder}, seed {options.seed}", file=sys.stderr)
        raise
    if CRASHED in counts:
        print(f"what the decoder crashed at lies in {folder}")
    else:
        shutil.rmtree(folder)
    for ending, count in counts.most_common():
        print(f"{count:8d}  {ending}")
    growth = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory) / 1024
    print(
        f"{counts.total():8d}  inputs, {time.process_time() - start:.0f} CPU s, +{growth:.0f} MiB"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
