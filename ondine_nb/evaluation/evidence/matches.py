"""How a row's evidence matches: the worst of its quotes, and whether that leaves a doubt."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from .finder import MATCHES

__all__ = ["DOUBTFUL", "field_match", "row_match", "worst"]

DOUBTFUL: frozenset[str] = frozenset(MATCHES[2:])  # approximate, missing


def worst(matches: Iterable[Any]) -> str | None:
    """The worst of these words, lists of them included; None where there is none."""
    flat = [word for each in matches for word in (each if isinstance(each, list) else [each])]
    return max((word for word in flat if word in MATCHES), key=MATCHES.index, default=None)


def field_match(outputs: Mapping[str, Any], field: str) -> str | None:
    """How the evidence of a field matches in a row's new cells; of several quotes the worst."""
    return worst([outputs.get(f"{field}_evidence_match")])


def row_match(outputs: Mapping[str, Any], fields: Iterable[str]) -> str | None:
    """The worst of a row's evidence, over these fields."""
    return worst(outputs.get(f"{field}_evidence_match") for field in fields)
