"""Context, stages and observers: documented face, counts by rows, checkpoints, dispatch."""

from __future__ import annotations

import asyncio
import json
import logging
from dataclasses import fields
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ondine_nb.errors import CheckpointError, RefusalError
from ondine_nb.models import CostEstimate, Usage, ValidationResult
from ondine_nb.orchestration import (
    ExecutionContext,
    ExecutionObserver,
    ObserverDispatcher,
    PipelineStage,
    Row,
    RowStage,
    dispatcher,
)

D = Decimal
counts = st.integers(0, 10**12)
names = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
money = st.decimals(allow_nan=False, allow_infinity=False, min_value=0, max_value=10**9)
seconds = st.floats(0, 1e9)
times = st.datetimes(timezones=st.none() | st.just(UTC))
plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | names,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3),
    max_leaves=6,
)
contexts = st.builds(
    ExecutionContext,
    session_id=st.uuids(),
    pipeline_id=st.uuids(),
    start_time=times,
    end_time=st.none() | times,
    current_stage_index=counts,
    last_processed_row=counts,
    total_rows=counts,
    accumulated_cost=money,
    accumulated_tokens=counts,
    intermediate_data=st.dictionaries(names, plain, max_size=3),
    failed_rows=counts,
    skipped_rows=counts,
    trace_id=names,
    span_id=names,
    processed_rows=counts,
    journal_rows=counts,
    usage=st.builds(Usage, counts, counts, counts, counts),
    max_budget=st.none() | money,
    price_known=st.booleans(),
    stage_durations=st.dictionaries(names, seconds, max_size=3),
    stage_costs=st.dictionaries(names, money, max_size=3),
    reserved=money,
    settings=st.dictionaries(names, plain, max_size=3),
)
# What belongs to the process, not to the run's record.
LIVE = {"observers", "observer_dispatcher", "control", "metrics"}


def record(context: ExecutionContext) -> dict[str, Any]:
    return {f.name: getattr(context, f.name) for f in fields(context) if f.name not in LIVE}


def finished(position: int, status: str) -> Row:
    row = Row(position, (), {})
    row.status = status
    return row


# --- context


def test_a_fresh_context_has_processed_nothing() -> None:
    context = ExecutionContext()
    stats = context.get_stats()
    assert (context.get_progress(), stats.processed_rows, stats.failed_rows) == (0.0, 0, 0)
    assert (context.accumulated_cost, context.accumulated_tokens) == (D("0.0"), 0)
    assert (context.current_stage_index, context.last_processed_row, context.total_rows) == (
        0,
        0,
        0,
    )
    assert (context.end_time, context.intermediate_data, context.observers) == (None, {}, [])
    assert isinstance(context.session_id, UUID)
    assert UUID(context.trace_id) != UUID(context.span_id)
    context.total_rows = 100
    assert (context.get_progress(), context.get_stats().processed_rows) == (0.0, 0)


def test_100_rows_of_100_are_100_percent() -> None:
    context = ExecutionContext(total_rows=100)
    context.update_row(49)
    assert context.get_progress() == 50.0
    context.update_row(99)
    assert context.get_progress() == 100.0
    assert context.get_stats().processed_rows == 100


def test_a_last_processed_row_that_is_just_set_stands_for_all_rows_up_to_it() -> None:
    context = ExecutionContext(total_rows=100, last_processed_row=49)
    assert (context.get_progress(), context.get_stats().processed_rows) == (50.0, 50)
    context.last_processed_row = 99
    assert (context.get_progress(), context.get_stats().processed_rows) == (100.0, 100)


def test_a_restored_context_counts_rows_not_the_place_of_the_last_one() -> None:
    context = ExecutionContext(total_rows=100)
    context.complete_row(finished(99, "answered"))
    restored = ExecutionContext.from_checkpoint(context.to_checkpoint())
    assert (context.get_progress(), restored.get_progress()) == (1.0, 1.0)


