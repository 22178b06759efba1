"""Batches: nothing is lost or paid twice, whatever happens to process, network or batch.

By both APIs, where a test doesn't say that it is of one.
"""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from ondine_nb import Pipeline, Run
from ondine_nb.errors import ConfigurationError, FatalProviderError
from ondine_nb.journal.batches import INTENDED
from ondine_nb.providers import BatchLimits
from ondine_nb.providers.anthropic import AnthropicProvider, MessageBatches
from ondine_nb.providers.openai.batches import ChatBatches
from ondine_nb.sending import SessionBudget
from ondine_nb.sending.retry import Backoff
from ondine_nb.stages.batch import BatchPolicy
from ondine_nb.stages.batch import plan as batching
from tests.asking import (
    CHAT,
    HAIKU,
    MESSAGES,
    Api,
    Asker,
    echoes,
    ended,
    journaled,
    seen,
    statuses,
    texts,
)
from tests.faults.processes import (
    SCHEMA,
    Process,
    assert_undisturbed,
    books,
    counts,
    ends_well,
    kill,
    prompts,
    server_process,
    start,
)
from tests.server import Billed, MessagesServer
from tests.server.batches import BatchRules
from tests.table import HEAD, cost_of

FAST = BatchPolicy(first=0.02, longest=0.1, grace=0.3, patience=5)


@pytest.fixture(autouse=True)
def pace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batching, "PACE", FAST)


@pytest.fixture
def rules() -> BatchRules:
    return BatchRules(delay=0.05)


@pytest.fixture
def server(rules: BatchRules) -> Iterator[MessagesServer]:
    with MessagesServer(batches=rules) as running:
        yield running


@pytest.fixture(params=[MESSAGES, CHAT], ids=lambda api: api.name)
def api(request: pytest.FixtureRequest) -> Api:
    found: Api = request.param
    return found


@pytest.fixture
def asker(server: MessagesServer, tmp_path: Path, api: Api) -> Asker:
    return Asker(server, tmp_path / "journal", api)


def limit(monkeypatch: pytest.MonkeyPatch, requests: int, size: int = 10**9) -> None:
    """Let batches be no larger than that."""
    for batches in (MessageBatches, ChatBatches):
        monkeypatch.setattr(batches, "limits", BatchLimits(requests, size))


def billed(server: MessagesServer) -> Decimal:
    """What the ledger comes to, requests in batches at the price that they have there."""
    return by_the_books(server.ledger.entries)


def by_the_books(entries: Iterable[Billed]) -> Decimal:
    return sum(map(cost_of, entries), Decimal(0))


def job_of(run: Run) -> batching.BatchJob:
    plan = run.plan.asker.plan
    assert isinstance(plan, batching.Batches)
    return plan.job


def quick(run: Run) -> Run:
    """Its retries follow one another without long waits."""
    run.plan.asker.sender.backoff = job_of(run).backoff = Backoff(base=0.02, longest=0.05)
    return run


def batched(asker: Asker, data: Any, **options: Any) -> Run:
    run = quick(Run(asker.pipeline(data, batch=True, **options)))
    asyncio.run(ended(run))
    return run


async def sent(run: Run, server: MessagesServer, batches: int = 1) -> None:
    """Until the server has so many batches and the run knows their ids."""
    run.start()
    await seen(lambda: len(server.batches.made) >= batches)
    await asyncio.sleep(0.1)


def plan(**words: str) -> Callable[[Any], str | None]:
    """What becomes of the requests whose prompts end in these words."""
    fates = {word.replace("_", " "): fate for word, fate in words.items()}
    return lambda body: fates.get(body["messages"][-1]["content"].removeprefix("Tell: "))


# -- the way it is meant to go


def test_rows_get_their_own_answers_by_one_batch_at_half_the_price(
    asker: Asker, server: MessagesServer
) -> None:
    run = batched(asker, texts(300))
    assert run.state == "done"
    assert list(run.frame["response"]) == echoes(texts(300))
    assert server.batches.calls["POST batches"] == 1
    assert server.arrived == 0
    assert run.cost == billed(server) > 0
    assert statuses(run) == ["answered"] * 300


def test_costs_of_rows_and_journal_add_up_to_the_ledger(
    asker: Asker, server: MessagesServer
) -> None:
    run = batched(asker, texts(50))
    assert sum(row.cost for row in run.plan.rowset.rows) == billed(server)
    asker.end_process()
    again = batched(asker, texts(50))
    assert again.cost == 0
    assert journaled(again) == 50


def test_prompts_in_the_dear_tier_cost_half_of_that_tier(tmp_path: Path, rules: BatchRules) -> None:
    def usage(_body: Any, _text: str) -> dict[str, int]:
        return {"input_tokens": 150_000, "output_tokens": 100}

    with MessagesServer(batches=rules, usage=usage) as server:
        run = batched(Asker(server, tmp_path), texts(3))
        assert run.cost == 3 * 5 * (150_000 * HAIKU[0] + 100 * HAIKU[1]) / 2 / 1_000_000


UNHEARD = {"messages": "unheard-of", "chat": "openai:unheard-of"}


