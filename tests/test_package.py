"""The package's face: names, documented signatures, and an import that costs next to nothing."""

from __future__ import annotations

import inspect
import json
import subprocess
import sys
from collections.abc import Callable
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

import ondine_nb
from ondine_nb import models, orchestration, stages
from ondine_nb.orchestration import (
    AsyncExecutor,
    CheckpointStorage,
    CostTrackingObserver,
    ExecutionContext,
    ExecutionObserver,
    ExecutionStrategy,
    LocalFileCheckpointStorage,
    LoggingObserver,
    ProgressBarObserver,
    StateManager,
    StreamingExecutor,
    StreamingResult,
    SyncExecutor,
)

HEAVY = (
    "IPython",
    "aiohttp",
    "anthropic",
    "cloudpickle",
    "dask",
    "distributed",
    "genai_prices",
    "httpx2",
    "ipywidgets",
    "jinja2",
    "numpy",
    "pandas",
    "polars",
    "pyarrow",
    "pydantic",
    "tqdm",
    "xllamacpp",
)
# IPython is there when the extension is loaded.
HEAVY_FOR_THE_EXTENSION = tuple(name for name in HEAVY if name != "IPython")


def test_the_names_at_the_top() -> None:
    assert {"Pipeline", "Run", "__version__", "load_ipython_extension"} <= set(ondine_nb.__all__)
    assert list(ondine_nb.__all__) == sorted(ondine_nb.__all__)
    for name in ondine_nb.__all__:
        assert getattr(ondine_nb, name) is not None
    assert set(ondine_nb.__all__) <= set(dir(ondine_nb))
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = ondine_nb.nothing


def test_the_names_of_the_engine() -> None:
    documented = {
        "AsyncExecutor",
        "CheckpointStorage",
        "CostTrackingObserver",
        "ExecutionContext",
        "ExecutionObserver",
        "ExecutionStrategy",
        "LocalFileCheckpointStorage",
        "LoggingObserver",
        "ProgressBarObserver",
        "StateManager",
        "StreamingExecutor",
        "StreamingResult",
        "SyncExecutor",
    }
    assert documented <= set(orchestration.__all__)
    for name in orchestration.__all__:
        assert getattr(orchestration, name) is not None


def test_the_nouns_stand_where_users_look_for_them() -> None:
    assert {"ExecutionContext", "ExecutionObserver"} <= set(orchestration.__all__)
    assert stages.PipelineStage is orchestration.PipelineStage
    assert stages.RowStage is orchestration.RowStage
    for name in (
        "CheckpointInfo",
        "CostEstimate",
        "ExecutionResult",
        "ProcessingStats",
        "ValidationResult",
    ):
        assert name in models.__all__


def parameters(of: Callable[..., Any]) -> dict[str, Any]:
    """Positional parameters without `self`, with their defaults; keyword-only ones are ours."""
    return {
        name: parameter.default
        for name, parameter in inspect.signature(of).parameters.items()
        if name != "self" and parameter.kind is not parameter.KEYWORD_ONLY
    }


NONE = inspect.Parameter.empty


