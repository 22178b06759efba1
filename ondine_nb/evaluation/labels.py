"""Labels that people gave to rows, kept on disk: append-only JSON lines, a file for each writer.

    .ondine/labels/SET/2026-11-30-3f2a9c1b04d7.jsonl

One line is one judgement: which content it is about (`key`, the texts of the key columns), the
value of each field (`fields`), who said so (`reviewer`), and how the row came before them
(`queue`, `stratum`, `rows`). A line with `undoes` takes an earlier one back. Nothing is ever
overwritten: each process appends to a file of its own, and a line counts once it is on disk. Which
of two lines is the later one says `sequence`, a Lamport clock: one more than any that the writer
had seen. `at` is for people to read.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import math
import os
import re
import threading
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ..errors import ConfigurationError, JournalError
from ..journal import home, make_folder
from ..text import as_text, encodable, is_missing, not_text

__all__ = ["MODEL", "Draw", "Label", "LabelSet", "json_value", "key_text", "label_sets", "merged"]

logger = logging.getLogger("ondine_nb.labels")
MODEL = "model"  # who gave an answer that nobody has reviewed: no reviewer may be called so
_SAFE = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]{0,78}[A-Za-z0-9_-])?")


@dataclass(frozen=True, slots=True)
class Draw:
    """How a row came before a reviewer: by which queue, and from among which rows.

    Where chance alone drew it, `rows` is how many there were to draw from: all of the frame's, or
    those of one `stratum`. 0: by no known chance (least sure first, say).
    """

    queue: str = ""
    stratum: str = ""
    rows: int = 0


@dataclass(frozen=True, slots=True)
class Label:
    """What a reviewer said of some content: a value for each of `fields`, and a note.

    `key` has the text of each key column as the prompt shows it. A field's value is JSON's own
    (dates are ISO text); None says that there is no value, a field that isn't there that nobody
    said. `sequence` orders the labels of a set, `at` is ISO 8601 in UTC, for people to read.
    """

    key: Mapping[str, str]
    fields: Mapping[str, Any]
    reviewer: str = "reviewer"
    note: str = ""
    draw: Draw = field(default_factory=Draw)
    at: str = ""
    sequence: int = 0
    writer: str = ""

    @property
    def id(self) -> str:
        """What an undo names; one line's alone."""
        return f"{self.writer}:{self.sequence}"

    @property
    def order(self) -> tuple[int, str]:
        """Sorts labels from the first to the last; of two at once, the same one is always last."""
        return self.sequence, self.writer


