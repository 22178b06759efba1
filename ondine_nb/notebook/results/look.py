"""What the browser is told of the results: columns, plots, rows and a row in full, as JSON.

Texts are harmless before they go; the browser makes text nodes of them, never markup.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import Any

from ..ui import MISSING, lines
from .column import ColumnIndex, value_text
from .page import fact_text, number_or_text, reason_of
from .query import Selection, facet_of
from .row import Detail
from .table import Head, Results

__all__ = ["columns_of", "detail_told", "facets_of", "failed_of", "lines_of"]

CELL = 240  # characters of a text in the table: two lines, and some for the search's hit
ITEM, MOST_ITEMS = 80, 12  # characters and number of a list's items there
SAMPLE = 200  # rows by which a column's kind is told where nothing else needs the column
BEFORE = 24  # characters that stay before a hit of the search


def columns_of(results: Results, indexed: Iterable[str]) -> list[dict[str, Any]]:
    """Every column with its role, its kind, and how wide its values are (in characters)."""
    sample = range(min(SAMPLE, len(results)))
    names = [head.name for head in results.heads]
    cells = list(zip(*results.cells(sample, names), strict=True)) or [()] * len(names)
    known = set(indexed)
    return [
        _column(results, head, values, head.name in known)
        for head, values in zip(results.heads, cells, strict=True)
    ]


def _column(results: Results, head: Head, values: Sequence[Any], indexed: bool) -> dict[str, Any]:
    if results.pictures is not None and results.has_pictures(head):
        wide = results.pictures.side_by_side(head.name)
        return {"name": head.name, "role": head.role, "kind": "media", "unit": False,
                "wide": wide, "levels": []}  # fmt: skip
    index = results.index(head.name) if indexed else ColumnIndex(values, head.choices)
    texts = [_text(head, value, "") for value in values] or [""]
    ordered = sorted(
        max(map(len, it), default=0) if isinstance(it, list) else len(str(it)) for it in texts
    )
    return {
        "name": head.name,
        "role": head.role,
        "kind": "fact" if head.role == "fact" else index.kind,
        "unit": index.in_unit,
        "wide": ordered[len(ordered) * 9 // 10],
        "levels": [value_text(choice) for choice in head.choices or ()],
    }


def facets_of(
    selection: Selection, names: Iterable[str], wide: Sequence[str]
) -> list[dict[str, Any]]:
    """The plots of the named columns; those that have something to plot."""
    heads = [selection.results.head(name) for name in names]
    found = (facet_of(selection, head, head.name in wide) for head in heads)
    return [facet for facet in found if facet is not None]


def lines_of(
    results: Results, positions: Sequence[int], names: Sequence[str], needle: str = ""
) -> list[dict[str, Any]]:
    """Rows of the table: position, label, cells in the order of `names`, why one failed, and
    what labels said of a cell."""
    labels = [head.name for head in results.named("label")]
    heads = [results.head(name) for name in names]
    told = results.cells(positions, labels)
    cells = results.cells(positions, names)
    return [
        {
            "at": int(at),
            "label": [lines(value_text(it), 60) for it in label],
            "cells": [_text(head, it, needle) for head, it in zip(heads, values, strict=True)],
            "why": reason_of(results, at),
            "said": {name: word for name in names if (word := results.word(at, name))},
        }
        for at, label, values in zip(positions, told, cells, strict=True)
    ]


def failed_of(selection: Selection, kind: str, most: int, names: Sequence[str]) -> dict[str, Any]:
    """The failed rows that stay in view: their kinds, and the first of those that are shown."""
    results = selection.results
    kinds: dict[str, int] = {}
    shown = []
    for at in selection.failed:
        label = results.reason(at)[0]
        kinds[label] = kinds.get(label, 0) + 1
        if not kind or label == kind:
            shown.append(at)
    ranked = sorted(kinds.items(), key=lambda it: -it[1])
    return {
        "rows": len(selection.failed),
        "kept": selection.kept,
        "kinds": [list(it) for it in ranked],
        "shown": len(shown),
        "lines": lines_of(results, shown[:most], names),
    }


def detail_told(detail: Detail) -> dict[str, Any]:
    """A row in full."""
    return asdict(detail)


def _text(head: Head, value: Any, needle: str) -> Any:
    """A cell for JSON: a text, a bool, a list of texts, or None where it is missing."""
    if head.role == "fact":
        told = MISSING if value is None else fact_text(head.name, value)
        return None if told == MISSING else told
    if value is None or value != value:
        return None
    if isinstance(value, bool):
        return value
    if isinstance(value, list):
        items = [lines(value_text(it), ITEM) for it in value[:MOST_ITEMS]]
        return [*items, *[f"and {len(value) - MOST_ITEMS:,} more"] * (len(value) > MOST_ITEMS)]
    return _cut(number_or_text(value), needle)


def _cut(text: str, needle: str) -> str:
    """The part of a text that the table shows: its begin, or round the first hit."""
    if len(text) <= CELL:
        return lines(text, CELL)
    at = text.casefold().find(needle.casefold()) if needle else -1
    if at <= CELL // 3:
        return lines(text, CELL)
    return "…" + lines(text[max(0, at - BEFORE) :], CELL)
