"""The run view in a notebook: a live card of widgets that ends as static HTML.

JupyterLab doesn't save widget state, so at the end the display is replaced, through its
`display_id`, by HTML that survives save, reopen, nbconvert and GitHub. ipywidgets and jinja2 are
imported when the first card is shown, to keep `%load_ext` fast.
"""

from __future__ import annotations

import logging
import threading
import time
import uuid
from collections import deque
from typing import Any

from ..contracts import ExecutionContext, ExecutionObserver, PipelineStage
from ..models import ExecutionResult
from .card import Card, Pace, RunLike, plain, render
from .html import css

__all__ = ["WidgetObserver", "mimebundle"]

logger = logging.getLogger("ondine_nb")

DOUBLE_CLICK = 0.3  # seconds in which a second click on Stop is not meant as a second stop
REDRAW = 0.1  # seconds between redraws, on average: a ticker that comes a little early isn't late
WINDOW, ROWS = 12.0, 8  # the recent rate covers at least so many seconds and so many rows
MARKS, BUCKET, BUCKETS = (
    120,
    5.0,
    24,
)  # one mark a second, one point of the trend in five: 2 minutes
STOP, STOP_AGAIN = (
    "Send nothing more; what is in flight is finished and kept",
    "Stop again to cancel what is in flight (it may be billed all the same)",
)


def mimebundle(run: RunLike) -> dict[str, str]:
    """The run's card as it is now, for `run` as the last expression of a cell."""
    card = Card.of(run)
    return {"text/html": render(card, live=False), "text/plain": plain(card)}


class WidgetObserver(ExecutionObserver):
    """Shows a run live: `show()` before it starts, `finish()` when nothing of it is in flight.

    In between it redraws on the run's events. In a terminal it draws nothing live (a progress bar
    does that better) and `finish()` prints the card. All methods may be called from any thread.
    """

    def __init__(self, run: RunLike) -> None:
        self.run = run
        self._display_id = f"ondine-{uuid.uuid4().hex}"
        self._history = _History()
        self._view: _View | None = None
        self._lock = threading.RLock()
        self._due = 0.0  # when progress may be drawn next (monotonic seconds)
        self._broken = False
        self._where = ""  # "", "widgets" or "terminal": where `show` has shown
        self._final: dict[str, str] = {}

    def show(self) -> None:
        """Display the live card; once only."""
        with self._lock:
            if self._where:
                return
            self._where = "widgets" if _in_notebook() else "terminal"
            if self._where == "widgets":
                self._view = _View(self.run, self.redraw)
                self.redraw()
                self._view.display(self._display_id, plain(Card.of(self.run)))

    def redraw(self) -> None:
        """Draw the card as it is now; one that can't be drawn is logged once, the run goes on."""
        with self._lock:
            if self._view is None:
                return
            try:
                pace = self._history.pace(self.run, time.monotonic())
                self._view.draw(Card.of(self.run, pace))
            except Exception as error:
                self._complain(error)

    def _complain(self, error: Exception) -> None:
        if not self._broken:
            logger.warning("the run view can't be drawn: %s: %s", type(error).__name__, error)
        self._broken = True

    def finish(self) -> None:
        """Replace the live card by the static one; in a terminal, print it.

        May be called later than the cell's end, and again: then it shows what has changed since
        (a stopped run whose last answers came in). A run that was stopped by its button keeps the
        button while answers are in flight, for the second Stop: call again when it is over.
        """
        with self._lock:
            if self._where == "terminal" and not self._final:
                self._final = mimebundle(self.run)
                print(self._final["text/plain"])
            elif self._where == "widgets":
                self._finish_widgets()

    def _finish_widgets(self) -> None:
        if self._view is not None and self._view.clicked and self.run.state == "stopping":
            self.redraw()
            return
        bundle = mimebundle(self.run)
        if bundle == self._final:
            return
        _display(bundle, self._display_id, update=True)
        if self._view is not None:
            self._view.close()  # only now: a closed widget that still shows is an error message
        self._final, self._view = bundle, None

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


