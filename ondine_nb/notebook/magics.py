"""`%%ondine` and `%ondine`."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from IPython.core.displaypub import CapturingDisplayPublisher
from IPython.core.error import UsageError
from IPython.core.magic import Magics, line_cell_magic, magics_class, no_var_expand
from traitlets import Any as AnyTrait
from traitlets import Bool, Dict, Unicode

from ..errors import ConfigurationError, OndineError, nearest
from ..orchestration.sync_executor import run_in_thread
from .arguments import HelpRequested, parse_line, resolve_frame
from .html.texts import money

__all__ = ["OndineMagics"]

_NOT_FOR_THE_PIPELINE = ("out", "input", "dry_run", "background", "quiet")
_GRACE_SECONDS = 0.4  # how long a cell's end waits for what is in flight, to show the final card


@dataclass
class _Record:
    """A run of this session as `%ondine runs` lists it, without keeping its frame alive."""

    name: str
    source: str
    reference: weakref.ref[Any]
    last: str = ""

    def line(self) -> str:
        run = self.reference()
        return self.last if run is None else _summary(run)


@magics_class
class OndineMagics(Magics):
    """Each option of `%%ondine` can be set for the session: `%config OndineMagics.budget = 5`."""

    input = Unicode(None, allow_none=True, help="-i: the DataFrame").tag(config=True)
    model = Unicode(None, allow_none=True, help="--model").tag(config=True)
    schema = AnyTrait(None, allow_none=True, help="--schema").tag(config=True)
    column = Unicode(None, allow_none=True, help="--column").tag(config=True)
    overwrite = Bool(False, help="--overwrite").tag(config=True)
    budget = AnyTrait(None, allow_none=True, help="--budget, in USD").tag(config=True)
    concurrency = AnyTrait(None, allow_none=True, help="--concurrency").tag(config=True)
    max_tokens = AnyTrait(None, allow_none=True, help="--max-tokens").tag(config=True)
    effort = Unicode(None, allow_none=True, help="--effort").tag(config=True)
    thinking = Unicode(None, allow_none=True, help="--thinking").tag(config=True)
    system = Unicode(None, allow_none=True, help="--system").tag(config=True)
    params = Dict(help="-p: values for names in the prompt").tag(config=True)
    sample = AnyTrait(None, allow_none=True, help="--sample, in rows").tag(config=True)
    dry_run = Bool(False, help="--dry-run").tag(config=True)
    background = Bool(False, help="--background").tag(config=True)
    fresh = Bool(False, help="--fresh").tag(config=True)
    timeout = AnyTrait(None, allow_none=True, help="--timeout, in seconds").tag(config=True)
    on_error = Unicode(None, allow_none=True, help="--on-error").tag(config=True)
    base_url = Unicode(None, allow_none=True, help="--base-url").tag(config=True)
    price_in = AnyTrait(None, allow_none=True, help="--price-in").tag(config=True)
    price_out = AnyTrait(None, allow_none=True, help="--price-out").tag(config=True)
    quiet = Bool(False, help="--quiet").tag(config=True)

    shell: Any

    def __init__(self, shell: Any) -> None:
        super().__init__(shell)
        self._records: list[_Record] = []

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
            return
        run = self._open(request, pipeline)
        run.start()
        if request.options["background"]:
            self._bind_later(request, run)
            return
        await self._wait(request, run)

    async def _wait(self, request: _Request, run: Any) -> None:
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
            self._bind(request, run)
        if interrupted:
            raise _interrupt(_kept(request, run))

    def _run_blocking(self, line: str, cell: str) -> None:
        """The same in a worker thread, where the cell can't be awaited; Interrupt stops it."""
        request = self._request(line, cell)
        if request is None:
            return
        pipeline = _told(request.pipeline)
        if request.options["dry_run"]:
            run_in_thread(lambda: self._dry_run(pipeline))
            return
        run = self._open(request, pipeline, interrupt_only=True)
        if request.options["background"]:
            self._start_in_background(run)
            self._bind_later(request, run)
            return
        try:
            _told(run.execute)
        except KeyboardInterrupt:
            raise _interrupt(_kept(request, run)) from None
        finally:
            self._bind(request, run)

    def _start_in_background(self, run: Any) -> None:
        def work() -> None:
            try:
                run.execute()
            except OndineError:
                return  # the run holds it, and its card shows it

        threading.Thread(target=work, name="ondine-background", daemon=True).start()

    def _request(self, line: str, cell: str) -> _Request | None:
        """The cell's options, with the session's where the cell has none; None after `--help`."""
        try:
            given = parse_line(line, self.shell.user_ns)
            options = self._configured() | given
            if self.params or "params" in given:
                options["params"] = {**self.params, **given.get("params", {})}
            frame = resolve_frame(options["input"], self.shell.user_ns)
        except HelpRequested as answer:
            print(answer)
            return None
        except ConfigurationError as error:
            raise UsageError(str(error)) from None
        return _Request(options, frame, cell.strip("\n"))

    def _configured(self) -> dict[str, Any]:
        names = self.class_own_traits(config=True)
        return {name: getattr(self, name) for name in names if name != "params"}

    def _open(self, request: _Request, pipeline: Any, *, interrupt_only: bool = False) -> Any:
        """The run and its view, under its name in the notebook."""
        from ..run import Run

        run = Run(pipeline, name=request.out)
        run.interrupt_only = interrupt_only
        request.view = self._view(run, request)
        self._keep(request, run)
        return run

    def _keep(self, request: _Request, run: Any) -> None:
        """The run is OUT_run, stands in the list of runs, and binds OUT anew by `retry_failed`."""
        self.shell.user_ns[f"{request.out}_run"] = run
        record = _Record(run.name, run.source, weakref.ref(run))
        self._records.append(record)
        run.when_over(lambda over: setattr(record, "last", _summary(over)))
        run.when_retried(lambda retry: self._keep_retry(request, retry))

    def _keep_retry(self, request: _Request, retry: Any) -> None:
        self._keep(request, retry)
        retry.when_over(lambda over: self.shell.user_ns.update({request.out: over.frame}))

    def _view(self, run: Any, request: _Request) -> Any:
        if request.options["quiet"]:
            if run.note:
                print(run.note)
            return None
        if not hasattr(self.shell, "kernel"):
            from ..orchestration import ProgressBarObserver

            run.context.observers.append(ProgressBarObserver())
        if isinstance(self.shell.display_pub, CapturingDisplayPublisher):
            return _Captured(run)
        from .run_view import WidgetObserver

        view = WidgetObserver(run)
        run.context.observers.append(view)
        view.show()
        return view

    def _bind(self, request: _Request, run: Any) -> None:
        """OUT is what is there, and the view shows how it stands; later too, while it drains."""
        self.shell.user_ns[request.out] = run.frame
        if request.view is not None:
            request.view.finish()
            if run.state == "stopping":
                run.when_over(lambda _: request.view.finish())

    def _bind_later(self, request: _Request, run: Any) -> None:
        self.shell.user_ns.pop(request.out, None)
        run.when_over(lambda over: self._bind(request, over))

    async def _dry_run(self, pipeline: Any) -> None:
        from ..estimation import Estimator
        from .dry_run import show

        estimator = Estimator(pipeline.job())
        try:
            estimate = await estimator.estimate()
        except ConfigurationError as error:
            raise UsageError(str(error)) from None
        show(pipeline, estimator.tally, estimate)

    # -- the line

    def _line(self, line: str) -> None:
        word, _, rest = line.strip().partition(" ")
        commands: dict[str, Callable[[str], None]] = {
            "": self._runs,
            "runs": self._runs,
            "stop": self._stop,
            "models": self._models,
            "panel": self._panel,
            "doctor": self._doctor,
        }
        if word not in commands:
            near = nearest(word, [name for name in commands if name])
            hint = f" Did you mean `%ondine {near}`?" if near else ""
            names = ", ".join(name for name in commands if name)
            raise ConfigurationError(
                f"there is no `%ondine {word}` ({names}).{hint} To run a prompt, start a cell "
                "with %%ondine"
            )
        commands[word](rest.strip())

    def _runs(self, rest: str) -> None:
        print("\n".join(record.line() for record in self._records) or "No run in this session yet.")

    def _stop(self, name: str) -> None:
        runs = [run for record in self._records if (run := record.reference()) is not None]
        active = [run for run in runs if run.state in ("pending", "running", "paused", "stopping")]
        wanted = [run for run in active if name in ("", run.name, f"{run.name}_run", run.id)]
        if not active:
            raise ConfigurationError("no run is under way")
        if not wanted:
            names = ", ".join(run.name for run in active)
            raise ConfigurationError(f"no run '{name}' is under way, but {names}")
        for run in wanted:
            again = run.state == "stopping"
            run.stop()
            what = f"{run.context.gauges.in_flight:,} in flight"
            end = "cancelled (perhaps billed)" if again else "are finished and kept"
            print(f"{run.name}: nothing more is sent, {what} {end}")

    def _models(self, rest: str) -> None:
        from .listings import models

        print(models(self.base_url, self.price_in, self.price_out))

    def _doctor(self, rest: str) -> None:
        from .listings import doctor

        print(doctor(self.shell))

    async def start(self, options: dict[str, Any], frame: Any, prompt: str) -> Any:
        """Start a run as `--background` does, and give it. Raises `ConfigurationError`."""
        request = _Request(self._configured() | options, frame, prompt)
        pipeline = await asyncio.to_thread(request.pipeline)
        run = self._open(request, pipeline)
        run.start()
        self._bind_later(request, run)
        return run

    def _panel(self, rest: str) -> None:
        from .panel import from_line

        from_line(self, rest)

    def matcher(self) -> Callable[[Any], Any]:
        """Completes flags, frames and models on Tab."""
        from .completion import matcher

        return matcher(self)


