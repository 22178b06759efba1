"""Stages: what a pipeline is made of, a whole frame or one row at a time."""

from __future__ import annotations

import inspect
import logging
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Sequence
from decimal import Decimal
from functools import cached_property
from typing import TYPE_CHECKING, Any, Generic

from ..errors import ConfigurationError
from ..models import (
    CostEstimate,
    ValidationResult,
)
from .context import ExecutionContext
from .rows import NewColumn, Row

if TYPE_CHECKING:  # of a plain `PipelineStage`, anything goes in and out
    from typing_extensions import TypeVar

    Given = TypeVar("Given", default=Any)
    Made = TypeVar("Made", default=Any)
else:
    from typing import TypeVar

    Given, Made = TypeVar("Given"), TypeVar("Made")

__all__ = ["PipelineStage", "RowStage", "of_another_thread", "says_thread"]


def of_another_thread(error: BaseException) -> bool:
    """Whether sqlite refused a connection because it was made in another thread."""
    return type(error).__name__ == "ProgrammingError" and "same thread" in str(error)


def says_thread(stage: str) -> ConfigurationError:
    """What to do about a stage of this name that sqlite refused its connection."""
    return ConfigurationError(
        f"stage '{stage}' uses an sqlite connection of another thread than the one it is called "
        "in. Connect inside the stage (a row stage: in `open`), or with check_same_thread=False; "
        "`in_thread = False` on the stage has it called on the loop's thread, AsyncExecutor's "
        "caller"
    )


class PipelineStage(ABC, Generic[Given, Made]):
    """A table stage: called once with everything, or once a chunk when streaming.

    `PipelineStage[DataFrame, DataFrame]` says what `process(input_data, context)` takes and gives.
    A plain one is called in a worker thread, with its hooks and `validate_input`, so that the loop
    stays free; an `async` one on the loop, and with `in_thread = False` a plain one too. Subclasses
    may take `validate_input(data)` or `validate_input(data, context)`.
    """

    name: str = "stage"  # of one whose __init__ forgets to call this one's
    in_thread: bool = True

    def __init__(self, name: str | None = None) -> None:
        self.name = name or type(self).__name__

    @cached_property
    def logger(self) -> logging.Logger:
        """For lines about this stage: `ondine_nb.stage` and its name."""
        return logging.getLogger(f"ondine_nb.stage.{self.name}")

    @abstractmethod
    def process(self, input_data: Given, context: ExecutionContext) -> Made:
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

    def before_process(self, context: ExecutionContext) -> None:
        """Called before `process`."""

    def after_process(self, result: Any, context: ExecutionContext) -> None:
        """Called with the result of `process`."""

    def on_error(self, error: Exception, context: ExecutionContext) -> Any:
        """Called when `process` raised; the error goes on to the run."""


class RowStage(PipelineStage):
    """A stage that treats one row at a time; neighbours are fused, with no barrier between them.

    `prepare(rows, context)` sees each chunk before its rows enter the window: the place for what
    is cheaper for many at once. `process_row(row, context)` may wait; a `RowError` that it raises
    (or any other exception) becomes that row's failure. All are called on the loop; any of them may
    be plain instead of `async`, if it never takes long. `columns` are the input columns it reads
    (None: all), `produces` the columns it adds, by name in the dict `row.outputs`; another key is a
    `ConfigurationError`, which ends the run.
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

    def gather(
        self, chunks: AsyncGenerator[Sequence[Row], None], context: ExecutionContext
    ) -> AsyncGenerator[Sequence[Row], None]:
        """Rows that were prepared in, rows that may enter the window out, as an async generator.

        The place for what lets rows wait for each other: it may keep rows back, and read on before
        it gives them. All rows have to come out, in whatever order. By default they come as they
        are.
        """
        return chunks

    async def open(self, context: ExecutionContext) -> None:
        """Called once before the first row, on the loop that runs the rows."""

    async def close(self) -> None:
        """Called once when nothing of the run is in flight any more."""
