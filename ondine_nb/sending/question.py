"""What is asked: a question's key, and what is known of it in a run."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Callable
from typing import Any

from ..errors import RowError
from ..journal import Entry
from ..models import UNKNOWN_USAGE
from ..providers import Answer, Settings

__all__ = ["PACK_MARK", "Question", "answer_in", "question_key"]

KEY_BYTES = 20
PACK_MARK = b"p"  # behind a question's key: an answer from a pack, which may differ from one alone


def question_key(identity: str, settings: Settings) -> Any:
    """A hash of everything but the prompt that decides an answer; copy it and add the prompt.

    `max_tokens` isn't in it, so that a larger one sends only the rows that were cut.
    """
    deciding = {"provider": identity, **settings.deciding()}
    # Not sorted: the order of a schema's fields decides what is answered first.
    text = json.dumps(deciding, ensure_ascii=False, default=str)
    return hashlib.blake2b(text.encode("utf-8", "replace"), digest_size=20)


class Question:
    """One question of a run: its paid answers so far, shared by all rows that ask it.

    One row at a time has it `asked`; the others wait and find its answer. `earlier` of the answers
    come from earlier runs, `newest` is the journal's number of the last one that another run has
    been given. `drafted` is its request where that was made before its turn, `pack` the
    pack that it is asked in with others, or None; `looking` ends once the journal was asked for it.
    It is among the `known` ones as long as any of
    its `rows` is on its way; a failed one stays, for an equal row of a later chunk fails alike.
    """

    __slots__ = (
        "answers", "begins", "drafted", "earlier", "failure", "key", "known", "looking", "newest",
        "pack", "rows", "underway",
    )  # fmt: skip

    def __init__(self, key: bytes, known: dict[bytes, Question] | None = None) -> None:
        self.key: bytes = key
        self.known: dict[bytes, Question] | None = known
        self.rows: int = 0
        self.answers: list[Answer] = []
        self.earlier: int = 0
        self.newest: int = 0
        self.begins: bool = False
        self.failure: RowError | None = None
        self.pack: Any = None
        self.drafted: Any = None
        self.underway: asyncio.Future[None] | None = None
        self.looking: asyncio.Future[None] | None = None

    @property
    def held_keys(self) -> tuple[bytes, ...]:
        """The keys under which nobody else may get an answer meanwhile that it would take."""
        alone = self.key[:KEY_BYTES]
        return (self.key,) if alone == self.key else (self.key, alone)

    def release(self) -> None:
        """One of its rows has its outcome."""
        self.rows -= 1
        if not self.rows and self.failure is None and self.known is not None:
            self.known.pop(self.key, None)


def answer_in(entry: Entry, read: Callable[[bytes], Answer], *, priced: bool = False) -> Answer:
    """A journaled answer, by the `read` of the provider that gave it.

    Where the model is `priced`, one that was kept without a cost told no usage that could be. A
    pack's answer is kept in shares that were written here, as messages, whatever came over the
    wire. Raises `MalformedAnswerError`.
    """
    marked = len(entry.key) > KEY_BYTES and entry.key.endswith(PACK_MARK, KEY_BYTES)
    answer = (Answer.read if marked else read)(entry.body)
    if priced and entry.cost is None:
        answer.usage = UNKNOWN_USAGE
    return answer
