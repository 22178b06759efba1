"""Who asks, and how: the provider, its settings, and the stage that gets the answers."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias, TypeVar

from ..data import Fetched, Frame, FrameSource, Groups, MediaReader, Source, is_installed
from ..errors import ConfigurationError, MediaError
from ..evaluation import Examples, examples_of
from ..evaluation.evidence import MATCHES, Finder
from ..journal import Journal, home
from ..models import ZERO, Part, Prompt
from ..orchestration import (
    AsyncExecutor,
    DaskExecutor,
    ExecutionContext,
    NewColumn,
    PipelineStage,
    RowSet,
    RowStage,
    RowStream,
    StateManager,
    StreamingExecutor,
    SyncExecutor,
)
from ..prompts import (
    JinjaTemplate,
    QuotedSchema,
    RowNumbers,
    Schema,
    Template,
    quoted_schema,
    system_in_words,
)
from ..providers import (
    KNOWN,
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
from ..sending import (
    PACK_MARK,
    Backoff,
    Budget,
    CachePoints,
    Endpoint,
    Limits,
    Lookup,
    Sender,
    SessionBudget,
    cache_points,
)
from ..stages import (
    FRAME_BYTES,
    WRAPPING_TOKENS,
    AnswerMerge,
    Batches,
    ContextFit,
    EvidenceStage,
    FitCheck,
    Form,
    Grouping,
    GroupParseStage,
    GroupStage,
    InvokeStage,
    JournalOnlyStage,
    OneByOne,
    Packs,
    ParseStage,
    Plan,
    PromptStage,
    Route,
    SchemaRoutes,
    SplitStage,
    Splitting,
    VoteStage,
)
from ..text import one_line
from .options import OPTIONS, Options
from .records import digests, keeper

__all__ = [
    "RunPlan",
    "asker_of",
    "attached_in",
    "before_text",
    "budget_of",
    "check_batches",
    "check_group_batches",
    "check_media",
    "check_packs",
    "check_split",
    "evidence_in",
    "evidence_stage",
    "examples_in",
    "executor_of",
    "grouping_of",
    "groups_in",
    "own_provider",
    "produced",
    "provider_of",
    "reading",
    "routes_of",
    "row_stages",
    "settings_of",
    "splitting_of",
]


# Tokens of a pack's answer where the model's own limit isn't known; most models write that many.
_PACK_TOKENS = 32_000
# UTF-8 bytes of a group's rows, or of a chunk, in one request, where nobody said how many tokens.
# No text has more tokens than bytes, so it stays below what any large model takes, and below its
# dearer tier.
_GROUP_BYTES = 100_000
_BYTES_A_TOKEN = 4  # of what a user counts in tokens
_LEAST_BYTES = 400
_MERGED = 24  # answers in one request: sixteen, as a rule, for they are cut by content


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


def evidence_stage(
    options: Options, quoted: QuotedSchema, columns: Sequence[str], invoke: InvokeStage
) -> EvidenceStage:
    """The stage that finds the quotes of answers in these columns of the prompt."""
    return EvidenceStage(
        quoted,
        Finder,
        invoke,
        columns=columns,
        matches=MATCHES,
        required=options.require_evidence,
    )


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


def row_stages(
    options: Options,
    template: Template | JinjaTemplate,
    schema: Schema | None,
    askers: Sequence[InvokeStage],
    *,
    examples: Examples | None,
    attached: Sequence[Part],
    groups: Groups | None,
    gates: Sequence[JournalOnlyStage] = (),
    quoted: QuotedSchema | None = None,
    text_columns: Sequence[str] = (),
    again: bool = False,
) -> list[PipelineStage]:
    """What makes a row's prompt, asks it and reads the answer, behind the `gates`.

    Where several answers are asked, its fields are decided by them. With `groups` a row stands for
    one of them. With `quoted` what answers quote is found in `text_columns`. `again` says that
    failed rows are asked again.
    """
    gate = gates[0] if gates else None
    if groups is not None:
        (asker,) = askers
        reader = _parser(GroupParseStage, options, schema, asker)
        grouping = grouping_of(options, template, groups, asker.plan.alone)
        return [GroupStage(grouping, asker, reader, again=again, gate=gate), *gates, asker, reader]
    checks = _fit_checks(askers, template.columns) if options.split is None else []
    prompts = PromptStage(template, examples, attached, checks)
    voters = [(asker, _parser(ParseStage, options, schema, asker)) for asker in askers]
    asker, parser = voters[0]
    if options.decided and schema is not None:
        voting = VoteStage(voters, schema, votes=options.votes)
        return [prompts, *gates, voting]
    finding = [] if quoted is None else [evidence_stage(options, quoted, text_columns, asker)]
    if options.split is None:
        return [prompts, *gates, asker, parser, *finding]
    alone = asker.plan.alone
    fit = fit_of(asker) if options.split == "auto" else None
    split = SplitStage(
        splitting_of(options, template, alone),
        prompts,
        asker,
        parser,
        AnswerMerge(schema, quoted),
        fit=fit,
        evidence=finding[0] if finding else None,
        again=again,
        gate=gate,
    )
    return [prompts, split, *gates, asker, parser, *finding]


def _fit_checks(askers: Sequence[InvokeStage], columns: Sequence[str]) -> list[FitCheck]:
    """What fails rows that are too long, for each model whose context is known."""
    fits = map(fit_of, askers)
    return [FitCheck(fit, columns) for fit in fits if fit is not None]


def fit_of(asker: InvokeStage) -> ContextFit | None:
    """What fits the model that is asked; None where its context isn't known."""
    context = _context_of(asker.plan.alone)
    return None if context is None else ContextFit(context, asker.plan.alone, asker)


