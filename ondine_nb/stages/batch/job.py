"""One batch on its way: intent, create call, waiting, results. Nothing of it is paid twice."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Protocol, TypeVar

from ...errors import (
    BatchCanceledError,
    BatchErroredError,
    BatchExpiredError,
    FatalProviderError,
    OverloadedError,
    RateLimitedError,
    RejectedRequestError,
    RowError,
    TransientError,
)
from ...journal import CREATED, ENDED, BatchRecord, Journal
from ...models import ZERO, Prompt
from ...orchestration import ExecutionContext, Row
from ...providers import BatchApi, BatchResult, ServerBatch
from ...sending import Backoff, ConcurrencyLimit, Question, Reservation

__all__ = [
    "Batch",
    "BatchJob",
    "BatchPolicy",
    "BatchStatus",
    "BatchedQuestion",
    "error_of",
    "left_behind",
    "waiting",
]


T = TypeVar("T")
# A server's clock and this machine's may differ by so much, or be set by as much meanwhile (a date
# or a time zone that is wrong): a batch isn't missed for it, and bought again.
_SKEW_SECONDS = 26 * 3600.0
_READINGS = 4  # of results that are short of what the server counts, or that have unreadable lines


@dataclass(frozen=True, slots=True)
class BatchPolicy:
    """How batches are sent and waited for.

    `first` and `longest` are seconds between two looks at a batch, `grace` the seconds after a stop
    in which another one cancels the batches on the server, `patience` how long such a cancelled
    batch is waited for. At most `rows` rows wait at once.
    """

    first: float = 2.0
    longest: float = 60.0
    grace: float = 15.0
    patience: float = 120.0
    rows: int = 100_000


@dataclass(frozen=True, slots=True)
class BatchedQuestion:
    """What is to be asked, the most that it can cost in a batch (USD), and the row that asks."""

    question: Question
    prompt: Prompt
    ceiling: Decimal
    row: Row | None


class Batch:
    """A batch that this run has sent, or that it found and waits for (`adopted`).

    `items` are those of its requests that this run wants, by key. `unsent` says that it turned out
    never to have come to be, `refused` why, if the server has said so, `crowded` that this was for
    want of room. `done` is how many of its requests the server says have their end. `cost` is what
    its answers are known to cost in USD, `unmetered` what those can have cost at most that don't
    say.
    """

    def __init__(
        self,
        record: BatchRecord,
        items: Sequence[BatchedQuestion],
        reservation: Reservation,
        *,
        requests: Sequence[bytes] = (),
        adopted: bool = False,
    ) -> None:
        self.record = record
        self.items: dict[bytes, BatchedQuestion] = {each.question.key: each for each in items}
        self.reservation = reservation
        self.requests = requests
        self.adopted = adopted
        self.unsent = self.crowded = self.cancelling = False
        self.refused = ""
        self.done = 0
        self.left: set[int] = set(range(len(record.keys)))
        self.succeeded: set[int] = set()
        self.cost = self.unmetered = ZERO

    def fresh(self, outcomes: Sequence[BatchResult]) -> dict[int, BatchResult]:
        """Those that haven't been taken yet, by their requests' numbers."""
        found: dict[int, BatchResult] = {}
        for each in outcomes:
            number = self.record.number(each.custom_id)
            if number is not None and each.kind == "succeeded":
                self.succeeded.add(number)
            if number is not None and number in self.left:
                found[number] = each
        return found


class Taker(Protocol):
    """Who is told of a batch's outcomes."""

    async def take(self, batch: Batch, outcomes: Sequence[BatchResult]) -> None:
        """Make these outcomes durable and count them; one may come twice."""

    async def take_unreadable(self, batch: Batch, lines: Sequence[BatchResult]) -> None:
        """These lines stay unreadable: make them durable, and fail the rows that they may be."""

    def take_missing(self, batch: Batch, succeeded: int) -> None:
        """The server says that so many succeeded, and doesn't give all of them."""

    async def take_journaled(self, batch: Batch) -> None:
        """Another run has journaled the batch's answers meanwhile."""

    def take_gone(self, batch: Batch, why: str) -> None:
        """What is left of the batch has no outcome and won't have one."""


