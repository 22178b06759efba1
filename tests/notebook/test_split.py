"""What a notebook shows of long texts that are asked in chunks: how many, and what is left."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ondine_nb import Run
from ondine_nb.notebook.arguments import parse_line
from ondine_nb.notebook.card.card import Card, plain
from ondine_nb.notebook.card.dry_run import DryRun, dry_run_text
from ondine_nb.notebook.results.row import detail_of
from ondine_nb.notebook.results.table import Results
from tests.asking import Asker, seen
from tests.server import MessagesServer
from tests.splitting import FACTS, PROMPT, answered, long_text, of_context, rows

TEXT, TOLD = long_text(20_000, 8)
GIVEN: dict[str, Any] = {"schema": FACTS, "evidence": "facts", "split": 300}


@pytest.fixture
def server() -> Iterator[MessagesServer]:
    with MessagesServer(answer=answered) as running:
        yield running


def test_the_card_says_how_many_texts_are_asked_in_how_many_chunks(
    server: MessagesServer, home: Path
) -> None:
    asker = Asker(server, home)
    card = Card.of(asker.run(rows(TEXT, "short"), PROMPT, **GIVEN))
    chunks = server.ledger.requests - 1
    assert f"1 long text in {chunks} chunks · 3 levels" in card.about
    assert f"1 long text in {chunks} chunks · 3 levels" in plain(card)
    assert "long text" not in Card.of(asker.run(rows("short"), PROMPT, **GIVEN)).about


async def test_the_live_card_says_how_many_questions_are_left(home: Path) -> None:
    with MessagesServer(answer=answered, latency=0.05) as server:
        run = Run(Asker(server, home).pipeline(rows(TEXT), PROMPT, concurrency=2, **GIVEN))
        run.start()
        await seen(lambda: run.context.metrics.paid >= 4)
        (left,) = [it for it in Card.of(run, live=True).figures if "questions left" in it.caption]
        assert left.caption == "questions left · 3 levels"
        assert int(left.value) > 0
        await run
        groups = run.context.metrics.groups
        assert groups is not None
        assert groups.left == 0


def test_the_dry_run_shows_chunks_and_rows_that_are_too_long(
    server: MessagesServer, home: Path
) -> None:
    asker = Asker(server, home)

    def shown(**given: Any) -> str:
        pipeline = asker.pipeline(rows(TEXT, "short"), PROMPT, **given)
        estimator = pipeline.estimator()
        estimate = asyncio.run(estimator.estimate())
        return dry_run_text(DryRun.of(pipeline, estimator.tally, estimate))

    assert "rows: 2 (0 from the journal, 0 duplicates, 0 skipped)" in shown(**GIVEN)
    assert "1 row is asked in parts: " in shown(**GIVEN)
    of_context(home, server, 2_000)
    assert "rows: 2 (0 from the journal, 0 duplicates, 0 skipped, 1 too long)" in shown()
    assert "1 row is longer than the 2,000 tokens that 'claude-haiku-5-5' takes" in shown()
    assert server.arrived == 0


def test_a_row_of_the_results_shows_where_its_values_stand_in_the_whole_text(
    server: MessagesServer, home: Path
) -> None:
    results = Results(Asker(server, home).run(rows(TEXT, "short"), PROMPT, **GIVEN))
    found, short = detail_of(results, 0), detail_of(results, 1)
    assert [mark["start"] for mark in found.marks["text"]] == list(map(TEXT.index, TOLD))
    assert found.note.endswith("where it was too long, its chunks were asked, and have theirs")
    assert (short.note, len(short.answers)) == ("", 1)


@pytest.mark.parametrize(("line", "split"), [("--split auto", "auto"), ("--split 400", 400)])
def test_the_line_takes_auto_or_tokens(line: str, split: Any) -> None:
    assert str(parse_line(f"out -i df {line}", {})["split"]) == str(split)
