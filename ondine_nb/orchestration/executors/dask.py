"""Runs the same loop here, and has requests sent by the workers of a Dask cluster."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from typing import Any

from ...errors import ConfigurationError
from ...models import ExecutionResult
from ...providers import Provider
from ...providers.dask import DaskProvider, WorkerPool
from ..context import ExecutionContext
from ..stage import PipelineStage
from ..state_manager import StateManager
from .on_loop import AsyncExecutor
from .streaming import StreamingExecutor

__all__ = ["DaskExecutor", "DaskStreamingExecutor"]

_PATIENCE_SECONDS = 30.0


class DaskExecutor(AsyncExecutor):
    """Awaits the stages on the running loop; what they ask the model is sent by Dask's workers.

    Rows, journal, budget, rate limit, retries and stages of your own stay in this process.
    `client_or_address` is a `distributed.Client`, a cluster object or a scheduler's address, used
    and left open; None is the cluster that `DASK_SCHEDULER_ADDRESS` or Dask's configuration names,
    else that of this process's default client, else `workers` (at most four) processes on this
    machine, which end with the run. At most `max_concurrency` rows are under way at once over all
    workers. Where there is no worker for `patience` seconds, the run ends.

    Nothing is connected before the first request. A run raises `ConfigurationError` where Dask
    isn't installed or the cluster can't send.
    """

    def __init__(
        self,
        client_or_address: Any = None,
        max_concurrency: int = 100,
        *,
        workers: int | None = None,
        patience: float = _PATIENCE_SECONDS,
        on_error: str = "keep",
        state_manager: StateManager | None = None,
    ) -> None:
        super().__init__(max_concurrency, on_error=on_error, state_manager=state_manager)
        if workers is not None and workers < 1:
            raise ConfigurationError(f"workers is {workers}: it has to be 1 or more")
        self.client_or_address = client_or_address
        self.workers = workers
        self.patience = patience

    @property
    def name(self) -> str:
        return "dask"

    async def execute(
        self, stages: list[PipelineStage], context: ExecutionContext
    ) -> ExecutionResult:
        """Run the stages. Raises the error that ended the run; the rows done are in the context."""
        self.lead(stages)
        return await super().execute(stages, context)

    def lead(self, stages: Sequence[PipelineStage]) -> None:
        """Have the workers send what these stages ask."""
        pool = WorkerPool(self.client_or_address, workers=self.workers, patience=self.patience)

        def sent_by(given: Provider) -> DaskProvider:
            return DaskProvider(given.own if isinstance(given, DaskProvider) else given, pool)

        askers = [each for stage in stages for each in getattr(stage, "askers", (stage,))]
        for asker in askers:
            for endpoint in getattr(asker, "endpoints", ()):
                endpoint.provider = sent_by(endpoint.provider)
            if (routes := getattr(asker, "routes", None)) is not None:
                routes.sent_by = sent_by  # those that are found as the run goes

    def configured(
        self, *, max_concurrency: int, on_error: str, state_manager: StateManager | None
    ) -> DaskExecutor:
        """Another one on the same cluster, with a run's own settings."""
        return DaskExecutor(
            self.client_or_address,
            max_concurrency,
            workers=self.workers,
            patience=self.patience,
            on_error=on_error,
            state_manager=state_manager,
        )

    def streaming(self, chunk_size: int = 1000) -> DaskStreamingExecutor:
        """One on the same cluster that gives frames of `chunk_size` rows as they are finished."""
        return DaskStreamingExecutor(self, chunk_size)


class DaskStreamingExecutor(StreamingExecutor):
    """A `StreamingExecutor` whose requests are sent by the workers of a Dask cluster."""

    def __init__(self, dask: DaskExecutor, chunk_size: int = 1000) -> None:
        super().__init__(
            chunk_size,
            max_concurrency=dask.max_concurrency,
            on_error=dask.on_error,
            state_manager=dask.state_manager,
        )
        self._dask = dask

    @property
    def name(self) -> str:
        return "dask"

    async def execute_async(
        self, stages: Sequence[PipelineStage], context: ExecutionContext
    ) -> AsyncGenerator[Any, None]:
        """Frames in input order, on the running loop."""
        self._dask.lead(stages)
        made = super().execute_async(stages, context)
        try:
            async for chunk in made:
                yield chunk
        finally:
            await made.aclose()
