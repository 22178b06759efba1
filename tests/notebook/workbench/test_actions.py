"""Tries: each preview is kept, opened again for nothing, restored whole, scored by the labels."""

from __future__ import annotations

import asyncio
import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from pydantic import BaseModel

from ondine_nb.notebook.workbench.actions import Work
from ondine_nb.notebook.workbench.board import Leaderboard
from ondine_nb.notebook.workbench.draft import Workbench
from ondine_nb.notebook.workbench.page import TriedRows
from tests.server import MessagesServer
from tests.server.answers import prompt_of

ROWS = 40


def frame() -> pd.DataFrame:
    texts = [f"review {at}" for at in range(ROWS)]
    moods = [("good", "bad")[at % 2] for at in range(ROWS)]
    return pd.DataFrame({"text": texts, "mood": [*moods[:30], *[None] * 10]})


def answer(body: Any) -> str:
    """Right but for a row of each three; a strict judge but for one of each ten."""
    text = prompt_of(body)
    at = int(text.split()[-1])
    wrong = at % (10 if "strict" in text else 3) == 0
    return json.dumps({"verdict": ("good", "bad")[(at + wrong) % 2], "score": 0.5})


class Verdict(BaseModel):
    """What the model of a schema may be."""

    verdict: str


@pytest.fixture
def server() -> Any:
    with MessagesServer(answer=answer) as running:
        yield running


def bench(server: MessagesServer, **options: Any) -> Workbench:
    known = {"base_url": server.url, "schema": "verdict: good|bad, score: float", **options}
    made = Workbench(
        frame(), "Judge {tone}: {text}", name="reviews", given={"tone": "dry"}, options=known,
        labels="mood",
    )  # fmt: skip
    made.sample = 20
    return made


def preview(work: Work) -> Any:
    return asyncio.run(work.preview(lambda: None))


def restore(work: Work, number: int) -> dict[str, str]:
    return asyncio.run(work.restore(number))


def test_each_preview_is_a_try_with_its_figures_and_the_same_one_stays_one(
    server: MessagesServer, home: Path
) -> None:
    work = Work(bench(server))
    preview(work)
    preview(work)
    assert len(work.tries) == 1
    work.bench.prompt = "Judge, be strict, {tone}: {text}"
    preview(work)
    first, second = work.tries.tries
    assert (first.name, second.name, work.current) == ("v1", "v2", 2)
    assert (second.rows, second.answered, second.failed, len(second.sample)) == (20, 20, 0, 20)
    assert second.prompt == "Judge, be strict, {tone}: {text}"
    assert second.cost is not None
    assert second.cost > 0
    assert second.p50 is not None
    (score,) = second.scores[:1]
    assert (score.field, score.measure, score.n) == ("verdict", "accuracy", 20)
    wrong = sum(at % 10 == 0 for at in second.sample)
    assert score.value == pytest.approx(1 - wrong / 20)


def test_a_kernel_later_all_tries_are_there_and_nothing_is_sent_to_open_one(
    server: MessagesServer, home: Path
) -> None:
    work = Work(bench(server))
    preview(work)
    work.bench.given["tone"] = "warm"
    preview(work)
    answers = {number: trial.answers for number, trial in work.trials.items()}
    sent = server.arrived
    later = Work(bench(server))
    for number in (1, 2):
        trial = asyncio.run(later.recall(number))
        assert trial is not None
        assert trial.answers == answers[number]
        assert (trial.from_journal, trial.state) == (20, "done")
    assert server.arrived == sent


def test_a_try_whose_rows_are_others_by_now_is_not_opened_as_if_they_were_the_same(
    server: MessagesServer, home: Path
) -> None:
    work = Work(bench(server))
    preview(work)
    later = Work(bench(server))
    later.bench.data = frame().assign(text=lambda it: it["text"] + " and more")
    later.bench.refresh()
    assert asyncio.run(later.recall(1)) is None
    later.bench.data = frame().head(5)
    later.bench.refresh()
    assert asyncio.run(later.recall(1)) is None


def test_restore_brings_a_try_back_whole(server: MessagesServer, home: Path) -> None:
    made = bench(server, effort="low", budget=Decimal("0.5"))
    work = Work(made)
    made.prompt = "Judge {tone}, for {whom}: {text}"
    made.edit("texts", {"whom": "the boss"})
    made.edit("system", "Be fair.")
    preview(work)
    asked = made.draft()
    made.prompt, made.sample = "Tell {text}", 7
    for option in ("system", "effort", "budget", "schema"):
        made.edit(option, "")
    made.edit("model", "claude-sonnet-5-5")
    preview(work)
    sent = server.arrived
    assert restore(work, 1) == {"tone": "dry"}  # a widget is set by whoever has it
    assert made.draft() == asked
    assert made.sample == 20
    assert made.a is not None
    assert made.a.answered == 20
    assert server.arrived == sent
    assert "nothing has changed" in work.no_comparison()


