"""How fast and how many at once."""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest

from ondine_nb.pipeline.pipeline import Pipeline
from ondine_nb.sending.concurrency import AdaptiveConcurrency
from ondine_nb.sending.rate_limit import RateLimiter, Turn
from tests.server import MessagesServer


def answer(
    growth: AdaptiveConcurrency, latency: float, times: int, *, waiting: bool = True
) -> None:
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
    # Not in asyncio itself: loops of other threads, as Dask's, sleep too, and would move it on.
    patched = SimpleNamespace(**{**vars(asyncio), "sleep": clock.sleep})
    monkeypatch.setattr("ondine_nb.sending.rate_limit.asyncio", patched)
    return clock


def test_the_limit_doubles_each_round_while_latency_holds() -> None:
    growth = AdaptiveConcurrency(start=8, most=100)
    sizes = []
    for _ in range(5):
        answer(growth, 1.0, growth.limit)
        sizes.append(growth.limit)
    assert sizes == [16, 32, 64, 100, 100]


def test_slower_answers_hold_the_limit() -> None:
    growth = AdaptiveConcurrency(start=8)
    answer(growth, 1.0, 8)
    answer(growth, 2.5, 16)
    assert (growth.limit, growth.note) == (16, "held by latency")


def test_nothing_grows_when_nobody_waits() -> None:
    growth = AdaptiveConcurrency(start=8)
    answer(growth, 1.0, 80, waiting=False)
    assert growth.limit == 8


def test_a_burst_of_push_backs_halves_once_and_growth_is_slow_from_then() -> None:
    growth = AdaptiveConcurrency(start=64)
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
    pacer = RateLimiter(clock)
    for _ in range(1_000):
        await pacer.turn(10, 10)
    assert clock.now == 100.0
    assert not pacer.limited


async def test_requests_are_spaced_by_the_limit_once_what_is_left_is_used(clock: Clock) -> None:
    pacer = RateLimiter(clock)
    pacer.learn(headers("requests", 600, 5))
    for _ in range(105):
        await pacer.turn()
    assert clock.now == pytest.approx(110.0, abs=0.11)


async def test_tokens_are_paced_too_and_one_above_the_limit_goes_at_last(clock: Clock) -> None:
    pacer = RateLimiter(clock)
    pacer.learn(headers("input-tokens", 6_000, 6_000))
    await pacer.turn(6_000)
    await pacer.turn(3_000)
    assert clock.now == pytest.approx(130.0, abs=0.1)
    await pacer.turn(60_000)
    assert clock.now == pytest.approx(190.0, abs=0.1)


async def test_an_old_answer_gives_nothing_back(clock: Clock) -> None:
    pacer = RateLimiter(clock)
    pacer.learn(headers("requests", 60, 2))
    await pacer.turn()
    await pacer.turn()
    pacer.learn(headers("requests", 60, 50))
    assert pacer.limited


async def test_a_retry_after_holds_everybody(clock: Clock) -> None:
    pacer = RateLimiter(clock)
    pacer.pause(7)
    await asyncio.gather(pacer.turn(), pacer.turn())
    assert clock.now == pytest.approx(107.0)


@pytest.mark.parametrize(
    "odd",
    [headers("requests", 0, 0), {"anthropic-ratelimit-requests-limit": "many"}, {}],
)
async def test_headers_that_say_nothing_are_passed_over(clock: Clock, odd: dict[str, str]) -> None:
    pacer = RateLimiter(clock)
    pacer.learn(odd)
    await pacer.turn()
    assert clock.now == 100.0


class Bucket:
    """A server's token bucket on the test's clock; it refuses and tells nothing."""

    def __init__(self, clock: Clock, rate: float, burst: float) -> None:
        self.clock, self.rate, self.burst, self.level, self.at = clock, rate, burst, burst, clock()

    def takes(self) -> bool:
        now = self.clock()
        self.level = min(self.burst, self.level + (now - self.at) * self.rate)
        self.at = now
        taken = self.level >= 1
        self.level -= taken
        return taken


async def through(
    pacer: RateLimiter,
    clock: Clock,
    takes: Callable[[], bool],
    n: int,
    *,
    retry_after: float = 0.0,
    late: int = 0,
) -> int:
    """Ask until `n` requests got through, 5 ms apart at least; how often one was refused.

    A refusal says `retry_after`, and comes when `late` more have been sent.
    """
    refused = 0
    in_flight: deque[tuple[Turn, bool]] = deque()
    while n:
        in_flight.append((await pacer.turn(), takes()))
        clock.now += 0.005
        if len(in_flight) <= late:
            continue
        turn, taken = in_flight.popleft()
        if taken:
            n -= 1
            continue
        refused += 1
        pacer.refused(turn, {})
        pacer.pause(retry_after)
    return refused


