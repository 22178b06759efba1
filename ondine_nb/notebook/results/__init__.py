"""The results view: look through the rows of a run."""

from __future__ import annotations

from .view import ResultsView, show_results

__all__ = ["ResultsView", "show_results"]
