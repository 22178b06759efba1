"""The bench without widgets: checks, drafts, trials, forecasts and what is shown of them."""

from __future__ import annotations

import asyncio
from decimal import Decimal
from pathlib import Path
from typing import Any

import pandas as pd
import polars as pl
import pytest

from ondine_nb.errors import ColumnError, ConfigurationError
from ondine_nb.evaluation import Tries
from ondine_nb.models import CostEstimate
from ondine_nb.notebook.workbench.actions import Work
from ondine_nb.notebook.workbench.draft import Workbench
from ondine_nb.notebook.workbench.forecast import Experience, forecast
from ondine_nb.providers import find_price
from tests.server import MessagesServer

REVIEWS = pd.DataFrame(
    {
        "text": [f"review {at}" for at in range(50)],
        "stars": [at % 5 for at in range(50)],
        "mood": ["good" if at % 2 else "bad" for at in range(50)],
    }
)


@pytest.fixture
def bench(server: MessagesServer, home: Path) -> Workbench:
    options = {"base_url": server.url, "schema": "verdict: good|bad, score: float"}
    prompt = "Judge {tone}: {text}"
    made = Workbench(REVIEWS, prompt, name="reviews", given={"tone": "dry"}, options=options)
    made.sample = 8
    return made


def preview(work: Work) -> Any:
    return asyncio.run(work.preview(lambda: None))


def compare(work: Work) -> Any:
    return asyncio.run(work.compare(lambda: None))


# --- checks --------------------------------------------------------------------------------------


def test_evidence_is_tried_with_a_schema_and_refused_without_one() -> None:
    options = {"schema": "verdict: good|bad", "evidence": "all"}
    bench = Workbench(REVIEWS, "Judge {text}", name="reviews", options=options)
    assert bench.problems() == []
    bench.set("schema", "")
    assert "and there is no schema" in bench.problems()[0]


def test_what_can_t_be_tried_is_told_in_lines_that_name_the_remedy() -> None:
    bench = Workbench(REVIEWS, "", name="reviews")
    assert bench.problems() == [
        "There is no prompt yet: write what to ask about a row, with {column}s."
    ]
    bench.prompt = "Tell {txt}"
    assert bench.problems() == [
        "{txt} is neither a column (text, stars, mood) nor a control. Did you mean {text}?"
    ]
    bench.prompt = "Tell {stars:.2f}"
    assert "asks for a format" in bench.problems()[0]
    bench.prompt = "Tell {text}"
    assert bench.problems() == []
    bench.set("schema", "mood: goood|bad, score flaot")
    assert "score flaot" in bench.problems()[0]
    bench.set("schema", "")
    bench.out = "a b"
    assert bench.problems() == ["'a b' can't be a variable: name the result like `labeled`."]


@pytest.mark.parametrize("empty", [REVIEWS.head(0), pl.DataFrame({"text": []})])
def test_an_empty_frame_is_one_calm_line(empty: Any) -> None:
    bench = Workbench(empty, "Tell {text}", name="reviews")
    assert bench.problems() == ["reviews has no rows: there is nothing to try a prompt on."]


def test_what_is_no_frame_or_no_control_is_refused_at_once() -> None:
    with pytest.raises(ConfigurationError):
        Workbench([1, 2], "Tell {text}")
    with pytest.raises(ConfigurationError, match="name of a column of reviews"):
        Workbench(REVIEWS, "", name="reviews", given={"text": 1})
    with pytest.raises(ConfigurationError, match="name it like a variable"):
        Workbench(REVIEWS, "", given={"a b": 1})


def test_a_name_that_nobody_gave_is_a_control_and_one_not_in_the_prompt_is_left_out() -> None:
    bench = Workbench(REVIEWS, "For {audience}: {text}", given={"tone": True})
    bench.texts["audience"] = "children"
    assert bench.free() == ["audience"]
    assert bench.unused() == ["tone"]
    assert bench.draft().options == {"params": {"audience": "children"}}
    bench.prompt = "{tone} {text}"
    assert bench.draft().options == {"params": {"tone": "True"}}


def test_options_at_their_default_aren_t_said_unless_the_session_says_otherwise() -> None:
    options = {"model": "claude-haiku-5-5", "concurrency": "auto", "budget": 2}
    assert Workbench(REVIEWS, "{text}", options=options).draft().options == {"budget": 2}
    session = {"model": "claude-opus-5-5", "budget": 5}
    bench = Workbench(REVIEWS, "{text}", options=options, session=session)
    assert bench.draft().options["model"] == "claude-haiku-5-5"
    bench.set("budget", "")
    assert '--budget ""' in bench.code("reviews", {}).cell


# --- trials --------------------------------------------------------------------------------------


def test_a_preview_is_journaled_and_the_same_one_again_costs_nothing(
    bench: Workbench, server: MessagesServer
) -> None:
    work = Work(bench)
    frame = preview(work)
    assert list(frame["text"]) == [f"review {at}" for at in bench.positions()]
    assert bench.a is not None
    assert bench.a.prompts[0] == f"Judge dry: review {bench.positions()[0]}"
    assert (bench.a.answered, bench.a.from_journal, bench.a.state) == (8, 0, "done")
    assert bench.a.cost == bench.a.worth != 0
    paid = bench.a
    preview(work)
    assert server.arrived == 8
    assert bench.a.from_journal == 8
    assert (bench.a.cost, bench.a.worth) == (0, paid.worth)
    assert bench.a.answers == paid.answers


