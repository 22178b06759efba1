"""Prompt stage: renders each row's prompt from the template, with examples before it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, Protocol

from ..models import Prompt
from ..orchestration import (
    ExecutionContext,
    Row,
    RowStage,
)
from ..prompts import JinjaTemplate, Template

__all__ = ["Picker", "PromptStage"]


class Picker(Protocol):
    """Picks the examples that stand before each row's prompt, in a thread: it may take a while."""

    def before(self, rows: Sequence[Sequence[Any]]) -> list[str]:
        """What stands before the prompt of each row, given by its values; "" for nothing."""
        ...


class PromptStage(RowStage):
    """Renders the prompt of each row; a row whose prompt columns are all missing is skipped.

    Where there is a `picker`, the examples that it picks for a row stand before its prompt.
    """

    def __init__(self, template: Template | JinjaTemplate, picker: Picker | None = None) -> None:
        super().__init__("prompt")
        self.template = template
        self.picker = picker
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
        if self.picker is not None:
            await self._put_before(
                self.picker, [row for row in rows if row.prompt is not None], places
            )

    async def _put_before(self, picker: Picker, rows: Sequence[Row], places: Sequence[int]) -> None:
        cells = [[row.values[at] for at in places] for row in rows]
        for row, examples in zip(rows, await asyncio.to_thread(picker.before, cells), strict=True):
            if examples and row.prompt is not None:
                row.prompt = Prompt(examples, *row.prompt.parts)
