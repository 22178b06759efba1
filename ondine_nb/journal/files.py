"""The files of a journal folder: this process's own, those of ended ones, and the store.

sqlite before 3.51.3 can corrupt a WAL that two connections write; here no file ever has two.
"""

from __future__ import annotations

import contextlib
import logging
import re
import sqlite3
import struct
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, TypeVar

from ..errors import JournalError
from .batches import BatchRecord, batch_rows, known_ids, open_batches
from .ended import ended, forget_lock
from .entries import BILLED, COLUMNS, EPOCH, Bill, Entry
from .live import LiveFile
from .locks import FileLock
from .salvage import DamageError, Salvage
from .store import Store

__all__ = ["Files", "make_folder"]

T = TypeVar("T")

logger = logging.getLogger("ondine_nb")
_LOCK_WAIT_SECONDS = 10.0
_KEYS_A_QUERY = 500
_LATEST = 50_000  # a table has no index by run: further back nobody looks for experience
_BILLS_AT_ONCE = 20_000  # the writer thread has other work to do between
_UNREADABLE = (sqlite3.DatabaseError, zlib.error, struct.error, TypeError, ValueError)
_NOTE = re.compile(rb"epoch (\d+), store (\d+) bytes (\d+) ns (\d+) answers, ([0-9a-f]{8})\n")


@dataclass(frozen=True, slots=True)
class _FolderNote:
    """What the folder's lock file says: the last epoch, and the store as we left it.

    A run that starts later has a higher epoch, whatever the clock says. A store that isn't as it
    was left may be damaged, and is read as a whole once.
    """

    epoch: int = 0
    stamp: tuple[int, int] = (0, 0)
    answers: int = 0

    def text(self) -> bytes:
        size, changed = self.stamp
        values = (self.epoch, size, changed, self.answers)
        text = b"epoch %010d, store %019d bytes %019d ns %019d answers, " % values
        return text + b"%08x\n" % zlib.crc32(text)

    @classmethod
    def read(cls, text: bytes) -> _FolderNote | None:
        """None where there is none, or it isn't as it was written."""
        found = _NOTE.fullmatch(text)
        if found is None or int(found[5], 16) != zlib.crc32(text[:-9]):
            return None
        return cls(int(found[1]), (int(found[2]), int(found[3])), int(found[4]))


