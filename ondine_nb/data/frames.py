"""DataFrames, whichever library they come from; here pandas is told from polars.

`wrap` takes a pandas or polars DataFrame and gives a `Frame`: its rows as plain Python values in
input order and, at the end, a frame of the same kind with new columns (dtypes: `columns.py`) put
in by position. pandas and polars are imported inside functions, once a frame is asked for.
"""

from __future__ import annotations

import random
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any, ClassVar, TypeAlias

from ..errors import ColumnError, ConfigurationError, nearest
from .columns import (
    Column,
    Kind,
    is_nan_or_none,
    listed,
    pandas_series,
    plain,
    polars_series,
    settled,
)

__all__ = ["Frame", "NativeFrame", "frames_in"]
__all__ += ["kind_of", "records_frame", "text_names", "wrap"]

NativeFrame: TypeAlias = Any  # pandas.DataFrame | polars.DataFrame, not imported up here
_Reader: TypeAlias = "Callable[[slice | list[int]], list[Any]]"  # one column's cells at rows
_PLAIN = frozenset({str, int, float, bool, bytes, date, datetime, time, timedelta, Decimal})

# What to do about a thing that is easily taken for a frame, by its root module and class.
_REMEDIES = {
    ("builtins", "NoneType"): "did the call that made it change its frame in place?",
    ("builtins", "str"): "read the file first, with pandas.read_csv(…) or polars.read_csv(…)",
    ("pathlib", "PurePath"): "read the file first, with pandas.read_csv(…) or polars.read_csv(…)",
    ("builtins", "list"): "make a frame of it with pandas.DataFrame({name})",
    ("builtins", "dict"): "make a frame of it with pandas.DataFrame({name})",
    ("numpy", "ndarray"): "make a frame of it with pandas.DataFrame({name}, columns=[…])",
    ("pandas", "Series"): "make a frame of it with {name}.to_frame()",
    ("polars", "Series"): "make a frame of it with {name}.to_frame()",
    ("polars", "LazyFrame"): "collect it first, with {name}.collect()",
    ("pyarrow", "Table"): "make a frame of it with {name}.to_pandas() or polars.from_arrow({name})",
    ("dask", "DataFrame"): "compute it first, with {name}.compute()",
}


