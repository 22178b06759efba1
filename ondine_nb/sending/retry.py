"""Retries: exponential back-off with jitter, and the history of attempts at one request."""

from __future__ import annotations

import random
import re
from bisect import bisect
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from ..errors import FatalProviderError, ForbiddenError, RowError, TransientError
from .rate_limit import Turn

__all__ = ["Attempts", "Backoff", "Rejections"]

_ALIKE = 20
_FORBIDDEN = 5


@dataclass(frozen=True, slots=True)
class Backoff:
    """How often and when a request goes again: exponential with equal jitter, times in seconds.

    Half of each wait is fixed, so that all `attempts` together always outlast a short outage (Marc
    Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015, compares the kinds).
    `patience` is how long an outage may last before rows fail of it, `opening_patience` the same
    before the first success.
    """

    attempts: int = 8
    base: float = 0.5
    longest: float = 20.0
    patience: float = 300.0
    opening_patience: float = 45.0

    def delay(
        self, attempt: int, retry_after: float | None = None, *, stretch: float = 1.0
    ) -> float:
        """Seconds before attempt `attempt + 1`, never less than the server's `retry_after`."""
        most = stretch * min(self.longest, self.base * 2.0 ** (attempt - 1))
        jitter = random.uniform(most / 2, most)  # noqa: S311
        return jitter if retry_after is None else retry_after + jitter * 0.5

    def probe(self, failed: int) -> float:
        """Seconds before the next probe of an outage, after so many that failed: 1, 2, 4, … 30."""
        return min(30.0, 2 * self.base * 2.0 ** min(failed, 16))


@dataclass(slots=True, eq=False)
class Attempts:
    """One question's attempts so far.

    `tries` were sent, `counted` of them count against its row, `blamed` failed while others
    succeeded; `error` is the last one's. `late` says that it began when patience was lost. `most`
    is how many may count, where that is fewer than others have.
    """

    most: int | None = None
    tries: int = 0
    counted: int = 0
    blamed: int = 0
    seen: int = 0
    sent_at: float = 0.0
    probing: bool = False
    late: bool = False
    error: TransientError | None = None
    turn: Turn | None = None


class Rejections:
    """Tells the account's fault from the rows': many rejections in a row that are all alike.

    Alike are those that say the same but for what is each row's own: words with digits in them (an
    id, a count) and what stands in quotes. A length is the row's own: how long a request was too
    long makes it another one. In a row is by when they were sent, for a rejection mostly comes
    sooner than an answer: what was sent later has none, and between them nothing is waited for.

    A sender numbers what it sends by `sent`, keeps in `waiting` the numbers of what is in flight,
    and tells the highest that was answered as `answered`.
    """

    def __init__(self) -> None:
        self.sent = self.answered = 0
        self.waiting: set[int] = set()
        self._text = ""
        self._alike: list[int] = []
        self._forbidden: list[int] = []
        self.any: bool = False

    def forget(self, before: int | None = None) -> None:
        """A row has an answer, a new one or an old: what was rejected `before` is its row's own."""
        self._alike = _from(self._alike, before)
        self._forbidden = _from(self._forbidden, before)
        self.any = bool(self._alike or self._forbidden)

    def check(self, error: RowError, number: int, *, proven: bool) -> None:
        """One more row was rejected, or its answer not read, of what was sent as this `number`;
        `proven` says that these settings have got an answer.

        Raises `FatalProviderError` at the twentieth alike in a row; of a 403 at the fifth, and at
        once before the first success.
        """
        if number < self.answered:  # what was sent later has an answer
            return
        text = _shape(str(error))
        self._alike = [*(self._alike if self._text == text else ()), number]
        self._text, self.any = text, True
        forbidden = isinstance(error, ForbiddenError)
        self._forbidden = [*self._forbidden, number] if forbidden else []
        if forbidden and not proven:
            raise FatalProviderError(
                f"{error}. Nothing was answered before: give a key that may ask this model"
            ) from error
        alike, refused = self._in_a_row(self._alike), self._in_a_row(self._forbidden)
        if alike >= _ALIKE or refused >= _FORBIDDEN:
            count = max(alike, refused)
            which = f"{count} requests in a row" if proven else f"the first {count} requests"
            raise FatalProviderError(f"{which} were all rejected alike: {error}") from error

    def _in_a_row(self, numbers: Sequence[int]) -> int:
        """The most of these that stand in a row."""
        waiting = sorted(self.waiting)
        places = Counter(bisect(waiting, number) for number in numbers)
        return max(places.values(), default=0)


def _from(numbers: Sequence[int], before: int | None) -> list[int]:
    return [] if before is None else [number for number in numbers if number > before]


_QUOTED = re.compile(r"'[^']*'|\"[^\"]*\"|`[^`]*`")
_WITH_DIGITS = re.compile(r"\S*\d\S*")
_LENGTH = re.compile(r"too (long|large|many)|exceed|maximum|context", re.IGNORECASE)


def _shape(message: str) -> str:
    """What a rejection says without what differs from row to row."""
    if _LENGTH.search(message):
        return message
    return _WITH_DIGITS.sub("#", _QUOTED.sub("#", message))
