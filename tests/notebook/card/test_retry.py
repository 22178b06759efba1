"""The card of a retry is the card of the whole frame; the retry is one line of it."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from ondine_nb import Run
from ondine_nb.notebook.card.card import Card, plain, render
from ondine_nb.notebook.results.page import summary_of
from ondine_nb.notebook.results.table import Results
from ondine_nb.notebook.session import Session
from tests.asking import Asker, ended, seen, texts
from tests.server import MessagesServer


class Weather:
    """What the server does: rows whose text ends in 3 are refused as long as it is `bad`."""

    bad = True

    def __call__(self, body: Any, _: int) -> str | None:
        return "refusal" if self.bad and str(body["messages"][0]["content"]).endswith("3") else None


async def _stopped(asker: Asker, rows: int, after: int) -> Run:
    """A run over `rows` that was stopped when so many had an outcome."""
    run = asker.pipeline(texts(rows), concurrency=1).start()
    await seen(lambda: run.context.done_rows >= after)
    run.stop()
    over = asyncio.Event()
    run.when_over(lambda _: over.set())
    await over.wait()
    assert run.state == "stopped"
    return run


@pytest.fixture
def weather() -> Weather:
    return Weather()


async def test_after_a_retry_of_a_stopped_run_all_rows_are_counted_and_it_is_not_done(
    tmp_path: Path, weather: Weather
) -> None:
    with MessagesServer(plan=weather, latency=0.005) as server:
        run = await _stopped(Asker(server, tmp_path), 120, 30)
        first = run.counts
        assert (first.total, first.not_run > 0, first.failed > 0) == (120, True, True)
        weather.bad = False
        retry = run.retry_failed()
        live = Card.of(retry, live=True)
        assert (live.total, live.done) == (120, first.done - first.failed)
        await retry
    card = Card.of(retry)
    assert (card.state, card.total, card.failed) == ("stopped", 120, 0)
    assert card.done == first.done
    assert f"{first.not_run:,} not run" in plain(card)
    asked = f"{first.failed} failed rows asked again: {first.failed} answered, $"
    assert [line for line in card.remarks if line.startswith(asked)]
    assert card.cost == run.cost + retry.cost
    assert f'data-state="stopped" data-done="{first.done}" data-total="120"' in render(card, False)
    assert f"stopped, {first.done} of 120 rows" in repr(retry)
    session = Session()
    session.add(retry)
    assert f"{first.done} of 120 rows" in session.listing()
    rows = {name: list(retry.rows["status"]).count(name) for name in ("answered", "not_run")}
    assert rows == {"answered": first.done, "not_run": first.not_run}


async def test_a_retry_in_which_all_fail_again_leaves_a_run_that_is_done(
    tmp_path: Path, weather: Weather
) -> None:
    with MessagesServer(plan=weather) as server:
        run = Asker(server, tmp_path).pipeline(texts(30)).start()
        await run
        retry = run.retry_failed()
        await retry
    card = Card.of(retry)
    assert (retry.state, card.done, card.failed) == ("done", 30, 3)
    assert card.failures == "refusal 3"


async def test_failures_that_a_retry_does_not_ask_again_stay_on_its_card(
    tmp_path: Path, weather: Weather
) -> None:
    with MessagesServer(plan=weather) as server:
        run = Asker(server, tmp_path).pipeline(texts(30)).start()
        await run
        weather.bad = False
        retry = run.retry_failed(rows=[3])
        await retry
        card = Card.of(retry)
        assert (card.done, card.failed, card.failures) == (30, 2, "refusal 2")
        assert card.can_retry
        last = retry.retry_failed()
        await last
    assert (Card.of(last).failed, Card.of(last).failures) == (0, "")
    assert Card.of(last).cost == run.cost + retry.cost + last.cost


async def test_rows_of_a_retry_that_was_stopped_before_they_were_sent_have_failed_as_before(
    tmp_path: Path, weather: Weather
) -> None:
    data = pd.DataFrame({"text": [f"text {at}3" for at in range(40)] + ["fine"]})
    with MessagesServer(plan=weather) as server:
        run = Asker(server, tmp_path).pipeline(data).start()
        await run
        weather.bad = False
        server.pause()
        retry = run.retry_failed()
        retry.stop()
        over = asyncio.Event()
        retry.when_over(lambda _: over.set())
        server.resume()
        await over.wait()
        sent = retry.context.done_rows
        assert (retry.state, retry.counts.failed, len(retry.errors)) == (
            "stopped",
            40 - sent,
            40 - sent,
        )
        assert sum(retry.context.metrics.failures.values()) == 40 - sent
        last = retry.retry_failed()
        await last
    assert last.frame["response"].notna().all()


def test_the_card_and_the_results_view_tell_the_same_latencies(tmp_path: Path) -> None:
    with MessagesServer(latency=(0.001, 0.05)) as server:
        run = Run(Asker(server, tmp_path).pipeline(texts(700)))
        asyncio.run(ended(run))
    (shown,) = [it for it in summary_of(Results(run)).speed if "p95" in it]
    (figure,) = [it for it in Card.of(run).summary if "p95" in it.caption]
    assert f"{figure.value} {figure.caption}" == shown
