"""Answers from the journal alone, where nobody who was asked for can answer."""

from __future__ import annotations

import builtins
import contextlib
import logging
from collections.abc import Callable, Sequence

from ..errors import MalformedAnswerError, NoKeyError
from ..journal import Entry, Journal
from ..models import Prompt
from ..orchestration import ExecutionContext, Row, RowStage
from ..providers import Answer
from ..sending import answer_in

__all__ = ["JournalOnlyStage"]

logger = logging.getLogger("ondine_nb")


class JournalOnlyStage(RowStage):
    """Sets rows aside that the journal has no answer for: they stay `not_run`, the others go on.

    `keys` gives the keys that an answer to a prompt may have, `find` the journaled answers by key;
    one that was cut and could be longer with today's `max_tokens` is none. A row needs all of its
    `votes`. Where no row has its answers the run ends with `NoKeyError`; else it stops at its end,
    with a line that says why.
    """

    columns: Sequence[str] | None = ()

    def __init__(
        self,
        why: str,
        journal: Journal,
        keys: Callable[[Prompt], Sequence[bytes]],
        read: Callable[[bytes], Answer],
        *,
        max_tokens: int,
        run: str | None = None,
        votes: int = 1,
    ) -> None:
        super().__init__("journal")
        self.why = why
        self._journal = journal
        self._keys = keys
        self._read = read
        self._max_tokens = max_tokens
        self._run = run
        self._votes = votes
        self._found = self._missing = 0
        self._context = ExecutionContext()

    async def open(self, context: ExecutionContext) -> None:
        self._context = context
        await self._journal.refresh()

    async def prepare(self, rows: Sequence[Row], context: ExecutionContext) -> None:
        keys = {row.position: self._asked(row.prompt) for row in rows if row.prompt is not None}
        good = await self._good({key for asked in keys.values() for it in asked for key in it})
        for row in rows:
            if not all(good.intersection(each) for each in keys.get(row.position, ())):
                row.pass_over()
                self._missing += 1
        self._found += len(keys)

    def found_all(self) -> None:
        """The journal has had all answers of a row that takes several questions."""
        self._found += 1

    def _asked(self, prompt: Prompt) -> list[Sequence[bytes]]:
        """The keys of each of its answers."""
        return [self._keys(prompt.again(vote)) for vote in range(1, self._votes + 1)]

    async def lacks(self, prompt: Prompt) -> bool:
        """Whether the journal has no answer to this prompt."""
        return not await self._good(set(self._keys(prompt)))

    async def _good(self, keys: set[bytes]) -> set[bytes]:
        """Those of the keys under which there is an answer."""
        found = await self._journal.lookup(list(keys), self._run)
        return {key for key, entries in found.items() if not self._is_cut(entries)}

    def _is_cut(self, entries: Sequence[Entry]) -> bool:
        shorter = [entry for entry in entries if entry.max_tokens < self._max_tokens]
        with contextlib.suppress(MalformedAnswerError):
            return any(answer_in(entry, self._read).cut for entry in shorter)
        return False

    async def close(self) -> None:
        """Stop a run that could not ask for all of its rows."""
        control, metrics = self._context.control, self._context.metrics
        if not self._missing or control.stopping:
            return
        answered = self._found - self._missing
        if not answered:
            control.stop("failed", NoKeyError(self.why))
            return
        metrics.message = (
            f"{answered:,} rows have their answers from the journal, {self._missing:,} were not "
            f"run: {self.why}"
        )
        if not hasattr(builtins, "__IPYTHON__"):  # a script has no card that says it
            logger.warning(metrics.message)
        control.stop("no key")
