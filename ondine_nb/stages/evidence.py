"""Evidence stage: finds the quotes of an answer in the row's columns, off the loop."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any, Protocol

from ..data import Column
from ..errors import EvidenceMissingError
from ..orchestration import AskAgain, ExecutionContext, NewColumn, Row, RowStage
from ..prompts import QuotedField, QuotedSchema
from ..text import not_text, prompt_text
from .invoke import InvokeStage
from .parse import REASKS

__all__ = ["EvidenceStage", "Finds", "Found", "evidence_columns"]

_PARTS = ("", "_start", "_end", "_column", "_match")
_ATTRIBUTES = ("text", "start", "end", "column", "match")
_MISSING = "missing"
_Quotes = dict[str, str | list[str | None] | None]
_AT_ONCE = 2_000_000  # characters that are looked through on the loop: a millisecond or two


class Found(Protocol):
    """Where a quote stands: `match` says how well it is found, the rest is None if it isn't."""

    @property
    def match(self) -> str:
        """exact, near, approximate or missing."""
        ...

    @property
    def text(self) -> str | None:
        """As it stands in the column."""
        ...

    @property
    def start(self) -> int | None:
        """Its first character in the column, counted from 0."""
        ...

    @property
    def end(self) -> int | None:
        """The character behind its last."""
        ...

    @property
    def column(self) -> str | None:
        """The column's name."""
        ...


class Finds(Protocol):
    """Finds quotes in the texts of a row, which are given by column."""

    def verbatim(self, texts: Mapping[str, str], quotes: Iterable[str]) -> Mapping[str, Found]:
        """Those of the quotes that stand in a text as they are; quickly."""
        ...

    def find(self, texts: Mapping[str, str], quotes: Sequence[str]) -> Mapping[str, Found]:
        """Each quote where it or what is nearest to it stands; in a thread, and for a while."""
        ...

    def close(self) -> None:
        """No more will be asked."""
        ...


class EvidenceStage(RowStage):
    """Finds what an answer quotes for its values, and adds five columns for each such field.

    `finder` finds quotes in the texts of a row's `columns`, which are those of the prompt, and is
    closed with the stage. Where evidence is `required`, a row with a value whose quote isn't there
    is asked again by `asker`, as often as for a broken schema and counted with it; then it fails.
    """

    def __init__(
        self,
        quoted: QuotedSchema,
        finder: Finds,
        asker: InvokeStage,
        *,
        columns: Sequence[str],
        matches: Sequence[str],
        required: bool = False,
        reasks: int = REASKS,
    ) -> None:
        super().__init__("evidence")
        self.quoted = quoted
        self.finder = finder
        self.asker = asker
        self.columns: Sequence[str] | None = tuple(columns)
        self.required = required
        self.reasks = reasks
        self.placed: dict[int, dict[str, Any]] = {}  # cells that are known by now, by position
        self.produces: Sequence[NewColumn] = evidence_columns(quoted.fields, matches)

    async def process_row(self, row: Row, context: ExecutionContext) -> None:
        if self.placed and type(row) is Row and row.position in self.placed:
            row.outputs.update(self.placed.pop(row.position))
            return
        quotes, found = await self.place(row)
        if self.required:
            self._check(row, quotes, found)

    async def close(self) -> None:
        self.finder.close()

    async def place(self, row: Row) -> tuple[_Quotes, Mapping[str, Found]]:
        """Add the columns to a parsed row; gives its quotes, and what was found of each."""
        quotes = self.quoted.quotes(row.answer.text, row.outputs)
        found = await self._found(row, _each(quotes.values()))
        for name, given in quotes.items():
            row.outputs.update(_cells(name, given, found))
        return quotes, found

    async def _found(self, row: Row, quotes: set[str]) -> Mapping[str, Found]:
        """What is found of each quote: at once where it stands verbatim, else off the loop."""
        texts, found = self._texts(row), dict[str, Found]()
        if len(quotes) * sum(map(len, texts.values())) <= _AT_ONCE:
            found |= self.finder.verbatim(texts, quotes)
        if rest := sorted(quotes - found.keys()):
            loop = asyncio.get_running_loop()
            found |= await loop.run_in_executor(_thread(), self.finder.find, texts, rest)
        return found

    def _texts(self, row: Row) -> dict[str, str]:
        """The texts that the prompt shows of the row, by column."""
        values = {name: row[name] for name in self.columns or ()}
        return {name: prompt_text(it) for name, it in values.items() if not not_text(it)}

    def _check(self, row: Row, quotes: Mapping[str, Any], found: Mapping[str, Found]) -> None:
        for name, given in quotes.items():
            lost = [it for it in _each([given]) if found[it].match == _MISSING]
            if not lost:
                continue
            said = f"the quote {lost[0][:80]!r} isn't" if lost[0] else "no quote is"
            error = f"field {name!r}: {said} in the text"
            if row.reasks >= self.reasks:
                raise EvidenceMissingError(f"{error} (asked {row.reasks + 1} times)")
            row.reasks += 1
            raise AskAgain(self.asker, EvidenceMissingError(error))


def evidence_columns(fields: Iterable[QuotedField], matches: Sequence[str]) -> tuple[Column, ...]:
    """The columns that the evidence of `fields` goes into; of lists and objects they are lists."""
    return tuple(
        Column(
            f"{known.name}_evidence{part}",
            f"list[{kind}]" if known.many else "choice" if part == "_match" else kind,
            (),
            tuple(matches) if part == "_match" and not known.many else None,
        )
        for known in fields
        for part, kind in zip(_PARTS, ("str", "int", "int", "str", "str"), strict=True)
    )


def _each(given: Iterable[str | list[str | None] | None]) -> set[str]:
    """All quotes, each once."""
    lists = [quote if isinstance(quote, list) else [quote] for quote in given]
    return {quote for quotes in lists for quote in quotes if quote is not None}


def _cells(
    name: str, given: str | list[str | None] | None, found: Mapping[str, Found]
) -> dict[str, Any]:
    """The cells of a field's evidence."""

    def cell(attribute: str) -> Any:
        if isinstance(given, list):
            return [None if it is None else getattr(found[it], attribute) for it in given]
        return None if given is None else getattr(found[given], attribute)

    return {
        f"{name}_evidence{part}": cell(attribute)
        for part, attribute in zip(_PARTS, _ATTRIBUTES, strict=True)
    }


@cache
def _thread() -> ThreadPoolExecutor:
    """The one thread that finds quotes: several would take the loop's turns from it."""
    return ThreadPoolExecutor(1, "evidence")


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_thread.cache_clear)  # a child has no threads of its parent
