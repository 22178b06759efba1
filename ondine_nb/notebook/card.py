"""The run view as a value: a snapshot of a run (`Card`), and its HTML and plain text.

Everything here is pure: a run goes in, text comes out. Whatever comes from data, model or
provider passes `clean` before it is shown, and jinja2's autoescape before it is HTML.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Protocol

from ..contracts import ExecutionContext
from ..models import CostEstimate
from .html import css, template
from .html.table import Table, last_rows
from .html.texts import (
    MESSAGE,
    MISSING,
    clean,
    money,
    points,
    rate,
    row_count,
    safe,
    short,
    span,
    time_left,
)

__all__ = ["Card", "Pace", "RunLike", "plain", "render"]

ENDED = {"done", "stopped", "failed"}


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
class Pace:
    """How fast a run is now: rows a second (None: not known yet), and their last two minutes."""

    rate: float | None = None
    trend: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class Count:
    """Rows of one kind: `done journal failed skipped flight waiting`; `share` in percent."""

    kind: str
    rows: int
    text: str
    share: float


@dataclass(frozen=True, slots=True)
class Figure:
    """A large text with a small caption; perhaps a meter (percent) or a trend (SVG points)."""

    value: str
    caption: str
    tone: str = ""
    meter: float | None = None
    trend: str = ""


@dataclass(frozen=True, slots=True)
class Card:
    """A run at one moment, as texts and numbers. `cost` is in USD, None where it is unknown."""

    name: str
    about: tuple[str, ...]
    state: str
    pill: str
    total: int
    done: int
    failed: int
    cost: Decimal | None
    progress: str
    counts: tuple[Count, ...]
    aside: str
    figures: tuple[Figure, ...]
    summary: tuple[Figure, ...]
    table: Table | None
    failures: str
    last_error: str
    tokens: str
    remarks: tuple[str, ...]
    error: str
    run_name: str
    interrupt_only: bool
    buttons: int

    @classmethod
    def of(cls, run: RunLike, pace: Pace | None = None) -> Card:
        """Take the snapshot. Without a `pace` there is no rate and no time left yet."""
        context, gauges, pace = run.context, run.context.gauges, pace or Pace()
        total = max(context.total_rows, context.done_rows)
        counts = _counts(run, total)
        error = _message(run.error)
        return cls(
            name=clean(run.name),
            about=_about(run),
            state=clean(run.state),
            pill=_pill(run),
            total=total,
            done=context.done_rows,
            failed=context.failed_rows,
            cost=_cost(run),
            progress=_progress(run, total),
            counts=tuple(count for count in counts if count.rows),
            aside=_aside(run, pace),
            figures=_live_figures(run, pace),
            summary=_summary(run, total),
            table=last_rows(gauges.recent.copy(), run.columns),
            failures=_failures(run),
            last_error=_last_error(run),
            tokens=_tokens(run),
            remarks=_remarks(run, error),
            error=error,
            run_name=_run_name(run),
            interrupt_only=bool(getattr(run, "interrupt_only", False)),
            buttons=2 if hasattr(run, "pause") and hasattr(run, "resume") else 1,
        )

    @property
    def ended(self) -> bool:
        return self.state in ENDED

    @property
    def data_cost(self) -> str:
        """The cost as a plain decimal number; "" where it is unknown."""
        return "" if self.cost is None else f"{self.cost:f}"


# --- from card to text ---------------------------------------------------------------------------


def render(card: Card, live: bool) -> str:
    """The card's HTML. Live it is the body alone (the style stays put in a widget of its own)."""
    html: str = template("card.html").render(card=card, live=live, css="" if live else css())
    return "\n".join(line for line in map(str.strip, html.splitlines()) if line)


def plain(card: Card) -> str:
    """The same facts for a terminal: a few lines, no control characters."""
    head = f"{card.name}: {card.pill} ({' · '.join(card.about)})"
    rows = " · ".join([card.progress, *(count.text for count in card.counts)])
    shown = (figure for figure in card.summary[1:] if figure.tone != "failed")
    figures = " · ".join(f"{figure.value} {figure.caption}".strip() for figure in shown)
    lines = [head, *card.remarks, rows, figures, card.tokens]
    if card.failed:
        lines.append(f"{card.failed:,} failed: {card.failures} · see {card.run_name}.errors")
    lines += [card.last_error, card.error]
    return "\n".join(line for line in lines if line)


