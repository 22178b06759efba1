"""Renders the results view for where no browser of a kernel is: static HTML, and plain text.

Everything here is pure. Whatever comes from data, model or provider passes `clean` before it is
shown, and jinja2's autoescape before it is HTML. The HTML reads well where a notebook isn't trusted
and style sheets and drawings are gone: bars are meters, and what a plot shows stands beside it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from ..card import latencies_of, latency_figure, source_of
from ..ui import MISSING, Shown, clean, css, money, row_count, short, span, template
from .column import value_text
from .query import Query, Selection, facet_of, plotted
from .table import EVIDENCE, REVIEW, STREAMED, Head, Results, status_word

__all__ = ["Summary", "cell_text", "plain", "reason_of", "static", "summary_of"]

STATIC_ROWS, PLAIN_ROWS = 20, 10
REASON = 160  # characters of an error in the place of the answers


@dataclass(frozen=True, slots=True)
class Summary:
    """What the whole view says above its rows. `facts` is one line, `speed` (tokens, seconds) goes
    behind it where there is room, `plots` are `facet_of`."""

    name: str
    facts: tuple[str, ...]
    speed: tuple[str, ...]
    failed: int
    state: str
    failures: tuple[tuple[str, int], ...]
    plots: tuple[dict[str, Any], ...]
    run_name: str
    streamed: str

    def told(self) -> dict[str, Any]:
        """The head line for JSON."""
        names = ("name", "facts", "failed", "state", "run_name", "streamed")
        return {name: getattr(self, name) for name in names}


def summary_of(results: Results, plots: Sequence[dict[str, Any]] | None = None) -> Summary:
    """The summary of all rows. Takes time by the number of rows: call it from a thread."""
    run, streamed = results.run, results.streamed
    if plots is None:
        selection = Selection(results, Query())
        heads = () if streamed else plotted(results)
        plots = [it for it in (facet_of(selection, head) for head in heads) if it is not None]
    failures = {} if run is None or streamed else results.failures()
    name = clean(results.name)
    return Summary(
        name=name,
        facts=tuple(filter(None, _facts(results))),
        speed=() if run is None or streamed else tuple(_speed(results)),
        failed=sum(map(len, failures.values())),
        state="" if run is None else clean(run.state),
        failures=tuple((label, len(rows)) for label, rows in failures.items()),
        plots=tuple(plots),
        run_name=name if run is None else f"{name}_run" if name else "run",
        streamed=STREAMED if streamed else "",
    )


def _facts(results: Results) -> Iterable[str]:
    run = results.run
    if run is None:
        yield row_count(len(results))
        return
    yield source_of(run)
    yield clean(run.model)
    if results.streamed:
        return
    yield row_count(len(results))
    counts = results.counts()
    yield from (
        f"{rows:,} {status_word(status)}"
        for status, rows in counts.items()
        if rows and status not in ("answered", "failed")
    )
    cost = results.cost()
    yield "price unknown" if cost is None else money(cost)


def _speed(results: Results) -> Iterable[str]:
    yield f"{short(results.tokens())} tokens"
    if times := latencies_of(results.run):
        figure = latency_figure(times)
        yield f"{figure.value} {figure.caption}"


# --- cells ---------------------------------------------------------------------------------------


def cell_text(head: Head, value: Any) -> str:
    """A cell as one harmless line; `MISSING` where there is nothing."""
    if value is None or value != value:
        return MISSING
    if head.role == "fact":
        return fact_text(head.name, value)
    if isinstance(value, bool):
        return "✓ true" if value else "– false"
    if isinstance(value, list):
        return clean(" · ".join(map(value_text, value))) or "(none)"
    return clean(number_or_text(value)) or MISSING


def number_or_text(value: Any) -> str:
    """The text of a value; a float with at most six digits that matter."""
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, dict):
        return json.dumps(value, ensure_ascii=False, default=str)
    return value_text(value)


def fact_text(name: str, value: Any) -> str:
    """What the run has to say of a row: status, cost, tokens, seconds, attempts."""
    if name in (REVIEW, EVIDENCE):
        return clean(value)
    if name == "status":
        return status_word(value)
    if name == "cost":
        return money(value) if isinstance(value, Decimal) else MISSING
    return span(value) if name == "latency" else f"{value:,}"


def reason_of(results: Results, position: int) -> str:
    """Why a row failed, in the place of its answers; "" for one that did not."""
    if results.status(position) != "failed":
        return ""
    return clean(": ".join(results.reason(position)), REASON)


# --- to text -------------------------------------------------------------------------------------


def static(results: Results, summary: Summary, mark: str) -> str:
    """The whole view as HTML that stands alone: the summary, the plots and the first rows.

    With media columns in view it takes time: their thumbnails are made, unless the run has
    `no_thumbs`.
    """
    heads = results.named("label", "text", "answer") if results.run else results.heads[:16]
    shown = range(min(STATIC_ROWS, len(results)))
    known = {
        "summary": summary,
        "heads": [(clean(it.name, 40), it.role) for it in heads],
        "lines": [(_line(results, heads, at), _thumbs(results, heads, at)) for at in shown],
        "first": _first(results, len(shown)),
        "more": len(results.heads) - len(heads),
        "mark": mark,
        "css": css("results/static.css"),
    }
    html: str = template("results/static.html").render(known)
    return "\n".join(line for line in map(str.strip, html.splitlines()) if line)


def _thumbs(results: Results, heads: Sequence[Head], at: int) -> dict[int, list[Shown]]:
    """The small pictures of a row by the place of their cell; none where none may be saved."""
    found = results.pictures
    if found is None or not found.saved:
        return {}
    places = [place for place, head in enumerate(heads) if results.has_pictures(head)]
    return {place: found.small(at, heads[place].name) for place in places}


def _line(results: Results, heads: Sequence[Head], at: int) -> list[tuple[str, str, int]]:
    """The cells of a row as (text, role, how many columns it goes over)."""
    (values,) = results.cells([at], [head.name for head in heads])
    reason, line = reason_of(results, at), []
    answers = sum(head.role == "answer" for head in heads)
    for head, value in zip(heads, values, strict=True):
        if head.role == "answer" and reason:
            line += [(reason, "why", answers)] * bool(answers)
            answers = 0
        else:
            word = results.word(at, head.name) if head.role == "answer" else ""
            said = f" · {word}" * bool(word)
            line.append((cell_text(head, value) + said, _role(head, value), 1))
    return line


def _role(head: Head, value: Any) -> str:
    number = isinstance(value, int | float | Decimal) and not isinstance(value, bool)
    return f"{head.role} num" if number else head.role


def _first(results: Results, shown: int) -> str:
    if not len(results):
        return "no rows"
    total = row_count(len(results))
    return total if shown == len(results) else f"the first {shown:,} of {total}"


def plain(results: Results, summary: Summary) -> str:
    """The same facts for a terminal: counts, distributions and the first rows as a table."""
    failed = [f"{summary.failed:,} failed"] if summary.failed else []
    about = [*summary.facts, *summary.speed, *failed, summary.state]
    lines = [f"{summary.name}: {' · '.join(filter(None, about))}"]
    if summary.streamed:
        return "\n".join([*lines, summary.streamed])
    if summary.failures:
        kinds = " · ".join(f"{label} {rows:,}" for label, rows in summary.failures)
        lines.append(f"failures: {kinds} · see {summary.run_name}.errors")
    lines += [f"{clean(plot['name'], 40)}: {plot_text(plot)}" for plot in summary.plots]
    shown = min(PLAIN_ROWS, len(results))
    heads = results.named("label", "text", "answer") if results.run else results.heads[:16]
    return "\n".join([*lines, *_plain_table(results, heads, shown), _first(results, shown)])


def plot_text(plot: dict[str, Any]) -> str:
    """What a plot of all rows shows, in one line."""
    if "bars" in plot:
        parts = [f"{bar['text']} {bar['all']:,}" for bar in plot["bars"]]
        if plot["others"]:
            parts.append(f"{plot['others'][0]:,} others {plot['others'][2]:,}")
    else:
        parts = [f"{plot['edges'][0]} to {plot['edges'][-1]}"] if plot["edges"] else []
        parts += [plot["note"]] * bool(plot["note"])
    missing = plot["gone"][1]
    return " · ".join([*parts, *[f"{missing:,} {plot['none']}"] * bool(missing)]) or "no rows"


def _plain_table(results: Results, heads: Sequence[Head], shown: int) -> Iterable[str]:
    rows = [[head.name for head in heads]]
    for at in range(shown):
        cells = _line(results, heads, at)
        rows.append([it for text, _, over in cells for it in (text, *[""] * (over - 1))])
    if not shown:
        return
    table = [[clean(text, 28) for text in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    for row in table:
        padded = (text.ljust(width) for text, width in zip(row, widths, strict=True))
        yield "  ".join(padded).rstrip()
