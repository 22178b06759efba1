"""The card: progress, cost, errors and rows of a run, live and as saved."""

from __future__ import annotations

from .figures import label_of, latencies_of, latency_figure, source_of
from .view import WidgetObserver, follow, mimebundle, shown_elsewhere, shows_live

__all__ = [
    "WidgetObserver",
    "follow",
    "label_of",
    "latencies_of",
    "latency_figure",
    "mimebundle",
    "shown_elsewhere",
    "shows_live",
    "source_of",
]
