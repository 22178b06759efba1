"""Bodies of pictures and documents: bounded all together, first come first served, let go."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ondine_nb.errors import MissingFileError
from ondine_nb.models import Prompt
from ondine_nb.sending import BytesInFlight
from tests.patience import PATIENCE


def request(weight: int, write: Any = lambda prompt: b"body") -> Any:
    can = SimpleNamespace(write=write)
    endpoint = SimpleNamespace(can=can)
    return SimpleNamespace(weight=weight, held=0, body=None, prompt=Prompt("x"), endpoint=endpoint)


async def turns(n: int = 50) -> None:
    for _ in range(n):
        await asyncio.sleep(0.001)


async def loaded(held: BytesInFlight, asked: Any, order: list[int] | None = None) -> None:
    await held.load(asked)
    if order is not None:
        order.append(asked.weight)


async def test_a_request_waits_until_its_bytes_fit_and_nobody_passes_it() -> None:
    held, order = BytesInFlight(100), list[int]()
    first, large, small = request(70), request(60), request(10)
    await held.load(first)
    waiting = [asyncio.create_task(loaded(held, it, order)) for it in (large, small)]
    await turns()
    assert (order, held.taken) == ([], 70)
    held.release(first)
    await asyncio.gather(*waiting)
    assert order == [60, 10]
    assert (held.taken, large.body) == (70, b"body")


async def test_one_that_is_larger_than_all_goes_alone() -> None:
    held = BytesInFlight(100)
    huge, small = request(1_000), request(1)
    await held.load(huge)
    waiting = asyncio.create_task(held.load(small))
    await turns()
    assert not waiting.done()
    held.release(huge)
    await waiting
    held.release(small)
    assert held.taken == 0


async def test_a_file_that_is_gone_takes_nothing() -> None:
    def gone(prompt: Any) -> bytes:
        raise MissingFileError("'a.png' isn't there any more")

    held, asked = BytesInFlight(100), request(50, gone)
    with pytest.raises(MissingFileError):
        await held.load(asked)
    assert (held.taken, asked.held, asked.body) == (0, 0, None)


async def test_a_provider_that_writes_no_body_has_its_bytes_counted_too() -> None:
    held, asked = BytesInFlight(100), request(50, None)
    await held.load(asked)
    assert (held.taken, asked.body) == (50, None)


@settings(deadline=None, max_examples=40)
@given(
    st.lists(
        st.tuples(st.integers(1, 150), st.integers(0, 3), st.booleans()), min_size=1, max_size=12
    )
)
def test_whoever_is_cancelled_or_done_nothing_is_kept_and_nobody_waits_for_ever(
    asked: list[tuple[int, int, bool]],
) -> None:
    async def run() -> None:
        held, most = BytesInFlight(100), 0

        async def one(weight: int, steps: int) -> None:
            nonlocal most
            mine = request(weight, None)
            await held.load(mine)
            try:
                most = max(most, held.taken)
                for _ in range(steps):
                    await asyncio.sleep(0)
            finally:
                held.release(mine)

        tasks = [asyncio.create_task(one(weight, steps)) for weight, steps, _ in asked]
        await asyncio.sleep(0)
        for task, (_, _, ends) in zip(tasks, asked, strict=True):
            if ends:
                task.cancel()
        await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), PATIENCE)
        assert (held.taken, list(held._waiting)) == (0, [])
        assert most <= 100

    asyncio.run(run())