# --- parts of a card -----------------------------------------------------------------------------


def _about(run: RunLike) -> tuple[str, ...]:
    columns = ", ".join(clean(name, 40) for name in tuple(run.columns)[:12])
    more = f" and {len(run.columns) - 12} more" if len(run.columns) > 12 else ""
    return tuple(part for part in (clean(run.source), clean(run.model), columns + more) if part)


def _pill(run: RunLike) -> str:
    words = {"done": "done in", "stopped": "stopped after", "failed": "failed after"}
    if run.state in words:
        return f"{words[run.state]} {span(run.context.duration)}"
    flight = run.context.gauges.in_flight
    if run.state == "stopping" and flight:
        return f"stopping · {flight:,} in flight"
    return clean(run.state)


def _counts(run: RunLike, total: int) -> list[Count]:
    """Rows by outcome, in the order of the bar."""
    context = run.context
    flight = 0 if run.state in ENDED else context.gauges.in_flight
    left = max(0, total - context.done_rows)
    kinds = [
        ("done", context.processed_rows - context.journal_rows, "answered"),
        ("journal", context.journal_rows, "from journal"),
        ("failed", context.failed_rows, "failed"),
        ("skipped", context.skipped_rows, "skipped"),
        ("flight", flight, "in flight"),
    ]
    if run.state in ENDED and left:
        kinds.append(("waiting", left, "not run"))
    scale = 100 / total if total else 0.0
    shares = [min(rows, left) if kind == "flight" else rows for kind, rows, _ in kinds]
    return [
        Count(kind, rows, f"{rows:,} {word}", round(share * scale, 2))
        for (kind, rows, word), share in zip(kinds, shares, strict=True)
    ]


def _progress(run: RunLike, total: int) -> str:
    """`5,904 of 10,000 rows`; without the total while a stream doesn't know it."""
    context = run.context
    if context.total_rows < context.done_rows or not total:
        return row_count(context.done_rows)
    return f"{context.done_rows:,} of {row_count(total)}"


def _aside(run: RunLike, pace: Pace) -> str:
    """Time left where it can be told, time gone where it can't; nothing when there is neither."""
    context = run.context
    left = context.total_rows - context.done_rows
    if run.state == "running" and pace.rate and left > 0:
        return time_left(left / pace.rate)
    if run.state in ENDED or run.state == "pending":
        return ""
    return f"{span(math.floor(context.duration))} so far"


def _live_figures(run: RunLike, pace: Pace) -> tuple[Figure, ...]:
    gauges = run.context.gauges
    figures = [_cost_figure(run), Figure(*rate(pace.rate)), _latency(gauges.latencies.copy())]
    note = clean(gauges.concurrency_note, 80)
    at_once = f"{gauges.concurrency:,}" if gauges.concurrency else MISSING
    figures.append(Figure(at_once, f"at once · {note}" if note else "at once"))
    figures += _possibly_billed(run)
    if len(pace.trend) > 2 and max(pace.trend) > 0:
        figures.append(Figure("", "rows/s, last 2 min", trend=points(pace.trend)))
    return tuple(figures)


def _summary(run: RunLike, total: int) -> tuple[Figure, ...]:
    """The figures of the static card; the first is the rows."""
    context = run.context
    of_total = f"of {total:,} rows" if total > context.done_rows else "rows"
    parts = [count.text for count in _counts(run, total) if count.rows and count.kind != "failed"]
    figures = [Figure(f"{context.done_rows:,}", " · ".join([of_total, *parts]))]
    if context.failed_rows:
        caption = f"failed · see {_run_name(run)}.errors"
        figures.append(Figure(f"{context.failed_rows:,}", caption, tone="failed"))
    figures += [_cost_figure(run), *_possibly_billed(run), *_saved(run)]
    if context.done_rows > context.journal_rows and context.duration > 0:
        figures.append(Figure(*rate(context.done_rows / context.duration)))
    return tuple(figures)


