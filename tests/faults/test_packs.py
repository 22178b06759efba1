"""Packs in bad weather: every row right, nothing lost, nothing paid twice, the budget kept."""

from __future__ import annotations

import asyncio
import json
import random
from collections import Counter
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from ondine_nb import Run
from ondine_nb.prompts.schema import parse_schema
from ondine_nb.sending.retry import Backoff
from tests.asking import HAIKU, Asker, echoes, ended, journaled, seen, statuses, texts
from tests.faults.processes import (
    SCHEMA,
    assert_undisturbed,
    killed_and_let_through,
    prompts,
    server_process,
    start,
)
from tests.server import MessagesServer, value_of
from tests.server.answers import default_answer, prompt_of
from tests.server.packs import GARBLED, Garbler, questions_of

PACK, WIDTH = 20, 4


def quick(run: Run) -> Run:
    """Its retries follow one another without long waits."""
    run.plan.asker.sender.backoff = Backoff(base=0.02, longest=0.1)
    return run


def packed(asker: Asker, data: Any, **options: Any) -> Run:
    run = quick(Run(asker.pipeline(data, pack=PACK, **options)))
    asyncio.run(ended(run))
    return run


def billed(server: MessagesServer) -> Decimal:
    return server.ledger.cost(*HAIKU)


def right(run: Run, n: int, schema: str | None) -> None:
    if schema is None:
        assert list(run.frame["response"]) == echoes(texts(n))
        return
    sent = parse_schema(schema).json_schema
    wanted = [value_of(sent, prompt) for prompt in prompts(n)]
    assert list(run.frame["mood"]) == [value["mood"] for value in wanted]
    assert list(run.frame["n"]) == [value["n"] for value in wanted]


# -- garbled answers


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("schema", [None, SCHEMA], ids=["text", "schema"])
def test_a_thousand_rows_with_three_in_a_hundred_answers_garbled_are_right_by_under_70_requests(
    home: Path, schema: str | None, seed: int
) -> None:
    garbler = Garbler(0.03, seed=seed)
    with MessagesServer(answer=garbler, latency=(0.01, 0.05)) as server:
        run = packed(Asker(server, home), texts(1000), schema=schema)
        assert run.state == "done"
        right(run, 1000, schema)
        assert 50 <= server.arrived < 70
        assert run.cost == billed(server)


def test_the_seeds_of_that_test_garble_answers(home: Path) -> None:
    """Else it would say nothing."""
    spoiled: list[str] = []
    for seed in range(4):
        garbler = Garbler(0.03, seed=seed)
        with MessagesServer(answer=garbler) as server:
            packed(Asker(server, home / str(seed)), texts(1000))
        spoiled += garbler.spoiled
    assert len(spoiled) >= 3


def test_every_way_of_garbling_at_a_high_rate_leaves_all_rows_right(home: Path) -> None:
    garbler = Garbler(0.4, seed=1)
    with MessagesServer(answer=garbler) as server:
        run = packed(Asker(server, home), texts(1000))
        right(run, 1000, None)
        assert set(garbler.spoiled) == set(GARBLED)
        assert run.cost == billed(server)
        assert sum(row.cost for row in run.plan.rowset.rows if row is not None) == run.cost


def test_where_each_row_in_33_is_left_out_only_those_go_again(home: Path) -> None:
    """A share of the rows, not of the packs: each of them costs a request of its own."""
    rng = random.Random(0)

    def answer(body: Any) -> str:
        said = json.loads(default_answer(body)) if questions_of(prompt_of(body)) else None
        if said is None:
            return default_answer(body)
        said["answers"] = [each for each in said["answers"] if rng.random() >= 0.03]
        return json.dumps(said)

    with MessagesServer(answer=answer) as server:
        run = packed(Asker(server, home), texts(1000))
        right(run, 1000, None)
        again = Counter(run.rows["attempts"])[2]
        assert server.arrived == 50 + again
        assert 10 < again < 60


# -- weather


def test_weather_changes_no_answer_and_no_cost_is_lost(home: Path) -> None:
    faults = {"429": 0.1, "500": 0.05, "529": 0.05, "reset_after": 0.02, "malformed": 0.02}
    with MessagesServer(faults={**faults, "html_502": 0.05}, retry_after_ms=10, seed=3) as server:
        run = packed(Asker(server, home), texts(1000), schema=SCHEMA, budget=5)
        assert run.state == "done"
        right(run, 1000, SCHEMA)
        delivered = [entry for entry in server.ledger.entries if entry.delivered]
        lost = [entry for entry in server.ledger.entries if not entry.delivered]
        assert len(delivered) == 50
        price_in, price_out = HAIKU
        assert run.cost == sum(
            (entry.input_tokens * price_in + entry.output_tokens * price_out) / 1_000_000
            for entry in delivered
        )
        if lost:
            assert run.plan.budget.possibly_billed > 0


