"""Scores as text and as HTML that reads well without a stylesheet."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape
from typing import TYPE_CHECKING

from ...text import one_line
from .intervals import Interval

if TYPE_CHECKING:
    from .scores import Scores

__all__ = ["score_html", "score_text"]

_MOST_CLASSES, _MOST_COLUMNS = 20, 10
_NAME = 40  # characters of a class that are shown
_TITLES = {"macro_f1": "macro F1", "kappa": "κ", "r2": "R²", "f1": "F1", "mae": "mean error"}
Table = list[list[str]]


def score_text(scores: Scores) -> str:
    """The scores in a few lines and tables of text."""
    parts = [f"{one_line(scores.field, _NAME)}: {_headline(scores)}", *_told(scores)]
    for title, table in _tables(scores):
        parts += ["", title, *_aligned(table)]
    if scores.n:
        parts += ["", "In brackets: 95 % confidence intervals."]
    for queue, rest in scores.rest.items():
        parts += ["", f"{one_line(queue, _NAME)}, these rows only: {_headline(rest)}"]
    return "\n".join(parts)


def score_html(scores: Scores) -> str:
    """The same as HTML, with nothing that a sanitizer would take away."""
    parts = [f"<p><b>{escape(one_line(scores.field, _NAME))}</b>: {escape(_headline(scores))}</p>"]
    parts += [f"<p>{escape(line)}</p>" for line in _told(scores)]
    for title, table in _tables(scores):
        parts.append(f"<p>{escape(title)}</p>{_html_table(table)}")
    if scores.n:
        parts.append("<p><small>In brackets: 95 % confidence intervals.</small></p>")
    for queue, rest in scores.rest.items():
        name = escape(one_line(queue, _NAME))
        parts.append(f"<p>{name}, these rows only: {escape(_headline(rest))}</p>")
    return f'<div class="ondine-scores">{"".join(parts)}</div>'


def _headline(scores: Scores) -> str:
    """The first figures, in a line."""
    if not scores.n:
        return "no labelled row has an answer"
    rows = f"{scores.n:,} labelled {'row' if scores.n == 1 else 'rows'}"
    figures = list(_figures(scores))
    return f"{', '.join(figures)} ({rows})"


def _figures(scores: Scores) -> Iterator[str]:
    if scores.accuracy is not None and scores.precision is None and scores.recall is None:
        around = _around(scores.intervals.get("accuracy"), percent=True)
        yield f"{100 * scores.accuracy:.1f} % right{around}"
    for name in ("mae", "r2", "precision", "recall", "f1", "macro_f1", "kappa"):
        value: float | None = getattr(scores, name)
        if value is not None:
            around = _around(scores.intervals.get(name))
            yield f"{_TITLES.get(name, name)} {_number(value)}{around}"
    if scores.accuracy is not None and (scores.precision is not None or scores.recall is not None):
        around = _around(scores.intervals.get("accuracy"), percent=True)
        yield f"all items right in {100 * scores.accuracy:.1f} %{around}"


def _told(scores: Scores) -> list[str]:
    """What the figures speak for, and what doesn't count."""
    lines = [scores.scope] if scores.scope else []
    if scores.unanswered:
        one = scores.unanswered == 1
        rows = "row has no answer and doesn't" if one else "rows have no answer and don't"
        lines.append(f"{scores.unanswered:,} labelled {rows} count")
    return [one_line(line, 400) for line in (*lines, *scores.notes)]


def _tables(scores: Scores) -> Iterator[tuple[str, Table]]:
    classes = list(scores.per_class.items())
    if classes:
        shown = sorted(classes, key=lambda each: -each[1].n)[:_MOST_CLASSES]
        names = {name for name, _ in shown}
        table: Table = [["", "rows", "precision", "recall", "F1"]]
        for name, score in [each for each in classes if each[0] in names]:
            figures = (("precision", score.precision), ("recall", score.recall), ("f1", score.f1))
            cells = [_cell(value, score.intervals.get(figure)) for figure, value in figures]
            table.append([one_line(name, _NAME), f"{score.n:,}", *cells])
        more = len(classes) - len(shown)
        yield f"By class{f', {more:,} rarer ones left out' if more else ''}:", table
    if scores.by_match:
        yield (
            "By how the evidence matches:",
            [
                ["", "rows", "right"],
                *(
                    [word, f"{it.n:,}", _cell(it.accuracy, it.interval)]
                    for word, it in scores.by_match.items()
                ),
            ],
        )
    if 1 < len(scores.matrix) <= _MOST_COLUMNS:
        head = [one_line(name, _NAME) for name in scores.matrix]
        rows = [
            [one_line(name, _NAME), *(f"{count:,}" for count in row.values())]
            for name, row in scores.matrix.items()
        ]
        yield "Rows by label (down) and answer (across):", [["", *head], *rows]


def _cell(value: float | None, interval: Interval | None) -> str:
    return "–" if value is None else f"{_number(value)}{_around(interval)}"


def _number(value: float) -> str:
    return f"{value:.2f}" if abs(value) < 1_000 else f"{value:,.0f}"


def _around(interval: Interval | None, *, percent: bool = False) -> str:
    if interval is None:
        return ""
    low, high = interval
    if percent:
        return f" ({100 * low:.1f} to {100 * high:.1f} %)"
    return f" ({_number(low)} to {_number(high)})"


def _aligned(table: Table) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    return ["  ".join(_padded(row, widths)).rstrip() for row in table]


def _padded(row: Sequence[str], widths: Sequence[int]) -> Iterator[str]:
    first, *others = zip(row, widths, strict=True)
    yield first[0].ljust(first[1])
    yield from (cell.rjust(width) for cell, width in others)


def _html_table(table: Table) -> str:
    head, *rows = table
    top = "".join(f'<th scope="col">{escape(cell)}</th>' for cell in head)
    body = "".join(
        f'<tr><th scope="row">{escape(row[0])}</th>'
        + "".join(f"<td>{escape(cell)}</td>" for cell in row[1:])
        + "</tr>"
        for row in rows
    )
    return f"<table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table>"
