"""What a worker of a cluster gives back: no paid body is lost for what stands beside it."""

from __future__ import annotations

import asyncio
import pickle
from collections.abc import Callable
from typing import Any

import pytest

from ondine_nb.providers import Reply, Settings
from ondine_nb.providers.dask.worker import clear, collect, hand_in, open_endpoint

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
