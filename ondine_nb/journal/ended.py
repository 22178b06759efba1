"""The journal files of processes that ended: taken over whole, or said to be damaged and kept."""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import sqlite3
import struct
from collections.abc import Iterator
from pathlib import Path

from .batches import batch_steps
from .live import Acknowledged, lock_of, log_of
from .locks import FileLock
from .salvage import Salvage
from .store import check_version, damage

__all__ = ["EndedFile", "ended", "forget_lock", "unreadable_frames"]

logger = logging.getLogger("ondine_nb")


@contextlib.contextmanager
def ended(path: Path) -> Iterator[EndedFile | None]:
    """The file of a process that ended, held alone; None while it lives.

    Its process holds the lock beside the file; version 0.1 had only sqlite's own, which is asked
    too. Raises `JournalError` where it can't be read: passing over it would buy its answers again.
    """
    with contextlib.ExitStack() as stack:
        note: Acknowledged | None = None
        with contextlib.suppress(FileNotFoundError):
            lock = FileLock.take(lock_of(path), create=False)
            if lock is None:
                yield None
                return
            stack.callback(lock.release)
            note = Acknowledged.read(lock.read())
        log = _kept_log(path)
        stack.callback(_drop_second_name, path, log)
        connection = sqlite3.connect(path, timeout=0, isolation_level=None)
        with contextlib.closing(connection), damage(path):
            if not _held_alone(connection):
                yield None
                return
            check_version(connection, path)
            file = EndedFile(path, connection, note)
            yield file
        file.clear(log)


def _held_alone(connection: sqlite3.Connection) -> bool:
    try:
        connection.execute("PRAGMA locking_mode=EXCLUSIVE")
        connection.execute("BEGIN EXCLUSIVE")
    except sqlite3.OperationalError as error:
        if "locked" not in str(error):
            raise
        return False
    return True


def _kept_log(path: Path) -> Path:
    """The log under a second name: sqlite deletes it, whatever it could read of it."""
    kept = Path(f"{path}-wal.kept")
    with contextlib.suppress(FileNotFoundError, FileExistsError):
        try:
            os.link(log_of(path), kept)
        except FileExistsError:  # of a merge that was killed: from before sqlite had read it
            raise
        except OSError:  # a file system without second names
            shutil.copyfile(log_of(path), kept)
    return kept


def _drop_second_name(path: Path, kept: Path) -> None:
    if log_of(path).exists():
        kept.unlink(missing_ok=True)


class EndedFile:
    """A file whose process ended. Its `salvage` is read to its end before `finish`."""

    def __init__(
        self, path: Path, connection: sqlite3.Connection, note: Acknowledged | None
    ) -> None:
        self.path = path
        self._connection, self._note = connection, note
        self._stamps = self._stamped()
        self.salvage: Salvage = Salvage(connection, path.name)
        self._taken_over, self._loss = False, ""

    def finish(self) -> None:
        """Its answers are durable elsewhere: it can go, or be kept aside where it is damaged."""
        # Its process has no lock where version 0.1 wrote it and somebody has read it: look again.
        self._taken_over = self._stamped() == self._stamps
        self._loss = self._told_loss() if self._taken_over else ""

    def _stamped(self) -> list[tuple[int, int] | None]:
        found: list[tuple[int, int] | None] = []
        for path in (self.path, log_of(self.path)):
            try:
                stat = os.stat(path)
            except FileNotFoundError:
                found.append(None)
            else:
                found.append((stat.st_size, stat.st_mtime_ns))
        return found

    def _told_loss(self) -> str:
        """What of it is lost, in words; "" where all that was acknowledged is there."""
        parts, note, read = [], self._note, self.salvage
        if read.changed:
            parts.append(f"{read.changed:,} answers aren't as they were written")
        if note is not None and (gone := note.answers - read.found - read.changed) > 0:
            parts.append(f"{gone:,} of its {note.answers:,} answers are gone")
        if read.batches_lost or (note is not None and self._steps() < note.steps):
            parts.append("what it knew of batches is gone")
        if read.torn is not None:
            parts.append(str(read.torn))
        # Where all that was acknowledged is there, the rest was being written when it ended.
        if (parts or note is None) and (frames := self._unreadable_frames()):
            parts.append(f"{frames:,} frames of its write-ahead log can't be read")
        return ", ".join(parts)

    def _steps(self) -> int:
        try:
            return batch_steps(self._connection)
        except (sqlite3.DatabaseError, ValueError):
            return 0

    def _unreadable_frames(self) -> int:
        committed = 0
        with contextlib.suppress(sqlite3.DatabaseError):
            self._connection.execute("COMMIT")
            committed = self._connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()[1]
        kept = Path(f"{self.path}-wal.kept")
        return unreadable_frames(kept.read_bytes(), max(committed, 0)) if kept.exists() else 0

    def clear(self, log: Path) -> None:
        """Delete the file, or give it a name under which nobody takes it over again."""
        if not self._taken_over:
            return
        aside = self.path.with_name(f"damaged-{self.path.name}")
        lock_of(self.path).unlink(missing_ok=True)  # first: alone it would say that all is lost
        if self._loss:
            self.path.replace(aside)
            if log.exists():
                log.replace(log_of(aside))
            logger.warning(
                "the journal file %s is damaged: %s. What could be read was taken over, the rest "
                "will be paid again; the file is kept as %s",
                self.path, self._loss, aside.name,
            )  # fmt: skip
        for name in ("", "-wal", "-shm", "-journal", "-wal.kept"):
            Path(f"{self.path}{name}").unlink(missing_ok=True)


