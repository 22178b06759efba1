"""Row numbers in answers: where an answer names rows of its prompt, and which rows those are.

A field is one where its JSON Schema is an integer with the title `row number`, at any depth: the
short form's `row` is that. In an answer it has the number that stands before a row in the prompt.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ..errors import SchemaNotMetError
from .json_schema import resolved
from .schema import Schema, answer_object
from .short_schema import ROW_NUMBER

__all__ = ["RowNumbers"]

_UNIONS = ("anyOf", "oneOf", "allOf")


class RowNumbers:
    """The row numbers that answers to a schema have; `any` says whether there are such fields."""

    def __init__(self, schema: Schema | None) -> None:
        self._schema = schema
        self._node: dict[str, Any] = {} if schema is None else schema.json_schema
        self._defs: dict[str, Any] = self._node.get("$defs", {})
        self.any: bool = self._has(self._node)

    def placed(self, text: str, rows: Sequence[int]) -> str:
        """The answer with what each number stands for: the `rows` are those numbered from 1.

        Raises SchemaNotMetError for an answer that names a row which isn't there.
        """

        def row(number: int) -> int:
            if not 1 <= number <= len(rows):
                raise SchemaNotMetError(
                    f"the answer names row {number}, and the rows are numbered 1 to {len(rows)}"
                )
            return rows[number - 1]

        return self._changed(text, row)

    def cited(self, text: str) -> list[int]:
        """What stands in an answer's fields of this kind, in order, each once."""
        found: dict[int, None] = {}
        self._changed(text, lambda number: found.setdefault(number) or number)
        return list(found)

    def named_in(self, values: Mapping[str, Any]) -> dict[str, list[int]]:
        """The rows that each field of a parsed answer names, as they stand there."""
        found: dict[str, list[int]] = {}
        for name, node in self._node.get("properties", {}).items():
            rows: dict[int, None] = {}
            if self._has(node):
                self._mapped(values.get(name), node, lambda row, to=rows: to.setdefault(row) or row)  # type: ignore[misc]
                found[name] = list(rows)
        return found

    def renumbered(self, text: str, numbers: Mapping[int, int]) -> str:
        """The answer with `numbers[row]` in the place of each row."""
        return self._changed(text, numbers.__getitem__)

    def _changed(self, text: str, change: Callable[[int], int]) -> str:
        assert self._schema is not None  # it has such fields
        data = answer_object(text, self._schema)
        return json.dumps(self._mapped(data, self._node, change), ensure_ascii=False)

    def _mapped(self, value: Any, node: Any, change: Callable[[int], int]) -> Any:
        node = resolved(node, self._defs)
        if _is_row_number(node):
            whole = type(value) is int or (type(value) is float and value.is_integer())
            return change(int(value)) if whole else value
        if isinstance(value, list) and "items" in node:
            return [self._mapped(item, node["items"], change) for item in value]
        if isinstance(value, dict) and "properties" in node:
            inner = node["properties"]
            return {
                name: self._mapped(each, inner[name], change) if name in inner else each
                for name, each in value.items()
            }
        for branch in _branches(node):
            if _takes(resolved(branch, self._defs), value):
                return self._mapped(value, branch, change)
        return value

    def _has(self, node: Any) -> bool:
        if not isinstance(node, dict):
            return False
        node = resolved(node, self._defs)
        inner = [*node.get("properties", {}).values(), node.get("items"), *_branches(node)]
        return _is_row_number(node) or any(map(self._has, inner))


def _is_row_number(node: Mapping[str, Any]) -> bool:
    return node.get("type") == "integer" and node.get("title") == ROW_NUMBER["title"]


def _branches(node: Mapping[str, Any]) -> list[Any]:
    return [branch for union in _UNIONS for branch in node.get(union, ())]


def _takes(node: Mapping[str, Any], value: Any) -> bool:
    """Whether a branch of a union is the one for this value, as far as rows are concerned."""
    kinds: dict[type, str] = {list: "array", dict: "object", int: "integer", float: "integer"}
    return type(value) in kinds and node.get("type") == kinds[type(value)]
