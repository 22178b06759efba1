"""A schema with quotes asks for them beside the values, and reads the values as without them."""

from __future__ import annotations

import json
from datetime import date
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, Field

from ondine_nb.errors import ConfigurationError, SchemaNotMetError
from ondine_nb.prompts import QuotedSchema, Schema, parse_schema, quoted_schema
from ondine_nb.prompts.json_schema import sendable

FLAG = "--evidence"
SHORT = "amount: float, due: date?, tone: good|bad, tags: list[str], paid: bool"


class Party(BaseModel):
    name: str
    role: str | None = None


class Contract(BaseModel):
    model_config = ConfigDict(extra="forbid")
    total: int = Field(alias="sum")
    seller: Party
    parties: list[Party] | None = None


def quoted(spec: Any, chosen: Any = "all") -> QuotedSchema:
    return quoted_schema(parse_schema(spec), chosen, FLAG)


def plain_and_quoted(value: Any, quote: str = "q") -> tuple[dict[str, Any], dict[str, Any]]:
    """An answer to SHORT without quotes, and the same with them."""
    plain = {"amount": 1.5, "due": None, "tone": "good", "tags": value, "paid": True}
    asked: dict[str, Any] = {}
    for name, each in plain.items():
        if name != "tags":
            asked[name + "_evidence"] = quote
        asked[name] = each
    asked["tags"] = [{"evidence": quote, "value": tag} for tag in value]
    return plain, asked


def test_each_field_has_its_quote_before_it_and_each_item_beside_it() -> None:
    asked = quoted(SHORT, "amount,tags").schema.json_schema
    assert list(asked["properties"]) == ["amount_evidence", "amount", "due", "tone", "tags", "paid"]
    assert "amount_evidence" in asked["required"]
    assert asked["properties"]["amount_evidence"]["type"] == "string"
    item = asked["properties"]["tags"]["items"]
    assert list(item["properties"]) == ["evidence", "value"] == item["required"]
    assert item["properties"]["value"] == {"type": "string"}


@pytest.mark.parametrize("spec", [SHORT, Contract])
def test_what_is_asked_can_be_sent(spec: Any) -> None:
    asked = quoted(spec).schema.json_schema
    assert sendable(asked, checked_here=False) == asked


def test_a_schema_of_its_own_stays_as_it_is() -> None:
    schema = parse_schema(SHORT)
    before = json.dumps(schema.json_schema)
    quoted_schema(schema, "all", FLAG)
    assert json.dumps(schema.json_schema) == before


@given(st.lists(st.text(max_size=5), max_size=4), st.text(max_size=8))
def test_values_are_read_as_without_quotes(tags: list[str], quote: str) -> None:
    plain, asked = plain_and_quoted(tags, quote)
    with_quotes = quoted(SHORT)
    values = with_quotes.schema.parse(json.dumps(asked))
    assert values == parse_schema(SHORT).parse(json.dumps(plain))
    quotes = with_quotes.quotes(json.dumps(asked), values)
    assert quotes["due"] is None, "a missing value rests on nothing"
    assert quotes["tags"] == [quote] * len(tags)
    assert {quotes[name] for name in ("amount", "tone", "paid")} == {quote}


def test_a_pydantic_model_reads_its_values_at_its_aliases_and_never_sees_the_quotes() -> None:
    with_quotes = quoted(Contract)
    answer = {
        "sum_evidence": "in all 12",
        "sum": 12,
        "seller_evidence": {"name": "Ann sells", "role": "?"},
        "seller": {"name": "Ann", "role": None},
        "parties": [{"evidence": "Bo buys", "value": {"name": "Bo", "role": "buyer"}}],
    }
    values = with_quotes.schema.parse("```json\n" + json.dumps(answer) + "\n```")
    assert values == {
        "total": 12,
        "seller": {"name": "Ann", "role": None},
        "parties": [{"name": "Bo", "role": "buyer"}],
    }
    assert with_quotes.quotes(json.dumps(answer), values) == {
        "total": "in all 12",
        "seller": ["Ann sells", None],
        "parties": ["Bo buys"],
    }


def test_a_model_that_holds_to_no_schema_loses_quotes_and_no_value() -> None:
    with_quotes = quoted(SHORT)
    answer: dict[str, Any] = {"amount": 1, "tone": "bad", "tags": ["a", "b"], "paid": False}
    answer |= {"amount_evidence": ["no text"], "tags_evidence": ["says a"]}
    values = with_quotes.schema.parse(json.dumps(answer))
    assert values["tags"] == ["a", "b"]
    quotes = with_quotes.quotes(json.dumps(answer), values)
    assert quotes == {"amount": "", "due": None, "tone": "", "tags": ["says a", ""], "paid": ""}


def test_an_answer_that_breaks_the_schema_is_told_as_without_quotes() -> None:
    asked = {"amount": "much", "tone": "good", "tags": [], "paid": True}
    with pytest.raises(SchemaNotMetError) as caught:
        quoted(SHORT).schema.parse(json.dumps(asked))
    with pytest.raises(SchemaNotMetError) as without:
        parse_schema(SHORT).parse(json.dumps(asked))
    assert str(caught.value) == str(without.value)


def test_dates_and_nulls_keep_their_types() -> None:
    _, asked = plain_and_quoted([])
    asked["due"] = "2026-11-30"
    assert quoted(SHORT).schema.parse(json.dumps(asked))["due"] == date(2026, 11, 30)


@pytest.mark.parametrize(
    ("spec", "chosen", "says"),
    [
        (SHORT, "amont", "--evidence names 'amont', which is no field of the schema"),
        (SHORT, "amount, amont", "Did you mean 'amount'"),
        (SHORT, " , ", "--evidence names no field: write 'all'"),
        ("a: int, a_evidence: str", "all", "adds 'a_evidence' to the answers, and the schema has"),
    ],
)
def test_names_that_can_t_be_meant_are_refused(spec: str, chosen: str, says: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        quoted(spec, chosen)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_fields_are_named_in_a_text_or_a_list_and_a_field_may_be_called_all() -> None:
    def names(spec: str, chosen: Any) -> list[str]:
        return [known.name for known in quoted(spec, chosen).fields]

    assert names(SHORT, "paid, amount") == names(SHORT, ["amount", "paid"]) == ["amount", "paid"]
    assert names("all: int, b: int", "all") == ["all"]
    assert len(names(SHORT, "all")) == 5


def test_the_schema_is_one_like_any_other() -> None:
    assert isinstance(quoted(SHORT).schema, Schema)
    assert quoted(SHORT).schema.fields == parse_schema(SHORT).fields
