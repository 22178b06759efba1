"""The results view: look through the rows of a run, or of any frame; and review them one by one."""

from __future__ import annotations

from .review import Review, show_review
from .view import ResultsView, show, show_results

__all__ = ["ResultsView", "Review", "show", "show_results", "show_review"]
