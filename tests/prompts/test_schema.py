"""Schemas: the three ways to say one, what is sent for it, and how answers are read."""

from __future__ import annotations

import contextlib
import datetime as dt
import enum
import json
import re
import uuid
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any, Literal

import anthropic
import jsonschema
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import (
    AliasChoices,
    AliasPath,
    BaseModel,
    Field,
    RootModel,
    SecretStr,
    field_validator,
)

from ondine_nb.errors import SchemaError, SchemaNotMetError
from ondine_nb.prompts import schema as schemas
from ondine_nb.prompts.schema import Schema, parse_schema

REVIEW = "sentiment: positive|negative|neutral, score: float, n: int?, when: date, tags: list[str]"
ANSWER = {"sentiment": "positive", "score": 3, "n": None, "when": "2024-01-02", "tags": ["a"]}


def refused(spec: Any) -> str:
    with pytest.raises(SchemaError) as caught:
        parse_schema(spec)
    return str(caught.value)


def not_met(schema: Schema, answer: Any) -> str:
    text = answer if isinstance(answer, str) else json.dumps(answer)
    with pytest.raises(SchemaNotMetError) as caught:
        schema.parse(text)
    message = str(caught.value)
    assert "\n" not in message
    assert len(message) < 400
    return message


def kinds(schema: Schema) -> list[tuple[str, str, bool]]:
    return [(field.name, field.kind, field.optional) for field in schema.fields]


# The short form


def test_the_short_form_gives_fields_and_a_closed_json_schema() -> None:
    schema = parse_schema(REVIEW)
    assert schema.fields == (
        schemas.Field("sentiment", "choice", ("positive", "negative", "neutral")),
        schemas.Field("score", "float"),
        schemas.Field("n", "int", optional=True),
        schemas.Field("when", "date"),
        schemas.Field("tags", "list[str]"),
    )
    assert schema.json_schema["additionalProperties"] is False
    assert schema.json_schema["required"] == ["sentiment", "score", "n", "when", "tags"]
    anthropic.transform_schema(schema.json_schema)


@pytest.mark.parametrize(
    ("spec", "properties"),
    [
        ("a:int,", {"a": {"type": "integer"}}),
        ("\n a : int\n\n b: str ,\n", {"a": {"type": "integer"}, "b": {"type": "string"}}),
        ("a b: x y|c-d", {"a b": {"type": "string", "enum": ["x y", "c-d"]}}),
        ("a: don't know | да", {"a": {"type": "string", "enum": ["don't know", "да"]}}),
        ("a: x\n | y", {"a": {"type": "string", "enum": ["x", "y"]}}),
        ('a: "x, y"|"p|q"', {"a": {"type": "string", "enum": ["x, y", "p|q"]}}),
        (r"a: 'it\'s'", {"a": {"type": "string", "enum": ["it's"]}}),
        ('a: "int"', {"a": {"type": "string", "enum": ["int"]}}),
        ('"a:b": bool', {"a:b": {"type": "boolean"}}),
        ("a: list[x|y]", {"a": {"type": "array", "items": {"type": "string", "enum": ["x", "y"]}}}),
        (
            "a: list[list[int]?]",
            {
                "a": {
                    "type": "array",
                    "items": {
                        "anyOf": [
                            {"type": "array", "items": {"type": "integer"}},
                            {"type": "null"},
                        ]
                    },
                }
            },
        ),
    ],
)
def test_what_the_short_form_reads(spec: str, properties: dict[str, Any]) -> None:
    assert parse_schema(spec).json_schema["properties"] == properties


@pytest.mark.parametrize(
    ("spec", "part"),
    [
        ("", "empty"),
        (" , ", "empty"),
        ("a: int, a: str", "'a' stands twice"),
        ("a: flaot", "Did you mean float?"),
        ("a: yes", '"yes"'),
        ("a: x||y", "empty choice"),
        ("a: x|", "empty choice"),
        ('a: ""', "empty choice"),
        ("a: x|x", "'x' twice"),
        ("a: str|int", "one type"),
        ("a", "`a: str`"),
        ("positive|negative", "`response: positive|negative`"),
        ("float", "`response: float`"),
        ("a:", "no type"),
        (": int", "no name"),
        ("a: list[int", "without its `]`"),
        ("a: list[]", "no type"),
        ("a: int]", "without its `list[`"),
        ("a: " + "list[" * 500, "nests"),
        ("a: int b: int", "comma"),
        ("a: 10:00|11:00", "quotes"),
        ("a: x?|y", "quotes"),
        ("a: int,,b: int", "extra comma"),
        (5, "not int"),
        (int, "no pydantic model"),
    ],
)
def test_what_the_short_form_refuses(spec: Any, part: str) -> None:
    assert part in refused(spec)


