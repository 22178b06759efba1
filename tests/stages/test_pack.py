"""Packing: N rows in one request; each keeps its own answer, attempts, cost, error and key."""

from __future__ import annotations

import asyncio
import json
import random
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from pathlib import Path
from typing import Any

import pandas as pd
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ondine_nb import Pipeline, Run
from ondine_nb.errors import ConfigurationError
from ondine_nb.journal.entries import Entry
from ondine_nb.journal.journal import shared
from ondine_nb.models import Prompt, Usage
from ondine_nb.prompts.schema import parse_schema
from ondine_nb.providers import Clonable, ModelPrice, Provider, Reply, find_price
from ondine_nb.stages import InvokeStage
from ondine_nb.stages.pack import MOST_BYTES
from tests.asking import Asker, echoes, ended, journaled, seen, statuses, texts
from tests.echo import Echo
from tests.patience import PATIENCE
from tests.server import MessagesServer, value_of
from tests.server.packs import Garbler, questions_of

SCHEMA = "mood: good|bad, n: int"
PROMPT = "Tell: {text}"


@pytest.fixture
def asker(server: MessagesServer, home: Path) -> Asker:
    return Asker(server, home)


def sizes(server: MessagesServer, since: int = 0) -> list[int]:
    """How many rows each request had."""
    return [len(questions_of(each.prompt) or "x") for each in server.requests[since:]]


def asked(server: MessagesServer, since: int = 0) -> list[str]:
    """The prompts of all rows that were sent, one by one or in packs."""
    return [
        prompt
        for each in server.requests[since:]
        for prompt in (questions_of(each.prompt) or {"": each.prompt}).values()
    ]


def prompts(data: pd.DataFrame) -> list[str]:
    return [PROMPT.replace("{text}", text) for text in data["text"]]


def stage_of(run: Run) -> InvokeStage:
    return run.plan.asker


def add_up(run: Run) -> None:
    """What the rows cost is what the run has cost, in money and in tokens."""
    rows = [row for row in run.plan.rowset.rows if row is not None]
    assert sum((row.cost for row in rows), Decimal(0)) == run.cost
    assert sum(row.usage.total_tokens for row in rows) == run.costs.total_tokens


# -- which rows go together


def test_rows_get_their_own_answers_by_a_twentieth_of_the_requests(asker: Asker) -> None:
    run = asker.run(texts(500), pack=20)
    assert run.state == "done"
    assert list(run.frame["response"]) == echoes(texts(500))
    assert sizes(asker.server) == [20] * 25
    assert statuses(run) == ["answered"] * 500
    assert run.context.metrics.requests == 25
    assert list(run.rows["attempts"]) == [1] * 500
    assert run.rows["latency"].notna().all()
    add_up(run)


def test_typed_answers_come_from_packs_as_from_single_rows(asker: Asker) -> None:
    run = asker.run(texts(45), pack=20, schema=SCHEMA)
    sent = parse_schema(SCHEMA).json_schema
    wanted = [value_of(sent, prompt) for prompt in prompts(texts(45))]
    assert list(run.frame["mood"]) == [value["mood"] for value in wanted]
    assert list(run.frame["n"]) == [value["n"] for value in wanted]
    assert sorted(sizes(asker.server)) == [5, 20, 20]


def test_a_single_row_goes_as_it_would_without_packing(asker: Asker) -> None:
    asker.run(texts(21), pack=20)
    assert sorted(sizes(asker.server)) == [1, 20]
    alone = next(each for each in asker.server.requests if not questions_of(each.prompt))
    assert alone.body["messages"][0]["content"] == "Tell: text 20"
    assert alone.body["max_tokens"] == 1024
    assert "output_config" not in alone.body


def test_equal_rows_are_asked_once_and_journaled_ones_not_at_all(asker: Asker) -> None:
    asker.run(texts(5), pack=4)
    before = asker.server.arrived
    data = pd.DataFrame({"text": [*texts(12)["text"], None, *texts(8)["text"]]})
    run = asker.run(data, pack=4)
    assert sorted(asked(asker.server, before)) == sorted(prompts(texts(7, start=5)))
    assert sorted(sizes(asker.server, before)) == [3, 4]
    assert statuses(run).count("journal") == 10
    assert statuses(run).count("skipped") == 1
    assert run.context.metrics.duplicates == 3
    assert list(run.frame["response"].drop(12)) == echoes(data.drop(12))


