"""The figures of a run's card: cost, savings, throughput, latency and concurrency.

Everything here is pure. Whatever comes from data, model or provider passes `clean`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Protocol, TypeAlias

from ...models import ZERO, CostEstimate, RowCounts, Usage
from ...orchestration import ExecutionContext, RowStream
from ...pipeline import projected
from ..ui import MISSING, clean, money, points, rate, span
from .throughput import Throughput

__all__ = [
    "ENDED",
    "Figure",
    "Paid",
    "RunLike",
    "all_from_journal",
    "closing_facts",
    "cost_of",
    "counts_of",
    "groups_of",
    "in_batches",
    "label_of",
    "latencies_of",
    "latency_figure",
    "live_figures",
    "paid",
    "possibly_billed",
    "saved_line",
    "seconds_of",
    "source_of",
    "summary",
    "usage_of",
]

ENDED = {"done", "stopped", "failed"}
MOST_TIMED = 50_000  # rows whose latencies are sorted; of more, as many evenly spread
# Why the concurrency is what it is: what the engine notes, in words for everyone.
REASONS = {"": "as asked for", "enough": "more would not help", "starting": "starting slowly"}

_Range: TypeAlias = tuple[Decimal, Decimal]


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


@dataclass(frozen=True, slots=True)
class Paid:
    """What a run cost in the end: `value` and `caption`, and `expected`, what was expected of it.

    With a meter, in percent of its scale (the budget, or what is largest): `spent` (None: there is
    no meter), and where the estimate begins and how wide it is.
    """

    value: str
    caption: str
    expected: str = ""
    spent: float | None = None
    low: float = 0.0
    wide: float = 0.0


class RunLike(Protocol):
    """What the card reads of a run.

    `counts`, `earlier`, `message`, `sample_of` (see `Run`), `interrupt_only` (bool), `pause` and
    `resume` may be absent.
    """

    @property
    def name(self) -> str:
        """The result's name."""

    @property
    def source(self) -> str:
        """The frame's name."""

    @property
    def model(self) -> str:
        """The model that answers."""

    @property
    def columns(self) -> Sequence[str]:
        """The names of the new columns."""

    @property
    def context(self) -> ExecutionContext:
        """Its execution context."""

    @property
    def state(self) -> str:
        """One of `pending running paused stopping done stopped failed`."""

    @property
    def error(self) -> BaseException | None:
        """What ended it, or None."""

    @property
    def priced(self) -> bool:
        """Whether the model's price is known."""

    @property
    def note(self) -> str:
        """A line on who answers, or ""."""

    @property
    def estimate(self) -> CostEstimate | None:
        """What it was expected to cost, or None."""

    def stop(self) -> Any:
        """Send nothing more."""


def live_figures(run: RunLike, pace: Throughput) -> tuple[Figure, ...]:
    """Cost, rate, latency and concurrency as they are now; of batches what can be known."""
    if in_batches(run):
        return (_cost(run), *_waiting(run), *_possibly_billed(run))
    minutes = "in the last 2 minutes"
    now = pace.spending[-1:] if run.state == "running" else (0.0,)  # else nothing is sent
    figures = [_cost(run), _rate(pace.rate, pace.trend, minutes)]
    figures += _spending(run, now, pace.spending, minutes)
    figures.append(latency_figure(sorted(run.context.metrics.latencies.copy())))
    figures += _questions(run)
    return (*figures, _concurrency(run), *_possibly_billed(run))


def summary(
    run: RunLike, rows: Figure, failed: Sequence[Figure], pace: Throughput
) -> tuple[Figure, ...]:
    """The figures of the static card, behind those that count its `rows` and the `failed` ones."""
    figures = [rows, *failed, _cost(run), *_estimate(run)]
    figures += [*_possibly_billed(run), *_saved(run)]
    return tuple(figures) if in_batches(run) else (*figures, *_speeds(run, pace))


def paid(run: RunLike) -> Paid:
    """What the run cost, beside its budget and its estimate."""
    figure, expected = _cost(run), _expectation(run)
    retry = getattr(run, "earlier", None) is not None
    cost, budget = cost_of(run), None if retry else run.context.max_budget
    if cost is None or (budget is None and not expected):
        return Paid(figure.value, figure.caption, expected)
    low, high = _bounds(run) if expected else (ZERO, ZERO)
    scale = budget or max(cost, high) * Decimal("1.25") or Decimal(1)
    spent, begin, end = (_share(it, scale) for it in (cost, low, high))
    return Paid(figure.value, figure.caption, expected, spent, begin, round(end - begin, 1))


