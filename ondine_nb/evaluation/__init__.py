"""Judging answers: labels that people gave, the queues in which they look, and scores."""

from __future__ import annotations

from .examples import Example, Examples, examples_of
from .intervals import Interval
from .label_frame import RESERVED, labels_frame, labels_in, opened, take_in
from .labels import MODEL, Draw, Label, LabelSet, json_value, key_text, label_sets, merged
from .queues import (
    Drawn,
    at_random,
    failed,
    in_order,
    least_sure,
    one_of_each,
    where_differ,
)
from .reviewed import Reviewed, score_reviewed
from .row_labels import RowLabels
from .scores import ClassScore, Pair, Scores, ScoresByField, class_of, score_pairs
from .values import typed

__all__ = [
    "MODEL",
    "RESERVED",
    "ClassScore",
    "Draw",
    "Drawn",
    "Example",
    "Examples",
    "Interval",
    "Label",
    "LabelSet",
    "Pair",
    "Reviewed",
    "RowLabels",
    "Scores",
    "ScoresByField",
    "at_random",
    "class_of",
    "examples_of",
    "failed",
    "in_order",
    "json_value",
    "key_text",
    "label_sets",
    "labels_frame",
    "labels_in",
    "least_sure",
    "merged",
    "one_of_each",
    "opened",
    "score_pairs",
    "score_reviewed",
    "take_in",
    "typed",
    "where_differ",
]
