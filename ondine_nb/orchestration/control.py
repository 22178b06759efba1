"""How a run is stopped from outside, and the metrics that a view reads."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from ..models import ZERO, Failure, MediaCounts, Savings

__all__ = ["Control", "GroupProgress", "RowSample", "RunMetrics", "Sample"]

logger = logging.getLogger("ondine_nb.run")

_ENDED_ITSELF = ("budget", "failed", "no key", "on_error", "stream closed")
_TEXT_SHOWN = 300
_LONG_WAIT = 60.0  # seconds: a longer wait for a rate limit is told
_FAILURES_SHOWN = 5  # of each kind
_FAILURES_KEPT = 10_000


class Control:
    """How a run is told to stop, and how what it left in flight is found again.

    `stop` may be called from any thread; the loop that runs the rows is told through
    `call_soon_threadsafe`. The first stop sends nothing more; the second cancels what is in flight.
    `outage` says that the run has paused by itself, because the server answers nothing.
    """

    def __init__(self) -> None:
        self.stopping: bool = False
        self.paused: bool = False
        self.outage: bool = False
        self.reason: str | None = None
        self.error: BaseException | None = None
        self.cancelled: bool = False
        self.draining: set[asyncio.Task[Any]] = set()
        self._asked = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop_workers: list[Callable[[bool], None]] = []
        self._holds: list[Callable[[bool], None]] = []

    def bind(self, loop: asyncio.AbstractEventLoop, stop_workers: Callable[[bool], None]) -> None:
        """Called by the run loop: `stop_workers(hard)` ends workers of its."""
        self._loop = loop
        self._stop_workers.append(stop_workers)
        if self.stopping:
            stop_workers(self.cancelled)

    def stop(self, reason: str = "stopped", error: BaseException | None = None) -> None:
        """Send nothing more. A second one from outside cancels what is in flight too.

        A run that ended itself, or whose chunks nobody takes any more, was not asked to: the first
        stop after that changes nothing.
        """
        asked = error is None and reason not in _ENDED_ITSELF
        self.cancelled = self.cancelled or (asked and self._asked)
        self._asked = self._asked or asked
        if not self.stopping:
            self.stopping, self.reason, self.error = True, reason, error
        self._on_loop(self._stop_workers, self.cancelled)

    def begin_again(self) -> None:
        """Another run begins with the same context: what stopped the last one is over."""
        self.stopping = self.cancelled = self._asked = self.outage = False
        self.reason = self.error = self._loop = None
        self._stop_workers, self._holds = [], []

    def on_pause(self, hold: Callable[[bool], None]) -> None:
        """Have `hold(paused)` called on the run's loop at each pause and resume (and now)."""
        self._holds.append(hold)
        hold(self.paused)

    def pause(self) -> None:
        """Send nothing more until `resume`; from any thread. What is in flight goes on."""
        self._hold(True)

    def resume(self) -> None:
        """Go on after a pause; from any thread."""
        self._hold(False)

    def _hold(self, paused: bool) -> None:
        self.paused = paused
        self._on_loop(self._holds, paused)

    def _on_loop(self, calls: Sequence[Callable[[bool], None]], flag: bool) -> None:
        if self._loop is not None and not self._loop.is_closed():
            for call in list(calls):
                self._loop.call_soon_threadsafe(call, flag)

    async def drained(self) -> None:
        """Return when nothing of the run is in flight any more."""
        while self.draining:
            await asyncio.wait(set(self.draining))


@dataclass(frozen=True, slots=True)
class Sample:
    """A finished row as a view shows it: position from 0, its input values, its new cells."""

    position: int
    inputs: dict[str, Any]
    outputs: dict[str, Any]


@dataclass(slots=True)
class RowSample:
    """The same of a row that has just finished, cut short only when somebody looks."""

    position: int
    names: Mapping[str, int]
    values: Sequence[Any]
    cells: dict[str, Any]

    @property
    def inputs(self) -> dict[str, Any]:
        """The row's values by column, long texts cut."""
        return {name: _short(self.values[at]) for name, at in self.names.items()}

    @property
    def outputs(self) -> dict[str, Any]:
        """The new cells by column, long texts cut."""
        return {name: _short(value) for name, value in self.cells.items()}


def _short(value: Any) -> Any:
    return value[:_TEXT_SHOWN] if isinstance(value, str) else value


def _no_wait() -> None:
    """Nothing waits for a rate limit."""


@dataclass(slots=True)
class GroupProgress:
    """How far a run over groups of rows is, below the question of each group that is its row's own.

    `groups` of `rows` rows; of the trees that were made by now the `levels` of the tallest, how
    many `questions` there are below the roots, and how many of them are `done`. Where rows stand
    for themselves there are no groups, and `texts` of them are asked in `chunks`.
    """

    groups: int
    rows: int
    levels: int = 1
    questions: int = 0
    done: int = 0
    texts: int = 0
    chunks: int = 0

    def found(self, levels: int, questions: int) -> None:
        """Another tree is there."""
        self.levels = max(self.levels, levels)
        self.questions += questions

    def dropped(self, questions: int) -> None:
        """So many questions of a tree won't be asked."""
        self.questions -= questions

    @property
    def left(self) -> int:
        """Questions below the roots that aren't done."""
        return max(0, self.questions - self.done)


