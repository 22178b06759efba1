"""What a run is made of: stages, context, executor, rows, budget and record."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

from ...data import Frame
from ...models import ZERO
from ...orchestration import (
    AsyncExecutor,
    DaskExecutor,
    ExecutionContext,
    NewColumn,
    PipelineStage,
    RowSet,
    RowStage,
    RowStream,
    StateManager,
    StreamingExecutor,
    SyncExecutor,
)
from ...sending import Budget, SessionBudget
from ...stages import EvidenceStage, InvokeStage, VoteStage
from ..options import Options
from ..records import digests, keeper

__all__ = ["RunPlan", "budget_of", "executor_of", "produced"]

Executor: TypeAlias = AsyncExecutor | SyncExecutor | StreamingExecutor


@dataclass(frozen=True)
class RunPlan:
    """What runs, over what, by whom, and where the run is recorded."""

    id: str
    stages: list[PipelineStage]
    context: ExecutionContext
    executor: Executor
    rowset: RowSet | RowStream
    budget: Budget
    records: StateManager | None

    @property
    def askers(self) -> list[InvokeStage]:
        """The stages that get the answers: one, or one for each of several models."""
        for stage in self.stages:
            if isinstance(stage, VoteStage):
                return stage.askers
        return [stage for stage in self.stages if isinstance(stage, InvokeStage)]

    @property
    def asker(self) -> InvokeStage:
        """The stage that gets the answers, of several models those of the first."""
        return self.askers[0]

    @property
    def columns(self) -> tuple[NewColumn, ...]:
        """The columns that the row stages add."""
        return produced(self.stages)

    @property
    def evidence(self) -> frozenset[str]:
        """The names of those of the columns that say where answers stand in the texts."""
        return frozenset(
            column.name
            for stage in self.stages
            if isinstance(stage, EvidenceStage)
            for column in stage.produces
        )

    def record(self) -> None:
        """Record the run as it stands, if it is to be recorded."""
        if self.records is not None:
            self.records.save_checkpoint(self.context)

    def record_fingerprint(self, frame: Frame) -> None:
        """Record what the frame's columns hold, to know it again; takes a while."""
        settings = self.context.settings["frame"]
        if self.records is not None:
            with contextlib.suppress(Exception):  # a cell's own __repr__ may raise anything
                settings["digests"] = digests(frame, settings["read"])
                self.record()

    def record_end(self) -> None:
        """Record what may have been billed, which is known once nothing is in flight any more."""
        if not self.context.control.draining:
            self.context.reserved = self.budget.possibly_billed
            self.record()


def produced(stages: Sequence[PipelineStage]) -> tuple[NewColumn, ...]:
    """The columns that the row stages among `stages` add."""
    rows = [stage for stage in stages if isinstance(stage, RowStage)]
    return tuple(column for stage in rows for column in stage.produces)


def budget_of(
    options: Options,
    context: ExecutionContext,
    session: SessionBudget | None,
    records: StateManager | None,
) -> Budget:
    """The run's budget, with what the run has spent and may have been billed before."""
    ceiling, spent = options.budget, context.accumulated_cost
    lost = context.reserved if ceiling is None else min(context.reserved, ceiling - spent)
    budget = Budget(
        ceiling,
        spent,
        max(lost, ZERO),
        session=session,
        keep=None if records is None else keeper(context, records),
    )
    context.metrics.possibly_billed = budget.possibly_billed
    context.max_budget = ceiling
    if ceiling is None and session is not None:
        context.max_budget = session.left
    return budget


def executor_of(
    options: Options, width: int, records: StateManager | None, *, streams: bool, again: bool
) -> Executor:
    """Who runs the rows, at most `width` requests at once.

    Those that are asked `again` stand in a frame, and never stream.
    """
    rows = options.rows_at_once(width)
    streams = streams or options.to is not None or options.executor_name == "streaming"
    if options.executor_name == "dask":
        given = options.executor if isinstance(options.executor, DaskExecutor) else DaskExecutor()
        dask = given.configured(
            max_concurrency=rows, on_error=options.on_error, state_manager=records
        )
        return dask.streaming(options.rows_a_chunk) if streams and not again else dask
    if streams and not again:
        return StreamingExecutor(
            options.rows_a_chunk,
            max_concurrency=rows,
            on_error=options.on_error,
            state_manager=records,
        )
    kind = SyncExecutor if options.executor_name == "sync" and not again else AsyncExecutor
    return kind(max_concurrency=rows, on_error=options.on_error, state_manager=records)
