"""The loopback server's prompt cache: real prefixes, minimum lengths, five minutes of life."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from .media import sign_of
from .media_bill import block_tokens

__all__ = ["UNCACHED", "Hit", "PromptCache", "cache_problem"]

Body = Mapping[str, Any]

LIFE_SECONDS = 300.0
MOST_MARKS = 4
CHARS_A_TOKEN = 4
# The shortest prefix that a model caches, in tokens; 1,024 for those not named.
LEAST = {"claude-haiku-5-5": 512, "claude-opus-5-5": 512, "claude-fable-5-2": 512}


@dataclass(frozen=True, slots=True)
class Hit:
    """What the cache means for one request: tokens read and written, and what is kept by it."""

    read: int
    written: int
    keys: tuple[bytes, ...]


UNCACHED = Hit(0, 0, ())


class PromptCache:
    """Which prefixes are kept until when. An entry can be read once the answer that wrote it began.

    `clock` gives seconds; a test may turn it forward.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._until: dict[bytes, float] = {}

    def look(self, body: Body) -> Hit:
        """What this request finds as it comes in."""
        least = LEAST.get(body["model"], 1024)
        marked = [(key, tokens) for key, tokens in _prefixes(body) if tokens >= least]
        now = self._clock()
        read = max((tokens for key, tokens in marked if self._until.get(key, now) > now), default=0)
        longest = max((tokens for _, tokens in marked), default=0)
        return Hit(read, longest - read, tuple(key for key, _ in marked))

    def look_unmarked(self, prefixes: list[tuple[bytes, int]]) -> Hit:
        """The same where the API caches by itself: reading costs less, and writing nothing."""
        now = self._clock()
        read = max(
            (tokens for key, tokens in prefixes if self._until.get(key, now) > now), default=0
        )
        return Hit(read, 0, tuple(key for key, _ in prefixes))

    def keep(self, hit: Hit) -> None:
        """The answer begins: its prefixes live from now."""
        until = self._clock() + LIFE_SECONDS
        self._until.update(dict.fromkeys(hit.keys, until))


def _prefixes(body: Body) -> Iterator[tuple[bytes, int]]:
    """Key and tokens of the text up to each mark; what stands before all texts is in the key."""
    fixed = {name: body.get(name) for name in ("model", "tools", "thinking", "output_config")}
    seen = sha256(json.dumps(fixed, sort_keys=True).encode())
    size = 0
    for where, block in _blocks(body):
        text = str(block.get("text", ""))
        seen.update(f"\0{where}\0{text or sign_of(block)}".encode())
        size += len(text.encode()) + CHARS_A_TOKEN * block_tokens(block)
        if block.get("cache_control"):
            yield seen.digest(), size // CHARS_A_TOKEN


def _blocks(body: Body) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for block in _as_blocks(body.get("system")):
        yield "system", block
    for turn in body["messages"]:
        for block in _as_blocks(turn["content"]):
            yield turn["role"], block


def _as_blocks(content: Any) -> list[Mapping[str, Any]]:
    return [{"type": "text", "text": content}] if isinstance(content, str) else content or []


def cache_problem(body: Body) -> str | None:
    """Why the API would refuse the marks of a valid body, or None."""
    system = body.get("system")
    if system is not None and not isinstance(system, (str, list)):
        return "system: Input should be a string or a list of blocks"
    marks = [block["cache_control"] for _, block in _blocks(body) if block.get("cache_control")]
    if len(marks) > MOST_MARKS:
        return f"A maximum of {MOST_MARKS} blocks with cache_control may be provided."
    if any(not isinstance(mark, dict) or mark.get("type") != "ephemeral" for mark in marks):
        return "cache_control.type: Input should be 'ephemeral'"
    return None
