"""Scores are what scikit-learn and statsmodels say they are, with intervals that hold 95 %."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics
from sklearn.preprocessing import MultiLabelBinarizer
from statsmodels.stats.inter_rater import cohens_kappa
from statsmodels.stats.proportion import proportion_confint
from statsmodels.stats.weightstats import DescrStatsW

from ondine_nb.evaluation import Pair, Scores, ScoresByField, class_of, score_pairs
from ondine_nb.evaluation.scores.scores import MOST_ITEMS, NO_VALUE
from ondine_nb.prompts import Field

MOOD = Field("mood", "choice", ("glad", "sad", "calm"))
close = pytest.approx


def scored(field: Field, truths: Any, answers: Any, **told: Any) -> Scores:
    return score_pairs(field, list(map(Pair, truths, answers)), **told)


labels = st.lists(st.tuples(*[st.sampled_from("abcd")] * 2), min_size=2, max_size=40)


@given(labels)
def test_classes_are_scored_as_scikit_learn_does(cells: list[tuple[str, str]]) -> None:
    truths, answers = map(list, zip(*cells, strict=True))
    found = scored(Field("x", "str"), truths, answers)
    assert found.n == len(cells)
    assert found.accuracy == close(metrics.accuracy_score(truths, answers))
    assert found.macro_f1 == close(metrics.f1_score(truths, answers, average="macro"))
    names = list(found.per_class)
    assert names == sorted({*truths, *answers})
    if found.kappa is not None:
        assert found.kappa == close(metrics.cohen_kappa_score(truths, answers))
    assert (found.kappa is None) == (len(names) == 1)
    table = metrics.confusion_matrix(truths, answers, labels=names)
    assert [list(row.values()) for row in found.matrix.values()] == table.tolist()
    precision, recall, f1, support = metrics.precision_recall_fscore_support(
        truths, answers, labels=names, zero_division=np.nan
    )
    for at, score in enumerate(found.per_class.values()):
        assert score.n == support[at]
        assert score.f1 == close(f1[at])
        for own, theirs in ((score.precision, precision[at]), (score.recall, recall[at])):
            assert (own is None and np.isnan(theirs)) or own == close(theirs)


@given(labels)
def test_every_interval_holds_its_figure_and_stays_where_figures_are(
    cells: list[tuple[str, str]],
) -> None:
    found = scored(Field("x", "str"), *zip(*cells, strict=True))
    figures = {name: getattr(found, name) for name in ("accuracy", "macro_f1", "kappa")}
    for name, value in figures.items():
        if value is not None:
            low, high = found.intervals[name]
            assert (-1.0 if name == "kappa" else 0.0) <= low <= value + 1e-9
            assert value - 1e-9 <= high <= 1.0
    assert found.interval == found.intervals["accuracy"]


def sample(n: int, right: float, seed: int, names: str = "abc") -> tuple[list[str], list[str]]:
    dice = random.Random(seed)
    truths = dice.choices(names, weights=range(1, len(names) + 1), k=n)
    answers = [it if dice.random() < right else dice.choice(names) for it in truths]
    return truths, answers


@pytest.mark.parametrize("n", [5, 40, 400])
def test_the_interval_of_the_accuracy_is_wilsons(n: int) -> None:
    truths, answers = sample(n, 0.8, n)
    found = scored(Field("x", "str"), truths, answers)
    right = sum(map(str.__eq__, truths, answers))
    assert found.interval == close(proportion_confint(right, n, method="wilson"))


@pytest.mark.parametrize("name", "abc")
def test_the_intervals_of_precision_and_recall_are_wilsons(name: str) -> None:
    truths, answers = sample(90, 0.7, 1)
    score = scored(Field("x", "str"), truths, answers).per_class[name]
    both = sum(one == other == name for one, other in zip(truths, answers, strict=True))
    for figure, of in (("precision", answers), ("recall", truths)):
        expected = proportion_confint(both, of.count(name), method="wilson")
        assert score.intervals[figure] == close(expected)


@pytest.mark.parametrize("seed", range(5))
def test_the_interval_of_kappa_is_that_of_statsmodels(seed: int) -> None:
    truths, answers = sample(60, 0.7, seed)
    found = scored(Field("x", "str"), truths, answers)
    theirs = cohens_kappa(metrics.confusion_matrix(truths, answers))
    assert found.kappa == close(theirs.kappa)
    assert found.intervals["kappa"] == close((theirs.kappa_low, theirs.kappa_upp))


@pytest.mark.parametrize("figure", ["macro_f1", "f1"])
def test_the_variance_of_an_f1_is_that_of_resampling(figure: str) -> None:
    """The delta method beside a bootstrap, of a size at which both hold."""
    truths, answers = sample(600, 0.75, 7)
    found = scored(Field("x", "str"), truths, answers)
    pairs, dice = list(zip(truths, answers, strict=True)), random.Random(1)
    averages = {"macro_f1": "macro", "f1": None}
    drawn = []
    for _ in range(200):
        again = list(zip(*dice.choices(pairs, k=len(pairs)), strict=True))
        drawn.append(metrics.f1_score(*again, average=averages[figure], labels=["a", "b", "c"]))
    theirs = np.percentile(np.array(drawn), [2.5, 97.5], axis=0)
    own = (
        found.intervals["macro_f1"]
        if figure == "macro_f1"
        else np.array([found.per_class[name].intervals["f1"] for name in "abc"]).T
    )
    assert np.asarray(own) == close(theirs, abs=0.025)


def test_where_every_row_is_right_the_intervals_still_have_a_width() -> None:
    found = scored(MOOD, ["glad", "sad"] * 5, ["glad", "sad"] * 5)
    assert (found.accuracy, found.macro_f1, found.kappa) == (1.0, 1.0, 1.0)
    for low, high in found.intervals.values():
        assert 0 < low < 0.9 < high == close(1.0)


def test_where_all_is_of_one_class_there_is_no_kappa() -> None:
    found = scored(MOOD, ["glad"] * 3, ["glad"] * 3)
    assert found.kappa is None
    assert "kappa" not in found.intervals


def test_classes_stand_in_the_order_of_the_choices_and_strange_ones_behind() -> None:
    found = scored(MOOD, ["sad", "glad", "angry"], ["sad", "sad", "calm"])
    assert list(found.per_class) == ["glad", "sad", "calm", "angry"]


def test_no_value_is_a_class_and_truth_values_are_two() -> None:
    found = scored(Field("x", "bool"), [True, None, False], [True, True, None])
    assert found.matrix["True"] == {NO_VALUE: 0, "False": 0, "True": 1}
    assert found.accuracy == close(1 / 3)
    assert class_of(" a ") == class_of("a") != class_of("A")


numbers = st.floats(-100, 100)


@given(st.lists(st.tuples(numbers, numbers), min_size=2, max_size=30))
def test_numbers_are_scored_as_scikit_learn_does(pairs: list[tuple[float, float]]) -> None:
    truths, answers = map(list, zip(*pairs, strict=True))
    found = scored(Field("x", "float"), truths, answers)
    assert found.mae == close(metrics.mean_absolute_error(truths, answers), abs=1e-9)
    if np.var(truths) > 1e-6:
        assert found.r2 == close(metrics.r2_score(truths, answers), rel=1e-6, abs=1e-6)
    assert found.accuracy is None
    assert found.interval == found.intervals["mae"]


@pytest.mark.parametrize("n", [2, 3, 4, 8, 30, 500])
def test_the_interval_of_the_mean_error_is_students(n: int) -> None:
    dice = random.Random(n)
    truths = [dice.gauss(5, 2) for _ in range(n)]
    answers = [truth + dice.gauss(0, 1) for truth in truths]
    found = scored(Field("x", "float"), truths, answers)
    low, high = DescrStatsW(np.abs(np.subtract(truths, answers))).tconfint_mean()
    assert found.interval == close((max(0.0, low), high), abs=2e-3 * (high - low))


def test_the_interval_of_r2_is_that_of_resampling() -> None:
    dice = random.Random(3)
    truths = [dice.gauss(5, 2) for _ in range(800)]
    pairs = [(truth, truth + dice.gauss(0, 1)) for truth in truths]
    found = scored(Field("x", "float"), *zip(*pairs, strict=True))
    drawn = [
        metrics.r2_score(*zip(*dice.choices(pairs, k=len(pairs)), strict=True)) for _ in range(200)
    ]
    assert found.intervals["r2"] == close(np.percentile(drawn, [2.5, 97.5]), abs=0.025)


def test_a_single_number_has_an_error_but_no_interval_and_no_r2() -> None:
    found = scored(Field("x", "int"), [3], [5])
    assert (found.n, found.mae, found.r2, found.interval) == (1, 2.0, None, None)


def test_numbers_that_are_missing_on_a_side_dont_count_and_are_told() -> None:
    found = scored(Field("x", "int"), [3, None], [5, 1])
    assert found.n == 1
    assert found.notes == ("1 more have no number on one side: they don't count",)


items = st.lists(st.sampled_from("abcd"), max_size=4)


@given(st.lists(st.tuples(items, items), min_size=1, max_size=20))
def test_lists_are_scored_by_their_items_as_scikit_learn_does(
    pairs: list[tuple[list[str], list[str]]],
) -> None:
    truths, answers = map(list, zip(*pairs, strict=True))
    found = scored(Field("x", "list[str]"), truths, answers)
    binary = MultiLabelBinarizer(classes=list("abcd")).fit([list("abcd")])
    both = binary.transform(truths), binary.transform(answers)
    assert found.accuracy == close(metrics.accuracy_score(*both))
    figures = metrics.precision_recall_fscore_support(*both, average="micro", zero_division=np.nan)
    for own, theirs in zip((found.precision, found.recall, found.f1), figures, strict=False):
        assert (own is None and np.isnan(theirs)) or own == close(theirs)
    own = dict(zip("abcd", metrics.f1_score(*both, average=None, zero_division=0), strict=True))
    assert {name: score.f1 for name, score in found.per_class.items()} == close(
        {name: own[name] for name in found.per_class}
    )


def test_the_interval_of_items_counts_rows_not_items() -> None:
    """Items of one row are right together: the interval is that of resampling rows."""
    dice = random.Random(5)
    rows = [
        (list("abcd"), list("abcd") if dice.random() < 0.8 else list("wxyz")) for _ in range(300)
    ]
    found = scored(Field("x", "list[str]"), *zip(*rows, strict=True))
    right = sum(truth == answer for truth, answer in rows)
    assert found.intervals["precision"] == close(proportion_confint(right, 300, method="wilson"))


def test_of_very_many_items_only_the_most_frequent_have_scores_of_their_own() -> None:
    many = [[f"item {number}"] for number in range(200)]
    found = scored(Field("x", "list[str]"), [*many, ["item 7"]], [*many, ["item 7"]])
    assert len(found.per_class) == MOST_ITEMS
    assert found.per_class["item 7"].n == 2


def test_without_rows_there_are_no_figures() -> None:
    found = score_pairs(MOOD, [], scope="nothing", unanswered=2)
    assert (found.n, found.accuracy, found.interval) == (0, None, None)
    assert "no labelled row has an answer" in repr(found)
    assert "2 labelled rows have no answer" in repr(found)


def test_free_text_of_as_many_classes_as_rows_is_scored_in_a_walk_over_them() -> None:
    texts = [f"text {number}" for number in range(20_000)]
    found = scored(Field("x", "str"), texts, [*texts[:-1], "other"])
    assert found.n - round((found.accuracy or 0) * found.n) == 1
    assert "rarer ones left out" in repr(found)


def test_scores_read_well_as_text_and_run_nothing_as_html() -> None:
    wild = "<img src=x onerror=alert(1)>"
    found = scored(Field(wild, "str"), [wild, "b\x1b[31m"], [wild, "b"], scope=wild, notes=(wild,))
    text, html = repr(found), found._repr_html_()
    assert "50.0 % right (9.5 to 90.5 %)" in text
    assert "\x1b" not in text + html
    assert "<img" not in html
    assert html.count("&lt;img") >= 4
    assert "<style" not in html
    assert html.count("<table>") == 2
    several = ScoresByField({"a": found, "b": found})
    assert repr(several).count("50.0 % right") == several._repr_html_().count("50.0 % right") == 2
    assert isinstance(several, dict)
