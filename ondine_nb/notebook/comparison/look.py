"""What the browser is told of a comparison, as JSON: figures, the prompts' difference, rows.

Texts are harmless before they go; the browser makes text nodes of them, never markup.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ...evaluation import Scores, class_of
from ...prompts import Field, word_diff
from ...text import as_text
from ..ui import MISSING, clean, lines, row_count
from .comparison import STATES, ComparedRow, Comparison, score_line

__all__ = ["Look", "detail_of", "differences", "figures", "lines_of", "ordered", "text_columns"]

CELL, VALUE = 240, 80  # characters of a text and of an answer in the table
LONGEST = 20_000  # characters of a text in full
SAMPLE = 200  # rows by which it is told which columns are worth showing


@dataclass(frozen=True, slots=True)
class Look:
    """Which rows are looked at: a tab, and a cell whose rows come first.

    `cell` is of a side's confusion matrix (`side`, `label`, `answer`), or of what became of rows
    (`state`).
    """

    tab: str = "all"
    cell: Mapping[str, Any] | None = None

    def first(self, row: ComparedRow) -> bool:
        """Whether the row is one of the cell's."""
        cell = self.cell
        if cell is None:
            return False
        if "state" in cell:
            return bool(row.state == cell["state"])
        side = int(cell["side"])
        if row.rights[side] is None:
            return False
        known = class_of(row.label), class_of(row.answers[side])
        return bool(known == (cell["label"], cell["answer"]))

    def words(self, comparison: Comparison) -> str:
        """What a chip says of the cell; "" without one."""
        cell = self.cell
        if cell is None:
            return ""
        if "state" in cell:
            said = {"right": "right by both", "wrong": "wrong by both"}
            return f"{said.get(cell['state'], cell['state'])}: first"
        name = (comparison.a, comparison.b)[int(cell["side"])].name
        return clean(f"label {cell['label']}, {name} answered {cell['answer']}: first", 120)


def ordered(comparison: Comparison, look: Look) -> tuple[list[ComparedRow], int]:
    """The rows of a look, those of its cell first, then by what became of them; and how many those
    of the cell are."""
    ranks = {state: rank for rank, state in enumerate(STATES)}
    rows = sorted(comparison.tab(look.tab), key=lambda row: (not look.first(row), ranks[row.state]))
    return rows, sum(map(look.first, rows))


def text_columns(comparison: Comparison) -> list[str]:
    """The columns that the prompts read: those that vary most and are longest first."""
    a = comparison.a
    names = [name for name in a.columns if name in a.frame.columns]
    sample = range(min(SAMPLE, len(a.frame)))
    cells = [row for chunk in a.frame.iter_rows(names, positions=list(sample)) for row in chunk]

    def worth(at: int) -> tuple[int, int]:
        texts = [as_text(row[at]) for row in cells]
        return min(len(set(texts)), 20), sum(map(len, texts))

    return [names[at] for at in sorted(range(len(names)), key=worth, reverse=True)]


def lines_of(
    comparison: Comparison, rows: Sequence[ComparedRow], names: Sequence[str]
) -> list[dict[str, Any]]:
    """Rows of the table: position, index, texts of the columns `names`, label, answers, state."""
    frame, known = comparison.a.frame, comparison.field
    positions = [row.at for row in rows]
    cells = [row for chunk in frame.iter_rows(list(names), positions=positions) for row in chunk]
    index = frame.labels(positions)
    sure = _sure(comparison)
    return [
        {
            "at": comparison.a.position(row.at),
            "index": " · ".join(clean(it, 40) for it in values),
            "texts": [lines(as_text(cell), CELL) for cell in texts],
            "label": None if row.label is None else value_text(known, row.label, VALUE),
            "answers": [_answer(comparison, row, side, sure) for side in (0, 1)],
            "state": row.state,
            "differs": row.differs,
        }
        for row, texts, values in zip(rows, cells, index, strict=True)
    ]


def _answer(
    comparison: Comparison, row: ComparedRow, number: int, sure: Field | None
) -> dict[str, Any]:
    side, at = ((comparison.a, row.at), (comparison.b, row.other))[number]
    if not row.answered[number]:
        return {"text": None, "right": None, "why": side.reasons.get(at, "no answer"), "sure": ""}
    text = value_text(comparison.field, row.answers[number], VALUE)
    shown = "" if sure is None else value_text(sure, side.answers[sure.name][at], 8)
    return {"text": text, "right": row.rights[number], "why": "", "sure": shown}


