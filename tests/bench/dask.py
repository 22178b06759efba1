"""`--executor dask` beside `async`: rows a second, and CPU of this process for a row.

`python -m tests.bench dask --latency 0.2 --concurrency 100,1000` prints a table. The server is in a
process of its own, and so are Dask's two workers; the scheduler is in this one.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ondine_nb import Pipeline
from ondine_nb.orchestration import DaskExecutor
from tests.asking import texts
from tests.bench.wire import serving
from tests.dask_cluster import two_workers

__all__ = ["Figure", "main"]


@dataclass(frozen=True)
class Figure:
    """What one run took; a median of several."""

    executor: str
    concurrency: int
    rows: int
    rows_a_second: float
    cpu_ms_a_row: float


def run(executor: Any, concurrency: int, rows: int, url: str) -> tuple[float, float]:
    """Rows a second, and ms of CPU of this process for a row; connecting included."""
    with tempfile.TemporaryDirectory() as folder:
        pipeline = Pipeline(
            texts(rows), "Tell: {text}", executor=executor, concurrency=concurrency,
            base_url=url, journal=Path(folder),
        )  # fmt: skip
        began, spent = time.perf_counter(), time.process_time()
        result = asyncio.run(_awaited(pipeline))
        seconds, cpu = time.perf_counter() - began, time.process_time() - spent
        assert result.metrics.processed_rows == rows
        pipeline.journal.close()
    return rows / seconds, cpu * 1_000 / rows


async def _awaited(pipeline: Pipeline) -> Any:
    return await pipeline.execute_async()


def figures(latency: str, widths: list[int], rows: int, times: int) -> list[Figure]:
    made = []
    with two_workers() as cluster, serving(latency) as wire:
        executors = {"async": "async", "dask, two workers": DaskExecutor(cluster)}
        for executor in executors.values():
            run(executor, 10, 100, wire.url)  # imports what is imported on first use
        for width in widths:
            for name, executor in executors.items():
                took = [run(executor, width, rows, wire.url) for _ in range(times)]
                rate, cpu = (statistics.median(each) for each in zip(*took, strict=True))
                made.append(Figure(name, width, rows, round(rate), round(cpu, 3)))
    return made


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench dask")
    parser.add_argument("--latency", default="0.2", help="S, LOW:HIGH or lognormal:MEDIAN:SIGMA")
    parser.add_argument("--concurrency", default="100,1000")
    parser.add_argument("--rows", type=int, default=5_000)
    parser.add_argument("--times", type=int, default=3)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args(arguments)
    widths = [int(width) for width in given.concurrency.split(",")]
    made = figures(given.latency, widths, given.rows, given.times)
    print("| executor | concurrency | rows/s | CPU ms a row |")
    print("| --- | --- | --- | --- |")
    for figure in made:
        print(
            f"| {figure.executor} | {figure.concurrency:,} | {figure.rows_a_second:,.0f} "
            f"| {figure.cpu_ms_a_row:.2f} |"
        )
    if given.json:
        given.json.write_text(json.dumps([asdict(figure) for figure in made], indent=1))
