"""A journal whose disk is in memory: what was written outlives a simulated process, if committed.

The journal's own writer, transactions, sequence numbers and queries are the real ones. What is
simulated is the thread (a greenlet that a timer of the loop wakes, so that a commit takes time),
and the files: databases in memory, of which those of ended processes are taken over as the real
ones are.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import json
import queue
import random
import sqlite3
import threading
from collections.abc import Callable, Iterator, Sequence
from contextvars import ContextVar
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, Protocol
from uuid import UUID

import greenlet

from ondine_nb.errors import JournalError
from ondine_nb.journal import Entry, Journal, SingleFlight
from ondine_nb.journal.batches import BATCHES, BatchRecord, batch_rows, put_batch, put_rows
from ondine_nb.journal.entries import COLUMNS, EPOCH, TABLE
from ondine_nb.journal.files import Files
from ondine_nb.journal.journal import _Write
from ondine_nb.orchestration import CheckpointStorage
from ondine_nb.orchestration.state_manager import CheckpointInfo

from .breach import Breach

__all__ = ["ASKER", "Disk", "DiskFaults", "Records", "SimulatedJournal"]


class _Named(Protocol):
    run: str


ASKER: ContextVar[_Named] = ContextVar("ASKER")  # says which run acts

_COPY = f"INSERT OR IGNORE INTO answers (source, n, {COLUMNS}) VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?)"


class DiskFaults:
    """Which transactions fail, by their number from 1: before they are durable, or just after."""

    def __init__(self, before: Sequence[int] = (), after: Sequence[int] = ()) -> None:
        self.before, self.after = frozenset(before), frozenset(after)

    def __repr__(self) -> str:
        return f"before {sorted(self.before)} after {sorted(self.after)}"


class _Database:
    """One file: a database in memory."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.connection = sqlite3.connect(":memory:", isolation_level=None)
        self.connection.executescript(TABLE + BATCHES)

    in_place = True
    folder_in_place = True


class _LiveDatabase(_Database):
    """A process's own file. `ended` once nobody writes it any more."""

    def __init__(self, disk: Disk) -> None:
        super().__init__(f"live-{disk.epoch}.db")
        self.path = Path(self.name)
        self._disk = disk
        self._pending: list[Entry] = []
        self.ended = False

    def begin(self) -> None:
        self.connection.execute("BEGIN")

    def commit(self) -> None:
        self._disk.wait()
        self._disk.transactions += 1
        number, faults = self._disk.transactions, self._disk.faults
        if number in faults.before:
            raise OSError(errno.ENOSPC, "No space left on device")
        self.connection.execute("COMMIT")
        self._disk.committed(self._pending)
        self._pending = []
        if number in faults.after:
            raise sqlite3.OperationalError("disk I/O error")

    def rollback(self) -> None:
        self._pending = []
        if self.connection.in_transaction:
            self.connection.execute("ROLLBACK")

    def insert(self, entry: Entry, sequence: int) -> None:
        marks = ",".join("?" * 12)
        self.connection.execute(
            f"INSERT INTO answers (n, {COLUMNS}) VALUES ({marks})",
            entry.as_row(sequence),
        )
        self._pending.append(entry)

    def put_batch(self, record: BatchRecord) -> None:
        put_batch(self.connection, record)

    def close(self) -> None:
        self.ended = True

    leave = abandon = close


class Disk:
    """What lasts: the store, the files of processes, and beside them what was told of them.

    `wall` is the time of day, which may jump. `valid` are the answers to each question, as the
    journal's rules have it: those since it was last asked anew. `cost_of` is what each run has
    to show: it counts what it writes, which may be answers of another run's batch, and goes on
    from its own, whoever has written these until then.
    """

    def __init__(self, wall: Callable[[], float], draw: random.Random) -> None:
        self.wall, self.draw = wall, draw
        self.faults = DiskFaults()
        self.latency = 0.001
        self.crashed = False
        self.epoch = self.transactions = 0
        self.store = _Database("answers.db")
        self.lives: list[_LiveDatabase] = []
        self.entries: list[Entry] = []
        self.lost_promise: Breach | None = None
        self.answered: dict[bytes, list[Entry]] = {}  # what somebody was told to be durable
        self.valid: dict[bytes, list[bytes]] = {}
        self.records: dict[UUID, str] = {}
        self.cost_of: dict[str, Decimal] = {}
        self.writers: dict[int, str] = {}  # who writes an entry, by its id

    def begin(self, faults: DiskFaults) -> None:
        """A process begins."""
        self.transactions, self.faults, self.crashed = 0, faults, False
        self.cost_of = {}
        for entry in self.entries:
            self._count(entry, entry.run)

    def goes_on(self, run: str) -> None:
        """This run is resumed: what is its own by now is what it has to show."""
        self.cost_of[run] = Decimal(0)
        for entry in self.entries:
            if entry.run == run:
                self._count(entry, run)

    def _count(self, entry: Entry, run: str) -> None:
        self.cost_of[run] = self.cost_of.get(run, Decimal(0)) + Decimal(entry.cost or 0)

    def committed(self, entries: Sequence[Entry]) -> None:
        """These are durable now."""
        for entry in entries:
            self.entries.append(entry)
            self._count(entry, self.writers.pop(id(entry), entry.run))
            if entry.readable:
                known = [] if entry.begins else self.valid.get(entry.key, [])
                self.valid[entry.key] = [*known, entry.body]

    def acknowledge(self, entries: Sequence[Entry]) -> None:
        """Somebody was told that these are durable."""
        durable = set(map(id, self.entries))
        for entry in entries:
            if id(entry) not in durable:
                self.lost_promise = Breach(f"told to be durable, and isn't: {entry}")
            if entry.readable:
                self.answered.setdefault(entry.key, []).append(entry)

    def wait(self) -> None:
        """A commit takes its time: whoever writes sleeps, and the loop goes on meanwhile."""
        writer = greenlet.getcurrent()
        if writer.parent is not None:
            writer.parent.switch()

    def crash(self) -> None:
        """The process that wrote ends without a word: what wasn't committed never was.

        Nothing that its tasks still try, as they are thrown away, gets here any more.
        """
        self.crashed = True
        for live in self.lives:
            if not live.ended:
                live.rollback()
                live.ended = True

    def close(self) -> None:
        """Let go of the memory."""
        for database in (self.store, *self.lives):
            database.connection.close()


