"""The live workbench: what the browser shows and asks, as one anywidget.

The browser holds what is being typed and sends it as it comes; everything else is decided here.
Messages come on other threads than the kernel's own: what has to run on its loop is posted there,
in the context of the cell that displays the bench.
"""

from __future__ import annotations

import asyncio
import functools
import itertools
import logging
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any, ClassVar

from ...errors import ConfigurationError, OndineError
from ...journal import home
from ...pipeline import DEFAULT_MODEL, OPTIONS
from ...providers import model_names
from ...text import as_text
from ..comparison import Comparison, ComparisonView
from ..ui import (
    CellOutput,
    Drawing,
    LiveView,
    Pictures,
    clean,
    lines,
    may_click,
    row_count,
    running_loop,
)
from .actions import Work, one_line
from .board import MOST as MOST_TRIES
from .board import Leaderboard
from .controls import drawn, put, put_text
from .draft import LARGEST_SAMPLE, Workbench, asked
from .kept import KeptDraft
from .page import SHOWN_TRIES, WHOLE, Facts, TriedRows, plain, static
from .trials import Trial

__all__ = ["WorkbenchView"]

logger = logging.getLogger("ondine_nb")

IDLE, SAVE = 0.4, 0.5  # seconds of peace until the whole run is estimated, the draft kept
MOST_RECALLED = 40  # tries whose answers are read again when the bench opens
_TOKENS = ("64", "128", "256", "512", "1024", "2048", "4096", "8192", "16384")
_WIDTHS = ("1", "2", "4", "8", "16", "32", "64", "128", "256")
_SOURCE_SHOWN = 60