def _expectation(run: RunLike) -> str:
    """The estimate in words, once the run is done."""
    for figure in _estimate(run):
        single = figure.caption.startswith("was")
        return f"{figure.value} {figure.caption}" if single else figure.caption
    return ""


def _bounds(run: RunLike) -> _Range:
    estimate = run.estimate
    likely = (estimate.total_cost if estimate else None) or ZERO
    if estimate is None or estimate.low is None or estimate.high is None:
        return likely, likely
    return estimate.low, estimate.high


def closing_facts(run: RunLike) -> tuple[str, ...]:
    """How fast it was and what it saved, for the line at the end of the card."""
    facts: list[str] = []
    if not in_batches(run):
        context = run.context
        asked = context.done_rows - context.journal_rows - context.skipped_rows
        if asked > 0 and context.duration > 0 and getattr(run, "earlier", None) is None:
            facts.append(" ".join(rate(asked / context.duration)))
        if latencies := latencies_of(run):
            figure = latency_figure(latencies)
            facts.append(f"{figure.value} {figure.caption}")
    return (*facts, *(f"{it.value} {it.caption}" for it in _saved(run)))


# --- a run and the runs that it asks failed rows again of -----------------------------------------


def counts_of(run: RunLike) -> RowCounts:
    """The frame's rows by outcome: of a retry those of the whole, not of what it asks again."""
    counts: RowCounts = getattr(run, "counts", None) or run.context.counts
    return counts


def cost_of(run: RunLike) -> Decimal | None:
    """USD, with the runs before a retry; None where the price is unknown."""
    earlier = getattr(run, "earlier", None)
    cost = run.context.accumulated_cost + (earlier.cost if earlier else 0)
    known = (run.priced or all_from_journal(run)) and cost.is_finite()
    return cost if known else None


def usage_of(run: RunLike) -> Usage:
    """Tokens, with the runs before a retry."""
    earlier = getattr(run, "earlier", None)
    return run.context.usage + earlier.usage if earlier else run.context.usage


def seconds_of(run: RunLike) -> float:
    """How long it took, in seconds, with the runs before a retry."""
    earlier = getattr(run, "earlier", None)
    return run.context.duration + (earlier.seconds if earlier else 0.0)