def splitting_of(
    options: Options, template: Template | JinjaTemplate, alone: Endpoint
) -> Splitting:
    """How rows that are too long are cut: by the options, or as fits the model.

    Raises `ConfigurationError` for more tokens than the model is known to take, and where it isn't
    known how many that are.
    """
    context, wanted, model = _context_of(alone), options.split, alone.provider.model
    answer = alone.settings.max_tokens
    if wanted == "auto" and context is None:
        raise ConfigurationError(
            f"--split auto goes by the model's context, and how many tokens '{model}' takes isn't "
            "known: give --split N, the tokens of a chunk"
        )
    left = None if context is None else context - answer
    if isinstance(wanted, int) and left is not None and wanted > left:
        raise ConfigurationError(
            f"--split is {wanted}, and '{model}' takes {context:,} tokens, {answer:,} of them for "
            f"the answer (--max-tokens): give {max(32, left // 2)} or less"
        )
    fan_in = _MERGED if left is None else min(_MERGED, max(1, left // answer))
    if isinstance(wanted, int):
        most = wanted * _BYTES_A_TOKEN
        return Splitting(template, most=most, room=None, fan_in=fan_in)
    assert left is not None
    room = left - alone.constant_bytes - FRAME_BYTES
    return Splitting(template, most=_GROUP_BYTES, room=room, fan_in=fan_in)


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


Parser = TypeVar("Parser", bound=ParseStage)


def _parser(
    kind: type[Parser], options: Options, schema: Schema | None, asker: InvokeStage
) -> Parser:
    return kind(schema, asker, column=options.column, in_prose=asker.routes is not None)


def grouping_of(
    options: Options, template: Template | JinjaTemplate, groups: Groups, alone: Endpoint
) -> Grouping:
    """How groups are asked: as much in a request as the options say, or as fits the model.

    Raises `ConfigurationError` for more tokens than the model is known to take.
    """
    context, wanted = _context_of(alone), options.group_tokens
    most = _GROUP_BYTES if wanted is None else wanted * _BYTES_A_TOKEN
    if context is None:
        return Grouping(template, groups, most=most, fan_in=_MERGED)
    if wanted is not None and wanted > context:
        raise ConfigurationError(
            f"--group-tokens is {wanted}, and '{alone.provider.model}' takes {context:,} tokens: "
            f"give {context // 2} or less"
        )
    answer = alone.settings.max_tokens
    room = max(_LEAST_BYTES, context - answer - alone.constant_bytes)
    most = min(most, room) if wanted is None else most
    return Grouping(template, groups, most=most, fan_in=min(_MERGED, max(1, room // answer)))


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


def _context_of(alone: Endpoint) -> int | None:
    """Tokens that a prompt of this model may have; None where it isn't known."""
    _, model = _known_model(alone.provider)
    told = None if model is None else model.max_input_tokens
    return told or alone.can.context_tokens


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
    known, model = _known_model(provider)
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


def _known_model(provider: Provider) -> tuple[ModelCatalog | None, Model | None]:
    known = kept(home(), provider.identity)
    return known, None if known is None else known.find(provider.model)


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
    can, (known, model) = capabilities(provider), _known_model(provider)
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
    _, model = _known_model(provider)
    if model is not None and model.structured is False:
        raise ConfigurationError(
            f"--pack holds the answers to a schema, and '{model.id}' can't be held to one: choose "
            "another with --model, or leave --pack out"
        )


def routes_of(options: Options, provider: Provider, settings: Settings) -> list[Route]:
    """The ways to have a run's answers meet its schema; the first is as the run was given.

    It is the only one without a schema, and where the server is known to enforce them (or is not
    to be asked twice, as an object of the user's own).
    """
    can, given = capabilities(provider), Route(provider, settings)
    if settings.schema is None or can.enforces_schemas or can.clone is None:
        return [given]
    _, model = _known_model(provider)
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
    _, model = _known_model(provider)
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


Executor: TypeAlias = AsyncExecutor | SyncExecutor | StreamingExecutor


@dataclass(frozen=True)
class RunPlan:
    """What runs, over what, by whom, and where the run is recorded."""

    id: str
    stages: list[PipelineStage]
    context: ExecutionContext
    executor: Executor
    rowset: RowSet | RowStream
    budget: Budget
    records: StateManager | None

    @property
    def askers(self) -> list[InvokeStage]:
        """The stages that get the answers: one, or one for each of several models."""
        for stage in self.stages:
            if isinstance(stage, VoteStage):
                return stage.askers
        return [stage for stage in self.stages if isinstance(stage, InvokeStage)]

    @property
    def asker(self) -> InvokeStage:
        """The stage that gets the answers, of several models those of the first."""
        return self.askers[0]

    @property
    def columns(self) -> tuple[NewColumn, ...]:
        """The columns that the row stages add."""
        return produced(self.stages)

    @property
    def evidence(self) -> frozenset[str]:
        """The names of those of the columns that say where answers stand in the texts."""
        return frozenset(
            column.name
            for stage in self.stages
            if isinstance(stage, EvidenceStage)
            for column in stage.produces
        )

    def record(self) -> None:
        """Record the run as it stands, if it is to be recorded."""
        if self.records is not None:
            self.records.save_checkpoint(self.context)

    def record_fingerprint(self, frame: Frame) -> None:
        """Record what the frame's columns hold, to know it again; takes a while."""
        settings = self.context.settings["frame"]
        if self.records is not None:
            with contextlib.suppress(Exception):  # a cell's own __repr__ may raise anything
                settings["digests"] = digests(frame, settings["read"])
                self.record()

    def record_end(self) -> None:
        """Record what may have been billed, which is known once nothing is in flight any more."""
        if not self.context.control.draining:
            self.context.reserved = self.budget.possibly_billed
            self.record()


def produced(stages: Sequence[PipelineStage]) -> tuple[NewColumn, ...]:
    """The columns that the row stages among `stages` add."""
    rows = [stage for stage in stages if isinstance(stage, RowStage)]
    return tuple(column for stage in rows for column in stage.produces)


def budget_of(
    options: Options,
    context: ExecutionContext,
    session: SessionBudget | None,
    records: StateManager | None,
) -> Budget:
    """The run's budget, with what the run has spent and may have been billed before."""
    ceiling, spent = options.budget, context.accumulated_cost
    lost = context.reserved if ceiling is None else min(context.reserved, ceiling - spent)
    budget = Budget(
        ceiling,
        spent,
        max(lost, ZERO),
        session=session,
        keep=None if records is None else keeper(context, records),
    )
    context.metrics.possibly_billed = budget.possibly_billed
    context.max_budget = ceiling
    if ceiling is None and session is not None:
        context.max_budget = session.left
    return budget


def executor_of(
    options: Options, width: int, records: StateManager | None, *, streams: bool, again: bool
) -> Executor:
    """Who runs the rows, at most `width` requests at once.

    Those that are asked `again` stand in a frame, and never stream.
    """
    rows = options.rows_at_once(width)
    streams = streams or options.to is not None or options.executor_name == "streaming"
    if options.executor_name == "dask":
        given = options.executor if isinstance(options.executor, DaskExecutor) else DaskExecutor()
        dask = given.configured(
            max_concurrency=rows, on_error=options.on_error, state_manager=records
        )
        return dask.streaming(options.rows_a_chunk) if streams and not again else dask
    if streams and not again:
        return StreamingExecutor(
            options.rows_a_chunk,
            max_concurrency=rows,
            on_error=options.on_error,
            state_manager=records,
        )
    kind = SyncExecutor if options.executor_name == "sync" and not again else AsyncExecutor
    return kind(max_concurrency=rows, on_error=options.on_error, state_manager=records)
