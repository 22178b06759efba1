"""A schema in words, and the JSON that is found in whatever prose it comes back in."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ondine_nb.errors import SchemaNotMetError
from ondine_nb.prompts import parse_schema, system_in_words
from ondine_nb.prompts.words import objects_in

SCHEMA = parse_schema("mood: good|bad, n: int, why: str?")
WELL = {"mood": "good", "n": 3, "why": 'it {is}, "so" ```json'}

whys = st.none() | st.text(max_size=40)
answers = st.fixed_dictionaries(
    {"mood": st.sampled_from(["good", "bad"]), "n": st.integers(-9, 9), "why": whys}
)
# Prose as models write it, with braces and quotes that are no JSON.
proses = st.lists(
    st.sampled_from(
        ["Sure!", "Here you are:", "{you}", "{", "}", "it's", '"', "[1]", "\n", "{}", "`x`", "é"]
    ),
    max_size=6,
).map(" ".join)
fences = st.sampled_from([("", ""), ("```json\n", "\n```"), ("```\n", "\n```"), ("~~~\n", "\n~~~")])
indents = st.sampled_from([None, 2])


def dumped(answer: dict[str, Any], indent: int | None = None) -> str:
    return json.dumps(answer, ensure_ascii=False, indent=indent)


@given(answers, proses, proses, fences, indents)
def test_an_answer_is_found_in_any_prose_and_any_fence(
    answer: dict[str, Any], before: str, behind: str, fence: tuple[str, str], indent: int | None
) -> None:
    text = f"{before}\n{fence[0]}{dumped(answer, indent)}{fence[1]}\n{behind}"
    assert SCHEMA.found_in(text) == SCHEMA.parse(dumped(answer))


@given(st.text(max_size=200))
def test_whatever_stands_there_it_is_an_answer_or_a_reason(text: str) -> None:
    with contextlib.suppress(SchemaNotMetError):
        assert set(SCHEMA.found_in(text)) == {"mood", "n", "why"}


@given(answers, answers, proses)
def test_of_two_answers_that_differ_none_is_taken(
    one: dict[str, Any], other: dict[str, Any], between: str
) -> None:
    text = f"{dumped(one)} {between} {dumped(other)}"
    if SCHEMA.parse(dumped(one)) == SCHEMA.parse(dumped(other)):
        assert SCHEMA.found_in(text) == SCHEMA.parse(dumped(one))
    else:
        with pytest.raises(SchemaNotMetError, match="2 objects that meet the schema and differ"):
            SCHEMA.found_in(text)


@given(st.lists(answers, max_size=4), proses)
def test_every_object_is_given_as_it_stands_there(
    given: list[dict[str, Any]], between: str
) -> None:
    between = between.replace("}", "")  # else it may hold an object of its own, as { }
    assert list(objects_in(between.join(map(dumped, given)))) == list(map(dumped, given))


@pytest.mark.parametrize("number", ["9" * 5_000, "1e999", "-" + "1" * 5_000])
def test_a_number_that_is_too_long_to_read_is_a_reason_and_ends_where_it_ends(number: str) -> None:
    long = f'{{"mood": "bad", "n": {number}}}'
    assert list(objects_in(f"So: {long}, then {{}}")) == [long, "{}"]
    with pytest.raises(SchemaNotMetError):
        SCHEMA.found_in(long)
    assert SCHEMA.found_in(f"{long} {dumped(WELL)}") == SCHEMA.parse(dumped(WELL))


def test_what_a_model_thinks_aloud_is_no_answer() -> None:
    thought = dumped({**WELL, "n": 1})
    assert SCHEMA.found_in(f"<think>Perhaps {thought}?</think>\n{dumped(WELL)}")["n"] == 3
    assert SCHEMA.found_in(f"<think>{dumped(WELL)}</think>\n")["n"] == 3  # there is no other


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("It is good.", "not JSON"),
        ('Well: {"mood": "fine", "n": 1}', "'mood' is \"fine\": expected one of good, bad"),
        ('{"answer": {"mood": "good", "n": 1}}', "'mood' is missing"),
        ("Sure: [1, 2]", "not JSON"),
        ('Cut: {"mood": "good", "n": 1', "not JSON"),
    ],
)
def test_an_answer_that_holds_none_says_why(text: str, why: str) -> None:
    with pytest.raises(SchemaNotMetError, match=why):
        SCHEMA.found_in(text)


@pytest.mark.parametrize(
    "text",
    ["{" * 200_000, '{"a":' * 50_000, '{"a": [' * 30_000, '{"' * 90_000, '{"a": 1,' * 30_000],
)
def test_text_that_is_made_of_braces_is_read_no_more_than_some_times(text: str) -> None:
    """It is what holds the loop: no more is read than some times its length."""
    assert list(objects_in(text)) == []


def test_the_words_name_the_schema_and_keep_the_system_text() -> None:
    words = system_in_words(SCHEMA.json_schema, None)
    assert json.loads(words.rpartition("JSON Schema:\n")[2]) == SCHEMA.json_schema
    assert system_in_words(SCHEMA.json_schema, "Be brief.") == f"Be brief.\n\n{words}"
