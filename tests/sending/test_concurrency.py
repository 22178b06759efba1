"""Budget, gate and back-off under any schedule of waits, ends and cancellations."""

from __future__ import annotations

import asyncio
import random
import threading
from collections.abc import Awaitable, Callable
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ondine_nb.errors import BudgetExceededError
from ondine_nb.journal.single_flight import SingleFlight
from ondine_nb.sending.budget import Budget, Reservation
from ondine_nb.sending.concurrency import AdaptiveConcurrency, ConcurrencyLimit, FairAdmission
from ondine_nb.sending.retry import Backoff
from tests.patience import PATIENCE

D = Decimal
quick = settings(max_examples=60, deadline=None)
seeds = st.integers(0, 2**32)


async def turns(n: int = 3) -> None:
    for _ in range(n):
        await asyncio.sleep(0)


async def ended(tasks: list[asyncio.Task[Any]]) -> list[Any]:
    async with asyncio.timeout(PATIENCE):
        return await asyncio.gather(*tasks, return_exceptions=True)


def used(budget: Budget) -> Decimal:
    return budget.spent + budget.possibly_billed + budget.reserved


# --- budget


class Watched(Budget):
    """Sees that a refusal comes only where it doesn't fit and nothing in flight could help."""

    def _exceeded(self, amount: Decimal) -> BudgetExceededError:
        assert self.never_fits(amount) or (self.outstanding, self.reserved) == (0, 0)
        assert self.ceiling is not None
        assert used(self) + amount > self.ceiling
        return super()._exceeded(amount)


@quick
@given(seeds, st.integers(0, 60), st.lists(st.integers(0, 25), min_size=1, max_size=25))
def test_no_moment_passes_the_ceiling_and_nothing_stays_held(
    seed: int, ceiling: int, amounts: list[int]
) -> None:
    """Random ends and cancellations; whoever is refused could not have been helped by waiting."""
    rng, budget = random.Random(seed), Watched(D(ceiling))

    async def one(amount: int) -> None:
        held = await budget.reserve(D(amount))
        assert used(budget) <= ceiling
        try:
            await turns(rng.randrange(4))
        finally:
            end: Callable[[], None] = rng.choice(
                [held.release, held.lose, lambda: held.settle(D(rng.randint(0, amount)))]
            )
            end()
            held.release()  # a second end changes nothing
            assert used(budget) <= ceiling

    async def main() -> None:
        tasks = [asyncio.create_task(one(amount)) for amount in amounts]
        for task in rng.sample(tasks, rng.randint(0, len(tasks))):
            await turns(rng.randrange(3))
            if rng.random() < 0.5:
                task.cancel()
        outcomes = await ended(tasks)
        assert not [
            bad
            for bad in outcomes
            if isinstance(bad, BaseException)
            and not isinstance(bad, (BudgetExceededError, asyncio.CancelledError))
        ]
        assert (budget.reserved, budget.outstanding) == (0, 0)
        assert used(budget) <= ceiling

    asyncio.run(main())


async def test_first_come_first_served_even_where_a_later_one_would_fit() -> None:
    budget, order = Budget(D(10)), []
    first = await budget.reserve(D(8))

    async def queue(name: str, amount: int) -> Reservation:
        held = await budget.reserve(D(amount))
        order.append(name)
        return held

    big, small = asyncio.create_task(queue("big", 9)), asyncio.create_task(queue("small", 1))
    await turns()
    assert order == []
    first.release()
    await ended([big, small])
    assert order == ["big", "small"]


async def test_a_cancelled_wait_lets_those_behind_it_through() -> None:
    budget = Budget(D(10))
    held = await budget.reserve(D(8))
    big = asyncio.create_task(budget.reserve(D(9)))
    small = asyncio.create_task(budget.reserve(D(1)))
    await turns()
    big.cancel()
    await turns()
    assert small.done()
    assert budget.reserved == 9
    held.release()


async def test_a_wait_cancelled_just_as_it_is_let_through_gives_its_hold_back() -> None:
    budget = Budget(D(10))
    held = await budget.reserve(D(10))
    waiting = asyncio.create_task(budget.reserve(D(10)))
    await turns()
    held.release()
    assert budget.reserved == 10  # already the waiting one's
    waiting.cancel()
    await ended([waiting])
    assert (budget.reserved, budget.outstanding) == (0, 0)


async def test_out_of_budget_only_when_nothing_is_in_flight() -> None:
    budget = Budget(D(10))
    held = await budget.reserve(D(6))
    waiting = asyncio.create_task(budget.reserve(D(6)))
    await turns()
    assert not waiting.done()
    held.settle(D(5))
    with pytest.raises(BudgetExceededError, match=r"\$5[.0]* of \$10[.0]* is spent.*up to \$6"):
        await waiting


