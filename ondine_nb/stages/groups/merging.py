"""Puts the answers about a text's chunks together: lists in order, each item once; single values
where they agree. What they differ in is decided by a question of its own."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ...prompts import QuotedSchema, Schema

__all__ = ["AnswerMerge", "Part", "Value"]

# A value's evidence as its five cells: text, start, end, column, match.
Place = tuple[Any, Any, Any, Any, Any]
_CELLS = ("", "_start", "_end", "_column", "_match")
_QUOTE = "_evidence"
_GOOD = ("exact", "near", "approximate")


@dataclass(frozen=True, slots=True)
class Value:
    """A value of an answer as it stands there, with its quote and where that was found.

    `wrapped` tells that the quote is in the value, as in a list's items. `given` is False of one
    that isn't there at all.
    """

    value: Any
    quote: Any = None
    place: Place | None = None
    given: bool = True
    wrapped: bool = False

    @property
    def says(self) -> bool:
        """Whether it is more than nothing."""
        return self.value is not None and self.value != ""

    @property
    def key(self) -> str:
        """The same for the same value, whatever is quoted for it."""
        value = self.value["value"] if self.wrapped else self.value
        whole = isinstance(value, float) and value.is_integer()
        return json.dumps(int(value) if whole else value, sort_keys=True)

    @property
    def span(self) -> tuple[str, int, int] | None:
        """Column, start and end of its quote; None where it wasn't found."""
        if self.place is None or not isinstance(self.place[1], int):
            return None
        return self.place[3], self.place[1], self.place[2]

    @property
    def rank(self) -> int:
        """How well its quote was found: 0 is best."""
        match = None if self.place is None else self.place[4]
        return _GOOD.index(match) if match in _GOOD else len(_GOOD)


@dataclass(frozen=True, slots=True)
class Part:
    """What is known of a text by one chunk of it, or by several: an answer's text where there is no
    schema, else each field's list of items or its single value."""

    text: str = ""
    items: dict[str, list[Value]] = field(default_factory=dict)
    singles: dict[str, Value] = field(default_factory=dict)


class AnswerMerge:
    """Merges answers to `schema`; with `quoted` those fields have evidence."""

    def __init__(self, schema: Schema | None, quoted: QuotedSchema | None = None) -> None:
        fields = () if schema is None else zip(schema.fields, schema.paths, strict=True)
        self._paths: dict[str, tuple[str, ...]] = {known.name: path for known, path in fields}
        known = () if quoted is None else quoted.fields
        self._quoted = frozenset(it.name for it in known)
        self._by_item = frozenset(it.name for it in known if it.many and not it.parts)
        self.has_schema: bool = schema is not None
        self.has_quotes: bool = bool(self._quoted)
        self.has_lists: bool = schema is not None and any(
            it.kind.startswith("list[") or it.kind == "json" for it in schema.fields
        )
        self.only_lists: bool = schema is not None and all(
            it.kind.startswith("list[") or it.name in self._by_item for it in schema.fields
        )

    @property
    def names(self) -> list[str]:
        """The fields of the schema."""
        return list(self._paths)

    def part(
        self, answer: Mapping[str, Any], cells: Mapping[str, Any], column: str = "", offset: int = 0
    ) -> Part:
        """An answer's fields; `cells` have its evidence, in which `offset` is added to the places
        in `column`."""
        items, singles = dict[str, list[Value]](), dict[str, Value]()
        for name, path in self._paths.items():
            inside = _at(answer, path[:-1])
            value = inside.get(path[-1])
            placed = [cells.get(f"{name}{_QUOTE}{cell}") for cell in _CELLS]
            known = name in self._quoted and f"{name}{_QUOTE}" in cells
            if isinstance(value, list):
                by_item = known and name in self._by_item and isinstance(placed[0], list)
                places = zip(*placed, strict=True) if by_item else iter(())
                items[name] = [
                    Value(
                        it,
                        place=_moved(next(places, None), column, offset),
                        wrapped=name in self._by_item and isinstance(it, dict) and "value" in it,
                    )
                    for it in value
                ]
            else:
                place = _moved(tuple(placed), column, offset) if known else None
                quote = inside.get(path[-1] + _QUOTE)
                singles[name] = Value(value, quote, place, path[-1] in inside)
        return Part("", items, singles)

    def differing(self, parts: Sequence[Part]) -> list[str]:
        """The names of single fields of which the parts say different things."""
        found = []
        for name in self._paths:
            if any(name in part.items for part in parts):
                continue
            if len({it.key for it in _said(parts, name)}) > 1:
                found.append(name)
        return found

    def merged(self, parts: Sequence[Part], decided: Part | None = None) -> Part:
        """All parts as one; of fields in which they differ, the value is that of `decided`."""
        items, singles = dict[str, list[Value]](), dict[str, Value]()
        for name in self._paths:
            if any(name in part.items for part in parts):
                items[name] = _joined([_items(part, name) for part in parts])
                continue
            said = _said(parts, name)
            if not said:
                singles[name] = max((it.singles[name] for it in parts), key=lambda it: it.given)
            elif decided is not None and len({it.key for it in said}) > 1:
                singles[name] = _placed(decided.singles.get(name) or said[0], said)
            else:
                singles[name] = min(said, key=lambda it: it.rank)
        return Part("", items, singles)

    def shown(self, part: Part) -> str:
        """A part's single values as JSON, with what was quoted for them."""
        return json.dumps(self._answer(part, lists=False), ensure_ascii=False)

    def written(self, part: Part) -> tuple[str, dict[str, Any]]:
        """A part as an answer in JSON, and the cells of its evidence."""
        cells = dict[str, Any]()
        for name in self._paths:
            if name not in self._quoted:
                continue
            if name in part.items:
                places = [it.place or (None,) * len(_CELLS) for it in part.items[name]]
                columns: list[Any] = [list(each) for each in zip(*places, strict=True)]
                columns = columns or [[] for _ in _CELLS]
            else:
                columns = list(part.singles[name].place or (None,) * len(_CELLS))
            cells |= dict(zip((f"{name}{_QUOTE}{cell}" for cell in _CELLS), columns, strict=True))
        return json.dumps(self._answer(part), ensure_ascii=False), cells

    def _answer(self, part: Part, *, lists: bool = True) -> dict[str, Any]:
        answer: dict[str, Any] = {}
        for name, path in self._paths.items():
            inside = answer
            for step in path[:-1]:
                inside = inside.setdefault(step, {})
            if name in part.items:
                if lists:
                    inside[path[-1]] = [it.value for it in part.items[name]]
                continue
            single = part.singles[name]
            if name in self._quoted and single.quote is not None:
                inside[path[-1] + _QUOTE] = single.quote
            if single.given:
                inside[path[-1]] = single.value
        return answer


