"""What the views share: texts, templates, display and widgets."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ... import lazily

if TYPE_CHECKING:
    from .display import (
        CellOutput,
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
        shown_at,
        vacate,
        view_of,
    )
    from .templates import css, template
    from .text import (
        MESSAGE,
        MISSING,
        clean,
        has_key,
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
    "CellOutput",
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
    "has_key",
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
    "shown_at",
    "span",
    "template",
    "time_left",
    "vacate",
    "view_of",
]

__getattr__: Callable[[str], Any] = lazily(
    __name__,
    {
        "Drawing": "worker",
        "Kit": "widget_kit",
        "vacate": "display",
        "shown_at": "display",
        "CellOutput": "display",
        "names_here": "display",
        "in_marimo": "display",
        "bind": "display",
        "LiveView": "view",
        "MESSAGE": "text",
        "MISSING": "text",
        "Place": "display",
        "ViewWorker": "worker",
        "at_cell_ends": "display",
        "cell_number": "display",
        "clean": "text",
        "css": "templates",
        "display_bundle": "display",
        "has_key": "text",
        "in_notebook": "display",
        "lines": "text",
        "may_click": "display",
        "money": "text",
        "nobody_there": "display",
        "not_at_cell_ends": "display",
        "points": "text",
        "rate": "text",
        "row_count": "text",
        "safe": "text",
        "short": "text",
        "span": "text",
        "template": "templates",
        "time_left": "text",
        "view_of": "display",
    },
)