def quoted(word: str) -> str:
    return '"' + word.replace("\\", "\\\\").replace('"', '\\"') + '"'


words = st.text(st.characters(exclude_categories=["Cs"]), min_size=1)
types = st.recursive(
    st.sampled_from(["str", "int", "float", "bool", "date"])
    | st.lists(words, min_size=1, max_size=3, unique=True).map(
        lambda choices: "|".join(quoted(choice) for choice in choices)
    ),
    lambda inner: inner.map("list[{}]".format) | inner.map("{}?".format),
    max_leaves=3,
).filter(lambda text: "??" not in text)


@given(st.dictionaries(words, types, min_size=1, max_size=4), st.sampled_from([",", "\n", " ,\n"]))
def test_every_short_form_is_read_and_is_what_it_says(fields: dict[str, str], sep: str) -> None:
    schema = parse_schema(sep.join(f"{quoted(name)}: {kind}" for name, kind in fields.items()))
    assert [field.name for field in schema.fields] == list(fields)
    for field, text in zip(schema.fields, fields.values(), strict=True):
        bare = text.removesuffix("?")
        assert field.optional == (bare != text)
        if bare.startswith("list["):
            item = bare[5:-1]
            plain = "str" if item.startswith('"') and not item.endswith("?") else item
            typed = plain in ("str", "int", "float", "bool", "date")
            assert field.kind == (f"list[{plain}]" if typed else "json")
        elif bare.startswith('"'):
            assert "|".join(map(quoted, field.choices or ())) == bare
        else:
            assert field.kind == bare
    jsonschema.Draft202012Validator.check_schema(schema.json_schema)


@given(st.text("abint:,|?[]\"'\\ \nlsr"))
def test_any_text_is_a_schema_or_refused(text: str) -> None:
    with contextlib.suppress(SchemaError):
        parse_schema(text)


# Answers


def test_an_answer_gives_typed_values_and_drops_other_keys() -> None:
    assert parse_schema(REVIEW).parse(json.dumps({**ANSWER, "more": [1]})) == {
        "sentiment": "positive",
        "score": 3.0,
        "n": None,
        "when": dt.date(2024, 1, 2),
        "tags": ["a"],
    }


def test_an_optional_field_may_be_left_out() -> None:
    assert parse_schema("a: int?, b: int").parse('{"b": 5.0}') == {"a": None, "b": 5}


@pytest.mark.parametrize(
    "text", ["{}", " {}\n", "```json\n{}\n```", "```\n{}```", "```JSON\n{} ```"]
)
def test_space_and_one_fence_are_tolerated(text: str) -> None:
    assert parse_schema("a: int?").parse(text) == {"a": None}


@pytest.mark.parametrize(
    "text", ["Sure! {}", "```python\n{}\n```", "{} {}", "```json\n```json\n{}```"]
)
def test_nothing_else_around_the_object_is(text: str) -> None:
    assert "not JSON" in not_met(parse_schema("a: int?"), text)


@pytest.mark.parametrize(
    ("field", "value", "reason"),
    [
        ("sentiment", "Positive", 'is "Positive": expected one of positive, negative, neutral'),
        ("score", "high", 'is "high": expected float'),
        ("score", True, "is true: expected float"),
        ("score", None, "is null: expected float"),
        ("score", 10**400, "expected float"),
        ("n", "5", "expected int or null"),
        ("n", True, "expected int or null"),
        ("n", 5.5, "expected int or null"),
        ("n", 2**63, "expected int or null"),
        ("when", "2024-13-01", "expected date"),
        ("when", "20240101", "expected date"),
        ("when", "2024-01-02T00:00:00", "expected date"),
        ("when", 0, "expected date"),
        ("tags", ["a", 1], "at 1 is 1"),
        ("tags", "x" * 100_000, "…"),
    ],
)
def test_the_reason_names_field_value_and_what_was_expected(
    field: str, value: object, reason: str
) -> None:
    message = not_met(parse_schema(REVIEW), {**ANSWER, field: value})
    assert f"field '{field}'" in message
    assert reason in message


