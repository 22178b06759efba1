"""One row in full: the prompt, every answer, what was made of it and why it failed."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import pandas as pd
import pytest

from ondine_nb import Run
from ondine_nb.notebook.results.row import LONGEST, Detail, detail_of
from ondine_nb.notebook.results.table import Results
from tests.asking import Asker, texts
from tests.notebook.ended_runs import EVIL, ended_run, journal_answer, reviews
from tests.server import MessagesServer


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    made = ended_run(reviews(300), tmp_path, failing=0.1)
    yield made
    made.pipeline.journal.close()


def detail(run: Run, at: int) -> Detail:
    return detail_of(Results(run), at)


def test_an_answered_row_shows_prompt_answer_and_values(run: Run) -> None:
    at = int(run.rows["status"].eq("answered").idxmax())
    journal_answer(run, at, '{"sentiment": "positive"}')
    found = detail(run, at)
    assert found.prompt.startswith("How does the writer of this review feel? ")
    assert [said.text for said in found.answers] == ['{"sentiment": "positive"}']
    assert found.answers[0].about == (
        f"answer · {run.model} · end_turn · 152 tokens · $0.000024 · 1.9 s"
    )
    assert '"stop_reason": "end_turn"' in found.answers[0].body
    assert [name for name, _ in found.parsed] == ["sentiment", "score", "stars", "why"]
    assert found.facts[0] == "asked once"
    assert (found.error, found.note) == ("", "")


def test_a_failed_row_says_why_and_how_often_it_was_asked(run: Run) -> None:
    (at, *_) = Results(run).failures()["schema not met"]
    found = detail(run, at)
    assert found.status == "failed"
    assert found.error.startswith("schema not met: score: 'very good' is not a number")
    assert found.parsed == ()
    assert found.note == "the journal has no answer to this prompt"


def test_every_answer_of_a_row_that_was_asked_again_is_there(tmp_path: Path) -> None:
    plan = {1: "bad_schema", 2: "bad_schema"}
    with MessagesServer(plan=lambda _, attempt: plan.get(attempt)) as server:
        asker = Asker(server, tmp_path)
        run = asker.run(texts(1), schema="n: int")
        found = detail(run, 0)
        asker.end_process()
    assert [said.about.split(" · ")[0] for said in found.answers] == [
        *("answer 1 of 3", "answer 2 of 3", "answer 3 of 3")
    ]
    assert found.facts[0] == "3 attempts"


def test_a_row_that_is_decided_by_votes_has_every_answer_of_each_model(tmp_path: Path) -> None:
    plan = {1: "bad_schema"}  # one of the votes is asked once more
    with MessagesServer(plan=lambda _, attempt: plan.get(attempt)) as server:
        asker = Asker(server, tmp_path)
        run = asker.run(
            texts(1), schema="n: int", votes=2, models="claude-haiku-5-5,claude-sonnet-5-5"
        )
        found = detail(run, 0)
        asker.end_process()
    told = [said.about.split(" · ") for said in found.answers]
    models = [next(it for it in about if it.startswith("claude")) for about in told]
    assert list(dict.fromkeys(zip([vote for vote, *_ in told], models, strict=True))) == [
        ("vote 1 of 2", "claude-haiku-5-5"),
        ("vote 2 of 2", "claude-haiku-5-5"),
        ("vote 1 of 2", "claude-sonnet-5-5"),
        ("vote 2 of 2", "claude-sonnet-5-5"),
    ]
    again = [about for _, about, *_ in told if about.startswith("answer")]
    assert (again, found.note) == (["answer 1 of 2", "answer 2 of 2"], "")


def test_a_row_with_nothing_to_ask_says_so(tmp_path: Path) -> None:
    data = pd.DataFrame({"text": [None, "a"], "other": [1, 2]})
    run = ended_run(data, tmp_path, prompt="Tell {text}")
    run.plan.rowset.rows[0] = None
    found = detail(run, 0)
    assert (found.word, found.prompt, found.answers) == ("not run", "", ())
    assert "nothing was asked" in found.note


def test_an_answer_that_cannot_be_read_shows_its_bytes(run: Run) -> None:
    from ondine_nb.journal.entries import Entry

    lookup = run.plan.asker.lookup
    ((values,),) = run.pipeline.frame.iter_rows(["text"], positions=[0])
    key = lookup.key(run.pipeline.template.render(values))
    asyncio.run(lookup.journal.append(Entry(key, run.id, b"<html>\xff<script>", 10)))
    (said,) = detail(run, 0).answers
    assert "<html>" in said.body
    assert said.text == "(not a message that can be read)"


def test_hurtful_rows_are_shown_as_text_and_long_ones_are_cut(tmp_path: Path) -> None:
    data = pd.DataFrame({"text": pd.Series(list(EVIL), dtype=object)})
    run = ended_run(data, tmp_path, prompt="{text}", schema="", failing=0)
    for at, text in enumerate(EVIL):
        row = run.plan.rowset.rows[at]
        assert row is not None
        row.outputs = {"response": text}
        journal_answer(run, at, text.replace("\ud800", "").replace("\udfff", ""))
        found = detail(run, at)
        told = json.dumps(asdict(found), ensure_ascii=False)
        for hurtful in ("\x1b", "\x00", "\u202e", "\ud800"):
            assert hurtful not in told
        assert len(found.texts[0][1]) < LONGEST + 60
        assert len(found.prompt) < LONGEST + 60
    assert "and 80,000 more characters" in detail(run, 3).prompt
    run.pipeline.journal.close()


def test_lines_of_a_prompt_stay_lines(tmp_path: Path) -> None:
    data = pd.DataFrame({"text": ["one\n\n  two\tthree\r\nfour"]})
    run = ended_run(data, tmp_path, prompt="{text}", schema="")
    found = detail(run, 0)
    assert found.prompt == "one\n\n  two\tthree\nfour"
    assert found.texts == (("text", found.prompt),)
    run.pipeline.journal.close()


def test_lists_and_other_columns_stand_as_they_are(tmp_path: Path) -> None:
    frame = pd.DataFrame({"story": ["x" * 80], "tags": [["a", "b"]], "none": [None]})
    found = detail_of(Results(frame=frame, name="frame"), 0)
    assert found.texts == (("story", "x" * 80),)
    assert found.inputs == (("tags", ["a", "b"]), ("none", None))
    assert (found.word, found.facts, found.prompt) == ("", (), "")


async def test_a_row_is_read_while_the_loop_of_its_thread_runs(run: Run) -> None:
    journal_answer_in_thread = asyncio.to_thread(journal_answer, run, 0, "{}")
    await journal_answer_in_thread
    assert detail(run, 0).answers[0].text == "{}"
