"""Scores of answers against labels, their 95 % intervals, and two sets of answers compared."""

from __future__ import annotations

from .intervals import Interval, WeightedRows
from .paired import Paired, by_match, pair, same_answer, sign_test
from .scores import (
    ClassScore,
    MatchScore,
    Pair,
    Scores,
    ScoresByField,
    class_of,
    items_of,
    score_pairs,
)

__all__ = [
    "ClassScore",
    "Interval",
    "MatchScore",
    "Pair",
    "Paired",
    "Scores",
    "ScoresByField",
    "WeightedRows",
    "by_match",
    "class_of",
    "items_of",
    "pair",
    "same_answer",
    "score_pairs",
    "sign_test",
]
