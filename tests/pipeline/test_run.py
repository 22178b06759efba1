"""A run: its views of rows, errors and costs, asking failed rows again, and what runs beside it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pandas as pd
import polars as pl
import pytest

from ondine_nb import Run
from ondine_nb.data.columns import Column
from ondine_nb.errors import ConfigurationError, RunError
from ondine_nb.orchestration import ExecutionObserver, PipelineStage, Row, RowStage
from tests.asking import HAIKU, Asker, echoes, ended, journaled, seen, statuses, texts
from tests.server import MessagesServer

FAILING = {"Tell: text 1": "refusal", "Tell: text 3": "400", "Tell: text 4": "cut"}


@pytest.fixture
def plan() -> dict[str, str]:
    return dict(FAILING)


@pytest.fixture
def asker(tmp_path: Path, plan: dict[str, str]) -> Iterator[Asker]:
    with MessagesServer(plan=lambda body, _: plan.get(body["messages"][0]["content"])) as server:
        asker = Asker(server, tmp_path)
        yield asker
        asker.end_process()


def mixed() -> pd.DataFrame:
    """Rows 0 to 5 with failures in 1, 3 and 4, a row to skip, and a doubled one."""
    return pd.DataFrame({"text": [*texts(6)["text"], None, "text 0"]})


@pytest.mark.parametrize("kind", ["pandas", "polars"])
def test_rows_tell_what_became_of_each(asker: Asker, kind: str) -> None:
    """Status, cost, tokens, latency and attempts, by position, in a frame of the input's kind."""
    data = mixed() if kind == "pandas" else pl.from_pandas(mixed())
    asker.run(texts(1))
    run = asker.run(data)
    rows = run.rows
    assert isinstance(rows, type(data))
    assert list(rows.columns) == ["row", "status", "cost", "tokens", "latency", "attempts"]
    assert list(rows["row"]) == list(range(8))
    assert statuses(run) == [
        *("journal", "failed", "answered", "failed", "failed", "answered", "skipped", "journal")
    ]
    assert list(rows["attempts"]) == [0, 1, 1, 1, 1, 1, 0, 0]
    paid = [cost > 0 for cost in rows["cost"]]
    assert paid == [False, True, True, False, True, True, False, False]
    assert [tokens > 0 for tokens in rows["tokens"]] == paid
    latencies = rows["latency"].to_list() if kind == "polars" else list(rows["latency"].array)
    assert [latency is not None and latency is not pd.NA for latency in latencies] == paid


def test_errors_tell_why_each_failed(asker: Asker) -> None:
    run = asker.run(mixed())
    errors = run.errors
    assert list(errors.columns) == ["row", "stage", "error_type", "message", "attempts"]
    assert list(errors["row"]) == [1, 3, 4]
    assert list(errors["error_type"]) == ["RefusalError", "RejectedRequestError", "CutAnswerError"]
    assert list(errors["stage"]) == ["invoke"] * 3
    assert list(errors["attempts"]) == [1, 1, 1]
    assert all("\n" not in message for message in errors["message"])
    assert run.frame["response"].isna().tolist() == [
        False,
        True,
        False,
        True,
        True,
        False,
        True,
        False,
    ]
    assert run.context.metrics.failures == {
        "refusal": 1,
        "request rejected": 1,
        "cut at max_tokens": 1,
    }


def test_costs_are_what_the_server_billed_to_the_last_digit(asker: Asker) -> None:
    run = asker.run(mixed(), system="A system prompt.", concurrency=3)
    billed = asker.server.ledger.entries
    assert run.cost == run.costs.total_cost == asker.server.ledger.cost(*HAIKU)
    assert run.costs.input_tokens == sum(entry.input_tokens for entry in billed)
    assert run.costs.output_tokens == sum(entry.output_tokens for entry in billed)
    assert run.costs.confidence == "actual"
    assert sum(Decimal(str(cost)) for cost in run.rows["cost"]) == pytest.approx(run.cost)
    assert sum(run.rows["tokens"]) == run.costs.total_tokens
    assert run.costs.breakdown_by_stage == {"invoke": run.cost}


def test_each_request_is_priced_by_its_own_tier(tmp_path: Path) -> None:
    """Above 100,000 prompt tokens all costs five times as much; sums of tokens don't tell."""

    def usage(body: Any, _text: str) -> dict[str, int]:
        long = "text 1" in body["messages"][0]["content"]
        return {"input_tokens": 100_001 if long else 60_000, "output_tokens": 1_000}

    with MessagesServer(usage=usage) as server:
        run = Asker(server, tmp_path).run(texts(3))
    short = (60_000 * HAIKU[0] + 1_000 * HAIKU[1]) / 1_000_000
    long = 5 * (100_001 * HAIKU[0] + 1_000 * HAIKU[1]) / 1_000_000
    assert run.cost == 2 * short + long


