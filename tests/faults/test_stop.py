"""Stopping: nothing more is sent, what is in flight is journaled, the next run pays the rest."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from ondine_nb import Run
from ondine_nb.errors import RunError
from ondine_nb.orchestration import ExecutionContext, LoggingObserver, Row, RowStage
from tests.asking import HAIKU, Asker, echoes, journaled, seen, statuses, texts
from tests.patience import PATIENCE
from tests.server import MessagesServer

ROWS, WIDTH = 100, 5


@pytest.fixture
def asker(tmp_path: Path) -> Iterator[Asker]:
    with MessagesServer() as server:
        yield Asker(server, tmp_path)


async def held(asker: Asker, **options: Any) -> Run:
    """A run with `WIDTH` requests in flight that the server holds."""
    asker.server.pause()
    run = asker.pipeline(texts(ROWS), concurrency=WIDTH, **options).start()
    await seen(lambda: asker.server.arrived >= WIDTH)
    return run


async def over(run: Run) -> None:
    await seen(lambda: run._over)


def paid_once(asker: Asker) -> bool:
    return set(asker.server.ledger.by_prompt().values()) == {1}


async def test_stop_returns_while_requests_are_in_flight_and_journals_them(asker: Asker) -> None:
    run = await held(asker)
    run.stop()
    result = await run
    assert run.state == "stopping"
    assert run.frame["response"].isna().all()
    assert not result.success
    asker.server.resume()
    await over(run)
    assert run.state == "stopped"
    assert asker.server.arrived == WIDTH
    assert statuses(run) == ["answered"] * WIDTH + ["not_run"] * (ROWS - WIDTH)
    assert list(run.frame["response"][:WIDTH]) == echoes(texts(WIDTH))
    assert run.frame["response"][WIDTH:].isna().all()
    assert run.cost == asker.server.ledger.cost(*HAIKU) == result.costs.total_cost
    assert result.metrics.processed_rows == WIDTH
    assert not result.is_complete
    again = asker.pipeline(texts(ROWS)).start()
    await again
    assert journaled(again) == WIDTH
    assert asker.server.arrived == ROWS
    assert list(again.frame["response"]) == echoes(texts(ROWS))


async def test_a_run_started_while_another_is_stopping_waits_for_what_is_in_flight(
    asker: Asker,
) -> None:
    """Stop, then run the cell again at once: the requests in flight are not paid twice."""
    run = await held(asker)
    run.stop()
    await run
    again = asker.pipeline(texts(ROWS), concurrency=WIDTH).start()
    await seen(lambda: again.context.total_rows == ROWS)
    await asyncio.sleep(0.1)
    assert asker.server.arrived == WIDTH
    asker.server.resume()
    await again
    assert paid_once(asker)
    assert list(again.frame["response"]) == echoes(texts(ROWS))
    assert (journaled(again), run.state) == (WIDTH, "stopped")


async def test_a_second_stop_cancels_what_is_in_flight(asker: Asker) -> None:
    run = await held(asker)
    run.stop()
    await run
    run.stop()
    await over(run)
    assert run.state == "stopped"
    assert set(statuses(run)) == {"not_run"}
    assert run.context.metrics.in_flight == 0
    assert run.context.metrics.possibly_billed > 0
    assert run.cost == 0


async def test_a_stop_after_a_run_has_ended_itself_is_no_second_stop(asker: Asker) -> None:
    """It was meant to let what is in flight end, and that is what happens anyway."""
    run = await held(asker)
    run.context.control.stop("budget")
    await run
    run.stop()
    assert not run.context.control.cancelled
    asker.server.resume()
    await over(run)
    assert statuses(run).count("answered") == WIDTH
    assert paid_once(asker)


async def test_failed_rows_are_not_asked_again_while_the_run_is_still_going(asker: Asker) -> None:
    run = await held(asker)
    with pytest.raises(RunError, match="still going"):
        run.retry_failed()
    run.stop()
    run.stop()
    await over(run)


async def test_a_cancelled_wait_sends_nothing_more(asker: Asker) -> None:
    """As by `asyncio.timeout` around `execute_async`: what is in flight goes on to the journal."""
    asker.server.pause()
    pipeline = asker.pipeline(texts(ROWS), concurrency=WIDTH)
    task = asyncio.create_task(pipeline.execute_async())
    await seen(lambda: asker.server.arrived >= WIDTH)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    asker.server.resume()
    await asyncio.to_thread(asker.server.wait_idle)
    again = await asker.pipeline(texts(ROWS)).execute_async()
    assert asker.server.arrived == ROWS
    assert paid_once(asker)
    assert list(again.data["response"]) == echoes(texts(ROWS))


async def test_a_paused_run_sends_nothing_until_it_is_resumed(asker: Asker) -> None:
    """And holds no other run up that asks the same; what that one paid for it has for nothing."""
    run = await held(asker)
    run.pause()
    assert run.state == "paused"
    asker.server.resume()
    await seen(lambda: run.context.done_rows == WIDTH)
    assert asker.server.arrived == WIDTH
    other = asker.pipeline(texts(ROWS)).start()
    await other
    assert asker.server.arrived == ROWS
    run.resume()
    await run
    assert asker.server.arrived == ROWS
    assert run.state == "done"
    assert (journaled(run), journaled(other)) == (ROWS - WIDTH, WIDTH)
    assert list(run.frame["response"]) == echoes(texts(ROWS))


async def test_a_paused_run_can_be_stopped(asker: Asker) -> None:
    run = await held(asker)
    run.pause()
    run.stop()
    await run
    asker.server.resume()
    await over(run)
    assert (run.state, asker.server.arrived) == ("stopped", WIDTH)


async def test_a_cancelled_run_journals_what_is_in_flight(asker: Asker) -> None:
    run = await held(asker)
    assert run._task is not None
    run._task.cancel()
    with pytest.raises(RunError, match="cancelled"):
        await run
    asker.server.resume()
    await over(run)
    assert statuses(run).count("answered") == WIDTH
    assert journaled_again(asker) == WIDTH


def journaled_again(asker: Asker) -> int:
    """How many rows a later run has for nothing; it pays for the others."""
    with ThreadPoolExecutor(1) as pool:
        again = pool.submit(asker.run, texts(ROWS)).result()
    assert paid_once(asker)
    assert list(again.frame["response"]) == echoes(texts(ROWS))
    return journaled(again)


async def test_a_loop_that_ends_takes_nothing_paid_along(asker: Asker) -> None:
    """`asyncio.run` cancels what is under way at its end: answers that came are journaled."""

    async def leave() -> None:
        asker.pipeline(texts(ROWS), concurrency=WIDTH).start()
        await seen(lambda: asker.server.ledger.requests >= 20)

    await asyncio.to_thread(asyncio.run, leave())
    await asyncio.to_thread(asker.server.wait_idle)
    with ThreadPoolExecutor(1) as pool:
        again = pool.submit(asker.run, texts(ROWS)).result()
    assert list(again.frame["response"]) == echoes(texts(ROWS))
    twice = sum(count - 1 for count in asker.server.ledger.by_prompt().values())
    assert twice <= WIDTH


def test_execute_waits_for_what_is_in_flight(asker: Asker) -> None:
    """A script that is stopped from another thread has what it paid for in its result."""
    asker.server.pause()
    run = Run(asker.pipeline(texts(ROWS), concurrency=WIDTH))
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(run.execute)
        asker.server.wait_for(WIDTH)
        run.stop()
        asyncio.run(seen(lambda: run.state == "stopping"))
        assert not running.done()
        asker.server.resume()
        result = running.result(PATIENCE)
    assert run.state == "stopped"
    assert list(result.data["response"][:WIDTH]) == echoes(texts(WIDTH))
    assert result.costs.total_cost == asker.server.ledger.cost(*HAIKU)
    assert result.metrics.processed_rows == asker.server.arrived == WIDTH


def test_an_observer_may_stop_the_run(asker: Asker) -> None:
    class Enough(LoggingObserver):
        def on_stage_start(self, stage: Any, context: ExecutionContext) -> None:
            if stage.name == "invoke":
                context.control.stop("enough")

    run = asker.run(texts(ROWS), observers=[Enough()])
    assert (run.state, asker.server.arrived) == ("stopped", 0)
    assert set(statuses(run)) == {"not_run"}


async def test_a_run_stopped_before_it_starts_sends_nothing(asker: Asker) -> None:
    run = Run(asker.pipeline(texts(3)))
    run.stop()
    result = await run
    assert (run.state, asker.server.arrived) == ("stopped", 0)
    assert result.data["response"].isna().all()


async def test_a_stop_does_not_wait_for_a_retry(tmp_path: Path) -> None:
    """A row that waits to be sent again is not in flight."""
    with MessagesServer(faults={"429": 1}, retry_after=3_000) as server:
        run = Asker(server, tmp_path).pipeline(texts(20)).start()
        await seen(lambda: run.context.metrics.retries >= 8)
        run.stop()
        await over(run)
    assert run.state == "stopped"
    assert set(statuses(run)) == {"not_run"}
    assert run.context.metrics.possibly_billed == 0


async def test_a_stop_asks_nothing_again_for_a_broken_schema(tmp_path: Path) -> None:
    """The paid answer that broke it is not paid again by the next run."""
    with MessagesServer(plan=lambda _, attempt: "bad_schema" if attempt < 3 else None) as server:
        server.pause()
        asker = Asker(server, tmp_path)
        run = asker.pipeline(texts(1), schema="n: int").start()
        await seen(lambda: server.arrived == 1)
        run.stop()
        await run
        server.resume()
        await over(run)
        assert (statuses(run), server.arrived) == (["not_run"], 1)
        assert run.cost == server.ledger.cost(*HAIKU)
        again = asker.pipeline(texts(1), schema="n: int").start()
        await again
    assert (statuses(again), server.arrived) == (["answered"], 3)


async def test_a_stop_in_a_stage_of_the_users_pays_for_nothing_twice(asker: Asker) -> None:
    class Slow(RowStage):
        async def process_row(self, row: Row, context: ExecutionContext) -> None:
            await asyncio.sleep(60)

    run = asker.pipeline(texts(3), stages=[Slow("slow")]).start()
    await seen(lambda: asker.server.ledger.requests == 3)
    await asyncio.to_thread(asker.server.wait_idle)
    await seen(lambda: run.context.metrics.in_flight == 0)
    run.stop()
    await over(run)
    assert set(statuses(run)) == {"not_run"}
    assert (await asker.pipeline(texts(3)).execute_async()).costs.total_cost == 0


@pytest.mark.parametrize("width", [1, 20])
def test_on_error_stop_ends_the_run_at_the_first_failure(tmp_path: Path, width: int) -> None:
    def plan(body: Any, _attempt: int) -> str | None:
        return "refusal" if body["messages"][0]["content"] == "Tell: text 30" else None

    with MessagesServer(plan=plan, latency=(0, 0.01)) as server:
        asker = Asker(server, tmp_path)
        run = asker.run(texts(150), on_error="stop", concurrency=width)
        assert run.state == "failed"
        assert isinstance(run.error, RunError)
        assert str(run.error).startswith(
            "row 30 failed and --on-error is 'stop': the model refused"
        )
        assert list(run.errors["row"]) == [30]
        assert server.arrived < 100
        assert statuses(run).count("answered") == server.arrived - 1
        assert run.cost == server.ledger.cost(*HAIKU)
        kept = asker.run(texts(150), concurrency=width)
    assert server.arrived == 150
    assert paid_once(asker)
    assert kept.stats.failed_rows == 1
