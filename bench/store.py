"""The one place where measurements are kept: a SQLite file in the run's folder.

Everything is keyed by content: what a codec point is (``codec_fingerprint``), what a clip holds
(``clip_hash``), the seed, and what a metric is (``metric_fingerprint``). So an interrupted run
goes on where it stopped, and a second run finds everything there. Only the parent process writes;
every call of :meth:`Store.add` is one transaction, so that ``kill -9`` loses no finished row.
"""

import fcntl
import json
import os
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from operator import attrgetter
from pathlib import Path
from typing import Any
from urllib.parse import quote

from bench.errors import BenchError, Reason, Status, one_line

FILE_NAME = "results.sqlite"
#: How long another program may hold the file.
BUSY_TIMEOUT_S = 60.0
SCHEMA_VERSION = 1
_SCHEMA = """
CREATE TABLE IF NOT EXISTS plans (
    id INTEGER PRIMARY KEY, started TEXT NOT NULL, plan TEXT NOT NULL, manifest TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS codings (
    codec_fingerprint TEXT NOT NULL, clip_hash TEXT NOT NULL, seed INTEGER NOT NULL,
    status TEXT NOT NULL, reason TEXT, message TEXT,
    measured_kbps REAL, payload_bytes INTEGER, overhead_bytes INTEGER, duration_s REAL,
    encode_s REAL, decode_s REAL, peak_memory_mb REAL, missing_samples INTEGER,
    clipped_samples INTEGER,
    PRIMARY KEY (codec_fingerprint, clip_hash, seed)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS scores (
    codec_fingerprint TEXT NOT NULL, clip_hash TEXT NOT NULL, seed INTEGER NOT NULL,
    metric_fingerprint TEXT NOT NULL,
    status TEXT NOT NULL, reason TEXT, message TEXT, value REAL, detail TEXT,
    PRIMARY KEY (codec_fingerprint, clip_hash, seed, metric_fingerprint)) WITHOUT ROWID;
"""


@dataclass(frozen=True)
class CodingKey:
    """Names one reconstruction."""

    codec_fingerprint: str
    clip_hash: str
    seed: int


@dataclass(frozen=True)
class Coding:
    """What coding one clip gave, apart from the waveform.

    Attributes:
        duration_s: Length of the clip.
        missing_samples: By how many samples the decoder's output was too short (and was padded).
        clipped_samples: How many samples lay beyond full scale.
    """

    key: CodingKey
    status: Status
    reason: Reason | None = None
    message: str | None = None
    measured_kbps: float | None = None
    payload_bytes: int | None = None
    overhead_bytes: int | None = None
    duration_s: float | None = None
    encode_s: float | None = None
    decode_s: float | None = None
    peak_memory_mb: float | None = None
    missing_samples: int | None = None
    clipped_samples: int | None = None


@dataclass(frozen=True)
class Score:
    """What one metric gave for one reconstruction."""

    key: CodingKey
    metric_fingerprint: str
    status: Status
    reason: Reason | None = None
    message: str | None = None
    value: float | None = None
    detail: str | None = None


_KEY = tuple(field.name for field in fields(CodingKey))
#: Columns of each table, those of the key first.
COLUMNS = {
    table: (*_KEY, *(field.name for field in fields(row) if field.name != "key"))
    for table, row in (("codings", Coding), ("scores", Score))
}