def test_stats_count_rows(asker: Asker) -> None:
    run = asker.run(mixed())
    stats = run.stats
    counts = (stats.total_rows, stats.processed_rows, stats.failed_rows, stats.skipped_rows)
    assert counts == (8, 4, 3, 1)
    assert run.context.get_progress() == 100.0
    assert run.context.metrics.requests == asker.server.arrived == 6
    assert run.context.metrics.duplicates == 1
    assert run.context.metrics.in_flight == 0
    assert run.state == "done"
    assert "8 of 8 rows, 3 failed" in repr(run)


@pytest.mark.parametrize("data", [texts(3), pd.DataFrame({"text": ["a", None, "b"]})])
def test_a_run_in_which_every_row_failed_is_failed(tmp_path: Path, data: pd.DataFrame) -> None:
    """Not done, whether or not there were rows to skip."""
    with MessagesServer(faults={"refusal": 1}) as server:
        run = Asker(server, tmp_path).run(data)
    assert run.state == "failed"
    assert run.error is None
    assert run.result is not None
    assert not run.result.success
    assert run.frame["response"].isna().all()


async def test_states_follow_one_another(asker: Asker) -> None:
    asker.server.pause()
    run = Run(asker.pipeline(texts(1)))
    states = [run.state]
    run.start()
    await seen(lambda: asker.server.arrived == 1)
    states.append(run.state)
    assert run.frame["response"].isna().all()
    assert statuses(run) == ["not_run"]
    asker.server.resume()
    await run
    assert [*states, run.state] == ["pending", "running", "done"]
    run.stop()
    assert run.state == "done"


async def test_a_run_starts_once_and_can_be_awaited_often(asker: Asker) -> None:
    run = asker.pipeline(texts(3)).start()
    with pytest.raises(RunError):
        run.start()
    results = await asyncio.gather(run._wait(), run._wait())
    assert results[0] is results[1] is await run
    assert asker.server.arrived == 3


async def test_retry_failed_sends_just_those(asker: Asker, plan: dict[str, str]) -> None:
    """And gives the whole frame; afterwards the journal has what it got."""
    first = asker.pipeline(mixed()).start()
    await first
    sent = asker.server.arrived
    plan.pop("Tell: text 4")
    second = first.retry_failed()
    await second
    assert asker.server.arrived == sent + 3
    assert list(second.errors["row"]) == [1, 3]
    for rows in ([0], [], [999]):
        with pytest.raises(RunError, match=r"^none of rows=.* failed, .* \(1, 3\)$"):
            second.retry_failed(rows=rows)
    plan.clear()
    third = second.retry_failed()
    await third
    assert asker.server.arrived == sent + 5
    assert list(third.frame["response"].dropna()) == echoes(mixed().dropna())
    assert third.frame["response"].isna().tolist() == [False] * 6 + [True, False]
    assert third.errors.empty
    assert third.state == "done"
    assert third.stats.total_rows == 2
    with pytest.raises(RunError, match="nothing to ask again"):
        third.retry_failed()
    again = asker.pipeline(mixed()).start()
    await again
    assert asker.server.arrived == sent + 5
    assert again.errors.empty
    pd.testing.assert_frame_equal(again.frame, third.frame)


async def test_retry_failed_asks_equal_prompts_once(asker: Asker, plan: dict[str, str]) -> None:
    data = pd.DataFrame({"text": ["text 1", "text 1", "text 2", "text 1"]})
    run = asker.pipeline(data).start()
    await run
    assert (asker.server.arrived, statuses(run).count("failed")) == (2, 3)
    plan.clear()
    retried = run.retry_failed()
    await retried
    assert asker.server.arrived == 3
    assert list(retried.frame["response"]) == echoes(data)


async def test_retry_of_some_rejected_rows_fails_rows_not_the_run(tmp_path: Path) -> None:
    def plan(body: Any, _attempt: int) -> str | None:
        return "400" if int(body["messages"][0]["content"].split()[-1]) >= 5 else None

    with MessagesServer(plan=plan) as server:
        run = Asker(server, tmp_path).pipeline(texts(20), concurrency=2).start()
        await run
        retried = run.retry_failed()
        await retried
    assert retried.stats.failed_rows == 15
    assert retried.error is None
    assert list(retried.frame["response"][:5]) == echoes(texts(5))


async def test_a_retry_in_vain_keeps_the_old_answers_of_the_journal(
    asker: Asker, plan: dict[str, str]
) -> None:
    """What is asked anew replaces a paid failure only once there is an answer."""
    first = asker.pipeline(mixed()).start()
    await first
    plan["Tell: text 1"] = "400"
    await first.retry_failed()
    plan.clear()
    sent = asker.server.arrived
    again = asker.pipeline(mixed()).start()
    await again
    assert "RefusalError" in list(again.errors["error_type"])
    assert asker.server.arrived == sent + 1  # the row that was rejected, never paid


