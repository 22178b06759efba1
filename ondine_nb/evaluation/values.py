"""Values of labels by the types of a schema's fields: from JSON, CSV text or a frame's cell."""

from __future__ import annotations

import ast
import json
import math
from datetime import date, datetime
from functools import cache
from typing import Any

from ..prompts import Field
from ..text import as_text, is_missing
from .labels import json_value

__all__ = ["typed"]

_TYPES: dict[str, type] = {
    "int": int, "float": float, "bool": bool, "date": date, "datetime": datetime,
}  # fmt: skip
_INT64 = 2**63


def typed(known: Field, value: Any) -> Any:
    """`value` as the column of the field holds it; None where it is missing.

    Texts are read ("3", "true", "2026-11-30", JSON of a list). A choice may be another than the
    schema's: whoever labels knows more. Raises ValueError for what the type can't hold.
    """
    if is_missing(value) or (isinstance(value, str) and not value and known.kind != "str"):
        return None
    kind = known.kind
    if kind.startswith("list["):
        item = Field(known.name, kind[5:-1])
        return [typed(item, each) for each in _list(value)]
    if kind == "json":
        return _json(value)
    if kind not in _TYPES:
        return as_text(value)
    if kind != "bool" and isinstance(value, bool):
        raise ValueError(f"{value!r} is no {kind}")
    if kind in ("date", "datetime") and _is_number(value):  # pydantic: seconds since 1970
        raise ValueError(f"{value!r} is no {kind}")
    try:
        found = _reader(kind)(value)
    except ValueError:
        raise ValueError(f"{value!r} is no {kind}") from None
    holds = -_INT64 <= found < _INT64 if kind == "int" else True
    if not holds or (kind == "float" and not math.isfinite(found)):
        raise ValueError(f"{value!r} is no {kind} that a column holds")
    return found


def _is_number(value: Any) -> bool:
    if not isinstance(value, str):
        return isinstance(value, int | float)
    try:
        float(value)
    except ValueError:
        return False
    return True


@cache
def _reader(kind: str) -> Any:
    from pydantic import TypeAdapter

    return TypeAdapter(_TYPES[kind]).validate_python


def _json(value: Any) -> Any:
    """JSON of a text where it is some, else the value itself."""
    if isinstance(value, str):
        try:
            return json_value(json.loads(value))
        except (ValueError, RecursionError):
            return value
    return json_value(value)


def _list(value: Any) -> list[Any]:
    """The items of a list, or of a text that holds one: JSON's, or Python's as pandas writes it."""
    if isinstance(value, str):
        for read in (json.loads, ast.literal_eval):
            try:
                found = read(value)
            except (ValueError, SyntaxError, RecursionError, MemoryError):
                continue
            if isinstance(found, (list, tuple)):
                return list(found)
        raise ValueError(f"{value!r} is no list")
    if isinstance(value, (list, tuple)):
        return list(value)
    raise ValueError(f"{value!r} is no list")
