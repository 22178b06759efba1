"""Line commands: what `%ondine models`, `cost`, `doctor` and `help` show."""

from __future__ import annotations

import asyncio
import importlib.metadata
import importlib.util
import os
import platform
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from .. import __version__
from ..errors import ConfigurationError, OndineError, nearest
from ..journal import home, kept_aside
from ..models import NO_USAGE, ZERO, Usage
from ..orchestration import run_in_thread
from ..pipeline import Spent, read_spending, write_csv
from ..providers import (
    KNOWN,
    LOCAL,
    KnownProvider,
    Model,
    ModelCatalog,
    ModelPrice,
    Provider,
    Reply,
    Settings,
    by_chat,
    capabilities,
    check_provider,
    choose,
    embedded,
    enforces_schema,
    find_price,
    keep,
    keep_probed,
    kept,
    packaged,
    probed,
    ready,
    split_model,
    without_login,
)
from ..text import dollars, usd
from .ui import clean

__all__ = ["HELP", "costs", "doctor", "examined", "models"]


_RUNS_SHOWN = 30
_MODELS_SHOWN = 12  # of one provider among others
_TRIED, _TRIED_TOKENS = "Answer with the word yes.", 64  # the request by which a model is tried
HELP = """\
Run a prompt over every row of a DataFrame, in a cell of its own:

    %%ondine OUT -i FRAME [options]
    How does the writer of this review feel? {text}

{text} stands for the row's value of that column. %%ondine --help lists the options.

%ondine, %ondine runs           the runs of this session, with state, rows and cost
%ondine stop [RUN]              send nothing more; once again: cancel what is in flight
%ondine resume RUN [-i FRAME]   go on with a run of a kernel that has ended
%ondine show OUT                look through a result: plots that filter, rows in full
%ondine panel FRAME             the prompt workbench
%ondine tries FRAME             what was tried there: what changed, how right, what it costs
%ondine review OUT              row by row by keyboard: what is accepted is a label that lasts
%ondine score OUT [FIELD]       how right the answers are, by reviewed rows or --labels COLUMN
%ondine labels OUT              what reviewers said of its rows
%ondine cost [FILE.csv]         what was paid by run, model and day
%ondine models [PREFIX]         models by provider, with prices
%ondine doctor [-m MODEL]       versions, keys, journal folder; with -m what a server can"""


def models(line: str, base_url: str | None, price_in: Any = None, price_out: Any = None) -> str:
    """What `%ondine models LINE` shows: a line a model, with its price, limits and lifecycle.

    Of all providers that can be asked here, with a word on how to get the others; or of the one
    whose prefix `line` names, or of the server whose URL it gives (else `base_url`). A list that
    was had is kept in the journal folder; where none can be, that copy is shown with its date, or
    else the price table. Raises `ConfigurationError` for a prefix that names no provider.
    """
    prefix, url = _named(line, base_url)
    prices = {"price_in": usd(price_in, "--price-in"), "price_out": usd(price_out, "--price-out")}
    rows = [KNOWN[prefix or "anthropic"]] if prefix or url else list(KNOWN.values())
    asked = {row: provider for row in rows if (provider := _asked(row, url)) is not None}
    told = run_in_thread(lambda: _all_offered(asked))
    if prefix or url:
        row = rows[0]
        return "\n".join(_section_of(row, asked.get(row), told.get(row), prices, most=None))
    lines = []
    for row in asked:
        if row.local and isinstance(told[row], OndineError):
            continue  # it doesn't run
        section = _section_of(row, asked[row], told[row], prices, most=_MODELS_SHOWN)
        lines += [f"{row.title}: -m {_prefix(row)}NAME", *(f"  {each}" for each in section)]
    lines += ["This machine: -m local", f"  {embedded(asked=True).model:<28} $0 in, $0 out"]
    if KNOWN["anthropic"] not in asked:
        lines += ["With ANTHROPIC_API_KEY set:", *_unasked(KNOWN["anthropic"], "anthropic", prices)]
    return "\n".join([*lines, *_others(rows, asked, told)])