def test_an_answer_that_breaks_the_schema_is_asked_again_twice_at_most(tmp_path: Path) -> None:
    """Each of them is paid, and the row tells how often."""
    with MessagesServer(plan=lambda _, attempt: "bad_schema" if attempt < 3 else None) as server:
        run = Asker(server, tmp_path).run(texts(2), schema="n: int")
    assert statuses(run) == ["answered"] * 2
    assert list(run.rows["attempts"]) == [3, 3]
    assert server.arrived == 6
    assert run.cost == server.ledger.cost(*HAIKU)
    with MessagesServer(faults={"bad_schema": 1}) as server:
        run = Asker(server, tmp_path).run(texts(2), schema="n: int")
    assert server.arrived == 6
    assert list(run.errors["error_type"]) == ["SchemaNotMetError"] * 2
    assert all("asked 3 times" in message for message in run.errors["message"])


async def test_two_runs_at_once_on_one_loop_keep_their_own(asker: Asker) -> None:
    runs = [asker.pipeline(texts(40, start), concurrency=4).start() for start in (10, 100)]
    await asyncio.gather(*(run._wait() for run in runs))
    for run, start in zip(runs, (10, 100), strict=True):
        assert list(run.frame["response"]) == echoes(texts(40, start))
    assert sum(run.cost for run in runs) == asker.server.ledger.cost(*HAIKU)


async def test_two_runs_at_once_pay_for_equal_questions_once(tmp_path: Path) -> None:
    """Within a kernel no answer is bought twice, also not by two background runs."""
    with MessagesServer(latency=(0.001, 0.02)) as server:
        asker = Asker(server, tmp_path)
        runs = [asker.pipeline(texts(60), concurrency=10).start() for _ in range(3)]
        await asyncio.gather(*(run._wait() for run in runs))
        threads = [asyncio.to_thread(asker.pipeline(texts(60, 100)).execute) for _ in range(2)]
        await asyncio.gather(*threads, asker.pipeline(texts(60, 100)).execute_async())
    assert max(server.ledger.by_prompt().values()) == 1
    for run in runs:
        assert list(run.frame["response"]) == echoes(texts(60))
    assert sum(run.cost for run in runs) == sum(
        (Decimal(str(cost)) for run in runs for cost in run.rows["cost"]), Decimal(0)
    )


class Length(RowStage):
    """Adds the length of each answer, and looks at an input column that the prompt doesn't name."""

    produces = (Column("length", "int", []), Column("note", "str", []))

    async def process_row(self, row: Row, context: Any) -> None:
        if row["n"] == 2:
            raise ValueError("two is too much")
        assert row.outputs is not None
        await asyncio.sleep(0)
        row.outputs["length"] = len(row.outputs["response"])
        row.outputs["note"] = f"n is {row['n']}"


class Late(RowStage):
    columns = ("n",)
    produces = (Column("late", "int", []),)

    async def process_row(self, row: Row, context: Any) -> None:
        if row["n"] == 2:
            raise ValueError("two is too much")
        row.outputs = {"late": row["n"]}


class Only(PipelineStage):
    def process(self, input_data: Any, context: Any) -> Any:
        return input_data[input_data["length"].notna()]


def test_a_row_stage_of_the_users_adds_columns_behind_the_answer(asker: Asker) -> None:
    data = texts(4, 10).assign(n=[1, 2, 3, 4])
    run = asker.run(data, stages=[Length("length")])
    assert list(run.frame.columns) == ["text", "n", "response", "length", "note"]
    assert run.frame["length"].tolist() == [18, pd.NA, 18, 18]
    assert run.frame["note"].fillna("").tolist() == ["n is 1", "", "n is 3", "n is 4"]
    assert list(run.errors["stage"]) == ["length"]
    assert list(run.errors["message"]) == ["two is too much"]
    assert asker.run(data, stages=[Length("length")]).cost == 0


def test_a_table_stage_of_the_users_gets_the_frame_behind_the_rows(asker: Asker) -> None:
    data = texts(4, 10).assign(n=[1, 2, 3, 4])
    run = asker.run(data, stages=[Length("length"), Only()])
    assert run.frame["n"].tolist() == [1, 3, 4]
    assert run.result is not None
    assert run.result.data is run.frame


def test_rows_are_counted_once_where_row_stages_follow_a_table_stage(asker: Asker) -> None:
    class Shout(RowStage):
        produces = (Column("loud", "str", []),)

        async def process_row(self, row: Row, context: Any) -> None:
            row.outputs = {"loud": row["response"].upper()}

    class Same(PipelineStage):
        def process(self, input_data: Any, context: Any) -> Any:
            return input_data

    run = asker.run(texts(4, 10), stages=[Same("same"), Shout("shout")])
    assert run.frame["loud"].tolist() == [text.upper() for text in echoes(texts(4, 10))]
    assert (run.stats.total_rows, run.stats.processed_rows) == (4, 4)
    assert run.context.get_progress() == 100.0


