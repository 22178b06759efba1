"""The comparison as HTML that stands alone, for a saved notebook: it reads well without a style."""

from __future__ import annotations

from ..ui import css, template
from .comparison import Comparison
from .look import Look, figures, lines_of, ordered, text_columns

__all__ = ["static"]

STATIC_ROWS = 20


def static(comparison: Comparison, mark: str) -> str:
    """The whole comparison: what changed, scores, test, matrices, and the rows that matter most."""
    rows, _ = ordered(comparison, Look())
    names = text_columns(comparison)[:1]
    known = {
        "it": figures(comparison),
        "columns": names,
        "lines": lines_of(comparison, rows[:STATIC_ROWS], names),
        "left": len(rows) - STATIC_ROWS,
        "signs": {True: "✓", False: "✗", None: ""},
        "mark": mark,
        "css": css("comparison/static.css"),
    }
    html: str = template("comparison/static.html").render(known)
    return "\n".join(line for line in map(str.strip, html.splitlines()) if line)
