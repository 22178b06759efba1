"""What people and views keep beside the answers: append-only JSON lines, a file for each writer.

    .ondine/labels/SET/2026-11-30-3f2a9c1b04d7.jsonl

Nothing is ever overwritten: each process appends to a file of its own, and a line counts once it
is on disk. Which of two lines is the later one says `sequence`, a Lamport clock: one more than any
that the writer had seen. `at` is for people to read.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import re
import threading
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ..errors import JournalError
from ..text import encodable
from .files import make_folder
from .journal import home
from .locks import FileLock

__all__ = ["JsonLines", "json_line_sets", "line_id"]

_SAFE = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]{0,78}[A-Za-z0-9_-])?")
_LOCK_SECONDS = 30.0
Line = dict[str, Any]


class JsonLines:
    """The lines of the set `name` in the folder `kind` of a journal's folder.

    Safe to use from any thread and from any number of processes at once. `append` returns when the
    lines are on disk (fsync). What other kernels have written since is read with `refresh`. `check`
    raises ValueError, saying what is wrong, for a line that can't be read: it is left out, and
    told in `damaged` and by the logger `ondine_nb.KIND`. `one` is what errors call a line.
    """

    def __init__(
        self,
        kind: str,
        name: str,
        folder: Path | str | None,
        *,
        check: Callable[[Line], None],
        one: str,
    ) -> None:
        self.name: str = encodable(name)
        self.journal: Path = home() if folder is None else Path(folder).absolute()
        self.path: Path = self.journal / kind / _folder_name(self.name)
        self._check, self._one = check, one
        self._logger = logging.getLogger(f"ondine_nb.{kind}")
        self._files: dict[str, _LinesFile] = {}
        self._lock = threading.RLock()
        self.refresh()

    def refresh(self) -> None:
        """Read what was written since, here and by other kernels."""
        with self._lock:
            there = {path.name: path for path in sorted(self.path.glob("*.jsonl"))}
            for gone in set(self._files) - set(there):
                del self._files[gone]
            for name, path in there.items():
                if name not in self._files:
                    self._files[name] = _LinesFile(path, self.name, self._check, self._logger)
                self._files[name].read()

    @property
    def version(self) -> int:
        """Grows with each line that is read: what was made of the lines before is out of date."""
        with self._lock:
            return sum(len(file.lines) for file in self._files.values())

    @property
    def lines(self) -> list[Line]:
        """The lines of the set, each once, from the first to the last."""
        with self._lock:
            found = {line_id(line): line for file in self._files.values() for line in file.lines}
        return sorted(found.values(), key=lambda line: (line["sequence"], line["writer"]))

    @property
    def damaged(self) -> list[str]:
        """What couldn't be read, a line each: file, line and why. The rest is as it was."""
        with self._lock:
            return [line for file in self._files.values() for line in file.damaged]

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """Meanwhile no other writer that asks for this writes to the set; what they wrote is read.

        Raises `JournalError` where the folder can't be written, or is held for half a minute.
        """
        with self._lock:
            try:
                self._make_folders()
                lock = FileLock.wait(self.path / "lock", _LOCK_SECONDS)
            except OSError as error:
                raise self._not_written(error) from error
            try:
                self.refresh()
                yield
            finally:
                lock.release()

    def append(self, said: Sequence[Mapping[str, Any]]) -> list[Line]:
        """Write lines behind all that were seen; gives them as they were written.

        Raises `JournalError` where they can't be; then none of them is there.
        """
        if not said:
            return []
        writer = _writer(self.path)
        with self._lock, writer.lock:
            self.refresh()
            last = max((file.last for file in self._files.values()), default=0)
            stamp = {"writer": writer.name, "set": self.name}
            at = datetime.now(UTC).isoformat(timespec="seconds")
            lines = [
                {"sequence": last + number, **stamp, "at": at, **line}
                for number, line in enumerate(said, 1)
            ]
            try:
                make_folder(self.journal)
                writer.append(b"".join(map(_bytes, lines)))
            except OSError as error:
                raise self._not_written(error) from error
            self.refresh()
        return [json.loads(_bytes(line)) for line in lines]

    def _make_folders(self) -> None:
        make_folder(self.journal)
        self.path.mkdir(parents=True, exist_ok=True)

    def _not_written(self, error: OSError) -> JournalError:
        return JournalError(
            f"a {self._one} can't be written to {self.path}: {error.strerror or error}; make "
            "room or give rights there, or set ONDINE_HOME to another folder"
        )


def json_line_sets(kind: str, folder: Path | str | None = None) -> list[str]:
    """The names of the sets of a kind in a journal's folder (default `home()`), sorted."""
    top = (home() if folder is None else Path(folder)) / kind
    names = set()
    for path in top.glob("*/*.jsonl"):
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError), path.open("rb") as file:
            names.add(str(json.loads(file.readline())["set"]))
    return sorted(names)


