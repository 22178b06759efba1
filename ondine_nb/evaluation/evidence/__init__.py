"""Evidence: finds the quotes that values rest on, and tells how well each stands in the text."""

from __future__ import annotations

from .finder import MATCHES, MISSING, Evidence, Finder
from .matches import DOUBTFUL, field_match, row_match, worst
from .process import QuoteFinder

__all__ = [
    "DOUBTFUL",
    "MATCHES",
    "MISSING",
    "Evidence",
    "Finder",
    "QuoteFinder",
    "field_match",
    "row_match",
    "worst",
]
