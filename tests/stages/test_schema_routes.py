"""How a schema is asked for on a server that nobody knows: tried and paid once, said, and kept."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Callable, Iterator
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from distributed import LocalCluster

import ondine_nb.errors
from ondine_nb import Pipeline, Run
from ondine_nb.errors import ConfigurationError, FatalProviderError, RowError
from ondine_nb.models import Prompt
from ondine_nb.orchestration import DaskExecutor
from ondine_nb.providers import (
    KNOWN,
    PROBE,
    OpenAIProvider,
    keep,
    keep_probed,
    probe_settings,
    probed,
)
from ondine_nb.providers.anthropic import AnthropicProvider
from ondine_nb.sending import limits
from ondine_nb.sending.retry import Backoff
from tests.asking import seen, statuses, texts
from tests.echo import Echo
from tests.faults.processes import ends_well, kill, start
from tests.faults.test_faults import WEATHER
from tests.server import MessagesServer, value_of

SCHEMA = "mood: good|bad, n: int"
PRICES = {"price_in": Decimal(1), "price_out": Decimal(5)}
Asked = Callable[..., Run]


def run_of(server: MessagesServer, folder: Path, rows: int = 4, **options: Any) -> Run:
    given = {"model": "m", "schema": SCHEMA, "journal": folder, **PRICES, **options}
    data = given.pop("data", texts(rows))
    return Run(Pipeline(data, "Tell: {text}", base_url=server.url, **given))


def done(run: Run) -> Run:
    run.execute()
    return run


def probes(server: MessagesServer) -> list[str]:
    """The APIs by which it was probed, in order."""
    return [
        "chat" if "response_format" in each.body else "messages"
        for each in server.requests
        if each.prompt == PROBE
    ]


def billed(server: MessagesServer) -> Decimal:
    return server.ledger.cost(1, 5)


def typed(run: Run) -> bool:
    """Whether every row has what the server says to its prompt under this schema."""
    properties = {"mood": {"enum": ["good", "bad"]}, "n": {"type": "integer"}}
    schema = {"type": "object", "properties": properties, "required": ["mood", "n"]}
    expected = [value_of(schema, f"Tell: {text}") for text in run.frame["text"]]
    found = run.frame[["mood", "n"]].astype({"mood": str}).to_dict("records")
    return found == [{**each, "n": found[at]["n"]} for at, each in enumerate(expected)]


# -- what is found, taken and said


@pytest.mark.parametrize(
    ("drops", "lacks", "tried", "held", "said"),
    [
        ((), (), ["messages"], "by the server", "enforces the schema, as a probe told ($"),
        (["messages"], (), ["messages", "chat"], "by the server", "asked by its Chat Completions"),
        (["messages", "chat"], (), ["messages", "chat"], "by words", "schema by words: http://"),
        (["messages"], ["chat"], ["messages"], "by words", "schema by words: http://"),
    ],
    ids=["enforced", "by the other API", "by neither", "no other API"],
)
def test_a_run_finds_the_way_says_it_and_has_every_row_typed(
    tmp_path: Path,
    drops: Any,
    lacks: Any,
    tried: list[str],
    held: str,
    said: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO", "ondine_nb")
    with MessagesServer(drops_schema=drops, lacks=lacks, bills_probes=True) as server:
        run = done(run_of(server, tmp_path))
        assert (statuses(run), typed(run)) == (["answered"] * 4, True)
        assert said in run.note
        assert caplog.messages.count(run.note) == 1
        assert run.report()["schema"] == held
        assert probes(server) == tried
        assert run.costs.total_cost == billed(server)
        assert max(server.ledger.by_prompt().values()) <= 2  # the probe, by each API
        # Another run knows it, and asks as this one did.
        again = done(run_of(server, tmp_path, rows=6))
        assert statuses(again) == ["journal"] * 4 + ["answered"] * 2
        assert again.report()["schema"] == held
        assert ("by words" in held) == ("schema by words" in again.note)
        assert caplog.messages.count(again.note) == (again.note != "")
        assert probes(server) == tried
        assert run.costs.total_cost + again.costs.total_cost == billed(server)


def test_by_the_other_api_answers_have_its_keys(tmp_path: Path) -> None:
    """They are what whoever names that API is answered, and has for nothing."""
    with MessagesServer(drops_schema=["messages"]) as server:
        done(run_of(server, tmp_path))
        by_chat = run_of(server, tmp_path, model="openai:m")
        assert statuses(done(by_chat)) == ["journal"] * 4


def test_what_words_asked_has_a_key_of_its_own(tmp_path: Path) -> None:
    """The words are in it: what was never held to a schema isn't taken for what was."""
    with MessagesServer(drops_schema=["messages", "chat"]) as server:
        done(run_of(server, tmp_path))
        assert all("JSON Schema:" in each.body["system"] for each in server.requests)
        assert not any("output_config" in each.body for each in server.requests)
        by_chat = run_of(server, tmp_path, model="openai:m")
        assert statuses(done(by_chat)) == ["answered"] * 4


