"""Renders the results view (a summary and one page of rows) as HTML and as plain text.

Everything here is pure: a run's rows go in, text comes out. Whatever comes from data, model or
provider passes `clean` before it is shown, and jinja2's autoescape before it is HTML.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from ...orchestration import Row
from ..card import Distribution, distribution, latencies_of, latency_figure, source_of
from ..ui import MISSING, clean, css, money, row_count, safe, short, span, template
from .query import STREAMED, Head, Query, Results, status_word
from .row import Detail

__all__ = ["Page", "Summary", "page_of", "plain", "render", "static", "summary_of"]

MOST_PLOTS = 12
STATIC_ROWS, PLAIN_ROWS = 20, 10
REASON = 120  # characters of an error in the place of the new cells


@dataclass(frozen=True, slots=True)
class SummaryFigure:
    """A large text with a small caption; `tone` is "" or "failed"."""

    value: str
    caption: str
    tone: str = ""


@dataclass(frozen=True, slots=True)
class Summary:
    """What the whole view says above its rows. `counts` are those that aren't 0."""

    name: str
    about: tuple[str, ...]
    state: str
    figures: tuple[SummaryFigure, ...]
    counts: tuple[tuple[str, int], ...]
    failures: tuple[tuple[str, int], ...]
    plots: tuple[Distribution, ...]
    more_plots: int
    run_name: str
    streamed: str


@dataclass(frozen=True, slots=True)
class Title:
    """A column's head; `order` is its `aria-sort`: "", `ascending` or `descending`."""

    text: str
    kind: str
    order: str


@dataclass(frozen=True, slots=True)
class DetailLine:
    """One row of the table: cells as (text, kind, how many columns it goes over)."""

    position: int
    status: str
    cells: tuple[tuple[str, str, int], ...]


@dataclass(frozen=True, slots=True)
class Page:
    """One page of rows. `found` counts those on all pages, `page` from 0."""

    titles: tuple[Title, ...]
    lines: tuple[DetailLine, ...]
    total: int
    found: int
    first: int
    page: int
    pages: int
    hidden: int

    @property
    def text(self) -> str:
        """`21 to 40 of 100 rows that match, of 10,000`."""
        if not self.found:
            return f"no row of {self.total:,} matches" if self.total else "no rows"
        here = f"{self.first + 1:,} to {self.first + len(self.lines):,} of {row_count(self.found)}"
        return here if self.found == self.total else f"{here} that match, of {self.total:,}"


def summary_of(results: Results) -> Summary:
    """The summary of all rows. Takes time by the number of rows: call it from a thread."""
    run = results.run
    counts = {} if results.streamed else results.counts()
    new = [at for at, head in enumerate(results.heads) if head.kind == "new"]
    names = ", ".join(clean(name, 40) for name in tuple(run.columns)[:MOST_PLOTS])
    plots = [distribution(results.heads[at].name, results.column(at)) for at in new[:MOST_PLOTS]]
    failures = {} if results.streamed else results.failures()
    return Summary(
        name=clean(run.name),
        about=tuple(text for text in (source_of(run), clean(run.model), names) if text),
        state=clean(run.state),
        figures=() if results.streamed else tuple(_figures(results, counts)),
        counts=tuple((status, rows) for status, rows in counts.items() if rows),
        failures=tuple((clean(label, 40), len(rows)) for label, rows in failures.items()),
        plots=tuple(plots),
        more_plots=max(0, len(new) - MOST_PLOTS),
        run_name=f"{clean(run.name)}_run" if run.name else "run",
        streamed=STREAMED if results.streamed else "",
    )


def _figures(results: Results, counts: dict[str, int]) -> Iterable[SummaryFigure]:
    told = [f"{rows:,} {status_word(it)}" for it, rows in counts.items() if rows and it != "failed"]
    total = len(results)
    yield SummaryFigure(f"{total:,}", " · ".join(["row" if total == 1 else "rows", *told]))
    if counts["failed"]:
        yield SummaryFigure(f"{counts['failed']:,}", "failed", "failed")
    cost = results.cost()
    yield (
        SummaryFigure("unknown", "price of the model")
        if cost is None
        else SummaryFigure(money(cost), "cost")
    )
    if times := latencies_of(results.run):
        figure = latency_figure(times)
        yield SummaryFigure(figure.value, figure.caption)
    yield SummaryFigure(short(results.tokens()), "tokens")


# --- one page ------------------------------------------------------------------------------------


