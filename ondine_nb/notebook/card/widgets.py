"""ipywidgets of a live card: one region that is redrawn, and real buttons.

ipywidgets is imported when the first card is shown.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from html import escape
from typing import Any, NamedTuple

from ..ui import css
from .card import Card, render

__all__ = ["RETRY", "STOP_AGAIN", "ButtonRow", "CardWidgets", "Step", "close_all", "page_mark"]

DOUBLE_CLICK = 0.3  # seconds in which a second click on Stop is not meant as a second stop
STOP, STOP_AGAIN = (
    "Send nothing more; what is in flight is finished and kept",
    "Stop again to cancel what is in flight (it may be billed all the same)",
)
PAUSE, RESUME = "Send nothing more until Resume", "Go on now"
RETRY = "Ask the failed rows again; each is paid anew"
GONE = (
    "This card stands still: its kernel has ended. Run the cell again, or %ondine resume {name}: "
    "what is answered isn't paid again."
)


class CardWidgets:
    """A constant style sheet, the body, and the buttons of a run.

    `redraw` is called after a click, with the run told what was clicked.
    """

    def __init__(self, run: Any, redraw: Callable[[], None]) -> None:
        import ipywidgets

        self._kit, self._run, self._redraw = ipywidgets, run, redraw
        self._stopped: float | None = None  # when Stop was clicked last
        self._opened = False  # whether the first failed rows are shown
        self.body, self._says = ipywidgets.HTML(), ipywidgets.HTML()
        self._says.add_class("o-says")
        hidden = ipywidgets.Layout(display="none")
        self._style = ipywidgets.HTML(f"<style>{css()}</style>", layout=hidden)
        gone = escape(GONE.format(name=run.name))
        self._gone = ipywidgets.HTML(f'<p role="status">{gone}</p>')
        self._gone.add_class("o-gone")
        self._stop = _button("Stop", STOP, self._on_stop)
        self._pause = _button("Pause", PAUSE, self._on_pause)
        self._show_failed = _button("Show failed rows", "", self._on_show_failed)
        self._buttons, self._more = ipywidgets.HBox(), ipywidgets.HBox()
        self._buttons.add_class("ondine-buttons")
        self._more.add_class("o-more")
        # The buttons stand before the body: reading and tab order are then title, buttons, rows.
        parts = [self._style, self._buttons, self.body, self._more, self._says, self._gone]
        self.box = ipywidgets.VBox(parts)
        self.box.add_class("ondine-view")

    def draw(self, card: Card) -> int:
        """Bring every widget to `card`; what hasn't changed sends no message. Gives the bytes of
        the body where that has."""
        self._draw_buttons(card)
        self._say(card)
        body = render(card, live=True, opened=self._opened and bool(card.failed))
        changed = body != self.body.value
        self.body.value = body
        return len(body.encode()) if changed else 0

    def _draw_buttons(self, card: Card) -> None:
        stopping, paused = card.state == "stopping", card.state == "paused"
        self._stop.tooltip = STOP_AGAIN if stopping else STOP
        self._pause.disabled = stopping
        self._pause.tooltip = RESUME if paused else PAUSE
        self._pause.description = "Resume" if paused else "Pause"
        buttons = [self._pause, self._stop] if card.buttons == 2 else [self._stop]
        self._buttons.children = [] if card.interrupt_only or card.ended else buttons
        shown = bool(card.kinds) and not card.interrupt_only
        self._show_failed.description = "Hide failed rows" if self._opened else "Show failed rows"
        self._more.children = [self._show_failed] if shown else []

    def _say(self, card: Card) -> None:
        """What a screen reader is told: the state when it changes, and each quarter of the way."""
        quarter = 4 * card.done // card.total if card.total and not card.open_ended else 0
        text = f"{card.name}: {card.pill if card.ended else card.state}"
        if quarter and card.state == "running":
            text = f"{card.name}: {25 * quarter} % done"
        self._says.value = f'<p role="status">{escape(text)}</p>'

    def close(self) -> None:
        """Close all widgets of the card."""
        close_all(self.box)
        for widget in (self._stop, self._pause, self._show_failed):
            _close(widget)

    def _on_stop(self, _: Any) -> None:
        now = time.monotonic()
        if self._stopped is None or now - self._stopped >= DOUBLE_CLICK:
            self._stopped = now
            self._run.stop()
        self._redraw()

    def _on_pause(self, _: Any) -> None:
        run = self._run
        run.resume() if run.state == "paused" else run.pause()
        self._redraw()

    def _on_show_failed(self, _: Any) -> None:
        self._opened = not self._opened
        self._redraw()


class Step(NamedTuple):
    """A button under a card: its name, what it does in words, and what a click calls."""

    name: str
    tooltip: str
    on_click: Callable[[], None]
    main: bool = False


class ButtonRow:
    """Buttons under a static card, with room for a word beside them, and what else stands there."""

    def __init__(self, steps: Sequence[Step], beside: Sequence[Any] = ()) -> None:
        import ipywidgets

        self.buttons: dict[str, Any] = {step.name: _step_button(step) for step in steps}
        self._note = ipywidgets.HTML()
        row = ipywidgets.HBox([*self.buttons.values(), self._note])
        row.add_class("o-more")
        self.box = ipywidgets.VBox([row, *beside])
        for name in ("ondine-view", "ondine-retry"):
            self.box.add_class(name)

    @property
    def names(self) -> tuple[str, ...]:
        """The names of its buttons."""
        return tuple(self.buttons)

    def enable(self, enabled: bool) -> None:
        """Show the buttons, or take them away while there is nothing to do."""
        for button in self.buttons.values():
            button.disabled = not enabled
        self.box.layout.display = None if enabled else "none"

    def mark(self, name: str) -> None:
        """Show which button's view is open; "" for none."""
        for known, button in self.buttons.items():
            (button.add_class if known == name else button.remove_class)("o-open")

    def say(self, text: str, name: str = "") -> None:
        """Show a line beside the buttons; the button of that `name` waits while there is none."""
        if name in self.buttons:
            self.buttons[name].disabled = not text
        self._note.value = f'<p role="status">{escape(text)}</p>' if text else ""

    def close(self) -> None:
        """Close the row's widgets."""
        close_all(self.box)


def _step_button(step: Step) -> Any:
    button = _button(step.name, step.tooltip, lambda _: step.on_click())
    if step.main:
        button.add_class("o-main")
    return button


def page_mark() -> Any:
    """Something that is another one after a page has been loaded anew (or a second one opened)."""
    import ipywidgets

    return getattr(ipywidgets.Widget, "_control_comm", None)


def close_all(widget: Any) -> None:
    """Close a widget and all in it: nothing stays behind in the kernel."""
    for child in getattr(widget, "children", ()):
        close_all(child)
    _close(widget)


def _close(widget: Any) -> None:
    for part in (widget, getattr(widget, "layout", None), getattr(widget, "style", None)):
        if part is not None:
            part.close()


def _button(name: str, tooltip: str, on_click: Callable[[Any], None]) -> Any:
    import ipywidgets

    button = ipywidgets.Button(description=name, tooltip=tooltip)
    button.on_click(on_click)
    return button
