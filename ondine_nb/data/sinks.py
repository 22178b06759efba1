"""Where a run writes to as it goes: a CSV, TSV, Parquet or JSONL file, in place once it is whole.

`open_sink` begins a hidden file beside the target (`.out.csv.….part.new`); `close` puts it in the
target's place in one step, so an older file there stays until then, and for good if the sink is
discarded. What a process that died has left is deleted when the same target is written again.

    CSV, TSV   missing is an empty cell, empty text is "" (polars tells them apart; pandas reads
               both as missing, and the texts NA, null, None, nan … too); lists and dicts as JSON
    JSONL      missing is null; dates and times are ISO text; what else JSON lacks is text
    Parquet    the first chunk's dtypes; a pandas column of dicts, or of mixed values, is JSON text

An index of pandas: named levels are columns in CSV and JSONL, unnamed ones are left out; Parquet
keeps it as an index, unless it is a RangeIndex without a name.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import date, datetime, time
from operator import add, call
from pathlib import Path
from typing import Any, Protocol, TypeAlias

from ..errors import ConfigurationError, OndineError, RunError
from ..text import encodable
from .columns import cell_text, listed, without_nan
from .frames import Frame, NativeFrame, wrap
from .parquet import PandasParquet, PolarsParquet, check_parquet, check_pyarrow
from .scratch import Scratch

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
    def accepts(self, frame: NativeFrame) -> None:
        """Raises ConfigurationError if the rows of `frame`, or others of its dtypes, don't fit.

        Called before a run: what a file can't hold isn't found out after the answers were paid.
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


class ComingColumn(Protocol):
    """What is known of a new column before it is there."""

    @property
    def name(self) -> str:
        """The column's name."""
        ...

    @property
    def kind(self) -> str:
        """The kind of its cells, as in `Column`."""
        ...