def _cost_figure(run: RunLike) -> Figure:
    cost, budget = _cost(run), run.context.max_budget
    if cost is None:
        return Figure("price unknown", "see --price-in", tone="word")
    caption, meter = [], None
    if budget is not None:
        caption.append(f"of {money(budget)} budget")
        meter = min(100.0, round(float(cost / budget * 100), 1)) if budget > 0 else 100.0
    caption += [text for text in (_estimate(run) or _projection(run, cost),) if text]
    return Figure(money(cost), " · ".join(caption) or "cost", meter=meter)


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


def _projection(run: RunLike, cost: Decimal) -> str:
    """`about $0.54 at the end`, once enough rows are paid for to tell."""
    context = run.context
    asked = context.done_rows - context.journal_rows - context.skipped_rows
    left = context.total_rows - context.done_rows
    if run.state != "running" or asked < 20 or left <= 0 or not cost:
        return ""
    return f"about {money(cost + cost / asked * left, 2)} at the end"


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


def _latency(latencies: Iterable[float]) -> Figure:
    times = sorted(latencies)
    if not times:
        return Figure(MISSING, "p50 latency")
    middle, slow = times[len(times) // 2], times[min(len(times) - 1, len(times) * 95 // 100)]
    return Figure(span(middle), f"p50 · {span(slow)} p95")


def _failures(run: RunLike) -> str:
    """The kinds of failures, the most frequent first."""
    kinds = run.context.gauges.failures.copy().most_common()
    return " · ".join(f"{clean(label, 40)} {rows:,}" for label, rows in kinds[:6] if rows)


def _last_error(run: RunLike) -> str:
    failure = run.context.gauges.last_error
    if failure is None or not run.context.failed_rows:
        return ""
    return f"last, row {failure.row:,}: {safe(failure.message) or clean(failure.error_type)}"


def _tokens(run: RunLike) -> str:
    usage, retries = run.context.usage, run.context.gauges.retries
    if not usage.total_tokens and not retries:
        return ""
    cached = f" ({short(usage.cache_read_tokens)} cached)" if usage.cache_read_tokens else ""
    text = f"tokens {short(usage.prompt_tokens)} in{cached} · {short(usage.output_tokens)} out"
    return text + (f" · {retries:,} {'retry' if retries == 1 else 'retries'}" if retries else "")


def _remarks(run: RunLike, error: str) -> tuple[str, ...]:
    """Lines in words: nothing to do, all from the journal, what stopped it, which model."""
    message = safe(run.context.gauges.message) + _next_try(run)
    lines = [] if message and message in error else [message]
    if run.state in ENDED and not run.context.total_rows and not run.context.done_rows:
        lines.append(f"{clean(run.source) or 'the input'} has no rows: nothing was sent")
    if _all_from_journal(run):
        lines.append(f"{row_count(run.context.journal_rows)} from the journal, $0")
    return tuple(line for line in (*lines, clean(run.note, MESSAGE)) if line)


def _next_try(run: RunLike) -> str:
    """`; next try in 8 s`, counted down at each redraw."""
    until = run.context.gauges.message_until
    if until is None or not run.context.gauges.message or run.state in ENDED:
        return ""
    left = math.ceil(until - time.monotonic())
    return f"; next try in {left} s" if left > 0 else "; trying now"


def _all_from_journal(run: RunLike) -> bool:
    context = run.context
    free = not context.accumulated_cost and not context.gauges.possibly_billed
    whole = context.journal_rows + context.skipped_rows >= max(context.total_rows, 1)
    return bool(run.state in ENDED and context.journal_rows and free and whole)


def _cost(run: RunLike) -> Decimal | None:
    cost = run.context.accumulated_cost
    known = (run.priced or _all_from_journal(run)) and cost.is_finite()
    return cost if known else None


def _run_name(run: RunLike) -> str:
    return f"{clean(run.name)}_run" if run.name else "run"


def _message(error: BaseException | None) -> str:
    if error is None:
        return ""
    return f"{type(error).__name__}: {safe(error)}".rstrip(": ")
