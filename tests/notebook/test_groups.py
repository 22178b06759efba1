"""What a notebook shows of a run over groups: how many, what is left, and the rows behind each."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from ondine_nb import Run
from ondine_nb.notebook.arguments import parse_line
from ondine_nb.notebook.card.card import Card, plain
from ondine_nb.notebook.card.dry_run import DryRun, dry_run_html, dry_run_text
from ondine_nb.notebook.results.row import detail_of
from ondine_nb.notebook.results.table import Results
from tests.asking import Asker, seen
from tests.grouping import PROMPT, SCHEMA, answered, reviews
from tests.server import MessagesServer

SMALL: dict[str, Any] = {"by": "brand", "schema": SCHEMA, "group_tokens": 400}
FRAME = reviews({"big": 900, "small": 60}).set_index(pd.Index(range(1000, 1960), name="review"))


@pytest.fixture
def server() -> Iterator[MessagesServer]:
    with MessagesServer(answer=answered) as running:
        yield running


def test_the_card_says_how_many_groups_there_are_and_on_how_many_levels(
    server: MessagesServer, home: Path
) -> None:
    card = Card.of(Asker(server, home).run(FRAME, PROMPT, **SMALL))
    assert "2 groups of 960 rows · 3 levels" in card.about
    assert "2 groups of 960 rows · 3 levels" in plain(card)
    few = Card.of(Asker(server, home).run(FRAME[-60:], PROMPT, **SMALL, sample=1))
    assert "1 group of 60 rows · 2 levels" in few.about


async def test_the_live_card_says_how_many_questions_are_left(home: Path) -> None:
    with MessagesServer(answer=answered, latency=0.05) as server:
        run = Run(Asker(server, home).pipeline(FRAME, PROMPT, concurrency=2, **SMALL))
        run.start()
        await seen(lambda: run.context.metrics.paid >= 4)
        (left,) = [it for it in Card.of(run, live=True).figures if "questions left" in it.caption]
        assert left.caption == "questions left · 3 levels"
        whole, groups = int(left.value), run.context.metrics.groups
        assert groups is not None
        assert 0 < whole <= groups.questions + 2
        await run
        assert groups.left == 0


def test_the_dry_run_counts_groups_and_says_what_their_trees_take(
    server: MessagesServer, home: Path
) -> None:
    pipeline = Asker(server, home).pipeline(FRAME, PROMPT, **SMALL)
    estimator = pipeline.estimator()
    estimate = asyncio.run(estimator.estimate())
    known = DryRun.of(pipeline, estimator.tally, estimate)
    assert "groups: 2 (0 from the journal" in dry_run_text(known)
    assert "2 groups of 960 rows: " in dry_run_text(known)
    assert "<span>groups" in dry_run_html(known)
    assert server.arrived == 0


def test_a_row_of_the_results_has_its_last_question_and_the_rows_it_rests_on(
    server: MessagesServer, home: Path
) -> None:
    results = Results(Asker(server, home).run(FRAME, PROMPT, **SMALL))
    merged, alone = detail_of(results, 0), detail_of(results, 1)
    assert merged.prompt.startswith("A list of rows was too long for one request")
    assert len(merged.answers) == len(alone.answers) == 1
    assert merged.note == ""
    assert merged.citing == ("rows",)
    finds = [at for at, text in enumerate(FRAME["text"]) if "!" in text and at < 900]
    assert [row.position for row in merged.cited] == finds
    assert [row.label for row in merged.cited] == [f"review {1000 + at}" for at in finds]
    assert [row.text for row in merged.cited] == list(FRAME["text"].iloc[finds])


def test_a_failed_group_says_that_its_last_question_is_not_known(home: Path) -> None:
    plan = lambda body, _: "400" if "review 123:" in str(body) else None  # noqa: E731
    with MessagesServer(answer=answered, plan=plan) as server:
        found = detail_of(Results(Asker(server, home).run(FRAME, PROMPT, **SMALL)), 0)
    assert found.note == (
        "not all parts of this group are answered: the last question isn't known yet"
    )
    assert "of 900 in the group: " in found.error
    assert (found.prompt, found.cited) == ("", ())


def test_labels_of_groups_are_kept_by_the_groups_columns(
    server: MessagesServer, home: Path
) -> None:
    run = Asker(server, home).run(FRAME, PROMPT, **SMALL)
    assert list(run.labels.columns)[:1] == ["brand"]
    assert list(run.corrected["brand"]) == ["big", "small"]
    scores = run.score("n", labels=pd.Series([900, 61]))
    assert scores.n == 2


@pytest.mark.parametrize(
    ("line", "by"),
    [
        ("out -i df --by brand", "brand"),
        ("out -i df --by brand,year", "brand,year"),
        ("out -i df --by", ""),
        ("out --by -i df", ""),
        ("out -i df --by ''", ""),
        ("out -i df --by=brand --budget 1", "brand"),
    ],
)
def test_the_line_takes_columns_or_none(line: str, by: str) -> None:
    assert parse_line(line, {})["by"] == by
