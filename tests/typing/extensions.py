"""What may be added, with types: a provider, stages, an observer, an executor, a storage."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, assert_type
from uuid import UUID

from ondine_nb import Pipeline
from ondine_nb.data.columns import Column
from ondine_nb.models import CheckpointInfo, ExecutionResult
from ondine_nb.orchestration import (
    CheckpointStorage,
    ExecutionContext,
    ExecutionObserver,
    ExecutionStrategy,
    PipelineStage,
    Row,
    RowStage,
    StateManager,
    run_stages,
)
from ondine_nb.providers import FREE, ModelPrice, Provider, Reply, Settings


class Shout:
    """A provider needs no base: the methods make it one."""

    identity = "shout-1"
    model = "shout"
    price: ModelPrice | None = FREE
    note = ""

    async def open(self, settings: Settings, concurrency: int) -> None:
        assert_type(settings.max_tokens, int)
        assert_type(settings.schema, dict[str, Any] | None)

    async def send(self, prompt: str) -> Reply:
        message = {"content": [{"type": "text", "text": prompt.upper()}], "usage": {}}
        return Reply(json.dumps(message).encode(), latency=0.1)

    async def count_tokens(self, prompt: str) -> int | None:
        return None

    def request_bytes(self, prompt: str) -> int:
        return len(prompt.encode())

    async def close(self) -> None:
        pass


class Length(RowStage):
    columns = ("text",)
    produces = (Column("length", "int", ()),)

    async def process_row(self, row: Row, context: ExecutionContext) -> None:
        assert row.outputs is not None
        assert_type(row.status, str)
        row.outputs["length"] = len(row.outputs["response"])


class Longest(PipelineStage):
    def process(self, input_data: Any, context: ExecutionContext) -> Any:
        return input_data.sort_values("length")


class Watcher(ExecutionObserver):
    def on_pipeline_start(self, pipeline: Any, context: ExecutionContext) -> None:
        assert_type(context.total_rows, int)

    def on_stage_start(self, stage: PipelineStage, context: ExecutionContext) -> None:
        assert_type(stage.name, str)

    def on_stage_complete(
        self, stage: PipelineStage, context: ExecutionContext, result: Any
    ) -> None:
        pass

    def on_stage_error(
        self, stage: PipelineStage, context: ExecutionContext, error: Exception
    ) -> None:
        context.control.stop("stopped")

    def on_pipeline_complete(self, context: ExecutionContext, result: ExecutionResult) -> None:
        assert_type(result.success, bool)

    def on_pipeline_error(self, context: ExecutionContext, error: Exception) -> None:
        pass


class Gentle(ExecutionStrategy):
    @property
    def name(self) -> str:
        return "gentle"

    def supports_async(self) -> bool:
        return True

    def supports_streaming(self) -> bool:
        return False

    async def execute(
        self, stages: Sequence[PipelineStage], context: ExecutionContext
    ) -> ExecutionResult:
        return await run_stages(stages, context, width=1)


class Memory(CheckpointStorage):
    def __init__(self) -> None:
        self.kept: dict[UUID, dict[str, Any]] = {}

    def save(self, session_id: UUID, data: dict[str, Any]) -> bool:
        self.kept[session_id] = data
        return True

    def load(self, session_id: UUID) -> dict[str, Any] | None:
        return self.kept.get(session_id)

    def list_checkpoints(self) -> list[CheckpointInfo]:
        return []

    def delete(self, session_id: UUID) -> bool:
        return self.kept.pop(session_id, None) is not None

    def exists(self, session_id: UUID) -> bool:
        return session_id in self.kept


async def together(frame: Any) -> None:
    provider: Provider = Shout()
    stages = [Length(), Longest()]
    pipeline = Pipeline(frame, "{text}", provider=provider, stages=stages, observers=[Watcher()])
    plan = pipeline.plan()
    assert_type(await Gentle().execute(plan.stages, plan.context), ExecutionResult)
    StateManager(Memory())
