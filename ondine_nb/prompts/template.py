"""Prompt templates: `{column}` becomes the row's value, every other brace stays as it is.

How braces are read, from left to right:

- `{name}`, where `name` is exactly a column's name (spaces, any script, punctuation) or a
  parameter's: its value. An identifier that is neither is an error.
- `{{` is a literal `{`. `}}` is a literal `}` where it closes a `{{`, or where no brace is
  open. Where it closes braces that were opened singly it stays `}}`, so that JSON in a prompt,
  `{"a": {"b": {text}}}`, keeps every brace.
- `{price:.2f}`, `{x!r}`, `{a.b}`, `{a[0]}` on a column or parameter (or on what is nearly one)
  are errors, never literals that somebody pays for.
- Anything else, `{"a": 1}`, `{}`, `{ text }`, `\\d{3}`, stays as it is.

No attribute is looked up, nothing is evaluated, and values are never scanned for braces.
"""

from __future__ import annotations

import datetime as dt
import decimal
import enum
import json
import re
import uuid
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from ..errors import PromptError, nearest
from ..models import Prompt

__all__ = ["Template", "as_text", "escape", "is_missing"]

_NO_PARAMS: Mapping[str, Any] = MappingProxyType({})
_BRACE = re.compile(r"[{}]")
_SURROGATE = re.compile("[\ud800-\udfff]")
# What str.format would take behind a name: a conversion, attributes or indexes, a format spec.
# A bare number is no spec here: `{a:1}` is far more often somebody's JSON.
_FORMATTING = re.compile(
    r"(?:\.\w+|\[[^\]]*\])+(?:![rsa])?(?::.*)?"
    r"|![rsa](?::.*)?"
    r"|:(?!\d*$)(?:.?[<>=^])?[-+ ]?z?#?0?\d*[,_]?(?:\.\d+)?[bcdeEfFgGnosxX%]?"
)
_LONGEST_LIST = 120  # characters of column names that an error shows


@dataclass(frozen=True, slots=True)
class Template:
    """A prompt, compiled against a frame's columns.

    `columns` are those that the prompt names, in order of first use; `render` takes one row's
    values in that order.
    """

    columns: tuple[str, ...]
    _parts: tuple[str | int, ...]

    @classmethod
    def compile(
        cls,
        text: str,
        columns: Sequence[str],
        params: Mapping[str, Any] = _NO_PARAMS,
        frame_name: str = "data",
    ) -> Template:
        """The template of `text` over `columns`; parameters are filled in here, once.

        Raises PromptError for an empty prompt, one that names no column, an unknown or doubled
        name, formatting on a name, and a parameter that is unused or named like a column.
        """
        if not isinstance(text, str):
            raise PromptError(f"The prompt must be text, not {type(text).__name__}.")
        if not text.strip():
            raise PromptError(
                "The prompt is empty: write what to ask about a row, with {column}s in it."
            )
        compiler = _Compiler(text, columns, params, frame_name)
        compiler.run()
        return cls(tuple(compiler.used), tuple(compiler.parts))

    @property
    def head(self) -> str:
        """What every rendered prompt begins with: the text before the first column."""
        return first if isinstance(first := self._parts[0], str) else ""

    @property
    def tail(self) -> str:
        """What every rendered prompt ends with: the text behind the last column."""
        return last if isinstance(last := self._parts[-1], str) else ""

    def render(self, values: Sequence[Any]) -> Prompt | None:
        """One row's prompt, or None if every column that the prompt names is missing.

        `values` are the row's values in the order of `columns`. The text can be encoded as
        UTF-8. Raises ValueError if the number of values is wrong.
        """
        if len(values) != len(self.columns):
            raise ValueError(f"{len(values)} values for {len(self.columns)} columns")
        texts = [as_text(value) for value in values]
        if not any(texts) and all(is_missing(value) for value in values):
            return None
        return Prompt("".join([it if isinstance(it, str) else texts[it] for it in self._parts]))


def escape(text: str) -> str:
    """`text` with its braces doubled: as it is, wherever no single `{` is open before it."""
    return text.replace("{", "{{").replace("}", "}}")


