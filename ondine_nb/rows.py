"""One row on its way through the row stages, and its record afterwards."""

from __future__ import annotations

from decimal import Decimal
from typing import Any, Protocol

from .errors import RowError
from .models import Failure, Usage

__all__ = ["NO_USAGE", "ZERO", "AskAgain", "Halted", "NewColumn", "Row"]

ZERO = Decimal(0)
NO_USAGE = Usage()


class NewColumn(Protocol):
    """What a row stage says of a column that it adds; `kind` as in `frames.Column`."""

    @property
    def name(self) -> str:
        """The column's name."""
        ...

    @property
    def kind(self) -> str:
        """The type of its cells."""
        ...

    @property
    def choices(self) -> tuple[Any, ...] | None:
        """The values of a choice, in their order; None for other kinds."""
        ...


class Row:
    """One row on its way through the row stages, and its record afterwards.

    `position` counts from 0 in the input, `values` are the input columns that the stages asked
    for (by name: `row["text"]`), `outputs` the new cells. `status` is one of `not_run answered
    journal failed skipped`; cost is in USD, `latency` in seconds of the answering request.
    """

    __slots__ = (
        "answer",
        "attempts",
        "cost",
        "failure",
        "inquiry",
        "latency",
        "names",
        "outputs",
        "position",
        "prompt",
        "reasks",
        "sending",
        "status",
        "usage",
        "values",
    )

    def __init__(self, position: int, values: tuple[Any, ...], names: dict[str, int]) -> None:
        self.position: int = position
        self.values: tuple[Any, ...] = values
        self.names: dict[str, int] = names
        self.prompt: str | None = None
        self.inquiry: Any = None
        self.answer: Any = None
        self.outputs: dict[str, Any] | None = None
        self.status: str = "not_run"
        self.failure: Failure | None = None
        self.cost: Decimal = ZERO
        self.usage: Usage = NO_USAGE
        self.latency: float | None = None
        self.attempts: int = 0
        self.reasks: int = 0
        self.sending: bool = False

    def __getitem__(self, name: str) -> Any:
        return self.values[self.names[name]]

    @property
    def settled(self) -> bool:
        """Whether no further stage is to see this row."""
        return self.status in ("failed", "skipped")

    def pay(self, cost: Decimal, usage: Usage) -> None:
        """Add its share of an answer's cost, USD; of most rows' only answer it is that object."""
        self.cost = self.cost + cost if self.cost else cost
        self.usage = usage if self.usage is NO_USAGE else self.usage + usage

    def skip(self) -> None:
        """Nothing to ask: the row stays without an answer and costs nothing."""
        self.status = "skipped"

    def fail(self, error: BaseException, stage: str) -> None:
        """Keep `error` as this row's outcome."""
        label = getattr(error, "label", "failed")
        text = str(error) or type(error).__name__
        self.status = "failed"
        self.outputs = None
        self.failure = Failure(
            self.position, stage, type(error).__name__, text, self.attempts, label
        )

    def release(self) -> None:
        """Drop what only the way needed, so that a million finished rows stay small."""
        if self.inquiry is not None:
            self.inquiry.release()
        self.values, self.prompt, self.inquiry, self.answer = (), None, None, None


class AskAgain(Exception):  # noqa: N818 - a signal to the run loop, not an error of the user's
    """Sends a row back to an earlier row stage, as when an answer breaks its schema."""

    def __init__(self, stage: Any, reason: RowError) -> None:
        super().__init__(str(reason))
        self.stage = stage
        self.reason = reason


class Halted(Exception):  # noqa: N818 - a signal to the run loop, not an error of the user's
    """The run is stopping and this row would have to wait: it stays `not_run`."""