def test_a_missing_field_is_named() -> None:
    assert not_met(parse_schema("a: int"), {}) == "field 'a' is missing: expected int"


@pytest.mark.parametrize(
    "text",
    [
        *["", "null", "[]", '"a"', '{"a": NaN}', '{"a": -Infinity}', '{"a": 1e999}', '{"b": NaN}'],
        *['{"a":' * 100_000, "[" * 100_000, '{"a": ' + "9" * 100_000 + "}", "x" * 100_000],
        *['{"a": 1, "b": ' + "[" * 500 + "]" * 500 + "}", '{"a": 1', "\x00", "\ud800"],
    ],
    ids=lambda text: text[:12],
)
def test_hostile_answers_are_row_failures(text: str) -> None:
    not_met(parse_schema("a: float"), text)


def test_lone_surrogates_become_replacement_characters_and_pairs_stay() -> None:
    text = '{"a": "\\ud800 \\ud83d\\ude00", "\\udfff": 1}'
    assert parse_schema("a: str").parse(text) == {"a": "\ufffd \U0001f600"}


def test_of_doubled_keys_the_last_counts() -> None:
    assert parse_schema("a: int").parse('{"a": 1, "a": 2}') == {"a": 2}


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.just("2024-01-02"),
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from("abcde"), inner),
    max_leaves=8,
)
PYTHON = {"str": str, "int": int, "float": float, "bool": bool, "date": dt.date, "choice": str}


odd_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(st.characters()), inner),
    max_leaves=12,
)


@given(st.dictionaries(st.text(), odd_values))
@example({"a": "\ud800", "b": "Infinity", "c": "NaN"})
@example({"a": 10**400, "b": -0.0, "c": 5e-324})
@pytest.mark.slow
def test_the_quick_way_through_json_comes_to_the_same_as_the_slow_one(data: dict[str, Any]) -> None:
    text = json.dumps(data, allow_nan=True)
    try:
        slow: Any = schemas._DECODER.decode(text)
    except ValueError:
        with pytest.raises(ValueError):
            schemas._decoded(text)
        return
    assert repr(schemas._decoded(text)) == repr(slow)
    mended = schemas._SURROGATE.sub("\ufffd", schemas._ENCODER.encode(slow))
    assert repr(json.loads(schemas._dump(slow))) == repr(json.loads(mended))


# What JSON can hold, and what it can't; keys may come twice, and some are no field.
RAW = r"""1 -0 1.0 1e2 1e-400 -0.0 0.10 12345678901234567890 01 1. true false null tru NaN -Infinity
"x" "é" "\u00e9" "\ud800" "\ud83d\ude00" "NaN" "in_Infinity" "2024-01-02" "2024-1-2" "1" "" "un
[] ["x"] [1,2] [null] {} {"a":1,"a":"x"} {"a":NaN}""".split()  # noqa: SIM905
pairs = st.lists(st.tuples(st.sampled_from("abcdefz"), st.sampled_from(RAW)), max_size=9)
meeting = st.permutations([("a", "1"), ("b", '"x"'), ("c", "-0.0"), ("e", '"2024-01-02"')])
shapes = st.sampled_from(
    ["{%s}", " {%s}\n", "```json\n{%s}\n```", "\ufeff{%s}", "[{%s}]", "{%s,}", "{%s"]
)


@given(meeting, pairs, st.booleans(), shapes)
@example([("a", "1")], [("z", "NaN")], True, "{%s}")
@example([("a", "1")], [("z", '{"a":-Infinity}')], True, "{%s}")
@example([("a", "1")], [("a", '"x"')], True, "{%s}")
@example([("a", "1")], [("b", r'"\ud800"')], True, "{%s}")
def test_an_answer_is_read_alike_as_it_stands_and_with_care(
    good: list[tuple[str, str]], more: list[tuple[str, str]], meets: bool, shape: str
) -> None:
    members = [f'"{key}":{value}' for key, value in (good if meets else []) + more]
    text = shape % ",".join(members)
    schema = parse_schema("a: int, b: str?, c: float?, d: x|y?, e: date?, f: list[str]?")
    outcomes = [_outcome(each, text) for each in (schema, replace(schema, _own=False))]
    assert outcomes[0] == outcomes[1]


