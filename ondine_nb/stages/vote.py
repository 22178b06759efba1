"""Votes: each row is asked several times, and its fields are decided by majority."""

from __future__ import annotations

import asyncio
import copy
import json
import statistics
from collections import Counter
from collections.abc import AsyncGenerator, Sequence
from typing import Any

from ..data import Column
from ..errors import ConfigurationError, RowError, RunError
from ..orchestration import AskAgain, ExecutionContext, Halted, NewColumn, Row, RowStage, SetAside
from ..prompts import Field, Schema
from .invoke import InvokeStage
from .parse import ParseStage
from .plan import Plan, gathered

__all__ = ["Ballot", "VoteStage", "agree_name", "ballots_of", "decide", "decided_columns"]

_NUMBERS = frozenset({"int", "float"})  # kinds that are decided by the median


class Ballot(Row):
    """One time that a row is asked: a row of its own to whoever asks, which its row waits for."""

    __slots__ = ("_in_flight", "of")

    def __init__(self, of: Row, vote: int) -> None:
        assert of.prompt is not None  # else there is nothing to ask
        self.of: Row = of
        super().__init__(of.position, (), {})
        self.prompt = of.prompt.again(vote)

    @property
    def sending(self) -> bool:
        """Whether it is in flight; its row is as long as any of its ballots is."""
        return self._in_flight

    @sending.setter
    def sending(self, value: bool) -> None:
        self._in_flight = value
        poll = self.of.question
        self.of.sending = value or (poll is not None and any(it._in_flight for it in poll.ballots))


class Poll:
    """The ballots of one row, in the order in which they count."""

    __slots__ = ("ballots",)

    def __init__(self, ballots: Sequence[Ballot]) -> None:
        self.ballots = ballots

    def release(self) -> None:
        """The row has its outcome."""
        for ballot in self.ballots:
            ballot.release()


def ballots_of(rows: Sequence[Row], votes: int) -> list[Row]:
    """So many ballots of each row: all first ones, then all second ones, and so on.

    Before them stand the rows that have nothing to ask, as they are.
    """
    asking = [row for row in rows if row.prompt is not None and not row.settled]
    others = [row for row in rows if row.prompt is None or row.settled]
    return others + [Ballot(row, vote) for vote in range(1, votes + 1) for row in asking]


