"""What a column holds, its kind, and the arrays of either library that hold it.

A column's dtype depends on its kind alone, never on its values, so chunks and empty frames fit.
New columns have kinds by name; those of rows that are read (dicts, JSONL) are found with
`kind_of_value` and `merged` over all of them.

    kind      pandas               polars
    str       str                  String
    int       Int64                Int64
    float     Float64              Float64
    bool      boolean              Boolean
    date      datetime64[us]       Date
    datetime  datetime64[us, UTC]  Datetime(us, UTC)  (what has no offset is taken for UTC)
    choice    category             Enum         (not all str: the dtype that the choices share)
    list[T]   object, lists        List(T)      (T is str, int, float, bool or date)
    json      object               String       (JSON text: polars would drop keys of later structs)

and only in what is read:

    long      Int64                Int64        (past what a float holds)
    naive     datetime64[us]       Datetime(us)
    day       object, dates        Date
    bytes     object               Binary
    any       object               String       (of several kinds, at any depth: prompts' text)
    a dict    object, dicts        Struct       (with the keys of all rows)
    None      object               String       (nothing but gaps)
"""

from __future__ import annotations

import json
import operator
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from decimal import Decimal
from enum import Enum
from functools import reduce
from typing import TYPE_CHECKING, Any, TypeAlias

from ..text import as_text, encodable

if TYPE_CHECKING:
    from .frames import NativeFrame

__all__ = [
    "Column",
    "Kind",
    "cell_text",
    "holds",
    "is_nan_or_none",
    "json_text",
    "kind_of_value",
    "listed",
    "merged",
    "native_rows",
    "pandas_series",
    "plain",
    "polars_series",
    "without_nan",
]

Kind: TypeAlias = Any  # None | str | tuple["list", Kind] | dict[str, Kind]


@dataclass(frozen=True)
class Column:
    """A new column: a Python value of its `kind` (see the module's table) or None for each row.

    `choices`, the values that it may have, go with kind "choice" and only there. Raises
    ValueError for an unknown kind or misplaced choices.
    """

    name: str
    kind: str
    values: Sequence[Any]
    choices: tuple[Any, ...] | None = None

    def __post_init__(self) -> None:
        if self.kind not in _NAMED:
            raise ValueError(f"column {self.name!r} has the unknown kind {self.kind!r}")
        if (self.kind == "choice") != (self.choices is not None):
            raise ValueError(f"column {self.name!r}: choices go with kind 'choice', only there")


def listed(values: Iterable[Any], most: int = 12) -> str:
    """The values for a message, `most` of them at most."""
    shown = [repr(value) for value in values]
    return ", ".join(shown[:most] + ["…"] * (len(shown) > most))


def is_nan_or_none(value: object) -> bool:
    """Whether a cell is missing: None, or a float that is NaN."""
    return value is None or (isinstance(value, float) and value != value)


# --- arrays


def pandas_series(column: Column) -> Any:
    """A new column as a pandas Series of its dtype, with an index that counts.

    Raises ValueError for a value that its kind can't hold.
    """
    import pandas as pd

    if column.kind == "choice":
        choices, values = _choices(column)
        return pd.Series(pd.Categorical(values, categories=choices))
    return _pandas(_values(column), kind_named(column.kind))


def polars_series(column: Column) -> Any:
    """A new column as a polars Series of its dtype. Raises ValueError as `pandas_series` does."""
    import polars as pl

    kind, values = kind_named(column.kind), column.values
    if kind == "choice":
        choices, values = _choices(column)
        types = {type(choice).__name__ for choice in choices}
        if types <= {"str"}:
            return pl.Series(column.name, values, dtype=pl.Enum(choices))
        shared = types.pop() if len(types) == 1 else "json"
        kind = shared if shared in _DTYPES else "json"
        column = Column(column.name, kind, values)
    return _polars(column.name, _values(column), kind)


