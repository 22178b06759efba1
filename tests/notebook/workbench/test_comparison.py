"""Agreement of answers, and how well they fit labels: figures computed by hand."""

from __future__ import annotations

import math
from typing import Any

import pytest

from ondine_nb.data.columns import Column
from ondine_nb.notebook.workbench.trials import NO_ANSWER, agreement, decisive, score, target, token


def fields(**kinds: str) -> list[Column]:
    choices = {"choice": ("good", "bad")}
    return [Column(name, kind, (), choices.get(kind)) for name, kind in kinds.items()]


def moods(*values: Any) -> list[dict[str, Any] | None]:
    return [None if value is None else {"mood": value} for value in values]


@pytest.mark.parametrize(
    ("one", "other"), [("Positive.", " positive "), (1, 1.0), (True, "true"), (None, math.nan)]
)
def test_what_only_looks_different_is_the_same(one: Any, other: Any) -> None:
    assert token(one) == token(other)


def test_choices_decide_before_whole_numbers_and_those_before_text() -> None:
    assert decisive(fields(mood="choice", score="float", ok="bool", why="str")) == ("mood", "ok")
    assert decisive(fields(stars="int", why="str")) == ("stars",)
    assert decisive(fields(why="str", score="float")) == ("why", "score")


def test_agreement_counts_rows_that_both_answered() -> None:
    a = moods("good", "bad", None, "good", None)
    b = moods("good", "good", "bad", None, None)
    agreed = agreement(a, b, ("mood",))
    assert (agreed.rows, agreed.same, agreed.rate) == (2, 1, 0.5)
    assert agreed.differing == {1, 2, 3}
    assert agreement([], [], ("mood",)).rate is None


def test_accuracy_macro_f1_and_the_confusion_table_are_those_of_the_textbook() -> None:
    labels = ["good", "good", "good", "bad", "bad", None, "bad"]
    answers = moods("good", "good", "bad", "bad", "Good.", "bad", None)
    scored = score(answers, labels, "mood")
    assert scored is not None
    assert scored.rows == 6  # the row without a label doesn't count
    assert scored.accuracy == pytest.approx(3 / 6)
    # good: precision 2/3, recall 2/3; bad: precision 1/2, recall 1/3
    assert scored.macro_f1 == pytest.approx((2 / 3 + 2 / 5) / 2)
    assert scored.labels == ("bad", "good")
    assert scored.predicted == ("bad", "good", NO_ANSWER)
    assert scored.table == ((1, 1, 1), (1, 2, 0))
    assert sum(map(sum, scored.table)) == scored.rows


def test_an_answer_that_is_no_label_counts_as_a_class_of_its_own() -> None:
    scored = score(moods("good", "so so"), ["good", "bad"], "mood")
    assert scored is not None
    assert scored.predicted == ("bad", "good", "so so")
    assert scored.macro_f1 == pytest.approx(1 / 3)


def test_without_a_label_there_is_no_score() -> None:
    assert score(moods("good"), [None], "mood") is None


def test_the_labels_are_held_against_the_column_whose_choices_they_fit() -> None:
    found = [
        Column("tone", "choice", (), ("dry", "warm")),
        Column("mood", "choice", (), ("good", "bad")),
    ]
    assert target(found, ["Good", "bad"]) == "mood"
    assert target(fields(why="str", ok="bool"), [True, False]) == "ok"
