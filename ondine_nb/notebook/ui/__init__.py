"""What the views share: texts, templates, display and widgets."""

from __future__ import annotations

from .display import (
    CellOutput,
    Place,
    at_cell_ends,
    cell_number,
    display_bundle,
    in_notebook,
    may_click,
    nobody_there,
    not_at_cell_ends,
    shown_at,
    vacate,
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
from .widget_kit import Kit
from .worker import Drawing, ViewWorker

__all__ = [
    "MESSAGE",
    "MISSING",
    "CellOutput",
    "Drawing",
    "Kit",
    "Place",
    "ViewWorker",
    "at_cell_ends",
    "cell_number",
    "clean",
    "css",
    "display_bundle",
    "in_notebook",
    "lines",
    "may_click",
    "money",
    "nobody_there",
    "not_at_cell_ends",
    "points",
    "rate",
    "row_count",
    "safe",
    "short",
    "shown_at",
    "span",
    "template",
    "time_left",
    "vacate",
    "view_of",
]
