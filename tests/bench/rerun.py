"""A run again over rows that are journaled: in a second process, as a kernel that was restarted."""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

from tests.bench.report import ROOT, save, table

__all__ = ["main"]


def _once(rows: int, folder: Path, schema: bool) -> dict[str, Any]:
    """Seconds of one run by the echo, and how many of its rows came from the journal."""
    import pandas as pd

    from ondine_nb import Pipeline, Run
    from tests.bench.contestants import reviews
    from tests.echo import Echo, answer

    class Provider(Echo):
        """Says what the schema asks for."""

        async def send(self, prompt: str) -> Any:
            said = await super().send(prompt)
            return said if not schema else type(said)(answer('{"mood": "good", "score": 0.5}'))

    provider = Provider()
    provider.asked = None
    frame = pd.DataFrame({"text": reviews(rows)})
    form = "mood: good|bad, score: float" if schema else None
    pipeline = Pipeline(
        frame, "Say: {text}", provider=provider, journal=folder, concurrency="256", schema=form
    )
    from tests.bench.contestants import lags  # the ticker of all measurements

    async def main() -> dict[str, Any]:
        run = Run(pipeline)
        async with lags() as late:
            began, cpu = time.perf_counter(), time.process_time()
            await run.execute_async()
            seconds = time.perf_counter() - began
        spent = time.process_time() - cpu
        told = {"seconds": seconds, "cpu": spent, "journal": run.context.journal_rows}
        return told | {"lags": late, "done": run.context.done_rows}

    return asyncio.run(main())


def _fresh(rows: int, folder: Path, schema: bool) -> dict[str, Any]:
    command = [sys.executable, "-m", "tests.bench", "rerun", "--rows", str(rows)]
    command += ["--inside", str(folder), *["--schema"] * schema]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, check=True, text=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench rerun", description=__doc__)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--schema", action="store_true")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--inside", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    if given.inside is not None:
        print(json.dumps(_once(given.rows, given.inside, given.schema)))
        return
    with TemporaryDirectory() as temporary:
        first = _fresh(given.rows, Path(temporary), given.schema)
        again = [_fresh(given.rows, Path(temporary), given.schema) for _ in range(given.repeat)]
    assert first["journal"] == 0
    for each in again:
        assert each["journal"] == given.rows, each
    save(given.json, {"first": first, "again": again})
    middle = {
        "seconds": median(each["seconds"] for each in again),
        "cpu": median(each["cpu"] for each in again),
        "p99": median(each["lags"]["p99"] for each in again),
        "max": median(each["lags"]["max"] for each in again),
    }
    lines = [
        ["first run", f"{first['seconds']:.2f}", f"{first['cpu']:.2f}",
         f"{first['lags']['p99']:.1f}", f"{first['lags']['max']:.0f}"],
        ["again", f"{middle['seconds']:.2f}", f"{middle['cpu']:.2f}",
         f"{middle['p99']:.1f}", f"{middle['max']:.0f}"],
    ]  # fmt: skip
    heads = (f"{given.rows:,} rows", "seconds", "CPU s", "lag p99 ms", "lag max ms")
    print(table(heads, lines))
