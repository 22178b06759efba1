"""The budget is a ceiling: whatever comes back, the server has never billed more."""

from __future__ import annotations

import asyncio
import json
import random
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from ondine_nb import Run
from ondine_nb.sending import limits
from ondine_nb.sending.budget import SessionBudget
from ondine_nb.sending.retry import Backoff
from tests.asking import HAIKU, Asker, ended, journaled, seen, statuses, texts
from tests.server import MessagesServer

BUDGET = Decimal("0.02")
FAULTS: list[dict[str, float]] = [
    {},
    {"reset_after": 0.01, "malformed": 0.01},
    {"429": 0.05, "529": 0.05, "500": 0.02, "reset_before": 0.02, "half": 0.01, "html": 0.01},
]


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "Backoff", partial(Backoff, base=0.005))


def dear(body: Any, _text: str) -> dict[str, int]:
    """Answers of 100 to 1,000 tokens, so that 300 of them cost over three times the budget."""
    drawn = random.Random(body["messages"][0]["content"])
    return {"output_tokens": drawn.randint(100, 1_000), "input_tokens": drawn.randint(50, 200)}


def dearest(body: Any, _text: str) -> dict[str, int]:
    """As many tokens as a request can have: one for each byte, all written to the cache."""
    size = len(json.dumps(body, ensure_ascii=False).encode())
    return {
        "input_tokens": 0,
        "cache_creation_input_tokens": size,
        "output_tokens": body["max_tokens"],
    }


@pytest.mark.parametrize("usage", [dear, dearest])
@pytest.mark.parametrize("faults", FAULTS, ids=["no faults", "lost answers", "all sorts"])
def test_a_run_of_three_times_its_budget_stays_within_it_and_uses_it(
    tmp_path: Path, faults: dict[str, float], usage: Any
) -> None:
    """At concurrency 200 and the prices of Haiku 5.5, with what was billed but lost included."""
    with MessagesServer(usage=usage, faults=faults, latency=(0, 0.05)) as server:
        asker = Asker(server, tmp_path)
        run = asker.run(texts(300), budget=BUDGET, concurrency=200)
        billed, possibly = server.ledger.cost(*HAIKU), run.context.metrics.possibly_billed
        assert billed <= BUDGET
        assert run.cost is not None
        assert run.cost <= billed <= run.cost + possibly <= BUDGET
        assert run.cost + possibly >= BUDGET * 9 / 10
        assert (run.state, run.error) == ("stopped", None)
        message = run.context.metrics.message
        assert message.startswith(f"out of budget: ${run.cost.normalize()} of $0.02 is spent")
        assert ("possibly billed" in message) == (possibly > 0)
        counts = {name: statuses(run).count(name) for name in set(statuses(run))}
        assert counts == {"answered": run.stats.processed_rows, "not_run": counts["not_run"]}
        assert run.result is not None
        assert run.result.costs.total_cost == run.cost
        assert run.result.metadata["possibly_billed"] == str(possibly)
        assert list(run.frame["response"].notna()) == [s == "answered" for s in statuses(run)]
        again = asker.run(texts(300), budget=BUDGET, concurrency=200)
        assert server.ledger.cost(*HAIKU) <= 2 * BUDGET
    assert journaled(again) == counts["answered"]


def test_a_budget_that_is_enough_changes_nothing(tmp_path: Path) -> None:
    """Reservations wait for one another, so that no row is left although little room is free."""
    with MessagesServer(usage=dear) as server:
        asker = Asker(server, tmp_path)
        need = asker.run(texts(60)).cost
        assert need is not None
        run = asker.run(texts(60), fresh=True, budget=need + Decimal("0.0006"), concurrency=200)
    assert run.state == "done"
    assert run.cost == need


@pytest.fixture
def asker(server: MessagesServer, home: Path) -> Asker:
    return Asker(server, home)


@pytest.mark.parametrize("budget", [0, "0.0001"])
def test_a_budget_below_one_request_sends_none(asker: Asker, budget: Any) -> None:
    run = asker.run(texts(30), budget=budget)
    assert (asker.server.arrived, run.state, run.cost) == (0, "stopped", 0)
    assert set(statuses(run)) == {"not_run"}
    assert "Raise --budget, or lower --max-tokens" in run.context.metrics.message
    assert run.stats.total_rows == 30


