"""The rate limiter by itself: what is told is kept to, absurd values hold nobody, waits say why."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ondine_nb.pipeline import Pipeline
from ondine_nb.sending import RateLimiter
from tests.server import MessagesServer
from tests.simulation.clock import Clock, simulate

Main = Callable[[RateLimiter, Clock], Coroutine[Any, Any, None]]


def limited(main: Main) -> float:
    """Run `main` with a limiter in virtual time; how long it took, in seconds."""

    async def body(clock: Clock) -> float:
        await main(RateLimiter(clock), clock)
        return clock()

    return simulate(body)


def headers(kind: str, limit: object, remaining: object) -> dict[str, str]:
    return {
        f"anthropic-ratelimit-{kind}-limit": str(limit),
        f"anthropic-ratelimit-{kind}-remaining": str(remaining),
    }


def test_where_nothing_is_told_the_first_hundred_go_at_once_and_a_thousand_in_half_a_second() -> (
    None
):
    async def main(limiter: RateLimiter, clock: Clock) -> None:
        for _ in range(100):
            await limiter.turn(10, 10)
        assert clock() == 0
        for _ in range(900):
            await limiter.turn(10, 10)

    assert limited(main) < 0.5


def test_requests_are_spaced_by_the_limit_once_what_is_left_is_used() -> None:
    async def main(limiter: RateLimiter, clock: Clock) -> None:
        limiter.learn(headers("requests", 600, 5))
        for _ in range(105):
            await limiter.turn()

    assert 10.0 <= limited(main) < 10.5


def test_tokens_are_kept_to_as_well_and_a_request_above_the_limit_goes_at_last() -> None:
    async def main(limiter: RateLimiter, clock: Clock) -> None:
        limiter.learn(headers("input-tokens", 6_000, 6_000))
        await limiter.turn(6_000)
        await limiter.turn(3_000)
        assert 30 <= clock() < 32
        await limiter.turn(60_000)

    assert 90 <= limited(main) < 95


def test_an_old_answer_gives_nothing_back() -> None:
    async def main(limiter: RateLimiter, clock: Clock) -> None:
        limiter.learn(headers("requests", 60, 2))
        await limiter.turn()
        await limiter.turn()
        limiter.learn(headers("requests", 60, 50))
        assert limiter.limited

    limited(main)


def test_requests_that_an_answer_has_not_counted_yet_are() -> None:
    async def main(limiter: RateLimiter, clock: Clock) -> None:
        turns = [await limiter.turn() for _ in range(8)]
        limiter.learn(headers("requests", 60, 7), turns[0])
        assert limiter.limited

    limited(main)


def test_a_burst_is_never_taken_for_larger_than_what_was_ever_left() -> None:
    """After a pause, the limit of a minute isn't sent at once."""

    async def main(limiter: RateLimiter, clock: Clock) -> None:
        limiter.learn(headers("requests", 600, 20))
        await asyncio.sleep(60)
        for _ in range(20):
            await limiter.turn()
        assert limiter.limited

    assert limited(main) == pytest.approx(60)


def test_a_retry_after_holds_everybody_and_says_why() -> None:
    async def main(limiter: RateLimiter, clock: Clock) -> None:
        turn = await limiter.turn()
        limiter.refused(turn, {"retry-after": "7"}, 7)
        wait = limiter.wait
        assert wait is not None
        assert wait.seconds == pytest.approx(7)
        assert "retry-after" in wait.reason
        await asyncio.gather(limiter.turn(), limiter.turn())
        assert limiter.wait is None

    assert limited(main) == pytest.approx(7)


def test_a_wait_for_a_told_limit_names_it() -> None:
    async def main(limiter: RateLimiter, clock: Clock) -> None:
        limiter.learn(headers("output-tokens", 90_000, 0))
        wait = limiter.wait
        assert wait is not None
        assert "90,000 output tokens a minute" in wait.reason

    limited(main)