class Frame(ABC):
    """A DataFrame as it was when it was wrapped; `native` is the object that was given.

    Reads go to a copy-on-write snapshot of it: a `df["x"] = …` in a later cell, while a run is
    on its way, can't shift a row. `columns` holds the names, as text.
    """

    kind: ClassVar[str]
    index_names: tuple[str, ...] = ()  # of the levels of an index that isn't just the position

    def __init__(self, native: NativeFrame, name: str) -> None:
        self.native = native
        self.name = name
        self._held = self._snapshot(native)
        self.columns: tuple[str, ...] = text_names(list(self._held.columns), name)
        self._slots = {column: slot for slot, column in enumerate(self.columns)}

    def __len__(self) -> int:
        return len(self._held)

    def iter_rows(
        self,
        columns: Sequence[str],
        start: int = 0,
        size: int = 500,
        positions: Sequence[int] | None = None,
    ) -> Iterator[list[tuple[Any, ...]]]:
        """Lists of up to `size` rows, each a tuple of Python values, one for each of `columns`.

        Rows come in input order from row `start` on; or those at `positions`, in that order, from
        its item `start` on. Missing values of any sort are None. One chunk is in memory at a
        time. Raises ColumnError, at the call, for an unknown column.
        """
        readers = [self._reader(self._slot(column)) for column in columns]
        places = range(len(self)) if positions is None else list(positions)
        return _chunks(readers, places, start, size)

    def labels(self, positions: Sequence[int]) -> list[tuple[Any, ...]]:
        """The index of the rows at `positions`: a Python value for each of `index_names`."""
        return [()] * len(positions)

    def labelled(self, records: NativeFrame, positions: Sequence[int]) -> NativeFrame:
        """`records` of the rows at `positions`, with the index of these rows where there is one."""
        return records

    def take(self, positions: Sequence[int]) -> Frame:
        """A frame of the rows at `positions`, in that order; the rest as it was."""
        return type(self)(self._taken(list(positions)), self.name)

    def picked(self, positions: Sequence[int], columns: Sequence[str]) -> Frame:
        """A frame of these columns of the rows at `positions`, which it counts anew from 0."""
        return self.take(positions)._of_columns([self._slot(column) for column in columns])

    def align(self, series: Any) -> list[Any]:
        """A Python value of `series` for each row, by position; missing ones are None.

        Of pandas by index, where the two indexes differ, are unique, and meet; a row that the
        series lacks is missing. Raises ColumnError for a series of another length.
        """
        if len(series) != len(self):
            raise ColumnError(
                f"the series has {len(series):,} values, and {self.name} has {len(self):,} rows"
            )
        if not hasattr(series, "to_frame"):
            return [plain(value) for value in series]
        made = wrap(series.to_frame())
        return [value for rows in made.iter_rows(made.columns[:1]) for (value,) in rows]

    def sample_positions(self, n: int, seed: int = 0) -> list[int]:
        """Positions of `n` rows (of all, if there are no more), ascending, fixed by `seed`."""
        wanted = min(max(n, 0), len(self))
        return sorted(random.Random(seed).sample(range(len(self)), wanted))  # noqa: S311

    def check_new(self, names: Sequence[str], overwrite: bool) -> None:
        """Raises ColumnError if new columns can't have `names`: one is doubled, or taken."""
        _check_doubled(names)
        taken = [name for name in names if self._taken_slot(name) is not None]
        if taken and not overwrite:
            raise ColumnError(
                f"{self.name} already has {'columns' if len(taken) > 1 else 'a column'} "
                f"{listed(taken)}: choose another name with --column, or add --overwrite"
            )

    def with_columns(self, new: Sequence[Column]) -> NativeFrame:
        """A native frame with each of `new` in the place of its namesake, or else at the end.

        All else (index, attrs, dtypes, subclass) is kept and the input object is untouched.
        Raises ColumnError for two of one name, ValueError for a column that hasn't a value for
        each row or has one that isn't among its choices.
        """
        _check_doubled([column.name for column in new])
        for column in new:
            if len(column.values) != len(self):  # never broadcast, never shifted
                raise ValueError(
                    f"column {column.name!r} has {len(column.values)} values for {len(self)} rows"
                )
        return self._extended(new)

    def holds_bytes(self, column: str) -> bool:
        """Whether a column holds bytes: by its dtype, or by its values where that doesn't tell."""
        slot = self._slot(column)
        known = _bytes_in_dtype(
            str(self._held.dtypes[slot] if self.kind == "polars" else self._held.dtypes.iloc[slot])
        )
        if known is not None:
            return known
        return any(_bytes_in(value) for rows in self.iter_rows([column]) for (value,) in rows)

    def _slot(self, column: str) -> int:
        if column in self._slots:
            return self._slots[column]
        close = nearest(column, self.columns)
        hint = f"did you mean {close!r}?" if close else f"it has {listed(self.columns)}"
        raise ColumnError(f"{self.name} has no column {column!r}: {hint}")

    def _taken_slot(self, name: str) -> int | None:
        """Where a new column `name` would meet one that is there."""
        return self._slots.get(name)

    @abstractmethod
    def _snapshot(self, native: NativeFrame) -> NativeFrame: ...
    @abstractmethod
    def _reader(self, slot: int) -> _Reader: ...
    @abstractmethod
    def _taken(self, positions: list[int]) -> NativeFrame: ...
    @abstractmethod
    def _extended(self, new: Sequence[Column]) -> NativeFrame: ...
    @abstractmethod
    def _of_columns(self, slots: list[int]) -> Frame: ...


