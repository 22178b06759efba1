"""Labels at hand: where they come from, what they make of a sample, and the scores they give."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, f1_score

from ondine_nb.data import wrap
from ondine_nb.errors import ConfigurationError
from ondine_nb.evaluation import LabelSet
from ondine_nb.notebook.workbench.truths import Truths, decisive, target
from ondine_nb.prompts import Field

MOOD = Field("mood", "choice", ("good", "bad", "mixed"))
CHOICE = st.sampled_from(("good", "bad", "mixed"))
FIELDS = [MOOD, Field("refund", "bool"), Field("score", "float"), Field("stars", "int")]


def truths(folder: Path, column: str | None = "gold", **columns: Any) -> Truths:
    known = {"text": [f"row {at}" for at in range(50)], **columns}
    frame = wrap(pd.DataFrame(known), "reviews")
    return Truths(frame, LabelSet("labeled", folder), ["text"], FIELDS, column)


def gold(*values: Any) -> list[Any]:
    return [*values, *[None] * (50 - len(values))]


def test_choices_decide_before_whole_numbers_and_those_before_text() -> None:
    assert decisive(FIELDS) == ("mood", "refund")
    assert decisive(FIELDS[2:]) == ("stars",)
    assert decisive([Field("why", "str"), FIELDS[2]]) == ("why", "score")


def test_labels_are_held_against_the_field_whose_choices_they_fit() -> None:
    tone = Field("tone", "choice", ("dry", "warm"))
    assert target([tone, MOOD], ["Good", None, "bad"]) == "mood"
    assert target([Field("why", "str"), Field("ok", "bool")], [True, False]) == "ok"


def test_what_a_person_says_holds_before_the_column_and_lasts(tmp_path: Path) -> None:
    known = truths(tmp_path, gold=gold("good", "bad"))
    assert (known.judged, known.of(0, "mood"), known.of(5, "mood")) == ("mood", "good", None)
    known.add(0, "mood", "mixed")
    known.add(5, "mood", "bad")
    again = truths(tmp_path, gold=gold("good", "bad"))
    assert [again.of(at, "mood") for at in (0, 1, 5, 6)] == ["mixed", "bad", "bad", None]
    assert again.labelled() == [0, 1, 5]
    with pytest.raises(ConfigurationError, match="no field to label"):
        known.add(0, "tone", "dry")


def test_labels_without_a_column_are_those_of_the_review(tmp_path: Path) -> None:
    known = truths(tmp_path, None)
    assert (known.judged, known.labelled()) == ("mood", [])
    known.add(3, "refund", True)
    assert (known.judged, known.labelled(), known.of(3, "refund")) == ("refund", [3], True)


def test_rows_with_a_label_come_first_and_a_label_more_moves_no_row(tmp_path: Path) -> None:
    unlabelled = truths(tmp_path, None)
    usual = unlabelled.sample(10)
    assert usual == wrap(pd.DataFrame({"a": range(50)})).sample_positions(10)
    for at in usual[:4]:
        unlabelled.add(at, "mood", "good")
        assert unlabelled.sample(10) == usual
    labelled = truths(tmp_path / "other", gold=gold(*["good"] * 7))
    assert set(range(7)) <= set(labelled.sample(10))
    assert set(labelled.sample(5)) <= set(range(7))
    assert labelled.sample(5) == sorted(labelled.sample(5))


def test_only_what_is_answered_and_has_a_label_is_scored(tmp_path: Path) -> None:
    known = truths(tmp_path, gold=gold("good", "bad", "bad", "nonsense"))
    answers = {0: {"mood": "good"}, 1: {"mood": "good"}, 2: None, 9: {"mood": "bad"}}
    scores = known.scores("mood", answers)
    assert scores is not None
    assert (scores.n, scores.accuracy, scores.unanswered) == (2, 0.5, 1)
    assert [known.right(at, "mood", answer) for at, answer in answers.items()] == [
        True, False, None, None,
    ]  # fmt: skip
    assert known.scores("mood", {2: None}) is None
    assert known.scores("tone", answers) is None


@given(
    st.lists(
        st.tuples(st.sampled_from(MOOD.choices), st.sampled_from(MOOD.choices)),
        min_size=1,
        max_size=50,
    )
)
def test_the_figures_are_those_of_scikit_learn(
    tmp_path_factory: pytest.TempPathFactory, pairs: list[tuple[str, str]]
) -> None:
    labels, said = zip(*pairs, strict=True)
    known = truths(tmp_path_factory.mktemp("home"), gold=gold(*labels))
    scores = known.scores("mood", {at: {"mood": it} for at, it in enumerate(said)})
    assert scores is not None
    assert scores.accuracy == pytest.approx(accuracy_score(labels, said))
    macro = f1_score(labels, said, average="macro", zero_division=0)
    assert scores.macro_f1 == pytest.approx(macro)
