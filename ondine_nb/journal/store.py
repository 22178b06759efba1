"""The store of a journal folder: the answers of processes that ended, in one file.

It is kept open, which spares each lookup half of its time, but locked only while it is read or
filled: other processes fill it too.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from ..errors import JournalError
from .batches import BATCHES, put_rows
from .entries import COLUMNS, TABLE

__all__ = ["VERSION", "Store", "check_version", "damage", "keep_for_good"]

VERSION = 1
_WAIT_SECONDS = 10.0
_CACHE_KIB = 16_384  # what an index of half a million answers takes


class Store:
    """The file at `path`, which may not be there yet; every method runs on the writer thread."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._kept: sqlite3.Connection | None = None
        self._file: tuple[int, int] | None = None  # which file that is: it may have been replaced

    @contextlib.contextmanager
    def reading(self) -> Iterator[sqlite3.Connection | None]:
        """A connection within one read transaction; None where there are no answers yet.

        Raises `JournalError` where a newer version wrote it, `sqlite3.Error` where it can't be
        read: the next reading opens it anew.
        """
        try:
            yield self._begun()
        except BaseException:
            self.close()
            raise
        if self._kept is not None and self._kept.in_transaction:
            self._kept.execute("COMMIT")

    def _begun(self) -> sqlite3.Connection | None:
        kept = self._opened()
        if kept is None:
            return None
        check_version(kept, self.path)
        kept.execute("BEGIN")
        made = kept.execute("SELECT 1 FROM sqlite_master WHERE name = 'answers'").fetchone()
        return kept if made else None  # else who was to fill it is about to, or was killed before

    def _opened(self) -> sqlite3.Connection | None:
        try:
            found = os.stat(self.path)
        except FileNotFoundError:
            self.close()
            return None
        if self._kept is None or self._file != (found.st_dev, found.st_ino):
            self.close()
            self._kept = self._connection()
            self._kept.execute(f"PRAGMA cache_size=-{_CACHE_KIB}")
            self._file = found.st_dev, found.st_ino
        return self._kept

    def _connection(self) -> sqlite3.Connection:
        # Closed on the writer thread, or by whoever lets go of a journal that nobody has closed.
        return sqlite3.connect(
            self.path, timeout=_WAIT_SECONDS, isolation_level=None, check_same_thread=False
        )

    def put(self, source: str, rows: Iterable[tuple[Any, ...]], batches: Sequence[Any]) -> None:
        """Add the rows of the file named `source`, all or none; only a few are in memory."""
        with contextlib.closing(self._connection()) as store, damage(self.path):
            check_version(store, self.path)
            store.execute("PRAGMA synchronous=FULL")
            store.executescript(TABLE + BATCHES)
            store.execute(f"PRAGMA user_version={VERSION}")
            store.execute("BEGIN IMMEDIATE")
            store.executemany(
                f"INSERT OR IGNORE INTO answers (source, n, {COLUMNS}) "  # noqa: S608
                "VALUES (?,?,?,?,?,?,?,?,?,?,?,?)",
                ((source, *row) for row in rows),
            )
            put_rows(store, batches)
            store.execute("COMMIT")

    def close(self) -> None:
        """Let go of the file; what reads it next opens it again. Never raises."""
        kept, self._kept = self._kept, None
        if kept is not None:
            with contextlib.suppress(sqlite3.Error):
                kept.close()

    def abandon(self) -> None:
        """In a forked child: the connection is the parent's, and its locks may be held."""
        keep_for_good(self._kept)


def keep_for_good(connection: sqlite3.Connection | None) -> None:
    """Never close it, not even when nobody refers to it any more: by a reference too many."""
    if connection is not None:
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(connection))


def check_version(connection: sqlite3.Connection, path: Path) -> None:
    """Raises `JournalError` for a file of a newer version than this one reads."""
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if version > VERSION:
        raise JournalError(
            f"the journal {path} has version {version}, newer than {VERSION}, "
            "which this ondine_nb reads. Upgrade ondine_nb, or set ONDINE_HOME elsewhere"
        )


@contextlib.contextmanager
def damage(path: Path) -> Iterator[None]:
    """Says which file it is that can't be read, and what to do about it."""
    try:
        yield
    except sqlite3.Error as error:
        if type(error) is not sqlite3.DatabaseError:
            raise  # locked, full, not writable: not the file's fault
        raise JournalError(
            f"the journal {path} is damaged ({error}). Move it away to go on without its answers"
        ) from error