class PandasFrame(Frame):
    """A `Frame` on a pandas DataFrame or a subclass of it."""

    kind = "pandas"

    def __init__(self, native: NativeFrame, name: str) -> None:
        super().__init__(native, name)
        self.index_names: tuple[str, ...] = _index_names(self._held.index)

    def labels(self, positions: Sequence[int]) -> list[tuple[Any, ...]]:
        if not self.index_names:
            return super().labels(positions)
        rows = self._held.index.take(list(positions))
        levels = [rows.get_level_values(at).to_series() for at in range(len(self.index_names))]
        return list(zip(*map(_pandas_cells, levels), strict=True))

    def labelled(self, records: NativeFrame, positions: Sequence[int]) -> NativeFrame:
        return records.set_axis(self._held.index.take(list(positions)), axis="index")

    def align(self, series: Any) -> list[Any]:
        if hasattr(series, "reindex"):
            index, own = series.index, self._held.index
            unique = index.is_unique and own.is_unique
            if unique and not index.equals(own) and own.isin(index).any():
                series = series.reindex(own)
        return super().align(series)

    def _snapshot(self, native: NativeFrame) -> NativeFrame:
        return native.copy(deep=False)

    def _reader(self, slot: int) -> _Reader:
        series = self._held.iloc[:, slot]
        return lambda rows: _pandas_cells(series.iloc[rows])

    def _taken(self, positions: list[int]) -> NativeFrame:
        return self._held.take(positions)

    def _of_columns(self, slots: list[int]) -> Frame:
        return PandasFrame(self._held.iloc[:, slots].reset_index(drop=True), self.name)

    def _extended(self, new: Sequence[Column]) -> NativeFrame:
        result = self._held.copy(deep=False)
        for column in new:
            # By position: with the very index of the frame nothing is aligned by label, which may
            # be doubled.
            slot = self._taken_slot(column.name)
            made = pandas_series(column).set_axis(result.index)
            if slot is None:
                result.insert(len(result.columns), self._label(column.name), made)
            else:
                result.isetitem(slot, made)
        return result

    def _label(self, name: str) -> Any:
        """What pandas calls a new column `name`: under MultiIndex columns, a padded tuple."""
        levels = self._held.columns.nlevels
        return name if levels == 1 else (name,) + ("",) * (levels - 1)

    def _taken_slot(self, name: str) -> int | None:
        return self._slots.get(name, self._slots.get(str(self._label(name))))


class PolarsFrame(Frame):
    """A `Frame` on a polars DataFrame.

    With `kinds` it is one as from `native_rows`: its rows are read as they came, and `native`, and
    whatever is made of it, has the dtypes that a user gets.
    """

    kind = "polars"

    def __init__(
        self, native: NativeFrame, name: str, kinds: Mapping[str, Kind] | None = None
    ) -> None:
        super().__init__(native, name)
        self._kinds = kinds
        if kinds:
            self.native: NativeFrame = settled(native, kinds)

    def take(self, positions: Sequence[int]) -> Frame:
        return PolarsFrame(self._taken(list(positions)), self.name, self._kinds)

    def _snapshot(self, native: NativeFrame) -> NativeFrame:
        return native.clone()

    def _reader(self, slot: int) -> _Reader:
        series = self._held.to_series(slot)
        return lambda rows: _polars_cells(series[rows])

    def _taken(self, positions: list[int]) -> NativeFrame:
        return self._held[positions]

    def _of_columns(self, slots: list[int]) -> Frame:
        return PolarsFrame(self.native[:, slots], self.name)

    def _extended(self, new: Sequence[Column]) -> NativeFrame:
        frame = self.native if self._kinds else self._held
        return frame.with_columns([polars_series(column) for column in new])


def _index_names(index: Any) -> tuple[str, ...]:
    """The names of the levels of a pandas index; none of one that only counts the rows."""
    import pandas as pd

    counts = isinstance(index, pd.RangeIndex) and (index.start, index.step) == (0, 1)
    if counts and index.name is None:
        return ()
    if index.nlevels == 1:
        return (str("index" if index.name is None else index.name),)
    return tuple(
        f"level_{at}" if name is None else str(name) for at, name in enumerate(index.names)
    )