def test_failed_and_skipped_rows_are_not_counted_twice_by_a_watermark() -> None:
    context = ExecutionContext(total_rows=10, failed_rows=2, skipped_rows=1)
    context.update_row(9)
    stats = context.get_stats()
    assert (stats.processed_rows, stats.failed_rows, stats.skipped_rows) == (7, 2, 1)
    assert context.get_progress() == 100.0


@given(
    st.permutations(range(12)),
    st.lists(
        st.sampled_from(["answered", "journal", "failed", "skipped"]), min_size=12, max_size=12
    ),
)
def test_counts_come_from_rows_in_whatever_order_they_end(
    order: list[int], statuses: list[str]
) -> None:
    context = ExecutionContext(total_rows=12)
    for done, position in enumerate(order):
        assert context.done_rows == done
        context.complete_row(finished(position, statuses[position]))
    stats = context.get_stats()
    assert stats.failed_rows == statuses.count("failed")
    assert stats.skipped_rows == statuses.count("skipped")
    assert stats.processed_rows + stats.failed_rows + stats.skipped_rows == 12
    assert context.journal_rows == statuses.count("journal")
    assert (context.last_processed_row, context.get_progress()) == (11, 100.0)


def test_costs_add_up_with_real_tokens_in_and_out() -> None:
    context = ExecutionContext(total_rows=2)
    context.add_usage(D("0.1"), Usage(1, 2, 3, 4), "invoke")
    context.add_usage(D("0.2"), Usage(10, 20), "invoke")
    context.add_cost(D("0.05"), 5)
    costs = context.get_costs()
    assert (costs.total_cost, costs.total_tokens) == (D("0.35"), 45)
    assert (costs.input_tokens, costs.output_tokens) == (18, 22)
    assert costs.breakdown_by_stage == {"invoke": D("0.3")}
    assert costs.confidence == "actual"


def test_an_unknown_price_is_unknown_in_the_costs_not_0() -> None:
    assert ExecutionContext(price_known=False).get_costs().total_cost is None


def test_rates_divide_by_the_runs_duration_and_never_by_zero() -> None:
    start = datetime(2026, 1, 1)
    context = ExecutionContext(start_time=start, end_time=start, processed_rows=4, total_rows=4)
    assert context.get_stats().rows_per_second == 0.0
    context.end_time = start + timedelta(seconds=2)
    stats = context.get_stats()
    assert (stats.rows_per_second, stats.total_duration_seconds) == (2.0, 2.0)


# --- checkpoints


@settings(deadline=None)
@given(contexts)
def test_a_checkpoint_round_trips_every_field_through_json(context: ExecutionContext) -> None:
    restored = ExecutionContext.from_checkpoint(json.loads(json.dumps(context.to_checkpoint())))
    assert record(restored) == record(context)
    assert str(restored.accumulated_cost) == str(context.accumulated_cost)
    assert restored.to_dict() == context.to_checkpoint()
    assert record(ExecutionContext.from_dict(context.to_dict())) == record(context)


def test_every_field_that_outlives_the_process_is_in_the_checkpoint() -> None:
    outliving = {f.name for f in fields(ExecutionContext)} - LIVE
    assert set(ExecutionContext().to_checkpoint()) == outliving | {"counted_to"}


def test_a_row_that_was_just_set_still_stands_for_all_up_to_it_after_a_checkpoint() -> None:
    context = ExecutionContext(total_rows=5, last_processed_row=3)
    restored = ExecutionContext.from_checkpoint(context.to_checkpoint())
    assert restored.get_progress() == context.get_progress() == 80.0


