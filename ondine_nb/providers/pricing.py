"""What an answer costs, in USD by `Decimal`, from the price table of `genai-prices`.

Unit prices are looked up once for a model and multiplied exactly: a table look-up for each row
would cost more CPU than the rest of a row. Every request is priced by its own tier: all its tokens
cost the tier's price when its prompt (cached tokens included) is longer than the tier's start.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from decimal import Decimal
from functools import cache
from typing import Any

from ..errors import ConfigurationError
from ..models import Usage

__all__ = [
    "FREE",
    "Charge",
    "ModelPrice",
    "Rate",
    "find_batch_price",
    "find_context",
    "find_price",
]


_MILLION, _ZERO = Decimal(1_000_000), Decimal(0)
_MOST_KEPT = 4_096  # costs that are kept of one model
_PRICED_BATCHES = ("anthropic", "openai")  # whose batches the table has prices for
_NOT_COUNTED = ("output_reasoning_mtok", "requests_kcount")  # what usage doesn't tell apart


@dataclass(frozen=True, slots=True)
class Rate:
    """USD per million tokens: `base`, or the price of the last tier whose start is exceeded."""

    base: Decimal
    tiers: tuple[tuple[int, Decimal], ...] = ()

    def at(self, prompt_tokens: int) -> Decimal:
        """The rate of a request with so many input tokens."""
        price = self.base
        for start, tier_price in self.tiers:
            if prompt_tokens > start:
                price = tier_price
        return price

    def halved(self) -> Rate:
        """Half of it, in every tier."""
        return Rate(self.base / 2, tuple((start, price / 2) for start, price in self.tiers))


@dataclass(frozen=True, slots=True)
class Charge:
    """What one answer costs, in USD: in all, by kind of token (input, output, cache_read,
    cache_write), and how much less by what the cache had (below 0 where it was only written).
    """

    cost: Decimal
    kinds: Mapping[str, Decimal]
    saved_by_cache: Decimal


@dataclass(frozen=True, slots=True)
class ModelPrice:
    """The rates of one model."""

    input: Rate
    output: Rate
    cache_read: Rate
    cache_write: Rate
    # Rows are alike: hundreds of thousands of answers have some hundred usages, and share a charge.
    _charges: dict[Usage, Charge] = field(
        init=False, repr=False, compare=False, default_factory=dict
    )

    def charge(self, usage: Usage) -> Charge:
        """What one request with this usage costs, exactly, and what it is made of."""
        charge = self._charges.get(usage)
        if charge is None:
            if len(self._charges) >= _MOST_KEPT:
                self._charges.clear()
            charge = self._charges[usage] = self._charge(usage)
        return charge

    def _charge(self, usage: Usage) -> Charge:
        kinds = self._by_kind(usage)
        saved = _ZERO
        if usage.cache_read_tokens or usage.cache_write_tokens:
            uncached = Usage(usage.prompt_tokens, usage.output_tokens)
            saved = sum(self._by_kind(uncached).values(), _ZERO) - sum(kinds.values(), _ZERO)
        return Charge(sum(kinds.values(), _ZERO), kinds, saved)

    def _by_kind(self, usage: Usage) -> dict[str, Decimal]:
        prompt = usage.prompt_tokens
        kinds = {
            "input": (self.input, usage.input_tokens),
            "output": (self.output, usage.output_tokens),
            "cache_read": (self.cache_read, usage.cache_read_tokens),
            "cache_write": (self.cache_write, usage.cache_write_tokens),
        }
        return {
            kind: rate.at(prompt) * tokens / _MILLION
            for kind, (rate, tokens) in kinds.items()
            if tokens
        }

    def cost(self, usage: Usage) -> Decimal:
        """What one request with this usage costs, in USD, exactly."""
        return self.charge(usage).cost

    def by_kind(self, usage: Usage) -> Mapping[str, Decimal]:
        """The same cost in USD by kind of token: input, output, cache_read, cache_write."""
        return self.charge(usage).kinds

    def saved_by_cache(self, usage: Usage) -> Decimal:
        """What caching saved on one request, in USD; negative where it was written and not read."""
        return self.charge(usage).saved_by_cache

    def ceiling(self, prompt_tokens: int, output_tokens: int) -> Decimal:
        """The most that one request can cost, in USD, if neither count can be exceeded.

        The highest rate at or below the bound is taken, for prompt tokens the dearest kind of them.
        """
        kinds = (self.input, self.cache_read, self.cache_write)
        prompt = max(self._highest(rate, prompt_tokens) for rate in kinds)
        output = self._highest(self.output, prompt_tokens)
        return (prompt * prompt_tokens + output * output_tokens) / _MILLION

    def at(self, prompt_tokens: int) -> ModelPrice:
        """What a prompt of this length is charged, for each part of it: one rate of each kind."""
        kinds = (self.input, self.output, self.cache_read, self.cache_write)
        return ModelPrice(*(Rate(rate.at(prompt_tokens)) for rate in kinds))

    def halved(self) -> ModelPrice:
        """Half of each rate and tier."""
        kinds = (self.input, self.output, self.cache_read, self.cache_write)
        return ModelPrice(*(rate.halved() for rate in kinds))

    @staticmethod
    def _highest(rate: Rate, prompt_tokens: int) -> Decimal:
        reachable = [price for start, price in rate.tiers if prompt_tokens > start]
        return max([rate.base, *reachable])


_NOTHING = Rate(Decimal(0))
FREE = ModelPrice(_NOTHING, _NOTHING, _NOTHING, _NOTHING)


def find_price(
    model: str,
    *,
    provider: str = "anthropic",
    price_in: Decimal | None = None,
    price_out: Decimal | None = None,
) -> ModelPrice | None:
    """The price of a model, or None where it isn't known.

    `provider` is the id of who sells it in `genai-prices` ("": nobody whose prices are known).
    `price_in` and `price_out` (USD per million tokens) replace the table's; both are needed for a
    model that the table doesn't have. Cached input costs a given input price too. Raises
    `ConfigurationError` where one of them is missing.
    """
    known = _from_table(model, provider)
    if price_in is None and price_out is None:
        return known
    given_in = Rate(price_in) if price_in is not None else (known.input if known else None)
    given_out = Rate(price_out) if price_out is not None else (known.output if known else None)
    if given_in is None or given_out is None:
        missing = "--price-in" if given_in is None else "--price-out"
        raise ConfigurationError(
            f"the price of model '{model}' is not known: give {missing} too "
            "(USD per million tokens)"
        )
    if price_in is None and known is not None:
        return replace(known, output=given_out)
    return ModelPrice(given_in, given_out, given_in, given_in)


def find_batch_price(
    model: str,
    *,
    provider: str = "anthropic",
    price_in: Decimal | None = None,
    price_out: Decimal | None = None,
) -> ModelPrice | None:
    """The price of a model's requests in batches, or None where it isn't known.

    `provider` is as in `find_price`. `price_in` and `price_out` are what a request by itself costs
    (USD per million tokens), of which a batch costs half.
    """
    if price_in is None and price_out is None:
        return _from_table(model, provider, batch=True)
    standard = find_price(model, provider=provider, price_in=price_in, price_out=price_out)
    return None if standard is None else standard.halved()


@cache
def find_context(model: str, *, provider: str = "anthropic") -> int | None:
    """The tokens of a model's context by the same table; None where it doesn't say.

    `provider` is as in `find_price`.
    """
    from genai_prices import Usage as PricedUsage
    from genai_prices import calc_price

    if not provider:
        return None
    try:
        return calc_price(PricedUsage(), model, provider_id=provider).model.context_window
    except LookupError:
        return None


def _from_table(model: str, provider: str, *, batch: bool = False) -> ModelPrice | None:
    """The table's price: the dearest of the day, where it changes with the hour."""
    from genai_prices import Usage as PricedUsage
    from genai_prices import calc_price

    # For others the table has no batch price and gives the standard one without a word.
    if not provider or (batch and provider not in _PRICED_BATCHES):
        return None
    how: dict[str, Any] = {"price_context": {"processing": "batch"}} if batch else {}
    try:
        found = calc_price(PricedUsage(), model, provider_id=provider, **how)
        at = [
            calc_price(
                PricedUsage(), model, provider_id=provider, genai_request_timestamp=when, **how
            )
            for when in _changes(found.model.prices)
        ]
    except LookupError:
        return None
    prices = [each for price in (found, *at) if (each := _price(price.model_price)) is not None]
    return max(prices, key=lambda price: (price.output.base, price.input.base), default=None)


def _changes(prices: Any) -> list[datetime]:
    """When, today, a price begins to hold or ends, where it is tied to hours."""
    now, times = datetime.now(UTC), set[datetime]()
    for conditional in prices if isinstance(prices, list) else ():
        for name in ("start_time", "end_time"):
            time = getattr(conditional.constraint, name, None)
            if time is not None:
                times.add(now.replace(hour=time.hour, minute=time.minute, second=1))
    return sorted(times)


def _price(prices: Any) -> ModelPrice | None:
    """None where text is billed by more than its tokens in and out."""
    if prices.input_mtok is None or prices.output_mtok is None:
        return None
    if any(getattr(prices, name, None) is not None for name in _NOT_COUNTED):
        return None
    standard = _rate(prices.input_mtok)
    read, write = prices.cache_read_mtok, prices.cache_write_mtok
    return ModelPrice(
        standard,
        _rate(prices.output_mtok),
        _rate(read) if read is not None else standard,
        _rate(write) if write is not None else standard,
    )


def _rate(price: Any) -> Rate:
    if isinstance(price, Decimal):
        return Rate(price)
    tiers = sorted((int(tier.start), tier.price) for tier in price.tiers)
    return Rate(price.base, tuple(tiers))
