"""Turns answers into typed cells, and asks again what breaks its schema."""

from __future__ import annotations

from collections.abc import Sequence

from ..data import Column
from ..errors import RowError, SchemaNotMetError
from ..orchestration import (
    AskAgain,
    ExecutionContext,
    NewColumn,
    Row,
    RowStage,
)
from ..prompts import Schema
from .invoke import InvokeStage

__all__ = ["REASKS", "ParseStage"]


REASKS = 2  # how often an answer that breaks its schema is asked again


class ParseStage(RowStage):
    """Turns an answer into typed cells.

    An answer that breaks the schema is asked again by `asker`, `reasks` times at most, each of them
    paid; then the row fails. With `in_prose` the server isn't known to enforce it, so that JSON is
    found in prose, too. Without a schema the text goes into one column.
    """

    columns: Sequence[str] | None = ()  # works on what the stages before it left on the row

    def __init__(
        self,
        schema: Schema | None,
        asker: InvokeStage,
        *,
        column: str = "response",
        reasks: int = REASKS,
        in_prose: bool = False,
    ) -> None:
        super().__init__("parse")
        self.schema = schema
        self.asker = asker
        self.column = column
        self.reasks = reasks
        self._in_prose = in_prose
        if schema is not None:
            self._read = schema.found_in if in_prose else schema.parse
        plain = (Column(column, "str", (), None),)
        self.produces: Sequence[NewColumn] = schema.fields if schema is not None else plain

    async def process_row(self, row: Row, context: ExecutionContext) -> None:
        text = row.answer.text
        if self.schema is None:
            row.outputs = {self.column: text}
            return
        try:
            row.outputs = self._read(text)
        except SchemaNotMetError as error:
            self._ask_again(row, error)

    def json_of(self, text: str) -> str:
        """What of an answer is its object, checked. Raises SchemaNotMetError."""
        assert self.schema is not None  # else it is none
        if self._in_prose:
            return self.schema.json_in(text)
        self.schema.parse(text)
        return text

    def _ask_again(self, row: Row, error: RowError) -> None:
        if row.reasks >= self.reasks:
            asked = row.reasks + 1
            raise SchemaNotMetError(f"{error} (asked {asked} times)") from error
        row.reasks += 1
        raise AskAgain(self.asker, error)
