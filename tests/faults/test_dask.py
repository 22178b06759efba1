"""Dask's workers send: one is killed, the budget and the rate limit are kept, Stop reaches them."""

from __future__ import annotations

import asyncio
from collections import Counter
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from distributed import LocalCluster

import ondine_nb.errors
from ondine_nb import Run
from ondine_nb.errors import RowError
from ondine_nb.orchestration import DaskExecutor
from ondine_nb.providers.dask.pool import WorkerPool
from ondine_nb.sending import limits
from ondine_nb.sending.retry import Backoff
from tests.asking import HAIKU, Asker, echoes, ended, journaled, seen, statuses, texts
from tests.dask_cluster import both_there, kill
from tests.faults.test_faults import WEATHER
from tests.server import MessagesServer

ROWS, WIDTH = 60, 10


@pytest.fixture
def cluster(two_dask_workers: LocalCluster, monkeypatch: pytest.MonkeyPatch) -> LocalCluster:
    monkeypatch.setattr(limits, "Backoff", partial(Backoff, base=0.02))
    both_there(two_dask_workers)
    return two_dask_workers


def fleet_of(run: Run) -> WorkerPool:
    provider: Any = run.plan.asker.endpoints[0].provider
    assert isinstance(provider.pool, WorkerPool)
    return provider.pool


def in_flight(run: Run) -> dict[str, int]:
    """How many requests each worker has been handed and hasn't answered."""
    return {address: len(post.handed) for address, post in fleet_of(run)._known.items()}


def test_rows_in_bad_weather_with_a_worker_killed_in_mid_run(
    tmp_path: Path, cluster: LocalCluster
) -> None:
    """Each row is right, and paid again is at most what was in flight on that worker."""
    data = texts(1_500).sample(frac=1, random_state=7)
    handed: dict[str, int] = {}

    async def work() -> Run:
        run = Run(asker.pipeline(data, executor=DaskExecutor(cluster), timeout=15, concurrency=100))
        going = asyncio.create_task(ended(run))
        await seen(lambda: server.ledger.requests >= 500)
        handed.update(in_flight(run))
        kill(cluster, max(handed, key=lambda address: handed[address]))
        await going
        return run

    with MessagesServer(faults=WEATHER, latency=(0, 0.05), retry_after=0.05) as server:
        asker = Asker(server, tmp_path)
        run = asyncio.run(work())
        delivered = Counter(entry.prompt for entry in server.ledger.entries if entry.delivered)
        billed = server.ledger.cost(*HAIKU)
    assert (run.state, run.error) == ("done", None)
    assert len(handed) == 2
    kinds = [getattr(ondine_nb.errors, kind) for kind in run.errors["error_type"]]
    assert all(issubclass(kind, RowError) for kind in kinds)
    answered = [status == "answered" for status in statuses(run)]
    assert sum(answered) + len(kinds) == len(data)
    assert len(kinds) < 30
    got = list(run.frame["response"])
    assert list(run.frame.index) == list(data.index)
    assert all(
        text == right if there else text != text
        for text, right, there in zip(got, echoes(data), answered, strict=True)
    )
    assert sum(delivered.values()) - len(delivered) <= max(handed.values())
    assert run.cost is not None
    assert run.cost <= billed <= run.cost + run.context.metrics.possibly_billed


async def test_what_a_lost_worker_had_goes_again_to_the_other_and_the_rest_is_paid_once(
    tmp_path: Path, cluster: LocalCluster
) -> None:
    with MessagesServer() as server:
        asker = Asker(server, tmp_path)
        server.pause()
        run = asker.pipeline(texts(ROWS), executor=DaskExecutor(cluster), concurrency=WIDTH).start()
        await seen(lambda: server.arrived >= 8)
        handed = in_flight(run)
        assert sorted(handed.values()) == [4, 4]
        kill(cluster, next(iter(handed)))
        await seen(lambda: server.arrived >= 12)
        server.resume()
        await run
        paid = server.ledger.by_prompt()
    assert list(run.frame["response"]) == echoes(texts(ROWS))
    assert run.context.metrics.retries == 4
    assert run.context.metrics.possibly_billed > 0
    assert sum(paid.values()) - ROWS <= 4
    assert run.state == "done"


