"""How chunks flow: what stages may be and do, where they are called, and what ends the run."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import threading
from collections.abc import Callable
from decimal import Decimal
from time import perf_counter, sleep
from typing import Any

import numpy as np
import pandas as pd
import pytest

from ondine_nb.errors import ConfigurationError, FatalProviderError, RefusalError
from ondine_nb.models import ExecutionResult, Usage, ValidationResult
from ondine_nb.orchestration import (
    AsyncExecutor,
    DaskExecutor,
    ExecutionContext,
    PipelineStage,
    Row,
    RowStage,
    StreamingExecutor,
    SyncExecutor,
)
from tests.orchestration.parts import Events, Load, OutColumn, Table, Work, frame, turns
from tests.patience import PATIENCE

WAYS = ["async", "sync", "stream"]


def run(
    way: str,
    stages: list[Any],
    context: ExecutionContext | None = None,
    **options: Any,
) -> ExecutionResult:
    context = context or ExecutionContext()
    if way == "sync":
        return SyncExecutor(**options).execute(stages, context)
    if way == "async":
        return asyncio.run(AsyncExecutor(**options).execute(stages, context))
    streaming = StreamingExecutor(chunk_size=4, **options)
    list(streaming.execute(stages, context))
    assert streaming.result is not None
    return streaming.result


def counts(result: ExecutionResult) -> tuple[int, int, int, int, bool]:
    stats = result.metrics
    return (
        stats.total_rows,
        stats.processed_rows,
        stats.failed_rows,
        stats.skipped_rows,
        result.success,
    )


# --- table stages


class Typed(PipelineStage[pd.DataFrame, pd.DataFrame]):
    def process(self, input_data: pd.DataFrame, context: ExecutionContext) -> pd.DataFrame:
        self.logger.info("%d rows", len(input_data))
        return input_data.assign(more=1)


@pytest.mark.parametrize("way", WAYS)
def test_a_stage_says_what_goes_in_and_out_and_has_a_logger(
    way: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "ondine_nb.stage.typed"):
        assert run(way, [Load(frame(4)), Typed("typed")]).success
    told = [each for each in caplog.records if each.name == "ondine_nb.stage.typed"]
    assert [each.message for each in told] == ["4 rows"]


@pytest.mark.parametrize("sets", ["failed_rows", "skipped_rows"])
def test_rows_that_a_table_stage_counts_are_the_same_by_every_executor(sets: str) -> None:
    class Counting(Table):
        def process(self, input_data: Any, context: ExecutionContext) -> Any:
            setattr(context, sets, 2)
            return input_data

    found = {way: counts(run(way, [Load(frame(9)), Counting(len)])) for way in WAYS}
    failed = (2, 0) if sets == "failed_rows" else (0, 2)
    assert found == dict.fromkeys(WAYS, (9, 7, *failed, True))


def test_a_table_stage_that_takes_rows_away_leaves_the_counts_the_same() -> None:
    keep = Table(lambda data: data[data["n"] % 2 == 0], "even")
    found = {way: counts(run(way, [Load(frame(9)), keep])) for way in WAYS}
    assert found == dict.fromkeys(WAYS, (9, 9, 0, 0, True))


def test_how_far_a_table_stage_says_it_is_stands_by_every_executor() -> None:
    class Half(Table):
        def process(self, input_data: Any, context: ExecutionContext) -> Any:
            context.update_row(3)
            return input_data

    assert {counts(run(way, [Load(frame(9)), Half(len)])) for way in WAYS} == {(9, 4, 0, 0, True)}


@pytest.mark.parametrize("method", ["process", "validate_input"])
async def test_a_plain_table_stage_leaves_the_loop_free(method: str) -> None:
    """The loop goes on while the stage waits for it to: on the loop's thread that never ends."""
    went_on, threads = threading.Event(), []

    class Long(PipelineStage[Any, Any]):
        def process(self, input_data: Any, context: ExecutionContext) -> Any:
            self._take("process")
            return input_data

        def validate_input(self, input_data: Any, context: Any = None) -> ValidationResult:
            self._take("validate_input")
            return ValidationResult(is_valid=True)

        def _take(self, where: str) -> None:
            threads.append(threading.current_thread())
            assert where != method or went_on.wait(PATIENCE)

    running = asyncio.create_task(
        AsyncExecutor().execute([Load(frame(3)), Long("long")], ExecutionContext())
    )
    await turns(20)
    went_on.set()
    assert (await running).success
    assert threading.current_thread() not in threads