class WorkbenchView(LiveView):
    """The live view of a `Panel`, whose actions it calls; `controls` are the widgets by name."""

    module: ClassVar[str] = "workbench/panel.js"
    sheet: ClassVar[str] = "workbench/panel.css"
    inside: ClassVar[tuple[str, ...]] = ("comparison/comparison",)

    def __init__(self, panel: Any, work: Work, controls: Mapping[str, Any]) -> None:
        super().__init__()
        self.panel: Any = panel
        self.work: Work = work
        self.bench: Workbench = work.bench
        self.controls: dict[str, Any] = dict(controls)
        self.kept: KeptDraft | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._output: CellOutput | None = None
        self._drawing = Drawing()
        self._checks = itertools.count()
        self._turn = 0  # of the form, as the bench has set it: what was typed before is void
        self._begun = self._ended = 0  # actions of buttons, which go on after their answer
        self._field = ""
        self._message: tuple[str, str] | None = None
        self._most = MOST_TRIES
        self._undo: list[Any] = []
        self._models = model_names(home(), OPTIONS["model"].values)  # once: it takes 10 ms
        self._drawn: Trial | None = None
        self._promised = False
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._tasks: set[asyncio.Task[Any]] = set()
        for name, widget in self.controls.items():
            widget.observe(functools.partial(self._on_control, name), "value")

    # -- showing

    def show(self) -> None:
        self._loop = running_loop()
        self._output = CellOutput()
        self._promised = self._loop is not None and may_click()
        super().show()
        if self._loop is not None:
            self._promised = False
            self._show_static_soon()
            self._later("estimate", 0, lambda: self._spawn(self._estimate()))
            self._spawn(self._recall_all())

    async def settle(self) -> None:
        """Bring forecast and static view to what is known, before the cell that waits has ended.

        What runs a notebook without a person (nbclient) drops what comes later.
        """
        if self._places is not None and running_loop() is self._loop:
            await self._estimate()
            await asyncio.to_thread(self.show_static)
            self.keep()

    def draw(self) -> None:
        """Bring rows and figures to what is there now; while a preview runs, only what is new."""
        trial, known = self.work.running, self._drawn
        if trial is None or known is None or trial.positions is not known.positions:
            self._drawn = trial
            self._compare()
            self.set_state()
        else:
            rows = self._rows(trial)
            fresh = [at for at, it in enumerate(trial.outcomes) if it is not known.outcomes[at]]
            changed = [at for at in fresh if trial.outcomes[at] != known.outcomes[at]]
            self._drawn = trial
            self.tell("progress", head=rows.head(), lines={at: rows.line(at) for at in changed})
        self._show_static_soon()

    # -- what the browser knows

    def state(self) -> dict[str, Any]:
        with self.lock:
            bench, work = self.bench, self.work
            trial = self.shown
            rows = None if trial is None else self._rows(trial)
            return {
                "source": clean(self.panel.source, _SOURCE_SHOWN),
                "size": row_count(len(bench.frame)),
                "total": len(bench.frame),
                "columns": [clean(name, 200) for name in bench.columns],
                "names": list(bench.columns),
                "menus": self._menus(),
                "most": max(1, min(LARGEST_SAMPLE, len(bench.frame))),
                "form": bench.form(),
                "turn": self._turn,
                "controls": [drawn(name, it) for name, it in self.controls.items()],
                "texts": {name: bench.value(name) for name in bench.given},
                "given_schema": self._given_schema(),
                "check": self._check(),
                "forecast": self._forecast(),
                "board": self._board().told(),
                "shown": self._shown_told(),
                "rows": None if rows is None else {"head": rows.head(), "lines": rows.lines()},
                "busy": work.busy,
                "begun": self._begun,
                "ended": self._ended,
                "left": work.left,
                "message": self._message,
                "kept": self.kept is not None,
            }

    @property
    def shown(self) -> Trial | None:
        """The trial whose rows show: the one that runs, else the current try's."""
        work = self.work
        return work.running or work.trials.get(work.current) or self.bench.b or self.bench.a

    def _rows(self, trial: Trial) -> TriedRows:
        return TriedRows(trial, self.bench.truths(), self._field)

    def _board(self) -> Leaderboard:
        """The board as far as it is known at once; what takes longer is told when it is."""
        found = Leaderboard(self.work, self._most, at_once=True)
        if not found.whole:
            self.later("board", self._tell_board)
        return found

    def _tell_board(self) -> None:
        self.tell("board", board=Leaderboard(self.work, self._most).told())

    # -- the comparison

    def _compare(self) -> None:
        """Have the current try's comparison with the ticked one inside, where there are both."""
        with self.lock:
            try:
                found = None if self.work.busy else self.work.comparison()
            except OndineError as error:  # no field, or no row, in common
                self._message, found = ("bad", one_line(error)), None
            if found is None:
                self.hold("comparison", None)
            else:
                self.hold("comparison", ComparisonView(found, self._relabel, embedded=True))

    def _compare_again(self) -> None:
        """The labels are others: so are the comparison's figures."""
        held = self._held.get("comparison")
        if isinstance(held, ComparisonView) and (found := self.work.comparison()) is not None:
            held.compare(found)

    def _relabel(self, row: Mapping[str, int], field: str, value: Any) -> Comparison:
        """Keep a label that a key gives in the comparison; gives the comparison as it is then."""
        trial = self.work.trials[self.work.ticked]
        self._undo.append(self.bench.truths().add(trial.positions[row["at"]], field, value))
        self._rescore_soon()
        found = self.work.comparison(field)
        assert found is not None
        return found

    def _menus(self) -> dict[str, list[str]]:
        form = self.bench.form()
        offered = {
            "model": [DEFAULT_MODEL, *self._models],
            "effort": ["", *OPTIONS["effort"].values],
            "max_tokens": ["", *_TOKENS],
            "concurrency": ["", *_WIDTHS],
        }
        return {
            name: [as_text(it) for it in dict.fromkeys([*values, form[name]])]
            for name, values in offered.items()
        }

    def _given_schema(self) -> str:
        spec = self.bench.options.get("schema")
        if spec is None or isinstance(spec, str):
            return ""
        return f"{spec.__name__ if isinstance(spec, type) else 'a JSON Schema'}, as given"

    def _shown_told(self) -> dict[str, Any] | None:
        """What the try that shows has asked, as texts: what differs from it is stale."""
        trial, work = self.shown, self.work
        if trial is None:
            return None
        number = 0 if work.running is not None else work.current
        name = f"v{number}" if number else ""
        return {"number": number, "name": name, "asked": asked(trial.draft),
                "sample": len(trial.positions)}  # fmt: skip

    def _check(self) -> dict[str, Any]:
        """What the draft's names are, what is wrong with it, and which buttons it allows."""
        bench, at = self.bench, next(self._checks)
        problems, of_schema = bench.problems(), bench.schema_problem()
        of_schema = [clean(text, 400) for text in of_schema]
        empty = not bench.prompt.strip()
        mine = [text for text in problems if text not in of_schema]
        problem = (problems or [""])[0]
        code = self.panel.as_code()
        return {
            "at": at,  # one that was begun earlier may come later
            "prompt": bench.prompt,
            "jinja": bool(bench.options.get("jinja")),
            "marks": [[it.start, it.end, it.kind] for it in bench.marks()],
            "says": [["note" if empty else "bad", text] for text in mine],
            "schema_says": of_schema,
            "unused": [] if empty else bench.unused(),
            "free": [*bench.made, *(name for name in bench.free() if name not in bench.made)],
            "unknown": bench.unknown(),
            "reasons": {
                "Preview": problem,
                "Compare": problem or self.work.no_comparison(),
                "Run all": problem,
                "As code": (bench.out_problem() or [""])[0],
            },
            "labelled": self._labelled(),
            "code": {"above": lines(code.above, WHOLE), "cell": lines(code.cell, WHOLE),
                     "hint": self._insert_hint()},
        }  # fmt: skip

    def _insert_hint(self) -> str:
        name = self.panel.own_name
        return f"{name}.insert() in a cell puts it below that cell" if name else ""

    def _labelled(self) -> int:
        try:
            return len(self.bench.truths().labelled())
        except OndineError:
            return 0

    def _forecast(self) -> dict[str, str]:
        known = self.work.forecast
        if known is not None:
            return {"headline": known.headline, "details": known.details}
        waiting = "The estimate comes with a prompt that fits" if self.bench.problems() else ""
        return {"headline": "", "details": waiting}

    # -- what the browser asks

    @property
    def actions(self) -> Mapping[str, Callable[..., Any]]:
        return {
            "now": self._full_state,
            "pictures": self._on_pictures,
            "picture": self._on_picture,
            "edit": self.edit,
            "preview": functools.partial(self._act, "preview_async"),
            "compare": functools.partial(self._act, "compare_async"),
            "run_all": self._on_run_all,
            "stop": self.work.stop,
            "restore": self._on_restore,
            "tick": self._on_tick,
            "note": self._on_note,
            "all_tries": self._on_all_tries,
            "field": self._on_field,
            "label": self._on_label,
            "undo": self._on_undo,
            "row": self._on_row,
            "insert": self._on_insert,
            "ping": dict,
        }

    def edit(self, changes: Mapping[str, Any]) -> dict[str, Any]:
        """Take what was typed or chosen; gives what is to be said of it."""
        with self.lock, self._drawing:
            for name, value in changes.items():
                if name == "controls":
                    for each, it in value.items():
                        put(self.controls[each], it)
                elif name == "schema":
                    self.bench.edit("schema", self.panel.schema_named(str(value)))
                elif name == "examples":
                    self.bench.edit("examples", self.panel.examples_named(str(value).strip()))
                else:
                    self.bench.edit(name, value)
        relabelled = {"labels", "out", "schema"} & set(changes)
        if relabelled and (trial := self.shown) is not None and not self.work.busy:
            self._rescore_soon()
            self._compare_again()
            told = self._rows(trial)
            return {**self._edited(), "rows": {"head": told.head(), "lines": told.lines()}}
        return self._edited()

    def _edited(self) -> dict[str, Any]:
        self._post(self._changed)
        return {"check": self._check(), "turn": self._turn}

    def _changed(self) -> None:
        """On the loop: keep, estimate and save what was changed, when there is peace."""
        self._later("keep", SAVE, lambda: self.later("keep", self.keep))
        self._later("estimate", IDLE, lambda: self._spawn(self._estimate()))
        self._show_static_soon()

    def _act(self, method: str) -> dict[str, int]:
        """Begin an action of the panel; what it leads to is told as it comes."""
        return self._start(getattr(self.panel, method))

    def _on_run_all(self) -> dict[str, int]:
        return self._start(self._run_all)

    async def _run_all(self) -> None:
        run = await self.panel.run_all()
        name = clean(run.name)
        run.when_over(lambda over: self._say("note", f"{name}: {over.state}"))
        self._say("note", f"{name} runs below; the result will be {name}, the run {name}_run")
        self.tell("ran", run=run.id)

    def _on_restore(self, number: int) -> dict[str, int]:
        return self._start(functools.partial(self._restore, int(number)))

    async def _restore(self, number: int) -> None:
        params = await self.work.restore(number)
        with self._drawing:
            for name, text in params.items():
                put_text(self.controls[name], text)
        self._turn += 1
        self._changed()

    def _on_tick(self, number: int) -> dict[str, int]:
        self.work.tick(int(number))
        return self._start(self._recall_ticked)

    async def _recall_ticked(self) -> None:
        for number in (self.work.current, self.work.ticked):
            if number and await self.work.recall(number) is None:
                said = f"the rows of v{number} aren't in {self.panel.source} any more"
                self._message = ("bad", said)
        self._changed()

    def _on_note(self, number: int, text: str) -> dict[str, Any]:
        self.work.tries.note(int(number), str(text).strip())
        return self._board().told()

    def _on_all_tries(self) -> dict[str, Any]:
        self._most = 0
        return self._board().told()

    def _on_field(self, name: str) -> dict[str, Any] | None:
        self._field = name
        return self._marked()

    def _on_label(self, position: int, choice: int) -> dict[str, Any] | None:
        """Keep what a key says of a row, durably, and what follows of it."""
        trial = self._current()
        rows = self._rows(trial)
        if not 0 <= choice < len(rows.choices):
            raise ConfigurationError(f"{rows.field} has no choice {choice + 1}")
        given = rows.truths.add(int(position), rows.field, rows.choices[choice])
        self._undo.append(given)
        self._rescore_soon()
        return self._marked()

    def _on_undo(self) -> dict[str, Any] | None:
        """Take the last label back that was given here."""
        rows = self.bench.truths().rows
        if self._undo and rows is not None:
            rows.undo(self._undo.pop())
            self._rescore_soon()
        return self._marked()

    def _marked(self) -> dict[str, Any] | None:
        """The rows' head, and of each row its label and whether it is right."""
        trial = self.shown
        if trial is None:
            return None
        rows = self._rows(trial)
        said = [rows.line(at) for at in range(len(trial.positions))]
        return {"head": rows.head(), "marks": [[it["label"], it["right"]] for it in said]}

    def _current(self) -> Trial:
        if (trial := self.shown) is None:
            raise ConfigurationError("there are no rows yet: preview first")
        return trial

    def _on_row(self, position: int) -> dict[str, Any]:
        trial = self._current()
        return self._rows(trial).whole(trial.positions.index(int(position)))

    def _on_pictures(self, wanted: Sequence[Mapping[str, Any]]) -> list[list[dict[str, Any]]]:
        return self._pictures.asked([{**it, "at": self._place(it["at"])} for it in wanted])

    def _on_picture(self, at: int, **which: Any) -> dict[str, Any]:
        return self._pictures.opened(self._place(at), **which)

    @property
    def _pictures(self) -> Pictures:
        if (found := self._current().pictures) is None:
            raise ConfigurationError("the prompt names no column of pictures")
        return found

    def _place(self, position: Any) -> int:
        """The place in the sample of a row of the frame."""
        return self._current().positions.index(int(position))

    def _on_insert(self) -> dict[str, Any]:
        code = self.panel.as_code()
        return {"cell": code.cell, "above": code.above, "model": self.widget.model_id}

    # -- the controls that were given

    def _on_control(self, name: str, change: Any) -> None:
        self.bench.given[name] = change["new"]
        if not self._drawing.here:  # by code: the browser has to know
            self.reset()

    def reset(self) -> None:
        """The form was set by code: what stands in the browser is what the bench has."""
        self._turn += 1
        if self._widget is not None:
            self.set_state()
        self._post(self._changed)

    def _say(self, kind: str, text: str) -> None:
        self._message = (kind, clean(text, 400))
        self.tell("message", kind=kind, text=self._message[1])

    # -- scores

    def _rescore_soon(self) -> None:
        self.later("scores", self._rescore)

    def _rescore(self) -> None:
        self.work.rescore()
        self.tell("board", board=self._board().told())
        self._show_static_soon()

    async def _recall_all(self) -> None:
        """The answers of the tries before, so that their scores follow the labels."""
        for kept in reversed(self.work.tries.tries[-MOST_RECALLED:]):
            if self.work.busy or self.closed:
                return
            await self.work.recall(kept.number)
            if kept.number in (self.work.current, self.work.ticked):
                self.draw()
        self._rescore_soon()

    # -- on the loop

    def _start(self, action: Callable[[], Coroutine[Any, Any, Any]]) -> dict[str, int]:
        """Begin an action; gives how many have begun: it is over when as many have ended."""
        if self._loop is None or self._loop.is_closed():
            raise ConfigurationError("no loop is running here: call the workbench's methods")
        with self.lock:
            self._begun += 1
            begun = self._begun
        self._post(lambda: self._spawn(self._acted(action)))
        return {"begun": begun}

    async def _acted(self, action: Callable[[], Coroutine[Any, Any, Any]]) -> None:
        """What a button does; what can't be done is told in one line."""
        self._message = None
        try:
            await action()
        except OndineError as error:
            self._message = ("bad", one_line(error))
        except Exception as error:  # a click has no cell that could show a traceback
            logger.exception("the workbench failed")
            self._message = ("bad", one_line(error))
        finally:
            self._ended += 1
        self.draw()

    async def _estimate(self) -> None:
        problems = await asyncio.to_thread(self.bench.problems)
        if problems:
            self.work.forecast = None
            self.tell("forecast", forecast=self._forecast())
            return
        try:
            await self.work.estimate()
            told = self._forecast()
        except Exception as error:  # nobody waits for this: it is told where it belongs
            self.work.forecast = None
            told = {"headline": "", "details": f"no estimate: {one_line(error)}"}
        self.tell("forecast", forecast=told)
        self._show_static_soon()

    def _post(self, work: Callable[[], Any]) -> None:
        """Do `work` on the loop, in the context of the cell: from any thread."""
        loop, output = self._loop, self._output
        if loop is not None and not loop.is_closed():
            context = None if output is None else output.context.copy()
            loop.call_soon_threadsafe(work, context=context)

    def _later(self, what: str, seconds: float, work: Callable[[], Any]) -> None:
        """Do `work` in a while; asked again before, only then. On the loop."""
        if self._loop is None:
            return
        if what in self._timers:
            self._timers[what].cancel()
        self._timers[what] = self._loop.call_later(seconds, work)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _show_static_soon(self) -> None:
        def show() -> None:
            self.later("static", self.show_static)

        self._post(lambda: self._later("static", SAVE, show))

    # -- what lasts

    def keep(self) -> None:
        """Keep the draft, durably."""
        if self.kept is not None:
            with self.lock:
                held = {name: drawn(name, it)["value"] for name, it in self.controls.items()}
                draft = {
                    "form": self.bench.form(),
                    "controls": held,
                    "current": self.work.current,
                    "ticked": self.work.ticked,
                    "field": self._field,
                }
            self.kept.write(draft)

    def take_up(self, kept: KeptDraft, *, anew: bool = False) -> None:
        """Go on with what was kept, if anything was, and keep what comes; `anew`: begin anew."""
        self.kept = kept
        draft = {} if anew else kept.read()
        numbers = {it.number for it in self.work.tries.tries}
        with self._drawing:
            for name, value in dict(draft.get("controls", {})).items():
                if name in self.controls:
                    _tolerant(put, self.controls[name], value)
            for name, value in dict(draft.get("form", {})).items():
                if name == "examples":
                    value = self.panel.examples_named(str(value))
                if name != "schema" or not self._given_schema():
                    _tolerant(self.bench.edit, name, value)
        for name in ("current", "ticked"):
            number = draft.get(name)
            setattr(self.work, name, number if number in numbers else 0)
        self._field = str(draft.get("field") or "")

    # -- without a browser

    def facts(self) -> Facts:
        """What the static view and the text tell."""
        bench, trial = self.bench, self.shown
        code = self.panel.as_code()
        size = f"{row_count(len(bench.frame))}, {len(bench.columns)} columns"
        return Facts(
            clean(self.panel.source, _SOURCE_SHOWN),
            size,
            lines(bench.prompt, WHOLE),
            tuple(bench.settings()),
            tuple(bench.problems()),
            self.work.forecast,
            Leaderboard(self.work, SHOWN_TRIES),
            None if trial is None else self._rows(trial),
            self._stale(trial),
            self._compared_told(),
            lines(code.above, WHOLE),
            lines(code.cell, WHOLE),
        )

    def _compared_told(self) -> tuple[str, ...]:
        held = self._held.get("comparison")
        return tuple(held.comparison.lines()) if isinstance(held, ComparisonView) else ()

    def _stale(self, trial: Trial | None) -> str:
        if trial is None or not (changed := self.bench.draft().told_beside(trial.draft)):
            return ""
        name = f"v{self.work.current}" if self.work.current else "the last preview"
        return f"as of {name}; changed since: {changed}"

    def static(self) -> str:
        if self._promised:  # somebody looks: its templates take a while to be read
            return f'<div class="ondine-panel-static {self.static_class}"></div>'
        return static(self.facts(), self.static_class)

    def plain(self) -> str:
        return "" if self._promised else plain(self.facts())


def _tolerant(work: Callable[[Any, Any], None], name: Any, value: Any) -> None:
    """What an earlier version kept, or a control can't hold any more, is left out."""
    try:
        work(name, value)
    except Exception as error:  # a user's widget may raise anything
        logger.info("a part of a kept draft is left out: %s", one_line(error))
