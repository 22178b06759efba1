"""Everything that holds a request back, as one permit to send it."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable
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
from .circuit_breaker import CircuitBreaker, Outage
from .concurrency import AdaptiveConcurrency, ConcurrencyLimit, FairAdmission
from .rate_limit import RateLimiter, Turn
from .request import Request
from .retry import Backoff

__all__ = ["AnsweredElsewhere", "Limits", "NotNow", "Permit"]

logger = logging.getLogger("ondine_nb")
_SHOWN_EVERY = 0.05  # seconds: a view looks ten times a second at most


class NotNow(Exception):  # noqa: N818 - a signal, not an error
    """The run was paused while this request waited for its turn: it has to queue again."""


class AnsweredElsewhere(Exception):  # noqa: N818 - a signal, not an error
    """Another run has been answered what this request asks."""


class Permit:
    """Leave to send one request. Its reservation ends when the permit does, however that comes.

    With what is known of the bill (`settle`), free where the request surely wasn't billed, and as
    possibly billed in every other case.
    """

    __slots__ = ("_bill", "_limits", "_received", "_reservation", "_sent", "_unbilled", "request")

    def __init__(self, limits: Limits, request: Request, reservation: Reservation) -> None:
        self.request = request
        self._limits = limits
        self._reservation = reservation
        self._sent = self._received = self._unbilled = False
        self._bill: tuple[Decimal, Decimal] | None = None

    def sent(self) -> None:
        """The request goes out now: from here on it may be billed."""
        self._sent = True

    def received(self, reply: Reply) -> None:
        """Its body is here: nothing that happens from now on makes it free."""
        self._received = True
        self._limits.learn(reply, self.request)

    def answered(self, latency: float) -> None:
        """The body is a readable answer. Told now, not once it is durable: the disk's delay is not
        the server's."""
        self._limits.answered(self.request, latency)

    def settle(self, cost: Decimal, lost: Decimal = ZERO) -> None:
        """The answer is durable and costs so much; `lost` more may have been billed. USD."""
        self._bill = (cost, lost)

    def failed(self, error: BaseException) -> None:
        """It came to this instead."""
        free = isinstance(error, RejectedRequestError | FatalProviderError | ConfigurationError)
        if isinstance(error, TransientError):
            free = not error.possibly_billed
        self._unbilled = free

    def end(self) -> None:
        """End the reservation: the one place for it."""
        if self._bill is not None:
            self._reservation.settle(*self._bill)
        elif not self._sent or (self._unbilled and not self._received):
            self._reservation.release()
        else:
            self._reservation.lose()


class Limits:
    """What all requests of a run share: concurrency, rate, budget, circuit breaker, single flight.

    `note` is how a view words why the concurrency is what it is, `look_again` says whether another
    run has answered a request meanwhile.
    """

    def __init__(
        self,
        budget: Budget,
        single_flight: SingleFlight,
        *,
        concurrency: int = 20,
        grows: bool = False,
        backoff: Backoff | None = None,
    ) -> None:
        self.budget = budget
        self.single_flight = single_flight
        self.concurrency: ConcurrencyLimit = ConcurrencyLimit(
            concurrency, AdaptiveConcurrency(most=concurrency) if grows else None
        )
        self.rate: RateLimiter = RateLimiter()
        self.admission: FairAdmission = FairAdmission()
        self.breaker: CircuitBreaker = CircuitBreaker(backoff or Backoff())
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

        In this order: cache warm-up, concurrency, single flight, fair turn, rate, budget. The slot
        and the question are free again only after the block, in which the answer is made durable.
        Raises `NotNow`, `AnsweredElsewhere`, `Halted` and `BudgetExceededError` before anything is
        sent, and what the block raises.
        """
        warm_up = request.endpoint.warm_up
        leads = warm_up.wanted and await warm_up.turn()
        try:
            keys = [question.key for question, _ in request.asked]
            async with self.concurrency, self.single_flight.hold(*keys):
                probing = self.breaker.open
                try:
                    turn = await self._turn(request)
                    permit = Permit(self, request, await self.budget.reserve(request.worst_case))
                    self._begin(request)
                    try:
                        self._check(probing)
                        self.breaker.sending(request.attempts, turn, probing=probing)
                        yield permit
                    except BaseException as error:
                        permit.failed(error)
                        self._failed(error, request)
                        raise
                    finally:
                        permit.end()
                        self._end(request)
                finally:
                    if probing and self._outage is not None:
                        self._outage.update()
        finally:
            if leads:
                warm_up.led()

    async def _turn(self, request: Request) -> Turn:
        """Wait for the fair turn and the rate limit."""
        await self.admission.through()
        if self.breaker.exhausted and request.attempts.error is not None:
            raise request.attempts.error
        if self.beside_others and self.look_again is not None and await self.look_again(request):
            raise AnsweredElsewhere
        return await self.rate.turn(request.bound / 4, request.endpoint.usual_output)

    def _check(self, probing: bool) -> None:
        """While it waited, the run may have been stopped or paused."""
        if self._context.control.stopping:
            raise Halted
        if self.concurrency.held or (self.breaker.open and not probing):
            raise NotNow

    def _begin(self, request: Request) -> None:
        self._context.metrics.in_flight += 1
        for _, row in request.asked:
            row.sending = True

    def _end(self, request: Request) -> None:
        for _, row in request.asked:
            row.sending = False
        metrics = self._context.metrics
        metrics.in_flight -= 1
        metrics.possibly_billed = self.budget.possibly_billed

    # -- what is learned from what comes

    def learn(self, reply: Reply, request: Request) -> None:
        """Heed the headers of an answer, whatever stands in them."""
        try:
            self.rate.learn(reply.headers, request.attempts.turn)
        except Exception as error:  # they are a stranger's: no answer is lost for them
            logger.debug("headers that can't be read: %s: %s", type(error).__name__, error)

    def answered(self, request: Request, latency: float) -> None:
        """An answer that can be read came after `latency` seconds."""
        self._alive(latency)
        if request.endpoint.sets_pace:
            self.concurrency.answered(latency)
        else:
            self.concurrency.prove()
        if time.monotonic() >= self._shown_until:
            self.show()

    def _alive(self, latency: float | None) -> None:
        """The server answers, in `latency` seconds (None: it refused this one)."""
        if self.breaker.answered(latency) and self._outage is not None:
            self._outage.over()

    def _failed(self, error: BaseException, request: Request) -> None:
        if isinstance(error, TransientError):
            self.breaker.failed(request.attempts, error, self.concurrency.limit)
            self._slow_down(error, request)
        elif isinstance(error, RejectedRequestError):
            self._alive(None)

    def _slow_down(self, error: TransientError, request: Request) -> None:
        """What one row is told by 429 or 529 holds for all rows; so does an outage."""
        turn = request.attempts.turn
        if isinstance(error, RateLimitedError) and turn is not None and self.breaker.proven:
            self.rate.refused(turn, error.headers, error.retry_after)
        if isinstance(error, RateLimitedError | OverloadedError):
            self.concurrency.pushed_back()
            if error.retry_after is not None:
                self.rate.pause(error.retry_after)
            self.show()
        if self._outage is not None and (self.breaker.open or self.breaker.exhausted):
            self._outage.update()

    def show(self) -> None:
        """Have the run's metrics say how many go at once, and why."""
        self._shown_until = time.monotonic() + _SHOWN_EVERY
        metrics = self._context.metrics
        metrics.concurrency = self.concurrency.limit
        held = "held by rate limit" if self.rate.limited else self.concurrency.note
        metrics.concurrency_note = self.note(held)
