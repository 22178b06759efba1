"""State of the prompt workbench: texts and settings in, checks, drafts and code out."""

from __future__ import annotations

import keyword
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ...data import Frame, wrap
from ...errors import ConfigurationError, OndineError
from ...journal import Journal
from ...pipeline import OPTIONS, Options, Pipeline, Surface
from ...prompts import JinjaTemplate, Template, as_text, parse_schema
from ..ui import clean
from .as_code import Code, as_code
from .placeholders import Placeholder, free_names, marks, unknown_line
from .trials import Draft, Trial

__all__ = ["LARGEST_SAMPLE", "Workbench"]

LARGEST_SAMPLE, USUAL_SAMPLE = 200, 20  # rows


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
        self.prompt = prompt
        self.given: dict[str, Any] = dict(given or {})
        self.texts: dict[str, str] = {}
        self.made: list[str] = []
        self.session: dict[str, Any] = _set(session)
        self.options: dict[str, Any] = _set(options)
        self._take_params()
        self.out = "labeled"
        self.frame: Frame = wrap(data, name)
        self.labels: str | None = self._labels(labels)
        wanted = self.options.pop("sample", None)
        self.sample: int = self._sample(wanted if wanted is not None else USUAL_SAMPLE)
        self._check_controls()
        self.a: Trial | None = None
        self.b: Trial | None = None

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
        if not len(self.frame):
            found.append(f"{self.name} has no rows: there is nothing to try a prompt on.")
        if not self.prompt.strip():
            found.append("There is no prompt yet: write what to ask about a row, with {column}s.")
        elif not found:
            found += _told(self._template)
        return [clean(line, 400) for line in [*found, *self.schema_problem(), *self.out_problem()]]

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
        if _unset(value) or value == "":
            self.options.pop(option, None)
        else:
            self.options[option] = value

    def positions(self) -> list[int]:
        """The rows of the sample, always the same ones for a number of rows."""
        return self.frame.sample_positions(self.sample)

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


def _unset(value: Any) -> bool:
    return value is None or value is False


def _told(work: Any) -> list[str]:
    """The message of an error that `work` raises."""
    try:
        work()
    except OndineError as error:
        return [str(error)]
    return []