class BatchJob:
    """Carries batches through their lives, several side by side. `trouble` says what is wrong now.

    Once the run is `stopping` nothing is sent any more; what was is seen through.

    Raises what ends the run: `FatalProviderError`, `JournalError`.
    """

    def __init__(
        self,
        wire: BatchApi,
        journal: Journal,
        taker: Taker,
        *,
        gate: ConcurrencyLimit,
        backoff: Backoff,
        policy: BatchPolicy,
        stopping: Callable[[], bool] = lambda: False,
    ) -> None:
        self.wire = wire
        self.journal = journal
        self.taker = taker
        self.gate = gate
        self.backoff = backoff
        self.policy = policy
        self.trouble: str = ""
        self._stopping = stopping
        self._hurry = asyncio.Event()

    async def carry(self, batch: Batch) -> None:
        """From where it stands to its last journaled result; one run at a time."""
        async with self.journal.single_flight.hold(f"batch {batch.record.prefix}".encode()):
            if batch.adopted and not await self._still_open(batch):
                await self.taker.take_journaled(batch)
                return
            if not batch.record.id and not await self._get_id(batch):
                return
            await self._collect(batch)

    async def _still_open(self, batch: Batch) -> bool:
        """Whether nobody has taken its results since it was found; what is newer is taken over."""
        known = await self.journal.open_batches(batch.record.provider)
        found = next((each for each in known if each.prefix == batch.record.prefix), None)
        if found is not None:
            batch.record = replace(found, keys=batch.record.keys)
        return found is not None

    async def _get_id(self, batch: Batch) -> bool:
        if not batch.adopted:
            found = await self._create(batch)
        else:
            found = await self._patiently(lambda: self._recognised(batch.record))
        if found is None:
            batch.unsent = True
            await self._give_up(batch)
            return False
        batch.record = replace(batch.record, id=found.id, state=CREATED)
        await self.journal.put_batch(batch.record)
        batch.requests = ()
        return True

    async def _give_up(self, batch: Batch) -> None:
        """There is no such batch for sure: nobody has to look for it."""
        batch.record = replace(batch.record, state=ENDED)
        await self.journal.put_batch(batch.record)
        with contextlib.suppress(RowError, FatalProviderError):  # it costs nothing where it lies
            await self.wire.discard(batch.record.prefix)

    async def _create(self, batch: Batch) -> ServerBatch | None:
        """Send until the server has it; None where a stop comes first.

        What may have come to be is looked for, not sent again.
        """
        for attempt in itertools.count(1):
            try:
                async with self.gate:
                    if self._stopping():
                        return None
                    return await self.wire.create(batch.record.prefix, batch.requests)
            except FatalProviderError:  # an answer, and no batch
                await self._give_up(batch)
                raise
            except TransientError as error:
                problem = error
            self.trouble = str(problem)
            if attempt >= (3 if problem.unreachable else self.backoff.attempts):
                if _not_made(problem):
                    await self._give_up(batch)
                raise FatalProviderError(str(problem)) from problem
            await asyncio.sleep(self.backoff.delay(attempt, problem.retry_after))
            if not _not_made(problem):
                found = await self._patiently(lambda: self._recognised(batch.record))
                if found is not None:
                    return found
        raise AssertionError  # the count never ends

    async def _recognised(self, record: BatchRecord) -> ServerBatch | None:
        """The batch of a create call whose answer is unknown, by its requests' prefix.

        Where the API doesn't tell that of a batch, nothing but results shows its requests' ids: so
        those that could be it are waited for.
        """
        others: set[str] = await self.journal.batch_ids()
        while True:
            listed = await self.wire.created_since(record.at - _SKEW_SECONDS)
            own = next((each for each in listed if each.prefix == record.prefix), None)
            if own is not None:
                return own
            untold = [each for each in listed if each.prefix is None]
            like = [each for each in untold if each.count == len(record.keys)]
            candidates = [each for each in like if each.id not in others and not each.gone]
            for candidate in candidates:
                if candidate.ended and await self._is_of(record, candidate):
                    return candidate
            others |= {each.id for each in candidates if each.ended}
            if all(each.ended for each in candidates):
                return None
            self.trouble = "the answer to a create call was lost: its batch is being looked for"
            await self._wait(self.policy.longest if len(others) > 1 else self.policy.first)

    async def _is_of(self, record: BatchRecord, candidate: ServerBatch) -> bool:
        """By the first line that says whose it is; a file that ended before one is read again."""
        for reading in range(1, _READINGS + 1):
            async with contextlib.aclosing(self.wire.results(candidate)) as results:
                async for outcomes in results:
                    if named := next((each.custom_id for each in outcomes if each.custom_id), ""):
                        return record.number(named) is not None
            await asyncio.sleep(self.backoff.delay(reading))
        return False

    async def _collect(self, batch: Batch) -> None:
        found = await self._until_ended(batch)
        if found is None:  # another account's, perhaps: with the right key it's still there
            self.taker.take_gone(batch, f"this account has no batch {batch.record.id}")
            return
        if found.refused:
            await self._refused(batch, found)
            return
        if not found.gone and not await self._read_all(batch, found):
            self.taker.take_missing(batch, found.succeeded)
            return  # it stays open: whoever asks for it next reads it again, and buys nothing
        self.taker.take_gone(batch, f"batch {batch.record.id} has no result for it")
        await self.journal.put_batch(replace(batch.record, state=ENDED))

    async def _refused(self, batch: Batch, found: ServerBatch) -> None:
        """Nothing of it was begun: it is sent anew where that may go better, else the run ends."""
        await self._give_up(batch)
        batch.crowded = found.crowded
        batch.unsent = batch.adopted or found.crowded
        batch.refused = (
            f"the batch of {_counted(len(batch.left), 'request')} was refused: {found.refused}"
        )
        if not batch.unsent:
            raise FatalProviderError(batch.refused)

    async def _until_ended(self, batch: Batch) -> ServerBatch | None:
        interval = self.policy.first
        while True:
            found = await self._patiently(lambda: self.wire.retrieve(batch.record.id))
            if found is None or found.ended:
                return found
            batch.done = found.done
            await self._wait(interval)
            interval = min(self.policy.longest, interval * 1.5)

    async def _read_all(self, batch: Batch, found: ServerBatch) -> bool:
        """Read until each line is taken; False: fewer came than the server counts as succeeded.

        A file may end early without an error, and a line may be garbled: it is read again a few
        times, not without end.
        """
        unreadable: list[BatchResult] = []
        for reading in range(1, _READINGS + 1):
            unreadable = await self._patiently(lambda: self._read(batch, found))
            short = found.succeeded - len(batch.succeeded)
            if not unreadable and short <= 0:
                return True
            if reading < _READINGS:
                self.trouble = f"{max(short, len(unreadable)):,} of its results are missing"
                await asyncio.sleep(self.backoff.delay(reading))
        self.trouble = ""
        await self.taker.take_unreadable(batch, unreadable)
        return len(batch.succeeded) + len(unreadable) >= found.succeeded

    async def _read(self, batch: Batch, found: ServerBatch) -> list[BatchResult]:
        """Have all lines taken that can be read; gives the others."""
        unreadable: list[BatchResult] = []
        async with contextlib.aclosing(self.wire.results(found)) as results:
            async for outcomes in results:
                unreadable += [each for each in outcomes if each.kind == "unreadable"]
                await self.taker.take(
                    batch, [each for each in outcomes if each.kind != "unreadable"]
                )
        return unreadable

    async def _patiently(self, call: Callable[[], Awaitable[T]]) -> T:
        """The batch goes on whatever the network does, so a failed look at it is repeated."""
        for attempt in itertools.count(1):
            try:
                result = await call()
            except TransientError as error:
                self.trouble = str(error)
                delay = self.backoff.delay(min(attempt, 10), error.retry_after)
                await asyncio.sleep(delay)
            else:
                self.trouble = ""
                return result
        raise AssertionError  # the count never ends

    async def _wait(self, seconds: float) -> None:
        """Sleep; where somebody waits for a cancelled batch, only shortly."""
        until = time.monotonic() + (self.policy.first if self._hurry.is_set() else seconds)
        while (left := until - time.monotonic()) > 0:
            if self._hurry.is_set():
                await asyncio.sleep(min(left, self.policy.first))
                return
            try:
                await asyncio.wait_for(self._hurry.wait(), left)
            except TimeoutError:
                return

    async def cancel(self, batches: Sequence[Batch]) -> None:
        """Cancel on the server those that are created, and look at them more often."""
        self._hurry.set()
        for batch in batches:
            if batch.record.id and not batch.cancelling:
                batch.cancelling = True
                await self._patiently(lambda batch=batch: self.wire.cancel(batch.record.id))  # type: ignore[misc]


