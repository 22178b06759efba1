"""What it takes to find quotes in their texts, how well it is done, and whether the loop goes on.

Texts are real: Python's manual, licences and descriptions of installed packages; long ones are many
of them put together. Milliseconds are of this process's CPU, for one quote in a text that nothing
was made of yet; the lag is how much later than asked a timer of the loop is, beside a run whose
answers quote in all of these ways and for as long without it.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from ondine_nb import Pipeline
from ondine_nb.evaluation.evidence import Finder
from tests.bench.report import save, table
from tests.evaluation.evidence.quoting import QUOTES, quoted, real_texts, rows
from tests.server import MessagesServer
from tests.server.answers import prompt_of

__all__ = ["Figure", "Lag", "lag", "main", "measure"]

_TICK = 0.002
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
    """A run over so many rows: its seconds, and the loop's lags in ms, beside it and without."""

    rows: int
    seconds: float
    p99: float
    worst: float
    idle_p99: float
    idle_worst: float


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


async def lag(count: int) -> Lag:
    """A run with evidence over `count` real texts, and how late a timer is beside it."""
    given = [text for text, _ in rows(count)]
    quotes = {text: _quote(text, at) for at, text in enumerate(given)}

    def said(body: Any) -> str:
        text = prompt_of(body).removeprefix(_ASK)
        return json.dumps({"value_evidence": quotes.get(text, ""), "value": 1})

    with MessagesServer(answer=said) as server, tempfile.TemporaryDirectory() as folder:
        pipeline = Pipeline(
            pd.DataFrame({"text": given}),
            _ASK + "{text}",
            schema="value: int",
            evidence="all",
            base_url=server.url,
            journal=folder,
        )
        began = time.perf_counter()
        lags = await _beside(asyncio.ensure_future(pipeline.execute_async()))
        seconds = time.perf_counter() - began
        idle = await _beside(asyncio.ensure_future(asyncio.sleep(seconds)))
        pipeline.journal.close()
    return Lag(count, seconds, *_late(lags), *_late(idle))


def _quote(text: str, at: int) -> str:
    kind = list(QUOTES)[at % len(QUOTES)]
    return quoted(text, kind, random.Random(at)) or "nothing like it"


async def _beside(task: asyncio.Future[Any]) -> list[float]:
    lags = []
    while not task.done():
        before = time.perf_counter()
        await asyncio.sleep(_TICK)
        lags.append((time.perf_counter() - before - _TICK) * 1000)
    await task
    return sorted(lags)


def _late(lags: Sequence[float]) -> tuple[float, float]:
    """The lag that 99 of 100 don't pass, and the worst."""
    return lags[len(lags) * 99 // 100], lags[-1]


def main(arguments: Sequence[str]) -> None:
    options = argparse.ArgumentParser(prog="python -m tests.bench evidence", description=__doc__)
    options.add_argument("--rows", type=int, default=2000)
    options.add_argument("--json", type=Path, help="write the figures there")
    given = options.parse_args(arguments)
    sizes = [(given.rows, None), (20, 100_000), (20, 500_000), (10, 2_000_000)]
    figures = [measure(kind, count, size) for count, size in sizes for kind in QUOTES]
    heads = ["quote", "characters", "quotes", "ms", "worst", "exact", "near", "approx.", "missing"]
    print(table(heads, [_line(figure) for figure in figures]))
    found = asyncio.run(lag(given.rows))
    print(f"\n{found.rows:,} rows in {found.seconds:.1f} s; the loop's lag, ms:")
    print(f"at p99 {found.p99:.0f}, at worst {found.worst:.0f}")
    print(f"without it {found.idle_p99:.0f} and {found.idle_worst:.0f}")
    save(given.json, [asdict(it) for it in (*figures, found)])


def _line(it: Figure) -> list[str]:
    shares = (it.exact, it.near, it.approximate, it.missing)
    plain = [it.kind, f"{it.characters:,}", f"{it.quotes:,}", f"{it.median:.2f}", f"{it.worst:.0f}"]
    return [*plain, *(f"{100 * share:.2f} %" for share in shares)]
