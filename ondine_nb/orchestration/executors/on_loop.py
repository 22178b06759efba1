"""Runs on the caller's own event loop."""

from __future__ import annotations

from ...models import ExecutionResult
from ..checks import check_on_error, whole_number
from ..context import ExecutionContext
from ..stage import PipelineStage
from ..state_manager import StateManager
from .base import ExecutionStrategy, run_stages

__all__ = ["AsyncExecutor"]


class AsyncExecutor(ExecutionStrategy):
    """Awaits the stages on the running loop, with at most `max_concurrency` rows at once."""

    def __init__(
        self,
        max_concurrency: int = 10,
        *,
        on_error: str = "keep",
        state_manager: StateManager | None = None,
    ) -> None:
        self.max_concurrency: int = whole_number("max_concurrency", max_concurrency)
        check_on_error(on_error)
        self.on_error = on_error
        self.state_manager = state_manager

    @property
    def name(self) -> str:
        return "async"

    async def execute(
        self, stages: list[PipelineStage], context: ExecutionContext
    ) -> ExecutionResult:
        """Run the stages. Raises the error that ended the run; the rows done are in the context."""
        return await run_stages(
            stages,
            context,
            width=self.max_concurrency,
            on_error=self.on_error,
            state_manager=self.state_manager,
        )

    async def execute_async(
        self, stages: list[PipelineStage], context: ExecutionContext
    ) -> ExecutionResult:
        """The same as `execute`."""
        return await self.execute(stages, context)

    def supports_async(self) -> bool:
        return True

    def supports_streaming(self) -> bool:
        return False
