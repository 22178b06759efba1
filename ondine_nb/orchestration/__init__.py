"""The engine: executors, observers, stages, rows, execution context and checkpoints."""

from __future__ import annotations

from .context import ExecutionContext
from .control import Control, GroupProgress, RowSample, RunMetrics, Sample
from .dispatcher import ObserverDispatcher
from .executors import (
    AsyncExecutor,
    DaskExecutor,
    DaskStreamingExecutor,
    ExecutionStrategy,
    StreamingExecutor,
    StreamingResult,
    SyncExecutor,
    run_in_thread,
    run_stages,
)
from .observers import CostTrackingObserver, ExecutionObserver, LoggingObserver, ProgressBarObserver
from .rows import AskAgain, Halted, NewColumn, Row, RowSet, RowStream, SetAside
from .stage import PipelineStage, RowStage
from .state_manager import CheckpointStorage, LocalFileCheckpointStorage, StateManager

__all__ = [
    "AskAgain",
    "AsyncExecutor",
    "CheckpointStorage",
    "Control",
    "CostTrackingObserver",
    "DaskExecutor",
    "DaskStreamingExecutor",
    "ExecutionContext",
    "ExecutionObserver",
    "ExecutionStrategy",
    "GroupProgress",
    "Halted",
    "LocalFileCheckpointStorage",
    "LoggingObserver",
    "NewColumn",
    "ObserverDispatcher",
    "PipelineStage",
    "ProgressBarObserver",
    "Row",
    "RowSample",
    "RowSet",
    "RowStage",
    "RowStream",
    "RunMetrics",
    "Sample",
    "SetAside",
    "StateManager",
    "StreamingExecutor",
    "StreamingResult",
    "SyncExecutor",
    "run_in_thread",
    "run_stages",
]
