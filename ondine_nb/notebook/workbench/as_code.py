"""The `%%ondine` cell that does what the workbench shows.

A value is written on the line in the first way that the line's own reader gives back unchanged;
what has no such way becomes `$name`, with a line that sets the name.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from ...data import Frame
from ...errors import ConfigurationError
from ...pipeline import OPTIONS
from ..arguments import parse_line

__all__ = ["Code", "as_code", "name_of"]


@dataclass(frozen=True, slots=True)
class Code:
    """`cell` is the cell; `above` what an earlier cell has to run, "" where nothing.

    `bindings` are the values of the names that `above` sets, and of those that no code can write.
    """

    cell: str
    above: str = ""
    bindings: Mapping[str, Any] = field(default_factory=dict)


def as_code(
    out: str,
    source: str,
    prompt: str,
    options: Mapping[str, Any],
    namespace: Mapping[str, Any],
) -> Code:
    """The cell that runs `prompt` over the frame `source` with `options` (named as Pipeline's)."""
    writer = _CellWriter(out, namespace)
    words = ["%%ondine", out, writer.flag("-i", "input", source)]
    given = {name: value for name, value in options.items() if name != "params"}
    words += [writer.flag(OPTIONS[name].flags[0], name, given[name]) for name in _ordered(given)]
    words += [writer.param(name, value) for name, value in options.get("params", {}).items()]
    cell = " ".join(word for word in words if word) + "\n" + prompt
    return Code(cell, "\n".join(writer.lines), writer.bindings)


def name_of(value: Any, namespace: Mapping[str, Any]) -> str | None:
    """The user's own name for this very object, or None."""
    # A copy: a cell may set names meanwhile.
    names = (name for name, known in list(namespace.items()) if known is value)
    return next((name for name in names if not name.startswith("_") and name.isidentifier()), None)


def _ordered(options: Mapping[str, Any]) -> list[str]:
    """The names in the order in which they are declared."""
    return [name for name in OPTIONS if name in options]


class _CellWriter:
    """Writes flags one by one; collects the lines and names that they need."""

    def __init__(self, out: str, namespace: Mapping[str, Any]) -> None:
        self.out, self.namespace = out, namespace
        self.lines: list[str] = []
        self.bindings: dict[str, Any] = {}

    def flag(self, flag: str, name: str, value: Any) -> str:
        """The words that give `value` to the option `name`; "" where it is off."""
        if value is None or value is False:
            return ""
        if isinstance(value, Frame):
            return f"{flag} ${self._bound(name, value.native)}"
        if value is True:
            return flag
        joins = (" ",) if len(flag) == 2 else (" ", "=")
        written = self._written(
            value, lambda text: (f"{flag}{join}{text}" for join in joins), lambda got: got.get(name)
        )
        return written or f"{flag} ${self._bound(name, value)}"

    def param(self, name: str, value: Any) -> str:
        written = self._written(
            value,
            lambda text: (f"-p {name}={text}",),
            lambda got: got.get("params", {}).get(name),
        )
        return written or f"-p {name}=${self._bound(name, value)}"

    def _written(
        self,
        value: Any,
        forms: Callable[[str], Any],
        read: Callable[[dict[str, Any]], Any],
    ) -> str | None:
        """The first form that is read back as the same value."""
        if isinstance(value, type):
            name = name_of(value, self.namespace)
            texts: Iterator[str] = iter([name] if name else [])
        elif isinstance(value, str | int | float) or _is_decimal(value):
            texts = _quoted(str(value))
        else:
            return None
        same = value if isinstance(value, type) else str(value)
        for text in texts:
            for form in forms(text):
                if self._reads(form, read) == same:
                    return str(form)
        return None

    def _reads(self, words: str, read: Callable[[dict[str, Any]], Any]) -> Any:
        # What stands on two lines is cut by the cell, and what can't be encoded is never sent.
        if len(words.splitlines()) != 1 or words != words.encode("utf-8", "replace").decode():
            return None
        try:
            given = parse_line(f"{words} --quiet", self.namespace)
        except ConfigurationError:
            return None
        # A value that swallows what stands behind it, or leaves words over, isn't this value.
        return read(given) if given.get("quiet") and len(given) == 2 else None

    def _bound(self, option: str, value: Any) -> str:
        """A name that holds `value`: the user's own, or a new one and the line that sets it."""
        known = None if isinstance(value, str) else name_of(value, self.namespace)
        if known:
            return known
        name = self._free(f"{self.out}_{option}", value)
        self.bindings[name] = value
        if _is_literal(value):
            self.lines.append(f"{name} = {value!a}")
        else:
            self.lines.append(f"# {name} is the {type(value).__name__} given to the workbench")
        return name

    def _free(self, name: str, value: Any) -> str:
        """`name`, or `name_2` where the user has something else by that name."""
        taken = {**self.namespace, **self.bindings}
        numbers = (name if count == 1 else f"{name}_{count}" for count in range(1, 10_000))
        return next(made for made in numbers if made not in taken or _equal(taken[made], value))


def _quoted(text: str) -> Iterator[str]:
    if text:
        yield text
    for quote in ('"', "'"):
        yield quote + text.replace(quote, "\\" + quote) + quote


def _equal(known: Any, value: Any) -> bool:
    return type(known) is type(value) and isinstance(value, str | dict) and known == value


def _is_decimal(value: Any) -> bool:
    return type(value).__name__ == "Decimal"


def _is_literal(value: Any) -> bool:
    """Whether its repr is Python that gives it again."""
    try:
        return bool(ast.literal_eval(repr(value)) == value)
    except (ValueError, SyntaxError, RecursionError, MemoryError):
        return False
