"""Join runs of parts of one plan, and carry them through shared or object storage.

A shard is a run folder, or what :func:`export` made of one: two Parquet files and the plan, at any
place that fsspec can reach (a folder, ``s3://``, ``gs://``, ``sftp://`` ...). Shards are joined
only if whatever both know of - a codec point, a metric, a clip - is the same thing in both.
"""

import argparse
import json
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq

from bench.errors import BenchError, UsageError, one_line
from bench.results import MixedFingerprintsError
from bench.store import COLUMNS, FILE_NAME, Store, folder_lock

_PLAN_FILE = "plan.json"
_ROWS_AT_ONCE = 50_000
_NUMBERS = {"seed": pa.int64()} | dict.fromkeys(
    ("value", "measured_kbps", "duration_s", "encode_s", "decode_s", "peak_memory_mb"), pa.float64()
) | dict.fromkeys(
    ("payload_bytes", "overhead_bytes", "missing_samples", "clipped_samples"), pa.int64()
)  # fmt: skip
#: Part of a plan -> what names an entry there, and what says that two of a name are the same.
_IDENTITY = {
    "codecs": (("codec_id",), ("fingerprint", "seed")),
    "metrics": (("name",), ("fingerprint",)),
    "clips": (("dataset", "clip"), ("clip_hash",)),
}
Rows = list[tuple[Any, ...]]


@dataclass(frozen=True)
class Shard:
    """What one run measured.

    Attributes:
        place: Folder or URL.
        plan: What was asked for.
        manifest: See :mod:`bench.manifest`.
        folder: Where reconstructions lie, None for an exported shard.
    """

    place: str
    plan: Mapping[str, Any]
    manifest: Mapping[str, Any]
    folder: Path | None

    def rows(self, table: str) -> Iterator[Rows]:
        """Yield the rows of ``codings`` or ``scores``, many at a time."""
        if self.folder is None:
            yield from _read_parquet(f"{self.place}/{table}.parquet", COLUMNS[table])
            return
        store = Store(self.folder)
        try:
            cursor = store.query(f"SELECT {', '.join(COLUMNS[table])} FROM {table}")
            while rows := cursor.fetchmany(_ROWS_AT_ONCE):
                yield rows
        finally:
            store.close()


def open_shard(place: str) -> Shard:
    """Return the shard in a run folder, or where one was exported to.

    Raises:
        BenchError: If there is none, or it cannot be read.
    """
    place = place.rstrip("/")
    if (Path(place) / FILE_NAME).is_file():
        store = Store(Path(place))
        try:
            plan, manifest = store.latest_plan()
        finally:
            store.close()
        return Shard(place, plan, manifest, Path(place))
    try:
        with fsspec.open(f"{place}/{_PLAN_FILE}", "rt", encoding="utf-8") as file:
            content = json.load(file)
        return Shard(place, content["plan"], content["manifest"], None)
    except (OSError, ImportError, ValueError, KeyError, TypeError) as error:
        raise BenchError(
            f"no shard at {place}: {type(error).__name__}: {one_line(error, 200)}; "
            "expected a run's folder, or what `run_bench.py export` wrote"
        ) from error


def export(folder: Path, place: str) -> None:
    """Write a run's measurements to ``place``, a folder or a URL; audio stays behind.

    The plan is written last, so that a broken export is no shard.

    Raises:
        BenchError: If ``folder`` holds no run or ``place`` cannot be written.
    """
    shard = open_shard(str(folder))
    place = place.rstrip("/")
    try:
        files, root = fsspec.core.url_to_fs(place)
        files.makedirs(root, exist_ok=True)
        for table, columns in COLUMNS.items():
            _write_parquet(f"{place}/{table}.parquet", columns, shard.rows(table))
        with fsspec.open(f"{place}/{_PLAN_FILE}", "wt", encoding="utf-8") as file:
            json.dump({"plan": shard.plan, "manifest": shard.manifest}, file)
    except (OSError, ImportError, ValueError) as error:
        raise BenchError(
            f"cannot write {place}: {type(error).__name__}: {one_line(error, 200)}"
        ) from error