def test_a_wait_for_a_limit_that_is_not_told_says_what_gets_through() -> None:
    async def main(limiter: RateLimiter, clock: Clock) -> None:
        taken, reasons = 10.0, set()
        for _ in range(400):
            if wait := limiter.wait:
                reasons.add(wait.reason)
            turn, before = await limiter.turn(), clock()
            if taken >= 1:
                taken -= 1
                limiter.learn({}, turn)
            else:
                limiter.refused(turn, {})
            await asyncio.sleep(0.01)
            taken = min(10.0, taken + (clock() - before) * 5)
        assert limiter.knows
        assert any("a second get through" in reason for reason in reasons), reasons

    limited(main)


@pytest.mark.parametrize("seconds", [math.inf, math.nan, 1e308, 86_401.0, -1.0, -math.inf])
def test_an_absurd_retry_after_holds_nobody(seconds: float) -> None:
    async def main(limiter: RateLimiter, clock: Clock) -> None:
        limiter.pause(seconds)
        await limiter.turn()
        assert bool(limiter.odd) == (not seconds < 0)

    assert limited(main) == 0


def test_what_cannot_be_meant_is_said_beside_the_wait() -> None:
    async def main(limiter: RateLimiter, clock: Clock) -> None:
        turn = await limiter.turn()
        limiter.refused(turn, {"retry-after": "Fri, 31 Dec 9999 23:59:59 GMT"})
        limiter.learn(headers("requests", 60, 0), turn)
        wait = limiter.wait
        assert wait is not None
        assert "31 Dec 9999" in wait.reason

    limited(main)


ODD = st.sampled_from(
    ["0", "-1", "-0", "nan", "inf", "-inf", "1e308", "1e-308", "9" * 400, "many", "", "1", "60"]
) | st.floats().map(repr)


@settings(max_examples=150, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["requests", "tokens", "input-tokens", "output-tokens"]),
            ODD,
            ODD,
            st.none() | st.floats(),
        ),
        max_size=12,
    )
)
def test_whatever_is_told_each_request_goes_within_a_day(told: list[Any]) -> None:
    """And within three minutes, unless a `retry-after` that can be meant says otherwise."""

    async def main(limiter: RateLimiter, clock: Clock) -> None:
        for kind, limit, remaining, after in told:
            before = clock()
            turn = await limiter.turn(1_000, 1_000)
            limit_s = 180 if clock.asked is None else 86_400  # type: ignore[attr-defined]
            assert clock() - before <= limit_s
            limiter.learn(headers(kind, limit, remaining), turn)
            turn = await limiter.turn(1_000, 1_000)
            limiter.refused(turn, headers(kind, limit, remaining), after)
            asked = after is not None and 0 <= after <= 86_400
            clock.asked = after if asked else None  # type: ignore[attr-defined]
            assert limiter.wait is None or math.isfinite(limiter.wait.seconds)

    async def body(clock: Clock) -> None:
        clock.asked = None  # type: ignore[attr-defined]
        await main(RateLimiter(clock), clock)

    simulate(body)


def test_turns_go_first_come_first_served_and_one_that_is_cancelled_holds_nobody() -> None:
    async def main(limiter: RateLimiter, clock: Clock) -> None:
        limiter.learn(headers("requests", 60, 1))
        went: list[int] = []

        async def one(number: int) -> None:
            await limiter.turn()
            went.append(number)

        tasks = [asyncio.create_task(one(number)) for number in range(6)]
        await asyncio.sleep(0.5)
        tasks[2].cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert went == [0, 1, 3, 4, 5]

    assert 4 <= limited(main) < 5


@pytest.mark.slow
def test_a_run_stays_under_a_limit_that_is_told(tmp_path: Path) -> None:
    """Over a real wire, in steady state, it draws next to no 429, and no row fails."""
    frame = pd.DataFrame({"text": [f"row {i}" for i in range(240)]})
    with MessagesServer(limits={"requests": 2_400}, burst=20, latency=0.02) as server:
        pipeline = Pipeline(frame, "Say {text}", base_url=server.url, journal=tmp_path)
        result = pipeline.execute()
    assert result.metrics.processed_rows == 240
    refused = server.arrived - server.ledger.requests
    assert refused <= 0.05 * server.arrived
