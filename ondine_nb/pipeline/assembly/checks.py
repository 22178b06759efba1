"""What the options ask for and can't be had: said before anything is sent."""

from __future__ import annotations

from ...data import is_installed
from ...errors import ConfigurationError
from ...prompts import JinjaTemplate, Template
from ...providers import KNOWN, Provider, Settings, capabilities
from ...sending import Endpoint
from ...stages import Grouping
from ..options import Options
from .asking import known_model
from .stages import splitting_of

__all__ = ["check_batches", "check_group_batches", "check_media", "check_packs", "check_split"]


def check_split(
    options: Options, template: Template | JinjaTemplate, provider: Provider, settings: Settings
) -> None:
    """Raises `ConfigurationError` where long rows can't be asked in chunks."""
    if template.forms:
        form, column = template.forms[0]
        raise ConfigurationError(
            f"--split cuts texts, and the prompt has {{{column}:{form}}}: leave --split out"
        )
    splitting_of(options, template, Endpoint(provider, settings))


def check_group_batches(grouping: Grouping) -> None:
    """Raises `ConfigurationError` where a group takes several requests, one after another."""
    trees = grouping.trees()
    if trees:
        groups = grouping.groups
        rows, group = max((len(groups.members[at]), at) for at in trees)
        raise ConfigurationError(
            f"--batch takes up to a day for each level of requests, and {groups.name(group)} has "
            f"{rows:,} rows, which take more than one: leave --batch out, or give a larger "
            "--group-tokens"
        )


def check_media(provider: Provider, template: Template | JinjaTemplate, options: Options) -> None:
    """Raises `ConfigurationError` where the model is known not to see what the prompt shows it, and
    for what doesn't go with pictures and documents.
    """
    form, column = template.forms[0]
    if options.pack > 1:
        raise ConfigurationError(
            f"--pack asks of many rows in one text, and the prompt has {{{column}:{form}}}, a "
            "file of each row: leave --pack out"
        )
    pdfs = [column for form, column in template.forms if form == "pdf"]
    if pdfs and options.budget is not None and not is_installed("pypdfium2"):
        raise ConfigurationError(
            f"--budget needs the pages of {{{pdfs[0]}:pdf}} counted: pip install 'ondine-nb[media]'"
        )
    can, (known, model) = capabilities(provider), known_model(provider)
    sees = {"image": model and model.images, "document": model and model.documents}
    for form, column in template.forms:
        kind = {"pdf": "document", "image": "image", "images": "image"}.get(form)
        if kind is None or (kind in can.parts and sees[kind] is not False):
            continue
        what = "pictures" if kind == "image" else "PDFs"
        asked = f"{{{column}:{form}}}" if isinstance(template, Template) else f"the filter '{form}'"
        others = [it.id for it in (known.models if known else ()) if it.images and it.writes]
        named = ", ".join(others[:3]) or "claude-haiku-5-5"
        raise ConfigurationError(
            f"{asked} asks for a model that is known to take {what}, and {can.title} with "
            f"'{provider.model}' is not: name one with -m, such as {named}"
        )


def check_batches(provider: Provider) -> None:
    """Raises `ConfigurationError` where it is known that there are no batches."""
    can = capabilities(provider)
    if can.batches is None:
        raise ConfigurationError(
            f"--batch needs a provider whose batches are known here ({_batching()}), and "
            f"{can.title} would answer: leave --batch out, or name a model of theirs with -m"
        )


def _batching() -> str:
    return ", ".join(row.name for row in KNOWN.values() if row.batches)


def check_packs(provider: Provider) -> None:
    """Raises `ConfigurationError` where it is known that several rows can't be asked at once."""
    can = capabilities(provider)
    if not can.keeps_rows_apart:
        raise ConfigurationError(
            f"--pack needs a model that keeps many rows apart, and {can.title} would answer: "
            "leave --pack out, or name a larger one with -m"
        )
    if can.clone is None:
        raise ConfigurationError(
            f"--pack asks in two ways in one run, and {provider.identity} has no clone() for "
            "another provider like it (`ondine_nb.providers.Clonable`): add it, or leave --pack out"
        )
    _, model = known_model(provider)
    if model is not None and model.structured is False:
        raise ConfigurationError(
            f"--pack holds the answers to a schema, and '{model.id}' can't be held to one: choose "
            "another with --model, or leave --pack out"
        )
