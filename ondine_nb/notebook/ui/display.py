"""Display ids: a view is displayed in a cell's output once, then replaced in its place."""

from __future__ import annotations

import contextlib
import sys
import uuid
from collections.abc import Callable
from typing import Any

__all__ = [
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
    "view_of",
]


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
        update, self.used = self.used, True
        self._publisher = self._publisher or _shell().display_pub
        publish(self._publisher, bundle, self.id, update=update)

    def beside(self) -> Place:
        """Another place, for later: in the same output, whoever runs what then."""
        other = Place()
        self._publisher = self._publisher or _shell().display_pub
        other._publisher = self._publisher
        return other


def display_bundle(bundle: dict[str, Any], display_id: str, *, update: bool) -> None:
    """Show `bundle` (MIME type to data) here, or instead of what was shown under `display_id`."""
    publish(_shell().display_pub, bundle, display_id, update=update)


def publish(publisher: Any, bundle: dict[str, Any], display_id: str, *, update: bool) -> None:
    """Send `bundle` by the shell's `publisher`."""
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


def _cell_id() -> str:
    shell = _shell()
    parent: Any = shell.get_parent() if hasattr(shell, "get_parent") else None
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
