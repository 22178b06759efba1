"""What requests cost by the published table, worked out without the package."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from genai_prices import Usage, calc_price

from tests.server.ledger import Billed

__all__ = ["HEAD", "Usage", "by_the_table", "cost_of"]

# About 2,000 tokens: long enough for every model's prompt cache.
HEAD = "".join(f"Rule {at:04}: be exact.\n" for at in range(350))


def by_the_table(model: str, usage: Usage, *, batch: bool = False) -> Decimal:
    """USD of one request; `usage` counts cached tokens among the input, as the table does."""
    how: dict[str, Any] = {"price_context": {"processing": "batch"}} if batch else {}
    who = "openai" if model.startswith("gpt-") else "anthropic"
    return Decimal(calc_price(usage, model, provider_id=who, **how).total_price)


def cost_of(entry: Billed) -> Decimal:
    """USD of one billed request, in its own tier."""
    cached = entry.cache_creation_input_tokens + entry.cache_read_input_tokens
    usage = Usage(
        input_tokens=entry.input_tokens + cached,
        output_tokens=entry.output_tokens,
        cache_write_tokens=entry.cache_creation_input_tokens,
        cache_read_tokens=entry.cache_read_input_tokens,
    )
    return by_the_table(entry.model, usage, batch=entry.batch)
