"""Who is measured, each in a fresh process: `python -m tests.bench.contestants NAME --url …`.

`ours` is a run with everything on: journal, budget, prices, checkpoints, the notebook's live card.
`sdk` is what people write by hand, `aiohttp` the least that can be done to post the same JSON.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeAlias

__all__ = [
    "CONTESTANTS",
    "KEY",
    "MODEL",
    "QUESTION",
    "TICK",
    "TOOL",
    "Figures",
    "Task",
    "lags",
    "main",
    "memory",
    "reviews",
    "run_of",
]

MODEL = "claude-haiku-5-5"
KEY = "sk-ant-api03-a-key-for-the-loopback-server"
QUESTION = "How does the writer of this review feel? "
SCHEMA = "sentiment: positive|negative|neutral, score: float"
TOOL = "Feeling"  # how the schema is called where it travels as a tool
WARM_ROWS = 20
TICK = 0.005
_PART = 10_000


@dataclass(frozen=True)
class Task:
    """What is to be done: `rows` questions, `concurrency` at once, text or `schema` answers."""

    url: str
    rows: int
    concurrency: int
    schema: bool = False
    folder: Path = Path()

    def warm(self) -> Task:
        """A few rows, so that imports and the first connection aren't measured."""
        return Task(self.url, WARM_ROWS, 4, self.schema, self.folder)


@dataclass
class Figures:
    """What it took: seconds, CPU seconds, megabytes before and at the peak, lags in ms."""

    rows: int = 0
    seconds: float = 0.0
    cpu: float = 0.0
    rss: float = 0.0
    peak: float = 0.0
    lags: dict[str, float] = field(default_factory=dict)
    journal: int = 0


def memory(name: str) -> float:
    """Megabytes of this process: `VmRSS` now, `VmHWM` at its peak."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(name):
            return int(line.split()[1]) / 1024
    raise KeyError(name)


def reviews(rows: int, mark: str = "", start: int = 0) -> list[str]:
    """Texts of about 120 characters, no two alike."""
    said = "it does what it should, though the box was dented and the manual is in Dutch only"
    numbers = range(start, start + rows)
    return [f"Review {mark}{n}: {said}, for about {n % 97} days." for n in numbers]


def _body(text: str, task: Task, form: dict[str, Any] | None) -> dict[str, Any]:
    body: dict[str, Any] = {
        "max_tokens": 1024,
        "messages": [{"role": "user", "content": QUESTION + text}],
        "model": MODEL,
        "thinking": {"type": "disabled"},
    }
    return body if form is None else body | {"output_config": form}


def _form(task: Task) -> dict[str, Any] | None:
    """What a schema adds to a request: the same JSON from everybody."""
    if not task.schema:
        return None
    from anthropic import transform_schema

    from ondine_nb.prompts.schema import parse_schema

    schema = transform_schema(parse_schema(SCHEMA).json_schema)
    return {"format": {"type": "json_schema", "schema": schema}}


# -- (a)


async def bare_aiohttp(task: Task, texts: list[str]) -> int:
    """Workers that post and read JSON, and nothing else."""
    import aiohttp

    form, url = _form(task), f"{task.url}/v1/messages"
    answers: list[Any] = [None] * len(texts)
    headers = {"authorization": f"Bearer {KEY}", "anthropic-version": "2023-06-01"}
    todo = iter(enumerate(texts))

    async def work(session: aiohttp.ClientSession) -> None:
        for at, text in todo:
            async with session.post(url, json=_body(text, task, form)) as response:
                message = await response.json()
            answers[at] = message["content"][0]["text"]

    connector = aiohttp.TCPConnector(limit=task.concurrency)
    async with aiohttp.ClientSession(connector=connector, headers=headers) as session:
        await asyncio.gather(*(work(session) for _ in range(task.concurrency)))
    return sum(answer is not None for answer in answers)


# -- (b)


async def bare_sdk(task: Task, texts: list[str]) -> int:
    """A semaphore around `messages.create`, and a task for each row."""
    import anthropic

    form = _form(task)
    gate = asyncio.Semaphore(task.concurrency)

    async def ask(client: anthropic.AsyncAnthropic, text: str) -> Any:
        async with gate:
            message = await client.messages.create(**_body(text, task, form))
        said = "".join(block.text for block in message.content if block.type == "text")
        return json.loads(said) if task.schema else said

    http = anthropic.DefaultAioHttpClient()
    async with anthropic.AsyncAnthropic(base_url=task.url, api_key=KEY, http_client=http) as client:
        answers = await asyncio.gather(*(ask(client, text) for text in texts))
    return sum(answer is not None for answer in answers)


# -- ours


async def ours(task: Task, texts: list[str]) -> int:
    """A run of the package as a cell of a notebook would have it."""
    import pandas as pd

    frame = pd.DataFrame({"text": texts})
    done = await run_of(task, frame)
    assert len(done) == len(frame)
    return int(done.iloc[:, -1].notna().sum())


async def run_of(task: Task, frame: Any, **options: Any) -> Any:
    """What a run of the package gives, with everything on that a notebook has on."""
    from ondine_nb import Pipeline, Run
    from ondine_nb.notebook.card.view import WidgetObserver
    from ondine_nb.providers import keep_probed

    given: dict[str, Any] = {
        "base_url": task.url,
        "model": MODEL,
        "schema": SCHEMA if task.schema else None,
        "concurrency": str(task.concurrency),
        "budget": 100_000,
        "journal": task.folder / "journal",
        **options,
    }
    pipeline = Pipeline(frame, QUESTION + "{text}", **given)
    if task.schema:  # the lean server says the same to everybody, a probe of schemas too
        keep_probed(given["journal"], pipeline.provider, True)
    run = Run(pipeline)
    view = WidgetObserver(run)
    run.context.observers.append(view)
    view.show()
    result = await run.execute_async()
    view.finish()
    return result.data


async def streamed(task: Task, source: Path) -> int:
    """The same from Parquet to Parquet: what is in memory doesn't grow with the rows."""
    import pyarrow.parquet as pq

    to = task.folder / f"{task.rows}.parquet"
    await run_of(task, source, to=str(to))
    return int(pq.read_metadata(to).num_rows)