def test_an_answer_that_breaks_the_schema_is_asked_again_twice_paid_and_counted(
    tmp_path: Path,
) -> None:
    def twice_wrong(body: Any) -> str:
        prompt = body["messages"][-1]["content"]
        good = '{"mood": "good", "n": 1}'
        return good if asked.attempts(prompt) > 2 and "text 3" not in prompt else "no idea {sorry}"

    drops = ["messages", "chat"]
    with MessagesServer(drops_schema=drops, answer=twice_wrong, bills_probes=True) as asked:
        run = done(run_of(asked, tmp_path))
        assert statuses(run) == ["answered"] * 3 + ["failed"]
        assert "(asked 3 times)" in run.errors["message"].iloc[0]
        assert list(run.rows["attempts"]) == [3] * 4
        assert run.costs.total_cost == billed(asked)


# -- when nothing is tried


def test_where_the_journal_answers_everything_nothing_is_tried(tmp_path: Path) -> None:
    with MessagesServer() as server:
        keep_probed(tmp_path, AnthropicProvider("m", base_url=server.url), True)
        done(run_of(server, tmp_path))
        (tmp_path / "schemas.json").unlink()
        again = done(run_of(server, tmp_path))
        assert statuses(again) == ["journal"] * 4
        assert again.report()["schema"] == "not known"
        assert server.probes.total() == 0


def test_where_the_file_is_gone_the_journal_has_what_the_probe_told(tmp_path: Path) -> None:
    """So that what was asked another way is found, and nothing is sent."""
    with MessagesServer(drops_schema=["messages"], bills_probes=True) as server:
        done(run_of(server, tmp_path))
        arrived = server.arrived
        (tmp_path / "schemas.json").unlink()
        assert statuses(done(run_of(server, tmp_path))) == ["journal"] * 4
        assert server.arrived == arrived


def test_an_answer_by_one_api_is_not_found_for_the_other_of_a_server_that_enforces(
    tmp_path: Path,
) -> None:
    with MessagesServer() as server:
        assert statuses(done(run_of(server, tmp_path, model="openai:m"))) == ["answered"] * 4
        assert statuses(done(run_of(server, tmp_path))) == ["answered"] * 4


def test_what_earlier_versions_were_answered_is_found_whatever_the_way_is_now(
    tmp_path: Path,
) -> None:
    """They asked with the schema, whether it was enforced or not: it was paid for."""
    with MessagesServer(drops_schema=["messages"]) as server:
        provider = AnthropicProvider("m", base_url=server.url)
        keep_probed(tmp_path, provider, True)  # as they thought
        server._drops = frozenset()
        done(run_of(server, tmp_path))
        server._drops = frozenset(["messages"])
        (tmp_path / "schemas.json").unlink()
        run = done(run_of(server, tmp_path, rows=6))
        assert statuses(run) == ["journal"] * 4 + ["answered"] * 2
        assert "asked by its Chat Completions" in run.note
        assert statuses(done(run_of(server, tmp_path, rows=6))) == ["journal"] * 6