def native_rows(
    library: str, rows: Sequence[Mapping[str, Any]], kinds: Mapping[str, Kind], start: int = 0
) -> NativeFrame:
    """A frame of `library`, "pandas" or "polars", of `rows`; a key that a row lacks is missing.

    `kinds` has the kind of each column, in order; a pandas index begins at `start`, the position
    of the first row. What polars has no type for, or would change, is an Object: see `settled`.
    """
    kinds = {name: _read_as(kind) for name, kind in kinds.items()}
    values = {
        name: _fitted([plain(row.get(name)) for row in rows], kind) for name, kind in kinds.items()
    }
    if library == "pandas":
        import pandas as pd

        index = pd.RangeIndex(start, start + len(rows))
        made = {name: _pandas(values[name], kind).set_axis(index) for name, kind in kinds.items()}
        return pd.DataFrame(made, index=index)
    import polars as pl

    return pl.DataFrame(
        pl.Series(name, values[name], dtype=pl.Object)
        if _changes(kind)
        else _polars(name, values[name], kind)
        for name, kind in kinds.items()
    )


def settled(native: NativeFrame, kinds: Mapping[str, Kind]) -> NativeFrame:
    """A polars frame as from `native_rows`, with the dtypes that its user gets.

    Integers among floats are floats, and text is what no type holds.
    """
    objects = [name for name, kind in kinds.items() if _changes(_read_as(kind))]
    return native.with_columns(
        [_settled(native[name], _with_floats(_read_as(kinds[name]))) for name in objects]
    )


def _settled(series: Any, kind: Kind) -> Any:
    return _polars(series.name, _fitted(series.to_list(), kind), kind)


def _read_as(kind: Kind) -> Kind:
    """The kind by which a column's rows are read."""
    if kind == "number":
        return "float"
    return kind if _whole(kind) else "any"


def _changes(kind: Kind) -> bool:
    """Whether polars would change values of a kind, however deep."""
    if isinstance(kind, tuple):
        return _changes(kind[1])
    if isinstance(kind, dict):
        return any(map(_changes, kind.values()))
    return kind in ("any", "number")


def _with_floats(kind: Kind) -> Kind:
    """A kind in which numbers of both sorts, however deep, are floats."""
    if isinstance(kind, tuple):
        return ("list", _with_floats(kind[1]))
    if isinstance(kind, dict):
        return {key: _with_floats(item) for key, item in kind.items()}
    return "float" if kind == "number" else kind


def kind_named(name: str) -> Kind:
    """The kind that a name stands for: "list[int]" is a list of int."""
    return ("list", name[5:-1]) if name.startswith("list[") else name


def _pandas(values: list[Any], kind: Kind) -> Any:
    """Values that fit `kind` as a pandas Series.

    Not as an array: of one of objects that are all texts a frame makes a column of text, whatever
    the next chunk holds.
    """
    import pandas as pd

    dtype = _DTYPES[kind][1] if isinstance(kind, str) and kind in _DTYPES else "object"
    return pd.Series(values, dtype=dtype)


def _polars(name: str, values: list[Any], kind: Kind) -> Any:
    """Values that fit `kind` as a polars Series."""
    import polars as pl

    if kind in ("json", "any"):  # json is read again, and any is what prompts show
        text = cell_text if kind == "json" else as_text
        values = [None if value is None else text(value) for value in values]
    return pl.Series(name, values, dtype=_polars_dtype(kind))


def _polars_dtype(kind: Kind) -> Any:
    import polars as pl

    if isinstance(kind, tuple):
        return pl.List(_polars_dtype(kind[1]))
    if isinstance(kind, dict):
        return pl.Struct({key: _polars_dtype(item) for key, item in kind.items()})
    if kind in ("datetime", "naive"):
        return pl.Datetime("us", "UTC" if kind == "datetime" else None)
    return getattr(pl, _DTYPES[kind][2] if isinstance(kind, str) and kind in _DTYPES else "String")


def _whole(kind: Kind) -> bool:
    """Whether both libraries hold what a kind holds as it is, all the way down."""
    if isinstance(kind, tuple):
        return _whole(kind[1])
    if isinstance(kind, dict):
        return bool(kind) and all(_whole(item) for item in kind.values())
    return bool(kind != "any")


# --- values that fit their kind


