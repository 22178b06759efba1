"""The card: progress, cost, errors and rows of a run, live and as saved."""

from __future__ import annotations

from .figures import latencies_of, latency_figure
from .view import WidgetObserver, follow, mimebundle, shown_elsewhere, shows_live

__all__ = [
    "WidgetObserver",
    "follow",
    "latencies_of",
    "latency_figure",
    "mimebundle",
    "shown_elsewhere",
    "shows_live",
]