def test_a_checkpoint_of_the_documented_engine_is_read() -> None:
    documented = ExecutionContext(
        last_processed_row=9, total_rows=10, failed_rows=3
    ).to_checkpoint()
    later = ("trace_id", "span_id", "processed_rows", "journal_rows", "usage", "max_budget")
    for name in (*later, "price_known", "stage_durations", "stage_costs", "reserved", "settings"):
        del documented[name]
    restored = ExecutionContext.from_checkpoint(documented)
    assert (restored.processed_rows, restored.failed_rows) == (7, 3)
    assert restored.get_progress() == 100.0


@settings(deadline=None)
@given(st.sampled_from(sorted(ExecutionContext().to_checkpoint())), plain)
def test_a_damaged_field_is_a_clear_error_or_still_a_context_of_the_right_types(
    name: str, value: Any
) -> None:
    data = ExecutionContext().to_checkpoint() | {name: value}
    try:
        restored = ExecutionContext.from_checkpoint(data)
    except CheckpointError:
        return
    whole = record(ExecutionContext(end_time=datetime.now(), max_budget=D(1)))
    for field, found in record(restored).items():
        assert found is None or isinstance(found, type(whole[field])), field
    restored.get_progress()
    restored.get_stats()


@pytest.mark.parametrize("data", [{}, {"session_id": "x"}, [], "text", None, 5], ids=str)
def test_what_is_no_checkpoint_is_a_clear_error(data: Any) -> None:
    with pytest.raises(CheckpointError, match="the journal still has its paid answers"):
        ExecutionContext.from_checkpoint(data)


# --- stages


class Doubling(PipelineStage):
    def __init__(self) -> None:
        super().__init__("doubling")
        self.calls: list[Any] = []

    def process(self, input_data: Any, context: ExecutionContext) -> Any:
        self.calls.append("process")
        return input_data * 2

    def before_process(self, context: ExecutionContext) -> None:
        self.calls.append("before")

    def after_process(self, result: Any, context: ExecutionContext) -> None:
        self.calls.append(("after", result))

    def on_error(self, error: Exception, context: ExecutionContext) -> Any:
        self.calls.append(("error", str(error)))


class DoublingLater(Doubling):
    async def process(self, input_data: Any, context: ExecutionContext) -> Any:  # type: ignore[override]
        await asyncio.sleep(0)
        return super().process(input_data, context)


@pytest.mark.parametrize("kind", [Doubling, DoublingLater])
async def test_execute_is_process_with_its_hooks(kind: type[Doubling]) -> None:
    stage = kind()
    outcome = stage.execute(2, ExecutionContext())
    assert (await outcome if asyncio.iscoroutine(outcome) else outcome) == 4
    assert stage.calls == ["before", "process", ("after", 4)]


@pytest.mark.parametrize("kind", [Doubling, DoublingLater])
async def test_an_error_goes_to_on_error_and_on(kind: type[Doubling]) -> None:
    stage = kind()

    async def execute() -> None:
        outcome = stage.execute(None, ExecutionContext())
        await outcome

    with pytest.raises(TypeError):
        await execute()
    assert [call[0] for call in stage.calls if isinstance(call, tuple)] == ["error"]


def test_a_stages_defaults() -> None:
    stage = Doubling()
    assert stage.validate_input(object()) == ValidationResult(is_valid=True)
    assert stage.validate_input(object(), ExecutionContext()).is_valid
    cost = stage.estimate_cost(object())
    assert isinstance(cost, CostEstimate)
    assert cost.total_cost == 0


def test_a_stage_without_process_cant_be_made_and_one_without_a_name_is_called_by_its_class() -> (
    None
):
    with pytest.raises(TypeError, match="process"):
        PipelineStage("x")  # type: ignore[abstract]

    class Nameless(PipelineStage):
        def process(self, input_data: Any, context: ExecutionContext) -> Any:
            return input_data

    assert Nameless().name == "Nameless"


def test_a_row_stage_called_like_a_table_stage_says_how_it_is_run() -> None:
    with pytest.raises(TypeError, match="run it by an executor"):
        RowStage("rows").process(None, ExecutionContext())


# --- rows


