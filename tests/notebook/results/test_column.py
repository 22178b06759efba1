"""A column made ready: its order, its counts and its bins are those of its values."""

from __future__ import annotations

import math
import random
from datetime import date, datetime
from typing import Any

import numpy
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ondine_nb.notebook.results.column import STEP, ColumnIndex, in_order
from ondine_nb.text import as_text

numbers = st.one_of(st.none(), st.integers(-(2**62), 2**62), st.floats(allow_nan=False))
small = st.one_of(st.none(), st.integers(-50, 50), st.floats(-1e6, 1e6))
dates = st.one_of(st.none(), st.datetimes(datetime(1900, 1, 1), datetime(2100, 1, 1)))
texts = st.one_of(st.none(), st.text(max_size=5))
mixed = st.one_of(
    numbers, texts, dates, st.booleans(), st.lists(st.sampled_from("abc")),
    st.dictionaries(st.sampled_from("xy"), st.integers(0, 3), max_size=2),
)  # fmt: skip


@given(st.one_of(st.lists(it) for it in (numbers, texts, dates, mixed)), st.booleans())
def test_every_row_is_in_order_once_and_missing_ones_are_last(values: Any, down: bool) -> None:
    index = ColumnIndex(values)
    order = index.order(down).tolist()
    assert sorted(order) == list(range(len(values)))
    gone = [at for at in order if values[at] is None]
    assert order[len(order) - len(gone) :] == gone == sorted(gone)


@given(st.lists(st.one_of(st.none(), st.floats(allow_nan=False))), st.booleans())
def test_numbers_are_ordered_as_pandas_orders_them(values: list[Any], down: bool) -> None:
    expected = pd.Series(values, dtype="f8").sort_values(ascending=not down, kind="stable")
    assert ColumnIndex(values).order(down).tolist() == list(expected.index)


@given(st.lists(st.integers(-(2**62), 2**62)), st.booleans())
def test_large_whole_numbers_keep_their_order(values: list[int], down: bool) -> None:
    order = ColumnIndex(values).order(down).tolist()
    assert [values[at] for at in order] == sorted(values, reverse=down)


@given(st.lists(st.text(max_size=4)), st.booleans())
def test_texts_are_ordered_in_any_case_and_equal_ones_as_they_were(
    values: list[str], down: bool
) -> None:
    order = ColumnIndex(values).order(down).tolist()
    expected = sorted(range(len(values)), key=lambda at: values[at].casefold(), reverse=down)
    assert order == expected


@given(st.lists(mixed), st.lists(st.booleans(), max_size=60))
def test_counts_and_bins_hold_every_row_that_has_a_value(values: list[Any], picks: Any) -> None:
    index = ColumnIndex(values)
    mask = numpy.array([(picks[at : at + 1] or [True])[0] for at in range(len(values))], bool)
    if index.kind == "list":
        items = [set(map(as_text, it)) for it in values if it is not None]
        assert index.count().sum() == sum(map(len, items))
        return
    for chosen in (None, mask):
        wanted = sum(
            it is not None and (chosen is None or chosen[at]) for at, it in enumerate(values)
        )
        if index.bars:
            assert index.count(chosen).sum() == wanted
        elif len(index.edges) > 1 and numpy.isfinite(index.numbers[~index.missing]).all():
            assert index.bins(chosen).sum() == wanted


@given(st.lists(small, min_size=1))
def test_bins_are_ascending_and_between_finds_what_a_bin_counts(values: list[Any]) -> None:
    index = ColumnIndex(values)
    edges = index.edges
    assert edges == sorted(set(edges))
    for at in range(len(edges) - 1):
        found = index.between(at, at + 1)
        assert found.sum() == index.bins()[at]
        last = at == len(edges) - 2
        for place in numpy.flatnonzero(found):
            value = float(values[place])
            assert edges[at] <= value
            assert value < edges[at + 1] or (last and value == edges[-1])


@given(st.lists(st.one_of(st.none(), st.sampled_from(["a", "B", "", "c"]))))
def test_holds_is_membership(values: list[Any]) -> None:
    index = ColumnIndex(values)
    assert index.holds(["a", "", "gone"]).tolist() == [it in ("a", "") for it in values]
    assert index.holds([], missing=True).tolist() == [it is None for it in values]


def test_choices_keep_the_order_of_the_schema_and_have_a_bar_though_none_was_given() -> None:
    index = ColumnIndex(["high", "low", None, "high"], ("low", "medium", "high"))
    assert index.labels == ["low", "medium", "high"]
    assert index.count().tolist() == [1, 0, 2]
    assert index.order(False).tolist() == [1, 0, 3, 2]
    assert index.order(True).tolist() == [0, 3, 1, 2]


def test_true_stands_first_and_is_the_larger() -> None:
    index = ColumnIndex([True, False, None, True])
    assert [it.lower() for it in index.labels] == ["true", "false"]
    assert index.order(False).tolist() == [1, 0, 3, 2]


def test_few_whole_numbers_are_counted_and_many_numbers_are_put_into_bins() -> None:
    assert ColumnIndex([5, 3, 3, 1]).labels == ["1", "3", "5"]
    assert ColumnIndex([5, 3, 3, 1]).bars
    assert not ColumnIndex([at / 7 for at in range(100)]).bars
    assert not ColumnIndex(list(range(100))).bars


def test_lists_count_the_rows_that_hold_an_item() -> None:
    index = ColumnIndex([["a", "b", "a"], [], None, ["b"]])
    assert dict(zip(index.labels, index.count().tolist(), strict=True)) == {"b": 2, "a": 1}
    assert index.holds(["a"]).tolist() == [True, False, False, False]


def test_dates_are_binned_by_whole_days() -> None:
    index = ColumnIndex([date(2026, 1, 1 + at) for at in range(20)])
    assert index.edge_text(0) == "2026-01-01"
    assert index.bins().tolist() == [1] * 20
    hours = ColumnIndex([datetime(2026, 1, 1, at) for at in range(20)])
    assert hours.edge_text(0) == "2026-01-01 00:00"
    assert hours.bins().sum() == 20


@pytest.mark.parametrize("values", [[], [None], [math.inf, -math.inf, 1.0, 2.0], [1e308, -1e308]])
def test_numbers_without_a_middle_have_no_bins_that_lie(values: list[Any]) -> None:
    index = ColumnIndex(values)
    if len(index.edges) > 1:
        assert index.bins().sum() == numpy.isfinite(index.numbers).sum()


def test_a_confidence_is_told_from_other_numbers() -> None:
    assert ColumnIndex([0.1, 0.9, None]).in_unit
    assert not ColumnIndex([0, 1, 1]).in_unit
    assert not ColumnIndex([0.5, 1.5]).in_unit


class Odd:
    def __str__(self) -> str:
        raise RuntimeError("no text")


def test_a_value_that_has_no_text_is_named_by_its_type() -> None:
    index = ColumnIndex([Odd(), "a"])
    assert set(index.labels) == {"<Odd>", "a"}


@given(st.integers(0, 2**32), st.integers(1, 3 * STEP))
def test_sorting_in_steps_is_sorting(seed: int, size: int) -> None:
    keys = random.Random(seed).choices(range(50), k=size)
    assert list(in_order(range(size), keys.__getitem__)) == sorted(
        range(size), key=keys.__getitem__
    )
