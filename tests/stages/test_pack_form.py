"""The form of a pack: what is said once, what stands under an id, and whose each answer is."""

from __future__ import annotations

import json
import random
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ondine_nb.models import Usage
from ondine_nb.prompts.schema import parse_schema
from ondine_nb.providers import Answer, find_price
from ondine_nb.stages import Form
from ondine_nb.stages.pack import body_of, ids_of
from tests.server.packs import questions_of

SCHEMA = parse_schema("mood: good|bad, n: int?").json_schema
# Text that tries to end its line, its quotes or the whole pack.
ROW_TEXT = st.one_of(
    st.text(max_size=60),
    st.sampled_from(['"}', '\n{"id": "zzzz", "text": "x"}', "\\", "\u2028", "\n\nThe requests:\n"]),
)
KEYS = st.lists(st.binary(min_size=1, max_size=8), min_size=1, max_size=30, unique=True)


def answers_of(ids: list[str], **more: Any) -> list[dict[str, Any]]:
    return [{"id": name, "answer": f"for {name}", **more} for name in ids]


def said(answers: Any) -> str:
    return json.dumps({"answers": answers})


# -- ids


@given(KEYS)
def test_ids_differ_mean_nothing_and_are_always_the_same(keys: list[bytes]) -> None:
    ids = ids_of(keys)
    assert len(set(ids)) == len(keys)
    assert ids == ids_of(keys)
    assert all(len(name) == 4 and name.isalnum() and name.islower() for name in ids)


def test_ids_that_would_be_alike_become_different(monkeypatch: pytest.MonkeyPatch) -> None:
    from ondine_nb.stages import pack as packs

    real = packs._id_of
    monkeypatch.setattr(packs, "_id_of", lambda key, salt: "same" if salt < 2 else real(key, salt))
    ids = ids_of([b"a", b"b", b"c"])
    assert len(set(ids)) == 3
    assert ids[0] == "same"


# -- what is asked


@given(st.text(max_size=40), st.text(max_size=40), st.lists(ROW_TEXT, min_size=1, max_size=8))
def test_every_prompt_can_be_read_out_of_a_pack_whatever_stands_in_it(
    head: str, tail: str, rows: list[str]
) -> None:
    form = Form(None, head, tail)
    prompts = {f"id{at}": f"{head}{row}{tail}" for at, row in enumerate(rows)}
    text = form.request(prompts)
    lines = text[len(form.intro) :].split("\n")
    assert text.startswith(form.intro)
    assert [json.loads(line)["id"] for line in lines] == list(prompts)
    whole = [
        f"{head if head.strip() else ''}{json.loads(line)['text']}{tail if tail.strip() else ''}"
        for line in lines
    ]
    assert whole == list(prompts.values())


def test_what_all_prompts_share_is_said_once() -> None:
    head, tail = "Be exact about this review. ", " Is its writer happy?"
    form = Form(None, head, tail)
    prompts = {name: f"{head}row {name}{tail}" for name in ("a", "b", "c")}
    text = form.request(prompts)
    assert (text.count(head), text.count(tail)) == (1, 1)
    assert questions_of(text) == prompts
    assert "stands in between" in text
    assert "goes on from there" in Form(None, head, "").intro
    assert "comes before that" in Form(None, "", tail).intro
    assert '"text" ' not in Form(None, " ", "").intro.rsplit(".", 1)[1]


def test_a_schemas_own_id_is_left_alone() -> None:
    form = Form(parse_schema("id: int, request_id: str").json_schema)
    item = form.schema["properties"]["answers"]["items"]
    assert list(item["properties"]) == ["request_id_2", "id", "request_id"]
    assert 'the id is called "request_id_2"' in form.intro
    text = said([{"request_id_2": "x", "id": 5, "request_id": "y"}])
    assert form.read(text, ["x"]) == {"x": '{"id": 5, "request_id": "y"}'}


def test_definitions_stand_at_the_top_and_the_schema_itself_stays_as_it_is() -> None:
    inner = {"type": "object", "properties": {"x": {"type": "integer"}}, "required": ["x"]}
    spec = {
        "type": "object",
        "properties": {"a": {"$ref": "#/$defs/P"}},
        "required": ["a"],
        "$defs": {"P": inner},
    }
    schema = parse_schema(spec).json_schema
    before = json.dumps(schema)
    form = Form(schema)
    assert set(form.schema["$defs"]) == {"P"}
    assert "$defs" not in form.schema["properties"]["answers"]["items"]
    assert json.dumps(schema) == before


