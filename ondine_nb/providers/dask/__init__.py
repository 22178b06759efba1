"""Requests sent by the workers of a Dask cluster."""

from __future__ import annotations

from .pool import WorkerPool
from .provider import DaskProvider, check_dask

__all__ = [
    "DaskProvider",
    "WorkerPool",
    "check_dask",
]
