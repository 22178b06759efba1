"""The execution context: how far a run is and what it cost, and its summary as a checkpoint."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from types import MappingProxyType
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

from ..errors import CheckpointError
from ..models import NO_USAGE, ZERO, CostEstimate, ProcessingStats, RowCounts, Usage
from ..text import usd
from .control import Control, RunMetrics
from .dispatcher import ObserverDispatcher
from .rows import Row

if TYPE_CHECKING:
    from .observers import ExecutionObserver

__all__ = ["ExecutionContext", "describe", "restore"]


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
    _dispatcher = None
    _has_run = _restored = False
    _by_rows = False  # row stages count
    keeps_budget = False  # a stage of the run keeps to `max_budget` itself
    _counted = (0, 0)  # the processed rows and the last of them, where no stage counts

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
    metrics: RunMetrics = field(default_factory=RunMetrics, repr=False, compare=False)

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

    def begin(self) -> None:
        """A run begins. One that has run before, or comes from a checkpoint, counts its rows anew;
        what they had cost stays counted, and what had ended the last run doesn't end this one.

        Raises `ConfigurationError` for a `max_budget` that is no amount.
        """
        self.max_budget = usd(self.max_budget, "max_budget")
        if self._has_run:
            self.begin_rows()
            self.control.begin_again()
            self.metrics.begin_again()
        if self._has_run or self._restored:
            self.total_rows = 0
        self.end_time, self._has_run, self._by_rows = None, True, False
        self._counted = self.processed_rows, self.last_processed_row

    def begin_rows(self) -> None:
        """Row stages begin, which count the rows: those that were counted before run again."""
        self.processed_rows = self.journal_rows = self.failed_rows = self.skipped_rows = 0
        self.last_processed_row, self._counted_to, self._by_rows = 0, -1, True

    def count_tables(self, rows: int) -> None:
        """Table stages are through with so many rows, and none of them counts rows one by one.

        What a stage has counted itself stays: the failed, the skipped, and how far it says it is.
        """
        if self._by_rows or self._counted != (self.processed_rows, self.last_processed_row):
            return
        self.total_rows = max(self.total_rows, rows)
        self.processed_rows = max(0, rows - self.failed_rows - self.skipped_rows)
        self.last_processed_row = self._counted_to = max(0, rows - 1)
        self._counted = self.processed_rows, self.last_processed_row

    def ended(self) -> bool:
        """Whether nothing more is to be begun: the run was stopped, or its budget is used up.

        A stage that asks a model keeps to the budget itself, before it sends (`keeps_budget`).
        """
        spent = self.max_budget is not None and self.accumulated_cost >= self.max_budget
        if spent and not self.keeps_budget and not self.control.stopping:
            self.metrics.message = f"the budget of ${self.max_budget} is used up"
            self.control.stop("budget")
        return self.control.stopping

    def complete_row(self, row: Row) -> None:
        """Count a finished row, in whatever order rows finish."""
        self.last_processed_row = self._counted_to = max(self.last_processed_row, row.position)
        if row.status == "failed":
            self.failed_rows += 1
        elif row.status == "skipped":
            self.skipped_rows += 1
        elif not row.passed_over:
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
        self.accumulated_tokens += usage.total_tokens
        self.usage += usage
        self.accumulated_cost += cost
        self.stage_costs[stage] = self.stage_costs.get(stage, ZERO) + cost
        self.attempt_costs[attempt] = self.attempt_costs.get(attempt, ZERO) + cost
        for kind, share in kinds.items():
            self.kind_costs[kind] = self.kind_costs.get(kind, ZERO) + share

    def notify_progress(self) -> None:
        """Tell every observer; one that raises is reported once and dropped."""
        self.dispatcher.progress()

    @property
    def dispatcher(self) -> ObserverDispatcher:
        """Who tells this run's observers; made on first use, around one of the user's own that has
        just `dispatch`."""
        given: Any = self.observer_dispatcher
        if isinstance(given, ObserverDispatcher):
            return given
        if self._dispatcher is None or self._dispatcher.other not in (given, None):
            self._dispatcher = ObserverDispatcher(self, given)
            if given is None:
                self.observer_dispatcher = self._dispatcher
        return self._dispatcher

    @property
    def done_rows(self) -> int:
        """Rows that have an outcome: answered, failed or skipped."""
        return self.answered_rows + self.failed_rows + self.skipped_rows

    @property
    def counts(self) -> RowCounts:
        """Rows by outcome, as far as they have been counted."""
        return RowCounts(
            max(self.total_rows, self.done_rows),
            self.answered_rows,
            self.journal_rows,
            self.failed_rows,
            self.skipped_rows,
        )

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
            total_rows=int(self.total_rows),  # a stage may have set a library's integers
            processed_rows=int(self.answered_rows),
            failed_rows=int(self.failed_rows),
            skipped_rows=int(self.skipped_rows),
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
            saved=self.metrics.savings if self.price_known else None,
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
            context._restored = True
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


def describe(context: Any) -> dict[str, Any]:
    """The fields of an `ExecutionContext` as JSON has them; money, ids and times as text.

    Counts may be a library's integers. What is no JSON in `intermediate_data` and `settings`, a
    frame for one, is left out, which is logged once.
    """
    usage = context.usage
    left_out: list[str] = []
    described = {
        "session_id": str(context.session_id),
        "pipeline_id": str(context.pipeline_id),
        "start_time": context.start_time.isoformat(),
        "end_time": context.end_time.isoformat() if context.end_time else None,
        "accumulated_cost": str(context.accumulated_cost),
        "intermediate_data": _as_json(context.intermediate_data, "intermediate_data", left_out),
        "trace_id": context.trace_id,
        "span_id": context.span_id,
        "counted_to": int(context._counted_to),
        "usage": [
            int(usage.input_tokens),
            int(usage.output_tokens),
            int(usage.cache_read_tokens),
            int(usage.cache_write_tokens),
        ],
        "max_budget": None if context.max_budget is None else str(context.max_budget),
        "price_known": bool(context.price_known),
        "stage_durations": {name: float(s) for name, s in list(context.stage_durations.items())},
        "stage_costs": {name: str(cost) for name, cost in list(context.stage_costs.items())},
        "kind_costs": {name: str(cost) for name, cost in list(context.kind_costs.items())},
        "attempt_costs": {str(n): str(cost) for n, cost in list(context.attempt_costs.items())},
        "reserved": str(context.reserved),
        "settings": _as_json(context.settings, "settings", left_out),
    }
    described |= {name: int(getattr(context, name)) for name in _COUNTS}
    if left_out:
        what = ", ".join(left_out)
        context.metrics.warn_once(f"a checkpoint is JSON and is saved without {what}")
    return described


_COUNTS = (
    "current_stage_index",
    "last_processed_row",
    "total_rows",
    "accumulated_tokens",
    "failed_rows",
    "skipped_rows",
    "processed_rows",
    "journal_rows",
)
_NOTHING = object()


def _as_json(value: Any, place: str, left_out: list[str]) -> Any:
    """`value` as JSON has it; what it can't have is named in `left_out`, and not there."""
    if value is None or isinstance(value, str | bool | int | float):
        return value
    if isinstance(value, Mapping):
        pairs = [
            (str(key), _as_json(each, f"{place}['{key}']", left_out))
            for key, each in list(value.items())
        ]
        return {key: each for key, each in pairs if each is not _NOTHING}
    if isinstance(value, list | tuple):
        items = [_as_json(each, f"{place}[{at}]", left_out) for at, each in enumerate(value)]
        return [each for each in items if each is not _NOTHING]
    if getattr(value, "ndim", None) == 0 and hasattr(value, "item"):  # a number of numpy's
        return _as_json(value.item(), place, left_out)
    left_out.append(f"{place} ({type(value).__name__})")
    return _NOTHING