@dataclass
class RunMetrics:
    """What a view shows beside the counts; not part of a checkpoint.

    USD: `saved` is what answers from the journal and equal rows would have cost, and
    `saved_by_duplicates` the equal rows' share of it; `saved_by_cache` is what cached tokens cost
    less (below 0 while they are only written), `saved_by_batches` what requests in batches do.
    `paid` replies of this process, to `paid_questions`, have cost `paid_cost`, and `paid_squares`
    is the sum of the squares of their costs.
    `message_until` is when what `message` says changes, by `time.monotonic`, or None. `rate_wait`
    gives the seconds for which the next request waits for a rate limit, and why. `open_ended`
    says that more rows may come than `total_rows` has counted by now. `later` are failures of rows
    behind a table stage, where `row` is the position in what that stage gave; `warnings` are those
    of stages about their input, which are logged once. `failed` are the first 10,000 failures, in
    the order in which rows failed; where a view tells of them (`shown`) the log does not. `media`
    counts the pictures and documents in the prompts that were made, `groups` is how far the trees
    of groups are, None where rows stand for themselves.
    """

    media: MediaCounts = field(default_factory=MediaCounts)
    state: str = "pending"
    message: str = ""
    message_until: float | None = None
    rate_wait: Callable[[], tuple[float, str] | None] = _no_wait
    in_flight: int = 0
    concurrency: int = 0
    concurrency_note: str = ""
    requests: int = 0
    retries: int = 0
    duplicates: int = 0
    possibly_billed: Decimal = ZERO
    saved: Decimal = ZERO
    saved_by_duplicates: Decimal = ZERO
    saved_by_cache: Decimal = ZERO
    saved_by_batches: Decimal = ZERO
    paid: int = 0
    paid_questions: int = 0
    paid_cost: Decimal = ZERO
    paid_squares: float = 0.0
    latencies: deque[float] = field(default_factory=lambda: deque(maxlen=512))
    recent: deque[Sample | RowSample] = field(default_factory=lambda: deque(maxlen=3))
    failures: Counter[str] = field(default_factory=Counter)
    last_error: Failure | None = None
    failed: list[Failure] = field(default_factory=list)
    shown: bool = False
    first_failures: dict[str, list[Failure]] = field(default_factory=dict)
    open_ended: bool = False
    later: list[Failure] = field(default_factory=list)
    warnings: set[str] = field(default_factory=set)
    groups: GroupProgress | None = None
    _waits_until: datetime | None = None  # what `message` says of a rate limit
    _wait_told: str = ""
    _odd_told: str = ""

    def begin_again(self) -> None:
        """Another run begins with the same context: its failures are its own."""
        self.message, self.message_until, self.last_error = "", None, None
        self._odd_told = ""
        for kept in (self.failures, self.first_failures, self.failed, self.later, self.warnings):
            kept.clear()

    def tell_rate_limit(self) -> None:
        """Say in `message`, and once in the log, until when a rate limit holds the run and why.

        A wait of less than a minute isn't worth a word.
        """
        wait = self.rate_wait()
        if wait is None:
            if self._wait_told and self.message == self._wait_told:
                self.message = ""
            self._waits_until, self._wait_told = None, ""
            return
        seconds, reason = wait
        until = datetime.now().astimezone() + timedelta(seconds=seconds)
        known = self._waits_until is not None
        if known and abs((until - self._waits_until).total_seconds()) < _LONG_WAIT:  # type: ignore[operator]
            return
        if seconds > _LONG_WAIT and self.message in ("", self._wait_told):
            self._waits_until, self._wait_told = until, f"waiting {_clock(until)}: {reason}"
            self.message = self._wait_told
            logging.getLogger("ondine_nb").warning("%s", self.message)

    def tell_odd(self, odd: str) -> None:
        """Say once a run what the server tells that can't be meant and so is passed over.

        In the log, and as `message` where there is nothing else to say.
        """
        if odd and not self._odd_told:
            self._odd_told = f"of the server's rate limit: {odd}"
            logging.getLogger("ondine_nb").warning("%s", self._odd_told)
            self.message = self.message or self._odd_told

    def count_failure(self, failure: Failure) -> None:
        """Count a failed row; the first few of each kind are kept to be shown, or logged."""
        self.failures[failure.label] += 1
        self.last_error = failure
        if len(self.failed) < _FAILURES_KEPT:
            self.failed.append(failure)
        first = self.first_failures.setdefault(failure.label, [])
        if len(first) < _FAILURES_SHOWN:
            first.append(failure)
            if not self.shown:
                _log(failure, last=len(first) == _FAILURES_SHOWN)

    def warn_once(self, text: str) -> None:
        """Log it once a run, not for each chunk of a stream."""
        if text not in self.warnings:
            self.warnings.add(text)
            logger.warning(text)

    def add_saved(self, amount: Decimal, *, duplicate: bool) -> None:
        """An answer was not paid again: an equal row's, or one from the journal."""
        self.saved += amount
        if duplicate:
            self.saved_by_duplicates += amount

    def add_paid(self, cost: Decimal, questions: int = 1) -> None:
        """One more reply was paid for, to so many questions."""
        self.paid += 1
        self.paid_questions += questions
        self.paid_cost += cost
        self.paid_squares += float(cost) ** 2

    @property
    def savings(self) -> Savings:
        """What hasn't been paid, by what saved it."""
        journal = self.saved - self.saved_by_duplicates
        duplicates, cache = self.saved_by_duplicates, self.saved_by_cache
        return Savings(journal, duplicates, cache, self.saved_by_batches)


def _log(failure: Failure, *, last: bool) -> None:
    logger.warning(
        "row %d failed in stage '%s': %s: %s%s",
        failure.row,
        failure.stage,
        failure.error_type,
        failure.message,
        " (no more of this kind are logged: see `result.errors`)" if last else "",
    )


def _clock(until: datetime) -> str:
    """`until 14:32:10`, with the date where that isn't today."""
    day = "" if until.date() == datetime.now().date() else f"{until:%d %b} "
    return f"until {day}{until:%H:%M:%S}"
