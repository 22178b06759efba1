"""Asks a group of rows as one row: at once where it fits, else by a tree of map and merge."""

from __future__ import annotations

import asyncio
import contextlib
import copy
import json
from collections import deque
from collections.abc import Iterable, Sequence, Sized
from dataclasses import dataclass, field
from itertools import chain

from ...data import Groups
from ...errors import RowError, SchemaNotMetError
from ...models import Prompt
from ...orchestration import (
    AskAgain,
    ExecutionContext,
    GroupProgress,
    Halted,
    Row,
    RowStage,
)
from ...prompts import RowNumbers, Schema
from ...sending import Lookup, Question
from ..invoke import InvokeStage
from ..journal_only import JournalOnlyStage
from ..parse import ParseStage
from .grouping import Group, Grouping
from .tree import Node

__all__ = ["GroupParseStage", "GroupStage", "MergeDraft"]


@dataclass(slots=True, eq=False)
class _Climb:
    """A group on its way up its tree: its row, and what its questions came to by now."""

    row: Row
    group: Group
    results: dict[Node, _Result] = field(default_factory=dict)
    in_flight: int = 0


@dataclass(frozen=True, slots=True)
class _Result:
    """What a question came to: the answer as it is merged, and the rows of the frame it names."""

    text: str
    rows: list[int]


@dataclass(frozen=True, slots=True)
class MergeDraft:
    """A question that can't be worded yet, since the answers that it merges aren't there: what is
    known of it, with `answers` of them still to be put in."""

    row: Row
    prompt: Prompt
    answers: int


class _NodeRow(Row):
    """A question of a group's tree as a row of its own for the stages that ask it.

    `rows` are the rows of the frame that are numbered in its prompt. While it is being sent, so is
    its group's row.
    """

    __slots__ = ("_on_its_way", "climb", "node", "rows")

    def __init__(self, climb: _Climb, node: Node, prompt: Prompt, rows: list[int]) -> None:
        self.climb, self._on_its_way = climb, False
        super().__init__(climb.row.position, (), {})
        self.node, self.prompt, self.rows = node, prompt, rows

    @property
    def sending(self) -> bool:
        return self._on_its_way

    @sending.setter
    def sending(self, now: bool) -> None:
        self.climb.in_flight += now - self._on_its_way
        self._on_its_way = now
        self.climb.row.sending = self.climb.in_flight > 0


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
        self._in_prose = in_prose
        self._rows: dict[int, list[int]] = {}  # of each group, by its row's position

    def number(self, row: Row, rows: list[int]) -> None:
        """These rows of the frame are the numbered ones in the prompt of a group's row."""
        if self.numbers.any:
            self._rows[row.position] = rows

    def json_of(self, text: str) -> str:
        """What of an answer is its object, checked. Raises SchemaNotMetError."""
        assert self.schema is not None  # else it is none
        if self._in_prose:
            return self.schema.json_in(text)
        self.schema.parse(text)
        return text

    async def process_row(self, row: Row, context: ExecutionContext) -> None:
        schema = self.schema
        if schema is None or not self.numbers.any:
            await super().process_row(row, context)
            return
        rows = row.rows if isinstance(row, _NodeRow) else self._rows.get(row.position, [])
        try:
            text = self.json_of(row.answer.text)  # which says what is wrong with it as it stands
            row.outputs = schema.parse(self.numbers.placed(text, rows))
        except SchemaNotMetError as error:
            self._ask_again(row, error)
        if not isinstance(row, _NodeRow):
            self._rows.pop(row.position, None)


