"""Prompt stage: renders each row's prompt from the template, with examples before it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from typing import Any, Protocol

from ..errors import ConfigurationError
from ..models import Part, Prompt
from ..orchestration import (
    ExecutionContext,
    Row,
    RowStage,
)
from ..prompts import JinjaTemplate, Template
from ..sending import in_media_thread

__all__ = ["Picker", "PromptStage"]

_READ_AT_ONCE = 4  # rows whose files are read at the same time


class Picker(Protocol):
    """Picks the examples that stand before each row's prompt, in a thread: it may take a while."""

    def before(self, rows: Sequence[Sequence[Any]]) -> list[str]:
        """What stands before the prompt of each row, given by its values; "" for nothing."""
        ...


class Check(Protocol):
    """Looks at rows whose prompts are made, and fails those that can't be sent in `stage`."""

    async def check(self, rows: Sequence[Row], context: ExecutionContext, stage: str) -> None:
        """May raise `ConfigurationError`, where no row of the run can be sent."""
        ...


class PromptStage(RowStage):
    """Renders the prompt of each row; a row whose prompt columns are all missing is skipped.

    Where there is a `picker`, the examples that it picks for a row stand before its prompt; what is
    `attached` to all prompts stands before these. The files of a prompt with pictures or documents
    are read in threads. The `checks` see the prompts. Where no row's can be sent, the run ends by
    that, in one line, and nothing was sent.
    """

    def __init__(
        self,
        template: Template | JinjaTemplate,
        picker: Picker | None = None,
        attached: Sequence[Part] = (),
        checks: Sequence[Check] = (),
    ) -> None:
        super().__init__("prompt")
        self.template = template
        self.picker = picker
        self.attached: tuple[Part, ...] = tuple(attached)
        self.checks: tuple[Check, ...] = tuple(checks)
        self.columns: Sequence[str] | None = template.columns
        self._unsendable = 0
        self._kinds = set[str]()  # of the errors that these rows have

    async def prepare(self, rows: Sequence[Row], context: ExecutionContext) -> None:
        columns = self.template.columns
        places = [rows[0].names[name] for name in columns] if rows else []
        if self.template.forms:
            await self._render_in_threads(rows, places)
            self._check_any_left(rows, context)
        else:
            self._render(rows, places)
        if self.picker is not None:
            await self._put_before(
                self.picker, [row for row in rows if row.prompt is not None], places
            )
        if self.attached:
            for row in rows:
                if row.prompt is not None:
                    row.prompt = Prompt(*self.attached, *row.prompt.parts)
        if self.template.forms:
            for row in rows:
                if row.prompt is not None:
                    context.metrics.media.add(row.prompt, len(self.attached))
        for each in self.checks:
            await each.check(rows, context, self.name)

    def _render(self, rows: Sequence[Row], places: Sequence[int]) -> None:
        for row in rows:
            try:
                row.prompt = self.template.render([row.values[at] for at in places])
            except Exception as error:  # a cell's own __str__ may raise anything
                row.fail(error, self.name)
            else:
                if row.prompt is None:
                    row.skip()

    async def _render_in_threads(self, rows: Sequence[Row], places: Sequence[int]) -> None:
        waiting = iter(rows)

        async def read(rows: Iterator[Row]) -> None:
            for row in rows:
                await in_media_thread(self._render, [row], places)

        await asyncio.gather(*(read(waiting) for _ in range(_READ_AT_ONCE)))

    def _check_any_left(self, rows: Sequence[Row], context: ExecutionContext) -> None:
        """Raises `ConfigurationError` where every row of the run has failed here, and alike."""
        failed = [row.failure for row in rows if row.failure is not None]
        self._unsendable += len(failed)
        self._kinds |= {failure.error_type for failure in failed}
        total, more = context.total_rows, context.metrics.open_ended
        if failed and self._unsendable == total and len(self._kinds) == 1 and not more:
            alike = f" (and so for all {total:,} rows)" if total > 1 else ""
            raise ConfigurationError(f"{failed[0].message}{alike}: nothing was sent")

    async def _put_before(self, picker: Picker, rows: Sequence[Row], places: Sequence[int]) -> None:
        cells = [[row.values[at] for at in places] for row in rows]
        for row, examples in zip(rows, await asyncio.to_thread(picker.before, cells), strict=True):
            if examples and row.prompt is not None:
                row.prompt = Prompt(examples, *row.prompt.parts)