def _outcome(schema: Schema, text: str) -> str:
    """What comes of an answer; as text, for -0.0 is not 0.0 and True is not 1."""
    try:
        return repr(schema.parse(text))
    except SchemaNotMetError as error:
        return f"not met: {error}"


def test_a_number_too_large_for_a_float_does_no_harm_where_no_field_is() -> None:
    assert parse_schema("a: str").parse('{"a": "x", "more": 1e999}') == {"a": "x"}


@pytest.mark.parametrize("number", ["1e999", "-1e999"])
def test_a_number_too_large_for_a_float_is_no_answer(number: str) -> None:
    with pytest.raises(SchemaNotMetError):
        parse_schema("a: str, b: float?").parse(f'{{"a": "Infinity", "b": {number}}}')


@given(st.fixed_dictionaries({}, optional=dict.fromkeys("abcdefg", json_values)) | json_values)
def test_any_json_gives_the_right_types_or_a_row_failure(value: Any) -> None:
    schema = parse_schema("a: int, b: str?, c: float?, d: x|y?, e: date?, f: list[bool]?, g: bool?")
    try:
        answer = schema.parse(json.dumps(value))
    except SchemaNotMetError:
        return
    for field in schema.fields:
        given_value = answer[field.name]
        if field.kind == "list[bool]":
            assert all(type(item) is bool for item in given_value or ())
        elif given_value is not None and field.kind != "json":
            assert type(given_value) is PYTHON[field.kind]
            assert field.choices is None or given_value in field.choices


@given(st.text() | st.text('{}[]",:ae01.-\\ud8'))
def test_any_text_is_an_answer_or_a_row_failure(text: str) -> None:
    with contextlib.suppress(SchemaNotMetError):
        parse_schema("a: float?").parse(text)


# Pydantic models


class Mood(enum.Enum):
    GOOD = "good"
    BAD = "bad"


class Part(BaseModel):
    name: str
    mood: Mood


class Review(BaseModel):
    mood: Mood
    label: Literal["a", "b"] | None = None
    count: int = Field(ge=0)
    share: float = 0.5
    when: dt.datetime
    key: uuid.UUID
    parts: list[Part] = []
    price: Decimal = Decimal(0)
    renamed: str = Field(alias="Other Name")


REVIEW_ANSWER = {
    "mood": "good",
    "count": 3,
    "when": "2024-01-02T03:04:05Z",
    "key": "00000000-0000-0000-0000-000000000001",
    "parts": [{"name": "x", "mood": "bad"}],
    "Other Name": "y",
}


def test_a_model_gives_its_fields_by_their_python_names() -> None:
    schema = parse_schema(Review)
    assert kinds(schema) == [
        ("mood", "choice", False),
        ("label", "choice", True),
        ("count", "int", False),
        ("share", "float", True),
        ("when", "datetime", False),
        ("key", "str", False),
        ("parts", "json", True),
        ("price", "str", True),
        ("renamed", "str", False),
    ]
    anthropic.transform_schema(schema.json_schema)


def test_a_model_answer_is_plain_python() -> None:
    assert parse_schema(Review).parse(json.dumps(REVIEW_ANSWER)) == {
        "mood": "good",
        "label": None,
        "count": 3,
        "share": 0.5,
        "when": dt.datetime(2024, 1, 2, 3, 4, 5, tzinfo=dt.UTC),
        "key": "00000000-0000-0000-0000-000000000001",
        "parts": [{"name": "x", "mood": "bad"}],
        "price": "0",
        "renamed": "y",
    }


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"count": -1}, "greater than or equal to 0"),
        ({"mood": "meh"}, "expected one of good, bad"),
        ({"parts": [{"name": "x", "mood": 1}]}, "at 0.mood"),
        ({"Other Name": 5}, "field 'renamed' is 5: expected str"),
        ({"count": 2**70}, "expected int"),
    ],
)
def test_a_model_rule_that_is_broken_is_told(change: dict[str, Any], reason: str) -> None:
    assert reason in not_met(parse_schema(Review), {**REVIEW_ANSWER, **change})


class Strange(BaseModel):
    a: int

    @field_validator("a", mode="after")
    @classmethod
    def odd(cls, value: int) -> Any:
        if value == 0:
            raise KeyError("no\nsuch thing")
        return str(value)


