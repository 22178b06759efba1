"""Runs in chunks and gives each finished chunk as a frame, in input order."""

from __future__ import annotations

import asyncio
import contextlib
import queue
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any

from ..contracts import ExecutionContext, PipelineStage, RowStage
from ..errors import ConfigurationError
from ..frames import wrap
from ..models import CostEstimate, ExecutionResult, ProcessingStats
from ..rows import ZERO
from ..stages import RowSet
from .execution_strategy import ExecutionStrategy, run_segments, ticking
from .sync_executor import run_in_thread

__all__ = ["StreamingExecutor", "StreamingResult"]

_POLL_SECONDS = 0.1


class StreamingResult:
    """Adds up what a stream's chunks were, for the `ExecutionResult` at its end."""

    def __init__(self) -> None:
        self.chunks_processed = 0
        self.total_rows = 0
        self.total_cost = Decimal("0.0")
        self.start_time = datetime.now()
        self.end_time: datetime | None = None
        self.failed_rows = 0
        self.skipped_rows = 0
        self.input_tokens = 0
        self.output_tokens = 0

    def add_chunk(
        self,
        chunk: Any,
        cost: Decimal,
        *,
        failed_rows: int = 0,
        skipped_rows: int = 0,
        input_tokens: int = 0,
        output_tokens: int = 0,
    ) -> None:
        """Count one chunk: a frame, its cost in USD, and its own failures and tokens."""
        self.chunks_processed += 1
        self.total_rows += len(chunk)
        self.total_cost += cost
        self.failed_rows += failed_rows
        self.skipped_rows += skipped_rows
        self.input_tokens += input_tokens
        self.output_tokens += output_tokens

    def finalize(self) -> ExecutionResult:
        """The result of the whole stream; its `data` is None, since the chunks are gone."""
        self.end_time = datetime.now()
        seconds = (self.end_time - self.start_time).total_seconds()
        processed = self.total_rows - self.failed_rows - self.skipped_rows
        return ExecutionResult(
            data=None,
            metrics=ProcessingStats(
                total_rows=self.total_rows,
                processed_rows=processed,
                failed_rows=self.failed_rows,
                skipped_rows=self.skipped_rows,
                rows_per_second=self.total_rows / seconds if seconds > 0 else 0.0,
                total_duration_seconds=seconds,
            ),
            costs=CostEstimate(
                total_cost=self.total_cost,
                total_tokens=self.input_tokens + self.output_tokens,
                input_tokens=self.input_tokens,
                output_tokens=self.output_tokens,
                rows=self.total_rows,
                confidence="actual",
            ),
            start_time=self.start_time,
            end_time=self.end_time,
            success=self.failed_rows < self.total_rows or self.total_rows == 0,
        )


class StreamingExecutor(ExecutionStrategy):
    """Gives frames of `chunk_size` rows as they are finished, through the same run loop.

    The table stages before the first row stage run once and load; everything behind them runs for
    each chunk. `result` has the totals once the stream has ended.
    """

    def __init__(self, chunk_size: int = 1000, *, max_concurrency: int = 10) -> None:
        if chunk_size < 1:
            raise ConfigurationError(f"chunk_size is {chunk_size}: it has to be 1 row or more")
        self.chunk_size = chunk_size
        self.max_concurrency = max_concurrency
        self.result: ExecutionResult | None = None

    @property
    def name(self) -> str:
        return "streaming"

    def execute(self, stages: list[PipelineStage], context: ExecutionContext) -> Iterator[Any]:
        """Frames in input order. Leaving the loop early stops the run."""
        chunks: queue.Queue[Any] = queue.Queue(maxsize=1)
        end, left = object(), threading.Event()

        def put(chunk: Any) -> None:
            while not left.is_set():
                with contextlib.suppress(queue.Full):
                    chunks.put(chunk, timeout=_POLL_SECONDS)
                    return

        def work() -> None:
            try:
                run_in_thread(lambda: self._fill(stages, context, put))
                put(end)
            except BaseException as error:
                put(error)

        self.result = None
        threading.Thread(target=work, name="ondine-stream", daemon=True).start()
        chunk = None
        try:
            while (chunk := chunks.get()) is not end:
                if isinstance(chunk, BaseException):
                    raise chunk
                yield chunk
        finally:
            left.set()
            if chunk is not end:
                context.control.stop("stream closed")

    def execute_stream(
        self, stages: list[PipelineStage], context: ExecutionContext
    ) -> Iterator[Any]:
        """The same as `execute`."""
        return self.execute(stages, context)

    async def _fill(
        self,
        stages: list[PipelineStage],
        context: ExecutionContext,
        put: Callable[[Any], None],
    ) -> None:
        try:
            async for chunk in self.execute_async(stages, context):
                await asyncio.to_thread(put, chunk)
        finally:
            # The loop ends with this coroutine: what is in flight has to be journaled first.
            await context.control.drained()

    async def execute_async(
        self, stages: Sequence[PipelineStage], context: ExecutionContext
    ) -> AsyncIterator[Any]:
        """The async twin of `execute`: frames in input order, on the running loop."""
        self.result = None
        totals = StreamingResult()
        loading = _loading(stages)
        async with ticking(context, stages):
            loaded = await run_segments(stages[:loading], context, width=1)
            behind = stages[loading:]
            for part in self._parts(loaded):
                before = _Snapshot(context)
                frame = await run_segments(
                    behind, context, width=self.max_concurrency, data=part, first_index=loading
                )
                if before.done == context.done_rows and not context.control.stopping:
                    context.processed_rows += len(frame)  # table stages don't count rows
                before.add(totals, frame, context)
                context.total_rows = max(context.total_rows, totals.total_rows)
                if context.control.stopping:
                    break
                try:
                    yield frame
                except GeneratorExit:
                    context.control.stop("stream closed")
                    raise
            context.end_time = datetime.now()
            self.result = totals.finalize()
            if not context.price_known:
                self.result.costs.total_cost = None
            self.result.success = self.result.success and not context.control.stopping
            await context.dispatcher.send("on_pipeline_complete", context, self.result)

    def _parts(self, loaded: Any) -> Iterator[Any]:
        """Frames of `chunk_size` rows out of what was loaded: a frame or frames in a row."""
        if isinstance(loaded, Iterator):
            yield from loaded
            return
        frame = loaded.frame if isinstance(loaded, RowSet) else wrap(loaded)
        for start in range(0, len(frame), self.chunk_size):
            positions = range(start, min(start + self.chunk_size, len(frame)))
            yield frame.take(positions).native

    def supports_async(self) -> bool:
        return False

    def supports_streaming(self) -> bool:
        return True


def _loading(stages: Sequence[PipelineStage]) -> int:
    """How many stages load: those before the first row stage, but at least the first one."""
    for index, stage in enumerate(stages):
        if isinstance(stage, RowStage):
            return index
    return min(1, len(stages))


class _Snapshot:
    """The context's totals before a chunk, for what the chunk adds to them."""

    def __init__(self, context: ExecutionContext) -> None:
        self.cost = context.accumulated_cost or ZERO
        self.failed, self.skipped = context.failed_rows, context.skipped_rows
        self.usage = context.usage
        self.done = context.done_rows

    def add(self, totals: StreamingResult, frame: Any, context: ExecutionContext) -> None:
        totals.add_chunk(
            frame,
            context.accumulated_cost - self.cost,
            failed_rows=context.failed_rows - self.failed,
            skipped_rows=context.skipped_rows - self.skipped,
            input_tokens=context.usage.prompt_tokens - self.usage.prompt_tokens,
            output_tokens=context.usage.output_tokens - self.usage.output_tokens,
        )