def merge(places: Sequence[str], out: Path) -> tuple[int, int]:
    """Join shards into a new run folder, and return how many codings and scores it holds.

    Where several shards hold one measurement, one with a value is kept before one without, then
    the first. Reconstructions of local shards come along (as hard links where that is possible).

    Raises:
        MixedFingerprintsError: If shards know different things by one name.
        BenchError: If a shard cannot be read or ``out`` is not empty.
    """
    if len(places) < 2:
        raise UsageError("merge takes two or more shards")
    if (out / FILE_NAME).exists():
        raise UsageError(f"{out} holds a run already; choose another --out")
    shards = [open_shard(place) for place in places]
    try:
        plan = _joined_plan(shards)
        manifest = dict(shards[0].manifest) | {"shards": [dict(shard.manifest) for shard in shards]}
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise BenchError(
            f"the plan of a shard is damaged ({one_line(repr(error), 200)})"
        ) from error
    with folder_lock(out):
        store = Store(out, create=True)
        try:
            for shard in shards:
                for table in COLUMNS:
                    for rows in shard.rows(table):
                        store.add_missing(table, rows)
                _bring_audio(shard, out)
            store.add_plan(plan, manifest)
            return store.counts()
        except BaseException:  # half of a run would look like a whole one
            for path in out.glob(f"{FILE_NAME}*"):
                path.unlink()
            raise
        finally:
            store.close()


def _joined_plan(shards: Sequence[Shard]) -> dict[str, Any]:
    plan = dict(shards[0].plan)
    for shard in shards[1:]:
        if shard.plan["source"] != plan["source"]:
            raise UsageError(
                f"{shard.place} scored files, {shards[0].place} did not, or vice versa"
            )
    for part, (names, identity) in _IDENTITY.items():
        plan[part] = list(_joined(shards, part, names, identity))
    return plan


def _joined(
    shards: Sequence[Shard], part: str, names: Sequence[str], identity: Sequence[str]
) -> Iterable[Mapping[str, Any]]:
    """Return the entries of one part of all plans, each once."""
    found: dict[tuple[Any, ...], tuple[Shard, Mapping[str, Any]]] = {}
    for shard in shards:
        for entry in shard.plan[part]:
            name = tuple(entry[key] for key in names)
            other, known = found.setdefault(name, (shard, entry))
            if known.get("unavailable_reason"):
                found[name] = shard, entry
            elif not entry.get("unavailable_reason"):
                _check_same(name, identity, (other, known), (shard, entry))
    return [entry for _, entry in found.values()]


def _check_same(
    name: tuple[Any, ...],
    identity: Sequence[str],
    first: tuple[Shard, Mapping[str, Any]],
    second: tuple[Shard, Mapping[str, Any]],
) -> None:
    for key in identity:
        if first[1][key] != second[1][key]:
            raise MixedFingerprintsError(
                f"{'/'.join(map(str, name))} has {key} {first[1][key]} in {first[0].place} and "
                f"{second[1][key]} in {second[0].place}; measure one of them again with the "
                "versions, files and seed of the other"
            )


def _bring_audio(shard: Shard, out: Path) -> None:
    if shard.folder is None:
        return
    for path in (shard.folder / "audio").glob("*/*.flac"):
        target = out / path.relative_to(shard.folder)
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.exists():
            continue
        try:
            os.link(path, target)
        except OSError:  # another file system
            shutil.copyfile(path, target)


def _write_parquet(place: str, columns: Sequence[str], pieces: Iterable[Rows]) -> None:
    schema = pa.schema([(name, _NUMBERS.get(name, pa.string())) for name in columns])
    with fsspec.open(place, "wb") as file, pq.ParquetWriter(file, schema) as writer:
        for rows in pieces:
            arrays = zip(zip(*rows, strict=True), schema.types, strict=True)
            writer.write_table(pa.table([pa.array(a, kind) for a, kind in arrays], schema=schema))


def _read_parquet(place: str, columns: Sequence[str]) -> Iterator[Rows]:
    try:
        with fsspec.open(place, "rb") as file:
            parquet = pq.ParquetFile(file)
            for batch in parquet.iter_batches(_ROWS_AT_ONCE, columns=list(columns)):
                arrays = [batch.column(name).to_pylist() for name in columns]
                yield list(zip(*arrays, strict=True))
    except (OSError, ValueError, KeyError, pa.ArrowException) as error:
        raise BenchError(
            f"cannot read {place}: {type(error).__name__}: {one_line(error, 200)}"
        ) from error


# --- commands --------------------------------------------------------------------------------


def merge_command(options: argparse.Namespace) -> int:
    """Join shards."""
    codings, scores = merge(options.shards, options.out)
    print(f"{options.out}: {codings} codings and {scores} scores of {len(options.shards)} shards")
    return 0


def export_command(options: argparse.Namespace) -> int:
    """Write a run as Parquet files."""
    export(options.folder, options.place)
    print(options.place)
    return 0
