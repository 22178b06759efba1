"""Parquet files written chunk by chunk: of pandas frames by pyarrow, of polars frames by polars.

The first chunk fixes the dtypes. But a column in which all is missing hasn't got one yet: when a
later chunk tells, the writing goes on in another part, and the parts become one file at the end.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from ..errors import ConfigurationError, RunError
from ..text import encodable
from .columns import cell_text
from .files import first_line, needs, open_file, plan_stream
from .frames import Frame, NativeFrame, wrap
from .source import FrameBlocks, recast

__all__ = [
    "PandasParquet",
    "PolarsParquet",
    "check_parquet",
    "check_pyarrow",
    "open_folder",
    "parts_of",
]


_PART_ROWS = 50_000  # polars can't append to a file: rows are gathered, then written as a part
_PART_BYTES = 64 * 2**20


def check_pyarrow() -> None:
    """Raises ConfigurationError if pyarrow, which `PandasParquet` needs, isn't installed."""
    try:
        import pyarrow.parquet  # noqa: F401
    except ImportError:
        raise needs("pyarrow", "writing pandas frames to Parquet") from None


class PandasParquet:
    """Writes pandas frames to `part`, each chunk as a row group. Needs pyarrow.

    `kinds` has the kinds of new columns, which have their type by that. A column of objects else
    has the type of what it holds; where a later chunk holds something else, it is text throughout.
    """

    def __init__(self, part: Path, frame: Frame, kinds: Mapping[str, str]) -> None:
        check_pyarrow()
        import pyarrow.parquet as pq

        self._types = _types_of(kinds)

        self._new: Any = pq.ParquetWriter
        self._part = part
        self._parts: list[Path] = []
        self._writer: Any = None
        self._schema: Any = None
        # Columns that are JSON text, from the first such chunk on.
        self._texts = {name for name, kind in kinds.items() if kind == "json"}
        index = frame.native.index
        self._keeps_index = type(index).__name__ != "RangeIndex" or index.name is not None

    def append(self, frame: Frame) -> None:
        """Writes the rows of `frame`. Raises RunError for a column that doesn't fit its dtype."""
        table = _arrow_table(frame, self._keeps_index, self._texts, self._types)
        if self._schema is None:
            self._begin(table.schema)
        elif not self._schema.equals(table.schema):
            if unlike := self._unlike(frame, table.schema):
                self._texts |= unlike
                table = _arrow_table(frame, self._keeps_index, self._texts, self._types)
            table = self._fitted(table)
        self._writer.write_table(table)

    def finish(self) -> None:
        """Makes one file at `part` of all that was written."""
        self._writer.close()
        if len(self._parts) == 1:
            self._parts[0].replace(self._part)
            return
        with self._new(self._part, self._schema) as whole:
            for part in self._parts:
                for table in _row_groups(part):
                    whole.write_table(_as_text_in(table, self._texts).cast(self._schema))
        for part in self._parts:
            part.unlink()

    def abandon(self) -> None:
        """Closes what is open; the files are the caller's."""
        if self._writer is not None:
            self._writer.close()

    def _begin(self, schema: Any) -> None:
        """Goes on in a new part, with `schema`."""
        if self._writer is not None:
            self._writer.close()
        self._parts.append(self._part.with_name(f"{self._part.name}{len(self._parts)}"))
        self._schema = schema
        self._writer = self._new(self._parts[-1], schema)

    def _unlike(self, frame: Frame, schema: Any) -> set[str]:
        """The columns of objects that hold other things than before, and no gaps alone."""
        import pyarrow as pa

        found = set()
        for name, dtype in zip(frame.columns, frame.native.dtypes, strict=True):
            if str(dtype) != "object" or name not in schema.names or name in self._texts:
                continue
            both = [pa.schema([of.field(name)]) for of in (self._schema, schema)]
            try:
                pa.unify_schemas(both, promote_options=_promotion(*both))
            except pa.ArrowException:
                found.add(name)
        return found

    def _fitted(self, table: Any) -> Any:
        """`table` with the dtypes of the file, which settles those that it hasn't got yet."""
        import pyarrow as pa

        if self._schema.names != table.schema.names:
            raise RunError(
                "a chunk has another index than the first: give all an unnamed RangeIndex, "
                "with reset_index(), or none"
            )
        fields = [
            _united(was, now, as_text=was.name in self._texts)
            for was, now in zip(self._schema, table.schema, strict=True)
        ]
        schema = pa.schema(fields, metadata=self._schema.metadata)
        columns = [_cast(table, field) for field in schema]
        if not schema.equals(self._schema):
            self._begin(_described(schema, self._schema, table.schema))
        return pa.Table.from_arrays(columns, schema=self._schema)


