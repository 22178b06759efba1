"""The card: progress, cost, errors and rows of a run, live and as saved."""

from __future__ import annotations

from .view import WidgetObserver, follow, mimebundle, shown_elsewhere, shows_live

__all__ = ["WidgetObserver", "follow", "mimebundle", "shown_elsewhere", "shows_live"]
