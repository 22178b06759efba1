"""Stages and an observer for the engine's tests."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import pandas as pd

from ondine_nb.models import Usage
from ondine_nb.orchestration import (
    ExecutionContext,
    ExecutionObserver,
    PipelineStage,
    Row,
    RowStage,
)

__all__ = ["Events", "Load", "OutColumn", "Table", "Work", "arriving", "frame", "turns"]


def frame(n: int) -> pd.DataFrame:
    return pd.DataFrame({"n": range(n), "text": [f"t{i}" for i in range(n)]})


async def arriving(chunks: Iterable[list[Row]]) -> AsyncGenerator[list[Row], None]:
    """Chunks as a window takes them."""
    for chunk in chunks:
        yield chunk


async def turns(n: int) -> None:
    for _ in range(n):
        await asyncio.sleep(0)


@dataclass(frozen=True)
class OutColumn:
    name: str = "out"
    kind: str = "int"
    choices: tuple[Any, ...] | None = None


class Load(PipelineStage):
    def __init__(self, data: Any) -> None:
        super().__init__("load")
        self.data = data

    def process(self, input_data: Any, context: ExecutionContext) -> Any:
        return self.data


class Table(PipelineStage):
    """A table stage around a function."""

    def __init__(self, work: Callable[[Any], Any], name: str = "table") -> None:
        super().__init__(name)
        self.work = work

    def process(self, input_data: Any, context: ExecutionContext) -> Any:
        return self.work(input_data)


class Work(RowStage):
    """Ten times `n` as `out`, for 3 tokens in, 2 out and a cent; fails where `failing` says so.

    `now` and `peak` count the rows inside; `each` is called with every row.
    """

    columns: Sequence[str] | None = ("n",)
    produces: Sequence[OutColumn] = (OutColumn(),)

    def __init__(
        self,
        failing: Callable[[int], BaseException | None] = lambda n: None,
        each: Callable[[int], Any] = lambda n: None,
        name: str = "work",
    ) -> None:
        super().__init__(name)
        self.failing, self.each = failing, each
        self.now = self.peak = 0
        self.seen: list[int] = []
        self.opened = self.closed = 0

    async def open(self, context: ExecutionContext) -> None:
        self.opened += 1

    async def close(self) -> None:
        self.closed += 1

    async def process_row(self, row: Row, context: ExecutionContext) -> None:
        self.now += 1
        self.peak = max(self.peak, self.now)
        self.seen.append(row["n"])
        try:
            wait = self.each(row["n"])
            await (wait if wait is not None else turns(row["n"] % 3))
            error = self.failing(row["n"])
            if error is not None:
                raise error
            row.status = "answered"
            context.add_usage(Decimal("0.01"), Usage(3, 2), self.name)
            name = self.produces[0].name if self.produces else "out"
            row.outputs[name] = row["n"] * 10
        finally:
            self.now -= 1


class Events(ExecutionObserver):
    """Notes the events, but for progress, which it counts."""

    def __init__(self) -> None:
        self.events: list[tuple[str, str]] = []
        self.progress = 0
        self.last: Any = None

    def on_pipeline_start(self, pipeline: Any, context: ExecutionContext) -> None:
        self.events.append(("start", ""))

    def on_stage_start(self, stage: Any, context: ExecutionContext) -> None:
        self.events.append(("stage", stage.name))

    def on_stage_complete(self, stage: Any, context: ExecutionContext, result: Any) -> None:
        self.events.append(("staged", stage.name))

    def on_stage_error(self, stage: Any, context: ExecutionContext, error: Exception) -> None:
        self.events.append(("stage error", stage.name))
        self.last = error

    def on_pipeline_complete(self, context: ExecutionContext, result: Any) -> None:
        self.events.append(("complete", ""))
        self.last = result

    def on_pipeline_error(self, context: ExecutionContext, error: Exception) -> None:
        self.events.append(("error", ""))
        self.last = error

    def on_progress_update(self, context: ExecutionContext) -> None:
        self.progress += 1
