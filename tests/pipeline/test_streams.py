"""Pipelines over what need not fit in memory: files, plans, generators in, frames or files out."""

from __future__ import annotations

import asyncio
import json
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import polars as pl
import pytest

from ondine_nb import Pipeline, Run
from ondine_nb.errors import ConfigurationError, RunError
from ondine_nb.orchestration import ExecutionContext, LoggingObserver, PipelineStage, Row, RowStage
from tests import forks
from tests.asking import Asker, echoes, journaled, texts
from tests.echo import Echo
from tests.server import MessagesServer

N = 23


@pytest.fixture
def asker(server: MessagesServer, home: Path) -> Asker:
    return Asker(server, home)


def rows(n: int = N) -> Iterator[dict[str, Any]]:
    for at in range(n):
        yield {"text": f"text {at}", "n": at}


def as_csv(folder: Path) -> Path:
    texts(N).assign(n=range(N)).to_csv(folder / "in.csv", index=False)
    return folder / "in.csv"


def as_parquet(folder: Path) -> str:
    texts(N).assign(n=range(N)).to_parquet(folder / "in.parquet", index=False)
    return str(folder / "in.parquet")


def as_jsonl(folder: Path) -> Path:
    texts(N).assign(n=range(N)).to_json(folder / "in.jsonl", orient="records", lines=True)
    return folder / "in.jsonl"


def as_frames(folder: Path) -> Iterator[pd.DataFrame]:
    whole = texts(N).assign(n=range(N))
    return iter([whole.iloc[:5], whole.iloc[5:20], whole.iloc[20:]])


SOURCES: dict[str, Callable[[Path], Any]] = {
    "CSV": as_csv,
    "Parquet": as_parquet,
    "JSONL": as_jsonl,
    "LazyFrame": lambda folder: pl.from_pandas(texts(N).assign(n=range(N))).lazy(),
    "rows": lambda folder: rows(),
    "frames": as_frames,
    "pandas": lambda folder: texts(N).assign(n=range(N)),
    "polars": lambda folder: pl.from_pandas(texts(N).assign(n=range(N))),
}


def column(frame: Any, name: str) -> list[Any]:
    return list(frame[name])


@pytest.mark.parametrize("source", SOURCES)
def test_row_i_belongs_to_row_i_from_whatever_it_is_read(
    asker: Asker, tmp_path: Path, source: str
) -> None:
    pipeline = asker.pipeline(SOURCES[source](tmp_path), chunk_size=5)
    chunks = list(pipeline.stream())
    assert len(chunks) == 5
    assert [n for chunk in chunks for n in column(chunk, "n")] == list(range(N))
    answers = [answer for chunk in chunks for answer in column(chunk, "response")]
    assert answers == echoes(texts(N))


@pytest.mark.parametrize("source", SOURCES)
def test_without_a_file_the_result_is_one_frame(asker: Asker, tmp_path: Path, source: str) -> None:
    run = Run(asker.pipeline(SOURCES[source](tmp_path), chunk_size=5))
    result = run.execute()
    assert column(result.data, "response") == column(run.frame, "response") == echoes(texts(N))
    assert column(result.data, "n") == list(range(N))
    assert (result.metrics.total_rows, result.metrics.processed_rows) == (N, N)
    assert run.context.total_rows == N


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("ending", ["csv", "parquet", "jsonl"])
def test_results_are_written_as_they_come(
    asker: Asker, tmp_path: Path, source: str, ending: str
) -> None:
    to = tmp_path / f"out.{ending}"
    run = Run(asker.pipeline(SOURCES[source](tmp_path), chunk_size=5, to=to))
    data = run.execute().data
    read = {
        "csv": pd.read_csv,
        "parquet": pd.read_parquet,
        "jsonl": lambda path: pd.read_json(path, lines=True),
    }[ending](to)
    assert list(read["response"]) == echoes(texts(N))
    assert list(read["n"]) == list(range(N))
    if source in ("pandas", "polars"):
        assert column(data, "response") == echoes(texts(N))
    else:
        assert data == run.frame == to
    again = Run(asker.pipeline(to, "Tell: {text}", column="again")).execute()
    assert column(again.data, "again") == echoes(texts(N))
    assert asker.server.ledger.requests == N


