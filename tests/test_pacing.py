"""How fast and how many at once."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pandas as pd
import pytest

from ondine_nb.pacing import Growth, Pacer
from ondine_nb.pipeline import Pipeline
from tests.server import MessagesServer


def answer(growth: Growth, latency: float, times: int, *, waiting: bool = True) -> None:
    for _ in range(times):
        growth.answered(latency, waiting=waiting)


def headers(kind: str, limit: int, remaining: int) -> dict[str, str]:
    return {
        f"anthropic-ratelimit-{kind}-limit": str(limit),
        f"anthropic-ratelimit-{kind}-remaining": str(remaining),
    }


class Clock:
    """A clock that sleeps move on."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("ondine_nb.pacing.asyncio.sleep", clock.sleep)
    return clock


def test_the_limit_doubles_each_round_while_latency_holds() -> None:
    growth = Growth(start=8, most=100)
    sizes = []
    for _ in range(5):
        answer(growth, 1.0, growth.limit)
        sizes.append(growth.limit)
    assert sizes == [16, 32, 64, 100, 100]


def test_slower_answers_hold_the_limit() -> None:
    growth = Growth(start=8)
    answer(growth, 1.0, 8)
    answer(growth, 2.5, 16)
    assert (growth.limit, growth.note) == (16, "held by latency")


def test_nothing_grows_when_nobody_waits() -> None:
    growth = Growth(start=8)
    answer(growth, 1.0, 80, waiting=False)
    assert growth.limit == 8


def test_a_burst_of_push_backs_halves_once_and_growth_is_slow_from_then() -> None:
    growth = Growth(start=64)
    for _ in range(30):
        growth.pushed_back()
    assert (growth.limit, growth.note) == (32, "rate limited")
    answer(growth, 1.0, 32)
    assert growth.limit == 35
    for _ in range(10):
        answer(growth, 1.0, 100)
        growth.pushed_back()
    assert growth.limit >= 1


async def test_without_headers_nobody_waits(clock: Clock) -> None:
    pacer = Pacer(clock)
    for _ in range(1_000):
        await pacer.turn(10, 10)
    assert clock.now == 100.0
    assert not pacer.limited


async def test_requests_are_spaced_by_the_limit_once_what_is_left_is_used(clock: Clock) -> None:
    pacer = Pacer(clock)
    pacer.learn(headers("requests", 600, 5))
    for _ in range(105):
        await pacer.turn()
    assert clock.now == pytest.approx(110.0, abs=0.11)


async def test_tokens_are_paced_too_and_one_above_the_limit_goes_at_last(clock: Clock) -> None:
    pacer = Pacer(clock)
    pacer.learn(headers("input-tokens", 6_000, 6_000))
    await pacer.turn(6_000)
    await pacer.turn(3_000)
    assert clock.now == pytest.approx(130.0, abs=0.1)
    await pacer.turn(60_000)
    assert clock.now == pytest.approx(190.0, abs=0.1)


async def test_an_old_answer_gives_nothing_back(clock: Clock) -> None:
    pacer = Pacer(clock)
    pacer.learn(headers("requests", 60, 2))
    await pacer.turn()
    await pacer.turn()
    pacer.learn(headers("requests", 60, 50))
    assert pacer.limited


async def test_a_retry_after_holds_everybody(clock: Clock) -> None:
    pacer = Pacer(clock)
    pacer.pause(7)
    await asyncio.gather(pacer.turn(), pacer.turn())
    assert clock.now == pytest.approx(107.0)


@pytest.mark.parametrize(
    "odd",
    [headers("requests", 0, 0), {"anthropic-ratelimit-requests-limit": "many"}, {}],
)
async def test_headers_that_say_nothing_are_passed_over(clock: Clock, odd: dict[str, str]) -> None:
    pacer = Pacer(clock)
    pacer.learn(odd)
    await pacer.turn()
    assert clock.now == 100.0


def test_a_run_stays_under_a_known_limit(tmp_path: Path) -> None:
    """In steady state it draws next to no 429, and no row fails."""
    frame = pd.DataFrame({"text": [f"row {i}" for i in range(240)]})
    with MessagesServer(limits={"requests": 2_400}, burst=20, latency=0.02) as server:
        pipeline = Pipeline(frame, "Say {text}", base_url=server.url, journal=tmp_path)
        result = pipeline.execute()
    assert result.metrics.processed_rows == 240
    refused = server.arrived - server.ledger.requests
    assert refused <= 0.02 * server.arrived
