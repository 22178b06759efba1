"""Asks what stands below a row as a tree of map and merge, node by node, as any row is asked."""

from __future__ import annotations

import asyncio
import contextlib
import copy
from abc import abstractmethod
from collections import deque
from collections.abc import Iterable, Sequence, Sized
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeVar

from ...errors import RowError
from ...models import Prompt
from ...orchestration import AskAgain, ExecutionContext, GroupProgress, Halted, Row, RowStage
from ...sending import Lookup, Question
from ..invoke import InvokeStage
from ..journal_only import JournalOnlyStage
from ..parse import ParseStage
from .tree import Node

__all__ = ["Climb", "MergeDraft", "NodeRow", "TreeStage"]


class HasTree(Protocol):
    """What is asked by a tree: a group of rows, or a long text."""

    @property
    def root(self) -> Node:
        """The tree's root."""
        ...


Asked = TypeVar("Asked", bound=HasTree)
Result = TypeVar("Result")


@dataclass(slots=True, eq=False)
class Climb(Generic[Asked, Result]):
    """A row on its way up its tree: what is asked, and what its questions came to by now.

    `answered` says that some of that is of this run.
    """

    row: Row
    asked: Asked
    results: dict[Node, Result] = field(default_factory=dict)
    in_flight: int = 0
    answered: bool = False

    def of_children(self, node: Node) -> list[Result]:
        """What the questions below a node came to, in order."""
        return [self.results[child] for child in node.children]


@dataclass(frozen=True, slots=True)
class MergeDraft:
    """A question that can't be worded yet, since the answers that it merges aren't there: what is
    known of it, with `answers` of them still to be put in."""

    row: Row
    prompt: Prompt
    answers: int


class NodeRow(Row):
    """A question of a tree as a row of its own for the stages that ask it.

    `rows` are the rows of the frame that are numbered in its prompt. While it is being sent, so is
    the row that the tree belongs to.
    """

    __slots__ = ("_on_its_way", "climb", "node", "rows")

    def __init__(
        self,
        climb: Climb[Any, Any],
        node: Node,
        prompt: Prompt | None,
        rows: Sequence[int] = (),
        *,
        values: tuple[Any, ...] = (),
        names: dict[str, int] | None = None,
    ) -> None:
        self.climb, self._on_its_way = climb, False
        super().__init__(climb.row.position, values, {} if names is None else names)
        self.node, self.prompt, self.rows = node, prompt, rows

    @property
    def sending(self) -> bool:
        """Whether it is in flight; its row is as long as any of its questions is."""
        return self._on_its_way

    @sending.setter
    def sending(self, now: bool) -> None:
        self.climb.in_flight += now - self._on_its_way
        self._on_its_way = now
        self.climb.row.sending = self.climb.in_flight > 0


