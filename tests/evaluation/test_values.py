"""Labels of any form are read by the type of their field, or refused with their value."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ondine_nb.evaluation import json_value, typed
from ondine_nb.prompts import Field


@pytest.mark.parametrize(
    ("kind", "given", "wanted"),
    [
        ("int", "3", 3),
        ("int", 3.0, 3),
        ("float", "0.5", 0.5),
        ("float", 2, 2.0),
        ("bool", "true", True),
        ("bool", "no", False),
        ("date", "2026-11-30", date(2026, 11, 30)),
        ("date", datetime(2026, 11, 30), date(2026, 11, 30)),
        ("datetime", "2026-11-30T05:00:00+00:00", datetime(2026, 11, 30, 5, tzinfo=UTC)),
        ("choice", "glad", "glad"),
        ("choice", "none of them", "none of them"),
        ("str", 3, "3"),
        ("str", "", ""),
        ("int", "", None),
        ("float", float("nan"), None),
        ("list[str]", '["a", "b"]', ["a", "b"]),
        ("list[str]", "['a', 'b']", ["a", "b"]),
        ("list[int]", ("1", 2), [1, 2]),
        ("json", '{"a": 1}', {"a": 1}),
        ("json", "no JSON", "no JSON"),
        ("json", {"when": date(2026, 11, 30)}, {"when": "2026-11-30"}),
    ],
)
def test_a_label_is_read_by_its_fields_type(kind: str, given: Any, wanted: Any) -> None:
    found = typed(Field("x", kind), given)
    assert (found, type(found)) == (wanted, type(wanted))


@pytest.mark.parametrize(
    ("kind", "given"),
    [
        ("int", "three"),
        ("date", "5"),
        ("datetime", 1_700_000_000),
        ("int", 2.5),
        ("int", True),
        ("int", 2**63),
        ("float", "inf"),
        ("bool", "perhaps"),
        ("date", "30.11.2026"),
        ("list[str]", "a, b"),
        ("list[str]", 7),
        ("list[int]", ["a"]),
    ],
)
def test_what_isnt_of_the_type_is_named(kind: str, given: Any) -> None:
    with pytest.raises(ValueError, match="is no "):
        typed(Field("x", kind), given)


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        ("int", st.integers(-(2**63), 2**63 - 1)),
        ("float", st.floats(allow_nan=False, allow_infinity=False)),
        ("bool", st.booleans()),
        ("date", st.dates()),
        ("datetime", st.datetimes(timezones=st.just(UTC))),
        ("choice", st.text(min_size=1)),
        ("list[date]", st.lists(st.dates())),
    ],
)
@given(data=st.data())
def test_a_value_is_the_same_after_it_was_kept_as_json(
    kind: str, values: st.SearchStrategy[Any], data: st.DataObject
) -> None:
    value = data.draw(values)
    assert typed(Field("x", kind), json_value(value)) == value
