"""Rows as dicts, made into frames whose dtypes don't depend on which rows a chunk holds.

What a column holds is its kind, found over many rows and fixed before the first frame is made:

    kind                pandas                polars
    None (all missing)  object                String
    "bool"              boolean               Boolean
    "int"               Int64                 Int64               (past 64 bits: "any")
    "float"             Float64               Float64
    "str"               str                   String
    "date"              object, dates         Date
    "datetime"          datetime64[us]        Datetime(us)
    "instant"           datetime64[us, UTC]   Datetime(us, UTC)   (a datetime with an offset)
    ("list", kind)      object, lists         List
    {key: kind}         object, dicts         Struct
    "any" (mixed)       object                String, JSON text

int and float together are float, as far as a float holds each of the integers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import reduce
from typing import Any, TypeAlias

from .columns import DTYPES, is_nan_or_none, json_text
from .frames import NativeFrame

__all__ = ["Kind", "holds", "kind_of_value", "merged", "native_rows"]

Kind: TypeAlias = Any  # None | str | tuple["list", Kind] | dict[str, Kind]
_WIDER = {  # what holds two scalar kinds; "long" is an int that a float doesn't hold
    frozenset({"int", "long"}): "long",
    frozenset({"int", "float"}): "float",
}
_MOST_KEYS = (
    500  # dicts whose keys are data, such as names of users, would make a Struct of them all
)
_DTYPES = {**DTYPES, "long": DTYPES["int"]}


def kind_of_value(value: Any) -> Kind:
    """The kind of one value. Raises ValueError for text that UTF-8 can't hold."""
    value = _plain(value)
    kind = type(value)
    if kind is str:
        _check_text(value)
    if kind is int:
        return "int" if abs(value) <= 2**53 else "long" if -(2**63) <= value < 2**63 else "any"
    if kind is datetime:
        return "instant" if value.tzinfo else "datetime"
    if kind is list:
        return ("list", reduce(merged, map(kind_of_value, value), None))
    if kind is dict and all(type(key) is str for key in value):
        return {key: kind_of_value(item) for key, item in value.items()}
    if value is None:
        return None
    return kind.__name__ if kind.__name__ in ("str", "bool", "float", "date") else "any"


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
    return bool(merged(kind, other) == kind)


def native_rows(
    library: str, rows: Sequence[Mapping[str, Any]], kinds: Mapping[str, Kind], start: int = 0
) -> NativeFrame:
    """A frame of `library`, "pandas" or "polars", of `rows`; a key that a row lacks is missing.

    `kinds` has the kind of each column, in order; a pandas index begins at `start`, the position
    of the first row.
    """
    values = {name: [_plain(row.get(name)) for row in rows] for name in kinds}
    if library == "pandas":
        import pandas as pd

        arrays = {name: _pandas_array(values[name], kind) for name, kind in kinds.items()}
        return pd.DataFrame(arrays, index=pd.RangeIndex(start, start + len(rows)))
    import polars as pl

    return pl.DataFrame([_polars_series(name, values[name], kind) for name, kind in kinds.items()])


def _pandas_array(values: list[Any], kind: Kind) -> Any:
    import pandas as pd

    named = isinstance(kind, str) and kind in _DTYPES and kind != "date"
    dtype = _DTYPES[kind][1] if named else object
    return pd.Series(_fitted(values, ("list", kind)) if named else values, dtype=dtype).array


def _polars_series(name: str, values: list[Any], kind: Kind) -> Any:
    import polars as pl

    return pl.Series(name, _fitted(values, ("list", kind)), dtype=_polars_dtype(kind))


def _polars_dtype(kind: Kind) -> Any:
    import polars as pl

    if isinstance(kind, tuple):
        return pl.List(_polars_dtype(kind[1]))
    if isinstance(kind, dict) and kind:
        return pl.Struct({key: _polars_dtype(item) for key, item in kind.items()})
    if kind in ("datetime", "instant"):
        return pl.Datetime("us", "UTC" if kind == "instant" else None)
    return getattr(pl, _DTYPES[kind][2] if isinstance(kind, str) and kind in _DTYPES else "String")


def _fitted(value: Any, kind: Kind) -> Any:
    """`value` as a column of `kind` with a dtype of its own holds it, however deep."""
    if value is None or kind == "str":
        return value
    if kind == "float":
        return float(value)
    if isinstance(kind, tuple):
        return [_fitted(_plain(item), kind[1]) for item in value]
    if isinstance(kind, dict) and kind:
        return {key: _fitted(_plain(value.get(key)), item) for key, item in kind.items()}
    if kind == "any" or kind == {}:
        return value if isinstance(value, str) else json_text(value)
    return value


def _plain(value: Any) -> Any:
    """None for a missing value of any sort; Python's own for a numpy scalar, Timestamp or tuple."""
    kind = type(value)
    if kind in (str, int, bool, list, dict) or value is None:
        return value
    if is_nan_or_none(value) or kind.__name__ in ("NaTType", "NAType"):
        return None
    if kind.__name__ == "Timestamp":
        return value.to_pydatetime(warn=False)
    if kind.__module__ == "numpy":
        return _plain(value.tolist())
    return list(value) if kind is tuple else value


def _check_text(text: str) -> None:
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError as error:
            lone = text[error.start]
            raise ValueError(
                f"text with half a character ({lone!r}), which UTF-8 can't hold"
            ) from None
