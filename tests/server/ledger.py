"""The books of the loopback server: what came in, and what was billed."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from .cache import UNCACHED, Hit

__all__ = ["Arrival", "Billed", "Ledger"]


@dataclass(frozen=True, slots=True)
class Billed:
    """One request that was paid for. `delivered` is False when its answer could not be read."""

    prompt: str
    model: str
    input_tokens: int
    output_tokens: int
    cache_creation_input_tokens: int
    cache_read_input_tokens: int
    delivered: bool
    fault: str | None
    at: float
    request_id: str
    max_tokens: int
    batch: bool = False


@dataclass(slots=True)
class Arrival:
    """One request for an answer, whatever became of it. `attempt` counts from 1 for each prompt."""

    prompt: str
    body: Any
    headers: Mapping[str, str]
    attempt: int
    fault: str | None = None
    cached: Hit = UNCACHED
    at: float = field(default_factory=time.time)


class Ledger:
    """What was billed, in the order of billing."""

    def __init__(self) -> None:
        self._entries: list[Billed] = []
        self._lock = threading.Lock()

    def add(self, entry: Billed) -> None:
        with self._lock:
            self._entries.append(entry)

    @property
    def entries(self) -> list[Billed]:
        with self._lock:
            return list(self._entries)

    @property
    def requests(self) -> int:
        return len(self._entries)

    def by_prompt(self) -> Counter[str]:
        """How often each prompt was paid for."""
        return Counter(entry.prompt for entry in self.entries)

    def cost(
        self,
        price_in: Decimal | str | int,
        price_out: Decimal | str | int,
        *,
        cache_write: str = "1.25",
        cache_read: str = "0.1",
    ) -> Decimal:
        """USD at prices per million tokens; `cache_write` and `cache_read` are of `price_in`."""
        weighed = sum(
            entry.input_tokens * Decimal(price_in)
            + entry.cache_creation_input_tokens * Decimal(price_in) * Decimal(cache_write)
            + entry.cache_read_input_tokens * Decimal(price_in) * Decimal(cache_read)
            + entry.output_tokens * Decimal(price_out)
            for entry in self.entries
        )
        return weighed / Decimal(1_000_000)