def test_a_pack_that_is_too_slow_is_tried_in_smaller_ones(home: Path) -> None:
    def plan(body: Any, attempt: int) -> str | None:
        return "hang" if len(questions_of(prompt_of(body)) or ()) > 10 else None

    with MessagesServer(plan=plan) as server:
        run = packed(Asker(server, home), texts(40), timeout=2)
        right(run, 40, None)
        sizes = [len(questions_of(each.prompt) or "x") for each in server.requests]
        assert sizes == [20, 20, 10, 10, 10, 10]
        assert run.plan.budget.possibly_billed > 0


def test_a_row_on_which_the_server_fails_fails_alone(home: Path) -> None:
    def plan(body: Any, attempt: int) -> str | None:
        return "500" if "text 113" in str(body["messages"]) else None

    with MessagesServer(plan=plan, latency=0.01) as server:
        run = packed(Asker(server, home), texts(400), concurrency=2)
        assert list(run.errors["row"]) == [113]
        assert list(run.frame["response"].drop(113)) == echoes(texts(400).drop(113))


# -- budget, stop, kill


def test_no_moment_of_a_run_passes_the_budget_and_packs_shrink_to_what_fits(home: Path) -> None:
    with MessagesServer() as server:
        asker = Asker(server, home)
        # One pack's worst case is more than half of it.
        run = packed(asker, texts(1000), budget="0.006", max_tokens=250)
        assert run.state == "stopped"
        assert run.context.control.reason == "budget"
        assert run.cost == billed(server) <= Decimal("0.006")
        sizes = [len(questions_of(each.prompt) or "x") for each in server.requests]
        assert 20 in sizes
        assert 1 in sizes
        assert statuses(run).count("answered") > 20
        more = packed(asker, texts(1000), max_tokens=250)
        right(more, 1000, None)
        assert journaled(more) == statuses(run).count("answered")


def test_after_a_stop_what_is_in_flight_is_kept_and_the_rest_is_not_sent(home: Path) -> None:
    with MessagesServer() as server:
        asker = Asker(server, home)
        server.pause()

        async def scenario() -> Run:
            run = quick(Run(asker.pipeline(texts(400), pack=PACK, concurrency=WIDTH)))
            over = asyncio.create_task(ended(run))
            await seen(lambda: server.arrived == WIDTH)
            for _ in range(WIDTH * PACK):  # the last rows of the last pack come to wait for it
                await asyncio.sleep(0)
            run.stop()
            assert run.state == "stopping"
            server.resume()
            await over
            return run

        run = asyncio.run(scenario())
        assert server.arrived == WIDTH
        assert statuses(run).count("answered") == WIDTH * PACK
        assert run.cost == billed(server)
        again = packed(asker, texts(400))
        right(again, 400, None)
        assert journaled(again) == WIDTH * PACK
        assert server.arrived == 20


def test_a_second_stop_cancels_packs_in_flight_and_they_may_be_billed(home: Path) -> None:
    with MessagesServer() as server:
        server.pause()

        async def scenario() -> Run:
            run = Run(Asker(server, home).pipeline(texts(100), pack=PACK, budget=1))
            over = asyncio.create_task(ended(run))
            await seen(lambda: server.arrived == 5)
            run.stop()
            run.stop()
            await over
            return run

        run = asyncio.run(scenario())
        assert statuses(run) == ["not_run"] * 100
        assert run.plan.budget.possibly_billed > 0
        assert run.plan.budget.reserved == 0
        server.resume()


SCRIPT = f"""
import sys
import pandas as pd
from ondine_nb import Pipeline

url, out = sys.argv[1:]
data = pd.DataFrame({{"text": [f"text {{at}}" for at in range(600)]}})
result = Pipeline(
    data, "Tell: {{text}}", base_url=url, concurrency={WIDTH}, schema="{SCHEMA}", pack={PACK}
).execute()
result.data.to_json(out, orient="records")
"""


def test_after_kills_only_packs_that_were_in_flight_are_paid_again(tmp_path: Path) -> None:
    out = tmp_path / "out.json"
    with server_process("--latency", "0.3:0.6") as url:
        kills = (1, 6, 8)
        _, found = killed_and_let_through(lambda: start(SCRIPT, url, out), url, kills)
    paid = Counter[str]()
    for entry in found["entries"]:
        paid.update((questions_of(entry["prompt"]) or {"": entry["prompt"]}).values())
    assert set(paid) == set(prompts(600))
    assert paid.total() - 600 <= len(kills) * WIDTH * PACK
    assert_undisturbed(out, 600)
