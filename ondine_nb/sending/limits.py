"""Everything that holds a request back, as one permit to send it."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from decimal import Decimal

from ..errors import (
    ConfigurationError,
    FatalProviderError,
    OverloadedError,
    RateLimitedError,
    RejectedRequestError,
    TransientError,
)
from ..journal import SingleFlight
from ..models import ZERO
from ..orchestration import ExecutionContext, Halted
from ..providers import Reply
from .budget import Budget, Reservation
from .bytes_in_flight import MOST_BYTES, BytesInFlight
from .circuit_breaker import CircuitBreaker, Outage
from .concurrency import AdaptiveConcurrency, ConcurrencyLimit, FairAdmission
from .rate_limit import RateLimiter
from .request import Request
from .retry import Backoff

__all__ = ["AnsweredElsewhere", "Limits", "NotNow", "Permit"]

_SHOWN_EVERY = 0.05  # seconds: a view looks ten times a second at most


class NotNow(Exception):  # noqa: N818 - a signal, not an error
    """The run was paused while this request waited for its turn: it has to queue again."""


class AnsweredElsewhere(Exception):  # noqa: N818 - a signal, not an error
    """Another run has been answered what this request asks."""


@dataclass(slots=True)
class Permit:
    """Leave to send one request. Its reservation ends when the permit does, however that comes.

    With what is known of the bill (`cost`, and what may have been billed besides as `lost`, USD),
    free where the request surely wasn't billed, and as possibly billed in every other case.
    """

    request: Request
    reservation: Reservation
    cost: Decimal | None = None
    lost: Decimal = ZERO
    sent: bool = False
    received: bool = False
    unbilled: bool = False

    def failed(self, error: BaseException) -> None:
        """It came to this instead."""
        free = isinstance(error, RejectedRequestError | FatalProviderError | ConfigurationError)
        if isinstance(error, TransientError):
            free = not error.possibly_billed
        self.unbilled = free

    def end(self) -> None:
        """End the reservation: the one place for it."""
        if self.cost is not None:
            self.reservation.settle(self.cost, self.lost)
        elif not self.sent or (self.unbilled and not self.received):
            self.reservation.release()
        else:
            self.reservation.lose()


class Limits:
    """What all requests of a run share: concurrency, rate, budget, circuit breaker, single flight.

    Bodies with pictures or documents take `most_bytes` at a time, all together.
    `note` is how a view words why the concurrency is what it is, `look_again` says whether another
    run has answered a request meanwhile. `clock` gives seconds, and runs as the loop's own time.
    """

    def __init__(
        self,
        budget: Budget,
        single_flight: SingleFlight,
        *,
        concurrency: int = 20,
        grows: bool = False,
        backoff: Backoff | None = None,
        clock: Callable[[], float] = time.monotonic,
        most_bytes: int = MOST_BYTES,
    ) -> None:
        self.budget = budget
        self.single_flight = single_flight
        self.concurrency: ConcurrencyLimit = ConcurrencyLimit(
            concurrency, AdaptiveConcurrency(most=concurrency) if grows else None
        )
        self.rate: RateLimiter = RateLimiter(clock)
        self.admission: FairAdmission = FairAdmission()
        self.bytes: BytesInFlight = BytesInFlight(most_bytes)
        self.breaker: CircuitBreaker = CircuitBreaker(backoff or Backoff(), clock)
        self.note: Callable[[str], str] = lambda note: note
        self.look_again: Callable[[Request], Awaitable[bool]] | None = None
        self.beside_others: bool = False  # set for good when another run is under way meanwhile
        self._context = ExecutionContext()
        self._outage: Outage | None = None
        self._shown_until = 0.0

    def open(self, context: ExecutionContext) -> None:
        """A run begins, on the running loop."""
        self._context = context
        self.single_flight.join(self)
        context.metrics.rate_wait = lambda: self.rate.wait
        self._outage = Outage(self.breaker, self.concurrency, context.control, context.metrics)
        context.control.on_pause(self._outage.hold)
        self.show()

    def close(self) -> None:
        """The run is over."""
        self.single_flight.leave(self)
        if self._outage is not None:
            self._outage.close()

    @contextlib.asynccontextmanager
    async def permit(self, request: Request) -> AsyncIterator[Permit]:
        """Wait until this request may go, hold what it needs meanwhile, learn what comes of it.

        In this order: cache warm-up, concurrency, single flight, fair turn, bytes in flight, rate,
        budget. The slot and the question are free again only after the block, in which the answer
        is made durable. Raises `NotNow`, `AnsweredElsewhere`, `Halted`, `BudgetExceededError` and
        `MediaError` before anything is sent, and what the block raises.
        """
        warm_up, control = request.endpoint.warm_up, self._context.control
        leads = warm_up.wanted and await warm_up.turn()
        try:
            # A packed question is held as one alone, too: it takes that answer where there is one.
            keys = {key for question, _ in request.asked for key in question.held_keys}
            async with self.concurrency, self.single_flight.hold(*keys):
                probing = self.breaker.open
                try:
                    await self.admission.through()
                    if self.breaker.exhausted and request.attempts.error is not None:
                        raise request.attempts.error
                    if self.beside_others:
                        await self._check_others(request)
                    if request.weight:
                        await self.bytes.load(request)
                    usual = request.endpoint.usual_output
                    turn = await self.rate.turn(request.bound / 4, usual)
                    permit = Permit(request, await self.budget.reserve(request.worst_case))
                    try:
                        if control.stopping:
                            raise Halted
                        if self.concurrency.held or (self.breaker.open and not probing):
                            raise NotNow
                        self.breaker.sending(request.attempts, turn, probing=probing)
                        self._begin(permit)
                        yield permit
                    except BaseException as error:
                        permit.failed(error)
                        self._failed(error, request)
                        raise
                    finally:
                        permit.end()
                        if permit.sent:
                            self._end(request)
                finally:
                    if request.held:
                        self.bytes.release(request)
                    if probing and self._outage is not None:
                        self._outage.update()
        finally:
            if leads:
                warm_up.led()

    async def _check_others(self, request: Request) -> None:
        if self.look_again is not None and await self.look_again(request):
            raise AnsweredElsewhere

    def _begin(self, permit: Permit) -> None:
        """It goes out now: from here on it may be billed."""
        metrics = self._context.metrics
        metrics.requests += 1
        metrics.in_flight += 1
        permit.sent = True
        for _, row in permit.request.asked:
            row.attempts += 1
            row.sending = True

    def _end(self, request: Request) -> None:
        for _, row in request.asked:
            row.sending = False
        metrics = self._context.metrics
        metrics.in_flight -= 1
        metrics.possibly_billed = self.budget.possibly_billed

    # -- what is learned from what comes

    def learn(self, reply: Reply, request: Request) -> None:
        """A body is here: heed its headers, whatever stands in them."""
        try:
            self.rate.learn(reply.headers, request.attempts.turn)
            odd = self.rate.odd
        except Exception as error:  # headers are a stranger's: no paid answer is lost for them
            odd = f"headers that can't be read ({type(error).__name__}: {error})"
        if odd:
            self._context.metrics.tell_odd(odd)

    def answered(self, request: Request, reply: Reply, latency: float) -> None:
        """An answer that can be read came after `latency` seconds.

        Told when it comes, not once it is durable: the disk's delay is not the server's.
        """
        self.learn(reply, request)
        if self.breaker.answered(latency) and self._outage is not None:
            self._outage.over()
        if request.endpoint.sets_pace:
            self.concurrency.answered(latency)
        else:
            self.concurrency.prove()
        if asyncio.get_running_loop().time() >= self._shown_until:
            self.show()

    def _failed(self, error: BaseException, request: Request) -> None:
        if isinstance(error, TransientError):
            self.breaker.failed(request.attempts, error, self.concurrency.limit)
            self._slow_down(error, request)
        elif not isinstance(error, RejectedRequestError):
            return
        elif self.breaker.answered(None) and self._outage is not None:  # it refused this one
            self._outage.over()

    def _slow_down(self, error: TransientError, request: Request) -> None:
        """What one row is told by 429 or 529 holds for all rows; so does an outage."""
        turn = request.attempts.turn
        if error.retry_after is None:
            self.rate.doubt(error.headers)
        if isinstance(error, RateLimitedError) and turn is not None and self.breaker.proven:
            self.rate.refused(turn, error.headers, error.retry_after)
        if isinstance(error, RateLimitedError | OverloadedError):
            self.concurrency.pushed_back()
            if error.retry_after is not None:
                self.rate.pause(error.retry_after)
            self.show()
        if self.rate.odd:
            self._context.metrics.tell_odd(self.rate.odd)
        if self._outage is not None and (self.breaker.open or self.breaker.exhausted):
            self._outage.update()

    def show(self) -> None:
        """Have the run's metrics say how many go at once, and why."""
        self._shown_until = asyncio.get_running_loop().time() + _SHOWN_EVERY
        metrics = self._context.metrics
        metrics.concurrency = self.concurrency.limit
        held = "held by rate limit" if self.rate.limited else self.concurrency.note
        metrics.concurrency_note = self.note(held)
