"""The files of a journal folder: this process's own, those of ended ones, and the store.

sqlite before 3.51.3 can corrupt a WAL that two connections write; here no file ever has two.
"""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
import sqlite3
import time
import zlib
from collections.abc import Callable, Generator, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

from ..errors import JournalError
from .batches import BATCHES, BatchRecord, batch_rows, known_ids, open_batches, put_batch
from .entries import COLUMNS, TABLE, Bill, Entry
from .store import VERSION, Store, check_version, damage, keep_for_good

__all__ = ["Files"]

logger = logging.getLogger("ondine_nb")
_LOCK_WAIT_SECONDS = 10.0
_KEYS_A_QUERY = 500
_LATEST = 50_000  # a table has no index by run: further back nobody looks for experience
_BILLS_AT_ONCE = 20_000  # the writer thread has other work to do between


class Files:
    """The files of a journal folder; every method runs on the writer thread."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.path: Path = folder / f"live-{os.getpid()}-{secrets.token_hex(4)}.db"
        self.store_path: Path = folder / "answers.db"
        self._store = Store(self.store_path)
        self._live: sqlite3.Connection | None = None
        self._next = 1

    def open(self) -> None:
        """Create this process's own file, under the folder's lock: a merge must not take it.

        Anew where somebody has deleted it: what came into the lost file would last no longer.
        """
        if self._live is not None:
            if self.path.exists():
                return
            logger.warning("%s was deleted: the journal begins anew", self.path)
            self.close()
        self.folder.mkdir(parents=True, exist_ok=True)
        ignore = self.folder / ".gitignore"
        if not ignore.exists():
            ignore.write_text("*\n")
        with self._folder_lock():
            live = sqlite3.connect(self.path, isolation_level=None, check_same_thread=False)
            live.execute("PRAGMA locking_mode=EXCLUSIVE")
            live.execute("PRAGMA journal_mode=WAL")
            live.execute("PRAGMA synchronous=FULL")
            live.executescript(TABLE + BATCHES)
            live.execute(f"PRAGMA user_version={VERSION}")
        self._live = live

    @property
    def live(self) -> sqlite3.Connection:
        """The connection to this process's file, which is open."""
        assert self._live is not None
        return self._live

    def begin(self) -> None:
        """Begin a transaction on this process's file."""
        self.live.execute("BEGIN IMMEDIATE")

    def commit(self) -> None:
        """End the transaction; what it wrote is durable once this returns."""
        self.live.execute("COMMIT")

    def rollback(self) -> None:
        """Undo what a failed transaction wrote, if one is open. Never raises."""
        if self._live is not None and self._live.in_transaction:
            with contextlib.suppress(sqlite3.Error):
                self._live.execute("ROLLBACK")

    def close(self) -> None:
        """Close this process's file and the store, where they are open. Never raises."""
        self._store.close()
        if self._live is not None:
            with contextlib.suppress(sqlite3.Error):
                self._live.close()
            self._live = None

    def abandon(self) -> None:
        """In a forked child: the files are the parent's, not even to be closed here.

        Closing one would move its WAL away under the parent.
        """
        keep_for_good(self._live)
        self._store.abandon()

    def insert(self, entry: Entry) -> None:
        """Write an entry within the transaction."""
        self.live.execute(
            f"INSERT INTO answers (n, {COLUMNS}) VALUES (?,?,?,?,?,?,?,?,?,?,?)",  # noqa: S608
            (self._next, *entry.as_row()),
        )
        self._next += 1

    def put_batch(self, record: BatchRecord) -> None:
        """Write a batch's record, or what is new in it, within the transaction."""
        put_batch(self.live, record)

    def open_batches(self, provider: str) -> list[BatchRecord]:
        """The batches of `provider` that haven't ended, as far as any file knows."""
        with self._reading(True) as connections:
            return open_batches(connections, provider)

    def batch_ids(self) -> set[str]:
        """The provider's ids of all batches that any file knows."""
        with self._reading(True) as connections:
            return known_ids(connections)

    def find(
        self, keys: Sequence[bytes], run: str | None, earlier: bool
    ) -> dict[bytes, list[Entry]]:
        """The readable entries under each of `keys`, of all runs or of `run` alone.

        With `earlier`, those of earlier processes too.
        """
        found: dict[bytes, list[Entry]] = {}
        with self._reading(earlier) as connections:
            for connection in connections:
                _collect(connection, keys, run, found)
        for key, entries in found.items():
            if len(entries) > 1:
                found[key] = _valid(entries)
        return found

    def visit(self, run: str, see: Callable[[Entry], None]) -> None:
        """Call `see` with each entry of `run`, whichever file it is in."""
        with self._reading(True) as connections:
            for connection in connections:
                query = f"SELECT {COLUMNS} FROM answers WHERE run = ?"  # noqa: S608
                for row in connection.execute(query, (run,)):
                    see(*Entry.of_rows([row]))

    def latest(self, runs: Sequence[str], most: int) -> list[Entry]:
        """The newest answers of these runs, `most` at most, among those that came in last."""
        found: list[Entry] = []
        marks = ",".join("?" * len(runs))
        with self._reading(True) as connections:
            for connection in reversed(connections):  # this process's own are the newest
                query = (
                    f"SELECT {COLUMNS} FROM answers WHERE run IN ({marks}) AND rowid > "  # noqa: S608
                    f"(SELECT COALESCE(MAX(rowid), 0) - {_LATEST} FROM answers) "
                    "ORDER BY rowid DESC LIMIT ?"
                )
                rows = connection.execute(query, (*runs, most - len(found)))
                found.extend(Entry.of_rows(rows))
        return found

    def bills(self, live: bool, after: int) -> list[Bill]:
        """The next answers behind row `after` of this process's own file, or of the store."""
        with self._reading(not live) as connections:
            if not live and len(connections) < 2:
                return []
            query = "SELECT rowid, run, model, at, cost FROM answers WHERE rowid > ? "
            rows = connections[-1 if live else 0].execute(
                f"{query} ORDER BY rowid LIMIT {_BILLS_AT_ONCE}", (after,)
            )
            return [Bill(*row) for row in rows]

    @contextlib.contextmanager
    def _reading(self, earlier: bool) -> Iterator[list[sqlite3.Connection]]:
        """The store, with `earlier` and where there is one, and this process's own file."""
        try:
            with self._store.reading() if earlier else contextlib.nullcontext() as store:
                yield [each for each in (store, self._live) if each is not None]
        except (sqlite3.DatabaseError, zlib.error, TypeError, ValueError) as error:
            raise JournalError(
                f"the journal {self.store_path} can't be read ({error}). "
                "Move it away to start without it, or run with --fresh"
            ) from error

    def merge_ended(self) -> None:
        """Move the answers of ended processes into the store; files in use are left alone."""
        others = [path for path in self.folder.glob("live-*.db") if path != self.path]
        if not others:
            return
        with self._folder_lock():
            for path in others:
                self._merge(path)

    def _merge(self, path: Path) -> None:
        with _ended(path) as ended:
            if ended is None:
                return
            batches = batch_rows(ended)
            with contextlib.closing(_answers_of(ended, path)) as rows:
                if (first := next(rows, None)) is not None or batches:
                    self._store.put(path.name, chain([first] if first else [], rows), batches)
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
    own = " AND run = ?" if run is not None else ""
    for start in range(0, len(keys), _KEYS_A_QUERY):
        part = keys[start : start + _KEYS_A_QUERY]
        marks = ",".join("?" * len(part))
        rows = connection.execute(
            f"SELECT {COLUMNS} FROM answers WHERE readable = 1 AND key IN ({marks}){own}",  # noqa: S608
            part if run is None else [*part, run],
        )
        for entry in Entry.of_rows(rows.fetchall()):
            found.setdefault(entry.key, []).append(entry)


