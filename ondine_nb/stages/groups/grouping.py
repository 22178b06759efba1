"""Makes of each group what is asked about it: its rows as texts, and the tree over them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from typing import Any

from ...data import Groups
from ...models import Prompt
from ...prompts import JinjaTemplate, Template
from .cutting import content_hash
from .prompts import GroupPrompts, size_of
from .tree import Node, tree_of

__all__ = ["Group", "Grouping"]


@dataclass(frozen=True, slots=True)
class Group:
    """A group as it is asked: its values that the prompt names, the positions and texts of its
    rows that have something to say, and the tree over them."""

    heads: tuple[Any, ...]
    positions: list[int]
    texts: list[tuple[str, ...]]
    root: Node


class Grouping:
    """The groups of a run and how they are asked: at most `most` bytes of rows in a request, and at
    most `fan_in` answers merged in one."""

    def __init__(
        self, template: Template | JinjaTemplate, groups: Groups, *, most: int, fan_in: int
    ) -> None:
        self.groups = groups
        self.most: int = most
        self.fan_in: int = fan_in
        self.prompts: GroupPrompts = GroupPrompts(template, groups.by)

    def made(
        self, places: Sequence[int], heads: Iterable[Sequence[Any]]
    ) -> list[Group | Exception | None]:
        """The groups at these places; None where no row of one has anything to say.

        `heads` are the values of each in the columns by which the rows are grouped. One that can't
        be asked, since it has a cell that can't be sent, is the error that says so.
        """
        members = [self.groups.members[at] for at in places]
        cells = chain.from_iterable(
            self.groups.frame.iter_rows(
                self.prompts.columns, size=5_000, positions=list(chain.from_iterable(members))
            )
        )
        found: list[Group | Exception | None] = []
        for rows, head in zip(members, heads, strict=True):
            own = list(islice(cells, len(rows)))
            try:
                found.append(self._group(rows, own, head))
            except Exception as error:  # a cell's own __str__ may raise anything
                found.append(error)
        return found

    def _group(
        self, rows: Sequence[int], cells: Sequence[Sequence[Any]], heads: Sequence[Any]
    ) -> Group | None:
        pairs = zip(rows, map(self.prompts.texts, cells), strict=True)
        there = [(row, texts) for row, texts in pairs if texts is not None]
        if not there:
            return None
        texts = [each for _, each in there]
        sizes = list(map(size_of, texts))
        fits = sum(sizes) <= self.most
        hashes = [0 if fits else content_hash("\x1f".join(each)) for each in texts]
        named = dict(zip(self.groups.by, heads, strict=True))
        return Group(
            tuple(named[name] for name in self.prompts.heads),
            [row for row, _ in there],
            texts,
            tree_of(sizes, hashes, self.most, self.fan_in),
        )

    def _all(self, most: int | None = None) -> Iterator[tuple[int, Group]]:
        """The groups that can be asked, with their places; at most so many are looked at."""
        heads = enumerate(chain.from_iterable(self.groups.heads.iter_rows(self.groups.by)))
        for at, head in islice(heads, most):
            (group,) = self.made([at], [head])
            if isinstance(group, Group):
                yield at, group

    def leaf(self, group: Group, node: Node) -> tuple[Prompt, list[int]]:
        """What is asked about a leaf's rows, and the rows of the frame that it numbers."""
        rows = slice(node.rows.start, node.rows.stop)
        return self.prompts.leaf(group.heads, group.texts[rows]), group.positions[rows]

    def merge(self, group: Group, answers: Sequence[str], *, of_rows: bool) -> Prompt:
        """What is asked about the answers below a node."""
        return self.prompts.merge(group.heads, answers, of_rows=of_rows)

    def first_leaves(self, most: int) -> Iterator[Prompt]:
        """What is asked first about each of the first groups."""
        for _, group in self._all(most):
            yield self.leaf(group, next(group.root.walk()))[0]

    def trees(self) -> list[int]:
        """The groups that take more than one request, by their places."""
        return [at for at, group in self._all() if group.root.children]
