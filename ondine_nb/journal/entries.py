"""What the journal keeps of a paid answer, and the table that keeps it."""

from __future__ import annotations

import time
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

__all__ = ["COLUMNS", "TABLE", "Bill", "Entry"]

COLUMNS = "key, at, run, begins, max_tokens, readable, latency, model, cost, body"
TABLE = """
CREATE TABLE IF NOT EXISTS answers (
  source TEXT NOT NULL DEFAULT '', n INTEGER NOT NULL,
  key BLOB NOT NULL, at REAL NOT NULL, run TEXT NOT NULL, begins INTEGER NOT NULL,
  max_tokens INTEGER NOT NULL, readable INTEGER NOT NULL, latency REAL NOT NULL,
  model TEXT NOT NULL, cost TEXT, body BLOB NOT NULL, PRIMARY KEY (source, n));
CREATE INDEX IF NOT EXISTS answers_by_key ON answers (key);
"""


@dataclass(slots=True)  # nobody changes one, but a frozen one takes three times as long to make
class Entry:
    """One paid answer as it came from the wire.

    `key` identifies the question, `begins` marks an answer that makes earlier ones to the same
    question void (asked anew), `body` is the raw answer, `readable` whether it could be read as a
    message that answers the question, `latency` is in seconds, `cost` the USD as text (None:
    unknown), `at` a POSIX time. Of a pack's answer each question has a message of its own with its
    share of the bill, one that isn't `readable` where the pack's answer had none for it.
    """

    key: bytes
    run: str
    body: bytes
    max_tokens: int
    begins: bool = False
    readable: bool = True
    latency: float = 0.0
    model: str = ""
    cost: str | None = None
    at: float = field(default_factory=time.time)

    def as_row(self) -> tuple[Any, ...]:
        """The values of `COLUMNS`."""
        return (
            self.key,
            self.at,
            self.run,
            int(self.begins),
            self.max_tokens,
            int(self.readable),
            self.latency,
            self.model,
            self.cost,
            zlib.compress(self.body, 1),
        )

    @classmethod
    def of_rows(cls, rows: Iterable[Sequence[Any]]) -> list[Entry]:
        """The entries with these values of `COLUMNS`."""
        # By place, in the order of the fields: a run over journaled rows makes one of each.
        unpacked = zlib.decompress
        return [
            cls(key, run, unpacked(body), most, begins == 1, readable == 1, took, model, cost, at)
            for key, at, run, begins, most, readable, took, model, cost, body in rows
        ]


@dataclass(frozen=True, slots=True)
class Bill:
    """What one answer cost: `row` is its place in its file, the rest as in `Entry`."""

    row: int
    run: str
    model: str
    at: float
    cost: str | None
