"""The window: bounded, in any order, and nothing of it stays behind."""

from __future__ import annotations

import asyncio
import gc
import random
from collections.abc import AsyncGenerator, Iterator, Sequence
from typing import Any
from weakref import WeakSet

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ondine_nb.errors import BudgetExceededError, JournalError, RefusalError, SchemaNotMetError
from ondine_nb.orchestration import AskAgain, ExecutionContext, Halted, Row, RowStage
from ondine_nb.orchestration.window import Window
from tests.orchestration.parts import Work, arriving, turns
from tests.patience import PATIENCE

NAMES = {"n": 0}


class Chunks:
    """Lists of rows, and how many of them were taken."""

    def __init__(self, *sizes: int) -> None:
        self.sizes, self.taken = sizes, 0
        self.rows: list[Row] = []

    def __iter__(self) -> Iterator[list[Row]]:
        for size in self.sizes:
            self.taken += 1
            start = len(self.rows)
            self.rows += [Row(n, (n,), NAMES) for n in range(start, start + size)]
            yield self.rows[start:]


async def run(
    chunks: Chunks, *stages: RowStage, width: int = 3, context: ExecutionContext | None = None
) -> ExecutionContext:
    context = context or ExecutionContext(total_rows=sum(chunks.sizes))
    async with asyncio.timeout(PATIENCE):
        await Window(stages, context, width).run(arriving(chunks))
        await context.control.drained()
    return context


@settings(max_examples=40, deadline=None)
@given(
    st.integers(0, 2**32),
    st.lists(st.integers(0, 7), max_size=5),
    st.integers(1, 9),
    st.sets(st.integers(0, 30)),
)
def test_every_row_gets_its_own_outcome_once(
    seed: int, sizes: list[int], width: int, failing: set[int]
) -> None:
    rng, chunks = random.Random(seed), Chunks(*sizes)
    work = Work(
        lambda n: RefusalError(str(n)) if n in failing else None,
        lambda n: turns(rng.randrange(5)),
    )
    context = asyncio.run(run(chunks, work, width=width))
    total = sum(sizes)
    assert sorted(work.seen) == list(range(total))
    for row in chunks.rows:
        if row.position in failing:
            assert row.failure is not None
            assert (row.status, row.failure.message) == ("failed", str(row.position))
        else:
            assert (row.status, row.outputs) == ("answered", {"out": row.position * 10})
    assert context.failed_rows == len(failing & set(range(total)))
    assert context.done_rows == total
    assert work.peak <= width
    assert (work.opened, work.closed) == (1, 1)


async def test_chunks_are_taken_only_as_they_are_needed() -> None:
    """A million rows are never in memory at once."""
    chunks, context = Chunks(*[4] * 1000), ExecutionContext()
    work = Work(each=lambda n: context.control.stop() if n == 9 else None)
    await run(chunks, work, width=2, context=context)
    assert chunks.taken <= 4


async def test_a_finished_row_lets_go_of_its_input() -> None:
    chunks = Chunks(3)
    await run(chunks, Work())
    assert [row.values for row in chunks.rows] == [()] * 3


async def test_a_settled_row_passes_the_stages_by() -> None:
    class Skips(RowStage):
        async def process_row(self, row: Row, context: ExecutionContext) -> None:
            if row["n"] == 1:
                row.skip()

    work = Work()
    context = await run(Chunks(3), Skips(), work)
    assert sorted(work.seen) == [0, 2]
    assert (context.skipped_rows, context.processed_rows) == (1, 2)


async def test_asking_again_sends_a_row_back_to_the_stage_it_names() -> None:
    work = Work()

    class Picky(RowStage):
        async def process_row(self, row: Row, context: ExecutionContext) -> None:
            if row["n"] == 1 and row.reasks < 2:
                row.reasks += 1
                raise AskAgain(work, SchemaNotMetError("no"))

    context = await run(Chunks(3), work, Picky())
    assert sorted(work.seen) == [0, 1, 1, 1, 2]
    assert context.done_rows == 3


async def test_a_row_sent_back_to_a_stage_that_only_prepares_goes_on_behind_it() -> None:
    class Prepares(RowStage):
        async def prepare(self, rows: Sequence[Row], context: ExecutionContext) -> None:
            pass

    before, prepares, behind = Work(), Prepares(), Work()

    class Picky(RowStage):
        async def process_row(self, row: Row, context: ExecutionContext) -> None:
            if row["n"] == 1 and row.reasks < 2:
                row.reasks += 1
                raise AskAgain(prepares, SchemaNotMetError("no"))

    context = await run(Chunks(3), before, prepares, behind, Picky())
    assert sorted(before.seen) == [0, 1, 2]
    assert sorted(behind.seen) == [0, 1, 1, 1, 2]
    assert (context.processed_rows, context.failed_rows) == (3, 0)


