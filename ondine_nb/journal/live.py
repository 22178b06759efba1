"""This process's own journal file: one sqlite connection (WAL), and a lock beside it that it lives.

The lock's file has a note of how much was acknowledged: a file that was damaged after a kill has
less than that, and nothing in it could say so.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import sqlite3
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .batches import BATCHES, BatchRecord, batch_steps, put_batch, put_rows
from .entries import COLUMNS, TABLE, Entry
from .locks import FileLock, file_identity
from .store import VERSION, keep_for_good

__all__ = ["Acknowledged", "LiveFile", "lock_of", "log_of"]

_INSERT = f"INSERT INTO answers (n, {COLUMNS}) VALUES (?,?,?,?,?,?,?,?,?,?,?,?)"  # noqa: S608
_NOTE = re.compile(rb"(\d+) answers, (\d+) steps of batches, ([0-9a-f]{8})\n")


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """How many answers, and steps of batches, were told to be on the disk."""

    answers: int = 0
    steps: int = 0

    def note(self) -> bytes:
        """As text; a longer one never gets shorter."""
        text = b"%019d answers, %019d steps of batches, " % (self.answers, self.steps)
        return text + b"%08x\n" % zlib.crc32(text)

    @classmethod
    def read(cls, note: bytes) -> Acknowledged | None:
        """What a note says; None where it is none, or not as it was written."""
        found = _NOTE.fullmatch(note)
        if found is None or int(found[3], 16) != zlib.crc32(note[:-9]):
            return None
        return cls(int(found[1]), int(found[2]))


def lock_of(path: Path) -> Path:
    """The lock beside a process's file."""
    return path.with_suffix(".lock")


def log_of(path: Path) -> Path:
    """The write-ahead log beside a process's file."""
    return Path(f"{path}-wal")


class LiveFile:
    """A new file in `folder`, whose lock the caller holds: a merge must not take it half made."""

    def __init__(self, folder: Path) -> None:
        self.path: Path = folder / f"live-{os.getpid()}-{secrets.token_hex(4)}.db"
        lock = FileLock.take(lock_of(self.path))
        assert lock is not None, "nobody else can know the name"
        self._lock = lock
        live = sqlite3.connect(self.path, isolation_level=None, check_same_thread=False)
        live.execute("PRAGMA locking_mode=EXCLUSIVE")
        live.execute("PRAGMA journal_mode=WAL")
        live.execute("PRAGMA synchronous=FULL")
        live.executescript(TABLE + BATCHES)
        live.execute(f"PRAGMA user_version={VERSION}")
        self.connection = live
        self._folder = folder, file_identity(folder)
        files = (self.path, log_of(self.path), self._lock.path)
        self._files = [(str(each), file_identity(each)) for each in files]
        self._answers = self._steps = 0
        self._told = (0, 0)
        self._lock.write(Acknowledged().note())

    @property
    def in_place(self) -> bool:
        """Whether its files are where they were made: else nobody can find what is in them."""
        return all(file_identity(path) == made for path, made in self._files)

    @property
    def answers_in_place(self) -> bool:
        """Whether the answers are where they were made; `in_place` says so of all its files."""
        path, made = self._files[0]
        return file_identity(path) == made

    @property
    def folder_in_place(self) -> bool:
        """Whether the folder is the one in which it was made, and neither deleted nor moved."""
        path, made = self._folder
        return file_identity(path) == made

    def begin(self) -> None:
        """Begin a transaction."""
        self.connection.execute("BEGIN IMMEDIATE")

    def commit(self) -> None:
        """End the transaction; what it wrote is durable, and noted, once this returns."""
        self.connection.execute("COMMIT")
        written = self._answers, self._steps
        if written != self._told:
            self._lock.write(Acknowledged(*written).note())
            self._told = written

    def rollback(self) -> None:
        """Undo what a failed transaction wrote, if one is open. Never raises."""
        if self.connection.in_transaction:
            with contextlib.suppress(sqlite3.Error):
                self.connection.execute("ROLLBACK")
        self._answers, self._steps = self._told

    def insert(self, entry: Entry, sequence: int) -> None:
        """Write an entry within the transaction."""
        self.connection.execute(_INSERT, entry.as_row(sequence))
        self._answers += 1

    def put_batch(self, record: BatchRecord) -> None:
        """Write a batch's record, or what is new in it, within the transaction."""
        put_batch(self.connection, record)
        self._count_steps()

    def put_back(self, rows: Iterable[tuple[Any, ...]], batches: list[Any]) -> int:
        """Write rows of a source's name, a sequence number and `COLUMNS`. Gives their number."""
        before = self.connection.total_changes
        self.connection.executemany(
            f"INSERT INTO answers (source, n, {COLUMNS}) "  # noqa: S608
            "VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?)",
            rows,
        )
        added = self.connection.total_changes - before
        self._answers += added
        put_rows(self.connection, batches)
        self._count_steps()
        return added

    def _count_steps(self) -> None:
        self._steps = batch_steps(self.connection)

    def close(self) -> None:
        """Let go of the files: what is in them is for the next process. Never raises."""
        with contextlib.suppress(sqlite3.Error):
            self.connection.close()
        self._lock.release()

    def leave(self) -> None:
        """Go away from files that aren't in place any more, and touch nothing that is there now.

        sqlite deletes a log by its name when it closes: it may be somebody else's by now.
        """
        keep_for_good(self.connection)
        made = dict(self._files)[str(self._lock.path)]
        self._lock.release(delete=file_identity(self._lock.path) == made)

    def abandon(self) -> None:
        """In a forked child: the files are the parent's, not even to be closed here.

        Closing one would move its WAL away under the parent.
        """
        keep_for_good(self.connection)
        self._lock.abandon()