class GroupStage(RowStage):
    """Makes the prompt of each group, whose row it is, and asks what has to be asked before that.

    A group whose rows fit one request is asked at once. A larger one is cut by content into leaves
    that fit; each is asked the prompt about its own rows, and their answers are
    merged, some at a time, until one question is left, which is the row's own. Each of them is a
    question like any row's: journaled by its content, asked once however often it occurs, paid and
    counted. `parser` reads their answers. Where one fails the group fails, and says which rows it
    was about. With `again` only what has no good answer yet is asked.
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
        super().__init__("group")
        self.groups: Groups = grouping.groups
        self.columns: Sequence[str] | None = self.groups.by
        self._grouping = grouping
        self._asker, self._parser, self._gate = asker, parser, gate
        self._again = again
        self._trees: dict[int, Group] = {}
        self.levels: int = 1  # these three are of the groups that were prepared
        self.leaves: int = 0
        self.merges: int = 0
        self._under_way = 0

    @property
    def _lookup(self) -> Lookup:
        return self._asker.lookup.whole() if self._again else self._asker.lookup

    # -- what a group is asked

    async def open(self, context: ExecutionContext) -> None:
        context.metrics.groups = GroupProgress(len(self.groups), self.groups.rows)

    async def prepare(self, rows: Sequence[Row], context: ExecutionContext) -> None:
        heads = [[row[name] for name in self.groups.by] for row in rows]
        made = await asyncio.to_thread(self._grouping.made, [row.position for row in rows], heads)
        progress = context.metrics.groups
        for row, group in zip(rows, made, strict=True):
            if isinstance(group, Exception):
                row.fail(group, self.name)
            elif group is None:
                row.skip()
            elif not group.root.children:
                row.prompt, positions = self._grouping.leaf(group, group.root)
                self._parser.number(row, positions)
            else:
                self._trees[row.position] = group
                if progress is not None:
                    progress.found(group.root.levels, _below(group.root))
            if isinstance(group, Group):
                self._tell(group.root)

    def _tell(self, root: Node) -> None:
        leaves = sum(1 for node in root.walk() if not node.children)
        self.levels = max(self.levels, root.levels)
        self.leaves, self.merges = self.leaves + leaves, self.merges + _below(root) + 1 - leaves

    def _merge(self, climb: _Climb, node: Node) -> tuple[Prompt, list[int]]:
        """What is asked about the answers of a node's children, and the rows that it numbers."""
        results = [climb.results[child] for child in node.children]
        numbers, merge = self._parser.numbers, self._grouping.merge
        if not numbers.any:
            return merge(climb.group, [result.text for result in results], of_rows=False), []
        rows = list(dict.fromkeys(chain.from_iterable(result.rows for result in results)))
        places = {row: number for number, row in enumerate(rows, 1)}
        texts = [numbers.renumbered(result.text, places) for result in results]
        return merge(climb.group, texts, of_rows=True), rows

    def _node_row(self, climb: _Climb, node: Node) -> _NodeRow:
        made = self._merge(climb, node) if node.children else self._grouping.leaf(climb.group, node)
        return _NodeRow(climb, node, *made)

    # -- asking below the root

    async def process_row(self, row: Row, context: ExecutionContext) -> None:
        group = self._trees.pop(row.position, None)
        if group is None:
            return
        climb, progress = _Climb(row, group), context.metrics.groups
        try:
            await self._ask_below(climb, context)
        finally:
            if progress is not None:
                progress.dropped(_below(group.root) - len(climb.results))
        if row.settled:
            return
        row.prompt, rows = self._merge(climb, group.root)
        self._parser.number(row, rows)
        await self._asker.meet([row])
        if self._gate is not None:
            await self._gate.prepare([row], context)

    async def _ask_below(self, climb: _Climb, context: ExecutionContext) -> None:
        """Ask everything below the root: what is in flight goes on to its end, whatever happens.

        Raises what the first question failed by, named.
        """
        root, row = climb.group.root, climb.row
        parents = {child: node for node in root.walk() for child in node.children}
        waiting = {node: len(node.children) for node in root.walk()}
        ready = deque(node for node in root.walk() if not node.children)
        tasks: dict[asyncio.Task[None], _NodeRow] = {}
        failed: BaseException | None = None
        try:
            while tasks or ready:
                while ready and self._room(tasks):
                    asked = self._node_row(climb, ready.popleft())
                    tasks[asyncio.create_task(self._ask(climb, asked, context))] = asked
                    self._under_way += 1
                done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    node = tasks.pop(task).node
                    self._under_way -= 1
                    failed = failed or _failure(task, climb.group, node)
                    parent = parents[node]
                    waiting[parent] -= 1
                    if not waiting[parent] and parent is not root:
                        ready.append(parent)
                if context.control.stopping:
                    failed = failed or Halted()
                if failed is not None or row.settled:  # those in flight are seen through
                    ready.clear()
                    _cancel(task for task, it in tasks.items() if not it.sending)
        except BaseException:  # the run stops, and nothing is in flight or all of it is to end
            _cancel(tasks)
            self._under_way -= len(tasks)
            await asyncio.gather(*tasks, return_exceptions=True)
            raise
        if failed is not None:
            raise failed

    def _room(self, tasks: Sized) -> bool:
        """Whether another question of this group may begin: one always may, of each group."""
        return not tasks or self._under_way < self._asker.sender.limits.concurrency.width

    async def _ask(self, climb: _Climb, row: _NodeRow, context: ExecutionContext) -> None:
        whole = climb.row
        try:
            await self._meet([row])
            if self._gate is not None and row.prompt and await self._gate.lacks(row.prompt):
                whole.prompt = row.prompt  # the journal's stage finds no answer to it, and says so
                await self._gate.prepare([whole], context)
                return
            while row.node not in climb.results:
                with contextlib.suppress(AskAgain):
                    await self._asker.process_row(row, context)
                    await self._parser.process_row(row, context)
                    climb.results[row.node] = self._read(row, row.answer.text)
            if context.metrics.groups is not None:
                context.metrics.groups.done += 1
        finally:
            whole.pay(row.cost, row.usage)
            whole.attempts += row.attempts
            if row.question is not None:
                row.question.release()

    async def _meet(self, rows: Sequence[_NodeRow]) -> None:
        """Give the rows their questions; of one whose answers are of no use, without these."""
        await self._asker.meet(rows, self._lookup)
        if self._again:  # all of the tree anew, for one question that failed, would be too much
            for row in rows:
                question: Question = row.question
                if question.answers and question.underway is None and self._good(row) is None:
                    question.answers, question.earlier, question.begins = [], 0, True

    def _read(self, row: _NodeRow, text: str) -> _Result:
        """An answer that has been read, as it is merged. Raises SchemaNotMetError."""
        numbers = self._parser.numbers
        if self._parser.schema is None:
            return _Result(json.dumps(text.strip(), ensure_ascii=False), [])
        text = self._parser.json_of(text)
        if not numbers.any:
            return _Result(" ".join(text.split()), [])
        placed = numbers.placed(text, row.rows)
        return _Result(placed, numbers.cited(placed))

    def _good(self, row: _NodeRow) -> _Result | None:
        """What a question came to by the journal; None where no answer of its is a good one."""
        for answer in row.question.answers:
            with contextlib.suppress(RowError):
                answer.usable_text()
                return self._read(row, answer.text)
        return None

    # -- what would be asked

    async def forecast(self, rows: Iterable[Row]) -> tuple[list[Row], list[MergeDraft]]:
        """Of prepared rows whose groups have a tree: all questions of it that can be worded by now,
        as rows that have met them, and those that can't, for they merge answers to come."""
        climbs = [
            _Climb(row, group)
            for row in rows
            if (group := self._trees.pop(row.position, None)) is not None
        ]
        worded, drafts = list[Row](), list[MergeDraft]()
        nodes = [(it, node) for it in climbs for node in it.group.root.walk()]
        leaves = [self._node_row(it, node) for it, node in nodes if not node.children]
        await self._foresee(leaves)
        worded += leaves
        for climb, node in nodes:
            if not node.children:
                continue
            if all(child in climb.results for child in node.children):
                row = self._node_row(climb, node)
                await self._foresee([row])
                worded.append(row)
                continue
            empty = [""] * len(node.children)
            prompt = self._grouping.merge(climb.group, empty, of_rows=self._parser.numbers.any)
            drafts.append(MergeDraft(climb.row, prompt, len(empty)))
        return worded, drafts

    async def prompt_of(self, row: Row) -> Prompt | None:
        """The prompt of a group's row; None where it is skipped, or merges answers to come."""
        await self.prepare([row], ExecutionContext())
        group = self._trees.get(row.position)
        if group is None:
            return row.prompt
        worded, _ = await self.forecast([row])
        last = worded[-1]
        assert isinstance(last, _NodeRow)
        return last.prompt if last.node is group.root else None

    async def _foresee(self, rows: Sequence[_NodeRow]) -> None:
        await self._asker.meet(rows, self._lookup)
        for row in rows:
            if (result := self._good(row)) is not None:
                row.climb.results[row.node] = result


def _below(root: Node) -> int:
    """How many questions there are below a tree's root."""
    return sum(1 for _ in root.walk()) - 1


def _cancel(tasks: Iterable[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()


def _failure(task: asyncio.Task[None], group: Group, node: Node) -> BaseException | None:
    if task.cancelled():
        return Halted()
    error = task.exception()
    return None if error is None else _named(error, group, node)


def _named(error: BaseException, group: Group, node: Node) -> BaseException:
    """A row's error that says which of the group's rows it is about; any other as it is."""
    if not isinstance(error, RowError):
        return error
    what = "the answers about " if node.children else ""
    rows = f"rows {node.rows.start + 1:,} to {node.rows.stop:,} of {len(group.positions):,}"
    made = copy.copy(error)
    made.args = (f"{what}{rows} in the group: {error}",)
    return made
