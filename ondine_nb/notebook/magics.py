"""IPython magics: the cell magic `%%ondine` and the line magic `%ondine`."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable
from typing import Any

from IPython.core.completer import context_matcher
from IPython.core.displaypub import CapturingDisplayPublisher
from IPython.core.error import UsageError
from IPython.core.magic import Magics, line_cell_magic, magics_class, no_var_expand
from traitlets import Any as AnyTrait
from traitlets import Bool, Dict, TraitError, Unicode, observe, validate

from ..errors import ConfigurationError, OndineError, nearest
from ..pipeline import DEFAULT_MODEL, OPTIONS, Kind, Option, Surface
from ..text import usd
from .session import CellRequest, Session, shown

__all__ = ["OndineMagics"]

_TEXTS = (Kind.TEXT, Kind.NAME, Kind.CHOICE, Kind.SHARE, Kind.URL, Kind.PATH)
_GRACE_SECONDS = 0.4  # how long a cell's end waits for what is in flight, to show the final card


def _settings() -> dict[str, Any]:
    """A trait for each option that `%config` sets."""
    return {
        option.name: _trait(option).tag(config=True)
        for option in OPTIONS.values()
        if option.on(Surface.CONFIG)
    }


def _trait(option: Option) -> Any:
    help_text = ": ".join(filter(None, [option.usage, option.help_line]))
    if option.kind is Kind.SWITCH:
        return Bool(False, help=help_text)
    if option.kind is Kind.PAIRS:
        return Dict(help=help_text)
    kind = Unicode if option.kind in _TEXTS else AnyTrait
    return kind(None, allow_none=True, help=help_text)


@magics_class
class OndineMagics(Magics):
    """Each option of `%%ondine` can be set for the session: `%config OndineMagics.budget = 5`."""

    vars().update(_settings())

    shell: Any
    input: str | None
    params: dict[str, Any]
    base_url: str | None
    price_in: Any
    price_out: Any
    session_budget: Any

    def __init__(self, shell: Any) -> None:
        self._session = Session()
        super().__init__(shell)
        self._session.budget.ceiling = self.session_budget

    @validate("session_budget")
    def _valid_session_budget(self, proposal: Any) -> Any:
        try:
            return usd(proposal["value"], "session_budget")
        except ConfigurationError as error:
            raise TraitError(str(error)) from None

    @observe("session_budget")
    def _set_session_budget(self, change: Any) -> None:
        self._session.budget.ceiling = change["new"]

    # -- the cell

    @no_var_expand
    @line_cell_magic
    def ondine(self, line: str, cell: str | None = None) -> None:
        """Run a prompt over a DataFrame (cell), or look after runs (line)."""
        if cell is None:
            _told(lambda: self._line(line))
        else:
            self._run_blocking(line, cell)

    async def run_cell(self, line: str, cell: str) -> None:
        """What `%%ondine` at the top of a cell becomes: awaited on the notebook's own loop."""
        try:
            await self._run_cell(line, cell)
        except asyncio.CancelledError:  # that is how a kernel interrupt arrives
            raise _interrupt("before anything was sent") from None

    async def _run_cell(self, line: str, cell: str) -> None:
        request = self._request(line, cell)
        if request is None:
            return
        pipeline = await asyncio.to_thread(_told, request.pipeline)
        if request.options["dry_run"]:
            await self._dry_run(pipeline)
        else:
            await self._run(request, request.run(pipeline))

    async def _run(self, request: CellRequest, run: Any) -> None:
        self._open(request, run)
        run.start()
        if request.options["background"]:
            self._bind_later(request, run)
        else:
            await self._wait(request, run)

    async def resume_line(self, line: str) -> None:
        """What `%ondine resume …` at the top of a cell becomes: awaited as a cell is."""
        request, run = await asyncio.to_thread(_told, lambda: self._resumed(line))
        await self._run(request, run)

    async def _wait(self, request: CellRequest, run: Any) -> None:
        interrupted = False
        try:
            await run
        except asyncio.CancelledError:
            # A kernel interrupt cancels the cell. The run is a task of its own and is told to stop.
            run.stop()
            interrupted = True
        except ConfigurationError as error:
            raise UsageError(str(error)) from None
        finally:
            with contextlib.suppress(asyncio.CancelledError):
                await _settle(run)
            frame = await _frame_of(run)
            if request.view is not None:
                with contextlib.suppress(asyncio.CancelledError):
                    await asyncio.to_thread(request.view.prepare)
            self._bind(request, run, frame, told=True)
        if interrupted:
            raise _interrupt(request.kept(run))

    def _run_blocking(self, line: str, cell: str) -> None:
        """The same in a worker thread, where the cell can't be awaited; Interrupt stops it."""
        request = self._request(line, cell)
        if request is None:
            return
        pipeline = _told(request.pipeline)
        if request.options["dry_run"]:
            from ..orchestration import run_in_thread

            run_in_thread(lambda: self._dry_run(pipeline))
        else:
            self._block(request, request.run(pipeline))

    def _block(self, request: CellRequest, run: Any) -> None:
        run.interrupt_only = True
        self._open(request, run)
        if request.options["background"]:
            self._start_in_background(run)
            self._bind_later(request, run)
            return
        try:
            _told(run.execute)
        except KeyboardInterrupt:
            raise _interrupt(request.kept(run)) from None
        finally:
            self._bind(request, run, run.frame, told=True)

    def _start_in_background(self, run: Any) -> None:
        def work() -> None:
            try:
                run.execute()
            except OndineError:
                return  # the run holds it, and its card shows it

        threading.Thread(target=work, name="ondine-background", daemon=True).start()

    def _request(self, line: str, cell: str) -> CellRequest | None:
        """The cell's options, with the session's where the cell has none; None after `--help`."""
        from .arguments import HelpRequested, parse_line, resolve_frame

        try:
            given = parse_line(line, self.shell.user_ns)
            options = self._configured() | given
            if self.params or "params" in given:
                options["params"] = {**self.params, **given.get("params", {})}
            frame = resolve_frame(options["input"], self.shell.user_ns, out=given.get("out"))
            self._name_examples(options)
        except HelpRequested as answer:
            print(answer)
            return None
        except ConfigurationError as error:
            raise UsageError(str(error)) from None
        return CellRequest(options, frame, cell.strip("\n"), self._session.budget)

    def _name_examples(self, options: dict[str, Any]) -> None:
        """A frame that `--examples` names stands for itself, and knows its name."""
        if options["examples"] is not None:
            from .judging import examples_named

            options["examples"] = examples_named(options["examples"], self.shell.user_ns)

    def _configured(self) -> dict[str, Any]:
        names = self.class_own_traits(config=True)
        return {
            name: getattr(self, name) for name in names if name not in ("params", "session_budget")
        }

    def _open(self, request: CellRequest, run: Any) -> None:
        """Give the run its view and its name in the notebook."""
        request.view = self._view(run, request)
        self._keep(request, run)

    def _resumed(self, line: str) -> tuple[CellRequest, Any]:
        """The run that `RUN [-i FRAME] [options]` goes on with. Raises `ConfigurationError`."""
        from ..pipeline import Pipeline, examples_frame, recorded, schema_class
        from .arguments import parse_resume, resolve_frame

        name, given = parse_resume(line, self.shell.user_ns)
        settings = recorded(name)
        source = given.pop("input", None) or settings["frame"]["name"]
        frame = resolve_frame(source, self.shell.user_ns)
        options = self._configured() | {"input": source, "out": settings["out"]} | given
        given |= schema_class(settings, self.shell.user_ns, given)
        given |= examples_frame(settings, self.shell.user_ns, given)
        wanted = {name: each for name, each in given.items() if OPTIONS[name].on(Surface.KEYWORD)}
        session = self._session.budget
        run = Pipeline.resume(name, frame, name=shown(source), session=session, **wanted)
        return CellRequest(options, frame, settings["prompt"], session), run

    def _keep(self, request: CellRequest, run: Any) -> None:
        """The run is OUT_run, stands in the list of runs, and binds OUT anew by `retry_failed`."""
        self.shell.user_ns[f"{request.out}_run"] = run
        self._session.add(run)
        run.when_retried(lambda retry: self._keep_retry(request, retry))

    def _keep_retry(self, request: CellRequest, retry: Any) -> None:
        self._keep(request, retry)
        retry.when_over(lambda over: self.shell.user_ns.update({request.out: over.frame}))
        if not request.options["quiet"]:
            from .card import follow

            follow(retry)

    def _view(self, run: Any, request: CellRequest) -> Any:
        if request.options["quiet"]:
            if run.note:
                print(run.note)
            return None
        if not hasattr(self.shell, "kernel"):
            from ..orchestration import ProgressBarObserver

            run.context.observers.append(ProgressBarObserver())
        if isinstance(self.shell.display_pub, CapturingDisplayPublisher):
            return _Captured(run)
        from .card import WidgetObserver

        view = WidgetObserver(run)
        run.context.observers.append(view)
        view.show()
        return view

    def _bind(self, request: CellRequest, run: Any, frame: Any, *, told: bool = False) -> None:
        """OUT is what is there, and the view shows how it stands; later too, while it drains.

        The cell raises what ended the run, so that the error is `told` there.
        """
        self.shell.user_ns[request.out] = frame
        if request.view is not None:
            request.view.finish(told=told)
            if run.state == "stopping":
                run.when_over(lambda _: request.view.finish())

    def _bind_later(self, request: CellRequest, run: Any) -> None:
        self.shell.user_ns.pop(request.out, None)
        run.when_over(lambda over: self._bind(request, over, over.frame))

    async def _dry_run(self, pipeline: Any) -> None:
        from .card import show_dry_run

        estimator = pipeline.estimator()
        try:
            estimate = await estimator.estimate()
        except ConfigurationError as error:
            raise UsageError(str(error)) from None
        show_dry_run(pipeline, estimator.tally, estimate)

    # -- the line

    def _line(self, line: str) -> None:
        word, _, rest = line.strip().partition(" ")
        commands: dict[str, Callable[[str], None]] = {
            "": self._runs,
            "runs": self._runs,
            "stop": self._stop,
            "resume": lambda rest: self._block(*self._resumed(rest)),
            "models": self._models,
            "cost": self._cost,
            "panel": self._panel,
            "score": self._score,
            "labels": self._labels,
            "tries": self._tries,
            "show": self._show,
            "review": self._review,
            "doctor": self._doctor,
            "help": self._help,
            "--help": self._help,
            "-h": self._help,
        }
        if word not in commands:
            near = nearest(word, [name for name in commands if name])
            hint = f" Did you mean `%ondine {near}`?" if near else ""
            names = ", ".join(name for name in commands if name.isalpha())
            raise ConfigurationError(
                f"there is no `%ondine {word}` ({names}).{hint} To run a prompt, start a cell "
                "with %%ondine"
            )
        commands[word](rest.strip())

    def _runs(self, rest: str) -> None:
        print(self._session.listing())

    def _stop(self, name: str) -> None:
        print(self._session.stop(name))

    def _models(self, rest: str) -> None:
        from .commands import models

        print(models(rest, self.base_url, self.price_in, self.price_out))

    def _cost(self, rest: str) -> None:
        from .commands import costs

        print(costs(rest.strip("\"'")))

    def _score(self, rest: str) -> None:
        from IPython.display import display

        from .judging import score_line

        display(score_line(rest, self.shell.user_ns))  # type: ignore[no-untyped-call]

    def _labels(self, rest: str) -> None:
        from IPython.display import display

        from .judging import labels_line

        display(labels_line(rest, self.shell.user_ns))  # type: ignore[no-untyped-call]

    def _tries(self, rest: str) -> None:
        from .judging import tries_line

        print(tries_line(rest))

    def _doctor(self, rest: str) -> None:
        from .commands import doctor, examined

        if not rest:
            print(doctor(self.shell))
            return
        given = self._of_line(rest, "doctor", ("model", "base_url", "price_in", "price_out"))
        asked = {name: given.get(name) for name in ("base_url", "price_in", "price_out")}
        print(examined(given.get("model") or DEFAULT_MODEL, **asked))

    def _of_line(self, rest: str, command: str, takes: tuple[str, ...]) -> dict[str, Any]:
        """The session's options with a line's; raises `ConfigurationError` for one too many."""
        from .arguments import parse_line

        given = parse_line(rest, self.shell.user_ns)
        for name in given.keys() - set(takes):
            flags = ", ".join(OPTIONS[each].long for each in takes)
            raise ConfigurationError(
                f"%ondine {command} takes {flags}, not {OPTIONS[name].long or given[name]}"
            )
        return self._configured() | given

    def _help(self, rest: str) -> None:
        from .commands import HELP

        print(HELP)

    async def start(self, options: dict[str, Any], frame: Any, prompt: str) -> Any:
        """Start a run as `--background` does, and give it. Raises `ConfigurationError`."""
        wanted = self._configured() | options
        self._name_examples(wanted)
        request = CellRequest(wanted, frame, prompt, self._session.budget)
        run = request.run(await asyncio.to_thread(request.pipeline))
        self._open(request, run)
        run.start()
        self._bind_later(request, run)
        return run

    def _panel(self, rest: str) -> None:
        from .workbench import from_line

        from_line(self, rest)

    def _show(self, rest: str) -> None:
        from .judging import result_named
        from .results import show

        show(result_named(rest, self.shell.user_ns))

    def _review(self, rest: str) -> None:
        from .judging import review_line

        review_line(rest, self.shell.user_ns)

    def matcher(self) -> Callable[[Any], Any]:
        """Completes flags, frames and models on Tab."""

        @context_matcher(identifier="ondine_nb", priority=100)  # type: ignore[untyped-decorator]
        def match(context: Any) -> Any:
            from .arguments import matcher

            return matcher(self)(context)

        return match  # type: ignore[no-any-return]


