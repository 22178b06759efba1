"""The options of a run, each declared once: cell, `%config`, `Pipeline`, Tab, docs and workbench.

A new option is one field of `Options` (or an entry of `_OF_THE_CELL`), and what it can't go with
an entry of `CONFLICTS`.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from decimal import Decimal
from functools import cache
from typing import Any, TypeVar

from ..errors import ConfigurationError, nearest
from .option_kinds import EVERYWHERE, Kind, Option, Surface, option

__all__ = [
    "COMBINED",
    "CONFLICTS",
    "DEFAULT_MODEL",
    "OPTIONS",
    "Conflict",
    "Options",
    "conflict",
    "takes_options",
]

DEFAULT_MODEL = "claude-haiku-5-5"
_MODELS = (DEFAULT_MODEL, "claude-sonnet-5-5", "claude-opus-5-5", "claude-fable-5-2")
_MOST_AT_ONCE = 256
_MAX_TOKENS = 1024
_BATCH_CHUNK = 25_000
_MOST_PACKED = 20 * _MOST_AT_ONCE
_THINKING_MAX_TOKENS = 8192
_ALWAYS_THINK = ("claude-opus-5-5", "claude-fable", "claude-mythos")
_WHOLE_RUN = EVERYWHERE - {Surface.WORKBENCH}
_CELL = frozenset({Surface.CELL, Surface.CONFIG})
# Groups, as `--help` has them.
_ASKED, _ROWS, _COST = "what is asked", "rows in and out", "what it costs"
_SENT, _JOB, _SHOWN = "how it is sent", "how it may end", "the cell"


@dataclass(frozen=True, kw_only=True)
class Options:
    """The options of a run; money in USD, `timeout` in seconds for one attempt, `chunk_size` in
    rows, `to` a path ending in .csv, .parquet, .jsonl or / (a folder of Parquet files). `executor`
    None chooses by the data; it may be a `DaskExecutor`, too, for its cluster.

    Raises `ConfigurationError` for a value that can't be meant, and for options that can't go
    together.
    """

    model: str = option(
        DEFAULT_MODEL,
        "the model that answers: NAME, PROVIDER:NAME or $provider",
        Kind.NAME,
        short="-m",
        suggested=_MODELS,
        decides=True,
        group=_ASKED,
    )
    schema: Any = option(
        None,
        "typed answers: 'name: type, …', a pydantic model, or $a_json_schema",
        Kind.OBJECT,
        decides=True,
        group=_ASKED,
    )
    column: str = option(
        "response", "new column of plain answers", Kind.NAME, metavar="NAME", group=_ASKED
    )
    overwrite: bool = option(
        False, "replace columns that are there already", Kind.SWITCH, group=_ASKED
    )
    system: str | None = option(
        None,
        "system prompt, the same for all rows",
        metavar="TEXT",
        decides=True,
        group=_ASKED,
    )
    params: Mapping[str, Any] = option(
        {},
        "fills {NAME}; repeatable",
        Kind.PAIRS,
        short="-p",
        flag="--param",
        metavar="NAME=VALUE",
        group=_ASKED,
    )
    max_tokens: int | None = option(
        None,
        "most tokens of an answer",
        Kind.WHOLE,
        metavar="N",
        shown=str(_MAX_TOKENS),
        unit="tokens",
        group=_ASKED,
    )
    effort: str | None = option(
        None,
        "how hard the model tries",
        Kind.CHOICE,
        choices=("low", "medium", "high", "xhigh", "max"),
        decides=True,
        group=_ASKED,
    )
    thinking: str = option(
        "off",
        "thinking is billed as output",
        Kind.CHOICE,
        choices=("off", "auto"),
        decides=True,
        group=_ASKED,
    )
    jinja: bool = option(
        False,
        "the prompt is a Jinja2 template: {{ column }}, conditions, filters",
        Kind.SWITCH,
        group=_ASKED,
    )
    examples: Any = option(
        None,
        "labelled rows to show: a frame, or the name of a label set",
        Kind.OBJECT,
        metavar="NAME",
        decides=True,
        group=_ASKED,
    )
    shots: int | None = option(
        None,
        "examples before a prompt",
        Kind.WHOLE,
        metavar="N",
        shown="8",
        unit="examples",
        most=100,
        hint="More cost more than they help",
        decides=True,
        group=_ASKED,
    )
    examples_by: str | None = option(
        None,
        "the same before all prompts, or those most like the row",
        Kind.CHOICE,
        choices=("stratified", "nearest"),
        shown="stratified",
        decides=True,
        group=_ASKED,
    )
    attach: Any = option(
        None,
        "a file that stands before every prompt: a path, or $a_list of them",
        Kind.OBJECT,
        metavar="PATH",
        decides=True,
        group=_ASKED,
    )
    image_px: int | None = option(
        None,
        "longer side that larger pictures are scaled down to, instead of the model's best",
        Kind.WHOLE,
        metavar="N",
        unit="pixels",
        least=28,
        most=8_000,
        hint="No model takes larger ones",
        decides=True,
        group=_ASKED,
    )
    fetch: bool = option(
        False,
        "fetch pictures and PDFs at URLs here; otherwise the provider does",
        Kind.SWITCH,
        decides=True,
        group=_ASKED,
    )
    evidence: Any = option(
        None,
        "quotes of the row's text for these fields: where their values stand",
        Kind.OBJECT,
        metavar="all|FIELD,FIELD",
        suggested=("all",),
        decides=True,
        group=_ASKED,
    )
    require_evidence: bool = option(
        False,
        "ask twice more where a quote isn't in the text; then the row fails",
        Kind.SWITCH,
        group=_ASKED,
    )
    votes: int = option(
        1,
        "ask each row N times: the majority decides each field, the median a number",
        Kind.WHOLE,
        metavar="N",
        most=25,
        unit="votes",
        hint="More agree with what they have agreed on by then",
        group=_ASKED,
    )
    models: Any = option(
        None,
        "ask each row of all these models, and decide as by --votes",
        Kind.NAMES,
        metavar="A,B",
        least=2,
        group=_ASKED,
    )
    budget: Decimal | None = option(
        None,
        "a ceiling that is never passed",
        Kind.USD,
        metavar="USD",
        shown="none",
        unit="USD",
        group=_COST,
    )
    batch: bool = option(
        False,
        "asks in batches: half the price, answers within 24 hours",
        Kind.SWITCH,
        surfaces=_WHOLE_RUN,
        group=_COST,
    )
    pack: int = option(
        1,
        "N short rows in one request",
        Kind.WHOLE,
        metavar="N",
        most=100,
        unit="rows",
        hint="From 20 on there is little left to save",
        group=_COST,
    )
    cache: str = option(
        "auto",
        "pay less for equal beginnings",
        Kind.CHOICE,
        choices=("auto", "off"),
        group=_COST,
    )
    fresh: bool = option(False, "ask anew, whatever the journal has", Kind.SWITCH, group=_COST)
    price_in: Decimal | None = option(
        None, "USD per million input tokens", Kind.USD, metavar="USD", group=_COST
    )
    price_out: Decimal | None = option(
        None, "USD per million output tokens", Kind.USD, metavar="USD", group=_COST
    )
    concurrency: int | str = option(
        "auto",
        "requests in flight",
        Kind.WHOLE,
        choices=("auto",),
        metavar="N|auto",
        unit="requests",
        group=_SENT,
    )
    timeout: float = option(
        120.0,
        "seconds for one attempt",
        Kind.SECONDS,
        metavar="S",
        unit="seconds",
        group=_SENT,
    )
    on_error: str = option(
        "keep",
        "stop at the first failed row",
        Kind.CHOICE,
        choices=("keep", "stop"),
        group=_JOB,
    )
    base_url: str | None = option(
        None,
        "a server that speaks the Messages API",
        Kind.URL,
        metavar="URL",
        decides=True,
        group=_SENT,
    )
    fail_above: str | None = option(
        None,
        "raise at the end where more than this share of the rows failed",
        Kind.SHARE,
        metavar="N%",
        surfaces=_WHOLE_RUN,
        group=_JOB,
    )
    require: str | None = option(
        None,
        "raise at the end where a row has no answer",
        Kind.CHOICE,
        choices=("complete",),
        surfaces=_WHOLE_RUN,
        group=_JOB,
    )
    report: str | None = option(
        None,
        "write what the run came to as JSON, however it ends",
        Kind.PATH,
        metavar="PATH",
        surfaces=_WHOLE_RUN,
        group=_JOB,
    )
    executor: Any = option(
        None,
        "how the rows are run",
        Kind.CHOICE,
        choices=("async", "sync", "streaming", "dask"),
        objects=("dask",),
        surfaces=_WHOLE_RUN,
        group=_SENT,
    )
    by: tuple[str, ...] | None = option(
        None,
        "one answer for each group of rows with equal values there; bare: one for all rows",
        Kind.COLUMNS,
        metavar="COLUMN[,COLUMN]",
        surfaces=_WHOLE_RUN,
        decides=True,
        group=_ROWS,
    )
    group_tokens: int | None = option(
        None,
        "a group with more tokens, about, is asked in parts; else one that doesn't fit the model",
        Kind.WHOLE,
        metavar="N",
        unit="tokens",
        surfaces=_WHOLE_RUN,
        decides=True,
        group=_ROWS,
    )
    split: int | str | None = option(
        None,
        "ask rows that don't fit the model, or have texts of more than N tokens, in chunks",
        Kind.WHOLE,
        choices=("auto",),
        metavar="auto|N",
        unit="tokens",
        least=32,
        decides=True,
        group=_ROWS,
    )
    sample: int | None = option(
        None,
        "only N rows, always the same ones",
        Kind.WHOLE,
        metavar="N",
        unit="rows",
        group=_ROWS,
    )
    dtypes: Any = option(
        None,
        "how columns of a CSV or JSONL path are read: 'zip: str, n: int'",
        Kind.OBJECT,
        metavar="SPEC",
        surfaces=_WHOLE_RUN,
        group=_ROWS,
    )
    pages: bool = option(
        False,
        "a row for each page of the PDFs that -i 'folder/*.pdf' names",
        Kind.SWITCH,
        surfaces=_WHOLE_RUN,
        group=_ROWS,
    )
    to: str | None = option(
        None,
        "write as it goes: .csv, .parquet, .jsonl, folder/",
        Kind.PATH,
        metavar="PATH",
        surfaces=_WHOLE_RUN,
        group=_ROWS,
    )
    chunk_size: int = option(
        1000,
        "rows of a chunk that is streamed",
        Kind.WHOLE,
        metavar="N",
        unit="rows",
        surfaces=_WHOLE_RUN,
        group=_ROWS,
    )
    no_thumbs: bool = option(
        False, "save no thumbnails of pictures in the notebook", Kind.SWITCH, group=_SHOWN
    )

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> Options:
        """The options given by name; None leaves an option at its default.

        Raises `ConfigurationError` for a name or a value that can't be.
        """
        known = {option.name for option in fields(cls)}
        for name in given:
            if name not in known:
                near = nearest(name, known)
                hint = f" Did you mean '{near}'?" if near else ""
                raise ConfigurationError(f"there is no option '{name}'.{hint}")
        return cls(**{name: value for name, value in given.items() if value is not None})

    def __post_init__(self) -> None:
        for name in vars(self).copy():
            object.__setattr__(self, name, OPTIONS[name].checked(getattr(self, name)))
        for conflict in CONFLICTS:
            conflict.check(self)
        for needy, needed in NEEDS.items():
            if self.given(needy) and not self.given(needed):
                one, other = OPTIONS[needy], OPTIONS[needed]
                held = getattr(self, needy)
                value = ",".join(held) if isinstance(held, tuple) else held
                what = one.long if held is True else f"{one.long} is {value}"
                is_no = "are no" if needed.endswith("s") else "is no"
                raise ConfigurationError(
                    f"{what}, and there {is_no} {needed}: give {other.usage}, or leave {one.long} "
                    "out"
                )
        if self.models is not None:
            if self.given("model") and self.model != self.models[0]:
                raise ConfigurationError(
                    f"--model is {self.model} and --models is {','.join(self.models)}: leave "
                    "--model out, for --models names all that are asked"
                )
            object.__setattr__(self, "model", self.models[0])

    def given(self, name: str) -> bool:
        """Whether the option is more than its default."""
        return OPTIONS[name].given(getattr(self, name))

    def width(self, most: int | None = None) -> int:
        """Rows at once, at most; `most` is how many the provider says that it takes."""
        if self.concurrency == "auto":
            return most or _MOST_AT_ONCE
        return int(self.concurrency)

    def rows_at_once(self, width: int) -> int:
        """Rows on their way, for `width` requests at once: many more in packs.

        Where the number is found by itself, at most 5,120 of them are held in memory.
        """
        if self.concurrency == "auto":
            return max(width, min(width * self.pack, _MOST_PACKED))
        return width * self.pack

    @property
    def decided(self) -> bool:
        """Whether a row has several answers, of which its fields are decided."""
        return self.votes > 1 or self.models is not None

    @property
    def executor_name(self) -> str | None:
        """What the executor is called, also where it was given as an object."""
        given = self.executor
        return given if given is None or isinstance(given, str) else "dask"

    @property
    def rows_a_chunk(self) -> int:
        """Rows of a chunk that is streamed; many for batches, which wait for one another."""
        return max(self.chunk_size, _BATCH_CHUNK) if self.batch else self.chunk_size

    def answer_tokens(self, usual: int | None = None, model: str | None = None) -> int:
        """`max_tokens`, or its default: larger where the model can't be told not to think.

        `usual` is the provider's own default, `model` what it calls the model.
        """
        if self.max_tokens is not None:
            return self.max_tokens
        if usual is not None:
            return usual
        thinks = self.thinking == "auto" or any(
            name in (model or self.model) for name in _ALWAYS_THINK
        )
        return _THINKING_MAX_TOKENS if thinks else _MAX_TOKENS


# What a cell or a session takes beside the options of a run.
_OF_THE_CELL = (
    Option(
        name="out",
        help="name of the result",
        flag="",
        metavar="OUT",
        shown="_ondine",
        surfaces=frozenset({Surface.CELL}),
    ),
    Option(
        name="help",
        help="show this text",
        kind=Kind.SWITCH,
        short="-h",
        surfaces=frozenset({Surface.CELL}),
    ),
    Option(
        name="input",
        help="a DataFrame: a variable or a Python expression",
        short="-i",
        metavar="FRAME",
        surfaces=_CELL,
    ),
    Option(
        name="dry_run",
        help="estimate and show the first prompts; nothing is sent",
        kind=Kind.SWITCH,
        group=_SHOWN,
        surfaces=_CELL,
    ),
    Option(
        name="background",
        help="return at once; OUT is bound when the run is done",
        kind=Kind.SWITCH,
        group=_SHOWN,
        surfaces=_CELL,
    ),
    Option(name="quiet", help="no live view", kind=Kind.SWITCH, group=_SHOWN, surfaces=_CELL),
    Option(
        name="session_budget",
        help="a ceiling in USD, for all runs of the session",
        kind=Kind.USD,
        flag="",
        unit="USD",
        surfaces=frozenset({Surface.CONFIG}),
    ),
)
_OF_A_RUN = tuple(replace(each.metadata["option"], name=each.name) for each in fields(Options))

OPTIONS: dict[str, Option] = {
    each.name: each
    for group in ("", _ASKED, _ROWS, _COST, _SENT, _JOB, _SHOWN)
    for each in (*_OF_THE_CELL, *_OF_A_RUN)
    if each.group == group
}


@dataclass(frozen=True, slots=True)
class Conflict:
    """Two options that can't go together, each as on the line: `--batch`, `--executor dask`."""

    one: str
    other: str
    why: str
    remedy: str = "leave one of them out"

    @property
    def sides(self) -> tuple[tuple[str, str], tuple[str, str]]:
        """The name of each option, and the value that it is about ("" for any)."""
        return _side(self.one), _side(self.other)

    def check(self, options: Options) -> None:
        """Raises `ConfigurationError` where `options` has both."""
        if all(_has(options, name, value) for name, value in self.sides):
            raise ConfigurationError(
                f"{self.one} and {self.other} can't go together: {self.remedy}. {self.why}"
            )


