"""File locks that no reader drops: of a journal folder, and of a process that lives (flock).

sqlite's own locks are POSIX locks of the process: whoever opens and closes the same file anywhere
in the process, to read, copy or zip it, drops them all. These are locks of one open file
description, on files that hold no answers.
"""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path

from ..errors import JournalError

__all__ = ["FileLock", "file_identity"]

_BETWEEN_TRIES_SECONDS = 0.02


def file_identity(path: str | Path) -> tuple[int, int] | None:
    """Which file is at `path` (device and inode); None where there is none."""
    try:
        found = os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    return found.st_dev, found.st_ino


class FileLock:
    """A lock on the file at `path`, held until `release` or the end of the process.

    A file system without locks (some network mounts) goes on without one: `held` is False then.
    """

    def __init__(self, path: Path, descriptor: int, held: bool) -> None:
        self.path = path
        self.held = held
        self._descriptor: int | None = descriptor

    @classmethod
    def take(cls, path: Path, *, create: bool = True) -> FileLock | None:
        """The lock, or None where somebody else holds it.

        Raises `OSError` where the file can't be opened, and where it isn't there unless `create`.
        """
        flags = os.O_RDWR | (os.O_CREAT if create else 0)
        while True:
            descriptor = os.open(path, flags, 0o666)
            try:
                held = _lock(descriptor)
            except BlockingIOError:
                os.close(descriptor)
                return None
            found = os.fstat(descriptor)
            if os.name == "nt" or file_identity(path) == (found.st_dev, found.st_ino):
                return cls(path, descriptor, held)
            os.close(descriptor)  # who held it has deleted the file: it locks nothing any more

    @classmethod
    def wait(cls, path: Path, seconds: float) -> FileLock:
        """The lock, waited for as long as that. Raises `JournalError` after it, or `OSError`."""
        deadline = time.monotonic() + seconds
        while (lock := cls.take(path)) is None:
            if time.monotonic() > deadline:
                raise JournalError(
                    f"another process holds the journal's lock {path}; "
                    "wait for it, or set ONDINE_HOME to another folder"
                )
            time.sleep(_BETWEEN_TRIES_SECONDS)
        return lock

    def read(self) -> bytes:
        """What the file holds: a note of whoever has the lock, of a line at most."""
        assert self._descriptor is not None
        os.lseek(self._descriptor, 0, os.SEEK_SET)
        return os.read(self._descriptor, 4096)

    def write(self, note: bytes) -> None:
        """Put `note` in the place of what the file holds, which is no longer than it."""
        assert self._descriptor is not None
        os.lseek(self._descriptor, 0, os.SEEK_SET)
        os.write(self._descriptor, note)

    def release(self, *, delete: bool = False) -> None:
        """Let go of the lock, and with `delete` of the file. Never raises; again: nothing."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is None:
            return
        with contextlib.suppress(OSError):
            if delete and os.name != "nt":
                self.path.unlink(missing_ok=True)  # before others can have it
            os.close(descriptor)
            if delete and os.name == "nt":  # nothing that is open can be deleted there
                self.path.unlink(missing_ok=True)

    def abandon(self) -> None:
        """In a forked child: the lock is the parent's, and must not outlive it here."""
        self.release()


if os.name == "nt":
    import msvcrt

    _FAR = 1 << 30  # locked bytes can't be read there: none that the file has

    def _lock(descriptor: int) -> bool:
        os.lseek(descriptor, _FAR, os.SEEK_SET)
        try:
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined]
        except OSError as error:
            raise BlockingIOError(error.errno, str(error)) from None
        return True

else:
    import fcntl

    def _lock(descriptor: int) -> bool:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise
        except OSError:
            return False
        return True