@pytest.mark.parametrize("value", [0, 1])
def test_whatever_a_validator_does_is_a_row_failure(value: int) -> None:
    not_met(parse_schema(Strange), {"a": value})


class Tree(BaseModel):
    children: list[Tree]


class Holder(BaseModel):
    tree: Tree


class Open(BaseModel):
    counts: dict[str, int]


class Anything(BaseModel):
    a: Any


class Numbers(RootModel[list[int]]):
    pass


class Empty(BaseModel):
    pass


class Unfinished(BaseModel):
    a: Nowhere  # type: ignore[name-defined]  # noqa: F821


@pytest.mark.parametrize(
    ("model", "part"),
    [
        (Holder, "refers to itself"),
        (Open, "'counts' is an object without named properties"),
        (Anything, "'a' is"),
        (Numbers, "no pydantic model with named fields"),
        (Empty, "without named properties"),
        (Unfinished, "has no JSON Schema"),
        (Tree, "refers to itself"),
    ],
)
def test_models_that_the_api_cannot_ask_for_are_refused(model: type, part: str) -> None:
    assert part in refused(model)


# JSON Schema


def of(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(properties)}


def test_a_json_schema_is_sent_closed_and_checked_whole() -> None:
    spec = {
        **of(
            who={"$ref": "#/$defs/Person"},
            kind={"type": ["string", "null"], "enum": ["a", "b", None], "description": "which"},
            level={"enum": [1, 2]},
            at={"type": "string", "format": "date-time"},
        ),
        "$defs": {"Person": of(name={"type": "string", "minLength": 1}, age={"type": "integer"})},
    }
    schema = parse_schema(spec)
    assert kinds(schema) == [
        ("who", "json", False),
        ("kind", "choice", True),
        ("level", "int", False),
        ("at", "datetime", False),
    ]
    assert schema.json_schema["$defs"]["Person"]["additionalProperties"] is False
    anthropic.transform_schema(schema.json_schema)
    answer = {"who": {"name": "A", "age": 3}, "kind": "a", "level": 2, "at": "2024-01-02T03:04:05Z"}
    assert schema.parse(json.dumps(answer))["who"] == {"name": "A", "age": 3}
    assert "age" in not_met(schema, {**answer, "who": {"name": "A"}})
    assert "name" in not_met(schema, {**answer, "who": {"name": "", "age": 1}})
    assert "level" in not_met(schema, {**answer, "level": True})
    assert "at" in not_met(schema, {**answer, "at": "1700000000"})


@pytest.mark.parametrize(
    ("spec", "part"),
    [
        ({}, '"type": "object"'),
        ({"type": "array", "items": {"type": "string"}}, '"type": "object"'),
        ({"type": "object"}, "without named properties"),
        ({**of(a={"type": "string"}), "required": ["b"]}, "requires 'b'"),
        ({**of(a={"type": "string"}), "additionalProperties": {"type": "string"}}, "only be false"),
        (of(a={}), "allows anything"),
        (of(a=True), "allows anything"),
        (of(a={"type": "strng"}), "Did you mean string?"),
        (of(a={"type": "string", "minimum": 1}), "'minimum'"),
        (of(a={"type": "array", "items": {"type": "string"}, "uniqueItems": True}), "uniqueItems"),
        (of(a={"type": "array"}), "allows anything"),
        (of(a={"oneOf": [{"type": "string"}]}), "Use anyOf"),
        (of(a={"anyOf": []}), "not a list"),
        (of(a={"type": "string", "format": "color"}), "unknown format"),
        (of(a={"type": "string", "pattern": "(?=x)"}), "regex"),
        (of(a={"type": "string", "minLength": -1}), "minLength"),
        (of(a={"type": "integer", "minimum": "1"}), "minimum"),
        (of(a={"enum": []}), "list its values"),
        (of(a={"enum": [[1]]}), "only plain values"),
        (of(a={"type": "integer", "enum": ["a"]}), "not of type integer"),
        (of(a={"$ref": "#/definitions/A"}), "$defs"),
        ({**of(a={"$ref": "#/$defs/A"}), "$defs": {"A": {"$ref": "#/$defs/A"}}}, "itself"),
        ({**of(a={"type": "string"}), "$defs": 1}, "$defs"),
        ({**of(a={"type": "string"}), "required": "a"}, "not a list of names"),
        (of(a={"const": float("nan")}), "can't be written as JSON"),
        (of(a={"const": object()}), "can't be written as JSON"),
        (of(a={"const": "\ud800"}), "can't be written as JSON"),
    ],
)
def test_json_schemas_that_would_pass_unchecked_are_refused(
    spec: dict[str, Any], part: str
) -> None:
    assert part in refused(spec)