@pytest.mark.parametrize(
    ("error", "reason", "raised"),
    [
        (BudgetExceededError("out"), "budget", None),
        (JournalError("disk"), "failed", JournalError),
    ],
)
async def test_an_error_of_the_run_stops_it_and_the_row_stays_not_run(
    error: Exception, reason: str, raised: type[Exception] | None
) -> None:
    chunks = Chunks(50, 50)
    context = await run(chunks, Work(lambda n: error if n == 5 else None))
    control = context.control
    assert (control.stopping, control.reason, context.metrics.message) == (True, reason, str(error))
    assert control.error is (error if raised else None)
    assert chunks.rows[5].status == "not_run"
    assert chunks.rows[5].failure is None
    assert context.done_rows < 20


async def test_halted_rows_stay_not_run() -> None:
    chunks = Chunks(4)
    context = await run(chunks, Work(lambda n: Halted() if n % 2 else None))
    assert [row.status for row in chunks.rows] == ["answered", "not_run", "answered", "not_run"]
    assert context.done_rows == 2


@pytest.mark.parametrize("where", ["open", "prepare"])
async def test_a_stage_that_cant_begin_ends_the_run_with_its_error(where: str) -> None:
    class Broken(Work):
        async def open(self, context: ExecutionContext) -> None:
            if where == "open":
                raise JournalError("disk")

        async def prepare(self, rows: Any, context: ExecutionContext) -> None:
            if where == "prepare":
                raise JournalError("disk")

    work = Broken()
    with pytest.raises(JournalError, match="disk"):
        await run(Chunks(10), work)
    assert work.seen == []


async def test_rows_that_were_only_prepared_when_the_run_ends_have_no_outcome() -> None:
    """Else they would be skipped or failed in `run.rows`, and not run in every count."""

    class Judges(Work):
        async def prepare(self, rows: Sequence[Row], context: ExecutionContext) -> None:
            for row in rows[2:]:
                row.skip() if row.position % 2 else row.fail(ValueError("no"), self.name)
            if rows[0].position:
                raise JournalError("can't be read")

    for sizes, problem in (((6,), None), ((2, 6), "can't be read")):
        context, chunks = ExecutionContext(total_rows=sum(sizes)), Chunks(*sizes)
        if problem is None:
            work = Judges(each=lambda _, context=context: context.control.stop())
            await run(chunks, work, width=1, context=context)
        else:
            with pytest.raises(JournalError, match=problem):
                await run(chunks, Judges(), width=1, context=context)
        settled = [row for row in chunks.rows if row.status in ("skipped", "failed")]
        assert len(settled) == context.skipped_rows + context.failed_rows
        assert len([row for row in chunks.rows if row.failure]) == context.failed_rows


async def test_a_row_that_is_taken_as_the_budget_ends_has_no_outcome_either() -> None:
    """As one that a stage has skipped while the run was told to end."""

    class SkipsAndEnds(RowStage):
        async def prepare(self, rows: Sequence[Row], context: ExecutionContext) -> None:
            for row in rows:
                row.skip()
            context.control.stop("budget")

    chunks = Chunks(4)
    context = ExecutionContext(total_rows=4, max_budget=1)
    await run(chunks, SkipsAndEnds("ends"), context=context)
    assert [row.status for row in chunks.rows] == ["not_run"] * 4
    assert context.skipped_rows == 0


async def test_a_stop_lets_what_is_sending_end_and_cancels_what_waits() -> None:
    answered, chunks = asyncio.Event(), Chunks(10)
    context = ExecutionContext()

    class Sending(RowStage):
        closed = False

        async def process_row(self, row: Row, context: ExecutionContext) -> None:
            row.sending = row["n"] == 0
            await answered.wait()
            row.status, row.sending = "answered", False

        async def close(self) -> None:
            self.closed = True

    stage = Sending()
    window = asyncio.create_task(Window([stage], context, 3).run(arriving(chunks)))
    await turns(5)
    context.control.stop()
    async with asyncio.timeout(PATIENCE):
        await window  # back at once, with one row in flight
        assert not stage.closed
        assert context.control.draining
        answered.set()
        await context.control.drained()
    assert stage.closed
    assert [row.status for row in chunks.rows[:3]] == ["answered", "not_run", "not_run"]
    assert context.done_rows == 1


async def test_a_second_stop_cancels_what_is_sending() -> None:
    context, chunks = ExecutionContext(), Chunks(10)

    class Sending(RowStage):
        async def process_row(self, row: Row, context: ExecutionContext) -> None:
            row.sending = True
            await asyncio.sleep(30)

    window = asyncio.create_task(Window([Sending()], context, 3).run(arriving(chunks)))
    await turns(5)
    context.control.stop()
    await window
    assert not context.control.cancelled
    context.control.stop()
    async with asyncio.timeout(PATIENCE):
        await context.control.drained()
    assert context.control.cancelled
    assert {row.status for row in chunks.rows} == {"not_run"}


def test_an_error_behind_a_hard_stop_doesnt_soften_it() -> None:
    control = ExecutionContext().control
    control.stop()
    control.stop()
    control.stop("failed", RuntimeError())
    assert control.cancelled
    assert (control.reason, control.error) == ("stopped", None)


