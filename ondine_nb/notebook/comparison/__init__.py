"""The comparison view: two runs, tries or frames over the same rows, beside each other."""

from __future__ import annotations

from .compare import compare, reviewed
from .comparison import STATES, ComparedRow, Comparison, FieldAgreement
from .side import Side
from .view import ComparisonView

__all__ = [
    "STATES",
    "ComparedRow",
    "Comparison",
    "ComparisonView",
    "FieldAgreement",
    "Side",
    "compare",
    "reviewed",
]
