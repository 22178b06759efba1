"""A frame, a prompt and options, checked before anything is sent, and made into stages."""

from __future__ import annotations

import contextlib
import time
from collections.abc import AsyncIterator, Callable, Container, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from ..data import (
    Column,
    Fetched,
    Frame,
    FrameSource,
    Groups,
    Source,
    open_source,
    open_target,
    reads_from,
)
from ..errors import ConfigurationError, OndineError
from ..evaluation import Examples
from ..evaluation.evidence import MATCHES
from ..journal import Journal, shared
from ..models import CostEstimate, ExecutionResult, Part, Prompt
from ..orchestration import (
    ExecutionContext,
    ExecutionObserver,
    NewColumn,
    PipelineStage,
    Row,
    RowSet,
    RowStage,
    RowStream,
    run_in_thread,
)
from ..prompts import JinjaTemplate, Schema, Template, parse_schema
from ..providers import Provider, Settings, capabilities, without_login
from ..providers.dask import check_dask
from ..sending import PACK_MARK, Endpoint, SessionBudget, question_key, reader_of
from ..stages import (
    REASKS,
    GroupStage,
    InvokeStage,
    JournalOnlyStage,
    LoadStage,
    decided_columns,
    evidence_columns,
)
from ..text import one_line
from .assembly import (
    RunPlan,
    asker_of,
    attached_in,
    before_text,
    budget_of,
    check_batches,
    check_group_batches,
    check_media,
    check_packs,
    check_split,
    evidence_in,
    examples_in,
    executor_of,
    grouping_of,
    groups_in,
    own_provider,
    produced,
    provider_of,
    reading,
    routes_of,
    row_stages,
    settings_of,
    splitting_of,
)
from .estimate import Estimator, JointEstimator
from .option_kinds import Surface, path_of
from .options import OPTIONS, Options, takes_options
from .records import (
    check_examples,
    check_frame,
    check_question,
    check_stages,
    find,
    needs_examples,
    options_of,
    recall_costs,
    record,
    run_id,
    state_manager,
)
from .report import check_report
from .run import Run

__all__ = ["Pipeline"]

_LOOKED_UP = 2_000  # rows by which it is told whether the journal has answers of a model


