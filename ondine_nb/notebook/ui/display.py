"""Display ids: a view is displayed in a cell's output once, then replaced in its place."""

from __future__ import annotations

import asyncio
import contextlib
import sys
import uuid
from collections.abc import Callable, Iterator
from contextvars import Context, ContextVar, copy_context
from typing import Any

__all__ = [
    "CellOutput",
    "Place",
    "at_cell_ends",
    "bind",
    "cell_number",
    "display_bundle",
    "in_marimo",
    "in_notebook",
    "may_click",
    "names_here",
    "nobody_there",
    "not_at_cell_ends",
    "running_loop",
    "shown_at",
    "vacate",
    "view_of",
]


_FREE: ContextVar[list[Place] | None] = ContextVar("places that are free", default=None)
_STANDS_AT: dict[str, Place] = {}  # by the id of what is displayed there


class Place:
    """A place in the output of the cell that first shows something in it.

    It keeps the way of its first output: what comes later, from whatever thread, is never taken by
    a `%%capture` that has begun since.
    """

    def __init__(self) -> None:
        self.id: str = f"ondine-{uuid.uuid4().hex}"
        self.used: bool = False
        self._publisher: Any = None

    def show(self, bundle: dict[str, Any]) -> None:
        """Show `bundle` (MIME type to data), instead of what stands there."""
        self._publisher = self._publisher or _shell().display_pub
        publish(self._publisher, bundle, self.id, update=self.used)
        self.used = True

    @property
    def publisher(self) -> Any:
        """What sends outputs to the cell that this place is in."""
        return self._publisher

    def beside(self) -> Place:
        """Another place, for later: in the same output, whoever runs what then."""
        other = Place()
        self._publisher = self._publisher or _shell().display_pub
        other._publisher = self._publisher
        return other


@contextlib.contextmanager
def shown_at(*places: Place) -> Iterator[None]:
    """What is displayed in here stands at these places, the first at the first one.

    What is shown there later, instead of it, does too, until a place is given to something else:
    what comes from a callback of a widget belongs to no cell of its own.
    """
    for place in places:
        vacate(place)
    token = _FREE.set(list(places))
    try:
        yield
    finally:
        _FREE.reset(token)


def vacate(place: Place) -> None:
    """Take a place from what was displayed there by `shown_at`."""
    for known in [known for known, at in _STANDS_AT.items() if at is place]:
        del _STANDS_AT[known]


def display_bundle(bundle: dict[str, Any], display_id: str | None, *, update: bool) -> None:
    """Show `bundle` (MIME type to data) here, or instead of what was shown under `display_id`.

    Without an id it stays as it is.
    """
    name = display_id or f"ondine-{uuid.uuid4().hex}"
    publish(_shell().display_pub, bundle, name, update=update)


def publish(publisher: Any, bundle: dict[str, Any], display_id: str, *, update: bool) -> None:
    """Send `bundle` by the shell's `publisher`."""
    free = _FREE.get()
    if free and not update:
        _STANDS_AT[display_id] = free.pop(0)
    place = _STANDS_AT.get(display_id)
    if place is not None:
        publisher, display_id, update = place.publisher, place.id, True
    publisher.publish(data=bundle, transient={"display_id": display_id}, update=update)


def view_of(widget: Any) -> dict[str, Any]:
    """The bundle that shows a widget; its own would spend most of its time on its `repr`."""
    known = {"version_major": 2, "version_minor": 0, "model_id": widget.model_id}
    return {"application/vnd.jupyter.widget-view+json": known}


def in_notebook() -> bool:
    """Whether a kernel is there, so that widgets can be shown."""
    return getattr(_shell(), "kernel", None) is not None


def in_marimo() -> bool:
    """Whether this runs in a marimo notebook, which shows a view as the value of its cell."""
    marimo = sys.modules.get("marimo")
    return marimo is not None and bool(marimo.running_in_notebook())


def running_loop() -> asyncio.AbstractEventLoop | None:
    """The loop that runs in this thread, if any."""
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


def may_click() -> bool:
    """Whether a person may be there to click after the cell has ended.

    JupyterLab and Notebook 7 say which cell it is that they run; what runs a notebook without a
    person (nbconvert, papermill) doesn't. Elsewhere nothing stands beside a card: what is shown
    here is told apart by the elements of these two.
    """
    cell = _cell_id()
    return bool(cell) and ":" not in cell  # a URI is how VS Code names its cells


def nobody_there() -> bool:
    """Whether the cell may be run by what saves its outputs for later (nbclient, papermill).

    These take only what comes while a cell runs, and keep what is shown of an earlier one up to it.
    """
    return not _cell_id()


class CellOutput:
    """The cell that runs now, to show something in its output later, from a loop's callback."""

    def __init__(self) -> None:
        self.context: Context = copy_context()
        self._parent: Any = _parent()

    def show(self, place: Place, bundle: dict[str, Any]) -> None:
        """Show `bundle` at `place`, which is in the cell's output from the first time on.

        Who shows it may be a click, or a thread: what these display first is output of no cell, and
        a front end drops it, with all that comes in its place.
        """
        if place.used:
            place.show(bundle)
        else:
            self.context.copy().run(self._show_first, place, bundle)

    def _show_first(self, place: Place, bundle: dict[str, Any]) -> None:
        with self.again():
            place.show(bundle)

    @contextlib.contextmanager
    def again(self) -> Iterator[None]:
        """What is displayed in here is output of the cell. Where a kernel knows cells by more than
        a context, run it in a copy of `context`, too.
        """
        shell, before = _shell(), _parent()
        if self._parent in (None, before) or not hasattr(shell, "set_parent"):
            yield
            return
        shell.set_parent(self._parent)
        try:
            yield
        finally:
            shell.set_parent(before)


def _parent() -> Any:
    shell = _shell()
    return shell.get_parent() if hasattr(shell, "get_parent") else None


def _cell_id() -> str:
    parent = _parent()
    return str(parent.get("metadata", {}).get("cellId", "")) if parent else ""


def at_cell_ends(callback: Callable[[Any], None]) -> None:
    """Call `callback(result)` at the end of each cell, as a part of what that cell shows."""
    events = getattr(_shell(), "events", None)
    if events is not None:
        events.register("post_run_cell", callback)


def not_at_cell_ends(callback: Callable[[Any], None]) -> None:
    """Call it no more."""
    events = getattr(_shell(), "events", None)
    if events is not None:
        with contextlib.suppress(ValueError):
            events.unregister("post_run_cell", callback)


def cell_number() -> int | None:
    """The number of the cell that runs now, or None where nothing counts cells."""
    return getattr(_shell(), "execution_count", None)


def names_here() -> dict[str, Any]:
    """What is bound in the notebook, by name; nothing where there is none."""
    return dict(getattr(_shell(), "user_ns", None) or {})


def bind(name: str, value: Any, mine: str = "") -> str:
    """Bind `value` in the notebook to `mine`, or to the first of `name`, `name_2`, … that is free.

    Gives the name; "" where no notebook's names can be reached.
    """
    names = getattr(_shell(), "user_ns", None)
    if names is None:
        return ""
    number, chosen = 1, mine or name
    while chosen in names and chosen != mine:
        number += 1
        chosen = f"{name}_{number}"
    names[chosen] = value
    return chosen


def _shell() -> Any:
    try:
        from IPython import get_ipython
    except ImportError:
        return None
    return get_ipython()
