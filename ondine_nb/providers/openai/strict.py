"""JSON Schema in the part that strict structured outputs can say.

Strict mode closes every object and requires every property, so one that may be left out becomes one
that may be null. It has no defaults, no `oneOf` and no tuples; what only notes or bounds a value is
put into words, for answers are checked here whatever the server does.
"""

from __future__ import annotations

from typing import Any

__all__ = ["response_format", "strict"]

_Node = dict[str, Any]

_MOST_PROPERTIES, _MOST_LEVELS, _MOST_VALUES, _MOST_CHARACTERS = 5_000, 10, 1_000, 120_000
_FORMATS = ("date-time", "date", "time", "duration", "email", "hostname", "ipv4", "ipv6", "uuid")
_SAID = ("description", "title")
_BOUNDS = (
    "pattern",
    "minimum",
    "maximum",
    "exclusiveMinimum",
    "exclusiveMaximum",
    "multipleOf",
    "minItems",
    "maxItems",
)
_IN_WORDS = ("minLength", "maxLength")
_NOTES = frozenset(
    ("default", "examples", "deprecated", "readOnly", "writeOnly", "$schema", "$id", "$comment")
)
_TYPES = {bool: "boolean", str: "string", int: "integer", float: "number", type(None): "null"}


def response_format(schema: _Node, *, bounds: bool = True) -> _Node:
    """The request's `response_format` for a schema.

    Strict where strict mode can say it; else the schema as it is, which servers hold to as far as
    they can. Without `bounds`, formats and bounds of values are put into words too.
    """
    told = strict(schema, bounds=bounds)
    inner = {"name": "answer", "strict": told is not None, "schema": told or schema}
    return {"type": "json_schema", "json_schema": inner}


def strict(schema: _Node, *, bounds: bool = True) -> _Node | None:
    """The same schema for strict mode, or None where that can't say it."""
    reader = _Strict(schema.get("$defs", {}), bounds)
    try:
        made = reader.node({key: value for key, value in schema.items() if key != "$defs"}, 1)
        defs = {name: reader.node(node, 1) for name, node in reader.defs.items()}
    except _CannotSayError:
        return None
    if reader.properties > _MOST_PROPERTIES or reader.values > _MOST_VALUES:
        return None
    return {**made, "$defs": defs} if defs else made


class _CannotSayError(ValueError):
    """Strict mode has no words for it."""


class _Strict:
    """Walks a schema, and counts what there is a limit for."""

    def __init__(self, defs: dict[str, _Node], bounds: bool) -> None:
        self.defs, self.bounds = defs, bounds
        self.properties = self.values = self.characters = 0

    def node(self, node: Any, level: int) -> _Node:
        if not isinstance(node, dict) or level > _MOST_LEVELS:
            raise _CannotSayError
        if "$ref" in node:
            return {"$ref": node["$ref"]}  # nothing may stand beside it
        made = {name: node[name] for name in _SAID if name in node}
        if "enum" in node or "const" in node:
            return made | self._literals(node["enum"] if "enum" in node else [node["const"]])
        for union in ("anyOf", "oneOf"):
            if union in node:
                branches = [self.node(branch, level) for branch in node[union]]
                return made | {"anyOf": branches}
        if "allOf" in node:
            if len(node["allOf"]) > 1:
                raise _CannotSayError
            return self.node(node["allOf"][0], level) | made
        kind = node.get("type")
        if kind == "object":
            return made | self._object(node, level)
        if kind == "array":
            if not isinstance(node.get("items"), dict) or "prefixItems" in node:
                raise _CannotSayError
            made["items"] = self.node(node["items"], level + 1)
        elif kind not in _TYPES.values():
            raise _CannotSayError
        return self._bounded({**made, "type": kind}, node)

    def _object(self, node: _Node, level: int) -> _Node:
        fields, required = node.get("properties"), node.get("required", ())
        if not fields or node.get("additionalProperties") is not False:
            raise _CannotSayError
        self.properties += len(fields)
        self.characters += sum(map(len, fields))
        if self.characters > _MOST_CHARACTERS or set(node) & {"patternProperties"}:
            raise _CannotSayError
        made = {name: self.node(field, level + 1) for name, field in fields.items()}
        for name in made.keys() - set(required):
            if not self.may_be_null(fields[name]):
                made[name] = {"anyOf": [made[name], {"type": "null"}]}
        return {
            "type": "object",
            "properties": made,
            "required": list(made),
            "additionalProperties": False,
        }

    def _literals(self, values: list[Any]) -> _Node:
        self.values += len(values)
        self.characters += sum(len(str(value)) for value in values)
        kinds = list(dict.fromkeys(_TYPES.get(type(value), "") for value in values))
        if "" in kinds or self.characters > _MOST_CHARACTERS:
            raise _CannotSayError
        return {"type": kinds[0] if len(kinds) == 1 else kinds, "enum": list(values)}

    def _bounded(self, made: _Node, node: _Node) -> _Node:
        """What bounds a value: as keywords where the server knows them, else in words."""
        said: list[str] = []
        for name, value in node.items():
            if name in ("type", "items", *_SAID, *_NOTES):
                continue
            known = name in _BOUNDS or (name == "format" and value in _FORMATS)
            if known and self.bounds:
                made[name] = value
            elif known or name == "format" or name in _IN_WORDS:
                said.append(f"{name}: {value}")
            else:
                raise _CannotSayError
        if said:
            words = [made["description"]] if "description" in made else []
            made["description"] = " ".join([*words, f"({', '.join(said)})"])
        return made

    def may_be_null(self, node: Any) -> bool:
        """Whether null meets it."""
        while "$ref" in node:
            node = self.defs.get(node["$ref"].removeprefix("#/$defs/"), {})
        if "enum" in node or "const" in node:
            return None in (node["enum"] if "enum" in node else [node["const"]])
        branches = node.get("anyOf") or node.get("oneOf") or ()
        return node.get("type") == "null" or any(map(self.may_be_null, branches))
