"""The results view: look through the rows of a run, or of any frame."""

from __future__ import annotations

from .view import ResultsView, show, show_results

__all__ = ["ResultsView", "show", "show_results"]
