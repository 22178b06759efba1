"""Renders the card of a run: a snapshot (`Card`) as HTML and as plain text.

Everything here is pure: a run goes in, text comes out. Whatever comes from data, model or
provider passes `clean` before it is shown, and jinja2's autoescape before it is HTML.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import partial
from typing import Any

from ...models import Failure
from ...orchestration import RowStream
from ...pipeline import shown_path
from ..ui import MESSAGE, clean, css, money, row_count, safe, short, span, template, time_left
from .answers import Answers, media_of
from .figures import (
    ENDED,
    Figure,
    Paid,
    RunLike,
    all_from_journal,
    closing_facts,
    cost_of,
    counts_of,
    groups_of,
    in_batches,
    label_of,
    live_figures,
    paid,
    possibly_billed,
    saved_line,
    seconds_of,
    source_of,
    summary,
    usage_of,
)
from .table import Table, last_rows
from .throughput import Throughput

__all__ = ["Card", "can_retry", "plain", "render"]

MOST_KINDS = 6  # of failures, each with its first rows
REASON = 160  # characters of a failed row's message in that list


@dataclass(frozen=True, slots=True)
class Count:
    """Rows of one kind: `done journal failed skipped flight waiting`; `share` in percent."""

    kind: str
    rows: int
    text: str
    share: float


@dataclass(frozen=True, slots=True)
class FailureKind:
    """Failed rows of one kind, and the first of them as (position, message)."""

    label: str
    rows: int
    first: tuple[tuple[str, str], ...]
    more: int


@dataclass(frozen=True, slots=True)
class Card:
    """A run at one moment, as texts and numbers. `cost` is in USD, None where it is unknown.

    `open_ended` says that `total` is only what was read by now, `has_bar` that there is any
    progress to be shown.
    """

    name: str
    about: tuple[str, ...]
    state: str
    pill: str
    total: int
    done: int
    failed: int
    of_total: str
    open_ended: bool
    has_bar: bool
    cost: Decimal | None
    progress: str
    counts: tuple[Count, ...]
    aside: str
    figures: tuple[Figure, ...]
    summary: tuple[Figure, ...]
    paid: Paid
    facts: tuple[str, ...]
    answers: Answers | None
    table: Table | None
    kinds: tuple[FailureKind, ...]
    other_kinds: str
    last_error: str
    tokens: str
    saved: str
    remarks: tuple[str, ...]
    journal: str
    possibly_billed: str
    error: str
    run_name: str
    can_retry: bool
    interrupt_only: bool
    buttons: int

    @classmethod
    def of(
        cls,
        run: RunLike,
        pace: Throughput | None = None,
        *,
        live: bool = False,
        answers: Answers | None = None,
    ) -> Card:
        """Take the snapshot. Without a `pace` there is no rate and no time left yet.

        One that is only shown `live` has no `summary` before the run is over. `answers` are shown
        of a run that is over.
        """
        metrics, pace = run.context.metrics, pace or Throughput()
        rows, counts = counts_of(run), _counts(run)
        error = _message(run.error)
        kinds, other_kinds = _kinds(run)
        summed = not live or run.state in ENDED
        return cls(
            name=clean(run.name),
            about=_about(run),
            state=clean(run.state),
            pill=_pill(run),
            total=rows.total,
            done=rows.done,
            failed=rows.failed,
            of_total=_of_total(run),
            open_ended=_open_ended(run),
            has_bar=not (in_batches(run) and _only_waits(run)),
            cost=cost_of(run),
            progress=_progress(run),
            counts=tuple(count for count in counts if count.rows),
            aside=_aside(run, pace),
            figures=live_figures(run, pace),
            summary=summary(run, _rows(run), _failed(run), pace) if summed else (),
            paid=paid(run),
            facts=_closing(run, answers) if run.state in ENDED else (),
            answers=answers,
            table=last_rows(
                metrics.recent.copy(),
                _answer_columns(run),
                partial(label_of, run),
                media_of(run),
            ),
            kinds=kinds,
            other_kinds=other_kinds,
            last_error=_last_error(run),
            tokens=_tokens(run),
            saved=saved_line(run),
            remarks=_remarks(run, error),
            journal=_journal(run),
            possibly_billed=possibly_billed(run),
            error=error,
            run_name=_run_name(run),
            can_retry=can_retry(run),
            interrupt_only=bool(getattr(run, "interrupt_only", False)),
            buttons=2 if hasattr(run, "pause") and hasattr(run, "resume") else 1,
        )

    @property
    def ended(self) -> bool:
        """Whether the run is over."""
        return self.state in ENDED

    @property
    def data_cost(self) -> str:
        """The cost as a plain decimal number; "" where it is unknown."""
        return "" if self.cost is None else f"{self.cost:f}"

    @property
    def failures(self) -> str:
        """The kinds of failures in one line, the most frequent first."""
        known = [f"{kind.label} {kind.rows:,}" for kind in self.kinds]
        return " · ".join([*known, self.other_kinds] if self.other_kinds else known)


def can_retry(run: Any) -> bool:
    """Whether `run.retry_failed()` has rows to ask again now; those of a stream aren't kept."""
    over = run.state in ENDED and counts_of(run).failed > 0
    kept = not isinstance(getattr(getattr(run, "plan", None), "rowset", None), RowStream)
    return bool(over and kept and hasattr(run, "retry_failed"))


