"""Votes: a row is asked several times, its fields are decided, and each vote is paid once."""

from __future__ import annotations

import asyncio
import json
import statistics
from collections import Counter
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pandas as pd
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ondine_nb import Pipeline, Run
from ondine_nb.errors import ConfigurationError
from ondine_nb.models import Prompt
from ondine_nb.notebook.results.review_queue import ReviewQueues
from ondine_nb.pipeline import JudgedRun
from ondine_nb.prompts import Field
from ondine_nb.stages.vote import decide
from tests.asking import HAIKU, Asker, ended, seen, statuses, texts
from tests.server import MessagesServer
from tests.server.answers import prompt_of
from tests.server.packs import questions_of

SCHEMA = "mood: good|bad, n: int"
MODELS = "claude-haiku-5-5,claude-sonnet-5-5"


class Voices:
    """Answers as a model that says something else each time: `said` has what each prompt got."""

    def __init__(self) -> None:
        self.said: dict[str, list[dict[str, Any]]] = {}
        self.spoils: tuple[str, int] | None = None  # this prompt's answer of that number

    def __call__(self, body: Any) -> str:
        prompt = prompt_of(body)
        before = self.said.setdefault(prompt, [])
        turn = len(before) + 1
        before.append({"mood": "bad" if turn % 3 == 2 else "good", "n": turn * 10})
        spoilt = self.spoils == (prompt, turn)
        return "no JSON" if spoilt else json.dumps(before[-1])

    def decided(self, prompt: str, votes: int) -> tuple[str, int, int, int]:
        """What `votes` of its answers come to, counted by hand."""
        moods = [each["mood"] for each in self.said[prompt][:votes]]
        numbers = sorted(each["n"] for each in self.said[prompt][:votes])
        mood, most = Counter(moods).most_common(1)[0]
        middle = numbers[(votes - 1) // 2]
        return mood, most, middle, numbers.count(middle)


@pytest.fixture
def voices() -> Voices:
    return Voices()


@pytest.fixture
def server(voices: Voices) -> Iterator[MessagesServer]:
    with MessagesServer(answer=voices) as running:
        yield running


@pytest.fixture
def asker(server: MessagesServer, home: Path) -> Asker:
    return Asker(server, home)


def cells(run: Run) -> list[tuple[Any, ...]]:
    frame = run.frame[["mood", "mood_agree", "n", "n_agree"]]
    return list(frame.itertuples(index=False, name=None))


def paid(server: MessagesServer) -> Decimal:
    return server.ledger.cost(*HAIKU)


def spent(run: Run) -> Decimal:
    """What its rows have cost, in USD."""
    rows = [row for row in run.plan.rowset.rows if row is not None]
    return sum((row.cost for row in rows), Decimal(0))


# -- what is decided


@given(st.lists(st.one_of(st.none(), st.sampled_from("abc")), min_size=1, max_size=9))
def test_a_choice_is_what_most_votes_say_and_the_first_of_what_equally_many_say(
    values: list[str | None],
) -> None:
    value, agree = decide(Field("it", "choice", ("a", "b", "c"), True), values)
    counts = Counter(values)
    assert agree == counts[value] == max(counts.values())
    first = next(each for each in values if counts[each] == agree)
    assert value == first


@given(st.lists(st.integers(-5, 5), min_size=1, max_size=9))
def test_a_whole_number_is_the_lower_median_and_so_one_that_was_said(values: list[int]) -> None:
    value, agree = decide(Field("it", "int"), values)
    assert value == sorted(values)[(len(values) - 1) // 2]
    assert agree == values.count(value) > 0


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=9))
def test_a_float_is_the_median(values: list[float]) -> None:
    value, agree = decide(Field("it", "float"), values)
    assert value == statistics.median(values)
    assert agree == values.count(value)


@pytest.mark.parametrize(
    ("values", "decided"),
    [
        ([None, None, 3], (None, 2)),
        ([None, 3, 5], (3, 1)),
        ([None, 4, None, 4], (4, 2)),
    ],
    ids=str,
)
def test_a_missing_number_is_decided_by_majority_only(
    values: list[Any], decided: tuple[Any, int]
) -> None:
    assert decide(Field("it", "int", None, True), values) == decided


