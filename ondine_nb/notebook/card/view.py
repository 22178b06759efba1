"""Shows a run as a live card of widgets that ends as static HTML: an observer of the run.

JupyterLab doesn't save widget state, so at the end the display is replaced, through its
`display_id`, by HTML that survives save, reopen, nbconvert and GitHub. ipywidgets and jinja2 are
imported when the first card is shown, to keep `%load_ext` fast.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from dataclasses import replace
from typing import Any

from ...models import ExecutionResult
from ...orchestration import ExecutionContext, ExecutionObserver, PipelineStage
from ..ui import (
    CellOutput,
    Place,
    at_cell_ends,
    cell_number,
    in_notebook,
    may_click,
    nobody_there,
    not_at_cell_ends,
    row_count,
    safe,
    shown_at,
    vacate,
    view_of,
)
from .answers import answers_of, counted, media_of, rows_kept
from .card import Card, can_retry, plain, render
from .figures import ENDED, RunLike
from .pictures import CardPictures
from .throughput import History
from .widgets import RETRY, STOP_AGAIN, ButtonRow, CardWidgets, Step, page_mark

__all__ = ["WidgetObserver", "follow", "mimebundle", "shown_elsewhere", "shows_live"]

logger = logging.getLogger("ondine_nb")

REDRAW = 0.1  # seconds between redraws, on average: a ticker that comes a little early isn't late
BYTES_A_SECOND, ENVELOPE = 16_000, 1_200  # to the browser at most; what a message has around it
RELOAD, ASKS = 4.0, 30.0  # seconds that a page takes to load at least, and then to ask at most
SAVED_FROM, SAVED_EVERY = 5.0, 6.0  # seconds until a stand-in is there, and then between two
DRAINING = 1.0  # seconds between two static cards of a run whose last requests are in flight
MOST_UNDER = 2  # outputs of what is opened under a card: the live one, and what is saved of it
MOST_KEPT = 8  # live cards of ended runs, kept for pages that no replacement reaches

LOOK, REVIEW, RETRY_FAILED, IMPROVE = (
    "Look through", "Review", "Retry failed", "Improve this prompt",
)  # fmt: skip
JUDGE = "Say of rows whether they are right, and know how many are"
TRY = "Open the workbench with the prompt and the settings of this cell"

# An output can't be taken away again: what is left of one is hidden by the style sheet.
NOTHING = '<div class="ondine-none"></div>'
FIRST_LOOK = '<div class="ondine-first-look"></div>'

_KEPT: deque[CardWidgets] = deque()
_ELSEWHERE: ContextVar[bool] = ContextVar("shown elsewhere", default=False)


def mimebundle(run: RunLike, *, told: bool = False, quickly: bool = False) -> dict[str, str]:
    """The run's card as it is now, for `run` as the last expression of a cell.

    Where the cell tells the error that ended the run (`told`), the card doesn't repeat it. To count
    the answers takes time by the number of rows: `quickly`, those of many rows are left out.
    """
    history = next((view.history for view in _views(run)), None)
    answers = None if quickly and not counted(run) else answers_of(run)
    card = Card.of(run, history.last if history is not None else None, answers=answers)
    card = replace(card, error="") if told else card
    html = render(card, live=False, as_of="" if card.ended else _now())
    return {"text/html": html, "text/plain": plain(card)}


def prepare(run: Any) -> None:
    """Make what takes time of the card of a run that is over: it is kept for `mimebundle`."""
    with contextlib.suppress(Exception):  # whoever draws the card says so
        answers_of(run)


def _now() -> str:
    return time.strftime("%H:%M:%S")


def shows_live(run: Any) -> bool:
    """Show a live card of a run that goes on; False where its static card is what to show."""
    if any(view.cell is not None and view.cell == cell_number() for view in _views(run)):
        return True  # this very cell shows it already
    if run.state in ENDED or not in_notebook():
        return False
    follow(run)
    return True


def follow(run: Any) -> None:
    """Show a run live here, until it is over; not where somebody else shows it."""
    if _ELSEWHERE.get():
        return
    view = WidgetObserver(run)
    run.context.observers.append(view)
    view.show()
    run.when_over(lambda _: view.finish())


@contextlib.contextmanager
def shown_elsewhere() -> Iterator[None]:
    """Runs that begin in here have a view of their own: `follow` shows none."""
    token = _ELSEWHERE.set(True)
    try:
        yield
    finally:
        _ELSEWHERE.reset(token)


class WidgetObserver(ExecutionObserver):
    """Shows a run live: `show()` before it starts, `finish()` when nothing of it is in flight.

    In between it redraws on the run's events. In a terminal it draws nothing live (a progress bar
    does that better) and `finish()` prints the card. All methods may be called from any thread.
    """

    def __init__(self, run: RunLike) -> None:
        self.run: RunLike = run
        self.history: History = History()
        self.cell: int | None = None  # the number of the cell that shows it
        self._place = self._below = Place()
        self._widgets: CardWidgets | None = None
        self._row: ButtonRow | None = None
        self._under: tuple[Place, ...] = ()  # for what the buttons open
        self._opened = ""  # the name of the button whose view is open
        self._cell = CellOutput()
        self._lock = threading.RLock()
        self._due = 0.0  # when progress may be drawn next (monotonic seconds)
        self._broken = False
        self._where = ""  # "", "widgets" or "terminal": where `show` has shown
        self._final: dict[str, str] = {}
        self._page: Any = None
        self._shown = 0.0  # when the widgets were displayed (monotonic seconds)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._clicks = False
        self._stand_in_due = 0.0  # when what stands in for the card is to be renewed
        self._stands_in = ""  # the state that it says
        self._told = False  # whether the cell itself tells the error that ended the run
        self._unattended: dict[str, str] | None = None  # what was shown last at a cell's end

    def show(self) -> None:
        """Display the live card; once only."""
        with self._lock:
            if self._where:
                return
            self._where = "widgets" if in_notebook() else "terminal"
            if self._where == "widgets":
                self.cell, self._clicks = cell_number(), may_click()
                if nobody_there():
                    at_cell_ends(self._at_cell_end)
                self._cell = CellOutput()
                with contextlib.suppress(RuntimeError):
                    self._loop = asyncio.get_running_loop()
                self._show_widgets()

    def _show_widgets(self) -> None:
        self._widgets, self._page = CardWidgets(self.run, self.redraw), page_mark()
        self._shown = time.monotonic()
        self._stand_in_due = self._shown + SAVED_FROM
        self.redraw()
        # Text and HTML are for where no widget shows; the box's repr would hold the style sheet.
        card = Card.of(self.run)
        html = FIRST_LOOK if self._clicks else render(card, live=False)
        bundle = view_of(self._widgets.box)
        self._place.show({**bundle, "text/html": html, "text/plain": plain(card)})
        if self._below is self._place:
            self._below = self._place.beside()

    def redraw(self) -> None:
        """Draw the card as it is now; one that can't be drawn is logged once, the run goes on."""
        with self._lock:
            if self._widgets is None:
                return
            try:
                now = time.monotonic()
                card = Card.of(self.run, self.history.pace(self.run, now), live=True)
                self._wait_for(self._widgets.draw(card))
                self._stand_in(now)
            except Exception as error:
                self._complain(error)

    def _wait_for(self, size: int) -> None:
        """A large card is drawn less often: a browser far away has to take it all in."""
        if size:
            self._due += max(0.0, (size + ENVELOPE) / BYTES_A_SECOND - REDRAW)

    def _stand_in(self, now: float) -> None:
        """What a notebook shows that is saved while the run goes on: JupyterLab saves no widgets.

        It lies in an output of its own below the card, hidden as long as the card is there.
        """
        state = self.run.state
        due = now >= self._stand_in_due or (self._stands_in and state != self._stands_in)
        if self._clicks and due and state not in ENDED:
            self._stand_in_due, self._stands_in = now + SAVED_EVERY, state
            card = Card.of(self.run, self.history.last)
            self._show_below(render(card, live=False, stands_in=True, as_of=_now()), plain(card))

    def _at_cell_end(self, _: Any) -> None:
        """Show how the run stands as a part of the cell that ends: what comes between two cells is
        not seen by those who save outputs without a person (nbclient, papermill).
        """
        with self._lock:
            bundle = mimebundle(self.run, told=self._told)
            if bundle != self._unattended:
                self._unattended = bundle
                self._place.show(bundle)
            if self.run.state in ENDED:
                not_at_cell_ends(self._at_cell_end)

    def _complain(self, error: Exception) -> None:
        if not self._broken:
            logger.warning("the run view can't be drawn: %s: %s", type(error).__name__, error)
        self._broken = True

    def prepare(self) -> None:
        """Make what the last card of many rows or of pictures shows, before `finish`, in a thread.

        Where somebody can click that card comes at once, and these later.
        """
        if not self._clicks:
            prepare(self.run)

    def finish(self, *, told: bool = False) -> None:
        """Replace the live card by the static one; in a terminal, print it.

        May be called later than the cell's end, and again: then it shows what has changed since
        (a stopped run whose last answers came in). While answers are in flight a Stop button for
        the second Stop stands below: call again when the run is over. The cell tells an error that
        was `told`, so that the card doesn't.
        """
        with self._lock:
            self._told = self._told or told
            if self._where == "terminal" and not self._final:
                self._final = mimebundle(self.run, told=self._told)
                print(self._final["text/plain"])
            elif self._where == "widgets":
                self._finish_widgets()

    def _finish_widgets(self) -> None:
        widgets = self._widgets
        if widgets is not None:
            self.redraw()  # the last mark of its history
        # Where nobody looks, it is the file that counts; else the loop must not wait for many rows.
        bundle = mimebundle(self.run, told=self._told, quickly=self._clicks)
        if bundle == self._final:
            return
        self._place.show(bundle)
        self._final, self._widgets = bundle, None
        if widgets is not None:
            self._let_go(widgets)
        self._offer()
        if not counted(self.run):
            threading.Thread(target=self._count_answers, args=(self.run,), daemon=True).start()

    def _count_answers(self, run: Any) -> None:
        """Count the answers of many rows beside the loop, then show them."""
        try:
            answers_of(run)
        except Exception as error:  # the card stands without them
            self._complain(error)
            return
        with self._lock:
            if self.run is run and self._widgets is None:
                self._final = mimebundle(run, told=self._told)
                self._place.show(self._final)

    def _let_go(self, widgets: CardWidgets) -> None:
        """Close the widgets, unless a page was loaded since: what is shown there can't be replaced,
        and a closed widget that still shows is an error message.

        A page that is loaded while a cell runs can't ask for its widgets before the cell has ended.
        """
        loop, page = self._loop, self._page
        at_once = loop is None or time.monotonic() - self._shown < RELOAD
        if at_once and page_mark() is page:
            widgets.close()
            return
        _KEPT.append(widgets)
        while len(_KEPT) > MOST_KEPT:
            _KEPT.popleft().close()
        if loop is not None and not loop.is_closed():
            loop.call_soon_threadsafe(loop.call_later, ASKS, _drop, widgets, page)

    # -- what can be done with a run when its card is static

    def _offer(self) -> None:
        """Buttons, where somebody may be there; of a saved notebook the card says how."""
        steps = self._offered()
        if not steps:
            if self._below.used:
                self._show_below(NOTHING)
            return
        if self._row is None or self._row.names != tuple(step.name for step in steps):
            old, self._row = self._row, ButtonRow(steps, self._beside())
            bundle = view_of(self._row.box)
            nothing = {"text/html": NOTHING, "text/plain": ""}
            self._cell.show(self._below, {**bundle, **nothing})
            if old is not None:
                old.close()
        self._row.enable(True)
        if not self._under and len(steps) > 1:
            self._under = tuple(self._below.beside() for _ in range(MOST_UNDER))

    def _beside(self) -> list[Any]:
        """What opens the card's pictures, where it has any."""
        if not media_of(self.run) or self.run.state not in ENDED:
            return []
        return [CardPictures(lambda: self.run).widget]

    def _offered(self) -> list[Step]:
        """Stop while the last requests are in flight, then what is next; under one card only."""
        first = next(_views(self.run), self)
        if not self._clicks or self._loop is None or first is not self:
            return []
        if self.run.state == "stopping" and not getattr(self.run, "interrupt_only", False):
            return [Step("Stop", STOP_AGAIN, self._on_stop)]
        steps = []
        if rows_kept(self.run) and hasattr(self.run, "show"):
            look = f"See all {row_count(rows_kept(self.run) or 0)}: filter, sort, read one in full"
            steps.append(Step(LOOK, look, self._opener(LOOK, self._look), main=True))
            if hasattr(self.run, "review"):
                steps.append(Step(REVIEW, JUDGE, self._opener(REVIEW, self._review)))
        if can_retry(self.run):
            steps.append(Step(RETRY_FAILED, RETRY, self._on_retry))
        pipeline = getattr(self.run, "pipeline", None)
        if steps and pipeline is not None and not pipeline.streams:
            steps.append(Step(IMPROVE, TRY, self._opener(IMPROVE, self._improve)))
        return steps

    # -- what is opened under the card

    def _opener(self, name: str, show: Callable[[], None]) -> Callable[[], None]:
        """What a click does: on the loop, and as a part of the cell that has shown the card."""

        def click() -> None:
            if self._loop is not None and not self._loop.is_closed():
                context = self._cell.context.copy()
                self._loop.call_soon_threadsafe(self._open, name, show, context=context)

        return click

    def _open(self, name: str, show: Callable[[], None]) -> None:
        """Open a view under the card in the place of the one that is open; or close it again."""
        if self._row is None:
            return
        self._close_view()
        opened, self._opened = self._opened, ""
        if opened == name:
            return
        self._row.say("")
        try:
            with self._cell.again():
                for place in self._under:
                    place.show({"text/html": NOTHING, "text/plain": ""})
                with shown_at(*self._under):
                    show()
        except Exception as error:  # shown where the button is; nothing else is lost
            self._row.say(f"{type(error).__name__}: {safe(error)}")
            return
        self._opened = name
        self._row.mark(name)

    def _close_view(self) -> None:
        for place in self._under:
            vacate(place)
            if place.used:
                place.show({"text/html": NOTHING, "text/plain": ""})
        if self._row is not None:
            self._row.mark("")

    def _look(self) -> None:
        run: Any = self.run
        run.show()

    def _review(self) -> None:
        run: Any = self.run
        run.review()

    def _improve(self) -> None:
        from ..workbench import from_run

        from_run(self.run)

    def _on_stop(self) -> None:
        if self._row is not None:
            self._row.buttons["Stop"].disabled = True
        self.run.stop()

    def _show_below(self, html: str, text: str = "") -> None:
        """Show HTML below the card, where the button may have been."""
        self._cell.show(self._below, {"text/html": html, "text/plain": text})
        if self._row is not None:
            self._row.close()
            self._row = None

    def _on_retry(self) -> None:
        if self._loop is None or self._loop.is_closed() or self._row is None:
            return
        self._row.say("", RETRY_FAILED)
        self._loop.call_soon_threadsafe(self._retry)

    def _retry(self) -> None:
        """On the loop that the card was shown on: the retry's card stands where this one stood."""
        run: Any = self.run
        try:
            with shown_elsewhere():
                retry = run.retry_failed()
        except Exception as error:  # shown where the button is; nothing else is lost
            if self._row is not None:
                self._row.say(f"{type(error).__name__}: {safe(error)}", RETRY_FAILED)
            return
        for view in dict.fromkeys([self, *_views(run)]):  # wherever the run is shown
            view._go_on_with(retry)

    def _go_on_with(self, retry: Any) -> None:
        """Show the retry in the place of the run that it asks failed rows of again."""
        with self._lock:
            self.run, self.history, self._final, self._told = retry, History(), {}, False
            retry.context.observers.append(self)
            if self._row is not None:
                self._close_view()
                self._opened = ""
                self._row.enable(False)
            self._show_widgets()
        retry.when_over(lambda _: self.finish())

    # -- what the run tells

    def on_pipeline_start(self, pipeline: Any, context: ExecutionContext) -> None:
        self.redraw()

    def on_stage_start(self, stage: PipelineStage, context: ExecutionContext) -> None:
        """Stages are fused: there is nothing to show of one."""

    def on_stage_complete(
        self, stage: PipelineStage, context: ExecutionContext, result: Any
    ) -> None:
        """Stages are fused: there is nothing to show of one."""

    def on_stage_error(
        self, stage: PipelineStage, context: ExecutionContext, error: Exception
    ) -> None:
        self.redraw()

    def on_pipeline_complete(self, context: ExecutionContext, result: ExecutionResult) -> None:
        self.redraw()

    def on_pipeline_error(self, context: ExecutionContext, error: Exception) -> None:
        self.redraw()

    def on_progress_update(self, context: ExecutionContext) -> None:
        now = time.monotonic()
        if now >= self._due:
            self._due = max(self._due, now - REDRAW) + REDRAW
            self.redraw()
            self._redraw_static(now)

    def _redraw_static(self, now: float) -> None:
        """A stopped run's static card says what is in flight still, whenever it is saved."""
        with self._lock:
            if self._widgets is None and self._final and self.run.state == "stopping":
                self._due = now + DRAINING
                self._final = mimebundle(self.run, told=self._told)
                self._place.show(self._final)


def _drop(widgets: CardWidgets, page: Any) -> None:
    """Close widgets that no page has asked for since the one they were shown on."""
    if page_mark() is page and widgets in _KEPT:
        _KEPT.remove(widgets)
        widgets.close()


def _views(run: Any) -> Iterator[WidgetObserver]:
    """The views that were shown of a run, the first one first."""
    observers = list(run.context.observers)
    return (it for it in observers if isinstance(it, WidgetObserver) and it.run is run)
