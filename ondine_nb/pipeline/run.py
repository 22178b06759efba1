"""A run: what is there now, how it stands, and how to stop it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sys
from collections.abc import AsyncIterator, Callable, Generator, Iterator, Sequence
from dataclasses import replace
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from ..errors import IncompleteRunError, RunError
from ..models import CostEstimate, ExecutionResult, Failure, ProcessingStats, RowCounts
from ..orchestration import (
    AsyncExecutor,
    ExecutionContext,
    RowSet,
    RowStage,
    RowStream,
    StreamingExecutor,
    SyncExecutor,
    run_in_thread,
)
from ..text import dollars, one_line
from .assembly import RunPlan
from .judging import JudgedRun
from .output import Output, count_rows, errors_frame, failures_of, rows_frame
from .records import fold_records
from .report import closing_line, report_of, unmet, write_report
from .retry import EarlierRun

if TYPE_CHECKING:
    from ..evaluation import Scores
    from .pipeline import Pipeline

__all__ = ["Run"]

logger = logging.getLogger("ondine_nb.run")


class Run:
    """One run of a pipeline. Awaiting it gives its `ExecutionResult`, or raises what ended it.

    Its properties can be read at any time, from any thread. In a notebook it shows itself as the
    run's card. `result` is what it came to and `error` what ended it (None until then, and where
    nothing did), `estimate` what it was expected to cost (None where that isn't known).
    """

    def __init__(
        self,
        pipeline: Pipeline,
        *,
        name: str = "",
        plan: RunPlan | None = None,
        earlier: EarlierRun | None = None,
    ) -> None:
        self.pipeline = pipeline
        self.name: str = name or pipeline.name
        self.plan: RunPlan = plan or pipeline.plan()
        self.plan.context.settings["out"] = self.name
        self.earlier = earlier
        self._output = self._new_output(keeps=True)
        self.context: ExecutionContext = self.plan.context
        self.context.metrics.shown = True
        self.result: ExecutionResult | None = None
        self.error: BaseException | None = None
        self.estimate: CostEstimate | None = None
        self.interrupt_only = False
        self._counts: RowCounts | None = None  # of a retry that is over
        self._begun = False
        self._task: asyncio.Task[None] | None = None
        self._fingerprint: asyncio.Task[None] | None = None
        self._ended: asyncio.Event | None = None
        self._over = False
        self._when_over: list[Callable[[Run], None]] = []
        self._when_retried: Callable[[Run], None] | None = None

    # -- what it is

    @property
    def id(self) -> str:
        """The run's id, as in its journal entries."""
        return self.plan.id

    @property
    def source(self) -> str:
        """The frame's name."""
        return self.pipeline.name

    @property
    def sample_of(self) -> int | None:
        """How many rows there are of which only a sample is asked; None where all are."""
        rows, asked = self.pipeline.source.rows, len(self.pipeline.frame)
        if self.pipeline.groups is not None:
            return None
        sampled = self.pipeline.options.sample is not None and rows is not None and rows > asked
        return rows if sampled else None

    @property
    def model(self) -> str:
        """The model that answers."""
        return self.pipeline.provider.model

    @property
    def columns(self) -> tuple[str, ...]:
        """The names of the new columns."""
        return tuple(column.name for column in self.plan.columns)

    @property
    def priced(self) -> bool:
        """Whether the model's price is known."""
        return self.pipeline.provider.price is not None

    @property
    def note(self) -> str:
        """A line on who answers and how, where that needs saying; else ""."""
        routes = [asker.routes.note for asker in self.plan.askers if asker.routes is not None]
        return "; ".join(dict.fromkeys(filter(None, [self.pipeline.provider.note, *routes])))

    # -- how it stands

    @property
    def message(self) -> str:
        """A line on what it waits for, or what stopped it; "" where there is nothing to say."""
        starting: str = "" if self._over else getattr(self.pipeline.provider, "starting", "")
        return self.context.metrics.message or starting

    @property
    def state(self) -> str:
        """One of `pending running paused stopping done stopped failed`."""
        if self._over:
            return self._final_state()
        if self.context.control.stopping:
            return "stopping"
        if self.context.control.paused or self.context.control.outage:
            return "paused"
        return "running" if self._begun else "pending"

    def _final_state(self) -> str:
        counts = self.counts
        came_to_its_end = self.error is None or isinstance(self.error, IncompleteRunError)
        if came_to_its_end and self.context.control.stopping:
            return "stopped"
        if came_to_its_end and self.earlier is not None and counts.not_run:
            return "stopped"  # it went on from a run that was stopped
        if self.error is not None:
            return "failed"
        return "failed" if counts.failed and not counts.answered else "done"

    @property
    def is_retry(self) -> bool:
        """Whether it asks the failed rows of an earlier run again."""
        return self.earlier is not None

    @property
    def counts(self) -> RowCounts:
        """The frame's rows by outcome; of a retry, with those that it doesn't ask again."""
        own = self.context.counts
        if self.earlier is None:
            return own
        return self._counts or self.earlier.rest + replace(own, total=len(self.earlier.asked))

    @property
    def frame(self) -> Any:
        """The input with the new columns, as far as they are answered by now.

        Of a stream, the chunks that are finished, or with `to` the path that they are written to.
        """
        if self.result is not None and self.result.data is not None and self._over:
            return self.result.data
        return self._output.data

    @property
    def errors(self) -> Any:
        """A frame of the failed rows: row (position), stage, error_type, message, attempts.

        From pandas it has the index of these rows, so that the input joins it.
        """
        return errors_frame(self.pipeline.frame, self._failures())

    @property
    def rows(self) -> Any:
        """A frame of every row: row (position), status, cost (USD), tokens, latency, attempts.

        `cost` is a float for reading; `costs` has the exact sum. `latency` is in seconds. From
        pandas it has the input's index, so that the input joins it. Of a stream only the rows that
        failed are kept, the first 10,000.
        """
        return rows_frame(self.pipeline.frame, list(self.plan.rowset.rows), priced=self.priced)

    @property
    def costs(self) -> CostEstimate:
        """What was really spent until now; `total_cost` is None where the price is unknown."""
        costs = self.context.get_costs()
        if not self.priced:
            costs.total_cost = None
        return costs

    @property
    def cost(self) -> Decimal | None:
        """USD spent until now, or None where the price is unknown."""
        return self.costs.total_cost

    @property
    def stats(self) -> ProcessingStats:
        """Counts of rows, rate (rows a second) and durations (seconds)."""
        return self.context.get_stats()

    @property
    def success(self) -> bool:
        """Whether the run is over and every row was run, not all failed, and what `fail_above` and
        `require` ask is so."""
        return self._over and self.error is None and self.result is not None and self.result.success

    @property
    def labels(self) -> Any:
        """A frame of what reviewers said: one row for each reviewed content and reviewer.

        The key columns as text, one column for each field, `note`, `reviewer`, `at` (UTC). Labels
        belong to the run's name and to content, so they are found again by later runs of that name.
        """
        return JudgedRun(self).labels()

    @property
    def corrected(self) -> Any:
        """The result with the labels put in, the last one of each row and field.

        For each field `FIELD_source` says who its value is from: "model", or the reviewer's name.
        """
        return JudgedRun(self).corrected()

    def score(self, field: str | None = None, labels: Any = None) -> Scores | dict[str, Scores]:
        """How right the answers of `field` are, by labels: figures with 95 % intervals.

        `labels` are a column of the frame by name, a Series with a value for each row, or a frame
        with the prompt's columns and one column for each field; by default those of review.
        Without `field` and with several labelled fields, a dict of `Scores` by field. Rows without
        an answer don't count, and are told. Raises `ColumnError` where nothing is labelled.
        """
        return JudgedRun(self).score(field, labels)

    def report(self) -> dict[str, Any]:
        """How the run stands, or what it came to, as a dict for JSON: what `--report` writes.

        Rows by outcome, failures by kind, tokens, cost (USD, exactly, as text), times and seconds,
        journal, and the error that ended it.
        """
        return report_of(self)

    def _failures(self) -> list[Failure]:
        return failures_of(self.plan.rowset.rows) + self.context.metrics.later

    # -- what to do with it

    def start(self) -> Run:
        """Start on the running loop."""
        self._begin()
        self._ended = asyncio.Event()
        self._task = asyncio.get_running_loop().create_task(self._main())
        return self

    def execute(self) -> ExecutionResult:
        """Run to the end in a thread with a loop of its own, requests in flight included.

        Raises the error that ended the run; KeyboardInterrupt after what is in flight has ended.
        """
        run_in_thread(self._complete, on_interrupt=self.stop)
        return self._outcome()

    async def execute_async(self) -> ExecutionResult:
        """Run on the running loop; where who waits is cancelled, nothing more is sent."""
        try:
            return await self._wait()
        except asyncio.CancelledError:
            self.stop()
            raise

    def stream(self) -> Iterator[Any]:
        """Frames in input order as they are finished, in a thread with a loop of its own."""
        executor = self._streaming()
        self.plan.record()
        self._fold_records()
        with self._until_over(executor):
            for chunk in executor.execute(self.plan.stages, self.context):
                self._output.write(chunk)
                yield chunk
        self.plan.record_end()
        self._outcome()

    async def stream_async(self) -> AsyncIterator[Any]:
        """`stream` on the running loop."""
        executor = self._streaming()
        await self._record()
        with self._until_over(executor):
            chunks = executor.execute_async(self.plan.stages, self.context)
            async with contextlib.aclosing(chunks):
                async for chunk in chunks:
                    await asyncio.to_thread(self._output.write, chunk)
                    yield chunk
        await asyncio.to_thread(self.plan.record_end)
        self._outcome()

    def _streaming(self) -> StreamingExecutor:
        executor = self.plan.executor
        if not isinstance(executor, StreamingExecutor):
            raise RunError("this run doesn't stream: take `Pipeline.stream()`")
        self._begin()
        self._output = self._new_output(keeps=False)
        return executor

    @contextlib.contextmanager
    def _until_over(self, executor: StreamingExecutor) -> Iterator[None]:
        """The run is over when its last chunk is taken, or when no more are wanted."""
        try:
            yield
        except Exception as error:  # kept for whoever looks at the run
            self.error = error
            raise
        finally:
            if not sys.is_finalizing():  # else a script left it open: nobody looks any more
                self._output.close(failed=self.error is not None)
                self.result = executor.result
                if self.result is not None:
                    self.result.data = self._output.data
                self._finish()

    def _new_output(self, *, keeps: bool) -> Output:
        own = self.pipeline.extra_stages
        return Output(
            self.plan.rowset,
            self.plan.columns,
            to=None if self.is_retry else self.pipeline.options.to,
            keeps=keeps,
            reshaped=any(not isinstance(stage, RowStage) for stage in own),
        )

    def _begin(self) -> None:
        if self._begun:
            raise RunError("this run was started before: start a new one from its pipeline")
        self._begun = True

    def stop(self) -> None:
        """Send nothing more; what is in flight goes on to the journal. Again: cancel that too."""
        if not self._over:
            self.context.control.stop("stopped")

    def pause(self) -> None:
        """Send nothing more until `resume`; what is in flight goes on."""
        self.context.control.pause()

    def resume(self) -> None:
        """Go on after a pause."""
        self.context.control.resume()

    def show(self, reviewer: str = "reviewer") -> Any:
        """Show the results view: the rows with their answers, to filter, sort and look through.

        Gives the view; its `selected` is the frame of the rows that it shows. What is corrected in
        a row's detail is a label by `reviewer`, as in `review`.
        """
        from ..notebook.results import show_results  # a run shows itself: one of the listed ways up

        return show_results(self, reviewer)

    def review(
        self,
        reviewer: str = "reviewer",
        on: Sequence[str] | str | None = None,
        *,
        rows: Sequence[int] | None = None,
        queue: str | None = None,
        other: Run | None = None,
        confidence: str | None = None,
    ) -> Any:
        """Show the review: one row at a time, judged by keyboard; what is accepted is a label.

        Labels are kept durably under this run's name and by content: the texts of the columns `on`
        (default: those that the prompt names). `reviewer` says who reviews. `rows` (positions)
        draws from these only. `queue` is where to begin: "least sure" (there where an answer has a
        numeric field called `confidence`, or the one that `confidence` names), "differ" (there with
        `other`, a run over the same frame), "in doubt" (there with evidence: what is missing or
        only approximate), "random", "one of each FIELD", "failed". Only random and one of each
        measure the run. Gives the view. Raises `ConfigurationError` for a queue, column or field
        that isn't there, or where the run keeps no rows.
        """
        from ..notebook.results import show_review  # a run shows itself: one of the listed ways up

        return show_review(
            self,
            reviewer=reviewer,
            on=on,
            rows=rows,
            queue=queue,
            other=other,
            confidence=confidence,
        )

    def retry_failed(self, rows: Sequence[int] | None = None) -> Run:
        """Ask just the failed rows again, on the running loop; gives the new run.

        With `rows`, only those of them at these positions. The new run's `frame` is the whole
        frame, with the other rows as they were. Raises `RunError` where there is nothing to ask.
        """
        if isinstance(self.plan.rowset, RowStream):
            raise RunError(
                "the rows of a stream aren't kept: run it again, and what failed is sent again"
            )
        if not self._over:
            raise RunError("this run is still going: wait for it, or stop it first")
        failed = [failure.row for failure in failures_of(self.plan.rowset.rows)]
        if not failed:
            raise RunError("no row of this run failed: there is nothing to ask again")
        if rows is not None:
            failed = _among(failed, rows)
        rowset = RowSet(self.pipeline.frame, list(self.plan.rowset.rows), rerun=failed)
        plan = self.pipeline.plan(rowset, fresh=True)
        earlier = EarlierRun.of(self, failed)
        retry = Run(self.pipeline, name=self.name, plan=plan, earlier=earlier)
        earlier.tell(retry.context)
        if self._when_retried is not None:
            self._when_retried(retry)
        return retry.start()

    def when_retried(self, callback: Callable[[Run], None]) -> None:
        """Call `callback(retry)` for the run that each `retry_failed` starts, before its start."""
        self._when_retried = callback

    def when_over(self, callback: Callable[[Run], None]) -> None:
        """Call `callback(run)` when nothing of the run is in flight any more (or now)."""
        if self._over:
            callback(self)
        else:
            self._when_over.append(callback)

    def __await__(self) -> Generator[Any, None, ExecutionResult]:
        return self._wait().__await__()

    async def _wait(self) -> ExecutionResult:
        if self._task is None:
            self.start()
        assert self._task is not None
        assert self._ended is not None
        if self._task.get_loop() is asyncio.get_running_loop():
            await self._ended.wait()
        else:  # it runs in a thread with a loop of its own, and no loop can wait for another's
            while not self._over:
                await asyncio.sleep(0.05)
        return self._outcome()

    def _outcome(self) -> ExecutionResult:
        error = self.error or self._unmet()
        if error is not None:
            raise error
        assert self.result is not None
        return self.result

    def _unmet(self) -> IncompleteRunError | None:
        """What the run lacks of what was asked of it."""
        if self.result is None:
            return None
        line = unmet(self.pipeline.options, self.counts, self.context)
        return None if line is None else IncompleteRunError(line, self.result)

    async def _complete(self) -> None:
        self.start()
        assert self._task is not None
        await self._task

    async def _main(self) -> None:
        """Execute, let those go who wait, then see what is in flight through."""
        assert self._ended is not None
        try:
            await self._record()
            if self.estimate is None:
                await self.pipeline.quick_estimate(self.plan, self._expect)
            self.result = await self._execute()
        except asyncio.CancelledError:
            if not self.context.control.stopping:  # a second stop would cancel what is in flight
                self.context.control.stop("cancelled")
            self.error = RunError("the run was cancelled")
        except Exception as error:  # kept for whoever awaits the run, and for its card
            self.error = error
        try:
            if not self.context.control.draining:
                await self._complete_and_finish()
            else:  # who waits goes on now, and the process may end before the last answer is in
                self._write_report()
        finally:
            self._ended.set()
        await self.context.control.drained()
        await self._complete_and_finish()
        await asyncio.to_thread(self.plan.record_end)

    def _expect(self, estimate: CostEstimate) -> None:
        self.estimate = estimate

    async def _execute(self) -> ExecutionResult:
        executor, stages = self.plan.executor, self.plan.stages
        if isinstance(executor, AsyncExecutor):
            return await executor.execute(stages, self.context)
        if isinstance(executor, SyncExecutor):
            return await asyncio.to_thread(executor.execute, stages, self.context)
        try:
            async for chunk in executor.execute_async(stages, self.context):
                await asyncio.to_thread(self._output.write, chunk)
        except BaseException:
            self._output.close(failed=True)
            raise
        await asyncio.to_thread(self._output.close)
        assert executor.result is not None
        executor.result.data = self._output.data
        return executor.result

    async def _record(self) -> None:
        """Record the run before anything is sent, and its frame's fingerprint beside it."""
        await asyncio.to_thread(self.plan.record)
        await asyncio.to_thread(self._fold_records)
        fingerprint = asyncio.to_thread(self.plan.record_fingerprint, self.pipeline.given)
        self._fingerprint = asyncio.create_task(fingerprint)

    def _fold_records(self) -> None:
        if self.plan.records is not None:
            fold_records(self.pipeline.journal.folder)

    async def _complete_and_finish(self) -> None:
        if self.result is not None and self.context.control.stopping and not self._over:
            # A large frame would hold the loop up.
            self.result.data = await asyncio.to_thread(lambda: self._output.data)
        self._finish()

    def _finish(self) -> None:
        if self._over:
            return
        if self.earlier is not None:
            self.earlier.put_back(self.plan.rowset.rows, self.context)
            self._counts = count_rows(self.plan.rowset.rows)
        self.error = self.error or self._unmet()
        if self.result is not None:
            self._complete_result(self.result)
        self._over = True
        self._write_report()
        if self.pipeline.recorded:
            logger.info("%s", closing_line(self))
        self.context.notify_progress()
        for callback in self._when_over:
            callback(self)

    def _complete_result(self, result: ExecutionResult) -> None:
        """What the executor can't know: failures, unknown prices, what came in after a stop."""
        result.errors = self._failures()
        result.costs = self.costs
        if self.context.control.stopping:
            result.metrics = self.stats
            result.metadata["possibly_billed"] = str(self.context.metrics.possibly_billed)
        if self.error is not None or self.counts.not_run:
            result.success = False

    def _write_report(self) -> None:
        """Write the report where one is wanted; that it can't be ends the run with an error."""
        path = self.pipeline.options.report
        if path is not None:
            try:
                write_report(self, path)
            except RunError as error:
                self.error = self.error or error
                if self.result is not None:
                    self.result.success = False

    def __repr__(self) -> str:
        counts = self.counts
        cost = "price unknown" if self.cost is None else dollars(self.cost)
        return (
            f"<Run {self.name}: {self.state}, {counts.done} of {counts.total} rows, "
            f"{counts.failed} failed, {counts.journal} from the journal, {cost}>"
        )


def _among(failed: Sequence[int], rows: Sequence[int]) -> list[int]:
    """Those of the failed rows that are asked for. Raises `RunError` where there is none."""
    wanted = sorted(set(failed).intersection(rows))
    if not wanted:
        some = ", ".join(map(str, failed[:8])) + (", …" if len(failed) > 8 else "")
        raise RunError(
            f"none of rows={one_line(repr(rows), 60)} failed, so there is nothing to ask again: "
            f"give positions of those that did ({some})"
        )
    return wanted