def test_a_row_gives_its_values_by_name_and_keeps_its_failure() -> None:
    row = Row(7, ("a", None), {"text": 0, "price": 1})
    assert (row["text"], row["price"], row.status, row.settled) == ("a", None, "not_run", False)
    row.attempts = 3
    row.fail(RefusalError("no"), "invoke")
    assert row.failure is not None
    assert (row.failure.row, row.failure.stage, row.failure.error_type) == (
        7,
        "invoke",
        "RefusalError",
    )
    assert (row.failure.message, row.failure.attempts, row.failure.label) == ("no", 3, "refusal")
    assert row.settled


def test_an_error_without_words_is_named_by_its_type() -> None:
    row = Row(0, (), {})
    row.fail(KeyError(), "mine")
    assert row.failure is not None
    assert (row.failure.message, row.failure.label) == ("KeyError", "failed")


# --- observers


class Seen(ExecutionObserver):
    """Notes every event; raises in `bad`; `later` makes all its methods async."""

    def __init__(self, bad: str = "", later: bool = False) -> None:
        self.events: list[str] = []
        self.bad, self.later = bad, later

    def _note(self, event: str) -> Any:
        if self.later:
            return self._note_later(event)
        self.events.append(event)
        if event == self.bad:
            raise RuntimeError("observer's own fault")
        return None

    async def _note_later(self, event: str) -> None:
        for _ in range(3):
            await asyncio.sleep(0)
        self.events.append(event)
        if event == self.bad:
            raise RuntimeError("observer's own fault")

    def on_pipeline_start(self, pipeline: Any, context: ExecutionContext) -> Any:
        return self._note("on_pipeline_start")

    def on_stage_start(self, stage: Any, context: ExecutionContext) -> Any:
        return self._note("on_stage_start")

    def on_stage_complete(self, stage: Any, context: ExecutionContext, result: Any) -> Any:
        return self._note("on_stage_complete")

    def on_stage_error(self, stage: Any, context: ExecutionContext, error: Exception) -> Any:
        return self._note("on_stage_error")

    def on_pipeline_complete(self, context: ExecutionContext, result: Any) -> Any:
        return self._note("on_pipeline_complete")

    def on_pipeline_error(self, context: ExecutionContext, error: Exception) -> Any:
        return self._note("on_pipeline_error")

    def on_progress_update(self, context: ExecutionContext) -> Any:
        return self._note("on_progress_update")


class Clock:
    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        monkeypatch.setattr(dispatcher.time, "monotonic", lambda: self.now)


@pytest.mark.parametrize("later", [False, True], ids=["plain", "async"])
async def test_an_observer_that_raises_is_logged_once_and_dropped(
    later: bool, caplog: pytest.LogCaptureFixture
) -> None:
    bad, good = Seen("on_stage_start", later), Seen()
    context = ExecutionContext(observers=[bad, good])
    with caplog.at_level(logging.WARNING, "ondine_nb"):
        for _ in range(3):
            await context.dispatcher.send("on_stage_start", None, context)
    assert bad.events == ["on_stage_start"]
    assert good.events == ["on_stage_start"] * 3
    assert [entry.levelname for entry in caplog.records] == ["WARNING"]
    assert "Seen raised in on_stage_start and is dropped" in caplog.text
    assert context.observers == [good]


