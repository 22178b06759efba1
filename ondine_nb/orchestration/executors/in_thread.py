"""Runs the same loop in a thread of its own, for callers that can't await."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from ...models import ExecutionResult
from ..checks import check_on_error, check_run, whole_number
from ..context import ExecutionContext
from ..stage import PipelineStage
from ..state_manager import StateManager
from .base import ExecutionStrategy, run_stages

__all__ = ["SyncExecutor", "run_in_thread"]

T = TypeVar("T")
_POLL_SECONDS = 0.1


def run_in_thread(
    work: Callable[[], Coroutine[Any, Any, T]], on_interrupt: Callable[[], None] | None = None
) -> T:
    """The outcome of `work()`, run on a loop of its own in a worker thread.

    Usable while the calling thread's loop is running. A KeyboardInterrupt calls `on_interrupt`,
    waits for the work to end, and is raised.
    """
    outcome: dict[str, Any] = {}
    ended = threading.Event()

    def target() -> None:
        try:
            outcome["result"] = asyncio.run(work())
        except BaseException as error:
            outcome["error"] = error
        finally:
            ended.set()

    # The thread takes the caller's context along: a notebook finds a cell's output by it.
    carried = contextvars.copy_context()
    thread = threading.Thread(target=carried.run, args=(target,), name="ondine-run", daemon=True)
    thread.start()
    interrupt = _wait(ended, on_interrupt)
    if interrupt is not None:
        raise interrupt
    if "error" in outcome:
        raise outcome["error"]
    result: T = outcome["result"]
    return result


def _wait(
    ended: threading.Event, on_interrupt: Callable[[], None] | None
) -> KeyboardInterrupt | None:
    """Wait in short steps, so that an interrupt is noticed; a second one gives up waiting.

    Not by `Thread.join`: interrupted, it takes a running thread for ended (CPython up to 3.12).
    """
    interrupt: KeyboardInterrupt | None = None
    while not ended.is_set():
        try:
            ended.wait(_POLL_SECONDS)
        except KeyboardInterrupt as error:
            if on_interrupt is not None:
                on_interrupt()
            if interrupt is not None:
                return error
            interrupt = error
    return interrupt


class SyncExecutor(ExecutionStrategy):
    """Blocks until the run is done; one worker thread with its own loop around the same code."""

    def __init__(
        self,
        *,
        max_concurrency: int = 10,
        on_error: str = "keep",
        state_manager: StateManager | None = None,
    ) -> None:
        self.max_concurrency: int = whole_number("max_concurrency", max_concurrency)
        check_on_error(on_error)
        self.on_error = on_error
        self.state_manager = state_manager

    @property
    def name(self) -> str:
        return "sync"

    def execute(self, stages: list[PipelineStage], context: ExecutionContext) -> ExecutionResult:
        """Run the stages. Raises the error that ended the run."""
        check_run(stages, context)
        return run_in_thread(
            lambda: self._run(stages, context),
            on_interrupt=lambda: context.control.stop("interrupt"),
        )

    async def _run(self, stages: list[PipelineStage], context: ExecutionContext) -> ExecutionResult:
        try:
            return await run_stages(
                stages,
                context,
                width=self.max_concurrency,
                on_error=self.on_error,
                state_manager=self.state_manager,
            )
        finally:
            # The loop ends with this coroutine: what is in flight has to be journaled first.
            await context.control.drained()

    def supports_async(self) -> bool:
        return False

    def supports_streaming(self) -> bool:
        return False