def test_nested_answers_agree_whatever_the_order_of_their_keys() -> None:
    values = [{"a": 1, "b": [2]}, {"b": [2], "a": 1}, {"a": 1, "b": [3]}]
    assert decide(Field("it", "json"), values) == (values[0], 2)


# -- what is asked and paid


def test_each_row_is_asked_so_often_and_decided_as_by_hand(
    asker: Asker, voices: Voices, server: MessagesServer
) -> None:
    run = asker.run(texts(20), schema=SCHEMA, votes=5)
    assert run.state == "done"
    assert cells(run) == [voices.decided(f"Tell: text {at}", 5) for at in range(20)]
    assert set(server.ledger.by_prompt().values()) == {5}
    assert run.costs.total_cost == paid(server)
    assert spent(run) == run.costs.total_cost
    assert list(run.rows["attempts"]) == [5] * 20


def test_three_votes_after_one_pay_for_two_and_the_same_again_for_none(
    asker: Asker, server: MessagesServer
) -> None:
    once = asker.run(texts(4), schema=SCHEMA)
    assert list(once.frame["n"]) == [10] * 4
    three = asker.run(texts(4), schema=SCHEMA, votes=3)
    assert server.ledger.requests == 12
    assert cells(three) == [("good", 2, 20, 1)] * 4
    assert three.costs.total_cost == paid(server) - once.costs.total_cost
    asker.end_process()
    again = asker.run(texts(4), schema=SCHEMA, votes=3)
    assert statuses(again) == ["journal"] * 4
    assert cells(again) == cells(three)
    fewer = asker.run(texts(4), schema=SCHEMA, votes=2)
    assert (statuses(fewer), server.ledger.requests) == (["journal"] * 4, 12)


def test_equal_rows_share_their_votes_and_rows_without_a_text_are_skipped(
    asker: Asker, server: MessagesServer
) -> None:
    data = pd.DataFrame({"text": ["a", "b", None, "a"]})
    run = asker.run(data, schema=SCHEMA, votes=3)
    assert statuses(run) == ["answered", "answered", "skipped", "answered"]
    assert server.ledger.by_prompt() == {"Tell: a": 3, "Tell: b": 3}
    assert run.costs.total_cost == paid(server)


def test_a_vote_that_fails_fails_its_row_by_name_and_the_others_are_kept(
    asker: Asker, voices: Voices, server: MessagesServer
) -> None:
    voices.spoils = ("Tell: text 1", 2)
    run = asker.run(texts(3), schema=SCHEMA, votes=3, pack=1)
    assert run.state == "done", "the answer that breaks the schema is asked again"
    assert server.ledger.by_prompt()["Tell: text 1"] == 4
    assert run.costs.total_cost == paid(server)
    with MessagesServer(plan=lambda body, attempt: _refused(body)) as other:
        failed = Asker(other, asker.folder).run(texts(3), schema=SCHEMA, votes=3)
        assert statuses(failed) == ["answered", "failed", "answered"]
        message = failed.errors["message"].iloc[0]
        assert message.startswith("vote 1 of 3: ")
        assert spent(failed) == failed.costs.total_cost == paid(other)


def _refused(body: Any) -> str | None:
    return "refusal" if prompt_of(body) == "Tell: text 1" else None


def test_a_prompt_s_further_votes_have_keys_of_their_own_and_the_first_has_today_s() -> None:
    prompt = Prompt("Tell: a")
    keys = [prompt.again(vote).key_bytes for vote in (1, 2, 3, 11)]
    assert keys[0] == b"Tell: a"
    assert len(set(keys)) == 4
    assert prompt.again(2).again(1).key_bytes == keys[0]
    assert {prompt.again(vote).text for vote in (1, 2)} == {"Tell: a"}