class PolarsParquet:
    """Writes polars frames to `part`."""

    def __init__(self, part: Path, frame: Frame) -> None:
        self._part = part
        self._parts: list[Path] = []
        self._like: NativeFrame = frame.native.clear()
        self._held: list[NativeFrame] = []

    def append(self, frame: Frame) -> None:
        """Takes the rows of `frame`. Raises RunError for a column that doesn't fit its dtype."""
        native = frame.native
        _check_polars(native)
        for column, dtype in native.schema.items():
            if "Null" in str(self._like.schema[column]) and "Null" not in str(dtype):
                self._like = self._like.with_columns(native[column].clear())
        self._held.append(recast(native, self._like, "a chunk"))
        rows = sum(map(len, self._held))
        if rows >= _PART_ROWS or sum(held.estimated_size() for held in self._held) >= _PART_BYTES:
            self._flush()

    def finish(self) -> None:
        """Makes one file at `part` of all that was taken."""
        import polars as pl

        self._flush()
        plans = [pl.scan_parquet(part, glob=False) for part in self._parts]
        if len(plans) == 1:
            self._parts[0].replace(self._part)
            return
        pl.concat([plan.cast(dict(self._like.schema)) for plan in plans]).sink_parquet(self._part)
        for part in self._parts:
            part.unlink()

    def abandon(self) -> None:
        """Lets go of the rows; the files are the caller's."""
        self._held = []

    def _flush(self) -> None:
        import polars as pl

        if self._held:
            held = [recast(native, self._like, "a chunk") for native in self._held]
            self._parts.append(self._part.with_name(f"{self._part.name}{len(self._parts)}"))
            pl.concat(held).write_parquet(self._parts[-1])
            self._held = []


def check_parquet(frame: Frame, columns: Sequence[str]) -> None:
    """Raises RunError, which names the column, if Parquet can't hold these columns of `frame`."""
    if frame.kind == "polars":
        _check_polars(frame.native.select(columns))
        return
    size = 10_000
    for at in range(0, max(len(frame), 1), size):
        native = frame.native.iloc[at : at + size]
        kept = [name in columns for name in frame.columns]
        _arrow_table(wrap(native.loc[:, kept], frame.name), True, set(), {})


def _check_polars(native: NativeFrame) -> None:
    for column, dtype in native.schema.items():
        if "Object" in str(dtype):
            raise RunError(f"column {column!r} holds Python objects, which Parquet can't: drop it")


def _types_of(kinds: Mapping[str, str]) -> dict[str, Any]:
    """The Arrow types of new columns that pandas holds as objects."""
    import pyarrow as pa

    items = {
        "str": pa.string(),
        "int": pa.int64(),
        "float": pa.float64(),
        "bool": pa.bool_(),
        "date": pa.date32(),
    }
    named = ((name, kind.removeprefix("list[")[:-1]) for name, kind in kinds.items())
    return {name: pa.list_(items[item]) for name, item in named if f"list[{item}]" == kinds[name]}


def _arrow_table(frame: Frame, keeps_index: bool, texts: set[str], types: Mapping[str, Any]) -> Any:
    """The frame as an Arrow table, columns of dicts or mixed values, noted in `texts`, as JSON."""
    import pyarrow as pa

    native = frame.native.copy(deep=False)
    typed: dict[int, Any] = {}
    for at, column in enumerate(frame.columns):
        series = native.iloc[:, at]
        if (arrow := getattr(series.dtype, "pyarrow_dtype", None)) is not None:
            if arrow.num_fields:  # pandas' notes on such a dtype can't be read by pandas
                typed[at] = pa.chunked_array(series.array.__arrow_array__())
        elif str(series.dtype) != "object":
            continue
        elif column in types and (made := _of_type(series, types[column])) is not None:
            typed[at] = made
        elif column in texts or not _is_plain(series):
            texts.add(column)
            native.isetitem(at, _texts(frame, column))
        if at in typed:
            native.isetitem(at, [None] * len(native))
    try:
        table = pa.Table.from_pandas(native, preserve_index=keeps_index)
    except (pa.ArrowException, UnicodeError, OverflowError) as error:
        raise RunError(
            f"{_culprit(native)} can't be held by Parquet: {first_line(error)}"
        ) from error
    for at, array in typed.items():
        table = table.set_column(at, pa.field(table.schema.names[at], array.type), array)
    return table


