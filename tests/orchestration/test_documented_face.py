"""The documented engine as its reader would test it: the documents' names, and nothing else."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable
from dataclasses import MISSING, fields
from datetime import datetime
from decimal import Decimal
from inspect import Parameter, signature
from typing import Any
from unittest.mock import AsyncMock, MagicMock, patch
from uuid import UUID, uuid4

import pandas as pd
import polars as pl
import pytest

from ondine_nb.models import (
    CheckpointInfo,
    CostEstimate,
    ExecutionResult,
    ProcessingStats,
    ValidationResult,
)
from ondine_nb.orchestration import (
    AsyncExecutor,
    CheckpointStorage,
    CostTrackingObserver,
    ExecutionContext,
    ExecutionObserver,
    ExecutionStrategy,
    LocalFileCheckpointStorage,
    LoggingObserver,
    PipelineStage,
    ProgressBarObserver,
    StateManager,
    StreamingExecutor,
    StreamingResult,
    SyncExecutor,
)

LETTERS = pd.DataFrame({"text": list("abcde")})
NOTHING = CostEstimate(Decimal(0), 0, 0, 0, rows=0)


class Stage(PipelineStage):
    """As such suites write them: a name, a count, and what `work` makes of data and context."""

    def __init__(self, name: str = "stage", work: Callable[..., Any] | None = None) -> None:
        super().__init__(name)
        self.work = work
        self.calls = 0

    def validate_input(self, input_data: Any, context: Any = None) -> ValidationResult:
        return ValidationResult(is_valid=True, errors=[])

    def process(self, input_data: Any, context: ExecutionContext) -> Any:
        self.calls += 1
        return self.work(input_data, context) if self.work else input_data

    def estimate_cost(self, input_data: Any, context: Any = None) -> CostEstimate:
        return NOTHING


def loading(data: Any = LETTERS) -> Stage:
    return Stage("load", lambda _data, _context: data)


def sync(stages: list[Any], context: ExecutionContext | None = None, **options: Any) -> Any:
    return SyncExecutor(**options).execute(stages, context or ExecutionContext())


def streamed(stages: list[Any], context: ExecutionContext | None = None, **options: Any) -> Any:
    executor = StreamingExecutor(chunk_size=2, **options)
    return list(executor.execute(stages, context or ExecutionContext()))


# --- executors


@pytest.mark.parametrize(
    ("executor", "name", "is_async", "is_streaming"),
    [
        (SyncExecutor(), "sync", False, False),
        (AsyncExecutor(), "async", True, False),
        (StreamingExecutor(), "streaming", False, True),
    ],
)
def test_names_and_what_is_supported(
    executor: ExecutionStrategy, name: str, is_async: bool, is_streaming: bool
) -> None:
    assert executor.name == name
    assert (executor.supports_async(), executor.supports_streaming()) == (is_async, is_streaming)


def test_defaults() -> None:
    assert AsyncExecutor().max_concurrency == 10
    assert StreamingExecutor().chunk_size == 1000
    assert CostTrackingObserver().warning_threshold == 0.75
    manager = signature(StateManager).parameters
    assert manager["checkpoint_interval"].default == 500
    assert manager["storage"].default is Parameter.empty
    with pytest.raises(TypeError):
        ExecutionStrategy()  # type: ignore[abstract]


def test_stages_that_pass_nothing_on_are_run_and_give_a_result() -> None:
    stages = [Stage("one"), Stage("two")]
    assert sync(stages).success
    assert asyncio.run(AsyncExecutor().execute_async(stages, ExecutionContext())).success
    assert streamed(stages) == []
    assert [stage.calls for stage in stages] == [3, 3]


def test_no_stages_at_all() -> None:
    assert sync([]).metrics.total_rows == 0
    assert streamed([]) == []


def test_what_a_stage_tells_the_context_is_in_the_result() -> None:
    def work(_data: Any, context: ExecutionContext) -> pd.DataFrame:
        context.total_rows = 10
        context.last_processed_row = 9
        context.add_cost(Decimal("0.5"), 100)
        return LETTERS

    context = ExecutionContext()
    result = sync([Stage("work", work)], context)
    assert (result.metrics.total_rows, result.metrics.processed_rows) == (10, 10)
    assert (result.metrics.failed_rows, result.metrics.skipped_rows) == (0, 0)
    assert (result.costs.total_cost, result.costs.total_tokens) == (Decimal("0.5"), 100)
    assert result.execution_id == context.session_id
    assert result.costs.confidence == "actual"


def test_rows_that_a_stage_did_not_reach_are_not_processed() -> None:
    def work(_data: Any, context: ExecutionContext) -> pd.DataFrame:
        context.total_rows = 10
        for row in range(5):
            context.update_row(row)
        return LETTERS

    result = sync([Stage("work", work)])
    assert (result.metrics.processed_rows, result.is_complete) == (5, False)


@pytest.mark.parametrize("mock", [MagicMock, AsyncMock], ids=["plain", "async"])
def test_a_mock_stands_for_a_stage(mock: Any) -> None:
    bare, specified = MagicMock(), MagicMock(spec=PipelineStage)
    for stage in (bare, specified):
        stage.process = mock(return_value=LETTERS)
        assert sync([stage]).data.equals(LETTERS)
        stage.process.assert_called_once()


def test_what_has_only_a_name_and_process_is_a_stage() -> None:
    class Duck:
        name = "duck"

        def process(self, input_data: Any, context: Any) -> Any:
            return LETTERS

    assert len(sync([Duck()]).data) == 5


@pytest.mark.parametrize("verdict", [False, ValidationResult(False, errors=["no text"])])
def test_an_input_that_a_stage_refuses_is_a_value_error(verdict: Any) -> None:
    stage = Stage("strict")
    stage.validate_input = lambda input_data: verdict  # type: ignore[method-assign,assignment]
    with pytest.raises(ValueError, match="no text" if verdict else "strict"):
        sync([stage])
    assert stage.calls == 0


def test_warnings_of_a_stage_are_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    stage = Stage("wary")
    stage.validate_input = (  # type: ignore[method-assign]
        lambda input_data, context=None: ValidationResult(True, warnings=["long texts"])
    )
    assert len(streamed([loading(), stage])) == 3
    assert [record.message for record in caplog.records] == ["stage 'wary': long texts"]


@pytest.mark.parametrize("error", [ValueError, KeyError, KeyboardInterrupt, SystemExit])
def test_what_a_stage_raises_reaches_the_caller(error: type[BaseException]) -> None:
    def work(_data: Any, _context: Any) -> None:
        raise error("boom")

    for run in (sync, streamed):
        with pytest.raises(error, match="boom"):
            run([loading(), Stage("bad", work)])


def test_a_stream_gives_the_loaders_rows_chunk_by_chunk_and_keeps_count() -> None:
    context = ExecutionContext()
    upper = Stage("upper", lambda data, _context: data.assign(up=data["text"].str.upper()))
    chunks = streamed([loading(), upper], context)
    assert [list(chunk["up"]) for chunk in chunks] == [["A", "B"], ["C", "D"], ["E"]]
    assert [list(chunk.index) for chunk in chunks] == [[0, 1], [2, 3], [4]]
    assert (context.last_processed_row, context.get_progress()) == (4, 100.0)
    assert upper.calls == 3


def test_a_stream_is_checkpointed_at_the_ends_of_its_chunks() -> None:
    storage = MagicMock(spec=CheckpointStorage)
    storage.save.return_value = True
    manager = StateManager(storage, checkpoint_interval=2)
    for _ in range(2):  # a second run begins to count anew
        storage.save.reset_mock()
        streamed([loading(), Stage("pass")], state_manager=manager)
        rows = [call.args[1]["last_processed_row"] for call in storage.save.call_args_list]
        assert rows == [3, 4]


@pytest.mark.parametrize("kind", [pd.DataFrame, pl.DataFrame], ids=["pandas", "polars"])
def test_a_streaming_result_has_no_rows_but_all_counts(kind: Any) -> None:
    result = StreamingResult()
    assert (result.chunks_processed, result.total_rows) == (0, 0)
    assert (result.total_cost, result.end_time) == (Decimal("0.0"), None)
    for cost in ("0.01", "0.02"):
        result.add_chunk(kind({"text": ["a", "b"]}), Decimal(cost))
    final = result.finalize()
    assert isinstance(final.data, kind)
    assert (len(final.data), list(final.data.columns)) == (0, ["text"])
    assert (final.metrics.total_rows, final.metrics.processed_rows) == (4, 4)
    assert (final.costs.total_cost, final.success) == (Decimal("0.03"), True)
    assert result.end_time is not None


async def test_executors_that_block_work_inside_a_running_loop() -> None:
    assert len(sync([loading()]).data) == 5
    assert len(streamed([loading()])) == 3


# --- context


def test_the_documented_fields_in_their_order_with_their_defaults() -> None:
    names = " ".join(field.name for field in fields(ExecutionContext))
    assert names.startswith(
        "session_id pipeline_id start_time end_time current_stage_index last_processed_row "
        "total_rows accumulated_cost accumulated_tokens intermediate_data failed_rows "
        "skipped_rows observers observer_dispatcher trace_id span_id"
    )
    one, other = ExecutionContext(), ExecutionContext()
    assert one.session_id != other.session_id
    assert one.intermediate_data is not other.intermediate_data


def test_a_context_equals_what_comes_back_from_its_checkpoint() -> None:
    context = ExecutionContext(total_rows=5, last_processed_row=3, skipped_rows=1)
    context.add_cost(cost=Decimal("0.02"), tokens=100)
    context.intermediate_data["x"] = [1]
    data = json.loads(json.dumps(context.to_checkpoint()))
    restored = ExecutionContext.from_checkpoint(data)
    assert restored.to_dict() == context.to_dict() == data
    assert ExecutionContext.from_dict(data).trace_id == context.trace_id
    assert restored.get_progress() == context.get_progress()


@pytest.mark.parametrize("model", [ProcessingStats, CostEstimate, ExecutionResult, CheckpointInfo])
def test_models_take_what_is_documented_by_name(model: Any) -> None:
    values: dict[str, Any] = {
        "data": LETTERS,
        "metrics": ProcessingStats(5, 4, 1, 0, 1.0, 5.0),
        "costs": NOTHING,
        "session_id": uuid4(),
        "checkpoint_path": "x.json",
        "timestamp": datetime.now(),
    }
    required = [field for field in fields(model) if field.default is MISSING]
    given = {f.name: values.get(f.name, 1) for f in required if f.default_factory is MISSING}
    made = model(**given)
    assert all(getattr(made, name) is value for name, value in given.items())


def test_an_execution_result_counts_and_converts() -> None:
    result = ExecutionResult(LETTERS, ProcessingStats(5, 4, 1, 0, 1.0, 5.0), NOTHING)
    assert (result.errors, result.metadata, result.success) == ([], {}, True)
    assert isinstance(result.execution_id, UUID)
    assert (result.duration, result.error_rate, result.is_complete) == (0.0, 20.0, False)
    result.end_time = result.start_time
    assert result.is_complete
    assert result.to_list()[0] == {"text": "a"}
    assert result.to_pandas() is LETTERS
    assert result.to_polars().equals(pl.DataFrame(LETTERS))


# --- observers


def test_a_mock_observer_is_told_of_everything_with_the_documented_arguments() -> None:
    observer = MagicMock(spec=ExecutionObserver)
    context, stage = ExecutionContext(observers=[observer]), loading()
    result = sync([stage], context)
    observer.on_pipeline_start.assert_called_once()
    observer.on_stage_start.assert_called_once_with(stage, context)
    observer.on_stage_complete.assert_called_once_with(stage, context, LETTERS)
    observer.on_pipeline_complete.assert_called_once_with(context, result)
    observer.on_pipeline_error.assert_not_called()


def test_notify_progress_reaches_observers_that_came_later_and_survives_those_that_raise() -> None:
    context, bad, good = ExecutionContext(), MagicMock(), MagicMock()
    bad.on_progress_update.side_effect = RuntimeError("no")
    context.observers += [bad, good]
    context.notify_progress()
    good.on_progress_update.assert_called_once_with(context)


def test_the_log_has_the_session_the_stage_and_the_error(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    observer, context = LoggingObserver(), ExecutionContext(total_rows=10)
    stage, result = Stage("mine"), MagicMock()
    result.metrics = ProcessingStats(10, 9, 1, 0, 1.0, 10.0)
    observer.on_pipeline_start(None, context)
    observer.on_stage_start(stage, context)
    observer.on_stage_complete(stage, context, None)
    observer.on_stage_error(stage, context, ValueError("broken stage"))
    observer.on_progress_update(context)
    observer.on_pipeline_complete(context, result)
    observer.on_pipeline_error(context, ValueError("broken run"))
    for word in (str(context.session_id), "mine", "broken stage", "broken run"):
        assert word in caplog.text
    assert len(caplog.records) == 7


@pytest.mark.parametrize("budget", [10.0, 10, Decimal(10)])
@pytest.mark.parametrize(("cost", "warns"), [("7.49", False), ("7.5", True), ("20", True)])
def test_a_budget_set_by_hand_is_warned_of(budget: Any, cost: str, warns: bool) -> None:
    observer = CostTrackingObserver()
    observer.logger = MagicMock()
    observer.max_budget = budget
    context = ExecutionContext(accumulated_cost=Decimal(cost))
    observer.on_stage_complete(Stage(), context, None)
    observer.on_stage_complete(Stage(), context, None)
    assert observer.logger.warning.call_count == warns


def test_the_cost_summary_of_no_rows_divides_nothing() -> None:
    observer = CostTrackingObserver()
    observer.logger = MagicMock()
    empty = ExecutionResult(None, ProcessingStats(0, 0, 0, 0, 0.0, 0.0), NOTHING)
    observer.on_pipeline_complete(ExecutionContext(), empty)
    observer.logger.info.assert_called_once()


def test_the_bar_opens_at_the_start_names_the_stage_and_closes() -> None:
    with patch("tqdm.tqdm") as bar:
        observer, context = ProgressBarObserver(), ExecutionContext(total_rows=100)
        observer.on_pipeline_start(None, context)
        assert observer.progress_bar is bar.return_value
        observer.on_stage_start(Stage("mine"), context)
        bar.return_value.set_description.assert_called_with("mine")
        context.update_row(49)
        observer.on_progress_update(context)
        assert bar.return_value.n == 50
        observer.on_stage_error(Stage("mine"), context, ValueError())
        assert "mine" in bar.return_value.set_description.call_args.args[0]
        observer.on_pipeline_error(context, ValueError())
        bar.return_value.close.assert_called_once()
        observer.on_progress_update(context)  # the last state is told once more
        assert bar.call_count == 1
        assert observer.progress_bar is None
        observer.on_pipeline_start(None, context)
        assert bar.call_count == 2


def test_a_bar_without_rows_stays_shut() -> None:
    observer, context = ProgressBarObserver(), ExecutionContext()
    observer.on_pipeline_start(None, context)
    observer.on_stage_start(Stage(), context)
    observer.on_progress_update(context)
    observer.on_pipeline_complete(context, MagicMock())
    assert observer.progress_bar is None


# --- checkpoints


def test_a_manager_over_a_mocked_storage() -> None:
    storage = MagicMock(spec=CheckpointStorage)
    manager = StateManager(storage, checkpoint_interval=10)
    context = ExecutionContext(total_rows=50, last_processed_row=20)
    assert (manager.should_checkpoint(9), manager.should_checkpoint(10)) == (False, True)
    storage.save.return_value = True
    assert manager.save_checkpoint(context) is True
    storage.save.assert_called_once_with(context.session_id, context.to_checkpoint())
    assert (manager.should_checkpoint(29), manager.should_checkpoint(30)) == (False, True)
    storage.load.return_value = context.to_checkpoint()
    loaded = manager.load_checkpoint(context.session_id)
    assert loaded is not None
    assert loaded.last_processed_row == 20
    storage.load.return_value = None
    assert manager.load_checkpoint(uuid4()) is None
    for answer in (True, False):
        storage.save.return_value = answer
        storage.exists.return_value = storage.delete.return_value = answer
        assert manager.save_checkpoint(context) is answer
        assert manager.can_resume(context.session_id) is answer
        assert manager.cleanup_checkpoints(context.session_id) is answer
    storage.list_checkpoints.return_value = infos = [MagicMock()]
    assert manager.list_checkpoints() is infos


def test_a_storage_that_raises_is_a_false_and_no_end() -> None:
    storage = MagicMock(spec=CheckpointStorage)
    storage.save.side_effect = storage.delete.side_effect = RuntimeError("disk")
    manager = StateManager(storage)
    assert manager.save_checkpoint(ExecutionContext()) is False
    assert manager.cleanup_checkpoints(uuid4()) is False


def test_the_file_storage_by_its_documented_answers(tmp_path: Any) -> None:
    storage, session = LocalFileCheckpointStorage(tmp_path), uuid4()
    assert (storage.exists(session), storage.load(session)) == (False, None)
    assert storage.save(session, {"last_processed_row": 5, "current_stage_index": 2}) is True
    assert storage.load(session) == {"last_processed_row": 5, "current_stage_index": 2}
    [info] = storage.list_checkpoints()
    assert (info.session_id, info.row_index, info.stage_index) == (session, 5, 2)
    assert info.size_bytes > 0
    assert (storage.delete(session), storage.delete(session)) == (True, False)
