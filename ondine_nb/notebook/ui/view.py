"""Live views in the browser: an anywidget with a state, and messages that ask and are answered.

A view is one ES module and one style sheet of ours, without a build step; `assets/view.js` and
`assets/view.css` are what all of them share. The browser asks by messages with an id, and asks
again where no answer comes: what was answered under an id before is answered alike, not done twice.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import uuid
from abc import ABC, abstractmethod
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator, Mapping
from contextvars import ContextVar
from functools import cache
from typing import Any, ClassVar, TypeAlias

from .display import Place, cell_number, in_marimo, in_notebook, view_of
from .templates import module, sheet
from .text import safe
from .worker import ViewWorker

__all__ = ["LiveView"]

logger = logging.getLogger("ondine_nb")

MOST_ANSWERS = 16  # that are kept for who asks again
MOST_VIEWS = 8  # live at once; of an older one the static form is left

_OPEN: deque[LiveView] = deque()
_Places: TypeAlias = tuple[Place, Place]  # of the live view, and of the static one behind it
_PLACES: ContextVar[_Places | None] = ContextVar("ondine_places", default=None)


@cache
def _widget_class(script: str, style: str, inside: tuple[str, ...] = ()) -> Any:
    """The anywidget of one kind of view; made on first use, for it costs 60 ms to import.

    Each kind has a class of its own, named by its whole path: a page keeps one sheet for each name.
    """
    import anywidget
    import traitlets

    known = {
        "__module__": __name__,
        "_esm": module(script, *(f"{name}.js" for name in inside)),
        "_css": sheet(style, *(f"{name}.css" for name in inside)),
        "state": traitlets.Dict().tag(sync=True),
    }
    name = style.removesuffix(".css").title().replace("/", "")
    return type(name, (anywidget.AnyWidget,), known)


def _places() -> _Places:
    live = Place()
    return live, live.beside()


class LiveView(ABC):
    """A live view in the browser, with its static form behind it for the saved notebook.

    A subclass names its `module` and `sheet` (assets as "results/results.js") and gives its
    first `state`, what the browser may ask (`actions`: called by name with the message's keywords,
    one at a time, in whatever thread, giving what JSON can say), and its forms without a browser.
    Views that may stand `inside` it, put there by `hold`, are named by their assets' stem.
    """

    module: ClassVar[str]
    sheet: ClassVar[str]
    inside: ClassVar[tuple[str, ...]] = ()  # as "comparison/comparison"
    opens_others: bool = False  # whether a click in it may show another view below it

    def __init__(self) -> None:
        self.mark: str = uuid.uuid4().hex[:12]
        self.lock: threading.RLock = threading.RLock()
        self._sending = threading.Lock()
        self._answered: OrderedDict[str, dict[str, Any]] = OrderedDict()
        self._worker = ViewWorker(self.complain)
        self._widget: Any = None
        self._closed = False
        self._cell: int | None = None
        self._held: dict[str, LiveView] = {}
        self._holder: tuple[LiveView, str] | None = None
        self._places: _Places | None = None
        self._below: _Places | None = None

    # -- what a subclass says

    @property
    @abstractmethod
    def actions(self) -> Mapping[str, Callable[..., Any]]:
        """What the browser may ask, by name."""

    @abstractmethod
    def state(self) -> dict[str, Any]:
        """What the browser knows from the start, and again after a reload of its page."""

    @abstractmethod
    def static(self) -> str:
        """HTML that stands for the view in a saved notebook; its root has `static_class`."""

    @abstractmethod
    def plain(self) -> str:
        """The view as text, for a terminal."""

    # -- what it is

    @property
    def static_class(self) -> str:
        """The class by which the live view hides its static form."""
        return f"ondine-static-{self.mark}"

    @property
    def widget(self) -> Any:
        """The anywidget, made on first use."""
        with self.lock:
            if self._widget is None:
                made = _widget_class(self.module, self.sheet, self.inside)(state=self._full_state())
                made.on_msg(lambda _widget, content, _buffers: self._hear(content))
                self._widget = made
            return self._widget

    @property
    def closed(self) -> bool:
        """Whether the live view is gone."""
        return self._closed

    @contextlib.contextmanager
    def shown_below(self) -> Iterator[None]:
        """What a view shows in here stands right below this one: a click belongs to no cell."""
        token = _PLACES.set(self._below)
        try:
            yield
        finally:
            _PLACES.reset(token)

    # -- showing

    def show(self) -> None:
        """Show the live view here and, hidden behind it, the static one that is saved.

        In a terminal its text is printed. In marimo it shows as the value of its cell.
        """
        if in_marimo():
            return
        if not in_notebook():
            print(self.plain())
            return
        self._cell = cell_number()
        live, _ = self._places = _PLACES.get() or _places()
        live.show({**view_of(self.widget), "text/plain": ""})
        self.show_static()
        if self.opens_others:
            self._below = live.beside(), live.beside()
            for place in self._below:
                place.show({"text/plain": "", "text/html": ""})
        _OPEN.append(self)
        while len(_OPEN) > MOST_VIEWS:
            _OPEN.popleft().close()

    def show_static(self) -> None:
        """Bring the static form up to date."""
        if self._places is not None:
            self._places[1].show({"text/html": self.static(), "text/plain": self.plain()})

    def _ipython_display_(self) -> None:
        if self._cell is None or self._cell != cell_number():  # else it stands in this output
            self.show()

    def _display_(self) -> Any:
        return self.widget  # that is what marimo asks for

    def close(self) -> None:
        """End the live view: the static one shows in its place."""
        self._closed = True
        self._worker.close()
        if self._widget is not None:
            self._widget.close()
        with contextlib.suppress(ValueError):
            _OPEN.remove(self)

    def hold(self, name: str, view: LiveView | None) -> None:
        """Have `view` stand inside this one: what it asks and is told goes by this one's widget.

        `name` is that of its script; None takes out what stands there.
        """
        if (before := self._held.pop(name, None)) is not None:
            before._holder = None
        if view is not None:
            self._held[name], view._holder = view, (self, name)

    # -- to the browser

    def set_state(self) -> dict[str, Any]:
        """Send the state as it is now; gives it."""
        state = self._full_state()
        if self._holder is not None:
            holder, name = self._holder
            holder.tell("inside", view=name, state=state)
        elif self._widget is not None and not self._closed:
            with self._sending:
                self._widget.state = state
        return state

    def tell(self, what: str, **known: Any) -> None:
        """Tell every browser that shows the view: `what` is the name of a listener there."""
        self._send({"tell": what, **known})

    def complain(self, error: BaseException) -> None:
        """Say in the view that something went wrong there."""
        logger.warning("a view: %s: %s", type(error).__name__, error)
        self.tell("note", text=f"{type(error).__name__}: {safe(error)}")

    def later(self, name: str, work: Callable[[], None]) -> None:
        """Do `work` in the view's own thread; of what is asked under one name only the last."""
        self._worker.ask(name, work)

    def wait(self, seconds: float = 30.0) -> None:
        """Wait until what was asked so far is done. Raises TimeoutError."""
        self._worker.wait(seconds)

    def _full_state(self) -> dict[str, Any]:
        told = {**self.state(), "static": self.static_class}
        if self.inside:
            told["inside"] = {name: view._full_state() for name, view in self._held.items()}
        return told

    def _send(self, message: dict[str, Any]) -> None:
        if self._holder is not None:
            holder, name = self._holder
            holder.tell("inside", view=name, message=message)
        elif self._widget is not None and not self._closed:
            with self._sending:
                self._widget.send(message)

    # -- from the browser

    def _hear(self, content: Any) -> None:
        """A message, in the thread in which it came: the kernel's first, or a subshell's."""
        if not isinstance(content, dict) or "id" not in content or self._closed:
            return
        if in_notebook() and threading.current_thread() is threading.main_thread():
            self._worker.ask(str(content["id"]), lambda: self._answer(content))  # a loop runs here
        else:
            self._answer(content)

    def _answer(self, content: dict[str, Any]) -> None:
        self._send(self._answered_once(content))

    def _answered_once(self, content: dict[str, Any]) -> dict[str, Any]:
        key = str(content["id"])
        with self.lock:
            answer = self._answered.get(key)
            if answer is None:
                answer = self._answered[key] = self._done(content)
                while len(self._answered) > MOST_ANSWERS:
                    self._answered.popitem(last=False)
        return {"id": key, **answer}

    def _done(self, content: dict[str, Any]) -> dict[str, Any]:
        """`{"ok": …}`, or `{"error": line}`."""
        held = self._held.get(str(content.get("inside")))
        if held is not None:
            return {"ok": held._answered_once(content["message"])}
        action = self.actions.get(str(content.get("ask")))
        if action is None:
            return {"error": f"this view has no {content.get('ask')!r}"}
        try:
            return {"ok": action(**content.get("given", {}))}
        except Exception as error:  # told where it was asked; the next thing may well be possible
            logger.warning("a view: %s: %s", type(error).__name__, error)
            return {"error": f"{type(error).__name__}: {safe(error)}"}
