"""The front door for data: whatever a run can read its rows from, as a `Source`.

`open_source` takes a pandas or polars DataFrame, a polars LazyFrame, a Dask DataFrame, the path of
a CSV, TSV, Parquet or JSONL file (.gz too, but for Parquet) or of a folder of Parquet files, a
pattern of pictures or PDFs (a row for each file), a list of dicts, or an iterator of dicts or of
DataFrames. All but frames, lists and patterns are streamed: only a few thousand rows, or one
partition, are in memory.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from importlib.util import find_spec
from itertools import chain, islice
from pathlib import Path
from typing import Any

from ..errors import ColumnError, ConfigurationError, RunError, nearest
from ..text import encodable, one_line
from .columns import Kind, holds, kind_of_value, listed, merged, native_rows
from .dask import DaskSource, is_dask
from .files import ENDINGS, needs, open_file, plan_stream
from .frames import Frame, NativeFrame, kind_of, text_names, wrap
from .media import files_frame, is_pattern
from .parquet import open_folder
from .source import BLOCK_ROWS, FrameBlocks, FrameSource, Source, recast

__all__ = ["named_dtypes", "open_source", "reads_from"]

_DTYPES = ("str", "int", "float", "bool", "date")
_LOOK_ROWS = 1_000  # of an iterator: fix its columns and dtypes, before anything is sent
_ITERATOR_BLOCK_ROWS = 100  # a slow iterator isn't held up for more
_NOT_DICTS = "give dicts, as in ({'text': text} for text in texts)"
_TUPLES = "give dicts, as in (dict(zip(['id', 'text'], row)) for row in rows)"


def open_source(
    data: Any,
    name: str = "data",
    kind: str | None = None,
    dtypes: Mapping[str, str | type] | str | None = None,
    pages: bool = False,
) -> Source:
    """`data` as a `Source` that messages call `name`; a file by its path.

    `kind` is the library that files and rows are read into. Without it: pandas if that is
    imported and polars isn't, else polars if it is installed (it keeps empty text apart from
    missing and needs nothing more for Parquet), else pandas.

    `dtypes` says what columns of a CSV or JSONL file are read as: str, int, float, bool or date,
    the names or the types, also as text ("zip: str, n: int"); the others' types follow from all
    of their cells.

    Raises ConfigurationError, in one line with the remedy, for what can't be read: another type,
    no such file, an unknown ending, a garbled row, a library that isn't installed; ColumnError
    for no columns or doubled ones.
    """
    own = kind_of(data) or ("polars" if _is_plan(data) else None)
    if own and kind not in (None, own):
        raise ConfigurationError(f"{name} is of {own}: kind={kind!r} goes with files and rows only")
    named = {} if dtypes is None else named_dtypes(dtypes)
    if named and not isinstance(data, (str, Path)):
        raise ConfigurationError(
            f"dtypes goes with the path of a file, and {name} has types of its own: leave it out"
        )
    if _is_plan(data):
        return plan_stream(data, name)
    if is_dask(data):
        return DaskSource(data, name)
    if _names_files(data):
        if named:
            raise ConfigurationError(f"{data} names files, which have no dtypes: leave dtypes out")
        return FrameSource(wrap(files_frame(str(data), _library(kind), pages=pages), name))
    if pages:
        raise ConfigurationError(
            f"--pages makes a row of each page of the PDFs that -i names, and {name} names none: "
            "write -i 'folder/*.pdf', or leave --pages out"
        )
    if isinstance(data, (str, Path)):
        path = _found(data, name)
        if not path.is_dir():
            return open_file(path, _library(kind), named)
        if named:
            raise ConfigurationError(f"{path} has dtypes of its own: leave dtypes out")
        return open_folder(path, _library(kind))
    if isinstance(data, Frame):
        return FrameSource(data)
    if isinstance(data, list):
        return _list_source(data, name, kind)
    if isinstance(data, Iterator):
        return _iterator_source(data, name, kind)
    return FrameSource(wrap(data, name))


def reads_from(data: Any, target: str | Path) -> bool:
    """Whether `data`, as `open_source` takes it, is read out of the file or folder `target`.

    Of a LazyFrame by what its plan names.
    """
    path = Path(target).expanduser().resolve()
    if isinstance(data, (str, Path)):
        source = Path(data).expanduser().resolve()
        return source == path or (source.is_dir() and path.parent == source)
    return _is_plan(data) and any(
        name in data.explain(optimized=False) for name in {str(path), str(target)}
    )


def named_dtypes(dtypes: Mapping[str, str | type] | str) -> dict[str, str]:
    """The dtypes by name, of a mapping or of text as "zip: str, n: int".

    Raises ConfigurationError for one that no file is read as.
    """
    if isinstance(dtypes, str):
        pairs = [part.rpartition(":") for part in dtypes.split(",") if part.strip()]
        dtypes = {column.strip(): dtype.strip() for column, _, dtype in pairs}
    if not isinstance(dtypes, Mapping) or "" in dtypes:
        told = one_line(repr(dtypes), 60)
        raise ConfigurationError(
            f"dtypes is {told}: write 'zip: str, n: int', or give a dict of columns"
        )
    named = {
        column: dtype.__name__ if isinstance(dtype, type) else str(dtype)
        for column, dtype in dtypes.items()
    }
    for column, dtype in named.items():
        if dtype not in _DTYPES:
            raise ConfigurationError(
                f"dtypes says {dtype!r} for column {column!r}: give one of {', '.join(_DTYPES)}"
            )
    return named


def _is_plan(data: object) -> bool:
    plan: object = getattr(sys.modules.get("polars"), "LazyFrame", None)
    return isinstance(plan, type) and issubclass(type(data), plan)


def _library(kind: str | None) -> str:
    """The library to read into: `kind`, or what fits this process."""
    if kind not in (None, "pandas", "polars"):
        raise ConfigurationError(f"kind is {kind!r}: give 'pandas' or 'polars'")
    only_pandas = bool(sys.modules.get("pandas")) and not sys.modules.get("polars")
    fitting = "pandas" if only_pandas or not _installed("polars") else "polars"
    library = kind or fitting
    if not _installed(library):
        raise needs(library, "reading files and rows into frames")
    return library


def _installed(library: str) -> bool:
    return bool(sys.modules[library] if library in sys.modules else find_spec(library))


# --- files


def _names_files(data: Any) -> bool:
    """Whether `data` is a pattern of pictures or PDFs, and no table's path."""
    if not isinstance(data, (str, Path)) or "://" in (text := str(data)):
        return False
    of_tables = text.lower().removesuffix(".gz").endswith(tuple(ENDINGS))
    return is_pattern(text) and not of_tables and not os.path.isdir(os.path.expanduser(text))


