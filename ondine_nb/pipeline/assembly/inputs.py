"""What is asked beside the text: examples, quotes, groups, pictures and documents."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace

from ...data import Fetched, FrameSource, Groups, MediaReader, Source
from ...errors import ConfigurationError, MediaError
from ...evaluation import Examples, examples_of
from ...journal import Journal
from ...models import Part
from ...prompts import JinjaTemplate, QuotedSchema, RowNumbers, Schema, Template, quoted_schema
from ...providers import Provider, capabilities
from ...text import one_line
from ..options import OPTIONS, Options

__all__ = ["attached_in", "evidence_in", "examples_in", "groups_in", "reading"]


def examples_in(
    options: Options,
    source: Source,
    template: Template | JinjaTemplate,
    schema: Schema | None,
    journal: Callable[[], Journal],
) -> Examples | None:
    """The examples that the options ask for; None where they ask for none.

    They are drawn from the labels alone: a preview and a sample show what the whole run shows.
    Raises `ConfigurationError` for labels that can't be shown.
    """
    given = options.examples
    if given is None or isinstance(given, Examples):
        return given
    return examples_of(
        given,
        template=template,
        schema=schema,
        column=options.column,
        rows=source.frame if isinstance(source, FrameSource) else None,
        folder=journal().folder if isinstance(given, str) else None,
        shots=options.shots,
        by=options.examples_by or "stratified",
    )


def evidence_in(options: Options, schema: Schema | None) -> QuotedSchema | None:
    """The schema with quotes for the fields that the options name; None where they name none.

    Raises `ConfigurationError` for names that are no fields.
    """
    if options.evidence is None or (isinstance(options.evidence, str) and not options.evidence):
        return None
    if schema is None:
        raise ConfigurationError(
            "--evidence asks for quotes for the fields of a schema, and it is empty: give "
            f"{OPTIONS['schema'].usage}, or leave --evidence out"
        )
    return quoted_schema(schema, options.evidence, OPTIONS["evidence"].long)


def groups_in(
    options: Options,
    source: Source,
    template: Template | JinjaTemplate,
    schema: Schema | None,
) -> Groups | None:
    """The groups of rows that the options ask for; None where each row is asked by itself.

    Raises `ConfigurationError` where a prompt, a schema or the data can't be asked so.
    """
    numbers = RowNumbers(schema).any
    if options.by is None:
        if numbers:
            raise ConfigurationError(
                "the schema asks for the numbers of rows (`row`), and a prompt has one row only: "
                "give --by COLUMN, or leave that field out"
            )
        return None
    if not isinstance(source, FrameSource):
        raise ConfigurationError(
            f"--by needs all rows of a group together, and {source.name} streams: read it into a "
            "DataFrame first"
        )
    groups = Groups.of(source.frame, options.by)
    if set(template.columns) <= set(options.by):
        raise ConfigurationError(
            f"the prompt names only columns of --by ({', '.join(template.columns)}), so the rows "
            "of a group aren't in it: write another column in braces"
        )
    return groups if options.sample is None else _some(groups, options.sample)


def _some(groups: Groups, wanted: int) -> Groups:
    return groups.take(groups.heads.sample_positions(wanted))


def reading(
    template: Template | JinjaTemplate,
    provider: Provider,
    options: Options,
    fetched: Fetched | None,
) -> Template | JinjaTemplate:
    """The template with a reader of its own for the files of its rows, as `provider` takes them.

    What the reader learns of a file holds for as long as it does: one run. `fetched` has what was
    fetched for it, where files at URLs are.
    """
    if not template.forms:
        return template
    return template.reading(_reader(options, provider, fetched))


def attached_in(
    options: Options, provider: Provider, fetched: Fetched | None = None
) -> tuple[Part, ...]:
    """What `--attach` puts before every prompt: pictures and documents, and texts by themselves.

    Raises `ConfigurationError` for what can't be sent.
    """
    given = options.attach
    if given is None:
        return ()
    each = list(given) if isinstance(given, list | tuple) else [given]
    if not all(isinstance(path, str | os.PathLike) for path in each):
        raise ConfigurationError(
            f"--attach is {one_line(repr(given), 60)}: give a file's path, or a list of them"
        )
    try:
        parts = _reader(options, provider, fetched)("file", each)
    except MediaError as error:
        raise ConfigurationError(f"--attach: {error}") from error
    return tuple(f"{it.rstrip()}\n\n" if isinstance(it, str) else it for it in parts)


def _reader(options: Options, provider: Provider, fetched: Fetched | None) -> MediaReader:
    can = capabilities(provider)
    rules = can.media_rules
    if options.image_px is not None:
        rules = replace(rules, limits=rules.limits.of_px(options.image_px))
    return MediaReader(
        takes=can.parts,
        fetches=can.fetches,
        title=can.title,
        measures=rules,
        fetched=fetched,
    )
