"""How the observers of a run are told: in order, at most ten times a second, never in its way."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import logging
import time
from collections.abc import Callable, Coroutine, Iterator
from functools import partial
from types import SimpleNamespace
from typing import Any

__all__ = ["ObserverDispatcher"]

logger = logging.getLogger("ondine_nb")
_PROGRESS_SECONDS = 0.1
_ARGUMENTS = {
    "on_pipeline_start": ("pipeline", "context"),
    "on_stage_start": ("stage", "context"),
    "on_stage_complete": ("stage", "context", "result"),
    "on_stage_error": ("stage", "context", "error"),
    "on_pipeline_complete": ("context", "result"),
    "on_pipeline_error": ("context", "error"),
    "on_progress_update": ("context",),
}


class ObserverDispatcher:
    """Calls the observers of a context; one that raises is logged once and dropped.

    An observer has the methods that it needs; of the others nothing is expected. `other` is a
    dispatcher of the user's own, whose `dispatch(name, event)` is called for each event, behind the
    observers: `name` as in "stage_start", `event` with the method's arguments as attributes.
    """

    def __init__(self, context: Any, other: Any = None) -> None:
        self.context = context
        self.other: Any = other
        self._pending: set[asyncio.Future[None]] = set()
        self._told = float("-inf")

    async def send(self, event: str, *arguments: Any) -> None:
        """Call `event` of every observer in turn, waiting for those that are async."""
        await self._progress_seen()
        for observer, call in self._calls(event, arguments):
            with self._dropped_if_it_raises(observer, event):
                result = call()
                if inspect.isawaitable(result):
                    await result

    def dispatch(self, event: str, *arguments: Any) -> None:
        """Call `event` ("on_stage_start", or just "stage_start") of every observer, from any thread
        and without waiting for those that are async."""
        event = f"on_{event.removeprefix('on_')}"
        for observer, call in self._calls(event, arguments):
            with self._dropped_if_it_raises(observer, event):
                result = call()
                if inspect.isawaitable(result):
                    self._await(self._finish(observer, event, result))

    def progress(self) -> None:
        """Call `on_progress_update` of the observers without waiting for async ones.

        Does nothing within a tenth of a second of the last time, nor while async observers are
        still at the last one, until the run has ended: then its last state is always told.
        """
        now = time.monotonic()
        ended = self.context.end_time is not None
        if not ended and (self._pending or now - self._told < _PROGRESS_SECONDS):
            return
        self._told = now
        self.dispatch("on_progress_update", self.context)

    def _calls(
        self, event: str, arguments: tuple[Any, ...]
    ) -> Iterator[tuple[Any, Callable[[], Any]]]:
        for observer in list(self.context.observers):
            method = getattr(observer, event, None)
            if method is not None:
                yield observer, partial(method, *arguments)
        if self.other is not None:
            named = SimpleNamespace(**dict(zip(_ARGUMENTS.get(event, ()), arguments, strict=False)))
            yield self.other, partial(self.other.dispatch, event.removeprefix("on_"), named)

    def _await(self, finishing: Coroutine[Any, Any, None]) -> None:
        try:
            pending = asyncio.get_running_loop().create_task(finishing)
        except RuntimeError:  # called from a thread without a loop
            asyncio.run(finishing)
            return
        self._pending.add(pending)
        pending.add_done_callback(self._pending.discard)

    async def _progress_seen(self) -> None:
        """Events come in order: none overtakes a progress update that is on its way."""
        loop = asyncio.get_running_loop()
        pending = [task for task in self._pending if task.get_loop() is loop]
        if pending:
            await asyncio.wait(pending)

    async def _finish(self, observer: Any, event: str, pending: Any) -> None:
        with self._dropped_if_it_raises(observer, event):
            await pending

    @contextlib.contextmanager
    def _dropped_if_it_raises(self, observer: Any, event: str) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # of the user's own, it may raise anything; the run goes on
            self._drop(observer, event, error)

    def _drop(self, observer: Any, event: str, error: Exception) -> None:
        known = observer is self.other or observer in self.context.observers
        if observer is self.other:
            self.other = None
        elif known:
            self.context.observers.remove(observer)
        if known:
            logger.warning(
                "observer %s raised in %s and is dropped: %s: %s",
                type(observer).__name__,
                event,
                type(error).__name__,
                error,
            )
