"""The part of JSON Schema that the API can ask for and that answers can be checked against.

`sendable` reads a schema and refuses what would pass unchecked; `validator` makes the pydantic
schema that checks an answer.
"""

from __future__ import annotations

import datetime as dt
import ipaddress
import re
import uuid
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from ..errors import SchemaError, nearest

if TYPE_CHECKING:
    from pydantic_core import CoreSchema

__all__ = ["left_out", "literals", "resolved", "sendable", "validator"]

Node = dict[str, Any]

_NOTES = {"title", "description", "default", "examples", "deprecated", "readOnly", "writeOnly"}
_NOTES |= {"$schema", "$id", "$comment", "$defs"}
_RANGE = frozenset(["minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"])
# What stands beside each `type` and is checked.
_KEYWORDS: dict[str, frozenset[str]] = {
    "object": frozenset(("properties", "required", "additionalProperties")),
    "array": frozenset(("items", "minItems", "maxItems")),
    "string": frozenset(("format", "pattern", "minLength", "maxLength")),
    "integer": _RANGE,
    "number": _RANGE,
    "boolean": frozenset(),
    "null": frozenset(),
}
_TYPES = ", ".join(_KEYWORDS)
_UNIONS = ("anyOf", "oneOf", "allOf")
_DEFINED = "#/$defs/"


def sendable(schema: Node, *, checked_here: bool) -> Node:
    """`schema` as it is sent: closed objects, one type each; raises SchemaError if it can't be.

    `checked_here` is True where `validator` will check the answers: keywords that it doesn't
    know are errors then. A pydantic model checks its own, so they may stay.
    """
    if schema.get("type") != "object":
        looped = " A model that refers to itself can't be asked for." if "$ref" in schema else ""
        raise SchemaError(
            'The schema must have "type": "object" with "properties" at the top: each property '
            f"becomes a column.{looped} Here it is {_cut(schema.get('type', schema))}."
        )
    if not isinstance(schema.get("$defs", {}), dict):
        raise SchemaError(f'"$defs" is {_cut(schema["$defs"])}, not a dict of schemas.')
    reader = _JsonSchemaReader(schema.get("$defs", {}), checked_here, {})
    sent = reader.node(schema, "the schema", ())
    return {**sent, "$defs": dict(reader.read)} if reader.read else sent


