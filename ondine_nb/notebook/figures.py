"""A run's figures: what it costs, how fast it goes, how long an answer takes, and why.

Everything here is pure. Whatever comes from data, model or provider passes `clean`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Protocol

from ..contracts import ExecutionContext
from ..models import CostEstimate
from .html.texts import MISSING, clean, money, points, rate, span
from .pace import Pace

__all__ = ["ENDED", "Figure", "RunLike", "all_from_journal", "cost_of", "live_figures", "summary"]

ENDED = {"done", "stopped", "failed"}
ENOUGH = 20  # rows paid for, before a projection says anything
# Why the concurrency is what it is: what the engine notes, in words for everyone.
REASONS = {"": "as asked for", "enough": "more would not help", "starting": "starting slowly"}


class RunLike(Protocol):
    """What the view reads of a run. `interrupt_only` (bool), `pause` and `resume` may be absent."""

    @property
    def name(self) -> str: ...
    @property
    def source(self) -> str: ...
    @property
    def model(self) -> str: ...
    @property
    def columns(self) -> Sequence[str]: ...
    @property
    def context(self) -> ExecutionContext: ...
    @property
    def state(self) -> str: ...
    @property
    def error(self) -> BaseException | None: ...
    @property
    def priced(self) -> bool: ...
    @property
    def note(self) -> str: ...
    @property
    def estimate(self) -> CostEstimate | None: ...
    def stop(self) -> Any: ...


@dataclass(frozen=True, slots=True)
class Figure:
    """A large text with a small caption.

    Perhaps with a meter (percent; `ahead` is where it will be at the end) or a trend (SVG points;
    `trend_of` says in words what it draws).
    """

    value: str
    caption: str
    tone: str = ""
    meter: float | None = None
    ahead: float = 0.0
    trend: str = ""
    trend_of: str = ""


def live_figures(run: RunLike, pace: Pace) -> tuple[Figure, ...]:
    """Cost, rate, latency and concurrency as they are now."""
    minutes = "in the last 2 minutes"
    speed = _rate(pace.rate, pace.trend, minutes)
    figures = [_cost(run), speed, *_spending(run, pace.spending[-1:], pace.spending, minutes)]
    figures.append(_latency(run.context.gauges.latencies.copy()))
    figures += [_concurrency(run), *_possibly_billed(run)]
    return tuple(figures)


def summary(run: RunLike, rows: Figure, failed: Sequence[Figure], pace: Pace) -> tuple[Figure, ...]:
    """The figures of the static card, behind those that count its `rows` and the `failed` ones."""
    context = run.context
    figures = [rows, *failed, _cost(run), *_possibly_billed(run), *_saved(run)]
    asked = context.done_rows - context.journal_rows
    if asked > 0 and context.duration > 0:
        speed = context.done_rows / context.duration
        figures.append(_rate(speed, pace.whole, "from start to end"))
        figures += _spending(run, _mean_spending(run), pace.spent, "from start to end")
    latencies = context.gauges.latencies.copy()
    return (*figures, _latency(latencies)) if latencies else tuple(figures)


def cost_of(run: RunLike) -> Decimal | None:
    """USD; None where the price is unknown."""
    cost = run.context.accumulated_cost
    known = (run.priced or all_from_journal(run)) and cost.is_finite()
    return cost if known else None


def all_from_journal(run: RunLike) -> bool:
    """Whether the run has ended and every row of it was paid for before."""
    context = run.context
    free = not context.accumulated_cost and not context.gauges.possibly_billed
    whole = context.journal_rows + context.skipped_rows >= max(context.total_rows, 1)
    return bool(run.state in ENDED and context.journal_rows and free and whole)


# --- one by one ----------------------------------------------------------------------------------


def _cost(run: RunLike) -> Figure:
    cost, budget = cost_of(run), run.context.max_budget
    if cost is None:
        return Figure("price unknown", "see --price-in", tone="word")
    projected = _projected(run, cost)
    caption = [] if budget is None else [f"of {money(budget)} budget"]
    if projected is not None:
        over = budget is not None and projected > budget
        more = ", more than that" if over else ""
        caption.append(f"about {money(projected, 2)} at the end{more}")
    elif estimated := _estimate(run):
        caption.append(estimated)
    text = " · ".join(caption) or "cost"
    return Figure(money(cost), text, meter=_share(cost, budget), ahead=_share(projected, budget, 0))


def _share(amount: Decimal | None, budget: Decimal | None, unknown: Any = None) -> Any:
    """Percent of the budget, 100 at most; `unknown` where there is none."""
    if amount is None or budget is None:
        return unknown
    return min(100.0, round(float(amount / budget * 100), 1)) if budget > 0 else 100.0


def _projected(run: RunLike, cost: Decimal) -> Decimal | None:
    """What it will have cost at the end, once enough rows are paid for to tell."""
    context = run.context
    asked = context.done_rows - context.journal_rows - context.skipped_rows
    left = context.total_rows - context.done_rows
    if run.state != "running" or asked < ENOUGH or left <= 0 or not cost:
        return None
    return None if context.gauges.open_ended else cost + cost / asked * left


def _estimate(run: RunLike) -> str:
    """What was expected, told once the run is done."""
    estimate = run.estimate
    if estimate is None or run.state != "done" or not run.context.usage.total_tokens:
        return ""
    low, high = estimate.low, estimate.high
    if low is not None and high is not None and money(low) != money(high):
        return f"estimate was {money(low)} to {money(high)}"
    known = estimate.total_cost
    return f"estimate was {money(known)}" if known else ""


def _rate(speed: float | None, trend: Sequence[float], when: str) -> Figure:
    value, unit = rate(speed)
    return Figure(value, unit, trend=_points(trend), trend_of=f"rows/s {when}")


def _spending(
    run: RunLike, now: Sequence[float], trend: Sequence[float], when: str
) -> list[Figure]:
    """USD a minute, where it costs anything."""
    if cost_of(run) is None or not any(now) or not any(trend):
        return []
    value = money(Decimal(f"{now[0]:.3g}"))
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


def _possibly_billed(run: RunLike) -> list[Figure]:
    amount = run.context.gauges.possibly_billed
    return [Figure(money(amount), "possibly billed · answers lost on the way")] if amount else []


def _saved(run: RunLike) -> list[Figure]:
    """What the journal and equal prompts saved, in money where it is known."""
    context, gauges = run.context, run.context.gauges
    causes = [f"{context.journal_rows:,} from journal"] if context.journal_rows else []
    if gauges.duplicates:
        causes.append(f"{gauges.duplicates:,} equal prompts sent once")
    if gauges.saved > 0:
        return [Figure(money(gauges.saved), " · ".join(["saved", *causes]))]
    same = Figure(f"{gauges.duplicates:,}", "equal prompts not sent again")
    return [same] if gauges.duplicates else []