@pytest.mark.parametrize(
    ("callable_", "documented"),
    [
        (AsyncExecutor, {"max_concurrency": 10}),
        (SyncExecutor, {}),
        (StreamingExecutor, {"chunk_size": 1000}),
        (StreamingResult, {}),
        (LoggingObserver, {}),
        (ProgressBarObserver, {}),
        (CostTrackingObserver, {"warning_threshold": 0.75}),
        (StateManager, {"storage": NONE, "checkpoint_interval": 500}),
        (AsyncExecutor.execute, {"stages": NONE, "context": NONE}),
        (AsyncExecutor.execute_async, {"stages": NONE, "context": NONE}),
        (SyncExecutor.execute, {"stages": NONE, "context": NONE}),
        (StreamingExecutor.execute, {"stages": NONE, "context": NONE}),
        (StreamingExecutor.execute_stream, {"stages": NONE, "context": NONE}),
        (StreamingResult.add_chunk, {"chunk": NONE, "cost": NONE}),
        (StreamingResult.finalize, {}),
        (ExecutionContext.update_stage, {"stage_index": NONE}),
        (ExecutionContext.update_row, {"row_index": NONE}),
        (ExecutionContext.add_cost, {"cost": NONE, "tokens": NONE}),
        (ExecutionContext.from_checkpoint, {"data": NONE}),
        (ExecutionContext.from_dict, {"data": NONE}),
        (ExecutionObserver.on_pipeline_start, {"pipeline": NONE, "context": NONE}),
        (ExecutionObserver.on_stage_start, {"stage": NONE, "context": NONE}),
        (ExecutionObserver.on_stage_complete, {"stage": NONE, "context": NONE, "result": NONE}),
        (ExecutionObserver.on_stage_error, {"stage": NONE, "context": NONE, "error": NONE}),
        (ExecutionObserver.on_pipeline_complete, {"context": NONE, "result": NONE}),
        (ExecutionObserver.on_pipeline_error, {"context": NONE, "error": NONE}),
        (ExecutionObserver.on_progress_update, {"context": NONE}),
        (StateManager.should_checkpoint, {"current_row": NONE}),
        (StateManager.save_checkpoint, {"context": NONE}),
        (StateManager.load_checkpoint, {"session_id": NONE}),
        (StateManager.can_resume, {"session_id": NONE}),
        (StateManager.cleanup_checkpoints, {"session_id": NONE}),
        (StateManager.list_checkpoints, {}),
        (CheckpointStorage.save, {"session_id": NONE, "data": NONE}),
        (CheckpointStorage.load, {"session_id": NONE}),
        (CheckpointStorage.delete, {"session_id": NONE}),
        (CheckpointStorage.exists, {"session_id": NONE}),
        (CheckpointStorage.list_checkpoints, {}),
    ],
    ids=lambda value: getattr(value, "__qualname__", ""),
)
def test_documented_parameters_and_defaults(
    callable_: Callable[..., Any], documented: dict[str, Any]
) -> None:
    assert parameters(callable_) == documented


def test_a_context_takes_the_documented_fields_in_their_order() -> None:
    documented = [
        "session_id",
        "pipeline_id",
        "start_time",
        "end_time",
        "current_stage_index",
        "last_processed_row",
        "total_rows",
        "accumulated_cost",
        "accumulated_tokens",
        "intermediate_data",
        "failed_rows",
        "skipped_rows",
        "observers",
        "observer_dispatcher",
        "trace_id",
        "span_id",
    ]
    assert list(parameters(ExecutionContext))[: len(documented)] == documented
    context = ExecutionContext()
    assert isinstance(context.session_id, UUID)
    assert isinstance(context.start_time, datetime)
    assert isinstance(context.accumulated_cost, Decimal)


@pytest.mark.parametrize(
    ("executor", "name", "is_async", "streams"),
    [
        (AsyncExecutor(), "async", True, False),
        (SyncExecutor(), "sync", False, False),
        (StreamingExecutor(), "streaming", False, True),
    ],
)
def test_what_the_executors_say_of_themselves(
    executor: ExecutionStrategy, name: str, is_async: bool, streams: bool
) -> None:
    assert isinstance(executor, ExecutionStrategy)
    assert executor.name == name
    assert executor.supports_async() is is_async
    assert executor.supports_streaming() is streams


def test_the_bases_are_abstract() -> None:
    for base in (ExecutionStrategy, ExecutionObserver, CheckpointStorage):
        assert inspect.isabstract(base)
    assert issubclass(LocalFileCheckpointStorage, CheckpointStorage)


def loaded_after(code: str) -> set[str]:
    """The modules of a fresh process after `code`."""
    report = "import sys, json; print(json.dumps([name for name in sys.modules]))"
    out = subprocess.run(
        [sys.executable, "-c", f"{code}\n{report}"],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(ondine_nb.__file__).parents[1],
    )
    return set(json.loads(out.stdout.splitlines()[-1]))


@pytest.mark.parametrize(
    "code",
    [
        "import ondine_nb",
        "from ondine_nb import Pipeline, Run",
        "import ondine_nb.orchestration",
    ],
)
def test_an_import_loads_nothing_heavy(code: str) -> None:
    assert loaded_after(code) & set(HEAVY) == set()


def test_load_ext_loads_nothing_heavy() -> None:
    code = """
from IPython.core.interactiveshell import InteractiveShell
import sys
before = set(sys.modules)
shell = InteractiveShell.instance()
shell.extension_manager.load_extension("ondine_nb")
assert shell.find_cell_magic("ondine") and shell.find_line_magic("ondine")
"""
    assert loaded_after(code) & set(HEAVY_FOR_THE_EXTENSION) == set()
