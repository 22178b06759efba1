"""Two sets of answers, paired: McNemar's exact test as SciPy has it, told in plain words."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest
from sklearn.metrics import accuracy_score
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.proportion import proportion_confint

from ondine_nb.evaluation import Pair, Paired, pair, same_answer, score_pairs, sign_test
from ondine_nb.evaluation.scores import by_match
from ondine_nb.prompts import Field

CHOICE = Field("mood", "choice", ("good", "bad", "mixed"))
moods = st.sampled_from(["good", "bad", "mixed"])


def paired(both_right: int, both_wrong: int, fixed: int, broke: int) -> Paired:
    return Paired("A", "B", both_right, both_wrong, fixed, broke)


@given(st.integers(0, 300), st.integers(0, 300))
def test_the_test_is_scipys(fixed: int, broke: int) -> None:
    n = fixed + broke
    wanted = binomtest(fixed, n, 0.5).pvalue if n else 1.0
    assert sign_test(fixed, broke) == pytest.approx(wanted, rel=1e-9)
    assert sign_test(broke, fixed) == sign_test(fixed, broke)


@given(st.integers(2_001, 40_000), st.floats(0.42, 0.5))
def test_it_is_scipys_on_many_rows_too(n: int, share: float) -> None:
    fixed = int(n * share)
    wanted = binomtest(fixed, n, 0.5).pvalue
    assert sign_test(fixed, n - fixed) == pytest.approx(wanted, rel=1e-6, abs=1e-300)


@given(st.lists(st.tuples(moods, moods, moods), min_size=1, max_size=60))
def test_its_figures_are_scikit_learns_and_statsmodels(rows: list[tuple[str, str, str]]) -> None:
    truths, ones, twos = (list(column) for column in zip(*rows, strict=True))
    right = [[same_answer(CHOICE, t, a) for t, a in zip(truths, side, strict=True)]
             for side in (ones, twos)]  # fmt: skip
    found = pair("A", "B", *right)
    assert found.n == len(rows)
    assert found.accuracies == (
        pytest.approx(accuracy_score(truths, ones)),
        pytest.approx(accuracy_score(truths, twos)),
    )
    table = [[found.both_right, found.broke], [found.fixed, found.both_wrong]]
    assert found.p == pytest.approx(mcnemar(table, exact=True).pvalue)
    counted = (found.both_right + found.broke, found.both_right + found.fixed)
    for interval, count, side in zip(found.intervals, counted, (ones, twos), strict=True):
        wanted = proportion_confint(count, len(rows), method="wilson")
        assert interval == pytest.approx(wanted, abs=1e-12)
        scores = score_pairs(CHOICE, [Pair(*each) for each in zip(truths, side, strict=True)])
        assert interval == pytest.approx(scores.interval)  # one figure, wherever it is shown


def test_rows_that_one_side_has_not_answered_dont_count() -> None:
    found = pair("A", "B", [True, None, False, None], [False, True, True, None])
    assert (found.n, found.broke, found.fixed, found.unpaired) == (2, 1, 1, 2)


@pytest.mark.parametrize(
    ("found", "sentence"),
    [
        (paired(20, 9, 9, 2),
         "B is right on 9 rows where A is wrong, A on 2 where B is wrong: could be chance "
         "(p = 0.07)"),
        (paired(20, 9, 12, 1),
         "B is right on 12 rows where A is wrong, A on 1 where B is wrong: hardly chance "
         "(p = 0.003)"),
        (paired(20, 9, 1, 30),
         "B is right on 1 row where A is wrong, A on 30 where B is wrong: hardly chance "
         "(p < 0.001)"),
        (paired(30, 10, 0, 0),
         "B is right and wrong on the same rows as A (40 rows): nothing tells them apart"),
        (paired(0, 0, 0, 0), "no labelled row was answered by both: there is nothing to test"),
    ],
)  # fmt: skip
def test_the_test_is_told_in_plain_words(found: Paired, sentence: str) -> None:
    assert found.sentence == sentence


@pytest.mark.parametrize(
    ("found", "costs", "line"),
    [
        (paired(33, 5, 2, 1), ("0.045", "0.54"),
         "B leads A by 1 row of 41, too few to tell them apart, and costs 12 times as much"),
        (paired(33, 5, 1, 2), ("0.045", "0.54"),
         "A leads B by 1 row of 41, too few to tell them apart; B costs 12 times as much"),
        (paired(20, 5, 12, 1), ("0.02", "0.03"),
         "B leads A by 11 rows of 38 (p = 0.003), and costs 1.5 times as much"),
        (paired(20, 5, 1, 1), ("0.02", "0.0201"), "A and B are right on as many of 27 rows"),
        (paired(20, 5, 1, 1), ("0", "0.02"),
         "A and B are right on as many of 27 rows; B costs money, where the other is free"),
        (paired(20, 5, 1, 1), (None, "0.02"), "A and B are right on as many of 27 rows"),
        (paired(0, 0, 0, 0), ("1", "1"), "A and B have no labelled row in common"),
    ],
)  # fmt: skip
def test_a_lead_that_chance_may_make_is_a_tie_and_says_what_the_dearer_costs(
    found: Paired, costs: tuple[str | None, str | None], line: str
) -> None:
    first, second = (None if cost is None else Decimal(cost) for cost in costs)
    assert found.judgement(first, second) == line


@pytest.mark.parametrize(
    ("kind", "one", "other", "same"),
    [
        ("str", " good ", "good", True),
        ("str", "Good", "good", False),
        ("float", 0.1 + 0.2, 0.3, True),
        ("int", 3, 3.0, True),
        ("int", 3, None, False),
        ("int", None, None, True),
        ("bool", True, False, False),
        ("list[str]", ["a", "b"], ["b", "a"], True),
        ("list[str]", [], None, True),
    ],
)
def test_answers_are_one_as_scores_compare_them(
    kind: str, one: Any, other: Any, same: bool
) -> None:
    assert same_answer(Field("x", kind), one, other) is same


def test_answers_are_counted_by_how_their_evidence_matches() -> None:
    known = Field("total", "int")
    pairs = [("near", 1, 1), ("exact", 2, 2), ("exact", 3, 4), (None, 5, 5), ("missing", 6, 7)]
    found = by_match(known, [(match, Pair(truth, answer)) for match, truth, answer in pairs])
    assert list(found) == ["exact", "near", "missing"], "the best match first, none without rows"
    assert {word: (it.n, it.accuracy) for word, it in found.items()} == {
        "exact": (2, 0.5),
        "near": (1, 1.0),
        "missing": (1, 0.0),
    }
    tags = Field("tags", "list[str]")
    (score,) = by_match(tags, [("exact", Pair(["a", "b"], ["b", "a"]))]).values()
    assert score.accuracy == 1.0, "as in scores, the order of items doesn't count"
    low, high = found["exact"].interval
    assert (low, high) == pytest.approx(proportion_confint(1, 2, method="wilson"))