class Named(PipelineStage[Any, Any]):
    """Says in which thread each of its methods is called."""

    def __init__(self) -> None:
        super().__init__("named")
        self.seen: dict[str, str] = {}

    def validate_input(self, input_data: Any, context: Any = None) -> ValidationResult:
        self._note("validate_input")
        return ValidationResult(is_valid=True)

    def before_process(self, context: ExecutionContext) -> None:
        self._note("before_process")

    def process(self, input_data: Any, context: ExecutionContext) -> Any:
        self._note("process")
        return input_data

    def after_process(self, result: Any, context: ExecutionContext) -> None:
        self._note("after_process")

    def _note(self, where: str) -> None:
        self.seen[where] = threading.current_thread().name


class NamedAsync(Named):
    async def process(self, input_data: Any, context: ExecutionContext) -> Any:
        self._note("process")
        return input_data


async def test_async_stages_and_those_that_ask_for_it_are_called_on_the_loop() -> None:
    loops, asked, later = threading.current_thread().name, Named(), NamedAsync()
    asked.in_thread = False
    await AsyncExecutor().execute([Load(frame(3)), asked, later], ExecutionContext())
    assert set(asked.seen.values()) == {loops}
    assert {later.seen[at] for at in ("before_process", "process", "after_process")} == {loops}


class InSqlite(PipelineStage[Any, Any]):
    def __init__(self, **options: Any) -> None:
        super().__init__("in sqlite")
        self.connection = sqlite3.connect(":memory:", **options)

    def process(self, input_data: Any, context: ExecutionContext) -> Any:
        return self.connection.execute("select 1").fetchall() and input_data


@pytest.mark.parametrize("way", WAYS)
def test_a_connection_of_another_thread_is_an_error_that_names_the_remedies(way: str) -> None:
    with pytest.raises(
        ConfigurationError, match=r"'in sqlite'.*check_same_thread=False.*in_thread"
    ):
        run(way, [Load(frame(3)), InSqlite()])
    assert run(way, [Load(frame(3)), InSqlite(check_same_thread=False)]).success


@pytest.mark.parametrize("way", ["sync", "stream"])
def test_a_row_stage_with_such_a_connection_ends_the_run_and_not_each_row(way: str) -> None:
    connection = sqlite3.connect(":memory:")

    class Asks(Work):
        async def process_row(self, row: Row, context: ExecutionContext) -> None:
            connection.execute("select 1")

    context = ExecutionContext()
    with pytest.raises(ConfigurationError, match="'work' uses an sqlite connection of another thr"):
        run(way, [Load(frame(9)), Asks()], context)
    assert context.failed_rows == 0
    connection.close()


async def test_a_connection_of_the_loops_thread_serves_a_stage_that_is_called_there() -> None:
    stage = InSqlite()
    stage.in_thread = False
    assert (await AsyncExecutor().execute([Load(frame(3)), stage], ExecutionContext())).success


@pytest.mark.parametrize("way", WAYS)
def test_a_stop_is_heeded_between_table_stages(way: str) -> None:
    context, events, after = ExecutionContext(), Events(), []
    context.observers.append(events)

    def stopping(data: Any) -> Any:
        context.control.stop()
        return data

    stages = [Load(frame(3)), Table(stopping, "stopping"), Table(after.append, "after"), Work()]
    result = run(way, stages, context)
    assert after == []
    assert ("stage", "after") not in events.events
    assert not result.success


# --- row stages


@pytest.mark.parametrize("way", WAYS)
def test_failures_of_rows_stand_in_the_result_and_in_the_log(
    way: str, caplog: pytest.LogCaptureFixture
) -> None:
    failing = lambda n: RefusalError(f"not {n}") if n % 2 else None  # noqa: E731
    result = run(way, [Load(frame(20)), Work(failing)])
    assert [failure.row for failure in result.errors] == list(range(1, 20, 2))
    assert result.errors[0].message == "not 1"
    told = [each.getMessage() for each in caplog.records if "failed in stage" in each.message]
    assert len(told) == 5  # the first of a kind, not a line for each of a million rows
    assert "failed in stage 'work': RefusalError: not" in told[0]
    assert "no more of this kind" in told[-1]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("sort", ["every row", "a row", "a table"])
def test_a_context_whose_run_failed_runs_again_and_counts_anew(way: str, sort: str) -> None:
    context, broken = ExecutionContext(), [True]

    def failing(n: int) -> Exception | None:
        if not broken[0] or (sort == "a row" and n != 5):
            return None
        return RefusalError("no") if sort == "every row" else FatalProviderError("bad key")

    def breaking(data: Any) -> Any:
        if broken[0]:
            raise KeyError("column")
        return data

    row = Work(failing)
    stages = [Load(frame(9)), Table(breaking) if sort == "a table" else row]
    if sort == "every row":
        assert not run(way, stages, context).success
    else:
        with pytest.raises((FatalProviderError, KeyError)):
            run(way, stages, context)
    broken[0] = False
    result = run(way, stages, context)
    assert counts(result) == (9, 9, 0, 0, True)
    assert result.errors == []


