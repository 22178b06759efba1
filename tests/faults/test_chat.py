"""What holds of Claude holds of every server of Chat Completions: money, the journal, secrets."""

from __future__ import annotations

import json
from collections import Counter
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from ondine_nb.journal.journal import shared
from ondine_nb.providers import off_wire
from ondine_nb.providers.base import on_wire
from ondine_nb.providers.openai.answers import read_chat
from tests.asking import CHAT, MESSAGES, Asker, echoes, journaled, statuses, texts
from tests.faults.processes import (
    SCHEMA,
    assert_undisturbed,
    killed_and_let_through,
    prompts,
    server_process,
    start,
)
from tests.server import MessagesServer

KEY = "sk-proj-a-key-that-nobody-may-see"
RULES = "Say what it is. " * 400  # long enough that the server caches it by itself


@pytest.fixture(autouse=True)
def _key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)


def test_costs_are_the_ledgers_to_the_last_digit_with_what_was_cached_and_thought(
    tmp_path: Path,
) -> None:
    with MessagesServer(thinking=True, key=KEY) as server:
        asker = Asker(server, tmp_path, CHAT)
        run = asker.run(texts(60), system=RULES, effort="low", concurrency=4)
        billed = CHAT.billed(server)
        cached = sum(entry.cache_read_input_tokens for entry in server.ledger.entries)
    assert cached > 60 * 1_000
    assert run.cost == billed > 0
    assert run.context.metrics.possibly_billed == 0
    assert sum(map(Decimal, run.rows["cost"].astype(str))) == billed


def test_a_run_again_comes_from_the_journal_and_costs_nothing(tmp_path: Path) -> None:
    with MessagesServer() as server:
        asker = Asker(server, tmp_path, CHAT)
        data = texts(5)
        first = asker.run(data)
        asker.end_process()
        again = asker.run(data)
        assert server.arrived == 5
    assert list(again.frame["response"]) == echoes(data) == list(first.frame["response"])
    assert (again.cost, journaled(again)) == (0, 5)


def test_an_answer_of_one_provider_is_never_found_for_another(tmp_path: Path) -> None:
    """The same model, prompt and address by another API is another question."""
    data = texts(3)
    with MessagesServer() as server:
        Asker(server, tmp_path, CHAT).run(data)
        other = Asker(server, tmp_path, MESSAGES).run(data, model="gpt-4.1-mini")
        assert server.arrived == 6
        spelled = Asker(server, tmp_path, CHAT).pipeline(data, base_url=f"{server.url}/v1/")
        assert spelled.execute().costs.total_cost == 0
        assert server.arrived == 6
    assert journaled(other) == 0


def test_a_run_that_would_cost_10_dollars_ends_within_its_1_dollar(tmp_path: Path) -> None:
    """At concurrency 200, with answers that are lost, by the server's own books."""

    def usage(_body: Any, _text: str) -> dict[str, int]:
        return {"input_tokens": 150, "output_tokens": 1_000}

    faults = {"reset_after": 0.01, "429": 0.02}
    with MessagesServer(usage=usage, faults=faults, latency=(0, 0.05)) as server:
        run = Asker(server, tmp_path, CHAT).run(texts(6_000), budget=1, concurrency=200)
        billed, possibly = CHAT.billed(server), run.context.metrics.possibly_billed
    assert run.cost is not None
    assert run.cost <= billed <= run.cost + possibly <= 1
    assert billed + possibly >= Decimal("0.90")
    assert "not_run" in statuses(run)


def test_fields_are_typed_and_packs_and_reasks_hold(tmp_path: Path) -> None:
    """What reads bodies later reads them by their wire."""
    with MessagesServer(plan=lambda _, attempt: "bad_schema" if attempt == 1 else None) as server:
        run = Asker(server, tmp_path, CHAT).run(texts(4), schema=SCHEMA)
        assert server.arrived == 8
        assert run.cost == CHAT.billed(server)
    assert run.frame["n"].dtype == "Int64"
    with MessagesServer() as server:
        packed = Asker(server, tmp_path, CHAT).run(texts(12, 100), schema=SCHEMA, pack=6)
        assert server.arrived == 2
        assert packed.cost == CHAT.billed(server)
        again = Asker(server, tmp_path, CHAT).run(texts(12, 100), schema=SCHEMA, pack=6)
        assert server.arrived == 2
    assert statuses(packed) == ["answered"] * 12
    assert packed.frame.equals(again.frame)


