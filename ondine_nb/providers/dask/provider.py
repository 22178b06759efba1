"""A provider whose requests are sent by the workers of a Dask cluster."""

from __future__ import annotations

import asyncio
from typing import Any

from ...errors import ConfigurationError
from ..base import Provider, Reply, Settings, capabilities
from ..pricing import ModelPrice
from .cluster import check_installed
from .pool import WorkerPool

__all__ = [
    "DaskProvider",
    "check_dask",
]


class DaskProvider(Provider):
    """Answers as `own` does, which is opened on the workers of `fleet` and sends from there.

    It is opened here too, for what a request weighs; nothing is sent from here.
    """

    def __init__(self, own: Provider, fleet: WorkerPool) -> None:
        self.own, self.pool = own, fleet
        self.identity, self.model, self.note = own.identity, own.model, own.note
        self.price: ModelPrice | None = own.price
        can = capabilities(own)
        self.read = can.read
        # Files are read on this machine: workers of one that writes its own bodies send texts only.
        self.parts = can.parts if can.write is None else frozenset({"text"})
        self._endpoint: int | None = None

    async def open(self, settings: Settings, concurrency: int) -> None:
        """Have every worker open it. Raises `ConfigurationError`, naming a worker that can't."""
        check_dask(self.own)
        order = await asyncio.to_thread(_packed, self.own, settings, concurrency)
        await self.own.open(settings, 1)
        self._endpoint = await self.pool.open_endpoint(order)

    async def send(self, prompt: Any) -> Reply:
        assert self._endpoint is not None
        return await self.pool.send(self._endpoint, prompt)

    async def count_tokens(self, prompt: Any) -> int | None:
        return await self.own.count_tokens(prompt)

    def request_bytes(self, prompt: Any) -> int:
        return self.own.request_bytes(prompt)

    async def close(self) -> None:
        try:
            await self.pool.close_endpoint(self._endpoint)
        finally:
            await self.own.close()


def check_dask(provider: Provider) -> None:
    """Raises `ConfigurationError` where it is known that workers can't send for `provider`."""
    check_installed()
    can = capabilities(provider)
    if not can.travels:
        raise ConfigurationError(
            f"--executor dask sends from Dask's workers, and {can.title} answers on this "
            "machine only: leave --executor out, or name another model with -m"
        )
    _packed(provider)


def _packed(provider: Provider, *more: Any) -> bytes:
    import cloudpickle

    try:
        packed: bytes = cloudpickle.dumps((provider, *more))
    except Exception as error:  # whatever an object in it raises
        raise ConfigurationError(
            f"--executor dask sends the provider to workers, and {provider.identity} can't be "
            f"pickled ({type(error).__name__}: {error}): connect in open(), not before"
        ) from error
    return packed