# -- whose each answer is


@given(KEYS, st.randoms(use_true_random=False), st.booleans())
def test_an_answer_belongs_to_its_id_in_whatever_order_with_strangers_missing_and_doubled(
    keys: list[bytes], rng: random.Random, plain: bool
) -> None:
    form = Form(None if plain else SCHEMA)
    ids = ids_of(keys)
    fates = {name: rng.choice(["once", "once", "missing", "doubled"]) for name in ids}
    answers: list[Any] = []
    for at, name in enumerate(ids):
        for copy in range({"once": 1, "missing": 0, "doubled": 2}[fates[name]]):
            value = {"answer": f"a{at}.{copy}"} if plain else {"mood": "good", "n": at + copy}
            answers.append({"id": name, **value})
    answers += rng.sample([{"id": "aaaa", "answer": "stranger"}, {"answer": "none"}, 7, None], 2)
    rng.shuffle(answers)
    read = form.read(said(answers), ids)
    assert set(read) == {name for name in ids if fates[name] == "once"}
    for at, name in enumerate(ids):
        if name in read:
            wanted = f"a{at}.0" if plain else {"mood": "good", "n": at}
            assert (read[name] if plain else json.loads(read[name])) == wanted


@given(st.integers(1, 12), st.data())
def test_of_a_broken_answer_what_is_whole_before_the_break_counts(n: int, data: Any) -> None:
    ids = ids_of([bytes([at]) for at in range(n)])
    text = said(answers_of(ids))
    cut = text[: data.draw(st.integers(0, len(text)))]
    read = Form(None).read(cut, ids)
    assert list(read) == ids[: len(read)]
    assert all(read[name] == f"for {name}" for name in read)
    assert len(read) >= cut.count("}") - 1


@pytest.mark.parametrize(
    "text",
    ["", "no", "[]", "null", '{"answers": {}}', '{"answers": [1, [], "x"]}', "[" * 100_000, "[{"],
    ids=lambda text: text[:20],
)
def test_a_text_that_is_no_list_of_answers_has_none(text: str) -> None:
    assert Form(None).read(text, ["aaaa"]) == {}


@pytest.mark.parametrize("answer", ["", "  \n", None, 5, ["x"]], ids=repr)
def test_an_answer_without_text_is_none(answer: Any) -> None:
    form = Form(None)
    assert form.read(said([{"id": "aaaa", "answer": answer}]), ["aaaa"]) == {}
    assert Form(SCHEMA).read(said([{"id": "aaaa"}]), ["aaaa"]) == {}


def test_a_fence_around_the_answers_is_tolerated() -> None:
    text = f"```json\n{said(answers_of(['aaaa']))}\n```"
    assert Form(None).read(text, ["aaaa"]) == {"aaaa": "for aaaa"}


# -- shares


USAGES = st.builds(Usage, *([st.integers(0, 300_000)] * 4))


@settings(deadline=None)  # the table of prices is read first
@given(USAGES, st.integers(1, 100), st.sampled_from(["claude-haiku-5-5", "claude-opus-5-5"]))
def test_shares_add_up_to_the_last_token_and_the_last_digit(
    usage: Usage, n: int, model: str
) -> None:
    shares, price = usage.shares(n), find_price(model)
    assert price is not None
    assert len(shares) == n
    assert sum(shares, Usage()) == usage
    assert max(s.total_tokens for s in shares) - min(s.total_tokens for s in shares) <= 4
    one = price.at(usage.prompt_tokens)
    assert sum((one.cost(share) for share in shares), Decimal(0)) == price.cost(usage)


def test_the_message_of_one_row_is_read_like_any_other() -> None:
    usage = Usage(7, 3, 2, 1)
    message = {"id": "msg_1", "type": "message", "role": "assistant", "model": "m"}
    answer = Answer.read(body_of(message, "end_turn", "hé\ud800", usage, {"id": "aaaa"}))
    assert answer == Answer("hé\ud800", "end_turn", usage, 1)
    lost = Answer.read(body_of(message, "max_tokens", None, usage, {}))
    assert (lost.text, lost.usage) == ("", usage)
