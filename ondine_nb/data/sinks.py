"""Where a run writes to as it goes: a CSV, TSV, Parquet or JSONL file, in place once it is whole.

`open_sink` begins a hidden file beside the target; `close` puts it in the target's place in one
step, so an older file there stays until then, and for good if the sink is discarded.

    CSV, TSV   missing is an empty cell, empty text is "" (polars tells them apart; pandas reads
               both as missing, and the texts NA, null, None, nan … too); lists and dicts as JSON
    JSONL      missing is null; dates and times are ISO text; what else JSON lacks is text
    Parquet    the first chunk's dtypes; a pandas column of dicts, or of mixed values, is JSON text

An index of pandas: named levels are columns in CSV and JSONL, unnamed ones are left out; Parquet
keeps it as an index, unless it is a RangeIndex without a name.
"""

from __future__ import annotations

import contextlib
import glob
import json
import os
import re
import secrets
import shutil
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from datetime import date, time
from itertools import chain
from operator import add
from pathlib import Path
from typing import Any, Protocol

from ..errors import ConfigurationError, OndineError, RunError
from .columns import is_nan_or_none, json_text, listed
from .frames import Frame, NativeFrame, wrap
from .parquet import PandasParquet, PolarsParquet, check_pyarrow

__all__ = ["Sink", "open_sink", "open_target"]


_QUOTED = re.compile('[",\t\r\n]').search


class Sink(ABC):
    """A file that is being written; `rows` is how many rows were until now.

    As a context manager it closes at the end, and discards if the block raised.
    """

    path: Path
    rows: int

    @abstractmethod
    def write(self, frame: NativeFrame) -> None:
        """Appends the rows of a pandas or polars DataFrame. The first one fixes the columns.

        Raises RunError, with nothing of `frame` kept, for other columns than the first frame's
        and for a value that the format can't hold; also where the disk is full or fails: then
        only `discard` is left.
        """

    @abstractmethod
    def close(self) -> None:
        """Puts the file in place. Does nothing the second time.

        Raises RunError if nothing was written, or if the file can't be finished.
        """

    @abstractmethod
    def discard(self) -> None:
        """Throws away what was written; what stood at the path stays. Nothing after `close`."""

    def __enter__(self) -> Sink:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is None:
            self.close()
        else:
            self.discard()


def open_sink(path: str | Path, kind: str | None = None) -> Sink:
    """A sink for the file at `path`, of the format that its ending says; "~" is the home folder.

    With `kind`, the library of the frames to come, what that needs is checked before the run.

    Raises ConfigurationError, with the remedy, for an unknown ending, a folder that isn't there
    or can't be written to, a path that is a folder or is write-protected, and pyarrow, which
    pandas needs for Parquet, not installed.
    """
    target = Path(path).expanduser()
    ending = next((end for end in _FORMATS if target.name.lower().endswith(end)), None)
    refused = f"results can't go to {target}"
    if target.is_dir():
        raise ConfigurationError(f"{refused}: it is a folder, so add the name of a file")
    if ending is None:
        raise ConfigurationError(f"{refused}: give a path that ends in {', '.join(_FORMATS)}")
    if not target.parent.is_dir():
        raise ConfigurationError(f"{refused}: there is no folder {target.parent}, so make it first")
    if target.exists() and not os.access(target, os.W_OK):
        raise ConfigurationError(f"{refused}: it is write-protected, so choose another path")
    if kind == "pandas" and ending == ".parquet":
        check_pyarrow()
    return _FileSink(target, _FORMATS[ending])


class _Writer(Protocol):
    """Writes frames of one kind, with the same columns, into a file that `finish` completes."""

    def append(self, frame: Frame) -> None: ...
    def finish(self) -> None: ...
    def abandon(self) -> None: ...