def _not_made(error: TransientError) -> bool:
    """Whether the server surely has no batch of this call."""
    return isinstance(error, RateLimitedError | OverloadedError) or error.unreachable


_SECONDS_OF_A_MESSAGE = 0.5


class BatchStatus:
    """Keeps a run's message true while it waits for batches.

    `under_way` gives the batches that haven't ended, `trouble` what goes wrong with asking for
    them ("" for nothing).
    """

    def __init__(
        self, under_way: Callable[[], Sequence[Batch]], trouble: Callable[[], str]
    ) -> None:
        self._under_way = under_way
        self._trouble = trouble
        self._context = ExecutionContext()
        self._telling: asyncio.Task[None] | None = None
        self._said = ""

    def tell(self, context: ExecutionContext) -> None:
        """Begin, on the running loop; has no effect while it tells already."""
        self._context = context
        if self._telling is None or self._telling.done():
            self._telling = asyncio.create_task(self._keep_telling())

    def hush(self) -> None:
        """End, and take back what was said, unless somebody else has said something since."""
        if self._telling is not None:
            self._telling.cancel()
            if self._context.metrics.message == self._said:
                self._context.metrics.message = ""

    async def _keep_telling(self) -> None:
        started = time.monotonic()
        while True:
            self._said = waiting(
                self._under_way(),
                time.monotonic() - started,
                trouble=self._trouble(),
                stopping=self._context.control.stopping,
            )
            self._context.metrics.message = self._said
            await asyncio.sleep(_SECONDS_OF_A_MESSAGE)


