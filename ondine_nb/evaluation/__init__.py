"""Judging answers: labels that people gave, the queues in which they look, and scores."""

from __future__ import annotations

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
from .row_labels import RowLabels

__all__ = [
    "MODEL",
    "Draw",
    "Drawn",
    "Label",
    "LabelSet",
    "RowLabels",
    "at_random",
    "failed",
    "in_order",
    "json_value",
    "key_text",
    "label_sets",
    "least_sure",
    "merged",
    "one_of_each",
    "where_differ",
]