@pytest.mark.parametrize(
    "model", ["llamacpp:m", "ollama:m", "vllm:m"], ids=lambda model: model.partition(":")[0]
)
def test_a_server_that_is_known_to_enforce_is_not_tried(tmp_path: Path, model: str) -> None:
    with MessagesServer() as server:
        assert statuses(done(run_of(server, tmp_path, model=model))) == ["answered"] * 4
        assert server.probes.total() == 0


def test_a_model_whose_list_says_that_it_is_held_to_schemas_is_not_tried(
    tmp_path: Path, home: Path
) -> None:
    offered = {"id": "m", "capabilities": {"structured_outputs": {"supported": True}}}
    with MessagesServer() as server:
        keep(home, AnthropicProvider("m", base_url=server.url).identity, [offered])
        assert statuses(done(run_of(server, tmp_path))) == ["answered"] * 4
        assert server.probes.total() == 0


def test_without_the_openai_sdk_there_is_no_other_api(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(OpenAIProvider, "unable", "needs the OpenAI SDK")
    with MessagesServer(drops_schema=["messages"]) as server:
        run = done(run_of(server, tmp_path))
        assert (statuses(run), run.report()["schema"]) == (["answered"] * 4, "by words")
        assert server.probes == {"messages": 1}


def test_neither_anthropics_own_api_nor_openais_is_tried_nor_an_object_of_ones_own() -> None:
    own = [AnthropicProvider("claude-haiku-5-5"), OpenAIProvider("gpt-5.4-mini")]
    own += [AnthropicProvider("m", base_url="https://api.anthropic.com")]
    own += [OpenAIProvider("m", base_url="https://api.openai.com/v1")]
    own += [OpenAIProvider("m", row=KNOWN["azure"], base_url="https://me.openai.azure.com")]
    assert [each.enforces_schemas for each in own] == [True] * 5
    assert OpenAIProvider("m", base_url="http://elsewhere/v1").enforces_schemas is None
    assert OpenAIProvider("m", row=KNOWN["mistral"]).enforces_schemas is None
    assert AnthropicProvider("m", base_url="http://elsewhere").enforces_schemas is None


def test_without_a_schema_nothing_is_tried(tmp_path: Path) -> None:
    with MessagesServer(drops_schema=["messages"]) as server:
        run = done(run_of(server, tmp_path, schema=None))
        assert (statuses(run), run.report()["schema"]) == (["answered"] * 4, None)
        assert server.probes.total() == 0


# -- money, and what may come between


def test_two_runs_at_once_pay_for_one_probe(tmp_path: Path) -> None:
    async def both(server: MessagesServer) -> list[Run]:
        other = pd.DataFrame({"text": ["another", "yet another"]})
        runs = [run_of(server, tmp_path), run_of(server, tmp_path, data=other)]
        await asyncio.gather(*(run.start() for run in runs))
        return runs

    with MessagesServer(drops_schema=["messages"], bills_probes=True) as server:
        runs = asyncio.run(both(server))
        assert [set(statuses(run)) for run in runs] == [{"answered"}] * 2
        assert probes(server) == ["messages", "chat"]
        assert sum(run.costs.total_cost for run in runs) == billed(server)


def test_a_probe_that_the_budget_has_no_room_for_is_not_sent(tmp_path: Path) -> None:
    """The run goes on as it was given, and says so; rows that fit are asked."""
    with MessagesServer(drops_schema=["messages"], bills_probes=True) as server:
        # A probe writes 256 tokens at most, a row of this run 20.
        run = done(run_of(server, tmp_path, budget=Decimal("0.0018"), max_tokens=20, concurrency=1))
        assert probes(server) == []
        assert "the budget has no room for the probe" in run.note
        assert run.report()["schema"] == "not known"
        assert billed(server) <= Decimal("0.0018")
        assert server.ledger.requests > 0


def test_a_stop_during_the_probe_sends_no_row_and_keeps_what_it_told(tmp_path: Path) -> None:
    async def stopped(server: MessagesServer) -> Run:
        run = run_of(server, tmp_path)
        task = run.start()
        await seen(lambda: server.arrived == 1)
        run.stop()
        await seen(lambda: run.state in ("stopping", "stopped"))
        server.resume()
        await task
        await seen(lambda: run.state == "stopped")
        return run

    with MessagesServer(bills_probes=True) as server:
        server.pause()
        run = asyncio.run(stopped(server))
        assert (run.state, statuses(run)) == ("stopped", ["not_run"] * 4)
        assert run.context.metrics.possibly_billed == 0
        assert probed(tmp_path, AnthropicProvider("m", base_url=server.url)) is not None
        again = done(run_of(server, tmp_path))
        assert statuses(again) == ["answered"] * 4
        assert probes(server) == ["messages"]


def test_a_second_stop_cancels_it_and_counts_it_as_possibly_billed(tmp_path: Path) -> None:
    async def stopped(server: MessagesServer) -> Run:
        run = run_of(server, tmp_path)
        run.start()
        await seen(lambda: server.arrived == 1)
        run.stop()
        await seen(lambda: run.context.control.stopping)
        run.stop()
        await run.context.control.drained()
        await seen(lambda: run.state == "stopped")
        return run

    with MessagesServer(bills_probes=True) as server:
        server.pause()
        run = asyncio.run(stopped(server))
        assert run.context.metrics.possibly_billed > 0
        server.resume()


@pytest.mark.parametrize("fault", ["429", "500", "reset_before", "malformed", "529"])
def test_a_probe_that_fails_goes_again_as_a_row_does(tmp_path: Path, fault: str) -> None:
    def first(body: Any, attempt: int) -> str | None:
        return fault if PROBE in json.dumps(body) and attempt == 1 else None

    with MessagesServer(plan=first, bills_probes=True, retry_after=0.01) as server:
        run = done(run_of(server, tmp_path))
        assert statuses(run) == ["answered"] * 4
        assert "enforces the schema, as a probe told" in run.note
        lost = run.context.metrics.possibly_billed
        assert run.costs.total_cost <= billed(server) <= run.costs.total_cost + lost
        assert (lost > 0) == (fault in ("malformed", "reset_before"))  # as of a row: who knows


def test_another_api_is_tried_twice_and_is_not_waited_for_as_a_row_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    waited: list[int] = []
    monkeypatch.setattr(
        Backoff, "delay", lambda _, attempt, *__, **___: waited.append(attempt) or 0
    )

    def plan(body: Any, _attempt: int) -> str | None:
        return "malformed" if "response_format" in body else None

    drops = ["messages", "chat"]
    with MessagesServer(drops_schema=drops, plan=plan, bills_probes=True) as server:
        run = done(run_of(server, tmp_path))
        assert probes(server) == ["messages", "chat", "chat"]
    assert (waited, run.state) == ([1], "done")


@pytest.mark.parametrize("fault", ["cut", "refusal", "empty"])
def test_an_answer_that_does_not_tell_leaves_the_run_as_it_was_given(
    tmp_path: Path, fault: str
) -> None:
    def unclear(body: Any, _attempt: int) -> str | None:
        return fault if PROBE in json.dumps(body) else None

    with MessagesServer(plan=unclear, bills_probes=True) as server:
        run = done(run_of(server, tmp_path))
        assert (statuses(run), typed(run)) == (["answered"] * 4, True)
        assert "isn't known: its answer to the probe doesn't tell" in run.note
        again = done(run_of(server, tmp_path, rows=5))
        assert probes(server) == ["messages"]  # it lies in the journal, and is not paid again
        assert again.report()["schema"] == "not known"


def test_a_key_that_is_refused_ends_the_run_as_the_first_row_would(tmp_path: Path) -> None:
    with MessagesServer(key="right") as server:
        run = run_of(server, tmp_path)
        with pytest.raises(FatalProviderError, match="refused the key"):
            run.execute()
        assert statuses(run) == ["not_run"] * 4
        assert server.ledger.requests == 0


def test_a_server_that_refuses_a_schema_is_asked_in_words(tmp_path: Path) -> None:
    """As those do that speak Chat Completions and have no json_schema."""

    def refused(body: Any, _attempt: int) -> str | None:
        return "400" if body.get("response_format") else None

    with MessagesServer(plan=refused, bills_probes=True) as server:
        run = done(run_of(server, tmp_path, model="openai:m"))
        assert (statuses(run), typed(run)) == (["answered"] * 4, True)
        assert run.report()["schema"] == "by words"


def test_an_estimate_sends_nothing_and_has_the_probe_in_its_ceiling(tmp_path: Path) -> None:
    with MessagesServer(drops_schema=["messages"], bills_probes=True) as server:
        unknown = run_of(server, tmp_path).pipeline.estimate()
        assert server.arrived == 0
        assert any("a probe tells before the first row" in note for note in unknown.notes)
        run = done(run_of(server, tmp_path))
        assert run.costs.total_cost <= unknown.high
        known = run_of(server, tmp_path, rows=8).pipeline.estimate()
        assert not any("probe" in note for note in known.notes)
        assert known.questions == 4


# -- every way of running


def one_by_one(rows: int) -> Iterator[dict[str, str]]:
    yield from ({"text": f"text {at}"} for at in range(rows))


@pytest.mark.parametrize("drops", [["messages"], ["messages", "chat"]], ids=["chat", "words"])
@pytest.mark.parametrize("executor", ["sync", "async", "streaming"])
def test_every_executor_finds_the_way(tmp_path: Path, executor: str, drops: list[str]) -> None:
    with MessagesServer(drops_schema=drops) as server:
        run = done(run_of(server, tmp_path, executor=executor, chunk_size=2))
        assert (list(run.frame["mood"].isna()), typed(run)) == ([False] * 4, True)
        assert server.probes == {"messages": 1, "chat": 1}


def test_a_stream_finds_it_where_its_first_row_has_to_be_sent(tmp_path: Path) -> None:
    """Chunks before it come from the journal, and ask nobody."""
    with MessagesServer(drops_schema=["messages"]) as server:
        done(run_of(server, tmp_path, rows=6))
        (tmp_path / "schemas.json").unlink()
        options = {"model": "m", "schema": SCHEMA, "journal": tmp_path, "chunk_size": 2, **PRICES}
        pipeline = Pipeline(one_by_one(9), "Tell: {text}", base_url=server.url, **options)
        frames = list(pipeline.stream())
        assert sum(map(len, frames)) == 9
        assert all(value in ("good", "bad") for frame in frames for value in frame["mood"])
        assert server.ledger.requests == 9


def test_packs_go_by_the_other_api_and_are_refused_in_words(tmp_path: Path) -> None:
    with MessagesServer(drops_schema=["messages"]) as server:
        run = done(run_of(server, tmp_path, pack=4))
        assert (statuses(run), server.ledger.requests) == (["answered"] * 4, 1)
    with MessagesServer(drops_schema=["messages", "chat"]) as server:
        run = run_of(server, tmp_path, pack=4)
        with pytest.raises(ConfigurationError, match="--pack holds the answers to a schema"):
            run.execute()
        assert server.ledger.requests == 0
        with pytest.raises(ConfigurationError, match="leave --pack out"):  # it is known by now
            run_of(server, tmp_path, pack=4)


def test_batches_are_asked_in_words_where_the_other_api_has_none(tmp_path: Path) -> None:
    with MessagesServer(drops_schema=["messages"]) as server:
        run = done(run_of(server, tmp_path, batch=True))
        assert (statuses(run), typed(run)) == (["answered"] * 4, True)
        assert run.report()["schema"] == "by words"


@pytest.mark.parametrize("drops", [["messages"], ["messages", "chat"]], ids=["chat", "words"])
def test_votes_of_two_models_find_the_way_of_each(tmp_path: Path, drops: list[str]) -> None:
    with MessagesServer(drops_schema=drops) as server:
        run = done(run_of(server, tmp_path, model=None, models="m,n", votes=2))
        assert not run.frame["mood"].isna().any()
        assert list(run.frame["mood_agree"]) == [4] * 4
        assert server.probes == {"messages": 2, "chat": 2}
        assert run.report()["schema"] == ("by words" if "chat" in drops else "by the server")


@pytest.mark.parametrize("drops", [["messages"], ["messages", "chat"]], ids=["chat", "words"])
def test_groups_and_their_trees_are_asked_the_way_that_is_found(
    tmp_path: Path, drops: list[str]
) -> None:
    data = pd.DataFrame({"who": ["a"] * 40 + ["b"] * 2, "text": [f"text {at}" for at in range(42)]})
    with MessagesServer(drops_schema=drops, bills_probes=True) as server:
        run = done(run_of(server, tmp_path, data=data, by="who", group_tokens=120))
        assert list(run.frame["mood"].isna()) == [False] * 2
        assert probes(server) == ["messages", "chat"]
        assert server.ledger.requests > 5  # a tree of leaves, and what merges them
        assert run.costs.total_cost == billed(server)
        again = done(run_of(server, tmp_path, data=data, by="who", group_tokens=120))
        assert again.costs.total_cost == 0


def test_a_row_asked_again_first_of_all_goes_the_way_that_is_found(tmp_path: Path) -> None:
    """Its answers lie in the journal and break the schema: nothing was sent before it."""
    with MessagesServer(answer=lambda _body: "nonsense") as server:
        keep_probed(tmp_path, AnthropicProvider("m", base_url=server.url), True)
        spoiled = run_of(server, tmp_path, rows=1)
        spoiled.plan.stages[-1].reasks = 0  # type: ignore[attr-defined]
        assert statuses(done(spoiled)) == ["failed"]
        (tmp_path / "schemas.json").unlink()
        server._answer, server._drops = None, frozenset(["messages"])
        run = done(run_of(server, tmp_path, rows=1))
        assert (statuses(run), typed(run)) == (["answered"], True)
        assert "response_format" in server.requests[-1].body
        assert statuses(done(run_of(server, tmp_path, rows=1))) == ["journal"]


def test_an_object_of_ones_own_is_taken_at_its_word(tmp_path: Path) -> None:
    own = Echo(identity="mine")
    made = Pipeline(texts(1), '{{"mood": "good", "n": 1}} {text}', provider=own, schema=SCHEMA,
                    journal=tmp_path)  # fmt: skip
    Run(made).execute()
    assert own.asked is not None
    assert PROBE not in own.asked


def test_the_probe_is_journaled_as_what_it_is(tmp_path: Path) -> None:
    """By the server, the model and the way it asks: a run finds it where the file is gone."""
    with MessagesServer(bills_probes=True) as server:
        first = done(run_of(server, tmp_path))
        (tmp_path / "schemas.json").unlink()
        done(run_of(server, tmp_path, rows=6))
        assert probes(server) == ["messages"]
        sent = next(each for each in server.requests if each.prompt == PROBE)
        assert sent.body["max_tokens"] == probe_settings("m", 1).max_tokens
        price = first.pipeline.provider.price
        assert price is not None
        worst = price.ceiling(len(Prompt(PROBE).text) + 2_000, 256)
        assert worst < Decimal("0.01")  # at a dollar and five a million


def test_a_run_that_is_resumed_goes_on_the_same_way_with_what_it_has_spent(tmp_path: Path) -> None:
    """Its record names what was asked for; its answers lie under what really was."""

    async def stopped(server: MessagesServer) -> Run:
        run = run_of(server, tmp_path, rows=30, concurrency=2, budget=Decimal(1))
        task = run.start()
        await seen(lambda: server.ledger.requests >= 8)
        run.stop()
        await task
        await run.context.control.drained()
        return run

    with MessagesServer(drops_schema=["messages"], bills_probes=True, latency=0.01) as server:
        first = asyncio.run(stopped(server))
        resumed = Pipeline.resume(first.id, texts(30), journal=tmp_path)
        assert not done(resumed).frame["mood"].isna().any()
        assert probes(server) == ["messages", "chat"]
        assert resumed.costs.total_cost == billed(server)
        assert max(server.ledger.by_prompt().values()) == 2  # the probe, by both APIs


@pytest.mark.slow
def test_in_bad_weather_every_row_has_its_answer_in_words_or_a_named_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "Backoff", partial(Backoff, base=0.005))
    drops = {"drops_schema": ["messages", "chat"], "bills_probes": True, "retry_after": 0.01}
    with MessagesServer(faults=WEATHER, latency=(0, 0.02), **drops) as server:
        run = done(run_of(server, tmp_path, rows=300, concurrency=50, timeout=15))
        kinds = [getattr(ondine_nb.errors, kind) for kind in run.errors["error_type"]]
        assert all(issubclass(kind, RowError) for kind in kinds)
        assert statuses(run).count("answered") == 300 - len(kinds) > 280
        delivered = Counter(each.prompt for each in server.ledger.entries if each.delivered)
        assert {count for prompt, count in delivered.items() if prompt != PROBE} == {1}
        lost = run.context.metrics.possibly_billed
        assert run.costs.total_cost <= billed(server) <= run.costs.total_cost + lost


