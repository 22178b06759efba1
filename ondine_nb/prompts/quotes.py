"""A schema whose answers quote, for each chosen field, what in the text its value rests on.

A field `amount` gets a neighbour `amount_evidence`, which comes before it, so that the value is
read out of the quote and not the other way round. A field that is an object has a quote for each of
its own fields there, and each item of a list becomes an object of its `evidence` and its `value`:
two lists side by side would lose count of one another.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..errors import ConfigurationError, nearest
from .json_schema import resolved
from .schema import Field, Schema

__all__ = ["QuotedField", "QuotedSchema", "quoted_schema"]

_SUFFIX = "_evidence"
_VALUE, _QUOTE = "value", "evidence"
_UNIONS = ("anyOf", "oneOf")
Node = dict[str, Any]


@dataclass(frozen=True, slots=True)
class QuotedField:
    """A field with evidence: `path` is its place in an answer, `parts` an object's own fields.

    `many` tells that it has several quotes: for the items of a list, or for `parts`.
    """

    field: Field
    path: tuple[str, ...]
    many: bool
    parts: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The name of the field."""
        return self.field.name


@dataclass(frozen=True, slots=True)
class QuotedSchema:
    """`schema` is what is asked and how values are read, `fields` have quotes in its answers."""

    schema: Schema
    fields: tuple[QuotedField, ...]

    def quotes(
        self, text: str, values: Mapping[str, Any]
    ) -> dict[str, str | list[str | None] | None]:
        """The quote of each field in an answer's `text`, of which `values` were read.

        "" where there is none; None for a value that is missing itself. Of a list or an object a
        list, for its items or fields in order; None for one that is missing.
        """
        answer = self.schema.object_in(text)
        return {
            known.name: None
            if values.get(known.name) is None
            else _quotes_of(known, _at(answer, known.path[:-1]))
            for known in self.fields
        }


def quoted_schema(schema: Schema, chosen: str | Sequence[str], flag: str) -> QuotedSchema:
    """`schema` with a quote for each of the fields that `chosen` names, or for `all` of them.

    Raises `ConfigurationError`, which names `flag`, for names that aren't fields, and where a field
    has the name of another's quote.
    """
    asked: Node = copy.deepcopy(schema.json_schema)
    names = _chosen(schema, chosen, flag)
    fields = tuple(
        _with_quote(known, path, asked)
        for known, path in zip(schema.fields, schema.paths, strict=True)
        if known.name in names
    )
    _check_names(schema, fields, flag)
    return QuotedSchema(schema.asked_as(asked, lambda answer: _plain(answer, fields)), fields)


def _chosen(schema: Schema, chosen: str | Sequence[str], flag: str) -> set[str]:
    known = [field.name for field in schema.fields]
    if not isinstance(chosen, str | list | tuple):
        raise ConfigurationError(
            f"{flag} has to be 'all', or fields by name, not {type(chosen).__name__}"
        )
    given = chosen.split(",") if isinstance(chosen, str) else list(map(str, chosen))
    names = [name.strip() for name in given if name.strip()]
    if names == ["all"] and "all" not in known:
        return set(known)
    for name in names:
        if name not in known:
            near = nearest(name, known)
            hint = f" Did you mean '{near}'?" if near else ""
            raise ConfigurationError(
                f"{flag} names '{name}', which is no field of the schema ({', '.join(known)}): "
                f"name some of them, or 'all'.{hint}"
            )
    if not names:
        raise ConfigurationError(f"{flag} names no field: write 'all', or fields with commas")
    return set(names)


def _check_names(schema: Schema, fields: Sequence[QuotedField], flag: str) -> None:
    taken = {known.name for known in schema.fields} | {path[-1] for path in schema.paths}
    for known in fields:
        for name in {known.name + _SUFFIX, known.path[-1] + _SUFFIX} & taken:
            raise ConfigurationError(
                f"{flag} adds '{name}' to the answers, and the schema has such a field: rename it, "
                f"or leave '{known.name}' out of {flag}"
            )