def test_b_is_tried_on_the_rows_of_a_whatever_the_sample_is_by_now(
    bench: Workbench, server: MessagesServer
) -> None:
    work = Work(bench)
    assert "Preview first" in work.no_comparison()
    preview(work)
    assert "nothing has changed" in work.no_comparison()
    with pytest.raises(ConfigurationError, match="nothing has changed"):
        compare(work)
    bench.given["tone"] = "warm"
    bench.sample = 3
    compare(work)
    assert bench.a is not None
    assert bench.b is not None
    assert bench.b.positions == bench.a.positions
    assert server.arrived == 16
    assert (work.current, work.ticked) == (2, 1)


def test_a_preview_keeps_to_the_budget(bench: Workbench, server: MessagesServer) -> None:
    bench.set("budget", Decimal("0.0006"))
    work = Work(bench)
    preview(work)
    assert bench.a is not None
    assert bench.a.state == "stopped"
    assert "out of budget" in bench.a.message
    assert server.arrived < 8


def test_what_ends_a_preview_is_one_line(home: Path) -> None:
    with MessagesServer(key="another") as server:
        bench = Workbench(REVIEWS, "{text}", options={"base_url": server.url})
        work = Work(bench)
        preview(work)
        assert bench.a is not None
        assert "\n" not in bench.a.message
        assert "key" in bench.a.message
        assert "no answers" in work.no_comparison()


def test_a_frame_that_lost_its_column_since_is_told_not_guessed(bench: Workbench) -> None:
    bench.data = REVIEWS.rename(columns={"text": "words"})
    with pytest.raises(ConfigurationError, match="'text' is not in `reviews`"):
        preview(Work(bench))
    with pytest.raises(ColumnError):
        Workbench(REVIEWS, "{text}", options={"column": "stars"}).pipeline(
            Workbench(REVIEWS, "{text}", options={"column": "stars"}).draft()
        )


# --- the forecast --------------------------------------------------------------------------------


def test_the_forecast_is_of_the_whole_frame_and_gets_better_by_a_preview(
    bench: Workbench, server: MessagesServer
) -> None:
    work = Work(bench)
    before = asyncio.run(work.estimate())
    assert (before.rows, before.requests, before.seconds) == (50, 50, None)
    assert server.arrived == 0
    preview(work)
    after = asyncio.run(work.estimate())
    assert after.requests == 42
    assert "8 rows tried" in after.basis
    assert after.seconds is not None
    assert before.low is not None
    assert before.high is not None
    assert after.low is not None
    assert after.high is not None
    assert before.low < after.low <= after.high < before.high
    assert after.headline.startswith("Whole run: 50 rows, $")


def test_what_the_forecast_says_is_what_is_paid(bench: Workbench, server: MessagesServer) -> None:
    bench.sample = 20
    work = Work(bench)
    preview(work)
    told = asyncio.run(work.estimate())
    result = bench.pipeline(bench.draft()).execute()
    assert told.low is not None
    assert told.high is not None
    paid = result.costs.total_cost
    assert paid is not None
    assert told.low * Decimal("0.8") <= paid <= told.high * Decimal("1.2")


def known(**fields: Any) -> CostEstimate:
    given = {"total_cost": Decimal(1), "total_tokens": 0, "output_tokens": 0, "rows": 1000} | fields
    return CostEstimate(**given)


def test_a_budget_that_won_t_do_and_a_free_model_and_an_unknown_price_are_said() -> None:
    price = find_price("claude-haiku-5-5")
    dear = known(input_tokens=10**6, low=Decimal(5), high=Decimal(9), requests=1000)
    told = forecast(dear, price, Experience(), width=4, grows=False, budget=Decimal(2))
    assert "the budget of $2.00 ends it" in told.details
    free = forecast(dear, price, Experience(), width=4, grows=False, free=True)
    assert free.headline == "Whole run: 1,000 rows, $0"
    done = known(input_tokens=0, low=Decimal(0), high=Decimal(0), requests=0)
    told = forecast(done, price, Experience(), width=4, grows=False)
    assert (told.headline, told.details) == (
        "Whole run: 1,000 rows, $0",
        "nothing to send: every row is in the journal, or empty",
    )
    nobody = known(input_tokens=10, low=None, high=None, requests=1000)
    assert "price unknown" in forecast(nobody, None, Experience(), width=4, grows=False).headline


def test_the_duration_follows_the_requests_at_once() -> None:
    told = known(input_tokens=10**5, low=Decimal(1), high=Decimal(2), requests=1000)
    seen = Experience((10, 12, 11), (1.0, 1.0, 2.0))
    price = find_price("claude-haiku-5-5")
    four = forecast(told, price, seen, width=4, grows=False).seconds
    eight = forecast(told, price, seen, width=8, grows=False).seconds
    assert four == (250.0, 500.0)
    assert eight == (125.0, 250.0)
    assert forecast(told, price, seen, width=4, grows=False).headline.endswith(", 4 to 9 min")


# --- examples ------------------------------------------------------------------------------------


def test_examples_are_tried_kept_by_their_name_and_taken_along_as_the_frame(
    server: MessagesServer, home: Path
) -> None:
    gold = pd.DataFrame({"text": ["one day", "two nights"], "mood": ["good", "bad"]})
    options = {"base_url": server.url, "schema": "mood: good|bad", "column": "answer"}
    given = {**options, "overwrite": True, "examples": gold, "shots": 2}
    bench = Workbench(REVIEWS, "Judge {text}", name="reviews", options=given)
    bench.sample = 4
    assert bench.problems() == []
    preview(Work(bench))
    assert server.ledger.requests == 4
    assert all("<input>\none day\n</input>" in it.prompt for it in server.ledger.entries)
    (kept,) = Tries("reviews", home).tries
    assert kept.settings["examples"] == "examples"
    bench.restore(kept)
    preview(Work(bench))
    assert server.ledger.requests == 4
    assert "--examples $gold --shots 2" in bench.code("reviews", {"gold": gold}).cell