def latencies_of(run: Any) -> list[float]:
    """The seconds that answers took, ascending: what the card and the results view tell of a run.

    Of more than 50,000 rows, those of as many evenly spread; of a stream, of its last answers.
    """
    rowset = getattr(getattr(run, "plan", None), "rowset", None)
    if rowset is None or isinstance(rowset, RowStream):
        return sorted(run.context.metrics.latencies.copy())
    rows = rowset.rows[:: max(1, -(-len(rowset.rows) // MOST_TIMED))]
    return sorted(row.latency for row in rows if row is not None and row.latency is not None)


def source_of(run: Any) -> str:
    """The frame's name, and how many rows it has where only a sample is asked."""
    source, rows = clean(run.source), getattr(run, "sample_of", None)
    return source if rows is None else f"{source} (sample of {rows:,})".strip()


def label_of(run: Any, position: int) -> str:
    """The index of a row, its levels joined by commas; "" where the position is all there is."""
    frame = getattr(getattr(run, "pipeline", None), "frame", None)
    if frame is None or not frame.index_names or position >= len(frame):
        return ""
    (values,) = frame.labels([position])
    return ", ".join(clean(value, 40) for value in values)


def all_from_journal(run: RunLike) -> bool:
    """Whether the run has ended and every row of it was paid for before."""
    context = run.context
    free = not context.accumulated_cost and not context.metrics.possibly_billed
    whole = context.journal_rows + context.skipped_rows >= max(context.total_rows, 1)
    first = getattr(run, "earlier", None) is None
    return bool(first and run.state in ENDED and context.journal_rows and free and whole)


def in_batches(run: RunLike) -> bool:
    """Whether its requests go in batches: answers come all at once, who knows when."""
    options = getattr(getattr(run, "pipeline", None), "options", None)
    return bool(getattr(options, "batch", False))


# --- how fast ------------------------------------------------------------------------------------


def _speeds(run: RunLike, pace: Throughput) -> list[Figure]:
    """What the whole run was like; of a retry only the latency, as it was two runs or more."""
    context, figures = run.context, list[Figure]()
    asked = context.done_rows - context.journal_rows - context.skipped_rows
    if asked > 0 and context.duration > 0 and getattr(run, "earlier", None) is None:
        figures.append(_rate(asked / context.duration, pace.whole, "from start to end"))
        figures += _spending(run, _mean_spending(run), pace.spent, "from start to end")
    latencies = latencies_of(run)
    return [*figures, latency_figure(latencies)] if latencies else figures


def _rate(speed: float | None, trend: Sequence[float], when: str) -> Figure:
    value, unit = rate(speed)
    return Figure(value, unit, trend=_points(trend), trend_of=f"rows/s {when}")


def _spending(
    run: RunLike, now: Sequence[float], trend: Sequence[float], when: str
) -> list[Figure]:
    """USD a minute, where it has cost anything."""
    if cost_of(run) is None or not now or not any(trend):
        return []
    value = money(Decimal(f"{now[0]:.3g}"), 2)
    return [Figure(value, "a minute", trend=_points(trend), trend_of=f"USD a minute {when}")]


def _mean_spending(run: RunLike) -> list[float]:
    return [float(cost_of(run) or 0) * 60 / run.context.duration]


def _points(trend: Sequence[float]) -> str:
    return points(trend) if len(trend) > 2 and max(trend) > 0 else ""


def latency_figure(times: Sequence[float]) -> Figure:
    """The median and the 95th percentile of `times`, in seconds and ascending."""
    if not times:
        return Figure(MISSING, "p50 latency")
    middle, slow = times[len(times) // 2], times[min(len(times) - 1, len(times) * 95 // 100)]
    return Figure(span(middle), f"p50 · {span(slow)} p95")


def _questions(run: RunLike) -> list[Figure]:
    """Of groups that take several questions: how many are left to ask, and on how many levels."""
    groups, context = run.context.metrics.groups, run.context
    if groups is None or groups.levels == 1:
        return []
    left = groups.left + max(0, context.total_rows - context.done_rows)
    return [Figure(f"{left:,}", f"questions left · {groups.levels} levels")]


def groups_of(run: RunLike) -> str:
    """How many groups of how many rows there are; "" where rows stand for themselves."""
    groups = run.context.metrics.groups
    if groups is None:
        return ""
    levels = f" · {groups.levels} levels" if groups.levels > 1 else ""
    if not groups.groups:
        texts = f"{groups.texts:,} long {'text' if groups.texts == 1 else 'texts'}"
        return f"{texts} in {groups.chunks:,} chunks{levels}" if groups.texts else ""
    rows = f"{groups.rows:,} {'row' if groups.rows == 1 else 'rows'}"
    return f"{groups.groups:,} {'group' if groups.groups == 1 else 'groups'} of {rows}{levels}"


def _concurrency(run: RunLike) -> Figure:
    metrics = run.context.metrics
    if not metrics.concurrency:
        return Figure(MISSING, "at once")
    note = REASONS.get(metrics.concurrency_note, metrics.concurrency_note)
    return Figure(f"{metrics.concurrency:,}", f"at once · {clean(note, 80)}")


def _waiting(run: RunLike) -> list[Figure]:
    """Requests in batches, and for how long: more isn't known before a batch ends."""
    context, waiting = run.context, run.context.metrics.in_flight
    since = span(math.floor(context.duration))
    requests = "request waits" if waiting == 1 else "requests wait"
    return [Figure(f"{waiting:,}", f"{requests} in batches"), Figure(since, "since the start")]


# --- what it costs -------------------------------------------------------------------------------


def _cost(run: RunLike) -> Figure:
    """USD until now, against the budget where there is one, and what it will be at the end.

    A retry has a budget of its own, which what was spent before it doesn't count for.
    """
    retry = getattr(run, "earlier", None) is not None
    cost, budget = cost_of(run), None if retry else run.context.max_budget
    if cost is None:
        return Figure("price unknown", "see --price-in", tone="word")
    ahead = _at_the_end(run)
    parts = [] if budget is None else [f"of {money(budget)} budget"]
    parts.append(_expected(run, ahead, budget))
    caption = " · ".join(part for part in parts if part) or "cost"
    high = ahead[1] if ahead else None
    return Figure(money(cost), caption, meter=_share(cost, budget), ahead=_share(high, budget, 0))


def _at_the_end(run: RunLike) -> _Range | None:
    """The least and the most USD at the end, as far as it can be told while the run goes on."""
    context = run.context
    left = context.total_rows - context.done_rows
    known = run.state == "running" and context.metrics.paid_cost and not context.metrics.open_ended
    if left <= 0 or not known or getattr(run, "earlier", None) is not None:
        return None
    return projected(context, _requests(run, left))


def _requests(run: RunLike, left: int) -> int | None:
    """How many requests the whole run will send, by what the estimate saw of the rows.

    It is scaled from a sample: it may not say that nothing is left while rows are.
    """
    estimate = run.estimate
    if estimate is None or not estimate.requests or not estimate.rows:
        return None
    paid = run.context.metrics.paid
    share = math.ceil(left * estimate.requests / estimate.rows)
    return paid + max(estimate.requests - paid, min(left, share))


def _expected(run: RunLike, ahead: _Range | None, budget: Decimal | None) -> str:
    """In words: the range at the end, or before there is one the estimate."""
    estimate = run.estimate
    if ahead is not None:
        between = _between(*ahead)
        return f"{between if ' to ' in between else f'about {between}'} at the end" + _beyond(
            ahead, budget
        )
    if estimate is None or not estimate.total_cost or run.state != "running":
        return ""
    return f"estimate {_usd(estimate.total_cost)}"


def _beyond(ahead: _Range, budget: Decimal | None) -> str:
    low, high = ahead
    if budget is None or high <= budget:
        return ""
    return ", more than that" if low > budget else ", perhaps more than that"


def _estimate(run: RunLike) -> list[Figure]:
    """What was expected, to stand beside what it has cost, once the run is done."""
    estimate = run.estimate
    paid = run.context.usage.total_tokens and cost_of(run) is not None
    if estimate is None or estimate.total_cost is None or run.state != "done" or not paid:
        return []
    bounds = ""
    if estimate.low is not None and estimate.high is not None:
        bounds = _between(estimate.low, estimate.high)
    likely = _usd(estimate.total_cost)
    single = bounds in ("", likely)
    return [Figure(likely, "was the estimate" if single else f"estimate was {bounds}")]


def _possibly_billed(run: RunLike) -> list[Figure]:
    """What may have been billed without an answer having come; no figure where nothing was."""
    earlier = getattr(run, "earlier", None)
    amount = run.context.metrics.possibly_billed + (earlier.possibly_billed if earlier else 0)
    return [Figure(money(amount), "possibly billed · answers lost on the way")] if amount else []


def possibly_billed(run: RunLike) -> str:
    """The same in one line; "" where nothing was."""
    return "".join(f"{it.value} {it.caption}" for it in _possibly_billed(run))


def _between(low: Decimal, high: Decimal) -> str:
    low_text, high_text = _usd(low), _usd(high)
    return low_text if low_text == high_text else f"{low_text} to {high_text}"


def _usd(amount: Decimal) -> str:
    """An amount that is only roughly known: cents, or two digits of what is smaller."""
    return money(amount, 2)


def _share(amount: Decimal | None, budget: Decimal | None, unknown: Any = None) -> Any:
    """Percent of the budget, 100 at most; `unknown` where there is none."""
    if amount is None or budget is None:
        return unknown
    return min(100.0, round(float(amount / budget * 100), 1)) if budget > 0 else 100.0


# --- what it saved -------------------------------------------------------------------------------


def _saved(run: RunLike) -> list[Figure]:
    """What has not been paid, by what saved it: in money where the price is known."""
    if causes := _causes(run):
        return [Figure(_usd(run.context.metrics.savings.total), f"saved · {' · '.join(causes)}")]
    same = run.context.metrics.duplicates
    return [Figure(f"{same:,}", "equal prompts not sent again")] if same else []


def saved_line(run: RunLike) -> str:
    """The same in one line; "" as long as nothing is saved."""
    causes = _causes(run)
    total = _usd(run.context.metrics.savings.total)
    return f"saved {total}: {' · '.join(causes)}" if causes else ""


def _causes(run: RunLike) -> list[str]:
    """`$0.15 journal`, …, the greatest first; nothing where it is nothing, or can't be known."""
    saved = run.context.metrics.savings
    if saved.total <= 0 or cost_of(run) is None:
        return []
    amounts = {
        "journal": saved.journal,
        "equal rows": saved.duplicates,
        "caching": saved.caching,
        "batches": saved.batches,
    }
    ordered = sorted(amounts.items(), key=lambda it: -it[1])
    return [f"{_signed(amount)} {name}" for name, amount in ordered if amount]


def _signed(amount: Decimal) -> str:
    """A cache that was written and hardly read costs more than it saves."""
    return _usd(amount) if amount > 0 else f"−{_usd(-amount)}"
