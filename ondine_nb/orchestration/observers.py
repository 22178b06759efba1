"""Observers for logs, terminals and budgets. `WidgetObserver` is in `ondine_nb.notebook`."""

from __future__ import annotations

import logging
from abc import ABC
from typing import TYPE_CHECKING, Any, TypeVar

from ..models import ExecutionResult
from .context import ExecutionContext
from .stage import PipelineStage

__all__ = ["CostTrackingObserver", "ExecutionObserver", "LoggingObserver", "ProgressBarObserver"]

T = TypeVar("T")


if TYPE_CHECKING:  # a subclass may leave any of them out

    def abstractmethod(method: T) -> T: ...
else:
    from abc import abstractmethod


def _nothing(self: ExecutionObserver, *_: Any) -> None:
    """What an observer does at an event that it has no method for."""


class ExecutionObserver(ABC):
    """Watches a run: a base with a method for each event, of which a subclass has those it needs.

    Methods may be plain or `async` and are called on the loop that runs the rows, in the caller's
    thread with `AsyncExecutor` alone; an observer that raises is dropped, and the run goes on.
    `on_pipeline_start` comes first, `on_pipeline_complete` or `on_pipeline_error` last: the former
    also where a run was stopped, ran out of budget or lost its taker (`result.success` is False
    then), the latter where an error or a cancellation ended it. Between them each stage has
    its `on_stage_start`, in their order, and then `on_stage_complete` or `on_stage_error`, once for
    a whole stream; neither if the run ended elsewhere while the stage was under way. Neighbouring
    row stages start and end together, and the stages of a stream are under way side by side.
    `on_progress_update` comes at most ten times a second, before and behind the last event too.
    """

    def __init_subclass__(cls, **given: Any) -> None:
        super().__init_subclass__(**given)
        for name in ExecutionObserver.__abstractmethods__:
            if getattr(cls, name) is getattr(ExecutionObserver, name):
                setattr(cls, name, _nothing)

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


def _usd(context: ExecutionContext) -> str:
    return f"${context.accumulated_cost:.4f}" if context.price_known else "price unknown"


class LoggingObserver(ExecutionObserver):
    """Logs every event through the standard `logging`, as logger `ondine_nb.run`."""

    def __init__(self) -> None:
        self.logger: logging.Logger = logging.getLogger("ondine_nb.run")

    def on_pipeline_start(self, pipeline: Any, context: ExecutionContext) -> None:
        self.logger.info("run %s started", context.session_id)

    def on_stage_start(self, stage: PipelineStage, context: ExecutionContext) -> None:
        self.logger.info("stage %s started at %.1f %%", stage.name, context.get_progress())

    def on_stage_complete(
        self, stage: PipelineStage, context: ExecutionContext, result: Any
    ) -> None:
        self.logger.info("stage %s done, %s until now", stage.name, _usd(context))

    def on_stage_error(
        self, stage: PipelineStage, context: ExecutionContext, error: Exception
    ) -> None:
        self.logger.error("stage %s failed: %s", stage.name, error)

    def on_pipeline_complete(self, context: ExecutionContext, result: ExecutionResult) -> None:
        counts = result.metrics
        self.logger.info(
            "run %s ended: %d rows answered, %d failed, %d skipped in %.2f s for %s",
            context.session_id,
            counts.processed_rows,
            counts.failed_rows,
            counts.skipped_rows,
            counts.total_duration_seconds,
            _usd(context),
        )

    def on_pipeline_error(self, context: ExecutionContext, error: Exception) -> None:
        self.logger.error("run %s failed: %s", context.session_id, error)

    def on_progress_update(self, context: ExecutionContext) -> None:
        self.logger.info(
            "%d of %d rows (%.1f %%), %s",
            context.done_rows,
            context.total_rows,
            context.get_progress(),
            _usd(context),
        )