def _valid(entries: list[Entry]) -> list[Entry]:
    """The entries since the question was last asked anew, oldest first."""
    entries.sort(key=lambda entry: entry.at)
    begins = [index for index, entry in enumerate(entries) if entry.begins]
    return entries[begins[-1] :] if begins else entries


@contextlib.contextmanager
def _ended(path: Path) -> Iterator[sqlite3.Connection | None]:
    """The file of a process that ended, held alone; None while it lives.

    Raises `JournalError` where it can't be read: passing over it would buy its answers again.
    """
    ended = sqlite3.connect(path, timeout=0, isolation_level=None)
    with contextlib.closing(ended), damage(path):
        try:
            ended.execute("PRAGMA locking_mode=EXCLUSIVE")
            ended.execute("BEGIN EXCLUSIVE")
            check_version(ended, path)
        except sqlite3.OperationalError as error:
            if "locked" not in str(error):
                raise
            yield None
            return
        yield ended


def _answers_of(ended: sqlite3.Connection, path: Path) -> Generator[tuple[Any, ...]]:
    with damage(path):
        try:
            yield from ended.execute(f"SELECT n, {COLUMNS} FROM answers")  # noqa: S608
        except sqlite3.OperationalError as error:
            if "no such table" not in str(error):
                raise


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