def test_a_given_price_is_halved(asker: Asker, server: MessagesServer) -> None:
    model = UNHEARD[asker.api.name]
    run = batched(asker, texts(4), model=model, price_in="10", price_out="20")
    assert run.cost == server.ledger.cost(5, 10)


def test_an_unknown_price_stays_unknown(asker: Asker) -> None:
    run = batched(asker, texts(4), model=UNHEARD[asker.api.name])
    assert run.state == "done"
    assert run.cost is None


def test_many_rows_become_batches_within_the_limits(
    asker: Asker, server: MessagesServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    limit(monkeypatch, 40, 3_000)
    run = batched(asker, texts(100))
    assert list(run.frame["response"]) == echoes(texts(100))
    sizes = [sum(len(str(each)) for each in batch.requests) for batch in server.batches.made]
    assert max(sizes) <= 3_000 + 500
    assert len(sizes) > 3
    assert server.ledger.requests == 100


def test_no_more_rows_wait_than_may_and_all_get_their_turn(
    asker: Asker, server: MessagesServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batching, "PACE", BatchPolicy(first=0.02, longest=0.1, rows=250))
    run = batched(asker, texts(900))
    assert list(run.frame["response"]) == echoes(texts(900))
    assert max(len(batch.requests) for batch in server.batches.made) <= 500


def test_equal_prompts_are_sent_once(asker: Asker, server: MessagesServer) -> None:
    data = pd.DataFrame({"text": ["a", "b", "a", "a"]})
    run = batched(asker, data)
    assert list(run.frame["response"]) == echoes(data)
    assert server.ledger.requests == 2
    assert run.context.metrics.duplicates == 2


def test_rows_in_the_journal_and_empty_rows_are_not_sent(
    asker: Asker, server: MessagesServer
) -> None:
    asker.run(texts(5))
    data = pd.DataFrame({"text": [*texts(10)["text"], None]})
    run = batched(asker, data)
    assert statuses(run) == ["journal"] * 5 + ["answered"] * 5 + ["skipped"]
    assert len(server.batches.made[0].requests) == 5


def test_answers_that_break_the_schema_are_asked_again_at_once_and_at_the_full_price(
    tmp_path: Path, rules: BatchRules, api: Api
) -> None:
    first = Counter[str]()

    def answer(body: Any) -> str:
        prompt = body["messages"][-1]["content"]
        first[prompt] += 1
        bad = prompt.endswith("7") and first[prompt] == 1
        return "no json" if bad else '{"mood": "good", "n": 1}'

    with MessagesServer(batches=rules, answer=answer) as server:
        run = batched(Asker(server, tmp_path, api), texts(20), schema=SCHEMA)
        assert list(run.frame["mood"]) == ["good"] * 20
        assert server.arrived == 2
        assert server.ledger.requests == 22
        assert run.cost == billed(server)
        assert sum(row.cost for row in run.plan.rowset.rows) == billed(server)


def test_a_stream_goes_by_batches_of_many_chunks(
    asker: Asker, server: MessagesServer, tmp_path: Path
) -> None:
    path = tmp_path / "in.csv"
    texts(2_500).to_csv(path, index=False)
    out = tmp_path / "out.csv"
    run = batched(asker, str(path), to=str(out))
    assert run.state == "done"
    assert list(pd.read_csv(out)["response"]) == echoes(texts(2_500))
    assert server.batches.calls["POST batches"] == 1


def test_a_preview_does_not_wait_for_a_batch(asker: Asker, server: MessagesServer) -> None:
    asker.pipeline(texts(10), batch=True).preview(2)
    assert server.arrived == 2
    assert server.batches.made == []


def test_an_estimate_is_at_the_batch_price_and_sends_nothing(
    asker: Asker, server: MessagesServer
) -> None:
    single = asker.pipeline(texts(10)).estimate()
    batch = asker.pipeline(texts(10), batch=True).estimate()
    assert batch.total_cost is not None
    assert single.total_cost == 2 * batch.total_cost
    assert single.high is not None
    assert batch.high is not None
    assert single.high == 2 * batch.high
    assert server.batches.made == []


def test_the_view_says_what_waits(asker: Asker, server: MessagesServer, rules: BatchRules) -> None:
    rules.held = True

    async def scenario() -> None:
        run = Run(asker.pipeline(texts(30), batch=True))
        await sent(run, server)
        metrics = run.context.metrics
        assert "30 requests in 1 batch" in metrics.message
        assert metrics.in_flight == 30
        server.batches.release()
        await run
        assert metrics.message == ""
        assert metrics.in_flight == 0

    asyncio.run(scenario())


# -- where there are no batches


def test_the_embedded_model_has_no_batches_and_nothing_is_started(tmp_path: Path) -> None:
    from ondine_nb import Pipeline

    with pytest.raises(
        ConfigurationError, match="--batch needs a provider whose batches are known"
    ):
        Pipeline(texts(2), "Tell: {text}", batch=True, journal=tmp_path)


def test_a_server_without_batches_ends_the_run_with_one_line(
    asker: Asker, server: MessagesServer, rules: BatchRules
) -> None:
    rules.offered = False
    run = batched(asker, texts(3))
    assert run.state == "failed"
    assert isinstance(run.error, FatalProviderError)
    noun = {"messages": "Message Batches", "chat": "Batch API"}[asker.api.name]
    assert str(run.error).endswith(f"has no {noun} (404): leave --batch out")
    assert statuses(run) == ["not_run"] * 3
    assert run.plan.budget.possibly_billed == 0
    rules.offered = True
    assert batched(asker, texts(3)).state == "done"
    assert server.batches.calls["GET batches"] == 0


def test_results_are_read_from_the_configured_host_only(
    server: MessagesServer, rules: BatchRules, tmp_path: Path
) -> None:
    rules.away = True
    run = batched(Asker(server, tmp_path), texts(5))
    assert list(run.frame["response"]) == echoes(texts(5))
    assert server.batches.calls["GET results"] == 1


# -- requests that get no answer


def test_requests_without_an_answer_fail_their_rows_and_go_again(
    asker: Asker, server: MessagesServer, rules: BatchRules
) -> None:
    rules.plan = plan(text_1="errored", text_2="expired", text_3="invalid", text_4="garbled")

    async def scenario() -> None:
        run = quick(Run(asker.pipeline(texts(6), batch=True)))
        await run.start()
        kinds = dict(zip(run.errors["row"], run.errors["error_type"], strict=True))
        assert kinds == {
            1: "BatchErroredError",
            2: "BatchExpiredError",
            3: "RejectedRequestError",
            4: "MalformedAnswerError",
        }
        assert statuses(run) == ["answered", *["failed"] * 4, "answered"]
        rules.plan = None
        retry = run.retry_failed()
        await retry
        assert list(retry.frame["response"]) == echoes(texts(6))

    asyncio.run(scenario())
    assert [len(batch.requests) for batch in server.batches.made] == [6, 4]


def test_a_run_in_which_every_request_errored_has_failed(asker: Asker, rules: BatchRules) -> None:
    rules.plan = lambda _body: "errored"
    assert batched(asker, texts(4)).state == "failed"


def test_results_that_are_cut_are_read_again_for_nothing(
    asker: Asker, server: MessagesServer, rules: BatchRules
) -> None:
    rules.cut = 137
    run = batched(asker, texts(300))
    assert list(run.frame["response"]) == echoes(texts(300))
    assert server.batches.calls["GET results"] == 2
    assert run.cost == billed(server)


def test_results_that_end_early_without_an_error_are_read_again_not_bought(
    asker: Asker, server: MessagesServer, rules: BatchRules
) -> None:
    rules.short, rules.times = 20, 2
    run = batched(asker, texts(40))
    assert list(run.frame["response"]) == echoes(texts(40))
    assert server.batches.calls["GET results"] == 3
    assert (run.cost, server.ledger.requests) == (billed(server), 40)


def test_results_that_stay_short_are_never_bought_again(
    asker: Asker, server: MessagesServer, rules: BatchRules
) -> None:
    """Not by a retry, nor by the next run, which have them once the server gives them."""

    async def scenario() -> None:
        rules.short, rules.times = 20, 8
        run = quick(Run(asker.pipeline(texts(40), batch=True)))
        await run.start()
        assert set(run.errors["error_type"]) == {"BatchResultMissingError"}
        assert statuses(run).count("answered") == 20
        assert run.context.metrics.possibly_billed > 0
        assert run.context.metrics.in_flight == 0
        retry = quick(run.retry_failed())
        await retry
        assert statuses(retry).count("answered") == 20

    asyncio.run(scenario())
    assert rules.times == 0  # tried so often by each run, not without end
    again = batched(asker, texts(40))
    assert list(again.frame["response"]) == echoes(texts(40))
    assert len(server.batches.made) == 1
    assert server.ledger.requests == 40


def deep(line: bytes) -> bytes:
    return b'{"custom_id": ' + line.split(b":")[1].split(b",")[0] + b', "result": ' + b"[" * 9_999


@pytest.mark.parametrize(
    "spoilt",
    [
        lambda line: b"<html>",
        lambda line: line[: len(line) // 2],
        lambda line: line.replace(b"custom_id", b"custom\xff\xfeid"),
        lambda line: re.sub(rb'"(succeeded|status_code)"', b'"banana"', line),
        lambda line: re.sub(rb'"(message|body)"', b'"massage"', line, count=1),
        lambda line: b"null",
        deep,
    ],
    ids=["no JSON", "cut", "bad UTF-8", "unknown type", "no message", "null", "too deep"],
)
def test_one_unreadable_line_is_one_rows_error_and_the_others_are_taken(
    asker: Asker, server: MessagesServer, rules: BatchRules, spoilt: Callable[[bytes], bytes]
) -> None:
    rules.spoil = lambda line, at: spoilt(line) if at == 7 else line
    run = batched(asker, texts(20))
    assert list(run.errors["error_type"]) == ["MalformedAnswerError"]
    assert statuses(run).count("answered") == 19
    answered = run.frame["response"].notna()
    assert list(run.frame["response"][answered]) == list(pd.Series(echoes(texts(20)))[answered])
    assert run.context.metrics.possibly_billed > 0
    asker.end_process()
    rules.spoil = None
    again = batched(asker, texts(20))  # the batch is done with: nothing is tried without end
    assert list(again.frame["response"]) == echoes(texts(20))
    assert [len(batch.requests) for batch in server.batches.made] == [20, 1]


@pytest.mark.parametrize("number", [b"1e999", b"-5", b"null", b"9" * 5_000, b"700000000"], ids=len)
def test_absurd_numbers_in_a_line_are_charged_at_the_most_that_it_can_cost(
    asker: Asker, server: MessagesServer, rules: BatchRules, number: bytes
) -> None:
    absurd = re.compile(rb'("(?:input|prompt)_tokens": ?)\d+')
    rules.spoil = lambda line, at: (
        absurd.sub(lambda found: found[1] + number, line) if at == 7 else line
    )
    run = batched(asker, texts(20))
    assert statuses(run).count("answered") >= 19
    assert run.context.metrics.possibly_billed > 0
    assert run.plan.budget.reserved == 0


# -- create calls


def test_a_batch_whose_create_answer_was_lost_is_found_by_its_prefix(
    asker: Asker, server: MessagesServer, rules: BatchRules
) -> None:
    rules.lost = 1
    run = batched(asker, texts(40), budget=1)
    assert list(run.frame["response"]) == echoes(texts(40))
    assert len(server.batches.made) == 1
    assert run.cost == billed(server)
    assert run.plan.budget.possibly_billed == 0


@pytest.mark.parametrize("ahead", [-5 * 3600.0, 5 * 3600.0, 24 * 3600.0])
def test_a_lost_batch_is_found_by_a_machine_whose_clock_is_hours_off(
    asker: Asker,
    server: MessagesServer,
    rules: BatchRules,
    monkeypatch: pytest.MonkeyPatch,
    ahead: float,
) -> None:
    """Found by the simulator: ten minutes were believed, and all was bought again."""
    rules.lost = 1
    monkeypatch.setattr(batching, "time", ClockThatIsOff(ahead))
    run = batched(asker, texts(20))
    assert list(run.frame["response"]) == echoes(texts(20))
    assert len(server.batches.made) == 1


class ClockThatIsOff:
    """A module `time` that is so many seconds ahead."""

    monotonic = staticmethod(time.monotonic)

    def __init__(self, ahead: float) -> None:
        self._ahead = ahead

    def time(self) -> float:
        return time.time() + self._ahead


def test_a_lost_batch_whose_results_end_before_they_begin_is_read_again_not_bought(
    asker: Asker, server: MessagesServer, rules: BatchRules
) -> None:
    rules.lost, rules.short, rules.times = 1, 0.5, 2
    run = batched(asker, texts(20))
    assert list(run.frame["response"]) == echoes(texts(20))
    assert len(server.batches.made) == 1


def test_a_stop_while_a_batch_is_refused_sends_no_other(
    asker: Asker, server: MessagesServer, rules: BatchRules
) -> None:
    """Found by the simulator: within the time a stop takes, it was sent again."""
    rules.refused = 1e9

    async def scenario() -> Run:
        run = Run(asker.pipeline(texts(20), batch=True))
        job_of(run).backoff = Backoff(attempts=10**6, base=0.02, longest=0.05)
        run.start()
        await seen(lambda: rules.refused < 1e9)
        run.stop()
        rules.refused = 0
        await ended_of(run)
        return run

    run = asyncio.run(scenario())
    assert statuses(run) == ["not_run"] * 20
    assert server.batches.made == []
    assert run.plan.budget.outstanding == 0
    assert batched(asker, texts(20)).counts.answered == 20


async def ended_of(run: Run) -> None:
    await seen(lambda: run.state in ("stopped", "failed", "done"))


def test_runs_side_by_side_under_one_budget_dont_wait_for_each_others_batches(
    asker: Asker, server: MessagesServer, rules: BatchRules, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Found by the simulator: one waited for money, and the other for its turn to free it."""
    limit(monkeypatch, 4)
    rules.held = True
    one = asker.pipeline(texts(1), batch=True, max_tokens=60).estimate().high
    assert one is not None

    async def scenario() -> list[Run]:
        session = SessionBudget(one * 9)  # two batches of four, and not the next
        first, second = (
            quick(
                Run(asker.pipeline(texts(40, start=at), batch=True, max_tokens=60).within(session))
            )
            for at in (0, 100)
        )
        first.start()
        await seen(lambda: len(server.batches.made) >= 2)
        second.start()
        await seen(lambda: bool(session._waiting))
        rules.held, rules.delay = False, 0.05
        server.batches.release()
        await asyncio.gather(*(ended_of(run) for run in (first, second)))
        return [first, second]

    first, second = asyncio.run(scenario())
    assert first.counts.answered + second.counts.answered > 8
    assert first.plan.budget.outstanding == second.plan.budget.outstanding == 0


def test_a_strange_batch_with_the_same_count_is_not_taken_for_it(
    asker: Asker, server: MessagesServer, rules: BatchRules, tmp_path: Path
) -> None:
    """Somebody else's batch of 40 requests is there; the create call fails before it arrives."""
    batched(Asker(server, tmp_path / "somebody", asker.api), texts(40, start=100))

    async def scenario() -> Run:
        run = quick(Run(asker.pipeline(texts(40), batch=True)))
        wire = job_of(run).wire
        create, calls = wire.create, []

        async def fails_once(*given: Any) -> Any:
            calls.append(given)
            if len(calls) == 1:
                from ondine_nb.errors import ConnectionLostError

                raise ConnectionLostError("cut", possibly_billed=True)
            return await create(*given)

        wire.create = fails_once  # type: ignore[method-assign]
        await run.start()
        return run

    run = asyncio.run(scenario())
    assert list(run.frame["response"]) == echoes(texts(40))
    assert server.ledger.requests == 80


def test_an_overloaded_create_call_goes_again(
    asker: Asker, server: MessagesServer, rules: BatchRules
) -> None:
    rules.refused = 2
    assert batched(asker, texts(5)).state == "done"
    assert len(server.batches.made) == 1


# -- what OpenAI's has beside: files, and a validation after the create call


@pytest.fixture
def chat(server: MessagesServer, tmp_path: Path) -> Asker:
    return Asker(server, tmp_path / "journal", CHAT)


def test_an_upload_whose_answer_was_lost_is_found_by_its_name_not_sent_again(
    chat: Asker, server: MessagesServer, rules: BatchRules
) -> None:
    rules.lost_uploads = 1
    run = batched(chat, texts(20))
    assert list(run.frame["response"]) == echoes(texts(20))
    assert (server.batches.calls["POST files"], len(server.batches.chat.uploads())) == (1, 1)
    assert len(server.batches.made) == 1


def test_a_batch_that_fails_when_it_is_looked_over_ends_the_run_with_the_reason(
    chat: Asker, server: MessagesServer, rules: BatchRules
) -> None:
    rules.failing, rules.why = 1, "model_not_found"
    run = batched(chat, texts(3), budget=1)
    assert run.state == "failed"
    assert str(run.error).startswith("the batch of 3 requests was refused: It can't be processed.")
    assert (run.cost, run.plan.budget.possibly_billed) == (0, 0)
    assert server.batches.chat.uploads() == []  # nobody's prompts are left there for nothing
    chat.end_process()
    assert batched(chat, texts(3)).state == "done"
    assert server.ledger.requests == 3


def test_a_batch_that_fails_after_a_stop_is_sent_anew_by_who_finds_it(
    chat: Asker, server: MessagesServer, rules: BatchRules
) -> None:
    rules.failing, rules.held, rules.why = 1, True, "model_not_found"

    async def scenario() -> None:
        run = quick(Run(chat.pipeline(texts(10), batch=True)))
        await stopped_with_its_batch(run, server)

    asyncio.run(scenario())
    chat.end_process()
    run = batched(chat, texts(10))
    assert list(run.frame["response"]) == echoes(texts(10))
    assert (len(server.batches.made), server.ledger.requests) == (2, 10)


def test_an_account_without_room_for_so_many_gets_fewer_at_once_one_batch_after_another(
    chat: Asker, server: MessagesServer, rules: BatchRules
) -> None:
    rules.failing, rules.why = 2, "token_limit_exceeded"
    run = batched(chat, texts(40), budget=1)
    assert list(run.frame["response"]) == echoes(texts(40))
    assert [len(each.requests) for each in server.batches.made] == [40, 20, 10, 10, 10, 10]
    assert server.ledger.requests == 40
    assert run.context.metrics.requests == 40
    assert run.cost == billed(server)
    assert run.plan.budget.outstanding == 0


def test_an_account_without_room_for_one_request_ends_the_run_with_the_servers_word(
    chat: Asker, rules: BatchRules
) -> None:
    rules.failing = 1e9
    run = batched(chat, texts(5))
    assert run.state == "failed"
    assert str(run.error).startswith(
        "the batch of 1 request was refused: Enqueued token limit reached"
    )


def test_the_view_says_how_many_are_done_where_the_api_does(
    chat: Asker, server: MessagesServer, rules: BatchRules
) -> None:
    rules.delay = 1e9

    async def scenario() -> None:
        run = Run(chat.pipeline(texts(30), batch=True))
        await sent(run, server)
        made = server.batches.made[0]
        made.created -= rules.delay / 2
        await seen(lambda: "30 requests in 1 batch, 15 done" in run.context.metrics.message)
        made.ends = 0.0
        await run
        assert list(run.frame["response"]) == echoes(texts(30))

    asyncio.run(scenario())


# -- budget


def test_what_does_not_fit_the_budget_is_not_sent(asker: Asker, server: MessagesServer) -> None:
    pipeline = asker.pipeline(texts(100), batch=True, max_tokens=60)
    high = pipeline.estimate().high
    assert high is not None
    run = batched(asker, texts(100), max_tokens=60, budget=str(high / 50))
    assert run.state == "stopped"
    assert run.context.control.reason == "budget"
    assert "out of budget" in run.context.metrics.message
    assert billed(server) == run.cost
    assert run.cost is not None
    assert run.cost <= high / 50
    answered = statuses(run).count("answered")
    assert 2 < answered < 100
    assert server.ledger.requests == answered
    assert statuses(run).count("not_run") == 100 - answered


def test_a_budget_that_fits_one_after_another_goes_by_several_batches(
    asker: Asker, server: MessagesServer
) -> None:
    """Worst cases are far above the costs: as they settle, the next rows fit."""
    high = asker.pipeline(texts(30), batch=True).estimate().high
    assert high is not None
    run = batched(asker, texts(30), budget=str(high / 2))
    assert run.state == "done"
    assert len(server.batches.made) >= 2
    assert run.cost == billed(server)


# -- stop and cancel


def test_one_stop_leaves_the_batch_to_the_server_and_the_same_cell_picks_it_up(
    asker: Asker, server: MessagesServer, rules: BatchRules
) -> None:
    rules.held = True

    async def scenario() -> None:
        run = quick(Run(asker.pipeline(texts(20), batch=True, budget=1)))
        await sent(run, server)
        run.stop()
        await run
        assert statuses(run) == ["not_run"] * 20
        await seen(lambda: run.state == "stopped")
        assert "20 requests in 1 batch" in run.context.metrics.message
        assert "same cell again" in run.context.metrics.message
        assert run.plan.budget.possibly_billed > 0
        server.batches.release()

    asyncio.run(scenario())
    asker.end_process()
    again = batched(asker, texts(20))
    assert list(again.frame["response"]) == echoes(texts(20))
    assert len(server.batches.made) == 1
    assert again.cost == billed(server)
    assert server.batches.calls["POST cancel"] == 0


@pytest.mark.parametrize("spelled", ["{}/", "HTTP{}"])
def test_a_batch_that_was_sent_under_another_spelling_of_the_server_is_picked_up(
    server: MessagesServer, rules: BatchRules, tmp_path: Path, spelled: str
) -> None:
    """Of Messages only: by Chat Completions it has had one spelling from the start."""
    rules.held = True
    asker = Asker(server, tmp_path / "journal")
    earlier = spelled.format(server.url.removeprefix("http") if "HTTP" in spelled else server.url)
    before = AnthropicProvider("claude-haiku-5-5", base_url=server.url, identity=earlier)

    async def scenario() -> None:
        given = {"provider": before, "base_url": None}
        run = quick(Run(asker.pipeline(texts(20), batch=True, **given)))
        await sent(run, server)
        run.stop()
        await run
        await seen(lambda: run.state == "stopped")
        server.batches.release()

    asyncio.run(scenario())
    asker.end_process()
    again = batched(asker, texts(30), base_url=earlier)
    assert list(again.frame["response"]) == echoes(texts(30))
    assert [len(made.requests) for made in server.batches.made] == [20, 10]
    assert again.cost == billed(server)
    asker.end_process()
    assert batched(asker, texts(30), base_url=server.url).cost == 0
    assert len(server.batches.made) == 2


def test_rows_that_are_answered_stand_in_the_frame_of_a_run_that_was_stopped(
    asker: Asker, server: MessagesServer, rules: BatchRules
) -> None:
    batched(asker, texts(10))
    rules.held = True

    async def scenario() -> None:
        run = quick(Run(asker.pipeline(texts(20), batch=True)))
        await sent(run, server, batches=2)
        run.stop()
        result = await run
        assert list(result.data["response"][:10]) == echoes(texts(10))
        assert statuses(run) == ["journal"] * 10 + ["not_run"] * 10

    asyncio.run(scenario())


def test_a_second_stop_cancels_the_batch_and_keeps_what_succeeded(
    asker: Asker, server: MessagesServer, rules: BatchRules
) -> None:
    rules.held = True

    async def scenario() -> None:
        run = quick(Run(asker.pipeline(texts(20), batch=True, budget=1)))
        await sent(run, server)
        run.stop()
        run.stop()
        await run
        await seen(lambda: run.state == "stopped")
        assert server.batches.calls["POST cancel"] == 1
        assert server.ledger.requests == 10
        assert run.cost == billed(server)
        assert run.plan.budget.possibly_billed == 0

    asyncio.run(scenario())
    rules.held = False
    asker.end_process()
    again = batched(asker, texts(20))
    assert list(again.frame["response"]) == echoes(texts(20))
    assert statuses(again).count("journal") == 10
    assert [len(batch.requests) for batch in server.batches.made] == [20, 10]


def test_two_runs_side_by_side_pay_once(asker: Asker, server: MessagesServer) -> None:
    async def scenario() -> None:
        runs = [quick(Run(asker.pipeline(texts(30), batch=True))) for _ in range(2)]
        await asyncio.gather(*(run.start() for run in runs))
        for run in runs:
            assert list(run.frame["response"]) == echoes(texts(30))
        costs = [run.cost or Decimal(0) for run in runs]
        assert sum(costs) == billed(server)

    asyncio.run(scenario())
    assert server.ledger.requests == 30


# -- kernels that are killed

ROWS = 3_000
SCRIPT = f"""
import json
import sys
import pandas as pd
from ondine_nb import Pipeline, Run
from ondine_nb.stages.batch import plan as batching
from ondine_nb.stages.batch import BatchPolicy

url, out, how, more = sys.argv[1:]
batching.PACE = BatchPolicy(first=0.05, longest=0.2, grace=0.2)
data = pd.DataFrame({{"text": [f"text {{at}}" for at in range({ROWS})]}})
if how == "resume":
    run = Pipeline.resume("labeled", data)
else:
    given = dict(base_url=url, schema="{SCHEMA}", budget=10, **json.loads(more))
    run = Run(Pipeline(data, "Tell: {{text}}", batch=how == "batch", **given), name="labeled")
result = run.execute()
result.data.to_json(out, orient="records")
print(run.state, run.cost, run.plan.budget.possibly_billed, run.context.journal_rows, flush=True)
"""


def killed(running: Process, reached: Callable[[], bool]) -> None:
    """Kill it when `reached` says so."""
    while not reached():
        assert running.poll() is None, running.communicate()
        time.sleep(0.01)
    kill(running)


def results_read(url: str) -> int:
    read: int = counts(url)["batch_calls"].get("GET results", 0)
    return read


@pytest.mark.parametrize(
    ("api", "how"),
    [(MESSAGES, "batch"), (MESSAGES, "resume"), (CHAT, "resume")],
    ids=["messages", "messages resumed", "chat resumed"],
)
def test_killed_after_the_create_call_and_again_while_results_are_read(
    tmp_path: Path, api: Api, how: str
) -> None:
    """Every row is once in the ledger, and the frame is that of a run without batches.

    Where requests go up as a file, also behind that; there the server caches what they begin with.
    """
    out, is_chat = tmp_path / "out.json", api is CHAT
    given = json.dumps({**api.options, "system": HEAD} if is_chat else {})
    with server_process("--batches", "delay=2,line=0.1,upload=0.5") as server:
        url = server + api.path
        if is_chat:
            running = start(SCRIPT, url, out, "batch", given)
            killed(running, lambda: counts(server)["batch_calls"].get("POST files", 0) > 0)
        running = start(SCRIPT, url, out, how if is_chat else "batch", given)
        killed(running, lambda: counts(server)["batches_made"] == 1)
        assert counts(server)["requests"] == 0
        running = start(SCRIPT, url, out, how, given)
        killed(running, lambda: results_read(server) > 0 and time.sleep(1.2) is None)
        said = ends_well(start(SCRIPT, url, out, how, given))
        found = books(server)
    assert len(found["batches"]) == 1
    assert len(found["uploads"]) == is_chat  # none is left of who was killed before there was one
    assert Counter(entry["prompt"] for entry in found["entries"]) == Counter(prompts(ROWS))
    assert_undisturbed(out, ROWS)
    state, spent, possibly_billed, from_journal = said.split()
    assert state == "done"
    assert 0 < int(from_journal) < ROWS
    entries = [Billed(**entry) for entry in found["entries"]]
    assert (sum(each.cache_read_input_tokens for each in entries) > 0) == is_chat
    if how == "resume":
        assert Decimal(spent) == by_the_books(entries)
        assert Decimal(possibly_billed) == 0


def test_a_kernel_that_died_without_the_create_answer_has_its_batch_found(
    tmp_path: Path, server: MessagesServer, rules: BatchRules, api: Api
) -> None:
    """Killed between the create call and its answer: only the intent is in the journal."""
    rules.delay = 0.5
    asker = Asker(server, tmp_path / "journal", api)

    async def scenario() -> None:
        run = quick(Run(asker.pipeline(texts(25), batch=True)))
        wire = job_of(run).wire
        create = wire.create

        async def never_answers(*given: Any) -> Any:
            await create(*given)
            await asyncio.Event().wait()

        wire.create = never_answers  # type: ignore[method-assign]
        await sent(run, server)
        run.stop()
        run.stop()
        await seen(lambda: run.state == "stopped")

    batching.PACE = BatchPolicy(first=0.02, longest=0.1, grace=0.1, patience=0.1)
    asyncio.run(scenario())
    asker.end_process()
    again = batched(asker, texts(25))
    assert list(again.frame["response"]) == echoes(texts(25))
    assert len(server.batches.made) == 1
    assert server.ledger.requests == 25


def test_an_intent_without_a_batch_is_sent_anew(asker: Asker, server: MessagesServer) -> None:
    """Killed before the create call went out: the next kernel looks, finds none, and sends."""

    async def scenario() -> None:
        run = quick(Run(asker.pipeline(texts(25), batch=True)))
        wire = job_of(run).wire

        begun = asyncio.Event()

        async def never_goes(*_given: Any) -> Any:
            begun.set()
            await asyncio.Event().wait()

        wire.create = never_goes  # type: ignore[method-assign]
        run.start()
        await begun.wait()
        run.stop()
        await seen(lambda: run.state == "stopped")

    asyncio.run(scenario())
    asker.end_process()
    again = batched(asker, texts(25))
    assert list(again.frame["response"]) == echoes(texts(25))
    assert server.ledger.requests == 25
    assert server.batches.calls["GET batches"] >= 1


class Counted:
    """A server's `answer` that says how often it has been asked this."""

    def __init__(self) -> None:
        self.times: Counter[str] = Counter()

    def __call__(self, body: Any) -> str:
        prompt = body["messages"][-1]["content"]
        self.times[prompt] += 1
        return f"{prompt} for the {self.times[prompt]}. time"


async def stopped_with_its_batch(run: Run, server: MessagesServer) -> None:
    """The batch is at the server, and nobody has read it; it ends once the run is over."""
    await sent(run, server)
    run.stop()
    await run
    await seen(lambda: run.state == "stopped")
    server.batches.release()


def test_a_fresh_run_finds_its_batch_again_that_another_run_has_read(
    tmp_path: Path, rules: BatchRules, api: Api
) -> None:
    """Its answers are its own, and make void what was there before, for whoever asks later."""
    rules.held = True
    with MessagesServer(batches=rules, answer=Counted()) as server:
        asker = Asker(server, tmp_path / "journal", api)
        old = asker.run(texts(2))
        fresh = quick(Run(asker.pipeline(texts(4), batch=True, fresh=True, budget=1)))
        asyncio.run(stopped_with_its_batch(fresh, server))
        asker.end_process()
        other = batched(asker, texts(3))
        by_batch = [entry for entry in server.ledger.entries if entry.batch]
        paid = by_the_books(by_batch)
        assert list(other.frame["response"])[:2] == list(old.frame["response"])
        assert other.cost == paid
        assert len(by_batch) == 4
        asker.end_process()
        again = Pipeline.resume(fresh.id, texts(4), journal=asker.folder)
        again.execute()
        said = [f"Tell: text {at} for the {2 if at < 2 else 1}. time" for at in range(4)]
        assert list(again.frame["response"]) == said
        assert again.cost == paid
        asker.end_process()
        assert list(asker.run(texts(4)).frame["response"]) == said
        assert server.ledger.requests == 6
        assert len(server.batches.made) == 1


def test_what_stands_in_two_batches_one_of_which_never_came_to_be_is_read_from_the_other(
    tmp_path: Path, rules: BatchRules, api: Api
) -> None:
    """Found by the simulator: the first one was waited for, and then all of it was bought again."""
    rules.held = True
    with MessagesServer(batches=rules) as server:
        asker = Asker(server, tmp_path / "journal", api)
        sent = quick(Run(asker.pipeline(texts(4), batch=True)))
        asyncio.run(stopped_with_its_batch(sent, server))

        async def intended() -> None:
            journal, provider = sent.pipeline.journal, sent.pipeline.provider
            (record,) = await journal.open_batches(provider.identity)
            gone = replace(record, run="gone", prefix="never", id="", state=INTENDED)
            await journal.put_batch(replace(gone, keys=record.keys[:2], at=record.at - 9))

        asyncio.run(intended())
        asker.end_process()
        found = batched(asker, texts(4))
        assert list(found.frame["response"]) == echoes(texts(4))
        assert len(server.batches.made) == 1
        assert server.ledger.requests == 4
        assert found.cost == billed(server)


def test_what_was_asked_longer_in_a_batch_is_found_whoever_reads_it(
    tmp_path: Path, rules: BatchRules, api: Api
) -> None:
    """A batch for what was cut, read by a run that asks one of its rows only."""
    rules.held = True
    with MessagesServer(batches=rules, answer=lambda _: "word " * 40) as server:
        asker = Asker(server, tmp_path / "journal", api)
        assert asker.run(texts(3), max_tokens=16).stats.failed_rows == 3
        longer = quick(Run(asker.pipeline(texts(3), batch=True, max_tokens=400)))
        asyncio.run(stopped_with_its_batch(longer, server))
        asker.end_process()
        assert statuses(batched(asker, texts(1), max_tokens=400)) == ["answered"]
        asker.end_process()
        assert statuses(asker.run(texts(3), max_tokens=400)) == ["journal"] * 3
        assert server.ledger.requests == 6


def test_what_was_read_of_a_batch_and_made_void_since_is_not_counted_again(
    tmp_path: Path, rules: BatchRules, api: Api
) -> None:
    """Found by the simulator: it was journaled again, and was newer than what made it void."""
    rules.short, rules.times = 2, 100
    with MessagesServer(batches=rules, answer=Counted()) as server:
        asker = Asker(server, tmp_path / "journal", api)
        first = batched(asker, texts(4))
        read = [at for at, status in enumerate(statuses(first)) if status == "answered"]
        assert len(read) == 2
        asker.end_process()
        anew = asker.run(texts(4).iloc[read], fresh=True)
        asker.end_process()
        rules.times = 0
        again = batched(asker, texts(4))
        assert again.cost == by_the_books(each for each in server.ledger.entries if each.batch) / 2
        assert list(again.frame["response"][read]) == list(anew.frame["response"])
        asker.end_process()
        assert list(asker.run(texts(4)).frame["response"]) == list(again.frame["response"])
        assert server.ledger.requests == 6
