"""How the values of new columns are told: counts, histograms, and the same in words."""

from __future__ import annotations

import math
from datetime import date
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ondine_nb.notebook.card.distributions import Distribution, distribution
from ondine_nb.notebook.results.column import ColumnIndex


def bars(found: Distribution) -> list[tuple[str, int]]:
    return [(bar.label, bar.rows) for bar in found.bars]


def test_choices_are_counted_the_most_frequent_first_and_missing_ones_too() -> None:
    found = distribution("mood", ["bad", "good", "good", None])
    assert found.kind == "counts"
    assert bars(found) == [("good", 2), ("bad", 1)]
    assert [bar.share for bar in found.bars] == ["50 %", "25 %"]
    assert found.missing == 1
    assert found.text == "good 2 (50 %) · bad 1 (25 %) · 1 missing"


def test_bools_are_counted() -> None:
    assert bars(distribution("it", [True, False, True])) == [("True", 2), ("False", 1)]


def test_few_whole_numbers_are_counted_in_their_order() -> None:
    assert bars(distribution("stars", [3, 1, 3, 2, 3])) == [("1", 1), ("2", 1), ("3", 3)]


def test_many_numbers_make_a_histogram_that_loses_none() -> None:
    values = [at / 7 for at in range(500)]
    found = distribution("score", [*values, None, math.nan])
    assert found.kind == "histogram"
    assert len(found.bars) == 15  # of a round width: 5
    assert sum(bar.rows for bar in found.bars) == 500
    assert found.missing == 2
    assert max(bar.height for bar in found.bars) == 100
    assert (found.low, found.high) == ("0", "75")
    assert found.text == "0 to 75 · median 35.71 · 2 missing"


def test_whole_numbers_get_no_bin_that_could_hold_none() -> None:
    found = distribution("n", [*range(3, 18)] * 2)
    assert [bar.rows for bar in found.bars] == [2] * 15


def test_numbers_that_are_not_finite_are_told_apart() -> None:
    found = distribution("score", [math.inf, 1.5, 2.5, -math.inf])
    assert "2 not finite" in found.text
    assert distribution("score", [math.inf]).text == "1 not finite"


def test_equal_numbers_are_one_count() -> None:
    assert bars(distribution("score", [0.5] * 4)) == [("0.5", 4)]


def test_dates_make_a_histogram_by_day() -> None:
    found = distribution("when", [date(2026, 1, 1), date(2026, 3, 1), None])
    assert found.kind == "histogram"
    assert (found.low, found.high) == ("2026-01-01", "2026-03-02")
    assert sum(bar.rows for bar in found.bars) == 2


def test_of_long_texts_the_length_is_told() -> None:
    found = distribution("why", [f"because {at} " + "so " * at for at in range(100)])
    assert found.kind == "histogram"
    assert "100 different" in found.text
    assert distribution("id", [f"{at:05}" for at in range(50)]).text == (
        "50 different, all of 5 characters"
    )


def test_many_short_texts_show_the_frequent_ones_and_the_rest() -> None:
    found = distribution("topic", [f"t{at % 20}" for at in range(400)])
    assert len(found.bars) == 9
    assert found.bars[-1].label == "12 others"
    assert sum(bar.rows for bar in found.bars) == 400


def test_lists_count_the_rows_that_hold_an_item() -> None:
    found = distribution("tags", [["a", "b"], ["a", "a"], [], None])
    assert bars(found) == [("a", 2), ("b", 1)]
    assert found.missing == 1


@pytest.mark.parametrize("values", [[], [None], [math.nan, None]])
def test_without_a_value_there_are_no_bars(values: list[Any]) -> None:
    found = distribution("x", values)
    assert found.bars == ()
    assert found.text == (f"{len(values)} missing" if values else "no rows")


def test_labels_are_harmless() -> None:
    found = distribution("\x1b[31m<b>", ["\x1b[31m\u202e<i>"] * 2)
    assert "\x1b" not in found.name + found.text
    assert "\u202e" not in found.text


KINDS = st.one_of(
    st.none(), st.floats(), st.integers(), st.booleans(), st.text(), st.dates(),
    st.lists(st.text(max_size=3), max_size=3), st.dictionaries(st.text(max_size=2), st.integers()),
)  # fmt: skip


@given(st.lists(KINDS, max_size=60))
def test_any_mixture_has_a_distribution(values: list[Any]) -> None:
    found = distribution("x", values)
    assert 0 <= found.missing <= len(values)
    assert all(0 <= bar.height <= 100 for bar in found.bars)
    assert found.text


@given(st.lists(st.floats(allow_nan=False), min_size=1))
def test_a_histogram_holds_every_finite_number(values: list[float]) -> None:
    found = distribution("x", values)
    finite = sum(map(math.isfinite, values))
    assert sum(bar.rows for bar in found.bars) in (finite, len(values))


@given(
    st.one_of(
        st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=2),
        st.lists(st.integers(-(2**63), 2**63 - 1), min_size=2),
        st.lists(st.dates(), min_size=2),
        st.lists(st.datetimes(), min_size=2),
        st.lists(st.text(max_size=30), min_size=2),
        st.lists(st.sampled_from(["a", "b", "c"]), min_size=2),
    )
)
@example(values=[0.0, 1.6500000001000002e308])
def test_the_card_bins_and_counts_as_the_results_do(values: list[Any]) -> None:
    found, index = distribution("x", values), ColumnIndex(values)
    if found.kind == "histogram":
        assert not index.bars
        assert [bar.rows for bar in found.bars] == index.bins().tolist()
        assert found.low == index.edge_text(0)
        assert found.high.removesuffix(" characters") == index.edge_text(len(index.edges) - 1)
    else:
        assert index.bars or len(index.edges) < 2
