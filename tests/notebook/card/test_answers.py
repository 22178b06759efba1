"""The card of a run that is over shows its answers: how they are distributed, and five rows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ondine_nb.notebook.card.answers import QUICKLY, answers_of, counted
from ondine_nb.notebook.card.card import Card, plain, render
from ondine_nb.notebook.card.table import table_of
from ondine_nb.notebook.card.view import mimebundle
from tests.notebook.card.test_card import ALLOWED_TAGS, Page
from tests.notebook.ended_runs import EVIL, ended_run, reviews
from tests.notebook.shots import stripped


def shown(run: Any) -> Page:
    return Page(render(Card.of(run, answers=answers_of(run)), live=False))


def test_each_new_column_is_counted_over_the_rows_that_were_asked(tmp_path: Path) -> None:
    run = ended_run(reviews(400), tmp_path, failing=0.05)
    answers = answers_of(run)
    assert answers is not None
    rows = list(run.plan.rowset.rows)
    failed = sum(row.status == "failed" for row in rows)
    assert failed
    assert [plot.shown.name for plot in answers.plots] == ["sentiment", "score", "stars", "why"]
    mood = answers.plots[0]
    assert [bar.label for bar in mood.shown.bars] == ["positive", "negative", "neutral"]
    for bar in mood.shown.bars:
        assert bar.rows == sum(row.outputs.get("sentiment") == bar.label for row in rows)
    assert (mood.failed, mood.kind) == (failed, "choice")
    assert answers.of == 400 - failed
    assert mood.failed_height == 100 * failed / max(bar.rows for bar in mood.shown.bars)
    text = shown(run).text
    assert f"no answer {failed}" in text
    assert f"5 of {answers.of} rows, by chance" in text


def test_a_choice_that_nobody_made_is_there_in_the_order_of_the_schema(tmp_path: Path) -> None:
    run = ended_run(reviews(9), tmp_path, schema="sentiment: neutral|positive|negative|odd")
    answers = answers_of(run)
    assert answers is not None
    bars = answers.plots[0].shown.bars
    assert [bar.label for bar in bars] == ["neutral", "positive", "negative", "odd"]
    assert bars[-1].rows == bars[-1].height == 0


def test_five_rows_are_shown_always_the_same_ones_with_the_prompts_columns_first(
    tmp_path: Path,
) -> None:
    run = ended_run(reviews(300).set_index("when"), tmp_path, prompt="{stars_given}: {text}")
    table = shown_table(run)
    assert [text for text, *_ in table.heads] == [
        "index", "stars_given", "text", "sentiment", "score", "stars", "why",
    ]  # fmt: skip
    assert len(table.rows) == 5
    again = ended_run(reviews(300).set_index("when"), tmp_path, prompt="{stars_given}: {text}")
    assert shown_table(again) == table
    for row in table.rows:
        at = int(row[2][0].rpartition("(")[2].rstrip(")"))
        assert row[3][0] == run.plan.rowset.rows[at].outputs["sentiment"]
        assert row[0][0] == reviews(300)["when"][at]


def shown_table(run: Any) -> Any:
    answers = answers_of(run)
    assert answers is not None
    return answers.table


def test_of_texts_that_are_all_different_only_their_number_and_length_are_told(
    tmp_path: Path,
) -> None:
    run = ended_run(reviews(100), tmp_path, failing=0, schema="why: str")
    answers = answers_of(run)
    assert answers is not None
    assert answers.plots[0].shown.bars == ()
    assert "different" in answers.plots[0].shown.note


def test_a_run_that_goes_on_and_one_without_an_answer_show_none(tmp_path: Path) -> None:
    run = ended_run(reviews(20), tmp_path, failing=1.1)
    assert answers_of(run) is None
    run = ended_run(reviews(20), tmp_path)
    run._over = False
    assert answers_of(run) is None
    assert "o-plots" not in mimebundle(run)["text/html"].rpartition("</style>")[2]


def test_what_takes_time_is_counted_once_and_never_while_a_loop_waits(tmp_path: Path) -> None:
    few, many = (ended_run(reviews(rows), tmp_path) for rows in (QUICKLY, QUICKLY + 1))
    assert counted(few)
    assert not counted(many)
    quick = mimebundle(many, quickly=True)["text/html"]
    assert "by chance" not in quick
    assert "by chance" in mimebundle(many)["text/html"]
    assert counted(many)
    assert "by chance" in mimebundle(many, quickly=True)["text/html"]


def test_markup_and_odd_cells_are_shown_as_text(tmp_path: Path) -> None:
    data = pd.DataFrame({"text": list(EVIL), "<b>x</b>": list(EVIL)}, dtype="object")
    run = ended_run(data, tmp_path, prompt="{text} {<b>x</b>}", failing=0, schema="a: str, b: str")
    for row in run.plan.rowset.rows:
        row.outputs = {"a": EVIL[row.position], "b": EVIL[-1 - row.position]}
    page = shown(run)
    assert {tag for tag, _ in page.elements} <= ALLOWED_TAGS
    assert all("onerror" not in attributes for _, attributes in page.elements)
    assert "<img src=x" in page.text


def test_stripped_of_style_it_reads_line_by_line(tmp_path: Path) -> None:
    run = ended_run(reviews(60), tmp_path, failing=0)
    text = Page(stripped(render(Card.of(run, answers=answers_of(run)), live=False))).text
    assert "sentiment choice positive " in text
    assert "median" in text
    assert "by chance" not in plain(Card.of(run))


CELLS = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=9),
    st.lists(st.integers(), max_size=3), st.dictionaries(st.text(max_size=2), st.none()),
)  # fmt: skip


@settings(max_examples=60)
@given(st.lists(st.tuples(st.text(min_size=1), CELLS, CELLS), min_size=1, max_size=5))
def test_any_cells_make_a_table_with_a_column_that_takes_what_is_left(rows: Any) -> None:
    table = table_of([("row", "pos"), ("text", "in"), ("n", "new")], rows)
    assert len(table.rows) == len(rows)
    assert not all(width for *_, width in table.heads)
    assert table.narrow <= table.width + 100


def test_a_number_is_shown_as_a_person_would_write_it() -> None:
    rows = [(str(value), value) for value in (38_000.0, 2_500_000.0, 0.1 + 0.2, float("nan"), -3)]
    table = table_of([("row", "pos"), ("n", "new")], rows)
    assert [row[1][0] for row in table.rows] == ["38000", "2,500,000", "0.3", "–", "-3"]
    assert table.heads[1][1] == "new num"


@pytest.mark.parametrize("value", [True, False])
def test_yes_and_no_are_a_sign_and_a_word_for_those_who_hear_it(value: bool) -> None:
    table = table_of([("row", "pos"), ("n", "new")], [("1", value)])
    assert table.rows[0][1] == (("✓ yes", "new yes") if value else ("– no", "new no"))