def _named(line: str, base_url: str | None) -> tuple[str, str | None]:
    """The provider's prefix and the URL that a line names, if any."""
    words = line.split()
    urls = [word for word in words if "://" in word]
    names = [word.removesuffix(":") for word in words if "://" not in word]
    for name in names:
        if name not in KNOWN or name == LOCAL:
            near = nearest(name, KNOWN)
            hint = f" Did you mean {near}?" if near else ""
            raise ConfigurationError(f"%ondine models: there is no provider '{name}'.{hint}")
    return next(iter(names), ""), next(iter(urls), None if names else base_url)


def _asked(row: KnownProvider, url: str | None) -> Provider | None:
    return choose(f"{row.name}:-", base_url=url) if url else ready(row)


_Told: TypeAlias = "list[dict[str, Any]] | OndineError | None"


async def _all_offered(asked: Mapping[KnownProvider, Provider]) -> dict[KnownProvider, _Told]:
    """What each of them says it has, asked at once; None of those that can't say."""
    offers = [_offered(provider, 3 if row.local else 20) for row, provider in asked.items()]
    return dict(zip(asked, await asyncio.gather(*offers), strict=True))


async def _offered(provider: Provider, seconds: float) -> _Told:
    if capabilities(provider).models is None:
        return None
    try:
        await provider.open(Settings(model=provider.model, timeout=seconds), 1)
    except OndineError as error:
        return error
    try:
        return await _list_of(provider)
    finally:
        await provider.close()


async def _list_of(provider: Provider) -> _Told:
    ask = capabilities(provider).models
    try:
        return None if ask is None else await ask()
    except OndineError as error:
        return error


def _section_of(
    row: KnownProvider,
    provider: Provider | None,
    told: _Told,
    prices: dict[str, Any],
    most: int | None,
) -> list[str]:
    """The models of a provider, by what it `told`; at most so many, those with a price first."""
    if provider is None:
        return [f"{row.title} can't be asked here: {_remedy(row)}", *_unasked(row, "", prices)]
    if told is None:
        return [f"{row.title} doesn't list its models here.", *_unasked(row, "", prices)]
    if isinstance(told, OndineError):
        failed = f"The list can't be had: {clean(told, 400)}"
        if most is not None and kept(home(), provider.identity) is None:
            return [failed]
        return [failed, *_unasked(row, provider.identity, prices)]
    return _lines(row, keep(home(), provider.identity, told), prices, most) or [
        "No model is offered."
    ]


def _remedy(row: KnownProvider) -> str:
    """How a provider is got, in a few words."""
    if split_model(f"{row.name}:-")[0] is not row:
        return "unset ANTHROPIC_BASE_URL: the server there is asked for the whole name"
    try:
        why = capabilities(choose(f"{row.name}:-")).unable
    except ConfigurationError as error:
        why = str(error)
    return clean(why.removesuffix(", or ask the embedded model with -m local").partition(": ")[2])


def _others(
    rows: Sequence[KnownProvider],
    asked: Mapping[KnownProvider, Provider],
    told: Mapping[KnownProvider, _Told],
) -> list[str]:
    """How to get the providers that aren't shown."""
    silent = [row.name for row in rows if row.local and isinstance(told.get(row), OndineError)]
    absent = [row for row in rows if row not in asked and row.name not in (LOCAL, "anthropic")]
    by_remedy: dict[str, list[str]] = {}
    for row in absent:
        by_remedy.setdefault(_remedy(row), []).append(row.name)
    lines = [f"  {', '.join(names)}: {remedy}" for remedy, names in by_remedy.items()]
    if silent:
        lines.append(f"  {', '.join(silent)}: start it on this machine, or give its --base-url")
    own = [f"  {', '.join(packaged())}: of installed packages"] if packaged() else []
    return ["Others:", *lines, *own] if lines or own else []