class _FileSink(Sink):
    """A `Sink` that leaves the rows to a writer, made for the kind of the first frame."""

    def __init__(self, path: Path, make: Callable[[Path, Frame], _Writer]) -> None:
        self.path = path
        self.rows = 0
        self._make = make
        self._place = path.resolve()  # the file that a link leads to is replaced, not the link
        self._part = self._place.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
        self._writer: _Writer | None = None
        self._first: tuple[str, tuple[str, ...]] | None = None
        self._state = "open"  # then "broken", "closed" or "discarded"
        try:
            self._part.touch(exist_ok=False)  # what can't be written is seen before the run
        except OSError as error:
            raise ConfigurationError(
                f"results can't go to {path}: {error.strerror}, so choose another folder"
            ) from error

    def write(self, frame: NativeFrame) -> None:
        if self._state != "open":
            raise RunError(f"{self.path} is {self._state}, so it takes no more rows")
        wrapped = wrap(frame, f"a chunk for {self.path}")
        if self._make is not _parquet:
            wrapped = _named_index(wrapped)
        self._check(wrapped)
        with self._failing():
            if self._writer is None:
                self._writer = self._make(self._part, wrapped)
            self._writer.append(wrapped)
        self._first = self._first or (wrapped.kind, wrapped.columns)
        self.rows += len(wrapped)

    def close(self) -> None:
        if self._state == "closed":
            return
        if self._writer is None or self._first is None or self._state != "open":
            why = "no chunk was written" if self._state == "open" else f"it is {self._state}"
            raise RunError(f"{self.path} can't be finished: {why}; a file that was there stays")
        with self._failing():
            self._writer.finish()
            if self._place.exists():
                shutil.copymode(self._place, self._part)
            _to_disk(self._part)
            os.replace(self._part, self._place)
        self._state = "closed"
        with contextlib.suppress(OSError):  # not every system opens folders
            _to_disk(self._place.parent, os.O_RDONLY)

    def discard(self) -> None:
        if self._state in ("closed", "discarded"):
            return
        self._state = "discarded"
        if self._writer is not None:
            with contextlib.suppress(Exception):  # on a full disk the last flush fails, too
                self._writer.abandon()
        for part in self._place.parent.glob(f"{glob.escape(self._part.name)}*"):
            part.unlink(missing_ok=True)

    def _check(self, frame: Frame) -> None:
        kind, columns = self._first or (frame.kind, frame.columns)
        if frame.columns != columns:
            raise RunError(
                f"{frame.name} has the columns {listed(frame.columns)}, and the first had "
                f"{listed(columns)}: write the same ones"
            )
        if frame.kind != kind:
            raise RunError(f"{frame.name} is of {frame.kind}, and the first was of {kind}")

    @contextlib.contextmanager
    def _failing(self) -> Iterator[None]:
        """Errors name the path; one of the disk, or of a library, leaves the file broken."""
        try:
            yield
        except OndineError as error:  # a value or a library: what was written before is good
            raise RunError(f"{self.path}: {error}") from error
        except Exception as error:  # polars has its own errors for a full disk
            self._state = "broken"
            reason = getattr(error, "strerror", None) or str(error).partition("\n")[0]
            raise RunError(
                f"{self.path} can't be written ({reason}): make room or choose another path, then "
                "run again; answers that were paid for come from the journal"
            ) from error


class _Lines:
    """A writer of text, one line a row: `line` joins cells that `cell` has made of values."""

    def __init__(
        self, part: Path, header: str, cell: Callable[[Any], str], line: Callable[[Any], str]
    ) -> None:
        self._cell, self._line = cell, line
        self._file = part.open("wb")
        self._file.write(header.encode())
        self._rows = 0

    def append(self, frame: Frame) -> None:
        cell, line = self._cell, self._line
        lines: list[str] = []
        try:
            for rows in frame.iter_rows(frame.columns):
                lines.extend([line(map(cell, row)) for row in rows])
            encoded = "".join(lines).encode()
        except (ValueError, RecursionError):  # UnicodeError is among them
            raise RunError(self._culprit(frame)) from None
        self._file.write(encoded)
        self._rows += len(frame)

    def finish(self) -> None:
        self._file.close()

    def abandon(self) -> None:
        self._file.close()

    def _culprit(self, frame: Frame) -> str:
        """Which value of `frame` has no cell, and why."""
        values = chain.from_iterable(frame.iter_rows(frame.columns))
        for at, row in enumerate(values, self._rows):
            for column, value in zip(frame.columns, row, strict=True):
                try:
                    self._cell(value).encode()
                except UnicodeError:
                    why = "text with half a character, which UTF-8 lacks"
                except (ValueError, RecursionError) as error:
                    why = f"{repr(value)[:40]}, which this format lacks ({error})"
                else:
                    continue
                return f"column {column!r} has in row {at} {why}: change it, or drop the column"
        return "a column's name has half a character, which UTF-8 lacks: rename it"


def _csv(separator: str) -> Callable[[Path, Frame], _Writer]:
    def line(cells: Iterable[str]) -> str:
        return f"{separator.join(cells)}\n"

    return lambda part, frame: _Lines(part, line(map(_csv_cell, frame.columns)), _csv_cell, line)


def _csv_cell(value: Any) -> str:
    kind = type(value)
    text: str
    if kind is str:
        text = value
    elif value is None:
        return ""
    elif kind is int or kind is float:
        return repr(value)
    elif kind is bool:
        return "true" if value else "false"
    else:
        text = json_text(value) if kind in (list, tuple, dict) else _text(value)
    return text if text and not _QUOTED(text) else '"' + text.replace('"', '""') + '"'