async def test_a_stop_may_come_from_any_thread() -> None:
    context = ExecutionContext()
    work = Work(each=lambda n: asyncio.sleep(0.001))
    window = asyncio.create_task(Window([work], context, 3).run(arriving(Chunks(*[10] * 500))))
    while len(work.seen) < 10:
        await asyncio.sleep(0)
    await asyncio.to_thread(context.control.stop)
    async with asyncio.timeout(PATIENCE):
        await window
        await context.control.drained()
    assert len(work.seen) < 2000


@pytest.mark.parametrize("stops", [False, True])
async def test_no_worker_stays_behind_where_the_run_is_kept(stops: bool) -> None:
    """A loop that ends looks through all tasks of the process: thousands take it too long."""
    workers: WeakSet[Any] = WeakSet()
    context = ExecutionContext(total_rows=300)
    work = Work(each=lambda n: workers.add(asyncio.current_task()))
    window = Window([work], context, 200)
    running = asyncio.create_task(window.run(arriving(Chunks(300))))
    while len(work.seen) < 100:
        await asyncio.sleep(0)
    assert workers
    if stops:
        context.control.stop()
    await running
    await context.control.drained()
    gc.collect()
    assert not workers


@pytest.mark.parametrize(("sizes", "width"), [((1,), 256), ((3, 2), 256), ((40,) * 5, 7), ((), 9)])
async def test_there_are_as_many_workers_as_rows_up_to_the_width(
    sizes: tuple[int, ...], width: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """None that has a row is missing; one more may have looked for further rows, in vain."""
    started: list[int] = []
    work = Window._work

    async def counted(self: Window) -> None:
        started.append(1)
        await work(self)

    monkeypatch.setattr(Window, "_work", counted)
    stage = Work(each=lambda n: asyncio.sleep(0.01))
    await run(Chunks(*sizes), stage, width=width)
    rows = sum(sizes)
    assert stage.peak <= len(started) <= max(1, min(width, rows + 1))
    assert stage.peak == min(width, max(sizes, default=0)) or len(sizes) == 2


async def test_the_view_gets_the_last_rows_shortened() -> None:
    class Long(RowStage):
        async def process_row(self, row: Row, context: ExecutionContext) -> None:
            row.outputs = {"out": "x" * 1000}

    context = await run(Chunks(10), Long())
    assert [sample.position for sample in context.metrics.recent] == [7, 8, 9]
    assert context.metrics.recent[-1].inputs == {"n": 9}
    assert len(context.metrics.recent[-1].outputs["out"]) == 300


async def test_failures_are_counted_by_their_label() -> None:
    context = await run(Chunks(4), Work(lambda n: RefusalError("no") if n else KeyError("k")))
    assert context.metrics.failures == {"refusal": 3, "failed": 1}
    assert context.metrics.last_error is not None


# --- rows that wait for one another


class Gathering(RowStage):
    """Keeps the rows that `held` names back until `most` of them are there, then lets some go."""

    def __init__(self, held: set[int], most: int, seed: int) -> None:
        super().__init__("gathering")
        self.waiting, self.most, self.random = set(held), most, random.Random(seed)
        self.seen: set[int] = set()
        self.most_waiting = 0

    async def gather(
        self, chunks: AsyncGenerator[Sequence[Row], None], context: ExecutionContext
    ) -> AsyncGenerator[Sequence[Row], None]:
        held: list[Row] = []
        async for chunk in chunks:
            self.seen |= {row.position for row in chunk} & self.waiting
            self.most_waiting = max(self.most_waiting, len(self.seen))
            held += [row for row in chunk if row.position in self.seen]
            yield [row for row in chunk if row.position not in self.seen]
            while len(self.seen) >= self.most:
                yield self.some_of(held)
        while held:
            yield self.some_of(held)

    def some_of(self, held: list[Row]) -> list[Row]:
        some = self.random.sample(sorted(self.seen), self.random.randint(1, len(self.seen)))
        self.seen -= set(some)
        self.waiting -= set(some)
        free = [row for row in held if row.position in some]
        held[:] = [row for row in held if row.position not in some]
        return free

    async def process_row(self, row: Row, context: ExecutionContext) -> None:
        assert row.position not in self.seen
        row.outputs, row.status = {"n": row.position}, "answered"


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 2**32),
    st.lists(st.integers(1, 9), max_size=6),
    st.integers(1, 5),
    st.sets(st.integers(0, 40)),
    st.integers(1, 12),
)
def test_rows_that_are_held_get_their_outcome_once_and_no_more_wait_than_may(
    seed: int, sizes: list[int], width: int, held: set[int], most: int
) -> None:
    chunks, stage = Chunks(*sizes), Gathering(held, most, seed)
    context = asyncio.run(run(chunks, stage, width=width))
    assert context.processed_rows == sum(sizes)
    assert all(row.outputs == {"n": row.position} for row in chunks.rows)
    assert stage.most_waiting < most + 9


async def test_a_stage_whose_gathering_fails_ends_the_run_with_its_error() -> None:
    class Failing(Gathering):
        def some_of(self, held: list[Row]) -> list[Row]:
            raise JournalError("no room")

    context = ExecutionContext()
    with pytest.raises(JournalError, match="no room"):
        await run(Chunks(4), Failing({1, 2}, 9, 0), context=context)
    assert context.processed_rows == 2
