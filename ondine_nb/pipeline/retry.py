"""Retries of failed rows: what a run that asks them again goes on from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from ..models import Failure, RowCounts, Usage
from ..orchestration import ExecutionContext, Row
from .output import count_rows, failures_of

if TYPE_CHECKING:
    from .run import Run

__all__ = ["EarlierRun"]


@dataclass(frozen=True)
class EarlierRun:
    """What a retry goes on from: all rows as they were, and what had been spent on them.

    `rest` counts the rows that aren't asked again, `asked` those that are. `cost` and
    `possibly_billed` (USD), `usage` (tokens) and `seconds` are of all runs before.
    """

    rest: RowCounts
    asked: tuple[Row, ...]
    failures: tuple[Failure, ...]
    cost: Decimal
    possibly_billed: Decimal
    usage: Usage
    seconds: float

    @classmethod
    def of(cls, run: Run, asked: Sequence[int]) -> EarlierRun:
        """What `run` leaves to a retry that asks its rows at the positions `asked` again."""
        before, context, again = run.earlier, run.context, set(asked)
        rows = list(run.plan.rowset.rows)
        rest = [row for at, row in enumerate(rows) if at not in again]
        cost, billed = context.accumulated_cost, context.metrics.possibly_billed
        usage, seconds = context.usage, context.duration
        if before is not None:
            cost, billed = cost + before.cost, billed + before.possibly_billed
            usage, seconds = usage + before.usage, seconds + before.seconds
        failed = tuple(row for at in asked if (row := rows[at]) is not None)
        return cls(count_rows(rest), failed, tuple(failures_of(rest)), cost, billed, usage, seconds)

    def tell(self, context: ExecutionContext) -> None:
        """Count the failures that stay in the metrics of the retry."""
        for failure in self.failures:
            context.metrics.count_failure(failure)
        context.metrics.last_error = None

    def put_back(self, rows: list[Any], context: ExecutionContext) -> None:
        """Rows that were to be asked again and weren't have failed, as before."""
        for old in self.asked:
            new = rows[old.position]
            if new is old or new is None or new.status == "not_run":
                rows[old.position] = old
                if old.failure is not None:
                    context.metrics.count_failure(old.failure)