def _prefix(row: KnownProvider) -> str:
    return "" if row.name == "anthropic" else f"{row.name}:"


def _unasked(row: KnownProvider, identity: str, prices: dict[str, Any]) -> list[str]:
    """What is known of a provider's models without asking it."""
    listed = kept(home(), identity) if identity else None
    if listed is None:
        known = _priced_models(row)
        return ["By the price table:", *known] if known else []
    return [f"As of {listed.as_of:%d %b %Y}:", *_lines(row, listed, prices, None)]


def _lines(
    row: KnownProvider, listed: ModelCatalog, prices: dict[str, Any], most: int | None
) -> list[str]:
    """Those that can be used first, then the retired ones."""
    ordered = sorted(listed.models, key=lambda model: model.lifecycle == "retired")
    if row.wire == "chat":
        ordered = [model for model in ordered if model.writes]
    found = [(model, find_price(model.id, provider=row.prices, **prices)) for model in ordered]
    if most is not None and len(found) > most:
        found.sort(key=lambda each: each[1] is None)
        more = f"… and {len(found) - most:,} more: %ondine models {row.name}"
        return [*(_model_line(*each) for each in found[:most]), more]
    return [_model_line(*each) for each in found]


def _model_line(model: Model, price: ModelPrice | None) -> str:
    parts = [f"{clean(model.id):<28} {_price_text(price)}"]
    if model.max_input_tokens:
        out = f", {model.max_tokens:,} out" if model.max_tokens else ""
        parts.append(f"{model.max_input_tokens:,} tokens in{out}")
    return "   ".join([*parts, *filter(None, [clean(model.end)])])


def _priced_models(row: KnownProvider) -> list[str]:
    from genai_prices import data_snapshot

    providers = data_snapshot.get_snapshot().providers
    known = next((provider for provider in providers if provider.id == row.prices), None)
    ids = [model.id for model in known.models if not model.deprecated] if known else []
    if row.prices == "anthropic":
        ids = [name for name in ids if name.rsplit("-", 2)[-2].isdigit()]
    elif row.client:
        ids = [name for name in ids if "claude" in name]
    shown = [Model(name) for name in sorted(ids, reverse=True)]
    return [
        _model_line(model, find_price(model.id, provider=row.prices))
        for model in shown
        if model.writes
    ]


def _price_text(price: ModelPrice | None) -> str:
    if price is None:
        return "price unknown (--price-in, --price-out)"
    tiers = f", above {price.input.tiers[0][0]:,} tokens dearer" if price.input.tiers else ""
    return f"${price.input.base} in, ${price.output.base} out{tiers}"


def costs(file: str) -> str:
    """What was paid by run, model and day, from the journal; with `file`, written there as CSV.

    Raises `ConfigurationError` for another kind of file.
    """
    if file:
        if not file.endswith(".csv"):
            raise ConfigurationError(f"%ondine cost writes CSV, and '{file}' doesn't end in .csv")
        groups = read_spending()
        write_csv(groups, file)
        return f"{file}: {len(groups):,} rows (run, model and day), {_sum(groups)}"
    runs = read_spending(by="run")
    if not runs:
        return f"Nothing was paid yet: {home()} has no answer."
    parts = [f"Paid in all: {_sum(runs)} ({home()})", *_section("By run", runs)]
    for by in ("model", "day"):
        parts += _section(f"By {by}", read_spending(by=by))
    return "\n".join(parts)


def _section(title: str, groups: list[Spent]) -> list[str]:
    lines = [f"  {clean(_label(spent)):<28} {_sum([spent])}" for spent in groups[-_RUNS_SHOWN:]]
    if len(lines) < len(groups):
        lines.append(f"  the last {len(lines)} of {len(groups):,}: %ondine cost FILE.csv has all")
    return [title, *lines]


def _label(spent: Spent) -> str:
    run = f"{spent.name} ({spent.run})" if spent.name else spent.run
    return run or spent.model or spent.day


