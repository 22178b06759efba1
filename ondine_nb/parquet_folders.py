"""Folders of Parquet files, as Dask, Spark and polars write them: one table in many parts.

The parts come in the order of their names, numbers by their size (`part.2` before `part.10`). What
folders are called, as in `year=2026/`, are columns of the rows in them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from .errors import ConfigurationError, RunError
from .frames import NativeFrame
from .streams import Stream, recast
from .table_files import first_line, open_file, plan_stream

__all__ = ["open_folder", "parts_of"]

_WITH_GAPS = {"BooleanDtype"}
_WITH_GAPS |= {f"{sign}Int{n}Dtype" for sign in ("", "U") for n in (8, 16, 32, 64)}
_MISSING = "__HIVE_DEFAULT_PARTITION__"


def parts_of(folder: Path) -> list[Path]:
    """The Parquet files in a folder and in those below it; hidden ones aside."""
    found = [path for path in folder.rglob("*.parquet") if path.is_file()]
    shown = [path for path in found if not _hidden(path.relative_to(folder))]
    return sorted(shown, key=lambda path: _by_number(str(path.relative_to(folder))))


def _hidden(path: Path) -> bool:
    return any(part.startswith((".", "_")) for part in path.parts)


def _by_number(name: str) -> list[tuple[int, str]]:
    """The text and the numbers of a name, in a form that sorts."""
    return [(int(word), "") if word.isdigit() else (-1, word) for word in re.split(r"(\d+)", name)]


def open_folder(folder: Path, kind: str) -> Stream:
    """The Parquet files in `folder` as one stream of frames of `kind`, "pandas" or "polars".

    Raises ConfigurationError for a folder without any, and where the files don't go together.
    """
    parts = parts_of(folder)
    if not parts:
        raise ConfigurationError(
            f"{folder} is a folder without Parquet files: give one with files that end in "
            ".parquet, or the path of a file"
        )
    keys = [_keys(path.relative_to(folder)) for path in parts]
    if len({tuple(each) for each in keys}) > 1:
        raise ConfigurationError(
            f"{folder}: its parts don't lie in folders of the same names (as in year=2026): give "
            "one of the folders in it"
        )
    return (_polars if kind == "polars" else _pandas)(folder, parts, keys)


def _keys(path: Path) -> dict[str, str]:
    """The columns that the names of its folders say, with their values."""
    named = (part.partition("=") for part in path.parts[:-1] if "=" in part)
    return {name: unquote(value) for name, _, value in named}


def _polars(folder: Path, parts: Sequence[Path], keys: Sequence[dict[str, str]]) -> Stream:
    import polars as pl

    plan = pl.scan_parquet(list(parts), glob=False, hive_partitioning=bool(keys[0]))
    try:
        rows: int = plan.select(pl.len()).collect().item()
    except pl.exceptions.PolarsError as error:
        raise _unlike(folder, error) from error
    return plan_stream(plan, str(folder), rows=rows)


def _pandas(folder: Path, parts: Sequence[Path], keys: Sequence[dict[str, str]]) -> Stream:
    streams = [open_file(part, "pandas") for part in parts]
    typed = _typed(keys)
    empty = _widest([stream.empty().native for stream in streams]).assign(
        **{name: _constant(values[0], 0, values) for name, values in typed.items()}
    )

    def blocks() -> Iterator[NativeFrame]:
        for at, stream in enumerate(streams):
            for frame in stream.frames(max(stream.rows or 1, 1)):
                own = {name: _constant(of[at], len(frame), of) for name, of in typed.items()}
                native = frame.native.assign(**own)
                if list(native.columns) != list(empty.columns):
                    raise RunError(f"{parts[at]} has other columns than {parts[0]}")
                yield recast(native, empty, str(parts[at]))

    rows = sum(stream.rows or 0 for stream in streams)
    return Stream(str(folder), empty, blocks, rows=rows)


def _widest(frames: Sequence[NativeFrame]) -> NativeFrame:
    """A frame without rows whose columns hold what those of all `frames` do."""
    made = frames[0]
    for other in frames[1:]:
        wider = {
            column: other[column]
            for column in made.columns
            # Integers and booleans with gaps, beside others that have none.
            if column in other and type(other[column].dtype).__name__ in _WITH_GAPS
        }
        made = made.assign(**wider)
    return made


def _typed(keys: Sequence[dict[str, str]]) -> dict[str, list[Any]]:
    """The values of each column that is in the folders' names, a part each; integers as such."""
    made: dict[str, list[Any]] = {}
    for name in keys[0]:
        texts = [None if each[name] == _MISSING else each[name] for each in keys]
        whole = all(text is None or re.fullmatch(r"-?\d{1,18}", text) for text in texts)
        made[name] = [int(text) if whole and text is not None else text for text in texts]
    return made


def _constant(value: Any, rows: int, values: Sequence[Any]) -> Any:
    """A column that is `value` in all of its rows, with the dtype that all `values` need."""
    import pandas as pd

    dtype = "str" if any(isinstance(each, str) for each in values) else "Int64"
    return pd.Series([value] * rows, dtype=dtype).array


def _unlike(folder: Path, error: Exception) -> ConfigurationError:
    return ConfigurationError(f"{folder}: its files don't make one table: {first_line(error)}")