# --- from card to text ---------------------------------------------------------------------------


def render(
    card: Card, live: bool, opened: bool = False, *, stands_in: bool = False, as_of: str = ""
) -> str:
    """The card's HTML. Live it is the body alone (the style stays put in a widget of its own).

    `opened` shows the first failed rows of each kind; a static card opens them by itself. One that
    `stands_in` is for a notebook that is saved while the run goes on: its class is `ondine-saved`,
    for beside the live card there is no second `.ondine-run`. Of a run that goes on, `as_of` says
    when it was so.
    """
    sheet = "" if live else css()
    html: str = template("card/card.html").render(
        card=card,
        live=live,
        opened=opened,
        css=sheet,
        stands_in=stands_in,
        as_of=f" as of {as_of}" if as_of else "",
    )
    return "\n".join(line for line in map(str.strip, html.splitlines()) if line)


def plain(card: Card) -> str:
    """The same facts for a terminal: a few lines, no control characters."""
    head = f"{card.name}: {card.pill} ({' · '.join(card.about)})"
    rows = " · ".join([card.progress, *(count.text for count in card.counts)])
    shown = (figure for figure in card.summary[1:] if figure.tone != "failed")
    figures = " · ".join(f"{figure.value} {figure.caption}".strip() for figure in shown)
    lines = [head, *card.remarks, card.journal, rows, figures, card.tokens]
    if card.failed:
        lines.append(f"{card.failed:,} failed: {card.failures} · see {card.run_name}.errors")
    lines += [card.last_error, card.error]
    return "\n".join(line for line in lines if line)


# --- parts of a card -----------------------------------------------------------------------------


def _about(run: RunLike) -> tuple[str, ...]:
    columns = ", ".join(clean(name, 40) for name in tuple(run.columns)[:12])
    more = f" and {len(run.columns) - 12} more" if len(run.columns) > 12 else ""
    parts = (source_of(run), groups_of(run), clean(run.model), columns + more)
    return tuple(part for part in parts if part)


def _pill(run: RunLike) -> str:
    words = {"done": "done in", "stopped": "stopped after", "failed": "failed after"}
    if run.state in words:
        return f"{words[run.state]} {span(seconds_of(run))}"
    flight = run.context.metrics.in_flight
    if run.state == "stopping" and flight:
        return f"stopping · {flight:,} in flight"
    control = run.context.control
    if run.state == "paused" and control.outage and not control.paused:
        return "paused · outage"
    return clean(run.state)


def _open_ended(run: RunLike) -> bool:
    return run.context.metrics.open_ended and run.state != "done"


