"""The one run loop that every executor uses, and what an executor promises."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from abc import ABC, abstractmethod
from asyncio import CancelledError
from collections.abc import AsyncIterator, Iterator, Sequence
from datetime import datetime
from typing import Any

from ...errors import RunError
from ...models import ExecutionResult
from ..checks import check_run
from ..context import ExecutionContext
from ..flow import flow, only
from ..gc_pause import GcPause
from ..stage import PipelineStage
from ..state_manager import StateManager

__all__ = ["ExecutionStrategy", "checkpoint", "result_of", "run_stages", "ticking"]

_TICK_SECONDS = 0.16


class ExecutionStrategy(ABC):
    """Runs stages in one way or another.

    Plain table stages are called in a worker thread; row stages, `async` table stages and observers
    on the loop that runs the rows; the storage of checkpoints in a worker thread.
    """

    logger: logging.Logger = logging.getLogger("ondine_nb")

    @property
    @abstractmethod
    def name(self) -> str:
        """The strategy's name, for logs."""

    @abstractmethod
    def execute(
        self, stages: list[PipelineStage], context: ExecutionContext
    ) -> ExecutionResult | Iterator[Any] | AsyncIterator[Any] | Any:
        """Run the stages: a result, an awaitable of one, or an iterator of frames."""

    @abstractmethod
    def supports_async(self) -> bool:
        """Whether `execute` is to be awaited."""

    @abstractmethod
    def supports_streaming(self) -> bool:
        """Whether `execute` gives frames one after another."""


async def run_stages(
    stages: Sequence[PipelineStage],
    context: ExecutionContext,
    *,
    width: int,
    on_error: str = "keep",
    state_manager: StateManager | None = None,
) -> ExecutionResult:
    """Run `stages` on the running loop, at most `width` rows at once in the row stages.

    Calls the observers, `validate_input`, the hooks and the checkpoints. Returns when all is done,
    or soon after a stop with what is there. Raises the error that ended the run.
    """
    async with ticking(context, stages, state_manager):
        data = None
        chunks = flow(stages, only(), context, width=width, on_error=on_error)
        async with contextlib.aclosing(chunks):
            async for chunk in chunks:
                data = chunk.data
        if not context.control.stopping:
            context.count_tables(context.total_rows)
        context.end_time = datetime.now()
        result = result_of(data, context)
        await context.dispatcher.send("on_pipeline_complete", context, result)
    return result


@contextlib.asynccontextmanager
async def ticking(
    context: ExecutionContext,
    stages: Sequence[PipelineStage],
    state_manager: StateManager | None = None,
) -> AsyncIterator[None]:
    """Tell the observers of the start, of progress, and of an error or a cancellation that ends
    the run; save a checkpoint now and then, and at the end however it comes."""
    check_run(stages, context)
    context.begin()
    context.keeps_budget = any(getattr(stage, "budget", None) is not None for stage in stages)
    if state_manager is not None:
        state_manager.begin(context)
    collector = GcPause()
    await context.dispatcher.send("on_pipeline_start", stages, context)
    ticker = asyncio.create_task(_tick(context, state_manager, collector))
    collector.begin()
    try:
        yield
    except (Exception, asyncio.CancelledError) as error:  # it is told and goes on to the caller
        ticker.cancel()
        context.end_time = datetime.now()
        told = RunError("the run was cancelled") if isinstance(error, CancelledError) else error
        await context.dispatcher.send("on_pipeline_error", context, told)
        raise
    finally:
        ticker.cancel()
        collector.end()
        context.end_time = context.end_time or datetime.now()
        if state_manager is not None:
            await _save(state_manager, context)


async def checkpoint(context: ExecutionContext, state_manager: StateManager | None) -> None:
    """Save the state where enough rows have passed since it was last saved."""
    if state_manager is not None and state_manager.should_checkpoint(context.last_processed_row):
        await _save(state_manager, context)


async def _save(state_manager: StateManager, context: ExecutionContext) -> None:
    if state_manager.in_thread:
        try:
            await asyncio.to_thread(state_manager.save_checkpoint, context)
        except RuntimeError:  # the interpreter is ending, and takes no more threads
            state_manager.save_checkpoint(context)
            return
    if not state_manager.in_thread:  # as it has just found out, or earlier
        state_manager.save_checkpoint(context)


async def _tick(
    context: ExecutionContext, state_manager: StateManager | None, collector: GcPause
) -> None:
    """Redraw, and keep the loop turning: a SIGINT wakes it only when it is active."""
    while True:
        await asyncio.sleep(_TICK_SECONDS)
        context.metrics.tell_rate_limit()
        context.notify_progress()
        collector.grown(context.done_rows)
        await checkpoint(context, state_manager)


def result_of(data: Any, context: ExecutionContext) -> ExecutionResult:
    """What a run has come to, by the counts of its context."""
    stats = context.get_stats()
    failed_all = stats.failed_rows > 0 and stats.processed_rows == 0
    return ExecutionResult(
        data=data,
        metrics=stats,
        costs=context.get_costs(),
        execution_id=context.session_id,
        start_time=context.start_time,
        end_time=context.end_time,
        errors=sorted(context.metrics.failed, key=lambda failure: failure.row),
        success=not failed_all and not context.control.stopping,
        metadata={"possibly_billed": str(context.metrics.possibly_billed)},
    )
