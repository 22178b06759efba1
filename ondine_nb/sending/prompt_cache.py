"""Prompt caching: which of a request's texts are marked for the cache, and who goes ahead.

What is the same for every row comes first in a request: the system text, then the prompt's head up
to its first column. A marked text is kept by the server for five minutes from its last use: to
write it costs a quarter more than to send it, to read it a tenth or less. An entry can be read only
when the answer that wrote it has come, so one request goes ahead and the others follow it.
"""

from __future__ import annotations

import asyncio
import math
import re
from dataclasses import dataclass

__all__ = ["CachePoints", "CacheWarmUp", "cache_points", "least_tokens"]

_BYTES_A_TOKEN = 4  # rather too many: a text that turns out too short is marked in vain, at no cost
_WORTH_A_MARK = 64  # tokens of a head behind a system text that is marked anyway
_FOLLOW_SECONDS = 5.0
_WARM_SECONDS = 290.0  # the server keeps an entry for 300 s from its last use
# The shortest text that a model caches, in tokens; the first pattern that fits holds. Newer models
# than these are taken to need what the last one of their line needs.
_LEAST = (
    (r"claude-haiku-5|claude-(opus|fable|mythos)-5", 512),
    (r"claude-opus-4-[56]|claude-haiku-4-5", 4096),
    (r"claude-opus-4-7", 2048),
    (r"claude-", 1024),
)


def least_tokens(model: str) -> int | None:
    """The shortest text that the model caches, in tokens; None for models that aren't Claude's."""
    return next((least for pattern, least in _LEAST if re.search(pattern, model)), None)


@dataclass(frozen=True, slots=True)
class CachePoints:
    """What is marked: the system text, what is `attached` to every prompt, and this text that
    stands behind it, or begins every prompt ("": none).
    """

    system: bool = False
    head: str = ""
    attached: bool = False


def cache_points(model: str, system: str | None, head: str, attached: int = 0) -> CachePoints:
    """The marks for a run whose prompts all begin with `head`; none where it is too short.

    Before it stand the same pictures and documents, of about so many tokens.

    A head is cut before the white space at its end, so that a word is split from the blank before
    it as little as in one piece of text.
    """
    least = least_tokens(model)
    if least is None:
        return CachePoints()
    head = head.rstrip()
    of_system, of_head = _tokens(system or ""), _tokens(head)
    marks_system = of_system >= least
    marks_attached = attached > 0 and of_system + attached >= least
    worth = _WORTH_A_MARK if marks_system or marks_attached else 1
    marks_head = of_system + attached + of_head >= least and of_head >= worth
    return CachePoints(marks_system, head if marks_head else "", marks_attached)


def _tokens(text: str) -> int:
    return len(text.encode("utf-8", "replace")) // _BYTES_A_TOKEN


class CacheWarmUp:
    """Lets one request go ahead to write the cache; the others follow its success, or `seconds`.

    A cache that nobody has used for so long that it's cold is written by one again. Not `wanted`,
    nobody waits. For one loop.
    """

    def __init__(self, *, wanted: bool, seconds: float = _FOLLOW_SECONDS) -> None:
        self.wanted = wanted
        self._seconds = seconds
        self._leading = False
        self._warm_until = -math.inf
        self._follow_at: float | None = None
        self._waiting: list[asyncio.Future[None]] = []

    async def turn(self) -> bool:
        """Wait until a request may go; True where it is the one that goes ahead.

        That one has to say `led` when it has ended, its wait for other things included.
        """
        loop = asyncio.get_running_loop()
        while self.wanted and (now := loop.time()) >= self._warm_until:
            if self._follow_at is None:
                self._follow_at = now + self._seconds
            if now >= self._follow_at:
                self._let_go()
            elif self._leading:
                await self._wait(self._follow_at - now)
            else:
                self._leading = True
                return True
        return False

    def led(self) -> None:
        """The request that went ahead has ended; without a success another one goes ahead."""
        self._leading = False
        self._wake()

    def succeeded(self) -> None:
        """An answer came: what was marked is in the cache now."""
        if self.wanted:
            self._let_go()

    async def _wait(self, seconds: float) -> None:
        woken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(woken)
        await asyncio.wait({woken}, timeout=seconds)

    def _let_go(self) -> None:
        self._warm_until = asyncio.get_running_loop().time() + _WARM_SECONDS
        self._follow_at = None
        self._wake()

    def _wake(self) -> None:
        waiting, self._waiting = self._waiting, []
        for woken in waiting:
            if not woken.done():
                woken.set_result(None)