@pytest.mark.slow
def test_over_dask_a_worker_sends_the_probe_and_rows_are_asked_in_words(
    tmp_path: Path, two_dask_workers: LocalCluster
) -> None:
    with MessagesServer(drops_schema=["messages"], bills_probes=True) as server:
        run = done(run_of(server, tmp_path, executor=DaskExecutor(two_dask_workers)))
        assert (statuses(run), typed(run)) == (["answered"] * 4, True)
        assert run.report()["schema"] == "by words"
        assert probes(server) == ["messages"]
        assert run.costs.total_cost == billed(server)


KILLED = """
import sys
from decimal import Decimal
import pandas as pd
from ondine_nb import Pipeline

url, out = sys.argv[1:]
data = pd.DataFrame({"text": [f"text {at}" for at in range(8)]})
result = Pipeline(
    data, "Tell: {text}", base_url=url, schema="mood: good|bad, n: int", model="m",
    price_in=1, price_out=5, budget=1,
).execute()
result.data.to_json(out, orient="records")
print(result.costs.total_cost, flush=True)
"""


@pytest.mark.slow
def test_killed_during_the_probe_the_next_run_tries_again_and_knows_what_was_spent(
    tmp_path: Path,
) -> None:
    out = tmp_path / "out.json"
    with MessagesServer(drops_schema=["messages"], bills_probes=True) as server:
        server.pause()
        process = start(KILLED, server.url, out)
        server.wait_for(1)
        kill(process)
        server.resume()
        server.wait_idle()
        said = ends_well(start(KILLED, server.url, out))
        assert probes(server)[-2:] == ["messages", "chat"]
        assert len(probes(server)) <= 3
        assert len(json.loads(out.read_text())) == 8
        by_prompt = server.ledger.by_prompt()
        assert {count for prompt, count in by_prompt.items() if prompt != PROBE} == {1}
        assert Decimal(said) <= billed(server)
