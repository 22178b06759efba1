"""A server that is away for a while: the run waits for it, and every row ends with its answer."""

from __future__ import annotations

import asyncio
import time
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from ondine_nb import Run
from ondine_nb.errors import FatalProviderError
from ondine_nb.journal import files as journal_files
from ondine_nb.sending import limits
from ondine_nb.sending.retry import Backoff
from tests.asking import Asker, echoes, seen, statuses, texts
from tests.server import MessagesServer

KINDS = ("500", "529", "reset_before", "hang")


class Weather:
    """Everything fails by `fault` after the `first` requests, until it is `clear`."""

    def __init__(self, fault: str, *, first: int = 0) -> None:
        self.fault, self.first = fault, first
        self.count = 0
        self.clear = False

    def __call__(self, _body: Any, _attempt: int) -> str | None:
        self.count += 1
        return self.fault if self.count > self.first and not self.clear else None


def patience(monkeypatch: pytest.MonkeyPatch, **given: float) -> None:
    monkeypatch.setattr(limits, "Backoff", partial(Backoff, **given))


async def lasts(run: Run, weather: Weather) -> None:
    """An outage that is one: of which the run pauses, to no avail; or at the start, all in vain."""
    if weather.first:
        await seen(lambda: run.state == "paused")
    failed, more = weather.count, 2 if weather.first else 24  # at the start go at most 8 at once
    await seen(lambda: weather.count >= failed + more)
    weather.clear = True


async def test_an_outage_in_mid_run_ends_with_every_row_answered(tmp_path: Path) -> None:
    weather = Weather("500", first=150)
    with MessagesServer(plan=weather, latency=0.01) as server:
        run = Asker(server, tmp_path).pipeline(texts(400), concurrency=50).start()
        await lasts(run, weather)
        await run
    assert run.state == "done"
    assert list(run.frame["response"]) == echoes(texts(400))
    assert server.arrived < 400 + 300


