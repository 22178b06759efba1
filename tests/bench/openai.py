"""Chat Completions: ours beside a bare loop on `AsyncOpenAI`, in the same rounds.

`python -m tests.bench openai`. The aim: half of the bare loop's CPU a row, with everything on. The
bare loop has the SDK's client over aiohttp, which is the quicker one of the two that it has.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.bench import contestants
from tests.bench.contestants import KEY, QUESTION, Contestant, Task
from tests.bench.report import measure, middle, ratio, save, table
from tests.bench.wire import serving

__all__ = ["CONTESTANTS", "main"]

MODEL = "gpt-4.1-mini"
PROGRAM = (sys.executable, "-m", "tests.bench.openai")
HEADS = ("latency", "at once", "rows", "who", "rows/s", "CPU ms/row", "peak MB", "CPU to the loop")


async def bare(task: Task, texts: list[str]) -> int:
    """A semaphore around `chat.completions.create`, and a task for each row."""
    import openai

    gate = asyncio.Semaphore(task.concurrency)

    async def ask(client: openai.AsyncOpenAI, text: str) -> Any:
        turn: Any = {"role": "user", "content": QUESTION + text}
        async with gate:
            answer = await client.chat.completions.create(
                model=MODEL, max_completion_tokens=1024, messages=[turn]
            )
        return answer.choices[0].message.content

    url, http = f"{task.url}/v1", openai.DefaultAioHttpClient()
    async with openai.AsyncOpenAI(base_url=url, api_key=KEY, http_client=http) as client:
        answers = await asyncio.gather(*(ask(client, text) for text in texts))
    return sum(answer is not None for answer in answers)


async def ours(task: Task, texts: list[str]) -> int:
    """A run of the package as a cell of a notebook would have it."""
    import pandas as pd

    frame = pd.DataFrame({"text": texts})
    chat = {"base_url": f"{task.url}/v1", "model": f"openai:{MODEL}"}
    done = await contestants.run_of(task, frame, **chat)
    return int(done.iloc[:, -1].notna().sum())


CONTESTANTS: dict[str, Contestant] = {"bare": bare, "ours": ours}


def main(options: Sequence[str]) -> None:
    """Measure both, `--repeat` times one after the other, and print the table."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench openai", description=__doc__)
    parser.add_argument("--rows", type=int, default=5_000)
    parser.add_argument("--concurrency", type=int, nargs="+", default=[50, 500])
    parser.add_argument("--latency", default="0.2")
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args(options)
    lines, found = [], []
    for width in given.concurrency:
        rounds: dict[str, list[Any]] = {name: [] for name in CONTESTANTS}
        for _ in range(given.repeat):
            for name in CONTESTANTS:
                with serving(given.latency) as wire:
                    figures = measure(
                        name, wire.url, rows=given.rows, concurrency=width, program=PROGRAM
                    )
                rounds[name].append(figures)
        for name, each in rounds.items():
            share = ratio(each, rounds["bare"], lambda it: it.cpu)
            lines.append(
                [
                    given.latency, f"{width:,}", f"{given.rows:,}", name,
                    f"{middle(each, lambda it: it.rows / it.seconds):,.0f}",
                    f"{middle(each, lambda it: it.cpu / it.rows * 1000):.3f}",
                    f"{middle(each, lambda it: it.peak):,.0f}", f"{share:.2f}",
                ]
            )  # fmt: skip
        found.append({"concurrency": width, "rounds": rounds})
    print(table(HEADS, lines))
    save(given.json, found)


if __name__ == "__main__":
    contestants.main(CONTESTANTS)
