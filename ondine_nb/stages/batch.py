"""Asking by Message Batches: half the price, answers within a day, the same journal and budget."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Any

from ..errors import (
    BatchExpiredError,
    BudgetExceededError,
    ConfigurationError,
    FatalProviderError,
    RowError,
    RunError,
)
from ..journal import ENDED, BatchRecord
from ..models import ZERO, Prompt, Usage
from ..orchestration import ExecutionContext, Halted, Row
from ..providers import ModelPrice, Provider, Reply, Settings
from ..providers.anthropic import BatchResult
from ..sending import Question, count_paid
from .batch_job import (
    Batch,
    BatchedQuestion,
    BatchJob,
    BatchPolicy,
    BatchStatus,
    error_of,
    left_behind,
)
from .invoke import InvokeStage

__all__ = ["PACE", "BatchInvokeStage"]

PACE = BatchPolicy()
_AT_ONCE = 500


class BatchInvokeStage(InvokeStage):
    """Gets each row's answer from the journal, or from a batch that all such rows wait for.

    `price` is that of requests in batches. What breaks its schema is asked again by a request of
    its own, at once and at the usual price. Batches that an earlier run has sent are waited for
    before anything is sent; whoever reads their results counts their cost.
    """

    def __init__(
        self,
        provider: Provider,
        settings: Settings,
        *,
        price: ModelPrice | None,
        pace: BatchPolicy | None = None,
        **given: Any,
    ) -> None:
        super().__init__(provider, settings, **given)
        batches = self.line.can.batches
        assert batches is not None, f"{provider.identity} has no batches"
        self.price = price
        self.pace: BatchPolicy = pace or PACE
        self.carrier: BatchJob = BatchJob(
            batches(),
            self.journal,
            self,
            gate=self.gate,
            backoff=self.backoff,
            pace=self.pace,
        )
        self._context = ExecutionContext()
        self._wanted: dict[bytes, BatchedQuestion] = {}
        self._under_way: dict[asyncio.Task[None], Batch] = {}
        self._asked: set[bytes] = set()
        self._bought: dict[bytes, tuple[Decimal, Usage]] = {}
        self._refusal: BudgetExceededError | None = None
        self._teller = BatchStatus(self._unended, lambda: self.carrier.trouble)
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
            if self.holds(row) and row.question.key not in self._asked and not refused:
                assert row.prompt is not None  # it has a question
                self._want(row.question, row.prompt)

    def _want(self, question: Question, prompt: Prompt) -> None:
        self._bytes += prompt.size
        self._asked.add(question.key)
        self._wanted[question.key] = BatchedQuestion(question, prompt, ZERO)

    @property
    def full(self) -> bool:
        held = self._rows >= self.pace.rows or self._bytes >= self.pace.size
        return held or self._refusal is not None

    def holds(self, row: Row) -> bool:
        question = row.question
        if row.settled or question is None:
            return False
        return not question.answers and question.failure is None

    async def gathered(self, context: ExecutionContext) -> None:
        """Send what is wanted, and return when a batch has ended, whichever.

        When all that is answered has gone on and the rest isn't to be paid, the run stops.
        """
        if self._refusal is not None and not self._under_way:
            context.metrics.message = str(self._refusal)
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
        async with self.journal.single_flight.hold(b"sending batches"):
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
            self._recall(self._wanted[key].question, entries)
            if self._wanted[key].question.answers:
                del self._wanted[key]

    async def _adopt(self) -> None:
        """Wait for batches that an earlier run has sent and whose results nobody has read."""
        adopted = {batch.record.prefix for batch in self._under_way.values()}
        for record in await self.journal.open_batches(self.provider.identity):
            own = record.run == self.run_id
            keys = set(record.keys) & set(self._wanted)
            if record.prefix in adopted or not keys or (self.fresh and not (own and self.resumed)):
                continue
            items = [self._wanted.pop(key) for key in keys]
            held = self.budget.adopt(Decimal(record.bound), lost=own)
            self._carry(Batch(record, items, held, adopted=True))

    async def _next_requests(self) -> tuple[list[BatchedQuestion], list[bytes], str]:
        """The next wanted items that fit one batch and the budget, and its prefix.

        At least one, even where it doesn't fit: whoever reserves for it says so.
        """
        prefix, room, size, total = secrets.token_hex(8), self.budget.room, 0, ZERO
        wire, chosen, requests = self.carrier.wire, list[BatchedQuestion](), list[bytes]()
        for item in self._wanted.values():
            priced = replace(item, ceiling=self._ceiling(item.prompt))
            request = wire.request(f"{prefix}-{len(requests)}", self.line.given(item.prompt))
            size, total = size + len(request) + 1, total + priced.ceiling
            full = len(requests) >= self.pace.requests or size > self.pace.size
            if chosen and (full or (room is not None and total > room)):
                break
            chosen.append(priced)
            requests.append(request)
            if len(requests) % _AT_ONCE == 0:  # the loop has others to serve
                await asyncio.sleep(0)
        return chosen, requests, prefix

    def _ceiling(self, prompt: Prompt) -> Decimal:
        if self.price is None:
            return ZERO
        return self.price.ceiling(
            self.provider.request_bytes(self.line.given(prompt)), self.settings.max_tokens
        )

    async def _start(
        self, chosen: list[BatchedQuestion], requests: list[bytes], prefix: str
    ) -> bool:
        """Record a batch and let it go its way; False where its money is in flight elsewhere."""
        bound = sum((item.ceiling for item in chosen), ZERO)
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
            tuple(item.question.key for item in chosen),
            str(bound),
        )
        try:
            await self.journal.put_batch(record)
        except BaseException:
            held.release()
            raise
        for item in chosen:
            del self._wanted[item.question.key]
        self._carry(Batch(record, chosen, held, requests=requests))
        self._context.metrics.requests += len(chosen)
        return True

    def _carry(self, batch: Batch) -> None:
        task = asyncio.create_task(self.carrier.carry(batch))
        self._under_way[task] = batch
        self._context.metrics.in_flight += len(batch.left)

    def _reap(self) -> None:
        """Settle the batches that have ended. Raises what ends the run."""
        problems = []
        for task in [task for task in self._under_way if task.done()]:
            batch = self._under_way.pop(task)
            self._context.metrics.in_flight -= len(batch.left)
            problem = None if task.cancelled() else task.exception()
            problems += [problem] if problem is not None else []
            if (task.cancelled() or problem) and batch.record.state != ENDED:
                batch.reservation.lose(batch.cost)  # what it costs beyond what is known
                continue
            batch.reservation.settle(batch.cost)
            if batch.unsent:
                self._wanted.update(batch.items)
            else:
                self._asked -= batch.items.keys()
        self._context.metrics.possibly_billed = self.budget.possibly_billed
        for problem in problems:
            if isinstance(problem, RunError | ConfigurationError):
                raise problem
            raise FatalProviderError(f"a batch failed: {problem}") from problem

    # -- what comes back

    async def take(self, batch: Batch, outcomes: Sequence[BatchResult]) -> None:
        """Journal a batch's `outcomes`, count what they cost, and give their rows the answers."""
        fresh = batch.fresh(outcomes)
        known = await self._known_bodies(batch, list(fresh))
        bought = []
        for number, outcome in fresh.items():
            key = batch.record.keys[number]
            question = batch.items[key].question if key in batch.items else Question(key)
            if outcome.kind != "succeeded":
                question.failure = error_of(outcome)
            elif outcome.body in known.get(key, ()):
                self._remember(question, outcome.body)
            else:
                bought.append((question, outcome.body))
        await self._buy(batch, bought)
        batch.left -= set(fresh)
        self._context.metrics.in_flight -= len(fresh)

    async def _known_bodies(self, batch: Batch, numbers: Sequence[int]) -> dict[bytes, set[bytes]]:
        """The bodies that are journaled already: an earlier process was killed while it read."""
        if not batch.adopted:
            return {}
        found = await self.journal.lookup([batch.record.keys[number] for number in numbers])
        return {key: {entry.body for entry in entries} for key, entries in found.items()}

    async def _buy(self, batch: Batch, bought: Sequence[tuple[Question, bytes]]) -> None:
        """Journal answers, then count them."""
        readings = [(question, body, *self.line.read(body)) for question, body in bought]
        entries, costs = [], []
        for question, body, answer, _ in readings:
            cost = self.price.cost(answer.usage) if self.price and answer else None
            entry = self._entry(question, Reply(body), answer is not None, cost)
            entries.append(replace(entry, max_tokens=batch.record.max_tokens))
            costs.append(cost or ZERO)
        await self.journal.extend(entries)
        for (question, _, answer, unreadable), cost in zip(readings, costs, strict=True):
            if answer is None:
                question.failure = unreadable or RowError("unreadable")
                continue
            batch.cost += cost
            self._accepted = True
            self.gate.prove()
            count_paid(self._context, self.name, answer.usage, cost, self.price)
            if self.provider.price is not None:
                usual = self.provider.price.cost(answer.usage)
                self._context.metrics.saved_by_batches += usual - cost
            self._bought[question.key] = (cost, answer.usage)
            question.answers.append(answer)

    def _remember(self, question: Question, body: bytes) -> None:
        answer, _ = self.line.read(body)
        if answer is not None and not question.answers:
            question.answers.append(answer)
            question.earlier = 1

    async def take_journaled(self, batch: Batch) -> None:
        """Take what another run has read of a batch from the journal; what isn't there fails."""
        await self._recall_all([item.question for item in batch.items.values()])
        self.take_gone(batch, "another run has read its batch")

    def take_gone(self, batch: Batch, why: str) -> None:
        """Fail what a batch won't answer any more; `why` begins the reason."""
        for item in batch.items.values():
            question = item.question
            if not question.answers and question.failure is None:
                question.failure = BatchExpiredError(f"{why}. retry_failed() sends it again")

    async def process_row(self, row: Row, context: ExecutionContext) -> None:
        question: Question = row.question
        if row.reasks == 0 and not question.answers:
            if question.failure is None:
                raise Halted
            row.attempts = 1
            raise question.failure
        bought = self._bought.pop(question.key, None) if row.reasks == 0 else None
        if bought is None:
            await super().process_row(row, context)
            return
        row.answer, row.status, row.attempts = question.answers[0], "answered", 1
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
            self._context.metrics.message = str(error)
            return
        self._context.metrics.message = left_behind(left) if left else ""

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
        context.metrics.concurrency_note = "in batches"
