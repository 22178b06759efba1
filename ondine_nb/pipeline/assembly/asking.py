"""Who is asked, and how: the provider, its settings, and the stage that gets the answers."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from ...errors import ConfigurationError
from ...journal import Journal, home
from ...models import Part, Prompt
from ...prompts import Schema, system_in_words
from ...providers import (
    Model,
    ModelCatalog,
    Provider,
    Settings,
    by_chat,
    capabilities,
    check_provider,
    choose,
    embedded,
    kept,
)
from ...sending import (
    PACK_MARK,
    Backoff,
    Budget,
    CachePoints,
    Endpoint,
    Limits,
    Lookup,
    Sender,
    cache_points,
)
from ...stages import (
    WRAPPING_TOKENS,
    Batches,
    Form,
    InvokeStage,
    OneByOne,
    Packs,
    Plan,
    Route,
    SchemaRoutes,
)
from ..options import Options

__all__ = [
    "asker_of",
    "before_text",
    "known_model",
    "own_provider",
    "provider_of",
    "routes_of",
    "settings_of",
]

# Tokens of a pack's answer where the model's own limit isn't known; most models write that many.
_PACK_TOKENS = 32_000


def own_provider(
    options: Mapping[str, Any], given: Provider | None
) -> tuple[dict[str, Any], Provider | None]:
    """The options with a model's name, and the provider where `model` is an object that answers.

    Raises `ConfigurationError` where either is no provider, or both are given.
    """
    model = options.get("model")
    if given is not None:
        check_provider(given, "provider")
    if model is None or isinstance(model, str):
        return dict(options), given
    if given is not None:
        raise ConfigurationError("model and provider are both objects: give one of them")
    provider = check_provider(model, "--model")
    return {**options, "model": str(provider.model)}, provider


def provider_of(
    options: Options,
    given: Provider | None = None,
    *,
    named: bool = True,
    journaled: Callable[[Provider], bool] = lambda _: True,
) -> Provider:
    """`given`, or the provider that key, base URL and model choose.

    Where nobody `named` a model and the default's has no key, the embedded model stands in, unless
    the journal has answers of the default's (`journaled`): no column is filled by two models.
    Raises `ConfigurationError` where both are meant.
    """
    if given is None:
        asked = choose(
            options.model,
            base_url=options.base_url,
            price_in=options.price_in,
            price_out=options.price_out,
        )
        stands_in = capabilities(asked).unable and not named and not journaled(asked)
        return embedded(asked=False) if stands_in else asked
    if (options.base_url, options.price_in, options.price_out) != (None, None, None):
        raise ConfigurationError(
            "provider= answers and knows its own price: leave base_url, price_in and price_out out"
        )
    return given


def settings_of(
    options: Options,
    provider: Provider,
    schema: Schema | None,
    head: str,
    attached: Sequence[Part] = (),
) -> Settings:
    """How every row of a run is asked; `head` is what all of its prompts begin with, behind the
    pictures and documents among what is `attached` to all.

    Raises `ConfigurationError` for what the model is known not to take.
    """
    marks = _marks(options, provider, head, attached)
    settings = Settings(
        model=provider.model,
        max_tokens=options.answer_tokens(capabilities(provider).default_max_tokens, provider.model),
        system=options.system or None,
        schema=None if schema is None else schema.json_schema,
        effort=options.effort,
        thinking=options.thinking,
        timeout=options.timeout,
        cached_system=marks.system,
        cached_head=marks.head,
        cached_parts=len(before_text(attached)) if marks.attached else 0,
    )
    return _within_model(settings, provider, chosen=options.max_tokens is not None)


def before_text(attached: Sequence[Part]) -> tuple[Part, ...]:
    """What is attached up to the last picture or document; behind it, texts join the head."""
    parts = Prompt(*attached).parts
    last = max((at for at, part in enumerate(parts, 1) if not isinstance(part, str)), default=0)
    return parts[:last]


def _marks(
    options: Options, provider: Provider, head: str, attached: Sequence[Part] = ()
) -> CachePoints:
    """What is marked for the cache. What a cache costs at a given price isn't known."""
    if options.cache == "off" or options.price_in is not None:
        return CachePoints()
    tokens = sum(getattr(part, "likely", 0) for part in attached)
    return cache_points(provider.model, options.system, head, tokens)