@pytest.mark.parametrize("fault", KINDS)
@pytest.mark.parametrize("first", [0, 150], ids=["at the start", "in mid-run"])
async def test_whatever_fails_in_an_outage_every_row_is_answered_after_it(
    tmp_path: Path, fault: str, first: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rows of the outage use up no attempts, so that none is left without an answer."""
    patience(monkeypatch, base=0.15)
    # What hangs must be told from what is slow, on a busy machine too.
    given = {"timeout": 5, "concurrency": 16} if fault == "hang" else {"concurrency": 50}
    weather = Weather(fault, first=first)
    with MessagesServer(plan=weather, latency=0.01) as server:
        run = Asker(server, tmp_path).pipeline(texts(400), **given).start()
        await lasts(run, weather)
        await run
    assert run.state == "done"
    assert list(run.frame["response"]) == echoes(texts(400))
    assert server.arrived < 400 + 300


async def test_a_server_that_is_restarted_is_waited_for(tmp_path: Path) -> None:
    """Nothing listens meanwhile: the connection is refused."""
    server = MessagesServer(latency=0.02).start()
    run = Asker(server, tmp_path).pipeline(texts(300), concurrency=40).start()
    await seen(lambda: run.context.done_rows > 60)
    await asyncio.to_thread(server.stop)
    await seen(lambda: run.state == "paused")
    assert "paused: the server answers nothing (connection lost)" in run.context.metrics.message
    server.start()
    result = await run
    server.stop()
    assert list(result.data["response"]) == echoes(texts(300))


async def until_paused(asker: Asker, rows: int = 200) -> Run:
    run: Run = asker.pipeline(texts(rows), concurrency=20).start()
    await seen(lambda: run.state == "paused")
    return run


async def test_resume_tries_at_once_instead_of_waiting_for_the_next_probe(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    patience(monkeypatch, base=15)  # the first probe by itself is due after 30 s
    weather = Weather("529", first=50)
    with MessagesServer(plan=weather) as server:
        run = await until_paused(Asker(server, tmp_path))
        await seen(lambda: run.context.metrics.in_flight == 0)
        arrived = server.arrived
        await asyncio.sleep(0.3)
        assert server.arrived == arrived
        run.resume()
        await seen(lambda: server.arrived == arrived + 1)
        await seen(lambda: run.context.metrics.in_flight == 0)
        assert run.state == "paused"
        weather.clear = True
        run.resume()
        await run
    assert statuses(run) == ["answered"] * 200
    assert (run.state, run.context.metrics.message) == ("done", "")


async def test_a_slow_disk_makes_no_row_guilty_of_an_outage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was answered before it is durable only in its midst, and nobody succeeded meanwhile."""
    commit = journal_files.Files.commit

    def slowly(files: journal_files.Files) -> None:
        time.sleep(0.1)
        commit(files)

    monkeypatch.setattr(journal_files.Files, "commit", slowly)
    patience(monkeypatch, base=0.05)
    weather = Weather("500", first=50)
    with MessagesServer(plan=weather) as server:
        run = await until_paused(Asker(server, tmp_path))
        weather.clear = True
        run.resume()
        await run
    assert statuses(run) == ["answered"] * 200


async def test_a_run_paused_by_an_outage_can_be_paused_and_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    patience(monkeypatch, base=0.2)
    with MessagesServer(plan=Weather("500", first=50)) as server:
        run = await until_paused(Asker(server, tmp_path))
        run.pause()
        await asyncio.sleep(0.5)  # a probe may be on its way, and not in flight yet
        await seen(lambda: run.context.metrics.in_flight == 0)
        arrived = server.arrived
        await asyncio.sleep(0.5)
        assert (server.arrived, run.state) == (arrived, "paused")
        run.stop()
        await run
        await seen(lambda: run.state == "stopped")
        assert (run.state, run.error) == ("stopped", None)
        assert set(statuses(run)) == {"answered", "not_run"}, run.errors.to_dict("records")


def test_an_outage_that_never_ends_fails_the_rows_in_hand_and_ends_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    patience(monkeypatch, base=0.05, patience=3.0)
    with MessagesServer(plan=Weather("529", first=100)) as server:
        run = Asker(server, tmp_path).run(texts(400), concurrency=20)
        billed = server.ledger.requests
    assert isinstance(run.error, FatalProviderError)
    assert "20 rows in a row failed" in str(run.error)
    assert "overloaded (529" in str(run.error)
    assert "what is answered is not paid again" in str(run.error)
    counts = {status: statuses(run).count(status) for status in set(statuses(run))}
    assert counts["answered"] == billed
    assert 20 <= counts["failed"] <= 20 + 20
    assert counts["not_run"] == 400 - billed - counts["failed"]
    assert set(run.errors["error_type"]) == {"OverloadedError"}


def test_a_server_that_never_answered_at_all_ends_the_run_after_20_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    patience(monkeypatch, base=0.005)
    with MessagesServer(faults={"500": 1}) as server:
        run = Asker(server, tmp_path).run(texts(100), concurrency=50)
    assert isinstance(run.error, FatalProviderError)
    assert "20 rows in a row failed, without a single request succeeding" in str(run.error)
    assert statuses(run).count("failed") == 19
    assert server.peak_in_flight <= 8


def test_bad_rows_among_good_ones_are_no_outage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Thirty rows always fail, and are all that is left at the end: each by its own attempts."""
    patience(monkeypatch, base=0.01)
    bad = {f"Tell: text {at}" for at in range(0, 300, 10)}

    def plan(body: Any, _attempt: int) -> str | None:
        return "500" if body["messages"][0]["content"] in bad else None

    with MessagesServer(plan=plan, latency=(0, 0.02)) as server:
        run = Asker(server, tmp_path).run(texts(300), concurrency=50)
    assert (run.state, run.error) == ("done", None)
    assert statuses(run).count("failed") == 30
    assert set(run.errors["attempts"]) == {Backoff().attempts}
