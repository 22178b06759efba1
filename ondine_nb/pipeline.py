"""A frame, a prompt and options, checked before anything is sent, and made into stages."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

from .contracts import ExecutionContext, ExecutionObserver, PipelineStage, RowStage
from .errors import ConfigurationError
from .estimation import Estimator
from .frames import wrap
from .invocation import InvokeStage
from .journal import Journal, shared
from .limits import Budget, SessionBudget
from .models import CostEstimate, ExecutionResult
from .options import Options
from .orchestration import AsyncExecutor
from .orchestration.sync_executor import run_in_thread
from .prompts import Template
from .providers import Provider, Settings
from .providers.choice import LOCAL_CONCURRENCY, LOCAL_MAX_TOKENS, choose, is_local
from .rows import NewColumn
from .schemas import Schema, parse_schema
from .stages import LoadStage, ParseStage, PromptStage, RowSet

__all__ = ["Job", "Pipeline"]


@dataclass(frozen=True)
class Job:
    """One run of a pipeline, ready to be executed: what runs, over what, by whom."""

    id: str
    stages: list[PipelineStage]
    context: ExecutionContext
    executor: AsyncExecutor
    rowset: RowSet
    budget: Budget

    @property
    def columns(self) -> tuple[NewColumn, ...]:
        """The columns that the row stages add."""
        return _produced(self.stages)


def _produced(stages: Sequence[PipelineStage]) -> tuple[NewColumn, ...]:
    rows = [stage for stage in stages if isinstance(stage, RowStage)]
    return tuple(column for stage in rows for column in stage.produces)


class Pipeline:
    """A prompt over the rows of a pandas or polars DataFrame.

    `data` is the frame, `prompt` a template such as ``"Is this good? {text}"``. The options are
    those of `%%ondine`, with underscores: `model schema column overwrite budget concurrency
    max_tokens effort thinking system params sample fresh timeout on_error base_url price_in
    price_out`. `observers` are told of each run, `stages` run behind the answer's parsing,
    `journal` is a folder or a `Journal` (default: `.ondine/`), `name` stands for the frame in
    messages. Raises `ConfigurationError` (a `ValueError`) for whatever can't be run; nothing is
    sent by then.
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
        **options: Any,
    ) -> None:
        self.options = Options.of(options)
        self.prompt = prompt
        self.observers = tuple(observers)
        self.extra_stages = tuple(stages)
        self.name = name
        self._journal = journal
        self._session: SessionBudget | None = None
        frame = wrap(data, name)
        self.template = Template.compile(prompt, frame.columns, self.options.params, name)
        self.schema = self._parse_schema()
        added = [column.name for column in _produced(self.extra_stages)]
        frame.check_new([*self.new_columns, *added], self.options.overwrite)
        sample = self.options.sample
        self.frame = frame if sample is None else frame.take(frame.sample_positions(sample))
        self.provider = self._provider()
        self.settings = self._settings(self.provider)
        self._check_budget()

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
        return tuple(known.name for known in self.schema.fields)

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
        return await Estimator(self.job()).estimate()

    def preview(self, n: int = 5) -> Any:
        """A frame of `n` sampled rows with their answers, which a full run then has for nothing."""
        frame = self.frame.take(self.frame.sample_positions(n))
        return self._over(frame.native).execute().data

    def start(self) -> Any:
        """Start on the running loop; gives the `Run` at once."""
        return self._run().start()

    async def execute_async(self) -> ExecutionResult:
        """Run on the running loop. Raises the error that ended the run."""
        run = self.start()
        try:
            result: ExecutionResult = await run
        except asyncio.CancelledError:
            run.stop()  # who waits has gone: nothing more is sent
            raise
        return result

    def execute(self) -> ExecutionResult:
        """Run to the end, in a thread with a loop of its own. Raises the error that ended it."""
        result: ExecutionResult = self._run().execute()
        return result

    def job(self, rowset: RowSet | None = None, fresh: bool | None = None) -> Job:
        """A run of this pipeline, over all of its rows or over those that `rowset` names."""
        options, run_id = self.options, uuid4().hex[:12]
        provider = self._provider()
        budget = Budget(options.budget, session=self._session)
        local = is_local(provider)
        width = options.width(LOCAL_CONCURRENCY if local else None)
        rowset = rowset or RowSet(self.frame)
        invoke = InvokeStage(
            provider,
            self.settings,
            journal=self.journal,
            budget=budget,
            run_id=run_id,
            concurrency=width,
            grows=options.concurrency == "auto" and not local,
            fresh=options.fresh if fresh is None else fresh,
            accepted=rowset.rerun is not None and rowset.any_answered(),
        )
        stages: list[PipelineStage] = [
            LoadStage(rowset),
            PromptStage(self.template),
            invoke,
            ParseStage(self.schema, invoke, column=options.column),
            *self.extra_stages,
        ]
        most = budget.ceiling
        if most is None and self._session is not None:
            most = self._session.left
        context = ExecutionContext(observers=list(self.observers), max_budget=most)
        executor = AsyncExecutor(width, on_error=options.on_error)
        return Job(run_id, stages, context, executor, rowset, budget)

    def _run(self) -> Any:
        # `run.py` stands to the right of this module and builds on it; the package's own lazy
        # front door knows both.
        return sys.modules[__package__ or "ondine_nb"].Run(self)

    def _over(self, data: Any) -> Pipeline:
        """The same pipeline over other rows of the same frame."""
        options = {**vars(self.options), "sample": None}
        pipeline = Pipeline(
            data,
            self.prompt,
            observers=self.observers,
            stages=self.extra_stages,
            journal=self.journal,
            name=self.name,
            **options,
        )
        return pipeline if self._session is None else pipeline.within(self._session)

    def _parse_schema(self) -> Schema | None:
        spec = self.options.schema
        if spec is None or spec == "":
            return None
        return parse_schema(spec, column=self.options.column)

    def _provider(self) -> Provider:
        options = self.options
        return choose(
            options.model,
            base_url=options.base_url,
            price_in=options.price_in,
            price_out=options.price_out,
        )

    def _settings(self, provider: Provider) -> Settings:
        options = self.options
        return Settings(
            model=provider.model,
            max_tokens=options.answer_tokens(LOCAL_MAX_TOKENS if is_local(provider) else None),
            system=options.system or None,
            schema=None if self.schema is None else self.schema.json_schema,
            effort=options.effort,
            thinking=options.thinking,
            timeout=options.timeout,
        )

    def _check_budget(self) -> None:
        shared = self._session is not None and self._session.ceiling is not None
        if (self.options.budget is not None or shared) and self.provider.price is None:
            name = "session_budget" if self.options.budget is None else "--budget"
            raise ConfigurationError(
                f"the price of model '{self.provider.model}' is not known, so a budget can't be "
                f"kept. Give --price-in and --price-out (USD per million tokens), or no {name}"
            )