def _found(data: str | Path, name: str) -> Path:
    """The path of a file that is there and whose ending is known."""
    if "://" in str(data):
        raise ConfigurationError(f"{name} is the address {data}: download it, then give its path")
    path = Path(data).expanduser()
    _check_ending(path, name)
    if not os.path.exists(path):  # not by `Path`, which raises for what is too long to be one
        raise ConfigurationError(f"there is no file {one_line(str(path), 200)}: {_hint(path)}")
    return path


def _check_ending(path: Path, name: str) -> None:
    ending = path.name.lower()
    packed = ending.endswith(".gz") and not ending.endswith(".parquet.gz")
    ending = ending.removesuffix(".gz") if packed else ending
    if not ending.endswith(tuple(ENDINGS)) and not os.path.isdir(path):
        raise ConfigurationError(
            f"{name} is '{one_line(str(path), 200)}', which isn't the path of a known kind of "
            f"file: give one that ends in {', '.join(ENDINGS)}, or a frame"
        )


def _hint(path: Path) -> str:
    if not os.path.isdir(path.parent):
        return f"the folder {path.parent} isn't there either (paths begin at {Path.cwd()})"
    close = nearest(path.name, [found.name for found in path.parent.iterdir()])
    return f"did you mean {path.parent / close}?" if close else f"paths begin at {Path.cwd()}"


# --- rows and frames, one after another


def _list_source(data: list[Any], name: str, kind: str | None) -> Source:
    if data and kind_of(data[0]):
        return _frames_source(data, name, kind, repeatable=True)
    library, kinds = _library(kind), _kinds_over(data, name)

    def blocks() -> Iterator[NativeFrame]:
        for at in range(0, len(data), BLOCK_ROWS):
            yield native_rows(library, data[at : at + BLOCK_ROWS], kinds, at)

    empty = native_rows(library, [], kinds)
    return FrameBlocks(name, empty, blocks, rows=len(data), kinds=kinds)


def _iterator_source(data: Iterator[Any], name: str, kind: str | None) -> Source:
    first = list(islice(data, 1))
    if first and kind_of(first[0]):
        return _frames_source(chain(first, data), name, kind, repeatable=False)
    seen = first if first and not isinstance(first[0], Mapping) else []
    if not seen:
        seen = [*first, *islice(data, _LOOK_ROWS - 1)]
    library = _library(kind)
    kinds = {key: _open_kind(found) for key, found in _kinds_over(seen, name).items()}

    def blocks() -> Iterator[NativeFrame]:
        rows, at = chain(seen, data), 0
        while block := list(islice(rows, _ITERATOR_BLOCK_ROWS)):
            _check_rows(block, kinds, at, name)
            yield native_rows(library, block, kinds, at)
            at += len(block)

    empty = native_rows(library, [], kinds)
    return FrameBlocks(name, empty, blocks, repeatable=False, kinds=kinds)


