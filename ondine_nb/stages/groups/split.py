"""Asks rows that are longer than the model's context in chunks, and merges their answers."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from typing import Any

from ...errors import PromptError, RowError, SchemaNotMetError
from ...models import NO_USAGE, Prompt
from ...orchestration import ExecutionContext, GroupProgress, Row
from ...providers import Answer
from ...sending import Question
from ..evidence import EvidenceStage
from ..invoke import InvokeStage
from ..journal_only import JournalOnlyStage
from ..parse import ParseStage
from ..prompt import PromptStage
from .climb import Climb, NodeRow, TreeStage
from .fit import ContextFit
from .merging import AnswerMerge, Part
from .splitting import LongText, Splitting
from .tree import Node

__all__ = ["SplitStage"]


class SplitStage(TreeStage[LongText, Part]):
    """Cuts the text of rows that don't fit, asks each chunk as a row of its own, and merges.

    Lists are put together; single fields in which chunks differ are decided by a question that
    sees what they said; plain answers are merged some at a time. What that comes to is the row's
    answer: `asker` and the parser behind this stage find it there. `prompts` makes the chunks'
    prompts, `evidence` finds their quotes. A row that fits stays as it is: by `fit`, or by the
    tokens of a chunk where those were given.
    """

    asks_root = True

    def __init__(
        self,
        splitting: Splitting,
        prompts: PromptStage,
        asker: InvokeStage,
        parser: ParseStage,
        merge: AnswerMerge,
        *,
        fit: ContextFit | None = None,
        evidence: EvidenceStage | None = None,
        again: bool = False,
        gate: JournalOnlyStage | None = None,
    ) -> None:
        super().__init__("split", asker, parser, again=again, gate=gate)
        self.columns: Sequence[str] | None = splitting.template.columns
        self.fit = fit
        self.texts: int = 0
        self._splitting, self._prompts = splitting, prompts
        self._merge, self._evidence = merge, evidence

    @property
    def note(self) -> str:
        if not self.texts:
            return ""
        rows = "1 row is" if self.texts == 1 else f"{self.texts:,} rows are"
        said = f"{rows} asked in parts: {self.leaves:,} chunks"
        if self._merge.only_lists:
            return said
        most = "at most " if self._merge.has_schema else ""
        return f"{said} and {most}{self.merges:,} that merge answers, on {self.levels} levels"

    # -- which rows, and how they are cut

    async def open(self, context: ExecutionContext) -> None:
        context.metrics.groups = context.metrics.groups or GroupProgress(0, 0)

    async def prepare(self, rows: Sequence[Row], context: ExecutionContext) -> None:
        progress = context.metrics.groups
        for row in await self._long(rows):
            try:
                text = await asyncio.to_thread(self._splitting.cut, row)
            except RowError as error:
                row.fail(error, self.name)
                row.prompt = None
                continue
            row.prompt = None
            self._plant(row, text, progress)
            self._tell(text.root)
            self.texts += 1
            if progress is not None:
                progress.texts += 1
                progress.chunks += len(text.cut.spans)

    async def _long(self, rows: Sequence[Row]) -> list[Row]:
        fit = self.fit
        if fit is None:
            asking = [row for row in rows if row.prompt is not None and not row.settled]
            most = self._splitting.most
            longer = [row for row in asking if row.prompt is not None and row.prompt.size > most]
            return [row for row in longer if self._splitting.exceeds(row)]
        longer = fit.longer(rows, fit.room)
        if not longer:
            return []
        found = []
        for row, tokens in (await fit.tokens(longer)).items():
            if tokens is None and not fit.counts:
                tokens = fit.rough(row)
            if tokens is None or tokens + fit.answer > fit.context:
                found.append(row)
        return found

    # -- a row on its way

    async def process_row(self, row: Row, context: ExecutionContext) -> None:
        text = self._trees.pop(row.position, None)
        if text is None:
            return
        climb = Climb[LongText, Part](row, text)
        await self._climb(climb, context)
        if row.settled:
            return
        self._answer(climb)
        if self._gate is not None:
            self._gate.found_all()

    def _answer(self, climb: Climb[LongText, Part]) -> None:
        """Leave the answer for the stages behind as one that is there. Raises SchemaNotMetError."""
        row, whole = climb.row, climb.results[climb.asked.root]
        text, schema = whole.text, self._reader.schema
        if schema is not None:
            text, cells = self._merge.written(whole)
            try:
                schema.parse(text)
            except SchemaNotMetError as error:
                raise SchemaNotMetError(f"the answers of all parts together: {error}") from error
            if self._evidence is not None:
                self._evidence.placed[row.position] = cells
        question = Question(b"")
        question.answers = [Answer(text, "end_turn", NO_USAGE, 1)]
        question.earlier = not climb.answered
        row.question = question

    # -- the questions of a tree

    def _leaf(self, climb: Climb[LongText, Part], node: Node) -> NodeRow:
        values = climb.asked.within(climb.row, node)
        return NodeRow(climb, node, None, values=values, names=climb.row.names)

    async def _meet(self, rows: Sequence[NodeRow]) -> None:
        await self._word(rows)
        await super()._meet(rows)

    async def _foresee(self, rows: Sequence[NodeRow]) -> None:
        await self._word(rows)
        await super()._foresee(rows)

    async def _word(self, rows: Sequence[NodeRow]) -> None:
        """Make the prompts of chunks, as those of rows are made. Raises PromptError."""
        chunks = [row for row in rows if row.prompt is None]
        await self._prompts.prepare(chunks, ExecutionContext())
        for row in chunks:
            if row.prompt is None:
                why = "it says nothing" if row.failure is None else row.failure.message
                raise PromptError(f"a chunk has no prompt: {why}")

    def _merged(self, climb: Climb[LongText, Part], node: Node) -> NodeRow | Part:
        parts, row = climb.of_children(node), climb.row
        if not self._merge.has_schema:
            answers = [json.dumps(part.text, ensure_ascii=False) for part in parts]
            prompt = self._splitting.prompts.texts(row, climb.asked.column, answers)
        else:
            differing = self._merge.differing(parts)
            if not differing:
                return self._merge.merged(parts)
            prompt = self._deciding(climb, [self._merge.shown(part) for part in parts], differing)
        return NodeRow(climb, node, prompt, values=row.values, names=row.names)

    def _deciding(
        self, climb: Climb[LongText, Part], answers: Sequence[str], differing: Sequence[str]
    ) -> Prompt:
        merge = self._merge
        return self._splitting.prompts.fields(
            climb.row,
            climb.asked.column,
            list(dict.fromkeys(answers)),
            differing,
            lists=merge.has_lists,
            quotes=merge.has_quotes,
        )

    def _draft(self, climb: Climb[LongText, Part], node: Node) -> Prompt | None:
        answers = [""] * len(node.children)
        if self._merge.only_lists:
            return None
        if self._merge.has_schema:
            return self._deciding(climb, answers, self._merge.names)
        return self._splitting.prompts.texts(climb.row, climb.asked.column, answers)

    async def _look(self, row: NodeRow, context: ExecutionContext) -> None:
        if self._evidence is None:
            return
        if row.node.children:  # its quotes are those of the chunks, which were looked at
            await self._evidence.place(row)
        else:
            await self._evidence.process_row(row, context)

    def _read(self, row: NodeRow, text: str) -> Part:
        schema = self._reader.schema
        if schema is None:
            return Part(text.strip())
        answer: dict[str, Any] = schema.object_in(self._reader.json_of(text))
        if not row.node.children:
            asked: LongText = row.climb.asked
            start = asked.cut.spans[row.node].start
            return self._merge.part(answer, row.outputs, asked.column, start)
        decided = self._merge.part(answer, row.outputs)
        return self._merge.merged(row.climb.of_children(row.node), decided)

    def _where(self, asked: LongText, node: Node) -> str:
        what = "the answers about " if node.children else ""
        span = asked.span(node)
        return f"{what}characters {span.start:,} to {span.end:,} of column {asked.column!r}"
