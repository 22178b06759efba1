"""Prices: to the last digit those of `genai-prices`, and a ceiling that no usage passes."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from functools import cache
from typing import Any

import pytest
from genai_prices import Usage as TableUsage
from genai_prices import calc_price
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ondine_nb.errors import ConfigurationError
from ondine_nb.models import Usage
from ondine_nb.providers import FREE, ModelPrice, find_batch_price, find_price
from ondine_nb.providers.pricing import Rate
from ondine_nb.text import usd
from tests.table import by_the_table

D = Decimal
MODELS = [
    "claude-haiku-5-5",
    "claude-sonnet-5-5",
    "claude-opus-5-5",
    "claude-fable-5-2",
    "claude-haiku-4-5",
    "claude-sonnet-4-6",
]
# Around the borders of the tiers, where a mistake by one token would show.
tokens = st.integers(0, 400_000) | st.sampled_from(
    [0, 1, 99_999, 100_000, 100_001, 199_999, 200_000, 200_001]
)
usages = st.builds(Usage, tokens, tokens, tokens, tokens)


@cache
def price_of(model: str) -> ModelPrice:
    found = find_price(model)
    assert found is not None
    return found


def counted(usage: Usage) -> TableUsage:
    return TableUsage(
        input_tokens=usage.prompt_tokens,
        output_tokens=usage.output_tokens,
        cache_read_tokens=usage.cache_read_tokens,
        cache_write_tokens=usage.cache_write_tokens,
    )


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(MODELS), usages)
@example("claude-haiku-5-5", Usage(100_000, 1))
@example("claude-haiku-5-5", Usage(100_001, 1))
@example("claude-haiku-5-5", Usage(50_000, 7, 50_000, 1))
def test_a_cost_is_the_tables_to_the_last_digit(model: str, usage: Usage) -> None:
    assert price_of(model).cost(usage) == by_the_table(model, counted(usage))


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(MODELS), usages, st.integers(0, 10), st.integers(0, 10))
@pytest.mark.slow
def test_no_usage_within_the_bounds_costs_more_than_the_ceiling(
    model: str, usage: Usage, spare_in: int, spare_out: int
) -> None:
    price = price_of(model)
    ceiling = price.ceiling(usage.prompt_tokens + spare_in, usage.output_tokens + spare_out)
    assert price.cost(usage) <= ceiling


amounts = st.decimals(0, 100, places=4)
rates = st.builds(
    Rate,
    amounts,
    st.lists(st.tuples(st.integers(1, 300_000), amounts), max_size=3).map(
        lambda tiers: tuple(sorted(tiers))
    ),
)


@given(st.builds(ModelPrice, rates, rates, rates, rates), usages)
def test_the_ceiling_holds_for_any_rates_even_where_a_tier_or_a_cached_token_is_dearer(
    price: ModelPrice, usage: Usage
) -> None:
    assert price.cost(usage) <= price.ceiling(usage.prompt_tokens, usage.output_tokens)


def test_haiku_costs_five_times_as_much_past_its_border() -> None:
    price = price_of("claude-haiku-5-5")
    assert price.cost(Usage(1_000_000 // 10, 0)) == D("0.01")
    assert price.cost(Usage(100_001, 0)) == D("0.0500005")


def test_a_model_without_a_price_is_unknown_and_never_free() -> None:
    assert find_price("my-own-llama") is None


def test_given_prices_replace_the_tables() -> None:
    price = find_price("my-own-llama", price_in=D(1), price_out=D(2))
    assert price is not None
    assert price.cost(Usage(1_000_000, 1_000_000, 1_000_000, 1_000_000)) == D(5)


def test_one_given_price_leaves_the_other_as_the_table_has_it() -> None:
    known = price_of("claude-haiku-5-5")
    dear_out = find_price("claude-haiku-5-5", price_out=D(9))
    assert dear_out is not None
    assert (dear_out.input, dear_out.cache_write) == (known.input, known.cache_write)
    assert dear_out.output == Rate(D(9))
    dear_in = find_price("claude-haiku-5-5", price_in=D(9))
    assert dear_in is not None
    assert (dear_in.input, dear_in.cache_read, dear_in.output) == (
        Rate(D(9)),
        Rate(D(9)),
        known.output,
    )


@pytest.mark.parametrize(
    ("given_", "missing"), [("price_in", "--price-out"), ("price_out", "--price-in")]
)
def test_half_a_price_of_an_unknown_model_is_an_error_that_names_the_other(
    given_: str, missing: str
) -> None:
    with pytest.raises(ConfigurationError, match=missing):
        find_price("my-own-llama", **{given_: D(1)})


def test_the_embedded_model_costs_nothing() -> None:
    assert FREE.cost(Usage(10**9, 10**9)) == 0
    assert FREE.ceiling(10**9, 10**9) == 0


@pytest.mark.parametrize(
    ("value", "amount"),
    [(None, None), ("", None), ("0.10", D("0.10")), ("$2", D(2)), (0.1, D("0.1")), (0, D(0))],
)
def test_an_amount_is_taken_exactly_as_written(value: Any, amount: Decimal | None) -> None:
    assert usd(value, "--budget") == amount


@pytest.mark.parametrize("value", ["two", "-1", "nan", "inf", True, "1,5", [1], " "])
def test_what_is_no_amount_is_an_error_that_names_the_option(value: Any) -> None:
    with pytest.raises(ConfigurationError, match="--budget"):
        usd(value, "--budget")


# --- batches


@given(st.sampled_from(MODELS), usages)
def test_a_batch_costs_what_the_table_says_and_half_of_a_request_by_itself(
    model: str, usage: Usage
) -> None:
    batch = find_batch_price(model)
    assert batch is not None
    assert batch.cost(usage) == price_of(model).cost(usage) / 2
    assert batch.cost(usage) == by_the_table(model, counted(usage), batch=True)


def test_given_prices_are_halved_for_batches_and_unknown_ones_stay_unknown() -> None:
    assert find_batch_price("unheard-of") is None
    found = find_batch_price("unheard-of", price_in=D(3), price_out=D(5))
    assert found == find_price("unheard-of", price_in=D("1.5"), price_out=D("2.5"))


# One model of each provider that the table of providers names, with its id in `genai-prices`.
ELSEWHERE = [
    ("openai", "gpt-5.4"),
    ("azure", "gpt-5.4"),
    ("google", "gemini-3.5-flash"),
    ("openrouter", "openai/gpt-5.4"),
    ("groq", "llama-3.3-70b-versatile"),
    ("mistral", "mistral-small-latest"),
    ("x-ai", "grok-4"),
    ("together", "meta-llama/Llama-3.3-70B-Instruct-Turbo"),
    ("fireworks", "accounts/fireworks/models/kimi-k2p5"),
    ("aws", "us.anthropic.claude-sonnet-4-5-20250929-v1:0"),
]


@pytest.mark.parametrize(("provider", "model"), ELSEWHERE)
@settings(max_examples=20, deadline=None)
@given(usage=usages)
def test_each_providers_cost_is_the_tables_to_the_last_digit(
    provider: str, model: str, usage: Usage
) -> None:
    found = find_price(model, provider=provider)
    assert found is not None
    prices = calc_price(TableUsage(), model, provider_id=provider).model_price
    read = usage.cache_read_tokens if prices.cache_read_mtok is not None else 0
    write = usage.cache_write_tokens if prices.cache_write_mtok is not None else 0
    said = TableUsage(
        input_tokens=usage.prompt_tokens,
        output_tokens=usage.output_tokens,
        cache_read_tokens=read,
        cache_write_tokens=write,
    )
    assert found.cost(usage) == calc_price(said, model, provider_id=provider).total_price


@pytest.mark.parametrize(
    ("provider", "model"),
    [
        ("openai", "ft:gpt-4o:org"),
        ("openai", "claude-haiku-5-5"),
        ("anthropic", "gpt-5.4"),
        ("azure", "our-deployment"),
        ("", "qwen3:8b"),
        ("", "gpt-5.4"),
        ("openrouter", "perplexity/sonar-deep-research"),  # reasoning is dearer than the answer
    ],
)
def test_a_price_that_a_provider_doesnt_have_is_unknown(provider: str, model: str) -> None:
    assert find_price(model, provider=provider) is None
    assert find_batch_price(model, provider=provider) is None


@pytest.mark.parametrize("model", ["deepseek-chat", "deepseek-v4-pro"])
def test_a_price_that_changes_with_the_hour_is_the_dearest_of_the_day(model: str) -> None:
    found = find_price(model, provider="deepseek")
    assert found is not None
    day = [datetime.now(UTC).replace(hour=hour, minute=45) for hour in range(24)]
    prices = [
        calc_price(
            TableUsage(), model, provider_id="deepseek", genai_request_timestamp=at
        ).model_price
        for at in day
    ]
    assert len({price.output_mtok for price in prices}) > 1
    assert found.output.base == max(price.output_mtok for price in prices)
    assert found.input.base == max(price.input_mtok for price in prices)


def test_where_the_table_has_no_batch_price_it_isnt_the_standard_one() -> None:
    standard = find_price("gpt-5.4", provider="openai")
    batch = find_batch_price("gpt-5.4", provider="openai")
    assert standard is not None
    assert batch is not None
    assert batch.output.base * 2 == standard.output.base
    for provider in ("azure", "google", "aws"):
        assert find_batch_price("claude-haiku-5-5", provider=provider) is None
