"""Asking by Message Batches: half the price, answers within a day, the same journal and budget."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Any

from .batch_records import ENDED, BatchRecord
from .batch_words import Teller, error_of, left_behind
from .batches import Batch, Carrier, Pace, Question
from .contracts import ExecutionContext
from .errors import (
    BatchExpiredError,
    BudgetExceededError,
    ConfigurationError,
    FatalProviderError,
    RowError,
    RunError,
)
from .inquiries import Inquiry, count_paid, read
from .invocation import InvokeStage
from .models import Usage
from .pricing import ModelPrice
from .providers import Reply, Settings
from .providers.anthropic import AnthropicProvider
from .providers.batches import MessageBatches, Outcome
from .rows import ZERO, Halted, Row

__all__ = ["PACE", "BatchInvokeStage"]

PACE = Pace()
_AT_ONCE = 500


class BatchInvokeStage(InvokeStage):
    """Gets each row's answer from the journal, or from a batch that all such rows wait for.

    `price` is that of requests in batches. What breaks its schema is asked again by a request of
    its own, at once and at the usual price. Batches that an earlier run has sent are waited for
    before anything is sent; whoever reads their results counts their cost.
    """

    def __init__(
        self,
        provider: AnthropicProvider,
        settings: Settings,
        *,
        price: ModelPrice | None,
        pace: Pace | None = None,
        **given: Any,
    ) -> None:
        super().__init__(provider, settings, **given)
        self.price = price
        self.pace: Pace = pace or PACE
        self.carrier: Carrier = Carrier(
            MessageBatches(provider),
            self.journal,
            self,
            gate=self.gate,
            backoff=self.backoff,
            pace=self.pace,
        )
        self._context = ExecutionContext()
        self._wanted: dict[bytes, Question] = {}
        self._under_way: dict[asyncio.Task[None], Batch] = {}
        self._asked: set[bytes] = set()
        self._bought: dict[bytes, tuple[Decimal, Usage]] = {}
        self._refusal: BudgetExceededError | None = None
        self._teller = Teller(self._unended, lambda: self.carrier.trouble)
        self._rows = self._bytes = 0

    async def open(self, context: ExecutionContext) -> None:
        self._context = context
        await super().open(context)

    async def prepare(self, rows: Sequence[Row], context: ExecutionContext) -> None:
        await super().prepare(rows, context)
        if not self._wanted and not self._under_way:
            self._rows = self._bytes = 0
        self._rows += len(rows)
        for row in rows:
            refused = self._refusal is not None
            if self.holds(row) and row.inquiry.key not in self._asked and not refused:
                self._want(row.inquiry, row.prompt or "")

    def _want(self, inquiry: Inquiry, prompt: str) -> None:
        self._bytes += len(prompt)
        self._asked.add(inquiry.key)
        self._wanted[inquiry.key] = Question(inquiry, prompt, ZERO)

    @property
    def full(self) -> bool:
        held = self._rows >= self.pace.rows or self._bytes >= self.pace.size
        return held or self._refusal is not None

    def holds(self, row: Row) -> bool:
        inquiry = row.inquiry
        if row.settled or inquiry is None:
            return False
        return not inquiry.answers and inquiry.failure is None

    async def gathered(self, context: ExecutionContext) -> None:
        """Send what is wanted, and return when a batch has ended, whichever.

        When all that is answered has gone on and the rest isn't to be paid, the run stops.
        """
        if self._refusal is not None and not self._under_way:
            context.gauges.message = str(self._refusal)
            context.control.stop("budget")
            return
        if self._wanted:
            await self._send(context)
        if self._under_way:
            await asyncio.wait(set(self._under_way), return_when=asyncio.FIRST_COMPLETED)
            self._reap()
            if not self._under_way:
                self._teller.hush()

    async def _send(self, context: ExecutionContext) -> None:
        await self.open_provider()
        # Runs side by side in this process look and record one after another.
        async with self.journal.claims.hold(b"sending batches"):
            await self._look_again()
            await self._adopt()
            try:
                while self._wanted and not context.control.stopping:
                    if not await self._start(*await self._next_requests()):
                        break
            except BudgetExceededError as error:
                self._refusal = error
                self._wanted.clear()
        if self._under_way:
            self._teller.tell(context)

    async def _look_again(self) -> None:
        """Another run may have been answered since these rows were prepared."""
        if not self.beside_others:
            return
        found = await self._journaled(list(self._wanted))
        for key, entries in found.items():
            self._recall(self._wanted[key].inquiry, entries)
            if self._wanted[key].inquiry.answers:
                del self._wanted[key]

    async def _adopt(self) -> None:
        """Wait for batches that an earlier run has sent and whose results nobody has read."""
        adopted = {batch.record.prefix for batch in self._under_way.values()}
        for record in await self.journal.open_batches(self.provider.identity):
            own = record.run == self.run_id
            keys = set(record.keys) & set(self._wanted)
            if record.prefix in adopted or not keys or (self.fresh and not (own and self.resumed)):
                continue
            questions = [self._wanted.pop(key) for key in keys]
            held = self.budget.adopt(Decimal(record.bound), lost=own)
            self._carry(Batch(record, questions, held, adopted=True))

    async def _next_requests(self) -> tuple[list[Question], list[bytes], str]:
        """The next wanted questions that fit one batch and the budget, and its prefix.

        At least one, even where it doesn't fit: whoever reserves for it says so.
        """
        prefix, room, size, total = secrets.token_hex(8), self.budget.room, 0, ZERO
        wire, chosen, requests = self.carrier.wire, list[Question](), list[bytes]()
        for question in self._wanted.values():
            priced = replace(question, ceiling=self._ceiling(question.prompt))
            request = wire.request(f"{prefix}-{len(requests)}", question.prompt)
            size, total = size + len(request) + 1, total + priced.ceiling
            full = len(requests) >= self.pace.requests or size > self.pace.size
            if chosen and (full or (room is not None and total > room)):
                break
            chosen.append(priced)
            requests.append(request)
            if len(requests) % _AT_ONCE == 0:  # the loop has others to serve
                await asyncio.sleep(0)
        return chosen, requests, prefix

    def _ceiling(self, prompt: str) -> Decimal:
        if self.price is None:
            return ZERO
        return self.price.ceiling(self.provider.request_bytes(prompt), self.settings.max_tokens)

    async def _start(self, chosen: list[Question], requests: list[bytes], prefix: str) -> bool:
        """Record a batch and let it go its way; False where its money is in flight elsewhere."""
        bound = sum((question.ceiling for question in chosen), ZERO)
        room = self.budget.room
        if self._under_way and room is not None and bound > room:
            return False
        held = await self.budget.reserve(bound, exact=True)
        record = BatchRecord(
            prefix,
            self.run_id,
            self.provider.identity,
            self.settings.model,
            self.settings.max_tokens,
            tuple(question.inquiry.key for question in chosen),
            str(bound),
        )
        try:
            await self.journal.put_batch(record)
        except BaseException:
            held.release()
            raise
        for question in chosen:
            del self._wanted[question.inquiry.key]
        self._carry(Batch(record, chosen, held, requests=requests))
        self._context.gauges.requests += len(chosen)
        return True

    def _carry(self, batch: Batch) -> None:
        task = asyncio.create_task(self.carrier.carry(batch))
        self._under_way[task] = batch
        self._context.gauges.in_flight += len(batch.left)

    def _reap(self) -> None:
        """Settle the batches that have ended. Raises what ends the run."""
        problems = []
        for task in [task for task in self._under_way if task.done()]:
            batch = self._under_way.pop(task)
            self._context.gauges.in_flight -= len(batch.left)
            problem = None if task.cancelled() else task.exception()
            problems += [problem] if problem is not None else []
            if (task.cancelled() or problem) and batch.record.state != ENDED:
                batch.reservation.lose(batch.cost)  # what it costs beyond what is known
                continue
            batch.reservation.settle(batch.cost)
            if batch.unsent:
                self._wanted.update(batch.questions)
            else:
                self._asked -= batch.questions.keys()
        self._context.gauges.possibly_billed = self.budget.possibly_billed
        for problem in problems:
            if isinstance(problem, RunError | ConfigurationError):
                raise problem
            raise FatalProviderError(f"a batch failed: {problem}") from problem

    # -- what comes back

    async def take(self, batch: Batch, outcomes: Sequence[Outcome]) -> None:
        """Journal a batch's `outcomes`, count what they cost, and give their rows the answers."""
        fresh = batch.fresh(outcomes)
        known = await self._known_bodies(batch, list(fresh))
        bought = []
        for number, outcome in fresh.items():
            key = batch.record.keys[number]
            inquiry = batch.questions[key].inquiry if key in batch.questions else Inquiry(key)
            if outcome.kind != "succeeded":
                inquiry.failure = error_of(outcome)
            elif outcome.body in known.get(key, ()):
                self._remember(inquiry, outcome.body)
            else:
                bought.append((inquiry, outcome.body))
        await self._buy(batch, bought)
        batch.left -= set(fresh)
        self._context.gauges.in_flight -= len(fresh)

    async def _known_bodies(self, batch: Batch, numbers: Sequence[int]) -> dict[bytes, set[bytes]]:
        """The bodies that are journaled already: an earlier process was killed while it read."""
        if not batch.adopted:
            return {}
        found = await self.journal.lookup([batch.record.keys[number] for number in numbers])
        return {key: {entry.body for entry in entries} for key, entries in found.items()}

    async def _buy(self, batch: Batch, bought: Sequence[tuple[Inquiry, bytes]]) -> None:
        """Journal answers, then count them."""
        readings = [(inquiry, body, *read(Reply(body))) for inquiry, body in bought]
        entries, costs = [], []
        for inquiry, body, answer, _ in readings:
            cost = self.price.cost(answer.usage) if self.price and answer else None
            entry = self._entry(inquiry, Reply(body), answer is not None, cost)
            entries.append(replace(entry, max_tokens=batch.record.max_tokens))
            costs.append(cost or ZERO)
        await self.journal.extend(entries)
        for (inquiry, _, answer, unreadable), cost in zip(readings, costs, strict=True):
            if answer is None:
                inquiry.failure = unreadable or RowError("unreadable")
                continue
            batch.cost += cost
            self._accepted = True
            self.gate.prove()
            count_paid(self._context, self.name, answer.usage, cost, self.price)
            if self.provider.price is not None:
                usual = self.provider.price.cost(answer.usage)
                self._context.gauges.saved_by_batches += usual - cost
            self._bought[inquiry.key] = (cost, answer.usage)
            inquiry.answers.append(answer)

    def _remember(self, inquiry: Inquiry, body: bytes) -> None:
        answer, _ = read(Reply(body))
        if answer is not None and not inquiry.answers:
            inquiry.answers.append(answer)
            inquiry.earlier = 1

    async def take_journaled(self, batch: Batch) -> None:
        """Take what another run has read of a batch from the journal; what isn't there fails."""
        await self._recall_all([question.inquiry for question in batch.questions.values()])
        self.take_gone(batch, "another run has read its batch")

    def take_gone(self, batch: Batch, why: str) -> None:
        """Fail what a batch won't answer any more; `why` begins the reason."""
        for question in batch.questions.values():
            inquiry = question.inquiry
            if not inquiry.answers and inquiry.failure is None:
                inquiry.failure = BatchExpiredError(f"{why}. retry_failed() sends it again")

    async def process_row(self, row: Row, context: ExecutionContext) -> None:
        inquiry: Inquiry = row.inquiry
        if row.reasks == 0 and not inquiry.answers:
            if inquiry.failure is None:
                raise Halted
            row.attempts = 1
            raise inquiry.failure
        bought = self._bought.pop(inquiry.key, None) if row.reasks == 0 else None
        if bought is None:
            await super().process_row(row, context)
            return
        row.answer, row.status, row.attempts = inquiry.answers[0], "answered", 1
        row.pay(*bought)
        row.answer.usable_text()

    # -- the end

    async def close(self) -> None:
        await self._let_go()
        self._teller.hush()
        await super().close()

    async def _let_go(self) -> None:
        """At a stop, leave the batches to the server, or cancel them where that is asked for."""
        control = self._context.control
        if not self._under_way:
            return
        until = time.monotonic() + (self.pace.grace if control.error is None else 0.0)
        while self._unended() and not control.cancelled and time.monotonic() < until:
            await asyncio.sleep(0.05)
        until = time.monotonic() + self.pace.patience
        while control.cancelled and self._unended() and time.monotonic() < until:
            await self._cancel_all(until)
        tasks = set(self._under_way)
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        left = [batch for task, batch in self._under_way.items() if task.cancelled()]
        try:
            self._reap()
        except Exception as error:  # the run has ended for another reason already
            self._context.gauges.message = str(error)
            return
        self._context.gauges.message = left_behind(left) if left else ""

    def _unended(self) -> list[Batch]:
        return [batch for task, batch in self._under_way.items() if not task.done()]

    async def _cancel_all(self, until: float) -> None:
        try:
            async with asyncio.timeout(max(0.1, until - time.monotonic())):
                await self.carrier.cancel(self._unended())
        except (TimeoutError, RunError, RowError):  # they end by themselves, within a day
            pass
        await asyncio.sleep(0.05)

    def _show_concurrency(self, context: ExecutionContext) -> None:
        super()._show_concurrency(context)
        context.gauges.concurrency_note = "in batches"
