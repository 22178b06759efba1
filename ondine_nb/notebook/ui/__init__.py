"""What the views share: texts, templates, display and widgets."""

from __future__ import annotations

from .display import (
    Place,
    at_cell_ends,
    bind,
    cell_number,
    display_bundle,
    in_marimo,
    in_notebook,
    may_click,
    names_here,
    nobody_there,
    not_at_cell_ends,
    view_of,
)
from .templates import css, template
from .text import (
    MESSAGE,
    MISSING,
    clean,
    lines,
    money,
    points,
    rate,
    row_count,
    safe,
    short,
    span,
    time_left,
)
from .view import LiveView
from .widget_kit import Kit
from .worker import Drawing, ViewWorker

__all__ = [
    "MESSAGE",
    "MISSING",
    "Drawing",
    "Kit",
    "LiveView",
    "Place",
    "ViewWorker",
    "at_cell_ends",
    "bind",
    "cell_number",
    "clean",
    "css",
    "display_bundle",
    "in_marimo",
    "in_notebook",
    "lines",
    "may_click",
    "money",
    "names_here",
    "nobody_there",
    "not_at_cell_ends",
    "points",
    "rate",
    "row_count",
    "safe",
    "short",
    "span",
    "template",
    "time_left",
    "view_of",
]