def _sum(groups: list[Spent]) -> str:
    """`$0.0213 for 1,204 answers`, and what of them has no known price."""
    answers, unpriced = sum(g.answers for g in groups), sum(g.unpriced for g in groups)
    if answers and answers == unpriced:
        return f"price unknown for {answers:,} answers"
    more = f", beside {unpriced:,} of unknown price" if unpriced else ""
    total = sum((g.cost for g in groups), ZERO)
    return f"{dollars(total)} for {answers - unpriced:,} answers{more}"


def doctor(shell: Any) -> str:
    """What helps to find out why something doesn't work; no secret is in it."""
    facts = {
        "ondine_nb": __version__,
        "Python": f"{platform.python_version()} on {platform.system()} {platform.machine()}",
        **{name: _version(name) for name in ("ipython", "ipykernel", "ipywidgets", "jupyterlab")},
        **{name: _version(name) for name in ("anthropic", "openai", "pandas", "polars")},
        "genai-prices": _version("genai-prices"),
        "front end": _front_end(shell),
        "keys": _key_state(),
        "base URL": without_login(os.environ.get("ANTHROPIC_BASE_URL") or "the SDK's own"),
        "journal folder": f"{home()} ({_folder_state()})",
    }
    if damaged := kept_aside(home()):
        names = ", ".join(path.name for path in damaged)
        facts["damaged journals"] = f"{names} (kept aside there, and read no more)"
    from ..providers import local

    try:
        facts |= {f"embedded model, {name}": value for name, value in local.diagnose().items()}
    except ConfigurationError as error:
        facts["embedded model"] = str(error)
    width = max(map(len, facts))
    return "\n".join(f"{name:<{width}}  {value}" for name, value in facts.items())


def examined(model: Any, base_url: str | None, price_in: Any, price_out: Any) -> str:
    """What `%ondine doctor -m MODEL` says of a model: how it is asked, and what its server can.

    One short request is sent to it, and another with a schema where it isn't known whether that is
    enforced; their cost is the last line. Nothing is sent where it lacks its key.
    `model` is a name or a provider of one's own. Raises `ConfigurationError` for what can't be.
    """
    if isinstance(model, str):
        prices = {
            "price_in": usd(price_in, "--price-in"),
            "price_out": usd(price_out, "--price-out"),
        }
        provider = choose(model, base_url=base_url, **prices)
    else:
        provider = check_provider(model, "--model")
    facts = _facts_of(provider)
    if not capabilities(provider).unable:
        facts |= run_in_thread(lambda: _tried(provider))
    width = max(map(len, facts))
    return "\n".join(f"{name:<{width}}  {clean(value, 400)}" for name, value in facts.items())


def _facts_of(provider: Provider) -> dict[str, str]:
    """What is known without asking it."""
    can, row = capabilities(provider), getattr(provider, "row", None)
    at = without_login(getattr(provider, "base_url", None) or "")
    facts = {
        "model": provider.model,
        "provider": f"{can.title}, at {at}" if at and at != can.title else can.title,
        "price": _price_text(provider.price),
        "batches": "yes" if can.batches else "no",
    }
    if isinstance(row, KnownProvider):
        facts["schema enforced"] = _enforced(provider)
    if can.unable:
        facts["can't be asked"] = can.unable
    return facts


def _enforced(provider: Provider) -> str:
    """Whether it enforces schemas, by its makers or by the last probe."""
    known, told = capabilities(provider).enforces_schemas, probed(home(), provider)
    if known is not None:
        return "yes, as its makers say" if known else "no"
    if told is None:
        return "not known: it depends on the server or the model"
    return f"{'yes' if told.enforced else 'no'}, as a probe of {told.as_of:%d %b %Y} told"