class TreeStage(RowStage, Generic[Asked, Result]):
    """Asks rows that take several questions: leaves first, then what merges their answers.

    Each of them is a question like any row's: journaled by its content, asked once however often
    it occurs, paid and counted. `parser` reads their answers. Where one fails the row fails, and
    says what it was about. With `again` only what has no good answer yet is asked. Where
    `asks_root` the last question is asked here, too; else it is left to the row itself.
    """

    asks_root: bool = False

    def __init__(
        self,
        name: str,
        asker: InvokeStage,
        parser: ParseStage,
        *,
        again: bool = False,
        gate: JournalOnlyStage | None = None,
    ) -> None:
        super().__init__(name)
        self._asker, self._gate = asker, gate
        self._reader: ParseStage = parser
        self._again = again
        self._trees: dict[int, Asked] = {}  # of rows that wait for their turn, by position
        self.levels: int = 1  # these three are of the trees that were made
        self.leaves: int = 0
        self.merges: int = 0
        self._under_way = 0

    @abstractmethod
    def _leaf(self, climb: Climb[Asked, Result], node: Node) -> NodeRow:
        """What is asked about a leaf."""

    @abstractmethod
    def _merged(self, climb: Climb[Asked, Result], node: Node) -> NodeRow | Result:
        """What is asked about the answers below a node, or what they come to without a question."""

    @abstractmethod
    def _read(self, row: NodeRow, text: str) -> Result:
        """An answer that has been read, as it is merged. Raises SchemaNotMetError."""

    @abstractmethod
    def _where(self, asked: Asked, node: Node) -> str:
        """What a question is about, in words."""

    @abstractmethod
    def _draft(self, climb: Climb[Asked, Result], node: Node) -> Prompt | None:
        """A merge's prompt without the answers that it is about; None if none will be asked."""

    @property
    @abstractmethod
    def note(self) -> str:
        """What the trees come to, in a line."""

    async def _look(self, row: NodeRow, context: ExecutionContext) -> None:
        """What else there is to do with an answer that was parsed. May raise `AskAgain`."""

    @property
    def _lookup(self) -> Lookup:
        return self._asker.lookup.whole() if self._again else self._asker.lookup

    def _plant(self, row: Row, asked: Asked, progress: GroupProgress | None) -> None:
        """The row is asked by a tree."""
        self._trees[row.position] = asked
        if progress is not None:
            progress.found(asked.root.levels, self._below(asked.root))

    def _tell(self, root: Node) -> None:
        nodes, leaves = 0, 0
        for node in root.walk():
            nodes, leaves = nodes + 1, leaves + (not node.children)
        self.levels = max(self.levels, root.levels)
        self.leaves, self.merges = self.leaves + leaves, self.merges + nodes - leaves

    def _below(self, root: Node) -> int:
        """How many questions of a tree are asked here."""
        return sum(1 for _ in root.walk()) - (not self.asks_root)

    # -- asking

    async def _climb(self, climb: Climb[Asked, Result], context: ExecutionContext) -> None:
        """Ask all that is asked here. Raises what the first question failed by, named."""
        progress = context.metrics.groups
        try:
            await self._ask_all(climb, context)
        finally:
            if progress is not None:
                progress.dropped(self._below(climb.asked.root) - len(climb.results))

    async def _ask_all(self, climb: Climb[Asked, Result], context: ExecutionContext) -> None:
        """Ask node by node: what is in flight goes on to its end, whatever happens."""
        root, row = climb.asked.root, climb.row
        parents = {child: node for node in root.walk() for child in node.children}
        waiting = {node: len(node.children) for node in root.walk()}
        ready = deque(node for node in root.walk() if not node.children)
        tasks: dict[asyncio.Task[None], NodeRow] = {}
        failed: BaseException | None = None

        def ended(node: Node) -> None:
            parent = parents.get(node)
            if parent is not None:
                waiting[parent] -= 1
                if not waiting[parent] and (self.asks_root or parent is not root):
                    ready.append(parent)

        try:
            while tasks or ready:
                while ready and self._room(tasks):
                    node = ready.popleft()
                    asked = self._question(climb, node, context)
                    if asked is None:
                        ended(node)
                        continue
                    tasks[asyncio.create_task(self._ask(climb, asked, context))] = asked
                    self._under_way += 1
                if not tasks:
                    continue
                done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    node = tasks.pop(task).node
                    self._under_way -= 1
                    failed = failed or self._failure(task, climb, node)
                    ended(node)
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

    def _question(
        self, climb: Climb[Asked, Result], node: Node, context: ExecutionContext
    ) -> NodeRow | None:
        """What is asked at a node; None where its result is there without a question."""
        if not node.children:
            return self._leaf(climb, node)
        made = self._merged(climb, node)
        if isinstance(made, NodeRow):
            return made
        climb.results[node] = made
        if context.metrics.groups is not None:
            context.metrics.groups.done += 1
        return None

    def _room(self, tasks: Sized) -> bool:
        """Whether another question of this row may begin: one always may, of each row."""
        return not tasks or self._under_way < self._asker.sender.limits.concurrency.width

    async def _ask(
        self, climb: Climb[Asked, Result], row: NodeRow, context: ExecutionContext
    ) -> None:
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
                    await self._reader.process_row(row, context)
                    await self._look(row, context)
                    climb.results[row.node] = self._read(row, row.answer.text)
            if context.metrics.groups is not None:
                context.metrics.groups.done += 1
        finally:
            whole.pay(row.cost, row.usage)
            whole.attempts += row.attempts
            climb.answered = climb.answered or row.status == "answered"
            if row.latency is not None:
                whole.latency = max(whole.latency or 0.0, row.latency)
            if row.question is not None:
                row.question.release()

    async def _meet(self, rows: Sequence[NodeRow]) -> None:
        """Give the rows their questions; of one whose answers are of no use, without these."""
        await self._asker.meet(rows, self._lookup)
        if self._again:  # all of the tree anew, for one question that failed, would be too much
            for row in rows:
                question: Question = row.question
                if question.answers and question.underway is None and self._good(row) is None:
                    question.answers, question.earlier, question.begins = [], 0, True

    def _good(self, row: NodeRow) -> Result | None:
        """What a question came to by the journal; None where no answer of its is a good one."""
        for answer in row.question.answers:
            with contextlib.suppress(RowError):
                answer.usable_text()
                return self._read(row, answer.text)
        return None

    def _failure(
        self, task: asyncio.Task[None], climb: Climb[Asked, Result], node: Node
    ) -> BaseException | None:
        """What a question failed by; of a row's error, one that says what it is about."""
        if task.cancelled():
            return Halted()
        error = task.exception()
        if not isinstance(error, RowError):
            return error
        made = copy.copy(error)
        made.args = (f"{self._where(climb.asked, node)}: {error}",)
        return made

    # -- what would be asked

    async def forecast(self, row: Row) -> tuple[list[Row], list[MergeDraft]]:
        """Of a prepared row that has a tree: all questions of it that can be worded by now, as rows
        that have met them, and those that can't, for they merge answers to come."""
        climb = Climb[Asked, Result](row, self._trees.pop(row.position))
        nodes = [*climb.asked.root.walk()]
        leaves = [self._leaf(climb, node) for node in nodes if not node.children]
        await self._foresee(leaves)
        worded, drafts = list[Row](leaves), list[MergeDraft]()
        for node in nodes:
            if not node.children:
                continue
            if all(child in climb.results for child in node.children):
                made = self._merged(climb, node)
                if isinstance(made, NodeRow):
                    await self._foresee([made])
                    worded.append(made)
                else:
                    climb.results[node] = made
            elif (prompt := self._draft(climb, node)) is not None:
                drafts.append(MergeDraft(row, prompt, len(node.children)))
        return worded, drafts

    async def _foresee(self, rows: Sequence[NodeRow]) -> None:
        await self._asker.meet(rows, self._lookup)
        for row in rows:
            if (result := self._good(row)) is not None:
                row.climb.results[row.node] = result


def _cancel(tasks: Iterable[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