leaf_schemas = st.sampled_from(
    [
        {"type": "string"},
        {"type": "string", "minLength": 2, "maxLength": 3},
        {"type": "string", "pattern": "^a"},
        {"type": "integer", "minimum": 0, "exclusiveMaximum": 10},
        {"type": "integer", "multipleOf": 3},
        {"type": "number", "exclusiveMinimum": 0, "maximum": 5},
        {"type": "boolean"},
        {"type": "null"},
        {"enum": ["a", 1, None, True]},
        {"const": 0},
        {"type": ["integer", "null"]},
    ]
)
some_schemas = st.recursive(
    leaf_schemas,
    lambda inner: (
        inner.map(lambda items: {"type": "array", "items": items, "minItems": 1})
        | st.lists(inner, min_size=1, max_size=2).map(lambda branches: {"anyOf": branches})
        | inner.map(lambda field: of(a=field))
    ),
    max_leaves=3,
)
small_values = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 12) | st.sampled_from([0.5, 3.0, "a", "ab", "b"]),
    lambda inner: st.lists(inner, max_size=2) | st.fixed_dictionaries({"a": inner}),
    max_leaves=3,
)


@given(some_schemas, small_values)
@example({"anyOf": [{"type": "integer"}, {"enum": ["a", 1, None, True]}]}, True)
def test_answers_are_checked_as_the_reference_validator_does(spec: Any, value: Any) -> None:
    schema = parse_schema(of(x=spec))
    answer = {"x": value}
    try:
        schema.parse(json.dumps(answer))
        met = True
    except SchemaNotMetError:
        met = False
    # Two leniences of ours: other keys are dropped, and a key may be left out where null may
    # stand. These values have neither.
    assert met == jsonschema.Draft202012Validator(of(x=spec)).is_valid(answer)


KEYWORDS = ["type", "enum", "const", "anyOf", "items", "properties", "required", "$ref", "$defs"]
KEYWORDS += [
    "format",
    "pattern",
    "minimum",
    "multipleOf",
    "minLength",
    "minItems",
    "title",
    "oneOf",
]
KEYWORDS += ["additionalProperties"]
nonsense = st.recursive(
    st.sampled_from([None, True, 0, -1, 1.5, "a", "object", "string", "array", "#/$defs/a"]),
    lambda inner: (
        st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from([*KEYWORDS, "a"]), inner)
    ),
    max_leaves=6,
)


@given(st.dictionaries(st.sampled_from(KEYWORDS), nonsense), nonsense, nonsense)
def test_any_dict_is_a_schema_or_refused(more: dict[str, Any], field: Any, definition: Any) -> None:
    for spec in (more, {**more, **of(a=field)}, {**of(a=field), "$defs": {"a": definition}}):
        with contextlib.suppress(SchemaError):
            parse_schema(spec)


@pytest.mark.parametrize(
    ("form", "good", "bad"),
    [
        ("time", "03:04:05", "25:00"),
        ("duration", "P1DT2H", "P"),
        ("email", "a@b.c", "a"),
        ("hostname", "a.b", "-a"),
        ("uri", "https://a.b/c", "a b"),
        ("ipv4", "127.0.0.1", "127.0.0"),
        ("ipv6", "::1", "1"),
        ("uuid", "00000000-0000-0000-0000-000000000001", "1"),
        ("date", "2024-02-29", "2023-02-29"),
    ],
)
def test_formats_are_checked(form: str, good: str, bad: str) -> None:
    schema = parse_schema(of(a={"type": "string", "format": form}))
    assert str(schema.parse(json.dumps({"a": good}))["a"]) == good
    not_met(schema, {"a": bad})


# The key of the journal


def test_the_signature_tells_schemas_and_orders_apart() -> None:
    one = parse_schema("a: int, b: str").signature()
    assert one == parse_schema(" a: int\nb: str").signature()
    assert one != parse_schema("b: str, a: int").signature()
    assert one != parse_schema("a: int, b: str?").signature()
    json.loads(one)


# --- JSON of pydantic's own making


@dataclass
class Piece:
    name: str
    made: dt.date