class Files:
    """The files of a journal folder; every method runs on the writer thread."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.store_path: Path = folder / "answers.db"
        self._store = Store(self.store_path)
        self._verified: tuple[int, int] | None = None  # the store as it was when it was all right
        self._own: LiveFile | None = None
        self._names: list[str] = []  # of this process's own files, of which all but one are lost
        self._taken = False  # whether any of its own answers are in the store
        self._next = 1
        self._lock: FileLock | None = None

    def open(self) -> None:
        """Create this process's own file, under the folder's lock: a merge must not take it.

        Anew where somebody has deleted the folder: that is how answers are forgotten.
        """
        if self._own is not None:
            if self._own.answers_in_place:  # `commit` looks at all its files
                return
            if self._own.folder_in_place:
                self._go_on()
                return
            logger.warning("%s was deleted: the journal begins anew", self._own.path)
            self._own.leave()
            self._own = None
        make_folder(self.folder)
        with self._folder_lock():
            self._begin_epoch()
            self._create()

    def _create(self) -> LiveFile:
        own = LiveFile(self.folder)
        self._own = own
        self._names.append(own.path.name)
        return own

    def _go_on(self) -> None:
        """In a new file, with all that was acknowledged in the one that isn't in place any more.

        Another process may have taken some of it into the store.
        """
        lost = self.own
        self.folder.mkdir(parents=True, exist_ok=True)
        with self._folder_lock():
            taken = self._own_in_store()
            self._taken = self._taken or bool(taken)
            new = LiveFile(self.folder)
            new.begin()
            query = f"SELECT source, n, {COLUMNS} FROM answers"  # noqa: S608
            rows = (
                (source or lost.path.name, *row)
                for source, *row in lost.connection.execute(query)
                if (source or lost.path.name, row[0]) not in taken
            )
            count = new.put_back(rows, batch_rows(lost.connection))
            new.commit()
        logger.warning(
            "%s was deleted or replaced while it was in use: its answers are in %s again (%s)",
            lost.path, new.path.name, f"{count:,}",
        )  # fmt: skip
        self._names.append(new.path.name)
        self._own = new
        lost.leave()

    def _own_in_store(self) -> set[tuple[str, int]]:
        marks = ",".join("?" * len(self._names))
        query = f"SELECT source, n FROM answers WHERE source IN ({marks})"  # noqa: S608
        try:
            with self._store.reading() as store:
                return set() if store is None else set(store.execute(query, self._names))
        except (sqlite3.Error, JournalError):  # put back twice is taken over once
            return set()

    @property
    def own(self) -> LiveFile:
        """This process's file, which is open."""
        assert self._own is not None
        return self._own

    @property
    def live(self) -> sqlite3.Connection:
        """The connection to this process's file, which is open."""
        return self.own.connection

    def begin(self) -> None:
        """Begin a transaction on this process's file."""
        self.own.begin()

    def commit(self) -> None:
        """End the transaction; what it wrote is durable, and can be found, once this returns."""
        self.own.commit()
        while not self.own.in_place:
            self._go_on()

    def rollback(self) -> None:
        """Undo what a failed transaction wrote, if one is open. Never raises."""
        if self._own is not None:
            self._own.rollback()

    def close(self) -> None:
        """Close this process's file and the store, where they are open. Never raises."""
        own = self._own
        if own is not None and not own.in_place and own.folder_in_place:
            with contextlib.suppress(sqlite3.Error, OSError, JournalError):
                self._go_on()
        self._store.close()
        if self._own is not None:
            self._own.close() if self._own.in_place else self._own.leave()
            self._own = None

    def abandon(self) -> None:
        """In a forked child: the files are the parent's, not even to be closed here."""
        if self._own is not None:
            self._own.abandon()
        if self._lock is not None:
            self._lock.abandon()
        self._store.abandon()

    def insert(self, entry: Entry) -> None:
        """Write an entry within the transaction."""
        self.own.insert(entry, self._next)
        self._next += 1

    def put_batch(self, record: BatchRecord) -> None:
        """Write a batch's record, or what is new in it, within the transaction."""
        self.own.put_batch(record)

    def open_batches(self, provider: str) -> list[BatchRecord]:
        """The batches of `provider` that haven't ended, as far as any file knows."""
        return self._read(lambda connections: open_batches(connections, provider))

    def batch_ids(self) -> set[str]:
        """The provider's ids of all batches that any file knows."""
        return self._read(known_ids)

    def find(
        self, keys: Sequence[bytes], run: str | None, earlier: bool
    ) -> dict[bytes, list[Entry]]:
        """The readable entries under each of `keys`, of all runs or of `run` alone.

        With `earlier`, those of earlier processes too.
        """

        def read(connections: list[sqlite3.Connection]) -> dict[bytes, list[Entry]]:
            found: dict[bytes, list[Entry]] = {}
            for connection in connections:
                _collect(connection, self._columns(connection), keys, run, found)
            return found

        found = self._read(read, earlier or self._taken)
        for key, entries in found.items():
            if len(entries) > 1:
                found[key] = _valid(entries)
        return found

    def visit(self, run: str, see: Callable[[Entry], None]) -> None:
        """Call `see` once with each entry of `run`, whichever file it is in."""
        seen: set[tuple[str, int]] = set()

        def read(connections: list[sqlite3.Connection]) -> None:
            for connection in connections:
                columns = self._columns(connection)
                query = f"SELECT source, n, {columns} FROM answers WHERE run = ?"  # noqa: S608
                for source, *row in connection.execute(query, (run,)):
                    if (source, row[0]) not in seen:
                        see(*Entry.of_rows([row]))
                        seen.add((source, row[0]))

        self._read(read)

    def latest(self, runs: Sequence[str], most: int) -> list[Entry]:
        """The newest answers of these runs, `most` at most, among those that came in last."""
        marks = ",".join("?" * len(runs))

        def read(connections: list[sqlite3.Connection]) -> list[Entry]:
            found: list[Entry] = []
            for connection in reversed(connections):  # this process's own are the newest
                columns = self._columns(connection)
                query = (
                    f"SELECT n, {columns} FROM answers WHERE run IN ({marks}) AND rowid > "  # noqa: S608
                    f"(SELECT COALESCE(MAX(rowid), 0) - {_LATEST} FROM answers) "
                    "ORDER BY rowid DESC LIMIT ?"
                )
                rows = connection.execute(query, (*runs, most - len(found)))
                found.extend(Entry.of_rows(rows))
            return found

        return self._read(read)

    def bills(self, live: bool, after: int) -> list[Bill]:
        """The next answers behind row `after` of this process's own file, or of the store."""

        def read(connections: list[sqlite3.Connection]) -> list[Bill]:
            if not live and len(connections) < 2:
                return []
            connection = connections[-1 if live else 0]
            wanted = BILLED
            if self._columns(connection) != COLUMNS:
                wanted = BILLED.replace("checked", "NULL")
            query = f"SELECT rowid, {wanted} FROM answers WHERE rowid > ? ORDER BY rowid"  # noqa: S608
            rows = connection.execute(f"{query} LIMIT {_BILLS_AT_ONCE}", (after,))
            return Bill.of_rows(rows)

        return self._read(read, not live)

    def _columns(self, connection: sqlite3.Connection) -> str:
        return COLUMNS if connection is self.live else self._store.columns

    def _read(self, work: Callable[[list[sqlite3.Connection]], T], earlier: bool = True) -> T:
        """What `work` makes of the store, with `earlier`, and of this process's own file.

        Once more where the store turns out to be damaged, with what of it could be rescued. Raises
        `JournalError`.
        """
        if earlier:
            self._verify_store()
        try:
            with self._reading(earlier) as connections:
                return work(connections)
        except _UNREADABLE as error:
            if not earlier or isinstance(error, sqlite3.OperationalError):
                raise self._unreadable(error) from error
        self._verify_store(doubted=True)
        try:
            with self._reading(earlier) as connections:
                return work(connections)
        except _UNREADABLE as error:
            raise self._unreadable(error) from error

    def _unreadable(self, error: Exception) -> JournalError:
        return JournalError(
            f"the journal {self.store_path} can't be read ({error}). "
            "Move it away to start without it, or run with --fresh"
        )

    @contextlib.contextmanager
    def _reading(self, earlier: bool) -> Iterator[list[sqlite3.Connection]]:
        """The store, with `earlier` and where there is one, and this process's own file."""
        with self._store.reading() if earlier else contextlib.nullcontext() as store:
            yield [each for each in (store, self.live) if each is not None]

    def _verify_store(self, *, doubted: bool = False) -> None:
        """Read all of the store where it isn't as one of us has left it, or is `doubted`.

        A damaged one is kept aside, and what of it can be read takes its place; answers that are
        gone are told. Raises `DamageError` where none can be read: who has paid for them decides.
        """
        seen = self._store.stamp()
        if seen is None or (seen == self._verified and not doubted):
            return
        with self._folder_lock() as lock:
            note = _FolderNote.read(lock.read()) or _FolderNote(self._next // EPOCH)
            if doubted or note.stamp != self._store.stamp():
                self._sign(note.epoch, self._checked_store(note.answers), lock)
            self._verified = self._store.stamp()

    def _checked_store(self, noted: int) -> int:
        """How many answers it has, of those `noted`, once it is as it was written."""
        try:
            answers = self._store.verify()
        except DamageError as error:
            read, aside = self._store.rescue()
            logger.warning(
                "the journal %s was damaged (%s): %s; the damaged file is kept as %s",
                self.store_path, error.how, _told(read, noted), aside.name,
            )  # fmt: skip
            return read.found
        if answers < noted:
            logger.warning(
                "the journal %s has %s of its %s answers: the others are lost, and will "
                "be paid again",
                self.store_path, f"{answers:,}", f"{noted:,}",
            )  # fmt: skip
        return answers

    def _sign(self, epoch: int, answers: int, lock: FileLock) -> None:
        """Note how the store is now, which is all right."""
        stamp = self._store.stamp() or (0, 0)
        lock.write(_FolderNote(max(epoch, self._next // EPOCH), stamp, answers).text())

    def _begin_epoch(self) -> None:
        """What is written from now on is later than all that was written before, by anybody."""
        assert self._lock is not None
        note = _FolderNote.read(self._lock.read())
        if note is None:
            note = _FolderNote(self._store.epoch())
        epoch = max(note.epoch, self._next // EPOCH) + 1
        self._next = epoch * EPOCH
        self._lock.write(_FolderNote(epoch, note.stamp, note.answers).text())

    def merge_ended(self) -> int:
        """Move the answers of ended processes into the store; files in use are left alone.

        Gives the sequence number from which on is what is written from now on.
        """
        with self._folder_lock():
            self._begin_epoch()
            own = self.own.path
            for path in sorted(self.folder.glob("live-*.db")):
                if path != own:
                    self._merge(path)
            for path in self.folder.glob("live-*.lock"):
                if not path.with_suffix(".db").exists():
                    forget_lock(path)
        return self._next

    def _merge(self, path: Path) -> None:
        with ended(path) as file:
            if file is None:
                return
            batches = file.salvage.batches()
            with contextlib.closing(file.salvage.answers()) as rows:
                if (first := next(rows, None)) is not None or batches:
                    self._put(chain([first] if first else [], rows), batches, file.salvage)
            file.finish()

    def _put(self, rows: Iterator[tuple[Any, ...]], batches: list[Any], file: Salvage) -> None:
        assert self._lock is not None
        self._verify_store()
        there = self._store.stamp() is not None
        added = self._store.put(rows, batches, lambda: max(self._next, file.newest) // EPOCH)
        self._next = max(self._next, (file.newest // EPOCH + 1) * EPOCH)
        note = _FolderNote.read(self._lock.read()) or _FolderNote()
        self._sign(note.epoch, added + (note.answers if there else 0), self._lock)
        self._verified = self._store.stamp()

    @contextlib.contextmanager
    def _folder_lock(self) -> Iterator[FileLock]:
        """One process at a time creates or merges files here. Within it: nothing."""
        if self._lock is not None:
            yield self._lock
            return
        self._lock = FileLock.wait(self.folder / "lock", _LOCK_WAIT_SECONDS)
        try:
            yield self._lock
        finally:
            self._lock.release()
            self._lock = None


def make_folder(folder: Path) -> None:
    """Make a journal's folder, which version control leaves alone: it holds the user's texts."""
    folder.mkdir(parents=True, exist_ok=True)
    ignore = folder / ".gitignore"
    if not ignore.exists():
        ignore.write_text("*\n")


def _collect(
    connection: sqlite3.Connection,
    columns: str,
    keys: Sequence[bytes],
    run: str | None,
    found: dict[bytes, list[Entry]],
) -> None:
    own = " AND run = ?" if run is not None else ""
    for start in range(0, len(keys), _KEYS_A_QUERY):
        part = keys[start : start + _KEYS_A_QUERY]
        marks = ",".join("?" * len(part))
        rows = connection.execute(
            f"SELECT n, {columns} FROM answers "  # noqa: S608
            f"WHERE readable = 1 AND key IN ({marks}){own}",
            part if run is None else [*part, run],
        )
        for entry in Entry.of_rows(rows.fetchall()):
            found.setdefault(entry.key, []).append(entry)


def _told(read: Salvage, noted: int) -> str:
    """What became of a damaged store's answers, of which so many were `noted`."""
    lost = max(noted - read.found, read.changed)
    said = f"{read.found:,} answers could be read and stay"
    if lost:
        said += f", {lost:,} are lost and will be paid again"
    elif not noted:
        said += ", others may be lost"
    return said + (", what it knew of batches is gone" if read.batches_lost else "")


def _valid(entries: list[Entry]) -> list[Entry]:
    """The entries since the question was last asked anew, in the order they were written."""
    entries.sort(key=_order)
    begins = [index for index, entry in enumerate(entries) if entry.begins]
    return entries[begins[-1] :] if begins else entries


def _order(entry: Entry) -> tuple[int, float]:
    """Version 0.1 numbered each file from 1: only time can tell its answers' order."""
    return entry.sequence if entry.sequence >= EPOCH else 0, entry.at
