"""The stages of a run over a frame: load, prompt, invoke (`invocation.py`), parse."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .contracts import ExecutionContext, NewColumn, PipelineStage, RowStage
from .errors import RowError, SchemaNotMetError
from .frames import Column
from .invocation import InvokeStage
from .jinja_prompts import JinjaTemplate
from .prompts import Template
from .rows import AskAgain, Row
from .rowsets import Intake, RowSet
from .schemas import Schema

__all__ = [
    "InvokeStage",
    "LoadStage",
    "ParseStage",
    "PipelineStage",
    "PromptStage",
    "RowSet",
    "RowStage",
]


class LoadStage(PipelineStage):
    """Gives the rows to the row stages and tells the context how many there are, where known."""

    def __init__(self, rowset: RowSet | Intake) -> None:
        super().__init__("load")
        self.rowset = rowset

    def process(self, input_data: Any, context: ExecutionContext) -> RowSet | Intake:
        rerun = self.rowset.rerun
        context.total_rows = len(self.rowset) if rerun is None else len(rerun)
        source = getattr(self.rowset, "source", None)
        context.gauges.open_ended = source is not None and source.rows is None
        return self.rowset


class PromptStage(RowStage):
    """Renders the prompt of each row; a row whose prompt columns are all missing is skipped."""

    def __init__(self, template: Template | JinjaTemplate) -> None:
        super().__init__("prompt")
        self.template = template
        self.columns: Sequence[str] | None = template.columns

    async def prepare(self, rows: Sequence[Row], context: ExecutionContext) -> None:
        columns = self.template.columns
        for row in rows:
            try:
                row.prompt = self.template.render([row[name] for name in columns])
            except Exception as error:  # a cell's own __str__ may raise anything
                row.fail(error, self.name)
            else:
                if row.prompt is None:
                    row.skip()


class ParseStage(RowStage):
    """Turns an answer into typed cells.

    An answer that breaks the schema is asked again by `asker`, `reasks` times at most, each of them
    paid; then the row fails. Without a schema the text goes into one column.
    """

    columns: Sequence[str] | None = ()  # works on what the stages before it left on the row

    def __init__(
        self,
        schema: Schema | None,
        asker: InvokeStage,
        *,
        column: str = "response",
        reasks: int = 2,
    ) -> None:
        super().__init__("parse")
        self.schema = schema
        self.asker = asker
        self.column = column
        self.reasks = reasks
        plain = (Column(column, "str", (), None),)
        self.produces: Sequence[NewColumn] = schema.fields if schema is not None else plain

    async def process_row(self, row: Row, context: ExecutionContext) -> None:
        text = row.answer.text
        if self.schema is None:
            row.outputs = {self.column: text}
            return
        try:
            row.outputs = self.schema.parse(text)
        except SchemaNotMetError as error:
            self._ask_again(row, error)

    def _ask_again(self, row: Row, error: RowError) -> None:
        if row.reasks >= self.reasks:
            asked = row.reasks + 1
            raise SchemaNotMetError(f"{error} (asked {asked} times)") from error
        row.reasks += 1
        raise AskAgain(self.asker, error)
