"""Rows from Parquet to Parquet through an in-process provider: rows a second, and peak memory."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from ondine_nb import Pipeline, Run
from ondine_nb.orchestration import ExecutionContext
from tests.echo import Echo

__all__ = ["Figure", "main", "measure"]

MARKS = (100_000, 250_000, 500_000, 1_000_000)
_BLOCK = 50_000


@dataclass(frozen=True)
class Figure:
    """How it stood when `rows` were done: seconds since the start, and megabytes of memory."""

    rows: int
    seconds: float
    rss: float
    peak: float

    @classmethod
    def now(cls, rows: int, seconds: float) -> Figure:
        lines = Path("/proc/self/status").read_text().splitlines()
        kilobytes = {line.split(":")[0]: line.split()[1] for line in lines if line.endswith("kB")}
        rss, peak = (int(kilobytes[name]) / 1024 for name in ("VmRSS", "VmHWM"))
        return cls(rows, round(seconds, 1), round(rss), round(peak))


class Watch:
    """An observer that notes a figure at each of `marks` rows."""

    def __init__(self, marks: Sequence[int], tell: Callable[[Figure], None]) -> None:
        self.left, self.tell = list(marks), tell
        self.figures: list[Figure] = []
        self.began = time.perf_counter()

    def __getattr__(self, name: str) -> Callable[..., None]:
        if not name.startswith("on_"):
            raise AttributeError(name)
        return lambda *_: None

    def on_progress_update(self, context: ExecutionContext) -> None:
        while self.left and context.done_rows >= self.left[0]:
            self.left.pop(0)
            self.note(context.done_rows)

    def note(self, rows: int) -> None:
        self.figures.append(Figure.now(rows, time.perf_counter() - self.began))
        self.tell(self.figures[-1])


def write_input(path: Path, rows: int) -> None:
    """A Parquet file of short texts, written block by block: memory is measured later."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = pa.schema({"id": pa.int64(), "text": pa.string()})
    with pq.ParquetWriter(path, schema) as writer:
        for start in range(0, rows, _BLOCK):
            block = range(start, min(start + _BLOCK, rows))
            text = [f"Review {n}: it does what it should, for about {n % 97} days." for n in block]
            writer.write_table(pa.table({"id": list(block), "text": text}, schema=schema))


def measure(
    folder: Path,
    rows: int,
    marks: Sequence[int] = MARKS,
    *,
    tell: Callable[[Figure], None] = lambda figure: None,
    **options: Any,
) -> list[Figure]:
    """Stream `rows` rows in `folder`; figures at the marks, and one at the end."""
    source, to = folder / "in.parquet", folder / "out.parquet"
    if not source.exists():
        write_input(source, rows)
    provider = Echo()
    provider.asked = None
    watch = Watch(marks, tell)
    pipeline = Pipeline(
        source,
        "Say: {text}",
        to=to,
        provider=provider,
        journal=folder / "journal",
        observers=[watch],  # type: ignore[list-item]
        **options,
    )
    result = Run(pipeline).execute()
    watch.note(result.metrics.processed_rows)
    assert result.metrics.processed_rows == rows, result.metrics
    return watch.figures


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench stream", description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--chunk-size", type=int, default=1_000)
    parser.add_argument("--concurrency", default="64", help="rows at once, or auto")
    parser.add_argument("--folder", type=Path, help="default: a temporary one")
    given = parser.parse_args(arguments)
    with TemporaryDirectory() as temporary:
        folder = given.folder or Path(temporary)
        write_input(folder / "in.parquet", given.rows)
        figures = measure(
            folder,
            given.rows,
            tell=lambda figure: print(json.dumps(asdict(figure)), flush=True),
            chunk_size=given.chunk_size,
            concurrency=given.concurrency,
        )
    print(f"{figures[-1].rows / figures[-1].seconds:,.0f} rows/s, peak {figures[-1].peak:.0f} MB")