@pytest.mark.parametrize("rate", [1.0, 10.0, 100.0])
@pytest.mark.parametrize("burst", [10, 600])
async def test_a_pace_is_learned_from_what_gets_through(
    clock: Clock, rate: float, burst: int
) -> None:
    pacer, bucket = RateLimiter(clock), Bucket(clock, rate, burst)
    refused = await through(pacer, clock, bucket.takes, 1_500)
    assert clock.now - 100 < 1.25 * (1_500 - burst) / rate
    assert refused < 0.02 * 1_500


async def test_a_pace_is_learned_where_all_wait_after_each_refusal(clock: Clock) -> None:
    """Then refusals are seldom, but as many requests go through from each to the next."""
    pacer, bucket = RateLimiter(clock), Bucket(clock, 25, 400)
    refused = await through(pacer, clock, bucket.takes, 1_500, retry_after=1.2)
    assert clock.now - 100 < 1.25 * 1_100 / 25
    assert refused < 0.015 * 1_500


async def test_only_what_went_through_after_a_wait_speaks_for_a_limit(clock: Clock) -> None:
    """Nobody waited before the first refusal: that it is as far from the start is chance."""
    pacer = RateLimiter(clock)
    for refused, through_before in enumerate([36, 36, 37, 35, 36], start=1):
        for _ in range(through_before):
            turn = await pacer.turn()
        clock.now += 0.005
        assert not pacer.knows
        pacer.refused(turn, {})
        assert pacer.knows == (refused == 5)
        pacer.pause(1.2)


async def test_a_refusal_that_is_told_late_doesnt_make_the_pace_a_fast_one(clock: Clock) -> None:
    """Those that went out after the refused one are no sign of what gets through."""
    pacer, bucket = RateLimiter(clock), Bucket(clock, 25, 25)
    await through(pacer, clock, bucket.takes, 800, late=60)
    start = clock.now
    refused = await through(pacer, clock, bucket.takes, 1_500, late=60)
    assert clock.now - start < 1.25 * 1_500 / 25
    assert refused < 0.1 * 1_500


@pytest.mark.parametrize("seed", range(5))
async def test_refusals_of_many_sent_at_once_are_a_limit_in_whatever_order(
    clock: Clock, seed: int
) -> None:
    """256 arrive in no order of ours, and a fifth of them is refused."""
    pacer = RateLimiter(clock)
    turns = [await pacer.turn() for _ in range(256)]
    for turn in random.Random(seed).sample(turns, 52):
        pacer.refused(turn, {})
    assert pacer.knows


async def test_refusals_by_chance_are_no_pace(clock: Clock) -> None:
    """One of twenty is refused whatever the pace: most requests go without waiting."""
    draw, pacer = random.Random(5), RateLimiter(clock)
    await through(pacer, clock, lambda: draw.random() > 0.05, 5_000)
    assert clock.now - 100 < 2 * 5_000 * 0.005


async def test_what_a_limit_has_grown_to_is_found_by_and_by(clock: Clock) -> None:
    pacer, bucket = RateLimiter(clock), Bucket(clock, 10, 10)
    await through(pacer, clock, bucket.takes, 300)
    bucket.rate = 40
    await through(pacer, clock, bucket.takes, 1_500)
    start = clock.now
    await through(pacer, clock, bucket.takes, 400)
    assert clock.now - start < 1.25 * 400 / 40


async def test_a_burst_is_never_taken_for_larger_than_what_was_ever_left(clock: Clock) -> None:
    """After a pause, the limit of a minute isn't sent at once."""
    pacer = RateLimiter(clock)
    pacer.learn(headers("requests", 600, 20))
    clock.now += 60
    for _ in range(20):
        await pacer.turn()
    assert pacer.limited


async def test_requests_that_a_first_answer_may_not_have_counted_are(clock: Clock) -> None:
    pacer = RateLimiter(clock)
    turns = [await pacer.turn() for _ in range(8)]
    pacer.learn(headers("requests", 60, 7), turns[0])
    assert pacer.limited


def test_a_run_stays_under_a_known_limit(tmp_path: Path) -> None:
    """In steady state it draws next to no 429, and no row fails."""
    frame = pd.DataFrame({"text": [f"row {i}" for i in range(240)]})
    with MessagesServer(limits={"requests": 2_400}, burst=20, latency=0.02) as server:
        pipeline = Pipeline(frame, "Say {text}", base_url=server.url, journal=tmp_path)
        result = pipeline.execute()
    assert result.metrics.processed_rows == 240
    refused = server.arrived - server.ledger.requests
    assert refused <= 0.02 * server.arrived
