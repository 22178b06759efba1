"""A budget that several runs share, and one that holds across kills, under any schedule."""

from __future__ import annotations

import asyncio
import random
import threading
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ondine_nb.errors import BudgetExceededError, JournalError
from ondine_nb.sending.budget import Budget, SessionBudget
from tests.patience import PATIENCE

D = Decimal
quick = settings(max_examples=60, deadline=None)
seeds = st.integers(0, 2**32)


async def turns(n: int = 3) -> None:
    for _ in range(n):
        await asyncio.sleep(0)


def risk(budget: Budget) -> Decimal:
    return budget.possibly_billed + budget.reserved


# --- the bound that is kept


@quick
@given(seeds, st.integers(1, 100), st.lists(st.integers(1, 25), min_size=1, max_size=40))
def test_what_is_kept_always_covers_what_may_be_lost_and_keeps_the_ceiling(
    seed: int, ceiling: int, amounts: list[int]
) -> None:
    """Killed at any moment, a run that continues can't spend more than the ceiling in all."""
    rng = random.Random(seed)
    kept: list[Decimal] = []
    calls = 0

    async def keep(bound: Decimal) -> None:
        nonlocal calls
        calls += 1
        assert calls == 1
        await turns(rng.randrange(4))
        kept.append(bound)
        calls -= 1

    async def main() -> None:
        budget = Budget(D(ceiling), keep=keep)

        async def one(amount: int) -> None:
            held = await budget.reserve(D(amount))
            # From here on it may be in flight: a kill now charges the bound.
            sent.append(held.amount)
            assert sum(sent) + budget.possibly_billed <= kept[-1]
            await turns(rng.randrange(4))
            sent.remove(held.amount)
            end: Callable[[], None] = rng.choice(
                [held.release, held.lose, lambda: held.settle(D(rng.randint(0, amount)))]
            )
            end()

        sent: list[Decimal] = []
        outcomes = await asyncio.gather(*(one(a) for a in amounts), return_exceptions=True)
        bad = [x for x in outcomes if x is not None and not isinstance(x, BudgetExceededError)]
        assert not bad
        assert budget.reserved == 0

    asyncio.run(main())
    assert kept == sorted(kept)
    assert all(bound <= ceiling for bound in kept)


async def test_the_bound_is_kept_rarely() -> None:
    kept: list[Decimal] = []

    async def keep(bound: Decimal) -> None:
        kept.append(bound)

    budget = Budget(D(1_000), keep=keep)
    for _ in range(2_000):
        (await budget.reserve(D(1))).settle(D("0.2"))
    held = [await budget.reserve(D(1)) for _ in range(200)]
    assert len(held) == 200
    assert len(kept) < 20


async def test_without_a_ceiling_nothing_is_kept() -> None:
    async def keep(bound: Decimal) -> None:
        raise AssertionError

    await Budget(None, keep=keep).reserve(D(10))


async def test_what_was_possibly_billed_before_counts_and_is_kept_already() -> None:
    kept: list[Decimal] = []

    async def keep(bound: Decimal) -> None:
        kept.append(bound)

    budget = Budget(D(10), D(3), D(4), keep=keep)
    with pytest.raises(BudgetExceededError, match=r"\$3 of \$10 is spent, \$4 possibly billed"):
        await budget.reserve(D(4))
    assert kept == []
    await budget.reserve(D(3))
    assert kept == [7]


async def test_a_bound_that_cant_be_kept_is_raised_and_nothing_stays_held() -> None:
    async def keep(bound: Decimal) -> None:
        raise JournalError("disk full")

    budget = Budget(D(10), keep=keep)
    with pytest.raises(JournalError):
        await budget.reserve(D(4))
    assert (budget.reserved, budget.outstanding) == (0, 0)


# --- the session's


@quick
@given(seeds, st.integers(0, 60), st.lists(st.integers(0, 25), min_size=1, max_size=30))
def test_runs_that_share_a_ceiling_never_pass_it_together(
    seed: int, ceiling: int, amounts: list[int]
) -> None:
    rng, session = random.Random(seed), SessionBudget(D(ceiling))
    own = [None, D(rng.randint(0, 60)), D(rng.randint(0, 60))]

    def used() -> Decimal:
        return session.spent + session.possibly_billed + session.reserved

    async def one(budget: Budget, amount: int) -> None:
        held = await budget.reserve(D(amount))
        assert used() <= ceiling
        try:
            await turns(rng.randrange(4))
        finally:
            end: Callable[[], None] = rng.choice(
                [held.release, held.lose, lambda: held.settle(D(rng.randint(0, amount)))]
            )
            end()

    async def main() -> None:
        budgets = [Budget(each, session=session) for each in own]
        tasks = [asyncio.create_task(one(rng.choice(budgets), amount)) for amount in amounts]
        for task in rng.sample(tasks, rng.randint(0, len(tasks))):
            await turns(rng.randrange(3))
            if rng.random() < 0.3:
                task.cancel()
        async with asyncio.timeout(PATIENCE):
            outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        allowed = (BudgetExceededError, asyncio.CancelledError)
        assert not [x for x in outcomes if x is not None and not isinstance(x, allowed)]
        assert (session.reserved, session.outstanding) == (0, 0)
        assert session.spent == sum(budget.spent for budget in budgets)
        assert session.possibly_billed == sum(budget.possibly_billed for budget in budgets)

    asyncio.run(main())