def test_a_schema_that_is_a_model_comes_back_as_that_model(
    server: MessagesServer, home: Path
) -> None:
    work = Work(bench(server, schema=Verdict))
    preview(work)
    later = Work(bench(server, schema=Verdict))
    restore(later, 1)
    assert later.bench.options["schema"] is Verdict
    assert later.bench.a is not None
    assert later.bench.a.from_journal == 20


def test_several_models_make_a_try_each_and_the_bench_s_own_is_the_last(home: Path) -> None:
    asked: list[str] = []

    def told(body: Any) -> str:
        asked.append(body["model"])
        return answer(body)

    with MessagesServer(answer=told) as server:
        work = Work(bench(server))
        work.bench.edit("several", "sonnet, claude-opus-5-5, haiku")
        preview(work)
    models = [it.model for it in work.tries.tries]
    assert models == ["claude-sonnet-5-5", "claude-opus-5-5", ""]
    assert work.current == 3
    for model in ("claude-sonnet-5-5", "claude-opus-5-5", "claude-haiku-5-5"):
        assert asked.count(model) == 20


def test_a_stopped_preview_is_a_try_of_what_is_there_and_one_without_rows_is_none(
    home: Path,
) -> None:
    with MessagesServer(key="another") as locked:
        work = Work(bench(locked))
        preview(work)
        assert (len(work.tries), work.current) == (0, 0)


def test_scores_follow_a_label_that_is_given_later(server: MessagesServer, home: Path) -> None:
    work = Work(bench(server))
    preview(work)
    before = work.tries.get(1).scores[0]
    truths = work.bench.truths()
    (wrong, *_) = [
        at
        for at, said in zip(work.bench.a.positions, work.bench.a.answers, strict=True)  # type: ignore[union-attr]
        if truths.right(at, "verdict", said) is False
    ]
    truths.add(wrong, "verdict", {"good": "bad", "bad": "good"}[truths.of(wrong, "verdict")])
    work.rescore()
    after = work.tries.get(1).scores[0]
    assert after.value == pytest.approx((before.value or 0) + 1 / 20)


def test_the_board_says_what_changed_which_is_best_and_when_that_is_a_tie(
    server: MessagesServer, home: Path
) -> None:
    work = Work(bench(server))
    preview(work)
    work.bench.prompt = "Judge, be strict, {tone}: {text}"
    preview(work)
    work.bench.edit("model", "claude-opus-5-5")
    preview(work)
    board = Leaderboard(work)
    third, second, first = board.lines
    assert [line.kept.name for line in board.lines] == ["v3", "v2", "v1"]
    assert first.first
    assert [str(it) for it in second.changed] == ["+ “, be strict,”"]
    assert [str(it) for it in third.changed] == ["model default → claude-opus-5-5"]
    assert (third.best, third.current, board.measure) == (True, True, "accuracy")
    assert board.tie().startswith("v2 and v3 are right on as many of 20 rows; v3 costs ")
    assert Leaderboard(work, 1).total == 3


def test_without_labels_tries_are_held_against_the_current_one(
    server: MessagesServer, home: Path
) -> None:
    work = Work(bench(server))
    work.bench.labels = None
    preview(work)
    work.bench.prompt = "Judge, be strict, {tone}: {text}"
    preview(work)
    board = Leaderboard(work)
    score = board.lines[1].score
    assert board.lines[0].score is None
    assert score is not None
    alike = [
        one == other
        for one, other in zip(work.trials[1].answers, work.trials[2].answers, strict=True)
    ]
    assert (score.measure, score.n) == ("agreement", 20)
    assert score.value == pytest.approx(sum(alike) / 20)


def test_no_score_is_taken_on_a_row_that_was_shown_as_an_example(
    server: MessagesServer, home: Path
) -> None:
    shown = frame().head(12)[["text", "mood"]].rename(columns={"mood": "verdict"})
    work = Work(bench(server, examples=shown.assign(score=0.5), shots=4))
    preview(work)
    trial = work.bench.a
    assert trial is not None
    assert trial.served
    (kept,) = work.tries.tries
    assert kept.scores[0].n == 20 - len(trial.served)
    assert "review" in str(trial.prompts[0]).split("Judge dry")[0]  # the examples are read, too
    told = TriedRows(trial, work.bench.truths()).head()
    assert any("served as examples" in line for line in told["remarks"])