async def test_the_async_twin_streams_on_the_running_loop(asker: Asker, tmp_path: Path) -> None:
    pipeline = asker.pipeline(as_csv(tmp_path), chunk_size=10)
    chunks = [chunk async for chunk in pipeline.stream_async()]
    assert [len(chunk) for chunk in chunks] == [10, 10, 3]


def test_a_stream_of_no_rows_gives_its_columns(asker: Asker, tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_text("text,n\n")
    run = asker.run(tmp_path / "in.csv", schema="mood: good|bad", to=tmp_path / "out.csv")
    assert run.state == "done"
    assert (tmp_path / "out.csv").read_text().strip() == "text,n,mood"
    chunks = list(asker.pipeline(tmp_path / "in.csv").stream())
    assert [list(chunk.columns) for chunk in chunks] == [["text", "n", "response"]]


def test_a_stream_says_which_rows_failed(tmp_path: Path) -> None:
    def plan(body: Any, attempt: int) -> str | None:
        return "400" if "text 7" in str(body) else None

    with MessagesServer(plan=plan) as server:
        run = Asker(server, tmp_path / "journal").run(as_csv(tmp_path), chunk_size=5)
    assert list(run.errors["row"]) == list(run.rows["row"]) == [7]
    assert run.stats.failed_rows == 1
    assert run.result is not None
    assert run.result.errors[0].row == 7
    with pytest.raises(RunError, match="rows of a stream aren't kept"):
        run.retry_failed()


def test_what_is_stopped_is_written_as_far_as_it_is(asker: Asker, tmp_path: Path) -> None:
    to = tmp_path / "out.csv"
    run = Run(asker.pipeline(rows(1000), chunk_size=5, concurrency=2, to=to))

    class Stopper:
        def __getattr__(self, name: str) -> Any:
            return lambda *_: run.context.done_rows > 20 and run.stop()

    run.context.observers.append(Stopper())  # type: ignore[arg-type]
    asyncio.run(_awaited(run))
    written = pd.read_csv(to)
    assert 20 < len(written) < 1000
    assert list(written["text"]) == [f"text {n}" for n in range(len(written))]
    known = written["response"].notna()
    assert list(written["response"][known]) == [
        echo for echo, there in zip(echoes(texts(len(written))), known, strict=True) if there
    ]
    assert known.sum() >= 20
    assert run.state == "stopped"


async def _awaited(run: Run) -> None:
    await run
    await run.context.control.drained()


def test_an_older_file_stays_until_the_new_one_is_there(asker: Asker, tmp_path: Path) -> None:
    to = tmp_path / "out.csv"
    to.write_text("precious\n")
    asker.server.stop()
    run = asker.run(rows(3), to=to)
    assert run.state == "failed"
    assert to.read_text() == "precious\n"


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"executor": "async"}, "leave --executor out"),
        ({"executor": "sync", "to": "x.csv"}, "leave --executor out"),
        ({"executor": "ray"}, "--executor"),
        ({"to": "x.xlsx"}, ".parquet"),
        ({"to": "nowhere/x.csv"}, "nowhere"),
        ({"chunk_size": 0}, "--chunk-size is 0"),
        ({"column": "n"}, "--overwrite"),
    ],
)
def test_what_cannot_be_streamed_is_told_before_anything_is_sent(
    asker: Asker, options: dict[str, Any], told: str
) -> None:
    with pytest.raises(ConfigurationError) as caught:
        asker.pipeline(rows(), **options)
    assert told in str(caught.value)


@pytest.mark.parametrize("data", ["no/such.csv", "data.xlsx", ".", 3])
def test_what_is_no_source_is_told_in_one_line(asker: Asker, data: Any) -> None:
    with pytest.raises(ConfigurationError) as caught:
        asker.pipeline(data)
    assert "\n" not in str(caught.value)


def test_a_sample_of_a_file_is_its_first_rows(asker: Asker, tmp_path: Path) -> None:
    run = asker.run(as_csv(tmp_path), sample=4)
    assert column(run.frame, "response") == echoes(texts(4))
    assert len(asker.pipeline(as_csv(tmp_path)).preview(3)) == 3


