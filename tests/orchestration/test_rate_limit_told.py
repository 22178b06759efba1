"""A long wait for a rate limit is told once, with its end and its reason, and then taken back."""

from __future__ import annotations

import asyncio
import logging
import time
from pathlib import Path

import pytest

from ondine_nb.notebook.card.card import Card, plain
from ondine_nb.orchestration import RunMetrics
from ondine_nb.providers.local import process
from tests.asking import Asker, seen, texts
from tests.server import MessagesServer


def test_short_waits_are_not_told_and_long_ones_are_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    waits: list[tuple[float, str] | None] = [None, (59.0, "few"), (300.0, "the server allows 5")]
    waits += [(299.5, "the server allows 5"), (3.0, "the server allows 5")]
    metrics = RunMetrics()
    said = []
    with caplog.at_level(logging.WARNING, "ondine_nb"):
        for wait in waits:
            metrics.rate_wait = lambda wait=wait: wait  # type: ignore[misc]
            metrics.tell_rate_limit()
            said.append(metrics.message)
    assert said[:2] == ["", ""]
    assert said[2].startswith("waiting until ")
    assert said[2].endswith(": the server allows 5")
    assert said[3] == said[2]
    metrics.rate_wait = lambda: None
    metrics.tell_rate_limit()
    assert metrics.message == ""
    assert next(record.message for record in caplog.records) == said[2]


def test_another_message_is_not_overwritten() -> None:
    metrics = RunMetrics(message="the budget of $1 is used up")
    metrics.rate_wait = lambda: (300.0, "the server asked to wait")
    metrics.tell_rate_limit()
    assert metrics.message == "the budget of $1 is used up"


async def test_a_run_that_is_told_to_wait_says_so_on_its_card(tmp_path: Path) -> None:
    with MessagesServer(plan=lambda body, attempt: "429", retry_after=600) as server:
        run = Asker(server, tmp_path).pipeline(texts(3)).start()
        await seen(lambda: "waiting until" in run.message)
        assert "retry-after" in run.message
        assert run.message in plain(Card.of(run))
        run.stop()
        over = asyncio.Event()
        run.when_over(lambda _: over.set())
        await over.wait()


@pytest.mark.parametrize("told", ["1e308", "Fri, 31 Dec 9999 23:59:59 GMT", "soon"])
@pytest.mark.parametrize("problem", ["429", "529"])
def test_what_cant_be_meant_is_told_once_on_card_log_and_run_and_holds_nothing(
    tmp_path: Path, told: str, problem: str, caplog: pytest.LogCaptureFixture
) -> None:
    plan = lambda body, attempt: problem if attempt == 1 else None  # noqa: E731
    with MessagesServer(plan=plan, retry_after=told) as server:
        run = Asker(server, tmp_path).run(texts(6))
    assert run.state == "done"
    assert f"its retry-after ({told!r}) can't be meant and is passed over" in run.message
    assert run.message in plain(Card.of(run))
    assert [record.message for record in caplog.records].count(run.message) == 1


async def test_while_the_embedded_model_loads_the_card_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ondine_nb.providers.local import LocalProvider

    begun = asyncio.Event()
    loop = asyncio.get_running_loop()
    go_on = False

    def start(self: process.LocalModel) -> process.LocalModel:
        loop.call_soon_threadsafe(begun.set)
        while not go_on:
            time.sleep(0.01)
        self.url, self.key = server.url, "a key"
        return self

    with MessagesServer() as server:
        monkeypatch.setattr(process, "_shared", None)
        monkeypatch.setattr(process.LocalModel, "start", start)
        asker = Asker(server, tmp_path)
        run = asker.pipeline(texts(3), base_url=None, provider=LocalProvider()).start()
        await begun.wait()
        assert "loading the model" in plain(Card.of(run))
        go_on = True
        await run
        assert run.message == ""
        assert "loading the model" not in plain(Card.of(run))