def open_sink(path: str | Path, kind: str | None = None, new: Sequence[ComingColumn] = ()) -> Sink:
    """A sink for the file at `path`, of the format that its ending says; "~" is the home folder.

    With `kind`, the library of the frames to come, what that needs is checked before the run.
    `new` are the columns that a run adds: what they hold is known by their kinds. What processes
    that died have left beside `path` of earlier attempts is deleted.

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
    return _FileSink(target, _FORMATS[ending], new)


class _Writer(Protocol):
    """Writes frames of one kind, with the same columns, into a file that `finish` completes."""

    def append(self, frame: Frame) -> None: ...
    def finish(self) -> None: ...
    def abandon(self) -> None: ...


_Make: TypeAlias = "Callable[[Path, Frame, Sequence[ComingColumn]], _Writer]"


class _FileSink(Sink):
    """A `Sink` that leaves the rows to a writer, made for the kind of the first frame."""

    def __init__(self, path: Path, make: _Make, new: Sequence[ComingColumn]) -> None:
        self.path = path
        self.rows = 0
        self._make = make
        self._new = new
        self._scratch = Scratch(path)  # what can't be written is seen before the run
        self._writer: _Writer | None = None
        self._first: tuple[str, tuple[str, ...]] | None = None
        self._state = "open"  # then "broken", "closed" or "discarded"

    def accepts(self, frame: NativeFrame) -> None:
        taken = {column.name for column in self._new}
        try:
            wrapped = self._shaped(frame)
            columns = [name for name in wrapped.columns if name not in taken]
            self._check_columns(wrapped, columns)
        except RunError as error:
            raise ConfigurationError(f"results can't go to {self.path}: {error}") from error

    def _check_columns(self, frame: Frame, columns: Sequence[str]) -> None:
        if self._make is _parquet:
            check_parquet(frame, columns)
            return
        for column in columns:
            if frame.holds_bytes(column):
                raise RunError(
                    f"column {column!r} holds bytes, and {self.path.suffix} only text: drop it "
                    "from the frame, or write to .parquet"
                )

    def _shaped(self, frame: NativeFrame) -> Frame:
        wrapped = wrap(frame, f"a chunk for {self.path}")
        return wrapped if self._make is _parquet else _named_index(wrapped)

    def write(self, frame: NativeFrame) -> None:
        if self._state != "open":
            raise RunError(f"{self.path} is {self._state}, so it takes no more rows")
        wrapped = self._shaped(frame)
        self._check(wrapped)
        with self._failing():
            if self._writer is None:
                self._writer = self._make(self._scratch.path, wrapped, self._new)
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
            made, place = self._scratch.path, self._scratch.target
            if place.exists():
                shutil.copymode(place, made)
            _to_disk(made)
            os.replace(made, place)
        self._state = "closed"
        self._scratch.drop()
        with contextlib.suppress(OSError):  # not every system opens folders
            _to_disk(place.parent, os.O_RDONLY)

    def discard(self) -> None:
        if self._state in ("closed", "discarded"):
            return
        self._state = "discarded"
        if self._writer is not None:
            with contextlib.suppress(Exception):  # on a full disk the last flush fails, too
                self._writer.abandon()
        self._scratch.drop()

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
    """A writer of text, one line a row: `line` joins cells, each made by its column's of `cells`.

    Half a character, which UTF-8 lacks, is written as U+FFFD, as in prompts.
    """

    def __init__(
        self,
        part: Path,
        header: str,
        cells: Sequence[Callable[[Any], str]],
        line: Callable[[Iterable[str]], str],
    ) -> None:
        self._cells, self._line = cells, line
        self._file = part.open("wb")
        self._file.write(encodable(header).encode())
        self._rows = 0

    def append(self, frame: Frame) -> None:
        cells, line = self._cells, self._line
        lines: list[str] = []
        try:
            for rows in frame.iter_rows(frame.columns):
                lines.extend([line(map(call, cells, row)) for row in rows])
        except (ValueError, RecursionError):
            raise RunError(self._culprit(frame)) from None
        self._file.write(encodable("".join(lines)).encode())
        self._rows += len(frame)

    def finish(self) -> None:
        self._file.close()

    def abandon(self) -> None:
        self._file.close()

    def _culprit(self, frame: Frame) -> str:
        """Which value of `frame` has no cell, and why."""
        for column, cell in zip(frame.columns, self._cells, strict=True):
            values = (value for rows in frame.iter_rows([column]) for (value,) in rows)
            for at, value in enumerate(values, self._rows):
                try:
                    cell(value)
                except (ValueError, RecursionError) as error:
                    return (
                        f"column {column!r} has in row {at} {repr(value)[:40]}, which this format "
                        f"lacks ({error}): change it, or drop the column"
                    )
        return "a value has no text: change it, or drop its column"


def _csv(separator: str) -> _Make:
    def line(cells: Iterable[str]) -> str:
        return f"{separator.join(cells)}\n"

    def make(part: Path, frame: Frame, new: Sequence[ComingColumn]) -> _Writer:
        days = _days(frame, new)
        cells = [_of_day(_csv_cell) if name in days else _csv_cell for name in frame.columns]
        return _Lines(part, line(map(_csv_cell, frame.columns)), cells, line)

    return make


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
        text = cell_text(value) if kind in (list, tuple, dict) else _text(value)
    return text if text and not _QUOTED(text) else '"' + text.replace('"', '""') + '"'


def _jsonl(part: Path, frame: Frame, new: Sequence[ComingColumn]) -> _Writer:
    keys = [f"{_JSON.encode(column)}: " for column in frame.columns]
    texts = {column.name for column in new if column.kind == "json" and frame.kind == "polars"}
    days = _days(frame, new)
    cells = [
        _json_in_text if name in texts else _of_day(_json_cell) if name in days else _json_cell
        for name in frame.columns
    ]

    def line(cells: Iterable[str]) -> str:
        return f"{{{', '.join(map(add, keys, cells))}}}\n"

    return _Lines(part, "", cells, line)


def _days(frame: Frame, new: Sequence[ComingColumn]) -> set[str]:
    """New columns of dates that `frame` holds as moments, which pandas does."""
    return {column.name for column in new if column.kind == "date" and frame.kind == "pandas"}


def _of_day(cell: Callable[[Any], str]) -> Callable[[Any], str]:
    return lambda value: cell(value.date() if isinstance(value, datetime) else value)


def _json_in_text(value: Any) -> str:
    """A cell of a json column of polars, which is text there, as the JSON that it says."""
    try:
        return _JSON.encode(json.loads(value))
    except (TypeError, ValueError, RecursionError):
        return _json_cell(value)


def _json_cell(value: Any) -> str:
    try:
        return _JSON.encode(value)
    except ValueError:
        return _JSON.encode(without_nan(value))


def _text(value: Any) -> str:
    """What isn't text, in a form that no reader takes for something else."""
    if isinstance(value, (bytes, bytearray)):
        raise ValueError("bytes aren't text")
    return str(value.isoformat()) if isinstance(value, (date, time)) else str(value)


