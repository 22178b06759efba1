"""Executors: on the running loop, in a thread, as a stream, by the workers of a Dask cluster."""

from __future__ import annotations

from .base import ExecutionStrategy, run_stages
from .dask import DaskExecutor, DaskStreamingExecutor
from .in_thread import SyncExecutor, run_in_thread
from .on_loop import AsyncExecutor
from .streaming import StreamingExecutor, StreamingResult

__all__ = [
    "AsyncExecutor",
    "DaskExecutor",
    "DaskStreamingExecutor",
    "ExecutionStrategy",
    "StreamingExecutor",
    "StreamingResult",
    "SyncExecutor",
    "run_in_thread",
    "run_stages",
]
