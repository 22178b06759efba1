"""The nouns that name each other: context, stages, rows and observers.

They live in one room so that a stage never reaches up into `orchestration/`, where users find
them too (`ondine_nb.orchestration`, `ondine_nb.stages`).
"""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from types import MappingProxyType
from typing import Any
from uuid import UUID, uuid4

from .checkpoints import describe, restore
from .control import Control, Gauges
from .dispatcher import ObserverDispatcher
from .errors import CheckpointError
from .models import CostEstimate, ExecutionResult, ProcessingStats, Usage, ValidationResult
from .rows import NO_USAGE, ZERO, AskAgain, NewColumn, Row

__all__ = [
    "AskAgain",
    "Control",
    "ExecutionContext",
    "ExecutionObserver",
    "Gauges",
    "NewColumn",
    "ObserverDispatcher",
    "PipelineStage",
    "Row",
    "RowStage",
]


@dataclass
class ExecutionContext:
    """The state of one run: who it is, how far it is, what it cost.

    Counts come from rows: `processed_rows` have an answer, `failed_rows` a failure, and
    `skipped_rows` had nothing to ask. `last_processed_row` is a position (from 0); where somebody
    else than `complete_row` sets it, it stands for all rows up to it. `reserved` (USD) is the most
    that may be billed beyond `accumulated_cost` if the process dies now, `settings` what a later
    process needs to go on with the run (JSON).
    """

    _counted_to = -1  # the `last_processed_row` that comes from counting rows

    session_id: UUID = field(default_factory=uuid4)
    pipeline_id: UUID = field(default_factory=uuid4)
    start_time: datetime = field(default_factory=datetime.now)
    end_time: datetime | None = None
    current_stage_index: int = 0
    last_processed_row: int = 0
    total_rows: int = 0
    accumulated_cost: Decimal = field(default_factory=lambda: Decimal("0.0"))
    accumulated_tokens: int = 0
    intermediate_data: dict[str, Any] = field(default_factory=dict)
    failed_rows: int = 0
    skipped_rows: int = 0
    observers: list[ExecutionObserver] = field(default_factory=list)
    observer_dispatcher: ObserverDispatcher | None = None
    trace_id: str = field(default_factory=lambda: str(uuid4()))
    span_id: str = field(default_factory=lambda: str(uuid4()))
    processed_rows: int = 0
    journal_rows: int = 0
    usage: Usage = NO_USAGE
    max_budget: Decimal | None = None
    price_known: bool = True
    stage_durations: dict[str, float] = field(default_factory=dict)
    stage_costs: dict[str, Decimal] = field(default_factory=dict)
    kind_costs: dict[str, Decimal] = field(default_factory=dict)
    attempt_costs: dict[int, Decimal] = field(default_factory=dict)
    reserved: Decimal = ZERO
    settings: dict[str, Any] = field(default_factory=dict)
    control: Control = field(default_factory=Control, repr=False, compare=False)
    gauges: Gauges = field(default_factory=Gauges, repr=False, compare=False)

    def update_stage(self, stage_index: int) -> None:
        """The stage with this index (from 0) is running."""
        self.current_stage_index = stage_index

    def update_row(self, row_index: int) -> None:
        """All rows up to this position are processed."""
        self.last_processed_row = self._counted_to = row_index
        self.processed_rows = max(self.processed_rows, self._up_to(row_index))

    def _up_to(self, row_index: int) -> int:
        return row_index + 1 - self.failed_rows - self.skipped_rows

    @property
    def answered_rows(self) -> int:
        """Rows with an answer: those counted, or all up to a `last_processed_row` that was set."""
        if self.last_processed_row in (0, self._counted_to):
            return self.processed_rows
        return max(self.processed_rows, self._up_to(self.last_processed_row))

    def begin_rows(self) -> None:
        """Count rows anew: a context that has run before, or comes from a checkpoint, runs all of
        them again, and what they had cost stays counted."""
        self.processed_rows = self.journal_rows = self.failed_rows = self.skipped_rows = 0
        self.last_processed_row, self._counted_to = 0, -1

    def complete_row(self, row: Row) -> None:
        """Count a finished row, in whatever order rows finish."""
        self.last_processed_row = self._counted_to = max(self.last_processed_row, row.position)
        if row.status == "failed":
            self.failed_rows += 1
        elif row.status == "skipped":
            self.skipped_rows += 1
        else:
            self.processed_rows += 1
            self.journal_rows += row.status == "journal"

    def add_cost(self, cost: Decimal, tokens: int) -> None:
        """Add a cost in USD and its tokens."""
        self.accumulated_cost += cost
        self.accumulated_tokens += tokens

    def add_usage(
        self,
        cost: Decimal,
        usage: Usage,
        stage: str,
        kinds: Mapping[str, Decimal] = MappingProxyType({}),
        attempt: int = 1,
    ) -> None:
        """Add one billed answer to the totals and to the shares of its stage and its attempt.

        `kinds` is the same cost by kind of token; `attempt` counts the question's answers from 1.
        """
        self.add_cost(cost, usage.total_tokens)
        self.usage += usage
        self.stage_costs[stage] = self.stage_costs.get(stage, ZERO) + cost
        self.attempt_costs[attempt] = self.attempt_costs.get(attempt, ZERO) + cost
        for kind, share in kinds.items():
            self.kind_costs[kind] = self.kind_costs.get(kind, ZERO) + share

    def notify_progress(self) -> None:
        """Tell every observer; one that raises is reported once and dropped."""
        self.dispatcher.progress()

    @property
    def dispatcher(self) -> ObserverDispatcher:
        """Who tells this run's observers; made on first use."""
        if self.observer_dispatcher is None:
            self.observer_dispatcher = ObserverDispatcher(self)
        return self.observer_dispatcher

    @property
    def done_rows(self) -> int:
        """Rows that have an outcome: answered, failed or skipped."""
        return self.answered_rows + self.failed_rows + self.skipped_rows

    @property
    def duration(self) -> float:
        """Seconds since the start, or from start to end."""
        return ((self.end_time or datetime.now()) - self.start_time).total_seconds()

    def get_progress(self) -> float:
        """Rows that have an outcome, in percent of all (0.0 to 100.0; 0.0 for no rows)."""
        if self.total_rows == 0:
            return 0.0
        return min(100.0, 100.0 * self.done_rows / self.total_rows)

    def get_stats(self) -> ProcessingStats:
        """Counts of rows, rate (rows a second) and durations (seconds) until now."""
        duration = self.duration
        return ProcessingStats(
            total_rows=self.total_rows,
            processed_rows=self.answered_rows,
            failed_rows=self.failed_rows,
            skipped_rows=self.skipped_rows,
            rows_per_second=self.done_rows / duration if duration > 0 else 0.0,
            total_duration_seconds=duration,
            stage_durations=dict(self.stage_durations),
        )

    def get_costs(self) -> CostEstimate:
        """What the run has really cost until now; None where the model's price is unknown."""
        return CostEstimate(
            total_cost=self.accumulated_cost if self.price_known else None,
            total_tokens=self.accumulated_tokens,
            input_tokens=self.usage.prompt_tokens,
            output_tokens=self.usage.output_tokens,
            rows=self.total_rows,
            breakdown_by_stage=dict(self.stage_costs),
            confidence="actual",
            breakdown_by_kind=dict(self.kind_costs),
            breakdown_by_attempt=dict(self.attempt_costs),
            saved=self.gauges.savings if self.price_known else None,
        )

    def to_checkpoint(self) -> dict[str, Any]:
        """A JSON-ready summary of every field that outlives the process (Decimal as text)."""
        return describe(self)

    @classmethod
    def from_checkpoint(cls, data: dict[str, Any]) -> ExecutionContext:
        """The context that `to_checkpoint` described.

        Raises `CheckpointError` where `data` isn't such a description.
        """
        try:
            context = cls(**restore(data))
            context._counted_to = int(data.get("counted_to", context.last_processed_row))
            return context
        except (KeyError, TypeError, ValueError, ArithmeticError, AttributeError) as error:
            raise CheckpointError(
                f"this is not a checkpoint of a run ({type(error).__name__}: {error}). "
                "Delete it, or start the run again: the journal still has its paid answers"
            ) from error

    def to_dict(self) -> dict[str, Any]:
        """The same as `to_checkpoint`."""
        return self.to_checkpoint()

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> ExecutionContext:
        """The same as `from_checkpoint`."""
        return cls.from_checkpoint(data)


