"""How fast to send: under the limits that the server's headers tell, and as many at once as pay."""

from __future__ import annotations

import asyncio
import math
import time
from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Mapping
from typing import NamedTuple

__all__ = ["Rate", "RateLimiter", "Turn"]


_A_MOMENT = 0.05  # seconds: asked after each answer, but shown ten times a second at most
_KINDS = ("requests", "input-tokens", "output-tokens", "tokens")


class Turn(NamedTuple):
    """A request that was let go: its number among all, from 1, and when (by the pacer's clock)."""

    number: int
    at: float


class _Bucket:
    """What may still be sent of one kind: refilled at `limit` a minute, never above what is left.

    The server's own count can only lower the level: answers come out of order, and an old one must
    not give back what newer requests have used. The most that was ever left is taken for the most
    that there can be: servers differ in how large a burst they take.
    """

    def __init__(self, limit: float, remaining: float, now: float) -> None:
        self.limit, self.level, self.at = limit, remaining, now
        self.most = max(1.0, remaining)
        self.margin = 1.0

    def refill(self, now: float) -> None:
        gained = (now - self.at) * self.speed
        self.level = max(self.level, min(self.most, self.level + gained))
        self.at = now

    def told(self, limit: float, remaining: float, now: float) -> None:
        self.refill(now)
        self.limit = limit
        self.most = max(self.most, remaining)
        self.level = min(self.level, remaining)

    @property
    def speed(self) -> float:
        """What flows in, a second; a little less where the server takes hardly any burst."""
        steady = self.limit / 60.0
        return steady * (min(self.margin, 0.94) if self.most < steady / 4 else self.margin)

    def wait(self, need: float) -> float:
        """Seconds until `need` is there; a need above the most there can be waits for that."""
        missing = min(need, self.most) - self.level
        # A rest of rounding must not be waited for: no clock can tell so short a time.
        return missing / self.speed if missing > 1e-6 else 0.0


class Rate:
    """A pace learned from refusals, for servers that don't tell their limits.

    Between two moments at which it had nothing left, a server let through just what it refills. So
    once refusals come too densely to be chance, all wait a moment and then go faster and faster up
    to the next refusal: what went through in between, by time, is the rate. From then on requests
    go a little slower than that, and by and by a little faster, for limits may grow.
    """

    _BELOW, _GROWTH = 0.97, 0.0003
    _RAMP, _DOUBLING = 8.0, 0.25  # requests a second at first, seconds until twice as many
    _FEW, _LATELY = 5, 50  # so few requests tell no rate, so many tell that of a moment
    _SLACK = 0.05  # seconds that a late request may make up for
    _WINDOWS = (64, 256, 1024)  # requests in which refusals are counted: more than are in flight
    _DENSE = 10 / 64  # refusals by chance are more seldom
    _EVEN = 1.25  # of four distances drawn by chance, one in a thousand are so equal

    def __init__(self) -> None:
        self.known: bool = False
        self.rate: float | None = None
        self._last = self._seen = 0
        self._refused: deque[int] = deque(maxlen=self._WINDOWS[-1])
        self._hits: deque[int] = deque(maxlen=6)
        self._gaps: deque[int] = deque(maxlen=4)
        self._sends: deque[Turn] = deque(maxlen=512)  # those behind a refused one, too
        self._hit = Turn(0, 0.0)
        self._lost = 0  # refused since the last hit
        self._trust = 0.0  # requests in which the pace about doubles
        self._resume = self._next = 0.0
        self._waits = 0.5
        self._chance_until, self._chance_for = 0, 500

    def wait(self, now: float) -> float:
        """Seconds until the next request may go."""
        return max(self._resume, self._next) - now if self.known else 0.0

    def sent(self, turn: Turn) -> None:
        """A request went out as `turn`."""
        self._last = turn.number
        self._sends.append(turn)
        if self.known:
            self._next = max(self._next, turn.at - self._SLACK) + 1.0 / self._pace(turn.at)

    def _pace(self, now: float) -> float:
        if self.rate is None:
            return float(self._RAMP * 2.0 ** min(20.0, (now - self._resume) / self._DOUBLING))
        through = max(0, self._last - self._hit.number)
        return self.rate * (self._BELOW + self._GROWTH * through + (through / self._trust) ** 2)

    def refused(self, turn: Turn, now: float, *, waited: bool = False) -> None:
        """The request of `turn` was told to come later; `waited`: after the last one, all did."""
        self._refused.append(turn.number)
        again = turn.number <= self._seen  # sent before the last refusal was known: the same one
        if not self.known:
            if not again:
                self._notice(turn, waited)
            if self._is_dense() or (not again and self._is_even()):
                self._begin(now)
            return
        if again:
            self._lost += turn.number > self._hit.number
            return
        through = turn.number - 1 - self._hit.number - self._lost
        self._seen = self._last
        if through >= self._FEW:
            self._measure(turn, through)
            self._hits.append(turn.number)
        else:  # too few to tell: measured from the same moment, when more have come
            self._lost += 1
            self._waits = min(30.0, 2 * self._waits)
        self._hold(now)
        if len(self._hits) == self._hits.maxlen and turn.number - self._hits[0] < 300:
            self._forget()

    def _notice(self, turn: Turn, waited: bool) -> None:
        """Keep how many went through since the last refusal, where all waited after that."""
        if waited:
            self._gaps.append(turn.number - self._seen)
        else:
            self._gaps.clear()
        self._seen = self._last

    def _is_dense(self) -> bool:
        numbers = sorted(self._refused)
        if self._last < self._chance_until:  # taken for chance before: it takes more to be sure
            return len(numbers) > 9 and self._last - numbers[-10] < 20
        if len(numbers) > 3 and numbers[-1] - numbers[-4] <= 4:
            return True
        return any(
            len(numbers) - bisect_right(numbers, self._last - window) > self._DENSE * window
            for window in self._WINDOWS
        )

    def _is_even(self) -> bool:
        """Whether as many requests go through after each wait of all, as `retry-after` asks for.

        Meanwhile a server refills always as much. What is refused by chance has no such order.
        """
        if len(self._gaps) < 4 or self._last < self._chance_until:
            return False
        least, most = min(self._gaps), max(self._gaps)
        return least > 1 / self._DENSE and most <= self._EVEN * least

    def _begin(self, now: float) -> None:
        self.known, self.rate = True, None
        self._hits.clear()
        self._gaps.clear()
        self._seen, self._lost, self._waits = self._last, 0, 0.5
        self._hit = Turn(self._last, now)
        self._hold(now)

    def _measure(self, turn: Turn, through: int) -> None:
        """What went through since the last hit, by time; after a long climb, what did lately.

        Where all had to wait long, a server that takes hardly any burst let go by what it refilled
        meanwhile: so one hit takes only a part of the pace away.
        """
        rate = through / max(0.001, turn.at - self._hit.at)
        trust = 10.0 if self.rate is not None else 4.0  # the first one may be far too low
        if self.rate is not None and rate < self.rate:
            going = through / max(0.001, turn.at - self._resume)
            rate = max(rate, 0.85 * min(self.rate, going))
        if through > 2 * self._LATELY:
            lately = [each for each in self._sends if each.number <= turn.number][-self._LATELY :]
            if len(lately) == self._LATELY:
                rate = max(rate, 0.9 * len(lately) / max(0.001, turn.at - lately[0].at))
        self.rate = rate
        self._trust = min(900.0, max(20.0, trust * through))
        self._hit, self._lost, self._waits = Turn(self._last, turn.at), 0, 0.5

    def _hold(self, now: float) -> None:
        """All wait: until something is there again, or for so long as it takes to tell a rate."""
        pause = self._waits if self.rate is None or self._waits > 0.5 else 2.0 / self.rate
        self._resume = self._next = now + min(30.0, pause)

    def _forget(self) -> None:
        """Refusals come whatever the pace is: they are chance, and waiting helps nobody."""
        self.known, self.rate = False, None
        self._refused.clear()
        self._chance_until = self._last + self._chance_for
        self._chance_for *= 2