async def test_a_lost_answer_stays_charged_and_is_named() -> None:
    budget = Budget(D(10), spent=D(1))
    (await budget.reserve(D(6))).lose()
    assert (budget.spent, budget.possibly_billed) == (1, 6)
    with pytest.raises(BudgetExceededError, match=r"\$6[.0]* possibly billed"):
        await budget.reserve(D(4))
    (await budget.reserve(D(3))).settle(D(3))
    assert used(budget) == 10


async def test_without_a_ceiling_nothing_waits_and_everything_is_counted() -> None:
    budget = Budget(None)
    for _ in range(3):
        (await budget.reserve(D("1e9"))).settle(D("0.1"))
    assert (budget.spent, budget.outstanding) == (D("0.3"), 0)


async def test_a_free_request_fits_a_budget_of_nothing() -> None:
    (await Budget(D(0)).reserve(D(0))).settle(D(0))


# --- gate


@quick
@given(seeds, st.integers(1, 20), st.integers(1, 40))
def test_at_most_8_before_the_first_success_and_width_after(seed: int, width: int, n: int) -> None:
    """Whatever is cancelled meanwhile, and nobody is left outside."""
    rng, gate = random.Random(seed), ConcurrencyLimit(width)
    peak, now = 0, 0

    async def one() -> None:
        nonlocal peak, now
        async with gate:
            now += 1
            peak = max(peak, now)
            assert now <= (width if gate.proven else min(width, 8))
            assert now <= gate.inside <= gate.limit  # a place given may not be taken yet
            try:
                await turns(rng.randrange(4))
            finally:
                now -= 1

    async def main() -> None:
        tasks = [asyncio.create_task(one()) for _ in range(n)]
        prove_at = rng.randrange(n)
        for at, task in enumerate(rng.sample(tasks, n)):
            if at == prove_at:
                gate.prove()
            if rng.random() < 0.3:
                task.cancel()
            await turns(rng.randrange(2))
        outcomes = await ended(tasks)
        assert not [bad for bad in outcomes if isinstance(bad, AssertionError)]
        assert gate.inside == 0

    asyncio.run(main())


async def test_the_gate_opens_to_its_full_width_at_the_first_success() -> None:
    gate, leave = ConcurrencyLimit(20), asyncio.Event()

    async def one() -> None:
        async with gate:
            await leave.wait()

    tasks = [asyncio.create_task(one()) for _ in range(30)]
    await turns()
    assert gate.inside == ConcurrencyLimit.OPENING == 8
    gate.prove()
    assert gate.inside == 20
    leave.set()
    await ended(tasks)


async def test_the_gate_is_left_when_what_is_inside_raises() -> None:
    gate = ConcurrencyLimit(1)
    for _ in range(3):
        with pytest.raises(ZeroDivisionError):
            async with gate:
                raise ZeroDivisionError
    assert gate.inside == 0


async def test_a_place_given_to_one_who_is_cancelled_goes_on_to_the_next() -> None:
    gate = ConcurrencyLimit(1)
    await gate.__aenter__()
    enter: Callable[[], Awaitable[None]] = gate.__aenter__
    first, second = (asyncio.ensure_future(enter()) for _ in range(2))
    await turns()
    await gate.__aexit__(None, None, None)
    first.cancel()
    await turns()
    assert second.done()
    assert gate.inside == 1


async def test_a_held_gate_lets_nobody_in_and_goes_on_when_it_is_let_go() -> None:
    gate = ConcurrencyLimit(3)
    await gate.__aenter__()
    gate.hold(True)

    async def one() -> None:
        async with gate:
            await turns()

    tasks = [asyncio.create_task(one()) for _ in range(5)]
    await turns()
    assert gate.inside == 1
    gate.prove()
    await gate.__aexit__(None, None, None)
    await turns()
    assert gate.inside == 0
    gate.hold(False)
    assert gate.inside == 3
    await ended(tasks)
    assert gate.inside == 0


# --- claims


@quick
@given(seeds, st.integers(1, 20), st.integers(1, 3))
def test_a_question_is_asked_by_one_at_a_time_whoever_is_cancelled(
    seed: int, n: int, keys: int
) -> None:
    rng, claims, now = random.Random(seed), SingleFlight(), [0] * keys

    async def one(key: int) -> None:
        async with claims.hold(b"%d" % key):
            now[key] += 1
            try:
                assert now[key] == 1
                await turns(rng.randrange(4))
            finally:
                now[key] -= 1

    async def main() -> None:
        tasks = [asyncio.create_task(one(rng.randrange(keys))) for _ in range(n)]
        for task in tasks:
            await turns(rng.randrange(3))
            if rng.random() < 0.3:
                task.cancel()
        outcomes = await ended(tasks)
        assert not [bad for bad in outcomes if isinstance(bad, (AssertionError, TimeoutError))]
        assert claims._held == {}

    asyncio.run(main())


