"""The files of a journal folder: this process's own, those of ended ones, and the store.

sqlite before 3.51.3 can corrupt a WAL that two connections write; here no file ever has two.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import sqlite3
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .batch_records import (
    BATCHES,
    BatchRecord,
    batch_rows,
    known_ids,
    open_batches,
    put_batch,
    put_rows,
)
from .errors import JournalError

__all__ = ["VERSION", "Entry", "Files"]

VERSION = 1
_COLUMNS = "key, at, run, begins, max_tokens, readable, latency, model, cost, body"
_TABLE = """
CREATE TABLE IF NOT EXISTS answers (
  source TEXT NOT NULL DEFAULT '', n INTEGER NOT NULL,
  key BLOB NOT NULL, at REAL NOT NULL, run TEXT NOT NULL, begins INTEGER NOT NULL,
  max_tokens INTEGER NOT NULL, readable INTEGER NOT NULL, latency REAL NOT NULL,
  model TEXT NOT NULL, cost TEXT, body BLOB NOT NULL, PRIMARY KEY (source, n));
CREATE INDEX IF NOT EXISTS answers_by_key ON answers (key);
"""
_LOCK_WAIT_SECONDS = 10.0
_KEYS_A_QUERY = 500


@dataclass(frozen=True, slots=True)
class Entry:
    """One paid answer as it came from the wire.

    `key` identifies the question, `begins` marks an answer that makes earlier ones to the same
    question void (asked anew), `body` is the raw answer, `readable` whether it could be read as a
    message, `latency` is in seconds, `cost` the USD as text (None: unknown), `at` a POSIX time.
    """

    key: bytes
    run: str
    body: bytes
    max_tokens: int
    begins: bool = False
    readable: bool = True
    latency: float = 0.0
    model: str = ""
    cost: str | None = None
    at: float = field(default_factory=time.time)

    def _as_row(self) -> tuple[Any, ...]:
        return (
            self.key,
            self.at,
            self.run,
            int(self.begins),
            self.max_tokens,
            int(self.readable),
            self.latency,
            self.model,
            self.cost,
            zlib.compress(self.body, 1),
        )

    @classmethod
    def _of_row(cls, row: Sequence[Any]) -> Entry:
        key, at, run, begins, max_tokens, readable, latency, model, cost, body = row
        return cls(
            key=key,
            run=run,
            body=zlib.decompress(body),
            max_tokens=max_tokens,
            begins=bool(begins),
            readable=bool(readable),
            latency=latency,
            model=model,
            cost=cost,
            at=at,
        )


class Files:
    """The files of a journal folder; every method runs on the writer thread."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.path = folder / f"live-{os.getpid()}-{secrets.token_hex(4)}.db"
        self.store_path = folder / "answers.db"
        self._live: sqlite3.Connection | None = None
        self._next = 1

    def open(self) -> None:
        """Create this process's own file, under the folder's lock: a merge must not take it."""
        if self._live is not None:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        ignore = self.folder / ".gitignore"
        if not ignore.exists():
            ignore.write_text("*\n")
        with self._folder_lock():
            live = sqlite3.connect(self.path, isolation_level=None, check_same_thread=False)
            live.execute("PRAGMA locking_mode=EXCLUSIVE")
            live.execute("PRAGMA journal_mode=WAL")
            live.execute("PRAGMA synchronous=FULL")
            live.executescript(_TABLE + BATCHES)
            live.execute(f"PRAGMA user_version={VERSION}")
        self._live = live

    @property
    def live(self) -> sqlite3.Connection:
        assert self._live is not None
        return self._live

    def begin(self) -> None:
        self.live.execute("BEGIN IMMEDIATE")

    def commit(self) -> None:
        self.live.execute("COMMIT")

    def rollback(self) -> None:
        if self._live is not None and self._live.in_transaction:
            with contextlib.suppress(sqlite3.Error):
                self._live.execute("ROLLBACK")

    def close(self) -> None:
        if self._live is not None:
            with contextlib.suppress(sqlite3.Error):
                self._live.close()
            self._live = None

    def insert(self, entry: Entry) -> None:
        self.live.execute(
            f"INSERT INTO answers (n, {_COLUMNS}) VALUES (?,?,?,?,?,?,?,?,?,?,?)",  # noqa: S608
            (self._next, *entry._as_row()),
        )
        self._next += 1

    def put_batch(self, record: BatchRecord) -> None:
        put_batch(self.live, record)

    def open_batches(self, provider: str) -> list[BatchRecord]:
        with self._reading(True) as connections:
            return open_batches(connections, provider)

    def batch_ids(self) -> set[str]:
        with self._reading(True) as connections:
            return known_ids(connections)

    def find(
        self, keys: Sequence[bytes], run: str | None, earlier: bool
    ) -> dict[bytes, list[Entry]]:
        found: dict[bytes, list[Entry]] = {}
        with self._reading(earlier) as connections:
            for connection in connections:
                _collect(connection, keys, run, found)
        return {key: _valid(entries) for key, entries in found.items()}

    def visit(self, run: str, see: Callable[[Entry], None]) -> None:
        with self._reading(True) as connections:
            for connection in connections:
                query = f"SELECT {_COLUMNS} FROM answers WHERE run = ?"  # noqa: S608
                for row in connection.execute(query, (run,)):
                    see(Entry._of_row(row))

    @contextlib.contextmanager
    def _reading(self, earlier: bool) -> Iterator[list[sqlite3.Connection]]:
        """The store, with `earlier` and where there is one, and this process's own file."""
        store = None
        try:
            store = self._open_store() if earlier else None
            yield [each for each in (store, self._live) if each is not None]
        except (sqlite3.DatabaseError, zlib.error, TypeError, ValueError) as error:
            raise JournalError(
                f"the journal {self.store_path} can't be read ({error}). "
                "Move it away to start without it, or run with --fresh"
            ) from error
        finally:
            if store is not None:
                store.close()

    def _open_store(self) -> sqlite3.Connection | None:
        if not self.store_path.exists():
            return None
        store = sqlite3.connect(self.store_path, timeout=_LOCK_WAIT_SECONDS, isolation_level=None)
        try:
            _check_version(store, self.store_path)
            store.execute("BEGIN")
            made = store.execute("SELECT 1 FROM sqlite_master WHERE name = 'answers'").fetchone()
        except BaseException:
            store.close()
            raise
        if made is None:  # whoever was to fill it is about to, or was killed before
            store.close()
            return None
        return store

    def merge_ended(self) -> None:
        """Move the answers of ended processes into the store; files in use are left alone."""
        others = [path for path in self.folder.glob("live-*.db") if path != self.path]
        if not others:
            return
        with self._folder_lock():
            for path in others:
                self._merge(path)

    def _merge(self, path: Path) -> None:
        found = _rows_of_ended(path)
        if found is None:
            return
        rows, batches = found
        if rows or batches:
            store = sqlite3.connect(
                self.store_path, timeout=_LOCK_WAIT_SECONDS, isolation_level=None
            )
            with contextlib.closing(store), _damage(self.store_path):
                _check_version(store, self.store_path)
                store.execute("PRAGMA synchronous=FULL")
                store.executescript(_TABLE + BATCHES)
                store.execute(f"PRAGMA user_version={VERSION}")
                store.execute("BEGIN IMMEDIATE")
                store.executemany(
                    f"INSERT OR IGNORE INTO answers (source, n, {_COLUMNS}) "  # noqa: S608
                    "VALUES (?,?,?,?,?,?,?,?,?,?,?,?)",
                    [(path.name, *row) for row in rows],
                )
                put_rows(store, batches)
                store.execute("COMMIT")
        for suffix in ("", "-wal", "-shm", "-journal"):
            Path(f"{path}{suffix}").unlink(missing_ok=True)

    @contextlib.contextmanager
    def _folder_lock(self) -> Iterator[None]:
        """One process at a time creates or merges files here."""
        with (self.folder / "lock").open("a+b") as handle:
            _lock_file(handle)
            yield


