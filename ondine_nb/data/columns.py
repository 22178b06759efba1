"""A new column's values, made ready for either library: plain Python, nothing of pandas or polars.

A new column's dtype depends on its kind, not on its values, so chunks and empty frames fit:

    kind      pandas           polars
    str       str              String
    int       Int64            Int64         (past 64 bits: object, and String in polars)
    float     Float64          Float64
    bool      boolean          Boolean
    date      datetime64[us]   Date
    datetime  datetime64[us]   Datetime(us)  (UTC, if any value has an offset)
    choice    category         Enum          (not all str: the dtype that the choices share)
    list[T]   object, lists    List(T)       (T is str, int, float, bool or date)
    json      object           String        (JSON text: polars would drop keys of later structs)
"""

from __future__ import annotations

import json
import operator
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from functools import reduce
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from .frames import NativeFrame

__all__ = [
    "DTYPES",
    "LISTS",
    "Column",
    "Kind",
    "holds",
    "item_kind",
    "json_text",
    "kind_of_value",
    "listed",
    "merged",
    "native_rows",
    "settled",
    "settled_choice",
]


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
        if self.kind not in DTYPES and self.kind not in LISTS | {"choice", "json"}:
            raise ValueError(f"column {self.name!r} has the unknown kind {self.kind!r}")
        if (self.kind == "choice") != (self.choices is not None):
            raise ValueError(f"column {self.name!r}: choices go with kind 'choice', only there")


def listed(values: Iterable[Any], most: int = 12) -> str:
    """The values for a message, `most` of them at most."""
    shown = [repr(value) for value in values]
    return ", ".join(shown[:most] + ["…"] * (len(shown) > most))


def settled(column: Column) -> tuple[str, list[Any]]:
    """The kind that holds all values without a loss ("json", "instant" if need be), and them."""
    kind = column.kind
    item = item_kind(kind)
    clean = DTYPES[item][0] if item in DTYPES else _valid
    values: list[Any]
    if kind in LISTS:
        values = [None if cells is None else _cleaned(cells, clean) for cells in column.values]
        flat = [cell for cells in values for cell in cells or ()]
    else:
        values = flat = _cleaned(column.values, clean)
    present = [value for value in flat if value is not None]
    if item == "int" and any(not -(2**63) <= value < 2**63 for value in present):
        return "json", values
    if kind == "datetime" and any(value.tzinfo for value in present):
        return "instant", [None if value is None else _utc(value) for value in values]
    return kind, values


def item_kind(kind: str) -> str:
    """The T of a "list[T]"; other kinds as they are."""
    return kind[5:-1] if kind in LISTS else kind


def settled_choice(column: Column) -> tuple[list[Any], list[Any]]:
    """The choices, each once, and the values. Raises ValueError for a value not among them."""
    choices = [_valid(choice) for choice in column.choices or () if choice is not None]
    values = _cleaned(column.values, _valid)
    strange = set(values) - {None, *choices}
    if strange:  # pandas would make it missing without a word
        raise ValueError(f"column {column.name!r}: {listed(strange)} is not among its choices")
    return list(dict.fromkeys(choices)), values


def _cleaned(values: Iterable[Any], clean: Callable[[Any], Any]) -> list[Any]:
    return [None if is_nan_or_none(value) else clean(value) for value in values]


def is_nan_or_none(value: object) -> bool:
    """Whether a cell is missing: None, or a float that is NaN."""
    return value is None or (isinstance(value, float) and value != value)


def _text(value: object) -> str:
    """As text that UTF-8, and so polars, can hold: U+FFFD for each lone surrogate."""
    text = str(value)
    if text.isascii():
        return text
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _valid(value: Any) -> Any:
    """A JSON value with such text in it."""
    if isinstance(value, dict):
        return {_text(key): _valid(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_valid(item) for item in value]
    return _text(value) if isinstance(value, str) else value


def json_text(value: Any) -> str:
    """`value` as JSON; what JSON hasn't becomes its text."""
    return json.dumps(value, ensure_ascii=False, default=str)


def _float(value: Any) -> float:
    try:
        return float(value)
    except OverflowError:  # an integer of more than 308 digits
        return float("inf") if value > 0 else float("-inf")


def _utc(value: datetime) -> datetime:
    try:
        return value.astimezone(UTC) if value.tzinfo else value.replace(tzinfo=UTC)
    except OverflowError:  # hours from the calendar's ends
        return value.replace(tzinfo=UTC)


def _date(value: date) -> date:
    return value.date() if isinstance(value, datetime) else value


def _datetime(value: date) -> datetime:
    return value if isinstance(value, datetime) else datetime.combine(value, time())


# How values of a kind are made ready, and its dtypes in pandas and polars.
_TEXT: tuple[Callable[[Any], Any], str, str] = (_text, "str", "String")
DTYPES: dict[str, tuple[Callable[[Any], Any], str, str]] = {
    "str": _TEXT,
    "int": (lambda value: int(operator.index(value)), "Int64", "Int64"),  # cuts no fraction off
    "float": (_float, "Float64", "Float64"),
    "bool": (lambda value: value, "boolean", "Boolean"),
    "date": (_date, "datetime64[us]", "Date"),
    "datetime": (_datetime, "datetime64[us]", "Datetime"),
    "instant": (_utc, "datetime64[us, UTC]", "Datetime"),
}
LISTS = frozenset(f"list[{item}]" for item in ("str", "int", "float", "bool", "date"))


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
