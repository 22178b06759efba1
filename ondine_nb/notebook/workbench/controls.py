"""Controls of a prompt: widgets by the abbreviations of `interact`, and how they are drawn."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...errors import ConfigurationError
from ...text import as_text
from ..ui import clean

__all__ = ["control", "drawn", "put", "put_text"]


def control(name: str, given: Any) -> Any:
    """The widget for a control, by the abbreviations that `ipywidgets.interact` uses.

    Raises `ConfigurationError` for what is no abbreviation.
    """
    import ipywidgets

    try:
        made = ipywidgets.interactive.widget_from_abbrev(given)
    except (ValueError, TypeError) as error:
        raise ConfigurationError(f"control '{name}': {error}") from None
    if made is None or not hasattr(made, "value"):
        raise ConfigurationError(
            f"control '{name}' is {clean(given, 60)!r}: give a (min, max) or (min, max, step) "
            "for a slider, a list for a menu, True or False for a box, a text, or a widget"
        )
    if not isinstance(given, ipywidgets.Widget) or not made.description:
        made.description = name
    return made


def drawn(name: str, widget: Any) -> dict[str, Any]:
    """What the browser draws for a widget: `kind` is one of `menu box slider number text`."""
    told = {"name": name, "label": clean(widget.description, 60) or name}
    labels = getattr(widget, "_options_labels", None)
    if labels is not None and not isinstance(widget.index, tuple):
        texts = [clean(label, 80) for label in labels]
        values = [as_text(it) for it in widget._options_values]
        return {**told, "kind": "menu", "options": texts, "texts": values, "value": widget.index}
    if isinstance(widget.value, bool):
        return {**told, "kind": "box", "value": widget.value}
    if isinstance(widget.value, (int, float)):
        least, most = getattr(widget, "min", None), getattr(widget, "max", None)
        bounds = {"min": least, "max": most, "step": getattr(widget, "step", None) or "any"}
        known = _finite(least) and _finite(most)
        kind = "slider" if known and "Slider" in type(widget).__name__ else "number"
        return {**told, "kind": kind, "value": widget.value, **(bounds if known else {})}
    return {**told, "kind": "text", "value": as_text(widget.value)}


def put(widget: Any, value: Any) -> None:
    """Set a widget to what the browser says, in the form in which it was drawn.

    Raises whatever the widget raises for a value that it can't hold.
    """
    if getattr(widget, "_options_labels", None) is not None:
        widget.index = None if value is None else int(value)
    elif isinstance(widget.value, bool):
        widget.value = bool(value)
    elif isinstance(widget.value, (int, float)):
        widget.value = type(widget.value)(value)
    else:
        widget.value = value


def put_text(widget: Any, text: str) -> None:
    """Set a control to what a prompt has of it as text."""
    options = getattr(widget, "options", None)
    if options is not None and not isinstance(widget.index, tuple):
        values = [it[1] if isinstance(it, tuple) else it for it in options]
        values = list(options.values()) if isinstance(options, Mapping) else values
        matching = [at for at, it in enumerate(values) if as_text(it) == text]
        widget.index = matching[0] if matching else widget.index
    elif isinstance(widget.value, bool):
        widget.value = text == "True"
    elif isinstance(widget.value, (int, float)):
        widget.value = type(widget.value)(float(text))
    else:
        widget.value = text


def _finite(value: Any) -> bool:
    return isinstance(value, (int, float)) and abs(value) < 1e12
