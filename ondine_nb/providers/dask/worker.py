"""What runs on a worker of a Dask cluster: a sender of what it is handed, on its loop.

The functions here are called on workers by name. They raise nothing, since Dask would log what they
were called with, prompts included: what went wrong is a value. Each may be called again with the
same arguments: a request is sent once, and an answer stays there until it is taken.
"""

from __future__ import annotations

import asyncio
import contextlib
import pickle
from collections.abc import Sequence
from typing import Any, TypeAlias

from ... import __version__, errors
from ...errors import OndineError, RowError, TransientError
from ...text import one_line
from ..base import Provider, Reply, Settings

__all__ = ["Handed", "Outcome", "clear", "collect", "error_of", "greet", "hand_in", "open_endpoint"]

Handed: TypeAlias = "tuple[int, int, Any]"  # a request's number, its endpoint, its prompt
Outcome: TypeAlias = "tuple[int, Reply | bytes]"  # its number, and a reply or a pickled error

_WAIT_SECONDS = 5.0  # how long a call waits for an answer, before it asks again
_GATHER_SECONDS = 0.02  # answers that come together are taken together
# A notebook's cell may hold its loop for long. A sender that nobody asks after is of a dead kernel.
_SILENCE_SECONDS = 3_600.0
_LINE = 400  # characters of an error
# Those that are made of their words alone.
_KINDS = {
    kind
    for kind in vars(errors).values()
    if isinstance(kind, type)
    and issubclass(kind, errors.RowError | errors.FatalProviderError | errors.ConfigurationError)
}


class WorkerSender:
    """One run's place on one worker: its open providers by endpoint, its requests by number."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.endpoints: dict[int, Provider] = {}
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

    def take(self, number: int, endpoint: int, prompt: Any) -> None:
        """Send a request, unless it was handed in before."""
        if number not in self.sending and number not in self.done:
            sending = self._send(number, self.endpoints[endpoint], prompt)
            self.sending[number] = asyncio.create_task(sending)

    async def _send(self, number: int, provider: Provider, prompt: Any) -> None:
        try:
            reply = await provider.send(prompt)
            self.done[number] = Reply(reply.body, _headers(reply), reply.latency)
        except Exception as error:  # goes to the run, which judges it: else it would wait for ever
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
        for provider in self.endpoints.values():
            with contextlib.suppress(Exception):  # there is nobody to tell
                await provider.close()


def _headers(reply: Reply) -> dict[str, str]:
    """A reply's headers as a dict: those of the HTTP library can't travel.

    None of those that can't be read: the body has been paid for, whatever stands beside it.
    """
    try:
        return {str(name).lower(): str(value) for name, value in reply.headers.items()}
    except Exception:  # of a provider of the user's own, which may give anything
        return {}


_SENDERS: dict[str, WorkerSender] = {}


async def greet() -> str:
    """The version of this package on the worker."""
    return __version__


async def open_endpoint(run: str, endpoint: int, order: bytes) -> str | None:
    """Open the provider in `order` for its settings. None, or in a line why that can't be."""
    here = _SENDERS.setdefault(run, WorkerSender(run))
    if endpoint in here.endpoints:
        return None
    try:
        provider, settings, width = unpacked(order)
    except Exception as error:  # a module that isn't here, another Python: the run says so
        return f"can't load the provider ({_line(error)}): install it there too"
    try:
        await provider.open(settings, width)
    except Exception as error:  # raised here, Dask would log the order: the run says it in a line
        return one_line(str(error), _LINE) if isinstance(error, OndineError) else _line(error)
    here.endpoints[endpoint] = provider
    return None


def unpacked(order: bytes) -> tuple[Provider, Settings, int]:
    """A provider, its settings, and how many requests it may have to send at once."""
    provider, settings, width = pickle.loads(order)  # noqa: S301 - from the run, by Dask
    return provider, settings, width


async def hand_in(run: str, requests: Sequence[Handed], withdrawn: Sequence[int]) -> bool | None:
    """Send `requests` and cancel those that are `withdrawn`. None where there is no such sender."""
    here = _SENDERS.get(run)
    if here is None:
        return None
    here.hear()
    for number, endpoint, prompt in requests:
        here.take(number, endpoint, prompt)
    for number in withdrawn:
        here.withdraw(number)
    return True


async def collect(run: str, taken: Sequence[int]) -> list[Outcome] | None:
    """What is done by now, without what was `taken` before. None where there is no such sender."""
    here = _SENDERS.get(run)
    if here is None:
        return None
    here.hear()
    for number in taken:
        here.done.pop(number, None)
    return await here.finished()


async def clear(run: str) -> None:
    """Cancel what the run has on this worker, and forget it."""
    here = _SENDERS.pop(run, None)
    if here is not None:
        await here.clear()


def portable(error: Exception) -> bytes:
    """An error as it can travel: whole, and plain for where its class isn't known."""
    import cloudpickle  # Dask brings it: a class from a notebook travels along

    try:
        whole: bytes = cloudpickle.dumps(error)
        pickle.loads(whole)  # noqa: S301 - its own
    except Exception:  # a class of the user's own that can't be packed: the plain one goes alone
        whole = b""
    return pickle.dumps((whole, _plain(error)))


def error_of(packed: bytes) -> Exception:
    """The error in what `portable` made of it; the plain one where its class isn't known here."""
    whole, plain = pickle.loads(packed)  # noqa: S301 - from our own sender
    try:
        error: Exception = pickle.loads(whole)  # noqa: S301 - from our own sender
    except Exception:  # its class is on the worker only, or it couldn't be packed there
        error = plain
    return error


def _plain(error: Exception) -> Exception:
    """The nearest of our own errors in its place.

    By its kind a run decides whether to try again, to go on, and what may have been billed.
    """
    kind = next((it for it in type(error).__mro__ if it in _KINDS), RowError)
    plain: Exception = kind(_line(error))
    if isinstance(plain, TransientError) and isinstance(error, TransientError):
        plain.retry_after = error.retry_after
        plain.possibly_billed = bool(error.possibly_billed)
        plain.unreachable = bool(error.unreachable)
    return plain


def _line(error: Exception) -> str:
    return one_line(f"{type(error).__name__}: {error}".removesuffix(": "), _LINE)