def _jsonl(part: Path, frame: Frame) -> _Writer:
    keys = [f"{_JSON.encode(column)}: " for column in frame.columns]

    def line(cells: Iterable[str]) -> str:
        return f"{{{', '.join(map(add, keys, cells))}}}\n"

    return _Lines(part, "", _json_cell, line)


def _json_cell(value: Any) -> str:
    try:
        return _JSON.encode(value)
    except ValueError:
        return _JSON.encode(_without_nan(value))


def _without_nan(value: Any) -> Any:
    """A value with None for each NaN in its lists and dicts, which JSON lacks."""
    if isinstance(value, dict):
        return {key: _without_nan(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_without_nan(item) for item in value]
    return None if is_nan_or_none(value) else value


def _text(value: Any) -> str:
    """What isn't text, in a form that no reader takes for something else."""
    if isinstance(value, (bytes, bytearray)):
        raise ValueError("bytes aren't text")
    return str(value.isoformat()) if isinstance(value, (date, time)) else str(value)


def _parquet(part: Path, frame: Frame) -> _Writer:
    return PandasParquet(part, frame) if frame.kind == "pandas" else PolarsParquet(part, frame)


def _named_index(frame: Frame) -> Frame:
    """A frame with the named levels of its pandas index as its first columns."""
    levels = getattr(frame.native, "index", None)
    names = [name for name in getattr(levels, "names", ()) if name is not None]
    if not names:
        return frame
    if taken := [name for name in names if str(name) in frame.columns]:
        raise RunError(f"{frame.name} has {listed(taken)} as column and as index: rename one")
    return wrap(frame.native.reset_index(level=names), frame.name)


def _to_disk(path: Path, flags: int = os.O_RDWR) -> None:
    opened = os.open(path, flags)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


_JSON = json.JSONEncoder(ensure_ascii=False, allow_nan=False, default=_text)
_FORMATS: dict[str, Callable[[Path, Frame], _Writer]] = {
    ".csv": _csv(","),
    ".tsv": _csv("\t"),
    ".parquet": _parquet,
    ".jsonl": _jsonl,
    ".ndjson": _jsonl,
}


_PART_ROWS = 100_000


def open_target(path: str | Path, kind: str | None = None) -> Sink:
    """A sink for `path`: one that ends in "/" is a folder, anything else a file (`open_sink`).

    A folder gets files named `part.0.parquet` and so on. It takes the place of an older one that
    holds such files and nothing else. Raises ConfigurationError as `open_sink` does.
    """
    target = Path(path).expanduser()
    if not str(path).endswith(("/", os.sep)):
        return open_sink(path, kind)
    if target.exists() and not (target.is_dir() and all(map(_is_part, target.iterdir()))):
        raise ConfigurationError(
            f"results can't go to the folder {target}: other things than part.….parquet are "
            "there, so choose another"
        )
    return _FolderSink(target, kind)


def _is_part(path: Path) -> bool:
    return re.fullmatch(r"part\.\d+\.parquet", path.name) is not None


class _FolderSink(Sink):
    """A folder of Parquet files, each of `_PART_ROWS` rows or a chunk more."""

    def __init__(self, path: Path, kind: str | None) -> None:
        self.path = path
        self.rows = 0
        self._place = path.resolve()
        self._folder = self._place.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
        self._kind = kind
        self._parts = 0
        self._over = False
        try:
            self._folder.mkdir()  # what can't be written is seen before the run
        except OSError as error:
            raise ConfigurationError(
                f"results can't go to {path}: {error.strerror}, so choose another folder"
            ) from error
        self._sink: Sink | None = None

    def write(self, frame: NativeFrame) -> None:
        if self._sink is None:
            part = self._folder / f"part.{self._parts}.parquet"
            self._sink = open_sink(part, self._kind)
            self._parts += 1
        self._sink.write(frame)
        self.rows += len(frame)
        if self._sink.rows >= _PART_ROWS:
            self._sink.close()
            self._sink = None

    def close(self) -> None:
        if self._over:
            return
        if not self._parts:
            raise RunError(f"{self.path} can't be finished: no chunk was written")
        if self._sink is not None:
            self._sink.close()
        older = self._folder.with_suffix(".older")
        try:
            if self._place.exists():
                self._place.replace(older)
            self._folder.replace(self._place)
        except OSError as error:
            raise RunError(f"{self.path} can't be put in place: {error.strerror}") from error
        self._over = True
        shutil.rmtree(older, ignore_errors=True)

    def discard(self) -> None:
        if self._over:
            return
        self._over = True
        if self._sink is not None:
            self._sink.discard()
        shutil.rmtree(self._folder, ignore_errors=True)