def _collect(
    connection: sqlite3.Connection,
    keys: Sequence[bytes],
    run: str | None,
    found: dict[bytes, list[Entry]],
) -> None:
    for start in range(0, len(keys), _KEYS_A_QUERY):
        part = keys[start : start + _KEYS_A_QUERY]
        marks = ",".join("?" * len(part))
        rows = connection.execute(
            f"SELECT {_COLUMNS} FROM answers WHERE readable = 1 AND key IN ({marks})",  # noqa: S608
            part,
        )
        for row in rows:
            if run is None or row[2] == run:
                found.setdefault(row[0], []).append(Entry._of_row(row))


def _valid(entries: list[Entry]) -> list[Entry]:
    """The entries since the question was last asked anew, oldest first."""
    entries.sort(key=lambda entry: entry.at)
    begins = [index for index, entry in enumerate(entries) if entry.begins]
    return entries[begins[-1] :] if begins else entries


def _rows_of_ended(path: Path) -> tuple[list[Any], list[Any]] | None:
    """All answers and batches of a file whose process ended; None while it lives.

    Raises `JournalError` where it can't be read: passing over it would buy its answers again.
    """
    ended = sqlite3.connect(path, timeout=0, isolation_level=None)
    with contextlib.closing(ended), _damage(path):
        try:
            ended.execute("PRAGMA locking_mode=EXCLUSIVE")
            ended.execute("BEGIN EXCLUSIVE")
            _check_version(ended, path)
            rows = ended.execute(f"SELECT n, {_COLUMNS} FROM answers").fetchall()  # noqa: S608
            batches = batch_rows(ended)
            ended.execute("COMMIT")
            return rows, batches
        except sqlite3.OperationalError as error:
            if "no such table" in str(error):
                return [], []
            if "locked" in str(error):
                return None
            raise


def _check_version(connection: sqlite3.Connection, path: Path) -> None:
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if version > VERSION:
        raise JournalError(
            f"the journal {path} has version {version}, newer than {VERSION}, "
            "which this ondine_nb reads. Upgrade ondine_nb, or set ONDINE_HOME elsewhere"
        )


@contextlib.contextmanager
def _damage(path: Path) -> Iterator[None]:
    """Says which file it is that can't be read, and what to do about it."""
    try:
        yield
    except sqlite3.Error as error:
        if type(error) is not sqlite3.DatabaseError:
            raise  # locked, full, not writable: not the file's fault
        raise JournalError(
            f"the journal {path} is damaged ({error}). Move it away to go on without its answers"
        ) from error


if os.name == "nt":
    import msvcrt

    def _lock_file(handle: Any) -> None:
        """Wait for the lock; it goes with the handle."""
        handle.seek(0)
        with contextlib.suppress(OSError):
            msvcrt.locking(handle.fileno(), msvcrt.LK_LOCK, 1)  # type: ignore[attr-defined]

else:
    import fcntl

    def _lock_file(handle: Any) -> None:
        """Wait a bounded time for the lock; it goes with the handle.

        A file system without locks (some network mounts) goes on without one.
        """
        deadline = time.monotonic() + _LOCK_WAIT_SECONDS
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise JournalError(
                        f"another process holds the journal's lock {handle.name}; "
                        "wait for it, or set ONDINE_HOME to another folder"
                    ) from None
                time.sleep(0.02)
            except OSError:
                return
