"""What the journal keeps of a paid answer, and the table that keeps it, with a checksum a row."""

from __future__ import annotations

import struct
import time
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

__all__ = ["BILLED", "COLUMNS", "EPOCH", "TABLE", "Bill", "Entry", "columns_of", "intact"]

EPOCH = 1 << 32  # so many sequence numbers has each start of a run; version 0.1 had none
COLUMNS = "key, at, run, begins, max_tokens, readable, latency, model, cost, body, checked"
BILLED = "n, key, at, run, begins, max_tokens, readable, latency, model, cost, checked"
TABLE = """
CREATE TABLE IF NOT EXISTS answers (
  source TEXT NOT NULL DEFAULT '', n INTEGER NOT NULL,
  key BLOB NOT NULL, at REAL NOT NULL, run TEXT NOT NULL, begins INTEGER NOT NULL,
  max_tokens INTEGER NOT NULL, readable INTEGER NOT NULL, latency REAL NOT NULL,
  model TEXT NOT NULL, cost TEXT, body BLOB NOT NULL, checked INTEGER, PRIMARY KEY (source, n));
CREATE INDEX IF NOT EXISTS answers_by_key ON answers (key);
"""


@dataclass(slots=True)  # nobody changes one, but a frozen one takes three times as long to make
class Entry:
    """One paid answer as it came from the wire.

    `key` identifies the question, `begins` marks an answer that makes earlier ones to the same
    question void (asked anew), `body` is the raw answer, `readable` whether it could be read as a
    message that answers the question, `latency` is in seconds, `cost` the USD as text (None:
    unknown), `at` a POSIX time. Of a pack's answer each question has a message of its own with its
    share of the bill, one that isn't `readable` where the pack's answer had none for it. `sequence`
    grows with each entry that is written, in whichever process (0: not written yet).
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
    sequence: int = field(default=0, compare=False)

    def as_row(self, sequence: int) -> tuple[Any, ...]:
        """`sequence`, which says what was written later, and the values of `COLUMNS`."""
        row = (
            sequence,
            self.key,
            self.at,
            self.run,
            int(self.begins),
            self.max_tokens,
            int(self.readable),
            self.latency,
            self.model,
            self.cost,
        )
        body = _compressed(self.body)
        return (*row, body, _head(*row) << 32 | zlib.crc32(body))

    @classmethod
    def of_rows(cls, rows: Iterable[Sequence[Any]]) -> list[Entry]:
        """The entries of rows as from `as_row`. Raises `ValueError` for one that isn't as it was.

        Rows of version 0.1 have no checksum.
        """
        # By place, in the order of the fields: a run over journaled rows makes one of each.
        unpacked = zlib.decompress
        found = []
        for n, key, at, run, begins, most, readable, took, model, cost, body, checked in rows:
            if checked is not None:
                head = _head(n, key, at, run, begins, most, readable, took, model, cost)
                if checked != head << 32 | zlib.crc32(body):
                    raise _changed(run, n)
            content = unpacked(body)
            found.append(
                cls(key, run, content, most, begins == 1, readable == 1, took, model, cost, at, n)
            )
        return found


_SHORT = 1_000  # bytes: what compressing saves of so few isn't worth the time
_SMALL = 1 << 13  # bytes: what a window of `_WINDOW` bits sees at once
_WINDOW, _MEMORY = 13, 6
_LENGTH = struct.Struct("<HH")


def _compressed(body: bytes) -> bytes:
    """A body as it is stored: what `zlib.decompress` reads.

    Most answers are short, and stay as they are between zlib's head and its checksum, as RFC 1950
    and 1951 have it: that takes a fifteenth of the time, and a seventh when it is read.
    zlib's usual state of 268 kB comes from the system anew each time: for an answer of 1,500 bytes
    that takes 50 microseconds, a small one 8.
    """
    if len(body) <= _SHORT:
        length = _LENGTH.pack(len(body), len(body) ^ 0xFFFF)
        return b"\x78\x01\x01%b%b%b" % (length, body, zlib.adler32(body).to_bytes(4, "big"))
    if len(body) > _SMALL:
        return zlib.compress(body, 1)
    small = zlib.compressobj(1, zlib.DEFLATED, _WINDOW, _MEMORY)
    return small.compress(body) + small.flush()


_NUMBERS = struct.Struct("<qdqqqd")


def _head(
    n: int, key: bytes, at: float, run: str, begins: int, most: int, readable: int, took: float,
    model: str, cost: str | None,
) -> int:  # fmt: skip
    """A checksum of 31 bits of everything but the body: sqlite's integers have a sign."""
    numbers = _NUMBERS.pack(n, at, begins, most, readable, took)
    texts = f"{run}\0{model}\0{cost}".encode()
    return zlib.crc32(key + numbers + texts) & 0x7FFF_FFFF


def _changed(run: Any, sequence: Any) -> ValueError:
    return ValueError(f"answer {sequence} of run {run} isn't as it was written")


def intact(row: Sequence[Any]) -> bool:
    """Whether a row as from `as_row` is as it was written, or can be read where nothing says."""
    *head, body, checked = row
    try:
        told = _head(*head) << 32 | zlib.crc32(body)
        return checked == told if checked is not None else bool(zlib.decompress(body) or True)
    except (struct.error, TypeError, ValueError, zlib.error):
        return False


def columns_of(connection: Any) -> str:
    """`COLUMNS` as a file can give them: version 0.1 wrote none for the checksum."""
    made = "SELECT 1 FROM pragma_table_info('answers') WHERE name = 'checked'"
    if connection.execute(made).fetchone() is None:
        return COLUMNS.replace("checked", "NULL")
    return COLUMNS


@dataclass(frozen=True, slots=True)
class Bill:
    """What one answer cost: `row` is its place in its file, the rest as in `Entry`."""

    row: int
    run: str
    model: str
    at: float
    cost: str | None

    @classmethod
    def of_rows(cls, rows: Iterable[Sequence[Any]]) -> list[Bill]:
        """From rows of a rowid and `BILLED`. Raises `ValueError` for one that isn't as it was."""
        found = []
        for place, *head, checked in rows:
            _, _, at, run, _, _, _, _, model, cost = head
            if checked is not None and checked >> 32 != _head(*head):
                raise _changed(run, head[0])
            found.append(cls(place, run, model, at, cost))
        return found
