"""Screen of the workbench: widgets that live, and a static twin for where they don't.

JupyterLab doesn't save the state of widgets, so a second output, with a display id of its own,
holds the same facts as HTML. Its style hides it while the widgets beside it live, and hides the
place of the widgets once they are dead.
"""

from __future__ import annotations

import asyncio
import contextvars
import functools
import logging
import uuid
from collections.abc import Callable, Coroutine
from typing import Any

from ...errors import OndineError
from ..ui import clean, display_bundle, may_click, view_of
from .actions import one_line
from .html import figures_html, forecast_html, mirror, plain, results_html, says, static
from .widgets import ACTIONS, NO_COLUMN, Widgets

__all__ = ["Screen"]

logger = logging.getLogger("ondine_nb")

SOON, IDLE, SAVE = 0.06, 0.4, 0.5  # seconds until what was typed is checked, estimated, saved
PROMISE = {"text/html": '<div class="ondine-panel-static"></div>', "text/plain": ""}
BUSY = "a preview is under way"
TIPS = {
    "Preview": "Try the prompt on the sample; unchanged rows cost nothing. The result is A",
    "Compare": "Try what has changed since as B, on the rows of A",
    "Run all": "Start the run over the whole frame, below",
    "As code": "Show the %%ondine cell that does exactly this",
    "Stop": "Send nothing more; what is in flight is finished and kept",
}


