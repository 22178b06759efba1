"""The sliding window: at most so many workers as rows may be under way pull rows from an iterator.

A row goes through all neighbouring row stages without a barrier between them, and there is never a
task for each row, however many rows there are.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from time import perf_counter

from ..errors import BudgetExceededError, ConfigurationError, OndineError, RunError
from .checks import check_on_error, whole_number
from .context import ExecutionContext
from .control import RowSample
from .rows import AskAgain, Halted, Row, SetAside
from .stage import RowStage, of_another_thread, says_thread

__all__ = ["Window"]

_MOST_KEPT = 10_000  # failures behind a table stage, which no row of the input stands for
_AT_A_TIME = 100
_TURN_SECONDS = 0.02


class Window:
    """Runs rows through `stages`, at most `width` of them at once, by as many workers as have rows.

    `chunks` are lists of rows; each is prepared as a whole, one after another. With `on_error`
    "stop" the first failed row ends the run. Rows that an earlier window has counted are not
    counted again: `counts` is False then. `when_finished` is called with each row that has its
    outcome.
    """

    def __init__(
        self,
        stages: Sequence[RowStage],
        context: ExecutionContext,
        width: int,
        *,
        on_error: str = "keep",
        counts: bool = True,
    ) -> None:
        check_on_error(on_error)
        self.stages = stages
        self.context = context
        self.width: int = whole_number("the concurrency", width, "row ")
        self.on_error = on_error
        self.counts = counts
        self._working = [each for each in stages if _treats_rows(each)]
        self._ready: deque[Row] = deque()
        self.all_read: bool = False  # no further row will come: said by who feeds the rows
        self._aside, self._first_aside = 0, ""
        self._refilling = asyncio.Lock()
        self.when_finished: Callable[[Row], None] | None = None
        self._chunks: list[AsyncGenerator[Sequence[Row], None]] = []
        self._workers: dict[asyncio.Task[None], Row | None] = {}
        self._running = self._idle = 0
        self._error: BaseException | None = None
        self._ended = asyncio.Event()  # the last worker has, or one that failed, or all are told to
        self._turn: float | None = None  # when the loop's turn began, if a row was taken in it

    async def run(self, chunks: AsyncGenerator[list[Row], None]) -> None:
        """Return when every row has its outcome, or at a stop, with rows in flight left draining.

        What is left in flight is in `context.control.draining`. Raises what a stage raises in
        `open` or `prepare`.
        """
        control = self.context.control
        for stage in self.stages:
            await _done(stage.open(self.context))
        self._chunks = [chunks, self._prepared(chunks)]
        for stage in self.stages:
            if type(stage).gather is not RowStage.gather:
                self._chunks.append(stage.gather(self._chunks[-1], self.context))
        control.bind(asyncio.get_running_loop(), self._stop)
        try:
            self._hire(1)  # it reads the first rows, and the others come with them
            await self._until_done_or_stopped()
            self._tell_of_those_set_aside()
        except asyncio.CancelledError:
            control.stop("cancelled")
            raise
        finally:
            control.draining |= {task for task in self._workers if not task.done()}
            closing = asyncio.create_task(self._close())
            control.draining.add(closing)
            closing.add_done_callback(control.draining.discard)
            if not control.stopping:
                await closing

    def _hire(self, workers: int) -> None:
        """Start so many workers more, as far as the width allows and the run goes on."""
        for _ in range(min(workers, self.width - len(self._workers))):
            if self.context.control.stopping:
                return
            worker = asyncio.create_task(self._work())
            self._workers[worker] = None
            self._running += 1
            worker.add_done_callback(self._gone)

    def _gone(self, worker: asyncio.Task[None]) -> None:
        self._running -= 1
        error = None if worker.cancelled() else worker.exception()
        self._error = self._error or error
        if error is not None or not self._running:
            self._ended.set()

    async def _until_done_or_stopped(self) -> None:
        if self._workers:
            await self._ended.wait()
        if self._error is not None:
            raise self._error

    async def _close(self) -> None:
        """Close the stages when the last worker has ended."""
        control = self.context.control
        if self._workers:
            await asyncio.wait(set(self._workers))
        control.draining -= set(self._workers)
        # Else these tasks live until the garbage of a run is collected, which may be never: and
        # each end of a loop looks through all tasks of the process.
        self._workers.clear()
        for row in self._ready:  # prepared, and never counted
            row.leave()
        for chunks in reversed(self._chunks):
            await chunks.aclose()
        for stage in self.stages:
            await _done(stage.close())

    def _stop(self, hard: bool) -> None:
        """End the workers: those that wait at once, those with a request in flight after it."""
        for worker, row in self._workers.items():
            if hard or row is None or not row.sending:
                worker.cancel()
        self._ended.set()

    async def _work(self) -> None:
        worker = asyncio.current_task()
        assert worker is not None
        context, ready, workers = self.context, self._ready, self._workers
        control = context.control
        try:
            while not control.stopping:
                row = ready.popleft() if ready else await self._wait_for_row()
                if row is None:
                    return
                if context.max_budget is not None and context.ended():
                    row.leave()  # it was taken, and is never counted
                    return
                if self._turn is None:
                    self._begin_turn()
                while self._turn is not None and perf_counter() - self._turn > _TURN_SECONDS:
                    await asyncio.sleep(0)
                workers[worker] = row
                await self._through(row)
                workers[worker] = None
        except asyncio.CancelledError:
            if not self.context.control.stopping:
                raise
        except Exception as error:  # reading or preparing failed: the others must end too
            self.context.control.stop("failed", error)
            raise

    async def _wait_for_row(self) -> Row | None:
        """The next row, read by this worker or by another; None at the end.

        Whoever has read rows sees to it that each has a worker, up to the width.
        """
        self._idle += 1
        try:
            row = await self._refill()
        finally:
            self._idle -= 1
        # Where more may come, somebody reads on, also where rows come one at a time.
        reader = row is not None and not self.all_read
        self._hire(max(len(self._ready), reader) - self._idle)
        return row

    def _begin_turn(self) -> None:
        """Rows that await nothing could hold the loop: all of one turn of it share a short time."""
        self._turn = perf_counter()
        asyncio.get_running_loop().call_soon(self._end_turn)

    def _end_turn(self) -> None:
        self._turn = None

    async def _refill(self) -> Row | None:
        """The next row, reading on where none is ready; None at the end."""
        async with self._refilling:
            while not self._ready:
                if self.context.control.stopping:
                    return None
                rows = await anext(self._chunks[-1], None)
                if rows is None:
                    return None
                self._ready.extend(rows)
            return self._ready.popleft()

    async def _prepared(
        self, chunks: AsyncGenerator[list[Row], None]
    ) -> AsyncGenerator[Sequence[Row], None]:
        """Each chunk, after all stages have prepared it."""
        async for chunk in chunks:
            try:
                for stage in self.stages:
                    await _done(stage.prepare(chunk, self.context))
            except BaseException:  # the run ends before any of them is counted
                for row in chunk:
                    row.leave()
                raise
            yield chunk

    async def _through(self, row: Row) -> None:
        """One row through all stages; whatever happens to it is its outcome, not the run's."""
        at = 0
        stages, context = self._working, self.context
        try:
            while at < len(stages) and not row.settled:
                try:
                    pending: Awaitable[None] | None = stages[at].process_row(row, context)
                    if pending is not None:  # as in `_done`, without another coroutine
                        await pending
                    at += 1
                except AskAgain as again:
                    at = self._place(again.stage)
        except Halted:
            row.leave()
            return
        except asyncio.CancelledError:
            row.leave()
            raise
        except SetAside as aside:
            self._set_aside(row, aside.reason, stages[at].name)
            return
        except (RunError, ConfigurationError) as error:
            self._end(row, error)
            return
        except Exception as error:  # a `RowError`, or a user's stage: one bad row never ends a run
            if of_another_thread(error):  # no row can pass that
                self._end(row, says_thread(stages[at].name))
                return
            row.fail(error, stages[at].name)
        self._finish(row)

    def _place(self, stage: RowStage) -> int:
        """Where a row goes on that is sent back to `stage`, which may be one that only prepares."""
        return sum(map(_treats_rows, self.stages[: self.stages.index(stage)]))

    def _end(self, row: Row, error: OndineError) -> None:
        """The run can't go on. A row that was on its way stays `not_run`, for the next run."""
        row.leave()
        control = self.context.control
        if not control.stopping:
            self.context.metrics.message = str(error)
            out_of_budget = isinstance(error, BudgetExceededError)
            control.stop("budget" if out_of_budget else "failed", None if out_of_budget else error)

    def _set_aside(self, row: Row, reason: OndineError, stage: str) -> None:
        row.set_aside(reason, stage)
        self._aside += 1
        self._first_aside = self._first_aside or f"row {row.position}: {reason}"
        row.release()
        if self.when_finished is not None:
            self.when_finished(row)

    def _tell_of_those_set_aside(self) -> None:
        """The others are done: what the run couldn't afford is what ends it."""
        control = self.context.control
        if self._aside and not control.stopping:
            rows = "a row was" if self._aside == 1 else f"{self._aside:,} rows were"
            self.context.metrics.message = f"{rows} set aside, {self._first_aside}"
            control.stop("budget")

    def _finish(self, row: Row) -> None:
        context, metrics = self.context, self.context.metrics
        if self.counts:
            context.complete_row(row)
        if row.failure is not None:
            metrics.count_failure(row.failure)
            if not self.counts:
                metrics.later += [row.failure][: _MOST_KEPT - len(metrics.later)]
            if self.on_error == "stop":
                self._end_by(row)
        elif row.outputs:
            sample = RowSample(row.position, row.names, row.values, row.outputs)
            metrics.recent.append(sample)
        row.release()
        if self.when_finished is not None:
            self.when_finished(row)

    def _end_by(self, row: Row) -> None:
        assert row.failure is not None
        error = RunError(
            f"row {row.position} failed and --on-error is 'stop': {row.failure.message}"
        )
        if not self.context.control.stopping:
            self.context.metrics.message = str(error)
            self.context.control.stop("on_error", error)


def _treats_rows(stage: RowStage) -> bool:
    """Whether there is more to it than `prepare`: a call for nothing takes time, too."""
    return getattr(stage.process_row, "__func__", None) is not RowStage.process_row


async def _done(pending: Awaitable[None] | None) -> None:
    """Wait for a stage's method; one that is no `async def` is done already."""
    if pending is not None:
        await pending
