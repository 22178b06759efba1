"""Rate limiter: as fast as the server's headers allow, else AIMD on requests a second."""

from __future__ import annotations

import asyncio
import math
import time
from collections import deque
from collections.abc import Callable, Mapping
from itertools import islice
from typing import NamedTuple

__all__ = ["AdaptiveRate", "RateLimiter", "Turn", "Wait"]

_A_MOMENT = 0.05  # seconds: asked after each answer, but shown ten times a second at most
_KINDS = ("requests", "input-tokens", "output-tokens", "tokens")
_LIMIT = {kind: f"anthropic-ratelimit-{kind}-limit" for kind in _KINDS}
_REMAINING = {kind: f"anthropic-ratelimit-{kind}-remaining" for kind in _KINDS}
_BELIEVED = 86_400.0  # seconds: no run waits longer than a day because a header says so
_MOST = 1e12  # a minute, and so many left: more is no limit but a fault
_STEADY = 0.97  # of a told limit: who sends at exactly the limit is refused by the network's jitter


class Turn(NamedTuple):
    """A request that was let go: its number among all, from 1, and when (by the clock)."""

    number: int
    at: float


class Wait(NamedTuple):
    """How long the next request waits, in seconds, and why, in words for whoever watches."""

    seconds: float
    reason: str


class _Bucket:
    """Token bucket of one kind: refilled at `limit` a minute, never above what was ever left.

    The server's own count can only lower the level: answers come out of order, and an old one must
    not give back what newer requests have used. The most that was ever left is taken for the most
    that there can be: servers differ in how large a burst they take. Nothing waits for more than
    that twice, whatever is told: two minutes.
    """

    def __init__(self, limit: float, remaining: float, now: float) -> None:
        self.limit, self.at = limit, now
        self.most = max(1.0, min(limit, remaining))
        self.level = max(-self.most, min(limit, remaining))

    def refill(self, now: float) -> None:
        gained = (now - self.at) * _STEADY * self.limit / 60.0
        self.level = max(self.level, min(self.most, self.level + gained))
        self.at = now

    def told(self, limit: float, remaining: float, now: float) -> None:
        self.refill(now)
        self.limit = limit
        self.most = max(1.0, min(limit, max(self.most, remaining)))
        self.level = max(-self.most, min(self.level, remaining))

    def take(self, need: float) -> None:
        """A request of so much goes. Its debt is bounded: one above the limit waits once."""
        self.level = max(-self.most, self.level - need)

    def wait(self, need: float) -> float:
        """Seconds until `need` is there; a need above the most there can be waits for that."""
        missing = min(need, self.most) - self.level
        seconds = missing * 60.0 / (_STEADY * self.limit)
        # A rest of rounding must not be waited for: no clock can tell so short a time.
        return seconds if seconds > 1e-6 else 0.0


