"""Which rows the results view finds, in which order, and what it reads of them."""

from __future__ import annotations

import asyncio
import threading
import time
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ondine_nb.notebook.results.query import STEP, Query, Results, _in_order, _joined
from ondine_nb.prompts.template import as_text
from tests.notebook.ended_runs import ended_run, reviews

ROWS = 2 * STEP + 17  # more than two steps


@pytest.fixture(scope="module", params=["pandas", "polars"])
def results(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Results:
    folder = tmp_path_factory.mktemp("journal")
    return Results(ended_run(reviews(ROWS, request.param), folder, failing=0.03))


def place(results: Results, name: str) -> int:
    return [head.name for head in results.heads].index(name)


def test_the_columns_are_status_input_new_and_facts_with_the_prompt_s_first(
    results: Results,
) -> None:
    kinds = [(head.name, head.kind) for head in results.heads]
    assert kinds[:4] == [
        ("status", "status"),
        ("text", "in"),
        ("stars_given", "in"),
        ("when", "in"),
    ]
    assert [name for name, kind in kinds if kind == "new"] == ["sentiment", "score", "stars", "why"]
    assert [name for name, kind in kinds if kind == "fact"] == [
        *("cost", "tokens", "latency", "attempts")
    ]


def test_every_row_is_found_and_none_twice(results: Results) -> None:
    assert list(results.find(Query())) == list(range(ROWS))
    for at in range(-1, len(results.heads)):
        assert sorted(results.find(Query(sort=at))) == list(range(ROWS))
    assert sum(results.counts().values()) == ROWS
    found = [at for status in results.counts() for at in results.find(Query(status=status))]
    assert sorted(found) == list(range(ROWS))


def test_rows_are_sorted_by_value_with_the_missing_last_both_ways(results: Results) -> None:
    for name in ("score", "stars_given", "latency", "cost", "text", "sentiment"):
        at = place(results, name)
        values = results.column(at)
        for descending in (False, True):
            found = results.find(Query(sort=at, descending=descending))
            shown = [values[row] for row in found]
            present = [value for value in shown if value is not None]
            assert shown[len(present) :] == [None] * (ROWS - len(present))
            assert present == sorted(
                present,
                key=lambda value: value.casefold() if isinstance(value, str) else value,
                reverse=descending,
            )


def test_equal_rows_keep_their_order_both_ways(results: Results) -> None:
    at = place(results, "stars_given")
    for descending in (False, True):
        found = results.find(Query(sort=at, descending=descending))
        fives = [row for row in found if row % 5 == 4]
        assert fives == sorted(fives)


def test_text_is_found_in_any_case_in_input_new_columns_status_and_errors(
    results: Results,
) -> None:
    phone = results.find(Query(text="NOBODY answers"))
    assert list(phone) == list(range(0, ROWS, 5))
    positive = list(results.find(Query(text="Positive")))
    column = results.column(place(results, "sentiment"))
    assert positive == [at for at, value in enumerate(column) if value == "positive"]
    assert list(results.find(Query(text="from JOURNAL"))) == results.find(Query(status="journal"))
    refused = results.find(Query(text="refused to answer"))
    assert list(refused) == results.failures()["refusal"]
    assert list(results.find(Query(text="phone", status="failed"))) == [
        at for at in results.find(Query(status="failed")) if at % 5 == 0
    ]
    assert list(results.find(Query(text="no such thing"))) == []


def test_a_search_after_the_first_finds_the_same(results: Results) -> None:
    fresh = Results(results.run)
    first = list(fresh.find(Query(text="blue")))
    assert first
    assert list(fresh.find(Query(text="blue"))) == first
    assert list(fresh.find(Query(text="blue", sort=1, descending=True))) != first


def test_cells_stand_in_the_order_that_is_asked_for(results: Results) -> None:
    places = [ROWS - 1, 3, 0]
    cells = results.cells(places)
    assert [row[place(results, "text")] for row in cells] == [
        results.column(place(results, "text"))[at] for at in places
    ]
    assert [row[0] for row in cells] == [results.status(at) for at in places]


def test_failures_are_grouped_by_kind_the_most_frequent_first(results: Results) -> None:
    kinds = results.failures()
    assert set(kinds) == {"refusal", "schema not met", "cut at max_tokens"}
    sizes = [len(rows) for rows in kinds.values()]
    assert sizes == sorted(sizes, reverse=True)
    assert sum(sizes) == results.counts()["failed"]


def test_rows_that_were_not_read_yet_are_not_run(tmp_path: Path) -> None:
    run = ended_run(reviews(4), tmp_path)
    run.plan.rowset.rows[2] = None
    results = Results(run)
    assert results.counts()["not_run"] == 1
    assert results.find(Query(status="not_run")) == [2]
    assert list(results.find(Query(text="not run"))) == [2]
    assert results.cells([2])[0][0] == "not_run"


def test_a_run_without_records_has_no_rows(tmp_path: Path) -> None:
    run: Any = ended_run(reviews(4), tmp_path)
    object.__setattr__(run.plan, "rowset", None)
    results = Results(run)
    assert results.streamed
    assert len(results) == 0


def test_odd_values_can_be_sorted_and_searched(tmp_path: Path) -> None:
    odd = [1, "b", None, 2.5, ["x", 1], {"a": None}, b"\xff", float("nan"), "a\0b", "\ud800"]
    data = pd.DataFrame({"text": pd.Series(odd, dtype=object)})
    results = Results(ended_run(data, tmp_path, prompt="Tell {text}"))
    found = results.find(Query(sort=place(results, "text")))
    assert sorted(found) == list(range(len(odd)))
    assert set(found[-2:]) == {2, 7}
    assert list(results.find(Query(text='["x"'))) == [4]
    assert list(results.find(Query(text="a\0b"))) == [8]


@given(st.lists(st.integers(-5, 5), max_size=400), st.booleans())
def test_sorting_in_steps_is_sorting(keys: list[int], descending: bool) -> None:
    from ondine_nb.notebook.results import query as results_data

    before, results_data.STEP = results_data.STEP, 7
    try:
        order = list(_in_order(range(len(keys)), keys.__getitem__, descending))
    finally:
        results_data.STEP = before
    assert order == sorted(range(len(keys)), key=keys.__getitem__, reverse=descending)


@given(st.lists(st.one_of(st.none(), st.text(max_size=5), st.integers(), st.floats()), min_size=1))
@settings(max_examples=60)
def test_joined_texts_keep_their_places(values: list[Any]) -> None:
    parts = _joined(values).split("\0")
    assert len(parts) == len(values)
    for part, value in zip(parts, values, strict=True):
        if isinstance(value, str) and "\0" not in value:
            assert part == as_text(value).casefold() or part == value.casefold()


def test_a_loop_goes_on_while_100_000_rows_are_found(tmp_path: Path) -> None:
    """No search or sort holds it for longer than 50 ms, but for the machine's own pauses."""
    results = Results(ended_run(reviews(100_000), tmp_path))
    score, text = (place(results, name) for name in ("score", "text"))
    queries = [
        *(Query(text="phone"), Query(text="mother", status="answered", sort=text)),
        *(Query(sort=score), Query(sort=text, descending=True), Query(status="failed")),
    ]
    for query in queries:
        # The best of three: a machine that is busy with other things holds the loop as well.
        found = [asyncio.run(_lags(lambda query=query: results.find(query))) for _ in range(3)]
        assert min(sorted(lags)[len(lags) * 99 // 100] for lags in found) < 0.05, query


async def _lags(work: Any) -> list[float]:
    thread = threading.Thread(target=work)
    thread.start()
    lags = [0.0]
    while thread.is_alive():
        begun = time.perf_counter()
        await asyncio.sleep(0.001)
        lags.append(time.perf_counter() - begun - 0.001)
    return lags
