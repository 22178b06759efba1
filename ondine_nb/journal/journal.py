"""Paid answers, durable before anything counts them.

Each process writes one sqlite file of its own (WAL, `synchronous=FULL`, locked exclusively), by one
connection in one thread that commits whatever is queued as soon as the last commit has returned.
Files of processes that ended are merged into one store, which is read in short transactions.
sqlite before 3.51.3 can corrupt a WAL that two connections write; here no file ever has two.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import errno
import os
import queue
import sqlite3
import sys
import threading
import weakref
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from ..errors import JournalError
from .batches import BatchRecord
from .entries import Bill, Entry
from .files import Files
from .single_flight import SingleFlight

__all__ = ["Journal", "close_below", "home", "shared", "use"]

_NOT_WRITABLE = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST)

_RESOLVED_AT_ONCE = 8
_NAME = "_ondine_nb_journals"


def _of_process() -> SimpleNamespace:
    """What outlives this module, once a process: the folder, and the open journals.

    A reload, or a purge of `sys.modules`, that forgot them would pay again what they hold: nobody
    else can read the file of a process that lives. So they are kept where nobody purges.
    """
    kept: SimpleNamespace | None = vars(sys).get(_NAME)
    if kept is None:
        kept = SimpleNamespace(home=None, shared={}, open=weakref.WeakSet(), lock=threading.Lock())
        kept = vars(sys).setdefault(_NAME, kept)
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=partial(_abandon_all, kept))
    return kept


def _abandon_all(kept: SimpleNamespace) -> None:
    kept.lock = threading.Lock()  # another thread may have held it
    for journal in list(kept.open):
        journal._abandon()


_PROCESS = _of_process()


def home() -> Path:
    """The journal's folder: `ONDINE_HOME`, or `.ondine` where the process first asked."""
    if _PROCESS.home is None:
        given = os.environ.get("ONDINE_HOME")
        use(given or Path.cwd() / ".ondine")
    found: Path = _PROCESS.home
    return found


def use(folder: Path | str | None) -> None:
    """From now on `home()` is `folder`; None: it is found anew when it is next asked for."""
    _PROCESS.home = None if folder is None else Path(folder).expanduser().absolute()


def shared(folder: Path | str | None = None) -> Journal:
    """The one journal of this process in `folder` (default `home()`), opened on first use.

    One for each folder: a second one couldn't see what the first has just written. It is the same
    after a reload of this package.
    """
    path = home() if folder is None else Path(folder).expanduser().absolute()
    opened: dict[tuple[int, Path], Journal] = _PROCESS.shared
    with _PROCESS.lock:
        journal = opened.get((os.getpid(), path))
        if journal is None or journal.closed:
            journal = opened[os.getpid(), path] = Journal(path)
        return journal


def close_below(folder: Path | str) -> None:
    """Close the journals that `shared` has opened in `folder` or in folders below it.

    What is queued is written first; `shared` opens a new one when it is next asked.
    """
    top = Path(folder).expanduser().absolute()
    for (process, path), journal in list(_PROCESS.shared.items()):
        if process == os.getpid() and path.is_relative_to(top):
            journal.close()
            del _PROCESS.shared[process, path]


