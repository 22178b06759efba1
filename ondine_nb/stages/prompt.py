"""Prompt stage: renders each row's prompt from the template."""

from __future__ import annotations

from collections.abc import Sequence

from ..orchestration import (
    ExecutionContext,
    Row,
    RowStage,
)
from ..prompts import JinjaTemplate, Template

__all__ = ["PromptStage"]


class PromptStage(RowStage):
    """Renders the prompt of each row; a row whose prompt columns are all missing is skipped."""

    def __init__(self, template: Template | JinjaTemplate) -> None:
        super().__init__("prompt")
        self.template = template
        self.columns: Sequence[str] | None = template.columns

    async def prepare(self, rows: Sequence[Row], context: ExecutionContext) -> None:
        columns = self.template.columns
        places = [rows[0].names[name] for name in columns] if rows else []
        for row in rows:
            try:
                row.prompt = self.template.render([row.values[at] for at in places])
            except Exception as error:  # a cell's own __str__ may raise anything
                row.fail(error, self.name)
            else:
                if row.prompt is None:
                    row.skip()
