"""How parts of the data flow through stages: table stages one by one, row stages fused.

A run over a frame is one part; a stream is many. Either way a stage is told of its start and its
end once, and rows of the next part go on while the slowest of the last one is still under way.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import logging
import time
from collections import deque
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any

from ..data import wrap
from ..errors import ConfigurationError
from .context import ExecutionContext
from .rows import Row, RowSet
from .stage import PipelineStage, RowStage
from .window import Window

__all__ = ["Chunk", "flow", "native", "only"]

logger = logging.getLogger("ondine_nb")
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
    """Part of a frame as the frame that it is."""
    return data.frame.native if isinstance(data, RowSet) else data


async def only(data: Any = None) -> AsyncGenerator[Chunk, None]:
    """All of the data at once."""
    yield Chunk(data)


async def flow(
    stages: Sequence[PipelineStage],
    parts: AsyncGenerator[Chunk, None],
    context: ExecutionContext,
    *,
    width: int,
    on_error: str = "keep",
    first_index: int = 0,
    ahead: int | None = None,
) -> AsyncGenerator[Chunk, None]:
    """The parts that come out behind `stages`, in the order in which they went in.

    At most `width` rows are in a segment of row stages at once, and at most `ahead` rows (None: no
    limit) are read before those in front of them are taken. Raises the error that ends the run.
    """
    index, counts = first_index, True
    for fused, group in groupby(stages, key=lambda stage: isinstance(stage, RowStage)):
        segment: list[Any] = list(group)
        if fused:
            window = Window(segment, context, width, on_error=on_error, counts=counts)
            parts = _Rows(segment, index, context, window, ahead).through(parts)
            counts = False
        else:
            for offset, stage in enumerate(segment):
                parts = _through_table(stage, index + offset, context, parts)
        index += len(segment)
    async with contextlib.aclosing(parts):
        async for part in parts:
            yield part


async def _through_table(
    stage: PipelineStage, index: int, context: ExecutionContext, parts: AsyncGenerator[Chunk, None]
) -> AsyncGenerator[Chunk, None]:
    begun, seconds = False, 0.0
    async with contextlib.aclosing(parts):
        async for part in parts:
            if not part.whole:  # the run stops: what is there goes by as it is
                yield part
                continue
            if not begun:
                begun = True
                context.update_stage(index)
                await context.dispatcher.send("on_stage_start", stage, context)
            started = time.perf_counter()
            result = await _process(stage, native(part.data), context)
            seconds += time.perf_counter() - started
            if part.last:
                context.stage_durations[stage.name] = seconds
                await context.dispatcher.send("on_stage_complete", stage, context, result)
            yield replace(part, data=result)


async def _process(stage: PipelineStage, data: Any, context: ExecutionContext) -> Any:
    try:
        await _validate(stage, data, context)
        result = _call_stage(stage, data, context)
        if inspect.isawaitable(result):
            result = await result
    except Exception as error:  # told, and raised again
        await context.dispatcher.send("on_stage_error", stage, context, error)
        raise
    _count_rows(result, context)
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
    if not getattr(verdict, "is_valid", verdict is not False):
        told = getattr(verdict, "errors", ())
        reasons = "; ".join(str(error) for error in told) or "no reason given"
        raise ConfigurationError(f"stage '{stage.name}' can't take its input: {reasons}")
    warnings = getattr(verdict, "warnings", None)
    for warning in warnings if isinstance(warnings, list) else ():
        _warn(f"stage '{stage.name}': {warning}", context)


def _warn(text: str, context: ExecutionContext) -> None:
    """Log it once a run, not for each chunk of a stream."""
    if text not in context.metrics.warnings:
        context.metrics.warnings.add(text)
        logger.warning(text)


def _call_validation(stage: PipelineStage, data: Any, context: ExecutionContext) -> Any:
    """Subclasses in the wild take `(data)` or `(data, context)`."""
    validate: Any = getattr(stage, "validate_input", None)
    if validate is None:  # it only looks like a stage, and takes what it gets
        return None
    parameters = inspect.signature(validate).parameters.values()
    positional = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    takes_both = len(positional) > 1 or any(p.kind is p.VAR_POSITIONAL for p in parameters)
    return validate(data, context) if takes_both else validate(data)


class _PendingChunk:
    """A part whose rows are under way, and how many of them have no outcome yet."""

    __slots__ = ("end", "last", "left", "rowset")

    def __init__(self, rowset: RowSet, last: bool) -> None:
        self.rowset, self.last = rowset, last
        self.left, self.end = rowset.asked, rowset.start + len(rowset)


class _Rows:
    """A segment of neighbouring row stages, fused: one window over the rows of all parts."""

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
        self._produced = [column for stage in stages for column in stage.produces]
        self._shelves: deque[_PendingChunk] = deque()
        self._read = 0
        self._changed = asyncio.Event()  # a shelf may be complete, or the window has ended
        self._taken = asyncio.Event()  # there may be room for another part
        self._begun: list[RowStage] = []
        self._feeding = False
        self._frame: Any = None
        self._started = 0.0

    async def through(self, parts: AsyncGenerator[Chunk, None]) -> AsyncGenerator[Chunk, None]:
        first = await anext(parts, None)
        if first is None:
            return
        try:
            await self._begin(first)
            async with contextlib.aclosing(self._parts(parts)) as finished:
                async for part in finished:
                    yield part
        except Exception as error:  # told, and raised again
            for stage in self._begun:
                await self.context.dispatcher.send("on_stage_error", stage, self.context, error)
            raise
        finally:
            if not self._feeding:  # else the feed closes them, when no worker is inside
                await parts.aclose()

    async def _begin(self, first: Chunk) -> None:
        self.context.update_stage(self.index)
        if self.window.counts:
            self.context.begin_rows()
        self._started = time.perf_counter()
        for stage in self.stages:
            await self.context.dispatcher.send("on_stage_start", stage, self.context)
            self._begun.append(stage)
        await self._shelve(first)

    async def _shelve(self, part: Chunk) -> RowSet:
        for stage in self.stages:
            await _validate(stage, part.data, self.context)
        given = part.data
        rowset = given if isinstance(given, RowSet) else RowSet(wrap(given), start=self._read)
        self._read += rowset.asked
        if self.window.counts:
            self.context.total_rows = max(self.context.total_rows, self._read)
        self._shelves.append(_PendingChunk(rowset, part.last))
        if part.last:
            self.context.metrics.open_ended = False
        return rowset

    async def _parts(self, parts: AsyncGenerator[Chunk, None]) -> AsyncGenerator[Chunk, None]:
        """Each part when its last row has its outcome; at a stop, what is there of the others."""
        self.window.when_finished = self._finished
        feed = self._feed(self._shelves[0].rowset, parts)
        running = asyncio.create_task(self.window.run(feed))
        running.add_done_callback(lambda _: self._changed.set())
        try:
            while (shelf := await self._complete(running)) is not None:
                yield await self._part(shelf, last=shelf.last)
            while self._shelves:
                shelf = self._shelves.popleft()
                if self._frame is None or shelf.left < shelf.rowset.asked:
                    yield await self._part(shelf, last=not self._shelves, whole=shelf.left == 0)
            running.result()
            if self.context.control.error is not None:
                raise self.context.control.error
            await self._end()
        except (asyncio.CancelledError, GeneratorExit) as left:
            cancelled = isinstance(left, asyncio.CancelledError)
            self.context.control.stop("cancelled" if cancelled else "stream closed")
            raise
        except Exception as error:  # a part can't be put together: the window has to end, too
            self.context.control.stop("failed", error)
            raise
        finally:
            await asyncio.wait({running})

    async def _feed(
        self, rowset: RowSet, parts: AsyncGenerator[Chunk, None]
    ) -> AsyncGenerator[list[Row], None]:
        """The rows of all parts, a chunk at a time, as far as there is room."""
        self._feeding = True
        async with contextlib.aclosing(parts):
            while True:
                for chunk in rowset.chunks(self._columns):
                    yield chunk
                while self._full():
                    self._taken.clear()
                    await self._taken.wait()
                part = await anext(parts, None)
                if part is None:
                    return
                rowset = await self._shelve(part)
                self._changed.set()  # a part without rows is complete at once

    def _full(self) -> bool:
        waiting = sum(len(shelf.rowset) for shelf in self._shelves)
        return self.ahead is not None and waiting >= self.ahead

    def _finished(self, row: Row) -> None:
        for shelf in self._shelves:
            if row.position < shelf.end:
                shelf.left -= 1
                if shelf.left == 0:
                    self._changed.set()
                return

    async def _complete(self, running: asyncio.Task[None]) -> _PendingChunk | None:
        """The first part, once it is complete; None when the window has ended before."""
        while True:
            if self._shelves and self._shelves[0].left == 0:
                shelf = self._shelves.popleft()
                self._taken.set()
                if shelf.last:  # the stages are closed before they are complete
                    await asyncio.wait({running})
                return shelf
            if running.done():
                return None
            self._changed.clear()
            await self._changed.wait()

    async def _part(self, shelf: _PendingChunk, *, last: bool, whole: bool = True) -> Chunk:
        rowset = shelf.rowset
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
        if stage.columns is None:
            return None
        columns.update(dict.fromkeys(stage.columns))
    return list(columns)