@pytest.mark.parametrize("later", [False, True], ids=["plain", "async"])
async def test_one_that_raises_at_progress_is_dropped_too(
    later: bool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    clock, bad = Clock(monkeypatch), Seen("on_progress_update", later)
    context = ExecutionContext(observers=[bad])
    for _ in range(3):
        context.notify_progress()
        await context.dispatcher.send("on_stage_start", None, context)
        clock.now += 1
    assert bad.events == ["on_progress_update"]
    assert len(caplog.records) == 1


async def test_an_observer_has_just_the_methods_that_it_needs() -> None:
    class Progress(ExecutionObserver):
        seen = 0

        def on_progress_update(self, context: ExecutionContext) -> None:
            self.seen += 1

    observer, nothing = Progress(), object()
    context = ExecutionContext(observers=[observer, nothing])  # type: ignore[list-item]
    await context.dispatcher.send("on_stage_start", None, context)
    context.notify_progress()
    assert observer.seen == 1
    assert context.observers == [observer, nothing]


def test_the_base_of_observers_is_no_observer_itself() -> None:
    with pytest.raises(TypeError, match="abstract"):
        ExecutionObserver()


@pytest.mark.parametrize("rate", [7, 10, 100, 10_000])
def test_progress_is_told_at_most_ten_times_a_second(
    rate: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Over three seconds of a fake clock, whatever the rate of rows."""
    clock, observer = Clock(monkeypatch), Seen()
    context = ExecutionContext(observers=[observer])
    for _ in range(3 * rate):
        context.notify_progress()
        clock.now += 1 / rate
    assert min(3 * rate, 15) <= len(observer.events) <= 30


def test_the_last_state_is_always_told(monkeypatch: pytest.MonkeyPatch) -> None:
    Clock(monkeypatch)
    observer = Seen()
    context = ExecutionContext(observers=[observer])
    context.notify_progress()
    context.notify_progress()
    assert len(observer.events) == 1
    context.end_time = datetime.now()
    context.notify_progress()
    assert len(observer.events) == 2


async def test_async_observers_are_awaited_and_no_event_overtakes_progress(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock, observer = Clock(monkeypatch), Seen(later=True)
    context = ExecutionContext(observers=[observer])
    await context.dispatcher.send("on_stage_start", None, context)
    for _ in range(5):  # still at the first one: no crowd of them
        context.notify_progress()
        clock.now += 1
    await context.dispatcher.send("on_stage_complete", None, context, None)
    assert observer.events == ["on_stage_start", "on_progress_update", "on_stage_complete"]


def test_progress_from_a_thread_without_a_loop_reaches_async_observers() -> None:
    observer = Seen(later=True)
    ExecutionContext(observers=[observer]).notify_progress()
    assert observer.events == ["on_progress_update"]


def test_one_dispatcher_a_context() -> None:
    context = ExecutionContext()
    assert context.dispatcher is context.dispatcher
    mine = ObserverDispatcher(context)
    assert ExecutionContext(observer_dispatcher=mine).dispatcher is mine


def test_dispatch_calls_the_observers_from_anywhere_by_either_name() -> None:
    plain, later = Seen(), Seen(later=True)
    context = ExecutionContext(observers=[plain, later])
    context.dispatcher.dispatch("stage_start", None, context)
    context.dispatcher.dispatch("on_stage_start", None, context)
    assert plain.events == later.events == ["on_stage_start"] * 2


class Own:
    """A dispatcher of the user's own, as the documents have it."""

    def __init__(self) -> None:
        self.events: list[tuple[str, Any]] = []

    def dispatch(self, name: str, event: Any) -> None:
        self.events.append((name, event))
        if name == "stage_complete":
            raise ValueError("no")


async def test_a_dispatcher_of_the_users_own_gets_every_event_until_it_raises(
    caplog: pytest.LogCaptureFixture,
) -> None:
    own, seen = Own(), Seen()
    context = ExecutionContext(observers=[seen], observer_dispatcher=own)  # type: ignore[arg-type]
    for _ in range(2):
        await context.dispatcher.send("on_stage_start", "the stage", context)
        await context.dispatcher.send("on_stage_complete", "the stage", context, None)
    assert [name for name, _ in own.events] == ["stage_start", "stage_complete"]
    assert own.events[0][1].stage == "the stage"
    assert seen.events == ["on_stage_start", "on_stage_complete"] * 2
    assert "Own raised in on_stage_complete and is dropped" in caplog.text
