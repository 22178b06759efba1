"""Schemas: what an answer must hold, said in short, as a pydantic model or as JSON Schema.

    sentiment: positive|negative|neutral, score: float, tags: list[str], when: date?

The short form is `name: type` with commas or line ends between the fields. Types are `str`,
`int`, `float`, `bool`, `date`, `list[...]`, choices `a|b|c`, and `row`, the number of a row in a
prompt that has several; a `?` behind a type makes it optional. Names and choices are taken as they
stand, spaces and all; in quotes they may hold `, : | ? [ ]` too (a backslash before a quote or a
backslash), and a quoted word is always a choice.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import enum
import json
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, NoReturn

from jiter import from_json

from ..errors import SchemaError, SchemaNotMetError
from .json_schema import left_out, literals, resolved, sendable, validator
from .short_schema import read_short_form
from .words import objects_in

if TYPE_CHECKING:
    from pydantic import BaseModel

__all__ = ["Field", "Schema", "answer_object", "parse_schema"]

_SURROGATE = re.compile("[\ud800-\udfff]")
_INT64 = 2**63
_Kind = tuple[str, tuple[str, ...] | None, bool]  # kind, choices, whether null may stand


@dataclass(frozen=True, slots=True)
class Field:
    """One column that answers fill.

    `kind` is one of str, int, float, bool, date, datetime, choice, json, or list[T] where T is
    one of the first five; `choices` are the texts of a choice; `optional` says that None is an
    answer. A json value is a Python list or dict.
    """

    name: str
    kind: str
    choices: tuple[str, ...] | None = None
    optional: bool = False

    @property
    def expected(self) -> str:
        """What a value must be, in words for an error."""
        if self.choices:
            words = f"one of {', '.join(self.choices)}"
        else:
            nested = self.kind == "json" or self.kind.startswith("list[")
            words = "the nested form of the schema" if nested else self.kind
        return f"{words} or null" if self.optional else words


@dataclass(frozen=True, slots=True)
class Schema:
    """The fields of an answer, the JSON Schema to send for them, and the reader of answers."""

    fields: tuple[Field, ...]
    json_schema: dict[str, Any]
    # From JSON text to the field's values, in the order of `fields`.
    _read: Callable[[str | bytes], list[Any]] = field(repr=False, compare=False)
    # Where the fields stand in the JSON: at an alias of a pydantic model, or deeper.
    _paths: tuple[tuple[str, ...], ...] = field(repr=False, compare=False)
    # Whether no code of the user's reads along, so that an answer may be read a second time.
    _own: bool = field(default=False, repr=False, compare=False)

    @property
    def paths(self) -> tuple[tuple[str, ...], ...]:
        """Where the value of each field stands in an answer, in the order of `fields`."""
        return self._paths

    def asked_as(self, json_schema: dict[str, Any], plain: Callable[[Any], Any]) -> Schema:
        """The same fields, of answers to another JSON Schema: `plain` makes them answers to this.

        It is given an answer's JSON, which it may change.
        """

        def read(text: str | bytes) -> list[Any]:
            return self._read(json.dumps(plain(json.loads(text)), ensure_ascii=False))

        return replace(self, json_schema=json_schema, _read=read)

    def object_in(self, text: str) -> dict[str, Any]:
        """The JSON object of an answer, with all that stands in it.

        Raises SchemaNotMetError where it is none.
        """
        return _load(text, self.fields)

    def parse(self, text: str) -> dict[str, Any]:
        """The typed value of each field in a model's answer.

        White space and one fence (```json) around the object are tolerated; keys that are no
        fields are left out. Raises SchemaNotMetError with a reason of one line.
        """
        values = self._read_as_it_stands(text) if self._own else None
        if values is None:
            values = self._read_with_care(text)
        return {
            known.name: _fitted(known, value)
            for known, value in zip(self.fields, values, strict=True)
        }

    def found_in(self, text: str) -> dict[str, Any]:
        """As `parse`, of an answer that nobody held to the schema: the object may stand in prose.

        Of several objects those count that meet the schema. Raises SchemaNotMetError where none
        does, and where those that do say different things.
        """
        return self._found_in(text)[1]

    def json_in(self, text: str) -> str:
        """The object's text of which `found_in` reads the values. Raises SchemaNotMetError."""
        return self._found_in(text)[0]

    def _found_in(self, text: str) -> tuple[str, dict[str, Any]]:
        found: list[tuple[str, dict[str, Any]]] = []
        try:
            return text, self.parse(text)
        except SchemaNotMetError as error:
            why = error
        for each in objects_in(text):
            try:
                values = self.parse(each)
            except SchemaNotMetError as error:
                why = error
            else:
                found += [] if any(values == other for _, other in found) else [(each, values)]
        if len(found) > 1:
            why = SchemaNotMetError(
                f"the answer has {len(found)} objects that meet the schema and differ"
            )
        if len(found) != 1:
            raise why
        return found[0]

    def written(self, values: Mapping[str, Any]) -> str:
        """The answer in JSON that `parse` would read these values of: one for each field, as JSON.

        A missing value (None) is null, or left out where null may not stand. Raises
        SchemaNotMetError for values that no answer may have.
        """
        answers = [self._answer_of(values, nulls=nulls) for nulls in (True, False)]
        for text in answers[:1] if None not in values.values() else answers:
            try:
                self.parse(text)
            except SchemaNotMetError as error:
                broken = error
            else:
                return text
        raise broken

    def _answer_of(self, values: Mapping[str, Any], *, nulls: bool) -> str:
        answer: dict[str, Any] = {}
        for known, path in zip(self.fields, self._paths, strict=True):
            if nulls or values[known.name] is not None:
                inside = answer
                for part in path[:-1]:
                    inside = inside.setdefault(part, {})
                inside[path[-1]] = values[known.name]
        answer = left_out(answer, self.json_schema, self.json_schema.get("$defs", {}))
        return json.dumps(answer, ensure_ascii=False)

    def _read_as_it_stands(self, text: str) -> list[Any] | None:
        """The values of an answer that meets the schema, as most do; None where it takes care."""
        body = _unfenced(text)
        if "NaN" in body or "Infinity" in body:  # pydantic takes them for JSON in other fields
            return None
        try:
            return self._read(body)
        except ValueError:  # the other way says it in our words
            return None

    def _read_with_care(self, text: str) -> list[Any]:
        data = _load(text, self.fields)
        try:
            # Dumped again because pydantic types JSON differently from Python values: here a
            # date is text, and NaN, lone surrogates and half pairs are gone.
            return self._read(_dump(data))
        except Exception as error:  # a validator of the user's may raise anything
            why = error
        less = left_out(data, self.json_schema, self.json_schema.get("$defs", {}))
        if less != data:
            with contextlib.suppress(Exception):
                return self._read(_dump(less))
        raise SchemaNotMetError(self._reason(why, data)) from None

    def signature(self) -> str:
        """Canonical JSON of what decides an answer. Order counts: fields are asked in theirs."""
        names = [known.name for known in self.fields]
        return json.dumps([names, self.json_schema], sort_keys=True, separators=(",", ":"))

    def _reason(self, error: Exception, data: dict[str, Any]) -> str:
        from pydantic import ValidationError

        if not isinstance(error, ValidationError):
            return _one_line(f"the answer can't be read: {type(error).__name__}: {error}")
        first = error.errors(include_url=False, include_context=False)[0]
        where = tuple(map(str, first["loc"]))
        placed = zip(self.fields, self._paths, strict=True)
        found = next(((it, path) for it, path in placed if where[: len(path)] == path), None)
        if found is None:
            return _one_line(f"the answer doesn't fit: {first['msg']}")
        known, path = found
        inner = where[len(path) :]
        if first["type"] == "missing" and not inner:
            return _one_line(f"field {known.name!r} is missing: expected {known.expected}")
        if known.kind == "json" or known.kind.startswith("list["):
            inside = f" at {'.'.join(inner)}" if inner else ""
            return _one_line(
                f"field {known.name!r}{inside} is {_cut(first['input'])}: {first['msg']}"
            )
        # A constraint (a bound, a pattern, a rule of the model) is told in pydantic's words.
        broken = first["type"] in _TYPE_ERRORS or first["type"].endswith(("_type", "_parsing"))
        why = f"expected {known.expected}" if broken else first["msg"]
        return _one_line(f"field {known.name!r} is {_cut(_at(data, path))}: {why}")


def _at(data: Any, path: tuple[str, ...]) -> Any:
    for part in path:
        data = data.get(part) if isinstance(data, dict) else None
    return data


_TYPE_ERRORS = frozenset(("literal_error", "enum", "string_pattern_mismatch", "finite_number"))


def answer_object(text: str, schema: Schema) -> dict[str, Any]:
    """An answer's JSON as it stands, unchecked. Raises SchemaNotMetError where it is no object."""
    return _load(text, schema.fields)


def parse_schema(
    spec: str | type[BaseModel] | dict[str, Any], *, column: str = "response"
) -> Schema:
    """The schema of a short form, a pydantic model class or a JSON Schema dict.

    `column` is the name that an error proposes for choices without a field name. Raises
    SchemaError, which names the field, what is wrong with it, and what to write.
    """
    if isinstance(spec, str):
        return _from_json_schema(read_short_form(spec, column))
    if isinstance(spec, dict):
        return _from_json_schema(spec)
    if isinstance(spec, type):
        return _from_model(spec)
    raise SchemaError(
        "A schema is a short form (`name: type, …`), a pydantic model class or a JSON Schema "
        f"dict, not {type(spec).__name__}."
    )


def _from_json_schema(spec: dict[str, Any]) -> Schema:
    schema = sendable(_plain_json(spec), checked_here=True)
    defs = schema.get("$defs", {})
    from pydantic_core import SchemaError as CoreError
    from pydantic_core import SchemaValidator

    try:
        checker = SchemaValidator(validator(schema, defs))
    except CoreError as error:
        raise SchemaError(f"The schema can't be checked: {_one_line(str(error))}") from None
    required = set(schema["required"])
    fields = tuple(
        _field(name, inner, defs, name in required) for name, inner in schema["properties"].items()
    )
    names = tuple(known.name for known in fields)

    def read(text: str | bytes) -> list[Any]:
        values = checker.validate_json(text)
        return [values.get(name) for name in names]

    return Schema(fields, schema, read, tuple((name,) for name in names), _own=True)


def _from_model(spec: type) -> Schema:
    from pydantic import BaseModel, RootModel

    if not issubclass(spec, BaseModel) or issubclass(spec, RootModel):
        raise SchemaError(f"{spec.__name__} is no pydantic model with named fields.")
    model: type[BaseModel] = spec
    try:
        drawn = model.model_json_schema()
    except Exception as error:  # pydantic has a dozen, and hooks of the user's run here too
        raise SchemaError(f"{spec.__name__} has no JSON Schema: {_one_line(str(error))}") from None
    paths = _paths_of(model, drawn)
    schema = sendable(_plain_json(_nested(drawn, paths)), checked_here=False)
    fields = tuple(
        _field(name, drawn["properties"][drawn_as], schema.get("$defs", {}), drawn_as in required)
        for name, (drawn_as, _) in paths.items()
        for required in [drawn.get("required", ())]
    )

    def read(text: str | bytes) -> list[Any]:
        answer = model.model_validate_json(text)
        return [getattr(answer, name) for name in paths]

    return Schema(fields, schema, read, tuple(path for _, path in paths.values()))


def _paths_of(
    model: type[BaseModel], drawn: dict[str, Any]
) -> dict[str, tuple[str, tuple[str, ...]]]:
    """Each field that is asked for: its name in pydantic's schema, and where its value is read.

    The two differ where a field reads out of nested objects (an AliasPath). Raises SchemaError
    for one that reads an item of a list, which no schema can place.
    """
    found = {}
    for name, info in model.model_fields.items():
        alias = info.validation_alias or info.alias or name
        paths = [
            tuple(one.path) if hasattr(one, "path") else (one,)
            for one in getattr(alias, "choices", [alias])
        ]
        flat = [path[0] for path in paths if len(path) == 1]
        drawn_as = next((key for key in (*flat, name) if key in drawn.get("properties", ())), None)
        if not isinstance(drawn_as, str):
            continue
        found[name] = drawn_as, _askable(name, paths, drawn_as)
    return found


def _askable(name: str, paths: list[tuple[Any, ...]], drawn_as: str) -> tuple[str, ...]:
    """The first of the places that a field reads from which a schema can ask for."""
    if (drawn_as,) in paths[:1]:
        return (drawn_as,)
    for path in paths:
        if all(isinstance(part, str) for part in path):
            return path
    raise SchemaError(
        f"Field {name!r} reads item {paths[0][-1]!r} of a list (AliasPath), which a schema can't "
        "ask for: give it a name of its own."
    )


def _nested(drawn: dict[str, Any], paths: dict[str, tuple[str, tuple[str, ...]]]) -> dict[str, Any]:
    """pydantic's schema with the fields that it draws flat in the objects that it reads them of."""
    if all(path == (drawn_as,) for drawn_as, path in paths.values()):
        return drawn
    made = {**drawn, "properties": {}, "required": []}
    for drawn_as, path in paths.values():
        inside: dict[str, Any] = made
        for part in path[:-1]:
            if part not in inside["required"]:
                inside["required"].append(part)
            empty = {"type": "object", "properties": {}, "required": []}
            inside = inside["properties"].setdefault(part, empty)
        inside["properties"][path[-1]] = drawn["properties"][drawn_as]
        if drawn_as in drawn.get("required", ()):
            inside["required"].append(path[-1])
    return made


def _field(name: str, schema: dict[str, Any], defs: dict[str, Any], required: bool) -> Field:
    kind, choices, null = _kind_of(schema, defs)
    return Field(name, "json" if kind == "null" else kind, choices, null or not required)


def _kind_of(schema: dict[str, Any], defs: dict[str, Any]) -> _Kind:
    """What a column of such values holds: its kind, its choices if any, and if null may stand."""
    schema = resolved(schema, defs)
    if "enum" in schema or "const" in schema:
        return _kind_of_literals(literals(schema))
    if branches := schema.get("anyOf") or schema.get("oneOf"):
        return _kind_of_union([_kind_of(branch, defs) for branch in branches])
    form = schema.get("format")
    if schema.get("type") == "string" and form in ("date", "date-time"):
        return ("date" if form == "date" else "datetime"), None, False
    if schema.get("type") == "array":
        item, _, null = _kind_of(schema.get("items", {}), defs)
        item = "str" if item == "choice" else item
        return (f"list[{item}]" if item in _ITEMS and not null else "json"), None, False
    if schema.get("type") == "null":
        return "null", None, True
    names = {"string": "str", "integer": "int", "number": "float", "boolean": "bool"}
    return names.get(schema.get("type", ""), "json"), None, False


def _kind_of_literals(values: list[Any]) -> _Kind:
    present = [value for value in values if value is not None]
    optional = len(present) < len(values)
    kinds = {type(value) for value in present}
    if not kinds:
        return "null", None, optional
    if kinds == {str}:
        return "choice", tuple(dict.fromkeys(present)), optional
    if len(kinds) == 1:
        return kinds.pop().__name__, None, optional
    return ("float" if kinds == {int, float} else "str"), None, optional


def _kind_of_union(
    branches: list[_Kind],
) -> _Kind:
    optional = any(null for _, _, null in branches)
    # A branch of null alone says nothing but that null may stand.
    typed = [(kind, choices) for kind, choices, _ in branches if kind != "null"]
    kinds = {kind for kind, _ in typed}
    if len(typed) == 1:
        return (*typed[0], optional)
    if kinds == {"int", "float"}:
        return "float", None, optional
    if len(kinds) == 1 and kinds != {"choice"}:
        return kinds.pop(), None, optional
    # What has a text of its own (a number, a word, a date) is a column of text together.
    return ("str" if kinds and kinds <= _SCALARS else "json"), None, optional


def _plain_json(spec: dict[str, Any]) -> dict[str, Any]:
    """A copy of `spec` that is JSON and can be sent; raises SchemaError if it isn't."""
    try:
        text = json.dumps(spec, allow_nan=False, ensure_ascii=False)
        text.encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise SchemaError(f"The schema can't be written as JSON: {_one_line(str(error))}") from None
    plain: dict[str, Any] = json.loads(text)
    return plain


def _load(text: str, fields: tuple[Field, ...]) -> dict[str, Any]:
    body = _unfenced(text)
    try:
        data = _decoded(body)
    except (ValueError, RecursionError) as error:
        why = "nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise SchemaNotMetError(_one_line(f"not JSON ({why}): {_cut(body)}")) from None
    if not isinstance(data, dict):
        names = ", ".join(known.name for known in fields)
        raise SchemaNotMetError(
            _one_line(f"the answer is {_cut(data)}: expected an object with {names}")
        )
    return data


def _unfenced(text: str) -> str:
    body = text.strip()
    if len(body) < 6 or not (body.startswith("```") and body.endswith("```")):
        return body
    tag, _, inside = body[3:-3].partition("\n")
    return inside.strip() if tag.strip().lower() in ("", "json") else body


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")


# Made once: with any option, `loads` and `dumps` make one anew for each row.
_DECODER = json.JSONDecoder(parse_constant=_no_constant)
_ENCODER = json.JSONEncoder(ensure_ascii=False, allow_nan=False)


def _decoded(text: str) -> Any:
    """As `_DECODER` has it, and the words of its errors; in a third of the time if jiter can."""
    try:
        return from_json(text.encode(), allow_inf_nan=False)
    except ValueError:
        return _DECODER.decode(text)


def _dump(data: dict[str, Any]) -> str | bytes:
    """As `_ENCODER` has it, likewise; half pairs are mended, what isn't finite is an error."""
    from pydantic_core import to_json

    try:
        dumped = to_json(data)
    except ValueError:
        return _SURROGATE.sub("\ufffd", _ENCODER.encode(data))
    if b"Infinity" in dumped or b"NaN" in dumped:
        return _ENCODER.encode(data)
    return dumped


def _fitted(known: Field, value: Any) -> Any:
    """`value` as its column takes it, whatever validators made of it."""
    if isinstance(value, enum.Enum):
        value = value.value
    if value is None:
        return None
    if known.kind == "json":
        return _json_of(value)
    fits = _FITS.get(known.kind)
    if fits is not None and fits(value) and (not known.choices or value in known.choices):
        return value
    if known.kind.startswith("list["):
        item = Field(known.name, known.kind[5:-1])
        return [_fitted(item, one) for one in value]
    if known.kind == "str" and not isinstance(value, str):
        return _as_str(value)  # a Decimal, a UUID, a URL, a time of a pydantic model
    if known.kind == "float" and type(value) is int and abs(value) < _INT64:
        return float(value)
    raise SchemaNotMetError(
        _one_line(f"field {known.name!r} is {_cut(value)}: expected {known.expected}")
    )


def _json_of(value: Any) -> Any:
    """A nested value in JSON's own types, as pydantic writes it; fields by their names."""
    from pydantic_core import to_jsonable_python

    return to_jsonable_python(value, by_alias=False, fallback=str)


def _as_str(value: Any) -> str:
    text = _json_of(value)
    return text if isinstance(text, str) else json.dumps(text, ensure_ascii=False)


_SCALARS = {"str", "int", "float", "bool", "date", "datetime", "choice"}
_ITEMS = ("str", "int", "float", "bool", "date")
_FITS: dict[str, Callable[[Any], bool]] = {
    "str": lambda value: isinstance(value, str),
    "choice": lambda value: isinstance(value, str),
    "bool": lambda value: isinstance(value, bool),
    # The columns are Int64.
    "int": lambda value: type(value) is int and -_INT64 <= value < _INT64,
    "float": lambda value: isinstance(value, float) and math.isfinite(value),
    "date": lambda value: isinstance(value, dt.date) and not isinstance(value, dt.datetime),
    "datetime": lambda value: isinstance(value, dt.datetime),
}


def _cut(value: object) -> str:
    try:
        text = json.dumps(value, ensure_ascii=False, default=str)
    except (ValueError, RecursionError):
        text = f"a {type(value).__name__} that can't be shown"
    return text if len(text) <= 80 else text[:79] + "…"


def _one_line(text: str) -> str:
    return _SURROGATE.sub("\ufffd", " ".join(text.split()))
