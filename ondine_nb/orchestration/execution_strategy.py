"""The one run loop that every executor uses, and what an executor promises."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import time
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Iterator, Sequence
from datetime import datetime
from itertools import groupby
from typing import Any

from ..contracts import ExecutionContext, PipelineStage, RowStage
from ..errors import ConfigurationError
from ..frames import wrap
from ..models import ExecutionResult
from ..stages import RowSet
from .window import Window

__all__ = ["ExecutionStrategy", "run_segments", "run_stages", "ticking"]

_TICK_SECONDS = 0.125


class ExecutionStrategy(ABC):
    """Runs stages in one way or another."""

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
) -> ExecutionResult:
    """Run `stages` on the running loop, at most `width` rows at once in the row stages.

    Calls the observers, `validate_input` and the hooks. Returns when all is done, or soon after a
    stop with what is there. Raises the error that ended the run.
    """
    async with ticking(context, stages):
        data = await run_segments(stages, context, width=width, on_error=on_error)
        if context.done_rows == 0 and not context.control.stopping:
            context.processed_rows = context.total_rows  # table stages don't count rows
        context.end_time = datetime.now()
        result = _result(data, context)
        await context.dispatcher.send("on_pipeline_complete", context, result)
    return result


@contextlib.asynccontextmanager
async def ticking(
    context: ExecutionContext, stages: Sequence[PipelineStage]
) -> AsyncIterator[None]:
    """Tell the observers of the start, of progress, and of an error that ends the run."""
    context.end_time = None
    await context.dispatcher.send("on_pipeline_start", stages, context)
    ticker = asyncio.create_task(_tick(context))
    try:
        yield
    except Exception as error:  # whatever it is, it is told and goes on to the caller
        ticker.cancel()
        context.end_time = datetime.now()
        await context.dispatcher.send("on_pipeline_error", context, error)
        raise
    finally:
        ticker.cancel()
        context.end_time = context.end_time or datetime.now()


async def _tick(context: ExecutionContext) -> None:
    """Redraw, and keep the loop turning: a SIGINT wakes it only when it is active."""
    while True:
        await asyncio.sleep(_TICK_SECONDS)
        context.notify_progress()


async def run_segments(
    stages: Sequence[PipelineStage],
    context: ExecutionContext,
    *,
    width: int,
    on_error: str = "keep",
    data: Any = None,
    first_index: int = 0,
) -> Any:
    """Run table stages one after another and neighbouring row stages fused; give what comes out."""
    index, counts = first_index, True
    for fused, group in groupby(stages, key=lambda stage: isinstance(stage, RowStage)):
        segment = list(group)
        if fused:
            data = await _run_rows(segment, index, context, width, on_error, data, counts)
            counts = False
        else:
            for offset, stage in enumerate(segment):
                context.update_stage(index + offset)
                data = await _run_table(stage, context, data)
        index += len(segment)
        if context.control.stopping:
            break
    return data


async def _run_table(stage: PipelineStage, context: ExecutionContext, data: Any) -> Any:
    dispatcher = context.dispatcher
    started = time.perf_counter()
    await dispatcher.send("on_stage_start", stage, context)
    try:
        await _validate(stage, data, context)
        result = _call_stage(stage, data, context)
        if inspect.isawaitable(result):
            result = await result
    except Exception as error:  # told, and raised again
        await dispatcher.send("on_stage_error", stage, context, error)
        raise
    _count_rows(result, context)
    context.stage_durations[stage.name] = time.perf_counter() - started
    await dispatcher.send("on_stage_complete", stage, context, result)
    return result


def _call_stage(stage: PipelineStage, data: Any, context: ExecutionContext) -> Any:
    """`process` with its hooks; just `process` of what only looks like a stage, as a mock."""
    call = stage.execute if hasattr(type(stage), "execute") else stage.process
    return call(data, context)


def _count_rows(result: Any, context: ExecutionContext) -> None:
    """The number of rows is known once the first stage has loaded them."""
    if context.total_rows == 0 and hasattr(result, "__len__") and not isinstance(result, str):
        context.total_rows = len(result)


async def _validate(stage: PipelineStage, data: Any, context: ExecutionContext) -> None:
    verdict = _call_validation(stage, data, context)
    if inspect.isawaitable(verdict):
        verdict = await verdict
    if verdict is not None and not getattr(verdict, "is_valid", True):
        reasons = "; ".join(str(error) for error in verdict.errors) or "no reason given"
        raise ConfigurationError(f"stage '{stage.name}' can't take its input: {reasons}")


def _call_validation(stage: PipelineStage, data: Any, context: ExecutionContext) -> Any:
    """Subclasses in the wild take `(data)` or `(data, context)`."""
    validate: Any = stage.validate_input
    parameters = inspect.signature(validate).parameters.values()
    positional = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    takes_both = len(positional) > 1 or any(p.kind is p.VAR_POSITIONAL for p in parameters)
    return validate(data, context) if takes_both else validate(data)


async def _run_rows(
    stages: list[Any],
    first_index: int,
    context: ExecutionContext,
    width: int,
    on_error: str,
    data: Any,
    counts: bool,
) -> Any:
    """A segment of row stages over the frame that came before it; gives the frame behind it."""
    rowset = data if isinstance(data, RowSet) else RowSet(wrap(data))
    if context.total_rows == 0:
        context.total_rows = len(rowset)
    dispatcher = context.dispatcher
    started = time.perf_counter()
    context.update_stage(first_index)
    begun: list[Any] = []
    try:
        for stage in stages:
            await dispatcher.send("on_stage_start", stage, context)
            begun.append(stage)
            await _validate(stage, data, context)
        window = Window(stages, context, width, on_error=on_error, counts=counts)
        await window.run(rowset.chunks(_columns(stages)))
        if context.control.error is not None:
            raise context.control.error
        frame = await _frame(rowset, stages)
    except Exception as error:  # told, and raised again
        for stage in begun:
            await dispatcher.send("on_stage_error", stage, context, error)
        raise
    for stage in stages:
        context.stage_durations[stage.name] = time.perf_counter() - started
        await dispatcher.send("on_stage_complete", stage, context, frame)
    return frame


def _columns(stages: Sequence[RowStage]) -> list[str] | None:
    """The input columns that any of the stages reads, each once; None for all."""
    columns: dict[str, None] = {}
    for stage in stages:
        if stage.columns is None:
            return None
        columns.update(dict.fromkeys(stage.columns))
    return list(columns)


async def _frame(rowset: RowSet, stages: Sequence[RowStage]) -> Any:
    """Built in a thread where it would hold the loop up."""
    produced = [column for stage in stages for column in stage.produces]
    if len(rowset) < 5_000:
        return rowset.to_frame(produced)
    return await asyncio.to_thread(rowset.to_frame, produced)


def _result(data: Any, context: ExecutionContext) -> ExecutionResult:
    stats = context.get_stats()
    failed_all = stats.failed_rows > 0 and stats.processed_rows == 0
    return ExecutionResult(
        data=data,
        metrics=stats,
        costs=context.get_costs(),
        execution_id=context.session_id,
        start_time=context.start_time,
        end_time=context.end_time,
        success=not failed_all and not context.control.stopping,
        metadata={"possibly_billed": str(context.gauges.possibly_billed)},
    )
