"""The difference between two prompts, word by word."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from difflib import SequenceMatcher
from typing import NamedTuple

__all__ = ["WordChange", "word_diff"]

_WORD = re.compile(r"\{[^{}\n]*\}|\w+|\s+|.")
MOST_LINES, MOST_WORDS = 4_000, 3_000  # of both sides: beyond, what differs is told as a whole


class WordChange(NamedTuple):
    """Some words of two texts: `kind` is "same", "removed" (of the first) or "added"."""

    kind: str
    text: str


def word_diff(before: str, after: str) -> list[WordChange]:
    """How `after` came of `before`: the words of both in order, neighbours of a kind as one.

    Those that aren't "added" make `before`, those that aren't "removed" make `after`. Placeholders
    are words; lines are found first, so that a long prompt is compared as fast as a short one.
    """
    old, new = before.splitlines(keepends=True), after.splitlines(keepends=True)
    found: list[WordChange] = []
    for removed, added in _blocks(old, new, MOST_LINES):
        if removed == added:
            found.append(WordChange("same", "".join(removed)))
        else:
            found += _words("".join(removed), "".join(added))
    return _joined(found)


def _words(removed: str, added: str) -> Iterator[WordChange]:
    """What differs between two texts; blanks between two changed words belong to the change."""
    blocks = list(_blocks(_WORD.findall(removed), _WORD.findall(added), MOST_WORDS))
    gone = come = ""
    for at, (old, new) in enumerate(blocks):
        inner = old == new and not "".join(old).strip() and 0 < at < len(blocks) - 1
        if old == new and not inner:
            yield from _change(gone, come)
            gone = come = ""
            yield WordChange("same", "".join(old))
        else:
            gone, come = gone + "".join(old), come + "".join(new)
    yield from _change(gone, come)


def _change(gone: str, come: str) -> Iterator[WordChange]:
    if gone:
        yield WordChange("removed", gone)
    if come:
        yield WordChange("added", come)


def _blocks(
    old: Sequence[str], new: Sequence[str], most: int
) -> Iterator[tuple[Sequence[str], Sequence[str]]]:
    """Pairs of what is equal, and of what stands in each other's place."""
    head = _alike(old, new)
    tail = _alike(old[head:][::-1], new[head:][::-1])
    if head:
        yield old[:head], new[:head]
    a, b = old[head : len(old) - tail], new[head : len(new) - tail]
    if len(a) + len(b) > most:
        yield a, b
    elif a or b:
        for _, i, j, k, n in SequenceMatcher(None, a, b, autojunk=False).get_opcodes():
            yield a[i:j], b[k:n]
    if tail:
        yield old[len(old) - tail :], new[len(new) - tail :]


def _alike(old: Sequence[str], new: Sequence[str]) -> int:
    """How many are the same from the beginning."""
    pairs = enumerate(zip(old, new, strict=False))
    return next((at for at, (a, b) in pairs if a != b), min(len(old), len(new)))


def _joined(changes: Iterable[WordChange]) -> list[WordChange]:
    found: list[WordChange] = []
    for change in changes:
        if found and found[-1].kind == change.kind:
            change = WordChange(change.kind, found.pop().text + change.text)
        found.append(change)
    return found
