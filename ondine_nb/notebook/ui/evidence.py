"""Evidence of a row as views show it: its texts with the places of quotes, and each field's quotes.

Places are counted as browsers count (UTF-16), in the texts as they are shown. Of a text that is too
long to be shown whole, the parts round its quotes are.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from ...text import as_text
from .text import clean, lines

__all__ = ["RowEvidence", "evidence_of"]

AROUND = 400  # characters beside a quote that lies behind what is shown of a text
ITEM = 40  # characters of the item that a quote is about
QUOTE = 160  # characters of a quote beside its value
MOST_QUOTES = 200  # of a row

_Place = tuple[int, int, dict[str, Any]]


@dataclass(frozen=True)
class RowEvidence:
    """`fields`: for each field with evidence its name, its `sign` (1, 2, …), the worst `match`, and
    its quotes; `places`: by column, where quotes stand in its text."""

    fields: tuple[dict[str, Any], ...] = ()
    places: Mapping[str, tuple[_Place, ...]] | None = None

    def text(self, column: str, text: str, limit: int) -> tuple[str, list[dict[str, Any]]]:
        """A column's text to be shown, harmless, and the marks in it."""
        places = sorted((self.places or {}).get(column, ()), key=lambda it: it[:2])
        places = [place for place in places if 0 <= place[0] < place[1] <= len(text)]
        parts = _shown(len(text), limit, places) if places else []
        if not parts:
            return lines(text, limit, whole=True), []
        cuts = sorted({at for part in parts for at in part} | _ends(places))
        at_of, shown, size = dict[int, int](), list[str](), 0
        for low, high in parts:
            for start, end in _between(cuts, low, high):
                at_of[start] = size
                piece = lines(text[start:end], end - start, whole=True)
                shown.append(piece)
                size += _units(piece)
                at_of[end] = size
            gap = _gap(high, next((it for it, _ in parts if it > high), len(text)))
            shown.append(gap)
            size += _units(gap)
        marks = [{**told, "start": at_of[low], "end": at_of[high]} for low, high, told in places]
        return "".join(shown), marks


def evidence_of(run: Any, outputs: Mapping[str, Any] | None) -> RowEvidence:
    """The evidence of a row with these new cells; none of a run without."""
    fields = () if run is None or not outputs else run.pipeline.evidence
    told, places = [], dict[str, list[_Place]]()
    for sign, name in enumerate(fields, 1):
        quotes = list(_quotes(outputs or {}, name))[:MOST_QUOTES]
        told.append(
            {
                "field": name,
                "sign": sign,
                "quotes": [
                    {
                        "of": quote["of"],
                        "text": clean(quote["text"] or "", QUOTE),
                        "match": quote["match"],
                    }
                    for quote in quotes
                ],
            }
        )
        for at, quote in enumerate(quotes):
            if quote["column"] is not None and quote["start"] is not None:
                mark = {"field": name, "sign": sign, "quote": at, "match": quote["match"]}
                place = (quote["start"], quote["end"], mark)
                places.setdefault(quote["column"], []).append(place)
    return RowEvidence(tuple(told), {name: tuple(found) for name, found in places.items()})


def _quotes(outputs: Mapping[str, Any], name: str) -> Iterator[dict[str, Any]]:
    """Each quote of a field that has a value."""
    keys = ("text", "start", "end", "column", "match")
    parts = ("", "_start", "_end", "_column", "_match")
    cells = [outputs.get(f"{name}_evidence{part}") for part in parts]
    many = isinstance(cells[-1], list)
    rows: Iterable[Sequence[Any]] = zip(*cells, strict=True) if many else [cells]
    for row, of in zip(rows, _items(outputs.get(name)) if many else [""], strict=False):
        if row[-1] is not None:
            yield {"of": of, **dict(zip(keys, row, strict=True))}


def _items(value: Any) -> list[str]:
    """What each quote of a list or an object is about: its items, or the names of its fields."""
    return [clean(as_text(it), ITEM) for it in value or ()]


def _shown(length: int, limit: int, places: Sequence[_Place]) -> list[tuple[int, int]]:
    """The parts of a text that are shown: its beginning, and what stands round its quotes."""
    parts = [(0, min(length, limit))]
    for start, end, _ in places:
        low, high = max(start - AROUND, 0), min(end + AROUND, length)
        if low <= parts[-1][1]:
            parts[-1] = (parts[-1][0], max(parts[-1][1], high if end > parts[-1][1] else 0))
        else:
            parts.append((low, high))
    return parts


def _ends(places: Sequence[_Place]) -> set[int]:
    return {at for start, end, _ in places for at in (start, end)}


def _between(cuts: Sequence[int], low: int, high: int) -> Iterator[tuple[int, int]]:
    inside = [at for at in cuts if low <= at <= high]
    yield from pairwise(inside)


def _gap(end: int, start: int) -> str:
    return f"\n\n… {start - end:,} characters …\n\n" if start > end else ""


def _units(text: str) -> int:
    return len(text.encode("utf-16-le", "surrogatepass")) // 2