@takes_options
class Pipeline:
    """A prompt over the rows of a pandas or polars DataFrame, or of whatever `open_source` takes.

    `data` is the frame, `prompt` a template such as ``"Is this good? {text}"``. A polars LazyFrame,
    a Dask DataFrame, the path of a CSV, Parquet or JSONL file or of a folder of Parquet files and
    an iterator of rows (dicts) or frames stream: only a window of their rows is in memory. The
    options are those of `%%ondine`, with underscores, as `model`, `schema` and `max_tokens`:
    `help(Pipeline)` has them all. `observers` are told of each run, `stages` run behind the
    answer's parsing, `journal` is a folder or a `Journal` (default: `.ondine/`), `name` stands for
    the frame in messages. `provider` (or `model`) is an object of your own that satisfies
    `ondine_nb.providers.Provider` (with `pack`, `Clonable`) and answers instead of the one that
    key, base URL and model choose: each run opens and closes it once, its `identity` stands in the
    journal's keys and in the run's record. Raises `ConfigurationError` (a `ValueError`) for
    whatever can't be run; nothing is sent by then.
    """

    def __init__(
        self,
        data: Any,
        prompt: str,
        *,
        observers: Sequence[ExecutionObserver] = (),
        stages: Sequence[PipelineStage] = (),
        journal: Journal | Path | str | None = None,
        name: str = "data",
        provider: Provider | None = None,
        **options: Any,
    ) -> None:
        if not isinstance(name, str):
            raise ConfigurationError(f"name has to be text, not {type(name).__name__}")
        options, provider = own_provider(options, provider)
        self.options: Options = Options.of(options)
        self._model_named = (options.get("model"), options.get("models")) != (None, None)
        self._given_provider = provider
        self.prompt = prompt
        self.observers: tuple[ExecutionObserver, ...] = _each(observers, _is_observer, _OBSERVERS)
        self.extra_stages: tuple[PipelineStage, ...] = _each(stages, _is_stage, _STAGES)
        self.name = name
        self.recorded = True
        self.nothing_new = ""  # why nothing may be sent: then only the journal answers
        self.clock: Callable[[], float] = time.monotonic
        self._journal = _checked_journal(journal)
        self._session: SessionBudget | None = None
        # What was fetched is kept from the estimate to the end of the first run.
        self._fetched: Fetched | None = Fetched() if self.options.fetch else None
        self._ran = False
        self.source: Source = open_source(
            data, name, dtypes=self.options.dtypes, pages=self.options.pages
        )
        self._check_not_read(data)
        kind = JinjaTemplate if self.options.jinja else Template
        self.template: JinjaTemplate | Template = kind.compile(
            prompt, self.source.columns, self.options.params, name
        )
        self.schema: Schema | None = self._parse_schema()
        self._quoted = evidence_in(self.options, self.schema)
        self.groups: Groups | None = groups_in(
            self.options, self.source, self.template, self.schema
        )
        self._check_new_columns()
        self.frame: Frame = self._rows_in_memory()
        self._examples = examples_in(
            self.options, self.source, self.template, self.schema, lambda: self.journal
        )
        self.provider: Provider = self._provider()
        self.attached: tuple[Part, ...] = attached_in(self.options, self.provider, self._fetched)
        self.settings: Settings = self._settings_of(self.provider)
        self.voters: tuple[tuple[Provider, Settings], ...] = self._voters()
        self._check()
        if self.template.forms:
            self.template = reading(self.template, self.provider, self.options, self._fetched)

    def _check_new_columns(self) -> None:
        """Raises `ColumnError` for a name that is there already, or given twice."""
        added = (*self._evidence_columns(), *produced(self.extra_stages))
        heads = self.source.empty() if self.groups is None else self.groups.heads
        names = [*self.new_columns, *(column.name for column in added)]
        heads.check_new(names, self.options.overwrite)

    def _check(self) -> None:
        """Raises `ConfigurationError` where the options, the prompt and who answers don't fit."""
        self._check_budget()
        self._check_executor()
        if self.template.forms:
            self._check_media()
        for voter, _ in self.voters:
            if self.options.batch:
                check_batches(voter)
            if self.options.pack > 1:
                check_packs(voter)
        if self.groups is not None:
            self._check_groups(self.groups)
        if self.options.split is not None:
            check_split(self.options, self.template, self.provider, self.settings)

    def _voters(self) -> tuple[tuple[Provider, Settings], ...]:
        """Who is asked each row, and how: one provider, or one for each of `models`."""
        models, options = self.options.models, self.options
        if models is None:
            return ((self.provider, self.settings),)
        if self._given_provider is not None:
            raise ConfigurationError(
                f"--models is {','.join(models)}, and provider= is an object that answers: leave "
                "one of them out"
            )
        others = [provider_of(replace(options, models=None, model=name)) for name in models[1:]]
        return ((self.provider, self.settings), *((it, self._settings_of(it)) for it in others))

    def _settings_of(self, provider: Provider) -> Settings:
        return settings_of(self.options, provider, self.asked, self.head, self.attached)

    def _check_groups(self, groups: Groups) -> None:
        alone = Endpoint(self.provider, self.settings)
        grouping = grouping_of(self.options, self.template, groups, alone)
        if self.options.batch:
            check_group_batches(grouping)

    def _check_not_read(self, data: Any) -> None:
        target = self.options.to
        if target is not None and reads_from(data, target):
            raise ConfigurationError(
                f"--to {target} is what {self.name} is read from: name another file, for a run "
                "that is stopped writes only the rows that it has come to"
            )

    @property
    def streams(self) -> bool:
        """Whether the rows are read part by part, because they aren't in memory."""
        return self.options.sample is None and not isinstance(self.source, FrameSource)

    def _rows_in_memory(self) -> Frame:
        """The frame whose rows are asked, one for each group; of a stream, one without rows."""
        source, sample = self.source, self.options.sample
        if self.groups is not None:
            return self.groups.heads
        if not isinstance(source, FrameSource):
            return source.empty() if sample is None else source.head(sample)
        frame = source.frame
        return frame if sample is None else frame.take(frame.sample_positions(sample))

    def within(self, session: SessionBudget) -> Pipeline:
        """This pipeline, its runs under a ceiling that they share with others of the session."""
        self._session = session
        self._check_budget()
        return self

    @property
    def new_columns(self) -> tuple[str, ...]:
        """The names of the columns that the answers go into."""
        if self.schema is None:
            return (self.options.column,)
        if self.options.decided:
            return tuple(column.name for column in decided_columns(self.schema))
        return tuple(known.name for known in self.schema.fields)

    @property
    def asked(self) -> Schema | None:
        """The schema of answers as they are asked: with a quote for each field with evidence."""
        return self.schema if self._quoted is None else self._quoted.schema

    @property
    def evidence(self) -> tuple[str, ...]:
        """The names of the fields with evidence."""
        return () if self._quoted is None else tuple(it.name for it in self._quoted.fields)

    @property
    def votes(self) -> int:
        """How many answers decide a row's fields: one for each vote of each model."""
        return self.options.votes * len(self.voters)

    @property
    def given(self) -> Frame:
        """The frame that was given; without `by` that is the one whose rows are asked."""
        return self.frame if self.groups is None else self.groups.frame

    @property
    def key_columns(self) -> tuple[str, ...]:
        """The columns of the asked frame by which its rows are told apart: those of the prompt."""
        return self.template.columns if self.groups is None else self.groups.by

    def prompt_at(self, position: int) -> Prompt | None:
        """What the row at this position is asked, rendered again; None where nothing is.

        Of a group it is the last question: None while answers that it merges aren't there. Usable
        with or without a running loop. Raises what a cell's own text raises.
        """
        if self.groups is None:
            ((values,),) = self.frame.iter_rows(self.template.columns, positions=[position])
            return self.template.render(values)
        rows = RowSet(self.frame, rerun=[position])
        stage = self.plan(rows).stages[1]
        assert isinstance(stage, GroupStage)
        ((row,),) = rows.chunks(stage.columns)
        return run_in_thread(lambda: stage.prompt_of(row))

    @property
    def read_columns(self) -> tuple[str, ...]:
        """The columns of the given frame that decide what is asked."""
        by = self.options.by or ()
        return tuple(dict.fromkeys([*by, *self.template.columns]))

    @property
    def examples(self) -> Examples | None:
        """The labelled rows that stand before prompts; None without `examples=`."""
        return self._examples

    @property
    def head(self) -> str:
        """The text that prompts begin with, behind the pictures and documents attached to all.

        That is texts that are attached, the examples that all of them show, then the template's.
        """
        behind = Prompt(*self.attached).parts[len(before_text(self.attached)) :]
        head = "".join(part for part in behind if isinstance(part, str))
        if self.examples is None:
            return head + self.template.head
        return head if self.examples.nearest else head + self.examples.head + self.template.head

    @property
    def journal(self) -> Journal:
        """The journal of this pipeline's runs."""
        given = self._journal
        return given if isinstance(given, Journal) else shared(given)

    def estimate(self) -> CostEstimate:
        """What running the pipeline would send and cost; answers in the journal are free.

        Input tokens are counted by the API on a sample where there is a key, and rough otherwise.
        Usable with or without a running loop, which it blocks meanwhile.
        """
        return run_in_thread(self.estimate_async)

    async def estimate_async(self) -> CostEstimate:
        """`estimate` on the running loop."""
        return await self.estimator().estimate()

    def estimator(
        self, plan: RunPlan | None = None, rows: RowSet | None = None
    ) -> Estimator | JointEstimator:
        """What estimates a run, of all its rows or of those given; its `tally` has the counts."""
        plan = plan or self.plan()
        each = [self._estimator(plan, asker, rows) for asker in plan.askers]
        return each[0] if len(each) == 1 else JointEstimator(each)

    def _estimator(self, plan: RunPlan, asker: InvokeStage, rows: RowSet | None) -> Estimator:
        again = plan.rowset.rerun is not None
        return Estimator(
            rows or plan.rowset,
            asker,
            partial(self._row_stages, plan.askers, again=again),
            examples=self.examples,
            attached=self.attached,
            schema=self.schema,
            quotes=len(self.evidence),
            times=1 if self.schema is None else 1 + REASKS,
            votes=self.options.votes,
            settings=plan.context.settings,
        )

    async def quick_estimate(self, plan: RunPlan, tell: Callable[[CostEstimate], None]) -> None:
        """Give `tell` an estimate of `plan` that asks nobody, where there can be one.

        Of a small frame, when the run has prepared its rows; else by some of them, now.
        """
        if self.streams or plan.rowset.rerun is not None or self.provider.price is None:
            return
        if self.groups is not None or self.options.split is not None:
            with contextlib.suppress(OndineError):  # the run itself will say so
                some = RowSet(self.frame, rerun=self.frame.sample_positions(200))
                share = await self.estimator(plan, some).quick()
                tell(share.scaled(len(self.frame)) if len(self.frame) > 200 else share)
            return
        estimator = self.estimator(plan)
        if len(self.frame) <= RowSet.CHUNK and isinstance(estimator, Estimator):

            async def prepared(rows: Sequence[Row]) -> None:
                with contextlib.suppress(OndineError):  # the run itself will say so
                    tell(await estimator.of_prepared(rows))

            plan.asker.when_prepared = prepared
            return
        with contextlib.suppress(OndineError):  # the run itself will say so
            few = min(200, max(50, len(self.frame) // 20))  # they are looked at twice
            some = RowSet(self.frame.take(self.frame.sample_positions(few)))
            tell((await self.estimator(plan, some).quick()).scaled(len(self.frame)))

    def preview(self, n: int = 5) -> Any:
        """A frame of `n` sampled rows with their answers, which a full run then has for nothing.

        Of a stream, its first `n` rows; with `by`, of `n` groups. Raises `ConfigurationError` for
        what is no number of rows.
        """
        frame, n = self.frame, replace(OPTIONS["sample"], flag="n").checked(n)
        if self.groups is not None:
            by = {"by": self.options.by, "group_tokens": self.options.group_tokens}
            return self._over(self.groups.frame.native, sample=n, **by).execute().data
        some = self.source.head(n) if self.streams else frame.take(frame.sample_positions(n))
        return self._over(some).execute().data

    def start(self) -> Run:
        """Start on the running loop; gives the `Run` at once."""
        return self._run().start()

    async def execute_async(self) -> ExecutionResult:
        """Run on the running loop. Raises the error that ended the run."""
        return await self._run().execute_async()

    def execute(self) -> ExecutionResult:
        """Run to the end, in a thread with a loop of its own. Raises the error that ended it."""
        return self._run().execute()

    def stream(self) -> Iterator[Any]:
        """Frames of `chunk_size` rows in input order, as they are finished.

        Only a window of rows is in memory. Leaving the loop early stops the run. Raises the error
        that ends it behind the chunks that are complete.
        """
        return self._run(streaming=True).stream()

    def stream_async(self) -> AsyncIterator[Any]:
        """`stream` on the running loop."""
        return self._run(streaming=True).stream_async()

    @classmethod
    def resume(
        cls,
        run_id: str,
        data: Any,
        *,
        observers: Sequence[ExecutionObserver] = (),
        stages: Sequence[PipelineStage] = (),
        journal: Journal | Path | str | None = None,
        name: str | None = None,
        session: SessionBudget | None = None,
        provider: Provider | None = None,
        **options: Any,
    ) -> Run:
        """Go on with a recorded run, in this process or after its kernel died; gives its `Run`.

        Await the run or call its `execute()`. `run_id` is the run's id or its result's name,
        `data` the data again (only its name and fingerprint are recorded). The settings are those
        of the record, the budget included: what was spent stays spent, and what was in flight when
        the process died is charged as possibly billed. `options` replace recorded ones; `stages`,
        a `provider` of your own and a frame of `examples` are given again. Raises
        `ConfigurationError`, naming what differs, for other data and for a run that isn't recorded.
        """
        folder = journal if isinstance(journal, Journal) else shared(journal)
        earlier = find(state_manager(folder.folder), run_id)
        settings = earlier.settings
        needs_examples(settings, options)
        pipeline = cls(
            data,
            settings["prompt"],
            observers=observers,
            stages=stages,
            journal=folder,
            name=name or settings["frame"]["name"],
            provider=provider,
            **(options_of(settings) | options),
        )
        if session is not None:
            pipeline.within(session)
        pipeline.check_resumed(settings, options)
        plan = pipeline.plan(earlier=earlier)
        return Run(pipeline, name=settings["out"], plan=plan)

    def check_resumed(self, settings: dict[str, Any], replaced: Container[str]) -> None:
        """Raises `ConfigurationError` where this isn't the recorded run once more."""
        check_stages(settings, [stage.name for stage in self.extra_stages])
        if not self.streams:
            check_frame(settings, self.given)
        here = self.provider.identity
        names = (here, *capabilities(self.provider).earlier_identities)
        questions = {without_login(name): self._question(name) for name in names}
        if not any(each.decides and each.name in replaced for each in OPTIONS.values()):
            check_question(settings, without_login(here), questions)
        if settings["question"] in questions.values():
            check_examples(settings, self.examples, replaced)

    def _question(self, identity: str) -> str:
        digest: str = question_key(identity, self.settings).hexdigest()
        return digest

    def plan(
        self,
        rowset: RowSet | None = None,
        fresh: bool | None = None,
        earlier: ExecutionContext | None = None,
        streaming: bool = False,
    ) -> RunPlan:
        """A run of this pipeline, over all of its rows or over those that `rowset` names.

        `earlier` is the state of the run that it goes on with.
        """
        options = self.options
        most = capabilities(self.provider).max_concurrency
        width = options.width(most)
        context = self._context(earlier)
        records = state_manager(self.journal.folder) if self.recorded and not rowset else None
        budget = budget_of(options, context, self._session, records)
        rows = rowset or (RowStream(self.source) if self.streams else RowSet(self.frame))
        asker = partial(
            asker_of,
            options,
            head=self.head,
            tail=self.template.tail,
            journal=self.journal,
            budget=budget,
            run_id=run_id(context.session_id),
            concurrency=width,
            fresh=options.fresh if fresh is None else fresh,
            resumed=earlier is not None,
            retries=rowset is not None,
            accepted=rowset is not None and rowset.any_answered(),
            clock=self.clock,
        )
        grows = options.concurrency == "auto" and most is None
        askers = [asker(self._own(each), how, grows=grows) for each, how in self.voters]
        stages: list[PipelineStage] = [
            LoadStage(rows),
            *self._row_stages(askers, again=rowset is not None),
            *self.extra_stages,
        ]
        streams = streaming or self.streams
        executor = executor_of(options, width, records, streams=streams, again=rowset is not None)
        return RunPlan(run_id(context.session_id), stages, context, executor, rows, budget, records)

    def _journal_only(self, askers: Sequence[InvokeStage]) -> list[JournalOnlyStage]:
        """What stands before those that ask where nothing new can be answered, or may be asked."""
        stages = list[JournalOnlyStage]()
        for (provider, settings), asker in zip(self.voters, askers, strict=True):
            lookup = asker.lookup
            if why := capabilities(provider).unable or self.nothing_new:
                stages.append(
                    JournalOnlyStage(
                        why,
                        self.journal,
                        lookup.keys,
                        lookup.read,
                        max_tokens=settings.max_tokens,
                        run=lookup.run_id if lookup.fresh else None,
                        votes=self.options.votes,
                    )
                )
        return stages

    @property
    def _text_columns(self) -> tuple[str, ...]:
        """The columns that the prompt names as texts, in order: those that quotes are found in."""
        files = {column for _, column in self.template.forms}
        return tuple(name for name in self.template.columns if name not in files)

    def _evidence_columns(self) -> Sequence[NewColumn]:
        return () if self._quoted is None else evidence_columns(self._quoted.fields, MATCHES)

    def _row_stages(self, askers: Sequence[InvokeStage], *, again: bool) -> list[PipelineStage]:
        return row_stages(
            self.options,
            reading(self.template, self.provider, self.options, self._fetched),
            self.asked,
            askers,
            examples=self.examples,
            attached=self.attached,
            groups=self.groups,
            gates=self._journal_only(askers),
            quoted=self._quoted,
            text_columns=self._text_columns,
            again=again,
        )

    def _context(self, earlier: ExecutionContext | None) -> ExecutionContext:
        context = ExecutionContext(observers=list(self.observers), max_budget=self.options.budget)
        context.settings = record(
            name=self.name,
            frame=self.given,
            columns=self.read_columns,
            prompt=self.prompt,
            options=self.options,
            question=self._question(self.provider.identity),
            provider=self.provider.identity,
            stages=[stage.name for stage in self.extra_stages],
            examples=self.examples,
        )
        if earlier is not None:
            context.session_id, context.pipeline_id = earlier.session_id, earlier.pipeline_id
            context.trace_id, context.reserved = earlier.trace_id, earlier.reserved
            routes = routes_of(self.options, self.provider, self.settings)
            price, read = self.provider.price, reader_of([route.provider for route in routes])
            run_in_thread(lambda: recall_costs(context, self.journal, price, read))
        return context

    def _run(self, streaming: bool = False) -> Run:
        if self._ran and self._fetched is not None:
            self._fetched = Fetched()
        self._ran = True
        return Run(self, plan=self.plan(streaming=streaming))

    def _over(self, data: Any, **more: Any) -> Pipeline:
        """The same pipeline over other rows of the same frame, with more options."""
        options = {
            name: value
            for name, value in vars(self.options).items()
            if OPTIONS[name].on(Surface.WORKBENCH) and name != "sample"
        }
        if not self._model_named:
            del options["model"]
        if self.examples is not None:
            options["examples"] = self.examples
        pipeline = Pipeline(
            data,
            self.prompt,
            observers=self.observers,
            stages=self.extra_stages,
            journal=self.journal,
            name=self.name,
            provider=self._given_provider,
            **(options | more),
        )
        pipeline.recorded = False
        return pipeline if self._session is None else pipeline.within(self._session)

    def _parse_schema(self) -> Schema | None:
        spec = self.options.schema
        if spec is None or (isinstance(spec, str) and not spec):
            return None
        return parse_schema(spec, column=self.options.column)

    def _provider(self) -> Provider:
        return provider_of(
            self.options,
            self._given_provider,
            named=self._model_named,
            journaled=self._in_journal,
        )

    def _own(self, provider: Provider) -> Provider:
        """One for a run of its own, which closes it; an object of the user's is always that one."""
        clone = capabilities(provider).clone
        return provider if self._given_provider or clone is None else clone()

    def _in_journal(self, provider: Provider) -> bool:
        """Whether the journal has an answer of `provider` to any of (the first) rows."""
        if self.options.fresh or not self.journal.folder.is_dir():
            return False
        settings = settings_of(self.options, provider, self.asked, self.template.head)
        hasher, keys = question_key(provider.identity, settings), list[bytes]()
        for prompt in self._some_prompts(Endpoint(provider, settings)):
            own = hasher.copy()
            own.update(prompt.key_bytes)
            keys += [own.digest(), own.digest() + PACK_MARK]

        async def found() -> bool:
            await self.journal.refresh()
            return bool(await self.journal.lookup(keys))

        return run_in_thread(found)

    def _some_prompts(self, alone: Endpoint) -> Iterator[Prompt]:
        """The prompts of (the first) rows; of groups, of their first leaves."""
        if self.groups is not None:
            yield from grouping_of(self.options, self.template, self.groups, alone).first_leaves(
                _LOOKED_UP
            )
            return
        rows = self.source.head(_LOOKED_UP) if self.streams else self.frame
        if len(rows) > _LOOKED_UP:
            rows = rows.take(rows.sample_positions(_LOOKED_UP))
        template = reading(self.template, alone.provider, self.options, self._fetched)
        split = None if self.options.split is None else splitting_of(self.options, template, alone)
        attached = attached_in(self.options, alone.provider, self._fetched)
        for cells in rows.iter_rows(template.columns):
            for values in cells:
                with contextlib.suppress(Exception):  # a cell's own __str__: its row will say so
                    if (prompt := self._prompt(template, values)) is not None:
                        yield Prompt(*attached, *prompt.parts)
                        if split is not None and (chunk := split.first_chunk(values, prompt)):
                            yield self._prompt(template, chunk) or prompt

    def _prompt(self, template: JinjaTemplate | Template, values: Sequence[Any]) -> Prompt | None:
        """A row's prompt, examples included."""
        prompt = template.render(values)
        if prompt is None or self.examples is None:
            return prompt
        return Prompt(*self.examples.before([values]), *prompt.parts)

    def _check_media(self) -> None:
        """Raises `ConfigurationError` for what doesn't go with pictures and documents."""
        for voter, _ in self.voters:
            check_media(voter, self.template, self.options)
        form, column = self.template.forms[0]
        if self.evidence and not self._text_columns:
            raise ConfigurationError(
                f"--evidence quotes the row's text, and the prompt has only {{{column}:{form}}}: "
                "leave --evidence out, or name a column of text too"
            )
        if self.groups is not None:
            raise ConfigurationError(
                f"--by writes a group's rows as text, and the prompt has {{{column}:{form}}}: "
                "leave --by out"
            )
        if self.examples is not None:
            raise ConfigurationError(
                f"--examples shows labelled rows as text, and the prompt has {{{column}:{form}}}: "
                "leave --examples out, or ask without pictures and documents"
            )
        if self.options.executor_name == "dask":
            raise ConfigurationError(
                f"--executor dask sends text, and the prompt has {{{column}:{form}}}, whose files "
                "are read on this machine: leave --executor out"
            )

    def _check_executor(self) -> None:
        executor = self.options.executor_name
        if self.streams and executor not in (None, "streaming", "dask"):
            raise ConfigurationError(
                f"{self.name} streams, and --executor is '{executor}': leave "
                "--executor out, or read it into a DataFrame first"
            )
        if executor == "dask":
            for voter, _ in self.voters:
                check_dask(voter)
        if self.options.to is not None:
            self._check_target(self.options.to)
        if self.options.report is not None:
            check_report(self.options.report)

    def _check_target(self, path: str) -> None:
        """Raises `ConfigurationError` where the results can't be written there."""
        kind = self.source.kind if not self._reshaped() else None
        sink = open_target(path, kind, self._produced())
        try:
            if not self._reshaped():
                sink.accepts((self.groups.heads if self.groups else self.source.look()).native)
        finally:
            sink.discard()

    def _reshaped(self) -> bool:
        """Whether stages of the user's own may make another frame of the rows."""
        return any(not isinstance(stage, RowStage) for stage in self.extra_stages)

    def _produced(self) -> list[NewColumn]:
        """What is known of the new columns."""
        plain = Column(self.options.column, "str", ())
        own: list[NewColumn] = [plain] if self.schema is None else list(self.schema.fields)
        if self.schema is not None and self.options.decided:
            own = list(decided_columns(self.schema))
        return [*own, *self._evidence_columns(), *produced(self.extra_stages)]

    def _check_budget(self) -> None:
        shared = self._session is not None and self._session.ceiling is not None
        unknown = [voter.model for voter, _ in self.voters if voter.price is None]
        if (self.options.budget is not None or shared) and unknown:
            name = "session_budget" if self.options.budget is None else "--budget"
            raise ConfigurationError(
                f"the price of model '{unknown[0]}' is not known, so a budget can't be "
                f"kept. Give --price-in and --price-out (USD per million tokens), or no {name}"
            )


_STAGES = (
    "stages",
    "a stage",
    "an object of a class on `ondine_nb.stages.PipelineStage`, with process(input_data, context)",
)
_OBSERVERS = (
    "observers",
    "an observer",
    "an object with methods of `ondine_nb.orchestration.ExecutionObserver`, as LoggingObserver()",
)


def _is_stage(given: Any) -> bool:
    return isinstance(getattr(given, "name", None), str) and hasattr(given, "process")


def _is_observer(given: Any) -> bool:
    told = [name for name in dir(ExecutionObserver) if name.startswith("on_")]
    return not isinstance(given, type) and any(hasattr(given, name) for name in told)


def _each(given: Any, fits: Callable[[Any], bool], words: tuple[str, str, str]) -> tuple[Any, ...]:
    """What is given of them. Raises `ConfigurationError` for no list, and for what doesn't fit."""
    name, one, what = words
    if not isinstance(given, list | tuple):
        raise ConfigurationError(f"{name} is {type(given).__name__}: give a list of them")
    for each in given:
        if not fits(each):
            raise ConfigurationError(
                f"{name} has {one_line(repr(each), 60)}, which isn't {one}: give {what}"
            )
    return tuple(given)


def _checked_journal(given: Any) -> Journal | Path | str | None:
    """Raises `ConfigurationError` for what is neither a journal nor the path of its folder."""
    if not (given is None or isinstance(given, Journal)):
        path_of(given, "journal")
    return given  # type: ignore[no-any-return]