class LabelSet:
    """The labels of one task, by default a run's name, in a journal's folder.

    Safe to use from any thread and from any number of processes at once. `add` and `undo` return
    when the label is on disk (fsync). What other kernels have written since is read with
    `refresh`. Raises `ConfigurationError` for a set without a name.
    """

    def __init__(self, name: str, folder: Path | str | None = None) -> None:
        if not name.strip():
            raise ConfigurationError("a set of labels needs a name, such as the run's: 'labeled'")
        self.name: str = encodable(name)
        self.journal: Path = home() if folder is None else Path(folder).absolute()
        self.path: Path = self.journal / "labels" / _folder_name(self.name)
        self._files: dict[str, _LabelFile] = {}
        self._lock = threading.RLock()
        self.refresh()

    def add(
        self,
        key: Mapping[str, str],
        fields: Mapping[str, Any],
        *,
        reviewer: str = "reviewer",
        note: str = "",
        draw: Draw | None = None,
    ) -> Label:
        """Keep a label, durably; gives it with its sequence.

        Raises `ConfigurationError` for a label without key, or a reviewer called "model";
        `JournalError` where it can't be written.
        """
        return self.add_all([Label(key, fields, reviewer, note, draw or Draw())])[0]

    def add_all(self, labels: Sequence[Label]) -> list[Label]:
        """Keep all of `labels` in one write: as `add`, in their order."""
        for label in labels:
            _check(label)
        return [_label(line) for line in self._append([_said(label) for label in labels])]

    def undo(self, label: Label, *, reviewer: str = "reviewer") -> None:
        """Take `label` back: what was said before it holds again. A later line, nothing is erased.

        Raises `JournalError` where that can't be written.
        """
        self._append([{"undoes": label.id, "reviewer": reviewer}])

    def refresh(self) -> LabelSet:
        """Read what was written since, here and by other kernels."""
        with self._lock:
            there = {path.name: path for path in sorted(self.path.glob("*.jsonl"))}
            for gone in set(self._files) - set(there):
                del self._files[gone]
            for name, path in there.items():
                self._files.setdefault(name, _LabelFile(path, self.name)).read()
        return self

    @property
    def version(self) -> int:
        """Grows with each line that is read: what was made of the labels before is out of date."""
        with self._lock:
            return sum(len(file.lines) for file in self._files.values())

    @property
    def labels(self) -> list[Label]:
        """The labels that stand (undone ones don't), from the first to the last."""
        with self._lock:
            lines = {_id(line): line for file in self._files.values() for line in file.lines}
        undone = {line.get("undoes") for line in lines.values()}
        stands = [line for at, line in lines.items() if "undoes" not in line and at not in undone]
        return sorted(map(_label, stands), key=lambda label: label.order)

    @property
    def damaged(self) -> list[str]:
        """What couldn't be read, a line each: file, line and why. The rest is as it was."""
        with self._lock:
            return [line for file in self._files.values() for line in file.damaged]

    @property
    def fields(self) -> tuple[str, ...]:
        """The names of the fields that labels of this set say something of."""
        return tuple(dict.fromkeys(name for label in self.labels for name in label.fields))

    def __len__(self) -> int:
        return len(merged(self.labels))

    def __repr__(self) -> str:
        return f"<LabelSet {self.name}: {len(self):,} labels in {self.path}>"

    def _append(self, said: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Write lines behind all that were seen; gives them as they were written."""
        if not said:
            return []
        writer = _writer(self.path)
        with self._lock, writer.lock:
            self.refresh()
            files = self._files.values()
            last = max((file.last for file in files), default=0)
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
                raise JournalError(
                    f"a label can't be written to {self.path}: {error.strerror or error}; make "
                    "room or give rights there, or set ONDINE_HOME to another folder"
                ) from error
            self.refresh()
        return [json.loads(_bytes(line)) for line in lines]


def merged(labels: Iterable[Label]) -> list[Label]:
    """One label for each content and reviewer: the last that was said of each field.

    In the order in which they came to be; the note is the last one that isn't empty.
    """
    found: dict[tuple[Any, str], Label] = {}
    for label in sorted(labels, key=lambda label: label.order):
        who = (tuple(sorted(label.key.items())), label.reviewer)
        before = found.get(who)
        if before is not None:
            fields = {**before.fields, **label.fields}
            label = replace(label, fields=fields, note=label.note or before.note)
        found[who] = label
    return list(found.values())


def key_text(value: Any) -> str:
    """The text of a key column's value: as in the prompt; of bytes that are no text, a digest."""
    if isinstance(value, (bytes, bytearray, memoryview)) and not_text(value):
        return f"sha256:{hashlib.sha256(value).hexdigest()}"
    return as_text(value)


def json_value(value: Any) -> Any:
    """A field's value as JSON has it: dates and what JSON lacks as their text, missing as None."""
    if isinstance(value, Mapping):
        return {str(key): json_value(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [json_value(item) for item in value]
    if isinstance(value, (set, frozenset)):
        return sorted(map(json_value, value), key=as_text)
    if is_missing(value):
        return None
    finite = isinstance(value, float) and math.isfinite(value)
    return value if finite or type(value) in (str, int, bool) else as_text(value)


def label_sets(folder: Path | str | None = None) -> list[str]:
    """The names of the sets in a journal's folder (default `journal.home()`), sorted."""
    top = (home() if folder is None else Path(folder)) / "labels"
    names = set()
    for path in top.glob("*/*.jsonl"):
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError), path.open("rb") as file:
            names.add(str(json.loads(file.readline())["set"]))
    return sorted(names)


# --- lines


def _said(label: Label) -> dict[str, Any]:
    draw = label.draw
    how = {"queue": draw.queue, "stratum": draw.stratum, "rows": draw.rows}
    said = {"reviewer": label.reviewer, "note": label.note, **how, "at": label.at}
    known = {name: value for name, value in said.items() if value or name == "reviewer"}
    fields = {str(name): json_value(value) for name, value in label.fields.items()}
    return {"key": dict(label.key), "fields": fields, **known}


def _label(line: Mapping[str, Any]) -> Label:
    draw = Draw(line.get("queue", ""), line.get("stratum", ""), line.get("rows", 0))
    note, at = line.get("note", ""), line.get("at", "")
    told = (line["key"], line["fields"], line["reviewer"], note, draw, at)
    return Label(*told, line["sequence"], line["writer"])


def _id(line: Mapping[str, Any]) -> str:
    return f"{line['writer']}:{line['sequence']}"


def _bytes(line: Mapping[str, Any]) -> bytes:
    text = json.dumps(line, ensure_ascii=False, allow_nan=False)
    return encodable(text).encode() + b"\n"


def _check(label: Label) -> None:
    if not label.key:
        raise ConfigurationError("a label needs a key: the texts of the row's columns, by name")
    if label.reviewer == MODEL or not label.reviewer.strip():
        raise ConfigurationError(
            f"reviewer={label.reviewer!r} can't be told from the model: give a person's name"
        )


_KINDS: dict[str, type] = {
    "sequence": int,
    "writer": str,
    "set": str,
    "reviewer": str,
    "note": str,
    "queue": str,
    "stratum": str,
    "rows": int,
    "at": str,
}


def _read_line(raw: bytes) -> dict[str, Any]:
    """A line as it was written. Raises ValueError, saying what is wrong with it."""
    line = json.loads(raw)
    if not isinstance(line, dict):
        raise ValueError("no JSON object")
    needed = {"sequence", "writer", "set", "reviewer"}
    needed |= {"undoes"} if "undoes" in line else {"key", "fields"}
    if lacking := needed - set(line):
        raise ValueError(f"it lacks {', '.join(sorted(lacking))}")
    if wrong := [name for name, kind in _KINDS.items() if type(line.get(name, kind())) is not kind]:
        raise ValueError(f"{wrong[0]!r} is no {_KINDS[wrong[0]].__name__}")
    if "undoes" not in line:
        key, fields = line["key"], line["fields"]
        texts = isinstance(key, dict) and all(isinstance(text, str) for text in key.values())
        if not (texts and key and isinstance(fields, dict)):
            raise ValueError("its key and fields are no texts and values by name")
    return line


class _LabelFile:
    """One writer's lines, as far as they have been read."""

    def __init__(self, path: Path, name: str) -> None:
        self.path, self._set = path, name
        self._start_over()

    def _start_over(self) -> None:
        self.lines: list[dict[str, Any]] = []
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
            line = _read_line(raw)
        except (ValueError, RecursionError) as error:
            self._told.append(f"{self.path} line {self._number} can't be read ({error}): left out")
            logger.warning("%s", self._told[-1])
            return
        self.last = max(self.last, line["sequence"])
        if line["set"] == self._set:
            self.lines.append(line)


# --- writing


class _LabelWriter:
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


_WRITERS: dict[tuple[int, Path], _LabelWriter] = {}


def _writer(folder: Path) -> _LabelWriter:
    """The one writer of this process for a folder; a forked child has its own."""
    return _WRITERS.setdefault((os.getpid(), folder), _LabelWriter(folder))


def _folder_name(name: str) -> str:
    """A set's folder: its name, or where that is no plain file name, what is left of it."""
    if _SAFE.fullmatch(name):
        return name
    plain = "".join(letter if _SAFE.fullmatch(letter) else "_" for letter in name[:60])
    return f"{plain}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"
