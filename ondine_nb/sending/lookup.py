"""Looks answers up in the journal: what was paid for is not asked again."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Container, Iterable, Sequence
from typing import Any

from ..errors import JournalError, MalformedAnswerError
from ..journal import Entry, Journal
from ..models import Prompt
from ..providers import Answer, Provider, Settings, capabilities
from .question import Question, answer_in, question_key

__all__ = ["Lookup", "reader_of"]


class Lookup:
    """Finds what the journal has for questions to one model under one kind of settings.

    With `fresh` only answers of this run (`run_id`) count, with `resumed` those of its earlier
    processes too. With a `mark` answers have keys of their own, which end with it; where there is
    none, an answer without the mark is taken. The same may have to be asked in one of the
    `other_ways`, of another API of the server or in other words: see `turn_to`.
    """

    def __init__(
        self,
        journal: Journal,
        provider: Provider,
        settings: Settings,
        *,
        run_id: str,
        fresh: bool = False,
        resumed: bool = False,
        mark: bytes = b"",
        other_ways: Sequence[tuple[Provider, Settings]] = (),
    ) -> None:
        self.journal = journal
        self.run_id = run_id
        self.fresh: bool = fresh
        self.resumed: bool = resumed
        self._mark = mark
        self._ways = ((provider, settings), *other_ways)
        self._hashes = [_hashes_of(*way) for way in self._ways]
        self.read: Callable[[bytes], Answer] = reader_of([asked for asked, _ in self._ways])
        self._priced = provider.price is not None
        self._began = 0
        self.turn_to(0)

    def turn_to(self, way: int) -> None:
        """Have the keys be those of questions asked this way: 0 is the first, others follow it.

        What was asked the first way, before another was found, is found as well.
        """
        self.settings: Settings = self._ways[way][1]
        self._hash, *self._earlier = self._hashes[way]
        self._earlier += self._hashes[0] if way else ()

    def whole(self) -> Lookup:
        """The same over all that the journal has, whichever run it is of."""
        made = copy.copy(self)
        made.fresh = False
        return made

    def key(self, prompt: Prompt) -> bytes:
        """The key under which an answer to this prompt is journaled: 20 bytes, and the mark."""
        hasher = self._hash.copy()
        hasher.update(prompt.key_bytes)
        key: bytes = hasher.digest()
        return key + self._mark

    def keys(self, prompt: Prompt) -> list[bytes]:
        """The keys that an answer may have in the journal, the best one first."""
        key = self.key(prompt)
        own = [key, key.removesuffix(self._mark)] if self._mark else [key]
        return [*own, *self._earlier_keys(prompt)]

    def renamed(self, prompts: Iterable[Prompt]) -> dict[bytes, bytes]:
        """The keys of these questions, by those that they had under earlier names."""
        return {
            earlier: self.key(prompt)
            for prompt in prompts
            for earlier in self._earlier_keys(prompt)
        }

    def _earlier_keys(self, prompt: Prompt) -> list[bytes]:
        """Its keys by what the provider may have been called, the best ones first."""
        keys = [_key(hasher, prompt) for hasher in self._earlier]
        return [*(key + self._mark for key in keys), *keys] if self._mark else keys

    async def open(self) -> None:
        """The run begins: what the journal has by now is of earlier ones. Raises `JournalError`."""
        self._began = await self.journal.refresh()

    async def recall(
        self, questions: Sequence[Question], prompts: Sequence[Prompt | None] = ()
    ) -> None:
        """Give each question its journaled answers, by one query. Raises `JournalError`.

        With the questions' `prompts`, also those that a provider gave under an earlier name.
        """
        found = await self._entries([question.key for question in questions])
        if self._earlier and prompts:
            found |= await self._earlier_entries(questions, prompts, found)
        for question in questions:
            self._take(question, found.get(question.key, ()))

    async def _earlier_entries(
        self,
        questions: Sequence[Question],
        prompts: Sequence[Prompt | None],
        found: Container[bytes],
    ) -> dict[bytes, list[Entry]]:
        missing = {
            question.key: self._earlier_keys(prompt)
            for question, prompt in zip(questions, prompts, strict=True)
            if prompt is not None and question.key not in found
        }
        keys = [key for others in missing.values() for key in others]
        entries = await self._find(keys) if keys else {}
        best = {key: [it for it in others if it in entries] for key, others in missing.items()}
        return {key: entries[others[0]] for key, others in best.items() if others}

    async def _entries(self, keys: Sequence[bytes]) -> dict[bytes, list[Entry]]:
        found = await self._find(keys)
        if not self._mark:
            return found
        others = {key.removesuffix(self._mark): key for key in keys if key not in found}
        alone = await self._find(list(others)) if others else {}
        return found | {others[key]: entries for key, entries in alone.items()}

    async def _find(self, keys: Sequence[bytes]) -> dict[bytes, list[Entry]]:
        """With `fresh`, only what this run has been answered, by an earlier process if resumed."""
        run = self.run_id if self.fresh else None
        return await self.journal.lookup(keys, run, earlier=self.resumed or not self.fresh)

    def _take(self, question: Question, entries: Iterable[Entry]) -> None:
        """Take over journaled answers, unless one was cut and could be longer now."""
        answers, others, earlier, newest = [], [], 0, question.newest
        for entry in entries:
            try:
                answer = answer_in(entry, self.read, priced=self._priced)
            except MalformedAnswerError:  # it could be read once: whoever wrote it knew more
                continue
            if answer.cut and entry.max_tokens < self.settings.max_tokens:
                question.begins = True
                return
            answers.append(answer)
            if entry.run == self.run_id:
                earlier += entry.sequence < self._began
                continue
            earlier += 1
            if entry.sequence > question.newest:
                others.append(answer)
                newest = max(newest, entry.sequence)
        question.newest = newest
        if question.answers and len(answers) <= len(question.answers):
            # A fresh run beside this one has made void what it was answered: that stays this one's,
            # and what the other has been answered comes behind it.
            question.answers += others
            return
        question.begins = self.fresh and not answers
        question.answers, question.earlier = answers, earlier


def _hashes_of(provider: Provider, settings: Settings) -> list[Any]:
    """What the keys of questions to it begin with, by each name that it has or had."""
    names = (provider.identity, *capabilities(provider).earlier_identities)
    return [question_key(name, settings) for name in names]


def reader_of(providers: Sequence[Provider]) -> Callable[[bytes], Answer]:
    """Reads the answers of all of these: each knows those that came over its own wire."""
    own, *others = (capabilities(each).read for each in providers)
    if not others:
        return own

    def read(body: bytes) -> Answer:
        for reader in (own, *others[:-1]):
            with contextlib.suppress(JournalError):  # it came over another's wire
                return reader(body)
        return others[-1](body)

    return read


def _key(hasher: Any, prompt: Prompt) -> bytes:
    hasher = hasher.copy()
    hasher.update(prompt.key_bytes)
    return bytes(hasher.digest())
