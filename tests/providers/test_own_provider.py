"""`Pipeline(provider=…)`: an object of one's own answers, and is somebody in journal and record."""

from __future__ import annotations

import asyncio
from decimal import Decimal
from pathlib import Path

import pytest

from ondine_nb import Pipeline, Run
from ondine_nb.errors import ConfigurationError
from ondine_nb.providers import Provider, find_price
from tests.asking import ended, journaled, texts
from tests.echo import Echo

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