def restore(data: dict[str, Any]) -> dict[str, Any]:
    """Keyword arguments of the context that a checkpoint describes."""
    plain = ("current_stage_index", "last_processed_row", "total_rows", "accumulated_tokens")
    fields: dict[str, Any] = {name: _typed(data, name, int) for name in plain}
    fields |= {name: _typed(data, name, int, 0) for name in ("failed_rows", "skipped_rows")}
    fields |= {name: _typed(data, name, str) for name in ("trace_id", "span_id") if name in data}
    fields["intermediate_data"] = _typed(data, "intermediate_data", dict, {})
    fields["session_id"] = UUID(data["session_id"])
    fields["pipeline_id"] = UUID(data["pipeline_id"])
    fields["start_time"] = datetime.fromisoformat(data["start_time"])
    end = data.get("end_time")
    fields["end_time"] = datetime.fromisoformat(end) if end else None
    fields["accumulated_cost"] = Decimal(data["accumulated_cost"])
    watermark = fields["last_processed_row"]
    up_to = watermark + 1 - fields["failed_rows"] - fields["skipped_rows"] if watermark else 0
    fields["processed_rows"] = _typed(data, "processed_rows", int, max(0, up_to))
    fields["journal_rows"] = _typed(data, "journal_rows", int, 0)
    fields["usage"] = Usage(*(int(count) for count in _typed(data, "usage", list, [])))
    fields["price_known"] = _typed(data, "price_known", bool, True)
    budget = data.get("max_budget")
    fields["max_budget"] = None if budget is None else Decimal(budget)
    fields["stage_durations"] = dict(data.get("stage_durations", {}))
    costs = data.get("stage_costs", {})
    fields["stage_costs"] = {name: Decimal(cost) for name, cost in costs.items()}
    costs = data.get("kind_costs", {})
    fields["kind_costs"] = {name: Decimal(cost) for name, cost in costs.items()}
    costs = data.get("attempt_costs", {})
    fields["attempt_costs"] = {int(n): Decimal(cost) for n, cost in costs.items()}
    fields["reserved"] = Decimal(data.get("reserved", 0))
    fields["settings"] = _typed(data, "settings", dict, {})
    return fields


def _typed(data: dict[str, Any], name: str, kind: type, default: Any = None) -> Any:
    """The field `name` of a checkpoint, if it is what it should be; it may lack with a default."""
    value = data[name] if default is None else data.get(name, default)
    if type(value) is not kind:
        raise TypeError(f"{name} is {type(value).__name__}, not {kind.__name__}")
    return value