def line_id(line: Mapping[str, Any]) -> str:
    """What a later line names it by; one line's alone."""
    return f"{line['writer']}:{line['sequence']}"


def _bytes(line: Mapping[str, Any]) -> bytes:
    text = json.dumps(line, ensure_ascii=False, allow_nan=False)
    return encodable(text).encode() + b"\n"


_STAMP: dict[str, type] = {"sequence": int, "writer": str, "set": str, "at": str}


def _read_line(raw: bytes, check: Callable[[Line], None]) -> Line:
    """A line as it was written. Raises ValueError, saying what is wrong with it."""
    line = json.loads(raw)
    if not isinstance(line, dict):
        raise ValueError("no JSON object")
    for name, kind in _STAMP.items():
        if type(line.get(name, kind())) is not kind:
            raise ValueError(f"{name!r} is no {kind.__name__}")
    check(line)
    return line


class _LinesFile:
    """One writer's lines, as far as they have been read."""

    def __init__(
        self, path: Path, name: str, check: Callable[[Line], None], logger: logging.Logger
    ) -> None:
        self.path, self._set, self._check, self._logger = path, name, check, logger
        self._start_over()

    def _start_over(self) -> None:
        self.lines: list[Line] = []
        self.last = 0
        self._told: list[str] = []
        self._at, self._number, self._torn = 0, 0, False
        self._file: tuple[int, int] | None = None

    @property
    def damaged(self) -> list[str]:
        torn = f"{self.path} line {self._number + 1} isn't whole: its writer was killed, or writes"
        return self._told + [torn] * self._torn

    def read(self) -> None:
        """Read the whole lines behind those that were read; all of them where it is another file
        or a shorter one."""
        try:
            with self.path.open("rb") as file:
                known = os.fstat(file.fileno())
                if self._file != (known.st_dev, known.st_ino) or known.st_size < self._at:
                    self._start_over()
                    self._file = known.st_dev, known.st_ino
                file.seek(self._at)
                raw = file.read()
        except FileNotFoundError:
            self._start_over()
            return
        whole, newline, rest = raw.rpartition(b"\n")
        self._at += len(whole) + len(newline)
        self._torn = bool(rest)
        for line in whole.split(b"\n") if newline else []:
            self._take(line)

    def _take(self, raw: bytes) -> None:
        self._number += 1
        if not raw.strip():
            return
        try:
            line = _read_line(raw, self._check)
            self.last = max(self.last, line["sequence"])
            if line["set"] == self._set:
                self.lines.append(line)
        except (ValueError, KeyError, RecursionError) as error:
            self._told.append(f"{self.path} line {self._number} can't be read ({error}): left out")
            self._logger.warning("%s", self._told[-1])


# --- writing


class _LinesWriter:
    """This process's file in a set's folder: whole lines, each on disk before `append` returns."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.lock = threading.RLock()
        self.name = f"{datetime.now(UTC):%Y-%m-%d}-{uuid.uuid4().hex[:12]}"
        self._descriptor: int | None = None

    def append(self, lines: bytes) -> None:
        """Raises `OSError`, and leaves no part of `lines` behind."""
        descriptor = self._open()
        size = os.fstat(descriptor).st_size
        try:
            rest = memoryview(lines)
            while rest:
                rest = rest[os.write(descriptor, rest) :]
            os.fsync(descriptor)
        except OSError:
            with contextlib.suppress(OSError):
                os.ftruncate(descriptor, size)
            raise

    def _open(self) -> int:
        path = self.folder / f"{self.name}.jsonl"
        if self._descriptor is not None:
            if _is_at(self._descriptor, path):
                return self._descriptor
            os.close(self._descriptor)  # somebody has deleted the folder: begin anew
            self._descriptor = None
        self.folder.mkdir(parents=True, exist_ok=True)
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | getattr(os, "O_BINARY", 0)
        self._descriptor = os.open(path, flags, 0o666)
        for folder in (self.folder, self.folder.parent, self.folder.parent.parent):
            _sync_folder(folder)
        return self._descriptor


def _is_at(descriptor: int, path: Path) -> bool:
    with contextlib.suppress(OSError):
        return os.path.samestat(os.fstat(descriptor), path.stat())
    return False


def _sync_folder(folder: Path) -> None:
    """Make a new name in a folder durable, where the system has that."""
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):  # some network mounts can't
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


_WRITERS: dict[tuple[int, Path], _LinesWriter] = {}


def _writer(folder: Path) -> _LinesWriter:
    """The one writer of this process for a folder; a forked child has its own."""
    return _WRITERS.setdefault((os.getpid(), folder), _LinesWriter(folder))


def _folder_name(name: str) -> str:
    """A set's folder: its name, or where that is no plain file name, what is left of it."""
    if _SAFE.fullmatch(name):
        return name
    plain = "".join(letter if _SAFE.fullmatch(letter) else "_" for letter in name[:60])
    return f"{plain}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"
