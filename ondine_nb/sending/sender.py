"""Sends requests: retries, durable answers and their accounting, once for every kind of request."""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Sequence
from typing import Any

from ..errors import (
    FatalProviderError,
    MalformedAnswerError,
    RateLimitedError,
    RejectedRequestError,
    TransientError,
    UnreadAnswerError,
)
from ..journal import Entry, Journal
from ..models import ZERO, Usage
from ..orchestration import ExecutionContext, Halted
from ..providers import Charge, Reply
from .limits import AnsweredElsewhere, Limits, NotNow, Permit
from .lookup import Lookup
from .request import AnswerShare, Request
from .retry import Backoff, Rejections

__all__ = ["STAGE", "Sender"]

logger = logging.getLogger("ondine_nb")
STAGE = "invoke"  # the stage that what is sent here is charged to
_UNREACHABLE_ATTEMPTS = 3
_NO_CHARGE = Charge(ZERO, {}, ZERO)


class Sender:
    """Sends a run's requests and keeps their answers: reserve, send, record, settle.

    `accepted`: these settings have got an answer before, so that a rejection is a row's fault.
    """

    def __init__(self, limits: Limits, lookup: Lookup, *, accepted: bool = False) -> None:
        self.limits = limits
        self.lookup = lookup
        self.journal: Journal = lookup.journal
        self.backoff: Backoff = limits.breaker.backoff
        self.accepted: bool = accepted
        self.context: ExecutionContext = ExecutionContext()
        self.rejections: Rejections = Rejections()
        self._unmetered = 0
        limits.look_again = self._answered_beside

    def open(self, context: ExecutionContext) -> None:
        """A run begins, on the running loop."""
        self.context = context
        self.limits.open(context)

    def close(self) -> None:
        """The run is over."""
        self.limits.close()

    async def send(self, request: Request) -> bool:
        """Send until there is an answer; False: another run has been given it meanwhile.

        Raises what the request's rows fail by, or what ends the run.
        """
        if not request.endpoint.is_open:
            await request.endpoint.open(self.limits.concurrency.width)
        if not request.bound:
            request.measure()
        if request.weight and self.limits.budget.room is not None and not request.is_measured:
            await request.measure_by_count()
        rejections, number = self.rejections, 0
        while True:
            try:
                async with self.limits.permit(request) as permit:
                    given = request.given if request.body is None else request.body
                    number = rejections.sent = rejections.sent + 1
                    rejections.waiting.add(number)
                    reply = await request.endpoint.provider.send(given)
                    await self._keep(request, permit, reply)
                    if number > rejections.answered:
                        rejections.answered = number
                    if rejections.any:
                        rejections.forget(number)
                return True
            except AnsweredElsewhere:
                return False
            except NotNow:
                continue
            except TransientError as error:
                delay = self._judged(error, request)
            except (RejectedRequestError, UnreadAnswerError) as error:
                if not request.divisible:  # else a single one of them may be to blame
                    rejections.waiting.discard(number)
                    proven = self.limits.breaker.proven or self.accepted
                    rejections.check(error, number, proven=proven)
                raise
            finally:
                rejections.waiting.discard(number)
            if self.context.control.stopping:
                raise Halted
            await asyncio.sleep(delay)

    async def _answered_beside(self, request: Request) -> bool:
        """Whether another run has answered any of it since this one looked."""
        await self.lookup.recall([question for question, _ in request.asked])
        return any(row.reasks < len(question.answers) for question, row in request.asked)

    # -- an answer that is paid for

    async def _keep(self, request: Request, permit: Permit, reply: Reply) -> None:
        """Make a body durable, then count it. Raises `MalformedAnswerError` where it is none.

        From its first line on the body is kept, whatever is raised here.
        """
        latency, heard = _seconds(reply.latency), False
        try:
            permit.received = True
            answer = request.endpoint.can.read(reply.body)
            heard = True
            self.limits.answered(request, reply, latency)
            price, usage = request.endpoint.provider.price, answer.usage
            charge = None if price is None or not usage.known else price.charge(usage)
            cost = None if charge is None else charge.cost
            if request.divide is None:
                question, row = request.asked[0]
                shares = [AnswerShare(question, row, reply.body, usage, cost, answer)]
            else:  # many large ones at once would hold the loop up
                await self.limits.admission.through()
                shares = request.divide(request, reply, answer)
        except BaseException as error:  # whatever it is, and wherever: the body has been paid for
            if not heard:  # what the headers say holds for all rows
                self.limits.learn(reply, request)
            await self.record(request.unread(reply), latency)
            if isinstance(error, Exception):
                raise _unreadable(error) from error
            raise
        await self.record(shares, latency)
        permit.cost = cost or ZERO
        permit.lost = ZERO if usage.known else request.worst_case
        self._learn(request, usage)
        if request.is_probe:
            self._count_probe(shares, usage, charge)
        else:
            self.count(shares, usage, charge, latency)

    async def record(
        self,
        shares: Sequence[AnswerShare],
        latency: float = 0.0,
        *,
        max_tokens: int | None = None,
        run: str | None = None,
    ) -> None:
        """Journal what a reply has for each question, as answers of the `run` that has asked.

        That is this one, unless said otherwise. Raises `JournalError`.
        """
        most = self.lookup.settings.max_tokens if max_tokens is None else max_tokens
        asker = self.lookup.run_id if run is None else run
        await self.journal.extend([self._entry(share, latency, most, asker) for share in shares])

    def _entry(self, share: AnswerShare, latency: float, max_tokens: int, run: str) -> Entry:
        question, readable = share.question, share.answer is not None
        begins, question.begins = question.begins, question.begins and not readable
        return Entry(
            key=question.key,
            run=run,
            body=share.body,
            max_tokens=max_tokens,
            begins=begins,
            readable=readable,
            latency=latency,
            model=self.lookup.settings.model,
            cost=None if share.cost is None else str(share.cost),
        )

    def _learn(self, request: Request, usage: Usage) -> None:
        endpoint = request.endpoint
        if endpoint.warm_up.wanted:
            endpoint.warm_up.succeeded()
        if usage.known:
            endpoint.usual_output += (usage.output_tokens - endpoint.usual_output) / 16

    def count(
        self,
        shares: Sequence[AnswerShare],
        usage: Usage,
        charge: Charge | None,
        latency: float | None = None,
    ) -> None:
        """Add a durable reply to its rows and to the run's totals.

        `usage` and `charge` are those of all of it; without a charge its cost isn't known.
        """
        row = shares[0].row
        attempt = 1 if row is None else row.reasks + 1
        for share in shares:
            if share.row is not None:
                share.row.pay(share.cost or ZERO, share.usage)
                share.row.latency = latency
            if share.answer is not None:
                share.question.answers.append(share.answer)
        charge, metrics = charge or _NO_CHARGE, self.context.metrics
        self.context.add_usage(charge.cost, usage, STAGE, charge.kinds, attempt)
        metrics.add_paid(charge.cost, len(shares))
        metrics.saved_by_cache += charge.saved_by_cache
        if latency is not None:
            metrics.latencies.append(latency)
        if not usage.known:
            self._say_unmetered()

    def _count_probe(
        self, shares: Sequence[AnswerShare], usage: Usage, charge: Charge | None
    ) -> None:
        """Add a probe to the run's totals: it tells nothing of what a row costs."""
        for share in shares:
            if share.answer is not None:
                share.question.answers.append(share.answer)
        charge = charge or _NO_CHARGE
        self.context.add_usage(charge.cost, usage, STAGE, charge.kinds)
        if not usage.known:
            self._say_unmetered()

    def _say_unmetered(self) -> None:
        """Once a run: a number that is missing is not 0."""
        self._unmetered += 1
        if self._unmetered == 1:
            logger.warning(
                "an answer doesn't say how many tokens it used, or says what can't be: such "
                "answers are counted as possibly billed, at the most that each can have cost"
            )

    # -- what failed

    def _judged(self, error: TransientError, request: Request) -> float:
        """Seconds until this request goes again, or what its rows fail by is raised."""
        breaker, attempts = self.limits.breaker, request.attempts
        if request.divisible and error.takes_too_long:
            raise error  # it would again: it is tried in smaller ones
        if breaker.gives_up(attempts):
            raise error
        self._give_up_if_unreachable(error, request)
        self.context.metrics.retries += 1
        if breaker.open:
            return 0.0  # nothing is let in until there is something to hope for
        if isinstance(error, RateLimitedError):
            if self.limits.rate.knows:
                return 0.0
            return self.backoff.delay(max(1, attempts.counted), error.retry_after, stretch=2.5)
        return self.backoff.delay(max(1, attempts.counted), error.retry_after)

    def _give_up_if_unreachable(self, error: TransientError, request: Request) -> None:
        """No connection at all, and never one before: waiting longer helps nobody."""
        tries, proven = request.attempts.tries, self.limits.breaker.proven
        if error.unreachable and not proven and tries >= _UNREACHABLE_ATTEMPTS:
            raise FatalProviderError(str(error)) from error


def _seconds(told: Any) -> float:
    """A provider of the user's own may say anything."""
    return float(told) if isinstance(told, int | float) and math.isfinite(told) else 0.0


def _unreadable(error: Exception) -> MalformedAnswerError:
    if isinstance(error, MalformedAnswerError):
        return error
    return MalformedAnswerError(
        f"the answer can't be read: {type(error).__name__}: {str(error)[:200]}",
        possibly_billed=True,
    )
