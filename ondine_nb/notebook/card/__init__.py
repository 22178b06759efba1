"""The card: progress, cost, errors and rows of a run, live and as saved."""

from __future__ import annotations

from .distributions import Distribution, distribution
from .dry_run import show_dry_run
from .figures import label_of, latencies_of, latency_figure, source_of
from .view import WidgetObserver, follow, mimebundle, prepare, shown_elsewhere, shows_live

__all__ = [
    "Distribution",
    "WidgetObserver",
    "distribution",
    "follow",
    "label_of",
    "latencies_of",
    "latency_figure",
    "mimebundle",
    "prepare",
    "show_dry_run",
    "shown_elsewhere",
    "shows_live",
    "source_of",
]