def _with_quote(known: Field, path: tuple[str, ...], asked: Node) -> QuotedField:
    """Puts a field's quote into the JSON Schema `asked`."""
    defs = asked.get("$defs", {})
    parent = asked
    for part in path[:-1]:
        parent = parent["properties"][part]
    name, properties = path[-1], parent["properties"]
    inner = resolved(properties[name], defs)
    branches = [resolved(it, defs) for union in _UNIONS for it in inner.get(union, ())] or [inner]
    if any(isinstance(it.get("items"), dict) for it in branches):
        properties[name] = _items_quoted(properties[name], defs, name)
        return QuotedField(known, path, many=True)
    objects = [it for it in branches if it.get("properties")]
    parts = tuple(objects[0]["properties"]) if len(objects) == 1 else ()
    quote: Node = _quote(name)
    if parts:
        quotes = {part: _quote(f"{name}.{part}") for part in parts}
        quote = _closed(quotes)
    parent["properties"] = {
        key: node
        for other, inside in properties.items()
        for key, node in (
            [(name + _SUFFIX, quote), (name, inside)] if other == name else [(other, inside)]
        )
    }
    parent["required"] = [*parent.get("required", ()), name + _SUFFIX]
    return QuotedField(known, path, many=bool(parts), parts=parts)


def _items_quoted(node: Node, defs: Mapping[str, Node], name: str) -> Node:
    """A list's schema, or a union with one, in which each item has its quote."""
    node = resolved(node, defs)
    if isinstance(node.get("items"), dict):
        item = _closed({_QUOTE: _quote(f"this item of {name}"), _VALUE: node["items"]})
        return {**node, "items": item}
    return {
        **node,
        **{
            union: [_items_quoted(branch, defs, name) for branch in node[union]]
            for union in _UNIONS
            if union in node
        },
    }


def _closed(properties: Node) -> Node:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def _quote(of: str) -> Node:
    return {
        "type": "string",
        "description": f"Verbatim quote from the text, as short as shows {of}; empty if none does",
    }


# -- answers


def _quotes_of(known: QuotedField, inside: Any) -> str | list[str | None]:
    """A field's quotes in the object that holds it."""
    inside = inside if isinstance(inside, dict) else {}
    value, given = inside.get(known.path[-1]), inside.get(known.path[-1] + _SUFFIX)
    if not known.many:
        return _text(given)
    if known.parts:
        values = value if isinstance(value, dict) else {}
        quotes = given if isinstance(given, dict) else {}
        return [
            None if values.get(part) is None else _text(quotes.get(part)) for part in known.parts
        ]
    beside = given if isinstance(given, list) else []  # of a model that holds to no schema
    items = value if isinstance(value, list) else []
    return [
        _text(item.get(_QUOTE) if _is_wrapped(item) else "".join(map(_text, beside[at : at + 1])))
        for at, item in enumerate(items)
    ]


def _plain(answer: Any, fields: Sequence[QuotedField]) -> Any:
    """The answer without its quotes."""
    for known in fields:
        inside = _at(answer, known.path[:-1])
        if isinstance(inside, dict):
            _take_out(known, inside)
    return answer


def _take_out(known: QuotedField, inside: dict[str, Any]) -> None:
    inside.pop(known.path[-1] + _SUFFIX, None)
    value = inside.get(known.path[-1])
    if known.many and not known.parts and isinstance(value, list):
        inside[known.path[-1]] = [item.get(_VALUE) if _is_wrapped(item) else item for item in value]


def _is_wrapped(item: Any) -> bool:
    return isinstance(item, dict) and item.keys() <= {_VALUE, _QUOTE} and _VALUE in item


def _at(data: Any, path: Sequence[str]) -> Any:
    for part in path:
        data = data.get(part) if isinstance(data, dict) else None
    return data


def _text(given: Any) -> str:
    return given if isinstance(given, str) else ""
