"""Servers with rate limits in virtual time, a client that sends under a limiter, and the ideal."""

from __future__ import annotations

import asyncio
import heapq
import math
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Protocol

from ondine_nb.sending import AdaptiveConcurrency, Backoff, ConcurrencyLimit, RateLimiter

from .clock import Clock, simulate

__all__ = [
    "EVERYTHING",
    "FixedWindow",
    "Limit",
    "Outcome",
    "Server",
    "TokenBucket",
    "headers_of",
    "ideal",
    "retry_after",
    "run",
    "told",
]

EVERYTHING = ("limits", "reset", "retry-after")
_EPOCH = 1_790_000_000.0  # wall time at the clock's zero, for the headers that tell dates


class Limit(Protocol):
    """What a server lets through."""

    per_minute: float

    def wait(self, now: float) -> float:
        """0 where a request may pass now, else the seconds until one may."""

    def take(self, now: float) -> None:
        """One passes now."""

    def left(self, now: float) -> float:
        """How many may pass now."""

    def full(self, now: float) -> float:
        """Seconds until as many may pass as ever."""


class TokenBucket:
    """`rate` requests a second flow in, up to `burst` are held; `level` of them are there first."""

    def __init__(self, rate: float, burst: float, level: float | None = None) -> None:
        self.rate, self.burst = rate, float(burst)
        self.per_minute = rate * 60
        self._level = self.burst if level is None else level
        self._at: float | None = None

    def left(self, now: float) -> float:
        if self._at is not None:
            self._level = min(self.burst, self._level + (now - self._at) * self.rate)
        self._at = now
        return self._level

    def wait(self, now: float) -> float:
        missing = 1.0 - self.left(now)
        return missing / self.rate if missing > 1e-9 else 0.0

    def take(self, now: float) -> None:
        self._level = self.left(now) - 1.0

    def full(self, now: float) -> float:
        return (self.burst - self.left(now)) / self.rate


class FixedWindow:
    """`quota` requests in each window of so many `seconds`, counted anew at its start."""

    def __init__(self, quota: int, seconds: float) -> None:
        self.quota, self.seconds = quota, seconds
        self.per_minute = quota * 60 / seconds
        self._window, self._used = -1, 0

    def left(self, now: float) -> float:
        window = int(now / self.seconds + 1e-9)
        if window != self._window:
            self._window, self._used = window, 0
        return float(self.quota - self._used)

    def wait(self, now: float) -> float:
        return self.full(now) if self.left(now) < 1 else 0.0

    def take(self, now: float) -> None:
        self.left(now)
        self._used += 1

    def full(self, now: float) -> float:
        self.left(now)
        return (self._window + 1) * self.seconds - now


@dataclass(frozen=True)
class Server:
    """A server: from when which limit holds, what it tells of it, and how long it takes.

    `phases` are (seconds from the start, what makes the limit, None for none at all). `latency` is
    that of an answer, drawn up to a half around it; a refusal comes after `trip`, a way there and
    back. `by_chance` of all requests are refused whatever the limit. `whole` seconds only in
    `retry-after`, rounded up, as most servers have it.
    """

    phases: Sequence[tuple[float, Callable[[], Limit] | None]]
    tells: Sequence[str] = EVERYTHING
    latency: float = 0.5
    trip: float = 0.05
    by_chance: float = 0.0
    whole: bool = False


@dataclass
class Outcome:
    """What a run came to: seconds until the last answer, requests that arrived, those refused."""

    seconds: float = 0.0
    arrived: int = 0
    refused: int = 0
    answered: int = 0
    arrivals: list[float] = field(default_factory=list)

    @property
    def share(self) -> float:
        """How many of all requests were refused, from 0 to 1."""
        return self.refused / max(1, self.arrived)


class _Limits:
    """The limit that holds at a time."""

    def __init__(self, server: Server) -> None:
        self._phases = [(start, None if make is None else make()) for start, make in server.phases]

    def at(self, now: float) -> Limit | None:
        return [limit for start, limit in self._phases if start <= now + 1e-9][-1]

    def next_phase(self, now: float) -> float:
        return min((start for start, _ in self._phases if start > now + 1e-9), default=math.inf)


def ideal(server: Server, requests: int, at_once: int) -> float:
    """Seconds that one would need who knows all: each is sent at the first moment it would pass."""
    limits = _Limits(server)
    slots = [0.0] * min(at_once, requests)
    last = now = 0.0
    for _ in range(requests):
        now = max(now, heapq.heappop(slots) + server.trip / 2)  # first come, first served
        while (limit := limits.at(now)) is not None and (wait := limit.wait(now)) > 0:
            now = min(now + wait, limits.next_phase(now))
        if limit is not None:
            limit.take(now)
        last = max(last, now + server.trip / 2 + server.latency)
        heapq.heappush(slots, now + server.trip / 2 + server.latency)
    return last