def wrap(data: Any, name: str = "data", kinds: Mapping[str, Kind] | None = None) -> Frame:
    """A `Frame` on `data`, a pandas or polars DataFrame that messages call `name`.

    `kinds` are those of its columns, where `native_rows` made it.

    Raises ConfigurationError, with the remedy, for anything else; ColumnError for a frame with no
    columns or with two whose names are the same as text.
    """
    if kind := kind_of(data):
        return PandasFrame(data, name) if kind == "pandas" else PolarsFrame(data, name, kinds)
    bases = [(base.__module__.partition(".")[0], base.__name__) for base in type(data).__mro__]
    what = " ".join(bases[0]).removeprefix("builtins ")
    what = "None" if data is None else f"an {what}" if what[0] in "aeiou" else f"a {what}"
    remedy = next(filter(None, map(_REMEDIES.get, bases)), "give a pandas or polars DataFrame")
    raise ConfigurationError(f"{name} is {what}: {remedy.replace('{name}', name)}")


def frames_in(namespace: Mapping[str, Any]) -> list[str]:
    """The names in `namespace` of pandas and polars DataFrames that don't begin with "_"."""
    # A copy first: other threads bind names too.
    named = [(name, value) for name, value in list(namespace.items()) if kind_of(value)]
    return [name for name, _ in named if isinstance(name, str) and not name.startswith("_")]


def records_frame(kind: str, columns: Sequence[Column]) -> NativeFrame:
    """A new native frame of `kind`, "pandas" (with a RangeIndex) or "polars", from `columns`.

    Raises ColumnError for two columns of one name, ValueError where lengths differ.
    """
    _check_doubled([column.name for column in columns])
    if len({len(column.values) for column in columns}) > 1:
        raise ValueError("the columns of a frame must be of one length")
    if kind == "pandas":
        import pandas as pd

        return pd.DataFrame({column.name: pandas_series(column) for column in columns})
    import polars as pl

    return pl.DataFrame([polars_series(column) for column in columns])


def kind_of(data: object) -> str | None:
    """The library `data` is a DataFrame of. Looks at its type only: proxies work when touched."""
    for kind in ("pandas", "polars"):
        frame: object = getattr(sys.modules.get(kind), "DataFrame", None)
        if isinstance(frame, type) and issubclass(type(data), frame):
            return kind
    return None


def text_names(names: Sequence[Any], frame: str) -> tuple[str, ...]:
    """`names` as text. Raises ColumnError, which calls the frame `frame`, for none or doubled."""
    texts = tuple(str(name) for name in names)
    doubled = sorted({text for text in texts if texts.count(text) > 1})
    if doubled:
        raise ColumnError(f"{frame} has more than one column named {listed(doubled)}: rename one")
    if not texts:
        raise ColumnError(f"{frame} has no columns, so a prompt has nothing to name")
    return texts


def _check_doubled(names: Sequence[str]) -> None:
    doubled = sorted({name for name in names if names.count(name) > 1})
    if doubled:
        raise ColumnError(f"two new columns would be named {listed(doubled)}: rename one")


def _bytes_in_dtype(dtype: str) -> bool | None:
    """Whether a dtype is of bytes, at any depth; None where only the values tell."""
    if dtype in ("object", "Object", "category"):
        return None
    return "binary" in dtype.lower()


def _bytes_in(value: Any) -> bool:
    if isinstance(value, (list, tuple)):
        return any(map(_bytes_in, value))
    if isinstance(value, dict):
        return any(map(_bytes_in, value.values()))
    return isinstance(value, (bytes, bytearray))


def _chunks(
    readers: Sequence[_Reader], places: range | list[int], start: int, size: int
) -> Iterator[list[tuple[Any, ...]]]:
    for low in range(start, len(places), size):
        rows = places[low : low + size]
        picked = slice(rows.start, rows.stop) if isinstance(rows, range) else rows
        # Without columns there are still rows, which zip() wouldn't know of.
        yield list(zip(*(read(picked) for read in readers), strict=True)) or [()] * len(rows)