def test_answers_of_the_journal_need_no_budget(asker: Asker) -> None:
    asker.run(texts(10))
    run = asker.run(texts(10), budget=0)
    assert (run.state, journaled(run)) == ("done", 10)


def test_a_long_prompt_is_reserved_at_the_tier_that_it_can_reach(tmp_path: Path) -> None:
    """Above 100,000 tokens all costs five times as much: two of three such prompts fit."""
    data = texts(3)
    data["text"] = [f"{at} " + "word " * 24_000 for at in range(3)]

    def usage(body: Any, _text: str) -> dict[str, int]:
        return {"input_tokens": 110_000, "output_tokens": body["max_tokens"]}

    with MessagesServer(usage=usage) as server:
        run = Asker(server, tmp_path).run(data, budget="0.15", max_tokens=100)
    each = 5 * (110_000 * HAIKU[0] + 100 * HAIKU[1]) / 1_000_000
    assert run.cost == 2 * each
    assert server.arrived == 2
    assert statuses(run).count("not_run") == 1


@pytest.mark.parametrize("lost", [0.0, 0.01], ids=["all answers come", "1 % are lost"])
def test_a_run_that_would_cost_3_dollars_ends_within_its_1_dollar(
    tmp_path: Path, lost: float
) -> None:
    """As it is measured: at concurrency 200, by the server's own books."""

    def usage(_body: Any, _text: str) -> dict[str, int]:
        return {"input_tokens": 150, "output_tokens": 1_000}

    faults = {"reset_after": lost}
    with MessagesServer(usage=usage, faults=faults, latency=(0, 0.05)) as server:
        run = Asker(server, tmp_path).run(texts(6_000), budget=1, concurrency=200)
        billed, possibly = server.ledger.cost(*HAIKU), run.context.metrics.possibly_billed
    assert billed <= 1
    assert billed + possibly >= Decimal("0.90")
    assert run.cost is not None
    assert run.cost <= billed <= run.cost + possibly <= 1
    assert (possibly > 0) == (lost > 0)


@pytest.mark.parametrize("faults", FAULTS, ids=["no faults", "lost answers", "all sorts"])
async def test_runs_on_several_loops_stay_within_the_sessions_budget_together(
    tmp_path: Path, faults: dict[str, float]
) -> None:
    """Three in threads, one on this loop; a run of its own tighter budget keeps to that as well."""
    session = SessionBudget(BUDGET)
    with MessagesServer(usage=dear, faults=faults, latency=(0, 0.05)) as server:
        asker = Asker(server, tmp_path)
        runs = [
            Run(asker.pipeline(texts(150, 150 * at), concurrency=100, budget=own).within(session))
            for at, own in enumerate([None, None, BUDGET / 5, None])
        ]
        here = runs.pop()
        await asyncio.gather(here, *(asyncio.to_thread(run.execute) for run in runs))
        await seen(lambda: session.outstanding == 0)
        billed = server.ledger.cost(*HAIKU)
    runs.append(here)
    assert billed <= session.spent + session.possibly_billed <= BUDGET
    assert session.spent + session.possibly_billed >= BUDGET * 9 / 10
    assert session.spent == sum(run.cost or 0 for run in runs)
    assert (runs[2].cost or 0) + runs[2].context.metrics.possibly_billed <= BUDGET / 5
    assert {run.state for run in runs} == {"stopped"}
    # Or its last rows were set aside one by one, while others' requests were in flight.
    messages = [run.context.metrics.message for run in runs]
    assert all("budget" in message for message in messages), messages
    assert any("session budget" in message for message in messages), messages


def test_a_raised_session_budget_lets_the_next_run_go_on(asker: Asker) -> None:
    session = SessionBudget(Decimal("0.001"))
    first = Run(asker.pipeline(texts(300)).within(session))
    asyncio.run(ended(first))
    spent = session.spent
    assert 0 < first.stats.processed_rows < 300
    assert first.context.max_budget == Decimal("0.001")
    session.ceiling = Decimal(1)
    second = Run(asker.pipeline(texts(300)).within(session))
    asyncio.run(ended(second))
    assert (second.state, second.stats.processed_rows) == ("done", 300)
    assert second.context.max_budget == 1 - spent
    assert session.spent == asker.server.ledger.cost(*HAIKU)