def _within_model(settings: Settings, provider: Provider, *, chosen: bool) -> Settings:
    """By the last list of models that was had; where there is none, the server will tell."""
    known, model = known_model(provider)
    if known is None or model is None:
        return settings
    if not chosen and model.max_tokens is not None:
        settings = replace(settings, max_tokens=min(settings.max_tokens, model.max_tokens))
    model.check(
        max_tokens=settings.max_tokens,
        effort=settings.effort,
        schema=settings.schema is not None,
        as_of=known.as_of,
    )
    return settings


def known_model(provider: Provider) -> tuple[ModelCatalog | None, Model | None]:
    """The server's list of models that was kept, and the provider's model in it, if they are."""
    known = kept(home(), provider.identity)
    return known, None if known is None else known.find(provider.model)


def routes_of(options: Options, provider: Provider, settings: Settings) -> list[Route]:
    """The ways to have a run's answers meet its schema; the first is as the run was given.

    It is the only one without a schema, and where the server is known to enforce them (or is not
    to be asked twice, as an object of the user's own).
    """
    can, given = capabilities(provider), Route(provider, settings)
    if settings.schema is None or can.enforces_schemas or can.clone is None:
        return [given]
    _, model = known_model(provider)
    if model is not None and model.structured:
        return [given]
    words = system_in_words(settings.schema, settings.system)
    in_words = replace(settings, schema=None, system=words)
    chat = by_chat(provider) if options.executor_name != "dask" else None
    if chat is not None and options.batch and capabilities(chat).batches is None:
        chat = None
    by = [] if chat is None else [Route(chat, settings, "Chat Completions")]
    return [given, *by, Route(can.clone(), in_words, "words")]


def asker_of(
    options: Options,
    provider: Provider,
    settings: Settings,
    *,
    journal: Journal,
    budget: Budget,
    run_id: str,
    concurrency: int = 20,
    grows: bool = False,
    fresh: bool = False,
    resumed: bool = False,
    accepted: bool = False,
    retries: bool = False,
    backoff: Backoff | None = None,
    clock: Callable[[], float] = time.monotonic,
    head: str = "",
    tail: str = "",
) -> InvokeStage:
    """The stage that gets the answers, by batches or packs where the options say so.

    At most `concurrency` requests go at once; where it `grows`, fewer at first. `fresh`, `resumed`
    and `run_id` are as in `Lookup`, `accepted` as in `Sender`, `retries` as in `Batches`. `head` is
    what all prompts begin with, `tail` what they end with.
    """
    given, *others = routes_of(options, provider, settings)
    routes = SchemaRoutes([given, *others], journal.folder) if others else None
    lookup = Lookup(
        journal,
        provider,
        settings,
        run_id=run_id,
        fresh=fresh,
        resumed=resumed,
        mark=PACK_MARK if options.pack > 1 else b"",
        other_ways=[(route.provider, route.settings) for route in others],
    )
    if routes is not None:
        lookup.turn_to(routes.taken)
    limits = Limits(
        budget,
        journal.single_flight,
        concurrency=concurrency,
        grows=grows,
        backoff=backoff,
        clock=clock,
    )
    sender = Sender(limits, lookup, accepted=accepted)

    def plan_of(route: Route) -> Plan:
        return _plan(options, route, sender, head, tail, retries=retries)

    taken = given if routes is None else routes.route
    return InvokeStage(sender, plan_of(taken), routes, plan_of)


def _plan(
    options: Options, route: Route, sender: Sender, head: str, tail: str, *, retries: bool
) -> Plan:
    settings, provider = route.settings, route.provider
    alone = Endpoint(provider, settings)
    if options.pack > 1:
        if route.in_words:
            raise ConfigurationError(
                f"--pack holds the answers to a schema, and {alone.can.title} enforces none: leave "
                "--pack out, and it is asked in words, a row at a time"
            )
        form = Form(settings.schema, head, tail)
        assert alone.can.clone is not None  # by check_packs
        packed = Endpoint(alone.can.clone(), _packed(settings, options, provider, form))
        return Packs(sender, alone, packed, form=form, most=options.pack)
    if options.batch:
        return Batches(sender, alone, retries=retries)
    return OneByOne(sender, alone)


def _packed(settings: Settings, options: Options, provider: Provider, form: Form) -> Settings:
    """How packs are asked: room for every row's answer, as far as the model writes so much."""
    _, model = known_model(provider)
    limit = _PACK_TOKENS if model is None or model.max_tokens is None else model.max_tokens
    wanted = options.pack * (settings.max_tokens + WRAPPING_TOKENS)
    marks = _marks(options, provider, form.intro)
    return replace(
        settings,
        schema=form.schema,
        max_tokens=max(settings.max_tokens, min(wanted, limit)),
        cached_system=marks.system,
        cached_head=marks.head,
    )