def _values(column: Column) -> list[Any]:
    """A new column's values as its kind has them."""
    kind = kind_named(column.kind)
    try:
        return _fitted(column.values, kind)
    except OverflowError as error:
        raise ValueError(
            f"column {column.name!r} is of kind {column.kind!r}, and {error} has more than 64 "
            "bits: make it a column of kind 'str' or 'float'"
        ) from None


def _fitted(values: Iterable[Any], kind: Kind) -> list[Any]:
    """`values` as a column of `kind` holds them in either library, however deep."""
    fit = _fit(kind)
    return [None if is_nan_or_none(value) else fit(value) for value in values]


def _fit(kind: Kind) -> Callable[[Any], Any]:
    """What makes a value that isn't missing fit `kind`."""
    if isinstance(kind, tuple):
        return lambda items: _fitted(map(plain, items), kind[1])
    if isinstance(kind, dict):
        return lambda fields: {
            key: _fitted([plain(fields.get(key))], item)[0] for key, item in kind.items()
        }
    return _DTYPES[kind][0] if kind in _DTYPES else _valid


def _choices(column: Column) -> tuple[list[Any], list[Any]]:
    """The choices, each once, and the values. Raises ValueError for a value not among them."""
    choices = [_valid(choice) for choice in column.choices or () if choice is not None]
    values = [None if is_nan_or_none(value) else _valid(value) for value in column.values]
    strange = set(values) - {None, *choices}
    if strange:  # pandas would make it missing without a word
        raise ValueError(f"column {column.name!r}: {listed(strange)} is not among its choices")
    return list(dict.fromkeys(choices)), values


def _valid(value: Any) -> Any:
    """A JSON value with text in it that UTF-8, and so polars, can hold."""
    if isinstance(value, dict):
        return {_text(key): _valid(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_valid(item) for item in value]
    return encodable(value) if isinstance(value, str) else value


def _text(value: object) -> str:
    return encodable(str(value))


def _int(value: Any) -> int:
    whole = int(operator.index(value))  # cuts no fraction off
    if not -(2**63) <= whole < 2**63:
        raise OverflowError(whole)
    return whole


def _float(value: Any) -> float:
    try:
        return float(value)
    except OverflowError:  # an integer of more than 308 digits
        return float("inf") if value > 0 else float("-inf")


def _utc(value: date) -> datetime:
    moment = _datetime(value)
    try:
        return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
    except OverflowError:  # hours from the calendar's ends
        return moment.replace(tzinfo=UTC)


def _date(value: date) -> date:
    return value.date() if isinstance(value, datetime) else value


def _datetime(value: date) -> datetime:
    return value if isinstance(value, datetime) else datetime.combine(value, time())


def _as_it_is(value: Any) -> Any:
    return value


# How values of a kind are made ready, and its dtypes in pandas and polars.
_DTYPES: dict[str, tuple[Callable[[Any], Any], str, str]] = {
    "str": (_text, "str", "String"),
    "int": (_int, "Int64", "Int64"),
    "float": (_float, "Float64", "Float64"),
    "bool": (_as_it_is, "boolean", "Boolean"),
    "date": (_date, "datetime64[us]", "Date"),
    "datetime": (_utc, "datetime64[us, UTC]", "Datetime"),
    "long": (_as_it_is, "Int64", "Int64"),
    "naive": (_datetime, "datetime64[us]", "Datetime"),
    "day": (_as_it_is, "object", "Date"),
    "bytes": (_as_it_is, "object", "Binary"),
    "number": (_as_it_is, "object", "Float64"),  # ints among floats, within lists and structs
}
_NAMED = {"str", "int", "float", "bool", "date", "datetime", "choice", "json"}
_NAMED |= {f"list[{item}]" for item in ("str", "int", "float", "bool", "date")}


# --- kinds of rows that are read


_WIDER = {  # what holds two scalar kinds
    frozenset({"int", "long"}): "long",
    frozenset({"int", "float"}): "number",
    frozenset({"int", "number"}): "number",
    frozenset({"float", "number"}): "number",
}
_MOST_KEYS = (
    500  # dicts whose keys are data, such as names of users, would make a Struct of them all
)
_KIND_OF_TYPE = {str: "str", bool: "bool", float: "float", bytes: "bytes", date: "day"}


def kind_of_value(value: Any) -> Kind:
    """The kind of one value of a row."""
    value = plain(value)
    kind = type(value)
    if kind is int:
        return "int" if abs(value) <= 2**53 else "long" if -(2**63) <= value < 2**63 else "any"
    if kind is datetime:
        return "datetime" if value.tzinfo else "naive"
    if kind is list:
        return ("list", reduce(merged, map(kind_of_value, value), None))
    if kind is dict and all(type(key) is str and encodable(key) == key for key in value):
        return {key: kind_of_value(item) for key, item in value.items()}
    return None if value is None else _KIND_OF_TYPE.get(kind, "any")


def merged(one: Kind, other: Kind) -> Kind:
    """The narrowest kind that holds what both hold."""
    if one == other or other is None:
        return one
    if one is None:
        return other
    if isinstance(one, str) and isinstance(other, str):
        return _WIDER.get(frozenset({one, other}), "any")
    if isinstance(one, tuple) and isinstance(other, tuple):
        return ("list", merged(one[1], other[1]))
    if isinstance(one, dict) and isinstance(other, dict):
        keys = {**one, **other}
        if len(keys) <= _MOST_KEYS:
            return {key: merged(one.get(key), other.get(key)) for key in keys}
    return "any"


def holds(kind: Kind, other: Kind) -> bool:
    """Whether a column of `kind` takes values of the kind `other` without a change."""
    return bool(_read_as(merged(kind, other)) == kind)


_LARGE_GRID = 256  # numbers


def plain(value: Any) -> Any:
    """What numpy, pandas and pyarrow put into cells, however deep, as Python's own.

    A missing value of any sort is None. A large grid of numbers, such as a photo's pixels, stays an
    array: millions of objects would be made of it on the loop. Its text is the same.
    """
    kind = type(value)
    if kind in (str, int, bool) or value is None:
        return value
    if kind is float:
        return None if value != value else value
    if kind is dict:
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, memoryview):
        return bytes(value)
    ndim = getattr(value, "ndim", 0)
    if ndim >= 2 and value.size > _LARGE_GRID and value.dtype.kind in "buif":
        return value
    if isinstance(value, (list, tuple)) or ndim:
        return [plain(item) for item in value]
    return _plain_scalar(value)