@dataclass(frozen=True)
class _JsonSchemaReader:
    """Walks a schema; `read` collects the definitions that it came by."""

    defs: Any
    checked_here: bool
    read: dict[str, Node]

    def node(self, schema: Any, where: str, within: tuple[str, ...]) -> Node:
        """The sendable form of one node. `within` names the definitions it stands in."""
        if not isinstance(schema, dict):
            raise SchemaError(_allows_anything(schema, where))
        sent = {key: value for key, value in schema.items() if key != "$defs"}
        if "$ref" in schema:
            self._known(sent, {"$ref"}, where)
            self._follow(schema["$ref"], where, within)
        elif "enum" in schema or "const" in schema:
            _checkliterals(schema, where)
            self._known(sent, {"enum", "const", "type"}, where)
        elif union := next((key for key in _UNIONS if key in schema), None):
            return self._union(sent, union, where, within)
        elif isinstance(schema.get("type"), list):
            return self.node(_split(schema, where), where, within)
        else:
            return self._typed(sent, where, within)
        return sent

    def _follow(self, ref: Any, where: str, within: tuple[str, ...]) -> None:
        name = str(ref).removeprefix(_DEFINED)
        if not str(ref).startswith(_DEFINED) or name not in self.defs:
            raise SchemaError(f'{where} refers to {_cut(ref)}, which is not in "$defs".')
        if name in within:
            raise SchemaError(f"{where} refers to itself ({name}); the API takes no recursion.")
        if name not in self.read:
            self.read[name] = self.node(self.defs[name], name, (*within, name))

    def _union(self, sent: Node, union: str, where: str, within: tuple[str, ...]) -> Node:
        self._known(sent, {"anyOf"}, where)
        branches = sent[union]
        if not isinstance(branches, list) or not branches:
            raise SchemaError(f"{where} has an {union} that is {_cut(branches)}, not a list.")
        nodes = [self.node(branch, f"{where}, {union}", within) for branch in branches]
        return {**sent, union: nodes}

    def _typed(self, sent: Node, where: str, within: tuple[str, ...]) -> Node:
        if "type" not in sent:
            raise SchemaError(_allows_anything(sent, where))
        name = sent["type"]
        if not isinstance(name, str) or name not in _KEYWORDS:
            near = nearest(str(name), _KEYWORDS)
            hint = f" Did you mean {near}?" if near else ""
            raise SchemaError(f'{where} has the "type" {_cut(name)}.{hint} Known: {_TYPES}.')
        self._known(sent, {"type", *_KEYWORDS[name]}, where)
        if name == "object":
            return self._object(sent, where, within)
        if name == "array":
            return self._array(sent, where, within)
        if self.checked_here:
            _check_bounds(sent, where)
        return sent

    def _object(self, sent: Node, where: str, within: tuple[str, ...]) -> Node:
        properties = sent.get("properties")
        if not isinstance(properties, dict) or not properties:
            raise SchemaError(
                f"{where} is an object without named properties, and the API fills in only those: "
                "name them, or use a list of objects with a key and a value."
            )
        if sent.get("additionalProperties") not in (None, False, True):
            raise SchemaError(f'{where}: "additionalProperties" can only be false.')
        required = sent.get("required", [])
        if not isinstance(required, list):
            raise SchemaError(f'{where}: "required" is {_cut(required)}, not a list of names.')
        unknown = [name for name in required if name not in list(properties)]
        if unknown:
            raise SchemaError(f"{where} requires {_cut(unknown[0])}, which is not in properties.")
        nodes = {
            name: self.node(inner, f"field {name!r}", within) for name, inner in properties.items()
        }
        return {**sent, "properties": nodes, "required": required, "additionalProperties": False}

    def _array(self, sent: Node, where: str, within: tuple[str, ...]) -> Node:
        if "items" not in sent and not self.checked_here:
            return sent  # a tuple of a pydantic model
        if self.checked_here:
            _check_bounds(sent, where)
        return {**sent, "items": self.node(sent.get("items", {}), f"{where}, items", within)}

    def _known(self, sent: Node, keywords: Iterable[str], where: str) -> None:
        unknown = [key for key in sent if key not in _NOTES and key not in keywords]
        if unknown and self.checked_here:
            hint = " Use anyOf." if unknown[0] in _UNIONS else " Drop it, or use a pydantic model."
            raise SchemaError(f"{where}: {unknown[0]!r} can't be checked there.{hint}")


def _allows_anything(schema: object, where: str) -> str:
    return (
        f"{where} is {_cut(schema)}, which allows anything: give it a "
        '"type", an "enum" or an "anyOf".'
    )


def _cut(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:79] + "…"


def _checkliterals(schema: Node, where: str) -> None:
    values = literals(schema)
    if not isinstance(values, list) or not values:
        raise SchemaError(f"{where} has an enum that is {_cut(values)}: list its values.")
    for value in values:
        if not (value is None or isinstance(value, (str, int, float))):
            raise SchemaError(
                f"{where} has the enum value {_cut(value)}: only plain values can be."
            )
        wanted = schema.get("type", [_type_of(value)])
        wanted = wanted if isinstance(wanted, list) else [wanted]
        if _type_of(value) not in wanted and not (
            "number" in wanted and _type_of(value) == "integer"
        ):
            raise SchemaError(f"{where} has the enum value {_cut(value)}, not of type {wanted[0]}.")


def literals(schema: Node) -> Any:
    """The values of an enum or a const."""
    return schema["enum"] if "enum" in schema else [schema["const"]]


def _type_of(value: object) -> str:
    if value is None:
        return "null"
    names: dict[type, str] = {bool: "boolean", str: "string", int: "integer", float: "number"}
    return names[type(value)]


