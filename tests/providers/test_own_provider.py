"""`Pipeline(provider=…)`: an object of one's own answers, and is somebody in journal and record."""

from __future__ import annotations

import asyncio
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from ondine_nb import Pipeline, Run
from ondine_nb.errors import ConfigurationError, FatalProviderError
from ondine_nb.models import Prompt
from ondine_nb.providers import Provider, Reply, Settings, find_price
from ondine_nb.sending.request import Endpoint
from tests.asking import ended, journaled, texts
from tests.echo import Echo
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
