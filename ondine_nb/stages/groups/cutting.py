"""Cuts a list by content: one item more changes one or two of the pieces, wherever it stands.

A piece ends behind the item whose hash is smallest where it may end: from a third of the largest
size on. So two lists that differ in an item are cut alike before it and, as the same items are the
smallest ones again, soon behind it. Cut by counts, an item more would shift all that follow.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from hashlib import blake2b
from itertools import accumulate

__all__ = ["content_hash", "cut"]


def content_hash(text: str, salt: int = 0) -> int:
    """64 bits that stand for a text; with another `salt`, others."""
    key = salt.to_bytes(4, "big")
    digest = blake2b(text.encode("utf-8", "replace"), digest_size=8, key=key)
    return int.from_bytes(digest.digest(), "big")


def cut(sizes: Sequence[int], hashes: Sequence[int], most: int) -> list[range]:
    """Pieces of a list, in order, each item in exactly one, as ranges of positions.

    `sizes` are those of the items and `hashes` what stands for their contents. A piece is as large
    as `most` at the most, unless it is a single item, and seldom smaller than a third of that. A
    list that fits is one piece.
    """
    ends = list(accumulate(sizes, initial=0))
    pieces: list[range] = []
    start, count = 0, len(sizes)
    while start < count:
        end = count if ends[count] - ends[start] <= most else _end(ends, hashes, start, most)
        pieces.append(range(start, end))
        start = end
    return pieces


def _end(ends: Sequence[int], hashes: Sequence[int], start: int, most: int) -> int:
    """Where the piece that begins at `start` ends."""
    begun = ends[start]
    last = max(start + 1, bisect_right(ends, begun + most) - 1)
    first = min(last, max(start + 1, bisect_left(ends, begun + most // 3)))
    usual = begun + most * 2 // 3  # of equal items, where a piece has its usual size
    return min(
        range(first, last + 1), key=lambda end: (hashes[end - 1], abs(ends[end] - usual), end)
    )
