"""Asking the model: journal first, equal questions once, budget before sending, retries counted."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from decimal import Decimal
from weakref import WeakValueDictionary

from .breaker import Breaker, Outage, Trial
from .caching import Lead
from .contracts import ExecutionContext, RowStage
from .errors import (
    FatalProviderError,
    OverloadedError,
    RateLimitedError,
    RejectedRequestError,
    RowError,
    TransientError,
)
from .inquiries import Inquiry, Rejections, count_paid, question_key, read
from .journal import Entry, Journal
from .limits import Backoff, Budget, Gate, Reservation, Turnstile
from .pacing import Growth, Pacer
from .pricing import ModelPrice
from .providers import Answer, Provider, Reply, Settings
from .rows import NO_USAGE, ZERO, Halted, Row

__all__ = ["InvokeStage", "question_key"]

_UNREACHABLE_ATTEMPTS = 3


class _NotNow(Exception):  # noqa: N818 - a signal, not an error
    """The run was paused while this question waited for its turn: it has to queue again."""


class InvokeStage(RowStage):
    """Gets each row's answer, from the journal or from the provider.

    `budget` and `gate` are the run's; with `fresh` only answers of this run (`run_id`) count,
    with `resumed` those of its earlier processes too.
    `accepted` says that these settings have got an answer before, so that rejections are the rows'.
    """

    columns = ()  # works on what the stages before it left on the row

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
        self.provider = provider
        self.price = provider.price  # of a row's first request
        self.settings = settings
        self.journal = journal
        self.budget = budget
        self.run_id = run_id
        self.fresh = fresh
        self.resumed = resumed
        self._began = time.time()
        self.gate = Gate(concurrency, Growth(most=concurrency) if grows else None)
        self.pacer, self.turnstile = Pacer(), Turnstile()
        self.backoff = backoff or Backoff()
        self.breaker = Breaker(self.backoff)
        self.lead = Lead(wanted=settings.caches)
        self._hash = question_key(provider.identity, settings)
        self._inquiries: WeakValueDictionary[bytes, Inquiry] = WeakValueDictionary()
        self._failed: list[Inquiry] = []  # kept: an equal row of a later chunk fails alike
        self._rejections = Rejections()
        self._accepted = accepted
        self.beside_others = False  # set for good when another run is under way at the same time
        self._usual_output = 64.0  # tokens; a moving mean once answers come
        self._opened: asyncio.Task[None] | None = None
        self._outage: Outage | None = None

    async def open(self, context: ExecutionContext) -> None:
        await self.journal.refresh()
        self.journal.claims.join(self)
        self._show_concurrency(context)
        self._outage = Outage(self.breaker, self.gate, context.control, context.gauges)
        context.control.on_pause(self._outage.hold)
        context.price_known = self.provider.price is not None

    async def open_provider(self) -> None:
        """Connect once, at the first question that the journal can't answer."""
        if self._opened is None:
            opening = self.provider.open(self.settings, self.gate.width)
            self._opened = asyncio.ensure_future(opening)
        if not self._opened.done():
            await asyncio.shield(self._opened)
        self._opened.result()

    async def close(self) -> None:
        self.journal.claims.leave(self)
        if self._outage is not None:
            self._outage.close()
        opened, self._opened = self._opened, None  # a stream's next chunk opens it again
        if opened is not None:
            await asyncio.wait({opened})
            await self.provider.close()

    def key(self, prompt: str) -> bytes:
        """The journal's key of this prompt under the run's settings (20 bytes)."""
        hasher = self._hash.copy()
        hasher.update(prompt.encode("utf-8", "replace"))
        return bytes(hasher.digest())

    async def prepare(self, rows: Sequence[Row], context: ExecutionContext) -> None:
        """Find what the journal has for a whole chunk by one query."""
        new: list[Inquiry] = []
        for row in rows:
            if row.settled or row.prompt is None:
                continue
            key = self.key(row.prompt)
            inquiry = self._inquiries.get(key)
            if inquiry is None:
                inquiry = self._inquiries[key] = Inquiry(key)
                new.append(inquiry)
            row.inquiry = inquiry
        found = await self._journaled([inquiry.key for inquiry in new])
        for inquiry in new:
            self._recall(inquiry, found.get(inquiry.key, []))

    async def _journaled(self, keys: Sequence[bytes]) -> dict[bytes, list[Entry]]:
        """With `fresh`, only what this run has been answered, by an earlier process if resumed."""
        if not self.fresh:
            return await self.journal.lookup(keys)
        return await self.journal.lookup(keys, self.run_id, earlier=self.resumed)

    def _recall(self, inquiry: Inquiry, entries: list[Entry]) -> None:
        """Take over journaled answers, unless one was cut and could be longer now."""
        answers = [(Answer.read(entry.body), entry) for entry in entries]
        allowed = self.settings.max_tokens
        if any(answer.cut and entry.max_tokens < allowed for answer, entry in answers):
            inquiry.begins = True
            return
        inquiry.begins = self.fresh and not answers
        inquiry.answers = [answer for answer, _ in answers]
        inquiry.earlier = sum(
            entry.run != self.run_id or entry.at < self._began for entry in entries
        )

    async def process_row(self, row: Row, context: ExecutionContext) -> None:
        inquiry: Inquiry = row.inquiry
        if row.reasks < len(inquiry.answers):
            self._reuse(row, inquiry, context)
        else:
            async with inquiry.lock:
                await self._first(row, inquiry, context)
        row.answer.usable_text()

    async def _first(self, row: Row, inquiry: Inquiry, context: ExecutionContext) -> None:
        """Send, unless another row with this question did while this one waited for the lock."""
        if row.reasks < len(inquiry.answers):
            self._reuse(row, inquiry, context)
            return
        if inquiry.failure is not None:
            raise inquiry.failure
        try:
            answer = await self._ask(row, inquiry, context)
        except RowError as error:
            inquiry.failure = error
            self._failed.append(inquiry)
            raise
        if answer is None:
            self._reuse(row, inquiry, context)
            return
        row.answer = answer
        inquiry.answers.append(answer)
        row.status = "answered"

    def _reuse(self, row: Row, inquiry: Inquiry, context: ExecutionContext) -> None:
        """An answer that was paid for before, by an earlier run or by an equal row of this one."""
        row.answer = inquiry.answers[row.reasks]
        self._accepted = True
        if row.attempts:
            row.status = "answered"
        elif row.reasks < inquiry.earlier:
            row.status = "journal"
        else:
            row.status = "answered"
            context.gauges.duplicates += row.reasks == 0
        if not row.attempts and self.price is not None:
            saved = self.price.cost(row.answer.usage)
            context.gauges.add_saved(saved, duplicate=row.status == "answered")

    async def _ask(self, row: Row, inquiry: Inquiry, context: ExecutionContext) -> Answer | None:
        """Send until there is an answer, or raise what it fails by. None: another run has it."""
        trial = Trial()
        while True:
            try:
                return await self._once(row, inquiry, trial, context)
            except _NotNow:
                continue
            except TransientError as error:
                delay = self._judged(error, trial, context)
            except RejectedRequestError as error:
                self._give_up_if_all_alike(error)
                raise
            if context.control.stopping:
                raise Halted
            await asyncio.sleep(delay)

    def _judged(self, error: TransientError, trial: Trial, context: ExecutionContext) -> float:
        """Seconds until this question goes again, or what its row fails by is raised."""
        breaker = self.breaker
        if breaker.gives_up(trial):
            raise error
        self._give_up_if_unreachable(error, trial)
        context.gauges.retries += 1
        if breaker.open:
            return 0.0  # the gate is shut, and opens when there is something to hope for
        if isinstance(error, RateLimitedError):
            if self.pacer.knows:
                return 0.0
            return self.backoff.delay(max(1, trial.counted), error.retry_after, stretch=2.5)
        return self.backoff.delay(max(1, trial.counted), error.retry_after)

    async def _once(
        self, row: Row, inquiry: Inquiry, trial: Trial, context: ExecutionContext
    ) -> Answer | None:
        """One attempt. The slot is free again only when its answer is durable."""
        assert row.prompt is not None
        await self.open_provider()
        worst = self._worst_case(row.prompt)
        async with self.lead.follow(), self.gate, self.journal.claims.hold(inquiry.key):
            probing = self.breaker.open
            try:
                await self.turnstile.through()
                if self.breaker.exhausted and trial.error is not None:
                    raise trial.error
                if self.beside_others and await self._answered_beside(row, inquiry):
                    return None
                size = self.provider.request_bytes(row.prompt)
                turn = await self.pacer.turn(size / 4, self._usual_output)
                reservation = await self.budget.reserve(worst)
                if context.control.stopping:
                    reservation.release()
                    raise Halted
                if self.gate.held or (self.breaker.open and not probing):
                    reservation.release()
                    raise _NotNow
                self.breaker.sending(trial, turn, probing=probing)
                return await self._sent(row, inquiry, trial, context, reservation)
            finally:
                if probing and self._outage is not None:
                    self._outage.update()

    async def _sent(
        self,
        row: Row,
        inquiry: Inquiry,
        trial: Trial,
        context: ExecutionContext,
        reservation: Reservation,
    ) -> Answer:
        """Send, and tell breaker, gate and pacer what became of it."""
        gauges, at_once = context.gauges, self.gate.limit
        row.sending = True
        row.attempts += 1
        gauges.requests += 1
        gauges.in_flight += 1
        try:
            return await self._answered(row, inquiry, trial, context, reservation)
        except TransientError as error:
            self.breaker.failed(trial, error, at_once)
            self._slow_down(error, trial, context)
            raise
        except RejectedRequestError:
            self._alive(None)
            raise
        finally:
            row.sending = False
            gauges.in_flight -= 1
            gauges.possibly_billed = self.budget.possibly_billed

    def _alive(self, latency: float | None) -> None:
        """The server answers, in `latency` seconds (None: it refused this one)."""
        if self.breaker.answered(latency) and self._outage is not None:
            self._outage.over()

    async def _answered_beside(self, row: Row, inquiry: Inquiry) -> bool:
        """Whether another run has answered since this one looked."""
        found = await self._journaled([inquiry.key])
        self._recall(inquiry, found.get(inquiry.key, []))
        return row.reasks < len(inquiry.answers)

    async def _answered(
        self,
        row: Row,
        inquiry: Inquiry,
        trial: Trial,
        context: ExecutionContext,
        reservation: Reservation,
    ) -> Answer:
        try:
            reply = await self.provider.send(row.prompt or "")
        except asyncio.CancelledError:
            reservation.lose()
            raise
        except TransientError as error:
            (reservation.lose if error.possibly_billed else reservation.release)()
            raise
        except BaseException:
            reservation.release()
            raise
        self.pacer.learn(reply.headers, trial.turn)
        answer, unreadable = read(reply)
        cost = self._cost(answer)
        try:
            await self.journal.append(self._entry(inquiry, reply, answer is not None, cost))
        except BaseException:
            reservation.lose()
            raise
        if answer is None:
            reservation.lose()
            assert unreadable is not None
            raise unreadable
        reservation.settle(cost or ZERO)
        self._count(row, context, answer, reply, cost or ZERO)
        return answer

    def _entry(self, inquiry: Inquiry, reply: Reply, readable: bool, cost: Decimal | None) -> Entry:
        begins, inquiry.begins = inquiry.begins, inquiry.begins and not readable
        return Entry(
            key=inquiry.key,
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
        self, row: Row, context: ExecutionContext, answer: Answer, reply: Reply, cost: Decimal
    ) -> None:
        self._alive(reply.latency)
        self.lead.succeeded()
        self.gate.answered(reply.latency)
        self._usual_output += (answer.usage.output_tokens - self._usual_output) / 16
        self._show_concurrency(context)
        row.cost = row.cost + cost if row.cost else cost
        row.usage = row.usage + answer.usage if row.usage is not NO_USAGE else answer.usage
        row.latency = reply.latency
        price: ModelPrice | None = self.provider.price
        count_paid(context, self.name, answer.usage, cost, price, row.reasks + 1)
        context.gauges.latencies.append(reply.latency)

    def _slow_down(self, error: TransientError, trial: Trial, context: ExecutionContext) -> None:
        """What one row is told by 429 or 529 holds for all rows; so does an outage."""
        if isinstance(error, RateLimitedError) and trial.turn is not None and self.breaker.proven:
            self.pacer.refused(trial.turn, error.headers)
        if isinstance(error, RateLimitedError | OverloadedError):
            self.gate.pushed_back()
            if error.retry_after is not None:
                self.pacer.pause(error.retry_after)
            self._show_concurrency(context)
        if self._outage is not None and (self.breaker.open or self.breaker.exhausted):
            self._outage.update()

    def _show_concurrency(self, context: ExecutionContext) -> None:
        gauges = context.gauges
        gauges.concurrency = self.gate.limit
        gauges.concurrency_note = "held by rate limit" if self.pacer.limited else self.gate.note

    def _cost(self, answer: Answer | None) -> Decimal | None:
        price: ModelPrice | None = self.provider.price
        return price.cost(answer.usage) if price is not None and answer is not None else None

    def _worst_case(self, prompt: str) -> Decimal:
        price: ModelPrice | None = self.provider.price
        if price is None:
            return ZERO
        return price.ceiling(self.provider.request_bytes(prompt), self.settings.max_tokens)

    def _give_up_if_unreachable(self, error: TransientError, trial: Trial) -> None:
        """No connection at all, and never one before: waiting longer helps nobody."""
        if error.unreachable and not self.breaker.proven and trial.tries >= _UNREACHABLE_ATTEMPTS:
            raise FatalProviderError(str(error)) from error

    def _give_up_if_all_alike(self, error: RejectedRequestError) -> None:
        """Equal rejections before any success end the run."""
        if not (self.breaker.proven or self._accepted):
            self._rejections.check(error)