class AdaptiveRate:
    """AIMD on requests a second, for limits that the server doesn't tell.

    Until refusals are too many to be chance nothing waits, except that of a large run's first
    requests those after a hundred double every tenth of a second, so that news of a refusal can
    come before all are sent. Then slow start, as in TCP (Jacobson 1988): a few requests a second,
    and more with each, up to the next refusal. At both ends the server had nothing left, so what
    went through in between, by time, is what it refills (Mascolo et al., "TCP Westwood", 2001).
    From a tenth below that the rate grows with each request and falls with each refusal: additive
    increase and multiplicative decrease (Chiu and Jain 1989), where the step is small near the rate
    that was refused and grows beyond it, as CUBIC's (Ha, Rhee and Xu 2008). Halving and a fixed
    step use three quarters of a limit whose burst is small ("50 a second, 3 at once" in
    `tests/simulation/test_rates.py`). A rate that was lowered by a fifth while refusals come as
    before was not their reason: they are chance, and nobody waits for that.
    """

    DECREASE = 0.1  # of the rate that was refused
    PLATEAU = 100  # requests until it is reached again; 3 seconds' worth where that is more
    MEASURED_BY = 10  # requests that tell a rate; fewer tell that there is nothing left
    DENSE = 7  # refusals among the last 16 that were heard of: a limit was met
    SPARSE = 4  # among the last 160: there may be one
    LIMITED = 0.25  # refused of all since the last refusal: the limit is another one now
    FIRST, SLOWEST = 8.0, 1 / 30  # requests a second at slow start
    LATE = 0.05  # seconds that a late request may make up for

    def __init__(self) -> None:
        self.paced: bool = False
        self.rate: float | None = None
        self._sent = self._seen = 0  # last number sent, and when the last refusal was heard of
        self._heard: deque[bool] = deque(maxlen=160)  # refused, or answered
        self._times: deque[float] = deque(maxlen=50)
        self._empty: Turn | None = None  # when the server had nothing left
        self._lost = 0  # refused since then
        self._between: tuple[float, int] | None = None  # what went through between two such times
        self._plateau, self._since, self._start, self._lag = 100.0, 0, self.FIRST, 0.0
        self._next, self._hold, self._best = -math.inf, 0.5, 0.0
        self._doubted_until, self._doubted_for = 0, 1_000

    def wait(self, now: float) -> float:
        """Seconds until the next request may go."""
        return self._next - now

    def sent(self, turn: Turn) -> None:
        """A request went out as `turn`."""
        self._sent = turn.number
        self._times.append(turn.at)
        self._next = max(self._next, turn.at - self.LATE) + 1.0 / self._pace()

    def answered(self) -> None:
        """A request was answered."""
        self._heard.append(False)

    def refused(self, turn: Turn, now: float) -> None:
        """The request of `turn` was told to come later."""
        self._heard.append(True)
        if turn.number > self._seen:
            self._met(turn, now)
        elif self._empty is not None:  # sent before the last refusal was known: the same one
            self._lost += turn.number > self._empty.number
        if not self.paced:
            self._suspect(now)

    def _pace(self) -> float:
        """Requests a second, now."""
        n = self._sent - self._since
        if not self.paced:
            return 7.0 * n if n > 100 else math.inf
        if self.rate is None:
            doubling = max(0.25, 2 * self._lag)
            return self._start + n * max(2.0, self._start) / self.FIRST * math.log(2) / doubling
        short = 1.0 - n / self._plateau
        return self.rate * (1.0 - self.DECREASE * short * abs(short))

    def _met(self, turn: Turn, now: float) -> None:
        """The server had nothing left when this request came."""
        self._lag = now - turn.at
        before, number = self._empty or Turn(0, turn.at), self._sent
        self._seen = number
        through = turn.number - 1 - before.number - self._lost
        if through < self.MEASURED_BY:
            self._lost += 1
            self._probe(now)
            return
        share = (self._lost + 1) / (through + self._lost + 1)
        rate = max(self.SLOWEST, through / max(1e-3, turn.at - before.at))
        first, self._empty, self._lost = self._empty is None, Turn(number, turn.at), 0
        if self.paced:
            self._slow_down(self._judged(rate, turn, share), through, now)
        elif not first:
            self._between = rate, through

    def _probe(self, now: float) -> None:
        """Nothing is left yet: wait twice as long each time, up to half a minute."""
        if self.rate is not None:
            self._next = now + self._hold
            self._hold = min(30.0, 2 * self._hold)
        elif self.paced:
            self._since, self._start = self._sent, max(self.SLOWEST, self._start / 2)
            self._next = now + 1.0 / self._start

    def _suspect(self, now: float) -> None:
        """Begin to pace where refusals are too many to be chance."""
        heard = self._heard
        if sum(islice(heard, max(0, len(heard) - 16), None)) >= self.DENSE:
            self.paced, self.rate, self._start = True, None, self.FIRST
            self._empty, self._lost, self._seen = Turn(self._sent, now), 0, self._sent
            self._since, self._next = self._sent, now + 0.5
        elif self._between and self._sent >= self._doubted_until and sum(heard) >= self.SPARSE:
            self.paced = True
            self._best = self._between[0]
            self._slow_down(*self._between, now)

    def _judged(self, rate: float, turn: Turn, share: float) -> float:
        """What a refusal makes of the measured `rate`, where it isn't the first.

        Bursts and waits blur it: unless many were refused it is never much below the last one, nor
        below what went through at the end of a long climb.
        """
        if self.rate is None or share >= self.LIMITED:
            self._best = rate
            return rate
        if turn.number - self._since > self._plateau:
            lately = (len(self._times) - 1) / max(1e-3, self._times[-1] - self._times[0])
            rate = max(rate, min(1.25 * rate, 0.97 * lately))
        rate = max(rate, 0.97 * self.rate)
        self._best = max(self._best, rate)
        return rate

    def _slow_down(self, rate: float, through: int, now: float) -> None:
        if rate < 0.8 * self._best:
            self._forget()
            return
        self.rate, self._since, self._hold = rate, self._sent, 4.0 / rate
        self._plateau = min(max(self.PLATEAU, 3.0 * rate), max(20.0, 4.0 * through))
        self._next = now + min(30.0, 2.0 / rate)

    def _forget(self) -> None:
        """Refusals come whatever the rate is: they are chance, and it takes more to be sure."""
        self.paced, self.rate, self._between = False, None, None
        self._heard.clear()
        self._since = self._sent
        self._doubted_until = self._sent + self._doubted_for
        self._doubted_for *= 2