@given(st.text(), st.text(), st.integers(1, 30), st.integers(1, 30))
def test_no_text_passes_for_another_one_s_vote(one: str, other: str, vote: int, more: int) -> None:
    alike = Prompt(one).again(vote).key_bytes == Prompt(other).again(more).key_bytes
    same = one.encode("utf-8", "replace") == other.encode("utf-8", "replace") and vote == more
    assert alike == same


def test_polars_has_whole_numbers_for_how_many_agree(asker: Asker) -> None:
    frame = asker.run(pl.DataFrame({"text": ["a", None]}), schema=SCHEMA, votes=3).frame
    assert frame.schema["mood_agree"] == pl.Int64
    assert frame["mood_agree"].to_list() == [2, None]


def test_rows_on_which_votes_differ_are_a_queue_the_fewest_that_agree_first(home: Path) -> None:
    says = {"Tell: text 1": "GGGGB", "Tell: text 3": "GBGBG"}

    def answer(body: Any) -> str:
        prompt = prompt_of(body)
        turns[prompt] += 1
        bad = says.get(prompt, "GGGGG")[(turns[prompt] - 1) % 5] == "B"
        return json.dumps({"mood": "bad" if bad else "good", "n": 1})

    turns: Counter[str] = Counter()
    with MessagesServer(answer=answer) as server:
        run = Asker(server, home).run(texts(5), schema=SCHEMA, votes=5)
        agreed = list(run.frame["mood_agree"])
        queues = ReviewQueues(JudgedRun(run))
        assert next(iter(queues.names)) == "votes differ"
        drawn = [each.position for each in queues.rows("votes differ")]
        assert (agreed, drawn) == ([5, 4, 5, 3, 5], [3, 1])
        assert not queues.measures("votes differ"), "it speaks for nothing but its own rows"
        once = Asker(server, home).run(texts(2), schema=SCHEMA)
        assert "votes differ" not in ReviewQueues(JudgedRun(once)).names


# -- models


def test_each_of_several_models_is_asked_once_and_each_is_paid_at_its_own_price(
    asker: Asker, server: MessagesServer
) -> None:
    run = asker.run(texts(6), schema=SCHEMA, models=MODELS)
    assert run.state == "done"
    asked = Counter(each.body["model"] for each in server.requests)
    assert asked == dict.fromkeys(MODELS.split(","), 6)
    assert run.costs.total_cost == spent(run) > paid(server)
    again = asker.run(texts(6), schema=SCHEMA, model="claude-sonnet-5-5")
    assert statuses(again) == ["journal"] * 6, "its answers are those of that model"


def test_votes_and_models_together_ask_each_model_so_often(
    asker: Asker, server: MessagesServer
) -> None:
    run = asker.run(texts(2), schema=SCHEMA, models=MODELS, votes=2)
    assert run.state == "done"
    assert set(server.ledger.by_prompt().values()) == {4}
    assert set(run.frame["mood_agree"]) <= {1, 2, 3, 4}


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"votes": 3}, "--votes is 3, and there is no schema: give --schema"),
        ({"models": "a,b"}, "--models is a,b, and there is no schema: give --schema"),
        ({"models": "a", "schema": SCHEMA}, "2 or more different names"),
        ({"models": "a,a", "schema": SCHEMA}, "2 or more different names"),
        ({"votes": 0, "schema": SCHEMA}, "--votes is 0"),
        ({"models": MODELS, "model": "m", "schema": SCHEMA}, "leave --model out"),
        ({"votes": 3, "schema": "text: str"}, "'text'"),
    ],
    ids=str,
)
def test_what_can_t_be_decided_is_refused_in_one_line_before_anything_is_sent(
    asker: Asker, server: MessagesServer, options: dict[str, Any], said: str
) -> None:
    with pytest.raises(ConfigurationError, match=said) as caught:
        asker.pipeline(texts(2), **options)
    assert "\n" not in str(caught.value)
    assert server.arrived == 0


