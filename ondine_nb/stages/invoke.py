"""Asking the model: the journal first, equal questions once, the rest as a plan sends them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence

from ..errors import BudgetExceededError, MediaError, RowError
from ..models import Prompt
from ..orchestration import ExecutionContext, Halted, Row, RowStage, SetAside
from ..sending import Budget, Endpoint, Lookup, Question, Sender
from .plan import Asked, Plan, gathered
from .schema_routes import Route, SchemaRoutes

__all__ = ["InvokeStage"]


class InvokeStage(RowStage):
    """Gets each row's answer: from the journal, from an equal row, or from the provider.

    `sender` sends what `plan` asks it to. Where it isn't known how a schema is to be asked for,
    `routes` has the ways, and `plan_of` makes the plan of the one that is found before the first
    row is sent. `when_prepared` is called with the first chunk of rows, once the journal was asked
    for them and before any is sent.
    """

    columns: Sequence[str] | None = ()  # works on what the stages before it left on the row

    def __init__(
        self,
        sender: Sender,
        plan: Plan,
        routes: SchemaRoutes | None = None,
        plan_of: Callable[[Route], Plan] | None = None,
    ) -> None:
        super().__init__("invoke")
        self.sender = sender
        self.plan: Plan = plan
        self.routes = routes
        self._plan_of = plan_of
        self._undecided = routes is not None  # until the first row has to be sent
        self._planned = 0 if routes is None else routes.taken
        self._left: list[Plan] = []  # what was planned before the route was found
        self._met_before: set[Question] = set()  # and the questions of that time
        self.lookup: Lookup = sender.lookup
        self.budget: Budget = sender.limits.budget
        self.when_prepared: Callable[[Sequence[Row]], Awaitable[None]] | None = None
        self._questions: dict[bytes, Question] = {}
        self._context = ExecutionContext()

    @property
    def endpoints(self) -> tuple[Endpoint, ...]:
        """What its requests go to."""
        return self.plan.endpoints

    async def open(self, context: ExecutionContext) -> None:
        await self.lookup.open()
        self._context = context
        context.price_known = self.plan.alone.provider.price is not None
        self.sender.open(context)
        self.plan.open(context)

    async def open_provider(self) -> None:
        """Connect, where that hasn't happened yet."""
        for endpoint in self.endpoints:
            await endpoint.open(self.sender.limits.concurrency.width)

    async def close(self) -> None:
        if self.routes is not None:
            await self.routes.close()
        plans = [*self._left, self.plan]
        for plan in plans:
            await plan.close()
        self.sender.close()
        for endpoint in (endpoint for plan in plans for endpoint in plan.endpoints):
            await endpoint.close()

    # -- how a schema is asked for

    async def _decide(self) -> None:
        """Find the route, and take it from here on. Raises what ends the run."""
        assert self.routes is not None
        assert self._plan_of is not None
        found = await self.routes.decide(self.sender, self._context)
        if not self._undecided:
            return
        self._undecided = False
        if found != self._planned:
            self._left.append(self.plan)
            self.lookup.turn_to(found)
            self.plan = self._plan_of(self.routes.route)
            for endpoint in self.plan.endpoints:
                endpoint.provider = self.routes.sent_by(endpoint.provider)
            self.plan.open(self._context)
            self._met_before = set(self._questions.values())

    async def _meet_anew(self, rows: Sequence[Row]) -> list[Asked]:
        """Those of these rows that have no answer by now, as questions of the route found."""
        again = [row for row in rows if row.question in self._met_before and not row.settled]
        again = [row for row in again if not row.question.answers]
        for row in again:
            row.question.release()
            row.question = None
        return await self.meet(again)

    async def _asked_now(self, question: Question, row: Row) -> Question:
        """The question of a row that is to be asked again, as the route found has it."""
        assert row.prompt is not None  # it is on its way
        known, key = self._questions, self.lookup.key(row.prompt)
        self._met_before.discard(question)
        if key in known:
            question.rows -= 1
            row.question, known[key].rows = known[key], known[key].rows + 1
            return known[key]
        known.pop(question.key, None)
        question.key, known[key] = key, question
        question.underway = asyncio.get_running_loop().create_future()
        try:
            await self.lookup.recall([question], [row.prompt])
        finally:
            underway, question.underway = question.underway, None
            underway.set_result(None)
        return question

    # -- a chunk of rows

    async def prepare(self, rows: Sequence[Row], context: ExecutionContext) -> None:
        """Find what the journal has for a whole chunk by one query."""
        new = await self.meet(rows)
        if self._undecided and any(not question.answers for question, _ in new):
            try:
                await self._decide()
            except Halted:  # the run stops: none of them is sent
                return
            new = await self._meet_anew(rows) if self._met_before else new
        if self.when_prepared is not None:
            when, self.when_prepared = self.when_prepared, None
            await when(rows)
        if self.plan.gathers:
            self.plan.seen(len(rows))
            for question, row in new:
                if not question.answers:
                    self.plan.add(question, row)

    async def meet(self, rows: Sequence[Row], lookup: Lookup | None = None) -> list[Asked]:
        """Give each row its question, with what the journal has, by another `lookup` if given.

        Gives those that are new, with the row that asks first.
        """
        new: list[Asked] = []
        joined: list[Row] = []
        lookup = lookup or self.lookup
        known, key_of = self._questions, lookup.key
        looking = asyncio.get_running_loop().create_future()
        for row in rows:
            if row.prompt is None or row.settled:
                continue
            key = key_of(row.prompt)
            question = known.get(key)
            if question is None:
                question = known[key] = Question(key, known)
                question.looking = looking
                new.append((question, row))
            elif question.looking is not None and question.looking is not looking:
                joined.append(row)
            question.rows += 1
            row.question = question
        try:
            if new:
                await lookup.recall([it for it, _ in new], [row.prompt for _, row in new])
        except BaseException:  # who meets them next has to look, too
            for question, _ in new:
                known.pop(question.key, None)
            raise
        finally:
            for question, _ in new:
                question.looking = None
            looking.set_result(None)
        return new + await self._met_beside(joined, lookup) if joined else new

    async def _met_beside(self, rows: Sequence[Row], lookup: Lookup) -> list[Asked]:
        """Wait until others have asked the journal for the questions of these rows.

        Gives those that they have given up, which are met anew.
        """
        again = list[Row]()
        for row in rows:
            question: Question = row.question
            if question.looking is not None:
                await asyncio.wait([question.looking])
            if self._questions.get(question.key) is not question and not question.answers:
                row.question = None
                again.append(row)
        return await self.meet(again, lookup) if again else []

    def gather(
        self, chunks: AsyncGenerator[Sequence[Row], None], context: ExecutionContext
    ) -> AsyncGenerator[Sequence[Row], None]:
        """Keep the rows back that wait for others by the plan, until it lets them go."""
        return gathered(chunks, context, lambda: (self.plan,), self._waits)

    def _waits(self, row: Row) -> bool:
        return row.question is not None and self.plan.waits(row)

    # -- a row on its way

    async def process_row(self, row: Row, context: ExecutionContext) -> None:
        question: Question = row.question
        if row.reasks >= len(question.answers):
            question = await self._ask(question, row)
        self._take(row, question)
        row.answer.usable_text()

    async def _ask(self, question: Question, row: Row) -> Question:
        """Have it asked, here or by an equal row; gives the question that has the answer."""
        if self._undecided:
            await self._decide()
        if question in self._met_before and row.reasks >= len(question.answers):
            question = await self._asked_now(question, row)
        while row.reasks >= len(question.answers) and question.underway is not None:
            await asyncio.shield(question.underway)  # an equal row has it asked
        if row.reasks >= len(question.answers):
            if question.failure is not None:
                raise question.failure
            question.underway = asyncio.get_running_loop().create_future()
            try:
                await self.plan.ask(question, row)
            except MediaError:  # an equal row's file may still be there
                raise
            except RowError as error:
                question.failure = error
                raise
            except BudgetExceededError as error:
                if self._nothing_fits():
                    raise
                raise SetAside(error) from error
            finally:
                underway, question.underway = question.underway, None
                underway.set_result(None)
        return question

    def _nothing_fits(self) -> bool:
        """Whether the shortest request is more than what is left, with nothing in flight."""
        alone, room = self.plan.alone, self.budget.room
        least = alone.ceiling(alone.bound(alone.given(Prompt(""))))
        return self.budget.outstanding == 0 and room is not None and least > room

    def _take(self, row: Row, question: Question) -> None:
        """Give the row its answer: its own, or one that was paid for by another run or row."""
        reasks, answers = row.reasks, question.answers
        if reasks >= len(answers):
            raise question.failure or Halted
        row.answer = answer = answers[reasks]
        if row.attempts:
            row.status = "answered"
            return
        sender, metrics, price = self.sender, self._context.metrics, self.plan.price
        sender.accepted = True
        if sender.rejections.any:
            sender.rejections.forget()
        duplicate = reasks >= question.earlier
        row.status = "answered" if duplicate else "journal"
        metrics.duplicates += duplicate and not reasks
        if price is not None:
            metrics.add_saved(price.charge(answer.usage).cost, duplicate=duplicate)