class ProgressBarObserver(ExecutionObserver):
    """A tqdm bar in a terminal; it opens as soon as the number of rows is known."""

    def __init__(self) -> None:
        self.progress_bar: Any = None
        self._running: list[str] = []
        self._over = False

    def on_pipeline_start(self, pipeline: Any, context: ExecutionContext) -> None:
        self._running, self._over = [], False
        self._refresh(context)

    def on_stage_start(self, stage: PipelineStage, context: ExecutionContext) -> None:
        self._running.append(str(stage.name))
        self._refresh(context)
        self._describe()

    def on_stage_complete(
        self, stage: PipelineStage, context: ExecutionContext, result: Any
    ) -> None:
        if str(stage.name) in self._running:
            self._running.remove(str(stage.name))
        self._refresh(context)
        self._describe()

    def on_stage_error(
        self, stage: PipelineStage, context: ExecutionContext, error: Exception
    ) -> None:
        if self.progress_bar is not None:
            self.progress_bar.set_description(f"{stage.name} failed")

    def on_progress_update(self, context: ExecutionContext) -> None:
        self._refresh(context)

    def on_pipeline_complete(self, context: ExecutionContext, result: ExecutionResult) -> None:
        self._close(context)

    def on_pipeline_error(self, context: ExecutionContext, error: Exception) -> None:
        self._close(context)

    def _refresh(self, context: ExecutionContext) -> None:
        # Not after the end, of which the last state is told once more.
        if self.progress_bar is None and context.total_rows > 0 and not self._over:
            from tqdm import tqdm

            self.progress_bar = tqdm(total=context.total_rows, unit="rows", desc="rows")
            self._describe()
        if self.progress_bar is not None:
            self.progress_bar.total = context.total_rows  # a stream's grows as it is read
            self.progress_bar.n = context.done_rows
            self.progress_bar.set_postfix({"cost": _usd(context), "failed": context.failed_rows})

    def _describe(self) -> None:
        if self.progress_bar is not None and self._running:
            self.progress_bar.set_description(", ".join(self._running))

    def _close(self, context: ExecutionContext) -> None:
        if self.progress_bar is not None:
            self._refresh(context)
            self.progress_bar.close()
            self.progress_bar = None
        self._over = True


class CostTrackingObserver(ExecutionObserver):
    """Warns once when `warning_threshold` (a fraction) of the run's budget is used.

    `max_budget` (USD) comes from the run unless it is set.
    """

    def __init__(self, warning_threshold: float = 0.75) -> None:
        self.logger: logging.Logger = logging.getLogger("ondine_nb.cost")
        self.warning_threshold = warning_threshold
        self.max_budget: float | None = None
        self.warned: bool = False

    def on_pipeline_start(self, pipeline: Any, context: ExecutionContext) -> None:
        self.warned = False
        if self.max_budget is None and context.max_budget is not None:
            self.max_budget = float(context.max_budget)

    def on_stage_complete(
        self, stage: PipelineStage, context: ExecutionContext, result: Any
    ) -> None:
        self._check(context)

    def on_progress_update(self, context: ExecutionContext) -> None:
        self._check(context)

    def on_pipeline_complete(self, context: ExecutionContext, result: ExecutionResult) -> None:
        self._check(context)
        self.logger.info(
            "cost %s, %d input tokens, %d output tokens",
            _usd(context),
            result.costs.input_tokens,
            result.costs.output_tokens,
        )

    def on_pipeline_error(self, context: ExecutionContext, error: Exception) -> None:
        self.logger.info("cost at the failure %s", _usd(context))

    def _check(self, context: ExecutionContext) -> None:
        if self.warned or not self.max_budget:
            return
        used = float(context.accumulated_cost) / float(self.max_budget)
        if used >= self.warning_threshold:
            self.warned = True
            self.logger.warning(
                "%.0f %% of the budget is used: $%s of $%s",
                used * 100,
                context.accumulated_cost,
                self.max_budget,
            )
