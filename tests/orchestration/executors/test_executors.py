"""The executors: the documented engine, but one that really runs every row."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any
from unittest.mock import Mock

import pandas as pd
import polars as pl
import pytest

from ondine_nb.errors import ConfigurationError, FatalProviderError, RefusalError, RunError
from ondine_nb.models import ExecutionResult, ValidationResult
from ondine_nb.orchestration import (
    AsyncExecutor,
    ExecutionContext,
    ExecutionObserver,
    PipelineStage,
    RowStage,
    StreamingExecutor,
    StreamingResult,
    SyncExecutor,
)
from tests.orchestration.parts import Events, Load, OutColumn, Table, Work, frame, turns
from tests.patience import PATIENCE

WAYS = ["async", "async alias", "sync", "stream", "stream twin"]
Stages = list[Any]


def run(way: str, stages: Stages, context: ExecutionContext | None = None) -> ExecutionResult:
    """The result, whichever executor; of a stream with its chunks put together."""
    context = context or ExecutionContext()
    if way == "sync":
        return SyncExecutor().execute(stages, context)
    if way.startswith("async"):
        executor = AsyncExecutor()
        method = executor.execute if way == "async" else executor.execute_async
        return asyncio.run(method(stages, context))
    streaming = StreamingExecutor(chunk_size=4)
    if way == "stream":
        chunks = list(streaming.execute(stages, context))
    else:
        chunks = asyncio.run(collect(streaming, stages, context))
    assert streaming.result is not None
    if chunks:
        join: Any = pl.concat if isinstance(chunks[0], pl.DataFrame) else pd.concat
        streaming.result.data = join(chunks)
    return streaming.result


async def collect(
    executor: StreamingExecutor, stages: Stages, context: ExecutionContext
) -> list[Any]:
    return [chunk async for chunk in executor.execute_async(stages, context)]


def mock_stage(name: str, result: Any, **spec: Any) -> Mock:
    stage = Mock(**spec)
    stage.name = name
    stage.process = Mock(return_value=result)
    return stage


class Rejecting(Table):
    def validate_input(self, input_data: Any, context: Any = None) -> ValidationResult:
        return ValidationResult(False, ["too few columns", "too old"])


# --- what every executor does


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("kind", [pd.DataFrame, pl.DataFrame], ids=["pandas", "polars"])
def test_row_i_belongs_to_row_i_with_real_counts_tokens_and_costs(way: str, kind: Any) -> None:
    data = kind({"n": list(range(10))})
    failing = lambda n: RefusalError("no") if n in (3, 8) else None  # noqa: E731
    context = ExecutionContext()
    result = run(way, [Load(data), Work(failing)], context)
    out = result.to_pandas()["out"].tolist()
    assert [None if pd.isna(value) else value for value in out] == [
        None if n in (3, 8) else n * 10 for n in range(10)
    ]
    assert isinstance(result.data, kind)
    stats = result.metrics
    assert (stats.total_rows, stats.processed_rows, stats.failed_rows) == (10, 8, 2)
    assert (result.costs.total_cost, result.costs.total_tokens) == (Decimal("0.08"), 40)
    assert (result.costs.input_tokens, result.costs.output_tokens) == (24, 16)
    assert (result.costs.confidence, result.success, result.is_complete) == ("actual", True, True)
    assert (context.total_rows, context.done_rows, context.get_progress()) == (10, 10, 100.0)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("spec", [{}, {"spec": PipelineStage}], ids=["bare", "with spec"])
def test_mock_stages_that_return_frames(way: str, spec: dict[str, Any]) -> None:
    first, second = mock_stage("a", frame(3), **spec), mock_stage("b", frame(3), **spec)
    result = run(way, [first, second])
    assert result.data["n"].tolist() == [0, 1, 2]
    assert (result.metrics.total_rows, result.metrics.processed_rows) == (3, 3)
    assert (result.metrics.failed_rows, result.success) == (0, True)
    first.process.assert_called_once()
    second.process.assert_called_once()
    assert first.process.call_args.args[0] is None


@pytest.mark.parametrize("way", WAYS)
def test_table_stages_run_in_order_and_each_gets_what_came_before(way: str) -> None:
    plus = Table(lambda data: data.assign(a=data["n"] + 1), "plus")
    times = Table(lambda data: data.assign(b=data["a"] * 2), "times")
    result = run(way, [Load(frame(10)), plus, times])
    assert result.data["b"].tolist() == [(n + 1) * 2 for n in range(10)]


@pytest.mark.parametrize("way", WAYS)
def test_rows_between_table_stages(way: str) -> None:
    after = Table(lambda data: data.assign(more=data["out"] + 1), "after")
    result = run(way, [Load(frame(10)), Work(), after])
    assert result.data["more"].tolist() == [n * 10 + 1 for n in range(10)]


@pytest.mark.parametrize("way", WAYS)
def test_an_async_process_is_awaited(way: str) -> None:
    class Later(PipelineStage):
        async def process(self, input_data: Any, context: ExecutionContext) -> Any:
            await asyncio.sleep(0)
            return input_data.assign(later=1)

    assert run(way, [Load(frame(5)), Later("later")]).data["later"].tolist() == [1] * 5


@pytest.mark.parametrize("way", WAYS)
def test_validate_input_takes_data_or_data_and_context_and_may_be_async(way: str) -> None:
    asked: list[tuple[str, int]] = []

    class OnlyData(Table):
        def validate_input(self, input_data: Any) -> ValidationResult:  # type: ignore[override]
            asked.append(("data", len(input_data)))
            return ValidationResult(is_valid=True)

    class Both(Table):
        def validate_input(self, input_data: Any, context: Any = None) -> ValidationResult:
            assert isinstance(context, ExecutionContext)
            asked.append(("both", len(input_data)))
            return ValidationResult(is_valid=True)

    class Starred(Table):
        async def validate_input(self, *given: Any) -> ValidationResult:  # type: ignore[override]
            asked.append(("starred", len(given)))
            return ValidationResult(is_valid=True)

    kinds = [OnlyData, Both, Starred]
    run(way, [Load(frame(4)), *(kind(lambda data: data) for kind in kinds)])
    assert asked == [("data", 4), ("both", 4), ("starred", 2)]


@pytest.mark.parametrize("way", WAYS)
def test_an_input_that_isnt_valid_stops_the_run_with_all_reasons(way: str) -> None:
    events, never = Events(), Mock()
    stages = [Load(frame(4)), Rejecting(never, "strict")]
    with pytest.raises(ConfigurationError, match=r"'strict'.*too few columns; too old"):
        run(way, stages, ExecutionContext(observers=[events]))
    never.assert_not_called()
    assert events.events[-2:] == [("stage error", "strict"), ("error", "")]


@pytest.mark.parametrize("way", WAYS)
def test_a_row_stage_is_validated_too(way: str) -> None:
    class Strict(Work):
        def validate_input(self, input_data: Any, context: Any = None) -> ValidationResult:
            return ValidationResult(False, ["no"])

    events, stage = Events(), Strict()
    with pytest.raises(ConfigurationError, match="'work' can't take its input: no"):
        run(way, [Load(frame(4)), stage], ExecutionContext(observers=[events]))
    assert stage.seen == []
    assert events.events[-2:] == [("stage error", "work"), ("error", "")]


@pytest.mark.parametrize("way", WAYS)
def test_an_error_is_raised_after_the_observers_were_told(way: str) -> None:
    def breaks(_: Any) -> Any:
        raise KeyError("column")

    events = Events()
    context = ExecutionContext(observers=[events])
    with pytest.raises(KeyError, match="column"):
        run(way, [Load(frame(4)), Table(breaks, "breaks"), Table(lambda data: data)], context)
    assert events.events == [
        ("start", ""),
        ("stage", "load"),
        ("staged", "load"),
        ("stage", "breaks"),
        ("stage error", "breaks"),
        ("error", ""),
    ]
    assert isinstance(events.last, KeyError)
    assert context.end_time is not None


@pytest.mark.parametrize("way", WAYS)
def test_a_fatal_error_in_a_row_ends_the_run_after_the_observers_were_told(way: str) -> None:
    fatal = FatalProviderError("bad key")
    events, work = Events(), Work(lambda n: fatal if n == 5 else None)
    with pytest.raises(FatalProviderError, match="bad key"):
        run(way, [Load(frame(2000)), work], ExecutionContext(observers=[events]))
    assert events.events[-2:] == [("stage error", "work"), ("error", "")]
    assert events.last is fatal
    assert len(work.seen) < 100


@pytest.mark.parametrize("way", ["async", "sync"])
def test_events_come_in_order(way: str) -> None:
    events = Events()
    stages = [Load(frame(3)), Work(), Table(lambda data: data)]
    result = run(way, stages, ExecutionContext(observers=[events]))
    assert events.events == [
        ("start", ""),
        *[("stage", "load"), ("staged", "load")],
        *[("stage", "work"), ("staged", "work")],
        *[("stage", "table"), ("staged", "table")],
        ("complete", ""),
    ]
    assert events.last is result


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    "method", [name for name in sorted(vars(ExecutionObserver)) if name.startswith("on_")]
)
def test_an_observer_that_raises_anywhere_never_stops_the_run(
    way: str, method: str, caplog: pytest.LogCaptureFixture
) -> None:
    bad, good = Events(), Events()
    setattr(bad, method, Mock(side_effect=RuntimeError("observer's own")))
    context = ExecutionContext(observers=[bad, good])
    each = lambda n: context.notify_progress()  # noqa: E731
    result = run(way, [Load(frame(9)), Work(each=each)], context)
    assert result.data["out"].tolist() == [n * 10 for n in range(9)]
    told = len([entry for entry in caplog.records if "is dropped" in entry.message])
    assert told == (0 if method in ("on_stage_error", "on_pipeline_error") else 1)
    assert good.events[-1] == ("complete", "")


@pytest.mark.parametrize("way", WAYS)
def test_progress_ticks_by_itself_while_rows_run(way: str) -> None:
    events = Events()
    each = lambda n: asyncio.sleep(0.4) if n == 0 else None  # noqa: E731
    begun = time.monotonic()
    run(way, [Load(frame(3)), Work(each=each)], ExecutionContext(observers=[events]))
    assert 1 <= events.progress <= 25 * (time.monotonic() - begun)


@pytest.mark.parametrize("way", WAYS)
def test_zero_rows_give_an_empty_result_and_divide_nothing(way: str) -> None:
    result = run(way, [Load(frame(0)), Work()])
    assert (result.metrics.total_rows, result.metrics.processed_rows) == (0, 0)
    assert (result.error_rate, result.success, result.costs.total_cost) == (0.0, True, 0)
    if way in ("async", "sync"):
        assert list(result.data.columns) == ["n", "text", "out"]


@pytest.mark.parametrize("way", WAYS)
def test_a_run_in_which_every_row_failed_is_no_success(way: str) -> None:
    result = run(way, [Load(frame(6)), Work(lambda n: RefusalError("no"))])
    assert (result.success, result.metrics.failed_rows, result.error_rate) == (False, 6, 100.0)


@pytest.mark.parametrize("way", WAYS)
def test_any_exception_of_a_users_row_stage_is_that_rows_failure(way: str) -> None:
    result = run(way, [Load(frame(6)), Work(lambda n: ZeroDivisionError("x") if n else None)])
    assert (result.metrics.processed_rows, result.metrics.failed_rows) == (1, 5)


@pytest.mark.parametrize("width", [0, -1])
@pytest.mark.parametrize(
    "executor",
    [
        lambda width: AsyncExecutor(width),
        lambda width: SyncExecutor(max_concurrency=width).execute(
            [Load(frame(3)), Work()], ExecutionContext()
        ),
        lambda width: list(
            StreamingExecutor(max_concurrency=width).execute(
                [Load(frame(3)), Work()], ExecutionContext()
            )
        ),
        lambda width: StreamingExecutor(chunk_size=width),
    ],
)
def test_a_width_of_nothing_is_an_error_not_a_run_of_nothing(
    executor: Callable[[int], Any], width: int
) -> None:
    with pytest.raises(ConfigurationError, match="has to be 1"):
        executor(width)


# --- concurrency


@pytest.mark.parametrize("width", [1, 3, 25])
async def test_the_concurrency_asked_for_is_the_concurrency_there_is(width: int) -> None:
    work = Work(each=lambda n: turns(5))
    result = await AsyncExecutor(width).execute([Load(frame(100)), work], ExecutionContext())
    assert work.peak == width
    assert sorted(work.seen) == list(range(100))
    assert result.data["out"].tolist() == [n * 10 for n in range(100)]


async def test_two_row_stages_are_fused_without_a_barrier() -> None:
    """A row is through both before the slowest one is through the first."""
    finish, slow_done = asyncio.Event(), []

    async def first(n: int) -> None:
        if n == 0:
            await finish.wait()
            slow_done.append(n)

    async def second(n: int) -> None:
        if n == 9:
            assert slow_done == []
            finish.set()

    class Second(Work):
        produces = ()

    stages = [Load(frame(10)), Work(each=first), Second(each=second, name="second")]
    async with asyncio.timeout(PATIENCE):
        result = await AsyncExecutor(2).execute(stages, ExecutionContext())
    assert result.metrics.processed_rows == 10


# --- sync


async def test_the_sync_executor_works_inside_a_running_loop() -> None:
    result = SyncExecutor().execute([Load(frame(5)), Work()], ExecutionContext())
    assert isinstance(result, ExecutionResult)
    assert result.data["out"].tolist() == [0, 10, 20, 30, 40]


def test_the_sync_executor_works_from_several_threads_at_once() -> None:
    outs: list[list[int]] = []

    def one() -> None:
        result = SyncExecutor().execute([Load(frame(50)), Work()], ExecutionContext())
        outs.append(result.data["out"].tolist())

    threads = [threading.Thread(target=one) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert outs == [[n * 10 for n in range(50)]] * 4


# --- streaming


@pytest.mark.parametrize("n", [1, 3, 4, 5, 8, 11])
@pytest.mark.parametrize("alias", [False, True])
def test_a_stream_gives_frames_of_chunk_size_in_order(n: int, alias: bool) -> None:
    executor, context = StreamingExecutor(chunk_size=4), ExecutionContext()
    method = executor.execute_stream if alias else executor.execute
    stream = method([Load(frame(n)), Work()], context)
    assert isinstance(stream, Iterator)
    chunks = list(stream)
    assert [len(chunk) for chunk in chunks] == [min(4, n - at) for at in range(0, n, 4)]
    assert [value for chunk in chunks for value in chunk["out"]] == [k * 10 for k in range(n)]


def test_a_stream_that_is_left_stops_and_closes_its_stages() -> None:
    work, context, executor = Work(), ExecutionContext(), StreamingExecutor(chunk_size=4)
    stream = executor.execute([Load(frame(4000)), work], context)
    next(stream)
    next(stream)
    stream.close()  # type: ignore[attr-defined]
    assert context.control.stopping
    for thread in threading.enumerate():
        if thread.name == "ondine-stream":
            thread.join(PATIENCE)
            assert not thread.is_alive()
    assert work.closed == work.opened == 1


def test_a_second_stream_of_one_executor_stops_too_when_it_is_left() -> None:
    executor = StreamingExecutor(chunk_size=4)
    assert len(list(executor.execute([Load(frame(8)), Work()], ExecutionContext()))) == 2
    context = ExecutionContext()
    for _ in executor.execute([Load(frame(4000)), Work()], context):
        break
    assert context.control.stopping


async def test_leaving_the_async_twin_stops_the_run() -> None:
    work, context = Work(), ExecutionContext()
    stream = StreamingExecutor(chunk_size=4).execute_async([Load(frame(4000)), work], context)
    assert len(await anext(stream)) == 4
    await stream.aclose()
    assert context.control.stopping
    await context.control.drained()
    assert len(work.seen) < 200
    assert work.closed == work.opened == 1


def test_a_stop_ends_a_stream_as_no_success() -> None:
    context, executor = ExecutionContext(), StreamingExecutor(chunk_size=4)
    chunks = []
    for chunk in executor.execute([Load(frame(4000)), Work()], context):
        chunks.append(chunk)
        context.control.stop()
    assert len(chunks) < 10
    assert executor.result is not None
    assert not executor.result.success


def test_a_loader_that_gives_frames_one_by_one_is_streamed_as_it_is() -> None:
    made: list[int] = []

    def frames() -> Iterator[pd.DataFrame]:
        for size in (2, 3, 1):
            made.append(size)
            yield frame(size)

    context, executor = ExecutionContext(), StreamingExecutor()
    chunks = list(executor.execute([Load(frames()), Work()], context))
    assert [len(chunk) for chunk in chunks] == [2, 3, 1]
    assert context.total_rows == 6
    assert executor.result is not None
    assert executor.result.metrics.total_rows == 6


def test_a_streams_result_adds_up_chunks_with_their_tokens_and_failures() -> None:
    totals = StreamingResult()
    assert (totals.chunks_processed, totals.total_rows, totals.total_cost) == (0, 0, Decimal("0.0"))
    totals.add_chunk(frame(3), Decimal("0.1"))
    totals.add_chunk(
        frame(5),
        Decimal("0.2"),
        failed_rows=2,
        skipped_rows=1,
        input_tokens=30,
        output_tokens=7,
    )
    result = totals.finalize()
    assert totals.chunks_processed == 2
    assert (result.metrics.total_rows, result.metrics.processed_rows) == (8, 5)
    assert (result.metrics.failed_rows, result.metrics.skipped_rows) == (2, 1)
    assert (result.costs.total_cost, result.costs.total_tokens) == (Decimal("0.3"), 37)
    assert (result.costs.input_tokens, result.costs.output_tokens) == (30, 7)
    assert (result.success, result.end_time) == (True, totals.end_time)
    assert result.to_list() == []


def test_an_empty_stream_finalizes() -> None:
    result = StreamingResult().finalize()
    assert (result.metrics.total_rows, result.metrics.rows_per_second) == (0, 0.0)
    assert result.success


# --- stops


async def test_a_stop_leaves_the_rest_not_run_and_keeps_what_is_done() -> None:
    context = ExecutionContext()
    work = Work(each=lambda n: context.control.stop() if n == 50 else None)
    result = await AsyncExecutor(4).execute([Load(frame(1000)), work], context)
    assert not result.success
    assert 40 < result.metrics.processed_rows < 60
    assert len(result.data) == 1000
    assert result.data["out"].notna().sum() == result.metrics.processed_rows


async def test_a_stop_before_the_start_runs_nothing() -> None:
    context, work = ExecutionContext(), Work()
    context.control.stop()
    result = await AsyncExecutor().execute([Load(frame(10)), work], context)
    assert work.seen == []
    assert not result.success


async def test_a_row_that_fails_ends_the_run_where_on_error_is_stop() -> None:
    work = Work(lambda n: RefusalError("no") if n == 5 else None)
    executor = AsyncExecutor(2, on_error="stop")
    with pytest.raises(RunError, match="row 5 failed and --on-error is 'stop': no"):
        await executor.execute([Load(frame(1000)), work], ExecutionContext())
    assert len(work.seen) < 20


async def test_cancelling_the_executor_cancels_the_rows_and_closes_the_stages() -> None:
    context, work = ExecutionContext(), Work(each=lambda n: asyncio.sleep(30))
    task = asyncio.create_task(AsyncExecutor(3).execute([Load(frame(10)), work], context))
    while work.now < 3:
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    async with asyncio.timeout(PATIENCE):
        await context.control.drained()
    assert (work.now, work.closed, len(work.seen)) == (0, 1, 3)


class Plain(RowStage):
    """A row stage without a single `async`."""

    columns = ("n",)
    produces = (OutColumn(),)

    def __init__(self) -> None:
        super().__init__("plain")
        self.events: list[str] = []

    def open(self, context: ExecutionContext) -> None:  # type: ignore[override]
        self.events.append("open")

    def prepare(self, rows: Any, context: ExecutionContext) -> None:  # type: ignore[override]
        self.events.append(f"{len(rows)} rows")

    def process_row(self, row: Any, context: ExecutionContext) -> None:  # type: ignore[override]
        if row["n"] == 2:
            raise ValueError("not this one")
        row.outputs = {"out": row["n"] * 10}

    def close(self) -> None:  # type: ignore[override]
        self.events.append("close")


@pytest.mark.parametrize("way", WAYS)
def test_a_row_stage_may_be_plain_throughout(way: str) -> None:
    stage = Plain()
    result = run(way, [Load(frame(4)), stage])
    assert result.to_pandas()["out"].tolist() == [0, 10, pd.NA, 30]
    assert (result.metrics.processed_rows, result.metrics.failed_rows) == (3, 1)
    assert stage.events == ["open", "4 rows", "close"]


@pytest.mark.parametrize("way", WAYS)
def test_a_context_that_has_run_counts_its_rows_anew_and_its_costs_on(way: str) -> None:
    context = ExecutionContext()
    run(way, [Load(frame(10)), Work(lambda n: RefusalError("no") if n < 4 else None)], context)
    restored = ExecutionContext.from_checkpoint(context.to_checkpoint())
    result = run(way, [Load(frame(10)), Work()], restored)
    stats = result.metrics
    assert (stats.total_rows, stats.processed_rows, stats.failed_rows) == (10, 10, 0)
    assert restored.accumulated_cost == Decimal("0.16")
    assert restored.session_id == context.session_id


def test_a_stopped_stream_counts_no_row_that_did_not_run() -> None:
    context = ExecutionContext()
    work = Work(lambda n: RefusalError("no") if n > 6 else None)
    work.each = lambda n: context.control.stop() if n == 9 else None
    executor = StreamingExecutor(chunk_size=4, max_concurrency=1)
    list(executor.execute([Load(frame(20)), work], context))
    assert executor.result is not None
    stats = executor.result.metrics
    assert stats.processed_rows == 7
    assert stats.failed_rows <= 3
    assert not executor.result.is_complete