class Invoice(BaseModel):
    total: Decimal
    number: int | str | None
    flag: Literal[1, "a", None]
    parts: list[Piece]
    first: Piece | str
    secret: SecretStr
    rates: list[Decimal]
    city: str = Field(validation_alias=AliasPath("address", "city"))
    code: str | None = Field(validation_alias=AliasPath("address", "code"))
    nick: str = Field(validation_alias=AliasChoices(AliasPath("who", "nick"), "nick"))


INVOICE = {
    "total": "1234.50",
    "number": 7,
    "flag": 1,
    "parts": [{"name": "x", "made": "2024-01-02"}],
    "first": {"name": "y", "made": "2024-01-03"},
    "secret": "s",
    "rates": [1.5, "2.50"],
    "address": {"city": "Bern", "code": None},
    "who": {"nick": "Z"},
}


def test_what_json_has_no_type_for_is_text_and_what_is_nested_is_plain_json() -> None:
    schema = parse_schema(Invoice)
    assert schema.parse(json.dumps(INVOICE)) == {
        "total": "1234.50",
        "number": "7",
        "flag": "1",
        "parts": [{"name": "x", "made": "2024-01-02"}],
        "first": {"name": "y", "made": "2024-01-03"},
        "secret": "**********",
        "rates": ["1.5", "2.50"],
        "city": "Bern",
        "code": None,
        "nick": "Z",
    }
    kinds = {known.name: known.kind for known in schema.fields}
    assert [kinds[name] for name in ("total", "number", "flag")] == ["str"] * 3
    assert [kinds[name] for name in ("parts", "first", "rates")] == ["json", "json", "list[str]"]


def test_a_field_read_out_of_an_object_is_asked_for_in_that_object() -> None:
    schema = parse_schema(Invoice)
    address = schema.json_schema["properties"]["address"]
    assert list(address["properties"]) == address["required"] == ["city", "code"]
    assert not {"city", "code", "nick"} & set(schema.json_schema["properties"])
    jsonschema.validate(INVOICE, schema.json_schema)
    for wrong, message in (({}, "field 'city' is missing"), ({"city": 5}, "field 'city' is 5")):
        with pytest.raises(SchemaNotMetError, match=message):
            schema.parse(json.dumps({**INVOICE, "address": {"code": None, **wrong}}))


def test_a_field_read_out_of_a_list_is_refused_before_anything_is_asked() -> None:
    class Listed(BaseModel):
        first: str = Field(validation_alias=AliasPath("items", 0))

    with pytest.raises(SchemaError, match=r"'first' reads item 0 of a list .* a name of its own"):
        parse_schema(Listed)


# --- writing an answer


class Placed(BaseModel):
    city: str = Field(validation_alias=AliasPath("address", "city"))
    code: str | None = Field(validation_alias=AliasPath("address", "code"))
    stars: int = 3


@pytest.mark.parametrize(
    ("spec", "values", "written"),
    [
        (REVIEW, ANSWER, json.dumps(ANSWER)),
        ("a: str, b: str?", {"a": "ö", "b": None}, '{"a": "ö", "b": null}'),
        (
            Placed,
            {"city": "Bern", "code": None, "stars": 5},
            '{"address": {"city": "Bern", "code": null}, "stars": 5}',
        ),
    ],
)
def test_an_answer_is_written_as_a_model_would_give_it(
    spec: Any, values: dict[str, Any], written: str
) -> None:
    schema = parse_schema(spec)
    assert schema.written(values) == written
    assert list(schema.parse(written)) == list(values)


def test_a_value_that_may_be_left_out_but_not_be_null_is_left_out() -> None:
    schema = parse_schema(Placed)
    assert schema.written({"city": "Bern", "code": "1", "stars": None}) == (
        '{"address": {"city": "Bern", "code": "1"}}'
    )


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"a": "x", "n": 1}, "field 'a' is \"x\": expected one of glad, sad"),
        ({"a": None, "n": 1}, "field 'a' is missing: expected one of glad, sad"),
        ({"a": "glad", "n": "many"}, "field 'n' is \"many\": expected int"),
    ],
)
def test_values_that_no_answer_may_have_arent_written(values: dict[str, Any], said: str) -> None:
    with pytest.raises(SchemaNotMetError, match=re.escape(said)):
        parse_schema("a: glad|sad, n: int").written(values)
