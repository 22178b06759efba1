"""What is asked: a question's key, and what is known of it in a run."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Callable
from decimal import Decimal
from typing import Any

from ..errors import FatalProviderError, RejectedRequestError, RowError
from ..journal import Entry
from ..models import Usage
from ..orchestration import ExecutionContext
from ..providers import FREE, Answer, ModelPrice, Settings

__all__ = ["PACK_MARK", "Question", "Rejections", "answer_in", "count_paid", "question_key"]

KEY_BYTES = 20
PACK_MARK = b"p"  # behind a question's key: an answer from a pack, which may differ from one alone
_EQUAL_REJECTIONS = 20


def question_key(identity: str, settings: Settings) -> Any:
    """A hash of everything but the prompt that decides an answer; copy it and add the prompt.

    `max_tokens` isn't in it, so that a larger one sends only the rows that were cut.
    """
    deciding = {"provider": identity, **settings.deciding()}
    # Not sorted: the order of a schema's fields decides what is answered first.
    text = json.dumps(deciding, ensure_ascii=False, default=str)
    return hashlib.blake2b(text.encode("utf-8", "replace"), digest_size=KEY_BYTES)


class Question:
    """One question of a run: its paid answers so far, shared by all rows that ask it.

    The lock lets one row send; the others wait and find its answer. `earlier` of the answers come
    from earlier runs. `pack` is the pack that it is asked in with others, or None. It is among the
    `known` ones as long as any of its `rows` is on its way; a failed one stays, for an equal row
    of a later chunk fails alike.
    """

    __slots__ = ("_lock", "answers", "begins", "earlier", "failure", "key", "known", "pack", "rows")

    def __init__(self, key: bytes, known: dict[bytes, Question] | None = None) -> None:
        self.key: bytes = key
        self.known = known
        self.rows: int = 0
        self.answers: list[Answer] = []
        self.earlier: int = 0
        self.begins: bool = False
        self.failure: RowError | None = None
        self.pack: Any = None
        self._lock: asyncio.Lock | None = None

    @property
    def lock(self) -> asyncio.Lock:
        """Made when it is first asked for: a journaled question needs none."""
        if self._lock is None:
            self._lock = asyncio.Lock()
        return self._lock

    def release(self) -> None:
        """One of its rows has its outcome."""
        self.rows -= 1
        if not self.rows and self.failure is None and self.known is not None:
            self.known.pop(self.key, None)


class Rejections:
    """Counts equal rejections in a row: then it is the settings that are wrong, not the rows."""

    def __init__(self) -> None:
        self._text, self._count = "", 0

    def check(self, error: RejectedRequestError) -> None:
        """Raises `FatalProviderError` at the twentieth like it."""
        self._count = self._count + 1 if self._text == str(error) else 1
        self._text = str(error)
        if self._count >= _EQUAL_REJECTIONS:
            raise FatalProviderError(
                f"the first {self._count} requests were all rejected alike: {error}"
            ) from error


def answer_in(entry: Entry, read: Callable[[bytes], Answer]) -> Answer:
    """A journaled answer, by the `read` of the provider that gave it.

    A pack's answer is kept in shares that were written here, as messages, whatever came over the
    wire. Raises `MalformedAnswerError`.
    """
    return (Answer.read if entry.key.endswith(PACK_MARK, KEY_BYTES) else read)(entry.body)


def count_paid(
    context: ExecutionContext,
    stage: str,
    usage: Usage,
    cost: Decimal,
    price: ModelPrice | None,
    attempt: int = 1,
    questions: int = 1,
) -> None:
    """Add a paid reply to so many questions to a run's totals: `cost` in USD, by `price`, at this
    `attempt` from 1."""
    price = price or FREE
    context.add_usage(cost, usage, stage, price.by_kind(usage), attempt)
    context.metrics.add_paid(cost, questions)
    context.metrics.saved_by_cache += price.saved_by_cache(usage)