class RateLimiter:
    """Spaces requests by the `anthropic-ratelimit-*` headers, and by every `retry-after`.

    Limits are for a minute, as the headers have them. Where there are none, a rate is learned from
    what the server refuses; without refusals nothing waits.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._buckets: dict[str, _Bucket] = {}
        self._rate = Rate()
        self._paused_until = self._refused_at = -math.inf
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
        return self._rate.known or any(bucket.level < 1 for bucket in self._buckets.values())

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
            bucket.level -= needs[kind]
        self._sent += 1
        turn = Turn(self._sent, self._clock())
        self._rate.sent(turn)
        return turn

    def learn(self, headers: Mapping[str, str], turn: Turn | None = None) -> None:
        """Take over what an answer's headers (lower-case names) say of the limits."""
        now = self._clock()
        since = 0 if turn is None else self._sent - turn.number
        for kind in _KINDS:
            try:
                limit = float(headers[f"anthropic-ratelimit-{kind}-limit"])
                remaining = float(headers[f"anthropic-ratelimit-{kind}-remaining"])
            except (KeyError, ValueError):
                continue
            if limit <= 0:
                continue
            if kind in self._buckets:
                self._buckets[kind].told(limit, remaining, now)
            else:
                self._buckets[kind] = _Bucket(limit, remaining, now)
                if kind == "requests":  # those sent since then may not be counted in it
                    self._buckets[kind].level -= since

    def refused(self, turn: Turn, headers: Mapping[str, str]) -> None:
        """The request of `turn` was refused by a 429 with these headers."""
        self.learn(headers, turn)
        empty = [bucket for bucket in self._buckets.values() if bucket.level < 1]
        for bucket in empty:
            bucket.margin = max(0.8, 0.98 * bucket.margin)
        waited, self._refused_at = self._paused_until > self._refused_at, self._clock()
        if not empty:
            self._rate.refused(turn, self._refused_at, waited=waited)

    def pause(self, seconds: float) -> None:
        """Nothing goes for so long: the server asked for it."""
        self._paused_until = max(self._paused_until, self._clock() + seconds)

    def _delay(self, needs: Mapping[str, float]) -> float:
        now = self._clock()
        delay = max(self._paused_until - now, self._rate.wait(now))
        for kind, bucket in self._buckets.items():
            bucket.refill(now)
            delay = max(delay, bucket.wait(needs.get(kind, 0.0)))
        return delay