def _split(schema: Node, where: str) -> Node:
    """`"type": ["string", "null"]` as an anyOf: the API's SDK takes one type at a time."""
    names = schema["type"]
    if not names or not all(isinstance(name, str) and name in _KEYWORDS for name in names):
        raise SchemaError(f'{where} has the "type" {_cut(names)}. Known: {_TYPES}.')
    notes = {key: value for key, value in schema.items() if key in _NOTES}
    rest = {key: value for key, value in schema.items() if key not in _NOTES and key != "type"}
    elsewhere = {key for key in rest if not any(key in _KEYWORDS[name] for name in names)}
    branches = [
        {"type": name, **{k: v for k, v in rest.items() if k in _KEYWORDS[name] or k in elsewhere}}
        for name in names
    ]
    return {**notes, "anyOf": branches}


def _check_bounds(sent: Node, where: str) -> None:
    """Raises SchemaError for a bound, format or pattern that can't be checked."""
    for key, value in sent.items():
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        counted = key.startswith(("minI", "maxI", "minL", "maxL"))
        if (key in _RANGE and not number) or (counted and (type(value) is not int or value < 0)):
            raise SchemaError(f"{where}: {key} is {_cut(value)}, not a number that it can be.")
    if sent.get("multipleOf", 1) <= 0:
        raise SchemaError(f"{where}: multipleOf must be above 0.")
    if "format" in sent and sent["format"] not in (*_FORMATS, "date", "date-time"):
        known = ", ".join(["date", "date-time", *_FORMATS])
        raise SchemaError(f"{where}: unknown format {_cut(sent['format'])}. Known: {known}.")


def resolved(schema: Node, defs: Mapping[str, Node]) -> Node:
    """`schema`, or the definition that it refers to."""
    while "$ref" in schema:
        schema = defs[schema["$ref"].removeprefix(_DEFINED)]
    return schema


def left_out(value: Any, schema: Node, defs: Mapping[str, Node]) -> Any:
    """`value` without the nulls that stand for what may be left out, and can't be null otherwise.

    Where every property is required on the wire, a model has no other word for it.
    """
    schema = resolved(schema, defs)
    if isinstance(value, list) and isinstance(schema.get("items"), dict):
        return [left_out(item, schema["items"], defs) for item in value]
    fields = schema.get("properties")
    if isinstance(value, dict) and fields:
        may_miss = fields.keys() - set(schema.get("required", ()))
        absent = {name for name in may_miss if not _may_be_null(fields[name], defs)}
        return {
            name: left_out(inner, fields[name], defs) if name in fields else inner
            for name, inner in value.items()
            if inner is not None or name not in absent
        }
    branches = [resolved(branch, defs) for union in _UNIONS for branch in schema.get(union, ())]
    nested = [branch for branch in branches if branch.get("type") in ("object", "array")]
    return left_out(value, nested[0], defs) if len(nested) == 1 else value


def validator(schema: Node, defs: Mapping[str, Node]) -> CoreSchema:
    """The pydantic schema that checks (and types) a value of a sendable `schema`."""
    from pydantic_core import core_schema as core

    schema = resolved(schema, defs)
    if "enum" in schema or "const" in schema:
        return _one_of(literals(schema))
    if "anyOf" in schema:
        return _union(schema["anyOf"], defs)
    makers: dict[str, Callable[[], CoreSchema]] = {
        "object": lambda: _object(schema, defs),
        "array": lambda: core.list_schema(
            validator(schema["items"], defs),
            min_length=schema.get("minItems"),
            max_length=schema.get("maxItems"),
        ),
        "string": lambda: _string(schema),
        "integer": lambda: core.no_info_before_validator_function(
            _whole, core.int_schema(strict=True, **_bounds(schema))
        ),
        "number": lambda: core.float_schema(strict=True, allow_inf_nan=False, **_bounds(schema)),
        "boolean": lambda: core.bool_schema(strict=True),
        "null": core.none_schema,
    }
    return makers[schema["type"]]()


def _union(branches: list[Node], defs: Mapping[str, Node]) -> CoreSchema:
    from pydantic_core import core_schema as core

    # Null apart from the rest, so that an error tells of the value and not of every branch.
    made = [validator(branch, defs) for branch in branches if branch.get("type") != "null"]
    if not made:
        return core.none_schema()
    inner = made[0] if len(made) == 1 else core.union_schema(list(made), mode="left_to_right")
    return core.nullable_schema(inner) if len(made) < len(branches) else inner


