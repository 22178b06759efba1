"""State of the prompt workbench: texts and settings in, checks, drafts and code out."""

from __future__ import annotations

import keyword
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

from ...data import Frame, kind_of, wrap
from ...errors import ConfigurationError, OndineError, nearest
from ...evaluation import LabelSet, Try
from ...journal import Journal, home
from ...pipeline import DEFAULT_MODEL, OPTIONS, Options, Pipeline, Surface
from ...prompts import Field, JinjaTemplate, Template, as_text, parse_schema
from ...providers import without_login
from ...text import usd
from ..ui import clean, money
from .as_code import Code, as_code
from .trials import Draft, Trial
from .truths import Truths

__all__ = [
    "LARGEST_SAMPLE",
    "TYPED",
    "Placeholder",
    "Workbench",
    "asked",
    "free_names",
    "marks",
    "unknown_line",
]

LARGEST_SAMPLE, USUAL_SAMPLE = 200, 20  # rows
_SHOWN = 8  # column names in a message
TYPED = (
    "system", "model", "effort", "budget", "max_tokens", "concurrency", "examples", "shots",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Placeholder:
    """`{name}` at `start` to `end` of a prompt; `kind` is one of `column control unknown`."""

    start: int
    end: int
    name: str
    kind: str


class Workbench:
    """What is on the bench: a frame, a prompt, values for the names in it, options, a sample.

    `given` are the values of the controls by name, `options` are named as Pipeline's, `session`
    the options that `%config` sets for every cell. `a` is the trial that others are held against,
    `b` the one that is compared with it.
    """

    def __init__(
        self,
        data: Any,
        prompt: str = "",
        *,
        name: str = "data",
        given: Mapping[str, Any] | None = None,
        options: Mapping[str, Any] | None = None,
        session: Mapping[str, Any] | None = None,
        journal: Journal | Path | str | None = None,
        labels: str | None = None,
    ) -> None:
        self.data = data
        self.name: str = name
        self.journal: Journal | Path | str | None = journal
        self.prompt: str = prompt
        self.given: dict[str, Any] = dict(given or {})
        self.texts: dict[str, str] = {}
        self.made: list[str] = []
        self.session: dict[str, Any] = _set(session)
        self.options: dict[str, Any] = _set(options)
        if kind_of(self.options.get("examples")) is not None:  # which can't be compared with ""
            self.options["examples"] = wrap(self.options["examples"], "examples")
        self._examples = self.options.get("examples")
        self._take_params()
        self.out = "labeled"
        self.frame: Frame = wrap(data, name)
        self.labels: str | None = self._labels(labels)
        wanted = self.options.pop("sample", None)
        self.sample: int = self._sample(wanted if wanted is not None else USUAL_SAMPLE)
        self._check_controls()
        self.several: str = ""
        self.a: Trial | None = None
        self.b: Trial | None = None
        self._truths: tuple[Any, Truths] | None = None
        self._classes: dict[str, Any] = {}
        self.set("schema", self.options.get("schema"))

    def _take_params(self) -> None:
        """Params that were given as an option are controls, as texts."""
        params = self.options.pop("params", {})
        if not isinstance(params, Mapping):
            raise ConfigurationError("params has to be names with values (a dict)")
        self.texts |= {name: as_text(value) for name, value in params.items()}
        self.made = [*params]

    def _labels(self, column: str | None) -> str | None:
        if column is not None:
            self.frame.iter_rows([column])  # raises, at the call, for one that isn't there
        return column

    def _sample(self, wanted: Any) -> int:
        rows = Options.of({"sample": wanted}).sample or USUAL_SAMPLE
        return max(1, min(rows, LARGEST_SAMPLE, len(self.frame)))

    def _check_controls(self) -> None:
        for name in [*self.given, *self.made]:
            if not name.isidentifier():
                raise ConfigurationError(f"control '{name}': name it like a variable, as in tone")
            if name in self.frame.columns:
                raise ConfigurationError(
                    f"control '{name}' has the name of a column of {self.name}, so {{{name}}} "
                    "could be either: name the control differently"
                )

    # -- names in the prompt

    @property
    def columns(self) -> tuple[str, ...]:
        """The frame's columns, by their names as text."""
        return self.frame.columns

    @property
    def known(self) -> list[str]:
        """The controls that were given, or made by hand."""
        return [*self.given, *(name for name in self.made if name not in self.given)]

    def marks(self) -> list[Placeholder]:
        """The names in the prompt; one that gets a control of its own is a control."""
        if self.options.get("jinja"):
            return []  # other braces, and their own errors
        free = self.free()
        return marks(self.prompt, self.columns, [*self.known, *free])

    def free(self) -> list[str]:
        """Names in the prompt that nobody gave and that look like nobody's slip."""
        if self.options.get("jinja"):
            return []
        found = marks(self.prompt, self.columns, self.known)
        return free_names(found, self.columns, self.known)

    def unknown(self) -> list[str]:
        """Names in the prompt that stand for nothing, each once."""
        return list(dict.fromkeys(mark.name for mark in self.marks() if mark.kind == "unknown"))

    def value(self, name: str) -> str:
        """What stands for a control's name in a prompt."""
        return as_text(self.given[name]) if name in self.given else self.texts.get(name, "")

    def unused(self) -> list[str]:
        """Controls that the prompt doesn't name."""
        used = {mark.name for mark in self.marks()}
        return [name for name in self.known if name not in used]

    # -- what can't be run, and why

    def problems(self) -> list[str]:
        """What keeps the draft from being tried, one line each, the prompt's first; [] if nothing.

        Reads prompt and schema only: whether the rest fits is known once `pipeline` is made.
        """
        found = [unknown_line(name, self.columns, self.known) for name in self.unknown()]
        found += _told(lambda: Options.of(self._plain_options()))
        if not len(self.frame):
            found.append(f"{self.name} has no rows: there is nothing to try a prompt on.")
        if not self.prompt.strip():
            found.append("There is no prompt yet: write what to ask about a row, with {column}s.")
        elif not found:
            found += _told(self._template)
        return [clean(line, 400) for line in [*found, *self.schema_problem(), *self.out_problem()]]

    def _plain_options(self) -> dict[str, Any]:
        """The options that a line can have; what is wrong with the schema itself is told
        elsewhere."""
        given = {name: it for name, it in self.options.items() if name != "model"}
        return given if given.get("schema") else {**given, "schema": None}

    def schema_problem(self) -> list[str]:
        """Why the schema can't be read; [] if it can."""
        spec = self.options.get("schema")
        return _told(lambda: parse_schema(spec)) if spec else []

    def out_problem(self) -> list[str]:
        """What is wrong with the result's name, in at most one line."""
        if self.out.isidentifier() and not keyword.iskeyword(self.out):
            return []
        return [f"'{self.out}' can't be a variable: name the result like `labeled`."]

    def _template(self) -> Template | JinjaTemplate:
        kind = JinjaTemplate if self.options.get("jinja") else Template
        return kind.compile(self.prompt, self.columns, self._params(), self.name)

    def _params(self) -> dict[str, str]:
        names = dict.fromkeys(mark.name for mark in self.marks() if mark.kind == "control")
        if self.options.get("jinja"):
            names = dict.fromkeys(name for name in self.known if name in self.prompt)
        return {name: self.value(name) for name in names}

    # -- what is asked

    def draft(self) -> Draft:
        """What is on the bench now. Values go in as texts, as `-p name=value` gives them."""
        options = {name: it for name, it in self.options.items() if not self._usual(name, it)}
        if params := self._params():
            options["params"] = params
        return Draft(self.prompt.strip("\n"), options)

    def _usual(self, name: str, value: Any) -> bool:
        """Whether an option needn't be said: it is off, or what every cell has anyway."""
        if name in self.session:
            return False
        return value == "" or not OPTIONS[name].given(value)

    def set(self, option: str, value: Any) -> None:
        """Set an option; None (or an empty text) leaves it at its default."""
        if isinstance(value, type):
            self._classes[value.__name__] = value  # a try that was kept knows it by its name
        if _unset(value) or value == "":
            self.options.pop(option, None)
        else:
            self.options[option] = value

    def drafts(self) -> list[Draft]:
        """What one Preview tries: the draft, and the same by each of the other models named."""
        draft = self.draft()
        own = draft.options.get("model", DEFAULT_MODEL)
        names = dict.fromkeys(_model(name) for name in self.several.split(",") if name.strip())
        others = [Draft(draft.prompt, _but_model(draft, name)) for name in names if name != own]
        return [*others, draft]

    # -- the form

    def settings(self) -> list[tuple[str, str]]:
        """What is set, by name, as a view tells it."""
        options = dict(self.draft().options)
        params = options.pop("params", {})
        found = [(name, clean(value)) for name, value in params.items()]
        for name, value in options.items():
            shown = money(value) if isinstance(value, Decimal) else clean(value, 400)
            found.append((name.replace("_", " "), shown))
        found.append(("sample rows", f"{self.sample:,}"))
        if self.labels is not None:
            found.append(("labels", clean(self.labels, 60)))
        return [*found, ("result name", clean(self.out, 60))]

    def form(self) -> dict[str, Any]:
        """Everything that can be typed or chosen, as JSON has it, but for the given controls."""
        spec = self.options.get("schema")
        return {
            "prompt": self.prompt,
            "schema": spec if isinstance(spec, str) else "",
            **{name: self._typed(name) for name in TYPED},
            "several": self.several,
            "sample": self.sample,
            "labels": self.labels or "",
            "out": self.out,
            "texts": {name: self.value(name) for name in (*self.made, *self.free())},
            "made": list(self.made),
        }

    def _typed(self, name: str) -> str:
        value = self.options.get(name)
        if name == "model":
            return as_text(value or DEFAULT_MODEL)
        if isinstance(value, Frame):
            return value.name
        return "" if value is None or value == OPTIONS[name].default else as_text(value)

    def edit(self, name: str, value: Any) -> None:
        """Take one entry of the form. What can't be meant stays, and is one of the `problems`."""
        if name == "texts":
            self.texts |= {str(key): str(text) for key, text in dict(value).items()}
        elif name == "made":
            self.made = [str(each) for each in value if str(each) not in self.given]
        elif name == "sample":
            self.sample = max(1, min(int(value), LARGEST_SAMPLE, max(1, len(self.frame))))
        elif name == "labels":
            self.labels = str(value) if value in self.columns else None
        elif name in ("prompt", "out", "several"):
            setattr(self, name, str(value))
        elif name == "model":
            self.set("model", value)
        elif name == "budget":
            self.set("budget", _amount(str(value)))
        elif name == "examples":
            self.set("examples", value)
            self._examples = value or self._examples  # a try that was kept knows it by its name
            self.set("shots", self.options.get("shots") if value else None)
        elif name in ("schema", *TYPED):
            self.set(name, value)

    def draft_of(self, kept: Try) -> Draft:
        """What a try has asked, as a draft of this bench."""
        options = {name: it for name, it in kept.options.items() if it not in (None, "", {})}
        schema = kept.settings.get("schema")
        if isinstance(schema, Mapping) and schema.get("model") in self._classes:
            options["schema"] = self._classes[schema["model"]]
        if isinstance(self._examples, Frame) and options.get("examples") == self._examples.name:
            options["examples"] = self._examples
        url = self.options.get("base_url")
        if url is not None and without_login(str(url)) == options.get("base_url"):
            options["base_url"] = url  # with its login, which no record has
        for name in ("budget", "price_in", "price_out"):
            if name in options:
                options[name] = _amount(str(options[name]))
        return Draft(kept.prompt, options)

    def restore(self, kept: Try) -> dict[str, str]:
        """Take over all that a try has asked; gives the values of controls that were given."""
        draft = self.draft_of(kept)
        options = dict(draft.options)
        params = {name: as_text(it) for name, it in options.pop("params", {}).items()}
        self.prompt, self.options, self.several = draft.prompt, options, ""
        self.sample = max(1, min(len(kept.sample), LARGEST_SAMPLE))
        own = {name: text for name, text in params.items() if name not in self.given}
        self.texts |= own
        free = self.free()
        self.made = [name for name in own if name not in free]
        return {name: text for name, text in params.items() if name in self.given}

    def positions(self) -> list[int]:
        """The rows of the sample, those with a label first; else the same ones for a number."""
        return self.truths().sample(self.sample)

    @property
    def folder(self) -> Path:
        """The journal's folder, with the labels."""
        if isinstance(self.journal, Journal):
            return self.journal.folder
        return home() if self.journal is None else Path(self.journal).absolute()

    def fields(self) -> list[Field]:
        """The new columns that the draft makes, as far as its schema can be read."""
        spec, column = self.options.get("schema"), str(self.options.get("column") or "response")
        if not spec:
            return [Field(column, "str")]
        try:
            return list(parse_schema(spec, column=column).fields)
        except OndineError:
            return []

    def truths(self) -> Truths:
        """The labels at hand. Those that keys give are named as the result, as a review's are."""
        on = tuple(dict.fromkeys(mark.name for mark in self.marks() if mark.kind == "column"))
        if self.options.get("jinja"):
            on = tuple(name for name in self.columns if name in self.prompt)
        fields = self.fields()
        known = (self.frame, self.out, on, tuple(fields), self.labels)
        if self._truths is None or self._truths[0] != known:
            labels = LabelSet(self.out or "labeled", self.folder)
            self._truths = known, Truths(self.frame, labels, on, fields, self.labels)
        return self._truths[1]

    def refresh(self) -> None:
        """See the frame as it is now: it may have changed since."""
        self.frame = wrap(self.data, self.name)

    def pipeline(self, draft: Draft, positions: Sequence[int] | None = None) -> Pipeline:
        """The draft over the whole frame, or over the rows at `positions`.

        Raises `ConfigurationError` for what can't be run.
        """
        frame: Frame = self.frame
        options = dict(draft.options)
        if positions is not None:
            frame = frame.take(positions)
            options = {
                name: it for name, it in options.items() if OPTIONS[name].on(Surface.WORKBENCH)
            }
        return Pipeline(frame.native, draft.prompt, journal=self.journal, name=self.name, **options)

    def code(self, source: str, namespace: Mapping[str, Any]) -> Code:
        """The cell that does what is on the bench; `source` is the frame's name or expression."""
        draft = self.draft()
        options = dict(draft.options)
        for name in self.session:
            if OPTIONS[name].can_be_emptied and name not in options:
                options[name] = ""
        return as_code(self.out, source, draft.prompt, options, namespace)


def _set(options: Mapping[str, Any] | None) -> dict[str, Any]:
    return {name: it for name, it in (options or {}).items() if not _unset(it)}


def _amount(text: str) -> Any:
    """What was typed as USD, as an amount where it is one."""
    try:
        return usd(text.strip(), "--budget") if text.strip() else None
    except ConfigurationError:
        return text


def _model(name: str) -> str:
    """A model by its name, or by a part of it that only one of those known has: `sonnet`."""
    name = name.strip()
    known = [it for it in OPTIONS["model"].values if name in it]
    return known[0] if len(known) == 1 else name


def _but_model(draft: Draft, name: str) -> dict[str, Any]:
    options = {option: it for option, it in draft.options.items() if option != "model"}
    return options if name == DEFAULT_MODEL else {**options, "model": name}


def _unset(value: Any) -> bool:
    return value is None or value is False


def _told(work: Any) -> list[str]:
    """The message of an error that `work` raises."""
    try:
        work()
    except OndineError as error:
        return [str(error)]
    return []


# --- names in a prompt


def marks(text: str, columns: Sequence[str], controls: Iterable[str]) -> list[Placeholder]:
    """The names in `text`, as `prompts.Template` reads them, unknown ones among them."""
    kinds = dict.fromkeys(controls, "control") | dict.fromkeys(columns, "column")
    found = Template.scan(text, kinds)
    return [Placeholder(*each, kinds.get(each[2], "unknown")) for each in found]


def free_names(
    found: Iterable[Placeholder], columns: Sequence[str], controls: Iterable[str]
) -> list[str]:
    """The unknown names that get a control of their own.

    A name that looks like a slip of a column's or a control's name gets none: it is marked.
    """
    known = [*columns, *controls]
    unknown = dict.fromkeys(mark.name for mark in found if mark.kind == "unknown")
    return [name for name in unknown if nearest(name, known) is None]


def unknown_line(name: str, columns: Sequence[str], controls: Iterable[str]) -> str:
    """`{txt} is neither a column (text, stars) nor a control. Did you mean {text}?`"""
    more = ", …" if len(columns) > _SHOWN else ""
    listed = ", ".join(columns[:_SHOWN]) + more
    near = nearest(name, [*columns, *controls])
    hint = f" Did you mean {{{near}}}?" if near else ""
    return f"{{{name}}} is neither a column ({listed}) nor a control.{hint}"


def asked(draft: Draft) -> dict[str, str]:
    """What a draft asks, by name: what a change to it makes stale."""
    options = dict(draft.options)
    params = options.pop("params", {})
    schema = options.get("schema")
    examples = options.get("examples")
    if isinstance(examples, Frame):
        options["examples"] = examples.name
    asking = [name for name in TYPED if name not in ("budget", "concurrency")]
    known = {name: as_text(options.get(name) or "") for name in asking}
    known["model"] = known["model"] or DEFAULT_MODEL
    known["schema"] = schema if isinstance(schema, str) else ""
    return {"prompt": draft.prompt, **known, **{f"{{{it}}}": str(params[it]) for it in params}}