@cache
def _side(text: str) -> tuple[str, str]:
    flag, _, value = text.partition(" ")
    return next(name for name, each in OPTIONS.items() if flag in each.flags), value


def _has(options: Options, name: str, value: str) -> bool:
    held = options.executor_name if name == "executor" else getattr(options, name)
    return OPTIONS[name].given(held) and value in ("", held)


# What says something of another option only.
NEEDS: dict[str, str] = {
    "shots": "examples",
    "examples_by": "examples",
    "evidence": "schema",
    "require_evidence": "evidence",
    "votes": "schema",
    "models": "schema",
    "group_tokens": "by",
}

CONFLICTS: tuple[Conflict, ...] = (
    Conflict(
        "--pack",
        "--batch",
        "--batch halves the price of every token, --pack sends what all rows have in common fewer "
        "times",
    ),
    Conflict(
        "--pack",
        "--examples-by nearest",
        "The rows of a pack share what stands before them, and each has other nearest examples",
        remedy="leave one of them out, or take --examples-by stratified",
    ),
    Conflict(
        "--by",
        "--pack",
        "A group is many rows in one request already",
    ),
    Conflict(
        "--by",
        "--evidence",
        "A quote is looked for in a row's own text: have the answer name its rows, by list[row]",
    ),
    *(
        Conflict(
            "--by",
            shown,
            "An example shows one row and its answer, and here a prompt has all rows of a group",
        )
        for shown in ("--examples-by nearest", "--examples")
    ),
    Conflict(
        "--pack",
        "--attach",
        "A pack is one text that asks of many rows, and each of them is asked with the file",
    ),
    Conflict(
        "--by",
        "--attach",
        "A group may be asked in parts that are merged, and the file would go with each of them",
    ),
    Conflict(
        "--attach",
        "--executor dask",
        "Dask's workers are sent texts, and the file is read on this machine",
    ),
    Conflict(
        "--pack",
        "--evidence",
        "The rows of a pack share a request, and a quote may come from another row's text",
    ),
    *(
        Conflict(
            "--evidence",
            shown,
            "Examples are labels without quotes, and would show the model answers that have none",
        )
        for shown in ("--examples-by nearest", "--examples")
    ),
    *(
        Conflict(
            several,
            "--by",
            "A group's tree is asked node by node, and each vote would be another tree",
        )
        for several in ("--votes", "--models")
    ),
    *(
        Conflict(
            several,
            "--evidence",
            "Votes that agree on a value may quote different places, and a median has none",
        )
        for several in ("--votes", "--models")
    ),
    *(
        Conflict(
            several,
            "--split",
            "A long row is asked by a tree of questions, and each vote would be another tree",
        )
        for several in ("--votes", "--models")
    ),
    Conflict(
        "--by",
        "--split",
        "A group that is too long for one request is asked in parts already",
    ),
    Conflict(
        "--batch",
        "--split",
        "A batch takes up to a day, and what merges the answers of chunks comes after them",
    ),
    Conflict(
        "--pack",
        "--split",
        "A pack is many short rows in one request, and --split is many requests for a long one",
    ),
    Conflict(
        "--attach",
        "--split",
        "The file would go with each chunk of a long text, and be paid with each",
    ),
    Conflict(
        "--batch",
        "--executor dask",
        "A batch is a few large requests, which go from here",
    ),
    *(
        Conflict(
            "--to",
            f"--executor {name}",
            "--to writes as the rows stream",
            remedy="leave --executor out",
        )
        for name in ("async", "sync")
    ),
)

