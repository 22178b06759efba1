"""Cuts a long text into spans that overlap: at pages, paragraphs, sentences, lines, else words.

Where a span ends is decided by what stands there, as in `cutting`: an edit in the middle changes
the span that has it and, at most, its neighbours.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass

from .cutting import content_hash
from .tree import Node, tree_of

__all__ = ["LEAST", "CutText", "Span", "cut_text"]

LEAST = 16  # bytes of a span that can always be had: a character and what it carries
_UNITS = 8  # of which a span has as many at least, so that there are places to choose from
_MOST_OVERLAP = 2_000
_PAGE_WORDS = "page|seite|página|pagina|pág|strana|strona|страница|стр|σελίδα"
_PAGES = re.compile(
    r"\f+|(?=^[^\w\n]*(?:"
    rf"(?:{_PAGE_WORDS})\.?[ \t]*\d+(?:[ \t]*(?:of|/|von|de|di|sur|из)[ \t]*\d+)?"
    r"|第[ \t]*\d+[ \t]*[页頁ページ]+|-[ \t]*\d+[ \t]*-)[^\w\n]*$)",
    re.IGNORECASE | re.MULTILINE,
)
_PARAGRAPHS = re.compile(r"\n[ \t\r]*(?:\n[ \t\r]*)+|\u2029")
# Each run of marks is looked at once, or a text of dots alone would take its length squared.
_SENTENCES = re.compile(r"(?<![.!?…।॥։؟۔])[.!?…।॥։؟۔]++[\"'”’»)\]]*+\s+|[。！？｡]+[”’」』）]*\s*")
_LINES = re.compile(r"[\n\r\v\x85\u2028]\s*")
_WORDS = re.compile(r"\s+")
_BREAKS = (_PAGES, _PARAGRAPHS, _SENTENCES, _LINES, _WORDS)
_HASH_BITS = 64
_JOINERS = frozenset("\u200c\u200d")


@dataclass(frozen=True, slots=True)
class Span:
    """Characters `start` to `end` of a text; those before `own` stand in the span before, too."""

    start: int
    own: int
    end: int


@dataclass(frozen=True, slots=True)
class CutText:
    """The tree over a text, and the span that each of its leaves is about, in order."""

    root: Node
    spans: dict[Node, Span]


def cut_text(text: str, most: int, fan_in: int, overlap: int | None = None) -> CutText:
    """Spans of at most `most` UTF-8 bytes each, and a tree over them in which `fan_in` are merged.

    Each begins up to `overlap` bytes before the end of the one before it, and by half of that at
    least: by default a tenth of `most`, 2,000 bytes at most.
    """
    overlap = min(most // 10, _MOST_OVERLAP) if overlap is None else overlap
    core = most - overlap
    ends, ranks = _units(text, max(4, core // _UNITS))
    starts = [0, *ends[:-1]]
    units = [text[start:end] for start, end in zip(starts, ends, strict=True)]
    sizes = list(map(_size, units))
    # A stronger break goes before any weaker one; among equal ones the content decides.
    hashes = [
        (it << _HASH_BITS) | content_hash(unit) for it, unit in zip(ranks, units, strict=True)
    ]
    root = tree_of(sizes, hashes, core, fan_in)
    leaves = [node for node in root.walk() if not node.children]
    spans = {}
    for leaf in leaves:
        own, end = starts[leaf.rows.start], ends[leaf.rows.stop - 1]
        spans[leaf] = Span(_earlier(text, own, overlap), own, end)
    return CutText(root, spans)


def _size(text: str) -> int:
    return len(text.encode("utf-8", "replace"))


# -- units


def _units(text: str, limit: int) -> tuple[list[int], list[int]]:
    """Where the units of a text end, each of at most `limit` bytes, and how strong each break is:
    0 for that of a page."""
    pairs = [*_parted(text, 0, len(text), limit, 0, 0)]
    return [end for end, _ in pairs], [rank for _, rank in pairs]


def _parted(
    text: str, start: int, end: int, limit: int, level: int, rank: int
) -> Iterator[tuple[int, int]]:
    """The ends of the units from `start` to `end`, whose own break has this `rank`."""
    if level == len(_BREAKS):
        inner = [*_blocks(text, start, end, limit)]
    else:
        inner = [it.end() for it in _BREAKS[level].finditer(text, start, end)]
    at = start
    for stop in inner:
        if at < stop < end:
            yield from _whole_or_parted(text, at, stop, limit, level, level)
            at = stop
    if at < end or start == end:
        yield from _whole_or_parted(text, at, end, limit, level, rank)


def _whole_or_parted(
    text: str, start: int, end: int, limit: int, level: int, rank: int
) -> Iterator[tuple[int, int]]:
    if level == len(_BREAKS) or (end - start <= limit and _size(text[start:end]) <= limit):
        yield end, rank
    else:
        yield from _parted(text, start, end, limit, level + 1, rank)


def _blocks(text: str, start: int, end: int, limit: int) -> Iterator[int]:
    """Where a text without white space ends by its bytes; seldom between a letter and its marks."""
    at = start
    while True:
        stop = at + _first(text[at : min(end, at + limit)], limit)
        if stop >= end:
            return
        whole = stop
        while whole > at and _carried(text, whole):
            whole -= 1
        at = whole if whole > at else stop
        yield at


def _first(text: str, size: int) -> int:
    """How many of its first characters have at most so many bytes together."""
    return len(text.encode("utf-8", "replace")[:size].decode("utf-8", "ignore"))


def _carried(text: str, at: int) -> bool:
    """Whether the character belongs to the one before it."""
    char = text[at]
    if char < "\u0300":
        return False
    joined = char in _JOINERS or text[at - 1] in _JOINERS or "\U0001f3fb" <= char <= "\U0001f3ff"
    return joined or unicodedata.category(char)[0] == "M"


# -- overlap


def _earlier(text: str, own: int, overlap: int) -> int:
    """Where a span begins whose own characters begin at `own`: at a break, if there is one."""
    earliest, latest = own - _last(text, own, overlap), own - _last(text, own, (overlap + 1) // 2)
    for breaks in _BREAKS[1:]:
        for found in breaks.finditer(text, earliest, own):
            if found.end() > latest:
                break
            return found.end()
    while earliest < latest and earliest > 0 and _carried(text, earliest):
        earliest += 1
    return earliest


def _last(text: str, end: int, size: int) -> int:
    """How many of the characters before `end` have at most so many bytes together."""
    if size <= 0:
        return 0
    tail = text[max(0, end - size) : end].encode("utf-8", "replace")
    return len(tail[-size:].decode("utf-8", "ignore"))