def _kinds_over(rows: Iterable[Any], name: str) -> dict[str, Kind]:
    """The kinds of the columns that `rows` have between them."""
    kinds: dict[str, Kind] = {}
    for at, row in enumerate(rows):
        for key, value in _cells(row, at, name):
            kinds[key] = merged(kinds.get(key), value)
    if not kinds:
        raise ColumnError(
            f"{name} has no rows with keys, so its columns aren't known: give a frame"
        )
    text_names(list(kinds), name)
    return kinds


def _cells(row: Any, at: int, name: str) -> Iterator[tuple[Any, Kind]]:
    """The keys of row `at` and the kinds of its values."""
    if not isinstance(row, Mapping):
        what = type(row).__name__
        remedy = _TUPLES if isinstance(row, (tuple, list)) else _NOT_DICTS
        raise ConfigurationError(f"row {at} of {name} is of type {what}, not a dict: {remedy}")
    for key, value in row.items():
        if not isinstance(key, str) or encodable(key) != key:
            raise ConfigurationError(
                f"row {at} of {name} has the key {key!r}: give keys that are text"
            )
        yield key, kind_of_value(value)


def _open_kind(kind: Kind) -> Kind:
    """`kind` as later rows of an iterator may need it: text where nothing is known, open dicts."""
    if isinstance(kind, dict):
        return "any"
    if isinstance(kind, tuple):
        item = _open_kind(kind[1])
        item = "number" if item == "float" else item
        return ("list", item) if isinstance(item, str) and item != "any" else "any"
    return {None: "str", "int": "long", "number": "float"}.get(kind, kind)


_NAMES = {"long": "int", "day": "date", "naive": "datetime", "number": "float"}


def _shown(kind: Kind) -> str:
    """A kind as messages name it."""
    if isinstance(kind, tuple):
        return "a list"
    return _NAMES.get(str(kind), str(kind))


def _check_rows(rows: list[Any], kinds: dict[str, Kind], start: int, name: str) -> None:
    """Raises RunError for a later row that doesn't fit what the first rows fixed."""
    for at, row in enumerate(rows, start):
        try:
            cells = list(_cells(row, at, name))
        except ConfigurationError as error:
            raise RunError(str(error)) from None
        for key, value in cells:
            if key not in kinds:
                raise RunError(
                    f"row {at} of {name} has the new key {key!r}: give each row the keys of the "
                    f"first {_LOOK_ROWS}, or give the rows as a list"
                )
            if not holds(kinds[key], value):
                raise RunError(
                    f"row {at} of {name} has {row[key]!r} for {key!r}, which was "
                    f"{_shown(kinds[key])} in the first {_LOOK_ROWS} rows: give values of one "
                    "type, or the rows as a list"
                )


def _frames_source(data: Iterable[Any], name: str, kind: str | None, repeatable: bool) -> Source:
    """Frames as one source: the first one fixes columns and dtypes."""
    frames = data if repeatable else iter(data)
    first = next(iter(frames))
    head = wrap(first, name)
    if kind not in (None, head.kind):
        raise ConfigurationError(f"{name} gives frames of {head.kind}: leave kind={kind!r} out")

    def blocks() -> Iterator[NativeFrame]:
        following = frames if repeatable else chain([first], frames)
        return (_alike(frame, head, at, name) for at, frame in enumerate(following))

    rows = sum(map(len, data)) if isinstance(data, list) else None
    empty = head.take([]).native
    return FrameBlocks(name, empty, blocks, rows=rows, repeatable=repeatable, first=first)


def _alike(native: Any, head: Frame, at: int, name: str) -> NativeFrame:
    """Frame `at` of an iterator, with the columns and dtypes of the first, `head`."""
    called = f"frame {at} of {name}"
    if kind_of(native) != head.kind:
        raise RunError(f"{called} is of type {type(native).__name__}: give {head.kind} frames only")
    frame = wrap(native, called)
    if frame.columns != head.columns:
        raise RunError(
            f"{called} has the columns {listed(frame.columns)}, and the first had "
            f"{listed(head.columns)}: give each frame the same ones"
        )
    return recast(native, head.native, called)