def waiting(batches: Sequence[Batch], seconds: float, *, trouble: str, stopping: bool) -> str:
    """What can be known: how many requests wait, since when. There is no progress to show."""
    requests = sum(len(batch.left) for batch in batches)
    said = f"{_counted(requests, 'request')} in {_counted(len(batches), 'batch')}"
    tail = f" ({trouble}; trying on)" if trouble else ""
    if stopping:
        return f"stopped: {said} at the provider go on. Stop again to cancel them{tail}"
    done = sum(batch.done for batch in batches)
    told = f", {done:,} done" if done else ""
    return f"waiting {_duration(seconds)} for {said}{told}: answers come when it ends{tail}"


def error_of(outcome: BatchResult) -> RowError:
    """The row error that an outcome without an answer means."""
    again = "retry_failed() sends it again"
    if outcome.kind == "expired":
        return BatchExpiredError(f"its batch expired before its turn came. {again}")
    if outcome.kind == "canceled":
        return BatchCanceledError(f"its batch was canceled before its turn came. {again}")
    if outcome.kind == "rejected":
        return RejectedRequestError(f"the request was rejected ({outcome.said})")
    return BatchErroredError(f"the server failed on it ({outcome.error}: {outcome.said}). {again}")


def left_behind(batches: Sequence[Batch]) -> str:
    """What a run that was stopped leaves to the server, and how to get it."""
    requests = sum(len(batch.left) for batch in batches)
    return (
        f"{_counted(requests, 'request')} in {_counted(len(batches), 'batch')} at the provider go "
        "on: run the same cell again, and it waits for those answers instead of paying again"
    )


def _counted(number: int, noun: str) -> str:
    many = f"{noun}es" if noun.endswith("ch") else f"{noun}s"
    return f"{number:,} {noun if number == 1 else many}"


def _duration(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