@dataclass
class _Request:
    """One cell: its options, its frame and its prompt."""

    options: dict[str, Any]
    frame: Any
    prompt: str
    view: Any = None

    @property
    def out(self) -> str:
        return str(self.options.get("out") or "_ondine")

    def pipeline(self) -> Any:
        """Raises `ConfigurationError` for what can't be run."""
        from ..pipeline import Pipeline

        source = self.options["input"]
        name = source if isinstance(source, str) and len(source) <= 40 else "the frame"
        wanted = {
            option: value
            for option, value in self.options.items()
            if option not in _NOT_FOR_THE_PIPELINE and value is not None and value is not False
        }
        return Pipeline(self.frame, self.prompt, name=name, **wanted)


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


def _kept(request: _Request, run: Any) -> str:
    context = run.context
    return (
        f"{request.out} has {context.done_rows:,} of {context.total_rows:,} rows. Run the cell "
        "again for the rest: what is answered or in flight is not paid again"
    )


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

    def finish(self) -> None:
        from IPython.display import publish_display_data

        from .run_view import mimebundle

        publish_display_data(mimebundle(self.run))  # type: ignore[no-untyped-call]


def _summary(run: Any) -> str:
    context = run.context
    cost = "price unknown" if run.cost is None else money(run.cost)
    return (
        f"{run.name:<16} {run.state:<9} {context.done_rows:,} of {context.total_rows:,} rows, "
        f"{context.failed_rows:,} failed, {context.journal_rows:,} from the journal, {cost}  "
        f"({run.source}, {run.model})"
    )