class PipelineStage(ABC):
    """A table stage: called once with everything, or once a chunk when streaming.

    `process(input_data, context)` may be a plain or an `async` method. Subclasses may take
    `validate_input(data)` or `validate_input(data, context)`.
    """

    name: str = "stage"  # of one whose __init__ forgets to call this one's

    def __init__(self, name: str | None = None) -> None:
        self.name = name or type(self).__name__

    @abstractmethod
    def process(self, input_data: Any, context: ExecutionContext) -> Any:
        """Give the next stage's input."""

    def validate_input(self, input_data: Any, context: Any = None) -> ValidationResult:
        """Whether `input_data` can be processed; anything by default."""
        return ValidationResult(is_valid=True)

    def estimate_cost(self, input_data: Any, context: Any = None) -> CostEstimate:
        """What processing `input_data` would cost; nothing by default."""
        return CostEstimate(Decimal(0), 0, 0, 0, rows=0)

    def execute(self, input_data: Any, context: ExecutionContext) -> Any:
        """`process` with its hooks around it. Raises what `process` raises, after `on_error`."""
        self.before_process(context)
        try:
            result = self.process(input_data, context)
        except Exception as error:  # the hook sees it, the caller gets it
            self.on_error(error, context)
            raise
        if inspect.isawaitable(result):
            return self._finish(result, context)
        self.after_process(result, context)
        return result

    async def _finish(self, pending: Any, context: ExecutionContext) -> Any:
        try:
            result = await pending
        except Exception as error:  # the hook sees it, the caller gets it
            self.on_error(error, context)
            raise
        self.after_process(result, context)
        return result

    def before_process(self, context: ExecutionContext) -> None:  # noqa: B027 - a hook
        """Called before `process`."""

    def after_process(self, result: Any, context: ExecutionContext) -> None:  # noqa: B027 - a hook
        """Called with the result of `process`."""

    def on_error(self, error: Exception, context: ExecutionContext) -> Any:  # noqa: B027 - a hook
        """Called when `process` raised; the error goes on to the run."""


