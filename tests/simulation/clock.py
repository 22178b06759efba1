"""A virtual clock, and an event loop that lives by it: sleeping takes no time.

Where nothing is ready to run, the loop's clock jumps to its next timer instead of waiting for it.
So an hour of a run is simulated in as long as its work takes, and each wait is exact: what is
tested may say to the millisecond when it happened, on however busy a machine.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import selectors
from collections.abc import Callable, Coroutine, Iterator
from typing import Any, TypeVar

__all__ = ["Clock", "Deadlock", "VirtualLoop", "simulate"]

T = TypeVar("T")

_PATIENCE = 60.0  # real seconds for work that goes on outside the loop


class Deadlock(RuntimeError):  # noqa: N818 - the field's word
    """Nothing is ready, no timer is set and nobody outside works: it would wait for ever."""


class Clock:
    """Seconds since whenever, moved by hand or by a `VirtualLoop`: call it to read it.

    Takes the place of `time.monotonic` in whatever takes a clock. Each reading gives the same value
    until the clock is moved.
    """

    def __init__(self, now: float = 0.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now

    def move(self, seconds: float) -> None:
        """So many seconds later; a clock that measures spans never goes back."""
        if seconds < 0:
            raise ValueError(f"a monotonic clock can't be moved by {seconds} s")
        self.now += seconds


class _Selector(selectors.BaseSelector):
    """A real selector that doesn't wait: it moves the clock by what it would have waited.

    Sockets and pipes are looked at first, where there can be something: the system is asked at
    every step otherwise, which takes a fifth of a simulation.
    """

    def __init__(self, clock: Clock) -> None:
        self._real = selectors.DefaultSelector()
        self._clock = clock
        self.outside = 0
        self.woken = False  # somebody has written to the pipe of `call_soon_threadsafe`

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = []
        if self.woken or self.outside or timeout is None or len(self._real.get_map()) > 1:
            self.woken = False  # before it is read: what is written meanwhile is seen next time
            ready = self._real.select(0)
        if ready or (timeout is not None and timeout <= 0):
            return ready
        if self.outside:
            if ready := self._real.select(_PATIENCE):
                return ready
            raise Deadlock(f"what works outside the loop has not come back in {_PATIENCE:g} s")
        if timeout is None:
            raise Deadlock("nothing is ready, no timer is set and nothing works outside the loop")
        # At least as far as a float can tell: else the loop would wait for the same timer again.
        later = math.nextafter(self._clock.now, math.inf) - self._clock.now
        self._clock.move(max(timeout, later))
        return []

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        return self._real.register(fileobj, events, data)

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        return self._real.unregister(fileobj)

    def modify(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        return self._real.modify(fileobj, events, data)

    def get_map(self) -> Any:
        return self._real.get_map()

    def close(self) -> None:
        self._real.close()


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop in virtual time: `loop.time()` is its `clock`, which jumps from timer to timer.

    While threads work for it (`run_in_executor`, `asyncio.to_thread`, or whatever is wrapped in
    `outside`) the clock stands still: what they do takes no virtual time.
    """

    def __init__(self, clock: Clock | None = None) -> None:
        self.clock = Clock() if clock is None else clock
        self._jumps = _Selector(self.clock)
        super().__init__(self._jumps)
        # asyncio runs a timer when the clock is past it by less than this: the usual nanosecond is
        # lost in rounding as soon as the clock stands at months, and no timer would ever be due.
        self._clock_resolution = 1e-6

    def time(self) -> float:
        return self.clock.now

    def _write_to_self(self) -> None:
        super()._write_to_self()  # type: ignore[misc]
        self._jumps.woken = True

    @contextlib.contextmanager
    def outside(self) -> Iterator[None]:
        """Until this block ends, others (threads, processes, sockets) work on what is awaited."""
        self._jumps.outside += 1
        try:
            yield
        finally:
            self._jumps.outside -= 1

    def run_in_executor(self, executor: Any, func: Callable[..., Any], *args: Any) -> Any:
        future = super().run_in_executor(executor, func, *args)
        if not future.done():
            self._jumps.outside += 1
            future.add_done_callback(self._came_back)
        return future

    def _came_back(self, _future: Any) -> None:
        self._jumps.outside -= 1

    async def shutdown_default_executor(self, timeout: float | None = None) -> None:
        """Its threads end by themselves meanwhile."""
        with self.outside():
            await super().shutdown_default_executor()


def simulate(main: Callable[[Clock], Coroutine[Any, Any, T]], clock: Clock | None = None) -> T:
    """Run `main(clock)` to its end on a `VirtualLoop` of its own, and give what it gives."""
    clock = Clock() if clock is None else clock
    with asyncio.Runner(loop_factory=lambda: VirtualLoop(clock)) as runner:
        return runner.run(main(clock))