async def _tried(provider: Provider) -> dict[str, str]:
    """What one short request, a count of its tokens and the list of models tell."""
    settings = Settings(model=provider.model, max_tokens=_TRIED_TOKENS, timeout=60)
    try:
        await provider.open(settings, 1)
        listed = await _listed(provider)
        counted = await provider.count_tokens(_TRIED)
        reply = await provider.send(_TRIED)
    except OndineError as error:
        return {"answers": f"no: {error}"}
    finally:
        await provider.close()
    held, usage = await _probed_now(provider)
    heard = _heard(provider, reply, usage)
    return {**held, **listed, **heard, "tokens counted": _counted(counted)}


async def _probed_now(provider: Provider) -> tuple[dict[str, str], Usage]:
    """What a probe tells of schemas, which is kept for runs; and what it took."""
    if capabilities(provider).enforces_schemas is not None:
        return {}, NO_USAGE
    told, usage = await enforces_schema(provider)
    if told is not None:
        keep_probed(home(), provider, told)
    if told is not False:
        said = "yes, tried just now" if told else _NOT_TOLD
        return {"schema enforced": said}, usage
    said, chat = "no, tried just now: a run asks for it in words", by_chat(provider)
    if chat is not None:
        held, more = await enforces_schema(chat)
        usage += more
        if held is not None:
            keep_probed(home(), chat, held)
        if held:
            said = "no, tried just now: a run asks by its Chat Completions, where it is"
    return {"schema enforced": said}, usage


_NOT_TOLD = "not known: a short request with a schema had no answer that tells"


def _counted(tokens: int | None) -> str:
    return "no: estimates go by length" if tokens is None else f"yes, {tokens:,} of this request"


async def _listed(provider: Provider) -> dict[str, str]:
    """What the list of models says of it, where there is one."""
    told = await _list_of(provider)
    unsaid = {"longest prompt": _NOT_SAID, "images": _NOT_SAID}
    if not isinstance(told, list):
        return unsaid
    listed = keep(home(), provider.identity, told)
    found = listed.find(provider.model)
    if found is None:
        near = nearest(provider.model, [model.id for model in listed.models])
        return {"listed": "no" + (f", but {near}" if near else ""), **unsaid}
    longest = f"{found.max_input_tokens:,} tokens" if found.max_input_tokens else _NOT_SAID
    images = {True: "yes", False: "no", None: _NOT_SAID}[found.images]
    return {"listed": f"yes {found.end}".rstrip(), "longest prompt": longest, "images": images}


_NOT_SAID = "it doesn't say"


def _heard(provider: Provider, reply: Reply, other: Usage = NO_USAGE) -> dict[str, str]:
    """What an answer tells beside its text; `other` is billed too."""
    try:
        answer = capabilities(provider).read(reply.body)
    except OndineError as error:
        return {"answers": f"not so that it can be read: {error}"}
    usage = answer.usage
    limits = {
        kind: reply.headers.get(f"anthropic-ratelimit-{kind}-limit")
        for kind in ("requests", "tokens", "input-tokens", "output-tokens")
    }
    told = ", ".join(f"{int(float(most)):,} {kind}" for kind, most in limits.items() if most)
    price = provider.price if usage.known and other.known else None
    cost = None if price is None else price.cost(usage) + price.cost(other)
    return {
        "answers": f"yes, after {reply.latency:.1f} s",
        "usage reported": (
            f"yes, {usage.prompt_tokens:,} tokens in, {usage.output_tokens:,} out"
            if usage.known
            else "no: what a run costs can't be known"
        ),
        "rate headers": f"{told} a minute" if told else "none: the rate is found as a run goes",
        "cost of this": "unknown" if cost is None else dollars(cost),
    }


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
    names = dict.fromkeys(name for row in KNOWN.values() for name in row.keys)
    found = [name for name in names if os.environ.get(name)]
    if found:
        return f"present ({', '.join(found)})"
    return "none in the environment: the embedded model answers where no model is named"


def _folder_state() -> str:
    folder = home()
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    return "can be written" if os.access(existing, os.W_OK) else "CAN'T be written: set ONDINE_HOME"
