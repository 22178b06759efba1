"""Labels are found by content: in frames that were reordered or have grown, under new prompts."""

from __future__ import annotations

from typing import Any

import pandas as pd
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ondine_nb.data import wrap
from ondine_nb.errors import ColumnError
from ondine_nb.evaluation import LabelSet, RowLabels, key_text

ROWS = {"text": ["good", "bad", "so-so", "bad"], "title": ["A", "B", "C", "D"], "n": [1, 2, 3, 4]}


@pytest.fixture(params=[pd.DataFrame, pl.DataFrame])
def frame(request: pytest.FixtureRequest) -> Any:
    return request.param(ROWS)


def bound(frame: Any, *on: str) -> RowLabels:
    return RowLabels(LabelSet("labeled"), wrap(frame), on or ("text",))


def test_a_label_is_about_every_row_with_the_same_content(frame: Any) -> None:
    rows = bound(frame)
    rows.add(1, {"mood": "sad"}, reviewer="ann")
    assert sorted(rows.lines()) == [1, 3]
    assert rows.values(3) == {"mood": ("sad", "ann")}
    assert rows.at(0) == []


def test_labels_follow_their_rows_when_a_frame_is_reordered_or_grows() -> None:
    bound(pd.DataFrame(ROWS)).add(2, {"mood": "calm"})
    later = {"text": ["new", "so-so", "good"], "other": [1, 2, 3]}
    assert list(bound(pd.DataFrame(later)).lines()) == [1]


def test_a_label_given_in_pandas_is_found_in_polars() -> None:
    columns = {"n": [1, 2], "x": [0.1, 3.0], "when": pd.to_datetime(["2026-11-30", "2026-12-01"])}
    bound(pd.DataFrame(columns), *columns).add(1, {"mood": "calm"})
    assert list(bound(pl.DataFrame(columns), *columns).lines()) == [1]


def test_labels_are_found_by_their_own_columns_when_the_prompt_names_others(frame: Any) -> None:
    bound(frame, "text").add(0, {"mood": "glad"})
    later = bound(frame, "title", "text")
    assert later.values(0) == {"mood": ("glad", "reviewer")}
    later.add(0, {"mood": "sad"})
    assert later.values(0) == {"mood": ("sad", "reviewer")}
    assert bound(frame, "text").values(0) == {"mood": ("sad", "reviewer")}


def test_labels_of_columns_that_the_frame_lacks_are_about_no_row(frame: Any) -> None:
    LabelSet("labeled").add({"gone": "good"}, {"mood": "glad"})
    assert bound(frame).lines() == {}


def test_an_undo_gives_the_rows_what_they_had(frame: Any) -> None:
    rows = bound(frame)
    rows.add(0, {"mood": "glad"})
    rows.undo(rows.add(0, {"mood": "sad"}))
    assert rows.values(0) == {"mood": ("glad", "reviewer")}


def test_of_two_reviewers_the_last_word_holds(frame: Any) -> None:
    rows = bound(frame)
    rows.add(0, {"mood": "glad"}, reviewer="bo")
    rows.add(0, {"mood": "sad"}, reviewer="ann")
    assert rows.values(0) == {"mood": ("sad", "ann")}
    assert [label.reviewer for label in rows.at(0)] == ["bo", "ann"]


def test_columns_that_arent_there_are_named_with_the_nearest(frame: Any) -> None:
    with pytest.raises(ColumnError, match="did you mean 'text'"):
        bound(frame, "txt")
    with pytest.raises(ColumnError, match="at least one column"):
        RowLabels(LabelSet("labeled"), wrap(frame), ())


cells = st.text(max_size=5) | st.none()


@given(rows=st.lists(st.tuples(cells, cells), min_size=1, max_size=8), data=st.data())
def test_a_row_has_the_labels_of_all_rows_of_its_content_and_no_others(
    rows: list[tuple[str | None, str | None]],
    data: st.DataObject,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    frame = wrap(pl.DataFrame(rows, schema={"a": pl.String, "b": pl.String}, orient="row"))
    at = data.draw(st.integers(0, len(rows) - 1))
    found = RowLabels(LabelSet("s", tmp_path_factory.mktemp("home")), frame, ("b", "a"))
    found.add(at, {"x": 1})
    same = [
        place
        for place, row in enumerate(rows)
        if list(map(key_text, row)) == list(map(key_text, rows[at]))
    ]
    assert sorted(found.lines()) == same
