"""Asking by batches: half the price, answers within a day, the same journal and budget."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from decimal import Decimal

from ...errors import (
    BatchExpiredError,
    BatchResultMissingError,
    BudgetExceededError,
    ConfigurationError,
    FatalProviderError,
    MalformedAnswerError,
    MediaError,
    RowError,
    RunError,
)
from ...journal import ENDED, BatchRecord
from ...models import NO_USAGE, ZERO, Prompt
from ...orchestration import ExecutionContext, Row
from ...providers import BatchApi, BatchResult, ModelPrice
from ...sending import (
    AnswerShare,
    Endpoint,
    Question,
    Request,
    Sender,
    body_bytes,
    in_media_thread,
)
from ..plan import Asked, Plan
from .job import (
    Batch,
    BatchedQuestion,
    BatchJob,
    BatchPolicy,
    BatchStatus,
    error_of,
    left_behind,
)

__all__ = ["PACE", "Batches"]

PACE = BatchPolicy()
_AT_ONCE = 500


class Batches(Plan):
    """Batches that all rows without an answer wait for, over whichever API the provider has.

    What breaks its schema is asked again by a request of its own, at once and at the usual price.
    Batches that an earlier run has sent are waited for before anything is sent; whoever reads their
    results counts their cost. A run that `retries` failed rows takes up a batch too that still
    has their results.
    """

    gathers = True

    def __init__(
        self,
        sender: Sender,
        alone: Endpoint,
        *,
        policy: BatchPolicy | None = None,
        retries: bool = False,
    ) -> None:
        super().__init__(sender, alone)
        batches = alone.can.batches
        assert batches is not None, f"{alone.provider.identity} has no batches"
        self.api: BatchApi = batches()
        self.price: ModelPrice | None = self.api.price
        self.journal = sender.journal
        self.budget = sender.limits.budget
        self.policy: BatchPolicy = policy or PACE
        self._retries = retries
        self.job: BatchJob = BatchJob(
            self.api,
            self.journal,
            self,
            gate=sender.limits.concurrency,
            backoff=sender.backoff,
            policy=self.policy,
            stopping=lambda: self._context.control.stopping,
        )
        self._context = ExecutionContext()
        self._wanted: dict[bytes, BatchedQuestion] = {}
        self._under_way: dict[asyncio.Task[None], Batch] = {}
        self._refused: dict[bytes, BudgetExceededError] = {}
        self._status = BatchStatus(self._unended, lambda: self.job.trouble)
        self._rows = self._bytes = 0
        self._at_most = self.api.limits.requests  # fewer, once the account had no room for so many
        self._has_adopted = False

    def open(self, context: ExecutionContext) -> None:
        self._context = context

    def describe(self, held: str) -> str:
        return "in batches"

    # -- which rows go together

    def seen(self, rows: int) -> None:
        if not self._wanted and not self._under_way:
            self._rows = self._bytes = 0
        self._rows += rows

    def add(self, question: Question, row: Row) -> None:
        assert row.prompt is not None  # it has a question
        self._bytes += row.prompt.size if row.prompt.is_text else body_bytes(row.prompt)
        self._wanted[question.key] = BatchedQuestion(question, row.prompt, ZERO, row)

    def waits(self, row: Row) -> bool:
        question = row.question
        settled = question.answers or question.failure is not None
        return not settled and question.key not in self._refused

    @property
    def full(self) -> bool:  # type: ignore[override]
        return self._rows >= self.policy.rows or self._bytes >= self.api.limits.size

    async def flush(self) -> None:
        """Send what is wanted, and return when a batch has ended, whichever."""
        if self._wanted:
            await self._send()
        if self._under_way:
            await asyncio.wait(set(self._under_way), return_when=asyncio.FIRST_COMPLETED)
            self._reap()
            if not self._under_way:
                self._status.hush()

    async def _send(self) -> None:
        await self.alone.open(self.sender.limits.concurrency.width)
        # Runs side by side in this process look and record one after another.
        async with self.journal.single_flight.hold(b"sending batches"):
            await self._look_again()
            await self._adopt()
            try:
                while self._may_send and (items := self._sendable()):
                    chosen, requests, prefix = await self._next_requests(items)
                    # Nothing is chosen where no file of theirs can be sent: these rows have failed.
                    if chosen and not await self._start(chosen, requests, prefix):
                        break
            except BudgetExceededError as error:  # none of them fits, and nothing is in flight
                for item in self._sendable():
                    self._refused[item.question.key] = error
                    del self._wanted[item.question.key]
        if self._under_way:
            self._status.tell(self._context)

    @property
    def _may_send(self) -> bool:
        """Not in a stop; one batch after another, where there is no room for several."""
        one_by_one = self._at_most < self.api.limits.requests
        return not (self._context.control.stopping or (one_by_one and self._under_way))

    async def _look_again(self) -> None:
        """Another run, or a batch that was read for other rows, may have the answers by now."""
        if not (self.sender.limits.beside_others or self._has_adopted):
            return
        await self.sender.lookup.recall([item.question for item in self._wanted.values()])
        answered = [key for key, item in self._wanted.items() if item.question.answers]
        for key in answered:
            del self._wanted[key]

    def _sendable(self) -> list[BatchedQuestion]:
        """What is wanted, but for what a batch under way is asked, too, whoever wanted it of that:
        once it has ended, the answer is in the journal.
        """
        coming = {
            key
            for batch in self._under_way.values()
            if batch.adopted
            for key in batch.record.keys
            if key not in batch.items
        }
        return [item for key, item in self._wanted.items() if key not in coming]

    async def _adopt(self) -> None:
        """Wait for batches that an earlier run has sent and whose results nobody has read."""
        lookup = self.sender.lookup
        adopted = {batch.record.prefix for batch in self._under_way.values()}
        for record in await self._open_batches():
            own = record.run == lookup.run_id
            keys = set(record.keys) & set(self._wanted)
            anew = lookup.fresh and not (self._retries or (own and lookup.resumed))
            if record.prefix in adopted or not keys or anew:
                continue
            items = [self._wanted.pop(key) for key in keys]
            held = self.budget.adopt(Decimal(record.bound), lost=own)
            self._has_adopted = True
            self._carry(Batch(record, items, held, adopted=True))

    async def _open_batches(self) -> list[BatchRecord]:
        """Those whose results may be there, with the keys that their questions have now.

        Under an earlier name of the provider a question had another one.
        """
        found = await self.journal.open_batches(self.alone.provider.identity)
        names = self.alone.can.earlier_identities
        earlier = [each for name in names for each in await self.journal.open_batches(name)]
        if earlier:
            now = self.sender.lookup.renamed(item.prompt for item in self._wanted.values())
            for each in earlier:
                found.append(replace(each, keys=tuple(now.get(key, key) for key in each.keys)))
        return sorted(found, key=lambda record: record.at)

    async def _next_requests(
        self, items: Sequence[BatchedQuestion]
    ) -> tuple[list[BatchedQuestion], list[bytes], str]:
        """The next of these items that fit one batch and the budget, and its prefix.

        At least one, even where none fits, the cheapest: whoever reserves for it says so. One whose
        picture or document can't be sent any more has failed by that.
        """
        prefix, room, size, total = secrets.token_hex(8), self.budget.room, 0, ZERO
        api, chosen, requests = self.api, list[BatchedQuestion](), list[bytes]()
        dear: BatchedQuestion | None = None
        least = self._ceiling(Prompt(""))
        for item in items:
            priced = replace(item, ceiling=self._ceiling(item.prompt))
            if room is not None and total + priced.ceiling > room:
                dear = priced if dear is None or priced.ceiling < dear.ceiling else dear
                if chosen and total + least > room:
                    break
                continue
            name = f"{prefix}-{len(requests)}"
            if item.prompt.is_text:
                request = api.request(name, self.alone.given(item.prompt))
            elif chosen and size + body_bytes(item.prompt) > api.limits.size:
                break
            elif (written := await self._written(name, item)) is None:
                continue
            else:
                request = written
            size, total = size + len(request) + 1, total + priced.ceiling
            if chosen and (len(requests) >= self._at_most or size > api.limits.size):
                break
            chosen.append(priced)
            requests.append(request)
            if len(requests) % _AT_ONCE == 0:  # the loop has others to serve
                await asyncio.sleep(0)
        if dear is not None and not chosen:
            only = await self._written(f"{prefix}-0", dear)
            return ([dear], [only], prefix) if only else ([], [], prefix)
        return chosen, requests, prefix

    async def _written(self, name: str, item: BatchedQuestion) -> bytes | None:
        """A request's JSON; None where its picture or document can't be sent."""
        given = self.alone.given(item.prompt)
        if item.prompt.is_text:
            return self.api.request(name, given)
        try:
            return await in_media_thread(self.api.request, name, given)
        except MediaError as error:
            item.question.failure = error
            del self._wanted[item.question.key]
            return None

    def _ceiling(self, prompt: Prompt) -> Decimal:
        if self.price is None:
            return ZERO
        return self.price.ceiling(
            self.alone.bound(self.alone.given(prompt)), self.alone.settings.max_tokens
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
        settings = self.alone.settings
        try:
            record = BatchRecord(
                prefix,
                self.sender.lookup.run_id,
                self.alone.provider.identity,
                settings.model,
                settings.max_tokens,
                tuple(item.question.key for item in chosen),
                str(bound),
                at=time.time(),
                begins=frozenset(
                    number for number, item in enumerate(chosen) if item.question.begins
                ),
            )
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
        task = asyncio.create_task(self._carried(batch))
        self._under_way[task] = batch
        self._context.metrics.in_flight += len(batch.left)

    async def _carried(self, batch: Batch) -> None:
        """Its money is free as it ends: this run may be waiting for one that waits for money."""
        try:
            await self.job.carry(batch)
        except BaseException:
            self._settle(batch, ended=batch.record.state == ENDED)
            raise
        self._settle(batch)

    def _settle(self, batch: Batch, *, ended: bool = True) -> None:
        if ended:
            rest = max(ZERO, Decimal(batch.record.bound) - batch.cost)
            batch.reservation.settle(batch.cost, min(batch.unmetered, rest))
        else:
            batch.reservation.lose(batch.cost)  # what it costs beyond what is known

    def _reap(self) -> None:
        """Let go of the batches that have ended. Raises what ends the run."""
        problems = []
        for task in [task for task in self._under_way if task.done()]:
            batch = self._under_way.pop(task)
            self._context.metrics.in_flight -= len(batch.left)
            problem = None if task.cancelled() else task.exception()
            problems += [problem] if problem is not None else []
            self._settle(batch, ended=batch.record.state == ENDED)  # it may never have begun
            if batch.unsent:
                self._wanted.update(batch.items)
                self._context.metrics.requests -= 0 if batch.adopted else len(batch.items)
            if batch.crowded:
                problems += self._send_fewer(batch)
        self._context.metrics.possibly_billed = self.budget.possibly_billed
        for problem in problems:
            if isinstance(problem, RunError | ConfigurationError):
                raise problem
            raise FatalProviderError(f"a batch failed: {problem}") from problem

    def _send_fewer(self, batch: Batch) -> list[Exception]:
        """Half as many at once, from now on; the problem where that can't be."""
        requests = len(batch.record.keys)
        if requests == 1 and not self._under_way:
            return [FatalProviderError(batch.refused)]
        self._at_most = min(self._at_most, max(1, requests // 2))
        return []

    # -- what comes back

    async def take(self, batch: Batch, outcomes: Sequence[BatchResult]) -> None:
        """Journal a batch's `outcomes`, count what they cost, and give their rows the answers."""
        fresh = batch.fresh(outcomes)
        known = await self._known_bodies(batch, list(fresh))
        bought = []
        for number, outcome in fresh.items():
            key = batch.record.keys[number]
            item = self._item(batch, number)
            if outcome.kind != "succeeded":
                item.question.failure = error_of(outcome)
            elif outcome.body in known.get(key, ()):
                self._remember(item.question, outcome.body)
            else:
                bought.append((item, outcome.body))
        await self._buy(batch, bought)
        batch.left -= set(fresh)
        self._context.metrics.in_flight -= len(fresh)

    async def _known_bodies(self, batch: Batch, numbers: Sequence[int]) -> dict[bytes, set[bytes]]:
        """The bodies that are journaled already: an earlier process was killed while it read.

        Those of the run that has sent it, too, where another one has made them void since.
        """
        if not batch.adopted:
            return {}
        keys = [batch.record.keys[number] for number in numbers]
        known: dict[bytes, set[bytes]] = {}
        for run in (None, batch.record.run):
            for key, entries in (await self.journal.lookup(keys, run)).items():
                known.setdefault(key, set()).update(entry.body for entry in entries)
        return known

    async def _buy(self, batch: Batch, bought: Sequence[tuple[BatchedQuestion, bytes]]) -> None:
        """Journal answers, then count them."""
        shares = [self._share(batch, item, body) for item, body in bought]
        await self._record(batch, shares)
        for share, (item, _) in zip(shares, bought, strict=True):
            if share.answer is None:
                batch.unmetered += self._most(batch, item)
                continue
            batch.cost += share.cost or ZERO
            batch.unmetered += ZERO if share.usage.known else self._most(batch, item)
            self._count(share)

    def _most(self, batch: Batch, item: BatchedQuestion) -> Decimal:
        """The most that a request of a batch can have cost; of one that no row of ours asks nobody
        knows its length.
        """
        return Decimal(batch.record.bound) if item.row is None else self._ceiling(item.prompt)

    def _share(self, batch: Batch, item: BatchedQuestion, body: bytes) -> AnswerShare:
        """What a body is: nothing that stands in it may keep the others from being taken."""
        try:
            answer = self.alone.can.read(body)
            known = self.price is not None and answer.usage.known
            cost = self.price.cost(answer.usage) if self.price is not None and known else None
        except Exception as error:
            if not isinstance(error, MalformedAnswerError):
                error = MalformedAnswerError(f"the answer can't be read: {type(error).__name__}")
            item.question.failure = error
            return AnswerShare(item.question, item.row, body, NO_USAGE, None, None)
        return AnswerShare(item.question, item.row, body, answer.usage, cost, answer)

    def _count(self, share: AnswerShare) -> None:
        self.sender.accepted = True
        self.sender.limits.concurrency.prove()
        if share.row is not None:
            share.row.attempts = 1
        charge = self.price.charge(share.usage) if self.price and share.usage.known else None
        self.sender.count([share], share.usage, charge)
        usual = self.alone.provider.price
        if usual is not None:
            saved = usual.cost(share.usage) - (share.cost or ZERO)
            self._context.metrics.saved_by_batches += saved

    def _remember(self, question: Question, body: bytes) -> None:
        if not question.answers:
            question.answers.append(self.alone.can.read(body))
            question.earlier = 1

    async def take_unreadable(self, batch: Batch, lines: Sequence[BatchResult]) -> None:
        """Keep lines that nobody can read, and fail the row of each: by its id, else by what is
        left over."""
        named = {batch.record.number(line.custom_id): line for line in lines}
        nameless = [line for line in lines if batch.record.number(line.custom_id) is None]
        chosen = {
            number: line
            for number, line in named.items()
            if number is not None and number in batch.left
        }
        others = [number for number in sorted(batch.left) if number not in chosen]
        chosen |= dict(zip(others, nameless, strict=False))
        shares = []
        for number, line in chosen.items():
            item = self._item(batch, number)
            batch.unmetered += self._most(batch, item)
            item.question.failure = MalformedAnswerError(
                f"its line in the results of batch {batch.record.id} can't be read: "
                f"{line.body[:60].decode('utf-8', 'replace')!r}"
            )
            shares.append(AnswerShare(item.question, item.row, line.body, NO_USAGE, None, None))
        await self._record(batch, shares)
        batch.left -= set(chosen)
        self._context.metrics.in_flight -= len(chosen)

    def take_missing(self, batch: Batch, succeeded: int) -> None:
        """Fail what the server has answered and doesn't give; it isn't bought again."""
        error = BatchResultMissingError(
            f"the server says that {succeeded:,} requests of batch {batch.record.id} succeeded, "
            f"and gave the results of {len(batch.succeeded):,}. Run again: they are read again, "
            "nothing is paid twice"
        )
        for item in batch.items.values():
            if not item.question.answers and item.question.failure is None:
                item.question.failure = error
                batch.unmetered += self._ceiling(item.prompt)

    async def _record(self, batch: Batch, shares: Sequence[AnswerShare]) -> None:
        """As answers of the run that has sent the batch: it looks for them when it goes on."""
        record = batch.record
        begin = {record.keys[number] for number in record.begins}
        for share in shares:
            share.question.begins |= share.question.key in begin
        await self.sender.record(shares, max_tokens=record.max_tokens, run=record.run)

    def _item(self, batch: Batch, number: int) -> BatchedQuestion:
        """What this request asks; of a batch that was adopted, perhaps by no row of ours."""
        key = batch.record.keys[number]
        return batch.items.get(key) or BatchedQuestion(Question(key), Prompt(""), ZERO, None)

    async def take_journaled(self, batch: Batch) -> None:
        """Take what another run has read of a batch from the journal; what isn't there fails."""
        items = batch.items.values()
        await self.sender.lookup.recall(
            [item.question for item in items], [item.prompt for item in items]
        )
        self.take_gone(batch, "another run has read its batch")

    def take_gone(self, batch: Batch, why: str) -> None:
        """Fail what a batch won't answer any more; `why` begins the reason."""
        for item in batch.items.values():
            question = item.question
            if not question.answers and question.failure is None:
                question.failure = BatchExpiredError(f"{why}. retry_failed() sends it again")

    async def ask(self, question: Question, row: Row) -> None:
        """Only an answer that broke its schema is asked for anew; the others came in a batch."""
        if question.key in self._refused:
            raise self._refused[question.key]
        if row.reasks or question.answers:
            await self.ask_alone(question, row)

    def requests(
        self, asked: Iterable[Asked], *, times: int = 1, more: bool = False
    ) -> Iterator[tuple[Request, Decimal]]:
        for pair in asked:
            request = self.alone_request(*pair).measure()
            yield request, self._ceiling(request.prompt) + request.worst_case * (times - 1)

    # -- the end

    async def close(self) -> None:
        await self._let_go()
        self._status.hush()

    async def _let_go(self) -> None:
        """At a stop, leave the batches to the server, or cancel them where that is asked for."""
        control = self._context.control
        if not self._under_way:
            return
        until = time.monotonic() + (self.policy.grace if control.error is None else 0.0)
        while self._unended() and not control.cancelled and time.monotonic() < until:
            await asyncio.sleep(0.05)
        until = time.monotonic() + self.policy.patience
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
                await self.job.cancel(self._unended())
        except (TimeoutError, RunError, RowError):  # they end by themselves, within a day
            pass
        await asyncio.sleep(0.05)
