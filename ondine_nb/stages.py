"""The stages of a run over a frame: load, prompt, invoke (`invocation.py`), parse.

A `RowSet` is what they work on: the input frame and one `Row` for each of its rows.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from .contracts import ExecutionContext, PipelineStage, RowStage
from .errors import RowError, SchemaNotMetError
from .frames import Column, Frame
from .invocation import InvokeStage
from .prompts import Template
from .rows import AskAgain, NewColumn, Row
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

_CHUNK = 250


class RowSet:
    """A frame and the outcome of each of its rows, in input order.

    `rows[i]` is the row at position i, or None while it hasn't been read. With `rerun`, only those
    positions are asked again, and the others keep their outcome.
    """

    def __init__(
        self, frame: Frame, rows: list[Row | None] | None = None, rerun: Sequence[int] | None = None
    ) -> None:
        self.frame = frame
        self.rows: list[Row | None] = rows if rows is not None else [None] * len(frame)
        self.rerun = rerun

    def __len__(self) -> int:
        return len(self.rows)

    def any_answered(self) -> bool:
        return any(row is not None and row.outputs is not None for row in self.rows)

    def chunks(self, columns: Sequence[str] | None, size: int = _CHUNK) -> Iterator[list[Row]]:
        """The rows to be asked, in lists of at most `size`, with the values of `columns`."""
        named = list(self.frame.columns if columns is None else columns)
        names = {name: index for index, name in enumerate(named)}
        positions: Iterator[int] = iter(self.rerun if self.rerun is not None else range(len(self)))
        for values in self.frame.iter_rows(named, size=size, positions=self.rerun):
            chunk = [Row(next(positions), cells, names) for cells in values]
            for row in chunk:
                self.rows[row.position] = row
            yield chunk

    def to_frame(self, columns: Sequence[NewColumn]) -> Any:
        """The input frame with these columns at its end, empty where a row has no answer."""
        rows = list(self.rows)
        return self.frame.with_columns([_column(rows, column) for column in columns])


def _column(rows: Sequence[Row | None], column: NewColumn) -> Column:
    name = column.name
    values = [row.outputs.get(name) if row is not None and row.outputs else None for row in rows]
    return Column(name, column.kind, values, column.choices)


class LoadStage(PipelineStage):
    """Gives the frame to the row stages and tells the context how many rows there are."""

    def __init__(self, rowset: RowSet) -> None:
        super().__init__("load")
        self.rowset = rowset

    def process(self, input_data: Any, context: ExecutionContext) -> RowSet:
        rerun = self.rowset.rerun
        context.total_rows = len(self.rowset) if rerun is None else len(rerun)
        return self.rowset


class PromptStage(RowStage):
    """Renders the prompt of each row; a row whose prompt columns are all missing is skipped."""

    def __init__(self, template: Template) -> None:
        super().__init__("prompt")
        self.template = template
        self.columns = template.columns

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

    columns = ()  # works on what the stages before it left on the row

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
        self.produces = schema.fields if schema is not None else (Column(column, "str", (), None),)

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