def forget_lock(path: Path) -> None:
    """Delete the lock of a process that ended, whose file is gone, and say what went with it."""
    with contextlib.suppress(FileNotFoundError):
        lock = FileLock.take(path, create=False)
        if lock is None:
            return
        note = Acknowledged.read(lock.read())
        lock.release(delete=True)
        if note is not None and note.answers:
            logger.warning(
                "the journal file %s was deleted before its answers were taken over: "
                "%s answers are lost and will be paid again",
                path.with_suffix(".db"), f"{note.answers:,}",
            )  # fmt: skip


_HEADER, _FRAME_HEADER = 32, 24


def unreadable_frames(log: bytes, committed: int) -> int:
    """How many frames of a write-ahead log can't be read, of which sqlite could read `committed`.

    Frames of earlier rounds of the log, and of a transaction that hadn't ended, don't count.
    """
    if len(log) < _HEADER:
        return 0
    size = int.from_bytes(log[8:12], "big")
    if size < 512 or size > 65536 or size & (size - 1):
        size = 4096
    whole = (len(log) - _HEADER) // (_FRAME_HEADER + size)
    if not _header_holds(log):
        return whole
    starts = [_HEADER + at * (_FRAME_HEADER + size) for at in range(whole)]
    mine = [at for at, start in enumerate(starts) if log[start + 8 : start + 16] == log[16:24]]
    last = mine[-1] + 1 if mine else 0
    order = _order(log)
    state = struct.unpack(">2I", log[24:32])
    at = 0
    if 0 < committed <= whole:
        at, start = committed, starts[committed - 1]
        state = struct.unpack(">2I", log[start + 16 : start + 24])
    while at < last:
        frame = log[starts[at] : starts[at] + _FRAME_HEADER + size]
        state = _checksum(frame[:8] + frame[24:], order, state)
        if struct.pack(">2I", *state) != frame[16:24]:
            break
        at += 1
    return last - at


def _order(log: bytes) -> str:
    return ">" if log[3] & 1 else "<"


def _header_holds(log: bytes) -> bool:
    magic = int.from_bytes(log[:4], "big")
    told = struct.unpack(">2I", log[24:32])
    return magic in (0x377F0682, 0x377F0683) and _checksum(log[:24], _order(log), (0, 0)) == told


def _checksum(content: bytes, order: str, state: tuple[int, int]) -> tuple[int, int]:
    """sqlite's checksum of a write-ahead log, going on from `state`."""
    one, two = state
    words = struct.unpack(f"{order}{len(content) // 4}I", content)
    for first, second in zip(words[::2], words[1::2], strict=True):
        one = (one + first + two) & 0xFFFF_FFFF
        two = (two + second + one) & 0xFFFF_FFFF
    return one, two
