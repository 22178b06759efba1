"""How a run came out: what it lacks is raised with the result at hand, and its report is JSON."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from ondine_nb import Pipeline, Run, costs
from ondine_nb.errors import ConfigurationError, IncompleteRunError, RunError
from ondine_nb.pipeline.options import Options
from ondine_nb.pipeline.records import fold_records
from ondine_nb.pipeline.report import unmet
from ondine_nb.pipeline.spending import read_spending
from tests.asking import Asker, ended, texts
from tests.server import MessagesServer

ROWS = texts(20)
FAILING = {f"Tell: text {at}": "refusal" for at in range(2)}  # 10 % of them


@pytest.fixture
def plan() -> dict[str, str]:
    return dict(FAILING)


@pytest.fixture
def asker(tmp_path: Path, plan: dict[str, str]) -> Iterator[Asker]:
    with MessagesServer(plan=lambda body, _: plan.get(body["messages"][0]["content"])) as server:
        asker = Asker(server, tmp_path / "journal")
        yield asker
        asker.end_process()


def outcome(run: Run) -> IncompleteRunError | None:
    """What awaiting the run raises."""
    try:
        asyncio.run(run.execute_async())
    except IncompleteRunError as error:
        return error
    return None


# -- what is asked of a run


@pytest.mark.parametrize(
    ("asked", "kept"), [("10%", True), ("9.9%", False), (0.1, True), ("0.05", False), (0, False)]
)
def test_more_failed_rows_than_fail_above_raise_one_line_with_the_result(
    asker: Asker, asked: Any, kept: bool
) -> None:
    run = Run(asker.pipeline(ROWS, fail_above=asked))
    error = outcome(run)
    assert (error is None) == kept == run.success
    assert run.result is not None
    assert run.result.success == kept
    assert run.frame["response"].notna().sum() == 18
    if error is not None:
        assert error.result is run.result
        assert "2 of 20 rows failed (10.0%), and --fail-above is" in str(error)
        assert "\n" not in str(error)
        assert run.state == "failed"


def test_complete_takes_no_failed_row_unless_fail_above_allows_it(asker: Asker) -> None:
    assert "--require is complete" in str(outcome(Run(asker.pipeline(ROWS, require="complete"))))
    assert outcome(Run(asker.pipeline(ROWS, require="complete", fail_above="10%"))) is None
    assert outcome(Run(asker.pipeline(ROWS[2:], require="complete"))) is None


@pytest.mark.parametrize("by", ["execute", "execute_async", "stream", "await"])
def test_however_it_is_run_rows_that_were_not_run_are_told(asker: Asker, by: str) -> None:
    pipeline = asker.pipeline(ROWS[2:], require="complete", budget="0.0003", concurrency=1)
    taken: list[Any] = []

    async def awaited() -> None:
        await (pipeline.start() if by == "await" else pipeline.execute_async())

    ways = {"execute": pipeline.execute, "stream": lambda: taken.extend(pipeline.stream())}
    with pytest.raises(IncompleteRunError, match=r"not run \(budget\), and --require is complete"):
        ways.get(by, lambda: asyncio.run(awaited()))()
    if by == "stream":
        assert len(pd.concat(taken))


def test_without_them_nothing_is_raised_and_success_says_that_rows_are_missing(
    asker: Asker,
) -> None:
    run = asker.run(ROWS[2:], budget="0.0003", concurrency=1)
    assert run.error is None
    assert run.state == "stopped"
    assert run.counts.not_run > 0
    assert run.result is not None
    assert not run.result.success
    assert not run.success
    assert asker.run(ROWS).success, "some failed rows are no failure by themselves"


def test_a_retry_that_gets_every_row_meets_what_the_run_did_not(
    asker: Asker, plan: dict[str, str]
) -> None:
    run = asker.run(ROWS, require="complete")
    assert isinstance(run.error, IncompleteRunError)
    plan.clear()

    async def again() -> Run:
        retry = run.retry_failed()
        await retry
        return retry

    retry = asyncio.run(again())
    assert retry.success
    assert retry.report()["rows"]["answered"] == 20


def test_a_taker_who_leaves_a_stream_early_is_told_nothing(asker: Asker) -> None:
    stream = asker.pipeline(ROWS, require="complete", chunk_size=5).stream()
    assert len(next(stream)) == 5
    stream.close()


@pytest.mark.parametrize("given", ["5", 1, "101%", "-1%", "much", True, "nan"])
def test_a_share_that_can_t_be_meant_is_told_with_how_to_write_it(given: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"--fail-above is .*: write .* 5% or 0\.05"):
        Options(fail_above=given)


def test_a_share_is_exact() -> None:
    assert Options(fail_above=0.07).fail_above == "7.00%"
    assert Options(fail_above="100%").fail_above == "100%"
    assert Options.of({"fail_above": Options(fail_above=0.07).fail_above}).fail_above == "7.00%"


def test_preview_asks_nothing_of_its_few_rows(asker: Asker, tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    pipeline = asker.pipeline(ROWS[:2], require="complete", report=report)
    assert len(pipeline.preview(2)) == 2
    assert not report.exists()


# -- the report


def test_the_report_has_rows_failures_cost_and_journal_and_is_what_is_written(
    asker: Asker, tmp_path: Path
) -> None:
    asker.run(ROWS[2:5])
    path = tmp_path / "report.json"
    run = asker.run(ROWS, report=path, fail_above="5%")
    written = json.loads(path.read_text())
    assert written == run.report()
    assert written["rows"] == {
        "total": 20, "answered": 15, "journal": 3, "failed": 2, "skipped": 0, "not_run": 0,
    }  # fmt: skip
    assert written["failures"] == {"refusal": 2}
    assert Decimal(written["cost_usd"]) == run.cost
    assert written["journal"] == str(asker.folder)
    assert (written["run"], written["state"], written["success"]) == (run.id, "failed", False)
    assert written["error"]["type"] == "IncompleteRunError"
    assert [each.name for each in tmp_path.iterdir() if "report" in each.name] == ["report.json"]


def test_a_run_that_fails_leaves_its_report_too(asker: Asker, tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    asker.server.stop()
    run = asker.run(ROWS, report=path, concurrency=1, timeout=1, on_error="stop")
    written = json.loads(path.read_text())
    assert run.error is not None
    assert written["error"] == {"type": type(run.error).__name__, "message": str(run.error)}
    assert not written["success"]


def test_a_stopped_run_has_written_its_report_when_who_waits_goes_on(
    asker: Asker, tmp_path: Path
) -> None:
    path = tmp_path / "report.json"
    run = Run(asker.pipeline(ROWS, report=path))

    async def main() -> None:
        run.start()
        run.stop()
        await run
        assert path.exists()

    asyncio.run(main())


@pytest.mark.parametrize("path", ["nowhere/report.json", "."])
def test_a_report_that_can_t_be_written_is_told_before_anything_is_sent(
    asker: Asker, tmp_path: Path, path: str
) -> None:
    with pytest.raises(ConfigurationError, match=r"--report .* can't be written"):
        asker.pipeline(ROWS, report=tmp_path / path)


def test_a_report_that_can_no_longer_be_written_is_an_error_and_the_result_stays(
    asker: Asker, tmp_path: Path
) -> None:
    folder = tmp_path / "reports"
    folder.mkdir()
    run = Run(asker.pipeline(ROWS, report=folder / "report.json"))
    folder.rmdir()
    asyncio.run(ended(run))
    assert isinstance(run.error, RunError)
    assert "the report can't be written" in str(run.error)
    assert not run.success
    assert run.frame["response"].notna().sum() == 18


def test_each_run_closes_with_one_line(asker: Asker, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="ondine_nb.run"):
        run = asker.run(ROWS)
    (line,) = [each.getMessage() for each in caplog.records if each.name == "ondine_nb.run"]
    assert line.startswith("data: done, 20 rows (18 answered, 2 failed), $0.0")
    assert line.endswith(f"journal {asker.folder}, run {run.id}")


def test_of_an_open_stream_that_ended_early_the_last_rows_are_missing(asker: Asker) -> None:
    run = Run(asker.pipeline(ROWS))
    run.context.metrics.open_ended = True
    run.context.control.stop("budget")
    line = unmet(Options(require="complete"), run.counts, run.context)
    assert line is not None
    assert line.startswith("the last rows were not run (budget)")


# -- old records


def _paid(asker: Asker, runs: int) -> None:
    for at in range(runs):
        run = Run(asker.pipeline(texts(3, start=100 + 10 * at)), name=f"night_{at}")
        asyncio.run(ended(run))
    asker.end_process()


def test_old_records_are_folded_and_costs_stay_exact_to_the_last_digit(asker: Asker) -> None:
    _paid(asker, 6)
    before, shown = read_spending(asker.folder), costs(asker.folder)
    assert len(list((asker.folder / "runs").glob("*.json"))) == 6
    fold_records(asker.folder, kept=2)
    assert len(list((asker.folder / "runs").glob("*.json"))) == 2
    assert read_spending(asker.folder) == before
    assert {spent.name for spent in before} == {f"night_{at}" for at in range(6)}
    pd.testing.assert_frame_equal(costs(asker.folder), shown)
    newest = Pipeline.resume("night_5", texts(3, start=150), journal=asker.folder)
    assert newest.execute().success


def test_a_run_folds_what_is_too_old_by_itself(
    asker: Asker, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ondine_nb.pipeline import run as runs

    monkeypatch.setattr(runs, "fold_records", lambda folder: fold_records(folder, kept=3))
    _paid(asker, 6)
    assert len(list((asker.folder / "runs").glob("*.json"))) == 3
    assert len({spent.name for spent in read_spending(asker.folder)}) == 6


def test_a_run_that_never_ended_keeps_its_record_and_a_damaged_one_is_left(asker: Asker) -> None:
    _paid(asker, 3)
    oldest, second, _ = sorted(
        (asker.folder / "runs").glob("*.json"), key=lambda path: path.stat().st_mtime
    )
    record = json.loads(oldest.read_text())
    record["data"]["end_time"] = None
    oldest.write_text(json.dumps(record))
    second.write_text("{")
    fold_records(asker.folder, kept=0)
    assert set((asker.folder / "runs").glob("*.json")) == {oldest, second}
