"""Runs in chunks and gives each finished chunk as a frame, in input order."""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import itertools
import queue
import threading
from collections import deque
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any

from ...data import kind_of, open_source
from ...models import CostEstimate, ExecutionResult, ProcessingStats
from ..checks import check_on_error, check_run, whole_number
from ..context import ExecutionContext
from ..flow import Chunk, flow, native, only
from ..rows import RowSet, RowStream
from ..stage import PipelineStage, RowStage
from ..state_manager import StateManager
from .base import ExecutionStrategy, checkpoint, result_of, ticking
from .in_thread import run_in_thread

__all__ = ["StreamingExecutor", "StreamingResult"]

_POLL_SECONDS = 0.1
_END = object()


class StreamingResult:
    """Adds up what a stream's chunks were, for the `ExecutionResult` at its end."""

    def __init__(self) -> None:
        self.chunks_processed: int = 0
        self.total_rows: int = 0
        self.total_cost: Decimal = Decimal("0.0")
        self.start_time: datetime = datetime.now()
        self.end_time: datetime | None = None
        self.failed_rows: int = 0
        self.skipped_rows: int = 0
        self.input_tokens: int = 0
        self.output_tokens: int = 0
        self._nothing: Any = None

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
        if self._nothing is None:
            self._nothing = _without_rows(chunk)
        self.total_rows += len(chunk)
        self.total_cost += cost
        self.failed_rows += failed_rows
        self.skipped_rows += skipped_rows
        self.input_tokens += input_tokens
        self.output_tokens += output_tokens

    def finalize(self) -> ExecutionResult:
        """The result of the whole stream; its `data` is a chunk without rows, since they are gone,
        or an empty pandas frame where there was no chunk."""
        self.end_time = datetime.now()
        seconds = (self.end_time - self.start_time).total_seconds()
        processed = self.total_rows - self.failed_rows - self.skipped_rows
        result = ExecutionResult(
            data=self._nothing,
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
        if result.data is None:
            result.data = result.to_pandas()
        return result


class StreamingExecutor(ExecutionStrategy):
    """Gives frames of `chunk_size` rows as they are finished, through the same run loop.

    The table stages before the first row stage run once and load: a frame, a LazyFrame, a path to a
    CSV, Parquet or JSONL file, a generator of rows, or one of frames, which are chunks then.
    Everything behind them runs for each chunk. Rows of later chunks go on while the slowest row of
    a chunk is under way, at most `4 * chunk_size` rows ahead (or eight for each of
    `max_concurrency`, if that is more). `result` has the totals once the stream has ended. With a
    `state_manager`, checkpoints are saved at the ends of chunks, too.
    """

    def __init__(
        self,
        chunk_size: int = 1000,
        *,
        max_concurrency: int = 10,
        on_error: str = "keep",
        state_manager: StateManager | None = None,
    ) -> None:
        self.chunk_size: int = whole_number("chunk_size", chunk_size, "row ")
        self.max_concurrency: int = whole_number("max_concurrency", max_concurrency)
        check_on_error(on_error)
        self.on_error = on_error
        self.state_manager = state_manager
        self.result: ExecutionResult | None = None

    @property
    def name(self) -> str:
        return "streaming"

    def execute(self, stages: list[PipelineStage], context: ExecutionContext) -> Iterator[Any]:
        """Frames in input order. Leaving the loop early stops the run."""
        check_run(stages, context)
        handover, end = _Handover(), object()

        def work() -> None:
            try:
                run_in_thread(lambda: self._fill(stages, context, handover))
                handover.put(end)
            except BaseException as error:
                handover.put(error)
            finally:
                atexit.unregister(see_through)

        def leave() -> None:
            handover.leave()
            context.control.stop("stream closed")

        def see_through() -> None:
            leave()
            thread.join()

        self.result = None
        thread = threading.Thread(target=work, name="ondine-stream", daemon=True)
        # A script that ends waits for what is in flight; before the journal closes, which was
        # opened earlier.
        atexit.register(see_through)
        thread.start()
        chunk = None
        try:
            while (chunk := handover.take()) is not end:
                if isinstance(chunk, BaseException):
                    raise chunk
                yield chunk
        finally:
            if chunk is not end:
                leave()

    def execute_stream(
        self, stages: list[PipelineStage], context: ExecutionContext
    ) -> Iterator[Any]:
        """The same as `execute`."""
        return self.execute(stages, context)

    async def _fill(
        self,
        stages: list[PipelineStage],
        context: ExecutionContext,
        handover: _Handover,
    ) -> None:
        try:
            async with contextlib.aclosing(self.execute_async(stages, context)) as made:
                async for chunk in made:
                    await handover.give(chunk)
        finally:
            # The loop ends with this coroutine: what is in flight has to be journaled first.
            await context.control.drained()

    async def execute_async(
        self, stages: Sequence[PipelineStage], context: ExecutionContext
    ) -> AsyncGenerator[Any, None]:
        """The async twin of `execute`: frames in input order, on the running loop.

        Whoever leaves it early closes it too (`contextlib.aclosing`), or waits for the collector.
        """
        self.result = None
        async with (
            ticking(context, stages, self.state_manager),
            contextlib.aclosing(self._chunks(stages, context)) as chunks,
        ):
            nothing: Any = None
            try:
                async for frame in chunks:
                    nothing = _without_rows(frame) if nothing is None else nothing
                    await checkpoint(context, self.state_manager)
                    yield frame
            except GeneratorExit:  # nobody takes any more: a stop, and told as one
                context.control.stop("stream closed")
                await chunks.aclose()
                await self._complete(nothing, context)
                raise
            await self._complete(nothing, context)

    async def _complete(self, nothing: Any, context: ExecutionContext) -> None:
        context.end_time = datetime.now()
        self.result = result_of(nothing, context)
        await context.dispatcher.send("on_pipeline_complete", context, self.result)

    async def _chunks(
        self, stages: Sequence[PipelineStage], context: ExecutionContext
    ) -> AsyncGenerator[Any, None]:
        """The frames that come out behind all stages."""
        loading = _loading(stages)
        loaded = None
        async for chunk in flow(stages[:loading], only(), context, width=1):
            loaded = chunk.data
        behind = stages[loading:]
        read: deque[int] = deque()
        chunks = flow(
            behind,
            _chunks_of(loaded, self.chunk_size, read),
            context,
            width=self.max_concurrency,
            on_error=self.on_error,
            first_index=loading,
            ahead=max(4 * self.chunk_size, 8 * self.max_concurrency),
        )
        cut_short = any(not isinstance(stage, RowStage) for stage in behind)
        done = 0
        async with contextlib.aclosing(chunks):
            async for chunk in chunks:
                done += read.popleft()
                if chunk.whole and not context.control.stopping:
                    context.count_tables(done)
                # Half a chunk has passed table stages by; None is what a stage gives for no frame.
                if (chunk.whole or not cut_short) and chunk.data is not None:
                    yield native(chunk.data)

    def supports_async(self) -> bool:
        return False

    def supports_streaming(self) -> bool:
        return True


async def _chunks_of(loaded: Any, size: int, read: deque[int]) -> AsyncGenerator[Chunk, None]:
    """What was loaded, `size` rows at a time; frames that come one by one stay as they are.

    Read in a thread, one chunk ahead: the loop isn't held by a slow file or generator. `read` gets
    the number of rows of each.
    """
    if loaded is None:
        read.append(0)
        yield Chunk(None)
        return
    chunks = _in_chunks(loaded, size)
    chunk = await asyncio.to_thread(next, chunks, _END)
    while chunk is not _END:
        read.append(len(chunk) if hasattr(chunk, "__len__") else 0)
        try:
            following = await asyncio.to_thread(next, chunks, _END)
        except Exception:  # of the file or the generator; what was read before is good
            yield Chunk(chunk, last=False)
            raise
        yield Chunk(chunk, last=following is _END)
        chunk = following


class _Handover:
    """Chunks from a loop to a thread that takes them; at most one waits there to be taken.

    No thread of the loop's pool waits meanwhile: one that does holds up the interpreter's end.
    """

    def __init__(self) -> None:
        self._chunks: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._room = asyncio.Semaphore(1)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._left = False

    async def give(self, chunk: Any) -> None:
        """Hand a chunk over when the last one is taken; let it go when nobody takes any more."""
        self._loop = asyncio.get_running_loop()
        if not self._left:
            await self._room.acquire()
        if not self._left:
            self.put(chunk)

    def put(self, chunk: Any) -> None:
        """Hand over without waiting; from any thread."""
        self._chunks.put(chunk)

    def take(self) -> Any:
        """The next chunk, waited for in short steps, so that an interrupt is noticed."""
        while True:
            with contextlib.suppress(queue.Empty):
                chunk = self._chunks.get(timeout=_POLL_SECONDS)
                self._make_room()
                return chunk

    def leave(self) -> None:
        """Take no more."""
        self._left = True
        self._make_room()

    def _make_room(self) -> None:
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):  # its loop is closed: it was the last chunk
                self._loop.call_soon_threadsafe(self._room.release)


def _in_chunks(loaded: Any, size: int) -> Iterator[Any]:
    if isinstance(loaded, Iterator):
        first = next(loaded, None)
        again = itertools.chain([] if first is None else [first], loaded)
        if first is None or kind_of(first):
            return again
        loaded = again
    if isinstance(loaded, list | tuple) and not any(isinstance(each, Mapping) for each in loaded):
        return (loaded[at : at + size] for at in range(0, max(1, len(loaded)), size))
    rows = loaded if isinstance(loaded, RowSet | RowStream) else RowStream(open_source(loaded))
    return rows.split(size)


def _loading(stages: Sequence[PipelineStage]) -> int:
    """How many stages load: those before the first row stage, but at least the first one."""
    for index, stage in enumerate(stages):
        if isinstance(stage, RowStage):
            return index
    return min(1, len(stages))


def _without_rows(frame: Any) -> Any:
    """A frame's or a list's like; None for what a stage may make of a chunk else."""
    if hasattr(frame, "head"):
        return frame.head(0)
    return [] if isinstance(frame, list) else None
