"""The stages of a run: what makes a row's prompt, asks it and reads the answer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from ...data import Groups
from ...errors import ConfigurationError
from ...evaluation import Examples
from ...evaluation.evidence import MATCHES, QuoteFinder
from ...models import Part
from ...orchestration import PipelineStage
from ...prompts import JinjaTemplate, QuotedSchema, Schema, Template
from ...sending import Endpoint
from ...stages import (
    FRAME_BYTES,
    AnswerMerge,
    ContextFit,
    EvidenceStage,
    FitCheck,
    Grouping,
    GroupParseStage,
    GroupStage,
    InvokeStage,
    JournalOnlyStage,
    ParseStage,
    PromptStage,
    SplitStage,
    Splitting,
    VoteStage,
)
from ..options import Options
from .asking import known_model

__all__ = ["evidence_stage", "grouping_of", "row_stages", "splitting_of"]

# UTF-8 bytes of a group's rows, or of a chunk, in one request, where nobody said how many tokens.
# No text has more tokens than bytes, so it stays below what any large model takes, and below its
# dearer tier.
_GROUP_BYTES = 100_000
_BYTES_A_TOKEN = 4  # of what a user counts in tokens
_LEAST_BYTES = 400
_MERGED = 24  # answers in one request: sixteen, as a rule, for they are cut by content
Parser = TypeVar("Parser", bound=ParseStage)


def evidence_stage(
    options: Options, quoted: QuotedSchema, columns: Sequence[str], invoke: InvokeStage
) -> EvidenceStage:
    """The stage that finds the quotes of answers in these columns of the prompt."""
    return EvidenceStage(
        quoted,
        QuoteFinder(),
        invoke,
        columns=columns,
        matches=MATCHES,
        required=options.require_evidence,
    )


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


def _context_of(alone: Endpoint) -> int | None:
    """Tokens that a prompt of this model may have; None where it isn't known."""
    _, model = known_model(alone.provider)
    told = None if model is None else model.max_input_tokens
    return told or alone.can.context_tokens
