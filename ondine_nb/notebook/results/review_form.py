"""The fields of an answer as a form: what the browser shows of a value, and what it gives back."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from ...evaluation import json_value, typed
from ...prompts import Field
from ...text import as_text

__all__ = ["FormError", "FormField", "form_fields"]

NO_VALUE = "no value"


class FormError(ValueError):
    """What was entered is no value of its field; `field` is its name, the text is for people."""

    def __init__(self, field: str, text: str) -> None:
        super().__init__(text)
        self.field: str = field


class FormField:
    """A field with its control: numbered choices, a line, or lines.

    A control holds what JSON says plainly: of choices the place of one, of lines their text; None
    where nothing was chosen or written. `judged` is False for the model's own number of how sure it
    is, which nobody can correct.
    """

    def __init__(self, known: Field, *, judged: bool = True) -> None:
        self.known: Field = known
        self.judged: bool = judged
        self.name: str = known.name
        self.values: list[Any] | None = _choices(known)

    @property
    def control(self) -> str:
        """`choices`, `line`, `lines` (one item each) or `json`."""
        if self.values is not None:
            return "choices"
        if self.known.kind.startswith("list["):
            return "lines"
        return "json" if self.known.kind == "json" else "line"

    def described(self) -> dict[str, Any]:
        """What the browser has to know to draw the control."""
        words = [] if self.values is None else [_word(value) for value in self.values]
        return {
            "name": self.name,
            "kind": self.known.kind,
            "control": self.control,
            "choices": words,
            "judged": self.judged,
        }

    def shown(self, value: Any) -> int | str | None:
        """What the control holds for `value`, a Python or JSON value of the field."""
        value = json_value(value)
        if self.values is not None:
            return self.values.index(value) if value in self.values else None
        if value is None:
            return None
        if self.control == "lines" and isinstance(value, list):
            return "\n".join(map(_text, value))
        if self.control == "json":
            return json.dumps(value, ensure_ascii=False, indent=1)
        return _text(value)

    def word(self, value: Any) -> str:
        """A Python or JSON value of the field in one line of words."""
        value = json_value(value)
        return _word(value) if value is None or isinstance(value, bool) else as_text(value)

    def value(self, held: Any) -> Any:
        """The JSON value of what the control holds. Raises `FormError`."""
        if self.values is not None:
            if type(held) is int and 0 <= held < len(self.values):
                return self.values[held]
            raise FormError(self.name, f"{self.name}: choose one of {', '.join(self._words())}")
        text = "" if held is None else str(held)
        if self.control == "lines":
            kind = self.known.kind[5:-1]
            return [self._read(kind, line) for line in text.splitlines() if line.strip()]
        if not text.strip() and (self.known.optional or self.known.kind != "str"):
            if self.known.optional:
                return None
            raise FormError(self.name, f"{self.name} is empty: it must be {self.known.expected}")
        return self._read(self.known.kind, text)

    def _words(self) -> list[str]:
        return [_word(value) for value in self.values or ()]

    def _read(self, kind: str, text: str) -> Any:
        try:
            return _json(text) if kind == "json" else json_value(typed(Field("", kind), text))
        except (ValueError, RecursionError):
            said = text if len(text) <= 40 else text[:39] + "…"
            raise FormError(
                self.name, f"{self.name}: {said!r} is no {_NAMES.get(kind, kind)}"
            ) from None


def form_fields(run: Any) -> Sequence[Field]:
    """The fields of a run's answers: its schema's, or the one column of a plain text answer."""
    schema = run.pipeline.schema
    if schema is not None:
        return list(schema.fields)
    return [Field(name, "str") for name in run.columns[:1]]


def _choices(known: Field) -> list[Any] | None:
    if known.kind == "bool":
        values: list[Any] = [True, False]
    elif known.choices:
        values = list(known.choices)
    else:
        return None
    return [*values, None] if known.optional else values


def _word(value: Any) -> str:
    if value is None:
        return NO_VALUE
    return {True: "true", False: "false"}[value] if isinstance(value, bool) else str(value)


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False)


def _json(text: str) -> Any:
    value = json.loads(text)
    json.dumps(value, allow_nan=False)  # Python reads NaN and 1e999, which JSON hasn't
    return value


_NAMES = {
    "int": "whole number",
    "float": "number",
    "bool": "true or false",
    "date": "date such as 2026-03-31",
    "datetime": "time such as 2026-03-31T12:00",
    "json": "JSON",
}
