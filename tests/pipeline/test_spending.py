"""What was paid: the journal's sums are the runs' own, to the last digit."""

from __future__ import annotations

import csv
from datetime import date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pandas as pd
import polars as pl
import pytest

import ondine_nb
from ondine_nb import Pipeline
from ondine_nb.errors import ConfigurationError
from ondine_nb.journal import files as journal_files
from ondine_nb.models import Savings
from ondine_nb.pipeline.spending import read_spending, write_csv
from tests.asking import Asker, texts
from tests.server import MessagesServer
from tests.table import HEAD

TODAY = datetime.now().date().isoformat()


@pytest.fixture
def asker(server: MessagesServer, home: Path) -> Asker:
    return Asker(server, home)


def test_the_sums_are_those_of_the_runs_to_the_last_digit(asker: Asker, home: Path) -> None:
    runs = [
        asker.run(texts(7), name="first"),
        asker.run(texts(9), name="second", model="claude-opus-5-5"),
        asker.run(texts(9), name="second", model="claude-opus-5-5"),  # from the journal: nothing
    ]
    by_run = read_spending(home, "run")
    assert [(spent.run, spent.name, spent.answers, spent.cost) for spent in by_run] == [
        (runs[0].id, "first", 7, runs[0].cost),
        (runs[1].id, "second", 9, runs[1].cost),
    ]
    by_model = {spent.model: spent.cost for spent in read_spending(home, "model")}
    assert by_model == {"claude-haiku-5-5": runs[0].cost, "claude-opus-5-5": runs[1].cost}
    [day] = read_spending(home, "day")
    assert day.day in (TODAY, (date.fromisoformat(TODAY) + timedelta(1)).isoformat())
    assert day.cost == sum(run.cost or 0 for run in runs)


def test_answers_of_earlier_kernels_count_too_and_parts_are_read_on(
    asker: Asker, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal_files, "_BILLS_AT_ONCE", 3)
    asker.run(texts(7))
    asker.end_process()
    asker.run(texts(5, start=100))
    assert sum(spent.answers for spent in read_spending(home)) == 12 == asker.server.ledger.requests
    assert sum(spent.cost for spent in read_spending(home)) == asker.server.ledger.cost(
        "0.1", "0.5"
    )


def test_an_unknown_price_is_told_apart_and_never_counted_as_nothing(
    asker: Asker, home: Path
) -> None:
    asker.run(texts(3), model="my-model")
    asker.run(texts(2))
    unknown, known = read_spending(home, "model")
    assert (unknown.known_cost, unknown.unpriced, unknown.answers) == (None, 3, 3)
    assert known.known_cost == known.cost > 0
    frame = ondine_nb.costs(home, "model", kind="pandas")
    assert list(frame["cost"].isna()) == [True, False]


@pytest.mark.parametrize(("kind", "cls"), [("pandas", pd.DataFrame), ("polars", pl.DataFrame)])
def test_the_frame_has_a_row_for_each_group(asker: Asker, home: Path, kind: str, cls: Any) -> None:
    run = asker.run(texts(4), name="out")
    frame = ondine_nb.costs(home, kind=kind)
    assert isinstance(frame, cls)
    assert list(frame.columns) == ["run", "name", "model", "day", "answers", "unpriced", "cost"]
    assert (frame["run"][0], frame["name"][0], frame["answers"][0]) == (run.id, "out", 4)
    assert frame["cost"][0] == pytest.approx(float(run.cost or 0))


def test_an_empty_journal_is_an_empty_frame_and_another_group_an_error(home: Path) -> None:
    assert len(ondine_nb.costs(home)) == 0
    with pytest.raises(ConfigurationError, match="Did you mean 'model'"):
        ondine_nb.costs(home, by="modle")


def test_the_csv_has_the_costs_exactly(asker: Asker, home: Path, tmp_path: Path) -> None:
    run = asker.run(texts(4), name="out")
    write_csv(read_spending(home), tmp_path / "costs.csv")
    [row] = csv.DictReader((tmp_path / "costs.csv").open())
    assert Decimal(row["cost_usd"]) == run.cost
    with pytest.raises(ConfigurationError, match="can't be written"):
        write_csv([], tmp_path / "none" / "costs.csv")


# -- what one run cost, and what it didn't have to pay


def test_the_costs_of_a_run_add_up_by_stage_kind_and_attempt(home: Path) -> None:
    def plan(body: Any, attempt: int) -> str | None:
        return "bad_schema" if "text 1" in str(body) and attempt < 3 else None

    with MessagesServer(plan=plan, latency=0.005) as server:
        run = Asker(server, home).run(texts(20), HEAD + "{text}", schema="n: int")
        costs = run.costs
        entries = server.ledger.entries
        assert costs.breakdown_by_kind.keys() == {"input", "output", "cache_read", "cache_write"}
        for breakdown in (costs.breakdown_by_stage, costs.breakdown_by_kind):
            assert sum(breakdown.values()) == costs.total_cost
        assert sum(costs.breakdown_by_attempt.values()) == costs.total_cost
        assert list(costs.breakdown_by_attempt) == [1, 2, 3]
        tokens = sum(entry.cache_read_input_tokens for entry in entries)
        assert costs.breakdown_by_kind["cache_read"] == tokens * Decimal("0.01") / 1_000_000
        tokens = sum(entry.output_tokens for entry in entries)
        assert costs.breakdown_by_kind["output"] == tokens * Decimal("0.5") / 1_000_000


def test_a_resumed_run_has_its_whole_breakdown(asker: Asker, home: Path) -> None:
    first = asker.run(texts(6), name="out", budget=1)
    asker.end_process()
    again = Pipeline.resume(first.id, texts(6), journal=home)
    again.execute()
    assert again.costs.total_cost == first.cost
    assert again.costs.breakdown_by_kind == first.costs.breakdown_by_kind
    assert again.costs.breakdown_by_attempt == first.costs.breakdown_by_attempt


def test_what_was_saved_is_told_by_what_saved_it(asker: Asker) -> None:
    before = asker.run(texts(5))
    data = pd.DataFrame({"text": [*texts(5)["text"], "new", "new", "new"]})
    run = asker.run(data)
    once = run.cost
    assert once is not None
    assert run.costs.saved == Savings(before.cost or Decimal(0), 2 * once, Decimal(0))
    assert run.costs.saved.total == run.context.metrics.saved == (before.cost or 0) + 2 * once
    unknown = asker.run(texts(2), model="my-model")
    assert unknown.costs.saved is None
