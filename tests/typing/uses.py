"""What users write in scripts and notebooks, and what each thing is. Checked, never run."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, assert_type
from uuid import UUID

import ondine_nb
from ondine_nb import Pipeline, Run, costs, panel
from ondine_nb.errors import FatalProviderError, OndineError, RowError
from ondine_nb.models import CostEstimate, ExecutionResult, ProcessingStats, Savings
from ondine_nb.notebook.workbench.panel import Panel
from ondine_nb.orchestration import (
    AsyncExecutor,
    CostTrackingObserver,
    ExecutionContext,
    LocalFileCheckpointStorage,
    ProgressBarObserver,
    StateManager,
    StreamingExecutor,
    SyncExecutor,
)
from ondine_nb.providers import ModelPrice, find_price


def script(frame: Any) -> None:
    pipeline = Pipeline(frame, "Is it good? {text}", schema="good: bool", budget=Decimal("0.5"))
    assert_type(pipeline, Pipeline)
    assert_type(pipeline.new_columns, tuple[str, ...])
    assert_type(pipeline.estimate(), CostEstimate)
    assert_type(pipeline.stream(), Iterator[Any])
    assert_type(pipeline.stream_async(), AsyncIterator[Any])
    result = pipeline.execute()
    assert_type(result, ExecutionResult)
    assert_type(result.metrics, ProcessingStats)
    assert_type(result.duration, float)
    assert_type(result.execution_id, UUID)
    assert_type(result.end_time, datetime | None)
    assert_type(result.to_list(), list[dict[str, Any]])


def money(estimate: CostEstimate) -> None:
    """An unknown price is None, so whoever adds up has to look."""
    assert_type(estimate.total_cost, Decimal | None)
    assert_type(estimate.low, Decimal | None)
    assert_type(estimate.breakdown_by_stage, dict[str, Decimal])
    assert_type(estimate.breakdown_by_attempt, dict[int, Decimal])
    assert_type(estimate.saved, Savings | None)
    assert_type(find_price("mine", price_in=Decimal(1), price_out=Decimal(2)), ModelPrice | None)


async def cell(pipeline: Pipeline) -> None:
    run = pipeline.start()
    assert_type(run, Run)
    assert_type(await run, ExecutionResult)
    assert_type(await pipeline.execute_async(), ExecutionResult)
    assert_type(run.state, str)
    assert_type(run.cost, Decimal | None)
    assert_type(run.costs, CostEstimate)
    assert_type(run.stats, ProcessingStats)
    assert_type(run.error, BaseException | None)
    assert_type(run.result, ExecutionResult | None)
    assert_type(run.context, ExecutionContext)
    assert_type(run.retry_failed(rows=[3, 5]), Run)
    run.pause()
    run.resume()
    run.stop()
    run.show()


def again(frame: Any) -> None:
    run = Pipeline.resume("labeled", frame, journal=Path(".ondine"))
    assert_type(run, Run)
    assert_type(run.execute(), ExecutionResult)


def views(frame: Any) -> None:
    bench = panel(frame, "Judge, {strictness} of 5: {text}", {"strictness": (1, 5)}, budget=2)
    assert_type(bench, Panel)
    assert_type(ondine_nb.__version__, str)
    costs(by=["model", "day"])


def engine(stages: list[Any], context: ExecutionContext) -> None:
    manager = StateManager(LocalFileCheckpointStorage("checkpoints"), checkpoint_interval=100)
    assert_type(manager.load_checkpoint(context.session_id), ExecutionContext | None)
    assert_type(SyncExecutor().execute(stages, context), ExecutionResult)
    for chunk in StreamingExecutor(chunk_size=50).execute(stages, context):
        assert_type(chunk, Any)
    context.observers = [ProgressBarObserver(), CostTrackingObserver(warning_threshold=0.9)]
    assert_type(context.get_progress(), float)
    assert_type(context.accumulated_cost, Decimal)


async def engine_async(stages: list[Any], context: ExecutionContext) -> None:
    assert_type(await AsyncExecutor(max_concurrency=20).execute(stages, context), ExecutionResult)


def failures(pipeline: Pipeline) -> str:
    try:
        pipeline.execute()
    except FatalProviderError as error:
        return str(error)
    except (RowError, OndineError):
        return "another of ours"
    return ""
