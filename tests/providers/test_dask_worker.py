"""What a worker of a cluster gives back: no paid body is lost for what stands beside it."""

from __future__ import annotations

import asyncio
import pickle
from collections.abc import Callable
from typing import Any

import pytest

from ondine_nb.errors import FatalProviderError, RateLimitedError, RowError
from ondine_nb.providers import Reply, Settings
from ondine_nb.providers.dask.worker import (
    clear,
    collect,
    error_of,
    hand_in,
    open_endpoint,
    portable,
)

BODY = b"paid"


class Unreadable(dict[str, str]):
    """Headers that can't be read."""

    def items(self) -> Any:
        raise RuntimeError("not these")


class Told(dict[str, str]):
    """Headers as they usually are."""

    def __init__(self) -> None:
        super().__init__({"Retry-After": "1"})


class Sends:
    """A provider that answers with such headers."""

    def __init__(self, kind: Callable[[], Any]) -> None:
        self.kind = kind

    async def open(self, settings: Settings, concurrency: int) -> None:
        """Nothing to connect."""

    async def send(self, prompt: str) -> Reply:
        return Reply(BODY, self.kind())

    async def close(self) -> None:
        """Nothing to let go of."""


@pytest.mark.parametrize(
    ("kind", "told"), [(Told, {"retry-after": "1"}), (Unreadable, {}), (bool, {})]
)
def test_a_paid_body_travels_whatever_its_headers_are(kind: Any, told: Any) -> None:
    async def main() -> Any:
        order = pickle.dumps((Sends(kind), Settings("m", 10), 1))
        assert await open_endpoint("a-run", 1, order) is None
        await hand_in("a-run", [(7, 1, "Say")], [])
        done = await collect("a-run", [])
        await clear("a-run")
        return done

    assert asyncio.run(main()) == [(7, Reply(BODY, told))]


class SpentError(FatalProviderError):
    """An error that can't be packed."""

    def __reduce__(self) -> Any:
        raise TypeError("not this")


class SlowError(RateLimitedError):
    """An error whose class is only where it was raised."""

    def __reduce__(self) -> Any:
        return _import, ("no_such_module",)


def _import(name: str) -> Any:
    if _PACKING:
        return RowError("as on the worker, where there is such a module")
    return __import__(name)


_PACKING: list[bool] = []


def travelled(error: Exception) -> Exception:
    """`error` as the run has it."""
    _PACKING.append(True)
    packed = portable(error)
    _PACKING.clear()
    return error_of(packed)


def test_an_error_that_can_t_travel_is_still_of_a_kind_that_the_run_knows() -> None:
    """So a run ends, waits or goes on by it as it would without a cluster."""
    spent = travelled(SpentError("no credit"))
    assert (type(spent), str(spent)) == (FatalProviderError, "SpentError: no credit")
    slow = travelled(SlowError("soon", retry_after=2.0, possibly_billed=True))
    assert isinstance(slow, RateLimitedError)
    assert (slow.retry_after, slow.possibly_billed, str(slow)) == (2.0, True, "SlowError: soon")
    foreign = travelled(type("Odd", (KeyError,), {"__reduce__": SpentError.__reduce__})("x"))
    assert (type(foreign), str(foreign)) == (RowError, "Odd: 'x'")


def test_an_error_that_can_travel_comes_as_it_is() -> None:
    error = travelled(RateLimitedError("wait", retry_after=3.0))
    assert (type(error), str(error), getattr(error, "retry_after", 0)) == (
        RateLimitedError, "wait", 3.0,
    )  # fmt: skip


class Closed(Sends):
    """A provider that can't be opened."""

    async def open(self, settings: Settings, concurrency: int) -> None:
        raise KeyError("first\nsecond")


def test_why_a_provider_can_t_be_opened_is_one_line_that_names_the_error() -> None:
    order = pickle.dumps((Closed(dict), Settings("m", 10), 1))
    assert asyncio.run(open_endpoint("b-run", 1, order)) == r"KeyError: 'first\nsecond'"
