"""What a journal of many answers costs: its size, taking it over, and finding answers in it.

The answers of a process that ended are taken over into the store once, by the next run; from then
on each chunk of 250 rows is one query.
"""

from __future__ import annotations

import argparse
import json
import secrets
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from hashlib import blake2b
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory

from ondine_nb.journal.entries import Entry
from ondine_nb.journal.files import Files
from tests.bench.report import save, table

__all__ = ["Figure", "main", "measure"]

MARKS = (100_000, 1_000_000, 5_000_000)
_TRANSACTION = 10_000
_KEYS = 250  # as many as a chunk has rows
_LOOKUPS = 200


@dataclass(frozen=True)
class Figure:
    """A store of `rows` answers: megabytes, seconds to take over `added` of them, ms a look-up."""

    rows: int
    added: int
    megabytes: float
    takeover: float
    reopened: float
    lookup: float


def measure(folder: Path, marks: Sequence[int]) -> list[Figure]:
    """Let the store in `folder` grow from mark to mark, each time by a process that ended."""
    figures, rows = [], 0
    for mark in marks:
        _fill(folder, range(rows, mark))
        files = Files(folder)
        files.open()
        takeover = _seconds(files.merge_ended)
        reopened = _seconds(files.merge_ended)
        lookup = _lookup(files, mark)
        files.close()
        size = files.store_path.stat().st_size / 1e6
        figures.append(Figure(mark, mark - rows, size, takeover, reopened, lookup))
        rows = mark
        print(json.dumps(asdict(figures[-1])), flush=True)
    return figures


def _seconds(work: object) -> float:
    assert callable(work)
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def _key(row: int) -> bytes:
    return blake2b(str(row).encode(), digest_size=20).digest()


def _fill(folder: Path, rows: range) -> None:
    files = Files(folder)
    files.open()
    for start in range(rows.start, rows.stop, _TRANSACTION):
        files.begin()
        for row in range(start, min(start + _TRANSACTION, rows.stop)):
            files.insert(_entry(row))
        files.commit()
    files.close()


def _entry(row: int) -> Entry:
    """As the API answers: an id of its own, so not all of it can be compressed."""
    text = f"The writer of review {row} is content, and would have liked a manual in English."
    message = {
        "model": "claude-haiku-5-5",
        "id": f"msg_{secrets.token_urlsafe(18)}",
        "type": "message",
        "role": "assistant",
        "content": [{"type": "text", "text": text}],
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": {
            "input_tokens": 120 + row % 97,
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": 0,
            "output_tokens": 18 + row % 7,
            "service_tier": "standard",
        },
    }
    body = json.dumps(message).encode()
    return Entry(_key(row), "run", body, 1024, model="claude-haiku-5-5", cost="0.000225")


def _lookup(files: Files, rows: int) -> float:
    """Milliseconds to find the answers of one chunk, anywhere in the store."""
    random = Random(0)
    chunks = [list(map(_key, random.sample(range(rows), _KEYS))) for _ in range(_LOOKUPS)]
    began = time.perf_counter()
    for keys in chunks:
        assert len(files.find(keys, None, True)) == _KEYS
    return (time.perf_counter() - began) / _LOOKUPS * 1e3


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench journal", description=__doc__)
    parser.add_argument("--rows", type=int, nargs="+", default=MARKS)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args(arguments)
    with TemporaryDirectory() as temporary:
        figures = measure(Path(temporary), sorted(given.rows))
    save(given.json, {"figures": [asdict(each) for each in figures]})
    heads = ("answers", "MB", "taken over", "seconds", "nothing to take over, s", "chunk found, ms")
    lines = [
        [f"{each.rows:,}", f"{each.megabytes:,.0f}", f"{each.added:,}", f"{each.takeover:.1f}",
         f"{each.reopened:.3f}", f"{each.lookup:.1f}"]
        for each in figures
    ]  # fmt: skip
    print(table(heads, lines))