def _parquet(part: Path, frame: Frame, new: Sequence[ComingColumn]) -> _Writer:
    if frame.kind == "polars":
        return PolarsParquet(part, frame)
    return PandasParquet(part, frame, {column.name: column.kind for column in new})


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
_FORMATS: dict[str, _Make] = {
    ".csv": _csv(","),
    ".tsv": _csv("\t"),
    ".parquet": _parquet,
    ".jsonl": _jsonl,
    ".ndjson": _jsonl,
}


_PART_ROWS = 100_000


def open_target(
    path: str | Path, kind: str | None = None, new: Sequence[ComingColumn] = ()
) -> Sink:
    """A sink for `path`: one that ends in "/" is a folder, anything else a file (`open_sink`).

    A folder gets files named `part.0.parquet` and so on. It takes the place of an older one that
    holds such files and nothing else. Raises ConfigurationError as `open_sink` does.
    """
    target = Path(path).expanduser()
    if not str(path).endswith(("/", os.sep)):
        return open_sink(path, kind, new)
    if target.exists() and not (target.is_dir() and all(map(_is_part, target.iterdir()))):
        raise ConfigurationError(
            f"results can't go to the folder {target}: other things than part.….parquet are "
            "there, so choose another"
        )
    return _FolderSink(target, kind, new)


def _is_part(path: Path) -> bool:
    return re.fullmatch(r"part\.\d+\.parquet", path.name) is not None


class _FolderSink(Sink):
    """A folder of Parquet files, each of `_PART_ROWS` rows or a chunk more."""

    def __init__(self, path: Path, kind: str | None, new: Sequence[ComingColumn]) -> None:
        self.path = path
        self.rows = 0
        self._scratch = Scratch(path)
        self._kind = kind
        self._new = new
        self._parts = 0
        self._over = False
        self._scratch.path.mkdir()
        self._sink: Sink | None = None

    def accepts(self, frame: NativeFrame) -> None:
        first = self._part()
        first.accepts(frame)
        first.discard()

    def _part(self) -> Sink:
        part = self._scratch.path / f"part.{self._parts}.parquet"
        return open_sink(part, self._kind, self._new)

    def write(self, frame: NativeFrame) -> None:
        if self._sink is None:
            self._sink = self._part()
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
        made, place = self._scratch.path, self._scratch.target
        try:
            if place.exists():
                place.replace(made.with_suffix(".older"))
            made.replace(place)
        except OSError as error:
            raise RunError(f"{self.path} can't be put in place: {error.strerror}") from error
        self._over = True
        self._scratch.drop()  # the older folder, too

    def discard(self) -> None:
        if self._over:
            return
        self._over = True
        if self._sink is not None:
            self._sink.discard()
        self._scratch.drop()
