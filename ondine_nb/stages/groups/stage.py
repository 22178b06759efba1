"""Asks a group of rows as one row: at once where it fits, else by a tree of map and merge."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain

from ...data import Groups
from ...errors import SchemaNotMetError
from ...models import Prompt
from ...orchestration import ExecutionContext, GroupProgress, Row
from ...prompts import RowNumbers, Schema
from ..invoke import InvokeStage
from ..journal_only import JournalOnlyStage
from ..parse import ParseStage
from .climb import Climb, NodeRow, TreeStage
from .grouping import Group, Grouping
from .tree import Node

__all__ = ["GroupParseStage", "GroupStage"]


@dataclass(frozen=True, slots=True)
class _Result:
    """What a question came to: the answer as it is merged, and the rows of the frame it names."""

    text: str
    rows: list[int]


class GroupParseStage(ParseStage):
    """A `ParseStage` for answers that name rows: their numbers become positions in the frame."""

    def __init__(
        self,
        schema: Schema | None,
        asker: InvokeStage,
        *,
        column: str = "response",
        in_prose: bool = False,
    ) -> None:
        super().__init__(schema, asker, column=column, in_prose=in_prose)
        self.numbers: RowNumbers = RowNumbers(schema)
        self._rows: dict[int, list[int]] = {}  # of each group, by its row's position

    def number(self, row: Row, rows: list[int]) -> None:
        """These rows of the frame are the numbered ones in the prompt of a group's row."""
        if self.numbers.any:
            self._rows[row.position] = rows

    async def process_row(self, row: Row, context: ExecutionContext) -> None:
        schema = self.schema
        if schema is None or not self.numbers.any:
            await super().process_row(row, context)
            return
        numbered = self._rows.get(row.position, [])
        rows = row.rows if isinstance(row, NodeRow) else numbered
        try:
            text = self.json_of(row.answer.text)  # which says what is wrong with it as it stands
            row.outputs = schema.parse(self.numbers.placed(text, rows))
        except SchemaNotMetError as error:
            self._ask_again(row, error)
        if not isinstance(row, NodeRow):
            self._rows.pop(row.position, None)


class GroupStage(TreeStage[Group, _Result]):
    """Makes the prompt of each group, whose row it is, and asks what has to be asked before that.

    A group whose rows fit one request is asked at once. A larger one is cut by content into leaves
    that fit; each is asked the prompt about its own rows, and their answers are merged, some at a
    time, until one question is left, which is the row's own.
    """

    def __init__(
        self,
        grouping: Grouping,
        asker: InvokeStage,
        parser: GroupParseStage,
        *,
        again: bool = False,
        gate: JournalOnlyStage | None = None,
    ) -> None:
        super().__init__("group", asker, parser, again=again, gate=gate)
        self.groups: Groups = grouping.groups
        self.columns: Sequence[str] | None = self.groups.by
        self._grouping = grouping
        self._parser = parser

    @property
    def note(self) -> str:
        said = f"{len(self.groups):,} groups of {self.groups.rows:,} rows"
        if not self.merges:
            return f"{said}, each in one request"
        return (
            f"{said}: {self.leaves + self.merges:,} requests, {self.leaves:,} about rows and "
            f"{self.merges:,} that merge answers, on {self.levels} levels at most"
        )

    async def open(self, context: ExecutionContext) -> None:
        context.metrics.groups = GroupProgress(len(self.groups), self.groups.rows)

    async def prepare(self, rows: Sequence[Row], context: ExecutionContext) -> None:
        heads = [[row[name] for name in self.groups.by] for row in rows]
        made = await asyncio.to_thread(self._grouping.made, [row.position for row in rows], heads)
        for row, group in zip(rows, made, strict=True):
            if isinstance(group, Exception):
                row.fail(group, self.name)
            elif group is None:
                row.skip()
            elif not group.root.children:
                row.prompt, positions = self._grouping.leaf(group, group.root)
                self._parser.number(row, positions)
            else:
                self._plant(row, group, context.metrics.groups)
            if isinstance(group, Group):
                self._tell(group.root)

    async def process_row(self, row: Row, context: ExecutionContext) -> None:
        group = self._trees.pop(row.position, None)
        if group is None:
            return
        climb = Climb[Group, _Result](row, group)
        await self._climb(climb, context)
        if row.settled:
            return
        row.prompt, rows = self._merge(climb, group.root)
        self._parser.number(row, rows)
        await self._asker.meet([row])
        if self._gate is not None:
            await self._gate.prepare([row], context)

    async def prompt_of(self, row: Row) -> Prompt | None:
        """The prompt of a group's row; None where it is skipped, or merges answers to come."""
        await self.prepare([row], ExecutionContext())
        group = self._trees.get(row.position)
        if group is None:
            return row.prompt
        worded, _ = await self.forecast(row)
        last = worded[-1]
        assert isinstance(last, NodeRow)
        return last.prompt if last.node is group.root else None

    # -- the questions of a tree

    def _leaf(self, climb: Climb[Group, _Result], node: Node) -> NodeRow:
        return NodeRow(climb, node, *self._grouping.leaf(climb.asked, node))

    def _merged(self, climb: Climb[Group, _Result], node: Node) -> NodeRow:
        return NodeRow(climb, node, *self._merge(climb, node))

    def _merge(self, climb: Climb[Group, _Result], node: Node) -> tuple[Prompt, list[int]]:
        """What is asked about the answers of a node's children, and the rows that it numbers."""
        results = climb.of_children(node)
        numbers, merge = self._parser.numbers, self._grouping.merge
        if not numbers.any:
            return merge(climb.asked, [result.text for result in results], of_rows=False), []
        rows = list(dict.fromkeys(chain.from_iterable(result.rows for result in results)))
        places = {row: number for number, row in enumerate(rows, 1)}
        texts = [numbers.renumbered(result.text, places) for result in results]
        return merge(climb.asked, texts, of_rows=True), rows

    def _draft(self, climb: Climb[Group, _Result], node: Node) -> Prompt:
        empty = [""] * len(node.children)
        return self._grouping.merge(climb.asked, empty, of_rows=self._parser.numbers.any)

    def _read(self, row: NodeRow, text: str) -> _Result:
        numbers = self._parser.numbers
        if self._parser.schema is None:
            return _Result(json.dumps(text.strip(), ensure_ascii=False), [])
        text = self._parser.json_of(text)
        if not numbers.any:
            return _Result(" ".join(text.split()), [])
        placed = numbers.placed(text, row.rows)
        return _Result(placed, numbers.cited(placed))

    def _where(self, asked: Group, node: Node) -> str:
        what = "the answers about " if node.children else ""
        rows = f"rows {node.rows.start + 1:,} to {node.rows.stop:,} of {len(asked.positions):,}"
        return f"{what}{rows} in the group"
