"""The hidden place beside a target in which its new content grows, gone with its process."""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import shutil
from pathlib import Path

from ..errors import ConfigurationError

try:
    import fcntl
except ImportError:  # Windows, where what is open can't be deleted
    fcntl = None  # type: ignore[assignment]

__all__ = ["Scratch"]


class Scratch:
    """A hidden path beside `target` to write to: `.NAME.TOKEN.part.new` beside `.NAME.TOKEN.part`.

    The latter is locked while this process lives. What processes that ended left for the same
    target is deleted first. Raises ConfigurationError where the folder can't be written to.
    """

    def __init__(self, target: Path) -> None:
        self.target: Path = (
            target.resolve()
        )  # the file that a link leads to is replaced, not the link
        try:
            self._delete_dead()
            self._lock, self._mark = self._locked()
        except OSError as error:
            raise ConfigurationError(
                f"results can't go to {target}: {error.strerror}, so choose another folder"
            ) from error
        self.path: Path = Path(f"{self._mark}.new")

    def drop(self) -> None:
        """Delete what is there of it; once more does nothing."""
        if self._lock is not None:
            lock, self._lock = self._lock, None
            if fcntl is None:
                os.close(lock)
                _delete(self._mark)
            else:  # in this order, or another process finds an unlocked one
                _delete(self._mark)
                os.close(lock)

    def _locked(self) -> tuple[int | None, Path]:
        """A new lock file, held by this process."""
        while True:
            mark = self.target.with_name(f".{self.target.name}.{secrets.token_hex(4)}.part")
            lock = os.open(mark, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o666)
            if _held(lock) is not False and mark.exists():
                return lock, mark
            os.close(lock)  # another process took it for that of a dead one

    def _delete_dead(self) -> None:
        named = re.compile(rf"\.{re.escape(self.target.name)}\.[0-9a-f]{{8}}\.part").match
        names = {
            found.group() for path in self.target.parent.iterdir() if (found := named(path.name))
        }
        for name in names:
            with contextlib.suppress(OSError):
                _delete_if_dead(self.target.with_name(name))


def _delete_if_dead(mark: Path) -> None:
    if not mark.exists():
        mark.touch()
    if fcntl is None:
        mark.unlink()  # raises where a process has it open
        _delete(mark)
        return
    lock = os.open(mark, os.O_RDONLY)
    try:
        if _held(lock):
            _delete(mark)
    finally:
        os.close(lock)


def _held(lock: int) -> bool | None:
    """Whether this process has the lock now, of the open file; None where there are no locks."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except (OSError, AttributeError):  # of the file system, or on Windows
        return None
    return True


def _delete(mark: Path) -> None:
    """Delete a lock file, and all that begins with its name."""
    for path in [*mark.parent.glob(f"{_escaped(mark.name)}?*"), mark]:
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def _escaped(name: str) -> str:
    return re.sub(r"([*?\[])", r"[\1]", name)
