"""Tells which prompts are longer than the model's context, before they are sent."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from ...errors import ConfigurationError, TooLongError
from ...orchestration import ExecutionContext, Row
from ...sending import Endpoint, Question
from ...text import as_text
from ..invoke import InvokeStage

__all__ = ["FRAME_BYTES", "ContextFit", "FitCheck"]

FRAME_BYTES = 64  # what roles and turns add to a request's texts
_BYTES_A_TOKEN = 4
_MOST_BYTES_A_TOKEN = 16  # no text has so few tokens
_COUNTED_AT_ONCE = 8


class ContextFit:
    """What fits a model that takes `context` tokens, for prompt and answer together.

    No text has more tokens than UTF-8 bytes: what fits by that fits. Of other prompts that the
    journal has no answer to, the provider behind `asker` counts the tokens, if it does and as long
    as it may (`counts`).
    """

    def __init__(self, context: int, alone: Endpoint, asker: InvokeStage) -> None:
        self.context = context
        self.model: str = alone.provider.model
        self.answer: int = alone.settings.max_tokens
        self.beside: int = alone.constant_bytes + FRAME_BYTES
        self.counts: bool = True
        self.asker = asker

    @property
    def room(self) -> int:
        """The bytes of a prompt that surely leaves the answer its tokens."""
        return self.context - self.answer - self.beside

    def longer(self, rows: Sequence[Row], size: int) -> list[Row]:
        """Those whose prompts are texts of more than so many bytes."""
        found = [row for row in rows if row.prompt is not None and row.prompt.size > size]
        return [row for row in found if row.prompt is not None and row.prompt.is_text]

    async def tokens(self, rows: Sequence[Row]) -> dict[Row, int | None]:
        """The input tokens of each of these rows' requests, without those that are answered.

        None where they aren't counted.
        """
        rows = await self._unanswered(rows)
        endpoint, counted = self.asker.plan.alone, dict[Row, int | None].fromkeys(rows)
        if not self.counts or not rows:
            return counted
        await self.asker.open_provider()
        waiting = iter(rows)

        async def count() -> None:
            for row in waiting:
                assert row.prompt is not None  # else it has none that is long
                given = endpoint.given(row.prompt)
                counted[row] = await endpoint.provider.count_tokens(given)

        await asyncio.gather(*(count() for _ in range(_COUNTED_AT_ONCE)))
        return counted

    async def _unanswered(self, rows: Sequence[Row]) -> list[Row]:
        lookup = self.asker.lookup
        prompts = [row.prompt for row in rows]
        questions = [Question(lookup.key(it)) for it in prompts if it is not None]
        await lookup.recall(questions, prompts)
        return [row for row, it in zip(rows, questions, strict=True) if not it.answers]

    def rough(self, row: Row) -> int:
        """About how many tokens its prompt has."""
        return 0 if row.prompt is None else (row.prompt.size + self.beside) // _BYTES_A_TOKEN

    def least(self, row: Row) -> int:
        """Tokens that its prompt has at least."""
        return 0 if row.prompt is None else row.prompt.size // _MOST_BYTES_A_TOKEN


class FitCheck:
    """Fails rows whose prompts are longer than the model's context, before any is sent.

    `columns` are those of the prompt. Where nobody counts, what may still fit is sent: the server
    says whether it does. Where no row fits, the run ends by that, in one line.
    """

    def __init__(self, fit: ContextFit, columns: Sequence[str]) -> None:
        self.fit = fit
        self.columns: tuple[str, ...] = tuple(columns)
        self.too_long: int = 0
        self.unsure: int = 0

    async def check(self, rows: Sequence[Row], context: ExecutionContext, stage: str) -> None:
        """Look at rows whose prompts are made; those that fail do so in this stage.

        Raises `ConfigurationError` where no row of the run fits.
        """
        fit = self.fit
        long = fit.longer(rows, fit.context - fit.beside)
        if not long:
            return
        for row, tokens in (await fit.tokens(long)).items():
            if tokens is None and fit.least(row) <= fit.context:
                self.unsure += 1
            elif tokens is None or tokens > fit.context:
                self.too_long += 1
                row.fail(TooLongError(self._why(row, tokens)), stage)
                row.prompt = None
        if self.too_long and self.too_long == context.total_rows:
            self._end_if_closed(rows, context)

    def _why(self, row: Row, tokens: int | None) -> str:
        longest = max(self.columns, key=lambda name: len(as_text(row[name])), default="")
        said = f"at least {self.fit.least(row):,}" if tokens is None else f"{tokens:,}"
        return (
            f"column {longest!r} makes the prompt {said} tokens long, and '{self.fit.model}' takes "
            f"{self.fit.context:,}: --split auto asks in parts"
        )

    def _end_if_closed(self, rows: Sequence[Row], context: ExecutionContext) -> None:
        if context.metrics.open_ended:
            return
        failure = next(row.failure for row in reversed(rows) if row.failure is not None)
        alike = f" (and so for all {self.too_long:,} rows)" if self.too_long > 1 else ""
        raise ConfigurationError(f"{failure.message}{alike}: nothing was sent")

    @property
    def note(self) -> str:
        """How many rows are too long, in a line; "" where none is."""
        fit = self.fit
        takes = f"the {fit.context:,} tokens that '{fit.model}' takes"
        if self.too_long:
            said = f"{_rows(self.too_long, 'is', 'are')} longer than {takes}, and would fail"
        elif self.unsure:
            said = f"{_rows(self.unsure, 'may be', 'may be')} longer than {takes}"
        else:
            return ""
        return f"{said}: --split auto asks in parts"


def _rows(count: int, one: str, many: str) -> str:
    return f"{count:,} row {one}" if count == 1 else f"{count:,} rows {many}"