def test_rows_that_fail_behind_a_table_stage_stand_in_the_errors(asker: Asker) -> None:
    class Reverse(PipelineStage):
        def process(self, input_data: Any, context: Any) -> Any:
            return input_data.iloc[::-1]

    data = texts(4, 10).assign(n=[1, 2, 3, 4])
    run = asker.run(data, stages=[Reverse("reverse"), Late("late")])
    assert run.frame["late"].tolist() == [4, 3, pd.NA, 1]
    assert list(run.errors["row"]) == [2]
    assert (list(run.errors["stage"]), list(run.errors["message"])) == (
        ["late"],
        ["two is too much"],
    )
    assert run.result is not None
    assert [failure.row for failure in run.result.errors] == [2]


def test_columns_of_user_stages_are_checked_before_anything_is_sent(asker: Asker) -> None:
    with pytest.raises(ConfigurationError, match="note"):
        asker.run(texts(2).assign(note="mine", n=1), stages=[Length("length")])
    with pytest.raises(ConfigurationError, match="length"):
        asker.run(texts(2).assign(n=1), stages=[Length("a"), Length("b")])
    assert asker.server.arrived == 0


def test_a_table_stage_that_raises_ends_the_run_with_the_paid_rows_kept(asker: Asker) -> None:
    class Broken(PipelineStage):
        def process(self, input_data: Any, context: Any) -> Any:
            raise RuntimeError("no disk")

    run = asker.run(texts(2, 10), stages=[Broken()])
    assert (run.state, str(run.error)) == ("failed", "no disk")
    assert list(run.frame["response"]) == echoes(texts(2, 10))


class Diary(ExecutionObserver):
    def __init__(self, raising: str = "") -> None:
        self.calls: list[str] = []
        self.raising = raising

    def _note(self, name: str) -> None:
        self.calls.append(name)
        if name == self.raising:
            raise RuntimeError("I can't watch")

    def on_pipeline_start(self, pipeline: Any, context: Any) -> None:
        self._note("start")

    def on_stage_start(self, stage: Any, context: Any) -> None:
        self._note(f"+{stage.name}")

    def on_stage_complete(self, stage: Any, context: Any, result: Any) -> None:
        self._note(f"-{stage.name}")

    def on_stage_error(self, stage: Any, context: Any, error: Any) -> None:
        self._note(f"!{stage.name}")

    async def on_pipeline_complete(self, context: Any, result: Any) -> None:
        await asyncio.sleep(0)
        self._note("complete")
        assert len(result.data) == context.processed_rows

    def on_pipeline_error(self, context: Any, error: Any) -> None:
        self._note(f"error: {error}")

    def on_progress_update(self, context: Any) -> None:
        if self.raising == "progress":
            self._note("progress")


STAGES = ["load", "prompt", "invoke", "parse"]


def test_observers_are_told_in_order_and_those_that_raise_are_dropped(
    asker: Asker, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever an observer does, the run goes on and the others are told."""
    moments = ["start", "+load", "+invoke", "-parse", "complete", "progress"]
    observers = [Diary(), *map(Diary, moments), Diary()]
    run = asker.run(texts(3, 10), observers=observers)
    assert run.state == "done"
    expected = ["start", "+load", "-load", *(f"+{name}" for name in STAGES[1:])]
    expected += [*(f"-{name}" for name in STAGES[1:]), "complete"]
    assert observers[0].calls == observers[-1].calls == expected
    for observer in observers[1:-1]:
        assert observer.calls[-1] == observer.raising
    assert sum("is dropped" in record.message for record in caplog.records) == len(moments)


def test_observers_are_told_of_the_error_that_ends_a_run(tmp_path: Path) -> None:
    diary = Diary()
    with MessagesServer(faults={"401": 1}) as server:
        run = Asker(server, tmp_path).run(texts(3), observers=[diary])
    assert diary.calls[-1] == f"error: {run.error}"
    assert "complete" not in diary.calls


async def test_when_over_is_called_once_everything_has_ended(asker: Asker) -> None:
    told: list[str] = []
    run = Run(asker.pipeline(texts(2)))
    run.when_over(lambda over: told.append(over.state))
    await ended(run)
    run.when_over(lambda over: told.append("late"))
    assert told == ["done", "late"]


def test_journal_rows_are_counted_beside_new_ones(asker: Asker) -> None:
    asker.run(texts(3, 10))
    run = asker.run(texts(5, 10))
    assert (journaled(run), run.stats.processed_rows) == (3, 5)
    assert "3 from the journal" in repr(run)