def test_a_column_that_says_how_many_agree_covers_none_that_is_there(asker: Asker) -> None:
    data = texts(2).assign(mood_agree=1)
    with pytest.raises(ConfigurationError, match="mood_agree"):
        asker.pipeline(data, schema=SCHEMA, votes=3)


# -- money, stops, packs


@pytest.mark.parametrize("given", [{"votes": 4}, {"models": MODELS}], ids=str)
async def test_the_estimate_counts_every_vote_and_what_the_journal_has(
    asker: Asker, server: MessagesServer, given: dict[str, Any]
) -> None:
    await asker.pipeline(texts(3), schema=SCHEMA, model="claude-haiku-5-5").execute_async()
    pipeline = asker.pipeline(texts(8), schema=SCHEMA, **given)
    estimate = await pipeline.estimate_async()
    before = server.ledger.requests
    run = Run(pipeline)
    await ended(run)
    assert estimate.rows == 8
    assert estimate.requests == estimate.questions == server.ledger.requests - before
    assert estimate.low is not None
    assert estimate.high is not None
    assert estimate.low <= run.costs.total_cost <= estimate.high


def test_a_budget_is_kept_and_a_larger_one_goes_on_where_it_ended(
    asker: Asker, server: MessagesServer
) -> None:
    options = {"schema": SCHEMA, "votes": 3, "max_tokens": 20}
    run = asker.run(texts(40), budget=Decimal("0.0006"), **options)
    assert run.state == "stopped"
    assert 0 < paid(server) <= Decimal("0.0006")
    assert "not_run" in statuses(run)
    more = asker.run(texts(40), budget=1, **options)
    assert more.state == "done"
    assert set(server.ledger.by_prompt().values()) == {3}


async def test_a_stop_keeps_the_votes_that_were_in_flight(
    asker: Asker, server: MessagesServer
) -> None:
    server.pause()
    run = Run(asker.pipeline(texts(5), schema=SCHEMA, votes=3))
    run.start()
    await seen(lambda: server.arrived >= 4)
    run.stop()
    server.resume()
    await seen(lambda: run.state == "stopped")
    again = Run(asker.pipeline(texts(5), schema=SCHEMA, votes=3))
    await ended(again)
    assert again.state == "done"
    assert set(server.ledger.by_prompt().values()) == {3}


def test_a_pack_has_no_row_twice(home: Path) -> None:
    with MessagesServer() as server:
        run = Asker(server, home).run(texts(3), schema=SCHEMA, votes=4, pack=12)
        assert run.state == "done"
        packs = [questions_of(each.prompt) or {"": each.prompt} for each in server.requests]
        assert all(len(set(each.values())) == len(each) for each in packs)
        assert sum(map(len, packs)) == 12
        assert run.costs.total_cost == paid(server)


def test_a_preview_and_a_stream_vote_too(asker: Asker, tmp_path: Path) -> None:
    texts(6).to_csv(tmp_path / "rows.csv", index=False)
    pipeline = asker.pipeline(tmp_path / "rows.csv", schema=SCHEMA, votes=3)
    assert list(pipeline.preview(2)["mood_agree"]) == [2, 2]
    frames = list(pipeline.stream())
    assert [value for frame in frames for value in frame["n_agree"]] == [1] * 6


def test_a_run_without_votes_has_no_stage_for_them(asker: Asker) -> None:
    plan = asker.pipeline(texts(1), schema=SCHEMA).plan()
    assert [stage.name for stage in plan.stages] == ["load", "prompt", "invoke", "parse"]


async def test_votes_of_one_row_go_at_once(asker: Asker, server: MessagesServer) -> None:
    server.pause()
    run = Run(Pipeline(**_of(asker, texts(1), votes=6)))
    run.start()
    await seen(lambda: server.arrived == 6)
    server.resume()
    await seen(lambda: run.state == "done")
    await asyncio.sleep(0)


def _of(asker: Asker, data: Any, **options: Any) -> dict[str, Any]:
    where = {"base_url": asker.server.url, "journal": asker.folder, "schema": SCHEMA}
    return {"data": data, "prompt": "Tell: {text}", **where, **options}
