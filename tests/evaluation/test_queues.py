"""Queues of rows to review: their order, and the chances that they were drawn by."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ondine_nb.evaluation import (
    Drawn,
    at_random,
    failed,
    in_doubt,
    in_order,
    least_sure,
    one_of_each,
    where_differ,
)


def places(queue: list[Drawn]) -> list[int]:
    return [drawn.position for drawn in queue]


def test_the_least_sure_come_first_and_those_that_dont_say_last() -> None:
    queue = least_sure([0.9, None, 0.1, float("nan"), 0.5])
    assert places(queue) == [2, 4, 0, 1, 3]
    assert {drawn.draw.rows for drawn in queue} == {0}


def test_rows_on_which_two_runs_differ_are_found_by_their_answers() -> None:
    assert places(where_differ([("a", 1), ("b", 2), None], [("a", 1), ("b", 3), None])) == [1]
    with pytest.raises(ValueError, match="1 and 2 rows"):
        where_differ([1], [1, 2])


def test_rows_whose_evidence_is_in_doubt_come_with_the_missing_first() -> None:
    matches = ["approximate", "exact", "missing", None, "near", "missing"]
    assert places(in_doubt(matches)) == [2, 5, 0]
    assert places(in_doubt(matches, among=[0, 1, 5])) == [5, 0]
    assert {drawn.draw.rows for drawn in in_doubt(matches)} == {0}, "they speak for no other rows"


def test_failed_rows_come_as_they_stand() -> None:
    assert places(failed(["failed", "answered", "failed"])) == [0, 2]
    assert places(in_order(3, among=[2, 0])) == [2, 0]


def test_a_random_order_is_fixed_by_its_seed_and_holds_each_row_once() -> None:
    queue = at_random(50, seed=3)
    assert queue == at_random(50, seed=3) != at_random(50, seed=4)
    assert sorted(places(queue)) == list(range(50))
    assert {drawn.draw.rows for drawn in queue} == {50}


def test_each_row_is_as_likely_as_another_to_be_among_the_first_of_a_random_order() -> None:
    first = Counter(
        place for seed in range(2_000) for place in places(at_random(10, seed=seed)[:3])
    )
    # 600 of 2,000 each, with a standard deviation of 20.
    assert all(480 < first[place] < 720 for place in range(10))


def test_one_of_each_value_comes_before_a_second_of_any() -> None:
    values = ["a"] * 5 + ["b"] * 2 + [None]
    queue = one_of_each(values)
    assert [values[drawn.position] for drawn in queue] == [
        None, "b", "a", "b", "a", "a", "a", "a",
    ]  # fmt: skip
    sizes = {(drawn.draw.stratum, drawn.draw.rows) for drawn in queue}
    assert sizes == {("a", 5), ("b", 2), ("", 1)}


@given(st.lists(st.sampled_from("abc") | st.none()), st.integers(0, 5))
def test_one_of_each_has_each_row_once_and_the_size_of_its_stratum(
    values: list[str | None], seed: int
) -> None:
    queue = one_of_each(values, seed=seed)
    assert sorted(places(queue)) == list(range(len(values)))
    assert all(drawn.draw.rows == values.count(values[drawn.position]) for drawn in queue)
