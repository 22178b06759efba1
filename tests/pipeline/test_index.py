"""Rows are known by the index of a pandas frame, beside their position."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import polars as pl
import pytest

from ondine_nb.notebook.card.card import Card, plain, render
from ondine_nb.notebook.results import page, query, table
from ondine_nb.notebook.results.row import detail_of
from ondine_nb.notebook.workbench.trials import Draft, Trial
from tests.asking import Asker, texts
from tests.server import MessagesServer

INDEXES = {
    "none": pd.RangeIndex(6),
    "labels": pd.Index(["C-1", "C-2", "C-3", "C-4", "C-5", "C-6"], name="customer"),
    "filtered": pd.Index([3, 5, 8, 13, 21, 34]),
    "doubled": pd.Index(["a", "a", "b", "b", "a", None], name="customer"),
    "dates": pd.date_range("2026-01-01", periods=6, name="day"),
    "levels": pd.MultiIndex.from_product([["x", "y", "z"], [1, 2]], names=["shop", "visit"]),
    "unnamed levels": pd.MultiIndex.from_product([["x", "y", "z"], [1, 2]]),
}


@pytest.fixture
def asker(tmp_path: Path) -> Iterator[Asker]:
    def plan(body: Any, _: int) -> str | None:
        return "refusal" if body["messages"][0]["content"][-1] in "24" else None

    with MessagesServer(plan=plan) as server:
        yield Asker(server, tmp_path)


@pytest.mark.parametrize("name", INDEXES)
def test_rows_and_errors_have_the_index_of_their_rows_and_the_position(
    asker: Asker, name: str
) -> None:
    data = texts(6).set_index(INDEXES[name])
    run = asker.run(data)
    pd.testing.assert_index_equal(run.rows.index, data.index)
    assert list(run.rows["row"]) == list(range(6))
    assert run.errors.index.equals(data.index[[2, 4]])
    assert run.errors.index.names == data.index.names
    assert list(run.errors["row"]) == [2, 4]
    if data.index.is_unique:
        joined = data.join(run.errors[["error_type"]])
        assert joined["error_type"].notna().tolist() == [False, False, True, False, True, False]
        assert list(data.loc[run.errors.index, "text"]) == ["text 2", "text 4"]


def test_polars_has_positions_only(asker: Asker) -> None:
    run = asker.run(pl.from_pandas(texts(6)))
    assert run.errors["row"].to_list() == [2, 4]
    assert run.pipeline.frame.index_names == ()
    assert table.Results(run).heads[0] == table.Head("row", "label")


def test_of_a_sample_the_index_is_that_of_the_whole_frame_and_views_say_so(asker: Asker) -> None:
    run = asker.run(texts(240), sample=12)
    assert list(run.rows.index) == list(run.frame.index)
    assert run.rows.index.max() > 12
    assert "sample of 240" in plain(Card.of(run))
    assert "sample of 240" in render(Card.of(run), live=True)
    results = table.Results(run)
    assert "sample of 240" in page.plain(results, page.summary_of(results))
    assert "sample of" not in plain(Card.of(asker.run(texts(6), sample=240)))


def test_a_stream_has_the_positions_of_its_failed_rows(asker: Asker, tmp_path: Path) -> None:
    texts(6).to_csv(tmp_path / "in.csv", index=False)
    run = asker.run(str(tmp_path / "in.csv"))
    assert list(run.errors["row"]) == [2, 4]


def test_the_results_view_shows_sorts_and_finds_the_index(asker: Asker) -> None:
    labels = pd.Index(["C-9", "C-7", "C-8", "C-3", "C-1", "C-2"], name="customer")
    results = table.Results(asker.run(texts(6).set_index(labels)))
    assert [(it.name, it.role) for it in results.heads[:2]] == [
        ("customer", "label"),
        ("text", "text"),
    ]
    sorted_by = query.Selection(results, query.Query(sort="customer"))
    assert sorted_by.ordered.tolist() == [4, 5, 3, 1, 2, 0]
    assert results.search("c-8", ["customer"]) == [2]
    assert results.cells([2, 0], ["customer"]) == [["C-8"], ["C-9"]]
    shown = page.static(results, page.summary_of(results), "mark")
    assert "C-8" in shown
    assert detail_of(results, 2).label == "customer C-8"


def test_levels_are_a_column_each(asker: Asker) -> None:
    results = table.Results(asker.run(texts(6).set_index(INDEXES["levels"])))
    assert [it.name for it in results.named("label")] == ["shop", "visit"]
    assert results.cells([3], ["shop", "visit"]) == [["y", 2]]
    sorted_by = query.Selection(results, query.Query(sort="visit", descending=True))
    assert sorted_by.ordered.tolist()[:3] == [1, 3, 5]


def test_the_card_names_rows_by_the_index_too(asker: Asker) -> None:
    labels = pd.Index(["C-9", "<b>C-7</b>", "C-8", "C-3", "C-1", "C-2"], name="customer")
    card = Card.of(asker.run(texts(6).set_index(labels)))
    assert [name for name, _ in card.kinds[0].first] == ["2 (C-8)", "4 (C-1)"]
    assert card.last_error.startswith(("last, row 4 (C-1): ", "last, row 2 (C-8): "))
    assert card.table is not None
    assert [text for text, *_ in card.table.heads][:2] == ["row", "index"]
    assert "<b>C-7" not in render(card, live=True)


def test_the_workbench_names_rows_by_the_index_too(asker: Asker) -> None:
    pipeline = asker.pipeline(texts(6).set_index(INDEXES["labels"]).iloc[[1, 4]])
    trial = Trial.start(Draft("Tell: {text}"), pipeline, [1, 4])
    assert [trial.row_name(at) for at in range(2)] == ["1 · C-2", "4 · C-5"]
    plain_trial = Trial.start(Draft("Tell: {text}"), asker.pipeline(texts(2)), [1, 4])
    assert plain_trial.row_name(1) == "4"