def test_claims_hold_between_loops_in_different_threads() -> None:
    claims, now, most, done = SingleFlight(), [0], [0], []

    async def one() -> None:
        async with claims.hold(b"same"):
            now[0] += 1
            most[0] = max(most[0], now[0])
            await asyncio.sleep(0.001)
            now[0] -= 1

    async def main() -> None:
        async with asyncio.timeout(PATIENCE):
            await asyncio.gather(*(one() for _ in range(15)))
        done.append(True)

    threads = [threading.Thread(target=lambda: asyncio.run(main())) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert (most, len(done)) == ([1], 4)


def test_runs_hear_of_each_other_only_while_both_are_under_way() -> None:
    class Running:
        beside_others = False

    claims, first, second, third = SingleFlight(), Running(), Running(), Running()
    claims.join(first)
    claims.leave(first)
    claims.join(second)
    assert [each.beside_others for each in (first, second)] == [False, False]
    claims.join(third)
    assert second.beside_others
    assert third.beside_others


# --- back-off


@given(st.integers(1, 60), st.none() | st.floats(0, 3600))
def test_never_earlier_than_the_server_asked_and_bounded(
    attempt: int, retry_after: float | None
) -> None:
    backoff = Backoff()
    seconds = backoff.delay(attempt, retry_after)
    least = retry_after or 0.0
    assert least <= seconds <= least + backoff.longest


async def test_a_shut_gate_lets_one_in_at_a_time_as_it_is_told() -> None:
    gate = ConcurrencyLimit(5)
    gate.shut(True)
    order: list[int] = []

    async def one(name: int) -> None:
        async with gate:
            order.append(name)

    gate.let_one_in()  # nobody waits yet: the next who comes
    tasks = [asyncio.create_task(one(name)) for name in range(4)]
    await turns()
    assert order == [0]
    tasks[1].cancel()
    gate.let_one_in()
    await turns()
    assert order == [0, 2]
    gate.shut(False)
    await ended(tasks)
    assert order == [0, 2, 3]
    assert gate.inside == 0


# --- the turnstile


@given(st.integers(1, 200), seeds)
@quick
def test_so_many_at_most_go_through_in_a_turn_and_nobody_is_left_behind(n: int, seed: int) -> None:
    async def main() -> None:
        turnstile, rng = FairAdmission(), random.Random(seed)
        turn, through = 0, []

        async def pass_(at: int) -> None:
            for _ in range(rng.randrange(4)):
                await asyncio.sleep(0)
            await turnstile.through()
            through.append((turn, at))

        async def count() -> None:
            nonlocal turn
            while True:
                await asyncio.sleep(0)
                turn += 1

        counting = asyncio.create_task(count())
        tasks = [asyncio.create_task(pass_(at)) for at in range(n)]
        cancelled = {at for at in range(n) if rng.random() < 0.1}
        await asyncio.sleep(0)
        for at in cancelled:
            tasks[at].cancel()
        await ended(tasks)
        counting.cancel()
        assert {at for _, at in through} >= set(range(n)) - cancelled
        for each in range(turn + 1):
            # Its turns and those that are counted here may begin at different places.
            assert sum(when == each for when, _ in through) <= 2 * FairAdmission.AT_ONCE

    asyncio.run(main())


async def test_where_there_is_room_nobody_waits() -> None:
    turnstile = FairAdmission()
    for _ in range(3):
        for _ in range(FairAdmission.AT_ONCE):
            with pytest.raises(StopIteration):
                turnstile.through().send(None)
        waiting = turnstile.through()
        assert asyncio.isfuture(waiting.send(None))
        waiting.close()
        await turns(4)


def test_a_turnstile_goes_on_in_another_loop() -> None:
    turnstile = FairAdmission()

    async def pass_(times: int) -> None:
        async with asyncio.timeout(PATIENCE):
            await asyncio.gather(*(turnstile.through() for _ in range(times)))

    for _ in range(3):  # each loop ends in the middle of a turn
        asyncio.run(pass_(FairAdmission.AT_ONCE))
        asyncio.run(pass_(3 * FairAdmission.AT_ONCE))


def answer(
    growth: AdaptiveConcurrency, latency: float, times: int, *, waiting: bool = True
) -> None:
    for _ in range(times):
        growth.answered(latency, waiting=waiting)


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
