"""What every view reads of a run, and a figure of it as it is shown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Protocol

from ..contracts import ExecutionContext
from ..models import CostEstimate

__all__ = ["ENDED", "Figure", "RunLike", "all_from_journal", "cost_of", "in_batches"]

ENDED = {"done", "stopped", "failed"}


class RunLike(Protocol):
    """What the view reads of a run. `interrupt_only` (bool), `pause` and `resume` may be absent."""

    @property
    def name(self) -> str:
        """The result's name."""

    @property
    def source(self) -> str:
        """The frame's name."""

    @property
    def model(self) -> str:
        """The model that answers."""

    @property
    def columns(self) -> Sequence[str]:
        """The names of the new columns."""

    @property
    def context(self) -> ExecutionContext:
        """Its execution context."""

    @property
    def state(self) -> str:
        """One of `pending running paused stopping done stopped failed`."""

    @property
    def error(self) -> BaseException | None:
        """What ended it, or None."""

    @property
    def priced(self) -> bool:
        """Whether the model's price is known."""

    @property
    def note(self) -> str:
        """A line on who answers, or ""."""

    @property
    def estimate(self) -> CostEstimate | None:
        """What it was expected to cost, or None."""

    def stop(self) -> Any:
        """Send nothing more."""


@dataclass(frozen=True, slots=True)
class Figure:
    """A large text with a small caption.

    Perhaps with a meter (percent; `ahead` is where it will be at the end) or a trend (SVG points;
    `trend_of` says in words what it draws).
    """

    value: str
    caption: str
    tone: str = ""
    meter: float | None = None
    ahead: float = 0.0
    trend: str = ""
    trend_of: str = ""


def cost_of(run: RunLike) -> Decimal | None:
    """USD; None where the price is unknown."""
    cost = run.context.accumulated_cost
    known = (run.priced or all_from_journal(run)) and cost.is_finite()
    return cost if known else None


def all_from_journal(run: RunLike) -> bool:
    """Whether the run has ended and every row of it was paid for before."""
    context = run.context
    free = not context.accumulated_cost and not context.gauges.possibly_billed
    whole = context.journal_rows + context.skipped_rows >= max(context.total_rows, 1)
    return bool(run.state in ENDED and context.journal_rows and free and whole)


def in_batches(run: RunLike) -> bool:
    """Whether its requests go by Message Batches: answers come all at once, who knows when."""
    options = getattr(getattr(run, "pipeline", None), "options", None)
    return bool(getattr(options, "batch", False))
