"""The text of a value: in a prompt, in a cell of a file, in a view; the same from each library.

Also an amount of money in USD: read from a text (`usd`), and written as one (`dollars`).
"""

from __future__ import annotations

import datetime as dt
import decimal
import enum
import json
import uuid
from collections.abc import Callable, Mapping
from collections.abc import Set as AbstractSet
from typing import Any

from .errors import ConfigurationError, PromptError

__all__ = [
    "HARMLESS",
    "as_text",
    "dollars",
    "encodable",
    "is_missing",
    "not_text",
    "one_line",
    "prompt_text",
    "usd",
]

_CONTROL = {code: 0x2400 + code for code in range(0x20)} | {0x7F: 0x2421}
_CONTROL |= dict.fromkeys([*range(0x80, 0xA0), *range(0xD800, 0xE000)], 0xFFFD)
_BIDI: dict[int, None] = dict.fromkeys([*range(0x202A, 0x202F), *range(0x2066, 0x206A)])
# For `str.translate`: what a view shows in the place of characters that do something.
HARMLESS: dict[int, int | None] = {**_CONTROL, **_BIDI}


def is_missing(value: object) -> bool:
    """True for None, NaN, NaT and NA, whichever library they come from."""
    if value is None:
        return True
    if isinstance(value, (str, int)):
        return False
    if isinstance(value, float):
        return value != value
    if isinstance(value, decimal.Decimal):
        return value.is_nan()
    kind = type(value)
    if kind.__name__ in ("NaTType", "NAType"):
        return kind.__module__.startswith("pandas.")
    # NumPy's NaT and its floats that aren't Python's: scalars that don't equal themselves.
    return _is_numpy_scalar(value) and bool(value != value)


def as_text(value: object) -> str:
    """The text of a value in a prompt, the same whether it comes from pandas or polars.

    Missing values are empty. Dates and times are ISO 8601 (to the microsecond, the finest that
    both libraries hand out), durations too (`P1DT2H`), lists, structs and arrays are JSON, floats
    have their shortest form (`0.1`, `3.0`), bytes are read as UTF-8, an Enum is its value. The keys
    of a struct stand in alphabetical order, and one whose value is missing is left out: not every
    library keeps a row's own order, or null and nothing apart. Lone surrogates become U+FFFD, so
    that the text can always be encoded.
    """
    direct = _DIRECT.get(type(value))
    if direct is not None:
        return direct(value)
    if is_missing(value):
        return ""
    for kind, text in _BY_KIND:
        if isinstance(value, kind):
            return text(value)
    return _foreign_text(value)


def prompt_text(value: object) -> str:
    """`as_text` for what is sent. Raises PromptError for bytes that are no UTF-8 text."""
    direct = _DIRECT.get(type(value))
    if direct is not None:
        return direct(value)
    if why := not_text(value):
        raise PromptError(why)
    return as_text(value)


def not_text(value: object) -> str:
    """Why a value, however deep, can't be sent as text: bytes that aren't UTF-8; else ""."""
    if isinstance(value, (bytes, bytearray, memoryview)):
        raw = bytes(value)
        try:
            raw.decode()
        except UnicodeDecodeError:
            begin = raw[:4].hex(" ").upper()
            return (
                f"{len(raw):,} bytes that are no UTF-8 text (they begin with {begin}): give their "
                "text, or leave the column out of the prompt"
            )
    if isinstance(value, Mapping):
        return next(filter(None, map(not_text, value.values())), "")
    if isinstance(value, (list, tuple, AbstractSet)):
        return next(filter(None, map(not_text, value)), "")
    return ""


def _foreign_text(value: Any) -> str:
    """Text of a value that only NumPy, pandas, polars or pyarrow know, else its `str`."""
    if _is_numpy_scalar(value):
        return _numpy_text(value)
    if _is_array(value):
        return _json_text(value)
    if hasattr(value, "as_py"):  # a pyarrow scalar
        return as_text(value.as_py())
    return encodable(str(value))


def _numpy_text(value: Any) -> str:
    if value.dtype.kind in "mM":
        if value.dtype.name.endswith(("[ns]", "[ps]", "[fs]", "[as]")):  # `item` gives an int
            value = value.astype(f"{value.dtype.kind}8[us]")
        return as_text(value.item())
    # `str` is the shortest form of float32; `item` would show the digits of its double.
    return str(value) if value.dtype.kind in "fc" else as_text(value.item())


def _is_numpy_scalar(value: Any) -> bool:
    return type(value).__module__ == "numpy" and getattr(value, "shape", None) == ()


def _is_array(value: object) -> bool:
    """A NumPy array, a pandas or polars Series: known by what they can do, not by import."""
    return hasattr(value, "dtype") and (hasattr(value, "tolist") or hasattr(value, "to_list"))


def _float_text(value: float) -> str:
    return "" if value != value else float.__repr__(value)


