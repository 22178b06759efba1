"""An outage told from bad rows: when nothing succeeds any more, nothing is sent but a probe."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from ..errors import FatalProviderError, RateLimitedError, TransientError
from ..orchestration import Control, RunMetrics
from .concurrency import ConcurrencyLimit
from .rate_limit import Turn
from .retry import Attempts, Backoff

__all__ = ["CircuitBreaker", "Outage"]


_ROWS = 5  # so many distinct rows have to fail before it can be the server and not the rows
_QUIET_SECONDS = 2.0
_ROWS_IN_VAIN = 20


class CircuitBreaker:
    """Judges failed attempts: is it the row, or does the server answer nobody?

    A row's attempts count against it while others succeed, or while too few rows fail to tell. Open
    means an outage; `exhausted` that it has lasted longer than the back-off's patience. A 429 says
    how fast to go, not that the server is gone: it never opens the breaker.
    """

    def __init__(self, backoff: Backoff, clock: Callable[[], float] = time.monotonic) -> None:
        self.backoff = backoff
        self.open: bool = False
        self.exhausted: bool = False
        self.proven: bool = False
        self.next_try: float = 0.0
        self._clock = clock
        self._successes = self._probes = self._streak = self._in_vain = 0
        self._failing: set[Attempts] = set()
        self._evidence: set[Attempts] = set()
        self._last_success = clock()
        self._latency = 0.0
        self._since = self._trouble = self._not_before = 0.0
        self._last_error: TransientError | None = None

    @property
    def why(self) -> str:
        """What the last failure was, in a word or two."""
        return "" if self._last_error is None else self._last_error.label

    def sending(self, trial: Attempts, turn: Turn | None = None, *, probing: bool = False) -> None:
        """An attempt goes out now, as the pacer's `turn`."""
        trial.tries += 1
        trial.turn = turn
        trial.probing = probing
        trial.sent_at = self._clock()
        if trial.tries == 1:
            trial.seen, trial.late = self._successes, self.exhausted

    def answered(self, latency: float | None = None) -> bool:
        """The server answered, for good or (no `latency`, seconds) to refuse; whether it was out.

        Only a good answer shows that the run as a whole can succeed.
        """
        was_out = self.open or self.exhausted
        self.open = self.exhausted = False
        self._probes = self._streak = self._in_vain = 0
        self._not_before = 0.0
        self._failing.clear()
        self._evidence.clear()
        self._last_success = self._clock()
        if latency is not None:
            self._successes += 1
            self.proven = True
            self._latency += (latency - self._latency) / min(self._successes, 32)
        return was_out

    def failed(self, trial: Attempts, error: TransientError, at_once: int) -> None:
        """An attempt failed, with `at_once` requests allowed in flight."""
        now = self._clock()
        others = self._successes > trial.seen
        trial.seen, trial.error, self._last_error = self._successes, error, error
        trial.blamed += others
        self._note(trial, error, now)
        trial.counted += self._counts(error, others)
        if error.retry_after is not None:
            self._not_before = max(self._not_before, now + error.retry_after)
        if self.open:
            if trial.probing:
                self._probes += 1
                self._plan(now)
        elif not self.exhausted and self._is_outage(now, at_once):
            self.open = True
            self._plan(now)
        self._lose_patience(now)

    def _note(self, trial: Attempts, error: TransientError, now: float) -> None:
        start = max(self._last_success, trial.sent_at)
        if not self._failing:
            self._since, self._trouble = start, now
        self._since = min(self._since, start)
        self._failing.add(trial)
        if not isinstance(error, RateLimitedError):
            self._streak += 1
            if trial.blamed < 2:
                self._evidence.add(trial)

    def _counts(self, error: TransientError, others: bool) -> bool:
        if isinstance(error, RateLimitedError):
            # Others that got through used up what this one would have had.
            return not others and (not self.proven or len(self._failing) < _ROWS)
        return others or not self.proven or (not self.open and len(self._evidence) < _ROWS)

    def _is_outage(self, now: float, at_once: int) -> bool:
        if not self.proven or len(self._evidence) < _ROWS:
            return False
        quiet = now - self._since >= max(_QUIET_SECONDS, 1.5 * self._latency)
        return quiet or self._streak >= 3 * max(1, at_once)

    def _plan(self, now: float) -> None:
        self.next_try = max(now + self.backoff.probe(self._probes), self._not_before)

    def _lose_patience(self, now: float) -> None:
        if (self.open or len(self._failing) >= _ROWS) and now - self._trouble >= self.patience:
            self.open, self.exhausted = False, True

    @property
    def patience(self) -> float:
        """Seconds without a success, after the first failure, until rows fail at once."""
        limited = isinstance(self._last_error, RateLimitedError)
        long = self.proven or limited
        return self.backoff.patience if long else self.backoff.opening_patience

    def check(self) -> None:
        """Lose patience where it is time, without another failure."""
        self._lose_patience(self._clock())

    def ends(self) -> float:
        """When patience ends, by the clock."""
        return self._trouble + self.patience

    def renew(self) -> None:
        """Somebody wants it tried now: patience and probes begin again."""
        now = self._clock()
        self._trouble = self.next_try = now
        self._probes = 0

    def gives_up(self, trial: Attempts) -> bool:
        """Whether the row of this trial fails for good.

        Raises `FatalProviderError` where so many rows in a row did that no further one should try.
        """
        if not self.exhausted and trial.counted < (trial.most or self.backoff.attempts):
            return False
        if not self.proven or (self.exhausted and trial.late):
            self._in_vain += 1
        if self._in_vain >= _ROWS_IN_VAIN:
            raise FatalProviderError(self._verdict()) from trial.error
        return True

    def _verdict(self) -> str:
        seconds = self._clock() - self._trouble
        since = "a single request" if not self.proven else "any request since then"
        return (
            f"no answer for {seconds:,.0f} s and {self._in_vain} rows in a row failed, without "
            f"{since} succeeding: {self._last_error}. Run again when the server is back: what is "
            "answered is not paid again"
        )