# What changes how rows become requests and results, as on the line: docs have a table of all pairs.
COMBINED: tuple[str, ...] = tuple(
    " ".join(filter(None, [OPTIONS[name].long, value]))
    for name in (
        "batch",
        "pack",
        "attach",
        "votes",
        "models",
        "by",
        "split",
        "evidence",
        "examples",
        "examples_by",
        "to",
        "executor",
    )
    for value in (OPTIONS[name].kind is Kind.CHOICE and OPTIONS[name].choices) or [""]
    if not value or value != OPTIONS[name].usual
)


def conflict(one: str, other: str) -> Conflict | None:
    """Why two of `COMBINED` can't go together; None where they can."""
    return next((each for each in CONFLICTS if {each.one, each.other} == {one, other}), None)


Made = TypeVar("Made", bound=type)


def takes_options(made: Made) -> Made:
    """Gives a class that takes `**options` their names and defaults in its signature, and a
    paragraph on each in its docstring: for `help()`, Shift-Tab and Tab."""
    of_a_run = [each for each in OPTIONS.values() if each.on(Surface.KEYWORD)]
    constructor: Any = made.__init__  # type: ignore[misc]
    taken = inspect.signature(constructor)
    own = [it for it in taken.parameters.values() if it.kind is not it.VAR_KEYWORD]
    keywords = [
        inspect.Parameter(each.name, inspect.Parameter.KEYWORD_ONLY, default=each.default)
        for each in of_a_run
    ]
    constructor.__signature__ = taken.replace(parameters=[*own, *keywords])
    lines = [f"    {each.name}: {each.help_line}" for each in of_a_run]
    made.__doc__ = "\n".join([inspect.cleandoc(made.__doc__ or ""), "", "Options:", *lines])
    return made