class Screen:
    """Draws a `Panel` and takes what is typed and clicked."""

    def __init__(self, panel: Any, controls: dict[str, Any]) -> None:
        self.panel, self.bench, self.work = panel, panel.bench, panel._work
        self.widgets: Widgets | None = None
        self._controls = controls
        self._loop: asyncio.AbstractEventLoop | None = None
        self._context: contextvars.Context | None = None
        self._cell: Any = None  # the execution count of the cell that displayed it last
        self._twins: list[str] = []
        self._saved: dict[str, str] = {}
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._tasks: set[asyncio.Task[Any]] = set()
        self._checking: asyncio.Task[Any] | None = None
        self._problems: list[str] = []

    # -- displaying

    def show(self) -> None:
        """Display the widgets and their twin; where there is no kernel, print the text."""
        shell = self.panel._shell
        self._cell = getattr(shell, "execution_count", None)
        loop = _running_loop()
        if getattr(shell, "kernel", None) is None or loop is None:
            print(plain(self.panel.facts()))
            return
        # The run of Run all is displayed where this cell's output goes: its context knows that.
        self._loop, self._context = loop, contextvars.copy_context()
        if self.widgets is None:
            self._make_widgets()
        assert self.widgets is not None
        bundle = view_of(self.widgets.root)
        _publish({**bundle, "text/plain": ""}, None, update=False)
        twin = f"ondine-panel-{uuid.uuid4().hex}"
        self._twins = [*self._twins[-3:], twin]
        # Where somebody looks, the twin has half a second: its templates take a while to be read.
        self._saved = PROMISE if may_click() else self._bundle()
        _publish(self._saved, twin, update=False)
        self._later("check", 0, self._check)

    def shown_in_this_cell(self) -> bool:
        """Whether the cell that is run now has shown the workbench already."""
        shell = self.panel._shell
        return self._cell is not None and self._cell == getattr(shell, "execution_count", None)

    def _bundle(self) -> dict[str, str]:
        facts = self.panel.facts()
        return {"text/html": static(facts), "text/plain": plain(facts)}

    def _save_soon(self) -> None:
        self._later("save", SAVE, lambda: self._spawn(self._save()))

    async def settle(self) -> None:
        """Bring forecast and twins to what is known now, before the cell that waits has ended.

        What runs a notebook without a person (nbclient) drops what comes later.
        """
        if self.widgets is not None and _running_loop() is self._loop:
            await self._draw_forecast(0)
            await self._save()

    async def _save(self) -> None:
        """Bring the twins to what is known now."""
        bundle = await asyncio.to_thread(self._bundle)
        if bundle != self._saved:
            self._saved = bundle
            for twin in self._twins:
                _publish(bundle, twin, update=True)

    # -- wiring

    def _make_widgets(self) -> None:
        self.widgets = kit = Widgets(self.bench, dict(self._controls))
        for name, widget in self._controls.items():
            widget.observe(functools.partial(self._on_control, name), "value")
        self._watch(kit.prompt, lambda text: setattr(self.bench, "prompt", text))
        self._watch(kit.system, lambda text: self.bench.set("system", text))
        self._watch(kit.schema, self._set_schema)
        for option in ("model", "effort", "budget", "max_tokens", "concurrency"):
            self._watch(getattr(kit, option), functools.partial(self.bench.set, option))
        for part in ("sample", "out"):
            self._watch(getattr(kit, part), functools.partial(setattr, self.bench, part))
        self._watch(kit.labels, self._set_labels)
        for column, chip in zip(self.bench.columns, kit.chips, strict=False):
            chip.on_click(functools.partial(self._on_chip, column))
        kit.make_control.on_click(self._on_make_control)
        for name, button in kit.buttons.items():
            button.on_click(functools.partial(self._on_button, name))

    def _watch(self, widget: Any, take: Callable[[Any], None]) -> None:
        def changed(change: Any) -> None:
            take(change["new"])
            self._changed()

        widget.observe(changed, "value")

    def _on_control(self, name: str, change: Any) -> None:
        if name in self.bench.given:
            self.bench.given[name] = change["new"]
        else:
            self.bench.texts[name] = change["new"]
        self._changed()

    def _set_labels(self, column: Any) -> None:
        self.bench.labels = None if column is NO_COLUMN else column

    def _set_schema(self, text: str) -> None:
        """A schema in short form, or the name of a model or dict in the notebook."""
        text = text.strip()
        known = self.panel._shell.user_ns.get(text) if text.isidentifier() else None
        self.bench.set("schema", text if known is None else known)

    def _on_chip(self, column: str, _: Any) -> None:
        from .placeholders import inserted

        assert self.widgets is not None
        self.widgets.prompt.value = inserted(self.bench.prompt, column)
        self.widgets.prompt.focus()

    def _on_make_control(self, _: Any) -> None:
        unknown = self.bench.unknown()
        if unknown:
            self.bench.made.append(unknown[0])
            self._changed()

    def show_prompt(self, text: str) -> None:
        """What was set by code, in the editor."""
        if self.widgets is not None:
            self.widgets.prompt.value = text

    def _changed(self) -> None:
        self._post(lambda: self._later("check", SOON, self._check))

    def _on_button(self, name: str, _: Any) -> None:
        if name == "Stop":
            self.work.stop()
            return
        actions = {
            "Preview": self.panel.preview_async,
            "Compare": self.panel.compare_async,
            "Run all": self._run_all,
            "As code": self._show_code,
        }
        self._post(lambda: self._spawn(self._acted(actions[name])))

    def _post(self, work: Callable[[], Any]) -> None:
        """Do `work` on the loop, in the context of the cell: from any thread."""
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(work, context=self._context)

    def _later(self, what: str, seconds: float, work: Callable[[], Any]) -> None:
        """Do `work` in a while; asked again before, only then. On the loop."""
        assert self._loop is not None
        if what in self._timers:
            self._timers[what].cancel()
        self._timers[what] = self._loop.call_later(seconds, work)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[Any]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    # -- buttons

    async def _acted(self, action: Callable[[], Coroutine[Any, Any, Any]]) -> None:
        """What a button does; what can't be done is told in one line."""
        self._tell(None)
        try:
            await action()
        except OndineError as error:
            self._tell(("bad", one_line(error)))
        except Exception as error:  # a click has no cell that could show a traceback
            logger.exception("the workbench failed")
            self._tell(("bad", one_line(error)))
        self._check()

    async def _run_all(self) -> None:
        run = await self.panel.run_all()
        run.when_over(lambda over: self._tell(("note", f"{over.name}: {over.state}")))
        name = clean(run.name)
        self._tell(("note", f"{name} runs below; the result will be {name}, the run {name}_run"))

    async def _show_code(self) -> None:
        assert self.widgets is not None
        if self.widgets.code.children:  # a second click closes it
            self.widgets.draw_code([])
            return
        code = self.panel.as_code()
        above = [("In a cell of its own, first", code.above)] if code.above else []
        name = self.panel.own_name
        note = f"{name}.insert() in a cell puts it below that cell" if name else ""
        label = "As code: a cell that does exactly this"
        self.widgets.draw_code([*above, (label, code.cell)], says([("note", note)] if note else []))

    def _tell(self, message: tuple[str, str] | None) -> None:
        if self.widgets is not None:
            self.widgets.message.value = says([message] if message else [])

    # -- checking and estimating

    def _check(self) -> None:
        """What the prompt's names are is told at once; the rest is looked into beside the loop."""
        if self.widgets is None:
            return
        self._draw_names()
        if self._checking is not None:
            self._checking.cancel()
        self._checking = self._spawn(self._examine())

    def _draw_names(self) -> None:
        kit, bench = self.widgets, self.bench
        assert kit is not None
        wanted = [*bench.made, *bench.free()]
        for name in [name for name in kit.controls if name not in [*bench.given, *wanted]]:
            kit.controls.pop(name).close()
        for name in [name for name in wanted if name not in kit.controls]:
            widget = kit.text_control(name, bench.texts.get(name, ""))
            widget.observe(functools.partial(self._on_control, name), "value")
        kit.draw_controls()
        kit.mirror.value = mirror(bench.prompt, bench.marks())
        for name, widget in kit.controls.items():
            (widget.add_class if name in bench.unused() else widget.remove_class)("o-unused")
        unknown = bench.unknown()
        kit.make_control.layout.display = "" if unknown else "none"
        if unknown:
            kit.make_control.description = f"make {{{clean(unknown[0], 30)}}} a control"

    async def _examine(self) -> None:
        """Problems, then the forecast; a newer change cancels this."""
        self._problems = problems = await asyncio.to_thread(self.bench.problems)
        self._draw_problems(problems)
        self.draw()
        if problems:
            self.work.forecast = None
        else:
            await self._draw_forecast(IDLE)
        self._save_soon()

    async def _draw_forecast(self, idle: float) -> None:
        kit = self.widgets
        assert kit is not None
        await asyncio.sleep(idle)
        try:
            kit.forecast.value = forecast_html(await self.work.estimate())
        except Exception as error:  # nobody waits for this: it is told where it belongs
            self.work.forecast = None
            kit.forecast.value = says([("bad", f"no estimate: {one_line(error)}")])

    def _draw_problems(self, problems: list[str]) -> None:
        kit, bench = self.widgets, self.bench
        assert kit is not None
        of_schema = [_line(text) for text in bench.schema_problem()]
        mine = [("bad", text) for text in problems if text not in of_schema]
        notes = [("note", f"{{{name}}} is not in the prompt") for name in bench.unused()]
        if not bench.prompt.strip():
            mine = [("note", text) for _, text in mine]
            notes = []
        kit.says.value = says([*mine, *notes])
        kit.schema_says.value = says([("bad", text) for text in of_schema])
        if problems:
            kit.forecast.value = forecast_html(None, "The estimate comes with a prompt that fits")

    def draw(self) -> None:
        """Bring results, figures and buttons to what is there now."""
        kit = self.widgets
        if kit is None:
            return
        if _running_loop() is not self._loop:  # `preview()` tries it on a loop of its own
            self._post(self.draw)
            return
        shown = self.work.results()
        kit.figures.value = figures_html(shown)
        kit.results.value = results_html(shown)
        kit.draw_stop(self.work.busy)
        self._draw_buttons((self._problems or [""])[0])
        self._save_soon()

    def _draw_buttons(self, problem: str) -> None:
        kit = self.widgets
        assert kit is not None
        busy = BUSY if self.work.busy else ""
        reasons = {
            "Preview": problem or busy,
            "Compare": problem or busy or self.work.no_comparison(),
            "Run all": problem,
            "As code": (self.bench.out_problem() or [""])[0],
        }
        for name in ACTIONS:
            button, reason = kit.buttons[name], reasons[name]
            button.disabled = bool(reason)
            button.tooltip = reason or TIPS[name]
        kit.buttons["Stop"].tooltip = TIPS["Stop"]


def _line(text: str) -> str:
    return clean(text, 400)


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


def _publish(bundle: dict[str, Any], display_id: str | None, update: bool) -> None:
    display_bundle(bundle, display_id, update=update)