@pytest.mark.parametrize("way", WAYS)
def test_a_resumed_context_counts_to_its_true_total(way: str) -> None:
    for stages in ([Load(frame(9))], [Load(frame(9)), Work()]):
        for total, last in ((4, 3), (20, 7)):  # read by then; more than there are now
            begun = ExecutionContext(total_rows=total, last_processed_row=last, processed_rows=4)
            context = ExecutionContext.from_checkpoint(begun.to_checkpoint())
            assert counts(run(way, list(stages), context)) == (9, 9, 0, 0, True)
            assert context.get_progress() == 100.0


class Busy(RowStage):
    """Computes, and awaits nothing."""

    produces = (OutColumn(),)

    async def process_row(self, row: Row, context: ExecutionContext) -> None:
        row.outputs["out"] = row["n"]
        sleep(0.002)


async def test_rows_that_await_nothing_let_the_loop_go_on() -> None:
    """Between two turns of the loop there are never more rows than fit into its share."""
    stage, seen, most = Busy("busy"), [0], [0]

    async def turning() -> None:
        while True:
            before = perf_counter(), seen[0]
            await asyncio.sleep(0)
            if perf_counter() > before[0]:
                most[0] = max(most[0], seen[0] - before[1])

    inner = stage.process_row

    async def counted(row: Row, context: ExecutionContext) -> None:
        seen[0] += 1
        await inner(row, context)

    stage.process_row = counted  # type: ignore[method-assign]
    turner = asyncio.create_task(turning())
    result = await AsyncExecutor(20).execute([Load(frame(300)), stage], ExecutionContext())
    turner.cancel()
    assert result.metrics.processed_rows == 300
    assert 1 <= most[0] <= 25  # at 2 ms a row, of 50 ms


@pytest.mark.parametrize("way", WAYS)
def test_outputs_are_a_dict_from_the_first_stage_on(way: str) -> None:
    class First(RowStage):
        produces = (OutColumn("a"),)

        def process_row(self, row: Row, context: ExecutionContext) -> None:  # type: ignore[override]
            row.outputs["a"] = row["n"] + 1

    class Second(RowStage):
        produces = (OutColumn("b"),)

        def process_row(self, row: Row, context: ExecutionContext) -> None:  # type: ignore[override]
            row.outputs |= {"b": row.outputs["a"] * 2}

    stages = [Load(frame(3)), First("first"), Second("second")]
    chunks = list(StreamingExecutor().execute(stages, ExecutionContext()))
    assert chunks[0]["b"].tolist() == [2, 4, 6]
    assert run(way, stages).metrics.processed_rows == 3


@pytest.mark.parametrize("way", WAYS)
def test_an_output_that_no_stage_declares_is_an_error_that_names_it(way: str) -> None:
    class Typo(Work):
        async def process_row(self, row: Row, context: ExecutionContext) -> None:
            row.outputs["uot"] = 1

    with pytest.raises(ConfigurationError, match=r"'uot'.*'work' declares \(declared: 'out'\)"):
        run(way, [Load(frame(9)), Typo()])


class Strange(Work):
    def __init__(self, **given: Any) -> None:
        super().__init__(name="strange")
        for name, value in given.items():
            setattr(self, name, value)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"produces": "out"}, "'strange' produces 'out', which is no Column"),
        ({"produces": ["out"]}, "'strange' produces 'out', which is no Column"),
        ({"produces": [OutColumn("out", "number")]}, "unknown kind 'number'"),
        ({"columns": "n"}, r"'strange' has the columns 'n': it has to be a list"),
        ({"columns": ["nn"]}, "nn"),
    ],
)
def test_columns_that_are_none_are_one_line_before_any_row(
    way: str, given: dict[str, Any], said: str
) -> None:
    stage = Strange(**given)
    with pytest.raises(ConfigurationError, match=said) as error:
        run(way, [Load(frame(9)), stage])
    assert "\n" not in str(error.value)
    assert stage.seen == []


@pytest.mark.parametrize("executor", [AsyncExecutor, SyncExecutor, StreamingExecutor, DaskExecutor])
def test_on_error_is_keep_or_stop(executor: Callable[..., Any]) -> None:
    with pytest.raises(ConfigurationError, match="on_error is 'sotp': it has to be 'keep' or"):
        executor(on_error="sotp")


# --- a budget without a pipeline


