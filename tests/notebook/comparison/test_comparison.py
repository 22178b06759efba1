"""Two sides over the same rows: which rows are the same, what became of them, and the figures."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest
from sklearn import metrics

from ondine_nb.data import wrap
from ondine_nb.errors import ColumnError
from ondine_nb.notebook.comparison import STATES, Comparison, Side
from ondine_nb.prompts import Field

MOODS = ("good", "bad", "mixed")
MOOD = Field("mood", "choice", MOODS)


def side(name: str, texts: list[str], said: list[Any], kind: str = "pandas", **more: Any) -> Side:
    frame = pd.DataFrame({"text": texts}) if kind == "pandas" else pl.DataFrame({"text": texts})
    known: dict[str, Any] = {
        "fields": [MOOD],
        "answers": {"mood": said},
        "answered": [answer is not None for answer in said],
        "columns": ["text"],
    }
    return Side(name, wrap(frame, name), **{**known, **more})


def compared(rows: list[tuple[Any, Any, Any]], kind: str = "pandas") -> Comparison:
    """Rows of (label, answer of A, answer of B)."""
    texts = [f"text {at}" for at in range(len(rows))]
    truths, ones, twos = (list(column) for column in zip(*rows, strict=True))
    sides = side("A", texts, ones, kind), side("B", texts, twos, kind)
    return Comparison(*sides, {"mood": truths} if any(truths) else None)


def test_a_row_is_told_by_its_label_or_else_by_whether_the_answers_differ() -> None:
    found = compared([
        ("good", "good", "good"), ("good", "bad", "good"), ("good", "good", "bad"),
        ("good", "bad", "mixed"), (None, "good", "bad"), (None, "good", "good"),
        ("good", None, "good"), ("good", "good", None),
    ])  # fmt: skip
    states = ["right", "fixed", "broke", "wrong", "differ", "same", "no answer", "no answer"]
    assert [row.state for row in found.rows] == states
    assert set(states) == set(STATES)
    assert found.tabs == {"all": 8, "wrong": 2, "fixed": 1, "broke": 1, "differ": 6}
    assert (found.test.n, found.test.unpaired) == (4, 2)  # nothing is scored that isn't answered


def test_rows_that_were_shown_as_examples_are_never_scored() -> None:
    found = compared([("good", "good", "good"), ("bad", "good", "bad"), ("bad", "bad", "bad")])
    without = found.of("mood", served=[1, 2])
    assert (without.labelled, without.unscored, without.test.n) == (1, 2, 1)
    assert [row.state for row in without.rows] == ["right", "differ", "same"]
    assert without.scores[0].n == 1
    assert "not scored: 2 rows that served as examples" in repr(without)
    assert without.of("mood").served == {1, 2}


def test_without_labels_there_is_nothing_to_be_right_about() -> None:
    found = compared([(None, "good", "bad"), (None, "bad", "bad")])
    assert found.tabs == {"all": 2, "differ": 1}
    assert found.test.n == 0
    assert "no row has a label of mood; the answers: 1 of 2 the same" in repr(found)


moods = st.sampled_from(MOODS)


@given(st.lists(st.tuples(moods | st.none(), moods, moods), min_size=1, max_size=50))
@pytest.mark.slow
def test_its_figures_are_those_of_scikit_learn_and_scipy(rows: list[tuple[Any, Any, Any]]) -> None:
    found = compared(rows)
    labelled = [row for row in rows if row[0] is not None]
    assert found.test.n == len(labelled) == found.labelled
    if not labelled:
        return
    truths, *sides = zip(*labelled, strict=True)
    for number, (answers, scores) in enumerate(zip(sides, found.scores, strict=True)):
        assert scores.accuracy == pytest.approx(metrics.accuracy_score(truths, answers))
        names = sorted({*truths, *answers})
        f1 = metrics.f1_score(truths, answers, labels=names, average="macro", zero_division=0)
        assert scores.macro_f1 == pytest.approx(f1)
        labels, columns, cells = found.matrix(number)
        wanted = metrics.confusion_matrix(truths, answers, labels=columns)
        for label in labels:
            row = wanted[columns.index(label)].tolist()
            assert [cells.get((label, answer), 0) for answer in columns] == row
    one, two = ([t == a for t, a in zip(truths, answers, strict=True)] for answers in sides)
    pairs = Counter(zip(one, two, strict=True))
    fixed, broke = pairs[False, True], pairs[True, False]
    assert (found.tabs["fixed"], found.tabs["broke"]) == (fixed, broke)
    p = binomtest(fixed, fixed + broke).pvalue if fixed + broke else 1.0
    assert found.test.p == pytest.approx(p)


@given(st.lists(st.sampled_from("abcd"), max_size=8), st.lists(st.sampled_from("abcd"), max_size=8))
def test_rows_are_the_same_by_content_equal_ones_in_turn(ones: list[str], twos: list[str]) -> None:
    a, b = side("A", ones, ["good"] * len(ones)), side("B", twos, ["good"] * len(twos))
    common = Counter(ones) & Counter(twos)
    if not common and ones and twos:
        with pytest.raises(ColumnError, match="no row of A is in B, by text"):
            Comparison(a, b)
        return
    found = Comparison(a, b)
    assert all(ones[one] == twos[two] for one, two in found.pairs)
    assert [one for one, _ in found.pairs] == sorted({one for one, _ in found.pairs})
    assert len({two for _, two in found.pairs}) == len(found.pairs) == common.total()
    for text in common:  # the first of one is the first of the other
        mine = [two for one, two in found.pairs if ones[one] == text]
        assert mine == sorted(mine)
    assert found.only == (len(ones) - len(found.pairs), len(twos) - len(found.pairs))


def test_rows_that_only_one_has_are_counted_and_told() -> None:
    a = side("A", ["x", "y", "z"], ["good", "bad", "good"])
    b = side("B", ["z", "x", "w", "v"], ["good"] * 4)
    found = Comparison(a, b)
    assert found.pairs == [(0, 1), (2, 0)]
    assert "mood of 2 rows (1 row only in A, 2 rows only in B)" in repr(found)


def test_other_prompts_read_other_columns_and_still_ask_the_same_rows() -> None:
    frame = wrap(pd.DataFrame({"text": ["a", "b"], "title": ["T", "T"]}), "f")
    a = side("A", ["b", "a"], ["good", "bad"])
    b = replace(side("B", ["a", "b"], ["good", "bad"]), frame=frame, columns=["title", "text"])
    assert Comparison(a, b).pairs == [(0, 1), (1, 0)]


@pytest.mark.parametrize("kind", ["pandas", "polars"])
def test_the_frame_has_the_input_the_label_both_answers_and_what_became_of_the_row(
    kind: str,
) -> None:
    frame = compared([("good", "bad", "good"), ("bad", "bad", None)], kind).frame
    assert isinstance(frame, pd.DataFrame if kind == "pandas" else pl.DataFrame)
    assert list(frame.columns) == ["text", "mood_label", "mood_A", "mood_B", "comparison"]
    assert list(frame["mood_A"]) == ["bad", "bad"]
    assert list(frame["comparison"]) == ["fixed", "no answer"]


def test_a_frame_that_has_such_columns_already_keeps_them() -> None:
    a = side("A", ["x"], ["good"])
    taken = wrap(pd.DataFrame({"text": ["x"], "mood_A": ["mine"]}), "f")
    found = Comparison(replace(a, frame=taken), side("B", ["x"], ["bad"]))
    assert list(found.frame.columns) == ["text", "mood_A", "mood_A_", "mood_B", "comparison"]


def test_sides_of_one_name_are_told_apart() -> None:
    found = Comparison(side("labeled", ["x"], ["good"]), side("labeled", ["x"], ["bad"]))
    assert (found.a.name, found.b.name) == ("labeled A", "labeled B")


def test_other_fields_say_on_how_many_rows_they_agree_and_numbers_their_medians() -> None:
    fields = [MOOD, Field("refund", "bool"), Field("sure", "float")]

    def with_more(name: str, refunds: list[Any], sure: list[Any]) -> Side:
        answers = {"mood": ["good"] * 3, "refund": refunds, "sure": sure}
        return side(name, ["x", "y", "z"], [None] * 3, fields=fields, answers=answers,
                    answered=[True, True, False])  # fmt: skip

    a = with_more("A", [True, False, True], [0.2, 0.4, 9.0])
    b = with_more("B", [True, True, False], [0.5, 0.9, 9.0])
    found = Comparison(a, b)
    assert [(it.name, str(it)) for it in found.others] == [
        ("refund", "1 of 2 the same"),
        ("sure", "median 0.3 → 0.7"),
    ]
    assert found.of("refund").field.name == "refund"
    assert found.of("refund").pairs is found.pairs
    with pytest.raises(ColumnError, match="both have no field 'refun': did you mean 'refund'"):
        found.of("refun")


def test_numbers_are_scored_by_their_error_and_have_no_matrix() -> None:
    stars = Field("stars", "float")
    known: dict[str, Any] = {"fields": [stars], "answered": [True, True]}
    a = side("A", ["x", "y"], [], **known, answers={"stars": [3.0, 5.0]})
    b = side("B", ["x", "y"], [], **known, answers={"stars": [3.0, 4.0]})
    found = Comparison(a, b, {"stars": [3.0, 4.0]})
    assert found.scores[0].mae == pytest.approx(0.5)
    assert found.matrix(0) == ([], [], {})
    assert found.tabs["fixed"] == 1
    assert "A: mean error 0.5" in repr(found)


def test_no_field_in_common_is_an_error_that_names_both() -> None:
    other = side("B", ["x"], [], fields=[Field("topic", "str")], answers={"topic": ["t"]})
    with pytest.raises(ColumnError, match="have no field in common: mood and topic"):
        Comparison(side("A", ["x"], ["good"]), other)


def test_what_was_asked_otherwise_is_told(tmp_path: Path) -> None:
    a = side("A", ["x"], ["good"], settings={"prompt": "Rate. {text}", "model": "haiku"})
    b = side("B", ["x"], ["good"], settings={"prompt": "Rate it. {text}", "model": "sonnet"})
    assert "changed: + “it” · model haiku → sonnet" in repr(Comparison(a, b))