def _sure(comparison: Comparison) -> Field | None:
    """The field that says how sure the model is, where there is one."""
    found = (it for it in comparison.fields if it.kind == "float" and "confiden" in it.name)
    field = next(found, None)
    return None if field is None or field.name == comparison.field.name else field


def value_text(known: Field, value: Any, limit: int) -> str:
    """An answer or a label as harmless text."""
    if value is None or value != value:
        return MISSING
    if known.kind == "float":
        return f"{value:.6g}"
    if isinstance(value, list | tuple):
        return lines(" · ".join(map(class_of, value)) or "(none)", limit)
    return lines(class_of(value), limit)


def detail_of(comparison: Comparison, row: ComparedRow) -> dict[str, Any]:
    """A row in full: what the prompts read, every answer of both, and why there is none."""
    a, b = comparison.a, comparison.b
    names = text_columns(comparison)
    (cells,) = [it for chunk in a.frame.iter_rows(names, positions=[row.at]) for it in chunk]
    fields = []
    for known in comparison.fields:
        values = a.answers[known.name][row.at], b.answers[known.name][row.other]
        texts = [
            value_text(known, value, LONGEST) if there else None
            for value, there in zip(values, row.answered, strict=True)
        ]
        truths = comparison.truths.get(known.name)
        label = None if truths is None else truths[row.at]
        said = None if label is None else value_text(known, label, LONGEST)
        fields.append({"name": known.name, "answers": texts, "label": said})
    return {
        "texts": [
            [name, lines(as_text(cell), LONGEST, whole=True)]
            for name, cell in zip(names, cells, strict=True)
        ],
        "fields": fields,
        "why": [a.reasons.get(row.at, ""), b.reasons.get(row.other, "")],
    }


def differences(comparison: Comparison) -> list[dict[str, Any]]:
    """What was asked otherwise: of each text its words (same, removed, added), else both values."""
    old, new = comparison.a.settings, comparison.b.settings
    found: list[dict[str, Any]] = []
    for name in ("prompt", "system", "schema"):
        before, after = (it.get(name) for it in (old, new))
        if before != after and {type(before), type(after)} <= {str, type(None)}:
            parts = word_diff(lines(before, LONGEST), lines(after, LONGEST))
            found.append({"name": name, "parts": [list(it) for it in parts]})
    told = {it["name"] for it in found}
    for change in comparison.changes:
        if change.name not in told:
            values = [clean(it, VALUE) or "default" for it in (change.removed, change.added)]
            found.append({"name": clean(change.name, 40), "values": values})
    return found


def figures(comparison: Comparison) -> dict[str, Any]:
    """Everything above and beside the rows."""
    a, b, test = comparison.a, comparison.b, comparison.test
    labelled = comparison.labelled
    return {
        "names": [a.name, b.name],
        "field": comparison.field.name,
        "fields": [it.name for it in comparison.fields],
        "rows": len(comparison.rows),
        "labelled": labelled,
        "facts": [row_count(len(comparison.rows)), *_facts(comparison)],
        "tabs": comparison.tabs,
        "scores": [_score(it) for it in comparison.scores] if labelled else [],
        "states": {"right": test.both_right, "broke": test.broke, "fixed": test.fixed,
                   "wrong": test.both_wrong},
        "tested": test.n,
        "sentence": test.sentence,
        "tie": test.tie,
        "judgement": _judgement(comparison),
        "matrices": [_matrix(comparison, side) for side in (0, 1)] if labelled else [],
        "agreement": str(comparison.agreement),
        "others": [{"name": clean(it.name, 60), "text": str(it)} for it in comparison.others],
        "differences": differences(comparison),
    }  # fmt: skip


def _judgement(comparison: Comparison) -> str:
    """Who leads, and what the dearer one costs; "" where the test has said all of it."""
    a, b, test = comparison.a, comparison.b, comparison.test
    costs = [None if it.cost is None else it.cost / max(1, it.answered_rows) for it in (a, b)]
    return test.judgement(*costs) if test.n and (test.tie or None not in costs) else ""


def _facts(comparison: Comparison) -> list[str]:
    found = [f"{comparison.labelled:,} labelled"] if comparison.labelled else ["no labels"]
    return found + comparison.left_out


def _score(scores: Scores) -> dict[str, Any]:
    low, high = scores.interval or (None, None)
    return {"text": score_line(scores), "value": scores.accuracy, "low": low, "high": high}


def _matrix(comparison: Comparison, side: int) -> dict[str, Any]:
    truths, answers, cells = comparison.matrix(side)
    counts = [[cells.get((truth, answer), 0) for answer in answers] for truth in truths]
    return {"labels": truths, "answers": answers, "cells": counts}
