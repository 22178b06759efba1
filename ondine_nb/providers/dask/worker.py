"""What runs on a worker of a Dask cluster: a desk that sends what it is handed, on that one's loop.

The functions here are called on workers by name. They raise nothing, since Dask would log what they
were called with, prompts included: what went wrong is a value. Each may be called again with the
same arguments: a request is sent once, and an answer stays on the desk until it is taken.
"""

from __future__ import annotations

import asyncio
import contextlib
import pickle
from collections.abc import Sequence
from typing import Any, TypeAlias

from ... import __version__
from ...errors import RowError
from ..base import Provider, Reply, Settings

__all__ = ["Handed", "Outcome", "clear", "collect", "greet", "hand_in", "open_line"]

Handed: TypeAlias = "tuple[int, int, Any]"  # a request's number, its line, its prompt
Outcome: TypeAlias = "tuple[int, Reply | bytes]"  # its number, and a reply or a pickled error

_WAIT_SECONDS = 5.0  # how long a call waits for an answer, before it asks again
_GATHER_SECONDS = 0.02  # answers that come together are taken together
# A notebook's cell may hold its loop for long. A desk that nobody asks after is of a dead kernel.
_SILENCE_SECONDS = 3_600.0


class WorkerSender:
    """One run's place on one worker: its open providers, by line, and its requests, by number."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.lines: dict[int, Provider] = {}
        self.sending: dict[int, asyncio.Task[None]] = {}
        self.done: dict[int, Reply | bytes] = {}
        self._some = asyncio.Event()
        self._alarm: asyncio.TimerHandle | None = None
        self.hear()

    def hear(self) -> None:
        """The run is alive: it has called."""
        loop = asyncio.get_running_loop()
        if self._alarm is not None:
            self._alarm.cancel()
        self._alarm = loop.call_later(_SILENCE_SECONDS, lambda: loop.create_task(clear(self.name)))

    def take(self, number: int, line: int, prompt: Any) -> None:
        """Send a request, unless it was handed in before."""
        if number not in self.sending and number not in self.done:
            sending = self._send(number, self.lines[line], prompt)
            self.sending[number] = asyncio.create_task(sending)

    async def _send(self, number: int, provider: Provider, prompt: Any) -> None:
        try:
            reply = await provider.send(prompt)
            # The headers as a dict: those of the HTTP library can't travel.
            headers = {name.lower(): str(value) for name, value in reply.headers.items()}
            self.done[number] = Reply(reply.body, headers, reply.latency)
        except Exception as error:  # the run judges it
            self.done[number] = portable(error)
        finally:
            del self.sending[number]
        self._some.set()

    def withdraw(self, number: int) -> None:
        """Cancel a request; its answer isn't wanted any more."""
        self.done.pop(number, None)
        if number in self.sending:
            self.sending[number].cancel()

    async def finished(self) -> list[Outcome]:
        """What is done, waited for a while if there is nothing yet."""
        if not self.done:
            self._some.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._some.wait(), _WAIT_SECONDS)
        if self.done:
            await asyncio.sleep(_GATHER_SECONDS)
        return list(self.done.items())

    async def clear(self) -> None:
        """Cancel everything, and let go of the providers."""
        if self._alarm is not None:
            self._alarm.cancel()
        under_way = list(self.sending.values())
        for task in under_way:
            task.cancel()
        if under_way:
            await asyncio.wait(under_way)
        for provider in self.lines.values():
            with contextlib.suppress(Exception):  # there is nobody to tell
                await provider.close()


_DESKS: dict[str, WorkerSender] = {}


async def greet() -> str:
    """The version of this package on the worker."""
    return __version__


async def open_line(desk: str, line: int, order: bytes) -> str | None:
    """Open the provider in `order` for its settings. None, or in a line why that can't be."""
    here = _DESKS.setdefault(desk, WorkerSender(desk))
    if line in here.lines:
        return None
    try:
        provider, settings, width = unpacked(order)
    except Exception as error:  # a module that isn't here, another Python
        return f"can't load the provider ({type(error).__name__}: {error}): install it there too"
    try:
        await provider.open(settings, width)
    except Exception as error:  # told in one line, whatever it is
        return str(error) or type(error).__name__
    here.lines[line] = provider
    return None


def unpacked(order: bytes) -> tuple[Provider, Settings, int]:
    """A provider, its settings, and how many requests it may have to send at once."""
    provider, settings, width = pickle.loads(order)  # noqa: S301 - from the run, by Dask
    return provider, settings, width


async def hand_in(desk: str, requests: Sequence[Handed], withdrawn: Sequence[int]) -> bool | None:
    """Send `requests` and cancel those that are `withdrawn`. None where there is no such desk."""
    here = _DESKS.get(desk)
    if here is None:
        return None
    here.hear()
    for number, line, prompt in requests:
        here.take(number, line, prompt)
    for number in withdrawn:
        here.withdraw(number)
    return True


async def collect(desk: str, taken: Sequence[int]) -> list[Outcome] | None:
    """What is done by now, without what was `taken` before. None where there is no such desk."""
    here = _DESKS.get(desk)
    if here is None:
        return None
    here.hear()
    for number in taken:
        here.done.pop(number, None)
    return await here.finished()


async def clear(desk: str) -> None:
    """Cancel what the run has on this worker, and forget it."""
    here = _DESKS.pop(desk, None)
    if here is not None:
        await here.clear()


def portable(error: Exception) -> bytes:
    """An error as it can travel; what can't be pickled keeps its words."""
    import cloudpickle  # Dask brings it: a class from a notebook travels along

    try:
        packed: bytes = cloudpickle.dumps(error)
        pickle.loads(packed)  # noqa: S301 - its own
    except Exception:  # whatever a class of the user's own does
        return pickle.dumps(RowError(f"{type(error).__name__}: {error}"))
    return packed