def test_a_generator_can_be_looked_at_before_it_runs(asker: Asker) -> None:
    """Estimate and preview read its first rows; the run has them all the same, once."""
    pipeline = asker.pipeline(rows())
    assert pipeline.estimate().requests == N
    assert len(pipeline.preview(3)) == 3
    result = pipeline.execute()
    assert column(result.data, "response") == echoes(texts(N))
    assert asker.server.ledger.requests == N


@pytest.mark.parametrize("executor", ["async", "sync", "streaming"])
@pytest.mark.parametrize("kind", [pd.DataFrame, pl.DataFrame])
def test_every_executor_gives_the_same_frame(asker: Asker, executor: str, kind: Any) -> None:
    data = kind({"text": [f"text {n}" for n in range(N)]})
    if kind is pd.DataFrame:
        data.index = pd.Index([7] * N, name="same")
        data.attrs["of"] = "mine"
    run = Run(asker.pipeline(data, executor=executor, chunk_size=5, schema="mood: good|bad"))
    result = run.execute()
    plain = asker.run(data, schema="mood: good|bad")
    assert journaled(plain) == N
    if kind is pd.DataFrame:
        pd.testing.assert_frame_equal(result.data, plain.frame)
        assert result.data.attrs == {"of": "mine"}
    else:
        assert result.data.equals(plain.frame)
    assert list(run.rows["status"]) == ["answered"] * N


async def test_a_sync_executor_runs_beside_the_notebooks_loop(asker: Asker) -> None:
    result = await asker.pipeline(texts(5), executor="sync").execute_async()
    assert list(result.data["response"]) == echoes(texts(5))


def test_a_run_streams_once(asker: Asker) -> None:
    run = Run(asker.pipeline(rows()))
    assert run.state == "pending"
    list(run.stream())
    assert run.state == "done"
    with pytest.raises(RunError, match="started before"):
        next(run.stream())
    with pytest.raises(RunError, match="doesn't stream"):
        next(Run(asker.pipeline(texts(3))).stream())


def test_leaving_a_stream_stops_its_run(asker: Asker) -> None:
    run = Run(asker.pipeline(rows(1000), chunk_size=2, concurrency=1))
    for _ in run.stream():
        break
    assert run.state == "stopped"
    assert asker.server.ledger.requests < 100


def test_a_pipeline_is_run_again_from_a_file_but_not_from_a_generator(
    asker: Asker, tmp_path: Path
) -> None:
    pipeline: Pipeline = asker.pipeline(as_csv(tmp_path))
    pipeline.execute()
    assert pipeline.execute().metrics.processed_rows == N
    once = asker.pipeline(rows())
    once.execute()
    with pytest.raises(ConfigurationError):
        once.execute()


@pytest.mark.parametrize("source", SOURCES)
async def test_a_run_knows_whether_more_rows_may_come_than_it_has_counted(
    asker: Asker, tmp_path: Path, source: str
) -> None:
    run = Run(asker.pipeline(SOURCES[source](tmp_path), chunk_size=5))
    seen: list[tuple[bool, int]] = []

    class Watching(LoggingObserver):
        def on_stage_start(self, stage: Any, context: Any) -> None:
            seen.append((context.metrics.open_ended, context.total_rows))

    run.context.observers.append(Watching())
    await run
    begun = [it for it in seen if it[0]]
    assert bool(begun) == (source in ("rows", "frames", "LazyFrame"))
    assert (run.context.metrics.open_ended, run.context.total_rows) == (False, N)


@pytest.mark.parametrize("to", [True, False], ids=["into a file", "chunk by chunk"])
def test_chunks_before_rows_that_cannot_be_read_are_there(
    home: Path, tmp_path: Path, to: bool
) -> None:
    def rows_until_it_breaks() -> Iterator[dict[str, str]]:
        for n in range(2_050):
            yield {"text": f"text {n}"}
        raise ZeroDivisionError("my own")

    echo = Echo()
    pipeline = Pipeline(
        rows_until_it_breaks(),
        "{text}",
        chunk_size=500,
        provider=echo,
        journal=home,
        to=tmp_path / "out.csv" if to else None,
    )
    taken: list[Any] = []
    with pytest.raises(ZeroDivisionError, match="my own"):
        taken.extend(pipeline.stream())
    assert len(pd.concat([chunk.to_pandas() for chunk in taken])) == 2_000
    assert not (tmp_path / "out.csv").exists()  # a file is whole, or it isn't there