SCRIPT = """
import sys
import pandas as pd
from ondine_nb import Pipeline, Run

url, out, how = sys.argv[1:]
data = pd.DataFrame({{"text": [f"text {{at}}" for at in range({rows})]}})
if how == "start":
    run = Run(Pipeline(
        data, "Tell: {{text}}", base_url=url + "/v1", model="openai:gpt-4.1-mini",
        concurrency={width}, schema="{schema}", budget=1,
    ), name="labeled")
else:
    run = Pipeline.resume("labeled", data)
result = run.execute()
result.data.to_json(out, orient="records")
print(run.state, run.cost, run.plan.budget.possibly_billed, flush=True)
"""


@pytest.mark.slow
def test_killed_and_resumed_it_pays_again_only_what_was_in_flight(tmp_path: Path) -> None:
    rows, width, kills = 300, 30, (1, 150)
    script = SCRIPT.format(rows=rows, width=width, schema=SCHEMA)
    out = tmp_path / "out.json"
    ways = iter(["start"] + ["resume"] * len(kills))
    with server_process() as url:
        said, found = killed_and_let_through(
            lambda: start(script, url, out, next(ways)), url, kills
        )
    delivered = Counter(entry["prompt"] for entry in found["entries"])
    assert set(delivered) == set(prompts(rows))
    assert delivered.total() - rows <= width * len(kills)
    assert_undisturbed(out, rows)
    state, spent, possibly_billed = said.split()
    price_in, price_out = (price / 1_000_000 for price in CHAT.prices)
    billed = sum(
        entry["input_tokens"] * price_in + entry["output_tokens"] * price_out
        for entry in found["entries"]
    )
    assert state == "done"
    assert Decimal(spent) <= billed <= Decimal(spent) + Decimal(possibly_billed)


def test_a_key_is_in_no_file_no_view_and_no_error(tmp_path: Path) -> None:
    def repeats(body: Any) -> Any:
        failed = {"choices": None, "error": {"code": 400, "message": f"not with {KEY}"}}
        return failed if "text 1" in json.dumps(body) else "fine"

    with MessagesServer(answer=repeats) as server:
        run = Asker(server, tmp_path, CHAT).run(texts(3))
        shown = f"{run!r} {run.rows.to_csv()} {run.errors.to_csv()} {run.pipeline.provider!r}"
    assert statuses(run) == ["answered", "failed", "answered"]
    assert KEY not in shown
    shared(tmp_path).close()
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert files
    assert all(KEY.encode() not in path.read_bytes() for path in files)


async def test_bodies_are_journaled_as_they_came_with_the_name_of_their_wire(
    tmp_path: Path,
) -> None:
    with MessagesServer() as server:
        pipeline = Asker(server, tmp_path, CHAT).pipeline(texts(1))
        run = pipeline.start()
        await run
        lookup = run.plan.asker.lookup
        prompt = pipeline.template.render(["text 0"])
        ((entry,),) = (await lookup.journal.lookup([lookup.key(prompt)])).values()
    wire, raw = off_wire(entry.body)
    assert wire == "chat"
    assert json.loads(raw)["object"] == "chat.completion"


def test_an_answer_of_a_form_that_is_not_known_ends_the_run_in_one_line_and_pays_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As an older version meets what a later one has journaled."""
    with MessagesServer() as server:
        asker = Asker(server, tmp_path, CHAT)
        with monkeypatch.context() as later:
            at = "ondine_nb.providers.openai.client"
            later.setattr(f"{at}.on_wire", lambda _, body: on_wire("later", body))
            later.setattr(f"{at}.OpenAIProvider.read", lambda _, body: read_chat(off_wire(body)[1]))
            assert asker.run(texts(2)).state == "done"
        again = asker.run(texts(2))
        assert server.arrived == 2
    assert again.state == "failed"
    assert "'later'" in str(again.error)
    assert "\n" not in str(again.error)