class Store:
    """An open results file.

    Args:
        folder: The run's folder; made if ``create``.
        create: Whether to make a file that is not there.

    Raises:
        BenchError: If there is no file, it is not one of ours, or it is damaged.
    """

    def __init__(self, folder: Path, *, create: bool = False) -> None:
        self.folder = folder
        self.path = folder / FILE_NAME
        if create:
            folder.mkdir(parents=True, exist_ok=True)
        elif not self.path.is_file():
            raise BenchError(f"no results in {folder}; expected {FILE_NAME} of an earlier run")
        with self.explained():
            self._connection = self._open()

    @contextmanager
    def explained(self) -> Iterator[None]:
        """Turn whatever SQLite has to complain of into one clear line.

        Raises:
            BenchError: In place of an error of SQLite.
        """
        try:
            yield
        except (sqlite3.Error, UnicodeDecodeError) as error:  # the latter of damaged messages
            remedy = "check the disk and its permissions, or move the file away to begin anew"
            if "locked" in str(error):
                remedy = f"another program has held it for {BUSY_TIMEOUT_S:g} s; end that first"
            elif "full" in str(error):
                remedy = "what was measured is kept; make room, then the same command goes on"
            problem = one_line(error, 200)
            raise BenchError(f"cannot use {self.path}: {problem}; {remedy}") from error

    def _open(self) -> sqlite3.Connection:
        if not os.access(self.folder, os.W_OK):  # a run that lies where it can only be read
            place = f"file:{quote(str(self.path))}?immutable=1"
            return sqlite3.connect(place, uri=True, isolation_level=None)
        connection = sqlite3.connect(self.path, timeout=BUSY_TIMEOUT_S, isolation_level=None)
        try:
            self._prepare(connection)
        except BaseException:
            connection.close()
            raise
        return connection

    def _prepare(self, connection: sqlite3.Connection) -> None:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=NORMAL")
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        if version not in (0, SCHEMA_VERSION):
            raise BenchError(
                f"{self.path} has schema {version}, this version reads {SCHEMA_VERSION}"
            )
        connection.executescript(_SCHEMA)
        connection.execute(f"PRAGMA user_version={SCHEMA_VERSION}")

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self.explained():
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise

    def add(self, codings: Iterable[Coding] = (), scores: Iterable[Score] = ()) -> None:
        """Keep measurements, in one transaction; newer ones replace older ones of the same key."""
        with self._transaction() as connection:
            for table, rows in (("codings", codings), ("scores", scores)):
                statement = f"INSERT OR REPLACE {_insertion(table)}"
                connection.executemany(statement, _values(table, rows))

    def add_missing(self, table: str, rows: Iterable[tuple[Any, ...]]) -> None:
        """Keep rows of another store, unless the same was measured here with a value.

        Args:
            table: ``codings`` or ``scores``.
            rows: Values of its :data:`COLUMNS`.
        """
        updates = ", ".join(f"{name} = excluded.{name}" for name in COLUMNS[table])
        statement = (
            f"INSERT {_insertion(table)} ON CONFLICT DO UPDATE SET {updates} "
            f"WHERE {table}.status <> 'ok' AND excluded.status = 'ok'"
        )
        with self._transaction() as connection:
            connection.executemany(statement, rows)

    def add_plan(self, plan: dict[str, Any], manifest: dict[str, Any]) -> None:
        """Keep what was asked for; the latest plan is what :func:`bench.load` shows."""
        with self._transaction() as connection:
            connection.execute(
                "INSERT INTO plans (started, plan, manifest) VALUES (?, ?, ?)",
                (manifest["started"], json.dumps(plan), json.dumps(manifest)),
            )

    def latest_plan(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return the latest plan and its manifest.

        Raises:
            BenchError: If nothing was planned yet.
        """
        row = self._connection.execute(
            "SELECT plan, manifest FROM plans ORDER BY id DESC LIMIT 1"
        ).fetchone()
        if row is None:
            raise BenchError(f"{self.path} holds no run yet")
        return json.loads(row[0]), json.loads(row[1])

    def coding_status(self, key: CodingKey) -> tuple[str, str | None] | None:
        """Return status and reason of a coding, None if it was not tried."""
        return self._connection.execute(
            "SELECT status, reason FROM codings "
            "WHERE codec_fingerprint = ? AND clip_hash = ? AND seed = ?",
            (key.codec_fingerprint, key.clip_hash, key.seed),
        ).fetchone()

    def score_statuses(self, key: CodingKey) -> dict[str, tuple[str, str | None]]:
        """Return status and reason of a reconstruction's scores, by metric fingerprint."""
        rows = self._connection.execute(
            "SELECT metric_fingerprint, status, reason FROM scores "
            "WHERE codec_fingerprint = ? AND clip_hash = ? AND seed = ?",
            (key.codec_fingerprint, key.clip_hash, key.seed),
        )
        return {row[0]: row[1:] for row in rows}

    def counts(self) -> tuple[int, int]:
        """Return how many codings and scores there are."""
        tables = ("codings", "scores")
        codings, scores = (
            self._connection.execute(f"SELECT COUNT(*) FROM {table}").fetchone()[0]
            for table in tables
        )
        return codings, scores

    def query(self, sql: str, parameters: tuple[Any, ...] = ()) -> sqlite3.Cursor:
        """Run a reading query."""
        return self._connection.execute(sql, parameters)


def _values(table: str, rows: Iterable[Coding] | Iterable[Score]) -> Iterable[tuple[Any, ...]]:
    """Return measurements as rows of a table."""
    names = (f"key.{name}" if name in _KEY else name for name in COLUMNS[table])
    return map(attrgetter(*names), rows)


def _insertion(table: str) -> str:
    names = COLUMNS[table]
    return f"INTO {table} ({', '.join(names)}) VALUES ({', '.join('?' * len(names))})"


@contextmanager
def folder_lock(folder: Path) -> Iterator[None]:
    """Hold a run folder for one process.

    Raises:
        BenchError: If another run is writing there, or the folder cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = (folder / ".lock").open("w")
    except OSError as error:
        raise BenchError(
            f"cannot write to {folder}: {error.strerror}; choose another folder with --out"
        ) from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise BenchError(
                f"another run is writing to {folder}; wait for it or choose another --out"
            ) from error
        yield
