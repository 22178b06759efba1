"""Who asks: the stage that gets the answers, by requests of their own or by batches."""

from __future__ import annotations

from typing import Any

from .batching import BatchInvokeStage
from .errors import ConfigurationError
from .invocation import InvokeStage
from .options import Options
from .pricing import ModelPrice, find_batch_price
from .providers import Provider, Settings
from .providers.anthropic import AnthropicProvider
from .providers.choice import is_local

__all__ = ["asker_of", "check_batches", "price_of"]


def check_batches(provider: Provider) -> None:
    """Raises `ConfigurationError` where it is known that there are no batches."""
    if is_local(provider) or not isinstance(provider, AnthropicProvider):
        who = "the embedded model" if is_local(provider) else provider.identity
        raise ConfigurationError(
            f"--batch needs the Anthropic API, and {who} would answer: leave --batch out, or set "
            "ANTHROPIC_API_KEY"
        )


def asker_of(options: Options, provider: Provider, settings: Settings, **given: Any) -> InvokeStage:
    """The stage that gets the answers, by batches where the options say so."""
    if not options.batch or not isinstance(provider, AnthropicProvider):
        return InvokeStage(provider, settings, **given)
    price = find_batch_price(provider.model, price_in=options.price_in, price_out=options.price_out)
    return BatchInvokeStage(provider, settings, price=price, **given)


def price_of(stage: InvokeStage) -> ModelPrice | None:
    """The price of a row's first request by this stage."""
    return stage.price if isinstance(stage, BatchInvokeStage) else stage.provider.price