def _at(answer: Any, path: Sequence[str]) -> dict[str, Any]:
    for step in path:
        answer = answer.get(step) if isinstance(answer, dict) else None
    return answer if isinstance(answer, dict) else {}


def _moved(place: tuple[Any, ...] | None, column: str, offset: int) -> Place | None:
    """Evidence's cells with `offset` added where they are of this column."""
    if place is None:
        return None
    text, start, end, where, match = place
    if isinstance(where, list):
        ours = [it == column for it in where]
        start, end = (
            [
                it + offset if own and it is not None else it
                for it, own in zip(at, ours, strict=True)
            ]
            for at in (start, end)
        )
    elif where == column and start is not None:
        start, end = start + offset, end + offset
    return text, start, end, where, match


def _said(parts: Sequence[Part], name: str) -> list[Value]:
    return [part.singles[name] for part in parts if part.singles[name].says]


def _items(part: Part, name: str) -> list[Value]:
    """A field's items; one value where the schema allows it in the place of a list."""
    if name in part.items:
        return part.items[name]
    single = part.singles[name]
    return [single] if single.says else []


def _placed(decided: Value, said: Sequence[Value]) -> Value:
    """What was decided, with the place of the candidate that it was taken from."""
    same = [it for it in said if it.key == decided.key]
    same = [it for it in same if it.quote == decided.quote] or same
    return min(same, key=lambda it: it.rank) if same else decided


def _joined(lists: Sequence[list[Value]]) -> list[Value]:
    """Lists as one, in order, without what a list before has already.

    That is the same value, and where both were found in the text, at the same place; or another
    value for exactly the same quote. What one list has twice stays: it isn't of an overlap.
    """
    kept = _Kept()
    for values in lists:
        free = kept.all_free()
        new = [it for it in values if not free.takes_value(it)]
        kept.add([it for it in new if not free.takes_place(it)])
    return kept.items


class _Kept:
    """Items that are kept, found by value and by place."""

    def __init__(self) -> None:
        self.items: list[Value] = []
        self._by_value: dict[str, list[int]] = {}
        self._by_span: dict[Any, list[int]] = {}
        self._taken = set[int]()

    def all_free(self) -> _Kept:
        """Each of them may be that of one item of the next list."""
        self._taken = set()
        return self

    def add(self, values: Sequence[Value]) -> None:
        for it in values:
            at = len(self.items)
            self.items.append(it)
            self._by_value.setdefault(it.key, []).append(at)
            if it.span is not None:
                self._by_span.setdefault(it.span, []).append(at)

    def takes_value(self, item: Value) -> bool:
        """Whether one that is free has this value, at a place that may be the same."""
        places = self._by_value.get(item.key, ())
        return self._take(at for at in places if _may_be_one(self.items[at].span, item.span))

    def takes_place(self, item: Value) -> bool:
        """Whether one that is free is quoted by exactly the same of the text."""
        return item.span is not None and self._take(iter(self._by_span.get(item.span, ())))

    def _take(self, places: Iterator[int]) -> bool:
        at = next((it for it in places if it not in self._taken), None)
        if at is not None:
            self._taken.add(at)
        return at is not None


def _may_be_one(one: tuple[str, int, int] | None, other: tuple[str, int, int] | None) -> bool:
    if one is None or other is None:
        return True
    return one[0] == other[0] and one[1] < other[2] and other[1] < one[2]
