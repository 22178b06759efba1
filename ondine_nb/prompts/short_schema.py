"""The short form of a schema, `name: type, …`, read into JSON Schema."""

from __future__ import annotations

import re
from typing import Any, NoReturn

from ..errors import SchemaError, nearest

__all__ = ["ROW_NUMBER", "read_short_form"]

_TYPES: dict[str, dict[str, Any]] = {
    "str": {"type": "string"},
    "int": {"type": "integer"},
    "float": {"type": "number"},
    "bool": {"type": "boolean"},
    "date": {"type": "string", "format": "date"},
}
# The number of one of the rows in a prompt that has several; not a word that choices can't have.
ROW_NUMBER: dict[str, Any] = {
    "type": "integer",
    "title": "row number",
    "description": "the number that stands before a row",
}
_ROW = "row"
_KNOWN = "str, int, float, bool, date, list[…], or choices like a|b|c"
_SPACE = re.compile(r"\s*")
_NAME = re.compile(r"[^:,\n]*")
_WORD = re.compile(r"[^:,|?\[\]\n]*")
_QUOTED = re.compile(r"""(["'])((?:\\.|(?!\1)[^\\])*)\1""", re.DOTALL)
_DEEPEST = 20  # lists within lists; more is a slip of the finger


def read_short_form(text: str, column: str = "response") -> dict[str, Any]:
    """The JSON Schema of `sentiment: positive|negative, score: float?`.

    Every field is required; an optional one may be null. `column` is the name that the error
    for a type without a field name proposes. Raises SchemaError.
    """
    return _ShortSchemaReader(text, column).fields()


