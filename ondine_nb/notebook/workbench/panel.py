"""`ondine_nb.panel(frame, …)`: the prompt workbench in a notebook, and its text in a terminal.

Everything that takes time runs on the notebook's own loop, or in a thread beside it.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from ...errors import ConfigurationError
from ...evaluation import plain_settings
from ...orchestration import run_in_thread
from ...pipeline import Options
from ...prompts import as_text
from ..arguments import parse_line, resolve_frame
from ..judging import examples_named
from ..ui import in_notebook
from .actions import Work, started
from .as_code import Code, name_of
from .controls import control, drawn
from .draft import Workbench
from .forecast import Forecast
from .kept import KeptDraft
from .trials import Trial
from .view import WorkbenchView

__all__ = ["Panel", "from_line", "from_run", "panel"]


def panel(
    frame: Any,
    prompt: str = "",
    controls: Mapping[str, Any] | None = None,
    *,
    name: str | None = None,
    labels: str | None = None,
    **options: Any,
) -> Panel:
    """Display the prompt workbench over a pandas or polars DataFrame, and give it back.

    `prompt` is a template with `{column}`s; `controls` gives a widget to other names in it, by the
    abbreviations of `ipywidgets.interact`, as `{"strictness": (1, 5), "tone": ["formal", "dry"]}`.
    The options are `Pipeline`'s and preset what the workbench starts with: `model schema column
    budget concurrency max_tokens effort system sample base_url journal …`; in a notebook, those of
    `%config OndineMagics` too. `name` is the frame's name where it has none in the notebook,
    `labels` the column that answers are held against.

    Raises `ConfigurationError` where `frame` is no frame, it has no such column of labels, or a
    control or an option can't be meant.
    Nothing is sent before Preview, Compare or Run all is clicked.
    """
    shell = _shell()
    source = name or (name_of(frame, shell.user_ns) if shell is not None else None)
    if not isinstance(controls, Mapping | None):
        raise ConfigurationError(
            f"controls has to be a dict of names, like {{'tone': ['kind', 'strict']}}, not "
            f"{type(controls).__name__}"
        )
    made = Panel(frame, prompt, controls or {}, options, source=source, shell=shell, labels=labels)
    made.show()
    return made


def from_line(magics: Any, line: str) -> Panel:
    """What `%ondine panel FRAME [options]` does; the options are those of `%%ondine`."""
    given = parse_line(f"-i {line}" if line else "", magics.shell.user_ns)
    source = given.pop("input", None) or magics.input
    frame = resolve_frame(source, magics.shell.user_ns, how="as in %ondine panel FRAME")
    out = given.pop("out", None)
    known = {option.name for option in fields(Options)}
    options = {name: it for name, it in given.items() if name in known}
    if "examples" in options:
        options["examples"] = examples_named(options["examples"], magics.shell.user_ns)
    params = {**magics.params, **options.pop("params", {})}
    made = Panel(
        frame, "", {name: as_text(it) for name, it in params.items()}, options,
        source=source if isinstance(source, str) else None, shell=magics.shell,
    )  # fmt: skip
    if out:
        made.bench.out = str(out)
    magics.shell.user_ns["ondine_panel"] = made  # a line gives nothing back that could be named
    made.show()
    return made


def from_run(run: Any) -> Panel:
    """A workbench with the prompt, the frame and the options that `run` had; displays it.

    Raises `ConfigurationError` where its rows aren't in memory.
    """
    pipeline, shell = run.pipeline, _shell()
    frame = getattr(pipeline.source, "frame", None)
    if frame is None:
        raise ConfigurationError("the rows of a stream aren't kept: there is nothing to try on")
    known = pipeline.options
    options = {
        option.name: getattr(known, option.name)
        for option in fields(Options)
        if option.name != "sample" and known.given(option.name)
    }
    if shell is not None and "examples" in options:
        options["examples"] = examples_named(options["examples"], shell.user_ns)
    source = pipeline.name if pipeline.name.isidentifier() else None
    made = Panel(
        frame.native, pipeline.prompt, {}, {**options, "journal": pipeline.journal},
        source=source, shell=shell, anew=True,
    )  # fmt: skip
    if run.name:
        made.bench.out = run.name
    made.show()
    return made


class Panel:
    """A workbench that is displayed. Its properties say what is on it; the prompt can be set.

    `bench` is its state, `a` and `b` the last two trials, `run` the run that Run all started last
    (None before), `forecast` what the whole run is expected to cost (None while it isn't known),
    `view` what shows it.
    """

    def __init__(
        self,
        data: Any,
        prompt: str,
        controls: Mapping[str, Any],
        options: Mapping[str, Any],
        *,
        source: str | None,
        shell: Any,
        labels: str | None = None,
        anew: bool = False,
    ) -> None:
        options = dict(options)
        journal = options.pop("journal", None)
        session = _session(shell)
        widgets = {name: control(name, given) for name, given in controls.items()}
        self.bench: Workbench = Workbench(
            data,
            prompt,
            name=source or "data",
            given={name: widget.value for name, widget in widgets.items()},
            options={**session, **options},
            session=session,
            journal=journal,
            labels=labels,
        )
        Options.of(self.bench.options)  # told now, not at the first click
        self.run: Any = None
        self._source, self._shell = source, shell
        self._work = Work(self.bench)
        self.view: WorkbenchView = WorkbenchView(self, self._work, widgets)
        if in_notebook():
            start = {
                "prompt": prompt,
                "controls": {name: drawn(name, widget) for name, widget in widgets.items()},
                "options": plain_settings({**options, "base_url": None}),
                "labels": labels,
                "notebook": _notebook(shell),
            }
            kept = KeptDraft(self.bench.folder, self.bench.name, start)
            self.view.take_up(kept, anew=anew)

    # -- what is on it

    @property
    def prompt(self) -> str:
        """The prompt as it stands in the editor; setting it is like typing."""
        return self.bench.prompt

    @prompt.setter
    def prompt(self, text: str) -> None:
        self.bench.prompt = text
        self.view.reset()

    @property
    def options(self) -> dict[str, Any]:
        """The options that aren't at their default, named as Pipeline's, `params` among them."""
        return dict(self.bench.draft().options)

    @property
    def tries(self) -> Any:
        """The leaderboard: a frame like the one on the bench with a row for each try kept.

        Its columns are those of `%ondine tries`: `try changed model rows accuracy macro_f1 …`.
        """
        return self._work.tries.refresh().frame(self.bench.frame.kind)

    @property
    def source(self) -> str:
        """What messages call the frame."""
        return self._source or "a frame"

    @property
    def a(self) -> Trial | None:
        """The trial of the last Preview, or of the try that was restored; None before."""
        return self.bench.a

    @property
    def b(self) -> Trial | None:
        """The trial of the last Compare, held against `a`; None since the last Preview."""
        return self.bench.b

    @property
    def forecast(self) -> Forecast | None:
        """What the whole run is expected to cost; None while it isn't known."""
        return self._work.forecast

    @property
    def problems(self) -> list[str]:
        """What keeps the prompt from being tried, a line each; [] if nothing."""
        return self.bench.problems()

    @property
    def code(self) -> str:
        """The `%%ondine` cell that does what is on the bench."""
        return self.as_code().cell

    def as_code(self) -> Code:
        """The cell, and what an earlier cell has to run; unnameable values get a name here."""
        namespace = self._shell.user_ns if self._shell is not None else {}
        code = self.bench.code(self._frame_name(namespace), namespace)
        if self._shell is not None:
            namespace.update(code.bindings)
        return code

    def _frame_name(self, namespace: dict[str, Any]) -> str:
        """What `-i` can find the frame by; a frame without a name gets one."""
        data, source = self.bench.data, self._source
        if source is not None and (not source.isidentifier() or namespace.get(source) is data):
            return source
        if self._shell is None:
            return source or "data"
        known = name_of(data, namespace)
        if known is None:
            names = ("panel_data", *(f"panel_data_{at}" for at in range(2, 1000)))
            known = next(name for name in names if name not in namespace)
            namespace[known] = data
        return known

    def schema_named(self, text: str) -> Any:
        """A schema as it was typed: in short form, or the name of a model or dict here."""
        text = text.strip()
        known = self._shell.user_ns.get(text) if self._shell and text.isidentifier() else None
        return text if known is None else known

    def examples_named(self, text: str) -> Any:
        """Examples as they were typed: the name of a set of labels, or of a frame here."""
        return examples_named(text, self._shell.user_ns) if self._shell and text else text

    def insert(self) -> None:
        """Put the cell of `code` below the cell that calls this, where the front end can.

        Names that it needs are set already; what sets them in another session is `as_code().above`.
        Raises `ConfigurationError` where there is no notebook.
        """
        if self._shell is None:
            raise ConfigurationError("there is no notebook to put a cell into: copy `code`")
        self._shell.set_next_input(self.code)

    # -- what it does

    def preview(self) -> Any:
        """Try the prompt on the sample; gives a frame of its rows with their answers.

        Each preview is kept as a try; by several models it is one each, and the frame is of the
        last one. Blocks until it is done. Raises `ConfigurationError` for what can't be run; an
        error that ended it stands in `a.message`.
        """
        return run_in_thread(self.preview_async)

    async def preview_async(self) -> Any:
        """`preview` on the running loop. The trial is A, and there is no B then."""
        shown = await self._work.preview(self.view.draw)
        await self.view.settle()
        return shown

    def compare(self) -> Any:
        """Try what is on the bench now as B, on A's rows; gives a frame of them with B's answers.

        Raises `ConfigurationError` where there is no A yet, or nothing has changed since.
        """
        return run_in_thread(self.compare_async)

    async def compare_async(self) -> Any:
        """`compare` on the running loop."""
        shown = await self._work.compare(self.view.draw)
        await self.view.settle()
        return shown

    def stop(self) -> None:
        """Stop a preview: nothing more is sent, what is in flight is kept."""
        self._work.stop()

    async def run_all(self) -> Any:
        """Start the run over the whole frame, as the cell of `code` does it, in the background.

        Gives the run at once; OUT and OUT_run are bound as after `%%ondine --background`. Raises
        `ConfigurationError` where there is no notebook.
        """
        if self._shell is None:
            raise ConfigurationError("Run all needs a notebook: use Pipeline(…).execute() here")
        magics = self._shell.magics_manager.registry["OndineMagics"]
        self.run = await started(self.bench, self._frame_name(self._shell.user_ns), magics)
        return self.run

    # -- how it shows itself

    @property
    def own_name(self) -> str | None:
        """The user's name for this workbench, if it has one."""
        return name_of(self, self._shell.user_ns) if self._shell is not None else None

    def show(self) -> None:
        """Display it here; it may be displayed several times."""
        self.view.show()

    def _ipython_display_(self) -> None:
        """As the last expression of a cell: not twice in the cell that has just displayed it."""
        self.view._ipython_display_()

    def _display_(self) -> Any:
        return self.view._display_()

    def __repr__(self) -> str:
        return self.view.plain()

    def _repr_html_(self) -> str:
        return self.view.static()


def _shell() -> Any:
    """The IPython shell, with the extension loaded; None in a plain interpreter."""
    try:
        from IPython import get_ipython
    except ImportError:
        return None
    shell: Any = get_ipython()
    if shell is not None:
        shell.extension_manager.load_extension("ondine_nb")
    return shell


def _session(shell: Any) -> dict[str, Any]:
    """The options that `%config OndineMagics` has set, as far as a pipeline takes them."""
    if shell is None:
        return {}
    magics = shell.magics_manager.registry["OndineMagics"]
    found = {option.name: getattr(magics, option.name, None) for option in fields(Options)}
    return {
        name: it for name, it in found.items() if it not in (None, False, {}) and name != "params"
    }


def _notebook(shell: Any) -> str:
    """The notebook's file, as far as its kernel is told it: its drafts are its own."""
    names = getattr(shell, "user_ns", {})
    return os.environ.get("JPY_SESSION_NAME") or str(names.get("__vsc_ipynb_file__", ""))