def _plain_scalar(value: Any) -> Any:
    if type(value).__name__ in ("NaTType", "NAType"):
        return None
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    if hasattr(value, "to_pydatetime"):  # nanoseconds and years past 9999 don't fit a datetime
        lossy = value.nanosecond or value.year > 9999
        return value if lossy else value.to_pydatetime()
    if hasattr(value, "to_pytimedelta"):
        return value.to_pytimedelta()
    scalar = getattr(getattr(value, "dtype", None), "kind", None)  # of a numpy scalar
    if scalar == "f":  # by way of text: float32 0.1 is 0.1 to its reader
        return plain(float(str(value)))
    if scalar in ("m", "M"):  # nanoseconds would be bare integers
        return value.astype(f"{scalar}8[us]").item()
    return value.item() if scalar else value


# --- JSON


def json_text(value: Any) -> str:
    """`value` as JSON; what JSON hasn't becomes its text, and NaN null."""
    try:
        return _JSON.encode(value)
    except ValueError:
        return _JSON.encode(without_nan(value))


def cell_text(value: Any) -> str:
    """A JSON value as a cell of text: text as it stands, where no reader takes it for JSON."""
    if not isinstance(value, str):
        return json_text(value)
    try:
        json.loads(value)
    except (ValueError, RecursionError):
        return value
    return json_text(value)


def without_nan(value: Any) -> Any:
    """A value with None for each NaN, and text for each infinity, which JSON lacks."""
    if isinstance(value, dict):
        return {key: without_nan(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [without_nan(item) for item in value]
    if isinstance(value, float) and value - value != 0:
        return None if value != value else str(value)
    return value


def _json_default(value: Any) -> Any:
    if isinstance(value, (date, time)):
        return value.isoformat()
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, (set, frozenset)):
        return sorted(value, key=str)
    return str(value) if isinstance(value, Decimal) else as_text(value)


_JSON = json.JSONEncoder(ensure_ascii=False, allow_nan=False, default=_json_default)
