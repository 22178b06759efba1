"""What observers are told, in which order, however a run is built and however it ends."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ondine_nb.errors import BudgetExceededError, FatalProviderError, RefusalError
from ondine_nb.orchestration import (
    AsyncExecutor,
    ExecutionContext,
    PipelineStage,
    StreamingExecutor,
    SyncExecutor,
)
from tests.orchestration.parts import Events, Load, OutColumn, Table, Work, frame
from tests.patience import PATIENCE

ERRORS: dict[str, type[Exception]] = {
    "row": RefusalError,
    "fatal": FatalProviderError,
    "budget": BudgetExceededError,
}
WAYS = ["async", "sync", "stream", "stream twin"]


@dataclass(frozen=True)
class Plan:
    """A run: its stages by kind, and what befalls it in which stage and row."""

    way: str
    kinds: tuple[str, ...]
    rows: int
    width: int
    on_error: str
    trouble: str
    where: int
    row: int


plans = st.builds(
    Plan,
    way=st.sampled_from(WAYS),
    kinds=st.lists(st.sampled_from(["row", "table"]), max_size=4).map(tuple),
    rows=st.integers(0, 14),
    width=st.integers(1, 4),
    on_error=st.sampled_from(["keep", "stop"]),
    trouble=st.sampled_from(
        ["none", "row", "fatal", "budget", "stop", "broken", "leave", "cancel"]
    ),
    where=st.integers(0, 3),
    row=st.integers(0, 13),
)


def stages_of(plan: Plan, context: ExecutionContext) -> list[PipelineStage]:
    return [Load(frame(plan.rows)), *(_stage(plan, at, context) for at in range(len(plan.kinds)))]


def _stage(plan: Plan, at: int, context: ExecutionContext) -> PipelineStage:
    here = plan.where == at
    if plan.kinds[at] == "table":
        return Table(_broken if here and plan.trouble == "broken" else _same, f"stage {at}")

    def failing(n: int) -> BaseException | None:
        hit = here and n == plan.row and plan.trouble in ERRORS
        return ERRORS[plan.trouble]("no") if hit else None

    def each(n: int) -> None:
        if here and n == plan.row and plan.trouble == "stop":
            context.control.stop()

    work = Work(failing, each, f"stage {at}")
    work.produces = (OutColumn(f"out {at}"),)
    return work


def _same(data: Any) -> Any:
    return data


def _broken(data: Any) -> Any:
    raise ValueError("broken")


async def _stream(executor: StreamingExecutor, stages: Any, context: Any, leave: bool) -> None:
    async with contextlib.aclosing(executor.execute_async(stages, context)) as chunks:
        async for _ in chunks:
            if leave:
                return


async def run(plan: Plan, stages: list[PipelineStage], context: ExecutionContext) -> Any:
    """What ended the run: None, or the error."""
    given = {"max_concurrency": plan.width, "on_error": plan.on_error}
    leave = plan.trouble == "leave"
    streaming = StreamingExecutor(3, **given)  # type: ignore[arg-type]
    ways: dict[str, Any] = {
        "async": lambda: AsyncExecutor(**given).execute(stages, context),  # type: ignore[arg-type]
        "sync": lambda: asyncio.to_thread(SyncExecutor(**given).execute, stages, context),  # type: ignore[arg-type]
        "stream": lambda: asyncio.to_thread(_blocking, streaming, stages, context, leave),
        "stream twin": lambda: _stream(streaming, stages, context, leave),
    }
    task = asyncio.ensure_future(ways[plan.way]())
    if plan.trouble == "cancel" and plan.way in ("async", "stream twin"):
        for _ in range(plan.row):
            await asyncio.sleep(0)
        task.cancel()
    try:
        async with asyncio.timeout(PATIENCE):
            await task
    except (Exception, asyncio.CancelledError) as error:
        return error
    return None


def _blocking(executor: StreamingExecutor, stages: Any, context: Any, leave: bool) -> None:
    for _ in executor.execute(stages, context):
        if leave:
            return


async def _told(events: Events) -> None:
    """Wait for the last event: a stream that is left ends beside its taker."""
    async with asyncio.timeout(PATIENCE):
        while events.events and events.events[-1][0] not in ("complete", "error"):
            await asyncio.sleep(0.001)


@settings(max_examples=150, deadline=None)
@given(plans)
def test_every_run_is_told_from_its_start_to_its_one_end(plan: Plan) -> None:
    events = Events()
    context = ExecutionContext(observers=[events])
    stages = stages_of(plan, context)

    async def main() -> Any:
        error = await run(plan, stages, context)
        await _told(events)
        await context.control.drained()
        return error

    error = asyncio.run(main())
    assert not isinstance(error, TimeoutError)
    told = events.events
    if not told:  # cancelled before it began
        assert plan.trouble == "cancel"
        return
    assert told[0] == ("start", "")
    assert told[-1][0] == ("complete" if error is None else "error")
    _check_stages(told[1:-1], [stage.name for stage in stages])
    if error is None and not context.control.stopping:
        assert Counter(told[1:-1]) == Counter(
            (what, stage.name) for what in ("stage", "staged") for stage in stages
        )
    if isinstance(error, ValueError):
        assert ("stage error", f"stage {plan.where}") in told


def _check_stages(told: list[tuple[str, str]], names: list[str]) -> None:
    """Each stage begins once at most, in their order, and ends once at most, after its start."""
    assert {what for what, _ in told} <= {"stage", "staged", "stage error"}
    begun = [name for what, name in told if what == "stage"]
    assert begun == [name for name in names if name in begun]
    ended = [name for what, name in told if what != "stage"]
    assert len(ended) == len(set(ended))
    assert all(told.index(("stage", name)) < _end(told, name) for name in ended)


def _end(told: list[tuple[str, str]], name: str) -> int:
    return next(at for at, (what, whose) in enumerate(told) if whose == name and what != "stage")


@pytest.mark.parametrize("way", WAYS)
def test_a_part_that_cannot_be_put_together_ends_the_run_instead_of_hanging_it(way: str) -> None:
    plan = Plan(way, (), 20, 2, "keep", "none", 0, 0)
    events = Events()
    context = ExecutionContext(observers=[events])
    stages = [Load(frame(20)), Work(name="one"), Work(name="two")]  # both add a column `out`
    error = asyncio.run(run(plan, stages, context))
    assert "two new columns would be named 'out'" in str(error)
    assert events.events[-1] == ("error", "")
