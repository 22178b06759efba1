"""The store of a journal folder: the answers of processes that ended, in one file.

It is kept open, which spares each lookup half of its time, but locked only while it is read or
filled: other processes fill it too.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

from ..errors import JournalError
from .batches import BATCHES, add_columns, batch_intact, batch_rows, put_rows
from .entries import COLUMNS, EPOCH, TABLE, columns_of, intact
from .salvage import DamageError, Salvage, keep_aside, text_of

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
        self.columns: str = COLUMNS  # as the file that is read can give them

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
        if not _made(kept):
            return None  # who was to fill it is about to, or was killed before
        if self.columns is not COLUMNS:
            self.columns = columns_of(kept)  # once more: the next to fill it adds what is missing
        return kept

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
            self.columns = ""
        return self._kept

    def _connection(self) -> sqlite3.Connection:
        # Closed on the writer thread, or by whoever lets go of a journal that nobody has closed.
        return sqlite3.connect(
            self.path, timeout=_WAIT_SECONDS, isolation_level=None, check_same_thread=False
        )

    def put(
        self,
        rows: Iterable[tuple[Any, ...]],
        batches: Sequence[Any],
        epoch: Callable[[], int] = lambda: 0,
    ) -> int:
        """Add rows of a source's name, a sequence number and `COLUMNS`, all of them or none.

        Only a few are in memory. `epoch`, asked at the end, gives the newest one that they are of.
        Gives how many answers are new.
        """
        with contextlib.closing(self._connection()) as store, damage(self.path):
            check_version(store, self.path)
            store.execute("PRAGMA synchronous=FULL")
            store.executescript(TABLE + BATCHES)
            if columns_of(store) != COLUMNS:
                store.execute("ALTER TABLE answers ADD COLUMN checked INTEGER")
            add_columns(store)
            store.execute("BEGIN IMMEDIATE")
            store.execute(f"PRAGMA user_version={VERSION}")
            before = store.total_changes
            store.executemany(
                f"INSERT OR IGNORE INTO answers (source, n, {COLUMNS}) "  # noqa: S608
                "VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?)",
                rows,
            )
            added = store.total_changes - before
            put_rows(store, batches)
            store.execute(f"PRAGMA application_id={epoch()}")
            store.execute("COMMIT")
        return added

    def epoch(self) -> int:
        """The newest epoch that anything in it may be of; 0 where that can't be found out."""
        with contextlib.suppress(sqlite3.Error, JournalError), self.reading() as store:
            if store is not None:
                return int(store.execute("PRAGMA application_id").fetchone()[0])
        return 0

    def stamp(self) -> tuple[int, int] | None:
        """Bytes and POSIX nanoseconds of the file as it is now; None where there is none."""
        try:
            found = os.stat(self.path)
        except FileNotFoundError:
            return None
        return found.st_size, found.st_mtime_ns

    def verify(self) -> int:
        """Read all of it, and give how many answers it has.

        Raises `DamageError` where anything isn't as it was written.
        """
        with contextlib.closing(self._connection()) as store, damage(self.path):
            store.text_factory = bytes  # a text may be none any more
            check_version(store, self.path)
            problem = store.execute("PRAGMA integrity_check(1)").fetchone()[0]
            if problem != b"ok":
                raise DamageError(self.path, problem.decode("utf-8", "replace"))
            store.text_factory = text_of
            if not _made(store):
                return 0
            query = f"SELECT n, {columns_of(store)} FROM answers"  # noqa: S608
            answers = changed = 0
            for row in store.execute(query):
                answers += 1
                changed += not intact(row)
            if changed:
                raise DamageError(self.path, f"{changed:,} answers aren't as they were written")
            if not all(map(batch_intact, batch_rows(store))):
                raise DamageError(self.path, "a batch's record isn't as it was written")
            return answers

    def rescue(self) -> tuple[Salvage, Path]:
        """Put all that can be read of a damaged file in its place, and keep that file aside.

        Gives what could be read, and the name it is kept under. Raises `DamageError`, and changes
        nothing, where not a single answer can be read. Only who holds the folder's lock may do it.
        """
        self.close()
        rescued = Store(self.path.with_name(f"{self.path.name}.rescued"))
        _delete(rescued.path)  # of a rescue that was killed
        with contextlib.closing(self._connection()) as old, damage(self.path):
            check_version(old, self.path)
            salvage = Salvage(old, self.path.name)
            batches, rows = salvage.batches(), salvage.answers()
            first = [row for row in (next(rows, None),) if row is not None]
            if salvage.changed and not first:
                raise DamageError(self.path, "none of its answers is as it was written")
            rescued.put(chain(first, rows), batches, lambda: salvage.newest // EPOCH)
        aside = keep_aside(self.path)
        with contextlib.suppress(FileNotFoundError):  # sqlite would apply it to the new one
            _journal_of(self.path).replace(_journal_of(aside))
        rescued.path.replace(self.path)
        return salvage, aside

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


def _journal_of(path: Path) -> Path:
    """Where sqlite keeps what to undo of a transaction that hasn't ended."""
    return Path(f"{path}-journal")


def _delete(path: Path) -> None:
    path.unlink(missing_ok=True)
    _journal_of(path).unlink(missing_ok=True)


def _made(connection: sqlite3.Connection) -> bool:
    made = "SELECT 1 FROM sqlite_master WHERE name = 'answers'"
    return connection.execute(made).fetchone() is not None


@contextlib.contextmanager
def damage(path: Path) -> Iterator[None]:
    """Says which file it is that can't be read, and what to do about it."""
    try:
        yield
    except sqlite3.Error as error:
        if type(error) is not sqlite3.DatabaseError:
            raise  # locked, full, not writable: not the file's fault
        raise DamageError(path, str(error)) from error