class Journal:
    """The answers of one folder. Safe to use from any thread and any number of loops."""

    def __init__(self, folder: Path | str) -> None:
        self.folder: Path = Path(folder)
        self.closed: bool = False
        self.single_flight: SingleFlight = SingleFlight()
        self._asking = threading.Lock()
        self._writes: queue.SimpleQueue[_Write] = queue.SimpleQueue()
        self._files = Files(self.folder)
        self._thread = threading.Thread(target=self._work, name="ondine-journal", daemon=True)
        self._thread.start()
        _PROCESS.open.add(self)
        atexit.register(self.close)

    async def append(self, entry: Entry) -> None:
        """Return when `entry` is on the disk. Raises `JournalError` when it can't get there."""
        await self._ask(lambda files: files.insert(entry))

    async def extend(self, entries: Sequence[Entry]) -> None:
        """Return when all `entries` are on the disk. Raises `JournalError`."""

        def insert(files: Files) -> None:
            for entry in entries:
                files.insert(entry)

        await self._ask(insert)

    async def put_batch(self, record: BatchRecord) -> None:
        """Return when `record`, or what is newer of it, is on the disk. Raises `JournalError`."""
        await self._ask(lambda files: files.put_batch(record))

    async def open_batches(self, provider: str) -> list[BatchRecord]:
        """The batches at `provider` whose results aren't journaled, oldest first."""
        found: list[BatchRecord] = await self._ask(lambda files: files.open_batches(provider))
        return found

    async def batch_ids(self) -> set[str]:
        """The API's names of all batches that are recorded."""
        found: set[str] = await self._ask(lambda files: files.batch_ids())
        return found

    async def lookup(
        self, keys: Sequence[bytes], run: str | None = None, *, earlier: bool = True
    ) -> dict[bytes, list[Entry]]:
        """The valid answers to each question, oldest first; questions without one are left out.

        With `run`, only answers of that run; without `earlier`, only of this process. Raises
        `JournalError` on a file that can't be read.
        """
        found: dict[bytes, list[Entry]] = await self._ask(
            lambda files: files.find(keys, run, earlier)
        )
        return found

    async def visit(self, run: str, see: Callable[[Entry], None]) -> None:
        """Call `see` in the writer thread with each answer of a run. Raises `JournalError`."""
        await self._ask(lambda files: files.visit(run, see))

    async def latest(self, runs: Sequence[str], most: int) -> list[Entry]:
        """The newest answers of these runs, `most` at most. Raises `JournalError`."""
        found: list[Entry] = await self._ask(lambda files: files.latest(runs, most))
        return found

    async def bills(self) -> AsyncIterator[Bill]:
        """What each answer of this folder cost, in parts. Raises `JournalError`.

        Those of other processes that are still running are left out: their files are locked.
        """
        await self.refresh()
        for live in (False, True):
            after, more = 0, True
            while more:
                part: list[Bill] = await self._ask(partial(Files.bills, live=live, after=after))
                for bill in part:
                    yield bill
                after, more = (part[-1].row, True) if part else (after, False)

    async def refresh(self) -> int:
        """Take over the files of processes that ended. Raises `JournalError`.

        Gives a number: what is written from now on, and nothing earlier, has at least this as its
        `Entry.sequence`, whatever the clock says.
        """
        begun: int = await self._ask(lambda files: files.merge_ended())
        return begun

    def close(self) -> None:
        """Write what is queued and let go of the file; calling it again does nothing."""
        with self._asking:
            if self.closed:
                return
            self.closed = True
            self._writes.put(_Write(None))
        self._thread.join(timeout=10)
        _PROCESS.open.discard(self)
        atexit.unregister(self.close)

    def _abandon(self) -> None:
        """In a forked child: the files are the parent's."""
        self.closed = True
        self._asking = threading.Lock()  # another thread may have held it
        self._files.abandon()

    async def _ask(self, work: Callable[[Files], Any]) -> Any:
        loop = asyncio.get_running_loop()
        write = _Write(work, loop, loop.create_future())
        with self._asking:  # nothing is queued behind the thread's end
            if self.closed:
                raise JournalError(f"the journal in {self.folder} is closed")
            self._writes.put(write)
        return await write.future

    def _work(self) -> None:
        """The writer thread: one transaction for whatever is queued, then the next."""
        ending = False
        while not ending:
            writes = [self._writes.get()]
            with contextlib.suppress(queue.Empty):
                while len(writes) < 2_000:
                    writes.append(self._writes.get_nowait())
            ending = any(write.work is None for write in writes)
            self._transact([write for write in writes if write.work is not None])
        self._files.close()

    def _transact(self, writes: list[_Write]) -> None:
        if not writes:
            return
        try:
            self._files.open()
            self._files.begin()
            for write in writes:
                write.run(self._files)
            self._files.commit()
        except Exception as error:  # told to all who wait: a dead thread would tell nobody, ever
            self._files.rollback()
            problem = _explained(error, self.folder)
            for write in writes:
                write.error = problem
        _deliver(writes)


@dataclass
class _Write:
    """Something for the writer thread, and where its outcome goes. No work: the thread's end."""

    work: Callable[[Files], Any] | None
    loop: Any = None
    future: Any = None
    result: Any = None
    error: Exception | None = None

    def run(self, files: Files) -> None:
        assert self.work is not None
        try:
            self.result = self.work(files)
        except JournalError as error:
            self.error = error
        except Exception as error:  # one entry's own, which must not cost the others theirs
            values = (sqlite3.ProgrammingError, sqlite3.InterfaceError)
            if isinstance(error, (sqlite3.Error, OSError)) and not isinstance(error, values):
                raise  # the file's or the disk's, so everybody's
            self.error = JournalError(
                f"the journal can't take this entry: {type(error).__name__}: {error}"
            )

    def resolve(self) -> None:
        if self.future.done():
            return
        if self.error is not None:
            self.future.set_exception(self.error)
        else:
            self.future.set_result(self.result)


def _deliver(writes: list[_Write]) -> None:
    """Resolve the writes on their loops: one wake-up a loop, however many answers it gets."""
    by_loop: dict[Any, list[_Write]] = {}
    for write in writes:
        by_loop.setdefault(write.loop, []).append(write)
    for loop, group in by_loop.items():
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(_resolve_all, group)


def _resolve_all(writes: list[_Write]) -> None:
    """So many in one turn of the loop: each lets a row go on, and hundreds would hold it up."""
    for write in writes[:_RESOLVED_AT_ONCE]:
        write.resolve()
    if len(writes) > _RESOLVED_AT_ONCE:
        asyncio.get_running_loop().call_soon(_resolve_all, writes[_RESOLVED_AT_ONCE:])


def _explained(error: Exception, folder: Path) -> JournalError:
    """The one-line reason for the user, with the remedy."""
    if isinstance(error, JournalError):
        return error
    text = str(error)
    number = getattr(error, "errno", None)
    if number in _NOT_WRITABLE or "readonly" in text or "unable to open" in text:
        return JournalError(
            f"the journal folder {folder} can't be written ({text}). "
            "Set ONDINE_HOME to a folder that can, and restart the kernel"
        )
    if number == errno.ENOSPC or "disk is full" in text:
        return JournalError(
            f"the disk of the journal folder {folder} is full: no further answer is paid for. "
            "Make room, then run the cell again"
        )
    return JournalError(f"the journal in {folder} failed: {type(error).__name__}: {text}")
