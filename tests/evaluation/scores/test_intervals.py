"""Intervals: Wilson's, Student's, and those of weighted rows."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.proportion import proportion_confint

from ondine_nb.evaluation.scores.intervals import WeightedRows, around, student, wilson


@given(st.integers(1, 5_000), st.data())
def test_wilsons_interval_is_that_of_statsmodels(n: int, data: st.DataObject) -> None:
    right = data.draw(st.integers(0, n))
    expected = proportion_confint(right, n, method="wilson")
    assert wilson(right / n, n) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("freedom", [1, 2, 3, 4, 5, 10, 29, 1_000])
def test_students_t_is_that_of_scipy(freedom: int) -> None:
    assert student(freedom) == pytest.approx(stats.t.ppf(0.975, freedom), rel=2e-3)


def test_equal_weights_are_as_none() -> None:
    values = [1.0] * 30 + [0.0] * 10
    sample = WeightedRows([7.0] * 40)
    assert sample.size == pytest.approx(40)
    mean = sample.mean(values)
    assert mean == 0.75
    assert sample.share(mean, [each - mean for each in values]) == pytest.approx(wilson(0.75, 40))
    assert around(2.0, 0.25, 2.0) == (1.0, 3.0)


def test_intervals_of_weighted_rows_hold_the_truth_about_as_often_as_they_say() -> None:
    """Rows of two strata drawn by unequal chances, a thousand times over."""
    dice, held = random.Random(0), 0
    rare = [float(dice.random() < 0.5) for _ in range(200)]
    common = [float(dice.random() < 0.9) for _ in range(1_800)]
    truth = sum(rare + common) / 2_000
    for _ in range(1_000):
        values = dice.sample(rare, 30) + dice.sample(common, 30)
        sample = WeightedRows([200 / 30] * 30 + [1_800 / 30] * 30)
        mean = sample.mean(values)
        low, high = sample.share(mean, [each - mean for each in values])
        held += low <= truth <= high
    assert 0.93 <= held / 1_000 <= 0.99


@given(st.lists(st.floats(0.1, 100), min_size=1, max_size=30))
def test_the_effective_size_is_never_above_the_number_of_rows(weights: list[float]) -> None:
    sample = WeightedRows(weights)
    assert 1 - 1e-9 <= sample.size <= sample.n + 1e-9
    assert math.isclose(sample.mean([1.0] * sample.n), 1.0)