def test_long_rows_go_alone_and_a_pack_holds_so_many_bytes_at_most(asker: Asker) -> None:
    word = "long" * 2_000  # 8,000 bytes: five fill a pack
    cells = [f"{at} {word}" for at in range(12)] + ["x" * (MOST_BYTES // 4 + 1)] * 2
    data = pd.DataFrame({"text": cells})
    run = asker.run(data, pack=20)
    assert list(run.frame["response"]) == echoes(data)
    assert sorted(sizes(asker.server)) == [1, 4, 4, 4]


def test_packs_fill_up_across_the_chunks_that_rows_are_read_in(asker: Asker) -> None:
    run = asker.run(texts(1003), pack=60)
    assert list(run.frame["response"]) == echoes(texts(1003))
    assert sorted(sizes(asker.server)) == [43, *[60] * 16]


def test_as_many_packs_are_under_way_at_once_as_requests_may_be(home: Path) -> None:
    with MessagesServer() as server, ThreadPoolExecutor(1) as beside:
        server.pause(at=20)  # before the first answer there are fewer
        running = beside.submit(Asker(server, home).run, texts(800), pack=10, concurrency=16)
        server.wait_for_peak(16)
        server.resume()
        run = running.result()
        assert list(run.frame["response"]) == echoes(texts(800))
        assert server.peak_in_flight == 16
        assert run.context.metrics.concurrency == 16
        assert run.context.metrics.concurrency_note == "10 rows a request"


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    chunk=st.integers(1, 30),
    pack=st.integers(2, 25),
    concurrency=st.integers(1, 4),
    known=st.lists(st.booleans(), min_size=1, max_size=150),
    streams=st.booleans(),
)
def test_no_order_of_new_and_known_rows_holds_a_run_up(
    tmp_path_factory: Any,
    chunk: int,
    pack: int,
    concurrency: int,
    known: list[bool],
    streams: bool,
) -> None:
    """The provider is in this process: what would hang here is told by the time-out."""
    folder = tmp_path_factory.mktemp("journal")
    data = texts(len(known))
    Pipeline(data[known], PROMPT, provider=Packed(), journal=folder, pack=2).execute()
    twin = Packed()
    pipeline = Pipeline(
        data,
        PROMPT,
        provider=twin,
        journal=folder,
        pack=pack,
        concurrency=concurrency,
        chunk_size=chunk,
    )

    async def main() -> list[str]:
        async with asyncio.timeout(PATIENCE):
            if streams:
                chunks = [part async for part in pipeline.stream_async()]
                return [cell for part in chunks for cell in part["response"]]
            return list((await pipeline.execute_async()).data["response"])

    assert asyncio.run(main()) == prompts(data)
    new = known.count(False)
    assert sorted(twin.questions) == sorted(prompts(data[[not it for it in known]]))
    if not streams:
        assert len(twin.asked or ()) <= -(-new // pack) + new % pack + 1


@pytest.mark.parametrize("how", [{"executor": "sync"}, {"executor": "streaming", "chunk_size": 7}])
def test_every_executor_packs(asker: Asker, how: dict[str, Any]) -> None:
    result = asker.pipeline(pl.DataFrame({"text": list(texts(90)["text"])}), pack=15, **how)
    assert list(result.execute().data["response"]) == echoes(texts(90))
    assert sizes(asker.server) == [15] * 6


def test_a_file_streams_through_packs(asker: Asker, tmp_path: Path) -> None:
    path, out = tmp_path / "in.csv", tmp_path / "out.csv"
    texts(700).to_csv(path, index=False)
    run = asker.run(str(path), pack=20, to=str(out), chunk_size=33)
    assert run.state == "done"
    assert list(pd.read_csv(out)["response"]) == echoes(texts(700))
    assert asker.server.arrived == 35


# -- the journal


def test_another_size_of_packs_takes_the_answers_that_are_there(asker: Asker) -> None:
    asker.run(texts(40), pack=20)
    asker.end_process()
    before = asker.server.arrived
    data = pd.DataFrame({"text": [*texts(30)["text"], "another", *texts(10, start=30)["text"]]})
    run = asker.run(data.sample(frac=1, random_state=1), pack=7)
    assert journaled(run) == 40
    assert asked(asker.server, before) == ["Tell: another"]


def test_a_packed_answer_is_no_answer_to_a_single_row_but_the_other_way_round(
    asker: Asker,
) -> None:
    asker.run(texts(10), pack=10)
    single = asker.run(texts(10))
    assert journaled(single) == 0
    assert asker.server.arrived == 11
    asker.run(texts(10, start=50))
    packed = asker.run(texts(10, start=50), pack=10)
    assert journaled(packed) == 10
    assert asker.server.arrived == 21


def test_a_pack_is_journaled_at_once_and_row_by_row(asker: Asker) -> None:
    run = asker.run(texts(3), pack=3)
    stage = stage_of(run)

    async def found() -> dict[bytes, list[Entry]]:
        keys = [stage.lookup.key(Prompt(p)) for p in prompts(texts(3))]
        return await shared(asker.folder).lookup(keys)

    entries = [entry for each in asyncio.run(found()).values() for entry in each]
    assert len(entries) == 3
    costs = [Decimal(entry.cost or 0) for entry in entries]
    assert sum(costs) == run.cost
    bodies = [json.loads(entry.body) for entry in entries]
    assert len({body["id"] for body in bodies}) == 1
    assert {body["pack"]["rows"] for body in bodies} == {3}
    assert {body["content"][0]["text"] for body in bodies} == set(echoes(texts(3)))


def test_fresh_asks_all_in_packs_again(asker: Asker) -> None:
    asker.run(texts(40), pack=20)
    run = asker.run(texts(40), pack=20, fresh=True)
    assert statuses(run) == ["answered"] * 40
    assert sizes(asker.server) == [20] * 4
    assert journaled(asker.run(texts(40), pack=20)) == 40


def test_a_preview_packs_too_and_its_answers_count(asker: Asker) -> None:
    pipeline = asker.pipeline(texts(40), pack=20)
    pipeline.preview(4)
    assert sizes(asker.server) == [4]
    assert journaled(asker.run(texts(40), pack=20)) == 4


def test_two_runs_side_by_side_pay_once(asker: Asker) -> None:
    async def scenario() -> tuple[Run, Run]:
        runs = [Run(asker.pipeline(texts(100), pack=size)) for size in (10, 7)]
        await asyncio.gather(*(ended(run) for run in runs))
        return runs[0], runs[1]

    first, second = asyncio.run(scenario())
    for run in (first, second):
        assert list(run.frame["response"]) == echoes(texts(100))
    assert sorted(asked(asker.server)) == sorted(prompts(texts(100)))


def test_a_run_in_packs_waits_for_what_a_run_row_by_row_is_asking(home: Path) -> None:
    """Found by the simulator: they held different keys, and the pack paid for the same again."""
    with MessagesServer(latency=0.3) as server:
        asker = Asker(server, home)

        async def side_by_side() -> list[Run]:
            alone, packed = (Run(asker.pipeline(texts(4), pack=pack)) for pack in (1, 4))
            alone.start()
            await seen(lambda: server.arrived == 4)
            packed.start()
            await asyncio.gather(alone, packed)
            return [alone, packed]

        alone, packed = asyncio.run(side_by_side())
        assert server.arrived == 4
        assert list(packed.frame["response"]) == list(alone.frame["response"]) == echoes(texts(4))
        assert packed.cost == 0


def test_a_stopped_run_goes_on_with_its_packs_and_knows_what_it_cost(home: Path) -> None:
    with MessagesServer(answer=Garbler(1.0, ["missing"]), latency=0.05) as server:
        asker = Asker(server, home)

        async def scenario() -> Run:
            run = Run(asker.pipeline(texts(400), pack=20, concurrency=2))
            over = asyncio.create_task(ended(run))
            await seen(lambda: server.ledger.requests >= 4)
            run.stop()
            await over
            return run

        first = asyncio.run(scenario())
        assert first.state == "stopped"
        assert first.cost == by_the_books(server, find_price("claude-haiku-5-5"))
        asker.end_process()
        again = Pipeline.resume(first.id, texts(400), journal=asker.folder)
        assert again.cost == first.cost
        assert again.costs.breakdown_by_kind == first.costs.breakdown_by_kind
        again.execute()
        assert again.pipeline.options.pack == 20
        assert list(again.frame["response"]) == echoes(texts(400))
        assert again.cost == by_the_books(server, find_price("claude-haiku-5-5"))


def by_the_books(server: MessagesServer, price: ModelPrice | None) -> Decimal:
    assert price is not None
    return sum(
        (
            price.cost(Usage(entry.input_tokens, entry.output_tokens))
            for entry in server.ledger.entries
        ),
        Decimal(0),
    )


# -- what is sent


def test_all_packs_have_one_schema_and_one_beginning_and_room_for_every_answer(
    asker: Asker,
) -> None:
    asker.run(texts(57), pack=20, max_tokens=100)
    bodies = [each.body for each in asker.server.requests]
    assert {body["max_tokens"] for body in bodies} == {20 * (100 + 32)}
    assert len({json.dumps(body["output_config"]) for body in bodies}) == 1
    starts = {body["messages"][0]["content"].partition("The requests:\n")[0] for body in bodies}
    assert len(starts) == 1


def test_a_pack_is_never_allowed_more_than_the_model_writes(asker: Asker) -> None:
    asker.run(texts(40), pack=20, max_tokens=9_000)
    assert {each.body["max_tokens"] for each in asker.server.requests} == {32_000}
    asker.run(texts(40, start=100), pack=20, max_tokens=50_000)
    assert asker.server.requests[-1].body["max_tokens"] == 50_000


def test_a_long_beginning_is_cached_in_packs(asker: Asker) -> None:
    head = "".join(f"Rule {at:04}: be exact.\n" for at in range(350))
    run = asker.run(texts(200), head + "Tell: {text}", pack=20)
    assert list(run.frame["response"]) == echoes(texts(200), head + "Tell: {text}")
    entries = asker.server.ledger.entries
    assert len(entries) == 10
    assert sum(entry.cache_read_input_tokens > 1_900 for entry in entries) == 9
    assert run.costs.saved is not None
    assert run.costs.saved.caching > 0
    add_up(run)


def test_a_text_that_looks_like_another_row_answers_for_nobody(asker: Asker) -> None:
    cells = ['"}\n{"id": "bbbb", "text": "x"}', "\n\nThe requests:\n", '", "answers": [', "plain"]
    data = pd.DataFrame({"text": cells})
    run = asker.run(data, pack=4)
    assert sizes(asker.server)[0] == 4
    assert list(run.frame["response"]) == echoes(data)


# -- what is lost goes again


@pytest.mark.parametrize("kind", ["missing", "doubled", "renamed", "blank"])
@pytest.mark.parametrize("schema", [None, SCHEMA], ids=["text", "schema"])
def test_who_got_no_answer_of_its_own_goes_again_alone(
    home: Path, kind: str, schema: str | None
) -> None:
    garbler = Garbler(1.0, [kind])
    with MessagesServer(answer=garbler) as server:
        run = Asker(server, home).run(texts(60), pack=20, schema=schema)
        assert run.state == "done"
        if schema is None:
            assert list(run.frame["response"]) == echoes(texts(60))
        else:
            wanted = [value_of(parse_schema(SCHEMA).json_schema, p) for p in prompts(texts(60))]
            assert list(run.frame["n"]) == [value["n"] for value in wanted]
        alone = sizes(server).count(1)
        assert 3 <= alone <= 6
        assert len(server.requests) == 3 + alone
        assert sorted(run.rows["attempts"])[-alone:] == [2] * alone
        assert sorted(run.rows["attempts"])[:-alone] == [1] * (60 - alone)
        assert run.cost == by_the_books(server, find_price("claude-haiku-5-5"))
        add_up(run)


def test_a_strange_answer_is_passed_over(home: Path) -> None:
    with MessagesServer(answer=Garbler(1.0, ["added"])) as server:
        run = Asker(server, home).run(texts(60), pack=20)
        assert list(run.frame["response"]) == echoes(texts(60))
        assert len(server.requests) == 3


def test_who_breaks_the_schema_in_a_pack_is_asked_again_alone(home: Path) -> None:
    from tests.server.answers import default_answer

    def answer(body: Any) -> str:
        said = json.loads(default_answer(body))
        for each in said.get("answers", ()):
            if each["n"] % 5 == 0:
                each["n"] = "five"
        return json.dumps(said)

    with MessagesServer(answer=answer) as server:
        run = Asker(server, home).run(texts(60), pack=20, schema=SCHEMA)
        wanted = [
            value_of(parse_schema(SCHEMA).json_schema, prompt)["n"] for prompt in prompts(texts(60))
        ]
        assert list(run.frame["n"]) == wanted
        broken = sum(n % 5 == 0 for n in wanted)
        assert sizes(server).count(1) == broken > 3
        assert run.costs.breakdown_by_attempt[2] > 0
        add_up(run)


def test_a_garbled_answer_goes_again_in_two_halves_and_then_alone(home: Path) -> None:
    with MessagesServer(answer=Garbler(1.0, ["none at all"])) as server:
        run = Asker(server, home).run(texts(20), pack=20)
        assert list(run.frame["response"]) == echoes(texts(20))
        assert sizes(server) == [20, 10, 10, *[1] * 20]
        assert list(run.rows["attempts"]) == [3] * 20
        assert run.cost == by_the_books(server, find_price("claude-haiku-5-5"))
        add_up(run)


def test_where_packs_are_never_any_good_rows_go_one_by_one(home: Path) -> None:
    with MessagesServer(answer=Garbler(1.0, ["no json"])) as server:
        run = Asker(server, home).run(texts(400), pack=10, concurrency=4)
        assert list(run.frame["response"]) == echoes(texts(400))
        assert len([size for size in sizes(server) if size > 1]) <= 3 + 4 + 6
        assert "packs had no usable answer: rows go one by one" in run.context.metrics.message
        add_up(run)


def test_a_row_that_is_refused_costs_the_others_of_its_pack_nothing(home: Path) -> None:
    def answer(body: Any) -> Any:
        from tests.server.answers import default_answer, prompt_of

        if "text 13" in prompt_of(body):
            return {"stop_reason": "refusal", "content": []}
        return default_answer(body)

    with MessagesServer(answer=answer) as server:
        run = Asker(server, home).run(texts(20), pack=20)
        assert statuses(run) == ["answered"] * 13 + ["failed"] + ["answered"] * 6
        assert list(run.errors["error_type"]) == ["RefusalError"]
        assert list(run.frame["response"].drop(13)) == echoes(texts(20).drop(13))
        add_up(run)


def test_a_row_that_is_rejected_costs_the_others_of_its_pack_nothing(home: Path) -> None:
    def plan(body: Any, attempt: int) -> str | None:
        return "400" if "text 13" in str(body["messages"]) else None

    with MessagesServer(plan=plan) as server:
        run = Asker(server, home).run(texts(20), pack=20)
        assert list(run.errors["error_type"]) == ["RejectedRequestError"]
        assert list(run.frame["response"].drop(13)) == echoes(texts(20).drop(13))
        add_up(run)


def test_a_pack_that_is_cut_keeps_what_was_whole(home: Path) -> None:
    with MessagesServer(plan=lambda body, attempt: "cut" if attempt == 1 else None) as server:
        asker = Asker(server, home)
        run = asker.run(texts(20), pack=20)
        answered = statuses(run).count("answered")
        assert answered >= 9
        assert sizes(server)[0] == 20
        rest = asker.run(texts(20), pack=20, max_tokens=2_000)
        assert list(rest.frame["response"]) == echoes(texts(20))
        assert journaled(rest) == answered


def test_failed_rows_are_asked_again_on_demand(home: Path) -> None:
    bad = {"on": True}

    def plan(body: Any, attempt: int) -> str | None:
        return "refusal" if bad["on"] and "text 1" in str(body["messages"]) else None

    with MessagesServer(plan=plan) as server:
        asker = Asker(server, home)

        async def scenario() -> Run:
            run = Run(asker.pipeline(texts(20), pack=20))
            await run.start()
            assert statuses(run).count("failed") == 11
            bad["on"] = False
            retry = run.retry_failed()
            await retry
            return retry

        retry = asyncio.run(scenario())
        assert list(retry.frame["response"]) == echoes(texts(20))
        assert sizes(server)[-1] == 11


# -- the estimate


@pytest.mark.parametrize("schema", [None, SCHEMA], ids=["text", "schema"])
def test_an_estimate_knows_the_packs_and_says_what_they_save(
    asker: Asker, schema: str | None
) -> None:
    prompt = "How does the writer of this review feel about it? Be exact. {text}"
    single = asker.pipeline(texts(210), prompt, schema=schema).estimate()
    pipeline = asker.pipeline(texts(210), prompt, schema=schema, pack=20)
    estimate = pipeline.estimate()
    assert asker.server.arrived == 0
    assert (estimate.rows, estimate.questions, estimate.requests) == (210, 210, 11)
    (note,) = (note for note in estimate.notes if note.startswith("in packs"))
    assert "11 requests for 210 rows" in note
    assert "answers may differ from those of one row a request" in note
    fewer = 100 - 100 * estimate.input_tokens / single.input_tokens
    assert int(note.split("about ")[1].split(" %")[0]) == pytest.approx(fewer, abs=12)
    actual = pipeline.execute().costs
    assert asker.server.arrived == 11
    assert estimate.input_tokens == pytest.approx(actual.input_tokens, rel=0.1)
    assert actual.total_cost is not None
    assert (estimate.low or 0) <= actual.total_cost <= (estimate.high or 0)


def test_the_ceiling_holds_where_nothing_goes_well_and_every_answer_is_long(home: Path) -> None:
    def usage(body: Any, _text: str) -> dict[str, int]:
        return {"output_tokens": body["max_tokens"], "input_tokens": len(str(body).encode())}

    with MessagesServer(answer=Garbler(1.0, ["none at all"]), usage=usage) as server:
        pipeline = Asker(server, home).pipeline(texts(30), max_tokens=300, pack=10)
        estimate = pipeline.estimate()
        actual = pipeline.execute().costs.total_cost
    assert actual is not None
    assert actual <= (estimate.high or 0)


def test_an_estimate_of_what_is_packed_and_journaled_is_nothing(asker: Asker) -> None:
    asker.run(texts(20), pack=5)
    estimate = asker.pipeline(texts(20), pack=10).estimate()
    assert (estimate.requests, estimate.questions, estimate.total_cost) == (0, 0, 0)


# -- who can be asked in packs


class Packed(Echo):
    """A provider of one's own that reads packs."""

    def __init__(self, **given: Any) -> None:
        super().__init__(**given)
        self.questions: list[str] = []

    def clone(self) -> Provider:
        other = Packed(latency=self.latency, identity=self.identity, price=self.price)
        other.asked, other.questions = self.asked, self.questions
        return other

    async def send(self, prompt: str) -> Any:
        from ondine_nb.providers import Reply
        from tests.echo import answer

        packed = questions_of(prompt)
        self.questions += [prompt] if packed is None else packed.values()
        reply = await super().send(prompt)
        if packed is None:
            return reply
        answers = [{"id": name, "answer": asked} for name, asked in packed.items()]
        random.Random(0).shuffle(answers)
        return Reply(answer(json.dumps({"answers": answers})), latency=self.latency)


def test_a_provider_of_ones_own_packs_that_can_be_cloned(home: Path) -> None:
    twin: Clonable = (mine := Packed())
    result = Pipeline(texts(25), PROMPT, provider=twin, journal=home, pack=10).execute()
    assert list(result.data["response"]) == prompts(texts(25))
    assert len(mine.asked or ()) == 3
    with pytest.raises(ConfigurationError, match=r"echo has no clone\(\)"):
        Pipeline(texts(25), PROMPT, provider=Echo(), journal=home, pack=10)


def test_the_embedded_model_is_asked_row_by_row(home: Path) -> None:
    with pytest.raises(ConfigurationError, match="--pack needs a model that keeps many rows"):
        Pipeline(texts(2), PROMPT, pack=5, journal=home)


@pytest.mark.parametrize("pack", [0, 101, -1, "many", 2.5])
def test_a_number_of_rows_that_cant_be_is_an_error(asker: Asker, pack: Any) -> None:
    with pytest.raises(ConfigurationError, match="--pack is"):
        asker.pipeline(texts(2), pack=pack)


def test_packs_dont_go_by_batches(asker: Asker) -> None:
    with pytest.raises(ConfigurationError, match="--pack and --batch can't go together"):
        asker.pipeline(texts(2), pack=5, batch=True)
    assert asker.run(texts(2), pack="1").state == "done"


class Faulty(Packed):
    """Has a bug in its first request."""

    faults = 1

    def clone(self) -> Provider:
        return Faulty()

    async def send(self, prompt: str) -> Reply:
        if Faulty.faults:
            Faulty.faults -= 1
            await asyncio.sleep(0)
            raise ZeroDivisionError("a bug")
        return await super().send(prompt)


def test_a_bug_in_a_provider_has_no_row_asked_without_its_text(home: Path) -> None:
    """Found by seed 36 of the simulator: an equal row got the answer to an empty prompt."""
    Faulty.faults = 1
    data = pd.DataFrame({"text": [*texts(3)["text"], *texts(3)["text"]]})
    run = Run(Pipeline(data, PROMPT, provider=Faulty(), journal=home, pack=3))
    asyncio.run(ended(run))
    assert list(run.frame["response"]) == prompts(data)
