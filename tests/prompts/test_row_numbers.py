"""Row numbers in answers: found at any depth, and put in and out of their places."""

from __future__ import annotations

import json
from typing import Annotated

import pytest
from pydantic import BaseModel, Field

from ondine_nb.errors import SchemaError, SchemaNotMetError
from ondine_nb.prompts import RowNumbers, parse_schema


class Finding(BaseModel):
    finding: str
    rows: list[Annotated[int, Field(title="row number")]]
    count: int


class Findings(BaseModel):
    findings: list[Finding]
    best: Finding | None


def test_the_short_form_has_rows_alone_in_lists_and_optional() -> None:
    schema = parse_schema("n: int, one: row, some: list[row], maybe: row?")
    assert [field.kind for field in schema.fields] == ["int", "int", "list[int]", "int"]
    numbers = RowNumbers(schema)
    assert numbers.any
    text = '{"n": 2, "one": 1, "some": [2, 1.0], "maybe": null}'
    placed = numbers.placed(text, [70, 80])
    assert json.loads(placed) == {"n": 2, "one": 70, "some": [80, 70], "maybe": None}
    assert numbers.cited(placed) == [70, 80]
    assert json.loads(numbers.renumbered(placed, {70: 1, 80: 2}))["some"] == [2, 1]


def test_a_model_has_them_in_nested_objects() -> None:
    numbers = RowNumbers(parse_schema(Findings))
    inner = {"finding": "f", "rows": [2], "count": 2}
    placed = json.loads(numbers.placed(json.dumps({"findings": [inner], "best": inner}), [5, 6]))
    assert placed["findings"][0] == placed["best"] == {"finding": "f", "rows": [6], "count": 2}


@pytest.mark.parametrize("number", [0, -1, 3])
def test_a_number_that_no_row_has_does_not_meet_the_schema(number: int) -> None:
    numbers = RowNumbers(parse_schema("rows: list[row]"))
    with pytest.raises(SchemaNotMetError, match=f"names row {number}, and .* 1 to 2"):
        numbers.placed(json.dumps({"rows": [1, number]}), [0, 1])


def test_schemas_without_rows_have_none_and_the_word_can_still_be_a_choice() -> None:
    assert not RowNumbers(None).any
    schema = parse_schema("axis: row|column, n: int")
    assert not RowNumbers(schema).any
    assert schema.fields[0].choices == ("row", "column")
    with pytest.raises(SchemaError, match="unknown type 'rows'"):
        parse_schema("x: rows")