def _datetime_text(value: dt.datetime) -> str:
    # pandas shows nanoseconds, polars drops them on the way to Python: microseconds for both.
    return value.isoformat(timespec="microseconds" if value.microsecond else "seconds")


def _duration_text(value: dt.timedelta) -> str:
    micro = (value.days * 86_400 + value.seconds) * 1_000_000 + value.microseconds
    sign = "-" if micro < 0 else ""
    seconds, micro = divmod(abs(micro), 1_000_000)
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    fraction = f".{micro:06d}".rstrip("0") if micro else ""
    clock = (f"{hours}H" if hours else "") + (f"{minutes}M" if minutes else "")
    if seconds or fraction or not (days or clock):
        clock += f"{seconds}{fraction}S"
    return f"{sign}P{f'{days}D' if days else ''}{f'T{clock}' if clock else ''}"


def _json_text(value: object) -> str:
    return json.dumps(_jsonable(value), ensure_ascii=False)


def _jsonable(value: Any) -> Any:
    """`value` in JSON's own types; what JSON doesn't know becomes its text."""
    if is_missing(value):
        return None
    if isinstance(value, enum.Enum):
        return _jsonable(value.value)
    if isinstance(value, Mapping):
        there = {key: item for key, item in value.items() if not is_missing(item)}
        named = {as_text(key): _jsonable(item) for key, item in there.items()}
        return dict(sorted(named.items()))
    if isinstance(value, (list, tuple)) or (_is_array(value) and not _is_numpy_scalar(value)):
        return [_jsonable(item) for item in value]
    if isinstance(value, AbstractSet):
        # In a fixed order: a set's own differs from process to process, and with it the key.
        return sorted((_jsonable(item) for item in value), key=_json_text)
    return _number_or_text(value)


def _number_or_text(value: Any) -> Any:
    text = as_text(value)
    if _is_numpy_scalar(value) and value.dtype.kind in "biuf":
        value = float(text) if value.dtype.kind == "f" else value.item()
    if isinstance(value, float) and value - value == 0:  # finite: JSON has no infinity
        return float(value)
    return value if isinstance(value, (bool, int)) else text


def encodable(text: str) -> str:
    """`text` as UTF-8 can hold it: two halves of a character as one, a lone half as U+FFFD."""
    if text.isascii():
        return text
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def one_line(text: str, limit: int) -> str:
    """`text` as one harmless line of at most `limit` characters.

    White space and line breaks are folded; control characters are shown as their pictures (so that
    an escape sequence is seen, not obeyed), bidi overrides dropped, lone surrogates replaced.
    """
    short = text[: 4 * limit]  # before anything that costs time by length
    folded = " ".join(short.split()).translate(HARMLESS)
    cut = len(folded) > limit or len(text) > len(short)
    return folded[: limit - 1].rstrip() + "…" if cut else folded


def usd(value: Any, name: str) -> decimal.Decimal | None:
    """`value` as an amount of USD, exactly as written; None stays None.

    Raises `ConfigurationError` for what is no amount, is negative or not finite.
    """
    if value is None or (isinstance(value, str) and not value):
        return None
    told = one_line(str(value), 60)
    try:
        amount = decimal.Decimal(str(value).strip().removeprefix("$"))
    except decimal.InvalidOperation:
        raise ConfigurationError(
            f"{name}: '{told}' is not an amount in USD. Write it like 2 or 0.50"
        ) from None
    if not amount.is_finite() or amount < 0:
        raise ConfigurationError(f"{name}: {told} is not an amount of 0 USD or more")
    return amount


def dollars(amount: decimal.Decimal) -> str:
    """`amount` in full, as text: "$0", "$0.000518"."""
    text = f"{amount:f}"
    return "$" + (text.rstrip("0").rstrip(".") if "." in text else text)


# The types that nearly every value has, looked up exactly because it is done for every cell.
_DIRECT: dict[type, Callable[[Any], str]] = {
    str: encodable,
    int: str,
    bool: str,
    float: _float_text,
    type(None): lambda _: "",
}
# Subclasses too (pandas' Timestamp is a datetime); a datetime is a date, so it comes first.
_BY_KIND: tuple[tuple[type | tuple[type, ...], Callable[[Any], str]], ...] = (
    (enum.Enum, lambda value: as_text(value.value)),
    (str, lambda value: encodable(str(value))),
    (float, _float_text),
    (int, lambda value: str(int(value))),
    (dt.datetime, _datetime_text),
    ((dt.date, dt.time), lambda value: str(value.isoformat())),
    (dt.timedelta, _duration_text),
    ((bytes, bytearray, memoryview), lambda value: bytes(value).decode("utf-8", "replace")),
    ((decimal.Decimal, uuid.UUID), str),
    ((list, tuple, Mapping, AbstractSet), _json_text),
)
