"""Which rows the results view finds, in which order, and what each plot counts of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ondine_nb.notebook.results.query import Condition, Query, Selection, facet_of, plotted
from ondine_nb.notebook.results.table import STEP, Results, joined_texts
from tests.notebook.ended_runs import ended_run, reviews

ROWS = 2 * STEP + 17  # more than two steps
WORDS = ("text", "sentiment", "score", "stars", "why")


@pytest.fixture(scope="module", params=["pandas", "polars"])
def results(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Results:
    folder = tmp_path_factory.mktemp("journal")
    return Results(ended_run(reviews(ROWS, request.param), folder, failing=0.03))


@pytest.fixture(scope="module")
def frame(results: Results) -> pd.DataFrame:
    """The same rows in pandas: what the view finds is held against it."""
    data = {name: results.values(name) for name in (*WORDS, "stars_given", "status")}
    return pd.DataFrame(data)


def select(results: Results, *conditions: Condition, **order: Any) -> Selection:
    return Selection(results, Query(conditions, **order), WORDS)


def test_answers_stand_right_behind_the_texts_and_no_column_vanishes(results: Results) -> None:
    roles = [(head.name, head.role) for head in results.heads]
    assert roles == [
        ("row", "label"),
        ("text", "text"),
        *((name, "answer") for name in ("sentiment", "score", "stars", "why")),
        ("stars_given", "input"),
        ("when", "input"),
        *((name, "fact") for name in ("status", "cost", "tokens", "latency", "attempts")),
    ]


def test_without_conditions_every_row_is_there_once(results: Results) -> None:
    found = select(results)
    assert len(found) == ROWS
    assert found.ordered.tolist() == list(range(ROWS))
    assert sorted([*found.positions.tolist(), *found.failed]) == list(range(ROWS))


def test_conditions_are_met_as_pandas_meets_them(results: Results, frame: pd.DataFrame) -> None:
    index = results.index("score")
    low = Condition("score", low=0, high=5)
    mood = Condition("sentiment", ("positive", "neutral"))
    stars = Condition("stars_given", ("3",))
    top = index.edges[5]
    expected = frame[
        frame.sentiment.isin(["positive", "neutral"])
        & (frame.score < top)
        & (frame.stars_given == 3)
    ]
    found = select(results, low, mood, stars, sort="score", descending=True)
    ordered = expected.sort_values("score", ascending=False, kind="stable")
    assert len(expected) > 5
    assert found.ordered.tolist() == list(ordered.index)
    assert found.positions.tolist() == list(ordered.index)


def test_a_text_is_found_in_any_case_in_what_is_searched(
    results: Results, frame: pd.DataFrame
) -> None:
    found = select(results, Condition(text="NOBODY answers"))
    expected = frame.text.str.contains("nobody answers", case=False)
    assert found.ordered.tolist() == list(frame.index[expected])
    assert results.search("nobody", ["sentiment"]) == []
    hits = select(results, Condition("stars_given", ("1",))).hits("phone")
    assert len(hits) > 10


@settings(max_examples=30, deadline=None)
@given(data=st.data())
def test_each_plot_counts_what_meets_the_conditions_on_the_other_columns(data: Any) -> None:
    rows = st.tuples(
        st.sampled_from(["a", "b", None]), st.one_of(st.none(), st.integers(0, 3)), st.booleans()
    )
    cells = data.draw(st.lists(rows, min_size=1, max_size=30))
    frame = pd.DataFrame(cells, columns=["mood", "stars", "refund"]).astype(
        {"mood": object, "stars": "Int64"}
    )
    results = Results(frame=frame, name="frame")
    picks = {
        "mood": tuple(data.draw(st.sets(st.sampled_from("ab")))),
        "stars": tuple(data.draw(st.sets(st.sampled_from("0123")))),
    }
    conditions = [Condition(name, values) for name, values in picks.items() if values]
    selection = select(results, *conditions)
    for name in ("mood", "stars"):
        other = "stars" if name == "mood" else "mood"
        meets = frame[other].astype(str).isin(picks[other]) if picks[other] else True
        rest = frame[meets] if picks[other] else frame
        facet = facet_of(selection, results.head(name))
        if facet is None:
            assert frame[name].isna().all()
            continue
        counted = {bar["value"]: (bar["rows"], bar["all"]) for bar in facet["bars"]}
        for value, (here, all_rows) in counted.items():
            assert here == (rest[name].astype(str) == value).sum()
            assert all_rows == (frame[name].astype(str) == value).sum()
        assert facet["gone"] == [rest[name].isna().sum(), frame[name].isna().sum()]
        assert {bar["value"] for bar in facet["bars"] if bar["on"]} <= set(picks[name])


def test_failed_rows_stay_in_view_where_conditions_are_on_answers(results: Results) -> None:
    failed = results.failed
    assert len(failed) > 20
    by_answer = select(results, Condition("sentiment", ("positive",)))
    assert by_answer.failed == failed
    assert by_answer.kept
    assert not set(failed) & set(by_answer.ordered.tolist())
    by_input = select(results, Condition("stars_given", ("1",)))
    assert by_input.failed == [at for at in failed if at % 5 == 0]
    assert not by_input.kept
    assert set(by_input.failed) <= set(by_input.ordered.tolist())
    no_answer = select(results, Condition("sentiment", missing=True))
    assert set(failed) <= set(no_answer.ordered.tolist())


def test_conditions_are_told_in_words(results: Results) -> None:
    index = results.index("score")
    last = len(index.edges) - 1
    told = select(
        results,
        Condition("sentiment", ("positive", "neutral")),
        Condition("score", low=0, high=4),
        Condition("stars_given", ("3",), missing=True),
        Condition(text="<b>"),
    ).chips()
    assert told == [
        "sentiment = positive or neutral",
        f"score < {index.edge_text(4)}",
        "stars_given = 3 or missing",
        "has “<b>”",
    ]
    assert select(results, Condition("score", low=2, high=last)).chips()[0].startswith("score ≥ ")


def test_a_condition_comes_back_from_json_as_it_was() -> None:
    for condition in (
        Condition("mood", ("a", "b"), missing=True),
        Condition("score", low=0, high=3),
        Condition(text="charge"),
    ):
        assert Condition.of(condition.told()) == condition


def test_the_plots_of_a_run_are_its_answers_and_of_a_frame_all_that_fit(results: Results) -> None:
    assert [head.name for head in plotted(results)] == ["sentiment", "score", "stars", "why"]
    frame = pd.DataFrame(
        {
            "id": [f"id-{at}" for at in range(100)],
            "kind": ["a", "b"] * 50,
            "n": range(100),
            "story": [
                f"A long story, longer than others, of what happened {at}" for at in range(100)
            ],
        }
    )
    plain = Results(frame=frame, name="frame")
    assert [head.name for head in plotted(plain)] == ["kind", "n"]
    assert [head.name for head in plain.named("text")] == ["story"]


def test_values_behind_the_first_are_folded_and_picked_ones_are_not(results: Results) -> None:
    values = [f"value {at % 20}" for at in range(200)]
    table = Results(frame=pd.DataFrame({"kind": values}), name="frame")
    facet = facet_of(select(table), table.head("kind"))
    assert facet is not None
    assert facet["others"] == [14, 140, 140]
    picked = facet_of(select(table, Condition("kind", ("value 19",))), table.head("kind"))
    assert picked is not None
    assert picked["bars"][-1]["on"]
    wide = facet_of(select(table), table.head("kind"), wide=True)
    assert wide is not None
    assert (len(wide["bars"]), wide["others"]) == (20, None)


@given(st.lists(st.one_of(st.none(), st.text(), st.just("\0"), st.integers()), min_size=1))
def test_joined_texts_keep_their_places(values: list[Any]) -> None:
    assert len(joined_texts(values).split("\0")) == len(values)


def test_failures_are_grouped_by_kind_the_most_frequent_first(results: Results) -> None:
    kinds = results.failures()
    sizes = [len(rows) for rows in kinds.values()]
    assert sizes == sorted(sizes, reverse=True)
    assert sorted(at for rows in kinds.values() for at in rows) == results.failed


def test_rows_that_were_not_read_yet_are_not_run(tmp_path: Path) -> None:
    run = ended_run(reviews(5), tmp_path)
    run.plan.rowset.rows[2] = None
    results = Results(run)
    assert results.status(2) == "not_run"
    assert results.counts()["not_run"] == 1
    assert results.values("status")[2] == "not_run"
    assert results.values("sentiment")[2] is None
