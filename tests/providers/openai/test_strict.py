"""A schema for strict mode is one that the API takes, and says the same as far as it can."""

from __future__ import annotations

import json
from datetime import date
from enum import Enum
from typing import Any, Literal

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, Field

from ondine_nb.prompts.schema import parse_schema
from ondine_nb.providers.openai.strict import response_format, strict
from tests.server import value_of
from tests.server.chat import chat_problem


class Colour(Enum):
    RED = "red"
    BLUE = "blue"


class Person(BaseModel):
    name: str = Field(min_length=2)
    colour: Colour | None = None
    tags: list[str] = Field(default_factory=list)
    born: date | None = None


class Report(BaseModel):
    title: str = Field(description="what it is called")
    stars: int = Field(default=3, ge=1, le=5)
    who: list[Person]
    first: Person | None = None
    kind: Literal["report"]


def body_with(schema: dict[str, Any], **options: Any) -> dict[str, Any]:
    return {
        "model": "gpt-5-mini",
        "messages": [{"role": "user", "content": "x"}],
        "response_format": response_format(schema, **options),
    }


SHORT = [
    "sentiment: positive|negative|neutral, score: float",
    "name: str, age: int?, tags: list[str], when: date?, sure: bool",
    "odd: list[int]?",
]


@pytest.mark.parametrize("spec", [*SHORT, Person, Report], ids=str)
@pytest.mark.parametrize("bounds", [True, False])
def test_what_we_can_ask_for_strict_mode_takes(spec: Any, bounds: bool) -> None:
    """By the checks of the tests' server, which refuses what the API does."""
    schema = parse_schema(spec).json_schema
    body = body_with(schema, bounds=bounds)
    assert body["response_format"]["json_schema"]["strict"]
    assert chat_problem(body, None) is None


@pytest.mark.parametrize("spec", [*SHORT, Person, Report], ids=str)
def test_what_strict_mode_answers_the_schema_reads(spec: Any) -> None:
    """What it may only say by null is read as left out, and a default stands for it."""
    known = parse_schema(spec)
    made = strict(known.json_schema)
    assert made is not None
    for prompt in map(str, range(30)):
        known.parse(json.dumps(value_of(made, prompt)))


def test_null_for_what_may_be_left_out_is_the_models_default() -> None:
    answer = {"title": "t", "stars": None, "who": [], "first": None, "kind": "report"}
    person = {"name": "Ada", "colour": None, "tags": None, "born": None}
    read = parse_schema(Report).parse(json.dumps({**answer, "who": [person]}))
    assert read["stars"] == 3
    assert read["who"][0]["tags"] == []


def test_bounds_that_the_server_does_not_know_are_put_into_words() -> None:
    schema = parse_schema(Report).json_schema
    with_bounds, without = strict(schema), strict(schema, bounds=False)
    assert with_bounds is not None
    assert without is not None
    stars = with_bounds["properties"]["stars"]["anyOf"][0]
    assert (stars["minimum"], stars["maximum"]) == (1, 5)
    told = without["properties"]["stars"]["anyOf"][0]
    assert told["description"] == "(maximum: 5, minimum: 1)"
    assert "default" not in json.dumps(with_bounds)
    assert with_bounds["$defs"]["Person"]["properties"]["name"]["description"] == "(minLength: 2)"


class Pair(BaseModel):
    both: tuple[int, str]


class Deep(BaseModel):
    a: dict[str, int] = {}


def nested(levels: int) -> dict[str, Any]:
    inner: dict[str, Any] = {"type": "string"}
    for _ in range(levels):
        inner = {
            "type": "object",
            "properties": {"x": inner},
            "required": ["x"],
            "additionalProperties": False,
        }
    return inner


@pytest.mark.parametrize(
    "schema",
    [
        parse_schema(Pair).json_schema,
        nested(12),
        {**nested(1), "properties": {"x": {"type": "string", "enum": ["y"] * 1_001}}},
        {**nested(1), "properties": {"x": {"allOf": [{"type": "string"}, {"enum": ["y"]}]}}},
    ],
    ids=["tuple", "deep", "long", "allOf"],
)
def test_what_strict_mode_cannot_say_goes_as_it_is(schema: dict[str, Any]) -> None:
    """Not strict: answers are checked here, and asked again."""
    assert strict(schema) is None
    told = response_format(schema)["json_schema"]
    assert (told["strict"], told["schema"]) == (False, schema)


LEAVES = st.sampled_from(
    [
        {"type": "string"},
        {"type": "string", "format": "uri"},
        {"type": "string", "minLength": 1, "pattern": "^a"},
        {"type": "integer", "minimum": 0},
        {"type": "number"},
        {"type": "boolean", "default": True},
        {"enum": ["a", 1, None]},
        {"const": "k"},
        {"type": ["integer", "null"]},
    ]
)
FIELDS = st.dictionaries(st.sampled_from("abc"), LEAVES, min_size=1)
OBJECTS = st.builds(
    lambda fields, required: {
        "type": "object",
        "properties": fields,
        "required": [name for name in fields if name in required],
    },
    FIELDS,
    st.sets(st.sampled_from("abc")),
)
NODES = LEAVES | OBJECTS | LEAVES.map(lambda items: {"type": "array", "items": items})


@given(st.dictionaries(st.sampled_from("xyz"), NODES, min_size=1))
def test_any_schema_is_one_that_strict_mode_takes_and_its_answers_meet_ours(
    fields: dict[str, Any],
) -> None:
    schema = parse_schema({"type": "object", "properties": fields}).json_schema
    body = body_with(schema)
    assert chat_problem(body, None) is None
    made = strict(schema)
    assert made is not None
    value = value_of(made, "x")
    assert jsonschema.Draft202012Validator(made).is_valid(value) or "pattern" in str(made)
