"""How the observers of a run are told: in order, at most ten times a second, never in its way."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import logging
import time
from collections.abc import Coroutine, Iterator
from typing import Any

__all__ = ["ObserverDispatcher"]

logger = logging.getLogger("ondine_nb")
_PROGRESS_SECONDS = 0.1


class ObserverDispatcher:
    """Calls the observers of a context; one that raises is logged once and dropped."""

    def __init__(self, context: Any) -> None:
        self.context = context
        self._pending: set[asyncio.Future[None]] = set()
        self._told = float("-inf")

    async def send(self, event: str, *arguments: Any) -> None:
        """Call `event` of every observer in turn, waiting for those that are async."""
        await self._progress_seen()
        for observer in list(self.context.observers):
            with self._dropped_if_it_raises(observer, event):
                result = getattr(observer, event)(*arguments)
                if inspect.isawaitable(result):
                    await result

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
        for observer in list(self.context.observers):
            with self._dropped_if_it_raises(observer, "on_progress_update"):
                result = self._call(observer)
                if inspect.isawaitable(result):
                    self._await(self._finish(observer, result))

    def _call(self, observer: Any) -> Any:
        return observer.on_progress_update(self.context)

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

    async def _finish(self, observer: Any, pending: Any) -> None:
        with self._dropped_if_it_raises(observer, "on_progress_update"):
            await pending

    @contextlib.contextmanager
    def _dropped_if_it_raises(self, observer: Any, event: str) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # of the user's own, it may raise anything; the run goes on
            self._drop(observer, event, error)

    def _drop(self, observer: Any, event: str, error: Exception) -> None:
        if observer in self.context.observers:
            self.context.observers.remove(observer)
            logger.warning(
                "observer %s raised in %s and is dropped: %s: %s",
                type(observer).__name__,
                event,
                type(error).__name__,
                error,
            )