def page_of(results: Results, found: Sequence[int], query: Query) -> Page:
    """The page that `query` names of the rows at `found`; the last one where there are fewer."""
    pages = max(1, -(-len(found) // query.size))
    at = min(max(query.page, 0), pages - 1)
    places = list(found[at * query.size : (at + 1) * query.size])
    cells = results.cells(places)
    lines = [
        DetailLine(place, results.status(place), tuple(_cells(results, place, values)))
        for place, values in zip(places, cells, strict=True)
    ]
    return Page(
        titles=tuple(_titles(results.heads, query, cells)),
        lines=tuple(lines),
        total=len(results),
        found=len(found),
        first=at * query.size,
        page=at,
        pages=pages,
        hidden=results.hidden,
    )


def _titles(heads: Sequence[Head], query: Query, cells: Sequence[Sequence[Any]]) -> Iterable[Title]:
    for at, head in enumerate(heads):
        order = ("descending" if query.descending else "ascending") if at == query.sort else ""
        number = any(_is_number(values[at]) for values in cells)
        kind = f"{head.kind} num" if number and head.kind != "fact" else head.kind
        yield Title(clean(head.name, 40), kind, order)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float | Decimal) and not isinstance(value, bool)


def _cells(results: Results, place: int, values: Sequence[Any]) -> Iterable[tuple[str, str, int]]:
    """The texts of a row's cells; a failed row says why in the place of its new cells."""
    row, reason = results.rows[place], _reason(results.rows[place])
    span_of = sum(head.kind == "new" for head in results.heads)
    for head, value in zip(results.heads, values, strict=True):
        if head.kind == "new" and reason:
            if span_of:
                yield reason, "new why", span_of
            span_of = 0
        elif head.kind == "fact":
            yield _fact(head.name, value, row, results.run.priced), "fact", 1
        elif head.kind == "status":
            yield status_word(value), f"status is-{value}", 1
        else:
            kind = f"{head.kind} num" if _is_number(value) else head.kind
            yield _shown(value), kind, 1


def _shown(value: Any) -> str:
    if isinstance(value, float) and value == value:
        return f"{value:.6g}"
    return clean(value) or MISSING


def _reason(row: Row | None) -> str:
    if row is None or row.failure is None or row.status != "failed":
        return ""
    return clean(f"{row.failure.label}: {safe(row.failure.message)}", REASON)


def _fact(name: str, value: Any, row: Row | None, priced: bool) -> str:
    if row is None or value is None or (not row.attempts and name != "cost"):
        return MISSING
    if name == "cost":
        return money(value) if priced and (value or row.attempts) else MISSING
    return span(value) if name == "latency" else f"{value:,}"


# --- to text -------------------------------------------------------------------------------------


def render(
    part: str,
    *,
    summary: Summary | None = None,
    page: Page | None = None,
    detail: Detail | None = None,
    opened: int | None = None,
) -> str:
    """The HTML of one part of the live view: `head`, `plots`, `table` or `detail`."""
    return _html(part, summary=summary, page=page, detail=detail, opened=opened)


def static(results: Results, summary: Summary, mark: str) -> str:
    """The whole view as HTML that stands alone: the summary, the plots and the first rows.

    Where the live view of this `mark` is on the page, its style sheet hides this.
    """
    page = page_of(results, range(len(results)), Query(size=STATIC_ROWS))
    return _html("static", summary=summary, page=page, mark=mark, css=css("results/results.css"))


def _html(part: str, **known: Any) -> str:
    names = ("summary", "page", "detail", "opened", "mark", "css")
    values = {**dict.fromkeys(names), **known, "part": part, "word": status_word}
    html: str = template("results/results.html").render(values)
    # Lines are joined outside <pre> only: there, white space is the text's own.
    parts = html.split("<pre")
    return "<pre".join(_joined(it) if at == 0 else _behind_pre(it) for at, it in enumerate(parts))


def _behind_pre(html: str) -> str:
    text, end, rest = html.partition("</pre>")
    return text + end + _joined(rest)


def _joined(html: str) -> str:
    return "\n".join(line for line in map(str.strip, html.splitlines()) if line)


def plain(results: Results, summary: Summary) -> str:
    """The same facts for a terminal: counts, distributions and the first rows as a table."""
    lines = [f"{summary.name}: results ({' · '.join(summary.about)}) · {summary.state}"]
    if summary.streamed:
        return "\n".join([*lines, summary.streamed])
    lines.append(" · ".join(f"{it.value} {it.caption}" for it in summary.figures))
    if summary.failures:
        kinds = " · ".join(f"{label} {rows:,}" for label, rows in summary.failures)
        lines.append(f"failures: {kinds} · see {summary.run_name}.errors")
    lines += [f"{plot.name}: {plot.text}" for plot in summary.plots]
    page = page_of(results, range(len(results)), Query(size=PLAIN_ROWS))
    return "\n".join([*lines, *_plain_table(page), page.text])


def _spread(line: DetailLine) -> Iterable[str]:
    for text, _, columns in line.cells:
        yield from (text, *[""] * (columns - 1))


def _plain_table(page: Page) -> Iterable[str]:
    heads = ["row", *(title.text for title in page.titles)]
    rows = [[f"{line.position:,}", *_spread(line)] for line in page.lines]
    if not rows:
        return
    table = [[clean(text, 28) for text in row] for row in (heads, *rows)]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    for row in table:
        padded = (text.ljust(width) for text, width in zip(row, widths, strict=True))
        yield "  ".join(padded).rstrip()
