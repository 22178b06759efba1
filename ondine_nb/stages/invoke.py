"""Asking the model: journal first, equal questions once, budget before sending, retries counted."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal

from ..errors import (
    FatalProviderError,
    OverloadedError,
    RateLimitedError,
    RejectedRequestError,
    RowError,
    TransientError,
)
from ..journal import Entry, Journal
from ..models import ZERO, Prompt
from ..orchestration import ExecutionContext, Halted, Row, RowStage
from ..providers import Answer, ModelPrice, Provider, Reply, Settings
from ..sending import (
    AdaptiveConcurrency,
    AnswerShare,
    Attempts,
    Backoff,
    Budget,
    CircuitBreaker,
    ConcurrencyLimit,
    Endpoint,
    FairAdmission,
    Outage,
    Question,
    RateLimiter,
    Rejections,
    Request,
    Reservation,
    answer_in,
    count_paid,
    question_key,
)

__all__ = ["InvokeStage"]

_UNREACHABLE_ATTEMPTS = 3


class _NotNow(Exception):  # noqa: N818 - a signal, not an error
    """The run was paused while this question waited for its turn: it has to queue again."""


class InvokeStage(RowStage):
    """Gets each row's answer, from the journal or from the provider.

    With `fresh` only answers of this run (`run_id`) count, with `resumed` those of its earlier
    processes too. `accepted`: these settings have got an answer, so rejections are the rows' fault.
    """

    columns: Sequence[str] | None = ()  # works on what the stages before it left on the row

    def __init__(
        self,
        provider: Provider,
        settings: Settings,
        *,
        journal: Journal,
        budget: Budget,
        run_id: str,
        concurrency: int = 20,
        grows: bool = False,
        fresh: bool = False,
        resumed: bool = False,
        accepted: bool = False,
        backoff: Backoff | None = None,
    ) -> None:
        super().__init__("invoke")
        self.line: Endpoint = Endpoint(provider, settings)
        self.provider = provider
        self.price: ModelPrice | None = provider.price  # of a row's first request
        self.settings = settings
        self.journal = journal
        self.budget = budget
        self.run_id = run_id
        self.fresh: bool = fresh
        self.resumed: bool = resumed
        self._began = time.time()
        self.gate: ConcurrencyLimit = ConcurrencyLimit(
            concurrency, AdaptiveConcurrency(most=concurrency) if grows else None
        )
        self.pacer: RateLimiter = RateLimiter()
        self.turnstile: FairAdmission = FairAdmission()
        self.backoff: Backoff = backoff or Backoff()
        self.breaker: CircuitBreaker = CircuitBreaker(self.backoff)
        self._hash = question_key(provider.identity, settings)
        self._questions: dict[bytes, Question] = {}
        self._rejections = Rejections()
        self._accepted = accepted
        self.beside_others = False  # set for good when another run is under way at the same time
        self._outage: Outage | None = None

    async def open(self, context: ExecutionContext) -> None:
        await self.journal.refresh()
        self.journal.single_flight.join(self)
        self._show_concurrency(context)
        self._outage = Outage(self.breaker, self.gate, context.control, context.metrics)
        context.control.on_pause(self._outage.hold)
        context.price_known = self.provider.price is not None

    @property
    def lines(self) -> tuple[Endpoint, ...]:
        """The lines that its requests go over."""
        return (self.line,)

    async def open_provider(self) -> None:
        """Connect, where that hasn't happened yet."""
        for line in self.lines:
            await line.open(self.gate.width)

    async def close(self) -> None:
        self.journal.single_flight.leave(self)
        if self._outage is not None:
            self._outage.close()
        for line in self.lines:
            await line.close()

    def key(self, prompt: Prompt) -> bytes:
        """The journal's key of this prompt under the run's settings (20 bytes)."""
        hasher = self._hash.copy()
        hasher.update(prompt.key_bytes)
        return bytes(hasher.digest())

    def keys(self, prompt: Prompt) -> list[bytes]:
        """The keys that an answer may have in the journal, the best one first."""
        return [self.key(prompt)]

    async def prepare(self, rows: Sequence[Row], context: ExecutionContext) -> None:
        """Find what the journal has for a whole chunk by one query."""
        await self._meet(rows)

    async def _meet(self, rows: Sequence[Row]) -> list[tuple[Question, Row]]:
        """Give each row its question. Gives those that are new, with the row that asks first."""
        new: list[tuple[Question, Row]] = []
        known = self._questions
        for row in rows:
            if row.prompt is None or row.settled:
                continue
            key = self.key(row.prompt)
            question = known.get(key)
            if question is None:
                question = known[key] = Question(key, known)
                new.append((question, row))
            question.rows += 1
            row.question = question
        await self._recall_all([question for question, _ in new])
        return new

    async def _recall_all(self, questions: Sequence[Question]) -> None:
        found = await self._journaled([question.key for question in questions])
        for question in questions:
            self._recall(question, found.get(question.key, ()))

    async def _journaled(self, keys: Sequence[bytes]) -> dict[bytes, list[Entry]]:
        """With `fresh`, only what this run has been answered, by an earlier process if resumed."""
        run = self.run_id if self.fresh else None
        return await self.journal.lookup(keys, run, earlier=self.resumed or not self.fresh)

    def _recall(self, question: Question, entries: Sequence[Entry]) -> None:
        """Take over journaled answers, unless one was cut and could be longer now."""
        answers, earlier = [], 0
        for entry in entries:
            answer = answer_in(entry, self.line.can.read)
            if answer.cut and entry.max_tokens < self.settings.max_tokens:
                question.begins = True
                return
            answers.append(answer)
            earlier += entry.run != self.run_id or entry.at < self._began
        question.begins = self.fresh and not answers
        question.answers, question.earlier = answers, earlier

    async def process_row(self, row: Row, context: ExecutionContext) -> None:
        question: Question = row.question
        if row.reasks < len(question.answers):
            self._reuse(row, question, context)
        else:
            async with question.lock:
                await self._first(row, question, context)
        row.answer.usable_text()

    async def _first(self, row: Row, question: Question, context: ExecutionContext) -> None:
        """Send, unless another row with this question did while this one waited for the lock."""
        if row.reasks < len(question.answers):
            self._reuse(row, question, context)
            return
        if question.failure is not None:
            raise question.failure
        assert row.prompt is not None
        try:
            sent = await self._ask(Request(self.line, row.prompt, [(question, row)]), context)
        except RowError as error:
            question.failure = error
            raise
        if sent:
            row.answer, row.status = question.answers[-1], "answered"
        else:
            self._reuse(row, question, context)

    def _reuse(self, row: Row, question: Question, context: ExecutionContext) -> None:
        """An answer that was paid for before, by an earlier run or by an equal row of this one."""
        row.answer = question.answers[row.reasks]
        self._accepted = True
        if row.attempts:
            row.status = "answered"
        elif row.reasks < question.earlier:
            row.status = "journal"
        else:
            row.status = "answered"
            context.metrics.duplicates += row.reasks == 0
        if not row.attempts and self.price is not None:
            saved = self.price.cost(row.answer.usage)
            context.metrics.add_saved(saved, duplicate=row.status == "answered")

    async def _ask(self, request: Request, context: ExecutionContext) -> bool:
        """Send until there is an answer, or raise what it fails by. False: another run has one."""
        while True:
            try:
                return await self._once(request, context)
            except _NotNow:
                continue
            except TransientError as error:
                delay = self._judged(error, request, context)
            except RejectedRequestError as error:
                self._judge_rejection(error, request)
                raise
            if context.control.stopping:
                raise Halted
            await asyncio.sleep(delay)

    def _judged(self, error: TransientError, request: Request, context: ExecutionContext) -> float:
        """Seconds until this request goes again, or what its rows fail by is raised."""
        breaker, trial = self.breaker, request.trial
        if breaker.gives_up(trial):
            raise error
        self._give_up_if_unreachable(error, trial)
        context.metrics.retries += 1
        if breaker.open:
            return 0.0  # the gate is shut, and opens when there is something to hope for
        if isinstance(error, RateLimitedError):
            if self.pacer.knows:
                return 0.0
            return self.backoff.delay(max(1, trial.counted), error.retry_after, stretch=2.5)
        return self.backoff.delay(max(1, trial.counted), error.retry_after)

    async def _once(self, request: Request, context: ExecutionContext) -> bool:
        """One attempt. The slot is free again only when its answer is durable."""
        line, trial = request.line, request.trial
        await line.open(self.gate.width)
        worst = line.worst_case(request.given)
        keys = [question.key for question, _ in request.asked]
        async with line.lead.follow(), self.gate, self.journal.single_flight.hold(*keys):
            probing = self.breaker.open
            try:
                await self.turnstile.through()
                if self.breaker.exhausted and trial.error is not None:
                    raise trial.error
                if self.beside_others and await self._answered_beside(request):
                    return False
                size = line.provider.request_bytes(request.given)
                turn = await self.pacer.turn(size / 4, line.usual_output)
                reservation = await self.budget.reserve(worst)
                if context.control.stopping:
                    reservation.release()
                    raise Halted
                if self.gate.held or (self.breaker.open and not probing):
                    reservation.release()
                    raise _NotNow
                self.breaker.sending(trial, turn, probing=probing)
                await self._sent(request, context, reservation)
                return True
            finally:
                if probing and self._outage is not None:
                    self._outage.update()

    async def _sent(
        self, request: Request, context: ExecutionContext, reservation: Reservation
    ) -> None:
        """Send, and tell breaker, gate and pacer what became of it."""
        metrics, at_once = context.metrics, self.gate.limit
        for _, row in request.asked:
            row.sending = True
            row.attempts += 1
        metrics.requests += 1
        metrics.in_flight += 1
        try:
            await self._answered(request, context, reservation)
        except TransientError as error:
            self.breaker.failed(request.trial, error, at_once)
            self._slow_down(error, request.trial, context)
            raise
        except RejectedRequestError:
            self._alive(None)
            raise
        finally:
            for _, row in request.asked:
                row.sending = False
            metrics.in_flight -= 1
            metrics.possibly_billed = self.budget.possibly_billed

    def _alive(self, latency: float | None) -> None:
        """The server answers, in `latency` seconds (None: it refused this one)."""
        if self.breaker.answered(latency) and self._outage is not None:
            self._outage.over()

    async def _answered_beside(self, request: Request) -> bool:
        """Whether another run has answered any of it since this one looked."""
        await self._recall_all([question for question, _ in request.asked])
        return any(row.reasks < len(question.answers) for question, row in request.asked)

    async def _answered(
        self, request: Request, context: ExecutionContext, reservation: Reservation
    ) -> None:
        reply = await request.send(reservation)
        self.pacer.learn(reply.headers, request.trial.turn)
        answer, unreadable = request.line.read(reply.body)
        if answer is not None:  # now, not once it is durable: the disk's delay is not the server's
            self._alive(reply.latency)
        try:
            parts = await self._parts(request, reply, answer)
            entries = [
                self._entry(of.question, replace(reply, body=of.body), bool(of.answer), of.cost)
                for of in parts
            ]
            await self.journal.extend(entries)
        except BaseException:
            reservation.lose()
            raise
        if answer is None:
            reservation.lose()
            assert unreadable is not None
            raise unreadable
        reservation.settle(request.line.cost(answer.usage) or ZERO)
        self._count(request, context, reply, answer, parts)

    async def _parts(
        self, request: Request, reply: Reply, answer: Answer | None
    ) -> list[AnswerShare]:
        """What of the reply is whose."""
        return [AnswerShare.whole(request, reply, answer)]

    def _entry(
        self, question: Question, reply: Reply, readable: bool, cost: Decimal | None
    ) -> Entry:
        begins, question.begins = question.begins, question.begins and not readable
        return Entry(
            key=question.key,
            run=self.run_id,
            body=reply.body,
            max_tokens=self.settings.max_tokens,
            begins=begins,
            readable=readable,
            latency=reply.latency,
            model=self.settings.model,
            cost=None if cost is None else str(cost),
        )

    def _count(
        self,
        request: Request,
        context: ExecutionContext,
        reply: Reply,
        answer: Answer,
        parts: Sequence[AnswerShare],
    ) -> None:
        line = request.line
        line.lead.succeeded()
        self._learn_pace(request, reply.latency)
        line.usual_output += (answer.usage.output_tokens - line.usual_output) / 16
        self._show_concurrency(context)
        for part in parts:
            part.row.pay(part.cost or ZERO, part.usage)
            part.row.latency = reply.latency
            if part.answer is not None:
                part.question.answers.append(part.answer)
        cost, price, n = line.cost(answer.usage) or ZERO, line.provider.price, len(parts)
        count_paid(context, self.name, answer.usage, cost, price, request.attempt, n)
        context.metrics.latencies.append(reply.latency)

    def _learn_pace(self, request: Request, latency: float) -> None:
        self.gate.answered(latency)

    def _slow_down(self, error: TransientError, trial: Attempts, context: ExecutionContext) -> None:
        """What one row is told by 429 or 529 holds for all rows; so does an outage."""
        if isinstance(error, RateLimitedError) and trial.turn is not None and self.breaker.proven:
            self.pacer.refused(trial.turn, error.headers, error.retry_after)
        if isinstance(error, RateLimitedError | OverloadedError):
            self.gate.pushed_back()
            if error.retry_after is not None:
                self.pacer.pause(error.retry_after)
            self._show_concurrency(context)
        if self._outage is not None and (self.breaker.open or self.breaker.exhausted):
            self._outage.update()

    def _show_concurrency(self, context: ExecutionContext) -> None:
        metrics = context.metrics
        metrics.concurrency = self.gate.limit
        metrics.concurrency_note = "held by rate limit" if self.pacer.limited else self.gate.note

    def _give_up_if_unreachable(self, error: TransientError, trial: Attempts) -> None:
        """No connection at all, and never one before: waiting longer helps nobody."""
        if error.unreachable and not self.breaker.proven and trial.tries >= _UNREACHABLE_ATTEMPTS:
            raise FatalProviderError(str(error)) from error

    def _judge_rejection(self, error: RejectedRequestError, request: Request) -> None:
        """Equal rejections before any success end the run."""
        if not (self.breaker.proven or self._accepted):
            self._rejections.check(error)
