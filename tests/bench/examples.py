"""What it takes to find the nearest of many labels for each row, and whether the loop goes on.

Texts are of made-up words, some of them common, as words are. Seconds and milliseconds are of this
process's CPU; the lag is how much later than asked a timer of the loop is, beside the picking and
for as long without it.
"""

from __future__ import annotations

import argparse
import asyncio
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from random import Random

import pandas as pd

from ondine_nb.evaluation import Examples, examples_of
from ondine_nb.prompts import Template
from tests.bench.lag import lags_beside, late
from tests.bench.report import save, table

__all__ = ["Figure", "main", "measure"]

_CHUNK = 250  # rows that are prepared at once
_LETTERS = "etaoinshrdlucmfwypvbgk"


@dataclass(frozen=True)
class Figure:
    """Among `labels` of so many `characters`: CPU s once, CPU ms a row, lags in ms."""

    labels: int
    characters: int
    first: float
    row: float
    lag: float
    worst: float
    idle_lag: float
    idle_worst: float


async def measure(labels: int, words: int, rows: int) -> Figure:
    """The nearest eight of `labels` for each of `rows`, texts of so many `words`."""
    draw = Random(0)
    texts = _texts(draw, 2 * labels + rows, words)
    gold = pd.DataFrame({"text": texts[: 2 * labels], "response": "a"})
    template = Template.compile("{text}", ["text"])
    examples = examples_of(gold, template=template, schema=None, by="nearest")
    asked = [(text,) for text in texts[2 * labels :]]
    before = time.process_time()
    await asyncio.to_thread(examples.before, asked[:1])
    first = time.process_time() - before
    before, began = time.process_time(), time.perf_counter()
    lags = await lags_beside(_picked(examples, asked))
    row = (time.process_time() - before) / rows * 1000
    seconds = time.perf_counter() - began
    idle = await lags_beside(asyncio.sleep(seconds))
    length = sum(map(len, texts)) // len(texts)
    return Figure(len(examples.pool), length, first, row, *late(lags), *late(idle))


async def _picked(examples: Examples, asked: Sequence[tuple[str]]) -> None:
    for start in range(0, len(asked), _CHUNK):
        await asyncio.to_thread(examples.before, asked[start : start + _CHUNK])


def _texts(draw: Random, n: int, words: int) -> list[str]:
    known = ["".join(draw.choices(_LETTERS, k=draw.randint(2, 9))) for _ in range(3000)]
    often = [1 / (at + 1) for at in range(len(known))]
    return [" ".join(draw.choices(known, often, k=words)) for _ in range(n)]


def main(arguments: Sequence[str]) -> None:
    options = argparse.ArgumentParser(prog="python -m tests.bench examples", description=__doc__)
    options.add_argument("--rows", type=int, default=2000)
    options.add_argument("--labels", type=int, nargs="+", default=[1_000, 10_000])
    options.add_argument("--json", type=Path, help="write the figures there")
    given = options.parse_args(arguments)
    figures = [
        asyncio.run(measure(labels, words, given.rows))
        for labels in given.labels
        for words in (14, 150)
    ]
    heads = (
        "labels",
        "characters",
        "once, s",
        "a row, ms",
        "lag p99",
        "worst",
        "idle p99",
        "worst",
    )
    print(table(heads, [_line(figure) for figure in figures]))
    save(given.json, [asdict(figure) for figure in figures])


def _line(figure: Figure) -> list[str]:
    lags = (figure.lag, figure.worst, figure.idle_lag, figure.idle_worst)
    plain = [f"{figure.labels:,}", f"{figure.characters:,}"]
    return [*plain, f"{figure.first:.2f}", f"{figure.row:.2f}", *(f"{lag:.0f}" for lag in lags)]
