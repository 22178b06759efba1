"""`Pipeline(provider=…)`: an object of one's own answers, and is somebody in journal and record."""

from __future__ import annotations

import asyncio
import copy
import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from ondine_nb import Pipeline, Run
from ondine_nb.errors import ConfigurationError, FatalProviderError, MalformedAnswerError
from ondine_nb.models import Prompt, Usage
from ondine_nb.notebook.results.row import detail_of
from ondine_nb.notebook.results.table import Results
from ondine_nb.providers import Answer, Provider, Reply, Settings, capabilities, find_price
from ondine_nb.sending.request import Endpoint
from tests.asking import ended, journaled, texts
from tests.echo import Echo
from tests.server.packs import questions_of
from tests.test_models import Picture

PROMPT = "Tell: {text}"
PRICE = find_price("mine", price_in=Decimal(1), price_out=Decimal(2))


def test_it_answers_each_row_and_is_opened_and_closed_once(home: Path) -> None:
    echo = Echo()
    provider: Provider = echo
    result = Pipeline(texts(20), PROMPT, provider=provider, journal=home).execute()
    assert list(result.data["response"]) == [f"Tell: text {n}" for n in range(20)]
    assert (len(echo.asked or ()), echo.opened, echo.closed) == (20, 1, 1)
    assert result.costs.total_cost is None
    assert (result.costs.input_tokens, result.costs.output_tokens) == (100, 80)


def test_its_identity_decides_what_the_journal_has(home: Path) -> None:
    for identity, asked in (("one", 3), ("one", 0), ("two", 3)):
        echo = Echo(identity=identity)
        Pipeline(texts(3), PROMPT, provider=echo, journal=home).execute()
        assert len(echo.asked or ()) == asked


def test_its_price_makes_a_cost_and_a_budget(home: Path) -> None:
    pipeline = Pipeline(
        texts(3), PROMPT, provider=Echo(price=PRICE), budget=1, max_tokens=10, journal=home
    )
    assert pipeline.estimate().total_cost
    assert pipeline.execute().costs.total_cost == Decimal("0.000039")
    with pytest.raises(ConfigurationError, match="price of model 'echo' is not known"):
        Pipeline(texts(3), PROMPT, provider=Echo(), budget=1)


def test_a_preview_asks_it_too(home: Path) -> None:
    echo = Echo()
    assert len(Pipeline(texts(9), PROMPT, provider=echo, journal=home).preview(2)) == 2
    assert len(echo.asked or ()) == 2


def test_a_run_goes_on_with_the_same_one_and_not_with_another(home: Path) -> None:
    run = Run(Pipeline(texts(3), PROMPT, provider=Echo(identity="mine"), journal=home))
    asyncio.run(ended(run))
    assert run.context.settings["provider"] == "mine"
    with pytest.raises(ConfigurationError, match="the run asked mine"):
        Pipeline.resume(run.id, texts(3), journal=home, provider=Echo(identity="other"))
    echo = Echo(identity="mine")
    again = Pipeline.resume(run.id, texts(3), journal=home, provider=echo)
    again.execute()
    assert (journaled(again), echo.asked) == (3, [])


def test_it_knows_its_own_place_and_price() -> None:
    with pytest.raises(ConfigurationError, match="leave base_url, price_in and price_out out"):
        Pipeline(texts(3), PROMPT, provider=Echo(), base_url="http://127.0.0.1:1")


class Seeing(Echo):
    """Declares more than text, so that it is given prompts with their parts."""

    parts = frozenset({"text", "image"})

    async def send(self, prompt: Any) -> Reply:
        assert type(prompt) is Prompt
        return await super().send("|".join(str(part) for part in prompt.parts))

    def request_bytes(self, prompt: Any) -> int:
        assert type(prompt) is Prompt
        return prompt.size


class Plain(Echo):
    """Declares nothing, so that it is given texts."""

    async def send(self, prompt: str) -> Reply:
        assert type(prompt) is str
        return await super().send(prompt)

    def request_bytes(self, prompt: str) -> int:
        assert type(prompt) is str
        return len(prompt)


@pytest.mark.parametrize("kind", [Seeing, Plain])
def test_it_is_given_parts_where_it_declares_them_and_text_otherwise(
    kind: type[Echo], home: Path
) -> None:
    pipeline = Pipeline(
        texts(2), PROMPT, provider=kind(price=PRICE), budget=1, max_tokens=10, journal=home
    )
    assert pipeline.estimate().total_cost
    assert list(pipeline.execute().data["response"]) == ["Tell: text 0", "Tell: text 1"]


def test_a_part_that_it_does_not_take_is_never_given_to_it_as_a_word() -> None:
    prompt = Prompt("Tell: ", Picture(b"..."))
    for endpoint in (Endpoint(Plain(), Settings("echo")), Endpoint(Echo(), Settings("echo"))):
        with pytest.raises(FatalProviderError, match=r"echo takes text.*Tell: \[image\]"):
            endpoint.given(prompt)
    assert Endpoint(Seeing(), Settings("echo")).given(prompt) is prompt