def _counts(run: RunLike) -> list[Count]:
    """Rows by outcome, in the order of the bar; what is read of an open end has no share.

    While a retry goes on, rows that it doesn't ask and that weren't run before stay apart.
    """
    rows, ended = counts_of(run), run.state in ENDED
    flight = 0 if ended else run.context.metrics.in_flight
    earlier = getattr(run, "earlier", None)
    left = rows.not_run - (earlier.rest.not_run if earlier and not ended else 0)
    kinds = [
        ("done", rows.answered - rows.journal, "answered"),
        ("journal", rows.journal, "from journal"),
        ("failed", rows.failed, "failed"),
        ("skipped", rows.skipped, "skipped"),
        ("flight", flight, "waiting in batches" if in_batches(run) else "in flight"),
        ("waiting", rows.not_run - left, "not run"),
        ("waiting", max(0, left - flight), "not run" if ended else "to come"),
    ]
    scale = 100 / rows.total if rows.total and (ended or not _open_ended(run)) else 0.0
    shares = [min(it, left) if kind == "flight" else it for kind, it, _ in kinds]
    known = [
        Count(kind, of_kind, f"{of_kind:,} {word}", round(share * scale, 2))
        for (kind, of_kind, word), share in zip(kinds, shares, strict=True)
    ]
    return known[:-1] if _open_ended(run) else known


def _only_waits(run: RunLike) -> bool:
    return run.state not in ENDED and not run.context.done_rows


def _progress(run: RunLike) -> str:
    """`5,904 of 10,000 rows`; without the total while a stream doesn't know it."""
    context, rows = run.context, counts_of(run)
    if _open_ended(run):
        return f"{row_count(rows.done)} so far"
    if context.total_rows < context.done_rows or not rows.total:
        return row_count(rows.done)
    return f"{rows.done:,} of {row_count(rows.total)}"


def _aside(run: RunLike, pace: Throughput) -> str:
    """Time left where it can be told, time gone where it can't; nothing when there is neither."""
    context = run.context
    left = context.total_rows - context.done_rows
    if run.state in ENDED or run.state == "pending" or in_batches(run):
        return ""  # batches: a figure says it
    if run.state == "running" and pace.rate and left > 0 and not _open_ended(run):
        return time_left(left / pace.rate)
    return f"{span(math.floor(context.duration))} so far"


def _rows(run: RunLike) -> Figure:
    """The rows of the static card."""
    rows, of_total = counts_of(run), _of_total(run)
    counts = [count for count in _counts(run) if count.rows and count.kind != "failed"]
    return Figure(f"{rows.done:,}", " · ".join([of_total, *(it.text for it in counts)]))


def _of_total(run: RunLike) -> str:
    """What stands behind the count of rows that are done."""
    rows = counts_of(run)
    if _open_ended(run):
        return "rows, before the end of the source" if run.state in ENDED else "rows so far"
    if rows.not_run:
        return f"of {row_count(rows.total)}"
    return "row" if rows.done == 1 else "rows"


def _failed(run: RunLike) -> list[Figure]:
    failed = counts_of(run).failed
    caption = f"failed · see {_run_name(run)}.errors"
    return [Figure(f"{failed:,}", caption, tone="failed")] if failed else []


def _kinds(run: RunLike) -> tuple[tuple[FailureKind, ...], str]:
    """The kinds of failures, the most frequent first, and how many others there are."""
    metrics = run.context.metrics
    counted = [(label, rows) for label, rows in metrics.failures.copy().most_common() if rows]
    first = {label: list(kept) for label, kept in metrics.first_failures.copy().items()}
    kinds = [_kind(run, label, rows, first.get(label, ())) for label, rows in counted[:MOST_KINDS]]
    rest = [rows for _, rows in counted[MOST_KINDS:]]
    return tuple(kinds), f"{len(rest)} more kinds {sum(rest):,}" if rest else ""


def _kind(run: RunLike, label: str, rows: int, first: Sequence[Failure]) -> FailureKind:
    shown = tuple(
        (_row_name(run, it.row), clean(safe(it.message) or it.error_type, REASON))
        for it in sorted(first, key=lambda it: it.row)
    )
    return FailureKind(clean(label, 40), rows, shown, max(0, rows - len(shown)))


def _row_name(run: RunLike, position: int) -> str:
    """`5,871`, or `5,871 (C-17)` with the row's index."""
    label = label_of(run, position)
    return f"{position:,} ({label})" if label else f"{position:,}"


def _last_error(run: RunLike) -> str:
    failure = run.context.metrics.last_error
    if failure is None or not run.context.failed_rows:
        return ""
    reason = safe(failure.message) or clean(failure.error_type)
    return f"last, row {_row_name(run, failure.row)}: {reason}"


