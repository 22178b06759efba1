"""Line commands: what `%ondine models`, `cost`, `doctor` and `help` show."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import platform
from collections.abc import Awaitable, Callable
from typing import Any

from .. import __version__
from ..errors import ConfigurationError, OndineError
from ..journal import home, kept_aside
from ..models import ZERO
from ..orchestration import run_in_thread
from ..pipeline import Spent, read_spending, write_csv
from ..providers import (
    Model,
    ModelCatalog,
    ModelPrice,
    Provider,
    Settings,
    capabilities,
    choose,
    embedded,
    find_price,
    keep,
    kept,
    without_login,
)
from ..text import dollars, usd
from .ui import clean

__all__ = ["HELP", "costs", "doctor", "models"]


_RUNS_SHOWN = 30
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
%ondine models, %ondine doctor  models with prices; versions, key, journal folder"""


def models(base_url: str | None, price_in: Any = None, price_out: Any = None) -> str:
    """A line a model: id, price (USD per million tokens in and out), limits, lifecycle.

    Asks the provider and keeps the list in the journal folder; where it can't be asked, that copy
    is shown with its date, or else the price table.
    """
    provider = choose("claude-haiku-5-5", base_url=base_url)
    prices = {"price_in": usd(price_in, "--price-in"), "price_out": usd(price_out, "--price-out")}
    can = capabilities(provider)
    ask = can.models
    if ask is None or can.unable:
        local = embedded(asked=True)
        lines = [f"{local.model:<28} $0 in, $0 out   embedded: -m local"]
        return "\n".join([*lines, "With ANTHROPIC_API_KEY set:", *_unasked("anthropic", prices)])
    try:
        offered = run_in_thread(lambda: _offered(provider, ask))
    except OndineError as error:
        failed = f"The list can't be had: {clean(error, 400)}"
        return "\n".join([failed, *_unasked(provider.identity, prices)])
    listed = keep(home(), provider.identity, offered)
    return "\n".join(_lines(listed, prices)) or "No model is offered."


async def _offered(
    provider: Provider, ask: Callable[[], Awaitable[list[dict[str, Any]]]]
) -> list[dict[str, Any]]:
    await provider.open(Settings(model=provider.model, timeout=20), 1)
    try:
        return await ask()
    finally:
        await provider.close()


def _unasked(identity: str, prices: dict[str, Any]) -> list[str]:
    """What is known of a server's models without asking it."""
    listed = kept(home(), identity)
    if listed is None:
        return ["By the price table:", *_priced_models()]
    return [f"As of {listed.as_of:%d %b %Y}:", *_lines(listed, prices)]


def _lines(listed: ModelCatalog, prices: dict[str, Any]) -> list[str]:
    """Those that can be used first, then the retired ones."""
    ordered = sorted(listed.models, key=lambda model: model.lifecycle == "retired")
    return [_model_line(model, prices) for model in ordered]


def _model_line(model: Model, prices: dict[str, Any]) -> str:
    parts = [f"{clean(model.id):<28} {_price_text(find_price(model.id, **prices))}"]
    if model.max_input_tokens:
        parts.append(f"{model.max_input_tokens:,} tokens in, {model.max_tokens or 0:,} out")
    return "   ".join([*parts, *filter(None, [clean(model.end)])])


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
        **{name: _version(name) for name in ("anthropic", "pandas", "polars", "genai-prices")},
        "front end": _front_end(shell),
        "API key": _key_state(),
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
    return "none in the environment: the embedded model answers where no model is named"


def _folder_state() -> str:
    folder = home()
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    return "can be written" if os.access(existing, os.W_OK) else "CAN'T be written: set ONDINE_HOME"