class _View:
    """The widgets: a constant style sheet, one region that is redrawn, and real buttons."""

    def __init__(self, run: RunLike, redraw: Any) -> None:
        import ipywidgets

        self._run, self._redraw = run, redraw
        self._stopped: float | None = None  # when Stop was clicked last
        self._body = ipywidgets.HTML()
        self._style = ipywidgets.HTML(
            f"<style>{css()}</style>", layout=ipywidgets.Layout(display="none")
        )
        self._stop = self._button("Stop", STOP, self._on_stop)
        self._pause = self._button("Pause", "Send nothing more until Resume", self._on_pause)
        self._buttons = ipywidgets.HBox()
        self._buttons.add_class("ondine-buttons")
        # The buttons stand before the body: reading and tab order are then title, buttons, rows.
        self._box = ipywidgets.VBox([self._style, self._buttons, self._body])
        self._box.add_class("ondine-view")

    def _button(self, name: str, tooltip: str, on_click: Any) -> Any:
        import ipywidgets

        button = ipywidgets.Button(description=name, tooltip=tooltip)
        button.on_click(on_click)
        return button

    @property
    def clicked(self) -> bool:
        """Whether the run was stopped from here, so that somebody is there to see it end."""
        return self._stopped is not None

    def draw(self, card: Card) -> None:
        """Bring every widget to `card`; what hasn't changed sends no message."""
        stopping = card.state == "stopping"
        self._stop.disabled = card.ended
        self._stop.tooltip = STOP_AGAIN if stopping else STOP
        self._pause.disabled = card.ended or stopping
        self._pause.description = "Resume" if card.state == "paused" else "Pause"
        buttons = [self._pause, self._stop] if card.buttons == 2 else [self._stop]
        self._buttons.children = [] if card.interrupt_only else buttons
        self._body.value = render(card, live=True)

    def display(self, display_id: str, text: str) -> None:
        """Show the box; `text` stands in for its repr, which would hold the whole style sheet."""
        bundle = self._box._repr_mimebundle_() or {}
        _display({**bundle, "text/plain": text}, display_id, update=False)

    def close(self) -> None:
        """Close the widgets with their layouts and styles: nothing stays behind in the kernel."""
        for widget in (self._box, self._buttons, self._stop, self._pause, self._body, self._style):
            for part in (widget, widget.layout, getattr(widget, "style", None)):
                if part is not None:
                    part.close()

    def _on_stop(self, _: Any) -> None:
        now = time.monotonic()
        if self._stopped is None or now - self._stopped >= DOUBLE_CLICK:
            self._stopped = now
            self._run.stop()
        self._redraw()

    def _on_pause(self, _: Any) -> None:
        run: Any = self._run
        run.resume() if run.state == "paused" else run.pause()
        self._redraw()


class _History:
    """What the recent rate is measured by: (seconds, rows with an outcome, rows asked), in time."""

    def __init__(self) -> None:
        self._marks: deque[tuple[float, int, int]] = deque(maxlen=MARKS)
        self._bucket: tuple[float, int, int] | None = None
        self._trend: deque[float] = deque(maxlen=BUCKETS)

    def pace(self, run: RunLike, now: float) -> Pace:
        """Note how far the run is at `now` (monotonic seconds), and say how fast it goes."""
        context = run.context
        if run.state != "running":  # a pause is not a slow run
            self._marks.clear()
            self._bucket = None
            return Pace(None, tuple(self._trend))
        here = (now, context.done_rows, context.done_rows - context.journal_rows)
        if not self._marks or now - self._marks[-1][0] >= 1.0:
            self._marks.append(here)
        self._extend_trend(here)
        return Pace(_rate(self._base(here), here), tuple(self._trend))

    def _base(self, here: tuple[float, int, int]) -> tuple[float, int, int]:
        """The newest mark that is far enough back to be measured from, or the oldest there is."""
        for mark in reversed(self._marks):
            if here[0] - mark[0] >= WINDOW and here[1] - mark[1] >= ROWS:
                return mark
        return self._marks[0]

    def _extend_trend(self, here: tuple[float, int, int]) -> None:
        self._bucket = self._bucket or here
        if here[0] - self._bucket[0] >= BUCKET:
            self._trend.append(_rate(self._bucket, here) or 0.0)
            self._bucket = here


def _rate(base: tuple[float, int, int], here: tuple[float, int, int]) -> float | None:
    """Rows a second; None before there is anything to tell it by.

    Rows from the journal come thousands a second and say nothing of the rows that are left: they
    count only as long as no other row came.
    """
    seconds, rows, asked = (new - old for new, old in zip(here, base, strict=True))
    return (asked or rows) / seconds if seconds >= 1.0 and here[1] else None


def _in_notebook() -> bool:
    """Whether a kernel is there, so that widgets can be shown."""
    try:
        from IPython import get_ipython
    except ImportError:
        return False
    return getattr(get_ipython(), "kernel", None) is not None


def _display(bundle: dict[str, Any], display_id: str, update: bool) -> None:
    from IPython import display

    show: Any = display.display  # untyped in IPython
    show(bundle, raw=True, display_id=display_id, update=update)