class _ShortSchemaReader:
    """Reads from `at` on; each method leaves `at` behind what it has read."""

    def __init__(self, text: str, column: str) -> None:
        self.text = text
        self.column = column
        self.at = 0

    def fields(self) -> dict[str, Any]:
        properties: dict[str, Any] = {}
        while self._more():
            name = self._field_name()
            if name in properties:
                raise SchemaError(f"Field {name!r} stands twice in the schema: rename one.")
            properties[name] = self._type(name)
            self._end_of_field(name)
        if not properties:
            raise SchemaError("The schema is empty: write fields like `sentiment: good|bad`.")
        return {"type": "object", "properties": properties, "required": list(properties)}

    def _more(self) -> bool:
        """Passes space and at most one comma before each field; False at the end."""
        self._space()
        if self.at and self._take(","):
            self._space()
        if self._sees(","):
            raise SchemaError(f"A field is missing before {self._rest()}: drop the extra comma.")
        return self.at < len(self.text)

    def _field_name(self) -> str:
        start = self.at
        name, _ = self._token(_NAME)
        self._space()
        if not self._take(":"):
            self._without_colon(self.text[start : self.at].strip())
        if not name:
            raise SchemaError(f"A field has no name before {self._rest()}: write `name: type`.")
        return name

    def _without_colon(self, found: str) -> NoReturn:
        if found in _TYPES or "|" in found or "[" in found:
            raise SchemaError(f"{found!r} has no field name: write `{self.column}: {found}`.")
        raise SchemaError(
            f"{found!r} has no type: write `{found}: str`, with a colon between name and type "
            "(a pydantic model must be defined before it is named here)."
        )

    def _type(self, field: str, depth: int = 0) -> dict[str, Any]:
        """A type with its `?`, if it has one."""
        self._space()
        if depth > _DEEPEST:
            raise SchemaError(f"Field {field!r} nests lists more than {_DEEPEST} deep.")
        if re.compile(r"list\s*\[").match(self.text, self.at):
            found = self._list(field, depth)
        else:
            found = self._choices_or_name(field)
        self._space_in_line()
        return {"anyOf": [found, {"type": "null"}]} if self._take("?") else found

    def _list(self, field: str, depth: int) -> dict[str, Any]:
        self.at = self.text.index("[", self.at) + 1
        items = self._type(field, depth + 1)
        self._space()
        if not self._take("]"):
            raise SchemaError(f"Field {field!r} has a `list[` without its `]` {self._before()}.")
        return {"type": "array", "items": items}

    def _choices_or_name(self, field: str) -> dict[str, Any]:
        words = [self._token(_WORD)]
        while self._follows("|"):
            self._space()
            words.append(self._token(_WORD))
        if len(words) > 1 or words[0][1]:
            return _choice(field, words)
        word = words[0][0]
        if not word:
            raise SchemaError(f"Field {field!r} has no type {self._before()}: write {_KNOWN}.")
        if word == _ROW:
            return dict(ROW_NUMBER)
        if word not in _TYPES:
            if self._sees(":") or self._sees("?|"):
                self._goes_on(field)
            raise SchemaError(_unknown_type(field, word))
        return dict(_TYPES[word])

    def _end_of_field(self, field: str) -> None:
        line_start = self.at
        self._space()
        ended = self.at == len(self.text) or self._sees(",")
        if ended or "\n" in self.text[line_start : self.at]:
            return
        if self._sees("]"):
            raise SchemaError(f"Field {field!r} has a `]` without its `list[`.")
        self._goes_on(field)

    def _goes_on(self, field: str) -> NoReturn:
        raise SchemaError(
            f"Field {field!r} goes on with {self._rest()}: put a comma between fields, and quotes "
            "around a choice that holds one of , : | ? [ ] or a quote."
        )

    def _token(self, bare: re.Pattern[str]) -> tuple[str, bool]:
        """The word here and whether it is quoted; a bare one ends before the next sign."""
        if quoted := _QUOTED.match(self.text, self.at):
            self.at = quoted.end()
            return re.sub(r"\\(.)", r"\1", quoted[2], flags=re.DOTALL), True
        found = bare.match(self.text, self.at)
        word = found.group() if found else ""
        self.at += len(word)
        return word.strip(), False

    def _follows(self, sign: str) -> bool:
        """Takes `sign` if it comes next, on a later line too; else stays."""
        here = self.at
        self._space()
        if self._take(sign):
            return True
        self.at = here
        return False

    def _take(self, sign: str) -> bool:
        taken = self._sees(sign)
        self.at += len(sign) if taken else 0
        return taken

    def _sees(self, sign: str) -> bool:
        return self.text.startswith(sign, self.at)

    def _space(self) -> None:
        found = _SPACE.match(self.text, self.at)
        self.at = found.end() if found else self.at

    def _space_in_line(self) -> None:
        while self.at < len(self.text) and self.text[self.at] in " \t":
            self.at += 1

    def _rest(self) -> str:
        rest = self.text[self.at : self.at + 30]
        return repr(rest) if rest else "the end"

    def _before(self) -> str:
        return f"before {self._rest()}"


def _choice(field: str, words: list[tuple[str, bool]]) -> dict[str, Any]:
    choices = [word for word, _ in words]
    for word, quoted in words:
        if not word:
            raise SchemaError(f"Field {field!r} has an empty choice: write a|b, or drop the |.")
        if not quoted and word in _TYPES:
            raise SchemaError(
                f"Field {field!r} has the type {word} among its choices: a field has one type "
                f'(write "{word}" in quotes for the word).'
            )
        if choices.count(word) > 1:
            raise SchemaError(f"Field {field!r} has the choice {word!r} twice: drop one.")
    return {"type": "string", "enum": choices}


def _unknown_type(field: str, word: str) -> str:
    near = nearest(word, [*_TYPES, "list"])
    near = "list[str]" if near == "list" else near
    hint = f"Did you mean {near}? " if near else ""
    return (
        f"Field {field!r} has the unknown type {word!r}. {hint}Types are {_KNOWN}; "
        f'a single choice stands in quotes: "{word}".'
    )
