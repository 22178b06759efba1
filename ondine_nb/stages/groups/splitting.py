"""Makes of a long row what is asked about it: chunks of its longest text, and a tree over them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ...errors import TooLongError
from ...models import Prompt
from ...orchestration import Row
from ...prompts import JinjaTemplate, Template, is_missing
from ...text import not_text, prompt_text
from .prompts import ChunkPrompts
from .spans import CutText, Span, cut_text
from .tree import Node

__all__ = ["LongText", "Splitting"]

_LEAST_BYTES = 64  # of a chunk: in less there is nothing to be found
_MARK = "x"


@dataclass(frozen=True, slots=True)
class LongText:
    """A row's longest text as it is asked: the place of its column among the row's values, its
    name, and its chunks."""

    at: int
    column: str
    text: str
    cut: CutText

    @property
    def root(self) -> Node:
        """The tree over the chunks."""
        return self.cut.root

    def chunk(self, leaf: Node) -> str:
        """What a leaf is about."""
        span = self.cut.spans[leaf]
        return self.text[span.start : span.end]

    def span(self, node: Node) -> Span:
        """The characters that a node is about."""
        spans = [self.cut.spans[it] for it in node.walk() if not it.children]
        return Span(spans[0].start, spans[0].own, spans[-1].end)

    def within(self, row: Row, leaf: Node) -> tuple[Any, ...]:
        """The row's values with a chunk in the place of its text."""
        return (*row.values[: self.at], self.chunk(leaf), *row.values[self.at + 1 :])


class Splitting:
    """How long rows are cut: into chunks of `most` bytes at most, and with a `room` so that a
    prompt of that many bytes holds one. At most `fan_in` answers are merged in one.
    """

    def __init__(
        self,
        template: Template | JinjaTemplate,
        *,
        most: int,
        room: int | None,
        fan_in: int,
    ) -> None:
        self.template = template
        self.most: int = most
        self.room: int | None = room
        self.fan_in: int = fan_in
        self.prompts: ChunkPrompts = ChunkPrompts(template)

    def longest(self, row: Row) -> tuple[int, str, str]:
        """The row's longest text: its place, its column and the text itself, "" where there is
        none that can be cut."""
        best = (-1, "", "")
        for name in self.template.columns:
            at = row.names[name]
            value = row.values[at]
            if not isinstance(value, str) and isinstance(self.template, JinjaTemplate):
                continue  # what it does with a list it couldn't do with a part of its text
            text = "" if is_missing(value) or not_text(value) else prompt_text(value)
            best = (at, name, text) if len(text) > len(best[2]) else best
        return best

    def first_chunk(self, values: Sequence[Any], prompt: Prompt) -> tuple[Any, ...] | None:
        """A row's values with the first chunk in the place of its text; None where it may fit."""
        row = Row(0, tuple(values), {name: at for at, name in enumerate(self.template.columns)})
        row.prompt = prompt
        if not self.exceeds(row) if self.room is None else prompt.size <= self.room:
            return None
        text = self.cut(row)
        return text.within(row, next(iter(text.cut.spans)))

    def exceeds(self, row: Row) -> bool:
        """Whether a text is longer than a chunk may be."""
        return _size(self.longest(row)[2]) > self.most

    def cut(self, row: Row) -> LongText:
        """Its chunks. Raises TooLongError where even a small one wouldn't fit."""
        at, column, text = self.longest(row)
        most = self.most
        if self.room is not None:
            most = min(most, self._left(row, column, text))
            # A few bytes more or less beside the text leave its chunks as they are.
            most -= most % (1 << max(0, most.bit_length() - 4))
        return LongText(at, column, text, cut_text(text, most, self.fan_in))

    def _left(self, row: Row, column: str, text: str) -> int:
        """The bytes that a chunk of this column may have: what the rest of its prompt leaves.

        Raises TooLongError where that is too little.
        """
        assert self.room is not None
        assert row.prompt is not None
        shown = self.prompts.rendered
        one = shown(row, column, _MARK).size
        times = (shown(row, column, _MARK * 101).size - one) // 100  # that the prompt shows it
        rest = max(one - times, row.prompt.size - times * _size(text))
        left = (self.room - rest) // max(1, times)
        if times < 1 or left < _LEAST_BYTES:
            raise TooLongError(
                f"beside column {column!r} the prompt has {rest:,} bytes, and {self.room:,} fit "
                "the model for sure: shorten it, or name a model with a longer context"
            )
        return left


def _size(text: str) -> int:
    return len(text.encode("utf-8", "replace"))
