"""How chunks of the data flow through stages: table stages one by one, row stages fused.

A run over a frame is one chunk; a stream is many. Either way a stage is told of its start and its
end once, and rows of the next chunk go on while the slowest of the last one is still under way.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import time
from collections import deque
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any

from ..data import Column, wrap
from ..errors import ConfigurationError
from .context import ExecutionContext
from .rows import NewColumn, Row, RowSet
from .stage import PipelineStage, RowStage, of_another_thread, says_thread
from .window import Window

__all__ = ["Chunk", "flow", "native", "only"]

_BUILT_ON_THE_LOOP = 5_000


@dataclass(frozen=True, slots=True)
class Chunk:
    """Some of the data: a frame, a `RowSet`, or whatever a stage gives.

    `last` says that none comes behind it, `whole` that every row of it has its outcome.
    """

    data: Any
    last: bool = True
    whole: bool = True


def native(data: Any) -> Any:
    """A chunk of a frame as the frame that it is."""
    return data.frame.native if isinstance(data, RowSet) else data


async def only(data: Any = None) -> AsyncGenerator[Chunk, None]:
    """All of the data at once."""
    yield Chunk(data)


async def flow(
    stages: Sequence[PipelineStage],
    chunks: AsyncGenerator[Chunk, None],
    context: ExecutionContext,
    *,
    width: int,
    on_error: str = "keep",
    first_index: int = 0,
    ahead: int | None = None,
) -> AsyncGenerator[Chunk, None]:
    """The chunks that come out behind `stages`, in the order in which they went in.

    At most `width` rows are in neighbouring row stages at once, and at most `ahead` rows (None: no
    limit) are read before those in front of them are taken. Raises the error that ends the run.
    """
    index, counts = first_index, True
    for fused, group in groupby(stages, key=lambda stage: isinstance(stage, RowStage)):
        neighbours: list[Any] = list(group)
        if fused:
            window = Window(neighbours, context, width, on_error=on_error, counts=counts)
            chunks = _Rows(neighbours, index, context, window, ahead).through(chunks)
            counts = False
        else:
            for offset, stage in enumerate(neighbours):
                chunks = _through_table(stage, index + offset, context, chunks)
        index += len(neighbours)
    async with contextlib.aclosing(chunks):
        async for chunk in chunks:
            yield chunk


async def _through_table(
    stage: PipelineStage, index: int, context: ExecutionContext, chunks: AsyncGenerator[Chunk, None]
) -> AsyncGenerator[Chunk, None]:
    begun, seconds = False, 0.0
    async with contextlib.aclosing(chunks):
        async for chunk in chunks:
            if chunk.data is not None and context.ended():
                chunk = replace(chunk, whole=False)
            if not chunk.whole:  # the run stops: what is there goes by as it is
                yield chunk
                continue
            if not begun:
                begun = True
                context.update_stage(index)
                await context.dispatcher.send("on_stage_start", stage, context)
            started = time.perf_counter()
            result = await _process(stage, native(chunk.data), context)
            seconds += time.perf_counter() - started
            if chunk.last:
                context.stage_durations[stage.name] = seconds
                await context.dispatcher.send("on_stage_complete", stage, context, result)
            yield replace(chunk, data=result)


async def _process(stage: PipelineStage, data: Any, context: ExecutionContext) -> Any:
    try:
        await _validate(stage, data, context)
        result = await _called(stage, stage.process, _execution(stage), data, context)
    except Exception as error:  # told, and raised again
        await context.dispatcher.send("on_stage_error", stage, context, error)
        raise
    _count_rows(result, context)
    return result


def _execution(stage: PipelineStage) -> Callable[..., Any]:
    """`process` with its hooks; just `process` of what only looks like a stage, as a mock."""
    return stage.execute if hasattr(type(stage), "execute") else stage.process


async def _called(
    stage: PipelineStage, method: Callable[..., Any], call: Callable[..., Any], *given: Any
) -> Any:
    """What `call` gives, which ends in `method`: in a thread where that is plain, since it may take
    long and the loop belongs to others too."""
    in_thread = getattr(stage, "in_thread", True) is not False
    try:
        if in_thread and not inspect.iscoroutinefunction(method):
            result = await asyncio.to_thread(call, *given)
        else:
            result = call(*given)
        return await result if inspect.isawaitable(result) else result
    except Exception as error:
        if not of_another_thread(error):
            raise
        raise says_thread(stage.name) from error


def _count_rows(result: Any, context: ExecutionContext) -> None:
    """The number of rows is known once the first stage has loaded them."""
    if context.total_rows == 0 and hasattr(result, "__len__") and not isinstance(result, str):
        context.total_rows = len(result)


async def _validate(stage: PipelineStage, data: Any, context: ExecutionContext) -> None:
    validate = getattr(stage, "validate_input", None)
    if validate is None or getattr(validate, "__func__", None) is PipelineStage.validate_input:
        return  # it only looks like a stage, or takes what it gets
    given = (data, context) if _takes_both(validate) else (data,)
    verdict = await _called(stage, validate, validate, *given)
    if not getattr(verdict, "is_valid", verdict is not False):
        told = getattr(verdict, "errors", ())
        reasons = "; ".join(str(error) for error in told) or "no reason given"
        raise ConfigurationError(f"stage '{stage.name}' can't take its input: {reasons}")
    warnings = getattr(verdict, "warnings", None)
    for warning in warnings if isinstance(warnings, list) else ():
        context.metrics.warn_once(f"stage '{stage.name}': {warning}")


def _takes_both(validate: Callable[..., Any]) -> bool:
    """Subclasses in the wild take `(data)` or `(data, context)`."""
    parameters = inspect.signature(validate).parameters.values()
    positional = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    return len(positional) > 1 or any(p.kind is p.VAR_POSITIONAL for p in parameters)


class _PendingChunk:
    """A chunk whose rows are under way, and how many of them have no outcome yet."""

    __slots__ = ("end", "last", "left", "rowset")

    def __init__(self, rowset: RowSet, last: bool) -> None:
        self.rowset, self.last = rowset, last
        self.left, self.end = rowset.asked, rowset.start + len(rowset)


class _Rows:
    """Neighbouring row stages, fused: one window over the rows of all chunks."""

    def __init__(
        self,
        stages: Sequence[RowStage],
        index: int,
        context: ExecutionContext,
        window: Window,
        ahead: int | None,
    ) -> None:
        self.stages = stages
        self.index = index
        self.context = context
        self.window = window
        self.ahead = ahead
        self._columns = _columns(stages)
        self._produced = _produced(stages)
        self._names = {column.name for column in self._produced}
        self._pending: deque[_PendingChunk] = deque()
        self._read = 0
        self._changed = asyncio.Event()  # a chunk may be complete, or the window has ended
        self._taken = asyncio.Event()  # there may be room for another chunk
        self._begun: list[RowStage] = []
        self._feeding = False
        self._frame: Any = None
        self._started = 0.0

    async def through(self, chunks: AsyncGenerator[Chunk, None]) -> AsyncGenerator[Chunk, None]:
        first = await anext(chunks, None)
        if first is None:
            return
        if not first.whole:  # the run has ended in front of these stages
            async with contextlib.aclosing(chunks):
                yield first
            return
        try:
            await self._begin(first)
            async with contextlib.aclosing(self._chunks(chunks)) as finished:
                async for chunk in finished:
                    yield chunk
        except Exception as error:  # told, and raised again
            for stage in self._begun:
                await self.context.dispatcher.send("on_stage_error", stage, self.context, error)
            raise
        finally:
            if not self._feeding:  # else the feed closes them, when no worker is inside
                await chunks.aclose()

    async def _begin(self, first: Chunk) -> None:
        self.context.update_stage(self.index)
        if self.window.counts:
            self.context.begin_rows()
        self._started = time.perf_counter()
        for stage in self.stages:
            await self.context.dispatcher.send("on_stage_start", stage, self.context)
            self._begun.append(stage)
        await self._take_in(first)

    async def _take_in(self, chunk: Chunk) -> RowSet:
        for stage in self.stages:
            await _validate(stage, chunk.data, self.context)
        given = chunk.data
        rowset = given if isinstance(given, RowSet) else RowSet(wrap(given), start=self._read)
        self._read += rowset.asked
        if self.window.counts:
            self.context.total_rows = max(self.context.total_rows, self._read)
        self._pending.append(_PendingChunk(rowset, chunk.last))
        if chunk.last:
            self.context.metrics.open_ended = False
        return rowset

    async def _chunks(self, chunks: AsyncGenerator[Chunk, None]) -> AsyncGenerator[Chunk, None]:
        """Each chunk when its last row has its outcome; at a stop, what is there of the others."""
        self.window.when_finished = self._finished
        feed = self._feed(self._pending[0].rowset, chunks)
        running = asyncio.create_task(self.window.run(feed))
        running.add_done_callback(lambda _: self._changed.set())
        try:
            while (pending := await self._complete(running)) is not None:
                yield await self._chunk(pending, last=pending.last)
            while self._pending:
                pending = self._pending.popleft()
                if self._frame is None or pending.left < pending.rowset.asked:
                    yield await self._chunk(
                        pending, last=not self._pending, whole=pending.left == 0
                    )
            running.result()
            if self.context.control.error is not None:
                raise self.context.control.error
            await self._end()
        except (asyncio.CancelledError, GeneratorExit) as left:
            cancelled = isinstance(left, asyncio.CancelledError)
            self.context.control.stop("cancelled" if cancelled else "stream closed")
            raise
        except Exception as error:  # a chunk can't be put together: the window has to end, too
            self.context.control.stop("failed", error)
            raise
        finally:
            await asyncio.wait({running})

    async def _feed(
        self, rowset: RowSet, chunks: AsyncGenerator[Chunk, None]
    ) -> AsyncGenerator[list[Row], None]:
        """The rows of all chunks, some at a time, as far as there is room."""
        self._feeding = True
        async with contextlib.aclosing(chunks):
            while True:
                left = rowset.asked
                for rows in rowset.chunks(self._columns):
                    left -= len(rows)
                    self.window.all_read = left == 0 and self._pending[-1].last
                    yield rows
                while self._full():
                    self._taken.clear()
                    await self._taken.wait()
                chunk = await anext(chunks, None)
                if chunk is None or not chunk.whole:
                    return
                rowset = await self._take_in(chunk)
                self._changed.set()  # a chunk without rows is complete at once

    def _full(self) -> bool:
        waiting = sum(len(pending.rowset) for pending in self._pending)
        return self.ahead is not None and waiting >= self.ahead

    def _finished(self, row: Row) -> None:
        if not row.outputs.keys() <= self._names:
            raise ConfigurationError(self._undeclared(row))
        for pending in self._pending:
            if row.position < pending.end:
                pending.left -= 1
                if pending.left == 0:
                    self._changed.set()
                return

    def _undeclared(self, row: Row) -> str:
        unknown = ", ".join(repr(name) for name in row.outputs if name not in self._names)
        return (
            f"row {row.position} has the output {unknown}, which none of the stages "
            f"{', '.join(repr(stage.name) for stage in self.stages)} declares (declared: "
            f"{', '.join(map(repr, sorted(self._names))) or 'none'}): add a Column to `produces`"
        )

    async def _complete(self, running: asyncio.Task[None]) -> _PendingChunk | None:
        """The first chunk, once it is complete; None when the window has ended before."""
        while True:
            if self._pending and self._pending[0].left == 0:
                pending = self._pending.popleft()
                self._taken.set()
                if pending.last:  # the stages are closed before they are complete
                    await asyncio.wait({running})
                return pending
            if running.done():
                return None
            self._changed.clear()
            await self._changed.wait()

    async def _chunk(self, pending: _PendingChunk, *, last: bool, whole: bool = True) -> Chunk:
        rowset = pending.rowset
        if rowset.when_done is not None:
            rowset.when_done(rowset)
        if len(rowset) < _BUILT_ON_THE_LOOP:
            self._frame = rowset.to_frame(self._produced)
        else:  # it would hold the loop up
            self._frame = await asyncio.to_thread(rowset.to_frame, self._produced)
        if last and self.context.control.error is None:
            await self._end()
        return Chunk(self._frame, last, whole)

    async def _end(self) -> None:
        """Tell once that the stages are complete."""
        begun, self._begun = self._begun, []
        for stage in begun:
            self.context.stage_durations[stage.name] = time.perf_counter() - self._started
            await self.context.dispatcher.send(
                "on_stage_complete", stage, self.context, self._frame
            )


def _columns(stages: Sequence[RowStage]) -> list[str] | None:
    """The input columns that any of the stages reads, each once; None for all."""
    columns: dict[str, None] = {}
    for stage in stages:
        if isinstance(stage.columns, str):
            raise ConfigurationError(
                f"stage '{stage.name}' has the columns '{stage.columns}': it has to be a list of "
                f"names, ['{stage.columns}']"
            )
        if stage.columns is None:
            return None
        columns.update(dict.fromkeys(stage.columns))
    return list(columns)


def _produced(stages: Sequence[RowStage]) -> list[NewColumn]:
    """The columns that the stages add. Raises `ConfigurationError` for what is no column."""
    produced: list[NewColumn] = []
    for stage in stages:
        given: Any = stage.produces or ()
        columns: list[Any] = [given] if isinstance(given, str) else list(given)
        for column in columns:
            try:
                Column(column.name, column.kind, (), column.choices)
            except (AttributeError, TypeError, ValueError) as error:
                raise ConfigurationError(
                    f"stage '{stage.name}' produces {column!r}, which is no Column ({error}): "
                    "write Column('name', 'str', ())"
                ) from error
            produced.append(column)
    return produced