class Outage:
    """What a run does about its breaker: shuts the gate, lets a probe in, and says so.

    Everything here runs on the run's loop.
    """

    def __init__(
        self, breaker: CircuitBreaker, gate: ConcurrencyLimit, control: Control, metrics: RunMetrics
    ) -> None:
        self.breaker: CircuitBreaker = breaker
        self.gate: ConcurrencyLimit = gate
        self._control, self._gauges = control, metrics
        self._timer: asyncio.TimerHandle | None = None

    def hold(self, held: bool) -> None:
        """The user paused or resumed the run; to resume in an outage is to try at once."""
        self.gate.hold(held)
        if not held and self.breaker.open:
            self.breaker.renew()
            self.update()

    def update(self) -> None:
        """Bring gate, timer and words to what the breaker says now."""
        self._cancel()
        breaker, gate = self.breaker, self.gate
        if breaker.open:
            gate.shut(True)
            at = min(breaker.next_try, breaker.ends())
            delay = max(0.0, at - breaker._clock())
            self._timer = asyncio.get_running_loop().call_later(delay, self._try)
            self._say(f"paused: the server answers nothing ({breaker.why})", breaker.next_try)
        elif breaker.exhausted:
            gate.proven = False  # few at a time: each is expected to fail
            gate.shut(False)
            self._say(
                f"the server has answered nothing for {breaker.patience:g} s: rows fail", None
            )
        self._control.outage = breaker.open

    def over(self) -> None:
        """The server answers again: go on, few at once at first."""
        self._cancel()
        if self.gate.growth is not None:
            self.gate.growth.start_over()
        self.gate.shut(False)
        self._control.outage = False
        self._say("", None)

    def close(self) -> None:
        """The run is over: no probe is let in any more."""
        self._cancel()

    def _try(self) -> None:
        self._timer = None
        self.breaker.check()
        if self.breaker.exhausted:
            self.update()
        elif self.breaker.open and not self.gate.held:
            self.gate.let_one_in()

    def _cancel(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _say(self, message: str, until: float | None) -> None:
        if not self._control.stopping:
            self._gauges.message, self._gauges.message_until = message, until
