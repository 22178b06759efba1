"""The tree of map and merge over a group's rows: leaves hold rows, nodes above merge answers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from .cutting import content_hash, cut

__all__ = ["Node", "tree_of"]

_LEAST_FAN_IN = 6  # else a level could be as long as the one below it


@dataclass(frozen=True, slots=True, eq=False)
class Node:
    """One question about a group: over the rows at these places, or over its children's answers.

    `mark` stands for the content of its last row, by which the level above is cut.
    """

    rows: range
    mark: int
    children: tuple[Node, ...] = ()

    @property
    def levels(self) -> int:
        """How many questions stand on top of one another, itself included."""
        return 1 + max((child.levels for child in self.children), default=0)

    def walk(self) -> Iterator[Node]:
        """All nodes below it and itself, children before their parents."""
        for child in self.children:
            yield from child.walk()
        yield self


def tree_of(sizes: Sequence[int], hashes: Sequence[int], most: int, fan_in: int) -> Node:
    """The tree over rows of these sizes and content hashes: at least one.

    Leaves have at most the size `most`, nodes above at most `fan_in` children (or six, if that is
    more). Rows that fit are one leaf, and that is the whole tree.
    """
    level = [Node(range(it.start, it.stop), hashes[it.stop - 1]) for it in cut(sizes, hashes, most)]
    salt = 0
    while len(level) > 1:
        salt += 1
        marks = [content_hash(str(node.mark), salt) for node in level]
        pieces = cut([1] * len(level), marks, max(_LEAST_FAN_IN, fan_in))
        level = [_over([level[at] for at in piece]) for piece in pieces]
    return level[0]


def _over(children: Sequence[Node]) -> Node:
    """A node over these; of one alone there is nothing to merge."""
    if len(children) == 1:
        return children[0]
    rows = range(children[0].rows.start, children[-1].rows.stop)
    return Node(rows, children[-1].mark, tuple(children))