def _pandas_cells(part: Any) -> list[Any]:
    """The values of a pandas Series, as Python's own."""
    if part.dtype.kind == "f":
        narrow = getattr(part.dtype, "subtype", part.dtype).itemsize < 8  # the former if sparse
        floats = part.array.to_numpy("f4" if narrow else "f8", na_value=float("nan"))
        # By way of text: float32 0.1 is 0.1 to its reader, not 0.10000000149011612.
        floats = floats.astype("U32").astype("f8") if narrow else floats
        return [None if value != value else value for value in floats.tolist()]
    if (arrow := getattr(part.dtype, "pyarrow_dtype", None)) is not None and arrow.num_fields:
        return [None if value is None else _widened(value, arrow) for value in _arrow_list(part)]
    gaps = part.array.isna()  # of the array: the Series' own costs as much as 500 cells
    return [
        None if gone else value if type(value) in _PLAIN else plain(value)
        for value, gone in zip(part.tolist(), gaps.tolist(), strict=True)
    ]


def _arrow_list(part: Any) -> list[Any]:
    """The cells of an Arrow-backed pandas Series as Arrow gives them to Python."""
    values: list[Any] = part.array.__arrow_array__().to_pylist()
    return values


def _widened(value: Any, arrow: Any) -> Any:
    """A nested value of an Arrow type, where a 16- or 32-bit float is what its text says."""
    import pyarrow.types as kinds

    if value is None:
        return None
    if kinds.is_struct(arrow):
        return {field.name: _widened(value[field.name], field.type) for field in arrow}
    if kinds.is_map(arrow):
        return {key: _widened(item, arrow.item_type) for key, item in value}
    if arrow.num_fields and hasattr(arrow, "value_type"):
        return [_widened(item, arrow.value_type) for item in value]
    if kinds.is_float32(arrow) or kinds.is_float16(arrow):
        import numpy as np

        return plain(np.float32(value))
    return plain(value)


def _polars_cells(part: Any) -> list[Any]:
    """The values of a polars Series, as Python's own; the same as from pandas."""
    import polars as pl

    texts = _with_leaf(part.dtype, pl.String())
    if texts != part.dtype:  # by way of text, as in _pandas_cells
        part = part.cast(texts).cast(_with_leaf(part.dtype, pl.Float64()))
    if part.dtype == pl.Float64:
        part = part.fill_nan(None)
    values: list[Any] = part.to_list()
    if part.dtype == pl.Object:
        return [None if is_nan_or_none(value) else plain(value) for value in values]
    if isinstance(part.dtype, pl.Datetime) and part.dtype.time_unit == "ns":
        rests = (part.to_physical() % 1000).to_list()  # what to_list cuts off
        return list(map(_with_nanoseconds, values, rests))
    return values


def _with_leaf(dtype: Any, leaf: Any) -> Any:
    """A polars dtype in which each 16- or 32-bit float, however deep, is `leaf`."""
    import polars as pl

    if isinstance(dtype, pl.List):
        return pl.List(_with_leaf(dtype.inner, leaf))
    if isinstance(dtype, pl.Array):
        return pl.Array(_with_leaf(dtype.inner, leaf), dtype.size)
    if isinstance(dtype, pl.Struct):
        return pl.Struct({field.name: _with_leaf(field.dtype, leaf) for field in dtype.fields})
    return leaf if dtype.is_float() and dtype != pl.Float64 else dtype


class _NanoDatetime(datetime):
    """A datetime whose ISO text ends in `nanosecond`, as that of a pandas Timestamp does."""

    nanosecond = 0

    def isoformat(self, sep: str = "T", timespec: str = "auto") -> str:
        text = super().isoformat(sep, "microseconds")
        return f"{text[:26]}{self.nanosecond:03d}{text[26:]}"


def _with_nanoseconds(value: Any, nanosecond: int | None) -> Any:
    if not nanosecond:
        return value
    made = _NanoDatetime.combine(value.date(), value.timetz())
    made.nanosecond = nanosecond
    return made
