"""Judging answers: labels that people gave, the queues in which they look, scores, and tries."""

from __future__ import annotations

from .examples import Example, Examples, examples_of
from .label_frame import RESERVED, labels_frame, labels_in, opened, take_in
from .labels import MODEL, Draw, Label, LabelSet, json_value, key_text, label_sets, merged
from .queues import (
    Drawn,
    at_random,
    failed,
    in_doubt,
    in_order,
    least_agreed,
    least_sure,
    one_of_each,
    where_differ,
)
from .reviewed import Reviewed, score_reviewed
from .row_labels import RowLabels
from .scores import (
    ClassScore,
    Interval,
    MatchScore,
    Pair,
    Paired,
    Scores,
    ScoresByField,
    class_of,
    pair,
    same_answer,
    score_pairs,
    sign_test,
)
from .tries import (
    Change,
    Tries,
    Try,
    TryScore,
    changes,
    plain_settings,
    told,
    try_sets,
    with_changes,
)
from .values import typed

__all__ = [
    "MODEL",
    "RESERVED",
    "Change",
    "ClassScore",
    "Draw",
    "Drawn",
    "Example",
    "Examples",
    "Interval",
    "Label",
    "LabelSet",
    "MatchScore",
    "Pair",
    "Paired",
    "Reviewed",
    "RowLabels",
    "Scores",
    "ScoresByField",
    "Tries",
    "Try",
    "TryScore",
    "at_random",
    "changes",
    "class_of",
    "examples_of",
    "failed",
    "in_doubt",
    "in_order",
    "json_value",
    "key_text",
    "label_sets",
    "labels_frame",
    "labels_in",
    "least_agreed",
    "least_sure",
    "merged",
    "one_of_each",
    "opened",
    "pair",
    "plain_settings",
    "same_answer",
    "score_pairs",
    "score_reviewed",
    "sign_test",
    "take_in",
    "told",
    "try_sets",
    "typed",
    "where_differ",
    "with_changes",
]