def _object(schema: Node, defs: Mapping[str, Node]) -> CoreSchema:
    from pydantic_core import core_schema as core

    def required(name: str, inner: Node) -> bool:
        # A value that may be null may be left out as well: both say that there is none.
        return name in schema["required"] and not _may_be_null(inner, defs)

    fields = {
        name: core.typed_dict_field(validator(inner, defs), required=required(name, inner))
        for name, inner in schema["properties"].items()
    }
    return core.typed_dict_schema(fields, extra_behavior="ignore")


def _may_be_null(schema: Node, defs: Mapping[str, Node]) -> bool:
    schema = resolved(schema, defs)
    if "enum" in schema or "const" in schema:
        return None in literals(schema)
    branches = [branch for union in _UNIONS for branch in schema.get(union, ())]
    return schema.get("type") == "null" or any(_may_be_null(it, defs) for it in branches)


def _one_of(values: list[Any]) -> CoreSchema:
    from pydantic_core import core_schema as core

    if all(isinstance(value, str) for value in values):
        return core.literal_schema(values)

    # pydantic's own literals take `true` for 1.
    def choose(given: Any) -> Any:
        for value in values:
            if value == given and isinstance(value, bool) == isinstance(given, bool):
                return value
        raise ValueError(f"expected one of {', '.join(map(repr, values))}")

    return core.no_info_plain_validator_function(choose)


def _string(schema: Node) -> CoreSchema:
    from pydantic_core import core_schema as core

    text = core.str_schema(
        strict=True,
        pattern=schema.get("pattern"),
        min_length=schema.get("minLength"),
        max_length=schema.get("maxLength"),
    )
    form = schema.get("format")
    if form == "date":
        return core.chain_schema([text, _matching(r"\d{4}-\d\d-\d\d"), core.date_schema()])
    if form == "date-time":  # pydantic would read "1700000000" too
        moment = _matching(r"\d{4}-\d\d-\d\d[Tt ]\d.*")
        return core.chain_schema([text, moment, core.datetime_schema()])
    if form is None:
        return text
    return core.no_info_after_validator_function(_formatted(form, _FORMATS[form]), text)


def _matching(pattern: str) -> CoreSchema:
    from pydantic_core import core_schema as core

    return core.str_schema(pattern=f"^(?:{pattern})$")


def _whole(value: Any) -> Any:
    """5.0 is an integer to JSON Schema, though not to pydantic."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _bounds(schema: Node) -> dict[str, Any]:
    names = {
        "minimum": "ge",
        "maximum": "le",
        "exclusiveMinimum": "gt",
        "exclusiveMaximum": "lt",
        "multipleOf": "multiple_of",
    }
    return {names[key]: schema[key] for key in names if key in schema}


def _formatted(name: str, read: Callable[[str], object]) -> Callable[[str], str]:
    def check(text: str) -> str:
        try:
            fits = read(text)
        except ValueError:
            fits = False
        if fits is False or fits is None:
            raise ValueError(f"expected text in the format {name}")
        return text

    return check


# What reads each format; it gives None or False, or raises ValueError, where it can't.
_FORMATS: dict[str, Callable[[str], object]] = {
    "time": dt.time.fromisoformat,
    "duration": re.compile(
        r"P(?!$)(\d+Y)?(\d+M)?(\d+W)?(\d+D)?(T(?=\d)(\d+H)?(\d+M)?(\d+(\.\d+)?S)?)?", re.ASCII
    ).fullmatch,
    "email": re.compile(r"[^@\s]+@[^@\s]+").fullmatch,
    "hostname": re.compile(r"(?!-)[A-Za-z0-9-]{1,63}(\.[A-Za-z0-9-]{1,63})*").fullmatch,
    "uri": lambda text: bool(urlsplit(text).scheme) and " " not in text,
    "ipv4": ipaddress.IPv4Address,
    "ipv6": ipaddress.IPv6Address,
    "uuid": uuid.UUID,
}
