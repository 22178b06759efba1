"""Retries: exponential back-off with jitter, and the history of attempts at one request."""

from __future__ import annotations

import random
import re
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
    succeeded; `error` is the last one's. `late` says that it began when patience was lost.
    """

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
    long makes it another one.
    """

    def __init__(self) -> None:
        self._text, self._count, self._forbidden = "", 0, 0
        self.any: bool = False

    def forget(self) -> None:
        """A row has an answer, a new one or an old: what was rejected before is its row's own."""
        self._count = self._forbidden = 0
        self.any = False

    def check(self, error: RowError, *, proven: bool) -> None:
        """One more row was rejected, or its answer not read; `proven` says that these settings
        have got an answer.

        Raises `FatalProviderError` at the twentieth alike in a row; of a 403 at the fifth, and at
        once before the first success.
        """
        text = _shape(str(error))
        self._count = self._count + 1 if self._text == text else 1
        self._text, self.any = text, True
        forbidden = isinstance(error, ForbiddenError)
        self._forbidden = self._forbidden + 1 if forbidden else 0
        if forbidden and not proven:
            raise FatalProviderError(
                f"{error}. Nothing was answered before: give a key that may ask this model"
            ) from error
        if self._count >= _ALIKE or self._forbidden >= _FORBIDDEN:
            number = max(self._count, self._forbidden)
            which = f"{number} requests in a row" if proven else f"the first {number} requests"
            raise FatalProviderError(f"{which} were all rejected alike: {error}") from error


_QUOTED = re.compile(r"'[^']*'|\"[^\"]*\"|`[^`]*`")
_WITH_DIGITS = re.compile(r"\S*\d\S*")
_LENGTH = re.compile(r"too (long|large|many)|exceed|maximum|context", re.IGNORECASE)


def _shape(message: str) -> str:
    """What a rejection says without what differs from row to row."""
    if _LENGTH.search(message):
        return message
    return _WITH_DIGITS.sub("#", _QUOTED.sub("#", message))
