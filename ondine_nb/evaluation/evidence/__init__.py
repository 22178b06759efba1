"""Evidence: finds the quotes that values rest on, and tells how well each stands in the text."""

from __future__ import annotations

from .finder import MATCHES, MISSING, Evidence, Finder

__all__ = ["MATCHES", "MISSING", "Evidence", "Finder"]
