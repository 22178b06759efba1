"""What the journal keeps of batches: whom they ask what, and how far they are.

A batch is recorded before its create call and again when its id is known and when its results are
journaled, so that a later process finds it. Records of one prefix are merged by the furthest state.
"""

from __future__ import annotations

import time
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

__all__ = [
    "BATCHES",
    "CREATED",
    "ENDED",
    "INTENDED",
    "BatchRecord",
    "add_columns",
    "batch_intact",
    "batch_rows",
    "batch_steps",
    "known_ids",
    "open_batches",
    "put_batch",
    "put_rows",
]

INTENDED, CREATED, ENDED = 0, 1, 2
_KEPT_SECONDS = 29 * 24 * 3600.0  # so long the API keeps results
_KEY_BYTES = 20
_COLUMNS = "prefix, at, run, provider, model, max_tokens, bound, id, state, keys, begins, checked"
_MARKS = ",".join("?" * 12)
_ADDED = {"begins": "BLOB", "checked": "INTEGER"}  # to what version 0.1 made
_ID, _STATE = 7, 8
BATCHES = """
CREATE TABLE IF NOT EXISTS batches (
  prefix TEXT PRIMARY KEY, at REAL NOT NULL, run TEXT NOT NULL, provider TEXT NOT NULL,
  model TEXT NOT NULL, max_tokens INTEGER NOT NULL, bound TEXT NOT NULL, id TEXT NOT NULL,
  state INTEGER NOT NULL, keys BLOB NOT NULL, begins BLOB, checked INTEGER);
"""


@dataclass(frozen=True, slots=True)
class BatchRecord:
    """One batch. Its requests' ids are `prefix` with their number; `keys` are their questions'.

    The answers are those of `run`, which has asked, whoever reads them; `begins` are the numbers of
    the requests whose answers make earlier ones void, as `Entry.begins` says. `bound` is the most
    that it can cost, USD as text, `id` the API's name for it ("" until the create call is
    answered), `at` a POSIX time.
    """

    prefix: str
    run: str
    provider: str
    model: str
    max_tokens: int
    keys: tuple[bytes, ...]
    bound: str = "0"
    id: str = ""
    state: int = INTENDED
    at: float = field(default_factory=time.time)
    begins: frozenset[int] = frozenset()

    def custom_id(self, number: int) -> str:
        """The name of the request with this number, from 0."""
        return f"{self.prefix}-{number}"

    def number(self, custom_id: str) -> int | None:
        """The number of the request with this name; None where it isn't one of this batch."""
        prefix, _, number = custom_id.rpartition("-")
        if prefix != self.prefix or not (number.isascii() and number.isdigit()):
            return None
        return int(number) if int(number) < len(self.keys) else None

    def _as_row(self) -> tuple[Any, ...]:
        asked = (self.run, self.provider, self.model, self.max_tokens)
        begins = bytes(number in self.begins for number in range(len(self.keys)))
        known = (self.bound, self.id, self.state, b"".join(self.keys), begins)
        return _with_checksum((self.prefix, self.at, *asked, *known))

    @classmethod
    def _of_row(cls, row: Sequence[Any]) -> BatchRecord:
        if not batch_intact(row):
            raise ValueError(f"the record of batch {row[0]} isn't as it was written")
        prefix, at, run, provider, model, max_tokens, bound, name, state, joined, flags, _ = row
        starts = range(0, len(joined), _KEY_BYTES)
        keys = tuple(joined[start : start + _KEY_BYTES] for start in starts)
        begins = frozenset(number for number, flag in enumerate(flags or b"") if flag)
        return cls(prefix, run, provider, model, max_tokens, keys, bound, name, state, at, begins)


def _with_checksum(values: tuple[Any, ...]) -> tuple[Any, ...]:
    told = values if values[-1] is not None else values[:-1]  # as it was before there was `begins`
    return (*values, zlib.crc32(repr(told).encode("utf-8", "surrogateescape")))


def batch_intact(row: Sequence[Any]) -> bool:
    """Whether a file's record is as it was written; version 0.1 wrote nothing to tell by."""
    return row[-1] is None or tuple(row) == _with_checksum(tuple(row[:-1]))


def put_batch(connection: Any, record: BatchRecord) -> None:
    """Write a record, or what is newer of it."""
    put_rows(connection, [record._as_row()])


def open_batches(connections: Sequence[Any], provider: str) -> list[BatchRecord]:
    """The batches of `provider` whose results may be there and aren't journaled, oldest first."""
    found: dict[str, BatchRecord] = {}
    for connection in connections:
        for row in _rows(connection, "WHERE at > ?", (time.time() - _KEPT_SECONDS,)):
            record = BatchRecord._of_row(row)
            known = found.get(record.prefix)
            if record.provider == provider and (known is None or known.state <= record.state):
                found[record.prefix] = record
    waiting = [record for record in found.values() if record.state != ENDED]
    return sorted(waiting, key=lambda record: record.at)


def known_ids(connections: Sequence[Any]) -> set[str]:
    """The API's names of all batches that are recorded."""
    rows = (row for connection in connections for row in _rows(connection))
    return {record.id for record in map(BatchRecord._of_row, rows) if record.id}


def batch_rows(connection: Any) -> list[tuple[Any, ...]]:
    """A file's records, as `put_rows` takes them."""
    return list(_rows(connection))


def batch_steps(connection: Any) -> int:
    """How many steps the batches of a file have made: it grows with each that is recorded."""
    return sum(1 + int(row[_STATE]) for row in _rows(connection) if batch_intact(row))


def put_rows(connection: Any, rows: Iterable[tuple[Any, ...]]) -> None:
    """Take records over from another file: of each the id and state of whichever is further."""
    for row in rows:
        (known,) = [*_rows(connection, "WHERE prefix = ?", row[:1])] or [row]
        if row[_STATE] >= known[_STATE]:
            values = (*known[:_ID], *row[_ID : _STATE + 1], *known[_STATE + 1 : -1])
            connection.execute(
                f"INSERT OR REPLACE INTO batches ({_COLUMNS}) VALUES ({_MARKS})",  # noqa: S608
                _with_checksum(values),
            )


def add_columns(connection: Any) -> None:
    """Let a file that version 0.1 made take checksums too, and what else was added since."""
    for name in _missing(connection):
        connection.execute(f"ALTER TABLE batches ADD COLUMN {name} {_ADDED[name]}")


def _rows(connection: Any, where: str = "", values: Sequence[Any] = ()) -> Iterator[Any]:
    """Rows of a file's table; none where an earlier version made the file."""
    made = "SELECT 1 FROM sqlite_master WHERE name = 'batches'"
    if connection.execute(made).fetchone() is not None:
        columns = _columns_of(connection)
        yield from connection.execute(f"SELECT {columns} FROM batches {where}", values)  # noqa: S608


def _columns_of(connection: Any) -> str:
    columns = _COLUMNS
    for name in _missing(connection):
        columns = columns.replace(name, "NULL")
    return columns


def _missing(connection: Any) -> list[str]:
    made = {name for (name,) in connection.execute("SELECT name FROM pragma_table_info('batches')")}
    return [name for name in _ADDED if name not in made]
