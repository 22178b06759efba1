"""The loop of a simulated process: no thread works for it, and it can be killed at any step."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable
from typing import Any

from .breach import Breach, Killed
from .clock import Clock, VirtualLoop

__all__ = ["ProcessLoop"]

_MOST_STEPS = 100_000  # a world of some hundred requests takes a tenth of that
_STEPS_OF_THE_DEAD = 20_000


class _Steps(deque[Any]):
    """What is ready to run; each that is taken out is a step between two awaits."""

    taken = 0
    kill_at: int | None = None
    called: dict[int, Callable[[], None]]
    most = _MOST_STEPS

    def popleft(self) -> Any:
        self.taken += 1
        if self.taken == self.kill_at:
            raise Killed
        if self.taken in self.called:
            self.called[self.taken]()
        if self.taken > self.most:
            self.taken = 0
            raise Breach(f"it goes on without end: {self.most:,} steps")
        return super().popleft()


class ProcessLoop(VirtualLoop):
    """Runs everything on one thread, in one order: what others would do in threads is done at once.

    At step `kill_at` it raises `Killed`, and whatever was under way stays as it is.
    """

    def __init__(self, clock: Clock, kill_at: int | None = None) -> None:
        super().__init__(clock)
        self._steps = _Steps(self._ready)  # type: ignore[has-type]
        self._steps.kill_at = kill_at
        self._steps.called = {}
        self._ready = self._steps
        self.problems: list[str] = []
        self.set_exception_handler(self._note)

    @property
    def steps(self) -> int:
        """How many steps were taken."""
        return self._steps.taken

    def at_step(self, step: int, call: Callable[[], None]) -> None:
        """Call this between two steps."""
        self._steps.called[step] = call

    def _note(self, _: Any, context: dict[str, Any]) -> None:
        self.problems.append(f"{context.get('message')}: {context.get('exception')!r}")

    def run_in_executor(self, executor: Any, func: Callable[..., Any], *args: Any) -> Any:
        future = self.create_future()
        try:
            result = func(*args)
        except Exception as error:
            future.set_exception(error)
        else:
            future.set_result(result)
        return future

    def bury(self) -> None:
        """Let go of all tasks. Where it was killed, what they still try must find all doors shut:
        they are told that they are cancelled, as Python tells whatever is thrown away."""
        self._steps.kill_at, self._steps.taken = None, 0
        self._steps.called.clear()
        self._steps.most = _STEPS_OF_THE_DEAD
        tasks = asyncio.all_tasks(self)
        for task in tasks:
            task.cancel()
        with contextlib.suppress(Exception, Killed):
            self.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
            self.run_until_complete(self.shutdown_asyncgens())
        self.close()
