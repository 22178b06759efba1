"""The virtual clock: waits are exact, take no time, and nothing waits for ever in silence."""

from __future__ import annotations

import asyncio
import random
import threading
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.simulation.clock import Clock, Deadlock, VirtualLoop, simulate

DAY = 86_400.0


def test_a_year_of_sleeping_is_over_at_once_and_exactly_a_year_later() -> None:
    async def main(clock: Clock) -> float:
        for _ in range(365):
            await asyncio.sleep(DAY)
        return clock()

    assert simulate(main) == pytest.approx(365 * DAY, abs=1e-6)


@given(st.lists(st.floats(0, 10 * DAY), min_size=1, max_size=30))
def test_timers_go_off_in_order_each_at_its_own_time(delays: list[float]) -> None:
    async def main(clock: Clock) -> list[tuple[float, float]]:
        seen: list[tuple[float, float]] = []

        async def sleeper(delay: float) -> None:
            await asyncio.sleep(delay)
            seen.append((delay, clock()))

        await asyncio.gather(*map(sleeper, delays))
        return seen

    seen = simulate(main)
    # Timers closer together than a nanosecond are one to asyncio.
    assert [at for _, at in seen] == sorted(at for _, at in seen)
    assert all(at == pytest.approx(delay, abs=1e-6) for delay, at in seen)


def test_a_wait_shorter_than_a_float_can_tell_comes_to_an_end() -> None:
    async def main(clock: Clock) -> float:
        await asyncio.sleep(1e6)
        await asyncio.sleep(1e-15)
        return clock()

    assert simulate(main) == pytest.approx(1e6)


def test_time_stands_still_while_there_is_work() -> None:
    async def main(clock: Clock) -> float:
        for _ in range(1_000):
            await asyncio.sleep(0)
        return clock()

    assert simulate(main) == 0.0


def test_timeouts_are_virtual_too() -> None:
    async def main(clock: Clock) -> float:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(300):
                await asyncio.Event().wait()
        return clock()

    assert simulate(main) == pytest.approx(300)


def test_what_threads_do_takes_no_virtual_time() -> None:
    """A timer that is due in a virtual second doesn't overtake a thread that works a real one."""

    async def main(clock: Clock) -> tuple[str, float]:
        done = threading.Event()
        timer = asyncio.get_running_loop().call_later(1.0, done.set)
        at = await asyncio.to_thread(lambda: done.wait(0.05) or clock())
        timer.cancel()
        return ("late" if done.is_set() else "first", float(at))

    assert simulate(main) == ("first", 0.0)


def test_another_thread_may_wake_the_loop() -> None:
    async def main(clock: Clock) -> str:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualLoop)
        woken: asyncio.Future[str] = loop.create_future()
        thread = threading.Thread(
            target=lambda: loop.call_soon_threadsafe(woken.set_result, "woken")
        )
        with loop.outside():
            thread.start()
            found = await woken
        thread.join()
        return found

    assert simulate(main) == "woken"


def test_waiting_for_what_can_never_come_is_an_error_and_not_a_hang() -> None:
    async def main(clock: Clock) -> None:
        await asyncio.get_running_loop().create_future()

    with pytest.raises(Deadlock):
        simulate(main)


def test_the_same_seed_makes_the_same_run() -> None:
    async def main(clock: Clock) -> list[tuple[int, float]]:
        draw, seen = random.Random(7), []

        async def worker(number: int) -> None:
            for _ in range(20):
                await asyncio.sleep(draw.random())
                seen.append((number, clock()))

        await asyncio.gather(*map(worker, range(10)))
        return seen

    assert simulate(main) == simulate(main)


def test_a_clock_goes_forward_only_and_is_read_by_calling_it() -> None:
    clock = Clock(5.0)
    clock.move(2.5)
    assert clock() == clock.now == 7.5
    with pytest.raises(ValueError, match="-1"):
        clock.move(-1)


def test_objects_that_take_a_clock_and_the_loop_see_the_same_time() -> None:
    async def main(clock: Clock) -> bool:
        await asyncio.sleep(12.5)
        return clock() == asyncio.get_running_loop().time() == 12.5

    started = time.monotonic()
    assert simulate(main)
    assert time.monotonic() >= started  # the machine's own clock is left alone