class RateLimiter:
    """Spaces requests by what the server tells; where it tells nothing, by what it refuses.

    What is told comes first: the `anthropic-ratelimit-*` headers, whose limits are for a minute,
    and every `retry-after`, for which all wait. `AdaptiveRate` holds back besides, where requests
    are refused nonetheless. Values that can't be meant (negative, not finite, a wait of more than a
    day) count as not told; `odd` says so. `clock` gives seconds and has to run as the loop's own
    time does. Whoever sends needs `turn` before, then `learn` or `refused` (and `pause` for other
    errors that ask to wait); the rest is for whoever shows it.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.odd: str = ""  # the last thing told that can't be meant, in words
        self._clock = clock
        self._buckets: dict[str, _Bucket] = {}
        self._rate = AdaptiveRate()
        self._paused_until = -math.inf
        self._sent = 0
        self._turns = asyncio.Lock()
        self._limited, self._look_again = False, -math.inf

    @property
    def limited(self) -> bool:
        """Whether the next request would have to wait, as it stood a moment ago."""
        now = self._clock()
        if now >= self._look_again:
            self._look_again = now + _A_MOMENT
            self._limited = self._delay({"requests": 1.0}) > 0
        return self._limited

    @property
    def knows(self) -> bool:
        """Whether it can tell when a refused request may go again."""
        return self._rate.paced or any(bucket.level < 1 for bucket in self._buckets.values())

    @property
    def wait(self) -> Wait | None:
        """How long the next request has to wait and why; None where it may go."""
        now = self._clock()
        waits = [Wait(self._paused_until - now, "the server asked to wait (retry-after)")]
        for kind, bucket in self._buckets.items():
            bucket.refill(now)
            said = f"the server allows {bucket.limit:,.0f} {kind.replace('-', ' ')} a minute"
            waits.append(Wait(bucket.wait(1.0), said))
        rate = self._rate.rate
        said = "the server refuses requests and doesn't tell its limit"
        if rate is not None:
            said += f": about {rate:.2g} a second get through"
        waits.append(Wait(self._rate.wait(now), said))
        longest = max(waits)
        if longest.seconds <= 0:
            return None
        return longest._replace(reason="; ".join(filter(None, (longest.reason, self.odd))))

    async def turn(self, tokens_in: float = 0.0, tokens_out: float = 0.0) -> Turn:
        """Wait, first come first served, until a request of about so many tokens may go."""
        needs = {
            "requests": 1.0,
            "input-tokens": tokens_in,
            "output-tokens": tokens_out,
            "tokens": tokens_in + tokens_out,
        }
        if self._turns.locked() or self._delay(needs) > 0:
            async with self._turns:
                while (delay := self._delay(needs)) > 0:
                    await asyncio.sleep(delay)
                return self._go(needs)
        return self._go(needs)

    def _go(self, needs: Mapping[str, float]) -> Turn:
        for kind, bucket in self._buckets.items():
            bucket.take(needs[kind])
        self._sent += 1
        turn = Turn(self._sent, self._clock())
        self._rate.sent(turn)
        return turn

    def learn(self, headers: Mapping[str, str], turn: Turn | None = None) -> None:
        """Take over what an answer's headers (lower-case names) say of the limits."""
        self._told(headers, turn)
        self._rate.answered()

    def refused(
        self, turn: Turn, headers: Mapping[str, str], retry_after: float | None = None
    ) -> None:
        """The request of `turn` was refused by a 429 with these headers.

        `retry_after`: what of them could be read as seconds to wait.
        """
        self._told(headers, turn)
        self._rate.refused(turn, self._clock())
        if retry_after is not None:
            self.pause(retry_after)
        else:
            self.doubt(headers)

    def doubt(self, headers: Mapping[str, str]) -> None:
        """A request failed, and no time to wait could be read in these headers."""
        asked = headers.get("retry-after-ms") or headers.get("retry-after")
        if asked:
            self.odd = f"its retry-after ({asked[:40]!r}) can't be meant and is passed over"

    def pause(self, seconds: float) -> None:
        """Nothing goes for so long: the server asked for it."""
        if 0 <= seconds <= _BELIEVED:
            self._paused_until = max(self._paused_until, self._clock() + seconds)
        elif not seconds < 0:
            self.odd = f"its retry-after ({seconds:.3g} s) can't be meant and is passed over"

    def _told(self, headers: Mapping[str, str], turn: Turn | None) -> None:
        now = self._clock()
        for kind in _KINDS:
            told, left = headers.get(_LIMIT[kind]), headers.get(_REMAINING[kind])
            if told is None or left is None:
                continue
            try:
                limit, remaining = float(told), float(left)
            except ValueError:
                continue
            if not (1 <= limit <= _MOST and 0 <= remaining <= _MOST):
                self.odd = (
                    f"{remaining:g} left of {limit:g} {kind} can't be meant and is passed over"
                )
                continue
            if kind == "requests" and turn is not None:
                # Counted when that request came in: since then some came back, others were sent.
                remaining += (now - turn.at) * _STEADY * limit / 60.0 - (self._sent - turn.number)
            if kind in self._buckets:
                self._buckets[kind].told(limit, remaining, now)
            else:
                self._buckets[kind] = _Bucket(limit, remaining, now)

    def _delay(self, needs: Mapping[str, float]) -> float:
        now = self._clock()
        delay = max(self._paused_until - now, self._rate.wait(now))
        for kind, bucket in self._buckets.items():
            bucket.refill(now)
            delay = max(delay, bucket.wait(needs.get(kind, 0.0)))
        return delay
