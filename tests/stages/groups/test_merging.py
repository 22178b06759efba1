"""Answers about chunks as one: lists in order, each item once, single values where they agree."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from ondine_nb.prompts import parse_schema, quoted_schema
from ondine_nb.stages.groups import AnswerMerge

PLAIN = parse_schema("tags: list[str], name: str?, price: float?")
QUOTED = quoted_schema(PLAIN, "all", "--evidence")


def merged(answers: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """What answers without evidence come to, where they don't differ."""
    merge = AnswerMerge(PLAIN)
    parts = [merge.part(answer, {}) for answer in answers]
    assert merge.differing(parts) == []
    return PLAIN.parse(merge.written(merge.merged(parts))[0])


def tagged(*tags: str, name: str | None = None, price: float | None = None) -> dict[str, Any]:
    return {"tags": list(tags), "name": name, "price": price}


def found(text: str, *items: tuple[str, str], offset: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """An answer with tags, each with its quote, as an evidence stage has found them in `text`."""
    tags = [{"evidence": quote, "value": value} for value, quote in items]
    starts = [text.index(quote) if quote in text else None for _, quote in items]
    cells = {
        "tags_evidence": [quote if quote in text else None for _, quote in items],
        "tags_evidence_start": starts,
        "tags_evidence_end": [
            None if at is None else at + len(quote)
            for at, (_, quote) in zip(starts, items, strict=True)
        ],
        "tags_evidence_column": [None if at is None else "text" for at in starts],
        "tags_evidence_match": ["missing" if at is None else "exact" for at in starts],
    }
    return {"tags": tags, "name": None, "price": None}, cells


def placed(
    *parts: tuple[dict[str, Any], dict[str, Any]], offsets: Sequence[int]
) -> list[tuple[str, int | None]]:
    """The values and places that quoted tags come to."""
    merge = AnswerMerge(QUOTED.schema, QUOTED)
    read = [
        merge.part(answer, cells, "text", offset)
        for (answer, cells), offset in zip(parts, offsets, strict=True)
    ]
    text, cells = merge.written(merge.merged(read))
    values = QUOTED.schema.parse(text)["tags"]
    return list(zip(values, cells["tags_evidence_start"], strict=True))


def test_lists_are_put_together_in_order_without_what_an_earlier_one_has() -> None:
    answers = [tagged("a", "b"), tagged("b", "c"), tagged(), tagged("a", "d")]
    assert merged(answers)["tags"] == ["a", "b", "c", "d"]


def test_what_one_answer_has_twice_stays_twice() -> None:
    assert merged([tagged("a", "a", "b"), tagged("a", "b", "b")])["tags"] == ["a", "a", "b", "b"]


def test_a_value_that_only_one_chunk_has_or_that_all_agree_on_is_it() -> None:
    one = merged([tagged(), tagged(name="Ida"), tagged(name="", price=3)])
    assert (one["name"], one["price"]) == ("Ida", 3.0)
    assert merged([tagged(price=3), tagged(price=3.0)])["price"] == 3.0
    assert merged([tagged(), tagged()])["name"] is None


def test_fields_that_differ_are_named_and_take_what_was_decided() -> None:
    merge = AnswerMerge(PLAIN)
    parts = [merge.part(it, {}) for it in (tagged("x", name="A", price=1), tagged(name="B"))]
    assert merge.differing(parts) == ["name"]
    assert json.loads(merge.shown(parts[0])) == {"name": "A", "price": 1}
    decided = merge.part(tagged("never", name="B", price=9), {})
    whole = PLAIN.parse(merge.written(merge.merged(parts, decided))[0])
    assert whole == {"tags": ["x"], "name": "B", "price": 1.0}


def test_the_same_place_is_the_same_item_and_the_same_value_elsewhere_is_another() -> None:
    first, second = "red. It is blue.", "It is blue. Also red."
    at = first.index("It")
    whole = placed(
        found(first, ("red", "red"), ("blue", "is blue"), offset=0),
        found(second, ("blue", "It is blue"), ("red", "Also red"), offset=at),
        offsets=[0, at],
    )
    assert whole == [("red", 0), ("blue", at + 3), ("red", at + 12)]


def test_another_word_for_the_same_quote_is_the_same_item() -> None:
    text = "Alice and Bob came."
    whole = placed(
        found(text, ("Alice", text), ("Bob", text), offset=0),
        found(text, ("alice", text), ("Bob", text), ("Carol", text), offset=0),
        offsets=[0, 0],
    )
    assert whole == [("Alice", 0), ("Bob", 0), ("Carol", 0)]


def test_an_item_whose_quote_is_not_in_the_text_goes_by_its_value() -> None:
    whole = placed(
        found("a red one", ("red", "a red one"), ("green", "no such"), offset=0),
        found("else", ("red", "invented"), ("green", "nor this"), ("new", "nor that"), offset=50),
        offsets=[0, 50],
    )
    assert [value for value, _ in whole] == ["red", "green", "new"]


def test_a_decided_value_has_the_place_of_the_candidate_that_it_was_taken_from() -> None:
    merge = AnswerMerge(QUOTED.schema, QUOTED)

    def said(name: str, quote: str, start: int | None, match: str) -> Any:
        cells = {
            "name_evidence": quote,
            "name_evidence_start": start,
            "name_evidence_end": None if start is None else start + len(quote),
            "name_evidence_column": None if start is None else "text",
            "name_evidence_match": match,
        }
        answer = {"tags": [], "name_evidence": quote, "name": name, "price": None}
        return merge.part(answer, cells, "text", 100)

    parts = [
        said("A", "is A", 3, "exact"),
        said("B", "B!", None, "missing"),
        said("B", "b", 9, "near"),
    ]
    decided = merge.part({"tags": [], "name_evidence": "elsewhere", "name": "B"}, {})
    _, cells = merge.written(merge.merged(parts, decided))
    assert (cells["name_evidence"], cells["name_evidence_start"]) == ("b", 109)
    assert cells["name_evidence_match"] == "near"
