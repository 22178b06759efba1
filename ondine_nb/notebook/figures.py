"""A run's figures: what it costs, how fast it goes, how long an answer takes, and why.

Everything here is pure. Whatever comes from data, model or provider passes `clean`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from decimal import Decimal

from .costs import cost_figure, estimate_figures, possibly_billed, saved_figures
from .facts import Figure, RunLike, cost_of, in_batches
from .html.texts import MISSING, clean, money, points, rate, span
from .pace import Pace

__all__ = ["live_figures", "summary"]

# Why the concurrency is what it is: what the engine notes, in words for everyone.
REASONS = {"": "as asked for", "enough": "more would not help", "starting": "starting slowly"}


def live_figures(run: RunLike, pace: Pace) -> tuple[Figure, ...]:
    """Cost, rate, latency and concurrency as they are now; of batches what can be known."""
    if in_batches(run):
        return (cost_figure(run), *_waiting(run), *possibly_billed(run))
    minutes = "in the last 2 minutes"
    speed = _rate(pace.rate, pace.trend, minutes)
    figures = [cost_figure(run), speed, *_spending(run, pace.spending[-1:], pace.spending, minutes)]
    figures.append(_latency(run.context.gauges.latencies.copy()))
    figures += [_concurrency(run), *possibly_billed(run)]
    return tuple(figures)


def summary(run: RunLike, rows: Figure, failed: Sequence[Figure], pace: Pace) -> tuple[Figure, ...]:
    """The figures of the static card, behind those that count its `rows` and the `failed` ones."""
    figures = [rows, *failed, cost_figure(run), *estimate_figures(run)]
    figures += [*possibly_billed(run), *saved_figures(run)]
    return tuple(figures) if in_batches(run) else (*figures, *_speeds(run, pace))


# --- one by one ----------------------------------------------------------------------------------


def _speeds(run: RunLike, pace: Pace) -> list[Figure]:
    context, figures = run.context, list[Figure]()
    if context.done_rows > context.journal_rows and context.duration > 0:
        speed = context.done_rows / context.duration
        figures.append(_rate(speed, pace.whole, "from start to end"))
        figures += _spending(run, _mean_spending(run), pace.spent, "from start to end")
    latencies = context.gauges.latencies.copy()
    return [*figures, _latency(latencies)] if latencies else figures


def _waiting(run: RunLike) -> list[Figure]:
    """Requests in batches, and for how long: more isn't known before a batch ends."""
    context, waiting = run.context, run.context.gauges.in_flight
    since = span(math.floor(context.duration))
    requests = "request waits" if waiting == 1 else "requests wait"
    return [Figure(f"{waiting:,}", f"{requests} in batches"), Figure(since, "since the start")]


def _rate(speed: float | None, trend: Sequence[float], when: str) -> Figure:
    value, unit = rate(speed)
    return Figure(value, unit, trend=_points(trend), trend_of=f"rows/s {when}")


def _spending(
    run: RunLike, now: Sequence[float], trend: Sequence[float], when: str
) -> list[Figure]:
    """USD a minute, where it costs anything."""
    if cost_of(run) is None or not any(now) or not any(trend):
        return []
    value = money(Decimal(f"{now[0]:.3g}"), 2)
    return [Figure(value, "a minute", trend=_points(trend), trend_of=f"USD a minute {when}")]


def _mean_spending(run: RunLike) -> list[float]:
    return [float(cost_of(run) or 0) * 60 / run.context.duration]


def _points(trend: Sequence[float]) -> str:
    return points(trend) if len(trend) > 2 and max(trend) > 0 else ""


def _latency(latencies: Iterable[float]) -> Figure:
    times = sorted(latencies)
    if not times:
        return Figure(MISSING, "p50 latency")
    middle, slow = times[len(times) // 2], times[min(len(times) - 1, len(times) * 95 // 100)]
    return Figure(span(middle), f"p50 · {span(slow)} p95")


def _concurrency(run: RunLike) -> Figure:
    gauges = run.context.gauges
    if not gauges.concurrency:
        return Figure(MISSING, "at once")
    note = REASONS.get(gauges.concurrency_note, gauges.concurrency_note)
    return Figure(f"{gauges.concurrency:,}", f"at once · {clean(note, 80)}")
