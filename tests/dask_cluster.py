"""A local Dask cluster for tests: two workers in processes of their own.

They are forked from a process that has imported what a worker does: else each of them needs three
seconds of CPU for it, one that a test has killed too. How workers start that import it themselves
is proven where a run has no cluster (`tests/orchestration/executors/test_dask.py`).
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
from collections.abc import Iterator
from typing import Any

import dask
from distributed import Client, LocalCluster
from distributed.utils import get_mp_context

from tests.patience import PATIENCE

__all__ = ["both_there", "kill", "pids", "two_workers"]


# Else a cluster gives a killed worker up that isn't back after 15 seconds, on a busy machine too.
LOST_LATE = {"distributed.deploy.lost-worker-timeout": "5 minutes"}
FORKED = {"distributed.worker.multiprocessing-method": "forkserver"} if os.name == "posix" else {}
IMPORTED = ("distributed.nanny", "pandas", "anthropic", "ondine_nb.providers.dask.worker")


@contextlib.contextmanager
def two_workers(workers: int = 2) -> Iterator[LocalCluster]:
    """A cluster that listens on this machine only; its logs are quiet."""
    with dask.config.set({**LOST_LATE, **FORKED}):
        if FORKED:
            get_mp_context().set_forkserver_preload(list(IMPORTED))
        with LocalCluster(
            n_workers=workers,
            threads_per_worker=1,
            host="127.0.0.1",
            dashboard_address=None,
            scheduler_kwargs={"dashboard_address": "127.0.0.1:0"},
            silence_logs=logging.CRITICAL,
        ) as cluster:
            yield cluster


def both_there(cluster: LocalCluster) -> None:
    """Wait until a worker that a test has killed is back."""
    with Client(cluster, set_as_default=False) as client:
        client.wait_for_workers(2, timeout=PATIENCE)


def pids(cluster: LocalCluster) -> dict[str, int]:
    """The workers' processes, by address."""
    nannies: list[Any] = list(cluster.workers.values())
    return {nanny.worker_address: nanny.pid for nanny in nannies}


def kill(cluster: LocalCluster, address: str) -> None:
    """SIGKILL one worker, by its own process's id."""
    os.kill(pids(cluster)[address], signal.SIGKILL)