class _Refused(Exception):  # noqa: N818 - an answer, not an error
    def __init__(self, headers: Mapping[str, str], retry_after: float | None) -> None:
        self.headers, self.retry_after = headers, retry_after


class _Wire:
    """The server's end: takes requests, counts them, answers or refuses."""

    def __init__(self, server: Server, clock: Clock, seed: int) -> None:
        self.server, self.clock = server, clock
        self.limits, self.draw = _Limits(server), random.Random(seed)
        self.outcome = Outcome()

    async def send(self) -> tuple[Mapping[str, str], float]:
        """The headers of an answer and its latency in seconds, or `_Refused`."""
        server, started = self.server, self.clock()
        await asyncio.sleep(server.trip / 2 * self.draw.uniform(0.8, 1.2))
        now = self.clock()
        self.outcome.arrived += 1
        self.outcome.arrivals.append(now)
        limit = self.limits.at(now)
        wait = 0.0 if limit is None else limit.wait(now)
        refused = wait > 0 or self.draw.random() < server.by_chance
        if limit is not None and not refused:
            limit.take(now)
        headers = {} if limit is None else headers_of(limit, now, server.tells)
        if not refused:
            await asyncio.sleep(server.latency * self.draw.uniform(0.5, 1.5))
        await asyncio.sleep(server.trip / 2 * self.draw.uniform(0.8, 1.2))
        if refused:
            self.outcome.refused += 1
            after = retry_after(wait, server.whole) if "retry-after" in server.tells else None
            raise _Refused(headers if after is None else told(headers, after), after)
        self.outcome.answered += 1
        self.outcome.seconds = self.clock()
        return headers, self.clock() - started


def headers_of(limit: Limit, now: float, tells: Sequence[str]) -> dict[str, str]:
    """What an answer's headers tell of the limit at `now`."""
    name = "anthropic-ratelimit-requests"
    headers: dict[str, str] = {}
    if "limits" in tells:
        headers[f"{name}-limit"] = f"{limit.per_minute:.0f}"
        headers[f"{name}-remaining"] = f"{max(0, math.floor(limit.left(now) + 1e-9))}"
    if "reset" in tells:
        full = datetime.fromtimestamp(math.ceil(_EPOCH + now + limit.full(now)), UTC)
        headers[f"{name}-reset"] = full.strftime("%Y-%m-%dT%H:%M:%SZ")
        headers["date"] = datetime.fromtimestamp(_EPOCH + now, UTC).strftime(
            "%a, %d %b %Y %H:%M:%S GMT"
        )
    return headers


def retry_after(wait: float, whole: bool) -> float:
    """The seconds that a refusal asks to wait, `whole` ones rounded up."""
    return float(math.ceil(wait)) if whole else round(wait + 0.0005, 3)


def told(headers: Mapping[str, str], after: float) -> dict[str, str]:
    """The headers with `retry-after` beside them."""
    return {**headers, "retry-after": f"{after:g}"}


def run(
    server: Server,
    requests: int,
    at_once: int,
    make: Callable[[Clock], RateLimiter],
    *,
    grows: bool = False,
    seed: int = 1,
) -> Outcome:
    """Send so many requests, so many `at_once`, under the limiter that `make` makes.

    It is asked as the invoke stage asks it: gate, turn, send, learn or refused, back-off.
    """

    async def main(clock: Clock) -> Outcome:
        limiter, wire = make(clock), _Wire(server, clock, seed)
        gate = ConcurrencyLimit(at_once, AdaptiveConcurrency(most=at_once) if grows else None)
        backoff, jobs = Backoff(), iter(range(requests))

        async def one() -> None:
            tries = 0
            while True:
                async with gate:
                    turn = await limiter.turn(250.0, 250.0)
                    tries += 1
                    try:
                        headers, latency = await wire.send()
                    except _Refused as refusal:
                        gate.pushed_back()
                        limiter.refused(turn, refusal.headers, refusal.retry_after)
                        after, knows = refusal.retry_after, limiter.knows
                    else:
                        limiter.learn(headers, turn)
                        gate.answered(latency)
                        return
                if not knows:
                    await asyncio.sleep(backoff.delay(1, after, stretch=2.5))

        async def worker() -> None:
            for _ in jobs:
                await one()

        random.seed(seed)  # the back-off's own jitter
        async with asyncio.timeout(86_400):
            await asyncio.gather(*(worker() for _ in range(min(at_once, requests))))
        return wire.outcome

    return simulate(main)
