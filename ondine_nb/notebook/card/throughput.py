"""Throughput: rows a second and USD a minute, now, in the last two minutes, and since the start."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

__all__ = ["History", "Throughput"]

WINDOW, ROWS = 12.0, 8  # the recent rate covers at least so many seconds and so many rows
MARKS, BUCKET, BUCKETS = 120, 5.0, 24  # a mark a second; a point of a trend in five: 2 minutes
FINEST, POINTS = 0.5, 48  # of what is kept of the whole run: seconds of a point, most points


@dataclass(frozen=True, slots=True)
class Throughput:
    """How fast a run is now: rows a second (None: not known yet), and what became of it.

    `trend` is rows a second (those that were asked, none from the journal) and `spending` USD a
    minute, over the last two minutes; `whole` and `spent` are the same since the start.
    """

    rate: float | None = None
    trend: tuple[float, ...] = ()
    spending: tuple[float, ...] = ()
    whole: tuple[float, ...] = ()
    spent: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class _Milestone:
    """How far a run is at a time: monotonic seconds, rows with an outcome, rows asked, USD."""

    at: float
    rows: int
    asked: int
    cost: Decimal

    def rate_since(self, base: _Milestone) -> float | None:
        """Rows a second; None before there is anything to tell it by.

        Rows from the journal come thousands a second and say nothing of the rows that are left:
        they count only as long as no other row came.
        """
        seconds = self.at - base.at
        rows = (self.asked - base.asked) or (self.rows - base.rows)
        return rows / seconds if seconds >= 1.0 and self.rows else None


class History:
    """Takes a mark of a run at every redraw, and says how fast it goes."""

    def __init__(self) -> None:
        self._marks: deque[_Milestone] = deque(maxlen=MARKS)
        self._recent = _Trend(BUCKET, BUCKETS)
        self._whole = _Trend(FINEST, POINTS, merges=True)
        self._rate: float | None = None

    @property
    def last(self) -> Throughput:
        """How fast it went at the last mark, without a new one."""
        recent, whole = self._recent, self._whole
        return Throughput(
            self._rate,
            recent.rows,
            recent.costs,
            whole.rows,
            whole.costs,
        )

    def pace(self, run: Any, now: float) -> Throughput:
        """Note how far the run is at `now` (monotonic seconds), and say how fast it goes."""
        context = run.context
        if run.state != "running":  # a pause is not a slow run
            self._marks.clear()
            self._recent.pause()
            self._whole.pause()
            self._rate = None
            return self.last
        asked = context.done_rows - context.journal_rows - context.skipped_rows
        here = _Milestone(now, context.done_rows, asked, context.accumulated_cost)
        if not self._marks or now - self._marks[-1].at >= 1.0:
            self._marks.append(here)
        self._recent.add(here)
        self._whole.add(here)
        self._rate = here.rate_since(self._base(here))
        return self.last

    def _base(self, here: _Milestone) -> _Milestone:
        """The newest mark that is far enough back to be measured from, or the oldest there is."""
        for mark in reversed(self._marks):
            if here.at - mark.at >= WINDOW and here.rows - mark.rows >= ROWS:
                return mark
        return self._marks[0]


class _Trend:
    """Rows a second and USD a minute in steps of some seconds, `most` of them.

    When there are more the oldest go, or, where it `merges`, two each become one, and so on.
    """

    def __init__(self, step: float, most: int, *, merges: bool = False) -> None:
        self._step, self._most, self._merges = step, most, merges
        self._points: list[tuple[float, float]] = []
        self._from: _Milestone | None = None

    @property
    def rows(self) -> tuple[float, ...]:
        return tuple(rows for rows, _ in self._points)

    @property
    def costs(self) -> tuple[float, ...]:
        return tuple(cost for _, cost in self._points)

    def pause(self) -> None:
        self._from = None

    def add(self, here: _Milestone) -> None:
        base = self._from = self._from or here
        seconds = here.at - base.at
        if seconds < self._step:
            return
        cost = here.cost - base.cost
        spent = float(cost) * 60 / seconds if cost.is_finite() else 0.0
        self._points.append(((here.asked - base.asked) / seconds, spent))
        self._from = here
        if len(self._points) >= self._most + (not self._merges):
            self._shorten()

    def _shorten(self) -> None:
        if not self._merges:
            del self._points[0]
            return
        pairs = zip(self._points[::2], self._points[1::2], strict=False)
        self._points = [((a + c) / 2, (b + d) / 2) for (a, b), (c, d) in pairs]
        self._step *= 2