def test_a_run_that_would_cost_3_dollars_ends_within_its_1_dollar(
    tmp_path: Path, cluster: LocalCluster
) -> None:
    """By the server's own books, with answers that were billed and lost; each is a long one."""

    def usage(_body: Any, _text: str) -> dict[str, int]:
        return {"input_tokens": 150, "output_tokens": 8_000}

    faults = {"reset_after": 0.01}
    with MessagesServer(usage=usage, faults=faults, latency=(0, 0.05)) as server:
        run = Asker(server, tmp_path).run(
            texts(750), budget=1, max_tokens=8_000, executor=DaskExecutor(cluster)
        )
        billed, possibly = server.ledger.cost(*HAIKU), run.context.metrics.possibly_billed
    assert billed <= 1
    assert billed + possibly >= Decimal("0.90")
    assert run.cost is not None
    assert run.cost <= billed <= run.cost + possibly <= 1
    assert run.state == "stopped"
    assert run.context.metrics.message.startswith("out of budget")


def test_600_requests_a_minute_are_kept_over_both_workers(
    tmp_path: Path, cluster: LocalCluster
) -> None:
    """A hundred at once, and then ten a second: how near to it is judged in tests/simulation."""
    limits = {"requests": 600}
    with MessagesServer(limits=limits, burst=100, latency=0.1) as server:
        run = Asker(server, tmp_path).run(texts(200), executor=DaskExecutor(cluster))
        arrivals = server.requests
    assert list(run.frame["response"]) == echoes(texts(200))
    assert len(arrivals) - 200 < 0.02 * len(arrivals)
    assert len({arrival.headers.get("user-agent") for arrival in arrivals}) == 1


async def held(asker: Asker, cluster: LocalCluster) -> Run:
    """A run with requests in flight on both workers, which the server holds."""
    asker.server.pause()
    run = asker.pipeline(texts(ROWS), executor=DaskExecutor(cluster), concurrency=8).start()
    await seen(lambda: asker.server.arrived >= 8)
    return run


async def test_after_a_stop_nothing_new_is_sent_and_what_is_in_flight_is_journaled(
    tmp_path: Path, cluster: LocalCluster
) -> None:
    with MessagesServer() as server:
        asker = Asker(server, tmp_path)
        run = await held(asker, cluster)
        run.stop()
        await run
        assert run.state == "stopping"
        server.resume()
        await seen(lambda: run._over)
        assert server.arrived == 8
        assert statuses(run).count("answered") == 8
        again = asker.pipeline(texts(ROWS), executor=DaskExecutor(cluster)).start()
        await again
        assert journaled(again) == 8
        assert server.arrived == ROWS
    assert list(again.frame["response"]) == echoes(texts(ROWS))


async def test_a_second_stop_reaches_the_workers(tmp_path: Path, cluster: LocalCluster) -> None:
    """The connections are closed, and what the server would have billed is shown as possible.

    By the stop: a request that hangs would be given up after ten minutes, beyond all patience.
    """
    with MessagesServer(plan=lambda _body, _attempt: "hang") as server:
        asker = Asker(server, tmp_path)
        run = asker.pipeline(texts(ROWS), executor=DaskExecutor(cluster), concurrency=8).start()
        await seen(lambda: server.arrived >= 8)
        run.stop()
        await run
        assert server.in_flight == 8
        run.stop()
        await seen(lambda: server.in_flight == 0)
        await seen(lambda: run._over)
        await asyncio.sleep(0.3)
        assert server.arrived == 8
    assert set(statuses(run)) == {"not_run"}
    assert run.context.metrics.possibly_billed > 0