def _told(work: Callable[[], Any]) -> Any:
    """Do `work`; what can't be run is told in one line, as IPython tells usage errors."""
    try:
        return work()
    except ConfigurationError as error:
        raise UsageError(str(error)) from None


def _interrupt(what: str) -> KeyboardInterrupt:
    """A KeyboardInterrupt that is shown as one line, without our own frames."""
    error = KeyboardInterrupt(what)
    lines = [f"KeyboardInterrupt: {what}"]
    error._render_traceback_ = lambda: lines  # type: ignore[attr-defined]
    return error


async def _frame_of(run: Any) -> Any:
    """What is there, put together in a thread: a large frame would hold the loop up."""
    try:
        return await asyncio.to_thread(lambda: run.frame)
    except asyncio.CancelledError:  # interrupted once more
        return run.frame


async def _settle(run: Any) -> None:
    """Give what is in flight a moment to end: then the cell's last card is the final one.

    What comes after the cell has ended is not seen by nbclient, so not saved by nbconvert.
    """
    over = asyncio.Event()
    run.when_over(lambda _: over.set())
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_GRACE_SECONDS):
            await over.wait()


class _Captured:
    """The view under `%%capture`: what is captured is shown later, when a live card is dead."""

    def __init__(self, run: Any) -> None:
        self.run = run

    def prepare(self) -> None:
        from .card import prepare

        prepare(self.run)

    def finish(self, *, told: bool = False) -> None:
        from IPython.display import publish_display_data

        from .card import mimebundle

        publish_display_data(mimebundle(self.run))  # type: ignore[no-untyped-call]