class RowStage(PipelineStage):
    """A stage that treats one row at a time; neighbours are fused, with no barrier between them.

    `prepare(rows, context)` sees each chunk before its rows enter the window: the place for what
    is cheaper for many at once. `process_row(row, context)` may wait; a `RowError` that it raises
    (or any other exception) becomes that row's failure. Any of its methods may be plain instead of
    `async`, if it never takes long. `columns` are the input columns it reads
    (None: all), `produces` the columns it adds, by name in `row.outputs`.
    """

    columns: Sequence[str] | None = None
    produces: Sequence[NewColumn] = ()

    def process(self, input_data: Any, context: ExecutionContext) -> Any:
        raise TypeError(
            f"stage '{self.name}' works on rows: run it by an executor, which calls process_row"
        )

    async def prepare(self, rows: Sequence[Row], context: ExecutionContext) -> None:
        """Called with each chunk of rows before they enter the window."""

    async def process_row(self, row: Row, context: ExecutionContext) -> None:
        """Called with each row that isn't failed or skipped."""

    @property
    def full(self) -> bool:
        """Whether no further chunk is to be prepared before rows that are held are let go."""
        return False

    def holds(self, row: Row) -> bool:
        """Whether a row that was prepared has to wait for others: it stays out of the window."""
        return False

    async def gathered(self, context: ExecutionContext) -> None:
        """Called when rows are held and no further chunk comes (or `full`), until none is held."""

    async def open(self, context: ExecutionContext) -> None:
        """Called once before the first row, on the loop that runs the rows."""

    async def close(self) -> None:
        """Called once when nothing of the run is in flight any more."""


class ExecutionObserver(ABC):
    """Watches a run. Methods may be plain or `async`; one that raises is dropped, the run goes on.

    `on_pipeline_start` comes first, `on_pipeline_complete` or `on_pipeline_error` last: the former
    also where a run was stopped, ran out of budget or lost its taker (`result.success` is False
    then), the latter where an error or a cancellation ended it. Between them each stage has
    its `on_stage_start`, in their order, and then `on_stage_complete` or `on_stage_error`, once for
    a whole stream; neither if the run ended elsewhere while the stage was under way. Neighbouring
    row stages start and end together, and the stages of a stream are under way side by side.
    `on_progress_update` comes at most ten times a second, before and behind the last event too.
    """

    @abstractmethod
    def on_pipeline_start(self, pipeline: Any, context: ExecutionContext) -> None:
        """Before the first stage."""

    @abstractmethod
    def on_stage_start(self, stage: PipelineStage, context: ExecutionContext) -> None:
        """Before each stage."""

    @abstractmethod
    def on_stage_complete(
        self, stage: PipelineStage, context: ExecutionContext, result: Any
    ) -> None:
        """After a stage that went well."""

    @abstractmethod
    def on_stage_error(
        self, stage: PipelineStage, context: ExecutionContext, error: Exception
    ) -> None:
        """After a stage that failed."""

    @abstractmethod
    def on_pipeline_complete(self, context: ExecutionContext, result: ExecutionResult) -> None:
        """After the last stage."""

    @abstractmethod
    def on_pipeline_error(self, context: ExecutionContext, error: Exception) -> None:
        """When the run ended by an error."""

    def on_progress_update(self, context: ExecutionContext) -> None:  # noqa: B027 - a hook
        """Now and then during the run."""
