"""What the browser is told: which rows come first, texts that are harmless, what was asked."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import ondine_nb
from ondine_nb.notebook.comparison import Comparison
from ondine_nb.notebook.comparison.look import (
    Look,
    detail_of,
    differences,
    figures,
    lines_of,
    ordered,
    text_columns,
)
from tests.notebook.ended_runs import EVIL

from .two_runs import PROMPTS, two_runs


@pytest.fixture
def found(tmp_path: Path) -> Comparison:
    return ondine_nb.compare(*two_runs(tmp_path), field="urgency", labels="gold").comparison


def test_broken_rows_come_first_then_fixed_wrong_and_right_ones(found: Comparison) -> None:
    rows, first = ordered(found, Look())
    states = list(dict.fromkeys(row.state for row in rows))
    assert states == ["broke", "fixed", "wrong", "right"]
    assert (first, len(rows)) == (0, 40)


def test_a_cell_of_the_matrix_brings_its_rows_to_the_top(found: Comparison) -> None:
    _, _, cells = found.matrix(1)
    (label, answer), count = next(it for it in cells.items() if it[0][0] != it[0][1])
    look = Look("all", {"side": 1, "label": label, "answer": answer})
    rows, first = ordered(found, look)
    assert first == count
    assert all((row.label, row.answers[1]) == (label, answer) for row in rows[:first])
    assert not [row for row in rows[first:] if (row.label, row.answers[1]) == (label, answer)]
    assert len(rows) == 40
    assert look.words(found) == f"label {label}, v4 answered {answer}: first"


def test_a_cell_of_what_became_of_rows_does_too(found: Comparison) -> None:
    rows, first = ordered(found, Look("all", {"state": "right"}))
    assert {row.state for row in rows[:first]} == {"right"}
    assert first == found.test.both_right


def test_the_text_that_is_judged_is_shown_the_most_varying_and_longest_first(
    found: Comparison,
) -> None:
    assert text_columns(found) == ["body", "subject"]


def test_the_prompts_are_told_by_words_and_options_by_values(found: Comparison) -> None:
    (prompt,) = differences(found)
    assert prompt["name"] == "prompt"
    for kind, text in (("added", PROMPTS[0]), ("removed", PROMPTS[1])):
        assert "".join(part for which, part in prompt["parts"] if which != kind) == text


def test_whatever_stands_in_the_data_is_harmless_and_json(tmp_path: Path) -> None:
    plain = [text for text in EVIL if "\ud800" not in text]  # pyarrow holds no lone surrogate
    texts = [plain[at % len(plain)] for at in range(40)]
    runs = two_runs(tmp_path, 40, 0.2, body=texts)
    for run in runs:
        for row in run.plan.rowset.rows:
            if row is not None and row.outputs:
                row.outputs["topic"] = EVIL[row.position % len(EVIL)]
    found = ondine_nb.compare(*runs, field="topic").comparison
    rows, _ = ordered(found, Look())
    told = [figures(found), lines_of(found, rows, text_columns(found))]
    told += [detail_of(found, row) for row in rows]
    text = json.dumps(told, allow_nan=False, ensure_ascii=False)
    assert not [code for code in ("\x1b", "\x07", "\u202e", "\ud800") if code in text]
    assert max(len(it) for line in told[1] for it in line["texts"]) <= 241


def test_a_row_in_full_has_every_text_and_both_answers_of_every_field(found: Comparison) -> None:
    row = found.rows[4]
    detail = detail_of(found, row)
    assert [name for name, _ in detail["texts"]] == ["body", "subject"]
    assert [it["name"] for it in detail["fields"]] == ["urgency", "refund", "confidence", "topic"]
    assert detail["fields"][0]["answers"] == list(row.answers)
    assert detail["fields"][0]["label"] == row.label


def test_a_row_without_an_answer_says_why(tmp_path: Path) -> None:
    found = ondine_nb.compare(*two_runs(tmp_path, 200, 0.3), field="urgency", labels="gold")
    rows = [row for row in found.comparison.rows if row.state == "no answer"]
    lines = lines_of(found.comparison, rows, [])
    assert rows
    for line in lines:
        assert any(it["text"] is None and ": " in it["why"] for it in line["answers"])
