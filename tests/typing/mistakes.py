"""What a checker has to refuse. A comment that nothing is refused by is an error to both."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from ondine_nb import Pipeline, Run
from ondine_nb.models import CostEstimate
from ondine_nb.orchestration import ExecutionContext, RowStage
from ondine_nb.providers import Settings


class Half:
    """A provider that can't send."""

    identity, model, price, note = "half", "half", None, ""

    async def open(self, settings: Settings, concurrency: int) -> None: ...
    async def close(self) -> None: ...


class Wordless(RowStage):
    async def process_row(self, row: str, context: ExecutionContext) -> None: ...  # type: ignore[override]  # pyright: ignore[reportIncompatibleMethodOverride]


def refused(frame: Any, run: Run, estimate: CostEstimate) -> None:
    Pipeline(frame)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    Pipeline(frame, 3)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    Pipeline(frame, "{text}", provider=Half())  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    Pipeline(frame, "{text}", stages=[len])  # type: ignore[list-item]  # pyright: ignore[reportArgumentType]
    run.state = "done"  # type: ignore[misc]  # pyright: ignore[reportAttributeAccessIssue]
    run.retry_failed("3")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    run.finish()  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue]
    estimate.total_cost + Decimal(1)  # type: ignore[operator]  # pyright: ignore[reportOptionalOperand]


async def not_awaited(pipeline: Pipeline) -> None:
    await pipeline.execute()  # type: ignore[misc]  # pyright: ignore[reportGeneralTypeIssues]