class VoteStage(RowStage):
    """Asks each row `votes` times by each of the `voters`, and decides each field.

    A voter is the stage that gets its answers and the one that parses them. Every vote has to
    answer: one that fails fails its row by name. Beside each field stands `FIELD_agree`: how many
    of the votes have the value that was decided.
    """

    columns: Sequence[str] | None = ()  # works on what the stages before it left on the row

    def __init__(
        self, voters: Sequence[tuple[InvokeStage, ParseStage]], schema: Schema, *, votes: int
    ) -> None:
        super().__init__("vote")
        self.voters = voters
        self.schema = schema
        self.votes = votes
        self.produces: Sequence[NewColumn] = decided_columns(schema)

    @property
    def askers(self) -> list[InvokeStage]:
        """The stages that get the answers, one for each model."""
        return [asker for asker, _ in self.voters]

    async def open(self, context: ExecutionContext) -> None:
        known = True
        for asker in self.askers:
            await asker.open(context)
            known = known and context.price_known
        context.price_known = known

    async def close(self) -> None:
        for asker in self.askers:
            await asker.close()

    async def prepare(self, rows: Sequence[Row], context: ExecutionContext) -> None:
        """Find what the journal has of all votes, by one query for each model."""
        cast = {id(row): list[Ballot]() for row in rows}
        for asker in self.askers:
            ballots = ballots_of(rows, self.votes)
            for ballot in ballots:
                if isinstance(ballot, Ballot):
                    cast[id(ballot.of)].append(ballot)
            await asker.prepare(ballots, context)
        for row in rows:
            if cast[id(row)]:
                row.question = Poll(cast[id(row)])

    def gather(
        self, chunks: AsyncGenerator[Sequence[Row], None], context: ExecutionContext
    ) -> AsyncGenerator[Sequence[Row], None]:
        def plans() -> list[Plan]:
            return [asker.plan for asker in self.askers]

        def waits(row: Row) -> bool:
            votes = self.votes  # the ballots stand model by model
            return row.question is not None and any(
                not ballot.settled and self.askers[at // votes].plan.waits(ballot)
                for at, ballot in enumerate(row.question.ballots)
            )

        return gathered(chunks, context, plans, waits)

    async def process_row(self, row: Row, context: ExecutionContext) -> None:
        ballots: Sequence[Ballot] = row.question.ballots
        asked = [
            self._cast(ballot, *self.voters[at // self.votes], context)
            for at, ballot in enumerate(ballots)
        ]
        came = await asyncio.gather(*asked, return_exceptions=True)
        self._account(row, ballots)
        self._raise_worst([it if isinstance(it, BaseException) else None for it in came])
        row.answer = ballots[0].answer
        for known in self.schema.fields:
            values = [ballot.outputs[known.name] for ballot in ballots]
            value, agree = decide(known, values)
            row.outputs[known.name] = value
            row.outputs[agree_name(known.name)] = agree

    async def _cast(
        self, ballot: Ballot, asker: InvokeStage, parser: ParseStage, context: ExecutionContext
    ) -> None:
        while True:
            await asker.process_row(ballot, context)
            try:
                await parser.process_row(ballot, context)
            except AskAgain:
                continue
            return

    def _account(self, row: Row, ballots: Sequence[Ballot]) -> None:
        for ballot in ballots:
            if ballot.cost or ballot.usage.total_tokens:
                row.pay(ballot.cost, ballot.usage)
            row.attempts += ballot.attempts
            if ballot.latency is not None:
                row.latency = max(row.latency or 0.0, ballot.latency)
        asked = any(ballot.status == "answered" for ballot in ballots)
        row.status = "answered" if asked else "journal"

    def _raise_worst(self, came: Sequence[BaseException | None]) -> None:
        """What ends the run comes before what ends the row, and the first of a kind first."""
        kinds: tuple[type[BaseException], ...] = (
            asyncio.CancelledError, RunError, ConfigurationError, Halted, SetAside,
        )  # fmt: skip
        for kind in kinds:
            for error in came:
                if isinstance(error, kind):
                    raise error
        for at, error in enumerate(came):
            if error is not None:
                raise self._named(error, at)

    def _named(self, error: BaseException, at: int) -> BaseException:
        """The same failure, which says whose it is. Equal rows share the one that is raised."""
        voter, vote = divmod(at, self.votes)
        who = f"vote {vote + 1} of {self.votes}" if self.votes > 1 else ""
        if len(self.voters) > 1:
            model = self.voters[voter][0].plan.alone.settings.model
            who = f"{model}, {who}" if who else model
        if not isinstance(error, RowError):
            return error
        named = copy.copy(error)
        named.args = (f"{who}: {error}",)
        return named


def agree_name(field: str) -> str:
    """The name of the column that says how many votes agree on a field."""
    return f"{field}_agree"


def decided_columns(schema: Schema) -> tuple[NewColumn, ...]:
    """Each field's column, and behind it the one that says how many votes agree."""
    pairs = ((known, Column(agree_name(known.name), "int", ())) for known in schema.fields)
    return tuple(column for pair in pairs for column in pair)


def decide(field: Field, values: Sequence[Any]) -> tuple[Any, int]:
    """The value that the votes come to, and how many of them have it.

    A number is the median (of an even count of whole numbers the lower one of the middle), anything
    else the most frequent value, of equally frequent ones the first that was given. A missing
    value is a value, too; numbers are decided without it, unless it has the majority.
    """
    texts = [_text(value) for value in values]
    numbers = [value for value in values if value is not None]
    if field.kind in _NUMBERS and 2 * len(numbers) >= len(values) and numbers:
        middle = statistics.median_low if field.kind == "int" else statistics.median
        value = middle(numbers)
        return value, sum(each == value for each in numbers)
    most = Counter(texts).most_common(1)[0][0]  # of equal ones, the one that was met first
    return values[texts.index(most)], texts.count(most)


def _text(value: Any) -> str:
    """The same for the same value, whatever the order of a nested object's keys."""
    return json.dumps(value, default=str, sort_keys=True, ensure_ascii=False)