class _Compiler:
    """Reads a prompt once; leaves the pieces in `parts` and the columns they need in `used`."""

    def __init__(
        self, text: str, columns: Sequence[str], params: Mapping[str, Any], frame_name: str
    ) -> None:
        self.text = text
        self.names = dict.fromkeys(columns)
        self.params = params
        self.frame_name = frame_name
        self.parts: list[str | int] = []
        self.used: dict[str, int] = {}
        self._columns = columns
        self._open_braces: list[str] = []
        self._filled: set[str] = set()
        # Only these can reach past the next brace, so they are the only ones looked for there.
        self._braced = [name for name in self.names if _BRACE.search(name)]

    def run(self) -> None:
        self._check_params()
        at = 0
        while found := _BRACE.search(self.text, at):
            start = found.start()
            self._literal(self.text[at:start])
            at = self._open(start) if found.group() == "{" else self._close(start)
        self._literal(self.text[at:])
        self._check_use()

    def _open(self, at: int) -> int:
        """Reads the `{` at `at`; gives the position to read on from."""
        if self.text.startswith("{{", at):
            self._open_braces.append("{{")
            self._literal("{")
            return at + 2
        if name := self._name_after(at + 1):
            self._fill(name)
            return at + len(name) + 2
        self._refuse_formatting(at)
        self._open_braces.append("{")
        self._literal("{")
        return at + 1

    def _close(self, at: int) -> int:
        """Reads the `}` at `at`; gives the position to read on from."""
        innermost = self._open_braces[-1] if self._open_braces else None
        doubled = self.text.startswith("}}", at) and innermost != "{"
        if innermost == "{" or (doubled and innermost):
            self._open_braces.pop()
        self._literal("}")
        return at + (2 if doubled else 1)

    def _name_after(self, at: int) -> str | None:
        """The column or parameter between the brace before `at` and its `}`, if that's one."""
        end = _BRACE.search(self.text, at)
        inner = self.text[at : end.start()] if end and end.group() == "}" else ""
        if inner and (inner in self.names or inner in self.params):
            return inner
        for name in self._braced:
            if self.text.startswith(name + "}", at):
                return name
        if inner.isidentifier():
            raise PromptError(self._unknown(inner))
        return None

    def _fill(self, name: str) -> None:
        if name in self.params:
            self._filled.add(name)
            self._literal(as_text(self.params[name]))
            return
        if name not in self.used and Counter(self._columns)[name] > 1:
            raise PromptError(f"Column {name!r} stands twice in `{self.frame_name}`: rename one.")
        self.parts.append(self.used.setdefault(name, len(self.used)))

    def _literal(self, text: str) -> None:
        text = _encodable(text)
        if self.parts and isinstance(before := self.parts[-1], str):
            self.parts[-1] = before + text
        elif text:
            self.parts.append(text)

    def _refuse_formatting(self, at: int) -> None:
        """Raises PromptError if a name with a format, conversion, attribute or index follows."""
        end = _BRACE.search(self.text, at + 1)
        if end is None:
            return
        inner = self.text[at + 1 : end.start()].strip()
        for sign in re.finditer(r"[.\[!:]", inner):
            head = inner[: sign.start()]
            if head in self.names or head in self.params:
                raise PromptError(_formatted(head, inner))
            if head.isidentifier() and _FORMATTING.fullmatch(inner, sign.start()):
                near = nearest(head, [*self.names, *self.params])
                if near is not None:
                    raise PromptError(f"{self._unknown(head)} {_formatted(near, inner)}")

    def _check_params(self) -> None:
        for name in self.params:
            if name in self.names:
                raise PromptError(
                    f"Parameter {name!r} has the name of a column of `{self.frame_name}`, so "
                    f"{{{name}}} could be either: name the parameter differently."
                )

    def _check_use(self) -> None:
        unused = [name for name in self.params if name not in self._filled]
        if unused:
            raise PromptError(
                f"Parameter {unused[0]!r} is not used: write {{{unused[0]}}} in the prompt, "
                "or drop the parameter."
            )
        if not self.used:
            raise PromptError(
                f"The prompt names no column, so every row would ask the same. Write a column of "
                f"{self._frame()} in single braces, like {{{next(iter(self.names), 'column')}}}; "
                "{{…}} stands for literal braces."
            )

    def _unknown(self, name: str) -> str:
        near = nearest(name, [*self.names, *self.params])
        hint = f" Did you mean {{{near}}}?" if near is not None else ""
        what = f"Column {name!r} is not in {self._frame()}.{hint}"
        return f"{what} For literal braces write {{{{{name}}}}}."

    def _frame(self) -> str:
        return f"`{self.frame_name}` ({_listed(self.names)})"


def _formatted(name: str, inner: str) -> str:
    return (
        f"{{{inner}}} asks for a format, conversion, attribute or index, and a template has none: "
        f"write {{{name}}} for the value, or {{{{{inner}}}}} for literal braces."
    )


def _listed(names: Iterable[str]) -> str:
    """The names with commas, cut with … once they are longer than an error should be."""
    shown: list[str] = []
    room = _LONGEST_LIST
    for name in names:
        room -= len(name) + 2
        if shown and room < 0:
            return ", ".join([*shown, "…"])
        shown.append(name if len(name) <= _LONGEST_LIST else name[:_LONGEST_LIST] + "…")
    return ", ".join(shown)


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
    have their shortest form (`0.1`, `3.0`), bytes are read as UTF-8, an Enum is its value. Lone
    surrogates become U+FFFD, so that the text can always be encoded.
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


def _foreign_text(value: Any) -> str:
    """Text of a value that only NumPy, pandas, polars or pyarrow know, else its `str`."""
    if _is_numpy_scalar(value):
        return _numpy_text(value)
    if _is_array(value):
        return _json_text(value)
    if hasattr(value, "as_py"):  # a pyarrow scalar
        return as_text(value.as_py())
    return _encodable(str(value))


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
        return {as_text(key): _jsonable(item) for key, item in value.items()}
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


def _encodable(text: str) -> str:
    return text if text.isascii() else _SURROGATE.sub("\ufffd", text)


# The types that nearly every value has, looked up exactly because it is done for every cell.
_DIRECT: dict[type, Callable[[Any], str]] = {
    str: _encodable,
    int: str,
    bool: str,
    float: _float_text,
    type(None): lambda _: "",
}
# Subclasses too (pandas' Timestamp is a datetime); a datetime is a date, so it comes first.
_BY_KIND: tuple[tuple[type | tuple[type, ...], Callable[[Any], str]], ...] = (
    (enum.Enum, lambda value: as_text(value.value)),
    (str, lambda value: _encodable(str(value))),
    (float, _float_text),
    (int, lambda value: str(int(value))),
    (dt.datetime, _datetime_text),
    ((dt.date, dt.time), lambda value: str(value.isoformat())),
    (dt.timedelta, _duration_text),
    ((bytes, bytearray, memoryview), lambda value: bytes(value).decode("utf-8", "replace")),
    ((decimal.Decimal, uuid.UUID), str),
    ((list, tuple, Mapping, AbstractSet), _json_text),
)