def _file(task: Task, mark: str) -> Path:
    """The texts as a file, written in parts: the peak of memory is to be the run's."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = task.folder / f"{mark.strip()}{task.rows}-in.parquet"
    with pq.ParquetWriter(path, pa.schema([("text", pa.string())])) as writer:
        for start in range(0, task.rows, _PART):
            texts = reviews(min(_PART, task.rows - start), mark, start)
            writer.write_table(pa.table({"text": texts}))
    return path


def notebook() -> None:
    """A shell that takes widgets to be shown, and makes JSON of all that is sent to a page."""
    import comm
    from comm.base_comm import BaseComm
    from IPython.core.displaypub import DisplayPublisher
    from IPython.core.interactiveshell import InteractiveShell

    class Comm(BaseComm):
        def publish_msg(self, msg_type: str, **content: Any) -> None:
            json.dumps([content.get("data"), content.get("metadata")], default=str)

    class Publisher(DisplayPublisher):
        def publish(self, data: Any, *_: Any, **__: Any) -> None:
            json.dumps(data, default=str)

    shell: Any = InteractiveShell.instance()
    shell.kernel = object()
    shell.display_pub = Publisher()
    comm.create_comm = Comm


Contestant: TypeAlias = Callable[[Task, Any], Awaitable[int]]

CONTESTANTS: dict[str, Contestant] = {
    "aiohttp": bare_aiohttp,
    "sdk": bare_sdk,
    "ours": ours,
    "streamed": streamed,
}


# -- how they are measured


@contextlib.asynccontextmanager
async def lags(tick: float = TICK) -> AsyncIterator[dict[str, float]]:
    """How late a timer of `tick` seconds is, in ms: the median, the 99th percentile, the worst.

    `held` is the 99th percentile of the CPU that the loop's thread took between two ticks: what
    the lag would be if nobody else used the machine.
    """
    late: list[float] = []
    held: list[float] = []
    told: dict[str, float] = {}

    async def watch() -> None:
        cpu = time.thread_time()
        while True:
            due = time.perf_counter() + tick
            await asyncio.sleep(tick)
            late.append((time.perf_counter() - due) * 1000)
            cpu, before = time.thread_time(), cpu
            held.append((cpu - before) * 1000)

    ticking = asyncio.create_task(watch())
    try:
        yield told
    finally:
        ticking.cancel()
        if late:
            told |= {"p50": _at(late, 0.5), "p99": _at(late, 0.99), "max": max(late)}
            told["held"] = _at(held, 0.99)


def _at(values: list[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]


def _data(name: str, task: Task, mark: str = "") -> Any:
    return _file(task, mark) if name == "streamed" else reviews(task.rows, mark)


async def measured(name: str, contestant: Contestant, task: Task, tick: float) -> Figures:
    """Warm up, then run and take the figures."""
    if name in ("ours", "streamed"):
        notebook()
    warm = task.warm()
    await contestant(warm, _data(name, warm, "warm "))
    data = _data(name, task)
    gc.collect()
    figures = Figures(task.rows, rss=memory("VmRSS"))
    async with lags(tick) as figures.lags:
        wall, cpu = time.perf_counter(), time.process_time()
        answered = await contestant(task, data)
        figures.seconds = time.perf_counter() - wall
        figures.cpu = time.process_time() - cpu
    figures.peak = memory("VmHWM")
    figures.journal = sum(path.stat().st_size for path in task.folder.glob("journal/*.db*"))
    assert answered == task.rows, f"{name}: {answered} of {task.rows} rows are answered"
    return figures


def main(contestants: Mapping[str, Contestant]) -> None:
    """Measure the one that the command line names, and print its figures as JSON."""
    parser = argparse.ArgumentParser()
    parser.add_argument("name", choices=contestants)
    parser.add_argument("--url", required=True)
    parser.add_argument("--rows", type=int, required=True)
    parser.add_argument("--concurrency", type=int, required=True)
    parser.add_argument("--schema", action="store_true")
    parser.add_argument("--tick", type=float, default=TICK, help="seconds, of the lag's timer")
    given = vars(parser.parse_args())
    name, tick = given.pop("name"), given.pop("tick")
    with TemporaryDirectory(prefix="ondine-bench-") as folder:
        task = Task(**given, folder=Path(folder))
        print(json.dumps(asdict(asyncio.run(measured(name, contestants[name], task, tick)))))


if __name__ == "__main__":
    main(CONTESTANTS)