class OtherWire(Echo):
    """Answers in a form of its own, which only its `read` knows."""

    async def send(self, prompt: str) -> Reply:
        whole = json.loads((await super().send(prompt)).body)
        message = {"said": whole["content"][0]["text"], "why": "stop", "tokens": [5, 4]}
        if "text 1" in prompt:
            message = {"said": "I", "why": "length", "tokens": [5, 4]}
        return Reply(json.dumps(message).encode())

    def read(self, body: bytes) -> Answer:
        told = json.loads(body)
        reason = {"stop": "end_turn", "length": "max_tokens"}[told["why"]]
        return Answer(told["said"], reason, Usage(*told["tokens"]), 1)


def test_it_reads_its_own_answers_wherever_they_are_read(home: Path) -> None:
    asker = {"provider": OtherWire(price=PRICE), "budget": 1, "max_tokens": 10, "journal": home}
    run = Run(Pipeline(texts(4), PROMPT, **asker))
    asyncio.run(ended(run))
    assert list(run.frame["response"].dropna()) == ["Tell: text 0", "Tell: text 2", "Tell: text 3"]
    assert list(run.errors["error_type"]) == ["CutAnswerError"]
    assert run.costs.input_tokens == 20

    asker["provider"] = other = OtherWire(price=PRICE)
    again = Run(Pipeline(texts(4), PROMPT, **asker))
    asyncio.run(ended(again))
    assert list(again.rows["status"]) == ["journal", "failed", "journal", "journal"]
    assert (other.asked, again.costs.total_cost) == ([], 0)

    cut = detail_of(Results(again), 1).answers[0]
    assert (cut.text, "max_tokens" in cut.about) == ("I", True)
    resumed = Pipeline.resume(run.id, texts(4), journal=home, provider=OtherWire(price=PRICE))
    assert resumed.costs.input_tokens == 20


def test_whatever_its_reading_raises_is_an_answer_that_cant_be_read() -> None:
    read = capabilities(OtherWire()).read
    for body, said in ((b"<html>", "JSONDecodeError"), (b'{"why": "stop"}', "KeyError: 'said'")):
        with pytest.raises(MalformedAnswerError, match=f"(?s)can't be read.*{said}") as caught:
            read(body)
        assert caught.value.possibly_billed


def test_packs_of_it_are_kept_in_a_form_that_is_read_here(home: Path) -> None:
    for asked in (3, 0):
        provider = OtherWirePacked()
        pipeline = Pipeline(texts(25), PROMPT, provider=provider, journal=home, pack=10)
        result = pipeline.execute()
        assert list(result.data["response"]) == [f"answer to Tell: text {n}" for n in range(25)]
        assert len(provider.asked or ()) == asked


class OtherWirePacked(OtherWire):
    """Answers packs, too, in its own form."""

    async def send(self, prompt: str) -> Reply:
        assert self.asked is not None
        self.asked.append(prompt)
        answers = [
            {"id": name, "answer": f"answer to {question}"}
            for name, question in questions_of(prompt).items()
        ]
        told = {"said": json.dumps({"answers": answers}), "why": "stop", "tokens": [50, 40]}
        return Reply(json.dumps(told).encode())

    def clone(self) -> Provider:
        return copy.copy(self)


class Declared(Echo):
    """Says of itself what may be left out."""

    max_concurrency, default_max_tokens = 3, 77
    keeps_rows_apart = travels = False
    title = "the model next door"

    def __init__(self) -> None:
        super().__init__(latency=0.01)
        self.under_way = self.most = self.max_tokens = 0

    async def open(self, settings: Settings, concurrency: int) -> None:
        self.max_tokens = settings.max_tokens

    async def send(self, prompt: str) -> Reply:
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        try:
            return await super().send(prompt)
        finally:
            self.under_way -= 1

    def clone(self) -> Provider:
        return copy.copy(self)


def test_what_it_says_of_itself_is_kept_to(home: Path) -> None:
    declared = Declared()
    Pipeline(texts(30), PROMPT, provider=declared, journal=home).execute()
    assert (declared.most, declared.max_tokens) == (3, 77)
    given = Declared()
    Pipeline(
        texts(30, 100), PROMPT, provider=given, journal=home, concurrency=5, max_tokens=99
    ).execute()
    assert (given.most, given.max_tokens) == (5, 99)


@pytest.mark.parametrize("asked", [{"pack": 5}, {"batch": True}, {"executor": "dask"}])
def test_what_it_cant_do_is_refused_by_its_title(asked: dict[str, Any], home: Path) -> None:
    pytest.importorskip("distributed")
    with pytest.raises(ConfigurationError, match="the model next door"):
        Pipeline(texts(2), PROMPT, provider=Declared(), journal=home, **asked)


def test_what_it_leaves_out_has_its_usual_value() -> None:
    can = capabilities(Echo())
    assert (can.parts, can.read, can.title) == ({"text"}, Answer.read, "echo")
    assert (can.clone, can.batches, can.models) == (None, None, None)
    assert (can.max_concurrency, can.default_max_tokens) == (None, None)
    assert can.travels
    assert can.keeps_rows_apart