def _tokens(run: RunLike) -> str:
    """Tokens, retries, and the pictures and documents that were read; "" of none."""
    usage, retries = usage_of(run), run.context.metrics.retries
    media = str(run.context.metrics.media)
    if not usage.total_tokens and not retries:
        return media
    cached = f" ({short(usage.cache_read_tokens)} cached)" if usage.cache_read_tokens else ""
    text = f"tokens {short(usage.prompt_tokens)} in{cached} · {short(usage.output_tokens)} out"
    text += f" · {retries:,} {'retry' if retries == 1 else 'retries'}" if retries else ""
    return f"{text} · {media}" if media else text


def _remarks(run: RunLike, error: str) -> tuple[str, ...]:
    """Lines in words: nothing to do, all from the journal, what stopped it, which model, a file."""
    said = getattr(run, "message", run.context.metrics.message)
    message = safe(said) + _next_try(run)
    lines = [] if message and message in error else [message]
    if run.state in ENDED and not run.context.total_rows and not run.context.done_rows:
        lines.append(f"{clean(run.source) or 'the input'} has no rows: nothing was sent")
    if all_from_journal(run):
        lines.append(f"{row_count(run.context.journal_rows)} from the journal, $0")
    lines += [_asked_again(run), _file(run), clean(run.note, MESSAGE)]
    return tuple(line for line in lines if line)


def _answer_columns(run: RunLike) -> list[str]:
    """The new columns without those that say where answers stand in the texts."""
    aside = getattr(getattr(run, "plan", None), "evidence", ())
    return [name for name in run.columns if name not in aside]


def _closing(run: RunLike, answers: Answers | None) -> tuple[str, ...]:
    """The grey line of a run that is over: which rows are shown, how fast it was, its tokens."""
    shown = ""
    if answers is not None and answers.table is not None:
        some = len(answers.table.rows)
        every = some == answers.of
        shown = row_count(some) if every else f"{some} of {row_count(answers.of)}, by chance"
    return tuple(filter(None, [shown, *closing_facts(run), _tokens(run)]))


def _asked_again(run: RunLike) -> str:
    """`12 failed rows asked again: 10 answered, 2 failed, $0.0012`; "" where it is no retry."""
    earlier = getattr(run, "earlier", None)
    if earlier is None:
        return ""
    rows, cost = run.context.counts, run.context.accumulated_cost
    parts = [f"{rows.answered:,} answered", f"{rows.failed:,} failed" if rows.failed else ""]
    if rows.not_run and run.state in ENDED:
        parts.append(f"{rows.not_run:,} not sent, so failed as before")
    parts.append(money(cost) if run.priced and cost.is_finite() else "")
    asked = "1 failed row" if len(earlier.asked) == 1 else f"{len(earlier.asked):,} failed rows"
    return f"{asked} asked again: {', '.join(filter(None, parts))}"


def _file(run: RunLike) -> str:
    """Where the rows go, with `to`."""
    path = getattr(getattr(getattr(run, "pipeline", None), "options", None), "to", None)
    if not path or getattr(run, "is_retry", False):
        return ""
    words = {"done": "written to", "stopped": "written to", "failed": "not written to"}
    return f"{words.get(run.state, 'goes to')} {clean(path)}"


def _journal(run: RunLike) -> str:
    """Where the answers are kept, and the run's id, once it is over."""
    journal = getattr(getattr(run, "pipeline", None), "journal", None)
    if run.state not in ENDED or journal is None:
        return ""
    return f"journal {clean(shown_path(journal.folder))} · run {clean(getattr(run, 'id', ''))}"


def _next_try(run: RunLike) -> str:
    """`; next try in 8 s`, counted down at each redraw."""
    until = run.context.metrics.message_until
    if until is None or not run.context.metrics.message or run.state in ENDED:
        return ""
    left = math.ceil(until - time.monotonic())
    return f"; next try in {left} s" if left > 0 else "; trying now"


def _run_name(run: RunLike) -> str:
    return f"{clean(run.name)}_run" if run.name else "run"


def _message(error: BaseException | None) -> str:
    if error is None:
        return ""
    return f"{type(error).__name__}: {safe(error)}".rstrip(": ")