def _of_type(series: Any, arrow: Any) -> Any:
    """A column of objects as an Arrow array of a type; None if that doesn't fit."""
    import pyarrow as pa

    try:
        return pa.array(series.tolist(), arrow, from_pandas=True)
    except (pa.ArrowException, TypeError, ValueError, OverflowError):
        return None


def _is_plain(column: Any) -> bool:
    """Whether Arrow has one type, without dicts, for what an object column holds."""
    import pyarrow as pa

    try:
        kind = pa.Array.from_pandas(column).type
    except (pa.ArrowException, UnicodeError, OverflowError):
        return False
    return "struct<" not in str(kind)


def _texts(frame: Frame, column: str) -> list[str | None]:
    """The cells of a column as text: JSON where they aren't text, all of them."""
    return _as_texts([value for rows in frame.iter_rows([column]) for (value,) in rows])


def _as_texts(cells: Sequence[Any]) -> list[str | None]:
    only_text = all(value is None or isinstance(value, str) for value in cells)
    make = encodable if only_text else cell_text
    return [None if value is None else make(value) for value in cells]


def _as_text_in(table: Any, texts: set[str]) -> Any:
    """A table in which the columns that are text by now, and weren't before, are text."""
    import pyarrow as pa

    for at, field in enumerate(table.schema):
        if field.name in texts and not (
            pa.types.is_string(field.type) or pa.types.is_large_string(field.type)
        ):
            cells = pa.array(_as_texts(table.column(at).to_pylist()), pa.string())
            table = table.set_column(at, pa.field(field.name, pa.string()), cells)
    return table


def _promotion(*schemas: Any) -> str:
    """Decimals of more digits hold those of fewer; other types are never mixed."""
    import pyarrow as pa

    kinds = [field.type for schema in schemas for field in schema]
    return "permissive" if all(map(pa.types.is_decimal, kinds)) else "default"


def _united(was: Any, now: Any, *, as_text: bool) -> Any:
    """The field that holds what both do; `was` where there is none: the cast says what is wrong."""
    import pyarrow as pa

    if as_text:
        return now
    both = [pa.schema([field.remove_metadata()]) for field in (was, now)]
    try:
        return pa.unify_schemas(both, promote_options=_promotion(*both)).field(0)
    except pa.ArrowException:
        return was


def _culprit(native: NativeFrame) -> str:
    """What of a frame Arrow doesn't take."""
    import pyarrow as pa

    for at, column in enumerate(native.columns):
        try:
            pa.Array.from_pandas(native.iloc[:, at])
        except (pa.ArrowException, UnicodeError, OverflowError):
            return f"column {column!r}"
    return "the index"


def _row_groups(part: Path) -> Any:
    import pyarrow.parquet as pq

    with pq.ParquetFile(part) as file:
        for at in range(file.num_row_groups):
            yield file.read_row_group(at)


def _cast(table: Any, field: Any) -> Any:
    import pyarrow as pa

    column = table.column(field.name)
    try:
        return column.cast(field.type)
    except pa.ArrowException as error:
        raise RunError(
            f"column {field.name!r} of a chunk is {column.type}, and doesn't fit into {field.type},"
            " which it was in the first: give it the same dtype throughout, or write to .jsonl"
        ) from error


def _described(schema: Any, older: Any, newer: Any) -> Any:
    """`schema` with pandas' notes on its columns, those of `newer` where the type is new."""
    notes = json.loads(older.metadata[b"pandas"])
    later = json.loads(newer.metadata[b"pandas"])["columns"]
    kept = [older.field(at).type == schema.field(at).type for at in range(len(schema))]
    notes["columns"] = [
        was if same else now for was, now, same in zip(notes["columns"], later, kept, strict=False)
    ]
    return schema.with_metadata({**older.metadata, b"pandas": json.dumps(notes).encode()})


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


def open_folder(folder: Path, kind: str) -> FrameBlocks:
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


def _polars(folder: Path, parts: Sequence[Path], keys: Sequence[dict[str, str]]) -> FrameBlocks:
    import polars as pl

    plan = pl.scan_parquet(list(parts), glob=False, hive_partitioning=bool(keys[0]))
    try:
        rows: int = plan.select(pl.len()).collect().item()
    except pl.exceptions.PolarsError as error:
        raise _unlike(folder, error) from error
    return plan_stream(plan, str(folder), rows=rows)


def _pandas(folder: Path, parts: Sequence[Path], keys: Sequence[dict[str, str]]) -> FrameBlocks:
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
    return FrameBlocks(str(folder), empty, blocks, rows=rows)


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