class _Files(Files):
    """A process's view of the disk."""

    def __init__(self, disk: Disk) -> None:
        super().__init__(Path("simulated"))
        self._disk = disk

    def open(self) -> None:
        if self._own is None:
            self._begin_epoch()
            live = _LiveDatabase(self._disk)
            self._disk.lives.append(live)
            self._own = live  # type: ignore[assignment]

    def _begin_epoch(self) -> None:
        self._disk.epoch = max(self._disk.epoch, self._next // EPOCH) + 1
        self._next = self._disk.epoch * EPOCH

    def insert(self, entry: Entry) -> None:
        entry.at = self._disk.wall()
        super().insert(entry)

    def merge_ended(self) -> int:
        self._begin_epoch()
        for live in self._disk.lives:
            if live.ended and live is not self._own:
                self._take_over(live)
        self._disk.lives = [live for live in self._disk.lives if not live.ended]
        return self._next

    def _take_over(self, live: _LiveDatabase) -> None:
        store = self._disk.store.connection
        query = f"SELECT n, {COLUMNS} FROM answers"
        store.executemany(_COPY, [(live.name, *row) for row in live.connection.execute(query)])
        put_rows(store, batch_rows(live.connection))
        live.connection.close()

    @contextlib.contextmanager
    def _reading(self, earlier: bool) -> Iterator[list[sqlite3.Connection]]:
        yield [self._disk.store.connection, self.live] if earlier else [self.live]

    def _columns(self, connection: sqlite3.Connection) -> str:
        return COLUMNS


class SimulatedJournal(Journal):
    """A journal of a simulated process: its writer is a timer instead of a thread."""

    def __init__(self, disk: Disk) -> None:
        self.folder = Path("simulated")
        self.closed = False
        self.disk = disk
        self.single_flight = SingleFlight()
        self._asking = threading.Lock()
        self._writes = queue.SimpleQueue()
        self._files = _Files(disk)
        self._due: Any = None  # the loop that has a timer for it
        self._writer: greenlet.greenlet | None = None

    async def extend(self, entries: Sequence[Entry]) -> None:
        self.disk.writers.update((id(entry), ASKER.get().run) for entry in entries)
        await super().extend(entries)
        self.disk.acknowledge(entries)

    async def _ask(self, work: Callable[[Files], Any]) -> Any:
        loop = asyncio.get_running_loop()
        if self.closed:
            raise JournalError("the process is dead, or its journal is closed")
        write = _Write(work, loop, loop.create_future())
        self._writes.put(write)
        if self._due is not loop:
            self._later(0.5)
        return await write.future

    def _later(self, share: float) -> None:
        self._due = asyncio.get_running_loop()
        seconds = self.disk.latency * self.disk.draw.uniform(0.2, 2.0)
        self._due.call_later(seconds * share, self._write)

    def _write(self) -> None:
        """One transaction for whatever is queued, up to its commit; then the commit."""
        self._due = None
        if self.closed:
            return
        if self._writer is None:
            writes = []
            while not self._writes.empty():
                writes.append(self._writes.get())
            self._writer = greenlet.greenlet(self._transact)
            self._writer.switch(writes)
        else:
            self._writer.switch()
        if not self._writer.dead:
            self._later(0.5)
            return
        self._writer = None
        if not self._writes.empty():
            self._later(0.5)

    def close(self) -> None:
        if self._writer is not None and not self.closed:
            self._writer.switch()
        self.closed = True
        self._files.close()


class Records(CheckpointStorage):
    """The records of runs, each replaced as a whole at once."""

    def __init__(self, disk: Disk) -> None:
        self._disk = disk

    def save(self, session_id: UUID, data: dict[str, Any]) -> bool:
        if self._disk.crashed:
            return False
        text = json.dumps({**data, "intermediate_data": {}})
        self._disk.records.pop(session_id, None)
        self._disk.records[session_id] = text
        return True

    def load(self, session_id: UUID) -> dict[str, Any] | None:
        text = self._disk.records.get(session_id)
        return None if text is None else dict(json.loads(text))

    def list_checkpoints(self) -> list[CheckpointInfo]:
        return [CheckpointInfo(each, "", 0, 0, datetime.min, 0)
                for each in reversed(self._disk.records)]  # fmt: skip

    def delete(self, session_id: UUID) -> bool:
        return not self._disk.crashed and self._disk.records.pop(session_id, None) is not None

    def exists(self, session_id: UUID) -> bool:
        return session_id in self._disk.records
