"""The engine: executors, observers, execution context and checkpoints."""

from ..contracts import ExecutionContext, ExecutionObserver, ObserverDispatcher
from .async_executor import AsyncExecutor
from .dask_executor import DaskExecutor
from .execution_strategy import ExecutionStrategy
from .observers import CostTrackingObserver, LoggingObserver, ProgressBarObserver
from .state_manager import CheckpointStorage, LocalFileCheckpointStorage, StateManager
from .streaming_executor import StreamingExecutor, StreamingResult
from .sync_executor import SyncExecutor

__all__ = [
    "AsyncExecutor",
    "CheckpointStorage",
    "CostTrackingObserver",
    "DaskExecutor",
    "ExecutionContext",
    "ExecutionObserver",
    "ExecutionStrategy",
    "LocalFileCheckpointStorage",
    "LoggingObserver",
    "ObserverDispatcher",
    "ProgressBarObserver",
    "StateManager",
    "StreamingExecutor",
    "StreamingResult",
    "SyncExecutor",
]
