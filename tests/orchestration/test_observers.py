"""The observers that come along: log, progress bar, cost warning."""

from __future__ import annotations

import asyncio
import logging
from decimal import Decimal
from typing import Any

import pytest
import tqdm

from ondine_nb.errors import RefusalError
from ondine_nb.orchestration import (
    AsyncExecutor,
    CostTrackingObserver,
    ExecutionContext,
    LoggingObserver,
    PipelineStage,
    ProgressBarObserver,
)
from tests.orchestration.parts import Load, Table, Work, frame

D = Decimal
STAGE: PipelineStage = Table(lambda data: data, "mine")


def run(context: ExecutionContext, *stages: Any) -> Any:
    return asyncio.run(AsyncExecutor().execute([Load(frame(10)), *stages], context))


class Bar:
    """Stands for tqdm's."""

    made: list[Bar]

    def __init__(self, total: int, **_: Any) -> None:
        self.total, self.n, self.open = total, 0, True
        self.shown: list[Any] = []
        self.made.append(self)

    def set_postfix(self, shown: dict[str, Any]) -> None:
        assert self.open
        self.shown.append((self.n, shown))

    def set_description(self, text: str) -> None:
        self.shown.append(text)

    def close(self) -> None:
        assert self.open
        self.open = False


@pytest.fixture
def bars(monkeypatch: pytest.MonkeyPatch) -> list[Bar]:
    Bar.made = []
    monkeypatch.setattr(tqdm, "tqdm", Bar)
    return Bar.made


# --- log


def test_the_log_tells_of_every_event(caplog: pytest.LogCaptureFixture) -> None:
    context = ExecutionContext(observers=[LoggingObserver()])
    with caplog.at_level(logging.INFO, "ondine_nb"):
        run(context, Work(lambda n: RefusalError("no") if n == 3 else None))
        context.notify_progress()
    for said in (
        "started",
        "stage load started at 0.0 %",
        "stage work done, $0.09",
        "9 rows answered, 1 failed, 0 skipped",
        "10 of 10 rows (100.0 %), $0.09",
    ):
        assert said in caplog.text
    assert {entry.name for entry in caplog.records} == {"ondine_nb.run"}


def test_the_log_tells_of_errors(caplog: pytest.LogCaptureFixture) -> None:
    def breaks(_: Any) -> Any:
        raise KeyError("column")

    with pytest.raises(KeyError):
        run(ExecutionContext(observers=[LoggingObserver()]), Table(breaks, "breaks"))
    told = [entry.message for entry in caplog.records if entry.levelno == logging.ERROR]
    assert "stage breaks failed: 'column'" in told
    assert any("run" in text and "failed: 'column'" in text for text in told)


def test_an_unknown_price_is_not_logged_as_0(caplog: pytest.LogCaptureFixture) -> None:
    context = ExecutionContext(price_known=False)
    with caplog.at_level(logging.INFO, "ondine_nb"):
        LoggingObserver().on_stage_complete(STAGE, context, None)
        LoggingObserver().on_progress_update(context)
        CostTrackingObserver().on_pipeline_error(context, RuntimeError())
    assert caplog.text.count("price unknown") == 3
    assert "$" not in caplog.text


# --- progress bar


def test_the_bar_opens_when_the_number_of_rows_is_known(bars: list[Bar]) -> None:
    observer = ProgressBarObserver()
    assert observer.progress_bar is None
    context = ExecutionContext()
    observer.on_pipeline_start([], context)
    observer.on_stage_start(STAGE, context)
    assert bars == []
    context.total_rows = 10
    observer.on_progress_update(context)
    assert [bar.total for bar in bars] == [10]
    assert observer.progress_bar is bars[0]


def test_the_bar_ends_full_and_closed(bars: list[Bar]) -> None:
    observer = ProgressBarObserver()
    context = ExecutionContext(observers=[observer])
    run(context, Work(lambda n: RefusalError("no") if n == 3 else None))
    (bar,) = bars
    assert (bar.total, bar.n, bar.open) == (10, 10, False)
    assert bar.shown[-1][1]["failed"] == 1
    assert observer.progress_bar is None
    assert context.observers == [observer]


def test_the_bar_closes_at_an_error_and_names_the_stage(bars: list[Bar]) -> None:
    def breaks(_: Any) -> Any:
        raise KeyError("column")

    with pytest.raises(KeyError):
        run(ExecutionContext(observers=[ProgressBarObserver()]), Table(breaks, "breaks"))
    (bar,) = bars
    assert not bar.open
    assert "breaks failed" in bar.shown


def test_the_real_bar_runs(capsys: pytest.CaptureFixture[str]) -> None:
    run(ExecutionContext(observers=[ProgressBarObserver()]), Work())
    assert "10/10" in capsys.readouterr().err


# --- cost


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [entry.message for entry in caplog.records if entry.levelno == logging.WARNING]


def test_the_documented_face_of_the_cost_observer() -> None:
    observer = CostTrackingObserver()
    assert (observer.warning_threshold, observer.max_budget) == (0.75, None)
    assert CostTrackingObserver(0.5).warning_threshold == 0.5


def test_it_warns_once_when_its_share_of_the_runs_budget_is_used(
    caplog: pytest.LogCaptureFixture,
) -> None:
    observer = CostTrackingObserver(0.5)
    context = ExecutionContext(observers=[observer], max_budget=D("0.12"))
    with caplog.at_level(logging.INFO, "ondine_nb"):
        run(context, Work())
    assert observer.max_budget == 0.12
    assert len(warnings(caplog)) == 1
    assert "of the budget is used" in warnings(caplog)[0]
    assert "30 input tokens, 20 output tokens" in caplog.text


@pytest.mark.parametrize(("spent", "warned"), [("0.74", 0), ("0.75", 1), ("5", 1)])
def test_the_threshold_is_a_share_of_the_budget(
    spent: str, warned: int, caplog: pytest.LogCaptureFixture
) -> None:
    observer = CostTrackingObserver()
    context = ExecutionContext(max_budget=D(1))
    observer.on_pipeline_start([], context)
    context.add_cost(D(spent), 1)
    for _ in range(3):
        observer.on_progress_update(context)
        observer.on_stage_complete(STAGE, context, None)
    assert len(warnings(caplog)) == warned


def test_a_budget_that_was_set_by_hand_stays(caplog: pytest.LogCaptureFixture) -> None:
    observer = CostTrackingObserver()
    observer.max_budget = 10.0
    run(ExecutionContext(observers=[observer], max_budget=D("0.01")), Work())
    assert observer.max_budget == 10.0
    assert warnings(caplog) == []


def test_without_a_budget_it_never_warns_and_zero_rows_divide_nothing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    context = ExecutionContext(observers=[CostTrackingObserver()])
    asyncio.run(AsyncExecutor().execute([Load(frame(0)), Work()], context))
    assert warnings(caplog) == []
    assert len(context.observers) == 1


def test_it_warns_in_each_run(caplog: pytest.LogCaptureFixture) -> None:
    observer = CostTrackingObserver()
    for _ in range(2):
        run(ExecutionContext(observers=[observer], max_budget=D("0.1")), Work())
    assert len(warnings(caplog)) == 2
