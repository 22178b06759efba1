"""The texts of `%ondine models` and `%ondine doctor`."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import platform
from datetime import datetime
from typing import Any

from .. import __version__
from ..errors import ConfigurationError, OndineError
from ..journal import home
from ..orchestration.sync_executor import run_in_thread
from ..pricing import ModelPrice, find_price, usd
from ..providers import Settings
from ..providers.anthropic import AnthropicProvider, list_models
from ..providers.choice import choose, is_local

__all__ = ["doctor", "models"]


def models(base_url: str | None, price_in: Any = None, price_out: Any = None) -> str:
    """A line a model: id, price (USD per million tokens in and out), lifecycle, limits.

    Asks the provider; where there is no key, the list is the price table's.
    """
    provider = choose("claude-haiku-5-5", base_url=base_url)
    prices = {"price_in": usd(price_in, "--price-in"), "price_out": usd(price_out, "--price-out")}
    if is_local(provider):
        lines = [f"{provider.model:<28} $0 in, $0 out   embedded, answers while there is no key"]
        return "\n".join([*lines, "With ANTHROPIC_API_KEY set:", *_priced_models()])
    assert isinstance(provider, AnthropicProvider)
    try:
        offered = run_in_thread(lambda: _offered(provider))
    except OndineError as error:
        return "\n".join(
            [f"The list can't be had: {error}", "By the price table:", *_priced_models()]
        )
    return "\n".join(_model_line(model, prices) for model in offered) or "No model is offered."


async def _offered(provider: AnthropicProvider) -> list[dict[str, Any]]:
    await provider.open(Settings(model=provider.model, timeout=20), 1)
    try:
        return await list_models(provider)
    finally:
        await provider.close()


def _model_line(model: dict[str, Any], prices: dict[str, Any]) -> str:
    name = str(model["id"])
    parts = [f"{name:<28} {_price_text(find_price(name, **prices))}"]
    if model.get("max_input_tokens"):
        parts.append(
            f"{model['max_input_tokens']:,} tokens in, {model.get('max_tokens') or 0:,} out"
        )
    lifecycle = str(model.get("lifecycle") or "")
    ends = model.get("retires_at")
    if lifecycle and lifecycle != "active":
        when = f" {ends:%d %b %Y}" if isinstance(ends, datetime) else ""
        parts.append(f"{lifecycle}{when}")
    return "   ".join(parts)


def _priced_models() -> list[str]:
    from genai_prices import data_snapshot

    providers = data_snapshot.get_snapshot().providers
    known = next(provider for provider in providers if provider.id == "anthropic")
    ids = [model.id for model in known.models if not model.deprecated]
    newest = [name for name in ids if name.rsplit("-", 2)[-2].isdigit()]
    return [f"{name:<28} {_price_text(find_price(name))}" for name in sorted(newest, reverse=True)]


def _price_text(price: ModelPrice | None) -> str:
    if price is None:
        return "price unknown (--price-in, --price-out)"
    tiers = f", above {price.input.tiers[0][0]:,} tokens dearer" if price.input.tiers else ""
    return f"${price.input.base} in, ${price.output.base} out{tiers}"


def doctor(shell: Any) -> str:
    """What helps to find out why something doesn't work; no secret is in it."""
    facts = {
        "ondine_nb": __version__,
        "Python": f"{platform.python_version()} on {platform.system()} {platform.machine()}",
        **{name: _version(name) for name in ("ipython", "ipykernel", "ipywidgets", "jupyterlab")},
        **{name: _version(name) for name in ("anthropic", "pandas", "polars", "genai-prices")},
        "front end": _front_end(shell),
        "API key": _key_state(),
        "base URL": os.environ.get("ANTHROPIC_BASE_URL") or "the SDK's own",
        "journal folder": f"{home()} ({_folder_state()})",
    }
    from ..providers import local

    try:
        facts |= {f"embedded model, {name}": value for name, value in local.diagnose().items()}
    except ConfigurationError as error:
        facts["embedded model"] = str(error)
    width = max(map(len, facts))
    return "\n".join(f"{name:<{width}}  {value}" for name, value in facts.items())


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def _front_end(shell: Any) -> str:
    if not hasattr(shell, "kernel"):
        return "terminal IPython: cells run in a worker thread, Ctrl-C stops them"
    if not getattr(shell, "autoawait", False):
        return "a kernel with autoawait off: cells block, Interrupt stops them (%autoawait on)"
    return "a Jupyter kernel: cells are awaited, Stop works"


def _key_state() -> str:
    for name in ("ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN"):
        if os.environ.get(name):
            return f"present ({name})"
    return "none in the environment: the embedded model answers unless the SDK finds a profile"


def _folder_state() -> str:
    folder = home()
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    return "can be written" if os.access(existing, os.W_OK) else "CAN'T be written: set ONDINE_HOME"
