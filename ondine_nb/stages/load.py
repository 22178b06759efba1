"""Gives the rows to the stages."""

from __future__ import annotations

from typing import Any

from ..orchestration import (
    ExecutionContext,
    PipelineStage,
    RowSet,
    RowStream,
)

__all__ = ["LoadStage"]


class LoadStage(PipelineStage):
    """Gives the rows to the row stages and tells the context how many there are, where known."""

    def __init__(self, rowset: RowSet | RowStream) -> None:
        super().__init__("load")
        self.rowset = rowset

    def process(self, input_data: Any, context: ExecutionContext) -> RowSet | RowStream:
        rerun = self.rowset.rerun
        context.total_rows = len(self.rowset) if rerun is None else len(rerun)
        source = getattr(self.rowset, "source", None)
        context.metrics.open_ended = source is not None and source.rows is None
        return self.rowset
