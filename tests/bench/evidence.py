"""What it takes to find quotes in their texts, how well it is done, and whether the loop goes on.

Texts are real: Python's manual, licences and descriptions of installed packages; long ones are many
of them put together. Milliseconds are of this process's CPU, for one quote in a text that nothing
was made of yet; the lag is how much later than asked a timer of the loop is, beside a run whose
answers quote in all of these ways, and beside the same run without evidence. The server is a
process of its own.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import multiprocessing
import random
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pandas as pd

from ondine_nb import Pipeline
from ondine_nb.evaluation.evidence import Finder
from tests.bench.lag import lags_beside, late
from tests.bench.report import save, table
from tests.evaluation.evidence.quoting import QUOTES, quoted, real_texts, rows
from tests.server import MessagesServer
from tests.server.answers import prompt_of

__all__ = ["Figure", "Lag", "lag", "main", "measure", "quoting"]

_ASK = "What does it say?\n"


@dataclass(frozen=True)
class Figure:
    """One kind of quote in texts of so many characters: ms a quote, shares by match."""

    kind: str
    characters: int
    quotes: int
    median: float
    worst: float
    exact: float
    near: float
    approximate: float
    missing: float


@dataclass(frozen=True)
class Lag:
    """A run over so many rows: its seconds, and the loop's lags in ms beside it."""

    rows: int
    evidence: bool
    seconds: float
    p99: float
    worst: float


def measure(kind: str, count: int, characters: int | None) -> Figure:
    """`count` quotes in texts as they are, or put together to so many characters."""
    took, found, lengths = [], Counter[str](), []
    for text, dice in rows(count) if characters is None else _long(count, characters):
        quote = quoted(text, kind, dice)
        if quote is None:
            continue
        before = time.process_time()
        found[Finder({"text": text}).find(quote).match] += 1
        took.append((time.process_time() - before) * 1000)
        lengths.append(len(text))
    took.sort()
    shares = [found[word] / len(took) for word in ("exact", "near", "approximate", "missing")]
    middle, length = took[len(took) // 2], sorted(lengths)[len(lengths) // 2]
    return Figure(kind, length, len(took), middle, took[-1], *shares)


def _long(count: int, characters: int) -> Any:
    texts = real_texts()
    for at in range(count):
        dice = random.Random(at)
        pieces, length = list[str](), 0
        while length < characters:
            pieces.append(dice.choice(texts))
            length += len(pieces[-1])
        yield "\n".join(pieces)[:characters], dice


async def lag(count: int, url: str, *, evidence: bool) -> Lag:
    """A run over `count` real texts, and how late a timer is beside it."""
    given = [text for text, _ in rows(count)]
    with tempfile.TemporaryDirectory() as folder:
        pipeline = Pipeline(
            pd.DataFrame({"text": given}),
            _ASK + "{text}",
            schema="value: int",
            evidence="all" if evidence else None,
            base_url=url,
            journal=folder,
        )
        began = time.perf_counter()
        lags = await lags_beside(pipeline.execute_async())
        seconds = time.perf_counter() - began
        pipeline.journal.close()
    return Lag(count, evidence, seconds, *late(lags))


@contextlib.contextmanager
def quoting(count: int) -> Iterator[str]:
    """The URL of a server that quotes each of `count` real texts in one of the ways."""
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=_serve, args=(count, there))
    process.start()
    try:
        yield here.recv()
    finally:
        here.send("enough")
        process.join()


def _serve(count: int, pipe: Connection) -> None:
    quotes = {text: _quote(text, at) for at, (text, _) in enumerate(rows(count))}

    def said(body: Any) -> str:
        text = prompt_of(body).removeprefix(_ASK)
        return json.dumps({"value_evidence": quotes.get(text, ""), "value": 1})

    with MessagesServer(answer=said) as server:
        pipe.send(server.url)
        pipe.recv()


def _quote(text: str, at: int) -> str:
    kind = list(QUOTES)[at % len(QUOTES)]
    return quoted(text, kind, random.Random(at)) or "nothing like it"


def main(arguments: Sequence[str]) -> None:
    options = argparse.ArgumentParser(prog="python -m tests.bench evidence", description=__doc__)
    options.add_argument("--rows", type=int, default=2000)
    options.add_argument("--json", type=Path, help="write the figures there")
    given = options.parse_args(arguments)
    sizes = [(given.rows, None), (20, 100_000), (20, 500_000), (10, 2_000_000)]
    figures = [measure(kind, count, size) for count, size in sizes for kind in QUOTES]
    heads = ["quote", "characters", "quotes", "ms", "worst", "exact", "near", "approx.", "missing"]
    print(table(heads, [_line(figure) for figure in figures]))
    with quoting(given.rows) as url:
        asyncio.run(lag(20, url, evidence=True))  # what is loaded on first use isn't measured
        lags = [asyncio.run(lag(given.rows, url, evidence=each)) for each in (True, False)]
    for it in lags:
        how = "with" if it.evidence else "without"
        print(f"{it.rows:,} rows {how} evidence: {it.seconds:.1f} s, the loop's lag in ms at p99")
        print(f"{it.p99:.0f}, at worst {it.worst:.0f}")
    save(given.json, [asdict(it) for it in (*figures, *lags)])


def _line(it: Figure) -> list[str]:
    shares = (it.exact, it.near, it.approximate, it.missing)
    plain = [it.kind, f"{it.characters:,}", f"{it.quotes:,}", f"{it.median:.2f}", f"{it.worst:.0f}"]
    return [*plain, *(f"{100 * share:.2f} %" for share in shares)]