def test_a_stream_of_nothing_more_leaves_no_reservation_in_its_record(asker: Asker) -> None:
    pipeline = asker.pipeline(texts(20), chunk_size=5, budget=1)
    assert len(list(pipeline.stream())) == 4
    [record] = (asker.folder / "runs").glob("*.json")
    assert json.loads(record.read_text())["data"]["reserved"] == "0"


def test_what_a_stage_keeps_in_the_context_is_no_matter_of_the_record(asker: Asker) -> None:
    class Keeping(RowStage):
        columns = ("text",)

        async def process_row(self, row: Row, context: ExecutionContext) -> None:
            context.intermediate_data[row["text"]] = texts(2)

    run = asker.run(texts(20), stages=[Keeping("keep")], budget=1)
    assert run.state == "done"
    [record] = (asker.folder / "runs").glob("*.json")
    assert json.loads(record.read_text())["data"]["intermediate_data"] == {}
    assert "text 1" not in record.read_text()


SCRIPT = """
import sys
from pathlib import Path
from ondine_nb import Pipeline
from tests.asking import texts
from tests.echo import Echo

folder = Path(sys.argv[1])

class Noting(Echo):
    async def send(self, prompt):
        with (folder / "asked").open("a") as file:
            file.write(prompt + chr(10))
        return await super().send(prompt)


echo = Noting(latency=0.3)
pipeline = Pipeline(
    texts(100), "{text}", provider=echo, journal=folder, chunk_size=1, concurrency=8
)
stream = pipeline.stream()
print(next(stream)["response"].tolist(), flush=True)
if sys.argv[2] == "interrupt":
    raise KeyboardInterrupt
if sys.argv[2] == "close":
    stream.close()
"""


@pytest.mark.parametrize("how", ["close", "interrupt", "leave it open"])
def test_a_script_that_leaves_a_stream_waits_for_what_is_in_flight(home: Path, how: str) -> None:
    ended = forks.run(["-c", SCRIPT, home, how])
    assert ended.stdout == "['text 0']\n"
    assert "Traceback" not in ended.stderr.replace("Traceback", "", how == "interrupt")
    echo = Echo()
    again = Run(Pipeline(texts(100), "{text}", provider=echo, journal=home))
    again.execute()
    asked = len((home / "asked").read_text().splitlines())
    assert journaled(again) == asked >= 8
    assert len(echo.asked or ()) == 100 - asked


@pytest.mark.timeout(50)
def test_an_interrupt_is_noticed_while_a_stream_is_waited_for(home: Path) -> None:
    """Not when the answers come, after a minute."""
    echo = Echo(latency=60)
    pipeline = Pipeline(texts(9), "{text}", provider=echo, journal=home, chunk_size=3)

    def interrupt() -> None:
        while not echo.asked:
            time.sleep(0.01)
        signal.raise_signal(signal.SIGINT)

    # A shell ignores it for what it starts in the background.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    threading.Thread(target=interrupt, daemon=True).start()
    try:
        with pytest.raises(KeyboardInterrupt):
            list(pipeline.stream())
    finally:
        signal.signal(signal.SIGINT, before)


def test_a_stage_may_make_no_frame_of_each_chunk(asker: Asker) -> None:
    class Count(PipelineStage):
        def process(self, input_data: Any, context: ExecutionContext) -> Any:
            return {"rows": len(input_data)}

    pipeline = asker.pipeline(texts(5), stages=[Count("count")], chunk_size=2)
    counts = [{"rows": 2}, {"rows": 2}, {"rows": 1}]
    assert list(pipeline.stream()) == counts
    run = asker.run(texts(5), stages=[Count("count")], executor="streaming", chunk_size=2)
    assert (run.state, run.frame) == ("done", counts)
