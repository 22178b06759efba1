"""Streams: in order, rows of the next chunks beside the slowest of the last, memory bounded."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Iterator
from typing import Any

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ondine_nb.errors import FatalProviderError, RefusalError
from ondine_nb.orchestration import ExecutionContext, PipelineStage, StreamingExecutor
from tests.orchestration.parts import Events, Load, Table, Work, frame, turns
from tests.patience import PATIENCE


async def streamed(
    executor: StreamingExecutor, *stages: PipelineStage, context: ExecutionContext | None = None
) -> list[Any]:
    async with asyncio.timeout(PATIENCE):
        return [
            chunk async for chunk in executor.execute_async(stages, context or ExecutionContext())
        ]


async def settled(work: Work) -> int:
    """How many rows were seen when no more come."""
    seen = -1
    while seen != len(work.seen):
        seen = len(work.seen)
        await asyncio.sleep(0.05)
    return seen


async def test_the_slowest_row_of_a_chunk_does_not_idle_the_workers() -> None:
    """Row 0 waits for row 9, two chunks further: a barrier at each chunk would wait forever."""
    reached = asyncio.Event()

    async def each(n: int) -> None:
        if n == 0:
            await reached.wait()
        if n == 9:
            reached.set()

    executor = StreamingExecutor(chunk_size=4, max_concurrency=2)
    chunks = await streamed(executor, Load(frame(20)), Work(each=each))
    assert [list(chunk["out"]) for chunk in chunks] == [
        [n * 10 for n in range(at, at + 4)] for at in range(0, 20, 4)
    ]


async def test_a_stream_reads_no_further_ahead_than_its_window() -> None:
    """Whoever takes the chunks is slow, or the first row is: the rest waits."""
    read: list[int] = []
    never = asyncio.Event()

    def chunks() -> Iterator[pd.DataFrame]:
        for at in range(1000):
            read.append(at)
            yield frame(4).assign(n=range(at * 4, at * 4 + 4))

    work = Work(each=lambda n: never.wait() if n == 0 else None)
    executor = StreamingExecutor(chunk_size=4, max_concurrency=2)
    context = ExecutionContext()
    stream = executor.execute_async([Load(chunks()), work], context)
    first = asyncio.ensure_future(anext(stream))
    assert await settled(work) <= 4 * 4 + 4
    assert len(read) <= 4 + 3
    never.set()
    assert list((await first)["out"]) == [0, 10, 20, 30]
    assert await settled(work) <= 6 * 4 + 4
    await stream.aclose()


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    sizes=st.lists(st.integers(1, 7), max_size=6),
    width=st.integers(1, 9),
    chunk=st.integers(1, 9),
    failing=st.sets(st.integers(0, 40)),
    as_frames=st.booleans(),
    table_behind=st.booleans(),
)
def test_row_i_of_a_stream_belongs_to_row_i_of_the_input(
    seed: int,
    sizes: list[int],
    width: int,
    chunk: int,
    failing: set[int],
    as_frames: bool,
    table_behind: bool,
) -> None:
    rng, total = random.Random(seed), sum(sizes)
    whole = frame(total)
    starts = [sum(sizes[:at]) for at in range(len(sizes))]
    given_ = iter([whole.iloc[at : at + size] for at, size in zip(starts, sizes, strict=True)])
    work = Work(
        lambda n: RefusalError("no") if n in failing else None, lambda n: turns(rng.randrange(5))
    )
    behind = [Table(lambda data: data.assign(again=data["n"]))] if table_behind else []
    events, context = Events(), ExecutionContext()
    context.observers.append(events)
    executor = StreamingExecutor(chunk, max_concurrency=width)
    loaded = given_ if as_frames and sizes else whole
    chunks = asyncio.run(streamed(executor, Load(loaded), work, *behind, context=context))

    result = pd.concat(chunks)
    assert list(result["n"]) == list(range(total))
    answers = [None if n in failing else n * 10 for n in range(total)]
    assert [None if pd.isna(value) else value for value in result["out"]] == answers
    failed = len(failing & set(range(total)))
    assert (context.total_rows, context.done_rows, context.failed_rows) == (total, total, failed)
    assert executor.result is not None
    assert executor.result.metrics.failed_rows == failed
    assert executor.result.costs.total_cost == context.accumulated_cost
    assert (work.opened, work.closed) == (1, 1)
    assert work.peak <= width
    # Each stage starts once and ends once, in the order of the stages.
    names = ["load", "work", *(stage.name for stage in behind)]
    assert [name for event, name in events.events if event == "stage"] == names
    assert [name for event, name in events.events if event == "staged"] == names
    assert (events.events[0][0], events.events[-1][0]) == ("start", "complete")


async def test_two_segments_of_row_stages_stream_side_by_side() -> None:
    """The second segment is at work on the first chunk while the first one reads the next."""
    first, second = Work(name="first"), Work(name="second")
    executor = StreamingExecutor(chunk_size=3, max_concurrency=2)
    rename = Table(lambda data: data.rename(columns={"out": "before"}))
    chunks = await streamed(executor, Load(frame(10)), first, rename, second)
    assert [n for chunk in chunks for n in chunk["out"]] == [n * 10 for n in range(10)]
    assert [n for chunk in chunks for n in chunk["before"]] == [n * 10 for n in range(10)]
    assert (first.closed, second.closed) == (1, 1)


async def test_a_stop_gives_what_is_there_of_the_chunks_under_way() -> None:
    context = ExecutionContext()

    def each(n: int) -> None:
        if n == 5:
            context.control.stop()

    executor = StreamingExecutor(chunk_size=4, max_concurrency=1)
    chunks = await streamed(executor, Load(frame(40)), Work(each=each), context=context)
    answers = [n for chunk in chunks for n in chunk["out"]]
    assert answers[:5] == [0, 10, 20, 30, 40]
    assert len(chunks) == 2
    assert executor.result is not None
    assert not executor.result.success


async def test_a_fatal_error_is_raised_behind_the_chunks_that_were_complete() -> None:
    def failing(n: int) -> BaseException | None:
        return FatalProviderError("bad key") if n == 9 else None

    executor = StreamingExecutor(chunk_size=4, max_concurrency=1)
    context, events, taken = ExecutionContext(), Events(), []
    context.observers.append(events)
    stream = executor.execute_async([Load(frame(40)), Work(failing)], context)

    async def take() -> None:
        async for chunk in stream:
            taken.append(chunk)  # noqa: PERF401 - what came before the error counts

    with pytest.raises(FatalProviderError, match="bad key"):
        await take()
    assert [list(chunk["out"]) for chunk in taken[:2]] == [[0, 10, 20, 30], [40, 50, 60, 70]]
    assert events.events[-2:] == [("stage error", "work"), ("error", "")]


async def test_cancelling_whoever_takes_the_chunks_tells_the_observers() -> None:
    forever, context, events = asyncio.Event(), ExecutionContext(), Events()
    context.observers.append(events)
    executor = StreamingExecutor(chunk_size=4, max_concurrency=1)
    work = Work(each=lambda n: forever.wait())
    taking = asyncio.create_task(streamed(executor, Load(frame(8)), work, context=context))
    while not work.seen:
        await asyncio.sleep(0)
    taking.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await taking
    assert context.control.stopping
    assert events.events[-1] == ("error", "")
    await context.control.drained()
    assert work.closed == 1
