"""The Dask cluster that a run uses: by address, one that is there already, or a local one.

The only module that knows `distributed`, and only on first use: its import takes over a second.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import logging
import os
import sys
import threading
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

from ...errors import ConfigurationError

__all__ = ["Cluster", "check_installed", "join"]

_MOST_LOCAL_WORKERS = 4
_ANSWER_SECONDS = 10.0  # how long a scheduler may take to answer


def check_installed() -> None:
    """Raises `ConfigurationError` where Dask isn't installed."""
    there = "distributed" in sys.modules or find_spec("distributed") is not None
    if not there or sys.modules.get("distributed", sys) is None:
        raise ConfigurationError("--executor dask needs Dask: pip install 'ondine-nb[dask]'")


class Cluster:
    """A connection of our own to a scheduler at `address`; `own` is the local cluster, if it is."""

    def __init__(self, client: Any, address: str, own: Any = None) -> None:
        self.client, self.address, self._own = client, address, own

    @property
    def name(self) -> str:
        """What messages call it."""
        return "the local Dask cluster" if self._own is not None else f"Dask at {self.address}"

    async def workers(self) -> set[str]:
        """The addresses of its workers now. Raises `OSError` where the scheduler doesn't answer."""
        async with asyncio.timeout(_ANSWER_SECONDS):
            return set(await self.client.nthreads())

    async def call(self, worker: str, function: Callable[..., Any], *args: Any) -> Any:
        """What `function`, by its name, gives on a worker. Raises what goes wrong on the way."""
        said = await self.client.run(function, *args, workers=[worker], on_error="return")
        if isinstance(said[worker], Exception):
            raise said[worker]
        return said[worker]

    async def close(self) -> None:
        """Let go of it; a local one of our own ends, also where this is cancelled."""
        try:
            with contextlib.suppress(Exception):  # it may be gone
                await self._disconnect()
        finally:
            if self._own is not None:
                ending = _in_thread(self._own.close)
                while ending.is_alive():
                    await asyncio.sleep(0.01)

    async def _disconnect(self) -> None:
        try:
            await self.client.close()
        except asyncio.CancelledError:  # the loop ends: what was begun comes to its end first
            await self.client.close()
            raise


async def join(place: Any, workers: int | None = None) -> Cluster:
    """Connect to `place`: an address, a `distributed.Client` or a cluster object.

    None is the cluster that `DASK_SCHEDULER_ADDRESS` or Dask's configuration names, else that of
    this process's default client, else a local one with so many `workers`, which ends with the run.
    Raises `ConfigurationError`, in one line, where there is no scheduler.
    """
    check_installed()
    return await _joined(await asyncio.to_thread(_found, place, workers))


def _distributed() -> Any:
    return importlib.import_module("distributed")


async def _joined(found: tuple[str, Any, Any]) -> Cluster:
    address, security, own = found
    client = _distributed().Client(
        address,
        security=security,
        asynchronous=True,
        set_as_default=False,
        timeout=_ANSWER_SECONDS,
    )
    try:
        await client
    except (OSError, ValueError) as error:
        with contextlib.suppress(Exception):  # it was never connected
            await client.close()
        raise ConfigurationError(
            f"no Dask scheduler answers at {address}: start it, correct the address, or leave it "
            "out to have workers on this machine"
        ) from error
    return Cluster(client, address, own)


def _found(place: Any, workers: int | None) -> tuple[str, Any, Any]:
    """The scheduler's address and security, and the local cluster if there is one now."""
    place = place if place is not None else _around()
    if isinstance(place, str):
        return place, None, None
    if place is not None:
        return _address_of(place), place.security, None
    own = _local(workers or min(os.cpu_count() or 1, _MOST_LOCAL_WORKERS))
    return own.scheduler_address, own.security, own


def _around() -> Any:
    """What this process is told to use, or uses already."""
    config = importlib.import_module("dask.config")
    named = os.environ.get("DASK_SCHEDULER_ADDRESS") or config.get("scheduler-address", None)
    if named:
        return named
    with contextlib.suppress(ValueError):  # there is none
        return _distributed().default_client()
    return None


def _address_of(place: Any) -> str:
    scheduler = getattr(place, "scheduler", None)
    address = getattr(place, "scheduler_address", None) or getattr(scheduler, "address", None)
    if not isinstance(address, str) or not address:
        raise ConfigurationError(
            f"{place!r} is connected to no Dask scheduler: give a running Client or cluster, the "
            'address of a scheduler ("tcp://host:8786"), or nothing'
        )
    return address


def _local(workers: int) -> Any:
    """Workers in processes of their own, that listen on this machine only."""
    # A notebook's `%reset` takes it away, and no process can be started without it.
    vars(sys.modules["__main__"]).setdefault("__spec__", None)
    try:
        return _distributed().LocalCluster(
            n_workers=workers,
            threads_per_worker=1,
            host="127.0.0.1",
            dashboard_address=None,
            scheduler_kwargs={"dashboard_address": "127.0.0.1:0"},  # not 8787, it may be taken
            silence_logs=logging.CRITICAL,
        )
    except (OSError, RuntimeError) as error:
        # Workers begin by importing the script: one that runs at once would run in each of them.
        raise ConfigurationError(
            f"no Dask workers could be started on this machine ({error}): in a script, put what it "
            'does under `if __name__ == "__main__":`'
        ) from error


def _in_thread(work: Callable[[], object]) -> threading.Thread:
    thread = threading.Thread(target=work, name="ondine-dask-close")
    thread.start()
    return thread