def test_runs_in_several_threads_wait_for_each_other_and_use_the_ceiling_up() -> None:
    """Each request costs its whole worst case, so that exactly as many fit as the ceiling holds."""
    session, sent, lock = SessionBudget(D(50)), [0], threading.Lock()

    async def one(budget: Budget) -> None:
        held = await budget.reserve(D(1))
        await asyncio.sleep(0.001)
        held.settle(D(1))
        with lock:
            sent[0] += 1

    async def main() -> None:
        budget = Budget(None, session=session)
        async with asyncio.timeout(PATIENCE):
            await asyncio.gather(*(one(budget) for _ in range(30)), return_exceptions=True)

    threads = [threading.Thread(target=lambda: asyncio.run(main())) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert (sent[0], session.spent, session.outstanding) == (50, 50, 0)


async def test_a_run_waits_for_what_another_has_in_flight() -> None:
    session = SessionBudget(D(10))
    first, second = Budget(None, session=session), Budget(D(100), session=session)
    held = await first.reserve(D(8))
    waiting = asyncio.create_task(second.reserve(D(5)))
    await turns(5)
    assert not waiting.done()
    held.settle(D(2))
    await turns(5)
    assert waiting.done()
    assert (second.reserved, session.left) == (5, 3)


async def test_who_is_cancelled_while_it_waits_doesnt_hold_up_those_behind_it() -> None:
    budget = Budget(D(10))
    held = await budget.reserve(D(8))
    large, small = (asyncio.create_task(budget.reserve(D(amount))) for amount in (9, 2))
    await turns(5)
    assert not any(task.done() for task in (large, small))  # first come, first served
    large.cancel()
    async with asyncio.timeout(PATIENCE):
        behind = await small
    assert (budget.reserved, budget.outstanding) == (10, 2)
    held.release()
    behind.release()
    assert (budget.reserved, budget.outstanding) == (0, 0)


async def test_out_of_the_sessions_budget_names_it_and_how_to_raise_it() -> None:
    session = SessionBudget(D(10))
    budget = Budget(D(100), session=session)
    (await budget.reserve(D(8))).settle(D(8))
    text = r"session budget: \$8 of \$10 is spent.*up to \$5.*OndineMagics\.session_budget"
    with pytest.raises(BudgetExceededError, match=text):
        await budget.reserve(D(5))


async def test_raising_the_ceiling_lets_who_waits_go_on() -> None:
    session = SessionBudget(D(10))
    budget = Budget(None, session=session)
    await budget.reserve(D(8))
    waiting: asyncio.Task[Any] = asyncio.create_task(budget.reserve(D(5)))
    await turns()
    session.ceiling = D(20)
    await turns()
    assert waiting.done()
    session.ceiling = None
    assert session.left is None
    await budget.reserve(D(1_000))


# --- batches


def test_a_batch_that_an_earlier_process_sent_is_moved_from_what_was_lost() -> None:
    budget = Budget(D(10), spent=D(1), possibly_billed=D(4))
    held = budget.adopt(D(3), lost=True)
    assert (budget.possibly_billed, budget.reserved, budget.room) == (D(1), D(3), D(5))
    held.settle(D("0.5"))
    assert (budget.spent, budget.reserved, budget.outstanding) == (D("1.5"), D(0), 0)


def test_a_batch_of_another_run_is_held_even_beyond_the_ceiling_and_leaves_no_room() -> None:
    session = SessionBudget(D(20))
    budget = Budget(D(2), session=session)
    held = budget.adopt(D(3), lost=False)
    assert budget.room == D(0)
    assert (session.reserved, session.outstanding) == (D(3), 1)
    held.lose(D(1))
    assert (budget.spent, budget.possibly_billed) == (D(1), D(2))
    assert (session.spent, session.possibly_billed, session.outstanding) == (D(1), D(2), 0)


def test_room_is_what_fits_both_ceilings() -> None:
    assert Budget(None).room is None
    assert Budget(None, session=SessionBudget(D(3))).room == D(3)
    assert Budget(D(2), session=SessionBudget(D(3))).room == D(2)


def test_an_exact_reservation_keeps_a_bound_without_spare() -> None:
    kept: list[Decimal] = []

    async def keep(bound: Decimal) -> None:
        kept.append(bound)

    async def scenario() -> None:
        await Budget(D(10), keep=keep).reserve(D(1), exact=True)

    asyncio.run(scenario())
    assert kept == [D(1)]