class Paid(Work):
    async def process_row(self, row: Row, context: ExecutionContext) -> None:
        context.add_cost(Decimal("0.01"), 5)
        row.outputs["out"] = row["n"]


@pytest.mark.parametrize("way", WAYS)
def test_a_budget_ends_a_run_of_stages_that_dont_keep_to_one(way: str) -> None:
    context = ExecutionContext(max_budget=Decimal("0.05"))
    result = run(way, [Load(frame(200)), Paid()], context, max_concurrency=3)
    assert Decimal("0.05") <= context.accumulated_cost <= Decimal("0.07")
    assert not result.success
    assert context.control.reason == "budget"
    assert context.metrics.message == "the budget of $0.05 is used up"


@pytest.mark.parametrize("way", WAYS)
def test_a_budget_that_just_suffices_ends_nothing(way: str) -> None:
    context = ExecutionContext(max_budget=Decimal("0.09"))
    assert counts(run(way, [Load(frame(9)), Paid()], context)) == (9, 9, 0, 0, True)


@pytest.mark.parametrize("way", WAYS)
def test_a_budget_is_looked_at_between_table_stages_too(way: str) -> None:
    class Dear(Table):
        def process(self, input_data: Any, context: ExecutionContext) -> Any:
            context.add_usage(Decimal(1), Usage(1, 1), self.name)
            return input_data

    context, after = ExecutionContext(max_budget=Decimal("0.5")), []
    stages = [Load(frame(3)), Dear(len, "dear"), Table(after.append, "after")]
    assert not run(way, stages, context).success
    assert after == []


def test_every_executor_has_a_logger() -> None:
    for executor in (AsyncExecutor(), SyncExecutor(), StreamingExecutor()):
        assert isinstance(executor.logger, logging.Logger)


@pytest.mark.parametrize("executor", [AsyncExecutor, SyncExecutor, StreamingExecutor])
@pytest.mark.parametrize("width", [0, -1, 1.5, "3", None, True])
def test_a_concurrency_is_a_whole_number_of_1_or_more(executor: Any, width: Any) -> None:
    with pytest.raises(ConfigurationError, match=f"max_concurrency is {width!r}: it has to be 1"):
        executor(max_concurrency=width)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    ("stage", "said"),
    [
        (None, "None is no stage: it has no method `process"),
        (len, "is no stage: it has no method `process"),
        (Work, r"stage Work is a class: give an object, as Work\('name'\)"),
    ],
)
def test_what_is_no_stage_is_one_line_before_anything_runs(way: str, stage: Any, said: str) -> None:
    loaded = Events()
    context = ExecutionContext(observers=[loaded])
    with pytest.raises(ConfigurationError, match=said):
        run(way, [Load(frame(3)), stage], context)
    assert not loaded.events
    with pytest.raises(ConfigurationError, match="context is 'x': give an ExecutionContext"):
        run(way, [Load(frame(3))], "x")  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match=r"observer_dispatcher is 5.*`dispatch\(name"):
        run(way, [Load(frame(3))], ExecutionContext(observer_dispatcher=5))  # type: ignore[arg-type]


@pytest.mark.parametrize("way", WAYS)
def test_a_list_of_anything_goes_through_table_stages(way: str) -> None:
    class Numbers(PipelineStage[None, list[int]]):
        def process(self, input_data: None, context: ExecutionContext) -> list[int]:
            return list(range(6))

    class Counts(PipelineStage[list[int], list[int]]):
        def process(self, input_data: list[int], context: ExecutionContext) -> list[int]:
            if 5 in input_data:
                context.failed_rows = 2
            return input_data

    assert counts(run(way, [Numbers("load"), Counts("count")])) == (6, 4, 2, 0, True)


@pytest.mark.parametrize("given", ["1", 1, 1.0, "$1"])
def test_a_budget_may_be_any_amount_and_what_is_none_is_one_line(given: Any) -> None:
    result = run("async", [Load(frame(500)), Work()], ExecutionContext(max_budget=given))
    assert not result.success
    assert 100 <= result.metrics.processed_rows < 500
    with pytest.raises(ConfigurationError, match="max_budget: 'much' is not an amount in USD"):
        run("async", [Load(frame(3))], ExecutionContext(max_budget="much"))  # type: ignore[arg-type]


def test_counts_may_be_a_librarys_integers() -> None:
    class Counting(Table):
        def process(self, input_data: Any, context: ExecutionContext) -> Any:
            context.total_rows, context.failed_rows = np.int64(9), np.int64(1)  # type: ignore[assignment]
            return input_data

    context = ExecutionContext()
    run("async", [Load(frame(9)), Counting(len)], context)
    assert ExecutionContext.from_checkpoint(context.to_checkpoint()).processed_rows == 8
